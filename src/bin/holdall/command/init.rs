//! `init`: a new repository and its first key.

use std::path::Path;
use std::sync::Arc;

use holdall::clock::{Clock, SystemClock};
use holdall::repo::{Locks, Parity, RepoError, Repository};
use holdall::store::{
    CreateIfAbsent, Directory, FileSystem, LocalStore, Store, StoreError, StoreErrorKind, WatchedStore,
    probe_create_if_absent,
};

use crate::args::Init;
use crate::config::Settings;
use crate::error::{CliError, Code};
use crate::json;
use crate::newkey::{Kept, NewKey};
use crate::open::require_terminal;
use crate::output::Output;
use crate::waiting;

/// How old a listing may be on a shared file system, in seconds: what NFS and most FUSE mounts allow by default.
const SHARED_SETTLE_SECONDS: u32 = FileSystem::LISTING_SECONDS;

pub fn run(args: &Init, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let path = settings.repository()?;
    if args.new_key_file.is_none() && settings.key.is_none() {
        require_terminal("give --new-key-file FILE or --password-file FILE")?;
    }
    let store = waiting::create_store(&path).map_err(|error| explain(error, &path))?;
    let settle_seconds = settle_seconds(args, &store, output)?;
    require_create_if_absent(&store)?;

    let key = new_key(args, settings, &path, output)?;
    let store: Arc<dyn Store> = Arc::new(store);
    let parity = if args.no_parity { Parity::None } else { Parity::ReedSolomon };
    let made = Repository::init(store, &key.slot_key(), SystemClock.now(), settle_seconds, parity);
    let repository = made.map_err(|error| match error {
        RepoError::MadeMeanwhile { .. } => is_there(&path),
        other => other.into(),
    })?;
    let kept = key.keep();

    let key_file = match &kept {
        Kept::KeyFile(file) => file.as_ref().map(|file| file.display().to_string()),
        Kept::Passphrase | Kept::OnPaper(_) => None,
    };
    let id = repository.id();
    let made = json::Repository { path: path.display().to_string(), id: id.to_string(), settle_seconds, key_file };
    output.result(&made, || format!("Made repository {} in {}", id.short(), path.display()))?;
    output.note(&advice(&kept));
    Ok(())
}

/// A directory that is not empty because it holds a repository needs another answer than one that holds something else.
fn explain(error: StoreError, path: &Path) -> CliError {
    let is_repository = || waiting::open_store(path).is_ok_and(|store| Locks::of(&store).is_ok());
    if matches!(error.kind, StoreErrorKind::NotEmpty { .. }) && is_repository() {
        return is_there(path);
    }
    error.into()
}

fn is_there(path: &Path) -> CliError {
    CliError::new(Code::Taken, format!("There is a repository in {} already", path.display()))
        .hint("it can be used as it is; for another one choose an empty directory or a new name")
}

/// What whoever made a repository has to know.
fn advice(kept: &Kept) -> String {
    let what = match kept {
        Kept::Passphrase | Kept::OnPaper(_) => "Write the passphrase down and keep it".to_owned(),
        Kept::KeyFile(Some(file)) => format!("The key is in {0}. Keep a copy of {0}", file.display()),
        Kept::KeyFile(None) => "Keep a copy of the key file".to_owned(),
    };
    format!("{what} away from this host: without a key all data is lost, and nobody can help")
}

fn new_key(args: &Init, settings: &Settings, repository: &Path, output: &Output) -> Result<NewKey, CliError> {
    match (&args.new_key_file, &settings.key) {
        (Some(file), _) => NewKey::make_file(file, repository),
        (None, Some(source)) => NewKey::read(source, output),
        (None, None) => NewKey::ask(output),
    }
}

/// How old a listing of this store may be on any host that writes, in seconds.
fn settle_seconds(args: &Init, store: &WatchedStore<LocalStore>, output: &Output) -> Result<u32, CliError> {
    let seconds = match waiting::capacity(store)?.file_system {
        FileSystem::Local if args.shared => SHARED_SETTLE_SECONDS,
        FileSystem::Local => 0,
        FileSystem::Volatile => {
            output.warning("This file system lives in memory: the repository is gone after a restart of this host");
            if args.shared { SHARED_SETTLE_SECONDS } else { 0 }
        }
        file_system @ FileSystem::Nfs { .. } if args.shared => file_system.listing_seconds().max(SHARED_SETTLE_SECONDS),
        file_system => file_system.listing_seconds(),
    };
    if seconds > 0 {
        output.note(&format!(
            "Listings of this file system may be {seconds} s old; prunes will wait for that, and hosts whose mounts \
             remember them for longer will not write"
        ));
    }
    Ok(seconds)
}

/// Everything that keeps several writers apart rests on this.
fn require_create_if_absent(store: &WatchedStore<LocalStore>) -> Result<(), CliError> {
    match probe_create_if_absent(store, &Directory::ROOT)? {
        CreateIfAbsent::Works => Ok(()),
        CreateIfAbsent::Missing => {
            let message = format!("{} cannot create a file only if its name is free", store.description());
            Err(CliError::new(Code::Failed, message).hint("choose a directory on another file system"))
        }
    }
}
