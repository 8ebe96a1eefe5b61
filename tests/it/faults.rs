//! A store that fails, lies about having failed, tears what it stores, or dies, at every call of every command in turn.
//!
//! Whatever happens, success is reported only for what is complete, what was there before still restores, no wrong byte
//! comes out, and the next command works without any mending. `prune.rs` and `forget.rs` do the same for theirs.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use holdall::backup::{BackupOptions, ImportRequest, Run, Selection, StagingCheck, back_up, import};
use holdall::check::{CheckLevel, Report, check};
use holdall::crypto::{Access, KeyFile, SlotKey, Unlock};
use holdall::daemon::Flavor;
use holdall::daemon::fake::{FakeDaemon, FakeInstance};
use holdall::id::PointId;
use holdall::monitor::{Collected, Silent};
use holdall::point::Point;
use holdall::prune::PruneError;
use holdall::repair::{RepairOptions, Summary, repair};
use holdall::repo::{Catalog, IndexPlace, Parity, RepoError, Repository};
use holdall::restore::{Digest, RestoreTarget, export, restore};
use holdall::source::Source;
use holdall::store::fault::Fault;
use holdall::store::record::{Outcome, Recorded, RecordingStore};
use holdall::store::{CreateIfAbsent, Deleted, Directory, MemoryStore, Name, Store, probe_create_if_absent};

use crate::every_call::{
    Faulty, LAST, REFUSED, REFUSED_IN_TURN, TORN, TORN_PUTS, UNANSWERED, assert_only_what_is_torn_is_told,
    at_every_call, copy, during, torn,
};
use crate::fixture::{
    REPAIR, clock, export_bytes, host, import_bytes, init, key_file, noise, points, reopen, tar_of_noise,
};
use crate::prune::prune_all;

/// What the repository of these tests holds, by source.
fn held() -> [(&'static str, Vec<u8>); 2] {
    [("old", tar_of_noise(3, 6000)), ("other", noise(50, 9000))]
}

/// A repository with two points, one of which has a tag.
fn base() -> &'static MemoryStore {
    static BASE: OnceLock<Arc<MemoryStore>> = OnceLock::new();
    BASE.get_or_init(|| {
        let store = Arc::new(MemoryStore::new());
        let repository = init(Arc::<MemoryStore>::clone(&store));
        for (name, bytes) in held() {
            import_bytes(&repository, &bytes[..], Some(&format!("file:{name}"))).unwrap();
        }
        let (id, _) = points(&repository).remove(0);
        repository.tag(&repository.history().unwrap(), id, "kept", true, clock().0).unwrap();
        store
    })
}

/// As [`base`], with damage that costs data: to a pack beyond its parity, a segment, a point and a note.
fn hurt() -> &'static (MemoryStore, Vec<Name>) {
    static HURT: OnceLock<(MemoryStore, Vec<Name>)> = OnceLock::new();
    HURT.get_or_init(|| {
        let store = base().copy();
        let names = ["packs/", "index/", "points/", "notes/"].map(|kind| first(&store, kind));
        for name in &names {
            assert!(store.damage(name, |bytes| bytes[40..].fill(7)));
        }
        (store, names.to_vec())
    })
}

fn first(store: &MemoryStore, kind: &str) -> Name {
    store.names().into_iter().find(|name| name.as_str().starts_with(kind)).expect("one of this kind")
}

fn open(store: Arc<dyn Store>) -> Result<Repository, RepoError> {
    open_with(store, &key_file())
}

fn open_with(store: Arc<dyn Store>, key: &KeyFile) -> Result<Repository, RepoError> {
    Repository::open(store, Unlock::KeyFile(key), IndexPlace::Memory).map(|(repository, _)| repository)
}

/// Both points are there and come back as they went in, and of others only whole ones.
fn assert_held(repository: &Repository, others: &[(&str, &[u8])]) -> BTreeSet<String> {
    let found = points(repository);
    let held = held();
    let all: Vec<(&str, &[u8])> = held.iter().map(|(name, bytes)| (*name, &bytes[..])).chain(others.to_vec()).collect();
    for (_, point) in &found {
        let (_, expected) = all.iter().find(|(name, _)| point.source.name == *name).expect("somebody made it");
        assert!(export_bytes(repository, point) == *expected, "{}", point.source);
    }
    let names: BTreeSet<String> = found.into_iter().map(|(_, point)| point.source.name).collect();
    assert!(held.iter().all(|(name, _)| names.contains(*name)), "what was there before is gone");
    names
}

// -- import

/// Runs one import with this fault planned; returns how many calls it made.
fn import_with(fault: Option<Fault>) -> usize {
    let (store, new) = (copy(base()), tar_of_noise(4, 6000));
    let (imported, calls) = during(&store, fault, |store| try_import(&open(store).ok()?, &new));
    let later = reopen(Arc::clone(&store) as Arc<dyn Store>);
    let names = assert_held(&later, &[("new", &new)]);
    // A point may stand without having been reported, when the answer was lost; never the other way round.
    assert!(names.contains("new") || imported.is_none(), "reported, and not there");
    assert_only_what_is_torn_is_told(&later, &store);
    import_bytes(&later, &new[..], Some("file:again")).unwrap();
    let again = points(&later).into_iter().find(|(_, point)| point.source.name == "again").expect("the next import");
    assert!(export_bytes(&later, &again.1) == new);
    calls
}

fn try_import(repository: &Repository, bytes: &[u8]) -> Option<()> {
    let clock = clock();
    let mut run = Run::begin(repository, &Silent, &clock, "test-host").ok()?;
    let mut input = bytes;
    let source = Some("file:new".parse().expect("a source"));
    let request =
        ImportRequest { label: "bytes".into(), input: &mut input, bytes: None, source, server: "host".into() };
    import(&mut run, request).ok()?;
    (run.finish().ok()?.made.len() == 1).then_some(())
}

#[test]
fn a_failure_at_any_call_costs_the_import_at_most() {
    at_every_call(36, &[&REFUSED, &UNANSWERED, &LAST], import_with);
}

#[test]
fn a_put_that_an_import_tears_is_found_by_check_and_never_restored() {
    at_every_call(36, &[&TORN], import_with);
}

// -- check

/// Checks while the store fails as planned: `None` if that failed. Returns what was asked, too.
fn try_check(of: &MemoryStore, level: CheckLevel, fault: Option<Fault>) -> (Option<Report>, Vec<Recorded>, usize) {
    let ((report, record), calls) = during(&copy(of), fault, |store| {
        let store = Arc::new(RecordingStore::new(store));
        let check = || {
            let unlock = Unlock::KeyFile(&key_file());
            let recording = Arc::<RecordingStore<Arc<dyn Store>>>::clone(&store);
            let (repository, refreshed) = Repository::open(recording, unlock, IndexPlace::Memory).ok()?;
            let report = check(&repository, level, &Silent).ok()?;
            // The command tells of these, too.
            (refreshed.damaged.is_empty() || !report.is_clean()).then_some(report)
        };
        (check(), store.take())
    });
    (report, record, calls)
}

/// What failed was asked once more and answered: which packs to read rather than others, or a pack for its parity.
fn assert_nothing_is_passed_over(record: &[Recorded]) {
    for (number, failed) in record.iter().enumerate() {
        if matches!(failed.outcome, Outcome::Failed(_)) {
            let is_done = |one: &Recorded| one.object == failed.object && one.outcome == Outcome::Done;
            assert!(record[number..].iter().any(is_done), "{failed} failed, and that was passed over");
        }
    }
}

#[test]
fn a_check_during_which_anything_failed_is_clean_only_if_it_looked_at_everything() {
    for (level, floor) in [(CheckLevel::Structure, 80), (CheckLevel::ReadData, 80)] {
        let looked = |report: &Report| (report.points, report.chunks, report.packs, report.bytes_read);
        let whole = try_check(base(), level, None).0.expect("nothing fails");
        assert!(whole.is_clean() && whole.points == 2, "{whole:?}");
        at_every_call(floor, &[&REFUSED, &UNANSWERED, &LAST, &TORN], |fault| {
            let (report, record, calls) = try_check(base(), level, fault);
            if let Some(report) = report.filter(Report::is_clean) {
                assert_eq!(looked(&report), looked(&whole));
                assert_nothing_is_passed_over(&record);
            }
            calls
        });
    }
}

#[test]
fn a_check_during_which_anything_failed_hides_no_damage() {
    let (store, names) = hurt();
    at_every_call(110, &[&REFUSED, &UNANSWERED, &LAST], |fault| {
        let (report, _, calls) = try_check(store, CheckLevel::ReadData, fault);
        for name in report.iter().flat_map(|_| names) {
            let findings = &report.as_ref().expect("it is there").findings;
            assert!(findings.iter().any(|one| one.object.contains(name.leaf())), "{name} is damaged: {findings:?}");
        }
        assert!(report.is_some() || fault.is_some());
        calls
    });
}

// -- repair

/// As [`base`], with damage that a repair mends: one of two copies, some of a pack, and a lost segment.
fn mendable() -> &'static MemoryStore {
    static MENDABLE: OnceLock<MemoryStore> = OnceLock::new();
    MENDABLE.get_or_init(|| {
        let store = base().copy();
        for kind in ["packs/", "points/", "notes/"] {
            assert!(store.damage(&first(&store, kind), |bytes| bytes[100] ^= 0x10));
        }
        store.delete(&first(&store, "index/")).unwrap();
        store
    })
}

fn mend(repository: &Repository) -> Result<Summary, PruneError> {
    let options = RepairOptions { no_prune_runs: true, ..REPAIR };
    repair(repository, options, None, ("test-host", &clock()), &Silent)
}

fn repair_with(fault: Option<Fault>) -> usize {
    let store = copy(mendable());
    let (mended, calls) = during(&store, fault, |store| mend(&open(store).ok()?).ok());
    let later = reopen(Arc::clone(&store) as Arc<dyn Store>);
    assert_held(&later, &[]);
    if let Some(summary) = mended {
        let objects = |report: &Report| -> BTreeSet<String> {
            report.findings.iter().map(|finding| finding.object.clone()).collect()
        };
        let left = check(&later, CheckLevel::ReadData, &Silent).unwrap();
        assert!(objects(&summary.left).is_superset(&objects(&left)), "{:?}, and {:?}", summary.left, left);
        assert!(fault.is_some() || summary.left.is_clean() && summary.found >= 4, "{summary:?}");
    }
    // The next one mends what is left, of this one, too. A note that cannot be read is never removed, for what it says
    // keeps points.
    let summary = mend(&later).unwrap();
    assert!(summary.left.is_clean() || !torn(&store).is_empty(), "{:?}", summary.left);
    for (id, _) in later.damaged_points().unwrap() {
        // A person has to name it: it may have been a point.
        assert_eq!(later.forget_damaged(id).unwrap(), Deleted::Removed);
    }
    prune_all(&later);
    assert_only_what_is_torn_is_told(&later, &store);
    assert!(torn(&store).iter().all(|name| name.as_str().starts_with("notes/")));
    assert_held(&reopen(store), &[]);
    calls
}

#[test]
fn a_failure_at_any_call_of_a_repair_costs_a_repetition_at_most() {
    at_every_call(500, &[&REFUSED_IN_TURN, &UNANSWERED], repair_with);
}

#[test]
fn the_death_of_a_repair_at_any_call_costs_a_repetition_at_most() {
    at_every_call(500, &[&LAST], repair_with);
}

#[test]
fn a_put_that_a_repair_tears_is_mended_by_the_next() {
    at_every_call(500, &[&TORN], repair_with);
}

// -- export and restore

#[test]
fn an_export_during_which_anything_failed_writes_the_right_bytes_or_fails() {
    let (name, expected) = &held()[0];
    for (of, floor) in [(base(), 36), (mendable(), 36)] {
        at_every_call(floor, &[&REFUSED, &UNANSWERED, &LAST, &TORN], |fault| {
            let mut out = Vec::new();
            let (exported, calls) = during(&copy(of), fault, |store| {
                let repository = open(store).ok()?;
                let catalog = Catalog::read(&repository, &Silent).ok()?;
                let (_, point) = catalog.points().iter().find(|(_, point)| point.source.name == *name)?;
                export(&repository, "a point", point, &mut out, Digest::Blake3, &Silent).ok()
            });
            assert!(expected.starts_with(&out), "a wrong byte came out");
            if let Some(exported) = &exported {
                assert!(out == *expected && exported.digest == Some(blake3::hash(expected).into()));
            }
            assert!(exported.is_some() || fault.is_some());
            calls
        });
    }
}

fn web1() -> FakeInstance {
    FakeInstance::container("web1").file("srv/data", &noise(1, 60_000))
}

/// A repository with a point of an instance.
fn backed_up() -> MemoryStore {
    let store = Arc::new(MemoryStore::new());
    let repository = init(Arc::<MemoryStore>::clone(&store));
    let origin = FakeDaemon::new(Flavor::Incus);
    origin.add(&web1());
    let options = BackupOptions { staging: StagingCheck::Skipped, ..BackupOptions::default() };
    let made = back_up(&repository, &origin, &Selection::All, &options, host(&clock()), &Silent).unwrap().made;
    assert_eq!(made.len(), 1);
    store.copy()
}

#[test]
fn a_restore_during_which_anything_failed_leaves_the_right_instance_or_none() {
    let of = backed_up();
    at_every_call(50, &[&REFUSED, &UNANSWERED, &LAST, &TORN], |fault| {
        let daemon = FakeDaemon::new(Flavor::Incus);
        let (restored, calls) = during(&copy(&of), fault, |store| {
            let repository = open(store).ok()?;
            let catalog = Catalog::read(&repository, &Silent).ok()?;
            let (_, point) = catalog.points().first()?;
            restore(&repository, &daemon, "web1", point, &RestoreTarget::default(), &Silent).ok()
        });
        let accepted: Vec<_> = daemon.imports().into_iter().filter(|import| import.accepted).collect();
        assert!(accepted.iter().all(|import| import.bytes == web1().export()), "it has other bytes");
        assert!(restored.is_none() || accepted.len() == 1, "reported, and not there");
        assert!(restored.is_some() || fault.is_some());
        calls
    });
}

// -- keys

fn opens(store: &Faulty, key: &KeyFile) -> bool {
    open_with(Arc::clone(store) as Arc<dyn Store>, key).is_ok()
}

#[test]
fn a_change_of_keys_during_which_anything_failed_leaves_one_that_opens() {
    let (old, new) = (key_file(), KeyFile::fixed([9; 32]));
    at_every_call(12, &[&REFUSED, &UNANSWERED, &LAST, &TORN], |fault| {
        let store = copy(base());
        // The steps of the command, and how far they came.
        let mut added = false;
        let (changed, calls) = during(&store, fault, |store| {
            let repository = open(store).ok()?;
            let slot = repository.slot();
            let slots = repository.list_keys().ok()?;
            let description = slots.into_iter().find(|one| one.id == slot)?.description.ok()?;
            let label = &description.label;
            repository.add_key(&SlotKey::KeyFile(&new), description.access, label, clock().0).ok()?;
            added = true;
            repository.remove_key(slot).ok()
        });
        assert!(changed.is_some() || fault.is_some());
        assert!(!added || opens(&store, &new), "it was added, and opens nothing");
        assert!(changed.is_none() || !opens(&store, &old), "it was removed, and opens all");
        assert!(opens(&store, &old) || added, "the old one went before the new one came");
        let key = if opens(&store, &old) { &old } else { &new };
        let later = open_with(Arc::clone(&store) as Arc<dyn Store>, key).unwrap();
        assert_held(&later, &[]);
        assert_only_what_is_torn_is_told(&later, &store);
        calls
    });
}

#[test]
fn a_key_that_was_told_as_added_or_removed_is() {
    let added = KeyFile::fixed([9; 32]);
    at_every_call(7, &[&REFUSED, &UNANSWERED, &LAST, &TORN], |fault| {
        let store = copy(base());
        let (slot, calls) = during(&store, fault, |store| {
            let repository = open(store).ok()?;
            repository.add_key(&SlotKey::KeyFile(&added), Access::WriteOnly, "label", clock().0).ok()
        });
        let writes = open_with(Arc::clone(&store) as Arc<dyn Store>, &added);
        assert!(slot.is_none() || writes.is_ok_and(|repository| repository.read_keys().is_err()));
        assert_held(&reopen(store), &[]);
        calls
    });
    let with_two = copy(base());
    let slot = reopen(Arc::clone(&with_two) as Arc<dyn Store>)
        .add_key(&SlotKey::KeyFile(&added), Access::Full, "label", clock().0)
        .unwrap();
    at_every_call(10, &[&REFUSED, &UNANSWERED, &LAST, &TORN], |fault| {
        let store = copy(with_two.inner());
        let (removed, calls) = during(&store, fault, |store| open(store).ok()?.remove_key(slot).ok());
        assert!(removed.is_none() || !opens(&store, &added), "it was removed, and opens all");
        assert!(removed.is_some() || fault.is_some());
        assert_held(&reopen(store), &[]);
        calls
    });
}

// -- notes

/// Says something of a point while the store fails as planned; `is_said` tells whether the repository says so later.
fn say_with(
    fault: Option<Fault>,
    say: impl FnOnce(&Repository, &[(PointId, Point)]) -> Result<(), RepoError>,
    is_said: impl FnOnce(&Repository) -> bool,
) -> usize {
    let store = copy(base());
    let (said, calls) = during(&store, fault, |store| {
        let repository = open(store).ok()?;
        let problems = Collected::default();
        let catalog = Catalog::read(&repository, &problems).ok()?;
        say(&repository, catalog.points()).ok()?;
        // A point that cannot be read is told of, and nothing was said of it.
        problems.events().is_empty().then_some(())
    });
    let later = reopen(Arc::clone(&store) as Arc<dyn Store>);
    assert!(said.is_none() || is_said(&later), "told as done, and is not");
    assert!(said.is_some() || fault.is_some());
    assert_only_what_is_torn_is_told(&later, &store);
    // Policies drop nothing while one cannot be read.
    assert_eq!(later.whole_history().is_err(), !torn(&store).is_empty());
    calls
}

#[test]
fn tags_and_pins_that_were_told_as_given_are() {
    at_every_call(20, &[&REFUSED, &UNANSWERED, &LAST, &TORN_PUTS], |fault| {
        let say = |repository: &Repository, points: &[(PointId, Point)]| {
            let history = repository.history()?;
            let [(tagged, _), .., (pinned, _)] = points else { return Ok(()) };
            repository.tag(&history, *tagged, "new", true, clock().0)?;
            repository.tag(&history, *tagged, "kept", false, clock().0)?;
            repository.pin(&history, *pinned, true, clock().0)
        };
        let is_said = |later: &Repository| {
            let (history, found) = (later.history().unwrap(), points(later));
            let tags = history.tags().remove(&found[0].0).unwrap_or_default();
            tags == ["new"].into() && history.pinned() == [found[1].0].into()
        };
        say_with(fault, say, is_said)
    });
}

#[test]
fn sources_that_were_told_as_retired_or_renamed_are() {
    let (from, to) = (Source::file("old"), Source::file("renamed"));
    at_every_call(18, &[&REFUSED, &UNANSWERED, &LAST, &TORN_PUTS], |fault| {
        let say = |repository: &Repository, _: &[(PointId, Point)]| {
            repository.retire(&repository.history()?, &Source::file("other"), true, clock().0)
        };
        say_with(fault, say, |later| later.history().unwrap().retired().contains(&Source::file("other")))
    });
    at_every_call(18, &[&REFUSED, &UNANSWERED, &LAST, &TORN_PUTS], |fault| {
        let say = |repository: &Repository, points: &[(PointId, Point)]| {
            let of_it = points.iter().filter(|(_, point)| point.source == from).map(|(id, _)| *id).collect();
            repository.rename(&repository.history()?, &from, &to, &of_it, clock().0)
        };
        say_with(fault, say, |later| {
            let sources: BTreeSet<Source> = points(later).into_iter().map(|(_, point)| point.source).collect();
            sources.contains(&to) && !sources.contains(&from)
        })
    });
}

// -- init

#[test]
fn a_repository_that_was_told_as_made_opens_and_others_are_told_apart() {
    at_every_call(32, &[&REFUSED, &UNANSWERED, &LAST, &TORN], |fault| {
        let store = copy(&MemoryStore::new());
        let key = key_file();
        let (made, calls) = during(&store, fault, |store| {
            let probed = probe_create_if_absent(&store, &Directory::ROOT).ok()?;
            assert_eq!(probed, CreateIfAbsent::Works);
            Repository::init(store, &SlotKey::KeyFile(&key), clock().0, 0, Parity::ReedSolomon).ok()
        });
        match open(Arc::clone(&store) as Arc<dyn Store>) {
            Ok(repository) => {
                let bytes = noise(1, 30_000);
                import_bytes(&repository, &bytes[..], Some("file:x")).unwrap();
                assert!(export_bytes(&repository, &points(&repository)[0].1) == bytes);
                assert_only_what_is_torn_is_told(&repository, &store);
            }
            Err(RepoError::NotARepository { .. }) => assert!(made.is_none(), "reported, and not there"),
            Err(error) => assert!(!torn(&store).is_empty() && made.is_none(), "{error}"),
        }
        assert!(made.is_some() || fault.is_some());
        calls
    });
}
