//! The power is cut at every moment of a repository's life, and whatever the disk kept is opened and used.
//!
//! A story is told to a real directory: imports, forgetting, prunes, notes, keys, damage and repair, each with the
//! moment at which it was answered. `store::power` draws disks that a power cut at any moment could leave. On each of
//! them every promise that had been made stands, nothing is damaged, and import, prune and check go on at once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use holdall::backup::Run;
use holdall::check::{CheckLevel, Report, check};
use holdall::crypto::{Access, KeyFile, SlotKey, Unlock};
use holdall::forget;
use holdall::id::PointId;
use holdall::monitor::Silent;
use holdall::prune::{Dealing, MaxUnused, prepare, prune};
use holdall::repair::repair;
use holdall::repo::{Catalog, IndexPlace, KeyringError, RepoError, Repository};
use holdall::source::Source;
use holdall::store::power::{Left, Names, Tape};
use holdall::store::{Directory, LocalStore, Name, Store};
use tempfile::TempDir;

use crate::every_call::Told;
use crate::fixture::{REPAIR, clock, export_bytes, feed_bytes, import_bytes, init, noise, points, quick_directory};
use crate::model::{Dice, rounds};

/// Different disks per story.
const DISKS: usize = 2000;
/// Once so many draws of a moment brought nothing new, there is nothing more to find: few where hardly anything was
/// found before.
const VAIN_DRAWS_MAX: [usize; 2] = [25, 80];

/// From which moment on something holds, and until when.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// It was answered.
    made: usize,
    /// Somebody began to undo it.
    undoing: usize,
    /// That was answered.
    undone: usize,
}

impl Span {
    fn from(made: usize) -> Self {
        Self { made, undoing: usize::MAX, undone: usize::MAX }
    }

    fn must_hold(self, moment: usize) -> bool {
        self.made <= moment && moment <= self.undoing
    }

    fn must_not_hold(self, moment: usize) -> bool {
        self.undone <= moment
    }
}

/// A repository in a directory and what was promised of it.
struct Story {
    dice: Dice,
    root: TempDir,
    tape: Arc<Tape>,
    /// Since when it is a repository.
    made: usize,
    /// Every stream that was ever sent, by the name of its source.
    sent: BTreeMap<String, Vec<u8>>,
    points: BTreeMap<String, Span>,
    keys: Vec<([u8; 32], Span)>,
    key_files: u8,
    pins: BTreeMap<String, Span>,
    retired: BTreeMap<String, Span>,
    /// From when to when something on the disk is damaged.
    damage: Option<(usize, usize)>,
}

type Step = fn(&mut Story);

/// What is on a disk, by the names of sources and the numbers of keys.
#[derive(Debug)]
struct Seen {
    keys: BTreeSet<usize>,
    points: BTreeSet<String>,
    pinned: BTreeSet<String>,
    tagged: BTreeSet<String>,
    retired: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Story {
    fn tell(seed: u64) -> Self {
        let root = quick_directory();
        let names = if seed.is_multiple_of(2) { Names::Preferred } else { Names::Linked };
        let (recorded, tape) = Tape::begin(root.path(), names).unwrap();
        drop(init(Arc::new(recorded)));
        let made = tape.moments() - 1;
        let mut story = Self {
            dice: Dice(seed),
            root,
            tape,
            made,
            sent: BTreeMap::new(),
            points: BTreeMap::new(),
            keys: vec![([7; 32], Span::from(made))],
            key_files: 0,
            pins: BTreeMap::new(),
            retired: BTreeMap::new(),
            damage: None,
        };
        let mut steps: Vec<Step> = vec![
            Self::import,
            Self::import,
            Self::beside,
            Self::beside,
            Self::prune_beside,
            Self::prune_beside,
            Self::forget,
            Self::forget,
            Self::forget,
            Self::prune,
            Self::prune,
            Self::pin,
            Self::unpin,
            Self::retire,
            Self::check,
            Self::change_key,
            Self::add_key,
            Self::damage_and_repair,
        ];
        for at in (1..steps.len()).rev() {
            let other = story.dice.below(at + 1);
            steps.swap(at, other);
        }
        for step in [Self::import as Step, Self::import, Self::import].into_iter().chain(steps) {
            step(&mut story);
        }
        story.prune();
        story
    }

    fn now(&self) -> usize {
        self.tape.moments() - 1
    }

    fn key_file(&self) -> KeyFile {
        let (key, _) = self.keys.iter().find(|(_, span)| span.undoing == usize::MAX).expect("one key opens it");
        KeyFile::fixed(*key)
    }

    /// What a process has that begins now.
    fn open(&self) -> Repository {
        let store = Arc::new(self.tape.store(self.root.path()).unwrap());
        Repository::open(store, Unlock::KeyFile(&self.key_file()), IndexPlace::Memory).unwrap().0
    }

    fn stream(&mut self) -> (String, Vec<u8>) {
        let name = format!("s{}", self.sent.len());
        let bytes = stream_of(&mut self.dice);
        self.sent.insert(name.clone(), bytes.clone());
        (name, bytes)
    }

    fn promise(&mut self, names: impl IntoIterator<Item = String>) {
        let now = self.now();
        self.points.extend(names.into_iter().map(|name| (name, Span::from(now))));
    }

    fn import(&mut self) {
        let repository = self.open();
        let streams: Vec<_> = (0..=self.dice.below(2)).map(|_| self.stream()).collect();
        let clock = clock();
        let mut run = Run::begin(&repository, &Silent, &clock, "test-host").unwrap();
        for (name, bytes) in &streams {
            feed_bytes(&mut run, &mut &bytes[..], Some(&format!("file:{name}"))).unwrap();
        }
        assert_eq!(run.finish().unwrap().made.len(), streams.len());
        self.promise(streams.into_iter().map(|(name, _)| name));
    }

    /// Two processes, one stream each, at the same time.
    fn beside(&mut self) {
        let imports = [(self.open(), self.stream()), (self.open(), self.stream())];
        thread::scope(|scope| {
            for (repository, (name, bytes)) in &imports {
                scope.spawn(move || {
                    let made = import_bytes(repository, &bytes[..], Some(&format!("file:{name}"))).unwrap();
                    assert_eq!(made.made.len(), 1);
                });
            }
        });
        self.promise(imports.map(|(_, (name, _))| name));
    }

    /// A prune ends the session of an import at work, which commits under another name or begins again in vain.
    fn prune_beside(&mut self) {
        let repository = self.open();
        let (name, bytes) = self.stream();
        let clock = clock();
        let mut run = Run::begin(&repository, &Silent, &clock, "test-host").unwrap();
        feed_bytes(&mut run, &mut &bytes[..], Some(&format!("file:{name}"))).unwrap();
        self.prune();
        let summary = run.finish().unwrap();
        assert_eq!(summary.made.len() + summary.failed.len(), 1);
        if summary.failed.is_empty() {
            self.promise([name]);
        }
    }

    /// A point that stands and is not pinned.
    fn any_point(&mut self, repository: &Repository) -> (PointId, String) {
        let history = repository.history().unwrap();
        let pinned = history.pinned();
        let mut found = points(repository);
        found.retain(|(id, _)| !pinned.contains(id));
        let (id, point) = found.swap_remove(self.dice.below(found.len()));
        (id, point.source.name)
    }

    fn forget(&mut self) {
        let repository = self.open();
        let (id, name) = self.any_point(&repository);
        let catalog = Catalog::read(&repository, &Silent).unwrap();
        let plan = forget::named(&catalog, &repository.whole_history().unwrap(), &[id].into()).unwrap();
        let undoing = self.now();
        assert_eq!(forget::execute(&repository, &plan, &Silent).unwrap().forgotten, [id].into());
        let undone = self.now();
        let span = self.points.get_mut(&name).unwrap();
        *span = Span { undoing, undone, ..*span };
    }

    fn prune(&mut self) {
        assert_eq!(prune_all(&self.open()), [] as [String; 0]);
    }

    fn pin(&mut self) {
        let repository = self.open();
        let (id, name) = self.any_point(&repository);
        let history = repository.history().unwrap();
        repository.pin(&history, id, true, clock().0).unwrap();
        repository.tag(&history, id, "kept", true, clock().0).unwrap();
        self.pins.insert(name, Span::from(self.now()));
    }

    fn unpin(&mut self) {
        self.pin();
        let repository = self.open();
        let name = self.pins.keys().next().unwrap().clone();
        let (id, _) = points(&repository).into_iter().find(|(_, point)| point.source.name == name).unwrap();
        let undoing = self.now();
        repository.pin(&repository.history().unwrap(), id, false, clock().0).unwrap();
        let undone = self.now();
        let span = self.pins.get_mut(&name).unwrap();
        *span = Span { undoing, undone, ..*span };
    }

    fn retire(&mut self) {
        let repository = self.open();
        let (_, name) = self.any_point(&repository);
        let source = Source::file(&name);
        repository.retire(&repository.history().unwrap(), &source, true, clock().0).unwrap();
        self.retired.insert(name, Span::from(self.now()));
    }

    /// As the command does, which remembers what was read.
    fn check(&mut self) {
        let repository = self.open();
        let report = check(&repository, CheckLevel::ReadData, &Silent).unwrap();
        assert!(report.is_clean(), "{:?}", report.findings);
        repository.remember_read(&report.sound_packs, clock().0).unwrap();
    }

    fn add_key(&mut self) {
        self.add_key_with(Access::WriteOnly);
    }

    fn add_key_with(&mut self, access: Access) {
        self.key_files += 1;
        let key = [100 + self.key_files; 32];
        let file = KeyFile::fixed(key);
        self.open().add_key(&SlotKey::KeyFile(&file), access, "label", clock().0).unwrap();
        if access == Access::Full {
            self.keys.insert(0, (key, Span::from(self.now())));
        }
    }

    fn change_key(&mut self) {
        let repository = self.open();
        let at = self.keys.iter().position(|(_, span)| span.undoing == usize::MAX).unwrap();
        self.add_key_with(Access::Full);
        let undoing = self.now();
        repository.remove_key(repository.slot()).unwrap();
        let undone = self.now();
        let (_, span) = &mut self.keys[at + 1];
        *span = Span { undoing, undone, ..*span };
    }

    /// One of two copies of an object, and some of a pack, so that nothing is lost.
    fn damage_and_repair(&mut self) {
        let store = LocalStore::open(self.root.path()).unwrap();
        let begun = self.now();
        let points: Vec<Name> =
            points(&self.open()).iter().map(|(id, _)| format!("points/{id}").parse().unwrap()).collect();
        let list = |directory: &Directory| store.list(directory).unwrap().into_iter().map(|listed| listed.name);
        let segments = list(&Directory::fixed("index")).collect();
        let packs = Directory::fixed("packs").shards().flat_map(|shard| list(&shard)).collect();
        // Voids are not mended: nothing is put in their place, and one copy is enough.
        for mut names in [points, segments, packs] {
            let name = names.swap_remove(self.dice.below(names.len()));
            let at = 60 + self.dice.below(100);
            self.tape.damage(self.root.path(), &name, |bytes| bytes[at] ^= 0x10).unwrap();
        }
        let options = REPAIR;
        let summary = repair(&self.open(), options, None, ("test-host", &clock()), &Silent).unwrap();
        assert!(summary.found >= 2 && summary.left.is_clean(), "{summary:?}");
        self.damage = Some((begun, self.now()));
    }

    fn is_damaged(&self, moment: usize) -> bool {
        self.damage.is_some_and(|(from, to)| from < moment && moment < to)
    }

    /// What was promised at this moment of what is on a disk; `None`: no repository.
    fn assert_promises(&self, moment: usize, seen: Option<&Seen>) {
        let Some(seen) = seen else {
            assert!(moment < self.made, "it is no repository any more");
            return;
        };
        let holds = |what: &str, span: &Span, is_there: bool| {
            assert!(!span.must_hold(moment) || is_there, "{what} was answered and is gone");
            assert!(!span.must_not_hold(moment) || !is_there, "{what} was undone and is back");
        };
        for (number, (_, span)) in self.keys.iter().enumerate() {
            holds("a key", span, seen.keys.contains(&number));
        }
        for (name, span) in &self.points {
            holds(name, span, seen.points.contains(name));
        }
        for (name, span) in self.pins.iter().filter(|(name, _)| self.points[*name].must_hold(moment)) {
            holds(&format!("the pin of {name}"), span, seen.pinned.contains(name));
            assert!(span.made > moment || seen.tagged.contains(name), "{name} has lost its tag");
        }
        for (name, span) in &self.retired {
            holds(&format!("that {name} is retired"), span, seen.retired.contains(name));
        }
        assert!(seen.wrong.is_empty() || self.is_damaged(moment), "{:?}", seen.wrong);
    }

    /// A disk is used as if nothing had happened.
    fn use_it(&self, store: &Arc<dyn Store>) -> Option<Seen> {
        let (keys, repository) = self.open_left(store)?;
        let found = points(&repository);
        for (_, point) in &found {
            let sent = self.sent.get(&point.source.name).expect("nobody sent it");
            assert!(export_bytes(&repository, point) == *sent, "{} is another", point.source);
        }
        let history = repository.whole_history().unwrap();
        let (pinned, tags) = (history.pinned(), history.tags());
        let names = |wanted: &dyn Fn(&PointId) -> bool| {
            let wanted = found.iter().filter(|(id, _)| wanted(id));
            wanted.map(|(_, point)| point.source.name.clone()).collect()
        };
        let mut seen = Seen {
            keys,
            points: names(&|_| true),
            pinned: names(&|id| pinned.contains(id)),
            tagged: names(&|id| tags.get(id).is_some_and(|tags| tags.contains("kept"))),
            retired: history.retired().into_iter().map(|source| source.name.clone()).collect(),
            wrong: wrong(&check(&repository, CheckLevel::Structure, &Silent).unwrap()),
        };
        // Something of what is there already, and something new.
        let next = [&noise(3, 20_000)[..], &noise(1000, 3000)].concat();
        let made = import_bytes(&repository, &next[..], Some("file:next")).unwrap();
        assert_eq!(made.made.len(), 1);
        // The first ends sessions of the dead, and leaves to the second what those had stored in vain.
        seen.wrong.extend(prune_all(&repository));
        seen.wrong.extend(prune_all(&repository));
        for directory in ["sessions", "condemned", "beats"] {
            assert!(store.list(&directory.parse().unwrap()).unwrap().is_empty(), "{directory}");
        }
        let report = check(&repository, CheckLevel::ReadData, &Silent).unwrap();
        assert!(report.unnamed_packs == 0 && report.points == found.len() as u64 + 1, "{report:?}");
        seen.wrong.extend(wrong(&report));
        let again = points(&repository);
        let (_, point) = again.iter().find(|(_, point)| point.source.name == "next").expect("the next import");
        assert!(export_bytes(&repository, point) == next);
        Some(seen)
    }

    /// The keys that open a disk, and what they open.
    fn open_left(&self, store: &Arc<dyn Store>) -> Option<(BTreeSet<usize>, Repository)> {
        let (mut keys, mut opened) = (BTreeSet::new(), None);
        for (number, (key, _)) in self.keys.iter().enumerate() {
            let file = KeyFile::fixed(*key);
            match Repository::open(Arc::clone(store), Unlock::KeyFile(&file), IndexPlace::Memory) {
                Ok((repository, refreshed)) => {
                    assert!(refreshed.damaged.is_empty(), "{:?}", refreshed.damaged);
                    keys.insert(number);
                    opened = Some(repository);
                }
                Err(RepoError::Keyring(KeyringError::WrongKey { .. }) | RepoError::NotARepository { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        opened.map(|repository| (keys, repository))
    }

    /// The same in a directory, where prune finds what the cut left of files without a name.
    fn use_directory(&self, left: &Left) -> Option<Seen> {
        let root = quick_directory();
        left.write_to(root.path()).unwrap();
        for temporary in left.temporaries() {
            let file = File::options().write(true).open(root.path().join(temporary)).unwrap();
            // Long ago.
            file.set_modified(UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        }
        let store: Arc<dyn Store> = Arc::new(LocalStore::open(root.path()).unwrap());
        let seen = self.use_it(&store)?;
        assert_eq!(temporaries(root.path()), 0, "prune leaves what nobody needs");
        Some(seen)
    }
}

/// One to five pieces out of a few, so that streams share much.
fn stream_of(dice: &mut Dice) -> Vec<u8> {
    (0..=dice.below(4)).flat_map(|_| noise(dice.roll() % 9, 1000 + 4000 * dice.below(6))).collect()
}

/// Returns what is wrong: a pack that is marked as damaged is not relied on until it is repaired.
fn prune_all(repository: &Repository) -> Vec<String> {
    let prepared = prepare(repository, MaxUnused::Bytes(0), "test-host", &Silent).unwrap();
    let summary = prune(prepared, Dealing::Now).unwrap();
    assert!(summary.stuck.is_empty(), "{summary:?}");
    if summary.is_damaged { vec![format!("{summary:?}")] } else { Vec::new() }
}

fn wrong(report: &Report) -> Vec<String> {
    report.findings.iter().map(|finding| format!("{finding:?}")).collect()
}

fn temporaries(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let count = |entry: fs::DirEntry| {
        if entry.file_type().unwrap().is_dir() {
            temporaries(&entry.path())
        } else {
            usize::from(entry.file_name().to_string_lossy().starts_with(".tmp-"))
        }
    };
    entries.map(count).sum()
}

/// What was tried of one story.
#[derive(Debug, Default)]
struct Tried {
    moments: usize,
    disks: HashSet<[u8; 32]>,
    /// What was seen on disks with the same objects. What is used once is not used again.
    seen: HashMap<[u8; 32], Option<Seen>>,
    in_directories: usize,
}

/// Draws disks of all moments in turn, until there are enough different ones.
fn cut_at_every_moment(seed: u64) -> Tried {
    let mut story = Story::tell(seed);
    let moments = story.tape.moments();
    let mut tried = Tried { moments, ..Tried::default() };
    // How many different ones there were of each moment, and how many draws in vain since the last.
    let mut found = vec![(0, 0); moments];
    while tried.disks.len() < DISKS && found.iter().any(is_open) {
        for (moment, found) in found.iter_mut().enumerate().filter(|(_, found)| is_open(found)) {
            let mut dice = Dice(story.dice.roll());
            let left = story.tape.cut(moment, &mut |end| dice.below(end));
            let is_new = tried.disks.insert(left.digest());
            *found = if is_new { (found.0 + 1, 0) } else { (found.0, found.1 + 1) };
            let _told = Told(format!("seed {seed}, moment {moment} of {moments}"));
            try_disk(&story, moment, &left, is_new, &mut tried);
        }
    }
    tried
}

/// Whether there may be more of a moment.
fn is_open((different, vain): &(usize, usize)) -> bool {
    *vain < VAIN_DRAWS_MAX[usize::from(*different > 2)]
}

/// A disk that is not new may be that of an earlier moment, with less than was promised since.
fn try_disk(story: &Story, moment: usize, left: &Left, is_new: bool, tried: &mut Tried) {
    if is_new && !left.temporaries().is_empty() && tried.disks.len().is_multiple_of(4) {
        story.assert_promises(moment, story.use_directory(left).as_ref());
        tried.in_directories += 1;
    }
    let seen = tried.seen.entry(left.digest_of_objects()).or_insert_with(|| {
        let in_memory: Arc<dyn Store> = Arc::new(left.in_memory().unwrap());
        story.use_it(&in_memory)
    });
    story.assert_promises(moment, seen.as_ref());
}

#[test]
fn whatever_a_power_cut_leaves_keeps_every_promise() {
    for seed in 0..rounds(1) {
        let tried = cut_at_every_moment(seed);
        let numbers = (tried.moments, tried.disks.len(), tried.seen.len(), tried.in_directories);
        println!("seed {seed}: moments, disks, with other objects, used in directories: {numbers:?}");
        assert!(tried.moments >= 700, "{numbers:?}: has a call been lost?");
        assert!(tried.disks.len() >= DISKS && tried.seen.len() >= 150 && tried.in_directories >= 200, "{numbers:?}");
    }
}
