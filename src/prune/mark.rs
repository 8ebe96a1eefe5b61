//! Which chunks are in use: those that a point refers to, and the parts and tables that say so.
//!
//! Sixteen million chunks must fit into memory, so they are kept in a [`ChunkSet`].

use std::collections::HashSet;

use crate::id::{ChunkId, PointId};
use crate::monitor::Monitor;
use crate::point::{Point, Verdict};
use crate::recipe::{ChunkRef, Step};
use crate::repo::{ChunkSet, Reader, RepoError, Repository, Rows, read_part};

/// One bit for each chunk that is in use.
#[derive(Clone)]
pub(super) struct Marks(Vec<u64>);

impl Marks {
    /// None is set.
    pub(super) fn new(in_use: &ChunkSet) -> Self {
        Self(vec![0; in_use.len() / 64 + 1])
    }

    pub(super) fn set(&mut self, position: usize) {
        if let Some(word) = self.0.get_mut(position / 64) {
            *word |= 1 << (position % 64);
        }
    }

    pub(super) fn has(&self, position: usize) -> bool {
        self.0.get(position / 64).is_some_and(|word| word >> (position % 64) & 1 == 1)
    }

    /// How many are set in this one or in the other.
    pub(super) fn count_with(&self, other: &Self) -> usize {
        self.0.iter().zip(&other.0).map(|(one, other)| (one | other).count_ones() as usize).sum()
    }
}

/// Something that cannot be read, so that nobody knows what is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unknown {
    /// The point.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// Marks what points use. Points that were looked at once are not looked at again: they never change, and what one used
/// that was forgotten meanwhile stays in use for this prune.
pub(super) struct Marker<'r> {
    repository: &'r Repository,
    pub(super) in_use: ChunkSet,
    /// Points and voids that were looked at.
    seen: HashSet<PointId>,
    /// Parts whose chunks are marked already: neighbouring points share most of theirs.
    parts: HashSet<ChunkId>,
    /// Pieces of recipes that may be unreadable.
    given_up: HashSet<ChunkId>,
    pub(super) points: usize,
}

impl<'r> Marker<'r> {
    /// A marker for a repository whose segments name so many chunks.
    pub(super) fn new(repository: &'r Repository) -> Result<Self, RepoError> {
        let chunks: u64 = repository.index().packs()?.values().map(|pack| u64::from(pack.chunks)).sum();
        let in_use = ChunkSet::with_capacity(usize::try_from(chunks).unwrap_or(0));
        let given_up = repository.history()?.given_up();
        Ok(Self { repository, in_use, seen: HashSet::new(), parts: HashSet::new(), given_up, points: 0 })
    }

    /// Marks the points that are there now. `each` hears of every one of them.
    pub(super) fn mark(
        &mut self,
        monitor: &dyn Monitor,
        mut each: impl FnMut(&Point),
    ) -> Result<Option<Unknown>, RepoError> {
        let mut reader = Reader::of_recipes(self.repository)?;
        for id in self.unseen()? {
            if monitor.stop_requested() {
                break;
            }
            let point = match self.repository.read_verdict(id) {
                Ok(Verdict::Point(point)) => point,
                Ok(Verdict::Void) | Err(RepoError::Gone { .. }) => {
                    self.seen.insert(id);
                    continue;
                }
                Err(error) if error.is_damage() => {
                    return Ok(Some(Unknown { object: format!("Point {id}"), reason: error.to_string() }));
                }
                Err(error) => return Err(error),
            };
            match self.walk(&mut reader, &point) {
                Ok(()) => {}
                Err(error @ (RepoError::Store(_) | RepoError::Index(_) | RepoError::CannotRead))
                    if !error.is_damage() =>
                {
                    return Err(error);
                }
                // Forgotten meanwhile, and another prune was fast.
                Err(_) if !self.repository.has_verdict(id)? => {}
                Err(error) => {
                    let object = format!("The recipe of {} of {} ({})", point.source, point.started, id.short());
                    return Ok(Some(Unknown { object, reason: error.to_string() }));
                }
            }
            each(&point);
            self.points += 1;
            self.seen.insert(id);
        }
        self.in_use.order();
        Ok(None)
    }

    /// Points and voids that were not looked at yet, older points first: then the parts of each that no older one has
    /// stand together and are read in their order.
    fn unseen(&self) -> Result<Vec<PointId>, RepoError> {
        let mut unseen = Vec::new();
        for id in self.repository.list_points()?.into_iter().filter(|id| !self.seen.contains(id)) {
            let started = match self.repository.read_verdict(id) {
                Ok(Verdict::Point(point)) => Some(point.started),
                // What is wrong with it is told when it is walked.
                Ok(Verdict::Void) | Err(_) => None,
            };
            unseen.push((started, id));
        }
        unseen.sort_unstable();
        Ok(unseen.into_iter().map(|(_, id)| id).collect())
    }

    fn walk(&mut self, reader: &mut Reader<'_>, point: &Point) -> Result<(), RepoError> {
        for chunk in &point.content.table {
            self.in_use.add(&chunk.id);
        }
        let mut rows = Rows::new(&point.content);
        loop {
            let row = match rows.next(reader) {
                Ok(Some(row)) => row,
                Ok(None) => break,
                Err(error) if self.may_lack(&error, rows.unread()) => break,
                Err(error) => return Err(error),
            };
            if self.parts.contains(&row.part.id) {
                continue;
            }
            self.in_use.add(&row.part.id);
            let part = match read_part(reader, &row) {
                Ok(part) => part,
                Err(error) if self.may_lack(&error, Some(row.part)) => continue,
                Err(error) => return Err(error),
            };
            for chunk in &part.envelope {
                self.in_use.add(&chunk.id);
            }
            for step in &part.steps {
                if let Step::Chunk(chunk) = step {
                    self.in_use.add(&chunk.id);
                }
            }
            self.parts.insert(row.part.id);
        }
        Ok(())
    }

    /// Whether somebody decided to go on without what a piece of a recipe names that is lost.
    fn may_lack(&self, error: &RepoError, piece: Option<ChunkRef>) -> bool {
        (error.is_damage() || error.is_loss()) && piece.is_some_and(|piece| self.given_up.contains(&piece.id))
    }
}
