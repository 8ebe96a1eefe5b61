//! The push machine that tells file content from everything else (`format-spec/splitting.md`).
//!
//! Holds at most one block, the content of the extensions before one member, and one member's description; never file
//! content. Invariants: every pushed byte is given out once, in order; a block is given out only after it is known what
//! it is; once something does not parse, the rest of the stream is one opaque payload and stays so.

use super::header::{BLOCK_BYTES, ExtensionKind, Header, MemberKind, Role, map_continues};
use super::pax::{Extensions, SizeRecord, Values};
use super::zeros::{ZeroRuns, is_zero};
use super::{Event, Member};
use crate::limits::{PAYLOAD_BYTES_MIN, STREAM_BYTES_MAX, TAR_EXTENSION_BYTES_MAX, TAR_SPARSE_MAP_BYTES_MAX};

/// Zero blocks that end an archive.
const END_BLOCKS: u8 = 2;

/// How a stream ended: what a rule of acceptance needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Two zero blocks directly after the last member, then zeros or nothing.
    Complete {
        /// Members seen.
        members: u64,
        /// Zero bytes behind the two blocks; the daemons write none, GNU tar pads to its record.
        trailing_zeros: u64,
    },
    /// The stream stopped between two members, at most one zero block and a part of another behind the last.
    NoEnd {
        /// Members seen.
        members: u64,
    },
    /// The stream stopped inside the headers, the content or the padding of a member.
    Cut {
        /// Its path, as far as it was known: empty if the stream stopped in its first header.
        path: Vec<u8>,
    },
    /// Two zero blocks ended the archive, but other bytes than zeros follow.
    Trailing {
        /// Members seen before them.
        members: u64,
        /// Stream offset of the first byte behind the two blocks.
        offset: u64,
    },
    /// From this offset on the stream did not parse and became one opaque payload.
    NotTar {
        /// Stream offset of the block that is no header.
        offset: u64,
    },
}

/// What the next byte of a stream belongs to, for those who leave some of it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A member that begins here, or the end of the archive.
    Between,
    /// The headers of a member, begun already.
    Headers,
    /// The content of a member, or what pads it.
    Content,
    /// What follows the archive, or what does not parse.
    Rest,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy)]
enum State {
    /// A header, or a zero block.
    Header,
    /// A block of an old GNU sparse map, the given number of bytes into it.
    SparseMap { map_bytes: usize },
    /// The content of an extension.
    Extension { kind: ExtensionKind, left: usize },
    /// Content that stays in the envelope.
    Inline { left: u64 },
    /// Content.
    Payload { left: u64 },
    /// What fills a content or an extension up to a block.
    Padding { left: u64 },
    /// The rest of the stream.
    Opaque { rest: Rest, begun: Begun },
}

/// Why the rest of the stream is opaque.
#[derive(Debug, Clone, Copy)]
enum Rest {
    /// It begins with something that does not parse, at this offset.
    NotTar { offset: u64 },
    /// The archive ended at this offset. `zeros` counts what follows while it is zeros only.
    AfterEnd { offset: u64, zeros: Option<u64> },
}

/// Whether an opaque rest is long enough yet to be a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    No,
    Yes,
}

/// Splits one stream. Give it every byte with [`Self::push`], then call [`Self::finish`].
///
/// After an error from the sink the splitter has lost its place and must be dropped.
#[derive(Debug, Clone)]
pub struct Splitter {
    state: State,
    /// Stream offset of the next byte to give out; bytes held in `block` are not counted yet.
    offset: u64,
    block: [u8; BLOCK_BYTES],
    filled: usize,
    zeros: ZeroRuns,
    /// Zero blocks seen at the present boundary.
    end_blocks: u8,
    members: u64,
    member: Member,
    /// Offset of the boundary that was given out, while the member's own header is still to come.
    boundary: Option<u64>,
    extensions: Extensions,
    /// Content of the extension that is being read.
    extension: Vec<u8>,
    /// Bytes of all extensions since the boundary, headers and padding counted.
    extension_bytes: usize,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new()
    }
}

impl Splitter {
    /// Splits a stream that may be tar.
    pub fn new() -> Self {
        Self::starting_in(State::Header)
    }

    /// Takes a whole stream as one opaque payload, for what must not be looked into.
    /// Its ending is [`Ending::NotTar`] at offset 0.
    pub fn opaque() -> Self {
        Self::starting_in(State::Opaque { rest: Rest::NotTar { offset: 0 }, begun: Begun::No })
    }

    fn starting_in(state: State) -> Self {
        Self {
            state,
            offset: 0,
            block: [0; BLOCK_BYTES],
            filled: 0,
            zeros: ZeroRuns::default(),
            end_blocks: 0,
            members: 0,
            member: Member::default(),
            boundary: None,
            extensions: Extensions::default(),
            extension: Vec::new(),
            extension_bytes: 0,
        }
    }

    /// Takes the next bytes of the stream, any number of them, and gives out what is decided by now.
    /// Fails only if the sink does.
    pub fn push<E>(&mut self, mut bytes: &[u8], sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Header | State::SparseMap { .. } => self.push_block(bytes, sink)?,
                State::Extension { kind, left } => self.push_extension(kind, left, bytes, sink)?,
                State::Inline { left } => {
                    let (taken, rest) = split_most(bytes, left);
                    sink(Event::Inline(taken))?;
                    self.advance_content(taken, left, |left| State::Inline { left });
                    rest
                }
                State::Payload { left } => {
                    let (taken, rest) = split_most(bytes, left);
                    self.zeros.push(taken, sink)?;
                    self.advance_content(taken, left, |left| State::Payload { left });
                    if !matches!(self.state, State::Payload { .. }) {
                        self.end_payload(sink)?;
                    }
                    rest
                }
                State::Padding { left } => {
                    let (taken, rest) = split_most(bytes, left);
                    self.envelope(taken, sink)?;
                    self.pad(left - taken.len() as u64);
                    rest
                }
                State::Opaque { rest, begun } => self.push_opaque(rest, begun, bytes, sink)?,
            };
        }
        Ok(())
    }

    /// How many of the next bytes are content that [`Self::skip`] may leave out.
    pub fn skippable(&self) -> u64 {
        match self.state {
            State::Payload { left } => left,
            State::Opaque { begun: Begun::Yes, .. } => STREAM_BYTES_MAX,
            _ => 0,
        }
    }

    /// Goes on behind the next `len` bytes, at most [`Self::skippable`], which are content that the caller knows
    /// otherwise and does not give: no event tells of them. More than that is as good as that.
    pub fn skip<E>(&mut self, len: u64, sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        let len = len.min(self.skippable());
        if len == 0 {
            return Ok(());
        }
        self.zeros.finish(sink)?;
        self.offset = self.offset.saturating_add(len);
        match self.state {
            State::Payload { left } if left == len => {
                self.pad(padding(self.member.size));
                self.end_payload(sink)
            }
            State::Payload { left } => {
                self.state = State::Payload { left: left - len };
                Ok(())
            }
            State::Opaque { rest, begun } => {
                // What is not seen is not known to be zeros.
                self.state = State::Opaque { rest: rest.followed_by(&[1]), begun };
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What the next byte belongs to.
    pub fn place(&self) -> Place {
        match self.state {
            State::Header if self.boundary.is_none() && self.filled == 0 => Place::Between,
            State::Header | State::SparseMap { .. } | State::Extension { .. } => Place::Headers,
            State::Padding { .. } if self.boundary.is_some() => Place::Headers,
            State::Inline { .. } | State::Payload { .. } | State::Padding { .. } => Place::Content,
            State::Opaque { .. } => Place::Rest,
        }
    }

    /// Whether a global header was seen, which speaks about every member that follows.
    pub fn has_global(&self) -> bool {
        self.extensions.has_global()
    }

    /// The stream is over: gives out what was held back and tells how it ended.
    pub fn finish<E>(mut self, sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<Ending, E> {
        let block = self.block;
        let (held, _) = block.split_at(self.filled);
        match self.state {
            State::Payload { .. } | State::Opaque { begun: Begun::Yes, .. } => self.end_payload(sink)?,
            _ if held.is_empty() => {}
            // Less than a block in all cannot be a tar; it is a small file.
            State::Header if self.offset == 0 => {
                sink(Event::Inline(held))?;
                return Ok(Ending::NotTar { offset: 0 });
            }
            State::Opaque { begun: Begun::No, .. } => sink(Event::Inline(held))?,
            _ => sink(Event::Envelope(held))?,
        }
        Ok(self.ending(held))
    }

    fn ending(self, held: &[u8]) -> Ending {
        let members = self.members;
        match self.state {
            State::Opaque { rest: Rest::NotTar { offset }, .. } => Ending::NotTar { offset },
            State::Opaque { rest: Rest::AfterEnd { zeros: Some(trailing_zeros), .. }, .. } => {
                Ending::Complete { members, trailing_zeros }
            }
            State::Opaque { rest: Rest::AfterEnd { offset, zeros: None }, .. } => Ending::Trailing { members, offset },
            State::Header if self.boundary.is_none() && is_zero(held) => Ending::NoEnd { members },
            State::Header | State::Extension { .. } => Ending::Cut { path: self.extensions.path().to_vec() },
            State::Padding { .. } if self.boundary.is_some() => Ending::Cut { path: self.extensions.path().to_vec() },
            State::SparseMap { .. } | State::Inline { .. } | State::Payload { .. } | State::Padding { .. } => {
                Ending::Cut { path: self.member.path }
            }
        }
    }

    /// Completes a block and acts on it. A block that comes in one piece is not copied.
    fn push_block<'b, E>(
        &mut self,
        bytes: &'b [u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<&'b [u8], E> {
        if self.filled == 0
            && let Some((block, rest)) = bytes.split_first_chunk()
        {
            self.act_on_block(block, sink)?;
            return Ok(rest);
        }
        let rest = self.fill_block(bytes);
        if self.filled == BLOCK_BYTES {
            self.filled = 0;
            let block = self.block;
            self.act_on_block(&block, sink)?;
        }
        Ok(rest)
    }

    /// Moves bytes into the block until it is full; returns those that are left.
    fn fill_block<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let (_, space) = self.block.split_at_mut(self.filled);
        let len = space.len().min(bytes.len());
        let (taken, rest) = bytes.split_at(len);
        let (space, _) = space.split_at_mut(len);
        space.copy_from_slice(taken);
        self.filled += len;
        rest
    }

    fn act_on_block<E>(
        &mut self,
        block: &[u8; BLOCK_BYTES],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let State::SparseMap { map_bytes } = self.state {
            return self.act_on_sparse_map(map_bytes, block, sink);
        }
        if block.first() == Some(&0) && is_zero(block) {
            return self.act_on_zero_block(block, sink);
        }
        // Readers stop at a lone zero block, so what follows it is not part of the archive.
        let header = if self.end_blocks == 0 { Header::decode(block).ok() } else { None };
        match header {
            None => self.turn_opaque(block, sink),
            Some(header) => match header.role {
                Role::Extension(kind) => self.act_on_extension(kind, &header, block, sink),
                Role::Member(kind) => self.act_on_member(kind, &header, block, sink),
            },
        }
    }

    fn act_on_zero_block<E>(
        &mut self,
        block: &[u8; BLOCK_BYTES],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.boundary.is_some() {
            // Extensions want a member, and this is none.
            return self.turn_opaque(block, sink);
        }
        self.envelope(block, sink)?;
        self.end_blocks += 1;
        if self.end_blocks == END_BLOCKS {
            let rest = Rest::AfterEnd { offset: self.offset, zeros: Some(0) };
            self.state = State::Opaque { rest, begun: Begun::No };
        }
        Ok(())
    }

    fn act_on_extension<E>(
        &mut self,
        kind: ExtensionKind,
        header: &Header<'_>,
        block: &[u8; BLOCK_BYTES],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let all_bytes = usize::try_from(header.size + padding(header.size))
            .ok()
            .and_then(|content| content.checked_add(self.extension_bytes + BLOCK_BYTES))
            .filter(|bytes| *bytes <= TAR_EXTENSION_BYTES_MAX);
        let (Some(all_bytes), Ok(left)) = (all_bytes, usize::try_from(header.size)) else {
            return self.turn_opaque(block, sink);
        };
        self.begin_member(sink)?;
        self.envelope(block, sink)?;
        self.extension_bytes = all_bytes;
        self.extension.clear();
        self.state = State::Extension { kind, left };
        if left == 0 {
            self.end_extension(kind);
        }
        Ok(())
    }

    fn push_extension<'b, E>(
        &mut self,
        kind: ExtensionKind,
        left: usize,
        bytes: &'b [u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<&'b [u8], E> {
        let (taken, rest) = bytes.split_at(left.min(bytes.len()));
        self.envelope(taken, sink)?;
        self.extension.extend_from_slice(taken);
        let left = left - taken.len();
        self.state = State::Extension { kind, left };
        if left == 0 {
            self.end_extension(kind);
        }
        Ok(rest)
    }

    fn end_extension(&mut self, kind: ExtensionKind) {
        let content = self.extension.as_slice();
        self.extensions.absorb(kind, content);
        let bytes = content.len() as u64;
        let padding = padding(bytes);
        // A global header that comes first is a unit of its own: it needs no member, and the next one has a boundary.
        if kind == ExtensionKind::PaxGlobal && self.extension_bytes as u64 == BLOCK_BYTES as u64 + bytes + padding {
            self.boundary = None;
            self.extension_bytes = 0;
        }
        self.pad(padding);
    }

    fn act_on_member<E>(
        &mut self,
        kind: MemberKind,
        header: &Header<'_>,
        block: &[u8; BLOCK_BYTES],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let values = self.extensions.take();
        let size = match values.as_ref().map_or(SizeRecord::Absent, |values| values.size) {
            _ if !kind.has_content() => Some(0),
            SizeRecord::Absent => Some(header.size),
            SizeRecord::Bytes(size) => Some(size),
            SizeRecord::Unreadable => None,
        };
        let longest = STREAM_BYTES_MAX.saturating_sub(self.offset);
        let Some(size) = size.filter(|size| *size <= longest) else {
            return self.turn_opaque(block, sink);
        };
        self.begin_member(sink)?;
        self.envelope(block, sink)?;
        self.describe(kind, size, header, values);
        if header.map_continues {
            self.state = State::SparseMap { map_bytes: 0 };
            return Ok(());
        }
        self.begin_content(sink)
    }

    /// Notes what the headers say of the member.
    fn describe(&mut self, kind: MemberKind, size: u64, header: &Header<'_>, values: Option<Values>) {
        let member = &mut self.member;
        member.path.clear();
        header.path_into(&mut member.path);
        member.link.clear();
        member.link.extend_from_slice(header.link);
        member.kind = kind;
        member.size = size;
        member.mode = header.mode;
        member.uid = header.uid;
        member.gid = header.gid;
        (member.mtime_seconds, member.mtime_nanos) = (header.mtime_seconds, 0);
        member.device_major = header.device_major;
        member.device_minor = header.device_minor;
        member.xattrs.clear();
        member.offset = self.boundary.take().unwrap_or(self.offset);
        self.extension_bytes = 0;
        let Some(values) = values else { return };
        if let Some(path) = values.path {
            member.path = path;
        }
        if let Some(link) = values.link {
            member.link = link;
        }
        if values.sparse && kind == MemberKind::File {
            member.kind = MemberKind::Sparse;
        }
        member.uid = values.uid.unwrap_or(member.uid);
        member.gid = values.gid.unwrap_or(member.gid);
        (member.mtime_seconds, member.mtime_nanos) = values.mtime.unwrap_or((header.mtime_seconds, 0));
        member.device_major = values.device_major.unwrap_or(member.device_major);
        member.device_minor = values.device_minor.unwrap_or(member.device_minor);
        member.xattrs = values.xattrs;
    }

    fn act_on_sparse_map<E>(
        &mut self,
        map_bytes: usize,
        block: &[u8; BLOCK_BYTES],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let map_bytes = map_bytes + BLOCK_BYTES;
        if map_bytes > TAR_SPARSE_MAP_BYTES_MAX {
            return self.turn_opaque(block, sink);
        }
        self.envelope(block, sink)?;
        self.state = State::SparseMap { map_bytes };
        if map_continues(block) { Ok(()) } else { self.begin_content(sink) }
    }

    /// Gives out the boundary before the first block of a member.
    fn begin_member<E>(&mut self, sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        if self.boundary.is_none() {
            self.boundary = Some(self.offset);
            self.member.path.clear();
            sink(Event::Boundary)?;
        }
        Ok(())
    }

    fn begin_content<E>(&mut self, sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        self.members += 1;
        self.member.content_offset = self.offset;
        sink(Event::Member(&self.member))?;
        let left = self.member.size;
        if left == 0 {
            self.state = State::Header;
        } else if left < PAYLOAD_BYTES_MIN as u64 {
            self.state = State::Inline { left };
        } else {
            sink(Event::PayloadStart { len: Some(left) })?;
            self.state = State::Payload { left };
        }
        Ok(())
    }

    /// Counts content that was given out, and goes on to the padding behind the last of it.
    fn advance_content(&mut self, taken: &[u8], left: u64, more: impl FnOnce(u64) -> State) {
        self.offset += taken.len() as u64;
        match left - taken.len() as u64 {
            0 => self.pad(padding(self.member.size)),
            left => self.state = more(left),
        }
    }

    /// Expects this much padding, then a header.
    fn pad(&mut self, left: u64) {
        self.state = if left == 0 { State::Header } else { State::Padding { left } };
    }

    /// From this block on the stream is opaque.
    fn turn_opaque<E>(
        &mut self,
        block: &[u8; BLOCK_BYTES],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.push_opaque(Rest::NotTar { offset: self.offset }, Begun::No, block, sink)?;
        Ok(())
    }

    fn push_opaque<'b, E>(
        &mut self,
        rest: Rest,
        begun: Begun,
        bytes: &'b [u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<&'b [u8], E> {
        let held = self.filled;
        // A rest of unknown length is a payload from a block on: that much can be held back.
        let wanted = if begun == Begun::Yes { 0 } else { BLOCK_BYTES };
        if held + bytes.len() < wanted {
            self.state = State::Opaque { rest: rest.followed_by(bytes), begun };
            return Ok(self.fill_block(bytes));
        }
        self.state = State::Opaque { rest: rest.followed_by(bytes), begun: Begun::Yes };
        if begun == Begun::No {
            sink(Event::PayloadStart { len: None })?;
        }
        if held > 0 {
            self.filled = 0;
            let block = self.block;
            let (held, _) = block.split_at(held);
            self.zeros.push(held, sink)?;
        }
        self.zeros.push(bytes, sink)?;
        self.offset += (held + bytes.len()) as u64;
        Ok(&[])
    }

    fn end_payload<E>(&mut self, sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        self.zeros.finish(sink)?;
        sink(Event::PayloadEnd)
    }

    fn envelope<E>(&mut self, bytes: &[u8], sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        self.offset += bytes.len() as u64;
        sink(Event::Envelope(bytes))
    }
}

impl Rest {
    fn followed_by(self, bytes: &[u8]) -> Self {
        match self {
            Self::AfterEnd { offset, zeros: Some(zeros) } => {
                let zeros = is_zero(bytes).then_some(zeros + bytes.len() as u64);
                Self::AfterEnd { offset, zeros }
            }
            other => other,
        }
    }
}

/// The first `most` bytes, or as many as there are, and the others.
fn split_most(bytes: &[u8], most: u64) -> (&[u8], &[u8]) {
    bytes.split_at(usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len()))
}

/// How many bytes follow a content of this length up to the next block.
fn padding(len: u64) -> u64 {
    const BLOCK: u64 = BLOCK_BYTES as u64;
    (BLOCK - len % BLOCK) % BLOCK
}
