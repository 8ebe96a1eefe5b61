//! The compressions that an export may come in, told by its first bytes.
//!
//! Memory is bounded whatever a file asks for. A file that is cut off inside a member or frame is an error, never an
//! end; so is anything that follows the last one.

use std::io::{self, BufRead, Read};

use crate::limits::{IMPORT_WINDOW_BYTES_MAX, MIB};

/// What a decoder of xz needs beside its window.
const XZ_BESIDE_WINDOW_BYTES: usize = MIB;

/// How an export may be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Plain,
    Gzip,
    Zstd,
    Xz,
}

/// The uncompressed form of a stream, and how it was compressed.
pub fn uncompressed<'d>(
    mut input: impl BufRead + Send + 'd,
) -> io::Result<(Box<dyn Read + Send + 'd>, Option<&'static str>)> {
    let codec = Codec::sniff(&mut input)?;
    Ok((codec.decoder(input)?, codec.name()))
}

impl Codec {
    /// Tells by the first bytes, without taking them.
    fn sniff(input: &mut impl BufRead) -> io::Result<Self> {
        let start = input.fill_buf()?;
        Ok(if start.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Self::Zstd
        } else if start.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
            Self::Xz
        } else {
            Self::Plain
        })
    }

    fn name(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
            Self::Xz => Some("xz"),
        }
    }

    fn decoder<'d>(self, input: impl BufRead + Send + 'd) -> io::Result<Box<dyn Read + Send + 'd>> {
        Ok(match self {
            Self::Plain => Box::new(input),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(IMPORT_WINDOW_BYTES_MAX.ilog2())?;
                Box::new(decoder)
            }
            Self::Xz => {
                let memory = (IMPORT_WINDOW_BYTES_MAX + XZ_BESIDE_WINDOW_BYTES) as u64;
                let stream = liblzma::stream::Stream::new_stream_decoder(memory, liblzma::stream::CONCATENATED)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(compressed: &[u8]) -> String {
        let mut plain = Vec::new();
        let read = uncompressed(compressed).and_then(|(mut decoder, _)| decoder.read_to_end(&mut plain));
        read.unwrap_err().to_string()
    }

    /// The first bytes of a file say how much memory its decoder takes.
    #[test]
    fn a_file_that_asks_for_gigabytes_of_memory_is_refused() {
        // A block whose dictionary has four gigabytes; both headers have their checksums.
        let xz = b"\xfd7zXZ\0\0\x01\x69\x22\xde\x36\x02\0\x21\x01\x28\0\0\0\xe6\xa0\x11\xb3";
        assert!(refusal(xz).contains("memory limit"), "{}", refusal(xz));
        // A frame whose window has two.
        let zstd = b"\x28\xb5\x2f\xfd\0\xa8\x01\0\0";
        assert!(refusal(zstd).contains("memory"), "{}", refusal(zstd));
    }

    #[test]
    fn what_the_strongest_usual_settings_make_is_read() {
        let mut options = liblzma::stream::LzmaOptions::new_preset(9).unwrap();
        options.dict_size(u32::try_from(IMPORT_WINDOW_BYTES_MAX).unwrap());
        let mut filters = liblzma::stream::Filters::new();
        let encoder =
            liblzma::stream::Stream::new_stream_encoder(filters.lzma2(&options), liblzma::stream::Check::Crc64);
        let mut compressed = Vec::new();
        liblzma::bufread::XzEncoder::new_stream(&b"text"[..], encoder.unwrap()).read_to_end(&mut compressed).unwrap();
        let mut plain = Vec::new();
        uncompressed(&compressed[..]).unwrap().0.read_to_end(&mut plain).unwrap();
        assert_eq!(plain, b"text");
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(IMPORT_WINDOW_BYTES_MAX.ilog2()).unwrap();
        std::io::Write::write_all(&mut encoder, b"text").unwrap();
        let compressed = encoder.finish().unwrap();
        plain.clear();
        uncompressed(&compressed[..]).unwrap().0.read_to_end(&mut plain).unwrap();
        assert_eq!(plain, b"text");
    }
}
