//! The repository: the only place where formats and ports meet.
//!
//! It knows which object stands under which name, seals and opens what it stores, and keeps the write order: packs,
//! then the segment that names them, then the point. The index is a cache of the segments and may be lost at any time.
//! What a daemon is, what deserves to be kept and how an archive is built are not known here.

mod beat;
mod catalog;
mod chunkset;
mod config;
mod coverage;
mod error;
mod history;
mod keyring;
mod lane;
mod layout;
mod mend;
mod objects;
mod parts;
mod process;
mod reader;
mod record;
mod reindex;
mod renew;
mod session;
mod sweep;
mod usage;
mod view;
mod writer;

pub use catalog::{Catalog, FindError, ParsePointError, PointSpec};
pub use chunkset::{ChunkKey, ChunkSet};
pub use config::{Config, Parity, SETTLE_SECONDS_MAX};
pub use error::RepoError;
pub use history::History;
pub use keyring::{KeyringError, Locks, SlotSummary};
pub use mend::PackBytes;
pub use objects::{ObjectDefect, complete_directories, decode_point_body, encode_point_body};
pub use parts::{Rows, read_part, recipe_chunks};
pub use reader::{Reader, bytes_at, cut_chunk, frame_in, read_frame};
pub use record::{Condemned, Fact as NoteFact, Note, REASON_BYTES_MAX, RunRecord, SessionRecord};
pub use reindex::Refreshed;
pub use renew::Renewal;
pub use session::{Commit, Session};
pub use usage::Usage;
pub use view::View;
pub use writer::{Added, SessionWriter, Writer};

pub use crate::index::Fact;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::chunk::Gear;
use crate::clock::Timestamp;
use crate::crypto::{IdKey, Keys, ReadKeys, SlotKey, Unlock, WriteKeys};
use crate::id::{CondemnedId, KeyslotId, PackId, PointId, RepositoryId, SegmentId};
use crate::index::Index;
use crate::protocol::Ids;
use crate::store::Store;

/// What the protocol's machines work with in a real store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stored {}

impl Ids for Stored {
    type Packs = BTreeSet<PackId>;
    type Sessions = BTreeSet<PointId>;
    type Condemned = BTreeSet<CondemnedId>;
    type Segments = BTreeSet<SegmentId>;
}

/// An open repository.
pub struct Repository {
    store: Arc<dyn Store>,
    keys: Keys,
    slot: KeyslotId,
    id_key: IdKey,
    gear: Gear,
    config: Config,
    index: Box<dyn Index>,
    mender: mend::Mender,
}

/// Where the index is kept.
#[derive(Debug, Clone, Copy)]
pub enum IndexPlace<'p> {
    /// In memory, rebuilt by every command: for small repositories and tests.
    Memory,
    /// In this directory of the host, each repository in a directory of its own.
    Directory(&'p Path),
}

impl Repository {
    /// Makes a repository in an empty store: directories and a README for people, then the key slot, and last the
    /// config, whose presence says that the repository is complete. Of two that do so at once the one whose config
    /// comes first has made it; the other takes its slot back and ends with [`RepoError::MadeMeanwhile`].
    pub fn init(
        store: Arc<dyn Store>,
        key: &SlotKey<'_>,
        created: Timestamp,
        settle_seconds: u32,
        parity: Parity,
    ) -> Result<Self, RepoError> {
        let keys = ReadKeys::generate()?;
        let config = Config::new(created, settle_seconds, parity);
        objects::lay_out(&*store)?;
        let slot = keyring::put_first_slot(&*store, &keys, key, created)?;
        if let Err(error) = objects::put_config(&*store, keys.write(), 1, &config) {
            if matches!(error, RepoError::MadeMeanwhile { .. }) {
                keyring::withdraw_first_slot(&*store, slot);
            }
            return Err(error);
        }
        let index = reindex::memory_index();
        Ok(Self::assemble(store, Keys::Full(keys), slot, config, index))
    }

    /// Makes a repository with keys and configs of the caller's, for fixtures that another implementation shall read.
    #[cfg(any(test, feature = "testing"))]
    pub fn init_fixed(
        store: &dyn Store,
        keys: &ReadKeys,
        key: &SlotKey<'_>,
        created: Timestamp,
        configs: &[Config],
    ) -> Result<(), RepoError> {
        objects::lay_out(store)?;
        keyring::put_first_slot(store, keys, key, created)?;
        for (number, config) in (1..).zip(configs) {
            objects::put_config(store, keys.write(), number, config)?;
        }
        Ok(())
    }

    /// Opens a repository and brings its index up to date.
    pub fn open(
        store: Arc<dyn Store>,
        unlock: Unlock<'_>,
        place: IndexPlace<'_>,
    ) -> Result<(Self, Refreshed), RepoError> {
        let (keys, slot, config) = keyring::unlock(&*store, unlock)?;
        let index = reindex::open_index(place, keys.write().repository())?;
        let repository = Self::assemble(store, keys, slot, config, index);
        let refreshed = repository.refresh_index()?;
        Ok((repository, refreshed))
    }

    fn assemble(store: Arc<dyn Store>, keys: Keys, slot: KeyslotId, config: Config, index: Box<dyn Index>) -> Self {
        let (id_key, secret) = (keys.write().id_key(), keys.write().chunker_secret());
        let mender = mend::Mender::default();
        Self { store, id_key, gear: Gear::derive(secret.expose()), keys, slot, config, index, mender }
    }

    /// The repository's identity.
    pub fn id(&self) -> RepositoryId {
        self.keys.write().repository()
    }

    /// The key slot that opened it.
    pub fn slot(&self) -> KeyslotId {
        self.slot
    }

    /// The config in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The store.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The store, for another thread.
    pub(crate) fn shared_store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// The keys that every writer has.
    pub fn write_keys(&self) -> &WriteKeys {
        self.keys.write()
    }

    /// The keys that open points and frames, or the error "this key cannot read".
    pub fn read_keys(&self) -> Result<&ReadKeys, RepoError> {
        self.keys.read().map_err(|_| RepoError::CannotRead)
    }

    /// What makes chunk ids.
    pub fn id_key(&self) -> &IdKey {
        &self.id_key
    }

    /// What cuts chunks.
    pub fn gear(&self) -> &Gear {
        &self.gear
    }

    /// Where chunks are, as far as stored segments say.
    pub fn index(&self) -> &dyn Index {
        &*self.index
    }
}
