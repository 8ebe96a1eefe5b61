//! Storing what is new: chunks become frames, frames packs, packs a segment (step W4 of `format-spec/concurrency.md`).
//!
//! A run has one writer, whose sessions share packs and segments, several of them at once if need be. The write order
//! is kept here: a segment names stored packs only. Nothing refers to what was added before it is durable and named
//! ([`Session::flush`]).

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread::JoinHandle;

use crate::id::{ChunkId, ID_BYTES, PackId, PointId, RunId};
use crate::limits::{
    FRAME_SEALED_BYTES_MAX, PACK_BYTES_MAX, PACK_BYTES_TARGET, PACK_CHUNKS_MAX, SEGMENT_CHUNKS_TARGET,
    SOURCES_AT_ONCE_MAX,
};
use crate::pack::{PackKind, Segment, SegmentPack, StoredPack};
use crate::point::Point;
use crate::recipe::ChunkRef;
use crate::repo::beat::Heart;
use crate::repo::lane::{FRAMES_ON_THEIR_WAY_MAX, Lane, SourceNumber};
use crate::repo::{Commit, Parity, RepoError, Repository, Session, SessionRecord, View, layout};

const _: () = assert!(
    (PACK_BYTES_TARGET + (FRAMES_ON_THEIR_WAY_MAX + SOURCES_AT_ONCE_MAX) * FRAME_SEALED_BYTES_MAX)
        + PACK_CHUNKS_MAX * (ID_BYTES + 8)
        < PACK_BYTES_MAX - PACK_BYTES_MAX / 20,
    "a full pack takes along every frame that is open, and has a directory and parity"
);

/// Copies are of no source; those of sessions are counted from 1.
const COPIES: SourceNumber = 0;

/// What became of a chunk that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// The chunk.
    pub chunk: ChunkRef,
    /// The pack that holds it, or will.
    pub pack: PackId,
    /// Whether it was not in the repository before.
    pub new: bool,
}

/// Stores the new chunks of a run.
pub struct Writer<'r> {
    repository: &'r Repository,
    run: RunId,
    shared: Mutex<Shared>,
}

/// What all sessions of a run share.
struct Shared {
    /// Whether something failed: chunks may be lost that sessions already refer to, so nothing can be committed.
    is_broken: bool,
    sources: SourceNumber,
    data: Lane,
    meta: Lane,
    /// Chunks of packs that no stored segment names yet, and the pack that each is in. Every session that is open now
    /// was announced before such a pack was stored.
    unnamed: HashMap<ChunkId, PackId>,
    /// Packs that are stored and that no segment names yet.
    stored: Vec<SegmentPack>,
    /// Packs of this run that a stored segment names, in their order.
    named: HashMap<PackId, usize>,
    storing: Option<JoinHandle<Result<StoredPack, RepoError>>>,
    stored_bytes: u64,
    heart: Heart,
}

/// What one session stores: the chunks of one source.
pub struct SessionWriter<'w, 'r> {
    writer: &'w Writer<'r>,
    source: SourceNumber,
    /// Packs that stood in the store when the session began.
    view: View,
    /// So many packs of the run were named before the session was announced; the later ones count as known.
    named_before: usize,
}

impl<'r> Writer<'r> {
    /// A writer for one run.
    pub fn new(repository: &'r Repository, run: RunId) -> Self {
        let shared = Shared {
            is_broken: false,
            sources: 0,
            data: Lane::new(PackKind::Data),
            meta: Lane::new(PackKind::Meta),
            unnamed: HashMap::new(),
            stored: Vec::new(),
            named: HashMap::new(),
            storing: None,
            stored_bytes: 0,
            heart: Heart::new(),
        };
        Self { repository, run, shared: Mutex::new(shared) }
    }

    /// W1 to W3: announces an attempt and reads what it may refer to. Packs that were stored before the announcement
    /// count for it only as others do, so a segment names them first; no pack is stored in between.
    ///
    /// At most [`SOURCES_AT_ONCE_MAX`] of these may store at once.
    pub fn open_session(&self, record: &SessionRecord) -> Result<(Session, SessionWriter<'_, 'r>), RepoError> {
        let (announced, source, named_before) = self.with(|shared| {
            shared.join_storing()?;
            shared.store_segment(self.repository)?;
            shared.sources += 1;
            let announced = Session::announce(self.repository, record);
            if let Ok(announced) = &announced {
                shared.heart.add(self.repository, announced.id());
            }
            Ok((announced, shared.sources, shared.named.len()))
        })?;
        let (session, view) = announced?.look(self)?;
        Ok((session, SessionWriter { writer: self, source, view, named_before }))
    }

    /// Leaves off beating for a session that is over.
    pub fn ended(&self, session: PointId) {
        if let Ok(shared) = self.shared.lock() {
            shared.heart.remove(self.repository, session);
        }
    }

    /// Does something with what is shared. What fails half-way leaves nothing that could be trusted.
    fn with<T>(&self, work: impl FnOnce(&mut Shared) -> Result<T, RepoError>) -> Result<T, RepoError> {
        let mut shared = self.shared.lock().map_err(|_| RepoError::WriterBroken)?;
        if shared.is_broken {
            return Err(RepoError::WriterBroken);
        }
        shared.is_broken = true;
        let result = work(&mut shared)?;
        shared.is_broken = false;
        Ok(result)
    }

    /// The repository.
    pub fn repository(&self) -> &'r Repository {
        self.repository
    }

    /// The run that it writes for.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Stores a chunk once more, whether or not it is known: for who is about to delete where it stands.
    pub fn copy(&self, kind: PackKind, id: ChunkId, bytes: &[u8]) -> Result<(), RepoError> {
        self.with(|shared| shared.push(self, kind, COPIES, (id, bytes)).map(|_| ()))
    }

    /// W4: stores everything that was added, in packs.
    pub fn store_packs(&self) -> Result<(), RepoError> {
        self.with(|shared| {
            for kind in [PackKind::Data, PackKind::Meta] {
                shared.store_pack(self.repository, kind)?;
            }
            shared.join_storing()
        })
    }

    /// W4: stores the segment that names all packs which none names yet.
    pub fn name_packs(&self) -> Result<(), RepoError> {
        self.with(|shared| shared.store_segment(self.repository))
    }

    /// Tries once more to make a point whose session was fenced, under another session, without reading the source
    /// again: everything that it needs is stored. `None` if it is not known any more, or was fenced once more.
    pub fn commit_again(&self, record: &SessionRecord, point: &Point) -> Result<Option<PointId>, RepoError> {
        let (mut session, writer) = self.open_session(record)?;
        if !point.content.packs.iter().all(|pack| writer.view.holds(pack)) {
            session.abandon(self)?;
            return Ok(None);
        }
        drop(writer);
        Session::flush([&mut session], self)?;
        let id = session.id();
        match session.commit(self, point)? {
            Commit::Done => Ok(Some(id)),
            Commit::Fenced => Ok(None),
        }
    }

    /// Whether packs were stored since the last flush: a group ends then.
    pub fn has_stored_packs(&self) -> bool {
        self.shared.lock().is_ok_and(|shared| shared.storing.is_some() || !shared.stored.is_empty())
    }

    /// The packs that this writer stored and no segment names. Once it failed, nobody refers to them.
    pub fn left_packs(&self) -> Result<Vec<PackId>, RepoError> {
        let storing = self.shared.lock().map_err(|_| RepoError::WriterBroken)?.storing.take();
        // Whatever came of it stands in the store or does not.
        let _ = storing.map(JoinHandle::join);
        let unnamed = self.repository.unnamed_packs()?.0.packs.into_iter();
        Ok(unnamed.filter(|pack| pack.directory.run == self.run).map(|pack| pack.id).collect())
    }

    /// Bytes of all packs stored so far, without their parity.
    pub fn stored_bytes(&self) -> u64 {
        self.shared.lock().map_or(0, |shared| shared.stored_bytes)
    }
}

impl Shared {
    fn lane(&mut self, kind: PackKind) -> &mut Lane {
        match kind {
            PackKind::Data => &mut self.data,
            PackKind::Meta => &mut self.meta,
        }
    }

    /// Puts a chunk on its way into a pack, and stores that once it is full.
    fn push(
        &mut self,
        writer: &Writer<'_>,
        kind: PackKind,
        source: SourceNumber,
        (id, bytes): (ChunkId, &[u8]),
    ) -> Result<PackId, RepoError> {
        // One pack is on its way to the store while the next is filled, but not two in full: that is memory.
        if self.storing.is_some() && self.lane(kind).bytes() > PACK_BYTES_TARGET / 2 {
            self.join_storing()?;
        }
        let lane = self.lane(kind);
        let pack = lane.push(writer.repository, writer.run, source, (id, bytes))?;
        let is_full = lane.is_full();
        self.unnamed.insert(id, pack);
        if is_full {
            self.store_pack(writer.repository, kind)?;
        }
        Ok(pack)
    }

    /// Closes the present pack of a kind and stores it beside further work; at most one is being stored at a time.
    fn store_pack(&mut self, repository: &Repository, kind: PackKind) -> Result<(), RepoError> {
        let Some(sealed) = self.lane(kind).take_pack(repository)? else { return Ok(()) };
        self.join_storing()?;
        let store = repository.shared_store();
        let parity = repository.config().parity;
        self.storing = Some(std::thread::spawn(move || {
            let sealed = match parity {
                Parity::None => sealed,
                Parity::ReedSolomon => sealed.with_parity()?,
            };
            sealed.put_with(|id, parts| store.put(&layout::pack(id), parts).map_err(RepoError::from).map(|_| ()))
        }));
        if self.unnamed.len() >= SEGMENT_CHUNKS_TARGET {
            self.join_storing()?;
            self.store_segment(repository)?;
        }
        Ok(())
    }

    fn join_storing(&mut self) -> Result<(), RepoError> {
        if let Some(handle) = self.storing.take() {
            let pack = handle.join().map_err(|_| RepoError::Worker)??;
            self.stored_bytes += pack.bytes();
            self.stored.push(pack.into_entry());
        }
        Ok(())
    }

    /// Names all stored packs, if there are any, in one segment and lets the index know.
    fn store_segment(&mut self, repository: &Repository) -> Result<(), RepoError> {
        if self.stored.is_empty() {
            return Ok(());
        }
        let segment = Segment { packs: std::mem::take(&mut self.stored) };
        let id = repository.put_segment(&segment)?;
        for pack in &segment.packs {
            let number = self.named.len();
            self.named.insert(pack.id, number);
            for (chunk, _) in pack.directory.locations() {
                self.unnamed.remove(&chunk);
            }
        }
        repository.index().absorb(id, &segment)?;
        Ok(())
    }
}

impl<'r> SessionWriter<'_, 'r> {
    /// The repository.
    pub fn repository(&self) -> &'r Repository {
        self.writer.repository
    }

    /// Stores a chunk unless it is known.
    pub fn add(&mut self, kind: PackKind, bytes: &[u8]) -> Result<Added, RepoError> {
        let repository = self.writer.repository;
        let id = repository.id_key().chunk_id(bytes);
        let len = u32::try_from(bytes.len()).map_err(|_| RepoError::Worker)?;
        let chunk = ChunkRef { id, len };
        self.writer.with(|shared| {
            if let Some(pack) = self.find(shared, id)? {
                return Ok(Added { chunk, pack, new: false });
            }
            let pack = shared.push(self.writer, kind, self.source, (id, bytes))?;
            Ok(Added { chunk, pack, new: true })
        })
    }

    /// The pack that holds a chunk which this session may refer to without storing it.
    fn find(&self, shared: &Shared, id: ChunkId) -> Result<Option<PackId>, RepoError> {
        if let Some(pack) = shared.unnamed.get(&id) {
            return Ok(Some(*pack));
        }
        let facts = self.writer.repository.index().facts(&[id])?;
        let is_own = |pack: &PackId| shared.named.get(pack).is_some_and(|number| *number >= self.named_before);
        Ok(facts.iter().flatten().map(|fact| fact.pack).find(|pack| self.view.holds(pack) || is_own(pack)))
    }

    /// Whether this session may refer to a chunk without storing it.
    pub fn knows(&self, id: ChunkId) -> Result<bool, RepoError> {
        self.writer.with(|shared| Ok(self.find(shared, id)?.is_some()))
    }

    /// Ends the source's frames. Returns the bytes that it added to packs, but for directories.
    pub fn end(self) -> Result<u64, RepoError> {
        self.end_frames()
    }

    fn end_frames(&self) -> Result<u64, RepoError> {
        let repository = self.writer.repository;
        self.writer
            .with(|shared| Ok(shared.data.end(repository, self.source)? + shared.meta.end(repository, self.source)?))
    }
}

impl Drop for SessionWriter<'_, '_> {
    /// What was added by an attempt that failed stays: others may refer to it already.
    fn drop(&mut self) {
        let _ = self.end_frames();
    }
}
