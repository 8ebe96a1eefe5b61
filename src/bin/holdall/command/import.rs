//! `import`: an export that exists already, or any file, becomes a point.

use std::fs::File;
use std::io::{self, IsTerminal, Read};

use holdall::backup::{ImportRequest, Run, import};
use holdall::clock::SystemClock;

use crate::args::Import;
use crate::command::made;
use crate::config::{Settings, host_name};
use crate::error::{CliError, Code};
use crate::interrupt;
use crate::open::{open_to_write, tell_damaged};
use crate::output::{Output, is_standard};
use crate::progress::{Problems, Progress};

pub fn run(args: Import, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let mut input = Input::open(&args)?;
    let repository = tell_damaged(open_to_write(settings, output)?, output);
    let host = host_name();
    let server = args.server_name.or_else(|| settings.server_name.clone()).unwrap_or_else(|| host.clone());
    let progress = Progress::new(output, Problems::Told);
    let mut run = Run::begin(&repository, &progress, &SystemClock, &host)?;
    let request = ImportRequest {
        label: input.label.clone(),
        input: &mut *input.bytes,
        bytes: input.len,
        source: args.source,
        server,
    };
    let working = interrupt::working();
    import(&mut run, request)?;
    let summary = run.finish()?;
    drop(working);
    progress.clear();
    for made in &summary.made {
        made::tell(made, output)?;
    }
    made::tag(&summary.made, &args.tags, &repository)?;
    match summary.failed.first() {
        Some((source, reason)) => Err(CliError::new(Code::Failed, format!("{source} has no new point: {reason}"))),
        None => made::in_a_sound_repository(output),
    }
}

/// What is imported.
struct Input {
    label: String,
    bytes: Box<dyn Read + Send>,
    len: Option<u64>,
}

impl Input {
    fn open(args: &Import) -> Result<Self, CliError> {
        if is_standard(&args.file) {
            if io::stdin().is_terminal() {
                return Err(CliError::new(Code::Usage, "Standard input is a terminal")
                    .hint("pipe an export into it, or name a file"));
            }
            return Ok(Self { label: "standard input".to_owned(), bytes: Box::new(io::stdin()), len: None });
        }
        let label = args.file.display().to_string();
        let failed = |error: &io::Error| CliError::io(&label, "read", error);
        let file = File::open(&args.file).map_err(|error| failed(&error))?;
        let status = file.metadata().map_err(|error| failed(&error))?;
        if status.is_dir() {
            return Err(CliError::new(Code::Failed, format!("{label} is a directory"))
                .hint("make it an archive first, as in: tar c DIRECTORY | holdall import - --as file:NAME"));
        }
        let len = status.is_file().then_some(status.len());
        Ok(Self { label, bytes: Box::new(file), len })
    }
}
