//! What a server has for an instance: its pool, its profiles and what those bring, networks, and volumes.
//!
//! Everything that is missing is named together, before a byte is sent. Only the instance's own devices are looked at:
//! those of its profiles are what the profiles of this server say.

use std::collections::{BTreeMap, BTreeSet};

use crate::daemon::{DaemonError, Network, Pool, Profile, Subject};
use crate::restore::target::{Job, Lack, RestoreError};
use crate::rewrite::description::{Edit, Index, Needs};
use crate::rewrite::keys::KeyRules;

/// What was seen of a server.
pub(super) struct Surroundings {
    project: String,
    /// Where the instance goes, if that is not where it was.
    pub pool: Option<String>,
    /// Devices that the profiles of the instance have here.
    pub devices_of_profiles: BTreeSet<String>,
    pub has_project: bool,
    /// The cluster member that takes the upload, and so gets the instance.
    member: Option<String>,
    pools: Vec<Pool>,
    profiles: Vec<Profile>,
    networks: Vec<Network>,
    remarks: Vec<String>,
}

impl Surroundings {
    /// Looks around for an instance that is described so.
    pub(super) fn look(job: &Job<'_>, project: &str, index: &Index) -> Result<Self, RestoreError> {
        for device in &job.target.without_devices {
            if !index.has_device(device) && !index.inherited_devices().contains(device.as_str()) {
                return Err(RestoreError::NoDevice { label: job.label.to_owned(), device: device.clone() });
            }
        }
        let has_project = job.daemon.projects()?.iter().any(|known| known.name == project);
        let profiles = if has_project { job.daemon.profiles(project)? } else { Vec::new() };
        let maps = &job.target.maps;
        let old_pool = index.root_pool();
        let pool = job.target.pool.clone().or_else(|| maps.pools.get(old_pool?).cloned());
        let mut devices_of_profiles = BTreeSet::new();
        for wanted in index.needs().profiles {
            let wanted = maps.profiles.get(&wanted).unwrap_or(&wanted);
            let profile = profiles.iter().find(|profile| profile.name == *wanted);
            devices_of_profiles.extend(profile.into_iter().flat_map(|profile| profile.devices.keys().cloned()));
        }
        let mut remarks = Vec::new();
        for device in index.inherited_devices() {
            let left_out = job.target.without_devices.contains(device);
            if !index.is_root(device) && !left_out && !devices_of_profiles.contains(device) {
                remarks.push(format!("device {device} came from a profile, and no profile here brings one"));
            }
        }
        Ok(Self {
            project: project.to_owned(),
            pool,
            devices_of_profiles,
            has_project,
            member: Some(job.daemon.server()?).filter(|server| server.clustered).map(|server| server.name),
            pools: job.daemon.pools()?,
            networks: if has_project { job.daemon.networks(project)? } else { Vec::new() },
            profiles,
            remarks,
        })
    }

    /// Errs with everything that is missing for an instance that is described so, once that is as asked for.
    pub(super) fn require(&self, job: &Job<'_>, index: &Index, keys: &KeyRules) -> Result<(), RestoreError> {
        let mut index = index.clone();
        index.edit(&Edit {
            maps: &job.target.maps,
            without: &job.target.without_devices,
            of_profiles: &self.devices_of_profiles,
            keys,
            identity: None,
            set: &BTreeMap::new(),
            unset: &[],
        });
        let mut missing = Vec::new();
        self.look_for_pool(job, &index, &mut missing);
        if self.has_project {
            let needs = index.needs();
            self.look_for(&needs, &mut missing);
            self.look_for_volumes(job, &needs, &mut missing)?;
        } else {
            // What else there is depends on how it will be made.
            missing.insert(0, Lack::Project(self.project.clone()));
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(RestoreError::Missing { label: job.label.to_owned(), missing })
    }

    /// What may surprise.
    pub(super) fn remarks(&self, index: &Index) -> Vec<String> {
        let mut remarks = self.remarks.clone();
        // Interfaces of the host are listed where this client may see them; there is always one.
        if self.networks.iter().any(|network| !network.managed) {
            for (parent, device) in index.needs().parents {
                if !self.networks.iter().any(|network| network.name == parent) {
                    remarks
                        .push(format!("device {device} wants the interface {parent} of the host, which is not here"));
                }
            }
        }
        remarks
    }

    fn look_for_pool(&self, job: &Job<'_>, index: &Index, missing: &mut Vec<Lack>) {
        let Some(wanted) = self.pool.as_deref().or_else(|| index.root_pool()) else { return };
        match self.pools.iter().find(|pool| pool.name == wanted) {
            None => missing.push(Lack::Pool(wanted.to_owned())),
            Some(pool) if job.is_optimized() && !matches!(pool.driver.as_str(), "btrfs" | "zfs") => {
                missing.push(Lack::Driver { pool: pool.name.clone(), driver: pool.driver.clone() });
            }
            Some(_) => {}
        }
    }

    fn look_for(&self, needs: &Needs, missing: &mut Vec<Lack>) {
        let profiles = needs.profiles.iter().filter(|name| !self.profiles.iter().any(|it| it.name == **name));
        missing.extend(profiles.cloned().map(Lack::Profile));
        let networks = needs.networks.iter().filter(|name| !self.networks.iter().any(|it| it.name == **name));
        missing.extend(networks.cloned().map(Lack::Network));
    }

    fn look_for_volumes(&self, job: &Job<'_>, needs: &Needs, missing: &mut Vec<Lack>) -> Result<(), RestoreError> {
        for ((pool, name), device) in &needs.volumes {
            if !self.pools.iter().any(|known| known.name == *pool) {
                let lack = Lack::Pool(pool.clone());
                if !missing.contains(&lack) {
                    missing.push(lack);
                }
                continue;
            }
            let volume = Subject::volume(&self.project, pool, name).on_member(self.member.as_deref());
            match job.daemon.exists(&volume) {
                Ok(true) => {}
                Ok(false) | Err(DaemonError::NotFound { .. }) => {
                    missing.push(Lack::Volume { pool: pool.clone(), name: name.clone(), device: device.clone() });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
