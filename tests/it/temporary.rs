//! Temporary snapshots: what would change while it is read is read from one, and nobody else ever sees it.

use holdall::backup::{BackupOptions, Fuzzy, Selection, StagingCheck, Summary, back_up};
use holdall::daemon::fake::{FakeDaemon, FakeInstance, Fault};
use holdall::daemon::{Daemon, Flavor, Layout, Snapshots, Subject};
use holdall::monitor::Silent;
use holdall::point::{Consistency, Point};
use holdall::repo::Repository;
use holdall::restore::{RestoreTarget, restore};
use proptest::prelude::*;

use crate::fixture::{clock, export_bytes, host, new, noise, points};

/// With a hole in it, so that zeros pass, too.
fn disk() -> Vec<u8> {
    [noise(1, 100_000), vec![0; 300_000], noise(2, 70_000)].concat()
}

fn machine() -> FakeInstance {
    FakeInstance::virtual_machine("vm1", &disk()).snapshot("s0", Some("2027-06-01T00:00:00Z"))
}

/// The machine as it runs: an export reads another disk than there ever was.
fn running() -> FakeInstance {
    machine().status("Running").torn(&[noise(1, 100_000), noise(3, 370_000)].concat())
}

fn daemon(flavor: Flavor, driver: &str, instance: &FakeInstance) -> FakeDaemon {
    let daemon = FakeDaemon::new(flavor);
    daemon.add_pool("default", driver);
    daemon.add(instance);
    daemon
}

fn run(repository: &Repository, daemon: &FakeDaemon, options: &BackupOptions) -> Summary {
    back_up(repository, daemon, &Selection::All, options, host(&clock()), &Silent).unwrap()
}

fn unchecked() -> BackupOptions {
    BackupOptions { staging: StagingCheck::Skipped, ..BackupOptions::default() }
}

fn only_point(repository: &Repository) -> Point {
    let mut found = points(repository);
    assert_eq!(found.len(), 1);
    found.remove(0).1
}

fn snapshots(daemon: &FakeDaemon, name: &str) -> Vec<String> {
    daemon.snapshots(&Subject::instance("default", name)).unwrap()
}

fn members_of(stream: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> {
    let mut archive = tar::Archive::new(stream);
    let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), content)
    };
    archive.entries().unwrap().map(read).collect::<Vec<_>>().into_iter()
}

/// Whether it is what is written anew.
fn is_own_description(path: &str) -> bool {
    ["backup/index.yaml", "backup/virtual-machine/backup.yaml"].contains(&path)
}

/// What does not speak of the instance: files, disks, and where they stand.
fn members(stream: &[u8]) -> Vec<(String, Vec<u8>)> {
    members_of(stream).filter(|(path, _)| path.rsplit('/').next().unwrap().split('.').nth(1) != Some("yaml")).collect()
}

/// The calls that change something, without the names.
fn verbs(daemon: &FakeDaemon) -> Vec<String> {
    daemon.calls().iter().map(|call| call.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn a_running_machine_is_saved_as_it_was_at_one_moment() {
    for flavor in [Flavor::Lxd, Flavor::Incus] {
        for driver in ["btrfs", "zfs", "ceph"] {
            let (repository, daemon) = (new(), daemon(flavor, driver, &running()));
            let summary = run(&repository, &daemon, &unchecked());
            assert_eq!((summary.failed, summary.made.len()), (vec![], 1));
            let point = only_point(&repository);
            assert_eq!((point.consistency, point.remarks.len()), (Consistency::Snapshot, 0));
            let stored = export_bytes(&repository, &point);
            assert!(members(&stored) == members(&machine().export()));
            assert_eq!((snapshots(&daemon, "vm1"), verbs(&daemon).len()), (vec!["s0".to_owned()], 3));
            let descriptions = members_of(&stored).filter(|(path, _)| is_own_description(path));
            let descriptions: Vec<String> = descriptions.map(|(_, text)| String::from_utf8(text).unwrap()).collect();
            assert!(descriptions.iter().all(|text| text.contains("s0") && !text.contains("holdall-")));
            assert_eq!(descriptions.len(), 2);
            let target = FakeDaemon::new(flavor);
            restore(&repository, &target, "a point", &point, &RestoreTarget::default(), &Silent).unwrap();
            assert!(members(&target.imports()[0].bytes) == members(&machine().export()));
            assert_eq!(snapshots(&target, "vm1"), ["s0"]);
        }
    }
}

#[test]
fn without_snapshots_it_is_the_disk_alone() {
    let (repository, daemon) = (new(), daemon(Flavor::Incus, "btrfs", &running()));
    run(&repository, &daemon, &BackupOptions { snapshots: Snapshots::Omit, ..unchecked() });
    let stored = export_bytes(&repository, &only_point(&repository));
    assert!(members(&stored) == members(&machine().export_instance_only()));
    assert_eq!(snapshots(&daemon, "vm1"), ["s0"]);
}

#[test]
fn it_is_gone_whatever_becomes_of_the_export() {
    let faults: &[&[Fault]] = &[&[Fault::CutAt(9000)], &[Fault::EndAt(9000)], &[Fault::OperationFails("no".into())]];
    for flavor in [Flavor::Lxd, Flavor::Incus] {
        for attempt in faults {
            let (repository, daemon) = (new(), daemon(flavor, "btrfs", &running()));
            for _ in 0..3 {
                daemon.fault("default", "vm1", attempt);
            }
            let summary = run(&repository, &daemon, &unchecked());
            assert_eq!((summary.made.len(), summary.failed.len()), (0, 1));
            assert_eq!(snapshots(&daemon, "vm1"), ["s0"], "{:?}", daemon.calls());
            let verbs = verbs(&daemon);
            let count = |verb: &str| verbs.iter().filter(|one| *one == verb).count();
            assert_eq!(count("snapshot"), count("unsnapshot"));
            assert!(count("snapshot") >= 2, "{verbs:?}");
        }
    }
}

#[test]
fn where_none_is_allowed_it_is_read_as_it_changes_only_if_that_is_allowed() {
    let (repository, daemon) = (new(), daemon(Flavor::Incus, "btrfs", &running()));
    daemon.forbid_snapshots("Project doesn't allow for snapshot creation");
    let summary = run(&repository, &daemon, &unchecked());
    assert!(summary.failed[0].1.contains("doesn't allow for snapshot creation"), "{:?}", summary.failed);
    run(&repository, &daemon, &BackupOptions { fuzzy: Fuzzy::Allow, ..unchecked() });
    let point = only_point(&repository);
    assert_eq!(point.consistency, Consistency::Fuzzy);
    assert!(export_bytes(&repository, &point) == running().export());
}

#[test]
fn nothing_is_made_where_it_is_not_needed_or_not_cheap() {
    let container = || FakeInstance::container("web1").file("srv/data", b"x").status("Running");
    let refusing = BackupOptions { fuzzy: Fuzzy::Refuse, ..unchecked() };
    let cases = [
        // Stopped, or read from a snapshot by the daemon itself, or files that may change unless that is refused.
        ("btrfs", machine(), unchecked(), Some(Consistency::Stopped), false),
        ("btrfs", container(), refusing.clone(), Some(Consistency::CrashConsistent), false),
        ("ceph", container(), unchecked(), Some(Consistency::Fuzzy), false),
        ("ceph", container(), refusing.clone(), Some(Consistency::Snapshot), true),
        ("dir", container(), refusing.clone(), None, false),
        ("dir", running(), unchecked(), None, false),
        // The driver's own streams hold what a snapshot held.
        (
            "btrfs",
            running(),
            BackupOptions { layout: Layout::Optimized, ..unchecked() },
            Some(Consistency::CrashConsistent),
            false,
        ),
    ];
    for (driver, instance, options, expected, is_taken) in cases {
        let (repository, daemon) = (new(), daemon(Flavor::Incus, driver, &instance));
        let summary = run(&repository, &daemon, &options);
        let made = points(&repository).first().map(|(_, point)| point.consistency);
        assert_eq!(made, expected, "{driver}: {:?}", summary.failed);
        assert_eq!(verbs(&daemon).contains(&"snapshot".to_owned()), is_taken, "{driver}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However the stream comes, what is stored is the same.
    #[test]
    fn a_stream_in_any_pieces_becomes_the_same(seed in 0_u64..1000, head in 0_usize..3000, zeros in 0_usize..400_000) {
        let disk = [noise(seed, head), vec![0; zeros], noise(seed + 1, 10_000)].concat();
        let still = FakeInstance::virtual_machine("vm1", &disk).snapshot("s0", None);
        let running = still.clone().status("Running").torn(&disk[1..]);
        let (repository, daemon) = (new(), daemon(Flavor::Incus, "zfs", &running));
        run(&repository, &daemon, &unchecked());
        let stored = export_bytes(&repository, &only_point(&repository));
        prop_assert!(members(&stored) == members(&still.export()));
    }
}
