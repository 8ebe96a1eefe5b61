//! How much room a staged export needs on the daemon's disk, where its database lives, too.
//!
//! Nobody can be asked: the daemon's interface has no such number. So the largest of what can be known counts: the last
//! point's stream, and a walk of the source's directory for each snapshot and the source itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The room in the daemon's staging area that exports of this run were promised.
#[derive(Default)]
pub(super) struct Promised(Mutex<Vec<Option<u64>>>);

/// A promise, until it is dropped.
pub(super) struct Promise<'p> {
    promised: &'p Promised,
    bytes: Option<u64>,
}

/// Why no room was promised.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is not so much.
    TooSmall,
    /// There is not so much beside the exports that are at work.
    Busy,
}

impl Promised {
    /// Promises room for an export that needs so many bytes, where so many are free now; one whose size nobody knows
    /// gets all there is for itself. What others were promised counts in full, for it may not be written yet.
    pub(super) fn promise(&self, needed: Option<u64>, free: u64) -> Result<Promise<'_>, Refusal> {
        let mut promised = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if needed.is_some_and(|needed| needed > free) && promised.is_empty() {
            return Err(Refusal::TooSmall);
        }
        let others = promised.iter().try_fold(0_u64, |sum, one| one.map(|one| sum.saturating_add(one)));
        let fits = match (needed, others) {
            (Some(needed), Some(others)) => needed <= free.saturating_sub(others),
            _ => promised.is_empty(),
        };
        if !fits {
            return Err(Refusal::Busy);
        }
        promised.push(needed);
        Ok(Promise { promised: self, bytes: needed })
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        let mut promised = self.promised.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = promised.iter().position(|one| *one == self.bytes) {
            promised.swap_remove(at);
        }
    }
}

/// Bytes of an export of nothing: its index and the daemon's descriptions, snapshots included.
const LEAST_BYTES: u64 = 1 << 20;

/// Where a source lies.
pub(super) struct Place {
    pub directory: PathBuf,
    /// Whether it lies there always. Of other drivers a directory is empty while nothing is mounted on it, and may
    /// stay so in this namespace of mounts when something is.
    pub is_plain: bool,
}

/// Bytes that an export is expected to have, with a tenth to spare; `None` where nothing is known. `place` is where the
/// source lies, if that is known.
pub(super) fn needed(place: Option<&Place>, snapshots: usize, last_stream: Option<u64>) -> Option<u64> {
    let can_be_seen = |place: &&Place| {
        fs::read_dir(&place.directory).is_ok_and(|mut entries| place.is_plain || entries.next().is_some())
    };
    let seen = place.filter(can_be_seen);
    let walked = seen.map(|place| walk(&place.directory).saturating_mul(snapshots as u64 + 1));
    let walked = walked.map(|bytes| bytes.saturating_add(LEAST_BYTES));
    let last = last_stream.map(|bytes| bytes.saturating_add(bytes / 5));
    walked.max(last).map(|bytes| bytes.saturating_add(bytes / 10))
}

/// Length of everything in a directory as an archive has it: a header a file, contents padded, holes filled. Each link
/// to a file counts, which is too much rather than too little.
fn walk(directory: &Path) -> u64 {
    const BLOCK: u64 = 512;
    let mut total = 0_u64;
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            total = total.saturating_add(BLOCK);
            if metadata.is_dir() {
                directories.push(entry.path());
            } else if metadata.is_file() {
                total = total.saturating_add(metadata.len().div_ceil(BLOCK).saturating_mul(BLOCK));
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_is_an_empty_source_only_where_none_is_mounted() {
        let directory = tempfile::tempdir().unwrap();
        let place = |is_plain| Place { directory: directory.path().to_owned(), is_plain };
        assert_eq!(needed(Some(&place(false)), 1, None), None);
        assert_eq!(needed(Some(&place(false)), 1, Some(10_000_000)), Some(13_200_000));
        assert_eq!(needed(Some(&place(true)), 1, None), Some(LEAST_BYTES + LEAST_BYTES / 10));
        let gone = Place { directory: directory.path().join("gone"), is_plain: true };
        assert_eq!(needed(Some(&gone), 1, None), None);
    }

    #[test]
    fn room_is_promised_once() {
        let promised = Promised::default();
        assert_eq!(promised.promise(Some(101), 100).err(), Some(Refusal::TooSmall));
        let one = promised.promise(Some(60), 100).unwrap();
        assert_eq!(promised.promise(Some(60), 100).err(), Some(Refusal::Busy));
        // What does not fit now may fit when the others are gone.
        assert_eq!(promised.promise(Some(101), 100).err(), Some(Refusal::Busy));
        let other = promised.promise(Some(40), 100).unwrap();
        assert_eq!(promised.promise(None, u64::MAX).err(), Some(Refusal::Busy));
        drop((one, other));
        let whole = promised.promise(None, 0).unwrap();
        assert_eq!(promised.promise(Some(1), u64::MAX).err(), Some(Refusal::Busy));
        drop(whole);
        assert!(promised.promise(Some(100), 100).is_ok());
    }

    #[test]
    fn a_walk_counts_headers_and_padded_contents() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("sub")).unwrap();
        let file = fs::File::create(directory.path().join("sub/file")).unwrap();
        file.set_len(513).unwrap();
        assert_eq!(walk(directory.path()), 512 + 512 + 1024);
    }
}
