//! Looking into points: what is listed, what is extracted and where it stays, what differs, and how little is read.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use holdall::browse::{
    BrowseError, Change, Depth, DiffError, ExtractError, ExtractOptions, Extracted, Overwrite, Owners, Region, diff,
    extract, list, stats,
};
use holdall::monitor::{Collected, Event, Silent};
use holdall::point::Point;
use holdall::repo::Repository;
use holdall::store::record::{Recorded, RecordingStore};
use holdall::store::{MemoryStore, Operation, Store};
use proptest::prelude::*;
use tar::EntryType;

use crate::fixture::{import_bytes, init, new, noise, points, reopen};

const OPTIONS: ExtractOptions = ExtractOptions { overwrite: Overwrite::Never, owners: Owners::Leave };

/// An archive that is made member by member, with names that no library would write.
struct Archive(Vec<u8>);

impl Archive {
    fn new() -> Self {
        Self(Vec::new())
    }

    /// An export of a container: its index comes first.
    fn export() -> Self {
        let index = "name: web1\nbackend: dir\npool: default\noptimized: false\ntype: container\n";
        Self::new().file("backup/index.yaml", index.as_bytes()).directory("backup/container").directory(&rootfs(""))
    }

    fn member(mut self, path: &[u8], kind: EntryType, link: &[u8], records: &[(&str, &[u8])], content: &[u8]) -> Self {
        let mut builder = tar::Builder::new(Vec::new());
        let records = [&[("path", path), ("linkpath", link)], records].concat();
        let records = records.into_iter().filter(|(_, value)| !value.is_empty());
        builder.append_pax_extensions(records).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o640);
        header.set_uid(0);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_cksum();
        builder.append(&header, content).unwrap();
        let mut bytes = builder.into_inner().unwrap();
        bytes.truncate(bytes.len() - 1024);
        self.0.extend(bytes);
        self
    }

    fn file(self, path: &str, content: &[u8]) -> Self {
        self.member(path.as_bytes(), EntryType::Regular, b"", &[], content)
    }

    fn directory(self, path: &str) -> Self {
        self.member(path.as_bytes(), EntryType::Directory, b"", &[], b"")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.member(path.as_bytes(), EntryType::Symlink, target.as_bytes(), &[], b"")
    }

    fn hard_link(self, path: &str, target: &str) -> Self {
        self.member(path.as_bytes(), EntryType::Link, target.as_bytes(), &[], b"")
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::File::create(path).and_then(|mut file| file.write_all(bytes)).unwrap();
}

fn rootfs(path: &str) -> String {
    format!("backup/container/rootfs{}{path}", if path.is_empty() { "" } else { "/" })
}

/// A repository with a point of an export or, if that has no index, of a file.
fn stored(archive: Archive) -> (Repository, Point) {
    let repository = new();
    let bytes = archive.finish();
    let is_export = bytes.windows(17).take(2000).any(|bytes| bytes == b"backup/index.yaml");
    import_bytes(&repository, &bytes[..], (!is_export).then_some("file:x")).unwrap();
    let point = points(&repository).pop().unwrap().1;
    (repository, point)
}

fn listed(repository: &Repository, point: &Point, region: &Region, path: &str, depth: Depth) -> Vec<String> {
    let mut names = Vec::new();
    list(repository, point, region, path.as_bytes(), depth, &Silent, &mut |entry| {
        names.push(String::from_utf8_lossy(&entry.path).into_owned());
    })
    .unwrap();
    names
}

fn extracted(archive: Archive, paths: &[&str], to: &Path, options: ExtractOptions) -> (Extracted, Vec<String>) {
    let (repository, point) = stored(archive);
    extracted_from(&repository, &point, paths, to, options)
}

fn extracted_from(
    repository: &Repository,
    point: &Point,
    paths: &[&str],
    to: &Path,
    options: ExtractOptions,
) -> (Extracted, Vec<String>) {
    let paths: Vec<Vec<u8>> = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
    let told = Collected::default();
    let extracted = extract(repository, point, &Region::Main, &paths, to, options, &told).unwrap();
    let problems = told.events().into_iter().filter_map(|event| match event {
        Event::Problem(problem) => Some(format!("{}: {}", problem.object, problem.message)),
        _ => None,
    });
    (extracted, problems.collect())
}

#[test]
fn a_directory_is_listed_with_what_is_directly_in_it() {
    let archive = Archive::export()
        .directory(&rootfs("etc"))
        .file(&rootfs("etc/passwd"), b"root")
        .file(&rootfs("etc/ssh/key"), &noise(1, 9000))
        .file(&rootfs("etc/passwd"), b"root again")
        .symlink(&rootfs("lib"), "usr/lib");
    let (repository, point) = stored(archive);
    let ls = |region: &Region, path: &str, depth| listed(&repository, &point, region, path, depth);
    assert_eq!(ls(&Region::Main, "/", Depth::Directory), ["etc", "lib"]);
    assert_eq!(ls(&Region::Main, "etc/", Depth::Directory), ["etc/passwd", "etc/ssh"]);
    assert_eq!(ls(&Region::Main, "/etc/passwd", Depth::Directory), ["etc/passwd"]);
    assert_eq!(ls(&Region::Main, "/etc", Depth::All), ["etc", "etc/passwd", "etc/ssh/key", "etc/passwd"]);
    assert_eq!(ls(&Region::Raw, "", Depth::Directory), ["backup"]);
    assert_eq!(ls(&Region::Raw, "backup", Depth::Directory), ["backup/container", "backup/index.yaml"]);
    let mut sizes = Vec::new();
    list(&repository, &point, &Region::Main, b"etc/passwd", Depth::Directory, &Silent, &mut |entry| {
        sizes.push(entry.member.as_ref().unwrap().size);
    })
    .unwrap();
    assert_eq!(sizes, [10], "the last counts");
    let missing = |region: Region, path: &[u8]| {
        list(&repository, &point, &region, path, Depth::Directory, &Silent, &mut |_| {}).unwrap_err()
    };
    assert!(matches!(missing(Region::Main, b"etc/shadow"), BrowseError::NoSuchPath { .. }));
    assert!(matches!(missing(Region::Main, b"../index.yaml"), BrowseError::BadPath { .. }));
    assert!(matches!(missing(Region::Snapshot("../x".to_owned()), b""), BrowseError::BadPath { .. }));
    assert!(matches!(missing(Region::Snapshot("s0".to_owned()), b""), BrowseError::NoSuchPath { .. }));
}

#[test]
fn what_is_no_archive_says_so() {
    let repository = new();
    import_bytes(&repository, &noise(1, 5000)[..], Some("file:x")).unwrap();
    let point = points(&repository).pop().unwrap().1;
    let error = list(&repository, &point, &Region::Raw, b"", Depth::All, &Silent, &mut |_| {}).unwrap_err();
    assert!(matches!(error, BrowseError::NotAnArchive { .. }), "{error}");
}

#[test]
fn files_come_out_as_they_went_in() {
    let to = tempfile::tempdir().unwrap();
    let long = [noise(1, 300_000), vec![0; 5_000_000], noise(2, 1000)].concat();
    let archive = Archive::export()
        .directory(&rootfs("d"))
        .member(rootfs("d/big").as_bytes(), EntryType::Regular, b"", &[("SCHILY.xattr.user.k", b"v\0w")], &long)
        .file(&rootfs("d/empty"), b"")
        .member(rootfs("d/fifo").as_bytes(), EntryType::Fifo, b"", &[], b"")
        .hard_link(&rootfs("d/link"), &rootfs("d/big"))
        .symlink(&rootfs("d/sym"), "/etc/passwd")
        .member(&[rootfs("d/").as_bytes(), b"\xff\n"].concat(), EntryType::Regular, b"", &[("mtime", b"-5.5")], b"x")
        .file(&rootfs("e"), b"not asked for");
    let (done, problems) = extracted(archive, &["/d"], to.path(), OPTIONS);
    assert_eq!(problems, [""; 0]);
    assert_eq!((done.files, done.directories, done.others), (3, 1, 3));
    let d = to.path().join("d");
    assert!(fs::read(d.join("big")).unwrap() == long);
    let big = fs::metadata(d.join("big")).unwrap();
    assert!(big.blocks() * 512 < 1_000_000, "{} blocks of a file that is a hole mostly", big.blocks());
    assert_eq!((big.permissions().mode() & 0o7777, big.mtime()), (0o640, 1_600_000_000));
    assert_eq!((big.nlink(), big.ino()), (2, fs::metadata(d.join("link")).unwrap().ino()));
    assert!(fs::symlink_metadata(d.join("fifo")).unwrap().file_type().is_fifo());
    assert_eq!(fs::read_link(d.join("sym")).unwrap(), Path::new("/etc/passwd"));
    let mut value = [0; 9];
    let len = rustix::fs::getxattr(d.join("big"), "user.k", &mut value).unwrap();
    assert_eq!(&value[..len], b"v\0w");
    let directory = fs::metadata(&d).unwrap();
    assert_eq!((directory.permissions().mode() & 0o7777, directory.mtime()), (0o640, 1_600_000_000));
    let strange = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff\n");
    let strange: &std::ffi::OsStr = strange;
    assert_eq!(
        (fs::metadata(d.join(strange)).unwrap().mtime(), fs::metadata(d.join(strange)).unwrap().mtime_nsec()),
        (-6, 500_000_000)
    );
    assert!(!to.path().join("e").exists());
}

#[test]
fn a_hard_link_to_what_was_not_asked_for_gets_the_contents() {
    let to = tempfile::tempdir().unwrap();
    let archive = Archive::export()
        .file(&rootfs("a"), b"contents")
        .hard_link(&rootfs("b/one"), &rootfs("a"))
        .hard_link(&rootfs("b/three"), &rootfs("b/one"))
        .hard_link(&rootfs("b/two"), &rootfs("a"))
        .hard_link(&rootfs("b/wrong"), &rootfs("nothing"));
    let (_, problems) = extracted(archive, &["b"], to.path(), OPTIONS);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("b/wrong: "));
    assert!(!to.path().join("a").exists());
    let inodes = ["one", "two", "three"].map(|name| fs::metadata(to.path().join("b").join(name)).unwrap().ino());
    assert_eq!(inodes, [inodes[0]; 3]);
    assert_eq!(fs::read(to.path().join("b/two")).unwrap(), b"contents");
}

#[test]
fn files_that_are_there_stay_unless_told_otherwise() {
    let to = tempfile::tempdir().unwrap();
    let make = || Archive::export().file(&rootfs("a"), b"new").file(&rootfs("a"), b"newest").file(&rootfs("b"), b"b");
    write(&to.path().join("a"), b"old");
    let (done, problems) = extracted(make(), &["/"], to.path(), OPTIONS);
    assert_eq!((done.problems, problems.len()), (2, 2));
    assert_eq!(fs::read(to.path().join("a")).unwrap(), b"old");
    let force = ExtractOptions { overwrite: Overwrite::Replace, ..OPTIONS };
    let (done, _) = extracted(make(), &["/"], to.path(), force);
    assert_eq!(done.problems, 0);
    assert_eq!(fs::read(to.path().join("a")).unwrap(), b"newest");
}

#[test]
fn what_is_not_there_is_told() {
    let to = tempfile::tempdir().unwrap();
    let (repository, point) = stored(Archive::export().file(&rootfs("a"), b"a"));
    let (_, problems) = extracted_from(&repository, &point, &["a", "nothing"], to.path(), OPTIONS);
    assert_eq!(problems, ["nothing: it is not in the point"]);
    let nothing = [b"nothing".to_vec()];
    let error = extract(&repository, &point, &Region::Main, &nothing, to.path(), OPTIONS, &Silent).unwrap_err();
    assert!(matches!(error, ExtractError::Browse(BrowseError::NoSuchPath { .. })), "{error}");
}

/// Everything outside of the directory into which is extracted, with contents, modes and times.
fn outside(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        let state = format!("{:o} {} {} {content:?}", metadata.mode(), metadata.mtime_nsec(), metadata.nlink());
        if path.file_name().unwrap() != "to" {
            found.insert(path.display().to_string(), state);
            if metadata.is_dir() {
                found.extend(outside(&path));
            }
        }
    }
    found
}

/// Extracts everything of an archive beside a victim, and makes sure that the victim is as it was.
fn assert_stays_inside(archive: impl FnOnce(Archive, &str) -> Archive, options: ExtractOptions) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("victim")).unwrap();
    write(&root.path().join("victim/file"), b"precious");
    fs::create_dir(root.path().join("to")).unwrap();
    // Planted by whoever may write there.
    std::os::unix::fs::symlink("../victim", root.path().join("to/planted")).unwrap();
    std::os::unix::fs::symlink("../victim/file", root.path().join("to/planted-file")).unwrap();
    let before = outside(root.path());
    let (repository, point) = stored(archive(Archive::new(), &root.path().display().to_string()));
    let (_, problems) = extracted_from(&repository, &point, &["/"], &root.path().join("to"), options);
    assert_eq!(outside(root.path()), before);
    problems
}

#[test]
fn nothing_leaves_the_directory() {
    type Make = fn(Archive, &str) -> Archive;
    let hostile: &[(&str, Make)] = &[
        ("dots", |archive, _| archive.file("../victim/file", b"bad")),
        ("dots inside", |archive, _| archive.file("a/../../victim/file", b"bad")),
        ("dots at the end", |archive, _| archive.directory("a/..")),
        ("absolute", |archive, root| archive.file(&format!("{root}/victim/file"), b"bad")),
        ("a link and through it", |archive, _| archive.symlink("a", "../victim").file("a/file", b"bad")),
        ("an absolute link", |archive, root| {
            archive.symlink("a", &format!("{root}/victim")).file("a/file", b"bad").directory("a/new")
        }),
        ("a link in place of a directory", |archive, _| {
            archive.directory("a").symlink("a", "../victim").file("a/file", b"bad")
        }),
        ("a link to a link", |archive, _| archive.symlink("a", "..").symlink("b", "a/victim").file("b/file", b"bad")),
        ("a link as a file", |archive, _| archive.symlink("a", "../victim/file").file("a", b"bad")),
        ("a link as a directory", |archive, _| archive.symlink("a", "../victim").directory("a").file("a/file", b"ok")),
        ("a planted link", |archive, _| archive.file("planted/file", b"bad").directory("planted/new")),
        ("a planted link as a directory", |archive, _| archive.directory("planted").file("planted/file", b"bad")),
        ("a planted link as a file", |archive, _| archive.file("planted-file", b"bad")),
        ("a hard link to a planted link", |archive, _| archive.hard_link("a", "planted-file")),
        ("a hard link through a planted link", |archive, _| archive.hard_link("a", "planted/file")),
        ("a hard link out", |archive, root| {
            archive.hard_link("a", "../victim/file").hard_link("b", &format!("{root}/victim/file")).file("a", b"bad")
        }),
        ("a hard link to a link", |archive, _| {
            archive.symlink("a", "../victim/file").hard_link("b", "a").file("b", b"bad")
        }),
        ("a hard link to itself", |archive, _| archive.hard_link("a", "a").hard_link("b", "c").hard_link("c", "b")),
        ("a FIFO as a directory", |archive, _| {
            archive.member(b"a", EntryType::Fifo, b"", &[], b"").file("a/file", b"bad")
        }),
        ("a device as a directory", |archive, _| {
            archive.member(b"a", EntryType::Char, b"", &[], b"").file("a/file", b"bad")
        }),
        ("a FIFO as a file", |archive, _| archive.member(b"a", EntryType::Fifo, b"", &[], b"").file("a", b"ok")),
        ("a file as a directory", |archive, _| archive.file("a", b"a").file("a/file", b"bad")),
        ("a NUL", |archive, _| archive.member(b"a\0/../../victim/file", EntryType::Regular, b"", &[], b"bad")),
        ("no name", |archive, _| archive.file("./", b"bad").file("/", b"bad").file(".", b"bad")),
        ("a deep one", |archive, _| archive.file(&format!("{}file", "d/".repeat(5000)), b"bad")),
        ("a long name", |archive, _| archive.file(&"n".repeat(5000), b"bad")),
        ("modes of what is planted", |archive, _| archive.directory("planted").symlink("planted-file", "x")),
    ];
    for (what, make) in hostile {
        let problems = assert_stays_inside(make, OPTIONS);
        let with_force = ExtractOptions { overwrite: Overwrite::Replace, ..OPTIONS };
        assert_stays_inside(make, with_force);
        let harmless = ["absolute", "a link as a file", "a link as a directory", "a FIFO as a file", "no name"];
        assert!(harmless.contains(what) || *what == "a hard link to a link" || !problems.is_empty(), "{what}");
    }
}

/// What a name may be made of.
fn part() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "..", ".", "", "planted", "planted-file", "victim", "file", "a\0", "\n"])
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(part(), 1..5).prop_map(|parts| parts.join("/"))
}

proptest! {
    #[test]
    fn no_archive_of_such_names_leaves_the_directory(
        members in prop::collection::vec((path(), path(), 0..6_u8), 1..12),
        force: bool,
    ) {
        let overwrite = if force { Overwrite::Replace } else { Overwrite::Never };
        assert_stays_inside(
            |archive, _| {
                let archive = archive.file("first", b"harmless");
                members.iter().filter(|(path, ..)| !path.is_empty()).fold(archive, |archive, (path, link, kind)| {
                    let (path, link) = (path.as_bytes(), link.as_bytes());
                    match kind {
                        0 => archive.member(path, EntryType::Directory, b"", &[], b""),
                        1 => archive.member(path, EntryType::Symlink, link, &[], b""),
                        2 => archive.member(path, EntryType::Link, link, &[], b""),
                        3 => archive.member(path, EntryType::Fifo, b"", &[], b""),
                        4 => archive.member(path, EntryType::Regular, b"", &[], &[7; 700]),
                        _ => archive.member(path, EntryType::Regular, b"", &[], b"bad"),
                    }
                })
            },
            ExtractOptions { overwrite, ..OPTIONS },
        );
    }
}

/// A container with this many files of which each has some bytes of its own, at the same places every time.
fn many(files: u64, change: impl Fn(u64) -> Option<Vec<u8>>) -> Archive {
    let mut bytes = Vec::new();
    let mut header = tar::Header::new_ustar();
    for number in 0..files {
        let Some(content) = change(number) else { continue };
        header.set_path(rootfs(&format!("d{:04}/f{number:08}", number / 500))).unwrap();
        header.set_mode(0o644);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    let mut archive = Archive::export();
    archive.0.extend(bytes);
    archive
}

fn own(number: u64) -> Vec<u8> {
    noise(number, 600)
}

/// Bytes of packs that were read since the last look, listings not counted.
fn pack_bytes(store: &RecordingStore<MemoryStore>) -> u64 {
    let is_read = |one: &&Recorded| one.operation == Operation::GetRange || one.operation == Operation::Get;
    store.take().iter().filter(is_read).filter(|one| one.kind() == "packs").map(|one| one.amount).sum()
}

fn told(repository: &Repository, one: &Point, other: &Point) -> Vec<(String, Change)> {
    let mut told = Vec::new();
    diff(repository, one, other, &Region::Main, &Silent, &mut |difference| {
        told.push((String::from_utf8_lossy(&difference.path).into_owned(), difference.change.clone()));
    })
    .unwrap();
    told
}

#[test]
fn points_differ_in_what_was_changed_and_equal_parts_are_not_read() {
    let repository = new();
    let before = many(20_000, |number| (number != 4000).then(|| own(number)));
    let after = many(20_000, |number| match number {
        7000 => None,
        12_345 => Some(noise(99, 600)),
        _ => Some(own(number)),
    });
    import_bytes(&repository, &before.finish()[..], None).unwrap();
    import_bytes(&repository, &after.finish()[..], None).unwrap();
    let points: Vec<Point> = points(&repository).into_iter().map(|(_, point)| point).collect();
    let [one, other] = &points[..] else { panic!("two points") };
    let (one, other) = if told(&repository, one, other).contains(&("d0008/f00004000".to_owned(), Change::Added)) {
        (one, other)
    } else {
        (other, one)
    };
    let expected = [
        ("d0008/f00004000".to_owned(), Change::Added),
        ("d0014/f00007000".to_owned(), Change::Removed),
        ("d0024/f00012345".to_owned(), Change::Changed(vec!["content"])),
    ];
    assert_eq!(told(&repository, one, other), expected);
    let mut differences = 0;
    let compared = diff(&repository, one, other, &Region::Main, &Silent, &mut |_| differences += 1).unwrap();
    let share = compared.passed_over_bytes * 100 / one.content.stream_len;
    // Each of the three changes costs the parts around it, of which the stream has some ninety.
    assert!(differences == 3 && share > 60, "{share} % passed over");
    // The trees of a whole archive are compared member by member.
    let compared = diff(&repository, one, other, &Region::Raw, &Silent, &mut |_| differences += 1).unwrap();
    assert_eq!((differences, compared.passed_over_bytes), (6, 0));
    assert!(told(&repository, one, one).is_empty());
}

/// A file that goes on over parts that are the same, and ends in one that is not.
#[test]
fn a_change_late_in_a_long_file_is_found() {
    let repository = new();
    let long = noise(1, 60_000_000);
    let mut changed = long.clone();
    let at = changed.len() - 10;
    changed[at] ^= 1;
    for content in [&long, &changed] {
        let archive = many(8000, |number| Some(own(number))).file(&rootfs("e"), content).file(&rootfs("f"), b"end");
        import_bytes(&repository, &archive.finish()[..], None).unwrap();
    }
    let points: Vec<Point> = points(&repository).into_iter().map(|(_, point)| point).collect();
    let found = told(&repository, &points[0], &points[1]);
    assert_eq!(found, [("e".to_owned(), Change::Changed(vec!["content"]))]);
}

#[test]
fn archives_in_an_order_of_their_own_are_compared_all_the_same() {
    let repository = new();
    for content in [b"one", b"two"] {
        let archive = Archive::new().file("z", content).file("a", b"same").file("z/../y", b"nobody's");
        import_bytes(&repository, &archive.finish()[..], Some("file:x")).unwrap();
    }
    let points: Vec<Point> = points(&repository).into_iter().map(|(_, point)| point).collect();
    let found = told(&repository, &points[0], &points[1]);
    assert_eq!(found, [("z".to_owned(), Change::Changed(vec!["content"]))]);
    let plain = import_bytes(&repository, &b"no archive"[..], Some("file:y"));
    plain.unwrap();
    let (_, other) =
        crate::fixture::points(&repository).into_iter().find(|(_, point)| point.source.name == "y").unwrap();
    let error = diff(&repository, &points[0], &other, &Region::Main, &Silent, &mut |_| {}).unwrap_err();
    assert!(matches!(error, DiffError::Browse(BrowseError::NotAnArchive { .. })), "{error}");
}

/// An archive that is made while it is read: many small files, and some that are long and hold zeros mostly.
struct Vast {
    files: u64,
    next: u64,
    ready: io::Cursor<Vec<u8>>,
}

impl Vast {
    const LONG_EVERY: u64 = 1000;
    const LONG_BYTES: usize = 10 << 20;

    fn path(number: u64) -> String {
        rootfs(&format!("d{:04}/f{number:08}", number / 500))
    }
}

impl Read for Vast {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.ready.read(into)? {
                0 if self.next == self.files => {
                    self.ready = io::Cursor::new(vec![0; 1024]);
                    self.next += 1;
                }
                0 if self.next > self.files => return Ok(0),
                0 => {
                    let content = if self.next % Self::LONG_EVERY == 7 {
                        vec![0; Self::LONG_BYTES]
                    } else {
                        noise(self.next, 4096)
                    };
                    let mut header = tar::Header::new_ustar();
                    header.set_path(Self::path(self.next)).unwrap();
                    header.set_mode(0o644);
                    header.set_size(content.len() as u64);
                    header.set_cksum();
                    let mut bytes = [header.as_bytes(), &content[..]].concat();
                    bytes.resize(bytes.len().next_multiple_of(512), 0);
                    self.ready = io::Cursor::new(bytes);
                    self.next += 1;
                }
                read => return Ok(read),
            }
        }
    }
}

#[test]
fn one_small_file_of_a_vast_point_costs_little_reading() {
    const FILES: u64 = 200_000;
    const BYTES_MAX: u64 = 8 << 20;
    let store = Arc::new(RecordingStore::new(MemoryStore::new()));
    let repository = init(Arc::<RecordingStore<MemoryStore>>::clone(&store));
    let head = io::Cursor::new(Archive::export().0);
    let vast = head.chain(Vast { files: FILES, next: 0, ready: io::Cursor::default() });
    import_bytes(&repository, vast, None).unwrap();
    let point = points(&repository).pop().unwrap().1;
    let table: u64 = point.content.table.iter().map(|chunk| u64::from(chunk.len)).sum();
    drop(repository);
    let repository = reopen(Arc::<RecordingStore<MemoryStore>>::clone(&store));
    let to = tempfile::tempdir().unwrap();
    for number in [123_456, 0, FILES - 1] {
        let path = Vast::path(number);
        let path = path.strip_prefix(&rootfs("")).unwrap();
        drop(store.take());
        let (done, problems) = extracted_from(&repository, &point, &[path], to.path(), OPTIONS);
        assert_eq!((done.files, done.bytes, problems.len()), (1, 4096, 0));
        assert!(fs::read(to.path().join(&path[1..])).unwrap() == noise(number, 4096));
        let read = pack_bytes(&store);
        println!("read {read} bytes for one file; stream {}, table {table}", point.content.stream_len);
        assert!(read < BYTES_MAX, "{read}");
    }
    drop(store.take());
    assert_eq!(listed(&repository, &point, &Region::Main, "/", Depth::Directory).len() as u64, FILES / 500);
    let read = pack_bytes(&store);
    println!("read {read} bytes to list the root");
}

#[test]
fn stats_count_what_is_stored() {
    let repository = new();
    for source in ["file:a", "file:b"] {
        import_bytes(&repository, &noise(1, 1_000_000)[..], Some(source)).unwrap();
    }
    let stats = stats(&repository, &Silent).unwrap();
    assert_eq!((stats.points, stats.sources, stats.logical_bytes), (2, 2, 2_000_000));
    assert!((1_000_000..1_500_000).contains(&stats.stored_bytes()), "{stats:?}");
    let points = stats.usage.iter().find(|usage| usage.kind == "points").unwrap();
    assert_eq!(points.objects, 2);
}

#[test]
fn a_pack_that_is_gone_costs_the_files_in_it_and_no_other() {
    let store = Arc::new(MemoryStore::new());
    let repository = init(Arc::<MemoryStore>::clone(&store));
    let lost = noise(1, 300_000);
    let archive = || Archive::export().file(&rootfs("a"), &lost);
    import_bytes(&repository, &archive().finish()[..], None).unwrap();
    // The pack with the noise is by far the larger of the two.
    let (data, bytes) = repository.list_packs().unwrap().into_iter().max_by_key(|(_, bytes)| *bytes).unwrap();
    assert!(bytes > 300_000);
    let archive = archive().file(&rootfs("b"), &noise(2, 300_000)).file(&rootfs("c"), b"small");
    import_bytes(&repository, &archive.finish()[..], None).unwrap();
    let name = format!("packs/{}/{data}", &data.to_string()[..1]).parse().unwrap();
    assert!(store.get(&name, 1 << 30).is_ok());
    store.delete(&name).unwrap();
    let repository = reopen(store);
    let (_, point) = points(&repository).into_iter().max_by_key(|(_, point)| point.content.stream_len).unwrap();
    let to = tempfile::tempdir().unwrap();
    let (done, problems) = extracted_from(&repository, &point, &["/"], to.path(), OPTIONS);
    assert_eq!((done.damaged, problems.len()), (1, 1), "{problems:?}");
    assert!(fs::read(to.path().join("b")).unwrap() == noise(2, 300_000));
    assert_eq!(fs::read(to.path().join("c")).unwrap(), b"small");
    assert!(!to.path().join("a").exists());
}
