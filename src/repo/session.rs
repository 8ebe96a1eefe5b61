//! One attempt to make one point (steps W1 to W6 of `format-spec/concurrency.md`).
//!
//! Which step comes next is said by [`crate::protocol::Writer`]; here it is done. The session is announced before
//! anything is looked up, the point is created if absent and that is the only commit, and the announcement is removed
//! last. Dropping a session leaves it for the next prune to end.

use crate::id::{PackId, PointId, RunId};
use crate::point::{Point, Verdict};
use crate::protocol::{Attempt, Creation, Writer as Steps, WriterStep};
use crate::repo::{RepoError, Repository, SessionRecord, Stored, View, Writer, layout};
use crate::store::{Put, StoreError};

/// An announced attempt. It has the id of the point that it may become.
#[derive(Debug)]
pub struct Session {
    id: PointId,
    steps: Steps<Stored>,
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
    pub(super) fn id(&self) -> PointId {
        self.0.id
    }

    /// W2 and W3: reads what the attempt may refer to.
    pub(super) fn look(mut self, writer: &Writer<'_>) -> Result<(Session, View), RepoError> {
        match self.0.look(writer.repository()) {
            Ok(view) => Ok((self.0, view)),
            Err(error) => {
                self.0.abandon(writer)?;
                Err(error)
            }
        }
    }
}

impl Session {
    /// W1: announces an attempt.
    pub(super) fn announce(repository: &Repository, record: &SessionRecord) -> Result<Announced, RepoError> {
        let mut session = Self { id: PointId::random()?, steps: Steps::default() };
        let sealed = repository.seal_session(session.id, record)?;
        repository.put_new(&layout::session(session.id), &sealed)?;
        session.steps.done();
        Ok(Announced(session))
    }

    fn look(&mut self, repository: &Repository) -> Result<View, RepoError> {
        let mut listed = Vec::new();
        while self.look_once(repository, &mut listed)? {}
        View::for_writing(repository, &self.steps, listed)
    }

    /// One operation of W2 and W3. Returns whether there was one to do.
    fn look_once(&mut self, repository: &Repository, listed: &mut Vec<(PackId, u64)>) -> Result<bool, RepoError> {
        match self.steps.next() {
            WriterStep::ListCondemned => self.steps.condemned_listed(repository.list_condemned()?),
            WriterStep::ReadCondemned(id) => self.steps.condemned_read(id, &repository.read_condemned(id)?),
            WriterStep::ListPacks => {
                *listed = repository.list_packs()?;
                self.steps.packs_listed(listed.iter().map(|(pack, _)| *pack).collect());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The id of session and point.
    pub fn id(&self) -> PointId {
        self.id
    }

    /// W4: makes durable and names what was added, for several sessions at once. Until this is done none of them can
    /// commit.
    pub fn flush<'s>(sessions: impl IntoIterator<Item = &'s mut Self>, writer: &Writer<'_>) -> Result<(), RepoError> {
        let mut sessions: Vec<&mut Self> = sessions.into_iter().collect();
        while let Some(first) = sessions.first() {
            match first.steps.next() {
                WriterStep::Store => writer.store_packs()?,
                WriterStep::Name => writer.name_packs()?,
                _ => break,
            }
            for session in &mut sessions {
                session.steps.done();
            }
        }
        Ok(())
    }

    /// W5 and W6: creates the point. Everything it refers to was [flushed](Self::flush) before.
    ///
    /// The point is sent once, below every retry: a request that lingers must not bring back a point that was forgotten
    /// meanwhile. Without a clear answer a void is tried under the same name, and who won is read from the bytes.
    pub fn commit(mut self, writer: &Writer<'_>, point: &Point) -> Result<Commit, RepoError> {
        let repository = writer.repository();
        let own = match repository.seal_verdict(self.id, &Verdict::Point(Box::new(point.clone()))) {
            Ok(own) => own,
            Err(unfit) => {
                // It was never sent, so the attempt is surely over.
                self.abandon(writer)?;
                return Err(unfit);
            }
        };
        let void = repository.seal_verdict(self.id, &Verdict::Void)?;
        let (store, name) = (repository.store(), layout::point(self.id));
        let mut unclear = None;
        loop {
            match self.steps.next() {
                WriterStep::Commit => self.steps.committed(creation(store.put(&name, &[&own]), &mut unclear)),
                WriterStep::Void => self.steps.voided(creation(store.put(&name, &[&void]), &mut None)),
                WriterStep::ReadVerdict => match store.get(&name, own.len().max(void.len())) {
                    Ok(stored) => self.steps.verdict_read(stored == own),
                    Err(_) => self.steps.verdict_unreadable(),
                },
                WriterStep::Withdraw => {
                    // The point stands, or never will: what is left is a name that the next prune would remove.
                    let _ = repository.withdraw(self.id);
                    writer.ended(self.id);
                    self.steps.done();
                }
                WriterStep::Ended(Attempt::Committed) => return Ok(Commit::Done),
                WriterStep::Ended(Attempt::Fenced) => return Ok(Commit::Fenced),
                // Also where nobody knows who won; then the session stays, for a prune must not believe it over (T25).
                _ => return Err(unclear.map_or(RepoError::WriterBroken, RepoError::from)),
            }
        }
    }

    /// Ends an attempt whose point was never sent.
    pub fn abandon(mut self, writer: &Writer<'_>) -> Result<(), RepoError> {
        self.steps.abandon();
        if self.steps.next() == WriterStep::Withdraw {
            writer.ended(self.id);
            writer.repository().withdraw(self.id)?;
        }
        Ok(())
    }
}

/// What became of a creation; the error of one without a clear answer is kept.
fn creation(answer: Result<Put, StoreError>, unclear: &mut Option<StoreError>) -> Creation {
    match answer {
        Ok(Put::Created) => Creation::Created,
        Ok(Put::Exists) => Creation::Taken,
        Err(error) => {
            unclear.get_or_insert(error);
            Creation::Unclear
        }
    }
}

impl Repository {
    /// Removes the announcement of a session that is over.
    pub fn withdraw(&self, session: PointId) -> Result<(), RepoError> {
        self.store().delete(&layout::session(session))?;
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
