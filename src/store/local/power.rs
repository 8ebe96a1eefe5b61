//! What a power cut can leave of a directory: a record of the system calls of a local store, and the disks that it
//! could find afterwards.
//!
//! The model promises as little as POSIX does. A sync of a file keeps its bytes and not its name; a sync of a directory
//! keeps the names in it and the bytes of nothing. Each change of a name since the last sync of its directory has
//! reached the disk or has not, independently of every other; a rename is two such changes. Of the bytes written since
//! the last sync of a file there is anything from nothing to all, sector by sector, and what is missing before the end
//! is zeros. A journal keeps an order and so leaves fewer states, all of which are among these. What the model takes
//! from file systems: one name is changed whole, sectors are not torn, and what was synced stays.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{self, FileType};
use rustix::io::Errno;

use super::calls::{Calls, Kernel};
use super::{LocalStore, TEMPORARY_PREFIX, error};
use crate::store::{Directory, MemoryStore, Name, Operation, Store, StoreError};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A file or a directory, by the order in which they were made; the root is the first.
type Node = usize;

const ROOT: Node = 0;

/// Bytes that many disks share.
#[derive(Debug, Clone)]
struct Content {
    bytes: Arc<[u8]>,
    digest: [u8; 32],
}

impl Content {
    fn of(bytes: Vec<u8>) -> Self {
        Self { digest: blake3::hash(&bytes).into(), bytes: bytes.into() }
    }
}

/// One call that did what it was asked for.
#[derive(Debug)]
enum Call {
    Create(Node, String, Node),
    Write(Node, Content),
    SyncFile(Node),
    SyncDirectory(Node),
    Rename(Node, String, String),
    Link(Node, String, String),
    Unlink(Node, String),
    MakeDirectory(Node, String, Node),
    /// No call: the disk lost or changed something that it held.
    Damage(Node, Content),
}

/// A way to give files their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// As the file system prefers it.
    Preferred,
    /// By links only, as on NFS.
    Linked,
}

/// Remembers every call that changes a store's directory, in the order in which they ended.
#[derive(Debug)]
pub struct Tape {
    names: Names,
    recorded: Mutex<Recorded>,
}

#[derive(Debug, Default)]
struct Recorded {
    calls: Vec<Call>,
    /// By the number that the file system gives it now; such numbers are used again.
    inodes: BTreeMap<u64, Node>,
    nodes: usize,
}

impl Recorded {
    fn enter(&mut self, open: BorrowedFd<'_>) -> io::Result<Node> {
        let node = self.nodes;
        self.nodes += 1;
        self.inodes.insert(fs::fstat(open)?.st_ino, node);
        Ok(node)
    }

    fn node(&self, open: BorrowedFd<'_>) -> io::Result<Node> {
        let unknown = || io::Error::other("a file that was not made while calls were recorded");
        self.inodes.get(&fs::fstat(open)?.st_ino).copied().ok_or_else(unknown)
    }
}

impl Tape {
    /// Opens a new and empty store whose calls are recorded from now on. What is in it already counts as lost.
    pub fn begin(path: &Path, names: Names) -> Result<(LocalStore, Arc<Self>), StoreError> {
        let failed = |source: io::Error| StoreError::from_io(path.display(), Operation::Open, source);
        let tape = Arc::new(Self { names, recorded: Mutex::default() });
        tape.recorded().enter(File::open(path).map_err(failed)?.as_fd()).map_err(failed)?;
        let store = tape.store(path)?;
        Ok((store, tape))
    }

    /// The same store opened once more, as another process does.
    pub fn store(self: &Arc<Self>, path: &Path) -> Result<LocalStore, StoreError> {
        let opened = LocalStore::open_with(path, Box::new(Arc::clone(self)));
        opened.map_err(|cause| error(path.display(), Operation::Open, cause))
    }

    /// How many moments there are to cut the power at: before the first call, and after each.
    pub fn moments(&self) -> usize {
        self.recorded().calls.len() + 1
    }

    /// Changes the bytes of an object on the disk and in all disks of later moments. An error if there is none.
    pub fn damage(&self, path: &Path, name: &Name, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let path = path.join(name.as_str());
        let mut recorded = self.recorded();
        let node = recorded.node(File::open(&path)?.as_fd())?;
        let mut bytes = std::fs::read(&path)?;
        change(&mut bytes);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        io::Write::write_all(&mut File::options().write(true).truncate(true).open(&path)?, &bytes)?;
        recorded.calls.push(Call::Damage(node, Content::of(bytes)));
        Ok(())
    }

    /// A disk that a power cut at a moment, from 0, can leave. `below` draws a number below another one.
    pub fn cut(&self, moment: usize, below: &mut dyn FnMut(usize) -> usize) -> Left {
        let recorded = self.recorded();
        let past = recorded.calls.get(..moment).unwrap_or(&recorded.calls);
        let mut disk = Disk::default();
        for (number, call) in past.iter().enumerate() {
            disk.take(number, call);
        }
        let survival = Survival::draw(past.len(), below);
        let mut left = Left::default();
        disk.leave(ROOT, &Directory::ROOT, survival, below, &mut left);
        left
    }

    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each call is made and remembered in one step, so that the record has the order of the disk.
impl Calls for Arc<Tape> {
    fn create(&self, directory: BorrowedFd<'_>, name: &str) -> io::Result<File> {
        let mut recorded = self.recorded();
        let at = recorded.node(directory)?;
        let file = Kernel.create(directory, name)?;
        let node = recorded.enter(file.as_fd())?;
        recorded.calls.push(Call::Create(at, name.to_owned(), node));
        Ok(file)
    }

    fn set_cached(&self, _: &File, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, file: &File, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut recorded = self.recorded();
        let node = recorded.node(file.as_fd())?;
        let written = Kernel.write(file, slices)?;
        let mut bytes = slices.iter().map(|slice| &**slice).collect::<Vec<_>>().concat();
        bytes.truncate(written);
        recorded.calls.push(Call::Write(node, Content::of(bytes)));
        Ok(written)
    }

    fn sync(&self, open: BorrowedFd<'_>) -> io::Result<()> {
        let mut recorded = self.recorded();
        let node = recorded.node(open)?;
        Kernel.sync(open)?;
        let is_file = FileType::from_raw_mode(fs::fstat(open)?.st_mode) == FileType::RegularFile;
        recorded.calls.push(if is_file { Call::SyncFile(node) } else { Call::SyncDirectory(node) });
        Ok(())
    }

    fn rename_if_free(&self, directory: BorrowedFd<'_>, from: &str, to: &str) -> io::Result<()> {
        if self.names == Names::Linked {
            return Err(Errno::INVAL.into());
        }
        let mut recorded = self.recorded();
        let at = recorded.node(directory)?;
        Kernel.rename_if_free(directory, from, to)?;
        recorded.calls.push(Call::Rename(at, from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn link(&self, directory: BorrowedFd<'_>, from: &str, to: &str) -> io::Result<()> {
        let mut recorded = self.recorded();
        let at = recorded.node(directory)?;
        Kernel.link(directory, from, to)?;
        recorded.calls.push(Call::Link(at, from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn unlink(&self, directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let mut recorded = self.recorded();
        let at = recorded.node(directory)?;
        Kernel.unlink(directory, name)?;
        recorded.calls.push(Call::Unlink(at, name.to_owned()));
        Ok(())
    }

    fn make_directory(&self, directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let mut recorded = self.recorded();
        let at = recorded.node(directory)?;
        Kernel.make_directory(directory, name)?;
        let made = fs::openat(directory, name, super::DIRECTORY_FLAGS, fs::Mode::empty())?;
        let node = recorded.enter(made.as_fd())?;
        recorded.calls.push(Call::MakeDirectory(at, name.to_owned(), node));
        Ok(())
    }
}

/// Which of the changes that were not synced have reached the disk.
#[derive(Debug, Clone, Copy)]
enum Survival {
    Nothing,
    /// Those of the calls before this one, as a journal leaves it.
    InOrder(usize),
    /// Each by itself.
    Any,
    Everything,
}

impl Survival {
    fn draw(calls: usize, below: &mut dyn FnMut(usize) -> usize) -> Self {
        match below(8) {
            0 => Self::Nothing,
            1 => Self::Everything,
            // Older ones were synced long ago.
            2 | 3 => Self::InOrder(calls.saturating_sub(below(12))),
            _ => Self::Any,
        }
    }

    fn has(self, call: usize, below: &mut dyn FnMut(usize) -> usize) -> bool {
        match self {
            Self::Nothing => false,
            Self::InOrder(calls) => call < calls,
            Self::Any => below(2) == 0,
            Self::Everything => true,
        }
    }
}

/// What was done to a disk, and how much of it is certain.
#[derive(Default)]
struct Disk<'t> {
    files: BTreeMap<Node, FileState<'t>>,
    directories: BTreeMap<Node, DirectoryState<'t>>,
}

#[derive(Default)]
struct FileState<'t> {
    writes: Vec<(usize, &'t Content)>,
    /// So many of them are certain.
    synced: usize,
}

#[derive(Default)]
struct DirectoryState<'t> {
    /// As programs see it.
    present: BTreeMap<&'t str, Node>,
    durable: BTreeMap<&'t str, Node>,
    /// The changes since, with the calls that made them; `None`: the name goes.
    pending: Vec<(usize, &'t str, Option<Node>)>,
}

impl<'t> DirectoryState<'t> {
    fn change(&mut self, number: usize, name: &'t str, node: Option<Node>) {
        set(&mut self.present, name, node);
        self.pending.push((number, name, node));
    }
}

fn set<'t>(names: &mut BTreeMap<&'t str, Node>, name: &'t str, node: Option<Node>) {
    match node {
        Some(node) => names.insert(name, node),
        None => names.remove(name),
    };
}

impl<'t> Disk<'t> {
    fn take(&mut self, number: usize, call: &'t Call) {
        match call {
            Call::Create(at, name, node) => {
                self.files.entry(*node).or_default();
                self.directory(*at).change(number, name, Some(*node));
            }
            Call::Write(node, bytes) => self.files.entry(*node).or_default().writes.push((number, bytes)),
            Call::SyncFile(node) => {
                let file = self.files.entry(*node).or_default();
                file.synced = file.writes.len();
            }
            Call::SyncDirectory(node) => {
                let directory = self.directory(*node);
                directory.pending.clear();
                directory.durable = directory.present.clone();
            }
            Call::Rename(at, from, to) => {
                let directory = self.directory(*at);
                let node = directory.present.get(from.as_str()).copied();
                directory.change(number, from, None);
                directory.change(number, to, node);
            }
            Call::Link(at, from, to) => {
                let directory = self.directory(*at);
                let node = directory.present.get(from.as_str()).copied();
                directory.change(number, to, node);
            }
            Call::Unlink(at, name) => self.directory(*at).change(number, name, None),
            Call::MakeDirectory(at, name, node) => {
                self.directory(*node);
                self.directory(*at).change(number, name, Some(*node));
            }
            Call::Damage(node, bytes) => {
                self.files.insert(*node, FileState { writes: vec![(number, bytes)], synced: 1 });
            }
        }
    }

    fn directory(&mut self, node: Node) -> &mut DirectoryState<'t> {
        self.directories.entry(node).or_default()
    }

    /// What is left of a directory and of all below it.
    fn leave(
        &self,
        node: Node,
        at: &Directory,
        survival: Survival,
        below: &mut dyn FnMut(usize) -> usize,
        left: &mut Left,
    ) {
        let Some(directory) = self.directories.get(&node) else { return };
        let mut names = directory.durable.clone();
        for (number, name, node) in &directory.pending {
            if survival.has(*number, below) {
                set(&mut names, name, *node);
            }
        }
        // A file may have two names, and has the same bytes under both.
        let mut content_of: BTreeMap<Node, Content> = BTreeMap::new();
        for (name, node) in names {
            let path = at.join(name);
            match (self.files.get(&node), path.parse()) {
                (Some(file), _) => {
                    let content = content_of.entry(node).or_insert_with(|| file.leave(survival, below));
                    left.files.insert(path, content.clone());
                }
                (None, Ok(below_it)) => {
                    self.leave(node, &below_it, survival, below, left);
                    left.directories.push(below_it);
                }
                (None, Err(_)) => {}
            }
        }
    }
}

impl FileState<'_> {
    fn leave(&self, survival: Survival, below: &mut dyn FnMut(usize) -> usize) -> Content {
        if let (1, [(_, content)]) = (self.synced, self.writes.as_slice()) {
            return (*content).clone();
        }
        let mut all: Vec<u8> = self.writes.iter().flat_map(|(_, content)| content.bytes.iter().copied()).collect();
        let synced = self.writes.iter().take(self.synced).map(|(_, content)| content.bytes.len()).sum();
        if synced < all.len() {
            lose(&mut all, synced, survival, below);
        }
        Content::of(all)
    }
}

/// Takes away some of what was not synced.
fn lose(all: &mut Vec<u8>, synced: usize, survival: Survival, below: &mut dyn FnMut(usize) -> usize) {
    match (survival, below(4)) {
        (Survival::Everything, _) | (_, 0) => {}
        (Survival::Nothing, _) | (_, 1) => all.truncate(synced),
        (_, 2) => {
            let sectors = below(all.len().div_ceil(SECTOR_BYTES) + 1);
            all.truncate(synced.max(sectors * SECTOR_BYTES));
        }
        _ => {
            for (number, sector) in all.chunks_mut(SECTOR_BYTES).enumerate() {
                if below(2) == 0 {
                    let certain = synced.saturating_sub(number * SECTOR_BYTES);
                    sector.iter_mut().skip(certain).for_each(|byte| *byte = 0);
                }
            }
        }
    }
}

/// What is on a disk after the power was cut.
#[derive(Debug, Default)]
pub struct Left {
    /// Those below others first.
    directories: Vec<Directory>,
    files: BTreeMap<String, Content>,
}

impl Left {
    /// A digest of everything that is there.
    pub fn digest(&self) -> [u8; 32] {
        self.digest_of(|_| true)
    }

    /// A digest of what a store shows: temporary files are left out.
    pub fn digest_of_objects(&self) -> [u8; 32] {
        self.digest_of(|path| !is_temporary(path))
    }

    /// The paths of the temporary files.
    pub fn temporaries(&self) -> Vec<&str> {
        self.files.keys().map(String::as_str).filter(|path| is_temporary(path)).collect()
    }

    fn digest_of(&self, is_counted: impl Fn(&str) -> bool) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for directory in &self.directories {
            hasher.update(directory.as_str().as_bytes()).update(b"/\n");
        }
        for (path, content) in self.files.iter().filter(|(path, _)| is_counted(path)) {
            hasher.update(path.as_bytes()).update(b"\n").update(&content.digest);
        }
        hasher.finalize().into()
    }

    /// The same in memory, where there are no temporary files.
    pub fn in_memory(&self) -> Result<MemoryStore, StoreError> {
        let store = MemoryStore::new();
        for directory in &self.directories {
            store.make_directory(directory)?;
        }
        for (path, content) in &self.files {
            if let Ok(name) = path.parse::<Name>() {
                let _: crate::store::Put = store.put(&name, &[&content.bytes])?;
            }
        }
        Ok(store)
    }

    /// The same in an empty directory.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        for directory in &self.directories {
            std::fs::create_dir_all(path.join(directory.as_str()))?;
        }
        for (file, content) in &self.files {
            io::Write::write_all(&mut File::create(path.join(file))?, &content.bytes)?;
        }
        Ok(())
    }
}

fn is_temporary(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|leaf| leaf.starts_with(TEMPORARY_PREFIX))
}
