//! The concurrency protocol: who may do what next, so that no point ever loses a chunk (`format-spec/concurrency.md`).
//!
//! Writer, prune, reader and merge are state machines without IO. Each says which operation on the store comes next,
//! one at a time, and is told what became of it; the order of its steps is a constant. The program drives them with
//! the real store, and the tests drive the very same types with a model of one, through all interleavings. Nothing
//! else in the program decides when a pack, a point, a session or a condemned object may come or go.

mod merge;
mod prune;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;

pub use merge::{Merge, MergeStep};
pub use prune::{Ending, Prune, PruneStep, Standing, Survey};
pub use reader::{Search, SearchStep};
pub use writer::{Attempt, Writer, WriterStep};

/// A set of ids. The program has thousands of packs, the model of the tests has five.
pub trait IdSet: Clone + Default + Eq + Hash + Debug {
    /// What is in it.
    type Id: Copy + Eq + Hash + Debug;
    /// Adds one.
    fn insert(&mut self, id: Self::Id);
    /// Takes one out.
    fn remove(&mut self, id: Self::Id);
    /// Whether it is in.
    fn contains(&self, id: Self::Id) -> bool;
    /// Any one of them, always the same one.
    fn first(&self) -> Option<Self::Id>;
    /// Adds all of another set.
    fn extend(&mut self, other: &Self);
    /// Takes all of another set out.
    fn subtract(&mut self, other: &Self);

    /// Whether nothing is in it.
    fn is_empty(&self) -> bool {
        self.first().is_none()
    }
}

impl<I: Copy + Ord + Hash + Debug> IdSet for BTreeSet<I> {
    type Id = I;

    fn insert(&mut self, id: I) {
        BTreeSet::insert(self, id);
    }

    fn remove(&mut self, id: I) {
        BTreeSet::remove(self, &id);
    }

    fn contains(&self, id: I) -> bool {
        BTreeSet::contains(self, &id)
    }

    fn first(&self) -> Option<I> {
        BTreeSet::first(self).copied()
    }

    fn extend(&mut self, other: &Self) {
        Extend::extend(self, other.iter().copied());
    }

    fn subtract(&mut self, other: &Self) {
        self.retain(|id| !other.contains(id));
    }
}

/// Which sets of ids the machines work with.
pub trait Ids: Clone + Eq + Hash + Debug {
    /// Packs.
    type Packs: IdSet;
    /// Sessions, which have the ids of their points.
    type Sessions: IdSet;
    /// Condemned objects.
    type Condemned: IdSet;
    /// Index segments.
    type Segments: IdSet;
}

/// One pack.
pub type PackOf<I> = <<I as Ids>::Packs as IdSet>::Id;
/// One session.
pub type SessionOf<I> = <<I as Ids>::Sessions as IdSet>::Id;
/// One condemned object.
pub type CondemnedOf<I> = <<I as Ids>::Condemned as IdSet>::Id;
/// One segment.
pub type SegmentOf<I> = <<I as Ids>::Segments as IdSet>::Id;

/// What became of a creation that wants a free name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Creation {
    /// The object is there.
    Created,
    /// Another one has the name.
    Taken,
    /// Nobody knows whether it happened, or still will.
    Unclear,
}

/// What reading an object that was listed came to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reading<T> {
    /// What it says.
    Says(T),
    /// It has been removed since it was listed.
    Gone,
    /// It is there and cannot be read.
    Unreadable,
}
