//! Where objects live: a small port, its contract, and what can go wrong with it.
//!
//! A store keeps sealed bytes under opaque names and knows the meaning of neither. Objects are immutable: they appear
//! whole, are never replaced, and go whole. Everything that the protocol of `format-spec/concurrency.md` takes for
//! granted is written on [`Store`], described for every kind of store in `format-spec/store.md`, and held by the suite
//! in `conformance`, which every adapter runs. Nothing is repeated here: an operation is sent once.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(any(test, feature = "testing"))]
pub mod crash;
#[cfg(any(test, feature = "testing"))]
pub mod fault;
mod local;
mod memory;
mod name;
#[cfg(any(test, feature = "testing"))]
pub mod record;
mod watched;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use crate::clock::Timestamp;
use crate::id::{self, RandomError};
use crate::limits::LOOK_AGAIN_MAX;

#[cfg(any(test, feature = "testing"))]
pub use local::power;
pub use local::{Capacity, FileSystem, LocalStore};
pub use memory::MemoryStore;
pub use name::{Directory, Name, NameError};
pub use watched::{Pending, Unanswered, WatchedStore};

/// A place for immutable objects, shared by any number of threads, processes and hosts.
///
/// The contract, which the callers' safety rests on:
///
/// - **Atomic.** An object is there whole or not at all, for every reader at every moment, also after a crash.
/// - **Durable.** What [`put`](Self::put), [`delete`](Self::delete) and [`make_directory`](Self::make_directory)
///   answered with `Ok` stays true after a crash of the machine, whichever answer it was.
/// - **Never replaced.** A name that is taken keeps its bytes until it is deleted. Of several puts of different bytes
///   under one name one wins, and every other is told.
/// - **An error is no verdict.** After an error of a put or a delete nobody knows whether it took effect, now or later.
/// - **Absence is certain.** "Not there" is said only if the store said so; whatever else kept the store from looking
///   is another [`StoreErrorKind`]. A directory that is missing makes nothing absent: that is an error of its own, or a
///   damaged store would look like an empty one.
pub trait Store: Send + Sync {
    /// What to call the store in messages: a path or an address.
    fn description(&self) -> String;

    /// Makes `directory`, and those above it, where they do not exist. Objects can be put, found and listed only in a
    /// directory that was made; putting never makes one. Stores without directories have nothing to do.
    fn make_directory(&self, directory: &Directory) -> Result<(), StoreError>;

    /// Creates the object `name` from the bytes of `parts`, one after the other, if the name is free.
    ///
    /// `Created` if the object now holds these very bytes, and `Exists` if it holds others, which stay. An object that
    /// held the same bytes before counts as created: after a lost answer nobody, least of all a server, can tell the
    /// two apart. Either answer is durable.
    fn put(&self, name: &Name, parts: &[&[u8]]) -> Result<Put, StoreError>;

    /// Reads a whole object of at most `bytes_max` bytes. A larger one is [`StoreErrorKind::TooLarge`], and nothing of
    /// it is read; an absent one is [`StoreErrorKind::NotFound`].
    fn get(&self, name: &Name, bytes_max: usize) -> Result<Vec<u8>, StoreError>;

    /// Reads exactly `length` bytes from `offset`. An object that ends before is [`StoreErrorKind::Truncated`].
    fn get_range(&self, name: &Name, offset: u64, length: usize) -> Result<Vec<u8>, StoreError>;

    /// Size and time of an object; `None` if it is not there.
    fn stat(&self, name: &Name) -> Result<Option<Stat>, StoreError>;

    /// The objects of a directory, sorted by name, without its sub-directories and without temporary files.
    ///
    /// Every object that was there from the beginning to the end is listed, never a part of them without an error. What
    /// appears or goes meanwhile may be listed or not. On a store with stale listings "was there" means: since at least
    /// the settle time; see [`refresh`](Self::refresh).
    fn list(&self, directory: &Directory) -> Result<Vec<Listed>, StoreError>;

    /// Makes this host forget what it remembers of a directory's listing, by a change of its own to it. Where listings
    /// can be stale the protocol asks for this before it lists; a store whose listings cannot be has nothing to do.
    fn refresh(&self, directory: &Directory) -> Result<(), StoreError>;

    /// Removes an object. `Absent` is no error, and as durable as `Removed`.
    fn delete(&self, name: &Name) -> Result<Deleted, StoreError>;

    /// What crashed puts left behind in a directory. A put that is under way looks the same: only age tells.
    fn temporaries(&self, directory: &Directory) -> Result<Vec<Temporary>, StoreError>;

    /// Removes a temporary file. If its put is still under way, that put fails and nothing else happens.
    fn remove_temporary(&self, temporary: &Temporary) -> Result<Deleted, StoreError>;
}

/// What a put found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Put {
    /// The object holds the bytes that were put.
    Created,
    /// The name was taken by other bytes, which are still there.
    Exists,
}

/// What a delete found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// The object was there.
    Removed,
    /// There was no such object.
    Absent,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was written, by the store's own clock, which only compares with other times of the same store.
    pub modified: Timestamp,
}

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The object's name.
    pub name: Name,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A file that a put made before its object had a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Temporary {
    directory: Directory,
    leaf: String,
    /// Its length in bytes so far.
    pub bytes: u64,
    /// When it was last written to, by the store's own clock.
    pub modified: Timestamp,
}

impl fmt::Display for Temporary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.directory.join(&self.leaf))
    }
}

/// An operation on a store failed.
#[derive(Debug, thiserror::Error)]
#[error("Cannot {operation} {object}: {kind}")]
pub struct StoreError {
    /// Full path or address of what it was about.
    pub object: String,
    /// What was to be done.
    pub operation: Operation,
    /// Why it failed.
    pub kind: StoreErrorKind,
    /// The operating system's own words, where it was asked.
    pub source: Option<io::Error>,
}

impl StoreError {
    /// An error that the store itself found.
    pub fn new(object: impl fmt::Display, operation: Operation, kind: StoreErrorKind) -> Self {
        Self { object: object.to_string(), operation, kind, source: None }
    }

    /// An error that the operating system reported.
    pub fn from_io(object: impl fmt::Display, operation: Operation, source: io::Error) -> Self {
        let kind = StoreErrorKind::of(&source);
        Self { object: object.to_string(), operation, kind, source: Some(source) }
    }
}

/// Why an operation failed. The program's advice and its exit codes depend on this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store said that there is no such object, and nothing else.
    #[error("it is not there")]
    NotFound,
    /// The directory in which it would stand is missing: not a repository, or a damaged one.
    #[error("its directory is missing")]
    DirectoryMissing,
    /// The store's root was removed, replaced or unmounted since it was opened.
    #[error("the store's directory was removed, replaced or unmounted since it was opened")]
    StoreGone,
    /// Something that should be a directory is not.
    #[error("it is not a directory")]
    NotADirectory,
    /// A new store needs an empty directory; this one holds something.
    #[error("it is not empty, it holds {found:?}")]
    NotEmpty {
        /// One of the names in it.
        found: String,
    },
    /// The name belongs to a directory, a symbolic link or a device.
    #[error("it is not a regular file")]
    NotAnObject,
    /// The object is larger than its reader accepts.
    #[error("it has {bytes} bytes, more than the {bytes_max} that such an object may have")]
    TooLarge {
        /// Its length in bytes.
        bytes: u64,
        /// The most that was accepted.
        bytes_max: u64,
    },
    /// The object ends before the last byte that was asked for.
    #[error("it has {bytes} bytes where {expected} are needed")]
    Truncated {
        /// Its length in bytes.
        bytes: u64,
        /// The length it would need.
        expected: u64,
    },
    /// This user may not do that.
    #[error("permission denied")]
    PermissionDenied,
    /// The store cannot be written to.
    #[error("the file system is read-only")]
    ReadOnly,
    /// The disk or the quota is full.
    #[error("no space is left")]
    NoSpace,
    /// The server no longer knows what was open.
    #[error("the file handle is stale")]
    Stale,
    /// The server or the process behind the mount does not answer.
    #[error("the store cannot be reached")]
    Unreachable,
    /// The store has no way to create an object only if its name is free.
    #[error("this file system can neither link nor rename without replacing")]
    Unsupported,
    /// A sync of a directory failed earlier: what the kernel says about later ones is worth nothing.
    #[error("an earlier sync of this store failed, so nothing more is written to it before it is opened again")]
    Untrusted,
    /// Somebody took the put's temporary file for a dead one and removed it.
    #[error("its temporary file was removed while it was written")]
    TemporaryGone,
    /// The operating system gave no random bytes for a temporary name.
    #[error("there are no random bytes")]
    NoRandom,
    /// Anything else, a failing disk for instance.
    #[error("input/output error")]
    Io,
}

impl StoreErrorKind {
    /// What an error of the operating system means.
    pub fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::NOENT) => Self::NotFound,
            Some(Errno::ACCESS | Errno::PERM) => Self::PermissionDenied,
            Some(Errno::ROFS) => Self::ReadOnly,
            Some(Errno::NOSPC | Errno::DQUOT) => Self::NoSpace,
            Some(Errno::STALE) => Self::Stale,
            Some(Errno::NOTDIR) => Self::NotADirectory,
            Some(Errno::ISDIR | Errno::LOOP | Errno::NXIO) => Self::NotAnObject,
            Some(
                Errno::TIMEDOUT
                | Errno::NOTCONN
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::CONNREFUSED
                | Errno::CONNRESET
                | Errno::CONNABORTED,
            ) => Self::Unreachable,
            _ => Self::Io,
        }
    }
}

/// What was asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Operation {
    /// Opening a store.
    #[error("open the store")]
    Open,
    /// Making a new store.
    #[error("make a store in")]
    Create,
    /// Asking for free space.
    #[error("ask for the free space of")]
    Capacity,
    /// [`Store::make_directory`].
    #[error("make the directory")]
    MakeDirectory,
    /// [`Store::put`].
    #[error("store")]
    Put,
    /// [`Store::get`].
    #[error("read")]
    Get,
    /// [`Store::get_range`].
    #[error("read a part of")]
    GetRange,
    /// [`Store::stat`].
    #[error("look up")]
    Stat,
    /// [`Store::list`].
    #[error("list")]
    List,
    /// [`Store::refresh`].
    #[error("refresh the listing of")]
    Refresh,
    /// [`Store::delete`].
    #[error("delete")]
    Delete,
    /// [`Store::temporaries`].
    #[error("look for temporary files in")]
    Temporaries,
    /// [`Store::remove_temporary`].
    #[error("remove the temporary file")]
    RemoveTemporary,
}

/// Lists a small directory until two listings agree, because some servers skip an entry while others are removed.
///
/// If it never stands still, everything seen is returned: a name that is gone by now is one that the reader finds
/// absent.
pub fn list_settled(store: &dyn Store, directory: &Directory) -> Result<Vec<Listed>, StoreError> {
    settled(|| store.list(directory))
}

fn settled(mut look: impl FnMut() -> Result<Vec<Listed>, StoreError>) -> Result<Vec<Listed>, StoreError> {
    let mut last = look()?;
    let mut union = BTreeMap::new();
    for _ in 0..LOOK_AGAIN_MAX {
        let next = look()?;
        if next == last {
            return Ok(next);
        }
        union.extend(last.into_iter().map(|one| (one.name, one.bytes)));
        last = next;
    }
    union.extend(last.into_iter().map(|one| (one.name, one.bytes)));
    Ok(union.into_iter().map(|(name, bytes)| Listed { name, bytes }).collect())
}

/// Whether a store can create an object only if its name is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateIfAbsent {
    /// Of two creations the second was refused, and the bytes are the first's.
    Works,
    /// The second was not refused, or replaced the first.
    Missing,
}

/// Creates one random name in `directory` twice, looks who won, and removes it again (`format-spec/store.md`, "Create
/// if absent").
pub fn probe_create_if_absent(store: &dyn Store, directory: &Directory) -> Result<CreateIfAbsent, StoreError> {
    let (id, first, second) = probe_bytes().map_err(|error| {
        let object = format!("{}/{directory}", store.description());
        StoreError {
            source: Some(io::Error::other(error)),
            ..StoreError::new(object, Operation::Put, StoreErrorKind::NoRandom)
        }
    })?;
    let name = directory.id(&id);
    let found = probe(store, &name, &first, &second);
    let deleted = store.delete(&name);
    match found {
        Err(error) if error.kind == StoreErrorKind::Unsupported => Ok(CreateIfAbsent::Missing),
        Err(error) => Err(error),
        Ok(found) => deleted.map(|_| found),
    }
}

fn probe(store: &dyn Store, name: &Name, first: &[u8], second: &[u8]) -> Result<CreateIfAbsent, StoreError> {
    let puts = (store.put(name, &[first])?, store.put(name, &[second])?);
    let kept = store.get(name, first.len().max(second.len()))?;
    let works = puts == (Put::Created, Put::Exists) && kept == first;
    Ok(if works { CreateIfAbsent::Works } else { CreateIfAbsent::Missing })
}

type ProbeBytes = [u8; id::ID_BYTES];

fn probe_bytes() -> Result<(ProbeBytes, ProbeBytes, ProbeBytes), RandomError> {
    Ok((id::random_bytes()?, id::random_bytes()?, id::random_bytes()?))
}

/// Bytes of several parts together.
fn total_bytes(parts: &[&[u8]]) -> u64 {
    parts.iter().map(|part| part.len() as u64).sum()
}

/// Forwards every operation, so that a store can be borrowed, boxed or shared.
macro_rules! forward {
    ($($pointer:ty),*) => { $(
        impl<S: Store + ?Sized> Store for $pointer {
            fn description(&self) -> String {
                (**self).description()
            }
            fn make_directory(&self, directory: &Directory) -> Result<(), StoreError> {
                (**self).make_directory(directory)
            }
            fn put(&self, name: &Name, parts: &[&[u8]]) -> Result<Put, StoreError> {
                (**self).put(name, parts)
            }
            fn get(&self, name: &Name, bytes_max: usize) -> Result<Vec<u8>, StoreError> {
                (**self).get(name, bytes_max)
            }
            fn get_range(&self, name: &Name, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
                (**self).get_range(name, offset, length)
            }
            fn stat(&self, name: &Name) -> Result<Option<Stat>, StoreError> {
                (**self).stat(name)
            }
            fn list(&self, directory: &Directory) -> Result<Vec<Listed>, StoreError> {
                (**self).list(directory)
            }
            fn refresh(&self, directory: &Directory) -> Result<(), StoreError> {
                (**self).refresh(directory)
            }
            fn delete(&self, name: &Name) -> Result<Deleted, StoreError> {
                (**self).delete(name)
            }
            fn temporaries(&self, directory: &Directory) -> Result<Vec<Temporary>, StoreError> {
                (**self).temporaries(directory)
            }
            fn remove_temporary(&self, temporary: &Temporary) -> Result<Deleted, StoreError> {
                (**self).remove_temporary(temporary)
            }
        }
    )* };
}

forward!(&S, Box<S>, Arc<S>);

#[cfg(test)]
mod tests;
