//! When an export is complete: what the stream itself can prove (`format-spec/point.md`, "Acceptance").
//!
//! A clean end of the transfer proves nothing: daemons have been seen to end a stream cleanly whose source was deleted
//! or shrank under it. So the archive must parse to its end, end where it says so, and hold every member that its own
//! index announces. What only the daemon can tell, whether the instance is still the same, is asked by the caller.

use std::collections::HashSet;

use serde::Deserialize;

use crate::limits::{EXPORT_INDEX_BYTES_MAX, EXPORT_ROOTS_MAX};
use crate::tar::{self, Ending, Event};

/// Path of the index inside every export.
const INDEX_PATH: &[u8] = b"backup/index.yaml";
/// Path of the list of btrfs streams inside an optimized export.
const OPTIMIZED_HEADER_PATH: &[u8] = b"backup/optimized_header.yaml";

/// What an export holds, by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportKind {
    /// A container.
    Container,
    /// A virtual machine.
    VirtualMachine,
    /// A custom volume.
    Volume,
    /// A storage bucket.
    Bucket,
}

impl ExportKind {
    /// What to call it in a message.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Container => "a container",
            Self::VirtualMachine => "a virtual machine",
            Self::Volume => "a volume",
            Self::Bucket => "a bucket",
        }
    }
}

/// The part of an export's index that acceptance and naming need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportIndex {
    /// The daemon's name for the source.
    pub name: String,
    /// What it is.
    pub kind: ExportKind,
    /// The project, where the index tells.
    pub project: Option<String>,
    /// The pool it came from.
    pub pool: String,
    /// Names of the daemon's snapshots in the export, oldest first.
    pub snapshots: Vec<String>,
    /// Whether it is made of the storage driver's own streams.
    pub optimized: bool,
    /// Whether the content is a block device; known for custom volumes.
    block: bool,
    /// Whether a list of streams is part of it.
    optimized_header: bool,
}

/// Why a stream is no complete export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The stream stopped inside a member.
    #[error("the archive is cut off inside {path}")]
    Cut {
        /// The member.
        path: String,
    },
    /// The stream stopped between members, before the end blocks.
    #[error("the archive stops after {members} members without its end blocks")]
    NoEnd {
        /// Members seen.
        members: u64,
    },
    /// Bytes follow the end of the archive.
    #[error("other bytes follow the end of the archive at byte {offset}")]
    Trailing {
        /// Where they begin.
        offset: u64,
    },
    /// Zeros follow the end of the archive where a daemon writes none.
    #[error("{zeros} zero bytes follow the end of the archive")]
    Padded {
        /// How many.
        zeros: u64,
    },
    /// The stream is no tar archive, or stops being one.
    #[error("what follows byte {offset} is no tar archive")]
    NotTar {
        /// Where.
        offset: u64,
    },
    /// There is no index in it.
    #[error("it holds no backup/index.yaml, so it is no export of LXD or Incus")]
    NoIndex,
    /// The index cannot be understood.
    #[error("its backup/index.yaml cannot be understood: {reason}")]
    BadIndex {
        /// Why.
        reason: String,
    },
    /// A member that the index announces is missing.
    #[error("its index announces {path}, which it does not hold")]
    Missing {
        /// The member's path.
        path: String,
    },
    /// A disc image of another length than the daemon told.
    #[error("it has {found} bytes, and the daemon says that it has {expected}")]
    WrongLength {
        /// As the daemon told.
        expected: u64,
        /// That came.
        found: u64,
    },
    /// An image of other bytes than its fingerprint says.
    #[error("its bytes have the fingerprint {found}")]
    WrongFingerprint {
        /// What the bytes have.
        found: String,
    },
    /// The parts of an image have no end.
    #[error("the last of its files has no end")]
    PartsUnended,
    /// More top-level members than any export has.
    #[error("it holds more than {EXPORT_ROOTS_MAX} top-level members")]
    TooManyRoots,
}

/// What is known of a stream that proved complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its index.
    pub index: ExportIndex,
    /// Members of the archive.
    pub members: u64,
    /// Something that deserves a warning.
    pub warning: Option<String>,
}

/// Whether zeros may follow the end blocks: daemons write none, but tools that repack archives do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// The two zero blocks are the last bytes.
    Forbidden,
    /// Zeros may follow.
    Allowed,
}

/// Watches a stream go by and then says whether it is a complete export.
#[derive(Debug, Default)]
pub struct Acceptor {
    index: Option<Vec<u8>>,
    header: Option<Vec<u8>>,
    capturing: Capture,
    roots: HashSet<Vec<u8>>,
    too_many_roots: bool,
    rootfs_members: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Capture {
    #[default]
    Nothing,
    Index,
    Header,
}

impl Acceptor {
    /// A watcher at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of an event of the splitter's.
    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            // Padding, the next header or the end blocks: the content is over, and what follows the end is none of it.
            Event::Boundary | Event::Envelope(_) => self.capturing = Capture::Nothing,
            Event::Member(member) => self.member(member),
            Event::Inline(bytes) | Event::Payload(bytes) => {
                let kept = match self.capturing {
                    Capture::Nothing => return,
                    Capture::Index => self.index.get_or_insert_default(),
                    Capture::Header => self.header.get_or_insert_default(),
                };
                // One byte beyond the limit is kept, so that the decoder can tell.
                let room = (EXPORT_INDEX_BYTES_MAX + 1).saturating_sub(kept.len());
                kept.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
            }
            Event::PayloadStart { .. } | Event::Zeros(_) | Event::PayloadEnd => {}
        }
    }

    fn member(&mut self, member: &tar::Member) {
        let path = member.path.strip_suffix(b"/").unwrap_or(&member.path);
        self.capturing = match path {
            INDEX_PATH if self.index.is_none() => {
                self.index = Some(Vec::new());
                Capture::Index
            }
            OPTIMIZED_HEADER_PATH if self.header.is_none() => {
                self.header = Some(Vec::new());
                Capture::Header
            }
            _ => Capture::Nothing,
        };
        let Some(inside) = path.strip_prefix(b"backup/") else { return };
        let mut parts = inside.split(|byte| *byte == b'/');
        let (first, second, third) = (parts.next(), parts.next(), parts.next());
        if first == Some(b"container") && second == Some(b"rootfs") && third.is_some() {
            self.rootfs_members += 1;
        }
        let snapshot = first.is_some_and(|dir| dir.ends_with(b"snapshots"));
        if second.is_none() || snapshot && third.is_none() {
            if self.roots.len() < EXPORT_ROOTS_MAX {
                self.roots.insert(inside.to_vec());
            } else {
                self.too_many_roots = true;
            }
        }
    }

    /// The verdict about the stream that ended so.
    pub fn verdict(&self, ending: &Ending, padding: Padding) -> Result<Accepted, Rejection> {
        let members = match ending {
            Ending::Complete { members, trailing_zeros: 0 } => *members,
            Ending::Complete { members, .. } if padding == Padding::Allowed => *members,
            Ending::Complete { trailing_zeros, .. } => return Err(Rejection::Padded { zeros: *trailing_zeros }),
            Ending::NoEnd { members } => return Err(Rejection::NoEnd { members: *members }),
            Ending::Cut { path } => {
                let path = if path.is_empty() { "its first header".to_owned() } else { tar::display(path).to_string() };
                return Err(Rejection::Cut { path });
            }
            Ending::Trailing { offset, .. } => return Err(Rejection::Trailing { offset: *offset }),
            Ending::NotTar { offset } => return Err(Rejection::NotTar { offset: *offset }),
        };
        if self.too_many_roots {
            return Err(Rejection::TooManyRoots);
        }
        let index = ExportIndex::parse(self.index.as_deref().ok_or(Rejection::NoIndex)?)?;
        for path in index.expected(self.header.as_deref())? {
            if !self.roots.contains(path.as_bytes()) {
                return Err(Rejection::Missing { path: format!("backup/{path}") });
            }
        }
        let empty = index.kind == ExportKind::Container && !index.optimized && self.rootfs_members == 0;
        let warning = empty.then(|| "the container's file system is empty".to_owned());
        Ok(Accepted { index, members, warning })
    }
}

/// The index as the daemons write it, versions 1 and 2.
#[derive(Deserialize)]
struct RawIndex {
    name: String,
    #[serde(default)]
    pool: String,
    #[serde(default)]
    snapshots: Option<Vec<String>>,
    #[serde(default)]
    optimized: Option<bool>,
    #[serde(default)]
    optimized_header: Option<bool>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    config: Option<RawConfig>,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    container: Option<RawObject>,
    #[serde(default)]
    instance: Option<RawObject>,
    #[serde(default)]
    volume: Option<RawObject>,
    #[serde(default)]
    bucket: Option<RawObject>,
}

#[derive(Deserialize)]
struct RawObject {
    #[serde(default)]
    project: Option<String>,
    #[serde(default)]
    content_type: Option<String>,
}

#[derive(Deserialize)]
struct RawHeader {
    #[serde(default)]
    subvolumes: Vec<RawSubvolume>,
}

#[derive(Deserialize)]
struct RawSubvolume {
    path: String,
    #[serde(default)]
    snapshot: String,
}

fn parse<T: for<'de> Deserialize<'de>>(yaml: &[u8]) -> Result<T, Rejection> {
    if yaml.len() > EXPORT_INDEX_BYTES_MAX {
        return Err(Rejection::BadIndex { reason: format!("it is longer than {EXPORT_INDEX_BYTES_MAX} bytes") });
    }
    serde_norway::from_slice(yaml).map_err(|error| {
        let reason = error.to_string();
        Rejection::BadIndex { reason: reason.lines().next().unwrap_or_default().to_owned() }
    })
}

impl ExportIndex {
    fn parse(yaml: &[u8]) -> Result<Self, Rejection> {
        let raw: RawIndex = parse(yaml)?;
        let kind = match raw.kind.as_deref() {
            None | Some("" | "container") => ExportKind::Container,
            Some("virtual-machine") => ExportKind::VirtualMachine,
            Some("custom") => ExportKind::Volume,
            Some("bucket") => ExportKind::Bucket,
            Some(other) => {
                return Err(Rejection::BadIndex { reason: format!("its type {other:?} is not known") });
            }
        };
        let object = raw.config.and_then(|config| match kind {
            ExportKind::Container | ExportKind::VirtualMachine => config.container.or(config.instance),
            ExportKind::Volume => config.volume,
            ExportKind::Bucket => config.bucket,
        });
        let block = object.as_ref().is_some_and(|object| object.content_type.as_deref() == Some("block"));
        Ok(Self {
            name: raw.name,
            kind,
            project: object.and_then(|object| object.project).filter(|project| !project.is_empty()),
            pool: raw.pool,
            snapshots: raw.snapshots.unwrap_or_default(),
            optimized: raw.optimized.unwrap_or_default(),
            block,
            optimized_header: raw.optimized_header.unwrap_or_default(),
        })
    }

    /// The top-level members that must be there, without `backup/`.
    fn expected(&self, header: Option<&[u8]>) -> Result<Vec<String>, Rejection> {
        let (main, snapshots) = match self.kind {
            ExportKind::Container => ("container", "snapshots"),
            ExportKind::VirtualMachine => ("virtual-machine", "virtual-machine-snapshots"),
            ExportKind::Volume => ("volume", "volume-snapshots"),
            ExportKind::Bucket => return Ok(Vec::new()),
        };
        let mut bases: Vec<String> = self.snapshots.iter().map(|name| format!("{snapshots}/{name}")).collect();
        bases.push(main.to_owned());
        if self.optimized {
            let mut paths: Vec<String> = bases.iter().map(|base| format!("{base}.bin")).collect();
            if self.optimized_header {
                let header: RawHeader = parse(header.ok_or_else(|| Rejection::Missing {
                    path: String::from_utf8_lossy(OPTIMIZED_HEADER_PATH).into_owned(),
                })?)?;
                paths.extend(header.subvolumes.iter().map(|volume| volume.member(main, snapshots)));
            }
            return Ok(paths);
        }
        Ok(match (self.kind, self.block) {
            (ExportKind::VirtualMachine, _) => {
                bases.iter().flat_map(|base| [base.clone(), format!("{base}.img")]).collect()
            }
            (ExportKind::Volume, true) => bases.iter().map(|base| format!("{base}.img")).collect(),
            _ => bases,
        })
    }
}

impl RawSubvolume {
    /// The member that holds this subvolume's stream: a nested one has its path behind the volume's name, `-` doubled
    /// and `/` turned into `-`.
    fn member(&self, main: &str, snapshots: &str) -> String {
        let base = if self.snapshot.is_empty() { main.to_owned() } else { format!("{snapshots}/{}", self.snapshot) };
        match self.path.trim_start_matches('/') {
            "" => format!("{base}.bin"),
            path => format!("{base}_{}.bin", path.replace('-', "--").replace('/', "-")),
        }
    }
}
