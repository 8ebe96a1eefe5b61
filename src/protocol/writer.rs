//! A writer: one attempt to make one point (steps W1 to W6).

use crate::protocol::{CondemnedOf, Creation, IdSet, Ids, PackOf, Reading};

/// How often a void is tried when a commit got no clear answer.
const VOIDS_MAX: u8 = 5;

/// The parts of an attempt, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Announce,
    Condemned,
    Packs,
    Store,
    Name,
    Commit,
    Withdraw,
}

/// Each change of this order loses data; `format-spec/concurrency.md` names the traces.
pub(super) const ORDER: &[Phase] =
    &[Phase::Announce, Phase::Condemned, Phase::Packs, Phase::Store, Phase::Name, Phase::Commit, Phase::Withdraw];

/// The operation that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriterStep<C> {
    /// W1: create the session.
    Announce,
    /// W2: list the condemned objects.
    ListCondemned,
    /// W2: read one of them.
    ReadCondemned(C),
    /// W3: list the packs.
    ListPacks,
    /// W4: store what is not known, in packs; at leisure, and in any number of operations.
    Store,
    /// W4: store the segment that names every pack which this process stored and no segment names yet.
    Name,
    /// W5: create the point if its name is free. It is sent once, below every retry.
    Commit,
    /// W5, after no clear answer: create a void under the same name if that is free.
    Void,
    /// W5, after no clear answer: read what has the name, and compare it with the point that was sent.
    ReadVerdict,
    /// W6: remove the session.
    Withdraw,
    /// There is nothing more to do.
    Ended(Attempt),
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attempt {
    /// The point exists.
    Committed,
    /// A void took its place. What was stored is there, for another attempt to refer to.
    Fenced,
    /// The commit failed, and it is certain that the point will never exist.
    Failed,
    /// Nobody knows whether the point exists or still will. The session stays, so that a prune waits or fences (T25).
    Unknown,
    /// It was given up before its point was sent.
    Abandoned,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Writer<I: Ids> {
    order: &'static [Phase],
    position: usize,
    /// Condemned objects that are listed and not read.
    unread: Option<I::Condemned>,
    condemned: I::Packs,
    listed: I::Packs,
    /// Whether every condemned object could be read: what one names that could not is unknown.
    is_certain: bool,
    sent: Sent,
    attempt: Attempt,
}

/// What is known of the point that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Sent {
    NotYet,
    Unclear { voids: u8 },
    Decided,
    Over,
}

impl<I: Ids> Default for Writer<I> {
    fn default() -> Self {
        Self::in_order(ORDER)
    }
}

impl<I: Ids> Writer<I> {
    pub(super) fn in_order(order: &'static [Phase]) -> Self {
        Self {
            order,
            position: 0,
            unread: None,
            condemned: I::Packs::default(),
            listed: I::Packs::default(),
            is_certain: true,
            sent: Sent::NotYet,
            attempt: Attempt::Abandoned,
        }
    }

    /// The operation that comes next.
    pub fn next(&self) -> WriterStep<CondemnedOf<I>> {
        let Some(phase) = self.order.get(self.position) else { return WriterStep::Ended(self.attempt) };
        match (phase, self.sent) {
            (Phase::Announce, _) => WriterStep::Announce,
            (Phase::Condemned, _) => match self.unread.as_ref().and_then(IdSet::first) {
                Some(object) => WriterStep::ReadCondemned(object),
                None => WriterStep::ListCondemned,
            },
            (Phase::Packs, _) => WriterStep::ListPacks,
            (Phase::Store, _) => WriterStep::Store,
            (Phase::Name, _) => WriterStep::Name,
            (Phase::Commit, Sent::Unclear { .. }) => WriterStep::Void,
            (Phase::Commit, Sent::Decided) => WriterStep::ReadVerdict,
            (Phase::Commit, _) => WriterStep::Commit,
            (Phase::Withdraw, _) => WriterStep::Withdraw,
        }
    }

    /// Whether a chunk may be referred to that a stored segment puts into this pack. Besides these count the packs that
    /// this process stored after the announcement, for whoever condemns one waits for this session.
    pub fn knows(&self, pack: PackOf<I>) -> bool {
        self.is_certain && self.listed.contains(pack) && !self.condemned.contains(pack)
    }

    /// An operation that has no other answer than that it succeeded: [`WriterStep::Announce`], [`WriterStep::Store`],
    /// [`WriterStep::Name`], [`WriterStep::Withdraw`]. After an error it is still the next.
    pub fn done(&mut self) {
        self.position += 1;
    }

    /// Answers [`WriterStep::ListCondemned`].
    pub fn condemned_listed(&mut self, objects: I::Condemned) {
        if objects.is_empty() {
            self.done();
        } else {
            self.unread = Some(objects);
        }
    }

    /// Answers [`WriterStep::ReadCondemned`]. The packs of one that is gone are gone, too.
    pub fn condemned_read(&mut self, object: CondemnedOf<I>, says: &Reading<I::Packs>) {
        match says {
            Reading::Says(packs) => self.condemned.extend(packs),
            Reading::Gone => {}
            Reading::Unreadable => self.is_certain = false,
        }
        if let Some(unread) = &mut self.unread {
            unread.remove(object);
            if unread.is_empty() {
                self.unread = None;
                self.done();
            }
        }
    }

    /// Answers [`WriterStep::ListPacks`].
    pub fn packs_listed(&mut self, packs: I::Packs) {
        self.listed = packs;
        self.done();
    }

    /// Answers [`WriterStep::Commit`].
    pub fn committed(&mut self, creation: Creation) {
        match creation {
            Creation::Created => self.decide(Attempt::Committed),
            Creation::Taken => self.decide(Attempt::Fenced),
            Creation::Unclear => self.sent = Sent::Unclear { voids: 0 },
        }
    }

    /// Answers [`WriterStep::Void`].
    pub fn voided(&mut self, creation: Creation) {
        match (creation, self.sent) {
            (Creation::Unclear, Sent::Unclear { voids }) if voids + 1 < VOIDS_MAX => {
                self.sent = Sent::Unclear { voids: voids + 1 };
            }
            (Creation::Unclear, _) => self.end(Attempt::Unknown),
            (Creation::Created | Creation::Taken, _) => self.sent = Sent::Decided,
        }
    }

    /// Answers [`WriterStep::ReadVerdict`].
    pub fn verdict_read(&mut self, is_own: bool) {
        self.decide(if is_own { Attempt::Committed } else { Attempt::Failed });
    }

    /// [`WriterStep::ReadVerdict`] failed: who won is not known here.
    pub fn verdict_unreadable(&mut self) {
        self.end(Attempt::Unknown);
    }

    /// Gives the attempt up, which must not have been sent.
    pub fn abandon(&mut self) {
        if self.sent == Sent::NotYet && self.position > 0 {
            self.position = self.order.iter().position(|phase| *phase == Phase::Withdraw).unwrap_or(self.order.len());
        }
    }

    fn decide(&mut self, attempt: Attempt) {
        self.attempt = attempt;
        self.sent = Sent::Over;
        self.done();
    }

    fn end(&mut self, attempt: Attempt) {
        self.attempt = attempt;
        self.position = self.order.len();
    }
}
