//! What can be typed: the whole command line as types.
//!
//! Nothing is looked up here. Texts that name sources and points become selectors at once, so that a wrong one is an
//! error of usage. The help texts are the reference manual; `tests/cli/help.txt` holds all of them.

#![expect(clippy::doc_markdown, reason = "these comments are help texts, which people read without markup")]

mod forget;

pub use forget::{Forget, Pin, Rules, Tag, Unpin, Untag, parse_tag, source_alone};

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args as Arguments, Parser, Subcommand};
use holdall::browse::Region;
use holdall::check::Share;
use holdall::limits::SOURCES_AT_ONCE_MAX;
use holdall::prune::MaxUnused;
use holdall::repo::{PointSpec, SETTLE_SECONDS_MAX};
use holdall::source::Selector;

use crate::error::Code;

/// Widest line of help in columns, however wide the terminal is.
const HELP_COLUMNS_MAX: usize = 100;

/// Deduplicating, encrypted backups for LXD and Incus servers
#[derive(Parser)]
#[command(name = "holdall", version, arg_required_else_help = true, max_term_width = HELP_COLUMNS_MAX)]
#[command(after_long_help = Code::table())]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Arguments)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The repository: a directory on a local disk or an NFS mount [env: HOLDALL_REPOSITORY]
    #[arg(short, long, global = true, value_name = "REPO")]
    pub repository: Option<PathBuf>,
    /// Read settings from here instead of /etc/holdall/config.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Talk to the daemon at this unix socket
    #[arg(long, global = true, value_name = "SOCKET")]
    pub server: Option<PathBuf>,
    /// Keep the local index here; it can be deleted at any time
    #[arg(long, global = true, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Open the repository with the key in this file [env: HOLDALL_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Read the passphrase from this file of one line [env: HOLDALL_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Read the passphrase from this open file descriptor
    #[arg(long, global = true, value_name = "N")]
    pub password_fd: Option<u16>,
    /// Run this in a shell and take what it prints as the passphrase [env: HOLDALL_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND")]
    pub password_command: Option<String>,
    /// Print one JSON object per line instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Tell problems and results only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Tell more
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// The verbs.
#[derive(Subcommand)]
pub enum Command {
    Init(Init),
    Backup(Backup),
    List(List),
    Show(Show),
    Ls(Ls),
    Extract(Extract),
    Diff(Diff),
    /// Count what is stored
    ///
    /// Tells how much was backed up, how much the store holds of it by kind of object, and the ratio of the two: what
    /// deduplication and compression save.
    Stats,
    Restore(Restore),
    Export(Export),
    Import(Import),
    Forget(Forget),
    Tag(Tag),
    Untag(Untag),
    Pin(Pin),
    Unpin(Unpin),
    Check(Check),
    Prune(Prune),
    Repair(Repair),
    Status(Status),
    /// List the sources of the repository, retire and rename them
    #[command(subcommand)]
    Source(SourceCommand),
    /// Add, list, remove and change the keys that open the repository
    #[command(subcommand)]
    Key(Key),
    /// Print what makes a shell complete these commands
    ///
    /// For bash, "holdall completions bash >/usr/share/bash-completion/completions/holdall".
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    Man(Man),
}

/// Print the manual
///
/// Without --to it is that of the program itself; with it, that of every command is written, too.
#[derive(Arguments)]
pub struct Man {
    /// Write a page for every command into this directory
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
}

/// Make a repository in an empty directory
///
/// The directory may be absent; the one above it must exist. The repository is encrypted always, with a passphrase that
/// is asked for twice or taken from --password-file and its like, or with a key file. Losing all keys means losing the
/// data: nobody can help then. Further keys are added with "holdall key add".
#[derive(Arguments)]
pub struct Init {
    /// Make a key and write it to this new file, readable by its owner only, instead of asking for a passphrase
    #[arg(long, value_name = "FILE")]
    pub new_key_file: Option<PathBuf>,
    /// Several hosts have this file system mounted: expect listings that are up to a minute old, as on NFS and FUSE
    #[arg(long)]
    pub shared: bool,
    /// Do without parity in packs: 3 % less space, and no repair of what the disk loses
    #[arg(long)]
    pub no_parity: bool,
}

/// Back up instances, custom volumes, buckets and images
#[derive(Arguments)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Backup {
    /// What to back up: web1, lab/web1, volume:pool/data
    #[arg(value_name = "SOURCE", required_unless_present = "all")]
    pub sources: Vec<Selector>,
    /// Back up everything that the daemon has
    #[arg(long, conflicts_with = "sources")]
    pub all: bool,
    /// Say what would be backed up, how and why, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Accept a running virtual machine whose disk changes while it is read
    #[arg(long, conflicts_with = "consistent")]
    pub allow_fuzzy: bool,
    /// Refuse what can only be read while it changes, running containers on plain directories, too; read it from a
    /// temporary snapshot where that is cheap
    #[arg(long)]
    pub consistent: bool,
    /// Take the storage driver's own streams, which go back into a pool of the same driver only
    #[arg(long)]
    pub optimized: bool,
    /// Read at most this much from the daemon in a second: 50MiB [default: limit_rate in the settings, or no limit]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub limit_rate: Option<u64>,
    /// Save so many sources beside each other, as far as the daemon's staging area has room for them; 1 to 4
    /// [default: parallel in the settings, or 2]
    #[arg(long, value_name = "COUNT", value_parser = parse_parallel)]
    pub parallel: Option<usize>,
    /// Begin even if it cannot be known whether the daemon has room for the export
    #[arg(long)]
    pub unchecked_staging: bool,
    /// Leave the daemon's own snapshots out of the backup
    #[arg(long)]
    pub no_snapshots: bool,
    /// The server's name in the repository [default: the daemon's own]
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// Accept that the server of this name has another certificate than before
    #[arg(long)]
    pub adopt: bool,
    /// Give every point that is made this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG", value_parser = parse_tag)]
    pub tags: Vec<String>,
}

/// List points
///
/// Oldest first, with local times. ADDED is what a point added to the repository when it was made.
#[derive(Arguments)]
pub struct List {
    /// List the points of these sources only
    #[arg(value_name = "SOURCE")]
    pub sources: Vec<Selector>,
}

/// How a point is named, for the help of every command that takes one.
const POINT_HELP: &str = "Which point: a source for its newest (web1), web1@2026-11-20 for the newest of that local \
                          day, web1@2026-11-20T03:00 for the newest not after it, or 8 or more digits of its id";

/// Show everything that is known of a point
#[derive(Arguments)]
pub struct Show {
    #[arg(value_name = "POINT", help = POINT_HELP)]
    pub point: PointSpec,
}

/// Where in a point the paths of the command line begin.
#[derive(Arguments)]
pub struct RegionArgs {
    /// Look into this snapshot of the daemon's instead of the main volume
    #[arg(long, value_name = "NAME")]
    pub snapshot: Option<String>,
    /// Take paths as they stand in the archive: backup/index.yaml, backup/virtual-machine.img
    #[arg(long, conflicts_with = "snapshot")]
    pub raw: bool,
}

impl RegionArgs {
    pub fn region(&self) -> Region {
        match &self.snapshot {
            _ if self.raw => Region::Raw,
            Some(snapshot) => Region::Snapshot(snapshot.clone()),
            None => Region::Main,
        }
    }
}

/// List files in a point
///
/// Paths are those inside of what was backed up: /etc/passwd of a container, the files of a volume. Symbolic links are
/// shown and not followed. Owners are the numbers in the archive. Names are shown with control characters escaped;
/// with --json a name that is not UTF-8 has its bytes in path_hex, too. The disk of a virtual machine, the daemon's
/// own files and everything else are found with --raw.
#[derive(Arguments)]
pub struct Ls {
    #[arg(value_name = "POINT", help = POINT_HELP)]
    pub point: PointSpec,
    /// A directory, or a file [default: /]
    #[arg(value_name = "PATH")]
    pub path: Option<OsString>,
    #[command(flatten)]
    pub region: RegionArgs,
    /// List everything below it, in the order of the archive
    #[arg(long)]
    pub recursive: bool,
}

/// Get files out of a point into a directory
///
/// Each file comes under its path in the point: /etc/passwd becomes DIR/etc/passwd, and directories come with
/// everything in them. Directories on the way that were not asked for are made for their owner alone, and DIR itself
/// stays as it is. Modes, times, attributes and, for root, owners and devices are those in the archive; owners are its
/// numbers, which for a container may be those of the host. What cannot be set is told, and the exit code is 3 then.
/// Nothing outside of DIR is touched, whatever the archive says.
#[derive(Arguments)]
pub struct Extract {
    #[arg(value_name = "POINT", help = POINT_HELP)]
    pub point: PointSpec,
    /// Files and directories in the point; / is everything
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<OsString>,
    /// Where to put them; the directory is made if the one above it exists
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    #[command(flatten)]
    pub region: RegionArgs,
    /// Replace files that are there; without it they stay, and each is a problem
    #[arg(long)]
    pub force: bool,
    /// Leave the files to whoever runs this, instead of giving them their owners
    #[arg(long)]
    pub no_owner: bool,
}

/// Compare two points
///
/// Tells what is not the same in the second: "+" is new, "-" is gone, "M" is changed, with what of it in parentheses,
/// and "C" is a value of the daemon's own description. Contents are not read: they are the same if their chunks are.
#[derive(Arguments)]
pub struct Diff {
    #[arg(value_name = "A", help = POINT_HELP)]
    pub one: PointSpec,
    /// The other point
    #[arg(value_name = "B")]
    pub other: PointSpec,
    #[command(flatten)]
    pub region: RegionArgs,
}

/// Restore a point into the daemon
///
/// The server may be another one than was backed up, also of the other product. Everything that is missing there is
/// named before a byte is sent. To a server like the one that made the export the bytes go back as they came; otherwise
/// the description in them is made to fit, and what of it the server does not know is left out and told. What is
/// restored is stopped. Where an instance of the server has the same uuid or MAC addresses, it gets fresh ones.
///
/// With --replace the instance that has the name, and which must be stopped, stays as it is until the restored one is
/// complete beside it, as holdall-new-...; then it becomes holdall-old-..., the restored one gets the name, and the old
/// one is deleted with its snapshots. After an interruption the same command puts that in order first.
#[derive(Arguments)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Restore {
    #[arg(value_name = "POINT", help = POINT_HELP)]
    pub point: PointSpec,
    /// Give it this name instead of its own
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<String>,
    /// Restore into this project instead of its own
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// Restore into this pool instead of its own
    #[arg(long, value_name = "POOL")]
    pub pool: Option<String>,
    /// Restore a volume or a bucket onto this cluster member instead of its own
    #[arg(long, value_name = "MEMBER")]
    pub member: Option<String>,
    /// Restore this snapshot of the daemon's, as an instance or a volume of its own
    #[arg(long, value_name = "NAME", conflicts_with = "no_snapshots")]
    pub snapshot: Option<String>,
    /// Leave the daemon's snapshots out
    #[arg(long)]
    pub no_snapshots: bool,
    /// Attach what was on network OLD, or on the host's interface OLD, to NEW; may be repeated
    #[arg(long, value_name = "OLD=NEW")]
    pub map_network: Vec<Renaming>,
    /// Use profile NEW for OLD; may be repeated
    #[arg(long, value_name = "OLD=NEW")]
    pub map_profile: Vec<Renaming>,
    /// Use pool NEW for OLD, for the root disk and for attached volumes; may be repeated
    #[arg(long, value_name = "OLD=NEW")]
    pub map_pool: Vec<Renaming>,
    /// Leave out this device, also where a profile would bring it; may be repeated
    #[arg(long, value_name = "NAME")]
    pub without_device: Vec<String>,
    /// Give it fresh MAC addresses and a fresh uuid in any case, and let cloud-init take it for a new machine
    #[arg(long)]
    pub fresh_identity: bool,
    /// Put it in the place of the instance that has the name
    #[arg(long)]
    pub replace: bool,
    /// Go around content that is lost: it becomes zeros, files whose headers are lost are left out, and each hole is
    /// named
    #[arg(long, conflicts_with = "replace")]
    pub around_holes: bool,
}

/// An old name and a new one.
#[derive(Debug, Clone)]
pub struct Renaming {
    pub from: String,
    pub to: String,
}

impl FromStr for Renaming {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((from, to)) if !from.is_empty() && !to.is_empty() => {
                Ok(Self { from: from.to_owned(), to: to.to_owned() })
            }
            _ => Err("it should be OLD=NEW"),
        }
    }
}

/// Write a point as the file that the daemon exported, verified
///
/// The bytes are those of the export, ready for "lxc import" or "incus import". A file appears under its name only when
/// it is complete, verified and on disk; after a failure nothing is left of it. What is written to standard output is
/// verified as well: if the exit code is not 0, what arrived is not the point.
#[derive(Arguments)]
pub struct Export {
    #[arg(value_name = "POINT", help = POINT_HELP)]
    pub point: PointSpec,
    /// Where to write it; - is standard output
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
    /// Print the BLAKE3 digest of what was written
    #[arg(long)]
    pub digest: bool,
    /// Go around content that is lost: it becomes zeros, files whose headers are lost are left out, and each hole is
    /// named
    #[arg(long)]
    pub around_holes: bool,
}

/// Make a point from an export that exists already, or from any file
///
/// The file is what "lxc export" or "incus export" wrote, compressed or not. It must be complete: one that was cut off
/// is refused. With --as file:NAME any file is taken as it is.
#[derive(Arguments)]
pub struct Import {
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Whose point it becomes [default: what the export says of itself]
    #[arg(long = "as", value_name = "SOURCE")]
    pub source: Option<Selector>,
    /// The name of the server it came from [default: server_name in the settings, or this host's name]
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// Give the point this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG", value_parser = parse_tag)]
    pub tags: Vec<String>,
}

/// Prove that the repository is intact
///
/// Reads every object but the data itself, walks through every point, and looks up the place of every chunk. Nothing is
/// changed. With --read-data all data is read, decrypted and compared with its digests, which takes as long as reading
/// the whole repository does. With a part of it, what was not read for longest is read, and what was read is remembered
/// in the repository, so that in time all of it is.
#[derive(Arguments)]
pub struct Check {
    /// Read all data, too, or a part of it: 5% of it, or as much as it takes to read all of it once in 30d
    #[arg(long, value_name = "PART", num_args = 0..=1, require_equals = true, default_missing_value = "100%")]
    #[arg(value_parser = parse_part)]
    pub read_data: Option<Part>,
}

/// How much of the data is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    All,
    Some(Share),
}

/// Reads what `--read-data` takes.
fn parse_part(text: &str) -> Result<Part, String> {
    if !text.ends_with('%') {
        let wrong = |_| format!("{text:?} is neither a share like 5% nor a time like 30d");
        return parse_age(text).map(|period| Part::Some(Share::Within(period))).map_err(wrong);
    }
    Ok(match parse_permille(text)? {
        1000 => Part::All,
        permille => Part::Some(Share::Permille(permille)),
    })
}

/// Tell whether every source is backed up, and how recently
///
/// The daemon of this host, if there is one, says what there is now; without one the runs in the repository do. A
/// source is late if its newest point is older than --max-age, failing if the last run that tried made no point of it,
/// never backed up if the daemon has it and the repository does not, and gone if it is the other way round. The exit
/// code is 3 if any is late, failing or was never backed up.
#[derive(Arguments)]
pub struct Status {
    /// Tell of these sources only
    #[arg(value_name = "SOURCE")]
    pub sources: Vec<Selector>,
    /// How old a newest point may be: 26h, 2days [default: max_age in the settings, or any age]
    #[arg(long, value_name = "TIME", value_parser = parse_age)]
    pub max_age: Option<Duration>,
    /// Do not ask the daemon
    #[arg(long)]
    pub offline: bool,
    /// The server's name in the repository [default: the daemon's own]
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
}

/// How many sources are saved beside each other.
pub fn parse_parallel(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=SOURCES_AT_ONCE_MAX).contains(number));
    number.ok_or_else(|| format!("{text:?} is no number from 1 to {SOURCES_AT_ONCE_MAX}"))
}

/// A number of bytes such as `50MiB`, `1.5GB` or `1000`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size: use 50MiB, 200kB or 1000000");
    let digits = text.len() - text.trim_start_matches(|one: char| one.is_ascii_digit() || one == '.').len();
    let (number, unit) = text.split_at(digits);
    let (power, step) = match unit.trim() {
        "" | "B" => (0, 1),
        "kB" | "KB" => (1, 1000),
        "MB" => (2, 1000),
        "GB" => (3, 1000),
        "K" | "KiB" => (1, 1024),
        "M" | "MiB" => (2, 1024),
        "G" | "GiB" => (3, 1024),
        _ => return Err(wrong()),
    };
    let unit: u64 = u64::pow(step, power);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let fraction = fraction.get(..fraction.len().min(6)).unwrap_or_default();
    let tenths: u64 = fraction.parse().map_err(|_| wrong())?;
    let part = u64::pow(10, u32::try_from(fraction.len()).map_err(|_| wrong())?);
    let bytes = whole.checked_mul(unit).and_then(|bytes| bytes.checked_add(unit * tenths / part));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

/// A time such as `26h`; days have 24 hours.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: use 26h, 90m or 2days");
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| wrong())
}

/// List the sources of the repository, retire and rename them
#[derive(Subcommand)]
pub enum SourceCommand {
    /// List every source that has a point
    List,
    /// Say that a source is decommissioned
    ///
    /// Its points stay and can be restored, and its absence is no longer worth a word. A later backup of it ends the
    /// retirement.
    Retire(SourceRetire),
    /// Give the points of one source to another
    ///
    /// For a thing that was renamed or moved on its server: its points count as those of the new name from now on.
    /// What is backed up under the old name later is another thing's history.
    Rename(SourceRename),
}

#[derive(Arguments)]
pub struct SourceRetire {
    /// The source
    #[arg(value_name = "SOURCE")]
    pub source: Selector,
    /// Take it back: the source lives
    #[arg(long)]
    pub undo: bool,
}

#[derive(Arguments)]
pub struct SourceRename {
    /// The source as the repository knows it
    #[arg(value_name = "SOURCE")]
    pub source: Selector,
    /// Its new name, in the same text form
    #[arg(value_name = "NEW")]
    pub new: Selector,
}

/// Delete what no point uses any more
///
/// Packs of which nothing is in use are deleted, and half-used ones packed anew until little enough is unused. Backups,
/// restores and other prunes may go on meanwhile, from any host. What a backup at work may still need is waited for;
/// one whose process is gone, or that has been silent for half an hour, is taken for dead, which costs it another
/// commit if it lives. After an interruption the next prune goes on.
#[derive(Arguments)]
pub struct Prune {
    /// How much unused data may stay in packs: a share of all of them (5%), a size (2GiB), or "unlimited", which
    /// deletes only packs without any use
    #[arg(long, value_name = "LIMIT", default_value = "5%", value_parser = parse_max_unused)]
    pub max_unused: MaxUnused,
    /// End backups that are at work instead of waiting for them
    #[arg(long, conflicts_with = "no_wait")]
    pub now: bool,
    /// Leave what would have to wait for a backup to the next prune
    #[arg(long)]
    pub no_wait: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Reads what `--max-unused` takes.
fn parse_max_unused(text: &str) -> Result<MaxUnused, String> {
    if text == "unlimited" {
        return Ok(MaxUnused::Unlimited);
    }
    if text == "0" {
        return Ok(MaxUnused::Bytes(0));
    }
    if text.ends_with('%') {
        parse_permille(text).map(MaxUnused::Permille)
    } else {
        let wrong = |_| format!("{text:?} is no limit: use a share like 5%, a size like 2GiB, or unlimited");
        parse_size(text).map(MaxUnused::Bytes).map_err(wrong)
    }
}

/// Reads a share as people write it: `5%`.
fn parse_permille(text: &str) -> Result<u64, String> {
    let percent = text.strip_suffix('%').unwrap_or(text);
    let wrong = || format!("{text:?} is no share: use 5% or 2.5%, from 0% to 100%");
    let (whole, tenths) = percent.split_once('.').unwrap_or((percent, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(tenths) || tenths.len() > 1 {
        return Err(wrong());
    }
    let number = |digits: &str| digits.parse::<u64>().map_err(|_| wrong());
    let permille = number(whole)?.saturating_mul(10).saturating_add(number(tenths)?);
    if permille > 1000 { Err(wrong()) } else { Ok(permille) }
}

/// Mend what can be mended
///
/// Checks first, and does what the findings ask for: small objects of which one copy is damaged are stored anew, lost
/// index segments are made again from the packs, and damaged packs are replaced by new ones with all that can be read
/// of them. A damaged key is added anew if it is the one that was given. Packs of which something that points need
/// cannot be read stay, and so do those points: a later backup of the same content heals them. Nothing that might be
/// wanted is thrown away. Without --read-data only damage is found that shows without reading all data.
#[derive(Arguments)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Repair {
    /// Read all data to find what is damaged
    #[arg(long)]
    pub read_data: bool,
    /// End backups that are at work instead of waiting for them
    #[arg(long)]
    pub now: bool,
    /// Remove condemned objects that cannot be read, because no prune runs on any host
    #[arg(long)]
    pub no_prune_runs: bool,
    /// Let prunes go on though pieces of recipes are lost: they then delete content that only those pieces name. The
    /// points stay, with holes
    #[arg(long)]
    pub give_up_lost_pieces: bool,
    /// Do nothing but let the repository count with listings that are so many seconds old, as another host's mount of
    /// it shows them; that host may write once this has ended
    #[arg(long, value_name = "SECONDS")]
    #[arg(conflicts_with_all = ["read_data", "now", "no_prune_runs", "give_up_lost_pieces"])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(SETTLE_SECONDS_MAX)))]
    pub settle: Option<u32>,
}

/// Add, list, remove and change the keys that open the repository
#[derive(Subcommand)]
pub enum Key {
    /// Add a key: a passphrase, asked for twice, or a key file
    Add(KeyAdd),
    /// List the keys; * marks the one in use
    List,
    /// Remove a key
    ///
    /// What was backed up stays. The last key that can read cannot be removed. Whoever kept a copy of the repository
    /// from before can still open that copy with the key.
    Remove(KeyRemove),
    /// Put a new key in the place of the one in use
    ///
    /// The new key is added first and gets the old one's rights and label, then the old one is removed; if anything
    /// fails in between, both open the repository. No data is encrypted anew.
    Change(KeyChange),
}

#[derive(Arguments)]
pub struct KeyAdd {
    #[command(flatten)]
    pub new: NewKeyArgs,
    /// The new key can back up, but not list, read or restore
    #[arg(long)]
    pub write_only: bool,
    /// Make a key and print it, to be kept on paper; typed into a file it opens as a key file does
    #[arg(long, conflicts_with_all = ["new_key_file", "new_password_file"])]
    pub recovery: bool,
    /// What to call it in lists
    #[arg(long, default_value = "", hide_default_value = true)]
    pub label: String,
}

#[derive(Arguments)]
pub struct KeyRemove {
    /// Its id, or the beginning of it
    #[arg(value_name = "ID")]
    pub id: String,
}

#[derive(Arguments)]
pub struct KeyChange {
    #[command(flatten)]
    pub new: NewKeyArgs,
    /// What to call it in lists [default: as before]
    #[arg(long)]
    pub label: Option<String>,
}

/// How a further key is given.
#[derive(Arguments)]
#[group(multiple = false)]
pub struct NewKeyArgs {
    /// Make a key and write it to this new file, readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub new_key_file: Option<PathBuf>,
    /// Read the new passphrase from this file of one line
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let sizes = [("1000", 1000), ("50MiB", 50 << 20), ("1.5GB", 1_500_000_000), ("0.5K", 512), ("2 kB", 2000)];
        for (text, bytes) in sizes {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "0", "MiB", "1.2.3M", "-5", "5TB", "99999999999999999999", "18446744073709551615GiB", "1."] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn parts_of_the_data_are_shares_or_times() {
        assert_eq!(parse_part("100%"), Ok(Part::All));
        assert_eq!(parse_part("2.5%"), Ok(Part::Some(Share::Permille(25))));
        assert_eq!(parse_part("30d"), Ok(Part::Some(Share::Within(Duration::from_hours(720)))));
        for wrong in ["", "5", "101%", "x"] {
            assert!(parse_part(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_of_unused_data_are_shares_or_sizes() {
        let limits = [("5%", 50), ("2.5%", 25), ("0%", 0), ("100%", 1000)];
        for (text, permille) in limits {
            assert_eq!(parse_max_unused(text), Ok(MaxUnused::Permille(permille)), "{text}");
        }
        assert_eq!(parse_max_unused("2GiB"), Ok(MaxUnused::Bytes(2 << 30)));
        assert_eq!(parse_max_unused("0"), Ok(MaxUnused::Bytes(0)));
        assert_eq!(parse_max_unused("unlimited"), Ok(MaxUnused::Unlimited));
        for wrong in ["", "%", "-1%", "101%", "2.55%", "x%", "1e3%", "99999999999999999999%"] {
            assert!(parse_max_unused(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_read_with_their_units() {
        assert_eq!(parse_age("26h"), Ok(Duration::from_hours(26)));
        assert_eq!(parse_age("2days"), Ok(Duration::from_hours(48)));
        for wrong in ["", "soon", "26", "-2h"] {
            assert!(parse_age(wrong).is_err(), "{wrong}");
        }
    }
}
