//! A restored instance takes the place of the one that has its name.
//!
//! It is imported beside the old one, under a name of its own and with marks in its configuration, complete before
//! anything happens to the old one. Then the old one is renamed away, the new one gets the name, and the old one is
//! deleted. Wherever that stops, one of the two is there, and the marks tell the next run what is what. Anybody may
//! write such settings, so nothing is deleted for them but what bears a name of ours:
//!
//! | found under the name | beside it | what the next replacement does first |
//! |---|---|---|
//! | the old one | a marked one | deletes the marked one |
//! | nothing | the old one renamed, and a marked one | gives the old one its name back, deletes the marked one |
//! | a marked one | the old one renamed, or nothing | deletes the old one, takes the marks off |

use std::collections::BTreeMap;

use serde_json::Value;

use crate::daemon::{DaemonError, InstanceChange, REPLACEMENT_PREFIX, REPLACES, Status, Subject, Summary, is_yes};
use crate::id::random_bytes;
use crate::restore::target::{Job, RestoreError, object};
use crate::rewrite::description::{Identity, Index};

/// Marks in the configuration of an instance that takes, or took, another one's place: whose, what that one is called
/// meanwhile, and by what cloud-init knows either, which every renaming changes.
const OLD: &str = "user.holdall.replaces.old";
const CLOUD_INIT: &str = "user.holdall.replaces.cloud-init";
const OLD_CLOUD_INIT: &str = "user.holdall.replaces.old-cloud-init";
pub(super) const MARKS: &[&str] = &[REPLACES, OLD, CLOUD_INIT, OLD_CLOUD_INIT];

/// How the two are called meanwhile, with a number behind.
const OLD_PREFIX: &str = "holdall-old-";

/// Steps that putting things in order may take; three at the most are needed for one interruption.
const STEPS_MAX: usize = 12;

/// Keeps an instance from being deleted.
const PROTECTION: &str = "security.protection.delete";

/// By what cloud-init tells whether it has seen this machine before.
const INSTANCE_ID: &str = "volatile.cloud-init.instance-id";

/// A replacement that is under way.
pub(super) struct Swap {
    project: String,
    name: String,
    /// What the new one is called until it is complete.
    new: String,
    /// What the old one is called once it has made room.
    old: String,
    /// By what the old one can be told from another of its name.
    old_uuid: Option<String>,
    old_created: String,
    old_cloud_init: Option<String>,
}

/// Puts in order what an interrupted replacement left, and gets ready for another. `None` if the name is free.
pub(super) fn prepare(
    job: &Job<'_>,
    subject: &Subject,
    remarks: &mut Vec<String>,
) -> Result<Option<Swap>, RestoreError> {
    put_in_order(job, subject, remarks)?;
    let (project, name) = (subject.project().to_owned(), subject.name().to_owned());
    let Some(instance) = job.daemon.instance(&project, &name)? else { return Ok(None) };
    require_stopped(subject, &instance.summary)?;
    let described: Value = serde_json::from_str(&instance.json).unwrap_or_default();
    if described
        .get("expanded_config")
        .and_then(|config| config.get(PROTECTION))
        .and_then(Value::as_str)
        .is_some_and(is_yes)
    {
        let reason = format!("is protected by {PROTECTION}");
        return Err(RestoreError::NotReplaceable { object: object(subject), reason });
    }
    let number = u32::from_be_bytes(random_bytes::<4>()?);
    Ok(Some(Swap {
        project,
        name,
        new: format!("{REPLACEMENT_PREFIX}{number:08x}"),
        old: format!("{OLD_PREFIX}{number:08x}"),
        old_cloud_init: instance.summary.config.get(INSTANCE_ID).cloned(),
        old_uuid: instance.summary.uuid,
        old_created: instance.summary.created_at,
    }))
}

/// Errs if the name is free only because a replacement was interrupted.
pub(super) fn require_nothing_left(job: &Job<'_>, subject: &Subject) -> Result<(), RestoreError> {
    match left(job, subject)? {
        None => Ok(()),
        Some(left) => Err(left.interrupted(subject)),
    }
}

/// What an interrupted replacement left.
struct Left {
    new: Summary,
    /// What the old one is called, where it is not under its own name.
    old: Option<String>,
    has_name: bool,
}

impl Left {
    fn interrupted(&self, subject: &Subject) -> RestoreError {
        let left = match &self.old {
            Some(old) => format!("{old} is the old one, and {} the restored one", self.new.name),
            None => format!("{} is the restored one", self.new.name),
        };
        RestoreError::Interrupted { object: subject.to_string(), left }
    }
}

/// What an interrupted replacement of that instance left, if any did.
fn left(job: &Job<'_>, subject: &Subject) -> Result<Option<Left>, RestoreError> {
    let mut instances = job.daemon.instances()?.instances;
    instances.retain(|instance| instance.project == subject.project());
    let is_new = |one: &&Summary| {
        let is_ours = one.name == subject.name() || one.name.starts_with(REPLACEMENT_PREFIX);
        is_ours && one.config.get(REPLACES).is_some_and(|name| name == subject.name())
    };
    let Some(new) = instances.iter().filter(is_new).max_by_key(|one| one.name == subject.name()) else {
        return Ok(None);
    };
    let old = new.config.get(OLD).filter(|old| old.starts_with(OLD_PREFIX));
    let old = old.filter(|old| instances.iter().any(|one| one.name == **old)).cloned();
    let has_name = instances.iter().any(|one| one.name == subject.name());
    Ok(Some(Left { new: new.clone(), old, has_name }))
}

fn require_stopped(subject: &Subject, summary: &Summary) -> Result<(), RestoreError> {
    if summary.status == Status::Stopped {
        return Ok(());
    }
    let reason = format!("is {}, not stopped", summary.status.to_string().to_lowercase());
    Err(RestoreError::NotReplaceable { object: object(subject), reason })
}

fn put_in_order(job: &Job<'_>, subject: &Subject, remarks: &mut Vec<String>) -> Result<(), RestoreError> {
    let (project, name) = (subject.project(), subject.name());
    for _ in 0..STEPS_MAX {
        let Some(found) = left(job, subject)? else { return Ok(()) };
        let new = &found.new;
        match &found.old {
            _ if new.name == name => {
                if let Some(old) = &found.old {
                    job.daemon.delete_instance(project, old)?;
                }
                job.daemon.update_instance(project, name, &without_marks(new))?;
                remarks.push("an interrupted replacement was brought to its end".to_owned());
            }
            _ if found.has_name => {
                delete_new(job, project, &new.name)?;
                remarks.push(format!("{}, which an interrupted replacement left, was deleted", new.name));
            }
            Some(old) => {
                job.daemon.rename_instance(project, old, name)?;
                if let Some(id) = new.config.get(OLD_CLOUD_INIT) {
                    job.daemon.update_instance(project, name, &known_as(id))?;
                }
                remarks.push(format!("{old}, which an interrupted replacement left, has its name again"));
            }
            // Perhaps the only copy that there is.
            None => return Err(found.interrupted(subject)),
        }
    }
    Ok(())
}

/// Deletes a restored instance that did not get its place, also if it was protected when it was backed up.
fn delete_new(job: &Job<'_>, project: &str, name: &str) -> Result<(), DaemonError> {
    job.daemon.delete_instance(project, name).or_else(|error| {
        let unprotect =
            InstanceChange { set: [(PROTECTION.to_owned(), "false".to_owned())].into(), ..InstanceChange::default() };
        match job.daemon.update_instance(project, name, &unprotect) {
            Ok(()) => job.daemon.delete_instance(project, name),
            Err(_) => Err(error),
        }
    })
}

fn known_as(id: &str) -> InstanceChange {
    InstanceChange { set: BTreeMap::from([(INSTANCE_ID.to_owned(), id.to_owned())]), ..InstanceChange::default() }
}

/// Takes the marks off, and gives cloud-init back what it knew the instance by.
fn without_marks(new: &Summary) -> InstanceChange {
    let mut change = new.config.get(CLOUD_INIT).map(|id| known_as(id)).unwrap_or_default();
    change.remove.extend(MARKS.iter().map(|key| (*key).to_owned()));
    change
}

impl Swap {
    /// What to import.
    pub(super) fn temporary(&self) -> Subject {
        Subject::instance(&self.project, &self.new)
    }

    /// The marks that the new one carries until it has its place.
    pub(super) fn marks(&self, index: &Index, identity: Option<&Identity>) -> BTreeMap<String, String> {
        let mut marks = BTreeMap::from([(REPLACES.to_owned(), self.name.clone()), (OLD.to_owned(), self.old.clone())]);
        if let Some(id) = index.config_of_main(INSTANCE_ID) {
            let id = identity.map_or(id, |identity| &identity.cloud_init);
            marks.insert(CLOUD_INIT.to_owned(), id.to_owned());
        }
        if let Some(id) = &self.old_cloud_init {
            marks.insert(OLD_CLOUD_INIT.to_owned(), id.clone());
        }
        marks
    }

    /// Whether that is the instance to be replaced.
    pub(super) fn is_of(&self, project: &str, name: &str) -> bool {
        (project, name) == (self.project.as_str(), self.name.as_str())
    }

    /// Puts the new one, which is complete, in the place of the old one.
    pub(super) fn run(&self, job: &Job<'_>) -> Result<(), RestoreError> {
        let present = job.daemon.instance(&self.project, &self.name)?;
        if let Some(present) = &present {
            // Somebody may have started it during the upload, or made another one.
            let checked = self.require_same(&present.summary);
            let renamed = checked.and_then(|()| {
                let renamed = job.daemon.rename_instance(&self.project, &self.name, &self.old);
                renamed.map_err(|source| self.failed(source, "it is as it was"))
            });
            if let Err(refused) = renamed {
                // What it was made of is in the repository, and what stays of it is found by the next one.
                let _ = delete_new(job, &self.project, &self.new);
                return Err(refused);
            }
        }
        if let Err(source) = job.daemon.rename_instance(&self.project, &self.new, &self.name) {
            return Err(self.take_back(job, source));
        }
        let new = job.daemon.instance(&self.project, &self.name)?;
        if present.is_some() {
            let deleted = job.daemon.delete_instance(&self.project, &self.old);
            deleted.map_err(|source| self.unfinished(source, &format!("the old one is {} still", self.old)))?;
        }
        match new {
            Some(new) => {
                let changed = job.daemon.update_instance(&self.project, &self.name, &without_marks(&new.summary));
                changed.map_err(|source| self.unfinished(source, "it still carries the marks of that"))
            }
            None => Ok(()),
        }
    }

    fn require_same(&self, present: &Summary) -> Result<(), RestoreError> {
        let subject = Subject::instance(&self.project, &self.name);
        if (&present.uuid, &present.created_at) != (&self.old_uuid, &self.old_created) {
            let reason = "is another one than before".to_owned();
            return Err(RestoreError::NotReplaceable { object: object(&subject), reason });
        }
        require_stopped(&subject, present)
    }

    /// The old one gets its name back, and the new one goes.
    fn take_back(&self, job: &Job<'_>, source: DaemonError) -> RestoreError {
        if job.daemon.rename_instance(&self.project, &self.old, &self.name).is_err() {
            return self.failed(source, &format!("it is {} now, and the restored one is {}", self.old, self.new));
        }
        if let Some(id) = &self.old_cloud_init {
            // It is as it was; at worst cloud-init greets it as a new one.
            let _ = job.daemon.update_instance(&self.project, &self.name, &known_as(id));
        }
        let _ = delete_new(job, &self.project, &self.new);
        self.failed(source, "it is as it was")
    }

    fn failed(&self, source: DaemonError, state: &str) -> RestoreError {
        let subject = Subject::instance(&self.project, &self.name);
        RestoreError::Swap { outcome: format!("{} cannot be replaced; {state}", object(&subject)), source }
    }

    fn unfinished(&self, source: DaemonError, state: &str) -> RestoreError {
        let subject = Subject::instance(&self.project, &self.name);
        RestoreError::Unfinished { outcome: format!("{} was replaced, but {state}", object(&subject)), source }
    }
}
