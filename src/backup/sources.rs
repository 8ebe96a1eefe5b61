//! Backing up what a server has: what is wanted, what is known beforehand, and the run itself.

use std::collections::HashMap;

use crate::backup::attempt::{Circumstances, Fuzzy, StagingCheck};
use crate::backup::dispatch::{Halt, work};
use crate::backup::hooks::HostHooks;
use crate::backup::identity::{Adopt, IdentityError, identify};
use crate::backup::inventory::Inventory;
use crate::backup::leftovers;
use crate::backup::plan::Planner;
use crate::backup::rate::Rate;
use crate::backup::run::{Run, Scope, Summary};
use crate::backup::space::Promised;
use crate::clock::Clock;
use crate::daemon::{Access, Daemon, DaemonError, Layout, Snapshots};
use crate::limits::SOURCES_AT_ONCE_MAX;
use crate::monitor::Monitor;
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
    /// What may be read while it changes.
    pub fuzzy: Fuzzy,
    /// Whether an unknown staging area is tried.
    pub staging: StagingCheck,
    /// Whether the daemon's snapshots are part of the points.
    pub snapshots: Snapshots,
    /// Files, or the storage driver's own streams where it has such: smaller to make, but they go back into a pool of
    /// the same driver only, hold no files that could be taken out, and deduplicate less.
    pub layout: Layout,
    /// The most bytes that are read from the daemon in a second.
    pub bytes_per_second: Option<u64>,
    /// How many sets are at work beside each other: at least one, and at most [`SOURCES_AT_ONCE_MAX`].
    pub parallel: usize,
    /// What is left out of a run over everything.
    pub exclude: Vec<Selector>,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self {
            server_name: None,
            adopt: Adopt::Refuse,
            fuzzy: Fuzzy::Files,
            staging: StagingCheck::Required,
            snapshots: Snapshots::Include,
            layout: Layout::Plain,
            bytes_per_second: None,
            parallel: 2,
            exclude: Vec::new(),
        }
    }
}

impl BackupOptions {
    /// How many sets are at work beside each other.
    pub(super) fn at_once(&self) -> usize {
        self.parallel.clamp(1, SOURCES_AT_ONCE_MAX)
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

/// The host that runs the backup.
#[derive(Clone, Copy)]
pub struct Host<'h> {
    /// Its name.
    pub name: &'h str,
    /// Its clock.
    pub clock: &'h dyn Clock,
    /// What it runs around the backup of a set.
    pub hooks: &'h dyn HostHooks,
}

/// Backs up.
pub fn back_up(
    repository: &Repository,
    daemon: &dyn Daemon,
    selection: &Selection,
    options: &BackupOptions,
    host: Host<'_>,
    monitor: &dyn Monitor,
) -> Result<Summary, BackupError> {
    let server = daemon.server()?;
    if server.access == Access::Untrusted {
        return Err(BackupError::Untrusted);
    }
    let now = host.clock.now();
    let (name, record) = identify(repository, &server, options.server_name.as_deref(), options.adopt, now)?;
    let inventory = Inventory::read(daemon)?;
    let plan = Planner::new(&inventory, daemon.projects()?, name, options).plan(selection)?;
    leftovers::remove(repository, daemon, &inventory.subjects(), host.name, monitor)?;
    let lengths = last_streams(repository, monitor)?;
    let circumstances = Circumstances {
        daemon,
        server: &record,
        abilities: &server,
        options,
        plan: &plan,
        last_streams: &lengths,
        rate: Rate::new(options.bytes_per_second),
        staging: Promised::default(),
    };
    let is_all = *selection == Selection::All;
    let left_out = if is_all { plan.left_out().cloned().collect() } else { Vec::new() };
    let scope = Scope { server: plan.server.clone(), whole: is_all && plan.complete, left_out };
    let monitor = Halt::new(monitor);
    let mut run = Run::begin(repository, &monitor, host.clock, host.name)?.about(scope);
    for problem in &plan.problems {
        run.unreadable(problem.clone());
    }
    work(&mut run, &circumstances, host.hooks, &monitor)?;
    let mut summary = run.finish()?;
    // They ended in an order of their own.
    let place = |source: &Source| plan.planned.iter().position(|planned| planned.source == *source);
    summary.made.sort_by_cached_key(|made| place(&made.source));
    summary.failed.sort_by_cached_key(|(source, _)| place(source));
    Ok(summary)
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

/// Lengths of the newest streams in the repository; unknown to write keys.
fn last_streams(repository: &Repository, monitor: &dyn Monitor) -> Result<HashMap<Source, u64>, RepoError> {
    if repository.read_keys().is_err() {
        return Ok(HashMap::new());
    }
    let catalog = Catalog::read(repository, monitor)?;
    Ok(catalog.points().iter().map(|(_, point)| (point.source.clone(), point.content.stream_len)).collect())
}
