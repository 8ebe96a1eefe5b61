//! The key slots of a repository: opening it, and adding, listing and removing keys without touching data.

use crate::clock::Timestamp;
use crate::crypto::keyslot::Kdf;
use crate::crypto::{
    Access, Description, Keys, Keyslot, ReadKeys, SealSlotError, SlotContents, SlotError, SlotKey, SlotKind,
    SlotProblem, Unlock, seal_slot,
};
use crate::id::KeyslotId;
use crate::limits::OBJECT_BYTES_MAX;
use crate::repo::objects::get_config;
use crate::repo::{Config, RepoError, Repository, layout};
use crate::store::{Put, Store, StoreErrorKind};

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

/// What opens a repository, as far as its slots tell without a key: what to ask a person for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Locks {
    /// Slots that open with a passphrase.
    pub passphrases: usize,
    /// Slots that open with a key file or a recovery key.
    pub key_files: usize,
    /// Slots that nothing can open: damaged, or of a newer format.
    pub unreadable: usize,
}

impl Locks {
    /// Looks at the slots in a store. This tells, too, whether the store holds a repository at all. Where no slot can
    /// be read the error is the first one's.
    pub fn of(store: &dyn Store) -> Result<Self, RepoError> {
        let mut locks = Self::default();
        let mut failure = None;
        for id in list(store)? {
            match read(store, id).map(|slot| slot.kdf()) {
                Ok(Kdf::Argon2id(_)) => locks.passphrases += 1,
                Ok(Kdf::KeyFile) => locks.key_files += 1,
                Err(error @ RepoError::Store(_)) => return Err(error),
                Err(error) => {
                    locks.unreadable += 1;
                    failure = failure.or(Some(error));
                }
            }
        }
        match failure {
            Some(error) if locks.passphrases + locks.key_files == 0 => Err(error),
            _ => Ok(locks),
        }
    }
}

/// Tries every slot that opens with this sort of key, until the config opens with what it holds: an init that another
/// one overtook, and that died, may have left a slot for the same key. Tells which one it was.
pub(super) fn unlock(store: &dyn Store, unlock: Unlock<'_>) -> Result<(Keys, KeyslotId, Config), RepoError> {
    let slots = list(store)?;
    let mut failure = None;
    for id in &slots {
        let opened = read(store, *id)
            .and_then(|slot| slot.open(unlock).map_err(|error| KeyringError::from(error).into()))
            .and_then(|keys| get_config(store, keys.write()).map(|config| (keys, config)));
        match opened {
            Ok((keys, config)) => return Ok((keys, *id, config)),
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

/// The slots of a store. Without any there is no repository, or what is left of one.
fn list(store: &dyn Store) -> Result<Vec<KeyslotId>, RepoError> {
    let listed = match store.list(&layout::KEYS) {
        Ok(listed) => listed,
        Err(error) if error.kind == StoreErrorKind::DirectoryMissing => return Err(without_slots(store, "is missing")),
        Err(error) => return Err(error.into()),
    };
    let slots: Vec<KeyslotId> =
        listed.iter().filter_map(|listed| layout::parse_id(&listed.name, KeyslotId::from_bytes)).collect();
    if slots.is_empty() { Err(without_slots(store, "holds no key slot")) } else { Ok(slots) }
}

/// Whether a store without key slots never was a repository, or lost them. A config is stored after the first slot.
fn without_slots(store: &dyn Store, reason: &str) -> RepoError {
    match store.list(&layout::CONFIG) {
        Ok(configs) if !configs.is_empty() => RepoError::Damaged {
            object: format!("{}/{}", store.description(), layout::KEYS),
            reason: format!("{reason}, so no key can open the repository"),
        },
        _ => RepoError::NotARepository { place: store.description(), reason: "there are no key slots in it" },
    }
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

    /// All slots with what they say about themselves. That the store does not answer says nothing of a slot.
    pub fn list_keys(&self) -> Result<Vec<SlotSummary>, RepoError> {
        let mut slots = Vec::new();
        for id in list(self.store())? {
            let description = match read(self.store(), id) {
                Ok(slot) => slot.describe(self.write_keys()).map_err(|error| error.to_string()),
                // Another host has removed it since it was listed.
                Err(RepoError::Store(error)) if error.kind == StoreErrorKind::NotFound => continue,
                Err(RepoError::Store(error)) if !matches!(error.kind, StoreErrorKind::TooLarge { .. }) => {
                    return Err(error.into());
                }
                Err(error) => Err(error.to_string()),
            };
            slots.push(SlotSummary { id, description });
        }
        Ok(slots)
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

    /// Stores the slots anew of which one copy is damaged, as far as this key opens them: a slot's bytes hold for its
    /// id alone, and to make another one its secret is needed. The old one goes once the new one is durable; who dies
    /// in between leaves both, and they open to the same. Returns how many.
    pub fn renew_slots(&self, unlock: Unlock<'_>) -> Result<usize, RepoError> {
        let mut renewed = 0;
        for id in list(self.store())? {
            let slot = match read(self.store(), id) {
                Ok(slot) if slot.damage().is_some() => slot,
                Err(error @ RepoError::Store(_)) => return Err(error),
                Ok(_) | Err(_) => continue,
            };
            let Ok(said) = slot.describe(self.write_keys()) else { continue };
            let key = match (unlock, slot.kdf(), said.kind) {
                (Unlock::Passphrase(passphrase), Kdf::Argon2id(cost), _) => SlotKey::Passphrase(passphrase, cost),
                (Unlock::KeyFile(file), Kdf::KeyFile, SlotKind::Recovery) => SlotKey::Recovery(file),
                (Unlock::KeyFile(file), Kdf::KeyFile, _) => SlotKey::KeyFile(file),
                _ => continue,
            };
            if slot.open(unlock).is_err() {
                continue;
            }
            self.add_key(&key, said.access, &said.label, said.created)?;
            self.store().delete(&layout::keyslot(id))?;
            renewed += 1;
        }
        Ok(renewed)
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
) -> Result<KeyslotId, RepoError> {
    put_slot(store, key, SlotContents::Full(keys), "", created)
}

/// Takes back the slot of a repository that came to nothing, because another one was made in its place meanwhile: there
/// it would be a slot that nobody of that repository made. Should that fail, a check tells of it.
pub(super) fn withdraw_first_slot(store: &dyn Store, slot: KeyslotId) {
    let _ = store.delete(&layout::keyslot(slot));
}
