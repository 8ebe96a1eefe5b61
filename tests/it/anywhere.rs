//! Restoring to another place, against the daemon in memory: what is uploaded, and what is refused before any of it is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use holdall::backup::{BackupOptions, Selection as Sources, StagingCheck, back_up};
use holdall::daemon::fake::{FakeDaemon, FakeInstance};
use holdall::daemon::{Daemon, Flavor};
use holdall::limits::IMPORT_INDEX_BYTES_MAX;
use holdall::monitor::Silent;
use holdall::point::Point;
use holdall::repo::Repository;
use holdall::restore::{
    Conflict, DescriptionError, IdentityChoice, Maps, RestoreError, RestoreTarget, Restored, Selection, restore,
};
use holdall::source::Source;
use serde_json::{Value, json};

use crate::fixture::{clock, export_bytes, host, import_bytes, new, noise, points};

const MAC: &str = "00:16:3e:00:00:01";

fn web1() -> FakeInstance {
    FakeInstance::container("web1")
        .config("limits.cpu", "2")
        .config("oci.cwd", "/srv")
        .config("volatile.uuid.generation", "11111111-1111-4111-8111-111111111111")
        .config("volatile.cloud-init.instance-id", "22222222-2222-4222-8222-222222222222")
        .nic("eth0", "br0", MAC)
        .snapshot("s0", Some("2027-06-01T00:00:00Z"))
        .config("limits.cpu", "4")
        .snapshot("s1", None)
        .file("etc/hello", b"hello\n")
        .file("srv/data", &noise(1, 300_000))
}

/// A repository with a point of the only instance of a server.
fn backed_up(flavor: Flavor, instance: &FakeInstance) -> (Repository, Point) {
    let (repository, daemon) = (new(), FakeDaemon::new(flavor));
    daemon.add(instance);
    let options = BackupOptions { staging: StagingCheck::Skipped, ..BackupOptions::default() };
    let summary = back_up(&repository, &daemon, &Sources::All, &options, host(&clock()), &Silent).unwrap();
    assert_eq!((summary.failed, summary.made.len()), (Vec::new(), 1));
    let (_, point) = points(&repository).remove(0);
    (repository, point)
}

/// A server that has what `web1` needs.
fn server(flavor: Flavor) -> FakeDaemon {
    let daemon = FakeDaemon::new(flavor);
    daemon.add_network("default", "br0");
    daemon
}

fn put(
    (repository, point): &(Repository, Point),
    daemon: &FakeDaemon,
    target: &RestoreTarget,
) -> Result<Restored, RestoreError> {
    restore(repository, daemon, "web1@latest", point, target, &Silent)
}

/// What is uploaded and taken.
fn uploaded(backup: &(Repository, Point), daemon: &FakeDaemon, target: &RestoreTarget) -> (Archive, Restored) {
    let restored = put(backup, daemon, target).unwrap_or_else(|error| panic!("{error:?}"));
    let import = daemon.imports().pop().unwrap();
    assert!(import.accepted);
    assert_eq!(restored.bytes, import.bytes.len() as u64);
    (Archive::read(&import.bytes), restored)
}

/// An export, taken apart.
struct Archive {
    /// Paths in order, with their content.
    members: Vec<(String, Vec<u8>)>,
}

impl Archive {
    fn read(bytes: &[u8]) -> Self {
        assert_eq!(bytes.len() % 512, 0);
        assert!(bytes.ends_with(&[0; 1024]));
        let mut archive = tar::Archive::new(bytes);
        let members = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (String::from_utf8(entry.path_bytes().into_owned()).unwrap(), content)
        });
        Self { members: members.collect() }
    }

    fn paths(&self) -> Vec<&str> {
        self.members.iter().map(|(path, _)| path.as_str()).collect()
    }

    fn content(&self, path: &str) -> &[u8] {
        let mut found = self.members.iter().filter(|(own, _)| own == path);
        let (_, content) = found.next().unwrap_or_else(|| panic!("{path} in {:?}", self.paths()));
        assert!(found.next().is_none(), "{path} is there twice");
        content
    }

    fn yaml(&self, path: &str) -> Value {
        serde_norway::from_slice(self.content(path)).unwrap()
    }

    fn index(&self) -> Value {
        self.yaml("backup/index.yaml")
    }
}

fn target() -> RestoreTarget {
    RestoreTarget::default()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
}

#[test]
fn another_product_gets_an_archive_without_what_it_does_not_know() {
    let backup = backed_up(Flavor::Incus, &web1());
    let before = Archive::read(&export_bytes(&backup.0, &backup.1));
    let (archive, restored) = uploaded(&backup, &server(Flavor::Lxd), &target());
    assert_eq!(archive.paths(), before.paths());
    for (path, content) in &before.members {
        if !matches!(path.as_str(), "backup/index.yaml" | "backup/container/backup.yaml") {
            assert!(archive.content(path) == content, "{path}");
        }
    }
    let index = archive.index();
    assert_eq!(archive.yaml("backup/container/backup.yaml"), index["config"]);
    for object in [&index["config"]["container"], &index["config"]["snapshots"][0], &index["config"]["snapshots"][1]] {
        let keys: Vec<&str> = object["config"].as_object().unwrap().keys().map(String::as_str).collect();
        let known = ["limits.cpu", "volatile.cloud-init.instance-id", "volatile.eth0.hwaddr", "volatile.uuid"];
        assert_eq!(keys, known);
    }
    assert_eq!(index["snapshots"], json!(["s0", "s1"]));
    assert_eq!(restored.remarks, ["left out what this server does not know: oci.cwd, volatile.uuid.generation"]);
}

#[test]
fn a_catalogue_says_what_a_server_knows_and_its_refusal_says_the_rest() {
    let backup = backed_up(Flavor::Lxd, &web1().config("security.devlxd", "false").config("limits.strange", "1"));
    let daemon = server(Flavor::Incus);
    daemon.set_instance_keys(&["limits.cpu", "security.guestapi", "oci.cwd", "volatile.<name>.hwaddr"]);
    daemon.refuse_key("oci.cwd");
    let (archive, restored) = uploaded(&backup, &daemon, &target());
    let config = archive.index()["config"]["container"]["config"].clone();
    assert_eq!(config["security.guestapi"], "false");
    for gone in ["security.devlxd", "limits.strange", "oci.cwd"] {
        assert_eq!(config[gone], Value::Null, "{gone}");
    }
    assert_eq!(
        restored.remarks,
        [
            "left out what this server does not know: limits.strange, oci.cwd, volatile.uuid.generation",
            "wrote security.devlxd as security.guestapi"
        ]
    );
    let imports = daemon.imports();
    assert_eq!(imports.iter().map(|import| import.accepted).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_server_that_refuses_one_key_after_the_other_is_not_asked_for_ever() {
    let mut instance = web1();
    let daemon = server(Flavor::Incus);
    for n in 0..40 {
        instance = instance.config(&format!("strange.{n:02}"), "x");
        daemon.refuse_key(&format!("strange.{n:02}"));
    }
    let backup = backed_up(Flavor::Incus, &instance);
    let failed = put(&backup, &daemon, &target()).unwrap_err();
    assert!(matches!(&failed, RestoreError::Upload { .. }), "{failed}");
    assert!(daemon.imports().len() < 12 && daemon.imports().iter().all(|import| !import.accepted));
    assert_eq!(daemon.instance("default", "web1").unwrap(), None);
}

#[test]
fn an_instance_without_its_snapshots_is_not_read_with_them() {
    let backup = backed_up(Flavor::Incus, &web1());
    let daemon = server(Flavor::Incus);
    let wanted = RestoreTarget { selection: Selection::NoSnapshots, ..target() };
    // Two thirds of the export are not uploaded, and need no room.
    daemon.set_free_bytes(Some(backup.1.content.stream_len / 2));
    let (archive, restored) = uploaded(&backup, &daemon, &wanted);
    assert!(archive.paths().iter().all(|path| !path.contains("snapshots")), "{:?}", archive.paths());
    assert!(archive.content("backup/container/rootfs/srv/data") == noise(1, 300_000));
    let index = archive.index();
    assert_eq!((&index["snapshots"], &index["config"]["snapshots"]), (&Value::Null, &Value::Null));
    assert_eq!(index["config"]["volume_snapshots"], Value::Null);
    assert_eq!(archive.yaml("backup/container/backup.yaml"), index["config"]);
    assert_eq!(restored.remarks, Vec::<String>::new());
    assert_eq!(daemon.instance("default", "web1").unwrap().unwrap().snapshots, []);
}

#[test]
fn a_snapshot_becomes_an_instance_of_its_own() {
    let machine = FakeInstance::virtual_machine("web1", &noise(3, 200_000))
        .config("limits.cpu", "2")
        .snapshot("s0", None)
        .config("limits.cpu", "4")
        .snapshot("s1", None);
    let cases = [
        (web1(), "backup/container", "backup/container/rootfs/srv/data", noise(1, 300_000)),
        (machine, "backup/virtual-machine", "backup/virtual-machine.img", noise(3, 200_000)),
    ];
    for (instance, main, path, content) in cases {
        let backup = backed_up(Flavor::Incus, &instance);
        let daemon = server(Flavor::Lxd);
        let wanted = RestoreTarget {
            selection: Selection::Snapshot("s0".to_owned()),
            name: Some("web2".to_owned()),
            ..target()
        };
        let (archive, _) = uploaded(&backup, &daemon, &wanted);
        assert!(archive.content(path) == content);
        assert!(archive.paths().iter().all(|path| *path == "backup/index.yaml" || path.starts_with(main)));
        let index = archive.index();
        assert_eq!(index["config"]["container"]["config"]["limits.cpu"], "2", "as it was then");
        assert_eq!(index["snapshots"], Value::Null);
        assert_eq!(archive.yaml(&format!("{main}/backup.yaml")), index["config"]);
        assert!(daemon.instance("default", "web2").unwrap().is_some());
    }
}

#[test]
fn a_snapshot_that_is_not_there_is_refused_before_anything_is_sent() {
    let backup = backed_up(Flavor::Incus, &web1());
    let daemon = server(Flavor::Incus);
    let wanted = RestoreTarget { selection: Selection::Snapshot("s7".to_owned()), ..target() };
    let refused = put(&backup, &daemon, &wanted).unwrap_err();
    let RestoreError::Index { source, .. } = refused else { panic!("{refused}") };
    let snapshots = vec!["s0".to_owned(), "s1".to_owned()];
    assert_eq!(source, DescriptionError::NoSnapshot { name: "s7".to_owned(), snapshots });
    assert_eq!((daemon.imports(), daemon.calls()), (Vec::new(), Vec::new()));
}

#[test]
fn what_is_called_otherwise_is_mapped_everywhere() {
    let disk = json!({"type": "disk", "pool": "slow", "source": "data", "path": "/data"});
    let bridged = json!({"type": "nic", "nictype": "bridged", "parent": "br0"});
    let instance = web1().device("eth1", &bridged).device("disk", &disk).snapshot("s2", None);
    let backup = backed_up(Flavor::Incus, &instance);
    let daemon = FakeDaemon::new(Flavor::Incus);
    daemon.add_network("default", "lxdbr0");
    daemon.add_profile("default", "web");
    daemon.add_pool("fast", "zfs");
    let maps = Maps {
        networks: map(&[("br0", "lxdbr0")]),
        profiles: map(&[("default", "web")]),
        pools: map(&[("default", "fast"), ("slow", "fast")]),
    };
    let wanted = RestoreTarget { maps, without_devices: BTreeSet::from(["disk".to_owned()]), ..target() };
    let (archive, _) = uploaded(&backup, &daemon, &wanted);
    assert_eq!(daemon.imports()[0].request.pool.as_deref(), Some("fast"));
    let index = archive.index();
    for object in [&index["config"]["container"], &index["config"]["snapshots"][2]] {
        assert_eq!(object["profiles"], json!(["web"]));
        assert_eq!(object["devices"]["eth0"]["network"], "lxdbr0");
        assert_eq!(object["devices"]["eth1"]["parent"], "lxdbr0");
        assert_eq!(object["devices"]["disk"], Value::Null);
        assert_eq!(object["expanded_devices"]["root"]["pool"], "default", "the request says where it goes");
    }
    assert_eq!(index["pool"], "default");
}

#[test]
fn everything_that_is_missing_is_named_and_no_upload_starts() {
    let disk = json!({"type": "disk", "pool": "slow", "source": "data", "path": "/data"});
    let backup = backed_up(Flavor::Incus, &web1().device("disk", &disk));
    let missing = |daemon: &FakeDaemon, wanted: &RestoreTarget| -> Vec<String> {
        let refused = put(&backup, daemon, wanted).unwrap_err();
        let RestoreError::Missing { missing, .. } = refused else { panic!("{refused}") };
        assert_eq!((daemon.imports(), daemon.calls()), (Vec::new(), Vec::new()));
        missing.iter().map(ToString::to_string).collect()
    };
    let daemon = FakeDaemon::new(Flavor::Lxd);
    assert_eq!(missing(&daemon, &target()), ["network br0", "storage pool slow"]);
    daemon.add_pool("slow", "dir");
    assert_eq!(missing(&daemon, &target()), ["network br0", "the volume data in storage pool slow"]);
    let elsewhere = RestoreTarget { project: Some("lab".to_owned()), ..target() };
    assert_eq!(missing(&daemon, &elsewhere), ["project lab"]);
    let maps = Maps { profiles: map(&[("default", "web")]), pools: map(&[("default", "fast")]), ..Maps::default() };
    let without = BTreeSet::from(["disk".to_owned(), "eth0".to_owned()]);
    let wanted = RestoreTarget { maps, without_devices: without.clone(), ..target() };
    assert_eq!(missing(&daemon, &wanted), ["storage pool fast", "profile web"]);
    put(&backup, &daemon, &RestoreTarget { without_devices: without, ..target() }).unwrap();
    let typo = RestoreTarget { without_devices: BTreeSet::from(["eth7".to_owned()]), ..target() };
    let refused = put(&backup, &FakeDaemon::new(Flavor::Lxd), &typo).unwrap_err();
    assert!(matches!(refused, RestoreError::NoDevice { .. }), "{refused}");
}

#[test]
fn a_fresh_identity_is_there_from_the_first_moment() {
    let fixed = json!({"type": "nic", "network": "br0", "hwaddr": "00:16:3e:00:00:09"});
    let backup = backed_up(Flavor::Incus, &web1().device("eth1", &fixed).snapshot("s2", None));
    let before = Archive::read(&export_bytes(&backup.0, &backup.1)).index();
    let wanted = RestoreTarget { identity: IdentityChoice::Fresh, ..target() };
    let (archive, restored) = uploaded(&backup, &server(Flavor::Incus), &wanted);
    assert_eq!(restored.remarks, ["got a fresh uuid and fresh MAC addresses"]);
    let index = archive.index();
    let text = String::from_utf8(archive.content("backup/container/backup.yaml").to_vec()).unwrap();
    assert!(!text.contains(MAC) && !text.contains("00:16:3e:00:00:09"), "{text}");
    let config = |index: &Value, at: &str| index.pointer(at).unwrap()["config"].clone();
    let (old, new) = (config(&before, "/config/container"), config(&index, "/config/container"));
    for key in ["volatile.uuid", "volatile.uuid.generation", "volatile.cloud-init.instance-id"] {
        assert!(new[key].is_string() && new[key] != old[key], "{key}");
        assert_eq!(config(&index, "/config/snapshots/2")[key], new[key], "{key}");
    }
}

#[test]
fn an_index_that_no_daemon_takes_is_refused_with_the_way_out() {
    let mut instance = FakeInstance::container("web1").config("user.much", &"x".repeat(60_000));
    for n in 0..9 {
        instance = instance.snapshot(&format!("s{n}"), None);
    }
    let backup = backed_up(Flavor::Incus, &instance);
    let daemon = server(Flavor::Incus);
    put(&backup, &daemon, &RestoreTarget { name: Some("small".to_owned()), ..target() }).unwrap();
    for n in 9..18 {
        instance = instance.snapshot(&format!("s{n}"), None);
    }
    let backup = backed_up(Flavor::Incus, &instance);
    let refused = put(&backup, &daemon, &target()).unwrap_err();
    assert!(
        matches!(refused, RestoreError::IndexTooLarge { bytes, .. } if bytes > IMPORT_INDEX_BYTES_MAX),
        "{refused}"
    );
    assert_eq!(daemon.imports().len(), 1);
    let without = RestoreTarget { selection: Selection::NoSnapshots, ..target() };
    put(&backup, &daemon, &without).unwrap();
}

#[test]
fn an_imported_export_is_restored_by_its_own_index() {
    // Nobody has said what it needs but the export itself.
    let (repository, _) = backed_up(Flavor::Lxd, &FakeInstance::container("other"));
    import_bytes(&repository, &web1().export()[..], Some("web1")).unwrap();
    let point = points(&repository).into_iter().map(|(_, point)| point).find(|it| it.source.name == "web1").unwrap();
    let backup = (repository, point);
    let daemon = FakeDaemon::new(Flavor::Incus);
    assert!(matches!(put(&backup, &daemon, &target()), Err(RestoreError::Missing { .. })));
    daemon.add_network("default", "br0");
    put(&backup, &daemon, &target()).unwrap();
    let instance = daemon.instance("default", "web1").unwrap().unwrap();
    assert_eq!(instance.snapshots[0].expires_at.as_deref(), Some("2027-06-01T00:00:00Z"));
}

#[test]
fn what_only_instances_have_is_refused_for_volumes() {
    let (repository, mut point) = backed_up(Flavor::Lxd, &web1());
    point.source = Source::volume("fake", "default", "default", "data");
    let wanted = RestoreTarget { conflict: Conflict::Replace, ..target() };
    let refused = put(&(repository, point), &server(Flavor::Lxd), &wanted).unwrap_err();
    assert!(matches!(refused, RestoreError::NotForVolumes { .. }), "{refused}");
}
