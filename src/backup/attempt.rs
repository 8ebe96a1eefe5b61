//! One attempt to make a point of one source: look at it, export it, and look at it again.
//!
//! An export that ended is not an export that is complete: the daemon takes no lock, and an instance that is deleted or
//! renamed meanwhile ends as a shorter archive with every sign of success. Only what the archive proves and what the
//! daemon says afterwards together make a point.

use std::collections::HashMap;
use std::io;

use crate::backup::accept::Rejection;
use crate::backup::arrival::{Arrival, Arrived, Proof};
use crate::backup::leftovers::TemporaryName;
use crate::backup::look::Look;
use crate::backup::pipeline::{StreamError, Watch};
use crate::backup::plan::{Plan, Planned};
use crate::backup::rate::{Limited, Rate};
use crate::backup::run::Bench;
use crate::backup::sources::{BackupOptions, describe};
use crate::backup::space::{self, Promise, Promised, Refusal};
use crate::backup::temporary::TemporarySnapshot;
use crate::clock::Timestamp;
use crate::daemon::{
    Daemon, DaemonError, Export, ExportRequest, Layout, Mode, Progress, Route, Server, Snapshots, Subject,
};
use crate::limits::{NAME_BYTES_MAX, READ_QUEUE_BYTES_MAX};
use crate::monitor::Event;
use crate::point::{Consistency, Point, REMARKS_MAX, SET_MAX, ServerRecord};
use crate::repo::{RepoError, Session, SessionWriter};
use crate::rewrite::description::Selection;
use crate::rewrite::reader::Selected;
use crate::source::{DEFAULT_PROJECT, Source};

/// How long what is made on the daemon for an export may stay if nobody deletes it, in microseconds: a day.
const TEMPORARY_MICROS_MAX: u64 = 24 * 3600 * 1_000_000;

/// What the user allows to be read while it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fuzzy {
    /// Nothing: every point is at least what a power cut would have left.
    Refuse,
    /// Files of running containers, but no disk of a running virtual machine, which may not be worth anything.
    Files,
    /// Everything, and its point says so.
    Allow,
}

/// What to do where it is not known whether a staged export fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StagingCheck {
    /// Refuse the source.
    Required,
    /// Try.
    Skipped,
}

/// Why an attempt made no point.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// It is not there.
    #[error("There is no such {what} on the server; see `backup --dry-run --all` for what there is")]
    NoSuchSource {
        /// What it would be.
        what: &'static str,
    },
    /// The server has it, but makes no exports of such things, or this program does not take them.
    #[error("It cannot be backed up, for {reason}")]
    Unsupported {
        /// Why.
        reason: String,
    },
    /// The daemon could not do it.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The stream is not a complete export.
    #[error("The export is not complete: {reason}")]
    Rejected {
        /// Why.
        reason: Rejection,
    },
    /// The instance is not the one that it was when the export began.
    #[error("{what} while it was exported, so the export may be incomplete")]
    Changed {
        /// What happened to it.
        what: String,
    },
    /// A running virtual machine whose disk can only be read while it writes.
    #[error(
        "The virtual machine runs, and its disk can only be read while it changes, for snapshots in its storage pool \
         are not known to be cheap; stop it, or use --allow-fuzzy for a point that may not boot"
    )]
    FuzzyDisk,
    /// Files that can only be read while they change.
    #[error("It runs, and its files can only be read one after the other while they change; stop it or freeze it")]
    FuzzyFiles,
    /// The staging area is too small.
    #[error("The daemon's staging area at {place} has {free} bytes free and the export needs about {needed}")]
    NoRoom {
        /// Where.
        place: String,
        /// Free bytes.
        free: u64,
        /// Needed bytes, with a tenth to spare.
        needed: u64,
    },
    /// It is not known whether the staging area is large enough.
    #[error(
        "It is not known whether the export fits the daemon's staging area; use --unchecked-staging if you know that \
         it does"
    )]
    UnknownRoom,
    /// The staging area has room for it, but not beside what is being exported now.
    #[error("The daemon's staging area has no room for it now")]
    NoRoomNow,
    /// The staging area is on another machine.
    #[error(
        "It lies on cluster member {member}, and whether its export fits the staging area there is not known here; use \
         --unchecked-staging if you know that it does"
    )]
    RemoteRoom {
        /// Where it lies.
        member: String,
    },
    /// The user asked to stop.
    #[error("Stopped on request")]
    Stopped,
    /// The repository failed; the run cannot go on.
    #[error(transparent)]
    Repository(#[from] RepoError),
}

impl AttemptError {
    /// Whether a second attempt can be expected to do better.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Rejected { .. } | Self::Changed { .. } => true,
            Self::Daemon(error) => matches!(
                error,
                DaemonError::Cut { .. }
                    | DaemonError::OperationFailed { .. }
                    | DaemonError::OperationLost { .. }
                    | DaemonError::NotOffered { .. }
                    | DaemonError::Io { .. }
            ),
            _ => false,
        }
    }
}

/// What all attempts of a run share.
pub(super) struct Circumstances<'c> {
    pub daemon: &'c dyn Daemon,
    pub server: &'c ServerRecord,
    /// What the daemon says of itself.
    pub abilities: &'c Server,
    pub options: &'c BackupOptions,
    /// What is wanted of each source.
    pub plan: &'c Plan,
    /// Lengths of the newest streams of the sources, where they can be read.
    pub last_streams: &'c HashMap<Source, u64>,
    /// How fast the daemon is read.
    pub rate: Rate,
    /// The daemon's staging area.
    pub staging: Promised,
}

impl Circumstances<'_> {
    fn planned(&self, source: &Source) -> Option<&Planned> {
        self.plan.planned.iter().find(|planned| planned.source == *source)
    }

    fn snapshots(&self, source: &Source) -> Snapshots {
        self.planned(source).map_or(Snapshots::Include, |planned| planned.snapshots)
    }

    /// The other members of its set, as many as a point can name.
    fn set(&self, source: &Source) -> Vec<Source> {
        self.planned(source).map_or_else(Vec::new, |planned| planned.set.iter().take(SET_MAX).cloned().collect())
    }
}

/// One attempt. Its point can be committed with its group.
pub(super) fn attempt(
    bench: &Bench<'_>,
    circumstances: &Circumstances<'_>,
    source: &Source,
    route: Route,
) -> Result<(Session, Point), AttemptError> {
    // The session is announced before anything is made on the daemon, so that whatever is found there later can be
    // told to be ours and over.
    if bench.monitor.stop_requested() {
        return Err(AttemptError::Stopped);
    }
    let (session, writer) = bench.open_session()?;
    match make(bench, circumstances, source, route, (&session, writer)) {
        Ok(point) => Ok((session, point)),
        Err(error) => {
            bench.abandon(session)?;
            Err(error)
        }
    }
}

fn make(
    bench: &Bench<'_>,
    circumstances: &Circumstances<'_>,
    source: &Source,
    route: Route,
    (session, writer): (&Session, SessionWriter<'_, '_>),
) -> Result<Point, AttemptError> {
    let daemon = circumstances.daemon;
    let started = bench.clock.now();
    let Some(subject) = Subject::of(source) else {
        return Err(AttemptError::Unsupported { reason: "it is of a kind that no daemon exports".to_owned() });
    };
    let before = Look::at(daemon, &subject)?.ok_or(AttemptError::NoSuchSource { what: subject.noun() })?;
    let arrival = before.arrival(circumstances.abilities).map_err(|reason| AttemptError::Unsupported { reason })?;
    let BackupOptions { layout, fuzzy, .. } = *circumstances.options;
    let wants_snapshot = wants_snapshot(&before, circumstances.options);
    if !wants_snapshot {
        refuse_fuzzy(&before, before.consistency(&before, layout), fuzzy)?;
    }
    let is_staged = route == Route::Staged && arrival.may_be_staged();
    let room =
        if is_staged { Some(take_room(circumstances, source, (&before, wants_snapshot), &arrival)?) } else { None };
    let name = TemporaryName::new(bench.repository.id(), session.id()).to_string();
    let expires_at = later(started, TEMPORARY_MICROS_MAX);
    let taken =
        if wants_snapshot { take_snapshot(bench, circumstances, &subject, name.clone(), expires_at)? } else { None };
    let snapshots = circumstances.snapshots(source);
    let request = ExportRequest {
        subject: subject.clone(),
        backup_name: name.clone(),
        expires_at,
        snapshots: if taken.is_some() { Snapshots::Include } else { snapshots },
        layout,
        route,
    };
    let promoted = taken.as_ref().map(|_| match snapshots {
        Snapshots::Include => Selection::Promoted(name),
        Snapshots::Omit => Selection::Snapshot(name),
    });
    let is_snapshot = taken.is_some();
    let arrived = stream((bench, circumstances), source, &request, (&arrival, promoted), writer)?;
    drop((taken, room));
    let proof = arrival.judge(&arrived).map_err(|reason| AttemptError::Rejected { reason })?;
    let changed = || AttemptError::Changed { what: format!("The {} was deleted or renamed", subject.noun()) };
    let after = Look::at(daemon, &subject)?.ok_or_else(changed)?;
    let remarks = compare(&subject, &before, &after, &proof)?;
    let consistency = if is_snapshot { Consistency::Snapshot } else { before.consistency(&after, layout) };
    refuse_fuzzy(&before, consistency, fuzzy)?;
    Ok(Point {
        run: bench.id,
        source: source.clone(),
        server: Some(circumstances.server.clone()),
        host: bench.host.clone(),
        started,
        ended: bench.clock.now(),
        form: proof.form,
        original: arrived.original,
        consistency,
        remarks,
        set: circumstances.set(source),
        description: before.into_json(),
        content: arrived.recorded.content,
        statistics: arrived.recorded.statistics,
    })
}

/// Whether it is to be read from a snapshot, for it would change meanwhile otherwise and that would be refused.
fn wants_snapshot(look: &Look, options: &BackupOptions) -> bool {
    let is_fuzzy = look.consistency(look, options.layout) == Consistency::Fuzzy;
    let matters = look.is_disk() || options.fuzzy == Fuzzy::Refuse;
    is_fuzzy && matters && look.has_cheap_snapshots() && options.layout == Layout::Plain
}

/// The snapshot to read from; none where the daemon does not allow one and the user would have it all the same.
fn take_snapshot<'b>(
    bench: &'b Bench<'_>,
    circumstances: &Circumstances<'b>,
    subject: &Subject,
    name: String,
    expires_at: Timestamp,
) -> Result<Option<TemporarySnapshot<'b>>, AttemptError> {
    match TemporarySnapshot::take(circumstances.daemon, bench.monitor, subject, name, expires_at) {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(error @ DaemonError::Stopped { .. }) => Err(error.into()),
        Err(error) if circumstances.options.fuzzy == Fuzzy::Allow => {
            let message = format!("{}; it is read while it changes", describe(&error));
            bench.monitor.event(Event::Said { object: subject.to_string(), message });
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether it may be read while it changes, if that is what it comes to.
fn refuse_fuzzy(look: &Look, consistency: Consistency, allowed: Fuzzy) -> Result<(), AttemptError> {
    match (consistency, allowed, look.is_disk()) {
        (Consistency::Fuzzy, Fuzzy::Refuse | Fuzzy::Files, true) => Err(AttemptError::FuzzyDisk),
        (Consistency::Fuzzy, Fuzzy::Refuse, false) => Err(AttemptError::FuzzyFiles),
        _ => Ok(()),
    }
}

/// Exports and stores the stream.
fn stream(
    (bench, circumstances): (&Bench<'_>, &Circumstances<'_>),
    source: &Source,
    request: &ExportRequest,
    (arrival, promoted): (&Arrival, Option<Selection>),
    writer: SessionWriter<'_, '_>,
) -> Result<Arrived, AttemptError> {
    let monitor = bench.monitor;
    let object = source.to_string();
    let mut export = circumstances.daemon.export(request, &mut |progress| {
        if let Progress::Waiting(words) = progress {
            monitor.event(Event::Waiting { object: object.clone(), progress: words.to_owned() });
        }
    })?;
    // How long it will be is known of what is stored as it comes.
    let is_changed = *arrival == Arrival::CompressedExport || promoted.is_some();
    let length = if is_changed { None } else { export.length().or(arrival.len()) };
    monitor.event(Event::Started { object: object.clone(), bytes: length });
    let packaging = export.packaging();
    let mut limited = Limited::new(&mut export, &circumstances.rate, monitor);
    let queue_bytes = READ_QUEUE_BYTES_MAX / circumstances.options.at_once();
    let watch = Watch { object: &object, monitor, queue_bytes };
    let recorded = match promoted {
        Some(selection) => {
            let mut selected = Selected::new(&mut limited, selection, bench.clock.now());
            arrival.record(writer, (&mut selected, packaging), watch)
        }
        None => arrival.record(writer, (&mut limited, packaging), watch),
    };
    let arrived = match recorded {
        Ok(arrived) => arrived,
        Err(StreamError::Read { source, .. }) => return Err(unread(source, export, &object)),
        Err(StreamError::Store(error)) => return Err(error.into()),
        Err(StreamError::Stopped) => return Err(AttemptError::Stopped),
    };
    let completion = export.finish()?;
    if let (Mode::Staged, Some(leftover)) = (completion.mode, completion.leftover) {
        let message = format!("its staged backup could not be deleted and expires by itself in a day: {leftover}");
        monitor.event(Event::Said { object: object.clone(), message });
    }
    monitor.event(Event::Ended { object });
    Ok(arrived)
}

/// Why a stream could not be read. One that cannot be decompressed has mostly ended early, and the daemon knows why.
fn unread(error: io::Error, export: Box<dyn Export>, object: &str) -> AttemptError {
    match DaemonError::from_read(error, object) {
        DaemonError::Io { object, source } => {
            export.finish().err().unwrap_or(DaemonError::Io { object, source }).into()
        }
        error => error.into(),
    }
}

/// The same thing, with every snapshot that the export holds? Other changes are allowed and remarked.
fn compare(subject: &Subject, before: &Look, after: &Look, proof: &Proof) -> Result<Vec<String>, AttemptError> {
    let changed = |what: String| AttemptError::Changed { what };
    if before.identity() != after.identity() {
        return Err(changed(format!("The {} was replaced or restored", subject.noun())));
    }
    let (earlier, present) = (before.snapshots(), after.snapshots());
    for name in &proof.snapshots {
        if !present.contains(name) {
            return Err(changed(format!("Snapshot {name} was deleted or renamed")));
        }
    }
    let mut remarks: Vec<String> = proof.warning.iter().cloned().collect();
    for name in present.iter().filter(|name| !earlier.contains(name)) {
        remarks.push(format!("Snapshot {name} was made during the export"));
    }
    for name in earlier.iter().filter(|name| !proof.snapshots.contains(name)) {
        remarks.push(format!("Snapshot {name} is not in this point"));
    }
    if let (Some(earlier), Some(now)) = (before.status(), after.status())
        && earlier != now
    {
        remarks.push(format!("The instance went from {earlier} to {now}"));
    }
    Ok(fit(remarks))
}

/// Cuts remarks to what a point can hold, so that it can be read again.
fn fit(mut remarks: Vec<String>) -> Vec<String> {
    if remarks.len() > REMARKS_MAX {
        let left_out = remarks.len() - (REMARKS_MAX - 1);
        remarks.truncate(REMARKS_MAX - 1);
        remarks.push(format!("There were {left_out} more remarks than a point can hold"));
    }
    for remark in &mut remarks {
        remark.truncate(remark.floor_char_boundary(NAME_BYTES_MAX));
    }
    remarks
}

/// Takes its part of the staging area, if that is known to be large enough for it, with one snapshot more if need be.
fn take_room<'c>(
    circumstances: &'c Circumstances<'_>,
    source: &Source,
    (before, with_one_more): (&Look, bool),
    arrival: &Arrival,
) -> Result<Promise<'c>, AttemptError> {
    let promise = |needed, free| circumstances.staging.promise(needed, free);
    if circumstances.options.staging == StagingCheck::Skipped {
        return promise(None, 0).map_err(|_| AttemptError::NoRoomNow);
    }
    if let Some(member) = before.member().filter(|member| *member != circumstances.abilities.name) {
        return Err(AttemptError::RemoteRoom { member: member.to_owned() });
    }
    let staging = circumstances.daemon.staging(source.project().unwrap_or(DEFAULT_PROJECT))?;
    let last = arrival.len().or_else(|| circumstances.last_streams.get(source).copied());
    let omits = circumstances.snapshots(source) == Snapshots::Omit && !with_one_more;
    let snapshots = if omits { 0 } else { before.snapshots().len() + usize::from(with_one_more) };
    let place = staging.daemon_directory.as_deref().and_then(|daemon| before.place(daemon));
    let needed = space::needed(place.as_ref(), snapshots, last);
    let (Some(free), Some(needed)) = (staging.free_bytes, needed) else { return Err(AttemptError::UnknownRoom) };
    promise(Some(needed), free).map_err(|refusal| match refusal {
        Refusal::Busy => AttemptError::NoRoomNow,
        Refusal::TooSmall => {
            let place = staging.path.map_or_else(|| "its backups volume".to_owned(), |path| path.display().to_string());
            AttemptError::NoRoom { place, free, needed }
        }
    })
}

fn later(moment: Timestamp, micros: u64) -> Timestamp {
    Timestamp::from_micros(moment.as_micros().saturating_add(micros)).unwrap_or(moment)
}
