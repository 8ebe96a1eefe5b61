//! A repository of any size without the data: ids, recipes, points, segments and directories are real and written by
//! the product's own code; only the frames of payload packs are holes in their files.
//!
//! One source has points night after night. A night changes one part of the recipe in twenty, and in it one chunk in
//! four. A tenth of all chunks belongs to no point: half of that in packs that are wholly dead, half in packs where
//! every other chunk is.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdall::clock::Timestamp;
use holdall::codec::Encoder;
use holdall::crypto::{KeyFile, PACK_HEADER_BYTES, PackSealer, SlotKey, TAG_BYTES};
use holdall::id::{ChunkId, PackId, RunId};
use holdall::limits::{FRAME_PLAIN_BYTES_TARGET, PACK_BYTES_TARGET, SEGMENT_CHUNKS_TARGET};
use holdall::pack::{Directory, Frame, PackKind, PackedChunk, Segment, SegmentPack, Trailer};
use holdall::point::{Consistency, Content, Point, Statistics, StreamForm};
use holdall::recipe::{ChunkRef, Part, Step, TableRow};
use holdall::repo::{Commit, Parity, Repository, Session, SessionRecord, SessionWriter, Writer};
use holdall::source::Source;
use holdall::store::{Directory as StoreDirectory, LocalStore};

pub const POINTS: u32 = 30;
/// Payload chunks of a part on average: 6 to 7 KiB of recipe.
const PART_CHUNKS: u32 = 180;
/// Length of a payload chunk on average and at least.
const PAYLOAD_BYTES_MEAN: u32 = 64 << 10;
const PAYLOAD_BYTES_MIN: u32 = 8 << 10;
/// Payload chunks of a member.
const MEMBER_CHUNKS: usize = 12;
/// Bytes of a member's header in the envelope.
const HEADER_BYTES: usize = 512;
/// Rows of the table of parts in one chunk.
const TABLE_ROWS: usize = 512;
/// Chunks are alike in blocks of so many: one block in twenty is dead, another has every other chunk dead.
const BLOCK_CHUNKS: u32 = 20_000;
const DAY_MICROS: u64 = 86_400_000_000;
const FIRST_NIGHT_MICROS: u64 = 1_795_219_200_000_000;

/// What was made, as far as a test wants to find it again.
#[derive(Debug, Default)]
pub struct Made {
    /// Payload chunks, in use or not.
    pub chunks: u32,
    pub parts: u64,
    /// Chunks that tables, parts and envelopes refer to, those of a part once.
    pub references: u64,
    /// Payload packs of which no point uses anything.
    pub dead_packs: u64,
    pub packs: u64,
}

/// A number that follows from these, evenly spread.
fn draw(what: &str, a: u32, b: u32) -> u32 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(what.as_bytes()).update(&a.to_le_bytes()).update(&b.to_le_bytes());
    let [first, second, third, fourth, ..] = *hasher.finalize().as_bytes();
    u32::from_le_bytes([first, second, third, fourth])
}

/// The payload chunk of this number.
fn payload(number: u32) -> PackedChunk {
    let id = *blake3::hash(&number.to_le_bytes()).as_bytes();
    let spread = u32::from_le_bytes([id[28], id[29], id[30], id[31]]) % (2 * (PAYLOAD_BYTES_MEAN - PAYLOAD_BYTES_MIN));
    PackedChunk { id: ChunkId::from_bytes(id), len: PAYLOAD_BYTES_MIN + spread }
}

fn is_dead(number: u32) -> bool {
    match number / BLOCK_CHUNKS % 20 {
        7 => true,
        3 | 13 => number.is_multiple_of(2),
        _ => false,
    }
}

/// One place in the recipe: the part that stands there now.
struct Slot {
    number: u32,
    chunks: Vec<u32>,
    row: Vec<u8>,
    stream_len: u64,
}

pub struct Synthetic {
    directory: PathBuf,
    repository: Repository,
    slots: Vec<Slot>,
    /// The first payload chunk of each payload pack, and the pack.
    packs: Vec<(u32, PackId)>,
    meta_packs: BTreeSet<PackId>,
    unnamed: Segment,
    unnamed_chunks: usize,
    /// The next payload chunk that no part refers to yet, and the next that is in no pack.
    next: u32,
    next_packed: u32,
    made: Made,
}

impl Synthetic {
    /// Makes a repository of so many payload chunks, and a few more, in `directory`, and its key file beside it.
    pub fn make(directory: &Path, key_file: &Path, chunks: u32) -> Made {
        let key = KeyFile::fixed([7; 32]);
        fs::File::create(key_file).and_then(|mut file| file.write_all(key.to_text().as_bytes())).unwrap();
        let store = Arc::new(LocalStore::create(directory).unwrap());
        let begun = Timestamp::from_micros(FIRST_NIGHT_MICROS).unwrap();
        let repository = Repository::init(store, &SlotKey::KeyFile(&key), begun, 0, Parity::None).unwrap();
        // What all nights together refer to, as a multiple of one night's: a quarter of a twentieth is new each time.
        let of_one_night = u64::from(chunks) * 9 / 10 * 80 / (80 + u64::from(POINTS - 1));
        let slots = u32::try_from(of_one_night).unwrap() / PART_CHUNKS * 51 / 50;
        let slot = |number| Slot { number, chunks: Vec::new(), row: Vec::new(), stream_len: 0 };
        let mut made = Self {
            directory: directory.to_owned(),
            repository,
            slots: (0..slots).map(slot).collect(),
            packs: Vec::new(),
            meta_packs: BTreeSet::new(),
            unnamed: Segment::default(),
            unnamed_chunks: 0,
            next: 0,
            next_packed: 0,
            made: Made::default(),
        };
        for night in 0..POINTS {
            made.night(night);
        }
        made.read_one_back();
        assert!(made.next >= chunks && made.next / 20 * 19 <= chunks, "{}", made.next);
        made.made.chunks = made.next;
        made.made.packs = (made.packs.len() + made.meta_packs.len()) as u64;
        made.made.dead_packs = made.dead_packs();
        made.made
    }

    fn night(&mut self, night: u32) {
        let started = Timestamp::from_micros(FIRST_NIGHT_MICROS + u64::from(night) * DAY_MICROS).unwrap();
        let run = RunId::random().unwrap();
        let mut slots = std::mem::take(&mut self.slots);
        for slot in slots.iter_mut().filter(|slot| night == 0 || draw("part", night, slot.number).is_multiple_of(20)) {
            self.renew(slot, night);
        }
        self.store_payload(run);
        let writer = Writer::new(&self.repository, run);
        let record = SessionRecord::of_this_process(run, "test-host", started);
        let (mut session, mut adding) = writer.open_session(&record).unwrap();
        let (mut meta_packs, mut made) = (std::mem::take(&mut self.meta_packs), std::mem::take(&mut self.made));
        for slot in slots.iter_mut().filter(|slot| slot.row.is_empty()) {
            store_part(slot, night, &mut adding, &mut meta_packs, &mut made);
        }
        let mut table = Vec::new();
        for rows in slots.chunks(TABLE_ROWS) {
            let rows: Vec<u8> = rows.iter().flat_map(|slot| slot.row.iter().copied()).collect();
            table.push(add(&rows, &mut adding, &mut meta_packs));
        }
        made.references += table.len() as u64;
        adding.end().unwrap();
        Session::flush([&mut session], &writer).unwrap();
        let point = point(run, started, slots.iter().map(|slot| slot.stream_len).sum(), table);
        let packs = self.packs_of(&slots, &meta_packs);
        let point = Point { content: Content { packs, ..point.content }, ..point };
        assert_eq!(session.commit(&writer, &point).unwrap(), Commit::Done);
        (self.slots, self.meta_packs, self.made) = (slots, meta_packs, made);
    }

    /// Gives a part other chunks: all of them in the first night, later one in four.
    fn renew(&mut self, slot: &mut Slot, night: u32) {
        slot.row.clear();
        let count = PART_CHUNKS * 2 / 3 + draw("chunks", 0, slot.number) % (PART_CHUNKS * 2 / 3);
        slot.chunks.resize(count as usize, 0);
        for (chunk, at) in slot.chunks.iter_mut().zip(0_u32..) {
            if night == 0 || (at + slot.number + night).is_multiple_of(4) {
                while is_dead(self.next) {
                    self.next += 1;
                }
                *chunk = self.next;
                self.next += 1;
            }
        }
    }

    /// Packs for all payload chunks up to the last that a part refers to, those between that none does included.
    fn store_payload(&mut self, run: RunId) {
        let mut frames = Vec::new();
        let mut bytes = 0;
        let mut frame: (Vec<PackedChunk>, u32) = Default::default();
        let mut first = self.next_packed;
        for number in self.next_packed..self.next {
            let chunk = payload(number);
            frame.1 += chunk.len;
            frame.0.push(chunk);
            let is_last = number + 1 == self.next;
            if frame.1 as usize >= FRAME_PLAIN_BYTES_TARGET || is_last {
                // What does not compress takes a byte and a tag more.
                let (chunks, plain_len) = std::mem::take(&mut frame);
                let sealed_len = plain_len + 1 + u32::try_from(TAG_BYTES).unwrap();
                bytes += sealed_len as usize;
                frames.push(Frame { sealed_len, chunks });
            }
            if bytes >= PACK_BYTES_TARGET || is_last {
                self.store_hollow(first, run, std::mem::take(&mut frames));
                (first, bytes) = (number + 1, 0);
            }
        }
        self.next_packed = self.next;
        self.name_packs();
    }

    /// A payload pack whose frames are a hole: header, directory and trailer are real.
    fn store_hollow(&mut self, first: u32, run: RunId, frames: Vec<Frame>) {
        let (sealer, header) = PackSealer::new(self.repository.write_keys()).unwrap();
        let frames_offset = u32::try_from(PACK_HEADER_BYTES).unwrap();
        let directory = Directory { kind: PackKind::Data, run, frames_offset, frames };
        let mut plain = Encoder::new();
        directory.encode(&mut plain);
        let mut end = sealer.seal_directory(&plain.finish()).unwrap();
        let directory_len = u32::try_from(end.len()).unwrap();
        let directory_offset = directory.frames_end();
        end.extend(Trailer { directory_offset, directory_len, parity_len: 0 }.encode());
        let id = sealer.id();
        // Not through the store, which syncs every file.
        let name = "packs".parse::<StoreDirectory>().unwrap().shard(id.as_bytes()).id(id.as_bytes());
        let file = File::create_new(self.directory.join(name.as_str())).unwrap();
        file.write_all_at(&header, 0).unwrap();
        file.write_all_at(&end, directory_offset.into()).unwrap();
        self.packs.push((first, id));
        self.unnamed_chunks += directory.chunk_count();
        let bytes = u64::from(directory_offset) + end.len() as u64;
        self.unnamed.packs.push(SegmentPack { id, bytes, directory });
        if self.unnamed_chunks >= SEGMENT_CHUNKS_TARGET {
            self.name_packs();
        }
    }

    fn name_packs(&mut self) {
        let segment = std::mem::take(&mut self.unnamed);
        if !segment.packs.is_empty() {
            self.repository.put_segment(&segment).unwrap();
        }
        self.unnamed_chunks = 0;
    }

    fn packs_of(&self, slots: &[Slot], meta_packs: &BTreeSet<PackId>) -> Vec<PackId> {
        let mut used = vec![false; self.packs.len()];
        for chunk in slots.iter().flat_map(|slot| &slot.chunks) {
            used[self.packs.partition_point(|(first, _)| first <= chunk) - 1] = true;
        }
        let payload = self.packs.iter().zip(used).filter(|(_, used)| *used).map(|((_, pack), _)| *pack);
        let packs: BTreeSet<PackId> = payload.chain(meta_packs.iter().copied()).collect();
        packs.into_iter().collect()
    }

    /// Packs without a chunk that any part ever referred to.
    fn dead_packs(&self) -> u64 {
        let ends = self.packs.iter().skip(1).map(|(first, _)| *first).chain([self.next_packed]);
        self.packs.iter().zip(ends).filter(|((first, _), end)| (*first..*end).all(is_dead)).count() as u64
    }

    /// What the product reads from the files that were not written through its store.
    fn read_one_back(&self) {
        let (first, pack) = self.packs[self.packs.len() / 2];
        let packs = self.repository.list_packs().unwrap();
        let (_, bytes) = packs.iter().find(|(id, _)| *id == pack).unwrap();
        let directory = self.repository.directory_of(pack, *bytes).unwrap();
        assert_eq!(directory.chunks().next(), Some(&payload(first)));
    }
}

/// Stores a chunk of recipe or envelope.
fn add(bytes: &[u8], adding: &mut SessionWriter<'_, '_>, meta_packs: &mut BTreeSet<PackId>) -> ChunkRef {
    let added = adding.add(PackKind::Meta, bytes).unwrap();
    meta_packs.insert(added.pack);
    added.chunk
}

/// Stores a part with its envelope, one header before every few chunks, and makes its row of the table.
fn store_part(
    slot: &mut Slot,
    night: u32,
    adding: &mut SessionWriter<'_, '_>,
    meta_packs: &mut BTreeSet<PackId>,
    made: &mut Made,
) {
    let path = |member: usize| format!("backup/container/rootfs/srv/data-{}/file-{member}", slot.number);
    let (mut envelope, mut steps) = (Vec::new(), Vec::new());
    for (member, chunks) in slot.chunks.chunks(MEMBER_CHUNKS).enumerate() {
        let mut header =
            format!("{}\0 changed in night {night}, {:x}", path(member), draw("header", night, slot.number));
        header.push_str(&"\0".repeat(HEADER_BYTES - header.len()));
        envelope.extend_from_slice(header.as_bytes());
        steps.push(Step::Envelope(HEADER_BYTES as u64));
        let chunk = |number: &u32| {
            let PackedChunk { id, len } = payload(*number);
            Step::Chunk(ChunkRef { id, len })
        };
        steps.extend(chunks.iter().map(chunk));
    }
    let part = Part { lead: 0, envelope: vec![add(&envelope, adding, meta_packs)], steps };
    let row = TableRow {
        part: add(&part.encode(), adding, meta_packs),
        stream_len: part.stream_len(),
        envelope_len: part.envelope_len(),
        first_path: path(0).into_bytes(),
    };
    let mut encoded = Encoder::new();
    row.encode(&mut encoded);
    (slot.row, slot.stream_len) = (encoded.finish(), row.stream_len);
    made.parts += 1;
    made.references += slot.chunks.len() as u64 + 1;
}

/// A point without its packs.
fn point(run: RunId, started: Timestamp, stream_len: u64, table: Vec<ChunkRef>) -> Point {
    Point {
        run,
        source: Source::instance("lab", "default", "web1"),
        server: None,
        host: "test-host".to_owned(),
        started,
        ended: started,
        form: StreamForm::Export { optimized: false },
        original: None,
        consistency: Consistency::Stopped,
        remarks: Vec::new(),
        set: Vec::new(),
        description: "{}".to_owned(),
        content: Content { stream_len, stream_xxh3: 0, recipe_digest: [0; 32], table, packs: Vec::new() },
        statistics: Statistics::default(),
    }
}
