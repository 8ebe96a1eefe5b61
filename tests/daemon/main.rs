//! End to end on real daemons, each private to its test. See `lab` for what is needed and how to go without.

mod anywhere;
mod buckets;
mod cluster;
mod containers;
mod discs;
mod holdall;
mod images;
mod lab;
mod machines;
mod nightly;
mod product;
mod running;
mod tree;
mod volumes;

use std::fs;
use std::path::Path;
use std::process::Command;

use lab::{Lab, Pool, Product};
use serde_json::json;

fn a_container_boots(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let server = lab.get("/1.0");
    assert_eq!(server["auth"], "trusted");
    for pool in [Pool::Dir, Pool::Btrfs] {
        lab.launch_tiny(pool.name(), pool);
        assert_eq!(lab.sh(pool.name(), "echo kept >/srv/note; cat /srv/note"), "kept\n");
    }
    assert_eq!(server["environment"]["server"], if product == Product::Lxd { "lxd" } else { "incus" });
}

#[test]
fn a_container_boots_on_lxd() {
    a_container_boots(Product::Lxd);
}

#[test]
fn a_container_boots_on_incus_6() {
    a_container_boots(Product::Incus6);
}

#[test]
fn a_container_boots_on_incus_7() {
    a_container_boots(Product::Incus7);
}

fn a_database_answers(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    lab.launch_postgres("db", Pool::Dir);
    lab.psql("db", "CREATE TABLE note AS SELECT 'kept' AS text");
    lab.run(&["restart", "db"]);
    lab.wait_for_postgres("db");
    assert_eq!(lab.psql("db", "SELECT text FROM note"), "kept");
}

#[test]
fn a_database_answers_on_lxd() {
    a_database_answers(Product::Lxd);
}

#[test]
fn a_database_answers_on_incus_6() {
    a_database_answers(Product::Incus6);
}

#[test]
fn a_database_answers_on_incus_7() {
    a_database_answers(Product::Incus7);
}

fn a_backup_is_exported(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    lab.launch_tiny("c", Pool::Btrfs);
    let begun =
        lab.request("POST", "/1.0/instances/c/backups", &json!({ "name": "b", "compression_algorithm": "none" }));
    let operation = begun["operation"].as_str().expect("an operation");
    assert_eq!(lab.get(&format!("{operation}/wait"))["status"], "Success");
    let exported = lab.curl().arg("http://lab/1.0/instances/c/backups/b/export").output().expect("curl");
    assert!(exported.stdout.starts_with(b"backup/index.yaml\0"));
}

#[test]
fn a_backup_is_exported_on_lxd() {
    a_backup_is_exported(Product::Lxd);
}

#[test]
fn a_backup_is_exported_on_incus_6() {
    a_backup_is_exported(Product::Incus6);
}

#[test]
fn incus_7_streams_an_export() {
    let Some(lab) = Lab::incus7() else { return };
    lab.launch_tiny("c", Pool::Dir);
    let file = lab.scratch().join("c.tar");
    let exported = lab
        .curl()
        .args(["--header", "Accept: application/octet-stream", "--data"])
        .arg(json!({ "compression_algorithm": "none" }).to_string())
        .arg("http://lab/1.0/instances/c/backups")
        .arg("--output")
        .arg(&file)
        .status();
    assert!(exported.is_ok_and(|status| status.success()));
    let bytes = fs::read(&file).expect("exported file");
    assert!(bytes.starts_with(b"backup/index.yaml\0"));
}

#[test]
fn a_crashed_daemon_comes_back_with_its_containers() {
    let Some(mut lab) = Lab::lxd() else { return };
    lab.launch_tiny("c", Pool::Dir);
    lab.crash();
    lab.start();
    assert_eq!(lab.sh("c", "echo alive"), "alive\n");
}

#[test]
fn a_dropped_lab_leaves_nothing() {
    for product in Product::ALL {
        let Some(lab) = Lab::open(product) else { return };
        lab.launch_tiny("c", Pool::Btrfs);
        let dir = lab.scratch().to_owned();
        drop(lab);
        assert!(!dir.exists());
        assert_eq!(traces_of(&dir), Vec::<String>::new());
    }
}

#[test]
fn a_lab_whose_owner_is_gone_is_swept() {
    let Some(lab) = Lab::lxd() else { return };
    let orphan = Path::new("/var/tmp/holdall-lab.4194305-1-0");
    fs::create_dir_all(orphan).expect("directory for an owner whose number no process can have");
    let sweep = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lab-clean")).arg("--stale").status();
    assert!(sweep.is_ok_and(|status| status.success()));
    assert!(!orphan.exists());
    assert!(lab.get("/1.0").is_object(), "a laboratory in use is left alone");
}

/// Mounts, processes and loop devices that still name the directory.
fn traces_of(dir: &Path) -> Vec<String> {
    let name = dir.to_str().expect("paths of a laboratory are text");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let processes = Command::new("ps").args(["-e", "-o", "pid=,args="]).output().expect("ps").stdout;
    let loops = Command::new("losetup").args(["--list", "--noheadings"]).output().expect("losetup").stdout;
    let everything = [mounts.as_bytes(), &processes, &loops].concat();
    String::from_utf8_lossy(&everything).lines().filter(|line| line.contains(name)).map(str::to_owned).collect()
}
