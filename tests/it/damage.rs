//! What is damaged or missing is named, and never restored as something else.

use std::sync::Arc;

use holdall::backup::{ImportRequest, Run, import};
use holdall::check::{CheckLevel, Report, Severity, check};
use holdall::monitor::Silent;
use holdall::repo::{Parity, Repository};
use holdall::restore::{Digest, export};
use holdall::store::{Directory, MemoryStore, Name, Store};

use crate::fixture::{export_bytes, import_bytes, init, init_with, noise, points, reopen, tar_of_noise};

/// Every object of the store.
pub fn objects(store: &MemoryStore) -> Vec<Name> {
    let mut names = Vec::new();
    for directory in ["config", "keys", "index", "points", "notes", "sessions", "condemned"] {
        let directory: Directory = directory.parse().unwrap();
        names.extend(store.list(&directory).unwrap().into_iter().map(|listed| listed.name));
    }
    for shard in "packs".parse::<Directory>().unwrap().shards() {
        names.extend(store.list(&shard).unwrap().into_iter().map(|listed| listed.name));
    }
    names
}

fn copy_without(store: &MemoryStore, left_out: &Name) -> Arc<MemoryStore> {
    copy_with(store, |name, bytes| if name == left_out { None } else { Some(bytes) })
}

pub fn copy_with(store: &MemoryStore, change: impl Fn(&Name, Vec<u8>) -> Option<Vec<u8>>) -> Arc<MemoryStore> {
    let copy = Arc::new(MemoryStore::new());
    for directory in ["config", "keys", "index", "points", "notes", "sessions", "condemned", "packs"] {
        copy.make_directory(&directory.parse().unwrap()).unwrap();
    }
    for shard in "packs".parse::<Directory>().unwrap().shards() {
        copy.make_directory(&shard).unwrap();
    }
    for name in objects(store) {
        let bytes = store.get(&name, usize::MAX).unwrap();
        if let Some(bytes) = change(&name, bytes) {
            let _ = copy.put(&name, &[&bytes]).unwrap();
        }
    }
    copy
}

fn small_repository() -> (Arc<MemoryStore>, Vec<u8>) {
    small_repository_with(Parity::ReedSolomon)
}

fn small_repository_with(parity: Parity) -> (Arc<MemoryStore>, Vec<u8>) {
    let store = Arc::new(MemoryStore::new());
    let repository = init_with(Arc::<MemoryStore>::clone(&store), parity);
    let bytes = [tar_of_noise(20, 4100), noise(3, 5000)].concat();
    import_bytes(&repository, &bytes[..], Some("file:x")).unwrap();
    (store, bytes)
}

fn check_data(repository: &Repository) -> Report {
    check(repository, CheckLevel::ReadData, &Silent).unwrap()
}

#[test]
fn a_sound_repository_is_clean() {
    let (store, bytes) = small_repository();
    let repository = reopen(store);
    let report = check_data(&repository);
    assert!(report.is_clean(), "{:?}", report.findings);
    assert!(report.points == 1 && report.chunks > 20 && report.bytes_read > bytes.len() as u64 / 2);
}

#[test]
fn a_pack_that_was_cut_off_is_not_referred_to_again_and_the_next_import_heals_it() {
    let (store, bytes) = small_repository();
    for pack in objects(&store).into_iter().filter(|name| name.as_str().starts_with("packs/")) {
        let shorter = copy_with(&store, |name, mut bytes| {
            if *name == pack {
                bytes.truncate(bytes.len() - 1000);
            }
            Some(bytes)
        });
        let repository = reopen(shorter);
        let summary = import_bytes(&repository, &bytes[..], Some("file:x")).unwrap();
        assert!(summary.stored_bytes > 0, "{pack}");
        for (_, point) in points(&repository) {
            assert!(export_bytes(&repository, &point) == bytes, "{pack}");
        }
    }
}

/// Somebody with write keys could otherwise make a restore write for years.
#[test]
fn a_table_that_makes_more_than_its_point_says_is_refused_at_once() {
    let (store, _) = small_repository();
    let repository = reopen(store);
    let (_, mut point) = points(&repository).remove(0);
    point.content.stream_len = 1;
    let failed = export(&repository, "x", &point, &mut Vec::new(), Digest::None, &Silent).unwrap_err();
    assert!(failed.source.to_string().contains("row.stream_len"), "{}", failed.source);
}

#[test]
fn a_pack_in_the_directory_of_another_digit_is_nobodys() {
    let (store, _) = small_repository();
    let pack = objects(&store).into_iter().find(|name| name.as_str().starts_with("packs/")).unwrap();
    let repository = reopen(copy_without(&store, &pack));
    let before = repository.list_packs().unwrap();
    let shards = "packs".parse::<Directory>().unwrap();
    let other = shards.shards().find(|shard| *shard != pack.directory()).unwrap();
    let bytes = store.get(&pack, usize::MAX).unwrap();
    let _ = repository.store().put(&other.object(pack.leaf()).unwrap(), &[&bytes]).unwrap();
    assert_eq!(repository.list_packs().unwrap(), before);
}

#[test]
fn a_lost_segment_is_named_and_costs_nothing_but_time() {
    let (store, bytes) = small_repository();
    let segment = objects(&store).into_iter().find(|name| name.as_str().starts_with("index/")).unwrap();
    let repository = reopen(copy_without(&store, &segment));
    let report = check_data(&repository);
    assert!(!report.is_clean() && report.findings.iter().all(|finding| finding.severity == Severity::Degraded));
    assert!(
        report.findings.iter().all(|finding| finding.message.contains("needed by file:x")),
        "{:?}",
        report.findings
    );
    assert!(report.findings.iter().all(|finding| finding.affected.is_empty()), "nothing is lost");
    assert!(export_bytes(&repository, &points(&repository)[0].1) == bytes);
}

#[test]
fn a_lost_pack_is_named_with_the_points_that_need_it() {
    let (store, _) = small_repository();
    for pack in objects(&store).into_iter().filter(|name| name.as_str().starts_with("packs/")) {
        let repository = reopen(copy_without(&store, &pack));
        let report = check(&repository, CheckLevel::Structure, &Silent).unwrap();
        let id = pack.leaf();
        let found = report.findings.iter().any(|finding| {
            finding.object.contains(id)
                && finding.severity == Severity::Damage
                && finding.affected.iter().any(|point| point.contains("file:x"))
        });
        assert!(found, "{:?}", report.findings);
    }
}

#[test]
fn one_flipped_byte_anywhere_is_found_and_never_restored_as_something_else() {
    // With parity it is more: `parity.rs`.
    let (store, bytes) = small_repository_with(Parity::None);
    for name in objects(&store) {
        let len = store.get(&name, usize::MAX).unwrap().len();
        // Every byte by hand; here a stride that meets each field of each object in turn.
        for at in (0..len).step_by(len / 40 + 1) {
            let broken = copy_with(&store, |other, mut bytes| {
                if *other == name {
                    bytes[at] ^= 0x40;
                }
                Some(bytes)
            });
            let key_file = crate::fixture::key_file();
            let unlock = holdall::crypto::Unlock::KeyFile(&key_file);
            let opened = Repository::open(broken, unlock, holdall::repo::IndexPlace::Memory);
            let Ok((repository, _)) = opened else {
                panic!("{name} at {at}: one of two copies is enough to open a repository");
            };
            assert!(!check_data(&repository).is_clean(), "{name} at {at} of {len}");
            for (_, point) in points(&repository) {
                let mut out = Vec::new();
                if export(&repository, "x", &point, &mut out, Digest::None, &Silent).is_ok() {
                    assert!(out == bytes, "{name} at {at}");
                }
            }
        }
    }
}

#[test]
fn a_backup_heals_what_a_check_marked() {
    let (store, bytes) = small_repository();
    let pack = objects(&store).into_iter().find(|name| name.as_str().starts_with("packs/")).unwrap();
    let broken = copy_with(&store, |name, mut bytes| {
        if *name == pack {
            bytes[200] ^= 1;
        }
        Some(bytes)
    });
    let repository = reopen(broken);
    let report = check_data(&repository);
    assert_eq!(report.damaged_packs.len(), 1);
    let now = crate::fixture::clock().0;
    assert_eq!(repository.mark_damaged(report.damaged_packs.clone(), now).unwrap(), 1);
    assert_eq!(repository.mark_damaged(report.damaged_packs, now).unwrap(), 0, "once is enough");
    import_bytes(&repository, &bytes[..], Some("file:x")).unwrap();
    for (_, point) in points(&repository) {
        assert!(export_bytes(&repository, &point) == bytes, "the old point is whole again, too");
    }
}

/// Two processes that do not know of each other store the same chunks, each in packs of its own.
#[test]
fn a_sound_copy_is_read_where_the_other_is_damaged() {
    let store = Arc::new(MemoryStore::new());
    let one = init(Arc::<MemoryStore>::clone(&store));
    let other = reopen(Arc::<MemoryStore>::clone(&store));
    let bytes = [tar_of_noise(20, 600), noise(3, 5000)].concat();
    let clock = crate::fixture::clock();
    let mut runs = [&one, &other].map(|repository| Run::begin(repository, &Silent, &clock, "host").unwrap());
    for run in &mut runs {
        let (label, server, input) = (String::new(), String::new(), &mut &bytes[..]);
        let source = Some("file:x".parse().unwrap());
        import(run, ImportRequest { label, input, bytes: None, source, server }).unwrap();
    }
    for run in runs {
        assert_eq!(run.finish().unwrap().made.len(), 1);
    }
    for pack in objects(&store).into_iter().filter(|name| name.as_str().starts_with("packs/")) {
        let len = store.get(&pack, usize::MAX).unwrap().len();
        for at in (0..len).step_by(len / 20 + 1) {
            let repository = reopen(copy_with(&store, |name, mut bytes| {
                if *name == pack {
                    bytes[at] ^= 1;
                }
                Some(bytes)
            }));
            assert!(!check_data(&repository).is_clean());
            for (_, point) in points(&repository) {
                assert!(export_bytes(&repository, &point) == bytes, "{pack} at {at}");
            }
        }
    }
}
