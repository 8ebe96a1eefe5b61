//! What an interrupted run left on the daemon: backups and snapshots under a name of ours whose session is over.
//!
//! A name alone never justifies a deletion: the session that it carries must be gone, have its point, or belong to a
//! process of this host that does not run any more.

use std::fmt;

use crate::daemon::{Daemon, DaemonError, Subject};
use crate::id::{PointId, RepositoryId};
use crate::monitor::{Event, Monitor, Problem};
use crate::repo::{RepoError, Repository};

/// Digits of the repository's and of the session's id in a name: 64 and 128 bits.
const REPOSITORY_DIGITS: usize = 16;
const SESSION_DIGITS: usize = 32;
const PREFIX: &str = "holdall-";

/// The name of what a session makes on a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TemporaryName {
    repository: String,
    session: String,
}

impl TemporaryName {
    pub(super) fn new(repository: RepositoryId, session: PointId) -> Self {
        let digits = |text: String, count| text.chars().take(count).collect();
        Self {
            repository: digits(repository.to_string(), REPOSITORY_DIGITS),
            session: digits(session.to_string(), SESSION_DIGITS),
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let (repository, session) = name.strip_prefix(PREFIX)?.split_once('-')?;
        let is_hex = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_hex(repository, REPOSITORY_DIGITS) && is_hex(session, SESSION_DIGITS))
            .then(|| Self { repository: repository.to_owned(), session: session.to_owned() })
    }
}

impl fmt::Display for TemporaryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}-{}", self.repository, self.session)
    }
}

/// What a session makes on a daemon.
#[derive(Clone, Copy)]
enum Made {
    Backup,
    Snapshot,
}

/// Removes what dead sessions of this repository left with these.
pub(super) fn remove(
    repository: &Repository,
    daemon: &dyn Daemon,
    subjects: &[Subject],
    host: &str,
    monitor: &dyn Monitor,
) -> Result<(), RepoError> {
    let own = repository.id().to_string();
    let mut found = Vec::new();
    for subject in subjects {
        // Deleted since it was listed, or not ours to look into: its own backup will tell.
        let backups = daemon.backups(subject).unwrap_or_default().into_iter().map(|backup| (Made::Backup, backup.name));
        let has_snapshots = matches!(subject, Subject::Instance { .. } | Subject::Volume { .. });
        let snapshots = if has_snapshots { daemon.snapshots(subject).unwrap_or_default() } else { Vec::new() };
        for (made, name) in backups.chain(snapshots.into_iter().map(|name| (Made::Snapshot, name))) {
            if let Some(name) = TemporaryName::parse(&name).filter(|name| own.starts_with(&name.repository)) {
                found.push((subject, made, name));
            }
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    // A session is announced before anything is made under its name. So sessions are listed after the names were seen:
    // one that is missing then is over, and none that began meanwhile is taken for over.
    let sessions = repository.list_sessions()?;
    for (subject, made, name) in found {
        if is_over(repository, &sessions, &name, host)? {
            let name = name.to_string();
            let deleted = match made {
                Made::Backup => daemon.delete_backup(subject, &name),
                Made::Snapshot => daemon.delete_snapshot(subject, &name),
            };
            tell(monitor, subject, &name, deleted);
        }
    }
    Ok(())
}

/// Whether the session of a temporary object is over.
fn is_over(repository: &Repository, sessions: &[PointId], name: &TemporaryName, host: &str) -> Result<bool, RepoError> {
    let Some(session) = sessions.iter().find(|id| id.to_string().starts_with(&name.session)) else { return Ok(true) };
    if repository.has_verdict(*session)? {
        return Ok(true);
    }
    match repository.read_session(*session) {
        Ok(record) => Ok(record.is_surely_dead(host)),
        Err(RepoError::Gone { .. }) => Ok(true),
        // Nobody knows whose it is: it stays until its time on the daemon is over.
        Err(_) => Ok(false),
    }
}

fn tell(monitor: &dyn Monitor, subject: &Subject, name: &str, deleted: Result<(), DaemonError>) {
    let object = subject.to_string();
    monitor.event(match deleted {
        Ok(()) => {
            Event::Said { object, message: format!("removed {name}, which an interrupted run left on the daemon") }
        }
        Err(DaemonError::NotFound { .. }) => return,
        Err(error) => Event::Problem(Problem {
            object,
            message: format!("{name}, which an interrupted run left on the daemon, cannot be removed: {error}"),
        }),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_recognised_again_and_others_are_not() {
        let name = TemporaryName::new(RepositoryId::from_bytes([0xab; 32]), PointId::from_bytes([0x12; 32]));
        let text = name.to_string();
        assert_eq!(text.len(), 8 + 16 + 1 + 32);
        assert_eq!(TemporaryName::parse(&text), Some(name));
        for other in ["backup0", "holdall-", "holdall-nightly", &text[..text.len() - 1], &text.replace("ab", "xy")] {
            assert_eq!(TemporaryName::parse(other), None, "{other}");
        }
    }
    proptest! {
        /// A name that was recognised is deleted as it is written: it must be the one that was listed.
        #[test]
        fn what_is_recognised_is_written_as_it_was(name in "holdall-[0-9a-fA-F]{15,17}-[0-9a-fA-F]{31,33}|.*") {
            if let Some(parsed) = TemporaryName::parse(&name) {
                prop_assert_eq!(parsed.to_string(), name);
            }
        }
    }
}
