//! Getting the data back: rebuilding a point's stream, verified, into a file or into a daemon.

mod attributes;
mod bucket;
mod description;
mod export;
mod fetch;
mod instance;
mod keys;
mod replace;
mod rewrite;
mod steps;
mod surroundings;
mod target;
mod upload;
mod volume;

pub use description::{DescriptionError, Maps};
pub use export::{Digest, ExportError, Exported, export};
pub use fetch::write_stream;
pub use rewrite::{RewriteError, Selection};
pub use steps::FetchError;
pub use target::{Conflict, IdentityChoice, Lack, RestoreError, RestoreTarget, Restored, restore};
