//! The suite for the store in memory, and the decorators.

use super::conformance;
use super::crash::CrashStore;
use super::fault::{Effect, Failure, Fault, FaultyStore};
use super::record::{Outcome, RecordingStore};
use super::*;
use crate::clock::{FixedClock, Timestamp};

const OBJECTS: Directory = Directory::fixed("objects");

fn name(leaf: &str) -> Name {
    OBJECTS.object(leaf).unwrap()
}

fn memory() -> MemoryStore {
    let store = MemoryStore::new();
    store.make_directory(&OBJECTS).unwrap();
    store
}

#[test]
fn memory_keeps_the_contract() {
    conformance::suite(MemoryStore::new);
}

#[test]
fn decorators_that_do_nothing_keep_the_contract() {
    conformance::suite(|| RecordingStore::new(FaultyStore::new(CrashStore::new(), [])));
    conformance::suite(|| Arc::new(Box::new(MemoryStore::new()) as Box<dyn Store>));
}

#[test]
fn objects_in_memory_carry_the_clocks_time() {
    let now = Timestamp::from_micros(17).unwrap();
    let store = MemoryStore::with_clock(Arc::new(FixedClock(now)));
    let name: Name = "x".parse().unwrap();
    assert_eq!(store.put(&name, &[b"ab"]).unwrap(), Put::Created);
    assert_eq!(store.stat(&name).unwrap(), Some(Stat { bytes: 2, modified: now }));
}

#[test]
fn a_copy_in_memory_goes_its_own_way() {
    let store = memory();
    assert_eq!(store.put(&name("a"), &[b"a"]).unwrap(), Put::Created);
    let copy = store.copy();
    assert_eq!(store.put(&name("b"), &[b"b"]).unwrap(), Put::Created);
    assert!(copy.damage(&name("a"), |bytes| bytes[0] ^= 1));
    assert!(!copy.damage(&name("b"), Vec::clear));
    assert_eq!(copy.names(), [name("a")]);
    assert_eq!((store.get(&name("a"), 9).unwrap(), copy.get(&name("a"), 9).unwrap()), (b"a".to_vec(), b"`".to_vec()));
}

#[test]
fn errors_are_told_apart() {
    let kinds = [
        (Errno::NOENT, StoreErrorKind::NotFound),
        (Errno::ACCESS, StoreErrorKind::PermissionDenied),
        (Errno::PERM, StoreErrorKind::PermissionDenied),
        (Errno::ROFS, StoreErrorKind::ReadOnly),
        (Errno::NOSPC, StoreErrorKind::NoSpace),
        (Errno::DQUOT, StoreErrorKind::NoSpace),
        (Errno::STALE, StoreErrorKind::Stale),
        (Errno::TIMEDOUT, StoreErrorKind::Unreachable),
        (Errno::NOTCONN, StoreErrorKind::Unreachable),
        (Errno::LOOP, StoreErrorKind::NotAnObject),
        (Errno::IO, StoreErrorKind::Io),
        (Errno::MFILE, StoreErrorKind::Io),
    ];
    for (errno, kind) in kinds {
        assert_eq!(StoreErrorKind::of(&errno.into()), kind);
    }
}

#[test]
fn an_error_names_the_object_and_the_cause_in_one_line() {
    let error = StoreError::from_io("/srv/repo/points/1", Operation::Put, Errno::NOSPC.into());
    assert_eq!(error.to_string(), "Cannot store /srv/repo/points/1: no space is left");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("No space left on device"));
}

#[test]
fn a_recorded_run_can_be_counted_and_ordered() {
    let store = RecordingStore::new(memory());
    assert_eq!(store.put(&name("x"), &[b"abc", b"d"]).unwrap(), Put::Created);
    assert_eq!(store.put(&name("x"), &[b"other"]).unwrap(), Put::Exists);
    store.get(&name("x"), 1).unwrap_err();
    store.list(&OBJECTS).unwrap();
    store.delete(&name("x")).unwrap();
    store.delete(&name("x")).unwrap();
    assert_eq!(store.created(), BTreeMap::from([("objects".to_owned(), 1)]));
    let recorded = store.take();
    let lines: Vec<String> = recorded.iter().map(ToString::to_string).collect();
    let expected = [
        "store objects/x",
        "store objects/x",
        "read objects/x",
        "list objects",
        "delete objects/x",
        "delete objects/x",
    ];
    assert_eq!(lines, expected);
    let outcomes: Vec<(u64, &Outcome)> = recorded.iter().map(|one| (one.amount, &one.outcome)).collect();
    let too_large = Outcome::Failed(StoreErrorKind::TooLarge { bytes: 4, bytes_max: 1 });
    let expected = [
        (4, &Outcome::Done),
        (0, &Outcome::Exists),
        (0, &too_large),
        (1, &Outcome::Done),
        (0, &Outcome::Done),
        (0, &Outcome::Absent),
    ];
    assert_eq!(outcomes, expected);
    assert!(store.take().is_empty() && store.created().is_empty());
}

#[test]
fn a_refused_call_does_nothing_and_a_lost_answer_does_all() {
    let plan = [Fault::refuse(1, Failure::NoSpace), Fault::lose_answer(3, Failure::Stale).of(Operation::Put)];
    let store = FaultyStore::new(memory(), plan);
    let put = |leaf: &str| store.put(&name(leaf), &[b"x"]).map_err(|error| error.kind);
    assert_eq!(put("refused"), Err(StoreErrorKind::NoSpace));
    assert_eq!(put("good"), Ok(Put::Created));
    store.list(&OBJECTS).unwrap();
    assert_eq!(put("lost"), Err(StoreErrorKind::Stale));
    assert_eq!(put("last"), Ok(Put::Created));
    assert_eq!(store.inner().names(), [name("good"), name("last"), name("lost")]);
    assert_eq!((store.calls(None), store.calls(Some(Operation::Put))), (5, 4));
}

#[test]
fn a_torn_object_is_short_under_its_name() {
    let tear = |operation| {
        let fault = Fault { effect: Effect::Tear { bytes: 2 }, ..Fault::refuse(1, Failure::Io) };
        fault.of(operation)
    };
    let store = FaultyStore::new(memory(), [tear(Operation::Put), tear(Operation::Get), tear(Operation::GetRange)]);
    assert_eq!(store.put(&name("x"), &[b"a", b"bcd"]).unwrap_err().kind, StoreErrorKind::Io);
    assert_eq!(store.put(&name("y"), &[b"abcd"]).unwrap(), Put::Created);
    assert_eq!(store.inner().get(&name("x"), 9).unwrap(), b"ab");
    assert_eq!(store.get(&name("y"), 9).unwrap(), b"ab");
    let kind = store.get_range(&name("y"), 1, 3).unwrap_err().kind;
    assert_eq!(kind, StoreErrorKind::Truncated { bytes: 3, expected: 4 });
    assert_eq!(store.get(&name("y"), 9).unwrap(), b"abcd");
}

#[test]
fn after_a_crash_nothing_more_happens() {
    for (effect, left) in [(Effect::Refuse, vec![name("1")]), (Effect::LoseAnswer, vec![name("1"), name("2")])] {
        let store = FaultyStore::new(memory(), [Fault::crash(2, effect)]);
        let put = |leaf: &str| store.put(&name(leaf), &[b"x"]).is_ok();
        assert_eq!(["1", "2", "3"].map(put), [true, false, false]);
        assert!(store.list(&OBJECTS).is_err());
        assert_eq!(store.inner().names(), left);
    }
}

#[test]
fn a_crash_leaves_what_was_answered_and_perhaps_what_was_under_way() {
    let store = CrashStore::new();
    store.make_directory(&OBJECTS).unwrap();
    assert_eq!(store.put(&name("a"), &[b"1"]).unwrap(), Put::Created);
    assert_eq!(store.put(&name("b"), &[b"2"]).unwrap(), Put::Created);
    store.delete(&name("a")).unwrap();
    let leaves = |left: MemoryStore| left.names().iter().map(|name| name.leaf().to_owned()).collect::<Vec<_>>();
    let mut left: Vec<Vec<String>> = store.crashes().map(leaves).collect();
    assert_eq!(left.len(), 2 * store.moments());
    left.dedup();
    assert_eq!(left, [vec![], vec!["a"], vec!["a", "b"], vec!["b"]]);
}

#[test]
fn a_directory_that_never_stands_still_is_listed_as_a_union() {
    let mut listings = 0;
    let restless = || {
        listings += 1;
        let listed = |leaf: &str| Listed { name: name(leaf), bytes: 0 };
        Ok(vec![listed("stays"), listed(&format!("comes-{listings}"))])
    };
    let seen = settled(restless).unwrap();
    assert_eq!(seen.len(), LOOK_AGAIN_MAX + 2);
    assert!(seen.is_sorted() && seen.iter().any(|one| one.name == name("stays")));
}

#[test]
fn a_listing_is_believed_once_it_is_the_same_twice() {
    let mut listings = ["a", "b", "b", "c"].into_iter();
    let seen = settled(|| Ok(vec![Listed { name: name(listings.next().unwrap()), bytes: 0 }])).unwrap();
    assert_eq!((seen[0].name.leaf(), listings.next()), ("b", Some("c")));
}

#[test]
fn a_store_that_replaces_is_found_by_the_probe() {
    // The bytes that are read are not those that were put first.
    let tear = Fault { effect: Effect::Tear { bytes: 3 }, ..Fault::refuse(1, Failure::Io) }.of(Operation::Get);
    let store = FaultyStore::new(memory(), [tear]);
    assert_eq!(probe_create_if_absent(&store, &OBJECTS).unwrap(), CreateIfAbsent::Missing);
    store.plan([Fault::refuse(1, Failure::Stale)]);
    assert_eq!(probe_create_if_absent(&store, &OBJECTS).unwrap_err().kind, StoreErrorKind::Stale);
    assert_eq!(store.inner().names(), []);
}
