//! Merging segments: small ones, and those that name packs which are deleted, become few
//! (`format-spec/concurrency.md`, "Prune").

use std::collections::BTreeSet;

use crate::id::SegmentId;
use crate::limits::SEGMENT_CHUNKS_TARGET;
use crate::monitor::Monitor;
use crate::pack::Segment;
use crate::protocol::{Merge, MergeStep, Reading};
use crate::repo::{RepoError, Repository, Stored};

/// So many segments become one, whatever they name.
const SEGMENTS_MIN: usize = 8;

/// Segments that would become one, and their facts.
#[derive(Default)]
struct Group {
    segments: BTreeSet<SegmentId>,
    alive: usize,
    dead: usize,
}

impl Group {
    fn is_worth_it(&self) -> bool {
        self.segments.len() >= SEGMENTS_MIN || self.dead > 0 && self.dead * 4 >= self.alive + self.dead
    }
}

/// Merges what is worth it. Returns how many segments were removed.
pub(super) fn merge(repository: &Repository, monitor: &dyn Monitor) -> Result<usize, RepoError> {
    let mut groups = vec![Group::default()];
    for id in repository.list_segments()? {
        let segment = match repository.read_segment(id) {
            Ok(segment) => segment,
            Err(error) if error.is_damage() || error.is_loss() => continue,
            Err(error) => return Err(error),
        };
        let all = count(&segment);
        let alive = count(&without_deleted(repository, segment)?);
        // What is nearly full and nearly all alive is left as it is.
        if (all - alive) * 4 < all && all > SEGMENT_CHUNKS_TARGET / 2 {
            continue;
        }
        if groups.last().is_none_or(|group| group.alive + alive > SEGMENT_CHUNKS_TARGET) {
            groups.push(Group::default());
        }
        if let Some(group) = groups.last_mut() {
            group.segments.insert(id);
            group.alive += alive;
            group.dead += all - alive;
        }
    }
    let mut removed = 0;
    for group in groups.into_iter().filter(Group::is_worth_it) {
        if monitor.stop_requested() {
            break;
        }
        removed += merge_group(repository, group.segments)?;
    }
    Ok(removed)
}

fn count(segment: &Segment) -> usize {
    segment.packs.iter().map(|pack| pack.directory.chunks().count()).sum()
}

/// A segment without the packs that are gone, which each was asked for by its name.
fn without_deleted(repository: &Repository, segment: Segment) -> Result<Segment, RepoError> {
    let mut left = Segment::default();
    for pack in segment.packs {
        if repository.has_pack(pack.id)? {
            left.packs.push(pack);
        }
    }
    Ok(left)
}

fn merge_group(repository: &Repository, group: BTreeSet<SegmentId>) -> Result<usize, RepoError> {
    let mut merge = Merge::<Stored>::new(group);
    let mut merged = Segment::default();
    let mut named = BTreeSet::new();
    let mut removed = 0;
    loop {
        match merge.next() {
            MergeStep::Read(id) => {
                let says = match repository.read_segment(id) {
                    Ok(segment) => {
                        let left = without_deleted(repository, segment)?;
                        merged.packs.extend(left.packs.into_iter().filter(|pack| named.insert(pack.id)));
                        Reading::Says(())
                    }
                    Err(error) if error.is_loss() => Reading::Gone,
                    Err(error) if error.is_damage() => Reading::Unreadable,
                    Err(error) => return Err(error),
                };
                merge.read(id, &says);
            }
            MergeStep::Store => {
                if !merged.packs.is_empty() {
                    let id = repository.put_segment(&merged)?;
                    repository.index().absorb(id, &merged)?;
                }
                merge.stored();
            }
            MergeStep::Remove(id) => {
                repository.remove_segment(id)?;
                repository.index().drop_segments(&BTreeSet::from([id]))?;
                removed += 1;
                merge.removed(id);
            }
            MergeStep::Ended => return Ok(removed),
        }
    }
}
