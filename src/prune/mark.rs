//! Which chunks are in use: those that a point refers to, and the parts and tables that say so.
//!
//! Sixteen million chunks must fit into memory, so of each id only its first 96 bits are kept. Two chunks of a
//! repository of that size share them with a probability of 10^-15; ids are keyed hashes, so nobody can look for two.

use std::collections::HashSet;

use crate::id::{ChunkId, PointId};
use crate::monitor::Monitor;
use crate::point::{Point, Verdict};
use crate::recipe::Step;
use crate::repo::{Reader, RepoError, Repository, Rows, read_part};

/// The first 96 bits of a chunk id.
type Key = [u32; 3];

/// Keys that were added lately are remembered in a table of this size, so that what repeats is added once.
const RECENT: usize = 1 << 16;
/// Keys are found by their first 16 bits, and then by halving.
const STARTS: usize = 1 << 16;

fn key(id: &ChunkId) -> Key {
    let bytes = id.as_bytes();
    let word = |at: usize| {
        let four = bytes.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        u32::from_be_bytes(four.unwrap_or_default())
    };
    [word(0), word(4), word(8)]
}

/// A set of chunks.
pub(super) struct InUse {
    keys: Vec<Key>,
    recent: Vec<Option<Key>>,
    starts: Vec<usize>,
}

impl InUse {
    /// An empty set with room for so many chunks.
    fn with_capacity(chunks: usize) -> Self {
        let keys = Vec::with_capacity(chunks.saturating_add(RECENT));
        Self { keys, recent: vec![None; RECENT], starts: Vec::new() }
    }

    fn add(&mut self, id: &ChunkId) {
        let key = key(id);
        let Some(recent) = self.recent.get_mut(key.first().map_or(0, |word| *word as usize % RECENT)) else { return };
        if *recent == Some(key) {
            return;
        }
        *recent = Some(key);
        if self.keys.len() == self.keys.capacity() {
            self.settle();
            // Where most of it is distinct, a quarter more, so that it is not sorted again for every few.
            if self.keys.len() > self.keys.capacity() / 4 * 3 {
                self.keys.reserve_exact(self.keys.capacity() / 4);
            }
        }
        self.keys.push(key);
    }

    fn settle(&mut self) {
        self.keys.sort_unstable();
        self.keys.dedup();
    }

    /// Puts everything in order, after which chunks can be looked up.
    fn order(&mut self) {
        self.settle();
        let mut starts = vec![0; STARTS + 1];
        let mut before = 0;
        for (start, from) in starts.iter_mut().zip(0_u32..) {
            let rest = self.keys.get(before..).unwrap_or_default();
            // Keys are spread evenly, so the next place is near.
            before += rest.iter().take_while(|[first, ..]| first >> 16 < from).count();
            *start = before;
        }
        self.starts = starts;
    }

    /// A number below [`Self::len`] for a chunk that is in use.
    pub(super) fn position(&self, id: &ChunkId) -> Option<usize> {
        let key = key(id);
        let [first, ..] = key;
        let bucket = (first >> 16) as usize;
        let (start, end) = (*self.starts.get(bucket)?, *self.starts.get(bucket + 1)?);
        self.keys.get(start..end)?.binary_search(&key).ok().map(|at| start + at)
    }

    /// How many chunks are in use.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// One bit for each chunk that is in use.
#[derive(Clone)]
pub(super) struct Marks(Vec<u64>);

impl Marks {
    /// None is set.
    pub(super) fn new(in_use: &InUse) -> Self {
        Self(vec![0; in_use.len() / 64 + 1])
    }

    pub(super) fn set(&mut self, position: usize) {
        if let Some(word) = self.0.get_mut(position / 64) {
            *word |= 1 << (position % 64);
        }
    }

    pub(super) fn has(&self, position: usize) -> bool {
        self.0.get(position / 64).is_some_and(|word| word >> (position % 64) & 1 == 1)
    }

    /// How many are set in this one or in the other.
    pub(super) fn count_with(&self, other: &Self) -> usize {
        self.0.iter().zip(&other.0).map(|(one, other)| (one | other).count_ones() as usize).sum()
    }
}

/// Something that cannot be read, so that nobody knows what is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unknown {
    /// The point.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// Marks what points use. Points that were looked at once are not looked at again: they never change, and what one used
/// that was forgotten meanwhile stays in use for this prune.
pub(super) struct Marker<'r> {
    repository: &'r Repository,
    pub(super) in_use: InUse,
    /// Points and voids that were looked at.
    seen: HashSet<PointId>,
    /// Parts whose chunks are marked already: neighbouring points share most of theirs.
    parts: HashSet<ChunkId>,
    pub(super) points: usize,
}

impl<'r> Marker<'r> {
    /// A marker for a repository whose segments name so many chunks.
    pub(super) fn new(repository: &'r Repository) -> Result<Self, RepoError> {
        let chunks: u64 = repository.index().packs()?.values().map(|pack| u64::from(pack.chunks)).sum();
        let in_use = InUse::with_capacity(usize::try_from(chunks).unwrap_or(0));
        Ok(Self { repository, in_use, seen: HashSet::new(), parts: HashSet::new(), points: 0 })
    }

    /// Marks the points that are there now. `each` hears of every one of them.
    pub(super) fn mark(
        &mut self,
        monitor: &dyn Monitor,
        mut each: impl FnMut(&Point),
    ) -> Result<Option<Unknown>, RepoError> {
        let mut reader = Reader::new(self.repository)?;
        for id in self.repository.list_points()? {
            if monitor.stop_requested() {
                break;
            }
            if self.seen.contains(&id) {
                continue;
            }
            let point = match self.repository.read_verdict(id) {
                Ok(Verdict::Point(point)) => point,
                Ok(Verdict::Void) | Err(RepoError::Gone { .. }) => {
                    self.seen.insert(id);
                    continue;
                }
                Err(error) if error.is_damage() => {
                    return Ok(Some(Unknown { object: format!("Point {id}"), reason: error.to_string() }));
                }
                Err(error) => return Err(error),
            };
            match self.walk(&mut reader, &point) {
                Ok(()) => {}
                Err(error @ (RepoError::Store(_) | RepoError::Index(_) | RepoError::CannotRead))
                    if !error.is_damage() =>
                {
                    return Err(error);
                }
                // Forgotten meanwhile, and another prune was fast.
                Err(_) if !self.repository.has_verdict(id)? => {}
                Err(error) => {
                    let object = format!("The recipe of {} of {} ({})", point.source, point.started, id.short());
                    return Ok(Some(Unknown { object, reason: error.to_string() }));
                }
            }
            each(&point);
            self.points += 1;
            self.seen.insert(id);
        }
        self.in_use.order();
        Ok(None)
    }

    fn walk(&mut self, reader: &mut Reader<'_>, point: &Point) -> Result<(), RepoError> {
        for chunk in &point.content.table {
            self.in_use.add(&chunk.id);
        }
        let mut rows = Rows::new(&point.content);
        while let Some(row) = rows.next(reader)? {
            if self.parts.contains(&row.part.id) {
                continue;
            }
            self.in_use.add(&row.part.id);
            let part = read_part(reader, &row)?;
            for chunk in &part.envelope {
                self.in_use.add(&chunk.id);
            }
            for step in &part.steps {
                if let Step::Chunk(chunk) = step {
                    self.in_use.add(&chunk.id);
                }
            }
            self.parts.insert(row.part.id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunk(number: u32) -> ChunkId {
        ChunkId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    proptest! {
        #[test]
        fn what_was_added_is_found_and_nothing_else(
            numbers in prop::collection::vec(0_u32..200, 0..300), room in 0_usize..50
        ) {
            let mut in_use = InUse { recent: vec![None; RECENT], keys: Vec::with_capacity(room), starts: Vec::new() };
            for number in &numbers {
                in_use.add(&chunk(*number));
            }
            in_use.order();
            let added: HashSet<u32> = numbers.into_iter().collect();
            prop_assert_eq!(in_use.len(), added.len());
            let mut positions = HashSet::new();
            for number in 0..200 {
                let position = in_use.position(&chunk(number));
                prop_assert_eq!(position.is_some(), added.contains(&number));
                prop_assert!(position.is_none_or(|position| position < in_use.len() && positions.insert(position)));
            }
        }
    }
}
