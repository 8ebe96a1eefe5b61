//! Index segments: the directories of some packs, once more (`format-spec/index.md`).
//!
//! A segment states facts: chunk x is in pack p at this place. Packs are immutable, so a fact never becomes false; it
//! is no proof that the pack still exists.

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::id::{ID_BYTES, PackId};
use crate::limits::{OBJECT_PLAIN_BYTES_MAX, PACK_BYTES_MAX};
use crate::pack::Directory;

/// One pack as a segment states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentPack {
    /// The pack.
    pub id: PackId,
    /// Size of the pack file in bytes; a listed pack of another size is damaged.
    pub bytes: u64,
    /// What it holds.
    pub directory: Directory,
}

/// The facts about some packs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segment {
    /// The packs in the order in which they were stored.
    pub packs: Vec<SegmentPack>,
}

impl Segment {
    /// The stored form, before sealing.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.size(self.packs.len());
        for pack in &self.packs {
            out.raw(pack.id.as_bytes()).varint(pack.bytes);
            pack.directory.encode(&mut out);
        }
        out.finish()
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let count = from.count("segment.packs", OBJECT_PLAIN_BYTES_MAX, 2 * ID_BYTES)?;
        let mut packs = Vec::with_capacity(count);
        for _ in 0..count {
            packs.push(SegmentPack {
                id: PackId::from_bytes(from.id("segment.pack")?),
                bytes: from.varint("segment.pack_bytes", PACK_BYTES_MAX as u64)?,
                directory: Directory::decode(&mut from)?,
            });
        }
        from.finish("segment")?;
        Ok(Self { packs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::directory::tests::directories;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn segment_round_trips(
            packs in proptest::collection::vec((any::<[u8; 32]>(), 0..1_u64 << 28, directories()), 0..4),
        ) {
            let packs = packs
                .into_iter()
                .map(|(id, bytes, directory)| SegmentPack { id: PackId::from_bytes(id), bytes, directory });
            let segment = Segment { packs: packs.collect() };
            prop_assert_eq!(Segment::decode(&segment.encode()), Ok(segment));
        }

        #[test]
        fn no_input_makes_the_decoder_panic(input: Vec<u8>) {
            let _ = Segment::decode(&input).is_ok();
        }
    }
}
