//! `forget`, `tag` and `pin` as a person meets them.

use std::fs;

use serde_json::Value;

use crate::bench::{Bench, Ran, export};

/// A bench with four points of `web1` and one of `db1`.
fn bench() -> Bench {
    let bench = Bench::empty();
    bench.write("web1.tar", &export("web1", 2));
    bench.write("db1.tar", &export("db1", 2));
    bench.run(&["init", "--new-key-file", "key"]).succeeds();
    for export in ["db1.tar", "web1.tar", "web1.tar", "web1.tar", "web1.tar"] {
        bench.run(&["import", export, "--server-name", "lab"]).succeeds();
    }
    bench
}

fn objects(ran: &Ran) -> Vec<Value> {
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The ids of a source's points, oldest first.
fn ids(bench: &Bench, source: &str) -> Vec<String> {
    let listed = bench.run(&["--json", "list", source]).succeeds();
    objects(&listed).iter().map(|point| point["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_policy_is_looked_at_and_then_applied() {
    let bench = bench();
    let web1 = ids(&bench, "web1");
    let looked = bench.run(&["forget", "--keep-last", "2", "--dry-run"]).succeeds();
    let lines: Vec<&str> = looked.out.lines().collect();
    assert_eq!(lines.len(), 8, "{}", looked.out);
    assert_eq!((lines[0], lines[2]), ("lab//db1", "lab//web1"));
    for (line, words) in [(1, "  keep  newest, last"), (3, "  drop  no rule keeps it"), (5, "  keep  last")] {
        assert!(lines[line].ends_with(words), "{}", lines[line]);
    }
    assert!(lines[3].contains(&web1[0][..8]), "{}", lines[3]);
    assert_eq!(lines[7], "Would forget 2 points of 1 source; 3 points stay");
    assert_eq!(ids(&bench, "web1"), web1);

    let objects = objects(&bench.run(&["forget", "--keep-last", "2", "--json"]).succeeds());
    assert_eq!(objects.len(), 3);
    assert_eq!((&objects[0]["type"], &objects[0]["action"]), (&"fate".into(), &"dropped".into()));
    assert_eq!((&objects[0]["point"], &objects[0]["source"]), (&web1[0].as_str().into(), &"lab//web1".into()));
    assert_eq!(
        (&objects[2]["type"], &objects[2]["dropped"], &objects[2]["kept"]),
        (&"forgot".into(), &2.into(), &3.into())
    );
    assert_eq!(ids(&bench, "web1"), web1[2..]);
    let again = bench.run(&["forget", "--keep-last", "2"]).succeeds();
    assert_eq!(again.out, "Forgot 0 points; 3 points stay\n");
    bench.run(&["check", "--read-data"]).succeeds();
    bench.run(&["export", "web1", "out.tar"]).succeeds();
    assert!(bench.read("out.tar") == bench.read("web1.tar"));
}

#[test]
fn only_the_sources_that_are_named_are_looked_at() {
    let bench = bench();
    bench.run(&["forget", "--keep-last", "1", "--source", "web2"]).fails(8, &["web2 has no point"]);
    let ran = bench.run(&["forget", "--keep-last", "1", "--source", "db1"]).succeeds();
    assert_eq!(ran.out, "Forgot 0 points; 1 point stays\n");
    bench.run(&["forget", "--keep-last", "1", "--source", "web1"]).succeeds();
    assert_eq!((ids(&bench, "web1").len(), ids(&bench, "db1").len()), (1, 1));
}

#[test]
fn the_policy_of_the_settings_is_used_where_none_is_typed() {
    let bench = bench();
    let settings = "repository = \"repo\"\nkey_file = \"key\"\n";
    bench.write("config.toml", settings.as_bytes());
    let forget =
        |arguments: &[&str]| Ran::of(&mut bench.with_settings("config.toml", &[&["forget"], arguments].concat()));
    forget(&[]).fails(2, &["no policy", "--keep-daily 7", "[retention]"]);
    forget(&["--dry-run"]).fails(2, &["no policy"]);
    let ran = forget(&["--if-configured"]).succeeds();
    assert!(ran.out.is_empty() && ran.err.contains("nothing is forgotten"), "{}", ran.err);
    bench.write("config.toml", format!("{settings}[retention]\nkeep_last = 3\n").as_bytes());
    assert!(forget(&["--dry-run"]).succeeds().out.ends_with("Would forget 1 point of 1 source; 4 points stay\n"));
    // What is typed replaces it as a whole.
    let ran = forget(&["--keep-daily", "all", "--dry-run"]).succeeds();
    assert!(ran.out.contains("keep  oldest daily") && ran.out.contains("Would forget 2 points"), "{}", ran.out);
    assert!(forget(&["--if-configured"]).succeeds().out.contains("Forgot 1 point of 1 source"));
    bench.write("config.toml", format!("{settings}[retention]\nkeep_lots = 3\n").as_bytes());
    forget(&[]).fails(2, &["Line 4 of config.toml", "keep_lots"]);
}

#[test]
fn points_are_forgotten_by_name_but_no_source_by_mistake() {
    let bench = bench();
    let web1 = ids(&bench, "web1");
    bench.run(&["forget", "web1"]).fails(2, &["web1 is a source and no point", "web1@latest", "--source web1"]);
    bench.run(&["forget", &web1[0], "0123456789abcdef"]).fails(8, &["0123456789abcdef"]);
    bench.run(&["forget", "web1@2000-01-01"]).fails(8, &["web1"]);
    let late = bench.run(&["forget", "web1@2100-01-01"]).fails(8, &["no point in the day before 2100-01-01"]);
    assert!(late.err.contains(&web1[3][..8]), "{}", late.err);
    bench.run(&["forget", &web1[0], "--keep-last", "1"]).fails(2, &["--keep-last"]);
    bench.run(&["forget", &web1[0], "--retired"]).fails(2, &["--retired"]);
    assert_eq!(ids(&bench, "web1"), web1, "whatever was refused changed nothing");

    let ran = bench.run(&["forget", &web1[1][..12], &web1[1], "web1@latest"]).succeeds();
    assert!(ran.out.contains("dropped  named\n"), "{}", ran.out);
    assert!(ran.out.contains("dropped  named, and the newest of its source\n"), "{}", ran.out);
    assert!(ran.out.ends_with("Forgot 2 points of 1 source\n"), "{}", ran.out);
    assert_eq!(ids(&bench, "web1"), [web1[0].clone(), web1[2].clone()]);
}

#[test]
fn pinned_points_stay_until_they_are_unpinned() {
    let bench = bench();
    let web1 = ids(&bench, "web1");
    let ran = bench.run(&["pin", &web1[0], &web1[1]]).succeeds();
    assert_eq!(ran.out.matches(": pinned, no tags").count(), 2, "{}", ran.out);
    let refused = bench.run(&["forget", &web1[0], &web1[2]]).fails(10, &["is pinned", "holdall unpin"]);
    assert!(refused.out.is_empty());
    assert!(bench.run(&["forget", "--keep-last", "1"]).succeeds().out.contains("Forgot 1 point of 1 source"));
    assert_eq!(ids(&bench, "web1"), [web1[0].clone(), web1[1].clone(), web1[3].clone()]);
    assert!(bench.run(&["show", &web1[0]]).succeeds().out.contains("\nPinned "));
    assert_eq!(bench.run(&["list", "web1"]).succeeds().out.matches("  pinned").count(), 2);

    bench.run(&["source", "retire", "web1"]).succeeds();
    let ran = bench.run(&["forget", "--retired", "--dry-run"]).succeeds();
    assert!(ran.out.contains("drop  its source is retired") && ran.out.contains("keep  pinned"), "{}", ran.out);
    assert!(!ran.out.contains("db1"), "{}", ran.out);
    bench.run(&["forget", "--retired"]).succeeds();
    assert_eq!(ids(&bench, "web1"), web1[..2]);

    let unpinned = objects(&bench.run(&["unpin", &web1[0], &web1[1], "--json"]).succeeds());
    assert_eq!((&unpinned[1]["type"], &unpinned[1]["pinned"]), (&"marked".into(), &false.into()));
    bench.run(&["forget", "--retired"]).succeeds();
    bench.run(&["list", "web1"]).fails(8, &["web1"]);
    assert_eq!(ids(&bench, "db1").len(), 1);
}

#[test]
fn tags_are_given_shown_and_taken_off() {
    let bench = bench();
    let web1 = ids(&bench, "web1");
    let ran = bench.run(&["tag", &web1[0], "release", "before 2.0", "release"]).succeeds();
    assert!(ran.out.ends_with(": not pinned, tags before 2.0, release\n"), "{}", ran.out);
    let notes = bench.objects("notes").len();
    bench.run(&["tag", &web1[0], "release"]).succeeds();
    assert_eq!(bench.objects("notes").len(), notes, "it had it already");
    let imported = bench.run(&["import", "db1.tar", "--server-name", "lab", "--tag", "a", "--tag", "b"]).succeeds();
    assert!(imported.out.starts_with("Made point "), "{}", imported.out);
    let listed = bench.run(&["list"]).succeeds().out;
    assert!(listed.contains("  before 2.0, release\n") && listed.trim_end().ends_with("  a, b"), "{listed}");
    let shown = objects(&bench.run(&["show", "db1", "--json"]).succeeds());
    assert_eq!((&shown[0]["tags"], &shown[0]["pinned"]), (&serde_json::json!(["a", "b"]), &false.into()));
    assert!(bench.run(&["show", &web1[0]]).succeeds().out.contains("\nTags "));

    let ran = bench.run(&["forget", "--keep-tag", "release", "--keep-tag", "none", "--dry-run"]).succeeds();
    assert!(ran.out.contains("keep  tag release\n") && ran.out.contains("Would forget 3 points of 2 sources"));
    let ran = bench.run(&["untag", &web1[0], "release", "unknown"]).succeeds();
    assert!(ran.out.ends_with("tags before 2.0\n"), "{}", ran.out);
    bench.run(&["tag", &web1[0], "a,b"]).fails(2, &["is no tag"]);
    bench.run(&["tag", "web2", "a"]).fails(8, &["web2"]);
    bench.run(&["tag", &web1[0]]).fails(2, &["TAG"]);
}

#[test]
fn a_simulation_needs_no_repository() {
    let bench = Bench::empty();
    let simulate = |arguments: &[&str]| Ran::of(&mut bench.bare(&[&["forget", "--simulate"], arguments].concat()));
    let ran = simulate(&["30d", "--keep-daily", "7", "--keep-last", "1"]).succeeds();
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!((lines.len(), lines[7]), (8, "Of 30 points, one every 1d for 30d, 7 would remain"), "{}", ran.out);
    assert!(lines[6].ends_with("  newest, last, daily"), "{}", ran.out);
    let objects = objects(&simulate(&["2d", "--simulate-every", "6h", "--keep-within", "1d", "--json"]).succeeds());
    assert_eq!(
        (&objects[4]["type"], &objects[4]["points"], &objects[4]["remaining"]),
        (&"simulation".into(), &8.into(), &4.into())
    );
    assert_eq!(objects[0]["reasons"], serde_json::json!(["within 1d"]));
    simulate(&["30d"]).fails(2, &["no policy"]);
    simulate(&["50y", "--simulate-every", "1h", "--keep-last", "1"]).fails(2, &["more than 100000 points"]);
    simulate(&["6m", "--keep-last", "1"]).fails(2, &["6m", "6mo"]);
    Ran::of(&mut bench.bare(&["forget", "--keep-last", "0"])).fails(2, &["0", "all"]);
}

#[test]
fn what_is_damaged_is_removed_only_by_its_id() {
    let bench = bench();
    let web1 = ids(&bench, "web1");
    let path = bench.path("repo/points").join(&web1[1]);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
    // The rest is seen to, and it is told.
    let ran = bench.run(&["forget", "--keep-last", "2"]).fails(4, &["1 object among the points", "--damaged"]);
    assert!(ran.out.contains("Forgot 1 point of 1 source") && ran.err.contains(&web1[1]), "{}{}", ran.out, ran.err);
    bench.run(&["forget", "--damaged", &web1[2]]).fails(8, &[&web1[2]]);
    bench.run(&["forget", "--damaged", "web1@latest"]).fails(2, &["no id"]);
    bench.run(&["forget", "--damaged"]).fails(2, &["POINT"]);
    bench.run(&["forget", &web1[1]]).fails(8, &[&web1[1]]);
    assert!(path.exists());
    let ran = bench.run(&["forget", "--damaged", &web1[1][..8], "--dry-run"]).succeeds();
    assert!(ran.out.starts_with("Would remove"), "{}", ran.out);
    let ran = objects(&bench.run(&["forget", "--damaged", &web1[1][..8], "--json"]).succeeds());
    assert_eq!((&ran[0]["type"], &ran[0]["point"]), (&"damaged_point".into(), &web1[1].as_str().into()));
    assert_eq!(ids(&bench, "web1"), web1[2..]);
    bench.run(&["check"]).succeeds();
    bench.run(&["forget", "--damaged", &web1[1][..8]]).fails(8, &["does not open"]);
}

#[test]
fn while_a_note_cannot_be_read_no_policy_drops_anything() {
    let bench = bench();
    let web1 = ids(&bench, "web1");
    let note = "5".repeat(64);
    bench.write(&format!("repo/notes/{note}"), &[0; 2000]);
    for arguments in [&["--keep-last", "1"][..], &["--retired"], &["--keep-last", "1", "--dry-run"]] {
        let said = ["No point was forgotten", "may pin", &note, "put it back"];
        bench.run(&[&["forget"], arguments].concat()).fails(4, &said);
    }
    assert_eq!(ids(&bench, "web1"), web1);
    bench.run(&["forget", &web1[0]]).succeeds();
    assert_eq!(ids(&bench, "web1"), web1[1..]);
}

#[test]
fn a_key_that_only_writes_tags_what_it_makes_and_forgets_nothing() {
    let bench = bench();
    bench.run(&["key", "add", "--write-only", "--new-key-file", "writer"]).succeeds();
    let with = |arguments: &[&str]| Ran::of(bench.command(arguments).env("HOLDALL_KEY_FILE", "writer"));
    with(&["import", "web1.tar", "--as", "lab//web1", "--tag", "mine"]).succeeds();
    for arguments in [
        &["forget", "--keep-last", "1"][..],
        &["forget", "web1@latest"],
        &["forget", "--retired"],
        &["forget", "--damaged", "01234567"],
        &["pin", "web1"],
        &["tag", "web1", "a"],
    ] {
        with(arguments).fails(7, &["This key cannot read"]);
    }
    assert!(bench.run(&["list"]).succeeds().out.contains("  mine"));
}
