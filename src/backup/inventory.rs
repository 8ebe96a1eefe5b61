//! What a server has that can be backed up, and which of it a selection means.

use crate::backup::sources::{BackupError, Selection, describe};
use crate::daemon::{Daemon, DaemonError, Listing, Subject, VolumeContent, VolumeListing};
use crate::monitor::Problem;
use crate::source::{Source, SourceKind};

/// Everything that was found.
pub(super) struct Inventory {
    instances: Listing,
    volumes: VolumeListing,
    /// Pool and volume of those where the daemon keeps its own backups and images.
    own_volumes: Vec<(String, String)>,
}

impl Inventory {
    pub(super) fn read(daemon: &dyn Daemon) -> Result<Self, DaemonError> {
        let config = daemon.server()?.config;
        let keys = ["storage.backups_volume", "storage.images_volume"];
        let own = keys.iter().filter_map(|key| config.get(*key)?.split_once('/'));
        Ok(Self {
            instances: daemon.instances()?,
            volumes: daemon.volumes()?,
            own_volumes: own.map(|(pool, volume)| (pool.to_owned(), volume.to_owned())).collect(),
        })
    }

    /// All of it, as the daemon knows it.
    pub(super) fn subjects(&self) -> Vec<Subject> {
        let instances = self.instances.instances.iter().map(|one| Subject::instance(&one.project, &one.name));
        instances.chain(self.volumes.volumes.iter().map(crate::daemon::VolumeSummary::subject)).collect()
    }

    /// What a source is on the server, in words; `None` if it is not there.
    pub(super) fn describe(&self, source: &Source) -> Option<String> {
        let subject = Subject::of(source)?;
        match &subject {
            Subject::Instance { project, name } => {
                let found = self.instances.instances.iter().find(|one| one.project == *project && one.name == *name)?;
                Some(format!("{}, {}", found.kind, found.status))
            }
            Subject::Volume { .. } => {
                let found = self.volumes.volumes.iter().find(|one| one.subject() == subject)?;
                let what = match &found.content {
                    VolumeContent::Filesystem => "volume of files",
                    VolumeContent::Block => "block volume",
                    VolumeContent::Iso => "disc image, which cannot be backed up",
                    VolumeContent::Other(_) => "volume of an unknown sort, which cannot be backed up",
                };
                Some(match found.users.len() {
                    0 => what.to_owned(),
                    1 => format!("{what}, attached to an instance"),
                    users => format!("{what}, attached to {users} instances"),
                })
            }
        }
    }

    /// Projects that cannot be looked into.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let problem = |(project, error): &(String, DaemonError)| Problem {
            object: format!("project {project}"),
            message: describe(error),
        };
        self.instances.problems.iter().chain(&self.volumes.problems).map(problem).collect()
    }

    /// The sources that a selection means. Volumes in which the daemon keeps its own backups and images hold nothing
    /// that has to be saved, and are selected by name only.
    pub(super) fn select(&self, selection: &Selection, server: &str) -> Result<Vec<Source>, BackupError> {
        match selection {
            Selection::All => {
                let instances =
                    self.instances.instances.iter().map(|one| Source::instance(server, &one.project, &one.name));
                let volumes = self.volumes.volumes.iter().filter(|one| {
                    !self.own_volumes.iter().any(|(pool, volume)| one.pool == *pool && one.name == *volume)
                });
                let volumes = volumes.map(|one| Source::volume(server, &one.project, &one.pool, &one.name));
                let mut sources: Vec<Source> = instances.chain(volumes).collect();
                sources.sort_unstable();
                Ok(sources)
            }
            Selection::Sources(selectors) => {
                let mut sources = Vec::with_capacity(selectors.len());
                for selector in selectors {
                    if !matches!(selector.kind, SourceKind::Instance { .. } | SourceKind::Volume { .. }) {
                        return Err(BackupError::Unsupported { selector: selector.to_string() });
                    }
                    if selector.server.as_deref().is_some_and(|named| named != server) {
                        let (selector, server) = (selector.to_string(), server.to_owned());
                        return Err(BackupError::OtherServer { selector, server });
                    }
                    let source = selector.on(server);
                    if !sources.contains(&source) {
                        sources.push(source);
                    }
                }
                Ok(sources)
            }
        }
    }
}
