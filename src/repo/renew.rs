//! Storing small objects anew of which one copy is damaged, and segments that are lost.
//!
//! Nothing is replaced: what is stored anew has another name, and the old object goes once the new one is durable.

use std::collections::BTreeSet;

use crate::id::{NoteId, SegmentId};
use crate::limits::SEGMENT_CHUNKS_TARGET;
use crate::pack::Segment;
use crate::repo::{Config, RepoError, Repository, layout, objects};
use crate::store::Name;

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// It was stored anew, whole.
    Renewed,
    /// It is not of a kind that is renewed here, or nothing depends on it.
    Left,
}

impl Repository {
    /// Stores an object anew that can still be read: a config, a segment or a note.
    pub fn renew(&self, object: &str) -> Result<Renewal, RepoError> {
        let Ok(name) = object.parse::<Name>() else { return Ok(Renewal::Left) };
        let directory = name.directory();
        if directory == layout::CONFIG {
            return self.renew_config(&name);
        }
        if directory == layout::INDEX {
            let Some(id) = layout::parse_id(&name, SegmentId::from_bytes) else { return Ok(Renewal::Left) };
            let segment = match self.read_segment(id) {
                // A prune has merged it meanwhile.
                Err(RepoError::Gone { .. }) => return Ok(Renewal::Left),
                other => other?,
            };
            let new = self.put_segment(&segment)?;
            self.index().absorb(new, &segment)?;
            self.remove_segment(id)?;
            self.index().drop_segments(&BTreeSet::from([id]))?;
            return Ok(Renewal::Renewed);
        }
        if directory == layout::NOTES {
            let Some(id) = layout::parse_id(&name, NoteId::from_bytes) else { return Ok(Renewal::Left) };
            return self.renew_note(id);
        }
        Ok(Renewal::Left)
    }

    /// A note that another supersedes says nothing any more, and must not begin to. If the other one supersedes all
    /// that it does, as one that an interrupted repair has stored anew, the old one can go.
    fn renew_note(&self, id: NoteId) -> Result<Renewal, RepoError> {
        let mut note = match self.read_note(id) {
            Err(RepoError::Gone { .. }) => return Ok(Renewal::Left),
            other => other?,
        };
        let superseding = self.notes_superseding(id)?;
        if superseding.is_empty() {
            note.supersedes.push(id);
            self.put_note(&note)?;
        } else if !superseding.iter().any(|other| note.supersedes.iter().all(|old| other.supersedes.contains(old))) {
            return Ok(Renewal::Left);
        }
        self.remove_note(id)?;
        Ok(Renewal::Renewed)
    }

    /// Only the config in force matters; it is stored once more under the next number.
    fn renew_config(&self, name: &Name) -> Result<Renewal, RepoError> {
        let numbers = objects::config_numbers(self.store())?;
        match (layout::parse_config(name), numbers.last()) {
            (Some(number), Some(last)) if number == *last => {
                objects::put_config(self.store(), self.write_keys(), number + 1, self.config())?;
                Ok(Renewal::Renewed)
            }
            _ => Ok(Renewal::Left),
        }
    }

    /// Stores another config, which is in force from now on.
    pub fn put_next_config(&self, config: &Config) -> Result<(), RepoError> {
        let next = objects::config_numbers(self.store())?.last().map_or(1, |last| last + 1);
        objects::put_config(self.store(), self.write_keys(), next, config)
    }

    /// Names the packs that no readable segment names, as they say themselves, and removes the segments that cannot be
    /// read once nothing can be lost with them. Returns how many packs were named, and how many segments removed.
    pub fn rebuild_segments(&self) -> Result<(usize, usize), RepoError> {
        let (found, unreadable) = self.unnamed_packs()?;
        let named = found.packs.len();
        let (mut segment, mut chunks) = (Segment::default(), 0);
        for pack in found.packs {
            chunks += pack.directory.chunks().count();
            segment.packs.push(pack);
            if chunks >= SEGMENT_CHUNKS_TARGET {
                self.name_in(&std::mem::take(&mut segment))?;
                chunks = 0;
            }
        }
        self.name_in(&segment)?;
        if !unreadable.is_empty() {
            return Ok((named, 0));
        }
        let mut removed = 0;
        for id in self.list_segments()? {
            if self.read_segment(id).is_err_and(|error| matches!(error, RepoError::Damaged { .. })) {
                self.remove_segment(id)?;
                removed += 1;
            }
        }
        Ok((named, removed))
    }

    fn name_in(&self, segment: &Segment) -> Result<(), RepoError> {
        if !segment.packs.is_empty() {
            let id = self.put_segment(segment)?;
            self.index().absorb(id, segment)?;
        }
        Ok(())
    }

    /// Removes what notes say of damaged packs that are gone. Returns how many notes.
    pub fn forget_damage_of_gone_packs(&self) -> Result<usize, RepoError> {
        let mut removed = 0;
        for (note, pack) in self.damage_notes()? {
            if !self.has_pack(pack)? {
                self.remove_note(note)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}
