//! Prune: what no point uses goes, everything else stays, whatever happens meanwhile.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use holdall::backup::Run;
use holdall::id::PointId;
use holdall::monitor::{Collected, Event, Silent};
use holdall::pack::PackKind;
use holdall::prune::{Dealing, MaxUnused, PruneError, Summary, prepare, prune};
use holdall::repair::{RepairOptions, repair};
use holdall::repo::Repository;
use holdall::store::fault::{Effect, Fault};
use holdall::store::record::{Outcome, Recorded, RecordingStore};
use holdall::store::{Deleted, MemoryStore, Operation, Store};

use crate::every_call::{
    LAST, REFUSED_IN_TURN, TORN, UNANSWERED, assert_only_what_is_torn_is_told, at_every_call, copy, during, torn,
};
use crate::fixture::{
    REPAIR, assert_holds, clock, export_bytes, feed_bytes, import_bytes, init, new, noise, points, reopen, tar_of_noise,
};

pub fn forget(repository: &Repository, id: PointId) {
    assert_eq!(repository.forget(id).unwrap(), Deleted::Removed);
}

fn try_prune(repository: &Repository, max_unused: MaxUnused, dealing: Dealing) -> Result<Summary, PruneError> {
    prune(prepare(repository, max_unused, "test-host", &Silent)?, dealing)
}

/// Prunes everything that no point uses.
pub fn prune_all(repository: &Repository) -> Summary {
    try_prune(repository, MaxUnused::Bytes(0), Dealing::Now).unwrap()
}

fn named(repository: &Repository, name: &str) -> PointId {
    points(repository).into_iter().find(|(_, point)| point.source.name == name).expect("a point of this name").0
}

fn assert_sound(repository: &Repository, expected: &[(&str, &[u8])]) {
    assert_holds(repository, expected);
    for directory in ["sessions", "condemned", "beats"] {
        assert!(repository.store().list(&directory.parse().unwrap()).unwrap().is_empty(), "{directory}");
    }
}

fn pack_bytes(repository: &Repository) -> u64 {
    repository.list_packs().unwrap().iter().map(|(_, bytes)| bytes).sum()
}

#[test]
fn what_a_forgotten_point_alone_used_goes_and_the_rest_stays() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = init(Arc::clone(&store));
    let (one, other) = (tar_of_noise(20, 60_000), tar_of_noise(10, 60_000));
    let own = [tar_of_noise(10, 60_000), noise(99, 800_000)].concat();
    for (name, bytes) in [("file:one", &one), ("file:other", &other), ("file:own", &own)] {
        import_bytes(&repository, &bytes[..], Some(name)).unwrap();
    }
    forget(&repository, named(&repository, "one"));
    let before = pack_bytes(&repository);
    let summary = prune_all(&repository);
    assert!(summary.deleted_packs > 0 && !summary.is_damaged, "{summary:?}");
    assert_sound(&repository, &[("other", &other), ("own", &own)]);
    let after = pack_bytes(&repository);
    assert!(after < before - 500_000, "{before} -> {after}");
    // As small as if nothing else had ever been there.
    let fresh = new();
    for (name, bytes) in [("file:other", &other), ("file:own", &own)] {
        import_bytes(&fresh, &bytes[..], Some(name)).unwrap();
    }
    assert!(after * 10 <= pack_bytes(&fresh) * 11, "{after} and {}", pack_bytes(&fresh));
    // There is nothing more to do, and nothing is done.
    let again = prune_all(&repository);
    assert!(again.plan.is_empty() && again.deleted_packs == 0 && again.copied_bytes == 0, "{again:?}");
    // What is new and what was there before find each other still, in this process and in the next.
    import_bytes(&repository, &one[..], Some("file:one")).unwrap();
    let later = reopen(store);
    assert_sound(&later, &[("other", &other), ("own", &own), ("one", &one)]);
}

#[test]
fn an_empty_repository_and_one_without_points_are_pruned_too() {
    let repository = new();
    assert!(prune_all(&repository).plan.is_empty());
    let bytes = tar_of_noise(5, 70_000);
    import_bytes(&repository, &bytes[..], Some("file:x")).unwrap();
    forget(&repository, named(&repository, "x"));
    prune_all(&repository);
    assert_eq!(pack_bytes(&repository), 0);
    assert!(repository.list_segments().unwrap().is_empty());
    import_bytes(&repository, &bytes[..], Some("file:x")).unwrap();
    assert_sound(&repository, &[("x", &bytes)]);
}

#[test]
fn what_is_not_much_unused_is_left_until_it_is() {
    let repository = new();
    let (kept, gone) = (tar_of_noise(40, 60_000), tar_of_noise(41, 60_000));
    import_bytes(&repository, &gone[..], Some("file:gone")).unwrap();
    import_bytes(&repository, &kept[..], Some("file:kept")).unwrap();
    forget(&repository, named(&repository, "gone"));
    let summary = try_prune(&repository, MaxUnused::Permille(50), Dealing::Now).unwrap();
    assert!(summary.plan.repack.is_empty() && summary.plan.left_bytes > 50_000, "{:?}", summary.plan);
    let summary = try_prune(&repository, MaxUnused::Permille(10), Dealing::Now).unwrap();
    assert!(!summary.plan.repack.is_empty(), "{:?}", summary.plan);
    assert_sound(&repository, &[("kept", &kept)]);
}

#[test]
fn nothing_is_deleted_while_a_point_cannot_be_read() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = init(Arc::clone(&store));
    for (name, seed) in [("file:a", 1), ("file:b", 2)] {
        import_bytes(&repository, &noise(seed, 300_000)[..], Some(name)).unwrap();
    }
    let name = format!("points/{}", named(&repository, "a")).parse().unwrap();
    let mut bytes = store.get(&name, usize::MAX).unwrap();
    store.delete(&name).unwrap();
    for byte in &mut bytes {
        *byte ^= 1;
    }
    let _ = store.put(&name, &[&bytes]).unwrap();
    forget(&repository, named(&repository, "b"));
    let packs = repository.list_packs().unwrap();
    let refused = try_prune(&repository, MaxUnused::Bytes(0), Dealing::Now);
    assert!(matches!(refused, Err(PruneError::UnknownUse { .. })), "{refused:?}");
    assert_eq!(repository.list_packs().unwrap(), packs);
}

/// A repository with something to delete, something to pack anew, and something that a prune which died condemned
/// though it is in use.
fn half_used(store: Arc<dyn Store>) -> (Repository, Vec<u8>, Vec<u8>) {
    let repository = init(store);
    let (kept, also) = (tar_of_noise(6, 60_000), noise(7, 200_000));
    import_bytes(&repository, &tar_of_noise(12, 60_000)[..], Some("file:gone")).unwrap();
    import_bytes(&repository, &kept[..], Some("file:kept")).unwrap();
    import_bytes(&repository, &also[..], Some("file:also")).unwrap();
    let also_in: BTreeSet<_> = points(&repository)
        .into_iter()
        .filter(|(_, point)| point.source.name == "also")
        .flat_map(|(_, point)| point.content.packs)
        .collect();
    repository.put_condemned(&also_in).unwrap();
    forget(&repository, named(&repository, "gone"));
    (repository, kept, also)
}

#[test]
fn a_prune_takes_the_steps_in_their_order() {
    let store = Arc::new(RecordingStore::new(MemoryStore::new()));
    let (repository, kept, also) = half_used(Arc::<RecordingStore<MemoryStore>>::clone(&store));
    store.take();
    let summary = try_prune(&repository, MaxUnused::Unlimited, Dealing::Now).unwrap();
    assert!(summary.copied_bytes > 0 && summary.deleted_packs > 0, "{summary:?}");
    let record = store.take();
    let place = |operation, kind: &str, is_last: bool| {
        let is = |one: &Recorded| one.operation == operation && one.kind() == kind && one.outcome == Outcome::Done;
        let found = if is_last { record.iter().rposition(is) } else { record.iter().position(is) };
        found.unwrap_or_else(|| panic!("{operation} {kind} is in the record: {record:#?}"))
    };
    let (first, last) = (false, true);
    let condemned = place(Operation::Put, "condemned", first);
    let after = |before: usize, operation: Operation, kind: &str| {
        let is = |one: &Recorded| one.operation == operation && one.kind() == kind;
        before + record.iter().skip(before).position(is).unwrap_or_else(|| panic!("{operation} {kind} comes later"))
    };
    let adopted = after(condemned, Operation::Get, "condemned");
    let sessions = place(Operation::List, "sessions", last);
    let marked = after(sessions, Operation::List, "points");
    let listed = after(marked, Operation::List, "packs");
    let copied = place(Operation::Put, "packs", last);
    let named = place(Operation::Put, "index", first);
    let deleted_first = place(Operation::Delete, "packs", first);
    let deleted_last = place(Operation::Delete, "packs", last);
    let released = place(Operation::Delete, "condemned", first);
    let steps = [condemned, adopted, sessions, marked, listed, deleted_first, copied, named, deleted_last, released];
    assert!(steps.is_sorted_by(|a, b| a < b), "G2 to G7: {steps:?} in {record:#?}");
    assert_sound(&repository, &[("kept", &kept), ("also", &also)]);
}

/// What [`half_used`] makes, and the bytes of the packs of a repository that never held anything else.
struct HalfUsed {
    store: Arc<MemoryStore>,
    kept: Vec<u8>,
    also: Vec<u8>,
    fresh_bytes: u64,
}

/// A prune with a fault planned; returns how many calls it made.
fn prune_with(fault: Option<Fault>) -> usize {
    static HALF_USED: OnceLock<HalfUsed> = OnceLock::new();
    let HalfUsed { store: before, kept, also, fresh_bytes } = HALF_USED.get_or_init(|| {
        let store = Arc::new(MemoryStore::new());
        let (_, kept, also) = half_used(Arc::<MemoryStore>::clone(&store));
        let fresh = new();
        for (name, bytes) in [("file:kept", &kept), ("file:also", &also)] {
            import_bytes(&fresh, &bytes[..], Some(name)).unwrap();
        }
        HalfUsed { store, kept, also, fresh_bytes: pack_bytes(&fresh) }
    });
    let store = copy(before);
    let repository = reopen(Arc::clone(&store) as Arc<dyn Store>);
    let told = Collected::default();
    let (pruned, calls) = during(&store, fault, |_| {
        prepare(&repository, MaxUnused::Bytes(0), "test-host", &told).and_then(|one| prune(one, Dealing::Now))
    });
    let later = reopen(Arc::clone(&store) as Arc<dyn Store>);
    for (name, bytes) in [("kept", kept), ("also", also)] {
        let found = points(&later);
        let (_, point) = found.iter().find(|(_, point)| point.source.name == name).expect("it was not forgotten");
        assert!(export_bytes(&later, point) == **bytes, "{name}");
    }
    let is_small = || pack_bytes(&later) * 10 <= fresh_bytes * 11;
    // What says that it is done, and of nothing that it could not read, has done all.
    let has_problems = told.events().iter().any(|event| matches!(event, Event::Problem(_)));
    if pruned.is_ok_and(|summary| summary.waiting_for.is_empty()) && !has_problems {
        assert_sound(&later, &[("kept", kept), ("also", also)]);
        // Who was lied to about what a segment says may have copied what was kept already.
        let is_lied_to = fault.is_some_and(|fault| matches!(fault.effect, Effect::Tear { .. }));
        assert!(is_small() || is_lied_to, "{} is not as small as {fresh_bytes}", pack_bytes(&later));
    }
    if !torn(&store).is_empty() {
        // A store that breaks its contract leaves what has to be mended.
        assert_only_what_is_torn_is_told(&later, &store);
        let options = RepairOptions { no_prune_runs: true, ..REPAIR };
        assert!(repair(&later, options, None, ("test-host", &clock()), &Silent).unwrap().left.is_clean());
    }
    // The next one needs no mending and leaves nothing of this one.
    prune_all(&later);
    assert_sound(&later, &[("kept", kept), ("also", also)]);
    assert!(is_small());
    calls
}

#[test]
fn an_error_at_any_call_of_a_prune_costs_no_data() {
    at_every_call(250, &[&REFUSED_IN_TURN], prune_with);
}

#[test]
fn a_lost_answer_at_any_call_of_a_prune_costs_no_data() {
    at_every_call(250, &[&UNANSWERED], prune_with);
}

#[test]
fn the_death_of_a_prune_at_any_call_costs_no_data() {
    at_every_call(250, &[&LAST], prune_with);
}

#[test]
fn a_put_that_a_prune_tears_costs_no_data() {
    at_every_call(250, &[&TORN], prune_with);
}

#[test]
fn a_session_at_work_is_waited_for_or_ended_and_loses_nothing() {
    for dealing in [Dealing::Leave, Dealing::Now] {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let repository = init(Arc::clone(&store));
        let bytes = tar_of_noise(8, 60_000);
        import_bytes(&repository, &bytes[..], Some("file:old")).unwrap();
        let clock = clock();
        let mut run = Run::begin(&repository, &Silent, &clock, "test-host").unwrap();
        feed_bytes(&mut run, &mut &bytes[..], Some("file:new")).unwrap();
        // It has referred to chunks that nobody else needs any more.
        let other = reopen(store);
        forget(&other, named(&other, "old"));
        let summary = try_prune(&other, MaxUnused::Bytes(0), dealing).unwrap();
        assert_eq!(summary.waiting_for.len(), usize::from(dealing == Dealing::Leave));
        assert_eq!(summary.fenced.len(), usize::from(dealing == Dealing::Now));
        assert_eq!(summary.deleted_packs > 0, dealing == Dealing::Now);
        let finished = run.finish().unwrap();
        assert_eq!(finished.made.len(), usize::from(dealing == Dealing::Leave), "{finished:?}");
        prune_all(&other);
        let expected: &[(&str, &[u8])] = if dealing == Dealing::Leave { &[("new", &bytes)] } else { &[] };
        assert_sound(&other, expected);
    }
}

#[test]
fn a_fenced_backup_whose_data_is_still_there_commits_under_another_name() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = init(Arc::clone(&store));
    let bytes = tar_of_noise(8, 60_000);
    import_bytes(&repository, &bytes[..], Some("file:old")).unwrap();
    let clock = clock();
    let mut run = Run::begin(&repository, &Silent, &clock, "test-host").unwrap();
    feed_bytes(&mut run, &mut &bytes[..], Some("file:new")).unwrap();
    // Something is to be deleted, but nothing that it needs.
    let other = reopen(store);
    import_bytes(&other, &noise(5, 300_000)[..], Some("file:gone")).unwrap();
    forget(&other, named(&other, "gone"));
    assert_eq!(try_prune(&other, MaxUnused::Unlimited, Dealing::Now).unwrap().fenced.len(), 1);
    let finished = run.finish().unwrap();
    assert_eq!(finished.made.len(), 1, "{finished:?}");
    assert_sound(&other, &[("old", &bytes), ("new", &bytes)]);
}

/// Each of these destroyed data in a peer.
#[test]
fn repeated_chunks_zeros_and_doubled_packs_are_pruned_rightly() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (one, other) = (init(Arc::clone(&store)), reopen(Arc::clone(&store)));
    let block = noise(3, 300_000);
    let repeated = [&block[..], &block, &vec![0; 2_000_000], &block].concat();
    // Neither process knows what the other has stored: the same chunks are in two packs.
    let clock = clock();
    let mut runs = [&one, &other].map(|repository| Run::begin(repository, &Silent, &clock, "test-host").unwrap());
    for (run, name) in runs.iter_mut().zip(["file:one", "file:other"]) {
        feed_bytes(run, &mut &repeated[..], Some(name)).unwrap();
    }
    for run in runs {
        assert_eq!(run.finish().unwrap().made.len(), 1);
    }
    import_bytes(&one, &vec![0; 5_000_000][..], Some("file:zeros")).unwrap();
    let later = reopen(store);
    let before = pack_bytes(&later);
    let expected: Vec<(&str, &[u8])> = vec![("one", &repeated), ("other", &repeated), ("zeros", &[0; 5_000_000])];
    prune_all(&later);
    assert_sound(&later, &expected);
    assert!(pack_bytes(&later) < before * 6 / 10, "one copy is left of two");
    forget(&later, named(&later, "one"));
    prune_all(&later);
    assert_sound(&later, &expected[1..]);
    forget(&later, named(&later, "other"));
    prune_all(&later);
    assert_sound(&later, &expected[2..]);
}

#[test]
fn one_lost_chunk_does_not_keep_the_rest_from_being_freed() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = init(Arc::clone(&store));
    let (hurt, whole) = (noise(1, 400_000), noise(2, 400_000));
    for (name, bytes) in [("file:hurt", &hurt), ("file:whole", &whole)] {
        import_bytes(&repository, &bytes[..], Some(name)).unwrap();
    }
    import_bytes(&repository, &noise(3, 900_000)[..], Some("file:gone")).unwrap();
    let (id, point) = points(&repository).into_iter().find(|(_, point)| point.source.name == "hurt").unwrap();
    let of = |pack: &holdall::id::PackId| repository.index().packs().unwrap()[pack].kind;
    let lost = *point.content.packs.iter().find(|pack| of(pack) == PackKind::Data).unwrap();
    assert!(repository.remove_pack(lost).unwrap());
    forget(&repository, named(&repository, "gone"));
    let later = reopen(store);
    let summary = prune_all(&later);
    assert!(summary.is_damaged && summary.stuck.is_empty() && summary.deleted_bytes > 800_000, "{summary:?}");
    let found = points(&later);
    assert_eq!(found.len(), 2);
    assert!(export_bytes(&later, &found.iter().find(|(_, point)| point.source.name == "whole").unwrap().1) == whole);
    // The next backup of the same heals it.
    import_bytes(&later, &hurt[..], Some("file:hurt")).unwrap();
    let (_, point) = points(&later).into_iter().find(|(other, _)| *other == id).unwrap();
    assert!(export_bytes(&later, &point) == hurt);
    assert!(!prune_all(&later).is_damaged);
}
