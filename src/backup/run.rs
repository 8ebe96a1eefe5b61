//! One invocation of `backup` or `import`: what its sources share, and their points in groups.
//!
//! A group's packs and its segment are stored first, then its points one by one. It ends when a pack is full, after ten
//! minutes, and with the run, so that a hundred small sources do not leave a hundred small packs. A source has
//! succeeded when its point is committed, and not before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::{Clock, Timestamp};
use crate::id::{PointId, RunId};
use crate::monitor::{Event, Monitor, Problem};
use crate::point::{Point, Statistics};
use crate::repo::{
    Commit, Note, NoteFact, RepoError, Repository, RunRecord, Session, SessionRecord, SessionWriter, Writer,
};
use crate::source::Source;

/// How long finished sources wait for company before their points are committed.
const GROUP_TIME_MAX: Duration = Duration::from_mins(10);

/// How often a point is committed under yet another session after it was fenced.
const COMMITS_AGAIN_MAX: usize = 3;

/// What became of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The source.
    pub source: Source,
    /// The point.
    pub point: PointId,
    /// Length of its stream in bytes.
    pub stream_len: u64,
    /// What it cost.
    pub statistics: Statistics,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Points that were committed.
    pub made: Vec<Made>,
    /// Sources without a point, and why.
    pub failed: Vec<(Source, String)>,
    /// What could not even be looked into: projects.
    pub unreadable: Vec<Problem>,
    /// What else went wrong, though points were made: hooks that put something right.
    pub problems: Vec<Problem>,
    /// Bytes that were added to the store in packs.
    pub stored_bytes: u64,
    /// Whether the run was stopped on request before its last source.
    pub stopped: bool,
}

/// What a run is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// The server's name in the repository; empty for an import.
    pub server: String,
    /// Whether it is everything that the server has.
    pub whole: bool,
    /// What was found and is left out, as the user or the server wants it.
    pub left_out: Vec<Source>,
}

/// What the sources of a run have in common while they are at work.
pub(super) struct Bench<'r> {
    pub repository: &'r Repository,
    pub monitor: &'r dyn Monitor,
    pub clock: &'r dyn Clock,
    pub host: String,
    pub id: RunId,
    writer: Writer<'r>,
}

impl<'r> Bench<'r> {
    /// Announces an attempt and lets it use what stands in the store.
    pub(super) fn open_session(&self) -> Result<(Session, SessionWriter<'_, 'r>), RepoError> {
        self.writer.open_session(&self.record())
    }

    /// Ends an attempt that came to no point.
    pub(super) fn abandon(&self, session: Session) -> Result<(), RepoError> {
        session.abandon(&self.writer)
    }

    fn record(&self) -> SessionRecord {
        SessionRecord::of_this_process(self.id, &self.host, self.clock.now())
    }

    /// Commits a point. Who was taken for dead meanwhile tries again under another name, which costs nothing as long as
    /// what the point needs is still there. `None` if it is not.
    fn commit(&self, session: Session, point: &Point) -> Result<Option<PointId>, RepoError> {
        let id = session.id();
        if session.commit(&self.writer, point)? == Commit::Done {
            return Ok(Some(id));
        }
        for _ in 0..COMMITS_AGAIN_MAX {
            if let Some(id) = self.writer.commit_again(&self.record(), point)? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}

/// A run under way.
pub struct Run<'r> {
    bench: Arc<Bench<'r>>,
    started: Timestamp,
    scope: Scope,
    waiting: Vec<(Session, Point)>,
    group_since: Instant,
    summary: Summary,
}

impl<'r> Run<'r> {
    /// Begins a run on this host, about no server yet.
    pub fn begin(
        repository: &'r Repository,
        monitor: &'r dyn Monitor,
        clock: &'r dyn Clock,
        host: &str,
    ) -> Result<Self, RepoError> {
        let id = RunId::random()?;
        let bench =
            Bench { repository, monitor, clock, host: host.to_owned(), id, writer: Writer::new(repository, id) };
        Ok(Self {
            bench: Arc::new(bench),
            started: clock.now(),
            scope: Scope::default(),
            waiting: Vec::new(),
            group_since: Instant::now(),
            summary: Summary::default(),
        })
    }

    /// Says what the run is about, for its note.
    #[must_use]
    pub fn about(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// What its sources need, also those that are at work beside each other.
    pub(super) fn bench(&self) -> Arc<Bench<'r>> {
        Arc::clone(&self.bench)
    }

    /// Takes a finished source; its point is committed with its group. Sources that were fenced meanwhile come back.
    pub(super) fn add(&mut self, session: Session, point: Point) -> Result<Vec<Source>, RepoError> {
        if self.waiting.is_empty() {
            self.group_since = Instant::now();
        }
        self.waiting.push((session, point));
        if self.bench.writer.has_stored_packs() || self.group_since.elapsed() > GROUP_TIME_MAX {
            self.commit_group()
        } else {
            Ok(Vec::new())
        }
    }

    /// Whether points wait for their group.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Makes everything durable and commits the points that wait for it. Returns the sources whose session was fenced:
    /// their data is stored, their point is not.
    pub(super) fn commit_group(&mut self) -> Result<Vec<Source>, RepoError> {
        let mut waiting = std::mem::take(&mut self.waiting);
        Session::flush(waiting.iter_mut().map(|(session, _)| session), &self.bench.writer)?;
        let mut fenced = Vec::new();
        for (session, point) in waiting {
            let made = Made {
                source: point.source.clone(),
                point: session.id(),
                stream_len: point.content.stream_len,
                statistics: point.statistics,
            };
            match self.bench.commit(session, &point) {
                Ok(Some(id)) => self.summary.made.push(Made { point: id, ..made }),
                Ok(None) => fenced.push(made.source),
                // One source that no reader would accept does not cost the others of its group their points.
                Err(RepoError::BeyondLimits { source, .. }) => {
                    self.fail(made.source, format!("Its point would be beyond the limits of the format: {source}"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(fenced)
    }

    /// Notes that a source has no point.
    pub(super) fn fail(&mut self, source: Source, reason: String) {
        self.bench.monitor.event(Event::Failed { source: source.clone(), message: reason.clone() });
        self.summary.failed.push((source, reason));
    }

    /// Notes that the user wants no more sources.
    pub(super) fn stop(&mut self) {
        self.summary.stopped = true;
    }

    /// Whether the user wants no more sources.
    pub(super) fn is_stopped(&self) -> bool {
        self.summary.stopped
    }

    /// Notes something that went wrong beside the points.
    pub(super) fn problem(&mut self, problem: Problem) {
        self.bench.monitor.event(Event::Problem(problem.clone()));
        self.summary.problems.push(problem);
    }

    /// Notes that something could not be looked into, and so may hold sources without a point.
    pub(super) fn unreadable(&mut self, problem: Problem) {
        self.bench.monitor.event(Event::Problem(problem.clone()));
        self.summary.unreadable.push(problem);
    }

    /// Ends the run: the last group, and a note that says how it went.
    pub fn finish(mut self) -> Result<Summary, RepoError> {
        for source in self.commit_group()? {
            let reason = "Another host took this backup for dead and ended it; run it again".to_owned();
            self.fail(source, reason);
        }
        let summary = &self.summary;
        let has_server = !self.scope.server.is_empty();
        let fact = NoteFact::Run(RunRecord {
            run: self.bench.id,
            server: self.scope.server,
            whole: self.scope.whole && summary.unreadable.is_empty() && !summary.stopped,
            started: self.started,
            succeeded: summary.made.len() as u64,
            failed: summary.failed.clone(),
            left_out: self.scope.left_out,
        });
        self.bench.repository.put_note(&Note { supersedes: Vec::new(), written: self.bench.clock.now(), fact })?;
        // A name that is used again stands for something that lives.
        let history = self.bench.repository.history()?;
        let retired = history.retired();
        let lives = |made: &&Made| has_server && retired.contains(&made.source);
        for made in self.summary.made.iter().filter(lives) {
            self.bench.repository.retire(&history, &made.source, false, self.bench.clock.now())?;
        }
        self.summary.stored_bytes = self.bench.writer.stored_bytes();
        Ok(self.summary)
    }
}
