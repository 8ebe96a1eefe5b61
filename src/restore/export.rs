//! The import-ready tarball of a point, written to a file or a pipe.

use std::io::{self, Write};
use std::sync::atomic::AtomicU64;

use crate::monitor::Monitor;
use crate::point::Point;
use crate::repo::Repository;
use crate::restore::around::Lost;
use crate::restore::fetch::{write_around, write_stream};
use crate::restore::steps::FetchError;

/// A point that could not be exported.
#[derive(Debug, thiserror::Error)]
#[error("{label} cannot be exported")]
pub struct ExportError {
    /// The point's source and id.
    pub label: String,
    /// Why.
    pub source: FetchError,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Length in bytes.
    pub bytes: u64,
    /// BLAKE3 of what was written, where it was asked for.
    pub digest: Option<[u8; 32]>,
    /// Stretches that are lost, and were told.
    pub holes: u64,
}

/// Whether to compute a digest of what is written: a second pass of hashing over everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// No digest.
    None,
    /// BLAKE3.
    Blake3,
}

/// Writes the stream of a point, verified by both its digests.
pub fn export(
    repository: &Repository,
    label: &str,
    point: &Point,
    out: &mut dyn Write,
    digest: Digest,
    monitor: &dyn Monitor,
) -> Result<Exported, ExportError> {
    export_around(repository, label, point, out, (digest, Lost::Refuse), monitor)
}

/// The same around what is lost, if that is wanted. With a hole it is not verified as a whole, each chunk of it is.
pub fn export_around(
    repository: &Repository,
    label: &str,
    point: &Point,
    out: &mut dyn Write,
    (digest, lost): (Digest, Lost),
    monitor: &dyn Monitor,
) -> Result<Exported, ExportError> {
    let holes = AtomicU64::new(0);
    let write = |out: &mut dyn Write| {
        let written = match lost {
            Lost::Refuse => write_stream(repository, &point.content, out, monitor),
            Lost::GoAround => write_around(repository, point, None, &holes, out, monitor),
        };
        written.map_err(|source| ExportError { label: label.to_owned(), source })
    };
    let (bytes, digest) = match digest {
        Digest::None => (write(out)?, None),
        Digest::Blake3 => {
            let mut hashed = Hashed { out, hasher: blake3::Hasher::new() };
            (write(&mut hashed)?, Some(*hashed.hasher.finalize().as_bytes()))
        }
    };
    Ok(Exported { bytes, digest, holes: holes.into_inner() })
}

struct Hashed<'o> {
    out: &'o mut dyn Write,
    hasher: blake3::Hasher,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
