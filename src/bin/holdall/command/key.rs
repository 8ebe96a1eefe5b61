//! `key`: adding, listing, removing and changing what opens the repository. No data is touched.

use holdall::clock::{Clock, SystemClock};
use holdall::crypto::{Access, Description, SlotKind};
use holdall::id::KeyslotId;
use holdall::repo::{Repository, SlotSummary};

use crate::args::{Key, KeyAdd, KeyChange, KeyRemove};
use crate::config::Settings;
use crate::error::{CliError, Code};
use crate::json;
use crate::newkey::{Kept, NewKey};
use crate::open::open;
use crate::output::{Output, plain};
use crate::table::{Align, Table, minute};

pub fn run(command: Key, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let repository = open(settings, output)?;
    match command {
        Key::Add(args) => add(&args, &repository, settings, output),
        Key::List => list(&repository, output),
        Key::Remove(args) => remove(&args, &repository, output),
        Key::Change(args) => change(&args, &repository, settings, output),
    }
}

fn add(args: &KeyAdd, repository: &Repository, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let access = if args.write_only { Access::WriteOnly } else { Access::Full };
    if access == Access::Full {
        repository.read_keys()?;
    }
    let key =
        if args.recovery { NewKey::recovery()? } else { NewKey::for_slot(&args.new, &settings.repository()?, output)? };
    let id = repository.add_key(&key.slot_key(), access, &args.label, SystemClock.now())?;
    print_added(id, &key.keep(), output)
}

fn print_added(id: KeyslotId, kept: &Kept, output: &Output) -> Result<(), CliError> {
    let (key_file, recovery) = match kept {
        Kept::KeyFile(file) => (file.as_ref().map(|file| file.display().to_string()), None),
        Kept::Passphrase => (None, None),
        Kept::OnPaper(text) => (None, Some(text.as_str())),
    };
    let place = key_file.as_ref().map_or_else(String::new, |file| format!(" in {}", plain(file)));
    output.result(&json::KeyAdded { id: id.to_string(), key_file: key_file.clone(), recovery }, || {
        let told = format!("Added key {}{place}", id.short());
        match recovery {
            Some(text) => format!(
                "{told}. This is shown once: write the line without # down, keep it apart from this host, and to use \
                 it type it into a file and give that with --key-file\n\n{}",
                text.trim_end()
            ),
            None => told,
        }
    })
}

fn list(repository: &Repository, output: &Output) -> Result<(), CliError> {
    let slots = repository.list_keys()?;
    let mut table = Table::new(&[
        ("KEY", Align::Left),
        ("", Align::Left),
        ("OPENS WITH", Align::Left),
        ("ACCESS", Align::Left),
        ("ADDED", Align::Left),
        ("LABEL", Align::Left),
    ]);
    for SlotSummary { id, description } in &slots {
        let in_use = *id == repository.slot();
        let mark = if in_use { "*" } else { "" };
        match description {
            Ok(known) => table.row([
                id.short(),
                mark.to_owned(),
                opens_with(known).to_owned(),
                access(known).to_owned(),
                minute(known.created),
                known.label.clone(),
            ]),
            Err(reason) => table.row([id.short(), mark.to_owned(), format!("unreadable: {reason}")]),
        }
        if output.is_json() {
            output.result(&object(*id, in_use, description), String::new)?;
        }
    }
    output.text(&table.text())
}

fn object(id: KeyslotId, in_use: bool, description: &Result<Description, String>) -> json::Key {
    json::Key {
        id: id.to_string(),
        in_use,
        description: description.as_ref().ok().map(|known| json::KeyDescription {
            opens_with: opens_with(known),
            access: access(known),
            created: known.created.to_string(),
            label: known.label.clone(),
        }),
        problem: description.as_ref().err().cloned(),
    }
}

fn opens_with(description: &Description) -> &'static str {
    match description.kind {
        SlotKind::Passphrase => "passphrase",
        SlotKind::KeyFile => "key-file",
        SlotKind::Recovery => "recovery",
    }
}

fn access(description: &Description) -> &'static str {
    match description.access {
        Access::Full => "full",
        Access::WriteOnly => "write-only",
    }
}

fn remove(args: &KeyRemove, repository: &Repository, output: &Output) -> Result<(), CliError> {
    remove_slot(repository.find_key(&args.id)?, repository, output)
}

fn remove_slot(id: KeyslotId, repository: &Repository, output: &Output) -> Result<(), CliError> {
    repository.remove_key(id)?;
    output.result(&json::KeyRemoved { id: id.to_string() }, || format!("Removed key {}", id.short()))
}

/// The new key first, so that at no moment nothing opens.
fn change(args: &KeyChange, repository: &Repository, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let old = repository.slot();
    let slots = repository.list_keys()?;
    let Some(Ok(described)) = slots.into_iter().find(|slot| slot.id == old).map(|slot| slot.description) else {
        return Err(CliError::new(Code::Damage, format!("Key {} cannot be read in full", old.short()))
            .hint("add a new one and remove this one"));
    };
    let key = NewKey::for_slot(&args.new, &settings.repository()?, output)?;
    let label = args.label.as_deref().unwrap_or(&described.label);
    let id = repository.add_key(&key.slot_key(), described.access, label, SystemClock.now())?;
    print_added(id, &key.keep(), output)?;
    remove_slot(old, repository, output)
}
