//! Snapshots of instances in memory; volumes have none.

use serde_json::Value;

use super::{FakeDaemon, FakeInstance, Kept, State};
use crate::clock::Timestamp;
use crate::daemon::Subject;
use crate::daemon::error::DaemonError;

impl Kept {
    pub(super) fn of(instance: FakeInstance) -> Self {
        Self {
            object: Value::Object(instance.object.clone()),
            snapshots: instance.snapshots.clone(),
            export: instance.export(),
            export_instance_only: instance.export_instance_only(),
            made_of: Some(instance),
        }
    }
}

impl FakeDaemon {
    /// Makes the daemon refuse to take snapshots, with these words.
    pub fn forbid_snapshots(&self, words: &str) {
        self.state().no_snapshots = Some(words.to_owned());
    }
}

impl State {
    pub(super) fn snapshots(&mut self, subject: &Subject) -> Result<Vec<String>, DaemonError> {
        if !matches!(subject, Subject::Instance { .. }) {
            return Ok(Vec::new());
        }
        let kept = self.instance(subject.project(), subject.name())?;
        let names = kept.snapshots.iter().filter_map(|snapshot| snapshot.get("name")?.as_str());
        Ok(names.map(str::to_owned).collect())
    }

    pub(super) fn take_snapshot(
        &mut self,
        subject: &Subject,
        name: &str,
        expires_at: Timestamp,
    ) -> Result<(), DaemonError> {
        if let Some(words) = &self.no_snapshots {
            return Err(DaemonError::refusal(&subject.to_string(), 403, words));
        }
        self.call("snapshot", subject.project(), subject.name());
        self.remake(subject, |instance| instance.snapshot(name, Some(&expires_at.to_string())))
    }

    pub(super) fn delete_snapshot(&mut self, subject: &Subject, name: &str) -> Result<(), DaemonError> {
        self.call("unsnapshot", subject.project(), subject.name());
        self.remake(subject, |instance| instance.without_snapshot(name))
    }

    fn remake(
        &mut self,
        subject: &Subject,
        change: impl FnOnce(FakeInstance) -> FakeInstance,
    ) -> Result<(), DaemonError> {
        let kept = self.instance(subject.project(), subject.name())?;
        let unable = || DaemonError::failure(&subject.to_string(), "it has no snapshots here");
        *kept = Kept::of(change(kept.made_of.clone().ok_or_else(unable)?));
        Ok(())
    }
}
