//! Where in a stream the paths of people stand: inside the source as it was, inside a snapshot, or in the raw archive.

use crate::browse::order::{join, normal};
use crate::point::{Point, StreamForm};
use crate::repo::RepoError;
use crate::source::SourceKind;
use crate::tar;

/// Which tree of a point a path belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Region {
    /// The source as it was: `/etc/passwd` of a container, the files of a volume, the objects of a bucket.
    Main,
    /// The same in a snapshot of the daemon's.
    Snapshot(String),
    /// The archive with its own paths.
    Raw,
}

/// Why a point cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum BrowseError {
    /// Something of the repository is missing or damaged.
    #[error(transparent)]
    Repository(#[from] RepoError),
    /// The export is one of the storage driver's own.
    #[error("{point} is an optimized export, whose files are inside streams of the storage driver")]
    Optimized {
        /// The point's source.
        point: String,
    },
    /// Snapshots are what instances and volumes have.
    #[error("{point} is of a kind that has no snapshots")]
    NoSnapshots {
        /// The point's source.
        point: String,
    },
    /// A path that leads out of the tree, or a snapshot's name that is a path.
    #[error("{path} is no path or name inside a point")]
    BadPath {
        /// As it was given.
        path: String,
    },
    /// Nothing of this name is there.
    #[error("There is no {path} in {point}")]
    NoSuchPath {
        /// The path, or the place where it was looked for.
        path: String,
        /// The point's source.
        point: String,
    },
    /// The stream does not parse as an archive.
    #[error("{point} is not an archive")]
    NotAnArchive {
        /// The point's source.
        point: String,
    },
    /// The user asked to stop.
    #[error("Stopped on request")]
    Stopped,
}

/// The directory of the archive in which the region's paths begin; empty for all of it.
pub(super) fn base(point: &Point, region: &Region) -> Result<Vec<u8>, BrowseError> {
    let name = || point.source.to_string();
    if *region == Region::Raw {
        return Ok(Vec::new());
    }
    if point.form == (StreamForm::Export { optimized: true }) {
        return Err(BrowseError::Optimized { point: name() });
    }
    if point.form == StreamForm::Disc {
        return Err(BrowseError::NotAnArchive { point: name() });
    }
    let (main, snapshots, below) = match &point.source.kind {
        SourceKind::Instance { .. } => ("backup/container/rootfs", "backup/snapshots", "/rootfs"),
        SourceKind::Volume { .. } => ("backup/volume", "backup/volume-snapshots", ""),
        SourceKind::Bucket { .. } => ("backup/bucket", "", ""),
        SourceKind::Image { .. } | SourceKind::File | SourceKind::Directory | SourceKind::Server => ("", "", ""),
    };
    match region {
        Region::Snapshot(_) if snapshots.is_empty() => Err(BrowseError::NoSnapshots { point: name() }),
        Region::Snapshot(snapshot) if snapshot.is_empty() || snapshot.contains('/') || snapshot.starts_with('.') => {
            Err(BrowseError::BadPath { path: tar::display(snapshot.as_bytes()).to_string() })
        }
        Region::Snapshot(snapshot) => Ok(format!("{snapshots}/{snapshot}{below}").into_bytes()),
        Region::Main | Region::Raw => Ok(main.as_bytes().to_vec()),
    }
}

/// The archive's path for one that a person gave.
pub(super) fn archive_path(base: &[u8], path: &[u8]) -> Result<Vec<u8>, BrowseError> {
    let bad = || BrowseError::BadPath { path: tar::display(path).to_string() };
    Ok(join(base, &normal(path).ok_or_else(bad)?))
}
