//! A store in memory that can say, for every moment of its past, what a crash at that moment could have left.
//!
//! The contract makes the model small: what was answered is durable, and a call that was still under way has happened
//! entirely or not at all. One run of an operation gives all its crashes; nothing has to be run again for each.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Deleted, Directory, Listed, MemoryStore, Name, Put, Stat, Store, StoreError, Temporary};

/// Remembers every change and when it was under way.
#[derive(Default)]
pub struct CrashStore {
    present: MemoryStore,
    history: Mutex<Vec<Event>>,
}

/// A change becomes possible when its call begins and certain when it ends.
enum Event {
    Began(Option<Change>),
    /// The call that began at this position.
    Ended(usize),
}

#[derive(Clone)]
enum Change {
    MakeDirectory(Directory),
    Put(Name, Vec<u8>),
    Delete(Name),
}

impl Event {
    fn ended(&self) -> Option<usize> {
        match self {
            Self::Ended(began) => Some(*began),
            Self::Began(_) => None,
        }
    }
}

impl fmt::Debug for CrashStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrashStore").field("moments", &self.moments()).finish_non_exhaustive()
    }
}

impl CrashStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many moments there are to crash at: before anything, and after each beginning and end of a changing call.
    pub fn moments(&self) -> usize {
        self.history().len() + 1
    }

    /// What a crash at a moment, from 0, leaves. Of the calls that were under way those have happened whose object
    /// `happened` accepts; a directory that was being made asks by its own name.
    pub fn crash(&self, moment: usize, mut happened: impl FnMut(&str) -> bool) -> MemoryStore {
        let history = self.history();
        let past = history.get(..moment).unwrap_or(&history);
        let ended: BTreeSet<usize> = past.iter().filter_map(Event::ended).collect();
        let left = self.present.emptied();
        for (position, event) in past.iter().enumerate() {
            let Event::Began(Some(change)) = event else { continue };
            if ended.contains(&position) || happened(change.object()) {
                change.apply(&left);
            }
        }
        left
    }

    /// Every store that a crash at any moment could leave, if calls come one at a time: with and without the call that
    /// was under way.
    pub fn crashes(&self) -> impl Iterator<Item = MemoryStore> + '_ {
        (0..self.moments()).flat_map(|moment| [self.crash(moment, |_| false), self.crash(moment, |_| true)])
    }

    fn history(&self) -> MutexGuard<'_, Vec<Event>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change. What its answer says is certain from its end on, and it takes effect in the order of the
    /// beginnings, whichever thread is told first.
    fn change<T>(
        &self,
        make: impl FnOnce(&MemoryStore) -> Result<T, StoreError>,
        says: impl FnOnce(&MemoryStore, &T) -> Option<Change>,
    ) -> Result<T, StoreError> {
        let mut history = self.history();
        let result = make(&self.present);
        let position = history.len();
        history.push(Event::Began(result.as_ref().ok().and_then(|answer| says(&self.present, answer))));
        drop(history);
        // Other threads' calls may begin here, while this one has not answered.
        self.history().push(Event::Ended(position));
        result
    }
}

impl Change {
    fn object(&self) -> &str {
        match self {
            Self::MakeDirectory(directory) => directory.as_str(),
            Self::Put(name, _) | Self::Delete(name) => name.as_str(),
        }
    }

    fn apply(&self, store: &MemoryStore) {
        // A change of something whose own creation did not survive has nothing to change.
        match self {
            Self::MakeDirectory(directory) => drop(store.make_directory(directory)),
            Self::Put(name, bytes) => drop(store.put(name, &[bytes])),
            Self::Delete(name) => drop(store.delete(name)),
        }
    }
}

impl Store for CrashStore {
    fn description(&self) -> String {
        self.present.description()
    }

    fn make_directory(&self, directory: &Directory) -> Result<(), StoreError> {
        let says = |_: &MemoryStore, (): &()| Some(Change::MakeDirectory(directory.clone()));
        self.change(|store| store.make_directory(directory), says)
    }

    fn put(&self, name: &Name, parts: &[&[u8]]) -> Result<Put, StoreError> {
        // "Exists" is as durable as "created", even if whoever created it has no answer yet.
        let says = |store: &MemoryStore, _: &Put| {
            let bytes = store.get(name, usize::MAX).ok()?;
            Some(Change::Put(name.clone(), bytes))
        };
        self.change(|store| store.put(name, parts), says)
    }

    fn get(&self, name: &Name, bytes_max: usize) -> Result<Vec<u8>, StoreError> {
        self.present.get(name, bytes_max)
    }

    fn get_range(&self, name: &Name, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
        self.present.get_range(name, offset, length)
    }

    fn stat(&self, name: &Name) -> Result<Option<Stat>, StoreError> {
        self.present.stat(name)
    }

    fn list(&self, directory: &Directory) -> Result<Vec<Listed>, StoreError> {
        self.present.list(directory)
    }

    fn refresh(&self, directory: &Directory) -> Result<(), StoreError> {
        self.present.refresh(directory)
    }

    fn delete(&self, name: &Name) -> Result<Deleted, StoreError> {
        let says = |_: &MemoryStore, _: &Deleted| Some(Change::Delete(name.clone()));
        self.change(|store| store.delete(name), says)
    }

    fn temporaries(&self, directory: &Directory) -> Result<Vec<Temporary>, StoreError> {
        self.present.temporaries(directory)
    }

    fn remove_temporary(&self, temporary: &Temporary) -> Result<Deleted, StoreError> {
        self.present.remove_temporary(temporary)
    }
}
