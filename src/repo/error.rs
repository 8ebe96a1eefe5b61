//! What can go wrong with a repository, each case with the object it is about.

use crate::codec::DecodeError;
use crate::compress::CompressError;
use crate::crypto::{GenerateError, OpenError, OpenProblem, SealError};
use crate::id::{ChunkId, RandomError};
use crate::index::IndexError;
use crate::pack::{FrameError, PackError};
use crate::repo::KeyringError;
use crate::store::{StoreError, StoreErrorKind};

/// A repository operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// The store could not do it.
    #[error(transparent)]
    Store(StoreError),
    /// An object that was listed or referred to is not there any more: forgotten, pruned or deleted by hand.
    #[error("{object} is not in the store any more")]
    Gone {
        /// Its name.
        object: String,
    },
    /// The name of an object that this program was to make was taken by another one meanwhile.
    #[error("{object} was stored by somebody else meanwhile")]
    MadeMeanwhile {
        /// Its name.
        object: String,
    },
    /// There is no repository here.
    #[error("{place} holds no repository: {reason}")]
    NotARepository {
        /// The store's description.
        place: String,
        /// What is missing or strange.
        reason: &'static str,
    },
    /// The object was written by a later version of the format.
    #[error("{object} is of format version {version}, which this program is too old for")]
    NewerFormat {
        /// Its name.
        object: String,
        /// Its version.
        version: u8,
    },
    /// An object is not what was stored under its name.
    #[error("{object} {reason}")]
    Damaged {
        /// Its name.
        object: String,
        /// How, as the rest of the sentence.
        reason: String,
    },
    /// A frame of a pack is not what was stored.
    #[error("Frame {frame} of {pack} {}", problem_of(source))]
    DamagedFrame {
        /// The pack's name.
        pack: String,
        /// The frame's number.
        frame: u32,
        /// How.
        source: FrameError,
    },
    /// The bytes at a chunk's place are not the chunk.
    #[error("{pack} does not hold chunk {chunk} where its directory says")]
    WrongChunk {
        /// The chunk.
        chunk: ChunkId,
        /// The pack's name.
        pack: String,
    },
    /// No pack that stands in the store holds a chunk.
    #[error("Chunk {chunk} is in no pack that the index knows")]
    MissingChunk {
        /// The chunk.
        chunk: ChunkId,
    },
    /// A recipe or its table does not decode.
    #[error("A recipe is damaged: {source}")]
    BadRecipe {
        /// How.
        source: DecodeError,
    },
    /// A recipe part is not as long as its table says.
    #[error("Recipe part {part} is not as long as its table says")]
    WrongPart {
        /// The part's chunk.
        part: ChunkId,
    },
    /// The key in use is for writing alone.
    #[error("This key cannot read: it was added with --write-only")]
    CannotRead,
    /// The key slots did not open, or one cannot be made.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// Sealing failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Packing failed.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Compressing a point failed.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// The local index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// New keys could not be made.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// A structure exceeds what any reader of the format accepts.
    #[error("{object} would exceed a limit of the format: {source}")]
    BeyondLimits {
        /// What.
        object: String,
        /// Which limit.
        source: DecodeError,
    },
    /// A thread that seals or stores ended without an answer.
    #[error("A working thread ended without an answer")]
    Worker,
    /// What a run stores failed before, so nothing more can be stored or committed.
    #[error("Storing has failed before in this run")]
    WriterBroken,
}

impl RepoError {
    /// Whether what was read is not what was stored, so that another copy of it may be sound.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::DamagedFrame { .. } | Self::WrongChunk { .. } => true,
            Self::Store(error) => matches!(error.kind, StoreErrorKind::Truncated { .. }),
            _ => false,
        }
    }

    /// Whether a pack's parity may give what could not be read: it is damaged, be it where its version stands, or the
    /// disk has lost some of it.
    pub fn is_mendable(&self) -> bool {
        match self {
            Self::NewerFormat { .. } => true,
            Self::Store(error) if error.kind == StoreErrorKind::Io => true,
            other => other.is_damage(),
        }
    }

    /// Whether what stands there tells nothing, for whatever reason, or is gone: of a session, that is all the same.
    pub fn is_mute(&self) -> bool {
        self.is_damage() || self.is_loss() || matches!(self, Self::NewerFormat { .. })
    }

    /// Whether the store has no room left.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind == StoreErrorKind::NoSpace)
    }

    /// Whether content of a point is lost, or nobody can tell what it is: who reads the rest can go around it.
    pub fn is_hole(&self) -> bool {
        self.is_damage() || self.is_loss() || matches!(self, Self::BadRecipe { .. } | Self::WrongPart { .. })
    }

    /// Whether data that a point refers to is not there.
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::MissingChunk { .. } | Self::Gone { .. })
    }
}

/// What is wrong with a frame, as the rest of the sentence; the frame itself is named already.
fn problem_of(error: &FrameError) -> String {
    match error {
        FrameError::Open(error) => error.problem.to_string(),
        FrameError::Decompress(error) => format!("is damaged: {error}"),
    }
}

impl From<StoreError> for RepoError {
    fn from(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::NotFound => Self::Gone { object: error.object },
            _ => Self::Store(error),
        }
    }
}

impl From<OpenError> for RepoError {
    fn from(error: OpenError) -> Self {
        let object = error.object.to_string();
        match error.problem {
            OpenProblem::NewerVersion(version) => Self::NewerFormat { object, version },
            problem => Self::Damaged { object, reason: problem.to_string() },
        }
    }
}
