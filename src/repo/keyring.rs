//! The key slots of a repository: opening it, and adding, listing and removing keys without touching data.

use crate::clock::Timestamp;
use crate::crypto::{
    Access, Description, Keys, Keyslot, ReadKeys, SealSlotError, SlotContents, SlotError, SlotKey, SlotProblem, Unlock,
    seal_slot,
};
use crate::id::KeyslotId;
use crate::limits::OBJECT_BYTES_MAX;
use crate::repo::{RepoError, Repository, layout};
use crate::store::{Put, Store};

/// What is wrong with the keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// No slot opens with the key that was given.
    #[error("None of the {slots} key slots of {place} opens with this {what}")]
    WrongKey {
        /// The store's description.
        place: String,
        /// How many slots there are.
        slots: usize,
        /// `passphrase` or `key file`.
        what: &'static str,
    },
    /// A slot is damaged or too expensive, and no other opened.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// A new slot cannot be made.
    #[error(transparent)]
    Seal(#[from] SealSlotError),
    /// No slot has that id.
    #[error("No key slot of this repository has an id that begins with {wanted}")]
    NoSuchSlot {
        /// What was asked for.
        wanted: String,
    },
    /// Several slots have an id that begins so.
    #[error("More than one key slot has an id that begins with {wanted}")]
    AmbiguousSlot {
        /// What was asked for.
        wanted: String,
    },
    /// Removing this slot would leave nobody who can read.
    #[error("Key slot {slot} is the last that can read; without it all data would be lost")]
    LastSlot {
        /// The slot.
        slot: KeyslotId,
    },
}

/// One slot as `key list` shows it.
#[derive(Debug, Clone)]
pub struct SlotSummary {
    /// The slot's id.
    pub id: KeyslotId,
    /// What it says about itself, checked by its MAC; or why it cannot be read.
    pub description: Result<Description, String>,
}

/// Tries every slot that opens with this sort of key.
pub(super) fn unlock(store: &dyn Store, unlock: Unlock<'_>) -> Result<Keys, RepoError> {
    let slots = list(store)?;
    if slots.is_empty() {
        let reason = "there is no key slot in it";
        return Err(RepoError::NotARepository { place: store.description(), reason });
    }
    let mut failure = None;
    for id in &slots {
        let opened =
            read(store, *id).and_then(|slot| slot.open(unlock).map_err(|error| KeyringError::from(error).into()));
        match opened {
            Ok(keys) => return Ok(keys),
            Err(RepoError::Keyring(KeyringError::Slot(SlotError {
                problem: SlotProblem::WrongKey | SlotProblem::OtherKind(_),
                ..
            }))) => {}
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let what = match unlock {
        Unlock::Passphrase(_) => "passphrase",
        Unlock::KeyFile(_) => "key file",
    };
    let wrong = KeyringError::WrongKey { place: store.description(), slots: slots.len(), what };
    Err(failure.unwrap_or_else(|| wrong.into()))
}

fn list(store: &dyn Store) -> Result<Vec<KeyslotId>, RepoError> {
    let listed = store.list(&layout::KEYS)?;
    Ok(listed.iter().filter_map(|listed| layout::parse_id(&listed.name, KeyslotId::from_bytes)).collect())
}

fn read(store: &dyn Store, id: KeyslotId) -> Result<Keyslot, RepoError> {
    let stored = store.get(&layout::keyslot(id), OBJECT_BYTES_MAX)?;
    Keyslot::parse(id, &stored).map_err(|error| KeyringError::from(error).into())
}

/// Stores a slot for these contents.
pub(super) fn put_slot(
    store: &dyn Store,
    key: &SlotKey<'_>,
    contents: SlotContents<'_>,
    label: &str,
    created: Timestamp,
) -> Result<KeyslotId, RepoError> {
    let (id, stored) = seal_slot(key, contents, label, created).map_err(KeyringError::from)?;
    let name = layout::keyslot(id);
    match store.put(&name, &[&stored])? {
        Put::Created => Ok(id),
        Put::Exists => Err(RepoError::Damaged {
            object: name.to_string(),
            reason: "stands under a random name that was just drawn; the source of randomness is broken".to_owned(),
        }),
    }
}

impl Repository {
    /// Adds a slot that opens with `key`: to everything, or to the write keys alone.
    pub fn add_key(
        &self,
        key: &SlotKey<'_>,
        access: Access,
        label: &str,
        created: Timestamp,
    ) -> Result<KeyslotId, RepoError> {
        let contents = match access {
            Access::Full => SlotContents::Full(self.read_keys()?),
            Access::WriteOnly => SlotContents::WriteOnly(self.write_keys()),
        };
        put_slot(self.store(), key, contents, label, created)
    }

    /// All slots with what they say about themselves.
    pub fn list_keys(&self) -> Result<Vec<SlotSummary>, RepoError> {
        list(self.store())?
            .into_iter()
            .map(|id| {
                let described = read(self.store(), id)
                    .map_err(|error| error.to_string())
                    .and_then(|slot| slot.describe(self.write_keys()).map_err(|error| error.to_string()));
                Ok(SlotSummary { id, description: described })
            })
            .collect()
    }

    /// The one slot whose id begins so.
    pub fn find_key(&self, wanted: &str) -> Result<KeyslotId, RepoError> {
        let mut matching =
            list(self.store())?.into_iter().filter(|id| !wanted.is_empty() && id.to_string().starts_with(wanted));
        match (matching.next(), matching.next()) {
            (Some(id), None) => Ok(id),
            (None, _) => Err(KeyringError::NoSuchSlot { wanted: wanted.to_owned() }.into()),
            (Some(_), Some(_)) => Err(KeyringError::AmbiguousSlot { wanted: wanted.to_owned() }.into()),
        }
    }

    /// Removes a slot; never the last that can read.
    pub fn remove_key(&self, id: KeyslotId) -> Result<(), RepoError> {
        let reading =
            |slot: &SlotSummary| matches!(&slot.description, Ok(description) if description.access == Access::Full);
        if !self.list_keys()?.iter().any(|slot| slot.id != id && reading(slot)) {
            return Err(KeyringError::LastSlot { slot: id }.into());
        }
        self.store().delete(&layout::keyslot(id))?;
        Ok(())
    }
}

/// Stores the first slot of a new repository.
pub(super) fn put_first_slot(
    store: &dyn Store,
    keys: &ReadKeys,
    key: &SlotKey<'_>,
    created: Timestamp,
) -> Result<(), RepoError> {
    put_slot(store, key, SlotContents::Full(keys), "", created).map(|_| ())
}
