//! What the stream of a source is to be, and what it must prove before it is a point (`format-spec/point.md`).
//!
//! Most sources arrive as archives, which prove by themselves that they are whole. What is no archive is held against
//! what the daemon said about the source beforehand.

use std::io::Read;

use crate::backup::accept::{Padding, Rejection};
use crate::backup::fingerprint::Fingerprinted;
use crate::backup::original::record_plain;
use crate::backup::pipeline::{Recorded, Splitting, StreamError, Watch, record};
use crate::daemon::Packaging;
use crate::point::{Original, StreamForm};
use crate::repo::SessionWriter;

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
    /// An image.
    Image {
        /// What the SHA-256 of its bytes must be.
        fingerprint: String,
    },
}

/// A stream that is stored, and not judged yet.
pub(super) struct Arrived {
    pub recorded: Recorded,
    /// In which form it came, if in another one.
    pub original: Option<Original>,
    packaging: Packaging,
    /// That of an image; `None` where its parts do not end.
    fingerprint: Option<String>,
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
    /// Stores the stream.
    pub(super) fn record<R: Read + Send>(
        &self,
        writer: SessionWriter<'_, '_>,
        (stream, packaging): (&mut R, Packaging),
        watch: Watch<'_>,
    ) -> Result<Arrived, StreamError> {
        let arrived = |recorded, original, fingerprint| Arrived { recorded, original, packaging, fingerprint };
        let splitting = match self {
            Self::CompressedExport => {
                let (recorded, original) = record_plain(writer, stream, watch)?;
                return Ok(arrived(recorded, original, None));
            }
            Self::Image { .. } => {
                let splitting = match packaging {
                    // Most are compressed, and then one payload; a plain archive shares its files with what was made
                    // of it.
                    Packaging::Single => Splitting::Tar,
                    Packaging::Multipart => Splitting::Multipart,
                };
                let mut stream = Fingerprinted::new(stream, packaging);
                let recorded = record(writer, &mut stream, splitting, watch)?;
                return Ok(arrived(recorded, None, stream.finish()));
            }
            Self::Export => Splitting::Tar,
            Self::Disc { .. } => Splitting::Opaque,
        };
        Ok(arrived(record(writer, stream, splitting, watch)?, None, None))
    }

    /// Its length in bytes, where that is known beforehand.
    pub(super) fn len(&self) -> Option<u64> {
        match self {
            Self::Disc { len } => Some(*len),
            Self::Export | Self::CompressedExport | Self::Image { .. } => None,
        }
    }

    /// Whether the daemon may need space for a copy of it.
    pub(super) fn may_be_staged(&self) -> bool {
        !matches!(self, Self::Image { .. })
    }

    /// The verdict about what came.
    pub(super) fn judge(&self, arrived: &Arrived) -> Result<Proof, Rejection> {
        let recorded = &arrived.recorded;
        let form = match self {
            Self::Export | Self::CompressedExport => {
                let accepted = recorded.acceptor.verdict(&recorded.ending, Padding::Forbidden)?;
                let form = StreamForm::Export { optimized: accepted.index.optimized };
                return Ok(Proof { form, snapshots: accepted.index.snapshots, warning: accepted.warning });
            }
            Self::Disc { len } => {
                let found = recorded.content.stream_len;
                if found != *len {
                    return Err(Rejection::WrongLength { expected: *len, found });
                }
                StreamForm::Disc
            }
            Self::Image { fingerprint } => match (&arrived.fingerprint, arrived.packaging) {
                (None, _) => return Err(Rejection::PartsUnended),
                (Some(found), _) if found != fingerprint => {
                    return Err(Rejection::WrongFingerprint { found: found.clone() });
                }
                (_, Packaging::Single) => StreamForm::Image,
                (_, Packaging::Multipart) => StreamForm::SplitImage,
            },
        };
        Ok(Proof { form, snapshots: Vec::new(), warning: None })
    }
}
