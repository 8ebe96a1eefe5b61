//! What `--json` promises: every line is an object with a type and a version, on every command, in success and failure.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::bench::{Bench, Ran, spoil};

/// The objects of a text.
#[track_caller]
fn objects(text: &str) -> Vec<Value> {
    let object = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(value["version"], 1, "{line}");
        assert!(value["type"].is_string(), "{line}");
        value
    };
    text.lines().map(object).collect()
}

#[test]
fn every_command_prints_objects_that_the_readme_lists() {
    let bench = Bench::empty();
    bench.write("web1.tar", &crate::bench::export("web1", 200));
    let mut seen = BTreeSet::new();
    let mut run = |code: i32, arguments: &[&str]| {
        let ran = bench.run(&[arguments, &["--json"]].concat()).ends_with(code);
        let objects = objects(&ran.out);
        seen.extend(objects.iter().map(|object| object["type"].as_str().unwrap().to_owned()));
        objects
    };
    let made = run(0, &["init", "--new-key-file", "key"]);
    assert_eq!(made[0]["key_file"], "key");
    let made = run(0, &["import", "web1.tar", "--server-name", "lab"]);
    let listed = run(0, &["list"]);
    assert_eq!(listed[0]["id"], made[0]["point"]);
    assert_eq!((&listed[0]["source"], &listed[0]["form"]), (&"lab//web1".into(), &"export".into()));
    let shown = run(0, &["show", "web1"]);
    assert_eq!(shown[0]["packs"].as_array().unwrap().len(), 2);
    let exported = run(0, &["export", "web1", "out.tar", "--digest"]);
    assert_eq!(exported[0]["blake3"], blake3::hash(&bench.read("out.tar")).to_hex().as_str());
    let entries = run(0, &["ls", "web1", "/file-7"]);
    assert_eq!((&entries[0]["path"], &entries[0]["size"]), (&"file-7".into(), &5000.into()));
    let extracted = run(0, &["extract", "web1", "/file-7", "--to", "out"]);
    assert_eq!(extracted[0]["files"], 1);
    run(0, &["diff", "web1", "web1"]);
    assert_eq!(run(0, &["stats"])[0]["points"], 1);
    assert_eq!(run(0, &["tag", "web1", "a"])[0]["tags"][0], "a");
    let planned = run(0, &["forget", "--keep-last", "1", "--dry-run"]);
    assert_eq!((&planned[0]["action"], &planned[0]["reasons"][0]), (&"keep".into(), &"newest".into()));
    assert_eq!((&planned[1]["dropped"], &planned[1]["dry_run"]), (&0.into(), &true.into()));
    run(0, &["forget", "--keep-last", "1", "--simulate", "2d"]);
    run(0, &["check", "--read-data"]);
    let added = run(0, &["key", "add", "--new-key-file", "second"]);
    assert_eq!(run(0, &["key", "list"]).len(), 2);
    run(0, &["key", "remove", added[0]["id"].as_str().unwrap()]);
    spoil(&bench.object("packs"), 300_000);
    let checked = run(4, &["check", "--read-data"]);
    assert_eq!(checked[0]["severity"], "damage");
    assert!(checked[0]["affected"][0].as_str().unwrap().starts_with("lab//web1 of "));
    assert_eq!(checked.last().unwrap()["code"], 4);
    fs::OpenOptions::new().write(true).open(bench.object("points")).unwrap().set_len(9).unwrap();
    run(4, &["list"]);
    let refused = run(1, &["import", "out.tar.missing"]);
    assert_eq!(refused.last().unwrap()["type"], "error");

    let readme = include_str!("../../README.md");
    for word in seen {
        assert!(readme.contains(&format!("`{word}`")), "{word} is not in the README");
    }
}

#[test]
fn a_point_on_standard_output_leaves_objects_to_standard_error() {
    let bench = Bench::with_point();
    let output = bench.command(&["export", "web1", "-", "--json", "-v"]).output().unwrap();
    assert!(output.stdout == bench.read("web1.tar"));
    let said = objects(&String::from_utf8(output.stderr).unwrap());
    assert_eq!((said.len(), &said[0]["type"]), (1, &"exported".into()));
    fs::remove_file(bench.object("packs")).unwrap();
    let failed = Ran::of(&mut bench.command(&["export", "web1", "-", "--json"])).ends_with(4);
    assert_eq!(objects(&failed.err).last().unwrap()["type"], "error");
}
