//! A store that remembers what was asked of it and is not answered yet.
//!
//! An NFS mount waits for its server for as long as it takes, and whoever asked sleeps meanwhile: only somebody else
//! can tell the user what is waited for. Nothing is ended or repeated here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Deleted, Directory, Listed, Name, Operation, Put, Stat, Store, StoreError, Temporary};

/// What was asked and is not answered yet. Shared by all stores of a program and by whoever looks at it.
#[derive(Debug, Default)]
pub struct Pending(Mutex<Asked>);

#[derive(Debug, Default)]
struct Asked {
    /// By the order in which they were asked, so that the first is the oldest.
    operations: BTreeMap<u64, (Operation, String, Instant)>,
    next: u64,
}

/// An operation that is not answered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// Which one it is, among all that were ever asked.
    pub number: u64,
    /// What was asked.
    pub operation: Operation,
    /// Full path or address of what it is about.
    pub object: String,
    /// For how long it has been pending.
    pub waited: Duration,
}

impl Pending {
    /// Does something that a store may be long in answering.
    pub fn during<T>(&self, operation: Operation, object: impl fmt::Display, ask: impl FnOnce() -> T) -> T {
        let number = self.begin(operation, object.to_string());
        let _answered = Answered { pending: self, number };
        ask()
    }

    /// The operation that has been pending for the longest time; `None` if none is.
    pub fn oldest(&self) -> Option<Unanswered> {
        let asked = self.asked();
        let (number, (operation, object, since)) = asked.operations.first_key_value()?;
        let waited = since.elapsed();
        Some(Unanswered { number: *number, operation: *operation, object: object.clone(), waited })
    }

    fn begin(&self, operation: Operation, object: String) -> u64 {
        let mut asked = self.asked();
        let number = asked.next;
        asked.next += 1;
        asked.operations.insert(number, (operation, object, Instant::now()));
        number
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes an operation away when it has ended, however it did.
struct Answered<'p> {
    pending: &'p Pending,
    number: u64,
}

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        self.pending.asked().operations.remove(&self.number);
    }
}

/// Passes everything on to another store, and while it is not answered it can be seen in a [`Pending`].
#[derive(Debug)]
pub struct WatchedStore<S> {
    inner: S,
    pending: Arc<Pending>,
}

impl<S: Store> WatchedStore<S> {
    /// Shows in `pending` what is asked of `inner` from now on.
    pub fn new(inner: S, pending: Arc<Pending>) -> Self {
        Self { inner, pending }
    }

    /// The store behind it; what is asked of it directly is not seen.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn during<T>(&self, operation: Operation, object: &dyn fmt::Display, ask: impl FnOnce(&S) -> T) -> T {
        let object = format!("{}/{object}", self.inner.description());
        self.pending.during(operation, object, || ask(&self.inner))
    }
}

impl<S: Store> Store for WatchedStore<S> {
    fn description(&self) -> String {
        self.inner.description()
    }

    fn make_directory(&self, directory: &Directory) -> Result<(), StoreError> {
        self.during(Operation::MakeDirectory, directory, |inner| inner.make_directory(directory))
    }

    fn put(&self, name: &Name, parts: &[&[u8]]) -> Result<Put, StoreError> {
        self.during(Operation::Put, name, |inner| inner.put(name, parts))
    }

    fn get(&self, name: &Name, bytes_max: usize) -> Result<Vec<u8>, StoreError> {
        self.during(Operation::Get, name, |inner| inner.get(name, bytes_max))
    }

    fn get_range(&self, name: &Name, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
        self.during(Operation::GetRange, name, |inner| inner.get_range(name, offset, length))
    }

    fn stat(&self, name: &Name) -> Result<Option<Stat>, StoreError> {
        self.during(Operation::Stat, name, |inner| inner.stat(name))
    }

    fn list(&self, directory: &Directory) -> Result<Vec<Listed>, StoreError> {
        self.during(Operation::List, directory, |inner| inner.list(directory))
    }

    fn refresh(&self, directory: &Directory) -> Result<(), StoreError> {
        self.during(Operation::Refresh, directory, |inner| inner.refresh(directory))
    }

    fn delete(&self, name: &Name) -> Result<Deleted, StoreError> {
        self.during(Operation::Delete, name, |inner| inner.delete(name))
    }

    fn temporaries(&self, directory: &Directory) -> Result<Vec<Temporary>, StoreError> {
        self.during(Operation::Temporaries, directory, |inner| inner.temporaries(directory))
    }

    fn remove_temporary(&self, temporary: &Temporary) -> Result<Deleted, StoreError> {
        self.during(Operation::RemoveTemporary, temporary, |inner| inner.remove_temporary(temporary))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use crate::store::conformance;

    #[test]
    fn a_watched_store_keeps_the_contract_and_answers_everything() {
        let pending = Arc::new(Pending::default());
        conformance::suite(|| WatchedStore::new(MemoryStore::new(), Arc::clone(&pending)));
        assert_eq!(pending.oldest(), None);
        assert!(pending.asked().next > 100, "the suite asks much");
    }

    #[test]
    fn the_oldest_of_what_is_pending_is_seen() {
        let pending = Pending::default();
        let seen = || pending.oldest().map(|one| (one.operation, one.object));
        let list = Some((Operation::List, "/mnt/repo/points".to_owned()));
        pending.during(Operation::List, "/mnt/repo/points", || {
            assert_eq!(seen(), list);
            pending.during(Operation::Put, "/mnt/repo/packs/a", || assert_eq!(seen(), list));
        });
        assert_eq!(seen(), None);
    }

    #[test]
    fn what_fails_is_answered_too() {
        let pending = Arc::new(Pending::default());
        let store = WatchedStore::new(MemoryStore::new(), Arc::clone(&pending));
        assert!(store.list(&Directory::fixed("absent")).is_err());
        assert_eq!((pending.oldest(), pending.asked().next), (None, 1));
    }

    #[test]
    fn an_operation_is_called_by_its_full_name() {
        let store = WatchedStore::new(MemoryStore::new(), Arc::default());
        let name = Directory::fixed("objects");
        let expected = format!("{}/objects", store.description());
        store.during(Operation::List, &name, |_| {
            assert_eq!(store.pending.oldest().map(|one| one.object), Some(expected));
        });
    }
}
