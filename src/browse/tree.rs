//! A directory into which untrusted names are written, and out of which none of them leads.
//!
//! Every directory on the way is opened by its name from the one before, and never through a link; what is made is made
//! anew, never opened if it is there. So neither `..`, nor a link that the archive or somebody else planted, nor a
//! device in a directory's place is ever followed. What this process made itself it may replace; other files only if it
//! is told to, and directories never.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::browse::extract::Overwrite;
use crate::browse::order::names;
use crate::limits::EXTRACT_DEPTH_MAX;

/// What is opened to stand in it.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The first bytes of a path's digest, which stand for the path.
type PathDigest = [u8; 16];

fn digest(path: &[u8]) -> PathDigest {
    let mut short = PathDigest::default();
    short.iter_mut().zip(blake3::hash(path).as_bytes()).for_each(|(to, from)| *to = *from);
    short
}

/// What a node is made as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Fifo,
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
}

/// What can be set of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Attributes {
    /// Owner and group, where they are to be set.
    pub owner: Option<(u32, u32)>,
    /// Permission bits, special ones included.
    pub mode: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The directory.
pub(super) struct Tree {
    root: OwnedFd,
    overwrite: Overwrite,
    /// The directories on the way to the last file, open.
    way: Vec<(Vec<u8>, OwnedFd)>,
    /// What this process made, directories included.
    made: HashSet<PathDigest>,
}

impl Tree {
    /// The directory of this path, which is made if the one above it exists.
    pub(super) fn open(path: &std::path::Path, overwrite: Overwrite) -> io::Result<Self> {
        match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        // The person who gave this path may have put links into it.
        let root = rustix::fs::openat(CWD, path, DIRECTORY.difference(OFlags::NOFOLLOW), Mode::empty())?;
        Ok(Self { root, overwrite, way: Vec::new(), made: HashSet::new() })
    }

    /// Whether this process made it.
    pub(super) fn has_made(&self, path: &[u8]) -> bool {
        self.made.contains(&digest(path))
    }

    /// Makes a directory. It is no error if there is one; says whether its attributes are ours to set.
    pub(super) fn directory(&mut self, path: &[u8]) -> io::Result<bool> {
        let made = self.make(path, |parent, name| rustix::fs::mkdirat(parent, name, Mode::RWXU));
        match made {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.enter(path)?;
                Ok(self.has_made(path) || self.overwrite == Overwrite::Replace)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes an empty file that only its owner can read.
    pub(super) fn file(&mut self, path: &[u8]) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = None;
        self.make(path, |parent, name| {
            file = Some(rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?);
            Ok(())
        })?;
        file.map(File::from).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Makes a symbolic link, which may say anything.
    pub(super) fn symlink(&mut self, path: &[u8], target: &[u8], attributes: &Attributes) -> io::Result<Unset> {
        self.make(path, |parent, name| rustix::fs::symlinkat(target, parent, name))?;
        let (parent, name) = self.parent(path)?;
        let mut unset = Unset::default();
        unset.owner(attributes, |uid, gid| rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW));
        unset.note("its time", rustix::fs::utimensat(parent, name, &times(attributes), AtFlags::SYMLINK_NOFOLLOW));
        Ok(unset)
    }

    /// Makes a FIFO or a device.
    pub(super) fn node(&mut self, path: &[u8], node: Node, attributes: &Attributes) -> io::Result<Unset> {
        let (kind, device) = match node {
            Node::Fifo => (FileType::Fifo, 0),
            Node::CharDevice(major, minor) => (FileType::CharacterDevice, rustix::fs::makedev(major, minor)),
            Node::BlockDevice(major, minor) => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
        };
        self.make(path, |parent, name| rustix::fs::mknodat(parent, name, kind, Mode::empty(), device))?;
        let (parent, name) = self.parent(path)?;
        // Without opening what it stands for.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&handle)?.st_mode) != kind {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let by_handle = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let mut unset = Unset::default();
        unset.owner(attributes, |uid, gid| rustix::fs::chownat(&handle, "", uid, gid, AtFlags::EMPTY_PATH));
        for (name, value) in &attributes.xattrs {
            let set = rustix::fs::setxattr(&by_handle, name.as_slice(), value, XattrFlags::empty());
            unset.attribute(name, set);
        }
        let mode = Mode::from_raw_mode(unset.mode(attributes));
        unset.note("its mode", rustix::fs::chmodat(CWD, &by_handle, mode, AtFlags::empty()));
        unset.note("its time", rustix::fs::utimensat(CWD, &by_handle, &times(attributes), AtFlags::empty()));
        Ok(unset)
    }

    /// Gives what this process made at one path another name.
    pub(super) fn hard_link(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        let (parent, name) = self.parent(target)?;
        let (parent, name) = (parent.try_clone_to_owned()?, name.to_vec());
        self.make(path, |to, to_name| rustix::fs::linkat(&parent, name.as_slice(), to, to_name, AtFlags::empty()))
    }

    /// Takes away a file that this process has made and could not finish.
    pub(super) fn take_away(&mut self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
        self.made.remove(&digest(path));
        Ok(())
    }

    /// Sets what a directory has besides its contents.
    pub(super) fn finish_directory(&mut self, path: &[u8], attributes: &Attributes) -> io::Result<Unset> {
        // It may be closed to its owner now, and what is open stands in nobody's way.
        self.way.clear();
        let (parent, name) = self.parent(path)?;
        let directory = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?;
        self.way.clear();
        Ok(finish(directory.as_fd(), attributes))
    }

    /// Makes something that must not be there, or, if it may be replaced, in its place.
    fn make(
        &mut self,
        path: &[u8],
        mut make: impl FnMut(BorrowedFd<'_>, &[u8]) -> Result<(), Errno>,
    ) -> io::Result<()> {
        let is_ours = self.has_made(path);
        let may_replace = is_ours || self.overwrite == Overwrite::Replace;
        let (parent, name) = self.parent(path)?;
        match make(parent, name) {
            Err(Errno::EXIST) if may_replace => {
                // Fails for a directory, which stays.
                match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
                    Ok(()) => make(parent, name)?,
                    Err(Errno::ISDIR | Errno::PERM) => return Err(Errno::EXIST.into()),
                    Err(error) => return Err(error.into()),
                }
            }
            other => other?,
        }
        self.made.insert(digest(path));
        Ok(())
    }

    /// The open directory that a path is in, and its last name.
    fn parent<'p>(&mut self, path: &'p [u8]) -> io::Result<(BorrowedFd<'_>, &'p [u8])> {
        let name = names(path).last().filter(|name| is_name(name)).ok_or(io::ErrorKind::InvalidInput)?;
        let above = path.get(..path.len() - name.len()).unwrap_or_default();
        let parent = self.enter(above)?;
        Ok((parent, name))
    }

    /// Opens a directory by the names of the path, making those that are not there.
    fn enter(&mut self, path: &[u8]) -> io::Result<BorrowedFd<'_>> {
        if names(path).count() > EXTRACT_DEPTH_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        let common = self.way.iter().zip(names(path)).take_while(|((open, _), name)| open == name).count();
        self.way.truncate(common);
        let mut so_far: Vec<u8> = names(path).take(common).collect::<Vec<_>>().join(&b'/');
        for name in names(path).skip(common) {
            if !is_name(name) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            if !so_far.is_empty() {
                so_far.push(b'/');
            }
            so_far.extend_from_slice(name);
            let parent = self.way.last().map_or(self.root.as_fd(), |(_, directory)| directory.as_fd());
            let directory = match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
                    self.made.insert(digest(&so_far));
                    rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?
                }
                // What the kernel says of a link here depends on its kind.
                Err(Errno::LOOP | Errno::NOTDIR) => return Err(Errno::NOTDIR.into()),
                other => other?,
            };
            self.way.push((name.to_vec(), directory));
        }
        Ok(self.way.last().map_or(self.root.as_fd(), |(_, directory)| directory.as_fd()))
    }
}

/// Whether the kernel takes it for one name in a directory and nothing else.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name != b"." && name != b".." && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// What could not be set of a file.
#[derive(Debug, Default)]
pub(super) struct Unset {
    /// The owner, for want of permission.
    pub owner: bool,
    /// What else, in words.
    pub others: Vec<String>,
}

impl Unset {
    fn owner(&mut self, attributes: &Attributes, set: impl FnOnce(Option<Uid>, Option<Gid>) -> Result<(), Errno>) {
        let Some((uid, gid)) = attributes.owner else { return };
        match set(Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
            Ok(()) => {}
            Err(Errno::PERM) => self.owner = true,
            Err(error) => self.note("its owner", Err(error)),
        }
    }

    fn note(&mut self, what: &str, set: Result<(), Errno>) {
        if let Err(error) = set {
            self.others.push(format!("{what} cannot be set: {}", io::Error::from(error)));
        }
    }

    fn attribute(&mut self, name: &[u8], set: Result<(), Errno>) {
        self.note(&format!("its attribute {}", crate::tar::display(name)), set);
    }

    /// A program that gets its owner's rights must not get those of another owner.
    fn mode(&self, attributes: &Attributes) -> u32 {
        let kept = if self.owner || attributes.owner.is_none() { 0o1777 } else { 0o7777 };
        attributes.mode & kept
    }
}

/// Sets everything of an open file or directory, in the order in which nothing undoes another: a change of the owner
/// takes capabilities and special bits away, and a list changes the mode.
pub(super) fn finish(file: BorrowedFd<'_>, attributes: &Attributes) -> Unset {
    let mut unset = Unset::default();
    unset.owner(attributes, |uid, gid| rustix::fs::fchown(file, uid, gid));
    for (name, value) in &attributes.xattrs {
        unset.attribute(name, rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()));
    }
    let mode = Mode::from_raw_mode(unset.mode(attributes));
    unset.note("its mode", rustix::fs::fchmod(file, mode));
    unset.note("its time", rustix::fs::futimens(file, &times(attributes)));
    unset
}

fn times(attributes: &Attributes) -> Timestamps {
    let (tv_sec, nanos) = attributes.mtime;
    let time = Timespec { tv_sec, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}
