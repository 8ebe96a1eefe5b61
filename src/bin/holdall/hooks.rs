//! Commands of this host around the backup of a set, as the settings name them.
//!
//! Each runs in a shell of its own with the set's first source in `HOLDALL_SOURCE`; what it prints goes to standard
//! error. At its time limit it is killed together with what it started.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use holdall::backup::{HostHooks, When};
use holdall::source::{Selector, Source};
use rustix::process::{Pid, Signal, kill_process_group};

/// How often it is looked whether a command has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Commands that belong to some sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Around which sources it runs: a set is meant by its instance, or by a volume that is saved alone. None is all.
    pub sources: Vec<Selector>,
    /// Makes ready.
    pub before: Option<String>,
    /// Puts right.
    pub after: Option<String>,
    /// How long each may run.
    pub time_limit: Duration,
}

/// The commands of the settings.
pub struct CommandHooks<'h> {
    hooks: &'h [Hook],
    /// How many of the present set were begun.
    begun: AtomicUsize,
}

impl<'h> CommandHooks<'h> {
    /// These commands, in this order before a set and in the opposite one after it.
    pub fn new(hooks: &'h [Hook]) -> Self {
        Self { hooks, begun: AtomicUsize::new(0) }
    }
}

impl HostHooks for CommandHooks<'_> {
    fn run(&self, when: When, source: &Source) -> Result<(), String> {
        let applies = |(_, hook): &(usize, &Hook)| {
            hook.sources.is_empty() || hook.sources.iter().any(|selector| selector.matches(source))
        };
        let hooks: Vec<(usize, &Hook)> = (1..).zip(self.hooks).filter(applies).collect();
        match when {
            When::Before => {
                self.begun.store(0, Ordering::SeqCst);
                hooks.iter().try_for_each(|(number, hook)| {
                    self.begun.fetch_add(1, Ordering::SeqCst);
                    run("before", *number, hook.before.as_deref(), source, hook.time_limit)
                })
            }
            When::After => {
                // Each puts its own thing right, whatever became of the others; what was not begun needs nothing.
                let begun = hooks.iter().take(self.begun.load(Ordering::SeqCst)).rev();
                let after = begun
                    .filter_map(|(number, hook)| {
                        run("after", *number, hook.after.as_deref(), source, hook.time_limit).err()
                    })
                    .collect::<Vec<String>>();
                if after.is_empty() { Ok(()) } else { Err(after.join("; ")) }
            }
        }
    }
}

/// Runs a command if there is one. Messages do not tell it, for it may hold a password.
fn run(when: &str, number: usize, command: Option<&str>, source: &Source, limit: Duration) -> Result<(), String> {
    let Some(command) = command else { return Ok(()) };
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).env("HOLDALL_SOURCE", source.to_string()).stdin(Stdio::null()).process_group(0);
    // Standard output is for results.
    shell.stdout(std::io::stderr());
    let named = |what: &str| format!("The command `{when}` of hook {number} in the settings {what}");
    let mut child = shell.spawn().map_err(|error| named(&format!("cannot be run: {error}")))?;
    match ended(&mut child, limit) {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(named(&format!("failed: {status}"))),
        Ok(None) => Err(named(&format!("was killed at its time limit of {} seconds", limit.as_secs()))),
        Err(error) => Err(named(&format!("cannot be waited for: {error}"))),
    }
}

/// How a command ended; one that did not in its time is killed.
fn ended(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() > limit {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if let Some(group) = group {
                kill_process_group(group, Signal::KILL)?;
            }
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(before: &str, after: &str, seconds: u64) -> Hook {
        let command = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let time_limit = Duration::from_secs(seconds);
        Hook { sources: vec!["web1".parse().unwrap()], before: command(before), after: command(after), time_limit }
    }

    #[test]
    fn commands_run_for_their_sources_with_the_source_in_their_environment() {
        let hooks = [hook("test \"$HOLDALL_SOURCE\" = lab//web1", "exit 3", 10)];
        let (web1, web2) = (Source::instance("lab", "default", "web1"), Source::instance("lab", "default", "web2"));
        let commands = CommandHooks::new(&hooks);
        assert_eq!(commands.run(When::Before, &web1), Ok(()));
        let failed = commands.run(When::After, &web1).unwrap_err();
        assert_eq!(failed, "The command `after` of hook 1 in the settings failed: exit status: 3");
        assert_eq!((commands.run(When::Before, &web2), commands.run(When::After, &web2)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed_with_what_it_started() {
        let hooks = [hook("sleep 1000 | cat", "", 0)];
        let killed = CommandHooks::new(&hooks).run(When::Before, &Source::instance("lab", "default", "web1"));
        assert!(killed.unwrap_err().contains("was killed at its time limit of 0 seconds"));
    }

    #[test]
    fn what_puts_right_runs_in_the_opposite_order_for_all_that_was_begun() {
        let hooks = [hook("", "exit 1", 10), hook("exit 9", "exit 2", 10), hook("", "exit 4", 10)];
        let web1 = Source::instance("lab", "default", "web1");
        let commands = CommandHooks::new(&hooks);
        assert!(commands.run(When::Before, &web1).unwrap_err().contains("hook 2"));
        let failed = commands.run(When::After, &web1).unwrap_err();
        assert!(failed.find("hook 2") < failed.find("hook 1") && failed.contains("hook 2"), "{failed}");
        assert!(!failed.contains("hook 3"), "{failed}");
    }
}
