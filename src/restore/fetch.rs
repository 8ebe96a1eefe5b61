//! Rebuilding a stream: plan a window over the recipe, fetch its frames in parallel, write in order.
//!
//! While one window is written the next is fetched. A frame is read once for all chunks that a window wants of it, and
//! kept as long as memory allows, because an export with snapshots refers to each chunk several times. Every chunk is
//! compared with its id, and the whole with both digests of the point before success is reported. Of a stream that is
//! rewritten on the way, what was stored is compared with the digest of its recipe.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use rayon::prelude::*;
use xxhash_rust::xxh3::Xxh3;

use crate::limits::{KIB, RESTORE_BATCH_BYTES, RESTORE_BATCH_STEPS_MAX};
use crate::monitor::{Event, Monitor};
use crate::point::{Content, Point};
use crate::recipe::{ChunkRef, RecipeHasher};
use crate::repo::{self, Fact, Reader, RepoError, Repository};
use crate::restore::around::Around;
use crate::restore::steps::{FetchError, Planned, Steps};
use crate::rewrite::stream::Rewriter;

static ZEROS: [u8; 64 * KIB] = [0; 64 * KIB];

/// One piece of the stream, ready to be written.
enum Piece {
    Envelope(Vec<u8>),
    /// A verified chunk and where in its frame it stands.
    Chunk {
        chunk: ChunkRef,
        fact: Fact,
        frame: Arc<Vec<u8>>,
    },
    Zeros(u64),
}

/// Writes the stream of a point to `out`, verified. Returns its length in bytes.
pub fn write_stream(
    repository: &Repository,
    content: &Content,
    out: &mut dyn Write,
    monitor: &dyn Monitor,
) -> Result<u64, FetchError> {
    let mut output = Output::new(out);
    write_pieces(repository, Steps::new(content, None, None), &mut output, monitor)?;
    output.finish(content)
}

/// The same around what is lost. Every hole is told and counted; where there is none, the digest of the stream is
/// compared.
pub(super) fn write_around(
    repository: &Repository,
    point: &Point,
    rewriter: Option<Rewriter>,
    holes: &AtomicU64,
    out: &mut dyn Write,
    monitor: &dyn Monitor,
) -> Result<u64, FetchError> {
    let mut output = Output::new(out);
    let is_rewritten = rewriter.is_some();
    // A daemon may have refused the same before.
    holes.store(0, Ordering::SeqCst);
    let around = Around::new(point.form.is_archive(), monitor, holes);
    write_pieces(repository, Steps::new(&point.content, rewriter, Some(around)), &mut output, monitor)?;
    if is_rewritten || holes.load(Ordering::SeqCst) > 0 {
        output.flush()?;
        return Ok(output.written);
    }
    output.finish_bytes(&point.content)
}

/// Writes the stream of a point as the rewriter wants it. What the rewriter leaves out is not read.
pub(super) fn write_rewritten(
    repository: &Repository,
    content: &Content,
    rewriter: Rewriter,
    out: &mut dyn Write,
    monitor: &dyn Monitor,
) -> Result<u64, FetchError> {
    let mut output = Output::new(out);
    write_pieces(repository, Steps::new(content, Some(rewriter), None), &mut output, monitor)?;
    output.flush()?;
    Ok(output.written)
}

fn write_pieces(
    repository: &Repository,
    steps: Steps<'_>,
    output: &mut Output<'_>,
    monitor: &dyn Monitor,
) -> Result<(), FetchError> {
    std::thread::scope(|scope| {
        let (windows, fetched) = mpsc::sync_channel(1);
        scope.spawn(move || fetch_windows(repository, steps, &windows));
        for window in fetched {
            let window: Vec<Piece> = window?;
            for piece in &window {
                if monitor.stop_requested() {
                    return Err(FetchError::Stopped);
                }
                let before = output.written;
                output.piece(piece)?;
                monitor.event(Event::Advanced { object: None, bytes: output.written - before });
            }
        }
        Ok(())
    })
}

/// Where the stream goes, with what it came to so far.
struct Output<'o> {
    out: &'o mut dyn Write,
    digest: Xxh3,
    recipe: RecipeHasher,
    written: u64,
}

impl<'o> Output<'o> {
    fn new(out: &'o mut dyn Write) -> Self {
        Self { out, digest: Xxh3::new(), recipe: RecipeHasher::new(), written: 0 }
    }

    fn piece(&mut self, piece: &Piece) -> Result<(), FetchError> {
        match piece {
            Piece::Envelope(bytes) => {
                self.recipe.envelope(bytes);
                self.write(bytes)
            }
            Piece::Chunk { chunk, fact, frame } => {
                self.recipe.chunk(*chunk);
                self.write(repo::bytes_at(frame, fact.at))
            }
            Piece::Zeros(len) => {
                self.recipe.zeros(*len);
                let mut left = *len;
                while left > 0 {
                    let now = usize::try_from(left).unwrap_or(ZEROS.len()).min(ZEROS.len());
                    self.write(ZEROS.get(..now).unwrap_or_default())?;
                    left -= now as u64;
                }
                Ok(())
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.out.write_all(bytes).map_err(|source| FetchError::Write { written: self.written, source })?;
        self.digest.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), FetchError> {
        self.out.flush().map_err(|source| FetchError::Write { written: self.written, source })
    }

    fn finish(mut self, content: &Content) -> Result<u64, FetchError> {
        let recipe = std::mem::take(&mut self.recipe).finish();
        let written = self.finish_bytes(content)?;
        if recipe != content.recipe_digest {
            return Err(FetchError::WrongDigest { which: "recipe digest" });
        }
        Ok(written)
    }

    fn finish_bytes(mut self, content: &Content) -> Result<u64, FetchError> {
        self.flush()?;
        if self.written != content.stream_len {
            return Err(FetchError::WrongDigest { which: "length" });
        }
        if self.digest.digest128() != content.stream_xxh3 {
            return Err(FetchError::WrongDigest { which: "XXH3 digest" });
        }
        Ok(self.written)
    }
}

/// Sends window after window; stops at the first error, or when nobody takes them any more.
fn fetch_windows(
    repository: &Repository,
    steps: Steps<'_>,
    windows: &mpsc::SyncSender<Result<Vec<Piece>, FetchError>>,
) {
    let mut fetcher = match Fetcher::new(repository, steps) {
        Ok(fetcher) => fetcher,
        Err(error) => {
            let _ = windows.send(Err(error.into()));
            return;
        }
    };
    loop {
        let window = fetcher.window();
        let last = window.as_ref().map_or(true, Vec::is_empty);
        if windows.send(window).is_err() || last {
            return;
        }
    }
}

struct Fetcher<'r> {
    repository: &'r Repository,
    reader: Reader<'r>,
    steps: Steps<'r>,
}

/// A step with the place of its chunk.
enum Placed {
    Envelope(Vec<u8>),
    Chunk(ChunkRef, Fact),
    Zeros(u64),
}

impl<'r> Fetcher<'r> {
    fn new(repository: &'r Repository, steps: Steps<'r>) -> Result<Self, RepoError> {
        Ok(Self { repository, reader: Reader::new(repository)?, steps })
    }

    /// The next window; empty at the end of the stream.
    fn window(&mut self) -> Result<Vec<Piece>, FetchError> {
        let mut taken = Vec::new();
        let mut wanted = BTreeMap::new();
        let mut bytes = 0;
        while bytes < RESTORE_BATCH_BYTES && taken.len() < RESTORE_BATCH_STEPS_MAX {
            let Some(step) = self.steps.next(&mut self.reader)? else { break };
            taken.push(match step {
                Planned::Chunk(chunk) => {
                    let fact = self.reader.place(chunk)?;
                    if wanted.insert((fact.pack, fact.at.frame_offset), fact).is_none() {
                        bytes += fact.at.frame_plain_len as usize;
                    }
                    Placed::Chunk(chunk, fact)
                }
                Planned::Envelope(part) => {
                    bytes += part.len();
                    Placed::Envelope(part)
                }
                Planned::Zeros(len) => Placed::Zeros(len),
            });
        }
        self.fetch(wanted.into_values().collect())?;
        Ok(taken.into_iter().map(|step| self.piece(step)).collect::<Result<_, _>>()?)
    }

    /// Reads the frames that are not in memory, in parallel, in the order in which they stand in the packs.
    fn fetch(&mut self, wanted: Vec<Fact>) -> Result<(), RepoError> {
        let mut missing = Vec::new();
        for fact in wanted {
            if !self.reader.has_frame(fact.pack, fact.at.frame) {
                match self.reader.opener(fact.pack) {
                    Ok(opener) => missing.push((fact, opener)),
                    // The pack is gone or damaged: the chunk finds another place when its turn comes, if there is one.
                    Err(error) if matches!(error, RepoError::Gone { .. }) || error.is_damage() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let repository = self.repository;
        let frames: Vec<_> = missing
            .into_par_iter()
            .map(|(fact, opener)| (repo::read_frame(repository, &opener, fact.pack, fact.at), fact))
            .collect();
        for (frame, fact) in frames {
            match frame {
                Ok(frame) => self.reader.keep_frame(fact.pack, fact.at.frame, Arc::new(frame)),
                Err(error) if matches!(error, RepoError::Gone { .. }) || error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn piece(&mut self, step: Placed) -> Result<Piece, RepoError> {
        Ok(match step {
            Placed::Envelope(bytes) => Piece::Envelope(bytes),
            Placed::Zeros(len) => Piece::Zeros(len),
            Placed::Chunk(chunk, fact) => {
                let (fact, frame) = self.reader.frame_of(chunk, fact)?;
                Piece::Chunk { chunk, fact, frame }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::{ImportRequest, Run, import};
    use crate::clock::{FixedClock, Timestamp};
    use crate::crypto::{KeyFile, SlotKey};
    use crate::limits::PAYLOAD_BYTES_MIN;
    use crate::monitor::Silent;
    use crate::repo::{Catalog, Parity};
    use crate::store::MemoryStore;

    /// Every member has the same content, so that the whole stream needs one frame of payload.
    #[test]
    fn a_stream_that_repeats_itself_is_planned_piece_by_piece() {
        let mut header = tar::Header::new_ustar();
        header.set_size(PAYLOAD_BYTES_MIN as u64);
        header.set_cksum();
        let stream =
            [&header.as_bytes()[..], &[7; PAYLOAD_BYTES_MIN]].concat().repeat(RESTORE_BATCH_STEPS_MAX / 2 + 1000);
        let clock = FixedClock(Timestamp::from_micros(1).unwrap());
        let key = SlotKey::KeyFile(&KeyFile::fixed([7; 32]));
        let repository = Repository::init(Arc::new(MemoryStore::new()), &key, clock.0, 0, Parity::None).unwrap();
        let mut run = Run::begin(&repository, &Silent, &clock, "host").unwrap();
        let source = Some("file:x".parse().unwrap());
        let (label, server, input) = (String::new(), String::new(), &mut &stream[..]);
        import(&mut run, ImportRequest { label, input, bytes: None, source, server }).unwrap();
        run.finish().unwrap();

        let catalog = Catalog::read(&repository, &Silent).unwrap();
        let content = &catalog.points()[0].1.content;
        let mut fetcher = Fetcher::new(&repository, Steps::new(content, None, None)).unwrap();
        let first = fetcher.window().unwrap();
        assert_eq!(first.len(), RESTORE_BATCH_STEPS_MAX);
        assert!(!fetcher.window().unwrap().is_empty());
        let mut out = Vec::new();
        write_stream(&repository, content, &mut out, &Silent).unwrap();
        assert!(out == stream);
    }
}
