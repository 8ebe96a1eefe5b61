//! Reading chunks back: from ids to places, from places to frames, each frame read and opened once while it is needed.
//!
//! A chunk is believed only if its id is that of its bytes. A pack that is gone when it is to be read was deleted by a
//! prune that copied what is in use: the reader looks again and goes on with the same chunk. Of a chunk that stands in
//! several packs any sound copy will do.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::crypto::FrameOpener;
use crate::id::{ChunkId, ID_BYTES, PackId, SegmentId};
use crate::index::memory::MemoryIndex;
use crate::index::{Fact, Index};
use crate::limits::{RECIPE_WINDOW_BYTES, RESTORE_WINDOW_BYTES};
use crate::pack::{self, Location};
use crate::protocol::{Search, SearchStep};
use crate::recipe::ChunkRef;
use crate::repo::{PackBytes, RepoError, Repository, Stored, View, layout};

/// Reads chunks of one repository.
pub struct Reader<'r> {
    repository: &'r Repository,
    view: View,
    openers: HashMap<PackId, Arc<FrameOpener>>,
    frames: FrameCache,
    /// Facts of packs that no segment names, read from the packs themselves once something is missing.
    unnamed: Option<MemoryIndex>,
    /// Places that turned out not to hold what they should: whole frames, and single chunks.
    unsound: HashSet<(Option<ChunkId>, Fact)>,
    /// Whether a settle time was waited for something that was not found.
    has_settled: bool,
}

/// A frame in memory, and when it was last used.
type Kept = (u64, Arc<Vec<u8>>);

/// Decoded frames, the least recently used dropped first, within a bound in bytes.
struct FrameCache {
    frames: HashMap<(PackId, u32), Kept>,
    bytes: usize,
    bytes_max: usize,
    uses: u64,
}

impl FrameCache {
    fn new(bytes_max: usize) -> Self {
        Self { frames: HashMap::new(), bytes: 0, bytes_max, uses: 0 }
    }

    fn get(&mut self, key: (PackId, u32)) -> Option<Arc<Vec<u8>>> {
        self.uses += 1;
        let (used, frame) = self.frames.get_mut(&key)?;
        *used = self.uses;
        Some(Arc::clone(frame))
    }

    fn insert(&mut self, key: (PackId, u32), frame: Arc<Vec<u8>>) {
        self.uses += 1;
        self.bytes += frame.len();
        if let Some((_, before)) = self.frames.insert(key, (self.uses, frame)) {
            self.bytes -= before.len();
        }
        while self.bytes > self.bytes_max && self.frames.len() > 1 {
            let Some(oldest) = self.frames.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key) else {
                return;
            };
            if let Some((_, frame)) = self.frames.remove(&oldest) {
                self.bytes -= frame.len();
            }
        }
    }
}

impl<'r> Reader<'r> {
    /// A reader that knows the packs of now. It keeps up to [`RESTORE_WINDOW_BYTES`] of frames.
    pub fn new(repository: &'r Repository) -> Result<Self, RepoError> {
        Self::with_window(repository, RESTORE_WINDOW_BYTES)
    }

    /// The same for who reads recipes alone: it keeps [`RECIPE_WINDOW_BYTES`].
    pub fn of_recipes(repository: &'r Repository) -> Result<Self, RepoError> {
        Self::with_window(repository, RECIPE_WINDOW_BYTES)
    }

    fn with_window(repository: &'r Repository, bytes_max: usize) -> Result<Self, RepoError> {
        repository.read_keys()?;
        let view = View::for_reading(repository)?;
        let (openers, frames, unsound) = (HashMap::new(), FrameCache::new(bytes_max), HashSet::new());
        Ok(Self { repository, view, openers, frames, unnamed: None, unsound, has_settled: false })
    }

    /// The plain bytes of a chunk.
    pub fn chunk(&mut self, chunk: ChunkRef) -> Result<Vec<u8>, RepoError> {
        let fact = self.place(chunk)?;
        let (fact, frame) = self.frame_of(chunk, fact)?;
        Ok(bytes_at(&frame, fact.at).to_vec())
    }

    /// The decoded frame that holds a chunk, which stood at `fact` when it was looked up, and where in it the chunk's
    /// bytes are, which have been compared with its id.
    pub fn frame_of(&mut self, chunk: ChunkRef, fact: Fact) -> Result<(Fact, Arc<Vec<u8>>), RepoError> {
        let mut search = Search::default();
        search.chosen(Some(fact.pack));
        let (mut fact, mut failure) = (fact, RepoError::MissingChunk { chunk: chunk.id });
        loop {
            match self.sound_frame(chunk.id, fact) {
                Ok(frame) => return Ok((fact, frame)),
                Err(RepoError::Gone { .. }) => search.fetched(false),
                Err(error) if error.is_damage() => {
                    failure = error;
                    search.unsound();
                }
                Err(error) => return Err(error),
            }
            match self.search(chunk, &mut search)? {
                Some(found) => fact = found,
                None => return Err(failure),
            }
        }
    }

    /// The decoded frame at a place that holds a chunk; a place that does not is not given again.
    fn sound_frame(&mut self, id: ChunkId, fact: Fact) -> Result<Arc<Vec<u8>>, RepoError> {
        let (read, unsound) = match self.frame(fact.pack, fact.at) {
            Ok(frame) => {
                let cut = cut_chunk(self.repository, id, fact.pack, fact.at, &frame).map(|_| ());
                (cut.map(|()| frame), (Some(id), fact))
            }
            Err(error) => (Err(error), (None, whole_frame(fact))),
        };
        if read.as_ref().is_err_and(RepoError::is_damage) {
            self.unsound.insert(unsound);
        }
        read
    }

    /// Whether a decoded frame is in memory; it then stays there for a while.
    pub fn has_frame(&mut self, pack: PackId, frame: u32) -> bool {
        self.frames.get((pack, frame)).is_some()
    }

    /// Keeps a decoded frame in memory as long as there is room.
    pub fn keep_frame(&mut self, pack: PackId, frame: u32, plain: Arc<Vec<u8>>) {
        self.frames.insert((pack, frame), plain);
    }

    /// Reads several chunks one after the other into one.
    pub fn chunks(&mut self, chunks: &[ChunkRef]) -> Result<Vec<u8>, RepoError> {
        let mut bytes = Vec::with_capacity(chunks.iter().map(|chunk| chunk.len as usize).sum());
        for chunk in chunks {
            bytes.extend_from_slice(&self.chunk(*chunk)?);
        }
        Ok(bytes)
    }

    /// Where a chunk is to be read from.
    pub fn place(&mut self, chunk: ChunkRef) -> Result<Fact, RepoError> {
        self.search(chunk, &mut Search::default())?.ok_or(RepoError::MissingChunk { chunk: chunk.id })
    }

    /// The next place of a chunk that is worth trying. What no listed pack holds that a segment names is looked for in
    /// the packs that none names: a segment that was lost must not cost a restore.
    fn search(&mut self, chunk: ChunkRef, search: &mut Search<Stored>) -> Result<Option<Fact>, RepoError> {
        loop {
            match search.next() {
                SearchStep::Choose => {
                    let found = self.find(chunk)?;
                    search.chosen(found.map(|fact| fact.pack));
                    if found.is_some() {
                        return Ok(found);
                    }
                }
                SearchStep::Settle => {
                    // Once is enough to tell damage from an old listing; a damaged repository lacks many chunks.
                    if !std::mem::replace(&mut self.has_settled, true) {
                        let seconds = self.repository.config().settle_seconds;
                        std::thread::sleep(Duration::from_secs(seconds.into()));
                    }
                    search.done();
                }
                SearchStep::ReadSegments => {
                    self.repository.refresh_index()?;
                    search.done();
                }
                SearchStep::ListPacks => {
                    self.view = View::for_reading(self.repository)?;
                    search.done();
                }
                SearchStep::Missing | SearchStep::Found | SearchStep::Fetch(_) => break,
            }
        }
        if self.unnamed.is_none() {
            let found = MemoryIndex::new();
            found.absorb(SegmentId::from_bytes([0; ID_BYTES]), &self.repository.unnamed_packs()?.0)?;
            self.unnamed = Some(found);
            return self.find(chunk);
        }
        Ok(None)
    }

    fn find(&self, chunk: ChunkRef) -> Result<Option<Fact>, RepoError> {
        let mut facts = self.repository.index().facts(&[chunk.id])?.concat();
        if let Some(unnamed) = &self.unnamed {
            facts.extend(unnamed.facts(&[chunk.id])?.concat());
        }
        facts.retain(|fact| {
            let places = [(Some(chunk.id), *fact), (None, whole_frame(*fact))];
            fact.at.len == chunk.len && !places.iter().any(|place| self.unsound.contains(place))
        });
        Ok(self.view.best(&facts).copied())
    }

    /// A decoded frame.
    pub fn frame(&mut self, pack: PackId, at: Location) -> Result<Arc<Vec<u8>>, RepoError> {
        if let Some(frame) = self.frames.get((pack, at.frame)) {
            return Ok(frame);
        }
        let opener = self.opener(pack)?;
        let frame = Arc::new(read_frame(self.repository, &opener, pack, at)?);
        self.frames.insert((pack, at.frame), Arc::clone(&frame));
        Ok(frame)
    }

    /// What opens the frames of a pack; X25519 is done once for each.
    pub fn opener(&mut self, pack: PackId) -> Result<Arc<FrameOpener>, RepoError> {
        if let Some(opener) = self.openers.get(&pack) {
            return Ok(Arc::clone(opener));
        }
        let opener = Arc::new(self.repository.frame_opener(pack)?);
        self.openers.insert(pack, Arc::clone(&opener));
        Ok(opener)
    }
}

/// What all places in one frame have in common.
fn whole_frame(fact: Fact) -> Fact {
    Fact { at: Location { offset: 0, len: 0, ..fact.at }, ..fact }
}

/// The bytes at a place in its decoded frame; none if the frame is too short.
pub fn bytes_at(frame: &[u8], at: Location) -> &[u8] {
    let (offset, len) = (at.offset as usize, at.len as usize);
    frame.get(offset..offset.saturating_add(len)).unwrap_or_default()
}

/// Reads, opens and decompresses one frame, with the help of the pack's parity if it is damaged.
pub fn read_frame(
    repository: &Repository,
    opener: &FrameOpener,
    pack: PackId,
    at: Location,
) -> Result<Vec<u8>, RepoError> {
    repository.with_parity(pack, |bytes| {
        if bytes.are_whole() {
            // What was damaged may be the header: it then gave an opener, and one that opens nothing.
            frame_in(bytes, &repository.opener_in(pack, bytes)?, pack, at)
        } else {
            frame_in(bytes, opener, pack, at)
        }
    })
}

/// Opens and decompresses one frame as it stands in these bytes.
pub fn frame_in(bytes: PackBytes<'_>, opener: &FrameOpener, pack: PackId, at: Location) -> Result<Vec<u8>, RepoError> {
    let sealed = bytes.range(at.frame_offset.into(), at.frame_sealed_len as usize)?;
    pack::open_frame(opener, at.frame, sealed, at.frame_plain_len as usize).map_err(|source| RepoError::DamagedFrame {
        pack: layout::pack(pack).to_string(),
        frame: at.frame,
        source,
    })
}

/// The bytes of a chunk in its decoded frame, if they are the chunk's.
pub fn cut_chunk<'f>(
    repository: &Repository,
    id: ChunkId,
    pack: PackId,
    at: Location,
    frame: &'f [u8],
) -> Result<&'f [u8], RepoError> {
    Some(bytes_at(frame, at))
        .filter(|bytes| repository.id_key().chunk_id(bytes) == id)
        .ok_or_else(|| RepoError::WrongChunk { chunk: id, pack: layout::pack(pack).to_string() })
}
