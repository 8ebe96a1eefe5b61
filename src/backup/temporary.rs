//! A snapshot of the daemon's for the time of one export, where what is read would otherwise change meanwhile.
//!
//! No daemon exports a snapshot alone (`reference/daemon-api.md` 8.2). So all is exported, and on its way into the
//! repository what the snapshot holds takes the place of what the main volume held, as if the daemon had read that at
//! one moment. The snapshot itself is in no point.

use crate::clock::Timestamp;
use crate::daemon::{Daemon, DaemonError, Subject};
use crate::monitor::{Event, Monitor};

/// Deletes its snapshot when it is dropped.
pub(super) struct TemporarySnapshot<'d> {
    daemon: &'d dyn Daemon,
    monitor: &'d dyn Monitor,
    subject: Subject,
    name: String,
}

impl<'d> TemporarySnapshot<'d> {
    /// Takes a snapshot, which the daemon deletes by itself at that time if nobody has before.
    pub(super) fn take(
        daemon: &'d dyn Daemon,
        monitor: &'d dyn Monitor,
        subject: &Subject,
        name: String,
        expires_at: Timestamp,
    ) -> Result<Self, DaemonError> {
        // Known before it is there: the answer may be lost.
        let snapshot = Self { daemon, monitor, subject: subject.clone(), name };
        daemon.take_snapshot(subject, &snapshot.name, expires_at)?;
        Ok(snapshot)
    }
}

impl Drop for TemporarySnapshot<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.daemon.delete_snapshot(&self.subject, &self.name) {
            let object = self.subject.to_string();
            let message = format!("{} could not be deleted and expires by itself in a day: {error}", self.name);
            self.monitor.event(Event::Said { object, message });
        }
    }
}
