//! The key for a new slot: a key file that is made here, or a passphrase that is typed twice or read.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use holdall::crypto::{Argon2Cost, KeyFile, Passphrase, PassphraseError, SlotKey};
use zeroize::Zeroizing;

use crate::args::NewKeyArgs;
use crate::config::KeySource;
use crate::error::{CliError, Code};
use crate::newfile::{Existing, NewFile};
use crate::open::{Key, ask, lies_in, read_key, require_terminal};
use crate::output::Output;

/// How often two passphrases may differ.
const ATTEMPTS_MAX: usize = 3;

/// A key that opens nothing yet.
pub struct NewKey {
    key: Key,
    /// The file that was made for it; removed again unless the key is put to use.
    file: Option<PathBuf>,
    on_paper: bool,
}

impl NewKey {
    /// The key for a slot that is added to a repository.
    pub fn for_slot(args: &NewKeyArgs, repository: &Path, output: &Output) -> Result<Self, CliError> {
        match (&args.new_key_file, &args.new_password_file) {
            (Some(file), _) => Self::make_file(file, repository),
            (None, Some(file)) => Self::read(&KeySource::PasswordFile(file.clone()), output),
            (None, None) => Self::ask(output),
        }
    }

    /// A key that is printed once and kept nowhere.
    pub fn recovery() -> Result<Self, CliError> {
        let key = KeyFile::generate().map_err(|error| CliError::new(Code::Failed, error.to_string()))?;
        Ok(Self { key: Key::KeyFile(key), file: None, on_paper: true })
    }

    /// Makes a key and a file that holds it. The file is on disk before anything relies on it.
    pub fn make_file(path: &Path, repository: &Path) -> Result<Self, CliError> {
        if lies_in(path, repository) {
            return Err(CliError::new(
                Code::Usage,
                format!("The key file {} would lie in the repository that it opens", path.display()),
            )
            .hint("choose a place elsewhere"));
        }
        let key = KeyFile::generate().map_err(|error| CliError::new(Code::Failed, error.to_string()))?;
        let mut file = NewFile::create(path, Existing::Keep)?;
        file.write_all(key.to_text().as_bytes()).map_err(|error| CliError::io(path.display(), "write", &error))?;
        file.publish()?;
        Ok(Self { key: Key::KeyFile(key), file: Some(path.to_owned()), on_paper: false })
    }

    /// A key that exists already.
    pub fn read(source: &KeySource, output: &Output) -> Result<Self, CliError> {
        Ok(Self { key: read_key(source, output)?, file: None, on_paper: false })
    }

    /// A passphrase from the terminal.
    pub fn ask(output: &Output) -> Result<Self, CliError> {
        require_terminal("give --new-key-file FILE or --new-password-file FILE")?;
        for _ in 0..ATTEMPTS_MAX {
            let mut first = ask("New passphrase: ")?;
            if first.is_empty() {
                return Err(PassphraseError::Empty.into());
            }
            if first == ask("The same again: ")? {
                let passphrase = Passphrase::new(std::mem::take(&mut *first))?;
                return Ok(Self { key: Key::Passphrase(passphrase), file: None, on_paper: false });
            }
            output.warning("The two differ; once more");
        }
        Err(CliError::new(Code::NoKey, "No passphrase was typed twice the same"))
    }

    /// For the library.
    pub fn slot_key(&self) -> SlotKey<'_> {
        match &self.key {
            Key::Passphrase(passphrase) => SlotKey::Passphrase(passphrase, Argon2Cost::default()),
            Key::KeyFile(file) if self.on_paper => SlotKey::Recovery(file),
            Key::KeyFile(file) => SlotKey::KeyFile(file),
        }
    }

    /// Keeps the key's file, for it opens something now. What to tell its owner.
    pub fn keep(mut self) -> Kept {
        match (&self.key, self.file.take()) {
            (Key::Passphrase(_), _) => Kept::Passphrase,
            (Key::KeyFile(key), _) if self.on_paper => Kept::OnPaper(key.to_text()),
            (Key::KeyFile(_), file) => Kept::KeyFile(file),
        }
    }
}

/// What opens the repository from now on.
pub enum Kept {
    Passphrase,
    /// With the file that was made for it, if one was.
    KeyFile(Option<PathBuf>),
    /// To be printed, now or never.
    OnPaper(Zeroizing<String>),
}

impl Drop for NewKey {
    fn drop(&mut self) {
        if let Some(path) = self.file.take() {
            let _ = fs::remove_file(path);
        }
    }
}
