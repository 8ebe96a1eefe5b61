//! The program `holdall`: arguments in, results out, one exit code at the end.
//!
//! Everything that knows a terminal, the environment, exit codes or advice is here and in the modules below; the
//! library knows none of them. A command returns its failure, and this file alone tells it and ends the process.

mod args;
mod command;
mod config;
mod daemon;
mod error;
mod hooks;
mod interrupt;
mod json;
mod newfile;
mod newkey;
mod open;
mod output;
mod progress;
mod table;
mod waiting;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::Args;
use crate::error::{CliError, Failure};
use crate::output::Output;

fn main() -> ExitCode {
    interrupt::prepare();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return fail(&Output::plain(), &error::usage(&error));
        }
        Err(help) => help.exit(),
    };
    let output = Output::new(&args);
    let ended = waiting::told(&output, || command::run(args, &output)).and_then(|()| output::flush());
    match ended {
        Ok(()) | Err(CliError::NobodyReads) => ExitCode::SUCCESS,
        Err(CliError::Failure(failure)) => fail(&output, &failure),
    }
}

fn fail(output: &Output, failure: &Failure) -> ExitCode {
    output.failure(failure);
    ExitCode::from(failure.code.number())
}
