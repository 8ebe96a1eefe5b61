//! The program under test, with a repository of its own in the laboratory.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::lab::{Lab, Product};

/// A repository, its key and its cache beside a daemon.
pub struct Holdall {
    socket: PathBuf,
    socket_variable: &'static str,
    dir: PathBuf,
}

impl Holdall {
    /// Makes a repository in the laboratory's directory.
    pub fn new(lab: &Lab) -> Self {
        let dir = lab.scratch().join("holdall");
        std::fs::create_dir_all(&dir).expect("directory for the repository");
        let socket_variable = match lab.product() {
            Product::Lxd => "LXD_SOCKET",
            Product::Incus6 | Product::Incus7 => "INCUS_SOCKET",
        };
        let holdall = Self { socket: lab.socket(), socket_variable, dir };
        let key = holdall.dir.join("key");
        holdall.succeeds(&["init", "--new-key-file", key.to_str().expect("text")]);
        holdall
    }

    /// The program with everything it needs but its verb.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdall"));
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOLDALL_REPOSITORY", self.dir.join("repo"))
            .env("XDG_CACHE_HOME", self.dir.join("cache"))
            .env(self.socket_variable, &self.socket)
            .stdin(Stdio::null());
        if self.dir.join("key").exists() {
            command.env("HOLDALL_KEY_FILE", self.dir.join("key"));
        }
        command
    }

    /// Runs it, whatever comes of it.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command().args(args).output().expect("the program runs")
    }

    /// Runs it; it must succeed. Returns what it printed.
    pub fn succeeds(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "holdall {args:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("results are text")
    }

    /// Runs it; it must fail with this code and say all of these words in one line.
    pub fn fails(&self, args: &[&str], code: i32, words: &[&str]) {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(code), "holdall {args:?}: {}", said(&output));
        let said = said(&output);
        let told = said.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(told, "holdall {args:?} should say {words:?}, and said: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }

    /// Starts it and does not wait.
    pub fn starts(&self, args: &[&str]) -> Child {
        self.command().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
    }

    /// Runs it with `--json` and returns its objects of one type.
    pub fn objects(&self, args: &[&str], kind: &str) -> Vec<Value> {
        let printed = self.succeeds(&[&["--json"], args].concat());
        let objects = printed.lines().map(|line| serde_json::from_str::<Value>(line).expect("a JSON object per line"));
        objects.filter(|object| object["type"] == kind).collect()
    }

    /// Ids of the points that can be read, oldest first.
    pub fn points(&self) -> Vec<String> {
        let points = self.objects(&["list"], "point");
        points.iter().map(|point| point["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// Bytes of everything in the repository.
    pub fn stored_bytes(&self) -> u64 {
        let printed = Command::new("du").args(["-s", "-b"]).arg(self.dir.join("repo")).output().expect("du").stdout;
        let printed = String::from_utf8(printed).expect("du prints text");
        printed.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).expect("a number of bytes")
    }

    /// A file or directory beside the repository.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// What a run wrote to its standard error.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
