//! What works, from a new repository to the bytes that come back.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::bench::{Bench, Ran, export};

/// The first column of the only line of `list`.
fn only_point(bench: &Bench) -> String {
    let listed = bench.run(&["list"]).succeeds().out;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    listed.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
}

#[test]
fn an_export_goes_in_and_comes_out_byte_for_byte() {
    let bench = Bench::empty();
    bench.write("web1.tar", &export("web1", 200));
    let made = bench.run(&["init", "--new-key-file", "key"]).succeeds();
    assert!(made.out.contains(&bench.path("repo").display().to_string()), "{}", made.out);
    assert!(made.err.contains("without a key all data is lost"), "{}", made.err);
    let permissions = fs::metadata(bench.path("key")).unwrap().permissions();
    assert_eq!(permissions.mode() & 0o777, 0o600);

    let imported = bench.run(&["import", "web1.tar", "--server-name", "lab"]).succeeds();
    assert!(imported.out.starts_with("Made point ") && imported.out.contains("of lab//web1:"), "{}", imported.out);
    assert_eq!(imported.err, "");

    let id = only_point(&bench);
    let shown = bench.run(&["show", &id]).succeeds().out;
    for field in ["lab//web1 (instance)", "in 203 members", "XXH3-128", "BLAKE3"] {
        assert!(shown.contains(field), "{field} is not in:\n{shown}");
    }

    let exported = bench.run(&["export", "web1", "out.tar", "--digest"]).succeeds().out;
    assert!(bench.read("out.tar") == bench.read("web1.tar"));
    let digest = blake3::hash(&bench.read("out.tar")).to_hex();
    assert!(exported.contains(&format!("verified\nBLAKE3 {digest}")), "{exported}");
    assert_eq!(bench.names(""), ["cache", "key", "out.tar", "repo", "web1.tar"]);

    let checked = bench.run(&["check"]).succeeds();
    assert!(checked.out.contains("Checked 1 point") && checked.out.contains("no damage"), "{}", checked.out);
    let checked = bench.run(&["check", "--read-data"]).succeeds();
    assert!(checked.out.contains("read and verified: no damage"), "{}", checked.out);
    assert_eq!(checked.err, "");
}

#[test]
fn pipes_do_for_files() {
    let bench = Bench::new();
    let mut import = bench.command(&["import", "-", "--as", "file:notes/a b"]);
    let mut import = import.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    import.stdin.take().unwrap().write_all(b"anything at all").unwrap();
    assert!(import.wait().unwrap().success());
    let output = bench.command(&["export", "file:notes/a b", "-"]).output().unwrap();
    assert_eq!(output.stdout, b"anything at all");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("to standard output: 15 B, verified"), "{said}");
}

#[test]
fn a_second_import_adds_nothing() {
    let bench = Bench::with_point();
    let imported = bench.run(&["import", "web1.tar", "--as", "lab//web1"]).succeeds().out;
    assert!(imported.contains("0 B of it new, 0 B added"), "{imported}");
    assert_eq!(bench.objects("packs").len(), 2);
}

#[test]
fn an_existing_file_is_replaced_only_by_force() {
    let bench = Bench::with_point();
    bench.write("out.tar", b"precious");
    bench.run(&["export", "web1", "out.tar"]).fails(10, &["out.tar", "exists already"]);
    assert_eq!(bench.read("out.tar"), b"precious");
    bench.run(&["export", "web1", "out.tar", "--force"]).succeeds();
    assert!(bench.read("out.tar") == bench.read("web1.tar"));
    bench.run(&["export", "web1", "cache", "--force"]).fails(10, &["is a directory"]);
    std::os::unix::fs::symlink("out.tar", bench.path("link")).unwrap();
    bench.run(&["export", "web1", "link", "--force"]).fails(10, &["is not a regular file"]);
    assert_eq!(bench.names(""), ["cache", "key", "link", "out.tar", "repo", "web1.tar"]);
}

#[test]
fn without_cache_and_index_segments_everything_comes_back() {
    let bench = Bench::with_point();
    fs::remove_dir_all(bench.path("cache")).unwrap();
    bench.run(&["export", "web1", "1.tar"]).succeeds();
    for segment in bench.objects("index") {
        fs::remove_file(segment).unwrap();
    }
    bench.run(&["export", "web1", "2.tar"]).succeeds();
    assert!(bench.read("1.tar") == bench.read("web1.tar") && bench.read("2.tar") == bench.read("web1.tar"));
    let checked = bench.run(&["check"]).fails(3, &["No data is lost"]);
    assert!(checked.out.contains("DEGRADED Pack") && !checked.out.contains("DAMAGED"), "{}", checked.out);
}

#[test]
fn a_cache_that_cannot_be_made_is_done_without() {
    let bench = Bench::with_point();
    bench.run(&["--cache-dir", "key/x", "export", "web1", "out.tar"]).succeeds();
    assert!(bench.read("out.tar") == bench.read("web1.tar"));
}

#[test]
fn an_empty_repository_lists_nothing() {
    let bench = Bench::new();
    let listed = bench.run(&["list"]).succeeds();
    assert_eq!(listed.out, "");
    assert!(listed.err.contains("no points"), "{}", listed.err);
}

#[test]
fn results_that_nobody_reads_are_no_error() {
    let bench = Bench::with_point();
    let mut list = bench.command(&["list"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(list.stdout.take());
    let output = list.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    let bench = Bench::with_point();
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    Ran::of(bench.command(&["list"]).stdout(full())).fails(11, &["standard output", "no space left"]);
    Ran::of(bench.command(&["export", "web1", "-"]).stdout(full())).fails(11, &["lab//web1", "no space left"]);
}

#[test]
fn the_settings_file_is_enough() {
    let bench = Bench::new();
    bench.write("config.toml", b"repository = \"repo\"\nkey_file = \"key\"\nserver_name = \"lab\"\n");
    let import = || Ran::of(&mut bench.with_settings("config.toml", &["import", "web1.tar"]));
    assert!(import().succeeds().out.contains("of lab//web1"));
    bench.write("config.toml", b"repository = \"repo\"\nkeyfile = \"key\"\n");
    import().fails(2, &["Line 2 of config.toml", "keyfile"]);
    bench.write("config.toml", b"");
    import().fails(2, &["No repository was named"]);
}
