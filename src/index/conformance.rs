//! What every index must do, as one suite for all adapters, and a plain model to compare them with.
//!
//! Panics at the first deviation, naming the fact that does not hold.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a suite that panics has found a fault, which is what it is for"
)]

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{ChunkId, PackId, RunId, SegmentId};
use crate::index::{Fact, Index, arrange};
use crate::pack::{Directory, Frame, PackKind, PackedChunk, Segment, SegmentPack};

/// Makes an empty index.
pub type Make<'a> = &'a dyn Fn() -> Box<dyn Index>;

/// Closes an index and opens it again, or gives it back as it is where that has no meaning.
pub type Reopen<'a> = &'a mut dyn FnMut(Box<dyn Index>) -> Box<dyn Index>;

type Check = fn(&dyn Index);

/// All facts of the suite.
pub fn check(make: Make<'_>) {
    let facts: [(&str, Check); 10] = [
        ("a new index is empty", new_is_empty),
        ("absorbed facts are found", absorbed_is_found),
        ("absorbing twice changes nothing", absorbing_twice),
        ("a chunk in several packs has all its places", all_places),
        ("a load equals absorbing one by one", load_equals_absorb),
        ("a load that is not finished leaves nothing", unfinished_load),
        ("dropped packs give no facts", dropped_is_gone),
        ("what a merged segment names survives the drop", merge_survives),
        ("a dropped segment can be absorbed again", drop_then_absorb),
        ("contradicting segments are all heard", contradiction),
    ];
    for (name, fact) in facts {
        let index = make();
        assert_eq!(index.absorbed().unwrap(), BTreeSet::new(), "{name}: not empty at the start");
        fact(index.as_ref());
    }
}

/// Takes the index through steps and compares it with the model after each. A step is made from a number: absorb, load
/// or drop some of eight segments over ten packs, or reopen.
pub fn check_steps(steps: &[u16], mut index: Box<dyn Index>, reopen: Reopen<'_>) {
    let mut model = Model::default();
    for step in steps {
        index = take_step(*step, &mut model, index, reopen);
        model.compare(index.as_ref());
    }
}

/// Takes one step of [`check_steps`] with the index and the model.
pub fn take_step(step: u16, model: &mut Model, index: Box<dyn Index>, reopen: Reopen<'_>) -> Box<dyn Index> {
    let [kind, mask] = step.to_le_bytes();
    let chosen: Vec<SegmentId> = (0..8).filter(|n| mask >> n & 1 == 1).map(segment_id).collect();
    match kind & 3 {
        0 => chosen.iter().for_each(|id| {
            let segment = segment_of(*id);
            index.absorb(*id, &segment).unwrap();
            model.segments.insert(*id, segment);
        }),
        1 => {
            let mut load = index.load().unwrap();
            for id in chosen {
                let segment = segment_of(id);
                load.add(id, &segment).unwrap();
                model.segments.insert(id, segment);
            }
            load.finish().unwrap();
        }
        2 => {
            let gone = chosen.into_iter().collect();
            index.drop_segments(&gone).unwrap();
            model.segments.retain(|id, _| !gone.contains(id));
        }
        _ => return reopen(index),
    }
    index
}

/// The plain model of an index: the absorbed segments themselves.
#[derive(Debug, Default, Clone)]
pub struct Model {
    /// The absorbed segments.
    pub segments: BTreeMap<SegmentId, Segment>,
}

impl Model {
    /// The model of an index that has absorbed these of the segments of [`check_steps`].
    pub fn of(absorbed: &BTreeSet<SegmentId>) -> Self {
        Self { segments: absorbed.iter().map(|id| (*id, segment_of(*id))).collect() }
    }

    /// Asserts that an index gives the same answers.
    pub fn compare(&self, index: &dyn Index) {
        assert_eq!(index.absorbed().unwrap(), self.segments.keys().copied().collect());
        let chunks: Vec<ChunkId> = (0..=u8::MAX).map(chunk).collect();
        let expected: Vec<Vec<Fact>> = chunks.iter().map(|id| self.facts(*id)).collect();
        assert_eq!(index.facts(&chunks).unwrap(), expected);
        let named: BTreeSet<PackId> = self.packs().map(|pack| pack.id).collect();
        assert_eq!(index.packs().unwrap().into_keys().collect::<BTreeSet<_>>(), named);
        let packs: Vec<PackId> = (0..=u8::MAX).map(pack_id).collect();
        let bytes: Vec<Option<u64>> = packs.iter().map(|id| self.pack_bytes(*id)).collect();
        assert_eq!(index.pack_bytes(&packs).unwrap(), bytes);
    }

    fn packs(&self) -> impl Iterator<Item = &SegmentPack> {
        self.segments.values().flat_map(|segment| &segment.packs)
    }

    fn facts(&self, id: ChunkId) -> Vec<Fact> {
        let last_place =
            |pack: &SegmentPack| pack.directory.locations().filter(|(chunk, _)| *chunk == id).map(|(_, at)| at).last();
        let fact = |pack: &SegmentPack| last_place(pack).map(|at| Fact { pack: pack.id, at });
        let mut facts = self.packs().filter_map(fact).collect();
        arrange(&mut facts);
        facts
    }

    fn pack_bytes(&self, id: PackId) -> Option<u64> {
        self.packs().filter(|pack| pack.id == id).map(|pack| pack.bytes).max()
    }
}

/// The id of a chunk of the suite.
pub fn chunk(n: u8) -> ChunkId {
    let mut bytes = [n & 0xf0; 32];
    // Neighbours differ in the last byte only, so that a search by prefix is put to the test.
    let [.., last] = &mut bytes;
    *last = n;
    ChunkId::from_bytes(bytes)
}

/// A pack of the suite with these chunks, two to a frame.
pub fn pack(n: u8, chunks: &[u8]) -> SegmentPack {
    let packed = |n: &u8| PackedChunk { id: chunk(*n), len: 1000 + u32::from(*n) };
    let frame = |chunks: &[u8]| Frame { sealed_len: 500, chunks: chunks.iter().map(packed).collect() };
    let directory = Directory {
        kind: PackKind::Data,
        run: RunId::from_bytes([n; 32]),
        frames_offset: 100,
        frames: chunks.chunks(2).map(frame).collect(),
    };
    SegmentPack { id: pack_id(n), bytes: 10_000 + u64::from(n), directory }
}

/// A segment of the suite with these packs.
pub fn segment(packs: &[SegmentPack]) -> Segment {
    Segment { packs: packs.to_vec() }
}

/// The id of a segment of the suite.
pub fn segment_id(n: u8) -> SegmentId {
    SegmentId::from_bytes([n; 32])
}

/// A segment's id, for suites that need many.
pub fn numbered_segment(n: u64) -> SegmentId {
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(n.to_be_bytes()).for_each(|(to, byte)| *to = byte);
    SegmentId::from_bytes(bytes)
}

fn pack_id(n: u8) -> PackId {
    PackId::from_bytes([n; 32])
}

/// One of the eight segments of [`check_steps`]: each of two or three of ten packs, the last a merge of three others,
/// with another directory for one pack.
fn segment_of(id: SegmentId) -> Segment {
    let made = |n: u8| pack(n, &(0..6).map(|chunk| (n * 5 + chunk * 7) % 24).collect::<Vec<_>>());
    let packs = match id.as_bytes() {
        [n @ 0..=6, ..] => vec![made(*n), made(n + 1), made((n * 3 + 2) % 10)],
        _ => vec![made(0), made(1), made(2), made(3), made(4), pack(9, &[30, 31, 2])],
    };
    Segment { packs }
}

/// Compares with the segments that should be there.
fn expect(index: &dyn Index, segments: &[(u8, &Segment)]) {
    let segments = segments.iter().map(|(n, segment)| (segment_id(*n), (*segment).clone())).collect();
    Model { segments }.compare(index);
}

fn absorb(index: &dyn Index, n: u8, segment: &Segment) {
    index.absorb(segment_id(n), segment).unwrap();
}

fn drop_segment(index: &dyn Index, n: u8) {
    index.drop_segments(&BTreeSet::from([segment_id(n)])).unwrap();
}

fn new_is_empty(index: &dyn Index) {
    expect(index, &[]);
    drop_segment(index, 1);
    assert_eq!(index.facts(&[]).unwrap(), Vec::<Vec<Fact>>::new());
}

fn absorbed_is_found(index: &dyn Index) {
    let first = segment(&[pack(1, &[1, 2, 3]), pack(2, &[4])]);
    absorb(index, 1, &first);
    expect(index, &[(1, &first)]);
    // The answer's order is that of the question, repetitions included.
    let [four, one, none, again] = [4, 1, 99, 4].map(chunk);
    let facts = index.facts(&[four, one, none, again]).unwrap();
    let lens: Vec<Vec<u32>> = facts.iter().map(|of| of.iter().map(|fact| fact.at.len).collect()).collect();
    assert_eq!(lens, [vec![1004], vec![1001], vec![], vec![1004]]);
    index.flush().unwrap();
    expect(index, &[(1, &first)]);
}

fn absorbing_twice(index: &dyn Index) {
    let first = segment(&[pack(1, &[1, 2, 3]), pack(1, &[1, 2, 3])]);
    absorb(index, 1, &first);
    absorb(index, 1, &first);
    expect(index, &[(1, &first)]);
    drop_segment(index, 1);
    expect(index, &[]);
}

fn all_places(index: &dyn Index) {
    let first = segment(&[pack(2, &[1, 2]), pack(1, &[2, 3, 2])]);
    let second = segment(&[pack(3, &[2])]);
    absorb(index, 1, &first);
    absorb(index, 2, &second);
    expect(index, &[(1, &first), (2, &second)]);
}

fn load_equals_absorb(index: &dyn Index) {
    let first = segment(&[pack(1, &[1, 2, 3]), pack(2, &[4, 4])]);
    let second = segment(&[pack(2, &[4, 4]), pack(3, &[1, 255])]);
    let third = segment(&[pack(3, &[1, 255]), pack(4, &[0])]);
    absorb(index, 1, &first);
    let mut load = index.load().unwrap();
    for (n, segment) in [(1, &first), (2, &second), (3, &third)] {
        load.add(segment_id(n), segment).unwrap();
    }
    expect(index, &[(1, &first)]);
    load.finish().unwrap();
    expect(index, &[(1, &first), (2, &second), (3, &third)]);
    index.load().unwrap().finish().unwrap();
    expect(index, &[(1, &first), (2, &second), (3, &third)]);
}

fn unfinished_load(index: &dyn Index) {
    let first = segment(&[pack(1, &[1, 2, 3])]);
    let mut load = index.load().unwrap();
    load.add(segment_id(1), &first).unwrap();
    drop(load);
    expect(index, &[]);
    absorb(index, 1, &first);
    expect(index, &[(1, &first)]);
}

fn dropped_is_gone(index: &dyn Index) {
    let first = segment(&[pack(1, &[1, 2]), pack(2, &[3])]);
    let second = segment(&[pack(2, &[3]), pack(3, &[1])]);
    absorb(index, 1, &first);
    absorb(index, 2, &second);
    drop_segment(index, 1);
    expect(index, &[(2, &second)]);
    drop_segment(index, 1);
    expect(index, &[(2, &second)]);
}

fn merge_survives(index: &dyn Index) {
    let [one, two, three] = [pack(1, &[1, 2]), pack(2, &[3]), pack(3, &[1, 4])];
    absorb(index, 1, &segment(&[one.clone(), two.clone()]));
    absorb(index, 2, &segment(std::slice::from_ref(&three)));
    let merged = segment(&[three, one]);
    absorb(index, 3, &merged);
    index.drop_segments(&BTreeSet::from([segment_id(1), segment_id(2)])).unwrap();
    expect(index, &[(3, &merged)]);
}

fn drop_then_absorb(index: &dyn Index) {
    let first = segment(&[pack(1, &[1, 2, 3])]);
    absorb(index, 1, &first);
    drop_segment(index, 1);
    let second = segment(&[pack(1, &[1, 2, 3]), pack(2, &[2])]);
    absorb(index, 2, &second);
    expect(index, &[(2, &second)]);
    absorb(index, 1, &first);
    expect(index, &[(1, &first), (2, &second)]);
}

fn contradiction(index: &dyn Index) {
    let first = segment(&[pack(1, &[1, 2])]);
    let mut other = pack(1, &[2, 1, 3]);
    other.bytes += 1;
    let second = segment(&[other]);
    absorb(index, 1, &first);
    absorb(index, 2, &second);
    expect(index, &[(1, &first), (2, &second)]);
    drop_segment(index, 1);
    expect(index, &[(2, &second)]);
}
