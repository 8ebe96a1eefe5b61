//! A repository of format version 1 that was written once: every later program must open, check and export it.
//!
//! `tests/fixtures/repo-v1` is never edited. Version control keeps no empty directories, so the test brings the objects
//! into a store that has all of them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdall::backup::{ImportRequest, Run, import};
use holdall::check::{CheckLevel, check};
use holdall::chunk::ChunkParams;
use holdall::clock::{FixedClock, Timestamp};
use holdall::crypto::{
    Access, Argon2Cost, GivenName, KeyFile, Passphrase, ReadKeys, SlotKey, Unlock, seal_free, seal_given,
};
use holdall::id::{CondemnedId, PackId, PointId, RepositoryId, RunId};
use holdall::monitor::Silent;
use holdall::point::StreamForm;
use holdall::repo::{Condemned, Config, IndexPlace, Parity, Repository, SessionRecord};
use holdall::store::{Directory, LocalStore, MemoryStore, Name, Put, Store};
use tar::EntryType;

use crate::fixture::{export_bytes, import_bytes, noise, points};

const PASSPHRASE: &str = "correct horse battery staple";
const DIRECTORIES: [&str; 9] =
    ["config", "keys", "packs", "index", "points", "sessions", "condemned", "beats", "notes"];

fn place(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/repo-v1", name].iter().collect()
}

fn key_file() -> KeyFile {
    KeyFile::parse(&std::fs::read(place("key")).unwrap()).unwrap()
}

/// The fixture's objects in a store of their own.
fn store() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    for directory in DIRECTORIES {
        store.make_directory(&directory.parse().unwrap()).unwrap();
    }
    for shard in "packs".parse::<Directory>().unwrap().shards() {
        store.make_directory(&shard).unwrap();
    }
    let root = place("repository");
    bring(&store, &root, &root);
    store
}

fn bring(store: &MemoryStore, root: &Path, directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bring(store, root, &path);
        } else {
            let name: Name = path.strip_prefix(root).unwrap().to_str().unwrap().parse().unwrap();
            assert_eq!(store.put(&name, &[&std::fs::read(&path).unwrap()]).unwrap(), Put::Created);
        }
    }
}

fn open(store: Arc<MemoryStore>, unlock: Unlock<'_>) -> Repository {
    let (repository, refreshed) = Repository::open(store, unlock, IndexPlace::Memory).unwrap();
    assert!(refreshed.damaged.is_empty());
    repository
}

#[test]
fn the_repository_of_version_1_opens_with_either_key_and_is_sound() {
    let passphrase = Passphrase::new(PASSPHRASE.as_bytes().to_vec()).unwrap();
    for unlock in [Unlock::KeyFile(&key_file()), Unlock::Passphrase(&passphrase)] {
        let repository = open(store(), unlock);
        assert_eq!(repository.config().envelope, ChunkParams::new(256, 512, 1024).unwrap());
        let report = check(&repository, CheckLevel::ReadData, &Silent).unwrap();
        assert!(report.is_clean(), "{:?}", report.findings);
        assert_eq!(report.points, 5);
    }
}

#[test]
fn the_points_of_version_1_are_exported_byte_for_byte() {
    let repository = open(store(), Unlock::KeyFile(&key_file()));
    let mut texts = Vec::new();
    for (id, point) in points(&repository) {
        assert!(export_bytes(&repository, &point) == std::fs::read(place("exports").join(id.to_string())).unwrap());
        let codec = point.original.as_ref().map_or("", |original| original.codec.as_str());
        texts.push(format!("{} {:?} {codec}", point.source, point.form));
    }
    texts.sort();
    let export = StreamForm::Export { optimized: false };
    let file = StreamForm::File;
    let expected = [
        format!("file:empty {file:?} "),
        format!("file:with a tail {file:?} "),
        format!("file:zeros {file:?} "),
        format!("host//lab/web1 {export:?} "),
        format!("host//lab/web1 {export:?} gzip"),
    ];
    assert_eq!(texts, expected);
}

/// The secrets, the division of the stream and the cuts are part of the format for writers: what differs costs space.
#[test]
fn a_stream_of_version_1_makes_the_same_recipe_today() {
    let repository = open(store(), Unlock::KeyFile(&key_file()));
    for (id, before) in points(&repository) {
        let bytes = std::fs::read(place("exports").join(id.to_string())).unwrap();
        let made = import_bytes(&repository, &bytes[..], Some("file:again")).unwrap().made.remove(0);
        assert_eq!(made.statistics.new_chunks, 0, "{}", before.source);
        let (_, after) = points(&repository).into_iter().find(|(id, _)| *id == made.point).unwrap();
        assert_eq!(after.content.recipe_digest, before.content.recipe_digest, "{}", before.source);
    }
}

/// An export of a container, small, with every kind of step in its recipe; `day` changes one of its files.
fn container(day: u64) -> Vec<u8> {
    let index = "name: web1\nbackend: dir\npool: default\nsnapshots: []\noptimized: false\n\
                 optimized_header: false\ntype: container\nconfig:\n  container:\n    project: lab\n";
    let mut data = noise(1, 12_000);
    data[5000..5010].copy_from_slice(&noise(day, 10));
    let sparse = [noise(2, 3000), vec![0; 70_000], noise(3, 2000)].concat();
    let text = b"All that glitters is not gold. ".repeat(160);
    let long = format!("backup/container/rootfs/{}/long", "a-long-name".repeat(12));
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: EntryType, link: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        header.set_mtime(1_795_219_200 + day);
        if link.is_empty() {
            tar.append_data(&mut header, path, bytes).unwrap();
        } else {
            tar.append_link(&mut header, path, link).unwrap();
        }
    };
    add("backup/index.yaml", EntryType::Regular, "", index.as_bytes());
    add("backup/container/", EntryType::Directory, "", b"");
    add("backup/container/backup.yaml", EntryType::Regular, "", &b"container: {}\n".repeat(50));
    add("backup/container/rootfs/", EntryType::Directory, "", b"");
    add("backup/container/rootfs/hostname", EntryType::Regular, "", b"web1\n");
    add("backup/container/rootfs/data", EntryType::Regular, "", &data);
    add("backup/container/rootfs/sparse", EntryType::Regular, "", &sparse);
    add("backup/container/rootfs/hard", EntryType::Link, "backup/container/rootfs/data", b"");
    add("backup/container/rootfs/symbolic", EntryType::Symlink, "data", b"");
    add("backup/container/rootfs/text", EntryType::Regular, "", &text);
    add("backup/container/rootfs/empty", EntryType::Regular, "", b"");
    add(&long, EntryType::Regular, "", &noise(4, 4096));
    tar.into_inner().unwrap()
}

/// A tar of thirty small files, none so small that it is inline, and what follows its end.
fn with_a_tail() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for n in 0..30_u64 {
        let mut header = tar::Header::new_ustar();
        header.set_size(4200);
        header.set_cksum();
        let text = format!("This is file {n}. ").repeat(300);
        tar.append_data(&mut header, format!("files/{n}"), &text.as_bytes()[..4200]).unwrap();
    }
    [tar.into_inner().unwrap(), noise(5, 6000)].concat()
}

fn clock(day: u64) -> FixedClock {
    FixedClock(Timestamp::from_micros(1_795_219_200_000_000 + day * 86_400_000_000).unwrap())
}

fn run(repository: &Repository, day: u64, streams: &[(&str, Vec<u8>)]) {
    let clock = clock(day);
    let mut run = Run::begin(repository, &Silent, &clock, "backup-host").unwrap();
    for (source, bytes) in streams {
        let source = if source.is_empty() { None } else { Some(source.parse().unwrap()) };
        let (label, server) = (String::new(), "host".to_owned());
        import(&mut run, ImportRequest { label, input: &mut &bytes[..], bytes: None, source, server }).unwrap();
    }
    run.finish().unwrap();
}

/// A dead session with its void, a session that nobody ended yet, and a condemned object that a dead prune left.
fn leftovers(repository: &Repository) {
    let (keys, store) = (repository.write_keys(), repository.store());
    let put = |directory: &str, id: &[u8; 32], bytes: &[u8]| {
        let name = directory.parse::<Directory>().unwrap().id(id);
        assert_eq!(store.put(&name, &[bytes]).unwrap(), Put::Created);
    };
    let fenced = PointId::random().unwrap();
    put("points", fenced.as_bytes(), &seal_given(keys, GivenName::Void(fenced), &[]).unwrap());
    let open = PointId::random().unwrap();
    let record = SessionRecord {
        run: RunId::random().unwrap(),
        host: "backup-host".into(),
        boot: "a boot long ago".into(),
        process: 1234,
        process_start: 5678,
        started: clock(2).0,
    };
    put("sessions", open.as_bytes(), &seal_given(keys, GivenName::Session(open), &record.encode()).unwrap());
    let condemned = Condemned { packs: vec![PackId::random().unwrap()] };
    let (id, sealed) = seal_free::<CondemnedId>(keys, &condemned.encode()).unwrap();
    put("condemned", id.as_bytes(), &sealed);
}

/// Makes the fixture where there is none. A released one is never made again.
#[test]
#[ignore = "writes files into the source tree"]
#[expect(clippy::disallowed_methods, reason = "what stands beside the repository is no object of a store")]
fn a_missing_repository_of_version_1_is_written() {
    if place("repository").exists() {
        return;
    }
    std::fs::create_dir_all(place("exports")).unwrap();
    let key_file = KeyFile::fixed([7; 32]);
    std::fs::write(place("key"), key_file.to_text().as_bytes()).unwrap();
    let keys = ReadKeys::fixed(RepositoryId::from_bytes([1; 32]), [2; 32], [3; 32]).unwrap();
    let params = |min, avg, max| ChunkParams::new(min, avg, max).unwrap();
    let first = Config::new(clock(0).0, 0, Parity::ReedSolomon);
    let small = Config { payload: params(512, 1024, 4096), envelope: params(256, 512, 1024), ..first };
    let store = Arc::new(LocalStore::create(&place("repository")).unwrap());
    let store: Arc<dyn Store> = store;
    Repository::init_fixed(&*store, &keys, &SlotKey::KeyFile(&key_file), first.created, &[first, small]).unwrap();
    let (repository, _) = Repository::open(store, Unlock::KeyFile(&key_file), IndexPlace::Memory).unwrap();
    let passphrase = Passphrase::new(PASSPHRASE.as_bytes().to_vec()).unwrap();
    let slot = SlotKey::Passphrase(&passphrase, Argon2Cost::cheap());
    repository.add_key(&slot, Access::Full, "for tests", first.created).unwrap();
    let passphrase = Passphrase::new(b"write only".to_vec()).unwrap();
    let slot = SlotKey::Passphrase(&passphrase, Argon2Cost::cheap());
    repository.add_key(&slot, Access::WriteOnly, "a backup host", first.created).unwrap();
    run(&repository, 0, &[("", container(0)), ("file:with a tail", with_a_tail())]);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&container(1)).unwrap();
    let packed = packed.finish().unwrap();
    run(&repository, 1, &[("", packed), ("file:empty", Vec::new()), ("file:zeros", vec![0; 200_000])]);
    leftovers(&repository);
    for (id, point) in points(&repository) {
        std::fs::write(place("exports").join(id.to_string()), export_bytes(&repository, &point)).unwrap();
    }
}
