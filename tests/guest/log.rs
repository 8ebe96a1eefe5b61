//! Reads what the kernel's `dm-log-writes` has logged, and repeats it on a copy of the disk.
//!
//! The log is a super block and then entries, each of one sector, those that write followed by what was written. The
//! kernel puts a write there when a flush made it durable, in the order in which a disk would have it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
const FLAG_DISCARD: u64 = 1 << 2;
const FLAG_MARK: u64 = 1 << 3;
/// Bytes of an entry before the text of a mark.
const ENTRY_BYTES: usize = 32;

/// One thing that happened to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Bytes from `at` in the log were written to `to` on the disk; none, if it was a flush alone.
    Write { to: u64, at: u64, bytes: u64 },
    /// What was there is no longer needed, and may read as zeros.
    Discard { to: u64, bytes: u64 },
    /// Somebody said something at this moment.
    Mark(String),
}

/// A log.
pub struct Log {
    file: File,
    /// What happened, in order.
    pub entries: Vec<Entry>,
}

impl Log {
    /// Reads the log on a disk.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut head = [0; 28];
        file.read_exact_at(&mut head, 0)?;
        assert_eq!((number(&head, 0), number(&head, 8)), (MAGIC, VERSION), "a log of dm-log-writes");
        let (count, sector_bytes) = (number(&head, 16), number(&head, 24) & 0xffff_ffff);
        let mut at = sector_bytes;
        let mut entries = Vec::new();
        for _ in 0..count {
            let mut sector = vec![0; usize::try_from(sector_bytes).expect("a sector")];
            file.read_exact_at(&mut sector, at)?;
            at += sector_bytes;
            let (to, bytes) = (number(&sector, 0) * sector_bytes, number(&sector, 8) * sector_bytes);
            let (flags, text_bytes) = (number(&sector, 16), number(&sector, 24));
            if flags & FLAG_MARK != 0 {
                let text = &sector[ENTRY_BYTES..][..usize::try_from(text_bytes).expect("a text")];
                entries.push(Entry::Mark(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned()));
            } else if flags & FLAG_DISCARD != 0 {
                entries.push(Entry::Discard { to, bytes });
            } else {
                entries.push(Entry::Write { to, at, bytes });
                at += bytes;
            }
        }
        Ok(Self { file, entries })
    }

    /// Does one of the entries to a disk.
    pub fn repeat(&self, entry: &Entry, disk: &File) -> io::Result<()> {
        match entry {
            Entry::Write { to, at, bytes } => {
                let mut written = vec![0; usize::try_from(*bytes).expect("a write")];
                self.file.read_exact_at(&mut written, *at)?;
                disk.write_all_at(&written, *to)
            }
            Entry::Discard { to, bytes } => {
                let zeros = vec![0; 1 << 20];
                let mut done = 0;
                while done < *bytes {
                    let next = usize::try_from((bytes - done).min(1 << 20)).expect("a mebibyte");
                    disk.write_all_at(&zeros[..next], to + done)?;
                    done += next as u64;
                }
                Ok(())
            }
            Entry::Mark(_) => Ok(()),
        }
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    let end = bytes.len().min(at + 8);
    eight[..end - at].copy_from_slice(&bytes[at..end]);
    u64::from_le_bytes(eight)
}
