//! What kinds of object exist, what each is called in a message, and the ten bytes that all of them begin with.
//!
//! Knows no key. Invariant: magic and version keep their place in every future version, so that a newer object is
//! always named as such and never as damage (`format-spec/keys.md`, "Sealed object").

use std::fmt;

use crate::codec::{Decoder, Encoder};
use crate::id::{CondemnedId, ID_BYTES, KeyslotId, NoteId, PackId, PointId, SegmentId};

/// The first bytes of every object; not text, so that nobody mends its line ends.
pub const MAGIC: [u8; 8] = *b"\x89HOLDALL";

/// The format version that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u8 = 1;

/// What an object is; its code is part of everything that authenticates the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectType {
    /// The repository's parameters.
    Config = 1,
    /// A key slot.
    Keyslot = 2,
    /// A pack: its header and frames.
    Pack = 3,
    /// The directory inside a pack.
    PackDirectory = 4,
    /// An index segment.
    Segment = 5,
    /// A restore point.
    Point = 6,
    /// What stands in a point's place when its session is over.
    Void = 7,
    /// The announcement of an attempt to make a point.
    Session = 8,
    /// A list of packs that a prune is about to delete.
    Condemned = 9,
    /// A fact learnt later.
    Note = 10,
}

impl ObjectType {
    const ALL: [Self; 10] = [
        Self::Config,
        Self::Keyslot,
        Self::Pack,
        Self::PackDirectory,
        Self::Segment,
        Self::Point,
        Self::Void,
        Self::Session,
        Self::Condemned,
        Self::Note,
    ];

    /// The code as stored.
    pub const fn code(self) -> u8 {
        self as u8
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.code() == code)
    }

    /// Whether objects of this type are sealed to the recipient instead of under the writer secret.
    pub(super) const fn is_for_recipient(self) -> bool {
        matches!(self, Self::Pack | Self::Point | Self::Void)
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "config",
            Self::Keyslot => "key slot",
            Self::Pack => "pack",
            Self::PackDirectory => "pack directory",
            Self::Segment => "index segment",
            Self::Point => "point",
            Self::Void => "void",
            Self::Session => "session",
            Self::Condemned => "condemned object",
            Self::Note => "note",
        })
    }
}

/// Which object a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectName {
    /// The config of this number.
    Config(u64),
    /// A key slot.
    Keyslot(KeyslotId),
    /// A pack, by its header.
    Pack(PackId),
    /// One frame of a pack.
    Frame(PackId, u32),
    /// A pack's directory.
    Directory(PackId),
    /// An index segment.
    Segment(SegmentId),
    /// What stands under a point's name: the point or a void.
    Point(PointId),
    /// A session.
    Session(PointId),
    /// A condemned object.
    Condemned(CondemnedId),
    /// A note.
    Note(NoteId),
    /// An object whose name is not known yet, because it is being made.
    New(ObjectType),
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(number) => write!(f, "Config {number}"),
            Self::Keyslot(id) => write!(f, "Key slot {id}"),
            Self::Pack(id) => write!(f, "Pack {id}"),
            Self::Frame(id, number) => write!(f, "Frame {number} of pack {id}"),
            Self::Directory(id) => write!(f, "Directory of pack {id}"),
            Self::Segment(id) => write!(f, "Index segment {id}"),
            Self::Point(id) => write!(f, "Point {id}"),
            Self::Session(id) => write!(f, "Session {id}"),
            Self::Condemned(id) => write!(f, "Condemned object {id}"),
            Self::Note(id) => write!(f, "Note {id}"),
            Self::New(object_type) => write!(f, "New {object_type}"),
        }
    }
}

/// Why an object did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{object} {problem}")]
pub struct OpenError {
    /// The object.
    pub object: ObjectName,
    /// What is wrong with it.
    pub problem: OpenProblem,
}

/// How an object can fail to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenProblem {
    /// It does not begin with [`MAGIC`].
    #[error("is not a holdall object")]
    NotHoldall,
    /// A newer program wrote it.
    #[error("has format version {0}, which is newer than this program knows")]
    NewerVersion(u8),
    /// It is an object of another type than its place says.
    #[error("is a {0} by its header and does not belong there")]
    OtherType(ObjectType),
    /// A field of its header has a value without meaning.
    #[error("has a damaged header at field {field}")]
    Header {
        /// The field's name in the specification.
        field: &'static str,
    },
    /// Its length is not the one that its header states.
    #[error("is cut off or has bytes that do not belong to it")]
    Length,
    /// It, or what its header states, exceeds a limit of the format.
    #[error("exceeds the format's limit of {max_bytes} bytes")]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// Its key is not the one that its name, type and repository commit to.
    #[error("was sealed under another name, type or repository, or its header is damaged")]
    Misplaced,
    /// Its key is right and its contents do not authenticate.
    #[error("is damaged: its contents do not authenticate")]
    Damaged,
}

/// Writes what every object begins with: magic, type, version.
pub(super) fn encode_prefix(encoder: &mut Encoder, object_type: ObjectType) -> &mut Encoder {
    encoder.raw(&MAGIC).u8(object_type.code()).u8(FORMAT_VERSION)
}

/// Reads what every object begins with. The version is judged before the type, which a newer version may have added.
pub(super) fn decode_prefix(decoder: &mut Decoder<'_>) -> Result<ObjectType, OpenProblem> {
    if decoder.array("magic") != Ok(MAGIC) {
        return Err(OpenProblem::NotHoldall);
    }
    let [code, version] = decoder.array("version").map_err(|_| OpenProblem::Length)?;
    match version {
        FORMAT_VERSION => ObjectType::from_code(code).ok_or(OpenProblem::Header { field: "type" }),
        0 => Err(OpenProblem::Header { field: "version" }),
        newer => Err(OpenProblem::NewerVersion(newer)),
    }
}

/// The 32 bytes by which a config number is authenticated.
pub(super) fn config_name(number: u64) -> [u8; ID_BYTES] {
    let mut name = [0; ID_BYTES];
    for (to, from) in name.iter_mut().zip(number.to_le_bytes()) {
        *to = from;
    }
    name
}
