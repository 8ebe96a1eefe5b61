//! What notes say about sources and points: which sources are retired, which points count as another source's, which
//! have tags, which are pinned, and what was found to be lost.
//!
//! A source that is renamed on its server keeps its history because a note gives its points, one by one, to the new
//! name; what is made later under the old name is another thing's. No clock decides: where notes contradict each other
//! because their writers had not seen each other, a source is not retired, a point is pinned and has the tag, and it
//! goes where the note with the lowest id says.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::clock::Timestamp;
use crate::id::{ChunkId, NoteId, PointId};
use crate::repo::record::RENAMED_POINTS_MAX;
use crate::repo::{Note, NoteFact, RepoError, Repository, RunRecord};
use crate::source::Source;

/// What the notes say about sources and runs.
#[derive(Debug, Default)]
pub struct History {
    notes: Vec<(NoteId, Note)>,
}

impl History {
    /// The notes that no other supersedes; the rest does not count.
    pub fn new(mut notes: Vec<(NoteId, Note)>) -> Self {
        notes.sort_unstable_by_key(|(id, _)| *id);
        Self { notes }
    }

    /// The sources that are retired.
    pub fn retired(&self) -> BTreeSet<&Source> {
        let mut said: BTreeMap<&Source, bool> = BTreeMap::new();
        for (_, note) in &self.notes {
            if let NoteFact::Retired { source, retired } = &note.fact {
                said.entry(source).and_modify(|all| *all &= *retired).or_insert(*retired);
            }
        }
        said.into_iter().filter(|(_, retired)| *retired).map(|(source, _)| source).collect()
    }

    /// The points that count as another source's than they were made of.
    pub fn moved(&self) -> BTreeMap<PointId, &Source> {
        let mut moved = BTreeMap::new();
        for (_, note) in &self.notes {
            if let NoteFact::Renamed { to, points, .. } = &note.fact {
                for point in points {
                    moved.entry(*point).or_insert(to);
                }
            }
        }
        moved
    }

    /// The tags that points have.
    pub fn tags(&self) -> BTreeMap<PointId, BTreeSet<&str>> {
        let mut tags: BTreeMap<PointId, BTreeSet<&str>> = BTreeMap::new();
        for (_, note) in &self.notes {
            if let NoteFact::Tagged { point, tag, tagged: true } = &note.fact {
                tags.entry(*point).or_default().insert(tag);
            }
        }
        tags
    }

    /// The points that are pinned.
    pub fn pinned(&self) -> BTreeSet<PointId> {
        let said = self.notes.iter().filter_map(|(_, note)| match note.fact {
            NoteFact::Pinned { point, pinned: true } => Some(point),
            _ => None,
        });
        said.collect()
    }

    /// The points of which a check did not find everything, with how many of their chunks are lost.
    pub fn lacking(&self) -> BTreeMap<PointId, u64> {
        let mut lacking = BTreeMap::new();
        for (_, note) in &self.notes {
            if let NoteFact::Lacks { point, chunks: lost @ 1.. } = note.fact {
                lacking.entry(point).and_modify(|most: &mut u64| *most = lost.max(*most)).or_insert(lost);
            }
        }
        lacking
    }

    /// Pieces of recipes that cannot be read, and without which prunes go on.
    pub fn given_up(&self) -> HashSet<ChunkId> {
        let pieces = self.notes.iter().filter_map(|(_, note)| match &note.fact {
            NoteFact::GivenUp { pieces } => Some(pieces.iter().copied()),
            _ => None,
        });
        pieces.flatten().collect()
    }

    /// How runs ended, in no order.
    pub fn runs(&self) -> impl Iterator<Item = &RunRecord> {
        self.notes.iter().filter_map(|(_, note)| match &note.fact {
            NoteFact::Run(run) => Some(run),
            _ => None,
        })
    }

    /// The notes with such a fact.
    fn about(&self, is_about: impl Fn(&NoteFact) -> bool) -> Vec<NoteId> {
        self.notes.iter().filter(|(_, note)| is_about(&note.fact)).map(|(id, _)| *id).collect()
    }

    /// The renamings of any of these points, and what else they say.
    fn renamings_of(&self, points: &BTreeSet<PointId>) -> (Vec<NoteId>, Vec<NoteFact>) {
        let mut notes = Vec::new();
        let mut rest = Vec::new();
        for (id, note) in &self.notes {
            let NoteFact::Renamed { from, to, points: renamed } = &note.fact else { continue };
            let others: Vec<PointId> = renamed.iter().filter(|point| !points.contains(point)).copied().collect();
            if others.len() == renamed.len() {
                continue;
            }
            notes.push(*id);
            if !others.is_empty() {
                rest.push(NoteFact::Renamed { from: from.clone(), to: to.clone(), points: others });
            }
        }
        (notes, rest)
    }
}

impl Repository {
    /// What the notes say about sources and runs.
    ///
    /// A note that cannot be read says nothing here, and `check` names it: what is told of sources must not keep
    /// anybody from their data.
    pub fn history(&self) -> Result<History, RepoError> {
        Ok(History::new(self.readable_notes()?))
    }

    /// The same for who would lose data by a note that says nothing: the first one that cannot be read is the error.
    pub fn whole_history(&self) -> Result<History, RepoError> {
        Ok(History::new(self.notes()?))
    }

    /// Says that a source is retired, or that it no longer is.
    pub fn retire(&self, history: &History, source: &Source, retired: bool, now: Timestamp) -> Result<(), RepoError> {
        let supersedes = history.about(|fact| matches!(fact, NoteFact::Retired { source: of, .. } if of == source));
        let fact = NoteFact::Retired { source: source.clone(), retired };
        self.put_note(&Note { supersedes, written: now, fact })?;
        Ok(())
    }

    /// Says that a point has a tag, or that it no longer has it.
    pub fn tag(
        &self,
        history: &History,
        point: PointId,
        tag: &str,
        tagged: bool,
        now: Timestamp,
    ) -> Result<(), RepoError> {
        let supersedes = history
            .about(|fact| matches!(fact, NoteFact::Tagged { point: of, tag: said, .. } if *of == point && said == tag));
        let fact = NoteFact::Tagged { point, tag: tag.to_owned(), tagged };
        self.put_note(&Note { supersedes, written: now, fact })?;
        Ok(())
    }

    /// Says that a point is pinned, or that it no longer is.
    pub fn pin(&self, history: &History, point: PointId, pinned: bool, now: Timestamp) -> Result<(), RepoError> {
        let supersedes = history.about(|fact| matches!(fact, NoteFact::Pinned { point: of, .. } if *of == point));
        self.put_note(&Note { supersedes, written: now, fact: NoteFact::Pinned { point, pinned } })?;
        Ok(())
    }

    /// Remembers what a check found of these points: how many of their chunks are lost. What is known already is not
    /// said again. Returns how many points lack something and were not known to.
    pub fn remember_lacking(&self, found: &BTreeMap<PointId, u64>, now: Timestamp) -> Result<usize, RepoError> {
        let history = self.history()?;
        let known = history.lacking();
        let mut new = 0;
        for (&point, &chunks) in found {
            let before = known.get(&point).copied().unwrap_or(0);
            if before != chunks {
                let supersedes =
                    history.about(|fact| matches!(fact, NoteFact::Lacks { point: of, .. } if *of == point));
                self.put_note(&Note { supersedes, written: now, fact: NoteFact::Lacks { point, chunks } })?;
                new += usize::from(before == 0);
            }
        }
        Ok(new)
    }

    /// Removes what notes say of points that are forgotten: their tags, their pins and what they lack. Returns how many
    /// notes that were.
    pub fn remove_notes_about(&self, forgotten: &BTreeSet<PointId>) -> Result<usize, RepoError> {
        let mut removed = 0;
        for (id, note) in self.every_readable_note()? {
            if let NoteFact::Tagged { point, .. } | NoteFact::Pinned { point, .. } | NoteFact::Lacks { point, .. } =
                note.fact
                && forgotten.contains(&point)
            {
                self.remove_note(id)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Lets prunes go on though these pieces of recipes cannot be read: what only they name is then deleted.
    pub fn give_up(&self, pieces: &BTreeSet<ChunkId>, now: Timestamp) -> Result<usize, RepoError> {
        let known = self.history()?.given_up();
        let pieces: Vec<ChunkId> = pieces.iter().filter(|piece| !known.contains(piece)).copied().collect();
        let new = pieces.len();
        if new > 0 {
            self.put_note(&Note { supersedes: Vec::new(), written: now, fact: NoteFact::GivenUp { pieces } })?;
        }
        Ok(new)
    }

    /// Says of one point what notes say of another: its tags, whether it is pinned, and whose it counts as.
    pub fn repeat_notes(&self, from: PointId, to: PointId, now: Timestamp) -> Result<(), RepoError> {
        let history = self.whole_history()?;
        for tag in history.tags().get(&from).into_iter().flatten() {
            self.tag(&history, to, tag, true, now)?;
        }
        if history.pinned().contains(&from) {
            self.pin(&history, to, true, now)?;
        }
        for (_, note) in &history.notes {
            if let NoteFact::Renamed { from: was, to: is, points } = &note.fact
                && points.contains(&from)
            {
                let fact = NoteFact::Renamed { from: was.clone(), to: is.clone(), points: vec![to] };
                self.put_note(&Note { supersedes: Vec::new(), written: now, fact })?;
            }
        }
        Ok(())
    }

    /// Gives points of one source to another.
    pub fn rename(
        &self,
        history: &History,
        from: &Source,
        to: &Source,
        points: &BTreeSet<PointId>,
        now: Timestamp,
    ) -> Result<(), RepoError> {
        let all: Vec<PointId> = points.iter().copied().collect();
        let (said_before, mut facts) = history.renamings_of(points);
        facts.extend(all.chunks(RENAMED_POINTS_MAX).map(|piece| {
            let (from, to) = (from.clone(), to.clone());
            NoteFact::Renamed { from, to, points: piece.to_vec() }
        }));
        // Those before the last one supersede nothing: until all are stored, what was said before still counts.
        let mut facts = facts.into_iter().peekable();
        while let Some(fact) = facts.next() {
            let supersedes = if facts.peek().is_none() { said_before.clone() } else { Vec::new() };
            self.put_note(&Note { supersedes, written: now, fact })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> Source {
        Source::instance("lab", "default", name)
    }

    fn history(facts: Vec<NoteFact>) -> History {
        let written = Timestamp::from_micros(1).unwrap();
        let note = |fact| Note { supersedes: Vec::new(), written, fact };
        History::new((1..=9).zip(facts).map(|(at, fact)| (NoteId::from_bytes([at; 32]), note(fact))).collect())
    }

    #[test]
    fn of_notes_that_did_not_see_each_other_the_careful_one_counts() {
        let said = |retired| NoteFact::Retired { source: source("web1"), retired };
        assert_eq!(history(vec![said(true)]).retired().len(), 1);
        assert!(history(vec![said(true), said(false)]).retired().is_empty());
        assert!(history(vec![said(false), said(true)]).retired().is_empty());
    }

    #[test]
    fn a_pin_and_a_tag_hold_until_all_notes_take_them_back() {
        let point = PointId::from_bytes([1; 32]);
        let pin = |pinned| NoteFact::Pinned { point, pinned };
        for (facts, is_pinned) in [(vec![], false), (vec![pin(false)], false), (vec![pin(true), pin(false)], true)] {
            assert_eq!(history(facts).pinned().contains(&point), is_pinned);
        }
        let tag = |tag: &str, tagged| NoteFact::Tagged { point, tag: tag.to_owned(), tagged };
        let history = history(vec![tag("a", true), tag("a", false), tag("b", false), tag("c", true)]);
        assert_eq!(history.tags(), [(point, ["a", "c"].into())].into());
    }

    #[test]
    fn of_what_points_lack_the_most_counts_until_all_notes_say_nothing() {
        let point = PointId::from_bytes([1; 32]);
        let lacks = |chunks| NoteFact::Lacks { point, chunks };
        for (facts, lost) in [(vec![], None), (vec![lacks(0)], None), (vec![lacks(2), lacks(0), lacks(5)], Some(5))] {
            assert_eq!(history(facts).lacking().get(&point).copied(), lost);
        }
    }

    #[test]
    fn points_go_where_the_first_note_says() {
        let point = |at| PointId::from_bytes([at; 32]);
        let renamed =
            |to, points: &[PointId]| NoteFact::Renamed { from: source("a"), to: source(to), points: points.to_vec() };
        let history = history(vec![renamed("b", &[point(1), point(2)]), renamed("c", &[point(2), point(3)])]);
        let moved: Vec<(PointId, &str)> =
            history.moved().into_iter().map(|(point, to)| (point, to.name.as_str())).collect();
        assert_eq!(moved, [(point(1), "b"), (point(2), "b"), (point(3), "c")]);
        let (notes, rest) = history.renamings_of(&[point(1), point(2)].into());
        assert_eq!(notes, [NoteId::from_bytes([1; 32]), NoteId::from_bytes([2; 32])]);
        assert_eq!(rest, [renamed("c", &[point(3)])]);
    }
}
