//! Each byte of a repository is changed once: it is told, no point comes back otherwise than it went in, and what is
//! stored doubled or has parity is whole again after a repair. What a repair leaves by design is said here by kind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use holdall::backup::Run;
use holdall::check::{CheckLevel, Severity, check};
use holdall::clock::{FixedClock, Timestamp};
use holdall::crypto::{Access, Argon2Cost, GivenName, KeyFile, Passphrase, SlotKey, Unlock, seal_given};
use holdall::id::{PackId, PointId, RunId};
use holdall::monitor::Silent;
use holdall::point::Point;
use holdall::prune::{Dealing, MaxUnused, prepare, prune};
use holdall::repair::repair;
use holdall::repo::{IndexPlace, Repository, SessionRecord};
use holdall::source::Source;
use holdall::store::{MemoryStore, Name, Put, Store};

use crate::fixture::{REPAIR, clock, export_bytes, feed_bytes, init, key_file, noise, points, reopen, tar_of_noise};
use crate::model::{Dice, rounds};

/// Of so many bytes one is damaged alone; by hand every one is.
const ALONE_EVERY: usize = 31;
/// Of so many bytes that are damaged together with others one is repaired; by hand every one is.
const REPAIRED_EVERY: usize = 8;

/// What a repair makes of an object of which one byte is wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is whole again.
    Mended,
    /// It is told, and told again after the repair: a void must never go, and a slot's bytes are worth nothing without
    /// the key that it is for, which is another one than the repair was given.
    Told,
    /// It is told, and the next prune takes it away, for a writer or a prune left it.
    LeftToPrune,
    /// It is not told, for another is in force.
    Unused,
}

/// A repository in which nothing is wrong, and what it holds.
struct Sound {
    store: MemoryStore,
    points: BTreeMap<(String, Timestamp), Vec<u8>>,
    fates: BTreeMap<Name, Fate>,
    passphrase_slot: Name,
}

fn passphrase() -> Passphrase {
    Passphrase::new(b"correct horse".to_vec()).unwrap()
}

fn at(hour: u64) -> Timestamp {
    Timestamp::from_micros(clock().0.as_micros() + hour * 3_600_000_000).unwrap()
}

/// Makes these runs, and adds every other kind of object that a repository can have.
fn sound(runs: &[&[(&str, Vec<u8>)]]) -> Sound {
    let store = Arc::new(MemoryStore::with_clock(Arc::new(clock())));
    let repository = init(Arc::<MemoryStore>::clone(&store));
    let mut expected = BTreeMap::new();
    for (hour, streams) in (0..).zip(runs) {
        let moment = FixedClock(at(hour));
        let mut run = Run::begin(&repository, &Silent, &moment, "test-host").unwrap();
        for (name, bytes) in *streams {
            feed_bytes(&mut run, &mut &bytes[..], Some(&format!("file:{name}"))).unwrap();
            expected.insert(((*name).to_owned(), moment.0), bytes.clone());
        }
        run.finish().unwrap();
    }
    repository.put_next_config(repository.config()).unwrap();
    let passphrase_slot = add_keys(&repository);
    add_notes(&repository);
    let fence = PointId::from_bytes([3; 32]);
    repository.put_void(fence).unwrap();
    let session = PointId::from_bytes([4; 32]);
    let record = SessionRecord { process_start: 0, ..record_of_this_process() };
    let sealed = seal_given(repository.write_keys(), GivenName::Session(session), &record.encode()).unwrap();
    let session: Name = format!("sessions/{session}").parse().unwrap();
    assert_eq!(repository.store().put(&session, &[&sealed]).unwrap(), Put::Created);
    repository.put_condemned(&[PackId::from_bytes([5; 32])].into()).unwrap();
    let mut fates = BTreeMap::new();
    let own_slot = format!("keys/{}", repository.slot());
    for name in store.names().into_iter().filter(|name| !name.directory().as_str().is_empty()) {
        let fate = match name.directory().as_str() {
            "config" if name.leaf() == "1" => Fate::Unused,
            "keys" if name.as_str() != own_slot && name != passphrase_slot => Fate::Told,
            "points" if name.leaf() == fence.to_string() => Fate::Told,
            "sessions" | "condemned" => Fate::LeftToPrune,
            _ => Fate::Mended,
        };
        fates.insert(name, fate);
    }
    Sound { store: store.copy(), points: expected, fates, passphrase_slot }
}

fn record_of_this_process() -> SessionRecord {
    SessionRecord::of_this_process(RunId::from_bytes([1; 32]), "test-host", clock().0)
}

/// One more slot that opens to everything, and one that cannot read.
fn add_keys(repository: &Repository) -> Name {
    let (passphrase, writers) = (passphrase(), KeyFile::fixed([8; 32]));
    let slot = SlotKey::Passphrase(&passphrase, Argon2Cost::cheap());
    let slot = repository.add_key(&slot, Access::Full, "a passphrase", clock().0).unwrap();
    repository.add_key(&SlotKey::KeyFile(&writers), Access::WriteOnly, "a writer", clock().0).unwrap();
    format!("keys/{slot}").parse().unwrap()
}

/// The point that has a tag: the first of its source.
fn tagged(points: &[(PointId, Point)]) -> PointId {
    points.iter().find(|(_, point)| point.source.name == "a" && point.started == at(0)).unwrap().0
}

/// Notes of most kinds, some of which others supersede.
fn add_notes(repository: &Repository) {
    let id = tagged(&points(repository));
    for (tagged, pinned) in [(true, true), (false, true), (true, false)] {
        let history = repository.whole_history().unwrap();
        repository.tag(&history, id, "release", tagged, clock().0).unwrap();
        repository.pin(&history, id, pinned, clock().0).unwrap();
    }
    let history = repository.whole_history().unwrap();
    repository.retire(&history, &Source::file("gone"), true, clock().0).unwrap();
    let read = repository.list_packs().unwrap().into_iter().map(|(pack, _)| pack).collect();
    repository.remember_read(&read, clock().0).unwrap();
}

impl Sound {
    /// A copy in which these bytes are others.
    fn with(&self, changes: &[(&Name, usize, u8)]) -> Arc<MemoryStore> {
        let store = Arc::new(self.store.copy());
        for (name, at, mask) in changes {
            assert!(*mask != 0 && store.damage(name, |bytes| bytes[*at] ^= mask));
        }
        store
    }

    fn len_of(&self, name: &Name) -> usize {
        usize::try_from(self.store.stat(name).unwrap().unwrap().bytes).unwrap()
    }

    /// Every point comes back as it went in, and what notes say of it is said still.
    fn assert_restores(&self, repository: &Repository, what: &str) {
        let found = points(repository);
        assert_eq!(found.len(), self.points.len(), "{what}");
        for (id, point) in &found {
            let bytes = &self.points[&(point.source.name.clone(), point.started)];
            assert!(export_bytes(repository, point) == *bytes, "{what}: {id}");
        }
        let history = repository.history().unwrap();
        let tags = history.tags();
        let has_tag = |(id, _): &&(PointId, Point)| tags.get(id).is_some_and(|tags| tags.contains("release"));
        let with_tag: Vec<PointId> = found.iter().filter(has_tag).map(|(id, _)| *id).collect();
        assert!(history.pinned().is_empty() && with_tag == [tagged(&found)], "{what}");
        assert!(history.retired().contains(&Source::file("gone")), "{what}");
    }

    /// A check names exactly these objects, and none of it costs a point anything.
    fn assert_told(&self, repository: &Repository, expected: &[&Name], what: &str) {
        let report = check(repository, CheckLevel::ReadData, &Silent).unwrap();
        for name in expected {
            let told = report.findings.iter().any(|finding| finding.object.contains(name.leaf()));
            assert!(told, "{what}: {name} is not told of in {:?}", report.findings);
        }
        for finding in &report.findings {
            let named = expected.iter().find(|name| finding.object.contains(name.leaf()));
            let named = named.unwrap_or_else(|| panic!("{what}: {finding:?}"));
            // What is stored once is lost; nothing depends on it.
            let is_lost = named.directory().as_str() == "sessions";
            assert_eq!(finding.severity == Severity::Damage, is_lost, "{what}: {finding:?}");
            assert!(finding.affected.is_empty(), "{what}: {finding:?}");
        }
        assert_eq!(report.points, self.points.len() as u64, "{what}");
    }

    /// Of these changes each is told, and nothing comes back wrong.
    fn assert_noticed(&self, changes: &[(&Name, usize, u8)], what: &str) {
        let told: Vec<&Name> =
            changes.iter().map(|(name, ..)| *name).filter(|name| self.fates[name] != Fate::Unused).collect();
        let repository = reopen(self.with(changes));
        self.assert_restores(&repository, what);
        self.assert_told(&repository, &told, what);
    }

    /// After a repair, and a prune for what is left to one, these changes are no more than their fates say.
    fn assert_repaired(&self, changes: &[(&Name, usize, u8)], what: &str) {
        let broken = self.with(changes);
        for key in [Unlock::KeyFile(&key_file()), Unlock::Passphrase(&passphrase())] {
            if matches!(key, Unlock::Passphrase(_)) && !changes.iter().any(|(name, ..)| **name == self.passphrase_slot)
            {
                continue;
            }
            let store = Arc::<MemoryStore>::clone(&broken);
            let (repository, _) = Repository::open(store, key, IndexPlace::Memory).unwrap();
            let options = REPAIR;
            repair(&repository, options, Some(key), ("test-host", &clock()), &Silent).unwrap();
        }
        let left = |fate: Fate| changes.iter().map(|(name, ..)| *name).filter(move |name| self.fates[*name] == fate);
        let repository = reopen(broken);
        if left(Fate::LeftToPrune).next().is_some() {
            let prepared = prepare(&repository, MaxUnused::Permille(50), "test-host", &Silent).unwrap();
            assert!(!prune(prepared, Dealing::Now).unwrap().is_damaged, "{what}");
        }
        self.assert_told(&repository, &left(Fate::Told).collect::<Vec<_>>(), what);
        self.assert_restores(&repository, what);
    }
}

/// Does all of this work, with two threads.
pub fn on_two_threads(count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count) {
                    work(number);
                }
            });
        }
    });
}

fn mask(dice: &mut Dice) -> u8 {
    u8::try_from(1 + dice.below(255)).unwrap()
}

/// Three points in two runs, the second of which found much of what it needed.
fn small() -> Sound {
    let (first, other) = (tar_of_noise(9, 1500), noise(2, 4000));
    let second = [&tar_of_noise(5, 1500)[..], &noise(9, 12_000)].concat();
    let sound = sound(&[&[("a", first), ("b", other)], &[("a", second)]]);
    let bytes: usize = sound.fates.keys().map(|name| sound.len_of(name)).sum();
    assert!((56 * 1024..80 * 1024).contains(&bytes), "{bytes}");
    sound.assert_told(&reopen(Arc::new(sound.store.copy())), &[], "as it was made");
    sound
}

/// By hand: every byte, and every one is repaired.
#[test]
fn a_changed_byte_is_told_costs_nothing_and_is_mended() {
    let sound = small();
    let is_thorough = rounds(1) > 1;
    let bytes = sound.fates.keys().flat_map(|name| (0..sound.len_of(name)).map(move |at| (name, at)));
    let bytes: Vec<(&Name, usize)> = bytes.step_by(if is_thorough { 1 } else { ALONE_EVERY }).collect();
    on_two_threads(bytes.len(), |number| {
        let ((name, at), mut dice) = (bytes[number], Dice(number as u64));
        let changes = [(name, at, mask(&mut dice))];
        let what = format!("{name} at {at} of {}, changed by {:#x}", sound.len_of(name), changes[0].2);
        sound.assert_noticed(&changes, &what);
        sound.assert_repaired(&changes, &what);
    });
}

/// Every byte of every object once, one of each object at a time. By hand: so many other values, and all are repaired.
#[test]
fn a_changed_byte_in_each_object_at_once_is_told_costs_nothing_and_is_mended() {
    let sound = small();
    let values = usize::try_from(rounds(1)).unwrap();
    let longest = sound.fates.keys().map(|name| sound.len_of(name)).max().unwrap();
    on_two_threads(values * longest, |number| {
        let (at, mut dice) = (number % longest, Dice(number as u64));
        let long = sound.fates.keys().filter(|name| sound.len_of(name) > at);
        let changes: Vec<(&Name, usize, u8)> = long.map(|name| (name, at, mask(&mut dice))).collect();
        let what = format!("byte {at} of {changes:?}");
        sound.assert_noticed(&changes, &what);
        if values > 1 || number % REPAIRED_EVERY == 0 {
            sound.assert_repaired(&changes, &what);
        }
    });
}

/// By hand: so many bytes. Each time one of every object is wrong at once.
#[test]
fn a_changed_byte_in_every_object_of_a_larger_repository_is_told_and_mended() {
    let stream = |seed: u64| [tar_of_noise(40 + seed, 6000), noise(seed, 150_000), tar_of_noise(3, 60_000)].concat();
    let names = ["a", "b", "c", "a", "b"];
    let runs: Vec<[(&str, Vec<u8>); 1]> = (0..).zip(names).map(|(seed, name)| [(name, stream(seed))]).collect();
    let sound = sound(&runs.iter().map(|run| &run[..]).collect::<Vec<_>>());
    let stored: usize = sound.fates.keys().map(|name| sound.len_of(name)).sum();
    assert!((1_500_000..2_500_000).contains(&stored), "{stored}");
    let count = usize::try_from(rounds(1000)).unwrap().div_ceil(sound.fates.len());
    on_two_threads(count, |number| {
        let mut dice = Dice(number as u64);
        let changes: Vec<(&Name, usize, u8)> =
            sound.fates.keys().map(|name| (name, dice.below(sound.len_of(name)), mask(&mut dice))).collect();
        let what = format!("round {number}: {changes:?}");
        sound.assert_noticed(&changes, &what);
        sound.assert_repaired(&changes, &what);
    });
}
