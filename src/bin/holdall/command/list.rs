//! `list`: the points of the repository, oldest first.

use std::collections::BTreeSet;

use holdall::id::PointId;
use holdall::point::Point;
use holdall::repo::{Catalog, FindError, History};

use crate::args::List;
use crate::config::Settings;
use crate::error::{CliError, Code};
use crate::json;
use crate::open::open;
use crate::output::Output;
use crate::progress::{Problems, Progress};
use crate::table::{Align, Table, count, minute, size};

pub fn run(args: &List, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let repository = open(settings, output)?;
    let progress = Progress::new(output, Problems::Told);
    let catalog = Catalog::read(&repository, &progress)?;
    let unreadable = progress.problems();
    drop(progress);

    print(&chosen(args, &catalog)?, &repository.history()?, output)?;
    if catalog.points().is_empty() && unreadable == 0 {
        output.note("There are no points in this repository yet");
    }
    if unreadable > 0 {
        let message = format!("{} cannot be read and so not be listed", count(unreadable, "point"));
        return Err(CliError::new(Code::Damage, message).hint("`holdall check` tells more"));
    }
    Ok(())
}

/// The points of the sources that were named, or all. A source without any is an error: most likely it is misspelt.
fn chosen<'c>(args: &List, catalog: &'c Catalog) -> Result<Vec<&'c (PointId, Point)>, CliError> {
    for selector in &args.sources {
        if !catalog.points().iter().any(|(_, point)| selector.matches(&point.source)) {
            return Err(FindError::NoSuchSource { wanted: selector.to_string() }.into());
        }
    }
    let wanted =
        |point: &Point| args.sources.is_empty() || args.sources.iter().any(|selector| selector.matches(&point.source));
    Ok(catalog.points().iter().filter(|(_, point)| wanted(point)).collect())
}

/// What is to be known of a point before it is relied on or forgotten.
fn state(is_pinned: bool, lost_chunks: u64) -> &'static str {
    match (is_pinned, lost_chunks) {
        (false, 0) => "",
        (true, 0) => "pinned",
        (false, _) => "incomplete",
        (true, _) => "incomplete, pinned",
    }
}

fn print(points: &[&(PointId, Point)], history: &History, output: &Output) -> Result<(), CliError> {
    let (tags, pinned, lacking) = (history.tags(), history.pinned(), history.lacking());
    let lost = |id| lacking.get(id).copied().unwrap_or(0);
    let none = BTreeSet::new();
    if output.is_json() {
        return points.iter().try_for_each(|(id, point)| {
            let tags = tags.get(id).unwrap_or(&none);
            output.result(&json::Point::new(*id, point, tags, pinned.contains(id), lost(id)), String::new)
        });
    }
    if points.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        ("POINT", Align::Left),
        ("TIME", Align::Left),
        ("SOURCE", Align::Left),
        ("CONSISTENCY", Align::Left),
        ("SIZE", Align::Right),
        ("ADDED", Align::Right),
        ("FORM", Align::Left),
        ("STATE", Align::Left),
        ("TAGS", Align::Left),
    ]);
    for (id, point) in points {
        table.row([
            id.short(),
            minute(point.started),
            point.source.to_string(),
            point.consistency.word().to_owned(),
            size(point.content.stream_len),
            size(point.statistics.stored_bytes),
            json::form(point.form).to_owned(),
            state(pinned.contains(id), lost(id)).to_owned(),
            tags.get(id).unwrap_or(&none).iter().copied().collect::<Vec<_>>().join(", "),
        ]);
    }
    output.text(&table.text())
}
