//! A point goes back into a daemon: every condition is looked at first, then the stream is uploaded, verified while it
//! goes, and completed only if it is what was backed up.
//!
//! Importing over an existing name damages the instance that has it (`format-spec/point.md`, "Restore"), so the name
//! must be free. A restored twin keeps its MAC addresses and its uuid; where the target server has an instance with the
//! same, the restored one gets fresh ones before anything can start it. What a daemon exports in a form that no import
//! reads is put right on the way, see `attributes`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::sync::mpsc;

use serde::Deserialize;

use crate::daemon::{Daemon, DaemonError, ImportRequest, InstanceChange, Progress, Summary};
use crate::id::{RandomError, random_bytes};
use crate::limits::{PIECE_BYTES, UPLOAD_QUEUE_BYTES_MAX};
use crate::monitor::{Event, Monitor};
use crate::point::{Point, StreamForm};
use crate::repo::Repository;
use crate::restore::attributes::{AttributesAsOnDisk, IdMap};
use crate::restore::fetch::{FetchError, write_stream};
use crate::source::{DEFAULT_PROJECT, SourceKind};

/// Where to restore to; what is not given is as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreTarget {
    /// The instance's new name.
    pub name: Option<String>,
    /// The project.
    pub project: Option<String>,
    /// The storage pool.
    pub pool: Option<String>,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The project.
    pub project: String,
    /// The instance's name.
    pub name: String,
    /// Bytes that were uploaded.
    pub bytes: u64,
    /// What was done beyond the import and what could not be done, in words.
    pub remarks: Vec<String>,
}

/// Why a restore did not happen. Up to [`RestoreError::Upload`] nothing was sent to the daemon.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The point is not of an instance.
    #[error("{label} is no export of an instance; write it to a file with `holdall export`")]
    NotAnInstance {
        /// The point.
        label: String,
    },
    /// The name is taken.
    #[error("{object} exists on the server")]
    NameTaken {
        /// The instance.
        object: String,
    },
    /// The server lacks what the instance needs.
    #[error("The server lacks {missing}, which {label} needs")]
    Missing {
        /// The point.
        label: String,
        /// What is missing, all of it.
        missing: String,
    },
    /// The staging area cannot take the upload.
    #[error(
        "The daemon's staging area at {place} has {free} bytes free, and the upload of {label} needs {needed}; \
         free some, or point the daemon's storage.backups_volume at a larger pool"
    )]
    NoRoom {
        /// The point.
        label: String,
        /// Where.
        place: String,
        /// Free bytes.
        free: u64,
        /// Needed bytes.
        needed: u64,
    },
    /// The stream could not be rebuilt; the upload was broken off and the daemon discards it.
    #[error("{label} cannot be restored; the upload was broken off")]
    Fetch {
        /// The point.
        label: String,
        /// Why.
        source: FetchError,
    },
    /// The daemon refused or broke off.
    #[error("{label} cannot be imported")]
    Upload {
        /// The point.
        label: String,
        /// The daemon's words.
        source: DaemonError,
    },
    /// The instance was restored, but it still has the identity of another one.
    #[error(
        "{object} was restored, but it could not be given an identity of its own; do not start it while its twin \
         runs, or delete it and restore it again"
    )]
    Identity {
        /// The instance.
        object: String,
        /// The daemon's words.
        source: DaemonError,
    },
    /// A question to the daemon failed.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// No random bytes for a fresh uuid.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// What the stored description of an instance says that a restore must know.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Description {
    profiles: Vec<String>,
    config: BTreeMap<String, String>,
    expanded_devices: BTreeMap<String, BTreeMap<String, String>>,
    snapshots: Vec<DescribedSnapshot>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DescribedSnapshot {
    name: String,
    config: BTreeMap<String, String>,
    expires_at: Option<String>,
}

impl Description {
    /// How the ids of the instance and its snapshots were shifted on disk.
    fn id_maps(&self) -> Vec<IdMap> {
        let configs = std::iter::once(&self.config).chain(self.snapshots.iter().map(|snapshot| &snapshot.config));
        configs.filter_map(|config| config.get("volatile.last_state.idmap")).map(|map| IdMap::parse(map)).collect()
    }
}

/// Restores a point of an instance.
pub fn restore(
    repository: &Repository,
    daemon: &dyn Daemon,
    label: &str,
    point: &Point,
    target: &RestoreTarget,
    monitor: &dyn Monitor,
) -> Result<Restored, RestoreError> {
    let SourceKind::Instance { project } = &point.source.kind else {
        return Err(RestoreError::NotAnInstance { label: label.to_owned() });
    };
    let project = target.project.clone().unwrap_or_else(|| project.clone());
    let name = target.name.clone().unwrap_or_else(|| point.source.name.clone());
    let request = ImportRequest { project, name, pool: target.pool.clone() };
    let description: Description = serde_json::from_str(&point.description).unwrap_or_default();
    require_free(daemon, &request)?;
    require_surroundings(daemon, label, point, &request, &description)?;
    require_room(daemon, label, point, &request)?;
    let twins = twins(daemon, &description)?;
    // Once more, right before the upload: importing over a name is destructive.
    require_free(daemon, &request)?;
    let bytes = upload(repository, daemon, label, point, &request, description.id_maps(), monitor)?;
    let mut remarks = Vec::new();
    if !twins.is_empty() {
        refresh_identity(daemon, &request, &description, &twins, &mut remarks)?;
    }
    reapply_expiries(daemon, &request, &description, &mut remarks);
    Ok(Restored { project: request.project, name: request.name, bytes, remarks })
}

fn object(request: &ImportRequest) -> String {
    if request.project == DEFAULT_PROJECT {
        format!("Instance {}", request.name)
    } else {
        format!("Instance {}/{}", request.project, request.name)
    }
}

fn require_free(daemon: &dyn Daemon, request: &ImportRequest) -> Result<(), RestoreError> {
    match daemon.instance(&request.project, &request.name)? {
        None => Ok(()),
        Some(_) => Err(RestoreError::NameTaken { object: object(request) }),
    }
}

/// Pool, profiles and networks must be there, and a stream of a driver's own needs a pool of that driver.
fn require_surroundings(
    daemon: &dyn Daemon,
    label: &str,
    point: &Point,
    request: &ImportRequest,
    description: &Description,
) -> Result<(), RestoreError> {
    let mut missing: Vec<String> = Vec::new();
    let pools = daemon.pools()?;
    if let Some(wanted) = &request.pool
        && !pools.iter().any(|pool| pool.name == *wanted)
    {
        missing.push(format!("storage pool {wanted}"));
    }
    let profiles = daemon.profiles(&request.project)?;
    for wanted in &description.profiles {
        if !profiles.iter().any(|profile| profile.name == *wanted) {
            missing.push(format!("profile {wanted}"));
        }
    }
    let networks = daemon.networks(&request.project)?;
    for device in description.expanded_devices.values() {
        if let Some(wanted) = device.get("network")
            && !networks.iter().any(|network| network.name == *wanted)
        {
            missing.push(format!("network {wanted}"));
        }
        if let (Some(pool), Some(source)) = (device.get("pool"), device.get("source"))
            && !pools.iter().any(|known| known.name == *pool)
        {
            missing.push(format!("storage pool {pool} with the volume {source}"));
        }
    }
    if let (StreamForm::Export { optimized: true }, Some(wanted)) = (point.form, &request.pool)
        && let Some(pool) = pools.iter().find(|pool| pool.name == *wanted)
        && !matches!(pool.driver.as_str(), "btrfs" | "zfs")
    {
        missing.push(format!("a pool of the stream's own storage driver ({wanted} is of {})", pool.driver));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let mut named = BTreeSet::new();
    missing.retain(|one| named.insert(one.clone()));
    Err(RestoreError::Missing { label: label.to_owned(), missing: missing.join(", ") })
}

/// The daemon spools the whole upload before it unpacks it.
fn require_room(daemon: &dyn Daemon, label: &str, point: &Point, request: &ImportRequest) -> Result<(), RestoreError> {
    let staging = daemon.staging(&request.project)?;
    let needed = point.content.stream_len.saturating_add(point.content.stream_len / 20);
    match staging.free_bytes {
        Some(free) if free < needed => {
            let place = staging.path.map_or_else(|| "its backups volume".to_owned(), |path| path.display().to_string());
            Err(RestoreError::NoRoom { label: label.to_owned(), place, free, needed })
        }
        _ => Ok(()),
    }
}

/// Instances of the server that would be the restored one's twins: they share its uuid or a MAC address.
fn twins(daemon: &dyn Daemon, description: &Description) -> Result<Vec<Summary>, RestoreError> {
    let uuid = description.config.get("volatile.uuid");
    let addresses: BTreeSet<&String> =
        description.config.iter().filter(|(key, _)| is_address(key)).map(|(_, value)| value).collect();
    let listing = daemon.instances()?;
    let is_twin = |instance: &Summary| {
        uuid.is_some() && instance.uuid.as_ref() == uuid
            || instance.nics.iter().any(|nic| nic.hwaddr.as_ref().is_some_and(|address| addresses.contains(address)))
    };
    Ok(listing.instances.into_iter().filter(is_twin).collect())
}

fn is_address(key: &str) -> bool {
    key.starts_with("volatile.") && key.ends_with(".hwaddr")
}

/// Gives the restored instance an identity of its own. It was imported stopped, so nothing can have used the old one.
fn refresh_identity(
    daemon: &dyn Daemon,
    request: &ImportRequest,
    description: &Description,
    twins: &[Summary],
    remarks: &mut Vec<String>,
) -> Result<(), RestoreError> {
    let uuid = fresh_uuid()?;
    let mut change = InstanceChange::default();
    for key in ["volatile.uuid", "volatile.uuid.generation"] {
        if description.config.contains_key(key) {
            change.set.insert(key.to_owned(), uuid.clone());
        }
    }
    change.remove.extend(description.config.keys().filter(|key| is_address(key)).cloned());
    daemon
        .update_instance(&request.project, &request.name, &change)
        .map_err(|source| RestoreError::Identity { object: object(request), source })?;
    let names: Vec<&str> = twins.iter().map(|twin| twin.name.as_str()).collect();
    remarks.push(format!(
        "got a fresh uuid and fresh MAC addresses, for {} on this server has the ones that were backed up",
        names.join(", ")
    ));
    Ok(())
}

/// A random UUID, version 4.
fn fresh_uuid() -> Result<String, RandomError> {
    let mut bytes = random_bytes::<16>()?;
    if let Some(byte) = bytes.get_mut(6) {
        *byte = *byte & 0x0f | 0x40;
    }
    if let Some(byte) = bytes.get_mut(8) {
        *byte = *byte & 0x3f | 0x80;
    }
    let number = u128::from_be_bytes(bytes);
    let text = format!("{number:032x}");
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    Ok(format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)))
}

/// An import loses the expiry dates of snapshots; without them they would stay for ever.
fn reapply_expiries(
    daemon: &dyn Daemon,
    request: &ImportRequest,
    description: &Description,
    remarks: &mut Vec<String>,
) {
    for snapshot in &description.snapshots {
        let Some(expires) = snapshot.expires_at.as_deref().filter(|text| !text.starts_with("0001-01-01")) else {
            continue;
        };
        match daemon.set_snapshot_expiry(&request.project, &request.name, &snapshot.name, Some(expires)) {
            // The description speaks of snapshots that a point without snapshots does not hold.
            Ok(()) | Err(DaemonError::NotFound { .. }) => {}
            Err(error) => remarks.push(format!("snapshot {} lost its expiry date {expires}: {error}", snapshot.name)),
        }
    }
}

/// Streams the point into the daemon's import. An error on our side reaches the daemon as a broken upload, never as the
/// end of a short one.
fn upload(
    repository: &Repository,
    daemon: &dyn Daemon,
    label: &str,
    point: &Point,
    request: &ImportRequest,
    id_maps: Vec<IdMap>,
    monitor: &dyn Monitor,
) -> Result<u64, RestoreError> {
    monitor.event(Event::Started { object: label.to_owned(), bytes: Some(point.content.stream_len) });
    let (pieces, arriving) = mpsc::sync_channel(UPLOAD_QUEUE_BYTES_MAX / PIECE_BYTES);
    let (imported, fetched) = std::thread::scope(|scope| {
        let fetching = scope.spawn(move || {
            let mut out = AttributesAsOnDisk::new(id_maps, PieceWriter { pieces, piece: Vec::new() });
            let written = write_stream(repository, &point.content, &mut out, monitor)?;
            let ended = out.finish().and_then(PieceWriter::finish);
            ended.map_err(|source| FetchError::Write { written, source })?;
            Ok(written)
        });
        let mut body = PieceReader { arriving, piece: Vec::new(), read: 0, ended: false };
        let imported = daemon.import(request, &mut body, &mut |progress| {
            if let Progress::Waiting(words) = progress {
                monitor.event(Event::Waiting { object: label.to_owned(), progress: words.to_owned() });
            }
        });
        // The writer's next piece finds nobody, should it still be at work.
        drop(body);
        (imported, fetching.join())
    });
    monitor.event(Event::Ended { object: label.to_owned() });
    let fetch = |source| RestoreError::Fetch { label: label.to_owned(), source };
    match (imported, fetched) {
        (Ok(()), Ok(Ok(bytes))) => Ok(bytes),
        // Our own failure is the cause of the daemon's; a failed write is only the echo of the daemon's.
        (_, Ok(Err(error @ (FetchError::Repository(_) | FetchError::WrongDigest { .. } | FetchError::Stopped)))) => {
            Err(fetch(error))
        }
        (Err(source), _) => Err(RestoreError::Upload { label: label.to_owned(), source }),
        (Ok(()), Ok(Err(error))) => Err(fetch(error)),
        (Ok(()), Err(_)) => {
            let source = io::Error::other("the thread that rebuilds the stream ended without an answer");
            Err(fetch(FetchError::Write { written: 0, source }))
        }
    }
}

/// Hands a stream on in pieces.
struct PieceWriter {
    pieces: mpsc::SyncSender<Option<Vec<u8>>>,
    piece: Vec<u8>,
}

impl PieceWriter {
    /// Gives the stream its end: only one that proved to be what was backed up has any.
    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.pieces.send(None).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.piece.is_empty() {
            let piece = std::mem::take(&mut self.piece);
            self.pieces.send(Some(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(())
    }
}

/// Reads what a [`PieceWriter`] hands on. Without its last word the end is an error.
struct PieceReader {
    arriving: mpsc::Receiver<Option<Vec<u8>>>,
    piece: Vec<u8>,
    read: usize,
    ended: bool,
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.ended && self.read == self.piece.len() {
            match self.arriving.recv() {
                Ok(Some(piece)) => (self.piece, self.read) = (piece, 0),
                Ok(None) => self.ended = true,
                Err(_) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream could not be rebuilt")),
            }
        }
        let rest = self.piece.get(self.read..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        let (Some(to), Some(from)) = (buffer.get_mut(..len), rest.get(..len)) else { return Ok(0) };
        to.copy_from_slice(from);
        self.read += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_uuid_has_the_form_of_version_4() {
        let uuid = fresh_uuid().unwrap();
        let parts: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&uuid[14..15], "4");
        assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"));
        assert_ne!(uuid, fresh_uuid().unwrap());
    }

    #[test]
    fn a_stream_without_its_last_word_has_no_end() {
        let pieces = |end: bool| {
            let (pieces, arriving) = mpsc::sync_channel(8);
            let mut out = PieceWriter { pieces, piece: Vec::new() };
            out.write_all(b"some bytes").unwrap();
            if end {
                out.finish().unwrap();
            } else {
                out.flush().unwrap();
                drop(out);
            }
            let mut body = PieceReader { arriving, piece: Vec::new(), read: 0, ended: false };
            let mut read = Vec::new();
            body.read_to_end(&mut read).map(|_| read)
        };
        assert_eq!(pieces(true).unwrap(), b"some bytes");
        assert!(pieces(false).is_err());
    }
}
