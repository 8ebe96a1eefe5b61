//! The packs themselves: that they stand there in full, and that every byte of them is what was sealed.

use crate::check::{Checker, Severity};
use crate::id::PackId;
use crate::monitor::Event;
use crate::pack::{Directory, Segment};
use crate::recipe::ChunkRef;
use crate::repo::{ChunkSet, RepoError, cut_chunk, read_frame};

impl Checker<'_> {
    /// Every pack that a segment names stands there with the size that it should have; every other has a directory.
    pub(super) fn packs(&mut self) -> Result<(), RepoError> {
        for (pack, summary) in self.repository.index().packs()? {
            let bytes = summary.bytes;
            match self.view.pack_bytes(&pack) {
                Some(listed) if listed == bytes => {}
                Some(listed) => {
                    self.report.damaged_packs.insert(pack);
                    let message = format!("it has {listed} bytes instead of {bytes}");
                    self.bad_pack(pack, message);
                }
                // It was pruned, and its segment is merged away later; or it is lost, which its points will show.
                None => self.absent.push(pack),
            }
        }
        let (unnamed, unreadable) = self.repository.unnamed_packs()?;
        self.report.packs = self.view.packs().count() as u64;
        self.report.unnamed_packs = (unnamed.packs.len() + unreadable.len()) as u64;
        for (pack, reason) in unreadable {
            self.report.damaged_packs.insert(pack);
            self.bad_pack(pack, format!("no index segment names it, and its directory cannot be read: {reason}"));
        }
        Ok(())
    }

    /// Packs that are not there and that points would need which lack something.
    pub(super) fn missing(&mut self) {
        for pack in std::mem::take(&mut self.absent) {
            let users = self.users_of(&pack).into_iter();
            let affected: Vec<String> = users.filter(|user| self.incomplete.contains(user)).collect();
            if !affected.is_empty() {
                let message = "it is missing from the store".to_owned();
                self.find(Severity::Damage, &format!("Pack {pack}"), message, affected);
            }
        }
    }

    fn bad_pack(&mut self, pack: PackId, message: String) {
        let affected = self.users_of(&pack);
        let severity = if affected.is_empty() { Severity::Degraded } else { Severity::Damage };
        self.find(severity, &format!("Pack {pack}"), message, affected);
    }

    /// Learns from the segments which chunks are in packs that stand in the store and are not known to be damaged.
    pub(super) fn sound_chunks(&mut self) -> Result<(), RepoError> {
        let mut sound = ChunkSet::default();
        self.each_segment(|checker, segment| {
            let is_sound = |pack: &PackId| checker.view.holds(pack) && !checker.report.damaged_packs.contains(pack);
            for pack in segment.packs.iter().filter(|pack| is_sound(&pack.id)) {
                pack.directory.chunks().for_each(|chunk| sound.add(&ChunkRef { id: chunk.id, len: chunk.len }));
            }
            Ok(())
        })?;
        sound.order();
        self.sound = sound;
        Ok(())
    }

    /// Reads every pack: its directory says what its segment says, every frame opens, every chunk is itself.
    pub(super) fn read_packs(&mut self) -> Result<(), RepoError> {
        self.each_segment(Self::read_packs_of)?;
        let (unnamed, _) = self.repository.unnamed_packs()?;
        self.read_packs_of(&unnamed)
    }

    /// Every segment that can be read; the others are told with the small objects.
    fn each_segment(
        &mut self,
        mut each: impl FnMut(&mut Self, &Segment) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        for id in self.repository.list_segments()? {
            match self.repository.read_segment(id) {
                Ok(segment) => each(self, &segment)?,
                Err(RepoError::Gone { .. } | RepoError::Damaged { .. } | RepoError::NewerFormat { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_packs_of(&mut self, segment: &Segment) -> Result<(), RepoError> {
        for pack in &segment.packs {
            if self.monitor.stop_requested() {
                return Ok(());
            }
            if self.view.pack_bytes(&pack.id) != Some(pack.bytes) {
                continue;
            }
            self.monitor.event(Event::Advanced { object: None, bytes: pack.bytes });
            match self.read_pack(pack.id, pack.bytes, &pack.directory) {
                Ok(()) => self.report.bytes_read += pack.bytes,
                Err(RepoError::Gone { .. }) => {}
                Err(error @ RepoError::Store(_)) => return Err(error),
                Err(error) => {
                    self.report.damaged_packs.insert(pack.id);
                    self.bad_pack(pack.id, error.to_string());
                }
            }
        }
        Ok(())
    }

    fn read_pack(&mut self, id: PackId, bytes: u64, stated: &Directory) -> Result<(), RepoError> {
        let directory = self.repository.read_directory(id, bytes)?;
        if directory != *stated {
            let reason = "has another directory than its index segment states".to_owned();
            return Err(RepoError::Damaged { object: format!("Pack {id}"), reason });
        }
        let opener = self.reader.opener(id)?;
        let mut frame: Option<(u32, Vec<u8>)> = None;
        for (chunk, at) in directory.locations() {
            let plain = match frame.take() {
                Some((number, plain)) if number == at.frame => plain,
                _ => read_frame(self.repository, &opener, id, at)?,
            };
            cut_chunk(self.repository, chunk, id, at, &plain)?;
            frame = Some((at.frame, plain));
        }
        Ok(())
    }
}
