//! The packs that may be used: by a writer those that stand in the store and are not doomed (steps W2 and W3 of
//! `format-spec/concurrency.md`), by a reader all that stand there, some of them with reluctance.
//!
//! Only the store is asked, in this order: first what is condemned, then which packs exist. No cache and no index
//! replaces these listings.

use std::collections::{HashMap, HashSet};

use crate::id::PackId;
use crate::index::Fact;
use crate::protocol::Writer;
use crate::repo::{RepoError, Repository, Stored, layout};

/// The packs of the store at one time, as one session may use them.
#[derive(Debug, Default)]
pub struct View {
    /// The packs that may be used, with the size of their files in bytes.
    usable: HashMap<PackId, u64>,
    /// Those among them that are read only if no other holds the chunk.
    last_resort: HashSet<PackId>,
}

impl View {
    /// What a session may use by its steps W2 and W3, and is sound: marked damaged by no note, and as long as its
    /// segments state. Who refers to a pack that was cut off claims a backup that is none.
    pub(super) fn for_writing(
        repository: &Repository,
        steps: &Writer<Stored>,
        listed: Vec<(PackId, u64)>,
    ) -> Result<Self, RepoError> {
        let damaged = repository.damaged_packs()?;
        let of_wrong_size = repository.packs_of_wrong_size(&listed)?;
        let is_sound = |pack: &PackId| !damaged.contains(pack) && !of_wrong_size.contains(pack);
        let usable = listed.into_iter().filter(|(pack, _)| steps.knows(*pack) && is_sound(pack)).collect();
        Ok(Self { usable, last_resort: HashSet::new() })
    }

    /// What a reader may use: condemned and damaged packs may still be read while they stand, but others are preferred.
    pub fn for_reading(repository: &Repository) -> Result<Self, RepoError> {
        let mut last_resort = repository.condemned_packs().unwrap_or_default();
        let listed = repository.list_packs()?;
        last_resort.extend(repository.damaged_packs().unwrap_or_default());
        last_resort.extend(repository.packs_of_wrong_size(&listed)?);
        Ok(Self { usable: listed.into_iter().collect(), last_resort })
    }

    /// Whether a session may refer to what stands in this pack.
    pub fn holds(&self, pack: &PackId) -> bool {
        self.usable.contains_key(pack)
    }

    /// Size of a usable pack's file in bytes.
    pub fn pack_bytes(&self, pack: &PackId) -> Option<u64> {
        self.usable.get(pack).copied()
    }

    /// The packs of the view.
    pub fn packs(&self) -> impl Iterator<Item = (&PackId, u64)> {
        self.usable.iter().map(|(pack, bytes)| (pack, *bytes))
    }

    /// The place to read a chunk from: one that is neither condemned nor damaged, if there is one.
    pub fn best<'f>(&self, facts: &'f [Fact]) -> Option<&'f Fact> {
        let standing = || facts.iter().filter(|fact| self.holds(&fact.pack));
        standing().find(|fact| !self.last_resort.contains(&fact.pack)).or_else(|| standing().next())
    }
}

impl Repository {
    /// The listed packs that have another size than segments state. Of packs that no segment names nothing is known.
    pub fn packs_of_wrong_size(&self, listed: &[(PackId, u64)]) -> Result<HashSet<PackId>, RepoError> {
        let stated = self.index().packs()?;
        let is_wrong = |(pack, bytes): &&(PackId, u64)| stated.get(pack).is_some_and(|pack| pack.bytes != *bytes);
        Ok(listed.iter().filter(is_wrong).map(|(pack, _)| *pack).collect())
    }

    /// All packs in the store with the size of their files in bytes.
    pub fn list_packs(&self) -> Result<Vec<(PackId, u64)>, RepoError> {
        let mut packs = Vec::new();
        for directory in layout::PACKS.shards() {
            for listed in self.list_fresh(&directory)? {
                // One that stands in another directory than its first digit says could not be read by its id.
                if let Some(pack) = layout::parse_id(&listed.name, PackId::from_bytes)
                    && layout::pack(pack) == listed.name
                {
                    packs.push((pack, listed.bytes));
                }
            }
        }
        Ok(packs)
    }
}
