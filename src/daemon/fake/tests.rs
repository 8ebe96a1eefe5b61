//! The fake daemon does what a real one was seen to do.

use super::*;
use crate::clock::Timestamp;
use crate::daemon::{Completion, Layout, Snapshots};

fn web1() -> FakeInstance {
    FakeInstance::container("web1")
        .snapshot("s0", Some("2027-06-01T00:00:00Z"))
        .nic("eth0", "br0", "00:16:3e:00:00:01")
        .file("etc/hello", b"hello\n")
        .file("etc/motd", b"hi\n")
}

fn request(route: Route) -> ExportRequest {
    ExportRequest {
        subject: Subject::instance("default", "web1"),
        backup_name: "holdall-1".to_owned(),
        expires_at: Timestamp::from_micros(0).unwrap(),
        snapshots: Snapshots::Include,
        layout: Layout::Plain,
        route,
    }
}

fn run(daemon: &FakeDaemon, route: Route) -> Result<(Vec<u8>, Completion), DaemonError> {
    let mut export = daemon.export(&request(route), &mut |_| ())?;
    let mut bytes = Vec::new();
    export.read_to_end(&mut bytes).map_err(|error| DaemonError::from_read(error, "x"))?;
    Ok((bytes, export.finish()?))
}

fn faulty(flavor: Flavor, faults: &[Fault]) -> FakeDaemon {
    let daemon = FakeDaemon::new(flavor);
    daemon.add(&web1());
    daemon.fault("default", "web1", faults);
    daemon
}

#[test]
fn an_export_has_the_layout_of_the_daemons() {
    let bytes = web1().export();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| String::from_utf8(entry.unwrap().header().path_bytes().into_owned()).unwrap())
        .collect();
    let volume = |root: &str| {
        ["", "/backup.yaml", "/metadata.yaml", "/rootfs", "/rootfs/etc", "/rootfs/etc/hello", "/rootfs/etc/motd"]
            .map(|below| format!("{root}{below}"))
    };
    let index = ["backup/index.yaml".to_owned()];
    assert_eq!(names, [&index[..], &volume("backup/snapshots/s0"), &volume("backup/container")].concat());
    assert!(bytes.len().is_multiple_of(512) && bytes[bytes.len() - 1024..].iter().all(|byte| *byte == 0));
    assert!(bytes[bytes.len() - 1536..bytes.len() - 1024].iter().any(|byte| *byte != 0));
    assert_eq!(bytes, web1().export());
}

#[test]
fn a_machine_has_its_disk_behind_its_configuration() {
    let bytes = FakeInstance::virtual_machine("vm1", &[1; 600]).snapshot("s0", None).export();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let names: Vec<_> =
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
    assert_eq!(names[3], "backup/virtual-machine-snapshots/s0.img");
    assert_eq!(names.last().unwrap(), "backup/virtual-machine.img");
}

#[test]
fn both_ways_give_the_same_bytes_and_leave_nothing() {
    for (flavor, mode) in [(Flavor::Lxd, Mode::Staged), (Flavor::Incus, Mode::Direct)] {
        let daemon = faulty(flavor, &[]);
        let (bytes, completion) = run(&daemon, Route::Any).unwrap();
        assert_eq!((bytes, completion.mode), (web1().export(), mode));
        assert_eq!(daemon.backups(&Subject::instance("default", "web1")).unwrap(), []);
    }
    assert!(matches!(run(&faulty(Flavor::Lxd, &[]), Route::Direct), Err(DaemonError::NotOffered { .. })));
}

#[test]
fn an_imported_export_is_an_instance_again_without_expiries() {
    let daemon = faulty(Flavor::Lxd, &[]);
    daemon.add_project("lab");
    let request = ImportRequest::of_export(Subject::instance("lab", "web2"), None);
    daemon.import(&request, &mut web1().export().as_slice(), &mut |_| ()).unwrap();
    let (old, new) =
        (daemon.instance("default", "web1").unwrap().unwrap(), daemon.instance("lab", "web2").unwrap().unwrap());
    assert_eq!((&new.summary.uuid, &new.summary.nics), (&old.summary.uuid, &old.summary.nics));
    assert_eq!((new.snapshots.len(), new.snapshots[0].expires_at.as_deref()), (1, None));
    daemon.set_snapshot_expiry("lab", "web2", "s0", old.snapshots[0].expires_at.as_deref()).unwrap();
    assert_eq!(daemon.instance("lab", "web2").unwrap().unwrap().snapshots, old.snapshots);
    assert_eq!(daemon.imports(), [Imported { request: request.clone(), bytes: web1().export(), accepted: true }]);
    let again = daemon.import(&request, &mut &b""[..], &mut |_| ());
    assert!(matches!(again, Err(DaemonError::NameTaken { .. })));
}

#[test]
fn streams_break_and_end_where_they_are_told_to() {
    let whole = web1().export();
    let cut = run(&faulty(Flavor::Incus, &[Fault::CutAt(700)]), Route::Any);
    assert!(matches!(cut, Err(DaemonError::Cut { received: 700, .. })));
    let (bytes, _) = run(&faulty(Flavor::Incus, &[Fault::EndAt(700)]), Route::Any).unwrap();
    assert_eq!(bytes, whole[..700]);
    // A staged file has a length, so that its early end is no clean one.
    assert!(matches!(run(&faulty(Flavor::Lxd, &[Fault::EndAt(700)]), Route::Any), Err(DaemonError::Cut { .. })));
    let daemon = faulty(Flavor::Incus, &[Fault::CutAt(0)]);
    assert!(run(&daemon, Route::Any).is_err());
    assert!(run(&daemon, Route::Any).is_ok(), "a fault is for one attempt");
}

#[test]
fn what_happens_during_an_export_is_seen_after_it() {
    let after = |fault: Fault| {
        let daemon = faulty(Flavor::Incus, &[fault]);
        run(&daemon, Route::Any).unwrap();
        daemon.instance("default", "web1").unwrap()
    };
    let before = faulty(Flavor::Incus, &[]).instance("default", "web1").unwrap().unwrap();
    assert_eq!(after(Fault::DeleteInstance), None);
    assert_eq!(after(Fault::RenameInstance("web9".to_owned())), None);
    assert_ne!(after(Fault::ReplaceInstance).unwrap().summary.uuid, before.summary.uuid);
    assert_eq!(after(Fault::DeleteSnapshot("s0".to_owned())).unwrap().snapshots, []);
    assert_eq!(after(Fault::AddSnapshot("s1".to_owned())).unwrap().snapshots.len(), 2);
}

#[test]
fn failures_come_as_the_errors_that_the_real_client_gives() {
    let fails = |flavor, fault| run(&faulty(flavor, &[fault]), Route::Any).unwrap_err();
    let full = || Fault::OperationFails("write: no space left on device".to_owned());
    assert!(matches!(fails(Flavor::Lxd, full()), DaemonError::NoSpace { .. }));
    assert!(matches!(fails(Flavor::Incus, full()), DaemonError::NoSpace { .. }));
    let words = "Project \"default\" doesn't allow for backup creation".to_owned();
    assert!(matches!(fails(Flavor::Lxd, Fault::Refused(500, words)), DaemonError::Restricted { .. }));
    let daemon = faulty(Flavor::Lxd, &[Fault::LeftoverStays]);
    assert!(run(&daemon, Route::Any).unwrap().1.leftover.is_some());
    assert_eq!(daemon.backups(&Subject::instance("default", "web1")).unwrap().len(), 1);
}

#[test]
fn an_import_that_breaks_leaves_no_instance() {
    let bytes = web1().export();
    let request = ImportRequest::of_export(Subject::instance("default", "web2"), None);
    let daemon = faulty(Flavor::Lxd, &[]);
    let words = "no space left on device".to_owned();
    daemon.fault("default", "web2", &[Fault::ImportFailsAt(1, words)]);
    daemon.fault("default", "web2", &[Fault::NameTakenMeanwhile]);
    let error = daemon.import(&request, &mut bytes.as_slice(), &mut |_| ()).unwrap_err();
    assert!(matches!(error, DaemonError::NoSpace { .. }), "{error}");
    let error = daemon.import(&request, &mut bytes.as_slice(), &mut |_| ()).unwrap_err();
    assert!(matches!(error, DaemonError::NameTaken { .. }), "{error}");
    let half = bytes.len() / 2 + 100;
    assert!(daemon.import(&request, &mut &bytes[..half], &mut |_| ()).is_err());
    assert_eq!(daemon.instance("default", "web2").unwrap(), None);
    assert_eq!(daemon.imports().iter().filter(|it| it.accepted).count(), 0);
}

#[test]
fn a_forbidden_project_is_listed_as_a_problem() {
    let daemon = faulty(Flavor::Lxd, &[]);
    daemon.add(&FakeInstance::container("db1").project("lab"));
    daemon.forbid("lab", "Certificate is restricted");
    let listing = daemon.instances().unwrap();
    assert_eq!((listing.instances.len(), listing.problems.len()), (1, 1));
}
