//! The steps of a stream in order, as they were backed up or as a rewriter wants them; and single files out of it.
//!
//! Nothing here reads what a member holds, unless somebody has to see it: chunks go by as references. So what a
//! rewriter leaves out is never fetched, and how long a rewritten stream will be is known before any of it is. Every
//! step that was stored is counted into the recipe's digest, those that are left out included.

use std::collections::VecDeque;
use std::io;

use crate::point::Content;
use crate::recipe::{ChunkRef, Part, RecipeHasher, Step, TableRow};
use crate::repo::{self, Reader, RepoError, Repository, Rows};
use crate::restore::around::Around;
use crate::rewrite::stream::{Machine, Output, RewriteError, Rewriter};
use crate::tar::{Event, Splitter};

/// Zeros that are pushed where they are no content.
static ZEROS: [u8; 512] = [0; 512];

/// Why a stream could not be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Something of the repository is missing or damaged.
    #[error(transparent)]
    Repository(#[from] RepoError),
    /// The stream could not be written where it should go.
    #[error("The stream cannot be written on after {written} bytes")]
    Write {
        /// Bytes written before.
        written: u64,
        /// Why.
        source: io::Error,
    },
    /// What was rebuilt is not what was backed up.
    #[error("The rebuilt stream differs from the one that was backed up: its {which} is another")]
    WrongDigest {
        /// Which digest, or the length.
        which: &'static str,
    },
    /// What was backed up cannot be made what was asked for.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// The user asked to stop.
    #[error("Stopped on request")]
    Stopped,
}

/// One step of the stream as it is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Planned {
    Envelope(Vec<u8>),
    Chunk(ChunkRef),
    Zeros(u64),
}

impl Planned {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Envelope(bytes) => bytes.len() as u64,
            Self::Chunk(chunk) => chunk.len.into(),
            Self::Zeros(len) => *len,
        }
    }
}

/// The steps of one stream.
pub(super) struct Steps<'c> {
    content: &'c Content,
    rows: Rows,
    rewriter: Option<Rewriter>,
    around: Option<Around<'c>>,
    /// Of what was stored, where it is not what is written.
    stored: Option<(RecipeHasher, u64)>,
    planned: VecDeque<Planned>,
    is_over: bool,
}

impl<'c> Steps<'c> {
    /// The steps of this content, rewritten if there is a rewriter, and around what is lost if that is wanted.
    pub(super) fn new(content: &'c Content, rewriter: Option<Rewriter>, around: Option<Around<'c>>) -> Self {
        let stored = rewriter.as_ref().map(|_| (RecipeHasher::new(), 0));
        let (rows, planned) = (Rows::new(content), VecDeque::new());
        Self { content, rows, rewriter, around, stored, planned, is_over: false }
    }

    /// The next step; `None` at the end, and then all that was stored was what the point says.
    pub(super) fn next(&mut self, reader: &mut Reader<'_>) -> Result<Option<Planned>, FetchError> {
        while self.planned.is_empty() {
            let Some(steps) = self.stretch(reader)? else {
                let Some(rewriter) = self.rewriter.take() else { return Ok(None) };
                self.verify_stored()?;
                self.planned.extend(rewriter.finish()?.into_iter().map(Planned::from));
                continue;
            };
            let Some(rewriter) = &mut self.rewriter else {
                self.planned.extend(steps);
                continue;
            };
            for step in steps {
                if let Some((hasher, len)) = &mut self.stored {
                    *len += step.len();
                    count(hasher, &step);
                }
                feed(rewriter, reader, step)?;
                self.planned.extend(rewriter.take().into_iter().map(Planned::from));
            }
        }
        Ok(self.planned.pop_front())
    }

    /// The steps of the next part as they are to be written, or rewritten.
    fn stretch(&mut self, reader: &mut Reader<'_>) -> Result<Option<Vec<Planned>>, RepoError> {
        if self.is_over {
            return Ok(None);
        }
        let Some(around) = &mut self.around else {
            let Some(row) = self.rows.next(reader)? else { return Ok(None) };
            let (part, envelope) = read_part(reader, &row)?;
            return Ok(Some(in_order(part.steps, &envelope)));
        };
        match self.rows.next(reader) {
            Ok(Some(row)) => {
                let part = read_part(reader, &row);
                return around.part(reader, &row, part).map(Some);
            }
            Ok(None) => {}
            Err(error) if error.is_hole() => around.rest_is_lost(self.rows.left(), &error),
            Err(error) => return Err(error),
        }
        self.is_over = true;
        Ok(Some(around.end()))
    }

    fn verify_stored(&mut self) -> Result<(), FetchError> {
        let Some((hasher, len)) = self.stored.take() else { return Ok(()) };
        // Around holes its steps are others, also where they make the same bytes.
        if self.around.is_some() {
            return Ok(());
        }
        if len != self.content.stream_len {
            return Err(FetchError::WrongDigest { which: "length" });
        }
        if hasher.finish() != self.content.recipe_digest {
            return Err(FetchError::WrongDigest { which: "recipe digest" });
        }
        Ok(())
    }
}

impl From<Output> for Planned {
    fn from(output: Output) -> Self {
        match output {
            Output::Bytes(bytes) => Self::Envelope(bytes),
            Output::Chunk(chunk) => Self::Chunk(chunk),
            Output::Zeros(len) => Self::Zeros(len),
        }
    }
}

/// A part with the bytes of its envelope.
fn read_part(reader: &mut Reader<'_>, row: &TableRow) -> Result<(Part, Vec<u8>), RepoError> {
    let part = repo::read_part(reader, row)?;
    let envelope = reader.chunks(&part.envelope)?;
    Ok((part, envelope))
}

/// How long a stream is, and that it can be made.
pub(super) fn measure(repository: &Repository, mut steps: Steps<'_>) -> Result<u64, FetchError> {
    let mut reader = Reader::new(repository)?;
    let mut len = 0_u64;
    while let Some(step) = steps.next(&mut reader)? {
        len = len.saturating_add(step.len());
    }
    Ok(len)
}

/// The content of the first member of this path, if it is there and no longer than that. Reads no further.
pub(super) fn read_member(
    repository: &Repository,
    content: &Content,
    path: &[u8],
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, FetchError> {
    let mut reader = Reader::new(repository)?;
    let mut rows = Rows::new(content);
    let mut finder = Finder { splitter: Splitter::new(), path, bytes_max, left: 0, found: None };
    while let Some(row) = rows.next(&mut reader)? {
        let (part, envelope) = read_part(&mut reader, &row)?;
        for step in in_order(part.steps, &envelope) {
            feed(&mut finder, &mut reader, step)?;
            if finder.is_complete() {
                return Ok(finder.found);
            }
        }
    }
    Ok(None)
}

/// The steps of a part with the bytes of its envelope.
pub(super) fn in_order(steps: Vec<Step>, mut envelope: &[u8]) -> Vec<Planned> {
    let planned = steps.into_iter().map(|step| match step {
        Step::Envelope(len) => {
            // The decoder has made sure that the lengths agree.
            let (bytes, behind) = envelope.split_at(usize::try_from(len).unwrap_or(0).min(envelope.len()));
            envelope = behind;
            Planned::Envelope(bytes.to_vec())
        }
        Step::Chunk(chunk) => Planned::Chunk(chunk),
        Step::Zeros(len) => Planned::Zeros(len),
    });
    planned.collect()
}

/// Counts a step as the recipe's digest does.
pub(super) fn count(hasher: &mut RecipeHasher, step: &Planned) {
    match step {
        Planned::Envelope(bytes) => hasher.envelope(bytes),
        Planned::Chunk(chunk) => hasher.chunk(*chunk),
        Planned::Zeros(len) => hasher.zeros(*len),
    }
}

fn feed(machine: &mut impl Machine, reader: &mut Reader<'_>, step: Planned) -> Result<(), FetchError> {
    match step {
        Planned::Envelope(bytes) => machine.push(&bytes)?,
        Planned::Chunk(chunk) if machine.pass_chunk(chunk)? => {}
        // Somebody must see it; or it holds headers, which no writer of ours does, but a recipe may.
        Planned::Chunk(chunk) => machine.push(&reader.chunk(chunk)?)?,
        Planned::Zeros(mut left) => {
            while left > 0 {
                let now = match machine.skippable() {
                    0 => {
                        let now = left.min(ZEROS.len() as u64);
                        machine.push(ZEROS.get(..usize::try_from(now).unwrap_or(0)).unwrap_or_default())?;
                        now
                    }
                    most => {
                        let now = left.min(most);
                        machine.pass_zeros(now)?;
                        now
                    }
                };
                left -= now;
            }
        }
    }
    Ok(())
}

/// Takes events; it does not fail, but the machines that are driven like it may.
type Sink<'s> = dyn FnMut(Event<'_>) -> Result<(), RewriteError> + 's;

/// Looks for one member.
struct Finder<'p> {
    splitter: Splitter,
    path: &'p [u8],
    bytes_max: usize,
    /// Bytes of the member that are still to come.
    left: u64,
    found: Option<Vec<u8>>,
}

impl Finder<'_> {
    fn is_complete(&self) -> bool {
        self.found.is_some() && self.left == 0
    }

    fn drive(
        &mut self,
        act: impl FnOnce(&mut Splitter, &mut Sink<'_>) -> Result<(), RewriteError>,
    ) -> Result<(), RewriteError> {
        let Self { splitter, path, bytes_max, left, found } = self;
        act(splitter, &mut |event| {
            match (event, found.as_mut()) {
                (Event::Member(member), None)
                    if member.path == *path && usize::try_from(member.size).is_ok_and(|size| size <= *bytes_max) =>
                {
                    *left = member.size;
                    *found = Some(Vec::new());
                }
                (Event::Inline(bytes) | Event::Payload(bytes), Some(found)) if *left > 0 => {
                    *left = left.saturating_sub(bytes.len() as u64);
                    found.extend_from_slice(bytes);
                }
                (Event::Zeros(len), Some(found)) if *left > 0 => {
                    *left = left.saturating_sub(len);
                    found.resize(found.len() + usize::try_from(len).unwrap_or(0), 0);
                }
                _ => {}
            }
            Ok(())
        })
    }
}

impl Machine for Finder<'_> {
    fn push(&mut self, bytes: &[u8]) -> Result<(), RewriteError> {
        self.drive(|splitter, sink| splitter.push(bytes, &mut |event| sink(event)))
    }

    fn pass_chunk(&mut self, chunk: ChunkRef) -> Result<bool, RewriteError> {
        let passes = self.skippable() >= chunk.len.into();
        if passes {
            self.pass_zeros(chunk.len.into())?;
        }
        Ok(passes)
    }

    fn skippable(&self) -> u64 {
        if self.left > 0 { 0 } else { self.splitter.skippable() }
    }

    fn pass_zeros(&mut self, len: u64) -> Result<(), RewriteError> {
        self.drive(|splitter, sink| splitter.skip(len, &mut |event| sink(event)))
    }
}
