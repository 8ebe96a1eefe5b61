//! What is refused, with which code, and whether the line tells what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use crate::bench::{Bench, HOLDALL, Ran};

#[test]
fn what_is_no_repository_is_named() {
    let bench = Bench::with_point();
    fs::create_dir(bench.path("empty")).unwrap();
    fs::create_dir(bench.path("garbage")).unwrap();
    bench.write("garbage/index", b"x");
    for place in ["empty", "garbage", "missing", "key"] {
        let path = bench.path(place).display().to_string();
        for command in [&["list"][..], &["check"], &["import", "web1.tar"]] {
            let arguments = [&["-r", place], command].concat();
            bench.run(&arguments).fails(5, &[&path, "check the path"]);
        }
    }
    assert_eq!(bench.names("garbage"), ["index"]);
    bench.run(&["-r", "s3://bucket", "list"]).fails(2, &["s3://bucket"]);
    bench.run(&["-r", "garbage", "init", "--new-key-file", "new"]).fails(10, &["is not empty"]);
    bench.run(&["init", "--new-key-file", "new"]).fails(10, &["a repository in", "already"]);
    bench.run(&["-r", "a/b/c", "init", "--new-key-file", "new"]).fails(1, &["make the directory above"]);
    assert!(!bench.path("new").exists());
}

/// Sets the format version of every copy in an object.
fn set_version(bench: &Bench, kind: &str, version: u8) {
    const MAGIC: &[u8] = b"\x89HOLDALL";
    for path in bench.objects(kind) {
        let mut bytes = fs::read(&path).unwrap();
        let copies: Vec<usize> =
            (0..bytes.len()).filter(|at| bytes[*at..].starts_with(MAGIC)).map(|at| at + MAGIC.len() + 1).collect();
        assert!(!copies.is_empty());
        for at in copies {
            bytes[at] = version;
        }
        bench.write(path.to_str().unwrap(), &bytes);
    }
}

#[test]
fn a_newer_format_is_neither_damage_nor_a_wrong_key() {
    for kind in ["config", "keys"] {
        let bench = Bench::with_point();
        set_version(&bench, kind, 2);
        bench.run(&["list"]).fails(12, &["format version 2", "use a newer holdall"]);
    }
}

#[test]
fn an_export_that_is_cut_off_is_refused() {
    let bench = Bench::new();
    let whole = bench.read("web1.tar");
    bench.write("cut.tar", &whole[..whole.len() / 2]);
    bench.run(&["import", "cut.tar"]).fails(1, &["cut.tar is not a complete export", "cut off inside backup/"]);
    bench.write("text", b"no archive at all");
    bench.run(&["import", "text"]).fails(1, &["text is not a complete export", "--as file:NAME"]);
    bench.run(&["import", "web1.tar", "--as", "volume:pool/x"]).fails(2, &["a container", "volume:pool/x"]);
    bench.run(&["import", "missing"]).fails(1, &["Cannot read missing: no such file"]);
    bench.run(&["import", "repo"]).fails(1, &["repo is a directory", "tar"]);
    assert_eq!(bench.objects("points").len(), 0);
    assert_eq!(bench.objects("sessions").len(), 0);
}

#[test]
fn a_point_that_does_not_exist_is_told_apart_from_nonsense() {
    let bench = Bench::with_point();
    bench.run(&["import", "web1.tar", "--as", "other//web1"]).succeeds();
    bench.run(&["show", "web2"]).fails(8, &["web2 has no point", "holdall list"]);
    bench.run(&["list", "web2"]).fails(8, &["web2 has no point"]);
    bench.run(&["export", "web1", "out.tar"]).fails(8, &["lab//web1", "other//web1", "name the one that is meant"]);
    bench.run(&["export", "lab//web1@2000-01-01", "out.tar"]).fails(8, &["not newer than 2000-01-01"]);
    bench.run(&["show", "0123456789abcdef"]).fails(8, &["0123456789abcdef"]);
    bench.run(&["show", "web1@lastweek"]).fails(2, &["lastweek"]);
    bench.run(&["show", "a/b/c"]).fails(2, &["a/b/c"]);
    bench.run(&["frobnicate"]).fails(2, &["frobnicate", "--help"]);
    assert_eq!(bench.run(&["list", "web1"]).succeeds().out.lines().count(), 3);
}

#[test]
fn a_directory_for_the_export_must_exist() {
    let bench = Bench::with_point();
    bench.run(&["export", "web1", "missing/out.tar"]).fails(1, &["missing/out.tar", "no such file"]);
}

/// As root permission bits mean nothing, so there the program runs as nobody.
#[test]
fn a_repository_that_cannot_be_written_can_still_be_read() {
    const NOBODY: u32 = 65534;
    let bench = Bench::with_point();
    fs::copy(HOLDALL, bench.path("holdall")).unwrap();
    let mut directories = vec![bench.path("repo")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
            }
        }
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o555)).unwrap();
    }
    for path in ["", "holdall", "key", "web1.tar"] {
        fs::set_permissions(bench.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(bench.path("holdall"));
        command.args(bench.command(arguments).get_args()).current_dir(bench.path("")).env_clear();
        command.env("HOLDALL_REPOSITORY", "repo").env("HOLDALL_KEY_FILE", "key");
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    Ran::of(&mut run(&["list"])).succeeds();
    let exported = run(&["export", "web1", "-"]).output().unwrap();
    assert!(exported.stdout == bench.read("web1.tar"));
    Ran::of(&mut run(&["check", "--read-data"])).succeeds();
    Ran::of(&mut run(&["import", "web1.tar"])).fails(13, &["repo/sessions", "permission denied"]);
    fs::set_permissions(bench.path("repo"), fs::Permissions::from_mode(0o700)).unwrap();
}
