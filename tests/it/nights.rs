//! Four hundred nights of several sources, each followed by retention and every seventh by a prune: what was promised
//! is there, in little more room than if nothing else had ever been, and the newest point is read with little more
//! effort than in a repository that only ever had these points.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdall::backup::{ImportRequest, Run, import};
use holdall::check::{CheckLevel, check};
use holdall::clock::{FixedClock, Timestamp};
use holdall::forget;
use holdall::id::PointId;
use holdall::monitor::Silent;
use holdall::point::Point;
use holdall::prune::{Dealing, MaxUnused, prepare, prune};
use holdall::repo::{Catalog, Repository};
use holdall::restore::{Digest, export};
use holdall::retention::{Calendar, Keep, Policy};
use holdall::store::record::RecordingStore;
use holdall::store::{Directory, MemoryStore, Operation};
use jiff::tz::TimeZone;

use crate::fixture::{clock, export_bytes, init, noise, reopen};
use crate::model::{Dice, rounds};

const PAGE_BYTES: usize = 8192;
/// Nights between two prunes.
const WEEK: u64 = 7;

/// A server whose content changes a bit each night.
struct Server {
    name: &'static str,
    /// Files that never change.
    system: Vec<Vec<u8>>,
    /// Files of which some change each night, some go and some come.
    work: BTreeMap<u64, Vec<u8>>,
    /// A file that grows each night and begins anew when it is long.
    log: Vec<u8>,
    /// A file of which pages change here and there, some of them more often.
    database: Vec<u8>,
    dice: Dice,
}

impl Server {
    /// One of so many MiB, about.
    fn new(name: &'static str, seed: u64, mib: usize) -> Self {
        let mut dice = Dice(seed);
        let system = (0..mib * 2).map(|_| noise(dice.roll(), 250_000)).collect();
        let work = (0..8).map(|number| (number, noise(dice.roll(), mib * 40_000))).collect();
        let database = noise(dice.roll(), mib * 20 * PAGE_BYTES);
        Self { name, system, work, log: Vec::new(), database, dice }
    }

    fn pass_a_day(&mut self) {
        let dice = &mut self.dice;
        if dice.one_in(3) {
            let changed = *self.work.keys().nth(dice.below(self.work.len())).unwrap();
            let bytes = self.work.get_mut(&changed).unwrap();
            let at = dice.below(bytes.len() - 3000);
            bytes.splice(at..at + dice.below(3000), noise(dice.roll(), dice.below(3000)));
        }
        if dice.one_in(10) {
            let gone = *self.work.keys().nth(dice.below(self.work.len())).unwrap();
            let len = self.work.remove(&gone).unwrap().len();
            self.work.insert(gone + 1000, noise(dice.roll(), len));
        }
        if self.log.len() > 500_000 {
            self.log.clear();
        }
        self.log.extend(noise(dice.roll(), 20_000));
        let pages = self.database.len() / PAGE_BYTES;
        for _ in 0..=pages / 150 {
            let page = if dice.one_in(5) { dice.below(pages) } else { dice.below(pages / 10) };
            self.database[page * PAGE_BYTES..][..PAGE_BYTES].copy_from_slice(&noise(dice.roll(), PAGE_BYTES));
        }
    }

    fn archive(&self) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |path: String, bytes: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append_data(&mut header, path, bytes).unwrap();
        };
        add("database".to_owned(), &self.database);
        add("log".to_owned(), &self.log);
        self.system.iter().enumerate().for_each(|(number, bytes)| add(format!("system/{number}"), bytes));
        self.work.iter().for_each(|(number, bytes)| add(format!("work/{number}"), bytes));
        builder.into_inner().unwrap()
    }
}

fn night(number: u64) -> Timestamp {
    Timestamp::from_micros(clock().0.as_micros() + number * 86_400_000_000).unwrap()
}

fn back_up(repository: &Repository, name: &str, moment: Timestamp, bytes: &[u8]) -> PointId {
    let clock = FixedClock(moment);
    let mut run = Run::begin(repository, &Silent, &clock, "test-host").unwrap();
    let (source, label) = (Some(format!("file:{name}").parse().unwrap()), String::new());
    let mut input = bytes;
    import(&mut run, ImportRequest { label, input: &mut input, bytes: None, source, server: String::new() }).unwrap();
    run.finish().unwrap().made[0].point
}

fn policy() -> Policy {
    let count = |count: u32| Keep::Count(count.try_into().unwrap());
    let each = [(Calendar::Daily, 7), (Calendar::Weekly, 4), (Calendar::Monthly, 12), (Calendar::Yearly, 3)];
    Policy { each: each.map(|(calendar, number)| (calendar, count(number))).into(), ..Policy::default() }
}

/// Bytes and parts of packs that are read to restore a point.
fn effort(store: &Arc<RecordingStore<MemoryStore>>, point: &Point) -> (u64, usize) {
    let repository = reopen(Arc::<RecordingStore<MemoryStore>>::clone(store));
    store.take();
    export(&repository, "a point", point, &mut std::io::sink(), Digest::None, &Silent).unwrap();
    let is_read = |operation| matches!(operation, Operation::Get | Operation::GetRange);
    let read: Vec<u64> = store
        .take()
        .iter()
        .filter(|one| is_read(one.operation) && one.kind() == "packs")
        .map(|one| one.amount)
        .collect();
    (read.iter().sum(), read.len())
}

/// Bytes of packs without parity, and of all objects.
fn room(repository: &Repository) -> (u64, u64) {
    let (usages, parity) = repository.usage().unwrap();
    let packs = usages.iter().filter(|usage| usage.kind.starts_with("packs")).map(|usage| usage.bytes).sum();
    (packs, usages.iter().map(|usage| usage.bytes).sum::<u64>() + parity)
}

/// Nights with their backups, retention and prunes. Returns what each point was made of, the streams themselves being
/// gigabytes, and all points that ever were.
fn pass_nights(repository: &Repository, nights: u64) -> (BTreeMap<PointId, blake3::Hash>, Vec<(PointId, Point)>) {
    let mut servers = [Server::new("big", 1, 14), Server::new("small", 2, 2), Server::new("other", 3, 1)];
    let (mut made, mut all) = (BTreeMap::new(), Vec::new());
    for number in 0..nights {
        for server in &mut servers {
            server.pass_a_day();
            let bytes = server.archive();
            let id = back_up(repository, server.name, night(number), &bytes);
            made.insert(id, blake3::hash(&bytes));
        }
        let catalog = Catalog::read(repository, &Silent).unwrap();
        all.extend(catalog.points().iter().filter(|(_, point)| point.started == night(number)).cloned());
        let history = repository.whole_history().unwrap();
        let plan = forget::by_policy(&catalog, &history, &[], &policy(), night(number), &TimeZone::UTC);
        assert_eq!(forget::execute(repository, &plan, &Silent).unwrap().failed, 0);
        if number % WEEK == WEEK - 1 || number == nights - 1 {
            let prepared = prepare(repository, MaxUnused::Permille(50), "test-host", &Silent).unwrap();
            assert!(!prune(prepared, Dealing::Wait).unwrap().is_damaged);
            let notes: Directory = "notes".parse().unwrap();
            assert!(repository.store().list(&notes).unwrap().is_empty(), "runs that told nothing but points stay");
        }
    }
    (made, all)
}

/// By hand: so many nights instead of 400.
#[test]
fn after_400_nights_what_was_promised_is_there_in_little_room_and_read_with_little_effort() {
    let below = Arc::new(MemoryStore::with_clock(Arc::new(clock())));
    let repository = init(Arc::<MemoryStore>::clone(&below));
    let nights = rounds(400);
    let (mut made, all) = pass_nights(&repository, nights);
    let store = Arc::new(RecordingStore::new(below.copy()));

    // What is left is what the policy leaves of all nights at once.
    let history = repository.whole_history().unwrap();
    let plan = forget::by_policy(&Catalog::of(all), &history, &[], &policy(), night(nights - 1), &TimeZone::UTC);
    let dropped: BTreeSet<PointId> = plan.dropped().map(|(_, point)| point.id).collect();
    made.retain(|id, _| !dropped.contains(id));
    let repository = reopen(Arc::<RecordingStore<MemoryStore>>::clone(&store));
    let catalog = Catalog::read(&repository, &Silent).unwrap();
    let left: BTreeSet<PointId> = catalog.points().iter().map(|(id, _)| *id).collect();
    assert_eq!(left, made.keys().copied().collect());

    // The same streams and nothing else, in a repository of their own.
    let fresh_store = Arc::new(RecordingStore::new(MemoryStore::with_clock(Arc::new(clock()))));
    let fresh = init(Arc::<RecordingStore<MemoryStore>>::clone(&fresh_store));
    for (id, point) in catalog.points() {
        let bytes = export_bytes(&repository, point);
        assert_eq!(blake3::hash(&bytes), made[id], "{id}");
        back_up(&fresh, &point.source.name, point.started, &bytes);
    }
    let fresh_points = Catalog::read(&fresh, &Silent).unwrap().points().to_vec();
    let (grown, ideal) = (room(&repository), room(&fresh));
    println!("{} points; packs and all {grown:?} after {nights} nights, {ideal:?} if stored at once", made.len());
    assert!(grown.0 * 10 <= ideal.0 * 11 && grown.1 * 10 <= ideal.1 * 11, "{grown:?} and {ideal:?}");
    // The others are no longer than a frame, and whatever is read of a frame is all of it.
    let of = |(_, point): &&(PointId, Point)| point.source.name == "big";
    let newest = |points: &[(PointId, Point)]| points.iter().rev().find(of).unwrap().1.clone();
    let (oldest, latest) = (&catalog.points().iter().find(of).unwrap().1, newest(catalog.points()));
    let (first, now) = (effort(&store, oldest), effort(&store, &latest));
    let at_once = effort(&fresh_store, &newest(&fresh_points));
    println!("bytes and reads: of the first point {first:?}, of the newest {now:?}, {at_once:?} if stored at once");
    assert!(now.0 * 4 <= at_once.0 * 5 && now.1 * 4 <= at_once.1 * 5, "{now:?} and {at_once:?}");
    let (first_len, len) = (oldest.content.stream_len, latest.content.stream_len);
    let is_near = |now: u64, first: u64| now * first_len * 4 <= first * len * 5;
    assert!(is_near(now.0, first.0) && is_near(now.1 as u64, first.1 as u64), "{now:?} and {first:?}");
    assert!(check(&repository, CheckLevel::ReadData, &Silent).unwrap().is_clean());
}
