//! The compressions in front of `import`: what was compressed comes back, and what was cut off is no shorter stream.

use std::io::{self, Read, Write};

use flate2::write::GzEncoder;
use holdall::backup::uncompressed;
use liblzma::stream::{Check, Filters, LzmaOptions, Stream};
use liblzma::write::XzEncoder;

use super::choice;

/// The most that is read of bytes that nobody compressed: a bomb has no end.
const READ_BYTES_MAX: u64 = 1 << 20;
/// The shortest start by which a compression is told from plain bytes.
const MAGIC_BYTES_MAX: usize = 6;

/// Bytes as they are, or two members compressed here, whole and cut, according to the first byte.
pub fn codec(data: &[u8]) {
    let (chosen, data) = choice(data);
    let compress: fn(&[u8]) -> Vec<u8> = match chosen % 4 {
        0 => return as_it_is(data),
        1 => gzip,
        2 => zstd,
        _ => xz,
    };
    let (cut, data) = data.split_first_chunk::<2>().unwrap_or((&[0; 2], data));
    let (first, second) = data.split_at(usize::from(chosen / 4) * data.len() / 64);
    let (mut members, second_member) = (compress(first), compress(second));
    let boundary = members.len();
    members.extend(second_member);
    assert_eq!(read(&members).expect("it is whole"), data, "other bytes come back");
    let cut = usize::from(u16::from_le_bytes(*cut)) % members.len();
    match read(&members[..cut]) {
        Ok(plain) if cut < MAGIC_BYTES_MAX => assert_eq!(plain, members[..cut]),
        Ok(plain) => assert!(cut == boundary && plain == first, "cut after {cut} bytes it seems whole"),
        Err(_) => assert_ne!(cut, boundary, "the first member alone is whole"),
    }
    let mut longer = members.clone();
    longer.extend(b"what is no member");
    assert!(read(&longer).is_err(), "what follows the last member is passed over");
}

fn as_it_is(data: &[u8]) {
    let Ok((mut plain, codec)) = uncompressed(data) else { return };
    // Pieces of an odd length, as a reader may ask for.
    let (mut piece, mut all) = ([0; 1021], Vec::new());
    let mut plain = plain.by_ref().take(READ_BYTES_MAX);
    while let Ok(len @ 1..) = plain.read(&mut piece) {
        all.extend_from_slice(&piece[..len]);
    }
    assert!(codec.is_some() || all == data, "plain bytes change");
}

fn read(compressed: &[u8]) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    uncompressed(compressed)?.0.read_to_end(&mut plain)?;
    Ok(plain)
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).expect("memory does not fail");
    encoder.finish().expect("memory does not fail")
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(plain, 1).expect("memory does not fail")
}

fn xz(plain: &[u8]) -> Vec<u8> {
    let mut options = LzmaOptions::new_preset(0).expect("there is this preset");
    options.dict_size(1 << 16);
    let stream = Stream::new_stream_encoder(Filters::new().lzma2(&options), Check::Crc32).expect("it is a usual one");
    let mut encoder = XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(plain).expect("memory does not fail");
    encoder.finish().expect("memory does not fail")
}
