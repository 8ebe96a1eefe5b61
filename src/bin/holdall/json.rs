//! What `--json` prints: one object per line, each with its `type` and `version`.
//!
//! These shapes are a promise. Fields may be added, and an object's version rises if one is removed or changes its
//! meaning. Sizes are bytes, times are RFC 3339 in UTC, ids are full, digests are hexadecimal. The README lists the
//! types.

mod forget;
mod prune;

pub use forget::{DamagedPoint, Fate, Forgot, Marked, Simulated, Simulation};
pub use prune::{PrunePlanned, Pruned, Repaired};

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;

use holdall::browse;
use holdall::id::PointId;
use holdall::point::{self, StreamForm};
use holdall::source::SourceKind;
use holdall::tar::{Member, MemberKind};

/// Something that has a form for programs.
pub trait Object: Serialize {
    /// Its `type`.
    const TYPE: &'static str;
    /// Its `version`.
    const VERSION: u32 = 1;
}

#[derive(Serialize)]
struct Typed<'o, O> {
    r#type: &'static str,
    version: u32,
    #[serde(flatten)]
    object: &'o O,
}

/// The line that an object is.
pub fn line<O: Object>(object: &O) -> String {
    let typed = Typed { r#type: O::TYPE, version: O::VERSION, object };
    // No object of this file has a part that JSON cannot hold.
    serde_json::to_string(&typed).unwrap_or_default()
}

/// `init` made a repository.
#[derive(Serialize)]
pub struct Repository {
    pub path: String,
    pub id: String,
    /// The longest time for which a listing of the store may be stale.
    pub settle_seconds: u32,
    /// The key file that was made.
    pub key_file: Option<String>,
}

impl Object for Repository {
    const TYPE: &'static str = "repository";
}

/// A point was made by `import` or `backup`.
#[derive(Serialize)]
pub struct Made {
    pub point: String,
    pub source: String,
    pub stream_bytes: u64,
    pub new_bytes: u64,
    pub stored_bytes: u64,
}

impl Object for Made {
    const TYPE: &'static str = "made";
}

/// A source of which no point was made, while others go on.
#[derive(Serialize)]
pub struct Failed<'o> {
    pub source: &'o str,
    pub message: &'o str,
}

impl Object for Failed<'_> {
    const TYPE: &'static str = "failed";
}

/// What `backup --dry-run` would do with a source.
#[derive(Serialize)]
pub struct Planned<'o> {
    pub source: &'o str,
    pub what: &'o str,
    /// Whether it is backed up.
    pub chosen: bool,
    pub why: &'o str,
    /// The other members of its set.
    pub set: Vec<String>,
}

impl Object for Planned<'_> {
    const TYPE: &'static str = "planned";
}

/// How a source stands, as `status` tells it.
#[derive(Serialize)]
pub struct Standing<'o> {
    pub source: String,
    pub state: &'static str,
    /// Whether the source is late, failing, incomplete or was never backed up.
    pub needs_attention: bool,
    pub points: usize,
    pub newest: Option<String>,
    /// When the newest point was begun.
    pub newest_started: Option<String>,
    /// When a run last failed to make a point of it since then.
    pub failed: Option<String>,
    pub message: Option<&'o str>,
}

impl Object for Standing<'_> {
    const TYPE: &'static str = "standing";
}

/// A source that has points, as `source list` tells it.
#[derive(Serialize)]
pub struct SourceSummary {
    pub source: String,
    pub retired: bool,
    pub points: usize,
    pub newest: String,
    pub newest_started: String,
}

impl Object for SourceSummary {
    const TYPE: &'static str = "source";
}

/// `restore` put a point into the daemon.
#[derive(Serialize)]
pub struct Restored<'o> {
    pub point: String,
    pub source: String,
    pub project: &'o str,
    pub name: &'o str,
    pub bytes: u64,
    /// Whether it took the place of another, which is gone.
    pub replaced: bool,
    /// What was done beyond the import, and what could not be done.
    pub remarks: &'o [String],
    /// Stretches that are lost; each was named. Without `--around-holes` there are none, or no restore.
    pub holes: u64,
}

impl Object for Restored<'_> {
    const TYPE: &'static str = "restored";
}

/// A point, as `list` shows it.
#[derive(Serialize)]
pub struct Point {
    pub id: String,
    pub source: String,
    pub server: String,
    pub project: Option<String>,
    pub kind: &'static str,
    pub name: String,
    /// When reading began: what the point shows is of this time.
    pub started: String,
    pub ended: String,
    pub consistency: &'static str,
    /// `export`, `optimized`, `file`, `disc`, `image` or `split-image`.
    pub form: &'static str,
    pub stream_bytes: u64,
    pub new_bytes: u64,
    pub stored_bytes: u64,
    pub tags: Vec<String>,
    pub pinned: bool,
    /// Chunks that the last check did not find.
    pub lost_chunks: u64,
}

impl Object for Point {
    const TYPE: &'static str = "point";
}

impl Point {
    pub fn new(id: PointId, point: &point::Point, tags: &BTreeSet<&str>, pinned: bool, lost_chunks: u64) -> Self {
        Self {
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            pinned,
            lost_chunks,
            id: id.to_string(),
            source: point.source.to_string(),
            server: point.source.server.clone(),
            project: point.source.project().map(str::to_owned),
            kind: kind(&point.source.kind),
            name: point.source.name.clone(),
            started: point.started.to_string(),
            ended: point.ended.to_string(),
            consistency: point.consistency.word(),
            form: form(point.form),
            stream_bytes: point.content.stream_len,
            new_bytes: point.statistics.new_bytes,
            stored_bytes: point.statistics.stored_bytes,
        }
    }
}

/// A point with all that is known of it, as `show` prints it: the fields of [`Point`] and these.
#[derive(Serialize)]
pub struct PointDetails {
    #[serde(flatten)]
    pub point: Point,
    pub run: String,
    pub host: String,
    /// The daemon that it came from.
    pub daemon: Option<Daemon>,
    /// How it arrived, where it is stored in another form.
    pub original: Option<Original>,
    pub remarks: Vec<String>,
    /// The other members of its set.
    pub set: Vec<SetMember>,
    pub snapshots: Vec<Snapshot>,
    /// The daemon's own description, or nothing.
    pub description: Option<serde_json::Value>,
    pub members: u64,
    pub chunks: u64,
    pub new_chunks: u64,
    pub recipe_blake3: String,
    pub stream_xxh3_128: String,
    pub packs: Vec<String>,
}

impl Object for PointDetails {
    const TYPE: &'static str = "point_details";
}

/// Another member of a point's set.
#[derive(Serialize)]
pub struct SetMember {
    pub source: String,
    /// The point that the same run made of it; nothing if it made none.
    pub point: Option<String>,
}

/// The daemon of a point.
#[derive(Serialize)]
pub struct Daemon {
    pub id: String,
    pub flavor: String,
    pub version: String,
    pub certificate: String,
}

/// How a stream arrived.
#[derive(Serialize)]
pub struct Original {
    pub codec: String,
    pub bytes: u64,
    pub blake3: String,
}

/// A snapshot that a point holds.
#[derive(Serialize)]
pub struct Snapshot {
    pub name: String,
    pub created: Option<String>,
    pub expires: Option<String>,
}

/// A point was exported.
#[derive(Serialize)]
pub struct Exported {
    pub point: String,
    pub source: String,
    /// The file, or `-`.
    pub file: String,
    pub bytes: u64,
    /// With `--digest`.
    pub blake3: Option<String>,
    /// Stretches that are lost; each was named. Without `--around-holes` there are none, or no file.
    pub holes: u64,
}

impl Object for Exported {
    const TYPE: &'static str = "exported";
}

/// A file in a point, as `ls` shows it. A directory that the archive has no member for has a path and a kind only.
#[derive(Serialize)]
pub struct Entry {
    /// Inside the region, without a slash at its beginning; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// The bytes of a path that is not UTF-8, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
    pub kind: &'static str,
    #[serde(flatten)]
    pub member: Option<EntryMember>,
}

impl Object for Entry {
    const TYPE: &'static str = "entry";
}

/// What the archive says of a file.
#[derive(Serialize)]
pub struct EntryMember {
    /// Permission bits.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub size: u64,
    /// Missing where no calendar has it.
    pub mtime: Option<String>,
    /// The target of a link, of a hard link as it stands in the archive.
    pub link: Option<String>,
    /// Its bytes where it is not UTF-8, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_hex: Option<String>,
    /// Major and minor number of a device.
    pub device: Option<[u32; 2]>,
    /// The names of extended attributes.
    pub xattrs: Vec<String>,
}

impl Entry {
    pub fn new(entry: &browse::Entry) -> Self {
        let (path, path_hex) = bytes(&entry.path);
        let kind = entry.member.as_ref().map_or(MemberKind::Directory, |member| member.kind);
        Self { path, path_hex, kind: member_kind(kind), member: entry.member.as_deref().map(EntryMember::new) }
    }
}

impl EntryMember {
    fn new(member: &Member) -> Self {
        let (link, link_hex) = bytes(&member.link);
        let is_device = matches!(member.kind, MemberKind::CharDevice | MemberKind::BlockDevice);
        Self {
            mode: member.mode & 0o7777,
            uid: member.uid,
            gid: member.gid,
            size: member.size,
            mtime: Some(mtime(member, true)).filter(|text| !text.is_empty()),
            link: (!link.is_empty()).then_some(link),
            link_hex,
            device: is_device.then_some([member.device_major, member.device_minor]),
            xattrs: member.xattrs.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect(),
        }
    }
}

/// Bytes as text, and in hexadecimal where they are none.
fn bytes(bytes: &[u8]) -> (String, Option<String>) {
    let text = String::from_utf8_lossy(bytes);
    let is_text = matches!(text, std::borrow::Cow::Borrowed(_));
    (text.into_owned(), (!is_text).then(|| hex(bytes)))
}

/// When a file was changed last: exact and in UTC, or for people. Empty for a time that no calendar has.
pub fn mtime(member: &Member, exact: bool) -> String {
    let nanos = i32::try_from(member.mtime_nanos).unwrap_or(0);
    let Ok(moment) = jiff::Timestamp::new(member.mtime_seconds, nanos) else { return String::new() };
    if exact {
        return moment.to_string();
    }
    moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The word for a kind of member.
pub fn member_kind(kind: MemberKind) -> &'static str {
    match kind {
        MemberKind::File => "file",
        MemberKind::Sparse => "sparse",
        MemberKind::HardLink => "hardlink",
        MemberKind::Symlink => "symlink",
        MemberKind::CharDevice => "char-device",
        MemberKind::BlockDevice => "block-device",
        MemberKind::Directory => "directory",
        MemberKind::Fifo => "fifo",
        MemberKind::Other(_) => "other",
    }
}

/// What `extract` came to.
#[derive(Serialize)]
pub struct Extracted {
    pub point: String,
    pub source: String,
    pub directory: String,
    pub files: u64,
    pub directories: u64,
    /// Symbolic and hard links, devices and FIFOs.
    pub others: u64,
    pub bytes: u64,
    /// Files that were left to whoever ran it, and devices that were left out, for want of permission.
    pub ownerless: u64,
    pub deviceless: u64,
    pub problems: u64,
}

impl Object for Extracted {
    const TYPE: &'static str = "extracted";
}

/// A file that is not the same in two points.
#[derive(Serialize)]
pub struct Difference<'o> {
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    pub path: String,
    /// The bytes of a path that is not UTF-8, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
    /// What is changed: `kind`, `content`, `mode`, `owner`, `mtime`, `link`, `xattrs`.
    pub what: &'o [&'static str],
}

impl Object for Difference<'_> {
    const TYPE: &'static str = "difference";
}

impl<'o> Difference<'o> {
    pub fn new(difference: &'o browse::Difference) -> Self {
        let (path, path_hex) = bytes(&difference.path);
        let (change, what) = match &difference.change {
            browse::Change::Added => ("added", &[][..]),
            browse::Change::Removed => ("removed", &[][..]),
            browse::Change::Changed(what) => ("changed", what.as_slice()),
        };
        Self { change, path, path_hex, what }
    }
}

/// A value of the daemon's description that is not the same in two points.
#[derive(Serialize)]
pub struct ConfigDifference<'o> {
    pub key: &'o str,
    pub before: Option<&'o str>,
    pub after: Option<&'o str>,
}

impl Object for ConfigDifference<'_> {
    const TYPE: &'static str = "config_difference";
}

impl<'o> ConfigDifference<'o> {
    pub fn new(change: &'o browse::ConfigChange) -> Self {
        Self { key: &change.key, before: change.before.as_deref(), after: change.after.as_deref() }
    }
}

/// What `stats` counts.
#[derive(Serialize)]
pub struct Stats {
    pub points: u64,
    pub sources: u64,
    pub logical_bytes: u64,
    pub stored_bytes: u64,
    /// How many times less is stored; nothing while nothing is.
    pub ratio: Option<f64>,
    /// Parity in packs, besides what is stored.
    pub parity_bytes: u64,
    pub objects: Vec<Usage>,
}

impl Object for Stats {
    const TYPE: &'static str = "stats";
}

/// The objects of one kind.
#[derive(Serialize)]
pub struct Usage {
    pub kind: &'static str,
    pub objects: u64,
    pub bytes: u64,
}

impl Stats {
    pub fn new(stats: &browse::Stats) -> Self {
        let usage =
            |usage: &holdall::repo::Usage| Usage { kind: usage.kind, objects: usage.objects, bytes: usage.bytes };
        Self {
            points: stats.points,
            sources: stats.sources,
            logical_bytes: stats.logical_bytes,
            stored_bytes: stats.stored_bytes(),
            ratio: ratio(stats),
            parity_bytes: stats.parity_bytes,
            objects: stats.usage.iter().map(usage).collect(),
        }
    }
}

/// What was backed up over what is stored.
#[expect(clippy::cast_precision_loss, reason = "a ratio for people needs three digits")]
pub fn ratio(stats: &browse::Stats) -> Option<f64> {
    let stored = stats.stored_bytes();
    (stored > 0).then(|| stats.logical_bytes as f64 / stored as f64)
}

/// Something that `check` found.
#[derive(Serialize)]
pub struct Finding<'o> {
    /// `damage`: data is missing or wrong; `degraded`: redundancy is lost.
    pub severity: &'static str,
    pub object: &'o str,
    pub message: &'o str,
    /// The points that cannot be restored in full because of it.
    pub affected: &'o [String],
    /// Where the object is a point: members of it that lose content, at most 1000.
    pub files: &'o [String],
}

impl Object for Finding<'_> {
    const TYPE: &'static str = "finding";
}

/// What `check` came to.
#[derive(Serialize)]
pub struct Checked {
    pub points: u64,
    pub chunks: u64,
    pub packs: u64,
    pub unnamed_packs: u64,
    pub bytes_read: u64,
    pub damaged: u64,
    pub degraded: u64,
    /// Whether the check came to its end.
    pub complete: bool,
}

impl Object for Checked {
    const TYPE: &'static str = "checked";
}

/// A key, as `key list` shows it.
#[derive(Serialize)]
pub struct Key {
    pub id: String,
    pub in_use: bool,
    /// Missing where the slot cannot be read; then `problem` says why.
    #[serde(flatten)]
    pub description: Option<KeyDescription>,
    pub problem: Option<String>,
}

impl Object for Key {
    const TYPE: &'static str = "key";
}

/// What a key says about itself.
#[derive(Serialize)]
pub struct KeyDescription {
    /// `passphrase`, `key-file` or `recovery`.
    pub opens_with: &'static str,
    /// `full` or `write-only`.
    pub access: &'static str,
    pub created: String,
    pub label: String,
}

/// A key was added.
#[derive(Serialize)]
pub struct KeyAdded<'a> {
    pub id: String,
    pub key_file: Option<String>,
    /// The contents of a key file, of a recovery key only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<&'a str>,
}

impl Object for KeyAdded<'_> {
    const TYPE: &'static str = "key_added";
}

/// A key was removed.
#[derive(Serialize)]
pub struct KeyRemoved {
    pub id: String,
}

impl Object for KeyRemoved {
    const TYPE: &'static str = "key_removed";
}

/// Something that went wrong without ending the command.
#[derive(Serialize)]
pub struct Problem<'o> {
    pub object: &'o str,
    pub message: &'o str,
}

impl Object for Problem<'_> {
    const TYPE: &'static str = "problem";
}

/// The command failed; always the last line.
#[derive(Serialize)]
pub struct Error<'o> {
    /// The exit code.
    pub code: u8,
    pub message: &'o str,
    /// The next step.
    pub hint: Option<&'o str>,
}

impl Object for Error<'_> {
    const TYPE: &'static str = "error";
}

/// The word for what a stream is.
pub fn form(form: StreamForm) -> &'static str {
    match form {
        StreamForm::Export { optimized: false } => "export",
        StreamForm::Export { optimized: true } => "optimized",
        StreamForm::File => "file",
        StreamForm::Disc => "disc",
        StreamForm::Image => "image",
        StreamForm::SplitImage => "split-image",
    }
}

/// The word for a kind of source.
pub fn kind(kind: &SourceKind) -> &'static str {
    match kind {
        SourceKind::Instance { .. } => "instance",
        SourceKind::Volume { .. } => "volume",
        SourceKind::Bucket { .. } => "bucket",
        SourceKind::Image { .. } => "image",
        SourceKind::File => "file",
        SourceKind::Directory => "directory",
        SourceKind::Server => "server",
    }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
