//! The last bytes of a pack: where its directory stands (`format-spec/pack.md`, "Trailer").
//!
//! The trailer is not sealed; what it says is believed only as far as the directory then opens and ends where the
//! trailer begins. Whoever has a segment needs neither.

use crate::codec::{DecodeError, DecodeProblem, Decoder, Encoder};

const MAGIC: [u8; 8] = *b"hold/end";

/// Where the directory stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trailer {
    /// Where the sealed directory begins in the file, in bytes.
    pub directory_offset: u32,
    /// Its sealed length in bytes.
    pub directory_len: u32,
    /// Length of the parity between directory and trailer, in bytes; 0 without.
    pub parity_len: u32,
}

impl Trailer {
    /// Length of the stored form in bytes.
    pub const BYTES: usize = 20;

    /// Where the directory ends in the file, in bytes: header, frames and directory have so many.
    pub fn directory_end(&self) -> usize {
        (self.directory_offset as usize).saturating_add(self.directory_len as usize)
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.u32(self.directory_offset).u32(self.directory_len).u32(self.parity_len).raw(&MAGIC);
        out.finish()
    }

    /// Reads the stored form, for a pack file of `pack_bytes`; the lengths then add up to that.
    pub fn decode(bytes: &[u8], pack_bytes: u64) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let trailer = Self {
            directory_offset: from.u32("trailer.directory_offset")?,
            directory_len: from.u32("trailer.directory_len")?,
            parity_len: from.u32("trailer.parity_len")?,
        };
        let before = from.clone();
        if from.array("trailer.magic")? != MAGIC {
            return Err(before.error("trailer.magic", DecodeProblem::Unknown));
        }
        let sum = u64::from(trailer.directory_offset)
            + u64::from(trailer.directory_len)
            + u64::from(trailer.parity_len)
            + Self::BYTES as u64;
        if sum != pack_bytes {
            return Err(before.error("trailer.lengths", DecodeProblem::NotCanonical));
        }
        from.finish("trailer")?;
        Ok(trailer)
    }
}

/// The length to which a small pack of `bytes` is padded: Padme (Nikitin et al., 2019), which hides all but the
/// magnitude for at most 12 % more, and far less from some kilobytes on.
pub fn padme(bytes: usize) -> usize {
    if bytes < 2 {
        return bytes;
    }
    let exponent = bytes.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1_usize << exponent.saturating_sub(kept)) - 1;
    (bytes + mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailer_round_trips_and_lengths_must_add_up() {
        let trailer = Trailer { directory_offset: 1000, directory_len: 50, parity_len: 7 };
        let bytes = trailer.encode();
        assert_eq!(bytes.len(), Trailer::BYTES);
        assert_eq!(Trailer::decode(&bytes, 1077), Ok(trailer));
        assert!(Trailer::decode(&bytes, 1078).is_err());
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert!(Trailer::decode(&wrong, 1077).is_err(), "{at}");
        }
    }

    #[test]
    fn padding_is_small_and_never_shrinks() {
        for bytes in (0..100_000).chain([1 << 20, (64 << 20) - 1]) {
            let padded = padme(bytes);
            assert!(padded >= bytes && (padded - bytes) * 100 <= bytes * 12, "{bytes} -> {padded}");
        }
        assert_eq!(padme(9), 10);
        assert_eq!(padme(100_001), 100_352);
    }
}
