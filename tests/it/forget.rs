//! Points are forgotten as planned: what must stay stays, whatever the store does meanwhile, and no void goes.

use std::collections::BTreeSet;
use std::sync::Arc;

use holdall::backup::{ImportRequest, Run, import};
use holdall::check::{CheckLevel, check};
use holdall::clock::{FixedClock, Timestamp};
use holdall::crypto::{GivenName, seal_given};
use holdall::forget::{self, Cause, Fate, Plan};
use holdall::id::{PointId, RunId};
use holdall::monitor::{Collected, Event, Monitor, Silent};
use holdall::point::Verdict;
use holdall::repo::{Catalog, Commit, RepoError, Repository, Session, SessionRecord, Writer};
use holdall::retention::{Calendar, Keep, Policy, Reason};
use holdall::source::Source;
use holdall::store::fault::{Fault, FaultyStore};
use holdall::store::{Deleted, MemoryStore, Name, Put, Store};
use jiff::tz::TimeZone;

use crate::every_call::{LAST, REFUSED, TORN, UNANSWERED, at_every_call};
use crate::fixture::{clock, export_bytes, init, new, points, reopen, tar_of_noise};

const DAY: u64 = 86_400_000_000;

fn day(number: u64) -> Timestamp {
    Timestamp::from_micros(clock().0.as_micros() + number * DAY).unwrap()
}

/// A point of a file, begun on this day.
fn made(repository: &Repository, name: &str, number: u64) -> PointId {
    let clock = FixedClock(day(number));
    let mut run = Run::begin(repository, &Silent, &clock, "test-host").unwrap();
    let bytes = tar_of_noise(2, 3000 + usize::try_from(number).unwrap());
    let (mut input, source) = (&bytes[..], format!("file:{name}").parse().unwrap());
    let (label, server) = ("bytes".to_owned(), String::new());
    import(&mut run, ImportRequest { label, input: &mut input, bytes: None, source: Some(source), server }).unwrap();
    run.finish().unwrap().made[0].point
}

fn last(count: u32) -> Policy {
    Policy { last: Some(Keep::Count(count.try_into().unwrap())), ..Policy::default() }
}

/// What this policy makes of the repository on the hundredth day.
fn planned(repository: &Repository, policy: &Policy) -> Result<Plan, RepoError> {
    let catalog = Catalog::read(repository, &Silent)?;
    let history = repository.whole_history()?;
    Ok(forget::by_policy(&catalog, &history, &[], policy, day(100), &TimeZone::UTC))
}

fn dropped(plan: &Plan) -> Vec<PointId> {
    plan.dropped().map(|(_, point)| point.id).collect()
}

fn ids(repository: &Repository) -> BTreeSet<PointId> {
    points(repository).into_iter().map(|(id, _)| id).collect()
}

#[track_caller]
fn assert_sound(repository: &Repository) {
    let report = check(repository, CheckLevel::ReadData, &Silent).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn a_policy_drops_what_it_does_not_keep_of_each_source() {
    let repository = new();
    let old: Vec<PointId> = (0..4).map(|number| made(&repository, "a", number)).collect();
    let other = made(&repository, "b", 0);
    let plan = planned(&repository, &last(2)).unwrap();
    assert_eq!((dropped(&plan), plan.kept()), (old[..2].to_vec(), 3));
    assert_eq!(plan.sources[0].points[0].fate, Fate::Drop(Cause::NoRule));
    assert_eq!(plan.sources[1].points[0].fate, Fate::Keep(vec![Reason::Newest, Reason::Last]));
    assert_eq!(ids(&repository).len(), 5, "a plan changes nothing");

    let outcome = forget::execute(&repository, &plan, &Silent).unwrap();
    assert_eq!((outcome.forgotten, outcome.failed, outcome.stopped), (old[..2].iter().copied().collect(), 0, false));
    assert_eq!(ids(&repository), [old[2], old[3], other].into());
    assert_sound(&repository);
    assert!(dropped(&planned(&repository, &last(2)).unwrap()).is_empty(), "once is enough");
    // What another host has forgotten already is no failure.
    assert_eq!(forget::execute(&repository, &plan, &Silent).unwrap().failed, 0);
}

#[test]
fn points_count_as_those_of_the_source_that_they_were_given_to() {
    let repository = new();
    let (old, new) = (made(&repository, "a", 1), made(&repository, "b", 2));
    repository
        .rename(&repository.history().unwrap(), &Source::file("a"), &Source::file("b"), &[old].into(), day(2))
        .unwrap();
    let plan = planned(&repository, &last(1)).unwrap();
    assert_eq!((dropped(&plan), plan.sources.len()), (vec![old], 1));
    assert_eq!(ids(&repository), [old, new].into());
}

#[test]
fn pins_and_tags_keep_points() {
    let repository = new();
    let old: Vec<PointId> = (0..5).map(|number| made(&repository, "a", number)).collect();
    let history = repository.history().unwrap();
    repository.pin(&history, old[0], true, day(5)).unwrap();
    repository.tag(&history, old[1], "release", true, day(5)).unwrap();
    repository.tag(&history, old[2], "test", true, day(5)).unwrap();
    let policy = Policy { tags: ["release".to_owned()].into(), ..last(1) };
    assert_eq!(dropped(&planned(&repository, &policy).unwrap()), old[2..4]);
    assert_eq!(dropped(&planned(&repository, &last(1)).unwrap()), old[1..4]);

    let catalog = Catalog::read(&repository, &Silent).unwrap();
    let history = repository.whole_history().unwrap();
    let refused = forget::named(&catalog, &history, &[old[0], old[3]].into()).unwrap_err();
    assert_eq!((refused.id, refused.to_string()), (old[0], format!("Point {} of file:a is pinned", old[0])));
    repository.pin(&history, old[0], false, day(6)).unwrap();
    repository.tag(&history, old[1], "release", false, day(6)).unwrap();
    assert_eq!(dropped(&planned(&repository, &policy).unwrap()), old[..4]);

    let history = repository.whole_history().unwrap();
    assert_eq!((history.pinned().len(), history.tags().len()), (0, 1));
    let plan = forget::named(&catalog, &history, &[old[0], old[4]].into()).unwrap();
    let fates: Vec<&Fate> = plan.sources[0].points.iter().map(|point| &point.fate).collect();
    assert_eq!(fates, [&Fate::Drop(Cause::Named), &Fate::Drop(Cause::NamedNewest)]);
}

/// Two hosts that did not see each other's notes: one pins, the other takes an older pin back.
#[test]
fn a_pin_that_another_host_did_not_see_holds() {
    let repository = new();
    let point = made(&repository, "a", 0);
    made(&repository, "a", 1);
    let before = repository.history().unwrap();
    repository.pin(&before, point, true, day(2)).unwrap();
    repository.pin(&before, point, false, day(2)).unwrap();
    assert!(dropped(&planned(&repository, &last(1)).unwrap()).is_empty());
    repository.pin(&repository.history().unwrap(), point, false, day(3)).unwrap();
    assert_eq!(dropped(&planned(&repository, &last(1)).unwrap()), [point]);
}

#[test]
fn points_of_retired_sources_go_but_for_pinned_ones() {
    let repository = new();
    let old: Vec<PointId> = (0..3).map(|number| made(&repository, "a", number)).collect();
    made(&repository, "b", 0);
    let history = repository.history().unwrap();
    repository.retire(&history, &Source::file("a"), true, day(5)).unwrap();
    repository.pin(&history, old[1], true, day(5)).unwrap();
    let catalog = Catalog::read(&repository, &Silent).unwrap();
    let plan = forget::of_retired(&catalog, &repository.whole_history().unwrap(), &[]);
    assert_eq!((dropped(&plan), plan.kept()), (vec![old[0], old[2]], 1));
    let other = ["file:b".parse().unwrap()];
    assert!(forget::of_retired(&catalog, &repository.whole_history().unwrap(), &other).sources.is_empty());
}

#[test]
fn a_note_that_cannot_be_read_keeps_every_point() {
    let store = Arc::new(MemoryStore::new());
    let repository = init(Arc::<MemoryStore>::clone(&store));
    made(&repository, "a", 0);
    made(&repository, "a", 1);
    let name: Name = format!("notes/{}", "5".repeat(64)).parse().unwrap();
    assert_eq!(store.put(&name, &[&[0; 4096]]).unwrap(), Put::Created);
    let refused = planned(&repository, &last(1)).unwrap_err();
    assert!(refused.is_damage() && refused.to_string().contains(name.leaf()), "{refused}");
}

/// Forty nights, each followed by retention, leave what the policy promises of all forty.
#[test]
fn retention_every_night_leaves_what_was_promised() {
    let repository = new();
    let three = Keep::Count(3.try_into().unwrap());
    let each = [(Calendar::Daily, three), (Calendar::Weekly, three)].into();
    let policy = Policy { each, ..Policy::default() };
    let nights: Vec<PointId> = (0..40)
        .map(|night| {
            let point = made(&repository, "a", night);
            forget::execute(&repository, &planned(&repository, &policy).unwrap(), &Silent).unwrap();
            point
        })
        .collect();
    // The first night is Saturday, 2026-11-21, and so the last Wednesday, 2026-12-30; Sundays are 29 and 36.
    assert_eq!(ids(&repository), [29, 36, 37, 38, 39].map(|night| nights[night]).into());
    assert_sound(&repository);
}

fn put_at(repository: &Repository, directory: &str, id: PointId, bytes: &[u8]) {
    let name: Name = format!("{directory}/{id}").parse().unwrap();
    assert_eq!(repository.store().put(&name, &[bytes]).unwrap(), Put::Created);
}

#[test]
fn a_void_is_never_forgotten() {
    let repository = new();
    let id = PointId::random().unwrap();
    put_at(&repository, "points", id, &seal_given(repository.write_keys(), GivenName::Void(id), &[]).unwrap());
    assert_eq!(repository.forget(id).unwrap(), Deleted::Absent);
    assert_eq!(repository.forget_damaged(id).unwrap(), Deleted::Absent);
    assert_eq!(repository.read_verdict(id).unwrap(), Verdict::Void);
    assert!(repository.damaged_points().unwrap().is_empty());
}

fn session_record() -> SessionRecord {
    SessionRecord::of_this_process(RunId::from_bytes([1; 32]), "test-host", day(0))
}

#[test]
fn a_writer_that_sleeps_does_not_commit_in_the_place_of_what_was_damaged() {
    let repository = new();
    let sound = made(&repository, "a", 0);
    let (_, point) = points(&repository).remove(0);
    let writer = Writer::new(&repository, RunId::from_bytes([1; 32]));
    // With a session that is still open, and with one that a fence removed whose void was damaged later.
    for is_open in [true, false] {
        let (mut session, _) = writer.open_session(&session_record()).unwrap();
        let id = session.id();
        put_at(&repository, "points", id, &[7; 5000]);
        if !is_open {
            repository.store().delete(&format!("sessions/{id}").parse().unwrap()).unwrap();
        }
        let damaged: Vec<PointId> = repository.damaged_points().unwrap().into_iter().map(|(id, _)| id).collect();
        assert_eq!(damaged, [id]);
        assert!(repository.forget(id).unwrap_err().is_damage(), "nobody removes it by accident");
        assert_eq!(repository.forget_damaged(id).unwrap(), Deleted::Removed);
        assert_eq!(repository.read_verdict(id).unwrap(), Verdict::Void);
        assert_eq!(repository.list_sessions().unwrap(), []);
        Session::flush([&mut session], &writer).unwrap();
        assert_eq!(session.commit(&writer, &point).unwrap(), Commit::Fenced);
    }
    assert_eq!(repository.forget_damaged(sound).unwrap(), Deleted::Absent);
    assert_eq!(ids(&repository), [sound].into());
    assert_sound(&repository);
}

#[test]
fn a_key_that_only_writes_forgets_nothing() {
    use holdall::crypto::{Access, KeyFile, SlotKey, Unlock};
    let store = Arc::new(MemoryStore::new());
    let repository = init(Arc::<MemoryStore>::clone(&store));
    let point = made(&repository, "a", 0);
    let plan = forget::named(
        &Catalog::read(&repository, &Silent).unwrap(),
        &repository.whole_history().unwrap(),
        &[point].into(),
    )
    .unwrap();
    let file = KeyFile::fixed([8; 32]);
    repository.add_key(&SlotKey::KeyFile(&file), Access::WriteOnly, "", day(0)).unwrap();
    let place = holdall::repo::IndexPlace::Memory;
    let (writer, _) = Repository::open(store, Unlock::KeyFile(&file), place).unwrap();
    assert!(matches!(forget::execute(&writer, &plan, &Silent), Err(RepoError::CannotRead)));
    assert!(matches!(writer.forget(point), Err(RepoError::CannotRead)));
    assert!(matches!(writer.forget_damaged(point), Err(RepoError::CannotRead)));
    assert_eq!(ids(&repository), [point].into());
}

/// Asks to stop after so many questions.
struct Impatient(std::sync::atomic::AtomicUsize);

impl Monitor for Impatient {
    fn event(&self, _event: Event) {}

    fn stop_requested(&self) -> bool {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 1
    }
}

#[test]
fn a_stop_comes_between_two_points() {
    let repository = new();
    let old: Vec<PointId> = (0..4).map(|number| made(&repository, "a", number)).collect();
    let plan = planned(&repository, &last(1)).unwrap();
    let outcome = forget::execute(&repository, &plan, &Impatient(3.into())).unwrap();
    assert_eq!((outcome.forgotten, outcome.stopped), ([old[0], old[1]].into(), true));
    assert_eq!(ids(&repository), [old[2], old[3]].into());
}

/// Forgets on a repository with four old points and one new one with this fault planned; returns how many calls of the
/// store that made.
fn forget_with(fault: Option<Fault>) -> usize {
    let store = Arc::new(FaultyStore::new(MemoryStore::new(), []));
    let repository = init(Arc::<FaultyStore<MemoryStore>>::clone(&store) as Arc<dyn Store>);
    let old: Vec<PointId> = (0..5).map(|number| made(&repository, "a", number)).collect();
    repository.pin(&repository.history().unwrap(), old[1], true, day(5)).unwrap();
    let wanted: BTreeSet<PointId> = [old[0], old[2], old[3]].into();

    store.plan(fault);
    let told = Collected::default();
    let outcome =
        planned(&repository, &last(1)).and_then(|plan| forget::execute(&repository, &plan, &told)).unwrap_or_default();
    let calls = store.calls(None);
    store.plan([]);

    let later = reopen(store);
    let left = ids(&later);
    assert!(left.is_superset(&[old[1], old[4]].into()), "{fault:?}: what must stay is gone");
    assert!(left.is_disjoint(&outcome.forgotten), "{fault:?}: told as forgotten, and still there");
    // That notes about what is forgotten stay is said, and is no failure.
    let failures = told.events().iter().filter(|event| matches!(event, Event::Problem(_))).count();
    assert_eq!(failures, outcome.failed, "{fault:?}: what fails is told");
    if fault.is_none_or(|fault| fault.then == holdall::store::fault::Then::Recover) && failures > 0 {
        assert_eq!(outcome.forgotten.len() + outcome.failed, wanted.len(), "{fault:?}: one failure ends nothing");
    }
    let again = forget::execute(&later, &planned(&later, &last(1)).unwrap(), &Silent).unwrap();
    assert_eq!(again.failed, 0);
    assert_eq!(ids(&later), [old[1], old[4]].into(), "{fault:?}");
    assert_sound(&later);
    for (_, point) in points(&later) {
        assert!(!export_bytes(&later, &point).is_empty());
    }
    calls
}

#[test]
fn a_failure_at_any_call_costs_a_repetition_at_most() {
    at_every_call(24, &[&REFUSED, &UNANSWERED, &LAST, &TORN], forget_with);
}

/// Wherever the removal of what is damaged ends, a writer with an open session commits its point as a whole or not at
/// all, and a fence ends it.
#[test]
fn a_failure_at_any_call_leaves_damage_or_a_session_or_a_void() {
    let run = |fault: Option<Fault>| {
        let store = Arc::new(FaultyStore::new(MemoryStore::new(), []));
        let repository = init(Arc::<FaultyStore<MemoryStore>>::clone(&store) as Arc<dyn Store>);
        let id = PointId::random().unwrap();
        put_at(&repository, "points", id, &[7; 5000]);
        put_at(
            &repository,
            "sessions",
            id,
            &seal_given(repository.write_keys(), GivenName::Session(id), &session_record().encode()).unwrap(),
        );
        store.plan(fault);
        let removed = repository.forget_damaged(id).is_ok();
        let calls = store.calls(None);
        store.plan([]);
        let later = reopen(store);
        let verdict = later.read_verdict(id);
        let has_session = later.list_sessions().unwrap().contains(&id);
        let is_void = matches!(verdict, Ok(Verdict::Void));
        assert!(is_void || has_session, "{fault:?}: {verdict:?}");
        assert!(!removed || is_void && !has_session, "{fault:?}: told as done, and is not");
        if matches!(verdict, Err(RepoError::Damaged { .. })) {
            assert_eq!(later.forget_damaged(id).unwrap(), Deleted::Removed);
        }
        calls
    };
    assert_eq!(run(None), 4, "it is read, deleted, replaced by a void, and its session goes");
    at_every_call(4, &[&REFUSED, &UNANSWERED, &LAST, &TORN], run);
}
