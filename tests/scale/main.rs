//! What planning a prune and checking a repository cost where it is large: the real program on a synthetic repository,
//! measured by the kernel.
//!
//! A million chunks every time, sixteen million by hand:
//! `cargo test --release --locked --test scale -- --ignored --nocapture`. Time is printed and not judged, for it says
//! more about the machine.

mod synthetic;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::synthetic::{Made, POINTS, Synthetic};

/// The program.
const HOLDALL: &str = env!("CARGO_BIN_EXE_holdall");

/// What one run of the program took.
struct Cost {
    seconds: f64,
    processor_seconds: f64,
    peak_kib: u64,
}

struct Scale {
    directory: PathBuf,
    made: Made,
    chunks: u32,
}

impl Scale {
    fn new(directory: &Path, chunks: u32) -> Self {
        let begun = Instant::now();
        let made = Synthetic::make(&directory.join("repo"), &directory.join("key"), chunks);
        println!("{chunks} chunks: made in {:.0} s: {made:?}", begun.elapsed().as_secs_f64());
        Self { directory: directory.to_owned(), made, chunks }
    }

    /// Runs the program and returns its last result.
    fn run(&self, what: &str, arguments: &[&str]) -> (Value, Cost) {
        let measured = self.directory.join("measured");
        let output = Command::new("time")
            .args(["--quiet", "--format", "%e %U %S %M", "--output"])
            .arg(&measured)
            .args([HOLDALL, "--config", "/dev/null", "--json"])
            .args(arguments)
            .env_clear()
            .env("HOLDALL_REPOSITORY", self.directory.join("repo"))
            .env("HOLDALL_KEY_FILE", self.directory.join("key"))
            .env("XDG_CACHE_HOME", self.directory.join("cache"))
            .stdin(Stdio::null())
            .output()
            .expect("the program `time` of the package of that name is installed");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        let figures = fs::read_to_string(measured).unwrap();
        let figures: Vec<f64> = figures.split_ascii_whitespace().map(|figure| figure.parse().unwrap()).collect();
        let [seconds, user, system, peak_kib] = figures[..] else { panic!("{figures:?}") };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a number of kibibytes")]
        let cost = Cost { seconds, processor_seconds: user + system, peak_kib: peak_kib as u64 };
        println!(
            "{} chunks: {what:18} {:7.1} s {:7.1} CPU-s {:5} MiB",
            self.chunks,
            cost.seconds,
            cost.processor_seconds,
            cost.peak_kib / 1024
        );
        (serde_json::from_str(said.lines().last().unwrap()).unwrap(), cost)
    }

    fn forget_index(&self) {
        fs::remove_dir_all(self.directory.join("cache")).unwrap();
    }

    /// Plans and checks, each without an index and with it, and holds both to what was made.
    fn keeps_within(&self, peak_mib_max: u64) {
        let mut peak_kib = 0;
        for index in ["no index", "index"] {
            let (planned, cost) = self.run(&format!("prune, {index}"), &["prune", "--dry-run"]);
            peak_kib = peak_kib.max(cost.peak_kib);
            assert_eq!(planned["packs"], self.made.packs);
            assert_eq!(planned["dead_packs"], self.made.dead_packs);
            assert!(self.made.dead_packs > 0 && planned["unused_bytes"].as_u64() > Some(0), "{planned}");
        }
        self.forget_index();
        for index in ["no index", "index"] {
            let (checked, cost) = self.run(&format!("check, {index}"), &["check"]);
            peak_kib = peak_kib.max(cost.peak_kib);
            assert_eq!(checked["type"], "checked");
            assert_eq!((&checked["points"], &checked["packs"]), (&POINTS.into(), &self.made.packs.into()));
            assert_eq!(checked["chunks"], self.made.references);
        }
        assert!(peak_kib <= peak_mib_max * 1024, "{peak_kib} KiB");
    }
}

#[test]
fn a_million_chunks_are_planned_and_checked_in_little_memory() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    Scale::new(directory.path(), 1_000_000).keeps_within(200);
}

#[test]
#[ignore = "takes some minutes and 5 GB below /var/tmp"]
fn sixteen_million_chunks_are_planned_and_checked_in_400_mib() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    Scale::new(directory.path(), 16_000_000).keeps_within(400);
}
