//! Which process this is, and whether another one is gone: for suspicion and leftovers only.

use std::fs;

/// What tells one process from every other that this host ever ran.
pub(super) struct Identity {
    /// The kernel's random id of this boot.
    pub boot: String,
    /// Process id.
    pub process: u32,
    /// Start time in clock ticks since boot.
    pub start: u64,
}

impl Identity {
    pub(super) fn of_this_process() -> Self {
        let process = std::process::id();
        Self { boot: boot_id(), process, start: start_ticks(process).unwrap_or(0) }
    }

    /// Whether the process may still run; `true` when in doubt.
    pub(super) fn is_alive(boot: &str, process: u32, start: u64) -> bool {
        let present = boot_id();
        if present.is_empty() || boot.is_empty() {
            return true;
        }
        // A process id is used again; its start time with it is not.
        present == boot && start_ticks(process).is_some_and(|ticks| ticks == start || start == 0)
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Field 22 of `/proc/PID/stat`; the command before it stands in parentheses and may hold spaces.
fn start_ticks(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_another_start_or_boot_is_not() {
        let me = Identity::of_this_process();
        assert!(me.start > 0);
        assert!(Identity::is_alive(&me.boot, me.process, me.start));
        assert!(!Identity::is_alive(&me.boot, me.process, me.start + 1));
        assert!(!Identity::is_alive("another boot", me.process, me.start));
    }
}
