//! Repair: what can be mended is, what cannot stays until it is stored again, and nothing else changes.

use std::sync::Arc;

use holdall::check::{CheckLevel, Severity, check};
use holdall::id::PackId;
use holdall::monitor::Silent;
use holdall::pack::PackKind;
use holdall::point::Point;
use holdall::prune::{Dealing, MaxUnused, PruneError, prepare, prune};
use holdall::repair::{RepairOptions, Summary, raise_settle, repair};
use holdall::repo::{Parity, Reader, Repository, Rows};
use holdall::store::{MemoryStore, Name, Store};

use crate::fixture::{
    REPAIR, assert_holds, clock, export_bytes, import_bytes, init, init_with, noise, points, reopen, tar_of_noise,
};

fn mend(repository: &Repository, no_prune_runs: bool) -> Summary {
    mend_by(repository, RepairOptions { no_prune_runs, ..REPAIR })
}

fn mend_by(repository: &Repository, options: RepairOptions) -> Summary {
    repair(repository, options, None, ("test-host", &clock()), &Silent).unwrap()
}

fn objects(store: &MemoryStore, kind: &str) -> Vec<Name> {
    store.names().into_iter().filter(|name| name.as_str().starts_with(&format!("{kind}/"))).collect()
}

fn flip(store: &MemoryStore, name: &Name, at: usize) {
    assert!(store.damage(name, |bytes| bytes[at] ^= 0x10), "{name} is there");
}

#[test]
fn a_sound_repository_is_left_as_it_is() {
    let store = Arc::new(MemoryStore::new());
    let repository = init(Arc::<MemoryStore>::clone(&store));
    import_bytes(&repository, &tar_of_noise(5, 60_000)[..], Some("file:x")).unwrap();
    let before = store.names();
    let summary = mend(&repository, false);
    assert!(summary.found == 0 && summary.left.is_clean());
    assert_eq!(store.names(), before);
}

#[test]
fn objects_of_which_one_copy_is_damaged_are_stored_anew() {
    let store = Arc::new(MemoryStore::new());
    let repository = init(Arc::<MemoryStore>::clone(&store));
    let bytes = tar_of_noise(5, 60_000);
    import_bytes(&repository, &bytes[..], Some("file:x")).unwrap();
    let (old, _) = points(&repository).remove(0);
    let history = repository.whole_history().unwrap();
    repository.tag(&history, old, "kept", true, clock().0).unwrap();
    repository.pin(&history, old, true, clock().0).unwrap();
    for kind in ["config", "index", "points", "notes"] {
        for name in objects(&store, kind) {
            flip(&store, &name, 100);
        }
    }
    let repository = reopen(Arc::<MemoryStore>::clone(&store));
    let summary = mend(&repository, false);
    assert!(summary.renewed_points == 1 && summary.left.is_clean(), "{summary:?}");
    // A config stays for ever, and the next is in force.
    assert_eq!(objects(&store, "config").len(), 2);
    let (new, point) = points(&repository).remove(0);
    assert!(new != old && export_bytes(&repository, &point) == bytes);
    let history = repository.whole_history().unwrap();
    assert!(history.pinned().contains(&new) && history.tags()[&new].contains("kept"));
}

#[test]
fn lost_segments_are_made_again_from_the_packs() {
    let store = Arc::new(MemoryStore::new());
    let repository = init(Arc::<MemoryStore>::clone(&store));
    let (one, other) = (tar_of_noise(5, 60_000), noise(4, 700_000));
    for (name, bytes) in [("file:one", &one), ("file:other", &other)] {
        import_bytes(&repository, &bytes[..], Some(name)).unwrap();
    }
    let segments = objects(&store, "index");
    store.delete(&segments[0]).unwrap();
    assert!(store.damage(&segments[1], |bytes| bytes.fill(7)));
    let repository = reopen(Arc::<MemoryStore>::clone(&store));
    let summary = mend(&repository, false);
    assert!(summary.named_packs == 4 && summary.removed_objects == 1 && summary.left.is_clean(), "{summary:?}");
    assert_holds(&reopen(store), &[("one", &one), ("other", &other)]);
}

#[test]
fn a_damaged_pack_is_replaced_with_the_help_of_its_parity() {
    let store = Arc::new(MemoryStore::new());
    let repository = init(Arc::<MemoryStore>::clone(&store));
    let bytes = tar_of_noise(9, 60_000);
    import_bytes(&repository, &bytes[..], Some("file:x")).unwrap();
    let packs = objects(&store, "packs");
    for name in &packs {
        flip(&store, name, 1000);
    }
    let summary = mend(&repository, false);
    assert!(summary.replaced_packs == 2 && summary.left.is_clean(), "{summary:?}");
    assert!(objects(&store, "packs").iter().all(|name| !packs.contains(name)));
    assert_holds(&reopen(Arc::<MemoryStore>::clone(&store)), &[("x", &bytes)]);
    // Nothing is marked any more, so nothing is stored again.
    let made = import_bytes(&reopen(store), &bytes[..], Some("file:y")).unwrap().made.remove(0);
    assert_eq!(made.statistics.new_chunks, 0);
}

#[test]
fn a_loss_in_a_pack_that_a_prune_made_names_the_points_that_need_it() {
    let store = Arc::new(MemoryStore::new());
    let repository = init_with(Arc::<MemoryStore>::clone(&store), Parity::None);
    let (kept, also) = (noise(1, 700_000), noise(2, 700_000));
    import_bytes(&repository, &[&kept[..], &also].concat()[..], Some("file:both")).unwrap();
    import_bytes(&repository, &kept[..], Some("file:kept")).unwrap();
    let (both, _) = points(&repository).into_iter().find(|(_, point)| point.source.name == "both").unwrap();
    repository.forget(both).unwrap();
    prune(prepare(&repository, MaxUnused::Permille(0), "test-host", &Silent).unwrap(), Dealing::Now).unwrap();
    let (_, point) = points(&repository).remove(0);
    let made: Vec<Name> = objects(&store, "packs")
        .into_iter()
        .filter(|name| !point.content.packs.iter().any(|pack| pack.to_string() == name.leaf()))
        .collect();
    let largest = made.iter().max_by_key(|name| store.get(name, usize::MAX).unwrap().len()).expect("it packed anew");
    flip(&store, largest, 200_000);
    let report = check(&reopen(store), CheckLevel::ReadData, &Silent).unwrap();
    let of_pack = report.findings.iter().find(|finding| finding.object.ends_with(largest.leaf())).unwrap();
    assert!(of_pack.severity == Severity::Damage && of_pack.affected.len() == 1, "{of_pack:?}");
    assert!(of_pack.affected[0].contains("file:kept"), "{of_pack:?}");
}

/// The pack that holds the first part of a point's recipe, and where that part stands in it.
fn first_part(repository: &Repository, point: &Point) -> (PackId, usize) {
    let mut reader = Reader::new(repository).unwrap();
    let row = Rows::new(&point.content).next(&mut reader).unwrap().unwrap();
    let fact = reader.place(row.part).unwrap();
    (fact.pack, fact.at.frame_offset as usize)
}

#[test]
fn a_lost_piece_of_a_recipe_keeps_prunes_from_deleting_until_it_is_given_up() {
    let store = Arc::new(MemoryStore::new());
    let repository = init_with(Arc::<MemoryStore>::clone(&store), Parity::None);
    let (hurt, whole, old) = (tar_of_noise(9, 60_000), noise(2, 600_000), noise(3, 900_000));
    for (name, bytes) in [("file:hurt", &hurt), ("file:whole", &whole), ("file:old", &old)] {
        import_bytes(&repository, &bytes[..], Some(name)).unwrap();
    }
    let find = |name: &str| points(&repository).into_iter().find(|(_, point)| point.source.name == name).unwrap();
    let (id, point) = find("hurt");
    let (pack, at) = first_part(&repository, &point);
    let name = objects(&store, "packs").into_iter().find(|name| name.leaf() == pack.to_string()).unwrap();
    flip(&store, &name, at + 20);
    repository.forget(find("old").0).unwrap();
    let repository = reopen(Arc::<MemoryStore>::clone(&store));
    let stored = || store.bytes_used();
    let before = stored();

    // The recipe is read by every check, and the pack is known to be damaged from then on.
    let report = check(&repository, CheckLevel::Structure, &Silent).unwrap();
    assert!(report.damaged_packs.contains(&pack) && report.lost_pieces.len() == 1, "{report:?}");
    assert!(report.lacking[&id] == 1 && report.lacking.values().sum::<u64>() == 1, "{:?}", report.lacking);

    let summary = mend(&repository, false);
    assert!(summary.left_packs == 1 && summary.given_up_pieces == 0 && !summary.left.is_clean(), "{summary:?}");
    let refused = prepare(&repository, MaxUnused::Permille(0), "test-host", &Silent).map(|_| ());
    assert!(matches!(refused, Err(PruneError::UnknownUse { .. })), "{refused:?}");
    assert!(stored() >= before);

    let summary = mend_by(&repository, RepairOptions { gives_up_lost_pieces: true, ..REPAIR });
    assert!(summary.given_up_pieces == 1 && !summary.left.is_clean(), "{summary:?}");
    let prepared = prepare(&repository, MaxUnused::Permille(0), "test-host", &Silent).unwrap();
    assert!(prune(prepared, Dealing::Now).unwrap().is_damaged);
    assert!(before - stored() > 800_000, "{before} {}", stored());
    assert!(points(&repository).iter().any(|(other, _)| *other == id), "the point stays");
    assert!(export_bytes(&repository, &find("whole").1) == whole);

    // What comes again heals the old point, too, though nobody knew what it needed.
    let repository = reopen(Arc::<MemoryStore>::clone(&store));
    import_bytes(&repository, &hurt[..], Some("file:hurt")).unwrap();
    assert!(mend(&repository, false).left.is_clean());
    let healed = points(&repository).into_iter().filter(|(_, point)| point.source.name == "hurt");
    assert_eq!(healed.map(|(_, point)| assert!(export_bytes(&repository, &point) == hurt)).count(), 2);
    let prepared = prepare(&repository, MaxUnused::Permille(0), "test-host", &Silent).unwrap();
    assert!(!prune(prepared, Dealing::Now).unwrap().is_damaged);
    assert!(repository.history().unwrap().lacking().is_empty());
}

#[test]
fn what_cannot_be_read_stays_until_a_backup_stores_it_again() {
    let store = Arc::new(MemoryStore::new());
    let repository = init_with(Arc::<MemoryStore>::clone(&store), Parity::None);
    let (hurt, whole) = (noise(1, 600_000), noise(2, 600_000));
    for (name, bytes) in [("file:hurt", &hurt), ("file:whole", &whole)] {
        import_bytes(&repository, &bytes[..], Some(name)).unwrap();
    }
    let (_, point) = points(&repository).into_iter().find(|(_, point)| point.source.name == "hurt").unwrap();
    let kind = |pack: &PackId| repository.index().packs().unwrap()[pack].kind;
    let pack = point.content.packs.iter().find(|pack| kind(pack) == PackKind::Data).unwrap().to_string();
    let name = objects(&store, "packs").into_iter().find(|name| name.leaf() == pack).unwrap();
    flip(&store, &name, 200_000);
    let repository = reopen(Arc::<MemoryStore>::clone(&store));
    let summary = mend(&repository, false);
    assert!(summary.left_packs == 1 && !summary.left.is_clean(), "{summary:?}");
    assert!(objects(&store, "packs").contains(&name) && points(&repository).len() == 2);
    // A check that reads no data does not forget it.
    let report = check(&repository, CheckLevel::Structure, &Silent).unwrap();
    let affected = &report.findings.iter().find(|finding| finding.object.ends_with(&pack)).unwrap().affected;
    assert!(matches!(&affected[..], [one] if one.contains("file:hurt")), "{:?}", report.findings);
    let lacking = repository.history().unwrap().lacking();
    assert!(lacking.len() == 1 && lacking.keys().all(|id| report.lacking[id] > 0), "{lacking:?}");
    import_bytes(&repository, &hurt[..], Some("file:hurt")).unwrap();
    let summary = mend(&repository, false);
    assert!(summary.left_packs == 0 && summary.left.is_clean(), "{summary:?}");
    assert!(!objects(&store, "packs").contains(&name) && repository.history().unwrap().lacking().is_empty());
    for (_, point) in points(&repository) {
        assert!(export_bytes(&repository, &point) == if point.source.name == "hurt" { &hurt[..] } else { &whole });
    }
}

#[test]
fn a_condemned_object_that_cannot_be_read_goes_only_if_a_person_says_so() {
    let store = Arc::new(MemoryStore::new());
    let repository = init(Arc::<MemoryStore>::clone(&store));
    let bytes = tar_of_noise(5, 60_000);
    import_bytes(&repository, &bytes[..], Some("file:x")).unwrap();
    let packs = repository.list_packs().unwrap().into_iter().map(|(pack, _)| pack).collect();
    repository.put_condemned(&packs).unwrap();
    let name = objects(&store, "condemned").remove(0);
    assert!(store.damage(&name, |bytes| bytes.fill(1)));
    let prepared = prepare(&repository, MaxUnused::Bytes(0), "test-host", &Silent).unwrap();
    let refused = holdall::prune::prune(prepared, Dealing::Now);
    assert!(matches!(refused, Err(PruneError::UnreadableCondemned { .. })), "{refused:?}");
    assert_eq!(mend(&repository, false).removed_objects, 0);
    let summary = mend(&repository, true);
    assert!(summary.removed_objects == 1 && summary.left.is_clean(), "{summary:?}");
    assert_holds(&repository, &[("x", &bytes)]);
}

#[test]
fn a_larger_settle_time_counts_once_older_prunes_are_through() {
    let store = Arc::new(MemoryStore::new());
    let repository = init(Arc::<MemoryStore>::clone(&store));
    import_bytes(&repository, &tar_of_noise(3, 60_000)[..], Some("file:x")).unwrap();
    assert!(raise_settle(&repository, 1, &Silent).unwrap());
    assert_eq!(reopen(Arc::<MemoryStore>::clone(&store)).config().settle_seconds, 1);
    assert_eq!(repository.read_settle_seconds().unwrap(), 1);
    // A smaller one than is agreed upon changes nothing.
    assert!(raise_settle(&repository, 1, &Silent).unwrap());
    assert_eq!(objects(&store, "config").len(), 2);
}
