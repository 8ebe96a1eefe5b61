//! What stands in the values of the local index, as bytes (`format-spec/index.md`, "The local index").
//!
//! Knows no database. The fields of places are big-endian, so that the order of bytes is the order of numbers; the rest
//! is encoded like everything that is stored. A value that no index of this layout holds is an error: the index is made
//! anew then.

use crate::codec::{DecodeError, DecodeProblem, Decoder, Encoder};
use crate::id::{ID_BYTES, PackId, RepositoryId, RunId};
use crate::index::statements::DIGEST_BYTES;
use crate::index::{PackSummary, Unusable};
use crate::limits::{OBJECT_PLAIN_BYTES_MAX, PACK_BYTES_MAX, PACK_CHUNKS_MAX};
use crate::pack::{Location, PackKind};

pub use crate::index::statements::Statement;

/// The layout that this file describes.
const LAYOUT: u32 = 1;
/// Bytes of a place.
pub const PLACE_BYTES: usize = 28;
/// One place of a chunk in the chunk's value: statement number, then location.
pub type Place = [u8; PLACE_BYTES];

/// A place in a chunk's value. Of two with one number, the one further back in the pack has the greater bytes.
pub fn place(number: u32, at: &Location) -> Place {
    let fields = [number, at.frame, at.offset, at.frame_offset, at.frame_sealed_len, at.frame_plain_len, at.len];
    let mut place = [0; PLACE_BYTES];
    for (to, field) in place.as_chunks_mut().0.iter_mut().zip(fields) {
        *to = field.to_be_bytes();
    }
    place
}

/// The statement number of a place.
pub fn place_number(place: &Place) -> u32 {
    let [a, b, c, d, ..] = *place;
    u32::from_be_bytes([a, b, c, d])
}

/// Gives a place another statement number.
pub fn renumber(place: &mut Place, number: u32) {
    let [a, b, c, d, ..] = place;
    [*a, *b, *c, *d] = number.to_be_bytes();
}

/// The location that a place states.
pub fn location(place: &Place) -> Option<Location> {
    let [_, frame, offset, frame_offset, frame_sealed_len, frame_plain_len, len] = *place.as_chunks().0 else {
        return None;
    };
    Some(Location {
        frame: u32::from_be_bytes(frame),
        frame_offset: u32::from_be_bytes(frame_offset),
        frame_sealed_len: u32::from_be_bytes(frame_sealed_len),
        frame_plain_len: u32::from_be_bytes(frame_plain_len),
        offset: u32::from_be_bytes(offset),
        len: u32::from_be_bytes(len),
    })
}

/// The places in the value of a chunk; nothing if it is no such value.
pub fn places(value: &[u8]) -> Option<&[Place]> {
    match value.as_chunks() {
        (places, []) => Some(places),
        _ => None,
    }
}

/// Joins values of one chunk, older ones first, without the places that count no longer.
pub fn join<'a>(values: impl Iterator<Item = &'a [u8]>, keep: impl Fn(u32) -> bool) -> Option<Vec<u8>> {
    let mut joined = Vec::new();
    for value in values {
        for place in places(value)?.iter().filter(|place| keep(place_number(place))) {
            joined.extend_from_slice(place);
        }
    }
    Some(joined)
}

/// The head of an index of this layout.
pub fn head_bytes(repository: RepositoryId) -> Vec<u8> {
    let mut out = Encoder::new();
    out.u32(LAYOUT).raw(repository.as_bytes());
    out.finish()
}

/// Refuses a head of another layout or another repository.
pub fn check_head(bytes: &[u8], repository: RepositoryId) -> Result<(), Unusable> {
    let mut head = Decoder::new(bytes);
    let layout = head.u32("head.layout").map_err(|_| Unusable::Entry("head"))?;
    if layout != LAYOUT {
        return Err(Unusable::Layout(layout));
    }
    let owner = RepositoryId::from_bytes(head.id("head.repository").map_err(|_| Unusable::Entry("head"))?);
    head.finish("head").map_err(|_| Unusable::Entry("head"))?;
    if owner == repository { Ok(()) } else { Err(Unusable::Foreign(owner)) }
}

/// The value of an absorbed segment: what it names.
pub fn encode_mark(named: &[(u32, Statement)]) -> Vec<u8> {
    let mut out = Encoder::new();
    out.size(named.len());
    for (number, statement) in named {
        let PackSummary { bytes, kind, run, chunks } = statement.summary;
        let kind = match kind {
            PackKind::Data => 1,
            PackKind::Meta => 2,
        };
        out.u32(*number).raw(statement.pack.as_bytes()).raw(&statement.digest);
        out.u64(bytes).u8(kind).raw(run.as_bytes()).u32(chunks);
    }
    out.finish()
}

/// Reads the value of an absorbed segment.
pub fn decode_mark(bytes: &[u8]) -> Result<Vec<(u32, Statement)>, DecodeError> {
    let mut from = Decoder::new(bytes);
    let entry_bytes = 4 + 2 * ID_BYTES + DIGEST_BYTES + 8 + 1 + 4;
    let count = from.count("mark.packs", OBJECT_PLAIN_BYTES_MAX, entry_bytes)?;
    let mut named = Vec::with_capacity(count);
    for _ in 0..count {
        let number = from.u32("mark.number")?;
        let pack = PackId::from_bytes(from.id("mark.pack")?);
        let digest = from.array("mark.digest")?;
        let bytes = from.u64("mark.bytes")?;
        let kind = match from.u8("mark.kind")? {
            1 => PackKind::Data,
            2 => PackKind::Meta,
            _ => return Err(from.error("mark.kind", DecodeProblem::Unknown)),
        };
        let run = RunId::from_bytes(from.id("mark.run")?);
        let chunks = from.u32("mark.chunks")?;
        if bytes > PACK_BYTES_MAX as u64 || chunks as usize > PACK_CHUNKS_MAX {
            return Err(from.error("mark.bytes", DecodeProblem::TooLarge));
        }
        named.push((number, Statement { pack, digest, summary: PackSummary { bytes, kind, run, chunks } }));
    }
    from.finish("mark")?;
    Ok(named)
}
