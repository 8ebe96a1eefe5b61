//! Making points: from the daemon's exports, or from a stream that somebody has already.
//!
//! A stream becomes a point only if it proved complete ([`accept`]). What failed is named with its reason and never
//! ends the others. This room decides what a backup is; how bytes are stored it leaves to the repository.

mod accept;
mod arrival;
mod attempt;
mod decoder;
mod dispatch;
mod fingerprint;
mod hooks;
mod identity;
mod import;
mod inventory;
mod leftovers;
mod look;
mod original;
mod pipeline;
mod plan;
mod rate;
mod run;
mod sources;
mod space;
mod temporary;

pub use accept::{Accepted, Acceptor, ExportIndex, ExportKind, Padding, Rejection};
pub use attempt::{AttemptError, Fuzzy, StagingCheck};
pub use decoder::uncompressed;
pub use hooks::{HostHooks, NoHostHooks, When};
pub use identity::{Adopt, IdentityError};
pub use import::{ImportError, ImportRequest, import};
pub use pipeline::{Recorded, Splitting, StreamError, Watch, record};
pub use plan::{Hooks, Plan, Planned, plan};
pub use run::{Made, Run, Scope, Summary};
pub use sources::{BackupError, BackupOptions, Host, Selection, back_up};
