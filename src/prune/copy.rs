//! Where the chunks in use stand, and copying them out of packs that go.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::id::{ChunkId, PackId, SegmentId};
use crate::limits::PACK_BYTES_TARGET;
use crate::monitor::{Event, Monitor};
use crate::pack::{Directory, Location, PackKind, SegmentPack};
use crate::protocol::Survey;
use crate::prune::mark::Marks;
use crate::prune::order::Order;
use crate::repo::{ChunkSet, Reader, RepoError, Repository, Writer, cut_chunk};

/// Copies are named, and what they were copied from deleted, after so many bytes, so that not much more room is taken
/// than becomes free.
const COPIED_BYTES_MAX: u64 = 4 * PACK_BYTES_TARGET as u64;

/// The packs that stand in the store, as far as a prune relies on listings.
pub(super) struct Listed {
    /// All of them, with the size of their files.
    pub(super) packs: BTreeMap<PackId, u64>,
    /// Those that have another size than their segment states, or that a note calls damaged.
    pub(super) unsound: HashSet<PackId>,
}

impl Listed {
    pub(super) fn read(repository: &Repository) -> Result<Self, RepoError> {
        let listed = repository.list_packs()?;
        let mut unsound = repository.packs_of_wrong_size(&listed)?;
        unsound.extend(repository.damaged_packs()?);
        Ok(Self { packs: listed.into_iter().collect(), unsound })
    }
}

/// Hears of every pack that a stored segment names, each once, whether or not it still stands in the store. Returns the
/// segments that cannot be read.
pub(super) fn for_each_pack(
    repository: &Repository,
    monitor: &dyn Monitor,
    mut each: impl FnMut(&SegmentPack),
) -> Result<Vec<(SegmentId, String)>, RepoError> {
    let mut heard = HashSet::new();
    let mut unreadable = Vec::new();
    for id in repository.list_segments()? {
        if monitor.stop_requested() {
            break;
        }
        match repository.read_segment(id) {
            Ok(segment) => segment.packs.iter().filter(|pack| heard.insert(pack.id)).for_each(&mut each),
            Err(RepoError::Gone { .. }) => {}
            Err(error) if error.is_damage() => unreadable.push((id, error.to_string())),
            Err(error) => return Err(error),
        }
    }
    Ok(unreadable)
}

/// A chunk that is to be copied.
struct Wanted {
    order: u32,
    /// Of its pack among those that are copied out of.
    number: usize,
    pack: PackId,
    kind: PackKind,
    chunk: ChunkId,
    at: Location,
    position: usize,
}

/// Where the chunks in use stand, for one look at the store.
pub(super) struct Places<'u> {
    in_use: &'u ChunkSet,
    /// Chunks that a pack holds which stays, or that were copied.
    kept: Marks,
}

impl<'u> Places<'u> {
    pub(super) fn new(in_use: &'u ChunkSet) -> Self {
        Self { in_use, kept: Marks::new(in_use) }
    }

    /// The same places once more, from what [`Self::into_kept`] gave; the set of chunks in use has not changed.
    pub(super) fn with(in_use: &'u ChunkSet, kept: Marks) -> Self {
        Self { in_use, kept }
    }

    /// The chunks that are kept or copied.
    pub(super) fn into_kept(self) -> Marks {
        self.kept
    }

    /// Marks what the packs hold that stay.
    pub(super) fn keep(
        &mut self,
        repository: &Repository,
        monitor: &dyn Monitor,
        keeps: impl Fn(&PackId) -> bool,
    ) -> Result<(), RepoError> {
        for_each_pack(repository, monitor, |pack| {
            if keeps(&pack.id) {
                for position in pack.directory.chunks().filter_map(|chunk| self.in_use.position(&chunk.id)) {
                    self.kept.set(position);
                }
            }
        })?;
        Ok(())
    }

    /// Which victims hold what nothing else keeps; those that no segment names are asked themselves.
    pub(super) fn survey(
        &self,
        repository: &Repository,
        monitor: &dyn Monitor,
        victims: &BTreeMap<PackId, u64>,
    ) -> Result<Survey<BTreeSet<PackId>>, RepoError> {
        let mut survey = Survey { waiting: BTreeSet::new(), stuck: BTreeSet::new(), is_complete: true };
        let mut found = Marks::new(self.in_use);
        let mut named = HashSet::new();
        for_each_pack(repository, monitor, |pack| {
            if victims.contains_key(&pack.id) {
                named.insert(pack.id);
                self.look_into(pack.id, &pack.directory, &mut found, &mut survey);
            }
        })?;
        for (id, bytes) in victims.iter().filter(|(id, _)| !named.contains(id)) {
            match repository.read_directory(*id, *bytes) {
                Ok(directory) => self.look_into(*id, &directory, &mut found, &mut survey),
                Err(RepoError::Gone { .. }) => {}
                Err(error) if error.is_damage() => survey.stuck.extend([*id]),
                Err(error) => return Err(error),
            }
        }
        survey.is_complete = self.kept.count_with(&found) == self.in_use.len();
        if survey.is_complete {
            survey.stuck.clear();
        }
        Ok(survey)
    }

    fn look_into(&self, id: PackId, directory: &Directory, found: &mut Marks, survey: &mut Survey<BTreeSet<PackId>>) {
        let needed = |position: &usize| !self.kept.has(*position);
        let mut positions =
            directory.chunks().filter_map(|chunk| self.in_use.position(&chunk.id)).filter(needed).peekable();
        if positions.peek().is_some() {
            survey.waiting.insert(id);
            positions.for_each(|position| found.set(position));
        }
    }

    /// Copies what nothing keeps yet out of the first of these packs, until enough would be copied, in the order in
    /// which it will be read. Returns the packs of which everything is copied now, and those of which something cannot
    /// be read anywhere.
    pub(super) fn copy(
        &mut self,
        reader: &mut Reader<'_>,
        (writer, order): (&Writer<'_>, &Order),
        monitor: &dyn Monitor,
        packs: impl IntoIterator<Item = (PackId, u64)>,
    ) -> Result<(BTreeSet<PackId>, BTreeSet<PackId>), RepoError> {
        let (mut copied, mut unreadable) = (BTreeSet::new(), BTreeSet::new());
        let (mut wanted, mut wanted_bytes) = (Vec::new(), 0);
        for (number, (pack, bytes)) in packs.into_iter().enumerate() {
            if monitor.stop_requested() || wanted_bytes > COPIED_BYTES_MAX {
                break;
            }
            match writer.repository().directory_of(pack, bytes) {
                Ok(directory) => {
                    wanted_bytes += self.want(&mut wanted, order, (number, pack), &directory);
                    copied.insert(pack);
                }
                Err(error) if error.is_damage() || error.is_loss() => drop(unreadable.insert(pack)),
                Err(error) => return Err(error),
            }
        }
        wanted.sort_unstable_by_key(|one| {
            (one.kind == PackKind::Meta, one.order, one.number, one.at.frame, one.at.offset)
        });
        for one in wanted.iter().take_while(|_| !monitor.stop_requested()) {
            self.copy_chunk(reader, writer, one)?;
            let share =
                u64::from(one.at.frame_sealed_len) * u64::from(one.at.len) / u64::from(one.at.frame_plain_len.max(1));
            monitor.event(Event::Advanced { object: None, bytes: share });
        }
        for one in wanted.iter().filter(|one| !self.kept.has(one.position)) {
            copied.remove(&one.pack);
            if !monitor.stop_requested() {
                unreadable.insert(one.pack);
            }
        }
        writer.store_packs()?;
        Ok((copied, unreadable))
    }

    /// What is to be copied out of a pack; returns about how many bytes that makes.
    fn want(
        &self,
        wanted: &mut Vec<Wanted>,
        order: &Order,
        (number, pack): (usize, PackId),
        directory: &Directory,
    ) -> u64 {
        let mut bytes = 0;
        for (chunk, at) in directory.locations() {
            let position = self.in_use.position(&chunk).filter(|position| !self.kept.has(*position));
            let Some(position) = position else { continue };
            bytes += u64::from(at.len);
            let (kind, order) = (directory.kind, order.of(position));
            wanted.push(Wanted { order, number, pack, kind, chunk, at, position });
        }
        bytes
    }

    fn copy_chunk(&mut self, reader: &mut Reader<'_>, writer: &Writer<'_>, one: &Wanted) -> Result<(), RepoError> {
        let Wanted { pack, kind, chunk, at, position, .. } = *one;
        if self.kept.has(position) {
            return Ok(());
        }
        let frame = reader.frame(pack, at);
        let read = frame.and_then(|frame| cut_chunk(writer.repository(), chunk, pack, at, &frame).map(<[u8]>::to_vec));
        match read {
            Ok(plain) => {
                writer.copy(kind, chunk, &plain)?;
                self.kept.set(position);
                Ok(())
            }
            // It may stand in another victim, or twice in this one.
            Err(error) if error.is_damage() || error.is_loss() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How many of a pack's `bytes` bytes are in use and kept by nothing before it, by the plain lengths of chunks in
    /// their frames; marks them as kept. All of them, overhead included, only if every chunk is in use, and 0 only if
    /// none is.
    pub(super) fn claim(&mut self, directory: &Directory, bytes: u64) -> u64 {
        let (mut used_bytes, mut frame_bytes) = (0, 0);
        for frame in &directory.frames {
            let mut used = 0;
            for chunk in &frame.chunks {
                if let Some(position) = self.in_use.position(&chunk.id).filter(|position| !self.kept.has(*position)) {
                    self.kept.set(position);
                    used += u64::from(chunk.len);
                }
            }
            let (sealed, plain) = (u64::from(frame.sealed_len), u64::from(frame.plain_len()).max(1));
            frame_bytes += sealed;
            used_bytes += if used == 0 { 0 } else { (sealed * used / plain).max(1) };
        }
        if used_bytes == 0 { 0 } else { (bytes * used_bytes / frame_bytes.max(1)).max(1) }
    }
}
