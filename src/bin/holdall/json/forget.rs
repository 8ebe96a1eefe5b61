//! What `forget`, `tag` and `pin` print with `--json`.

use serde::Serialize;

use super::Object;

/// What becomes of a point, as `forget` tells it.
#[derive(Serialize)]
pub struct Fate<'o> {
    pub point: String,
    pub source: String,
    pub started: String,
    /// `keep` or `drop` with `--dry-run`, otherwise `dropped`.
    pub action: &'static str,
    pub reasons: &'o [String],
}

impl Object for Fate<'_> {
    const TYPE: &'static str = "fate";
}

/// What `forget` came to.
#[derive(Serialize)]
pub struct Forgot {
    pub dropped: usize,
    /// Of how many sources.
    pub sources: usize,
    /// How many points stay of those that were looked at.
    pub kept: usize,
    /// How many could not be removed.
    pub failed: usize,
    pub dry_run: bool,
}

impl Object for Forgot {
    const TYPE: &'static str = "forgot";
}

/// `forget --damaged` removed an object.
#[derive(Serialize)]
pub struct DamagedPoint {
    pub point: String,
    /// `drop` with `--dry-run`, otherwise `dropped`.
    pub action: &'static str,
}

impl Object for DamagedPoint {
    const TYPE: &'static str = "damaged_point";
}

/// A point that would remain, as `forget --simulate` tells it.
#[derive(Serialize)]
pub struct Simulated<'o> {
    pub started: String,
    pub reasons: &'o [String],
}

impl Object for Simulated<'_> {
    const TYPE: &'static str = "simulated";
}

/// What a simulation came to.
#[derive(Serialize)]
pub struct Simulation {
    pub points: usize,
    pub remaining: usize,
}

impl Object for Simulation {
    const TYPE: &'static str = "simulation";
}

/// What is said of a point after `tag`, `untag`, `pin` or `unpin`.
#[derive(Serialize)]
pub struct Marked<'o> {
    pub point: String,
    pub source: &'o str,
    pub tags: &'o [&'o str],
    pub pinned: bool,
}

impl Object for Marked<'_> {
    const TYPE: &'static str = "marked";
}
