//! Restoring into a daemon: what may be asked for, what can come of it, and what is looked at before a byte is sent.
//!
//! Importing over an existing name damages what has it (`format-spec/point.md`, "Restore"), so the name must be free,
//! and it is looked at again right before the upload.

use crate::daemon::{Daemon, DaemonError, ImportRequest};
use crate::id::RandomError;
use crate::monitor::Monitor;
use crate::point::Point;
use crate::repo::Repository;
use crate::restore::fetch::FetchError;
use crate::restore::{bucket, instance, volume};
use crate::source::SourceKind;

/// Where to restore to; what is not given is as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreTarget {
    /// The new name.
    pub name: Option<String>,
    /// The project.
    pub project: Option<String>,
    /// The storage pool.
    pub pool: Option<String>,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The project.
    pub project: String,
    /// The name.
    pub name: String,
    /// Bytes that were uploaded.
    pub bytes: u64,
    /// What was done beyond the import and what could not be done, in words.
    pub remarks: Vec<String>,
}

/// Why a restore did not happen. Up to [`RestoreError::Upload`] nothing was sent to the daemon.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The point is of nothing that a daemon imports.
    #[error("{label} is of nothing that a daemon could take back")]
    NotImportable {
        /// The point.
        label: String,
    },
    /// The name is taken.
    #[error("{object} exists on the server")]
    NameTaken {
        /// What has it.
        object: String,
    },
    /// The server lacks what it needs.
    #[error("The server lacks {missing}, which {label} needs")]
    Missing {
        /// The point.
        label: String,
        /// What is missing, all of it.
        missing: String,
    },
    /// The staging area cannot take the upload.
    #[error(
        "The daemon's staging area at {place} has {free} bytes free, and the upload of {label} needs {needed}; \
         free some, or point the daemon's storage.backups_volume at a larger pool"
    )]
    NoRoom {
        /// The point.
        label: String,
        /// Where.
        place: String,
        /// Free bytes.
        free: u64,
        /// Needed bytes.
        needed: u64,
    },
    /// The stream could not be rebuilt; the upload was broken off and the daemon discards it.
    #[error("{label} cannot be restored; the upload was broken off")]
    Fetch {
        /// The point.
        label: String,
        /// Why.
        source: FetchError,
    },
    /// The daemon refused or broke off.
    #[error("{label} cannot be imported")]
    Upload {
        /// The point.
        label: String,
        /// The daemon's words.
        source: DaemonError,
    },
    /// The instance was restored, but it still has the identity of another one.
    #[error(
        "{object} was restored, but it could not be given an identity of its own; do not start it while its twin \
         runs, or delete it and restore it again"
    )]
    Identity {
        /// The instance.
        object: String,
        /// The daemon's words.
        source: DaemonError,
    },
    /// A question to the daemon failed.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// No random bytes for a fresh uuid.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Restores a point of an instance, a volume or a bucket.
pub fn restore(
    repository: &Repository,
    daemon: &dyn Daemon,
    label: &str,
    point: &Point,
    target: &RestoreTarget,
    monitor: &dyn Monitor,
) -> Result<Restored, RestoreError> {
    match &point.source.kind {
        SourceKind::Instance { project } => {
            instance::restore(repository, daemon, label, point, (project, target), monitor)
        }
        SourceKind::Volume { project, pool, .. } => {
            volume::restore(repository, daemon, label, point, (project, pool, target), monitor)
        }
        SourceKind::Bucket { project, pool, .. } => {
            bucket::restore(repository, daemon, label, point, (project, pool, target), monitor)
        }
        _ => Err(RestoreError::NotImportable { label: label.to_owned() }),
    }
}

/// What is to be made, at the beginning of a message.
pub(super) fn object(request: &ImportRequest) -> String {
    let text = request.subject.to_string();
    let (first, rest) = text.split_at(1);
    first.to_ascii_uppercase() + rest
}

pub(super) fn require_free(daemon: &dyn Daemon, request: &ImportRequest) -> Result<(), RestoreError> {
    if daemon.exists(&request.subject)? { Err(RestoreError::NameTaken { object: object(request) }) } else { Ok(()) }
}

/// The daemon spools the whole upload before it unpacks it.
pub(super) fn require_room(
    daemon: &dyn Daemon,
    label: &str,
    point: &Point,
    request: &ImportRequest,
) -> Result<(), RestoreError> {
    let staging = daemon.staging(request.subject.project())?;
    let needed = point.content.stream_len.saturating_add(point.content.stream_len / 20);
    match staging.free_bytes {
        Some(free) if free < needed => {
            let place = staging.path.map_or_else(|| "its backups volume".to_owned(), |path| path.display().to_string());
            Err(RestoreError::NoRoom { label: label.to_owned(), place, free, needed })
        }
        _ => Ok(()),
    }
}
