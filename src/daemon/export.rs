//! One export: the choice of the way, the stream, and its end.
//!
//! A direct stream has no name, no length and no visible operation; a staged one is a file of known length that exists
//! only after its operation succeeded, and that must be deleted. Whether the bytes make a complete export is not known
//! here (`reference/daemon-api.md` 2.6 is the caller's), only that the daemon ended the stream and calls nothing a
//! failure.

use std::io::{self, Read};

use serde_json::{Map, Value};

use super::api::{Answer, Api, Call, Target};
use super::error::DaemonError;
use super::http::{Body, HttpError, Method, Reply};
use super::operation::{End, Operation, OperationId};
use super::{
    Completion, Export, ExportRequest, Layout, Mode, Packaging, Progress, Route, Server, Snapshots, Subject, Verdict,
};
use crate::limits::DAEMON_OBJECT_BYTES_MAX;

/// The type of everything that is no JSON. A direct stream is asked for with exactly this word.
pub(super) const OCTETS: &str = "application/octet-stream";
/// What the type of several files in one body begins with; its boundary follows.
pub(super) const PARTS: &str = "multipart/form-data";

/// Starts the export that `request` asks for on the way it allows.
pub(super) fn open(
    api: &Api,
    server: &Server,
    request: &ExportRequest,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Box<dyn Export>, DaemonError> {
    let exporter = Exporter {
        api,
        request,
        object: request.subject.to_string(),
        index_version: server.has("backup_metadata_version").then_some(1),
    };
    if matches!(request.subject, Subject::Image { .. }) {
        return Ok(Box::new(exporter.image()?));
    }
    let may_stream = request.route != Route::Staged && server.streams_exports();
    let stream = if may_stream { exporter.direct()? } else { None };
    match stream {
        Some(stream) => Ok(Box::new(stream)),
        None if request.route == Route::Direct => {
            Err(DaemonError::NotOffered { what: "a direct stream", object: exporter.object })
        }
        None => Ok(Box::new(exporter.staged(progress)?)),
    }
}

/// Deletes a backup and waits for that; one that is gone already is no error.
pub(super) fn delete_backup(api: &Api, subject: &Subject, backup: &str) -> Result<(), DaemonError> {
    api.delete(&subject.target(&["backups", backup])?, &backup_object(subject, backup))
}

fn backup_object(subject: &Subject, backup: &str) -> String {
    format!("backup {backup} of {subject}")
}

struct Exporter<'a> {
    api: &'a Api,
    request: &'a ExportRequest,
    object: String,
    /// The index format to ask for, where the daemon has several: the first is the portable one.
    index_version: Option<u32>,
}

impl Exporter<'_> {
    fn backups(&self) -> Result<Target, DaemonError> {
        self.request.subject.target(&["backups"])
    }

    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("compression_algorithm".to_owned(), "none".into());
        if let Some(word) = self.request.subject.without_snapshots() {
            body.insert(word.to_owned(), (self.request.snapshots == Snapshots::Omit).into());
        }
        body.insert("optimized_storage".to_owned(), (self.request.layout == Layout::Optimized).into());
        if let Some(version) = self.index_version {
            body.insert("version".to_owned(), version.into());
        }
        body
    }

    /// The direct stream, or `None` if the daemon made a stored backup instead; that is deleted again.
    fn direct(&self) -> Result<Option<Stream>, DaemonError> {
        let running = || self.api.backups_in_progress(&self.request.subject, &self.object);
        // That the operation can be told is a help, not a condition.
        let before = running().ok();
        let call =
            Call::new(Method::Post, self.backups()?, &self.object).json(&self.body().into()).header("Accept", OCTETS);
        let reply = self.api.open(&call)?;
        if reply.status == 200 && is_octets(&reply) {
            let reply = delimited(reply, &self.object)?;
            let operation = before.and_then(|before| {
                let mut new = running().ok()?.into_iter().filter(|id| !before.contains(id));
                new.next().filter(|_| new.next().is_none())
            });
            return Ok(Some(self.stream(reply.body, Mode::Direct, operation, None)));
        }
        match self.api.answer(reply, &self.object, DAEMON_OBJECT_BYTES_MAX)? {
            Answer::Async(body) => {
                let operation: Operation = body.metadata(&self.object)?;
                self.discard(&operation, body.started(&self.object)?)?;
                Ok(None)
            }
            Answer::Error { code, words } => Err(DaemonError::refusal(&self.object, code, &words)),
            Answer::Sync(_) => Err(self.nonsense("it is neither a stream nor an operation")),
        }
    }

    /// An image, which the daemon has as a file or as several and sends as it is.
    fn image(&self) -> Result<Stream, DaemonError> {
        let target = self.request.subject.target(&["export"])?;
        let reply = self.api.open(&Call::get(target, &self.object))?;
        let packaging = match reply.content_type.as_deref() {
            Some(OCTETS) => Packaging::Single,
            Some(kind) if kind.starts_with(PARTS) => Packaging::Multipart,
            _ => {
                self.api.answer(reply, &self.object, DAEMON_OBJECT_BYTES_MAX)?.accepted(&self.object)?;
                return Err(self.nonsense("it is not the image that was asked for"));
            }
        };
        let reply = delimited(reply, &self.object)?;
        Ok(Stream { packaging, ..self.stream(reply.body, Mode::Direct, None, None) })
    }

    /// Deletes the backup that a daemon stored instead of streaming it: at once, so that it takes as little space as
    /// possible, and again when it is written, should that have brought it back.
    fn discard(&self, operation: &Operation, id: Option<OperationId>) -> Result<(), DaemonError> {
        let backup = operation.resource("backups").ok_or_else(|| {
            self.nonsense("it stored a backup instead of streaming it, and does not say under which name")
        })?;
        let api = self.api.for_cleanup();
        let first = delete_backup(&api, &self.request.subject, backup);
        if let Some(id) = id {
            // Whichever way it ends, there must be no backup afterwards.
            let _ = self.api.wait(&id, &self.object, &mut |_| ())?;
        }
        delete_backup(&api, &self.request.subject, backup).and(first)
    }

    /// The stream of a backup that the daemon has finished writing.
    fn staged(&self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Stream, DaemonError> {
        let mut body = self.body();
        body.insert("name".to_owned(), self.request.backup_name.clone().into());
        body.insert("expires_at".to_owned(), self.request.expires_at.to_string().into());
        let mut staged = StagedBackup {
            api: self.api.for_cleanup(),
            subject: self.request.subject.clone(),
            name: self.request.backup_name.clone(),
            armed: false,
        };
        let call = Call::new(Method::Post, self.backups()?, &self.object).json(&body.into());
        let answer = match self.api.call(&call, DAEMON_OBJECT_BYTES_MAX) {
            Ok(answer) => answer.accepted(&self.object)?,
            Err(error) => {
                // Nobody knows whether the daemon heard it.
                staged.armed = true;
                return Err(error);
            }
        };
        staged.armed = true;
        let id = answer.started(&self.object)?.ok_or_else(|| self.nonsense("it names no operation"))?;
        let end = self.api.wait(&id, &self.object, progress)?;
        // A failed creation has removed its own, and if the name was taken the backup is somebody else's.
        staged.armed = !matches!(end, End::Failure(_));
        end.or_look(&self.object, || Err(DaemonError::OperationLost { object: self.object.clone() }))
            .map_err(|error| error.name_taken_by(backup_object(&staged.subject, &staged.name)))?;
        let target = self.request.subject.target(&["backups", &self.request.backup_name, "export"])?;
        let reply = self.api.open(&Call::get(target, &self.object))?;
        if reply.status != 200 || !is_octets(&reply) {
            let answer = self.api.answer(reply, &self.object, DAEMON_OBJECT_BYTES_MAX)?;
            answer.accepted(&self.object)?;
            return Err(self.nonsense("it is not the backup that was asked for"));
        }
        let reply = delimited(reply, &self.object)?;
        Ok(self.stream(reply.body, Mode::Staged, None, Some(staged)))
    }

    fn stream(&self, body: Body, mode: Mode, operation: Option<OperationId>, staged: Option<StagedBackup>) -> Stream {
        let packaging = Packaging::Single;
        Stream { body, mode, packaging, operation, staged, api: self.api.clone(), object: self.object.clone() }
    }

    fn nonsense(&self, problem: &str) -> DaemonError {
        DaemonError::Protocol { object: self.object.clone(), problem: problem.to_owned() }
    }
}

fn is_octets(reply: &Reply) -> bool {
    reply.content_type.as_deref() == Some(OCTETS)
}

/// Refuses a body whose end could not be told from a cut.
fn delimited(reply: Reply, object: &str) -> Result<Reply, DaemonError> {
    if reply.delimited {
        return Ok(reply);
    }
    let problem = "the stream has neither a length nor chunks".to_owned();
    Err(DaemonError::Protocol { object: object.to_owned(), problem })
}

/// The stream of one export.
struct Stream {
    body: Body,
    mode: Mode,
    packaging: Packaging,
    /// The operation behind a direct stream, where it could be told.
    operation: Option<OperationId>,
    staged: Option<StagedBackup>,
    api: Api,
    object: String,
}

impl Stream {
    /// Adds what the daemon says about a direct stream that broke off.
    fn explain(&self, error: HttpError) -> DaemonError {
        let end = match (&error, &self.operation) {
            (HttpError::Cut { .. }, Some(id)) => self.api.for_cleanup().end_of(id, &self.object).ok().flatten(),
            _ => None,
        };
        match (self.api.error(&self.object, error), end) {
            (DaemonError::Cut { object, received, source, .. }, Some(End::Failure(words))) => {
                DaemonError::Cut { object, received, source, words }
            }
            (error, _) => error,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.body.read(buffer).map_err(|error| self.explain(error).into_io())
    }
}

impl Export for Stream {
    fn mode(&self) -> Mode {
        self.mode
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }

    fn packaging(&self) -> Packaging {
        self.packaging
    }

    fn finish(mut self: Box<Self>) -> Result<Completion, DaemonError> {
        let mut beyond = [0];
        if self.body.read(&mut beyond).map_err(|error| self.explain(error))? > 0 {
            let words = "its reader stopped before the end".to_owned();
            return Err(DaemonError::Cut { object: self.object, received: self.body.received(), words, source: None });
        }
        let operation = match &self.operation {
            Some(id) => match self.api.wait(id, &self.object, &mut |_| ())? {
                End::Success => Verdict::Success,
                End::Lost => Verdict::Unseen,
                End::Failure(words) => return Err(DaemonError::failure(&self.object, &words)),
            },
            None if self.mode == Mode::Staged => Verdict::Success,
            None => Verdict::Unseen,
        };
        let leftover = self.staged.take().and_then(|staged| staged.delete().err());
        Ok(Completion { mode: self.mode, bytes: self.body.received(), operation, leftover })
    }
}

/// A backup on the daemon's disk that is ours to delete.
struct StagedBackup {
    api: Api,
    subject: Subject,
    name: String,
    armed: bool,
}

impl StagedBackup {
    fn delete(mut self) -> Result<(), DaemonError> {
        self.armed = false;
        delete_backup(&self.api, &self.subject, &self.name)
    }
}

impl Drop for StagedBackup {
    fn drop(&mut self) {
        if self.armed {
            // Best effort: it expires by itself, and the next run looks for leftovers.
            let _ = delete_backup(&self.api, &self.subject, &self.name);
        }
    }
}
