//! Commands around the backup of a set: in the instance, as its own keys say, and on this host, as its settings say.
//!
//! What makes ready runs on the host first and in the instance last; what puts right runs the other way round, and
//! always once its counterpart was begun: after a failure, after a stop, and if its counterpart failed itself. A hook
//! in an instance that does not run has nothing to make ready, and is passed over.

use crate::backup::plan::{Hooks, Planned};
use crate::backup::sources::describe;
use crate::daemon::{Daemon, Script, Status, Subject};
use crate::monitor::{Event, Monitor, Problem};
use crate::source::Source;

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before the first source of a set is looked at.
    Before,
    /// After the last one.
    After,
}

/// Commands of the host that runs the backup.
pub trait HostHooks: Sync {
    /// Runs what belongs to a set, which its first source names; an error is one line that names the command.
    fn run(&self, when: When, source: &Source) -> Result<(), String>;
}

/// No commands.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHostHooks;

impl HostHooks for NoHostHooks {
    fn run(&self, _when: When, _source: &Source) -> Result<(), String> {
        Ok(())
    }
}

/// The hooks of one set.
pub(super) struct Around<'a> {
    daemon: &'a dyn Daemon,
    host: &'a dyn HostHooks,
    monitor: &'a dyn Monitor,
    first: &'a Planned,
    /// Whether those in the instance were begun.
    entered: bool,
}

impl<'a> Around<'a> {
    /// The hooks of the set that begins with `first`; nothing runs yet.
    pub(super) fn new(
        daemon: &'a dyn Daemon,
        host: &'a dyn HostHooks,
        monitor: &'a dyn Monitor,
        first: &'a Planned,
    ) -> Self {
        Self { daemon, host, monitor, first, entered: false }
    }

    /// Makes ready. An error says why the set must not be saved; [`Around::after`] is to be called all the same.
    pub(super) fn before(&mut self) -> Result<(), String> {
        self.host.run(When::Before, &self.first.source)?;
        let Hooks { before, after, .. } = &self.first.hooks;
        if before.is_none() && after.is_none() {
            return Ok(());
        }
        let Some(Subject::Instance { project, name }) = Subject::of(&self.first.source) else { return Ok(()) };
        let running = match self.daemon.instance(&project, &name) {
            // What is not there is told by the attempt.
            Ok(instance) => instance.is_some_and(|instance| instance.summary.status == Status::Running),
            Err(error) => return Err(describe(&error)),
        };
        if !running {
            let message = "it does not run, so its hooks do not, either".to_owned();
            self.monitor.event(Event::Said { object: self.first.source.to_string(), message });
            return Ok(());
        }
        self.entered = true;
        before.as_ref().map_or(Ok(()), |text| self.execute("Its hook user.holdall.hook.pre", text, false))
    }

    /// Puts right, and tells of all that failed at it.
    pub(super) fn after(&self) -> Vec<Problem> {
        let inside = match &self.first.hooks.after {
            Some(text) if self.entered => self.execute("Its hook user.holdall.hook.post", text, true),
            _ => Ok(()),
        };
        let outside = self.host.run(When::After, &self.first.source);
        let object = self.first.source.to_string();
        let failed = [inside, outside].into_iter().filter_map(Result::err);
        failed.map(|message| Problem { object: object.clone(), message }).collect()
    }

    fn execute(&self, what: &str, text: &str, is_cleanup: bool) -> Result<(), String> {
        let Some(Subject::Instance { project, name }) = Subject::of(&self.first.source) else { return Ok(()) };
        let limit = self.first.hooks.limit;
        let script = Script { project: &project, instance: &name, text, limit, is_cleanup };
        match self.daemon.execute(&script) {
            Ok(0) => Ok(()),
            Ok(137) => Err(format!("{what} was killed, most likely at its time limit of {} seconds", limit.as_secs())),
            // The script itself is not told: it may hold a password.
            Ok(code) => Err(format!("{what} failed with code {code}")),
            Err(error) => Err(format!("{what} could not be run: {}", describe(&error))),
        }
    }
}
