//! The upload of a point into a daemon: rebuilt and verified while it goes, and completed only if it is what was backed
//! up.

use std::io::{self, Read, Write};
use std::sync::mpsc;

use crate::daemon::{ImportRequest, Progress};
use crate::limits::{PIECE_BYTES, UPLOAD_QUEUE_BYTES_MAX};
use crate::monitor::Event;
use crate::restore::around::Lost;
use crate::restore::attributes::{AttributesAsOnDisk, IdMap};
use crate::restore::fetch::{write_around, write_rewritten, write_stream};
use crate::restore::steps::FetchError;
use crate::restore::target::{Job, RestoreError};
use crate::rewrite::stream::Rewrite;

/// Streams the point into the daemon's import, rewritten if it is to be. An error on our side reaches the daemon as a
/// broken upload, never as the end of a short one. `len` is about how long it will be.
pub(super) fn upload(
    job: &Job<'_>,
    request: &ImportRequest,
    rewrite: Option<&Rewrite>,
    len: u64,
    id_maps: Vec<IdMap>,
) -> Result<u64, RestoreError> {
    let Job { repository, point, monitor, .. } = *job;
    let rewriter = rewrite.map(|rewrite| job.rewriter(rewrite)).transpose()?;
    let (bytes, ()) = upload_through(job, request, len, |pieces| {
        let mut out = AttributesAsOnDisk::new(id_maps, pieces);
        let written = match rewriter {
            rewriter if job.target.lost == Lost::GoAround => {
                write_around(repository, point, rewriter, job.holes, &mut out, monitor)?
            }
            Some(rewriter) => write_rewritten(repository, &point.content, rewriter, &mut out, monitor)?,
            None => write_stream(repository, &point.content, &mut out, monitor)?,
        };
        out.finish().map_err(|source| FetchError::Write { written, source })?;
        Ok((written, ()))
    })?;
    Ok(bytes)
}

/// The same for what no daemon unpacks: exactly the bytes that were backed up, but for holes.
pub(super) fn upload_as_it_is(job: &Job<'_>, request: &ImportRequest) -> Result<u64, RestoreError> {
    let Job { repository, point, monitor, .. } = *job;
    let write = |pieces: &mut PieceWriter| {
        let written = match job.target.lost {
            Lost::Refuse => write_stream(repository, &point.content, pieces, monitor)?,
            Lost::GoAround => write_around(repository, point, None, job.holes, pieces, monitor)?,
        };
        Ok((written, ()))
    };
    let (bytes, ()) = upload_through(job, request, point.content.stream_len, write)?;
    Ok(bytes)
}

/// The same of what `write` writes, which gives the number of bytes and perhaps something to tell about them.
pub(super) fn upload_through<T: Send>(
    job: &Job<'_>,
    request: &ImportRequest,
    len: u64,
    write: impl FnOnce(&mut PieceWriter) -> Result<(u64, T), FetchError> + Send,
) -> Result<(u64, T), RestoreError> {
    let Job { daemon, label, monitor, .. } = *job;
    monitor.event(Event::Started { object: label.to_owned(), bytes: Some(len) });
    let (pieces, arriving) = mpsc::sync_channel(UPLOAD_QUEUE_BYTES_MAX / PIECE_BYTES);
    let (imported, fetched) = std::thread::scope(|scope| {
        let fetching = scope.spawn(move || {
            let mut pieces = PieceWriter { pieces, piece: Vec::new() };
            let (written, told) = write(&mut pieces)?;
            pieces.finish().map_err(|source| FetchError::Write { written, source })?;
            Ok((written, told))
        });
        let mut body = PieceReader { arriving, piece: Vec::new(), read: 0, ended: false };
        let imported = daemon.import(request, &mut body, &mut |progress| {
            if let Progress::Waiting(words) = progress {
                monitor.event(Event::Waiting { object: label.to_owned(), progress: words.to_owned() });
            }
        });
        // The writer's next piece finds nobody, should it still be at work.
        drop(body);
        (imported, fetching.join())
    });
    monitor.event(Event::Ended { object: label.to_owned() });
    match (imported, fetched) {
        (Ok(()), Ok(Ok(done))) => Ok(done),
        // Our own failure is the cause of the daemon's; a failed write is only the echo of the daemon's.
        (_, Ok(Err(error))) if !matches!(error, FetchError::Write { .. }) => Err(job.broken(error)),
        (Err(source), _) => Err(RestoreError::Upload { label: label.to_owned(), source }),
        (Ok(()), Ok(Err(error))) => Err(job.broken(error)),
        (Ok(()), Err(_)) => {
            let source = io::Error::other("the thread that rebuilds the stream ended without an answer");
            Err(job.broken(FetchError::Write { written: 0, source }))
        }
    }
}

/// Hands a stream on in pieces.
pub(super) struct PieceWriter {
    pieces: mpsc::SyncSender<Option<Vec<u8>>>,
    piece: Vec<u8>,
}

impl PieceWriter {
    /// Gives the stream its end: only one that proved to be what was backed up has any.
    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.pieces.send(None).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.piece.is_empty() {
            let piece = std::mem::take(&mut self.piece);
            self.pieces.send(Some(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(())
    }
}

/// Reads what a [`PieceWriter`] hands on. Without its last word the end is an error.
struct PieceReader {
    arriving: mpsc::Receiver<Option<Vec<u8>>>,
    piece: Vec<u8>,
    read: usize,
    ended: bool,
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.ended && self.read == self.piece.len() {
            match self.arriving.recv() {
                Ok(Some(piece)) => (self.piece, self.read) = (piece, 0),
                Ok(None) => self.ended = true,
                Err(_) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream could not be rebuilt")),
            }
        }
        let rest = self.piece.get(self.read..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        let (Some(to), Some(from)) = (buffer.get_mut(..len), rest.get(..len)) else { return Ok(0) };
        to.copy_from_slice(from);
        self.read += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_without_its_last_word_has_no_end() {
        let pieces = |end: bool| {
            let (pieces, arriving) = mpsc::sync_channel(8);
            let mut out = PieceWriter { pieces, piece: Vec::new() };
            out.write_all(b"some bytes").unwrap();
            if end {
                out.finish().unwrap();
            } else {
                out.flush().unwrap();
                drop(out);
            }
            let mut body = PieceReader { arriving, piece: Vec::new(), read: 0, ended: false };
            let mut read = Vec::new();
            body.read_to_end(&mut read).map(|_| read)
        };
        assert_eq!(pieces(true).unwrap(), b"some bytes");
        assert!(pieces(false).is_err());
    }
}
