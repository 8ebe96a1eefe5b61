//! How one stream is rebuilt: the interleaving of envelope bytes, payload chunks and runs of zeros
//! (`format-spec/recipe.md`).
//!
//! A recipe is cut into parts. Each part is decodable alone, lists the envelope chunks that it consumes and holds no
//! absolute position, so that unchanged stretches are the same part, and so the same chunk, from night to night. The
//! table of parts, itself chunked, gives search by path and by offset. This room does not know how chunks are made,
//! stored or found.

use crate::codec::{DecodeError, DecodeProblem, Decoder, Encoder};
use crate::id::{ChunkId, ID_BYTES};
use crate::limits::{
    CHUNK_BYTES_MAX, MEMBER_PATH_BYTES_MAX, PART_BYTES_MAX, PART_BYTES_MIN, PART_BYTES_TARGET, PART_ENVELOPE_BYTES_MAX,
    PART_ENVELOPE_BYTES_MIN, PART_ENVELOPE_BYTES_TARGET, PART_PATH_BYTES_MAX, STREAM_BYTES_MAX,
};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// A chunk that something refers to, with its plain length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkRef {
    /// The chunk.
    pub id: ChunkId,
    /// Its length, from 1 to [`CHUNK_BYTES_MAX`].
    pub len: u32,
}

impl ChunkRef {
    /// Appends the stored form.
    pub fn encode(&self, out: &mut Encoder) {
        out.varint(self.len.into()).raw(self.id.as_bytes());
    }

    /// Reads the stored form.
    pub fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let len = chunk_len(from)?;
        Ok(Self { id: ChunkId::from_bytes(from.id("chunk.id")?), len })
    }

    /// Length of the stored form at least, in bytes.
    pub const ENCODED_BYTES_MIN: usize = 1 + ID_BYTES;
}

fn chunk_len(from: &mut Decoder<'_>) -> Result<u32, DecodeError> {
    let before = from.clone();
    match u32::try_from(from.varint("chunk.len", CHUNK_BYTES_MAX as u64)?) {
        Ok(0) | Err(_) => Err(before.error("chunk.len", DecodeProblem::NotCanonical)),
        Ok(len) => Ok(len),
    }
}

/// One step of rebuilding a stream. Lengths are at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The next so many bytes of the envelope.
    Envelope(u64),
    /// A chunk of payload.
    Chunk(ChunkRef),
    /// So many zeros of payload.
    Zeros(u64),
}

impl Step {
    /// Length in the stream, in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Envelope(len) | Self::Zeros(len) => *len,
            Self::Chunk(chunk) => chunk.len.into(),
        }
    }

    /// Takes in the step that follows, if both are envelope or both are zeros: a recipe has one form only.
    fn absorb(&mut self, next: Self) -> bool {
        match (self, next) {
            (Self::Envelope(before), Self::Envelope(len)) | (Self::Zeros(before), Self::Zeros(len)) => {
                *before += len;
                true
            }
            _ => false,
        }
    }

    /// Steps are never empty; for symmetry with [`Self::len`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A member's path from a table of parts, for people.
pub fn display_path(path: &[u8]) -> String {
    crate::tar::display(path).to_string()
}

const STEP_ENVELOPE: u64 = 0;
const STEP_CHUNK: u64 = 1;
const STEP_ZEROS: u64 = 2;

/// A part of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// Bytes at the part's start that belong to the member begun in an earlier part; 0 where the part begins a member.
    pub lead: u64,
    /// The chunks whose bytes, one after the other, are the envelope bytes of this part.
    pub envelope: Vec<ChunkRef>,
    /// How the part of the stream is made.
    pub steps: Vec<Step>,
}

impl Part {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.varint(self.lead).size(self.envelope.len());
        for chunk in &self.envelope {
            chunk.encode(&mut out);
        }
        for step in &self.steps {
            match step {
                Step::Envelope(len) => out.varint(len << 2 | STEP_ENVELOPE),
                Step::Zeros(len) => out.varint(len << 2 | STEP_ZEROS),
                Step::Chunk(chunk) => out.varint(u64::from(chunk.len) << 2 | STEP_CHUNK).raw(chunk.id.as_bytes()),
            };
        }
        out.finish()
    }

    /// Reads the stored form. The envelope chunks are exactly as long as the envelope steps together afterwards, and at
    /// most [`PART_ENVELOPE_BYTES_MAX`]; there is at least one step.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        if bytes.len() > PART_BYTES_MAX {
            return Err(from.error("part", DecodeProblem::TooLarge));
        }
        let lead = from.varint("part.lead", STREAM_BYTES_MAX)?;
        let count = from.count("part.envelope", PART_BYTES_MAX, ChunkRef::ENCODED_BYTES_MIN)?;
        let envelope = (0..count).map(|_| ChunkRef::decode(&mut from)).collect::<Result<Vec<_>, _>>()?;
        let mut envelope_len: u64 = envelope.iter().map(|chunk| u64::from(chunk.len)).sum();
        if envelope_len > PART_ENVELOPE_BYTES_MAX as u64 {
            return Err(from.error("part.envelope", DecodeProblem::TooLarge));
        }
        let (mut steps, mut total) = (Vec::new(), 0_u64);
        while from.remaining() > 0 {
            let before = from.clone();
            let word = from.varint("part.step", u64::MAX)?;
            let len = word >> 2;
            if len == 0 {
                return Err(before.error("part.step", DecodeProblem::NotCanonical));
            }
            let step = match word & 3 {
                STEP_ENVELOPE => {
                    envelope_len = envelope_len
                        .checked_sub(len)
                        .ok_or_else(|| before.error("part.step", DecodeProblem::TooLarge))?;
                    Step::Envelope(len)
                }
                STEP_CHUNK => match u32::try_from(len) {
                    Ok(len) if len as usize <= CHUNK_BYTES_MAX => {
                        Step::Chunk(ChunkRef { id: ChunkId::from_bytes(from.id("chunk.id")?), len })
                    }
                    _ => return Err(before.error("chunk.len", DecodeProblem::TooLarge)),
                },
                STEP_ZEROS => Step::Zeros(len),
                _ => return Err(before.error("part.step", DecodeProblem::Unknown)),
            };
            if matches!(
                (steps.last(), step),
                (Some(Step::Envelope(_)), Step::Envelope(_)) | (Some(Step::Zeros(_)), Step::Zeros(_))
            ) {
                return Err(before.error("part.step", DecodeProblem::NotCanonical));
            }
            total = total.saturating_add(len);
            if total > STREAM_BYTES_MAX {
                return Err(before.error("part.step", DecodeProblem::TooLarge));
            }
            steps.push(step);
        }
        if envelope_len != 0 || lead > total || steps.is_empty() {
            return Err(from.error("part.envelope", DecodeProblem::NotCanonical));
        }
        Ok(Self { lead, envelope, steps })
    }

    /// Length of the part's stretch of the stream, in bytes.
    pub fn stream_len(&self) -> u64 {
        self.steps.iter().map(Step::len).sum()
    }

    /// Length of the part's stretch of the envelope, in bytes.
    pub fn envelope_len(&self) -> u64 {
        self.envelope.iter().map(|chunk| u64::from(chunk.len)).sum()
    }
}

/// One row of the table of parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRow {
    /// The chunk that is the part.
    pub part: ChunkRef,
    /// Length of the part's stretch of the stream, in bytes.
    pub stream_len: u64,
    /// Length of the part's stretch of the envelope, in bytes.
    pub envelope_len: u64,
    /// Path of the first member that begins in the part, cut to [`PART_PATH_BYTES_MAX`]; empty where none does.
    pub first_path: Vec<u8>,
}

impl TableRow {
    /// Appends the stored form.
    pub fn encode(&self, out: &mut Encoder) {
        self.part.encode(out);
        out.varint(self.stream_len).varint(self.envelope_len).bytes(&self.first_path);
    }

    /// Reads the stored form.
    pub fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            part: ChunkRef::decode(from)?,
            stream_len: from.varint("row.stream_len", STREAM_BYTES_MAX)?,
            envelope_len: from.varint("row.envelope_len", STREAM_BYTES_MAX)?,
            first_path: from.bytes("row.first_path", PART_PATH_BYTES_MAX)?.to_vec(),
        })
    }

    /// The most bytes that a row takes.
    pub const ENCODED_BYTES_MAX: usize = 5 + ID_BYTES + 10 + 10 + 3 + PART_PATH_BYTES_MAX;
}

/// Decides where parts end and gathers what they hold.
///
/// A part ends where content says so, at the start of a member once it is long enough, so that a later backup, whose
/// members before this place differ, comes back into step. Inside one long member it ends at a chunk.
#[derive(Default)]
pub struct PartBuilder {
    part: Part,
    /// Length of the stored form so far, a little more at most.
    encoded_len: usize,
    envelope_len: u64,
    first_path: Option<Vec<u8>>,
    /// Whether a member has begun in this part.
    begun: bool,
    /// Hashes the headers of the present member: the content that decides at its end.
    headers: Xxh3,
}

/// How likely a place ends a part that may end: one in so many.
const CANDIDATE_ONE_IN: u64 = 16;

impl PartBuilder {
    /// A builder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds envelope bytes; their chunks come by [`Self::envelope_chunk`] later.
    pub fn envelope(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.headers.update(bytes);
            self.envelope_len += bytes.len() as u64;
            self.step(Step::Envelope(bytes.len() as u64));
        }
    }

    /// Adds a chunk of payload.
    pub fn chunk(&mut self, chunk: ChunkRef) {
        self.step(Step::Chunk(chunk));
    }

    /// Adds a run of zeros.
    pub fn zeros(&mut self, len: u64) {
        if len > 0 {
            self.step(Step::Zeros(len));
        }
    }

    /// Adds the next of the chunks that make up the part's envelope.
    pub fn envelope_chunk(&mut self, chunk: ChunkRef) {
        self.encoded_len += ChunkRef::ENCODED_BYTES_MIN + 4;
        self.part.envelope.push(chunk);
    }

    /// Says that a member begins here, and asks whether the part ends before it. The caller then ends the envelope's
    /// last chunk, hands it over and calls [`Self::finish`].
    pub fn boundary(&mut self) -> bool {
        let content = self.headers.digest();
        self.headers.reset();
        if !self.begun {
            self.part.lead = self.part.stream_len();
            self.begun = true;
        }
        self.ends(content)
    }

    /// Says that this is the path of the member that began last.
    pub fn member(&mut self, path: &[u8]) {
        if self.first_path.is_none() && self.begun {
            self.first_path = Some(path.get(..PART_PATH_BYTES_MAX.min(path.len())).unwrap_or_default().to_vec());
        }
    }

    /// Asks, after a chunk or zeros inside a member, whether the part ends here because the member is a long one.
    pub fn inside(&mut self) -> bool {
        let content = match self.part.steps.last() {
            Some(Step::Chunk(chunk)) => xxh3_64(chunk.id.as_bytes()),
            _ => 1,
        };
        self.encoded_len >= PART_BYTES_TARGET && self.ends(content)
    }

    /// Whether the part holds nothing.
    pub fn is_empty(&self) -> bool {
        self.part.steps.is_empty()
    }

    /// Ends the part. The next one continues the present member unless a boundary comes first.
    pub fn finish(&mut self) -> (Part, Vec<u8>) {
        let mut done = std::mem::take(self);
        if !done.begun {
            done.part.lead = done.part.stream_len();
        }
        self.headers = done.headers;
        (done.part, done.first_path.unwrap_or_default())
    }

    fn ends(&self, content: u64) -> bool {
        let candidate = content.is_multiple_of(CANDIDATE_ONE_IN);
        let envelope_len = self.envelope_len;
        let long_enough = self.encoded_len >= PART_BYTES_MIN || envelope_len >= PART_ENVELOPE_BYTES_MIN as u64;
        let too_long = self.encoded_len >= 2 * PART_BYTES_TARGET || envelope_len >= PART_ENVELOPE_BYTES_TARGET as u64;
        too_long || long_enough && candidate
    }

    fn step(&mut self, step: Step) {
        if !self.part.steps.last_mut().is_some_and(|last| last.absorb(step)) {
            self.encoded_len += if matches!(step, Step::Chunk(_)) { 4 + ID_BYTES } else { 6 };
            self.part.steps.push(step);
        }
    }
}

/// The digest of a canonical recipe: BLAKE3 over what the stream is made of, wherever parts were cut.
#[derive(Debug, Default)]
pub struct RecipeHasher {
    envelope: blake3::Hasher,
    steps: blake3::Hasher,
    /// Envelope and zero steps are merged across parts before they count.
    open: Option<Step>,
}

impl RecipeHasher {
    /// A hasher at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds envelope bytes.
    pub fn envelope(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.envelope.update(bytes);
            self.step(Step::Envelope(bytes.len() as u64));
        }
    }

    /// Adds a chunk of payload.
    pub fn chunk(&mut self, chunk: ChunkRef) {
        self.step(Step::Chunk(chunk));
    }

    /// Adds a run of zeros.
    pub fn zeros(&mut self, len: u64) {
        if len > 0 {
            self.step(Step::Zeros(len));
        }
    }

    /// The digest of everything added.
    pub fn finish(mut self) -> [u8; 32] {
        self.close();
        let mut all = blake3::Hasher::new_derive_key("holdall format 1: recipe digest");
        all.update(self.envelope.finalize().as_bytes()).update(self.steps.finalize().as_bytes());
        *all.finalize().as_bytes()
    }

    fn step(&mut self, step: Step) {
        if !self.open.as_mut().is_some_and(|open| open.absorb(step)) {
            self.close();
            self.open = Some(step);
        }
    }

    fn close(&mut self) {
        let Some(step) = self.open.take() else { return };
        let (tag, id) = match &step {
            Step::Envelope(_) => (STEP_ENVELOPE, None),
            Step::Chunk(chunk) => (STEP_CHUNK, Some(chunk.id)),
            Step::Zeros(_) => (STEP_ZEROS, None),
        };
        self.steps.update(&(step.len() << 2 | tag).to_le_bytes());
        if let Some(id) = id {
            self.steps.update(id.as_bytes());
        }
    }
}

const _: () = assert!(PART_PATH_BYTES_MAX <= MEMBER_PATH_BYTES_MAX);
const _: () = assert!(4 * PART_BYTES_TARGET < PART_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunk(n: u64, len: u32) -> ChunkRef {
        ChunkRef { id: ChunkId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes()), len }
    }

    /// Feeds members of one header and one chunk each and gives the parts.
    fn parts(members: impl Iterator<Item = u64>) -> Vec<Part> {
        let mut builder = PartBuilder::new();
        let mut parts = Vec::new();
        let mut end = |builder: &mut PartBuilder| {
            let len: u64 = builder.envelope_len;
            builder.envelope_chunk(chunk(len, u32::try_from(len).unwrap()));
            parts.push(builder.finish().0);
        };
        for n in members {
            if builder.boundary() {
                end(&mut builder);
                builder.boundary();
            }
            builder.envelope(blake3::hash(&n.to_le_bytes()).as_bytes());
            builder.chunk(chunk(n, 1000));
        }
        end(&mut builder);
        parts
    }

    #[test]
    fn parts_round_trip_and_keep_within_bounds() {
        let parts = parts(0..5000);
        for part in &parts {
            let bytes = part.encode();
            assert_eq!(Part::decode(&bytes).as_ref(), Ok(part));
            assert!(bytes.len() < 2 * PART_BYTES_TARGET + 200, "{}", bytes.len());
            assert_eq!(part.lead, 0);
        }
        assert_eq!(parts.iter().map(Part::stream_len).sum::<u64>(), 5000 * 1032);
    }

    #[test]
    fn an_insertion_changes_few_parts() {
        let before: std::collections::HashSet<_> = parts(0..5000).iter().map(Part::encode).collect();
        let after = parts((0..2000).chain([9_999_999]).chain(2000..5000));
        let new = after.iter().filter(|part| !before.contains(&part.encode())).count();
        assert!(new <= 3, "{new} of {}", after.len());
    }

    #[test]
    fn a_long_member_is_cut_inside_and_the_next_part_says_how_far_it_reaches() {
        let mut builder = PartBuilder::new();
        builder.boundary();
        let mut parts = Vec::new();
        for n in 0..2000 {
            builder.chunk(chunk(n, 10));
            if builder.inside() {
                parts.push(builder.finish().0);
            }
        }
        builder.boundary();
        builder.zeros(5);
        let (last, _) = builder.finish();
        assert!(parts.len() > 3);
        assert_eq!(parts[0].lead, 0);
        assert_eq!(parts[1].lead, parts[1].stream_len());
        assert_eq!(last.lead + 5, last.stream_len());
    }

    #[test]
    fn the_digest_does_not_depend_on_how_steps_were_split() {
        let mut a = RecipeHasher::new();
        a.envelope(b"abc");
        a.zeros(7);
        a.chunk(chunk(1, 3));
        let mut b = RecipeHasher::new();
        b.envelope(b"a");
        b.envelope(b"bc");
        b.zeros(3);
        b.zeros(4);
        b.chunk(chunk(1, 3));
        let mut c = RecipeHasher::new();
        c.envelope(b"abc");
        c.zeros(7);
        c.chunk(chunk(1, 4));
        let a = a.finish();
        assert_eq!(a, b.finish());
        assert_ne!(a, c.finish());
    }

    proptest! {
        #[test]
        fn no_input_makes_a_decoder_panic(input: Vec<u8>) {
            let _ = TableRow::decode(&mut Decoder::new(&input)).is_ok();
            if let Ok(part) = Part::decode(&input) {
                prop_assert_eq!(part.encode(), input);
            }
        }
    }
}
