//! A reader's search for one chunk: it has no session, so a pack may go under its hands, and then it looks again.

use crate::protocol::{Ids, PackOf};

/// The operation that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    at: At<PackOf<I>>,
    /// Looks that found nothing since a pack was last seen.
    fruitless: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At<P> {
    Choose,
    Fetch(P),
    Settle,
    ReadSegments,
    ListPacks,
    Found,
    Missing,
}

impl<I: Ids> Default for Search<I> {
    /// A search that begins with what was seen before it.
    fn default() -> Self {
        Self { at: At::Choose, fruitless: 0 }
    }
}

impl<I: Ids> Search<I> {
    /// The operation that comes next.
    pub fn next(&self) -> SearchStep<PackOf<I>> {
        match self.at {
            At::Choose => SearchStep::Choose,
            At::Fetch(pack) => SearchStep::Fetch(pack),
            At::Settle => SearchStep::Settle,
            At::ReadSegments => SearchStep::ReadSegments,
            At::ListPacks => SearchStep::ListPacks,
            At::Found => SearchStep::Found,
            At::Missing => SearchStep::Missing,
        }
    }

    /// Answers [`SearchStep::Choose`]: a pack that was listed and that a segment puts the chunk into, best one that is
    /// neither condemned nor damaged.
    ///
    /// What was seen before may be old, so a first fruitless choice means to look. What that look misses a copy may
    /// have moved between its two listings, or listings are stale: so it is made again, one settle time later.
    pub fn chosen(&mut self, pack: Option<PackOf<I>>) {
        self.at = match pack {
            Some(pack) => {
                self.fruitless = 0;
                At::Fetch(pack)
            }
            None if self.fruitless == 0 => At::ReadSegments,
            None if self.fruitless == 1 => At::Settle,
            None => At::Missing,
        };
    }

    /// Answers [`SearchStep::Fetch`]: whether the pack was there. Each time it is not, a prune went on meanwhile.
    pub fn fetched(&mut self, was_there: bool) {
        self.at = if was_there { At::Found } else { At::ReadSegments };
    }

    /// Answers [`SearchStep::Settle`], [`SearchStep::ReadSegments`] and [`SearchStep::ListPacks`].
    pub fn done(&mut self) {
        self.at = match self.at {
            At::Settle => At::ReadSegments,
            At::ReadSegments => At::ListPacks,
            At::ListPacks => {
                self.fruitless += 1;
                At::Choose
            }
            other => other,
        };
    }
}
