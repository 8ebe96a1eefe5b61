//! Taking a pack apart: opening frames and the directory.

use crate::codec::{DecodeError, DecodeProblem, Decoder};
use crate::compress::{self, CompressError};
use crate::crypto::{FrameOpener, OpenError};
use crate::limits::FRAME_PLAIN_BYTES_MAX;
use crate::pack::Directory;

/// A frame that does not open to what it should hold.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Its bytes are not those that were sealed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its content does not decompress to the length that the directory states.
    #[error(transparent)]
    Decompress(#[from] CompressError),
}

/// Opens and decompresses a frame to exactly `plain_len` bytes.
pub fn open_frame(
    opener: &FrameOpener,
    number: u32,
    mut sealed: Vec<u8>,
    plain_len: usize,
) -> Result<Vec<u8>, FrameError> {
    let body = opener.open(number, &mut sealed)?;
    Ok(compress::decompress(body, plain_len, FRAME_PLAIN_BYTES_MAX)?)
}

/// Reads an opened directory; what follows it is padding and must be zeros.
pub fn decode_directory(plain: &[u8]) -> Result<Directory, DecodeError> {
    let mut from = Decoder::new(plain);
    let directory = Directory::decode(&mut from)?;
    let before = from.clone();
    let padding = from.raw("directory.padding", from.remaining())?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(before.error("directory.padding", DecodeProblem::NotCanonical));
    }
    Ok(directory)
}
