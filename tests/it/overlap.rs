//! Every operation is met by every other one, which runs from its beginning to its end before each call that the first
//! makes of its store: the table of `format-spec/concurrency.md`, cell by cell.
//!
//! Whatever both report holds afterwards, no check tells of damage that is none, what nobody forgot comes out right
//! in the middle of everything, and one undisturbed prune leaves nothing behind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use holdall::backup::Run;
use holdall::check::{CheckLevel, Severity, check};
use holdall::crypto::{Access, KeyFile, SlotKey, Unlock};
use holdall::forget;
use holdall::id::PointId;
use holdall::monitor::Silent;
use holdall::prune::{Dealing, MaxUnused, prepare, prune};
use holdall::repair::repair;
use holdall::repo::{Catalog, IndexPlace, Parity, RepoError, Repository};
use holdall::restore::{Digest, export};
use holdall::store::{Deleted, Directory, Listed, MemoryStore, Name, Put, Stat, Store, StoreError, Temporary};

use crate::every_call::Told;
use crate::fixture::{
    REPAIR, assert_holds, clock, feed_bytes, import_bytes, init, key_file, noise, points, tar_of_noise,
};
use crate::flips::on_two_threads;
use crate::model::rounds;

/// Of so many calls one is met, another one in each cell; by hand every one is.
const MET_EVERY: usize = 8;

/// What is done, as a person would call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Import,
    Forget,
    Prune,
    ForgetAndPrune,
    Repair,
    Check,
    Export,
    ChangeKey,
    Init,
}

const ACTS: [Act; 9] = [
    Act::Import,
    Act::Forget,
    Act::Prune,
    Act::ForgetAndPrune,
    Act::Repair,
    Act::Check,
    Act::Export,
    Act::ChangeKey,
    Act::Init,
];

/// What is imported, and what stood before, by source; `gone` is what some forget.
fn streams() -> &'static BTreeMap<&'static str, Vec<u8>> {
    static STREAMS: OnceLock<BTreeMap<&'static str, Vec<u8>>> = OnceLock::new();
    STREAMS.get_or_init(|| {
        // All share files, so that each needs what another one stored.
        let new = [&tar_of_noise(9, 4000)[..], &noise(60, 9000)].concat();
        let kept = [&tar_of_noise(5, 4000)[..], &noise(61, 5000)].concat();
        let gone = [&tar_of_noise(9, 4000)[..], &noise(62, 7000)].concat();
        [("new", new), ("kept", kept), ("gone", gone), ("also", noise(63, 6000))].into()
    })
}

/// A repository with points that stay and one to forget, with packs to delete, to pack anew and to mend, and with what
/// a prune that died had condemned though it is in use.
fn base() -> &'static MemoryStore {
    static BASE: OnceLock<MemoryStore> = OnceLock::new();
    BASE.get_or_init(|| {
        let store = Arc::new(MemoryStore::new());
        let repository = init(Arc::<MemoryStore>::clone(&store));
        let half = [&tar_of_noise(5, 4000)[..], &noise(64, 30_000)].concat();
        for (name, bytes) in [("half", &half), ("dead", &noise(65, 9000))] {
            import_bytes(&repository, &bytes[..], Some(&format!("file:{name}"))).unwrap();
        }
        for name in ["kept", "gone", "also"] {
            import_bytes(&repository, &streams()[name][..], Some(&format!("file:{name}"))).unwrap();
        }
        for name in ["half", "dead"] {
            assert_eq!(repository.forget(named(&repository, name).unwrap()).unwrap(), Deleted::Removed);
        }
        let of = |name: &str| {
            let id = named(&repository, name).unwrap();
            points(&repository).into_iter().find(|(other, _)| *other == id).unwrap().1.content.packs
        };
        let (also, shared) = (of("also"), of("kept"));
        repository.put_condemned(&also.iter().copied().collect()).unwrap();
        // The parity mends it.
        let hurt = shared.iter().find(|pack| !also.contains(*pack)).unwrap();
        let names = store.names();
        let hurt = names.iter().find(|name| name.leaf() == hurt.to_string()).unwrap();
        assert!(store.damage(hurt, |bytes| bytes[500] ^= 1));
        store.copy()
    })
}

fn named(repository: &Repository, name: &str) -> Option<PointId> {
    points(repository).into_iter().find(|(_, point)| point.source.name == name).map(|(id, _)| id)
}

fn new_key() -> KeyFile {
    KeyFile::fixed([9; 32])
}

fn make(store: Arc<dyn Store>, key: &KeyFile) -> Result<Repository, RepoError> {
    Repository::init(store, &SlotKey::KeyFile(key), clock().0, 0, Parity::ReedSolomon)
}

/// Opens it with the key that is in force.
fn open(store: &Arc<dyn Store>) -> Repository {
    let opened = |key: &KeyFile| Repository::open(Arc::clone(store), Unlock::KeyFile(key), IndexPlace::Memory);
    opened(&key_file()).or_else(|_| opened(&new_key())).unwrap().0
}

/// What came of an act: `Ok` if it reported success.
type Outcome = Result<(), String>;

fn told<T>(result: Result<T, impl fmt::Display>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

impl Act {
    fn run(self, store: Arc<dyn Store>) -> Outcome {
        if self == Self::Init {
            assert!(make(store, &key_file()).is_err(), "another repository stands there");
            return Ok(());
        }
        let repository = open(&store);
        match self {
            Self::Import => import_new(&repository),
            Self::Forget => forget_gone(&repository),
            Self::Prune => prune_all(&repository),
            Self::ForgetAndPrune => forget_gone(&repository).and_then(|()| prune_all(&repository)),
            Self::Repair => {
                let key = key_file();
                told(repair(&repository, REPAIR, Some(Unlock::KeyFile(&key)), ("test-host", &clock()), &Silent))
                    .map(drop)
            }
            Self::Check => {
                let report = told(check(&repository, CheckLevel::ReadData, &Silent))?;
                let worse =
                    report.findings.iter().find(|one| one.severity == Severity::Damage || !one.affected.is_empty());
                assert!(worse.is_none(), "nothing is lost: {worse:?}");
                Ok(())
            }
            Self::Export => {
                export_all(&repository);
                Ok(())
            }
            Self::ChangeKey => {
                let slot = repository.slot();
                told(repository.add_key(&SlotKey::KeyFile(&new_key()), Access::Full, "new", clock().0))?;
                told(repository.remove_key(slot)).map(drop)
            }
            Self::Init => Ok(()),
        }
    }
}

fn import_new(repository: &Repository) -> Outcome {
    let clock = clock();
    let mut run = told(Run::begin(repository, &Silent, &clock, "test-host"))?;
    told(feed_bytes(&mut run, &mut &streams()["new"][..], Some("file:new")))?;
    let summary = told(run.finish())?;
    if let Some((source, reason)) = summary.failed.first() { Err(format!("{source}: {reason}")) } else { Ok(()) }
}

fn forget_gone(repository: &Repository) -> Outcome {
    let catalog = told(Catalog::read(repository, &Silent))?;
    let wanted = named(repository, "gone").into_iter().collect();
    let plan = told(forget::named(&catalog, &told(repository.history())?, &wanted))?;
    told(forget::execute(repository, &plan, &Silent)).map(drop)
}

fn prune_all(repository: &Repository) -> Outcome {
    let prepared = told(prepare(repository, MaxUnused::Bytes(0), "test-host", &Silent))?;
    told(prune(prepared, Dealing::Now)).map(drop)
}

/// Exports what is listed. What somebody may forget meanwhile may end in an error, never in other bytes.
fn export_all(repository: &Repository) {
    for (_, point) in points(repository) {
        let (name, mut bytes) = (&point.source.name, Vec::new());
        match export(repository, "a point", &point, &mut bytes, Digest::None, &Silent) {
            Ok(_) => assert!(bytes == streams()[&**name], "{name} has other bytes"),
            Err(error) => assert_eq!(name, "gone", "{name}: {error}"),
        }
    }
}

/// Passes everything on, and before one call, counted from 1, does something else first.
struct Interrupted {
    inner: Arc<MemoryStore>,
    calls: AtomicUsize,
    at: usize,
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl fmt::Debug for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a store interrupted at call {}", self.at)
    }
}

impl Interrupted {
    fn inner(&self) -> &MemoryStore {
        if self.calls.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            let meanwhile = self.meanwhile.lock().unwrap().take();
            meanwhile.expect("once")();
        }
        &self.inner
    }
}

impl Store for Interrupted {
    fn description(&self) -> String {
        self.inner.description()
    }
    fn make_directory(&self, directory: &Directory) -> Result<(), StoreError> {
        self.inner().make_directory(directory)
    }
    fn put(&self, name: &Name, parts: &[&[u8]]) -> Result<Put, StoreError> {
        self.inner().put(name, parts)
    }
    fn get(&self, name: &Name, bytes_max: usize) -> Result<Vec<u8>, StoreError> {
        self.inner().get(name, bytes_max)
    }
    fn get_range(&self, name: &Name, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
        self.inner().get_range(name, offset, length)
    }
    fn stat(&self, name: &Name) -> Result<Option<Stat>, StoreError> {
        self.inner().stat(name)
    }
    fn list(&self, directory: &Directory) -> Result<Vec<Listed>, StoreError> {
        self.inner().list(directory)
    }
    fn refresh(&self, directory: &Directory) -> Result<(), StoreError> {
        self.inner().refresh(directory)
    }
    fn delete(&self, name: &Name) -> Result<Deleted, StoreError> {
        self.inner().delete(name)
    }
    fn temporaries(&self, directory: &Directory) -> Result<Vec<Temporary>, StoreError> {
        self.inner().temporaries(directory)
    }
    fn remove_temporary(&self, temporary: &Temporary) -> Result<Deleted, StoreError> {
        self.inner().remove_temporary(temporary)
    }
}

/// What became of two of which one met the other.
struct Met<T> {
    store: Arc<MemoryStore>,
    first: T,
    /// Nothing if the first ended before that call.
    second: Option<T>,
    calls: usize,
}

/// Does one thing and, before this call of its store, all of the other.
fn meet<T: Send + 'static>(
    store: MemoryStore,
    one: impl FnOnce(Arc<dyn Store>) -> T,
    other: impl FnOnce(Arc<dyn Store>) -> T + Send + 'static,
    at: usize,
) -> Met<T> {
    let (store, came) = (Arc::new(store), Arc::new(Mutex::new(None)));
    let meanwhile: Box<dyn FnOnce() + Send> = Box::new({
        let (store, came) = (Arc::<MemoryStore>::clone(&store), Arc::clone(&came));
        move || *came.lock().unwrap() = Some(other(store))
    });
    let meanwhile = Mutex::new(Some(meanwhile));
    let interrupted = Arc::new(Interrupted { inner: Arc::clone(&store), calls: AtomicUsize::new(0), at, meanwhile });
    let first = one(Arc::<Interrupted>::clone(&interrupted));
    let calls = interrupted.calls.load(Ordering::SeqCst);
    let second = came.lock().unwrap().take();
    Met { store, first, second, calls }
}

/// What was reported holds, and one undisturbed repair and prune leave nothing behind.
fn assert_sound(store: &Arc<MemoryStore>, acts: &[(Act, &Outcome)]) {
    let store: Arc<dyn Store> = Arc::<MemoryStore>::clone(store);
    let repository = open(&store);
    let did = |wanted: &[Act]| acts.iter().any(|(act, came)| wanted.contains(act) && came.is_ok());
    let forgets = [Act::Forget, Act::ForgetAndPrune];
    if did(&forgets) {
        assert_eq!(named(&repository, "gone"), None, "it was forgotten");
    }
    let mut expected = vec!["kept", "also"];
    if !acts.iter().any(|(act, _)| forgets.contains(act)) {
        expected.push("gone");
    }
    let imports = acts.iter().filter(|(act, came)| *act == Act::Import && came.is_ok()).count();
    expected.extend(std::iter::repeat_n("new", imports));
    if did(&[Act::ChangeKey]) {
        let old = key_file();
        let opened = Repository::open(Arc::clone(&store), Unlock::KeyFile(&old), IndexPlace::Memory);
        assert!(opened.is_err(), "its slot was removed");
    }
    Act::Repair.run(Arc::clone(&store)).unwrap();
    Act::Prune.run(Arc::clone(&store)).unwrap();
    let expected: Vec<(&str, &[u8])> = expected.into_iter().map(|name| (name, &streams()[name][..])).collect();
    assert_holds(&open(&store), &expected);
    for directory in ["sessions", "condemned", "beats"] {
        assert!(store.list(&directory.parse().unwrap()).unwrap().is_empty(), "{directory}");
    }
}

#[test]
fn whatever_two_operations_report_holds_wherever_one_meets_the_other() {
    let every = if rounds(1) > 1 { 1 } else { MET_EVERY };
    for (row, one) in ACTS.into_iter().enumerate() {
        let alone = meet(base().copy(), |store| one.run(store), |_| Ok(()), usize::MAX);
        alone.first.unwrap();
        assert_sound(&alone.store, &[(one, &Ok(()))]);
        for (column, other) in ACTS.into_iter().enumerate() {
            let failed: Mutex<BTreeMap<String, usize>> = Mutex::default();
            let calls: Vec<usize> = (1..=alone.calls).filter(|at| (at + row + column) % every == 0).collect();
            on_two_threads(calls.len(), |number| {
                let at = calls[number];
                let _told = Told(format!("{one:?} met by {other:?} before call {at} of {}", alone.calls));
                let met = meet(base().copy(), |store| one.run(store), move |store| other.run(store), at);
                // Who comes last in the order of calls may be told that it is too late.
                let second = met.second.unwrap();
                assert_sound(&met.store, &[(one, &met.first), (other, &second)]);
                for (act, came) in [(one, met.first), (other, second)] {
                    if let Err(why) = came {
                        *failed.lock().unwrap().entry(format!("{act:?}: {why}")).or_default() += 1;
                    }
                }
            });
            let (times, failed) = (calls.len(), failed.into_inner().unwrap());
            println!("{one:?} of {} calls met {times} times by {other:?}: {failed:?}", alone.calls);
        }
    }
}

#[test]
fn of_two_that_make_a_repository_in_one_place_one_has_made_it() {
    let keys = || [key_file(), new_key()];
    let init = |key: KeyFile| move |store: Arc<dyn Store>| make(store, &key).map(drop);
    let [one, other] = keys().map(init);
    let alone = meet(MemoryStore::new(), one, other, usize::MAX);
    for at in 1..=alone.calls {
        let [one, other] = keys().map(init);
        let met = meet(MemoryStore::new(), one, other, at);
        let made = [met.first, met.second.unwrap()];
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1, "at {at}: {made:?}");
        for (key, made) in keys().into_iter().zip(&made) {
            let store: Arc<dyn Store> = Arc::<MemoryStore>::clone(&met.store);
            let opened = Repository::open(store, Unlock::KeyFile(&key), IndexPlace::Memory);
            assert_eq!(opened.is_ok(), made.is_ok(), "at {at}");
            if let Ok((repository, _)) = opened {
                assert_holds(&repository, &[]);
            }
        }
    }
}
