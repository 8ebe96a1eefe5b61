//! `restore`: a point goes back into the daemon.

use crate::args::Restore;
use crate::config::Settings;
use crate::error::{CliError, Code};
use crate::output::Output;

pub fn run(_args: Restore, _settings: &Settings, _output: &Output) -> Result<(), CliError> {
    Err(CliError::new(Code::Failed, "This version cannot talk to a daemon yet")
        .hint("use `holdall export` and import the file with the daemon's own client"))
}
