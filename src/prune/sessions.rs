//! The sessions that a prune waits for: how they stand, and whether one may be taken for dead.
//!
//! To be wrong about that costs a writer another commit. No other decision looks at a clock.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::PointId;
use crate::protocol::Standing;
use crate::repo::{RepoError, Repository, SessionRecord};

/// A session whose last beat is older than this, by the store's own clock, is taken for dead.
const SILENT_MAX: Duration = Duration::from_mins(30);

/// A session that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// Its id.
    pub id: PointId,
    /// What it says of itself, if that can be read.
    pub record: Option<SessionRecord>,
    /// For how long it has given no sign of life, as far as the store tells.
    pub silent: Option<Duration>,
}

impl OpenSession {
    /// Whether it is to be taken for dead: its process on this host is gone, or it has been silent for too long.
    pub(super) fn is_suspect(&self, host: &str) -> bool {
        self.record.as_ref().is_some_and(|record| record.is_surely_dead(host))
            || self.silent.is_some_and(|silent| silent > SILENT_MAX)
    }
}

/// How a session stands.
pub(super) fn standing(repository: &Repository, id: PointId) -> Result<Standing, RepoError> {
    // Asked in this order, a writer that ends in between is seen to have committed.
    if !repository.has_session(id)? {
        Ok(Standing::Gone)
    } else if repository.has_verdict(id)? {
        Ok(Standing::Decided)
    } else {
        Ok(Standing::Open)
    }
}

/// What is known of an open session.
pub(super) fn examine(repository: &Repository, id: PointId) -> Result<OpenSession, RepoError> {
    let record = match repository.read_session(id) {
        Ok(record) => Some(record),
        Err(error) if error.is_mute() => None,
        Err(error) => return Err(error),
    };
    let now = repository.store_time()?;
    let last = repository.last_sign_of(id)?;
    let age = |now: Timestamp, last: Timestamp| Duration::from_micros(now.as_micros().saturating_sub(last.as_micros()));
    let silent = now.zip(last).map(|(now, last)| age(now, last));
    Ok(OpenSession { id, record, silent })
}

/// Removes beats whose session is over.
pub(super) fn sweep_beats(repository: &Repository) -> Result<usize, RepoError> {
    let beats = repository.list_beats()?;
    let mut removed = 0;
    for (session, name) in beats {
        if !repository.has_session(session)? {
            repository.remove_beat(&name)?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ID_BYTES, RunId};

    fn session(record: Option<SessionRecord>, silent_minutes: u64) -> OpenSession {
        let silent = Some(Duration::from_mins(silent_minutes));
        OpenSession { id: PointId::from_bytes([1; ID_BYTES]), record, silent }
    }

    #[test]
    fn suspect_is_who_is_gone_from_this_host_or_silent_for_long() {
        let now = Timestamp::from_micros(0).unwrap();
        let alive = SessionRecord::of_this_process(RunId::from_bytes([1; ID_BYTES]), "here", now);
        let dead = SessionRecord { process_start: alive.process_start + 1, ..alive.clone() };
        assert!(!session(Some(alive.clone()), 5).is_suspect("here"));
        assert!(session(Some(alive), 31).is_suspect("here"));
        assert!(session(Some(dead.clone()), 0).is_suspect("here"));
        // Another host's processes cannot be seen from here.
        assert!(!session(Some(dead), 0).is_suspect("there"));
        assert!(!session(None, 5).is_suspect("here"));
        assert!(session(None, 31).is_suspect("here"));
    }
}
