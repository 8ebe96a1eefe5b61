//! Backing up what a server has: which sources, one after the other, each tried again where that can help.

use crate::backup::attempt::{AttemptError, Circumstances, Fuzzy, StagingCheck, attempt};
use crate::backup::identity::{Adopt, IdentityError, identify};
use crate::backup::inventory::Inventory;
use crate::backup::leftovers;
use crate::backup::plan::Planner;
use crate::backup::run::{Run, Scope, Summary};
use crate::clock::Clock;
use crate::daemon::{Access, Daemon, DaemonError, Route, Snapshots};
use crate::monitor::{Event, Monitor};
use crate::repo::{Catalog, RepoError, Repository};
use crate::source::{Selector, Source};

/// Which sources to back up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Everything in every project that nobody took out.
    All,
    /// These.
    Sources(Vec<Selector>),
}

/// How to back up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupOptions {
    /// The server's name in the repository, where it is not the daemon's own.
    pub server_name: Option<String>,
    /// What another certificate under that name means.
    pub adopt: Adopt,
    /// Whether a running virtual machine may be read live.
    pub fuzzy: Fuzzy,
    /// Whether an unknown staging area is tried.
    pub staging: StagingCheck,
    /// Whether the daemon's snapshots are part of the points.
    pub snapshots: Snapshots,
    /// What is left out of a run over everything.
    pub exclude: Vec<Selector>,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self {
            server_name: None,
            adopt: Adopt::Refuse,
            fuzzy: Fuzzy::Refuse,
            staging: StagingCheck::Required,
            snapshots: Snapshots::Include,
            exclude: Vec::new(),
        }
    }
}

/// Why a run could not begin or go on. What concerns one source alone is in the [`Summary`].
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The daemon cannot be talked to.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The server is not the one it should be.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepoError),
    /// The client is not trusted by the daemon.
    #[error("The daemon does not trust this user with its objects; use its full socket as root or in its group")]
    Untrusted,
    /// The source is of a kind that this operation does not back up.
    #[error("{selector} cannot be backed up from a daemon")]
    Unsupported {
        /// What was asked for.
        selector: String,
    },
    /// The source belongs to another server.
    #[error("{selector} names another server than {server}, which the daemon is")]
    OtherServer {
        /// What was asked for.
        selector: String,
        /// The daemon's name in the repository.
        server: String,
    },
}

/// Fencing can end any number of attempts; so many are made for one source.
const ATTEMPTS_MAX: usize = 3;

/// Backs up.
pub fn back_up(
    repository: &Repository,
    daemon: &dyn Daemon,
    selection: &Selection,
    options: &BackupOptions,
    host: &str,
    clock: &dyn Clock,
    monitor: &dyn Monitor,
) -> Result<Summary, BackupError> {
    let server = daemon.server()?;
    if server.access == Access::Untrusted {
        return Err(BackupError::Untrusted);
    }
    let (name, record) = identify(repository, &server, options.server_name.as_deref(), options.adopt, clock.now())?;
    let inventory = Inventory::read(daemon)?;
    let plan = Planner::new(&inventory, daemon.projects()?, name, options).plan(selection)?;
    leftovers::remove(repository, daemon, &inventory.subjects(), host, monitor)?;
    let lengths = last_streams(repository, monitor)?;
    let circumstances = Circumstances {
        daemon,
        server: &record,
        abilities: &server,
        fuzzy: options.fuzzy,
        staging: options.staging,
        plan: &plan,
        last_stream: &|source| lengths.iter().rev().find(|(known, _)| known == source).map(|(_, len)| *len),
    };
    let whole = *selection == Selection::All;
    let left_out = if whole { plan.left_out().cloned().collect() } else { Vec::new() };
    let mut run =
        Run::begin(repository, monitor, clock, host)?.about(Scope { server: plan.server.clone(), whole, left_out });
    for problem in &plan.problems {
        run.unreadable(problem.clone());
    }
    let sources: Vec<Source> = plan.chosen().cloned().collect();
    let mut waiting: Vec<(Source, usize)> = sources.into_iter().rev().map(|source| (source, 0)).collect();
    while let Some((source, attempts)) = waiting.pop() {
        let Some(fenced) = one(&mut run, &circumstances, &source)? else {
            // Points of sources that are finished are committed all the same.
            run.stop();
            break;
        };
        // Their data is stored; the next attempt finds it known and costs a read.
        waiting.extend(fenced.into_iter().map(|source| (source, attempts + 1)));
        if waiting.is_empty() {
            waiting.extend(run.commit_group()?.into_iter().map(|source| (source, attempts + 1)));
        }
        let worn_out = |(_, attempts): &(Source, usize)| *attempts >= ATTEMPTS_MAX;
        for (source, _) in waiting.extract_if(.., |one| worn_out(one)) {
            let reason = "Other hosts took this backup for dead again and again; see that clocks and prune's limit fit";
            run.fail(source, reason.to_owned());
        }
    }
    Ok(run.finish()?)
}

/// One source: an attempt, and another by a way that does not depend on a live stream where the first broke. Returns
/// the sources that were fenced meanwhile, or `None` if the user wants to stop.
fn one(
    run: &mut Run<'_>,
    circumstances: &Circumstances<'_>,
    source: &Source,
) -> Result<Option<Vec<Source>>, RepoError> {
    let routes: &[Route] = if circumstances.abilities.streams_exports() {
        &[Route::Direct, Route::Direct, Route::Staged]
    } else {
        &[Route::Staged, Route::Staged]
    };
    let mut left = routes.iter().copied().peekable();
    let mut before = None;
    while let Some(route) = left.next() {
        match attempt(run, circumstances, source, route) {
            Ok(fenced) => return Ok(Some(fenced)),
            Err(AttemptError::Repository(error)) => return Err(error),
            Err(AttemptError::Stopped | AttemptError::Daemon(DaemonError::Stopped { .. })) => return Ok(None),
            Err(error) if error.is_transient() && left.peek().is_some() => {
                let message = describe(&error);
                run.monitor
                    .event(Event::Said { object: source.to_string(), message: format!("{message}; trying again") });
                before = Some(message);
            }
            Err(error) => {
                run.fail(source.clone(), reason(&error, before));
                return Ok(Some(Vec::new()));
            }
        }
    }
    Ok(Some(Vec::new()))
}

/// Why a source has no point. What the last attempt met is often only the echo of what broke the one before it.
fn reason(error: &AttemptError, before: Option<String>) -> String {
    let last = describe(error);
    match before {
        Some(before) if before != last => format!("{last} (the attempt before it: {before})"),
        _ => last,
    }
}

/// The message with what caused it, in one line.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    text
}

/// Lengths of the streams in the repository, oldest first; unknown to write keys.
fn last_streams(repository: &Repository, monitor: &dyn Monitor) -> Result<Vec<(Source, u64)>, RepoError> {
    if repository.read_keys().is_err() {
        return Ok(Vec::new());
    }
    let catalog = Catalog::read(repository, monitor)?;
    Ok(catalog.points().iter().map(|(_, point)| (point.source.clone(), point.content.stream_len)).collect())
}
