//! A point of an instance goes back into a daemon: every condition is looked at first, then the stream is uploaded.
//!
//! A restored twin keeps its MAC addresses and its uuid; where the target server has an instance with the
//! same, the restored one gets fresh ones before anything can start it. What a daemon exports in a form that no import
//! reads is put right on the way, see `attributes`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::daemon::{Daemon, DaemonError, ImportRequest, InstanceChange, Subject, Summary};
use crate::id::{RandomError, random_bytes};
use crate::monitor::Monitor;
use crate::point::{Point, StreamForm};
use crate::repo::Repository;
use crate::restore::attributes::IdMap;
use crate::restore::target::{RestoreError, RestoreTarget, Restored, object, require_free, require_room};
use crate::restore::upload::upload;

/// What the stored description of an instance says that a restore must know.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Description {
    profiles: Vec<String>,
    config: BTreeMap<String, String>,
    expanded_devices: BTreeMap<String, BTreeMap<String, String>>,
    snapshots: Vec<DescribedSnapshot>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DescribedSnapshot {
    name: String,
    config: BTreeMap<String, String>,
    expires_at: Option<String>,
}

impl Description {
    /// How the ids of the instance and its snapshots were shifted on disk.
    fn id_maps(&self) -> Vec<IdMap> {
        let configs = std::iter::once(&self.config).chain(self.snapshots.iter().map(|snapshot| &snapshot.config));
        configs.filter_map(|config| config.get("volatile.last_state.idmap")).map(|map| IdMap::parse(map)).collect()
    }
}

/// Restores a point of an instance of that project.
pub(super) fn restore(
    repository: &Repository,
    daemon: &dyn Daemon,
    label: &str,
    point: &Point,
    (project, target): (&str, &RestoreTarget),
    monitor: &dyn Monitor,
) -> Result<Restored, RestoreError> {
    let project = target.project.as_deref().unwrap_or(project);
    let name = target.name.as_deref().unwrap_or(&point.source.name);
    let request = ImportRequest::of_export(Subject::instance(project, name), target.pool.clone());
    let description: Description = serde_json::from_str(&point.description).unwrap_or_default();
    require_free(daemon, &request)?;
    require_surroundings(daemon, label, point, &request, &description)?;
    require_room(daemon, label, point, &request)?;
    let twins = twins(daemon, &description)?;
    // Once more, right before the upload: importing over a name is destructive.
    require_free(daemon, &request)?;
    let bytes = upload(repository, daemon, label, point, &request, description.id_maps(), monitor)?;
    let mut remarks = Vec::new();
    if !twins.is_empty() {
        refresh_identity(daemon, &request, &description, &twins, &mut remarks)?;
    }
    reapply_expiries(daemon, &request, &description, &mut remarks);
    Ok(Restored { project: project.to_owned(), name: name.to_owned(), bytes, remarks })
}

/// Pool, profiles and networks must be there, and a stream of a driver's own needs a pool of that driver.
fn require_surroundings(
    daemon: &dyn Daemon,
    label: &str,
    point: &Point,
    request: &ImportRequest,
    description: &Description,
) -> Result<(), RestoreError> {
    let mut missing: Vec<String> = Vec::new();
    let pools = daemon.pools()?;
    if let Some(wanted) = &request.pool
        && !pools.iter().any(|pool| pool.name == *wanted)
    {
        missing.push(format!("storage pool {wanted}"));
    }
    let profiles = daemon.profiles(request.subject.project())?;
    for wanted in &description.profiles {
        if !profiles.iter().any(|profile| profile.name == *wanted) {
            missing.push(format!("profile {wanted}"));
        }
    }
    let networks = daemon.networks(request.subject.project())?;
    for device in description.expanded_devices.values() {
        if let Some(wanted) = device.get("network")
            && !networks.iter().any(|network| network.name == *wanted)
        {
            missing.push(format!("network {wanted}"));
        }
        if let (Some(pool), Some(source)) = (device.get("pool"), device.get("source"))
            && !pools.iter().any(|known| known.name == *pool)
        {
            missing.push(format!("storage pool {pool} with the volume {source}"));
        }
    }
    if let (StreamForm::Export { optimized: true }, Some(wanted)) = (point.form, &request.pool)
        && let Some(pool) = pools.iter().find(|pool| pool.name == *wanted)
        && !matches!(pool.driver.as_str(), "btrfs" | "zfs")
    {
        missing.push(format!("a pool of the stream's own storage driver ({wanted} is of {})", pool.driver));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let mut named = BTreeSet::new();
    missing.retain(|one| named.insert(one.clone()));
    Err(RestoreError::Missing { label: label.to_owned(), missing: missing.join(", ") })
}

/// Instances of the server that would be the restored one's twins: they share its uuid or a MAC address.
fn twins(daemon: &dyn Daemon, description: &Description) -> Result<Vec<Summary>, RestoreError> {
    let uuid = description.config.get("volatile.uuid");
    let addresses: BTreeSet<&String> =
        description.config.iter().filter(|(key, _)| is_address(key)).map(|(_, value)| value).collect();
    let listing = daemon.instances()?;
    let is_twin = |instance: &Summary| {
        uuid.is_some() && instance.uuid.as_ref() == uuid
            || instance.nics.iter().any(|nic| nic.hwaddr.as_ref().is_some_and(|address| addresses.contains(address)))
    };
    Ok(listing.instances.into_iter().filter(is_twin).collect())
}

fn is_address(key: &str) -> bool {
    key.starts_with("volatile.") && key.ends_with(".hwaddr")
}

/// Gives the restored instance an identity of its own. It was imported stopped, so nothing can have used the old one.
fn refresh_identity(
    daemon: &dyn Daemon,
    request: &ImportRequest,
    description: &Description,
    twins: &[Summary],
    remarks: &mut Vec<String>,
) -> Result<(), RestoreError> {
    let uuid = fresh_uuid()?;
    let mut change = InstanceChange::default();
    for key in ["volatile.uuid", "volatile.uuid.generation"] {
        if description.config.contains_key(key) {
            change.set.insert(key.to_owned(), uuid.clone());
        }
    }
    change.remove.extend(description.config.keys().filter(|key| is_address(key)).cloned());
    daemon
        .update_instance(request.subject.project(), request.subject.name(), &change)
        .map_err(|source| RestoreError::Identity { object: object(request), source })?;
    let names: Vec<&str> = twins.iter().map(|twin| twin.name.as_str()).collect();
    remarks.push(format!(
        "got a fresh uuid and fresh MAC addresses, for {} on this server has the ones that were backed up",
        names.join(", ")
    ));
    Ok(())
}

/// A random UUID, version 4.
fn fresh_uuid() -> Result<String, RandomError> {
    let mut bytes = random_bytes::<16>()?;
    if let Some(byte) = bytes.get_mut(6) {
        *byte = *byte & 0x0f | 0x40;
    }
    if let Some(byte) = bytes.get_mut(8) {
        *byte = *byte & 0x3f | 0x80;
    }
    let number = u128::from_be_bytes(bytes);
    let text = format!("{number:032x}");
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    Ok(format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)))
}

/// An import loses the expiry dates of snapshots; without them they would stay for ever.
fn reapply_expiries(
    daemon: &dyn Daemon,
    request: &ImportRequest,
    description: &Description,
    remarks: &mut Vec<String>,
) {
    for snapshot in &description.snapshots {
        let Some(expires) = snapshot.expires_at.as_deref().filter(|text| !text.starts_with("0001-01-01")) else {
            continue;
        };
        match daemon.set_snapshot_expiry(
            request.subject.project(),
            request.subject.name(),
            &snapshot.name,
            Some(expires),
        ) {
            // The description speaks of snapshots that a point without snapshots does not hold.
            Ok(()) | Err(DaemonError::NotFound { .. }) => {}
            Err(error) => remarks.push(format!("snapshot {} lost its expiry date {expires}: {error}", snapshot.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_uuid_has_the_form_of_version_4() {
        let uuid = fresh_uuid().unwrap();
        let parts: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&uuid[14..15], "4");
        assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"));
        assert_ne!(uuid, fresh_uuid().unwrap());
    }
}
