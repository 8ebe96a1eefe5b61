//! Finding the daemon and keeping it: the socket that is meant, and this program's wish to stop.

use holdall::daemon::{DaemonError, LocalDaemon};

use crate::config::Settings;
use crate::error::{CliError, Code, one_line};
use crate::interrupt;

/// Connects to the daemon that the settings mean.
pub fn connect(settings: &Settings) -> Result<LocalDaemon, CliError> {
    Ok(LocalDaemon::connect(&settings.socket_hints(), Some(interrupt::stop_flag()))?)
}

impl From<DaemonError> for CliError {
    fn from(error: DaemonError) -> Self {
        let line = one_line(&error);
        match error {
            DaemonError::NoDaemon { .. } => {
                Self::new(Code::Daemon, line).hint("start the daemon, or name its socket with --server SOCKET")
            }
            DaemonError::Ambiguous { .. } => Self::new(Code::Daemon, line).hint("use --server SOCKET"),
            DaemonError::NoPermission { .. } => Self::new(Code::Daemon, line).hint("run it as root or join the group"),
            DaemonError::Restricted { .. } => Self::new(Code::Daemon, line)
                .hint("the project's restrictions forbid it; its administrator can lift them"),
            DaemonError::NotFound { .. } => Self::new(Code::NoSuch, line).hint("see `holdall backup --all --dry-run`"),
            DaemonError::NameTaken { .. } => Self::new(Code::Taken, line).hint("choose another name with --as"),
            DaemonError::NoSpace { .. } => {
                Self::new(Code::NoSpace, line).hint("make room on the daemon's disk and run it again")
            }
            DaemonError::Stopped { .. } => Self::stopped(),
            DaemonError::Silent { .. } | DaemonError::Io { .. } | DaemonError::Protocol { .. } => {
                Self::new(Code::Daemon, line).hint("look at the daemon and its log, then run it again")
            }
            _ => Self::new(Code::Failed, line),
        }
    }
}
