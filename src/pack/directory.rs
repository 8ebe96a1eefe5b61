//! What a pack holds: its frames in file order and the chunks in each (`format-spec/pack.md`, "Directory").
//!
//! Offsets are not stored: frames stand one behind the other after the pack's header, chunks one behind the other in
//! their frame's plain bytes.

use crate::codec::{DecodeError, DecodeProblem, Decoder, Encoder};
use crate::crypto::{PACK_HEADER_BYTES, TAG_BYTES};
use crate::id::{ChunkId, ID_BYTES, RunId};
use crate::limits::{
    CHUNK_BYTES_MAX, FRAME_CHUNKS_MAX, FRAME_PLAIN_BYTES_MAX, FRAME_SEALED_BYTES_MAX, PACK_BYTES_MAX, PACK_CHUNKS_MAX,
    PACK_FRAMES_MAX,
};

/// What kind of chunks a pack holds; they are kept apart so that listing, marking and checking read little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PackKind {
    /// Payload: the contents of files.
    Data,
    /// Envelopes, recipe parts and their tables.
    Meta,
}

/// A chunk as a directory lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedChunk {
    /// The chunk.
    pub id: ChunkId,
    /// Its plain length in bytes, from 1 to [`CHUNK_BYTES_MAX`].
    pub len: u32,
}

/// A frame as a directory lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its length in the pack in bytes, codec and authentication tag included.
    pub sealed_len: u32,
    /// Its chunks in order, at least one.
    pub chunks: Vec<PackedChunk>,
}

impl Frame {
    /// Length of the chunks together, in bytes.
    pub fn plain_len(&self) -> u32 {
        self.chunks.iter().map(|chunk| chunk.len).sum()
    }
}

/// Where a chunk stands in a pack: enough to read and open its frame and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Location {
    /// The frame's number in the pack, from 0; its nonce.
    pub frame: u32,
    /// Where the frame begins in the pack file, in bytes.
    pub frame_offset: u32,
    /// The frame's length in the pack file, in bytes.
    pub frame_sealed_len: u32,
    /// The frame's length once opened and decompressed, in bytes.
    pub frame_plain_len: u32,
    /// Where the chunk begins in that, in bytes.
    pub offset: u32,
    /// The chunk's length in bytes.
    pub len: u32,
}

/// What a pack holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// What kind of chunks.
    pub kind: PackKind,
    /// The run that wrote the pack.
    pub run: RunId,
    /// Where the first frame begins in the pack file, in bytes: the length of the pack's header, [`PACK_HEADER_BYTES`].
    pub frames_offset: u32,
    /// The frames in file order.
    pub frames: Vec<Frame>,
}

impl Directory {
    /// Appends the stored form.
    pub fn encode(&self, out: &mut Encoder) {
        out.u8(match self.kind {
            PackKind::Data => 1,
            PackKind::Meta => 2,
        });
        out.raw(self.run.as_bytes()).varint(self.frames_offset.into()).size(self.frames.len());
        for frame in &self.frames {
            out.varint(frame.sealed_len.into()).size(frame.chunks.len());
            for chunk in &frame.chunks {
                out.varint(chunk.len.into()).raw(chunk.id.as_bytes());
            }
        }
    }

    /// Reads the stored form. All lengths are within their limits and their sums within [`PACK_BYTES_MAX`] afterwards.
    pub fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let before = from.clone();
        let kind = match from.u8("directory.kind")? {
            1 => PackKind::Data,
            2 => PackKind::Meta,
            _ => return Err(before.error("directory.kind", DecodeProblem::Unknown)),
        };
        let run = RunId::from_bytes(from.id("directory.run")?);
        let before = from.clone();
        let frames_offset = length(from, "directory.frames_offset", 0, PACK_HEADER_BYTES)?;
        if frames_offset as usize != PACK_HEADER_BYTES {
            return Err(before.error("directory.frames_offset", DecodeProblem::Unknown));
        }
        let count = from.count("directory.frames", PACK_FRAMES_MAX, 3 + ID_BYTES)?;
        let mut frames = Vec::with_capacity(count);
        let (mut bytes, mut chunks) = (frames_offset as usize, 0);
        for _ in 0..count {
            let frame = Self::decode_frame(from)?;
            bytes += frame.sealed_len as usize;
            chunks += frame.chunks.len();
            if bytes > PACK_BYTES_MAX || chunks > PACK_CHUNKS_MAX {
                return Err(from.error("directory.frames", DecodeProblem::TooLarge));
            }
            frames.push(frame);
        }
        Ok(Self { kind, run, frames_offset, frames })
    }

    fn decode_frame(from: &mut Decoder<'_>) -> Result<Frame, DecodeError> {
        let sealed_len = length(from, "frame.sealed_len", FRAME_SEALED_BYTES_MIN, FRAME_SEALED_BYTES_MAX)?;
        let before = from.clone();
        let count = from.count("frame.chunks", FRAME_CHUNKS_MAX, 1 + ID_BYTES)?;
        if count == 0 {
            return Err(before.error("frame.chunks", DecodeProblem::NotCanonical));
        }
        let mut chunks = Vec::with_capacity(count);
        let mut plain = 0;
        for _ in 0..count {
            let len = length(from, "chunk.len", 1, CHUNK_BYTES_MAX)?;
            plain += len as usize;
            if plain > FRAME_PLAIN_BYTES_MAX {
                return Err(from.error("chunk.len", DecodeProblem::TooLarge));
            }
            chunks.push(PackedChunk { id: ChunkId::from_bytes(from.id("chunk.id")?), len });
        }
        Ok(Frame { sealed_len, chunks })
    }

    /// Every chunk with its place, in file order.
    pub fn locations(&self) -> impl Iterator<Item = (ChunkId, Location)> {
        self.frames_with_offsets().flat_map(|(number, frame_offset, frame)| {
            let frame_plain_len = frame.plain_len();
            let mut offset = 0;
            frame.chunks.iter().map(move |chunk| {
                let location = Location {
                    frame: number,
                    frame_offset,
                    frame_sealed_len: frame.sealed_len,
                    frame_plain_len,
                    offset,
                    len: chunk.len,
                };
                offset += chunk.len;
                (chunk.id, location)
            })
        })
    }

    /// Every chunk that it lists, in file order.
    pub fn chunks(&self) -> impl Iterator<Item = &PackedChunk> {
        self.frames.iter().flat_map(|frame| &frame.chunks)
    }

    /// Every frame with its number and where it begins in the pack file, in bytes.
    pub fn frames_with_offsets(&self) -> impl Iterator<Item = (u32, u32, &Frame)> {
        let mut next = self.frames_offset;
        (0..).zip(&self.frames).map(move |(number, frame)| {
            let offset = next;
            next += frame.sealed_len;
            (number, offset, frame)
        })
    }

    /// How many chunks the pack holds.
    pub fn chunk_count(&self) -> usize {
        self.frames.iter().map(|frame| frame.chunks.len()).sum()
    }

    /// Where the frames end in the pack file, in bytes.
    pub fn frames_end(&self) -> u32 {
        self.frames_offset + self.frames.iter().map(|frame| frame.sealed_len).sum::<u32>()
    }
}

/// The shortest frame that holds anything: one byte, the codec and the tag.
const FRAME_SEALED_BYTES_MIN: usize = 2 + TAG_BYTES;

/// A length from `min` to `max`, which must fit 32 bits.
fn length(from: &mut Decoder<'_>, field: &'static str, min: usize, max: usize) -> Result<u32, DecodeError> {
    let before = from.clone();
    let value = from.varint(field, max as u64)?;
    if value < min as u64 {
        return Err(before.error(field, DecodeProblem::NotCanonical));
    }
    u32::try_from(value).map_err(|_| before.error(field, DecodeProblem::TooLarge))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn directories() -> impl Strategy<Value = Directory> {
        let chunk = (any::<[u8; 32]>(), 1..1_000_000_u32)
            .prop_map(|(id, len)| PackedChunk { id: ChunkId::from_bytes(id), len });
        let frame = (18..1_000_000_u32, proptest::collection::vec(chunk, 1..6))
            .prop_map(|(sealed_len, chunks)| Frame { sealed_len, chunks });
        (any::<bool>(), any::<[u8; 32]>(), proptest::collection::vec(frame, 0..6)).prop_map(|(data, run, frames)| {
            Directory {
                kind: if data { PackKind::Data } else { PackKind::Meta },
                run: RunId::from_bytes(run),
                frames_offset: u32::try_from(PACK_HEADER_BYTES).unwrap(),
                frames,
            }
        })
    }

    proptest! {
        #[test]
        fn directory_round_trips(directory in directories()) {
            let mut out = Encoder::new();
            directory.encode(&mut out);
            let bytes = out.finish();
            let mut from = Decoder::new(&bytes);
            prop_assert_eq!(Directory::decode(&mut from), Ok(directory));
            prop_assert_eq!(from.finish("end"), Ok(()));
        }

        #[test]
        fn no_input_makes_the_decoder_panic(input: Vec<u8>) {
            if let Ok(directory) = Directory::decode(&mut Decoder::new(&input)) {
                prop_assert_eq!(directory.locations().count(), directory.chunk_count());
            }
        }
    }

    #[test]
    fn locations_follow_each_other() {
        let chunk = |n, len| PackedChunk { id: ChunkId::from_bytes([n; 32]), len };
        let directory = Directory {
            kind: PackKind::Data,
            run: RunId::from_bytes([0; 32]),
            frames_offset: 100,
            frames: vec![
                Frame { sealed_len: 50, chunks: vec![chunk(1, 10), chunk(2, 20)] },
                Frame { sealed_len: 7, chunks: vec![chunk(3, 5)] },
            ],
        };
        let places: Vec<_> =
            directory.locations().map(|(_, at)| (at.frame, at.frame_offset, at.offset, at.len)).collect();
        assert_eq!(places, [(0, 100, 0, 10), (0, 100, 10, 20), (1, 150, 0, 5)]);
        assert_eq!(directory.frames_end(), 157);
    }
}
