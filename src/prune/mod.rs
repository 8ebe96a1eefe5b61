//! Reclaiming space: what no point uses is deleted, what is half used is packed anew.
//!
//! First it is marked which chunks are in use, then a plan says which packs go and which are copied: a pure function
//! ([`plan()`]). The rest is done step by step as [`crate::protocol::Prune`] says, beside any number of backups,
//! restores and other prunes (`format-spec/concurrency.md`, "Prune"). A prune that dies leaves a condemned object at
//! most, which the next one finishes.

mod copy;
mod mark;
mod merge;
mod notes;
mod order;
mod plan;
mod run;
mod sessions;

pub use plan::{MaxUnused, PackUse, Plan, Soundness, plan};
pub use run::{Dealing, Prepared, PruneError, Summary, prepare, prune, salvage};
pub use sessions::OpenSession;
