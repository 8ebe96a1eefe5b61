//! The help of all commands as one text, and the README's agreement with it.

use std::fs::File;
use std::io::Write;

use crate::bench::{Bench, Ran};

const SNAPSHOT: &str = "tests/cli/help.txt";

/// The help of a command and, one after the other, of those below it.
fn help_of(bench: &Bench, command: &[&str]) -> String {
    let help = Ran::of(&mut bench.bare(&[command, &["--help"]].concat())).succeeds().out;
    // The global options are the same in each; once is enough.
    let own = if command.is_empty() { help.as_str() } else { help.split("\nGlobal options:").next().unwrap() };
    let mut text = format!("$ holdall {}\n\n{}\n\n", [command, &["--help"]].concat().join(" "), own.trim_end());
    let below = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    for name in below.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        text.push_str(&help_of(bench, &[command, &[name]].concat()));
    }
    text
}

/// What the help says has changed? `HOLDALL_UPDATE_SNAPSHOTS=1 cargo test --test cli help` writes it anew; look at the
/// difference before you commit it.
#[test]
#[expect(clippy::disallowed_methods, reason = "the one switch of these tests")]
fn the_help_is_as_it_was() {
    let help = help_of(&Bench::empty(), &[]);
    if std::env::var_os("HOLDALL_UPDATE_SNAPSHOTS").is_some() {
        File::create(SNAPSHOT).and_then(|mut file| file.write_all(help.as_bytes())).unwrap();
    }
    let before = std::fs::read_to_string(SNAPSHOT).unwrap();
    assert!(help == before, "{SNAPSHOT} has another text; see the comment on this test. Now it is:\n{help}");
}

#[test]
fn the_readme_lists_the_exit_codes() {
    let help = Ran::of(&mut Bench::empty().bare(&["--help"])).succeeds().out;
    let of_help: Vec<(String, String)> = help
        .lines()
        .skip_while(|line| *line != "Exit codes:")
        .skip(1)
        .filter_map(|line| line.trim().split_once("  "))
        .map(|(code, meaning)| (code.to_owned(), meaning.to_owned()))
        .collect();
    let of_readme: Vec<(String, String)> = include_str!("../../README.md")
        .lines()
        .skip_while(|line| *line != "## Exit codes")
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "))
        .filter(|(code, _)| code.parse::<u8>().is_ok())
        .map(|(code, meaning)| (code.to_owned(), meaning.to_owned()))
        .collect();
    assert!(of_help.len() > 10);
    assert_eq!(of_help, of_readme);
}

#[test]
fn the_readme_lists_the_commands() {
    let help = Ran::of(&mut Bench::empty().bare(&["--help"])).succeeds().out;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    for name in commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        let row = format!("| `holdall {name}");
        assert!(include_str!("../../README.md").lines().any(|line| line.starts_with(&row)), "{name}");
    }
}

#[test]
fn the_version_is_the_packages() {
    let version = Ran::of(&mut Bench::empty().bare(&["--version"])).succeeds().out;
    assert_eq!(version, format!("holdall {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn shells_and_manuals_know_every_command() {
    let bench = Bench::empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = bench.bare(&["completions", shell]).output().unwrap();
        let script = String::from_utf8(script.stdout).unwrap();
        assert!(script.contains("restore") && script.contains("map-network"), "{shell}");
    }
    std::fs::create_dir(bench.path("man")).unwrap();
    Ran::of(&mut bench.bare(&["man", "--to", "man"])).succeeds();
    let pages = bench.names("man");
    for page in ["holdall.1", "holdall-restore.1", "holdall-key-add.1", "holdall-source-rename.1"] {
        assert!(pages.iter().any(|name| name == page), "{pages:?}");
    }
    let page = String::from_utf8(bench.read("man/holdall-key-add.1")).unwrap();
    assert!(page.contains("recovery") && page.contains("holdall key add"), "{page}");
    let page = Ran::of(&mut bench.bare(&["man"])).succeeds().out;
    assert!(page.contains("Deduplicating, encrypted backups"), "{page}");
    Ran::of(&mut bench.bare(&["man", "--to", "nowhere"])).fails(1, &["nowhere"]);
}
