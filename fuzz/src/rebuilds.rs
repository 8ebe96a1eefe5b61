//! A point that a writer made up: its table, parts and steps say whatever the input does.
//!
//! Who holds a write key can store such a point, sealed as well as any. What is honest comes back, whatever a segment
//! says of where it stands; what is not is refused, and a check that finds nothing wrong leaves nothing but the digests
//! to differ.

use std::io::{self, Write};
use std::sync::Arc;

use holdall::check::{CheckLevel, check};
use holdall::clock::Timestamp;
use holdall::codec::Encoder;
use holdall::crypto::seal::{FreeName, seal_free_from};
use holdall::crypto::{Aead, Fresh, KeyFile, SlotKey};
use holdall::id::{ChunkId, PackId, RunId, SegmentId};
use holdall::monitor::Silent;
use holdall::pack::{PackKind, Segment, SegmentPack};
use holdall::point::{Consistency, Content, Point, Statistics, StreamForm};
use holdall::recipe::{ChunkRef, Part, RecipeHasher, Step, TableRow};
use holdall::repo::{Catalog, Parity, Repository, Session, SessionRecord, SessionWriter, Writer};
use holdall::restore::{Digest, FetchError, export};
use holdall::source::Source;
use holdall::store::MemoryStore;
use xxhash_rust::xxh3::xxh3_128;

use super::choice;

/// The most that is written of a stream: zeros cost nothing to state.
const STREAM_BYTES_MAX: usize = 1 << 20;
/// The most steps of a part, so that an input is tried in no time.
const STEPS_MAX: u8 = 24;

/// A reference to a chunk that nobody has.
const NOTHING: ChunkRef = ChunkRef { id: ChunkId::from_bytes([8; 32]), len: 1 };

/// Takes bytes from an input; zeros when it is used up.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = choice(self.0);
        self.0 = rest;
        first
    }

    fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }
}

/// Stores what a recipe is made of, and keeps what the stream should be.
struct Maker<'w, 'r, 'a> {
    words: Words<'a>,
    writer: &'w Writer<'r>,
    session: SessionWriter<'w, 'r>,
    packs: Vec<PackId>,
    /// What has been stored, to be referred to again.
    chunks: Vec<(ChunkRef, Vec<u8>)>,
    stream: Vec<u8>,
    hasher: RecipeHasher,
    is_honest: bool,
    /// How a segment lies about where chunks stand, if one does.
    misled: Option<u8>,
}

impl Maker<'_, '_, '_> {
    fn store(&mut self, kind: PackKind, bytes: &[u8]) -> ChunkRef {
        let added = self.session.add(kind, bytes).expect("memory does not fail");
        self.packs.push(added.pack);
        added.chunk
    }

    /// A chunk of payload: one that was stored before, or a new one.
    fn chunk(&mut self) -> (ChunkRef, Vec<u8>) {
        let (chosen, len) = (self.words.byte(), self.words.byte());
        if let Some(known) = self.chunks.get(usize::from(chosen)) {
            return known.clone();
        }
        let bytes: Vec<u8> = (0..=len).map(|at| at.wrapping_mul(chosen) ^ chosen).collect();
        let made = (self.store(PackKind::Data, &bytes), bytes);
        self.chunks.push(made.clone());
        made
    }

    /// One part and its row; sometimes a lie.
    fn part(&mut self) -> TableRow {
        let (mut part, mut envelope) = (Part::default(), Vec::new());
        for _ in 0..self.words.byte() % STEPS_MAX {
            let step = match self.words.byte() % 8 {
                0..4 => {
                    let (chunk, bytes) = self.chunk();
                    self.stream.extend_from_slice(&bytes);
                    self.hasher.chunk(chunk);
                    Step::Chunk(chunk)
                }
                4 | 5 => {
                    let bytes = vec![self.words.byte(); usize::from(self.words.byte()) + 1];
                    self.stream.extend_from_slice(&bytes);
                    self.hasher.envelope(&bytes);
                    envelope.extend_from_slice(&bytes);
                    Step::Envelope(bytes.len() as u64)
                }
                6 => {
                    let len = usize::from(self.words.short()) + 1;
                    self.stream.resize(self.stream.len() + len, 0);
                    self.hasher.zeros(len as u64);
                    Step::Zeros(len as u64)
                }
                _ => self.lie_in_step(),
            };
            match (part.steps.last_mut(), step) {
                (Some(Step::Zeros(before)), Step::Zeros(len)) | (Some(Step::Envelope(before)), Step::Envelope(len)) => {
                    *before += len;
                }
                _ => part.steps.push(step),
            }
        }
        for bytes in envelope.chunks(usize::from(self.words.byte()) + 1) {
            let chunk = self.store(PackKind::Meta, bytes);
            part.envelope.push(chunk);
        }
        // A part is never empty.
        self.is_honest &= !part.steps.is_empty();
        self.row(&part, envelope.len() as u64)
    }

    fn lie_in_step(&mut self) -> Step {
        self.is_honest = false;
        let (mut chunk, _) = self.chunk();
        match self.words.byte() % 4 {
            0 => Step::Chunk(ChunkRef { id: ChunkId::from_bytes([9; 32]), ..chunk }),
            1 => {
                chunk.len = chunk.len.wrapping_add(u32::from(self.words.short())) % (1 << 22) + 1;
                Step::Chunk(chunk)
            }
            2 => Step::Envelope(1 << (self.words.byte() % 40)),
            _ => Step::Zeros(1 << (self.words.byte() % 60)),
        }
    }

    fn row(&mut self, part: &Part, envelope_len: u64) -> TableRow {
        let mut stored = part.encode();
        let stream_len = part.steps.iter().map(Step::len).sum();
        let mut row = TableRow { part: NOTHING, stream_len, envelope_len, first_path: b"path".to_vec() };
        match self.words.byte() {
            255 => stored.truncate(usize::from(self.words.byte())),
            254 => row.stream_len = self.words.short().into(),
            253 => row.envelope_len = self.words.short().into(),
            252 => stored.extend([self.words.byte(); 3]),
            251 => {
                let at = usize::from(self.words.byte());
                stored.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1);
            }
            _ => {
                row.part = self.store(PackKind::Meta, &stored);
                return row;
            }
        }
        self.is_honest = false;
        if !stored.is_empty() {
            row.part = self.store(PackKind::Meta, &stored);
        }
        row
    }

    fn content(mut self) -> (Content, Made) {
        let mut table = Encoder::new();
        for _ in 0..self.words.byte() % 6 {
            let row = self.part();
            // Repeated rows are one part at several places: honest only where the part is there once.
            row.encode(&mut table);
        }
        let mut table = table.finish();
        let (lie, amount) = (self.words.byte(), self.words.byte());
        if lie == 255 {
            table.truncate(usize::from(amount));
            self.is_honest = false;
        }
        self.misled = (lie == 253).then_some(amount);
        let mut chunks = Vec::new();
        for bytes in table.chunks(usize::from(self.words.byte()) * 8 + 1) {
            chunks.push(self.store(PackKind::Meta, bytes));
        }
        let mut stream_len = self.stream.len() as u64;
        if lie == 254 {
            stream_len ^= u64::from(amount) + 1;
            self.is_honest = false;
        }
        self.writer.store_packs().expect("memory does not fail");
        self.writer.name_packs().expect("memory does not fail");
        self.packs.sort_unstable();
        self.packs.dedup();
        let recipe_digest = self.hasher.finish();
        let stream_xxh3 = xxh3_128(&self.stream);
        let content = Content { stream_len, stream_xxh3, recipe_digest, table: chunks, packs: self.packs };
        (content, Made { stream: self.stream, is_honest: self.is_honest, misled: self.misled })
    }
}

/// What the point should be.
struct Made {
    stream: Vec<u8>,
    is_honest: bool,
    misled: Option<u8>,
}

/// Stores a segment that names every pack and says something else of its frames than the pack itself does.
fn mislead(repository: &Repository, how: u8) {
    let mut segment = Segment::default();
    for (id, bytes) in repository.list_packs().expect("memory does not fail") {
        let mut directory = repository.read_directory(id, bytes).expect("it was just stored");
        let frames = &mut directory.frames;
        match how % 4 {
            0 => frames.reverse(),
            1 => frames.iter_mut().for_each(|frame| frame.chunks.reverse()),
            2 => frames.iter_mut().for_each(|frame| frame.sealed_len = frame.sealed_len / 2 + 1),
            _ => frames.iter_mut().flat_map(|frame| &mut frame.chunks).for_each(|chunk| chunk.len = chunk.len / 2 + 1),
        }
        segment.packs.push(SegmentPack { id, bytes, directory });
    }
    let mut fresh = Fresh::fixed(Aead::Aes256Gcm, [how; 32]);
    let sealed = seal_free_from::<SegmentId>(&mut fresh, repository.write_keys(), &segment.encode());
    let (id, sealed) = sealed.expect("it can be sealed");
    let name = format!("index/{}", SegmentId::from_bytes(*id.name())).parse().expect("it is a name");
    let _ = repository.store().put(&name, &[&sealed]).expect("memory does not fail");
    // One that no decoder takes is damage, and then nobody is misled.
    let _ = repository.refresh_index().expect("memory does not fail");
}

/// A pipe that breaks after so many bytes.
#[derive(Default)]
struct Pipe(Vec<u8>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > STREAM_BYTES_MAX {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A point whose recipe the input describes is stored, checked and exported.
pub fn rebuild(data: &[u8]) {
    let now = Timestamp::from_micros(1_795_219_200_000_000).expect("it is in range");
    let key = KeyFile::fixed([7; 32]);
    let store = Arc::new(MemoryStore::new());
    let repository =
        Repository::init(store, &SlotKey::KeyFile(&key), now, 0, Parity::None).expect("memory does not fail");
    let run = RunId::from_bytes([1; 32]);
    let record = SessionRecord::of_this_process(run, "host", now);
    let writer = Writer::new(&repository, run);
    let (mut session, session_writer) = writer.open_session(&record).expect("memory does not fail");
    let maker = Maker {
        words: Words(data),
        writer: &writer,
        session: session_writer,
        packs: Vec::new(),
        chunks: Vec::new(),
        stream: Vec::new(),
        hasher: RecipeHasher::new(),
        is_honest: true,
        misled: None,
    };
    let (content, made) = maker.content();
    Session::flush([&mut session], &writer).expect("memory does not fail");
    let committed = session.commit(&writer, &point(run, now, content));
    assert!(committed.is_ok() || !made.is_honest, "an honest point is refused: {committed:?}");
    if let Some(how) = made.misled {
        mislead(&repository, how);
    }
    if committed.is_ok() {
        judge(&repository, &made);
    }
}

fn point(run: RunId, now: Timestamp, content: Content) -> Point {
    Point {
        run,
        source: Source::file("input"),
        server: None,
        host: "host".to_owned(),
        started: now,
        ended: now,
        form: StreamForm::File,
        original: None,
        consistency: Consistency::Unknown,
        remarks: Vec::new(),
        set: Vec::new(),
        description: String::new(),
        content,
        statistics: Statistics::default(),
    }
}

fn judge(repository: &Repository, made: &Made) {
    let Made { stream, is_honest, misled } = made;
    let says_nothing = |clean: bool| clean || misled.is_some();
    let catalog = Catalog::read(repository, &Silent).expect("memory does not fail");
    let [(_, point)] = catalog.points() else { panic!("the point was committed") };
    let report = check(repository, CheckLevel::ReadData, &Silent).expect("memory does not fail");
    let mut out = Pipe::default();
    let exported = export(repository, "the point", point, &mut out, Digest::None, &Silent);
    match exported {
        Ok(_) => {
            assert!(out.0.len() as u64 == point.content.stream_len);
            assert!(xxh3_128(&out.0) == point.content.stream_xxh3, "other bytes than the point's were written");
            assert!(says_nothing(report.is_clean()), "it comes back, and a check says {:?}", report.findings);
            assert!(!is_honest || out.0 == *stream);
        }
        Err(error) => {
            // The pipe breaks under a stream that is longer than it.
            let is_too_long = stream.len() > STREAM_BYTES_MAX;
            assert!(!is_honest || is_too_long, "an honest point does not come back: {error} {:?}", error.source);
            let only_seen_by_writing =
                matches!(error.source, FetchError::WrongDigest { .. } | FetchError::Write { .. });
            assert!(!report.is_clean() || only_seen_by_writing, "a check found nothing, but {:?}", error.source);
        }
    }
    assert!(!is_honest || says_nothing(report.is_clean()), "an honest point is called {:?}", report.findings);
}
