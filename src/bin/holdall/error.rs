//! What ends the program: one line with object, cause and next step, and an exit code.
//!
//! The library says what happened; here is decided what that means for the caller and what to do next. The codes are a
//! promise: scripts rely on them, the README lists them, and a test compares the two.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;
use std::io;

use holdall::backup::{BackupError, IdentityError, ImportError, Rejection, StreamError};
use holdall::browse::{BrowseError, DiffError, ExtractError};
use holdall::crypto::{KeyFileError, OpenProblem, PassphraseError, SealSlotError, SlotError, SlotProblem};
use holdall::forget::PinnedError;
use holdall::index::IndexError;
use holdall::prune::PruneError;
use holdall::repo::{FindError, KeyringError, RepoError};
use holdall::restore::{DescriptionError, ExportError, FetchError, Lack, RestoreError};
use holdall::store::{Operation, StoreError, StoreErrorKind};

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Success = 0,
    Failed = 1,
    Usage = 2,
    Problems = 3,
    Damage = 4,
    NoRepository = 5,
    NoKey = 6,
    CannotRead = 7,
    NoSuch = 8,
    Daemon = 9,
    Taken = 10,
    NoSpace = 11,
    NewerFormat = 12,
    Store = 13,
    Interrupted = 130,
}

impl Code {
    const ALL: [Self; 15] = [
        Self::Success,
        Self::Failed,
        Self::Usage,
        Self::Problems,
        Self::Damage,
        Self::NoRepository,
        Self::NoKey,
        Self::CannotRead,
        Self::NoSuch,
        Self::Daemon,
        Self::Taken,
        Self::NoSpace,
        Self::NewerFormat,
        Self::Store,
        Self::Interrupted,
    ];

    /// The code as the shell sees it.
    pub const fn number(self) -> u8 {
        self as u8
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed, for a reason that has no code of its own",
            Self::Usage => "wrong usage or settings; nothing was done",
            Self::Problems => "finished, but with problems: some sources failed or are late, or redundancy is lost",
            Self::Damage => "the repository is damaged",
            Self::NoRepository => "there is no repository at that place",
            Self::NoKey => "wrong key, or no key was given",
            Self::CannotRead => "this key can back up but not read",
            Self::NoSuch => "no such point, source or key, or more than one fits",
            Self::Daemon => "the daemon does not answer or does not permit it",
            Self::Taken => "refused because a name is taken, something is missing or pinned; nothing was changed",
            Self::NoSpace => "no space left",
            Self::NewerFormat => "the repository is of a newer format than this program knows",
            Self::Store => "the repository's storage does not answer or does not permit it",
            Self::Interrupted => "interrupted",
        }
    }

    /// All codes with their meaning, for the help.
    pub fn table() -> String {
        let mut text = "Exit codes:".to_owned();
        for code in Self::ALL {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  {:>3}  {}", code.number(), code.meaning());
        }
        text
    }
}

/// Why a command ends before its time.
#[derive(Debug)]
pub enum CliError {
    /// Nobody reads the results any more, as in `holdall list | head`: nothing went wrong.
    NobodyReads,
    /// Something did.
    Failure(Box<Failure>),
}

/// A failure as it is told.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// Object and cause.
    pub message: String,
    /// The next step.
    pub hint: Option<Cow<'static, str>>,
}

impl CliError {
    /// A failure without advice.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self::Failure(Box::new(Failure { code, message: message.into(), hint: None }))
    }

    /// A failure to read or write something that is not the repository.
    pub fn io(object: impl std::fmt::Display, doing: &str, error: &io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::NoSpace,
            io::ErrorKind::AlreadyExists => Code::Taken,
            _ => Code::Failed,
        };
        Self::new(code, format!("Cannot {doing} {object}: {}", begin_small(&without_number(&error.to_string()))))
    }

    /// Adds the next step.
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        if let Self::Failure(failure) = &mut self {
            failure.hint = Some(hint.into());
        }
        self
    }

    /// Puts another next step in place if the failure is of this sort.
    pub fn hint_for(self, code: Code, hint: &'static str) -> Self {
        match self {
            Self::Failure(failure) if failure.code == code => Self::Failure(failure).hint(hint),
            other => other,
        }
    }

    /// Gives the failure another code.
    pub fn code(mut self, code: Code) -> Self {
        if let Self::Failure(failure) = &mut self {
            failure.code = code;
        }
        self
    }

    /// Says before the cause what could not be done because of it.
    pub fn because(mut self, what: &str) -> Self {
        if let Self::Failure(failure) = &mut self {
            failure.message = format!("{what}: {}", begin_small(&failure.message));
        }
        self
    }

    /// The user asked to stop.
    pub fn stopped() -> Self {
        Self::new(Code::Interrupted, "Stopped on request")
    }
}

/// What was typed cannot be understood: the parser's words in one line, without its usage.
pub fn usage(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let paragraphs = text.split("\n\n").map(str::trim);
    let said = paragraphs.filter(|part| !part.starts_with("Usage:") && !part.starts_with("For more information"));
    let lines = said.map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let message = lines.collect::<Vec<_>>().join("; ");
    let message = message.strip_prefix("error: ").unwrap_or(&message).trim_end_matches(';').to_owned();
    Failure { code: Code::Usage, message, hint: Some("see --help".into()) }
}

/// An error and its sources in one line, each where it adds something.
pub fn one_line(error: &dyn Error) -> String {
    let mut line = without_number(&error.to_string());
    let mut source = error.source();
    while let Some(cause) = source {
        let said = without_number(&cause.to_string());
        // Some errors say themselves what their source says; then its last clause stands there already.
        let last = said.rsplit(": ").next().unwrap_or_default();
        if !line.to_lowercase().contains(&last.to_lowercase()) {
            line = format!("{line}: {}", begin_small(&said));
        }
        source = cause.source();
    }
    line
}

/// A message without the operating system's number, which helps nobody who has its words.
fn without_number(text: &str) -> String {
    match text.rsplit_once(" (os error ") {
        Some((words, number)) if number.ends_with(')') => words.to_owned(),
        _ => text.to_owned(),
    }
}

/// A message in the middle of a line: its first letter is small, unless the word is an abbreviation or a name.
fn begin_small(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_ascii_uppercase() && !second.is_ascii_uppercase() => {
            format!("{}{}", first.to_ascii_lowercase(), text.get(1..).unwrap_or_default())
        }
        _ => text.to_owned(),
    }
}

const ASK_CHECK: &str = "`holdall check --read-data` tells which points are affected; do not delete anything before";

const GO_AROUND: &str =
    "`--around-holes` gets what is left of it; `holdall check --read-data` tells what else is affected";

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        use StoreErrorKind as Kind;
        let line = match error.kind {
            Kind::Io | Kind::NoRandom | Kind::Unreachable => one_line(&error),
            _ => error.to_string(),
        };
        let opening = error.operation == Operation::Open;
        let (code, hint) = match error.kind {
            Kind::NotFound | Kind::DirectoryMissing | Kind::NotADirectory if opening => {
                (Code::NoRepository, "check the path, and that it is mounted; `holdall init` makes a new repository")
            }
            Kind::DirectoryMissing if error.operation == Operation::Create => {
                (Code::Failed, "make the directory above it first")
            }
            Kind::NotADirectory if error.operation == Operation::Create => (Code::Taken, "choose another path"),
            Kind::NotEmpty { .. } => (Code::Taken, "choose an empty directory or a new name"),
            Kind::PermissionDenied => (Code::Store, "run it as the user that the repository belongs to"),
            Kind::ReadOnly => (Code::Store, "mount it for writing; reading works as it is"),
            Kind::NoSpace => {
                (Code::NoSpace, "make room there and run it again; what was stored before is not affected")
            }
            Kind::StoreGone | Kind::Stale | Kind::Unreachable => {
                (Code::Store, "look at the mount and at its server, then run it again")
            }
            Kind::Untrusted => (Code::Store, "look at the disk and at the kernel's log, then run it again"),
            Kind::Unsupported => (Code::Failed, "choose a directory on another file system"),
            Kind::Io => (Code::Failed, "look at the kernel's log: the disk may be failing"),
            Kind::DirectoryMissing | Kind::NotADirectory => {
                (Code::Damage, "a part of the repository is gone: look at the mount, or put it back from a copy")
            }
            Kind::NotFound | Kind::NotAnObject | Kind::TooLarge { .. } | Kind::Truncated { .. } => {
                (Code::Damage, ASK_CHECK)
            }
            _ => return Self::new(Code::Failed, line),
        };
        Self::new(code, line).hint(hint)
    }
}

/// What keeps a point from coming back whole.
fn of_lost_content(error: RepoError) -> CliError {
    let is_lost = error.is_damage() || matches!(error, RepoError::MissingChunk { .. });
    let error = CliError::from(error);
    if is_lost { error.hint(GO_AROUND) } else { error }
}

impl From<RepoError> for CliError {
    fn from(error: RepoError) -> Self {
        let line = one_line(&error);
        match error {
            RepoError::Store(error) => error.into(),
            RepoError::Keyring(error) => error.into(),
            RepoError::MadeMeanwhile { .. } => Self::new(Code::Taken, line).hint("run it again"),
            RepoError::NotARepository { .. } => Self::new(Code::NoRepository, line)
                .hint("check the path, and that it is mounted; `holdall init` makes a new repository"),
            RepoError::NewerFormat { .. } => Self::new(Code::NewerFormat, line).hint("use a newer holdall"),
            RepoError::CannotRead => Self::new(Code::CannotRead, line).hint("use a key that was added without it"),
            RepoError::Gone { .. } => Self::new(Code::Damage, line)
                .hint("run it again; if it stays so, `holdall check` tells what is missing"),
            RepoError::Damaged { .. }
            | RepoError::DamagedFrame { .. }
            | RepoError::WrongChunk { .. }
            | RepoError::MissingChunk { .. }
            | RepoError::BadRecipe { .. }
            | RepoError::WrongPart { .. } => Self::new(Code::Damage, line).hint(ASK_CHECK),
            RepoError::Index(IndexError::Failed { .. } | IndexError::Unusable { .. }) => Self::new(Code::Failed, line)
                .hint("the index is a cache: make room for it, delete it, or name another place with --cache-dir"),
            _ => Self::new(Code::Failed, line),
        }
    }
}

impl From<KeyringError> for CliError {
    fn from(error: KeyringError) -> Self {
        let line = one_line(&error);
        match error {
            KeyringError::WrongKey { .. } => {
                Self::new(Code::NoKey, line).hint("give another key; `holdall --help` lists the ways")
            }
            KeyringError::Slot(error) => error.into(),
            KeyringError::Seal(SealSlotError::LabelTooLong { .. }) => Self::new(Code::Usage, line),
            KeyringError::Seal(_) => Self::new(Code::Failed, line),
            KeyringError::NoSuchSlot { .. } => Self::new(Code::NoSuch, line).hint("`holdall key list` shows all"),
            KeyringError::AmbiguousSlot { .. } => Self::new(Code::NoSuch, line).hint("give more digits"),
            KeyringError::LastSlot { .. } => Self::new(Code::Taken, line).hint("add another key first"),
        }
    }
}

impl From<SlotError> for CliError {
    fn from(error: SlotError) -> Self {
        let line = error.to_string();
        match error.problem {
            SlotProblem::Object(OpenProblem::NewerVersion(_)) => {
                Self::new(Code::NewerFormat, line).hint("use a newer holdall")
            }
            SlotProblem::Object(_) | SlotProblem::Forged | SlotProblem::TooExpensive { .. } => {
                Self::new(Code::Damage, line).hint("another key, if there is one, still opens the repository")
            }
            SlotProblem::Memory { .. } => Self::new(Code::Failed, line).hint("use a machine with more memory"),
            SlotProblem::WrongKey | SlotProblem::OtherKind(_) => Self::new(Code::NoKey, line),
        }
    }
}

impl From<FindError> for CliError {
    fn from(error: FindError) -> Self {
        let hint = match error {
            FindError::NoSuchSource { .. } | FindError::NoSuchPoint { .. } => "`holdall list` shows what there is",
            FindError::NothingThen { .. } => "`holdall list` shows its points with their times",
            FindError::AmbiguousSource { .. } | FindError::AmbiguousPrefix { .. } => {
                return Self::new(Code::NoSuch, error.to_string());
            }
        };
        Self::new(Code::NoSuch, error.to_string()).hint(hint)
    }
}

impl From<PinnedError> for CliError {
    fn from(error: PinnedError) -> Self {
        let hint = format!("nothing was forgotten; `holdall unpin {}` lets it go", error.id.short());
        Self::new(Code::Taken, error.to_string()).hint(hint)
    }
}

impl From<ImportError> for CliError {
    fn from(error: ImportError) -> Self {
        let line = one_line(&error);
        let what = error.to_string();
        match error {
            ImportError::Rejected { reason: Rejection::Cut { .. } | Rejection::NoEnd { .. }, .. } => {
                Self::new(Code::Failed, line).hint("no point was made; export it again")
            }
            ImportError::Rejected { .. } => Self::new(Code::Failed, line)
                .hint("no point was made; --as file:NAME stores any file as it is, but it cannot be restored then"),
            ImportError::OtherKind { .. } => {
                Self::new(Code::Usage, line).hint("leave --as out, and it becomes what the export says of itself")
            }
            ImportError::Stream { source: StreamError::Stopped, .. } => Self::stopped().hint("no point was made"),
            ImportError::Stream { source: StreamError::Store(error), .. } => Self::from(error).because(&what),
            ImportError::Stream { source: StreamError::Read { .. }, .. } => {
                Self::new(Code::Failed, line).hint("no point was made; the file may be cut off or damaged")
            }
            ImportError::Repository(error) => error.into(),
        }
    }
}

impl From<ExportError> for CliError {
    fn from(error: ExportError) -> Self {
        let (line, what) = (one_line(&error), error.to_string());
        match error.source {
            FetchError::Repository(error) => of_lost_content(error).because(&what),
            FetchError::Write { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::new(Code::NoSpace, line),
                io::ErrorKind::BrokenPipe => {
                    Self::new(Code::Failed, line).hint("whatever reads standard output ended before the point did")
                }
                _ => Self::new(Code::Failed, line),
            },
            FetchError::WrongDigest { .. } => Self::new(Code::Damage, line)
                .hint("this should not be possible: please report it, and keep the repository as it is"),
            FetchError::Rewrite(_) => Self::new(Code::Failed, line),
            FetchError::Stopped => Self::stopped().hint("nothing was left behind"),
        }
    }
}

impl From<BrowseError> for CliError {
    fn from(error: BrowseError) -> Self {
        let line = one_line(&error);
        match error {
            BrowseError::Repository(error) => error.into(),
            BrowseError::Optimized { .. } => Self::new(Code::NoSuch, line)
                .hint("--raw shows the streams; restore it into a pool of the same driver to get at its files"),
            BrowseError::NoSnapshots { .. } | BrowseError::BadPath { .. } => Self::new(Code::Usage, line),
            BrowseError::NoSuchPath { .. } => {
                Self::new(Code::NoSuch, line).hint("`holdall ls` shows what there is, with --raw all of the archive")
            }
            BrowseError::NotAnArchive { .. } => {
                Self::new(Code::NoSuch, line).hint("`holdall export` writes it as it was given")
            }
            BrowseError::Stopped => Self::stopped(),
        }
    }
}

impl From<DiffError> for CliError {
    fn from(error: DiffError) -> Self {
        let line = one_line(&error);
        match error {
            DiffError::Browse(error) => error.into(),
            DiffError::Unordered { .. } => {
                Self::new(Code::Failed, line).hint("extract both and compare the directories")
            }
        }
    }
}

impl From<ExtractError> for CliError {
    fn from(error: ExtractError) -> Self {
        let line = one_line(&error);
        match error {
            ExtractError::Browse(BrowseError::Stopped) => Self::stopped().hint("what was extracted before is whole"),
            ExtractError::Browse(error) => error.into(),
            ExtractError::Directory { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Self::new(Code::NoSpace, line).hint("what was extracted before is whole")
                }
                io::ErrorKind::NotFound => Self::new(Code::Taken, line).hint("make the directory above it first"),
                io::ErrorKind::NotADirectory => Self::new(Code::Taken, line).hint("choose a directory"),
                _ => Self::new(Code::Failed, line),
            },
        }
    }
}

impl From<BackupError> for CliError {
    fn from(error: BackupError) -> Self {
        let line = one_line(&error);
        match error {
            BackupError::Daemon(error) => error.into(),
            BackupError::Repository(error) | BackupError::Identity(IdentityError::Repository(error)) => error.into(),
            BackupError::Identity(IdentityError::OtherFingerprint { .. }) => Self::new(Code::Taken, line).hint(
                "give this server another name with --server-name, or use --adopt if it is the same, installed anew",
            ),
            BackupError::Identity(IdentityError::Nameless | IdentityError::BadName { .. }) => {
                Self::new(Code::Usage, line).hint("give it one with --server-name")
            }
            BackupError::Untrusted => Self::new(Code::Daemon, line),
            BackupError::Unsupported { .. } => Self::new(Code::Usage, line)
                .hint("backups are made of instances, custom volumes, buckets and images; see `holdall backup --help`"),
            BackupError::OtherServer { .. } => {
                Self::new(Code::NoSuch, line).hint("name its socket with --server SOCKET, or leave the server out")
            }
        }
    }
}

impl From<RestoreError> for CliError {
    fn from(error: RestoreError) -> Self {
        let (line, what) = (one_line(&error), error.to_string());
        match error {
            RestoreError::Daemon(error) => error.into(),
            RestoreError::Upload { source, .. } | RestoreError::Swap { source, .. } => {
                Self::from(source).because(&what)
            }
            RestoreError::Fetch { source: FetchError::Repository(error), .. } => of_lost_content(error).because(&what),
            RestoreError::Fetch { source: FetchError::WrongDigest { .. }, .. } => Self::new(Code::Damage, line)
                .hint("this should not be possible: please report it, and keep the repository as it is"),
            RestoreError::Fetch { source: FetchError::Stopped, .. } => {
                Self::stopped().hint("the upload was broken off; nothing was left on the daemon")
            }
            RestoreError::Fetch { .. } | RestoreError::Random(_) => Self::new(Code::Failed, line),
            RestoreError::Identity { .. } => Self::new(Code::Problems, line),
            RestoreError::NotImportable { .. } => {
                Self::new(Code::Usage, line).hint("write it to a file with `holdall export`")
            }
            RestoreError::NotForImages { .. } => Self::new(Code::Usage, line),
            RestoreError::PlacedByDaemon { .. } => {
                Self::new(Code::Usage, line).hint("run `holdall restore` on that member, without --member")
            }
            RestoreError::NameTaken { object } if object.starts_with("Image ") => {
                Self::new(Code::Taken, line).hint("it has the same bytes as this one; there is nothing to restore")
            }
            RestoreError::NameTaken { .. } => {
                Self::new(Code::Taken, line).hint("restore under another name with --as NAME")
            }
            RestoreError::Missing { missing, .. } => {
                let hint = match ways(&missing) {
                    ways if ways.is_empty() => "set that up there first".to_owned(),
                    ways => format!("make it there first, or use {ways}"),
                };
                Self::new(Code::Taken, line).hint(hint)
            }
            RestoreError::Index { source: DescriptionError::NoSnapshot { .. }, .. } => {
                Self::new(Code::NoSuch, line).hint("`holdall show POINT` lists the snapshots in a point")
            }
            RestoreError::NoDevice { .. } => {
                Self::new(Code::NoSuch, line).hint("`holdall show POINT` tells what is known of it")
            }
            RestoreError::Index { .. } | RestoreError::Fixed { .. } => {
                Self::new(Code::Failed, line).hint("`holdall export` gives the file as the daemon made it")
            }
            RestoreError::NotForVolumes { .. } => Self::new(Code::Usage, line).hint("see `holdall restore --help`"),
            RestoreError::IndexTooLarge { .. } => {
                Self::new(Code::Failed, line).hint("leave the daemon's snapshots out with --no-snapshots")
            }
            RestoreError::NotReplaceable { .. } => {
                Self::new(Code::Taken, line).hint("change that first, or restore under another name with --as NAME")
            }
            RestoreError::Interrupted { .. } => Self::new(Code::Taken, line)
                .hint("restore with --replace, which puts that in order first, or rename them by hand"),
            RestoreError::Unfinished { .. } => {
                Self::new(Code::Problems, line).hint("the next restore with --replace brings it to its end first")
            }
            RestoreError::NoRoom { .. } => Self::new(Code::NoSpace, line),
        }
    }
}

impl From<PruneError> for CliError {
    fn from(error: PruneError) -> Self {
        let line = one_line(&error);
        match error {
            PruneError::Repository(error) => error.into(),
            PruneError::UnknownUse { .. } => Self::new(Code::Damage, line).hint(
                "a backup of the same content heals it, and `holdall repair` mends what can be mended; only if neither \
                 helps, `holdall repair --give-up-lost-pieces` lets prunes delete what the lost recipes named",
            ),
            PruneError::UnreadableCondemned { .. } => Self::new(Code::Damage, line)
                .hint("make sure that no prune runs on any host, then run `holdall repair`"),
        }
    }
}

/// The options that do without what is missing.
fn ways(missing: &[Lack]) -> String {
    let ways = missing.iter().filter_map(|lack| match lack {
        Lack::Project(_) => Some("--project NAME".to_owned()),
        Lack::Pool(name) => Some(format!("--map-pool {name}=NAME")),
        Lack::Member(_) => Some("--member NAME".to_owned()),
        Lack::Driver { .. } => Some("--pool NAME".to_owned()),
        Lack::Profile(name) => Some(format!("--map-profile {name}=NAME")),
        Lack::Network(name) => Some(format!("--map-network {name}=NAME")),
        Lack::Volume { device, .. } => Some(format!("--without-device {device}")),
        Lack::Buckets { .. } | Lack::BucketsAddress => None,
    });
    let mut told: Vec<String> = Vec::new();
    for way in ways {
        if !told.contains(&way) {
            told.push(way);
        }
    }
    told.join(" ")
}

impl From<PassphraseError> for CliError {
    fn from(error: PassphraseError) -> Self {
        Self::new(Code::NoKey, error.to_string())
    }
}

impl From<KeyFileError> for CliError {
    fn from(error: KeyFileError) -> Self {
        Self::new(Code::NoKey, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_listed_once_and_in_order() {
        let numbers = Code::ALL.map(Code::number);
        assert!(numbers.is_sorted_by(|a, b| a < b));
        assert_eq!(Code::table().lines().count(), 1 + numbers.len());
    }

    #[test]
    fn a_source_is_said_where_it_adds_something() {
        let cause = io::Error::from_raw_os_error(5);
        let error = FetchError::Write { written: 7, source: cause };
        assert_eq!(one_line(&error), "The stream cannot be written on after 7 bytes: input/output error");
        let error = StoreError::from_io("/r", Operation::Open, io::Error::from_raw_os_error(13));
        assert_eq!(one_line(&error), "Cannot open the store /r: permission denied");
    }

    #[test]
    fn a_name_in_capitals_keeps_them() {
        assert_eq!(begin_small("BLAKE3 differs"), "BLAKE3 differs");
        assert_eq!(begin_small("It broke"), "it broke");
        assert_eq!(begin_small(""), "");
    }
}
