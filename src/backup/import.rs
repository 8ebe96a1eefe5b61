//! A stream that somebody has already becomes a point: an old export, compressed or not, or any file as it is.

use std::io::Read;

use crate::backup::accept::{ExportIndex, ExportKind, Padding, Rejection};
use crate::backup::original::record_plain;
use crate::backup::pipeline::{Recorded, Splitting, StreamError, Watch, record};
use crate::backup::run::{Bench, Run};
use crate::limits::READ_QUEUE_BYTES_MAX;
use crate::monitor::Event;
use crate::point::{Consistency, Point, StreamForm};
use crate::repo::{RepoError, SessionWriter};
use crate::source::{DEFAULT_PROJECT, Selector, Source, SourceKind};

/// What to import and as what.
pub struct ImportRequest<'i> {
    /// What it is called in messages: a file's name, or standard input.
    pub label: String,
    /// The bytes.
    pub input: &'i mut (dyn Read + Send),
    /// Length of the input in bytes, where it is known.
    pub bytes: Option<u64>,
    /// The source that the point shall be of. A file takes any stream as it is; without one the source is read from the
    /// export's index.
    pub source: Option<Selector>,
    /// The server that an export belongs to where the source does not name one.
    pub server: String,
}

/// Why a stream did not become a point.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is no complete export.
    #[error("{label} is not a complete export: {reason}")]
    Rejected {
        /// What was imported.
        label: String,
        /// Why.
        reason: Rejection,
    },
    /// It holds something else than the source that was named.
    #[error("{label} is an export of {kind}, which {source_name} cannot be")]
    OtherKind {
        /// What was imported.
        label: String,
        /// What it holds.
        kind: &'static str,
        /// The source that was named.
        source_name: String,
    },
    /// It could not be read or stored.
    #[error("{label} cannot be imported")]
    Stream {
        /// What was imported.
        label: String,
        /// Why.
        source: StreamError,
    },
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepoError),
}

/// Imports one stream into a run. Its point is committed when the run finishes.
pub fn import(run: &mut Run<'_>, request: ImportRequest<'_>) -> Result<(), ImportError> {
    let bench = run.bench();
    let (session, writer) = bench.open_session()?;
    bench.monitor.event(Event::Started { object: request.label.clone(), bytes: request.bytes });
    match read(&bench, writer, request) {
        Ok(point) => {
            run.add(session, point)?;
            Ok(())
        }
        Err(error) => {
            bench.abandon(session)?;
            Err(error)
        }
    }
}

fn read(bench: &Bench<'_>, writer: SessionWriter<'_, '_>, request: ImportRequest<'_>) -> Result<Point, ImportError> {
    let started = bench.clock.now();
    let ImportRequest { label, input, source, server, .. } = request;
    let as_it_is = source.as_ref().is_some_and(|selector| selector.kind == SourceKind::File);
    let failed = |source| ImportError::Stream { label: label.clone(), source };
    let watch = Watch { object: &label, monitor: bench.monitor, queue_bytes: READ_QUEUE_BYTES_MAX };
    let (recorded, original) = if as_it_is {
        let mut input = input;
        (record(writer, &mut input, Splitting::Tar, watch).map_err(failed)?, None)
    } else {
        record_plain(writer, input, watch).map_err(failed)?
    };
    let (source, form) = match source {
        Some(selector) if as_it_is => (selector.on(""), StreamForm::File),
        selector => identify(&recorded, &label, selector, &server)?,
    };
    Ok(Point {
        run: bench.id,
        source,
        server: None,
        host: bench.host.clone(),
        started,
        ended: bench.clock.now(),
        form,
        original,
        consistency: Consistency::Unknown,
        remarks: Vec::new(),
        set: Vec::new(),
        description: String::new(),
        content: recorded.content,
        statistics: recorded.statistics,
    })
}

/// The source that a complete export is of.
fn identify(
    recorded: &Recorded,
    label: &str,
    selector: Option<Selector>,
    server: &str,
) -> Result<(Source, StreamForm), ImportError> {
    let rejected = |reason| ImportError::Rejected { label: label.to_owned(), reason };
    let accepted = recorded.acceptor.verdict(&recorded.ending, Padding::Allowed).map_err(rejected)?;
    let index = accepted.index;
    let form = StreamForm::Export { optimized: index.optimized };
    let own = source_of(&index, server);
    let Some(selector) = selector else {
        if !own.is_nameable() {
            let reason = "its name, project or pool is none that can be named again".to_owned();
            return Err(rejected(Rejection::BadIndex { reason }));
        }
        return Ok((own, form));
    };
    if std::mem::discriminant(&selector.kind) != std::mem::discriminant(&own.kind) {
        let kind = index.kind.words();
        return Err(ImportError::OtherKind { label: label.to_owned(), kind, source_name: selector.to_string() });
    }
    Ok((selector.on(server), form))
}

fn source_of(index: &ExportIndex, server: &str) -> Source {
    let project = index.project.clone().unwrap_or_else(|| DEFAULT_PROJECT.to_owned());
    let kind = match index.kind {
        ExportKind::Container | ExportKind::VirtualMachine => SourceKind::Instance { project },
        ExportKind::Volume => SourceKind::Volume { project, pool: index.pool.clone(), member: None },
        ExportKind::Bucket => SourceKind::Bucket { project, pool: index.pool.clone(), member: None },
    };
    Source { server: server.to_owned(), kind, name: index.name.clone() }
}
