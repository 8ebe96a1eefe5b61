//! `status` and `source` as a person meets them, without a daemon.

use crate::bench::{Bench, export};

/// A bench with two points of `web1` and one of `db1`, all imported.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("db1.tar", &export("db1", 2));
    for export in ["web1.tar", "web1.tar", "db1.tar"] {
        bench.run(&["import", export, "--server-name", "lab"]).succeeds();
    }
    bench
}

fn sources(bench: &Bench) -> Vec<(String, u64, bool)> {
    let listed = bench.run(&["--json", "source", "list"]).succeeds();
    let read = |line: &str| {
        let source: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(source["type"], "source");
        let name = source["source"].as_str().unwrap().to_owned();
        (name, source["points"].as_u64().unwrap(), source["retired"].as_bool().unwrap())
    };
    listed.out.lines().map(read).collect()
}

#[test]
fn a_renamed_source_keeps_its_history() {
    let bench = bench();
    let ran = bench.run(&["source", "rename", "web1", "www"]).succeeds();
    assert!(ran.err.contains("2 points of lab//web1 now count as points of lab//www"), "{}", ran.err);
    assert_eq!(sources(&bench), [("lab//db1".to_owned(), 1, false), ("lab//www".to_owned(), 2, false)]);
    bench.run(&["export", "www", "www.tar"]).succeeds();
    assert!(bench.read("www.tar") == bench.read("web1.tar"));
    bench.run(&["export", "web1", "x.tar"]).fails(8, &["web1"]);

    // What comes under the old name later is another thing's, and a second renaming takes all of the first along.
    bench.run(&["import", "web1.tar", "--server-name", "lab"]).succeeds();
    bench.run(&["source", "rename", "www", "db1"]).succeeds();
    assert_eq!(sources(&bench), [("lab//db1".to_owned(), 3, false), ("lab//web1".to_owned(), 1, false)]);
    bench.run(&["check"]).succeeds();
}

#[test]
fn a_source_becomes_one_of_its_own_kind_only() {
    let bench = bench();
    bench.run(&["source", "rename", "web1", "volume:default/web1"]).fails(2, &["lab//web1", "own kind"]);
    bench.run(&["source", "rename", "web1", "lab//web1"]).fails(2, &["lab//web1"]);
    bench.run(&["source", "rename", "nobody", "web1"]).fails(8, &["nobody"]);
    bench.run(&["source", "retire", "nobody"]).fails(8, &["nobody"]);
}

#[test]
fn a_retired_source_is_no_longer_looked_for() {
    let bench = bench();
    bench.run(&["source", "retire", "web1"]).succeeds();
    assert_eq!(sources(&bench)[1], ("lab//web1".to_owned(), 2, true));
    assert!(bench.run(&["status", "--offline"]).succeeds().out.contains("lab//web1  retired"));
    let ran = bench.run(&["source", "retire", "web1"]).succeeds();
    assert!(ran.err.contains("is retired already"), "{}", ran.err);
    bench.run(&["source", "retire", "web1", "--undo"]).succeeds();
    assert_eq!(sources(&bench)[1], ("lab//web1".to_owned(), 2, false));
    bench.run(&["source", "retire", "web1"]).succeeds();
    bench.run(&["import", "web1.tar", "--server-name", "lab"]).succeeds();
    assert_eq!(sources(&bench)[1], ("lab//web1".to_owned(), 3, true), "an old file does not bring it back");
}

#[test]
fn what_came_by_import_is_not_late() {
    let bench = bench();
    let ran = bench.run(&["status", "--offline", "--max-age", "1s"]).succeeds();
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines[0].starts_with("SOURCE") && lines[1].starts_with("lab//db1   imported  2"), "{}", ran.out);
    assert_eq!(bench.run(&["status", "--offline", "web1"]).succeeds().out.lines().count(), 2);
    bench.run(&["status", "--offline", "nobody"]).fails(8, &["nobody"]);
    bench.run(&["status", "--max-age", "soon"]).fails(2, &["soon"]);
}
