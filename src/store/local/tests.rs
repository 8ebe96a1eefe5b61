//! The suite on a disk, the order of system calls and what a crash between them leaves, and what only a directory can
//! do to a store.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use tempfile::TempDir;

use super::super::{CreateIfAbsent, conformance, probe_create_if_absent};
use super::*;

const OBJECTS: Directory = Directory::fixed("objects");

/// How often two handles race for one name.
const RACES: usize = 2000;

/// One change of the disk, with the inode of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Create(u64, String),
    Write(u64),
    SyncFile,
    SyncDirectory(u64),
    Rename(u64, String, String),
    Link(u64, String, String),
    Unlink(u64, String),
    MakeDirectory(u64, String),
}

/// When a failing call takes effect.
#[derive(Debug, Clone, Copy)]
enum Fails {
    WithoutEffect,
    AfterTakingEffect,
}

/// Records the calls, passes them on, and lets one fail.
#[derive(Debug, Default)]
struct Script {
    steps: Mutex<Vec<Step>>,
    fails: Mutex<Option<(usize, Errno, Fails)>>,
    without_rename: bool,
    without_link: bool,
    bytes_per_write: Option<usize>,
}

impl Script {
    /// On a file system that cannot rename without replacing, as NFS.
    fn linking() -> Self {
        Self { without_rename: true, ..Self::default() }
    }

    fn take(&self) -> Vec<Step> {
        mem::take(&mut self.steps.lock().unwrap())
    }

    /// The `call`-th call from now on fails.
    fn fail(&self, call: usize, errno: Errno, fails: Fails) {
        self.steps.lock().unwrap().clear();
        *self.fails.lock().unwrap() = Some((call, errno, fails));
    }

    fn step<T>(&self, step: Step, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let number = {
            let mut steps = self.steps.lock().unwrap();
            steps.push(step);
            steps.len()
        };
        match *self.fails.lock().unwrap() {
            Some((call, errno, Fails::WithoutEffect)) if call == number => Err(errno.into()),
            Some((call, errno, Fails::AfterTakingEffect)) if call == number => make().and(Err(errno.into())),
            _ => make(),
        }
    }
}

fn inode(open: BorrowedFd<'_>) -> u64 {
    fs::fstat(open).unwrap().st_ino
}

impl Calls for Arc<Script> {
    fn create(&self, directory: BorrowedFd<'_>, name: &str) -> io::Result<File> {
        self.step(Step::Create(inode(directory), name.to_owned()), || Kernel.create(directory, name))
    }

    /// The disk of a test is none that needs it.
    fn set_cached(&self, _: &File, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, file: &File, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let first = slices.first().map_or(0, |slice| slice.len());
        let Some(bytes) = self.bytes_per_write.filter(|bytes| *bytes < first) else {
            let bytes = slices.iter().map(|slice| slice.len() as u64).sum();
            return self.step(Step::Write(bytes), || Kernel.write(file, slices));
        };
        self.step(Step::Write(bytes as u64), || Kernel.write(file, &[IoSlice::new(&slices[0][..bytes])]))
    }

    fn sync(&self, open: BorrowedFd<'_>) -> io::Result<()> {
        let is_file = FileType::from_raw_mode(fs::fstat(open).unwrap().st_mode) == FileType::RegularFile;
        let step = if is_file { Step::SyncFile } else { Step::SyncDirectory(inode(open)) };
        self.step(step, || Kernel.sync(open))
    }

    fn rename_if_free(&self, directory: BorrowedFd<'_>, from: &str, to: &str) -> io::Result<()> {
        if self.without_rename {
            return Err(Errno::INVAL.into());
        }
        let step = Step::Rename(inode(directory), from.to_owned(), to.to_owned());
        self.step(step, || Kernel.rename_if_free(directory, from, to))
    }

    fn link(&self, directory: BorrowedFd<'_>, from: &str, to: &str) -> io::Result<()> {
        if self.without_link {
            return Err(Errno::PERM.into());
        }
        let step = Step::Link(inode(directory), from.to_owned(), to.to_owned());
        self.step(step, || Kernel.link(directory, from, to))
    }

    fn unlink(&self, directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        self.step(Step::Unlink(inode(directory), name.to_owned()), || Kernel.unlink(directory, name))
    }

    fn make_directory(&self, directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let step = Step::MakeDirectory(inode(directory), name.to_owned());
        self.step(step, || Kernel.make_directory(directory, name))
    }
}

/// A directory in memory where there is one: the races and the suite need no disk, and thousands of syncs take long.
fn quick_directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn store() -> (TempDir, LocalStore) {
    let root = tempfile::tempdir().unwrap();
    let store = LocalStore::create(root.path()).unwrap();
    store.make_directory(&OBJECTS).unwrap();
    (root, store)
}

fn scripted(script: Script) -> (TempDir, LocalStore, Arc<Script>) {
    let root = quick_directory();
    LocalStore::create(root.path()).unwrap().make_directory(&OBJECTS).unwrap();
    let script = Arc::new(script);
    let store = open_with(root.path(), &script);
    (root, store, script)
}

fn open_with(path: &Path, script: &Arc<Script>) -> LocalStore {
    LocalStore::open_with(path, Box::new(Arc::clone(script))).unwrap_or_else(|cause| panic!("{}", cause.kind))
}

fn name(leaf: &str) -> Name {
    OBJECTS.object(leaf).unwrap()
}

fn put(store: &LocalStore, leaf: &str, bytes: &[u8]) -> Result<Put, StoreErrorKind> {
    store.put(&name(leaf), &[bytes]).map_err(|error| error.kind)
}

fn get(store: &LocalStore, leaf: &str) -> Result<Vec<u8>, StoreErrorKind> {
    store.get(&name(leaf), PIECE_BYTES).map_err(|error| error.kind)
}

fn write_file(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

/// Every name in the directory of objects, whatever it is.
fn files(root: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(root.path().join("objects")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_directory_keeps_the_contract() {
    let roots = RefCell::new(Vec::new());
    conformance::suite(|| {
        let root = tempfile::tempdir().unwrap();
        let store = LocalStore::create(root.path()).unwrap();
        roots.borrow_mut().push(root);
        store
    });
}

#[test]
fn a_directory_that_can_only_link_keeps_the_contract() {
    let roots = RefCell::new(Vec::new());
    conformance::suite(|| {
        let root = quick_directory();
        let store = open_with(root.path(), &Arc::new(Script::linking()));
        roots.borrow_mut().push(root);
        store
    });
}

#[test]
fn of_two_handles_that_race_for_a_name_one_wins() {
    for script in [Script::default, Script::linking] {
        let (root, _, _) = scripted(Script::default());
        let barrier = Barrier::new(2);
        let race = |racer: &str| -> Vec<Put> {
            let store = open_with(root.path(), &Arc::new(script()));
            let create = |number: usize| {
                barrier.wait();
                put(&store, &number.to_string(), racer.as_bytes()).unwrap()
            };
            (0..RACES).map(create).collect()
        };
        let (a, b) = thread::scope(|scope| {
            let a = scope.spawn(|| race("a"));
            (race("b"), a.join().unwrap())
        });
        let winners =
            a.iter().zip(&b).filter(|puts| matches!(puts, (Put::Created, Put::Exists) | (Put::Exists, Put::Created)));
        assert_eq!(winners.count(), RACES);
    }
}

/// What names a crash can leave in a directory: those that were synced, and any of those changed since.
struct Crash {
    names: BTreeSet<String>,
    /// Bytes of the file that were synced.
    bytes: u64,
}

/// Every state that a crash after some of these steps can leave in one directory. Nothing that was not synced is
/// certain, and of what was not synced anything may have reached the disk, in any order.
fn crashes(steps: &[Step], directory: u64, before: &[&str]) -> Vec<Crash> {
    let mut durable: BTreeSet<String> = before.iter().map(ToString::to_string).collect();
    let mut pending: Vec<(String, bool)> = Vec::new();
    let (mut written, mut synced) = (0, 0);
    for step in steps {
        match step {
            Step::Create(at, name) | Step::Link(at, _, name) | Step::MakeDirectory(at, name) if *at == directory => {
                pending.push((name.clone(), true));
            }
            Step::Rename(at, from, to) if *at == directory => {
                pending.extend([(from.clone(), false), (to.clone(), true)]);
            }
            Step::Unlink(at, name) if *at == directory => pending.push((name.clone(), false)),
            Step::Write(bytes) => written += bytes,
            Step::SyncFile => synced = written,
            Step::SyncDirectory(at) if *at == directory => apply(&mut durable, &pending.split_off(0), |_| true),
            _ => {}
        }
    }
    let choices = 0..1_usize << pending.len();
    let crash = |choice: usize| {
        let mut names = durable.clone();
        apply(&mut names, &pending, |change| choice >> change & 1 == 1);
        Crash { names, bytes: synced }
    };
    choices.map(crash).collect()
}

fn apply(names: &mut BTreeSet<String>, changes: &[(String, bool)], reached_the_disk: impl Fn(usize) -> bool) {
    for (_, (name, appears)) in changes.iter().enumerate().filter(|(number, _)| reached_the_disk(*number)) {
        if *appears {
            names.insert(name.clone())
        } else {
            names.remove(name)
        };
    }
}

#[test]
fn no_crash_during_a_put_leaves_a_part_of_an_object() {
    for script in [Script::default(), Script::linking()] {
        let (_root, store, script) = scripted(Script { bytes_per_write: Some(5), ..script });
        let directory = inode(store.open_directory(&OBJECTS).ok().unwrap().as_fd());
        assert_eq!(put(&store, "x", b"twelve bytes"), Ok(Put::Created));
        let steps = script.take();
        for taken in 0..=steps.len() {
            for crash in crashes(&steps[..taken], directory, &[]) {
                assert!(!crash.names.contains("x") || crash.bytes == 12, "after {:?}", &steps[..taken]);
                assert!(crash.names.contains("x") || taken < steps.len(), "{steps:?}");
            }
        }
    }
}

#[test]
fn a_delete_that_was_answered_survives_a_crash() {
    let (_root, store, script) = scripted(Script::default());
    let directory = inode(store.open_directory(&OBJECTS).ok().unwrap().as_fd());
    assert_eq!(put(&store, "x", b"bytes"), Ok(Put::Created));
    script.take();
    for expected in [Deleted::Removed, Deleted::Absent] {
        assert_eq!(store.delete(&name("x")).unwrap(), expected);
        let steps = script.take();
        assert!(crashes(&steps, directory, &["x"]).iter().all(|crash| crash.names.is_empty()), "{steps:?}");
    }
}

#[test]
fn a_directory_that_was_made_survives_a_crash() {
    let (root, store, script) = scripted(Script::default());
    store.make_directory(&Directory::fixed("packs/3")).unwrap();
    let steps = script.take();
    let at = |path: &str| inode(File::open(root.path().join(path)).unwrap().as_fd());
    for (above, made) in [(".", "packs"), ("packs", "3")] {
        assert!(crashes(&steps, at(above), &[]).iter().all(|crash| crash.names.contains(made)), "{steps:?}");
    }
}

#[test]
fn who_finds_a_name_taken_makes_it_durable() {
    for script in [Script::default(), Script::linking()] {
        let (_root, store, script) = scripted(script);
        let directory = inode(store.open_directory(&OBJECTS).ok().unwrap().as_fd());
        for (bytes, expected) in [(b"first", Put::Created), (b"other", Put::Exists), (b"first", Put::Created)] {
            assert_eq!(put(&store, "x", bytes), Ok(expected));
            let steps = script.take();
            assert!(steps.iter().rev().take(2).any(|step| *step == Step::SyncDirectory(directory)), "{steps:?}");
            assert!(crashes(&steps, directory, &["x"]).iter().all(|crash| crash.names.len() == 1), "{steps:?}");
        }
    }
}

#[test]
fn whichever_call_of_a_put_fails_nothing_partial_stays() {
    for linking in [false, true] {
        for fails in [Fails::WithoutEffect, Fails::AfterTakingEffect] {
            for call in 1.. {
                let (root, store, script) = scripted(if linking { Script::linking() } else { Script::default() });
                script.fail(call, Errno::IO, fails);
                let first = put(&store, "x", b"whole");
                let steps = script.take();
                if steps.len() < call {
                    assert_eq!((first, call), (Ok(Put::Created), if linking { 7 } else { 6 }));
                    break;
                }
                let failed = steps[call - 1].clone();
                let is_unlink = matches!(failed, Step::Unlink(..));
                assert_eq!(first.is_ok(), is_unlink, "{failed:?}");
                let left = files(&root);
                let temporary = left.iter().filter(|name| name.starts_with(TEMPORARY_PREFIX)).count();
                let kept = is_unlink && matches!(fails, Fails::WithoutEffect);
                assert_eq!(temporary, usize::from(kept), "{failed:?} left {left:?}");
                assert!(get(&store, "x").is_ok_and(|bytes| bytes == b"whole") || !left.contains(&"x".to_owned()));
                // The next attempt is as good as the first, on a store that still knows what it did.
                *script.fails.lock().unwrap() = None;
                let next = put(&store, "x", b"whole");
                let untrusted = matches!(failed, Step::SyncDirectory(_));
                assert_eq!(next, if untrusted { Err(StoreErrorKind::Untrusted) } else { Ok(Put::Created) });
                assert_eq!(put(&LocalStore::open(root.path()).unwrap(), "x", b"whole"), Ok(Put::Created));
            }
        }
    }
}

#[test]
fn after_a_failed_sync_of_a_directory_nothing_more_is_written() {
    let (root, store, script) = scripted(Script::default());
    assert_eq!(put(&store, "old", b"old"), Ok(Put::Created));
    script.fail(5, Errno::IO, Fails::WithoutEffect);
    assert_eq!(put(&store, "x", b"x"), Err(StoreErrorKind::Io));
    assert_eq!(put(&store, "y", b"y"), Err(StoreErrorKind::Untrusted));
    assert_eq!(store.delete(&name("old")).unwrap_err().kind, StoreErrorKind::Untrusted);
    assert_eq!(store.make_directory(&OBJECTS).unwrap_err().kind, StoreErrorKind::Untrusted);
    assert_eq!(get(&store, "old").unwrap(), b"old");
    let store = LocalStore::open(root.path()).unwrap();
    assert_eq!(put(&store, "x", b"x"), Ok(Put::Created));
}

#[test]
fn only_a_server_may_have_no_sync_for_directories() {
    let (_root, mut store, script) = scripted(Script::default());
    store.file_system = FileSystem::Other { magic: 1 };
    script.fail(5, Errno::INVAL, Fails::WithoutEffect);
    assert_eq!(put(&store, "x", b"x"), Ok(Put::Created));
    store.file_system = FileSystem::Local;
    script.fail(5, Errno::INVAL, Fails::WithoutEffect);
    assert_eq!(put(&store, "y", b"y"), Err(StoreErrorKind::Io));
}

#[test]
fn a_full_disk_is_called_so_and_leaves_nothing() {
    for (errno, kind) in [(Errno::NOSPC, StoreErrorKind::NoSpace), (Errno::DQUOT, StoreErrorKind::NoSpace)] {
        let (root, store, script) = scripted(Script { bytes_per_write: Some(2), ..Script::default() });
        script.fail(3, errno, Fails::WithoutEffect);
        assert_eq!(put(&store, "x", b"12345"), Err(kind));
        assert!(files(&root).is_empty());
    }
}

#[test]
fn a_server_that_lost_its_answer_and_says_exists_has_linked() {
    let (_root, store, script) = scripted(Script::linking());
    script.fail(4, Errno::EXIST, Fails::AfterTakingEffect);
    assert_eq!(put(&store, "x", b"own"), Ok(Put::Created));
    assert!(matches!(script.take()[3], Step::Link(..)));
}

#[test]
fn a_server_that_lost_its_answer_and_says_not_there_has_removed() {
    let (root, store, script) = scripted(Script::default());
    script.fail(2, Errno::NOENT, Fails::AfterTakingEffect);
    store.refresh(&OBJECTS).unwrap();
    assert!(matches!(script.take()[..], [Step::Create(..), Step::Unlink(..)]));
    assert!(files(&root).is_empty());
    *script.fails.lock().unwrap() = None;
    assert_eq!(put(&store, "x", b"x"), Ok(Put::Created));
    script.fail(1, Errno::NOENT, Fails::AfterTakingEffect);
    assert_eq!(store.delete(&name("x")).unwrap(), Deleted::Absent);
}

#[test]
fn a_file_system_without_link_and_rename_is_found_by_the_probe() {
    let (root, store, _) = scripted(Script { without_link: true, ..Script::linking() });
    assert_eq!(put(&store, "x", b"x"), Err(StoreErrorKind::Unsupported));
    assert_eq!(probe_create_if_absent(&store, &OBJECTS).unwrap(), CreateIfAbsent::Missing);
    assert!(files(&root).is_empty());
}

#[test]
fn only_a_local_disk_is_trusted_to_rename_without_replacing() {
    let (_root, mut store, script) = scripted(Script::default());
    for file_system in [FileSystem::Nfs { listing_seconds: None }, FileSystem::Other { magic: 1 }] {
        store.file_system = file_system;
        assert_eq!(put(&store, &store.list(&OBJECTS).unwrap().len().to_string(), b"x"), Ok(Put::Created));
        assert!(script.take().iter().any(|step| matches!(step, Step::Link(..))));
    }
    store.file_system = FileSystem::Local;
    assert_eq!(put(&store, "x", b"x"), Ok(Put::Created));
    assert!(script.take().iter().any(|step| matches!(step, Step::Rename(..))));
}

#[test]
fn a_put_whose_temporary_file_was_removed_says_so() {
    let (_root, store, script) = scripted(Script::default());
    script.fail(4, Errno::NOENT, Fails::WithoutEffect);
    assert_eq!(put(&store, "x", b"x"), Err(StoreErrorKind::TemporaryGone));
}

#[test]
fn what_a_crash_left_is_no_object_and_can_be_removed() {
    let (root, store) = store();
    write_file(&root.path().join("objects/.tmp-left"), b"half");
    write_file(&root.path().join("objects/.nfs0001"), b"not ours");
    assert_eq!(put(&store, "x", b"x"), Ok(Put::Created));
    assert_eq!(store.list(&OBJECTS).unwrap(), [Listed { name: name("x"), bytes: 1 }]);
    let left = store.temporaries(&OBJECTS).unwrap();
    let [left] = left.as_slice() else { panic!("{left:?}") };
    assert_eq!((left.to_string().as_str(), left.bytes), ("objects/.tmp-left", 4));
    assert!(left.modified <= store.stat(&name("x")).unwrap().unwrap().modified);
    assert_eq!(store.remove_temporary(left).unwrap(), Deleted::Removed);
    assert_eq!(store.remove_temporary(left).unwrap(), Deleted::Absent);
    assert_eq!(store.temporaries(&OBJECTS).unwrap(), []);
}

#[test]
fn objects_cannot_be_written_and_directories_are_their_owners() {
    let (root, store) = store();
    assert_eq!(put(&store, "x", b"x"), Ok(Put::Created));
    let mode = |path: &str| std::fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("objects"), mode("objects/x")), (0o700, 0o444));
    LocalStore::create(&root.path().join("store")).unwrap();
    assert_eq!(mode("store"), 0o700);
}

#[test]
fn a_directory_in_an_objects_place_is_an_error() {
    let (root, store) = store();
    std::fs::create_dir(root.path().join("objects/x")).unwrap();
    assert_eq!(put(&store, "x", b"x"), Err(StoreErrorKind::NotAnObject));
    assert_eq!(get(&store, "x"), Err(StoreErrorKind::NotAnObject));
    assert_eq!(store.stat(&name("x")).unwrap_err().kind, StoreErrorKind::NotAnObject);
    assert_eq!(store.delete(&name("x")).unwrap_err().kind, StoreErrorKind::NotAnObject);
    assert_eq!(store.list(&OBJECTS).unwrap(), []);
    assert_eq!(files(&root), ["x"]);
}

#[test]
fn a_symbolic_link_is_never_followed() {
    let (root, store) = store();
    let outside = tempfile::tempdir().unwrap();
    write_file(&outside.path().join("secret"), b"secret");
    symlink(outside.path().join("secret"), root.path().join("objects/x")).unwrap();
    symlink(outside.path(), root.path().join("linked")).unwrap();
    assert_eq!(get(&store, "x"), Err(StoreErrorKind::NotAnObject));
    assert_eq!(put(&store, "x", b"secret"), Err(StoreErrorKind::NotAnObject));
    assert_eq!(store.stat(&name("x")).unwrap_err().kind, StoreErrorKind::NotAnObject);
    let refused = store.list(&OBJECTS).unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::NotAnObject);
    assert!(refused.object.ends_with("/objects/x"), "{refused}");
    let linked = Directory::fixed("linked");
    assert_eq!(store.list(&linked).unwrap_err().kind, StoreErrorKind::NotADirectory);
    assert_eq!(store.make_directory(&linked).unwrap_err().kind, StoreErrorKind::NotADirectory);
    let secret = linked.object("secret").unwrap();
    assert_eq!(store.get(&secret, 100).unwrap_err().kind, StoreErrorKind::NotADirectory);
    assert_eq!(store.delete(&secret).unwrap_err().kind, StoreErrorKind::NotADirectory);
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret");
}

#[test]
fn a_pipe_does_not_make_a_reader_wait() {
    let (root, store) = store();
    fs::mknodat(CWD, root.path().join("objects/x"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert_eq!(get(&store, "x"), Err(StoreErrorKind::NotAnObject));
    assert_eq!(put(&store, "x", b"x"), Err(StoreErrorKind::NotAnObject));
}

#[test]
fn names_that_no_object_can_have_are_not_listed() {
    let (root, store) = store();
    for foreign in ["with space", "ümlaut", ".hidden"] {
        write_file(&root.path().join("objects").join(foreign), b"");
    }
    assert_eq!(store.list(&OBJECTS).unwrap(), []);
}

/// A directory that nobody may write to; the superuser needs more than its mode for that.
struct Protected(PathBuf);

impl Protected {
    fn new(path: PathBuf) -> Option<Self> {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o500)).unwrap();
        let protected = Self(path);
        (!rustix::process::geteuid().is_root() || protected.set(fs::IFlags::IMMUTABLE)).then_some(protected)
    }

    fn set(&self, flags: fs::IFlags) -> bool {
        fs::ioctl_setflags(File::open(&self.0).unwrap(), flags).is_ok()
    }
}

impl Drop for Protected {
    fn drop(&mut self) {
        if rustix::process::geteuid().is_root() {
            self.set(fs::IFlags::empty());
        }
        std::fs::set_permissions(&self.0, PermissionsExt::from_mode(0o700)).unwrap();
    }
}

#[test]
fn a_directory_that_may_not_be_written_can_be_read() {
    let (root, store) = store();
    assert_eq!(put(&store, "x", b"x"), Ok(Put::Created));
    // A superuser in a container may be refused the flag; there nothing can be protected from him.
    let Some(_protected) = Protected::new(root.path().join("objects")) else { return };
    assert_eq!(put(&store, "y", b"y"), Err(StoreErrorKind::PermissionDenied));
    assert_eq!(store.delete(&name("x")).unwrap_err().kind, StoreErrorKind::PermissionDenied);
    assert_eq!(store.refresh(&OBJECTS).unwrap_err().kind, StoreErrorKind::PermissionDenied);
    assert_eq!(get(&store, "x").unwrap(), b"x");
    assert_eq!(store.list(&OBJECTS).unwrap().len(), 1);
}

#[test]
fn a_store_whose_root_is_gone_is_not_empty() {
    let (root, store) = store();
    assert_eq!(put(&store, "x", b"x"), Ok(Put::Created));
    let path = root.path().to_owned();
    drop(root);
    std::fs::create_dir(&path).unwrap();
    std::fs::create_dir(path.join("objects")).unwrap();
    assert_eq!(get(&store, "x"), Err(StoreErrorKind::StoreGone));
    assert_eq!(put(&store, "x", b"x"), Err(StoreErrorKind::StoreGone));
    assert_eq!(store.stat(&name("x")).unwrap_err().kind, StoreErrorKind::StoreGone);
    assert_eq!(store.list(&OBJECTS).unwrap_err().kind, StoreErrorKind::StoreGone);
    assert_eq!(store.delete(&name("x")).unwrap_err().kind, StoreErrorKind::StoreGone);
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_stale_handle_is_looked_up_again_from_the_root() {
    let (_root, store) = store();
    let lookups = RefCell::new(0);
    let stale_until = |last: usize| {
        *lookups.borrow_mut() = 0;
        let found = store.look_up(&OBJECTS, |_| {
            *lookups.borrow_mut() += 1;
            if *lookups.borrow() <= last { Err(Cause::from(Errno::STALE)) } else { Ok(()) }
        });
        (found.map_err(|cause| cause.kind), *lookups.borrow())
    };
    assert_eq!(stale_until(2), (Ok(()), 3));
    assert_eq!(stale_until(9), (Err(StoreErrorKind::Stale), STALE_LOOKUPS_MAX));
}

#[test]
fn a_new_store_wants_an_empty_directory() {
    let root = tempfile::tempdir().unwrap();
    let create = |path: &str| LocalStore::create(&root.path().join(path)).map(|_| ()).map_err(|error| error.kind);
    assert_eq!(create("new"), Ok(()));
    assert_eq!(create("new"), Ok(()));
    assert_eq!(create("no/such"), Err(StoreErrorKind::DirectoryMissing));
    std::fs::create_dir(root.path().join("new/lost+found")).unwrap();
    assert_eq!(create("new"), Ok(()));
    write_file(&root.path().join("new/letter.txt"), b"");
    assert_eq!(create("new"), Err(StoreErrorKind::NotEmpty { found: "letter.txt".to_owned() }));
    assert_eq!(create("new/letter.txt"), Err(StoreErrorKind::NotADirectory));
}

#[test]
fn opening_makes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let open = |path: &str| LocalStore::open(&root.path().join(path)).unwrap_err();
    assert_eq!(open("absent").kind, StoreErrorKind::NotFound);
    write_file(&root.path().join("file"), b"");
    assert_eq!(open("file").kind, StoreErrorKind::NotADirectory);
    let expected = format!("Cannot open the store {}: it is not a directory", root.path().join("file").display());
    assert_eq!(open("file").to_string(), expected);
    assert_eq!(LocalStore::open(root.path()).unwrap().list(&Directory::ROOT).unwrap().len(), 1);
}

#[test]
fn an_error_names_the_full_path() {
    let (root, store) = store();
    let path = root.path().display();
    let error = |result: Result<(), StoreError>| result.unwrap_err().to_string();
    assert_eq!(error(store.get(&name("x"), 1).map(|_| ())), format!("Cannot read {path}/objects/x: it is not there"));
    let missing = Directory::fixed("missing");
    assert_eq!(
        error(store.list(&missing).map(|_| ())),
        format!("Cannot list {path}/missing: its directory is missing")
    );
}

#[test]
fn capacity_tells_room_and_kind() {
    let (_root, store) = store();
    let capacity = store.capacity().unwrap();
    assert!(capacity.free_bytes <= capacity.total_bytes && capacity.total_bytes > 0, "{capacity:?}");
    assert_eq!(capacity.file_system, store.file_system);
}
