//! An index in memory: for tests, for fuzzing and for builds without RocksDB.
//!
//! It takes some hundred bytes per fact and forgets everything with its process.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::id::{ChunkId, PackId, SegmentId};
use crate::index::statements::Statements;
use crate::index::{Fact, Index, IndexError, Load, PackSummary, Unusable, arrange};
use crate::pack::{Location, Segment};

/// The index in memory.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    contents: RwLock<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    statements: Statements,
    next: u32,
    places: HashMap<ChunkId, BTreeMap<u32, Location>>,
}

impl MemoryIndex {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Contents> {
        self.contents.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Contents> {
        self.contents.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index for MemoryIndex {
    fn absorbed(&self) -> Result<BTreeSet<SegmentId>, IndexError> {
        Ok(self.read().statements.absorbed())
    }

    fn absorb(&self, id: SegmentId, segment: &Segment) -> Result<(), IndexError> {
        let mut contents = self.write();
        if contents.statements.has_absorbed(id) {
            return Ok(());
        }
        let named = contents.statements.name(segment, contents.next).ok_or_else(used_up)?;
        for name in &named {
            let Some(pack) = name.fresh else { continue };
            contents.next = contents.next.max(name.number.saturating_add(1));
            for (chunk, at) in pack.directory.locations() {
                contents.places.entry(chunk).or_default().insert(name.number, at);
            }
        }
        contents.statements.insert(id, named.iter().map(|name| (name.number, name.statement)));
        Ok(())
    }

    fn load(&self) -> Result<Box<dyn Load + '_>, IndexError> {
        Ok(Box::new(MemoryLoad { index: self, segments: BTreeMap::new() }))
    }

    fn drop_segments(&self, gone: &BTreeSet<SegmentId>) -> Result<(), IndexError> {
        let Contents { statements, places, .. } = &mut *self.write();
        if statements.remove(gone) {
            places.retain(|_, by_number| {
                by_number.retain(|number, _| statements.pack(*number).is_some());
                !by_number.is_empty()
            });
        }
        Ok(())
    }

    fn facts(&self, ids: &[ChunkId]) -> Result<Vec<Vec<Fact>>, IndexError> {
        let contents = self.read();
        let facts_of = |id: &ChunkId| {
            let places = contents.places.get(id).into_iter().flatten();
            let fact =
                |(number, at): (&u32, &Location)| Some(Fact { pack: contents.statements.pack(*number)?, at: *at });
            let mut facts: Vec<Fact> = places.filter_map(fact).collect();
            arrange(&mut facts);
            facts
        };
        Ok(ids.iter().map(facts_of).collect())
    }

    fn packs(&self) -> Result<BTreeMap<PackId, PackSummary>, IndexError> {
        Ok(self.read().statements.packs())
    }

    fn pack_bytes(&self, ids: &[PackId]) -> Result<Vec<Option<u64>>, IndexError> {
        let contents = self.read();
        Ok(ids.iter().map(|id| contents.statements.pack_bytes(*id)).collect())
    }

    fn flush(&self) -> Result<(), IndexError> {
        Ok(())
    }
}

struct MemoryLoad<'a> {
    index: &'a MemoryIndex,
    segments: BTreeMap<SegmentId, Segment>,
}

impl Load for MemoryLoad<'_> {
    fn add(&mut self, id: SegmentId, segment: &Segment) -> Result<(), IndexError> {
        self.segments.insert(id, segment.clone());
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), IndexError> {
        self.segments.iter().try_for_each(|(id, segment)| self.index.absorb(*id, segment))
    }
}

fn used_up() -> IndexError {
    IndexError::Unusable { dir: "memory".into(), reason: Unusable::Numbers }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::conformance;
    use proptest::prelude::*;

    #[test]
    fn memory_index_conforms() {
        conformance::check(&|| Box::new(MemoryIndex::new()));
    }

    proptest! {
        #[test]
        fn any_steps_leave_what_a_plain_model_has(steps in proptest::collection::vec(any::<u16>(), 0..20)) {
            conformance::check_steps(&steps, Box::new(MemoryIndex::new()), &mut |index| index);
        }
    }
}
