//! Merging segments: one takes the place of several.

use crate::protocol::{IdSet, Ids, Reading, SegmentOf};

/// The operation that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeStep<S> {
    /// Read one of the segments that were listed.
    Read(S),
    /// Store what was read as one segment. Facts may be left out only of packs that are known to be deleted.
    Store,
    /// Remove a segment that was read.
    Remove(S),
    /// There is nothing more to do.
    Ended,
}

/// One merge. It needs no order against anything else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Merge<I: Ids> {
    unread: I::Segments,
    read: I::Segments,
    is_stored: bool,
}

impl<I: Ids> Merge<I> {
    /// A merge of segments that were listed.
    pub fn new(listed: I::Segments) -> Self {
        Self { unread: listed, read: I::Segments::default(), is_stored: false }
    }

    /// The operation that comes next.
    pub fn next(&self) -> MergeStep<SegmentOf<I>> {
        match (self.unread.first(), self.read.first(), self.is_stored) {
            (Some(segment), _, _) => MergeStep::Read(segment),
            (None, None, _) => MergeStep::Ended,
            (None, Some(_), false) => MergeStep::Store,
            (None, Some(segment), true) => MergeStep::Remove(segment),
        }
    }

    /// Answers [`MergeStep::Read`]. What was not read is not removed.
    pub fn read<T>(&mut self, segment: SegmentOf<I>, says: &Reading<T>) {
        self.unread.remove(segment);
        if matches!(says, Reading::Says(_)) {
            self.read.insert(segment);
        }
    }

    /// Answers [`MergeStep::Store`].
    pub fn stored(&mut self) {
        self.is_stored = true;
    }

    /// Answers [`MergeStep::Remove`].
    pub fn removed(&mut self, segment: SegmentOf<I>) {
        self.read.remove(segment);
    }
}
