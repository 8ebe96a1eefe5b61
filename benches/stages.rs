//! Every stage of the pipeline by itself, in memory and on one thread.

use std::hint::black_box;

use holdall::chunk::{ChunkParams, Chunker, Gear};
use holdall::compress::{Level, compress, decompress};
use holdall::crypto::key::ReadKeys;
use holdall::crypto::{FrameOpener, PackSealer};
use holdall::id::{ChunkId, PackId, RepositoryId, RunId, SegmentId};
use holdall::index::{Index, memory::MemoryIndex};
use holdall::pack::{Directory, Frame, PackKind, PackedChunk, Segment, SegmentPack};
use holdall::recipe::{ChunkRef, Part, PartBuilder, RecipeHasher};
use holdall::tar::Splitter;

use crate::meter::measure;

mod data;
mod meter;

const FRAME_BYTES: usize = 2 << 20;
const STREAM_BYTES: usize = 64 << 20;
/// A case repeats until it took this long, for ticks of the processor's time are coarse.
const SECONDS_MIN: f64 = 1.0;

fn main() {
    let tree = data::tree(STREAM_BYTES, data::noise);
    split(&tree);
    let (text, noise) = (data::text(1, STREAM_BYTES), data::noise(1, STREAM_BYTES));
    chunk(&noise);
    frames("text", &text);
    frames("noise", &noise);
    recipe();
    index("memory", &MemoryIndex::new());
    rocks();
}

fn split(tree: &[u8]) {
    measure("splitter, pieces of 1 MiB", tree.len(), SECONDS_MIN, || {
        let mut splitter = Splitter::new();
        let mut events = 0_u64;
        let mut sink = |event: holdall::tar::Event<'_>| {
            events += 1;
            black_box(&event);
            Ok::<(), ()>(())
        };
        for piece in tree.chunks(1 << 20) {
            splitter.push(piece, &mut sink).expect("the sink takes everything");
        }
        splitter.finish(&mut sink).expect("the sink takes everything");
        black_box(events);
    });
}

fn chunk(bytes: &[u8]) {
    let (gear, keys) = (Gear::derive(&[7; 32]), keys());
    measure("chunker, payload", bytes.len(), SECONDS_MIN, || {
        let mut chunker = Chunker::new(&gear, ChunkParams::PAYLOAD);
        let mut chunks = 0_u64;
        let mut sink = |_: &[u8]| {
            chunks += 1;
            Ok::<(), ()>(())
        };
        for piece in bytes.chunks(1 << 20) {
            chunker.push(piece, &mut sink).expect("the sink takes everything");
        }
        chunker.end(&mut sink).expect("the sink takes everything");
        black_box(chunks);
    });
    let id_key = keys.write().id_key();
    measure("chunk ids, of 256 KiB", bytes.len(), SECONDS_MIN, || {
        for chunk in bytes.chunks(256 << 10) {
            black_box(id_key.chunk_id(chunk));
        }
    });
    measure("XXH3-128 of the stream", bytes.len(), SECONDS_MIN, || {
        black_box(xxhash_rust::xxh3::xxh3_128(bytes));
    });
}

fn keys() -> ReadKeys {
    ReadKeys::fixed(RepositoryId::from_bytes([1; 32]), [2; 32], [3; 32]).expect("they are usable")
}

fn frames(what: &str, bytes: &[u8]) {
    let frames: Vec<&[u8]> = bytes.chunks(FRAME_BYTES).collect();
    measure(&format!("compress {what}, zstd-3"), bytes.len(), SECONDS_MIN, || {
        for frame in &frames {
            black_box(compress(frame.to_vec(), Level::DEFAULT).expect("there is memory"));
        }
    });
    let packed: Vec<Vec<u8>> =
        frames.iter().map(|frame| compress(frame.to_vec(), Level::DEFAULT).expect("there is memory")).collect();
    let packed_len: usize = packed.iter().map(Vec::len).sum();
    println!("{:44} {:9} per mille", format!("  {what} becomes"), packed_len * 1000 / bytes.len());
    measure(&format!("decompress {what}"), bytes.len(), SECONDS_MIN, || {
        for frame in &packed {
            black_box(decompress(frame, FRAME_BYTES, FRAME_BYTES).expect("it was compressed"));
        }
    });
    let keys = keys();
    measure(&format!("seal {what}, and open again, per sealed byte"), packed_len, SECONDS_MIN, || {
        let (sealer, _) = PackSealer::new(keys.write()).expect("it can be made");
        for (number, frame) in (0..).zip(&packed) {
            black_box(sealer.seal_frame(number, frame).expect("it can be sealed"));
        }
    });
    let (sealer, header) = PackSealer::new(keys.write()).expect("it can be made");
    let stored: Vec<Vec<u8>> =
        (0..).zip(&packed).map(|(number, frame)| sealer.seal_frame(number, frame).expect("it can be sealed")).collect();
    let opener = FrameOpener::new(&keys, sealer.id(), &header).expect("it opens");
    measure(&format!("open {what}, copied first, per sealed byte"), packed_len, SECONDS_MIN, || {
        (0..).zip(&stored).for_each(|(number, frame)| {
            let mut frame = frame.clone();
            black_box(opener.open(number, &mut frame).expect("it opens").len());
        });
    });
}

/// Members of one header and one chunk each, as a tree of files of 20 KB would give them.
fn recipe() {
    const MEMBERS: u64 = 200_000;
    const MEMBER_BYTES: usize = 20_480 + 512;
    let ids: Vec<ChunkId> =
        (0..MEMBERS).map(|n| ChunkId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes())).collect();
    let build = || {
        let (mut builder, mut hasher, mut parts) = (PartBuilder::new(), RecipeHasher::new(), Vec::new());
        let mut envelope_len = 0;
        let mut finish = |builder: &mut PartBuilder, envelope_len: &mut u32| {
            builder.envelope_chunk(ChunkRef { id: ids[0], len: std::mem::take(envelope_len) });
            parts.push(builder.finish().0.encode());
        };
        for (number, id) in ids.iter().enumerate() {
            if builder.boundary() {
                finish(&mut builder, &mut envelope_len);
                builder.boundary();
            }
            let mut header = [0; 512];
            header[..32].copy_from_slice(ids[number].as_bytes());
            hasher.envelope(&header);
            builder.envelope(&header);
            envelope_len += 512;
            builder.member(b"a/path/of/usual/length");
            let chunk = ChunkRef { id: *id, len: 20_480 };
            hasher.chunk(chunk);
            builder.chunk(chunk);
        }
        finish(&mut builder, &mut envelope_len);
        black_box(hasher.finish());
        parts
    };
    let stream_len = usize::try_from(MEMBERS).unwrap_or(0) * MEMBER_BYTES;
    measure("recipe, building, per byte of stream", stream_len, SECONDS_MIN, &build);
    let parts = build();
    measure("recipe, reading, per byte of stream", stream_len, SECONDS_MIN, || {
        for part in &parts {
            black_box(Part::decode(part).expect("it was built"));
        }
    });
}

/// A million chunks in eight segments; looked up in batches.
fn index(what: &str, index: &dyn Index) {
    const CHUNKS: u64 = 1 << 20;
    const BATCH: usize = 64;
    let id = |n: u64| ChunkId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes());
    let segment = |number: u64| {
        let chunks = number * CHUNKS / 8..(number + 1) * CHUNKS / 8;
        let chunks: Vec<PackedChunk> = chunks.map(|n| PackedChunk { id: id(n), len: 200 }).collect();
        let frames = chunks.chunks(4096).map(|chunks| Frame { sealed_len: 400_000, chunks: chunks.to_vec() }).collect();
        let run = RunId::from_bytes([1; 32]);
        let directory = Directory { kind: PackKind::Data, run, frames_offset: 144, frames };
        let pack = PackId::from_bytes(*blake3::hash(&[7, number.to_le_bytes()[0]]).as_bytes());
        Segment { packs: vec![SegmentPack { id: pack, bytes: 60_000_000, directory }] }
    };
    let segments: Vec<Segment> = (0..8).map(segment).collect();
    let begun = std::time::Instant::now();
    for (number, segment) in (0..).zip(&segments) {
        index.absorb(SegmentId::from_bytes([number; 32]), segment).expect("there is room");
    }
    let micros = begun.elapsed().as_micros();
    println!("{:44} {:9} ns each", format!("index in {what}, absorbing"), micros * 1000 / u128::from(CHUNKS));
    for (case, first) in [("present", 0), ("absent", CHUNKS)] {
        let ids: Vec<ChunkId> = (0..1 << 16).map(|n| id(first + n * 6151 % CHUNKS)).collect();
        measure_each(&format!("index in {what}, {case}, one by one"), ids.len(), || {
            for id in &ids {
                black_box(index.facts(&[*id]).expect("it is sound"));
            }
        });
        measure_each(&format!("index in {what}, {case}, by {BATCH}"), ids.len(), || {
            for ids in ids.chunks(BATCH) {
                black_box(index.facts(ids).expect("it is sound"));
            }
        });
    }
}

#[cfg(feature = "rocks")]
fn rocks() {
    let dir = tempfile::tempdir().expect("there is room");
    let opened = holdall::index::rocks::Rocks::open(dir.path(), RepositoryId::from_bytes([1; 32]));
    index("RocksDB", &*opened.expect("it can be made").into_index());
}

#[cfg(not(feature = "rocks"))]
fn rocks() {
    println!("index in RocksDB: not built, for want of the feature `rocks`");
}

/// Prints what each of so many operations takes.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn measure_each(name: &str, operations: usize, mut case: impl FnMut()) {
    let begun = std::time::Instant::now();
    let mut times = 0_u32;
    while begun.elapsed().as_secs_f64() < SECONDS_MIN {
        case();
        times += 1;
    }
    let each = begun.elapsed().as_secs_f64() / (operations as f64 * f64::from(times));
    println!("{name:44} {:9.2} us each", each * 1e6);
}
