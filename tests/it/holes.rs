//! Going around what is lost: each chunk of a point in turn, and what is left comes back under its name, told from what
//! does not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::{Arc, Mutex};

use holdall::check::{CheckLevel, check};
use holdall::daemon::Flavor;
use holdall::daemon::fake::{FakeDaemon, FakeInstance};
use holdall::id::{ChunkId, RunId};
use holdall::monitor::{Event, Monitor, Silent};
use holdall::pack::PackKind;
use holdall::point::Point;
use holdall::recipe::ChunkRef;
use holdall::repo::{Reader, Repository, Writer, recipe_chunks};
use holdall::restore::{Digest, Exported, Lost, RestoreTarget, export, export_around, restore};
use holdall::store::MemoryStore;

use crate::fixture::{import_bytes, init, new, noise, points, reopen};

/// Keeps what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<(String, String)>>);

impl Monitor for Told {
    fn event(&self, event: Event) {
        if let Event::Problem(problem) = event {
            self.0.lock().unwrap().push((problem.object, problem.message));
        }
    }
}

/// The store with everything that it held, but for some chunks.
fn without(store: &MemoryStore, lost: &BTreeSet<ChunkId>) -> Repository {
    let copy = Arc::new(store.copy());
    let repository = reopen(Arc::<MemoryStore>::clone(&copy));
    let old = repository.list_packs().unwrap();
    let writer = Writer::new(&repository, RunId::random().unwrap());
    let mut reader = Reader::new(&repository).unwrap();
    for (_, point) in points(&repository) {
        let ids: Vec<ChunkId> = recipe_chunks(&repository, &point).unwrap().into_iter().collect();
        for (id, facts) in ids.iter().zip(repository.index().facts(&ids).unwrap()) {
            if !lost.contains(id) {
                let chunk = ChunkRef { id: *id, len: facts[0].at.len };
                writer.copy(PackKind::Data, *id, &reader.chunk(chunk).unwrap()).unwrap();
            }
        }
    }
    writer.store_packs().unwrap();
    writer.name_packs().unwrap();
    for (pack, _) in old {
        assert!(repository.remove_pack(pack).unwrap());
    }
    reopen(copy)
}

fn around(repository: &Repository, point: &Point) -> (Exported, Vec<u8>, Vec<(String, String)>) {
    let (mut bytes, told) = (Vec::new(), Told::default());
    let exported =
        export_around(repository, "x", point, &mut bytes, (Digest::None, Lost::GoAround), &told).expect("it goes on");
    (exported, bytes, told.0.into_inner().unwrap())
}

/// An export with many small files, large ones, and hard links at its end; parts of its recipe hold some of them each.
fn archive() -> Vec<u8> {
    let mut instance = FakeInstance::container("web1").file("srv/first", &noise(1, 900_000));
    for number in 0..1500 {
        instance = instance.file(&format!("srv/many/{number:04}"), &noise(number, 700));
    }
    let export = instance.file("srv/zlast", &noise(2, 900_000)).export();
    let mut links = tar::Builder::new(Vec::new());
    for number in (0..1500).step_by(100) {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Link);
        header.set_size(0);
        let target = format!("backup/container/rootfs/srv/many/{number:04}");
        links.append_link(&mut header, format!("backup/container/rootfs/srv/zz-{number:04}"), target).unwrap();
    }
    [&export[..export.len() - 1024], &links.into_inner().unwrap()].concat()
}

/// Members in order: path, where a link leads, content.
type Members = Vec<(String, Option<String>, Vec<u8>)>;

fn members(bytes: &[u8]) -> Members {
    assert!(bytes.len().is_multiple_of(512) && bytes.ends_with(&[0; 1024]), "it is a complete archive");
    let text = |path: std::borrow::Cow<'_, [u8]>| String::from_utf8(path.into_owned()).unwrap();
    let mut archive = tar::Archive::new(bytes);
    let members = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (text(entry.path_bytes()), entry.link_name_bytes().map(text), content)
    });
    members.collect()
}

#[test]
fn any_chunk_of_an_archive_may_be_lost_and_the_rest_comes_back() {
    let store = Arc::new(MemoryStore::new());
    let bytes = archive();
    let repository = init(Arc::<MemoryStore>::clone(&store));
    import_bytes(&repository, &bytes[..], None).unwrap();
    let (_, point) = points(&repository).remove(0);
    let whole = members(&bytes);
    let chunks = recipe_chunks(&repository, &point).unwrap();
    let (mut left_out, mut zeroed, mut unlinked) = (0, 0, 0);
    for chunk in &chunks {
        let damaged = without(&store, &BTreeSet::from([*chunk]));
        assert!(export(&damaged, "x", &point, &mut Vec::new(), Digest::None, &Silent).is_err());
        let checked = check(&damaged, CheckLevel::Structure, &Silent).unwrap();
        let losing: BTreeSet<&str> =
            checked.findings.iter().flat_map(|finding| &finding.files).map(String::as_str).collect();
        assert!(checked.lacking.values().all(|lost| *lost > 0), "{checked:?}");
        let (exported, got, told) = around(&damaged, &point);
        assert_eq!((exported.holes, exported.bytes), (told.len() as u64, got.len() as u64));
        assert!(
            exported.holes > 0
                && told.iter().all(|(_, message)| message.contains("lost") || message.contains("left out"))
        );
        let objects: BTreeSet<&str> = told.iter().map(|(object, _)| object.as_str()).collect();
        let found: BTreeMap<_, _> =
            members(&got).into_iter().map(|(path, link, content)| (path, (link, content))).collect();
        let mut is_gap_told = false;
        for (path, link, content) in &whole {
            let Some((found_link, found_content)) = found.get(path) else {
                is_gap_told |= objects.contains(path.as_str()) || objects.len() == 1 && exported.holes == 1;
                assert!(is_gap_told, "{path} is left out and nothing tells why: {told:?}");
                left_out += 1;
                unlinked += usize::from(link.is_some());
                continue;
            };
            is_gap_told = false;
            assert_eq!((found_link, found_content.len()), (link, content.len()), "{path}");
            if let Some(target) = link {
                assert!(found.contains_key(target), "{path} leads to {target}, which is left out");
            }
            let is_same = found_content == content;
            zeroed += usize::from(!is_same);
            assert!(is_same || objects.contains(path.as_str()), "{path} is another and nobody was told: {told:?}");
            assert!(is_same || losing.contains(path.as_str()), "{path} is another and no check says so: {losing:?}");
            assert!(found_content.iter().zip(content).all(|(found, was)| found == was || *found == 0), "{path}");
        }
    }
    assert!(chunks.len() > 30 && left_out > 2000 && zeroed > 3 && unlinked > 10, "{left_out} {zeroed} {unlinked}");
}

#[test]
fn bytes_that_are_no_archive_keep_their_length_and_place() {
    let store = Arc::new(MemoryStore::new());
    let bytes = noise(3, 12_000_000);
    let repository = init(Arc::<MemoryStore>::clone(&store));
    import_bytes(&repository, &bytes[..], Some("file:x")).unwrap();
    let (_, point) = points(&repository).remove(0);
    for chunk in &recipe_chunks(&repository, &point).unwrap() {
        let (exported, got, told) = around(&without(&store, &BTreeSet::from([*chunk])), &point);
        assert!(exported.holes == 1 && got.len() == bytes.len(), "{told:?}");
        assert!(got != bytes && got.iter().zip(&bytes).all(|(got, was)| got == was || *got == 0));
        assert!(told[0].1.contains("are lost and zeros now"), "{told:?}");
    }
}

#[test]
fn a_stream_without_holes_is_the_same_byte_for_byte() {
    let archive = archive();
    let padded = [&archive[..], &[0; 9000]].concat();
    let trailing = [&archive[..], &[0; 700], b"and more"].concat();
    for (bytes, source) in [(&padded, None), (&padded, Some("file:x")), (&trailing, Some("file:x")), (&archive, None)] {
        let repository = new();
        import_bytes(&repository, &bytes[..], source).unwrap();
        let (exported, got, told) = around(&repository, &points(&repository)[0].1);
        assert!(exported.holes == 0 && told.is_empty() && got == *bytes, "{} of {}", got.len(), bytes.len());
    }
}

#[test]
fn a_daemon_takes_an_instance_with_holes() {
    let store = Arc::new(MemoryStore::new());
    let repository = init(Arc::<MemoryStore>::clone(&store));
    import_bytes(&repository, &archive()[..], None).unwrap();
    let (_, point) = points(&repository).remove(0);
    let chunks: Vec<ChunkId> = recipe_chunks(&repository, &point).unwrap().into_iter().collect();
    let (mut restored, daemon) = (0, FakeDaemon::new(Flavor::Incus));
    for (number, chunk) in chunks.iter().enumerate() {
        let damaged = without(&store, &BTreeSet::from([*chunk]));
        let target =
            RestoreTarget { name: Some(format!("web-{number}")), lost: Lost::GoAround, ..RestoreTarget::default() };
        let told = Told::default();
        match restore(&damaged, &daemon, "x", &point, &target, &told) {
            Ok(done) => {
                let told = told.0.into_inner().unwrap();
                assert_eq!((done.holes > 0, done.holes), (true, told.len() as u64), "{told:?}");
                let import = daemon.imports().pop().unwrap();
                assert!(import.accepted);
                members(&import.bytes);
                restored += 1;
            }
            // Without its index nobody knows what it is.
            Err(error) => assert!(error.to_string().contains('x'), "{error}"),
        }
        let target = RestoreTarget { name: Some(format!("not-{number}")), ..RestoreTarget::default() };
        assert!(restore(&damaged, &daemon, "x", &point, &target, &Silent).is_err());
    }
    assert!(restored * 10 >= chunks.len() * 8, "{restored} of {}", chunks.len());
}
