//! The order of steps, read from a recorded run, and how much IO a run costs (`format-spec/concurrency.md`).

use std::collections::BTreeMap;
use std::sync::Arc;

use holdall::store::record::{Outcome, Recorded, RecordingStore};
use holdall::store::{MemoryStore, Operation, Store};

use crate::fixture::{import_bytes, init, noise, tar_of_noise};

/// What a second import of other bytes asks of the store.
fn recorded(bytes: &[u8]) -> (Vec<Recorded>, BTreeMap<String, usize>) {
    let store = Arc::new(RecordingStore::new(MemoryStore::new()));
    let repository = init(Arc::<RecordingStore<MemoryStore>>::clone(&store) as Arc<dyn Store>);
    import_bytes(&repository, &tar_of_noise(3, 90_000)[..], Some("file:x")).unwrap();
    store.take();
    import_bytes(&repository, bytes, Some("file:x")).unwrap();
    let created = store.created();
    (store.take(), created)
}

/// Where the first and the last operation of this sort stand in the record.
fn places(record: &[Recorded], operation: Operation, kind: &str) -> (usize, usize) {
    let is = |one: &Recorded| one.operation == operation && one.kind() == kind && one.outcome == Outcome::Done;
    let first = record.iter().position(is).unwrap_or_else(|| panic!("{operation} {kind} is in the record"));
    (first, record.iter().rposition(is).expect("the first is there"))
}

#[test]
fn a_writer_takes_the_steps_in_their_order() {
    let (record, _) = recorded(&tar_of_noise(40, 100_000));
    let announced = places(&record, Operation::Put, "sessions");
    let condemned = places(&record, Operation::List, "condemned");
    let listed = places(&record, Operation::List, "packs");
    let packs = places(&record, Operation::Put, "packs");
    let segment = places(&record, Operation::Put, "index");
    let point = places(&record, Operation::Put, "points");
    let ended = places(&record, Operation::Delete, "sessions");
    let steps = [announced, condemned, listed, packs, segment, point, ended];
    assert!(steps.windows(2).all(|pair| pair[0].1 < pair[1].0), "W1 to W6: {steps:?} in {record:#?}");
    assert_eq!(point.0, point.1, "the commit is sent once");
}

#[test]
fn an_import_costs_the_objects_that_it_must() {
    let counts = |created: BTreeMap<String, usize>| created.into_iter().collect::<Vec<_>>();
    let expected = |kinds: &[(&str, usize)]| kinds.iter().map(|(kind, n)| ((*kind).to_owned(), *n)).collect::<Vec<_>>();
    let (_, created) = recorded(&noise(9, 3_000_000));
    let all = [("index", 1), ("notes", 1), ("packs", 2), ("points", 1), ("sessions", 1)];
    assert_eq!(counts(created), expected(&all));
    let (_, created) = recorded(&tar_of_noise(3, 90_000));
    assert_eq!(counts(created), expected(&[("notes", 1), ("points", 1), ("sessions", 1)]), "the same bytes once more");
}
