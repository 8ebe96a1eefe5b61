//! Reading damaged packs with the help of their parity.
//!
//! Whoever reads a pack turns here once something of it does not open, is not there, or is on a sector that the disk
//! has lost. One pack that was repaired is kept in memory, for more of it is likely to be wanted; nothing is written.
//! What comes from here is sealed as ever, and opened by whoever asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use crate::id::PackId;
use crate::limits::{KIB, LOST_SECTORS_MAX, MIB, PACK_BYTES_MAX};
use crate::pack;
use crate::repo::{RepoError, Repository, layout};

/// Bytes that are read at once where a disk has lost some.
const STRETCH_BYTES: usize = MIB;
/// What a disk loses at once.
const SECTOR_BYTES: usize = 4 * KIB;

/// What was repaired since the repository was opened.
#[derive(Default)]
pub(super) struct Mender(Mutex<State>);

#[derive(Default)]
struct State {
    /// The pack that was repaired last.
    last: Option<(PackId, Arc<Vec<u8>>)>,
    mended: BTreeSet<PackId>,
    /// Packs that cannot be repaired, and why.
    hopeless: BTreeMap<PackId, String>,
}

/// The bytes of one pack: as they stand in the store, or all of them in memory.
#[derive(Clone, Copy)]
pub struct PackBytes<'p> {
    repository: &'p Repository,
    id: PackId,
    whole: Option<&'p [u8]>,
}

impl<'p> PackBytes<'p> {
    /// A pack in memory.
    pub fn whole(repository: &'p Repository, id: PackId, bytes: &'p [u8]) -> Self {
        Self { repository, id, whole: Some(bytes) }
    }

    /// Its length in bytes, as far as it is known without asking the store.
    pub(super) fn len(&self) -> Option<u64> {
        self.whole.map(|bytes| bytes.len() as u64)
    }

    /// Whether these are bytes in memory.
    pub(super) fn are_whole(&self) -> bool {
        self.whole.is_some()
    }

    /// Exactly `len` bytes of it.
    pub(super) fn range(&self, offset: u64, len: usize) -> Result<Vec<u8>, RepoError> {
        let Some(whole) = self.whole else { return self.repository.get_pack_range(self.id, offset, len) };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = whole.get(start..start.saturating_add(len));
        bytes.map(<[u8]>::to_vec).ok_or_else(|| RepoError::Damaged {
            object: layout::pack(self.id).to_string(),
            reason: format!("has {} bytes and ends before what should be in it", whole.len()),
        })
    }
}

impl Repository {
    /// A pack that turned out damaged, as it was stored: its very bytes, trailer and parity included. Tried once for
    /// each pack, and by one thread at a time. Checksums say that nothing is wrong by accident; who is to believe what
    /// the pack holds opens it like any other.
    pub fn mended_pack(&self, id: PackId) -> Result<Arc<Vec<u8>>, RepoError> {
        let mut state = self.mender.0.lock().map_err(|_| RepoError::Worker)?;
        if let Some((_, pack)) = state.last.as_ref().filter(|(last, _)| *last == id) {
            return Ok(Arc::clone(pack));
        }
        let damaged = |reason: &str| RepoError::Damaged {
            object: layout::pack(id).to_string(),
            reason: format!("is damaged, and {reason}"),
        };
        if let Some(reason) = state.hopeless.get(&id) {
            return Err(damaged(reason));
        }
        // Before another is read: two of them may be large.
        state.last = None;
        let left = self.read_what_is_left(id)?;
        let before = blake3::hash(&left);
        match pack::mend(left) {
            Ok(pack) => {
                // A store that fails once is no damage.
                if blake3::hash(&pack) != before {
                    state.mended.insert(id);
                }
                let pack = Arc::new(pack);
                state.last = Some((id, Arc::clone(&pack)));
                Ok(pack)
            }
            Err(error) => {
                let error = damaged(state.hopeless.entry(id).or_insert(error.to_string()));
                Err(error)
            }
        }
    }

    /// The packs that stand in the store damaged and were repaired in memory since the repository was opened.
    pub fn mended_packs(&self) -> BTreeSet<PackId> {
        self.mender.0.lock().map(|state| state.mended.clone()).unwrap_or_default()
    }

    /// Reads from a pack with `read`, and does the same with the repaired pack if that fails. What parity does not help
    /// with is told as it was met first.
    pub(super) fn with_parity<T>(
        &self,
        id: PackId,
        read: impl Fn(PackBytes<'_>) -> Result<T, RepoError>,
    ) -> Result<T, RepoError> {
        let failure = match read(PackBytes { repository: self, id, whole: None }) {
            Err(error) if error.is_mendable() => error,
            other => return other,
        };
        let Ok(pack) = self.mended_pack(id) else { return Err(failure) };
        read(PackBytes::whole(self, id, &pack)).map_err(|_| failure)
    }

    /// A whole pack, with zeros where the disk has lost sectors.
    fn read_what_is_left(&self, id: PackId) -> Result<Vec<u8>, RepoError> {
        let name = layout::pack(id);
        let failure = match self.get_object(&name, PACK_BYTES_MAX) {
            Err(error @ RepoError::Store(_)) if error.is_mendable() => error,
            other => return other,
        };
        let Some(stat) = self.store().stat(&name)? else { return Err(RepoError::Gone { object: name.to_string() }) };
        let len = usize::try_from(stat.bytes).unwrap_or(usize::MAX).min(PACK_BYTES_MAX);
        let mut pack = Vec::with_capacity(len);
        let mut lost = 0;
        while pack.len() < len {
            let end = len.min(pack.len() + STRETCH_BYTES);
            if let Ok(bytes) = self.get_pack_range(id, pack.len() as u64, end - pack.len()) {
                pack.extend(bytes);
                continue;
            }
            while pack.len() < end {
                let sector = SECTOR_BYTES.min(end - pack.len());
                match self.get_pack_range(id, pack.len() as u64, sector) {
                    Ok(bytes) => pack.extend(bytes),
                    Err(_) if lost < LOST_SECTORS_MAX => {
                        lost += 1;
                        pack.resize(pack.len() + sector, 0);
                    }
                    Err(_) => return Err(failure),
                }
            }
        }
        Ok(pack)
    }
}
