//! Sets of chunks that fit into memory however many there are: twelve bytes for each.
//!
//! Of each id 96 bits are kept, into which all of its bits go: an id in which memory turned one bit over is another
//! one. Two chunks of a repository of sixteen million share them with a probability of 10^-15; ids are keyed hashes, so
//! nobody can look for two.

use crate::id::ChunkId;
use crate::limits::CHUNK_SET_PENDING_MAX;
use crate::recipe::ChunkRef;

/// Keys are found by their first bits, so many, and then by halving.
const START_BITS: u32 = 18;
/// So many keys around the place where a key should be are looked at first.
const GUESS_KEYS: usize = 16;

/// What a set keeps of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkKey([u32; 3]);

impl ChunkKey {
    /// Its first bits.
    fn start(self) -> usize {
        let Self([first, ..]) = self;
        (first >> (u32::BITS - START_BITS)) as usize
    }

    /// The bits behind these, of the first word.
    fn rest(self) -> u32 {
        let Self([first, ..]) = self;
        first & (u32::MAX >> START_BITS)
    }
}

impl From<&ChunkId> for ChunkKey {
    fn from(id: &ChunkId) -> Self {
        let (words, _) = id.as_bytes().as_chunks();
        let mut key = [0; 3];
        for (at, word) in words.iter().enumerate() {
            if let Some(part) = key.get_mut(at % 3) {
                *part ^= u32::from_be_bytes(*word);
            }
        }
        Self(key)
    }
}

/// A chunk of this length: the same id with another length has another key.
impl From<&ChunkRef> for ChunkKey {
    fn from(chunk: &ChunkRef) -> Self {
        let Self([first, second, third]) = Self::from(&chunk.id);
        Self([first, second, third ^ chunk.len])
    }
}

/// A set of chunks: of ids, or of ids with lengths.
#[derive(Debug, Default)]
pub struct ChunkSet {
    /// In order, each once.
    keys: Vec<ChunkKey>,
    /// Keys that were added since.
    pending: Vec<ChunkKey>,
    /// Where the keys with these first bits begin.
    starts: Vec<usize>,
}

impl ChunkSet {
    /// An empty set with room for so many chunks.
    pub fn with_capacity(chunks: usize) -> Self {
        Self { keys: Vec::with_capacity(chunks), ..Self::default() }
    }

    /// Adds a chunk, which is found after the next [`Self::order`].
    pub fn add(&mut self, chunk: impl Into<ChunkKey>) {
        if self.pending.len() >= CHUNK_SET_PENDING_MAX {
            self.merge();
        }
        self.pending.push(chunk.into());
    }

    /// Puts everything in order, after which chunks can be looked up.
    pub fn order(&mut self) {
        self.merge();
        self.pending = Vec::new();
        self.starts = Vec::with_capacity((1 << START_BITS) + 1);
        let mut before = 0;
        for start in 0..=1 << START_BITS {
            let rest = self.keys.get(before..).unwrap_or_default();
            // Keys are spread evenly, so the next place is near.
            before += rest.iter().take_while(|key| key.start() < start).count();
            self.starts.push(before);
        }
    }

    /// A number below [`Self::len`] for a chunk that is in the set.
    pub fn position(&self, chunk: impl Into<ChunkKey>) -> Option<usize> {
        let key = chunk.into();
        let (begin, end) = (*self.starts.get(key.start())?, *self.starts.get(key.start() + 1)?);
        let alike = self.keys.get(begin..end)?;
        // Keys are spread evenly, so most are near where their next bits say; halving from far away waits for memory.
        let guess = (u64::from(key.rest()) * alike.len() as u64) >> (u32::BITS - START_BITS);
        let first = usize::try_from(guess).unwrap_or(0).saturating_sub(GUESS_KEYS / 2);
        let near = alike.get(first..alike.len().min(first + GUESS_KEYS)).unwrap_or_default();
        if near.first() <= Some(&key) && Some(&key) <= near.last() {
            return near.binary_search(&key).ok().map(|at| begin + first + at);
        }
        alike.binary_search(&key).ok().map(|at| begin + at)
    }

    /// Whether a chunk is in the set.
    pub fn has(&self, chunk: impl Into<ChunkKey>) -> bool {
        self.position(chunk).is_some()
    }

    /// How many chunks are in the set.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no chunk is.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Takes what was added to where it belongs, from the back, so that it needs no second copy of the set.
    fn merge(&mut self) {
        self.pending.sort_unstable();
        self.pending.dedup();
        let mut known = self.keys.iter().peekable();
        self.pending.retain(|key| {
            while known.next_if(|known| *known < key).is_some() {}
            known.peek() != Some(&key)
        });
        let (Some(filler), mut from) = (self.pending.first().copied(), self.keys.len()) else { return };
        let mut to = from + self.pending.len();
        if to > self.keys.capacity() {
            self.keys.reserve_exact((to - from).max(from / 8));
        }
        self.keys.resize(to, filler);
        for key in self.pending.drain(..).rev() {
            let greater =
                self.keys.get(..from).unwrap_or_default().iter().rev().take_while(|other| **other > key).count();
            self.keys.copy_within(from - greater..from, to - greater);
            (from, to) = (from - greater, to - greater - 1);
            if let Some(place) = self.keys.get_mut(to) {
                *place = key;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ID_BYTES;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn chunk(number: u32) -> ChunkId {
        ChunkId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    proptest! {
        #[test]
        fn what_was_added_is_found_and_nothing_else(
            rounds in prop::collection::vec(prop::collection::vec(0_u32..200, 0..100), 0..5), room in 0_usize..50,
        ) {
            let mut set = ChunkSet::with_capacity(room);
            for round in &rounds {
                for number in round {
                    set.add(&chunk(*number));
                }
                set.order();
            }
            let added: HashSet<u32> = rounds.concat().into_iter().collect();
            prop_assert_eq!(set.len(), added.len());
            prop_assert!(set.keys.is_sorted());
            let mut positions = HashSet::new();
            for number in 0..200 {
                let position = set.position(&chunk(number));
                prop_assert_eq!(position.is_some(), added.contains(&number));
                prop_assert!(position.is_none_or(|position| position < set.len() && positions.insert(position)));
            }
        }
    }

    #[test]
    fn a_chunk_of_another_length_is_another() {
        let id = chunk(1);
        let mut set = ChunkSet::default();
        set.add(&ChunkRef { id, len: 5 });
        set.order();
        assert!(set.has(&ChunkRef { id, len: 5 }) && !set.has(&ChunkRef { id, len: 6 }) && !set.has(&id));
    }

    #[test]
    fn a_chunk_whose_id_differs_in_one_bit_is_another() {
        let chunk = ChunkRef { id: chunk(1), len: 5 };
        let mut set = ChunkSet::default();
        set.add(&chunk);
        set.order();
        for bit in 0..ID_BYTES * 8 {
            let mut id = *chunk.id.as_bytes();
            id[bit / 8] ^= 1 << (bit % 8);
            assert!(!set.has(&ChunkRef { id: ChunkId::from_bytes(id), ..chunk }), "bit {bit}");
        }
    }

    #[test]
    fn a_full_batch_loses_nothing() {
        let numbers = 0..u32::try_from(CHUNK_SET_PENDING_MAX).unwrap() + 10;
        let mut set = ChunkSet::default();
        for number in numbers.clone() {
            set.add(&chunk(number));
        }
        set.order();
        assert!(set.len() == numbers.len() && numbers.clone().all(|number| set.has(&chunk(number))));
        assert!(!set.has(&chunk(numbers.end)));
    }
}
