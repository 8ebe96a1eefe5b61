//! The lengths between which chunks are cut; part of the repository's config.

use crate::codec::{DecodeError, DecodeProblem, Decoder, Encoder};
use crate::limits::{CHUNK_BYTES_MAX, KIB, MIB};

/// Shortest, average and longest chunk in bytes; even, ordered, and at most [`CHUNK_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkParams {
    min: usize,
    avg: usize,
    max: usize,
}

/// Lengths that make no chunker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "Chunk lengths of {min}, {avg} and {max} bytes are not even, in order and between 256 and {CHUNK_BYTES_MAX}, \
     the average 512 at least"
)]
pub struct ParamsError {
    min: usize,
    avg: usize,
    max: usize,
}

impl ChunkParams {
    /// Payloads: small enough that a changed file is not stored whole, large enough for 15 million chunks per TB.
    pub const PAYLOAD: Self = Self { min: 64 * KIB, avg: 256 * KIB, max: MIB };
    /// Envelopes and tables of parts: one changed header must not store a megabyte of others again.
    pub const ENVELOPE: Self = Self { min: 8 * KIB, avg: 32 * KIB, max: 128 * KIB };

    /// Checks the lengths.
    pub fn new(min: usize, avg: usize, max: usize) -> Result<Self, ParamsError> {
        let wrong = ParamsError { min, avg, max };
        let even = [min, avg, max].iter().all(|len| len.is_multiple_of(2));
        if !even || min < 256 || avg < 512 || min >= avg || avg >= max || max > CHUNK_BYTES_MAX {
            return Err(wrong);
        }
        Ok(Self { min, avg, max })
    }

    /// Shortest chunk in bytes, but for the last of a payload.
    pub const fn min(self) -> usize {
        self.min
    }

    /// The length at which the cut becomes easier, in bytes.
    pub const fn avg(self) -> usize {
        self.avg
    }

    /// Longest chunk in bytes.
    pub const fn max(self) -> usize {
        self.max
    }

    /// Appends the stored form.
    pub fn encode(self, out: &mut Encoder) {
        out.size(self.min).size(self.avg).size(self.max);
    }

    /// Reads the stored form.
    pub fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let before = from.clone();
        let mut next = || from.size("chunk_params", CHUNK_BYTES_MAX);
        Self::new(next()?, next()?, next()?).map_err(|_| before.error("chunk_params", DecodeProblem::Unknown))
    }
}
