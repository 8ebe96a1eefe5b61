//! Restoring to another server, version, product, pool and name; one snapshot of many; and in the place of another.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::holdall::Holdall;
use crate::lab::{Lab, Pool, Product};
use crate::machines::{self, DISK_BYTES, Machine};
use crate::product::{fill, rootfs};
use crate::volumes;
use crate::{product, tree};

const EXPIRY: &str = "2033-05-18T03:33:20Z";

/// The program, told which daemon to talk to.
struct At<'h> {
    holdall: &'h Holdall,
    socket: String,
}

impl<'h> At<'h> {
    fn new(holdall: &'h Holdall, lab: &Lab) -> Self {
        Self { holdall, socket: lab.socket().to_str().expect("text").to_owned() }
    }

    fn succeeds(&self, args: &[&str]) -> String {
        self.holdall.succeeds(&[&["--server", &self.socket], args].concat())
    }

    fn fails(&self, args: &[&str], code: i32, words: &[&str]) {
        self.holdall.fails(&[&["--server", &self.socket], args].concat(), code, words);
    }
}

fn shell(script: &str, directory: &Path) {
    let status = Command::new("sh").args(["-euc", script]).current_dir(directory).status().expect("sh");
    assert!(status.success(), "{script}");
}

fn snapshot_rootfs(lab: &Lab, pool: Pool, name: &str, snapshot: &str) -> PathBuf {
    lab.pool_dir(pool).join("containers-snapshots").join(name).join(snapshot).join("rootfs")
}

/// The trees of a container and of its snapshots, oldest first.
pub fn trees(lab: &Lab, pool: Pool, name: &str) -> [tree::Tree; 3] {
    [
        tree::read(&snapshot_rootfs(lab, pool, name, "s0")),
        tree::read(&snapshot_rootfs(lab, pool, name, "s1")),
        tree::read(&rootfs(lab, pool, name)),
    ]
}

fn same(one: &tree::Tree, other: &tree::Tree, what: &str) {
    assert_eq!(tree::differences(one, other), Vec::<String>::new(), "{what}");
}

fn config(lab: &Lab, name: &str) -> Value {
    lab.get(&format!("/1.0/instances/{name}"))["config"].clone()
}

fn expiries(lab: &Lab, name: &str) -> Vec<(String, String)> {
    let found = lab.get(&format!("/1.0/instances/{name}/snapshots?recursion=1"));
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let found = found.as_array().expect("a list").iter();
    found.map(|one| (text(&one["name"]), text(&one["expires_at"]))).collect()
}

/// Gives files a time long past. On a plain directory the daemon copies the tree for each snapshot, and leaves special
/// files the fraction of the second in which it made them where the whole seconds agree already: a restore within the
/// second of the file's own time then ends between two whole seconds.
const SETTLE: &str = "find odd -exec touch --no-dereference --date=@1700000000.25 {} +";

/// A stopped container with files of every sort and two snapshots that hold others, one of which expires.
pub fn make_container(lab: &Lab, pool: Pool, name: &str) {
    lab.launch_tiny(name, pool);
    lab.sh(name, "echo first >/srv/state");
    lab.run(&["stop", "--force", name]);
    let root = rootfs(lab, pool, name);
    fill(&root);
    // The copies that Incus makes where the pool has no snapshots of its own go without these.
    shell(&format!("setfattr -x trusted.note odd/deep; {SETTLE}"), &root);
    lab.run(&["config", "set", name, "user.note", "first"]);
    lab.snapshot(name, "s0");
    let change = "echo second >srv/state; rm odd/hard; head -c 200000 /dev/urandom >odd/more";
    shell(&format!("{change}; {SETTLE}"), &root);
    lab.run(&["config", "set", name, "user.note", "second: \"quoted\"\n - and: 'more'\n"]);
    lab.snapshot(name, "s1");
    let expiring = format!("/1.0/instances/{name}/snapshots/s1");
    lab.request("PUT", &expiring, &json!({ "expires_at": EXPIRY }));
    lab.wait_for_operations();
    shell("echo third >srv/state; setfattr -n trusted.note -v secret odd/deep", &root);
    let never = "0001-01-01T00:00:00Z";
    assert_eq!(expiries(lab, name), [("s0", never), ("s1", EXPIRY)].map(|(a, b)| (a.to_owned(), b.to_owned())));
}

/// What was restored is what was backed up, boots, and its snapshots can be gone back to.
pub fn is_restored(lab: &Lab, pool: Pool, name: &str, before: &[tree::Tree; 3]) {
    let after = trees(lab, pool, name);
    for ((one, other), which) in before.iter().zip(&after).zip(["s0", "s1", "now"]) {
        same(one, other, &format!("{name} {which}"));
    }
    let never = "0001-01-01T00:00:00Z";
    assert_eq!(expiries(lab, name), [("s0", never), ("s1", EXPIRY)].map(|(a, b)| (a.to_owned(), b.to_owned())));
    let kept = lab.pool_dir(pool).join("containers").join(name).join("backup.yaml");
    let kept = std::fs::read_to_string(kept).expect("the daemon's own description");
    assert!(kept.contains("name: s0") && kept.contains("name: s1"), "recovery needs the snapshots: {kept}");
    assert_eq!(config(lab, name)["user.note"], "second: \"quoted\"\n - and: 'more'\n");
    boots(lab, name, "third");
    lab.request("PUT", &format!("/1.0/instances/{name}"), &json!({ "restore": "s0" }));
    lab.wait_for_operations();
    assert_eq!(config(lab, name)["user.note"], "first");
    boots(lab, name, "first");
}

fn boots(lab: &Lab, name: &str, state: &str) {
    lab.run(&["start", name]);
    assert_eq!(lab.sh(name, "cat /srv/state"), format!("{state}\n"));
    assert_eq!(lab.sh(name, "stat -c %u:%g /etc"), "0:0\n");
    lab.run(&["stop", "--force", name]);
}

fn a_container_goes_elsewhere(from: Product, to: Product) {
    let (Some(origin), Some(lab)) = (Lab::open(from), Lab::open(to)) else { return };
    let holdall = Holdall::new(&origin);
    make_container(&origin, Pool::Dir, "c");
    let before = trees(&origin, Pool::Dir, "c");
    holdall.succeeds(&["backup", "c"]);

    let there = At::new(&holdall, &lab);
    let told = there.succeeds(&["restore", "c"]);
    assert_eq!(told.contains("left out"), from == Product::Incus7 && to == Product::Lxd, "{told}");
    is_restored(&lab, Pool::Dir, "c", &before);
    lab.pool(Pool::Btrfs);
    there.succeeds(&["restore", "c", "--as", "moved", "--pool", "btrfs"]);
    assert_ne!(config(&lab, "moved")["volatile.uuid"], config(&lab, "c")["volatile.uuid"], "c is its twin");
    is_restored(&lab, Pool::Btrfs, "moved", &before);

    there.succeeds(&["restore", "c", "--as", "then", "--snapshot", "s0"]);
    same(&before[0], &tree::read(&rootfs(&lab, Pool::Dir, "then")), "s0 as an instance");
    assert_eq!((expiries(&lab, "then"), &config(&lab, "then")["user.note"]), (Vec::new(), &json!("first")));
    boots(&lab, "then", "first");
    there.succeeds(&["restore", "c", "--as", "alone", "--no-snapshots"]);
    same(&before[2], &tree::read(&rootfs(&lab, Pool::Dir, "alone")), "without snapshots");
    assert_eq!(expiries(&lab, "alone"), []);
    boots(&lab, "alone", "third");
    there.fails(&["restore", "c", "--as", "x", "--snapshot", "s9"], 8, &["no snapshot s9", "s0, s1"]);

    // And home again: what came back is what went.
    lab.run(&["delete", "c"]);
    there.succeeds(&["restore", "c"]);
    there.succeeds(&["backup", "c", "--server-name", "elsewhere"]);
    origin.run(&["delete", "c"]);
    holdall.succeeds(&["restore", "elsewhere//c"]);
    is_restored(&origin, Pool::Dir, "c", &before);
}

#[test]
fn a_container_goes_from_lxd_to_incus_6() {
    a_container_goes_elsewhere(Product::Lxd, Product::Incus6);
}

#[test]
fn a_container_goes_from_lxd_to_incus_7() {
    a_container_goes_elsewhere(Product::Lxd, Product::Incus7);
}

#[test]
fn a_container_goes_from_incus_7_to_lxd() {
    a_container_goes_elsewhere(Product::Incus7, Product::Lxd);
}

#[test]
fn a_container_goes_from_incus_7_to_incus_6() {
    a_container_goes_elsewhere(Product::Incus7, Product::Incus6);
}

fn a_machine_goes_elsewhere(from: Product, to: Product) {
    let (Some(origin), Some(lab)) = (Lab::open(from), Lab::open(to)) else { return };
    let holdall = Holdall::new(&origin);
    machines::init_machine(&origin, "vm", Pool::Dir);
    machines::take_snapshot(&origin, "vm", Pool::Dir);
    origin.snapshot("vm", "s1");
    let before = Machine::of(&origin, Pool::Dir, "vm");
    assert_eq!(before.snapshots.len(), 2);
    holdall.succeeds(&["backup", "vm"]);
    let there = At::new(&holdall, &lab);
    there.succeeds(&["restore", "vm"]);
    assert_eq!(Machine::of(&lab, Pool::Dir, "vm"), before);
    there.succeeds(&["restore", "vm", "--as", "then", "--snapshot", "s0"]);
    let then = Machine::of(&lab, Pool::Dir, "then");
    assert_eq!((Some(&then.disk), then.snapshots.len()), (before.snapshots.get("s0"), 0));
    assert!(then.disk.starts_with(&DISK_BYTES.to_string()) && then.disk != before.disk);
}

#[test]
fn a_machine_goes_from_lxd_to_incus_7() {
    a_machine_goes_elsewhere(Product::Lxd, Product::Incus7);
}

#[test]
fn a_machine_goes_from_incus_7_to_lxd() {
    a_machine_goes_elsewhere(Product::Incus7, Product::Lxd);
}

#[test]
fn a_machine_goes_from_incus_7_to_incus_6() {
    a_machine_goes_elsewhere(Product::Incus7, Product::Incus6);
}

fn volumes_go_elsewhere(from: Product, to: Product) {
    let (Some(origin), Some(lab)) = (Lab::open(from), Lab::open(to)) else { return };
    let holdall = Holdall::new(&origin);
    origin.run(&["storage", "volume", "create", "dir", "files", "user.note=kept"]);
    let files = volumes::place(&origin, Pool::Dir, "files");
    shell(
        "mkdir -p a/b; echo one >a/b/f; ln a/b/f a/hard; ln -s ../x a/soft; mkfifo p; chown 12345:77 a/b/f
         chown 123:456 .; chmod 2751 .; setfattr -n user.x -v y a/b/f; setfacl -m u:4321:rw a/b
         head -c 300000 /dev/urandom >noise; : >\"$(head -c 200 /dev/zero | tr '\\0' n)\"",
        &files,
    );
    volumes::take_snapshot(&origin, "dir", "files");
    shell("echo two >>a/b/f; rm p; head -c 100000 /dev/urandom >>noise", &files);
    let size = format!("size={DISK_BYTES}");
    origin.run(&["storage", "volume", "create", "dir", "disk", "--type", "block", &size]);
    let image = volumes::place(&origin, Pool::Dir, "disk").join("root.img");
    machines::fill(&image);
    volumes::take_snapshot(&origin, "dir", "disk");
    machines::fill(&image);
    holdall.succeeds(&["backup", "volume:dir/files", "volume:dir/disk"]);

    let there = At::new(&holdall, &lab);
    for volume in ["files", "disk"] {
        let (source, before) = (format!("volume:dir/{volume}"), volumes::whole(&origin, Pool::Dir, volume));
        assert!(before.0 != before.1);
        there.succeeds(&["restore", &source]);
        let after = volumes::whole(&lab, Pool::Dir, volume);
        same(&before.0, &after.0, volume);
        same(&before.1, &after.1, volume);
        for (option, expected) in [(&["--no-snapshots"][..], &before.0), (&["--snapshot", "v0"], &before.1)] {
            there.succeeds(&[&["restore", &source, "--as", "other"], option].concat());
            let directory = volumes::place(&lab, Pool::Dir, "other");
            same(expected, &volumes::tree_of(&directory), &format!("{volume} {option:?}"));
            let snapshots = lab.get("/1.0/storage-pools/dir/volumes/custom/other/snapshots");
            assert_eq!(snapshots.as_array().map(Vec::len), Some(0));
            lab.run(&["storage", "volume", "delete", "dir", "other"]);
        }
    }
    let note = lab.get("/1.0/storage-pools/dir/volumes/custom/files")["config"]["user.note"].clone();
    assert_eq!(note, "kept");
    there.fails(&["restore", "volume:dir/files", "--as", "x", "--snapshot", "s9"], 8, &["no snapshot s9", "v0"]);
    there.fails(&["restore", "volume:dir/files", "--as", "x", "--replace"], 2, &["volume"]);
}

#[test]
fn volumes_go_from_lxd_to_incus_7() {
    volumes_go_elsewhere(Product::Lxd, Product::Incus7);
}

#[test]
fn volumes_go_from_incus_7_to_lxd() {
    volumes_go_elsewhere(Product::Incus7, Product::Lxd);
}

#[test]
fn volumes_go_from_lxd_to_incus_6() {
    volumes_go_elsewhere(Product::Lxd, Product::Incus6);
}

fn what_is_missing_is_named_with_the_way_out(from: Product, to: Product) {
    let (Some(origin), Some(lab)) = (Lab::open(from), Lab::open(to)) else { return };
    let holdall = Holdall::new(&origin);
    origin.launch_tiny("c", Pool::Dir);
    origin.run(&["stop", "--force", "c"]);
    origin.run(&["profile", "create", "web"]);
    origin.run(&["profile", "add", "c", "web"]);
    origin.run(&["storage", "create", "slow", "dir"]);
    origin.run(&["storage", "volume", "create", "slow", "data"]);
    origin.run(&["config", "device", "add", "c", "data", "disk", "pool=slow", "source=data", "path=/data"]);
    holdall.succeeds(&["backup", "c"]);
    let there = At::new(&holdall, &lab);
    there.fails(&["restore", "c"], 10, &["storage pool slow", "profile web"]);
    there.fails(&["restore", "c"], 10, &["--map-pool slow=NAME", "--map-profile web=NAME"]);
    there.fails(&["restore", "c", "--project", "none"], 10, &["project none"]);
    let maps = ["restore", "c", "--map-profile", "web=site", "--map-pool", "slow=dir"];
    there.fails(&maps, 10, &["profile site", "the volume data in storage pool dir"]);
    assert_eq!(lab.get("/1.0/instances"), json!([]), "nothing was uploaded");
    lab.run(&["profile", "create", "site"]);
    there.fails(&maps, 10, &["--without-device data"]);
    there.succeeds(&[&maps[..], &["--without-device", "data", "--as", "bare"]].concat());
    assert_eq!(lab.get("/1.0/instances/bare")["devices"]["data"], Value::Null);
    lab.run(&["storage", "volume", "create", "dir", "data"]);
    there.succeeds(&maps);
    let restored = lab.get("/1.0/instances/c");
    assert_eq!(restored["profiles"], json!(["default", "site"]));
    assert_eq!(restored["devices"]["data"]["pool"], "dir");
    lab.run(&["start", "c", "bare"]);
    assert_eq!(lab.sh("c", "grep -c ' /data ' /proc/mounts"), "1\n");
    // A device of a profile is kept away, too.
    lab.run(&["profile", "device", "add", "site", "data", "disk", "pool=dir", "source=data", "path=/data"]);
    there.succeeds(&[&maps[..], &["--without-device", "data", "--as", "masked"]].concat());
    lab.run(&["start", "masked"]);
    assert_eq!(lab.sh("masked", "grep -c ' /data ' /proc/mounts || true"), "0\n");
}

#[test]
fn what_is_missing_on_incus_7_is_named_with_the_way_out() {
    what_is_missing_is_named_with_the_way_out(Product::Lxd, Product::Incus7);
}

#[test]
fn what_is_missing_on_lxd_is_named_with_the_way_out() {
    what_is_missing_is_named_with_the_way_out(Product::Incus7, Product::Lxd);
}

fn an_instance_is_replaced(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    make_container(&lab, Pool::Dir, "c");
    let (before, known_as) =
        (trees(&lab, Pool::Dir, "c"), config(&lab, "c")["volatile.cloud-init.instance-id"].clone());
    assert!(known_as.is_string());
    holdall.succeeds(&["backup", "c"]);
    lab.run(&["start", "c"]);
    lab.sh("c", "echo ruined >/srv/state; rm -r /odd");
    holdall.fails(&["restore", "c"], 10, &["exists"]);
    holdall.fails(&["restore", "c", "--replace"], 10, &["is running, not stopped"]);
    assert_eq!(lab.sh("c", "cat /srv/state"), "ruined\n");
    lab.run(&["stop", "--force", "c"]);
    lab.snapshot("c", "later");
    let restored = &holdall.objects(&["restore", "c", "--replace"], "restored")[0];
    assert_eq!((&restored["replaced"], &restored["remarks"]), (&json!(true), &json!([])));
    let names = lab.get("/1.0/instances?recursion=1");
    let names: Vec<&Value> = names.as_array().expect("a list").iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["c"], "the old one is gone");
    let config = config(&lab, "c");
    assert_eq!(config["volatile.cloud-init.instance-id"], known_as, "cloud-init knows it");
    assert!(config.as_object().expect("keys").keys().all(|key| !key.starts_with("user.holdall")), "{config}");
    is_restored(&lab, Pool::Dir, "c", &before);
}

#[test]
fn an_instance_is_replaced_on_lxd() {
    an_instance_is_replaced(Product::Lxd);
}

#[test]
fn an_instance_is_replaced_on_incus_6() {
    an_instance_is_replaced(Product::Incus6);
}

#[test]
fn an_instance_is_replaced_on_incus_7() {
    an_instance_is_replaced(Product::Incus7);
}

fn a_killed_replacement_leaves_one_of_the_two(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    lab.launch_tiny("c", Pool::Dir);
    lab.sh("c", "mkdir /srv/d; for i in $(seq 1 20); do head -c 1000000 /dev/urandom >/srv/d/$i; done");
    lab.run(&["stop", "--force", "c"]);
    holdall.succeeds(&["backup", "c"]);
    let before = tree::read(&rootfs(&lab, Pool::Dir, "c"));
    for _ in 0..product::rounds(4) {
        let mut restore = holdall.starts(&["restore", "c", "--replace"]);
        std::thread::sleep(product::random_pause(1500));
        let _ = restore.kill();
        let _ = restore.wait();
        lab.wait_for_operations();
        let found = lab.get("/1.0/instances?recursion=1");
        let names: Vec<&str> =
            found.as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
        let old = names.iter().find(|name| **name == "c" || name.starts_with("holdall-old-"));
        let old = old.unwrap_or_else(|| panic!("neither is there: {names:?}"));
        same(&before, &tree::read(&rootfs(&lab, Pool::Dir, old)), "the one that is there");
        holdall.succeeds(&["restore", "c", "--replace"]);
        let found = lab.get("/1.0/instances");
        assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
        same(&before, &tree::read(&rootfs(&lab, Pool::Dir, "c")), "the restored one");
    }
    lab.run(&["start", "c"]);
}

#[test]
fn a_killed_replacement_leaves_one_of_the_two_on_lxd() {
    a_killed_replacement_leaves_one_of_the_two(Product::Lxd);
}

#[test]
fn a_killed_replacement_leaves_one_of_the_two_on_incus_7() {
    a_killed_replacement_leaves_one_of_the_two(Product::Incus7);
}

/// What is inside the streams of a storage driver cannot be changed, and that is said before anything is sent.
#[test]
fn an_optimized_export_goes_as_it_is_or_not_at_all() {
    let (Some(origin), Some(lab)) = (Lab::incus7(), Lab::lxd()) else { return };
    let holdall = Holdall::new(&origin);
    origin.pool(Pool::Btrfs);
    origin.launch_tiny("c", Pool::Btrfs);
    origin.run(&["stop", "--force", "c"]);
    origin.snapshot("c", "s0");
    let file = holdall.beside("optimized.tar");
    let path = file.to_str().expect("text");
    origin.run(&["export", "c", path, "--compression", "none", "--optimized-storage"]);
    holdall.succeeds(&["import", path]);
    lab.pool(Pool::Btrfs);
    let there = At::new(&holdall, &lab);
    there.fails(&["restore", "c"], 1, &["cannot be changed on the way", "optimized"]);
    holdall.fails(&["restore", "c", "--as", "d", "--snapshot", "s0"], 1, &["cannot be changed on the way"]);
    holdall.succeeds(&["restore", "c", "--as", "twin"]);
    assert_ne!(config(&origin, "twin")["volatile.uuid"], config(&origin, "c")["volatile.uuid"]);
    assert_eq!(lab.get("/1.0/instances"), json!([]));
}
