//! Sources that are saved beside each other by one run: they share packs, and none depends on what another may lose.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use holdall::backup::{BackupOptions, Selection, StagingCheck, Summary, back_up};
use holdall::check::{CheckLevel, check};
use holdall::crypto::seal_free;
use holdall::daemon::Flavor;
use holdall::daemon::fake::{FakeDaemon, FakeInstance};
use holdall::id::{CondemnedId, RunId};
use holdall::monitor::{Event, Monitor, Silent};
use holdall::pack::PackKind;
use holdall::repo::{Added, Condemned, Repository, Session, SessionRecord, SessionWriter, Writer};
use holdall::store::fault::{Effect, Failure, Fault, FaultyStore};
use holdall::store::{MemoryStore, Put, Store};

use crate::fixture::{clock, export_bytes, host, init, new, noise, points, reopen};

/// Notes how many streams pass at once, and holds each back until so many do or a while has gone by.
struct Meeting {
    wanted: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    at_work: BTreeSet<String>,
    most: usize,
}

impl Meeting {
    fn of(wanted: usize) -> Self {
        Self { wanted, state: Mutex::default(), changed: Condvar::new() }
    }

    fn most(&self) -> usize {
        self.state.lock().unwrap().most
    }
}

impl Monitor for Meeting {
    fn event(&self, event: Event) {
        let mut state = self.state.lock().unwrap();
        match event {
            Event::Started { object, .. } => {
                state.at_work.insert(object);
                state.most = state.most.max(state.at_work.len());
                self.changed.notify_all();
                let missing = |state: &mut State| state.most < self.wanted;
                drop(self.changed.wait_timeout_while(state, Duration::from_secs(20), missing).unwrap());
            }
            Event::Ended { object } => drop(state.at_work.remove(&object)),
            _ => {}
        }
    }
}

fn instance(name: &str, seed: u64) -> FakeInstance {
    FakeInstance::container(name).file("srv/own", &noise(seed, 200_000)).file("srv/shared", &noise(99, 300_000))
}

fn daemon(flavor: Flavor) -> FakeDaemon {
    let daemon = FakeDaemon::new(flavor);
    for (seed, name) in (1..).zip(["a", "b", "c"]) {
        daemon.add(&instance(name, seed));
    }
    daemon
}

fn run(repository: &Repository, daemon: &FakeDaemon, options: &BackupOptions, monitor: &dyn Monitor) -> Summary {
    back_up(repository, daemon, &Selection::All, options, host(&clock()), monitor).unwrap()
}

fn all_come_back(repository: &Repository) {
    for (_, point) in points(repository) {
        let seed = u64::from(point.source.name.as_bytes()[0] - b'a') + 1;
        let expected = instance(&point.source.name, seed).export();
        assert!(export_bytes(repository, &point) == expected, "{}", point.source);
    }
    let report = check(repository, CheckLevel::ReadData, &Silent).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn as_many_are_at_work_as_were_asked_for() {
    for parallel in 1..=3 {
        let (repository, meeting) = (new(), Meeting::of(parallel));
        let options = BackupOptions { parallel, ..BackupOptions::default() };
        let summary = run(&repository, &daemon(Flavor::Incus), &options, &meeting);
        assert_eq!((summary.made.len(), meeting.most()), (3, parallel), "{:?}", summary.failed);
        let new_bytes: u64 = summary.made.iter().map(|made| made.statistics.new_bytes).sum();
        assert!(new_bytes < 3 * 200_000 + 300_000 + 50_000, "{new_bytes}: what is shared is stored once");
        all_come_back(&repository);
    }
}

#[test]
fn exports_that_do_not_fit_beside_each_other_follow_each_other() {
    let (repository, daemon) = (new(), daemon(Flavor::Lxd));
    let checked = BackupOptions { parallel: 3, ..BackupOptions::default() };
    // Nobody knows what these need, so each has the area for itself.
    let unchecked = BackupOptions { staging: StagingCheck::Skipped, ..checked.clone() };
    let meeting = Meeting::of(1);
    let summary = run(&repository, &daemon, &unchecked, &meeting);
    assert_eq!((summary.made.len(), meeting.most()), (3, 1), "{:?}", summary.failed);
    let needed = instance("a", 1).export().len() as u64 / 100 * 133;
    for (fit, together) in [(1, 1), (2, 2), (3, 3)] {
        daemon.set_free_bytes(Some(needed * fit));
        let meeting = Meeting::of(together);
        let summary = run(&repository, &daemon, &checked, &meeting);
        assert_eq!((summary.made.len(), meeting.most()), (3, together), "{:?}", summary.failed);
    }
    all_come_back(&repository);
}

/// Backs up three sources beside each other on a store that fails. Returns how many calls that made.
fn run_on(fault: Option<Fault>) -> usize {
    let store = Arc::new(FaultyStore::new(MemoryStore::new(), []));
    let repository = init(Arc::<FaultyStore<MemoryStore>>::clone(&store) as Arc<dyn Store>);
    store.plan(fault);
    let options = BackupOptions { parallel: 3, ..BackupOptions::default() };
    let daemon = daemon(Flavor::Incus);
    let result = back_up(&repository, &daemon, &Selection::All, &options, host(&clock()), &Silent);
    let calls = store.calls(None);
    store.plan([]);
    let later = reopen(store);
    let made = result.map_or(0, |summary| summary.made.len());
    assert!(points(&later).len() >= made, "{fault:?}: reported, and not there");
    all_come_back(&later);
    assert_eq!(run(&later, &daemon, &options, &Silent).made.len(), 3);
    all_come_back(&later);
    calls
}

#[test]
fn a_store_that_fails_costs_points_and_makes_no_false_one() {
    let calls = run_on(None);
    assert!(calls >= 50, "a run makes {calls} calls: has a step been lost?");
    // The calls of one run are not quite those of another, for threads take turns as they like.
    for call in 0..calls {
        for fault in [Fault::refuse(call, Failure::Io), Fault::crash(call, Effect::Refuse)] {
            run_on(Some(fault));
        }
    }
}

fn begin<'w, 'r>(writer: &'w Writer<'r>, run: RunId) -> (Session, SessionWriter<'w, 'r>) {
    writer.open_session(&SessionRecord::of_this_process(run, "host", clock().0)).unwrap()
}

#[test]
fn what_threads_add_at_once_is_stored_once_and_where_it_was_said_to_be() {
    let (repository, run) = (new(), RunId::random().unwrap());
    let writer = Writer::new(&repository, run);
    // Together more than a pack, so that one fills up while all of them have frames open.
    let add = |thread: u64| -> Vec<Added> {
        let (_, mut session) = begin(&writer, run);
        let chunks = (0..240).map(|n| if n % 3 == 0 { n } else { 1000 * thread + n });
        let added: Vec<Added> =
            chunks.map(|seed| session.add(PackKind::Data, &noise(seed, 150_000)).unwrap()).collect();
        // Some fail: what they added stays, for others may refer to it.
        if thread.is_multiple_of(2) {
            session.end().unwrap();
        }
        added
    };
    let added: Vec<Added> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=4).map(|thread| scope.spawn(move || add(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    writer.store_packs().unwrap();
    writer.name_packs().unwrap();
    let packs = repository.list_packs().unwrap();
    assert!(packs.len() >= 2, "{packs:?}");
    for one in &added {
        let facts = repository.index().facts(&[one.chunk.id]).unwrap().remove(0);
        let found: Vec<_> = facts.iter().map(|fact| fact.pack).collect();
        assert_eq!(found, [one.pack]);
    }
    let (new, distinct) = (added.iter().filter(|one| one.new), added.iter().map(|one| one.chunk.id));
    assert_eq!(new.count(), distinct.collect::<std::collections::HashSet<_>>().len());
}

#[test]
fn a_session_relies_on_packs_of_its_run_only_as_far_as_a_prune_would_wait_for_it() {
    let (repository, run) = (new(), RunId::random().unwrap());
    let writer = Writer::new(&repository, run);
    let bytes = noise(1, 100_000);
    let (_, mut early) = begin(&writer, run);
    let first = early.add(PackKind::Data, &bytes).unwrap();
    writer.store_packs().unwrap();
    writer.name_packs().unwrap();
    // A prune publishes what it condemns, then waits for the sessions that are open: the early one only.
    let condemned = Condemned { packs: vec![first.pack] };
    let (id, sealed) = seal_free::<CondemnedId>(repository.write_keys(), &condemned.encode()).unwrap();
    let name = format!("condemned/{id}").parse().unwrap();
    assert_eq!(repository.store().put(&name, &[&sealed]).unwrap(), Put::Created);
    let (_, mut late) = begin(&writer, run);
    assert!(!early.add(PackKind::Data, &bytes).unwrap().new);
    let again = late.add(PackKind::Data, &bytes).unwrap();
    assert!(again.new && again.pack != first.pack);
    // What is on its way now is stored after both were announced.
    assert!(!late.add(PackKind::Data, &bytes).unwrap().new);
}
