//! What on a daemon can be exported and imported, and where its requests go.

use std::fmt;

use super::api::Target;
use super::error::DaemonError;
use crate::source::{DEFAULT_PROJECT, Source, SourceKind};

/// The setting by which a restore marks an instance that is to take the place of another one.
pub const REPLACES: &str = "user.holdall.replaces";
/// What the names of such instances begin with until they do.
pub const REPLACEMENT_PREFIX: &str = "holdall-new-";

/// One thing that a daemon makes backups of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A container or virtual machine.
    Instance {
        /// Its project.
        project: String,
        /// Its name.
        name: String,
    },
    /// A custom volume.
    Volume {
        /// Its project.
        project: String,
        /// The pool that it lies in.
        pool: String,
        /// Its name.
        name: String,
        /// The cluster member that it lies on, of a pool that each has for itself.
        member: Option<String>,
    },
    /// A storage bucket.
    Bucket {
        /// Its project.
        project: String,
        /// The pool that it lies in.
        pool: String,
        /// Its name.
        name: String,
        /// The cluster member that it lies on, of a pool that each has for itself.
        member: Option<String>,
    },
    /// An image.
    Image {
        /// The project that owns it.
        project: String,
        /// Its fingerprint, which is its name.
        fingerprint: String,
    },
}

impl Subject {
    /// An instance.
    pub fn instance(project: &str, name: &str) -> Self {
        Self::Instance { project: project.to_owned(), name: name.to_owned() }
    }

    /// A custom volume.
    pub fn volume(project: &str, pool: &str, name: &str) -> Self {
        Self::Volume { project: project.to_owned(), pool: pool.to_owned(), name: name.to_owned(), member: None }
    }

    /// A storage bucket.
    pub fn bucket(project: &str, pool: &str, name: &str) -> Self {
        Self::Bucket { project: project.to_owned(), pool: pool.to_owned(), name: name.to_owned(), member: None }
    }

    /// An image.
    pub fn image(project: &str, fingerprint: &str) -> Self {
        Self::Image { project: project.to_owned(), fingerprint: fingerprint.to_owned() }
    }

    /// The same on a cluster member; only volumes and buckets lie on one without the daemon's knowing which.
    #[must_use]
    pub fn on_member(mut self, name: Option<&str>) -> Self {
        if let Self::Volume { member, .. } | Self::Bucket { member, .. } = &mut self {
            *member = name.map(str::to_owned);
        }
        self
    }

    /// What a source is on its daemon; `None` for kinds that are no such thing.
    pub fn of(source: &Source) -> Option<Self> {
        let subject = match &source.kind {
            SourceKind::Instance { project } => Some(Self::instance(project, &source.name)),
            SourceKind::Volume { project, pool, .. } => Some(Self::volume(project, pool, &source.name)),
            SourceKind::Bucket { project, pool, .. } => Some(Self::bucket(project, pool, &source.name)),
            SourceKind::Image { project } => Some(Self::image(project, &source.name)),
            SourceKind::File | SourceKind::Directory | SourceKind::Server => None,
        };
        subject.map(|subject| subject.on_member(source.member()))
    }

    /// Its project.
    pub fn project(&self) -> &str {
        match self {
            Self::Instance { project, .. }
            | Self::Volume { project, .. }
            | Self::Bucket { project, .. }
            | Self::Image { project, .. } => project,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Instance { name, .. } | Self::Volume { name, .. } | Self::Bucket { name, .. } => name,
            Self::Image { fingerprint, .. } => fingerprint,
        }
    }

    /// What such a thing is called.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Instance { .. } => "instance",
            Self::Volume { .. } => "volume",
            Self::Bucket { .. } => "bucket",
            Self::Image { .. } => "image",
        }
    }

    /// Where it is, or what is below it.
    pub(super) fn target(&self, below: &[&str]) -> Result<Target, DaemonError> {
        let own: &[&str] = match self {
            Self::Instance { name, .. } => &["instances", name],
            Self::Volume { pool, name, .. } => &["storage-pools", pool, "volumes", "custom", name],
            Self::Bucket { pool, name, .. } => &["storage-pools", pool, "buckets", name],
            Self::Image { fingerprint, .. } => &["images", fingerprint],
        };
        Ok(self.at_its_member(Target::new(&[own, below].concat())?.project(self.project())))
    }

    /// Without this daemons refuse a name that several members know.
    fn at_its_member(&self, target: Target) -> Target {
        match self {
            Self::Volume { member: Some(member), .. } | Self::Bucket { member: Some(member), .. } => {
                target.query("target", member)
            }
            _ => target,
        }
    }

    /// Where an export of such a thing is uploaded.
    pub(super) fn collection(&self) -> Result<Target, DaemonError> {
        let own: &[&str] = match self {
            Self::Instance { .. } => &["instances"],
            Self::Volume { pool, .. } => &["storage-pools", pool, "volumes", "custom"],
            Self::Bucket { pool, .. } => &["storage-pools", pool, "buckets"],
            Self::Image { .. } => &["images"],
        };
        Ok(self.at_its_member(Target::new(own)?.project(self.project())))
    }

    /// How the operation behind an export describes itself, and which resource it names; images have none.
    pub(super) fn backup_operation(&self) -> (&'static str, &'static str) {
        match self {
            Self::Instance { .. } => ("Backing up instance", "instances"),
            Self::Volume { .. } => ("Creating custom volume backup", "storage_volumes"),
            Self::Bucket { .. } => ("Creating bucket backup", "storage_buckets"),
            Self::Image { .. } => ("", ""),
        }
    }

    /// The word with which a request for an export leaves the snapshots out; `None` where there are none.
    pub(super) fn without_snapshots(&self) -> Option<&'static str> {
        match self {
            Self::Instance { .. } => Some("instance_only"),
            Self::Volume { .. } => Some("volume_only"),
            Self::Bucket { .. } | Self::Image { .. } => None,
        }
    }
}

/// As messages speak of it; the project only where it is not the default one.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.noun())?;
        if self.project() != DEFAULT_PROJECT {
            write!(f, "{}/", self.project())?;
        }
        match self {
            Self::Instance { name, .. } | Self::Image { fingerprint: name, .. } => f.write_str(name),
            Self::Volume { pool, name, member, .. } | Self::Bucket { pool, name, member, .. } => {
                write!(f, "{pool}/{name}")?;
                member.iter().try_for_each(|member| write!(f, " on {member}"))
            }
        }
    }
}
