//! From a stream to chunks and a recipe: read, split, chunk, look up, and hand what is new to the writer.
//!
//! One thread reads, so that the daemon never waits for our hashing; this one splits, cuts and hashes; compressing and
//! sealing happen behind the writer. Queues are bounded in bytes. Nothing here decides what a stream is worth.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::mpsc;

use xxhash_rust::xxh3::Xxh3;

use crate::backup::accept::Acceptor;
use crate::chunk::Chunker;
use crate::codec::Encoder;
use crate::id::PackId;
use crate::limits::PIECE_BYTES;
use crate::monitor::{Event as Progress, Monitor};
use crate::multipart;
use crate::pack::PackKind;
use crate::point::{Content, Statistics};
use crate::recipe::{ChunkRef, Part, PartBuilder, RecipeHasher, TableRow};
use crate::repo::{RepoError, SessionWriter};
use crate::tar::{Ending, Event, Splitter};

/// Why a stream could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The stream could not be read.
    #[error("The stream broke off after {read} bytes")]
    Read {
        /// Bytes that arrived.
        read: u64,
        /// Why.
        source: io::Error,
    },
    /// What is new could not be stored.
    #[error(transparent)]
    Store(#[from] RepoError),
    /// The user asked to stop.
    #[error("Stopped on request")]
    Stopped,
}

/// How a stream is taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splitting {
    /// As an archive, as far as it is one.
    Tar,
    /// As one payload.
    Opaque,
    /// As the files in a multipart body.
    Multipart,
}

/// What became of a stream.
pub struct Recorded {
    /// How to rebuild it.
    pub content: Content,
    /// What it cost.
    pub statistics: Statistics,
    /// How it ended as an archive.
    pub ending: Ending,
    /// What the acceptance rule saw.
    pub acceptor: Acceptor,
}

/// Who hears of a stream as it passes, and what it is called.
#[derive(Clone, Copy)]
pub struct Watch<'m> {
    /// What is worked on, as in its [`Progress::Started`].
    pub object: &'m str,
    /// Hears, and says when to stop.
    pub monitor: &'m dyn Monitor,
    /// Bytes that may wait between the socket and the splitter.
    pub queue_bytes: usize,
}

/// Stores a stream: everything of it is in the writer's hands afterwards, and nothing refers to it yet.
pub fn record<R: Read + Send>(
    writer: SessionWriter<'_, '_>,
    stream: &mut R,
    splitting: Splitting,
    watch: Watch<'_>,
) -> Result<Recorded, StreamError> {
    let Watch { object, monitor, queue_bytes } = watch;
    let mut recorder = Recorder::new(writer);
    let mut divider = Divider::new(splitting);
    let mut digest = Xxh3::new();
    let mut len = 0_u64;
    std::thread::scope(|scope| {
        // The queue is part of the scope: if this thread ends early, the reader's next send fails and it ends, too.
        let piece_bytes = PIECE_BYTES.min(queue_bytes / 4);
        let (pieces, arrived) = mpsc::sync_channel(queue_bytes / piece_bytes);
        scope.spawn(move || read_pieces(stream, piece_bytes, &pieces));
        for piece in arrived {
            let piece: Vec<u8> = piece.map_err(|source| StreamError::Read { read: len, source })?;
            if monitor.stop_requested() {
                return Err(StreamError::Stopped);
            }
            digest.update(&piece);
            len += piece.len() as u64;
            divider.push(&piece, &mut recorder)?;
            monitor.event(Progress::Advanced { object: Some(object.to_owned()), bytes: piece.len() as u64 });
        }
        Ok(())
    })?;
    let ending = divider.finish(&mut recorder)?;
    recorder.finish(len, digest.digest128(), ending)
}

/// Takes a stream apart, one way or another.
enum Divider {
    Whole(Box<Splitter>),
    Parts(multipart::Splitter, Parts),
}

/// The files of a multipart body, each one payload; what stands around them is envelope.
#[derive(Default)]
struct Parts {
    file: Option<Box<Splitter>>,
}

impl Divider {
    fn new(splitting: Splitting) -> Self {
        match splitting {
            Splitting::Tar => Self::Whole(Box::default()),
            Splitting::Opaque => Self::Whole(Box::new(Splitter::opaque())),
            Splitting::Multipart => Self::Parts(multipart::Splitter::new(), Parts::default()),
        }
    }

    fn push(&mut self, bytes: &[u8], recorder: &mut Recorder<'_, '_>) -> Result<(), RepoError> {
        match self {
            Self::Whole(splitter) => splitter.push(bytes, &mut |event| recorder.event(&event)),
            Self::Parts(body, parts) => body.push(bytes, &mut |event| parts.event(event, recorder)),
        }
    }

    fn finish(self, recorder: &mut Recorder<'_, '_>) -> Result<Ending, RepoError> {
        match self {
            Self::Whole(splitter) => splitter.finish(&mut |event| recorder.event(&event)),
            Self::Parts(body, mut parts) => {
                body.finish(&mut |event| parts.event(event, recorder))?;
                Ok(Ending::NotTar { offset: 0 })
            }
        }
    }
}

impl Parts {
    fn event(&mut self, event: multipart::Event<'_>, recorder: &mut Recorder<'_, '_>) -> Result<(), RepoError> {
        match event {
            multipart::Event::Framing(bytes) => {
                recorder.event(&Event::Boundary)?;
                recorder.event(&Event::Envelope(bytes))
            }
            multipart::Event::Begin => {
                self.file = Some(Box::new(Splitter::opaque()));
                Ok(())
            }
            multipart::Event::Content(bytes) => match &mut self.file {
                Some(file) => file.push(bytes, &mut |event| recorder.event(&event)),
                None => Ok(()),
            },
            multipart::Event::End => match self.file.take() {
                Some(file) => file.finish(&mut |event| recorder.event(&event)).map(|_| ()),
                None => Ok(()),
            },
        }
    }
}

/// Reads the stream to its end in pieces; stops when nobody takes them any more.
fn read_pieces(stream: &mut impl Read, piece_bytes: usize, pieces: &mpsc::SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = Vec::with_capacity(piece_bytes);
        let result = stream.by_ref().take(piece_bytes as u64).read_to_end(&mut piece);
        // What arrived before an error is worth nothing: the stream is not complete.
        let ended = result.is_err() || piece.is_empty();
        let sent = match result {
            Err(error) => pieces.send(Err(error)),
            Ok(_) if piece.is_empty() => Ok(()),
            Ok(_) => pieces.send(Ok(piece)),
        };
        if ended || sent.is_err() {
            return;
        }
    }
}

/// Takes the splitter's events.
struct Recorder<'w, 'r> {
    writer: SessionWriter<'w, 'r>,
    payload: Chunker<'r>,
    envelope: Chunker<'r>,
    table: Chunker<'r>,
    /// Payload chunks that were cut and are not in the recipe yet.
    cut: Vec<ChunkRef>,
    part: PartBuilder,
    hasher: RecipeHasher,
    out: Gathered,
    acceptor: Acceptor,
}

/// What a stream came to so far.
#[derive(Default)]
struct Gathered {
    table: Vec<ChunkRef>,
    packs: BTreeSet<PackId>,
    statistics: Statistics,
}

impl Gathered {
    /// Stores a chunk if it is new and notes where it is.
    fn store(
        &mut self,
        writer: &mut SessionWriter<'_, '_>,
        kind: PackKind,
        bytes: &[u8],
    ) -> Result<ChunkRef, RepoError> {
        let added = writer.add(kind, bytes)?;
        self.packs.insert(added.pack);
        if kind == PackKind::Data {
            self.statistics.chunks += 1;
            self.statistics.new_chunks += u64::from(added.new);
        }
        if added.new {
            self.statistics.new_bytes += bytes.len() as u64;
        }
        Ok(added.chunk)
    }
}

impl<'w, 'r> Recorder<'w, 'r> {
    fn new(writer: SessionWriter<'w, 'r>) -> Self {
        let (gear, config) = (writer.repository().gear(), writer.repository().config());
        Self {
            writer,
            payload: Chunker::new(gear, config.payload),
            envelope: Chunker::new(gear, config.envelope),
            table: Chunker::new(gear, config.envelope),
            cut: Vec::new(),
            part: PartBuilder::new(),
            hasher: RecipeHasher::new(),
            out: Gathered::default(),
            acceptor: Acceptor::new(),
        }
    }

    fn event(&mut self, event: &Event<'_>) -> Result<(), RepoError> {
        self.acceptor.event(event);
        match event {
            Event::Boundary => self.boundary(),
            Event::Envelope(bytes) | Event::Inline(bytes) => self.envelope(bytes),
            Event::Member(member) => {
                self.part.member(&member.path);
                Ok(())
            }
            Event::PayloadStart { .. } => Ok(()),
            Event::Payload(bytes) => self.payload(bytes),
            Event::Zeros(len) => {
                // A chunk never spans a run of zeros: what stands before it ends as at the end of a file.
                self.end_payload()?;
                self.part.zeros(*len);
                self.hasher.zeros(*len);
                self.inside()
            }
            Event::PayloadEnd => self.end_payload(),
        }
    }

    fn boundary(&mut self) -> Result<(), RepoError> {
        if self.part.boundary() {
            self.end_part()?;
            self.part.boundary();
        }
        Ok(())
    }

    fn envelope(&mut self, bytes: &[u8]) -> Result<(), RepoError> {
        self.hasher.envelope(bytes);
        self.part.envelope(bytes);
        let (out, writer, part) = (&mut self.out, &mut self.writer, &mut self.part);
        self.envelope.push(bytes, &mut |chunk| {
            part.envelope_chunk(out.store(writer, PackKind::Meta, chunk)?);
            Ok(())
        })
    }

    fn payload(&mut self, bytes: &[u8]) -> Result<(), RepoError> {
        let (out, writer, cut) = (&mut self.out, &mut self.writer, &mut self.cut);
        self.payload.push(bytes, &mut |chunk| {
            cut.push(out.store(writer, PackKind::Data, chunk)?);
            Ok::<_, RepoError>(())
        })?;
        self.take_cut()
    }

    fn end_payload(&mut self) -> Result<(), RepoError> {
        let (out, writer, cut) = (&mut self.out, &mut self.writer, &mut self.cut);
        self.payload.end(&mut |chunk| {
            cut.push(out.store(writer, PackKind::Data, chunk)?);
            Ok::<_, RepoError>(())
        })?;
        self.take_cut()
    }

    /// Adds the chunks just cut one by one, so that where parts end does not depend on the pieces that were read.
    fn take_cut(&mut self) -> Result<(), RepoError> {
        for chunk in std::mem::take(&mut self.cut) {
            self.part.chunk(chunk);
            self.hasher.chunk(chunk);
            self.inside()?;
        }
        Ok(())
    }

    fn inside(&mut self) -> Result<(), RepoError> {
        if self.part.inside() { self.end_part() } else { Ok(()) }
    }

    fn end_part(&mut self) -> Result<(), RepoError> {
        let (out, writer, part) = (&mut self.out, &mut self.writer, &mut self.part);
        self.envelope.end(&mut |chunk| {
            part.envelope_chunk(out.store(writer, PackKind::Meta, chunk)?);
            Ok::<_, RepoError>(())
        })?;
        let (part, first_path) = part.finish();
        let encoded = part.encode();
        Part::decode(&encoded)
            .map_err(|source| RepoError::BeyondLimits { object: "A recipe part".to_owned(), source })?;
        let row = TableRow {
            part: out.store(writer, PackKind::Meta, &encoded)?,
            stream_len: part.stream_len(),
            envelope_len: part.envelope_len(),
            first_path,
        };
        let mut encoded = Encoder::new();
        row.encode(&mut encoded);
        self.table.push(&encoded.finish(), &mut |chunk| {
            let chunk = out.store(writer, PackKind::Meta, chunk)?;
            out.table.push(chunk);
            Ok(())
        })
    }

    fn finish(mut self, stream_len: u64, stream_xxh3: u128, ending: Ending) -> Result<Recorded, StreamError> {
        self.end_payload()?;
        if !self.part.is_empty() {
            self.end_part()?;
        }
        let (out, writer) = (&mut self.out, &mut self.writer);
        self.table.end(&mut |chunk| {
            let chunk = out.store(writer, PackKind::Meta, chunk)?;
            out.table.push(chunk);
            Ok::<_, RepoError>(())
        })?;
        let Gathered { table, packs, mut statistics } = self.out;
        if let Ending::Complete { members, .. } = &ending {
            statistics.members = *members;
        }
        statistics.stored_bytes = self.writer.end()?;
        let recipe_digest = self.hasher.finish();
        let packs = packs.into_iter().collect();
        Ok(Recorded {
            content: Content { stream_len, stream_xxh3, recipe_digest, table, packs },
            statistics,
            ending,
            acceptor: self.acceptor,
        })
    }
}
