//! `ls`, `extract`, `diff` and `stats` as a person meets them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use tar::EntryType;

use crate::bench::{Bench, noise};

/// A point of a container with a few files of every kind; `word` stands in one of them.
fn bench(words: &[&str]) -> Bench {
    let bench = Bench::new();
    for word in words {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |path: &str, kind, link: Option<&str>, owner: u64, bytes: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.set_size(bytes.len() as u64);
            header.set_mode(0o4755);
            header.set_uid(owner);
            header.set_gid(owner);
            header.set_mtime(1_600_000_000);
            if let Some(link) = link {
                header.set_link_name(link).unwrap();
            }
            header.set_path(path).unwrap();
            header.set_cksum();
            builder.append(&header, bytes).unwrap();
        };
        let index = "name: web1\nbackend: dir\npool: default\noptimized: false\ntype: container\n";
        add("backup/index.yaml", EntryType::Regular, None, 0, index.as_bytes());
        add("backup/container", EntryType::Directory, None, 0, b"");
        add("backup/container/rootfs", EntryType::Directory, None, 0, b"");
        add("backup/container/rootfs/etc", EntryType::Directory, None, 0, b"");
        add("backup/container/rootfs/etc/motd", EntryType::Regular, None, 1000, word.as_bytes());
        add("backup/container/rootfs/etc/big", EntryType::Regular, None, 0, &noise(1, 100_000));
        add("backup/container/rootfs/etc/red\x1b[31m", EntryType::Symlink, Some("motd\x07"), 0, b"");
        let bytes = builder.into_inner().unwrap();
        bench.write("export.tar", &bytes);
        bench.run(&["import", "export.tar", "--server-name", "lab"]).succeeds();
    }
    bench
}

#[test]
fn files_are_listed_and_extracted() {
    let bench = bench(&["hello"]);
    let listed = bench.run(&["ls", "web1", "/etc"]).succeeds();
    let lines: Vec<&str> = listed.out.lines().collect();
    assert_eq!(lines.len(), 3, "{}", listed.out);
    assert_eq!(lines[1], "-rwsr-xr-x      1000/1000             5  2020-09-13 12:26:40  etc/motd");
    assert!(lines[2].ends_with("etc/red\\u{1b}[31m -> motd\\u{7}"), "{}", lines[2]);
    bench.run(&["ls", "web1", "/nothing"]).fails(8, &["There is no /nothing in lab//web1", "--raw"]);
    bench.run(&["ls", "web1", "--raw", "--snapshot", "x"]).fails(2, &["--snapshot"]);

    let ran = bench.run(&["extract", "web1", "/etc/motd", "/etc/big", "--to", "out"]).succeeds();
    assert!(ran.out.starts_with("Extracted from lab//web1 ("), "{}", ran.out);
    assert_eq!(bench.read("out/etc/motd"), b"hello");
    assert!(bench.read("out/etc/big") == noise(1, 100_000));
    let motd = fs::metadata(bench.path("out/etc/motd")).unwrap();
    assert_eq!((motd.uid(), motd.mode() & 0o7777, motd.mtime()), (1000, 0o4755, 1_600_000_000));
    let again = bench.run(&["extract", "web1", "/etc/motd", "--to", "out"]);
    again.fails(3, &["with 1 problem"]);
    bench.run(&["extract", "web1", "/etc/motd", "--to", "out", "--force", "--no-owner"]).succeeds();
    let motd = fs::metadata(bench.path("out/etc/motd")).unwrap();
    assert_eq!((motd.uid(), motd.mode() & 0o7777), (rustix::process::geteuid().as_raw(), 0o755));
    bench.run(&["extract", "web1", "/", "--to", "no/where"]).fails(10, &["make the directory above it first"]);
    bench.run(&["extract", "web1", "backup/index.yaml", "--raw", "--to", "raw"]).succeeds();
    assert!(bench.read("raw/backup/index.yaml").starts_with(b"name: web1"));
}

#[test]
fn points_are_compared_and_counted() {
    let bench = bench(&["hello", "world"]);
    let listed = bench.run(&["list", "--json"]).succeeds();
    let ids: Vec<String> = listed
        .out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    let ran = bench.run(&["diff", &ids[0], &ids[1]]).succeeds();
    assert_eq!(ran.out, "M etc/motd (content)\n");
    assert_eq!(bench.run(&["diff", &ids[0], &ids[0]]).succeeds().out, "");
    let stats = bench.run(&["stats"]).succeeds();
    assert!(stats.out.starts_with("Points     2 points of 1 source\n"), "{}", stats.out);
    assert!(stats.out.contains("Ratio"), "{}", stats.out);
}

#[test]
fn a_key_that_only_writes_looks_into_nothing() {
    let bench = bench(&["hello"]);
    bench.run(&["key", "add", "--write-only", "--new-key-file", "writer"]).succeeds();
    for command in
        [&["ls", "web1"][..], &["extract", "web1", "/", "--to", "out"], &["diff", "web1", "web1"], &["stats"]]
    {
        bench.run(&[command, &["--key-file", "writer"]].concat()).fails(7, &["cannot read"]);
    }
    assert!(!bench.path("out").exists());
}
