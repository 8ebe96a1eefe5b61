//! A server's directory tree, in memory.
//!
//! It knows nodes by number, as NFS does by handle: a number is used once, and whoever asks for one that is gone is
//! told that it is stale. There is one answer to each question and no cache; what clients remember is in `client`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdall::clock::{Clock, SystemClock};
use holdall::store::{Directory, MemoryStore, Name, Put, Store};
use rustix::io::Errno;

/// Number of a file or directory.
pub type Node = u64;
/// What a question came to.
pub type Answer<T> = Result<T, Errno>;

/// The top directory.
pub const ROOT: Node = 1;

/// What is known of a node without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub node: Node,
    pub is_directory: bool,
    pub bytes: u64,
    pub mode: u16,
    pub links: u32,
    pub modified: SystemTime,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: OsString,
    pub node: Node,
    pub is_directory: bool,
}

#[derive(Debug, Clone)]
enum Content {
    Directory(BTreeMap<OsString, Node>),
    File(Arc<Vec<u8>>),
}

#[derive(Debug, Clone)]
struct Stored {
    content: Content,
    mode: u16,
    links: u32,
    modified: SystemTime,
}

/// Everything that a server holds at one moment.
#[derive(Debug, Clone)]
pub struct Tree(BTreeMap<Node, Stored>);

/// The server.
#[derive(Debug)]
pub struct Server {
    tree: Tree,
    next: Node,
    /// Whether it can give a file a second name.
    pub has_links: bool,
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(SystemClock.now().as_micros())
}

impl Server {
    pub fn new() -> Self {
        let root = Stored { content: Content::Directory(BTreeMap::new()), mode: 0o700, links: 2, modified: now() };
        Self { tree: Tree(BTreeMap::from([(ROOT, root)])), next: ROOT + 1, has_links: true }
    }

    /// All that it holds now.
    pub fn copy(&self) -> Tree {
        self.tree.clone()
    }

    /// Puts everything back as it was. Numbers that were used meanwhile are never used again.
    pub fn reset(&mut self, tree: &Tree) {
        self.tree = tree.clone();
    }

    /// Takes a directory of the disk into the root, with all that is in it.
    pub fn take_in(&mut self, from: &Path, name: &str) {
        let mut left = vec![(from.to_owned(), ROOT, OsString::from(name))];
        while let Some((path, above, name)) = left.pop() {
            if path.is_dir() {
                let made = self.make_directory(above, &name, 0o700).expect("a new name");
                let entries = fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("a name"));
                left.extend(entries.map(|entry| (entry.path(), made, entry.file_name())));
            } else {
                let made = self.create(above, &name, 0o444).expect("a new name");
                self.write(made, 0, &fs::read(&path).expect("a file")).expect("it was just made");
            }
        }
    }

    /// The objects of the repository in a directory of the root, as a store of their own, and whatever else lies there.
    pub fn objects(&self, directory: &str) -> (MemoryStore, Vec<String>) {
        let (store, mut others) = (MemoryStore::new(), Vec::new());
        let top = self.look_up(ROOT, OsStr::new(directory)).expect("the repository's directory");
        let mut left = vec![(String::new(), top)];
        while let Some((path, node)) = left.pop() {
            match &self.tree.0[&node].content {
                Content::Directory(names) => {
                    let made = path.parse::<Directory>().expect("a directory of a repository");
                    store.make_directory(&made).expect("a directory in memory");
                    let below = |name: &OsString| format!("{path}/{}", name.to_string_lossy());
                    left.extend(names.iter().map(|(name, node)| (below(name).trim_matches('/').to_owned(), *node)));
                }
                Content::File(bytes) => match path.parse::<Name>() {
                    Ok(name) => assert_eq!(store.put(&name, &[bytes]).expect("memory"), Put::Created),
                    Err(_) => others.push(path),
                },
            }
        }
        (store, others)
    }

    pub fn status(&self, node: Node) -> Answer<Status> {
        let Stored { content, mode, links, modified } = self.stored(node)?;
        let (is_directory, bytes) = match content {
            Content::Directory(_) => (true, 4096),
            Content::File(bytes) => (false, bytes.len() as u64),
        };
        Ok(Status { node, is_directory, bytes, mode: *mode, links: *links, modified: *modified })
    }

    pub fn look_up(&self, directory: Node, name: &OsStr) -> Answer<Node> {
        self.names(directory)?.get(name).copied().ok_or(Errno::NOENT)
    }

    /// The names in a directory, sorted.
    pub fn list(&self, directory: Node) -> Answer<Vec<Entry>> {
        let entry = |(name, node): (&OsString, &Node)| Entry {
            name: name.clone(),
            node: *node,
            is_directory: matches!(self.tree.0[node].content, Content::Directory(_)),
        };
        Ok(self.names(directory)?.iter().map(entry).collect())
    }

    pub fn create(&mut self, directory: Node, name: &OsStr, mode: u16) -> Answer<Node> {
        self.insert(directory, name, Stored { content: Content::File(Arc::default()), mode, links: 1, modified: now() })
    }

    pub fn make_directory(&mut self, directory: Node, name: &OsStr, mode: u16) -> Answer<Node> {
        let content = Content::Directory(BTreeMap::new());
        self.insert(directory, name, Stored { content, mode, links: 2, modified: now() })
    }

    pub fn link(&mut self, node: Node, directory: Node, name: &OsStr) -> Answer<()> {
        if !self.has_links {
            return Err(Errno::OPNOTSUPP);
        }
        self.stored(node)?;
        self.require_free(directory, name)?;
        self.names_mut(directory)?.insert(name.to_owned(), node);
        self.stored_mut(node)?.links += 1;
        Ok(())
    }

    pub fn unlink(&mut self, directory: Node, name: &OsStr) -> Answer<()> {
        let node = self.look_up(directory, name)?;
        if self.status(node)?.is_directory {
            return Err(Errno::ISDIR);
        }
        self.names_mut(directory)?.remove(name);
        let stored = self.stored_mut(node)?;
        stored.links -= 1;
        if stored.links == 0 {
            self.tree.0.remove(&node);
        }
        Ok(())
    }

    pub fn remove_directory(&mut self, directory: Node, name: &OsStr) -> Answer<()> {
        let node = self.look_up(directory, name)?;
        if !self.names(node)?.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.names_mut(directory)?.remove(name);
        self.tree.0.remove(&node);
        Ok(())
    }

    /// Gives a node another name, which must be free.
    pub fn rename_if_free(&mut self, from: (Node, &OsStr), to: (Node, &OsStr)) -> Answer<()> {
        let node = self.look_up(from.0, from.1)?;
        self.require_free(to.0, to.1)?;
        self.names_mut(from.0)?.remove(from.1);
        self.names_mut(to.0)?.insert(to.1.to_owned(), node);
        Ok(())
    }

    pub fn read(&self, node: Node, offset: usize, bytes_max: usize) -> Answer<Vec<u8>> {
        let Content::File(bytes) = &self.stored(node)?.content else { return Err(Errno::ISDIR) };
        let begin = offset.min(bytes.len());
        Ok(bytes[begin..(begin + bytes_max).min(bytes.len())].to_vec())
    }

    pub fn write(&mut self, node: Node, offset: usize, written: &[u8]) -> Answer<()> {
        let stored = self.stored_mut(node)?;
        let Content::File(bytes) = &mut stored.content else { return Err(Errno::ISDIR) };
        let (bytes, end) = (Arc::make_mut(bytes), offset + written.len());
        bytes.resize(bytes.len().max(end), 0);
        bytes[offset..end].copy_from_slice(written);
        stored.modified = now();
        Ok(())
    }

    pub fn resize(&mut self, node: Node, len: usize) -> Answer<()> {
        let Content::File(bytes) = &mut self.stored_mut(node)?.content else { return Err(Errno::ISDIR) };
        Arc::make_mut(bytes).resize(len, 0);
        Ok(())
    }

    pub fn set_mode(&mut self, node: Node, mode: u16) -> Answer<()> {
        self.stored_mut(node)?.mode = mode;
        Ok(())
    }

    /// Makes all temporary files of stores so old that nobody takes them for somebody's.
    pub fn age_temporaries(&mut self) {
        let directories = self.tree.0.values().filter_map(|stored| match &stored.content {
            Content::Directory(names) => Some(names),
            Content::File(_) => None,
        });
        let is_temporary = |(name, _): &(&OsString, &Node)| name.to_string_lossy().starts_with(".tmp-");
        let aged: Vec<Node> = directories.flatten().filter(is_temporary).map(|(_, node)| *node).collect();
        for node in aged {
            self.tree.0.get_mut(&node).expect("it has a name").modified = UNIX_EPOCH + Duration::from_secs(1);
        }
    }

    fn insert(&mut self, directory: Node, name: &OsStr, stored: Stored) -> Answer<Node> {
        self.require_free(directory, name)?;
        let node = self.next;
        self.next += 1;
        self.names_mut(directory)?.insert(name.to_owned(), node);
        self.tree.0.insert(node, stored);
        Ok(node)
    }

    fn require_free(&self, directory: Node, name: &OsStr) -> Answer<()> {
        if self.names(directory)?.contains_key(name) { Err(Errno::EXIST) } else { Ok(()) }
    }

    fn stored(&self, node: Node) -> Answer<&Stored> {
        self.tree.0.get(&node).ok_or(Errno::STALE)
    }

    fn stored_mut(&mut self, node: Node) -> Answer<&mut Stored> {
        self.tree.0.get_mut(&node).ok_or(Errno::STALE)
    }

    fn names(&self, directory: Node) -> Answer<&BTreeMap<OsString, Node>> {
        match &self.stored(directory)?.content {
            Content::Directory(names) => Ok(names),
            Content::File(_) => Err(Errno::NOTDIR),
        }
    }

    fn names_mut(&mut self, directory: Node) -> Answer<&mut BTreeMap<OsString, Node>> {
        let stored = self.stored_mut(directory)?;
        stored.modified = now();
        match &mut stored.content {
            Content::Directory(names) => Ok(names),
            Content::File(_) => Err(Errno::NOTDIR),
        }
    }
}
