//! Getting the data back: rebuilding a point's stream, verified, into a file or into a daemon.

mod attributes;
mod export;
mod fetch;
mod instance;

pub use export::{Digest, ExportError, Exported, export};
pub use fetch::{FetchError, write_stream};
pub use instance::{RestoreError, RestoreTarget, Restored, restore};
