//! A store that remembers what was asked of another one, so that tests can count and order the IO.
//!
//! Operations are recorded when they have ended, with what became of them. Nothing about them is changed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::{
    Deleted, Directory, Listed, Name, Operation, Put, Stat, Store, StoreError, StoreErrorKind, Temporary, total_bytes,
};

/// One operation that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// What was asked.
    pub operation: Operation,
    /// The name of the object or directory, without the store's own.
    pub object: String,
    /// Bytes put or read; entries of a listing; otherwise 0.
    pub amount: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it says.
    Done,
    /// A put found the name taken.
    Exists,
    /// A delete or a look-up found nothing.
    Absent,
    /// It failed.
    Failed(StoreErrorKind),
}

impl Recorded {
    /// The first part of the object's name, which tells what kind of object it is.
    pub fn kind(&self) -> &str {
        self.object.split('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Recorded {
    /// One line for assertions on an order of steps: operation and object.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation, self.object)
    }
}

/// Passes everything on to another store and remembers it.
#[derive(Debug, Default)]
pub struct RecordingStore<S> {
    inner: S,
    recorded: Mutex<Vec<Recorded>>,
}

impl<S: Store> RecordingStore<S> {
    /// Records what is asked of `inner` from now on.
    pub fn new(inner: S) -> Self {
        Self { inner, recorded: Mutex::default() }
    }

    /// The store behind it; what is asked of it directly is not recorded.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Everything recorded since the last call, in order.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.recorded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How often each kind of object was created since the last [`take`](Self::take).
    pub fn created(&self) -> BTreeMap<String, usize> {
        let mut created = BTreeMap::new();
        for one in self.recorded.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if one.operation == Operation::Put && one.outcome == Outcome::Done {
                *created.entry(one.kind().to_owned()).or_default() += 1;
            }
        }
        created
    }

    fn record<T>(
        &self,
        operation: Operation,
        object: &dyn fmt::Display,
        result: Result<T, StoreError>,
        describe: impl FnOnce(&T) -> (u64, Outcome),
    ) -> Result<T, StoreError> {
        let (amount, outcome) = match &result {
            Ok(value) => describe(value),
            Err(error) => (0, Outcome::Failed(error.kind.clone())),
        };
        let one = Recorded { operation, object: object.to_string(), amount, outcome };
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).push(one);
        result
    }
}

fn deleted(found: Deleted) -> (u64, Outcome) {
    match found {
        Deleted::Removed => (0, Outcome::Done),
        Deleted::Absent => (0, Outcome::Absent),
    }
}

impl<S: Store> Store for RecordingStore<S> {
    fn description(&self) -> String {
        self.inner.description()
    }

    fn make_directory(&self, directory: &Directory) -> Result<(), StoreError> {
        let result = self.inner.make_directory(directory);
        self.record(Operation::MakeDirectory, directory, result, |()| (0, Outcome::Done))
    }

    fn put(&self, name: &Name, parts: &[&[u8]]) -> Result<Put, StoreError> {
        self.record(Operation::Put, name, self.inner.put(name, parts), |put| match put {
            Put::Created => (total_bytes(parts), Outcome::Done),
            Put::Exists => (0, Outcome::Exists),
        })
    }

    fn get(&self, name: &Name, bytes_max: usize) -> Result<Vec<u8>, StoreError> {
        let result = self.inner.get(name, bytes_max);
        self.record(Operation::Get, name, result, |bytes| (bytes.len() as u64, Outcome::Done))
    }

    fn get_range(&self, name: &Name, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
        let result = self.inner.get_range(name, offset, length);
        self.record(Operation::GetRange, name, result, |bytes| (bytes.len() as u64, Outcome::Done))
    }

    fn stat(&self, name: &Name) -> Result<Option<Stat>, StoreError> {
        self.record(Operation::Stat, name, self.inner.stat(name), |found| match found {
            Some(_) => (0, Outcome::Done),
            None => (0, Outcome::Absent),
        })
    }

    fn list(&self, directory: &Directory) -> Result<Vec<Listed>, StoreError> {
        let result = self.inner.list(directory);
        self.record(Operation::List, directory, result, |listed| (listed.len() as u64, Outcome::Done))
    }

    fn refresh(&self, directory: &Directory) -> Result<(), StoreError> {
        self.record(Operation::Refresh, directory, self.inner.refresh(directory), |()| (0, Outcome::Done))
    }

    fn delete(&self, name: &Name) -> Result<Deleted, StoreError> {
        self.record(Operation::Delete, name, self.inner.delete(name), |found| deleted(*found))
    }

    fn temporaries(&self, directory: &Directory) -> Result<Vec<Temporary>, StoreError> {
        let result = self.inner.temporaries(directory);
        self.record(Operation::Temporaries, directory, result, |found| (found.len() as u64, Outcome::Done))
    }

    fn remove_temporary(&self, temporary: &Temporary) -> Result<Deleted, StoreError> {
        self.record(Operation::RemoveTemporary, temporary, self.inner.remove_temporary(temporary), |found| {
            deleted(*found)
        })
    }
}
