//! The fuzz targets without a fuzzer: over what fuzzing starts from, and over what it found worth keeping.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/src/seeds.rs"]
mod seeds;
#[path = "../../fuzz/src/lib.rs"]
mod targets;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn all_seeds() -> seeds::Seeds {
    seeds::seeds(&root().join("format-spec/vectors"))
}

fn run(target: &str, inputs: impl Iterator<Item = (String, Vec<u8>)>) -> usize {
    let (_, target) = targets::TARGETS.iter().find(|(name, _)| *name == target).expect("there is such a target");
    let tried = inputs.map(|(name, bytes)| {
        let outcome = std::panic::catch_unwind(|| target(&bytes));
        assert!(outcome.is_ok(), "{name} broke a promise");
    });
    tried.count()
}

#[test]
fn every_target_keeps_its_promises_on_its_seeds() {
    let seeds = all_seeds();
    for (target, _) in targets::TARGETS {
        let own = seeds.iter().enumerate().filter(|(_, (name, _))| name == target);
        let tried = run(target, own.map(|(number, (_, bytes))| (format!("Seed {number} of {target}"), bytes.clone())));
        assert!(tried > 3, "{target} has no seeds");
    }
}

#[test]
fn every_target_keeps_its_promises_on_its_corpus() {
    for (target, _) in targets::TARGETS {
        let dir = root().join("fuzz/corpus").join(target);
        let files = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
        let tried = run(target, files.map(|path| (path.display().to_string(), fs::read(path).unwrap())));
        assert!(tried > 0, "{target} has no corpus");
    }
}

#[test]
fn every_target_can_be_run_by_libfuzzer() {
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for (target, _) in targets::TARGETS {
        assert!(manifest.contains(&format!("name = \"{target}\"\npath = \"fuzz_targets/{target}.rs\"")), "{target}");
        let source = fs::read_to_string(root().join(format!("fuzz/fuzz_targets/{target}.rs"))).unwrap();
        assert!(source.contains(&format!("holdall_fuzz::{target}(data)")), "{target}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), targets::TARGETS.len());
}

#[test]
#[ignore = "writes the seeds where libFuzzer finds them: `make fuzz` does so before it starts"]
#[expect(clippy::disallowed_methods, reason = "inputs of a fuzzer are no objects")]
fn seeds_are_written() {
    for (number, (target, bytes)) in all_seeds().iter().enumerate() {
        let dir = root().join("fuzz/target/seeds").join(target);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("seed-{number:03}")), bytes).unwrap();
    }
}
