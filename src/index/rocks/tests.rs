use super::*;
use crate::index::conformance::{self, Model};
use proptest::prelude::*;
use std::cell::Cell;
use tempfile::TempDir;

const REPOSITORY: RepositoryId = RepositoryId::from_bytes([7; 32]);

fn primary(dir: &Path) -> Rocks {
    match Rocks::open(dir, REPOSITORY).unwrap() {
        Opened::Primary(index) => index,
        Opened::Secondary(_) => panic!("{} is taken", dir.display()),
    }
}

fn secondary(dir: &Path) -> Secondary {
    match Rocks::open(dir, REPOSITORY).unwrap() {
        Opened::Primary(_) => panic!("{} is free", dir.display()),
        Opened::Secondary(index) => index,
    }
}

#[test]
fn rocks_index_conforms() {
    let (dir, count) = (TempDir::new().unwrap(), Cell::new(0));
    conformance::check(&|| {
        count.set(count.get() + 1);
        Box::new(primary(&dir.path().join(count.get().to_string())))
    });
}

mod figures {
    //! Figures, by hand: `cargo test --release --lib figures -- --ignored --nocapture`.
    #![expect(clippy::print_stderr, reason = "these tests exist for what they print")]

    use super::*;
    use crate::id::RunId;
    use crate::pack::{Directory, Frame, PackKind, PackedChunk, SegmentPack};
    use std::time::Instant;

    const CHUNKS_PER_PACK: u64 = 4096;
    const PACKS_PER_SEGMENT: u64 = 64;

    /// An id that looks like a hash.
    fn id(n: u64, space: u8) -> [u8; 32] {
        *blake3::hash(&[&n.to_le_bytes()[..], &[space]].concat()).as_bytes()
    }

    fn segment(n: u64) -> Segment {
        let chunk = |n| PackedChunk { id: ChunkId::from_bytes(id(n, 0)), len: 16_000 };
        let pack = |n: u64| {
            let chunks: Vec<_> = (n * CHUNKS_PER_PACK..(n + 1) * CHUNKS_PER_PACK).map(chunk).collect();
            let frame = |chunks: &[PackedChunk]| Frame { sealed_len: 1_000_000, chunks: chunks.to_vec() };
            let directory = Directory {
                kind: PackKind::Data,
                run: RunId::from_bytes([0; 32]),
                frames_offset: 100,
                frames: chunks.chunks(128).map(frame).collect(),
            };
            SegmentPack { id: PackId::from_bytes(id(n, 1)), bytes: 64_000_000, directory }
        };
        Segment { packs: (n * PACKS_PER_SEGMENT..(n + 1) * PACKS_PER_SEGMENT).map(pack).collect() }
    }

    fn memory(what: &str) -> String {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_default().trim().to_owned()
    }

    fn look_up_rate(index: &dyn Index, what: &str, batch: usize, id_of: impl Fn(u64) -> [u8; 32]) {
        let count: u64 = 400_000;
        // A step that is coprime to the number of facts visits them all in no order.
        let ids: Vec<ChunkId> = (0..count).map(|n| ChunkId::from_bytes(id_of(n.wrapping_mul(7_919_777)))).collect();
        let begin = Instant::now();
        let found: usize = ids.chunks(batch).flat_map(|ids| index.facts(ids).unwrap()).map(|facts| facts.len()).sum();
        let each = begin.elapsed().as_secs_f64() * 1e6 / 400_000.0;
        eprintln!("{what}, batches of {batch}: {each:.2} us each, {found} facts, RSS {}", memory("VmRSS:"));
    }

    fn figures(segments: u64) {
        let dir = TempDir::new().unwrap();
        let facts = segments * PACKS_PER_SEGMENT * CHUNKS_PER_PACK;
        let index = primary(dir.path());
        let mut making = std::time::Duration::ZERO;
        let begin = Instant::now();
        let mut load = index.load().unwrap();
        for n in 0..segments {
            let making_one = Instant::now();
            let segment = segment(n);
            making += making_one.elapsed();
            load.add(conformance::numbered_segment(n), &segment).unwrap();
        }
        let added = begin.elapsed() - making;
        eprintln!("{facts} facts added in {added:.2?}, RSS {}", memory("VmRSS:"));
        let begin = Instant::now();
        load.finish().unwrap();
        eprintln!("finished in {:.2?}, RSS {}, peak {}", begin.elapsed(), memory("VmRSS:"), memory("VmHWM:"));
        drop(index);

        let begin = Instant::now();
        let index = primary(dir.path());
        eprintln!("opened in {:.2?}", begin.elapsed());
        for batch in [1, 64, 4096] {
            look_up_rate(&index, "hit", batch, |n| id(n % facts, 0));
            look_up_rate(&index, "miss", batch, |n| id(n, 2));
        }
        let begin = Instant::now();
        let other = secondary(dir.path());
        eprintln!("opened a second time in {:.2?}", begin.elapsed());
        look_up_rate(&other, "secondary hit", 4096, |n| id(n % facts, 0));
        look_up_rate(&other, "secondary miss", 4096, |n| id(n, 2));
        drop(other);

        let last = segment(segments);
        let small = Segment { packs: last.packs.into_iter().take(8).collect() };
        let begin = Instant::now();
        index.absorb(conformance::numbered_segment(segments), &small).unwrap();
        eprintln!("absorbed {} facts in {:.2?}", 8 * CHUNKS_PER_PACK, begin.elapsed());
        look_up_rate(&index, "hit", 4096, |n| id(n % facts, 0));
        look_up_rate(&index, "miss", 4096, |n| id(n, 2));
        let begin = Instant::now();
        index.drop_segments(&(0..segments * 3 / 4).map(conformance::numbered_segment).collect()).unwrap();
        eprintln!("dropped three quarters in {:.2?}, RSS {}", begin.elapsed(), memory("VmRSS:"));
        let size: u64 =
            std::fs::read_dir(dir.path().join("db")).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
        eprintln!("{size} bytes on disk, peak {}", memory("VmHWM:"));
    }

    #[test]
    #[ignore = "takes half a minute; for its figures"]
    fn of_four_million_facts() {
        figures(16);
    }

    #[test]
    #[ignore = "takes some minutes and 4 GB of disk; for its figures"]
    fn of_sixteen_million_facts() {
        figures(64);
    }
}
