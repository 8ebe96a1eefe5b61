//! Virtual machines, block volumes and ISO volumes on real daemons: their exports hold whole disk images.
//!
//! No machine is ever started. What is on its disk is written into the image file in the pool.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::holdall::Holdall;
use crate::lab::{Lab, Pool, Product};

const MIB: u64 = 1 << 20;
/// Size of a machine's disk and of a block volume.
pub const DISK_BYTES: u64 = 48 * MIB;

fn random_bytes(len: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::open("/dev/urandom").expect("random bytes").take(len).read_to_end(&mut bytes).expect("random bytes");
    bytes
}

/// Writes 30 MiB of noise into an image, with holes between: one on no boundary of anything, and none at the end.
pub fn fill(image: &Path) {
    let file = File::options().write(true).open(image).unwrap_or_else(|error| panic!("{}: {error}", image.display()));
    assert_eq!(file.metadata().expect("an image").len(), DISK_BYTES);
    for (at, len) in [(0, 10 * MIB), (15 * MIB + 12_345, 19 * MIB), (DISK_BYTES - MIB, MIB)] {
        file.write_all_at(&random_bytes(len), at).expect("the image takes it");
    }
}

/// Makes a file of noise.
pub fn new_noise(path: &Path) {
    let file = File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.write_all_at(&random_bytes(3 * MIB), 0).expect("the file takes it");
}

/// Length and digest of a file.
pub fn content(path: &Path) -> String {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    format!("{} bytes {}", hasher.count(), hasher.finalize())
}

/// Writes so many pieces of noise of a mebibyte each all over an image of that length.
pub fn scatter(image: &Path, len: u64, pieces: u64) {
    let file = File::options().write(true).open(image).unwrap_or_else(|error| panic!("{}: {error}", image.display()));
    for piece in 0..pieces {
        file.write_all_at(&random_bytes(MIB), piece * (len / pieces) / MIB * MIB).expect("the image takes it");
    }
}

/// Bytes that a file takes on its disk.
pub fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).blocks() * 512
}

fn image(lab: &Lab, pool: Pool, machine: &str) -> PathBuf {
    lab.pool_dir(pool).join("virtual-machines").join(machine).join("root.img")
}

/// What has to come back of a machine.
#[derive(Debug, PartialEq)]
pub struct Machine {
    pub disk: String,
    pub snapshots: BTreeMap<String, String>,
    config: Value,
    disk_size: Value,
}

impl Machine {
    /// Reads it from the daemon and its pool.
    pub fn of(lab: &Lab, pool: Pool, name: &str) -> Self {
        let mut found = lab.get(&format!("/1.0/instances/{name}"));
        assert_eq!(found["type"], "virtual-machine");
        found["config"].as_object_mut().expect("a configuration").retain(|key, _| !key.starts_with("volatile."));
        let snapshots = lab.get(&format!("/1.0/instances/{name}/snapshots?recursion=1"));
        let snapshots = snapshots.as_array().expect("a list").iter().map(|snapshot| {
            let snapshot = snapshot["name"].as_str().expect("a name").to_owned();
            let of_machine = lab.pool_dir(pool).join("virtual-machines-snapshots").join(name);
            let disk = content(&of_machine.join(&snapshot).join("root.img"));
            (snapshot, disk)
        });
        Self {
            disk: content(&image(lab, pool, name)),
            snapshots: snapshots.collect(),
            config: found["config"].take(),
            disk_size: found["devices"]["root"]["size"].take(),
        }
    }
}

pub fn init_machine(lab: &Lab, name: &str, pool: Pool) {
    lab.init_machine(name, pool, DISK_BYTES);
    lab.run(&["config", "set", name, "user.note", "kept\nin two lines"]);
    fill(&image(lab, pool, name));
}

pub fn take_snapshot(lab: &Lab, name: &str, pool: Pool) {
    lab.snapshot(name, "s0");
    // From here on the disk is another one than the snapshot's.
    let file = File::options().write(true).open(image(lab, pool, name)).expect("the image");
    file.write_all_at(&random_bytes(MIB), 36 * MIB).expect("the image takes it");
}

/// Backs a machine up; returns what was made.
fn back_up(holdall: &Holdall, name: &str) -> Value {
    holdall.objects(&["backup", name], "made").remove(0)
}

fn a_machine_is_lost_and_comes_back(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    for (pool, other) in [(Pool::Dir, Pool::Btrfs), (Pool::Btrfs, Pool::Dir)] {
        lab.pool(other);
        for snapshots in [0, 1] {
            init_machine(&lab, "vm", pool);
            if snapshots == 1 {
                take_snapshot(&lab, "vm", pool);
            }
            let before = Machine::of(&lab, pool, "vm");
            assert_eq!(before.snapshots.len(), snapshots);

            back_up(&holdall, "vm");
            lab.run(&["delete", "vm"]);
            holdall.succeeds(&["restore", "vm"]);
            holdall.succeeds(&["restore", "vm", "--as", "twin"]);
            holdall.succeeds(&["restore", "vm", "--as", "elsewhere", "--pool", other.name()]);
            for (name, pool) in [("vm", pool), ("twin", pool), ("elsewhere", other)] {
                assert_eq!(Machine::of(&lab, pool, name), before, "{name} in {}", pool.name());
            }
            let uuid = |name: &str| lab.get(&format!("/1.0/instances/{name}"))["config"]["volatile.uuid"].clone();
            assert_ne!(uuid("twin"), uuid("vm"), "a twin has an identity of its own");
            lab.run(&["delete", "vm", "twin", "elsewhere"]);
        }
    }
    assert!(holdall.objects(&["list"], "point").iter().all(|point| point["consistency"] == "stopped"));
    holdall.succeeds(&["check", "--read-data"]);
}

#[test]
fn a_machine_is_lost_and_comes_back_on_lxd() {
    a_machine_is_lost_and_comes_back(Product::Lxd);
}

#[test]
fn a_machine_is_lost_and_comes_back_on_incus_6() {
    a_machine_is_lost_and_comes_back(Product::Incus6);
}

#[test]
fn a_machine_is_lost_and_comes_back_on_incus_7() {
    a_machine_is_lost_and_comes_back(Product::Incus7);
}

fn an_unchanged_machine_costs_next_to_nothing(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    for pool in [Pool::Dir, Pool::Btrfs] {
        lab.pool(pool);
        let name = pool.name();
        init_machine(&lab, name, pool);
        take_snapshot(&lab, name, pool);
        let first = back_up(&holdall, name);
        let stream = first["stream_bytes"].as_u64().expect("a length");
        assert!(stream > 2 * DISK_BYTES);
        let before = holdall.stored_bytes();
        let second = back_up(&holdall, name);
        let grown = holdall.stored_bytes() - before;
        let allowed = 64 * 1024 + 32 * 1024 * stream / (1 << 30);
        assert!(grown < allowed, "{grown} bytes of a stream of {stream} in {name}");
        let details = &holdall.objects(&["show", second["point"].as_str().expect("an id")], "point_details")[0];
        assert!(details["chunks"].as_u64() > Some(60), "{details}");
        assert_eq!(details["new_chunks"], 0, "{details}");
    }
}

#[test]
fn an_unchanged_machine_costs_next_to_nothing_on_lxd() {
    an_unchanged_machine_costs_next_to_nothing(Product::Lxd);
}

#[test]
fn an_unchanged_machine_costs_next_to_nothing_on_incus_6() {
    an_unchanged_machine_costs_next_to_nothing(Product::Incus6);
}

#[test]
fn an_unchanged_machine_costs_next_to_nothing_on_incus_7() {
    an_unchanged_machine_costs_next_to_nothing(Product::Incus7);
}

/// Imports a file, exports it again and compares.
fn comes_back_byte_for_byte(holdall: &Holdall, file: &Path, import: &[&str]) {
    let (name, back) = (file.to_str().expect("text"), holdall.beside("back"));
    let made = &holdall.objects(&[&["import", name], import].concat(), "made")[0];
    let point = made["point"].as_str().expect("an id");
    holdall.succeeds(&["export", point, back.to_str().expect("text"), "--force"]);
    assert_eq!(content(file), content(&back), "{name}");
}

/// Without its end it is no export, and as a file it is whatever it is.
fn is_refused_when_cut(holdall: &Holdall, file: &Path) {
    let cut = holdall.beside("cut");
    let len = fs::copy(file, &cut).expect("a copy");
    for kept in [len - 64 * 1024, len / 2] {
        File::options().write(true).open(&cut).and_then(|cut| cut.set_len(kept)).expect("cut");
        holdall.fails(&["import", cut.to_str().expect("text")], 1, &["cut", "not a complete export"]);
    }
    comes_back_byte_for_byte(holdall, &cut, &["--as", "file:cut"]);
}

fn exports_of_machines_become_points(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    init_machine(&lab, "vm", Pool::Dir);
    lab.pool(Pool::Btrfs);
    init_machine(&lab, "snapped", Pool::Btrfs);
    take_snapshot(&lab, "snapped", Pool::Btrfs);
    for (name, option) in [("vm", None), ("snapped", None), ("snapped", Some("--optimized-storage"))] {
        let file = holdall.beside("exported");
        let path = file.to_str().expect("text");
        let args = ["export", name, path, "--compression", "none"].into_iter().chain(option);
        lab.run(&args.collect::<Vec<_>>());
        comes_back_byte_for_byte(&holdall, &file, &[]);
        is_refused_when_cut(&holdall, &file);
        fs::remove_file(file).expect("the export");
    }
    let forms: Vec<Value> = holdall.objects(&["list"], "point").into_iter().map(|mut p| p["form"].take()).collect();
    assert_eq!(forms, ["export", "file", "export", "file", "optimized", "file"]);
    // A stream of the driver's own is restored by it, too.
    let before = Machine::of(&lab, Pool::Btrfs, "snapped");
    lab.run(&["delete", "snapped"]);
    holdall.succeeds(&["restore", "snapped"]);
    assert_eq!(Machine::of(&lab, Pool::Btrfs, "snapped"), before);
}

#[test]
fn exports_of_machines_become_points_on_lxd() {
    exports_of_machines_become_points(Product::Lxd);
}

#[test]
fn exports_of_machines_become_points_on_incus_6() {
    exports_of_machines_become_points(Product::Incus6);
}

#[test]
fn exports_of_machines_become_points_on_incus_7() {
    exports_of_machines_become_points(Product::Incus7);
}

fn exports_of_volumes_become_points(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    let size = format!("size={DISK_BYTES}");
    for pool in [Pool::Dir, Pool::Btrfs] {
        let (name, custom) = (lab.pool(pool), lab.pool_dir(pool).join("custom"));
        lab.run(&["storage", "volume", "create", name, "files"]);
        lab.run(&["storage", "volume", "create", name, "block", "--type", "block", &size]);
        new_noise(&custom.join("default_files/noise"));
        fill(&custom.join("default_block/root.img"));
        for volume in ["files", "block"] {
            let snapshots = format!("/1.0/storage-pools/{name}/volumes/custom/{volume}/snapshots");
            lab.request("POST", &snapshots, &json!({ "name": "s0" }));
            lab.wait_for_operations();
            assert_eq!(lab.get(&snapshots).as_array().map(Vec::len), Some(1));
            let file = holdall.beside(volume);
            let path = file.to_str().expect("text");
            lab.run(&["storage", "volume", "export", name, volume, path, "--compression", "none"]);
            comes_back_byte_for_byte(&holdall, &file, &[]);
            is_refused_when_cut(&holdall, &file);
            fs::remove_file(file).expect("the export");
        }
    }
    let points = holdall.objects(&["list"], "point");
    let volumes = points.iter().filter(|point| point["kind"] == "volume").count();
    assert_eq!((volumes, points.len()), (4, 8));
}

#[test]
fn exports_of_volumes_become_points_on_lxd() {
    exports_of_volumes_become_points(Product::Lxd);
}

#[test]
fn exports_of_volumes_become_points_on_incus_6() {
    exports_of_volumes_become_points(Product::Incus6);
}

#[test]
fn exports_of_volumes_become_points_on_incus_7() {
    exports_of_volumes_become_points(Product::Incus7);
}

/// What the daemon exports of an ISO volume is the bare image, which nothing but its length makes whole.
#[test]
fn an_exported_iso_is_a_file_on_incus_7() {
    let Some(lab) = Lab::incus7() else { return };
    let holdall = Holdall::new(&lab);
    let (image, exported) = (holdall.beside("image.iso"), holdall.beside("exported.iso"));
    new_noise(&image);
    lab.run(&["storage", "volume", "import", "dir", image.to_str().expect("text"), "disc", "--type", "iso"]);
    lab.run(&["storage", "volume", "export", "dir", "disc", exported.to_str().expect("text")]);
    assert_eq!(content(&exported), content(&image));
    holdall.fails(&["import", exported.to_str().expect("text")], 1, &["exported.iso", "not a complete export"]);
    comes_back_byte_for_byte(&holdall, &exported, &["--as", "file:disc"]);
}
