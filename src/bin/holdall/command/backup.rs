//! `backup`: points of what the daemon has.

use holdall::backup::{Adopt, BackupOptions, Fuzzy, Host, Selection, StagingCheck, Summary, back_up, plan};
use holdall::clock::SystemClock;
use holdall::daemon::{Daemon, Layout, Snapshots};

use crate::args::Backup;
use crate::command::made;
use crate::config::{Settings, host_name};
use crate::daemon::connect;
use crate::error::{CliError, Code};
use crate::hooks::CommandHooks;
use crate::interrupt;
use crate::json;
use crate::open::{open_to_write, tell_damaged};
use crate::output::{Output, plain};
use crate::progress::{Problems, Progress};
use crate::table::count;

pub fn run(args: Backup, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let defaults = BackupOptions::default();
    let options = BackupOptions {
        server_name: args.server_name.or_else(|| settings.server_name.clone()),
        adopt: if args.adopt { Adopt::Accept } else { Adopt::Refuse },
        fuzzy: match (args.allow_fuzzy, args.consistent) {
            (true, _) => Fuzzy::Allow,
            (false, true) => Fuzzy::Refuse,
            (false, false) => Fuzzy::Files,
        },
        layout: if args.optimized { Layout::Optimized } else { Layout::Plain },
        bytes_per_second: args.limit_rate.or(settings.limit_rate),
        parallel: args.parallel.or(settings.parallel).unwrap_or(defaults.parallel),
        staging: if args.unchecked_staging { StagingCheck::Skipped } else { StagingCheck::Required },
        snapshots: if args.no_snapshots { Snapshots::Omit } else { Snapshots::Include },
        exclude: settings.exclude.clone(),
    };
    let selection = if args.all { Selection::All } else { Selection::Sources(args.sources) };
    let daemon = connect(settings)?;
    if args.dry_run {
        return dry_run(&daemon, &selection, &options, output);
    }
    let repository = tell_damaged(open_to_write(settings, output)?, output);
    let progress = Progress::new(output, Problems::Told);
    let name = host_name();
    let hooks = CommandHooks::new(&settings.hooks);
    let host = Host { name: &name, clock: &SystemClock, hooks: &hooks };
    let working = interrupt::working();
    let summary = back_up(&repository, &daemon, &selection, &options, host, &progress)?;
    drop(working);
    progress.clear();
    for made in &summary.made {
        made::tell(made, output)?;
    }
    made::tag(&summary.made, &args.tags, &repository)?;
    judge(&summary, output)
}

fn dry_run(
    daemon: &dyn Daemon,
    selection: &Selection,
    options: &BackupOptions,
    output: &Output,
) -> Result<(), CliError> {
    let plan = plan(daemon, selection, options)?;
    for one in &plan.planned {
        let source = one.source.to_string();
        let set: Vec<String> = one.set.iter().map(ToString::to_string).collect();
        let (chosen, what, why) = (one.chosen, one.what.as_str(), one.why.as_str());
        let object = json::Planned { source: &source, what, chosen, why, set };
        let sign = if chosen { '+' } else { '-' };
        output.result(&object, || format!("{sign} {}: {}; {}", plain(&source), plain(what), plain(why)))?;
    }
    for problem in &plan.problems {
        output.problem(&problem.object, &problem.message);
    }
    let missing = plan.problems.len();
    if missing == 0 { Ok(()) } else { Err(problems_left(missing)) }
}

/// The exit code of a run: a source that failed was told when it did.
fn judge(summary: &Summary, output: &Output) -> Result<(), CliError> {
    if summary.stopped {
        return Err(CliError::stopped().hint("finished sources have their points; run it again for the others"));
    }
    let failed = summary.failed.len() + summary.unreadable.len();
    match (failed, summary.made.is_empty()) {
        (0, _) if !summary.problems.is_empty() => {
            let problems = count(summary.problems.len() as u64, "hook");
            let message = format!("Every source has its point, but {problems} failed, for the reasons above");
            Err(CliError::new(Code::Problems, message))
        }
        (0, _) => made::in_a_sound_repository(output),
        (1, true) if summary.unreadable.is_empty() => {
            Err(CliError::new(Code::Problems, "The source has no new point, for the reason above"))
        }
        (failed, _) => Err(problems_left(failed)),
    }
}

fn problems_left(failed: usize) -> CliError {
    let (what, have) = if failed == 1 { ("source or project", "has") } else { ("sources or projects", "have") };
    CliError::new(Code::Problems, format!("{failed} {what} {have} no new point, for the reasons above"))
}
