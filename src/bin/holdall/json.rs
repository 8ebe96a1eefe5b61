//! What `--json` prints: one object per line, each with its `type` and `version`.
//!
//! These shapes are a promise. Fields may be added, and an object's version rises if one is removed or changes its
//! meaning. Sizes are bytes, times are RFC 3339 in UTC, ids are full, digests are hexadecimal. The README lists the
//! types.

use std::fmt::Write as _;

use serde::Serialize;

use holdall::id::PointId;
use holdall::point::{self, StreamForm};
use holdall::source::SourceKind;

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

/// What `backup --dry-run` would back up.
#[derive(Serialize)]
pub struct Planned<'o> {
    pub source: &'o str,
    pub what: &'o str,
}

impl Object for Planned<'_> {
    const TYPE: &'static str = "planned";
}

/// `restore` put a point into the daemon.
#[derive(Serialize)]
pub struct Restored<'o> {
    pub point: String,
    pub source: String,
    pub project: &'o str,
    pub name: &'o str,
    pub bytes: u64,
    /// What was done beyond the import, and what could not be done.
    pub remarks: &'o [String],
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
    /// `export`, `optimized` or `file`.
    pub form: &'static str,
    pub stream_bytes: u64,
    pub new_bytes: u64,
    pub stored_bytes: u64,
}

impl Object for Point {
    const TYPE: &'static str = "point";
}

impl Point {
    pub fn new(id: PointId, point: &point::Point) -> Self {
        Self {
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
}

impl Object for Exported {
    const TYPE: &'static str = "exported";
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
