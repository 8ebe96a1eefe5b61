//! Storing what is new: chunks become frames, frames packs, packs a segment (step W4 of `format-spec/concurrency.md`).
//!
//! A run has one writer; its sources come one after the other and share packs. Frames hold chunks of one source only.
//! The write order is kept here: a segment names stored packs only, and [`Writer::flush`] returns when everything that
//! was added is durable and named. Nothing refers to it before that.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc;
use std::thread::JoinHandle;

use crate::id::{ChunkId, PackId, RunId};
use crate::limits::{FRAME_PLAIN_BYTES_TARGET, FRAME_QUEUE_BYTES_MAX, SEGMENT_CHUNKS_TARGET};
use crate::pack::{
    OpenFrame, PackError, PackKind, PackWriter, SealedFrame, SealedPack, Segment, SegmentPack, StoredPack,
};
use crate::recipe::ChunkRef;
use crate::repo::{RepoError, Repository, View, layout};

/// Frames of one kind that may be on their way to the pack.
const FRAMES_ON_THEIR_WAY_MAX: usize = FRAME_QUEUE_BYTES_MAX / FRAME_PLAIN_BYTES_TARGET / 2;

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
    view: View,
    data: Lane,
    meta: Lane,
    /// Chunks of packs that no stored segment names yet, and the pack that each is in.
    unnamed: HashMap<ChunkId, PackId>,
    /// Packs that are stored and that no segment names yet.
    stored: Vec<SegmentPack>,
    storing: Option<JoinHandle<Result<StoredPack, RepoError>>>,
    /// Bytes of packs begun and stored since [`Self::begin_stream`]: what the present stream costs.
    stream_bytes: u64,
    stored_bytes: u64,
}

/// The frames of one kind: one being filled, some being sealed, the rest in the pack.
struct Lane {
    kind: PackKind,
    open: OpenFrame,
    pack: Option<PackWriter>,
    sealing: VecDeque<mpsc::Receiver<Result<SealedFrame, PackError>>>,
}

impl Lane {
    fn new(kind: PackKind) -> Self {
        Self { kind, open: OpenFrame::new(), pack: None, sealing: VecDeque::new() }
    }

    /// The pack that the open frame will stand in.
    fn pack(&mut self, repository: &Repository, run: RunId) -> Result<&mut PackWriter, RepoError> {
        match &mut self.pack {
            Some(pack) => Ok(pack),
            empty => Ok(empty.insert(PackWriter::new(repository.write_keys(), self.kind, run)?)),
        }
    }

    /// Sends the open frame to be sealed. Returns how many bytes of earlier frames arrived in the pack meanwhile.
    fn close_frame(&mut self, repository: &Repository, run: RunId) -> Result<u64, RepoError> {
        if self.open.is_empty() {
            return Ok(0);
        }
        let frame = std::mem::take(&mut self.open);
        let pack = self.pack(repository, run)?;
        let (sealer, number, level) = (pack.sealer(), pack.number(&frame), repository.config().level);
        let (done, receiver) = mpsc::channel();
        rayon::spawn(move || {
            // Nobody waits any more if the writer was dropped; then the frame is not wanted.
            let _ = done.send(frame.seal(&sealer, number, level));
        });
        self.sealing.push_back(receiver);
        self.take_sealed(FRAMES_ON_THEIR_WAY_MAX)
    }

    /// Appends sealed frames until at most `left` are on their way.
    fn take_sealed(&mut self, left: usize) -> Result<u64, RepoError> {
        let mut bytes = 0;
        while self.sealing.len() > left {
            let (Some(receiver), Some(pack)) = (self.sealing.pop_front(), &mut self.pack) else { break };
            let frame = receiver.recv().map_err(|_| RepoError::Worker)??;
            bytes += frame.bytes();
            pack.append(frame);
        }
        Ok(bytes)
    }
}

impl<'r> Writer<'r> {
    /// A writer for one run. It may refer to nothing before [`Self::begin_session`].
    pub fn new(repository: &'r Repository, run: RunId) -> Self {
        Self {
            repository,
            run,
            view: View::default(),
            data: Lane::new(PackKind::Data),
            meta: Lane::new(PackKind::Meta),
            unnamed: HashMap::new(),
            stored: Vec::new(),
            storing: None,
            stream_bytes: 0,
            stored_bytes: 0,
        }
    }

    /// Makes ready for a new session: packs stored before its W1 count for it only once a segment names them.
    pub fn prepare_session(&mut self) -> Result<(), RepoError> {
        self.join_storing()?;
        if self.stored.is_empty() { Ok(()) } else { self.store_segment() }
    }

    /// Lets the chunks of the session's view count as known from now on.
    pub fn begin_session(&mut self, view: View) {
        self.view = view;
    }

    /// Begins a stream: frames hold chunks of one source only.
    pub fn begin_stream(&mut self) {
        self.stream_bytes = 0;
    }

    /// Ends a stream. Returns the bytes that it added to packs, but for directories.
    pub fn end_stream(&mut self) -> Result<u64, RepoError> {
        for kind in [PackKind::Data, PackKind::Meta] {
            let (repository, run) = (self.repository, self.run);
            let lane = self.lane(kind);
            let bytes = lane.close_frame(repository, run)? + lane.take_sealed(0)?;
            self.stream_bytes += bytes;
            self.store_if_full(kind)?;
        }
        Ok(self.stream_bytes)
    }

    fn lane(&mut self, kind: PackKind) -> &mut Lane {
        match kind {
            PackKind::Data => &mut self.data,
            PackKind::Meta => &mut self.meta,
        }
    }

    /// Asked after every frame, also the last one of a stream: many small streams, none of which fills a frame, must
    /// not make a pack that no reader accepts.
    fn store_if_full(&mut self, kind: PackKind) -> Result<(), RepoError> {
        if self.lane(kind).pack.as_ref().is_some_and(PackWriter::is_full) { self.store_pack(kind) } else { Ok(()) }
    }

    /// Stores a chunk unless it is known.
    pub fn add(&mut self, kind: PackKind, bytes: &[u8]) -> Result<Added, RepoError> {
        let id = self.repository.id_key().chunk_id(bytes);
        let len = u32::try_from(bytes.len()).map_err(|_| RepoError::Worker)?;
        let chunk = ChunkRef { id, len };
        if let Some(pack) = self.find(id)? {
            return Ok(Added { chunk, pack, new: false });
        }
        let (repository, run) = (self.repository, self.run);
        let lane = self.lane(kind);
        let pack = lane.pack(repository, run)?.id();
        lane.open.push(id, bytes);
        let arrived = if lane.open.is_full() { Some(lane.close_frame(repository, run)?) } else { None };
        self.unnamed.insert(id, pack);
        if let Some(bytes) = arrived {
            self.stream_bytes += bytes;
            self.store_if_full(kind)?;
        }
        Ok(Added { chunk, pack, new: true })
    }

    /// The pack that holds a chunk which this session may refer to without storing it.
    fn find(&self, id: ChunkId) -> Result<Option<PackId>, RepoError> {
        if let Some(pack) = self.unnamed.get(&id) {
            return Ok(Some(*pack));
        }
        let facts = self.repository.index().facts(&[id])?;
        Ok(facts.iter().flatten().map(|fact| fact.pack).find(|pack| self.view.holds(pack)))
    }

    /// Closes the present pack of a kind and stores it beside further work; at most one is being stored at a time.
    fn store_pack(&mut self, kind: PackKind) -> Result<(), RepoError> {
        let lane = self.lane(kind);
        let bytes = lane.take_sealed(0)?;
        let full = lane.pack.take();
        self.stream_bytes += bytes;
        let Some(pack) = full.filter(|pack| !pack.is_empty()) else { return Ok(()) };
        let sealed = pack.finish()?;
        self.join_storing()?;
        let store = self.repository.shared_store();
        self.storing = Some(std::thread::spawn(move || {
            sealed_put(sealed, |name, parts| store.put(name, parts).map_err(RepoError::from).map(|_| ()))
        }));
        if self.unnamed.len() >= SEGMENT_CHUNKS_TARGET {
            self.join_storing()?;
            self.store_segment()?;
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

    /// Names all stored packs in one segment and lets the index know.
    fn store_segment(&mut self) -> Result<(), RepoError> {
        let segment = Segment { packs: std::mem::take(&mut self.stored) };
        let id = self.repository.put_segment(&segment)?;
        for pack in &segment.packs {
            self.view.add_own(pack.id, pack.bytes);
            for (chunk, _) in pack.directory.locations() {
                self.unnamed.remove(&chunk);
            }
        }
        self.repository.index().absorb(id, &segment)?;
        Ok(())
    }

    /// Stores everything that was added: packs first, then the segment that names them.
    pub fn flush(&mut self) -> Result<(), RepoError> {
        for kind in [PackKind::Data, PackKind::Meta] {
            let (repository, run) = (self.repository, self.run);
            let bytes = self.lane(kind).close_frame(repository, run)?;
            self.stream_bytes += bytes;
            self.store_pack(kind)?;
        }
        self.join_storing()?;
        if self.stored.is_empty() { Ok(()) } else { self.store_segment() }
    }

    /// Whether packs were stored since the last flush: a group ends then.
    pub fn has_stored_packs(&self) -> bool {
        self.storing.is_some() || !self.stored.is_empty()
    }

    /// Bytes of all packs stored so far.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }
}

fn sealed_put(
    sealed: SealedPack,
    put: impl FnOnce(&crate::store::Name, &[&[u8]]) -> Result<(), RepoError>,
) -> Result<StoredPack, RepoError> {
    sealed.put_with(|id, parts| put(&layout::pack(id), parts))
}
