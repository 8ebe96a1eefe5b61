//! Forgetting points: first a plan that says of each point what becomes of it and why, then its execution.
//!
//! A plan changes nothing and knows no store. By policy the newest point of a source stays in any case, and what is
//! pinned stays whoever asks. Executing a plan removes points and nothing else; what only they needed is a prune's
//! affair. A point that another host removed meanwhile is forgotten, too.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;

use crate::clock::Timestamp;
use crate::id::PointId;
use crate::monitor::{Event, Monitor, Problem};
use crate::point::Point;
use crate::repo::{Catalog, History, RepoError, Repository};
use crate::retention::{self, Decision, Policy, Reason, Subject};
use crate::source::{Selector, Source};

/// What becomes of points, by source and oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The sources, in order.
    pub sources: Vec<SourcePlan>,
}

/// What becomes of the points of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePlan {
    /// The source.
    pub source: Source,
    /// Its points, oldest first.
    pub points: Vec<PlannedPoint>,
}

/// What becomes of one point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPoint {
    /// The point.
    pub id: PointId,
    /// When it was begun.
    pub started: Timestamp,
    /// What becomes of it, and why.
    pub fate: Fate,
}

/// What becomes of a point, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Keep(Vec<Reason>),
    /// It goes.
    Drop(Cause),
}

/// Why a point goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No rule of the policy keeps it.
    NoRule,
    /// Its source is retired.
    Retired,
    /// It was named.
    Named,
    /// It was named, and is the newest of its source.
    NamedNewest,
}

impl Cause {
    /// The words for people and for JSON.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NoRule => "no rule keeps it",
            Self::Retired => "its source is retired",
            Self::Named => "named",
            Self::NamedNewest => "named, and the newest of its source",
        }
    }
}

impl Plan {
    /// The points that go.
    pub fn dropped(&self) -> impl Iterator<Item = (&Source, &PlannedPoint)> {
        let points = self.sources.iter().flat_map(|one| one.points.iter().map(|point| (&one.source, point)));
        points.filter(|(_, point)| matches!(point.fate, Fate::Drop(_)))
    }

    /// How many points stay.
    pub fn kept(&self) -> usize {
        let points = self.sources.iter().flat_map(|one| &one.points);
        points.filter(|point| matches!(point.fate, Fate::Keep(_))).count()
    }
}

/// The points of each source that is meant; all where no selector is given.
fn by_source<'c>(catalog: &'c Catalog, selectors: &[Selector]) -> BTreeMap<&'c Source, Vec<&'c (PointId, Point)>> {
    let mut sources: BTreeMap<&Source, Vec<&(PointId, Point)>> = BTreeMap::new();
    for point in catalog.points() {
        let source = &point.1.source;
        if selectors.is_empty() || selectors.iter().any(|selector| selector.matches(source)) {
            sources.entry(source).or_default().push(point);
        }
    }
    sources
}

fn planned(id: PointId, point: &Point, fate: Fate) -> PlannedPoint {
    PlannedPoint { id, started: point.started, fate }
}

/// What a policy keeps of each source. The history must be whole: a note that says nothing may hide a pin.
pub fn by_policy(
    catalog: &Catalog,
    history: &History,
    selectors: &[Selector],
    policy: &Policy,
    now: Timestamp,
    zone: &TimeZone,
) -> Plan {
    let (tags, pinned, lacking) = (history.tags(), history.pinned(), history.lacking());
    let subject = |(id, point): &&(PointId, Point)| Subject {
        time: point.started,
        tags: tags.get(id).into_iter().flatten().copied().collect(),
        pinned: pinned.contains(id),
        incomplete: lacking.contains_key(id),
    };
    let decide = |(source, points): (&Source, Vec<&(PointId, Point)>)| {
        let subjects: Vec<Subject<'_>> = points.iter().map(subject).collect();
        let decisions = retention::decide(policy, &subjects, now, zone);
        let fates = decisions.into_iter().map(|decision| match decision {
            Decision::Keep(reasons) => Fate::Keep(reasons),
            Decision::Drop => Fate::Drop(Cause::NoRule),
        });
        let points = points.into_iter().zip(fates).map(|((id, point), fate)| planned(*id, point, fate)).collect();
        SourcePlan { source: source.clone(), points }
    };
    Plan { sources: by_source(catalog, selectors).into_iter().map(decide).collect() }
}

/// Drops all points of retired sources, the newest too, but for pinned ones. The history must be whole.
pub fn of_retired(catalog: &Catalog, history: &History, selectors: &[Selector]) -> Plan {
    let (retired, pinned) = (history.retired(), history.pinned());
    let sources = by_source(catalog, selectors).into_iter().filter(|(source, _)| retired.contains(source));
    let plan = |(source, points): (&Source, Vec<&(PointId, Point)>)| {
        let fate = |id: &PointId| {
            if pinned.contains(id) { Fate::Keep(vec![Reason::Pinned]) } else { Fate::Drop(Cause::Retired) }
        };
        let points = points.into_iter().map(|(id, point)| planned(*id, point, fate(id))).collect();
        SourcePlan { source: source.clone(), points }
    };
    Plan { sources: sources.map(plan).collect() }
}

/// A point that was named must stay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Point {id} of {of} is pinned")]
pub struct PinnedError {
    /// The point.
    pub id: PointId,
    /// Its source.
    pub of: String,
}

/// Drops these points and no other. One that is pinned is refused.
pub fn named(catalog: &Catalog, history: &History, wanted: &BTreeSet<PointId>) -> Result<Plan, PinnedError> {
    let pinned = history.pinned();
    let mut plan = Plan::default();
    for (source, points) in by_source(catalog, &[]) {
        let newest = points.last().map(|(id, _)| *id);
        let mut dropped = Vec::new();
        for (id, point) in points.into_iter().filter(|(id, _)| wanted.contains(id)) {
            if pinned.contains(id) {
                return Err(PinnedError { id: *id, of: source.to_string() });
            }
            let cause = if newest == Some(*id) { Cause::NamedNewest } else { Cause::Named };
            dropped.push(planned(*id, point, Fate::Drop(cause)));
        }
        if !dropped.is_empty() {
            plan.sources.push(SourcePlan { source: source.clone(), points: dropped });
        }
    }
    Ok(plan)
}

/// What executing a plan came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The points that are gone.
    pub forgotten: BTreeSet<PointId>,
    /// How many could not be removed, for the reasons that the monitor was told.
    pub failed: usize,
    /// Whether it was stopped on request.
    pub stopped: bool,
}

/// Removes the points that a plan drops. One that cannot be removed is told and does not stop the others.
pub fn execute(repository: &Repository, plan: &Plan, monitor: &dyn Monitor) -> Result<Outcome, RepoError> {
    repository.read_keys()?;
    let mut outcome = Outcome::default();
    for (source, point) in plan.dropped() {
        if monitor.stop_requested() {
            outcome.stopped = true;
            break;
        }
        match repository.forget(point.id) {
            Ok(_) => {
                outcome.forgotten.insert(point.id);
            }
            Err(error) => {
                outcome.failed += 1;
                let object = format!("Point {} of {source}", point.id);
                monitor.event(Event::Problem(Problem { object, message: error.to_string() }));
            }
        }
    }
    // Nobody needs them, and nothing depends on their being gone.
    if !outcome.forgotten.is_empty()
        && let Err(error) = repository.remove_notes_about(&outcome.forgotten)
    {
        let message = format!("notes about points that are forgotten stay: {error}");
        monitor.event(Event::Said { object: "forget".to_owned(), message });
    }
    Ok(outcome)
}
