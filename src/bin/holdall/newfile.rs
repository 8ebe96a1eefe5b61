//! A new file that appears whole or not at all: written under a temporary name beside its place, synced, and only then
//! given its name.
//!
//! If the program fails, is interrupted or panics before, nothing is left. Only the owner can read it, for exports hold
//! whole systems and key files hold keys.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat, renameat_with};
use rustix::io::Errno;

use crate::error::{CliError, Code};
use crate::interrupt::{self, Undone};

/// So many files that killed programs left behind are passed over.
const LEFT_BEHIND_MAX: usize = 100;

/// What to do with a file that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and that is an error.
    Keep,
    /// A regular file is replaced.
    Replace,
}

/// A file on its way to its name.
pub struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    existing: Existing,
    undone: Option<Undone>,
}

impl NewFile {
    /// Begins a file. Refuses at once what it would have to refuse at the end.
    pub fn create(path: &Path, existing: Existing) -> Result<Self, CliError> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => {
                return Err(CliError::new(Code::Taken, format!("{} is a directory", path.display()))
                    .hint("give the file a name in it"));
            }
            Ok(found) if existing == Existing::Replace && !found.is_file() => {
                return Err(CliError::new(Code::Taken, format!("{} is not a regular file", path.display()))
                    .hint("write to - and redirect it there"));
            }
            Ok(_) if existing == Existing::Keep => return Err(exists(path)),
            _ => {}
        }
        let name = path.file_name().ok_or_else(|| {
            CliError::new(Code::Usage, format!("{} does not end with the name of a file", path.display()))
        })?;
        let mut left = LEFT_BEHIND_MAX;
        loop {
            let mut hidden = OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".holdall-{}", std::process::id()));
            if left < LEFT_BEHIND_MAX {
                hidden.push(format!("-{}", LEFT_BEHIND_MAX - left));
            }
            let temporary = path.with_file_name(hidden);
            let undone = Some(interrupt::removes(temporary.clone()));
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
            match file {
                Ok(file) => return Ok(Self { path: path.to_owned(), temporary, file, existing, undone }),
                // A killed program that had the same process id, or one on another host that has it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && left > 0 => left -= 1,
                Err(error) => return Err(CliError::io(path.display(), "create", &error)),
            }
        }
    }

    /// Makes it durable and gives it its name.
    pub fn publish(mut self) -> Result<(), CliError> {
        self.file.sync_all().map_err(|error| CliError::io(self.path.display(), "write", &error))?;
        match self.rename() {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(exists(&self.path)),
            Err(errno) => return Err(CliError::io(self.path.display(), "name", &errno.into())),
        }
        // Its name is another now, and stays.
        self.undone = None;
        self.temporary.clear();
        let above = self.path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let synced = File::open(above).and_then(|above| above.sync_all());
        synced.map_err(|error| CliError::io(above.display(), "sync the directory", &error))
    }

    fn rename(&self) -> rustix::io::Result<()> {
        if self.existing == Existing::Replace {
            return renameat(CWD, &self.temporary, CWD, &self.path);
        }
        match renameat_with(CWD, &self.temporary, CWD, &self.path, RenameFlags::NOREPLACE) {
            // Some file systems can only link without replacing, which leaves the other name to be removed.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::link(&self.temporary, &self.path)?;
                rustix::fs::unlink(&self.temporary)
            }
            other => other,
        }
    }
}

fn exists(path: &Path) -> CliError {
    CliError::new(Code::Taken, format!("{} exists already and is not replaced", path.display()))
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.temporary.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_program_with_the_same_process_id_left_is_in_nobodys_way() {
        let directory = std::env::temp_dir().join(format!("holdall-newfile-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("out");
        let begin = || NewFile::create(&path, Existing::Keep).unwrap_or_else(|_| panic!("it is in the way"));
        // Both are at work, and one of them is the killed one's.
        let (mut left, mut file) = (begin(), begin());
        left.write_all(b"half of").unwrap();
        file.write_all(b"whole").unwrap();
        file.publish().unwrap_or_else(|_| panic!("it has a name of its own"));
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        drop(left);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
