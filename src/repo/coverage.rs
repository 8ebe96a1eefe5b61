//! Which packs were read in full and found sound, and when: what a check of a part of the data begins with.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::id::{NoteId, PackId};
use crate::repo::{Note, NoteFact, RepoError, Repository};

impl Repository {
    /// When each pack was last read in full and found sound, and the notes that say so. Where several hosts wrote
    /// without seeing each other, the later moment counts.
    pub fn read_before(&self) -> Result<(BTreeMap<PackId, Timestamp>, Vec<NoteId>), RepoError> {
        let (mut packs, mut notes) = (BTreeMap::<PackId, Timestamp>::new(), Vec::new());
        for (id, note) in self.readable_notes()? {
            let NoteFact::Read { rounds } = note.fact else { continue };
            notes.push(id);
            for (when, read) in rounds {
                for pack in read {
                    packs.entry(pack).and_modify(|last| *last = (*last).max(when)).or_insert(when);
                }
            }
        }
        Ok((packs, notes))
    }

    /// Remembers that packs were read and are sound. One note takes the place of all earlier ones and leaves out packs
    /// that are gone, so that the notes do not grow with the years.
    pub fn remember_read(&self, sound: &BTreeSet<PackId>, now: Timestamp) -> Result<(), RepoError> {
        if sound.is_empty() {
            return Ok(());
        }
        let (mut last, supersedes) = self.read_before()?;
        last.extend(sound.iter().map(|pack| (*pack, now)));
        let mut by_moment: BTreeMap<Timestamp, Vec<PackId>> = BTreeMap::new();
        for (pack, _) in self.list_packs()? {
            if let Some(when) = last.get(&pack) {
                by_moment.entry(*when).or_default().push(pack);
            }
        }
        let fact = NoteFact::Read { rounds: by_moment.into_iter().collect() };
        self.put_note(&Note { supersedes: supersedes.clone(), written: now, fact })?;
        for superseded in supersedes {
            self.remove_note(superseded)?;
        }
        Ok(())
    }
}
