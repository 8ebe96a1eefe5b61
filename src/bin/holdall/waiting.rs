//! What the program waits for, told while it waits: an NFS mount whose server is gone says nothing and never gives up.
//!
//! A thread of its own looks every second at what the store was asked, for whoever asked cannot look. State is global
//! because every command opens its store for itself.

use std::fmt;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use holdall::store::{Capacity, LocalStore, Operation, Pending, StoreError, Unanswered, WatchedStore};

use crate::output::Output;

/// How often the thread looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long an operation may take before it is told. Most take milliseconds; a whole pack on a slow line takes seconds.
const TELL_AFTER: Duration = Duration::from_secs(20);
/// How often it is told again.
const TELL_EVERY: Duration = Duration::from_mins(1);

static PENDING: LazyLock<Arc<Pending>> = LazyLock::new(Arc::default);

/// Opens the store in a directory.
pub fn open_store(path: &Path) -> Result<WatchedStore<LocalStore>, StoreError> {
    let store = during(Operation::Open, path.display(), || LocalStore::open(path))?;
    Ok(WatchedStore::new(store, Arc::clone(&PENDING)))
}

/// Makes a store in a directory.
pub fn create_store(path: &Path) -> Result<WatchedStore<LocalStore>, StoreError> {
    let store = during(Operation::Create, path.display(), || LocalStore::create(path))?;
    Ok(WatchedStore::new(store, Arc::clone(&PENDING)))
}

/// What kind of file system a store is on, and how much room is left there.
pub fn capacity(store: &WatchedStore<LocalStore>) -> Result<Capacity, StoreError> {
    during(Operation::Open, store.inner().path().display(), || store.inner().capacity())
}

/// Does something else that needs the repository's file system.
pub fn during<T>(operation: Operation, object: impl fmt::Display, ask: impl FnOnce() -> T) -> T {
    PENDING.during(operation, object, ask)
}

/// Runs a command, and tells what it waits for when that takes long.
pub fn told<T>(output: &Output, run: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        let (running, ended) = mpsc::channel::<()>();
        // Without the thread nothing is told.
        let _ = thread::Builder::new().spawn_scoped(scope, move || {
            let mut last = None;
            while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                if let Some(oldest) = PENDING.oldest().filter(|oldest| is_due(oldest, &mut last)) {
                    output.waiting(&words(&oldest));
                }
            }
        });
        let result = run();
        drop(running);
        result
    })
}

/// What was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    number: u64,
    after: Duration,
}

/// Whether it is time to tell of an operation, which then counts as told.
fn is_due(oldest: &Unanswered, last: &mut Option<Told>) -> bool {
    let due = match last {
        Some(told) if told.number == oldest.number => told.after + TELL_EVERY,
        _ => TELL_AFTER,
    };
    let is_due = oldest.waited >= due;
    if is_due {
        *last = Some(Told { number: oldest.number, after: oldest.waited });
    }
    is_due
}

fn words(oldest: &Unanswered) -> String {
    let Unanswered { operation, object, waited, .. } = oldest;
    format!("Waiting for {} s to {operation} {object}; the storage has not answered yet", waited.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unanswered(number: u64, seconds: u64) -> Unanswered {
        let object = "/mnt/repo/packs/a".to_owned();
        Unanswered { number, operation: Operation::Put, object, waited: Duration::from_secs(seconds) }
    }

    #[test]
    fn what_takes_long_is_told_now_and_then() {
        let mut last = None;
        let due: Vec<u64> = (0..200).filter(|seconds| is_due(&unanswered(1, *seconds), &mut last)).collect();
        assert_eq!(due, [20, 80, 140]);
        let due: Vec<u64> = (0..30).filter(|seconds| is_due(&unanswered(2, *seconds), &mut last)).collect();
        assert_eq!(due, [20], "another operation is told as soon as the first was");
    }

    #[test]
    fn a_wait_is_told_in_one_line() {
        let expected = "Waiting for 21 s to store /mnt/repo/packs/a; the storage has not answered yet";
        assert_eq!(words(&unanswered(1, 21)), expected);
    }

    #[test]
    fn what_a_command_returns_is_handed_on_at_once() {
        let output = Output::plain();
        assert_eq!(told(&output, || during(Operation::Open, "x", || 7)), 7);
        assert_eq!(PENDING.oldest(), None);
    }
}
