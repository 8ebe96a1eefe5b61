//! One attempt to make one point (steps W1 to W6 of `format-spec/concurrency.md`).
//!
//! The session is announced before anything is looked up, the point is created if absent and that is the only commit,
//! and the announcement is removed last. Dropping a session leaves it for the next prune to end.

use crate::id::{PointId, RunId};
use crate::point::{Point, Verdict};
use crate::repo::{RepoError, Repository, SessionRecord, View, layout};
use crate::store::Put;

/// How often a void is tried when the store gives no clear answer to a commit.
const VOID_ATTEMPTS_MAX: usize = 5;

/// An announced attempt. It has the id of the point that it may become.
#[derive(Debug)]
pub struct Session {
    id: PointId,
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// The point exists.
    Done,
    /// Somebody took the session for dead: a void stands in the point's place, and the attempt has failed.
    Fenced,
}

/// An attempt that may not refer to anything yet.
pub(super) struct Announced(Session);

impl Announced {
    /// W2 and W3: reads what the attempt may refer to.
    pub(super) fn look(self, repository: &Repository) -> Result<(Session, View), RepoError> {
        match View::for_writing(repository) {
            Ok(view) => Ok((self.0, view)),
            Err(error) => {
                self.0.abandon(repository)?;
                Err(error)
            }
        }
    }
}

impl Session {
    /// W1: announces an attempt.
    pub(super) fn announce(repository: &Repository, record: &SessionRecord) -> Result<Announced, RepoError> {
        let session = Self { id: PointId::random()? };
        let sealed = repository.seal_session(session.id, record)?;
        repository.put_new(&layout::session(session.id), &sealed)?;
        Ok(Announced(session))
    }

    /// The id of session and point.
    pub fn id(&self) -> PointId {
        self.id
    }

    /// W5 and W6: creates the point. Everything it refers to must be durable and named by a stored segment.
    ///
    /// The point is sent once, below every retry: a request that lingers must not bring back a point that was forgotten
    /// meanwhile. Without a clear answer a void is tried under the same name, and who won is read from the bytes.
    pub fn commit(self, repository: &Repository, point: Point) -> Result<Commit, RepoError> {
        let name = layout::point(self.id);
        let own = match repository.seal_verdict(self.id, &Verdict::Point(Box::new(point))) {
            Ok(own) => own,
            Err(unfit) => {
                // It was never sent, so the attempt is surely over.
                self.remove(repository)?;
                return Err(unfit);
            }
        };
        let store = repository.store();
        let commit = match store.put(&name, &[&own]) {
            Ok(Put::Created) => Commit::Done,
            Ok(Put::Exists) => Commit::Fenced,
            Err(unclear) => {
                let void = repository.seal_verdict(self.id, &Verdict::Void)?;
                let answered = (0..VOID_ATTEMPTS_MAX).any(|_| store.put(&name, &[&void]).is_ok());
                if !answered {
                    // Nobody knows who won. The session stays: a prune must not believe it over (trace T25).
                    return Err(unclear.into());
                }
                if store.get(&name, own.len().max(void.len()))? != own {
                    self.remove(repository)?;
                    return Err(unclear.into());
                }
                Commit::Done
            }
        };
        // The point stands, or never will: what is left of the session is a name that the next prune would remove.
        let _ = self.remove(repository);
        Ok(commit)
    }

    /// Ends an attempt whose point was never sent.
    pub fn abandon(self, repository: &Repository) -> Result<(), RepoError> {
        self.remove(repository)
    }

    fn remove(&self, repository: &Repository) -> Result<(), RepoError> {
        repository.store().delete(&layout::session(self.id))?;
        Ok(())
    }
}

impl SessionRecord {
    /// Describes this process.
    pub fn of_this_process(run: RunId, host: &str, started: crate::clock::Timestamp) -> Self {
        let identity = super::process::Identity::of_this_process();
        Self {
            run,
            host: host.to_owned(),
            boot: identity.boot,
            process: identity.process,
            process_start: identity.start,
            started,
        }
    }

    /// Whether the process that wrote this is certainly gone: this host, by name and boot id or an earlier boot, and no
    /// such process any more.
    pub fn is_surely_dead(&self, host: &str) -> bool {
        self.host == host && !super::process::Identity::is_alive(&self.boot, self.process, self.process_start)
    }
}
