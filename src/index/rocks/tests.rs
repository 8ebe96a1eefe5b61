//! The suite for both ways to open a directory, crashes at every step, damage, and two processes at once.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::index::conformance::{self, Model, chunk, pack, segment, segment_id};

const REPOSITORY: RepositoryId = RepositoryId::from_bytes([7; 32]);
/// Tells the killed process of a test where to write.
const KILLED_DIR: &str = "HOLDALL_TEST_KILLED_DIR";

fn primary(dir: &Path) -> Rocks {
    match Rocks::open(dir, REPOSITORY).unwrap() {
        Opened::Primary(index) => *index,
        Opened::Secondary(_) => panic!("{} is taken", dir.display()),
    }
}

fn secondary(dir: &Path) -> Secondary {
    match Rocks::open(dir, REPOSITORY).unwrap() {
        Opened::Primary(_) => panic!("{} is free", dir.display()),
        Opened::Secondary(index) => *index,
    }
}

/// What the directory of an open index would hold if its process were killed now.
fn image(dir: &Path) -> TempDir {
    let db = dir.join("db");
    let files = || {
        let file = |entry: io::Result<fs::DirEntry>| {
            entry.map(|entry| Some((entry.file_name(), entry.metadata().ok()?.len())))
        };
        fs::read_dir(&db).unwrap().map(file).collect::<io::Result<BTreeSet<_>>>()
    };
    loop {
        let copy = TempDir::new().unwrap();
        fs::create_dir(copy.path().join("db")).unwrap();
        let before = files().unwrap();
        let copied =
            before.iter().flatten().all(|(name, _)| fs::copy(db.join(name), copy.path().join("db").join(name)).is_ok());
        // A compaction in the background makes a picture of two moments; then it is taken again.
        if copied && files().unwrap() == before {
            return copy;
        }
    }
}

/// Asserts that an index answers exactly what the segments say that it calls absorbed.
fn is_consistent(index: &dyn Index) {
    Model::of(&index.absorbed().unwrap()).compare(index);
}

/// Keys of chunks, dead ones included.
fn chunk_keys(index: &Rocks) -> usize {
    index
        .db
        .iterator(rocksdb::IteratorMode::Start)
        .filter(|entry| entry.as_ref().unwrap().0[0] == layout::CHUNK)
        .count()
}

#[test]
fn primary_conforms() {
    let (dir, count) = (TempDir::new().unwrap(), Cell::new(0));
    conformance::check(&|| {
        count.set(count.get() + 1);
        Box::new(primary(&dir.path().join(count.get().to_string())))
    });
}

#[test]
fn secondary_conforms() {
    let (dir, primaries) = (TempDir::new().unwrap(), RefCell::new(Vec::new()));
    conformance::check(&|| {
        let dir = dir.path().join(primaries.borrow().len().to_string());
        primaries.borrow_mut().push(primary(&dir));
        Box::new(secondary(&dir))
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn any_steps_leave_what_a_plain_model_has(steps in proptest::collection::vec(any::<u16>(), 0..12)) {
        let dir = TempDir::new().unwrap();
        conformance::check_steps(&steps, Box::new(primary(dir.path())), &mut |index| {
            drop(index);
            Box::new(primary(dir.path()))
        });
    }

    #[test]
    fn any_steps_of_a_secondary_leave_what_a_plain_model_has(
        before in proptest::collection::vec(any::<u16>(), 0..6),
        steps in proptest::collection::vec(any::<u16>(), 0..8),
    ) {
        let dir = TempDir::new().unwrap();
        let mut model = Model::default();
        let mut index: Box<dyn Index> = Box::new(primary(dir.path()));
        for step in before {
            index = conformance::take_step(step, &mut model, index, &mut |index| index);
        }
        index.flush().unwrap();
        let mut other: Box<dyn Index> = Box::new(secondary(dir.path()));
        model.compare(other.as_ref());
        for step in steps {
            other = conformance::take_step(step, &mut model, other, &mut |index| index);
            // Whatever the primary does meanwhile is no concern of an index that is open.
            index = conformance::take_step(!step & 0xff00 | 2, &mut Model::default(), index, &mut |index| index);
            model.compare(other.as_ref());
        }
    }

    #[test]
    fn a_kill_between_any_two_steps_leaves_a_consistent_index(steps in proptest::collection::vec(any::<u16>(), 0..10)) {
        let dir = TempDir::new().unwrap();
        let mut model = Model::default();
        let mut index: Box<dyn Index> = Box::new(primary(dir.path()));
        for step in steps {
            index = conformance::take_step(step, &mut model, index, &mut |index| { index.flush().unwrap(); index });
            let left = image(dir.path());
            let after = primary(left.path());
            is_consistent(&after);
            for (id, segment) in &model.segments {
                after.absorb(*id, segment).unwrap();
            }
            let gone = after.absorbed().unwrap().into_iter().filter(|id| !model.segments.contains_key(id)).collect();
            after.drop_segments(&gone).unwrap();
            model.compare(&after);
        }
    }
}

#[test]
fn a_kill_between_facts_and_mark_leaves_facts_that_are_not_given() {
    let dir = TempDir::new().unwrap();
    let index = primary(dir.path());
    let first = segment(&[pack(1, &[1, 2])]);
    let named = read(&index.state).statements.name(&first, 0).unwrap();
    index.reserve(1).unwrap();
    index.put_facts(&named).unwrap();
    index.flush().unwrap();

    let left = image(dir.path());
    let after = primary(left.path());
    assert_eq!(chunk_keys(&after), 2);
    Model::default().compare(&after);
    // Its number is not given to another pack, whose facts these would be then.
    let other = segment(&[pack(2, &[3])]);
    after.absorb(segment_id(2), &other).unwrap();
    Model { segments: [(segment_id(2), other)].into() }.compare(&after);
    let numbers: Vec<u32> = read(&after.state).statements.numbers().collect();
    assert_eq!(numbers, [1]);
}

#[test]
fn a_kill_in_a_load_leaves_facts_that_are_not_given() {
    let dir = TempDir::new().unwrap();
    let index = primary(dir.path());
    let mut load = SortedLoad::new(&index);
    load.add(segment_id(1), &segment(&[pack(1, &[1, 2]), pack(2, &[3])])).unwrap();
    load.ingest().unwrap();

    let left = image(dir.path());
    let after = primary(left.path());
    assert_eq!(chunk_keys(&after), 3);
    Model::default().compare(&after);
    assert_eq!(read(&after.state).next, 2, "numbers that are in use would be given out again");
}

#[test]
fn a_kill_after_a_drop_does_not_bring_the_segment_back() {
    let dir = TempDir::new().unwrap();
    let index = primary(dir.path());
    index.absorb(segment_id(1), &segment(&[pack(1, &[1, 2])])).unwrap();
    index.flush().unwrap();
    // Compactions may remove its facts from here on, so that its mark would not be true.
    index.drop_segments(&BTreeSet::from([segment_id(1)])).unwrap();
    let left = image(dir.path());
    Model::default().compare(&primary(left.path()));
}

#[test]
fn what_a_kill_left_goes_with_a_compaction_and_what_is_absorbed_stays() {
    let dir = TempDir::new().unwrap();
    let index = primary(dir.path());
    let first = segment(&[pack(1, &[1, 2]), pack(2, &[2, 3])]);
    let named = read(&index.state).statements.name(&first, 0).unwrap();
    index.reserve(2).unwrap();
    index.put_facts(&named).unwrap();
    let compact = |index: &Rocks| {
        index.flush().unwrap();
        let mut all = CompactOptions::default();
        all.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        index.db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &all);
    };
    // An absorption that goes on loses nothing.
    compact(&index);
    assert_eq!(chunk_keys(&index), 3);
    drop(index);

    let after = primary(dir.path());
    let second = segment(&[pack(3, &[2, 4])]);
    after.absorb(segment_id(2), &second).unwrap();
    compact(&after);
    compact(&after);
    assert_eq!(chunk_keys(&after), 2);
    Model { segments: [(segment_id(2), second)].into() }.compare(&after);
}

/// Run by [`a_killed_process_leaves_a_consistent_index`] only.
#[test]
#[ignore = "does not end: it is there to be killed"]
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "it talks to the test that started it")]
fn absorbs_until_killed() {
    let Some(dir) = std::env::var_os(KILLED_DIR) else { return };
    let (mut model, mut index): (Model, Box<dyn Index>) = (Model::default(), Box::new(primary(Path::new(&dir))));
    let mut random = 1_u32;
    loop {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [.., low, high] = random.to_le_bytes();
        let step = u16::from_le_bytes([low, high]);
        index = conformance::take_step(step, &mut model, index, &mut |index| {
            index.flush().unwrap();
            index
        });
        println!("step");
    }
}

#[test]
fn a_killed_process_leaves_a_consistent_index() {
    let dir = TempDir::new().unwrap();
    for steps in [1, 5, 20, 50] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture", "index::rocks::tests::absorbs_until_killed"])
            .env(KILLED_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Held until the end: with nobody to read what it writes, the process would end by itself.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.by_ref().filter(|line| line.as_ref().unwrap() == "step").take(steps).count(), steps);
        // It holds the directory from the first step on; nobody waits for it.
        is_consistent(&secondary(dir.path()));
        child.kill().unwrap();
        child.wait().unwrap();
        is_consistent(&primary(dir.path()));
    }
}

#[test]
fn a_secondary_sees_what_was_flushed_and_keeps_what_it_learns_to_itself() {
    let dir = TempDir::new().unwrap();
    let index = primary(dir.path());
    let [first, second, third] = [1, 2, 3].map(|n| segment(&[pack(n, &[n, 9])]));
    index.absorb(segment_id(1), &first).unwrap();
    index.flush().unwrap();
    index.absorb(segment_id(2), &second).unwrap();

    let other = secondary(dir.path());
    let mut seen = Model { segments: [(segment_id(1), first)].into() };
    seen.compare(&other);
    for (n, segment) in [(2, second), (3, third)] {
        other.absorb(segment_id(n), &segment).unwrap();
        seen.segments.insert(segment_id(n), segment);
    }
    seen.compare(&other);
    assert!(!index.absorbed().unwrap().contains(&segment_id(3)));
    // The primary may lose everything that the secondary looks at.
    index.drop_segments(&index.absorbed().unwrap()).unwrap();
    index.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    seen.compare(&other);
    drop((other, index));

    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "besides the lock and the database there is {left:?}");
}

#[test]
fn a_secondary_writes_nothing_for_packs_that_it_knows() {
    let dir = TempDir::new().unwrap();
    let index = primary(dir.path());
    index.absorb(segment_id(1), &segment(&[pack(1, &[1, 2]), pack(2, &[3])])).unwrap();
    index.flush().unwrap();
    let other = secondary(dir.path());
    let merged = segment(&[pack(1, &[1, 2]), pack(2, &[3]), pack(3, &[4])]);
    other.absorb(segment_id(2), &merged).unwrap();
    other.drop_segments(&BTreeSet::from([segment_id(1)])).unwrap();
    assert_eq!(chunk_keys(&other.overlay), 1);
    Model { segments: [(segment_id(2), merged)].into() }.compare(&other);
}

#[test]
fn a_secondary_beside_an_unusable_index_begins_empty() {
    let dir = TempDir::new().unwrap();
    let index = primary(dir.path());
    index.absorb(segment_id(1), &segment(&[pack(1, &[1])])).unwrap();
    index.flush().unwrap();
    let Opened::Secondary(other) = Rocks::open(dir.path(), RepositoryId::from_bytes([8; 32])).unwrap() else {
        panic!("two primaries");
    };
    Model::default().compare(other.as_ref());
    // Nor does it throw away what another process uses.
    let Opened::Secondary(other) = Rocks::open_empty(dir.path(), REPOSITORY).unwrap() else { panic!("two primaries") };
    Model::default().compare(other.as_ref());
    assert_eq!(index.absorbed().unwrap().len(), 1);
}

#[test]
fn what_killed_processes_left_beside_the_index_is_removed() {
    let dir = TempDir::new().unwrap();
    for stale in ["scratch-0123456789abcdef", "scratch-without-lock.lock"] {
        fs::create_dir(dir.path().join(stale)).unwrap();
    }
    fs::remove_dir(dir.path().join("scratch-without-lock.lock")).unwrap();
    for lock in ["scratch-0123456789abcdef.lock", "scratch-without-directory.lock"] {
        fs::File::create(dir.path().join(lock)).unwrap();
    }
    let live = Scratch::make(dir.path()).unwrap();
    let _index = primary(dir.path());
    assert!(live.path().is_dir());
    let left = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 4, "the lock, the database and the live one with its lock");
}

#[test]
fn an_index_of_another_repository_or_layout_is_unusable_and_made_anew() {
    let dir = TempDir::new().unwrap();
    let index = primary(dir.path());
    index.absorb(segment_id(1), &segment(&[pack(1, &[1])])).unwrap();
    drop(index);
    let foreign = Rocks::open(dir.path(), RepositoryId::from_bytes([8; 32])).unwrap_err();
    assert!(matches!(foreign, IndexError::Unusable { reason: Unusable::Foreign(REPOSITORY), .. }), "{foreign:?}");

    let index = primary(dir.path());
    index.db.put_opt("h", [&2_u32.to_le_bytes()[..], REPOSITORY.as_bytes()].concat(), &unlogged()).unwrap();
    drop(index);
    let newer = Rocks::open(dir.path(), REPOSITORY).unwrap_err();
    assert!(matches!(newer, IndexError::Unusable { reason: Unusable::Layout(2), .. }), "{newer:?}");

    let Opened::Primary(index) = Rocks::open_empty(dir.path(), REPOSITORY).unwrap() else { panic!("it is taken") };
    Model::default().compare(index.as_ref());
}

#[test]
fn damage_is_found_or_does_no_harm() {
    let dir = TempDir::new().unwrap();
    let mut index: Box<dyn Index> = Box::new(primary(dir.path()));
    for step in [0xf000, 0x0f01, 0x8003] {
        index = conformance::take_step(step, &mut Model::default(), index, &mut |index| index);
    }
    drop(index);
    let check = |dir: &Path| {
        let index = Rocks::open(dir, REPOSITORY)?.into_index();
        let chunks: Vec<_> = (0..=u8::MAX).map(chunk).collect();
        index.facts(&chunks).map(|_| is_consistent(index.as_ref()))
    };
    let unusable = |result| matches!(result, Err(IndexError::Unusable { .. }));
    let mut found = 0;
    for file in fs::read_dir(dir.path().join("db")).unwrap().map(|file| file.unwrap().file_name()) {
        let bytes = fs::read(dir.path().join("db").join(&file)).unwrap();
        let flips = (0..bytes.len()).step_by(1 + bytes.len() / 6).map(|at| {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            flipped
        });
        for damaged in flips.chain([bytes[..bytes.len() / 2].to_vec(), Vec::new()]) {
            let left = image(dir.path());
            let path = left.path().join("db").join(&file);
            fs::remove_file(&path).unwrap();
            std::io::Write::write_all(&mut fs::File::create_new(&path).unwrap(), &damaged).unwrap();
            let result = check(left.path());
            if result.is_err() {
                assert!(unusable(result), "{}", file.display());
                found += 1;
            }
        }
        let left = image(dir.path());
        fs::remove_file(left.path().join("db").join(&file)).unwrap();
        let result = check(left.path());
        assert!(result.is_ok() || unusable(result), "{} is missing", file.display());
    }
    assert!(found > 10, "only {found} of the damages were noticed at all");
}

#[test]
fn a_rebuilt_index_equals_one_that_grew() {
    let dir = TempDir::new().unwrap();
    let (grown, rebuilt) = (primary(&dir.path().join("grown")), primary(&dir.path().join("rebuilt")));
    // The second is large enough to go in as sorted files, and shares chunks with the others.
    let segments: Vec<Segment> =
        [(0, 3), (2, 40), (41, 42)].map(|(first, end)| figures::segment(first..end, 2000)).into();
    let mut load = rebuilt.load().unwrap();
    for (n, segment) in (0..).zip(&segments) {
        grown.absorb(segment_id(n), segment).unwrap();
        load.add(segment_id(n), segment).unwrap();
    }
    load.finish().unwrap();
    let ids: Vec<ChunkId> = (0..42 * 2000).step_by(7).map(|n| ChunkId::from_bytes(figures::id(n, 0))).collect();
    let facts = grown.facts(&ids).unwrap();
    assert!(facts.iter().filter(|facts| facts.len() == 1).count() > ids.len() * 9 / 10);
    assert_eq!(rebuilt.facts(&ids).unwrap(), facts);
    assert_eq!(rebuilt.packs().unwrap(), grown.packs().unwrap());
    assert_eq!(rebuilt.absorbed().unwrap(), grown.absorbed().unwrap());
}

#[test]
fn a_load_of_ids_that_are_no_hashes_is_sorted_in_slices() {
    let dir = TempDir::new().unwrap();
    let index = primary(dir.path());
    let mut segment = figures::segment(0..10, 30_000);
    // All in one part, and every chunk in two packs.
    let frames = segment.packs.iter_mut().flat_map(|pack| &mut pack.directory.frames);
    for (n, chunk) in (0..).zip(frames.flat_map(|frame| &mut frame.chunks)) {
        chunk.id = skewed(n % 150_000);
    }
    index.absorb(segment_id(0), &segment).unwrap();
    let ids: Vec<ChunkId> = (0..150_000).step_by(1001).map(skewed).collect();
    let facts = index.facts(&ids).unwrap();
    for (id, facts) in ids.iter().zip(facts) {
        let expected = segment.packs.iter().flat_map(|pack| {
            let here = pack.directory.locations().filter(|(chunk, _)| chunk == id);
            here.map(|(_, at)| Fact { pack: pack.id, at })
        });
        let mut expected: Vec<Fact> = expected.collect();
        crate::index::arrange(&mut expected);
        assert_eq!(facts, expected);
    }
}

fn skewed(n: u64) -> ChunkId {
    let mut id = [0; 32];
    id[24..].copy_from_slice(&n.to_be_bytes());
    ChunkId::from_bytes(id)
}

mod figures {
    //! Figures, by hand: `cargo test --release --lib figures -- --ignored --nocapture`.
    #![expect(clippy::print_stderr, reason = "these tests exist for what they print")]

    use super::*;
    use crate::id::RunId;
    use crate::pack::{Directory, Frame, PackKind, PackedChunk, SegmentPack};
    use std::ops::Range;
    use std::time::{Duration, Instant};

    const CHUNKS_PER_PACK: u64 = 4096;
    const PACKS_PER_SEGMENT: u64 = 64;

    /// The CPU time of this thread, because the machine may have other work.
    fn cpu() -> Duration {
        let spent = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Duration::from_nanos(spent.split(' ').next().unwrap().parse().unwrap())
    }

    /// An id that looks like a hash.
    pub fn id(n: u64, space: u8) -> [u8; 32] {
        *blake3::hash(&[&n.to_le_bytes()[..], &[space]].concat()).as_bytes()
    }

    /// A segment of packs with so many chunks each, no chunk in two packs.
    pub fn segment(packs: Range<u64>, chunks_per_pack: u64) -> Segment {
        let chunk = |n| PackedChunk { id: ChunkId::from_bytes(id(n, 0)), len: 16_000 };
        let pack = |n: u64| {
            let chunks: Vec<_> = (n * chunks_per_pack..(n + 1) * chunks_per_pack).map(chunk).collect();
            let frame = |chunks: &[PackedChunk]| Frame { sealed_len: 1_000_000, chunks: chunks.to_vec() };
            let directory = Directory {
                kind: PackKind::Data,
                run: RunId::from_bytes([0; 32]),
                frames_offset: 100,
                frames: chunks.chunks(128).map(frame).collect(),
            };
            SegmentPack { id: PackId::from_bytes(id(n, 1)), bytes: 64_000_000, directory }
        };
        Segment { packs: packs.map(pack).collect() }
    }

    fn nth_segment(n: u64) -> Segment {
        segment(n * PACKS_PER_SEGMENT..(n + 1) * PACKS_PER_SEGMENT, CHUNKS_PER_PACK)
    }

    fn memory(what: &str) -> String {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_default().trim().to_owned()
    }

    fn look_up_rate(index: &dyn Index, what: &str, batch: usize, id_of: impl Fn(u64) -> [u8; 32]) {
        let count: u64 = 400_000;
        // A step that is coprime to the number of facts visits them all in no order.
        let ids: Vec<ChunkId> = (0..count).map(|n| ChunkId::from_bytes(id_of(n.wrapping_mul(7_919_777)))).collect();
        let begin = cpu();
        let found: usize = ids.chunks(batch).flat_map(|ids| index.facts(ids).unwrap()).map(|facts| facts.len()).sum();
        let each = cpu().saturating_sub(begin).as_secs_f64() * 1e6 / 400_000.0;
        eprintln!("{what}, batches of {batch}: {each:.2} us each, {found} facts, RSS {}", memory("VmRSS:"));
    }

    fn figures(segments: u64) {
        let dir = TempDir::new().unwrap();
        let facts = segments * PACKS_PER_SEGMENT * CHUNKS_PER_PACK;
        let index = primary(dir.path());
        let mut making = Duration::ZERO;
        let begin = Instant::now();
        let mut load = index.load().unwrap();
        for n in 0..segments {
            let making_one = Instant::now();
            let segment = nth_segment(n);
            making += making_one.elapsed();
            load.add(conformance::numbered_segment(n), &segment).unwrap();
        }
        let added = begin.elapsed().saturating_sub(making);
        eprintln!("{facts} facts added in {added:.2?}, RSS {}", memory("VmRSS:"));
        let begin = Instant::now();
        load.finish().unwrap();
        eprintln!("finished in {:.2?}, RSS {}, peak {}", begin.elapsed(), memory("VmRSS:"), memory("VmHWM:"));
        drop(index);

        let begin = Instant::now();
        let index = primary(dir.path());
        eprintln!("opened in {:.2?}", begin.elapsed());
        for batch in [4096, 64, 1] {
            look_up_rate(&index, "hit", batch, |n| id(n % facts, 0));
            look_up_rate(&index, "miss", batch, |n| id(n, 2));
        }
        let begin = Instant::now();
        let other = secondary(dir.path());
        eprintln!("opened a second time in {:.2?}", begin.elapsed());
        look_up_rate(&other, "secondary hit", 4096, |n| id(n % facts, 0));
        look_up_rate(&other, "secondary miss", 4096, |n| id(n, 2));
        drop(other);

        let last = nth_segment(segments);
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
