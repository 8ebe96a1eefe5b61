//! Getting the data back: rebuilding a point's stream, verified, into a file or into a daemon.

mod attributes;
mod bucket;
mod export;
mod fetch;
mod instance;
mod target;
mod upload;
mod volume;

pub use export::{Digest, ExportError, Exported, export};
pub use fetch::{FetchError, write_stream};
pub use target::{RestoreError, RestoreTarget, Restored, restore};
