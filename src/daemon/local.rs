//! The adapter for LXD and Incus over their unix socket.
//!
//! Puts the calls of [`Daemon`] into requests; how answers, operations and streams are to be read is known to `api`,
//! `operation` and `export`. Keeps nothing but what the daemon said about itself at first.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::fs::statvfs;
use serde_json::{Value, json};

use super::api::{Answer, Api, Call, StopFlag, Target};
use super::error::DaemonError;
use super::http::{Method, Socket};
use super::model::{WireBackup, WireInstance, WireNetwork, WirePool, WireProfile, WireResources, WireSnapshot};
use super::{
    Access, BackupEntry, Daemon, Export, ExportRequest, ImportRequest, Instance, InstanceChange, Listing, Network,
    Pool, Profile, Progress, Project, Server, SocketHints, Staging, Summary, export, flavor, instance_object,
};
use crate::limits::{DAEMON_EDIT_ATTEMPTS_MAX, DAEMON_LISTING_BYTES_MAX, DAEMON_OBJECT_BYTES_MAX};

/// What a client may write of an instance; the rest of its description is the daemon's.
pub(super) const WRITABLE: [&str; 7] =
    ["architecture", "config", "description", "devices", "ephemeral", "profiles", "stateful"];

/// How daemons are told "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The longest name of an instance in bytes: it becomes a host name.
const INSTANCE_NAME_BYTES_MAX: usize = 63;

/// A daemon on this machine.
#[derive(Debug)]
pub struct LocalDaemon {
    api: Api,
    server: OnceLock<Server>,
    pools: OnceLock<BTreeMap<String, String>>,
}

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

    fn exists(&self, project: &str, name: &str) -> Result<bool, DaemonError> {
        let target = Target::new(&["instances", name])?.project(project);
        Ok(self.find(target, &instance_object(project, name))?.is_some())
    }

    /// Judges an import whose operation is forgotten: if the daemon is the same process, the operation has ended, and
    /// only a success leaves an instance.
    fn judge_import(&self, request: &ImportRequest, before: &Server, object: &str) -> Result<(), DaemonError> {
        if !self.exists(&request.project, &request.name)? {
            let words = "the instance is not there after the import".to_owned();
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
                Err(
                    error @ (DaemonError::Stopped { .. }
                    | DaemonError::NoDaemon { .. }
                    | DaemonError::NoPermission { .. }),
                ) => return Err(error),
                Err(error) => listing.problems.push((project.name, error)),
            }
        }
        Ok(listing)
    }

    fn instance(&self, project: &str, name: &str) -> Result<Option<Instance>, DaemonError> {
        let object = instance_object(project, name);
        let place = ["instances", name, "snapshots"];
        let Some((value, _)) = self.find(Target::new(&["instances", name])?.project(project), &object)? else {
            self.require_project(project)?;
            return Ok(None);
        };
        let target = Target::new(&place)?.query("recursion", "1").project(project);
        let snapshots: Vec<Value> = match self.api.list(target, &object) {
            Ok(snapshots) => snapshots,
            // It went away between the two requests.
            Err(DaemonError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let instance = Instance::read(value, snapshots, project, |pool| self.driver(pool));
        instance.map(Some).map_err(|problem| nonsense(&object, &problem))
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
        let object = instance_object(&request.project, &request.name);
        let server = self.known()?;
        check_names(request)?;
        self.require_project(&request.project)?;
        if let Some(pool) = &request.pool {
            self.require_pool(pool)?;
        }
        // The last look before the upload: a taken name is noticed by the daemon only when it is too late.
        if self.exists(&request.project, &request.name)? {
            return Err(DaemonError::NameTaken { object, words: String::new() });
        }
        let mut call = Call::new(Method::Post, Target::new(&["instances"])?.project(&request.project), &object)
            .header("Content-Type", "application/octet-stream")
            .header(server.flavor.name_header(), request.name.as_str());
        if let Some(pool) = &request.pool {
            call = call.header(server.flavor.pool_header(), pool.as_str());
        }
        let answer = self.api.upload(&call, body, &mut |bytes| progress(Progress::Sent(bytes)))?.accepted(&object)?;
        let Some(id) = answer.started(&object)? else {
            return Err(nonsense(&object, "it names no operation"));
        };
        self.api.wait(&id, &object, progress)?.or_look(&object, || self.judge_import(request, server, &object))
    }

    fn backups(&self, project: &str, instance: &str) -> Result<Vec<BackupEntry>, DaemonError> {
        let object = instance_object(project, instance);
        let target = Target::new(&["instances", instance, "backups"])?.query("recursion", "1").project(project);
        let wires: Vec<WireBackup> = self.api.list(target, &object)?;
        Ok(wires.into_iter().map(BackupEntry::from).collect())
    }

    fn delete_backup(&self, project: &str, instance: &str, backup: &str) -> Result<(), DaemonError> {
        export::delete_backup(&self.api, project, instance, backup)
    }

    fn update_instance(&self, project: &str, name: &str, change: &InstanceChange) -> Result<(), DaemonError> {
        let object = instance_object(project, name);
        let target = Target::new(&["instances", name])?.project(project);
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

    fn set_snapshot_expiry(
        &self,
        project: &str,
        instance: &str,
        snapshot: &str,
        expires_at: Option<&str>,
    ) -> Result<(), DaemonError> {
        let object = format!("snapshot {snapshot} of {}", instance_object(project, instance));
        let target = Target::new(&["instances", instance, "snapshots", snapshot])?.project(project);
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
        let object = instance_object(project, from);
        let target = Target::new(&["instances", from])?.project(project);
        let end = self.api.change(&Call::new(Method::Post, target, &object).json(&json!({ "name": to })));
        let renamed = end.and_then(|end| {
            end.or_look(&object, || {
                if self.exists(project, to)? && !self.exists(project, from)? {
                    return Ok(());
                }
                Err(DaemonError::OperationLost { object: object.clone() })
            })
        });
        renamed.map_err(|error| error.name_taken_by(instance_object(project, to)))
    }

    fn delete_instance(&self, project: &str, name: &str) -> Result<(), DaemonError> {
        let object = instance_object(project, name);
        let target = Target::new(&["instances", name])?.project(project);
        let end = self.api.change(&Call::new(Method::Delete, target, &object))?;
        end.or_look(&object, || {
            if !self.exists(project, name)? {
                return Ok(());
            }
            Err(DaemonError::OperationLost { object: object.clone() })
        })
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

    fn staging(&self, project: &str) -> Result<Staging, DaemonError> {
        let path = flavor::directory_of(self.socket()).map(|directory| directory.join("backups"));
        let config = self.server()?.config;
        let volume = config
            .get(&format!("storage.project.{project}.backups_volume"))
            .or_else(|| config.get("storage.backups_volume"))
            .filter(|volume| !volume.is_empty());
        let seen = path.as_ref().and_then(|path| statvfs(path).ok()).map(|it| it.f_bavail.saturating_mul(it.f_frsize));
        let told = volume.and_then(|volume| self.free_in_pool(volume.split('/').next().unwrap_or_default()));
        // A pool counts blocks that only root may use, and the daemon's database may live on the same disk.
        let free_bytes = seen.into_iter().chain(told).min();
        Ok(Staging { free_bytes, path })
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

/// Refuses before the upload what the daemon refuses after it, and what cannot stand in a header.
fn check_names(request: &ImportRequest) -> Result<(), DaemonError> {
    let name = &request.name;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !plain || name.is_empty() || name.len() > INSTANCE_NAME_BYTES_MAX || name.starts_with('-') || name.ends_with('-')
    {
        return Err(DaemonError::BadName { name: name.clone(), what: "the name of an instance" });
    }
    match &request.pool {
        Some(pool) if pool.is_empty() || !pool.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(DaemonError::BadName { name: pool.clone(), what: "the name of a storage pool" })
        }
        _ => Ok(()),
    }
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
