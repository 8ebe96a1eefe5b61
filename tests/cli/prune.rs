//! Space back from what no point uses.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::bench::{Bench, export, noise};

/// A repository with one point, and the packs of another one that was forgotten.
fn half_used() -> Bench {
    let bench = Bench::with_point();
    bench.write("other.tar", &export("other", 300));
    bench.run(&["import", "other.tar", "--server-name", "lab"]).succeeds();
    let listed = bench.run(&["--json", "list", "lab//other"]).succeeds().out;
    let point: serde_json::Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    fs::remove_file(bench.path("repo/points").join(point["id"].as_str().unwrap())).unwrap();
    bench
}

fn pack_bytes(bench: &Bench) -> u64 {
    bench.objects("packs").iter().map(|path| fs::metadata(path).unwrap().len()).sum()
}

#[test]
fn what_no_point_uses_is_deleted_and_the_rest_stays() {
    let bench = half_used();
    let before = pack_bytes(&bench);
    let planned = bench.run(&["prune", "--dry-run"]).succeeds().out;
    assert!(planned.contains("would be deleted"), "{planned}");
    assert_eq!(pack_bytes(&bench), before);
    let pruned = bench.run(&["prune"]).succeeds();
    assert!(pruned.out.starts_with("Freed ") && pruned.err.is_empty(), "{} {}", pruned.out, pruned.err);
    assert!(pack_bytes(&bench) < before);
    bench.run(&["export", "web1", "out.tar"]).succeeds();
    assert!(bench.read("out.tar") == bench.read("web1.tar"));
    let again = bench.run(&["prune", "--max-unused", "0"]).succeeds().out;
    assert!(again.starts_with("Nothing to free: 0 B of "), "{again}");
    let again = bench.run(&["--json", "prune", "--max-unused", "0"]).succeeds().out;
    let pruned: serde_json::Value = serde_json::from_str(again.trim()).unwrap();
    assert_eq!(
        (&pruned["type"], &pruned["deleted_packs"], &pruned["complete"]),
        (&"pruned".into(), &0.into(), &true.into())
    );
    let checked = bench.run(&["check", "--read-data"]).succeeds().out;
    assert!(checked.contains("no damage") && !checked.contains("interrupted"), "{checked}");
}

#[test]
fn what_a_killed_backup_left_is_freed_by_the_next_prune() {
    let bench = Bench::with_point();
    let before = pack_bytes(&bench);
    let mut import = bench.command(&["import", "-", "--as", "file:x"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = import.stdin.take().unwrap();
    let is_stored = |path: &std::path::PathBuf| !path.file_name().unwrap().to_string_lossy().starts_with('.');
    let packs = || bench.objects("packs").into_iter().filter(is_stored).count();
    let packs_before = packs();
    let mut seed = 0;
    while packs() == packs_before {
        input.write_all(&noise(seed, 1 << 20)).unwrap();
        seed += 1;
        assert!(seed < 1000, "no pack is ever stored");
    }
    import.kill().unwrap();
    import.wait().unwrap();
    assert!(pack_bytes(&bench) > before && bench.objects("sessions").len() == 1);
    let pruned = bench.run(&["prune"]).succeeds().out;
    assert!(pruned.starts_with("Freed "), "{pruned}");
    assert_eq!((packs(), bench.objects("sessions").len()), (packs_before, 0));
}

#[test]
fn a_lost_reserve_is_put_back_and_nothing_of_the_prune_stays() {
    let bench = half_used();
    fs::remove_file(bench.path("repo/reserve")).unwrap();
    bench.run(&["prune"]).succeeds();
    assert_eq!(fs::metadata(bench.path("repo/reserve")).unwrap().len(), 1 << 20);
    for kind in ["sessions", "condemned", "beats"] {
        assert!(bench.objects(kind).is_empty(), "{kind}");
    }
}

#[test]
fn nothing_is_deleted_where_a_point_cannot_be_read() {
    let bench = half_used();
    let before = bench.objects("packs");
    let point = bench.objects("points")[0].clone();
    let name = point.strip_prefix(bench.path("")).unwrap().to_str().unwrap().to_owned();
    bench.write(&name, &[0; 4000]);
    bench.run(&["prune"]).fails(4, &["nobody knows what is in use", "nothing is deleted"]);
    assert_eq!(bench.objects("packs"), before);
    bench.run(&["prune", "--max-unused", "5x"]).fails(2, &["--max-unused", "5%", "2GiB", "unlimited"]);
}
