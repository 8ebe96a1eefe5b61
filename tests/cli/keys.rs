//! What opens a repository, what does not, and changing it.

use std::fs;

use crate::bench::{Bench, Ran};

/// A repository that opens with the passphrase in `password`.
fn with_passphrase() -> Bench {
    let bench = Bench::empty();
    bench.write("password", b"correct horse\n");
    Ran::of(&mut bench.bare(&["-r", "repo", "--password-file", "password", "init"])).succeeds();
    bench
}

#[test]
fn a_passphrase_from_a_file_a_descriptor_or_a_command_opens() {
    let bench = with_passphrase();
    Ran::of(bench.bare(&["list"]).env("HOLDALL_REPOSITORY", "repo").env("HOLDALL_PASSWORD_FILE", "password"))
        .succeeds();
    Ran::of(&mut bench.bare(&["-r", "repo", "--password-command", "echo correct horse", "list"])).succeeds();
    let password = fs::File::open(bench.path("password")).unwrap();
    Ran::of(bench.bare(&["-r", "repo", "--password-fd", "0", "list"]).stdin(password)).succeeds();
    fs::create_dir(bench.path("credentials")).unwrap();
    fs::copy(bench.path("password"), bench.path("credentials/holdall.password")).unwrap();
    Ran::of(bench.bare(&["-r", "repo", "list"]).env("CREDENTIALS_DIRECTORY", "credentials")).succeeds();
}

#[test]
fn a_wrong_passphrase_opens_nothing() {
    let bench = with_passphrase();
    bench.write("wrong", b"correct hors\n");
    bench.write("empty", b"\n");
    bench.write("long", b"one\ntwo\n");
    let with = |file: &str| Ran::of(&mut bench.bare(&["-r", "repo", "--password-file", file, "list"]));
    with("wrong").fails(6, &["opens with this passphrase", &bench.path("repo").display().to_string()]);
    with("empty").fails(6, &["The passphrase is empty", "empty"]);
    with("long").fails(6, &["one line"]);
    with("missing").fails(6, &["missing", "no such file"]);
    Ran::of(&mut bench.bare(&["-r", "repo", "--password-command", "exit 3", "list"]))
        .fails(6, &["password command failed", "3"]);
}

#[test]
fn a_key_of_the_other_kind_is_told_apart() {
    let bench = with_passphrase();
    Ran::of(&mut bench.bare(&["-r", "other", "--password-file", "password", "init", "--new-key-file", "key"]))
        .succeeds();
    Ran::of(&mut bench.bare(&["-r", "repo", "--key-file", "key", "list"])).fails(6, &["it opens with a passphrase"]);
    Ran::of(&mut bench.bare(&["-r", "other", "--password-file", "password", "list"]))
        .fails(6, &["it opens with a key file"]);
    Ran::of(&mut bench.bare(&["-r", "other", "list"])).fails(6, &["opens with a key file, and none was given"]);
}

#[test]
fn without_key_and_terminal_nothing_is_asked_or_made() {
    let bench = with_passphrase();
    Ran::of(&mut bench.bare(&["-r", "repo", "list"])).fails(6, &["No key was given", "--key-file"]);
    Ran::of(&mut bench.bare(&["-r", "new", "init"])).fails(6, &["No key was given", "--new-key-file"]);
    assert!(!bench.path("new").exists());
}

#[test]
fn two_keys_at_once_are_refused() {
    let bench = Bench::new();
    bench.run(&["--key-file", "key", "--password-command", "true", "list"]).fails(2, &["More than one key"]);
    Ran::of(bench.command(&["list"]).env("HOLDALL_PASSWORD_COMMAND", "true")).fails(2, &["more than one key"]);
    Ran::of(bench.command(&["--key-file", "key", "list"]).env("HOLDALL_PASSWORD_COMMAND", "true")).succeeds();
}

#[test]
fn init_never_overwrites_a_key() {
    let bench = Bench::new();
    let before = bench.read("key");
    Ran::of(&mut bench.bare(&["-r", "new", "init", "--new-key-file", "key"])).fails(10, &["key exists already"]);
    assert_eq!(bench.read("key"), before);
    Ran::of(&mut bench.bare(&["-r", "new", "init", "--new-key-file", "new/key"])).fails(2, &["would lie in"]);
    Ran::of(&mut bench.bare(&["-r", "new", "init", "--new-key-file", "key2"])).succeeds();
}

#[test]
fn a_write_only_key_backs_up_and_reads_nothing() {
    let bench = Bench::with_point();
    bench.run(&["key", "add", "--write-only", "--new-key-file", "writer", "--label", "host 7"]).succeeds();
    let with = |arguments: &[&str]| Ran::of(bench.command(arguments).env("HOLDALL_KEY_FILE", "writer"));
    with(&["import", "web1.tar", "--as", "file:copy"]).succeeds();
    for arguments in [
        &["list"][..],
        &["show", "web1"],
        &["export", "web1", "out.tar"],
        &["check"],
        &["key", "add", "--new-key-file", "reader"],
    ] {
        with(arguments).fails(7, &["This key cannot read"]);
    }
    assert_eq!(bench.names(""), ["cache", "key", "repo", "web1.tar", "writer"]);
    bench.run(&["export", "file:copy", "out.tar"]).succeeds();
    assert!(bench.read("out.tar") == bench.read("web1.tar"));
}

#[test]
fn keys_are_listed_changed_and_removed() {
    let bench = Bench::with_point();
    bench.run(&["key", "add", "--new-key-file", "second", "--label", "in the safe"]).succeeds();
    let listed = bench.run(&["key", "list"]).succeeds().out;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let safe = listed.lines().find(|line| line.contains("in the safe")).unwrap();
    assert!(!safe.contains('*'), "{listed}");

    Ran::of(bench.command(&["key", "change", "--new-key-file", "third"]).env("HOLDALL_KEY_FILE", "second")).succeeds();
    Ran::of(bench.command(&["list"]).env("HOLDALL_KEY_FILE", "second")).fails(6, &["this key file"]);
    let listed = Ran::of(bench.command(&["key", "list"]).env("HOLDALL_KEY_FILE", "third")).succeeds().out;
    let third = listed.lines().find(|line| line.contains('*')).unwrap();
    assert!(third.contains("in the safe"), "{listed}");

    let id = third.split_whitespace().next().unwrap();
    bench.run(&["key", "remove", "0123456789"]).fails(8, &["0123456789"]);
    bench.run(&["key", "remove", id]).succeeds();
    let last = bench.run(&["key", "list"]).succeeds().out;
    let last = last.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    bench.run(&["key", "remove", &last]).fails(10, &["last that can read"]);
    bench.run(&["export", "web1", "out.tar"]).succeeds();
}

#[test]
fn a_key_that_everybody_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    assert!(!bench.run(&["list"]).succeeds().err.contains("warning"));
    fs::set_permissions(bench.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = bench.run(&["list", "-q"]).succeeds().err;
    assert!(said.contains("Everybody on this host can read the key file key: chmod 600 key"), "{said}");
}

#[test]
fn a_recovery_key_is_printed_once_and_opens_from_what_was_typed() {
    let bench = Bench::with_point();
    let added = bench.run(&["key", "add", "--recovery", "--label", "in the safe"]).succeeds().out;
    let written_down = added.lines().last().unwrap();
    assert!(bench.run(&["key", "list"]).succeeds().out.contains("recovery"));
    bench.write("typed", format!("  {written_down} \n").as_bytes());
    Ran::of(&mut bench.bare(&["-r", "repo", "--key-file", "typed", "export", "web1", "out"])).succeeds();
    assert!(bench.read("out") == bench.read("web1.tar"));
    // A slip of the pen is told from a wrong key.
    let digit = if written_down.contains('7') { ("7", "8") } else { ("a", "b") };
    bench.write("typed", written_down.replacen(digit.0, digit.1, 1).as_bytes());
    Ran::of(&mut bench.bare(&["-r", "repo", "--key-file", "typed", "list"])).fails(6, &["typed"]);
    bench.run(&["key", "add", "--recovery", "--new-key-file", "other"]).ends_with(2);
}
