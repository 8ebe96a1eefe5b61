//! One verb each: what a command does with the library, in the order in which it does it.

mod backup;
mod check;
mod completions;
mod diff;
mod export;
mod extract;
mod forget;
mod import;
mod init;
mod key;
mod list;
mod ls;
mod made;
mod man;
mod prune;
mod repair;
mod restore;
mod show;
mod source;
mod stats;
mod status;
mod tag;

use crate::args::{Args, Command};
use crate::config::Settings;
use crate::error::CliError;
use crate::output::Output;

/// Runs what was typed.
pub fn run(args: Args, output: &Output) -> Result<(), CliError> {
    match &args.command {
        // Packages are built where there are no settings.
        Command::Completions { shell } => return completions::run(*shell),
        Command::Man(man) => return man::run(man),
        _ => {}
    }
    let settings = Settings::load(&args.global)?;
    match args.command {
        Command::Completions { .. } | Command::Man(_) => Ok(()),
        Command::Init(init) => init::run(&init, &settings, output),
        Command::Backup(backup) => backup::run(backup, &settings, output),
        Command::List(list) => list::run(&list, &settings, output),
        Command::Ls(ls) => ls::run(&ls, &settings, output),
        Command::Diff(args) => diff::run(&args, &settings, output),
        Command::Stats => stats::run(&settings, output),
        Command::Extract(args) => extract::run(&args, &settings, output),
        Command::Show(show) => show::run(&show, &settings, output),
        Command::Restore(restore) => restore::run(restore, &settings, output),
        Command::Export(export) => export::run(&export, &settings, output),
        Command::Import(import) => import::run(import, &settings, output),
        Command::Forget(args) => forget::run(&args, &settings, output),
        Command::Tag(args) => tag::run(&tag::Change::of_tags(args.point, args.tags, true), &settings, output),
        Command::Untag(args) => tag::run(&tag::Change::of_tags(args.point, args.tags, false), &settings, output),
        Command::Pin(args) => tag::run(&tag::Change::Pins { points: args.points, pinned: true }, &settings, output),
        Command::Unpin(args) => tag::run(&tag::Change::Pins { points: args.points, pinned: false }, &settings, output),
        Command::Check(check) => check::run(&check, &settings, output),
        Command::Repair(args) => repair::run(&args, &settings, output),
        Command::Prune(args) => prune::run(&args, &settings, output),
        Command::Status(status) => status::run(&status, &settings, output),
        Command::Source(source) => source::run(source, &settings, output),
        Command::Key(key) => key::run(key, &settings, output),
    }
}
