//! The envelope around every JSON answer, and the rules for reading it (`reference/daemon-api.md` 1.2, 1.3).
//!
//! A body's `type` decides what an answer is, never the HTTP code. Replies are bounded; a daemon that says 503 is asked
//! again for a minute, because it is starting up. Knows no instances: callers name the object that messages speak of.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use super::error::{DaemonError, Tried, tame};
use super::flavor;
use super::http::{HttpError, Method, Reply, Request, Socket};
use super::model::or_default;
use crate::limits::{
    DAEMON_CLEANUP_ATTEMPTS_MAX, DAEMON_CLEANUP_SECONDS_MAX, DAEMON_LISTING_BYTES_MAX, DAEMON_OBJECT_BYTES_MAX,
    DAEMON_STARTUP_ATTEMPTS_MAX,
};

/// Path and query of a request, percent-encoded.
#[derive(Debug, Clone)]
pub(super) struct Target(String);

impl Target {
    /// `/1.0` and the given segments, each encoded. A segment that no encoding protects is refused.
    pub fn new(segments: &[&str]) -> Result<Self, DaemonError> {
        let mut path = String::from("/1.0");
        for segment in segments {
            if matches!(*segment, "" | "." | "..") {
                return Err(DaemonError::BadName { name: (*segment).to_owned(), what: "part of a daemon's address" });
            }
            path.push('/');
            encode(segment, &mut path);
        }
        Ok(Self(path))
    }

    /// Adds a query parameter.
    pub fn query(mut self, key: &str, value: &str) -> Self {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        encode(key, &mut self.0);
        self.0.push('=');
        encode(value, &mut self.0);
        self
    }

    /// Adds the project.
    pub fn project(self, project: &str) -> Self {
        self.query("project", project)
    }
}

fn encode(text: &str, out: &mut String) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 15].iter().filter_map(|half| DIGITS.get(usize::from(*half))));
        }
    }
}

/// One request about one object.
#[derive(Debug, Clone)]
pub(super) struct Call<'a> {
    request: Request,
    /// What messages speak of.
    pub object: &'a str,
}

impl<'a> Call<'a> {
    /// A request without a body.
    pub fn new(method: Method, target: Target, object: &'a str) -> Self {
        Self { request: Request { method, target: target.0, headers: Vec::new(), body: Vec::new() }, object }
    }

    /// Reads an object.
    pub fn get(target: Target, object: &'a str) -> Self {
        Self::new(Method::Get, target, object)
    }

    /// With a JSON body.
    pub fn json(mut self, body: &Value) -> Self {
        self.request.body = body.to_string().into_bytes();
        self.header("Content-Type", "application/json")
    }

    /// With a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.request.headers.push((name, value.into()));
        self
    }
}

/// An answer whose `type` has been read.
#[derive(Debug)]
pub(super) enum Answer {
    /// The object or the word that it is done.
    Sync(Body),
    /// An operation was started.
    Async(Body),
    /// The daemon says no.
    Error {
        /// From the envelope, or else the status of the reply.
        code: u16,
        words: String,
    },
}

/// The body of an answer that is no error.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Vec<u8>,
    /// The version of the object, for `If-Match`.
    pub etag: Option<String>,
    /// The operation's address; empty in a sync answer.
    pub operation: String,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    operation: String,
    #[serde(default, deserialize_with = "or_default")]
    error_code: u16,
    #[serde(default, deserialize_with = "or_default")]
    error: String,
    #[serde(default, rename = "metadata")]
    _metadata: IgnoredAny,
}

#[derive(Deserialize)]
struct Metadata<T> {
    metadata: T,
}

impl Body {
    /// The metadata as `T`.
    pub fn metadata<T: DeserializeOwned>(&self, object: &str) -> Result<T, DaemonError> {
        serde_json::from_slice::<Metadata<T>>(&self.bytes)
            .map(|it| it.metadata)
            .map_err(|error| DaemonError::Protocol { object: object.to_owned(), problem: tame(&error.to_string()) })
    }

    /// The metadata as a list; an absent one is empty.
    pub fn list<T: DeserializeOwned>(&self, object: &str) -> Result<Vec<T>, DaemonError> {
        Ok(self.metadata::<Option<Vec<T>>>(object)?.unwrap_or_default())
    }
}

impl Answer {
    /// Reads the body of a reply with this status about `object`.
    pub fn read(bytes: Vec<u8>, status: u16, etag: Option<String>, object: &str) -> Result<Self, DaemonError> {
        let Ok(envelope) = serde_json::from_slice::<Envelope>(&bytes) else {
            let words = tame(&String::from_utf8_lossy(bytes.get(..bytes.len().min(1024)).unwrap_or_default()));
            return if status >= 400 {
                Ok(Self::Error { code: status, words })
            } else {
                let problem = format!("it is not the JSON of an answer (code {status}): {words}");
                Err(DaemonError::Protocol { object: object.to_owned(), problem })
            };
        };
        let body = Body { bytes, etag, operation: envelope.operation };
        match envelope.kind.as_str() {
            "sync" => Ok(Self::Sync(body)),
            "async" => Ok(Self::Async(body)),
            "error" => {
                let code = if envelope.error_code == 0 { status } else { envelope.error_code };
                Ok(Self::Error { code, words: envelope.error })
            }
            other => {
                let problem = format!("its type is {other:?}");
                Err(DaemonError::Protocol { object: object.to_owned(), problem: tame(&problem) })
            }
        }
    }

    /// The answer, a refusal being an error about `object`.
    pub fn accepted(self, object: &str) -> Result<Body, DaemonError> {
        match self {
            Self::Sync(body) | Self::Async(body) => Ok(body),
            Self::Error { code, words } => Err(DaemonError::refusal(object, code, &words)),
        }
    }
}

/// Talks JSON to one daemon.
#[derive(Debug, Clone)]
pub(super) struct Api {
    pub socket: Socket,
    /// Between two attempts at a daemon that is starting up, and between two looks at a hasty one.
    pub pause: Duration,
    attempts: usize,
}

impl Api {
    /// Talks to the daemon at `socket` until `stop` is raised.
    pub fn new(socket: Socket) -> Self {
        Self { socket, pause: Duration::from_secs(1), attempts: DAEMON_STARTUP_ATTEMPTS_MAX }
    }

    /// The same daemon for cleaning up after a failure or a stop: with little patience and without stopping.
    pub fn for_cleanup(&self) -> Self {
        let socket = self.socket.for_cleanup(Duration::from_secs(DAEMON_CLEANUP_SECONDS_MAX));
        Self { socket, pause: self.pause, attempts: DAEMON_CLEANUP_ATTEMPTS_MAX }
    }

    /// An object's metadata.
    pub fn get<T: DeserializeOwned>(&self, target: Target, object: &str) -> Result<T, DaemonError> {
        self.call(&Call::get(target, object), DAEMON_OBJECT_BYTES_MAX)?.accepted(object)?.metadata(object)
    }

    /// The metadata of many objects; an absent list is an empty one.
    pub fn list<T: DeserializeOwned>(&self, target: Target, object: &str) -> Result<Vec<T>, DaemonError> {
        self.call(&Call::get(target, object), DAEMON_LISTING_BYTES_MAX)?.accepted(object)?.list(object)
    }

    /// Sends a request and reads its answer.
    pub fn call(&self, call: &Call<'_>, limit_bytes: usize) -> Result<Answer, DaemonError> {
        let reply = self.open(call)?;
        self.answer(reply, call.object, limit_bytes)
    }

    /// Sends a request, waiting for a daemon that is starting up: it says 503, or, having been there before, it does
    /// not listen just now. Neither has heard the request.
    pub fn open(&self, call: &Call<'_>) -> Result<Reply, DaemonError> {
        for _ in 1..self.attempts {
            match self.socket.send(&call.request) {
                Ok(reply) if reply.status != 503 => return Ok(reply),
                Err(HttpError::Connect(error)) if is_away(&error) => {}
                Err(error) => return Err(self.error(call.object, error)),
                Ok(_) => {}
            }
            self.rest(call.object)?;
        }
        self.socket.send(&call.request).map_err(|error| self.error(call.object, error))
    }

    /// Sends a request whose body is read from `input`.
    pub fn upload(
        &self,
        call: &Call<'_>,
        input: &mut (dyn io::Read + Send),
        sent: &mut dyn FnMut(u64),
    ) -> Result<Answer, DaemonError> {
        let reply = self.socket.upload(&call.request, input, sent).map_err(|error| self.error(call.object, error))?;
        self.answer(reply, call.object, DAEMON_OBJECT_BYTES_MAX)
    }

    /// Reads the answer in a reply.
    pub fn answer(&self, reply: Reply, object: &str, limit_bytes: usize) -> Result<Answer, DaemonError> {
        let (status, etag) = (reply.status, reply.etag.clone());
        let bytes = reply.read_all(limit_bytes).map_err(|error| self.error(object, error))?;
        Answer::read(bytes, status, etag, object)
    }

    /// Sleeps for a pause.
    pub fn rest(&self, object: &str) -> Result<(), DaemonError> {
        std::thread::sleep(self.pause);
        self.check_stop(object)
    }

    /// An error if the user wants to stop.
    pub fn check_stop(&self, object: &str) -> Result<(), DaemonError> {
        if self.socket.stopped() { Err(DaemonError::Stopped { object: object.to_owned() }) } else { Ok(()) }
    }

    /// An error below the protocol as one about `object`.
    pub fn error(&self, object: &str, error: HttpError) -> DaemonError {
        let object = object.to_owned();
        match error {
            HttpError::Connect(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                DaemonError::NoPermission { path: self.socket.path().to_owned(), group: flavor::group(None) }
            }
            HttpError::Connect(error) => DaemonError::NoDaemon {
                tried: vec![Tried { path: self.socket.path().to_owned(), why: flavor::reason(&error) }],
            },
            HttpError::Unsendable(problem) => DaemonError::Io { object, source: problem.into() },
            HttpError::Stopped => DaemonError::Stopped { object },
            HttpError::Silent(patience) => DaemonError::Silent { object, seconds: patience.as_secs() },
            HttpError::TooLarge(limit_bytes) => DaemonError::TooLarge { object, limit_bytes },
            HttpError::Cut { received, source } => DaemonError::Cut { object, received, words: String::new(), source },
            HttpError::Input(source) => DaemonError::Input { object, source },
            HttpError::Exchange(source) => DaemonError::Io { object, source },
        }
    }
}

/// Whether the daemon may just be restarting.
fn is_away(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// A flag that stops what a daemon's client is doing, from another thread or a signal.
pub type StopFlag = Arc<AtomicBool>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_segment_and_parameter_is_encoded() {
        let target = Target::new(&["instances", "a b/ü?#%"]).unwrap().project("p&q=1").query("recursion", "1");
        assert_eq!(target.0, "/1.0/instances/a%20b%2F%C3%BC%3F%23%25?project=p%26q%3D1&recursion=1");
    }

    #[test]
    fn a_name_that_would_climb_is_refused() {
        for name in ["", ".", ".."] {
            assert!(matches!(Target::new(&["instances", name]), Err(DaemonError::BadName { .. })));
        }
    }
}
