//! The packs themselves: that they stand there in full, and that every byte of them is what was sealed.

use std::collections::BTreeSet;

use crate::check::{Checker, Loss, Severity};
use crate::id::PackId;
use crate::monitor::Event;
use crate::pack::{self, ParityError, Segment, SegmentPack};
use crate::recipe::ChunkRef;
use crate::repo::{ChunkSet, PackBytes, RepoError, cut_chunk, frame_in};

impl Checker<'_> {
    /// Every pack that a segment names stands there with the size that it should have; every other has a directory.
    pub(super) fn packs(&mut self) -> Result<(), RepoError> {
        for (pack, summary) in self.repository.index().packs()? {
            let bytes = summary.bytes;
            match self.view.pack_bytes(&pack) {
                Some(listed) if listed == bytes => {}
                Some(listed) => {
                    let message = format!("it has {listed} bytes instead of {bytes}");
                    self.misshapen_pack(pack, message, bytes)?;
                }
                // It was pruned, and its segment is merged away later; or it is lost, which its points will show.
                None => self.absent.push(pack),
            }
        }
        let (unnamed, unreadable) = self.repository.unnamed_packs()?;
        self.report.packs = self.view.packs().count() as u64;
        self.report.unnamed_packs = (unnamed.packs.len() + unreadable.len()) as u64;
        for (pack, reason) in unreadable {
            let message = format!("no index segment names it, and its directory cannot be read: {reason}");
            self.lost_pack(pack, message);
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

    /// A pack of another size than it should have: nothing is lost if its parity gives back what was stored.
    fn misshapen_pack(&mut self, pack: PackId, message: String, bytes: u64) -> Result<(), RepoError> {
        match self.repository.mended_pack(pack) {
            Ok(mended) if mended.len() as u64 == bytes => self.degraded_pack(pack, &mendable(&message)),
            Ok(_) | Err(RepoError::Damaged { .. } | RepoError::Gone { .. }) => self.lost_pack(pack, message),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// A pack of which something is lost; what that costs is known when all points were walked.
    pub(super) fn lost_pack(&mut self, pack: PackId, message: String) {
        self.report.damaged_packs.insert(pack);
        self.lost.entry(pack).or_insert(Loss { message, affected: BTreeSet::new() });
    }

    /// Tells of packs of which something is lost, with the points that need it.
    pub(super) fn lost(&mut self) {
        for (pack, Loss { message, mut affected }) in std::mem::take(&mut self.lost) {
            // What stood in a pack of which not even the directory is known, and what was not walked, may be any of it.
            let may_be = |user: &String| self.monitor.stop_requested() || self.incomplete.contains(user);
            affected.extend(self.users_of(&pack).into_iter().filter(may_be));
            let affected: Vec<String> = affected.into_iter().collect();
            let (severity, message) = match affected.as_slice() {
                [] => (
                    Severity::Degraded,
                    format!("{message}; no point needs what is lost of it, and repair replaces it"),
                ),
                _ => (Severity::Damage, message),
            };
            self.find(severity, &format!("Pack {pack}"), message, affected);
        }
    }

    /// A pack that can be read in full all the same.
    fn degraded_pack(&mut self, pack: PackId, message: &str) {
        self.report.damaged_packs.insert(pack);
        self.find(Severity::Degraded, &format!("Pack {pack}"), message.to_owned(), Vec::new());
    }

    /// Packs whose damage was met on the way and cost nothing.
    pub(super) fn mended_packs(&mut self) {
        for pack in self.repository.mended_packs() {
            // One that was replaced since is nobody's worry.
            if self.view.holds(&pack) && !self.report.damaged_packs.contains(&pack) {
                self.degraded_pack(pack, &mendable("some of it is damaged"));
            }
        }
    }

    /// Learns from the segments which chunks are in packs that stand in the store and that can be read.
    pub(super) fn sound_chunks(&mut self) -> Result<(), RepoError> {
        let mut sound = ChunkSet::default();
        self.each_segment(|checker, segment| {
            for pack in &segment.packs {
                if checker.lost.contains_key(&pack.id) {
                    checker.readable_chunks(pack, &mut sound)?;
                } else if checker.view.holds(&pack.id) {
                    pack.directory.chunks().for_each(|chunk| sound.add(&ChunkRef { id: chunk.id, len: chunk.len }));
                }
            }
            Ok(())
        })?;
        sound.order();
        self.sound = sound;
        Ok(())
    }

    /// What still reads of a pack that is damaged: a point that needs no more is whole.
    fn readable_chunks(&mut self, pack: &SegmentPack, readable: &mut ChunkSet) -> Result<(), RepoError> {
        let mut unreadable = None;
        for (chunk, at) in pack.directory.locations() {
            if unreadable == Some(at.frame) {
                continue;
            }
            match self.reader.frame(pack.id, at) {
                Ok(frame) if cut_chunk(self.repository, chunk, pack.id, at, &frame).is_ok() => {
                    readable.add(&ChunkRef { id: chunk, len: at.len });
                }
                Ok(_) => {}
                Err(error) if error.is_mendable() || error.is_loss() => unreadable = Some(at.frame),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads packs whole: the directory says what its segment says, every frame opens, every chunk is itself.
    pub(super) fn read_packs(&mut self, is_chosen: impl Fn(&PackId) -> bool) -> Result<(), RepoError> {
        self.each_segment(|checker, segment| checker.read_packs_of(segment, &is_chosen))?;
        let (unnamed, _) = self.repository.unnamed_packs()?;
        self.read_packs_of(&unnamed, &is_chosen)
    }

    /// Every segment that can be read; the others are told.
    fn each_segment(
        &mut self,
        mut each: impl FnMut(&mut Self, &Segment) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        for id in self.repository.list_segments()? {
            // A read that was short once may not be the next time, and the segment's packs would be passed over.
            let read = match self.repository.read_segment(id) {
                Err(error) if error.is_damage() => self.repository.read_segment(id),
                other => other,
            };
            match read {
                Ok(segment) => each(self, &segment)?,
                Err(RepoError::Gone { .. }) => {}
                Err(error @ (RepoError::Damaged { .. } | RepoError::NewerFormat { .. })) => {
                    let segment = id.to_string();
                    // Told already, with the other small objects, unless it could be read then.
                    if !self.report.findings.iter().any(|finding| finding.object.ends_with(&segment)) {
                        let message = format!("{error}; it could be read just before, so its packs were passed over");
                        self.find(Severity::Damage, &format!("Index segment {segment}"), message, Vec::new());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_packs_of(&mut self, segment: &Segment, is_chosen: impl Fn(&PackId) -> bool) -> Result<(), RepoError> {
        for pack in &segment.packs {
            if self.monitor.stop_requested() {
                return Ok(());
            }
            if self.view.pack_bytes(&pack.id) != Some(pack.bytes) || !is_chosen(&pack.id) {
                continue;
            }
            self.monitor.event(Event::Advanced { object: None, bytes: pack.bytes });
            self.read_pack(pack)?;
        }
        Ok(())
    }

    fn read_pack(&mut self, pack: &SegmentPack) -> Result<(), RepoError> {
        let repository = self.repository;
        let error = match repository.read_pack(pack.id).and_then(|bytes| self.verify(pack, &bytes)) {
            Ok(parity) => {
                self.report.bytes_read += pack.bytes;
                if let Err(error) = parity {
                    self.degraded_pack(pack.id, &format!("all that it holds is sound, but {error}"));
                } else {
                    self.report.sound_packs.insert(pack.id);
                }
                return Ok(());
            }
            Err(RepoError::Gone { .. }) => return Ok(()),
            Err(error @ RepoError::Store(_)) if !error.is_mendable() => return Err(error),
            Err(error) => error,
        };
        match repository.mended_pack(pack.id).and_then(|mended| self.verify(pack, &mended)) {
            Ok(_) => self.degraded_pack(pack.id, &mendable(&error.to_string())),
            Err(_) if !error.is_damage() && matches!(error, RepoError::Store(_)) => return Err(error),
            Err(_) => self.lost_pack(pack.id, error.to_string()),
        }
        Ok(())
    }

    /// Every byte of a pack in memory: its directory says what its segment says, every frame opens, and every chunk is
    /// itself. Tells apart whether the parity is what the rest gives.
    fn verify(&mut self, pack: &SegmentPack, bytes: &[u8]) -> Result<Result<(), ParityError>, RepoError> {
        let (id, bytes_of) = (pack.id, PackBytes::whole(self.repository, pack.id, bytes));
        let (directory, trailer) = self.repository.directory_in(id, bytes_of, bytes.len() as u64)?;
        if directory != pack.directory {
            let reason = "has another directory than its index segment states".to_owned();
            return Err(RepoError::Damaged { object: format!("Pack {id}"), reason });
        }
        let opener = self.repository.opener_in(id, bytes_of)?;
        let mut frame: Option<(u32, Vec<u8>)> = None;
        for (chunk, at) in directory.locations() {
            let plain = match frame.take() {
                Some((number, plain)) if number == at.frame => plain,
                _ => frame_in(bytes_of, &opener, id, at)?,
            };
            cut_chunk(self.repository, chunk, id, at, &plain)?;
            frame = Some((at.frame, plain));
        }
        Ok(pack::verify_parity(bytes, &trailer))
    }
}

fn mendable(message: &str) -> String {
    format!("{message}; nothing is lost: it is repairable from its parity, and read with its help")
}
