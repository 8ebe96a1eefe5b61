//! `completions`: what a shell needs to complete the command line, made from its definition.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::error::{CliError, Code};

pub fn run(shell: Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "holdall", &mut script);
    let written = io::stdout().write_all(&script);
    written.map_err(|error| CliError::new(Code::Failed, format!("Standard output cannot be written: {error}")))
}
