//! `forget`: points that a policy does not keep, points that are named, and those of retired sources.
//!
//! Before anything is removed it is known that every point that was named exists, that none of them is pinned, and,
//! where a policy decides, that no note is unreadable that could pin one.

use std::collections::BTreeSet;
use std::time::Duration;

use holdall::clock::{Clock, SystemClock};
use holdall::forget::{self, Fate, Outcome, Plan, PlannedPoint};
use holdall::id::PointId;
use holdall::repo::{Catalog, FindError, History, PointSpec, RepoError, Repository};
use holdall::retention::{self, Decision, Period, Policy, SIMULATED_POINTS_MAX, Subject};
use holdall::source::{Selector, Source};
use jiff::tz::TimeZone;

use crate::args::{Forget, source_alone};
use crate::config::Settings;
use crate::error::{CliError, Code};
use crate::interrupt;
use crate::json;
use crate::open::open;
use crate::output::{Output, plain};
use crate::progress::{Problems, Progress};
use crate::table::{count, minute};

pub fn run(args: &Forget, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let typed = args.rules.policy();
    let policy = if typed.is_empty() { settings.retention.clone() } else { typed };
    let wants_policy = args.points.is_empty() && !args.retired;
    if wants_policy && policy.is_empty() {
        if args.if_configured {
            output.note("The settings have no retention policy; nothing is forgotten");
            return Ok(());
        }
        return Err(CliError::new(Code::Usage, "There is no policy that says what to keep").hint(
            "give --keep-daily 7 or the like, write [retention] into the settings, or name the points to forget",
        ));
    }
    if let Some(length) = args.simulate {
        return simulate(&policy, length, args.simulate_every.unwrap_or(Period::days(1)), output);
    }
    let repository = open(settings, output)?;
    if args.damaged {
        return damaged(args, &repository, output);
    }
    let progress = Progress::new(output, Problems::Told);
    let catalog = Catalog::read(&repository, &progress)?;
    let unreadable = if args.points.is_empty() { progress.problems() } else { 0 };
    let plan = if wants_policy {
        let history = whole_history(&repository)?;
        let selectors = known(&args.sources, &catalog)?;
        forget::by_policy(&catalog, &history, selectors, &policy, SystemClock.now(), &TimeZone::system())
    } else if args.retired {
        forget::of_retired(&catalog, &whole_history(&repository)?, known(&args.sources, &catalog)?)
    } else {
        let wanted: BTreeSet<PointId> =
            args.points.iter().map(|point| find(&catalog, &point.0)).collect::<Result<_, _>>()?;
        forget::named(&catalog, &repository.history()?, &wanted)?
    };
    if args.dry_run {
        print(&plan, |point| Some(action(point, "keep", "drop")), output)?;
        total(&plan, &Outcome::default(), true, output)?;
        return judge(&Outcome::default(), unreadable);
    }
    let working = interrupt::working();
    let outcome = forget::execute(&repository, &plan, &progress)?;
    drop(working);
    progress.clear();
    print(&plan, |point| outcome.forgotten.contains(&point.id).then_some("dropped"), output)?;
    total(&plan, &outcome, false, output)?;
    judge(&outcome, unreadable)
}

/// What all notes say, or the reason why nothing can be forgotten without knowing which points are wanted.
fn whole_history(repository: &Repository) -> Result<History, CliError> {
    repository.whole_history().map_err(|error| match error {
        RepoError::Damaged { .. } | RepoError::NewerFormat { .. } => CliError::from(error)
            .because("No point was forgotten, because a note cannot be read that may pin one")
            .hint(
                "put it back from a copy of the repository, use a newer holdall if one wrote it, or delete that file \
                 and look whether `holdall list` still shows all pins; points that are named can be forgotten as it is",
            ),
        error => error.into(),
    })
}

/// The selectors, of which each must mean a source: most likely one that means none is misspelt.
fn known<'s>(selectors: &'s [Selector], catalog: &Catalog) -> Result<&'s [Selector], CliError> {
    for selector in selectors {
        if !catalog.points().iter().any(|(_, point)| selector.matches(&point.source)) {
            return Err(FindError::NoSuchSource { wanted: selector.to_string() }.into());
        }
    }
    Ok(selectors)
}

/// How long a day can be, and so how much older a point may be than the moment that names it: what is meant to go
/// must not be an older point because there is none of that day.
const DAY_MAX: Duration = Duration::from_hours(25);

fn find(catalog: &Catalog, wanted: &PointSpec) -> Result<PointId, CliError> {
    if let PointSpec::IdOrName(text) = wanted
        && text.parse::<Selector>().is_ok_and(|selector| catalog.source(&selector).is_ok())
    {
        return Err(CliError::new(Code::Usage, source_alone(text)));
    }
    let (id, point) = catalog.find(wanted)?;
    if let PointSpec::NotAfter(selector, moment) = wanted {
        let older = Duration::from_micros(moment.as_micros().saturating_sub(point.started.as_micros()));
        if older > DAY_MAX {
            let message = format!("{selector} has no point in the day before {moment}");
            let hint = format!("the one before that is of {}; its id is {}", point.started, id.short());
            return Err(CliError::new(Code::NoSuch, message).hint(hint));
        }
    }
    Ok(*id)
}

fn action(point: &PlannedPoint, keep: &'static str, drop: &'static str) -> &'static str {
    match point.fate {
        Fate::Keep(_) => keep,
        Fate::Drop(_) => drop,
    }
}

fn reasons(fate: &Fate) -> Vec<String> {
    match fate {
        Fate::Keep(reasons) => reasons.iter().map(ToString::to_string).collect(),
        Fate::Drop(cause) => vec![cause.words().to_owned()],
    }
}

/// Tells what becomes of points, below their sources; those without a word for it are left out.
fn print(plan: &Plan, action: impl Fn(&PlannedPoint) -> Option<&'static str>, output: &Output) -> Result<(), CliError> {
    for one in &plan.sources {
        let mut is_named = false;
        for point in &one.points {
            let Some(action) = action(point) else { continue };
            if !is_named {
                output.text(&plain(&one.source.to_string()))?;
                is_named = true;
            }
            tell(&one.source, point, action, output)?;
        }
    }
    Ok(())
}

fn tell(source: &Source, point: &PlannedPoint, action: &'static str, output: &Output) -> Result<(), CliError> {
    let reasons = reasons(&point.fate);
    let line = || {
        let (time, id) = (minute(point.started), point.id.short());
        format!("  {time}  {id}  {action:<4}  {}", plain(&reasons.join(", ")))
    };
    let object = json::Fate {
        point: point.id.to_string(),
        source: source.to_string(),
        started: point.started.to_string(),
        action,
        reasons: &reasons,
    };
    output.result(&object, line)
}

fn total(plan: &Plan, outcome: &Outcome, dry_run: bool, output: &Output) -> Result<(), CliError> {
    let goes = |point: &PlannedPoint| dry_run || outcome.forgotten.contains(&point.id);
    let dropped: Vec<&Source> = plan.dropped().filter(|(_, point)| goes(point)).map(|(source, _)| source).collect();
    let sources = dropped.iter().collect::<BTreeSet<_>>().len();
    let object = json::Forgot { dropped: dropped.len(), sources, kept: plan.kept(), failed: outcome.failed, dry_run };
    output.result(&object, || {
        let verb = if dry_run { "Would forget" } else { "Forgot" };
        let of = if dropped.is_empty() { String::new() } else { format!(" of {}", count(sources as u64, "source")) };
        let stay = if plan.kept() == 1 { "stays" } else { "stay" };
        let kept =
            if plan.kept() > 0 { format!("; {} {stay}", count(plan.kept() as u64, "point")) } else { String::new() };
        format!("{verb} {}{of}{kept}", count(dropped.len() as u64, "point"))
    })
}

fn judge(outcome: &Outcome, unreadable: u64) -> Result<(), CliError> {
    if outcome.stopped {
        return Err(CliError::stopped().hint("what was told is forgotten; run it again for the rest"));
    }
    if outcome.failed > 0 {
        let failed = count(outcome.failed as u64, "point");
        let message = format!("{failed} could not be forgotten, for the reasons above");
        return Err(CliError::new(Code::Problems, message).hint("run it again"));
    }
    if unreadable > 0 {
        let message = format!("{} cannot be read and was left alone", count(unreadable, "object among the points"));
        return Err(CliError::new(Code::Damage, message)
            .hint("`holdall check` tells more, and `holdall forget ID --damaged` removes one"));
    }
    Ok(())
}

/// Removes objects that do not open.
fn damaged(args: &Forget, repository: &Repository, output: &Output) -> Result<(), CliError> {
    repository.read_keys()?;
    let damaged = repository.damaged_points()?;
    let find = |wanted: &PointSpec| {
        let PointSpec::IdOrName(text) = wanted else {
            let message = format!("{wanted} is no id, and what does not open has no other name");
            return Err(CliError::new(Code::Usage, message).hint("give 8 or more digits of its id"));
        };
        let mut matching = damaged.iter().map(|(id, _)| *id).filter(|id| id.to_string().starts_with(text));
        match (matching.next(), matching.next()) {
            (Some(id), None) => Ok(id),
            (Some(_), Some(_)) => Err(FindError::AmbiguousPrefix { prefix: text.clone() }.into()),
            (None, _) => {
                let message = format!("{text} is no object among the points that does not open");
                Err(CliError::new(Code::NoSuch, message).hint("`holdall check` names those that do not"))
            }
        }
    };
    let wanted: BTreeSet<PointId> = args.points.iter().map(|point| find(&point.0)).collect::<Result<_, _>>()?;
    for id in wanted {
        if !args.dry_run {
            repository.forget_damaged(id)?;
        }
        let action = if args.dry_run { "drop" } else { "dropped" };
        output.result(&json::DamagedPoint { point: id.to_string(), action }, || {
            let verb = if args.dry_run { "Would remove" } else { "Removed" };
            format!("{verb} what was damaged beyond reading in the place of point {}", id.short())
        })?;
    }
    Ok(())
}

/// What a policy would leave of points that were made regularly.
fn simulate(policy: &Policy, length: Period, every: Period, output: &Output) -> Result<(), CliError> {
    let (now, zone) = (SystemClock.now(), TimeZone::system());
    let Some(moments) = retention::simulated(length, every, now, &zone) else {
        let message = format!("A point every {every} for {length} makes more than {SIMULATED_POINTS_MAX} points");
        return Err(CliError::new(Code::Usage, message).hint("simulate a shorter time, or fewer points"));
    };
    let subject = |time: &_| Subject { time: *time, tags: Vec::new(), pinned: false, incomplete: false };
    let points: Vec<Subject<'_>> = moments.iter().map(subject).collect();
    let mut remaining = 0;
    for (time, decision) in moments.iter().zip(retention::decide(policy, &points, now, &zone)) {
        let Decision::Keep(reasons) = decision else { continue };
        remaining += 1;
        let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        let object = json::Simulated { started: time.to_string(), reasons: &reasons };
        output.result(&object, || format!("{}  {}", minute(*time), plain(&reasons.join(", "))))?;
    }
    let object = json::Simulation { points: moments.len(), remaining };
    output.result(&object, || {
        let made = count(moments.len() as u64, "point");
        format!("Of {made}, one every {every} for {length}, {remaining} would remain")
    })
}
