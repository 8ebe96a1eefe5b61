//! `backup`: points of what the daemon has.

use crate::args::Backup;
use crate::config::Settings;
use crate::error::{CliError, Code};
use crate::output::Output;

pub fn run(_args: Backup, _settings: &Settings, _output: &Output) -> Result<(), CliError> {
    Err(CliError::new(Code::Failed, "This version cannot talk to a daemon yet")
        .hint("export with the daemon's own client and use `holdall import`"))
}
