//! What a run is to do, and why: which sources, together with what, in which order.
//!
//! What is new on a server is in by default. The server's own administrators take things out with the key
//! `user.holdall.exclude` on an instance, its profiles, a volume or a project, and the settings of the host that runs
//! the backup with a list; what is asked for by name is in whatever those say. An instance and the custom volumes that
//! are attached to it are one set: asked for the one, a run saves the others, too, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::backup::inventory::{Found, Inventory};
use crate::backup::sources::{BackupError, BackupOptions, Selection};
use crate::daemon::{Daemon, Project, Snapshots, is_yes};
use crate::monitor::Problem;
use crate::source::{Selector, Source, SourceKind};

/// Leaves something out of backups: `true`, `1`, `yes` or `on`.
const EXCLUDE: &str = "user.holdall.exclude";
/// Leaves the daemon's snapshots out of points: `false`, `0`, `no` or `off`.
const SNAPSHOTS: &str = "user.holdall.snapshots";

/// What runs inside an instance before and after it is saved.
const HOOK_BEFORE: &str = "user.holdall.hook.pre";
const HOOK_AFTER: &str = "user.holdall.hook.post";
/// How long each of the two may run, in seconds.
const HOOK_SECONDS: &str = "user.holdall.hook.timeout";
/// How long a hook may run that does not say.
const HOOK_TIME: Duration = Duration::from_mins(5);

/// Scripts that run in an instance around its backup and that of its volumes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Makes ready; if it fails, nothing is saved.
    pub before: Option<String>,
    /// Puts right, whatever happened.
    pub after: Option<String>,
    /// How long each may run.
    pub limit: Duration,
}

/// What a run is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The server's name in the repository.
    pub server: String,
    /// Everything that was found or asked for; what is chosen first and in the order in which it is backed up.
    pub planned: Vec<Planned>,
    /// What could not be looked into: projects.
    pub problems: Vec<Problem>,
    /// Whether nothing was hidden: this client may see all, and could.
    pub complete: bool,
}

/// What a run does with one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The source.
    pub source: Source,
    /// What it is, in words.
    pub what: String,
    /// Whether it is backed up.
    pub chosen: bool,
    /// Why, in words.
    pub why: String,
    /// Whether its points hold the daemon's snapshots.
    pub snapshots: Snapshots,
    /// What runs in it, if it is an instance.
    pub hooks: Hooks,
    /// The other members of its set.
    pub set: Vec<Source>,
}

impl Plan {
    /// The sources that are backed up, in this order.
    pub fn chosen(&self) -> impl Iterator<Item = &Source> {
        self.planned.iter().filter(|planned| planned.chosen).map(|planned| &planned.source)
    }

    /// The sources that are backed up, each instance in one piece with the volumes that follow it.
    pub(super) fn sets(&self) -> Vec<Vec<&Planned>> {
        let mut sets: Vec<Vec<&Planned>> = Vec::new();
        for planned in self.planned.iter().filter(|planned| planned.chosen) {
            match sets.last_mut() {
                Some(set) if set.first().is_some_and(|first| first.leads(&planned.source)) => set.push(planned),
                _ => sets.push(vec![planned]),
            }
        }
        sets
    }

    /// The sources that are left out.
    pub fn left_out(&self) -> impl Iterator<Item = &Source> {
        self.planned.iter().filter(|planned| !planned.chosen).map(|planned| &planned.source)
    }
}

impl Planned {
    /// Whether it is an instance that this is attached to.
    pub(super) fn leads(&self, member: &Source) -> bool {
        matches!(self.source.kind, SourceKind::Instance { .. }) && self.set.contains(member)
    }
}

/// Plans a run without doing anything.
pub fn plan(daemon: &dyn Daemon, selection: &Selection, options: &BackupOptions) -> Result<Plan, BackupError> {
    let name = match &options.server_name {
        Some(name) => name.clone(),
        None => daemon.server()?.name,
    };
    Planner::new(&Inventory::read(daemon)?, daemon.projects()?, name, options).plan(selection)
}

/// Plans over an inventory.
pub(super) struct Planner<'p> {
    server: String,
    found: Vec<Found>,
    projects: BTreeMap<String, Project>,
    problems: Vec<Problem>,
    /// Whether this client may see everything on the server.
    sees_all: bool,
    options: &'p BackupOptions,
}

impl<'p> Planner<'p> {
    pub(super) fn new(
        inventory: &Inventory,
        projects: Vec<Project>,
        server: String,
        options: &'p BackupOptions,
    ) -> Self {
        let found = inventory.found(&server);
        let projects = projects.into_iter().map(|project| (project.name.clone(), project)).collect();
        let sees_all = inventory.sees_all();
        Self { server, found, projects, problems: inventory.problems(), sees_all, options }
    }

    pub(super) fn plan(self, selection: &Selection) -> Result<Plan, BackupError> {
        let mut planned = match selection {
            Selection::All => self.found.iter().map(|found| self.of_all(found)).collect(),
            Selection::Sources(selectors) => self.named(selectors)?,
        };
        let sets = self.sets();
        for one in &mut planned {
            one.set = sets.get(&one.source).cloned().unwrap_or_default();
        }
        let complete = self.sees_all && self.problems.is_empty();
        Ok(Plan { planned: in_order(planned), server: self.server, problems: self.problems, complete })
    }

    /// A run over everything: what is found is in, unless somebody took it out.
    fn of_all(&self, found: &Found) -> Planned {
        match self.taken_out(found) {
            Some(why) => self.planned(found, false, why),
            None => self.planned(found, true, "all that is not taken out is in".to_owned()),
        }
    }

    /// Who took it out, if anybody did.
    fn taken_out(&self, found: &Found) -> Option<String> {
        if let Some(selector) = self.options.exclude.iter().find(|selector| selector.matches(&found.source)) {
            return Some(format!("{selector} is excluded in the settings"));
        }
        if let Some(reason) = found.of_no_use {
            return Some(reason.to_owned());
        }
        let (value, place) = self.key(found, EXCLUDE)?;
        is_yes(&value).then(|| format!("{EXCLUDE}={value} {place}"))
    }

    /// The value of a key that counts for it, and where that stands.
    fn key(&self, found: &Found, key: &str) -> Option<(String, String)> {
        if let Some(value) = found.own_keys.get(key) {
            return Some((value.clone(), "on it".to_owned()));
        }
        if let Some(value) = found.inherited_keys.get(key) {
            return Some((value.clone(), "in a profile of it".to_owned()));
        }
        let project = found.source.project()?;
        let value = self.projects.get(project)?.config.get(key)?;
        Some((value.clone(), format!("on the project {project}")))
    }

    fn planned(&self, found: &Found, chosen: bool, why: String) -> Planned {
        let without = self.key(found, SNAPSHOTS).is_some_and(|(value, _)| is_no(&value));
        let snapshots = if without { Snapshots::Omit } else { self.options.snapshots };
        let (source, what) = (found.source.clone(), found.what.clone());
        Planned { source, what, chosen, why, snapshots, hooks: self.hooks(found), set: Vec::new() }
    }

    fn hooks(&self, found: &Found) -> Hooks {
        if !matches!(found.source.kind, SourceKind::Instance { .. }) {
            return Hooks::default();
        }
        let value = |key| self.key(found, key).map(|(value, _)| value).filter(|value| !value.trim().is_empty());
        let seconds = value(HOOK_SECONDS).and_then(|text| text.trim().parse().ok());
        let limit = seconds.map_or(HOOK_TIME, |seconds: u32| Duration::from_secs(seconds.into()));
        Hooks { before: value(HOOK_BEFORE), after: value(HOOK_AFTER), limit }
    }

    /// A run over what was named: that, and the volumes that are attached to it.
    fn named(&self, selectors: &[Selector]) -> Result<Vec<Planned>, BackupError> {
        let mut planned: Vec<Planned> = Vec::new();
        for selector in selectors {
            let of_no_daemon = matches!(selector.kind, SourceKind::File | SourceKind::Directory | SourceKind::Server);
            if of_no_daemon {
                return Err(BackupError::Unsupported { selector: selector.to_string() });
            }
            if selector.server.as_deref().is_some_and(|named| named != self.server) {
                let (selector, server) = (selector.to_string(), self.server.clone());
                return Err(BackupError::OtherServer { selector, server });
            }
            let source = selector.on(&self.server);
            let asked_for = "it was asked for".to_owned();
            match self.found.iter().find(|found| found.source == source) {
                Some(found) => planned.push(self.planned(found, true, asked_for)),
                None => planned.push(Planned {
                    source,
                    what: "not on the server".to_owned(),
                    chosen: true,
                    why: asked_for,
                    snapshots: self.options.snapshots,
                    hooks: Hooks::default(),
                    set: Vec::new(),
                }),
            }
        }
        let asked_for: Vec<Source> = planned.iter().map(|one| one.source.clone()).collect();
        for instance in &asked_for {
            for found in self.found.iter().filter(|found| found.users.contains(instance)) {
                planned.push(match self.taken_out(found) {
                    Some(why) => self.planned(found, false, why),
                    None => self.planned(found, true, format!("it is attached to {}", instance.selector())),
                });
            }
        }
        Ok(planned)
    }

    /// Who belongs together: to each instance its volumes, to each volume its instances; without what was taken out.
    fn sets(&self) -> BTreeMap<Source, Vec<Source>> {
        let kept: BTreeSet<&Source> =
            self.found.iter().filter(|found| self.taken_out(found).is_none()).map(|found| &found.source).collect();
        let mut sets: BTreeMap<Source, Vec<Source>> = BTreeMap::new();
        for volume in &self.found {
            for instance in volume.users.iter().filter(|instance| kept.contains(instance)) {
                sets.entry(volume.source.clone()).or_default().push(instance.clone());
                if kept.contains(&volume.source) {
                    sets.entry(instance.clone()).or_default().push(volume.source.clone());
                }
            }
        }
        sets
    }
}

/// Each source once: what is chosen first, every instance before the volumes that are attached to it, then what is not.
fn in_order(mut planned: Vec<Planned>) -> Vec<Planned> {
    // Of two reasons for one source that by which it is in counts, and of those the first.
    planned.sort_by_key(|one| !one.chosen);
    let mut seen = BTreeSet::new();
    planned.retain(|one| seen.insert(one.source.clone()));
    planned.sort_by(|one, other| (!one.chosen, &one.source).cmp(&(!other.chosen, &other.source)));
    let order: Vec<Source> = planned.iter().map(|one| one.source.clone()).collect();
    let mut left: BTreeMap<Source, Planned> = planned.into_iter().map(|one| (one.source.clone(), one)).collect();
    let mut ordered = Vec::with_capacity(order.len());
    for source in order {
        let Some(one) = left.remove(&source) else { continue };
        let members = if one.chosen { one.set.clone() } else { Vec::new() };
        ordered.push(one);
        // Instances come first, so what follows one are volumes; those of several follow the first.
        if matches!(source.kind, SourceKind::Instance { .. }) {
            ordered.extend(members.iter().filter_map(|member| left.remove(member)));
        }
    }
    ordered
}

fn is_no(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "false" | "0" | "no" | "off")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(selector: &str, keys: &[(&str, &str)], users: &[&str]) -> Found {
        let source = |text: &str| text.parse::<Selector>().unwrap().on("lab");
        Found {
            source: source(selector),
            what: String::new(),
            own_keys: keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            inherited_keys: BTreeMap::new(),
            users: users.iter().map(|user| source(user)).collect(),
            of_no_use: None,
        }
    }

    fn planned(found: Vec<Found>, selection: &Selection, exclude: &[&str]) -> Vec<String> {
        let exclude = exclude.iter().map(|text| text.parse().unwrap()).collect();
        let options = BackupOptions { exclude, ..BackupOptions::default() };
        let config = BTreeMap::from([(EXCLUDE.to_owned(), "true".to_owned())]);
        let project = Project { name: "closed".to_owned(), config, json: String::new() };
        let projects = BTreeMap::from([("closed".to_owned(), project)]);
        let planner = Planner {
            server: "lab".to_owned(),
            found,
            projects,
            problems: Vec::new(),
            sees_all: true,
            options: &options,
        };
        let sign = |one: &Planned| if one.chosen { '+' } else { '-' };
        let plan = planner.plan(selection).unwrap();
        plan.planned.iter().map(|one| format!("{}{} {}", sign(one), one.source.selector(), one.why)).collect()
    }

    fn named(selectors: &[&str]) -> Selection {
        Selection::Sources(selectors.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn all_is_in_that_nobody_took_out() {
        let mut in_a_profile = found("profiled", &[], &[]);
        in_a_profile.inherited_keys.insert(EXCLUDE.to_owned(), "on".to_owned());
        let mut against_its_profile = found("web2", &[(EXCLUDE, "false")], &[]);
        against_its_profile.inherited_keys.insert(EXCLUDE.to_owned(), "on".to_owned());
        let mut of_the_daemon = found("volume:default/backups", &[], &[]);
        of_the_daemon.of_no_use = Some("the daemon's own");
        let all = vec![
            found("web1", &[], &[]),
            found("scratch", &[(EXCLUDE, "true")], &[]),
            in_a_profile,
            against_its_profile,
            of_the_daemon,
            found("closed/x", &[], &[]),
            found("closed/y", &[(EXCLUDE, "0")], &[]),
            found("listed", &[], &[]),
        ];
        let expected = [
            "+closed/y all that is not taken out is in",
            "+web1 all that is not taken out is in",
            "+web2 all that is not taken out is in",
            "-closed/x user.holdall.exclude=true on the project closed",
            "-listed listed is excluded in the settings",
            "-profiled user.holdall.exclude=on in a profile of it",
            "-scratch user.holdall.exclude=true on it",
            "-volume:default/backups the daemon's own",
        ];
        assert_eq!(planned(all, &Selection::All, &["listed"]), expected);
    }

    fn with_volumes() -> Vec<Found> {
        vec![
            found("volume:default/a-free", &[], &[]),
            found("volume:default/data", &[], &["web1", "db1"]),
            found("volume:default/cache", &[(EXCLUDE, "yes")], &["web1"]),
            found("volume:default/own", &[], &["web1"]),
            found("web1", &[], &[]),
            found("db1", &[], &[]),
            found("alone", &[(EXCLUDE, "yes")], &[]),
        ]
    }

    #[test]
    fn volumes_follow_the_instance_that_they_are_attached_to() {
        let names = |lines: Vec<String>| -> Vec<String> {
            lines.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
        };
        let expected = [
            "+db1",
            "+volume:default/data",
            "+web1",
            "+volume:default/own",
            "+volume:default/a-free",
            "-alone",
            "-volume:default/cache",
        ];
        assert_eq!(names(planned(with_volumes(), &Selection::All, &[])), expected);
    }

    #[test]
    fn who_asks_for_an_instance_gets_its_volumes_and_what_was_asked_for_is_in() {
        let expected = [
            "+alone it was asked for",
            "+nowhere it was asked for",
            "+web1 it was asked for",
            "+volume:default/data it is attached to web1",
            "+volume:default/own it is attached to web1",
            "-volume:default/cache user.holdall.exclude=yes on it",
        ];
        assert_eq!(planned(with_volumes(), &named(&["web1", "alone", "nowhere", "web1"]), &[]), expected);
        let expected = ["+volume:default/cache it was asked for"];
        assert_eq!(planned(with_volumes(), &named(&["volume:default/cache"]), &[]), expected);
    }

    #[test]
    fn a_set_names_those_that_are_saved_with_it() {
        let options = BackupOptions::default();
        let planner = Planner {
            server: "lab".to_owned(),
            found: with_volumes(),
            projects: BTreeMap::new(),
            problems: Vec::new(),
            sees_all: true,
            options: &options,
        };
        let plan = planner.plan(&Selection::All).unwrap();
        let set = |name: &str| -> Vec<String> {
            let one = plan.planned.iter().find(|one| one.source.name == name).unwrap();
            one.set.iter().map(|member| member.selector().to_string()).collect()
        };
        assert_eq!(set("web1"), ["volume:default/data", "volume:default/own"]);
        assert_eq!(set("data"), ["web1", "db1"]);
        assert_eq!(set("cache"), ["web1"]);
        assert!(set("a-free").is_empty());
    }

    #[test]
    fn hooks_are_keys_of_instances() {
        let keys = [(HOOK_BEFORE, "sync"), (HOOK_AFTER, " "), (HOOK_SECONDS, "90")];
        let found = vec![found("web1", &keys, &[]), found("volume:default/data", &keys, &["web1"])];
        let options = BackupOptions::default();
        let (projects, problems) = (BTreeMap::new(), Vec::new());
        let planner =
            Planner { server: "lab".to_owned(), found, projects, problems, sees_all: true, options: &options };
        let plan = planner.plan(&Selection::All).unwrap();
        let expected = Hooks { before: Some("sync".to_owned()), after: None, limit: Duration::from_secs(90) };
        assert_eq!((&plan.planned[0].hooks, &plan.planned[1].hooks), (&expected, &Hooks::default()));
        assert_eq!(plan.sets().iter().map(Vec::len).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_key_leaves_snapshots_out() {
        let found = vec![found("web1", &[(SNAPSHOTS, "false")], &[]), found("web2", &[(SNAPSHOTS, "true")], &[])];
        let options = BackupOptions::default();
        let (projects, problems) = (BTreeMap::new(), Vec::new());
        let planner =
            Planner { server: "lab".to_owned(), found, projects, problems, sees_all: true, options: &options };
        let plan = planner.plan(&Selection::All).unwrap();
        let snapshots: Vec<Snapshots> = plan.planned.iter().map(|one| one.snapshots).collect();
        assert_eq!(snapshots, [Snapshots::Omit, Snapshots::Include]);
    }
}
