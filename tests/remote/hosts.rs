//! Hosts that import, prune and check on mounts of one server, each of which sees late what the others do.
//!
//! What they import has much in common, so that each needs what others stored and what a prune would delete. Whatever
//! runs is killed at random. Nothing that was reported is lost, no command takes long, and nobody finds damage.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::process::Child;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{CLEAN, Habits, lock};
use crate::dice::Dice;
use crate::mount::{Lab, Mount, say};
use crate::world::{REPOSITORY, Ran, found_repository, held, points, program, run};
use crate::{noise, rounds};

/// D, and how old an answer may be: time that a request itself takes counts as well.
const SETTLE_SECONDS: u32 = 1;
const DELAY: Duration = Duration::from_millis(900);
/// How long it goes on, for each of the rounds.
const SECONDS: u64 = 40;
/// What no command may take. A prune waits for five times D.
const LONGEST: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// So many points stay each time that points are forgotten.
const POINTS_MAX: usize = 8;

struct Running {
    child: Child,
    is_killed: bool,
}

#[derive(Default)]
struct Told {
    acknowledged: BTreeSet<String>,
    forgotten: BTreeSet<String>,
    codes: BTreeMap<(String, i32), u64>,
    longest: Duration,
}

struct Hosts {
    mounts: [Mount; 3],
    /// After the mounts, so that its directory goes when they have gone.
    lab: Lab,
    until: Instant,
    running: [Mutex<Option<Running>>; 3],
    told: Mutex<Told>,
    seed: u64,
}

/// Pieces out of thirty; the name says which.
fn stream(name: &str) -> Vec<u8> {
    let digest = blake3::hash(name.as_bytes());
    let pieces = digest.as_bytes().iter().take(8).map(|byte| u64::from(byte % 30));
    let own = noise(u64::from_le_bytes(*digest.as_bytes()[..8].first_chunk().expect("32 bytes")), 20_000);
    pieces.flat_map(|piece| noise(1000 + piece, 70_000)).chain(own).collect()
}

impl Hosts {
    fn new(habits: Habits, seed: u64) -> Option<Self> {
        let lab = Lab::new()?;
        found_repository(&lab, SETTLE_SECONDS);
        let mounts = [0, 1, 2].map(|host| lab.mount(&host.to_string(), habits, 10 * seed + host));
        let seconds = SECONDS * u64::try_from(rounds()).expect("a small number");
        let until = Instant::now() + Duration::from_secs(seconds);
        Some(Self { mounts, lab, until, running: Default::default(), told: Mutex::default(), seed })
    }

    fn is_over(&self) -> bool {
        Instant::now() > self.until
    }

    fn run(&self, host: usize, arguments: &[&str], allowed: &[i32]) -> Ran {
        let output = |kind: &str| self.lab.path(&format!("{host}.{kind}"));
        let cache = self.lab.path(&format!("cache-{host}"));
        let mut command = program(&self.lab, &self.mounts[host].path().join(REPOSITORY), &cache, arguments);
        let file = |kind: &str| File::create(output(kind)).expect("our own directory");
        let child = command.stdout(file("out")).stderr(file("err")).spawn().expect("it runs");
        let begun = Instant::now();
        *lock(&self.running[host]) = Some(Running { child, is_killed: false });
        let (status, is_killed) = loop {
            let mut slot = lock(&self.running[host]);
            let running = slot.as_mut().expect("nobody takes it away");
            if let Some(status) = running.child.try_wait().expect("our own child") {
                break (status, slot.take().expect("it is there").is_killed);
            }
            if begun.elapsed() > LONGEST {
                let _ = running.child.kill();
                panic!("{arguments:?} on {host} does not end; seed {}", self.seed);
            }
            drop(slot);
            thread::sleep(LOOK_EVERY);
        };
        let [out, err] = ["out", "err"].map(|kind| fs::read(output(kind)).expect("what it said"));
        let ran = Ran::from(std::process::Output { status, stdout: out, stderr: err });
        let mut told = lock(&self.told);
        let verb = arguments.iter().find(|word| !word.starts_with('-')).expect("a verb");
        *told.codes.entry(((*verb).to_owned(), ran.code)).or_default() += 1;
        told.longest = told.longest.max(begun.elapsed());
        drop(told);
        let is_fine = allowed.contains(&ran.code) || is_killed && ran.code == -9;
        assert!(is_fine, "{arguments:?} on {host}, seed {}: {ran:?}", self.seed);
        ran
    }

    fn imports(&self, host: usize) {
        for number in 0.. {
            if self.is_over() {
                break;
            }
            let name = format!("s{}-{host}-{number}", self.seed);
            self.lab.write(&name, &stream(&name));
            // 1: a prune took it for dead.
            let source = format!("file:{name}");
            let ran = self.run(host, &["import", &name, "--as", &source, "--server-name", "lab"], &[0, 1]);
            fs::remove_file(self.lab.path(&name)).expect("our own file");
            if ran.code == 0 {
                lock(&self.told).acknowledged.insert(name);
            }
        }
    }

    /// Names and ids of the points that a host sees.
    fn listed(&self, host: usize) -> Vec<(String, String)> {
        let ran = self.run(host, &["--json", "list"], &[0]);
        let lines = ran.out.lines().filter(|_| ran.code == 0);
        let field = |object: &Value, field: &str| object[field].as_str().expect("text").to_owned();
        let objects = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        objects.map(|object| (field(&object, "source").replace("file:", ""), field(&object, "id"))).collect()
    }

    fn reclaims(&self, host: usize) {
        let mut dice = Dice::new(self.seed + 100);
        while !self.is_over() {
            let mut going = self.listed(host);
            going.retain(|(name, _)| held().iter().all(|(held, _)| held != name));
            for _ in 0..POINTS_MAX.min(going.len()) {
                going.swap_remove(usize::try_from(dice.below(going.len() as u64)).expect("few"));
            }
            if !going.is_empty() {
                lock(&self.told).forgotten.extend(going.iter().map(|(name, _)| name.clone()));
                let ids = going.iter().map(|(_, id)| id.as_str());
                self.run(host, &["forget"].into_iter().chain(ids).collect::<Vec<_>>(), &[0, 8]);
            }
            // One that waits takes a killed session for dead a minute later only.
            let haste = dice.of(&["--now", "--now", "--no-wait"]);
            self.run(host, &["prune", "--max-unused", "0", haste], &[0, 3]);
            self.run(host, &["check", "--read-data"], &[0]);
        }
    }

    /// Kills whatever runs, more rarely the one that needs long.
    fn kills(&self) -> u64 {
        let (mut dice, mut kills) = (Dice::new(self.seed + 200), 0);
        while !self.is_over() {
            thread::sleep(Duration::from_millis(dice.below(1500)));
            let host = if dice.below(25) == 0 { 2 } else { dice.of(&[0, 1]) };
            if let Some(running) = lock(&self.running[host]).as_mut() {
                running.child.kill().expect("our own child");
                running.is_killed = true;
                kills += 1;
            }
        }
        kills
    }

    fn assert_whole(&self, kills: u64) {
        self.lab.server().age_temporaries();
        let clean = self.lab.mount("clean", CLEAN, 0);
        for _ in 0..2 {
            run(&self.lab, clean.path(), &["prune", "--max-unused", "0", "--now"]).ends_with(&[0]);
        }
        let checked = run(&self.lab, clean.path(), &["check", "--read-data"]).ends_with(&[0]).out;
        assert!(checked.contains("no damage") && !checked.contains("interrupted"), "{checked}");
        let known = held();
        let left = points(&self.lab, |name| {
            let held = known.iter().find(|(held, _)| *held == name).map(|(_, bytes)| bytes.clone());
            held.or_else(|| Some(stream(name)))
        });
        let told = lock(&self.told);
        let kept = |name: &&String| !told.forgotten.contains(*name);
        let lost: Vec<&String> = told.acknowledged.iter().filter(kept).filter(|name| !left.contains(*name)).collect();
        assert!(lost.is_empty(), "seed {}: {lost:?} were reported and are gone", self.seed);
        let (_, others) = self.lab.server().objects(REPOSITORY);
        assert!(others.is_empty(), "{others:?}");
        let pruned = told.codes.get(&("prune".to_owned(), 0)).copied().unwrap_or_default();
        assert!(pruned > 0, "no prune came to its end: {:?}", told.codes);
        let late: u64 = self.mounts.iter().map(|mount| mount.client.state().stale_answers).sum();
        let requests: usize = self.mounts.iter().map(|mount| mount.client.state().plan.calls()).sum();
        say(&format!(
            "seed {}: {} points reported, {} left, {kills} kills, {requests} requests, {late} answers from memory; the \
             longest command {:?}; {:?}",
            self.seed,
            told.acknowledged.len(),
            left.len(),
            told.longest,
            told.codes
        ));
    }
}

fn hold_out(habits: Habits, seed: u64) {
    let Some(hosts) = Hosts::new(habits, seed) else { return };
    say(&format!("seed {seed}"));
    let kills = thread::scope(|scope| {
        scope.spawn(|| hosts.imports(0));
        scope.spawn(|| hosts.imports(1));
        scope.spawn(|| hosts.reclaims(2));
        scope.spawn(|| hosts.kills()).join().expect("no panic")
    });
    hosts.assert_whole(kills);
}

#[test]
fn hosts_that_forget_listings_when_they_change_a_directory_lose_nothing() {
    hold_out(Habits { delay: DELAY, forgets_on_change: true, page: Some(5) }, seed(11));
}

#[test]
fn hosts_that_see_everything_of_others_late_lose_nothing() {
    hold_out(Habits { delay: DELAY, forgets_on_change: false, page: Some(5) }, seed(2));
}

/// The seed of a test, or the one of a run to be repeated.
fn seed(usual: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a knob of the tests; the product reads its own in config.rs")]
    let asked = std::env::var("HOLDALL_TEST_SEED");
    asked.ok().and_then(|seed| seed.parse().ok()).unwrap_or(usual)
}
