//! A store that fails when it is told to, in front of another one.
//!
//! Faults are chosen by the number of the call, so that a test can go through every call of an operation: count them
//! with a plan that is empty, then run once for each. What a fault does to the object is stated, never left to chance.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{
    Deleted, Directory, Listed, Name, Operation, Put, Stat, Store, StoreError, StoreErrorKind, Temporary, total_bytes,
};

/// The error that a failing call reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// EIO: the disk fails.
    Io,
    /// ENOSPC: the disk is full.
    NoSpace,
    /// EROFS: the file system became read-only.
    ReadOnly,
    /// ESTALE: the server forgot a handle.
    Stale,
    /// EACCES: this user may not.
    PermissionDenied,
    /// ETIMEDOUT: the server does not answer.
    Unreachable,
}

/// Which call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    /// Only calls of this operation count; `None`: all count.
    pub operation: Option<Operation>,
    /// The number of the call, from 1.
    pub call: usize,
}

/// What becomes of the call that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing happens.
    Refuse,
    /// It happens, and the answer is lost.
    LoseAnswer,
    /// A put leaves only the first bytes under the name, as a store does that breaks its contract, and a read finds
    /// only so many bytes, without an error. Other operations are refused.
    Tear {
        /// How many bytes.
        bytes: usize,
    },
}

/// What becomes of the calls after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// They are served.
    Recover,
    /// Those that counted for [`When`] are refused with the same error.
    KeepFailing,
}

/// A call that fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub when: When,
    /// What happens to it.
    pub effect: Effect,
    /// What it reports.
    pub failure: Failure,
    /// What follows.
    pub then: Then,
}

impl Fault {
    /// The `call`-th call of any operation is refused once.
    pub fn refuse(call: usize, failure: Failure) -> Self {
        Self { when: When { operation: None, call }, effect: Effect::Refuse, failure, then: Then::Recover }
    }

    /// The `call`-th call of any operation takes effect and reports an error.
    pub fn lose_answer(call: usize, failure: Failure) -> Self {
        Self { effect: Effect::LoseAnswer, ..Self::refuse(call, failure) }
    }

    /// The program dies at the `call`-th call: it and all later ones fail. With [`Effect::LoseAnswer`] the call itself
    /// still takes effect, with [`Effect::Refuse`] it does not.
    pub fn crash(call: usize, effect: Effect) -> Self {
        Self { effect, then: Then::KeepFailing, ..Self::refuse(call, Failure::Io) }
    }

    /// The same for calls of one operation only.
    pub fn of(self, operation: Operation) -> Self {
        Self { when: When { operation: Some(operation), ..self.when }, ..self }
    }
}

/// Passes calls on to another store, except those that a fault was planned for.
#[derive(Debug)]
pub struct FaultyStore<S> {
    inner: S,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    plan: Vec<Fault>,
    calls: BTreeMap<Operation, usize>,
}

impl<S: Store> FaultyStore<S> {
    /// A store that fails as planned; of several faults for one call the first counts.
    pub fn new(inner: S, plan: impl IntoIterator<Item = Fault>) -> Self {
        let state = State { plan: plan.into_iter().collect(), calls: BTreeMap::new() };
        Self { inner, state: Mutex::new(state) }
    }

    /// The store behind it, which never fails.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// How many calls there were, of one operation or of all.
    pub fn calls(&self, operation: Option<Operation>) -> usize {
        self.state().count(operation)
    }

    /// Replaces the plan and counts from the beginning again.
    pub fn plan(&self, plan: impl IntoIterator<Item = Fault>) {
        *self.state() = State { plan: plan.into_iter().collect(), calls: BTreeMap::new() };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and makes it unless a fault was planned; `tear` is what a torn call does and answers.
    fn call<T>(
        &self,
        operation: Operation,
        object: &dyn fmt::Display,
        make: impl FnOnce() -> Result<T, StoreError>,
        tear: impl FnOnce(usize, StoreError) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Some((effect, failure)) = self.state().next(operation) else { return make() };
        let object = format!("{}/{object}", self.inner.description());
        let error = StoreError::from_io(object, operation, failure.error());
        match effect {
            Effect::Refuse => Err(error),
            Effect::LoseAnswer => make().and(Err(error)),
            Effect::Tear { bytes } => tear(bytes, error),
        }
    }
}

impl State {
    fn count(&self, operation: Option<Operation>) -> usize {
        match operation {
            Some(operation) => self.calls.get(&operation).copied().unwrap_or(0),
            None => self.calls.values().sum(),
        }
    }

    fn next(&mut self, operation: Operation) -> Option<(Effect, Failure)> {
        *self.calls.entry(operation).or_default() += 1;
        self.plan.iter().find_map(|fault| {
            let counts = fault.when.operation.is_none_or(|only| only == operation);
            match self.count(fault.when.operation).cmp(&fault.when.call) {
                std::cmp::Ordering::Equal if counts => Some((fault.effect, fault.failure)),
                std::cmp::Ordering::Greater if counts && fault.then == Then::KeepFailing => {
                    Some((Effect::Refuse, fault.failure))
                }
                _ => None,
            }
        })
    }
}

impl Failure {
    fn error(self) -> io::Error {
        match self {
            Self::Io => Errno::IO,
            Self::NoSpace => Errno::NOSPC,
            Self::ReadOnly => Errno::ROFS,
            Self::Stale => Errno::STALE,
            Self::PermissionDenied => Errno::ACCESS,
            Self::Unreachable => Errno::TIMEDOUT,
        }
        .into()
    }
}

/// What a call does that cannot be torn.
fn refused<T>(_bytes: usize, error: StoreError) -> Result<T, StoreError> {
    Err(error)
}

impl<S: Store> Store for FaultyStore<S> {
    fn description(&self) -> String {
        self.inner.description()
    }

    fn make_directory(&self, directory: &Directory) -> Result<(), StoreError> {
        self.call(Operation::MakeDirectory, directory, || self.inner.make_directory(directory), refused)
    }

    fn put(&self, name: &Name, parts: &[&[u8]]) -> Result<Put, StoreError> {
        let tear = |bytes: usize, error| {
            let torn: Vec<u8> = parts.concat().into_iter().take(bytes).collect();
            self.inner.put(name, &[&torn]).and(Err(error))
        };
        self.call(Operation::Put, name, || self.inner.put(name, parts), tear)
    }

    fn get(&self, name: &Name, bytes_max: usize) -> Result<Vec<u8>, StoreError> {
        let tear = |bytes, _error| {
            self.inner.get(name, bytes_max).map(|mut read| {
                read.truncate(bytes);
                read
            })
        };
        self.call(Operation::Get, name, || self.inner.get(name, bytes_max), tear)
    }

    fn get_range(&self, name: &Name, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
        // The contract knows no short read of a range: a torn object ends too early.
        let tear = |bytes: usize, error: StoreError| {
            let read = self.inner.get_range(name, offset, length)?;
            let kind = StoreErrorKind::Truncated {
                bytes: offset.saturating_add(bytes as u64),
                expected: offset.saturating_add(total_bytes(&[&read])),
            };
            Err(StoreError::new(error.object, error.operation, kind))
        };
        self.call(Operation::GetRange, name, || self.inner.get_range(name, offset, length), tear)
    }

    fn stat(&self, name: &Name) -> Result<Option<Stat>, StoreError> {
        self.call(Operation::Stat, name, || self.inner.stat(name), refused)
    }

    fn list(&self, directory: &Directory) -> Result<Vec<Listed>, StoreError> {
        self.call(Operation::List, directory, || self.inner.list(directory), refused)
    }

    fn refresh(&self, directory: &Directory) -> Result<(), StoreError> {
        self.call(Operation::Refresh, directory, || self.inner.refresh(directory), refused)
    }

    fn delete(&self, name: &Name) -> Result<Deleted, StoreError> {
        self.call(Operation::Delete, name, || self.inner.delete(name), refused)
    }

    fn temporaries(&self, directory: &Directory) -> Result<Vec<Temporary>, StoreError> {
        self.call(Operation::Temporaries, directory, || self.inner.temporaries(directory), refused)
    }

    fn remove_temporary(&self, temporary: &Temporary) -> Result<Deleted, StoreError> {
        self.call(Operation::RemoveTemporary, temporary, || self.inner.remove_temporary(temporary), refused)
    }
}
