//! `status`: whether every source is backed up, and how recently.

use std::collections::BTreeSet;

use holdall::backup::{BackupOptions, Selection, plan};
use holdall::clock::{Clock, SystemClock};
use holdall::repo::Catalog;
use holdall::status::{Health, Present, Standing, status};

use crate::args::Status;
use crate::config::Settings;
use crate::daemon::connect;
use crate::error::{CliError, Code};
use crate::json;
use crate::open::open;
use crate::output::Output;
use crate::progress::{Problems, Progress};
use crate::table::{Align, Table, count, minute};

pub fn run(args: &Status, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let repository = open(settings, output)?;
    let progress = Progress::new(output, Problems::Told);
    let catalog = Catalog::read(&repository, &progress)?;
    let history = repository.history()?;
    drop(progress);
    let present = if args.offline { None } else { present(args, settings, output)? };
    let max_age = args.max_age.or(settings.max_age);
    let mut standings = status(&catalog, &history, present.as_ref(), max_age, SystemClock.now());
    if !args.sources.is_empty() {
        standings.retain(|standing| args.sources.iter().any(|selector| selector.matches(&standing.source)));
        for selector in &args.sources {
            if !standings.iter().any(|standing| selector.matches(&standing.source)) {
                let message = format!("{selector} is neither in the repository nor on the server");
                return Err(CliError::new(Code::NoSuch, message).hint("see `holdall status` for all there are"));
            }
        }
    }
    print(&standings, output)?;
    let attention = standings.iter().filter(|standing| standing.health.needs_attention()).count();
    if attention == 0 {
        return Ok(());
    }
    let of = count(standings.len() as u64, "source");
    let (verb, they) = if attention == 1 { ("is", "it") } else { ("are", "they") };
    let message = format!("{attention} of {of} {verb} not backed up as {they} should be");
    Err(CliError::new(Code::Problems, message).hint("run `holdall backup --all` and see what it says"))
}

/// What the daemon has. A host without one, or with one that does not answer, is told of what runs found; if a daemon
/// was named, it has to answer.
fn present(args: &Status, settings: &Settings, output: &Output) -> Result<Option<Present>, CliError> {
    let asked = connect(settings).and_then(|daemon| {
        let server_name = args.server_name.clone().or_else(|| settings.server_name.clone());
        let options = BackupOptions { server_name, exclude: settings.exclude.clone(), ..BackupOptions::default() };
        Ok(plan(&daemon, &Selection::All, &options)?)
    });
    match asked {
        Ok(plan) => {
            let chosen: BTreeSet<_> = plan.chosen().cloned().collect();
            let left_out = plan.left_out().cloned().collect();
            Ok(Some(Present { server: plan.server, chosen, left_out, complete: plan.complete }))
        }
        Err(CliError::Failure(failure)) if failure.code == Code::Daemon && settings.server.is_none() => {
            output.detail("No daemon of this host was asked; the runs in the repository tell what there was");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn print(standings: &[Standing], output: &Output) -> Result<(), CliError> {
    if output.is_json() {
        return standings.iter().try_for_each(|standing| output.result(&object(standing), String::new));
    }
    if standings.is_empty() {
        output.note("There is nothing to back up and nothing was");
        return Ok(());
    }
    let columns = [("SOURCE", Align::Left), ("STATE", Align::Left), ("NEWEST", Align::Left), ("POINTS", Align::Right)];
    let mut table = Table::new(&columns);
    for standing in standings {
        let newest = standing.newest.map_or_else(|| "-".to_owned(), |(_, started)| minute(started));
        let state = standing.health.word().to_owned();
        table.row([standing.source.to_string(), state, newest, standing.points.to_string()]);
    }
    output.text(&table.text())?;
    for standing in standings.iter().filter(|standing| matches!(standing.health, Health::Failing | Health::Never)) {
        if let Some((when, reason)) = &standing.failure {
            output.problem(&standing.source.to_string(), &format!("{}: {reason}", minute(*when)));
        }
    }
    Ok(())
}

fn object(standing: &Standing) -> json::Standing<'_> {
    json::Standing {
        source: standing.source.to_string(),
        state: standing.health.word(),
        needs_attention: standing.health.needs_attention(),
        points: standing.points,
        newest: standing.newest.map(|(id, _)| id.to_string()),
        newest_started: standing.newest.map(|(_, started)| started.to_string()),
        failed: standing.failure.as_ref().map(|(when, _)| when.to_string()),
        message: standing.failure.as_ref().map(|(_, reason)| reason.as_str()),
    }
}
