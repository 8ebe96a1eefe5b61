//! What a server has that can be backed up.

use std::collections::BTreeMap;

use crate::backup::look::{bucket_hindrance, hindrance};
use crate::backup::sources::describe;
use crate::daemon::{
    Access, BucketListing, BucketSummary, Daemon, DaemonError, ImageListing, ImageSummary, Listing, REPLACEMENT_PREFIX,
    REPLACES, Server, Subject, Summary, VolumeContent, VolumeListing, VolumeSummary,
};
use crate::monitor::Problem;
use crate::source::Source;

/// Everything that was found.
pub(super) struct Inventory {
    server: Server,
    instances: Listing,
    volumes: VolumeListing,
    buckets: BucketListing,
    images: ImageListing,
    /// Pool and volume of those where the daemon keeps its own backups and images.
    own_volumes: Vec<(String, String)>,
}

impl Inventory {
    pub(super) fn read(daemon: &dyn Daemon) -> Result<Self, DaemonError> {
        let server = daemon.server()?;
        let keys = ["storage.backups_volume", "storage.images_volume"];
        let own = keys.iter().filter_map(|key| server.config.get(*key)?.split_once('/'));
        let own_volumes = own.map(|(pool, volume)| (pool.to_owned(), volume.to_owned())).collect();
        let (instances, volumes) = (daemon.instances()?, daemon.volumes()?);
        let (buckets, images) = (daemon.buckets()?, daemon.images()?);
        Ok(Self { server, instances, volumes, buckets, images, own_volumes })
    }

    /// All that a daemon may keep backups of.
    pub(super) fn subjects(&self) -> Vec<Subject> {
        let instances = self.instances.instances.iter().map(|one| Subject::instance(&one.project, &one.name));
        let volumes = self.volumes.volumes.iter().map(VolumeSummary::subject);
        // Asked for the backups of a bucket, daemons that make none say that they do not know what that is.
        let buckets = self.buckets.buckets.iter().filter(|_| self.server.exports_buckets());
        instances.chain(volumes).chain(buckets.map(BucketSummary::subject)).collect()
    }

    /// Whether this client may see everything.
    pub(super) fn sees_all(&self) -> bool {
        self.server.access == Access::Full
    }

    /// Every source on the server, named so.
    pub(super) fn found(&self, server: &str) -> Vec<Found> {
        let instances = self.instances.instances.iter().map(|one| {
            let own_keys = one.user_keys.iter().filter(|(key, _)| one.config.contains_key(*key));
            Found {
                source: Source::instance(server, &one.project, &one.name),
                what: format!("{}, {}", one.kind, one.status),
                own_keys: own_keys.map(|(key, value)| (key.clone(), value.clone())).collect(),
                inherited_keys: one.user_keys.clone(),
                users: Vec::new(),
                of_no_use: is_replacement(one).then_some("it is what a restore made, and has not taken its place yet"),
            }
        });
        let volumes = self.volumes.volumes.iter().map(|one| {
            let is_own = self.own_volumes.iter().any(|(pool, volume)| one.pool == *pool && one.name == *volume);
            Found {
                source: Source::volume(server, &one.project, &one.pool, &one.name).on_member(one.member.as_deref()),
                what: volume_in_words(one, &self.server),
                own_keys: one.config.clone(),
                inherited_keys: BTreeMap::new(),
                users: one.users.iter().map(|(project, name)| Source::instance(server, project, name)).collect(),
                of_no_use: is_own.then_some("the daemon keeps its own backups or images in it"),
            }
        });
        let buckets = self.buckets.buckets.iter().map(|one| Found {
            source: Source::bucket(server, &one.project, &one.pool, &one.name).on_member(one.member.as_deref()),
            what: match bucket_hindrance(one, &self.server) {
                None => "bucket".to_owned(),
                Some(reason) => format!("bucket, cannot be backed up, for {reason}"),
            },
            own_keys: one.config.clone(),
            inherited_keys: BTreeMap::new(),
            users: Vec::new(),
            of_no_use: None,
        });
        let images = self.images.images.iter().map(|one| Found {
            source: Source::image(server, &one.project, &one.fingerprint),
            what: image_in_words(one),
            own_keys: BTreeMap::new(),
            inherited_keys: BTreeMap::new(),
            users: Vec::new(),
            of_no_use: one.cached.then_some("the daemon fetched it by itself, and will do so again"),
        });
        instances.chain(volumes).chain(buckets).chain(images).collect()
    }

    /// Projects that cannot be looked into.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let problem = |(project, error): &(String, DaemonError)| Problem {
            object: format!("project {project}"),
            message: describe(error),
        };
        let problems = self.instances.problems.iter().chain(&self.volumes.problems).chain(&self.buckets.problems);
        problems.chain(&self.images.problems).map(problem).collect()
    }
}

/// Whether it is an instance that a restore is about to put in another one's place: its point is in the repository.
fn is_replacement(instance: &Summary) -> bool {
    instance.name.starts_with(REPLACEMENT_PREFIX) && instance.config.contains_key(REPLACES)
}

/// One thing on the server that a run may save.
pub(super) struct Found {
    pub source: Source,
    /// What it is, in words.
    pub what: String,
    /// Keys of its own.
    pub own_keys: BTreeMap<String, String>,
    /// Keys of its own and of its profiles.
    pub inherited_keys: BTreeMap<String, String>,
    /// The instances that a volume is attached to.
    pub users: Vec<Source>,
    /// Why it is saved only if it is asked for by name.
    pub of_no_use: Option<&'static str>,
}

fn volume_in_words(volume: &VolumeSummary, server: &Server) -> String {
    let what = match &volume.content {
        VolumeContent::Filesystem => "volume of files",
        VolumeContent::Block => "block volume",
        VolumeContent::Iso => "disc image",
        VolumeContent::Other(_) => "volume of an unknown sort",
    };
    if let Some(reason) = hindrance(volume, server) {
        return format!("{what}, cannot be backed up, for {reason}");
    }
    match volume.users.len() {
        0 => what.to_owned(),
        1 => format!("{what}, attached to an instance"),
        users => format!("{what}, attached to {users} instances"),
    }
}

fn image_in_words(image: &ImageSummary) -> String {
    let what = if image.kind == "virtual-machine" { "image of a virtual machine" } else { "image of a container" };
    match image.aliases.first() {
        Some(alias) => format!("{what}, called {}", alias.name),
        None => what.to_owned(),
    }
}
