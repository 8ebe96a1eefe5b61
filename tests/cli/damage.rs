//! What is broken is found, named with the points that it affects, and never comes out as data.

use std::fs;

use crate::bench::{Bench, PADDING_BYTES, Ran, export, flip, spoil};

/// Two points that share nothing, and the largest pack of the first.
fn two_points() -> (Bench, std::path::PathBuf) {
    let bench = Bench::with_point();
    let pack = bench.object("packs");
    let mut other = export("db1", 0);
    // Without the zeros behind the end, which the two would share.
    other.truncate(other.len() - PADDING_BYTES);
    bench.write("db1.tar", &other);
    bench.run(&["import", "db1.tar", "--server-name", "lab"]).succeeds();
    (bench, pack)
}

/// The id that a file is named by.
fn id(path: &std::path::Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[track_caller]
fn names_pack_and_point(checked: &Ran, pack: &std::path::Path) {
    assert!(checked.out.contains("DAMAGED") && checked.out.contains(id(pack)), "{}", checked.out);
    assert!(checked.out.contains("affects lab//web1 of "), "{}", checked.out);
    assert!(!checked.out.contains("db1"), "{}", checked.out);
}

#[test]
fn a_pack_with_wrong_bytes_is_found_by_reading_it() {
    let (bench, pack) = two_points();
    spoil(&pack, 300_000);
    bench.run(&["check"]).succeeds();
    let checked = bench.run(&["check", "--read-data"]).fails(4, &["damaged"]);
    names_pack_and_point(&checked, &pack);
    bench.run(&["export", "web1", "out.tar"]).fails(4, &["lab//web1", id(&pack)]);
    assert!(!bench.names("").iter().any(|name| name.contains("out.tar")));
    bench.run(&["export", "db1", "out.tar"]).succeeds();
    assert!(bench.read("out.tar") == bench.read("db1.tar"));
}

#[test]
fn a_flipped_bit_in_a_pack_is_found_and_costs_nothing() {
    let (bench, pack) = two_points();
    flip(&pack, 300_000);
    bench.run(&["check"]).succeeds();
    let checked = bench.run(&["check", "--read-data"]).fails(3, &["1 finding"]);
    assert!(checked.out.contains("DEGRADED") && checked.out.contains(id(&pack)), "{}", checked.out);
    assert!(checked.out.contains("parity") && !checked.out.contains("affects"), "{}", checked.out);
    assert!(checked.err.contains("1 pack marked as damaged"), "{}", checked.err);
    let exported = bench.run(&["export", "web1", "out.tar"]).succeeds();
    assert!(exported.err.contains("warning: 1 damaged pack could be read with the help of parity"), "{}", exported.err);
    assert!(bench.read("out.tar") == bench.read("web1.tar"));
}

#[test]
fn without_parity_packs_are_shorter_and_a_flipped_bit_is_a_loss() {
    let with = Bench::with_point();
    let bench = Bench::empty();
    bench.write("web1.tar", &export("web1", 200));
    bench.run(&["init", "--new-key-file", "key", "--no-parity"]).succeeds();
    bench.run(&["import", "web1.tar", "--server-name", "lab"]).succeeds();
    let parity = |bench: &Bench| bench.run(&["stats"]).succeeds().out.contains("Parity");
    assert!(parity(&with) && !parity(&bench));
    let len = |bench: &Bench| fs::metadata(bench.object("packs")).unwrap().len();
    assert!(len(&bench) < len(&with));
    flip(&bench.object("packs"), 300_000);
    bench.run(&["check", "--read-data"]).fails(4, &["damaged"]);
    bench.run(&["export", "web1", "out.tar"]).fails(4, &["lab//web1"]);
}

#[test]
fn a_pack_that_is_cut_or_gone_is_found_at_once() {
    let (bench, pack) = two_points();
    fs::OpenOptions::new().write(true).open(&pack).unwrap().set_len(400_000).unwrap();
    names_pack_and_point(&bench.run(&["check"]).fails(4, &["damaged"]), &pack);
    fs::remove_file(&pack).unwrap();
    names_pack_and_point(&bench.run(&["check"]).fails(4, &["damaged"]), &pack);
    bench.run(&["export", "web1", "out.tar"]).fails(4, &["lab//web1", "holdall check", "--around-holes"]);
    bench.run(&["export", "db1", "out.tar"]).succeeds();
}

#[test]
fn what_is_left_of_a_point_is_written_around_the_holes_and_each_is_named() {
    let (bench, _) = two_points();
    let state = |bench: &Bench| bench.run(&["list", "web1"]).succeeds().out.contains("incomplete");
    let whole = bench.run(&["export", "web1", "out.tar", "--around-holes"]).succeeds().out;
    assert!(whole.contains("verified") && bench.read("out.tar") == bench.read("web1.tar"), "{whole}");
    let largest = bench.objects("packs").into_iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    spoil(&largest, 300_000);
    let ran = bench.run(&["export", "web1", "holes.tar", "--around-holes"]).fails(4, &["hole"]);
    assert!(ran.out.contains("with ") && !ran.out.contains("verified"), "{}", ran.out);
    let named = |line: &str| line.contains("backup/container/rootfs/") && line.contains("are lost and zeros now");
    assert!(ran.err.lines().any(named), "{}", ran.err);
    let (got, was) = (bench.read("holes.tar"), bench.read("web1.tar"));
    assert!(got.len() == was.len() && got != was && got.iter().zip(&was).all(|(got, was)| got == was || *got == 0));
    bench.run(&["export", "web1", "not.tar"]).fails(4, &["--around-holes"]);

    // Once a check has seen it everybody is told, until the same content came by again.
    assert!(!state(&bench));
    let checked = bench.run(&["check", "--read-data"]).fails(4, &["damaged"]);
    assert!(checked.out.contains("loses content of backup/container/rootfs/"), "{}", checked.out);
    assert!(state(&bench) && !bench.run(&["list", "db1"]).succeeds().out.contains("incomplete"));
    assert!(bench.run(&["show", "web1"]).succeeds().out.contains(" lost; "));
    assert!(bench.run(&["status", "--offline"]).fails(3, &["1 of 2 sources"]).out.contains("incomplete"));
    bench.run(&["check"]).fails(4, &["damaged"]);
    bench.run(&["import", "web1.tar", "--server-name", "lab"]).succeeds();
    let ran = bench.run(&["check"]).fails(3, &["1 finding"]);
    assert!(ran.out.contains("no point needs what is lost of it") && !state(&bench), "{}", ran.out);
    bench.run(&["prune"]).succeeds();
    bench.run(&["check", "--read-data"]).succeeds();
}

#[test]
fn a_damaged_point_hides_no_other() {
    let (bench, _) = two_points();
    let point = bench.object("points");
    fs::OpenOptions::new().write(true).open(&point).unwrap().set_len(100).unwrap();
    let listed = bench.run(&["list"]).fails(4, &["1 point cannot be read"]);
    assert_eq!(listed.out.lines().count(), 2, "{}", listed.out);
    assert!(listed.err.contains(id(&point)), "{}", listed.err);
    assert!(bench.run(&["check"]).fails(4, &["damaged"]).out.contains(id(&point)));
}

#[test]
fn one_of_two_copies_is_enough_and_check_says_so() {
    let bench = Bench::with_point();
    for kind in ["config", "keys", "index", "points"] {
        flip(&bench.object(kind), 100);
    }
    bench.run(&["export", "web1", "out.tar"]).succeeds();
    let checked = bench.run(&["check"]).fails(3, &["4 findings"]);
    assert_eq!(checked.out.matches("DEGRADED").count(), 4, "{}", checked.out);
    let slot = bench.object("keys");
    bench.run(&["repair"]).succeeds();
    bench.run(&["check"]).succeeds();
    assert!(bench.objects("keys").len() == 1 && bench.object("keys") != slot, "the key opens another slot now");
}

#[test]
fn a_repository_that_lost_what_opens_it_is_damaged_and_not_absent() {
    for kind in ["config", "keys"] {
        let bench = Bench::with_point();
        for object in bench.objects(kind) {
            fs::remove_file(object).unwrap();
        }
        bench.run(&["list"]).fails(4, &[kind, "delete nothing"]);
    }
    let bench = Bench::with_point();
    fs::remove_dir_all(bench.path("repo/points")).unwrap();
    bench.run(&["list"]).fails(4, &["repo/points", "its directory is missing"]);
}

#[test]
fn a_backup_into_a_repository_with_problems_says_so() {
    let bench = Bench::with_point();
    for segment in bench.objects("index") {
        fs::OpenOptions::new().write(true).open(segment).unwrap().set_len(100).unwrap();
    }
    // What the index took in before it does not read again.
    fs::remove_dir_all(bench.path("cache")).unwrap();
    let imported = bench.run(&["import", "web1.tar", "--as", "lab//web1"]).fails(3, &["1 problem"]);
    assert!(imported.out.starts_with("Made point "), "{}", imported.out);
}
