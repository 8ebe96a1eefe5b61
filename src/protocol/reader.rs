//! A reader's search for one chunk: it has no session, so a pack may go under its hands, and then it looks again.

use crate::limits::LOOK_AGAIN_MAX;
use crate::protocol::{Ids, PackOf};

/// The operation that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SearchStep<P> {
    /// No operation: choose a pack by what was seen last ([`Search::chosen`]).
    Choose,
    /// Read the chunk from this pack.
    Fetch(P),
    /// Wait one settle time: what is listed then is as it was when the wait began, or younger.
    Settle,
    /// Read the segments that are new.
    ReadSegments,
    /// List the packs.
    ListPacks,
    /// The chunk was read.
    Found,
    /// No pack in the store has it: the point was forgotten meanwhile, or data is lost.
    Missing,
}

/// The search for one chunk of a point.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Search<I: Ids> {
    next: SearchStep<PackOf<I>>,
    /// Looks that found nothing since a pack was last seen.
    fruitless: u8,
    /// Packs that were listed and gone when they were to be read. A store that lists what it does not have must not
    /// keep a reader for ever.
    gone: usize,
}

impl<I: Ids> Default for Search<I> {
    /// A search that begins with what was seen before it.
    fn default() -> Self {
        Self { next: SearchStep::Choose, fruitless: 0, gone: 0 }
    }
}

impl<I: Ids> Search<I> {
    /// The operation that comes next.
    pub fn next(&self) -> SearchStep<PackOf<I>> {
        self.next
    }

    /// Answers [`SearchStep::Choose`]: a pack that was listed and that a segment puts the chunk into, best one that is
    /// neither condemned nor damaged.
    ///
    /// What was seen before may be old, so a first fruitless choice means to look. What that look misses a copy may
    /// have moved between its two listings, or listings are stale: so it is made again, one settle time later.
    pub fn chosen(&mut self, pack: Option<PackOf<I>>) {
        self.next = match pack {
            Some(pack) => {
                self.fruitless = 0;
                SearchStep::Fetch(pack)
            }
            None if self.fruitless == 0 => SearchStep::ReadSegments,
            None if self.fruitless == 1 => SearchStep::Settle,
            None => SearchStep::Missing,
        };
    }

    /// Answers [`SearchStep::Fetch`]: whether the pack was there. Each time it is not, a prune went on meanwhile.
    pub fn fetched(&mut self, was_there: bool) {
        self.gone += usize::from(!was_there);
        self.next = match was_there {
            true => SearchStep::Found,
            false if self.gone > LOOK_AGAIN_MAX => SearchStep::Missing,
            false => SearchStep::ReadSegments,
        };
    }

    /// Answers [`SearchStep::Fetch`] where the pack is there and does not hold what it should. It is not chosen again.
    pub fn unsound(&mut self) {
        self.next = SearchStep::Choose;
    }

    /// Answers [`SearchStep::Settle`], [`SearchStep::ReadSegments`] and [`SearchStep::ListPacks`].
    pub fn done(&mut self) {
        self.next = match self.next {
            SearchStep::Settle => SearchStep::ReadSegments,
            SearchStep::ReadSegments => SearchStep::ListPacks,
            SearchStep::ListPacks => {
                self.fruitless += 1;
                SearchStep::Choose
            }
            other => other,
        };
    }
}
