//! Walking a point's recipe: the table of parts row by row, and each part when it is wanted.

use std::collections::{BTreeSet, VecDeque};

use crate::codec::{DecodeProblem, Decoder};
use crate::id::ChunkId;
use crate::point::{Content, Point};
use crate::recipe::{ChunkRef, Part, Step, TableRow};
use crate::repo::{Reader, RepoError, Repository};

/// The rows of a point's table of parts, in stream order.
pub struct Rows {
    chunks: VecDeque<ChunkRef>,
    undecoded: Vec<u8>,
    /// Bytes of the stream that no row has covered yet.
    left: u64,
}

impl Rows {
    /// The rows of this content.
    pub fn new(content: &Content) -> Self {
        Self { chunks: content.table.iter().copied().collect(), undecoded: Vec::new(), left: content.stream_len }
    }

    /// Bytes of the stream that no row has covered yet.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The chunk of the table that is read next: the one that could not be read, if a row could not.
    pub fn unread(&self) -> Option<ChunkRef> {
        self.chunks.front().copied()
    }

    /// The next row; `None` after the last.
    pub fn next(&mut self, reader: &mut Reader<'_>) -> Result<Option<TableRow>, RepoError> {
        let mut failure = None;
        while self.undecoded.len() < TableRow::ENCODED_BYTES_MAX {
            let Some(chunk) = self.chunks.front() else { break };
            match reader.chunk(*chunk) {
                Ok(bytes) => self.undecoded.extend_from_slice(&bytes),
                // The rows before it are there.
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
            self.chunks.pop_front();
        }
        if self.undecoded.is_empty() {
            return failure.map_or(Ok(None), Err);
        }
        let mut from = Decoder::new(&self.undecoded);
        let beyond = from.error("row.stream_len", DecodeProblem::TooLarge);
        let row = match TableRow::decode(&mut from) {
            Ok(row) => row,
            Err(source) => return Err(failure.unwrap_or(RepoError::BadRecipe { source })),
        };
        // Nobody writes on and on because a table says so.
        self.left = self.left.checked_sub(row.stream_len).ok_or(RepoError::BadRecipe { source: beyond })?;
        let used = from.offset();
        self.undecoded.drain(..used);
        Ok(Some(row))
    }
}

/// Reads and decodes the part of a row, and compares it with what the row says.
pub fn read_part(reader: &mut Reader<'_>, row: &TableRow) -> Result<Part, RepoError> {
    let part = Part::decode(&reader.chunk(row.part)?).map_err(|source| RepoError::BadRecipe { source })?;
    if part.stream_len() != row.stream_len || part.envelope_len() != row.envelope_len {
        return Err(RepoError::WrongPart { part: row.part.id });
    }
    Ok(part)
}

/// Every chunk that a point refers to: its table, its parts, their envelopes and its payload, each once.
pub fn recipe_chunks(repository: &Repository, point: &Point) -> Result<BTreeSet<ChunkId>, RepoError> {
    let mut reader = Reader::new(repository)?;
    let mut chunks: BTreeSet<ChunkId> = point.content.table.iter().map(|chunk| chunk.id).collect();
    let mut rows = Rows::new(&point.content);
    while let Some(row) = rows.next(&mut reader)? {
        if chunks.insert(row.part.id) {
            let part = read_part(&mut reader, &row)?;
            chunks.extend(part.envelope.iter().map(|chunk| chunk.id));
            chunks.extend(part.steps.iter().filter_map(|step| match step {
                Step::Chunk(chunk) => Some(chunk.id),
                Step::Envelope(_) | Step::Zeros(_) => None,
            }));
        }
    }
    Ok(chunks)
}
