//! What an attempt sees of its source on the daemon, before the export and after it.
//!
//! Instances, custom volumes, buckets and images are told from their successors, described and judged by the same
//! rules; what differs between them stands here.

use std::path::Path;

use crate::backup::arrival::Arrival;
use crate::backup::space::Place;
use crate::daemon::{
    Bucket, BucketSummary, Daemon, DaemonError, Image, Instance, InstanceKind, Layout, Server, Status, Subject, Volume,
    VolumeContent, VolumeSummary,
};
use crate::point::Consistency;
use crate::source::DEFAULT_PROJECT;

/// A source at one moment.
pub(super) enum Look {
    Instance(Box<Instance>),
    /// With what the instances do that the volume is attached to.
    Volume(Box<Volume>, Vec<Status>),
    Bucket(Box<Bucket>),
    Image(Box<Image>),
}

impl Look {
    /// Looks; `None` if it is not there.
    pub(super) fn at(daemon: &dyn Daemon, subject: &Subject) -> Result<Option<Self>, DaemonError> {
        match subject {
            Subject::Instance { project, name } => {
                Ok(daemon.instance(project, name)?.map(|instance| Self::Instance(Box::new(instance))))
            }
            Subject::Volume { .. } => {
                let Some(volume) = daemon.volume(subject)? else { return Ok(None) };
                let mut users = Vec::new();
                for (project, name) in &volume.summary.users {
                    users.extend(daemon.instance(project, name)?.map(|instance| instance.summary.status));
                }
                Ok(Some(Self::Volume(Box::new(volume), users)))
            }
            Subject::Bucket { .. } => Ok(daemon.bucket(subject)?.map(|bucket| Self::Bucket(Box::new(bucket)))),
            Subject::Image { project, fingerprint } => {
                Ok(daemon.image(project, fingerprint)?.map(|image| Self::Image(Box::new(image))))
            }
        }
    }

    /// What another one under the same name would differ in, as far as the daemon tells.
    pub(super) fn identity(&self) -> Vec<Option<&str>> {
        match self {
            Self::Instance(instance) => {
                let summary = &instance.summary;
                vec![summary.uuid.as_deref(), summary.generation.as_deref(), Some(&summary.created_at)]
            }
            Self::Volume(volume, _) => {
                let summary = &volume.summary;
                let content = summary.config.get("size").map(String::as_str);
                vec![summary.uuid.as_deref(), Some(&summary.created_at), content]
            }
            // Nothing tells a bucket from its successor but the keys, of which no two are alike.
            Self::Bucket(bucket) => bucket.access_keys.iter().map(|key| Some(key.as_str())).collect(),
            Self::Image(image) => vec![Some(&image.summary.fingerprint)],
        }
    }

    /// Names of its snapshots, oldest first.
    pub(super) fn snapshots(&self) -> Vec<String> {
        let snapshots = match self {
            Self::Instance(instance) => &instance.snapshots,
            Self::Volume(volume, _) => &volume.snapshots,
            Self::Bucket(_) | Self::Image(_) => return Vec::new(),
        };
        snapshots.iter().map(|snapshot| snapshot.name.clone()).collect()
    }

    /// The status of the instance itself.
    pub(super) fn status(&self) -> Option<&Status> {
        match self {
            Self::Instance(instance) => Some(&instance.summary.status),
            Self::Volume(..) | Self::Bucket(_) | Self::Image(_) => None,
        }
    }

    /// Whether it is the disk of a virtual machine, which no driver exports from a snapshot.
    pub(super) fn is_disk(&self) -> bool {
        match self {
            Self::Instance(instance) => instance.summary.kind == InstanceKind::VirtualMachine,
            Self::Volume(volume, _) => volume.summary.content == VolumeContent::Block,
            Self::Bucket(_) | Self::Image(_) => false,
        }
    }

    /// What its export will be, or why it cannot be exported at all.
    pub(super) fn arrival(&self, server: &Server) -> Result<Arrival, String> {
        match self {
            Self::Instance(_) => Ok(Arrival::Export),
            Self::Volume(volume, _) => match hindrance(&volume.summary, server) {
                Some(reason) => Err(reason),
                None => match volume.summary.content {
                    VolumeContent::Iso => {
                        let len = volume.summary.config.get("size").and_then(|size| size.parse().ok());
                        let len = len.ok_or("the daemon does not say how long the disc image is")?;
                        Ok(Arrival::Disc { len })
                    }
                    _ => Ok(Arrival::Export),
                },
            },
            Self::Bucket(bucket) => match bucket_hindrance(&bucket.summary, server) {
                Some(reason) => Err(reason),
                None if bucket.access_keys.is_empty() => {
                    Err("it has no key, and the daemon reads it with one of its keys".to_owned())
                }
                None => Ok(Arrival::CompressedExport),
            },
            Self::Image(image) => Ok(Arrival::Image { fingerprint: image.summary.fingerprint.clone() }),
        }
    }

    /// What an export in that layout shows that began with this look and ended with `after`.
    pub(super) fn consistency(&self, after: &Self, layout: Layout) -> Consistency {
        let every = |holds: fn(&Status) -> bool| self.users().iter().chain(after.users()).all(holds);
        if matches!(self, Self::Bucket(_)) {
            // Its objects are read one after the other, and those who use it need no instance.
            return Consistency::Fuzzy;
        }
        if self.is_constant() || every(|status| *status == Status::Stopped) {
            return Consistency::Stopped;
        }
        // These two drivers export files from a snapshot that they take, and streams of their own in any case.
        let from_snapshot = !self.is_disk() || layout == Layout::Optimized;
        let snapshots = matches!(self.driver(), Some("btrfs" | "zfs")) && from_snapshot;
        if snapshots || every(|status| matches!(status, Status::Stopped | Status::Frozen)) {
            Consistency::CrashConsistent
        } else {
            Consistency::Fuzzy
        }
    }

    /// Whether a snapshot of it costs next to nothing and holds up nobody. Of LVM it cannot be told whether its pool is
    /// a thin one.
    pub(super) fn has_cheap_snapshots(&self) -> bool {
        let is_cheap = matches!(self.driver(), Some("btrfs" | "zfs" | "ceph"));
        is_cheap && matches!(self, Self::Instance(_) | Self::Volume(..))
    }

    /// Whether nobody can write to it.
    fn is_constant(&self) -> bool {
        match self {
            Self::Volume(volume, _) => volume.summary.content == VolumeContent::Iso,
            Self::Image(_) => true,
            Self::Instance(_) | Self::Bucket(_) => false,
        }
    }

    /// What those do that may write to it.
    fn users(&self) -> &[Status] {
        match self {
            Self::Instance(instance) => std::slice::from_ref(&instance.summary.status),
            Self::Volume(_, users) => users,
            Self::Bucket(_) | Self::Image(_) => &[],
        }
    }

    /// The cluster member that it lies on, and that would make its export.
    pub(super) fn member(&self) -> Option<&str> {
        match self {
            Self::Instance(instance) => instance.summary.location.as_deref(),
            Self::Volume(volume, _) => volume.summary.member.as_deref(),
            Self::Bucket(bucket) => bucket.summary.member.as_deref(),
            Self::Image(_) => None,
        }
    }

    fn driver(&self) -> Option<&str> {
        match self {
            Self::Instance(instance) => instance.summary.root.as_ref()?.driver.as_deref(),
            Self::Volume(volume, _) => volume.summary.driver.as_deref(),
            Self::Bucket(bucket) => bucket.summary.driver.as_deref(),
            Self::Image(_) => None,
        }
    }

    /// Where it lies below the daemon's directory.
    pub(super) fn place(&self, daemon: &Path) -> Option<Place> {
        let (pool, kind, name) = match self {
            Self::Instance(instance) => {
                let summary = &instance.summary;
                let kind = match summary.kind {
                    InstanceKind::Container => "containers",
                    InstanceKind::VirtualMachine => "virtual-machines",
                };
                let name = if summary.project == DEFAULT_PROJECT {
                    summary.name.clone()
                } else {
                    format!("{}_{}", summary.project, summary.name)
                };
                (&summary.root.as_ref()?.pool, kind, name)
            }
            Self::Volume(volume, _) => {
                let summary = &volume.summary;
                (&summary.pool, "custom", format!("{}_{}", summary.project, summary.name))
            }
            Self::Bucket(bucket) => {
                let summary = &bucket.summary;
                (&summary.pool, "buckets", format!("{}_{}", summary.project, summary.name))
            }
            Self::Image(_) => return None,
        };
        let directory = daemon.join("storage-pools").join(pool).join(kind).join(name);
        Some(Place { directory, is_plain: matches!(self.driver(), Some("dir" | "btrfs")) })
    }

    /// The daemon's description, for the point.
    pub(super) fn into_json(self) -> String {
        match self {
            Self::Instance(instance) => instance.json,
            Self::Volume(volume, _) => volume.json,
            Self::Bucket(bucket) => bucket.json,
            Self::Image(image) => image.json,
        }
    }
}

/// Why the daemon makes no exports of a volume.
pub(super) fn hindrance(volume: &VolumeSummary, server: &Server) -> Option<String> {
    match &volume.content {
        VolumeContent::Filesystem | VolumeContent::Block => None,
        VolumeContent::Iso if server.exports_discs() => None,
        VolumeContent::Iso => {
            Some(format!("it is a disc image (ISO), of which this {} makes no exports", server.flavor))
        }
        VolumeContent::Other(word) => Some(format!("its content is of the type {word:?}")),
    }
}

/// Why the daemon makes no exports of a bucket, as far as its listing tells.
pub(super) fn bucket_hindrance(bucket: &BucketSummary, server: &Server) -> Option<String> {
    if !server.exports_buckets() {
        return Some(format!("this {} makes no exports of buckets", server.flavor));
    }
    // Those of this driver are served by somebody else.
    let is_remote = bucket.driver.as_deref() == Some("cephobject");
    (server.serves_buckets() == Some(false) && !is_remote)
        .then(|| "the daemon reads it at its core.storage_buckets_address, which is not set".to_owned())
}
