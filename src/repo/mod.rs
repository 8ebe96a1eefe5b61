//! The repository: the only place where formats and ports meet.

mod config;
mod record;

pub use config::{Config, Parity, SETTLE_SECONDS_MAX};
pub use record::{Condemned, Fact, Note, SessionRecord};
