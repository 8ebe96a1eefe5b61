//! The daemon's operations: waiting for one, in both styles of `/wait`, and telling how it ended.
//!
//! A finished operation is forgotten after five seconds (`reference/daemon-api.md` 1.4). So a wait starts at once, and
//! an operation that is gone has an unknown outcome: the caller looks at the object itself. The HTTP code of `/wait`
//! means nothing; an error in its body may be a time-out, the operation's failure or its absence, and only the
//! operation tells.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use super::Progress;
use super::api::{Answer, Api, Body, Call, Target};
use super::error::{DaemonError, tame};
use super::http::Method;
use super::model::or_default;
use super::subject::Subject;
use crate::limits::{DAEMON_BUSY_ATTEMPTS_MAX, DAEMON_LISTING_BYTES_MAX, DAEMON_OBJECT_BYTES_MAX, DAEMON_WAIT_SECONDS};

/// Names an operation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OperationId(String);

impl OperationId {
    /// From an operation's address, `/1.0/operations/ID`, perhaps with a query.
    pub fn parse(address: &str) -> Option<Self> {
        let path = address.split_once('?').map_or(address, |(path, _)| path);
        let id = path.rsplit('/').next()?;
        let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (plain && !id.is_empty()).then(|| Self(id.to_owned()))
    }

    /// As it stands in addresses.
    #[cfg(any(test, feature = "testing"))]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// It did what it should.
    Success,
    /// It failed, in the daemon's words.
    Failure(String),
    /// The daemon knows it no longer.
    Lost,
}

impl End {
    /// The end as a result; `Lost` is left to `look`, which looks at the object itself.
    pub fn or_look(self, object: &str, look: impl FnOnce() -> Result<(), DaemonError>) -> Result<(), DaemonError> {
        match self {
            Self::Success => Ok(()),
            Self::Failure(words) => Err(DaemonError::failure(object, &words)),
            Self::Lost => look(),
        }
    }
}

/// An operation as the daemon shows it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Operation {
    #[serde(deserialize_with = "or_default")]
    id: String,
    #[serde(deserialize_with = "or_default")]
    description: String,
    #[serde(deserialize_with = "or_default")]
    status: String,
    #[serde(deserialize_with = "or_default")]
    status_code: u16,
    #[serde(deserialize_with = "or_default")]
    err: String,
    #[serde(deserialize_with = "or_default")]
    metadata: BTreeMap<String, Value>,
    #[serde(deserialize_with = "or_default")]
    resources: BTreeMap<String, Vec<String>>,
}

impl Operation {
    /// Whether it says that it works on that object, whose address ends in `name`; a hint only.
    pub fn concerns(&self, resource: &str, name: &str) -> bool {
        self.resources.get(resource).into_iter().flatten().any(|address| last_segment(address) == name)
    }

    /// The name of the first object of a kind that it says it works on; a hint only.
    pub fn resource(&self, resource: &str) -> Option<&str> {
        self.resources.get(resource)?.first().map(|address| last_segment(address))
    }

    /// How it ended; `None` while it runs.
    pub fn end(&self, object: &str) -> Result<Option<End>, DaemonError> {
        match self.status_code {
            200 => Ok(Some(End::Success)),
            400 | 401 => {
                let words = if self.err.is_empty() { &self.status } else { &self.err };
                Ok(Some(End::Failure(tame(words))))
            }
            100..200 => Ok(None),
            code => Err(DaemonError::Protocol {
                object: object.to_owned(),
                problem: tame(&format!("the operation's status is {:?} ({code})", self.status)),
            }),
        }
    }

    /// The exit code of the command that it ran.
    fn exit_code(&self) -> Option<i64> {
        self.metadata.get("return")?.as_i64()
    }

    /// What it says about its progress.
    pub fn progress(&self) -> String {
        let words = self.metadata.iter().filter(|(key, _)| key.ends_with("_progress"));
        tame(&words.filter_map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", "))
    }
}

fn last_segment(address: &str) -> &str {
    let path = address.split_once('?').map_or(address, |(path, _)| path);
    path.rsplit('/').next().unwrap_or_default()
}

impl Body {
    /// The operation that this answer started; `None` if the daemon did it at once.
    pub fn started(&self, object: &str) -> Result<Option<OperationId>, DaemonError> {
        if self.operation.is_empty() {
            return Ok(None);
        }
        OperationId::parse(&self.operation).map(Some).ok_or_else(|| DaemonError::Protocol {
            object: object.to_owned(),
            problem: tame(&format!("it names the operation {:?}", self.operation)),
        })
    }

    /// Of the operations that this answer lists, those that back the subject up.
    pub fn backups_of(&self, subject: &Subject, object: &str) -> Result<Vec<OperationId>, DaemonError> {
        let (description, resource) = subject.backup_operation();
        let by_state: Option<BTreeMap<String, Option<Vec<Operation>>>> = self.metadata(object)?;
        let operations = by_state.unwrap_or_default().into_values().flatten().flatten();
        Ok(operations
            .filter(|it| it.description == description && it.concerns(resource, subject.name()))
            .filter_map(|it| OperationId::parse(&it.id))
            .collect())
    }
}

/// Whether the daemon refuses because something else is under way about the same instance.
fn is_busy(words: &str) -> bool {
    words.contains("is busy running")
}

impl Api {
    /// Sends a request that changes something and waits for its end; newer daemons make some of these asynchronous.
    pub fn change(&self, call: &Call<'_>) -> Result<End, DaemonError> {
        let body = self.call(call, DAEMON_OBJECT_BYTES_MAX)?.accepted(call.object)?;
        match body.started(call.object)? {
            Some(id) => self.wait(&id, call.object, &mut |_| ()),
            None => Ok(End::Success),
        }
    }

    /// Deletes something and waits for that; what is gone already is no error. While the daemon is still making what a
    /// killed run asked for, it refuses, and is asked again.
    pub fn delete(&self, target: &Target, object: &str) -> Result<(), DaemonError> {
        let mut left = DAEMON_BUSY_ATTEMPTS_MAX;
        loop {
            left -= 1;
            match self.change(&Call::new(Method::Delete, target.clone(), object)) {
                Ok(End::Failure(words)) if words.to_lowercase().contains("not found") => return Ok(()),
                Ok(End::Failure(words)) if left > 0 && is_busy(&words) => self.rest(object)?,
                // A deletion that nobody remembers is over; the caller's next listing tells.
                Ok(end) => return end.or_look(object, || Ok(())),
                Err(DaemonError::NotFound { .. }) => return Ok(()),
                Err(error) if left > 0 && is_busy(&error.to_string()) => self.rest(object)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the end of an operation, however long that takes; `progress` hears the daemon's words.
    pub fn wait(
        &self,
        id: &OperationId,
        object: &str,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<End, DaemonError> {
        let mut said = String::new();
        loop {
            self.check_stop(object)?;
            let began = Instant::now();
            let Some(operation) = self.wait_once(id, object)? else { return Ok(End::Lost) };
            if let Some(end) = operation.end(object)? {
                return Ok(end);
            }
            let words = operation.progress();
            if !words.is_empty() && words != said {
                progress(Progress::Waiting(&words));
                said = words;
            }
            // A daemon that answers at once although the operation runs would be asked without end.
            if began.elapsed() < Duration::from_secs(DAEMON_WAIT_SECONDS) / 2 {
                self.rest(object)?;
            }
        }
    }

    /// Waits for the end of a command in an instance, and for how long is the caller's to say. Gives its exit code.
    pub fn wait_for_exit(&self, id: &OperationId, object: &str, limit: Duration) -> Result<i64, DaemonError> {
        let began = Instant::now();
        loop {
            self.check_stop(object)?;
            let asked = Instant::now();
            let lost = || DaemonError::OperationLost { object: object.to_owned() };
            let operation = self.wait_once(id, object)?.ok_or_else(lost)?;
            match operation.end(object)? {
                Some(End::Success) => return operation.exit_code().ok_or_else(lost),
                Some(End::Failure(words)) => return Err(DaemonError::failure(object, &words)),
                Some(End::Lost) => return Err(lost()),
                None if began.elapsed() > limit => {
                    return Err(DaemonError::Silent { object: object.to_owned(), seconds: limit.as_secs() });
                }
                None if asked.elapsed() < Duration::from_secs(DAEMON_WAIT_SECONDS) / 2 => self.rest(object)?,
                None => {}
            }
        }
    }

    /// Waits for a while and shows the operation; `None` if it is gone.
    fn wait_once(&self, id: &OperationId, object: &str) -> Result<Option<Operation>, DaemonError> {
        let target = Target::new(&["operations", &id.0, "wait"])?.query("timeout", &DAEMON_WAIT_SECONDS.to_string());
        match self.call(&Call::get(target, object), DAEMON_OBJECT_BYTES_MAX) {
            Ok(Answer::Sync(body) | Answer::Async(body)) => body.metadata(object).map(Some),
            Err(error @ DaemonError::Stopped { .. }) => Err(error),
            Ok(Answer::Error { .. }) => self.look(id, object),
            // The connection broke while the operation may well go on; a daemon that is on its way down breaks the next
            // one, too.
            Err(_) => {
                self.rest(object)?;
                self.look(id, object)
            }
        }
    }

    /// The operation as it is now; `None` if it is gone.
    pub fn look(&self, id: &OperationId, object: &str) -> Result<Option<Operation>, DaemonError> {
        let target = Target::new(&["operations", &id.0])?;
        match self.call(&Call::get(target, object), DAEMON_OBJECT_BYTES_MAX)? {
            Answer::Sync(body) | Answer::Async(body) => body.metadata(object).map(Some),
            Answer::Error { code: 404, .. } => Ok(None),
            Answer::Error { code, words } => Err(DaemonError::refusal(object, code, &words)),
        }
    }

    /// How an operation ended, if it has and can still be seen.
    pub fn end_of(&self, id: &OperationId, object: &str) -> Result<Option<End>, DaemonError> {
        self.look(id, object)?.map_or(Ok(None), |operation| operation.end(object))
    }

    /// The operations that back the subject up now or did until five seconds ago. The daemon does not tell which of
    /// them a direct stream belongs to.
    pub fn backups_in_progress(&self, subject: &Subject, object: &str) -> Result<Vec<OperationId>, DaemonError> {
        let target = Target::new(&["operations"])?.query("recursion", "1").project(subject.project());
        let body = self.call(&Call::get(target, object), DAEMON_LISTING_BYTES_MAX)?.accepted(object)?;
        body.backups_of(subject, object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_named_by_the_last_segment_of_its_address() {
        let id = OperationId("bd994bb9-64bb".to_owned());
        assert_eq!(OperationId::parse("/1.0/operations/bd994bb9-64bb?project=lab"), Some(id));
        for wrong in ["", "/1.0/operations/", "/1.0/operations/a%2Fb", "/1.0/operations/.."] {
            assert_eq!(OperationId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_resources_of_both_products_name_the_backup() {
        for address in ["/1.0/backups/op1", "/1.0/instances/h1-a/backups/op1?project=lab"] {
            let operation = Operation {
                resources: BTreeMap::from([("backups".to_owned(), vec![address.to_owned()])]),
                ..Operation::default()
            };
            assert_eq!(operation.resource("backups"), Some("op1"));
        }
    }
}
