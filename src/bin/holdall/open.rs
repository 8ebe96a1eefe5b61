//! Opening the repository: find it, get the key, unlock, and bring the index up to date.
//!
//! Whether there is a repository, and what opens it, is known before anybody is asked for a passphrase. A passphrase is
//! never taken from the command line, and never empty.

use std::fs::{self, DirBuilder, File};
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use holdall::crypto::{KeyFile, Passphrase, Unlock};
use holdall::limits::{KEY_FILE_BYTES_MAX, PASSPHRASE_BYTES_MAX};
use holdall::repo::{IndexPlace, KeyringError, Locks, Refreshed, RepoError, Repository};
use holdall::store::{FileSystem, Operation, Store};
use zeroize::Zeroizing;

use crate::config::{KeySource, Settings};
use crate::error::{CliError, Code};
use crate::interrupt;
use crate::output::Output;
use crate::table::count;
use crate::waiting;

/// How often a mistyped passphrase may be typed again.
const ATTEMPTS_MAX: usize = 3;

/// The next step where a repository cannot even be opened.
const WITHOUT_IT: &str = "nothing opens without it: put it back from a copy of the repository, and delete nothing";

/// A key as it was given.
pub enum Key {
    Passphrase(Passphrase),
    KeyFile(KeyFile),
}

impl Key {
    /// What is tried on key slots.
    pub fn unlock(&self) -> Unlock<'_> {
        match self {
            Self::Passphrase(passphrase) => Unlock::Passphrase(passphrase),
            Self::KeyFile(file) => Unlock::KeyFile(file),
        }
    }
}

/// Opens the repository that the settings name.
pub fn open(settings: &Settings, output: &Output) -> Result<Repository, CliError> {
    Ok(tell_damaged(open_untold(settings, output)?, output))
}

/// Tells which segments cannot be read.
pub fn tell_damaged((repository, refreshed): (Repository, Refreshed), output: &Output) -> Repository {
    for (segment, reason) in refreshed.damaged {
        output.problem(&format!("Index segment {segment}"), &reason);
    }
    repository
}

/// The same for a command that finds damage itself.
pub fn open_untold(settings: &Settings, output: &Output) -> Result<(Repository, Refreshed), CliError> {
    let unlocked = unlock(settings, output).map_err(|error| error.hint_for(Code::Damage, WITHOUT_IT));
    unlocked.map(|(opened, _)| opened)
}

/// The same for a command that adds to the repository or deletes from it. A mount that shows older listings than the
/// repository counts with could make a prune elsewhere delete what is written here (`format-spec/concurrency.md`,
/// "Bounded staleness").
pub fn open_to_write(settings: &Settings, output: &Output) -> Result<(Repository, Refreshed), CliError> {
    open_to_mend(settings, output).map(|(opened, _)| opened)
}

/// The same for a command that stores key slots anew, with the key that opened it.
pub fn open_to_mend(settings: &Settings, output: &Output) -> Result<Unlocked, CliError> {
    let unlocked = unlock(settings, output).map_err(|error| error.hint_for(Code::Damage, WITHOUT_IT))?;
    let ((repository, _), _) = &unlocked;
    refuse_older_listings(repository, settings)?;
    Ok(unlocked)
}

fn refuse_older_listings(repository: &Repository, settings: &Settings) -> Result<(), CliError> {
    let path = settings.repository()?;
    let (mount, agreed) =
        (waiting::capacity(&waiting::open_store(&path)?)?.file_system, repository.config().settle_seconds);
    let FileSystem::Nfs { .. } = mount else { return Ok(()) };
    let seconds = mount.listing_seconds();
    if seconds <= agreed {
        return Ok(());
    }
    let message = format!(
        "{} is mounted so that listings may be {seconds} s old, and the repository counts with {agreed} s",
        path.display()
    );
    let hint =
        format!("mount it with acdirmax={agreed}, or run `holdall repair --settle {seconds}` on a host that may write");
    Err(CliError::new(Code::Store, message).hint(hint))
}

/// Says so if packs were read that parity had to repair: what came out is right, and the disk is not.
pub fn tell_mended(repository: &Repository, output: &Output) {
    let mended = repository.mended_packs().len() as u64;
    if mended > 0 {
        let packs = count(mended, "damaged pack");
        output.warning(&format!("{packs} could be read with the help of parity alone: run holdall check --read-data"));
    }
}

/// What was opened, and the key that did it.
pub type Unlocked = ((Repository, Refreshed), Key);

fn unlock(settings: &Settings, output: &Output) -> Result<Unlocked, CliError> {
    let path = settings.repository()?;
    let store: Arc<dyn Store> = Arc::new(waiting::open_store(&path)?);
    let locks = Locks::of(&*store)?;
    let cache = usable_cache(settings, output);
    let place = cache.as_deref().map_or(IndexPlace::Memory, IndexPlace::Directory);
    let ((repository, refreshed), key) = match &settings.key {
        Some(source) => {
            let key = read_key(source, output)?;
            let opened = Repository::open(store, key.unlock(), place);
            (opened.map_err(|error| explain_other_kind(error, &key, locks))?, key)
        }
        None => open_by_asking(&store, locks, &path, place, output)?,
    };
    output.detail(&format!(
        "Repository {} is open; {} new here",
        repository.id().short(),
        count(refreshed.absorbed as u64, "index segment")
    ));
    Ok(((repository, refreshed), key))
}

/// A key file where only passphrases open, or the other way round, is the wrong kind and not the wrong key.
fn explain_other_kind(error: RepoError, key: &Key, locks: Locks) -> CliError {
    let wrong_key = matches!(error, RepoError::Keyring(KeyringError::WrongKey { .. }));
    let error = CliError::from(error);
    match key {
        Key::KeyFile(_) if wrong_key && locks.key_files == 0 => error.hint("it opens with a passphrase"),
        Key::Passphrase(_) if wrong_key && locks.passphrases == 0 => error.hint("it opens with a key file"),
        _ => error,
    }
}

fn open_by_asking(
    store: &Arc<dyn Store>,
    locks: Locks,
    path: &Path,
    place: IndexPlace<'_>,
    output: &Output,
) -> Result<Unlocked, CliError> {
    if locks.passphrases == 0 {
        return Err(CliError::new(
            Code::NoKey,
            format!("{} opens with a key file, and none was given", path.display()),
        )
        .hint("give --key-file FILE or set HOLDALL_KEY_FILE"));
    }
    let mut attempt = 1;
    loop {
        let mut typed = ask(&format!("Passphrase for {}: ", path.display()))?;
        let passphrase = Passphrase::new(std::mem::take(&mut *typed))?;
        match Repository::open(Arc::clone(store), Unlock::Passphrase(&passphrase), place) {
            Err(RepoError::Keyring(KeyringError::WrongKey { .. })) if attempt < ATTEMPTS_MAX => {
                output.warning("That is not it; once more");
                attempt += 1;
            }
            other => return Ok((other?, Key::Passphrase(passphrase))),
        }
    }
}

/// Makes sure that somebody can be asked; the hint says what to do where nobody can.
pub fn require_terminal(hint: &'static str) -> Result<(), CliError> {
    if io::stdin().is_terminal() || io::stderr().is_terminal() {
        return Ok(());
    }
    Err(CliError::new(Code::NoKey, "No key was given, and there is no terminal to ask for a passphrase").hint(hint))
}

/// Asks for a passphrase on the terminal.
pub fn ask(prompt: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    require_terminal("give --key-file or --password-file, or set HOLDALL_KEY_FILE or HOLDALL_PASSWORD_FILE")?;
    let undone = interrupt::restores_terminal();
    let typed = rpassword::prompt_password(prompt);
    drop(undone);
    let typed =
        typed.map_err(|error| CliError::io("the terminal", "read a passphrase from", &error).code(Code::NoKey))?;
    Ok(Zeroizing::new(typed.into_bytes()))
}

/// Reads a key from where it was said to be.
pub fn read_key(source: &KeySource, output: &Output) -> Result<Key, CliError> {
    match source {
        KeySource::KeyFile(path) => {
            let contents = read_secret(path, "key file", KEY_FILE_BYTES_MAX, output)?;
            KeyFile::parse(&contents).map(Key::KeyFile).map_err(|error| {
                CliError::from(error).hint(format!("look at {}: is it the right file?", path.display()))
            })
        }
        KeySource::PasswordFile(path) => {
            let contents = read_secret(path, "password file", PASSPHRASE_BYTES_MAX + 2, output)?;
            one_passphrase(contents, &path.display().to_string())
        }
        KeySource::PasswordFd(number) => {
            let path = PathBuf::from(format!("/proc/self/fd/{number}"));
            let what = format!("file descriptor {number}");
            let contents = File::open(path)
                .and_then(|file| read_at_most(file, PASSPHRASE_BYTES_MAX + 2))
                .map_err(|error| CliError::io(&what, "read a passphrase from", &error).code(Code::NoKey))?;
            one_passphrase(contents, &what)
        }
        KeySource::PasswordCommand(command) => one_passphrase(run(command)?, "what the password command printed"),
    }
}

fn read_secret(path: &Path, what: &str, bytes_max: usize, output: &Output) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let failed = |error: &io::Error| CliError::io(path.display(), &format!("read the {what}"), error).code(Code::NoKey);
    let file = File::open(path).map_err(|error| failed(&error))?;
    if let Ok(status) = file.metadata() {
        const FOR_ALL: u32 = 0o004;
        if status.is_file() && status.permissions().mode() & FOR_ALL != 0 {
            output.warning(&format!("Everybody on this host can read the {what} {0}: chmod 600 {0}", path.display()));
        }
    }
    read_at_most(file, bytes_max).map_err(|error| failed(&error))
}

/// Reads one byte more than the limit, so that what is too long is refused and not cut.
fn read_at_most(file: File, bytes_max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 1));
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A passphrase is one line; what ends it does not belong to it.
fn one_passphrase(mut bytes: Zeroizing<Vec<u8>>, what: &str) -> Result<Key, CliError> {
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    if bytes.contains(&b'\n') {
        return Err(CliError::new(Code::NoKey, format!("A passphrase is one line, and {what} is more than one")));
    }
    let passphrase = Passphrase::new(std::mem::take(&mut *bytes));
    passphrase.map(Key::Passphrase).map_err(|error| CliError::from(error).hint(format!("look at {what}")))
}

fn run(command: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let ran = Command::new("/bin/sh").arg("-c").arg(command).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let ran = ran.map_err(|error| CliError::io("/bin/sh", "run", &error).code(Code::NoKey))?;
    let printed = Zeroizing::new(ran.stdout);
    if ran.status.success() {
        return Ok(printed);
    }
    Err(CliError::new(Code::NoKey, format!("The password command failed with {}", ran.status))
        .hint("run it by hand to see why"))
}

/// The cache directory, made if need be. Without one, as in a rescue system, everything works and takes longer.
fn usable_cache(settings: &Settings, output: &Output) -> Option<PathBuf> {
    let path = settings.cache_dir.as_ref()?;
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => Some(path.clone()),
        Err(error) => {
            let cause = CliError::io(path.display(), "use the cache directory", &error);
            if let CliError::Failure(failure) = cause {
                output.detail(&format!("{}; the index is kept in memory this time", failure.message));
            }
            None
        }
    }
}

/// Whether a path lies in a directory, both being followed to where they really are.
pub fn lies_in(path: &Path, directory: &Path) -> bool {
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    let directory = waiting::during(Operation::Open, directory.display(), || fs::canonicalize(directory));
    match (fs::canonicalize(above), directory) {
        (Ok(above), Ok(directory)) => above.starts_with(directory),
        _ => false,
    }
}
