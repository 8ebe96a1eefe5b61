//! In which order the newest points need chunks, so that what is packed anew lies as it will be read.
//!
//! Each night stores a bit of every file, in packs of its own. Copied pack by pack, a frame would hold what lies far
//! apart in the stream of the newest point, which then reads it several times, and beside it what only older points
//! need. This is a preference and no more: what cannot be read here is copied in the order in which it stands.

use std::collections::BTreeMap;

use crate::id::ChunkId;
use crate::monitor::Silent;
use crate::point::Point;
use crate::recipe::Step;
use crate::repo::{Catalog, ChunkSet, Reader, RepoError, Repository, Rows, read_part};
use crate::source::Source;

/// What no newest point needs comes last.
const OF_OLDER: u32 = u32::MAX;

/// The order of the chunks in use.
pub(super) struct Order(Vec<u32>);

impl Order {
    /// Walks the newest point of each source.
    pub(super) fn read(repository: &Repository, in_use: &ChunkSet) -> Result<Self, RepoError> {
        let catalog = Catalog::read(repository, &Silent)?;
        // Later ones take the place of earlier ones.
        let newest: BTreeMap<&Source, &Point> =
            catalog.points().iter().map(|(_, point)| (&point.source, point)).collect();
        let mut walk = Walk { in_use, order: vec![OF_OLDER; in_use.len()], next: 0 };
        let mut reader = Reader::of_recipes(repository)?;
        for point in newest.into_values() {
            match walk.point(&mut reader, point) {
                Err(error @ (RepoError::Store(_) | RepoError::Index(_))) if !error.is_damage() => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(Self(walk.order))
    }

    /// The place of a chunk among the others.
    pub(super) fn of(&self, position: usize) -> u32 {
        self.0.get(position).copied().unwrap_or(OF_OLDER)
    }
}

struct Walk<'u> {
    in_use: &'u ChunkSet,
    order: Vec<u32>,
    next: u32,
}

impl Walk<'_> {
    fn point(&mut self, reader: &mut Reader<'_>, point: &Point) -> Result<(), RepoError> {
        point.content.table.iter().for_each(|chunk| self.meet(&chunk.id));
        let mut rows = Rows::new(&point.content);
        while let Some(row) = rows.next(reader)? {
            self.meet(&row.part.id);
            let part = read_part(reader, &row)?;
            part.envelope.iter().for_each(|chunk| self.meet(&chunk.id));
            for step in &part.steps {
                if let Step::Chunk(chunk) = step {
                    self.meet(&chunk.id);
                }
            }
        }
        Ok(())
    }

    fn meet(&mut self, id: &ChunkId) {
        let order = self.in_use.position(id).and_then(|position| self.order.get_mut(position));
        if let Some(order) = order.filter(|order| **order == OF_OLDER) {
            *order = self.next;
            self.next = self.next.saturating_add(1);
        }
    }
}
