//! A prune: it condemns packs, waits for who may still refer to them, copies what is in use, and deletes (G2 to G7).
//!
//! Any choice of packs is safe; to choose well is the affair of a plan.

use crate::protocol::{CondemnedOf, Creation, IdSet, Ids, PackOf, Reading, SessionOf};

/// The parts of a prune, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Condemn,
    /// So many settle times.
    Settle(u32),
    Adopt,
    Sessions,
    Mark,
    Packs,
    Survey,
    /// Deletes the victims that hold nothing which waits for a copy.
    Free,
    Copy,
    Name,
    Release,
}

/// Each change of this order loses data; `format-spec/concurrency.md` names the traces. After [`Phase::Name`] it goes
/// on at [`Phase::Free`].
pub(super) const ORDER: &[Phase] = &[
    Phase::Condemn,
    Phase::Settle(1),
    Phase::Adopt,
    Phase::Settle(2),
    Phase::Sessions,
    Phase::Settle(1),
    Phase::Mark,
    Phase::Packs,
    Phase::Survey,
    Phase::Free,
    Phase::Copy,
    Phase::Name,
    Phase::Settle(1),
    Phase::Release,
];

/// How a fence is made, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum FencePhase {
    Void,
    Withdraw,
}

/// F1 and F2.
pub(super) const FENCE: &[FencePhase] = &[FencePhase::Void, FencePhase::Withdraw];

/// The operation that comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PruneStep<P, S, C> {
    /// G2: create the condemned object that names the victims.
    Condemn,
    /// Wait so many settle times of the store, by a monotonic clock.
    Settle(u32),
    /// G3: list the condemned objects, the own one included.
    ListCondemned,
    /// G3: read one of them.
    ReadCondemned(C),
    /// G4: list the sessions.
    ListSessions,
    /// G4: look whether a session is over. While it is open: look again later, or [`Prune::fence`] it.
    Look(S),
    /// F1: create a void under the session's name if that is free.
    PutVoid(S),
    /// F2: remove the session.
    Withdraw(S),
    /// G5: list the points, and learn every chunk that is in use.
    Mark,
    /// G5: list the packs.
    ListPacks,
    /// G5: no operation; look where each chunk in use stands, by [`Prune::keeps`] and [`Prune::is_victim`].
    Survey,
    /// G6: delete a victim.
    Delete(P),
    /// G5: copy chunks that are in use out of some of the victims that wait, into new packs.
    Copy,
    /// G5: store the segment that names the copies.
    Name,
    /// G7: remove a condemned object.
    Release(C),
    /// There is nothing more to do.
    Ended(Ending<C>),
}

/// How a prune ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending<C> {
    /// All victims are deleted.
    Finished,
    /// Some victims stay condemned: a chunk in use may be in them and was not found.
    Damaged,
    /// A condemned object cannot be read, so nobody knows what others are about to delete. Nothing was deleted.
    UnreadableCondemned(C),
    /// A point or a recipe cannot be read, so nobody knows what is in use. Nothing was deleted.
    UnknownUse,
}

/// How a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Neither its point nor a void stands there, and it is announced.
    Open,
    /// It is announced still, but its point or a void exists.
    Decided,
    /// It is not announced any more.
    Gone,
}

/// Where the chunks in use stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey<Packs> {
    /// All victims with a chunk that nothing else keeps: they wait for its copy. One of them alone would not do, for
    /// another prune may be deleting just that one.
    pub waiting: Packs,
    /// Victims that must not be deleted, because a chunk that was found nowhere may be in them.
    pub stuck: Packs,
    /// Whether every chunk in use was found. If not, the prune looks once more: another one may have moved it.
    pub is_complete: bool,
}

/// One prune.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Prune<I: Ids> {
    order: &'static [Phase],
    fencing: &'static [FencePhase],
    position: usize,
    victims: I::Packs,
    /// Condemned objects that are listed and not read.
    unread: Option<I::Condemned>,
    /// Objects that were read, and the packs of each.
    objects: Vec<(CondemnedOf<I>, I::Packs)>,
    /// Sessions of the one listing that are not over.
    sessions: Option<I::Sessions>,
    /// How far the fence of the first of them is.
    fence: Option<usize>,
    listed: I::Packs,
    waiting: I::Packs,
    stuck: I::Packs,
    has_looked_again: bool,
    /// Whether a chunk in use was not found, or not read.
    is_damaged: bool,
    /// Victims that may be deleted now.
    left: I::Packs,
    deleted: I::Packs,
    ending: Option<Ending<CondemnedOf<I>>>,
}

impl<I: Ids> Prune<I> {
    /// A prune that wants these packs gone. There may be none: it then finishes what others left.
    pub fn new(victims: I::Packs) -> Self {
        Self::in_order(ORDER, FENCE, victims)
    }

    pub(super) fn in_order(order: &'static [Phase], fencing: &'static [FencePhase], victims: I::Packs) -> Self {
        let mut prune = Self {
            order,
            fencing,
            position: 0,
            left: I::Packs::default(),
            victims,
            unread: None,
            objects: Vec::new(),
            sessions: None,
            fence: None,
            listed: I::Packs::default(),
            waiting: I::Packs::default(),
            stuck: I::Packs::default(),
            has_looked_again: false,
            is_damaged: false,
            deleted: I::Packs::default(),
            ending: None,
        };
        // Without a wish of its own it only adopts.
        if prune.victims.is_empty() && order.first() == Some(&Phase::Condemn) {
            prune.position = 1;
        }
        prune
    }

    /// The operation that comes next.
    pub fn next(&self) -> PruneStep<PackOf<I>, SessionOf<I>, CondemnedOf<I>> {
        if let Some(ending) = self.ending {
            return PruneStep::Ended(ending);
        }
        let Some(phase) = self.order.get(self.position) else {
            return PruneStep::Ended(self.end());
        };
        match phase {
            Phase::Condemn => PruneStep::Condemn,
            Phase::Settle(times) => PruneStep::Settle(*times),
            Phase::Adopt => match self.unread.as_ref().and_then(IdSet::first) {
                Some(object) => PruneStep::ReadCondemned(object),
                None => PruneStep::ListCondemned,
            },
            Phase::Sessions => match self.sessions.as_ref().and_then(IdSet::first) {
                Some(session) => self.end_of(session),
                None => PruneStep::ListSessions,
            },
            Phase::Mark => PruneStep::Mark,
            Phase::Packs => PruneStep::ListPacks,
            Phase::Survey => PruneStep::Survey,
            // It is left when nothing is left.
            Phase::Free => self.left.first().map_or(PruneStep::Survey, PruneStep::Delete),
            Phase::Copy => PruneStep::Copy,
            Phase::Name => PruneStep::Name,
            Phase::Release => match self.objects.first() {
                Some((object, _)) => PruneStep::Release(*object),
                None => PruneStep::Ended(self.end()),
            },
        }
    }

    fn end(&self) -> Ending<CondemnedOf<I>> {
        if self.is_damaged { Ending::Damaged } else { Ending::Finished }
    }

    fn end_of(&self, session: SessionOf<I>) -> PruneStep<PackOf<I>, SessionOf<I>, CondemnedOf<I>> {
        match self.fence.and_then(|position| self.fencing.get(position)) {
            Some(FencePhase::Void) => PruneStep::PutVoid(session),
            Some(FencePhase::Withdraw) => PruneStep::Withdraw(session),
            None => PruneStep::Look(session),
        }
    }

    /// The packs that it wants gone, and those of the objects that it has read.
    pub fn victims(&self) -> &I::Packs {
        &self.victims
    }

    /// Whether what a stored segment puts into this pack stays. Asked in [`PruneStep::Survey`].
    pub fn keeps(&self, pack: PackOf<I>) -> bool {
        self.listed.contains(pack) && !self.victims.contains(pack)
    }

    /// Whether a chunk in this pack may be copied out of it. Asked in [`PruneStep::Survey`].
    pub fn is_victim(&self, pack: PackOf<I>) -> bool {
        self.listed.contains(pack) && self.victims.contains(pack)
    }

    /// Victims with chunks in use that have no copy yet.
    pub fn waiting(&self) -> &I::Packs {
        &self.waiting
    }

    /// Victims that stay, because a chunk that was not found may be in them.
    pub fn stuck(&self) -> &I::Packs {
        &self.stuck
    }

    /// Answers [`PruneStep::Condemn`] and [`PruneStep::Settle`].
    pub fn done(&mut self) {
        self.position += 1;
        self.enter();
    }

    /// Answers [`PruneStep::ListCondemned`].
    pub fn condemned_listed(&mut self, objects: I::Condemned) {
        if objects.is_empty() {
            self.done();
        } else {
            self.unread = Some(objects);
        }
    }

    /// Answers [`PruneStep::ReadCondemned`].
    pub fn condemned_read(&mut self, object: CondemnedOf<I>, says: Reading<I::Packs>) {
        match says {
            Reading::Says(packs) => {
                self.victims.extend(&packs);
                self.objects.push((object, packs));
            }
            Reading::Gone => {}
            Reading::Unreadable => self.ending = Some(Ending::UnreadableCondemned(object)),
        }
        if let Some(unread) = &mut self.unread {
            unread.remove(object);
            if unread.is_empty() {
                self.unread = None;
                self.done();
            }
        }
    }

    /// Answers [`PruneStep::ListSessions`]. Who is announced later has seen the condemned objects.
    pub fn sessions_listed(&mut self, sessions: I::Sessions) {
        if sessions.is_empty() {
            self.done();
        } else {
            self.sessions = Some(sessions);
        }
    }

    /// Answers [`PruneStep::Look`].
    pub fn looked(&mut self, session: SessionOf<I>, standing: Standing) {
        match standing {
            Standing::Open => {}
            Standing::Decided => self.fence = self.fencing.iter().position(|phase| *phase == FencePhase::Withdraw),
            Standing::Gone => self.is_over(session),
        }
    }

    /// Takes the session that [`PruneStep::Look`] is about for dead. To be wrong costs its writer another attempt.
    pub fn fence(&mut self) {
        self.fence = Some(0);
    }

    /// Answers [`PruneStep::PutVoid`]. If the name is taken, the writer has committed, or another prune was faster.
    pub fn voided(&mut self, session: SessionOf<I>, creation: Creation) {
        if creation != Creation::Unclear {
            self.fenced_further(session);
        }
    }

    /// Answers [`PruneStep::Withdraw`].
    pub fn withdrawn(&mut self, session: SessionOf<I>) {
        self.fenced_further(session);
    }

    fn fenced_further(&mut self, session: SessionOf<I>) {
        self.fence = self.fence.map(|position| position + 1);
        if self.fence.is_none_or(|position| position >= self.fencing.len()) {
            self.is_over(session);
        }
    }

    fn is_over(&mut self, session: SessionOf<I>) {
        self.fence = None;
        if let Some(sessions) = &mut self.sessions {
            sessions.remove(session);
            if sessions.is_empty() {
                self.sessions = None;
                self.done();
            }
        }
    }

    /// Answers [`PruneStep::Mark`]: whether every point and every recipe could be read, or is known otherwise.
    pub fn marked(&mut self, is_complete: bool) {
        if is_complete {
            self.done();
        } else {
            self.ending = Some(Ending::UnknownUse);
        }
    }

    /// Answers [`PruneStep::ListPacks`]: the packs that stand there, have the size that their segment states, and are
    /// marked damaged by no note; and victims also if they are not sound.
    pub fn packs_listed(&mut self, packs: I::Packs) {
        self.listed = packs;
        self.done();
    }

    /// Answers [`PruneStep::Survey`].
    pub fn surveyed(&mut self, survey: Survey<I::Packs>) {
        if !survey.is_complete {
            if !self.has_looked_again {
                self.look_again();
                return;
            }
            self.is_damaged = true;
        }
        self.stuck = survey.stuck;
        self.waiting = survey.waiting;
        self.waiting.subtract(&self.stuck);
        self.done();
    }

    /// Answers [`PruneStep::Delete`].
    pub fn deleted(&mut self, pack: PackOf<I>) {
        self.left.remove(pack);
        self.deleted.insert(pack);
        self.victims_left_or_on();
    }

    /// Answers [`PruneStep::Copy`] after everything in use in `copied` was stored once more.
    pub fn copied(&mut self, copied: &I::Packs) {
        self.waiting.subtract(copied);
        self.done();
    }

    /// Answers [`PruneStep::Copy`] where chunks in `victims` cannot be read. What was copied before must be named
    /// first.
    pub fn unreadable(&mut self, victims: &I::Packs) {
        if self.has_looked_again {
            self.is_damaged = true;
            self.stuck.extend(victims);
            self.waiting.subtract(victims);
            self.go_to(Phase::Free);
        } else {
            self.look_again();
        }
    }

    /// Answers [`PruneStep::Name`].
    pub fn named(&mut self) {
        self.go_to(Phase::Free);
    }

    /// Answers [`PruneStep::Release`].
    pub fn released(&mut self, object: CondemnedOf<I>) {
        self.objects.retain(|(id, _)| *id != object);
        if self.objects.is_empty() {
            self.done();
        }
    }

    fn look_again(&mut self) {
        self.has_looked_again = true;
        self.go_to(Phase::Mark);
    }

    fn go_to(&mut self, wanted: Phase) {
        self.position = self.order.iter().position(|phase| *phase == wanted).unwrap_or(self.order.len());
        self.enter();
    }

    /// What is to be settled when a phase begins.
    fn enter(&mut self) {
        match self.order.get(self.position) {
            Some(Phase::Free) => {
                let mut left = self.victims.clone();
                left.subtract(&self.waiting);
                left.subtract(&self.stuck);
                left.subtract(&self.deleted);
                self.left = left;
                self.victims_left_or_on();
            }
            Some(Phase::Release) => {
                // An object goes only when all its packs are deleted: there is no way back into use (T22).
                let deleted = &self.deleted;
                let is_over = |packs: &I::Packs| {
                    let mut left = packs.clone();
                    left.subtract(deleted);
                    left.is_empty()
                };
                self.objects.retain(|(_, packs)| is_over(packs));
                if self.objects.is_empty() {
                    self.position += 1;
                }
            }
            _ => {}
        }
    }

    /// In [`Phase::Free`]: once all that may go is deleted, what waits is copied, or there is nothing to copy.
    fn victims_left_or_on(&mut self) {
        if !self.left.is_empty() {
            return;
        }
        if self.waiting.is_empty() {
            // Behind the copies.
            let after = self.order.iter().position(|phase| *phase == Phase::Name).unwrap_or(self.position);
            self.position = after;
        }
        self.done();
    }
}
