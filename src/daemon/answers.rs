//! Everything that this port reads in answers, as functions of their bytes: for tests and fuzzing.
//!
//! Each question is read by the same functions as in the adapter for real daemons; only the socket is left out, and
//! what asks again or waits.

use serde_json::Value;

use super::api::{Answer, Body};
use super::error::DaemonError;
use super::local::{WRITABLE, changed};
use super::model::{WireBackup, WireInstance, WireNetwork, WirePool, WireProfile, WireResources, WireSnapshot};
use super::operation::{End, Operation};
use super::{
    BackupEntry, Instance, InstanceChange, Network, Pool, Profile, Project, Server, Snapshot, Subject, Summary,
};

/// What a daemon is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Who it is.
    Server,
    /// Its projects.
    Projects,
    /// The instances of a project.
    Instances,
    /// One instance, its snapshots standing in its description.
    Instance,
    /// The snapshots of an instance.
    Snapshots,
    /// The backups of an instance.
    Backups,
    /// Storage pools.
    Pools,
    /// Profiles.
    Profiles,
    /// Networks.
    Networks,
    /// An operation.
    Operation,
    /// All operations.
    Operations,
    /// The space of a pool.
    Resources,
    /// An instance that is to be changed.
    Change,
    /// A request that starts an operation.
    Start,
}

impl Question {
    /// Every question.
    pub const ALL: [Self; 14] = [
        Self::Server,
        Self::Projects,
        Self::Instances,
        Self::Instance,
        Self::Snapshots,
        Self::Backups,
        Self::Pools,
        Self::Profiles,
        Self::Networks,
        Self::Operation,
        Self::Operations,
        Self::Resources,
        Self::Change,
        Self::Start,
    ];
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// Who the daemon is.
    Server(Box<Server>),
    /// Projects.
    Projects(Vec<Project>),
    /// Instances as a listing tells them.
    Instances(Vec<Summary>),
    /// One instance.
    Instance(Box<Instance>),
    /// Snapshots.
    Snapshots(Vec<Snapshot>),
    /// Backups.
    Backups(Vec<BackupEntry>),
    /// Storage pools.
    Pools(Vec<Pool>),
    /// Profiles.
    Profiles(Vec<Profile>),
    /// Networks.
    Networks(Vec<Network>),
    /// An operation that runs, in the daemon's words.
    Running(String),
    /// An operation that has ended, well or with these words.
    Ended(Result<(), String>),
    /// Ids of operations that back up the instance.
    Operations(Vec<String>),
    /// Free bytes, if it tells.
    Free(Option<u64>),
    /// The body of the request that makes a change.
    Change(Value),
    /// The operation that was started, if any was.
    Started(Option<String>),
}

/// The project that questions are about.
pub const PROJECT: &str = "lab";
/// The instance that questions are about.
pub const INSTANCE: &str = "web1";

/// What [`Question::Change`] changes.
pub fn change() -> InstanceChange {
    InstanceChange {
        set: [("user.set".to_owned(), "new".to_owned())].into(),
        remove: ["volatile.eth0.hwaddr".to_owned()].into(),
    }
}

/// What may stand in the body of a change.
pub const CHANGEABLE: [&str; WRITABLE.len()] = WRITABLE;

/// Reads an answer of this HTTP status to a question.
pub fn read(question: Question, status: u16, bytes: &[u8]) -> Result<Said, DaemonError> {
    let object = &*Subject::instance(PROJECT, INSTANCE).to_string();
    let body = Answer::read(bytes.to_vec(), status, None, object)?.accepted(object)?;
    let nonsense = |problem| DaemonError::Protocol { object: object.to_owned(), problem };
    Ok(match question {
        Question::Server => Said::Server(Box::new(Server::read(body.metadata(object)?).map_err(nonsense)?)),
        Question::Projects => {
            let values: Vec<Value> = body.list(object)?;
            Said::Projects(values.into_iter().map(Project::read).collect::<Result<_, _>>().map_err(nonsense)?)
        }
        Question::Instances => {
            let wires: Vec<WireInstance> = body.list(object)?;
            Said::Instances(wires.into_iter().map(|wire| wire.into_summary(PROJECT, driver)).collect())
        }
        Question::Instance => {
            let value: Value = body.metadata(object)?;
            let snapshots = value.get("snapshots").and_then(Value::as_array).cloned().unwrap_or_default();
            Said::Instance(Box::new(Instance::read(value, snapshots, PROJECT, driver).map_err(nonsense)?))
        }
        Question::Snapshots => {
            let wires: Vec<WireSnapshot> = body.list(object)?;
            Said::Snapshots(wires.into_iter().map(WireSnapshot::into_snapshot).collect())
        }
        Question::Backups => Said::Backups(converted::<WireBackup, _>(&body, object)?),
        Question::Pools => Said::Pools(converted::<WirePool, _>(&body, object)?),
        Question::Profiles => Said::Profiles(converted::<WireProfile, _>(&body, object)?),
        Question::Networks => Said::Networks(converted::<WireNetwork, _>(&body, object)?),
        Question::Operation => operation(&body.metadata(object)?, object)?,
        Question::Operations => {
            let ids = body.backups_of(&Subject::instance(PROJECT, INSTANCE), object)?;
            Said::Operations(ids.iter().map(|id| id.as_str().to_owned()).collect())
        }
        Question::Resources => Said::Free(body.metadata::<WireResources>(object)?.free_bytes()),
        Question::Change => {
            let body = changed(body.metadata(object)?, &change());
            Said::Change(body.ok_or_else(|| nonsense("it has no configuration".to_owned()))?)
        }
        Question::Start => Said::Started(body.started(object)?.map(|id| id.as_str().to_owned())),
    })
}

/// The driver of a pool: known of one.
fn driver(pool: &str) -> Option<String> {
    (pool == "default").then(|| "zfs".to_owned())
}

fn converted<W: serde::de::DeserializeOwned, T: From<W>>(body: &Body, object: &str) -> Result<Vec<T>, DaemonError> {
    Ok(body.list::<W>(object)?.into_iter().map(T::from).collect())
}

fn operation(operation: &Operation, object: &str) -> Result<Said, DaemonError> {
    Ok(match operation.end(object)? {
        None => Said::Running(operation.progress()),
        Some(End::Success) => Said::Ended(Ok(())),
        Some(End::Failure(words)) => Said::Ended(Err(words)),
        Some(End::Lost) => Said::Ended(Err(String::new())),
    })
}
