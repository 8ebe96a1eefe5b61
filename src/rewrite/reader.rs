//! An export that is rewritten while it is read, by what its own index says.

use std::collections::VecDeque;
use std::io::{self, Read};

use crate::clock::Timestamp;
use crate::limits::{DESCRIPTION_BYTES_MAX, KIB};
use crate::rewrite::description::{DescriptionError, Index, Selection};
use crate::rewrite::stream::{INDEX_PATH, Machine, Output, Rewrite, Rewriter};
use crate::tar::{self, Splitter};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 * KIB;

/// An export of which a part is taken, or in which a snapshot has taken the main volume's place.
pub(crate) struct Selected<R> {
    export: R,
    selection: Selection,
    /// What new members say of their time.
    now: Timestamp,
    state: State,
    ready: VecDeque<Output>,
    /// Bytes of the first of these that were taken already.
    taken: usize,
}

enum State {
    /// The index is to come.
    Looking(Box<Finder>),
    Rewriting(Box<Rewriter>),
    Ended,
}

impl<R: Read> Selected<R> {
    /// Takes the export of everything as what `selection` makes of it.
    pub(crate) fn new(export: R, selection: Selection, now: Timestamp) -> Self {
        let state = State::Looking(Box::default());
        Self { export, selection, now, state, ready: VecDeque::new(), taken: 0 }
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.state {
            State::Looking(finder) => {
                if finder.push(bytes).map_err(io::Error::other)? {
                    let Finder { index, head, .. } = std::mem::take(&mut **finder);
                    self.state = State::Rewriting(Box::new(self.rewriter(&index)?));
                    self.push(&head)?;
                }
            }
            State::Rewriting(rewriter) => {
                rewriter.push(bytes).map_err(io::Error::other)?;
                self.ready.extend(rewriter.take());
            }
            State::Ended => {}
        }
        Ok(())
    }

    fn rewriter(&self, index: &[u8]) -> io::Result<Rewriter> {
        let index = Index::parse(index).map_err(io::Error::other)?;
        let kind = index.kind().ok_or_else(|| io::Error::other(DescriptionError::Absent))?;
        let selected = index.select(&self.selection).map_err(io::Error::other)?;
        let seconds = i64::try_from(self.now.as_micros() / 1_000_000).unwrap_or(0);
        let rewrite = Rewrite::new(kind, self.selection.clone(), &selected, seconds).map_err(io::Error::other)?;
        Rewriter::new(rewrite).map_err(io::Error::other)
    }

    fn end(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Looking(_) => return Err(io::Error::other(DescriptionError::Absent)),
            State::Rewriting(rewriter) => self.ready.extend(rewriter.finish().map_err(io::Error::other)?),
            State::Ended => {}
        }
        Ok(())
    }

    /// Gives what is ready.
    fn give(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(first) = self.ready.front_mut() else { return Ok(0) };
        let (given, is_over) = match first {
            Output::Bytes(bytes) => {
                let given = bytes.get(self.taken..).unwrap_or_default().read(buffer)?;
                self.taken += given;
                (given, self.taken == bytes.len())
            }
            Output::Zeros(left) => {
                let given = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                buffer.iter_mut().take(given).for_each(|byte| *byte = 0);
                *left -= given as u64;
                (given, *left == 0)
            }
            Output::Chunk(_) => return Err(io::Error::other("A stream of bytes holds no references")),
        };
        if is_over {
            self.ready.pop_front();
            self.taken = 0;
        }
        Ok(given)
    }
}

impl<R: Read> Read for Selected<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut piece = Vec::new();
        loop {
            let given = self.give(buffer)?;
            let is_over = self.ready.is_empty() && matches!(self.state, State::Ended);
            if given > 0 || is_over || buffer.is_empty() {
                return Ok(given);
            }
            if !self.ready.is_empty() {
                continue;
            }
            piece.resize(PIECE_BYTES, 0);
            match self.export.read(&mut piece)? {
                0 => self.end()?,
                read => self.push(piece.get(..read).unwrap_or_default())?,
            }
        }
    }
}

/// Waits for the index, which is the first member of every export.
#[derive(Default)]
struct Finder {
    splitter: Splitter,
    head: Vec<u8>,
    index: Vec<u8>,
    /// Its length, once its header was seen.
    len: Option<u64>,
}

impl Finder {
    /// Whether the index is complete now.
    fn push(&mut self, bytes: &[u8]) -> Result<bool, DescriptionError> {
        let Self { splitter, head, index, len } = self;
        head.extend_from_slice(bytes);
        splitter.push(bytes, &mut |event| {
            match event {
                tar::Event::Member(member) if len.is_none() => {
                    let fits = member.path == INDEX_PATH && member.size <= DESCRIPTION_BYTES_MAX as u64;
                    *len = Some(member.size).filter(|_| fits);
                    return if fits { Ok(()) } else { Err(DescriptionError::Absent) };
                }
                tar::Event::Inline(bytes) | tar::Event::Payload(bytes)
                    if len.is_some_and(|len| len > index.len() as u64) =>
                {
                    index.extend_from_slice(bytes);
                }
                // No index holds as many zeros.
                tar::Event::Zeros(_) if len.is_none_or(|len| len > index.len() as u64) => {
                    return Err(DescriptionError::Absent);
                }
                _ => {}
            }
            Ok(())
        })?;
        if head.len() > 2 * DESCRIPTION_BYTES_MAX {
            return Err(DescriptionError::Absent);
        }
        Ok(len.is_some_and(|len| index.len() as u64 == len))
    }
}
