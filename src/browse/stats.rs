//! How much is stored, and how much it would be without deduplication and compression.

use std::collections::BTreeSet;

use crate::monitor::Monitor;
use crate::repo::{Catalog, RepoError, Repository, Usage};

/// Numbers of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Points that can be read.
    pub points: u64,
    /// Sources that have one.
    pub sources: u64,
    /// Bytes of the streams of all points together.
    pub logical_bytes: u64,
    /// What the store holds, by kind of object.
    pub usage: Vec<Usage>,
    /// Bytes of parity in packs, which no other number counts.
    pub parity_bytes: u64,
}

impl Stats {
    /// Bytes of all objects in the store, but for parity.
    pub fn stored_bytes(&self) -> u64 {
        self.usage.iter().map(|usage| usage.bytes).sum()
    }
}

/// Counts. Needs a key that can read.
pub fn stats(repository: &Repository, monitor: &dyn Monitor) -> Result<Stats, RepoError> {
    let catalog = Catalog::read(repository, monitor)?;
    let sources: BTreeSet<_> = catalog.points().iter().map(|(_, point)| &point.source).collect();
    let (usage, parity_bytes) = repository.usage()?;
    Ok(Stats {
        points: catalog.points().len() as u64,
        sources: sources.len() as u64,
        logical_bytes: catalog.points().iter().map(|(_, point)| point.content.stream_len).fold(0, u64::saturating_add),
        usage,
        parity_bytes,
    })
}
