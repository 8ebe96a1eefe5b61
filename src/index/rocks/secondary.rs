//! The index of a process that found the directory taken: what the primary had flushed when this one opened it, and in
//! an index of its own, in a directory that goes with the process, what this one learns beyond that.
//!
//! It holds the primary's files open and so keeps its view whatever the primary compacts or takes in. It writes nothing
//! that the primary reads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rocksdb::{Cache, DB};

use crate::id::{ChunkId, PackId, RepositoryId, SegmentId};
use crate::index::rocks::layout::{self, look_up};
use crate::index::rocks::owned::{Lock, Scratch, make_dir};
use crate::index::rocks::{Rocks, refused};
use crate::index::statements::{Statement, Statements};
use crate::index::{Fact, Index, IndexError, Load, PackSummary, arrange};
use crate::limits::LOOK_AGAIN_MAX;
use crate::pack::Segment;

/// The index in RocksDB, of a process that does not write it.
#[derive(Debug)]
pub struct Secondary {
    // Closed before the directory they are in goes: fields are dropped in this order.
    pub(super) overlay: Rocks,
    base: Option<Base>,
    dir: PathBuf,
    scratch: Scratch,
}

/// The primary's index as it was when it was opened.
struct Base {
    db: DB,
    /// What this process knows of it by now: less what it dropped, more where segments name the same packs.
    statements: RwLock<Statements>,
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Base").finish_non_exhaustive()
    }
}

impl Secondary {
    pub(super) fn open(dir: &Path, repository: RepositoryId, cache: &Cache) -> Result<Self, IndexError> {
        let mut secondary = Self::empty(dir, repository, cache)?;
        secondary.base = secondary.open_base(repository, cache);
        Ok(secondary)
    }

    /// One that does not know the primary's index.
    pub(super) fn empty(dir: &Path, repository: RepositoryId, cache: &Cache) -> Result<Self, IndexError> {
        let scratch = Scratch::make(dir).map_err(|error| refused(dir, error))?;
        let own = scratch.path().join("overlay");
        make_dir(&own).map_err(|error| refused(dir, error))?;
        let lock = Lock::take(&own.join("lock")).map_err(|error| refused(dir, error))?;
        let lock = lock.ok_or_else(|| refused(dir, std::io::ErrorKind::ResourceBusy.into()))?;
        let overlay = Rocks::open_locked(&own, repository, lock, cache)?;
        Ok(Self { overlay, base: None, dir: dir.to_owned(), scratch })
    }

    /// The primary's index; none if it is empty, not this repository's or cannot be read, for then everything can be
    /// learnt again and nobody has to wait.
    fn open_base(&self, repository: RepositoryId, cache: &Cache) -> Option<Base> {
        let own = self.scratch.path().join("log");
        let options = layout::options(cache, |_| true);
        // The primary may remove a file between the moment its name is read and that in which it is opened.
        let open = |_| DB::open_as_secondary(&options, self.dir.join("db"), own.clone()).ok();
        let db = (0..LOOK_AGAIN_MAX).find_map(open)?;
        let contents = layout::read_contents(&db, &self.dir, repository);
        let (statements, _) = contents
            .inspect_err(|error| tracing::info!(dir = %self.dir.display(), %error, "The primary's index is of no use"))
            .ok()??;
        Some(Base { db, statements: RwLock::new(statements) })
    }

    /// The part of a segment that is not in the base, and what it names there.
    fn part(&self, segment: &Segment) -> (Segment, Vec<(u32, Statement)>) {
        let Some(base) = &self.base else { return (segment.clone(), Vec::new()) };
        let statements = base.read();
        let (mut rest, mut named) = (Segment::default(), Vec::new());
        for stated in &segment.packs {
            let statement = Statement::of(stated);
            match statements.number(&statement.key()) {
                Some(number) => named.push((number, statement)),
                None => rest.packs.push(stated.clone()),
            }
        }
        (rest, named)
    }

    fn note(&self, id: SegmentId, named: Vec<(u32, Statement)>) {
        if let Some(base) = &self.base {
            base.write().insert(id, named);
        }
    }

    fn base_has(&self, id: SegmentId) -> bool {
        self.base.as_ref().is_some_and(|base| base.read().has_absorbed(id))
    }
}

impl Base {
    fn read(&self) -> RwLockReadGuard<'_, Statements> {
        self.statements.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Statements> {
        self.statements.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index for Secondary {
    fn absorbed(&self) -> Result<BTreeSet<SegmentId>, IndexError> {
        let mut absorbed = self.overlay.absorbed()?;
        absorbed.extend(self.base.iter().flat_map(|base| base.read().absorbed()));
        Ok(absorbed)
    }

    fn absorb(&self, id: SegmentId, segment: &Segment) -> Result<(), IndexError> {
        if self.base_has(id) {
            return Ok(());
        }
        let (rest, named) = self.part(segment);
        self.overlay.absorb(id, &rest)?;
        self.note(id, named);
        Ok(())
    }

    fn load(&self) -> Result<Box<dyn Load + '_>, IndexError> {
        Ok(Box::new(SecondaryLoad { secondary: self, overlay: self.overlay.load()?, named: BTreeMap::new() }))
    }

    fn drop_segments(&self, gone: &BTreeSet<SegmentId>) -> Result<(), IndexError> {
        if let Some(base) = &self.base {
            base.write().remove(gone);
        }
        self.overlay.drop_segments(gone)
    }

    fn facts(&self, ids: &[ChunkId]) -> Result<Vec<Vec<Fact>>, IndexError> {
        let mut found = self.overlay.facts(ids)?;
        if let Some(base) = &self.base {
            let statements = base.read();
            look_up(&base.db, &self.dir, ids, |number| statements.pack(number), &mut found)?;
            found.iter_mut().for_each(arrange);
        }
        Ok(found)
    }

    fn packs(&self) -> Result<BTreeMap<PackId, PackSummary>, IndexError> {
        let mut packs = self.overlay.packs()?;
        for (id, summary) in self.base.iter().flat_map(|base| base.read().packs()) {
            let known = packs.entry(id).or_insert(summary);
            if summary.bytes > known.bytes {
                *known = summary;
            }
        }
        Ok(packs)
    }

    fn pack_bytes(&self, ids: &[PackId]) -> Result<Vec<Option<u64>>, IndexError> {
        let mut bytes = self.overlay.pack_bytes(ids)?;
        if let Some(base) = &self.base {
            let statements = base.read();
            for (known, id) in bytes.iter_mut().zip(ids) {
                *known = statements.pack_bytes(*id).max(*known);
            }
        }
        Ok(bytes)
    }

    /// Does nothing: what this process learns, the primary learns from the store.
    fn flush(&self) -> Result<(), IndexError> {
        Ok(())
    }
}

struct SecondaryLoad<'a> {
    secondary: &'a Secondary,
    overlay: Box<dyn Load + 'a>,
    named: BTreeMap<SegmentId, Vec<(u32, Statement)>>,
}

impl Load for SecondaryLoad<'_> {
    fn add(&mut self, id: SegmentId, segment: &Segment) -> Result<(), IndexError> {
        if self.secondary.base_has(id) {
            return Ok(());
        }
        let (rest, named) = self.secondary.part(segment);
        self.overlay.add(id, &rest)?;
        self.named.insert(id, named);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), IndexError> {
        self.overlay.finish()?;
        for (id, named) in self.named {
            self.secondary.note(id, named);
        }
        Ok(())
    }
}
