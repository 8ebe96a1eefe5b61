//! Getting the data back: rebuilding a point's stream, verified, into a file or into a daemon.

mod around;
mod attributes;
mod bucket;
mod export;
mod fetch;
mod image;
mod instance;
mod replace;
mod steps;
mod surroundings;
mod target;
mod upload;
mod volume;

pub use crate::rewrite::description::{DescriptionError, Maps, Selection};
pub use crate::rewrite::stream::RewriteError;
#[cfg(any(test, feature = "testing"))]
pub use crate::rewrite::trial::{Trial, rewritten};
pub use around::Lost;
pub use export::{Digest, ExportError, Exported, export, export_around};
pub use fetch::write_stream;
pub use steps::FetchError;
pub use target::{Conflict, IdentityChoice, Lack, RestoreError, RestoreTarget, Restored, restore};
