//! A store in a directory, on a local disk or on an NFS mount.
//!
//! An object is written under a temporary name in its own directory, synced, and only then given its name, by a rename
//! or a link that never replaces; then the directory is synced. Everything is looked up from the open root, part by
//! part and never through a symbolic link, so nothing outside is reached, and a root that is unmounted or replaced
//! while it is in use is an error, not an empty store. The steps and what a crash leaves after each are in
//! `format-spec/store.md`.

mod calls;
mod capacity;
#[cfg(any(test, feature = "testing"))]
pub mod power;

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, RawDir};
use rustix::io::{Errno, retry_on_intr};

use super::{
    Deleted, Directory, Listed, Name, Operation, Put, Stat, Store, StoreError, StoreErrorKind, Temporary, total_bytes,
};
use crate::clock::Timestamp;
use crate::id;
use crate::limits::{KIB, PIECE_BYTES};
use calls::{Calls, Kernel};
use capacity::Naming;
pub use capacity::{Capacity, FileSystem};

/// Begins the name of every file that is not an object yet. No object's name begins with a dot.
const TEMPORARY_PREFIX: &str = ".tmp-";
/// Random bytes in a temporary name.
const TEMPORARY_RANDOM_BYTES: usize = 16;
/// Parts written by one call; the kernel takes 1024.
const SLICES_MAX: usize = 1024;
/// Bytes of directory entries read by one call.
const ENTRIES_BYTES: usize = 64 * KIB;
/// How often something is looked up again from the root because a server no longer knew a handle.
const STALE_LOOKUPS_MAX: usize = 3;
/// What a file system's own tools leave in a root that is empty otherwise.
const LOST_AND_FOUND: &str = "lost+found";

/// Stands for every later moment.
const LAST_MOMENT: Timestamp = Timestamp::from_micros(Timestamp::MAX_MICROS).expect("a moment is at most the last one");

const DIRECTORY_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory that holds objects.
#[derive(Debug)]
pub struct LocalStore {
    path: PathBuf,
    root: OwnedFd,
    file_system: FileSystem,
    calls: Box<dyn Calls>,
    /// Set once a directory could not be synced: the kernel reports such a loss a single time.
    untrusted: AtomicBool,
}

/// Why a step failed, before it is known in which operation.
struct Cause {
    kind: StoreErrorKind,
    source: Option<io::Error>,
    /// The leaf that is to blame, where it is another than the operation's own.
    leaf: Option<String>,
}

impl From<StoreErrorKind> for Cause {
    fn from(kind: StoreErrorKind) -> Self {
        Self { kind, source: None, leaf: None }
    }
}

impl From<io::Error> for Cause {
    fn from(source: io::Error) -> Self {
        Self { kind: StoreErrorKind::of(&source), source: Some(source), leaf: None }
    }
}

impl From<Errno> for Cause {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

impl LocalStore {
    /// Opens the store in an existing directory.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, Box::new(Kernel)).map_err(|cause| error(path.display(), Operation::Open, cause))
    }

    /// Makes a store in a directory that is empty or absent; the one above it must exist. Opens it.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        let failed = |cause| error(path.display(), Operation::Create, cause);
        match fs::mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(Errno::NOENT) => return Err(failed(StoreErrorKind::DirectoryMissing.into())),
            Err(errno) => return Err(failed(errno.into())),
        }
        let store = Self::open_with(path, Box::new(Kernel)).map_err(failed)?;
        store.require_empty().map_err(failed)?;
        store.directory_above().and_then(|above| store.sync_directory(above.as_fd())).map_err(failed)?;
        Ok(store)
    }

    /// Free space and the kind of file system.
    pub fn capacity(&self) -> Result<Capacity, StoreError> {
        Capacity::of(&self.root).map_err(|source| error(self.path.display(), Operation::Capacity, source.into()))
    }

    /// The store's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open_with(path: &Path, calls: Box<dyn Calls>) -> Result<Self, Cause> {
        let path = std::path::absolute(path)?;
        let root = retry_on_intr(|| fs::openat(CWD, &path, DIRECTORY_FLAGS, Mode::empty()))?;
        let file_system = FileSystem::of(&root)?;
        Ok(Self { path, root, file_system, calls, untrusted: AtomicBool::new(false) })
    }

    fn require_empty(&self) -> Result<(), Cause> {
        let found = self.entries(self.root.as_fd())?.into_iter().find(|name| name != LOST_AND_FOUND);
        found.map_or(Ok(()), |found| Err(StoreErrorKind::NotEmpty { found }.into()))
    }

    /// The directory that holds the root's own name.
    fn directory_above(&self) -> Result<OwnedFd, Cause> {
        Ok(retry_on_intr(|| fs::openat(&self.root, "..", DIRECTORY_FLAGS, Mode::empty()))?)
    }

    fn error(&self, object: &dyn fmt::Display, operation: Operation, cause: Cause) -> StoreError {
        let path = self.path.display();
        match (&cause.leaf, object.to_string().as_str()) {
            (None, "") => error(path, operation, cause),
            (None, object) => error(format_args!("{path}/{object}"), operation, cause),
            (Some(leaf), "") => error(format!("{path}/{leaf}"), operation, cause),
            (Some(leaf), object) => error(format!("{path}/{object}/{leaf}"), operation, cause),
        }
    }

    /// Opens a directory, part by part from the root.
    fn open_directory(&self, directory: &Directory) -> Result<OwnedFd, Cause> {
        let mut open = self.open_below(self.root.as_fd(), ".")?;
        for part in directory.parts() {
            open = self.open_below(open.as_fd(), part)?;
        }
        Ok(open)
    }

    fn open_below(&self, above: BorrowedFd<'_>, part: &str) -> Result<OwnedFd, Cause> {
        let flags = DIRECTORY_FLAGS | OFlags::NOFOLLOW;
        match retry_on_intr(|| fs::openat(above, part, flags, Mode::empty())) {
            Ok(open) => Ok(open),
            Err(Errno::NOENT) => Err(self.missing_directory()),
            Err(Errno::LOOP) => Err(StoreErrorKind::NotADirectory.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Why a directory is not there: it alone is gone, or the root is. That the root cannot be asked says neither.
    fn missing_directory(&self) -> Cause {
        match fs::fstat(&self.root) {
            Ok(status) if status.st_nlink > 0 => StoreErrorKind::DirectoryMissing.into(),
            Ok(_) | Err(Errno::STALE) => StoreErrorKind::StoreGone.into(),
            Err(errno) => errno.into(),
        }
    }

    /// Why an object is not there: the store said so, or its directory went away under the look-up.
    fn missing_object(&self, directory: BorrowedFd<'_>) -> Cause {
        match fs::fstat(directory) {
            Ok(status) if status.st_nlink > 0 => StoreErrorKind::NotFound.into(),
            Ok(_) => self.missing_directory(),
            // Of a stale handle, too: who looks the directory up again is told whether it is gone.
            Err(errno) => errno.into(),
        }
    }

    /// Does something that only reads, and again from the root if a server no longer knew a handle.
    fn look_up<T>(&self, directory: &Directory, read: impl Fn(BorrowedFd<'_>) -> Result<T, Cause>) -> Result<T, Cause> {
        let mut lookups = 1;
        loop {
            match self.open_directory(directory).and_then(|open| read(open.as_fd())) {
                Err(cause) if cause.kind == StoreErrorKind::Stale && lookups < STALE_LOOKUPS_MAX => lookups += 1,
                Err(cause) if cause.kind == StoreErrorKind::Stale => {
                    let root_is_stale = matches!(fs::fstat(&self.root), Err(Errno::STALE));
                    let kind = if root_is_stale { StoreErrorKind::StoreGone } else { StoreErrorKind::Stale };
                    return Err(Cause { kind, ..cause });
                }
                other => return other,
            }
        }
    }

    /// Opens an object for reading and says how long it is.
    fn open_object(&self, directory: BorrowedFd<'_>, leaf: &str) -> Result<(File, u64), Cause> {
        // Not blocking, so that a pipe of that name does not make us wait for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match retry_on_intr(|| fs::openat(directory, leaf, flags, Mode::empty())) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Err(self.missing_object(directory)),
            Err(errno) => return Err(errno.into()),
        };
        let status = fs::fstat(&file)?;
        Ok((File::from(file), object_bytes(&status)?))
    }

    fn read(
        &self,
        name: &Name,
        select: impl Fn(u64) -> Result<(u64, usize), StoreErrorKind>,
    ) -> Result<Vec<u8>, Cause> {
        self.look_up(&name.directory(), |directory| {
            let (file, bytes) = self.open_object(directory, name.leaf())?;
            let (offset, length) = select(bytes)?;
            let mut read = vec![0; length];
            match file.read_exact_at(&mut read, offset) {
                Err(cut) if cut.kind() == io::ErrorKind::UnexpectedEof => {
                    let expected = offset.saturating_add(length as u64);
                    Err(StoreErrorKind::Truncated { bytes: object_bytes(&fs::fstat(&file)?)?, expected }.into())
                }
                Err(failed) => Err(failed.into()),
                Ok(()) => Ok(read),
            }
        })
    }

    fn write_object(&self, name: &Name, parts: &[&[u8]]) -> Result<Put, Cause> {
        self.require_trust()?;
        let directory = self.open_directory(&name.directory())?;
        let temporary = self.write_temporary(directory.as_fd(), parts)?;
        let put =
            if self.publish(temporary, name.leaf())? || self.holds(name, parts)? { Put::Created } else { Put::Exists };
        // Whoever took the name may have crashed before its sync, and the caller builds on either answer.
        self.sync_directory(directory.as_fd())?;
        Ok(put)
    }

    /// Writes a file without an object's name, durably. It is removed again unless it is published.
    fn write_temporary<'a>(&'a self, directory: BorrowedFd<'a>, parts: &[&[u8]]) -> Result<TemporaryFile<'a>, Cause> {
        let temporary = TemporaryFile { calls: self.calls.as_ref(), directory, name: temporary_name()? };
        // Closed before its name goes, on every way out: NFS keeps an open file under yet another name.
        let file =
            self.calls.create(directory, &temporary.name).map_err(|failed| self.not_written(directory, failed))?;
        self.write_parts(&file, parts)?;
        // If this fails, the kernel may have dropped the bytes: the file goes, and a later put begins with a new one.
        self.calls.sync(file.as_fd())?;
        let (bytes, expected) = (object_bytes(&fs::fstat(&file)?)?, total_bytes(parts));
        if bytes != expected {
            return Err(StoreErrorKind::Truncated { bytes, expected }.into());
        }
        drop(file);
        Ok(temporary)
    }

    /// Why a temporary file could not be made or named. An object that is being put is never "not there".
    fn not_written(&self, directory: BorrowedFd<'_>, failed: io::Error) -> Cause {
        let cause = Cause::from(failed);
        match cause.kind {
            StoreErrorKind::NotFound => match self.missing_object(directory) {
                Cause { kind: StoreErrorKind::NotFound, .. } => Cause { kind: StoreErrorKind::TemporaryGone, ..cause },
                gone => gone,
            },
            _ => cause,
        }
    }

    fn write_parts(&self, file: &File, parts: &[&[u8]]) -> Result<(), Cause> {
        let mut slices: Vec<IoSlice<'_>> =
            parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
        let mut rest = slices.as_mut_slice();
        let mut is_cached = !self.file_system.writes_past_the_cache() || self.calls.set_cached(file, false).is_err();
        while !rest.is_empty() {
            let next = rest.get(..SLICES_MAX).unwrap_or(rest);
            match self.calls.write(file, next) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                // What cannot be sent at once goes the usual way.
                Err(failed) if !is_cached && Errno::from_io_error(&failed) == Some(Errno::INVAL) => {
                    self.calls.set_cached(file, true)?;
                    is_cached = true;
                }
                Err(failed) => return Err(failed.into()),
            }
        }
        Ok(())
    }

    /// Gives a file its name, if that is free, and says whether it was.
    fn publish(&self, mut temporary: TemporaryFile<'_>, leaf: &str) -> Result<bool, Cause> {
        for naming in self.file_system.namings() {
            let (named, missing): (_, &[Errno]) = match naming {
                Naming::Rename => (temporary.rename_if_free(leaf), &[Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP]),
                Naming::Link => (temporary.link(leaf), &[Errno::PERM, Errno::NOSYS, Errno::OPNOTSUPP]),
            };
            let Err(failed) = named else { return Ok(true) };
            match Errno::from_io_error(&failed) {
                Some(Errno::EXIST) => return Ok(false),
                Some(errno) if missing.contains(&errno) => {}
                _ => return Err(self.not_written(temporary.directory, failed)),
            }
        }
        Err(StoreErrorKind::Unsupported.into())
    }

    /// Whether a taken name holds these very bytes: a server whose answer was lost says "exists" of our own link.
    fn holds(&self, name: &Name, parts: &[&[u8]]) -> Result<bool, Cause> {
        let found = self.look_up(&name.directory(), |directory| {
            let (file, bytes) = self.open_object(directory, name.leaf())?;
            Ok(bytes == total_bytes(parts) && same_bytes(&file, parts)?)
        });
        match found {
            // It was there a moment ago and was not ours to remove.
            Err(cause) if cause.kind == StoreErrorKind::NotFound => Ok(false),
            found => found,
        }
    }

    fn remove(&self, name: &Name) -> Result<Deleted, Cause> {
        self.require_trust()?;
        let directory = self.open_directory(&name.directory())?;
        let deleted = self.unlink(directory.as_fd(), name.leaf())?;
        self.sync_directory(directory.as_fd())?;
        Ok(deleted)
    }

    fn unlink(&self, directory: BorrowedFd<'_>, leaf: &str) -> Result<Deleted, Cause> {
        match self.calls.unlink(directory, leaf) {
            Ok(()) => Ok(Deleted::Removed),
            Err(failed) if failed.kind() == io::ErrorKind::NotFound => match self.missing_object(directory) {
                Cause { kind: StoreErrorKind::NotFound, .. } => Ok(Deleted::Absent),
                gone => Err(gone),
            },
            Err(failed) => Err(failed.into()),
        }
    }

    fn make_directories(&self, directory: &Directory) -> Result<(), Cause> {
        self.require_trust()?;
        let mut above = self.open_directory(&Directory::ROOT)?;
        for part in directory.parts() {
            match self.calls.make_directory(above.as_fd(), part) {
                Ok(()) => {}
                Err(failed) if failed.kind() == io::ErrorKind::AlreadyExists => {}
                Err(failed) => return Err(failed.into()),
            }
            let made = self.open_below(above.as_fd(), part)?;
            self.sync_directory(made.as_fd())?;
            self.sync_directory(above.as_fd())?;
            above = made;
        }
        Ok(())
    }

    /// Makes the names in a directory survive a crash, or nothing is believed any more.
    fn sync_directory(&self, directory: BorrowedFd<'_>) -> Result<(), Cause> {
        match self.calls.sync(directory) {
            Err(failed)
                if Errno::from_io_error(&failed) == Some(Errno::INVAL)
                    && self.file_system.changes_directories_at_once() =>
            {
                Ok(())
            }
            Err(failed) => {
                self.untrusted.store(true, Ordering::SeqCst);
                Err(failed.into())
            }
            Ok(()) => Ok(()),
        }
    }

    fn require_trust(&self) -> Result<(), Cause> {
        if self.untrusted.load(Ordering::SeqCst) { Err(StoreErrorKind::Untrusted.into()) } else { Ok(()) }
    }

    /// The names in an open directory, without `.` and `..`.
    fn entries(&self, directory: BorrowedFd<'_>) -> Result<Vec<String>, Cause> {
        // The library's other reader takes "no such directory" for the end of the listing.
        let mut buffer = Vec::with_capacity(ENTRIES_BYTES);
        let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) => names.push(entry.file_name().to_string_lossy().into_owned()),
                Err(Errno::NOENT) => return Err(self.missing_directory()),
                Err(errno) => return Err(errno.into()),
            }
        }
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    /// What is known of an entry; `None` if it went meanwhile.
    fn entry_status(directory: BorrowedFd<'_>, leaf: &str) -> Result<Option<fs::Stat>, Cause> {
        match retry_on_intr(|| fs::statat(directory, leaf, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(status) => Ok(Some(status)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Cause { leaf: Some(leaf.to_owned()), ..errno.into() }),
        }
    }

    fn list_objects(&self, directory: &Directory) -> Result<Vec<Listed>, Cause> {
        self.look_up(directory, |open| {
            let mut listed = Vec::new();
            for leaf in self.entries(open)? {
                // Temporary files, those of other programs, and what cannot be the name of an object.
                let Ok(name) = directory.object(&leaf) else { continue };
                let Some(status) = Self::entry_status(open, &leaf)? else { continue };
                if FileType::from_raw_mode(status.st_mode) != FileType::Directory {
                    let bytes = object_bytes(&status).map_err(|kind| Cause { leaf: Some(leaf), ..kind.into() })?;
                    listed.push(Listed { name, bytes });
                }
            }
            listed.sort();
            Ok(listed)
        })
    }

    fn list_temporaries(&self, directory: &Directory) -> Result<Vec<Temporary>, Cause> {
        self.look_up(directory, |open| {
            let mut found = Vec::new();
            for leaf in self.entries(open)?.into_iter().filter(|leaf| leaf.starts_with(TEMPORARY_PREFIX)) {
                let Some(status) = Self::entry_status(open, &leaf)? else { continue };
                if let Ok(bytes) = object_bytes(&status) {
                    found.push(Temporary { directory: directory.clone(), leaf, bytes, modified: modified(&status) });
                }
            }
            Ok(found)
        })
    }

    fn object_status(&self, name: &Name) -> Result<Option<Stat>, Cause> {
        self.look_up(&name.directory(), |directory| match Self::entry_status(directory, name.leaf()) {
            Ok(Some(status)) => Ok(Some(Stat { bytes: object_bytes(&status)?, modified: modified(&status) })),
            Ok(None) => match self.missing_object(directory) {
                Cause { kind: StoreErrorKind::NotFound, .. } => Ok(None),
                gone => Err(gone),
            },
            Err(cause) => Err(Cause { leaf: None, ..cause }),
        })
    }

    fn touch(&self, directory: &Directory) -> Result<(), Cause> {
        let open = self.open_directory(directory)?;
        let name = temporary_name()?;
        drop(self.calls.create(open.as_fd(), &name)?);
        // A server whose answer was lost says "not there" of its own removal.
        self.unlink(open.as_fd(), &name).map(|_| ())
    }
}

impl Store for LocalStore {
    fn description(&self) -> String {
        self.path.display().to_string()
    }

    fn make_directory(&self, directory: &Directory) -> Result<(), StoreError> {
        self.make_directories(directory).map_err(|cause| self.error(directory, Operation::MakeDirectory, cause))
    }

    fn put(&self, name: &Name, parts: &[&[u8]]) -> Result<Put, StoreError> {
        self.write_object(name, parts).map_err(|cause| self.error(name, Operation::Put, cause))
    }

    fn get(&self, name: &Name, bytes_max: usize) -> Result<Vec<u8>, StoreError> {
        let whole = |bytes: u64| match usize::try_from(bytes) {
            Ok(length) if length <= bytes_max => Ok((0, length)),
            _ => Err(StoreErrorKind::TooLarge { bytes, bytes_max: bytes_max as u64 }),
        };
        self.read(name, whole).map_err(|cause| self.error(name, Operation::Get, cause))
    }

    fn get_range(&self, name: &Name, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
        let range = |bytes: u64| match offset.checked_add(length as u64) {
            Some(end) if end <= bytes => Ok((offset, length)),
            end => Err(StoreErrorKind::Truncated { bytes, expected: end.unwrap_or(u64::MAX) }),
        };
        self.read(name, range).map_err(|cause| self.error(name, Operation::GetRange, cause))
    }

    fn stat(&self, name: &Name) -> Result<Option<Stat>, StoreError> {
        self.object_status(name).map_err(|cause| self.error(name, Operation::Stat, cause))
    }

    fn list(&self, directory: &Directory) -> Result<Vec<Listed>, StoreError> {
        self.list_objects(directory).map_err(|cause| self.error(directory, Operation::List, cause))
    }

    fn refresh(&self, directory: &Directory) -> Result<(), StoreError> {
        self.touch(directory).map_err(|cause| self.error(directory, Operation::Refresh, cause))
    }

    fn delete(&self, name: &Name) -> Result<Deleted, StoreError> {
        self.remove(name).map_err(|cause| self.error(name, Operation::Delete, cause))
    }

    fn temporaries(&self, directory: &Directory) -> Result<Vec<Temporary>, StoreError> {
        self.list_temporaries(directory).map_err(|cause| self.error(directory, Operation::Temporaries, cause))
    }

    fn remove_temporary(&self, temporary: &Temporary) -> Result<Deleted, StoreError> {
        self.open_directory(&temporary.directory)
            .and_then(|directory| self.unlink(directory.as_fd(), &temporary.leaf))
            .map_err(|cause| self.error(temporary, Operation::RemoveTemporary, cause))
    }
}

/// A file that has no object's name yet, and is removed if it does not get one. A link leaves it behind, too.
struct TemporaryFile<'a> {
    calls: &'a dyn Calls,
    directory: BorrowedFd<'a>,
    name: String,
}

impl TemporaryFile<'_> {
    fn rename_if_free(&mut self, leaf: &str) -> io::Result<()> {
        self.calls.rename_if_free(self.directory, &self.name, leaf)?;
        // Nothing stands under it any more.
        self.name.clear();
        Ok(())
    }

    fn link(&self, leaf: &str) -> io::Result<()> {
        self.calls.link(self.directory, &self.name, leaf)
    }
}

impl Drop for TemporaryFile<'_> {
    fn drop(&mut self) {
        let name = mem::take(&mut self.name);
        if !name.is_empty() {
            // What stays is told by its name, and prune removes it.
            let _ = self.calls.unlink(self.directory, &name);
        }
    }
}

fn error(object: impl fmt::Display, operation: Operation, cause: Cause) -> StoreError {
    StoreError { object: object.to_string(), operation, kind: cause.kind, source: cause.source }
}

fn temporary_name() -> Result<String, Cause> {
    use fmt::Write as _;
    let random: [u8; TEMPORARY_RANDOM_BYTES] = id::random_bytes()
        .map_err(|error| Cause { source: Some(io::Error::other(error)), ..StoreErrorKind::NoRandom.into() })?;
    Ok(random.iter().fold(TEMPORARY_PREFIX.to_owned(), |mut name, byte| {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
        name
    }))
}

/// Length of an object in bytes, if it is one.
fn object_bytes(status: &fs::Stat) -> Result<u64, StoreErrorKind> {
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => u64::try_from(status.st_size).map_err(|_| StoreErrorKind::NotAnObject),
        _ => Err(StoreErrorKind::NotAnObject),
    }
}

/// When a file was last written to; a time that has no text form counts as the nearest one that has.
fn modified(status: &fs::Stat) -> Timestamp {
    let seconds = u64::try_from(status.st_mtime).unwrap_or(0);
    let micros = seconds.saturating_mul(1_000_000).saturating_add(status.st_mtime_nsec / 1000);
    Timestamp::from_micros(micros).unwrap_or(LAST_MOMENT)
}

/// Whether a file begins with these bytes; its length has been compared.
fn same_bytes(file: &File, parts: &[&[u8]]) -> io::Result<bool> {
    let mut read = vec![0; PIECE_BYTES];
    let mut offset = 0;
    for piece in parts.iter().flat_map(|part| part.chunks(PIECE_BYTES)) {
        let Some(read) = read.get_mut(..piece.len()) else { return Ok(false) };
        match file.read_exact_at(read, offset) {
            Err(cut) if cut.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        if read != piece {
            return Ok(false);
        }
        offset += piece.len() as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
