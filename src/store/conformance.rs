//! What every store must do, as one suite that each adapter runs.
//!
//! The cases hold the contract on [`Store`] and nothing that only some stores can do. A failure is a panic that names
//! the case's fact, as in any test.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::{
    CreateIfAbsent, Deleted, Directory, Listed, Name, Put, Store, StoreError, StoreErrorKind, list_settled,
    probe_create_if_absent,
};
use crate::limits::MIB;

/// Where the cases put their objects.
const OBJECTS: Directory = Directory::fixed("objects");
/// Two levels, made in one call.
const NESTED: Directory = Directory::fixed("nested/7");
/// Never made.
const MISSING: Directory = Directory::fixed("missing");

/// Threads that race for one name.
const RACERS: usize = 8;
/// How often they do.
const RACES: usize = 20;
/// Objects that come and go while a reader lists.
const COMERS: usize = 100;
/// More parts than one system call takes.
const PARTS: usize = 2500;

/// Runs every case, each on a new and empty store.
///
/// # Panics
/// If the store breaks the contract.
pub fn suite<S: Store>(make: impl Fn() -> S) {
    let cases: [fn(&dyn Store); 19] = [
        what_was_put_is_read_back,
        an_empty_object_is_an_object,
        a_big_object_of_many_parts_is_whole,
        a_taken_name_keeps_its_bytes,
        the_same_bytes_again_count_as_created,
        of_many_creators_one_wins,
        nothing_partial_is_ever_seen,
        the_largest_object_is_the_readers_choice,
        a_range_is_exact_or_an_error,
        a_stat_tells_length_and_an_order_of_times,
        absence_is_an_outcome_of_its_own,
        a_missing_directory_makes_nothing_absent,
        a_deleted_object_is_gone_and_its_name_free,
        of_many_deleters_one_removes,
        a_listing_has_the_objects_of_one_directory,
        a_listing_misses_nothing_that_stays,
        directories_can_be_made_again,
        a_refreshed_directory_lists_the_same,
        creation_if_absent_is_found_by_the_probe,
    ];
    for case in cases {
        let store = make();
        made(store.make_directory(&OBJECTS));
        case(&store);
    }
}

fn made<T>(result: Result<T, StoreError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error} ({:?})", error.source),
    }
}

fn refused<T>(result: Result<T, StoreError>) -> StoreErrorKind {
    match result {
        Ok(_) => panic!("The operation should have been refused"),
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "an error is one line: {error}");
            error.kind
        }
    }
}

fn name(leaf: &str) -> Name {
    match OBJECTS.object(leaf) {
        Ok(name) => name,
        Err(error) => panic!("{error}"),
    }
}

fn put(store: &dyn Store, leaf: &str, bytes: &[u8]) -> Put {
    made(store.put(&name(leaf), &[bytes]))
}

fn leaves(listed: &[Listed]) -> Vec<&str> {
    listed.iter().map(|one| one.name.leaf()).collect()
}

fn what_was_put_is_read_back(store: &dyn Store) {
    assert_eq!(made(store.put(&name("x"), &[b"ab", b"", b"c"])), Put::Created);
    assert_eq!(made(store.get(&name("x"), 3)), b"abc");
    made(store.make_directory(&NESTED));
    let nested = NESTED.id(&[0x71; 32]);
    assert_eq!(made(store.put(&nested, &[b"deep"])), Put::Created);
    assert_eq!(made(store.get(&nested, 100)), b"deep");
    let at_the_root = Directory::ROOT.number(7);
    assert_eq!(made(store.put(&at_the_root, &[b"read me"])), Put::Created);
    assert_eq!(made(store.get(&at_the_root, 100)), b"read me");
}

fn an_empty_object_is_an_object(store: &dyn Store) {
    assert_eq!(made(store.put(&name("none"), &[])), Put::Created);
    assert_eq!(made(store.put(&name("empty"), &[b""])), Put::Created);
    for leaf in ["none", "empty"] {
        assert_eq!(made(store.get(&name(leaf), 0)), b"");
        assert_eq!(made(store.get_range(&name(leaf), 0, 0)), b"");
        assert_eq!(made(store.stat(&name(leaf))).map(|stat| stat.bytes), Some(0));
    }
    assert_eq!(leaves(&made(store.list(&OBJECTS))), ["empty", "none"]);
}

fn a_big_object_of_many_parts_is_whole(store: &dyn Store) {
    let piece: Vec<u8> = (0..=u8::MAX).cycle().take(4099).collect();
    let parts = vec![piece.as_slice(); PARTS];
    assert_eq!(made(store.put(&name("big"), &parts)), Put::Created);
    let read = made(store.get(&name("big"), 16 * MIB));
    assert!(read == parts.concat(), "the object has other bytes");
    assert_eq!(made(store.put(&name("big"), &[&read])), Put::Created);
}

fn a_taken_name_keeps_its_bytes(store: &dyn Store) {
    assert_eq!(put(store, "x", b"first"), Put::Created);
    for other in [b"other".as_slice(), b"longer than that", b""] {
        assert_eq!(put(store, "x", other), Put::Exists);
        assert_eq!(made(store.get(&name("x"), 100)), b"first");
    }
    assert_eq!(leaves(&made(store.list(&OBJECTS))), ["x"]);
}

fn the_same_bytes_again_count_as_created(store: &dyn Store) {
    assert_eq!(put(store, "x", b"same"), Put::Created);
    assert_eq!(made(store.put(&name("x"), &[b"sa", b"me"])), Put::Created);
    assert_eq!(made(store.get(&name("x"), 100)), b"same");
}

fn of_many_creators_one_wins(store: &dyn Store) {
    for race in 0..RACES {
        let leaf = race.to_string();
        let barrier = Barrier::new(RACERS);
        let create = |racer: usize| {
            barrier.wait();
            put(store, &leaf, racer.to_string().as_bytes())
        };
        let puts: Vec<Put> = thread::scope(|scope| {
            let racers: Vec<_> = (0..RACERS).map(|racer| scope.spawn(move || create(racer))).collect();
            racers.into_iter().map(|racer| racer.join().unwrap_or(Put::Exists)).collect()
        });
        let winners: Vec<usize> = (0..RACERS).filter(|racer| puts.get(*racer) == Some(&Put::Created)).collect();
        let [winner] = winners.as_slice() else { panic!("{winners:?} have won") };
        assert_eq!(made(store.get(&name(&leaf), 100)), winner.to_string().as_bytes());
    }
}

fn nothing_partial_is_ever_seen(store: &dyn Store) {
    let bytes = vec![7; MIB];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..RACES {
                assert_eq!(put(store, "x", &bytes), Put::Created);
                let removed = made(store.delete(&name("x")));
                assert_eq!(removed, Deleted::Removed, "round {round}");
            }
            over.store(true, Ordering::SeqCst);
        });
        while !over.load(Ordering::SeqCst) {
            match store.get(&name("x"), MIB) {
                Ok(read) => assert!(read == bytes, "{} of {MIB} bytes were seen", read.len()),
                Err(error) => assert_eq!(error.kind, StoreErrorKind::NotFound),
            }
            for listed in made(store.list(&OBJECTS)) {
                assert_eq!((listed.name.leaf(), listed.bytes), ("x", MIB as u64));
            }
            assert!(made(store.stat(&name("x"))).is_none_or(|stat| stat.bytes == MIB as u64));
        }
    });
}

fn the_largest_object_is_the_readers_choice(store: &dyn Store) {
    assert_eq!(put(store, "x", b"12345"), Put::Created);
    assert_eq!(made(store.get(&name("x"), 5)), b"12345");
    let too_large = StoreErrorKind::TooLarge { bytes: 5, bytes_max: 4 };
    assert_eq!(refused(store.get(&name("x"), 4)), too_large);
}

fn a_range_is_exact_or_an_error(store: &dyn Store) {
    assert_eq!(put(store, "x", b"0123456789"), Put::Created);
    let x = name("x");
    for (offset, length, expected) in [(0, 10, "0123456789"), (0, 0, ""), (3, 4, "3456"), (9, 1, "9"), (10, 0, "")] {
        assert_eq!(made(store.get_range(&x, offset, length)), expected.as_bytes());
    }
    for (offset, length) in [(0, 11), (10, 1), (11, 0), (5, usize::MAX), (u64::MAX, 1), (u64::MAX, usize::MAX)] {
        let kind = refused(store.get_range(&x, offset, length));
        assert!(matches!(kind, StoreErrorKind::Truncated { bytes: 10, .. }), "{kind:?}");
    }
}

fn a_stat_tells_length_and_an_order_of_times(store: &dyn Store) {
    assert_eq!(put(store, "a", b"12"), Put::Created);
    assert_eq!(put(store, "b", b"345"), Put::Created);
    let stats = [made(store.stat(&name("a"))), made(store.stat(&name("b")))];
    let [Some(a), Some(b)] = stats else { panic!("an object is missing: {stats:?}") };
    assert_eq!((a.bytes, b.bytes), (2, 3));
    assert!(a.modified <= b.modified, "{a:?} is later than {b:?}");
}

fn absence_is_an_outcome_of_its_own(store: &dyn Store) {
    let x = name("x");
    assert_eq!(refused(store.get(&x, 1)), StoreErrorKind::NotFound);
    assert_eq!(refused(store.get_range(&x, 0, 0)), StoreErrorKind::NotFound);
    assert_eq!(made(store.stat(&x)), None);
    assert_eq!(made(store.delete(&x)), Deleted::Absent);
    assert_eq!(made(store.list(&OBJECTS)), []);
    assert_eq!(made(store.temporaries(&OBJECTS)), []);
}

fn a_missing_directory_makes_nothing_absent(store: &dyn Store) {
    let x = MISSING.id(&[0; 32]);
    let found = [
        store.put(&x, &[b"x"]).map(|_| ()),
        store.get(&x, 1).map(|_| ()),
        store.get_range(&x, 0, 1).map(|_| ()),
        store.stat(&x).map(|_| ()),
        store.delete(&x).map(|_| ()),
        store.list(&MISSING).map(|_| ()),
        store.temporaries(&MISSING).map(|_| ()),
        store.refresh(&MISSING),
    ];
    for result in found {
        assert_eq!(refused(result), StoreErrorKind::DirectoryMissing);
    }
}

fn a_deleted_object_is_gone_and_its_name_free(store: &dyn Store) {
    assert_eq!(put(store, "x", b"old"), Put::Created);
    assert_eq!(made(store.delete(&name("x"))), Deleted::Removed);
    assert_eq!(made(store.delete(&name("x"))), Deleted::Absent);
    assert_eq!(made(store.list(&OBJECTS)), []);
    assert_eq!(put(store, "x", b"new"), Put::Created);
    assert_eq!(made(store.get(&name("x"), 100)), b"new");
}

fn of_many_deleters_one_removes(store: &dyn Store) {
    for _ in 0..RACES {
        assert_eq!(put(store, "x", b"bytes"), Put::Created);
        let barrier = Barrier::new(RACERS);
        let removed = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..RACERS {
                scope.spawn(|| {
                    barrier.wait();
                    if made(store.delete(&name("x"))) == Deleted::Removed {
                        removed.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(removed.into_inner(), 1);
    }
}

fn a_listing_has_the_objects_of_one_directory(store: &dyn Store) {
    made(store.make_directory(&NESTED));
    made(store.make_directory(&Directory::fixed("objects/0")));
    assert_eq!(made(store.put(&NESTED.id(&[1; 32]), &[b"deep"])), Put::Created);
    for leaf in ["b", "README", "a-1", "0.x", "a"] {
        assert_eq!(put(store, leaf, leaf.as_bytes()), Put::Created);
    }
    let listed = made(store.list(&OBJECTS));
    assert_eq!(leaves(&listed), ["0.x", "README", "a", "a-1", "b"]);
    assert!(listed.iter().all(|one| one.bytes == one.name.leaf().len() as u64 && one.name.directory() == OBJECTS));
    assert_eq!(made(store.list(&NESTED)).len(), 1);
    assert_eq!(made(store.list(&Directory::ROOT)), []);
}

fn a_listing_misses_nothing_that_stays(store: &dyn Store) {
    for number in 0..COMERS {
        assert_eq!(put(store, &format!("stays-{number}"), b""), Put::Created);
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..COMERS {
                assert_eq!(put(store, &format!("comes-{number}"), b""), Put::Created);
                assert_eq!(made(store.delete(&name(&format!("comes-{number}")))), Deleted::Removed);
            }
            over.store(true, Ordering::SeqCst);
        });
        while !over.load(Ordering::SeqCst) {
            for listed in [made(store.list(&OBJECTS)), made(list_settled(store, &OBJECTS))] {
                let stays = listed.iter().filter(|one| one.name.leaf().starts_with("stays-")).count();
                assert_eq!(stays, COMERS);
                let names: BTreeSet<&Name> = listed.iter().map(|one| &one.name).collect();
                assert_eq!(names.len(), listed.len(), "a name is listed once");
            }
        }
    });
}

fn directories_can_be_made_again(store: &dyn Store) {
    assert_eq!(put(store, "x", b"stays"), Put::Created);
    made(store.make_directory(&OBJECTS));
    made(store.make_directory(&Directory::ROOT));
    thread::scope(|scope| {
        for _ in 0..RACERS {
            scope.spawn(|| made(store.make_directory(&NESTED)));
        }
    });
    assert_eq!(made(store.list(&NESTED)), []);
    assert_eq!(made(store.list(&Directory::fixed("nested"))), []);
    assert_eq!(leaves(&made(store.list(&OBJECTS))), ["x"]);
}

fn a_refreshed_directory_lists_the_same(store: &dyn Store) {
    assert_eq!(put(store, "x", b"x"), Put::Created);
    made(store.refresh(&OBJECTS));
    assert_eq!(leaves(&made(store.list(&OBJECTS))), ["x"]);
    assert_eq!(made(store.temporaries(&OBJECTS)), []);
}

fn creation_if_absent_is_found_by_the_probe(store: &dyn Store) {
    assert_eq!(made(probe_create_if_absent(store, &OBJECTS)), CreateIfAbsent::Works);
    assert_eq!(made(store.list(&OBJECTS)), []);
}
