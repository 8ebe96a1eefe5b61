//! A restored instance takes the place of another: wherever that stops, one of them is there, and the next one goes on.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};

use holdall::backup::{BackupOptions, Selection, StagingCheck, back_up};
use holdall::clock::Timestamp;
use holdall::daemon::fake::{FakeDaemon, FakeInstance};
use holdall::daemon::{
    BackupEntry, Bucket, BucketListing, Daemon, DaemonError, Export, ExportRequest, Flavor, Image, ImageAlias,
    ImageListing, ImageSettings, ImportRequest, Instance, InstanceChange, Listing, Network, Pool, Profile, Progress,
    Project, Script, Server, Staging, Subject, Volume, VolumeListing,
};
use holdall::monitor::Silent;
use holdall::point::Point;
use holdall::repo::Repository;
use holdall::restore::{Conflict, RestoreError, RestoreTarget, Restored, restore};

use crate::fixture::{clock, host, new, noise, points};

const CLOUD_INIT: &str = "volatile.cloud-init.instance-id";

fn web1(note: &str, id: char) -> FakeInstance {
    FakeInstance::container("web1")
        .config("user.note", note)
        .config(CLOUD_INIT, &format!("{id}{id}{id}{id}-0000-4000-8000-000000000000"))
        .snapshot("s0", Some("2027-06-01T00:00:00Z"))
        .file("srv/data", &noise(1, 20_000))
}

/// What is to come back, and a server on which something else has the name since.
fn scene() -> (Repository, Point, FakeDaemon) {
    let (repository, origin) = (new(), FakeDaemon::new(Flavor::Lxd));
    origin.add(&web1("new", 'a'));
    let options = BackupOptions { staging: StagingCheck::Skipped, ..BackupOptions::default() };
    back_up(&repository, &origin, &Selection::All, &options, host(&clock()), &Silent).unwrap();
    let (_, point) = points(&repository).remove(0);
    let daemon = FakeDaemon::new(Flavor::Lxd);
    daemon.add(&web1("old", 'b'));
    (repository, point, daemon)
}

fn put(
    (repository, point): (&Repository, &Point),
    daemon: &dyn Daemon,
    conflict: Conflict,
) -> Result<Restored, RestoreError> {
    let target = RestoreTarget { conflict, ..RestoreTarget::default() };
    restore(repository, daemon, "web1@latest", point, &target, &Silent)
}

/// Names and notes of all instances.
fn present(daemon: &FakeDaemon) -> Vec<(String, String)> {
    let instances = daemon.instances().unwrap().instances.into_iter();
    instances.map(|one| (one.name, one.config["user.note"].clone())).collect()
}

fn is_whole(daemon: &FakeDaemon) {
    assert_eq!(present(daemon), [("web1".to_owned(), "new".to_owned())]);
    let instance = daemon.instance("default", "web1").unwrap().unwrap();
    let config = &instance.summary.config;
    assert!(config.keys().all(|key| !key.starts_with("user.holdall")), "{config:?}");
    assert_eq!(config[CLOUD_INIT], "aaaa-0000-4000-8000-000000000000", "cloud-init knows it");
    assert_eq!(instance.snapshots[0].expires_at.as_deref(), Some("2027-06-01T00:00:00Z"));
}

#[test]
fn the_restored_instance_takes_the_place_of_the_old_one() {
    let (repository, point, daemon) = scene();
    let restored = put((&repository, &point), &daemon, Conflict::Replace).unwrap();
    assert_eq!((restored.name.as_str(), restored.replaced, restored.remarks), ("web1", true, Vec::new()));
    is_whole(&daemon);
    let changes: Vec<String> = daemon.calls().iter().map(|call| call.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(changes, ["import", "expire", "update", "rename", "rename", "delete", "update"]);
}

#[test]
fn where_there_is_nothing_to_replace_it_is_a_plain_restore() {
    let (repository, point, daemon) = scene();
    daemon.delete_instance("default", "web1").unwrap();
    let restored = put((&repository, &point), &daemon, Conflict::Replace).unwrap();
    assert!(!restored.replaced);
    is_whole(&daemon);
}

#[test]
fn what_runs_or_is_protected_is_not_replaced_and_nothing_is_sent() {
    let refuses = |old: FakeInstance| {
        let (repository, point, daemon) = scene();
        daemon.add(&old);
        let refused = put((&repository, &point), &daemon, Conflict::Replace).unwrap_err();
        assert!(matches!(refused, RestoreError::NotReplaceable { .. }), "{refused}");
        assert_eq!((daemon.imports(), daemon.calls()), (Vec::new(), Vec::new()));
        refused.to_string()
    };
    assert_eq!(
        refuses(web1("old", 'b').status("Running")),
        "Instance web1 is running, not stopped, so it cannot be replaced"
    );
    let protected = refuses(web1("old", 'b').expanded_config("security.protection.delete", "true"));
    assert!(protected.contains("security.protection.delete"), "{protected}");
}

#[test]
fn an_upload_that_fails_leaves_the_old_one_alone() {
    let (repository, point, daemon) = scene();
    let before = daemon.instance("default", "web1").unwrap();
    // Whatever the restored one is called meanwhile, the server takes none that is marked.
    daemon.refuse_key("user.holdall.replaces");
    for _ in 0..2 {
        put((&repository, &point), &daemon, Conflict::Replace).unwrap_err();
        assert_eq!(daemon.instance("default", "web1").unwrap(), before);
        assert_eq!(present(&daemon).len(), 1);
    }
}

#[test]
fn settings_that_anybody_may_write_delete_nothing() {
    let (repository, point, daemon) = scene();
    let spoofed = |name: &str| {
        FakeInstance::container(name)
            .config("user.note", "theirs")
            .config("user.holdall.replaces", "web1")
            .config("user.holdall.replaces.old", "precious")
    };
    daemon.add(&spoofed("copy-of-it"));
    daemon.add(&FakeInstance::container("precious").config("user.note", "theirs"));
    put((&repository, &point), &daemon, Conflict::Replace).unwrap();
    // Restored from a point that was made while it was marked, or marked by its owner.
    daemon.delete_instance("default", "web1").unwrap();
    daemon.add(&spoofed("web1"));
    put((&repository, &point), &daemon, Conflict::Replace).unwrap();
    let expected = [("copy-of-it", "theirs"), ("precious", "theirs"), ("web1", "new")];
    assert_eq!(present(&daemon), expected.map(|(name, note)| (name.to_owned(), note.to_owned())));
}

#[test]
fn a_point_of_a_marked_instance_is_restored_without_the_marks() {
    let (repository, origin) = (new(), FakeDaemon::new(Flavor::Lxd));
    origin.add(&web1("new", 'a').config("user.holdall.replaces", "web1").config("user.holdall.replaces.old", "x"));
    let options = BackupOptions { staging: StagingCheck::Skipped, ..BackupOptions::default() };
    back_up(&repository, &origin, &Selection::All, &options, host(&clock()), &Silent).unwrap();
    let (_, point) = points(&repository).remove(0);
    let daemon = FakeDaemon::new(Flavor::Lxd);
    put((&repository, &point), &daemon, Conflict::Refuse).unwrap();
    is_whole(&daemon);
}

#[test]
fn what_was_protected_when_it_was_backed_up_does_not_stay_behind() {
    let (repository, origin) = (new(), FakeDaemon::new(Flavor::Lxd));
    origin.add(&web1("new", 'a').config("security.protection.delete", "true"));
    let options = BackupOptions { staging: StagingCheck::Skipped, ..BackupOptions::default() };
    back_up(&repository, &origin, &Selection::All, &options, host(&clock()), &Silent).unwrap();
    let (_, point) = points(&repository).remove(0);
    let daemon = FakeDaemon::new(Flavor::Lxd);
    daemon.add(&web1("old", 'b'));
    // It is imported, and then nothing more is done.
    assert!(!killed(&daemon, (&repository, &point), 1, true));
    assert_eq!(present(&daemon).len(), 2);
    put((&repository, &point), &daemon, Conflict::Replace).unwrap();
    is_whole(&daemon);
}

/// A daemon that cannot be reached any more from some changing call on, as after the death of whoever asks.
struct Dying {
    inner: FakeDaemon,
    calls_left: AtomicUsize,
    /// Whether the last call is done before.
    last_is_done: bool,
}

impl Dying {
    fn gone() -> DaemonError {
        DaemonError::Silent { object: "the server".to_owned(), seconds: 1 }
    }

    fn ask<T>(&self, call: impl FnOnce(&FakeDaemon) -> Result<T, DaemonError>) -> Result<T, DaemonError> {
        if self.calls_left.load(Ordering::Relaxed) == 0 { Err(Self::gone()) } else { call(&self.inner) }
    }

    fn change<T>(&self, call: impl FnOnce(&FakeDaemon) -> Result<T, DaemonError>) -> Result<T, DaemonError> {
        match self.calls_left.load(Ordering::Relaxed) {
            0 => return Err(Self::gone()),
            left => self.calls_left.store(left - 1, Ordering::Relaxed),
        }
        let dies = self.calls_left.load(Ordering::Relaxed) == 0;
        if dies && !self.last_is_done {
            return Err(Self::gone());
        }
        let done = call(&self.inner);
        if dies { Err(Self::gone()) } else { done }
    }
}

impl Daemon for Dying {
    fn server(&self) -> Result<Server, DaemonError> {
        self.ask(Daemon::server)
    }
    fn projects(&self) -> Result<Vec<Project>, DaemonError> {
        self.ask(Daemon::projects)
    }
    fn instances(&self) -> Result<Listing, DaemonError> {
        self.ask(Daemon::instances)
    }
    fn instance(&self, project: &str, name: &str) -> Result<Option<Instance>, DaemonError> {
        self.ask(|inner| inner.instance(project, name))
    }
    fn volumes(&self) -> Result<VolumeListing, DaemonError> {
        self.ask(Daemon::volumes)
    }
    fn volume(&self, subject: &Subject) -> Result<Option<Volume>, DaemonError> {
        self.ask(|inner| inner.volume(subject))
    }
    fn buckets(&self) -> Result<BucketListing, DaemonError> {
        self.ask(Daemon::buckets)
    }
    fn bucket(&self, subject: &Subject) -> Result<Option<Bucket>, DaemonError> {
        self.ask(|inner| inner.bucket(subject))
    }
    fn images(&self) -> Result<ImageListing, DaemonError> {
        self.ask(Daemon::images)
    }
    fn image(&self, project: &str, fingerprint: &str) -> Result<Option<Image>, DaemonError> {
        self.ask(|inner| inner.image(project, fingerprint))
    }
    fn update_image(&self, project: &str, fingerprint: &str, settings: &ImageSettings) -> Result<(), DaemonError> {
        self.change(|inner| inner.update_image(project, fingerprint, settings))
    }
    fn add_image_alias(&self, project: &str, fingerprint: &str, alias: &ImageAlias) -> Result<(), DaemonError> {
        self.change(|inner| inner.add_image_alias(project, fingerprint, alias))
    }
    fn describe_volume(&self, subject: &Subject, description: &str) -> Result<(), DaemonError> {
        self.change(|inner| inner.describe_volume(subject, description))
    }
    fn execute(&self, script: &Script<'_>) -> Result<i64, DaemonError> {
        self.change(|inner| inner.execute(script))
    }
    fn exists(&self, subject: &Subject) -> Result<bool, DaemonError> {
        self.ask(|inner| inner.exists(subject))
    }
    fn export(
        &self,
        request: &ExportRequest,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Box<dyn Export>, DaemonError> {
        self.ask(|inner| inner.export(request, progress))
    }
    fn import(
        &self,
        request: &ImportRequest,
        body: &mut (dyn Read + Send),
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), DaemonError> {
        self.change(|inner| inner.import(request, body, progress))
    }
    fn backups(&self, subject: &Subject) -> Result<Vec<BackupEntry>, DaemonError> {
        self.ask(|inner| inner.backups(subject))
    }
    fn delete_backup(&self, subject: &Subject, backup: &str) -> Result<(), DaemonError> {
        self.change(|inner| inner.delete_backup(subject, backup))
    }
    fn snapshots(&self, subject: &Subject) -> Result<Vec<String>, DaemonError> {
        self.ask(|inner| inner.snapshots(subject))
    }
    fn take_snapshot(&self, subject: &Subject, name: &str, expires_at: Timestamp) -> Result<(), DaemonError> {
        self.change(|inner| inner.take_snapshot(subject, name, expires_at))
    }
    fn delete_snapshot(&self, subject: &Subject, name: &str) -> Result<(), DaemonError> {
        self.change(|inner| inner.delete_snapshot(subject, name))
    }
    fn update_instance(&self, project: &str, name: &str, change: &InstanceChange) -> Result<(), DaemonError> {
        self.change(|inner| inner.update_instance(project, name, change))
    }
    fn set_snapshot_expiry(
        &self,
        project: &str,
        instance: &str,
        snapshot: &str,
        expires_at: Option<&str>,
    ) -> Result<(), DaemonError> {
        self.change(|inner| inner.set_snapshot_expiry(project, instance, snapshot, expires_at))
    }
    fn rename_instance(&self, project: &str, from: &str, to: &str) -> Result<(), DaemonError> {
        self.change(|inner| inner.rename_instance(project, from, to))
    }
    fn delete_instance(&self, project: &str, name: &str) -> Result<(), DaemonError> {
        self.change(|inner| inner.delete_instance(project, name))
    }
    fn members(&self) -> Result<Vec<String>, DaemonError> {
        self.ask(Daemon::members)
    }
    fn pools(&self) -> Result<Vec<Pool>, DaemonError> {
        self.ask(Daemon::pools)
    }
    fn profiles(&self, project: &str) -> Result<Vec<Profile>, DaemonError> {
        self.ask(|inner| inner.profiles(project))
    }
    fn networks(&self, project: &str) -> Result<Vec<Network>, DaemonError> {
        self.ask(|inner| inner.networks(project))
    }
    fn instance_keys(&self) -> Result<Option<std::collections::BTreeSet<String>>, DaemonError> {
        self.ask(Daemon::instance_keys)
    }
    fn staging(&self, project: &str) -> Result<Staging, DaemonError> {
        self.ask(|inner| inner.staging(project))
    }
}

/// Kills a replacement at its nth change, and returns whether it got through.
fn killed(inner: &FakeDaemon, backup: (&Repository, &Point), nth: usize, last_is_done: bool) -> bool {
    let daemon = Dying { inner: inner.clone(), calls_left: AtomicUsize::new(nth), last_is_done };
    put(backup, &daemon, Conflict::Replace).is_ok()
}

#[test]
fn wherever_a_replacement_dies_the_next_one_goes_on() {
    for last_is_done in [false, true] {
        for nth in 1.. {
            let (repository, point, daemon) = scene();
            if killed(&daemon, (&repository, &point), nth, last_is_done) {
                assert!(nth > 7, "there are seven changes");
                break;
            }
            let left = present(&daemon);
            let has = |name: &str, note: &str| left.iter().any(|one| one.0.starts_with(name) && one.1 == note);
            assert!(has("web1", "old") || has("holdall-old-", "old") || has("web1", "new"), "{nth}: {left:?}");

            // Without --replace nothing is done, and what there is is said.
            let uploads = daemon.imports().len();
            let refused = put((&repository, &point), &daemon, Conflict::Refuse).unwrap_err();
            match &refused {
                RestoreError::NameTaken { .. } => assert!(left.iter().any(|one| one.0 == "web1")),
                RestoreError::Interrupted { left: said, .. } => {
                    assert!(said.contains("holdall-old-") && said.contains("holdall-new-"), "{said}");
                }
                other => panic!("{nth}: {other:?}"),
            }
            assert_eq!((daemon.imports().len(), present(&daemon)), (uploads, left));

            let restored = put((&repository, &point), &daemon, Conflict::Replace).unwrap();
            assert!(restored.replaced);
            is_whole(&daemon);
        }
    }
}

#[test]
fn a_replacement_that_dies_again_and_again_still_loses_nothing() {
    for first in 1..8 {
        for second in 1..12 {
            let (repository, point, daemon) = scene();
            for (nth, last_is_done) in [(first, true), (second, second % 2 == 0), (second, true)] {
                killed(&daemon, (&repository, &point), nth, last_is_done);
            }
            put((&repository, &point), &daemon, Conflict::Replace).unwrap();
            is_whole(&daemon);
        }
    }
}
