//! What `forget`, `tag` and `pin` take; and the rules of a policy, which `[retention]` of the settings file takes, too.
//!
//! One list of rules serves both, under the same names, so that what works in the one works in the other.

use std::fmt::Display;
use std::str::FromStr;

use clap::Args as Arguments;
use holdall::limits::NAME_BYTES_MAX;
use holdall::repo::{ParsePointError, PointSpec};
use holdall::retention::{Calendar, Keep, Period, Policy};
use holdall::source::Selector;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::POINT_HELP;

/// Forget points: by a policy, by name, or those of retired sources
///
/// A policy is given with the --keep options, or else by [retention] in the settings. It is applied to each source by
/// itself; a point that any rule keeps stays, and so do the newest point of each source and pinned ones. Of each hour,
/// day, ISO week, month, quarter and year of the local calendar the newest point is kept; while a --keep-... rule finds
/// fewer of them than it wants, the oldest point stays as well. What lies within a period is reckoned back from the
/// newest point of the source, so that a source that is no longer backed up keeps its history. A point that a wrong
/// clock dated in the future stays and counts for no rule.
///
/// A point that is named is forgotten, also the newest, unless it is pinned. What only the forgotten points needed
/// stays in the store until it is pruned.
#[derive(Arguments)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Forget {
    /// Forget these points: web1@2026-11-20 for the newest of that local day, web1@2026-11-20T03:00 for the newest not
    /// after it and not a day older, web1@latest, or 8 or more digits of its id
    #[arg(value_name = "POINT", conflicts_with_all = ["keep", "sources", "retired", "simulate", "if_configured"])]
    pub points: Vec<PointToForget>,
    /// Look at the points of this source only; may be repeated
    #[arg(long = "source", value_name = "SOURCE")]
    pub sources: Vec<Selector>,
    /// Forget all points of retired sources, the newest too, but pinned ones
    #[arg(long, conflicts_with_all = ["keep", "simulate", "if_configured"])]
    pub retired: bool,
    /// Remove objects among the points that do not open, named by 8 or more digits of their ids; "holdall check" lists
    /// them
    #[arg(long, requires = "points")]
    pub damaged: bool,
    /// Tell what would become of each point and why, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do nothing, successfully, if no policy was given and the settings have none
    #[arg(long)]
    pub if_configured: bool,
    /// Tell what the policy would leave of a source that had a point every day for so long: 400d, 2y. No repository
    /// is needed
    #[arg(long, value_name = "PERIOD", conflicts_with = "sources")]
    pub simulate: Option<Period>,
    /// How often it had a point: 6h, 1w [default: 1d]
    #[arg(long, value_name = "PERIOD", requires = "simulate")]
    pub simulate_every: Option<Period>,
    #[command(flatten)]
    pub rules: Rules,
}

/// The rules of a policy.
#[derive(Debug, Default, Arguments, Deserialize)]
#[group(id = "keep", multiple = true)]
#[command(next_help_heading = "Policy")]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names are those of the options and settings")]
pub struct Rules {
    /// Keep the newest N points; N is a number from 1 on, or "all"
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "written")]
    pub keep_last: Option<Keep>,
    /// Keep one point of each of the newest N hours that have any
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "written")]
    pub keep_hourly: Option<Keep>,
    /// Keep one point of each of the newest N days that have any
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "written")]
    pub keep_daily: Option<Keep>,
    /// Keep one point of each of the newest N weeks that have any
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "written")]
    pub keep_weekly: Option<Keep>,
    /// Keep one point of each of the newest N months that have any
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "written")]
    pub keep_monthly: Option<Keep>,
    /// Keep one point of each of the newest N quarters that have any
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "written")]
    pub keep_quarterly: Option<Keep>,
    /// Keep one point of each of the newest N years that have any
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "written")]
    pub keep_yearly: Option<Keep>,
    /// Keep all points that are younger: 36h, 14d, 8w, 6mo, 1y
    #[arg(long, value_name = "PERIOD")]
    #[serde(deserialize_with = "written")]
    pub keep_within: Option<Period>,
    /// Keep one point of each hour within this period
    #[arg(long, value_name = "PERIOD")]
    #[serde(deserialize_with = "written")]
    pub keep_within_hourly: Option<Period>,
    /// Keep one point of each day within this period
    #[arg(long, value_name = "PERIOD")]
    #[serde(deserialize_with = "written")]
    pub keep_within_daily: Option<Period>,
    /// Keep one point of each week within this period
    #[arg(long, value_name = "PERIOD")]
    #[serde(deserialize_with = "written")]
    pub keep_within_weekly: Option<Period>,
    /// Keep one point of each month within this period
    #[arg(long, value_name = "PERIOD")]
    #[serde(deserialize_with = "written")]
    pub keep_within_monthly: Option<Period>,
    /// Keep one point of each quarter within this period
    #[arg(long, value_name = "PERIOD")]
    #[serde(deserialize_with = "written")]
    pub keep_within_quarterly: Option<Period>,
    /// Keep one point of each year within this period
    #[arg(long, value_name = "PERIOD")]
    #[serde(deserialize_with = "written")]
    pub keep_within_yearly: Option<Period>,
    /// Keep all points that have this tag; may be repeated
    #[arg(long = "keep-tag", value_name = "TAG", value_parser = parse_tag)]
    #[serde(rename = "keep_tag", deserialize_with = "tags")]
    pub keep_tags: Vec<String>,
}

impl Rules {
    /// The policy that they make up.
    pub fn policy(&self) -> Policy {
        let each = [
            (Calendar::Hourly, self.keep_hourly),
            (Calendar::Daily, self.keep_daily),
            (Calendar::Weekly, self.keep_weekly),
            (Calendar::Monthly, self.keep_monthly),
            (Calendar::Quarterly, self.keep_quarterly),
            (Calendar::Yearly, self.keep_yearly),
        ];
        let each_within = [
            (Calendar::Hourly, self.keep_within_hourly),
            (Calendar::Daily, self.keep_within_daily),
            (Calendar::Weekly, self.keep_within_weekly),
            (Calendar::Monthly, self.keep_within_monthly),
            (Calendar::Quarterly, self.keep_within_quarterly),
            (Calendar::Yearly, self.keep_within_yearly),
        ];
        Policy {
            last: self.keep_last,
            each: each.into_iter().filter_map(|(calendar, keep)| Some((calendar, keep?))).collect(),
            within: self.keep_within,
            each_within: each_within.into_iter().filter_map(|(calendar, period)| Some((calendar, period?))).collect(),
            tags: self.keep_tags.iter().cloned().collect(),
        }
    }
}

/// A number, or what has a text form.
fn written<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(from: D) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(i64),
        Text(String),
    }
    let text = match Written::deserialize(from)? {
        Written::Number(number) => number.to_string(),
        Written::Text(text) => text,
    };
    text.parse().map(Some).map_err(D::Error::custom)
}

fn tags<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let texts: Vec<String> = Vec::deserialize(from)?;
    texts.iter().map(|text| parse_tag(text).map_err(D::Error::custom)).collect()
}

/// A point that is to be forgotten. A source alone names none: who types it more likely means all of its points, and
/// neither is what it should cost.
#[derive(Debug, Clone)]
pub struct PointToForget(pub PointSpec);

impl FromStr for PointToForget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let spec: PointSpec = text.parse().map_err(|error: ParsePointError| error.to_string())?;
        if matches!(spec, PointSpec::Latest(_)) && !text.ends_with("@latest") {
            return Err(source_alone(text));
        }
        Ok(Self(spec))
    }
}

/// What to type instead of a source alone.
pub fn source_alone(source: &str) -> String {
    format!(
        "{source} is a source and no point: {source}@latest is its newest, --source {source} applies a policy to it"
    )
}

/// Give points tags
///
/// Tags are shown by "holdall list", and --keep-tag keeps the points that have one.
#[derive(Arguments)]
pub struct Tag {
    #[arg(value_name = "POINT", help = POINT_HELP)]
    pub point: PointSpec,
    /// The tags
    #[arg(value_name = "TAG", required = true, value_parser = parse_tag)]
    pub tags: Vec<String>,
}

/// Take tags off a point
#[derive(Arguments)]
pub struct Untag {
    #[arg(value_name = "POINT", help = POINT_HELP)]
    pub point: PointSpec,
    /// The tags
    #[arg(value_name = "TAG", required = true, value_parser = parse_tag)]
    pub tags: Vec<String>,
}

/// Pin points: they are not forgotten until they are unpinned
#[derive(Arguments)]
pub struct Pin {
    #[arg(value_name = "POINT", required = true, help = POINT_HELP)]
    pub points: Vec<PointSpec>,
}

/// Let pinned points be forgotten again
#[derive(Arguments)]
pub struct Unpin {
    #[arg(value_name = "POINT", required = true, help = POINT_HELP)]
    pub points: Vec<PointSpec>,
}

/// A tag: one line that is not empty. Commas stand between tags where several are shown.
pub fn parse_tag(text: &str) -> Result<String, String> {
    let is_plain = !text.contains(|one: char| one.is_control() || one == ',');
    let fits = !text.is_empty() && text.trim() == text && text.len() <= NAME_BYTES_MAX;
    let wrong =
        || format!("{text:?} is no tag: use up to {NAME_BYTES_MAX} bytes without commas and control characters");
    if is_plain && fits { Ok(text.to_owned()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_one_line_and_a_source_alone_is_no_point_to_forget() {
        assert_eq!(parse_tag("before 2.0"), Ok("before 2.0".to_owned()));
        for wrong in ["", " a", "a ", "a,b", "a\nb", &"a".repeat(NAME_BYTES_MAX + 1)] {
            assert!(parse_tag(wrong).is_err(), "{wrong}");
        }
        for point in ["web1@latest", "web1@2026-11-20", "0123abcd"] {
            assert!(point.parse::<PointToForget>().is_ok(), "{point}");
        }
        assert!("web1".parse::<PointToForget>().unwrap_err().contains("web1@latest"));
    }
}
