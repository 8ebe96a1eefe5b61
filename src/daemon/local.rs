//! The adapter for LXD and Incus over their unix socket.
//!
//! Puts the calls of [`Daemon`] into requests; how answers, operations and streams are to be read is known to `api`,
//! `operation` and `export`. Keeps nothing but what the daemon said about itself at first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::statvfs;
use serde_json::{Value, json};

use super::api::{Answer, Api, Call, StopFlag, Target};
use super::bucket::{WireBucket, WireKey};
use super::error::DaemonError;
use super::export::{OCTETS, PARTS};
use super::http::{Method, Socket};
use super::image::{WireImage, is_fingerprint};
use super::model::{
    WireBackup, WireInstance, WireMember, WireNetwork, WirePool, WireProfile, WireResources, WireSnapshot,
    instance_keys,
};
use super::volume::WireVolume;
use super::{
    Access, BackupEntry, Bucket, BucketListing, BucketSummary, Daemon, Export, ExportRequest, Image, ImageAlias,
    ImageListing, ImageSettings, ImportForm, ImportRequest, Instance, InstanceChange, Listing, Network, Packaging,
    Pool, Profile, Progress, Project, Script, Server, SocketHints, Staging, Subject, Summary, Volume, VolumeListing,
    VolumeSummary, export, flavor, snapshot,
};
use crate::clock::Timestamp;
use crate::limits::{
    DAEMON_EDIT_ATTEMPTS_MAX, DAEMON_LISTING_BYTES_MAX, DAEMON_OBJECT_BYTES_MAX, MULTIPART_BOUNDARY_BYTES_MAX,
};
use crate::multipart;

/// What a client may write of an instance; the rest of its description is the daemon's.
pub(super) const WRITABLE: [&str; 7] =
    ["architecture", "config", "description", "devices", "ephemeral", "profiles", "stateful"];

/// The longest first line of a multipart body: dashes, boundary, line end.
const MULTIPART_LINE_BYTES_MAX: u64 = 2 + MULTIPART_BOUNDARY_BYTES_MAX as u64 + 2;

/// How daemons are told "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The longest name of an instance or a bucket in bytes: it becomes a host name.
const HOST_NAME_BYTES_MAX: usize = 63;

/// The shortest name of a bucket in bytes.
const BUCKET_NAME_BYTES_MIN: usize = 3;

/// The longest name of a volume in bytes: it becomes part of a file name, behind its project.
const VOLUME_NAME_BYTES_MAX: usize = 128;

/// A daemon on this machine.
#[derive(Debug)]
pub struct LocalDaemon {
    api: Api,
    server: OnceLock<Server>,
    pools: OnceLock<BTreeMap<String, String>>,
}

/// Projects that could not be read, and why.
type Problems = Vec<(String, DaemonError)>;

/// Runs its first argument for so many seconds as its second says. Neither product can end a command whose connection
/// it was told not to keep, so that is left to a program which coreutils and busybox both have.
const LIMITED: &str = r#"if command -v timeout >/dev/null 2>&1; then exec timeout -s KILL "$2" sh -c "$1"; fi
exec sh -c "$1""#;
/// How long the end of a command is waited for after it should have been killed.
const EXIT_GRACE: Duration = Duration::from_secs(30);

impl LocalDaemon {
    /// Finds the daemon's socket and asks who it is. Whatever is under way stops soon after `stop` is raised.
    pub fn connect(hints: &SocketHints, stop: Option<StopFlag>) -> Result<Self, DaemonError> {
        let daemon = Self::at(hints.find()?, stop);
        daemon.server()?;
        Ok(daemon)
    }

    pub(super) fn at(socket: PathBuf, stop: Option<StopFlag>) -> Self {
        Self { api: Api::new(Socket::new(socket, stop)), server: OnceLock::new(), pools: OnceLock::new() }
    }

    #[cfg(test)]
    pub(super) fn without_pauses(mut self) -> Self {
        self.api.pause = std::time::Duration::ZERO;
        self
    }

    /// The socket that was found.
    pub fn socket(&self) -> &std::path::Path {
        self.api.socket.path()
    }

    /// What the daemon said about itself at first.
    fn known(&self) -> Result<&Server, DaemonError> {
        if self.server.get().is_none() {
            self.server()?;
        }
        self.server.get().ok_or_else(|| nonsense("the server", "it was not kept"))
    }

    /// The driver of a pool, where this client may know it.
    fn driver(&self, pool: &str) -> Option<String> {
        if self.pools.get().is_none() {
            let pools = self.pools().unwrap_or_default();
            // Another thread may have been faster, with the same.
            let _ = self.pools.set(pools.into_iter().map(|pool| (pool.name, pool.driver)).collect());
        }
        self.pools.get().and_then(|pools| pools.get(pool)).cloned().filter(|driver| !driver.is_empty())
    }

    fn list_project(&self, project: &str) -> Result<Vec<Summary>, DaemonError> {
        let object = format!("the instances of project {project}");
        let target = Target::new(&["instances"])?.query("recursion", "1").project(project);
        let wires: Vec<WireInstance> = self.api.list(target, &object)?;
        Ok(wires.into_iter().map(|wire| wire.into_summary(project, |pool| self.driver(pool))).collect())
    }

    /// What every project that has its own finds in all pools; a project that cannot be read is told beside.
    fn in_pools<T>(
        &self,
        feature: &str,
        list: impl Fn(&str, &Pool) -> Result<Vec<T>, DaemonError>,
    ) -> Result<(Vec<T>, Problems), DaemonError> {
        let pools = self.pools()?;
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        for project in self.projects()?.into_iter().filter(|project| !project.shares(feature)) {
            let listed: Result<Vec<Vec<T>>, DaemonError> = pools.iter().map(|pool| list(&project.name, pool)).collect();
            match listed {
                Ok(listed) => found.extend(listed.into_iter().flatten()),
                Err(error) if error.concerns_the_daemon() => return Err(error),
                Err(error) => problems.push((project.name, error)),
            }
        }
        Ok((found, problems))
    }

    fn list_volumes(&self, project: &str, pool: &Pool) -> Result<Vec<VolumeSummary>, DaemonError> {
        let object = format!("the volumes of project {project} in pool {}", pool.name);
        let place = ["storage-pools", pool.name.as_str(), "volumes", "custom"];
        let wires: Vec<WireVolume> =
            self.api.list(Target::new(&place)?.query("recursion", "1").project(project), &object)?;
        let driver = Some(pool.driver.clone()).filter(|driver| !driver.is_empty());
        let custom = wires.into_iter().filter(WireVolume::is_custom_volume);
        Ok(custom.map(|wire| wire.into_summary(project, &pool.name, driver.clone())).collect())
    }

    fn list_buckets(&self, project: &str, pool: &Pool) -> Result<Vec<BucketSummary>, DaemonError> {
        let object = format!("the buckets of project {project} in pool {}", pool.name);
        let target = Target::new(&["storage-pools", pool.name.as_str(), "buckets"])?;
        let driver = Some(pool.driver.clone()).filter(|driver| !driver.is_empty());
        match self.api.list::<WireBucket>(target.query("recursion", "1").project(project), &object) {
            Ok(wires) => {
                Ok(wires.into_iter().map(|wire| wire.into_summary(project, &pool.name, driver.clone())).collect())
            }
            // Not every storage driver knows buckets, and this is how daemons say so.
            Err(DaemonError::Refused { status: 400, .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// An object's metadata and version; `None` if it is not there.
    fn find(&self, target: Target, object: &str) -> Result<Option<(Value, Option<String>)>, DaemonError> {
        match self.api.call(&Call::get(target, object), DAEMON_OBJECT_BYTES_MAX)? {
            Answer::Error { code: 404, .. } => Ok(None),
            answer => {
                let body = answer.accepted(object)?;
                Ok(Some((body.metadata(object)?, body.etag)))
            }
        }
    }

    /// Errs unless the project is there; daemons answer about instances and listings of unknown projects as if they
    /// were empty, and notice on import only after the upload.
    fn require_project(&self, project: &str) -> Result<(), DaemonError> {
        let object = format!("project {project}");
        match self.find(Target::new(&["projects", project])?, &object)? {
            Some(_) => Ok(()),
            None => Err(DaemonError::NotFound { object, words: String::new() }),
        }
    }

    fn require_pool(&self, pool: &str) -> Result<(), DaemonError> {
        let object = format!("storage pool {pool}");
        match self.find(Target::new(&["storage-pools", pool])?, &object)? {
            Some(_) => Ok(()),
            None => Err(DaemonError::NotFound { object, words: String::new() }),
        }
    }

    /// Judges an import whose operation is forgotten: if the daemon is the same process, the operation has ended, and
    /// only a success leaves an instance.
    fn judge_import(&self, request: &ImportRequest, before: &Server, object: &str) -> Result<(), DaemonError> {
        if !self.exists(&request.subject)? {
            let words = "it is not there after the import".to_owned();
            return Err(DaemonError::OperationFailed { object: object.to_owned(), words });
        }
        if self.server()?.pid == before.pid && before.pid != 0 {
            return Ok(());
        }
        Err(DaemonError::OperationLost { object: object.to_owned() })
    }
}

impl Daemon for LocalDaemon {
    fn server(&self) -> Result<Server, DaemonError> {
        let object = "the server";
        let metadata: Value = self.api.get(Target::new(&[])?, object)?;
        let mut server = Server::read(metadata).map_err(|problem| nonsense(object, &problem))?;
        if server.access == Access::Full {
            let call = Call::get(Target::new(&["certificates"])?, object);
            let answer = self.api.call(&call, DAEMON_LISTING_BYTES_MAX)?;
            if matches!(answer, Answer::Error { code: 403, .. }) {
                server.access = Access::Restricted;
            }
        }
        // Another thread may have been faster; what the daemon can do is taken from the first answer.
        let _ = self.server.set(server.clone());
        Ok(server)
    }

    fn projects(&self) -> Result<Vec<Project>, DaemonError> {
        let object = "the projects";
        let values: Vec<Value> = self.api.list(Target::new(&["projects"])?.query("recursion", "1"), object)?;
        let project = |value| Project::read(value).map_err(|problem| nonsense(object, &problem));
        values.into_iter().map(project).collect()
    }

    fn instances(&self) -> Result<Listing, DaemonError> {
        let mut listing = Listing::default();
        for project in self.projects()? {
            match self.list_project(&project.name) {
                Ok(instances) => listing.instances.extend(instances),
                Err(error) if error.concerns_the_daemon() => return Err(error),
                Err(error) => listing.problems.push((project.name, error)),
            }
        }
        Ok(listing)
    }

    fn instance(&self, project: &str, name: &str) -> Result<Option<Instance>, DaemonError> {
        let subject = Subject::instance(project, name);
        let object = subject.to_string();
        let Some((value, _)) = self.find(subject.target(&[])?, &object)? else {
            self.require_project(project)?;
            return Ok(None);
        };
        let target = subject.target(&["snapshots"])?.query("recursion", "1");
        let snapshots: Vec<Value> = match self.api.list(target, &object) {
            Ok(snapshots) => snapshots,
            // It went away between the two requests.
            Err(DaemonError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let instance = Instance::read(value, snapshots, project, |pool| self.driver(pool));
        instance.map(Some).map_err(|problem| nonsense(&object, &problem))
    }

    fn volumes(&self) -> Result<VolumeListing, DaemonError> {
        let list = |project: &str, pool: &Pool| self.list_volumes(project, pool);
        let (volumes, problems) = self.in_pools("features.storage.volumes", list)?;
        Ok(VolumeListing { volumes, problems })
    }

    fn volume(&self, subject: &Subject) -> Result<Option<Volume>, DaemonError> {
        let Subject::Volume { project, pool, .. } = subject else { return Ok(None) };
        let object = subject.to_string();
        let Some((value, _)) = self.find(subject.target(&[])?, &object)? else {
            self.require_project(project)?;
            self.require_pool(pool)?;
            return Ok(None);
        };
        let target = subject.target(&["snapshots"])?.query("recursion", "1");
        let snapshots: Vec<Value> = match self.api.list(target, &object) {
            Ok(snapshots) => snapshots,
            // It went away between the two requests.
            Err(DaemonError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let volume = Volume::read(value, snapshots, (project, pool), self.driver(pool));
        volume.map(Some).map_err(|problem| nonsense(&object, &problem))
    }

    fn buckets(&self) -> Result<BucketListing, DaemonError> {
        if !self.known()?.has("storage_buckets") {
            return Ok(BucketListing::default());
        }
        let list = |project: &str, pool: &Pool| self.list_buckets(project, pool);
        let (buckets, problems) = self.in_pools("features.storage.buckets", list)?;
        Ok(BucketListing { buckets, problems })
    }

    fn bucket(&self, subject: &Subject) -> Result<Option<Bucket>, DaemonError> {
        let Subject::Bucket { project, pool, .. } = subject else { return Ok(None) };
        let object = subject.to_string();
        let Some((value, _)) = self.find(subject.target(&[])?, &object)? else {
            self.require_project(project)?;
            self.require_pool(pool)?;
            return Ok(None);
        };
        let keys: Vec<WireKey> = match self.api.list(subject.target(&["keys"])?.query("recursion", "1"), &object) {
            Ok(keys) => keys,
            // It went away between the two requests.
            Err(DaemonError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let bucket = Bucket::read(value, keys, (project, pool), self.driver(pool));
        bucket.map(Some).map_err(|problem| nonsense(&object, &problem))
    }

    fn images(&self) -> Result<ImageListing, DaemonError> {
        let mut listing = ImageListing::default();
        for project in self.projects()?.into_iter().filter(|project| !project.shares("features.images")) {
            let object = format!("the images of project {}", project.name);
            let target = Target::new(&["images"])?.query("recursion", "1").project(&project.name);
            match self.api.list::<WireImage>(target, &object) {
                Ok(wires) => listing.images.extend(wires.into_iter().map(|wire| wire.into_summary(&project.name))),
                Err(error) if error.concerns_the_daemon() => return Err(error),
                Err(error) => listing.problems.push((project.name, error)),
            }
        }
        Ok(listing)
    }

    fn image(&self, project: &str, fingerprint: &str) -> Result<Option<Image>, DaemonError> {
        let subject = Subject::image(project, fingerprint);
        let object = subject.to_string();
        if !is_fingerprint(fingerprint) {
            return Ok(None);
        }
        let Some((value, _)) = self.find(subject.target(&[])?, &object)? else {
            self.require_project(project)?;
            return Ok(None);
        };
        Image::read(&value, project).map(Some).map_err(|problem| nonsense(&object, &problem))
    }

    fn exists(&self, subject: &Subject) -> Result<bool, DaemonError> {
        if self.find(subject.target(&[])?, &subject.to_string())?.is_some() {
            return Ok(true);
        }
        self.require_project(subject.project())?;
        Ok(false)
    }

    fn export(
        &self,
        request: &ExportRequest,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Box<dyn Export>, DaemonError> {
        export::open(&self.api, self.known()?, request, progress)
    }

    fn import(
        &self,
        request: &ImportRequest,
        body: &mut (dyn Read + Send),
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), DaemonError> {
        let subject = &request.subject;
        let object = subject.to_string();
        let server = self.known()?;
        check_names(request)?;
        // A header that the daemon does not know it ignores, and finds out after the upload that this is no export.
        if request.form == ImportForm::Disc && !server.has("custom_volume_iso") {
            return Err(DaemonError::NotOffered { what: "a volume for disc images", object });
        }
        self.require_project(subject.project())?;
        let pool = match subject {
            Subject::Instance { .. } | Subject::Image { .. } => request.pool.as_ref(),
            Subject::Volume { pool, .. } | Subject::Bucket { pool, .. } => Some(pool),
        };
        if let Some(pool) = pool {
            self.require_pool(pool)?;
        }
        // The last look before the upload: a taken name is noticed by the daemon only when it is too late.
        if self.exists(subject)? {
            return Err(DaemonError::NameTaken { object, words: String::new() });
        }
        let (kind, mut body) = typed(&request.form, body, &object)?;
        let mut call = Call::new(Method::Post, subject.collection()?, &object).header("Content-Type", kind);
        if !matches!(request.form, ImportForm::Image(_)) {
            call = call.header(server.flavor.name_header(), subject.name());
        }
        if let Some(pool) = &request.pool {
            call = call.header(server.flavor.pool_header(), pool.as_str());
        }
        if request.form == ImportForm::Disc {
            call = call.header(server.flavor.type_header(), "iso");
        }
        let answer =
            self.api.upload(&call, &mut body, &mut |bytes| progress(Progress::Sent(bytes)))?.accepted(&object)?;
        let Some(id) = answer.started(&object)? else {
            return Err(nonsense(&object, "it names no operation"));
        };
        self.api.wait(&id, &object, progress)?.or_look(&object, || self.judge_import(request, server, &object))
    }

    fn backups(&self, subject: &Subject) -> Result<Vec<BackupEntry>, DaemonError> {
        let target = subject.target(&["backups"])?.query("recursion", "1");
        let wires: Vec<WireBackup> = self.api.list(target, &subject.to_string())?;
        Ok(wires.into_iter().map(BackupEntry::from).collect())
    }

    fn delete_backup(&self, subject: &Subject, backup: &str) -> Result<(), DaemonError> {
        export::delete_backup(&self.api, subject, backup)
    }

    fn snapshots(&self, subject: &Subject) -> Result<Vec<String>, DaemonError> {
        snapshot::names(&self.api, subject)
    }

    fn take_snapshot(&self, subject: &Subject, name: &str, expires_at: Timestamp) -> Result<(), DaemonError> {
        snapshot::take(&self.api, subject, name, expires_at)
    }

    fn delete_snapshot(&self, subject: &Subject, name: &str) -> Result<(), DaemonError> {
        snapshot::delete(&self.api.for_cleanup(), subject, name)
    }

    fn update_instance(&self, project: &str, name: &str, change: &InstanceChange) -> Result<(), DaemonError> {
        let subject = Subject::instance(project, name);
        let (object, target) = (subject.to_string(), subject.target(&[])?);
        let mut attempts = 1;
        loop {
            let Some((value, etag)) = self.find(target.clone(), &object)? else {
                return Err(DaemonError::NotFound { object, words: String::new() });
            };
            let body = changed(value, change).ok_or_else(|| nonsense(&object, "it has no configuration"))?;
            let mut call = Call::new(Method::Put, target.clone(), &object).json(&body);
            if let Some(etag) = etag {
                call = call.header("If-Match", etag);
            }
            match self.api.change(&call) {
                Err(DaemonError::Changed { .. }) if attempts < DAEMON_EDIT_ATTEMPTS_MAX => attempts += 1,
                Err(error) => return Err(error),
                Ok(end) => {
                    return end.or_look(&object, || Err(DaemonError::OperationLost { object: object.clone() }));
                }
            }
        }
    }

    fn describe_volume(&self, subject: &Subject, description: &str) -> Result<(), DaemonError> {
        let (object, target) = (subject.to_string(), subject.target(&[])?);
        let call = Call::new(Method::Patch, target, &object).json(&json!({ "description": description }));
        let end = self.api.change(&call)?;
        end.or_look(&object, || Err(DaemonError::OperationLost { object: object.clone() }))
    }

    fn execute(&self, script: &Script<'_>) -> Result<i64, DaemonError> {
        let subject = Subject::instance(script.project, script.instance);
        let object = format!("a command in {subject}");
        let api = if script.is_cleanup { self.api.for_cleanup() } else { self.api.clone() };
        let seconds = script.limit.as_secs().max(1).to_string();
        let body = json!({
            "command": ["sh", "-c", LIMITED, "sh", script.text, seconds],
            "wait-for-websocket": false,
            "interactive": false,
            "record-output": false,
        });
        let call = Call::new(Method::Post, subject.target(&["exec"])?, &object).json(&body);
        let body = api.call(&call, DAEMON_OBJECT_BYTES_MAX)?.accepted(&object)?;
        let id = body.started(&object)?.ok_or_else(|| nonsense(&object, "it names no operation"))?;
        // It goes on whatever the user wants, so its end is waited for: what puts right must not come before it.
        self.api.for_cleanup().wait_for_exit(&id, &object, script.limit + EXIT_GRACE)
    }

    fn update_image(&self, project: &str, fingerprint: &str, settings: &ImageSettings) -> Result<(), DaemonError> {
        let subject = Subject::image(project, fingerprint);
        let (object, target) = (subject.to_string(), subject.target(&[])?);
        let ImageSettings { properties, public, auto_update, expires_at, profiles } = settings;
        let call = Call::new(Method::Put, target, &object).json(&json!({
            "properties": properties, "public": public, "auto_update": auto_update, "profiles": profiles,
            "expires_at": expires_at.as_deref().unwrap_or(NEVER),
        }));
        let end = self.api.change(&call)?;
        end.or_look(&object, || Err(DaemonError::OperationLost { object: object.clone() }))
    }

    fn add_image_alias(&self, project: &str, fingerprint: &str, alias: &ImageAlias) -> Result<(), DaemonError> {
        let object = format!("image alias {}", alias.name);
        let target = Target::new(&["images", "aliases"])?.project(project);
        let call = Call::new(Method::Post, target, &object)
            .json(&json!({ "name": alias.name, "description": alias.description, "target": fingerprint }));
        let end = self.api.change(&call)?;
        end.or_look(&object, || Err(DaemonError::OperationLost { object: object.clone() }))
    }

    fn set_snapshot_expiry(
        &self,
        project: &str,
        instance: &str,
        snapshot: &str,
        expires_at: Option<&str>,
    ) -> Result<(), DaemonError> {
        let subject = Subject::instance(project, instance);
        let object = format!("snapshot {snapshot} of {subject}");
        let target = subject.target(&["snapshots", snapshot])?;
        let call = Call::new(Method::Patch, target.clone(), &object)
            .json(&json!({ "expires_at": expires_at.unwrap_or(NEVER) }));
        self.api.change(&call)?.or_look(&object, || {
            let wire: WireSnapshot = self.api.get(target, &object)?;
            if wire.into_snapshot().expires_at.as_deref() == expires_at {
                return Ok(());
            }
            Err(DaemonError::OperationLost { object: object.clone() })
        })
    }

    fn rename_instance(&self, project: &str, from: &str, to: &str) -> Result<(), DaemonError> {
        let (from, to_be) = (Subject::instance(project, from), Subject::instance(project, to));
        let (object, target) = (from.to_string(), from.target(&[])?);
        let end = self.api.change(&Call::new(Method::Post, target, &object).json(&json!({ "name": to })));
        let renamed = end.and_then(|end| {
            end.or_look(&object, || {
                if self.exists(&to_be)? && !self.exists(&from)? {
                    return Ok(());
                }
                Err(DaemonError::OperationLost { object: object.clone() })
            })
        });
        renamed.map_err(|error| error.name_taken_by(to_be.to_string()))
    }

    fn delete_instance(&self, project: &str, name: &str) -> Result<(), DaemonError> {
        let subject = Subject::instance(project, name);
        let (object, target) = (subject.to_string(), subject.target(&[])?);
        let end = self.api.change(&Call::new(Method::Delete, target, &object))?;
        end.or_look(&object, || {
            if !self.exists(&subject)? {
                return Ok(());
            }
            Err(DaemonError::OperationLost { object: object.clone() })
        })
    }

    fn members(&self) -> Result<Vec<String>, DaemonError> {
        if !self.known()?.clustered {
            return Ok(Vec::new());
        }
        let target = Target::new(&["cluster", "members"])?.query("recursion", "1");
        let wires: Vec<WireMember> = self.api.list(target, "the members of the cluster")?;
        Ok(wires.into_iter().map(|wire| wire.server_name).collect())
    }

    fn pools(&self) -> Result<Vec<Pool>, DaemonError> {
        let target = Target::new(&["storage-pools"])?.query("recursion", "1");
        let wires: Vec<WirePool> = self.api.list(target, "the storage pools")?;
        Ok(wires.into_iter().map(Pool::from).collect())
    }

    fn profiles(&self, project: &str) -> Result<Vec<Profile>, DaemonError> {
        let object = format!("the profiles of project {project}");
        let target = Target::new(&["profiles"])?.query("recursion", "1").project(project);
        let wires: Vec<WireProfile> = self.api.list(target, &object)?;
        Ok(wires.into_iter().map(Profile::from).collect())
    }

    fn networks(&self, project: &str) -> Result<Vec<Network>, DaemonError> {
        let object = format!("the networks of project {project}");
        let target = Target::new(&["networks"])?.query("recursion", "1").project(project);
        let wires: Vec<WireNetwork> = self.api.list(target, &object)?;
        Ok(wires.into_iter().map(Network::from).collect())
    }

    fn instance_keys(&self) -> Result<Option<BTreeSet<String>>, DaemonError> {
        if !self.known()?.has("metadata_configuration") {
            return Ok(None);
        }
        let catalogue: Value =
            self.api.get(Target::new(&["metadata", "configuration"])?, "the catalogue of configuration keys")?;
        Ok(instance_keys(&catalogue))
    }

    fn staging(&self, project: &str) -> Result<Staging, DaemonError> {
        let directory = flavor::directory_of(self.socket());
        let server = self.server()?;
        let daemon_directory = directory.as_ref().map(|directory| as_seen_by(server.pid, directory));
        let (path, config) = (directory.map(|directory| directory.join("backups")), server.config);
        let volume = config
            .get(&format!("storage.project.{project}.backups_volume"))
            .or_else(|| config.get("storage.backups_volume"))
            .filter(|volume| !volume.is_empty());
        let place = daemon_directory.as_ref().map(|directory| directory.join("backups"));
        let seen = place.and_then(|place| statvfs(&place).ok()).map(|it| it.f_bavail.saturating_mul(it.f_frsize));
        let told = volume.and_then(|volume| self.free_in_pool(volume.split('/').next().unwrap_or_default()));
        // A pool counts blocks that only root may use, and the daemon's database may live on the same disk.
        let free_bytes = seen.into_iter().chain(told).min();
        Ok(Staging { free_bytes, path, daemon_directory })
    }
}

impl LocalDaemon {
    /// Free bytes of a pool, if the daemon tells.
    fn free_in_pool(&self, pool: &str) -> Option<u64> {
        let target = Target::new(&["storage-pools", pool, "resources"]).ok()?;
        let resources: WireResources = self.api.get(target, "the space of the pool for backups").ok()?;
        resources.free_bytes()
    }
}

/// A directory with the mounts of a process: daemons from a snap, and others, have their pools mounted for themselves
/// alone. As it is where that process cannot be looked into, or where its directory is another one.
fn as_seen_by(pid: u64, directory: &Path) -> PathBuf {
    let same = |other: &Path| {
        let (Ok(one), Ok(other)) = (fs::metadata(directory), fs::metadata(other)) else { return false };
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    };
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let theirs = directory.strip_prefix("/").ok().map(|relative| root.join(relative));
    theirs.filter(|theirs| same(theirs)).unwrap_or_else(|| directory.to_owned())
}

/// The type of an upload, and its body, of which the boundary may have been read.
fn typed<'b>(
    form: &ImportForm,
    body: &'b mut (dyn Read + Send),
    object: &str,
) -> Result<(String, impl Read + Send + 'b), DaemonError> {
    let mut start = Vec::new();
    if *form != ImportForm::Image(Packaging::Multipart) {
        return Ok((OCTETS.to_owned(), Cursor::new(start).chain(body)));
    }
    let line = body.take(MULTIPART_LINE_BYTES_MAX).read_to_end(&mut start);
    line.map_err(|source| DaemonError::Input { object: object.to_owned(), source })?;
    let Some(boundary) = multipart::boundary(&start) else {
        let source = io::Error::new(io::ErrorKind::InvalidData, "the body of several files has no boundary");
        return Err(DaemonError::Input { object: object.to_owned(), source });
    };
    Ok((format!("{PARTS}; boundary={boundary}"), Cursor::new(start).chain(body)))
}

/// Refuses before the upload what the daemon refuses after it, and what cannot stand in a header.
fn check_names(request: &ImportRequest) -> Result<(), DaemonError> {
    let name = request.subject.name();
    let (fits, what) = match &request.subject {
        Subject::Instance { .. } => (fits_instance(name), "the name of an instance"),
        Subject::Volume { .. } => (fits_volume(name), "the name of a volume"),
        Subject::Bucket { .. } => (fits_bucket(name), "the name of a bucket"),
        Subject::Image { .. } => (is_fingerprint(name), "the fingerprint of an image"),
    };
    if !fits {
        return Err(DaemonError::BadName { name: name.to_owned(), what });
    }
    match &request.pool {
        Some(pool) if pool.is_empty() || !pool.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(DaemonError::BadName { name: pool.clone(), what: "the name of a storage pool" })
        }
        _ => Ok(()),
    }
}

fn fits_instance(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain && !name.is_empty() && name.len() <= HOST_NAME_BYTES_MAX && !name.starts_with('-') && !name.ends_with('-')
}

fn fits_volume(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
        && (1..=VOLUME_NAME_BYTES_MAX).contains(&name.len())
        && !matches!(name, "." | "..")
}

fn fits_bucket(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
        && (BUCKET_NAME_BYTES_MIN..=HOST_NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with(['-', '.'])
}

/// The body of a PUT that makes the change.
pub(super) fn changed(value: Value, change: &InstanceChange) -> Option<Value> {
    let Value::Object(mut fields) = value else { return None };
    fields.retain(|key, _| WRITABLE.contains(&key.as_str()));
    let config = fields.entry("config").or_insert_with(|| json!({}));
    if config.is_null() {
        *config = json!({});
    }
    let config = config.as_object_mut()?;
    config.retain(|key, _| !change.remove.contains(key));
    config.extend(change.set.iter().map(|(key, value)| (key.clone(), value.clone().into())));
    Some(Value::Object(fields))
}

fn nonsense(object: &str, problem: &str) -> DaemonError {
    DaemonError::Protocol { object: object.to_owned(), problem: super::error::tame(problem) }
}
