//! The index in RocksDB, in the host's cache directory (`format-spec/index.md`, "The local index").
//!
//! One process writes a directory; whoever finds it taken opens it as a [`Secondary`] and never waits. There is no log:
//! number, facts, mark is the order of writing, RocksDB loses unflushed writes from the end only, and so a mark that is
//! there stands for facts that are. What a killed process leaves opens again, or is reported as
//! [`IndexError::Unusable`] and made anew by [`Rocks::open_empty`].
//!
//! Statement numbers are given once and never again, so that what is left of an absorption that was cut off can never
//! be taken for facts about another pack. It goes when RocksDB next compacts the files it is in.

mod layout;
mod load;
mod owned;
mod secondary;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rocksdb::compaction_filter::{CompactionFilter, Decision};
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};
use rocksdb::{BottommostLevelCompaction, Cache, CompactOptions, DB, Options, WriteBatch};

use crate::id::{ChunkId, PackId, RepositoryId, SegmentId};
use crate::index::rows::{encode_mark, place, place_number, places};
use crate::index::statements::{Named, Statement, Statements};
use crate::index::{Fact, Index, IndexError, Load, PackSummary, Unusable};
use crate::limits::{INDEX_CACHE_BYTES, INDEX_DIRECT_FACTS_MAX};
use crate::pack::Segment;

use layout::{chunk_key, fault, look_up, unlogged};
use load::SortedLoad;
use owned::{Lock, Scratch, make_dir, remove_dir};

pub use secondary::Secondary;

/// Facts that are written at once.
const BATCH_FACTS: usize = 4096;
/// Dead facts that are too few to compact for.
const DEAD_FACTS_MAX: u64 = 1 << 20;

/// An index directory, opened as its lock allowed.
#[derive(Debug)]
pub enum Opened {
    /// This process writes it.
    Primary(Box<Rocks>),
    /// Another process does.
    Secondary(Box<Secondary>),
}

impl Opened {
    /// The index, whoever writes the directory.
    pub fn into_index(self) -> Box<dyn Index> {
        match self {
            Self::Primary(index) => index,
            Self::Secondary(index) => index,
        }
    }
}

/// The index in RocksDB, of the one process that writes it.
pub struct Rocks {
    // Closed before the lock is given back: fields are dropped in this order.
    db: DB,
    options: Options,
    dir: PathBuf,
    state: Shared,
    /// Held by who writes; readers do not need it.
    writing: Mutex<()>,
    _lock: Lock,
}

impl fmt::Debug for Rocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rocks").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// What is kept in memory: statements, not facts.
#[derive(Debug, Default)]
struct State {
    statements: Statements,
    /// The next statement number that was never given out.
    next: u32,
    /// Numbers below are live or dead; the others may belong to an absorption that goes on.
    settled: u32,
}

type Shared = Arc<RwLock<State>>;

impl Rocks {
    /// Opens the index in `dir`, or makes an empty one: as the process that writes it, or as another if there is one.
    pub fn open(dir: &Path, repository: RepositoryId) -> Result<Opened, IndexError> {
        make_dir(dir).map_err(|error| refused(dir, error))?;
        let cache = Cache::new_lru_cache(INDEX_CACHE_BYTES);
        match Lock::take(&dir.join("lock")).map_err(|error| refused(dir, error))? {
            Some(lock) => {
                Self::open_locked(dir, repository, lock, &cache).map(|index| Opened::Primary(Box::new(index)))
            }
            None => Secondary::open(dir, repository, &cache).map(|index| Opened::Secondary(Box::new(index))),
        }
    }

    /// Makes an empty index in `dir`, in place of one that is [`IndexError::Unusable`]. If another process writes
    /// there, it is left alone, and the empty index is this process's own and goes with it.
    pub fn open_empty(dir: &Path, repository: RepositoryId) -> Result<Opened, IndexError> {
        make_dir(dir).map_err(|error| refused(dir, error))?;
        let cache = Cache::new_lru_cache(INDEX_CACHE_BYTES);
        match Lock::take(&dir.join("lock")).map_err(|error| refused(dir, error))? {
            Some(lock) => {
                remove_dir(&dir.join("db")).map_err(|error| refused(dir, error))?;
                Self::open_locked(dir, repository, lock, &cache).map(|index| Opened::Primary(Box::new(index)))
            }
            None => Secondary::empty(dir, repository, &cache).map(|index| Opened::Secondary(Box::new(index))),
        }
    }

    fn open_locked(dir: &Path, repository: RepositoryId, lock: Lock, cache: &Cache) -> Result<Self, IndexError> {
        Scratch::clear(dir).map_err(|error| refused(dir, error))?;
        let state = Shared::default();
        let joined = Arc::clone(&state);
        // Called while readers hold the state, so it must not wait for it; what is dead then goes with a later
        // compaction.
        let mut options =
            layout::options(cache, move |number| joined.try_read().map_or(true, |state| !state.is_dead(number)));
        options.create_if_missing(true);
        options.set_compaction_filter_factory(DeadFacts { state: Arc::clone(&state) });
        let db = DB::open(&options, dir.join("db")).map_err(|error| fault(dir, error))?;
        if let Some((statements, next)) = layout::read_contents(&db, dir, repository)? {
            *write(&state) = State { statements, next, settled: next };
        } else {
            layout::put_head(&db, repository).map_err(|error| fault(dir, error))?;
        }
        Ok(Self { db, options, dir: dir.to_owned(), state, writing: Mutex::new(()), _lock: lock })
    }

    fn fault(&self, error: rocksdb::Error) -> IndexError {
        fault(&self.dir, error)
    }

    fn used_up(&self) -> IndexError {
        IndexError::Unusable { dir: self.dir.clone(), reason: Unusable::Numbers }
    }

    fn begin_writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives out all numbers below `next`.
    fn reserve(&self, next: u32) -> Result<(), IndexError> {
        write(&self.state).next = next;
        layout::put_next(&self.db, next).map_err(|error| self.fault(error))
    }

    /// Writes the facts of those packs whose facts are not in place.
    fn put_facts(&self, named: &[Named<'_>]) -> Result<(), IndexError> {
        let mut batch = WriteBatch::default();
        for name in named {
            for (chunk, at) in name.fresh.iter().flat_map(|pack| pack.directory.locations()) {
                batch.merge(chunk_key(&chunk), place(name.number, &at));
                if batch.len() >= BATCH_FACTS {
                    self.write(std::mem::take(&mut batch))?;
                }
            }
        }
        self.write(batch)
    }

    /// Notes segments as absorbed, on disk and then in memory.
    fn mark(&self, segments: Vec<(SegmentId, Vec<(u32, Statement)>)>) -> Result<(), IndexError> {
        let mut batch = WriteBatch::default();
        for (id, named) in &segments {
            batch.put(layout::segment_key(*id), encode_mark(named));
        }
        self.write(batch)?;
        let mut state = write(&self.state);
        for (id, named) in segments {
            state.statements.insert(id, named);
        }
        state.settled = state.next;
        Ok(())
    }

    fn write(&self, batch: WriteBatch) -> Result<(), IndexError> {
        self.db.write_opt(batch, &unlogged()).map_err(|error| self.fault(error))
    }

    /// Gives space back if most facts are dead.
    fn compact_if_worthwhile(&self) -> Result<(), IndexError> {
        let estimate = self.db.property_int_value("rocksdb.estimate-num-keys").map_err(|error| self.fault(error))?;
        let live = read(&self.state).statements.chunks();
        if estimate.unwrap_or(0) > live.saturating_mul(2).saturating_add(DEAD_FACTS_MAX) {
            let mut all = CompactOptions::default();
            all.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
            self.db.compact_range_opt(Some([layout::CHUNK]), Some([layout::CHUNK_END]), &all);
        }
        Ok(())
    }
}

impl Index for Rocks {
    fn absorbed(&self) -> Result<BTreeSet<SegmentId>, IndexError> {
        Ok(read(&self.state).statements.absorbed())
    }

    fn absorb(&self, id: SegmentId, segment: &Segment) -> Result<(), IndexError> {
        let writing = self.begin_writing();
        let (named, next) = {
            let state = read(&self.state);
            if state.statements.has_absorbed(id) {
                return Ok(());
            }
            (state.statements.name(segment, state.next).ok_or_else(|| self.used_up())?, state.next)
        };
        let fresh = || named.iter().filter_map(|name| name.fresh);
        if fresh().map(|pack| pack.directory.chunk_count()).sum::<usize>() > INDEX_DIRECT_FACTS_MAX {
            drop(writing);
            let mut load = SortedLoad::new(self);
            load.add(id, segment)?;
            return Box::new(load).finish();
        }
        // `name` counted these numbers already, so that the sum fits.
        self.reserve(next + u32::try_from(fresh().count()).map_err(|_| self.used_up())?)?;
        self.put_facts(&named)?;
        self.mark(vec![(id, named.iter().map(|name| (name.number, name.statement)).collect())])
    }

    fn load(&self) -> Result<Box<dyn Load + '_>, IndexError> {
        Ok(Box::new(SortedLoad::new(self)))
    }

    fn drop_segments(&self, gone: &BTreeSet<SegmentId>) -> Result<(), IndexError> {
        let _writing = self.begin_writing();
        let mut batch = WriteBatch::default();
        for id in read(&self.state).statements.absorbed().intersection(gone) {
            batch.delete(layout::segment_key(*id));
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.write(batch)?;
        // From here on a compaction may remove facts; a mark that comes back after a crash would miss them.
        self.flush()?;
        if write(&self.state).statements.remove(gone) {
            self.compact_if_worthwhile()?;
        }
        Ok(())
    }

    fn facts(&self, ids: &[ChunkId]) -> Result<Vec<Vec<Fact>>, IndexError> {
        let mut found = vec![Vec::new(); ids.len()];
        let state = read(&self.state);
        look_up(&self.db, &self.dir, ids, |number| state.statements.pack(number), &mut found)?;
        Ok(found)
    }

    fn packs(&self) -> Result<BTreeMap<PackId, PackSummary>, IndexError> {
        Ok(read(&self.state).statements.packs())
    }

    fn pack_bytes(&self, ids: &[PackId]) -> Result<Vec<Option<u64>>, IndexError> {
        let state = read(&self.state);
        Ok(ids.iter().map(|id| state.statements.pack_bytes(*id)).collect())
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.db.flush().map_err(|error| self.fault(error))
    }
}

impl Drop for Rocks {
    fn drop(&mut self) {
        // What is lost here is absorbed again by the next process.
        if let Err(error) = self.flush() {
            tracing::warn!(dir = %self.dir.display(), %error, "The index was not flushed");
        }
    }
}

/// Makes the filters through which compactions go.
struct DeadFacts {
    state: Shared,
}

/// Removes chunks all of whose places are dead. A place that a compaction sees is older than the compaction, and its
/// number was given out before it: no number is taken for dead because it is too new.
struct LiveFacts {
    state: Shared,
}

const FILTER_NAME: &CStr = c"holdall.live-facts";

impl CompactionFilterFactory for DeadFacts {
    type Filter = LiveFacts;

    fn create(&mut self, _: CompactionFilterContext) -> LiveFacts {
        LiveFacts { state: Arc::clone(&self.state) }
    }

    fn name(&self) -> &CStr {
        FILTER_NAME
    }
}

impl CompactionFilter for LiveFacts {
    fn filter(&mut self, _: u32, key: &[u8], value: &[u8]) -> Decision {
        let ([layout::CHUNK, ..], Some(places)) = (key, places(value)) else { return Decision::Keep };
        let state = read(&self.state);
        if places.iter().all(|place| state.is_dead(place_number(place))) { Decision::Remove } else { Decision::Keep }
    }

    fn name(&self) -> &CStr {
        FILTER_NAME
    }
}

impl State {
    /// Whether a statement number can never count again.
    fn is_dead(&self, number: u32) -> bool {
        number < self.settled && self.statements.pack(number).is_none()
    }
}

fn read(state: &Shared) -> RwLockReadGuard<'_, State> {
    state.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(state: &Shared) -> RwLockWriteGuard<'_, State> {
    state.write().unwrap_or_else(PoisonError::into_inner)
}

fn refused(dir: &Path, error: io::Error) -> IndexError {
    IndexError::Failed { dir: dir.to_owned(), source: error.into() }
}
