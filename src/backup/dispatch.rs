//! The sets of a run at work, some beside each other, each of their sources tried again where that can help.
//!
//! Each set has a thread, which reports to the one that commits. A source that others took for dead, or for which the
//! staging area had no room beside the others, comes again later; one that the run cannot survive ends all of them.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use crate::backup::attempt::{AttemptError, Circumstances, attempt};
use crate::backup::hooks::{Around, HostHooks};
use crate::backup::plan::{Plan, Planned};
use crate::backup::run::{Bench, Run};
use crate::backup::sources::describe;
use crate::daemon::{DaemonError, Route};
use crate::monitor::{Event, Monitor, Problem};
use crate::point::Point;
use crate::repo::{RepoError, Session};
use crate::source::Source;

/// Fencing can end any number of attempts; so many are made for one source.
const ATTEMPTS_MAX: usize = 3;

/// A monitor that stops its operation when the user wants that, or when the run cannot go on.
pub(super) struct Halt<'m> {
    monitor: &'m dyn Monitor,
    halted: AtomicBool,
}

impl<'m> Halt<'m> {
    pub(super) fn new(monitor: &'m dyn Monitor) -> Self {
        Self { monitor, halted: AtomicBool::new(false) }
    }
}

impl Monitor for Halt<'_> {
    fn event(&self, event: Event) {
        self.monitor.event(event);
    }

    fn stop_requested(&self) -> bool {
        self.halted.load(Ordering::Relaxed) || self.monitor.stop_requested()
    }
}

/// Sources that are saved one after the other, with the hooks of the first of their set around them.
struct Job<'p> {
    /// Whose hooks run: the instance of the set.
    lead: &'p Planned,
    sources: Vec<&'p Planned>,
}

/// What waits to be saved.
struct Queue<'p> {
    plan: &'p Plan,
    waiting: VecDeque<Job<'p>>,
    /// What there was no room for beside others.
    alone: VecDeque<Job<'p>>,
    /// How often others took a source for dead.
    fenced: HashMap<Source, usize>,
}

impl<'p> Queue<'p> {
    fn new(plan: &'p Plan) -> Self {
        let jobs = plan.sets().into_iter().filter_map(|sources| Some(Job { lead: sources.first()?, sources }));
        Self { plan, waiting: jobs.collect(), alone: VecDeque::new(), fenced: HashMap::new() }
    }

    /// What to begin beside so many others.
    fn next(&mut self, at_work: usize, at_once: usize) -> Option<Job<'p>> {
        let beside = if at_work < at_once { self.waiting.pop_front() } else { None };
        beside.or_else(|| if at_work == 0 { self.alone.pop_front() } else { None })
    }

    /// Lets sources that were fenced wait once more, each alone, unless it was often enough. Their data is stored: the
    /// next attempt finds it known and costs a read.
    fn take_back(&mut self, run: &mut Run<'_>, fenced: Vec<Source>) {
        let planned = &self.plan.planned;
        for source in fenced {
            let times = self.fenced.entry(source.clone()).or_default();
            *times += 1;
            if let Some(one) = planned.iter().find(|one| one.source == source && *times < ATTEMPTS_MAX) {
                // What made it ready the first time does so again.
                let lead = planned.iter().find(|lead| lead.chosen && lead.leads(&source)).unwrap_or(one);
                self.waiting.push_back(Job { lead, sources: vec![one] });
            } else {
                let reason = "Other hosts took this backup for dead again and again; see that clocks and prune's \
                    limit fit";
                run.fail(source, reason.to_owned());
            }
        }
    }
}

/// What a set's thread tells.
enum Report<'p> {
    /// A source is stored; its point waits for its group.
    Stored(Session, Box<Point>),
    /// A source has no point.
    Failed(Source, String),
    /// Something else went wrong.
    Problem(Problem),
    /// There was no room for these beside others.
    Later(Job<'p>),
    /// The user, or the run, wants no more.
    Stopped,
    /// The run cannot go on.
    Broken(RepoError),
    /// The thread is over.
    Ended,
}

/// Tells that a thread is over, however it ends.
struct AtWork<'p>(mpsc::Sender<Report<'p>>);

impl<'p> AtWork<'p> {
    fn report(&self, report: Report<'p>) {
        // Who hears it waits for the last thread.
        let _ = self.0.send(report);
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        let _ = self.0.send(Report::Ended);
    }
}

/// Saves every set of the plan.
pub(super) fn work<'c>(
    run: &mut Run<'_>,
    circumstances: &'c Circumstances<'c>,
    host: &'c dyn HostHooks,
    halt: &Halt<'_>,
) -> Result<(), RepoError> {
    let mut queue = Queue::new(circumstances.plan);
    let mut broken: Option<RepoError> = None;
    let (sender, reports) = mpsc::channel();
    std::thread::scope(|scope| {
        let mut at_work = 0;
        loop {
            let goes_on = broken.is_none() && !run.is_stopped();
            let next = if goes_on { queue.next(at_work, circumstances.options.at_once()) } else { None };
            let result = if let Some(job) = next {
                let (bench, reports) = (run.bench(), AtWork(sender.clone()));
                scope.spawn(move || set(&bench, circumstances, host, &job, &reports));
                at_work += 1;
                Ok(())
            } else if at_work > 0 {
                let report = reports.recv().unwrap_or(Report::Ended);
                at_work -= usize::from(matches!(report, Report::Ended));
                hear(run, &mut queue, report)
            } else if goes_on && run.has_waiting() {
                // Who turns out to be fenced can still be saved in this run.
                run.commit_group().map(|fenced| queue.take_back(run, fenced))
            } else {
                return;
            };
            if let Err(error) = result {
                halt.halted.store(true, Ordering::Relaxed);
                // The first to fail breaks the writer for the others, who may be heard before it.
                if broken.as_ref().is_none_or(|known| matches!(known, RepoError::WriterBroken)) {
                    broken = Some(error);
                }
            }
        }
    });
    broken.map_or(Ok(()), Err)
}

/// Takes note of what a thread tells.
fn hear<'p>(run: &mut Run<'_>, queue: &mut Queue<'p>, report: Report<'p>) -> Result<(), RepoError> {
    match report {
        Report::Stored(session, point) => {
            let fenced = run.add(session, *point)?;
            queue.take_back(run, fenced);
        }
        Report::Failed(source, reason) => run.fail(source, reason),
        Report::Problem(problem) => run.problem(problem),
        Report::Later(job) => queue.alone.push_back(job),
        Report::Stopped => run.stop(),
        Report::Broken(error) => return Err(error),
        Report::Ended => {}
    }
    Ok(())
}

/// One set with its hooks.
fn set<'p>(
    bench: &Bench<'_>,
    circumstances: &Circumstances<'_>,
    host: &dyn HostHooks,
    job: &Job<'p>,
    reports: &AtWork<'p>,
) {
    let mut around = Around::new(circumstances.daemon, host, bench.monitor, job.lead);
    match around.before() {
        Ok(()) => {
            for (at, planned) in job.sources.iter().enumerate() {
                let report = one(bench, circumstances, &planned.source);
                let report = match report {
                    Ok((session, point)) => Report::Stored(session, Box::new(point)),
                    Err(Missed::Failed(reason)) => Report::Failed(planned.source.clone(), reason),
                    Err(Missed::NoRoomNow) => {
                        let rest = job.sources.iter().skip(at).copied().collect();
                        Report::Later(Job { lead: job.lead, sources: rest })
                    }
                    Err(Missed::Stopped) => Report::Stopped,
                    Err(Missed::Broken(error)) => Report::Broken(error),
                };
                let is_over = matches!(report, Report::Later(_) | Report::Stopped | Report::Broken(_));
                reports.report(report);
                if is_over {
                    break;
                }
            }
        }
        Err(_) if bench.monitor.stop_requested() => reports.report(Report::Stopped),
        Err(reason) => {
            for planned in &job.sources {
                reports.report(Report::Failed(planned.source.clone(), reason.clone()));
            }
        }
    }
    for problem in around.after() {
        reports.report(Report::Problem(problem));
    }
}

/// Why a source has no point now.
enum Missed {
    Failed(String),
    NoRoomNow,
    Stopped,
    Broken(RepoError),
}

/// One source: an attempt, and another by a way that does not depend on a live stream where the first broke.
fn one(bench: &Bench<'_>, circumstances: &Circumstances<'_>, source: &Source) -> Result<(Session, Point), Missed> {
    let (first, others): (Route, &[Route]) = if circumstances.abilities.streams_exports() {
        (Route::Direct, &[Route::Direct, Route::Staged])
    } else {
        (Route::Staged, &[Route::Staged])
    };
    let mut left = others.iter().copied();
    let mut route = first;
    let mut before = None;
    loop {
        let error = match attempt(bench, circumstances, source, route) {
            Ok(stored) => return Ok(stored),
            Err(AttemptError::Repository(error)) => return Err(Missed::Broken(error)),
            Err(AttemptError::Stopped | AttemptError::Daemon(DaemonError::Stopped { .. })) => {
                return Err(Missed::Stopped);
            }
            Err(AttemptError::NoRoomNow) => return Err(Missed::NoRoomNow),
            Err(error) => error,
        };
        match left.next() {
            Some(next) if error.is_transient() => {
                let message = describe(&error);
                let said = Event::Said { object: source.to_string(), message: format!("{message}; trying again") };
                bench.monitor.event(said);
                (route, before) = (next, Some(message));
            }
            _ => return Err(Missed::Failed(reason(&error, before))),
        }
    }
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
