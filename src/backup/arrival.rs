//! What the stream of a source is to be, and what it must prove before it is a point (`format-spec/point.md`).
//!
//! Most sources arrive as archives, which prove by themselves that they are whole. What is no archive is held against
//! what the daemon said about the source beforehand.

use std::io::Read;

use crate::backup::accept::{Padding, Rejection};
use crate::backup::original::record_plain;
use crate::backup::pipeline::{Recorded, Splitting, StreamError, record};
use crate::monitor::Monitor;
use crate::point::{Original, StreamForm};
use crate::repo::{Repository, Writer};

/// What a source's stream is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Arrival {
    /// An archive of the daemon's.
    Export,
    /// The same, compressed whatever was asked for.
    CompressedExport,
    /// A disc image.
    Disc {
        /// Its length in bytes.
        len: u64,
    },
}

/// What a stream proved.
#[derive(Debug)]
pub(super) struct Proof {
    pub form: StreamForm,
    /// Names of the daemon's snapshots in it.
    pub snapshots: Vec<String>,
    /// Something that deserves a warning.
    pub warning: Option<String>,
}

impl Arrival {
    /// Stores the stream, and tells in which form it came if in another one.
    pub(super) fn record<R: Read + Send>(
        &self,
        repository: &Repository,
        writer: &mut Writer<'_>,
        stream: &mut R,
        monitor: &dyn Monitor,
    ) -> Result<(Recorded, Option<Original>), StreamError> {
        let splitting = match self {
            Self::CompressedExport => return record_plain(repository, writer, stream, monitor),
            Self::Export => Splitting::Tar,
            Self::Disc { .. } => Splitting::Opaque,
        };
        Ok((record(repository, writer, stream, splitting, monitor)?, None))
    }

    /// Its length in bytes, where that is known beforehand.
    pub(super) fn len(&self) -> Option<u64> {
        match self {
            Self::Export | Self::CompressedExport => None,
            Self::Disc { len } => Some(*len),
        }
    }

    /// The verdict about what came.
    pub(super) fn judge(&self, recorded: &Recorded) -> Result<Proof, Rejection> {
        match self {
            Self::Export | Self::CompressedExport => {
                let accepted = recorded.acceptor.verdict(&recorded.ending, Padding::Forbidden)?;
                let form = StreamForm::Export { optimized: accepted.index.optimized };
                Ok(Proof { form, snapshots: accepted.index.snapshots, warning: accepted.warning })
            }
            Self::Disc { len } => {
                let found = recorded.content.stream_len;
                if found != *len {
                    return Err(Rejection::WrongLength { expected: *len, found });
                }
                Ok(Proof { form: StreamForm::Disc, snapshots: Vec::new(), warning: None })
            }
        }
    }
}
