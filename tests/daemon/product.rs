//! The main job on real daemons: back up, lose, get back; and what must never become a point.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use crate::holdall::{Holdall, said};
use crate::lab::{Lab, Pool, Product};
use crate::tree;

pub fn rootfs(lab: &Lab, pool: Pool, name: &str) -> PathBuf {
    lab.pool_dir(pool).join("containers").join(name).join("rootfs")
}

fn shell(script: &str, directory: &Path) {
    let status = Command::new("sh").args(["-e", "-c", script]).current_dir(directory).status().expect("sh");
    assert!(status.success(), "{script}");
}

/// How often a race is run: a few times here, often by hand.
pub fn rounds(few: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the one knob of the tests; the product reads its own in config.rs")]
    let asked = std::env::var("HOLDALL_TEST_ROUNDS");
    asked.ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(few)
}

/// A moment that differs from round to round, up to `max` milliseconds.
pub fn random_pause(max: u64) -> Duration {
    let seed = fs::read("/proc/sys/kernel/random/uuid").expect("random text");
    let number = seed.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    Duration::from_millis(number % max)
}

/// Kills a run at a moment that differs from round to round, up to `max` milliseconds from now.
pub fn kill_at_some_moment(mut run: Child, max: u64) {
    std::thread::sleep(random_pause(max));
    let _ = run.kill();
    let _ = run.wait();
}

/// Files of every sort that an export can carry, in a stopped container.
pub fn fill(root: &Path) {
    let base = tree_owner(root);
    shell(
        "mkdir -p odd/deep && cd odd
         printf hello >plain && ln plain hard && ln -s plain soft && ln -s /nowhere/at/all dangling
         mkfifo pipe && mknod null c 1 3 && mknod disk b 7 0
         printf x >setuid && chmod 4755 setuid && chmod 1777 deep && printf s >secret && chmod 0 secret
         head -c 3000000 /dev/urandom >deep/noise && truncate -s 2M deep/hole && printf end >>deep/hole
         setfattr -n user.note -v 'two
lines' plain && setfattr -n trusted.note -v secret deep
         cp /bin/true capable && cp /bin/true outside
         touch -d '1969-06-01 00:00:00 UTC' old && touch -d '2020-01-01 00:00:00.7 UTC' rounded
         touch \"$(printf 'bad\\377name')\" \"$(printf 'new\\nline')\" \"$(head -c 240 /dev/zero | tr '\\0' n)\"
         : >empty && printf %500s x >short && printf %512s x >block && printf %513s x >longer",
        root,
    );
    shell(
        &format!(
            "chown -R --no-dereference {base}:{base} odd && chown --no-dereference {0}:{0} odd/secret odd/soft",
            base + 1000
        ),
        root,
    );
    let (user, group) = (base + 1234, base + 77);
    shell(&format!("cd odd && setfacl -m u:{user}:rw plain && setfacl -d -m g:{group}:rx deep"), root);
    // Changing the owner took these away. As set in the container, where its ids are shifted on disk, and by the host.
    let inside = if base == 0 { String::new() } else { format!("-n {base}") };
    shell(
        &format!(
            "cd odd && chmod 4755 setuid && setcap {inside} cap_net_raw+ep capable && setcap cap_chown+ep outside"
        ),
        root,
    );
}

fn tree_owner(root: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(root).expect("root of the container").uid()
}

fn a_stopped_database_comes_back_file_by_file(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    lab.launch_postgres("db", Pool::Dir);
    lab.psql("db", "CREATE TABLE note AS SELECT generate_series(1, 50000) AS n");
    lab.pool(Pool::Btrfs);
    lab.run(&["stop", "db"]);
    fill(&rootfs(&lab, Pool::Dir, "db"));
    let before = tree::read(&rootfs(&lab, Pool::Dir, "db"));
    assert!(before.len() > 3000 && before.keys().any(|path| path.contains(&0xff)), "{} files", before.len());

    holdall.succeeds(&["backup", "db"]);
    holdall.succeeds(&["restore", "db", "--as", "twin"]);
    holdall.succeeds(&["restore", "db", "--as", "elsewhere", "--pool", "btrfs"]);
    lab.run(&["delete", "--force", "db"]);
    holdall.succeeds(&["restore", "db"]);
    for (name, pool) in [("db", Pool::Dir), ("twin", Pool::Dir), ("elsewhere", Pool::Btrfs)] {
        let after = tree::read(&rootfs(&lab, pool, name));
        assert_eq!(tree::differences(&before, &after), Vec::<String>::new(), "{name}");
        lab.run(&["start", name]);
        assert_eq!(lab.sh(name, "cat /odd/plain"), "hello");
        lab.wait_for_postgres(name);
        assert_eq!(lab.psql(name, "SELECT count(*), sum(n) FROM note"), "50000|1250025000");
        let journal = lab.sh(name, "cat /var/log/postgresql/*.log");
        assert!(!journal.contains("not properly shut down"), "nothing had to be recovered");
    }
    let uuid = |name: &str| lab.get(&format!("/1.0/instances/{name}"))["config"]["volatile.uuid"].clone();
    assert_ne!(uuid("twin"), uuid("db"), "a twin has an identity of its own");
    assert_eq!(holdall.objects(&["list"], "point")[0]["consistency"], "stopped");
}

#[test]
fn a_stopped_database_comes_back_file_by_file_on_lxd() {
    a_stopped_database_comes_back_file_by_file(Product::Lxd);
}

#[test]
fn a_stopped_database_comes_back_file_by_file_on_incus_7() {
    a_stopped_database_comes_back_file_by_file(Product::Incus7);
}

fn a_running_database_is_lost_and_comes_back(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    lab.launch_postgres("db", Pool::Btrfs);
    lab.psql("db", "CREATE TABLE note AS SELECT generate_series(1, 50000) AS n");
    holdall.succeeds(&["backup", "db"]);
    lab.run(&["delete", "--force", "db"]);
    holdall.succeeds(&["restore", "db"]);
    holdall.succeeds(&["restore", "db", "--as", "db2", "--pool", "dir"]);
    for name in ["db", "db2"] {
        lab.run(&["start", name]);
        lab.wait_for_postgres(name);
        assert_eq!(lab.psql(name, "SELECT count(*), sum(n) FROM note"), "50000|1250025000");
    }
    assert_eq!(holdall.objects(&["list"], "point")[0]["consistency"], "crash-consistent");
    holdall.succeeds(&["check", "--read-data"]);
}

#[test]
fn a_running_database_is_lost_and_comes_back_on_lxd() {
    a_running_database_is_lost_and_comes_back(Product::Lxd);
}

#[test]
fn a_running_database_is_lost_and_comes_back_on_incus_7() {
    a_running_database_is_lost_and_comes_back(Product::Incus7);
}

fn an_unchanged_instance_costs_next_to_nothing(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    lab.launch_tiny("c", Pool::Dir);
    lab.sh("c", "mkdir /srv/d; for i in $(seq 1 300); do head -c 100000 /dev/urandom >/srv/d/$i; done");
    lab.snapshot("c", "s0");
    lab.run(&["stop", "--force", "c"]);
    let first = &holdall.objects(&["backup", "c"], "made")[0];
    let stream = first["stream_bytes"].as_u64().expect("a length");
    let allowed = 64 * 1024 + stream / (1 << 30) * 32 * 1024;
    let write_only = holdall.beside("write-only");
    holdall.succeeds(&["key", "add", "--write-only", "--new-key-file", write_only.to_str().expect("text")]);
    for key in ["key", "write-only"] {
        let before = holdall.stored_bytes();
        let output = holdall
            .command()
            .env("HOLDALL_KEY_FILE", holdall.beside(key))
            .args(["backup", "c"])
            .output()
            .expect("runs");
        assert!(output.status.success(), "{}", said(&output));
        let grown = holdall.stored_bytes() - before;
        assert!(grown < allowed, "{grown} bytes with {key}");
    }
    // The cache is a cache.
    fs::remove_dir_all(holdall.beside("cache")).expect("the cache");
    let before = holdall.stored_bytes();
    holdall.succeeds(&["backup", "c"]);
    assert!(holdall.stored_bytes() - before < allowed);
    assert_eq!(holdall.points().len(), 4);
}

#[test]
fn an_unchanged_instance_costs_next_to_nothing_on_lxd() {
    an_unchanged_instance_costs_next_to_nothing(Product::Lxd);
}

#[test]
fn an_unchanged_instance_costs_next_to_nothing_on_incus_7() {
    an_unchanged_instance_costs_next_to_nothing(Product::Incus7);
}

/// A container whose export takes a while.
fn launch_large(lab: &Lab, name: &str) {
    lab.launch_tiny(name, Pool::Dir);
    lab.sh(name, "mkdir /srv/d; for i in $(seq 1 60); do head -c 3000000 /dev/urandom >/srv/d/$i; done");
}

fn what_vanishes_under_an_export_makes_no_point(product: Product, act: &[&str]) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    for round in 0..rounds(2) {
        let name = format!("c{round}");
        launch_large(&lab, &name);
        lab.run(&["stop", "--force", &name]);
        let points = holdall.points().len();
        let backup = holdall.starts(&["backup", &name]);
        std::thread::sleep(random_pause(if product == Product::Lxd { 900 } else { 250 }));
        // A reader of a direct stream that is stopped is a slow one: the daemon waits with most of it before it. A
        // staged export is there in full before it is read.
        let signal = |signal: &str| {
            if product == Product::Incus7 {
                let status = Command::new("kill").args([signal, &backup.id().to_string()]).status();
                assert!(status.is_ok());
            }
        };
        signal("-STOP");
        let args: Vec<String> = act.iter().map(|word| word.replace('%', &name)).collect();
        lab.try_run(&args.iter().map(String::as_str).collect::<Vec<_>>());
        signal("-CONT");
        let output = backup.wait_with_output().expect("the backup ends");
        let made = holdall.points().len() - points;
        // It may have been complete before its source went: then it is a backup. Otherwise it is none, and says so.
        assert_eq!(made == 1, output.status.success(), "{}", said(&output));
        if made == 0 {
            assert_eq!(output.status.code(), Some(3), "{}", said(&output));
            assert!(said(&output).lines().any(|line| line.contains(&name)), "{}", said(&output));
        }
    }
    holdall.succeeds(&["check", "--read-data"]);
}

#[test]
fn an_instance_deleted_under_its_export_makes_no_point_on_lxd() {
    what_vanishes_under_an_export_makes_no_point(Product::Lxd, &["delete", "--force", "%"]);
}

#[test]
fn an_instance_renamed_under_its_export_makes_no_point_on_lxd() {
    what_vanishes_under_an_export_makes_no_point(Product::Lxd, &["rename", "%", "%-renamed"]);
}

#[test]
fn an_instance_deleted_under_its_export_makes_no_point_on_incus_7() {
    what_vanishes_under_an_export_makes_no_point(Product::Incus7, &["delete", "--force", "%"]);
}

#[test]
fn an_instance_renamed_under_its_export_makes_no_point_on_incus_7() {
    what_vanishes_under_an_export_makes_no_point(Product::Incus7, &["rename", "%", "%-renamed"]);
}

/// The daemon dies as in a power cut while it exports.
fn what_is_cut_off_makes_no_point(product: Product) {
    let Some(mut lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    launch_large(&lab, "c");
    lab.run(&["stop", "--force", "c"]);
    // The program waits a minute for a daemon that may just be restarting.
    for _ in 0..rounds(1) {
        let points = holdall.points().len();
        let backup = holdall.starts(&["backup", "c"]);
        std::thread::sleep(random_pause(if product == Product::Lxd { 900 } else { 250 }));
        lab.crash();
        let output = backup.wait_with_output().expect("the backup ends");
        let made = holdall.points().len() - points;
        // It may have been complete before, or not even begun.
        assert_eq!(made == 1, output.status.success(), "{}", said(&output));
        if made == 0 {
            let named = if output.status.code() == Some(3) { "//c" } else { "daemon" };
            assert!(matches!(output.status.code(), Some(3 | 9)), "{}", said(&output));
            assert!(said(&output).contains(named), "{}", said(&output));
        }
        lab.start();
    }
    holdall.succeeds(&["backup", "c"]);
    assert_eq!(left_on_the_daemon(&lab, "c"), Vec::<String>::new());
    holdall.succeeds(&["check", "--read-data"]);
}

#[test]
fn what_is_cut_off_makes_no_point_on_lxd() {
    what_is_cut_off_makes_no_point(Product::Lxd);
}

#[test]
fn what_is_cut_off_makes_no_point_on_incus_7() {
    what_is_cut_off_makes_no_point(Product::Incus7);
}

/// Names of the backups that the daemon keeps of an instance, and of files that uploads left.
fn left_on_the_daemon(lab: &Lab, instance: &str) -> Vec<String> {
    let backups = lab.get(&format!("/1.0/instances/{instance}/backups"));
    let mut left: Vec<String> =
        backups.as_array().into_iter().flatten().map(std::string::ToString::to_string).collect();
    for entry in fs::read_dir(lab.daemon_dir().join("backups")).into_iter().flatten().flatten() {
        if entry.file_name().as_bytes().windows(8).any(|part| part == b"_backup_") {
            left.push(entry.path().display().to_string());
        }
    }
    left
}

fn a_killed_backup_leaves_nothing(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    launch_large(&lab, "c");
    lab.run(&["stop", "--force", "c"]);
    for _ in 0..rounds(4) {
        kill_at_some_moment(holdall.starts(&["backup", "c"]), 1500);
        holdall.succeeds(&["check"]);
    }
    holdall.succeeds(&["backup", "c"]);
    holdall.succeeds(&["check", "--read-data"]);
    assert_eq!(left_on_the_daemon(&lab, "c"), Vec::<String>::new());
    let point = holdall.points().pop().expect("a point");
    holdall.succeeds(&["export", &point, holdall.beside("c.tar").to_str().expect("text")]);
}

#[test]
fn a_killed_backup_leaves_nothing_on_lxd() {
    a_killed_backup_leaves_nothing(Product::Lxd);
}

#[test]
fn a_killed_backup_leaves_nothing_on_incus_7() {
    a_killed_backup_leaves_nothing(Product::Incus7);
}

fn a_killed_restore_leaves_nothing_but_a_whole_instance_or_none(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    launch_large(&lab, "c");
    lab.run(&["stop", "--force", "c"]);
    holdall.succeeds(&["backup", "c"]);
    let before = tree::read(&rootfs(&lab, Pool::Dir, "c"));
    for round in 0..rounds(4) {
        let name = format!("r{round}");
        kill_at_some_moment(holdall.starts(&["restore", "c", "--as", &name]), 1200);
        let is_whole = || {
            lab.wait_for_operations();
            let found = lab.try_run(&["info", &name]).status.success();
            if found {
                let after = tree::read(&rootfs(&lab, Pool::Dir, &name));
                assert_eq!(tree::differences(&before, &after), Vec::<String>::new());
                lab.run(&["delete", "--force", &name]);
            }
            found
        };
        is_whole();
        let again = holdall.run(&["restore", "c", "--as", &name]);
        if !again.status.success() {
            // The upload was complete when its sender died, and the daemon began with it only now.
            assert!(said(&again).contains("exists") && is_whole(), "{}", said(&again));
            holdall.succeeds(&["restore", "c", "--as", &name]);
        }
        lab.run(&["delete", "--force", &name]);
    }
    assert_eq!(left_on_the_daemon(&lab, "c"), Vec::<String>::new());
    holdall.succeeds(&["check"]);
}

#[test]
fn a_killed_restore_leaves_nothing_but_a_whole_instance_or_none_on_lxd() {
    a_killed_restore_leaves_nothing_but_a_whole_instance_or_none(Product::Lxd);
}

#[test]
fn a_killed_restore_leaves_nothing_but_a_whole_instance_or_none_on_incus_7() {
    a_killed_restore_leaves_nothing_but_a_whole_instance_or_none(Product::Incus7);
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    let Some(lab) = Lab::lxd() else { return };
    let holdall = Holdall::new(&lab);
    lab.launch_tiny("c", Pool::Dir);
    holdall.succeeds(&["backup", "c"]);
    holdall.fails(&["backup", "nobody"], 3, &["//nobody", "no such instance"]);
    holdall.fails(&["restore", "c"], 10, &["Instance c exists", "--as"]);
    holdall.fails(&["restore", "c", "--as", "d", "--pool", "nowhere"], 10, &["storage pool nowhere"]);
    holdall.fails(&["restore", "c", "--project", "nowhere"], 10, &["project nowhere"]);
    holdall.fails(&["--server", "/nowhere/unix.socket", "backup", "c"], 9, &["/nowhere/unix.socket", "--server"]);
    lab.run(&["project", "create", "closed", "-c", "restricted=true", "-c", "features.images=false"]);
    lab.run(&["init", "tiny", "inside", "--project", "closed", "--storage", "dir"]);
    holdall.fails(&["backup", "--all"], 3, &["closed/inside", "doesn't allow for backup creation"]);
    assert_eq!(holdall.points().len(), 3, "the others were backed up");
}

#[test]
fn a_user_whom_the_daemon_does_not_know_is_told_so() {
    let Some(lab) = Lab::lxd() else { return };
    let holdall = Holdall::new(&lab);
    let nobody = 65534;
    // Everything is theirs but the daemon's socket.
    let program = holdall.beside("program");
    fs::copy(env!("CARGO_BIN_EXE_holdall"), &program).expect("a program that they may run");
    shell(&format!("chown -R {nobody} ."), &holdall.beside(""));
    let environment = holdall.command();
    let mut command = Command::new(program);
    command.env_clear().envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.uid(nobody).gid(nobody).args(["backup", "--all"]).output().expect("runs");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(9), "{said}");
    let socket = lab.socket();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(socket.to_str().expect("text")) && said.contains("ermission"), "{said}");
}

fn exports_of_every_sort_become_points(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    lab.launch_tiny("c", Pool::Btrfs);
    lab.sh("c", "head -c 3000000 /dev/urandom >/srv/noise");
    lab.snapshot("c", "s0");
    lab.sh("c", "echo more >>/srv/noise");
    lab.snapshot("c", "s1");
    lab.run(&["storage", "volume", "create", "btrfs", "data"]);
    let file = |name: &str| holdall.beside(name).to_str().expect("text").to_owned();
    let (plain, optimized, volume) = (file("plain.tar"), file("optimized.tar"), file("volume.tar"));
    lab.run(&["export", "c", &plain, "--compression", "none"]);
    lab.run(&["export", "c", &optimized, "--compression", "none", "--optimized-storage"]);
    lab.run(&["storage", "volume", "export", "btrfs", "data", &volume, "--compression", "none"]);
    for exported in [&plain, &optimized, &volume] {
        let made = &holdall.objects(&["import", exported], "made")[0];
        let back = file("back.tar");
        holdall.succeeds(&["export", made["point"].as_str().expect("an id"), &back, "--force"]);
        assert!(fs::read(exported).expect("export") == fs::read(&back).expect("what came back"), "{exported}");
    }
    // Compressed, it is stored uncompressed, and a restore cannot tell.
    shell("gzip -k plain.tar && head -c 100000 plain.tar >cut.tar", &holdall.beside(""));
    let made = &holdall.objects(&["import", &file("plain.tar.gz"), "--as", "zipped"], "made")[0];
    assert_eq!(made["stored_bytes"], 0, "the same stream is there already");
    holdall.fails(&["import", &file("cut.tar")], 1, &["cut.tar", "cut off inside"]);
    lab.run(&["delete", "--force", "c"]);
    holdall.succeeds(&["restore", "zipped", "--as", "c"]);
    lab.run(&["start", "c"]);
    assert_eq!(lab.sh("c", "tail -n 1 /srv/noise | tail -c 5"), "more\n");
    assert_eq!(lab.get("/1.0/instances/c/snapshots").as_array().map(Vec::len), Some(2));
}

#[test]
fn exports_of_every_sort_become_points_on_lxd() {
    exports_of_every_sort_become_points(Product::Lxd);
}

#[test]
fn exports_of_every_sort_become_points_on_incus_7() {
    exports_of_every_sort_become_points(Product::Incus7);
}
