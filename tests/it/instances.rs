//! Backup and restore of instances against the daemon in memory: what makes a point, what makes none, and what is said.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use holdall::backup::{
    Adopt, BackupError, BackupOptions, Fuzzy, IdentityError, Selection, StagingCheck, Summary, back_up, plan,
};
use holdall::clock::Timestamp;
use holdall::daemon::fake::{FakeDaemon, FakeInstance, Fault};
use holdall::daemon::{Daemon, DaemonError, Flavor, Snapshots, Subject};
use holdall::id::{PointId, RunId, ServerId};
use holdall::limits::{DESCRIPTION_BYTES_MAX, NAME_BYTES_MAX};
use holdall::monitor::{Event, Monitor, Silent};
use holdall::point::{Consistency, Point};
use holdall::repo::{Note, NoteFact, Repository, Session, SessionRecord, Writer};
use holdall::restore::{RestoreError, RestoreTarget, Restored, restore};
use holdall::store::{MemoryStore, Store};

use crate::fixture::{clock, export_bytes, host, import_bytes, init, new, noise, points, reopen};

const HOST: &str = "test-host";

fn web1() -> FakeInstance {
    FakeInstance::container("web1")
        .snapshot("s0", Some("2027-06-01T00:00:00Z"))
        .nic("eth0", "br0", "00:16:3e:00:00:01")
        .file("etc/hello", b"hello\n")
        .file("srv/data", &noise(1, 300_000))
}

fn db1() -> FakeInstance {
    FakeInstance::container("db1").file("srv/data", &noise(2, 50_000))
}

/// A daemon with `web1` and `db1`, and faults for the attempts at `web1`, one list each.
fn faulty(flavor: Flavor, attempts: &[&[Fault]]) -> FakeDaemon {
    let daemon = FakeDaemon::new(flavor);
    daemon.add(&web1());
    daemon.add(&db1());
    daemon.add_network("default", "br0");
    for faults in attempts {
        daemon.fault("default", "web1", faults);
    }
    daemon
}

/// In a row: a source that has to wait for the staging area begins anew, and the faults are counted by attempts.
fn unchecked() -> BackupOptions {
    BackupOptions { staging: StagingCheck::Skipped, parallel: 1, ..BackupOptions::default() }
}

fn sources(names: &[&str]) -> Selection {
    Selection::Sources(names.iter().map(|name| name.parse().unwrap()).collect())
}

fn try_run(
    repository: &Repository,
    daemon: &FakeDaemon,
    selection: &Selection,
    options: &BackupOptions,
) -> Result<Summary, BackupError> {
    let result = back_up(repository, daemon, selection, options, host(&clock()), &Silent);
    assert_eq!(repository.list_sessions().unwrap(), [], "no session outlives its run");
    result
}

fn run(repository: &Repository, daemon: &FakeDaemon, options: &BackupOptions) -> Summary {
    try_run(repository, daemon, &Selection::All, options).unwrap()
}

/// The points of sources of this name.
fn points_of(repository: &Repository, name: &str) -> Vec<Point> {
    points(repository).into_iter().map(|(_, point)| point).filter(|point| point.source.name == name).collect()
}

/// The point of the only instance of a new repository.
fn point_of(flavor: Flavor, instance: &FakeInstance, driver: &str, options: &BackupOptions) -> (Point, Vec<u8>) {
    let (repository, daemon) = (new(), FakeDaemon::new(flavor));
    daemon.add_pool("default", driver);
    daemon.add(instance);
    let summary = run(&repository, &daemon, options);
    assert_eq!(summary.failed, []);
    let (_, point) = points(&repository).remove(0);
    let bytes = export_bytes(&repository, &point);
    (point, bytes)
}

/// Runs over a daemon with faults and requires that `web1` has no point and `db1` has one. Returns the reason.
fn reason(daemon: &FakeDaemon) -> String {
    let repository = new();
    let summary = run(&repository, daemon, &unchecked());
    assert_eq!((points_of(&repository, "web1").len(), points_of(&repository, "db1").len()), (0, 1));
    let (source, reason) = summary.failed.first().unwrap().clone();
    assert_eq!((source.to_string().as_str(), summary.failed.len(), summary.made.len()), ("fake//web1", 1, 1));
    let noted = repository.notes().unwrap().into_iter().find_map(|(_, note)| match note.fact {
        NoteFact::Run(run) => Some((run.succeeded, run.failed)),
        _ => None,
    });
    assert_eq!(noted, Some((1, summary.failed)), "the run's note says the same");
    reason
}

/// Runs over a daemon with faults and requires points of both. Returns that of `web1`.
fn point_in_spite(daemon: &FakeDaemon) -> Point {
    let repository = new();
    let summary = run(&repository, daemon, &unchecked());
    assert_eq!((summary.failed, summary.made.len()), (Vec::new(), 2));
    let point = points_of(&repository, "web1").remove(0);
    assert!(export_bytes(&repository, &point) == web1().export());
    point
}

#[test]
fn a_point_of_an_instance_is_its_export_byte_for_byte() {
    let machine = FakeInstance::virtual_machine("vm1", &noise(3, 200_000)).snapshot("s0", None);
    for flavor in [Flavor::Lxd, Flavor::Incus] {
        for instance in [&web1(), &machine] {
            let (point, bytes) = point_of(flavor, instance, "dir", &unchecked());
            assert!(bytes == instance.export());
            assert_eq!(point.server.unwrap().flavor, flavor.to_string());
        }
    }
}

#[test]
fn a_point_without_snapshots_says_which_are_missing() {
    let options = BackupOptions { snapshots: Snapshots::Omit, ..unchecked() };
    let (point, bytes) = point_of(Flavor::Lxd, &web1(), "dir", &options);
    assert!(bytes == web1().export_instance_only());
    assert_eq!(point.remarks, ["Snapshot s0 is not in this point"]);
}

#[test]
fn a_point_says_how_consistent_it_is() {
    let word = |status: &str, driver: &str| {
        point_of(Flavor::Incus, &web1().status(status), driver, &unchecked()).0.consistency
    };
    assert_eq!(word("Stopped", "dir"), Consistency::Stopped);
    assert_eq!(word("Stopped", "btrfs"), Consistency::Stopped);
    assert_eq!(word("Running", "btrfs"), Consistency::CrashConsistent);
    assert_eq!(word("Running", "zfs"), Consistency::CrashConsistent);
    assert_eq!(word("Frozen", "dir"), Consistency::CrashConsistent);
    assert_eq!(word("Running", "dir"), Consistency::Fuzzy);
    assert_eq!(word("Running", "lvm"), Consistency::Fuzzy);
}

#[test]
fn a_running_machine_is_refused_until_a_fuzzy_point_is_allowed() {
    let machine = FakeInstance::virtual_machine("vm1", &noise(3, 50_000)).status("Running");
    for driver in ["dir", "lvm"] {
        let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
        daemon.add_pool("default", driver);
        daemon.add(&machine);
        let summary = run(&repository, &daemon, &unchecked());
        assert!(summary.failed[0].1.contains("--allow-fuzzy"), "{:?}", summary.failed);
        assert_eq!((daemon.calls(), points(&repository).len()), (Vec::new(), 0));
        let options = BackupOptions { fuzzy: Fuzzy::Allow, ..unchecked() };
        assert_eq!(point_of(Flavor::Incus, &machine, driver, &options).0.consistency, Consistency::Fuzzy);
    }
}

#[test]
fn a_stream_that_breaks_every_time_makes_no_point() {
    let cut: &[Fault] = &[Fault::CutAt(5000)];
    for (flavor, attempts) in [(Flavor::Lxd, 2), (Flavor::Incus, 3)] {
        let daemon = faulty(flavor, &vec![cut; attempts]);
        let reason = reason(&daemon);
        assert!(reason.contains("5000"), "{reason}");
        let calls = daemon.calls().iter().filter(|call| call.contains("web1")).count();
        assert_eq!(calls, attempts, "{:?}", daemon.calls());
    }
}

#[test]
fn a_stream_that_ends_early_makes_no_point_wherever_it_ends() {
    let whole = web1().export().len() as u64;
    for at in [0, 700, 1024, 5120, whole / 2, whole - 1536, whole - 1024, whole - 512, whole - 1] {
        let early: &[Fault] = &[Fault::EndAt(at)];
        let reason = reason(&faulty(Flavor::Incus, &[early; 3]));
        assert!(reason.contains("The export is not complete"), "{at}: {reason}");
    }
    let early: &[Fault] = &[Fault::EndAt(whole - 1024)];
    assert!(reason(&faulty(Flavor::Lxd, &[early; 2])).contains(&(whole - 1024).to_string()));
}

#[test]
fn a_stream_that_ends_cleanly_between_two_members_makes_no_point() {
    // The end blocks are there, the container's volume is not: what an export of a deleted instance looks like.
    let whole = web1().export();
    let mut archive = tar::Archive::new(&whole[..]);
    let main = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap())
        .find(|entry| entry.path_bytes().as_ref() == b"backup/container")
        .map(|entry| usize::try_from(entry.raw_header_position()).unwrap());
    let shorter = [&whole[..main.unwrap()], &[0; 1024]].concat();
    let early: &[Fault] = &[Fault::Serve(shorter)];
    for flavor in [Flavor::Lxd, Flavor::Incus] {
        let reason = reason(&faulty(flavor, &[early; 3]));
        assert!(reason.contains("backup/container"), "{reason}");
    }
}

#[test]
fn an_instance_that_is_deleted_or_renamed_meanwhile_makes_no_point() {
    for flavor in [Flavor::Lxd, Flavor::Incus] {
        for fault in [Fault::DeleteInstance, Fault::RenameInstance("web9".to_owned())] {
            let reason = reason(&faulty(flavor, &[&[fault]]));
            assert!(reason.contains("The instance was deleted or renamed while it was exported"), "{reason}");
        }
    }
}

#[test]
fn an_instance_that_is_replaced_meanwhile_has_a_point_of_the_new_one_only() {
    for flavor in [Flavor::Lxd, Flavor::Incus] {
        let daemon = faulty(flavor, &[&[Fault::ReplaceInstance]]);
        let point = point_in_spite(&daemon);
        let present = daemon.instance("default", "web1").unwrap().unwrap();
        assert_eq!(point.description, present.json);
    }
}

#[test]
fn a_snapshot_that_is_deleted_meanwhile_makes_no_point() {
    for flavor in [Flavor::Lxd, Flavor::Incus] {
        let reason = reason(&faulty(flavor, &[&[Fault::DeleteSnapshot("s0".to_owned())]]));
        assert!(reason.contains("Snapshot s0 was deleted"), "{reason}");
    }
}

#[test]
fn a_snapshot_that_is_made_meanwhile_is_remarked() {
    for flavor in [Flavor::Lxd, Flavor::Incus] {
        let point = point_in_spite(&faulty(flavor, &[&[Fault::AddSnapshot("s1".to_owned())]]));
        assert_eq!(point.remarks, ["Snapshot s1 was made during the export"]);
    }
}

#[test]
fn remarks_are_as_many_and_as_long_as_a_point_can_hold() {
    let made: Vec<Fault> = (0..1200).map(|n| Fault::AddSnapshot(format!("{n}{}", "ä".repeat(600)))).collect();
    let point = point_in_spite(&faulty(Flavor::Incus, &[&made]));
    assert_eq!(point.remarks.len(), 1000);
    assert!(point.remarks.iter().all(|remark| remark.len() <= NAME_BYTES_MAX));
    assert!(point.remarks[0].len() > 1000 && point.remarks[999].contains("201 more"), "{}", point.remarks[999]);
}

#[test]
fn an_operation_whose_end_nobody_saw_makes_a_point_if_the_stream_is_whole() {
    for flavor in [Flavor::Lxd, Flavor::Incus] {
        assert_eq!(point_in_spite(&faulty(flavor, &[&[Fault::OperationUnseen]])).remarks, Vec::<String>::new());
    }
}

#[test]
fn an_operation_that_fails_behind_a_whole_stream_makes_no_point() {
    let fails: &[Fault] = &[Fault::OperationFails("the backup went wrong".to_owned())];
    for flavor in [Flavor::Lxd, Flavor::Incus] {
        let reason = reason(&faulty(flavor, &[fails; 3]));
        assert!(reason.contains("the backup went wrong"), "{reason}");
    }
}

#[test]
fn what_the_daemon_refuses_is_not_tried_again() {
    let words = "Project \"default\" doesn't allow for backup creation".to_owned();
    let daemon = faulty(Flavor::Lxd, &[&[Fault::Refused(500, words)]]);
    let reason = reason(&daemon);
    assert!(reason.contains("allow for backup creation"), "{reason}");
    assert_eq!(daemon.calls().iter().filter(|call| call.contains("web1")).count(), 1);
}

#[test]
fn a_fault_that_happens_once_costs_a_second_attempt_and_no_point() {
    for flavor in [Flavor::Lxd, Flavor::Incus] {
        for fault in [Fault::CutAt(9000), Fault::EndAt(9000), Fault::OperationFails("oh".to_owned())] {
            point_in_spite(&faulty(flavor, &[&[fault]]));
        }
    }
}

#[test]
fn a_direct_stream_that_breaks_twice_is_staged() {
    let cut: &[Fault] = &[Fault::CutAt(9000)];
    let daemon = faulty(Flavor::Incus, &[cut, cut]);
    point_in_spite(&daemon);
    let calls: Vec<String> = daemon.calls().into_iter().filter(|call| call.contains("web1")).collect();
    assert_eq!(calls, ["stream default/web1", "stream default/web1", "stage default/web1"]);
}

#[test]
fn a_failure_is_told_where_the_next_attempt_may_not_even_begin() {
    let (repository, daemon) = (new(), faulty(Flavor::Incus, &[&[Fault::CutAt(5000)], &[Fault::CutAt(6000)]]));
    let summary = run(&repository, &daemon, &BackupOptions::default());
    let (_, reason) = &summary.failed[0];
    assert!(reason.contains("6000") && reason.contains("staging area"), "{reason}");
    assert!(!reason.contains('\n'), "{reason}");
}

#[test]
fn an_instance_that_is_not_there_fails_alone() {
    let (repository, daemon) = (new(), faulty(Flavor::Incus, &[]));
    let summary = try_run(&repository, &daemon, &sources(&["web7", "lab/db1", "db1", "db1"]), &unchecked()).unwrap();
    assert_eq!((summary.made.len(), summary.failed.len()), (1, 2));
    assert_eq!(points_of(&repository, "db1").len(), 1);
}

#[test]
fn a_point_beyond_the_limits_of_the_format_costs_no_other_its_point() {
    let daemon = faulty(Flavor::Incus, &[&[Fault::Serve(web1().export())]]);
    daemon.add(&web1().config("user.much", &"x".repeat(DESCRIPTION_BYTES_MAX)));
    let reason = reason(&daemon);
    assert!(reason.contains("limits") && reason.contains("description"), "{reason}");
}

/// Asks to stop once the named source has begun.
struct StopsAt(&'static str, AtomicBool);

impl Monitor for StopsAt {
    fn event(&self, event: Event) {
        if matches!(event, Event::Started { object, .. } if object == self.0) {
            self.1.store(true, Ordering::Relaxed);
        }
    }

    fn stop_requested(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }
}

#[test]
fn a_run_that_is_stopped_keeps_the_points_of_finished_sources() {
    for flavor in [Flavor::Lxd, Flavor::Incus] {
        let (repository, daemon) = (new(), faulty(flavor, &[]));
        let monitor = StopsAt("fake//web1", AtomicBool::new(false));
        let summary = back_up(&repository, &daemon, &Selection::All, &unchecked(), host(&clock()), &monitor).unwrap();
        assert_eq!((summary.stopped, summary.made.len(), summary.failed), (true, 1, Vec::new()));
        assert_eq!((points_of(&repository, "db1").len(), points_of(&repository, "web1").len()), (1, 0));
        assert_eq!(repository.list_sessions().unwrap(), []);
        assert_eq!(backups(&daemon, "web1"), Vec::<String>::new());
    }
}

#[test]
fn a_plan_names_what_a_backup_takes() {
    let daemon = faulty(Flavor::Lxd, &[]);
    let whole = plan(&daemon, &Selection::All, &BackupOptions::default()).unwrap();
    let chosen: Vec<_> = whole.chosen().map(ToString::to_string).collect();
    assert_eq!((chosen, whole.problems.len()), (vec!["fake//db1".to_owned(), "fake//web1".to_owned()], 0));
    let other = plan(&daemon, &sources(&["elsewhere//web1"]), &BackupOptions::default());
    assert!(matches!(other, Err(BackupError::OtherServer { .. })));
    let file = plan(&daemon, &sources(&["file:x"]), &BackupOptions::default());
    assert!(matches!(file, Err(BackupError::Unsupported { .. })));
    assert_eq!(daemon.calls(), Vec::<String>::new());
}

// -- leftovers

fn leftover(repository: &Repository, session: PointId) -> String {
    format!("holdall-{}-{}", &repository.id().to_string()[..16], &session.to_string()[..32])
}

fn backups(daemon: &FakeDaemon, instance: &str) -> Vec<String> {
    daemon.backups(&Subject::instance("default", instance)).unwrap().into_iter().map(|entry| entry.name).collect()
}

/// A session that somebody began.
fn begin(repository: &Repository, record: &SessionRecord) -> Session {
    Writer::new(repository, record.run).open_session(record).unwrap().0
}

#[test]
fn what_a_dead_session_left_is_removed_and_nothing_else() {
    let (repository, daemon) = (new(), faulty(Flavor::Incus, &[]));
    let summary = run(&repository, &daemon, &unchecked());
    let record = SessionRecord::of_this_process(RunId::random().unwrap(), HOST, clock().0);
    let live = begin(&repository, &record);
    let elsewhere = SessionRecord { host: "another-host".to_owned(), process: u32::MAX, ..record.clone() };
    let elsewhere = begin(&repository, &elsewhere);
    let killed = SessionRecord { process_start: record.process_start + 1, ..record };
    let killed = begin(&repository, &killed);
    let session = PointId::random().unwrap();
    let kept = [
        leftover(&new(), session),
        leftover(&repository, live.id()),
        leftover(&repository, elsewhere.id()),
        "backup0".to_owned(),
        "holdall-nightly".to_owned(),
        leftover(&repository, session).to_uppercase(),
        format!("{}-1", leftover(&repository, session)),
    ];
    let over = [
        leftover(&repository, session),
        leftover(&repository, killed.id()),
        leftover(&repository, summary.made[0].point),
    ];
    let never = Timestamp::from_micros(1_900_000_000_000_000).unwrap();
    for name in kept.iter().chain(&over) {
        for instance in ["web1", "db1"] {
            daemon.add_backup("default", instance, name);
            daemon.take_snapshot(&Subject::instance("default", instance), name, never).unwrap();
        }
    }
    back_up(&repository, &daemon, &sources(&["db1"]), &unchecked(), host(&clock()), &Silent).unwrap();
    for (instance, own) in [("web1", vec!["s0".to_owned()]), ("db1", vec![])] {
        assert_eq!(backups(&daemon, instance), kept);
        let snapshots = daemon.snapshots(&Subject::instance("default", instance)).unwrap();
        assert_eq!(snapshots, [&own[..], &kept[..]].concat());
    }
}

/// When the first leftover is removed, begins a session and what it makes on `web1`, as another process would.
struct Meanwhile<'m> {
    repository: &'m Repository,
    daemon: &'m FakeDaemon,
    begun: Mutex<Option<Session>>,
}

impl Monitor for Meanwhile<'_> {
    fn event(&self, event: Event) {
        let mut begun = self.begun.lock().unwrap();
        if matches!(event, Event::Said { .. }) && begun.is_none() {
            let record = SessionRecord::of_this_process(RunId::random().unwrap(), HOST, clock().0);
            let session = begin(self.repository, &record);
            self.daemon.add_backup("default", "web1", &leftover(self.repository, session.id()));
            *begun = Some(session);
        }
    }
}

#[test]
fn a_session_that_begins_while_leftovers_are_removed_loses_nothing() {
    let (repository, daemon) = (new(), faulty(Flavor::Incus, &[]));
    daemon.add_backup("default", "db1", &leftover(&repository, PointId::random().unwrap()));
    let monitor = Meanwhile { repository: &repository, daemon: &daemon, begun: Mutex::new(None) };
    back_up(&repository, &daemon, &sources(&["db1"]), &unchecked(), host(&clock()), &monitor).unwrap();
    let session = monitor.begun.into_inner().unwrap().unwrap();
    assert_eq!(backups(&daemon, "web1"), [leftover(&repository, session.id())]);
    assert_eq!(backups(&daemon, "db1"), Vec::<String>::new());
}

#[test]
fn a_staged_backup_is_gone_after_the_run_unless_the_daemon_keeps_it() {
    let (repository, daemon) = (new(), faulty(Flavor::Lxd, &[&[Fault::LeftoverStays]]));
    let summary = run(&repository, &daemon, &unchecked());
    assert_eq!(summary.failed, []);
    assert_eq!((backups(&daemon, "web1").len(), backups(&daemon, "db1").len()), (1, 0));
    run(&repository, &daemon, &unchecked());
    assert_eq!(backups(&daemon, "web1"), Vec::<String>::new(), "the next run removes it");
}

// -- room for staged exports

#[test]
fn without_room_nothing_is_exported() {
    let (repository, daemon) = (new(), faulty(Flavor::Lxd, &[]));
    let unknown = run(&repository, &daemon, &BackupOptions::default());
    assert!(unknown.failed.iter().all(|(_, reason)| reason.contains("--unchecked-staging")), "{unknown:?}");
    daemon.set_free_bytes(Some(1 << 40));
    let unknown = run(&repository, &daemon, &BackupOptions::default());
    assert!(unknown.failed.iter().all(|(_, reason)| reason.contains("--unchecked-staging")), "{unknown:?}");
    assert_eq!((unknown.failed.len(), daemon.calls()), (2, Vec::new()));
    assert_eq!(run(&repository, &daemon, &unchecked()).made.len(), 2);
    let calls = daemon.calls();
    daemon.set_free_bytes(Some(1000));
    let none = run(&repository, &daemon, &BackupOptions::default());
    assert!(none.failed.iter().all(|(_, reason)| reason.contains("1000 bytes free")), "{none:?}");
    assert_eq!((none.failed.len(), daemon.calls()), (2, calls));
}

#[test]
fn the_last_point_says_how_much_room_the_next_export_needs() {
    let (repository, daemon) = (new(), faulty(Flavor::Lxd, &[]));
    run(&repository, &daemon, &unchecked());
    let last = web1().export().len() as u64;
    for (free, made) in [(last / 100 * 132 + 132, 1), (last / 100 * 131, 0)] {
        daemon.set_free_bytes(Some(free));
        let summary = try_run(&repository, &daemon, &sources(&["web1"]), &BackupOptions::default()).unwrap();
        assert_eq!(summary.made.len(), made, "{:?}", summary.failed);
    }
}

// -- which server it is

fn server_ids(repository: &Repository) -> Vec<ServerId> {
    let mut ids: Vec<_> =
        points(repository).into_iter().filter_map(|(_, point)| point.server).map(|server| server.id).collect();
    ids.dedup();
    ids
}

#[test]
fn a_server_keeps_its_id() {
    let (repository, daemon) = (new(), faulty(Flavor::Incus, &[]));
    for _ in 0..2 {
        run(&repository, &daemon, &unchecked());
    }
    assert_eq!((points(&repository).len(), server_ids(&repository).len()), (4, 1));
    let options = BackupOptions { server_name: Some("second".to_owned()), ..unchecked() };
    let named = run(&repository, &daemon, &options);
    assert_eq!(named.made[0].source.to_string(), "second//db1");
    let mut ids = server_ids(&repository);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 2, "another name is another server");
}

#[test]
fn another_certificate_under_a_known_name_is_refused_until_it_is_adopted() {
    let (repository, daemon) = (new(), faulty(Flavor::Incus, &[]));
    let id = ServerId::random().unwrap();
    let fact = NoteFact::Server { name: "fake".to_owned(), id, fingerprint: "cd".repeat(32) };
    repository.put_note(&Note { supersedes: Vec::new(), written: clock().0, fact }).unwrap();
    let refused = try_run(&repository, &daemon, &Selection::All, &unchecked()).unwrap_err();
    assert!(matches!(&refused, BackupError::Identity(IdentityError::OtherFingerprint { .. })), "{refused}");
    assert_eq!((points(&repository).len(), daemon.calls()), (0, Vec::new()));
    let options = BackupOptions { adopt: Adopt::Accept, ..unchecked() };
    assert_eq!(run(&repository, &daemon, &options).made.len(), 2);
    assert_eq!(run(&repository, &daemon, &unchecked()).made.len(), 2, "it is known from then on");
    assert_eq!(server_ids(&repository), [id]);
}

#[test]
fn a_server_whose_sources_nobody_could_name_is_refused() {
    let (repository, daemon) = (new(), faulty(Flavor::Incus, &[]));
    for name in ["ho//st", "ho\nst", ""] {
        let options = BackupOptions { server_name: Some(name.to_owned()), ..unchecked() };
        assert!(matches!(
            try_run(&repository, &daemon, &Selection::All, &options),
            Err(BackupError::Identity(IdentityError::BadName { .. } | IdentityError::Nameless))
        ));
    }
    assert_eq!((repository.notes().unwrap().len(), daemon.calls()), (0, Vec::new()));
}

#[test]
fn a_project_that_cannot_be_read_is_named_and_costs_no_other() {
    let (repository, daemon) = (new(), faulty(Flavor::Incus, &[]));
    daemon.add(&FakeInstance::container("web1").project("lab"));
    daemon.add(&FakeInstance::container("web1").project("shop"));
    daemon.forbid("lab", "Certificate is restricted");
    let summary = run(&repository, &daemon, &unchecked());
    assert_eq!((summary.made.len(), summary.failed.len(), summary.unreadable.len()), (3, 0, 1));
    let problem = &summary.unreadable[0];
    assert!(problem.object == "project lab" && problem.message.contains("Certificate is restricted"), "{problem:?}");
}

// -- restore

/// A repository with a point of `web1`, its store, and the point.
fn backed_up() -> (Arc<MemoryStore>, Repository, Point) {
    let store = Arc::new(MemoryStore::new());
    let repository = init(Arc::<MemoryStore>::clone(&store));
    let summary = try_run(&repository, &faulty(Flavor::Incus, &[]), &sources(&["web1"]), &unchecked()).unwrap();
    assert_eq!(summary.failed, []);
    let point = points_of(&repository, "web1").remove(0);
    (store, repository, point)
}

/// A server that has what `web1` needs, and not `web1`.
fn target() -> FakeDaemon {
    let daemon = FakeDaemon::new(Flavor::Incus);
    daemon.add_network("default", "br0");
    daemon
}

fn put_back(repository: &Repository, daemon: &FakeDaemon, point: &Point) -> Result<Restored, RestoreError> {
    restore(repository, daemon, "web1@latest", point, &RestoreTarget::default(), &Silent)
}

fn named(name: &str) -> RestoreTarget {
    RestoreTarget { name: Some(name.to_owned()), ..RestoreTarget::default() }
}

#[test]
fn a_restore_uploads_the_export_byte_for_byte_and_gives_snapshots_their_expiry() {
    let (_, repository, point) = backed_up();
    let daemon = target();
    let restored = put_back(&repository, &daemon, &point).unwrap();
    let import = daemon.imports().remove(0);
    assert!(import.accepted && import.bytes == web1().export());
    assert_eq!((restored.bytes, restored.remarks), (import.bytes.len() as u64, Vec::new()));
    let instance = daemon.instance("default", "web1").unwrap().unwrap();
    assert_eq!(instance.snapshots[0].expires_at.as_deref(), Some("2027-06-01T00:00:00Z"));
    let before = faulty(Flavor::Incus, &[]).instance("default", "web1").unwrap().unwrap();
    assert_eq!(instance.summary.uuid, before.summary.uuid, "nobody else has it");
    assert_eq!(instance.summary.nics, before.summary.nics);
}

#[test]
fn a_point_without_snapshots_restores_without_remarks_about_them() {
    let repository = new();
    let options = BackupOptions { snapshots: Snapshots::Omit, ..unchecked() };
    try_run(&repository, &faulty(Flavor::Incus, &[]), &sources(&["web1"]), &options).unwrap();
    let daemon = target();
    let restored = put_back(&repository, &daemon, &points_of(&repository, "web1")[0]).unwrap();
    assert_eq!(restored.remarks, Vec::<String>::new());
}

#[test]
fn a_name_that_is_taken_is_refused_before_anything_is_sent() {
    let (_, repository, point) = backed_up();
    let daemon = target();
    daemon.add(&FakeInstance::container("web1"));
    let refused = put_back(&repository, &daemon, &point).unwrap_err();
    assert!(matches!(refused, RestoreError::NameTaken { .. }), "{refused}");
    assert_eq!((daemon.imports(), daemon.calls()), (Vec::new(), Vec::new()));
    restore(&repository, &daemon, "web1@latest", &point, &named("web2"), &Silent).unwrap();
    assert!(daemon.imports()[0].accepted);
}

#[test]
fn everything_that_the_server_lacks_is_named_at_once() {
    let repository = new();
    let origin = FakeDaemon::new(Flavor::Incus);
    let instance = web1().nic("eth1", "br1", "00:16:3e:00:00:02").nic("eth2", "br0", "00:16:3e:00:00:03");
    origin.add(&instance.clone());
    run(&repository, &origin, &unchecked());
    let point = points_of(&repository, "web1").remove(0);
    let daemon = FakeDaemon::new(Flavor::Lxd);
    let place =
        RestoreTarget { pool: Some("fast".to_owned()), project: Some("lab".to_owned()), ..RestoreTarget::default() };
    daemon.add_profile("lab", "other");
    daemon.add_project("lab");
    let refused = restore(&repository, &daemon, "web1@latest", &point, &place, &Silent).unwrap_err();
    let RestoreError::Missing { missing, .. } = refused else { panic!("{refused}") };
    let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
    assert_eq!(missing, ["storage pool fast", "profile default", "network br0", "network br1"]);
    assert_eq!(daemon.imports(), []);
}

#[test]
fn a_restore_goes_where_it_is_told_to() {
    let (_, repository, point) = backed_up();
    let daemon = target();
    daemon.add_project("lab");
    daemon.add_network("lab", "br0");
    daemon.add_pool("fast", "zfs");
    let place = RestoreTarget {
        name: Some("web2".to_owned()),
        project: Some("lab".to_owned()),
        pool: Some("fast".to_owned()),
        ..RestoreTarget::default()
    };
    restore(&repository, &daemon, "web1@latest", &point, &place, &Silent).unwrap();
    let request = daemon.imports().remove(0).request;
    assert_eq!(
        (request.subject.name(), request.subject.project(), request.pool.as_deref()),
        ("web2", "lab", Some("fast"))
    );
    assert!(daemon.instance("lab", "web2").unwrap().is_some());
}

#[test]
fn an_upload_that_does_not_fit_is_not_begun() {
    let (_, repository, point) = backed_up();
    let daemon = target();
    daemon.set_free_bytes(Some(point.content.stream_len));
    let refused = put_back(&repository, &daemon, &point).unwrap_err();
    assert!(matches!(refused, RestoreError::NoRoom { .. }), "{refused}");
    assert_eq!(daemon.imports(), []);
    daemon.set_free_bytes(Some(point.content.stream_len / 20 * 21 + 21));
    put_back(&repository, &daemon, &point).unwrap();
}

#[test]
fn an_import_that_the_daemon_breaks_off_is_told_in_its_words() {
    let (_, repository, point) = backed_up();
    let daemon = target();
    for at in [0, 1, 100_000] {
        daemon.fault("default", "web1", &[Fault::ImportFailsAt(at, "no space left on device".to_owned())]);
        let failed = put_back(&repository, &daemon, &point).unwrap_err();
        assert!(matches!(&failed, RestoreError::Upload { source: DaemonError::NoSpace { .. }, .. }), "{failed:?}");
    }
    daemon.fault("default", "web1", &[Fault::NameTakenMeanwhile]);
    let failed = put_back(&repository, &daemon, &point).unwrap_err();
    assert!(matches!(&failed, RestoreError::Upload { source: DaemonError::NameTaken { .. }, .. }), "{failed:?}");
    assert!(daemon.imports().iter().all(|import| !import.accepted));
    put_back(&repository, &daemon, &point).unwrap();
}

#[test]
fn a_damaged_pack_breaks_the_upload_off() {
    let (store, _, point) = backed_up();
    let whole = web1().export();
    let packs: Vec<_> = store.names().into_iter().filter(|name| name.as_str().starts_with("packs/")).collect();
    let mut broken_off = 0;
    for pack in &packs {
        let len = store.get(pack, usize::MAX).unwrap().len();
        for at in (0..len).step_by(len / 10 + 1) {
            let damaged = Arc::new(store.copy());
            assert!(damaged.damage(pack, |bytes| bytes[at..].iter_mut().for_each(|byte| *byte ^= 0x40)));
            let (repository, daemon) = (reopen(damaged), target());
            match put_back(&repository, &daemon, &point) {
                Ok(_) => assert!(daemon.imports()[0].bytes == whole, "{pack} at {at}"),
                Err(failed) => {
                    assert!(matches!(failed, RestoreError::Fetch { .. }), "{failed:?}");
                    assert!(daemon.imports().iter().all(|import| !import.accepted), "{pack} at {at}");
                    assert_eq!(daemon.instance("default", "web1").unwrap(), None);
                    broken_off += 1;
                }
            }
        }
    }
    assert!(broken_off >= packs.len(), "{broken_off} of {}", packs.len());
}

#[test]
fn a_twin_gets_a_uuid_and_addresses_of_its_own() {
    let (_, repository, point) = backed_up();
    let daemon = faulty(Flavor::Incus, &[]);
    let restored = restore(&repository, &daemon, "web1@latest", &point, &named("web2"), &Silent).unwrap();
    assert!(restored.remarks[0].contains("web1"), "{:?}", restored.remarks);
    let summary = |name: &str| daemon.instance("default", name).unwrap().unwrap().summary;
    let (old, new) = (summary("web1"), summary("web2"));
    assert!(new.uuid.is_some() && new.uuid != old.uuid);
    assert!(old.nics.iter().any(|nic| nic.hwaddr.is_some()));
    assert!(new.nics.iter().all(|nic| nic.hwaddr.is_none()), "{:?}", new.nics);
    let changed = daemon.calls().into_iter().filter(|call| call.starts_with("update")).count();
    assert_eq!(changed, 1, "it was never somebody else: only its files are written anew");
}

#[test]
fn a_point_of_a_file_is_no_instance() {
    let repository = new();
    import_bytes(&repository, &web1().export()[..], Some("file:x")).unwrap();
    let (_, point) = points(&repository).remove(0);
    let daemon = target();
    let refused = put_back(&repository, &daemon, &point).unwrap_err();
    assert!(matches!(refused, RestoreError::NotImportable { .. }), "{refused}");
    assert_eq!(daemon.imports(), []);
}

#[test]
fn a_snapshot_that_has_expired_meanwhile_stays_and_is_named() {
    let (repository, daemon) = (new(), faulty(Flavor::Lxd, &[]));
    run(&repository, &daemon, &unchecked());
    let point = points_of(&repository, "web1").remove(0);
    for (year, expired) in [(2026, false), (2028, true)] {
        let now = Timestamp::from_micros((year - 1970) * 31_556_952 * 1_000_000);
        let target = RestoreTarget { name: Some(format!("in-{year}")), now, ..RestoreTarget::default() };
        let restored = restore(&repository, &daemon, "web1", &point, &target, &Silent).unwrap();
        let told = restored.remarks.iter().any(|remark| remark.contains("snapshot s0 expired on 2027-06-01"));
        let set = daemon.calls().iter().any(|call| *call == format!("expire s0 default/in-{year}"));
        assert_eq!((told, set), (expired, !expired), "{:?} {:?}", restored.remarks, daemon.calls());
    }
}
