//! A point of an instance goes back into a daemon: every condition is looked at first, then the stream is uploaded.
//!
//! Where the daemon is the one that made the export, or one like it, and nothing is to be otherwise, the bytes go back
//! as they came. For everything else the stream is rewritten on the way, so that the instance is what it shall be from
//! its first moment: with an identity of its own where it would be a twin, without keys that the daemon does not know.
//! What a daemon exports in a form that no import reads is put right in any case, see `attributes`.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::daemon::{DaemonError, Flavor, ImportRequest, InstanceChange, Server, Subject, Summary};
use crate::id::{RandomError, random_bytes};
use crate::limits::{IMPORT_INDEX_BYTES_MAX, IMPORT_KEYS_REFUSED_MAX};
use crate::restore::attributes::IdMap;
use crate::restore::replace::{self, MARKS, Swap};
use crate::restore::surroundings::Surroundings;
use crate::restore::target::{
    Conflict, IdentityChoice, Job, RestoreError, Restored, object, require_free, require_room,
};
use crate::restore::upload::upload;
use crate::rewrite::description::{Edit, Identity, Index, Kind, Selection, is_address};
use crate::rewrite::keys::{KeyRules, Origin, unknown_key};
use crate::rewrite::stream::Rewrite;

/// Restores a point of an instance of that project.
pub(super) fn restore(job: Job<'_>, project: &str) -> Result<Restored, RestoreError> {
    let project = job.target.project.as_deref().unwrap_or(project);
    let name = job.target.name.as_deref().unwrap_or(&job.point.source.name);
    if job.target.member.is_some() {
        return Err(RestoreError::PlacedByDaemon { label: job.label.to_owned() });
    }
    let (index, index_len) = job.index()?;
    let Some(kind @ (Kind::Container | Kind::VirtualMachine)) = index.kind() else {
        return Err(RestoreError::NotImportable { label: job.label.to_owned() });
    };
    let mut selected = job.select(&index)?;
    let server = job.daemon.server()?;
    require_changeable(&job, &selected, &server)?;
    let subject = Subject::instance(project, name);
    let surroundings = Surroundings::look(&job, project, &selected)?;
    if job.target.conflict == Conflict::Refuse && surroundings.has_project {
        require_free(job.daemon, &subject)?;
        replace::require_nothing_left(&job, &subject)?;
    }
    let origin = origin(&job, &server);
    let catalogue = if origin == Origin::Foreign { job.daemon.instance_keys()? } else { None };
    let rules = KeyRules::new(&server, origin, catalogue);
    surroundings.require(&job, &selected, &rules)?;
    let mut remarks = Vec::new();
    let swap = match job.target.conflict {
        Conflict::Replace => replace::prepare(&job, &subject, &mut remarks)?,
        Conflict::Refuse => None,
    };
    let request = ImportRequest::of_export(swap.as_ref().map_or(subject, Swap::temporary), surroundings.pool.clone());
    let twins = twins(&job, &selected, swap.as_ref())?;
    let wants_identity = !twins.is_empty() || job.target.identity == IdentityChoice::Fresh;
    let identity = wants_identity.then(fresh_identity).transpose()?;
    let marks = swap.as_ref().map(|swap| swap.marks(&selected, identity.as_ref())).unwrap_or_default();
    let mut plan = Plan {
        job,
        kind,
        request,
        surroundings,
        identity: identity.as_ref(),
        marks,
        rules,
        must_change: must_change(&job, &index, index_len, &server),
    };
    let bytes = plan.upload(&mut selected, &mut remarks)?;
    plan.complete(&selected, &twins, &mut remarks)?;
    if let Some(swap) = &swap {
        swap.run(&job)?;
    }
    Ok(Restored { replaced: swap.is_some(), ..job.restored(project, name, bytes, remarks) })
}

/// Where the export comes from, as seen from the server.
fn origin(job: &Job<'_>, server: &Server) -> Origin {
    let made_there = job.point.server.as_ref().is_some_and(|made| {
        made.flavor.eq_ignore_ascii_case(&server.flavor.to_string()) && made.version == server.version
    });
    if made_there { Origin::Same } else { Origin::Foreign }
}

/// Whether the stream cannot go back as it came, whatever its description comes to.
fn must_change(job: &Job<'_>, index: &Index, index_len: usize, server: &Server) -> bool {
    job.target.selection != Selection::Whole
        || origin(job, server) == Origin::Foreign
        || index.was_version_2() && !server.has("backup_metadata_version")
        || index_len > IMPORT_INDEX_BYTES_MAX
}

/// The streams of a storage driver hold their own descriptions, and what belongs to snapshots builds on them.
fn require_changeable(job: &Job<'_>, index: &Index, server: &Server) -> Result<(), RestoreError> {
    let fixed = |reason| Err(RestoreError::Fixed { label: job.label.to_owned(), reason });
    if job.is_optimized() && job.target.selection != Selection::Whole {
        return fixed("in an optimized export every stream builds on the one before");
    }
    if job.is_optimized() && job.target.conflict == Conflict::Replace {
        return fixed("the descriptions of an optimized export are inside its streams");
    }
    let is_lxd = server.flavor == Flavor::Lxd;
    if index.has_dependents() && (is_lxd || job.target.selection != Selection::Whole) {
        return fixed("it holds dependent disks, which only an Incus takes, and only all together");
    }
    Ok(())
}

/// One upload and what belongs to it.
struct Plan<'p> {
    job: Job<'p>,
    kind: Kind,
    request: ImportRequest,
    surroundings: Surroundings,
    identity: Option<&'p Identity>,
    marks: BTreeMap<String, String>,
    rules: KeyRules,
    must_change: bool,
}

impl Plan<'_> {
    /// Uploads it, again without a key that the daemon turns out not to know. `index` becomes what was uploaded.
    fn upload(&mut self, index: &mut Index, remarks: &mut Vec<String>) -> Result<u64, RestoreError> {
        let selected = index.clone();
        let id_maps: Vec<IdMap> = selected.values_of("volatile.last_state.idmap").map(IdMap::parse).collect();
        for refused in 0..=IMPORT_KEYS_REFUSED_MAX {
            let mut edited = selected.clone();
            let told = edited.edit(&self.edit());
            let rewrite = self.rewrite(&selected, &edited)?;
            let len = self.job.upload_len(rewrite.as_ref())?;
            require_room(&self.job, &self.request, len)?;
            // Once more, right before the upload: importing over a name is destructive.
            require_free(self.job.daemon, &self.request.subject)?;
            match upload(&self.job, &self.request, rewrite.as_ref(), len, id_maps.clone()) {
                Err(RestoreError::Upload { source, .. })
                    if refused < IMPORT_KEYS_REFUSED_MAX
                        && !self.job.is_optimized()
                        && source.words().and_then(unknown_key).is_some_and(|key| self.rules.learn(key)) => {}
                Err(error) => return Err(error),
                Ok(bytes) => {
                    *index = edited;
                    remarks.extend(told);
                    remarks.extend(self.surroundings.remarks(index));
                    return Ok(bytes);
                }
            }
        }
        Err(RestoreError::Fixed {
            label: self.job.label.to_owned(),
            reason: "the server refuses one key after the other",
        })
    }

    fn edit(&self) -> Edit<'_> {
        Edit {
            maps: &self.job.target.maps,
            without: &self.job.target.without_devices,
            of_profiles: &self.surroundings.devices_of_profiles,
            keys: &self.rules,
            // What is inside the streams of a driver gets its identity afterwards.
            identity: self.identity.filter(|_| !self.job.is_optimized()),
            set: &self.marks,
            unset: MARKS,
        }
    }

    /// `None` where the stream goes back as it came.
    fn rewrite(&self, selected: &Index, edited: &Index) -> Result<Option<Rewrite>, RestoreError> {
        if self.job.is_optimized() {
            if selected == edited {
                return Ok(None);
            }
            let reason = "the descriptions of an optimized export are inside its streams";
            return Err(RestoreError::Fixed { label: self.job.label.to_owned(), reason });
        }
        if !self.must_change && selected == edited {
            return Ok(None);
        }
        self.job.rewrite(edited, self.kind).map(Some)
    }

    /// What an import does not do.
    fn complete(&self, index: &Index, twins: &[Summary], remarks: &mut Vec<String>) -> Result<(), RestoreError> {
        if let Some(identity) = self.identity {
            if self.job.is_optimized() {
                self.refresh_identity(index, identity)?;
            }
            remarks.push(match twins {
                [] => "got a fresh uuid and fresh MAC addresses".to_owned(),
                twins => {
                    let names: Vec<&str> = twins.iter().map(|twin| twin.name.as_str()).collect();
                    format!(
                        "got a fresh uuid and fresh MAC addresses, for {} on this server has the ones that were \
                         backed up",
                        names.join(", ")
                    )
                }
            });
        }
        self.reapply_expiries(index, remarks);
        if !index.snapshots().is_empty() {
            // The description on the daemon's disk lists no snapshots after an import, and recovery would stumble.
            let (project, name) = (self.request.subject.project(), self.request.subject.name());
            if let Err(error) = self.job.daemon.update_instance(project, name, &InstanceChange::default()) {
                remarks.push(format!("change any setting of it once, so that the daemon could recover it: {error}"));
            }
        }
        Ok(())
    }

    /// Gives the restored instance an identity of its own. It was imported stopped, so nothing can have used the old
    /// one, unless somebody started it in this moment.
    fn refresh_identity(&self, index: &Index, identity: &Identity) -> Result<(), RestoreError> {
        let mut change = InstanceChange::default();
        let fresh = [
            ("volatile.uuid", &identity.uuid),
            ("volatile.uuid.generation", &identity.uuid),
            ("volatile.cloud-init.instance-id", &identity.cloud_init),
        ];
        for (key, value) in fresh {
            if index.config_of_main(key).is_some() {
                change.set.insert(key.to_owned(), value.clone());
            }
        }
        change.remove.extend(index.keys_of_main().filter(|key| is_address(key)).map(str::to_owned));
        let (project, name) = (self.request.subject.project(), self.request.subject.name());
        let changed = self.job.daemon.update_instance(project, name, &change);
        changed.map_err(|source| RestoreError::Identity { object: object(&self.request.subject), source })
    }

    /// An import loses the expiry dates of snapshots; without them they would stay for ever.
    fn reapply_expiries(&self, index: &Index, remarks: &mut Vec<String>) {
        let (project, name) = (self.request.subject.project(), self.request.subject.name());
        for (snapshot, expires) in index.expiries() {
            if self.job.target.now.is_some_and(|now| is_past(&expires, now)) {
                remarks.push(format!("snapshot {snapshot} expired on {expires}; it stays until it is deleted"));
                continue;
            }
            match self.job.daemon.set_snapshot_expiry(project, name, &snapshot, Some(&expires)) {
                Ok(()) | Err(DaemonError::NotFound { .. }) => {}
                Err(error) => remarks.push(format!("snapshot {snapshot} lost its expiry date {expires}: {error}")),
            }
        }
    }
}

/// Instances of the server that would be the restored one's twins: they share its uuid or a MAC address.
fn twins(job: &Job<'_>, index: &Index, swap: Option<&Swap>) -> Result<Vec<Summary>, RestoreError> {
    let (uuid, addresses): (_, BTreeSet<&str>) = index.identity();
    let listing = job.daemon.instances()?;
    let is_twin = |instance: &Summary| {
        uuid.is_some() && instance.uuid.as_deref() == uuid
            || instance.nics.iter().any(|nic| nic.hwaddr.as_deref().is_some_and(|address| addresses.contains(address)))
    };
    let stays = |instance: &Summary| !swap.is_some_and(|swap| swap.is_of(&instance.project, &instance.name));
    Ok(listing.instances.into_iter().filter(|instance| is_twin(instance) && stays(instance)).collect())
}

/// Whether a daemon's moment lies before this one.
fn is_past(text: &str, now: Timestamp) -> bool {
    text.parse::<jiff::Timestamp>().is_ok_and(|moment| moment <= now.to_jiff())
}

fn fresh_identity() -> Result<Identity, RandomError> {
    Ok(Identity { uuid: fresh_uuid()?, cloud_init: fresh_uuid()? })
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
