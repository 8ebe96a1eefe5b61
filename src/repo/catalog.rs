//! The points of a repository: listing them, finding the one that a person means, and removing them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::clock::Timestamp;
use crate::id::PointId;
use crate::limits::{NAME_BYTES_MAX, OBJECT_BYTES_MAX};
use crate::monitor::{Event, Monitor, Problem};
use crate::point::{Point, Verdict};
use crate::protocol::Creation;
use crate::repo::{RepoError, Repository, layout};
use crate::source::{ParseSourceError, Selector, Source};
use crate::store::{Deleted, Put};

/// All points that can be read, oldest first.
#[derive(Debug, Default)]
pub struct Catalog {
    points: Vec<(PointId, Point)>,
}

impl Catalog {
    /// Reads every point. What cannot be read is damage and is told as a problem; voids are skipped. A point that was
    /// given to another source has that one as its source.
    pub fn read(repository: &Repository, monitor: &dyn Monitor) -> Result<Self, RepoError> {
        repository.read_keys()?;
        let history = repository.history()?;
        let moved = history.moved();
        let mut points = Vec::new();
        for id in repository.list_points()? {
            match repository.read_verdict(id) {
                Ok(Verdict::Point(mut point)) => {
                    if let Some(source) = moved.get(&id) {
                        point.source = (*source).clone();
                    }
                    points.push((id, *point));
                }
                Ok(Verdict::Void) | Err(RepoError::Gone { .. }) => {}
                Err(error @ RepoError::Damaged { .. }) => monitor.event(Event::Problem(Problem {
                    object: layout::point(id).to_string(),
                    message: error.to_string(),
                })),
                Err(error) => return Err(error),
            }
        }
        Ok(Self::of(points))
    }

    /// A catalog of these points, brought into order.
    pub fn of(mut points: Vec<(PointId, Point)>) -> Self {
        points.sort_by_key(|(id, point)| (point.started, *id));
        Self { points }
    }

    /// The points, oldest first.
    pub fn points(&self) -> &[(PointId, Point)] {
        &self.points
    }

    /// Every server that a point belongs to.
    fn servers(&self) -> impl Iterator<Item = &str> {
        self.points.iter().map(|(_, point)| point.source.server.as_str()).filter(|server| !server.is_empty())
    }

    /// The one source that a person means; the server may be left out while only one has it.
    pub fn source(&self, selector: &Selector) -> Result<Source, FindError> {
        let mut found: Option<&Source> = None;
        for (_, point) in &self.points {
            if selector.matches(&point.source) {
                match found {
                    Some(other) if *other != point.source => {
                        return Err(FindError::AmbiguousSource {
                            wanted: selector.to_string(),
                            one: other.to_string(),
                            other: point.source.to_string(),
                        });
                    }
                    _ => found = Some(&point.source),
                }
            }
        }
        found.cloned().ok_or_else(|| FindError::NoSuchSource { wanted: selector.to_string() })
    }

    /// The point that a person means. A name of a source is never shadowed by a prefix of an id.
    pub fn find(&self, wanted: &PointSpec) -> Result<&(PointId, Point), FindError> {
        match wanted {
            PointSpec::Latest(selector) => self.newest(selector, None),
            PointSpec::NotAfter(selector, moment) => self.newest(selector, Some(*moment)),
            PointSpec::IdOrName(text) => {
                let selector = text.parse::<Selector>().ok();
                if let Some(selector) = selector.filter(|selector| self.source(selector).is_ok()) {
                    return self.newest(&selector, None);
                }
                let mut matching = self.points.iter().filter(|(id, _)| id.to_string().starts_with(text.as_str()));
                match (matching.next(), matching.next()) {
                    (Some(point), None) => Ok(point),
                    (Some(_), Some(_)) => Err(FindError::AmbiguousPrefix { prefix: text.clone() }),
                    (None, _) => Err(FindError::NoSuchPoint { wanted: text.clone() }),
                }
            }
        }
    }

    fn newest(&self, selector: &Selector, not_after: Option<Timestamp>) -> Result<&(PointId, Point), FindError> {
        let source = self.source(selector)?;
        let wanted = |(_, point): &&(PointId, Point)| {
            point.source == source && not_after.is_none_or(|moment| point.started <= moment)
        };
        self.points.iter().rev().find(wanted).ok_or_else(|| match not_after {
            Some(moment) => FindError::NothingThen { wanted: selector.to_string(), moment },
            None => FindError::NoSuchSource { wanted: selector.to_string() },
        })
    }

    /// Every source that has a point, each once and in order.
    pub fn sources(&self) -> Vec<&Source> {
        self.points.iter().map(|(_, point)| &point.source).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The names of servers in the repository, each once.
    pub fn server_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.servers().map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// A point as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PointSpec {
    /// `web1@latest`, `web1` where that cannot be an id.
    Latest(Selector),
    /// `web1@2026-11-20` (the newest of that local day) or `web1@2026-11-20T03:00` (the newest not after it).
    NotAfter(Selector, Timestamp),
    /// Hexadecimal digits, eight or more: a source of that name, or else the beginning of an id.
    IdOrName(String),
}

/// No point, or more than one, is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// No point has such a source.
    #[error("{wanted} has no point in this repository")]
    NoSuchSource {
        /// What was asked for.
        wanted: String,
    },
    /// Several servers have a source of that name.
    #[error("{wanted} can mean {one} or {other}; name the one that is meant")]
    AmbiguousSource {
        /// What was asked for.
        wanted: String,
        /// One of them.
        one: String,
        /// Another.
        other: String,
    },
    /// No point has an id that begins so.
    #[error("{wanted} names neither a source nor a point in this repository")]
    NoSuchPoint {
        /// What was asked for.
        wanted: String,
    },
    /// Several points have an id that begins so.
    #[error("{prefix} is the beginning of more than one point's id; use more digits")]
    AmbiguousPrefix {
        /// What was asked for.
        prefix: String,
    },
    /// The source has no point that old.
    #[error("{wanted} has no point that is not newer than {moment}")]
    NothingThen {
        /// What was asked for.
        wanted: String,
        /// The moment.
        moment: Timestamp,
    },
}

/// A text that names no point.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParsePointError {
    /// The source before the `@` is none.
    #[error(transparent)]
    Source(#[from] ParseSourceError),
    /// What follows the `@` is no moment.
    #[error("{text:?} is no moment: use latest, a day such as 2026-11-20, or a time such as 2026-11-20T03:00")]
    Moment {
        /// What followed the `@`.
        text: String,
    },
}

/// Fewest digits by which an id may be named.
const ID_PREFIX_DIGITS_MIN: usize = 8;

impl FromStr for PointSpec {
    type Err = ParsePointError;

    fn from_str(text: &str) -> Result<Self, ParsePointError> {
        let hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if hex && text.len() >= ID_PREFIX_DIGITS_MIN && text.len() <= NAME_BYTES_MAX {
            return Ok(Self::IdOrName(text.to_owned()));
        }
        let Some((source, moment)) = text.rsplit_once('@') else { return Ok(Self::Latest(text.parse()?)) };
        let wrong = || ParsePointError::Moment { text: moment.to_owned() };
        if moment == "latest" {
            return Ok(Self::Latest(source.parse()?));
        }
        Ok(Self::NotAfter(source.parse()?, parse_moment(moment).ok_or_else(wrong)?))
    }
}

/// A day means its last moment, a time itself; both in local time unless they bring an offset.
fn parse_moment(text: &str) -> Option<Timestamp> {
    let zone = jiff::tz::TimeZone::system();
    let moment = if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        moment
    } else if text.contains('T') {
        text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(zone).ok()?.timestamp()
    } else {
        let day: jiff::civil::Date = text.parse().ok()?;
        let next = day.tomorrow().ok()?.to_zoned(zone).ok()?.timestamp();
        next.checked_sub(jiff::SignedDuration::from_micros(1)).ok()?
    };
    Timestamp::from_micros(u64::try_from(moment.as_microsecond()).ok()?)
}

impl fmt::Display for PointSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest(selector) => write!(f, "{selector}@latest"),
            Self::NotAfter(selector, moment) => write!(f, "{selector}@{moment}"),
            Self::IdOrName(text) => f.write_str(text),
        }
    }
}

impl Repository {
    /// The names in `points/`: points and voids.
    pub fn list_points(&self) -> Result<Vec<PointId>, RepoError> {
        self.list_ids_surely(&layout::POINTS, PointId::from_bytes)
    }

    /// Whether a session is announced.
    pub fn has_session(&self, id: PointId) -> Result<bool, RepoError> {
        Ok(self.store().stat(&layout::session(id))?.is_some())
    }

    /// Whether a session is over: a point or a void stands under its id.
    pub fn has_verdict(&self, id: PointId) -> Result<bool, RepoError> {
        Ok(self.store().stat(&layout::point(id))?.is_some())
    }

    /// Stores a verdict about an attempt, if there is none.
    pub fn put_verdict(&self, id: PointId, verdict: &Verdict) -> Result<Put, RepoError> {
        let sealed = self.seal_verdict(id, verdict)?;
        Ok(self.store().put(&layout::point(id), &[&sealed])?)
    }

    /// Removes a point, if it still stands. A void is never removed: a writer that slept through everything would
    /// commit (`format-spec/concurrency.md`, trace T10).
    ///
    /// What is read here may be replaced before it is deleted only by a void that was put after somebody else had
    /// removed the point; its writer has committed, and so fears no fence.
    pub fn forget(&self, id: PointId) -> Result<Deleted, RepoError> {
        match self.read_verdict(id) {
            Ok(Verdict::Point(_)) => Ok(self.store().delete(&layout::point(id))?),
            Ok(Verdict::Void) | Err(RepoError::Gone { .. }) => Ok(Deleted::Absent),
            Err(error) => Err(error),
        }
    }

    /// The objects among the points that do not open, and how: nobody knows whether they are points or voids.
    pub fn damaged_points(&self) -> Result<Vec<(PointId, RepoError)>, RepoError> {
        let mut damaged = Vec::new();
        for id in self.list_points()? {
            match self.read_verdict(id) {
                Err(error @ RepoError::Damaged { .. }) => damaged.push((id, error)),
                Ok(_) | Err(RepoError::Gone { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(damaged)
    }

    /// Removes an object among the points that does not open, and puts a void in its place, for it may have been one
    /// itself: a writer that sleeps must not commit when it wakes up. Its session goes last, as after every fence.
    ///
    /// One that opens is left alone. If this dies halfway the session, where there is one, is still open, and the next
    /// prune fences it.
    pub fn forget_damaged(&self, id: PointId) -> Result<Deleted, RepoError> {
        let deleted = match self.read_verdict(id) {
            Err(RepoError::Damaged { .. }) => self.store().delete(&layout::point(id))?,
            Ok(_) | Err(RepoError::Gone { .. }) => return Ok(Deleted::Absent),
            Err(error) => return Err(error),
        };
        // If it is taken the writer has just committed, and its point is sound.
        let _: Put = self.put_verdict(id, &Verdict::Void)?;
        self.withdraw(id)?;
        Ok(deleted)
    }

    /// F1: puts a void under the name of a session, if that is free. An error is no answer.
    pub fn put_void(&self, session: PointId) -> Result<Creation, RepoError> {
        Ok(match self.put_verdict(session, &Verdict::Void)? {
            Put::Created => Creation::Created,
            Put::Exists => Creation::Taken,
        })
    }

    /// What stands under a point's name.
    pub fn read_verdict(&self, id: PointId) -> Result<Verdict, RepoError> {
        let name = layout::point(id);
        let bytes = self.get_object(&name, OBJECT_BYTES_MAX)?;
        self.open_verdict(id, &bytes)
    }
}
