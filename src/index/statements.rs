//! Which packs count: what absorbed segments state about packs, without the facts about their chunks.
//!
//! A *statement* is one pack with one directory; segments that repeat it verbatim, as a merge does, share it, and its
//! facts are kept once. It has a number, which stands for it in the keys of facts. It is *live* while an absorbed
//! segment names it. Knows neither how facts nor how statements are stored. Some hundred bytes per pack, 16 000 packs
//! per TB.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::codec::Encoder;
use crate::id::{PackId, SegmentId};
use crate::index::PackSummary;
use crate::pack::{Segment, SegmentPack};

/// Bytes of the digest that tells two directories of one pack apart.
pub const DIGEST_BYTES: usize = 16;

/// A pack as a segment states it, its directory reduced to a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// The pack.
    pub pack: PackId,
    /// Digest of its directory and size.
    pub digest: [u8; DIGEST_BYTES],
    /// What is stated about it as a whole.
    pub summary: PackSummary,
}

impl Statement {
    /// What an entry of a segment states.
    pub fn of(stated: &SegmentPack) -> Self {
        let mut out = Encoder::new();
        out.u64(stated.bytes);
        stated.directory.encode(&mut out);
        let mut digest = [0; DIGEST_BYTES];
        blake3::Hasher::new().update(&out.finish()).finalize_xof().fill(&mut digest);
        let summary = PackSummary {
            bytes: stated.bytes,
            kind: stated.directory.kind,
            run: stated.directory.run,
            chunks: u32::try_from(stated.directory.chunk_count()).unwrap_or(u32::MAX),
        };
        Self { pack: stated.id, digest, summary }
    }

    /// What makes two statements the same.
    pub(super) fn key(&self) -> StatementKey {
        (self.pack, self.digest)
    }
}

pub(super) type StatementKey = (PackId, [u8; DIGEST_BYTES]);

/// A pack of a segment with its number.
#[derive(Debug)]
pub(super) struct Named<'a> {
    pub number: u32,
    pub statement: Statement,
    /// The pack, if its facts are not in place yet.
    pub fresh: Option<&'a SegmentPack>,
}

#[derive(Debug)]
struct Live {
    statement: Statement,
    /// How many absorbed segments name it; never 0.
    segments: usize,
}

/// The live statements and the segments that name them.
#[derive(Debug, Default)]
pub(super) struct Statements {
    by_number: HashMap<u32, Live>,
    numbers: BTreeMap<StatementKey, u32>,
    segments: BTreeMap<SegmentId, Vec<u32>>,
}

impl Statements {
    /// The absorbed segments.
    pub fn absorbed(&self) -> BTreeSet<SegmentId> {
        self.segments.keys().copied().collect()
    }

    pub fn has_absorbed(&self, id: SegmentId) -> bool {
        self.segments.contains_key(&id)
    }

    /// The number of a live statement.
    pub fn number(&self, key: &StatementKey) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    /// The numbers of all live statements.
    #[cfg(all(test, feature = "rocks"))]
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.by_number.keys().copied()
    }

    /// How many facts are live, counting a chunk in two packs twice.
    #[cfg(feature = "rocks")]
    pub fn chunks(&self) -> u64 {
        self.by_number.values().map(|live| u64::from(live.statement.summary.chunks)).sum()
    }

    /// The pack that a number stands for, if it is live.
    pub fn pack(&self, number: u32) -> Option<PackId> {
        self.by_number.get(&number).map(|live| live.statement.pack)
    }

    /// Gives each pack of a segment its number: the live one, or from `next` on a new one, for statements whose facts
    /// are not in place. Nothing if there are no more numbers.
    pub fn name<'a>(&self, segment: &'a Segment, mut next: u32) -> Option<Vec<Named<'a>>> {
        let mut named = BTreeMap::new();
        for stated in &segment.packs {
            let statement = Statement::of(stated);
            if named.contains_key(&statement.key()) {
                continue;
            }
            let live = self.number(&statement.key());
            let number = live.unwrap_or(next);
            if live.is_none() {
                next = next.checked_add(1)?;
            }
            let fresh = live.is_none().then_some(stated);
            named.insert(statement.key(), Named { number, statement, fresh });
        }
        Some(named.into_values().collect())
    }

    /// Notes a segment as absorbed. All facts of what it names must be in place.
    pub fn insert(&mut self, id: SegmentId, named: impl IntoIterator<Item = (u32, Statement)>) {
        if self.segments.contains_key(&id) {
            return;
        }
        let named: BTreeMap<u32, Statement> = named.into_iter().collect();
        for (&number, &statement) in &named {
            self.numbers.insert(statement.key(), number);
            self.by_number.entry(number).or_insert(Live { statement, segments: 0 }).segments += 1;
        }
        self.segments.insert(id, named.into_keys().collect());
    }

    /// Forgets segments; what no other names is live no longer. Says whether that was the case for any.
    pub fn remove(&mut self, gone: &BTreeSet<SegmentId>) -> bool {
        let before = self.by_number.len();
        for number in gone.iter().filter_map(|id| self.segments.remove(id)).flatten() {
            if let Some(live) = self.by_number.get_mut(&number) {
                live.segments -= 1;
                if live.segments == 0 {
                    self.numbers.remove(&live.statement.key());
                    self.by_number.remove(&number);
                }
            }
        }
        self.by_number.len() < before
    }

    /// The packs of all live statements.
    pub fn packs(&self) -> BTreeMap<PackId, PackSummary> {
        let mut packs = BTreeMap::new();
        // In the order of keys, so that what remains of a contradiction does not depend on numbers.
        for live in self.numbers.values().filter_map(|number| self.by_number.get(number)) {
            let summary = live.statement.summary;
            let known: &mut PackSummary = packs.entry(live.statement.pack).or_insert(summary);
            if summary.bytes > known.bytes {
                *known = summary;
            }
        }
        packs
    }

    /// The stated size of a pack in bytes.
    pub fn pack_bytes(&self, pack: PackId) -> Option<u64> {
        let of_pack = self.numbers.range((pack, [0; DIGEST_BYTES])..=(pack, [u8::MAX; DIGEST_BYTES]));
        of_pack.filter_map(|(_, number)| Some(self.by_number.get(number)?.statement.summary.bytes)).max()
    }
}
