//! What a daemon holds, in the words of this program, and how that is read from its JSON.
//!
//! Knows no HTTP. Fields that a daemon leaves out or sends as `null` are absent here, unknown ones are ignored; texts
//! that are only compared (`created_at`, uuids) stay as the daemon wrote them. The types are what both products and all
//! their versions have in common (`reference/daemon-api.md` 1.1, 2.1, 6.1).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::error::tame;
use super::flavor::Flavor;
use crate::source::DEFAULT_PROJECT;

/// How daemons write "never": the zero time of Go.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A daemon, as it describes itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Which product it is.
    pub flavor: Flavor,
    /// Its version, for people only.
    pub version: String,
    /// What it calls itself; the member's name in a cluster.
    pub name: String,
    /// SHA-256 of its certificate in hexadecimal: who it is, across renamings.
    pub fingerprint: Option<String>,
    /// What it can do.
    pub extensions: BTreeSet<String>,
    /// Whether it is a member of a cluster.
    pub clustered: bool,
    /// What this client may do.
    pub access: Access,
    /// The process, so that a restart can be told.
    pub pid: u64,
    /// Its configuration; empty without full access.
    pub config: BTreeMap<String, String>,
    /// The whole description as JSON.
    pub json: String,
}

impl Server {
    /// Whether the daemon has an API extension.
    pub fn has(&self, extension: &str) -> bool {
        self.extensions.contains(extension)
    }

    /// Whether exports can be streamed without a copy on the daemon's disk.
    pub fn streams_exports(&self) -> bool {
        self.has("direct_backup")
    }

    /// Whether there are exports of buckets.
    pub fn exports_buckets(&self) -> bool {
        self.has("storage_bucket_backup")
    }

    /// Whether it listens for those who use buckets, as it does itself for an export; unknown without full access.
    pub fn serves_buckets(&self) -> Option<bool> {
        let address = self.config.get("core.storage_buckets_address");
        (self.access == Access::Full).then(|| address.is_some_and(|address| !address.is_empty()))
    }

    /// Whether there are exports of disc images.
    pub fn exports_discs(&self) -> bool {
        self.has("backup_iso")
    }
}

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    Full,
    /// Some projects only: a user socket or a restricted certificate.
    Restricted,
    /// Nothing but ask who the daemon is.
    Untrusted,
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// Its configuration with features, limits and restrictions.
    pub config: BTreeMap<String, String>,
    /// The whole description as JSON.
    pub json: String,
}

impl Project {
    /// Whether it has no objects of its own of that feature, and its listings are those of the default project.
    pub fn shares(&self, feature: &str) -> bool {
        self.name != DEFAULT_PROJECT && self.config.get(feature).is_none_or(|own| own != "true")
    }
}

/// A container or a virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InstanceKind {
    /// A container.
    Container,
    /// A virtual machine.
    VirtualMachine,
}

impl fmt::Display for InstanceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Container => "container",
            Self::VirtualMachine => "virtual machine",
        })
    }
}

/// What an instance is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It runs; includes `Ready`.
    Running,
    /// It is stopped, and so an export of it is consistent.
    Stopped,
    /// It is frozen.
    Frozen,
    /// Anything else, in the daemon's word: `Error`, `Starting`...
    Other(String),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "Running",
            Self::Stopped => "Stopped",
            Self::Frozen => "Frozen",
            Self::Other(word) => word,
        })
    }
}

/// A network interface of an instance, from its own devices and those of its profiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// The device's name.
    pub device: String,
    /// The network that it is attached to, or its parent interface.
    pub network: Option<String>,
    /// Its MAC address, fixed or chosen by the daemon.
    pub hwaddr: Option<String>,
}

/// The disk that an instance runs from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootDisk {
    /// The pool it lies in.
    pub pool: String,
    /// The pool's driver, where this client may know it.
    pub driver: Option<String>,
}

/// A custom volume attached to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedVolume {
    /// The device's name.
    pub device: String,
    /// The volume's pool.
    pub pool: String,
    /// The volume's name.
    pub volume: String,
}

/// What a listing tells of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The project it lives in.
    pub project: String,
    /// Its name, unique within the project.
    pub name: String,
    /// Container or virtual machine.
    pub kind: InstanceKind,
    /// What it is doing.
    pub status: Status,
    /// `volatile.uuid`: stays with it when it is renamed, and is copied by an import.
    pub uuid: Option<String>,
    /// `volatile.uuid.generation` (Incus): changes when a snapshot is restored.
    pub generation: Option<String>,
    /// When it was made, in the daemon's text.
    pub created_at: String,
    /// The cluster member that holds it.
    pub location: Option<String>,
    /// Its profiles, in order.
    pub profiles: Vec<String>,
    /// Its own configuration, without that of its profiles.
    pub config: BTreeMap<String, String>,
    /// Its keys `user.*` with those of its profiles.
    pub user_keys: BTreeMap<String, String>,
    /// The disk it runs from.
    pub root: Option<RootDisk>,
    /// Its network interfaces.
    pub nics: Vec<Nic>,
    /// The custom volumes attached to it.
    pub volumes: Vec<AttachedVolume>,
}

/// A daemon's snapshot of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name within the instance.
    pub name: String,
    /// When it was made, in the daemon's text.
    pub created_at: String,
    /// When the daemon will delete it, in the daemon's text.
    pub expires_at: Option<String>,
    /// Whether it holds the state of a running instance.
    pub stateful: bool,
}

/// One instance with everything that a point keeps of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// What a listing tells.
    pub summary: Summary,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// The daemon's description of the instance with its `snapshots`, as JSON with sorted keys.
    pub json: String,
}

/// A backup that the daemon keeps on its disk. Neither size nor state is known: one that is being written and one that
/// a crash left half-written look like a good one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupEntry {
    /// Its name within the instance.
    pub name: String,
    /// When it was made, in the daemon's text.
    pub created_at: String,
    /// When the daemon will delete it, in the daemon's text.
    pub expires_at: Option<String>,
}

/// A storage pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its driver: `dir`, `btrfs`, `zfs`...
    pub driver: String,
}

/// A profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Its devices.
    pub devices: Devices,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its type: `bridge`, `physical`, `ovn`...
    pub kind: String,
    /// Whether the daemon made it; else it is an interface of the host.
    pub managed: bool,
}

/// Devices by name, each with its keys.
pub type Devices = BTreeMap<String, BTreeMap<String, String>>;

// -- as the daemons write it

#[derive(Debug, Deserialize)]
struct WireServer {
    #[serde(default, deserialize_with = "or_default")]
    api_extensions: BTreeSet<String>,
    #[serde(default, deserialize_with = "or_default")]
    auth: String,
    #[serde(default, deserialize_with = "or_default")]
    config: BTreeMap<String, Value>,
    #[serde(default, deserialize_with = "or_default")]
    environment: WireEnvironment,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireEnvironment {
    server: String,
    server_version: String,
    server_name: String,
    server_clustered: bool,
    server_pid: u64,
    certificate_fingerprint: String,
}

#[derive(Debug, Deserialize)]
struct WireProject {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    config: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireInstance {
    name: String,
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    status: String,
    #[serde(default, deserialize_with = "or_default")]
    created_at: String,
    #[serde(default, deserialize_with = "or_default")]
    location: String,
    #[serde(default, deserialize_with = "or_default")]
    profiles: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    config: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    expanded_config: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    expanded_devices: Devices,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireSnapshot {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    created_at: String,
    #[serde(default, deserialize_with = "or_default")]
    expires_at: String,
    #[serde(default, deserialize_with = "or_default")]
    stateful: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireBackup {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    created_at: String,
    #[serde(default, deserialize_with = "or_default")]
    expires_at: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireMember {
    pub server_name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct WirePool {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    driver: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireProfile {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    devices: Devices,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireNetwork {
    name: String,
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    managed: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireResources {
    #[serde(default)]
    space: WireSpace,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireSpace {
    used: u64,
    total: u64,
}

/// Reads `null` as the default, as Go writes empty lists and maps.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// The configuration keys of instances in a daemon's catalogue, if it speaks of any.
pub(super) fn instance_keys(catalogue: &Value) -> Option<BTreeSet<String>> {
    let groups = catalogue.pointer("/configs/instance")?.as_object()?;
    let lists = groups.values().filter_map(|group| group.get("keys")?.as_array());
    let keys: BTreeSet<String> =
        lists.flatten().filter_map(Value::as_object).flat_map(|it| it.keys().cloned()).collect();
    (!keys.is_empty()).then_some(keys)
}

impl Server {
    /// Reads what a daemon says of itself; an error says what is wrong with it.
    pub(super) fn read(metadata: Value) -> Result<Self, String> {
        let json = metadata.to_string();
        let wire: WireServer = serde_json::from_value(metadata).map_err(strange)?;
        wire.into_server(json).map_err(|problem| tame(&problem))
    }
}

impl Project {
    /// Reads a daemon's description.
    pub(super) fn read(value: Value) -> Result<Self, String> {
        let json = value.to_string();
        let WireProject { name, config } = serde_json::from_value(value).map_err(strange)?;
        Ok(Self { name, config, json })
    }
}

impl Instance {
    /// Reads a daemon's descriptions of an instance of `project` and of its snapshots; `driver` knows the pools.
    pub(super) fn read(
        mut value: Value,
        snapshots: Vec<Value>,
        project: &str,
        driver: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let wire = WireInstance::deserialize(&value).map_err(strange)?;
        let wires: Vec<WireSnapshot> =
            snapshots.iter().map(WireSnapshot::deserialize).collect::<Result<_, _>>().map_err(strange)?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("snapshots".to_owned(), snapshots.into());
        }
        Ok(Self {
            summary: wire.into_summary(project, driver),
            snapshots: wires.into_iter().map(WireSnapshot::into_snapshot).collect(),
            json: value.to_string(),
        })
    }
}

/// What is wrong with a description, in words that may be shown.
#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn strange(error: serde_json::Error) -> String {
    tame(&error.to_string())
}

impl WireServer {
    /// The server; an error names what makes it none of the two products.
    fn into_server(self, json: String) -> Result<Server, String> {
        let environment = self.environment;
        let untrusted = self.auth != "trusted";
        // An untrusted client is told nothing else; which headers it would have to send is of no use to it.
        let flavor = match Flavor::from_server(&environment.server) {
            Some(flavor) => flavor,
            None if untrusted => return Err("it does not trust this client".to_owned()),
            None => return Err(format!("it calls itself {:?}", environment.server)),
        };
        Ok(Server {
            flavor,
            version: environment.server_version,
            name: environment.server_name,
            fingerprint: present(environment.certificate_fingerprint),
            extensions: self.api_extensions,
            clustered: environment.server_clustered,
            access: if untrusted { Access::Untrusted } else { Access::Full },
            pid: environment.server_pid,
            config: self.config.into_iter().map(|(key, value)| (key, text_of(value))).collect(),
            json,
        })
    }
}

impl WireInstance {
    /// What it tells of an instance of `project`; `driver` knows the pools.
    pub fn into_summary(mut self, project: &str, driver: impl Fn(&str) -> Option<String>) -> Summary {
        let own = |device: &BTreeMap<String, String>, key: &str| device.get(key).cloned().and_then(present);
        let of_type = |kind: &'static str| {
            self.expanded_devices.iter().filter(move |(_, device)| device.get("type").is_some_and(|it| it == kind))
        };
        let root = of_type("disk")
            .find(|(_, device)| own(device, "path").as_deref() == Some("/") && own(device, "source").is_none())
            .and_then(|(_, device)| own(device, "pool"))
            .map(|pool| RootDisk { driver: driver(&pool), pool });
        let volumes = of_type("disk")
            .filter_map(|(name, device)| {
                let (pool, volume) = (own(device, "pool")?, own(device, "source")?);
                Some(AttachedVolume { device: name.clone(), pool, volume })
            })
            .collect();
        let nics = of_type("nic")
            .map(|(name, device)| Nic {
                device: name.clone(),
                network: own(device, "network").or_else(|| own(device, "parent")),
                hwaddr: own(device, "hwaddr")
                    .or_else(|| self.config.get(&format!("volatile.{name}.hwaddr")).cloned())
                    .and_then(present),
            })
            .collect();
        let volatile = |key: &str| self.config.get(key).cloned().and_then(present);
        Summary {
            project: project.to_owned(),
            kind: if self.kind == "virtual-machine" { InstanceKind::VirtualMachine } else { InstanceKind::Container },
            status: status(&self.status),
            uuid: volatile("volatile.uuid"),
            generation: volatile("volatile.uuid.generation"),
            created_at: self.created_at,
            location: member(self.location),
            root,
            nics,
            volumes,
            profiles: self.profiles,
            user_keys: self.expanded_config.into_iter().filter(|(key, _)| key.starts_with("user.")).collect(),
            config: std::mem::take(&mut self.config),
            name: self.name,
        }
    }
}

impl WireSnapshot {
    pub fn into_snapshot(self) -> Snapshot {
        Snapshot {
            // Some versions write the instance's name before it.
            name: self.name.rsplit_once('/').map_or(self.name.as_str(), |(_, name)| name).to_owned(),
            created_at: self.created_at,
            expires_at: moment(self.expires_at),
            stateful: self.stateful,
        }
    }
}

impl WireResources {
    /// Free bytes of a pool, if the daemon tells.
    pub fn free_bytes(&self) -> Option<u64> {
        (self.space.total > 0).then(|| self.space.total.saturating_sub(self.space.used))
    }
}

impl From<WireBackup> for BackupEntry {
    fn from(wire: WireBackup) -> Self {
        Self {
            name: wire.name.rsplit_once('/').map_or(wire.name.as_str(), |(_, name)| name).to_owned(),
            created_at: wire.created_at,
            expires_at: moment(wire.expires_at),
        }
    }
}

impl From<WirePool> for Pool {
    fn from(wire: WirePool) -> Self {
        Self { name: wire.name, driver: wire.driver }
    }
}

impl From<WireProfile> for Profile {
    fn from(wire: WireProfile) -> Self {
        Self { name: wire.name, devices: wire.devices }
    }
}

impl From<WireNetwork> for Network {
    fn from(wire: WireNetwork) -> Self {
        Self { name: wire.name, kind: wire.kind, managed: wire.managed }
    }
}

/// Whether the value of a setting says yes, in any of the words that daemons take for it.
pub fn is_yes(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on")
}

fn status(word: &str) -> Status {
    match word {
        "Running" | "Ready" => Status::Running,
        "Stopped" => Status::Stopped,
        "Frozen" => Status::Frozen,
        other => Status::Other(other.to_owned()),
    }
}

/// The cluster member that something lies on; none where there is no cluster, or its pool is everywhere.
pub(super) fn member(location: String) -> Option<String> {
    present(location).filter(|member| member != "none")
}

fn present(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

pub(super) fn moment(text: String) -> Option<String> {
    present(text).filter(|text| text != NEVER)
}

fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_read_from_devices_and_volatile_keys() {
        let wire: WireInstance = serde_json::from_value(serde_json::json!({
            "name": "web1", "type": "virtual-machine", "status": "Ready", "created_at": "2026-11-20T08:53:37.8Z",
            "location": "none", "profiles": ["default"], "ephemeral": false,
            "config": {"volatile.uuid": "u", "volatile.eth0.hwaddr": "00:16:3e:00:00:01"},
            "devices": null,
            "expanded_devices": {
                "root": {"type": "disk", "path": "/", "pool": "fast"},
                "data": {"type": "disk", "path": "/data", "pool": "slow", "source": "vol"},
                "host": {"type": "disk", "path": "/mnt", "source": "/srv"},
                "eth0": {"type": "nic", "network": "br0"},
                "eth1": {"type": "nic", "parent": "eno1", "hwaddr": "00:16:3e:00:00:02"},
            },
        }))
        .unwrap();
        let summary = wire.into_summary("lab", |pool| (pool == "fast").then(|| "zfs".to_owned()));
        assert_eq!(summary.kind, InstanceKind::VirtualMachine);
        assert_eq!(summary.status, Status::Running);
        assert_eq!((summary.uuid.as_deref(), summary.generation, summary.location), (Some("u"), None, None));
        assert_eq!(summary.root, Some(RootDisk { pool: "fast".to_owned(), driver: Some("zfs".to_owned()) }));
        assert_eq!(summary.volumes.len(), 1);
        assert_eq!(summary.volumes[0].volume, "vol");
        let macs: Vec<_> = summary.nics.iter().filter_map(|nic| nic.hwaddr.clone()).collect();
        assert_eq!(macs, ["00:16:3e:00:00:01", "00:16:3e:00:00:02"]);
        assert_eq!(summary.nics[1].network.as_deref(), Some("eno1"));
    }

    #[test]
    fn a_catalogue_names_the_keys_of_instances() {
        let catalogue = serde_json::json!({"configs": {
            "instance": {"boot": {"keys": [{"boot.autostart": {}}, {"user.*": {}}]}, "volatile": {"keys": null}},
            "project": {"limits": {"keys": [{"limits.cpu": {}}]}},
        }});
        let keys = instance_keys(&catalogue).unwrap();
        assert_eq!(keys, ["boot.autostart", "user.*"].map(str::to_owned).into());
        assert_eq!(instance_keys(&serde_json::json!({"configs": {"instance": {}}})), None);
        assert_eq!(instance_keys(&Value::Null), None);
    }

    #[test]
    fn snapshots_lose_prefix_and_zero_time() {
        let wire: WireSnapshot =
            serde_json::from_str(r#"{"name":"web1/s0","expires_at":"0001-01-01T00:00:00Z","created_at":"x"}"#).unwrap();
        let snapshot = wire.into_snapshot();
        assert_eq!((snapshot.name.as_str(), snapshot.expires_at), ("s0", None));
    }
}
