//! Backing up what a server has: which sources, one after the other, each tried again where that can help.

use std::collections::{HashMap, VecDeque};

use crate::backup::attempt::{AttemptError, Circumstances, Fuzzy, StagingCheck, attempt};
use crate::backup::hooks::{Around, HostHooks};
use crate::backup::identity::{Adopt, IdentityError, identify};
use crate::backup::inventory::Inventory;
use crate::backup::leftovers;
use crate::backup::plan::{Plan, Planned, Planner};
use crate::backup::run::{Run, Scope, Summary};
use crate::clock::Clock;
use crate::daemon::{Access, Daemon, DaemonError, Layout, Route, Snapshots};
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
        last_stream: &|source| lengths.get(source).copied(),
    };
    let is_all = *selection == Selection::All;
    let whole = is_all && plan.complete;
    let left_out = if is_all { plan.left_out().cloned().collect() } else { Vec::new() };
    let mut run = Run::begin(repository, monitor, host.clock, host.name)?.about(Scope {
        server: plan.server.clone(),
        whole,
        left_out,
    });
    for problem in &plan.problems {
        run.unreadable(problem.clone());
    }
    let jobs = plan.sets().into_iter().filter_map(|sources| Some(Job { lead: sources.first()?, sources, attempts: 0 }));
    let mut waiting: VecDeque<Job<'_>> = jobs.collect();
    while let Some(job) = waiting.pop_front() {
        let fenced = set(&mut run, &circumstances, host.hooks, &job)?;
        // Their data is stored; the next attempt finds it known and costs a read.
        again(&mut run, &plan, &mut waiting, fenced, job.attempts + 1);
        if run.is_stopped() {
            // Points of sources that are finished are committed all the same.
            break;
        }
        if waiting.is_empty() {
            let fenced = run.commit_group()?;
            again(&mut run, &plan, &mut waiting, fenced, job.attempts + 1);
        }
    }
    Ok(run.finish()?)
}

/// Sources that are saved one after the other, with the hooks of the first around them.
struct Job<'p> {
    /// Whose hooks run: the instance of the set.
    lead: &'p Planned,
    sources: Vec<&'p Planned>,
    /// How often others took them for dead.
    attempts: usize,
}

/// Lets sources that were fenced wait once more, each alone, unless it was often enough.
fn again<'p>(run: &mut Run<'_>, plan: &'p Plan, waiting: &mut VecDeque<Job<'p>>, fenced: Vec<Source>, attempts: usize) {
    for source in fenced {
        let planned = plan.planned.iter().find(|planned| planned.source == source);
        if let Some(planned) = planned.filter(|_| attempts < ATTEMPTS_MAX) {
            // What made it ready the first time does so again.
            let lead = plan.planned.iter().find(|one| one.chosen && one.leads(&source)).unwrap_or(planned);
            waiting.push_back(Job { lead, sources: vec![planned], attempts });
        } else {
            let reason = "Other hosts took this backup for dead again and again; see that clocks and prune's limit fit";
            run.fail(source, reason.to_owned());
        }
    }
}

/// One set with its hooks. Returns the sources that were fenced meanwhile.
fn set(
    run: &mut Run<'_>,
    circumstances: &Circumstances<'_>,
    host: &dyn HostHooks,
    job: &Job<'_>,
) -> Result<Vec<Source>, RepoError> {
    let mut around = Around::new(circumstances.daemon, host, run.monitor, job.lead);
    let mut fenced = Vec::new();
    let mut ended = Ok(());
    match around.before() {
        Ok(()) => {
            for planned in &job.sources {
                match one(run, circumstances, &planned.source) {
                    Ok(Some(others)) => fenced.extend(others),
                    Ok(None) => run.stop(),
                    Err(error) => ended = Err(error),
                }
                if run.is_stopped() || ended.is_err() {
                    break;
                }
            }
        }
        Err(_) if run.monitor.stop_requested() => run.stop(),
        Err(reason) => {
            for planned in &job.sources {
                run.fail(planned.source.clone(), reason.clone());
            }
        }
    }
    for problem in around.after() {
        run.problem(problem);
    }
    ended.map(|()| fenced)
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
        Some(before) if without_ids(&before) != without_ids(&last) => {
            format!("{last} (the attempt before it: {before})")
        }
        _ => last,
    }
}

/// A message without what differs from attempt to attempt: the daemon may name the backup that it was to make.
fn without_ids(message: &str) -> String {
    let is_word = |word: &&str| word.len() < 16 || !word.bytes().all(|byte| byte.is_ascii_hexdigit());
    message.split(|one: char| !one.is_ascii_alphanumeric()).filter(is_word).collect()
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
