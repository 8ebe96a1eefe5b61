//! Snapshots of an instance or a volume, as requests to the daemon (`reference/daemon-api.md` 8.1).

use serde_json::json;

use super::api::{Api, Call};
use super::error::DaemonError;
use super::http::Method;
use super::model::WireSnapshot;
use super::subject::Subject;
use crate::clock::Timestamp;

pub(super) fn names(api: &Api, subject: &Subject) -> Result<Vec<String>, DaemonError> {
    let target = subject.target(&["snapshots"])?.query("recursion", "1");
    let wires: Vec<WireSnapshot> = api.list(target, &subject.to_string())?;
    Ok(wires.into_iter().map(|wire| wire.into_snapshot().name).collect())
}

pub(super) fn take(api: &Api, subject: &Subject, name: &str, expires_at: Timestamp) -> Result<(), DaemonError> {
    let object = object(subject, name);
    let mut body = json!({ "name": name, "expires_at": expires_at.to_string() });
    if let (Subject::Instance { .. }, Some(fields)) = (subject, body.as_object_mut()) {
        fields.insert("stateful".to_owned(), false.into());
    }
    let end = api.change(&Call::new(Method::Post, subject.target(&["snapshots"])?, &object).json(&body))?;
    end.or_look(&object, || {
        if names(api, subject)?.iter().any(|found| found == name) {
            return Ok(());
        }
        Err(DaemonError::OperationLost { object: object.clone() })
    })
}

/// One that is gone already is no error.
pub(super) fn delete(api: &Api, subject: &Subject, name: &str) -> Result<(), DaemonError> {
    api.delete(&subject.target(&["snapshots", name])?, &object(subject, name))
}

fn object(subject: &Subject, name: &str) -> String {
    format!("snapshot {name} of {subject}")
}
