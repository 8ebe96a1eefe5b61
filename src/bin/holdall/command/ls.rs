//! `ls`: the files in a point.

use std::os::unix::ffi::OsStrExt;

use holdall::browse::{self, Depth, Entry};
use holdall::repo::Catalog;
use holdall::tar::{Member, MemberKind, display};

use crate::args::Ls;
use crate::config::Settings;
use crate::error::CliError;
use crate::interrupt;
use crate::json;
use crate::open::open;
use crate::output::Output;
use crate::progress::{Problems, Progress};

pub fn run(args: &Ls, settings: &Settings, output: &Output) -> Result<(), CliError> {
    let repository = open(settings, output)?;
    let progress = Progress::new(output, Problems::Told);
    let catalog = Catalog::read(&repository, &progress)?;
    let (_, point) = catalog.find(&args.point)?;
    let depth = if args.recursive { Depth::All } else { Depth::Directory };
    let path = args.path.as_deref().unwrap_or_default().as_bytes();
    let mut told = Ok(());
    let working = interrupt::working();
    browse::list(&repository, point, &args.region.region(), path, depth, &progress, &mut |entry| {
        if told.is_ok() {
            told = output.result(&json::Entry::new(entry), || line(entry));
        }
    })?;
    drop(working);
    told
}

/// One line as `ls -l` has it. A directory without a member of its own has nothing but its name.
fn line(entry: &Entry) -> String {
    let name = if entry.path.is_empty() { &b"."[..] } else { &entry.path };
    let name = display(name);
    let Some(member) = &entry.member else { return format!("d?????????  {:>13}  {:>12}  {:<19}  {name}", "", "", "") };
    let owner = format!("{}/{}", member.uid, member.gid);
    let link = match member.kind {
        MemberKind::Symlink => format!(" -> {}", display(&member.link)),
        MemberKind::HardLink => format!(" link to {}", display(&member.link)),
        _ => String::new(),
    };
    format!("{}  {owner:>13}  {:>12}  {:<19}  {name}{link}", mode(member), extent(member), json::mtime(member, false))
}

/// The size, or the numbers of a device.
fn extent(member: &Member) -> String {
    match member.kind {
        MemberKind::CharDevice | MemberKind::BlockDevice => {
            format!("{}, {}", member.device_major, member.device_minor)
        }
        _ => member.size.to_string(),
    }
}

/// Kind and permissions in ten letters.
fn mode(member: &Member) -> String {
    let kind = match member.kind {
        MemberKind::File | MemberKind::Sparse => '-',
        MemberKind::HardLink => 'h',
        MemberKind::Symlink => 'l',
        MemberKind::CharDevice => 'c',
        MemberKind::BlockDevice => 'b',
        MemberKind::Directory => 'd',
        MemberKind::Fifo => 'p',
        MemberKind::Other(_) => '?',
    };
    let special = [(0o4000, 's', 'S'), (0o2000, 's', 'S'), (0o1000, 't', 'T')];
    let mut letters = String::from(kind);
    for (shift, (bit, with, without)) in [6, 3, 0].into_iter().zip(special) {
        let bits = member.mode >> shift;
        letters.push(if bits & 4 == 0 { '-' } else { 'r' });
        letters.push(if bits & 2 == 0 { '-' } else { 'w' });
        letters.push(match (bits & 1 != 0, member.mode & bit != 0) {
            (true, true) => with,
            (false, true) => without,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(kind: MemberKind, mode: u32) -> Member {
        Member { kind, mode, path: b"x".to_vec(), ..Member::default() }
    }

    #[test]
    fn permissions_look_as_they_do_everywhere() {
        assert_eq!(mode(&member(MemberKind::File, 0o644)), "-rw-r--r--");
        assert_eq!(mode(&member(MemberKind::Directory, 0o1777)), "drwxrwxrwt");
        assert_eq!(mode(&member(MemberKind::File, 0o6654)), "-rwSr-sr--");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let entry =
            Entry { path: b"a\x1b[31m\n\xff".to_vec(), member: Some(Box::new(member(MemberKind::File, 0o600))) };
        let line = line(&entry);
        assert!(!line.contains(char::is_control), "{line}");
        assert!(line.ends_with("a\\u{1b}[31m\\n\u{fffd}"), "{line}");
    }
}
