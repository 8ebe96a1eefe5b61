//! `repair`: mending what can be mended.

use holdall::check::{CheckLevel, Severity};
use holdall::clock::SystemClock;
use holdall::prune::Dealing;
use holdall::repair::{RepairOptions, Summary, raise_settle, repair};
use holdall::repo::complete_directories;

use crate::args::Repair;
use crate::command::check::print_finding;
use crate::config::{Settings, host_name};
use crate::error::{CliError, Code};
use crate::interrupt;
use crate::json;
use crate::open::{open_to_mend, open_untold};
use crate::output::Output;
use crate::progress::{Problems, Progress};
use crate::table::count;
use crate::waiting;

pub fn run(args: &Repair, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let made = complete_directories(&waiting::open_store(&settings.repository()?)?)?;
    if made > 0 {
        output.note(&format!("{} made that copying had lost", count(made as u64, "directory")));
    }
    if let Some(seconds) = args.settle {
        return raise(seconds, settings, output);
    }
    let ((repository, _), key) = open_to_mend(settings, output)?;
    let options = RepairOptions {
        level: if args.read_data { CheckLevel::ReadData } else { CheckLevel::Structure },
        dealing: if args.now { Dealing::Now } else { Dealing::Wait },
        no_prune_runs: args.no_prune_runs,
        gives_up_lost_pieces: args.give_up_lost_pieces,
    };
    let progress = Progress::new(output, Problems::Kept);
    let working = interrupt::working();
    let repaired = repair(&repository, options, Some(key.unlock()), (&host_name(), &SystemClock), &progress);
    drop(working);
    progress.clear();
    let summary = repaired.map_err(|error| {
        for problem in progress.take_problems() {
            output.problem(&problem.object, &problem.message);
        }
        CliError::from(error)
    })?;
    for finding in &summary.left.findings {
        print_finding(finding, output)?;
    }
    let object = json::Repaired {
        found: summary.found,
        renewed_objects: summary.renewed_objects,
        renewed_points: summary.renewed_points,
        named_packs: summary.named_packs,
        removed_objects: summary.removed_objects,
        given_up_pieces: summary.given_up_pieces,
        replaced_packs: summary.replaced_packs,
        left_packs: summary.left_packs,
        left: summary.left.findings.len(),
    };
    output.result(&object, || told(&summary))?;
    verdict(&summary, args.give_up_lost_pieces)
}

fn raise(seconds: u32, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let (repository, _) = open_untold(settings, output)?;
    let before = repository.config().settle_seconds;
    if before >= seconds {
        output.note(&format!("The repository counts with {before} s already"));
        return Ok(());
    }
    let progress = Progress::new(output, Problems::Told);
    let _working = interrupt::working();
    if !raise_settle(&repository, seconds, &progress)? {
        return Err(CliError::stopped().hint("the other host must not write yet; run the same again"));
    }
    progress.clear();
    output
        .note(&format!("The repository counts with {seconds} s now; hosts whose mounts show such listings may write"));
    Ok(())
}

fn told(summary: &Summary) -> String {
    if summary.found == 0 {
        return "Nothing was wrong".to_owned();
    }
    let numbers = [
        (summary.renewed_objects, "object", "stored anew"),
        (summary.renewed_points, "point", "stored anew"),
        (summary.named_packs, "pack", "named in a new index segment"),
        (summary.removed_objects, "unreadable object", "removed"),
        (summary.given_up_pieces, "lost piece", "given up"),
        (summary.replaced_packs, "pack", "replaced"),
        (summary.left_packs, "pack", "left as it is"),
    ];
    let done = numbers.iter().filter(|(number, ..)| *number > 0);
    let done: Vec<String> = done.map(|(number, what, how)| format!("{} {how}", count(*number as u64, what))).collect();
    match (done.is_empty(), summary.left.is_clean()) {
        (true, true) => "Nothing is wrong any more".to_owned(),
        (true, false) => "Nothing could be mended".to_owned(),
        (false, true) => format!("Mended: {}; nothing is wrong any more", done.join(", ")),
        (false, false) => format!("Mended: {}", done.join(", ")),
    }
}

fn verdict(summary: &Summary, has_given_up: bool) -> Result<(), CliError> {
    if interrupt::stop_requested() {
        return Err(CliError::stopped().hint("run it again: it goes on where it ended"));
    }
    let left = |severity| summary.left.findings.iter().filter(|finding| finding.severity == severity).count() as u64;
    match (left(Severity::Damage), left(Severity::Degraded)) {
        (0, 0) => Ok(()),
        (0, degraded) => {
            Err(CliError::new(Code::Problems, format!("{} left, but no data is lost", count(degraded, "finding"))))
        }
        (damaged, _) => {
            let message = format!("The repository is still damaged: {} above", count(damaged, "finding"));
            let hint = if summary.left.lost_pieces.is_empty() || has_given_up {
                "back up what is named once more: what is found again heals older points, too"
            } else {
                "back up what is named once more, which heals older points, too; only if it is gone, \
                 --give-up-lost-pieces lets prunes delete what the lost recipes named"
            };
            Err(CliError::new(Code::Damage, message).hint(hint))
        }
    }
}
