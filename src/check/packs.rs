//! The packs themselves: that they stand there in full, and that every byte of them is what was sealed.

use crate::check::{Checker, Severity};
use crate::id::PackId;
use crate::monitor::Event;
use crate::pack::{Directory, Segment};
use crate::repo::{RepoError, cut_chunk, read_frame};

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
            let users = self.users.get(&pack).into_iter().flatten();
            let affected: Vec<String> = users.filter(|user| self.incomplete.contains(*user)).cloned().collect();
            if !affected.is_empty() {
                let message = "it is missing from the store".to_owned();
                self.find(Severity::Damage, &format!("Pack {pack}"), message, affected);
            }
        }
    }

    fn bad_pack(&mut self, pack: PackId, message: String) {
        let affected = self.users.get(&pack).cloned().unwrap_or_default();
        let severity = if affected.is_empty() { Severity::Degraded } else { Severity::Damage };
        self.find(severity, &format!("Pack {pack}"), message, affected);
    }

    /// Reads every pack: its directory says what its segment says, every frame opens, every chunk is itself.
    pub(super) fn read_packs(&mut self) -> Result<(), RepoError> {
        for id in self.repository.list_segments()? {
            let segment = match self.repository.read_segment(id) {
                Ok(segment) => segment,
                // Told already, with the other small objects.
                Err(RepoError::Gone { .. } | RepoError::Damaged { .. } | RepoError::NewerFormat { .. }) => continue,
                Err(error) => return Err(error),
            };
            self.read_packs_of(&segment)?;
        }
        let (unnamed, _) = self.repository.unnamed_packs()?;
        self.read_packs_of(&unnamed)
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
