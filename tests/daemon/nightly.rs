//! Whole runs over a real daemon, steered by its own keys and by a settings file, and what they add to a repository.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::holdall::{Holdall, said};
use crate::lab::{Lab, Pool, Product};
use crate::machines::{allocated, content, new_noise, scatter};
use crate::product::{kill_at_some_moment, rounds};
use crate::volumes::place;

#[expect(clippy::disallowed_methods, reason = "no object of a store")]
fn save(file: &Path, text: &str) {
    fs::write(file, text).expect("a file of the test");
}

/// What sources are said to be, by name.
fn states(output: &Output) -> Vec<(String, String)> {
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let objects = printed.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let text = |object: &Value, field: &str| object[field].as_str().expect("text").to_owned();
    let standings = objects.filter(|object| object["type"] == "standing");
    standings.map(|object| (text(&object, "source"), text(&object, "state"))).collect()
}

fn named(states: &[(String, String)]) -> Vec<String> {
    states.iter().map(|(source, state)| format!("{} {state}", source.split_once("//").expect("a server").1)).collect()
}

/// Settings with a hook after `first` that deletes `victim`, whose turn comes later.
fn settings_that_delete_a_victim(lab: &Lab) -> String {
    let request = format!("curl --silent --unix-socket {} http://x/1.0/instances/victim", lab.socket().display());
    format!(
        "server_name = \"lab\"\nmax_age = \"26h\"\n[[hook]]\nsources = [\"first\"]\nafter = '''\n{request} -X DELETE \
         --output /dev/null\nuntil {request} | grep -q '\"error_code\":404'; do :; done'''\n"
    )
}

#[test]
fn a_night_saves_what_can_be_saved_and_names_the_rest() {
    let Some(lab) = Lab::open(Product::Lxd) else { return };
    let holdall = Holdall::new(&lab);
    let dir = lab.pool(Pool::Dir);
    for name in ["first", "scratch", "victim"] {
        lab.launch_tiny(name, Pool::Dir);
        lab.run(&["stop", "--force", name]);
    }
    lab.run(&["config", "set", "scratch", "user.holdall.exclude", "true"]);
    lab.run(&["project", "create", "closed", "-c", "features.images=false"]);
    lab.run(&["init", "tiny", "inner", "--project", "closed", "--storage", dir]);
    lab.run(&["project", "set", "closed", "restricted", "true"]);
    for volume in ["data", "broken"] {
        lab.run(&["storage", "volume", "create", dir, volume]);
    }
    lab.run(&["storage", "volume", "attach", dir, "data", "first", "/data"]);
    // What stands in the way of the daemon's copy makes it fail in its own words.
    let in_the_way = lab.daemon_dir().join("backups/custom").join(dir);
    fs::create_dir_all(&in_the_way).expect("a directory of the daemon's");
    save(&in_the_way.join("default_broken"), "");

    let settings = holdall.beside("settings.toml");
    save(&settings, &settings_that_delete_a_victim(&lab));
    let with_settings = ["--config", settings.to_str().expect("text")];
    let run = |args: &[&str]| holdall.run(&[&with_settings, args].concat());

    let planned = String::from_utf8(run(&["backup", "--all", "--dry-run"]).stdout).expect("text");
    assert!(planned.contains("- lab//scratch: container, Stopped; user.holdall.exclude=true on it"), "{planned}");
    // One after the other, so that the victim is gone when its turn comes.
    let night = run(&["backup", "--all", "--parallel", "1"]);
    let words = said(&night);
    assert_eq!(night.status.code(), Some(3), "{words}");
    let failed = |name: &str, reason: &str| {
        let line = words.lines().find(|line| line.starts_with(&format!("holdall: failed: lab//{name}:")));
        assert!(line.is_some_and(|line| line.contains(reason)), "{name}: {words}");
    };
    failed("victim", "no such instance");
    failed("closed/inner", "doesn't allow for backup creation");
    failed("volume:dir/broken", "");
    assert!(words.contains("3 sources or projects have no new point"), "{words}");

    let status = run(&["--json", "status"]);
    assert_eq!(status.status.code(), Some(3), "{}", said(&status));
    let expected = [
        "closed/inner never backed up",
        "first ok",
        "scratch left out",
        "volume:dir/broken never backed up",
        "volume:dir/data ok",
    ];
    let mut found = named(&states(&status));
    found.retain(|state| !state.starts_with("image:"));
    found.sort_unstable();
    assert_eq!(found, expected);
    let offline = named(&states(&run(&["--json", "status", "--offline"])));
    assert!(offline.contains(&"victim never backed up".to_owned()), "{offline:?}");
    let point = &holdall.objects(&["show", "first"], "point_details")[0];
    assert_eq!(point["set"][0]["source"], "lab//volume:dir/data");
    assert!(point["set"][0]["point"].is_string(), "{point}");

    // The next night everything is well, and what is gone is not late.
    lab.run(&["project", "set", "closed", "restricted.backups", "allow"]);
    fs::remove_file(in_the_way.join("default_broken")).expect("it was there");
    let night = run(&["backup", "--all"]);
    assert!(night.status.success(), "{}", said(&night));
    lab.run(&["delete", "first"]);
    let status = run(&["--json", "status"]);
    assert!(status.status.success(), "{}", said(&status));
    assert!(named(&states(&status)).contains(&"first gone".to_owned()));
    assert!(!named(&states(&run(&["--json", "status", "--offline"]))).iter().any(|state| state.contains("victim")));
    assert!(run(&["source", "retire", "first"]).status.success());
    assert!(named(&states(&run(&["--json", "status"]))).contains(&"first retired".to_owned()));
    holdall.succeeds(&["check"]);
}

fn hooks_run_in_the_instance(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    lab.launch_tiny("c", Pool::Dir);
    lab.run(&["config", "set", "c", "user.holdall.hook.pre", "echo ready >/ready"]);
    lab.run(&["config", "set", "c", "user.holdall.hook.post", "rm /ready; echo done >/done"]);
    assert_eq!(holdall.objects(&["backup", "c"], "made").len(), 1);
    let files = holdall.succeeds(&["ls", "c", "/"]);
    assert!(files.contains(" ready\n") && !files.contains(" done\n"), "{files}");
    assert_eq!(lab.sh("c", "ls -d /ready /done 2>/dev/null || true").trim(), "/done");

    lab.run(&["config", "set", "c", "user.holdall.hook.pre", "echo begun >/begun; sleep 1000"]);
    lab.run(&["config", "set", "c", "user.holdall.hook.timeout", "1"]);
    lab.sh("c", "rm /done");
    holdall.fails(&["backup", "c"], 3, &["failed:", "//c", "hook user.holdall.hook.pre was killed", "1 seconds"]);
    assert_eq!(lab.sh("c", "ls -d /begun /done").trim(), "/begun\n/done");
    lab.run(&["config", "set", "c", "user.holdall.hook.pre", ""]);
    lab.run(&["config", "set", "c", "user.holdall.hook.post", "exit 9"]);
    holdall.fails(&["backup", "c"], 3, &["problem:", "//c", "hook user.holdall.hook.post failed with code 9"]);
    assert_eq!(holdall.points().len(), 2);

    // Who stops a run while it makes ready has it put right, after that.
    lab.run(&["config", "set", "c", "user.holdall.hook.pre", "echo begun >/slow; sleep 2; echo frozen >/slow"]);
    lab.run(&["config", "set", "c", "user.holdall.hook.post", "cat /slow >/stopped"]);
    lab.run(&["config", "unset", "c", "user.holdall.hook.timeout"]);
    let mut run = holdall.starts(&["backup", "c"]);
    while lab.sh("c", "cat /slow 2>/dev/null || true").is_empty() {
        assert!(run.try_wait().expect("a child").is_none(), "it ended before its hook ran");
    }
    let stopped = Command::new("kill").arg(run.id().to_string()).status();
    assert!(stopped.is_ok_and(|status| status.success()));
    assert_eq!(run.wait().expect("a child").code(), Some(130));
    assert_eq!(lab.sh("c", "cat /stopped"), "frozen\n");
    assert_eq!(holdall.points().len(), 2);
}

#[test]
fn hooks_run_in_the_instance_on_lxd() {
    hooks_run_in_the_instance(Product::Lxd);
}

#[test]
fn hooks_run_in_the_instance_on_incus_6() {
    hooks_run_in_the_instance(Product::Incus6);
}

#[test]
fn hooks_run_in_the_instance_on_incus_7() {
    hooks_run_in_the_instance(Product::Incus7);
}

#[test]
fn what_runs_on_a_plain_directory_is_refused_if_it_is_to_be_consistent() {
    let Some(lab) = Lab::incus7() else { return };
    let holdall = Holdall::new(&lab);
    lab.launch_tiny("plain", Pool::Dir);
    lab.launch_tiny("copying", Pool::Btrfs);
    holdall.fails(&["backup", "plain", "--consistent"], 3, &["plain", "one after the other while they change"]);
    holdall.succeeds(&["backup", "plain"]);
    holdall.succeeds(&["backup", "copying", "--consistent"]);
    let points = holdall.objects(&["list"], "point");
    let consistencies: Vec<&Value> = points.iter().map(|point| &point["consistency"]).collect();
    assert_eq!(consistencies, ["fuzzy", "crash-consistent"]);
    lab.run(&["stop", "--force", "plain"]);
    holdall.succeeds(&["backup", "plain", "--consistent"]);
}

/// What a point added, and what it may have added for that many bytes which nobody had seen before.
fn assert_adds(made: &Value, new_bytes: u64) {
    let number = |field: &str| made[field].as_u64().expect("bytes");
    let allowed = new_bytes * 105 / 100 + number("stream_bytes") / 1024;
    assert!(number("stored_bytes") <= allowed, "more than {allowed}: {made}");
}

const MIB: u64 = 1 << 20;

#[test]
fn containers_from_one_image_and_snapshots_add_only_their_difference() {
    let Some(lab) = Lab::incus7() else { return };
    let holdall = Holdall::new(&lab);
    lab.launch_tiny("c0", Pool::Btrfs);
    lab.sh("c0", "mkdir /base; for n in $(seq 300); do head -c 200000 /dev/urandom >/base/$n; done");
    lab.run(&["stop", "--force", "c0"]);
    for number in 1..10 {
        let name = format!("c{number}");
        lab.run(&["copy", "c0", &name]);
        lab.run(&["start", &name]);
        lab.sh(&name, "head -c 1048576 /dev/urandom >/own");
        lab.run(&["stop", "--force", &name]);
    }
    let first = &holdall.objects(&["backup", "c0"], "made")[0];
    assert!(first["stored_bytes"].as_u64() > Some(60_000_000), "{first}");
    let mut made = holdall.objects(&["backup", "--all"], "made");
    made.retain(|made| !made["source"].as_str().is_some_and(|source| source.contains("image:")));
    assert_eq!(made.len(), 10);
    for made in &made[1..] {
        assert_adds(made, MIB);
    }

    lab.run(&["start", "c1"]);
    for number in 0..5 {
        lab.snapshot("c1", &format!("s{number}"));
        lab.sh("c1", "head -c 1048576 /dev/urandom >/own");
    }
    lab.run(&["stop", "--force", "c1"]);
    let made = &holdall.objects(&["backup", "c1"], "made")[0];
    assert!(made["stream_bytes"].as_u64() > Some(360_000_000), "{made}");
    assert_adds(made, 5 * MIB);
}

#[test]
fn a_block_volume_costs_what_was_written_and_comes_back_sparse() {
    let Some(lab) = Lab::incus7() else { return };
    let holdall = Holdall::new(&lab);
    let dir = lab.pool(Pool::Dir);
    lab.run(&["storage", "volume", "create", dir, "disk", "--type", "block", "size=2GiB"]);
    let image = |name: &str| place(&lab, Pool::Dir, name).join("root.img");
    scatter(&image("disk"), 2048 * MIB, 100);
    let made = &holdall.objects(&["backup", "volume:dir/disk"], "made")[0];
    let stored = made["stored_bytes"].as_u64().expect("bytes");
    assert!(stored > 100 * MIB && stored < 103 * MIB, "{made}");
    holdall.succeeds(&["restore", "volume:dir/disk", "--as", "twin"]);
    let out = holdall.beside("out");
    let to = out.to_str().expect("text");
    holdall.succeeds(&["extract", "volume:dir/disk", "backup/volume.img", "--raw", "--to", to]);
    let extracted = out.join("backup/volume.img");
    for copy in [image("twin"), extracted] {
        assert_eq!(content(&copy), content(&image("disk")));
        let on_disk = allocated(&copy);
        assert!(on_disk < 140 * MIB, "{} takes {on_disk} bytes", copy.display());
    }
}

/// Backups, temporary files and instances on the daemon that are nobody's but this program's.
fn left_behind(lab: &Lab, sources: &[&str]) -> Vec<String> {
    let mut left: Vec<String> = Vec::new();
    for source in sources {
        let backups = lab.get(&format!("/1.0/{source}/backups"));
        left.extend(backups.as_array().into_iter().flatten().map(ToString::to_string));
        let snapshots = lab.get(&format!("/1.0/{source}/snapshots"));
        left.extend(snapshots.as_array().into_iter().flatten().map(ToString::to_string));
    }
    let mut directories = vec![lab.daemon_dir().join("backups")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                directories.push(entry.path());
            } else {
                left.push(entry.path().display().to_string());
            }
        }
    }
    let instances = lab.get("/1.0/instances");
    let instances = instances.as_array().into_iter().flatten().map(ToString::to_string);
    left.extend(instances.filter(|instance| instance.contains("holdall")));
    left
}

fn a_killed_run_leaves_nothing_on_the_daemon(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    let dir = lab.pool(Pool::Dir);
    lab.launch_tiny("c", Pool::Dir);
    lab.sh("c", "head -c 60000000 /dev/urandom >/srv/noise");
    lab.run(&["stop", "--force", "c"]);
    for volume in ["one", "two"] {
        lab.run(&["storage", "volume", "create", dir, volume]);
        new_noise(&place(&lab, Pool::Dir, volume).join("noise"));
    }
    for _ in 0..rounds(4) {
        kill_at_some_moment(holdall.starts(&["backup", "--all"]), 1500);
    }
    holdall.succeeds(&["backup", "--all"]);
    lab.wait_for_operations();
    let sources = ["instances/c", "storage-pools/dir/volumes/custom/one", "storage-pools/dir/volumes/custom/two"];
    assert_eq!(left_behind(&lab, &sources), Vec::<String>::new());
    holdall.succeeds(&["check"]);
}

#[test]
fn a_killed_run_leaves_nothing_on_lxd() {
    a_killed_run_leaves_nothing_on_the_daemon(Product::Lxd);
}

#[test]
fn a_killed_run_leaves_nothing_on_incus_7() {
    a_killed_run_leaves_nothing_on_the_daemon(Product::Incus7);
}
