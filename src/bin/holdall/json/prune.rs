//! What `prune` and `repair` print.

use serde::Serialize;

use holdall::prune;

use super::Object;

/// What `repair` did.
#[derive(Serialize)]
pub struct Repaired {
    pub found: usize,
    pub renewed_objects: usize,
    pub renewed_points: usize,
    pub named_packs: usize,
    pub removed_objects: usize,
    /// Lost pieces of recipes that prunes go on without.
    pub given_up_pieces: usize,
    pub replaced_packs: usize,
    /// Damaged packs that stay, for not all that points need of them can be read.
    pub left_packs: usize,
    /// Findings that are left.
    pub left: usize,
}

impl Object for Repaired {
    const TYPE: &'static str = "repaired";
}

/// What `prune --dry-run` would do.
#[derive(Serialize)]
pub struct PrunePlanned {
    pub packs: usize,
    pub total_bytes: u64,
    pub dead_packs: usize,
    pub dead_bytes: u64,
    pub repacked_packs: usize,
    pub repacked_bytes: u64,
    /// What would be written anew of them, about.
    pub copied_bytes: u64,
    /// What would stay and is not in use, about.
    pub unused_bytes: u64,
}

impl Object for PrunePlanned {
    const TYPE: &'static str = "prune_planned";
}

impl PrunePlanned {
    pub fn new(plan: &prune::Plan) -> Self {
        Self {
            packs: plan.packs,
            total_bytes: plan.total_bytes,
            dead_packs: plan.dead.len(),
            dead_bytes: plan.dead_bytes,
            repacked_packs: plan.repack.len(),
            repacked_bytes: plan.repack_bytes,
            copied_bytes: plan.copied_bytes,
            unused_bytes: plan.left_bytes,
        }
    }
}

/// What `prune` did.
#[derive(Serialize)]
pub struct Pruned {
    pub points: usize,
    pub deleted_packs: usize,
    pub deleted_bytes: u64,
    pub written_bytes: u64,
    /// Sessions that were taken for dead.
    pub fenced: Vec<String>,
    /// Sessions that are at work, because of which not all was deleted.
    pub waiting_for: Vec<String>,
    pub merged_segments: usize,
    pub removed_notes: usize,
    pub removed_temporaries: usize,
    /// Packs that stay because something that is needed and was not found may be in them.
    pub kept_packs: Vec<String>,
    pub damaged: bool,
    pub complete: bool,
}

impl Object for Pruned {
    const TYPE: &'static str = "pruned";
}

impl Pruned {
    pub fn new(summary: &prune::Summary) -> Self {
        let ids = |sessions: &[prune::OpenSession]| sessions.iter().map(|session| session.id.to_string()).collect();
        Self {
            points: summary.points,
            deleted_packs: summary.deleted_packs,
            deleted_bytes: summary.deleted_bytes,
            written_bytes: summary.copied_bytes,
            fenced: ids(&summary.fenced),
            waiting_for: ids(&summary.waiting_for),
            merged_segments: summary.merged_segments,
            removed_notes: summary.removed_notes,
            removed_temporaries: summary.removed_temporaries,
            kept_packs: summary.stuck.iter().map(ToString::to_string).collect(),
            damaged: summary.is_damaged,
            complete: !summary.is_stopped && summary.waiting_for.is_empty(),
        }
    }
}
