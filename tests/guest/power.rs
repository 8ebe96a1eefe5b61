//! Power cuts: the guest's kernel logs every write to a disk, and the disk as it was at any moment is looked at here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use crate::guest::{Guest, STEP, say};
use crate::hosts::MIB;
use crate::log::{Entry, Log};
use crate::{noise, rounds};

/// What is done to the repository on the disk whose power is cut, in order; `$n` is the number of each. What a mark
/// names must be there from then on.
const STEPS: [&str; 5] = [
    "holdall_of p import /host/in/$n --as file:$n; mark $n",
    "holdall_of p import /host/in/$n --as file:$n; mark $n",
    "holdall_of p key add --new-key-file /key-$n; holdall_of p import /host/in/$n --as file:$n; mark $n",
    "holdall_of p check; holdall_of p import /host/in/$n --as file:$n; mark $n",
    "holdall_of p import /host/in/0 --as file:gone; holdall_of p import /host/in/$n --as file:gone
     holdall_of p forget file:gone@latest; holdall_of p prune --max-unused 0
     holdall_of p import /host/in/$n --as file:$n; mark $n
     holdall_of p forget file:gone@latest; holdall_of p prune --max-unused 0",
];

#[test]
fn whatever_was_acknowledged_survives_a_power_cut_at_any_moment() {
    let Some(mut guest) = Guest::boot(&[256, 1500]) else { return };
    let dir = guest.dir().to_owned();
    let half = noise(0, MIB);
    for number in 0..STEPS.len() {
        guest.gives(&number.to_string(), &[&half[..], &noise(1 + number as u64, MIB)].concat());
    }
    guest.run("modprobe -a ext4 dm-log-writes; mkfs.ext4 -q /dev/vda; sync");
    copy(&dir.join("disk0.img"), &dir.join("base"));
    guest.run(
        "dmsetup create logged --table \"0 $(blockdev --getsz /dev/vda) log-writes /dev/vda /dev/vdb\"
         mkdir -p /mnt/p; mount /dev/mapper/logged /mnt/p
         holdall_of p init --new-key-file /key; cp /key /host/key
         dmsetup message logged 0 mark init",
    );
    for (number, step) in STEPS.iter().enumerate() {
        let script = format!("mark() {{ dmsetup message logged 0 mark \"$1\"; }}\nn={number}\n{step}");
        guest.start(&script).wait(STEP).succeeds();
    }
    // As it is removed, it writes how many entries there are.
    guest.run("umount /mnt/p; dmsetup remove logged; sync");
    guest.cut_power();

    let log = Log::open(&dir.join("disk1.img")).expect("a log");
    let made = position(&log, "init");
    let cuts = cuts(made, log.entries.len(), rounds(20, 200));
    say(&format!("{} entries in the log, {made} of them until the repository was made", log.entries.len()));
    let disk = File::options().write(true).open(dir.join("base")).expect("the disk");
    let (mut done, mut restored, begun) = (0, 0, Instant::now());
    for cut in &cuts {
        for entry in &log.entries[done..*cut] {
            log.repeat(entry, &disk).expect("the disk takes it");
        }
        done = *cut;
        restored += assert_whole(&dir, &log.entries[..*cut], *cut);
    }
    let (count, seconds) = (cuts.len(), begun.elapsed().as_secs());
    say(&format!("{count} power cuts: {restored} points restored byte for byte, all checks clean, {seconds} s"));
    assert!(restored > 0, "no cut came after a point");
}

fn position(log: &Log, mark: &str) -> usize {
    log.entries.iter().position(|entry| *entry == Entry::Mark(mark.to_owned())).expect("it was marked")
}

/// Moments in the log, in order: after every mark, and at random ones.
fn cuts(first: usize, end: usize, count: u64) -> Vec<usize> {
    let seed = fs::read("/proc/sys/kernel/random/uuid").expect("random text");
    say(&format!("seed {}", String::from_utf8_lossy(&seed).trim()));
    let mut random = blake3::Hasher::new().update(&seed).finalize_xof();
    let mut draw = || {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % (end - first) as u64).expect("it fits") + first + 1
    };
    let mut cuts: Vec<usize> = (0..count).map(|_| draw()).collect();
    cuts.sort_unstable();
    cuts
}

/// Looks at a copy of the disk as it was: what was acknowledged is there, and the next commands work.
fn assert_whole(dir: &Path, entries: &[Entry], cut: usize) -> usize {
    copy(&dir.join("base"), &dir.join("cut"));
    let mounted = Mounted::new(dir);
    let marks = entries.iter().filter_map(|entry| if let Entry::Mark(mark) = entry { Some(mark) } else { None });
    let points: Vec<&String> = marks.filter(|mark| mark.parse::<usize>().is_ok()).collect();
    // What was not marked may be there or not: it was forgotten, or not acknowledged yet.
    for point in &points {
        let exported = mounted.holdall(&["export", &format!("file:{point}"), "-"]);
        assert!(exported.status.success(), "cut at {cut}, point {point}: {}", said(&exported));
        let given = fs::read(dir.join("in").join(point)).expect("what was given");
        assert!(exported.stdout == given, "cut at {cut}: point {point} is another");
    }
    let given = dir.join("in/0");
    let import = ["import", given.to_str().expect("text"), "--as", "file:next"];
    let prune = ["prune", "--now", "--max-unused", "0"];
    for command in [&["check", "--read-data"][..], &import, &prune, &["check", "--read-data"]] {
        let ran = mounted.holdall(command);
        assert!(ran.status.success(), "cut at {cut}: {command:?}: {}", said(&ran));
    }
    points.len()
}

/// A copy of the disk, mounted; dropping it unmounts it.
struct Mounted {
    place: PathBuf,
    key: PathBuf,
    cache: tempfile::TempDir,
}

impl Mounted {
    fn new(dir: &Path) -> Self {
        let place = dir.join("mounted");
        fs::create_dir_all(&place).expect("our own directory");
        let mounted = Command::new("mount").args(["-o", "loop"]).arg(dir.join("cut")).arg(&place).status();
        assert!(mounted.is_ok_and(|status| status.success()), "a disk cannot be mounted");
        Self { place, key: dir.join("key"), cache: tempfile::tempdir().expect("a directory") }
    }

    fn holdall(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdall"));
        command.args(["--config", "/dev/null"]).args(args).env_clear().stdin(Stdio::null());
        command.env("HOLDALL_REPOSITORY", self.place.join("repo")).env("HOLDALL_KEY_FILE", &self.key);
        command.env("XDG_CACHE_HOME", self.cache.path()).output().expect("the program runs")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.place).status();
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("--sparse=always").args([from, to]).status();
    assert!(copied.is_ok_and(|status| status.success()), "{} cannot be copied", from.display());
}
