//! Storage buckets on a real daemon: filled over S3, backed up, lost, and brought back object by object.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::holdall::Holdall;
use crate::lab::{Lab, Pool, Product};
use crate::machines::content;

/// Lets the daemon listen for users of buckets, on a port that nobody has.
fn serve_buckets(lab: &Lab) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its number").to_string();
    drop(listener);
    lab.run(&["config", "set", &format!("core.storage_buckets_address={address}")]);
    address
}

/// The keys of a bucket by their names, each as its public and its secret half.
fn keys(lab: &Lab, pool: &str, bucket: &str, project: &str) -> BTreeMap<String, (String, String)> {
    let found = lab.get(&format!("/1.0/storage-pools/{pool}/buckets/{bucket}/keys?recursion=1&project={project}"));
    let text = |key: &Value, field: &str| key[field].as_str().expect("text").to_owned();
    let found = found.as_array().expect("a list").iter();
    found.map(|key| (text(key, "name"), (text(key, "access-key"), text(key, "secret-key")))).collect()
}

/// A request to the bucket as its users make them; what came back.
fn s3(address: &str, key: &(String, String), path: &str, upload: Option<&Path>) -> Vec<u8> {
    let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned();
    let digest = upload.map_or(digest, |file| {
        let printed = Command::new("sha256sum").arg(file).output().expect("sha256sum").stdout;
        String::from_utf8_lossy(&printed).split(' ').next().expect("a digest").to_owned()
    });
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--insecure", "--aws-sigv4", "aws:amz:us-east-1:s3"]);
    command.args(["--user", &format!("{}:{}", key.0, key.1)]);
    command.args(["--header", &format!("x-amz-content-sha256: {digest}")]);
    if let Some(file) = upload {
        command.arg("--upload-file").arg(file);
    }
    let output = command.arg(format!("https://{address}/{path}")).output().expect("curl");
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Objects and their contents, as the daemon keeps them: beside each stands what it notes about it.
fn objects(lab: &Lab, pool: Pool, bucket: &str) -> BTreeMap<PathBuf, String> {
    let root = lab.pool_dir(pool).join("buckets").join(bucket).join("data");
    let mut found = BTreeMap::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory of the bucket") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_none_or(|extension| extension != "meta") {
                found.insert(path.strip_prefix(&root).expect("inside").to_owned(), content(&path));
            }
        }
    }
    found
}

/// Puts an object of noise into a bucket.
fn put(address: &str, admin: &(String, String), path: &str, len: usize, file: &Path) {
    let noise = File::create(file).expect("a file for the object");
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(path.as_bytes()).finalize_xof().fill(&mut bytes);
    noise.write_all_at(&bytes, 0).expect("the file takes it");
    s3(address, admin, path, Some(file));
}

#[test]
fn buckets_are_lost_and_come_back() {
    let Some(lab) = Lab::incus7() else { return };
    let holdall = Holdall::new(&lab);
    let file = holdall.beside("object");
    let address = serve_buckets(&lab);
    for pool in [Pool::Dir, Pool::Btrfs] {
        lab.run(&["storage", "bucket", "create", lab.pool(pool), pool.name()]);
        lab.run(&["storage", "bucket", "key", "create", pool.name(), pool.name(), "reader", "--role", "read-only"]);
        let admin = &keys(&lab, pool.name(), pool.name(), "default")["admin"];
        for (object, len) in [("small", 5), ("empty", 0), ("deep/er/noise", 300_000), ("a%20b", 70_000)] {
            put(&address, admin, &format!("{}/{object}", pool.name()), len, &file);
        }
    }
    let planned = holdall.succeeds(&["backup", "--all", "--dry-run"]);
    assert!(planned.contains("bucket:dir/dir: bucket"), "{planned}");
    assert_eq!(holdall.objects(&["backup", "--all"], "made").len(), 2);
    for (pool, other) in [(Pool::Dir, Pool::Btrfs), (Pool::Btrfs, Pool::Dir)] {
        let name = pool.name();
        let source = format!("bucket:{name}/{name}");
        let (before, own) = (objects(&lab, pool, &format!("default_{name}")), keys(&lab, name, name, "default"));
        assert_eq!((before.len(), own.len()), (4, 2));
        let shown = holdall.succeeds(&["--json", "show", &source]);
        assert!(own.values().all(|(access, secret)| !shown.contains(access) && !shown.contains(secret)), "{shown}");
        let point = &holdall.objects(&["show", &source], "point_details")[0];
        assert_eq!((&point["original"]["codec"], &point["consistency"]), (&json!("gzip"), &json!("fuzzy")));
        assert!(holdall.succeeds(&["ls", &source, "/", "--recursive"]).contains("deep/er/noise"));

        // Beside the original its keys are taken, and the fresh ones work.
        holdall.fails(&["restore", &source], 10, &["Bucket", name, "exists", "--as"]);
        let restored = &holdall.objects(&["restore", &source, "--as", "twin", "--pool", other.name()], "restored")[0];
        assert!(restored["remarks"][0].as_str().expect("a remark").contains("key admin got a fresh"), "{restored}");
        let fresh = keys(&lab, other.name(), "twin", "default");
        assert!(
            fresh.keys().eq(own.keys()) && fresh.iter().all(|(name, key)| key.0 != own[name].0 && key.1 != own[name].1)
        );
        assert_eq!(s3(&address, &fresh["reader"], "twin/deep/er/noise", None).len(), 300_000);
        assert_eq!(objects(&lab, other, "default_twin"), before);

        lab.run(&["storage", "bucket", "delete", name, name]);
        let restored = &holdall.objects(&["restore", &source], "restored")[0];
        assert_eq!(restored["remarks"], json!([]));
        assert_eq!(objects(&lab, pool, &format!("default_{name}")), before);
        assert_eq!(keys(&lab, name, name, "default"), own);
        lab.run(&["storage", "bucket", "delete", other.name(), "twin"]);
    }
    // What came back is as it was, so there is nothing new in it.
    for made in holdall.objects(&["backup", "--all"], "made") {
        assert!(made["stored_bytes"].as_u64().expect("bytes") < 8192, "{made}");
    }
    holdall.succeeds(&["check", "--read-data"]);
}

#[test]
fn a_bucket_in_a_project_of_its_own_is_found_there_and_restored_to_another() {
    let Some(lab) = Lab::incus7() else { return };
    let holdall = Holdall::new(&lab);
    let address = serve_buckets(&lab);
    lab.run(&["project", "create", "own", "--config", "features.storage.buckets=true"]);
    lab.run(&["project", "create", "sharing", "--config", "features.storage.buckets=false"]);
    lab.run(&["--project", "own", "storage", "bucket", "create", "dir", "theirs"]);
    let admin = &keys(&lab, "dir", "theirs", "own")["admin"];
    put(&address, admin, "theirs/object", 5000, &holdall.beside("object"));
    let made = holdall.objects(&["backup", "--all"], "made");
    let sources: Vec<&str> = made.iter().map(|made| made["source"].as_str().expect("text")).collect();
    assert!(matches!(sources.as_slice(), [one] if one.ends_with("//bucket:own/dir/theirs")), "{sources:?}");
    holdall.succeeds(&["restore", "bucket:own/dir/theirs", "--project", "default", "--as", "ours"]);
    assert_eq!(objects(&lab, Pool::Dir, "default_ours"), objects(&lab, Pool::Dir, "own_theirs"));
}

#[test]
fn buckets_that_no_daemon_can_read_are_named() {
    let Some(lab) = Lab::incus7() else { return };
    let holdall = Holdall::new(&lab);
    lab.launch_tiny("c", Pool::Dir);
    lab.run(&["storage", "bucket", "create", "dir", "data"]);
    let planned = holdall.succeeds(&["backup", "--all", "--dry-run"]);
    assert!(planned.contains("bucket:dir/data: bucket, cannot be backed up"), "{planned}");
    holdall.fails(&["backup", "--all"], 3, &["bucket:dir/data", "core.storage_buckets_address"]);
    assert_eq!(holdall.points().len(), 2, "the others were backed up");
    serve_buckets(&lab);
    holdall.succeeds(&["backup", "bucket:dir/data"]);
    lab.run(&["config", "unset", "core.storage_buckets_address"]);
    holdall.fails(&["restore", "bucket:dir/data", "--as", "twin"], 10, &["core.storage_buckets_address"]);
    serve_buckets(&lab);
    lab.run(&["storage", "bucket", "key", "delete", "dir", "data", "admin"]);
    holdall.fails(&["backup", "bucket:dir/data"], 3, &["bucket:dir/data", "no key"]);
    holdall.fails(&["backup", "bucket:dir/none"], 3, &["bucket:dir/none", "no such bucket"]);
}

/// Where buckets are unknown or there are none, nothing is said of them.
#[test]
fn daemons_without_buckets_are_none_the_worse_for_it() {
    for product in [Product::Lxd, Product::Incus6] {
        let Some(lab) = Lab::open(product) else { return };
        let holdall = Holdall::new(&lab);
        lab.launch_tiny("c", Pool::Dir);
        let planned = holdall.succeeds(&["backup", "--all", "--dry-run"]);
        assert!(!planned.contains("bucket"), "{planned}");
        holdall.fails(&["backup", "bucket:dir/none"], 3, &["bucket:dir/none", "no such bucket"]);
    }
}
