//! Streams that arrive compressed: their plain form is stored, and what arrived is remembered.

use std::io::{self, BufReader, Read};

use crate::backup::decoder::uncompressed;
use crate::backup::pipeline::{Recorded, Splitting, StreamError, Watch, record};
use crate::limits::PIECE_BYTES;
use crate::point::Original;
use crate::repo::SessionWriter;

/// Stores the plain form of a stream, whichever of the known compressions it came in, to its last byte.
pub(super) fn record_plain(
    writer: SessionWriter<'_, '_>,
    stream: &mut (dyn Read + Send),
    watch: Watch<'_>,
) -> Result<(Recorded, Option<Original>), StreamError> {
    let mut counted = Counted { stream, len: 0, hasher: blake3::Hasher::new() };
    let buffered = BufReader::with_capacity(PIECE_BYTES, &mut counted);
    let (mut plain, codec) = uncompressed(buffered).map_err(|source| StreamError::Read { read: 0, source })?;
    let recorded = record(writer, &mut plain, Splitting::Tar, watch)?;
    drop(plain);
    let digest = *counted.hasher.finalize().as_bytes();
    let original = codec.map(|codec| Original { codec: codec.to_owned(), len: counted.len, digest });
    Ok((recorded, original))
}

/// Counts and digests what passes.
struct Counted<'s> {
    stream: &'s mut (dyn Read + Send),
    len: u64,
    hasher: blake3::Hasher,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        self.len += read as u64;
        Ok(read)
    }
}
