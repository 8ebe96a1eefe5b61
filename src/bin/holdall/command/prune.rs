//! `prune`: space back from what no point uses any more.

use holdall::prune::{Dealing, OpenSession, Plan, Summary, prepare, prune};

use crate::args::Prune;
use crate::config::{Settings, host_name};
use crate::error::{CliError, Code};
use crate::interrupt;
use crate::json;
use crate::open::open_to_write;
use crate::output::{Output, plain};
use crate::progress::{Problems, Progress};
use crate::table::{count, size};

pub fn run(args: &Prune, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let (repository, _) = open_to_write(settings, output)?;
    let host = host_name();
    let progress = Progress::new(output, Problems::Told);
    let _working = interrupt::working();
    let prepared = prepare(&repository, args.max_unused, &host, &progress)?;
    if interrupt::stop_requested() {
        return Err(CliError::stopped().hint("nothing was changed"));
    }
    if args.dry_run {
        progress.clear();
        return output.result(&json::PrunePlanned::new(&prepared.plan), || planned(&prepared.plan));
    }
    let dealing = match (args.now, args.no_wait) {
        (true, _) => Dealing::Now,
        (false, true) => Dealing::Leave,
        (false, false) => Dealing::Wait,
    };
    let summary = prune(prepared, dealing)?;
    progress.clear();
    for session in &summary.fenced {
        output
            .note(&format!("{} was ended; if it lives, it commits under another name or begins again", told(session)));
    }
    output.result(&json::Pruned::new(&summary), || pruned(&summary))?;
    verdict(&summary)
}

fn planned(plan: &Plan) -> String {
    if plan.is_empty() {
        let (left, all) = (size(plan.left_bytes), size(plan.total_bytes));
        return format!("Nothing would be freed: {left} of {all} are unused");
    }
    let (dead, half) = (count(plan.dead.len() as u64, "pack"), count(plan.repack.len() as u64, "pack"));
    let after = plan.total_bytes - plan.dead_bytes - plan.repack_bytes + plan.copied_bytes;
    format!(
        "{dead} of {} would be deleted, and {half} of {} packed anew into {}: {} of {} would stay, {} of it unused",
        size(plan.dead_bytes),
        size(plan.repack_bytes),
        size(plan.copied_bytes),
        size(after),
        size(plan.total_bytes),
        size(plan.left_bytes)
    )
}

fn pruned(summary: &Summary) -> String {
    if summary.deleted_packs == 0 && summary.plan.is_empty() {
        let (left, all) = (size(summary.plan.left_bytes), size(summary.plan.total_bytes));
        return format!("Nothing to free: {left} of {all} are unused");
    }
    let packs = count(summary.deleted_packs as u64, "pack");
    let freed = summary.deleted_bytes.saturating_sub(summary.copied_bytes);
    let copied = match summary.copied_bytes {
        0 => String::new(),
        bytes => format!(", {} written anew", size(bytes)),
    };
    format!("Freed {}: {packs} of {} deleted{copied}", size(freed), size(summary.deleted_bytes))
}

fn told(session: &OpenSession) -> String {
    match &session.record {
        Some(record) => {
            plain(&format!("A backup by process {} on {}, begun {},", record.process, record.host, record.started))
                .into()
        }
        None => format!("Session {}", session.id.short()),
    }
}

fn verdict(summary: &Summary) -> Result<(), CliError> {
    if summary.is_damaged {
        let message = match summary.stuck.len() as u64 {
            0 => "Some of what points need is damaged or missing".to_owned(),
            packs => format!(
                "Some of what points need is damaged or missing; {}, which may hold it, {} kept",
                count(packs, "pack"),
                if packs == 1 { "is" } else { "are" }
            ),
        };
        return Err(CliError::new(Code::Damage, message)
            .hint("`holdall check` names the points, `holdall repair` mends what can be mended"));
    }
    if summary.is_stopped {
        return Err(CliError::stopped().hint("the next prune goes on where this one ended"));
    }
    match summary.waiting_for.as_slice() {
        [] => Ok(()),
        [session, ..] => {
            let message = format!("{} is at work, so not all was deleted", told(session));
            Err(CliError::new(Code::Problems, message).hint("the next prune goes on where this one ended"))
        }
    }
}
