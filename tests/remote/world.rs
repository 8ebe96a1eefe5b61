//! A repository on a server, and the real program at work on mounts of it.
//!
//! What the world looks like afterwards is read from the server itself, without any mount.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use holdall::check::{CheckLevel, check};
use holdall::clock::{Clock, SystemClock};
use holdall::crypto::{KeyFile, SlotKey, Unlock};
use holdall::monitor::Silent;
use holdall::repo::{Catalog, IndexPlace, Parity, Repository};
use holdall::restore::{Digest, export};
use holdall::store::LocalStore;

use crate::mount::Lab;
use crate::noise;

/// Where the repository is below the root of the server.
pub const REPOSITORY: &str = "repo";
/// What no directory can be made in: the index stays in memory, and no run learns from another.
const NO_CACHE: &str = "/dev/null/none";

/// What became of a run of the program.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = output.status.code().or_else(|| output.status.signal().map(|signal| -signal)).unwrap_or(-1);
        Self { code, out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ran {
    #[track_caller]
    pub fn ends_with(self, codes: &[i32]) -> Self {
        assert!(codes.contains(&self.code), "it ended with {}, not {codes:?}:\n{}{}", self.code, self.out, self.err);
        self
    }
}

fn key() -> KeyFile {
    KeyFile::fixed([7; 32])
}

/// The program for a repository at this path, on a host that keeps its index there.
pub fn program(lab: &Lab, repository: &Path, cache: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdall"));
    command.args(["--config", "/dev/null", "-r"]).arg(repository);
    command.arg("--cache-dir").arg(cache).args(arguments).current_dir(lab.path(""));
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TZ", "UTC")
        .env("HOLDALL_KEY_FILE", "key")
        .stdin(Stdio::null());
    command
}

/// The same, without an index of its own, to its end.
pub fn run(lab: &Lab, mount: &Path, arguments: &[&str]) -> Ran {
    program(lab, &mount.join(REPOSITORY), Path::new(NO_CACHE), arguments).output().expect("it runs").into()
}

/// What the repositories here hold, by source.
pub fn held() -> [(&'static str, Vec<u8>); 2] {
    [("old", noise(1, 120_000)), ("other", [noise(1, 60_000), noise(2, 50_000)].concat())]
}

/// Puts a repository on the server that counts with listings of this age: two points, one of them with a tag, a second
/// key in `second`, and chunks that nobody uses.
pub fn found_repository(lab: &Lab, settle_seconds: u32) {
    lab.write("key", key().to_text().as_bytes());
    let path = lab.path("founded");
    let store = Arc::new(LocalStore::create(&path).expect("a store on this disk"));
    let made =
        Repository::init(store, &SlotKey::KeyFile(&key()), SystemClock.now(), settle_seconds, Parity::ReedSolomon);
    drop(made.expect("a repository on this disk"));
    let run = |arguments: &[&str]| {
        let command = program(lab, &path, Path::new(NO_CACHE), arguments).output();
        Ran::from(command.expect("it runs")).ends_with(&[0]);
    };
    lab.write("gone", &noise(3, 90_000));
    for (name, bytes) in held() {
        lab.write(name, &bytes);
    }
    for name in ["old", "gone", "other"] {
        run(&["import", name, "--as", &format!("file:{name}"), "--server-name", "lab"]);
    }
    run(&["tag", "file:old@latest", "kept"]);
    run(&["forget", "file:gone@latest"]);
    run(&["key", "add", "--new-key-file", "second"]);
    lab.server().take_in(&path, REPOSITORY);
    std::fs::remove_dir_all(path).expect("our own directory");
}

/// Reads the repository from the server: nothing is wrong with it, and its points are these, byte for byte. Returns
/// their names.
#[track_caller]
pub fn points(lab: &Lab, expected: impl Fn(&str) -> Option<Vec<u8>>) -> BTreeSet<String> {
    let (store, others) = lab.server().objects(REPOSITORY);
    for other in others {
        let leaf = other.rsplit('/').next().unwrap_or_default();
        assert!(leaf.starts_with(".tmp-"), "{other} is left behind");
    }
    let opened = Repository::open(Arc::new(store), Unlock::KeyFile(&key()), IndexPlace::Memory);
    let (repository, refreshed) = opened.expect("a repository");
    assert!(refreshed.damaged.is_empty(), "{:?}", refreshed.damaged);
    let report = check(&repository, CheckLevel::ReadData, &Silent).expect("a check in memory");
    assert!(report.is_clean(), "{:?}", report.findings);
    let catalog = Catalog::read(&repository, &Silent).expect("points in memory");
    let mut names = BTreeSet::new();
    for (_, point) in catalog.points() {
        let name = point.source.name.clone();
        let mut bytes = Vec::new();
        export(&repository, "a point", point, &mut bytes, Digest::None, &Silent).expect("it comes back");
        assert!(expected(&name).as_ref() == Some(&bytes), "{name} is another");
        names.insert(name);
    }
    names
}

/// What a key file opens, now: nothing, or something.
pub fn opens(lab: &Lab, key_file: &str) -> bool {
    let key = KeyFile::parse(&std::fs::read(lab.path(key_file)).expect("a key file")).expect("a key");
    let (store, _) = lab.server().objects(REPOSITORY);
    Repository::open(Arc::new(store), Unlock::KeyFile(&key), IndexPlace::Memory).is_ok()
}
