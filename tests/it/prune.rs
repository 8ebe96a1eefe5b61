//! Prune: what no point uses goes, everything else stays, whatever happens meanwhile.

use std::sync::Arc;

use holdall::check::{CheckLevel, check};
use holdall::id::PointId;
use holdall::monitor::Silent;
use holdall::prune::{Dealing, MaxUnused, PruneError, Summary, prepare, prune};
use holdall::repo::Repository;
use holdall::store::{MemoryStore, Store};

use crate::fixture::{export_bytes, import_bytes, init, new, noise, points, reopen, tar_of_noise};

pub fn forget(repository: &Repository, id: PointId) {
    let name = format!("points/{id}").parse().unwrap();
    repository.store().delete(&name).unwrap();
}

fn try_prune(repository: &Repository, max_unused: MaxUnused, dealing: Dealing) -> Result<Summary, PruneError> {
    prune(prepare(repository, max_unused, "test-host", &Silent)?, dealing)
}

/// Prunes everything that no point uses.
pub fn prune_all(repository: &Repository) -> Summary {
    try_prune(repository, MaxUnused::Bytes(0), Dealing::Now).unwrap()
}

fn named(repository: &Repository, name: &str) -> PointId {
    points(repository).into_iter().find(|(_, point)| point.source.name == name).expect("a point of this name").0
}

fn assert_sound(repository: &Repository, expected: &[(&str, &[u8])]) {
    let found = points(repository);
    assert_eq!(found.len(), expected.len());
    for (name, bytes) in expected {
        let (_, point) = found.iter().find(|(_, point)| point.source.name == *name).expect("a point of this name");
        assert!(export_bytes(repository, point) == *bytes, "{name}");
    }
    let report = check(repository, CheckLevel::ReadData, &Silent).unwrap();
    assert!(report.is_clean() && report.unnamed_packs == 0, "{:?}, {}", report.findings, report.unnamed_packs);
    for directory in ["sessions", "condemned", "beats"] {
        assert!(repository.store().list(&directory.parse().unwrap()).unwrap().is_empty(), "{directory}");
    }
}

fn pack_bytes(repository: &Repository) -> u64 {
    repository.list_packs().unwrap().iter().map(|(_, bytes)| bytes).sum()
}

#[test]
fn what_a_forgotten_point_alone_used_goes_and_the_rest_stays() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = init(Arc::clone(&store));
    let (one, other) = (tar_of_noise(20, 60_000), tar_of_noise(10, 60_000));
    let own = [tar_of_noise(10, 60_000), noise(99, 800_000)].concat();
    for (name, bytes) in [("file:one", &one), ("file:other", &other), ("file:own", &own)] {
        import_bytes(&repository, &bytes[..], Some(name)).unwrap();
    }
    forget(&repository, named(&repository, "one"));
    let before = pack_bytes(&repository);
    let summary = prune_all(&repository);
    assert!(summary.deleted_packs > 0 && !summary.is_damaged, "{summary:?}");
    assert_sound(&repository, &[("other", &other), ("own", &own)]);
    let after = pack_bytes(&repository);
    assert!(after < before - 500_000, "{before} -> {after}");
    // As small as if nothing else had ever been there.
    let fresh = new();
    for (name, bytes) in [("file:other", &other), ("file:own", &own)] {
        import_bytes(&fresh, &bytes[..], Some(name)).unwrap();
    }
    assert!(after * 10 <= pack_bytes(&fresh) * 11, "{after} and {}", pack_bytes(&fresh));
    // There is nothing more to do, and nothing is done.
    let again = prune_all(&repository);
    assert!(again.plan.is_empty() && again.deleted_packs == 0 && again.copied_bytes == 0, "{again:?}");
    // What is new and what was there before find each other still, in this process and in the next.
    import_bytes(&repository, &one[..], Some("file:one")).unwrap();
    let later = reopen(store);
    assert_sound(&later, &[("other", &other), ("own", &own), ("one", &one)]);
}

#[test]
fn an_empty_repository_and_one_without_points_are_pruned_too() {
    let repository = new();
    assert!(prune_all(&repository).plan.is_empty());
    let bytes = tar_of_noise(5, 70_000);
    import_bytes(&repository, &bytes[..], Some("file:x")).unwrap();
    forget(&repository, named(&repository, "x"));
    prune_all(&repository);
    assert_eq!(pack_bytes(&repository), 0);
    assert!(repository.list_segments().unwrap().is_empty());
    import_bytes(&repository, &bytes[..], Some("file:x")).unwrap();
    assert_sound(&repository, &[("x", &bytes)]);
}

#[test]
fn what_is_not_much_unused_is_left_until_it_is() {
    let repository = new();
    let (kept, gone) = (tar_of_noise(40, 60_000), tar_of_noise(41, 60_000));
    import_bytes(&repository, &gone[..], Some("file:gone")).unwrap();
    import_bytes(&repository, &kept[..], Some("file:kept")).unwrap();
    forget(&repository, named(&repository, "gone"));
    let summary = try_prune(&repository, MaxUnused::Permille(50), Dealing::Now).unwrap();
    assert!(summary.plan.repack.is_empty() && summary.plan.left_bytes > 50_000, "{:?}", summary.plan);
    let summary = try_prune(&repository, MaxUnused::Permille(10), Dealing::Now).unwrap();
    assert!(!summary.plan.repack.is_empty(), "{:?}", summary.plan);
    assert_sound(&repository, &[("kept", &kept)]);
}

#[test]
fn nothing_is_deleted_while_a_point_cannot_be_read() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = init(Arc::clone(&store));
    for (name, seed) in [("file:a", 1), ("file:b", 2)] {
        import_bytes(&repository, &noise(seed, 300_000)[..], Some(name)).unwrap();
    }
    let name = format!("points/{}", named(&repository, "a")).parse().unwrap();
    let mut bytes = store.get(&name, usize::MAX).unwrap();
    store.delete(&name).unwrap();
    for byte in &mut bytes {
        *byte ^= 1;
    }
    let _ = store.put(&name, &[&bytes]).unwrap();
    forget(&repository, named(&repository, "b"));
    let packs = repository.list_packs().unwrap();
    let refused = try_prune(&repository, MaxUnused::Bytes(0), Dealing::Now);
    assert!(matches!(refused, Err(PruneError::UnknownUse { .. })), "{refused:?}");
    assert_eq!(repository.list_packs().unwrap(), packs);
}
