//! Which points of a source a policy keeps, and why.
//!
//! A pure function of the points, the policy, the hour and the time zone. It knows no repository, and of a source only
//! when its points were begun, which tags they have and which are pinned. What the rules mean is said at [`Policy`].
//!
//! Applied every night to what the nights before left, a policy keeps what it would keep of all points that were ever
//! made: a point that a rule wants now was wanted by it ever since it was made. The tests hold that.

mod policy;
#[cfg(test)]
mod tests;

pub use policy::{Calendar, Keep, ParseKeepError, ParsePeriodError, Period, Policy};

use std::collections::{HashMap, HashSet};
use std::fmt;

use jiff::Zoned;
use jiff::tz::TimeZone;

use crate::clock::Timestamp;
use policy::Bucket;

/// What is known of a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject<'s> {
    /// When it was begun.
    pub time: Timestamp,
    /// Its tags.
    pub tags: Vec<&'s str>,
    /// Whether it is pinned.
    pub pinned: bool,
    /// Whether a check found that content of it is lost.
    pub incomplete: bool,
}

/// Why a point is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is the newest of its source.
    Newest,
    /// It is among the last so many.
    Last,
    /// It is the newest of its hour, day, week and so on.
    Each(Calendar),
    /// It is the oldest of all, and the rule has fewer than it wants.
    Oldest(Calendar),
    /// It is young enough.
    Within(Period),
    /// It is young enough and the newest of its hour, day, week and so on.
    EachWithin(Calendar, Period),
    /// It has this tag.
    Tag(String),
    /// It is pinned.
    Pinned,
    /// It is dated later than now.
    Future,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("newest"),
            Self::Last => f.write_str("last"),
            Self::Each(calendar) => f.write_str(calendar.word()),
            Self::Oldest(calendar) => write!(f, "oldest {}", calendar.word()),
            Self::Within(period) => write!(f, "within {period}"),
            Self::EachWithin(calendar, period) => write!(f, "{} within {period}", calendar.word()),
            Self::Tag(tag) => write!(f, "tag {tag}"),
            Self::Pinned => f.write_str("pinned"),
            Self::Future => f.write_str("dated in the future"),
        }
    }
}

/// What becomes of a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It stays, for at least one reason.
    Keep(Vec<Reason>),
    /// No rule keeps it.
    Drop,
}

/// Decides about the points of one source, in the order in which they are given. Of two of the same time the later one
/// in this order is the newer. An incomplete point takes no whole one's place: what would stay without it stays, too.
pub fn decide(policy: &Policy, points: &[Subject<'_>], now: Timestamp, zone: &TimeZone) -> Vec<Decision> {
    let judge = |(at, point): (usize, &Subject<'_>)| Judged {
        at,
        time: point.time,
        is_incomplete: point.incomplete,
        local: point.time.to_jiff().to_zoned(zone.clone()),
        reasons: Vec::new(),
    };
    let judged = points.iter().enumerate().map(judge);
    let (mut counted, mut future): (Vec<Judged>, Vec<Judged>) = judged.partition(|point| point.time <= now);
    for point in &mut future {
        point.reasons.push(Reason::Future);
    }
    counted.sort_unstable_by_key(|point| std::cmp::Reverse((point.time, point.at)));
    if counted.iter().any(|point| point.is_incomplete) {
        let mut whole: Vec<Judged> = counted.iter().filter(|point| !point.is_incomplete).cloned().collect();
        apply(policy, &mut whole);
        let mut of_whole: HashMap<usize, Vec<Reason>> =
            whole.into_iter().map(|point| (point.at, point.reasons)).collect();
        apply(policy, &mut counted);
        for point in &mut counted {
            let mut reasons = of_whole.remove(&point.at).unwrap_or_default();
            reasons.retain(|reason| !point.reasons.contains(reason));
            point.reasons.append(&mut reasons);
        }
    } else {
        apply(policy, &mut counted);
    }
    counted.append(&mut future);
    counted.sort_unstable_by_key(|point| point.at);
    let decisions = counted.into_iter().zip(points).map(|(judged, point)| {
        let mut reasons = judged.reasons;
        let tags = point.tags.iter().filter(|tag| policy.tags.contains(**tag));
        reasons.extend(tags.map(|tag| Reason::Tag((*tag).to_owned())));
        reasons.extend(point.pinned.then_some(Reason::Pinned));
        if reasons.is_empty() { Decision::Drop } else { Decision::Keep(reasons) }
    });
    decisions.collect()
}

/// A point and what speaks for it.
#[derive(Clone)]
struct Judged {
    at: usize,
    time: Timestamp,
    is_incomplete: bool,
    local: Zoned,
    reasons: Vec<Reason>,
}

/// Finds the reasons of points that stand newest first.
fn apply(policy: &Policy, points: &mut [Judged]) {
    let Some(newest) = points.first_mut() else { return };
    newest.reasons.push(Reason::Newest);
    let reference = newest.local.timestamp();
    if let Some(keep) = policy.last {
        points.iter_mut().take(keep.most()).for_each(|point| point.reasons.push(Reason::Last));
    }
    for (calendar, keep) in &policy.each {
        let pieces = keep_newest_of_each(*calendar, keep.most(), points, &Reason::Each(*calendar));
        if pieces < keep.most()
            && let Some(oldest) = points.last_mut()
            && !oldest.reasons.contains(&Reason::Each(*calendar))
        {
            oldest.reasons.push(Reason::Oldest(*calendar));
        }
    }
    if let Some(period) = policy.within {
        for point in younger_than(period, reference, points) {
            point.reasons.push(Reason::Within(period));
        }
    }
    for (calendar, period) in &policy.each_within {
        let young = younger_than(*period, reference, points);
        keep_newest_of_each(*calendar, usize::MAX, young, &Reason::EachWithin(*calendar, *period));
    }
}

/// Gives the newest point of each of the newest so many pieces a reason; returns how many pieces there were. Pieces are
/// remembered all, for where clocks are put back over midnight one can come twice.
fn keep_newest_of_each(calendar: Calendar, most: usize, points: &mut [Judged], reason: &Reason) -> usize {
    let mut seen: HashSet<Bucket> = HashSet::new();
    for point in points {
        if seen.len() == most {
            break;
        }
        if seen.insert(calendar.bucket(&point.local)) {
            point.reasons.push(reason.clone());
        }
    }
    seen.len()
}

/// Those of points that stand newest first that are younger than a period, reckoned from a moment.
fn younger_than(period: Period, reference: jiff::Timestamp, points: &mut [Judged]) -> &mut [Judged] {
    let bound = period.before(reference);
    let young = points.partition_point(|point| point.local.timestamp() > bound);
    points.split_at_mut(young).0
}

/// The most points that a simulation makes.
pub const SIMULATED_POINTS_MAX: usize = 100_000;

/// The moments at which points are made that come at regular intervals by the local clock, for so long and ending now;
/// oldest first. `None` if there were more than [`SIMULATED_POINTS_MAX`].
pub fn simulated(length: Period, every: Period, now: Timestamp, zone: &TimeZone) -> Option<Vec<Timestamp>> {
    let bound = length.before(now.to_jiff());
    let local = now.to_jiff().to_zoned(zone.clone());
    let mut moments = Vec::new();
    for times in 0.. {
        let Some(moment) = every.times_before(times, &local).map(|moment| moment.timestamp()) else { break };
        let micros = u64::try_from(moment.as_microsecond()).ok().and_then(Timestamp::from_micros);
        let Some(micros) = micros.filter(|_| moment > bound) else { break };
        if moments.len() == SIMULATED_POINTS_MAX {
            return None;
        }
        moments.push(micros);
    }
    moments.reverse();
    Some(moments)
}
