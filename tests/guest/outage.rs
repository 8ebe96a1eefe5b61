//! A server that is gone for a while or for good, or no longer knows what was open, and a disk that fails for a while,
//! in the middle of every command.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::guest::{Guest, Job, STEP, say};
use crate::hosts::{DEFAULTS, MIB, QUICK, REPOSITORY, Setup};
use crate::{noise, rounds};

/// Commands that work on a repository, each under a name that can be one of a file; `$n` counts its runs. Of a success
/// it makes sure itself as far as that can be seen at once: 99 is a false one.
const COMMANDS: [(&str, &str); 10] = [
    ("import", "holdall_of a import /host/in/new --as file:import-$n"),
    (
        "export",
        "holdall_of a export file:before /run/export-$n || return $?; cmp /run/export-$n /host/in/before || return 99",
    ),
    ("check", "holdall_of b check"),
    ("check-data", "holdall_of b check --read-data"),
    ("list", "holdall_of b --json list >/run/list-$n || return $?; grep -q file:before /run/list-$n || return 99"),
    ("init", "repo=/mnt/a/init-$n; holdall_of a init --new-key-file /key-init-$n"),
    ("key-add", "holdall_of a key add --new-key-file /key-added-$n"),
    (
        "forget",
        "holdall_of b import /host/in/small --as file:small || return $?
         holdall_of b forget --keep-last 1 --source file:small || return $?
         holdall_of b --json list file:small >/run/left-$n || return $?; test $(wc -l </run/left-$n) = 1 || return 99",
    ),
    ("prune", "holdall_of c prune --max-unused 0"),
    ("repair", "holdall_of c repair"),
];

const FIRST_POINT: &str = "holdall_of a import /host/in/before --as file:before";

/// How long a command may take after the server is back and has waited for its old clients.
const END_SECONDS_MAX: f64 = 60.0;

/// One run of a command.
#[derive(Debug)]
struct Run {
    name: String,
    number: u32,
    begun: f64,
    ended: f64,
    code: i32,
}

fn with_a_point(setup: Setup) -> Option<Guest> {
    let guest = Guest::boot(&[1000])?;
    gives_streams(&guest);
    guest.run(&format!("{}{REPOSITORY}{FIRST_POINT}", setup.three_hosts()));
    Some(guest)
}

fn gives_streams(guest: &Guest) {
    for (name, seed, len) in [("before", 1, 2 * MIB), ("new", 2, 4 * MIB), ("small", 3, MIB / 4)] {
        guest.gives(name, &noise(seed, len));
    }
}

/// What became of the commands that something happened to.
struct Disturbed {
    runs: Vec<Run>,
    /// What the disturbance itself printed.
    happened: String,
    /// What went wrong in a run or was waited for, by its name and number.
    said: BTreeMap<String, String>,
}

/// Runs every command while something happens, until each has met it.
fn disturbed(guest: &Guest, limit: Duration, disturbance: &str) -> Disturbed {
    // What the runs of an earlier disturbance made has the names that these will give.
    guest.run("rm -f /run/disturbed /run/said.* /run/export-* /run/list-* /run/left-* /key-init-* /key-added-*");
    guest.run("rm -rf /mnt/a/init-*");
    let start = |(name, command): (&str, &str)| guest.start(&format!("again_and_again {name} '{command}'"));
    let jobs: Vec<Job<'_>> = COMMANDS.into_iter().map(start).collect();
    // Whatever each does first is done by then, for its next run may be at any of its steps.
    let names = COMMANDS.map(|(name, _)| name).join(" ");
    let begun = format!("for name in {names}; do until [ -e /run/said.$name.2 ]; do sleep 1; done; done");
    let happened = guest.start(&format!("{begun}; a_while; {disturbance}")).wait(limit).succeeds().out;
    let mut all = Disturbed { runs: Vec::new(), happened, said: BTreeMap::new() };
    for ran in jobs.into_iter().map(|job| job.wait(limit)) {
        assert_eq!(ran.code, 0, "{}", ran.err);
        all.runs.extend(ran.out.lines().map(run));
        for (run, words) in ran.err.lines().filter_map(|line| line.split_once(": ")) {
            if ["error", "problem", "Waiting"].iter().any(|kind| words.starts_with(&format!("holdall: {kind}"))) {
                all.said.entry(run.to_owned()).or_default().push_str(words);
            }
        }
    }
    for run in &all.runs {
        let seconds = run.ended - run.begun;
        say(&format!("{} {}: code {} after {seconds:.1} s {}", run.name, run.number, run.code, all.said_by(run)));
    }
    all
}

impl Disturbed {
    fn said_by(&self, run: &Run) -> &str {
        self.said.get(&format!("{} {}", run.name, run.number)).map_or("", String::as_str)
    }

    /// The run that each command ended with.
    fn last_runs(&self) -> impl Iterator<Item = &Run> {
        let last = |name| self.runs.iter().rfind(|run| run.name == name).expect("every command ran");
        COMMANDS.into_iter().map(move |(name, _)| last(name))
    }
}

fn run(line: &str) -> Run {
    let words: Vec<&str> = line.split(' ').collect();
    let [name, number, begun, ended, code] = words[..] else { panic!("{line}") };
    Run {
        name: name.to_owned(),
        number: number.parse().expect("a number"),
        begun: begun.parse().expect("seconds"),
        ended: ended.parse().expect("seconds"),
        code: code.parse().expect("a code"),
    }
}

/// Everything that was acknowledged is there, for both hosts.
fn assert_kept(guest: &Guest, runs: &[Run]) {
    let kept = |name: &str| runs.iter().filter(|run| run.code == 0 && run.name == name).map(|run| run.number).collect();
    let (imports, inits, keys): (Vec<u32>, Vec<u32>, Vec<u32>) = (kept("import"), kept("init"), kept("key-add"));
    let mut lines = vec!["comes_back a before; comes_back b before".to_owned()];
    lines.extend(
        imports
            .iter()
            .map(|n| format!("ln -sf new /host/in/import-{n}; comes_back a import-{n}; comes_back b import-{n}")),
    );
    lines.extend(inits.iter().map(|n| format!("(repo=/mnt/b/init-{n} key=/key-init-{n}; holdall_of init-{n} list)")));
    lines.extend(keys.iter().map(|n| format!("(key=/key-added-{n}; holdall_of b list)")));
    guest.start(&lines.join("\n")).wait(2 * STEP).succeeds();
    let checked = guest.start("holdall_of a check --read-data; holdall_of b check").wait(STEP).succeeds().out;
    assert_eq!(checked.matches("no damage").count(), 2, "{checked}");
    say(&format!("kept: {} imports, {} repositories, {} keys", imports.len(), inits.len(), keys.len()));
}

#[test]
fn a_server_that_comes_back_is_waited_for() {
    // The first round is short; then one of two minutes, as long as it takes to boot a real one, and that once more
    // with the kernel's own times.
    let setups = [(QUICK, 20), (QUICK, 120), (DEFAULTS, 120)];
    for (setup, pause) in setups.into_iter().take(usize::try_from(rounds(1, 3)).expect("a few")) {
        let Some(guest) = with_a_point(setup) else { return };
        // A prune waits for settle times and sessions, whatever happens.
        let limit = 2 * STEP + Duration::from_secs(pause + 10 * u64::from(setup.settle_seconds));
        let stop = format!("nfs_stop; sleep 3; touch /run/disturbed; sleep {pause}; nfs_start; seconds");
        let all = disturbed(&guest, limit, &stop);
        let back: f64 = all.happened.trim().parse().expect("seconds");
        for run in &all.runs {
            assert!([0, 13].contains(&run.code), "{run:?} {}", all.said_by(run));
            // What it would have taken anyway does not count.
            let of_it = all.runs.iter().filter(|other| other.name == run.name && other.ended < back);
            let usual = of_it.map(|run| run.ended - run.begun).fold(0.0, f64::max);
            let settles = f64::from(4 * setup.settle_seconds);
            let after = run.ended - back;
            assert!(
                after < f64::from(setup.grace_seconds) + END_SECONDS_MAX + usual.max(settles),
                "{run:?} ended {after} s after the server was back"
            );
        }
        assert!(all.last_runs().all(|run| run.ended > back), "each met the outage: {:?}", all.runs);
        assert_kept(&guest, &all.runs);
    }
}

#[test]
fn a_server_that_is_gone_for_good_is_named_and_does_not_keep_the_program() {
    let Some(guest) = with_a_point(QUICK) else { return };
    let gone = format!(
        "nfs_stop; sleep 3; touch /run/disturbed
         for second in $(seq 100); do
             [ $(grep -l 'holdall: Waiting for' /run/said.* | wc -l) -lt {} ] || break; sleep 1
         done
         busybox killall -KILL holdall
         for second in $(seq 30); do pidof holdall >/dev/null || break; sleep 1; done
         seconds; nfs_start",
        COMMANDS.len()
    );
    let all = disturbed(&guest, 2 * STEP, &gone);
    let back: f64 = all.happened.trim().parse().expect("seconds");
    for run in all.last_runs() {
        assert!(run.ended <= back, "it lives on after SIGKILL: {run:?} {}", all.said_by(run));
        assert_eq!(run.code, 137, "{run:?} {}", all.said_by(run));
        let told = all.said_by(run).split("holdall: Waiting for ").nth(1).expect("it was told");
        assert!(told.contains("/mnt/") && told.contains("has not answered"), "{told}");
        let seconds: u64 = told.split(' ').next().and_then(|number| number.parse().ok()).expect("seconds");
        assert!((20..=30).contains(&seconds), "{told}");
    }
    assert_kept(&guest, &all.runs);
    guest.start("holdall_of c prune --now; holdall_of c check").wait(STEP).succeeds();
}

/// In the middle of a pack, which takes longest; whoever syncs what is in the kernel's cache cannot be ended.
#[test]
fn a_program_that_is_storing_when_its_server_goes_is_ended_by_sigkill() {
    for version in ["4.2", "3"] {
        let Some(guest) = Guest::boot(&[1000]) else { return };
        guest.gives("new", &noise(2, 60 * MIB));
        guest.run(&format!(
            "nfs_prepare /dev/vda 10; nfs_start; nfs_mount /mnt/a {version} acdirmax=1
             {REPOSITORY}"
        ));
        // Who waits for a process learns of its end when the last of its threads has ended.
        let import = guest.start("trap 'touch /run/ended' EXIT; holdall_of a import /host/in/new --as file:new");
        let left = guest.start(
            "until [ -n \"$(find /export/share/repo/packs -name '.tmp*' -size +2048k)\" ]; do :; done
             nfs_stop; sleep 2; ls -s /export/share/repo/packs/*/.tmp* >&2; busybox killall -KILL holdall
             for second in $(seq 20); do [ ! -e /run/ended ] || break; sleep 1; done
             [ -e /run/ended ] || echo alive; nfs_start",
        );
        let left = left.wait(STEP).succeeds();
        say(&format!("NFS {version}, storing {}", left.err.trim()));
        assert_eq!(left.out.trim(), "", "it lives on after SIGKILL");
        assert_eq!(import.wait(STEP).code, 137);
        guest.run("holdall_of a import /host/in/new --as file:new; comes_back a new; holdall_of a check --read-data");
    }
}

#[test]
fn what_was_open_and_is_not_known_any_more_is_no_success() {
    let Some(guest) = with_a_point(QUICK) else { return };
    // For some seconds the server knows nothing; then everything again.
    let gone = "exportfs -ua; exportfs -f; sleep 3; touch /run/disturbed; sleep 5; nfs_export; exportfs -f";
    let all = disturbed(&guest, 2 * STEP, gone);
    assert!(all.runs.iter().all(|run| (0..=13).contains(&run.code)), "{:?}", all.runs);
    assert!(all.runs.iter().any(|run| run.code == 13), "nothing noticed: {:?}", all.runs);
    assert_kept(&guest, &all.runs);

    let all = disturbed(&guest, 2 * STEP, "nfs_replace /dev/vda; seconds; sleep 1; touch /run/disturbed");
    let replaced: f64 = all.happened.trim().parse().expect("seconds");
    for run in &all.runs {
        // A new repository can be made in a new place.
        let is_success = run.code == 0 && run.ended > replaced && run.name != "init";
        assert!(!is_success && (0..=13).contains(&run.code), "{run:?} {}", all.said_by(run));
    }
}

#[test]
fn a_full_export_costs_only_what_did_not_fit() {
    for version in ["4.2", "3"] {
        let Some(guest) = Guest::boot(&[96]) else { return };
        guest.gives("before", &noise(1, 2 * MIB));
        guest.gives("new", &noise(2, 24 * MIB));
        guest.run(&format!(
            "nfs_prepare /dev/vda 10; nfs_start
             nfs_mount /mnt/a {version} acdirmax=1; nfs_mount /mnt/b {version} acdirmax=1
             {REPOSITORY}holdall_of a import /host/in/before --as file:before
             dd if=/dev/zero of=/export/fill bs=1M 2>/dev/null || true
             truncate -s -9M /export/fill; sync; df -m /export"
        ));
        let refused = guest.try_run("holdall_of a import /host/in/new --as file:new");
        say(&format!("NFS {version}, full: code {}, {}", refused.code, refused.err.trim()));
        assert_eq!(refused.code, 11, "{}", refused.err);
        guest.run("comes_back a before; comes_back b before; holdall_of b check");
        guest.run("rm /export/fill; holdall_of a import /host/in/new --as file:new; comes_back b new");
        let checked = guest.run("holdall_of a check --read-data");
        assert!(checked.contains("no damage"), "{checked}");
    }
}

/// A local disk that fails for some seconds, its writes alone and then reads, too, of what no memory holds.
#[test]
fn a_disk_that_fails_for_a_while_costs_only_what_was_not_acknowledged() {
    let kinds = ["1 error_writes", "0"];
    for failing in kinds.into_iter().take(usize::try_from(rounds(1, 2)).expect("a few")) {
        let Some(guest) = Guest::boot(&[1000]) else { return };
        gives_streams(&guest);
        guest.run(&format!("disk_prepare /dev/vda; disk_mount\n{REPOSITORY}{FIRST_POINT}"));
        let fails = format!(
            "disk_forgets; disk_does '0 86400 {failing}'; touch /run/disturbed; sleep 5; disk_does '86400 0 0'"
        );
        let all = disturbed(&guest, 2 * STEP, &fails);
        assert!(all.runs.iter().all(|run| (0..=13).contains(&run.code)), "{:?}", all.runs);
        let failed = all.runs.iter().filter(|run| run.code != 0).count();
        assert!(failed > 0, "nothing noticed: {:?}", all.runs);
        say(&format!("{failing}: {failed} of {} runs failed", all.runs.len()));
        guest.run("disk_mends; disk_mount");
        assert_kept(&guest, &all.runs);
        guest.start("holdall_of c prune --now; holdall_of c check").wait(STEP).succeeds();
    }
}
