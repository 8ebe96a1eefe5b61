//! A server that is gone for a while or for good, or no longer knows what was open, in the middle of every command.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::guest::{Guest, Job, STEP, say};
use crate::hosts::{MIB, REPOSITORY, TWO_HOSTS};
use crate::{noise, rounds};

/// Every command that works on a repository, under a name that can be one of a file; `$n` counts its runs. Of a success
/// it makes sure itself as far as that can be seen at once: 99 is a false one.
const COMMANDS: [(&str, &str); 7] = [
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
];

/// How long a command may take after the server is back and has waited for its old clients.
const END_SECONDS_MAX: f64 = 60.0;
/// The grace of `TWO_HOSTS`.
const GRACE_SECONDS: f64 = 10.0;

/// One run of a command.
#[derive(Debug)]
struct Run {
    name: String,
    number: u32,
    begun: f64,
    ended: f64,
    code: i32,
}

fn with_a_point() -> Option<Guest> {
    let guest = Guest::boot(&[1000])?;
    guest.gives("before", &noise(1, 2 * MIB));
    guest.gives("new", &noise(2, 4 * MIB));
    guest.run(&format!("{TWO_HOSTS}{REPOSITORY}holdall_of a import /host/in/before --as file:before"));
    Some(guest)
}

/// Runs every command while something happens, until each has met it. Tells what they said, too.
fn disturbed(guest: &Guest, limit: Duration, disturbance: &str) -> (Vec<Run>, String, BTreeMap<String, String>) {
    guest.run("rm -f /run/disturbed /run/said.* /run/export-* /run/list-*");
    let start = |(name, command): (&str, &str)| guest.start(&format!("again_and_again {name} '{command}'"));
    let jobs: Vec<Job<'_>> = COMMANDS.into_iter().map(start).collect();
    let happened = guest.run(&format!("a_while; {disturbance}"));
    let mut runs = Vec::new();
    let mut said = BTreeMap::new();
    for ran in jobs.into_iter().map(|job| job.wait(limit)) {
        assert_eq!(ran.code, 0, "{}", ran.err);
        runs.extend(ran.out.lines().map(run));
        said.extend(
            ran.err
                .lines()
                .filter_map(|line| line.split_once(": "))
                .filter(|(_, words)| words.starts_with("holdall: error") || words.starts_with("holdall: problem"))
                .map(|(run, words)| (run.to_owned(), words.to_owned())),
        );
    }
    (runs, happened, said)
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

fn tell(runs: &[Run], said: &BTreeMap<String, String>) {
    for run in runs {
        let words = said.get(&format!("{} {}", run.name, run.number)).map_or("", String::as_str);
        let seconds = run.ended - run.begun;
        say(&format!("{} {}: code {} after {seconds:.1} s {words}", run.name, run.number, run.code));
    }
}

#[test]
fn a_server_that_comes_back_is_waited_for() {
    // The first round is short; all others are as long as it takes to boot a real one.
    for round in 0..rounds(1, 3) {
        let Some(guest) = with_a_point() else { return };
        let pause = if round == 0 { 20 } else { 120 };
        let limit = STEP + Duration::from_secs(pause);
        let (runs, back, said) = disturbed(
            &guest,
            limit,
            &format!("nfs_stop; sleep 3; touch /run/disturbed; sleep {pause}; nfs_start; seconds"),
        );
        tell(&runs, &said);
        let back: f64 = back.trim().parse().expect("seconds");
        let longest = runs.iter().filter(|run| run.ended < back).map(|run| run.ended - run.begun).fold(0.0, f64::max);
        for run in &runs {
            assert!([0, 13].contains(&run.code), "{run:?} {said:?}");
            let after = run.ended - back;
            assert!(
                after < GRACE_SECONDS + END_SECONDS_MAX + longest,
                "{run:?} ended {after} s after the server was back"
            );
        }
        for (name, _) in COMMANDS {
            let met = runs.iter().any(|run| run.name == name && run.ended > back);
            assert!(met, "{name} ran while the server was away: {runs:?}");
        }
        assert_kept(&guest, &runs);
    }
}

#[test]
fn a_server_that_is_gone_for_good_is_named_and_does_not_keep_the_program() {
    let Some(guest) = with_a_point() else { return };
    guest.run("nfs_stop; sleep 2");
    let commands = [
        ("holdall_of a list", "/mnt/a/repo"),
        ("holdall_of b import /host/in/new --as file:new", "/mnt/b/repo"),
        ("repo=/mnt/a/init; holdall_of a init --new-key-file /key-init", "/mnt/a/init"),
    ];
    let jobs = commands.map(|(command, _)| guest.start(command));
    for (job, (command, place)) in jobs.iter().zip(commands) {
        let waited = job.wait_for("err", &["holdall: Waiting for", place, "has not answered"], STEP);
        say(&format!("{command}: {} (told after {waited:?})", job.printed("err").trim()));
    }
    let begun = std::time::Instant::now();
    guest.run("busybox killall -KILL holdall");
    for job in jobs {
        let ran = job.wait(Duration::from_mins(1));
        assert_eq!(ran.code, 137, "{}", ran.err);
        let told = ran.err.lines().find_map(|line| line.strip_prefix("holdall: Waiting for ")).expect("it was told");
        let seconds: u64 = told.split(' ').next().and_then(|number| number.parse().ok()).expect("seconds");
        assert!((20..=30).contains(&seconds), "{told}");
    }
    say(&format!("killed in {:?}", begun.elapsed()));
}

#[test]
fn what_was_open_and_is_not_known_any_more_is_no_success() {
    let Some(guest) = with_a_point() else { return };
    // For some seconds the server knows nothing; then everything again.
    let gone = "exportfs -ua; exportfs -f; sleep 3; touch /run/disturbed; sleep 5; nfs_export; exportfs -f";
    let (runs, _, said) = disturbed(&guest, STEP, gone);
    tell(&runs, &said);
    assert!(runs.iter().all(|run| (0..=13).contains(&run.code)), "{runs:?}");
    assert!(runs.iter().any(|run| run.code == 13), "nothing noticed: {runs:?}");
    assert_kept(&guest, &runs);

    let (runs, replaced, said) =
        disturbed(&guest, STEP, "nfs_replace /dev/vda; seconds; sleep 1; touch /run/disturbed");
    tell(&runs, &said);
    let replaced: f64 = replaced.trim().parse().expect("seconds");
    for run in &runs {
        // A new repository can be made in a new place.
        let is_success = run.code == 0 && run.ended > replaced && run.name != "init";
        assert!(!is_success && (0..=13).contains(&run.code), "{run:?} {said:?}");
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
