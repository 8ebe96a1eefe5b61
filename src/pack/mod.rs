//! Packs: append-only files of frames with a sealed directory, immutable once stored (`format-spec/pack.md`).
//!
//! A frame is one or more chunks compressed and sealed together; the directory says which chunks stand where. A segment
//! is a sealed object that repeats the directories of some packs, so that nobody has to read the packs to learn them
//! (`format-spec/index.md`). Parity behind the directory repairs what a disk loses. This room knows bytes and keys, but
//! no store.

mod directory;
mod parity;
mod reader;
mod segment;
mod trailer;
mod writer;

pub use directory::{Directory, Frame, Location, PackKind, PackedChunk};
pub use parity::{ParityError, make as make_parity, mend, parity_len, parity_share, verify_parity};
pub use reader::{FrameError, decode_directory, open_frame};
pub use segment::{Segment, SegmentPack};
pub use trailer::{Trailer, padme};
pub use writer::{OpenFrame, PackError, PackWriter, SealedFrame, SealedPack, StoredPack};
