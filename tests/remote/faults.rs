//! Every command of the real program, with one request of its mount going wrong, for each of its requests in turn.
//!
//! Requests are counted in a run that nothing disturbs. Whatever goes wrong: success is reported only for what is done,
//! a failure has a documented code and one line, everything that was there before comes back byte for byte, a check
//! finds nothing, and the same command, undisturbed, then works (of three the third is asked). Each request meets one
//! way to go wrong, chosen by its number, and with `HOLDALL_TEST_ROUNDS` so many.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use crate::client::CLEAN;
use crate::dice::Dice;
use crate::harm::{Call, Fault, Harm};
use crate::mount::{Lab, Mount, say};
use crate::world::{self, Ran, found_repository, held, opens};
use crate::{noise, rounds};

/// A command, and what is true once it has said that it is done.
struct Case {
    arguments: &'static [&'static str],
    /// D; a prune waits for it.
    settle_seconds: u32,
    /// It makes so many requests at least.
    floor: usize,
    is_done: fn(&Bench, &Ran) -> bool,
    /// How it may end if it is run once more after it was done or half done.
    again: &'static [i32],
}

struct Bench {
    faulty: Mount,
    clean: Mount,
    /// After the mounts, so that its directory goes when they have gone.
    lab: Lab,
}

/// Of a command that makes more requests than this, every second goes wrong, and of thousands every seventh, unless
/// there are rounds.
const REQUESTS_MAX: usize = 250;

/// After so many requests that went wrong the command is run once more, which takes as long as all the rest.
const AGAIN_EVERY: usize = 3;

/// What a new import brings.
fn new() -> Vec<u8> {
    [noise(1, 50_000), noise(9, 200_000)].concat()
}

/// Codes that fit: it failed, problems, no room, the storage.
const FAILURES: [i32; 4] = [1, 3, 11, 13];

impl Bench {
    fn new(settle_seconds: u32) -> Option<Self> {
        let lab = Lab::new()?;
        found_repository(&lab, settle_seconds);
        lab.write("new", &new());
        let (faulty, clean) = (lab.mount("faulty", CLEAN, 1), lab.mount("clean", CLEAN, 2));
        Some(Self { faulty, clean, lab })
    }

    fn names(&self) -> Vec<String> {
        let expected = |name: &str| match name {
            "new" => Some(new()),
            other => held().into_iter().find(|(name, _)| *name == other).map(|(_, bytes)| bytes),
        };
        world::points(&self.lab, expected).into_iter().collect()
    }

    fn has(&self, name: &str) -> bool {
        self.names().iter().any(|one| one == name)
    }

    /// What commands make outside of the repository.
    fn tidy(&self) {
        for name in ["out", "third"] {
            let _ = fs::remove_file(self.lab.path(name));
        }
    }
}

/// Told if the test fails.
struct Told(String);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&self.0);
        }
    }
}

fn assert_is_documented(ran: &Ran) {
    if ran.code != 0 {
        assert!(FAILURES.contains(&ran.code), "it ended with {}:\n{}{}", ran.code, ran.out, ran.err);
        let errors = ran.err.lines().filter(|line| line.starts_with("holdall: error: ")).count();
        assert!(errors == 1 || ran.code == 3, "{} says why in {errors} lines:\n{}", ran.code, ran.err);
        let last = ran.err.lines().last().unwrap_or_default();
        assert!(last.starts_with("holdall: ") || ran.code == 3, "{}", ran.err);
    }
}

fn at_every_request(case: &Case) {
    let Some(bench) = Bench::new(case.settle_seconds) else { return };
    let (begun, base) = (Instant::now(), bench.lab.server().copy());
    bench.faulty.client.begin(None);
    let ran = world::run(&bench.lab, bench.faulty.path(), case.arguments).ends_with(&[0]);
    let calls = bench.faulty.client.state().plan.calls();
    let kinds = bench.faulty.client.state().plan.by_kind().clone();
    assert!((case.is_done)(&bench, &ran), "{}{}", ran.out, ran.err);
    assert!(calls >= case.floor, "{:?} makes {calls} requests, and made {}", case.arguments, case.floor);
    let (mut met, mut codes) = (BTreeMap::<(Call, Harm), usize>::new(), BTreeMap::<i32, usize>::new());
    let step = if rounds() > 1 { 1 } else { calls.div_ceil(REQUESTS_MAX) };
    for at in (1..=calls).step_by(step) {
        let way = usize::try_from(Dice::new(at as u64).below(1 << 16)).expect("a small number");
        for round in 0..rounds() {
            let fault = Fault { at, way: way + round };
            bench.tidy();
            bench.lab.server().reset(&base);
            bench.faulty.client.begin(Some(fault));
            let ran = world::run(&bench.lab, bench.faulty.path(), case.arguments);
            let done = bench.faulty.client.state().plan.done();
            let _told = Told(format!("{:?} at request {at} of {calls}: {done:?}\n{ran:?}", case.arguments));
            assert_is_documented(&ran);
            let names = bench.names();
            let is_kept = |name: &str| names.iter().any(|one| one == name);
            assert!(is_kept("other") && (is_kept("old") || case.arguments[0] == "forget"), "{names:?} are left");
            assert!(ran.code != 0 || (case.is_done)(&bench, &ran), "it is not done");
            if (at + round) % AGAIN_EVERY == 0 {
                bench.tidy();
                let again = world::run(&bench.lab, bench.clean.path(), case.arguments);
                assert!(again.code == 0 || case.again.contains(&again.code), "once more: {again:?}");
                bench.names();
            }
            *codes.entry(ran.code).or_default() += 1;
            if let Some(done) = done {
                *met.entry(done).or_default() += 1;
            }
        }
    }
    say(&format!(
        "{:?}: {calls} requests {kinds:?}, {} ways to go wrong, ended with {codes:?}, {:?}",
        case.arguments,
        met.len(),
        begun.elapsed()
    ));
    assert!(met.values().sum::<usize>() >= calls / step * 9 / 10, "{met:?}");
}

#[test]
fn an_import_is_there_or_told_as_failed() {
    at_every_request(&Case {
        arguments: &["import", "new", "--as", "file:new", "--server-name", "lab"],
        // What a failed import left makes a check wait D.
        settle_seconds: 0,
        floor: 150,
        is_done: |bench, _| bench.has("new"),
        again: &[],
    });
}

#[test]
fn an_export_is_right_or_told_as_failed() {
    at_every_request(&Case {
        arguments: &["export", "file:old@latest", "out", "--force"],
        settle_seconds: 1,
        floor: 80,
        is_done: |bench, _| fs::read(bench.lab.path("out")).is_ok_and(|bytes| bytes == held()[0].1),
        again: &[],
    });
}

#[test]
fn a_check_tells_of_no_damage_where_there_is_none() {
    at_every_request(&Case {
        arguments: &["check", "--read-data"],
        settle_seconds: 0,
        floor: 150,
        is_done: |_, ran| ran.out.contains("no damage"),
        again: &[],
    });
}

#[test]
fn a_forgotten_point_is_gone_or_told_as_kept() {
    at_every_request(&Case {
        arguments: &["forget", "file:old@latest"],
        settle_seconds: 1,
        floor: 60,
        is_done: |bench, _| !bench.has("old"),
        again: &[8],
    });
}

#[test]
fn a_prune_deletes_nothing_that_is_needed() {
    at_every_request(&Case {
        arguments: &["prune", "--max-unused", "0"],
        settle_seconds: 0,
        floor: 250,
        is_done: |_, ran| !ran.out.is_empty(),
        again: &[],
    });
}

#[test]
fn a_repair_of_what_is_sound_changes_nothing() {
    at_every_request(&Case {
        arguments: &["repair"],
        settle_seconds: 0,
        floor: 150,
        is_done: |_, ran| !ran.out.is_empty(),
        again: &[],
    });
}

#[test]
fn an_added_key_opens() {
    at_every_request(&Case {
        arguments: &["key", "add", "--new-key-file", "third"],
        settle_seconds: 1,
        floor: 40,
        is_done: |bench, _| opens(&bench.lab, "third"),
        again: &[],
    });
}

#[test]
fn a_changed_key_opens_and_the_old_one_does_not() {
    at_every_request(&Case {
        arguments: &["--key-file", "second", "key", "change", "--new-key-file", "third"],
        settle_seconds: 1,
        floor: 50,
        is_done: |bench, _| opens(&bench.lab, "third") && !opens(&bench.lab, "second"),
        // It opens nothing any more.
        again: &[6],
    });
}

#[test]
fn a_tag_is_said_and_a_pin() {
    at_every_request(&Case {
        arguments: &["tag", "file:old@latest", "new"],
        settle_seconds: 1,
        floor: 60,
        is_done: |bench, _| {
            let listed = world::run(&bench.lab, bench.clean.path(), &["--json", "list", "file:old"]);
            listed.ends_with(&[0]).out.contains("\"new\"")
        },
        again: &[],
    });
    at_every_request(&Case {
        arguments: &["pin", "file:old@latest"],
        settle_seconds: 1,
        floor: 60,
        is_done: |bench, _| {
            let listed = world::run(&bench.lab, bench.clean.path(), &["--json", "list", "file:old"]);
            listed.ends_with(&[0]).out.contains("\"pinned\":true")
        },
        again: &[],
    });
}

#[test]
fn a_list_is_whole_or_told_as_failed() {
    at_every_request(&Case {
        arguments: &["list"],
        settle_seconds: 1,
        floor: 40,
        is_done: |_, ran| ran.out.contains("old") && ran.out.contains("other"),
        again: &[],
    });
}
