//! Taking away what nobody needs: packs, condemned objects, segments, beats, the reserve and what crashes left.
//!
//! Nothing here decides. Packs and condemned objects go when [`crate::protocol::Prune`] says so, segments when
//! [`crate::protocol::Merge`] does.

use std::time::Duration;

use crate::id::{CondemnedId, NoteId, PackId, SegmentId};
use crate::repo::{RepoError, Repository, layout, objects};
use crate::store::{Deleted, Directory, Name};

impl Repository {
    /// Whether a pack stands in the store. Absence counts for an id that came from a segment or a listing.
    pub fn has_pack(&self, id: PackId) -> Result<bool, RepoError> {
        Ok(self.store().stat(&layout::pack(id))?.is_some())
    }

    /// Deletes a pack. Returns whether it was there.
    pub fn remove_pack(&self, id: PackId) -> Result<bool, RepoError> {
        Ok(self.store().delete(&layout::pack(id))? == Deleted::Removed)
    }

    /// Removes a condemned object all of whose packs are deleted.
    pub fn release(&self, id: CondemnedId) -> Result<(), RepoError> {
        self.store().delete(&layout::condemned(id))?;
        Ok(())
    }

    /// Removes a segment whose facts another one states.
    pub fn remove_segment(&self, id: SegmentId) -> Result<(), RepoError> {
        self.store().delete(&layout::segment(id))?;
        Ok(())
    }

    /// Removes a note that another one supersedes, or that tells nothing any more.
    pub fn remove_note(&self, id: NoteId) -> Result<(), RepoError> {
        self.store().delete(&layout::note(id))?;
        Ok(())
    }

    /// Removes a beat.
    pub fn remove_beat(&self, beat: &Name) -> Result<(), RepoError> {
        self.store().delete(beat)?;
        Ok(())
    }

    /// Deletes the reserve, to have room for one small object on a full disk.
    pub fn spend_reserve(&self) -> Result<(), RepoError> {
        if let Ok(name) = Directory::ROOT.object(layout::RESERVE) {
            self.store().delete(&name)?;
        }
        Ok(())
    }

    /// Stores the reserve again if it is not there.
    pub fn restore_reserve(&self) -> Result<(), RepoError> {
        objects::put_reserve(self.store())
    }

    /// Removes what crashed programs left of objects that they were storing: files older by so much than one just
    /// written, by the store's own clock. Returns how many.
    pub fn remove_temporaries(&self, age_max: Duration) -> Result<usize, RepoError> {
        let Some(now) = self.store_time()? else { return Ok(0) };
        let age_max = u64::try_from(age_max.as_micros()).unwrap_or(u64::MAX);
        let mut removed = 0;
        for directory in layout::DIRECTORIES.iter().cloned().chain(layout::PACKS.shards()).chain([Directory::ROOT]) {
            for temporary in self.store().temporaries(&directory)? {
                if now.as_micros().saturating_sub(temporary.modified.as_micros()) > age_max {
                    self.store().remove_temporary(&temporary)?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}
