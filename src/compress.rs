//! The codec of a frame: zstd, or raw where zstd would gain nothing (`format-spec/pack.md`, "Frame").
//!
//! The last byte of a frame's plain form names the codec. The decompressed length is known from the directory, so a
//! decoder never allocates what the input merely claims.

use std::cell::RefCell;
use std::io;

use zstd::bulk::Compressor;

/// The zstd level of a repository; `init` writes 3 into the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u8);

impl Level {
    /// The level that `init` chooses.
    pub const DEFAULT: Self = Self(3);

    /// A level from 1 to 19; `None` outside.
    pub const fn new(level: u8) -> Option<Self> {
        if level >= 1 && level <= 19 { Some(Self(level)) } else { None }
    }

    /// The level as stored.
    pub const fn get(self) -> u8 {
        self.0
    }
}

const CODEC_RAW: u8 = 0;
const CODEC_ZSTD: u8 = 1;

/// Every so many bytes one sample is taken to see whether compression is worth its time.
const SAMPLE_EVERY_BYTES: usize = 32 * 1024;
/// Length of one sample in bytes.
const SAMPLE_BYTES: usize = 4 * 1024;
/// Frames shorter than this are compressed without asking.
const SAMPLED_BYTES_MIN: usize = 128 * 1024;

/// What shrinks to one part in so many is tried at the [`QUICKEST`] level, too, which costs next to nothing then.
const REPETITIVE: usize = 32;
/// Level 1 looks for longer matches, and so finds tar headers to be what they are, records that repeat with small
/// differences: a million empty files take a tenth less than at level 3.
const QUICKEST: Level = Level(1);

/// A frame that cannot be compressed or decompressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// zstd failed while compressing, which only lack of memory can cause.
    #[error("A frame of {bytes} bytes cannot be compressed")]
    Compress {
        /// Plain length of the frame.
        bytes: usize,
        /// zstd's words.
        source: io::Error,
    },
    /// The codec byte is missing or unknown.
    #[error("A frame uses a codec that this version does not know")]
    UnknownCodec,
    /// The content is not what the directory promises.
    #[error("A frame does not decompress to the {expected} bytes that its directory states")]
    WrongContent {
        /// The length that the directory states.
        expected: usize,
    },
}

thread_local! {
    /// A compressor needs some megabytes of working memory; a thread that seals many frames keeps its own.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses a frame, or leaves it as it is where that would gain nothing.
pub fn compress(mut plain: Vec<u8>, level: Level) -> Result<Vec<u8>, CompressError> {
    if worth_compressing(&plain) {
        let failed = |source| CompressError::Compress { bytes: plain.len(), source };
        let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(plain.len()) + 1);
        compress_to(&plain, level, &mut out).map_err(failed)?;
        if level > QUICKEST && out.len() < plain.len() / REPETITIVE {
            let mut again = Vec::with_capacity(zstd::zstd_safe::compress_bound(plain.len()) + 1);
            compress_to(&plain, QUICKEST, &mut again).map_err(failed)?;
            if again.len() < out.len() {
                out = again;
            }
        }
        out.push(CODEC_ZSTD);
        if out.len() < 1 + plain.len() {
            return Ok(out);
        }
    }
    plain.push(CODEC_RAW);
    Ok(plain)
}

fn compress_to(plain: &[u8], level: Level, out: &mut Vec<u8>) -> io::Result<usize> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            None => kept.insert(Compressor::new(level.0.into())?),
        };
        compressor.set_compression_level(level.0.into())?;
        compressor.include_contentsize(false)?;
        compressor.include_checksum(false)?;
        compressor.compress_to_buffer(plain, out)
    })
}

/// Decompresses a frame to exactly `expected` bytes, of which `max` are accepted at most.
pub fn decompress(frame: &[u8], expected: usize, max: usize) -> Result<Vec<u8>, CompressError> {
    let wrong = || CompressError::WrongContent { expected };
    if expected > max {
        return Err(wrong());
    }
    let plain = match frame.split_last() {
        Some((&CODEC_RAW, body)) => body.to_vec(),
        Some((&CODEC_ZSTD, body)) => zstd::bulk::decompress(body, expected).map_err(|_| wrong())?,
        _ => return Err(CompressError::UnknownCodec),
    };
    if plain.len() == expected { Ok(plain) } else { Err(wrong()) }
}

/// Whether samples of the frame shrink at all: data that is compressed already costs most of a backup's time otherwise.
fn worth_compressing(plain: &[u8]) -> bool {
    if plain.len() < SAMPLED_BYTES_MIN {
        return true;
    }
    let mut sample = Vec::with_capacity(SAMPLE_BYTES * plain.len().div_ceil(SAMPLE_EVERY_BYTES));
    for part in plain.chunks(SAMPLE_EVERY_BYTES) {
        sample.extend_from_slice(part.get(..SAMPLE_BYTES).unwrap_or(part));
    }
    // A sample of many places is shorter than the whole and finds fewer repetitions: two per cent is a lot for it.
    zstd::bulk::compress(&sample, 1).map_or(true, |packed| packed.len() + packed.len() / 50 < sample.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new_derive_key("noise").finalize_xof().fill(&mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn frames_round_trip(plain: Vec<u8>) {
            let frame = compress(plain.clone(), Level::DEFAULT).unwrap();
            prop_assert_eq!(decompress(&frame, plain.len(), usize::MAX).unwrap(), plain);
        }

        #[test]
        fn no_input_makes_decompression_panic(input: Vec<u8>, expected in 0_usize..4096) {
            let _ = decompress(&input, expected, 4096).is_ok();
        }
    }

    #[test]
    fn noise_is_stored_raw_and_text_is_not() {
        let plain = noise(1 << 20);
        assert_eq!(compress(plain.clone(), Level::DEFAULT).unwrap().len(), 1 + plain.len());
        let text = b"All that glitters is not gold. ".repeat(40_000);
        assert!(compress(text.clone(), Level::DEFAULT).unwrap().len() < text.len() / 100);
    }

    #[test]
    fn tar_headers_take_less_than_at_the_default_level() {
        let headers: Vec<u8> = (0..4000)
            .flat_map(|n| {
                let mut header = format!("directory/file-{n:07}\0\0 {:06o}", n * 7919 % 32_768).into_bytes();
                header.resize(512, 0);
                header
            })
            .collect();
        let usual = zstd::bulk::compress(&headers, Level::DEFAULT.0.into()).unwrap();
        let frame = compress(headers.clone(), Level::DEFAULT).unwrap();
        assert!(frame.len() < usual.len() * 95 / 100, "{} of {}", frame.len(), usual.len());
        assert_eq!(decompress(&frame, headers.len(), headers.len()).unwrap(), headers);
    }

    #[test]
    fn a_small_compressible_part_in_noise_is_worth_it() {
        let mut plain = noise(1 << 20);
        plain.extend(vec![b'a'; 1 << 18]);
        assert!(compress(plain.clone(), Level::DEFAULT).unwrap().len() < plain.len() * 9 / 10);
    }

    #[test]
    fn a_frame_of_another_length_is_an_error() {
        let frame = compress(vec![7; 5000], Level::DEFAULT).unwrap();
        assert!(decompress(&frame, 4999, 9999).is_err() && decompress(&frame, 5001, 9999).is_err());
        assert!(decompress(&frame, 5000, 4999).is_err());
        assert!(decompress(&[1, 9], 1, 1).is_err() && decompress(&[], 0, 1).is_err());
    }
}
