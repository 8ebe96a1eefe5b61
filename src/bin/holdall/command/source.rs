//! `source`: the sources of the repository, which of them are retired, and what they are called.

use std::collections::{BTreeMap, BTreeSet};

use holdall::clock::{Clock, SystemClock};
use holdall::id::PointId;
use holdall::point::Point;
use holdall::repo::{Catalog, Repository};
use holdall::source::{Source, SourceKind};

use crate::args::{SourceCommand, SourceRename, SourceRetire};
use crate::config::Settings;
use crate::error::{CliError, Code};
use crate::json;
use crate::open::open;
use crate::output::{Output, plain};
use crate::progress::{Problems, Progress};
use crate::table::{Align, Table, count, minute};

pub fn run(command: SourceCommand, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let repository = open(settings, output)?;
    let progress = Progress::new(output, Problems::Told);
    let catalog = Catalog::read(&repository, &progress)?;
    drop(progress);
    match command {
        SourceCommand::List => list(&repository, &catalog, output),
        SourceCommand::Retire(args) => retire(&args, &repository, &catalog, output),
        SourceCommand::Rename(args) => rename(&args, &repository, &catalog, output),
    }
}

fn list(repository: &Repository, catalog: &Catalog, output: &Output) -> Result<(), CliError> {
    let history = repository.history()?;
    let retired = history.retired();
    let mut sources: BTreeMap<&Source, (usize, &(PointId, Point))> = BTreeMap::new();
    for point in catalog.points() {
        let entry = sources.entry(&point.1.source).or_insert((0, point));
        *entry = (entry.0 + 1, point);
    }
    let columns = [("SOURCE", Align::Left), ("POINTS", Align::Right), ("NEWEST", Align::Left), ("", Align::Left)];
    let mut table = Table::new(&columns);
    for (source, (points, (id, newest))) in &sources {
        let retired = retired.contains(source);
        if output.is_json() {
            let (source, started) = (source.to_string(), newest.started.to_string());
            let object = json::SourceSummary {
                source,
                retired,
                points: *points,
                newest: id.to_string(),
                newest_started: started,
            };
            output.result(&object, String::new)?;
        }
        let state = if retired { "retired" } else { "" };
        table.row([source.to_string(), points.to_string(), minute(newest.started), state.to_owned()]);
    }
    match (output.is_json(), sources.is_empty()) {
        (true, _) => Ok(()),
        (false, true) => {
            output.note("There are no points in this repository yet");
            Ok(())
        }
        (false, false) => output.text(&table.text()),
    }
}

fn retire(args: &SourceRetire, repository: &Repository, catalog: &Catalog, output: &Output) -> Result<(), CliError> {
    let source = catalog.source(&args.source)?;
    let history = repository.history()?;
    if history.retired().contains(&source) != args.undo {
        let already = if args.undo { "is not retired" } else { "is retired already" };
        output.note(&format!("{} {already}", plain(&source.to_string())));
        return Ok(());
    }
    repository.retire(&history, &source, !args.undo, SystemClock.now())?;
    let now = if args.undo { "is no longer retired" } else { "is retired; its points stay" };
    output.note(&format!("{} {now}", plain(&source.to_string())));
    Ok(())
}

fn rename(args: &SourceRename, repository: &Repository, catalog: &Catalog, output: &Output) -> Result<(), CliError> {
    let from = catalog.source(&args.source)?;
    let to = args.new.on(&from.server);
    if std::mem::discriminant(&from.kind) != std::mem::discriminant(&to.kind)
        || matches!(from.kind, SourceKind::Image { .. } | SourceKind::Directory | SourceKind::Server)
    {
        let message = format!("{from} cannot become {to}");
        return Err(CliError::new(Code::Usage, message).hint("a source becomes one of its own kind only"));
    }
    if from == to {
        return Err(CliError::new(Code::Usage, format!("{from} is its name already")));
    }
    let points: BTreeSet<PointId> =
        catalog.points().iter().filter(|(_, point)| point.source == from).map(|(id, _)| *id).collect();
    repository.rename(&repository.history()?, &from, &to, &points, SystemClock.now())?;
    let (from, to) = (from.to_string(), to.to_string());
    let moved = count(points.len() as u64, "point");
    output.note(&format!("{moved} of {} now count as points of {}", plain(&from), plain(&to)));
    Ok(())
}
