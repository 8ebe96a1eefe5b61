//! `tag`, `untag`, `pin` and `unpin`: what people say of points.

use std::collections::BTreeSet;

use holdall::clock::{Clock, SystemClock};
use holdall::repo::{Catalog, PointSpec};

use crate::config::Settings;
use crate::error::CliError;
use crate::json;
use crate::open::open;
use crate::output::{Output, plain};
use crate::progress::{Problems, Progress};
use crate::table::minute;

/// What is to be said, and of which points.
pub enum Change {
    Tags { point: PointSpec, tags: BTreeSet<String>, tagged: bool },
    Pins { points: Vec<PointSpec>, pinned: bool },
}

impl Change {
    /// Tags that a point gets or loses.
    pub fn of_tags(point: PointSpec, tags: Vec<String>, tagged: bool) -> Self {
        Self::Tags { point, tags: tags.into_iter().collect(), tagged }
    }

    fn points(&self) -> &[PointSpec] {
        match self {
            Self::Tags { point, .. } => std::slice::from_ref(point),
            Self::Pins { points, .. } => points,
        }
    }
}

pub fn run(change: &Change, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let repository = open(settings, output)?;
    let progress = Progress::new(output, Problems::Told);
    let catalog = Catalog::read(&repository, &progress)?;
    drop(progress);
    let history = repository.history()?;
    let (tags, pinned) = (history.tags(), history.pinned());
    let found: Vec<_> = change.points().iter().map(|point| catalog.find(point)).collect::<Result<_, _>>()?;
    for (id, point) in found {
        let mut tags: BTreeSet<&str> = tags.get(id).cloned().unwrap_or_default();
        let mut is_pinned = pinned.contains(id);
        let now = SystemClock.now();
        match change {
            Change::Tags { tags: wanted, tagged, .. } => {
                for tag in wanted.iter().filter(|tag| tags.contains(tag.as_str()) != *tagged).collect::<Vec<_>>() {
                    repository.tag(&history, *id, tag, *tagged, now)?;
                    let _ = if *tagged { tags.insert(tag) } else { tags.remove(tag.as_str()) };
                }
            }
            Change::Pins { pinned, .. } => {
                if is_pinned != *pinned {
                    repository.pin(&history, *id, *pinned, now)?;
                }
                is_pinned = *pinned;
            }
        }
        let (source, tags): (String, Vec<&str>) = (point.source.to_string(), tags.into_iter().collect());
        let object = json::Marked { point: id.to_string(), source: &source, tags: &tags, pinned: is_pinned };
        output.result(&object, || {
            let pin = if is_pinned { "pinned" } else { "not pinned" };
            let tags = if tags.is_empty() { "no tags".to_owned() } else { format!("tags {}", tags.join(", ")) };
            let (time, tags) = (minute(point.started), plain(&tags).into_owned());
            format!("Point {} of {}, {time}: {pin}, {tags}", id.short(), plain(&source))
        })?;
    }
    Ok(())
}
