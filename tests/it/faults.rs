//! A store that fails, lies about having failed, or dies, at every call of an import in turn.
//!
//! Whatever happens, success is reported only for a point that restores, what was there before still restores, and the
//! next import works without any mending.

use std::sync::Arc;

use holdall::check::{CheckLevel, check};
use holdall::monitor::Silent;
use holdall::store::fault::{Effect, Failure, Fault, FaultyStore};
use holdall::store::{MemoryStore, Store};

use crate::fixture::{export_bytes, import_bytes, init, points, reopen, tar_of_noise};

/// Runs one import on a repository with one point, with this fault planned; returns how many calls it made.
fn import_with(fault: Option<Fault>) -> usize {
    let store = Arc::new(FaultyStore::new(MemoryStore::new(), []));
    let repository = init(Arc::<FaultyStore<MemoryStore>>::clone(&store) as Arc<dyn Store>);
    let (old, new) = (tar_of_noise(4, 70_000), tar_of_noise(9, 60_000));
    import_bytes(&repository, &old[..], Some("file:old")).unwrap();

    store.plan(fault);
    let imported = try_import(&repository, &new);
    let calls = store.calls(None);
    store.plan([]);

    let later = reopen(store);
    let names = |wanted: &str| points(&later).iter().filter(|(_, point)| point.source.name == wanted).count();
    assert_eq!(names("old"), 1);
    // A point may stand without having been reported, when the answer was lost; never the other way round.
    assert!(names("new") == 1 || !imported, "{fault:?}: reported, and not there");
    for (_, point) in points(&later) {
        let expected = if point.source.name == "old" { &old } else { &new };
        assert!(export_bytes(&later, &point) == *expected, "{fault:?}: {}", point.source);
    }
    let report = check(&later, CheckLevel::ReadData, &Silent).unwrap();
    assert!(report.is_clean(), "{fault:?}: {:?}", report.findings);
    import_bytes(&later, &new[..], Some("file:again")).unwrap();
    let again = points(&later).into_iter().find(|(_, point)| point.source.name == "again").expect("the next import");
    assert!(export_bytes(&later, &again.1) == new);
    calls
}

fn try_import(repository: &holdall::repo::Repository, bytes: &[u8]) -> bool {
    use holdall::backup::{ImportRequest, Run, import};
    let clock = crate::fixture::clock();
    let Ok(mut run) = Run::begin(repository, &Silent, &clock, "test-host") else { return false };
    let mut input = bytes;
    let source = Some("file:new".parse().expect("a source"));
    let request =
        ImportRequest { label: "bytes".into(), input: &mut input, bytes: None, source, server: "host".into() };
    import(&mut run, request).is_ok() && run.finish().is_ok_and(|summary| summary.made.len() == 1)
}

fn at_every_call(fault: impl Fn(usize) -> Fault) {
    let calls = import_with(None);
    assert!(calls >= 27, "an import makes {calls} calls: has a step been lost?");
    for call in 0..calls {
        import_with(Some(fault(call)));
    }
}

#[test]
fn an_error_at_any_call_costs_the_import_at_most() {
    at_every_call(|call| Fault::refuse(call, Failure::Io));
}

#[test]
fn a_full_disk_at_any_call_costs_the_import_at_most() {
    at_every_call(|call| Fault { failure: Failure::NoSpace, ..Fault::crash(call, Effect::Refuse) });
}

#[test]
fn a_lost_answer_at_any_call_costs_the_import_at_most() {
    at_every_call(|call| Fault::lose_answer(call, Failure::Unreachable));
}

#[test]
fn the_death_of_the_store_at_any_call_costs_the_import_at_most() {
    at_every_call(|call| Fault::crash(call, Effect::Refuse));
    at_every_call(|call| Fault::crash(call, Effect::LoseAnswer));
}
