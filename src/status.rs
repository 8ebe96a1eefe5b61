//! How well every source is backed up: by its newest point, by what runs said of it, and by what its server has now.
//!
//! A pure function of what the repository holds and of the hour. What is gone from its server is not late, what its
//! administrator retired or left out is nobody's worry, and what only ever came by `import` is not expected to come
//! every night.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::{PointId, RunId};
use crate::point::Point;
use crate::repo::{Catalog, History, RunRecord};
use crate::source::Source;

/// How far the clocks of hosts may be apart.
const CLOCKS_APART_MAX: Duration = Duration::from_hours(24);

/// How a source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Its newest point is as young as it should be.
    Fresh,
    /// Its newest point is older than it should be.
    Late,
    /// The last run that tried made no point of it.
    Failing,
    /// Its newest point has lost content.
    Incomplete,
    /// It is on its server and has no point.
    Never,
    /// Its server no longer has it.
    Gone,
    /// It is left out of backups on purpose.
    LeftOut,
    /// It was retired.
    Retired,
    /// Its points were imported.
    Imported,
}

impl Health {
    /// The word for people and for JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fresh => "ok",
            Self::Late => "late",
            Self::Failing => "failing",
            Self::Incomplete => "incomplete",
            Self::Never => "never backed up",
            Self::Gone => "gone",
            Self::LeftOut => "left out",
            Self::Retired => "retired",
            Self::Imported => "imported",
        }
    }

    /// Whether somebody should do something about it.
    pub const fn needs_attention(self) -> bool {
        matches!(self, Self::Late | Self::Failing | Self::Incomplete | Self::Never)
    }
}

/// What a server has at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Present {
    /// The server's name in the repository.
    pub server: String,
    /// What a backup of everything would save.
    pub chosen: BTreeSet<Source>,
    /// What it would leave out.
    pub left_out: BTreeSet<Source>,
    /// Whether it is all that the server has: every project could be looked into.
    pub complete: bool,
}

/// How one source stands, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The source.
    pub source: Source,
    /// How it stands.
    pub health: Health,
    /// Its newest point, and when that was begun.
    pub newest: Option<(PointId, Timestamp)>,
    /// How many points it has.
    pub points: usize,
    /// When a run last failed to make a point of it since the newest, and why.
    pub failure: Option<(Timestamp, String)>,
}

/// How all sources stand, in order. Without `max_age` nothing is late.
pub fn status(
    catalog: &Catalog,
    history: &History,
    present: Option<&Present>,
    max_age: Option<Duration>,
    now: Timestamp,
) -> Vec<Standing> {
    let known = Known::gather(catalog, history, present);
    let standings = known.sources.iter().map(|source| known.standing(source, max_age, now));
    // Of what is gone without having left a point there is nothing to tell.
    standings.filter(|standing| standing.health != Health::Gone || standing.points > 0).collect()
}

/// What is known, by source.
struct Known<'k> {
    sources: BTreeSet<&'k Source>,
    newest: BTreeMap<&'k Source, (PointId, &'k Point, usize)>,
    /// Those of which a daemon gave a point.
    served: BTreeSet<&'k Source>,
    failures: HashMap<&'k Source, (Timestamp, &'k str)>,
    retired: BTreeSet<&'k Source>,
    /// Points that have lost content.
    lacking: BTreeMap<PointId, u64>,
    /// The newest run of each server that was about everything there.
    whole: HashMap<&'k str, &'k RunRecord>,
    made: HashMap<RunId, BTreeSet<&'k Source>>,
    present: Option<&'k Present>,
}

impl<'k> Known<'k> {
    fn gather(catalog: &'k Catalog, history: &'k History, present: Option<&'k Present>) -> Self {
        let mut known = Self {
            sources: BTreeSet::new(),
            newest: BTreeMap::new(),
            served: BTreeSet::new(),
            failures: HashMap::new(),
            retired: history.retired(),
            lacking: history.lacking(),
            whole: HashMap::new(),
            made: HashMap::new(),
            present,
        };
        for (id, point) in catalog.points() {
            let entry = known.newest.entry(&point.source).or_insert((*id, point, 0));
            *entry = (*id, point, entry.2 + 1);
            if point.server.is_some() {
                known.served.insert(&point.source);
            }
            known.made.entry(point.run).or_default().insert(&point.source);
        }
        for run in history.runs() {
            for (source, reason) in &run.failed {
                let last = known.failures.entry(source).or_insert((run.started, reason));
                if last.0 < run.started {
                    *last = (run.started, reason);
                }
            }
            if run.whole {
                let last = known.whole.entry(&run.server).or_insert(run);
                if last.started < run.started {
                    *last = run;
                }
            }
        }
        known.sources.extend(known.newest.keys());
        known.sources.extend(known.failures.keys());
        known.sources.extend(present.into_iter().flat_map(|present| present.chosen.iter().chain(&present.left_out)));
        known
    }

    fn standing(&self, source: &Source, max_age: Option<Duration>, now: Timestamp) -> Standing {
        let newest = self.newest.get(source);
        let started = newest.map(|(_, point, _)| point.started);
        let failure = self.failures.get(source).filter(|(when, _)| started.is_none_or(|started| started < *when));
        let is_late = |max_age: Duration| {
            let started = started.map_or(0, Timestamp::as_micros);
            let from_the_future = started.saturating_sub(now.as_micros());
            // What a wrong clock dated says nothing of how old it is.
            Duration::from_micros(now.as_micros().saturating_sub(started)) > max_age
                || Duration::from_micros(from_the_future) > CLOCKS_APART_MAX
        };
        let health = match newest {
            // A name that is used again stands for something that lives.
            _ if self.retired.contains(source) && !self.is_chosen(source) => Health::Retired,
            _ if self.is_left_out(source) => Health::LeftOut,
            _ if self.is_gone(source, started) => Health::Gone,
            _ if failure.is_some() && newest.is_some() => Health::Failing,
            None => Health::Never,
            Some((id, ..)) if self.lacking.contains_key(id) => Health::Incomplete,
            Some(_) if !self.served.contains(source) && !self.is_chosen(source) => Health::Imported,
            Some(_) if max_age.is_some_and(is_late) => Health::Late,
            Some(_) => Health::Fresh,
        };
        Standing {
            source: source.clone(),
            health,
            newest: newest.map(|(id, point, _)| (*id, point.started)),
            points: newest.map_or(0, |(_, _, points)| *points),
            failure: failure.map(|(when, reason)| (*when, (*reason).to_owned())),
        }
    }

    fn is_chosen(&self, source: &Source) -> bool {
        self.present.is_some_and(|present| present.chosen.contains(source))
    }

    /// What the server says now counts; where it was not asked, what the last run about everything was told.
    fn is_left_out(&self, source: &Source) -> bool {
        match self.present {
            Some(present) if present.server == source.server => present.left_out.contains(source),
            _ => self.whole.get(source.server.as_str()).is_some_and(|run| run.left_out.contains(source)),
        }
    }

    /// Gone is what the server does not have now, or what the last run about everything did not find.
    fn is_gone(&self, source: &Source, newest: Option<Timestamp>) -> bool {
        if let Some(present) = self.present
            && present.server == source.server
        {
            return present.complete && !present.chosen.contains(source);
        }
        self.whole.get(source.server.as_str()).is_some_and(|run| {
            let has_failed = run.failed.iter().any(|(failed, _)| failed == source);
            let was_made = self.made.get(&run.run).is_some_and(|made| made.contains(source));
            !has_failed && !was_made && newest.is_none_or(|newest| newest < run.started)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NoteId;
    use crate::point::{Consistency, Content, ServerRecord, Statistics, StreamForm};
    use crate::repo::{Note, NoteFact};

    const HOUR: u64 = 3600 * 1_000_000;

    fn source(name: &str) -> Source {
        Source::instance("lab", "default", name)
    }

    fn time(hours: u64) -> Timestamp {
        Timestamp::from_micros(hours * HOUR).unwrap()
    }

    fn run_id(number: u8) -> RunId {
        RunId::from_bytes([number; 32])
    }

    fn point(name: &str, run: u8, hours: u64) -> (PointId, Point) {
        let id = crate::id::ServerId::from_bytes([1; 32]);
        let server = ServerRecord { id, flavor: "lxd".into(), version: String::new(), fingerprint: String::new() };
        let point = Point {
            run: run_id(run),
            source: source(name),
            server: Some(server),
            host: String::new(),
            started: time(hours),
            ended: time(hours),
            form: StreamForm::Export { optimized: false },
            original: None,
            consistency: Consistency::Stopped,
            remarks: Vec::new(),
            set: Vec::new(),
            description: String::new(),
            content: Content { stream_len: 0, stream_xxh3: 0, recipe_digest: [0; 32], table: vec![], packs: vec![] },
            statistics: Statistics::default(),
        };
        (PointId::random().unwrap(), point)
    }

    fn run(number: u8, hours: u64, whole: bool, failed: &[&str], left_out: &[&str]) -> NoteFact {
        NoteFact::Run(RunRecord {
            run: run_id(number),
            server: "lab".into(),
            whole,
            started: time(hours),
            succeeded: 0,
            failed: failed.iter().map(|name| (source(name), "It broke".to_owned())).collect(),
            left_out: left_out.iter().map(|name| source(name)).collect(),
        })
    }

    fn history(facts: Vec<NoteFact>) -> History {
        let note = |fact| Note { supersedes: Vec::new(), written: time(0), fact };
        History::new(facts.into_iter().map(|fact| (NoteId::random().unwrap(), note(fact))).collect())
    }

    fn healths(catalog: &Catalog, history: &History, present: Option<&Present>) -> Vec<(String, Health)> {
        let day = Some(Duration::from_hours(24));
        let standings = status(catalog, history, present, day, time(100));
        standings.into_iter().map(|standing| (standing.source.name, standing.health)).collect()
    }

    fn named(expected: &[(&str, Health)]) -> Vec<(String, Health)> {
        expected.iter().map(|(name, health)| ((*name).to_owned(), *health)).collect()
    }

    #[test]
    fn without_a_server_runs_tell_what_is_gone_and_what_fails() {
        let catalog = Catalog::of(vec![
            point("deleted", 1, 10),
            point("fails", 1, 10),
            point("late", 2, 50),
            point("fresh", 2, 99),
            point("hurt", 2, 99),
            point("left-out", 1, 10),
            point("retired", 1, 10),
        ]);
        let hurt = catalog.points().iter().find(|(_, point)| point.source.name == "hurt").map(|(id, _)| *id);
        let facts = vec![
            run(1, 9, true, &["never", "deleted-before-its-first"], &[]),
            run(2, 50, true, &["fails", "never"], &["left-out"]),
            NoteFact::Retired { source: source("retired"), retired: true },
            NoteFact::Lacks { point: hurt.unwrap(), chunks: 1 },
        ];
        let expected = [
            ("deleted", Health::Gone),
            ("fails", Health::Failing),
            ("fresh", Health::Fresh),
            ("hurt", Health::Incomplete),
            ("late", Health::Late),
            ("left-out", Health::LeftOut),
            ("never", Health::Never),
            ("retired", Health::Retired),
        ];
        assert_eq!(healths(&catalog, &history(facts), None), named(&expected));
    }

    #[test]
    fn a_run_that_could_not_look_everywhere_shows_nothing_to_be_gone() {
        let catalog = Catalog::of(vec![point("quiet", 1, 80), point("seen", 2, 90)]);
        let facts = vec![run(1, 79, true, &[], &[]), run(2, 90, false, &[], &[])];
        let expected = [("quiet", Health::Fresh), ("seen", Health::Fresh)];
        assert_eq!(healths(&catalog, &history(facts), None), named(&expected));
    }

    #[test]
    fn what_the_server_has_now_counts_more_than_what_runs_found() {
        let catalog = Catalog::of(vec![point("back", 1, 80), point("deleted", 2, 90)]);
        let facts = || history(vec![run(2, 90, true, &[], &[])]);
        let mut present = Present { server: "lab".into(), complete: true, ..Present::default() };
        present.chosen.extend([source("back"), source("new")]);
        present.left_out.insert(source("scratch"));
        let expected =
            [("back", Health::Fresh), ("deleted", Health::Gone), ("new", Health::Never), ("scratch", Health::LeftOut)];
        assert_eq!(healths(&catalog, &facts(), Some(&present)), named(&expected));
        present.complete = false;
        let standings = healths(&catalog, &facts(), Some(&present));
        assert_eq!(standings[1], ("deleted".to_owned(), Health::Fresh), "it may be in a project that is hidden");
    }

    #[test]
    fn a_failure_before_the_newest_point_is_over() {
        let catalog = Catalog::of(vec![point("web1", 2, 90)]);
        let standings = status(&catalog, &history(vec![run(1, 80, true, &["web1"], &[])]), None, None, time(1000));
        assert_eq!((standings[0].health, &standings[0].failure), (Health::Fresh, &None));
    }
}
