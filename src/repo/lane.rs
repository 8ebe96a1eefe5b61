//! Chunks of one kind on their way into a pack: gathered into frames, sealed in parallel, appended in order.
//!
//! Several sources may fill frames at once, each its own, for frames hold chunks of one source only. All of them stand
//! in the present pack: which pack holds a chunk is known when it is added, so a pack that is full takes every open
//! frame along.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc;

use crate::id::{ChunkId, PackId, RunId};
use crate::limits::{FRAME_PLAIN_BYTES_TARGET, FRAME_QUEUE_BYTES_MAX, OPEN_FRAMES_BYTES_MAX};
use crate::pack::{OpenFrame, PackError, PackKind, PackWriter, SealedFrame, SealedPack};
use crate::repo::{RepoError, Repository};

/// Frames of one kind that may be on their way to the pack.
pub(super) const FRAMES_ON_THEIR_WAY_MAX: usize = FRAME_QUEUE_BYTES_MAX / FRAME_PLAIN_BYTES_TARGET / 2;

/// The source that a frame is of, as the writer counts them.
pub(super) type SourceNumber = u64;

/// The frames of one kind.
pub(super) struct Lane {
    kind: PackKind,
    open: HashMap<SourceNumber, OpenFrame>,
    pack: Option<PackWriter>,
    sealing: VecDeque<(SourceNumber, mpsc::Receiver<Result<SealedFrame, PackError>>)>,
    /// Bytes that arrived in packs, by source, since they were asked for.
    arrived: HashMap<SourceNumber, u64>,
}

impl Lane {
    pub(super) fn new(kind: PackKind) -> Self {
        let (open, sealing, arrived) = (HashMap::new(), VecDeque::new(), HashMap::new());
        Self { kind, open, pack: None, sealing, arrived }
    }

    /// Adds a chunk to the open frame of a source. Returns the pack that will hold it.
    pub(super) fn push(
        &mut self,
        repository: &Repository,
        run: RunId,
        source: SourceNumber,
        (id, bytes): (ChunkId, &[u8]),
    ) -> Result<PackId, RepoError> {
        let pack = match &mut self.pack {
            Some(pack) => pack,
            empty => empty.insert(PackWriter::new(repository.write_keys(), self.kind, run)?),
        };
        let pack = pack.id();
        let frame = self.open.entry(source).or_default();
        frame.push(id, bytes);
        if frame.is_full() {
            self.close_frame(repository, source)?;
        } else if self.open.values().map(OpenFrame::bytes).sum::<usize>() > OPEN_FRAMES_BYTES_MAX {
            let largest = self.open.iter().max_by_key(|(_, frame)| frame.bytes()).map(|(source, _)| *source);
            self.close_frame(repository, largest.unwrap_or(source))?;
        }
        Ok(pack)
    }

    /// Sends the open frame of a source to be sealed.
    fn close_frame(&mut self, repository: &Repository, source: SourceNumber) -> Result<(), RepoError> {
        let (Some(frame), Some(pack)) = (self.open.remove(&source), &mut self.pack) else { return Ok(()) };
        let (sealer, number, level) = (pack.sealer(), pack.number(&frame), repository.config().level);
        let (done, receiver) = mpsc::channel();
        rayon::spawn(move || {
            // Nobody waits any more if the writer was dropped; then the frame is not wanted.
            let _ = done.send(frame.seal(&sealer, number, level));
        });
        self.sealing.push_back((source, receiver));
        self.take_sealed(FRAMES_ON_THEIR_WAY_MAX)
    }

    /// Appends sealed frames until at most `left` are on their way.
    fn take_sealed(&mut self, left: usize) -> Result<(), RepoError> {
        while self.sealing.len() > left {
            let (Some((source, receiver)), Some(pack)) = (self.sealing.pop_front(), &mut self.pack) else { break };
            let frame = receiver.recv().map_err(|_| RepoError::Worker)??;
            *self.arrived.entry(source).or_default() += frame.bytes();
            pack.append(frame);
        }
        Ok(())
    }

    /// Closes the frame of a source that has no more chunks. Returns the bytes that all its frames have in packs.
    pub(super) fn end(&mut self, repository: &Repository, source: SourceNumber) -> Result<u64, RepoError> {
        self.close_frame(repository, source)?;
        self.take_sealed(0)?;
        Ok(self.arrived.remove(&source).unwrap_or_default())
    }

    /// Whether the present pack is to be stored now. Asked after every chunk: many small sources, none of which fills a
    /// frame, must not make a pack that no reader accepts.
    pub(super) fn is_full(&self) -> bool {
        let chunks = self.open.values().map(OpenFrame::chunks).sum();
        self.pack.as_ref().is_some_and(|pack| pack.is_full(self.open.len(), chunks))
    }

    /// Bytes of the present pack.
    pub(super) fn bytes(&self) -> usize {
        self.pack.as_ref().map_or(0, PackWriter::bytes)
    }

    /// Ends the present pack with all frames that are open. `None` if there is none.
    pub(super) fn take_pack(&mut self, repository: &Repository) -> Result<Option<SealedPack>, RepoError> {
        let mut sources: Vec<SourceNumber> = self.open.keys().copied().collect();
        sources.sort_unstable();
        for source in sources {
            self.close_frame(repository, source)?;
        }
        self.take_sealed(0)?;
        Ok(self.pack.take().map(PackWriter::finish).transpose()?)
    }
}
