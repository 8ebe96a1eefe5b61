//! A store, some processes and every way in which their steps may follow each other.
//!
//! At first pack 0 holds the chunks a and b, pack 1 holds a, pack 2 holds b, and one old point needs a. What a machine
//! is told is what the model's store says; what it wants done is done there, one operation at a time.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use stateright::{Checker, HasDiscoveries, Model as Explored, Property};

use super::small::{Bits, Small};
use crate::protocol::prune::{self, FencePhase};
use crate::protocol::writer;
use crate::protocol::{
    Attempt, Creation, Ending, IdSet, Prune, PruneStep, Reading, Search, SearchStep, Standing, Survey, Writer,
    WriterStep,
};

/// The chunks.
pub const A: u8 = 1;
pub const B: u8 = 2;

/// The rules, by the names of their traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    T1,
    T2,
    T3,
    T4,
    T5,
    T6,
    T7,
    T8,
    T9,
    T10,
    T11,
    T12,
    T13,
    T14,
    T15,
    T16,
    T17,
    T18,
    T19,
    T20,
    T21,
    T22,
    T24,
    T25,
    T26,
    S0,
    S1,
    HalfS1,
    S2,
    S3,
}

/// What the processes may meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listings {
    /// A listing is one moment.
    Instant,
    /// What comes or goes while a listing runs may show or not.
    Windows,
    /// What another process changed may show or not until a settle time is over.
    Stale,
}

/// Who is there, and what may happen to them.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is something that processes may meet, or not")]
pub struct Scene {
    /// What each writer needs.
    pub needs: Vec<u8>,
    /// Whether all writers are sessions of one process, which share packs and segments.
    pub is_one_process: bool,
    /// How many prunes there are.
    pub prunes: usize,
    /// Whether somebody reads the old point.
    pub has_reader: bool,
    /// What listings show.
    pub listings: Listings,
    /// Whether the answer to a commit may be lost, and the request arrive later.
    pub loses_answers: bool,
    /// How often each process may end at any moment and begin again.
    pub restarts: u8,
    /// Whether each prune condemns one pack only.
    pub one_victim: bool,
    /// A pack of which nothing can be read, as a note says.
    pub damaged: Option<u8>,
    /// Whether the old point's chunk is in pack 1 alone.
    pub has_one_copy: bool,
}

/// A scene, explored by every rule or without one.
#[derive(Clone)]
pub struct Model {
    scene: Scene,
    rule: Option<Rule>,
    writer_order: &'static [writer::Phase],
    prune_order: &'static [prune::Phase],
    /// Stores from which one undisturbed prune was tried.
    tried: Arc<[Mutex<HashSet<u64>>; 16]>,
    hashes: RandomState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Verdict {
    Nothing,
    Void,
    Point(u8),
}

/// A directory of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Condemned,
    Packs,
    Sessions,
    Points,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Store {
    packs: Bits,
    content: [u8; 8],
    /// Packs that a segment names; such a fact never becomes false.
    named: Bits,
    next_pack: u8,
    condemned: Bits,
    condemns: [Bits; 4],
    sessions: Bits,
    points: [Verdict; 8],
    /// Commits that may arrive later.
    flying: Bits,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct WriterActor {
    machine: Writer<Small>,
    attempt: u8,
    /// Packs that its process stored after its announcement.
    own: Bits,
    /// Packs that its process stored and that no segment names.
    unnamed: Bits,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PruneActor {
    machine: Option<Prune<Small>>,
    object: u8,
    begun: u8,
    in_use: u8,
    copy: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ReaderActor {
    search: Option<Search<Small>>,
    named: Bits,
    listed: Bits,
    has_lost: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Window {
    kind: Kind,
    always: Bits,
    ever: Bits,
}

/// Of each process and directory: names that its listings may miss, and names that they may still show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Stale {
    miss: [[Bits; 4]; 4],
    show: [[Bits; 4]; 4],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    store: Store,
    writers: Vec<WriterActor>,
    prunes: Vec<PruneActor>,
    reader: Option<ReaderActor>,
    windows: [Option<Window>; 5],
    stale: Stale,
    /// What was stale when a prune began to settle, and how many settle times are left.
    settling: [Option<(Stale, u32)>; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A writer's next operation.
    Write { writer: usize, choice: u8 },
    /// A prune's next operation.
    Prune { prune: usize, choice: u8 },
    /// A prune chooses its victims.
    Plan { prune: usize, victims: Bits },
    /// The reader's next operation.
    Read { choice: u8 },
    /// A listing begins.
    Open { actor: usize },
    /// A point is forgotten.
    Forget { point: u8 },
    /// A commit arrives whose answer was not waited for.
    Arrive { session: u8 },
    /// A writer begins again under another session, wherever it was.
    Restart { writer: usize },
    /// A prune begins again, wherever it was.
    Again { prune: usize },
    /// Only without T10: somebody removes a void.
    Tidy { session: u8 },
    /// Only without T20: the segment of a copy comes late.
    NameLate { prune: usize },
}

/// The order of a writer's steps without a rule. Nothing is freed: there are as many orders as rules.
fn writer_order(rule: Option<Rule>) -> &'static [writer::Phase] {
    use writer::Phase::{Announce, Commit, Condemned, Name, Packs, Withdraw};
    let mut order = writer::ORDER.to_vec();
    match rule {
        Some(Rule::T1) => put_before(&mut order, Announce, writer::Phase::Store),
        Some(Rule::T2) => order.retain(|phase| *phase != Condemned),
        Some(Rule::T4) => put_before(&mut order, Packs, Condemned),
        Some(Rule::T5) => put_before(&mut order, Commit, Name),
        Some(Rule::T8) => put_before(&mut order, Withdraw, Commit),
        _ => return writer::ORDER,
    }
    order.leak()
}

/// The order of a prune's steps without a rule.
fn prune_order(rule: Option<Rule>) -> &'static [prune::Phase] {
    use prune::Phase::{Adopt, Condemn, Mark, Release, Sessions, Settle};
    let mut order = prune::ORDER.to_vec();
    let mut settle = |phase, times| {
        let after = order.iter().position(|one| *one == phase).unwrap() + 1;
        order[after] = Settle(times);
    };
    match rule {
        Some(Rule::S0) => settle(Condemn, 0),
        Some(Rule::S1) => settle(Adopt, 0),
        Some(Rule::HalfS1) => settle(Adopt, 1),
        Some(Rule::S2) => settle(Sessions, 0),
        Some(Rule::S3) => settle(prune::Phase::Name, 0),
        Some(Rule::T11) => put_before(&mut order, Sessions, Condemn),
        Some(Rule::T14) => put_before(&mut order, Sessions, Adopt),
        Some(Rule::T16) => put_before(&mut order, Mark, Sessions),
        Some(Rule::T17) => put_before(&mut order, Mark, Condemn),
        _ => return prune::ORDER,
    }
    order.retain(|phase| *phase != Settle(0) && *phase != Release);
    order.push(Release);
    order.leak()
}

fn put_before<P: Copy + PartialEq>(order: &mut Vec<P>, moved: P, before: P) {
    order.retain(|phase| *phase != moved);
    let place = order.iter().position(|phase| *phase == before).unwrap();
    order.insert(place, moved);
}

impl Scene {
    /// So many writers, which need b, and prunes.
    pub fn new(writers: usize, prunes: usize) -> Self {
        Self {
            needs: vec![B; writers],
            is_one_process: false,
            prunes,
            has_reader: false,
            listings: Listings::Instant,
            loses_answers: false,
            restarts: 0,
            one_victim: false,
            damaged: None,
            has_one_copy: false,
        }
    }
}

impl Model {
    /// All that may happen in a scene, perhaps without a rule.
    pub fn new(scene: Scene, rule: Option<Rule>) -> Self {
        let (writer_order, prune_order) = (writer_order(rule), prune_order(rule));
        Self { scene, rule, writer_order, prune_order, tried: Arc::default(), hashes: RandomState::new() }
    }

    /// Explores everything. Returns the number of states, and the steps to a loss.
    pub fn explore(self) -> (usize, Option<String>) {
        let checker = self.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let loss = ["nothing is lost", "one prune tidies up"].iter().find_map(|name| {
            let path = checker.discovery(name)?.into_vec();
            let steps = path.iter().filter_map(|(state, action)| Some(state.tell((*action)?)));
            Some(format!("not true that {name}: {}", steps.collect::<Vec<_>>().join("; ")))
        });
        (checker.unique_state_count(), loss)
    }

    fn writer(&self) -> Writer<Small> {
        Writer::in_order(self.writer_order)
    }

    fn fencing(&self) -> &'static [FencePhase] {
        match self.rule {
            Some(Rule::T6) => &[FencePhase::Withdraw],
            Some(Rule::T9) => &[FencePhase::Withdraw, FencePhase::Void],
            _ => prune::FENCE,
        }
    }

    fn is_without(&self, rule: Rule) -> bool {
        self.rule == Some(rule)
    }

    /// The session of a writer's attempt.
    fn session(&self, writer: usize, attempt: u8) -> u8 {
        1 + u8::try_from(writer).unwrap() + attempt * u8::try_from(self.scene.needs.len()).unwrap()
    }

    fn needs_of(&self, session: u8) -> u8 {
        self.scene.needs[usize::from(session - 1) % self.scene.needs.len()]
    }

    /// The writers that share packs with this one, itself included.
    fn process_of(&self, writer: usize) -> Vec<usize> {
        if self.scene.is_one_process { (0..self.scene.needs.len()).collect() } else { vec![writer] }
    }

    fn prune_actor(&self, prune: usize) -> usize {
        self.scene.needs.len() + prune
    }

    /// What a listing of a directory may show now.
    fn choices(&self, state: &State, actor: usize, kind: Kind) -> Vec<u8> {
        let present = state.store.present(kind);
        let (least, most) = match self.scene.listings {
            Listings::Instant => (present, present),
            Listings::Windows => match state.windows[actor] {
                Some(window) => (window.always, window.ever),
                None => return Vec::new(),
            },
            Listings::Stale => {
                let (miss, show) = (state.stale.miss[actor][kind as usize], state.stale.show[actor][kind as usize]);
                (Bits(present.0 & !miss.0), Bits(present.0 | show.0))
            }
        };
        let free = most.0 & !least.0;
        let mut subsets = Vec::new();
        let mut subset = free;
        loop {
            subsets.push(least.0 | subset);
            if subset == 0 {
                return subsets;
            }
            subset = (subset - 1) & free;
        }
    }

    fn listing(&self, state: &State, actor: usize, kind: Kind, make: impl Fn(u8) -> Action, to: &mut Vec<Action>) {
        if self.scene.listings == Listings::Windows && state.windows[actor].is_none() {
            to.push(Action::Open { actor });
        } else {
            to.extend(self.choices(state, actor, kind).into_iter().map(make));
        }
    }

    fn writer_actions(&self, state: &State, writer: usize, to: &mut Vec<Action>) {
        let actor = &state.writers[writer];
        let make = |choice| Action::Write { writer, choice };
        match actor.machine.next() {
            WriterStep::ListCondemned => self.listing(state, writer, Kind::Condemned, make, to),
            WriterStep::ListPacks if self.is_without(Rule::T3) => to.push(make(state.store.named.0)),
            WriterStep::ListPacks => self.listing(state, writer, Kind::Packs, make, to),
            WriterStep::Commit if self.scene.loses_answers => to.extend((0..3).map(make)),
            WriterStep::Void if self.scene.loses_answers => to.extend((0..2).map(make)),
            WriterStep::Ended(Attempt::Unknown) if self.is_without(Rule::T25) => to.push(make(0)),
            WriterStep::Ended(_) => {}
            _ => to.push(make(0)),
        }
        if actor.attempt < self.scene.restarts && actor.machine.next() != WriterStep::Ended(Attempt::Committed) {
            to.push(Action::Restart { writer });
        }
    }

    fn prune_actions(&self, state: &State, prune: usize, to: &mut Vec<Action>) {
        let actor = &state.prunes[prune];
        let Some(machine) = &actor.machine else {
            let packs = state.store.packs.0;
            let subsets = (0..=packs).filter(|victims| victims & !packs == 0).map(Bits);
            let fits = |victims: &Bits| !self.scene.one_victim || victims.len() == 1;
            to.extend(subsets.filter(fits).map(|victims| Action::Plan { prune, victims }));
            return;
        };
        let number = self.prune_actor(prune);
        let make = |choice| Action::Prune { prune, choice };
        match machine.next() {
            PruneStep::ListCondemned if self.is_without(Rule::T12) || self.is_without(Rule::T13) => {
                to.push(make(state.store.condemned.0 & Bits::of(actor.object).0));
            }
            PruneStep::ListCondemned => self.listing(state, number, Kind::Condemned, make, to),
            PruneStep::ListSessions => self.listing(state, number, Kind::Sessions, make, to),
            PruneStep::Mark => self.listing(state, number, Kind::Points, make, to),
            PruneStep::ListPacks if self.is_without(Rule::T18) => to.push(make(state.store.named.0)),
            PruneStep::ListPacks => self.listing(state, number, Kind::Packs, make, to),
            PruneStep::Ended(_) => {
                if actor.copy.is_some() {
                    to.push(Action::NameLate { prune });
                }
            }
            // To wait means that others go on.
            _ => to.push(make(0)),
        }
        if actor.begun <= self.scene.restarts {
            to.push(Action::Again { prune });
        }
    }

    fn write(&self, state: &mut State, writer: usize, choice: u8) {
        let id = self.session(writer, state.writers[writer].attempt);
        let needs = self.scene.needs[writer];
        match state.writers[writer].machine.next() {
            WriterStep::Announce => {
                state.add(Kind::Sessions, id, writer);
                state.writers[writer].machine.done();
            }
            WriterStep::ListCondemned => {
                state.windows[writer] = None;
                state.writers[writer].machine.condemned_listed(Bits(choice));
            }
            WriterStep::ReadCondemned(object) => {
                let says = state.store.condemned_object(object);
                state.writers[writer].machine.condemned_read(object, &says);
            }
            WriterStep::ListPacks => {
                state.windows[writer] = None;
                state.writers[writer].machine.packs_listed(Bits(choice));
            }
            WriterStep::Store => self.write_packs(state, writer, needs),
            WriterStep::Name => {
                for other in self.process_of(writer) {
                    state.store.named.extend(&state.writers[other].unnamed);
                    state.writers[other].unnamed = Bits::default();
                }
                state.writers[writer].machine.done();
            }
            WriterStep::Commit => self.commit(state, writer, (id, needs), choice),
            WriterStep::Void if choice == 1 => {
                while state.writers[writer].machine.next() == WriterStep::Void {
                    state.writers[writer].machine.voided(Creation::Unclear);
                }
            }
            WriterStep::Void => {
                let creation = state.put_verdict(id, Verdict::Void, writer);
                state.writers[writer].machine.voided(creation);
            }
            WriterStep::ReadVerdict => {
                let is_own = matches!(state.store.points[usize::from(id)], Verdict::Point(_));
                state.writers[writer].machine.verdict_read(is_own);
            }
            WriterStep::Withdraw => {
                state.take(Kind::Sessions, id, writer);
                state.writers[writer].machine.done();
            }
            // Without T25.
            WriterStep::Ended(_) => state.take(Kind::Sessions, id, writer),
        }
    }

    fn write_packs(&self, state: &mut State, writer: usize, needs: u8) {
        let actor = &state.writers[writer];
        let known_by_segment = |pack: u8| {
            let is_named = state.store.named.has(pack) || self.is_without(Rule::T24) && actor.unnamed.has(pack);
            is_named && actor.machine.knows(pack)
        };
        let knows = |pack: u8| known_by_segment(pack) || actor.own.has(pack);
        let usable = (0..8).filter(|pack| knows(*pack) && self.scene.damaged != Some(*pack));
        let missing = usable.fold(needs, |needs, pack| needs & !state.store.content[usize::from(pack)]);
        if missing != 0 {
            let pack = state.put_pack(missing, writer);
            for other in self.process_of(writer) {
                let announced = state.store.sessions.has(self.session(other, state.writers[other].attempt));
                if announced {
                    state.writers[other].own.insert(pack);
                }
            }
            state.writers[writer].unnamed.insert(pack);
        }
        state.writers[writer].machine.done();
        self.skip_empty_name(state, writer);
    }

    /// Where there is nothing to name, nothing is stored.
    fn skip_empty_name(&self, state: &mut State, writer: usize) {
        let is_empty = self.process_of(writer).iter().all(|other| state.writers[*other].unnamed.is_empty());
        if state.writers[writer].machine.next() == WriterStep::Name && (is_empty || self.is_without(Rule::T24)) {
            // Without T24 a process that began again has packs of its former life, which it takes for named.
            let is_former = state.writers[writer].own.is_empty();
            if is_empty || is_former {
                state.writers[writer].machine.done();
            }
        }
    }

    fn commit(&self, state: &mut State, writer: usize, (id, needs): (u8, u8), choice: u8) {
        let creation = match choice {
            0 => state.put_verdict(id, Verdict::Point(needs), writer),
            1 => {
                let _ = state.put_verdict(id, Verdict::Point(needs), writer);
                Creation::Unclear
            }
            _ => {
                state.store.flying.insert(id);
                Creation::Unclear
            }
        };
        // Without T7 it is sent again, below the machine.
        if creation != Creation::Unclear || !self.is_without(Rule::T7) {
            state.writers[writer].machine.committed(creation);
        }
        self.skip_empty_name(state, writer);
    }

    fn prune(&self, state: &mut State, prune: usize, choice: u8) {
        let number = self.prune_actor(prune);
        let (store, actor) = (&state.store, &state.prunes[prune]);
        let (object, in_use) = (actor.object, actor.in_use);
        let Some(mut machine) = actor.machine.clone() else { return };
        match machine.next() {
            PruneStep::Condemn => {
                state.store.condemns[usize::from(object)] = *machine.victims();
                state.add(Kind::Condemned, object, number);
                machine.done();
            }
            PruneStep::Settle(times) => {
                if state.has_settled(prune, times) {
                    machine.done();
                }
            }
            PruneStep::ListCondemned => machine.condemned_listed(Bits(choice)),
            PruneStep::ReadCondemned(object) => machine.condemned_read(object, store.condemned_object(object)),
            PruneStep::ListSessions => machine.sessions_listed(Bits(choice)),
            PruneStep::Look(session) => match self.standing(store, session) {
                Standing::Open => machine.fence(),
                standing => machine.looked(session, standing),
            },
            PruneStep::PutVoid(session) => {
                let creation = state.put_verdict(session, Verdict::Void, number);
                machine.voided(session, creation);
            }
            PruneStep::Withdraw(session) => {
                state.take(Kind::Sessions, session, number);
                machine.withdrawn(session);
            }
            PruneStep::Mark => {
                state.prunes[prune].in_use = store.in_use(Bits(choice));
                machine.marked(true);
            }
            PruneStep::ListPacks => {
                let mut listed = Bits(choice);
                let unsound = self.scene.damaged.map(Bits::of).unwrap_or_default();
                if !machine.victims().has(self.scene.damaged.unwrap_or(0)) {
                    listed.subtract(&unsound);
                }
                machine.packs_listed(listed);
            }
            PruneStep::Survey => {
                machine.surveyed(self.survey(store, &machine, in_use));
                if self.is_without(Rule::T21) {
                    state.take(Kind::Condemned, object, number);
                }
            }
            PruneStep::Delete(pack) => {
                state.take(Kind::Packs, pack, number);
                machine.deleted(pack);
            }
            PruneStep::Copy => self.copy(state, prune, &mut machine),
            PruneStep::Name => {
                if !self.is_without(Rule::T20) {
                    let copy = state.prunes[prune].copy.take();
                    state.store.named.extend(&copy.map(Bits::of).unwrap_or_default());
                }
                machine.named();
            }
            PruneStep::Release(object) => {
                state.take(Kind::Condemned, object, number);
                machine.released(object);
            }
            PruneStep::Ended(_) => {}
        }
        state.windows[number] = None;
        self.skip_silent(state, prune, &mut machine);
        state.prunes[prune].machine = Some(machine);
    }

    /// What is no operation on the store.
    fn skip_silent(&self, state: &mut State, prune: usize, machine: &mut Prune<Small>) {
        loop {
            match machine.next() {
                PruneStep::Settle(_) if self.scene.listings != Listings::Stale => machine.done(),
                PruneStep::Ended(_) if self.is_without(Rule::T22) => {
                    // It gives back what it could not delete.
                    let object = state.prunes[prune].object;
                    state.take(Kind::Condemned, object, self.prune_actor(prune));
                    return;
                }
                _ => return,
            }
        }
    }

    fn standing(&self, store: &Store, session: u8) -> Standing {
        if !store.sessions.has(session) || self.is_without(Rule::T15) {
            Standing::Gone
        } else if store.points[usize::from(session)] == Verdict::Nothing {
            Standing::Open
        } else {
            Standing::Decided
        }
    }

    fn survey(&self, store: &Store, machine: &Prune<Small>, in_use: u8) -> Survey<Bits> {
        let mut survey = Survey { waiting: Bits::default(), stuck: Bits::default(), is_complete: true };
        for chunk in [A, B] {
            let holds = |pack: &u8| in_use & chunk & store.content[usize::from(*pack)] != 0;
            let named = |pack: &u8| store.named.has(*pack) || self.is_without(Rule::T19) && store.packs.has(*pack);
            if in_use & chunk == 0 || (0..8).filter(holds).filter(named).any(|pack| machine.keeps(pack)) {
                continue;
            }
            let victims = (0..8).filter(holds).filter(|pack| machine.is_victim(*pack));
            let victims = victims.fold(Bits::default(), |bits, pack| Bits(bits.0 | 1 << pack));
            survey.is_complete &= !victims.is_empty();
            match self.rule {
                Some(Rule::T22) => survey.stuck.extend(&victims),
                Some(Rule::T26) => survey.waiting.extend(&victims.first().map(Bits::of).unwrap_or_default()),
                _ => survey.waiting.extend(&victims),
            }
        }
        survey
    }

    fn copy(&self, state: &mut State, prune: usize, machine: &mut Prune<Small>) {
        let (waiting, in_use) = (*machine.waiting(), state.prunes[prune].in_use);
        let store = &state.store;
        let mut chunks = 0;
        for chunk in [A, B] {
            let holding = |pack: &u8| store.content[usize::from(*pack)] & in_use & chunk != 0;
            let sources = waiting.ids().filter(holding).fold(Bits::default(), |bits, pack| Bits(bits.0 | 1 << pack));
            let is_kept = (0..8).filter(holding).any(|pack| machine.keeps(pack) && store.named.has(pack));
            if sources.is_empty() || is_kept {
                continue;
            }
            if !sources.ids().any(|pack| store.packs.has(pack) && self.scene.damaged != Some(pack)) {
                machine.unreadable(&sources);
                return;
            }
            chunks |= chunk;
        }
        let pack = state.put_pack(chunks, self.prune_actor(prune));
        state.prunes[prune].copy = Some(pack);
        machine.copied(&waiting);
    }

    fn read(&self, state: &mut State, choice: u8) {
        let Some(reader) = &mut state.reader else { return };
        let Some(search) = &mut reader.search else {
            reader.search = Some(Search::default());
            return;
        };
        match search.next() {
            SearchStep::Fetch(pack) => search.fetched(state.store.packs.has(pack)),
            SearchStep::ReadSegments => {
                reader.named = state.store.named;
                search.done();
            }
            SearchStep::ListPacks => {
                reader.listed = Bits(choice);
                search.done();
            }
            SearchStep::Missing => reader.has_lost = matches!(state.store.points[0], Verdict::Point(_)),
            SearchStep::Settle | SearchStep::Choose | SearchStep::Found => {}
        }
        loop {
            match search.next() {
                SearchStep::Choose => {
                    let holds = |pack: &u8| state.store.content[usize::from(*pack)] & A != 0;
                    let seen = |pack: &u8| reader.named.has(*pack) && reader.listed.has(*pack);
                    search.chosen((0..8).filter(holds).find(seen));
                }
                SearchStep::Settle => search.done(),
                _ => break,
            }
        }
        let number = self.prune_actor(self.scene.prunes);
        state.windows[number] = None;
    }

    /// What one prune that nobody disturbs leaves of a store, if it condemns everything.
    fn tidies_up(&self, state: &State) -> bool {
        // It has a choice only as long as others are at work.
        let hash = self.hashes.hash_one(&state.store);
        let shard = &self.tried[usize::try_from(hash % 16).unwrap()];
        if !shard.lock().unwrap().insert(hash) {
            return true;
        }
        let mut state = State { windows: [None; 5], stale: Stale::default(), settling: [None; 2], ..state.clone() };
        let alone = Self {
            scene: Scene { listings: Listings::Instant, ..self.scene.clone() },
            rule: self.rule.filter(|rule| *rule == Rule::T13),
            ..self.clone()
        };
        let free = (0..4).find(|object| !state.store.condemned.has(*object)).expect("an object that nobody made");
        // The next pack is a number too, and there are eight.
        let victims = state.store.packs;
        state.prunes = vec![PruneActor {
            machine: Some(Prune::in_order(prune::ORDER, prune::FENCE, victims)),
            object: free,
            begun: 1,
            in_use: 0,
            copy: None,
        }];
        loop {
            let step = state.prunes[0].machine.as_ref().unwrap().next();
            let choice = match step {
                PruneStep::Ended(_) => break,
                PruneStep::ListCondemned if alone.rule.is_some() => Bits::of(free).0,
                PruneStep::ListCondemned => state.store.condemned.0,
                PruneStep::ListSessions => state.store.sessions.0,
                PruneStep::Mark => state.store.present(Kind::Points).0,
                PruneStep::ListPacks => state.store.packs.0,
                _ => 0,
            };
            alone.prune(&mut state, 0, choice);
        }
        let store = &state.store;
        let in_use = store.in_use(store.present(Kind::Points));
        let has_waste = store.packs.ids().any(|pack| store.content[usize::from(pack)] & !in_use != 0);
        let is_whole = state.prunes[0].machine.as_ref().unwrap().next() == PruneStep::Ended(Ending::Finished);
        is_whole && !has_waste && store.condemned.is_empty() && store.sessions.is_empty()
    }
}

impl Store {
    fn present(&self, kind: Kind) -> Bits {
        match kind {
            Kind::Condemned => self.condemned,
            Kind::Packs => self.packs,
            Kind::Sessions => self.sessions,
            Kind::Points => {
                let is_point = |id: &u8| matches!(self.points[usize::from(*id)], Verdict::Point(_));
                (0..8).filter(is_point).fold(Bits::default(), |bits, id| Bits(bits.0 | 1 << id))
            }
        }
    }

    fn condemned_object(&self, object: u8) -> Reading<Bits> {
        if self.condemned.has(object) { Reading::Says(self.condemns[usize::from(object)]) } else { Reading::Gone }
    }

    /// The chunks that these points need, as far as they are still there.
    fn in_use(&self, points: Bits) -> u8 {
        points.ids().fold(0, |chunks, id| match self.points[usize::from(id)] {
            Verdict::Point(needs) => chunks | needs,
            _ => chunks,
        })
    }

    /// Whether every point has all its chunks in packs that stand there and that a segment names.
    fn is_whole(&self, damaged: Option<u8>) -> bool {
        let found = |pack: &u8| self.named.has(*pack) && Some(*pack) != damaged;
        let held = self.packs.ids().filter(found).fold(0, |held, pack| held | self.content[usize::from(pack)]);
        self.in_use(Bits(0xff)) & !held == 0
    }
}

impl State {
    /// An action with the operation that it is in this state.
    fn tell(&self, action: Action) -> String {
        match action {
            Action::Write { writer, .. } => format!("W{writer} {:?}", self.writers[writer].machine.next()),
            Action::Prune { prune, .. } => {
                format!("P{prune} {:?}", self.prunes[prune].machine.as_ref().map(Prune::next).unwrap())
            }
            other => format!("{other:?}"),
        }
    }

    fn change(&mut self, kind: Kind, id: u8, by: usize, is_there: bool) {
        for window in self.windows.iter_mut().flatten().filter(|window| window.kind == kind) {
            if is_there {
                window.ever.insert(id);
            } else {
                window.always.remove(id);
            }
        }
        let old = self.settling.iter_mut().flatten().map(|(old, _)| old);
        for stale in old {
            for actor in 0..4 {
                stale.miss[actor][kind as usize].remove(id);
                stale.show[actor][kind as usize].remove(id);
            }
        }
        for actor in 0..4 {
            let (miss, show) = (&mut self.stale.miss[actor][kind as usize], &mut self.stale.show[actor][kind as usize]);
            miss.remove(id);
            show.remove(id);
            if actor != by {
                if is_there { miss.insert(id) } else { show.insert(id) }
            }
        }
    }

    fn add(&mut self, kind: Kind, id: u8, by: usize) {
        match kind {
            Kind::Condemned => self.store.condemned.insert(id),
            Kind::Packs => self.store.packs.insert(id),
            Kind::Sessions => self.store.sessions.insert(id),
            Kind::Points => {}
        }
        self.change(kind, id, by, true);
    }

    fn take(&mut self, kind: Kind, id: u8, by: usize) {
        if !self.store.present(kind).has(id) {
            return;
        }
        match kind {
            Kind::Condemned => self.store.condemned.remove(id),
            Kind::Packs => self.store.packs.remove(id),
            Kind::Sessions => self.store.sessions.remove(id),
            Kind::Points => self.store.points[usize::from(id)] = Verdict::Nothing,
        }
        self.change(kind, id, by, false);
    }

    fn put_verdict(&mut self, id: u8, verdict: Verdict, by: usize) -> Creation {
        let point = &mut self.store.points[usize::from(id)];
        if *point != Verdict::Nothing {
            return Creation::Taken;
        }
        *point = verdict;
        if verdict != Verdict::Void {
            self.change(Kind::Points, id, by, true);
        }
        Creation::Created
    }

    fn put_pack(&mut self, content: u8, by: usize) -> u8 {
        let pack = self.store.next_pack;
        self.store.next_pack += 1;
        self.store.content[usize::from(pack)] = content;
        self.add(Kind::Packs, pack, by);
        pack
    }

    /// Begins to wait so many settle times, or ends one of them. Returns whether it was the last.
    fn has_settled(&mut self, prune: usize, times: u32) -> bool {
        match self.settling[prune] {
            None => {
                self.settling[prune] = Some((self.stale, times));
                false
            }
            Some((old, left)) => {
                self.settle(&old);
                self.settling[prune] = (left > 1).then_some((self.stale, left - 1));
                left == 1
            }
        }
    }

    /// Ends a settle time: what was stale when it began, and has not changed again, is seen by everybody.
    fn settle(&mut self, old: &Stale) {
        let forget = |now: &mut [[Bits; 4]; 4], old: &[[Bits; 4]; 4]| {
            for (now, old) in now.iter_mut().flatten().zip(old.iter().flatten()) {
                now.subtract(old);
            }
        };
        forget(&mut self.stale.miss, &old.miss);
        forget(&mut self.stale.show, &old.show);
    }
}

impl Explored for Model {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut points = [Verdict::Nothing; 8];
        points[0] = Verdict::Point(A);
        let store = Store {
            packs: Bits(0b111),
            content: [if self.scene.has_one_copy { B } else { A | B }, A, B, 0, 0, 0, 0, 0],
            named: Bits(0b111),
            next_pack: 3,
            condemned: Bits::default(),
            condemns: [Bits::default(); 4],
            sessions: Bits::default(),
            points,
            flying: Bits::default(),
        };
        let writer = WriterActor { machine: self.writer(), attempt: 0, own: Bits(0), unnamed: Bits(0) };
        let prune = |object| PruneActor { machine: None, object, begun: 0, in_use: 0, copy: None };
        let reader = ReaderActor { search: None, named: Bits(0), listed: Bits(0), has_lost: false };
        vec![State {
            store,
            writers: vec![writer; self.scene.needs.len()],
            prunes: (0..self.scene.prunes).map(|object| prune(u8::try_from(object).unwrap())).collect(),
            reader: self.scene.has_reader.then_some(reader),
            windows: [None; 5],
            stale: Stale::default(),
            settling: [None; 2],
        }]
    }

    fn actions(&self, state: &State, to: &mut Vec<Action>) {
        for writer in 0..state.writers.len() {
            self.writer_actions(state, writer, to);
        }
        for prune in 0..state.prunes.len() {
            self.prune_actions(state, prune, to);
        }
        if let Some(reader) = &state.reader {
            let number = self.prune_actor(self.scene.prunes);
            match reader.search.as_ref().map(Search::next) {
                None if matches!(state.store.points[0], Verdict::Point(_)) => to.push(Action::Read { choice: 0 }),
                None | Some(SearchStep::Found) => {}
                Some(SearchStep::ListPacks) => {
                    self.listing(state, number, Kind::Packs, |choice| Action::Read { choice }, to);
                }
                Some(_) => to.push(Action::Read { choice: 0 }),
            }
        }
        to.extend(state.store.present(Kind::Points).ids().map(|point| Action::Forget { point }));
        to.extend(state.store.flying.ids().map(|session| Action::Arrive { session }));
        if self.is_without(Rule::T10) {
            let is_void = |id: &u8| state.store.points[usize::from(*id)] == Verdict::Void;
            to.extend((0..8).filter(is_void).map(|session| Action::Tidy { session }));
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Write { writer, choice } => self.write(&mut state, writer, choice),
            Action::Prune { prune, choice } => self.prune(&mut state, prune, choice),
            Action::Plan { prune, victims } => {
                let mut machine = Prune::in_order(self.prune_order, self.fencing(), victims);
                self.skip_silent(&mut state, prune, &mut machine);
                let actor = &mut state.prunes[prune];
                actor.machine = Some(machine);
                actor.begun += 1;
            }
            Action::Read { choice } => self.read(&mut state, choice),
            Action::Open { actor } => {
                let kind = self.listed_by(&state, actor);
                let present = state.store.present(kind);
                state.windows[actor] = Some(Window { kind, always: present, ever: present });
            }
            Action::Forget { point } => state.take(Kind::Points, point, usize::MAX),
            Action::Arrive { session } => {
                state.store.flying.remove(session);
                let _ = state.put_verdict(session, Verdict::Point(self.needs_of(session)), usize::MAX);
            }
            Action::Restart { writer } => {
                let actor = &mut state.writers[writer];
                actor.attempt += 1;
                actor.machine = self.writer();
                actor.own = Bits::default();
                if !self.is_without(Rule::T24) {
                    actor.unnamed = Bits::default();
                }
                state.windows[writer] = None;
            }
            Action::Again { prune } => {
                let number = self.prune_actor(prune);
                let actor = &mut state.prunes[prune];
                let object = (0..4).find(|object| !before.store.condemned.has(*object))?;
                (actor.machine, actor.copy, actor.object, actor.in_use) = (None, None, object, 0);
                state.windows[number] = None;
                state.settling[prune] = None;
            }
            Action::Tidy { session } => state.store.points[usize::from(session)] = Verdict::Nothing,
            Action::NameLate { prune } => {
                let copy = state.prunes[prune].copy.take();
                state.store.named.extend(&copy.map(Bits::of).unwrap_or_default());
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![Property::always("nothing is lost", |model: &Model, state: &State| {
            // A damaged pack that holds the only copy may still be mended: it must stay.
            let unreadable = model.scene.damaged.filter(|_| !model.scene.has_one_copy);
            state.store.is_whole(unreadable) && state.reader.as_ref().is_none_or(|reader| !reader.has_lost)
        })];
        if self.scene.damaged.is_none() {
            properties.push(Property::always("one prune tidies up", |model: &Model, state: &State| {
                model.is_lossy() || model.tidies_up(state)
            }));
        }
        properties
    }
}

impl Model {
    /// Whether a rule is left out whose loss is of data, and not of space.
    fn is_lossy(&self) -> bool {
        self.rule.is_some_and(|rule| rule != Rule::T13)
    }

    fn listed_by(&self, state: &State, actor: usize) -> Kind {
        if let Some(writer) = state.writers.get(actor) {
            return match writer.machine.next() {
                WriterStep::ListCondemned => Kind::Condemned,
                _ => Kind::Packs,
            };
        }
        let prune = state.prunes.get(actor - self.scene.needs.len()).and_then(|prune| prune.machine.as_ref());
        match prune.map(Prune::next) {
            Some(PruneStep::ListCondemned) => Kind::Condemned,
            Some(PruneStep::ListSessions) => Kind::Sessions,
            Some(PruneStep::Mark) => Kind::Points,
            _ => Kind::Packs,
        }
    }
}
