//! A store that is full: what frees must not need room that is not there.

use std::sync::Arc;

use holdall::backup::Run;
use holdall::id::PackId;
use holdall::monitor::Silent;
use holdall::pack::PackKind;
use holdall::point::Point;
use holdall::prune::{Dealing, MaxUnused, Summary, prepare, prune};
use holdall::repo::Repository;
use holdall::store::{MemoryStore, Store};

use crate::fixture::{clock, export_bytes, feed_bytes, import_bytes, init, noise, points, reopen};

fn prune_what_can_be(repository: &Repository, dealing: Dealing) -> Summary {
    prune(prepare(repository, MaxUnused::Bytes(0), "test-host", &Silent).unwrap(), dealing).unwrap()
}

fn point(repository: &Repository, name: &str) -> Point {
    points(repository).into_iter().find(|(_, point)| point.source.name == name).expect("a point of this name").1
}

fn forget(repository: &Repository, name: &str) {
    for (id, _) in points(repository).into_iter().filter(|(_, point)| point.source.name == name) {
        repository.forget(id).unwrap();
    }
}

/// The worst that a prune can meet: data that a late commit needs stands in packs that are condemned already, some of
/// what a pinned point needs is lost, and there is no room for one byte.
#[test]
fn a_prune_on_a_full_disk_frees_all_but_what_is_needed() {
    for room in [0, 1, 100_000] {
        let store = Arc::new(MemoryStore::new());
        let repository = init(Arc::<MemoryStore>::clone(&store));
        let (pinned, late, vast) = (noise(1, 500_000), noise(2, 500_000), noise(3, 3_000_000));
        for (name, bytes) in [("file:pinned", &pinned), ("file:old", &late), ("file:vast", &vast)] {
            import_bytes(&repository, &bytes[..], Some(name)).unwrap();
        }
        let history = repository.whole_history().unwrap();
        let (id, _) = points(&repository).into_iter().find(|(_, point)| point.source.name == "pinned").unwrap();
        repository.pin(&history, id, true, clock().0).unwrap();

        let clock = clock();
        let mut run = Run::begin(&repository, &Silent, &clock, "test-host").unwrap();
        feed_bytes(&mut run, &mut &late[..], Some("file:late")).unwrap();
        let other = reopen(Arc::<MemoryStore>::clone(&store) as Arc<dyn Store>);
        forget(&other, "old");
        forget(&other, "vast");
        let summary = prune_what_can_be(&other, Dealing::Leave);
        assert!(summary.waiting_for.len() == 1 && summary.deleted_packs == 0, "{summary:?}");
        assert_eq!(run.finish().unwrap().made.len(), 1);

        let of = |pack: &PackId| other.index().packs().unwrap()[pack].kind;
        let lost = *point(&other, "pinned").content.packs.iter().find(|pack| of(pack) == PackKind::Data).unwrap();
        assert!(other.remove_pack(lost).unwrap());
        store.leave_room(room);
        let before = store.bytes_used();
        let later = reopen(Arc::<MemoryStore>::clone(&store) as Arc<dyn Store>);
        let summary = prune_what_can_be(&later, Dealing::Wait);
        assert!(summary.is_damaged && summary.stuck.is_empty() && summary.waiting_for.is_empty(), "{summary:?}");
        assert!(export_bytes(&later, &point(&later, "late")) == late);
        let freed = before - store.bytes_used();
        assert!(freed > 3_000_000, "{freed} bytes freed with {room} of room: {summary:?}");
        for directory in ["sessions", "condemned", "beats"] {
            assert!(store.list(&directory.parse().unwrap()).unwrap().is_empty(), "{directory}");
        }
        // The disk has room again, so the reserve is there for the next time, and the next backup heals what was lost.
        assert!(store.stat(&"reserve".parse().unwrap()).unwrap().is_some());
        import_bytes(&later, &pinned[..], Some("file:again")).unwrap();
        assert!(export_bytes(&later, &point(&later, "pinned")) == pinned);
        assert!(!prune_what_can_be(&later, Dealing::Wait).is_damaged);
    }
}
