//! A daemon in memory, for every failure that a real one does not produce on demand.
//!
//! Implements [`Daemon`] over instances described by [`FakeInstance`], reading the same JSON as the real adapter does.
//! [`Fault`]s are scripted per instance and attempt. Records what was imported and which calls were made, so that tests
//! can compare. Clones share one state.

mod others;
mod snapshots;
mod stream;
mod tarball;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};

pub use self::others::FakeThing;
use self::stream::FakeStream;
pub use self::tarball::FakeInstance;
use self::tarball::NEVER;
use super::error::DaemonError;
use super::model::WireInstance;
use super::{
    BackupEntry, Bucket, BucketListing, Daemon, Export, ExportRequest, Flavor, Image, ImageAlias, ImageListing,
    ImageSettings, ImportRequest, Instance, InstanceChange, Listing, Mode, Network, Pool, Profile, Progress, Project,
    Route, Script, Server, Staging, Subject, Volume, VolumeListing,
};
use crate::clock::Timestamp;

/// What goes wrong during one attempt at an export or an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks after that many bytes of the stream.
    CutAt(u64),
    /// The stream ends after that many bytes as if it were complete.
    EndAt(u64),
    /// Other bytes are streamed, as when files vanish while they are read.
    Serve(Vec<u8>),
    /// The instance is deleted when the stream has begun.
    DeleteInstance,
    /// The instance is renamed when the stream has begun.
    RenameInstance(String),
    /// Another instance of the same name takes its place when the stream has begun.
    ReplaceInstance,
    /// A snapshot is deleted when the stream has begun.
    DeleteSnapshot(String),
    /// A snapshot is made when the stream has begun.
    AddSnapshot(String),
    /// The operation fails with these words: before the stream if it is staged, else at its end.
    OperationFails(String),
    /// The daemon does not know how the operation ended.
    OperationUnseen,
    /// The daemon refuses the request with this code and these words.
    Refused(u16, String),
    /// What was staged cannot be deleted.
    LeftoverStays,
    /// The daemon breaks an upload off after that many bytes, with these words.
    ImportFailsAt(u64, String),
    /// Somebody else takes the name while an import is uploaded.
    NameTakenMeanwhile,
}

/// An upload that the daemon got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// What was asked for.
    pub request: ImportRequest,
    /// The bytes that came.
    pub bytes: Vec<u8>,
    /// Whether an instance was made of them; else they were discarded.
    pub accepted: bool,
}

type Key = (String, String);

#[derive(Debug, Default)]
struct State {
    instances: BTreeMap<Key, Kept>,
    others: BTreeMap<Subject, FakeThing>,
    projects: BTreeSet<String>,
    unreadable: BTreeMap<String, String>,
    pools: BTreeMap<String, String>,
    members: Vec<String>,
    /// Why no snapshots are taken.
    no_snapshots: Option<String>,
    profiles: BTreeMap<String, Vec<String>>,
    networks: BTreeMap<String, Vec<String>>,
    backups: BTreeMap<Key, Vec<BackupEntry>>,
    scripts: BTreeMap<Key, VecDeque<Vec<Fault>>>,
    imports: Vec<Imported>,
    calls: Vec<String>,
    free_bytes: Option<u64>,
    exits: BTreeMap<String, i64>,
    instance_keys: Option<BTreeSet<String>>,
    refused_keys: BTreeSet<String>,
}

/// An instance: its JSON, and what an export of it gives.
#[derive(Debug, Clone)]
struct Kept {
    object: Value,
    snapshots: Vec<Value>,
    export: Vec<u8>,
    export_instance_only: Vec<u8>,
    /// What it was made of; none of one that was imported.
    made_of: Option<FakeInstance>,
}

/// A daemon in memory. An Incus streams exports directly, an LXD stages them.
#[derive(Debug, Clone)]
pub struct FakeDaemon {
    server: Arc<Value>,
    state: Arc<Mutex<State>>,
}

impl FakeDaemon {
    /// A daemon with the project `default`, the pool `default` of driver `dir`, and the profile `default`.
    pub fn new(flavor: Flavor) -> Self {
        let (name, extensions) = match flavor {
            Flavor::Lxd => ("lxd", vec!["backup_metadata_version"]),
            Flavor::Incus => (
                "incus",
                vec!["backup_iso", "custom_volume_iso", "direct_backup", "storage_bucket_backup", "storage_buckets"],
            ),
        };
        let state = State {
            projects: BTreeSet::from(["default".to_owned()]),
            pools: BTreeMap::from([("default".to_owned(), "dir".to_owned())]),
            profiles: BTreeMap::from([("default".to_owned(), vec!["default".to_owned()])]),
            ..State::default()
        };
        let server = json!({
            "api_extensions": extensions, "auth": "trusted", "config": {"core.storage_buckets_address": ":8555"},
            "environment": {
                "certificate_fingerprint": "ab".repeat(32), "server": name, "server_clustered": false,
                "server_name": "fake", "server_pid": 1, "server_version": "1.0",
            },
        });
        Self { server: Arc::new(server), state: Arc::new(Mutex::new(state)) }
    }

    /// Adds an instance, and its project with a profile `default` if that is new.
    pub fn add(&self, instance: &FakeInstance) {
        self.add_project(instance.text("project"));
        let kept = Kept::of(instance.clone());
        let key = (instance.text("project").to_owned(), instance.text("name").to_owned());
        self.state().instances.insert(key, kept);
    }

    /// Adds a project with a profile `default`.
    pub fn add_project(&self, project: &str) {
        let mut state = self.state();
        state.projects.insert(project.to_owned());
        state.profiles.entry(project.to_owned()).or_insert_with(|| vec!["default".to_owned()]);
    }

    /// Adds a storage pool.
    pub fn add_pool(&self, name: &str, driver: &str) {
        self.state().pools.insert(name.to_owned(), driver.to_owned());
    }

    /// Adds a profile.
    pub fn add_profile(&self, project: &str, name: &str) {
        self.state().profiles.entry(project.to_owned()).or_default().push(name.to_owned());
    }

    /// Adds a managed network.
    pub fn add_network(&self, project: &str, name: &str) {
        self.state().networks.entry(project.to_owned()).or_default().push(name.to_owned());
    }

    /// Adds a stored backup, as a crashed run leaves one.
    pub fn add_backup(&self, project: &str, instance: &str, backup: &str) {
        self.state().keep_backup(project, instance, backup, None);
    }

    /// Makes the instances of a project unreadable, with these words.
    pub fn forbid(&self, project: &str, words: &str) {
        self.state().unreadable.insert(project.to_owned(), words.to_owned());
    }

    /// Says how much space the daemon has for staged exports; `None` is unknown.
    pub fn set_free_bytes(&self, free_bytes: Option<u64>) {
        self.state().free_bytes = free_bytes;
    }

    /// Gives the daemon a catalogue of configuration keys.
    pub fn set_instance_keys(&self, keys: &[&str]) {
        self.state().instance_keys = Some(keys.iter().map(|key| (*key).to_owned()).collect());
    }

    /// Makes imports fail whose instance or snapshots have this configuration key.
    pub fn refuse_key(&self, key: &str) {
        self.state().refused_keys.insert(key.to_owned());
    }

    /// Scripts what goes wrong in the next attempt at this instance that has no script yet, export or import.
    pub fn fault(&self, project: &str, name: &str, faults: &[Fault]) {
        self.state().scripts.entry(key(project, name)).or_default().push_back(faults.to_vec());
    }

    /// Says with which code this script ends in every instance; others end with 0.
    pub fn exit(&self, script: &str, code: i64) {
        self.state().exits.insert(script.to_owned(), code);
    }

    /// Every upload so far.
    pub fn imports(&self) -> Vec<Imported> {
        self.state().imports.clone()
    }

    /// Every export and every changing call so far, one line each.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere has failed already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn call(&mut self, what: &str, project: &str, name: &str) {
        self.calls.push(format!("{what} {project}/{name}"));
    }

    fn faults(&mut self, project: &str, name: &str) -> Vec<Fault> {
        self.scripts.get_mut(&key(project, name)).and_then(VecDeque::pop_front).unwrap_or_default()
    }

    fn instance(&mut self, project: &str, name: &str) -> Result<&mut Kept, DaemonError> {
        let object = || Subject::instance(project, name).to_string();
        let missing = || DaemonError::refusal(&object(), 404, "Instance not found");
        self.instances.get_mut(&key(project, name)).ok_or_else(missing)
    }

    fn keep_backup(&mut self, project: &str, instance: &str, backup: &str, expires_at: Option<String>) {
        let created_at = tarball::CREATED_AT.to_owned();
        let entry = BackupEntry { name: backup.to_owned(), created_at, expires_at };
        self.backups.entry(key(project, instance)).or_default().push(entry);
    }

    /// What was unpacked, if the daemon knows all of its configuration.
    fn accept(&self, kept: Kept) -> Result<Kept, String> {
        match tarball::key_of(std::iter::once(&kept.object).chain(&kept.snapshots), &self.refused_keys) {
            Some(key) => Err(format!("Failed creating instance record: Unknown configuration key: {key}")),
            None => Ok(kept),
        }
    }

    fn drop_backup(&mut self, project: &str, instance: &str, backup: &str) {
        if let Some(entries) = self.backups.get_mut(&key(project, instance)) {
            entries.retain(|entry| entry.name != backup);
        }
    }

    /// Lets happen what happens while a stream is read.
    fn interfere(&mut self, subject: &Subject, faults: &[Fault]) {
        self.interfere_with_other(subject, faults);
        let at = &key(subject.project(), subject.name());
        if !matches!(subject, Subject::Instance { .. }) {
            return;
        }
        for fault in faults {
            match fault {
                Fault::DeleteInstance => {
                    self.instances.remove(at);
                }
                Fault::RenameInstance(to) => {
                    if let Some(mut kept) = self.instances.remove(at) {
                        set(&mut kept.object, "name", to.as_str().into());
                        self.instances.insert((at.0.clone(), to.clone()), kept);
                    }
                }
                Fault::ReplaceInstance => {
                    if let Some(kept) = self.instances.get_mut(at) {
                        set(&mut kept.object, "created_at", "2026-11-20T09:00:00Z".into());
                        set_config(&mut kept.object, "volatile.uuid", Some(&tarball::uuid_of("another")));
                    }
                }
                Fault::DeleteSnapshot(name) => {
                    if let Some(kept) = self.instances.get_mut(at) {
                        kept.snapshots.retain(|snapshot| snapshot.get("name") != Some(&name.as_str().into()));
                    }
                }
                Fault::AddSnapshot(name) => {
                    if let Some(kept) = self.instances.get_mut(at) {
                        kept.snapshots.push(json!({"name": name, "created_at": "2026-11-20T09:00:00Z"}));
                    }
                }
                _ => {}
            }
        }
    }
}

fn key(project: &str, name: &str) -> Key {
    (project.to_owned(), name.to_owned())
}

fn set(object: &mut Value, field: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}

fn set_config(object: &mut Value, config_key: &str, value: Option<&str>) {
    let Some(config) = object.get_mut("config").and_then(Value::as_object_mut) else { return };
    match value {
        Some(value) => config.insert(config_key.to_owned(), value.into()),
        None => config.remove(config_key),
    };
}

fn nonsense(object: &str, error: impl std::fmt::Display) -> DaemonError {
    DaemonError::Protocol { object: object.to_owned(), problem: error.to_string() }
}

impl Daemon for FakeDaemon {
    fn server(&self) -> Result<Server, DaemonError> {
        Server::read((*self.server).clone()).map_err(|problem| nonsense("the server", problem))
    }

    fn projects(&self) -> Result<Vec<Project>, DaemonError> {
        let project = |name: &String| {
            let value = json!({"name": name, "config": {}});
            Project::read(value).map_err(|problem| nonsense("the projects", problem))
        };
        self.state().projects.iter().map(project).collect()
    }

    fn instances(&self) -> Result<Listing, DaemonError> {
        let mut listing = Listing::default();
        let state = self.state();
        for project in &state.projects {
            if let Some(words) = state.unreadable.get(project) {
                let error = DaemonError::refusal(&format!("the instances of project {project}"), 403, words);
                listing.problems.push((project.clone(), error));
                continue;
            }
            for (_, kept) in state.instances.iter().filter(|((of, _), _)| of == project) {
                let wire = WireInstance::deserialize(&kept.object).map_err(|error| nonsense("an instance", error))?;
                listing.instances.push(wire.into_summary(project, |pool| state.pools.get(pool).cloned()));
            }
        }
        Ok(listing)
    }

    fn instance(&self, project: &str, name: &str) -> Result<Option<Instance>, DaemonError> {
        let object = Subject::instance(project, name).to_string();
        let state = self.state();
        if !state.projects.contains(project) {
            return Err(DaemonError::NotFound { object: format!("project {project}"), words: String::new() });
        }
        let Some(kept) = state.instances.get(&key(project, name)) else { return Ok(None) };
        let driver = |pool: &str| state.pools.get(pool).cloned();
        let instance = Instance::read(kept.object.clone(), kept.snapshots.clone(), project, driver);
        instance.map(Some).map_err(|problem| nonsense(&object, problem))
    }

    fn exists(&self, subject: &Subject) -> Result<bool, DaemonError> {
        match subject {
            Subject::Instance { project, name } => Ok(self.instance(project, name)?.is_some()),
            other => Ok(self.state().others.contains_key(other)),
        }
    }

    fn volumes(&self) -> Result<VolumeListing, DaemonError> {
        Ok(VolumeListing { volumes: self.state().volumes()?, problems: Vec::new() })
    }

    fn volume(&self, subject: &Subject) -> Result<Option<Volume>, DaemonError> {
        self.state().volume(subject)
    }

    fn buckets(&self) -> Result<BucketListing, DaemonError> {
        Ok(BucketListing { buckets: self.state().buckets()?, problems: Vec::new() })
    }

    fn bucket(&self, subject: &Subject) -> Result<Option<Bucket>, DaemonError> {
        self.state().bucket(subject)
    }

    fn images(&self) -> Result<ImageListing, DaemonError> {
        Ok(ImageListing { images: self.state().images()?, problems: Vec::new() })
    }

    fn image(&self, project: &str, fingerprint: &str) -> Result<Option<Image>, DaemonError> {
        self.state().image(&Subject::image(project, fingerprint))
    }

    fn export(
        &self,
        request: &ExportRequest,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Box<dyn Export>, DaemonError> {
        let object = request.subject.to_string();
        let (project, name) = (request.subject.project(), request.subject.name());
        let direct = request.route != Route::Staged && self.server()?.streams_exports();
        if request.route == Route::Direct && !direct {
            return Err(DaemonError::NotOffered { what: "a direct stream", object });
        }
        let mode = if direct { Mode::Direct } else { Mode::Staged };
        let mut state = self.state();
        state.call(if direct { "stream" } else { "stage" }, project, name);
        let (mut bytes, packaging) = state.export_of(request)?;
        let faults = state.faults(project, name);
        for fault in &faults {
            match fault {
                Fault::Refused(code, words) => return Err(DaemonError::refusal(&object, *code, words)),
                Fault::OperationFails(words) if mode == Mode::Staged => {
                    return Err(DaemonError::failure(&object, words));
                }
                Fault::OperationUnseen if mode == Mode::Staged => return Err(DaemonError::OperationLost { object }),
                Fault::Serve(other) => bytes.clone_from(other),
                _ => {}
            }
        }
        if mode == Mode::Staged {
            progress(Progress::Waiting("1MB (1MB/s)"));
            let expires_at = Some(request.expires_at.to_string());
            state.keep_backup(project, name, &request.backup_name, expires_at);
        }
        drop(state);
        let (daemon, request) = (self.clone(), request.clone());
        Ok(Box::new(FakeStream { daemon, request, object, mode, packaging, bytes, position: 0, faults, begun: false }))
    }

    fn import(
        &self,
        request: &ImportRequest,
        body: &mut (dyn Read + Send),
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), DaemonError> {
        let object = request.subject.to_string();
        let (project, name) = (request.subject.project(), request.subject.name());
        if self.exists(&request.subject)? {
            return Err(DaemonError::NameTaken { object, words: String::new() });
        }
        let faults = {
            let mut state = self.state();
            if let Some(pool) = request.pool.as_ref().filter(|pool| !state.pools.contains_key(*pool)) {
                return Err(DaemonError::NotFound { object: format!("storage pool {pool}"), words: String::new() });
            }
            state.call("import", project, name);
            state.faults(project, name)
        };
        let mut bytes = Vec::new();
        let received = receive(&object, &faults, body, &mut bytes, progress);
        let mut state = self.state();
        if !matches!(request.subject, Subject::Instance { .. }) {
            let accepted = received.is_ok();
            state.imports.push(Imported { request: request.clone(), bytes: bytes.clone(), accepted });
            return received.map(|()| state.keep(FakeThing::imported(request, bytes)));
        }
        let result = received
            .and_then(|()| unpack(request, &bytes).map_err(|words| DaemonError::failure(&object, &words)))
            .and_then(|kept| state.accept(kept).map_err(|words| DaemonError::failure(&object, &words)));
        let accepted = result.is_ok();
        state.imports.push(Imported { request: request.clone(), bytes, accepted });
        state.instances.insert(key(project, name), result?);
        Ok(())
    }

    fn backups(&self, subject: &Subject) -> Result<Vec<BackupEntry>, DaemonError> {
        if !self.exists(subject)? {
            return Err(DaemonError::refusal(&subject.to_string(), 404, "Instance not found"));
        }
        let (project, instance) = (subject.project(), subject.name());
        Ok(self.state().backups.get(&key(project, instance)).cloned().unwrap_or_default())
    }

    fn delete_backup(&self, subject: &Subject, backup: &str) -> Result<(), DaemonError> {
        let (project, instance) = (subject.project(), subject.name());
        let mut state = self.state();
        state.call(&format!("delete-backup {backup}"), project, instance);
        state.drop_backup(project, instance, backup);
        Ok(())
    }

    fn snapshots(&self, subject: &Subject) -> Result<Vec<String>, DaemonError> {
        self.state().snapshots(subject)
    }

    fn take_snapshot(&self, subject: &Subject, name: &str, expires_at: Timestamp) -> Result<(), DaemonError> {
        self.state().take_snapshot(subject, name, expires_at)
    }

    fn delete_snapshot(&self, subject: &Subject, name: &str) -> Result<(), DaemonError> {
        self.state().delete_snapshot(subject, name)
    }

    fn update_instance(&self, project: &str, name: &str, change: &InstanceChange) -> Result<(), DaemonError> {
        let mut state = self.state();
        state.call("update", project, name);
        let kept = state.instance(project, name)?;
        for config_key in &change.remove {
            set_config(&mut kept.object, config_key, None);
        }
        for (config_key, value) in &change.set {
            set_config(&mut kept.object, config_key, Some(value));
        }
        Ok(())
    }

    fn describe_volume(&self, subject: &Subject, description: &str) -> Result<(), DaemonError> {
        self.state().change_other(subject, &[("description", description.into())])
    }

    fn update_image(&self, project: &str, fingerprint: &str, settings: &ImageSettings) -> Result<(), DaemonError> {
        self.state().update_image(&Subject::image(project, fingerprint), settings)
    }

    fn add_image_alias(&self, project: &str, fingerprint: &str, alias: &ImageAlias) -> Result<(), DaemonError> {
        self.state().add_image_alias(&Subject::image(project, fingerprint), alias)
    }

    fn set_snapshot_expiry(
        &self,
        project: &str,
        instance: &str,
        snapshot: &str,
        expires_at: Option<&str>,
    ) -> Result<(), DaemonError> {
        let mut state = self.state();
        state.call(&format!("expire {snapshot}"), project, instance);
        let kept = state.instance(project, instance)?;
        let found = kept.snapshots.iter_mut().find(|it| it.get("name") == Some(&snapshot.into()));
        let object = format!("snapshot {snapshot} of {}", Subject::instance(project, instance));
        let found = found.ok_or_else(|| DaemonError::refusal(&object, 404, "Snapshot not found"))?;
        set(found, "expires_at", expires_at.unwrap_or(NEVER).into());
        Ok(())
    }

    fn execute(&self, script: &Script<'_>) -> Result<i64, DaemonError> {
        let mut state = self.state();
        state.instance(script.project, script.instance)?;
        state.call(&format!("execute {:?} in", script.text), script.project, script.instance);
        Ok(state.exits.get(script.text).copied().unwrap_or(0))
    }

    fn rename_instance(&self, project: &str, from: &str, to: &str) -> Result<(), DaemonError> {
        let mut state = self.state();
        state.call(&format!("rename to {to}"), project, from);
        if state.instances.contains_key(&key(project, to)) {
            return Err(DaemonError::NameTaken {
                object: Subject::instance(project, to).to_string(),
                words: String::new(),
            });
        }
        let kept = state.instance(project, from)?;
        if kept.object.get("status").and_then(Value::as_str) == Some("Running") {
            let object = Subject::instance(project, from).to_string();
            return Err(DaemonError::refusal(&object, 400, "Renaming of running instance not allowed"));
        }
        // To cloud-init an instance of another name is another machine.
        set_config(&mut kept.object, "volatile.cloud-init.instance-id", Some(&tarball::uuid_of(to)));
        state.interfere(&Subject::instance(project, from), &[Fault::RenameInstance(to.to_owned())]);
        Ok(())
    }

    fn delete_instance(&self, project: &str, name: &str) -> Result<(), DaemonError> {
        let mut state = self.state();
        state.call("delete", project, name);
        let kept = state.instance(project, name)?;
        if kept.object.get("status").and_then(Value::as_str) == Some("Running") {
            return Err(DaemonError::refusal(
                &Subject::instance(project, name).to_string(),
                400,
                "Instance is running",
            ));
        }
        if tarball::is_protected(&kept.object) {
            let object = Subject::instance(project, name).to_string();
            return Err(DaemonError::refusal(&object, 400, "Instance is protected"));
        }
        state.instances.remove(&key(project, name));
        Ok(())
    }

    fn members(&self) -> Result<Vec<String>, DaemonError> {
        Ok(self.state().members.clone())
    }

    fn pools(&self) -> Result<Vec<Pool>, DaemonError> {
        let state = self.state();
        Ok(state.pools.iter().map(|(name, driver)| Pool { name: name.clone(), driver: driver.clone() }).collect())
    }

    fn profiles(&self, project: &str) -> Result<Vec<Profile>, DaemonError> {
        let names = self.state().profiles.get(project).cloned().unwrap_or_default();
        Ok(names.into_iter().map(|name| Profile { name, devices: BTreeMap::new() }).collect())
    }

    fn networks(&self, project: &str) -> Result<Vec<Network>, DaemonError> {
        let names = self.state().networks.get(project).cloned().unwrap_or_default();
        Ok(names.into_iter().map(|name| Network { name, kind: "bridge".to_owned(), managed: true }).collect())
    }

    fn instance_keys(&self) -> Result<Option<BTreeSet<String>>, DaemonError> {
        Ok(self.state().instance_keys.clone())
    }

    fn staging(&self, _project: &str) -> Result<Staging, DaemonError> {
        Ok(Staging { free_bytes: self.state().free_bytes, ..Staging::default() })
    }
}

/// Takes an upload, as far as the faults let it.
fn receive(
    object: &str,
    faults: &[Fault],
    body: &mut (dyn Read + Send),
    bytes: &mut Vec<u8>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), DaemonError> {
    let mut piece = vec![0; crate::limits::UPLOAD_PIECE_BYTES];
    loop {
        for fault in faults {
            match fault {
                Fault::ImportFailsAt(at, words) if bytes.len() as u64 >= *at => {
                    return Err(DaemonError::refusal(object, 500, words));
                }
                Fault::Refused(code, words) => return Err(DaemonError::refusal(object, *code, words)),
                _ => {}
            }
        }
        let count = match body.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(DaemonError::Input { object: object.to_owned(), source }),
        };
        bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
        progress(Progress::Sent(bytes.len() as u64));
    }
    for fault in faults {
        match fault {
            Fault::OperationFails(words) => return Err(DaemonError::failure(object, words)),
            Fault::OperationUnseen => return Err(DaemonError::OperationLost { object: object.to_owned() }),
            Fault::NameTakenMeanwhile => {
                let words = "Create instance from backup: Cannot restore volume, already exists on target";
                return Err(DaemonError::failure(object, words));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Makes an instance of an uploaded export: from its index, under the name and project asked for, its snapshots without
/// expiry, as the daemons do.
fn unpack(request: &ImportRequest, bytes: &[u8]) -> Result<Kept, String> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().map_err(|error| error.to_string())?;
    let mut index = None;
    for entry in entries {
        let mut entry = entry.map_err(|error| format!("tar: {error}"))?;
        if entry.path_bytes().as_ref() == b"backup/index.yaml" {
            let mut text = String::new();
            entry.read_to_string(&mut text).map_err(|error| error.to_string())?;
            index = Some(serde_norway::from_str::<Value>(&text).map_err(|error| error.to_string())?);
        }
    }
    let index = index.ok_or("Backup is missing at \"backup/index.yaml\"")?;
    let mut object =
        index.pointer("/config/container").cloned().ok_or("Backup file is missing required information")?;
    set(&mut object, "name", request.subject.name().into());
    set(&mut object, "project", request.subject.project().into());
    set(&mut object, "status", "Stopped".into());
    let mut snapshots = index.pointer("/config/snapshots").and_then(Value::as_array).cloned().unwrap_or_default();
    for snapshot in &mut snapshots {
        set(snapshot, "expires_at", NEVER.into());
    }
    Ok(Kept { object, snapshots, export: bytes.to_vec(), export_instance_only: bytes.to_vec(), made_of: None })
}
