//! Keeping the local index in step with the store: what is new is absorbed, what is gone is dropped.
//!
//! The index may be deleted at any time; then everything is new. Where segments are lost, the packs that none names are
//! read themselves, for readers only: a fact from a pack's directory does not make a chunk known to a writer.

use std::collections::{BTreeSet, HashSet};

use crate::id::{PackId, SegmentId};
use crate::index::Index;
use crate::index::memory::MemoryIndex;
use crate::pack::{Segment, SegmentPack};
use crate::repo::{IndexPlace, RepoError, Repository};

/// What bringing the index up to date came upon.
#[derive(Debug, Default)]
pub struct Refreshed {
    /// Segments that were absorbed.
    pub absorbed: usize,
    /// Segments that cannot be read: their names and why.
    pub damaged: Vec<(SegmentId, String)>,
}

pub(super) fn memory_index() -> Box<dyn Index> {
    Box::new(MemoryIndex::new())
}

/// Opens the index in its place.
pub(super) fn open_index(place: IndexPlace<'_>) -> Box<dyn Index> {
    match place {
        IndexPlace::Memory | IndexPlace::Directory(_) => memory_index(),
    }
}

impl Repository {
    /// Absorbs segments that the index does not know and drops those that are gone.
    pub fn refresh_index(&self) -> Result<Refreshed, RepoError> {
        let stored: BTreeSet<SegmentId> = self.list_segments()?.into_iter().collect();
        let absorbed = self.index().absorbed()?;
        let gone: BTreeSet<SegmentId> = absorbed.difference(&stored).copied().collect();
        let mut refreshed = Refreshed::default();
        for id in stored.difference(&absorbed) {
            match self.read_segment(*id) {
                Ok(segment) => {
                    self.index().absorb(*id, &segment)?;
                    refreshed.absorbed += 1;
                }
                // A merge stored its facts in another segment, which this or the next listing shows.
                Err(RepoError::Gone { .. }) => {}
                Err(error @ (RepoError::Damaged { .. } | RepoError::NewerFormat { .. })) => {
                    refreshed.damaged.push((*id, error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        // Last, so that facts which a merge moved are never missing in between.
        if !gone.is_empty() {
            self.index().drop_segments(&gone)?;
        }
        Ok(refreshed)
    }

    /// The facts of the packs that stand in the store and that no readable segment names, read from the packs
    /// themselves, and the packs among them whose directory cannot be read.
    pub fn unnamed_packs(&self) -> Result<(Segment, Vec<(PackId, String)>), RepoError> {
        let named: HashSet<PackId> = self.index().packs()?.into_keys().collect();
        let mut found = Segment::default();
        let mut unreadable = Vec::new();
        for (id, bytes) in self.list_packs()? {
            if named.contains(&id) {
                continue;
            }
            match self.read_directory(id, bytes) {
                Ok(directory) => found.packs.push(SegmentPack { id, bytes, directory }),
                Err(RepoError::Gone { .. }) => {}
                Err(error @ RepoError::Damaged { .. }) => unreadable.push((id, error.to_string())),
                Err(error) => return Err(error),
            }
        }
        Ok((found, unreadable))
    }
}
