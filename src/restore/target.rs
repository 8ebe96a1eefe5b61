//! Restoring into a daemon: what may be asked for, what can come of it, and what is looked at before a byte is sent.
//!
//! Importing over an existing name damages what has it (`reference/daemon-api.md` 5.4), so the name must be free, and
//! it is looked at again right before the upload.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Timestamp;
use crate::daemon::{Daemon, DaemonError, ImportRequest, Subject};
use crate::id::RandomError;
use crate::limits::{EXPORT_INDEX_BYTES_MAX, IMPORT_INDEX_BYTES_MAX};
use crate::monitor::{Monitor, Silent};
use crate::point::{Point, StreamForm};
use crate::repo::Repository;
use crate::restore::around::{Around, Lost};
use crate::restore::steps::{FetchError, Steps, measure, read_member};
use crate::restore::{bucket, image, instance, volume};
use crate::rewrite::description::{DescriptionError, Index, Kind, Maps, Selection};
use crate::rewrite::stream::{INDEX_PATH, Rewrite, Rewriter};
use crate::source::SourceKind;

/// Whether what is restored becomes somebody of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IdentityChoice {
    /// Where an instance of the server has the same uuid or address.
    #[default]
    AsNeeded,
    /// In any case.
    Fresh,
}

/// What to do where the name is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Conflict {
    /// Nothing.
    #[default]
    Refuse,
    /// Put the restored instance in the place of the one that has the name, once it is complete.
    Replace,
}

/// Where to restore to, and what; what is not given is as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreTarget {
    /// The moment of the restore: what expired before is not given its expiry date again, or the daemon would delete it
    /// at once. Without it all dates count as to come.
    pub now: Option<Timestamp>,
    /// The new name.
    pub name: Option<String>,
    /// The project.
    pub project: Option<String>,
    /// The storage pool.
    pub pool: Option<String>,
    /// The cluster member; daemons put instances on the one that takes the upload.
    pub member: Option<String>,
    /// What of it.
    pub selection: Selection,
    /// What is called otherwise there.
    pub maps: Maps,
    /// Devices to leave out.
    pub without_devices: BTreeSet<String>,
    /// Whether it becomes somebody of its own.
    pub identity: IdentityChoice,
    /// What to do where the name is taken.
    pub conflict: Conflict,
    /// What to do where content of it is lost.
    pub lost: Lost,
}

impl RestoreTarget {
    /// What only an instance can be asked for.
    fn only_for_instances(&self) -> Option<&'static str> {
        let asked = [
            (!self.maps.networks.is_empty(), "networks"),
            (!self.maps.profiles.is_empty(), "profiles"),
            (!self.without_devices.is_empty(), "devices"),
            (self.identity == IdentityChoice::Fresh, "an identity"),
            (self.conflict == Conflict::Replace, "a successor that is put in its place"),
        ];
        asked.into_iter().find_map(|(asked, what)| asked.then_some(what))
    }
}

/// Something that a restored instance or volume needs and the server has not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// The project.
    Project(String),
    /// A storage pool.
    Pool(String),
    /// A cluster member.
    Member(String),
    /// A pool whose driver reads the streams of the one that made the export.
    Driver {
        /// The pool that was meant.
        pool: String,
        /// What it is of.
        driver: String,
    },
    /// A profile.
    Profile(String),
    /// A network.
    Network(String),
    /// A custom volume that is attached.
    Volume {
        /// Its pool.
        pool: String,
        /// Its name.
        name: String,
        /// The device that it is.
        device: String,
    },
    /// A daemon that takes exports of buckets.
    Buckets {
        /// What it is.
        flavor: String,
    },
    /// The address at which the daemon serves buckets, and fills them itself.
    BucketsAddress,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(name) => write!(f, "project {name}"),
            Self::Pool(name) => write!(f, "storage pool {name}"),
            Self::Member(name) => write!(f, "cluster member {name}"),
            Self::Driver { pool, driver } => {
                write!(f, "a pool of the stream's own storage driver ({pool} is of {driver})")
            }
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::Network(name) => write!(f, "network {name}"),
            Self::Volume { pool, name, .. } => write!(f, "the volume {name} in storage pool {pool}"),
            Self::Buckets { flavor } => write!(f, "imports of buckets (this {flavor} has none)"),
            Self::BucketsAddress => f.write_str("core.storage_buckets_address"),
        }
    }
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
    /// Whether it took the place of another.
    pub replaced: bool,
    /// What was done beyond the import and what could not be done, in words.
    pub remarks: Vec<String>,
    /// Stretches that are lost, and were told.
    pub holes: u64,
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
    /// A member was asked for, and daemons take no wishes.
    #[error("{label} is an instance, which goes to the cluster member that takes the upload")]
    PlacedByDaemon {
        /// The point.
        label: String,
    },
    /// What was asked for does not apply to images.
    #[error("{label} is an image and cannot be restored with {what}")]
    NotForImages {
        /// The point.
        label: String,
        /// With what, and why not.
        what: &'static str,
    },
    /// The name is taken.
    #[error("{object} exists on the server")]
    NameTaken {
        /// What has it.
        object: String,
    },
    /// The server lacks what it needs.
    #[error("The server lacks {}, which {label} needs", listed(missing))]
    Missing {
        /// The point.
        label: String,
        /// What is missing, all of it.
        missing: Vec<Lack>,
    },
    /// The point's own index does not allow it.
    #[error("{label} cannot be restored so")]
    Index {
        /// The point.
        label: String,
        /// Why.
        source: DescriptionError,
    },
    /// A device that is to be left out is not there.
    #[error("{label} has no device {device}")]
    NoDevice {
        /// The point.
        label: String,
        /// What was asked for.
        device: String,
    },
    /// Asked of a volume what only instances have.
    #[error("{label} is of a volume, which has no {what}")]
    NotForVolumes {
        /// The point.
        label: String,
        /// What was asked for.
        what: &'static str,
    },
    /// An export that cannot be changed.
    #[error("{label} cannot be changed on the way: {reason}")]
    Fixed {
        /// The point.
        label: String,
        /// Why not.
        reason: &'static str,
    },
    /// Importers take no index of that length.
    #[error("The index of {label} would have {bytes} bytes, and daemons take {IMPORT_INDEX_BYTES_MAX}")]
    IndexTooLarge {
        /// The point.
        label: String,
        /// Its length.
        bytes: usize,
    },
    /// What is to be replaced cannot be.
    #[error("{object} {reason}, so it cannot be replaced")]
    NotReplaceable {
        /// The instance.
        object: String,
        /// Why not.
        reason: String,
    },
    /// An earlier replacement did not come to its end.
    #[error("A replacement of {object} was interrupted: {left}")]
    Interrupted {
        /// The instance.
        object: String,
        /// What there is instead of it.
        left: String,
    },
    /// The restored instance could not take the place of the other one.
    #[error("{outcome}")]
    Swap {
        /// What could not be replaced, and what there is now.
        outcome: String,
        /// The daemon's words.
        source: DaemonError,
    },
    /// The restored instance is in its place, but not everything is done.
    #[error("{outcome}")]
    Unfinished {
        /// What was replaced, and what remains to be done.
        outcome: String,
        /// The daemon's words.
        source: DaemonError,
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
    /// The stream could not be rebuilt; an upload that had begun was broken off and the daemon discards it.
    #[error("{label} cannot be rebuilt; nothing of it was imported")]
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

/// What a restore is about.
#[derive(Clone, Copy)]
pub(super) struct Job<'j> {
    pub repository: &'j Repository,
    pub daemon: &'j dyn Daemon,
    pub label: &'j str,
    pub point: &'j Point,
    pub target: &'j RestoreTarget,
    /// Counts what is lost and gone around.
    pub holes: &'j AtomicU64,
    pub monitor: &'j dyn Monitor,
}

/// Restores a point of an instance, a volume, a bucket or an image.
pub fn restore(
    repository: &Repository,
    daemon: &dyn Daemon,
    label: &str,
    point: &Point,
    target: &RestoreTarget,
    monitor: &dyn Monitor,
) -> Result<Restored, RestoreError> {
    let holes = AtomicU64::new(0);
    let job = Job { repository, daemon, label, point, target, holes: &holes, monitor };
    match &point.source.kind {
        SourceKind::Instance { project } => instance::restore(job, project),
        SourceKind::Volume { project, pool, .. } => match target.only_for_instances() {
            Some(what) => Err(RestoreError::NotForVolumes { label: label.to_owned(), what }),
            None => volume::restore(job, project, pool),
        },
        SourceKind::Bucket { project, pool, .. } => match target.only_for_instances() {
            Some(what) => Err(RestoreError::NotForVolumes { label: label.to_owned(), what }),
            None => bucket::restore(job, project, pool),
        },
        SourceKind::Image { project } => match target.only_for_instances() {
            Some(what) => Err(RestoreError::NotForVolumes { label: label.to_owned(), what }),
            None => image::restore(job, project),
        },
        _ => Err(RestoreError::NotImportable { label: label.to_owned() }),
    }
}

impl Job<'_> {
    /// What the export says of itself, and how long that is.
    pub(super) fn index(&self) -> Result<(Index, usize), RestoreError> {
        let index = |source| RestoreError::Index { label: self.label.to_owned(), source };
        let found = read_member(self.repository, &self.point.content, INDEX_PATH, EXPORT_INDEX_BYTES_MAX);
        let yaml = found.map_err(|source| RestoreError::Fetch { label: self.label.to_owned(), source })?;
        let yaml = yaml.ok_or_else(|| index(DescriptionError::Absent))?;
        Ok((Index::parse(&yaml).map_err(index)?, yaml.len()))
    }

    /// The wanted part of it.
    pub(super) fn select(&self, index: &Index) -> Result<Index, RestoreError> {
        let selected = index.select(&self.target.selection);
        selected.map_err(|source| RestoreError::Index { label: self.label.to_owned(), source })
    }

    /// How the stream is to be changed so that it says this of itself.
    pub(super) fn rewrite(&self, index: &Index, kind: Kind) -> Result<Rewrite, RestoreError> {
        let mtime_seconds = self.point.started.to_jiff().as_second();
        let rewrite = Rewrite::new(kind, self.target.selection.clone(), index, mtime_seconds);
        let rewrite = rewrite.map_err(|source| RestoreError::Index { label: self.label.to_owned(), source })?;
        if rewrite.index.len() > IMPORT_INDEX_BYTES_MAX {
            return Err(RestoreError::IndexTooLarge { label: self.label.to_owned(), bytes: rewrite.index.len() });
        }
        Ok(rewrite)
    }

    /// A machine that makes these changes.
    pub(super) fn rewriter(&self, rewrite: &Rewrite) -> Result<Rewriter, RestoreError> {
        Rewriter::new(rewrite.clone()).map_err(|error| self.broken(error.into()))
    }

    pub(super) fn broken(&self, source: FetchError) -> RestoreError {
        RestoreError::Fetch { label: self.label.to_owned(), source }
    }

    /// What came of it.
    pub(super) fn restored(&self, project: &str, name: &str, bytes: u64, remarks: Vec<String>) -> Restored {
        let (project, name, holes) = (project.to_owned(), name.to_owned(), self.holes.load(Ordering::SeqCst));
        Restored { project, name, bytes, replaced: false, remarks, holes }
    }

    pub(super) fn is_optimized(&self) -> bool {
        matches!(self.point.form, StreamForm::Export { optimized: true })
    }

    /// How much will be uploaded. Where trees or lost members are left out that is found by a walk through the recipe,
    /// which also proves that what is wanted is there.
    pub(super) fn upload_len(&self, rewrite: Option<&Rewrite>) -> Result<u64, RestoreError> {
        let goes_around = self.target.lost == Lost::GoAround;
        if !goes_around && (rewrite.is_none() || self.target.selection == Selection::Whole) {
            return Ok(self.point.content.stream_len);
        }
        let rewriter = rewrite.map(|rewrite| self.rewriter(rewrite)).transpose()?;
        // They are told when it is done.
        let holes = AtomicU64::new(0);
        let around = goes_around.then(|| Around::new(self.point.form.is_archive(), &Silent, &holes));
        let steps = Steps::new(&self.point.content, rewriter, around);
        measure(self.repository, steps).map_err(|error| self.broken(error))
    }
}

fn listed(missing: &[Lack]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What is to be made, at the beginning of a message.
pub(super) fn object(subject: &Subject) -> String {
    let text = subject.to_string();
    let (first, rest) = text.split_at(1);
    first.to_ascii_uppercase() + rest
}

pub(super) fn require_free(daemon: &dyn Daemon, subject: &Subject) -> Result<(), RestoreError> {
    if daemon.exists(subject)? { Err(RestoreError::NameTaken { object: object(subject) }) } else { Ok(()) }
}

/// The daemon spools the whole upload before it unpacks it.
pub(super) fn require_room(job: &Job<'_>, request: &ImportRequest, upload_len: u64) -> Result<(), RestoreError> {
    let staging = job.daemon.staging(request.subject.project())?;
    let needed = upload_len.saturating_add(upload_len / 20);
    match staging.free_bytes {
        Some(free) if free < needed => {
            let place = staging.path.map_or_else(|| "its backups volume".to_owned(), |path| path.display().to_string());
            Err(RestoreError::NoRoom { label: job.label.to_owned(), place, free, needed })
        }
        _ => Ok(()),
    }
}
