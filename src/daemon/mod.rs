//! The daemon port: what this program asks of an LXD or Incus server, in its own words, and the adapter for both.
//!
//! [`Daemon`] is synchronous and speaks of instances, exports and imports; [`LocalDaemon`] implements it over the unix
//! socket, `fake::FakeDaemon` in memory for tests. Layers, each knowing only those before it: [`flavor`](Flavor)
//! (products and sockets), `http` (the one file with async types), `api` (the envelope), `operation` (waiting),
//! `export` (one stream), `local` (the adapter). Invariants: nothing is gated on versions, only on `api_extensions`; an
//! export's reader sees an end only where the daemon said so; an import whose input fails is never completed; memory is
//! bounded; nothing that was staged on the server outlives the value that stands for it, as far as the daemon lets us.
//! The daemon's behaviour is described in `reference/daemon-api.md`.

#[cfg(any(test, feature = "testing"))]
pub mod answers;
mod api;
mod bucket;
mod error;
mod export;
#[cfg(any(test, feature = "testing"))]
pub mod fake;
mod flavor;
mod http;
mod image;
mod local;
mod model;
mod operation;
mod snapshot;
mod subject;
#[cfg(test)]
mod tests;
mod volume;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

pub use api::StopFlag;
pub use bucket::{Bucket, BucketSummary};
pub use error::{Cause, DaemonError, Tried};
pub use flavor::{Flavor, SocketHints};
pub use image::{Image, ImageAlias, ImageSettings, ImageSummary};
pub use local::LocalDaemon;
pub use model::{
    Access, AttachedVolume, BackupEntry, Devices, Instance, InstanceKind, Network, Nic, Pool, Profile, Project,
    RootDisk, Server, Snapshot, Status, Summary, is_yes,
};
pub use subject::{REPLACEMENT_PREFIX, REPLACES, Subject};
pub use volume::{Volume, VolumeContent, VolumeSummary};

use crate::clock::Timestamp;

/// What this program asks of a daemon. Every call is complete when it returns; none needs another before it.
pub trait Daemon: Send + Sync {
    /// Who the daemon is and what it can do.
    fn server(&self) -> Result<Server, DaemonError>;

    /// The projects that this client may see.
    fn projects(&self) -> Result<Vec<Project>, DaemonError>;

    /// The instances of all projects; a project that cannot be read is reported beside them.
    fn instances(&self) -> Result<Listing, DaemonError>;

    /// One instance. `None` only if the daemon has that project and no such instance in it.
    fn instance(&self, project: &str, name: &str) -> Result<Option<Instance>, DaemonError>;

    /// The custom volumes of all projects and pools, each under the project that owns it; what cannot be read is
    /// reported beside them.
    fn volumes(&self) -> Result<VolumeListing, DaemonError>;

    /// One custom volume. `None` only if the daemon has that project and that pool and no such volume in it.
    fn volume(&self, subject: &Subject) -> Result<Option<Volume>, DaemonError>;

    /// The buckets of all projects and pools, each under the project that owns it; what cannot be read is reported
    /// beside them. A daemon that knows no buckets has none.
    fn buckets(&self) -> Result<BucketListing, DaemonError>;

    /// One bucket. `None` only if the daemon has that project and that pool and no such bucket in it.
    fn bucket(&self, subject: &Subject) -> Result<Option<Bucket>, DaemonError>;

    /// The images of all projects, each under the project that owns it; what cannot be read is reported beside them.
    fn images(&self) -> Result<ImageListing, DaemonError>;

    /// One image by its whole fingerprint. `None` only if the daemon has that project and no such image in it.
    fn image(&self, project: &str, fingerprint: &str) -> Result<Option<Image>, DaemonError>;

    /// Whether there is one. An unknown project is an error, an unknown pool has none.
    fn exists(&self, subject: &Subject) -> Result<bool, DaemonError>;

    /// Starts an export and returns its stream, whose first byte may wait for the daemon's whole copy. `progress` hears
    /// what the daemon says while it makes that copy.
    fn export(
        &self,
        request: &ExportRequest,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Box<dyn Export>, DaemonError>;

    /// Makes an instance, a volume, a bucket or an image from an export. Refuses a name that is taken, which would
    /// damage what has it, and an unknown project or pool before anything is sent. When `body` fails, the daemon
    /// discards what it has got.
    fn import(
        &self,
        request: &ImportRequest,
        body: &mut (dyn Read + Send),
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), DaemonError>;

    /// The backups of it that the daemon keeps.
    fn backups(&self, subject: &Subject) -> Result<Vec<BackupEntry>, DaemonError>;

    /// Deletes a backup; one that is gone already is no error.
    fn delete_backup(&self, subject: &Subject, backup: &str) -> Result<(), DaemonError>;

    /// Names of the snapshots of an instance or a volume.
    fn snapshots(&self, subject: &Subject) -> Result<Vec<String>, DaemonError>;

    /// Makes a snapshot of an instance or a volume, without what is in memory. At that time the daemon deletes it by
    /// itself.
    fn take_snapshot(&self, subject: &Subject, name: &str, expires_at: Timestamp) -> Result<(), DaemonError>;

    /// Deletes a snapshot, also when the user wants to stop; one that is gone already is no error.
    fn delete_snapshot(&self, subject: &Subject, name: &str) -> Result<(), DaemonError>;

    /// Changes an instance's own configuration; what somebody else changes meanwhile stays. An empty change makes the
    /// daemon write its files anew, which an imported instance with snapshots needs before it can be recovered.
    fn update_instance(&self, project: &str, name: &str, change: &InstanceChange) -> Result<(), DaemonError>;

    /// Gives a custom volume a description.
    fn describe_volume(&self, subject: &Subject, description: &str) -> Result<(), DaemonError>;

    /// Runs a script with `sh -c` as root in a running instance, and waits for its end. Gives its exit code; 137 if it
    /// was killed at its time limit, as far as the instance has `timeout`.
    fn execute(&self, script: &Script<'_>) -> Result<i64, DaemonError>;

    /// Changes what is said of an image, all of it.
    fn update_image(&self, project: &str, fingerprint: &str, settings: &ImageSettings) -> Result<(), DaemonError>;

    /// Gives an image another name, which must be free.
    fn add_image_alias(&self, project: &str, fingerprint: &str, alias: &ImageAlias) -> Result<(), DaemonError>;

    /// Sets when a snapshot expires, in the daemon's text, or that it never does.
    fn set_snapshot_expiry(
        &self,
        project: &str,
        instance: &str,
        snapshot: &str,
        expires_at: Option<&str>,
    ) -> Result<(), DaemonError>;

    /// Gives a stopped instance another name.
    fn rename_instance(&self, project: &str, from: &str, to: &str) -> Result<(), DaemonError>;

    /// Deletes a stopped instance with its snapshots and backups.
    fn delete_instance(&self, project: &str, name: &str) -> Result<(), DaemonError>;

    /// The members of the cluster; none if it is no cluster.
    fn members(&self) -> Result<Vec<String>, DaemonError>;

    /// The storage pools.
    fn pools(&self) -> Result<Vec<Pool>, DaemonError>;

    /// The profiles that instances of a project use.
    fn profiles(&self, project: &str) -> Result<Vec<Profile>, DaemonError>;

    /// The networks that instances of a project use.
    fn networks(&self, project: &str) -> Result<Vec<Network>, DaemonError>;

    /// The configuration keys of instances by the daemon's own catalogue, in which `*` and `<name>` stand for any text.
    /// `None` where it has none. No catalogue is complete.
    fn instance_keys(&self) -> Result<Option<BTreeSet<String>>, DaemonError>;

    /// The place where the daemon keeps staged exports and uploads of a project.
    fn staging(&self, project: &str) -> Result<Staging, DaemonError>;
}

/// The stream of one export. A read of 0 bytes means that the daemon ended the stream as HTTP ends it, which does not
/// yet mean that the export is complete. A read's error holds a [`DaemonError`]; see [`DaemonError::from_read`].
///
/// Dropping it early closes the connection and deletes what was staged.
pub trait Export: Read + Send {
    /// How it is made.
    fn mode(&self) -> Mode;

    /// Bytes to come in total, if known before.
    fn length(&self) -> Option<u64>;

    /// Whether it is one file.
    fn packaging(&self) -> Packaging;

    /// Confirms that the stream has been read to its end and that the daemon does not call the export a failure, and
    /// deletes what was staged.
    fn finish(self: Box<Self>) -> Result<Completion, DaemonError>;
}

/// Whether a stream is one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packaging {
    /// It is.
    Single,
    /// It is several, in a multipart body whose first line is its boundary.
    Multipart,
}

/// Whether the daemon makes a copy of the whole export on its disk first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The stream comes straight from the instance.
    Direct,
    /// The stream is a file that the daemon wrote before.
    Staged,
}

/// Which way an export may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Route {
    /// Direct where the daemon offers it, else staged.
    #[default]
    Any,
    /// Direct or not at all: there is no space for a copy.
    Direct,
    /// Staged: a direct stream has failed before.
    Staged,
}

/// Whether an export takes the snapshots along, each as a copy of all its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Snapshots {
    /// With all of them.
    #[default]
    Include,
    /// The thing alone.
    Omit,
}

/// What an export consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// Files: portable, and what deduplicates.
    #[default]
    Plain,
    /// The storage driver's own stream; a driver that has none gives files.
    Optimized,
}

/// Asks for an export. It is never to be compressed, for compressed streams do not deduplicate; that of a bucket is all
/// the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportRequest {
    /// What to export.
    pub subject: Subject,
    /// The name of the backup where one is staged, so that leftovers can be told: `[a-z0-9-]`, used once.
    pub backup_name: String,
    /// When the daemon shall delete a staged backup that nobody has deleted.
    pub expires_at: Timestamp,
    /// With or without snapshots.
    pub snapshots: Snapshots,
    /// Files or the driver's stream.
    pub layout: Layout,
    /// Direct or staged.
    pub route: Route,
}

/// Asks for an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRequest {
    /// What to make; its name must be free.
    pub subject: Subject,
    /// The pool of an instance, where another than the one in the export is wanted.
    pub pool: Option<String>,
    /// What is uploaded.
    pub form: ImportForm,
}

impl ImportRequest {
    /// Makes it of an export, an instance perhaps in another pool than before.
    pub fn of_export(subject: Subject, pool: Option<String>) -> Self {
        Self { subject, pool, form: ImportForm::Export }
    }
}

/// What an upload is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ImportForm {
    /// An export as a daemon makes it.
    #[default]
    Export,
    /// The bytes of a disc image, for a volume.
    Disc,
    /// An image as it was exported.
    Image(Packaging),
}

/// A script that runs in an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script<'s> {
    /// The instance's project.
    pub project: &'s str,
    /// Its name.
    pub instance: &'s str,
    /// What its shell is given.
    pub text: &'s str,
    /// How long it may run; whole seconds.
    pub limit: Duration,
    /// Whether it runs although the user wants to stop: it puts something right.
    pub is_cleanup: bool,
}

/// What a long call tells while it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The daemon's own words about what it does.
    Waiting(&'a str),
    /// So many bytes of an upload have been sent altogether.
    Sent(u64),
}

/// How an export ended.
#[derive(Debug)]
pub struct Completion {
    /// How it was made.
    pub mode: Mode,
    /// Its length in bytes.
    pub bytes: u64,
    /// What the daemon says about the operation behind it.
    pub operation: Verdict,
    /// Why what was staged could not be deleted; it expires, and a later run removes it.
    pub leftover: Option<DaemonError>,
}

/// The daemon's word about an export. Its failure is an error of [`Export::finish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It calls it a success.
    Success,
    /// It no longer says, or it cannot be told which operation it was.
    Unseen,
}

/// Instances of all projects.
#[derive(Debug, Default)]
pub struct Listing {
    /// What could be read.
    pub instances: Vec<Summary>,
    /// Projects that could not be read, and why.
    pub problems: Vec<(String, DaemonError)>,
}

/// Custom volumes of all projects.
#[derive(Debug, Default)]
pub struct VolumeListing {
    /// What could be read.
    pub volumes: Vec<VolumeSummary>,
    /// Projects that could not be read, and why.
    pub problems: Vec<(String, DaemonError)>,
}

/// Buckets of all projects.
#[derive(Debug, Default)]
pub struct BucketListing {
    /// What could be read.
    pub buckets: Vec<BucketSummary>,
    /// Projects that could not be read, and why.
    pub problems: Vec<(String, DaemonError)>,
}

/// Images of all projects.
#[derive(Debug, Default)]
pub struct ImageListing {
    /// What could be read.
    pub images: Vec<ImageSummary>,
    /// Projects that could not be read, and why.
    pub problems: Vec<(String, DaemonError)>,
}

/// A change of an instance's own configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceChange {
    /// Keys to set.
    pub set: BTreeMap<String, String>,
    /// Keys to remove; a MAC address that is removed is chosen afresh when the instance starts.
    pub remove: BTreeSet<String>,
}

/// Where a daemon keeps staged exports and uploads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Staging {
    /// Free bytes there, if that can be known.
    pub free_bytes: Option<u64>,
    /// The directory, as the daemon calls it.
    pub path: Option<PathBuf>,
    /// The daemon's own directory, as it can be reached from here with the mounts that the daemon sees.
    pub daemon_directory: Option<PathBuf>,
}
