//! `stats`: how much is stored, and how much it would be otherwise.

use holdall::browse::{self, Stats};

use crate::config::Settings;
use crate::error::{CliError, Code};
use crate::json;
use crate::open::open;
use crate::output::Output;
use crate::progress::{Problems, Progress};
use crate::table::{Sheet, count, size};

pub fn run(settings: &Settings, output: &Output) -> Result<(), CliError> {
    let repository = open(settings, output)?;
    let progress = Progress::new(output, Problems::Told);
    let stats = browse::stats(&repository, &progress)?;
    let unreadable = progress.problems();
    drop(progress);
    output.result(&json::Stats::new(&stats), || sheet(&stats).text())?;
    if unreadable > 0 {
        let message = format!("{} cannot be read and so not be counted", count(unreadable, "point"));
        return Err(CliError::new(Code::Damage, message).hint("`holdall check` tells more"));
    }
    Ok(())
}

fn sheet(stats: &Stats) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.field("Points", format!("{} of {}", count(stats.points, "point"), count(stats.sources, "source")));
    sheet.field("Backed up", size(stats.logical_bytes));
    sheet.field("Stored", size(stats.stored_bytes()));
    if let Some(ratio) = json::ratio(stats) {
        sheet.field("Ratio", format!("{ratio:.1} : 1"));
    }
    if stats.parity_bytes > 0 {
        sheet.field("Parity", format!("{} besides", size(stats.parity_bytes)));
    }
    sheet.fields(
        "Objects",
        stats
            .usage
            .iter()
            .filter(|usage| usage.objects > 0)
            .map(|usage| format!("{:>10}  {} {}", size(usage.bytes), usage.objects, usage.kind)),
    );
    sheet
}
