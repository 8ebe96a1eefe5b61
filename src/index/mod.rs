//! The index: which chunk is in which packs, and where (`format-spec/index.md`).
//!
//! A cache on the host, filled from index segments, that may be deleted at any time. It is never the truth: it says
//! "would be there", and the caller asks the store whether the pack stands in `packs/` and is not condemned. It knows
//! no store, no key and no repository beyond its id.
//!
//! Invariants of every adapter: a segment counts as absorbed only once all its facts are in; facts of packs that no
//! absorbed segment names are never given; one built from scratch answers like one that grew. The suite in
//! `conformance` holds them to it.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod memory;
#[cfg(feature = "rocks")]
pub mod rocks;
#[cfg(any(test, feature = "rocks", feature = "testing"))]
pub mod rows;
mod statements;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::PathBuf;

use crate::id::{ChunkId, PackId, RepositoryId, RunId, SegmentId};
use crate::pack::{Location, PackKind, Segment};

/// One place of a chunk, as a segment states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fact {
    /// The pack.
    pub pack: PackId,
    /// Where in it.
    pub at: Location,
}

/// What segments state about a pack as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackSummary {
    /// Size of the pack file in bytes; a listed pack of another size is damaged. Should segments disagree, which no
    /// writer causes, the largest.
    pub bytes: u64,
    /// What kind of chunks it holds.
    pub kind: PackKind,
    /// The run that wrote it.
    pub run: RunId,
    /// How many chunks it holds.
    pub chunks: u32,
}

/// Where chunks are, as far as segments were absorbed.
///
/// All methods may be called from several threads. A method that fails leaves the index as it was or with facts that no
/// absorbed segment names, which are not given; calling it again is always right.
pub trait Index: Send + Sync {
    /// The segments that were taken in completely and not dropped since.
    fn absorbed(&self) -> Result<BTreeSet<SegmentId>, IndexError>;

    /// Takes in the facts of a segment, and only then notes it as absorbed. Absorbing it again changes nothing.
    fn absorb(&self, id: SegmentId, segment: &Segment) -> Result<(), IndexError>;

    /// Begins to take in many segments; much faster than one by one where there are many facts.
    fn load(&self) -> Result<Box<dyn Load + '_>, IndexError>;

    /// Forgets segments that a merge removed or that are lost. Packs that no other absorbed segment names give no facts
    /// from now on. Absorb the merged segment before the ones it replaces are dropped: then nothing has to be written
    /// again. Segments that are not absorbed are passed over.
    fn drop_segments(&self, gone: &BTreeSet<SegmentId>) -> Result<(), IndexError>;

    /// For each chunk asked for all its places in packs that an absorbed segment names, ordered by pack. Of a chunk
    /// that a pack holds twice, the last place is given. Ask for many at once: a batch is looked up in key order.
    fn facts(&self, ids: &[ChunkId]) -> Result<Vec<Vec<Fact>>, IndexError>;

    /// All packs that an absorbed segment names.
    fn packs(&self) -> Result<BTreeMap<PackId, PackSummary>, IndexError>;

    /// For each pack asked for the size in bytes that segments state, or nothing if no absorbed segment names it.
    fn pack_bytes(&self, ids: &[PackId]) -> Result<Vec<Option<u64>>, IndexError>;

    /// Makes what was taken in visible to processes that open the index from now on, and durable. Without it a killed
    /// process's successor has to absorb again what came last.
    fn flush(&self) -> Result<(), IndexError>;
}

/// Many segments on their way into an index. Dropping it unfinished leaves the index as it was.
pub trait Load {
    /// Takes a segment; nothing of it shows yet.
    fn add(&mut self, id: SegmentId, segment: &Segment) -> Result<(), IndexError>;

    /// Puts the facts of all segments in place and notes them as absorbed.
    fn finish(self: Box<Self>) -> Result<(), IndexError>;
}

/// What can go wrong with an index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The index is of no use and will not get better: to be made anew, from segments.
    #[error("The index in {} cannot be used", dir.display())]
    Unusable {
        /// Where it is.
        dir: PathBuf,
        /// Why.
        #[source]
        reason: Unusable,
    },
    /// The system refused something, such as space or a permission; the index itself may be sound.
    #[error("The index in {} cannot be accessed", dir.display())]
    Failed {
        /// Where it is.
        dir: PathBuf,
        /// What was refused.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Why an index is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It was made for another repository.
    #[error("It belongs to repository {0}")]
    Foreign(RepositoryId),
    /// It has the layout of another version of the program.
    #[error("It has layout {0}, which this version of the program does not use")]
    Layout(u32),
    /// It holds what no sound index holds.
    #[error("Its entry {0} has no meaning")]
    Entry(&'static str),
    /// It has given a number to four billion packs; there are no more.
    #[error("Its pack numbers are used up")]
    Numbers,
    /// The database reports damage.
    #[error("It is damaged")]
    Damaged(#[source] Box<dyn Error + Send + Sync>),
}

/// Puts the places of one chunk into the order that [`Index::facts`] promises; equal ones become one.
fn arrange(facts: &mut Vec<Fact>) {
    if facts.len() > 1 {
        let order = |fact: &Fact| (fact.pack, fact.at.frame, fact.at.offset, fact.at.frame_offset, fact.at.len);
        facts.sort_unstable_by_key(order);
        facts.dedup();
    }
}
