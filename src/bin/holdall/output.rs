//! Where words go: results to standard output, talk to standard error.
//!
//! With `--json` results are objects, one a line, and failures and problems are results, too. While a point itself goes
//! to standard output (`export POINT -`) results go to standard error instead, and with `--json` nothing but objects
//! goes there. Text that came from a stream or a repository cannot steer the terminal: control characters are escaped.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::args::{Args, Command};
use crate::error::{CliError, Failure};
use crate::json::{self, Object};

/// The channels of one invocation.
pub struct Output {
    format: Format,
    results: Channel,
    level: Level,
    problems: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Out,
    Err,
}

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Quiet,
    Normal,
    Verbose,
}

impl Output {
    /// The channels that the command line asks for.
    pub fn new(args: &Args) -> Self {
        let streams = matches!(&args.command, Command::Export(export) if is_standard(&export.file));
        Self {
            format: if args.global.json { Format::Json } else { Format::Text },
            results: if streams { Channel::Err } else { Channel::Out },
            level: match (args.global.quiet, args.global.verbose) {
                (true, _) => Level::Quiet,
                (false, true) => Level::Verbose,
                (false, false) => Level::Normal,
            },
            problems: AtomicU64::new(0),
        }
    }

    /// The channels of an invocation that was not understood.
    pub fn plain() -> Self {
        Self { format: Format::Text, results: Channel::Out, level: Level::Normal, problems: AtomicU64::new(0) }
    }

    /// Tells a result: as an object, or as this text, which ends without a line break.
    pub fn result<O: Object>(&self, object: &O, text: impl FnOnce() -> String) -> Result<(), CliError> {
        match self.format {
            Format::Text => self.text(&text()),
            Format::Json => self.line(&json::line(object)),
        }
    }

    /// Tells a result that has a form for people only, such as a heading.
    pub fn text(&self, text: &str) -> Result<(), CliError> {
        if self.format == Format::Text { self.line(text) } else { Ok(()) }
    }

    /// Whether objects are wanted.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether more is to be told.
    pub fn is_verbose(&self) -> bool {
        self.level == Level::Verbose
    }

    /// Whether bars can be drawn.
    pub fn draws(&self) -> bool {
        self.level > Level::Quiet && self.format == Format::Text && io::stderr().is_terminal()
    }

    /// Something worth knowing.
    pub fn note(&self, text: &str) {
        if self.level > Level::Quiet {
            self.talk(text);
        }
    }

    /// Something for the curious.
    pub fn detail(&self, text: &str) {
        if self.level == Level::Verbose {
            self.talk(text);
        }
    }

    /// Something that wants to be done better.
    pub fn warning(&self, text: &str) {
        self.talk(&format!("warning: {text}"));
    }

    /// Something that the user waits for without seeing why, told by another thread while bars may be drawn.
    pub fn waiting(&self, text: &str) {
        if self.draws() {
            // The line of a bar is not ended.
            let _ = writeln!(io::stderr().lock());
        }
        self.talk(text);
    }

    /// Something that went wrong without ending the command.
    pub fn problem(&self, object: &str, message: &str) {
        self.problems.fetch_add(1, Ordering::SeqCst);
        self.object(&json::Problem { object, message });
        self.talk(&format!("problem: {}", about(object, message)));
    }

    /// How many problems were told.
    pub fn problems(&self) -> u64 {
        self.problems.load(Ordering::SeqCst)
    }

    /// A source that failed while others go on.
    pub fn failed(&self, source: &str, message: &str) {
        self.object(&json::Failed { source, message });
        self.talk(&format!("failed: {source}: {message}"));
    }

    /// The end of the command, if it is an unhappy one.
    pub fn failure(&self, failure: &Failure) {
        let hint = failure.hint.as_deref();
        self.object(&json::Error { code: failure.code.number(), message: &failure.message, hint });
        let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
        self.talk(&format!("error: {}{hint}", failure.message));
    }

    /// Tells something as an object only. That it cannot be told is found by the command's own results.
    fn object<O: Object>(&self, object: &O) {
        if self.format == Format::Json {
            let _ = self.line(&json::line(object));
        }
    }

    fn line(&self, line: &str) -> Result<(), CliError> {
        let written = match self.results {
            Channel::Out => writeln!(io::stdout().lock(), "{line}"),
            Channel::Err => writeln!(io::stderr().lock(), "{line}"),
        };
        written.map_err(|error| told(&error))
    }

    fn talk(&self, text: &str) {
        if self.format == Format::Text || self.results == Channel::Out {
            // If nobody can be told, nobody can be told that.
            let _ = writeln!(io::stderr().lock(), "holdall: {}", plain(text));
        }
    }
}

/// Sends results that are still buffered. Only now it is certain that they arrived.
pub fn flush() -> Result<(), CliError> {
    io::stdout().flush().map_err(|error| told(&error))
}

fn told(error: &io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::NobodyReads,
        _ => CliError::io("standard output", "write to", error),
    }
}

/// Digits of an id in its text form.
const ID_DIGITS: usize = 2 * holdall::id::ID_BYTES;

/// A message with what it is about before it, unless it names that itself.
pub fn about<'m>(object: &str, message: &'m str) -> Cow<'m, str> {
    let id = object.rsplit(['/', ' ']).next().unwrap_or_default();
    if id.len() == ID_DIGITS && message.contains(id) {
        Cow::Borrowed(message)
    } else {
        Cow::Owned(format!("{object}: {message}"))
    }
}

/// Whether a file's name stands for standard input or output.
pub fn is_standard(file: &Path) -> bool {
    file == Path::new("-")
}

/// A text in one line, with its control characters escaped.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        // Writing to a string cannot fail.
        let _ = if character.is_control() {
            write!(line, "{}", character.escape_default())
        } else {
            write!(line, "{character}")
        };
    }
    Cow::Owned(line)
}
