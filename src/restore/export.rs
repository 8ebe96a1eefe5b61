//! The import-ready tarball of a point, written to a file or a pipe.

use std::io::{self, Write};

use crate::monitor::Monitor;
use crate::point::Point;
use crate::repo::Repository;
use crate::restore::fetch::write_stream;
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
    let failed = |source| ExportError { label: label.to_owned(), source };
    match digest {
        Digest::None => {
            let bytes = write_stream(repository, &point.content, out, monitor).map_err(failed)?;
            Ok(Exported { bytes, digest: None })
        }
        Digest::Blake3 => {
            let mut hashed = Hashed { out, hasher: blake3::Hasher::new() };
            let bytes = write_stream(repository, &point.content, &mut hashed, monitor).map_err(failed)?;
            Ok(Exported { bytes, digest: Some(*hashed.hasher.finalize().as_bytes()) })
        }
    }
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
