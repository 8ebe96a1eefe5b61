//! Keeping the local index in step with the store: what is new is absorbed, what is gone is dropped.
//!
//! The index may be deleted at any time; then everything is new. Where segments are lost, the packs that none names are
//! read themselves, for readers only: a fact from a pack's directory does not make a chunk known to a writer.

use std::collections::{BTreeSet, HashSet};

use crate::id::{PackId, RepositoryId, SegmentId};
use crate::index::Index;
#[cfg(feature = "rocks")]
use crate::index::IndexError;
use crate::index::memory::MemoryIndex;
#[cfg(feature = "rocks")]
use crate::index::rocks::Rocks;
use crate::pack::{Directory, Segment, SegmentPack};
use crate::repo::{IndexPlace, RepoError, Repository};

/// From so many new segments on they are loaded together, which is faster.
const LOADED_SEGMENTS_MIN: usize = 8;

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

/// Opens the index in its place. One that is of no use is thrown away and built anew: it is a cache.
#[cfg(feature = "rocks")]
pub(super) fn open_index(place: IndexPlace<'_>, repository: RepositoryId) -> Result<Box<dyn Index>, RepoError> {
    let IndexPlace::Directory(directory) = place else { return Ok(memory_index()) };
    let directory = directory.join(repository.to_string());
    let opened = match Rocks::open(&directory, repository) {
        Err(IndexError::Unusable { .. }) => Rocks::open_empty(&directory, repository),
        other => other,
    };
    Ok(opened?.into_index())
}

/// Without RocksDB every command builds its index in memory.
#[cfg(not(feature = "rocks"))]
#[expect(clippy::unnecessary_wraps, reason = "with RocksDB it can fail")]
pub(super) fn open_index(_place: IndexPlace<'_>, _repository: RepositoryId) -> Result<Box<dyn Index>, RepoError> {
    Ok(memory_index())
}

impl Repository {
    /// Absorbs segments that the index does not know and drops those that are gone.
    pub fn refresh_index(&self) -> Result<Refreshed, RepoError> {
        let stored: BTreeSet<SegmentId> = self.list_segments()?.into_iter().collect();
        let absorbed = self.index().absorbed()?;
        let gone: BTreeSet<SegmentId> = absorbed.difference(&stored).copied().collect();
        let mut refreshed = Refreshed::default();
        let new: Vec<SegmentId> = stored.difference(&absorbed).copied().collect();
        let mut load = if new.len() > LOADED_SEGMENTS_MIN { Some(self.index().load()?) } else { None };
        for id in new {
            match self.read_segment(id) {
                Ok(segment) => {
                    match &mut load {
                        Some(load) => load.add(id, &segment)?,
                        None => self.index().absorb(id, &segment)?,
                    }
                    refreshed.absorbed += 1;
                }
                // A merge stored its facts in another segment, which this or the next listing shows.
                Err(RepoError::Gone { .. }) => {}
                Err(error @ (RepoError::Damaged { .. } | RepoError::NewerFormat { .. })) => {
                    refreshed.damaged.push((id, error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(load) = load {
            load.finish()?;
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
                Err(error @ (RepoError::Damaged { .. } | RepoError::NewerFormat { .. })) => {
                    unreadable.push((id, error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok((found, unreadable))
    }

    /// What a pack of `bytes` bytes holds, from the pack itself, or where that is damaged from a segment.
    pub fn directory_of(&self, pack: PackId, bytes: u64) -> Result<Directory, RepoError> {
        let damage = match self.read_directory(pack, bytes) {
            Err(error) if error.is_damage() => error,
            other => return other,
        };
        for id in self.list_segments()? {
            match self.read_segment(id) {
                Ok(segment) => {
                    if let Some(found) = segment.packs.into_iter().find(|found| found.id == pack) {
                        return Ok(found.directory);
                    }
                }
                Err(error) if error.is_damage() || error.is_loss() => {}
                Err(error) => return Err(error),
            }
        }
        Err(damage)
    }
}
