//! The system calls that change a directory, as a port of their own.
//!
//! Nothing else in `local` changes the disk. Tests put a recorder in this place that fails the n-th call, and work out
//! from the order of calls what a crash could leave behind.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::retry_on_intr;

/// Changes to files in open directories. A call that gives a name to something, or takes one away, is never repeated by
/// itself: after an error nobody knows whether it took effect.
pub(super) trait Calls: fmt::Debug + Send + Sync {
    /// Creates a file that must not exist, for writing.
    fn create(&self, directory: BorrowedFd<'_>, name: &str) -> io::Result<File>;
    /// Writes some bytes from the beginning of `slices`, and says how many.
    fn write(&self, file: &File, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Whether what is written to a new file goes through the kernel's cache.
    fn set_cached(&self, file: &File, is_cached: bool) -> io::Result<()>;
    /// Makes a file's bytes, or a directory's names, survive a crash.
    fn sync(&self, file_or_directory: BorrowedFd<'_>) -> io::Result<()>;
    /// Gives the file another name in the same directory, if that is free.
    fn rename_if_free(&self, directory: BorrowedFd<'_>, from: &str, to: &str) -> io::Result<()>;
    /// Gives the file one more name in the same directory, if that is free.
    fn link(&self, directory: BorrowedFd<'_>, from: &str, to: &str) -> io::Result<()>;
    /// Takes a file's name away.
    fn unlink(&self, directory: BorrowedFd<'_>, name: &str) -> io::Result<()>;
    /// Makes a directory that its owner alone may use.
    fn make_directory(&self, directory: BorrowedFd<'_>, name: &str) -> io::Result<()>;
}

/// The real ones.
#[derive(Debug)]
pub(super) struct Kernel;

/// Who made an object may still read it only; nobody may change it. The bytes are sealed, so that others may read them.
const OBJECT_MODE: Mode = Mode::from_raw_mode(0o444);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o700);

impl Calls for Kernel {
    fn create(&self, directory: BorrowedFd<'_>, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = retry_on_intr(|| fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR))?;
        // Whatever the umask is. A guard against accidents, which some file systems cannot give: nothing rests on it.
        let _ = fs::fchmod(&file, OBJECT_MODE);
        Ok(File::from(file))
    }

    fn write(&self, file: &File, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(retry_on_intr(|| rustix::io::writev(file, slices))?)
    }

    fn set_cached(&self, file: &File, is_cached: bool) -> io::Result<()> {
        Ok(fs::fcntl_setfl(file, if is_cached { OFlags::empty() } else { OFlags::DIRECT })?)
    }

    fn sync(&self, file_or_directory: BorrowedFd<'_>) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::fsync(file_or_directory))?)
    }

    fn rename_if_free(&self, directory: BorrowedFd<'_>, from: &str, to: &str) -> io::Result<()> {
        Ok(fs::renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE)?)
    }

    fn link(&self, directory: BorrowedFd<'_>, from: &str, to: &str) -> io::Result<()> {
        Ok(fs::linkat(directory, from, directory, to, AtFlags::empty())?)
    }

    fn unlink(&self, directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(directory, name, AtFlags::empty())?)
    }

    fn make_directory(&self, directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        fs::mkdirat(directory, name, DIRECTORY_MODE)?;
        // Only an odd umask makes a difference, and then the next step says what is wrong.
        let _ = fs::chmodat(directory, name, DIRECTORY_MODE, AtFlags::empty());
        Ok(())
    }
}
