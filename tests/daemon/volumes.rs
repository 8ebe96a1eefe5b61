//! Custom volumes on real daemons: found, backed up with their snapshots, lost, and brought back.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::holdall::Holdall;
use crate::lab::{Lab, Pool, Product};
use crate::machines::{DISK_BYTES, content, fill, new_noise};
use crate::tree;

pub fn place(lab: &Lab, pool: Pool, volume: &str) -> PathBuf {
    lab.pool_dir(pool).join("custom").join(format!("default_{volume}"))
}

fn shell(script: &str, directory: &Path) {
    let status = Command::new("sh").args(["-euc", script]).current_dir(directory).status().expect("sh");
    assert!(status.success(), "{script}");
}

fn snapshots(lab: &Lab, pool: &str, volume: &str) -> Vec<String> {
    let found = lab.get(&format!("/1.0/storage-pools/{pool}/volumes/custom/{volume}/snapshots?recursion=1"));
    let found = found.as_array().into_iter().flatten();
    found.map(|one| one["name"].as_str().expect("a name").rsplit('/').next().expect("a name").to_owned()).collect()
}

pub fn take_snapshot(lab: &Lab, pool: &str, volume: &str) {
    lab.request(
        "POST",
        &format!("/1.0/storage-pools/{pool}/volumes/custom/{volume}/snapshots"),
        &json!({"name": "v0"}),
    );
    lab.wait_for_operations();
    assert_eq!(snapshots(lab, pool, volume), ["v0"]);
}

fn snapshot_of(lab: &Lab, pool: Pool, volume: &str) -> PathBuf {
    lab.pool_dir(pool).join("custom-snapshots").join(format!("default_{volume}")).join("v0")
}

/// Everything of a volume that has to come back, and the same of its snapshot.
pub fn whole(lab: &Lab, pool: Pool, volume: &str) -> (tree::Tree, tree::Tree) {
    (tree_of(&place(lab, pool, volume)), tree_of(&snapshot_of(lab, pool, volume)))
}

/// What a volume or a snapshot of one holds.
pub fn tree_of(directory: &Path) -> tree::Tree {
    let image = directory.join("root.img");
    // The image file of a block volume is the daemon's own; only what is in it was backed up.
    if image.exists() { tree::Tree::from([(b"root.img".to_vec(), content(&image))]) } else { tree::read(directory) }
}

fn volumes_are_lost_and_come_back(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    let (dir, btrfs) = (lab.pool(Pool::Dir), lab.pool(Pool::Btrfs));
    let size = format!("size={DISK_BYTES}");
    for (pool, name) in [(Pool::Dir, dir), (Pool::Btrfs, btrfs)] {
        lab.run(&["storage", "volume", "create", name, "files", "user.note=kept"]);
        let files = place(&lab, pool, "files");
        shell(
            "mkdir -p a/b; echo one >a/b/f; ln a/b/f a/hard; ln -s ../x a/soft; mkfifo p; chown 12345:77 a/b/f
             chown 123:456 .; chmod 2751 .; setfattr -n user.x -v y a/b/f; setfacl -m u:4321:rw a/b; : >'bad name'
             cp /bin/true capable; setcap cap_net_raw+ep capable; head -c 300000 /dev/urandom >noise",
            &files,
        );
        take_snapshot(&lab, name, "files");
        shell("echo two >>a/b/f; rm p; head -c 100000 /dev/urandom >>noise", &files);
        lab.run(&["storage", "volume", "create", name, "disk", "--type", "block", &size]);
        let image = place(&lab, pool, "disk").join("root.img");
        fill(&image);
        take_snapshot(&lab, name, "disk");
        new_noise(&image);
        shell(&format!("truncate -s {DISK_BYTES} root.img"), &place(&lab, pool, "disk"));
    }
    lab.launch_tiny("c", Pool::Dir);
    lab.run(&["stop", "--force", "c"]);

    let made = holdall.objects(&["backup", "--all"], "made");
    assert_eq!(made.len(), 6, "{made:?}");
    for (pool, name, other) in [(Pool::Dir, dir, Pool::Btrfs), (Pool::Btrfs, btrfs, Pool::Dir)] {
        for volume in ["files", "disk"] {
            let source = format!("volume:{name}/{volume}");
            let before = whole(&lab, pool, volume);
            assert!(before.0 != before.1 && !before.1.is_empty());
            holdall.fails(&["restore", &source], 10, &["Volume", volume, "exists", "--as"]);
            let point = &holdall.objects(&["show", &source], "point_details")[0];
            assert_eq!((&point["consistency"], &point["snapshots"][0]["name"]), (&json!("stopped"), &json!("v0")));
            lab.run(&["storage", "volume", "delete", name, volume]);
            holdall.succeeds(&["restore", &source]);
            holdall.succeeds(&["restore", &source, "--as", "twin"]);
            holdall.succeeds(&["restore", &source, "--as", "elsewhere", "--pool", other.name()]);
            for (pool, volume) in [(pool, volume), (pool, "twin"), (other, "elsewhere")] {
                let after = whole(&lab, pool, volume);
                assert_eq!(tree::differences(&before.0, &after.0), Vec::<String>::new(), "{source} as {volume}");
                assert_eq!(tree::differences(&before.1, &after.1), Vec::<String>::new(), "{source} as {volume}");
                assert_eq!(snapshots(&lab, pool.name(), volume), ["v0"]);
            }
            let config = |volume: &str| -> Value {
                lab.get(&format!("/1.0/storage-pools/{name}/volumes/custom/{volume}"))["config"]["user.note"].clone()
            };
            assert_eq!(config("twin"), config(volume));
            lab.run(&["storage", "volume", "delete", name, "twin"]);
            lab.run(&["storage", "volume", "delete", other.name(), "elsewhere"]);
        }
    }
    holdall.fails(&["restore", "volume:dir/files", "--pool", "nowhere"], 10, &["storage pool nowhere"]);
    // What came back is as it was, so there is nothing new in it.
    for made in holdall.objects(&["backup", "--all"], "made") {
        let (stored, stream) = (made["stored_bytes"].as_u64().expect("bytes"), made["stream_bytes"].as_u64());
        assert!(stored < 64 * 1024 + stream.expect("bytes") / (1 << 30) * 32 * 1024, "{made}");
    }
    holdall.succeeds(&["check", "--read-data"]);
}

#[test]
fn volumes_are_lost_and_come_back_on_lxd() {
    volumes_are_lost_and_come_back(Product::Lxd);
}

#[test]
fn volumes_are_lost_and_come_back_on_incus_6() {
    volumes_are_lost_and_come_back(Product::Incus6);
}

#[test]
fn volumes_are_lost_and_come_back_on_incus_7() {
    volumes_are_lost_and_come_back(Product::Incus7);
}

/// A volume is as consistent as those that write to it let it be.
fn an_attached_volume_says_how_consistent_it_is(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    for (pool, expected) in [(Pool::Dir, "fuzzy"), (Pool::Btrfs, "crash-consistent")] {
        let name = lab.pool(pool);
        lab.launch_tiny(name, Pool::Dir);
        lab.run(&["storage", "volume", "create", name, "data"]);
        lab.run(&[
            "config",
            "device",
            "add",
            name,
            "data",
            "disk",
            &format!("pool={name}"),
            "source=data",
            "path=/mnt",
        ]);
        lab.sh(name, "echo hello >/mnt/f");
        let source = format!("volume:{name}/data");
        holdall.succeeds(&["backup", &source]);
        lab.run(&["stop", "--force", name]);
        holdall.succeeds(&["backup", &source]);
        let points = holdall.objects(&["list", &source], "point");
        let labels: Vec<&Value> = points.iter().map(|point| &point["consistency"]).collect();
        assert_eq!(labels, [expected, "stopped"]);
    }
    let planned = holdall.succeeds(&["backup", "--all", "--dry-run"]);
    assert!(planned.contains("volume:dir/data: volume of files, attached to an instance"), "{planned}");
    holdall.fails(&["backup", "volume:dir/none"], 3, &["volume:dir/none", "no such volume"]);
}

#[test]
fn an_attached_volume_says_how_consistent_it_is_on_lxd() {
    an_attached_volume_says_how_consistent_it_is(Product::Lxd);
}

#[test]
fn an_attached_volume_says_how_consistent_it_is_on_incus_7() {
    an_attached_volume_says_how_consistent_it_is(Product::Incus7);
}
