//! Making a pack: frames are numbered when they are begun, compressed and sealed anywhere, and appended in order.
//!
//! Dropping a writer leaves nothing; only [`SealedPack::put_with`] makes a [`StoredPack`], and only a stored pack may
//! be named by a segment. The whole pack stays in memory until then, bounded by [`PACK_BYTES_TARGET`] and the frames
//! that are on their way when it is reached.

use std::sync::Arc;

use crate::codec::Encoder;
use crate::compress::{self, CompressError, Level};
use crate::crypto::{PackSealer, SealError, TAG_BYTES, WriteKeys};
use crate::id::{ChunkId, PackId, RunId};
use crate::limits::{
    FRAME_CHUNKS_MAX, FRAME_PLAIN_BYTES_TARGET, MIB, PACK_BYTES_TARGET, PACK_CHUNKS_MAX, PACK_FRAMES_MAX,
};
use crate::pack::{Directory, Frame, PackKind, PackedChunk, ParityError, SegmentPack, Trailer, padme, parity};

/// Capacity of a frame beyond its target: the longest chunk of the usual parameters, and the codec.
const FRAME_SPARE_BYTES: usize = MIB + 64;

/// A pack that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Sealing failed, or what was sealed did not open to the same bytes.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Compression failed.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// Parity could not be made.
    #[error("A new pack cannot be stored: {0}")]
    Parity(#[from] ParityError),
}

/// A frame that is being filled.
#[derive(Debug, Default)]
pub struct OpenFrame {
    plain: Vec<u8>,
    chunks: Vec<PackedChunk>,
}

impl OpenFrame {
    /// An empty frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a chunk behind the others.
    pub fn push(&mut self, id: ChunkId, chunk: &[u8]) {
        if self.plain.capacity() == 0 {
            // Room for the chunk that closes the frame, and for the codec, so that nothing is copied again.
            self.plain.reserve(FRAME_PLAIN_BYTES_TARGET + FRAME_SPARE_BYTES);
        }
        self.plain.extend_from_slice(chunk);
        let len = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        self.chunks.push(PackedChunk { id, len });
    }

    /// Whether the frame is full and should be closed.
    pub fn is_full(&self) -> bool {
        self.plain.len() >= FRAME_PLAIN_BYTES_TARGET || self.chunks.len() >= FRAME_CHUNKS_MAX
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Plain bytes so far.
    pub fn bytes(&self) -> usize {
        self.plain.len()
    }

    /// Chunks so far.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Compresses and seals the frame under its number; may run on any thread.
    pub fn seal(self, sealer: &PackSealer, number: u32, level: Level) -> Result<SealedFrame, PackError> {
        let body = compress::compress(self.plain, level)?;
        let body = sealer.seal_frame(number, &body)?;
        Ok(SealedFrame { number, body, chunks: self.chunks })
    }
}

/// A frame as it will stand in the pack.
#[derive(Debug)]
pub struct SealedFrame {
    number: u32,
    body: Vec<u8>,
    chunks: Vec<PackedChunk>,
}

impl SealedFrame {
    /// Length in the pack in bytes.
    pub fn bytes(&self) -> u64 {
        self.body.len() as u64
    }
}

/// A pack that is being filled.
pub struct PackWriter {
    sealer: Arc<PackSealer>,
    header: Vec<u8>,
    bodies: Vec<Vec<u8>>,
    directory: Directory,
    numbered: u32,
    /// Chunks in frames that were numbered, appended or not.
    chunks: usize,
    bytes: usize,
}

impl PackWriter {
    /// An empty pack under fresh keys.
    pub fn new(keys: &WriteKeys, kind: PackKind, run: RunId) -> Result<Self, PackError> {
        let (sealer, header) = PackSealer::new(keys)?;
        let header = header.to_vec();
        let bytes = header.len();
        let frames_offset = u32::try_from(bytes).unwrap_or(u32::MAX);
        let directory = Directory { kind, run, frames_offset, frames: Vec::new() };
        Ok(Self { sealer: Arc::new(sealer), header, bodies: Vec::new(), directory, numbered: 0, chunks: 0, bytes })
    }

    /// The name that the pack will have.
    pub fn id(&self) -> PackId {
        self.sealer.id()
    }

    /// What seals its frames.
    pub fn sealer(&self) -> Arc<PackSealer> {
        Arc::clone(&self.sealer)
    }

    /// The number for this frame, which is the next. Every frame that was given a number must be appended.
    pub fn number(&mut self, frame: &OpenFrame) -> u32 {
        let number = self.numbered;
        self.numbered += 1;
        self.chunks += frame.chunks.len();
        number
    }

    /// Appends a frame.
    ///
    /// # Panics
    /// If frames come in another order than their numbers: a mistake of the caller's that would make the pack
    /// unreadable.
    pub fn append(&mut self, frame: SealedFrame) {
        assert_eq!(frame.number as usize, self.bodies.len(), "frames are appended in the order of their numbers");
        self.bytes += frame.body.len();
        let sealed_len = u32::try_from(frame.body.len()).unwrap_or(u32::MAX);
        self.directory.frames.push(Frame { sealed_len, chunks: frame.chunks });
        self.bodies.push(frame.body);
    }

    /// Whether the pack is to be stored now, with the frames that are still open: it has reached its size, or one more
    /// chunk in one more frame would exceed what a reader accepts. Text that shrinks twentyfold gets there long before
    /// the size does.
    pub fn is_full(&self, open_frames: usize, open_chunks: usize) -> bool {
        self.bytes >= PACK_BYTES_TARGET
            || self.numbered as usize + open_frames >= PACK_FRAMES_MAX
            || self.chunks + open_chunks >= PACK_CHUNKS_MAX
    }

    /// Bytes of frames that it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Seals the directory and closes the pack.
    ///
    /// # Panics
    /// If a numbered frame was not appended.
    pub fn finish(self) -> Result<SealedPack, PackError> {
        assert_eq!(self.numbered as usize, self.bodies.len(), "every numbered frame is appended");
        let mut plain = Encoder::new();
        self.directory.encode(&mut plain);
        let mut plain = plain.finish();
        // Padding hides how much a small pack holds. It is zeros behind the directory, sealed with it, so that no byte
        // of the file is unauthenticated and none can be told from the rest.
        let bare = self.bytes + plain.len() + TAG_BYTES + Trailer::BYTES;
        if bare < PACK_BYTES_TARGET {
            plain.resize(plain.len() + padme(bare) - bare, 0);
        }
        let directory = self.sealer.seal_directory(&plain)?;
        let trailer = Trailer {
            directory_offset: self.directory.frames_end(),
            directory_len: u32::try_from(directory.len()).unwrap_or(u32::MAX),
            parity_len: 0,
        };
        let bytes = self.bytes + directory.len() + Trailer::BYTES;
        let mut parts = vec![self.header];
        parts.extend(self.bodies);
        parts.push(directory);
        let entry = SegmentPack { id: self.sealer.id(), bytes: bytes as u64, directory: self.directory };
        Ok(SealedPack { parts, trailer, entry })
    }
}

/// A complete pack that is not stored yet.
pub struct SealedPack {
    /// All of the file before the trailer.
    parts: Vec<Vec<u8>>,
    trailer: Trailer,
    entry: SegmentPack,
}

impl SealedPack {
    /// The same pack with parity behind its directory. Takes a second for a gigabyte: not for a thread that others
    /// wait for.
    pub fn with_parity(mut self) -> Result<Self, PackError> {
        let parts: Vec<&[u8]> = self.parts.iter().map(Vec::as_slice).collect();
        let parity = parity::make(&parts, &self.trailer)?;
        self.trailer.parity_len = u32::try_from(parity.len()).unwrap_or(u32::MAX);
        self.entry.bytes += parity.len() as u64;
        self.parts.push(parity);
        Ok(self)
    }

    /// Stores the pack: `put` creates the object of this name from these parts and returns when it is durable.
    pub fn put_with<E>(mut self, put: impl FnOnce(PackId, &[&[u8]]) -> Result<(), E>) -> Result<StoredPack, E> {
        self.parts.push(self.trailer.encode());
        let parts: Vec<&[u8]> = self.parts.iter().map(Vec::as_slice).collect();
        put(self.entry.id, &parts)?;
        Ok(StoredPack { entry: self.entry, parity_len: self.trailer.parity_len })
    }
}

/// A pack that is durable in the store, and may be named by a segment.
#[derive(Debug, Clone)]
pub struct StoredPack {
    entry: SegmentPack,
    parity_len: u32,
}

impl StoredPack {
    /// What a segment says about it.
    pub fn into_entry(self) -> SegmentPack {
        self.entry
    }

    /// Size of the pack file in bytes without its parity.
    pub fn bytes(&self) -> u64 {
        self.entry.bytes - u64::from(self.parity_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::ReadKeys;
    use crate::limits::FRAME_CHUNKS_MAX;

    #[test]
    fn a_pack_is_full_before_it_holds_more_chunks_than_a_reader_accepts() {
        let keys = ReadKeys::generate().unwrap();
        let mut pack = PackWriter::new(keys.write(), PackKind::Data, RunId::from_bytes([1; 32])).unwrap();
        let mut frame = OpenFrame::new();
        for _ in 0..FRAME_CHUNKS_MAX {
            frame.push(ChunkId::from_bytes([2; 32]), b"x");
        }
        assert!(frame.is_full());
        let mut chunks = 0;
        while !pack.is_full(1, frame.chunks()) {
            pack.number(&frame);
            chunks += FRAME_CHUNKS_MAX;
        }
        assert_eq!(chunks + frame.chunks(), PACK_CHUNKS_MAX);
        assert!(!pack.is_full(1, frame.chunks() - 1));
        assert!(!pack.is_full(PACK_FRAMES_MAX - PACK_CHUNKS_MAX / FRAME_CHUNKS_MAX, 1));
        assert!(pack.is_full(PACK_FRAMES_MAX + 1 - PACK_CHUNKS_MAX / FRAME_CHUNKS_MAX, 1));
    }
}
