//! The chunker: bytes in, chunks out, cut where the content says (`format-spec/chunk.md`).
//!
//! FastCDC with normalization, keyed by a secret of the repository, so that an observer cannot recognise known files by
//! their chunk lengths. A cut falls after the byte that matched, and so depends on nothing but the chunk's own bytes
//! and on where its payload begins: that is what lets equal files share chunks wherever they stand, and what lets a
//! later backup predict cuts. This room knows neither tar nor chunk ids.

mod params;

pub use params::{ChunkParams, ParamsError};

use fastcdc::v2020;

/// The table that turns bytes into hashes: 256 words and the same words doubled, derived from the chunker secret.
pub struct Gear {
    words: [u64; 256],
    doubled: [u64; 256],
}

impl Gear {
    /// Derives the table from the repository's chunker secret.
    pub fn derive(secret: &[u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("holdall format 1: gear table");
        hasher.update(secret);
        let mut xof = hasher.finalize_xof();
        let words: [u64; 256] = std::array::from_fn(|_| {
            let mut word = [0; 8];
            xof.fill(&mut word);
            u64::from_le_bytes(word)
        });
        Self { words, doubled: words.map(|word| word << 1) }
    }
}

impl Drop for Gear {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.words);
        zeroize::Zeroize::zeroize(&mut self.doubled);
    }
}

/// Cuts payloads into chunks; fed any pieces, it gives the same chunks.
pub struct Chunker<'g> {
    gear: &'g Gear,
    params: ChunkParams,
    mask_strict: u64,
    mask_relaxed: u64,
    /// Bytes of the payload that belong to no chunk yet; fewer than the longest chunk between two calls.
    pending: Vec<u8>,
}

impl<'g> Chunker<'g> {
    /// A chunker at the start of a payload.
    pub fn new(gear: &'g Gear, params: ChunkParams) -> Self {
        let (mask_strict, mask_relaxed) = v2020::select_masks(params.avg(), v2020::Normalization::Level1);
        Self { gear, params, mask_strict, mask_relaxed, pending: Vec::new() }
    }

    /// Takes more bytes of the payload and hands on each chunk that they complete.
    pub fn push<E>(&mut self, mut bytes: &[u8], chunk: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let max = self.params.max();
        while self.pending.len() + bytes.len() >= max {
            if self.pending.is_empty() {
                // The usual case by volume: chunks are cut where the caller's bytes stand, without a copy.
                let (cut, rest) = bytes.split_at(self.cut(bytes));
                chunk(cut)?;
                bytes = rest;
                continue;
            }
            let held = self.pending.len();
            let (fill, _) = bytes.split_at(max - held);
            self.pending.extend_from_slice(fill);
            let len = self.cut(&self.pending);
            let (cut, _) = self.pending.split_at(len);
            chunk(cut)?;
            if len >= held {
                self.pending.clear();
                bytes = bytes.split_at(len - held).1;
            } else {
                self.pending.drain(..len);
                self.pending.truncate(held - len);
            }
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends the payload: what is left becomes chunks. The chunker then stands at the start of the next payload.
    pub fn end<E>(&mut self, chunk: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let pending = std::mem::take(&mut self.pending);
        let mut rest = &pending[..];
        while !rest.is_empty() {
            let (cut, behind) = rest.split_at(self.cut(rest));
            chunk(cut)?;
            rest = behind;
        }
        self.pending = pending;
        self.pending.clear();
        Ok(())
    }

    /// Length of the first chunk of `bytes`, which are either the rest of the payload or at least the longest chunk.
    fn cut(&self, bytes: &[u8]) -> usize {
        let longest = bytes.len().min(self.params.max());
        let (_, matched) = v2020::cut_gear(
            bytes,
            self.params.min(),
            self.params.avg(),
            self.params.max(),
            self.mask_strict,
            self.mask_relaxed,
            self.mask_strict << 1,
            self.mask_relaxed << 1,
            &self.gear.words,
            &self.gear.doubled,
        );
        // The crate cuts before the byte that matched. One byte later the cut depends on the chunk alone.
        if matched < longest { matched + 1 } else { longest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut_all(gear: &Gear, params: ChunkParams, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        let mut keep = |chunk: &[u8]| {
            chunks.push(chunk.to_vec());
            Ok::<_, ()>(())
        };
        let mut chunker = Chunker::new(gear, params);
        for piece in pieces {
            chunker.push(piece, &mut keep).unwrap();
        }
        chunker.end(&mut keep).unwrap();
        chunks
    }

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn small() -> ChunkParams {
        ChunkParams::new(256, 1024, 4096).unwrap()
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            seed: u64,
            len in 0_usize..40_000,
            cuts in proptest::collection::vec(0_usize..40_000, 0..20),
        ) {
            let gear = Gear::derive(&[7; 32]);
            let bytes = noise(seed, len);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(len)).collect();
            cuts.extend([0, len]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let whole = cut_all(&gear, small(), &[&bytes]);
            prop_assert_eq!(whole.concat(), bytes.clone());
            prop_assert_eq!(cut_all(&gear, small(), &pieces), whole);
        }

        #[test]
        fn a_cut_depends_only_on_the_bytes_of_its_chunk(seed: u64, tail: u64) {
            let gear = Gear::derive(&[7; 32]);
            let bytes = noise(seed, 20_000);
            let chunks = cut_all(&gear, small(), &[&bytes]);
            for chunk in &chunks[..chunks.len() - 1] {
                let mut other = chunk.clone();
                other.extend(noise(tail, 5_000));
                prop_assert_eq!(&cut_all(&gear, small(), &[&other])[0], chunk);
            }
        }
    }

    #[test]
    fn chunks_keep_within_the_parameters() {
        let gear = Gear::derive(&[1; 32]);
        let chunks = cut_all(&gear, small(), &[&noise(3, 1 << 20)]);
        let (last, rest) = chunks.split_last().unwrap();
        assert!(last.len() <= 4096 && rest.iter().all(|chunk| (257..=4096).contains(&chunk.len())));
        let average = (1 << 20) / chunks.len();
        assert!((800..2000).contains(&average), "{average}");
    }

    #[test]
    fn another_secret_cuts_elsewhere() {
        let bytes = noise(5, 100_000);
        let lengths = |secret| -> Vec<usize> {
            cut_all(&Gear::derive(&[secret; 32]), small(), &[&bytes]).iter().map(Vec::len).collect()
        };
        assert_ne!(lengths(1), lengths(2));
    }

    #[test]
    fn an_insertion_changes_few_chunks() {
        let gear = Gear::derive(&[1; 32]);
        let before = noise(9, 200_000);
        let mut after = before.clone();
        after.splice(100_000..100_000, *b"inserted");
        let known: std::collections::HashSet<_> = cut_all(&gear, small(), &[&before]).into_iter().collect();
        let new = cut_all(&gear, small(), &[&after]).into_iter().filter(|chunk| !known.contains(chunk)).count();
        assert!(new <= 3, "{new}");
    }
}
