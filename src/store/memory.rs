//! A store in memory, for tests, fuzzing and dry experiments.
//!
//! Holds the whole contract of [`Store`] except that nothing outlives it. Everything happens under one lock, so
//! listings show one moment and nothing is ever stale.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    Deleted, Directory, Listed, Name, Operation, Put, Stat, Store, StoreError, StoreErrorKind, Temporary, total_bytes,
};
use crate::clock::{Clock, SystemClock, Timestamp};

/// Objects in a map.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    content: Mutex<Content>,
}

#[derive(Default, Clone)]
struct Content {
    directories: BTreeSet<Directory>,
    objects: BTreeMap<Directory, BTreeMap<Name, Object>>,
    /// How many bytes all objects together may have.
    #[cfg(any(test, feature = "testing"))]
    bytes_max: Option<u64>,
}

#[derive(Clone)]
struct Object {
    bytes: Arc<[u8]>,
    modified: Timestamp,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// An empty store whose objects carry the time of the system's clock.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// An empty store whose objects carry the time of `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { clock, content: Mutex::default() }
    }

    /// A store of its own with the same objects as this one has now.
    pub fn copy(&self) -> Self {
        Self { clock: Arc::clone(&self.clock), content: Mutex::new(self.content().clone()) }
    }

    /// A store of its own with nothing in it and the same clock.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn emptied(&self) -> Self {
        Self::with_clock(Arc::clone(&self.clock))
    }

    /// The names of all objects, sorted.
    pub fn names(&self) -> Vec<Name> {
        let mut names: Vec<Name> = self.content().objects.values().flat_map(BTreeMap::keys).cloned().collect();
        names.sort();
        names
    }

    /// Changes the bytes of an object in place, as a failing disk does; says whether there was such an object.
    #[cfg(any(test, feature = "testing"))]
    pub fn damage(&self, name: &Name, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut content = self.content();
        let object = content.objects.get_mut(&name.directory()).and_then(|objects| objects.get_mut(name));
        let Some(object) = object else { return false };
        let mut bytes = object.bytes.to_vec();
        change(&mut bytes);
        object.bytes = bytes.into();
        true
    }

    /// Leaves room for so many bytes more than there are, as a small disk does; names and directories take none.
    #[cfg(any(test, feature = "testing"))]
    pub fn leave_room(&self, bytes: u64) {
        let mut content = self.content();
        content.bytes_max = Some(content.bytes() + bytes);
    }

    /// Bytes of all objects.
    #[cfg(any(test, feature = "testing"))]
    pub fn bytes_used(&self) -> u64 {
        self.content().bytes()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes(&self, name: &Name, operation: Operation) -> Result<Arc<[u8]>, StoreError> {
        let content = self.content();
        let found = content.in_directory(&name.directory(), name, operation)?.and_then(|objects| objects.get(name));
        found.map(|object| Arc::clone(&object.bytes)).ok_or_else(|| error(name, operation, StoreErrorKind::NotFound))
    }
}

impl Content {
    #[cfg(any(test, feature = "testing"))]
    fn bytes(&self) -> u64 {
        self.objects.values().flat_map(BTreeMap::values).map(|object| object.bytes.len() as u64).sum()
    }

    /// The objects of a directory, or an error about `object` if there is no such directory.
    fn in_directory(
        &self,
        directory: &Directory,
        object: &dyn fmt::Display,
        operation: Operation,
    ) -> Result<Option<&BTreeMap<Name, Object>>, StoreError> {
        if *directory != Directory::ROOT && !self.directories.contains(directory) {
            return Err(error(object, operation, StoreErrorKind::DirectoryMissing));
        }
        Ok(self.objects.get(directory))
    }
}

fn error(object: impl fmt::Display, operation: Operation, kind: StoreErrorKind) -> StoreError {
    StoreError::new(format_args!("memory:{object}"), operation, kind)
}

impl Store for MemoryStore {
    fn description(&self) -> String {
        "memory:".to_owned()
    }

    fn make_directory(&self, directory: &Directory) -> Result<(), StoreError> {
        let mut content = self.content();
        let mut above = Directory::ROOT;
        for part in directory.parts() {
            above = above.below(part);
            content.directories.insert(above.clone());
        }
        Ok(())
    }

    fn put(&self, name: &Name, parts: &[&[u8]]) -> Result<Put, StoreError> {
        let bytes: Arc<[u8]> = parts.concat().into();
        let mut content = self.content();
        let taken = content.in_directory(&name.directory(), name, Operation::Put)?.and_then(|all| all.get(name));
        if let Some(taken) = taken {
            return Ok(if taken.bytes == bytes { Put::Created } else { Put::Exists });
        }
        #[cfg(any(test, feature = "testing"))]
        if content.bytes_max.is_some_and(|max| content.bytes() + bytes.len() as u64 > max) {
            return Err(error(name, Operation::Put, StoreErrorKind::NoSpace));
        }
        let object = Object { bytes, modified: self.clock.now() };
        content.objects.entry(name.directory()).or_default().insert(name.clone(), object);
        Ok(Put::Created)
    }

    fn get(&self, name: &Name, bytes_max: usize) -> Result<Vec<u8>, StoreError> {
        let bytes = self.bytes(name, Operation::Get)?;
        if bytes.len() > bytes_max {
            let kind = StoreErrorKind::TooLarge { bytes: bytes.len() as u64, bytes_max: bytes_max as u64 };
            return Err(error(name, Operation::Get, kind));
        }
        Ok(bytes.to_vec())
    }

    fn get_range(&self, name: &Name, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
        let bytes = self.bytes(name, Operation::GetRange)?;
        let range = usize::try_from(offset).ok().and_then(|start| Some(start..start.checked_add(length)?));
        range.and_then(|range| bytes.get(range)).map(<[u8]>::to_vec).ok_or_else(|| {
            let expected = offset.saturating_add(length as u64);
            error(name, Operation::GetRange, StoreErrorKind::Truncated { bytes: total_bytes(&[&bytes]), expected })
        })
    }

    fn stat(&self, name: &Name) -> Result<Option<Stat>, StoreError> {
        let content = self.content();
        let found = content.in_directory(&name.directory(), name, Operation::Stat)?.and_then(|all| all.get(name));
        Ok(found.map(|object| Stat { bytes: object.bytes.len() as u64, modified: object.modified }))
    }

    fn list(&self, directory: &Directory) -> Result<Vec<Listed>, StoreError> {
        let content = self.content();
        let objects = content.in_directory(directory, directory, Operation::List)?;
        let listed = |(name, object): (&Name, &Object)| Listed { name: name.clone(), bytes: object.bytes.len() as u64 };
        Ok(objects.into_iter().flatten().map(listed).collect())
    }

    fn refresh(&self, directory: &Directory) -> Result<(), StoreError> {
        self.content().in_directory(directory, directory, Operation::Refresh).map(|_| ())
    }

    fn delete(&self, name: &Name) -> Result<Deleted, StoreError> {
        let mut content = self.content();
        content.in_directory(&name.directory(), name, Operation::Delete)?;
        let removed = content.objects.get_mut(&name.directory()).and_then(|objects| objects.remove(name));
        Ok(if removed.is_some() { Deleted::Removed } else { Deleted::Absent })
    }

    fn temporaries(&self, directory: &Directory) -> Result<Vec<Temporary>, StoreError> {
        self.content().in_directory(directory, directory, Operation::Temporaries).map(|_| Vec::new())
    }

    fn remove_temporary(&self, _temporary: &Temporary) -> Result<Deleted, StoreError> {
        Ok(Deleted::Absent)
    }
}
