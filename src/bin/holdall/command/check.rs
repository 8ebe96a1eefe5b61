//! `check`: the proof that the repository is intact, or what is wrong with it.

use std::fmt::Write as _;

use holdall::check::{CheckLevel, Finding, Report, Severity, check};
use holdall::clock::{Clock, SystemClock};
use holdall::limits::LOST_FILES_MAX;
use holdall::monitor::{Event, Monitor};
use holdall::repo::Repository;

use crate::args::{Check, Part};
use crate::config::Settings;
use crate::error::{CliError, Code};
use crate::interrupt;
use crate::json;
use crate::open::open_untold;
use crate::output::{Output, about, plain};
use crate::progress::{Problems, Progress};
use crate::table::{count, size};

/// Files of a point that are shown to people.
const FILES_SHOWN_MAX: usize = 20;

pub fn run(args: &Check, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let (repository, _) = open_untold(settings, output)?;
    let level = match args.read_data {
        None => CheckLevel::Structure,
        Some(Part::All) => CheckLevel::ReadData,
        Some(Part::Some(share)) => CheckLevel::ReadSome { share, now: SystemClock.now() },
    };
    let progress = Progress::new(output, Problems::Kept);
    match args.read_data {
        None => {}
        Some(Part::All) => {
            let bytes = Some(pack_bytes(&repository)?);
            progress.event(Event::Started { object: "reading all packs".to_owned(), bytes });
        }
        Some(Part::Some(_)) => {
            progress.event(Event::Started { object: "reading some packs".to_owned(), bytes: None });
        }
    }
    let working = interrupt::working();
    let checked = check(&repository, level, &Walk(&progress));
    drop(working);
    progress.clear();
    let report = checked.map_err(|error| {
        // What was found before is worth knowing all the same.
        for problem in progress.take_problems() {
            output.problem(&problem.object, &problem.message);
        }
        CliError::from(error)
    })?;
    let is_complete = !interrupt::stop_requested();
    for finding in &report.findings {
        print_finding(finding, output)?;
    }
    print_report(&report, level, is_complete, output)?;
    mark(&repository, &report, output);
    if let Err(error) = repository.remember_lacking(&report.lacking, SystemClock.now()) {
        output.warning(&format!("It cannot be remembered which points lack something, so no list says so: {error}"));
    }
    if let Err(error) = repository.remember_read(&report.sound_packs, SystemClock.now()) {
        output.warning(&format!("It cannot be remembered what was read, so the next check may read it again: {error}"));
    }
    verdict(&report, is_complete)
}

/// Lets the next backup heal what it can: it stores the chunks of marked packs again when it comes by them.
fn mark(repository: &Repository, report: &Report, output: &Output) {
    match repository.mark_damaged(report.damaged_packs.iter().copied(), SystemClock.now()) {
        Ok(0) => {}
        Ok(new) => output.note(&format!(
            "{} marked as damaged: the next backups store again what they find of it in their sources",
            count(new as u64, "pack")
        )),
        Err(error) => {
            output.warning(&format!("damaged packs cannot be marked, so backups go on relying on them: {error}"));
        }
    }
}

/// A walk over points reads little of them, so that their sizes say nothing about how far it is.
struct Walk<'p>(&'p Progress<'p>);

impl Monitor for Walk<'_> {
    fn event(&self, event: Event) {
        self.0.event(match event {
            Event::Started { object, .. } => Event::Started { object, bytes: None },
            other => other,
        });
    }

    fn stop_requested(&self) -> bool {
        self.0.stop_requested()
    }
}

fn pack_bytes(repository: &Repository) -> Result<u64, CliError> {
    Ok(repository.list_packs()?.iter().map(|(_, bytes)| bytes).sum())
}

pub fn print_finding(finding: &Finding, output: &Output) -> Result<(), CliError> {
    let (severity, word) = match finding.severity {
        Severity::Damage => ("damage", "DAMAGED"),
        Severity::Degraded => ("degraded", "DEGRADED"),
    };
    let Finding { object, message, affected, files, .. } = finding;
    output.result(&json::Finding { severity, object, message, affected, files }, || {
        let mut text = format!("{word} {}", plain(&about(object, message)));
        for point in affected.iter().filter(|point| *point != object) {
            text.push_str("\n    affects ");
            text.push_str(&plain(point));
        }
        for file in files.iter().take(FILES_SHOWN_MAX) {
            text.push_str("\n    loses content of ");
            text.push_str(&plain(file));
        }
        if files.len() > FILES_SHOWN_MAX {
            let _ = write!(text, "\n    and of more files: --json names up to {LOST_FILES_MAX}");
        }
        text
    })
}

fn found(report: &Report, severity: Severity) -> u64 {
    report.findings.iter().filter(|finding| finding.severity == severity).count() as u64
}

fn print_report(report: &Report, level: CheckLevel, complete: bool, output: &Output) -> Result<(), CliError> {
    let object = json::Checked {
        points: report.points,
        chunks: report.chunks,
        packs: report.packs,
        unnamed_packs: report.unnamed_packs,
        bytes_read: report.bytes_read,
        damaged: found(report, Severity::Damage),
        degraded: found(report, Severity::Degraded),
        complete,
    };
    output.result(&object, || {
        let (points, chunks) = (count(report.points, "point"), count(report.chunks, "chunk"));
        let packs = count(report.packs, "pack");
        let read = match level {
            CheckLevel::Structure => String::new(),
            CheckLevel::ReadData | CheckLevel::ReadSome { .. } => {
                format!(", {} of data read and verified", size(report.bytes_read))
            }
        };
        let unnamed = match report.unnamed_packs {
            0 => String::new(),
            number if report.is_clean() => format!("; {} left by interrupted backups", count(number, "pack")),
            number => format!("; {} in no index segment", count(number, "pack")),
        };
        let clean = if report.is_clean() && complete { ": no damage" } else { "" };
        format!("Checked {points}, {chunks}, {packs}{read}{clean}{unnamed}")
    })
}

fn verdict(report: &Report, complete: bool) -> Result<(), CliError> {
    let (damaged, degraded) = (found(report, Severity::Damage), found(report, Severity::Degraded));
    if damaged > 0 {
        let message = format!("The repository is damaged: {} above", count(damaged, "finding"));
        return Err(CliError::new(Code::Damage, message)
            .hint("points that are not named can be restored in full; export what matters, and keep what is there"));
    }
    if !complete {
        return Err(CliError::stopped().hint("what was looked at before is told above"));
    }
    if degraded > 0 {
        let message = format!("No data is lost, but redundancy is: {} above", count(degraded, "finding"));
        return Err(CliError::new(Code::Problems, message).hint("look at the disk"));
    }
    Ok(())
}
