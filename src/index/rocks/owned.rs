//! Who may write an index directory, and where everybody else keeps what is theirs.
//!
//! Locks belong to open files, so that they end with their process, however it ends. Knows nothing of what is kept.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::id::random_bytes;
use crate::limits::LOOK_AGAIN_MAX;

const SCRATCH: &str = "scratch-";
const SCRATCH_LOCK: &str = ".lock";

/// A lock that is held.
#[derive(Debug)]
pub(super) struct Lock {
    _held: File,
}

impl Lock {
    /// Takes the lock; nothing if another process, or another part of this one, has it. Never waits.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        for _ in 0..LOOK_AGAIN_MAX {
            let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(refused) => return Err(refused.into()),
            }
            // Who tidied the file away between the two calls has left a lock that nobody else can see.
            if file.metadata()?.nlink() > 0 {
                return Ok(Some(Self { _held: file }));
            }
        }
        Ok(None)
    }
}

/// Makes a directory that only its owner can enter, with those above it; one that exists is fine.
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes a directory with all it holds; that it does not exist is fine.
pub(super) fn remove_dir(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A directory of this process beside the index; it goes with this value.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: Lock,
}

impl Scratch {
    /// Makes one in `dir`. Its lock stands beside it and is there first, so that no directory is ever without.
    pub fn make(dir: &Path) -> io::Result<Self> {
        for _ in 0..LOOK_AGAIN_MAX {
            let random = u64::from_le_bytes(random_bytes().map_err(io::Error::other)?);
            let path = dir.join(format!("{SCRATCH}{random:016x}"));
            let lock_path = dir.join(format!("{SCRATCH}{random:016x}{SCRATCH_LOCK}"));
            if let Some(lock) = Lock::take(&lock_path)? {
                make_dir(&path)?;
                return Ok(Self { path, lock_path, _lock: lock });
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes those in `dir` whose processes are gone.
    pub fn clear(dir: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let lock_path = entry?.path();
            let name = lock_path.file_name().and_then(|name| name.to_str());
            let stem = name.and_then(|name| name.strip_suffix(SCRATCH_LOCK)).filter(|stem| stem.starts_with(SCRATCH));
            let Some(path) = stem.map(|stem| dir.join(stem)) else { continue };
            if let Some(lock) = Lock::take(&lock_path)? {
                drop(Self { path, lock_path, _lock: lock });
            }
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now, the next process that writes the index removes.
        if remove_dir(&self.path).is_ok() {
            let _ = std::fs::remove_file(&self.lock_path);
        }
    }
}
