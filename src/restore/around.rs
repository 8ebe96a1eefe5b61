//! A stream with holes where something of it is lost, as complete an archive as it can still be.
//!
//! Lost content is zeros of the same length. Where a part of the recipe or its envelope is lost, nobody knows what was
//! there but its length and a path: what belongs to the member before it is zeros, and the members behind that are left
//! out, up to the next one that begins in a part which can be read. Hard links to what was left out go with it, for no
//! importer takes them. Every hole is told, with its path.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_64;

use crate::monitor::{Event as Told, Monitor, Problem};
use crate::recipe::{Part, TableRow};
use crate::repo::{Reader, RepoError};
use crate::restore::steps::{Planned, in_order};
use crate::tar::{self, BLOCK_BYTES, Event, Member, MemberKind, Place, Splitter};

/// Zeros that end an archive.
const END_BYTES: u64 = 2 * BLOCK_BYTES as u64;
static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// What to do where content of a point is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lost {
    /// Nothing is restored.
    #[default]
    Refuse,
    /// What is left is restored, and each hole is told.
    GoAround,
}

/// Follows the parts of a stream and bridges what is lost of it.
pub(super) struct Around<'m> {
    monitor: &'m dyn Monitor,
    holes: &'m AtomicU64,
    /// `None` for what is no archive: all of it is one content.
    splitter: Option<Splitter>,
    /// The member that the next byte belongs to, and how much of its content went by.
    path: Vec<u8>,
    content_bytes: u64,
    /// Headers of a member that is not known yet.
    headers: Option<Vec<u8>>,
    /// Digests of the paths of all files so far: hard links are made to these.
    files: HashSet<u64>,
    /// Whether members were left out.
    is_torn: bool,
    /// Whether what the next part begins with belongs to a member that was left out.
    skips_lead: bool,
    /// A stretch of lost content that may go on.
    lost: Option<Stretch>,
    out: Vec<Planned>,
}

struct Stretch {
    offset: u64,
    bytes: u64,
    reason: String,
}

impl<'m> Around<'m> {
    /// Tells the monitor of every hole, and counts them. What is no archive keeps its length, whatever is lost of it.
    pub(super) fn new(is_archive: bool, monitor: &'m dyn Monitor, holes: &'m AtomicU64) -> Self {
        Self {
            monitor,
            holes,
            splitter: is_archive.then(Splitter::new),
            path: Vec::new(),
            content_bytes: 0,
            headers: None,
            files: HashSet::new(),
            is_torn: false,
            skips_lead: false,
            lost: None,
            out: Vec::new(),
        }
    }

    /// The steps of the next part.
    pub(super) fn part(
        &mut self,
        reader: &mut Reader<'_>,
        row: &TableRow,
        read: Result<(Part, Vec<u8>), RepoError>,
    ) -> Result<Vec<Planned>, RepoError> {
        match read {
            Ok((part, envelope)) => self.follow(reader, part, &envelope)?,
            Err(error) if error.is_hole() => self.bridge(row, &error),
            Err(error) => return Err(error),
        }
        Ok(std::mem::take(&mut self.out))
    }

    /// The table of parts is lost from here on, and with it the rest of the stream: so many bytes.
    pub(super) fn rest_is_lost(&mut self, bytes: u64, error: &RepoError) {
        if self.splitter.is_none() {
            self.fill(bytes, &error.to_string());
            return;
        }
        let path = self.path.clone();
        self.tell(&path, &format!("everything behind it is lost, {bytes} bytes of the archive: {error}"));
        self.is_torn = true;
        // How much of that is the member's own content its headers say.
        self.fill(u64::MAX, &error.to_string());
    }

    /// What makes it a complete archive, if its end was left out.
    pub(super) fn end(&mut self) -> Vec<Planned> {
        self.tell_lost();
        if self.is_torn && self.place() == Place::Between {
            self.out.push(Planned::Zeros(END_BYTES));
        }
        if let Some(splitter) = self.splitter.take() {
            // What it held back.
            let Ok(_) = splitter.finish(&mut |event| {
                self.take(event);
                Ok::<(), Infallible>(())
            });
        }
        std::mem::take(&mut self.out)
    }

    fn follow(&mut self, reader: &mut Reader<'_>, part: Part, envelope: &[u8]) -> Result<(), RepoError> {
        let mut left_out = if self.skips_lead { part.lead } else { 0 };
        self.skips_lead &= part.lead == part.stream_len();
        for step in in_order(part.steps, envelope) {
            let now = left_out.min(step.len());
            left_out -= now;
            if now == 0 {
                self.step(reader, step)?;
            } else if let Planned::Envelope(bytes) = step {
                self.push(bytes.get(usize::try_from(now).unwrap_or(usize::MAX)..).unwrap_or_default());
            }
        }
        Ok(())
    }

    fn step(&mut self, reader: &mut Reader<'_>, step: Planned) -> Result<(), RepoError> {
        match step {
            Planned::Envelope(bytes) => self.push(&bytes),
            Planned::Zeros(len) => self.zeros(len),
            Planned::Chunk(chunk) => match reader.chunk(chunk) {
                Ok(_) if self.skippable() >= chunk.len.into() => self.pass(Planned::Chunk(chunk)),
                // It holds headers, which no writer of ours does, but a recipe may.
                Ok(bytes) => self.push(&bytes),
                Err(error) if error.is_hole() => {
                    self.lose(self.content_bytes, chunk.len.into(), &error.to_string());
                    self.zeros(chunk.len.into());
                }
                Err(error) => return Err(error),
            },
        }
        Ok(())
    }

    /// Goes on behind a part that cannot be read.
    fn bridge(&mut self, row: &TableRow, error: &RepoError) {
        let reason = error.to_string();
        let left = row.stream_len - self.fill(row.stream_len, &reason);
        if left > 0 {
            let path = if row.first_path.is_empty() { self.path.clone() } else { row.first_path.clone() };
            self.tell(&path, &format!("it and what follows it, {left} bytes of the archive, are left out: {reason}"));
            (self.is_torn, self.skips_lead) = (true, true);
        }
    }

    /// Zeros for what is left of the present member, `bytes` at most. Returns how many.
    fn fill(&mut self, bytes: u64, reason: &str) -> u64 {
        let (mut left, offset) = (bytes, self.content_bytes);
        while left > 0 {
            let now = match self.place() {
                Place::Content => left.min(self.skippable().max(1)),
                Place::Rest => left,
                Place::Between | Place::Headers => break,
            };
            self.zeros(now);
            left -= now;
        }
        let content = self.content_bytes.saturating_sub(offset);
        if content > 0 {
            self.lose(offset, content, reason);
        }
        bytes - left
    }

    fn place(&self) -> Place {
        self.splitter.as_ref().map_or(Place::Rest, Splitter::place)
    }

    fn skippable(&self) -> u64 {
        self.splitter.as_ref().map_or(u64::MAX, Splitter::skippable)
    }

    fn zeros(&mut self, bytes: u64) {
        let mut left = bytes;
        while left > 0 {
            let now = match self.skippable() {
                0 => left.min(BLOCK_BYTES as u64),
                most => left.min(most),
            };
            if self.skippable() > 0 {
                self.pass(Planned::Zeros(now));
            } else {
                self.push(ZEROS.get(..usize::try_from(now).unwrap_or(0)).unwrap_or_default());
            }
            left -= now;
        }
    }

    /// Lets content go by that need not be looked at, at most [`Self::skippable`].
    fn pass(&mut self, step: Planned) {
        let len = step.len();
        self.drive(|splitter, sink| splitter.skip(len, &mut |event| sink(event)));
        self.content_bytes = self.content_bytes.saturating_add(len);
        self.out.push(step);
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.splitter.is_none() {
            self.content(bytes);
        }
        self.drive(|splitter, sink| splitter.push(bytes, &mut |event| sink(event)));
    }

    fn drive(&mut self, act: impl FnOnce(&mut Splitter, &mut Sink<'_>) -> Result<(), Infallible>) {
        let Some(mut splitter) = self.splitter.take() else { return };
        let Ok(()) = act(&mut splitter, &mut |event| {
            self.take(event);
            Ok(())
        });
        self.splitter = Some(splitter);
    }

    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Boundary => {
                self.tell_lost();
                self.headers = Some(Vec::new());
            }
            Event::Envelope(bytes) => match &mut self.headers {
                Some(headers) => headers.extend_from_slice(bytes),
                None => self.emit(bytes),
            },
            Event::Member(member) => self.member(member),
            Event::Inline(bytes) | Event::Payload(bytes) => self.content(bytes),
            Event::Zeros(len) => {
                self.content_bytes = self.content_bytes.saturating_add(len);
                self.out.push(Planned::Zeros(len));
            }
            Event::PayloadStart { .. } | Event::PayloadEnd => {}
        }
    }

    fn member(&mut self, member: &Member) {
        let headers = self.headers.take().unwrap_or_default();
        self.path.clone_from(&member.path);
        self.content_bytes = 0;
        if member.kind == MemberKind::HardLink && self.is_torn && !self.files.contains(&xxh3_64(&member.link)) {
            let target = tar::display(&member.link);
            self.tell(&member.path, &format!("it is left out, for it is a hard link to {target}, which is"));
            return;
        }
        if matches!(member.kind, MemberKind::File | MemberKind::HardLink) {
            self.files.insert(xxh3_64(&member.path));
        }
        self.emit(&headers);
    }

    fn content(&mut self, bytes: &[u8]) {
        self.content_bytes = self.content_bytes.saturating_add(bytes.len() as u64);
        self.emit(bytes);
    }

    fn emit(&mut self, bytes: &[u8]) {
        match self.out.last_mut() {
            Some(Planned::Envelope(last)) => last.extend_from_slice(bytes),
            _ => self.out.push(Planned::Envelope(bytes.to_vec())),
        }
    }

    /// Content of the present member is lost. What follows it directly is told with it.
    fn lose(&mut self, offset: u64, bytes: u64, reason: &str) {
        if let Some(lost) = self.lost.as_mut().filter(|lost| lost.offset + lost.bytes == offset) {
            lost.bytes += bytes;
            return;
        }
        self.tell_lost();
        self.lost = Some(Stretch { offset, bytes, reason: reason.to_owned() });
    }

    fn tell_lost(&mut self) {
        if let Some(Stretch { offset, bytes, reason }) = self.lost.take() {
            let path = self.path.clone();
            self.tell(&path, &format!("{bytes} bytes of it, from byte {offset} on, are lost and zeros now: {reason}"));
        }
    }

    fn tell(&self, path: &[u8], message: &str) {
        self.holes.fetch_add(1, Ordering::SeqCst);
        let object = if path.is_empty() { "The stream".to_owned() } else { tar::display(path).to_string() };
        self.monitor.event(Told::Problem(Problem { object, message: message.to_owned() }));
    }
}

type Sink<'s> = dyn FnMut(Event<'_>) -> Result<(), Infallible> + 's;
