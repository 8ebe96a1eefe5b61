//! What an export says of itself: its index, read, and made anew for another place.
//!
//! Pure: from an index and a plan comes another index, and the `backup.yaml` that says the same
//! (`reference/daemon-api.md` 4.4, 4.5, 5.5). All is edited as YAML, so that fields which this program does not know
//! survive. An index of version 2 becomes one of version 1, which every daemon reads. Pool names of the root disk stay:
//! where it goes is said in the request.

use std::collections::{BTreeMap, BTreeSet};

use serde_norway::{Mapping, Value};

use crate::rewrite::keys::{KeyRules, Rule};

/// How daemons write "never".
const NEVER: &str = "0001-01-01";

/// What of an instance's own record one of its snapshots says, too.
const OF_SNAPSHOTS: &[&str] =
    &["architecture", "config", "devices", "ephemeral", "expanded_config", "expanded_devices", "profiles"];

/// What of an export is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Selection {
    /// All of it.
    #[default]
    Whole,
    /// The main volume, without the daemon's snapshots.
    NoSnapshots,
    /// One of the daemon's snapshots, as if it were the main volume.
    Snapshot(String),
    /// All of it, but what one of the snapshots holds stands in the place of what the main volume holds.
    Promoted(String),
}

/// Which kind of export it is: where its trees are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Container,
    VirtualMachine,
    /// A custom volume, of files or a block device.
    Volume,
    /// A bucket, which has no snapshots and may have no object.
    Bucket,
}

impl Kind {
    pub(crate) fn main(self) -> &'static str {
        match self {
            Self::Container => "backup/container",
            Self::VirtualMachine => "backup/virtual-machine",
            Self::Volume => "backup/volume",
            Self::Bucket => "backup/bucket",
        }
    }

    pub(crate) fn snapshots(self) -> &'static str {
        match self {
            Self::Container => "backup/snapshots/",
            Self::VirtualMachine => "backup/virtual-machine-snapshots/",
            Self::Volume => "backup/volume-snapshots/",
            Self::Bucket => "backup/bucket-snapshots/",
        }
    }
}

/// What is called otherwise on the target: old names and new ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maps {
    /// Networks, and parent interfaces of the host.
    pub networks: BTreeMap<String, String>,
    /// Profiles.
    pub profiles: BTreeMap<String, String>,
    /// Storage pools.
    pub pools: BTreeMap<String, String>,
}

/// An identity of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub uuid: String,
    /// By which cloud-init tells that this is another machine.
    pub cloud_init: String,
}

/// What to make of a description.
#[derive(Debug, Clone)]
pub(crate) struct Edit<'e> {
    pub maps: &'e Maps,
    /// Devices to leave out.
    pub without: &'e BTreeSet<String>,
    /// Devices that the target's profiles would bring.
    pub of_profiles: &'e BTreeSet<String>,
    pub keys: &'e KeyRules,
    pub identity: Option<&'e Identity>,
    /// Configuration keys that the main object gets.
    pub set: &'e BTreeMap<String, String>,
    /// Those that nothing keeps: they speak of what was under way when it was backed up.
    pub unset: &'static [&'static str],
}

/// Why an index cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// There is none.
    #[error("The export holds no backup/index.yaml that could be read")]
    Absent,
    /// It cannot be understood.
    #[error("The export's backup/index.yaml cannot be understood: {reason}")]
    Unreadable {
        /// Why.
        reason: String,
    },
    /// It has no such snapshot.
    #[error("There is no snapshot {name} in it; {}", present(snapshots))]
    NoSnapshot {
        /// What was asked for.
        name: String,
        /// What there is.
        snapshots: Vec<String>,
    },
}

fn present(snapshots: &[String]) -> String {
    if snapshots.is_empty() { "it holds none".to_owned() } else { format!("it holds {}", snapshots.join(", ")) }
}

/// What an instance wants of its server, by its own devices and those of its snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub profiles: BTreeSet<String>,
    pub networks: BTreeSet<String>,
    /// Interfaces of the host, with the device that wants each.
    pub parents: BTreeMap<String, String>,
    /// Custom volumes, by pool and name, with the device that each is.
    pub volumes: BTreeMap<(String, String), String>,
}

/// An index of version 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Index {
    fields: Mapping,
    was_version_2: bool,
}

impl Index {
    pub(crate) fn parse(yaml: &[u8]) -> Result<Self, DescriptionError> {
        let fields: Mapping = serde_norway::from_slice(yaml).map_err(|error| {
            let reason = error.to_string();
            DescriptionError::Unreadable { reason: reason.lines().next().unwrap_or_default().to_owned() }
        })?;
        let mut index = Self { fields, was_version_2: false };
        if index.config().is_none() {
            return Err(DescriptionError::Unreadable { reason: "it has no config".to_owned() });
        }
        index.become_version_1();
        index.forget_absent_snapshots();
        Ok(index)
    }

    pub(crate) fn was_version_2(&self) -> bool {
        self.was_version_2
    }

    /// `None` for what nobody knows yet.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match text(&self.fields, "type") {
            None | Some("" | "container") => Some(Kind::Container),
            Some("virtual-machine") => Some(Kind::VirtualMachine),
            Some("custom") => Some(Kind::Volume),
            Some("bucket") => Some(Kind::Bucket),
            Some(_) => None,
        }
    }

    /// Names of the daemon's snapshots in the export, oldest first.
    pub(crate) fn snapshots(&self) -> Vec<String> {
        let names = self.fields.get("snapshots").and_then(Value::as_sequence).into_iter().flatten();
        names.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Whether disks of other volumes are part of the export, as Incus makes them.
    pub(crate) fn has_dependents(&self) -> bool {
        let volumes = self.config().and_then(|config| config.get("dependent_volumes"));
        volumes.and_then(Value::as_sequence).is_some_and(|volumes| !volumes.is_empty())
    }

    /// The pool of the root disk, by the instance's own words or the index's.
    pub(crate) fn root_pool(&self) -> Option<&str> {
        let devices = self.main().and_then(|main| main.get("expanded_devices")).and_then(Value::as_mapping);
        let root = devices.and_then(|devices| devices.values().filter_map(Value::as_mapping).find(|one| is_root(one)));
        root.and_then(|root| text(root, "pool")).or_else(|| text(&self.fields, "pool"))
    }

    /// What would make another instance this one's twin: its uuid and its addresses.
    pub(crate) fn identity(&self) -> (Option<&str>, BTreeSet<&str>) {
        let config = self.main().and_then(|main| main.get("config")).and_then(Value::as_mapping);
        let uuid = config.and_then(|config| text(config, "volatile.uuid"));
        let of_config = config.into_iter().flatten().filter_map(|(key, value)| {
            key.as_str().filter(|key| is_address(key)).and(value.as_str()).filter(|value| !value.is_empty())
        });
        let devices = self.main().and_then(|main| main.get("devices")).and_then(Value::as_mapping);
        let of_devices = devices.into_iter().flat_map(|devices| devices.values());
        let of_devices = of_devices.filter_map(|device| text(device.as_mapping()?, "hwaddr"));
        (uuid, of_config.chain(of_devices).collect())
    }

    /// A value of the main object's own configuration.
    pub(crate) fn config_of_main(&self, key: &str) -> Option<&str> {
        text(self.main()?.get("config")?.as_mapping()?, key)
    }

    /// The keys of the main object's own configuration.
    pub(crate) fn keys_of_main(&self) -> impl Iterator<Item = &str> {
        let config = self.main().and_then(|main| main.get("config")).and_then(Value::as_mapping);
        config.into_iter().flat_map(Mapping::keys).filter_map(Value::as_str)
    }

    /// Snapshots that expire, and when.
    pub(crate) fn expiries(&self) -> Vec<(String, String)> {
        let snapshots = self.described_snapshots().filter_map(|snapshot| {
            let expires = text(snapshot, "expires_at").filter(|at| !at.is_empty() && !at.starts_with(NEVER))?;
            Some((text(snapshot, "name")?.to_owned(), expires.to_owned()))
        });
        snapshots.collect()
    }

    /// A key of the configuration of the main object and its snapshots.
    pub(crate) fn values_of<'i>(&'i self, key: &'i str) -> impl Iterator<Item = &'i str> {
        self.objects().filter_map(move |object| text(object.get("config")?.as_mapping()?, key))
    }

    pub(crate) fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        for object in self.objects() {
            let profiles = object.get("profiles").and_then(Value::as_sequence).into_iter().flatten();
            needs.profiles.extend(profiles.filter_map(Value::as_str).map(str::to_owned));
            let devices = object.get("devices").and_then(Value::as_mapping).into_iter().flatten();
            for (name, device) in devices.filter_map(|(name, device)| Some((name.as_str()?, device.as_mapping()?))) {
                match text(device, "type") {
                    Some("nic") => {
                        needs.networks.extend(text(device, "network").map(str::to_owned));
                        let parent = text(device, "parent").filter(|_| text(device, "network").is_none());
                        needs.parents.extend(parent.map(|parent| (parent.to_owned(), name.to_owned())));
                    }
                    Some("disk") => {
                        if let (Some(pool), Some(source)) = (text(device, "pool"), text(device, "source")) {
                            needs.volumes.insert((pool.to_owned(), source.to_owned()), name.to_owned());
                        }
                    }
                    _ => {}
                }
            }
        }
        needs
    }

    /// Devices that the instance had from its profiles, by name.
    pub(crate) fn inherited_devices(&self) -> BTreeSet<&str> {
        let names = |key: &str| -> BTreeSet<&str> {
            let devices = self.main().and_then(|main| main.get(key)).and_then(Value::as_mapping);
            devices.into_iter().flat_map(Mapping::keys).filter_map(Value::as_str).collect()
        };
        let own = names("devices");
        names("expanded_devices").into_iter().filter(|name| !own.contains(name)).collect()
    }

    /// Whether the device of this name is the disk that the instance runs from.
    pub(crate) fn is_root(&self, name: &str) -> bool {
        let devices = self.main().and_then(|main| main.get("expanded_devices")).and_then(Value::as_mapping);
        devices.and_then(|devices| devices.get(name)).and_then(Value::as_mapping).is_some_and(is_root)
    }

    /// Whether the instance or a snapshot has a device of its own that is called so.
    pub(crate) fn has_device(&self, name: &str) -> bool {
        self.objects().any(|object| {
            object.get("devices").and_then(Value::as_mapping).is_some_and(|devices| devices.contains_key(name))
        })
    }

    /// The index of what is wanted of the export.
    pub(crate) fn select(&self, selection: &Selection) -> Result<Self, DescriptionError> {
        let mut selected = self.clone();
        let absent = |name: &String| DescriptionError::NoSnapshot { name: name.clone(), snapshots: self.snapshots() };
        match selection {
            Selection::Whole => return Ok(selected),
            Selection::NoSnapshots => {}
            Selection::Snapshot(name) => {
                if !self.snapshots().contains(name) || selected.promote(name).is_none() {
                    return Err(absent(name));
                }
            }
            Selection::Promoted(name) => {
                let mut left = self.snapshots();
                left.retain(|snapshot| snapshot != name);
                if left.len() == self.snapshots().len() {
                    return Err(absent(name));
                }
                // What the main object says of itself goes on being true.
                if left.is_empty() {
                    selected.fields.shift_remove("snapshots");
                } else {
                    selected.fields.insert("snapshots".into(), left.into_iter().map(Value::from).collect());
                }
                selected.forget_absent_snapshots();
                return Ok(selected);
            }
        }
        selected.fields.shift_remove("snapshots");
        if let Some(config) = selected.config_mut() {
            config.shift_remove("snapshots");
            config.shift_remove("volume_snapshots");
        }
        Ok(selected)
    }

    /// Makes the changes; returns what has to be told about them.
    pub(crate) fn edit(&mut self, edit: &Edit<'_>) -> Vec<String> {
        let (mut dropped, mut renamed) = (BTreeSet::new(), BTreeSet::new());
        let Some(config) = self.config_mut() else { return Vec::new() };
        if let Some(main) = config.get_mut("container").and_then(Value::as_mapping_mut) {
            edit_object(main, edit, &mut dropped, &mut renamed);
            let own = main.entry("config".into()).or_insert_with(|| Mapping::new().into());
            if let Some(own) = own.as_mapping_mut() {
                own.extend(edit.set.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())));
            }
        }
        for snapshot in config.get_mut("snapshots").and_then(Value::as_sequence_mut).into_iter().flatten() {
            if let Some(snapshot) = snapshot.as_mapping_mut() {
                edit_object(snapshot, edit, &mut dropped, &mut renamed);
            }
        }
        let mut remarks = Vec::new();
        if !dropped.is_empty() {
            let keys: Vec<String> = dropped.into_iter().collect();
            remarks.push(format!("left out what this server does not know: {}", keys.join(", ")));
        }
        remarks.extend(renamed.into_iter().map(|(from, to)| format!("wrote {from} as {to}")));
        remarks
    }

    /// Gives keys of a bucket other credentials: for an access key the new one with its secret, or none to keep it.
    /// Returns the names of those that changed.
    pub(crate) fn replace_bucket_keys<E>(
        &mut self,
        mut replace: impl FnMut(&str) -> Result<Option<(String, String)>, E>,
    ) -> Result<Vec<String>, E> {
        let keys = self.config_mut().and_then(|config| config.get_mut("bucket_keys")).and_then(Value::as_sequence_mut);
        let mut names = Vec::new();
        for key in keys.into_iter().flatten().filter_map(Value::as_mapping_mut) {
            let Some((access, secret)) = text(key, "access-key").map(&mut replace).transpose()?.flatten() else {
                continue;
            };
            key.insert("access-key".into(), access.into());
            key.insert("secret-key".into(), secret.into());
            names.push(text(key, "name").unwrap_or_default().to_owned());
        }
        Ok(names)
    }

    /// The text of the index.
    pub(crate) fn to_yaml(&self) -> Result<String, DescriptionError> {
        yaml(&self.fields)
    }

    /// The text of the `backup.yaml` that says the same.
    pub(crate) fn description(&self) -> Result<String, DescriptionError> {
        self.config().map_or(Err(DescriptionError::Absent), yaml)
    }

    fn config(&self) -> Option<&Mapping> {
        self.fields.get("config").and_then(Value::as_mapping)
    }

    fn config_mut(&mut self) -> Option<&mut Mapping> {
        self.fields.get_mut("config").and_then(Value::as_mapping_mut)
    }

    fn main(&self) -> Option<&Mapping> {
        self.config()?.get("container").and_then(Value::as_mapping)
    }

    /// The main object and its snapshots.
    fn objects(&self) -> impl Iterator<Item = &Mapping> {
        self.main().into_iter().chain(self.described_snapshots())
    }

    fn described_snapshots(&self) -> impl Iterator<Item = &Mapping> {
        let snapshots = self.config().and_then(|config| config.get("snapshots")).and_then(Value::as_sequence);
        snapshots.into_iter().flatten().filter_map(Value::as_mapping)
    }

    /// Gives a snapshot's own words to the main object. `None` if there is no such snapshot.
    fn promote(&mut self, name: &str) -> Option<()> {
        let is_volume = self.kind() == Some(Kind::Volume);
        let config = self.config_mut()?;
        let list = if is_volume { "volume_snapshots" } else { "snapshots" };
        let snapshots = config.get(list)?.as_sequence()?.iter().filter_map(Value::as_mapping);
        let snapshot =
            snapshots.into_iter().find(|one| text(one, "name").is_some_and(|own| short(own) == name))?.clone();
        if is_volume {
            let volume = config.get_mut("volume")?.as_mapping_mut()?;
            for key in ["config", "description"] {
                let value = snapshot.get(key).filter(|value| !is_empty(value));
                value.map(|value| volume.insert(key.into(), value.clone()));
            }
            return Some(());
        }
        let main = config.get_mut("container")?.as_mapping_mut()?;
        for key in OF_SNAPSHOTS {
            snapshot.get(key).map(|value| main.insert((*key).into(), value.clone()));
        }
        // What an instance had in memory is part of no export.
        main.insert("stateful".into(), false.into());
        Some(())
    }

    /// Snapshots that the daemon describes but did not export.
    fn forget_absent_snapshots(&mut self) {
        let present = self.snapshots();
        let Some(config) = self.config_mut() else { return };
        for list in ["snapshots", "volume_snapshots"] {
            let Some(described) = config.get_mut(list).and_then(Value::as_sequence_mut) else { continue };
            described.retain(|one| {
                let name = one.as_mapping().and_then(|one| text(one, "name"));
                name.is_some_and(|name| present.iter().any(|known| known == short(name)))
            });
            if described.is_empty() {
                config.shift_remove(list);
            }
        }
    }

    /// `reference/daemon-api.md` 4.5.
    fn become_version_1(&mut self) {
        let is_volume = self.kind() == Some(Kind::Volume);
        let (name, pool) = (text(&self.fields, "name").map(str::to_owned), self.root_pool_of_version_2());
        let Some(config) = self.config_mut() else { return };
        let is_version_2 = config.get("version").and_then(Value::as_u64) == Some(2) || config.contains_key("instance");
        if !is_version_2 {
            return;
        }
        config.shift_remove("version");
        if let Some(instance) = config.shift_remove("instance") {
            config.insert("container".into(), instance);
        }
        let named = |list: Option<Value>, is_it: &dyn Fn(&Mapping) -> bool| -> Option<Value> {
            let Some(Value::Sequence(list)) = list else { return None };
            list.into_iter().find(|one| one.as_mapping().is_some_and(is_it))
        };
        let pools = config.shift_remove("pools");
        let is_pool = |one: &Mapping| pool.is_none() || text(one, "name") == pool.as_deref();
        named(pools, &is_pool).map(|pool| config.insert("pool".into(), pool));
        let volumes = config.shift_remove("volumes");
        let is_own =
            |one: &Mapping| text(one, "name") == name.as_deref() && (text(one, "type") == Some("custom")) == is_volume;
        if let Some(mut volume) = named(volumes, &is_own) {
            let snapshots = volume.as_mapping_mut().and_then(|volume| volume.shift_remove("snapshots"));
            config.insert("volume".into(), volume);
            snapshots.filter(|list| !is_empty(list)).map(|list| config.insert("volume_snapshots".into(), list));
        }
        self.was_version_2 = true;
    }

    fn root_pool_of_version_2(&self) -> Option<String> {
        let instance = self.config().and_then(|config| config.get("instance")).and_then(Value::as_mapping);
        let devices = instance.and_then(|one| one.get("expanded_devices")).and_then(Value::as_mapping);
        let root = devices.and_then(|devices| devices.values().filter_map(Value::as_mapping).find(|one| is_root(one)));
        root.and_then(|root| text(root, "pool")).or_else(|| text(&self.fields, "pool")).map(str::to_owned)
    }
}

/// Edits an instance or a snapshot.
fn edit_object(
    object: &mut Mapping,
    edit: &Edit<'_>,
    dropped: &mut BTreeSet<String>,
    renamed: &mut BTreeSet<(String, &'static str)>,
) {
    if let Some(config) = object.get_mut("config").and_then(Value::as_mapping_mut) {
        edit_config(config, edit, dropped, renamed);
    }
    if let Some(config) = object.get_mut("expanded_config").and_then(Value::as_mapping_mut) {
        // What of it is not the object's own is said by the target's profiles, so there is nothing to tell.
        edit_config(config, edit, &mut BTreeSet::new(), &mut BTreeSet::new());
    }
    for key in ["devices", "expanded_devices"] {
        if let Some(devices) = object.get_mut(key).and_then(Value::as_mapping_mut) {
            for device in devices.values_mut().filter_map(Value::as_mapping_mut) {
                edit_device(device, edit);
            }
            for name in edit.without {
                devices.shift_remove(name.as_str());
                if key == "devices" && edit.of_profiles.contains(name) {
                    // What keeps a device of a profile away from the instance.
                    devices.insert(name.as_str().into(), Mapping::from_iter([("type".into(), "none".into())]).into());
                }
            }
        }
    }
    for profile in object.get_mut("profiles").and_then(Value::as_sequence_mut).into_iter().flatten() {
        if let Some(new) = profile.as_str().and_then(|name| edit.maps.profiles.get(name)) {
            *profile = new.as_str().into();
        }
    }
}

fn edit_config(
    config: &mut Mapping,
    edit: &Edit<'_>,
    dropped: &mut BTreeSet<String>,
    renamed: &mut BTreeSet<(String, &'static str)>,
) {
    let keys: Vec<String> = config.keys().filter_map(Value::as_str).map(str::to_owned).collect();
    for key in keys {
        match edit.keys.rule(&key) {
            Rule::Keep => {}
            Rule::Rename(to) => {
                if let Some(value) = config.shift_remove(key.as_str()) {
                    config.insert(to.into(), value);
                    renamed.insert((key, to));
                }
            }
            Rule::Drop => {
                config.shift_remove(key.as_str());
                dropped.insert(key);
            }
        }
    }
    for key in edit.unset {
        config.shift_remove(*key);
    }
    let Some(identity) = edit.identity else { return };
    // What runs was the other one: a daemon that starts must not start this one for it.
    config.retain(|key, _| !key.as_str().is_some_and(|key| is_address(key) || key == "volatile.last_state.power"));
    let fresh = [
        ("volatile.uuid", &identity.uuid),
        ("volatile.uuid.generation", &identity.uuid),
        ("volatile.cloud-init.instance-id", &identity.cloud_init),
    ];
    for (key, value) in fresh {
        if let Some(old) = config.get_mut(key) {
            *old = value.as_str().into();
        }
    }
}

fn edit_device(device: &mut Mapping, edit: &Edit<'_>) {
    let kind = text(device, "type").map(str::to_owned);
    let (keys, map): (&[&str], _) = match kind.as_deref() {
        Some("nic") => (&["network", "parent"], &edit.maps.networks),
        Some("disk") if !is_root(device) => (&["pool"], &edit.maps.pools),
        _ => return,
    };
    for key in keys {
        if let Some(new) = text(device, key).and_then(|old| map.get(old)) {
            device.insert((*key).into(), new.as_str().into());
        }
    }
    if edit.identity.is_some() && kind.as_deref() == Some("nic") {
        device.shift_remove("hwaddr");
    }
}

/// Whether a key holds the address of an interface.
pub(crate) fn is_address(key: &str) -> bool {
    key.starts_with("volatile.") && key.ends_with(".hwaddr")
}

fn is_root(device: &Mapping) -> bool {
    text(device, "path") == Some("/") && text(device, "source").is_none_or(str::is_empty)
}

/// Some daemons write the names of snapshots with that of their volume before it.
fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Sequence(list) => list.is_empty(),
        Value::Mapping(fields) => fields.is_empty(),
        _ => false,
    }
}

fn text<'m>(fields: &'m Mapping, key: &str) -> Option<&'m str> {
    fields.get(key).and_then(Value::as_str)
}

fn yaml(fields: &Mapping) -> Result<String, DescriptionError> {
    serde_norway::to_string(fields).map_err(|error| DescriptionError::Unreadable { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::Flavor;
    use crate::rewrite::keys::Origin;

    const VERSION_2: &str = "
name: web1
pool: fast
type: container
snapshots: [s0]
unknown: kept
config:
  version: 2
  instance:
    name: web1
    config: {volatile.uuid: u, limits.cpu: \"2\"}
    devices:
      data: {type: disk, pool: slow, source: vol, path: /data}
      eth0: {type: nic, network: br0}
    expanded_devices:
      data: {type: disk, pool: slow, source: vol, path: /data}
      eth0: {type: nic, network: br0}
      eth1: {type: nic, network: br1}
      root: {type: disk, path: /, pool: fast}
    profiles: [default]
  snapshots:
  - {name: s0, expires_at: 2027-06-01T00:00:00Z, config: {}, devices: {}, profiles: [old]}
  - {name: gone, config: {}, profiles: [older]}
  pools:
  - {name: slow, driver: dir}
  - {name: fast, driver: zfs}
  profiles: []
  volumes:
  - {name: web1, type: custom, config: {}}
  - name: web1
    type: container
    config: {size: 1GiB}
    snapshots:
    - {name: s0, config: {}}
  - {name: vol, type: custom, config: {}}
";

    fn value(text: &str) -> Value {
        serde_norway::from_str(text).unwrap()
    }

    fn edited(
        maps: &Maps,
        without: &BTreeSet<String>,
        of_profiles: &BTreeSet<String>,
        identity: Option<&Identity>,
    ) -> (Index, Vec<String>) {
        let mut index = Index::parse(VERSION_2.as_bytes()).unwrap();
        let (set, keys) = (BTreeMap::new(), KeyRules::of(Flavor::Lxd, Origin::Foreign));
        let remarks = index.edit(&Edit { maps, without, of_profiles, keys: &keys, identity, set: &set, unset: &[] });
        (index, remarks)
    }

    #[test]
    fn an_index_of_version_2_becomes_one_of_version_1() {
        let index = Index::parse(VERSION_2.as_bytes()).unwrap();
        assert!(index.was_version_2());
        assert_eq!(index.fields.get("unknown"), Some(&value("kept")));
        let config = index.config().unwrap();
        let keys: Vec<&str> = config.keys().filter_map(Value::as_str).collect();
        assert_eq!(keys, ["snapshots", "profiles", "container", "pool", "volume", "volume_snapshots"]);
        assert_eq!(config.get("pool"), Some(&value("{name: fast, driver: zfs}")));
        assert_eq!(config.get("volume"), Some(&value("{name: web1, type: container, config: {size: 1GiB}}")));
        assert_eq!(config.get("volume_snapshots"), Some(&value("[{name: s0, config: {}}]")));
        assert_eq!(index.root_pool(), Some("fast"));
        let again = Index::parse(index.to_yaml().unwrap().as_bytes()).unwrap();
        assert!(!again.was_version_2() && again.fields == index.fields);
    }

    #[test]
    fn a_volumes_index_of_version_2_keeps_its_snapshots() {
        let text = "{name: v, type: custom, snapshots: [v0], config: {version: 2, volumes: [{name: v, type: custom, \
                    config: {}, snapshots: [{name: v0, config: {}}]}]}}";
        let index = Index::parse(text.as_bytes()).unwrap();
        let expected = "{volume: {name: v, type: custom, config: {}}, volume_snapshots: [{name: v0, config: {}}]}";
        assert_eq!(index.fields.get("config"), Some(&value(expected)));
    }

    #[test]
    fn snapshots_that_were_not_exported_are_not_described() {
        let index = Index::parse(VERSION_2.as_bytes()).unwrap();
        let needs = index.needs();
        assert_eq!(needs.profiles, ["default", "old"].map(str::to_owned).into());
        assert_eq!(needs.networks, ["br0".to_owned()].into());
        let volume = ("slow".to_owned(), "vol".to_owned());
        assert_eq!(needs.volumes, [(volume, "data".to_owned())].into());
        assert_eq!(index.expiries(), [("s0".to_owned(), "2027-06-01T00:00:00Z".to_owned())]);
        assert_eq!(index.inherited_devices(), ["eth1", "root"].into());
        let alone = Index::parse(VERSION_2.replace("snapshots: [s0]", "x: y").as_bytes()).unwrap();
        assert_eq!(alone.config().unwrap().get("snapshots"), None);
    }

    #[test]
    fn only_what_is_asked_for_changes() {
        let maps = Maps {
            networks: [("br0".to_owned(), "lxdbr0".to_owned())].into(),
            pools: [("slow".to_owned(), "big".to_owned()), ("fast".to_owned(), "other".to_owned())].into(),
            profiles: [("old".to_owned(), "new".to_owned())].into(),
        };
        let none = BTreeSet::new();
        let (same, _) = edited(&Maps::default(), &none, &none, None);
        assert_eq!(same, Index::parse(VERSION_2.as_bytes()).unwrap());
        let (index, remarks) = edited(&maps, &none, &none, None);
        assert_eq!(remarks, Vec::<String>::new());
        let expected = VERSION_2
            .replace("network: br0", "network: lxdbr0")
            .replace("pool: slow, source", "pool: big, source")
            .replace("profiles: [old]", "profiles: [new]");
        assert_eq!(index, Index::parse(expected.as_bytes()).unwrap());
    }

    #[test]
    fn a_device_of_a_profile_is_masked_and_one_of_its_own_goes() {
        let without = ["data", "eth1"].map(str::to_owned).into();
        let devices = |of_profiles: &BTreeSet<String>| {
            let (index, _) = edited(&Maps::default(), &without, of_profiles, None);
            index.main().unwrap().get("devices").unwrap().clone()
        };
        let masked = "{eth0: {type: nic, network: br0}, data: {type: none}, eth1: {type: none}}";
        assert_eq!(devices(&without), value(masked));
        assert_eq!(devices(&BTreeSet::new()), value("{eth0: {type: nic, network: br0}}"));
    }

    #[test]
    fn an_identity_of_its_own_leaves_nothing_of_the_old_one() {
        let mut index = Index::parse(
            b"{name: x, snapshots: [s0], config: {container: {config: {volatile.uuid: u, volatile.eth0.hwaddr: m,
              volatile.eth0.name: eth0, volatile.last_state.power: RUNNING}, devices: {eth0: {type: nic, hwaddr: n}}},
              snapshots: [{name: s0, config: {volatile.uuid: u, volatile.cloud-init.instance-id: i}}]}}",
        )
        .unwrap();
        assert_eq!(index.identity(), (Some("u"), ["m", "n"].into()));
        let identity = Identity { uuid: "new".to_owned(), cloud_init: "id".to_owned() };
        let (maps, none, set) = (Maps::default(), BTreeSet::new(), BTreeMap::new());
        let keys = KeyRules::of(Flavor::Incus, Origin::Same);
        let identity = Some(&identity);
        index.edit(&Edit {
            maps: &maps,
            without: &none,
            of_profiles: &none,
            keys: &keys,
            identity,
            set: &set,
            unset: &[],
        });
        let expected = "{container: {config: {volatile.uuid: new, volatile.eth0.name: eth0},
            devices: {eth0: {type: nic}}},
            snapshots: [{name: s0, config: {volatile.uuid: new, volatile.cloud-init.instance-id: id}}]}";
        assert_eq!(index.fields.get("config"), Some(&value(expected)));
    }

    #[test]
    fn texts_that_yaml_could_take_for_something_else_stay_texts() {
        let odd = [
            "yes",
            "0x1f",
            "0777",
            "1e3",
            "~",
            "null",
            "2026-11-20",
            "1:20",
            " a\n  b\n",
            "#x",
            "- a",
            "\u{85}",
            "\u{2028}x\n",
            "tab\there",
            "a: b",
            "'\"",
            "",
            "|",
            "%x",
            "\u{1f600}",
            "\u{7f}",
            "a\r\nb\r\n",
        ];
        let mut index = Index::parse(b"{name: x, config: {container: {config: {}}}}").unwrap();
        let set: BTreeMap<String, String> =
            odd.iter().enumerate().map(|(n, text)| (format!("user.{n:02}"), (*text).to_owned())).collect();
        let (maps, none) = (Maps::default(), BTreeSet::new());
        let keys = KeyRules::of(Flavor::Lxd, Origin::Same);
        index.edit(&Edit {
            maps: &maps,
            without: &none,
            of_profiles: &none,
            keys: &keys,
            identity: None,
            set: &set,
            unset: &[],
        });
        for yaml in [index.to_yaml().unwrap(), index.description().unwrap()] {
            let found: Value = serde_norway::from_str(&yaml).unwrap();
            let container = found.get("config").unwrap_or(&found).get("container").unwrap();
            for (n, text) in odd.iter().enumerate() {
                let value = container.get("config").unwrap().get(format!("user.{n:02}").as_str());
                assert_eq!(value.and_then(Value::as_str), Some(*text), "{yaml}");
            }
        }
    }

    #[test]
    fn only_keys_that_are_to_be_replaced_are_and_nothing_else() {
        let text = "{name: data, type: bucket, config: {bucket: {name: data}, bucket_keys: [
            {name: admin, access-key: TAKEN, secret-key: old}, {name: reader, access-key: FREE, secret-key: kept}]}}";
        let mut index = Index::parse(text.as_bytes()).unwrap();
        assert_eq!(index.kind(), Some(Kind::Bucket));
        let fresh = |access: &str| Ok::<_, ()>((access == "TAKEN").then(|| ("NEW".to_owned(), "new".to_owned())));
        assert_eq!(index.replace_bucket_keys(fresh), Ok(vec!["admin".to_owned()]));
        assert_eq!(index, Index::parse(text.replace("TAKEN", "NEW").replace("old", "new").as_bytes()).unwrap());
        assert_eq!(index.replace_bucket_keys(fresh), Ok(vec![]));
        assert_eq!(index.replace_bucket_keys(|_| Err(1)), Err(1));
    }

    #[test]
    fn what_is_no_index_is_refused_in_one_line() {
        for text in ["", "[]", "name: x", "a: b: c", "{config: []}", "\u{0}"] {
            let refused = Index::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(!refused.contains('\n'), "{refused}");
        }
    }
}
