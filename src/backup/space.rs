//! How much room a staged export needs on the daemon's disk, where its database lives, too.
//!
//! Nobody can be asked: the daemon's interface has no such number. So the largest of what can be known counts: the last
//! point's stream, and a walk of the source's directory for each snapshot and the source itself.

use std::fs;
use std::path::Path;

/// Bytes that an export is expected to have, with a tenth to spare; `None` where nothing is known. `directory` is where
/// the source lies, if that is known.
pub(super) fn needed(directory: Option<&Path>, snapshots: usize, last_stream: Option<u64>) -> Option<u64> {
    // An empty directory is a mount that other namespaces see and this one does not: nothing is known then.
    let seen = directory.filter(|directory| fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()));
    let walked = seen.map(|directory| walk(directory).saturating_mul(snapshots as u64 + 1));
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
    fn a_walk_counts_headers_and_padded_contents() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("sub")).unwrap();
        let file = fs::File::create(directory.path().join("sub/file")).unwrap();
        file.set_len(513).unwrap();
        assert_eq!(walk(directory.path()), 512 + 512 + 1024);
    }
}
