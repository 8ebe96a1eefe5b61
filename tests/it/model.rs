//! Random operations on one repository, beside a model of what it must hold.
//!
//! The model is a map from source to stream. After each step every point that was reported is there and comes back as
//! it went in, every other point is one of an import that was under way when the store failed, and a check is clean.
//! The same seed makes the same steps; a failing one prints its number and what it did.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use holdall::backup::{ImportRequest, Run, import};
use holdall::check::{CheckLevel, check};
use holdall::crypto::{Access, KeyFile, SlotKey, Unlock};
use holdall::forget;
use holdall::id::KeyslotId;
use holdall::monitor::Silent;
use holdall::prune::{Dealing, MaxUnused, prepare, prune};
use holdall::repo::{Catalog, IndexPlace, KeyringError, RepoError, Repository};
use holdall::restore::{Digest, export};
use holdall::store::crash::CrashStore;
use holdall::store::fault::{Effect, Failure, Fault, FaultyStore};
use holdall::store::{Deleted, Store};

use crate::fixture::{clock, export_bytes, init, key_file, noise, reopen};

/// How many seeds are tried: a few here, many by hand.
pub fn rounds(few: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the one knob of the tests; the product reads its own in config.rs")]
    let asked = std::env::var("HOLDALL_TEST_ROUNDS");
    asked.ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(few)
}

/// The same numbers for the same seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).unwrap()
    }

    pub fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

/// What is imported, and what must come back.
struct Stream {
    /// How it is named for the import; `None`: it names itself.
    selector: Option<String>,
    arrives: Vec<u8>,
    plain: Vec<u8>,
}

fn member(builder: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append_data(&mut header, path, bytes).unwrap();
}

/// An archive of some of a dozen files, so that streams share parts, or any bytes.
fn stream(dice: &mut Dice, name: &str) -> Stream {
    let file = |dice: &mut Dice| {
        let seed = dice.roll() % 12;
        let mut bytes = noise(seed, usize::try_from(seed * seed * 700).unwrap());
        if dice.one_in(4) {
            bytes.extend(vec![0; 70_000 * dice.below(3)]);
        }
        bytes
    };
    let selector = Some(format!("file:{name}"));
    if dice.one_in(4) {
        let plain: Vec<u8> = (0..dice.below(4)).flat_map(|_| file(dice)).collect();
        return Stream { selector, arrives: plain.clone(), plain };
    }
    let is_export = dice.one_in(2);
    let mut builder = tar::Builder::new(Vec::new());
    if is_export {
        let index = format!("name: {name}\nbackend: dir\npool: default\ntype: container\nsnapshots: []\n");
        member(&mut builder, "backup/index.yaml", index.as_bytes());
        member(&mut builder, "backup/container", b"");
    }
    for number in 0..dice.below(8) {
        let content = file(dice);
        member(&mut builder, &format!("backup/container/rootfs/{number}"), &content);
    }
    let plain = builder.into_inner().unwrap();
    if is_export && dice.one_in(2) {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        return Stream { selector: None, arrives: encoder.finish().unwrap(), plain };
    }
    Stream { selector: selector.filter(|_| !is_export), arrives: plain.clone(), plain }
}

/// A key that opens the repository.
struct Key {
    file: KeyFile,
    access: Access,
    slot: KeyslotId,
}

/// An open repository, as one process has it.
struct Handle {
    repository: Repository,
    access: Access,
    /// The cache that it uses; `None`: memory.
    cache: Option<usize>,
}

const CACHES: usize = 3;
const HANDLES_MAX: usize = 3;

struct World {
    seed: u64,
    dice: Dice,
    store: Arc<FaultyStore<CrashStore>>,
    /// The moment at which the repository was complete.
    made: usize,
    caches: tempfile::TempDir,
    handles: Vec<Handle>,
    keys: Vec<Key>,
    key_files: u8,
    /// Everything that was ever sent, by the name of its source.
    sent: BTreeMap<String, Vec<u8>>,
    /// What was reported as made, and the moment of that.
    reported: BTreeMap<String, usize>,
    history: Vec<String>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}: {}", self.seed, self.history.join("; "));
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let store = Arc::new(FaultyStore::new(CrashStore::new(), []));
        let repository = init(Arc::<FaultyStore<CrashStore>>::clone(&store));
        let keys = vec![Key { file: key_file(), access: Access::Full, slot: repository.slot() }];
        Self {
            seed,
            dice: Dice(seed),
            made: store.inner().moments(),
            store,
            caches: tempfile::tempdir().unwrap(),
            handles: vec![Handle { repository, access: Access::Full, cache: None }],
            keys,
            key_files: 100,
            sent: BTreeMap::new(),
            reported: BTreeMap::new(),
            history: Vec::new(),
        }
    }

    fn cache(&self, number: usize) -> PathBuf {
        self.caches.path().join(number.to_string())
    }

    fn open_with(&self, key: &KeyFile, cache: Option<usize>) -> Result<Repository, RepoError> {
        let store = Arc::<FaultyStore<CrashStore>>::clone(&self.store);
        let directory = cache.map(|number| self.cache(number));
        let place = directory.as_deref().map_or(IndexPlace::Memory, IndexPlace::Directory);
        let (repository, refreshed) = Repository::open(store, Unlock::KeyFile(key), place)?;
        assert!(refreshed.damaged.is_empty(), "{:?}", refreshed.damaged);
        Ok(repository)
    }

    /// A new process with any key and any cache.
    fn open(&mut self) {
        let number = self.dice.below(self.keys.len());
        let cache = Some(self.dice.below(CACHES + 1)).filter(|number| *number < CACHES);
        let key = &self.keys[number];
        let repository = self.open_with(&key.file, cache).unwrap();
        assert_eq!(repository.slot(), key.slot);
        let handle = Handle { repository, access: key.access, cache };
        if self.handles.len() == HANDLES_MAX {
            self.handles.remove(0);
        }
        self.handles.push(handle);
    }

    fn any_handle(&mut self) -> usize {
        if self.handles.is_empty() {
            self.open();
        }
        self.dice.below(self.handles.len())
    }

    /// A handle that can read, of any process or of a new one.
    fn reader(&mut self) -> usize {
        let can_read = |handle: &Handle| handle.access == Access::Full;
        if let Some(found) = self.handles.iter().rposition(can_read) {
            return found;
        }
        let repository = self.open_with(&key_file(), None).unwrap();
        self.handles.push(Handle { repository, access: Access::Full, cache: None });
        self.handles.len() - 1
    }

    fn next_stream(&mut self) -> (String, Stream) {
        let name = format!("s{}", self.sent.len());
        let stream = stream(&mut self.dice, &name);
        self.sent.insert(name.clone(), stream.plain.clone());
        (name, stream)
    }

    /// Imports some streams in one run; what was reported is noted.
    fn import(&mut self, handle: usize, count: usize) -> bool {
        let streams: Vec<_> = (0..count).map(|_| self.next_stream()).collect();
        let repository = &self.handles[handle].repository;
        let clock = clock();
        let made = Run::begin(repository, &Silent, &clock, "test-host").is_ok_and(|mut run| {
            let sent = streams.iter().all(|(_, stream)| feed(&mut run, stream));
            sent && run.finish().is_ok_and(|summary| summary.made.len() == count)
        });
        if made {
            self.report(streams.into_iter().map(|(name, _)| name));
        }
        made
    }

    fn report(&mut self, names: impl Iterator<Item = String>) {
        let moment = self.store.inner().moments();
        self.reported.extend(names.map(|name| (name, moment)));
    }

    /// Two runs of two processes, one stream of each in turn.
    fn interleave(&mut self) {
        self.open();
        self.open();
        let streams: Vec<_> = (0..4).map(|_| self.next_stream()).collect();
        let clock = clock();
        let [.., one, other] = &self.handles[..] else { panic!("two were opened") };
        let mut runs = [one, other].map(|handle| Run::begin(&handle.repository, &Silent, &clock, "test-host").unwrap());
        for (number, (_, stream)) in streams.iter().enumerate() {
            assert!(feed(&mut runs[number % 2], stream));
        }
        if self.dice.one_in(2) {
            runs.reverse();
        }
        for run in runs {
            assert_eq!(run.finish().unwrap().made.len(), 2);
        }
        self.report(streams.into_iter().map(|(name, _)| name));
    }

    /// Prunes with any process; whatever is unused goes, and small packs too.
    fn prune(&mut self) -> bool {
        let reader = self.reader();
        let max_unused = [MaxUnused::Bytes(0), MaxUnused::Permille(50), MaxUnused::Unlimited][self.dice.below(3)];
        let repository = &self.handles[reader].repository;
        prepare(repository, max_unused, "test-host", &Silent)
            .and_then(|prepared| prune(prepared, Dealing::Now))
            .is_ok_and(|summary| !summary.is_damaged)
    }

    fn prune_at_leisure(&mut self) {
        assert!(self.prune(), "nothing failed, and the prune did");
        for directory in ["sessions", "condemned", "beats"] {
            assert!(self.store.list(&directory.parse().unwrap()).unwrap().is_empty(), "{directory}");
        }
    }

    /// A prune that ends the session of an import at work, at its beginning or near its end.
    fn prune_beside_an_import(&mut self) {
        self.open();
        let (name, stream) = self.next_stream();
        let at_work = self.handles.pop().unwrap();
        let clock = clock();
        let mut run = Run::begin(&at_work.repository, &Silent, &clock, "test-host").unwrap();
        let is_early = self.dice.one_in(2);
        if is_early {
            self.prune_at_leisure();
        }
        let fed = feed(&mut run, &stream);
        assert!(self.prune(), "nothing failed, and the prune did");
        assert!(fed);
        let summary = run.finish().unwrap();
        let made = summary.made.len() == 1;
        assert!(made || summary.failed.len() == 1);
        self.history.push(format!("... made {made}"));
        if made {
            self.report(std::iter::once(name));
        }
        self.handles.push(at_work);
    }

    /// An export that was cut off makes no point.
    fn import_cut(&mut self) {
        let handle = self.any_handle();
        let name = "cut";
        let stream = loop {
            let stream = stream(&mut self.dice, name);
            if stream.selector.is_none() {
                break stream;
            }
        };
        let len = self.dice.below(stream.arrives.len());
        let cut = Stream { arrives: stream.arrives[..len].to_vec(), ..stream };
        let clock = clock();
        let mut run = Run::begin(&self.handles[handle].repository, &Silent, &clock, "test-host").unwrap();
        assert!(!feed(&mut run, &cut), "cut to {len} bytes it is taken");
        assert!(run.finish().unwrap().made.is_empty());
    }

    /// An operation during which the store fails once, or fails for good and the process with it.
    fn with_fault(&mut self) {
        let call = self.dice.below(120);
        let effect = if self.dice.one_in(2) { Effect::Refuse } else { Effect::LoseAnswer };
        let failure = [Failure::Io, Failure::NoSpace, Failure::Unreachable][self.dice.below(3)];
        let handle = self.any_handle();
        let is_crash = self.dice.one_in(2);
        let refusal = Fault { effect, ..Fault::refuse(call, failure) };
        self.store.plan([if is_crash { Fault::crash(call, effect) } else { refusal }]);
        let count = 1 + self.dice.below(2);
        let made = match self.dice.below(3) {
            0 => self.import(handle, count),
            1 => self.prune(),
            _ => {
                self.prune();
                self.import(handle, count)
            }
        };
        self.store.plan([]);
        self.history.push(format!("... call {call}, {effect:?}, crash {is_crash}: {made}"));
        if is_crash {
            self.handles.clear();
        }
    }

    fn add_key(&mut self) {
        let handle = self.reader();
        self.key_files += 1;
        let file = KeyFile::fixed([self.key_files; 32]);
        let access = if self.dice.one_in(2) { Access::Full } else { Access::WriteOnly };
        let slot = self.handles[handle].repository.add_key(&SlotKey::KeyFile(&file), access, "label", clock().0);
        self.keys.push(Key { file, access, slot: slot.unwrap() });
    }

    /// Removes any key but the first; it opens nothing from then on.
    fn remove_key(&mut self) {
        if self.keys.len() < 2 {
            return self.add_key();
        }
        let number = 1 + self.dice.below(self.keys.len() - 1);
        let handle = self.any_handle();
        let key = self.keys.remove(number);
        self.handles[handle].repository.remove_key(key.slot).unwrap();
        let refused = self.open_with(&key.file, None).map(|_| ());
        assert!(matches!(refused, Err(RepoError::Keyring(KeyringError::WrongKey { .. }))), "{refused:?}");
    }

    /// Deletes a cache that no process has open.
    fn delete_cache(&mut self) {
        let number = self.dice.below(CACHES);
        self.handles.retain(|handle| handle.cache != Some(number));
        let _ = fs::remove_dir_all(self.cache(number));
    }

    /// Some points are forgotten, and no others.
    fn forget(&mut self) {
        let reader = self.reader();
        let repository = &self.handles[reader].repository;
        let catalog = Catalog::read(repository, &Silent).unwrap();
        let wanted: BTreeSet<_> = catalog.points().iter().filter(|_| self.dice.one_in(3)).map(|(id, _)| *id).collect();
        let plan = forget::named(&catalog, &repository.whole_history().unwrap(), &wanted).unwrap();
        let outcome = forget::execute(repository, &plan, &Silent).unwrap();
        assert_eq!((&outcome.forgotten, outcome.failed), (&wanted, 0));
        for (id, point) in catalog.points() {
            let is_forgotten = wanted.contains(id);
            assert_eq!(repository.has_verdict(*id).unwrap(), !is_forgotten);
            if is_forgotten {
                self.reported.remove(&point.source.name);
            }
        }
    }

    fn step(&mut self) {
        let (name, step): (_, fn(&mut Self)) = match self.dice.below(22) {
            0..4 => ("import", |world| {
                let (handle, count) = (world.any_handle(), 1 + world.dice.below(3));
                assert!(world.import(handle, count), "nothing failed, and no point was made");
            }),
            4..8 => ("import while the store fails", Self::with_fault),
            8 => ("interleave", Self::interleave),
            9 => ("import what was cut off", Self::import_cut),
            10 => ("add a key", Self::add_key),
            11 => ("remove a key", Self::remove_key),
            12 => ("delete a cache", Self::delete_cache),
            13 => ("damage", Self::damage),
            14 | 15 => ("forget", Self::forget),
            16..19 => ("prune", Self::prune_at_leisure),
            19 | 20 => ("prune beside an import", Self::prune_beside_an_import),
            _ => ("open", Self::open),
        };
        self.history.push(name.to_owned());
        step(self);
        let all = self.dice.one_in(4);
        let reader = self.reader();
        let chosen = self.dice.roll();
        self.verify(&self.handles[reader].repository, usize::MAX, |at| all || chosen % 4 == at % 4);
        self.refuse_to_read();
    }

    /// What must be true of a repository that holds everything that was reported before a moment.
    fn verify(&self, repository: &Repository, moment: usize, is_exported: impl Fn(u64) -> bool) {
        let catalog = Catalog::read(repository, &Silent).unwrap();
        let names: Vec<&str> = catalog.points().iter().map(|(_, point)| &*point.source.name).collect();
        let distinct: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(distinct.len(), names.len(), "a source has two points");
        for (name, reported) in &self.reported {
            assert!(*reported > moment || distinct.contains(&**name), "{name} was reported and is gone");
        }
        for (at, (_, point)) in (0..).zip(catalog.points()) {
            let sent = self.sent.get(&point.source.name).expect("nobody sent it");
            assert!(!is_exported(at) || export_bytes(repository, point) == *sent, "{} is another", point.source);
        }
        let report = check(repository, CheckLevel::ReadData, &Silent).unwrap();
        assert!(report.is_clean(), "{:?}", report.findings);
    }

    fn refuse_to_read(&self) {
        for handle in self.handles.iter().filter(|handle| handle.access == Access::WriteOnly) {
            let listed = Catalog::read(&handle.repository, &Silent);
            assert!(matches!(listed, Err(RepoError::CannotRead)), "a write key reads");
        }
    }

    /// In a copy of the store a pack is lost or changed: that is told with the points that it
    /// affects, and every other one comes back.
    fn damage(&mut self) {
        let reader = self.reader();
        let catalog = Catalog::read(&self.handles[reader].repository, &Silent).unwrap();
        let copy = self.store.inner().crash(usize::MAX, |_| true);
        let packs: Vec<_> = copy.names().into_iter().filter(|name| name.as_str().starts_with("packs/")).collect();
        if packs.is_empty() {
            return;
        }
        let name = packs[self.dice.below(packs.len())].clone();
        let pack = name.leaf().to_owned();
        let mut needed = catalog.points().iter().flat_map(|(_, point)| &point.content.packs);
        let is_needed = needed.any(|needed| needed.to_string() == pack);
        let is_lost = self.dice.one_in(2);
        let place = self.dice.roll();
        if is_lost {
            assert_eq!(copy.delete(&name).unwrap(), Deleted::Removed);
        } else {
            assert!(copy.damage(&name, |bytes| {
                let at = usize::try_from(place % bytes.len() as u64).unwrap();
                bytes[at] ^= 1;
            }));
        }
        let repository = reopen(Arc::new(copy));
        let report = check(&repository, CheckLevel::ReadData, &Silent).unwrap();
        // One that is lost is named by the points that were stored into it; others tell what they lack.
        let is_named = report.findings.iter().any(|finding| finding.object.contains(&pack));
        assert!(is_named || is_lost && (!is_needed || report.is_clean()), "{:?}", report.findings);
        let told: String = report.findings.iter().flat_map(|finding| finding.affected.clone()).collect();
        for (_, point) in catalog.points() {
            let mut out = Vec::new();
            let exported = export(&repository, "a point", point, &mut out, Digest::None, &Silent);
            let is_told = told.contains(&format!("{} of ", point.source));
            assert!(exported.is_ok() || is_told, "{} is damaged, and nobody says so", point.source);
            assert!(exported.is_err() || out == self.sent[&point.source.name], "{} is another", point.source);
        }
    }

    /// Whatever moment of the past the machine died at, what had been reported by then is there.
    fn die_in_the_past(&mut self) {
        let store = Arc::<FaultyStore<CrashStore>>::clone(&self.store);
        for _ in 0..3 {
            let moment = self.made + self.dice.below(store.inner().moments() - self.made);
            let mut dice = Dice(self.dice.roll());
            let left = store.inner().crash(moment, |_| dice.one_in(2));
            self.history.push(format!("die at {moment}"));
            self.verify(&reopen(Arc::new(left)), moment, |_| true);
        }
    }
}

fn feed(run: &mut Run<'_>, stream: &Stream) -> bool {
    let source = stream.selector.as_ref().map(|source| source.parse().unwrap());
    let (input, server) = (&mut &stream.arrives[..], "host".to_owned());
    import(run, ImportRequest { label: "bytes".to_owned(), input, bytes: None, source, server }).is_ok()
}

#[test]
fn any_operations_leave_what_the_model_has() {
    for seed in 0..rounds(4) {
        let mut world = World::new(seed);
        for _ in 0..25 {
            world.step();
        }
        world.die_in_the_past();
    }
}
