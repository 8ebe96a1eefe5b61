//! A restored instance takes the place of the one that has its name.
//!
//! It is imported beside the old one, under a name of its own and with marks in its configuration, complete before
//! anything happens to the old one. Then the old one is renamed away, the new one gets the name, and the old one is
//! deleted. Wherever that stops, the old or the new instance is there, and the marks tell the next run what is what:
//!
//! | found under the name | beside it | what the next replacement does first |
//! |---|---|---|
//! | the old one | a marked one | deletes the marked one |
//! | nothing | the old one renamed, and a marked one | gives the old one its name back, deletes the marked one |
//! | a marked one | the old one renamed, or nothing | deletes the old one, takes the marks off |

use std::collections::BTreeMap;

use serde_json::Value;

use crate::daemon::{DaemonError, InstanceChange, Status, Subject, Summary};
use crate::id::random_bytes;
use crate::restore::description::{Identity, Index};
use crate::restore::target::{Job, RestoreError, object};

/// Marks in the configuration of an instance that takes, or took, another one's place: whose, what that one is called
/// meanwhile, and by what cloud-init knows either, which every renaming changes.
const REPLACES: &str = "user.holdall.replaces";
const OLD: &str = "user.holdall.replaces.old";
const CLOUD_INIT: &str = "user.holdall.replaces.cloud-init";
const OLD_CLOUD_INIT: &str = "user.holdall.replaces.old-cloud-init";
const MARKS: &[&str] = &[REPLACES, OLD, CLOUD_INIT, OLD_CLOUD_INIT];

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
    if described.pointer("/expanded_config/security.protection.delete").is_some_and(|value| value == "true") {
        let reason = "is protected by security.protection.delete".to_owned();
        return Err(RestoreError::NotReplaceable { object: object(subject), reason });
    }
    let number = u32::from_be_bytes(random_bytes::<4>()?);
    Ok(Some(Swap {
        project,
        name,
        new: format!("holdall-new-{number:08x}"),
        old: format!("holdall-old-{number:08x}"),
        old_cloud_init: instance.summary.config.get(INSTANCE_ID).cloned(),
    }))
}

/// Errs if the name is free only because a replacement was interrupted.
pub(super) fn require_nothing_left(job: &Job<'_>, subject: &Subject) -> Result<(), RestoreError> {
    let instances = in_project(job, subject)?;
    let Some(new) = marked(&instances, subject) else { return Ok(()) };
    let old = new.config.get(OLD).filter(|old| instances.iter().any(|one| one.name == **old));
    let left = match old {
        Some(old) => format!("{old} is the old one, and {} the restored one", new.name),
        None => format!("{} is the restored one", new.name),
    };
    Err(RestoreError::Interrupted { object: subject.to_string(), left })
}

fn in_project(job: &Job<'_>, subject: &Subject) -> Result<Vec<Summary>, RestoreError> {
    let mut listing = job.daemon.instances()?;
    listing.instances.retain(|instance| instance.project == subject.project());
    Ok(listing.instances)
}

/// An instance that was to take that one's place, or that has.
fn marked<'i>(instances: &'i [Summary], subject: &Subject) -> Option<&'i Summary> {
    let marked = |one: &&Summary| one.config.get(REPLACES).is_some_and(|name| name == subject.name());
    instances.iter().filter(marked).max_by_key(|one| one.name == subject.name())
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
    // Each step leaves another state behind, and none is reached twice.
    loop {
        let instances = in_project(job, subject)?;
        let Some(new) = marked(&instances, subject) else { return Ok(()) };
        let old = new.config.get(OLD).filter(|old| instances.iter().any(|one| one.name == **old));
        if new.name == name {
            if let Some(old) = old {
                job.daemon.delete_instance(project, old)?;
            }
            job.daemon.update_instance(project, name, &without_marks(new))?;
            remarks.push("an interrupted replacement was brought to its end".to_owned());
        } else if instances.iter().any(|one| one.name == name) {
            job.daemon.delete_instance(project, &new.name)?;
            remarks.push(format!("{}, which an interrupted replacement left, was deleted", new.name));
        } else if let Some(old) = old {
            job.daemon.rename_instance(project, old, name)?;
            if let Some(id) = new.config.get(OLD_CLOUD_INIT) {
                job.daemon.update_instance(project, name, &known_as(id))?;
            }
            remarks.push(format!("{old}, which an interrupted replacement left, has its name again"));
        } else {
            // Perhaps the only copy that there is.
            let left = format!("{} is the restored one", new.name);
            return Err(RestoreError::Interrupted { object: subject.to_string(), left });
        }
    }
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
    pub(super) fn run(&self, job: &Job<'_>, remarks: &mut Vec<String>) -> Result<(), RestoreError> {
        let subject = Subject::instance(&self.project, &self.name);
        // Somebody may have started it during the upload.
        let present = job.daemon.instance(&self.project, &self.name)?;
        if let Some(present) = &present {
            if let Err(refused) = require_stopped(&subject, &present.summary) {
                self.withdraw(job, remarks);
                return Err(refused);
            }
            if let Err(source) = job.daemon.rename_instance(&self.project, &self.name, &self.old) {
                self.withdraw(job, remarks);
                return Err(self.failed(job, source));
            }
        }
        if let Err(source) = job.daemon.rename_instance(&self.project, &self.new, &self.name) {
            self.take_back(job, remarks);
            return Err(self.failed(job, source));
        }
        let new = job.daemon.instance(&self.project, &self.name)?;
        if present.is_some() {
            let deleted = job.daemon.delete_instance(&self.project, &self.old);
            deleted.map_err(|source| {
                let outcome = format!(
                    "{} was replaced, but the old one could not be deleted and is {}",
                    object(&subject),
                    self.old
                );
                RestoreError::OldStays { outcome, source }
            })?;
        }
        if let Some(new) = new {
            job.daemon.update_instance(&self.project, &self.name, &without_marks(&new.summary))?;
        }
        Ok(())
    }

    /// The old one gets its name back.
    fn take_back(&self, job: &Job<'_>, remarks: &mut Vec<String>) {
        if job.daemon.rename_instance(&self.project, &self.old, &self.name).is_ok() {
            if let Some(id) = &self.old_cloud_init {
                // It runs as it did; at worst cloud-init greets it as a new one.
                let _ = job.daemon.update_instance(&self.project, &self.name, &known_as(id));
            }
            self.withdraw(job, remarks);
        }
    }

    /// The new one goes; what it was made of is in the repository.
    fn withdraw(&self, job: &Job<'_>, remarks: &mut Vec<String>) {
        if let Err(error) = job.daemon.delete_instance(&self.project, &self.new) {
            remarks.push(format!("{} could not be deleted: {error}", self.new));
        }
    }

    /// Says what there is after a failure.
    fn failed(&self, job: &Job<'_>, source: DaemonError) -> RestoreError {
        let subject = Subject::instance(&self.project, &self.name);
        let state = match job.daemon.exists(&subject) {
            Ok(true) => "it is as it was".to_owned(),
            _ => format!("it is {} now, and the restored one is {}", self.old, self.new),
        };
        RestoreError::Swap { outcome: format!("{} cannot be replaced; {state}", object(&subject)), source }
    }
}
