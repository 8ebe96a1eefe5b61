//! Files of a point, made anew in a directory.
//!
//! What the archive says is carried out member by member, and of several with one path the last counts. Hard links come
//! last: where the file that they name is not among what was asked for, its contents are fetched for the first of them.
//! Modes and times of directories come after everything in them. What cannot be done for one file is told and does not
//! keep others from being made.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::Path;

use crate::browse::order::{inside, join, normal};
use crate::browse::plan::{Plan, Scope, plan};
use crate::browse::region::{BrowseError, Region, archive_path, base};
use crate::browse::tree::{Attributes, Node, Tree, Unset, finish};
use crate::browse::walk::{Interest, Piece, Visitor, walk};
use crate::limits::LINK_ROUNDS_MAX;
use crate::monitor::{Event, Monitor, Problem};
use crate::point::Point;
use crate::repo::{Reader, RepoError, Repository};
use crate::tar::{self, ID_UNKNOWN, Member, MemberKind};

/// What becomes of files that are there already and that this extraction has not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// They stay, and each is a problem.
    Never,
    /// All but directories are replaced.
    Replace,
}

/// Whether files get the owners that the archive names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// They do, by number.
    Set,
    /// They belong to whoever runs this.
    Leave,
}

/// How to extract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtractOptions {
    /// What becomes of files that are there.
    pub overwrite: Overwrite,
    /// Whose the files become.
    pub owners: Owners,
}

/// What an extraction came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Files with contents.
    pub files: u64,
    /// Directories that the archive has a member for.
    pub directories: u64,
    /// Symbolic links, hard links, devices and FIFOs.
    pub others: u64,
    /// Bytes of contents, holes included.
    pub bytes: u64,
    /// Files whose owner could not be set for want of permission.
    pub ownerless: u64,
    /// Devices that could not be made for want of permission.
    pub deviceless: u64,
    /// Files that could not be made, or not in full.
    pub problems: u64,
    /// Those among them whose contents are damaged in the repository.
    pub damaged: u64,
}

/// Why an extraction ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The point cannot be looked into, or nothing that was asked for is in it.
    #[error(transparent)]
    Browse(#[from] BrowseError),
    /// The directory cannot be written to.
    #[error("Cannot write to {directory}")]
    Directory {
        /// Its path.
        directory: String,
        /// Why.
        source: io::Error,
    },
}

impl From<RepoError> for ExtractError {
    fn from(error: RepoError) -> Self {
        Self::Browse(error.into())
    }
}

/// Extracts what is at the paths, with everything below it, into a directory, each under its path in the region.
pub fn extract(
    repository: &Repository,
    point: &Point,
    region: &Region,
    paths: &[Vec<u8>],
    to: &Path,
    options: ExtractOptions,
    monitor: &dyn Monitor,
) -> Result<Extracted, ExtractError> {
    let base = base(point, region)?;
    let mut wanted = paths.iter().map(|path| archive_path(&base, path)).collect::<Result<Vec<_>, _>>()?;
    wanted.sort_unstable();
    wanted.dedup();
    let mut reader = Reader::new(repository)?;
    let failed = |source| ExtractError::Directory { directory: to.display().to_string(), source };
    let tree = Tree::open(to, options.overwrite).map_err(failed)?;
    let mut extraction = Extraction {
        base: &base,
        to,
        options,
        monitor,
        tree,
        scope: wanted.iter().map(|path| (path.clone(), None)).collect(),
        // The archive itself is there, whatever its members are called.
        seen: wanted.iter().map(Vec::is_empty).collect(),
        wanted: &wanted,
        directories: BTreeMap::new(),
        links: BTreeMap::new(),
        open: None,
        done: Extracted::default(),
    };
    extraction.all(&mut reader, point)?;
    extraction.report_missing(point)?;
    extraction.all_links(&mut reader, point)?;
    extraction.finish_directories();
    Ok(extraction.done)
}

struct Extraction<'e> {
    base: &'e [u8],
    to: &'e Path,
    options: ExtractOptions,
    monitor: &'e dyn Monitor,
    tree: Tree,
    wanted: &'e [Vec<u8>],
    /// Which of the wanted paths were found.
    seen: Vec<bool>,
    /// Paths in the archive, and where they go if that is not their own place in the region.
    scope: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Attributes that are set last, by path in the region.
    directories: BTreeMap<Vec<u8>, Attributes>,
    /// Hard links that are made last: path in the region, and path in the archive of the file.
    links: BTreeMap<Vec<u8>, Vec<u8>>,
    open: Option<Open>,
    done: Extracted,
}

/// A file that is being written.
struct Open {
    path: Vec<u8>,
    file: File,
    attributes: Attributes,
    bytes: u64,
    /// Why it cannot be finished, once that is so.
    failed: Option<String>,
}

impl Extraction<'_> {
    /// What was asked for, but for hard links.
    fn all(&mut self, reader: &mut Reader<'_>, point: &Point) -> Result<(), ExtractError> {
        let monitor = self.monitor;
        let chosen = plan(reader, point, &Scope::Trees(self.scope.keys().cloned().collect()))?;
        let mut walked = walk(reader, point, &chosen, self, monitor)?;
        if chosen != Plan::All && (!walked.sound || self.seen.contains(&false)) {
            // Everything is made once more, in the archive's own order.
            self.done = Extracted::default();
            walked = walk(reader, point, &Plan::All, self, monitor)?;
        }
        if walked.members == 0 {
            return Err(BrowseError::NotAnArchive { point: point.source.to_string() }.into());
        }
        Ok(())
    }

    fn report_missing(&mut self, point: &Point) -> Result<(), BrowseError> {
        let missing: Vec<String> = self
            .wanted
            .iter()
            .zip(&self.seen)
            .filter(|(_, seen)| !**seen)
            .map(|(path, _)| inside(path, self.base).filter(|inside| !inside.is_empty()).unwrap_or(path))
            .map(|path| tar::display(path).to_string())
            .collect();
        if missing.len() == self.wanted.len() {
            return Err(BrowseError::NoSuchPath { path: missing.join(", "), point: point.source.to_string() });
        }
        for path in missing {
            self.problem(path.as_bytes(), "it is not in the point");
        }
        Ok(())
    }

    /// Makes the hard links. What they name may be a hard link again, or not be among what was asked for.
    fn all_links(&mut self, reader: &mut Reader<'_>, point: &Point) -> Result<(), ExtractError> {
        for _ in 0..LINK_ROUNDS_MAX {
            self.links_to_what_is_there();
            if self.links.is_empty() {
                return Ok(());
            }
            // The first link to each file becomes the file; the others are then linked to it.
            self.scope = BTreeMap::new();
            for (link, target) in &self.links {
                self.scope.entry(target.clone()).or_insert_with(|| Some(link.clone()));
            }
            let first: Vec<(Vec<u8>, Vec<u8>)> =
                self.scope.iter().filter_map(|(target, link)| Some((link.clone()?, target.clone()))).collect();
            for (link, _) in &first {
                self.links.remove(link);
            }
            let monitor = self.monitor;
            let chosen = plan(reader, point, &Scope::Trees(self.scope.keys().cloned().collect()))?;
            let walked = walk(reader, point, &chosen, self, monitor)?;
            let is_done = |made: &Self, link: &[u8]| made.tree.has_made(link) || made.links.contains_key(link);
            if chosen != Plan::All && (!walked.sound || !first.iter().all(|(link, _)| is_done(self, link))) {
                walk(reader, point, &Plan::All, self, monitor)?;
            }
            // From now on the others find the file under the name of the first.
            for (link, target) in first {
                if self.tree.has_made(&link) {
                    let own = join(self.base, &link);
                    self.links.values_mut().filter(|other| **other == target).for_each(|other| other.clone_from(&own));
                } else if !self.links.contains_key(&link) {
                    self.problem(&link, "the file that it is a hard link to cannot be had from the point");
                    self.links.retain(|_, other| *other != target);
                }
            }
        }
        for link in std::mem::take(&mut self.links).into_keys() {
            self.problem(&link, "it is a hard link that leads from link to link");
        }
        Ok(())
    }

    fn links_to_what_is_there(&mut self) {
        let links = std::mem::take(&mut self.links);
        for (link, target) in links {
            let place = inside(&target, self.base).filter(|target| self.tree.has_made(target));
            match place {
                Some(place) if place == link => self.problem(&link, "it is a hard link to itself"),
                Some(place) => match self.tree.hard_link(&link, place) {
                    Ok(()) => self.done.others += 1,
                    Err(error) => self.refused(&link, &error),
                },
                None => {
                    self.links.insert(link, target);
                }
            }
        }
    }

    /// Children before their parents, or the mode of a parent could shut them out.
    fn finish_directories(&mut self) {
        for (path, attributes) in std::mem::take(&mut self.directories).into_iter().rev() {
            match self.tree.finish_directory(&path, &attributes) {
                Ok(unset) => self.unset(&path, unset),
                Err(error) => self.refused(&path, &error),
            }
        }
    }

    /// Where a member goes; `None` if it is not wanted.
    fn place(&self, path: &[u8]) -> Option<Vec<u8>> {
        let (wanted, elsewhere) = self.scope_of(path)?;
        match elsewhere {
            // A link names one file, and not what is below it.
            Some(elsewhere) => (wanted == path).then(|| elsewhere.clone()),
            None => inside(path, self.base).map(<[u8]>::to_vec),
        }
    }

    fn scope_of(&self, path: &[u8]) -> Option<(&Vec<u8>, &Option<Vec<u8>>)> {
        let mut above = Some(path);
        while let Some(path) = above {
            if let Some(found) = self.scope.get_key_value(path) {
                return Some(found);
            }
            let parent = path.iter().rposition(|byte| *byte == b'/').and_then(|at| path.get(..at));
            above = parent.or_else(|| (!path.is_empty()).then_some(&[]));
        }
        None
    }

    fn attributes(&self, member: &Member) -> Attributes {
        let id = |id: u64| u32::try_from(id).ok().filter(|id| u64::from(*id) != ID_UNKNOWN);
        let owner = id(member.uid).zip(id(member.gid)).filter(|_| self.options.owners == Owners::Set);
        let mtime = (member.mtime_seconds, member.mtime_nanos);
        Attributes { owner, mode: member.mode & 0o7777, mtime, xattrs: member.xattrs.clone() }
    }

    fn make(&mut self, path: Vec<u8>, member: &Member) -> io::Result<Interest> {
        self.links.remove(&path);
        self.directories.remove(&path);
        let attributes = self.attributes(member);
        let node = match member.kind {
            MemberKind::File => {
                let file = self.tree.file(&path)?;
                self.open = Some(Open { path, file, attributes, bytes: 0, failed: None });
                return Ok(Interest::Content);
            }
            MemberKind::Directory => {
                if self.tree.directory(&path)? {
                    self.directories.insert(path, attributes);
                }
                self.done.directories += 1;
                return Ok(Interest::Nothing);
            }
            MemberKind::HardLink => {
                match normal(&member.link) {
                    Some(target) => drop(self.links.insert(path, target)),
                    None => self.problem(&path, "it is a hard link to a path outside of the archive"),
                }
                return Ok(Interest::Nothing);
            }
            MemberKind::Symlink => {
                let unset = self.tree.symlink(&path, &member.link, &attributes)?;
                self.unset(&path, unset);
                self.done.others += 1;
                return Ok(Interest::Nothing);
            }
            MemberKind::Sparse => {
                self.problem(&path, "it is a sparse file in a packed form, which only tar itself unpacks");
                return Ok(Interest::Nothing);
            }
            MemberKind::Other(kind) => {
                self.problem(&path, &format!("it is of a kind that is not known, {kind}"));
                return Ok(Interest::Nothing);
            }
            MemberKind::Fifo => Node::Fifo,
            MemberKind::CharDevice => Node::CharDevice(member.device_major, member.device_minor),
            MemberKind::BlockDevice => Node::BlockDevice(member.device_major, member.device_minor),
        };
        match self.tree.node(&path, node, &attributes) {
            Ok(unset) => {
                self.unset(&path, unset);
                self.done.others += 1;
            }
            Err(error) if node != Node::Fifo && error.kind() == io::ErrorKind::PermissionDenied => {
                self.done.deviceless += 1;
            }
            Err(error) => return Err(error),
        }
        Ok(Interest::Nothing)
    }

    fn unset(&mut self, path: &[u8], unset: Unset) {
        self.done.ownerless += u64::from(unset.owner);
        for what in unset.others {
            self.problem(path, &what);
        }
    }

    fn refused(&mut self, path: &[u8], error: &io::Error) {
        let message = match error.kind() {
            io::ErrorKind::AlreadyExists => "something of this name is there already and stays".to_owned(),
            io::ErrorKind::NotADirectory => "what should be a directory on the way to it is none".to_owned(),
            _ => format!("it cannot be made: {error}"),
        };
        self.problem(path, &message);
    }

    fn problem(&mut self, path: &[u8], message: &str) {
        self.done.problems += 1;
        let (object, message) = (tar::display(path).to_string(), message.to_owned());
        self.monitor.event(Event::Problem(Problem { object, message }));
    }

    /// Writes on; what is wrong with the file itself is kept for its end.
    fn write(&mut self, reader: &mut Reader<'_>, piece: Piece) -> Result<(), ExtractError> {
        let Some(open) = self.open.as_mut().filter(|open| open.failed.is_none()) else { return Ok(()) };
        let before = open.bytes;
        let written = match piece {
            Piece::Bytes(bytes) => open.write(&bytes),
            Piece::Zeros(len) => open.hole(len),
            Piece::Chunk(chunk) => match reader.chunk(chunk) {
                Ok(bytes) => open.write(&bytes),
                // What is lost costs the files that it was part of, and no other.
                Err(error) if error.is_damage() || error.is_loss() => {
                    open.failed = Some(error.to_string());
                    self.done.damaged += 1;
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            },
        };
        let bytes = open.bytes - before;
        match written {
            Ok(()) => {}
            Err(source) if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                let path = open.path.clone();
                self.open = None;
                // There is no room: whether this works changes nothing about that.
                let _ = self.tree.take_away(&path);
                return Err(ExtractError::Directory { directory: self.to.display().to_string(), source });
            }
            Err(error) => open.failed = Some(format!("it cannot be written: {error}")),
        }
        self.monitor.event(Event::Advanced { object: None, bytes });
        Ok(())
    }
}

impl Open {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// The length is set at the end, where nothing else follows.
    fn hole(&mut self, len: u64) -> io::Result<()> {
        self.bytes = self.bytes.checked_add(len).ok_or(io::ErrorKind::FileTooLarge)?;
        self.file.seek(SeekFrom::Start(self.bytes)).map(|_| ())
    }
}

impl Visitor for Extraction<'_> {
    type Error = ExtractError;

    fn member(&mut self, member: &Member) -> Result<Interest, ExtractError> {
        let Some(path) = normal(&member.path) else {
            if inside(&member.path, self.base).is_some() {
                self.problem(&member.path, "its name leads out of the directory");
            }
            return Ok(Interest::Nothing);
        };
        for (wanted, seen) in self.wanted.iter().zip(&mut self.seen) {
            *seen |= inside(&path, wanted).is_some();
        }
        let Some(place) = self.place(&path) else { return Ok(Interest::Nothing) };
        // The directory itself is the user's, and stays as it is.
        if place.is_empty() {
            return Ok(Interest::Nothing);
        }
        match self.make(place.clone(), member) {
            Ok(interest) => Ok(interest),
            Err(error) => {
                self.refused(&place, &error);
                Ok(Interest::Nothing)
            }
        }
    }

    fn piece(&mut self, reader: &mut Reader<'_>, piece: Piece) -> Result<(), ExtractError> {
        if self.monitor.stop_requested() {
            if let Some(open) = self.open.take() {
                // The user is told that it was stopped; that a file is not whole must not be told by its absence alone.
                let _ = self.tree.take_away(&open.path);
            }
            return Err(BrowseError::Stopped.into());
        }
        self.write(reader, piece)
    }

    fn end(&mut self, complete: bool) -> Result<(), ExtractError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        if !complete {
            open.failed.get_or_insert_with(|| "the archive ends within it".to_owned());
        }
        if let Err(error) = open.file.set_len(open.bytes) {
            open.failed.get_or_insert_with(|| format!("it cannot be written: {error}"));
        }
        if let Some(message) = open.failed {
            drop(open.file);
            self.problem(&open.path, &message);
            if let Err(error) = self.tree.take_away(&open.path) {
                self.problem(&open.path, &format!("what there is of it cannot be taken away: {error}"));
            }
            return Ok(());
        }
        let unset = finish(open.file.as_fd(), &open.attributes);
        self.unset(&open.path, unset);
        self.done.files += 1;
        self.done.bytes += open.bytes;
        Ok(())
    }
}
