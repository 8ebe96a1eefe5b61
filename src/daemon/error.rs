//! What can go wrong between us and a daemon, as kinds that a command can act on.
//!
//! Every message is one line, names the object and repeats the daemon's own words, bounded and without control
//! characters. The kinds taken from those words serve messages and exit codes only; nothing is decided by them
//! (`reference/daemon-api.md` 1.3: neither HTTP codes nor texts classify reliably).

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::limits::DAEMON_WORDS_BYTES_MAX;

/// A boxed cause, as the HTTP client gives it.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A socket at which no daemon was found, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Where the socket was looked for.
    pub path: PathBuf,
    /// What connecting to it gave.
    pub why: String,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path.display(), self.why)
    }
}

/// A request to the daemon that did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// No daemon listens at any of the places.
    #[error("No LXD or Incus daemon answers; tried {}", list(tried))]
    NoDaemon {
        /// Every place, in the order tried.
        tried: Vec<Tried>,
    },
    /// Daemons of both products listen and nothing says which is meant.
    #[error("More than one daemon answers: {}; name the socket of the one that is meant", paths(sockets))]
    Ambiguous {
        /// The sockets that answer.
        sockets: Vec<PathBuf>,
    },
    /// A daemon's socket is there, but not for this user.
    #[error("No permission to use {}; it takes root or a member of the group {group}", path.display())]
    NoPermission {
        /// The socket.
        path: PathBuf,
        /// The group that may use it.
        group: String,
    },
    /// The object is not there.
    #[error("Not found: {object}{}", after(words))]
    NotFound {
        /// What was asked for.
        object: String,
        /// The daemon's words, or none.
        words: String,
    },
    /// An object of that name is there already.
    #[error("{object} exists already{words}", object = capital(object), words = after(words))]
    NameTaken {
        /// What was to be made.
        object: String,
        /// The daemon's words, or none.
        words: String,
    },
    /// The project's restrictions or the rights of this client forbid it.
    #[error("The daemon does not allow this for {object}: {words}")]
    Restricted {
        /// What was asked for.
        object: String,
        /// The daemon's words.
        words: String,
    },
    /// A disk of the daemon is full.
    #[error("The daemon has no space left for {object}: {words}")]
    NoSpace {
        /// What was to be made.
        object: String,
        /// The daemon's words.
        words: String,
    },
    /// The stream ended before its end.
    #[error("The stream of {object} was cut after {received} bytes{}", after(words))]
    Cut {
        /// What was being read.
        object: String,
        /// Bytes that had come by then.
        received: u64,
        /// The daemon's words about the operation, or none.
        words: String,
        /// What the HTTP client says.
        #[source]
        source: Option<Cause>,
    },
    /// The daemon's operation ended with a failure.
    #[error("The daemon failed at {object}: {words}")]
    OperationFailed {
        /// What it worked on.
        object: String,
        /// The daemon's words.
        words: String,
    },
    /// The daemon forgot the operation before its end was seen, and the object does not tell how it ended.
    #[error("The outcome of the daemon's work on {object} is unknown: the daemon no longer knows the operation")]
    OperationLost {
        /// What it worked on.
        object: String,
    },
    /// Somebody else changed the object in between.
    #[error("{object} was changed by somebody else in the meantime: {words}", object = capital(object))]
    Changed {
        /// What was to be changed.
        object: String,
        /// The daemon's words.
        words: String,
    },
    /// The daemon does not offer what the request insists on.
    #[error("The daemon does not offer {what} for {object}")]
    NotOffered {
        /// What is missing.
        what: &'static str,
        /// What it was wanted for.
        object: String,
    },
    /// The daemon refused, for a reason that is none of the above.
    #[error("The daemon refused the request for {object} (code {status}): {words}")]
    Refused {
        /// What was asked for.
        object: String,
        /// The code in the envelope, or else of the reply.
        status: u16,
        /// The daemon's words.
        words: String,
    },
    /// A name that cannot stand in a request.
    #[error("{name:?} cannot be {what}")]
    BadName {
        /// The name.
        name: String,
        /// What it should name.
        what: &'static str,
    },
    /// The answer is not what the interface promises.
    #[error("The daemon's answer about {object} makes no sense: {problem}")]
    Protocol {
        /// What was asked for.
        object: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The answer is larger than we read.
    #[error("The daemon's answer about {object} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// What was asked for.
        object: String,
        /// The limit in bytes.
        limit_bytes: usize,
    },
    /// The daemon said nothing for too long.
    #[error("The daemon did not answer about {object} for {seconds} seconds")]
    Silent {
        /// What was asked for.
        object: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The user wants to stop.
    #[error("Stopped on request while working on {object}")]
    Stopped {
        /// What was being worked on.
        object: String,
    },
    /// What was to be uploaded could not be read; the upload was broken off and the daemon discards it.
    #[error("The stream to import as {object} could not be read; the import was broken off")]
    Input {
        /// What was to be made.
        object: String,
        /// The reader's error.
        #[source]
        source: io::Error,
    },
    /// Talking to the daemon failed.
    #[error("Talking to the daemon about {object} failed")]
    Io {
        /// What was asked for.
        object: String,
        /// What the HTTP client or the operating system says.
        #[source]
        source: Cause,
    },
}

impl DaemonError {
    /// Whether no other question to the daemon would fare better.
    pub(super) fn concerns_the_daemon(&self) -> bool {
        matches!(self, Self::Stopped { .. } | Self::NoDaemon { .. } | Self::NoPermission { .. })
    }

    /// The daemon's own words, where it refused or failed for a reason of its own.
    pub fn words(&self) -> Option<&str> {
        match self {
            Self::OperationFailed { words, .. } | Self::Refused { words, .. } => Some(words),
            _ => None,
        }
    }

    /// The error that a reader of an [`Export`](super::Export) met: the one that the export put into `error`, or
    /// `error` itself about `object`.
    pub fn from_read(error: io::Error, object: &str) -> Self {
        match error.downcast::<Self>() {
            Ok(inner) => inner,
            Err(error) => Self::Io { object: object.to_owned(), source: error.into() },
        }
    }

    /// An `io::Error` that carries this error, for [`std::io::Read`]; [`Self::from_read`] takes it out again.
    pub(super) fn into_io(self) -> io::Error {
        let kind = match self {
            Self::Stopped { .. } => io::ErrorKind::Other,
            _ => io::ErrorKind::UnexpectedEof,
        };
        io::Error::new(kind, self)
    }

    /// What a refusal means, from its code and words.
    pub(super) fn refusal(object: &str, status: u16, words: &str) -> Self {
        let object = object.to_owned();
        let lower = words.to_lowercase();
        let says = |texts: &[&str]| texts.iter().any(|text| lower.contains(text));
        let words = tame(words);
        if says(&["no space left", "disk quota exceeded"]) {
            Self::NoSpace { object, words }
        } else if status == 403 || says(&["doesn't allow for", "certificate is restricted", "project is restricted"]) {
            Self::Restricted { object, words }
        } else if says(&["already exists", "already in use", "unique constraint failed", "seems to exist on"]) {
            Self::NameTaken { object, words }
        } else if status == 412 {
            Self::Changed { object, words }
        } else if status == 404 || lower.ends_with("project not found") {
            Self::NotFound { object, words }
        } else {
            Self::Refused { object, status, words }
        }
    }

    /// The same error about another object, where a request concerns two.
    pub(super) fn name_taken_by(self, other: String) -> Self {
        match self {
            Self::NameTaken { words, .. } => Self::NameTaken { object: other, words },
            error => error,
        }
    }

    /// What the failure of an operation means, from its words.
    pub(super) fn failure(object: &str, words: &str) -> Self {
        match Self::refusal(object, 0, words) {
            Self::NotFound { object, words } | Self::Refused { object, words, .. } => {
                Self::OperationFailed { object, words }
            }
            other => other,
        }
    }
}

/// The daemon's words on one line, bounded, without control characters: they go to terminals and logs.
pub(super) fn tame(words: &str) -> String {
    let mut text = String::new();
    for part in words.split(|c: char| c.is_whitespace() || c.is_control()).filter(|part| !part.is_empty()) {
        if !text.is_empty() {
            text.push(' ');
        }
        for c in part.chars() {
            if text.len() >= DAEMON_WORDS_BYTES_MAX {
                text.push_str("...");
                return text;
            }
            text.push(c);
        }
    }
    text
}

fn list(tried: &[Tried]) -> String {
    tried.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn paths(sockets: &[PathBuf]) -> String {
    sockets.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn after(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

fn capital(object: &str) -> String {
    let mut chars = object.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
