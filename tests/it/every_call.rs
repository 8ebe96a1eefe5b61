//! Running something once for each call that it makes of its store, and for each way in which that call can fail.

use std::sync::Arc;

use holdall::check::{CheckLevel, check};
use holdall::monitor::Silent;
use holdall::repo::Repository;
use holdall::store::fault::{Effect, Failure, Fault, FaultyStore};
use holdall::store::{MemoryStore, Name, Operation, Store};

/// A store in memory that fails as planned.
pub type Faulty = Arc<FaultyStore<MemoryStore>>;

/// A way in which a call, counted from 1, can fail.
pub type Way = fn(usize) -> Fault;

/// Once with each of these errors, and nothing happens.
pub const REFUSED: [Way; 3] = [
    |call| Fault::refuse(call, Failure::Io),
    |call| Fault::refuse(call, Failure::NoSpace),
    |call| Fault::refuse(call, Failure::Stale),
];

/// One of these errors at each call, in turn: for what makes hundreds of calls.
pub const REFUSED_IN_TURN: [Way; 1] = [|call| REFUSED[call % REFUSED.len()](call)];

/// It happens, and nobody is told.
pub const UNANSWERED: [Way; 1] = [|call| Fault::lose_answer(call, Failure::Unreachable)];

/// It and all later ones fail: the disk is full for good, or the program dies before it or after it.
pub const LAST: [Way; 3] = [
    |call| Fault { failure: Failure::NoSpace, ..Fault::crash(call, Effect::Refuse) },
    |call| Fault::crash(call, Effect::Refuse),
    |call| Fault::crash(call, Effect::LoseAnswer),
];

/// So many bytes of what is put or read are there, and no more. No object of a repository has this length.
const TORN_BYTES: usize = 77;

/// The store breaks its contract.
pub const TORN: [Way; 1] =
    [|call| Fault { effect: Effect::Tear { bytes: TORN_BYTES }, ..Fault::refuse(call, Failure::Io) }];

/// The same for what is put only: the call counts among the puts.
pub const TORN_PUTS: [Way; 1] = [|call| TORN[0](call).of(Operation::Put)];

/// Runs something without a fault, which has to make so many calls at least, and then with each of these at each call.
/// `run` returns how many calls it made.
pub fn at_every_call(floor: usize, ways: &[&[Way]], run: impl Fn(Option<Fault>) -> usize) {
    let calls = run(None);
    println!("{calls} calls");
    assert!(calls >= floor, "it makes {calls} calls, and made {floor}: has a step been lost?");
    for call in 1..=calls {
        for way in ways.iter().copied().flatten() {
            let fault = way(call);
            let _told = Told(format!("at call {call} of {calls}: {fault:?}"));
            run(Some(fault));
        }
    }
}

/// A store of its own with the same objects, which does not fail yet.
pub fn copy(of: &MemoryStore) -> Faulty {
    Arc::new(FaultyStore::new(of.copy(), []))
}

/// Does something while the store fails as planned. Returns what came of it and how many calls that made.
pub fn during<T>(store: &Faulty, fault: Option<Fault>, work: impl FnOnce(Arc<dyn Store>) -> T) -> (T, usize) {
    store.plan(fault);
    let done = work(Arc::<FaultyStore<MemoryStore>>::clone(store));
    let calls = store.calls(None);
    store.plan([]);
    (done, calls)
}

/// What a torn put left; the root's files are for people.
pub fn torn(store: &Faulty) -> Vec<Name> {
    let is_torn = |name: &Name| {
        name.as_str().contains('/') && store.inner().get(name, usize::MAX).is_ok_and(|bytes| bytes.len() == TORN_BYTES)
    };
    store.inner().names().into_iter().filter(is_torn).collect()
}

/// A check tells of nothing, or of what a torn put left.
pub fn assert_only_what_is_torn_is_told(repository: &Repository, store: &Faulty) {
    let torn = torn(store);
    let findings = check(repository, CheckLevel::ReadData, &Silent).unwrap().findings;
    for name in &torn {
        assert!(findings.iter().any(|finding| finding.object.contains(name.leaf())), "{name} is torn: {findings:?}");
    }
    assert!(!torn.is_empty() || findings.is_empty(), "{findings:?}");
}

/// Says what it was about if that fails.
pub struct Told(pub String);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}
