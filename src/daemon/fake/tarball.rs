//! Builds small exports that are laid out as the daemons lay theirs out (`reference/daemon-api.md` 4.1, 4.2, 4.4).
//!
//! Plain USTAR, the index first, snapshots before the main volume, directories without a trailing slash, two zero
//! blocks and nothing behind them. The same description gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde_json::{Map, Value, json};
use tar::{Builder, EntryType, Header};

use crate::daemon::InstanceKind;

/// What all fake objects were made at.
pub(super) const CREATED_AT: &str = "2026-11-20T08:53:37.822990974Z";
/// "Never", as daemons write it.
pub(super) const NEVER: &str = "0001-01-01T00:00:00Z";
const MTIME_SECONDS: u64 = 1_795_164_830;

/// Describes an instance and builds its export. Starts as a stopped container of project `default` on a `dir` pool.
#[derive(Debug, Clone)]
pub struct FakeInstance {
    /// The instance as the daemon's JSON has it.
    pub(super) object: Map<String, Value>,
    /// Its snapshots as the daemon's JSON has them.
    pub(super) snapshots: Vec<Value>,
    files: BTreeMap<String, Vec<u8>>,
    image: Option<Vec<u8>>,
    /// What is read of the image while it changes.
    torn_image: Option<Vec<u8>>,
}

impl FakeInstance {
    /// A container with a root directory and nothing in it.
    pub fn container(name: &str) -> Self {
        let devices = json!({"root": {"path": "/", "pool": "default", "type": "disk"}});
        let object = json!({
            "architecture": "x86_64", "config": {"volatile.uuid": uuid_of(name)}, "created_at": CREATED_AT,
            "description": "", "devices": {}, "ephemeral": false, "expanded_config": {}, "expanded_devices": devices,
            "last_used_at": "1970-01-01T00:00:00Z", "location": "none", "name": name, "profiles": ["default"],
            "project": "default", "stateful": false, "status": "Stopped", "status_code": 102, "type": "container",
        });
        let object = object.as_object().cloned().unwrap_or_default();
        Self { object, snapshots: Vec::new(), files: BTreeMap::new(), image: None, torn_image: None }
    }

    /// A virtual machine with that disk.
    pub fn virtual_machine(name: &str, disk: &[u8]) -> Self {
        let mut machine = Self::container(name).with("type", "virtual-machine");
        machine.image = Some(disk.to_vec());
        machine
    }

    /// With a disk of which an export reads that, for it changes meanwhile; its snapshots hold the disk itself.
    pub fn torn(mut self, disk: &[u8]) -> Self {
        self.torn_image = Some(disk.to_vec());
        self
    }

    /// In another project.
    pub fn project(self, project: &str) -> Self {
        self.with("project", project)
    }

    /// Running, frozen or whatever the daemon may say.
    pub fn status(self, status: &str) -> Self {
        self.with("status", status)
    }

    /// With a configuration key of its own.
    pub fn config(mut self, key: &str, value: &str) -> Self {
        for field in ["config", "expanded_config"] {
            if let Some(config) = self.object.get_mut(field).and_then(Value::as_object_mut) {
                config.insert(key.to_owned(), value.into());
            }
        }
        self
    }

    /// With a configuration key that comes from a profile.
    pub fn expanded_config(mut self, key: &str, value: &str) -> Self {
        if let Some(config) = self.object.get_mut("expanded_config").and_then(Value::as_object_mut) {
            config.insert(key.to_owned(), value.into());
        }
        self
    }

    /// With a network interface, whose MAC address the daemon chose.
    pub fn nic(self, device: &str, network: &str, hwaddr: &str) -> Self {
        self.device(device, &json!({"type": "nic", "network": network, "name": device}))
            .config(&format!("volatile.{device}.hwaddr"), hwaddr)
    }

    /// With a device of its own.
    pub fn device(mut self, name: &str, device: &Value) -> Self {
        for key in ["devices", "expanded_devices"] {
            if let Some(devices) = self.object.get_mut(key).and_then(Value::as_object_mut) {
                devices.insert(name.to_owned(), device.clone());
            }
        }
        self
    }

    /// With a further snapshot, which holds the same files.
    pub fn snapshot(mut self, name: &str, expires_at: Option<&str>) -> Self {
        let field = |key: &str| self.object.get(key).cloned().unwrap_or_default();
        self.snapshots.push(json!({
            "architecture": "x86_64", "config": field("config"), "created_at": CREATED_AT, "devices": field("devices"),
            "ephemeral": false, "expanded_config": {}, "expanded_devices": field("expanded_devices"),
            "expires_at": expires_at.unwrap_or(NEVER), "last_used_at": NEVER, "name": name,
            "profiles": field("profiles"), "size": -1, "stateful": false,
        }));
        self
    }

    /// Without one of its snapshots.
    pub(super) fn without_snapshot(mut self, name: &str) -> Self {
        self.snapshots.retain(|snapshot| snapshot.get("name").and_then(Value::as_str) != Some(name));
        self
    }

    /// With a file under `rootfs`, or of a virtual machine's configuration; its directories must have no other content.
    pub fn file(mut self, path: &str, content: &[u8]) -> Self {
        self.files.insert(path.to_owned(), content.to_vec());
        self
    }

    /// The bytes that an export without compression has.
    ///
    /// # Panics
    /// If a path does not fit a USTAR header; a test's mistake.
    pub fn export(&self) -> Vec<u8> {
        self.build(&self.snapshots).unwrap_or_else(|error| panic!("The fake export cannot be built: {error}"))
    }

    /// The same without snapshots.
    ///
    /// # Panics
    /// As [`Self::export`].
    pub fn export_instance_only(&self) -> Vec<u8> {
        self.build(&[]).unwrap_or_else(|error| panic!("The fake export cannot be built: {error}"))
    }

    fn with(mut self, key: &str, value: &str) -> Self {
        self.object.insert(key.to_owned(), value.into());
        self
    }

    pub(super) fn text(&self, key: &str) -> &str {
        self.object.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    fn kind(&self) -> InstanceKind {
        match self.text("type") {
            "virtual-machine" => InstanceKind::VirtualMachine,
            _ => InstanceKind::Container,
        }
    }

    fn build(&self, snapshots: &[Value]) -> io::Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        let config = self.config_value(snapshots);
        let names: Vec<_> = snapshots.iter().filter_map(|snapshot| snapshot.get("name")).cloned().collect();
        let mut index = json!({
            "name": self.text("name"), "backend": "dir", "pool": "default", "optimized": false,
            "optimized_header": false, "type": self.text("type"), "config": config,
        });
        if let (false, Some(fields)) = (names.is_empty(), index.as_object_mut()) {
            fields.insert("snapshots".to_owned(), names.clone().into());
        }
        append(&mut tar, "backup/index.yaml", EntryType::Regular, 0o644, &yaml(&index)?)?;
        let (below, main) = match self.kind() {
            InstanceKind::Container => ("snapshots", "container"),
            InstanceKind::VirtualMachine => ("virtual-machine-snapshots", "virtual-machine"),
        };
        for name in names.iter().filter_map(Value::as_str) {
            self.volume(&mut tar, &format!("backup/{below}/{name}"), &config)?;
        }
        self.volume(&mut tar, &format!("backup/{main}"), &config)?;
        tar.into_inner()
    }

    /// What the index and `backup.yaml` both say.
    fn config_value(&self, snapshots: &[Value]) -> Value {
        let never =
            |name: &Value| json!({"name": name, "config": {}, "content_type": "filesystem", "expires_at": NEVER});
        let mut config = json!({
            "container": self.object,
            "pool": {"config": {"source": "/pools/default"}, "description": "", "driver": "dir", "name": "default"},
            "profiles": [{"config": {}, "description": "", "devices": {}, "name": "default"}],
            "volume": {"config": {}, "content_type": "filesystem", "name": self.text("name"),
                       "type": self.text("type")},
        });
        if let (false, Some(fields)) = (snapshots.is_empty(), config.as_object_mut()) {
            let volumes: Vec<_> = snapshots.iter().filter_map(|it| it.get("name")).map(never).collect();
            fields.insert("snapshots".to_owned(), snapshots.to_vec().into());
            fields.insert("volume_snapshots".to_owned(), volumes.into());
        }
        config
    }

    fn volume(&self, tar: &mut Builder<Vec<u8>>, root: &str, config: &Value) -> io::Result<()> {
        append(tar, root, EntryType::Directory, 0o100, &[])?;
        append(tar, &format!("{root}/backup.yaml"), EntryType::Regular, 0o400, &yaml(config)?)?;
        if self.kind() == InstanceKind::Container {
            append(tar, &format!("{root}/metadata.yaml"), EntryType::Regular, 0o644, b"architecture: x86_64\n")?;
            append(tar, &format!("{root}/rootfs"), EntryType::Directory, 0o755, &[])?;
        }
        let below = if self.image.is_none() { format!("{root}/rootfs") } else { root.to_owned() };
        let mut made = BTreeSet::new();
        for (path, content) in &self.files {
            for (end, _) in path.match_indices('/') {
                let directory = path.get(..end).unwrap_or_default();
                if made.insert(directory) {
                    append(tar, &format!("{below}/{directory}"), EntryType::Directory, 0o755, &[])?;
                }
            }
            append(tar, &format!("{below}/{path}"), EntryType::Regular, 0o644, content)?;
        }
        let is_torn = !root.contains("-snapshots/");
        let torn = self.torn_image.as_ref().filter(|_| is_torn);
        if let Some(image) = torn.or(self.image.as_ref()) {
            append(tar, &format!("{root}.img"), EntryType::Regular, 0o600, image)?;
        }
        Ok(())
    }
}

/// Whether an instance must not be deleted.
pub(super) fn is_protected(object: &Value) -> bool {
    let value = |config: &str| object.get(config).and_then(|config| config.get("security.protection.delete"));
    value("config").or_else(|| value("expanded_config")).is_some_and(|value| value == "true")
}

/// The first key in the configuration of any of them that is among these.
pub(super) fn key_of<'o>(mut objects: impl Iterator<Item = &'o Value>, among: &BTreeSet<String>) -> Option<&'o str> {
    objects
        .find_map(|object| object.get("config")?.as_object()?.keys().find(|key| among.contains(*key)))
        .map(String::as_str)
}

/// A uuid that depends on the name alone.
pub(super) fn uuid_of(name: &str) -> String {
    let mut text = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(name.as_bytes()));
    for position in [20, 16, 12, 8] {
        text.insert(position, '-');
    }
    text
}

fn yaml(value: &Value) -> io::Result<Vec<u8>> {
    serde_norway::to_string(value).map(String::into_bytes).map_err(io::Error::other)
}

fn append(tar: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_path(path)?;
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MTIME_SECONDS);
    header.set_size(content.len() as u64);
    header.set_username("root")?;
    header.set_groupname("root")?;
    header.set_cksum();
    tar.append(&header, content)
}
