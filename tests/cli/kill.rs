//! The program is killed at random moments, again and again, and nobody has to mend anything.
//!
//! Commands are chosen by a seed and killed after a random part of the time that they usually take, sometimes two at
//! once. What a command had reported stands from then on: its points export byte for byte, its keys open. No command
//! ever fails because of one that was killed before, and a prune leaves nothing of any.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::Value;

use crate::bench::{Bench, Ran, flip, noise};

/// How many kills: a few here, many by hand.
fn kills(few: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the one knob of the tests; the product reads its own in config.rs")]
    let asked = std::env::var("HOLDALL_TEST_ROUNDS");
    asked.ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(few)
}

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 += 1;
        let bytes = noise(self.0, 8);
        u64::from_le_bytes(bytes.try_into().unwrap()) % end
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verb {
    Import,
    ImportFromPipe,
    Forget,
    Prune,
    Check,
    Repair,
    Tag,
    AddKey,
    ChangeKey,
    Retire,
    Export,
}

const VERBS: [Verb; 13] = [
    Verb::Import,
    Verb::Import,
    Verb::ImportFromPipe,
    Verb::Forget,
    Verb::Prune,
    Verb::Prune,
    Verb::Check,
    Verb::Repair,
    Verb::Tag,
    Verb::AddKey,
    Verb::ChangeKey,
    Verb::Retire,
    Verb::Export,
];

/// A command at work.
struct Running {
    verb: Verb,
    child: Child,
    begun: Instant,
    /// The stream that it imports, the point that it forgets, or the key file that it makes.
    about: String,
    /// Whether something was damaged when it began.
    met_damage: bool,
}

struct World {
    bench: Bench,
    dice: Dice,
    /// The file with the key that opens the repository.
    key: String,
    /// Points that were reported and that nobody has begun to forget, with the streams that they hold.
    points: BTreeMap<String, String>,
    /// Points that a killed process may have forgotten.
    doubtful: BTreeMap<String, String>,
    made: u64,
    usual: BTreeMap<Verb, Duration>,
    /// Whether something on the disk was damaged that no repair has mended yet.
    is_damaged: bool,
    killed: u64,
    history: Vec<String>,
}

impl Drop for World {
    fn drop(&mut self) {
        if thread::panicking() {
            let last = self.history.len().saturating_sub(40);
            eprintln!("... {}", self.history[last..].join("\n"));
        }
    }
}

impl World {
    fn new() -> Self {
        let bench = Bench::empty();
        bench.run(&["init", "--new-key-file", "key"]).succeeds();
        Self {
            bench,
            dice: Dice(0),
            key: "key".to_owned(),
            points: BTreeMap::new(),
            doubtful: BTreeMap::new(),
            made: 0,
            usual: BTreeMap::new(),
            is_damaged: false,
            killed: 0,
            history: Vec::new(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.bench.command(&[&["--key-file", &self.key], arguments].concat())
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    fn listed(&self) -> BTreeMap<String, String> {
        let listed = self.run(&["--json", "list"]).succeeds().out;
        let field = |value: &Value, field: &str| value[field].as_str().unwrap().to_owned();
        let points = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        points.map(|point| (field(&point, "id"), field(&point, "source").replace("file:", ""))).collect()
    }

    /// Pieces out of a few, so that streams share much.
    fn write_stream(&mut self) -> String {
        let name = format!("s{}", self.made);
        self.made += 1;
        let bytes: Vec<u8> = (0..=self.dice.below(4)).flat_map(|_| noise(self.dice.below(12), 150_000)).collect();
        self.bench.write(&name, &bytes);
        name
    }

    fn begin(&mut self, verb: Verb, is_alone: bool) -> Running {
        let any_point = |world: &mut Self| {
            let at = world.dice.below(world.points.len() as u64);
            world.points.keys().nth(usize::try_from(at).unwrap()).unwrap().clone()
        };
        let mut about = String::new();
        let mut from = None;
        let mut arguments: Vec<String> = match verb {
            Verb::Import => {
                about = self.write_stream();
                vec!["import".to_owned(), about.clone(), "--as".to_owned(), format!("file:{about}")]
            }
            Verb::ImportFromPipe => {
                about = self.write_stream();
                from = Some(File::open(self.bench.path(&about)).unwrap());
                vec!["import".to_owned(), "-".to_owned(), "--as".to_owned(), format!("file:{about}")]
            }
            Verb::Forget => {
                about = any_point(self);
                let stream = self.points.remove(&about).unwrap();
                self.doubtful.insert(about.clone(), stream);
                vec!["forget".to_owned(), about.clone()]
            }
            Verb::Prune => ["prune", "--max-unused", "0"].map(str::to_owned).to_vec(),
            Verb::Check => vec!["check".to_owned(), "--read-data".to_owned()],
            Verb::Repair => vec!["repair".to_owned(), "--read-data".to_owned()],
            Verb::Tag => vec!["tag".to_owned(), any_point(self), format!("t{}", self.killed)],
            Verb::AddKey | Verb::ChangeKey => {
                about = format!("key{}", self.history.len());
                let what = if verb == Verb::AddKey { "add" } else { "change" };
                ["key", what, "--new-key-file", &about].map(str::to_owned).to_vec()
            }
            Verb::Retire => {
                let point = any_point(self);
                let source = &self.points[&point];
                ["source", "retire", &format!("file:{source}")].map(str::to_owned).to_vec()
            }
            Verb::Export => vec!["export".to_owned(), any_point(self), "out".to_owned(), "--force".to_owned()],
        };
        if !is_alone && verb == Verb::Prune {
            // Who is killed while it is waited for is noticed a minute later.
            arguments.push(self.dice.of(&["--no-wait", "--now"]).to_owned());
        }
        if !is_alone && verb == Verb::Repair {
            arguments.push("--now".to_owned());
        }
        self.history.push(format!("{} {}", self.history.len(), arguments.join(" ")));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = self.command(&[&["--json"], &arguments[..]].concat());
        command.stdin(from.map_or_else(Stdio::null, Stdio::from)).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running { verb, child: command.spawn().unwrap(), begun: Instant::now(), about, met_damage: self.is_damaged }
    }

    /// Waits for a command, or kills it first; believes what it has reported.
    fn end(&mut self, mut running: Running, is_killed: bool, is_alone: bool) {
        if is_killed {
            running.child.kill().unwrap();
        }
        let ran = Ran::from(running.child.wait_with_output().unwrap());
        let took = running.begun.elapsed();
        let verb = running.verb;
        self.history.push(format!("... {verb:?} ended with {} after {took:?}", ran.code));
        if ran.code == -1 {
            self.killed += 1;
        } else {
            if is_alone {
                self.usual.insert(verb, took);
            }
            let is_documented = match (verb, ran.code) {
                (_, 0) => true,
                // A pack that is marked as damaged is not relied on, and stays until it is repaired.
                (Verb::Check, 3) | (Verb::Prune, 4) => running.met_damage,
                // Somebody else was at work, and the rest is left to the next one.
                (Verb::Prune, 3) => !is_alone,
                // Ended by a prune that was told to.
                (Verb::Import | Verb::ImportFromPipe, 1) => !is_alone && ran.err.contains("has no new point"),
                _ => false,
            };
            assert!(is_documented, "{verb:?} ended with {}:\n{}{}", ran.code, ran.out, ran.err);
        }
        self.believe(verb, &running.about, &ran);
    }

    fn believe(&mut self, verb: Verb, about: &str, ran: &Ran) {
        // A line that was cut off by the kill says nothing.
        let lines = ran.out.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        for line in lines {
            let told: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if told["type"] == "made" {
                self.points.insert(told["point"].as_str().unwrap().to_owned(), about.to_owned());
            }
            if told["type"] == "key_added" && verb == Verb::ChangeKey {
                about.clone_into(&mut self.key);
            }
        }
        match (verb, ran.code) {
            (Verb::Forget, 0) => {
                self.doubtful.remove(about);
                assert!(!self.listed().contains_key(about), "{about} was forgotten");
            }
            (Verb::Repair, 0) => self.is_damaged = false,
            (Verb::ChangeKey, 0) => assert_eq!(self.key, about),
            (Verb::ChangeKey, -1) if self.key != about && self.run(&["list"]).code == 6 => {
                // It was killed between the removal of the old key and its last words, so the new one stands.
                panic!("the old key was removed before the new one was reported");
            }
            _ => {}
        }
    }

    /// What was reported is there; one point is compared, or all, and then a check finds nothing else.
    fn verify(&mut self, all: bool) {
        let listed = self.listed();
        for (id, stream) in std::mem::take(&mut self.doubtful) {
            if listed.contains_key(&id) {
                self.points.insert(id, stream);
            }
        }
        for (id, stream) in &self.points {
            assert_eq!(listed.get(id), Some(stream), "{id} was reported");
        }
        if all {
            // A repair that was killed may have mended it all the same.
            let ran = self.run(&["check", "--read-data"]);
            assert!(ran.code == 0 || ran.code == 3 && self.is_damaged, "{}: {}{}", ran.code, ran.out, ran.err);
        }
        let chosen = self.dice.below(listed.len() as u64);
        for (number, (id, stream)) in (0..).zip(&listed) {
            if all || number == chosen {
                self.run(&["export", id, "out", "--force"]).succeeds();
                assert!(self.bench.read("out") == self.bench.read(stream), "{stream} is another");
            }
        }
    }

    /// Some of a pack, so that its parity gives it back.
    fn damage(&mut self) {
        if let (false, Some(pack)) = (self.is_damaged, self.bench.objects("packs").first()) {
            flip(pack, 1000);
            self.is_damaged = true;
        }
    }

    fn choose(&mut self, beside: Option<Verb>) -> Verb {
        loop {
            let verb = self.dice.of(&VERBS);
            let needs_points = matches!(verb, Verb::Forget | Verb::Tag | Verb::Retire | Verb::Export);
            let is_key = |verb: Verb| matches!(verb, Verb::AddKey | Verb::ChangeKey);
            let is_possible = match beside {
                // A key that goes opens nothing for who begins then, and a point that goes has no tag.
                Some(beside) => ![verb, beside].into_iter().any(|one| is_key(one) || one == Verb::Forget),
                None => true,
            };
            if is_possible && (!needs_points || self.points.len() > 3) {
                return verb;
            }
        }
    }

    /// One command or two, most of them killed after a random part of the time that they take.
    fn round(&mut self) {
        let first = self.choose(None);
        let is_alone = matches!(first, Verb::AddKey | Verb::ChangeKey | Verb::Forget) || self.dice.below(3) > 0;
        if first == Verb::Repair && is_alone && self.dice.below(2) == 0 {
            self.damage();
        }
        let mut running = vec![self.begin(first, is_alone)];
        if !is_alone {
            let other = self.choose(Some(first));
            running.push(self.begin(other, false));
        }
        let usual = |world: &Self, verb| world.usual.get(&verb).map_or(200_000, Duration::as_micros);
        for one in running {
            let most = u64::try_from(usual(self, one.verb)).unwrap() * 11 / 10;
            let after = Duration::from_micros(self.dice.below(most));
            thread::sleep(after.saturating_sub(one.begun.elapsed()));
            // Some come to their end, beside what others left.
            let is_killed = self.dice.below(4) > 0;
            self.end(one, is_killed, is_alone);
        }
    }

    /// What every command takes if it is left alone.
    fn measure(&mut self) {
        for verb in [Verb::Import, Verb::Import, Verb::ImportFromPipe, Verb::Import, Verb::Import, Verb::Import]
            .into_iter()
            .chain(VERBS)
        {
            let running = self.begin(verb, true);
            self.end(running, false, true);
        }
    }
}

/// Every file below a directory.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn temporaries(bench: &Bench) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&bench.path("repo"), &mut found);
    found.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with(".tmp-"));
    found
}

#[test]
fn whenever_it_is_killed_nothing_is_lost_and_nothing_has_to_be_mended() {
    let mut world = World::new();
    world.measure();
    let wanted = kills(50);
    let mut rounds = 0;
    while world.killed < wanted {
        world.round();
        rounds += 1;
        world.verify(rounds % 10 == 0);
        assert!(rounds < 10 * wanted, "{} of {rounds} rounds killed anything", world.killed);
    }
    println!("{} kills in {rounds} rounds, {} points", world.killed, world.points.len());
    if world.is_damaged {
        world.run(&["repair", "--read-data"]).succeeds();
        world.is_damaged = false;
    }
    // They are removed a day later.
    for temporary in temporaries(&world.bench) {
        File::options()
            .write(true)
            .open(&temporary)
            .unwrap()
            .set_modified(UNIX_EPOCH + Duration::from_secs(1))
            .unwrap();
    }
    world.run(&["prune", "--max-unused", "0"]).succeeds();
    let checked = world.run(&["check", "--read-data"]).succeeds().out;
    assert!(checked.contains("no damage") && !checked.contains("interrupted"), "{checked}");
    world.verify(true);
    for kind in ["sessions", "condemned", "beats"] {
        assert!(world.bench.objects(kind).is_empty(), "{kind}");
    }
    assert_eq!(temporaries(&world.bench), [] as [PathBuf; 0]);
}
