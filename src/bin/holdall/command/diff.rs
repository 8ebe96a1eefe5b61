//! `diff`: what is not the same in two points.

use holdall::browse::{self, Change, ConfigChange, Difference, Region};
use holdall::repo::Catalog;
use holdall::tar::display;

use crate::args::Diff;
use crate::config::Settings;
use crate::error::CliError;
use crate::interrupt;
use crate::json;
use crate::open::open;
use crate::output::{Output, plain};
use crate::progress::{Problems, Progress};
use crate::table::size;

pub fn run(args: &Diff, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let repository = open(settings, output)?;
    let progress = Progress::new(output, Problems::Told);
    let catalog = Catalog::read(&repository, &progress)?;
    let (_, one) = catalog.find(&args.one)?;
    let (_, other) = catalog.find(&args.other)?;
    let region = args.region.region();
    if matches!(region, Region::Main | Region::Raw) {
        for change in browse::diff_descriptions(&one.description, &other.description) {
            output.result(&json::ConfigDifference::new(&change), || config_line(&change))?;
        }
    }
    let mut told = Ok(());
    let working = interrupt::working();
    let compared = browse::diff(&repository, one, other, &region, &progress, &mut |difference| {
        if told.is_ok() {
            told = output.result(&json::Difference::new(difference), || line(difference));
        }
    })?;
    drop(working);
    output.detail(&format!("{} were the same at a glance", size(compared.passed_over_bytes)));
    told
}

fn line(difference: &Difference) -> String {
    let path = if difference.path.is_empty() { &b"."[..] } else { &difference.path };
    let path = display(path);
    match &difference.change {
        Change::Added => format!("+ {path}"),
        Change::Removed => format!("- {path}"),
        Change::Changed(what) => format!("M {path} ({})", what.join(", ")),
    }
}

fn config_line(change: &ConfigChange) -> String {
    let value =
        |value: &Option<String>| value.as_ref().map_or_else(|| "nothing".to_owned(), |value| format!("{value:?}"));
    format!("C {}: {} -> {}", plain(&change.key), value(&change.before), value(&change.after))
}
