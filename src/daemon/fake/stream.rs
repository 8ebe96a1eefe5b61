//! The stream of an export of the daemon in memory, with the faults of its attempt.

use std::io::{self, Read};

use super::{FakeDaemon, Fault};
use crate::daemon::error::DaemonError;
use crate::daemon::{Completion, Export, ExportRequest, Mode, Packaging, Verdict};

pub(super) struct FakeStream {
    pub daemon: FakeDaemon,
    pub request: ExportRequest,
    pub object: String,
    pub mode: Mode,
    pub packaging: Packaging,
    pub bytes: Vec<u8>,
    pub position: usize,
    pub faults: Vec<Fault>,
    pub begun: bool,
}

impl FakeStream {
    fn cut(&self) -> DaemonError {
        let words = self.faults.iter().find_map(|fault| match fault {
            Fault::OperationFails(words) => Some(words.clone()),
            _ => None,
        });
        let (object, received) = (self.object.clone(), self.position as u64);
        DaemonError::Cut { object, received, words: words.unwrap_or_default(), source: None }
    }

    /// Where the stream ends and whether it breaks there.
    fn end(&self) -> (usize, bool) {
        let at = |position: &u64| usize::try_from(*position).unwrap_or(usize::MAX).min(self.bytes.len());
        let fault = self.faults.iter().find_map(|fault| match fault {
            Fault::CutAt(position) => Some((at(position), true)),
            Fault::EndAt(position) => Some((at(position), false)),
            _ => None,
        });
        fault.unwrap_or((self.bytes.len(), false))
    }
}

impl Read for FakeStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.begun {
            self.begun = true;
            self.daemon.state().interfere(&self.request.subject, &self.faults);
        }
        let (end, broken) = self.end();
        let count = buffer.len().min(end - self.position);
        if let (Some(target), Some(source)) =
            (buffer.get_mut(..count), self.bytes.get(self.position..self.position + count))
        {
            target.copy_from_slice(source);
        }
        self.position += count;
        if count == 0 && broken && !buffer.is_empty() { Err(self.cut().into_io()) } else { Ok(count) }
    }
}

impl Export for FakeStream {
    fn mode(&self) -> Mode {
        self.mode
    }

    fn length(&self) -> Option<u64> {
        (self.mode == Mode::Staged).then_some(self.bytes.len() as u64)
    }

    fn packaging(&self) -> Packaging {
        self.packaging
    }

    fn finish(self: Box<Self>) -> Result<Completion, DaemonError> {
        let (end, broken) = self.end();
        if broken || self.position < end || (self.mode == Mode::Staged && end < self.bytes.len()) {
            return Err(self.cut());
        }
        for fault in &self.faults {
            if let Fault::OperationFails(words) = fault {
                return Err(DaemonError::failure(&self.object, words));
            }
        }
        let operation = if self.faults.contains(&Fault::OperationUnseen) { Verdict::Unseen } else { Verdict::Success };
        let stays = self.mode == Mode::Staged && self.faults.contains(&Fault::LeftoverStays);
        let leftover = stays.then(|| DaemonError::failure(&self.object, "Device or resource busy"));
        Ok(Completion { mode: self.mode, bytes: self.position as u64, operation, leftover })
    }
}

impl Drop for FakeStream {
    fn drop(&mut self) {
        if self.mode == Mode::Staged && !self.faults.contains(&Fault::LeftoverStays) {
            let subject = &self.request.subject;
            self.daemon.state().drop_backup(subject.project(), subject.name(), &self.request.backup_name);
        }
    }
}
