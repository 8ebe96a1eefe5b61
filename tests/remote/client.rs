//! A client of the server: a FUSE file system that remembers what an NFS client remembers, for as long.
//!
//! The kernel keeps nothing of it: every request comes here, is counted, and may go wrong (`harm`). Names, absent ones
//! too, lengths and listings are answered from memory by lot while they are not too old; opening asks the server again.
//! What is written stays here until it is synced or closed. A file that is open here and loses its last name gets
//! another one, `.nfs...`, until it is closed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use fuser::{
    FileAttr, FileType, Filesystem, KernelConfig, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
};
use rustix::io::Errno;

use crate::dice::Dice;
use crate::harm::{Call, Fault, Harm, Plan};
use crate::server::{Answer, Entry, Node, Server, Status};

/// What a client does with what it remembers.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// For how long it may believe it; the D of `format-spec/store.md`.
    pub delay: Duration,
    /// Whether a change of its own makes it ask for the directory anew. Otherwise it puts its own change into what it
    /// remembers, and others' changes still show late.
    pub forgets_on_change: bool,
    /// Names that a server shows at once. It shows the next ones by their place, so that an entry is skipped while
    /// others before it are removed.
    pub page: Option<usize>,
}

/// Sees everything at once.
pub const CLEAN: Habits = Habits { delay: Duration::ZERO, forgets_on_change: true, page: None };

/// The kernel asks for everything, every time.
const NOTHING: Duration = Duration::ZERO;
/// Reads and writes come here as they were made.
const DIRECT: u32 = fuser::consts::FOPEN_DIRECT_IO;
/// How much room the server says it has, in blocks.
const BLOCKS: u64 = 1 << 30;
const BLOCK_BYTES: u32 = 4096;

/// What it remembers and counts.
#[derive(Debug)]
pub struct State {
    habits: Habits,
    dice: Dice,
    pub plan: Plan,
    names: BTreeMap<(Node, OsString), (Option<Node>, Instant)>,
    statuses: BTreeMap<Node, (Status, Instant)>,
    listings: BTreeMap<Node, (Vec<Entry>, Instant)>,
    unsynced: BTreeMap<Node, Vec<(usize, Vec<u8>)>>,
    open: BTreeMap<Node, u32>,
    silly: BTreeMap<Node, (Node, OsString)>,
    directories: BTreeMap<u64, OpenDirectory>,
    next: u64,
    /// How often something old was told.
    pub stale_answers: u64,
}

#[derive(Debug, Default)]
struct OpenDirectory {
    told: Vec<Entry>,
    is_whole: bool,
}

/// One mount of the server.
#[derive(Debug, Clone)]
pub struct Client {
    server: Arc<Mutex<Server>>,
    state: Arc<Mutex<State>>,
}

pub fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn new(habits: Habits, seed: u64) -> Self {
        Self {
            habits,
            dice: Dice::new(seed),
            plan: Plan::default(),
            names: BTreeMap::new(),
            statuses: BTreeMap::new(),
            listings: BTreeMap::new(),
            unsynced: BTreeMap::new(),
            open: BTreeMap::new(),
            silly: BTreeMap::new(),
            directories: BTreeMap::new(),
            next: 1,
            stale_answers: 0,
        }
    }

    /// Whether it answers from memory what it learnt then.
    fn believes(&mut self, since: Instant) -> bool {
        let believes = since.elapsed() < self.habits.delay && self.dice.below(4) > 0;
        self.stale_answers += u64::from(believes);
        believes
    }

    fn status(&mut self, server: &Server, node: Node) -> Answer<Status> {
        if let Some((status, since)) = self.statuses.get(&node).copied()
            && self.believes(since)
        {
            return Ok(self.with_unsynced(status));
        }
        let status = server.status(node)?;
        self.statuses.insert(node, (status, Instant::now()));
        Ok(self.with_unsynced(status))
    }

    /// Its own writes it sees at once.
    fn with_unsynced(&self, status: Status) -> Status {
        let pieces = self.unsynced.get(&status.node).into_iter().flatten();
        let end = pieces.map(|(offset, bytes)| (offset + bytes.len()) as u64).max().unwrap_or(0);
        Status { bytes: status.bytes.max(end), ..status }
    }

    fn look_up(&mut self, server: &Server, directory: Node, name: &OsStr) -> Answer<Status> {
        let key = (directory, name.to_owned());
        if let Some((found, since)) = self.names.get(&key).copied()
            && self.believes(since)
        {
            match found.map(|node| self.status(server, node)) {
                None => return Err(Errno::NOENT),
                Some(Ok(status)) => return Ok(status),
                Some(Err(_)) => {}
            }
        }
        let found = server.look_up(directory, name);
        if matches!(found, Ok(_) | Err(Errno::NOENT)) {
            self.names.insert(key, (found.ok(), Instant::now()));
        }
        self.status(server, found?)
    }

    /// What it remembers after a change of its own to a name.
    fn changed(&mut self, directory: Node, name: &OsStr, entry: Option<Entry>) {
        self.names.remove(&(directory, name.to_owned()));
        self.statuses.remove(&directory);
        if self.habits.forgets_on_change {
            self.names.retain(|(above, _), (found, _)| *above != directory || found.is_some());
            self.listings.remove(&directory);
        } else if let Some((listing, _)) = self.listings.get_mut(&directory) {
            listing.retain(|one| one.name != name);
            listing.extend(entry);
        }
    }

    fn forget(&mut self, node: Node) {
        self.statuses.remove(&node);
        self.names.retain(|_, (found, _)| *found != Some(node));
    }

    /// Sends what was written; `lost` is why it does not arrive.
    fn send(&mut self, server: &mut Server, node: Node, lost: Option<Errno>) -> Answer<()> {
        let pieces = self.unsynced.remove(&node).unwrap_or_default();
        self.statuses.remove(&node);
        if let Some(errno) = lost {
            let end = pieces.iter().map(|(offset, bytes)| offset + bytes.len()).max();
            end.map_or(Ok(()), |end| server.resize(node, end))?;
            return Err(errno);
        }
        pieces.iter().try_for_each(|(offset, bytes)| server.write(node, *offset, bytes))
    }

    fn unlink(&mut self, server: &mut Server, directory: Node, name: &OsStr) -> Answer<()> {
        let node = server.look_up(directory, name);
        let is_last = |node: &Node| server.status(*node).is_ok_and(|status| status.links == 1);
        match node.ok().filter(|node| self.open.contains_key(node) && is_last(node)) {
            Some(node) => {
                let silly = OsString::from(format!(".nfs{node:016x}{:08x}", self.next));
                self.next += 1;
                server.rename_if_free((directory, name), (directory, &silly))?;
                self.changed(directory, &silly, Some(Entry { name: silly.clone(), node, is_directory: false }));
                self.silly.insert(node, (directory, silly));
            }
            None => server.unlink(directory, name)?,
        }
        self.changed(directory, name, None);
        if let Ok(node) = node {
            self.forget(node);
        }
        Ok(())
    }

    fn release(&mut self, server: &mut Server, node: Node) {
        // The kernel asks nobody what became of it.
        let _ = self.send(server, node, None);
        let left = self.open.get_mut(&node).map_or(0, |opened| {
            *opened -= 1;
            *opened
        });
        if left == 0 {
            self.open.remove(&node);
            if let Some((directory, name)) = self.silly.remove(&node) {
                let _ = server.unlink(directory, &name);
                self.changed(directory, &name, None);
            }
        }
    }

    /// Learns at least one more entry than `offset` of an open directory, unless there are no more.
    fn read_on(&mut self, server: &Server, directory: Node, handle: u64, offset: usize) -> Answer<()> {
        let mut open = self.directories.remove(&handle).unwrap_or_default();
        let answer = self.read_pages(server, directory, &mut open, offset);
        self.directories.insert(handle, open);
        answer
    }

    fn read_pages(&mut self, server: &Server, directory: Node, open: &mut OpenDirectory, offset: usize) -> Answer<()> {
        if open.told.is_empty()
            && !open.is_whole
            && let Some((listing, since)) = self.listings.get(&directory).cloned()
            && self.believes(since)
        {
            (open.told, open.is_whole) = (listing, true);
        }
        let since = Instant::now();
        while !open.is_whole && open.told.len() <= offset {
            let now = server.list(directory)?;
            let (begin, len) = (open.told.len(), self.habits.page.unwrap_or(usize::MAX));
            open.is_whole = begin.saturating_add(len) >= now.len();
            let known: BTreeSet<&OsStr> = open.told.iter().map(|entry| entry.name.as_os_str()).collect();
            let is_new = |entry: &Entry| !known.contains(entry.name.as_os_str());
            let page: Vec<Entry> = now.into_iter().skip(begin).take(len).filter(is_new).collect();
            // A page of nothing but what was shown before ends it, too.
            open.is_whole |= page.is_empty();
            open.told.extend(page);
            if open.is_whole && begin == 0 {
                self.listings.insert(directory, (open.told.clone(), since));
            }
        }
        Ok(())
    }
}

impl Client {
    pub fn new(server: Arc<Mutex<Server>>, habits: Habits, seed: u64) -> Self {
        Self { server, state: Arc::new(Mutex::new(State::new(habits, seed))) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Forgets everything, and begins to count anew.
    pub fn begin(&self, fault: Option<Fault>) {
        let mut state = self.state();
        let (habits, seed) = (state.habits, state.dice.next());
        let next = state.next;
        *state = State { plan: Plan::new(fault), next, ..State::new(habits, seed) };
    }

    /// Does what a request asks for, unless something goes wrong with it. `happens` is told of what it has to see to.
    fn ask<T>(
        &self,
        call: Call,
        happens: impl FnOnce(&mut State, &mut Server, Option<Harm>) -> Answer<T>,
    ) -> Answer<T> {
        let (mut state, mut server) = (lock(&self.state), lock(&self.server));
        match state.plan.next(call) {
            Some(Harm::Refused(code, _) | Harm::Full(code)) => Err(code.errno()),
            Some(Harm::Unanswered(code)) => happens(&mut state, &mut server, None).and(Err(code.errno())),
            harm => happens(&mut state, &mut server, harm),
        }
    }
}

fn attributes(status: &Status) -> FileAttr {
    FileAttr {
        ino: status.node,
        size: status.bytes,
        blocks: status.bytes.div_ceil(512),
        atime: status.modified,
        mtime: status.modified,
        ctime: status.modified,
        crtime: status.modified,
        kind: kind(status.is_directory),
        perm: status.mode,
        nlink: status.links,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

fn kind(is_directory: bool) -> FileType {
    if is_directory { FileType::Directory } else { FileType::RegularFile }
}

fn place(offset: i64) -> usize {
    usize::try_from(offset).expect("the kernel asks for no place before the beginning")
}

fn mode(mode: u32) -> u16 {
    (mode & 0o7777) as u16
}

fn finish(reply: ReplyEmpty, answer: Answer<()>) {
    match answer {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno.raw_os_error()),
    }
}

fn tell(reply: ReplyEntry, answer: Answer<Status>) {
    match answer {
        Ok(status) => reply.entry(&NOTHING, &attributes(&status), 0),
        Err(errno) => reply.error(errno.raw_os_error()),
    }
}

fn describe(reply: ReplyAttr, answer: Answer<Status>) {
    match answer {
        Ok(status) => reply.attr(&NOTHING, &attributes(&status)),
        Err(errno) => reply.error(errno.raw_os_error()),
    }
}

impl Filesystem for Client {
    fn init(&mut self, _: &Request<'_>, _: &mut KernelConfig) -> Result<(), i32> {
        Ok(())
    }

    fn lookup(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEntry) {
        tell(reply, self.ask(Call::LookUp, |state, server, _| state.look_up(server, parent, name)));
    }

    fn getattr(&mut self, _: &Request<'_>, node: u64, _: Option<u64>, reply: ReplyAttr) {
        describe(reply, self.ask(Call::Status, |state, server, _| state.status(server, node)));
    }

    fn setattr(
        &mut self,
        _: &Request<'_>,
        node: u64,
        new_mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        bytes: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<u64>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<u32>,
        reply: ReplyAttr,
    ) {
        let answer = self.ask(Call::SetStatus, |state, server, _| {
            new_mode.map_or(Ok(()), |new| server.set_mode(node, mode(new)))?;
            let len = bytes.map(|bytes| usize::try_from(bytes).expect("what fits in memory"));
            len.map_or(Ok(()), |len| server.resize(node, len))?;
            state.statuses.remove(&node);
            state.status(server, node)
        });
        describe(reply, answer);
    }

    fn mkdir(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, new_mode: u32, _: u32, reply: ReplyEntry) {
        let answer = self.ask(Call::MakeDirectory, |state, server, _| {
            let node = server.make_directory(parent, name, mode(new_mode))?;
            state.changed(parent, name, Some(Entry { name: name.to_owned(), node, is_directory: true }));
            state.status(server, node)
        });
        tell(reply, answer);
    }

    fn unlink(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        finish(reply, self.ask(Call::Unlink, |state, server, _| state.unlink(server, parent, name)));
    }

    fn rmdir(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        let answer = self.ask(Call::RemoveDirectory, |state, server, _| {
            server.remove_directory(parent, name)?;
            state.changed(parent, name, None);
            Ok(())
        });
        finish(reply, answer);
    }

    fn rename(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        to_parent: u64,
        to_name: &OsStr,
        flags: u32,
        reply: ReplyEmpty,
    ) {
        let answer = self.ask(Call::Rename, |state, server, _| {
            // Nobody here replaces anything, so a server that could not keep from it needs no model.
            if flags != rustix::fs::RenameFlags::NOREPLACE.bits() {
                return Err(Errno::INVAL);
            }
            let node = server.look_up(parent, name)?;
            server.rename_if_free((parent, name), (to_parent, to_name))?;
            state.changed(parent, name, None);
            state.changed(to_parent, to_name, Some(Entry { name: to_name.to_owned(), node, is_directory: false }));
            Ok(())
        });
        finish(reply, answer);
    }

    fn link(&mut self, _: &Request<'_>, node: u64, parent: u64, name: &OsStr, reply: ReplyEntry) {
        let answer = self.ask(Call::Link, |state, server, _| {
            let linked = server.link(node, parent, name);
            let entry = linked.is_ok().then(|| Entry { name: name.to_owned(), node, is_directory: false });
            // A refusal, too, says that the directory is not what was remembered.
            state.changed(parent, name, entry);
            linked?;
            state.statuses.remove(&node);
            state.status(server, node)
        });
        if answer == Err(Errno::EXIST) {
            // Who is told that the name is taken knows that it is not free.
            self.state().names.remove(&(parent, name.to_owned()));
        }
        tell(reply, answer);
    }

    fn open(&mut self, _: &Request<'_>, node: u64, _: i32, reply: ReplyOpen) {
        let answer = self.ask(Call::Open, |state, server, _| {
            state.statuses.remove(&node);
            if let Err(errno) = state.status(server, node) {
                state.forget(node);
                return Err(errno);
            }
            *state.open.entry(node).or_default() += 1;
            Ok(())
        });
        match answer {
            Ok(()) => reply.opened(node, DIRECT),
            Err(errno) => reply.error(errno.raw_os_error()),
        }
    }

    fn create(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        new_mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let answer = self.ask(Call::Create, |state, server, _| {
            let node = server.create(parent, name, mode(new_mode))?;
            state.changed(parent, name, Some(Entry { name: name.to_owned(), node, is_directory: false }));
            state.status(server, node)
        });
        match answer {
            Ok(status) => {
                *self.state().open.entry(status.node).or_default() += 1;
                reply.created(&NOTHING, &attributes(&status), 0, status.node, DIRECT);
            }
            Err(errno) => reply.error(errno.raw_os_error()),
        }
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        node: u64,
        _: u64,
        offset: i64,
        bytes_max: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        let answer = self.ask(Call::Read, |state, server, _| {
            state.send(server, node, None)?;
            server.read(node, place(offset), bytes_max as usize)
        });
        match answer {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno.raw_os_error()),
        }
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        node: u64,
        _: u64,
        offset: i64,
        bytes: &[u8],
        _: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        let answer = self.ask(Call::Write, |state, server, harm| {
            server.status(node)?;
            let written = if harm == Some(Harm::Short) { &bytes[..bytes.len().div_ceil(2)] } else { bytes };
            state.unsynced.entry(node).or_default().push((place(offset), written.to_vec()));
            Ok(u32::try_from(written.len()).expect("the kernel's pieces are small"))
        });
        match answer {
            Ok(len) => reply.written(len),
            Err(errno) => reply.error(errno.raw_os_error()),
        }
    }

    fn flush(&mut self, _: &Request<'_>, node: u64, _: u64, _: u64, reply: ReplyEmpty) {
        finish(reply, self.ask(Call::Close, |state, server, harm| state.send(server, node, lost(harm))));
    }

    fn fsync(&mut self, _: &Request<'_>, node: u64, _: u64, _: bool, reply: ReplyEmpty) {
        finish(reply, self.ask(Call::Sync, |state, server, harm| state.send(server, node, lost(harm))));
    }

    fn release(&mut self, _: &Request<'_>, node: u64, _: u64, _: i32, _: Option<u64>, _: bool, reply: ReplyEmpty) {
        let (mut state, mut server) = (lock(&self.state), lock(&self.server));
        state.release(&mut server, node);
        reply.ok();
    }

    fn opendir(&mut self, _: &Request<'_>, node: u64, _: i32, reply: ReplyOpen) {
        let answer = self.ask(Call::OpenDirectory, |state, server, _| {
            state.status(server, node)?;
            state.next += 1;
            state.directories.insert(state.next, OpenDirectory::default());
            Ok(state.next)
        });
        match answer {
            Ok(handle) => reply.opened(handle, 0),
            Err(errno) => reply.error(errno.raw_os_error()),
        }
    }

    fn readdir(&mut self, _: &Request<'_>, node: u64, handle: u64, offset: i64, mut reply: ReplyDirectory) {
        let offset = place(offset);
        let answer = self.ask(Call::List, |state, server, _| {
            // The two that every directory has come first.
            state.read_on(server, node, handle, offset.saturating_sub(2))?;
            let told = state.directories.get(&handle).map(|open| open.told.clone()).unwrap_or_default();
            let own = [".", ".."].map(|name| Entry { name: name.into(), node, is_directory: true });
            Ok(own.into_iter().chain(told).enumerate().skip(offset).collect::<Vec<_>>())
        });
        match answer {
            Ok(entries) => {
                for (place, entry) in entries {
                    let next = i64::try_from(place + 1).expect("few names");
                    if reply.add(entry.node, next, kind(entry.is_directory), &entry.name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(errno) => reply.error(errno.raw_os_error()),
        }
    }

    fn releasedir(&mut self, _: &Request<'_>, _: u64, handle: u64, _: i32, reply: ReplyEmpty) {
        self.state().directories.remove(&handle);
        reply.ok();
    }

    fn fsyncdir(&mut self, _: &Request<'_>, node: u64, _: u64, _: bool, reply: ReplyEmpty) {
        finish(reply, self.ask(Call::SyncDirectory, |_, server, _| server.status(node).map(|_| ())));
    }

    fn statfs(&mut self, _: &Request<'_>, _: u64, reply: ReplyStatfs) {
        match self.ask(Call::Capacity, |_, _, _| Ok(())) {
            Ok(()) => reply.statfs(BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCK_BYTES, 255, BLOCK_BYTES),
            Err(errno) => reply.error(errno.raw_os_error()),
        }
    }

    fn access(&mut self, _: &Request<'_>, _: u64, _: i32, reply: ReplyEmpty) {
        reply.ok();
    }
}

fn lost(harm: Option<Harm>) -> Option<Errno> {
    match harm {
        Some(Harm::Lost(code)) => Some(code.errno()),
        _ => None,
    }
}
