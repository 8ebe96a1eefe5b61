//! Custom volumes, as the daemons describe them (`reference/daemon-api.md` 3.1).
//!
//! Knows no HTTP. LXD 5.0 tells neither when a volume was made nor any id of it; what is missing is absent here.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::error::tame;
use super::model::{Snapshot, WireSnapshot, member, or_default};
use super::subject::Subject;
use crate::source::DEFAULT_PROJECT;

/// What a volume holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeContent {
    /// Files.
    Filesystem,
    /// A disk of a virtual machine.
    Block,
    /// A disc image, which never changes.
    Iso,
    /// Anything else, in the daemon's word.
    Other(String),
}

/// What a listing tells of a custom volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSummary {
    /// The project it lives in.
    pub project: String,
    /// The pool it lies in.
    pub pool: String,
    /// The pool's driver, where this client may know it.
    pub driver: Option<String>,
    /// Its name, unique within project and pool.
    pub name: String,
    /// What it holds.
    pub content: VolumeContent,
    /// `volatile.uuid`, which newer daemons keep.
    pub uuid: Option<String>,
    /// When it was made, in the daemon's text; old daemons say nothing.
    pub created_at: String,
    /// Its configuration.
    pub config: BTreeMap<String, String>,
    /// Project and name of the instances that it is attached to.
    pub users: Vec<(String, String)>,
    /// The cluster member that it lies on, of a pool that each has for itself.
    pub member: Option<String>,
}

impl VolumeSummary {
    /// The volume as something that has exports.
    pub fn subject(&self) -> Subject {
        Subject::volume(&self.project, &self.pool, &self.name).on_member(self.member.as_deref())
    }
}

/// One custom volume with everything that a point keeps of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// What a listing tells.
    pub summary: VolumeSummary,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// The daemon's description of the volume with its `snapshots`, as JSON with sorted keys.
    pub json: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireVolume {
    name: String,
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    content_type: String,
    #[serde(default, deserialize_with = "or_default")]
    created_at: String,
    #[serde(default, deserialize_with = "or_default")]
    config: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    used_by: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    location: String,
}

impl WireVolume {
    /// Whether it is a custom volume and no snapshot of one, which some listings hold, too.
    pub fn is_custom_volume(&self) -> bool {
        matches!(self.kind.as_str(), "" | "custom") && !self.name.contains('/')
    }

    /// What it tells of a volume of `project` in `pool`.
    pub fn into_summary(self, project: &str, pool: &str, driver: Option<String>) -> VolumeSummary {
        VolumeSummary {
            project: project.to_owned(),
            pool: pool.to_owned(),
            driver,
            content: match self.content_type.as_str() {
                "" | "filesystem" => VolumeContent::Filesystem,
                "block" => VolumeContent::Block,
                "iso" => VolumeContent::Iso,
                other => VolumeContent::Other(other.to_owned()),
            },
            uuid: self.config.get("volatile.uuid").filter(|uuid| !uuid.is_empty()).cloned(),
            users: self.used_by.iter().filter_map(|address| instance_at(address)).collect(),
            created_at: self.created_at,
            config: self.config,
            name: self.name,
            member: member(self.location),
        }
    }
}

impl Volume {
    /// Reads a daemon's descriptions of a volume and of its snapshots.
    pub(super) fn read(
        mut value: Value,
        snapshots: Vec<Value>,
        (project, pool): (&str, &str),
        driver: Option<String>,
    ) -> Result<Self, String> {
        let strange = |error: serde_json::Error| tame(&error.to_string());
        let wire = WireVolume::deserialize(&value).map_err(strange)?;
        let wires: Vec<WireSnapshot> =
            snapshots.iter().map(WireSnapshot::deserialize).collect::<Result<_, _>>().map_err(strange)?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("snapshots".to_owned(), snapshots.into());
        }
        Ok(Self {
            summary: wire.into_summary(project, pool, driver),
            snapshots: wires.into_iter().map(WireSnapshot::into_snapshot).collect(),
            json: value.to_string(),
        })
    }
}

/// Project and name in the address of an instance, `/1.0/instances/NAME?project=PROJECT`.
fn instance_at(address: &str) -> Option<(String, String)> {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let name = path.strip_prefix("/1.0/instances/").filter(|name| !name.contains('/'))?;
    let project = query.split('&').find_map(|pair| pair.strip_prefix("project=")).unwrap_or(DEFAULT_PROJECT);
    Some((project.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_volume_is_read_with_its_users_and_snapshots() {
        let value = json!({
            "name": "data", "type": "custom", "content_type": "block", "created_at": "0001-01-01T00:00:00Z",
            "config": {"size": "8MiB", "volatile.uuid": "u"},
            "used_by": ["/1.0/instances/web1", "/1.0/profiles/default", "/1.0/instances/db1?project=lab"],
        });
        let snapshots = vec![json!({"name": "data/v0"})];
        let volume = Volume::read(value, snapshots, ("default", "fast"), Some("zfs".to_owned())).unwrap();
        assert_eq!(volume.summary.content, VolumeContent::Block);
        assert_eq!(volume.summary.uuid.as_deref(), Some("u"));
        let users = [("default", "web1"), ("lab", "db1")].map(|(project, name)| (project.to_owned(), name.to_owned()));
        assert_eq!(volume.summary.users, users);
        assert_eq!(volume.snapshots[0].name, "v0");
        assert_eq!(volume.summary.subject().to_string(), "volume fast/data");
    }

    #[test]
    fn snapshots_and_other_volumes_are_none() {
        let custom = |name: &str, kind: &str| {
            serde_json::from_value::<WireVolume>(json!({"name": name, "type": kind})).unwrap().is_custom_volume()
        };
        assert!(custom("data", "custom"));
        assert!(!custom("data/v0", "custom"));
        assert!(!custom("web1", "container"));
    }
}
