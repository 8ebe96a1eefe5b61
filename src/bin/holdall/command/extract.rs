//! `extract`: files of a point, in a directory.

use std::os::unix::ffi::OsStrExt;

use holdall::browse::{self, ExtractOptions, Extracted, Overwrite, Owners};
use holdall::monitor::{Event, Monitor};
use holdall::repo::Catalog;

use crate::args::Extract;
use crate::config::Settings;
use crate::error::{CliError, Code};
use crate::interrupt;
use crate::json;
use crate::open::{open, tell_mended};
use crate::output::{Output, plain};
use crate::progress::{Problems, Progress};
use crate::table::{count, size};

pub fn run(args: &Extract, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let repository = open(settings, output)?;
    let progress = Progress::new(output, Problems::Told);
    let catalog = Catalog::read(&repository, &progress)?;
    let (id, point) = catalog.find(&args.point)?;
    let label = format!("{} ({})", point.source, id.short());
    progress.event(Event::Started { object: label.clone(), bytes: None });
    let options = ExtractOptions {
        overwrite: if args.force { Overwrite::Replace } else { Overwrite::Never },
        owners: if args.no_owner { Owners::Leave } else { Owners::Set },
    };
    let paths: Vec<Vec<u8>> = args.paths.iter().map(|path| path.as_bytes().to_vec()).collect();
    let working = interrupt::working();
    let extracted = browse::extract(&repository, point, &args.region.region(), &paths, &args.to, options, &progress);
    drop(working);
    progress.clear();
    tell_mended(&repository, output);
    let extracted = extracted?;

    let object = json::Extracted {
        point: id.to_string(),
        source: point.source.to_string(),
        directory: args.to.display().to_string(),
        files: extracted.files,
        directories: extracted.directories,
        others: extracted.others,
        bytes: extracted.bytes,
        ownerless: extracted.ownerless,
        deviceless: extracted.deviceless,
        problems: extracted.problems,
    };
    output.result(&object, || summary(&label, &args.to.display().to_string(), &extracted))?;
    verdict(&extracted, output)
}

fn summary(label: &str, to: &str, extracted: &Extracted) -> String {
    let mut parts = vec![format!("{} with {}", count(extracted.files, "file"), size(extracted.bytes))];
    if extracted.directories > 0 {
        let ending = if extracted.directories == 1 { "y" } else { "ies" };
        parts.push(format!("{} director{ending}", extracted.directories));
    }
    if extracted.others > 0 {
        parts.push(count(extracted.others, "link or special file"));
    }
    format!("Extracted from {} to {}: {}", plain(label), plain(to), parts.join(", "))
}

/// Everything that was asked for is as it was, or the exit code says so.
fn verdict(extracted: &Extracted, output: &Output) -> Result<(), CliError> {
    if extracted.ownerless > 0 {
        output.problem(
            &count(extracted.ownerless, "file"),
            "the owner cannot be set, because only root may give files away; --no-owner does not try",
        );
    }
    if extracted.deviceless > 0 {
        output.problem(&count(extracted.deviceless, "device"), "it is left out, because only root may make devices");
    }
    if extracted.damaged > 0 {
        let message = format!("{} cannot be had in full", count(extracted.damaged, "file"));
        return Err(CliError::new(Code::Damage, message).hint("`holdall check --read-data` tells what is damaged"));
    }
    let problems = extracted.problems + u64::from(extracted.ownerless > 0) + u64::from(extracted.deviceless > 0);
    if problems > 0 {
        return Err(CliError::new(Code::Problems, format!("Extracted, but with {}", count(problems, "problem"))));
    }
    Ok(())
}
