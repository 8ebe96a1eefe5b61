//! Making points: from the daemon's exports, or from a stream that somebody has already.
//!
//! A stream becomes a point only if it proved complete ([`accept`]). What failed is named with its reason and never ends
//! the others. This room decides what a backup is; how bytes are stored it leaves to the repository.

mod accept;
mod import;
mod pipeline;
mod run;

pub use accept::{Accepted, Acceptor, ExportIndex, ExportKind, Padding, Rejection};
pub use import::{ImportError, ImportRequest, import};
pub use pipeline::{Recorded, Splitting, StreamError, record};
pub use run::{Made, Run, Summary};
