//! What a policy is made of: how many, of which calendar, for how long; and their text forms.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{Span, Zoned};

/// How many points a rule keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// At most so many.
    Count(NonZeroU32),
    /// As many as there are.
    All,
}

impl Keep {
    /// As a bound for a length.
    pub(super) fn most(self) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count.get()).unwrap_or(usize::MAX),
            Self::All => usize::MAX,
        }
    }
}

/// A text that is no number of points.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no number of points: use one from 1 on, or \"all\"")]
pub struct ParseKeepError {
    text: String,
}

impl FromStr for Keep {
    type Err = ParseKeepError;

    fn from_str(text: &str) -> Result<Self, ParseKeepError> {
        match text {
            "all" => Ok(Self::All),
            number => number.parse().map(Self::Count).map_err(|_| ParseKeepError { text: text.to_owned() }),
        }
    }
}

/// The pieces of the local calendar of which a rule keeps one point each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Calendar {
    /// Hours; the two of one name at the end of summer time are two.
    Hourly,
    /// Days from midnight to midnight.
    Daily,
    /// Weeks of ISO 8601, which begin on Monday.
    Weekly,
    /// Months.
    Monthly,
    /// Quarters, from January, April, July and October on.
    Quarterly,
    /// Years.
    Yearly,
}

/// What points of the same piece of the calendar have in common.
pub(super) type Bucket = [i32; 4];

impl Calendar {
    /// All, from the shortest.
    pub const ALL: [Self; 6] = [Self::Hourly, Self::Daily, Self::Weekly, Self::Monthly, Self::Quarterly, Self::Yearly];

    /// The word for people and for JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Quarterly => "quarterly",
            Self::Yearly => "yearly",
        }
    }

    /// The piece that a moment lies in.
    pub(super) fn bucket(self, moment: &Zoned) -> Bucket {
        let (year, month) = (i32::from(moment.year()), i32::from(moment.month()));
        let day = i32::from(moment.day_of_year());
        match self {
            Self::Hourly => [year, day, moment.hour().into(), moment.offset().seconds()],
            Self::Daily => [year, day, 0, 0],
            Self::Weekly => {
                let week = moment.date().iso_week_date();
                [week.year().into(), week.week().into(), 0, 0]
            }
            Self::Monthly => [year, month, 0, 0],
            Self::Quarterly => [year, (month - 1) / 3, 0, 0],
            Self::Yearly => [year, 0, 0, 0],
        }
    }
}

/// A length of time: months and years by the calendar, weeks and days as so many times 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    pub(super) months: u32,
    pub(super) hours: u32,
}

const HOURS_OF_DAY: u32 = 24;
const MONTHS_OF_YEAR: u32 = 12;

impl Period {
    /// A number of days.
    pub const fn days(days: u16) -> Self {
        Self { months: 0, hours: days as u32 * HOURS_OF_DAY }
    }

    /// The moment that lies so long before another; the first of all where there is none. A later moment never has an
    /// earlier one before it: it is reckoned in UTC, which is never put back, and where a month is too short for the
    /// day it is the beginning of the next.
    pub(super) fn before(self, moment: jiff::Timestamp) -> jiff::Timestamp {
        let back = || {
            let moment = moment.to_zoned(TimeZone::UTC);
            let months = Span::new().try_months(self.months).ok()?;
            let mut then = moment.checked_sub(months).ok()?;
            if then.day() < moment.day() {
                then = then.date().tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?;
            }
            then.checked_sub(Span::new().try_hours(self.hours).ok()?).ok()
        };
        back().map_or(jiff::Timestamp::MIN, |moment| moment.timestamp())
    }

    /// The moment that lies so many of these periods before another by the local clock, which shows the same hour in
    /// summer and in winter.
    pub(super) fn times_before(self, times: u32, moment: &Zoned) -> Option<Zoned> {
        let (days, hours) = (self.hours / HOURS_OF_DAY, self.hours % HOURS_OF_DAY);
        let span = Span::new()
            .try_months(self.months.checked_mul(times)?)
            .and_then(|span| span.try_days(i64::from(days) * i64::from(times)))
            .and_then(|span| span.try_hours(i64::from(hours) * i64::from(times)));
        moment.checked_sub(span.ok()?).ok()
    }
}

/// A text that is no period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no period: use 36h, 14d, 8w, 6mo, 1y or several of these; a bare m could be minutes as well as months"
)]
pub struct ParsePeriodError {
    text: String,
}

impl FromStr for Period {
    type Err = ParsePeriodError;

    fn from_str(text: &str) -> Result<Self, ParsePeriodError> {
        let read = || {
            let span: Span = text.parse().ok()?;
            let number = |number: i32| u32::try_from(number).ok();
            let months = u32::try_from(span.get_years()).ok()? * MONTHS_OF_YEAR + number(span.get_months())?;
            let days = number(span.get_weeks())? * 7 + number(span.get_days())?;
            let hours = days.checked_mul(HOURS_OF_DAY)?.checked_add(number(span.get_hours())?)?;
            let whole = Span::new().try_years(span.get_years()).ok()?.try_months(span.get_months()).ok()?;
            let whole = whole.try_weeks(span.get_weeks()).ok()?.try_days(span.get_days()).ok()?;
            let whole = whole.try_hours(span.get_hours()).ok()?;
            // What is left is finer than an hour, or nothing.
            (whole.fieldwise() == span.fieldwise() && !span.is_zero()).then_some(Self { months, hours })
        };
        read().ok_or_else(|| ParsePeriodError { text: text.to_owned() })
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.months / MONTHS_OF_YEAR, "y"),
            (self.months % MONTHS_OF_YEAR, "mo"),
            (self.hours / HOURS_OF_DAY, "d"),
            (self.hours % HOURS_OF_DAY, "h"),
        ];
        parts.iter().filter(|(number, _)| *number > 0).try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

/// Which points of each source are kept; one that any rule keeps stays.
///
/// Each rule looks at the points of one source by itself, newest first:
///
/// - `last`: the newest so many.
/// - `each`: the newest point of each of the newest so many hours, days, weeks and so on that have a point at all.
///   While there are fewer of these than the rule wants, the oldest point stays as well, so that a young history is as
///   long as it can be.
/// - `within`: all that are younger than the period.
/// - `each_within`: of these the newest of each hour, day, week and so on.
/// - `tags`: those that have one of these tags.
///
/// What lies within a period is reckoned back from the newest point of the source and not from the present hour, so
/// that a source that is no longer backed up keeps its history. The newest point and pinned ones stay in any case. A
/// point that is dated later than now, by a clock that was wrong, stays and counts for no rule, or it would cost others
/// their place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// How many of the newest.
    pub last: Option<Keep>,
    /// How many of each piece of the calendar.
    pub each: BTreeMap<Calendar, Keep>,
    /// How long all.
    pub within: Option<Period>,
    /// How long one of each piece of the calendar.
    pub each_within: BTreeMap<Calendar, Period>,
    /// Tags that keep a point.
    pub tags: BTreeSet<String>,
}

impl Policy {
    /// Whether there is no rule in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
