//! `man`: the manual, made from the definition of the command line.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_mangen::{Man as Page, generate_to};

use crate::args::{Args, Man};
use crate::error::{CliError, Code};

pub fn run(args: &Man) -> Result<(), CliError> {
    let command = Args::command();
    if let Some(directory) = &args.to {
        return generate_to(command, directory)
            .map_err(|error| CliError::io(directory.display(), "write the manual into", &error));
    }
    let mut page = Vec::new();
    let rendered = Page::new(command).render(&mut page).and_then(|()| io::stdout().write_all(&page));
    rendered.map_err(|error| CliError::new(Code::Failed, format!("The manual cannot be written: {error}")))
}
