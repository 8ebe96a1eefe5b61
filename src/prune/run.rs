//! Doing what a plan says, by the steps of [`crate::protocol::Prune`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::id::{CondemnedId, PackId, PointId, RunId};
use crate::monitor::{Event, Monitor, Problem};
use crate::pack::Directory;
use crate::point::Point;
use crate::protocol::{Ending, Prune, PruneStep, Standing, Survey};
use crate::prune::copy::{Listed, Places, for_each_pack};
use crate::prune::mark::{Marker, Marks, Unknown};
use crate::prune::order::Order;
use crate::prune::sessions::{OpenSession, examine, standing, sweep_beats};
use crate::prune::{MaxUnused, PackUse, Plan, Soundness, merge, notes, plan};
use crate::repo::{Reader, RepoError, Repository, Stored, Writer};

/// How often it is looked whether a session is over.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often it is told what is waited for.
const TELL_EVERY: Duration = Duration::from_mins(1);
/// Temporary files that are older than a file just written by this much belong to nobody.
const TEMPORARY_AGE_MAX: Duration = Duration::from_hours(24);

/// What to do about sessions that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dealing {
    /// Wait until they are over; those that are surely or probably dead are ended.
    Wait,
    /// End all of them. Their writers begin again, or commit under another name.
    Now,
    /// End the dead ones, and leave the rest of the work to the next prune if others are open.
    Leave,
}

/// What a prune came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// The plan that it followed.
    pub plan: Plan,
    /// Points that were marked.
    pub points: usize,
    /// Packs that were deleted, those included that earlier prunes left.
    pub deleted_packs: usize,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Bytes of the packs that copies were written to.
    pub copied_bytes: u64,
    /// Sessions that were taken for dead and ended.
    pub fenced: Vec<OpenSession>,
    /// Sessions that are open, because of which the rest is left to the next prune.
    pub waiting_for: Vec<OpenSession>,
    /// Segments that were merged into others or named nothing any more.
    pub merged_segments: usize,
    /// Notes that told nothing any more.
    pub removed_notes: usize,
    /// Files that crashed programs left.
    pub removed_temporaries: usize,
    /// Packs that stay condemned, because a chunk in use that was found nowhere may be in them.
    pub stuck: Vec<PackId>,
    /// Whether a chunk in use was not found or not read.
    pub is_damaged: bool,
    /// Whether it was stopped on request.
    pub is_stopped: bool,
}

impl Summary {
    /// Adds what a second round came to; the plan stays that of the first.
    fn add(&mut self, second: Self) {
        self.points = second.points;
        self.deleted_packs += second.deleted_packs;
        self.deleted_bytes += second.deleted_bytes;
        self.copied_bytes += second.copied_bytes;
        self.fenced.extend(second.fenced);
        self.waiting_for = second.waiting_for;
        self.merged_segments += second.merged_segments;
        self.removed_notes += second.removed_notes;
        self.removed_temporaries += second.removed_temporaries;
        self.stuck = second.stuck;
        self.is_damaged |= second.is_damaged;
        self.is_stopped = second.is_stopped;
    }
}

/// A prune that deleted nothing, or not all that it wanted.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepoError),
    /// Nobody knows what is in use.
    #[error("{object} cannot be read, so nobody knows what is in use, and nothing is deleted: {reason}")]
    UnknownUse {
        /// What cannot be read.
        object: String,
        /// Why.
        reason: String,
    },
    /// Nobody knows what other prunes are about to delete.
    #[error("Condemned object {object} cannot be read, so nobody knows what another prune is about to delete")]
    UnreadableCondemned {
        /// Its id.
        object: String,
    },
}

impl From<Unknown> for PruneError {
    fn from(unknown: Unknown) -> Self {
        Self::UnknownUse { object: unknown.object, reason: unknown.reason }
    }
}

/// A repository whose use is known, ready to be pruned.
pub struct Prepared<'r> {
    repository: &'r Repository,
    monitor: &'r dyn Monitor,
    host: String,
    marker: Marker<'r>,
    max_unused: MaxUnused,
    /// What is to be done.
    pub plan: Plan,
}

/// Marks what is in use and decides what is to be done. Nothing is changed.
pub fn prepare<'r>(
    repository: &'r Repository,
    max_unused: MaxUnused,
    host: &str,
    monitor: &'r dyn Monitor,
) -> Result<Prepared<'r>, PruneError> {
    repository.read_keys()?;
    repository.refresh_index()?;
    // Packs, then sessions, then points: what a run wrote that has ended since is used by points that are listed.
    let listed = Listed::read(repository)?;
    let fresh = open_runs(repository)?;
    monitor.event(Event::Started { object: "marking what is in use".to_owned(), bytes: None });
    let mut ages: HashMap<RunId, Timestamp> = HashMap::new();
    let marker = marked(repository, monitor, |point| {
        ages.entry(point.run).and_modify(|age| *age = (*age).min(point.started)).or_insert(point.started);
    })?;
    let packs = pack_uses(repository, monitor, &marker, &listed, |run| (fresh.contains(run), ages.get(run).copied()))?;
    monitor.event(Event::Ended { object: "marking what is in use".to_owned() });
    Ok(Prepared { repository, monitor, host: host.to_owned(), marker, max_unused, plan: plan(&packs, max_unused) })
}

/// What is in use now.
fn marked<'r>(
    repository: &'r Repository,
    monitor: &dyn Monitor,
    each: impl FnMut(&Point),
) -> Result<Marker<'r>, PruneError> {
    let mut marker = Marker::new(repository)?;
    match marker.mark(monitor, each)? {
        Some(unknown) => Err(unknown.into()),
        None => Ok(marker),
    }
}

/// Runs that have a session which is open.
fn open_runs(repository: &Repository) -> Result<HashSet<RunId>, RepoError> {
    let mut runs = HashSet::new();
    for id in repository.list_sessions()? {
        match repository.read_session(id) {
            Ok(record) => {
                runs.insert(record.run);
            }
            Err(error) if error.is_mute() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(runs)
}

/// What is known of every pack that stands in the store.
fn pack_uses(
    repository: &Repository,
    monitor: &dyn Monitor,
    marker: &Marker<'_>,
    listed: &Listed,
    of_run: impl Fn(&RunId) -> (bool, Option<Timestamp>),
) -> Result<Vec<PackUse>, RepoError> {
    let mut places = Places::new(&marker.in_use);
    let mut uses = Vec::with_capacity(listed.packs.len());
    let mut unsound = Vec::new();
    let mut named = HashSet::new();
    let mut add = |pack: PackId, bytes: u64, directory: &Directory, used_bytes: u64| {
        let soundness = if listed.unsound.contains(&pack) { Soundness::Damaged } else { Soundness::Sound };
        let (is_fresh, age) = of_run(&directory.run);
        let age = age.map_or(u64::MAX, Timestamp::as_micros);
        uses.push(PackUse { id: pack, bytes, kind: directory.kind, age, used_bytes, soundness, is_fresh });
    };
    let unreadable = for_each_pack(repository, monitor, |pack| {
        let Some(bytes) = listed.packs.get(&pack.id) else { return };
        named.insert(pack.id);
        if listed.unsound.contains(&pack.id) {
            unsound.push(pack.clone());
        } else {
            add(pack.id, *bytes, &pack.directory, places.claim(&pack.directory, *bytes));
        }
    })?;
    // Last, so that a sound pack is preferred wherever there is one.
    for pack in unsound {
        add(pack.id, pack.bytes, &pack.directory, places.claim(&pack.directory, pack.bytes));
    }
    for (id, reason) in &unreadable {
        let object = format!("Index segment {id}");
        let message = format!("{reason}; packs that only it names are left alone until it is repaired");
        monitor.event(Event::Problem(Problem { object, message }));
    }
    if unreadable.is_empty() {
        for (pack, bytes) in listed.packs.iter().filter(|(pack, _)| !named.contains(pack)) {
            match repository.read_directory(*pack, *bytes) {
                // What no segment names no point relies on: it was left by a crash.
                Ok(directory) => add(*pack, *bytes, &directory, 0),
                Err(RepoError::Gone { .. }) => {}
                Err(error) if error.is_damage() => {
                    let message = format!("no segment names it, and {error}; it is left alone");
                    monitor.event(Event::Problem(Problem { object: format!("Pack {pack}"), message }));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(uses)
}

/// Does what was prepared.
pub fn prune(prepared: Prepared<'_>, dealing: Dealing) -> Result<Summary, PruneError> {
    let Prepared { repository, monitor, max_unused, .. } = prepared;
    let host = prepared.host.clone();
    let mut summary = execute(prepared, dealing)?;
    // What dead sessions wrote counted as fresh. A live one that was ended may still commit what it has under another
    // name, and is left to the next prune.
    let are_dead = summary.fenced.iter().all(|session| session.is_suspect(&host));
    if !summary.fenced.is_empty() && are_dead && summary.waiting_for.is_empty() && !summary.is_stopped {
        summary.add(execute(prepare(repository, max_unused, &host, monitor)?, dealing)?);
    }
    Ok(summary)
}

fn execute(prepared: Prepared<'_>, dealing: Dealing) -> Result<Summary, PruneError> {
    let Prepared { repository, monitor, host, marker, plan, .. } = prepared;
    let summary = Summary { plan: plan.clone(), ..Summary::default() };
    let mut work = Work { repository, monitor, host, dealing, marker, summary, sizes: BTreeMap::new() };
    let dead: BTreeSet<PackId> = plan.dead.iter().copied().collect();
    let all = || plan.dead.iter().chain(&plan.repack).copied().collect();
    if plan.is_empty() && !work.is_something_left()? {
        // Settle times are waited for nothing then.
    } else if plan.repack.is_empty() {
        work.condemn(dead)?;
    } else {
        let writer = work.writer()?;
        match work.copy_first(&writer, &plan.repack, &dead) {
            Ok(()) if !monitor.stop_requested() => work.condemn(all())?,
            Ok(()) => {}
            // What is wholly unused makes the room, and so does what was copied in vain.
            Err(error) if error.is_full() && !dead.is_empty() => {
                work.condemn(dead.into_iter().chain(writer.left_packs()?).collect())?;
                if work.may_go_on() {
                    work.copy_first(&work.writer()?, &plan.repack, &BTreeSet::new())?;
                    work.condemn(plan.repack.iter().copied().collect())?;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    work.tidy()?;
    work.summary.points = work.marker.points;
    work.summary.is_stopped |= monitor.stop_requested();
    Ok(work.summary)
}

/// Deletes these packs, after what is in use of them was copied as far as it can be read.
pub fn salvage(
    repository: &Repository,
    packs: BTreeSet<PackId>,
    dealing: Dealing,
    host: &str,
    monitor: &dyn Monitor,
) -> Result<(), PruneError> {
    repository.refresh_index()?;
    // Where nobody knows what is in use nothing is condemned at all.
    let marker = marked(repository, monitor, |_| {})?;
    let (host, summary) = (host.to_owned(), Summary::default());
    Work { repository, monitor, host, dealing, marker, summary, sizes: BTreeMap::new() }.condemn(packs)
}

/// What the protocol asks for.
type Step = PruneStep<PackId, PointId, CondemnedId>;

/// A prune at work.
struct Work<'r> {
    repository: &'r Repository,
    monitor: &'r dyn Monitor,
    host: String,
    dealing: Dealing,
    marker: Marker<'r>,
    summary: Summary,
    /// The size of every pack that was listed.
    sizes: BTreeMap<PackId, u64>,
}

impl<'r> Work<'r> {
    fn may_go_on(&self) -> bool {
        self.summary.waiting_for.is_empty() && !self.summary.is_stopped && !self.monitor.stop_requested()
    }

    /// Whether other prunes or writers left something that only a prune ends.
    fn is_something_left(&self) -> Result<bool, RepoError> {
        Ok(!self.repository.list_condemned()?.is_empty() || !self.repository.list_sessions()?.is_empty())
    }

    fn writer(&self) -> Result<Writer<'r>, RepoError> {
        Ok(Writer::new(self.repository, RunId::random()?))
    }

    /// Copies what is in use in these packs before they are condemned, so that writers which begin meanwhile find the
    /// copies.
    fn copy_first(&mut self, writer: &Writer<'_>, packs: &[PackId], dead: &BTreeSet<PackId>) -> Result<(), RepoError> {
        let listed = Listed::read(self.repository)?;
        let going: HashSet<&PackId> = packs.iter().chain(dead).collect();
        let stays =
            |pack: &PackId| listed.packs.contains_key(pack) && !listed.unsound.contains(pack) && !going.contains(pack);
        let mut places = Places::new(&self.marker.in_use);
        places.keep(self.repository, self.monitor, stays)?;
        let object = "packing anew".to_owned();
        self.monitor.event(Event::Started { object: object.clone(), bytes: Some(self.summary.plan.repack_bytes) });
        let mut reader = Reader::new(self.repository)?;
        let order = Order::read(self.repository, &self.marker.in_use)?;
        let mut left: Vec<(PackId, u64)> =
            packs.iter().filter_map(|pack| Some((*pack, *listed.packs.get(pack)?))).collect();
        while !left.is_empty() && !self.monitor.stop_requested() {
            let (copied, unreadable) =
                places.copy(&mut reader, (writer, &order), self.monitor, left.iter().copied())?;
            writer.name_packs()?;
            left.retain(|(pack, _)| !copied.contains(pack) && !unreadable.contains(pack));
        }
        self.summary.copied_bytes += writer.stored_bytes();
        self.monitor.event(Event::Ended { object });
        Ok(())
    }

    /// Deletes these packs and those that others condemned, as the protocol has it.
    fn condemn(&mut self, victims: BTreeSet<PackId>) -> Result<(), PruneError> {
        let mut steps = Prune::<Stored>::new(victims);
        let writer = self.writer()?;
        let mut look = Look::default();
        loop {
            let goes_on = match steps.next() {
                PruneStep::Ended(Ending::UnreadableCondemned(id)) => {
                    return Err(PruneError::UnreadableCondemned { object: id.to_string() });
                }
                PruneStep::Ended(_) => break,
                step @ (PruneStep::Mark
                | PruneStep::ListPacks
                | PruneStep::Survey
                | PruneStep::Copy
                | PruneStep::Name
                | PruneStep::Delete(_)) => self.save_and_delete(&mut steps, &step, &mut look, &writer)?,
                step => self.publish_and_wait(&mut steps, &step)?,
            };
            if !goes_on {
                break;
            }
        }
        self.summary.copied_bytes += writer.stored_bytes();
        self.summary.is_damaged |= matches!(steps.next(), PruneStep::Ended(Ending::Damaged));
        self.summary.stuck.extend(steps.stuck());
        Ok(())
    }

    /// G2 to G4, and G7. Returns whether to go on.
    fn publish_and_wait(&mut self, steps: &mut Prune<Stored>, step: &Step) -> Result<bool, RepoError> {
        match step {
            PruneStep::Condemn => {
                self.put_condemned(steps.victims())?;
                steps.done();
            }
            PruneStep::Settle(times) => {
                if !self.settle(*times)? {
                    return Ok(false);
                }
                steps.done();
            }
            PruneStep::ListCondemned => steps.condemned_listed(self.repository.list_condemned()?),
            PruneStep::ReadCondemned(id) => steps.condemned_read(*id, self.repository.read_condemned(*id)?),
            PruneStep::ListSessions => steps.sessions_listed(self.repository.list_sessions()?.into_iter().collect()),
            PruneStep::Look(session) => return self.look(steps, *session),
            PruneStep::PutVoid(session) => steps.voided(*session, self.repository.put_void(*session)?),
            PruneStep::Withdraw(session) => {
                self.repository.withdraw(*session)?;
                steps.withdrawn(*session);
            }
            PruneStep::Release(id) => {
                self.repository.release(*id)?;
                steps.released(*id);
            }
            _ => {}
        }
        Ok(true)
    }

    /// G5 and G6. Returns whether to go on.
    fn save_and_delete(
        &mut self,
        steps: &mut Prune<Stored>,
        step: &Step,
        look: &mut Look,
        writer: &Writer<'_>,
    ) -> Result<bool, PruneError> {
        match step {
            PruneStep::Mark => {
                let unknown = self.marker.mark(self.monitor, |_| {})?;
                if self.monitor.stop_requested() {
                    return Ok(false);
                }
                steps.marked(unknown.is_none());
                if let Some(unknown) = unknown {
                    return Err(unknown.into());
                }
            }
            PruneStep::ListPacks => {
                let listed = Listed::read(self.repository)?;
                self.sizes.extend(&listed.packs);
                let counts = |pack: &PackId| steps.victims().contains(pack) || !listed.unsound.contains(pack);
                let packs = listed.packs.keys().copied().filter(counts).collect();
                *look = Look { listed: listed.packs, ..Look::default() };
                steps.packs_listed(packs);
            }
            PruneStep::Survey => {
                let found = self.survey(steps, look)?;
                steps.surveyed(found);
            }
            PruneStep::Copy => return Ok(self.copy(steps, look, writer)?),
            PruneStep::Name => {
                writer.name_packs()?;
                steps.named();
            }
            PruneStep::Delete(pack) => {
                self.take_away(*pack)?;
                steps.deleted(*pack);
            }
            _ => {}
        }
        Ok(true)
    }

    /// G2. On a full disk the reserve makes room for it.
    fn put_condemned(&self, victims: &BTreeSet<PackId>) -> Result<(), RepoError> {
        match self.repository.put_condemned(victims) {
            Err(error) if error.is_full() => {
                self.repository.spend_reserve()?;
                self.repository.put_condemned(victims)?;
            }
            other => drop(other?),
        }
        Ok(())
    }

    /// Waits so many settle times of the config in force now. Returns whether to go on.
    fn settle(&self, times: u32) -> Result<bool, RepoError> {
        let seconds = u64::from(times) * u64::from(self.repository.read_settle_seconds()?);
        if seconds > 0 {
            let message = format!("waiting {seconds} s, for listings of this store may be that old");
            self.monitor.event(Event::Said { object: "prune".to_owned(), message });
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(seconds) {
            if self.monitor.stop_requested() {
                return Ok(false);
            }
            std::thread::sleep(LOOK_EVERY.min(Duration::from_secs(seconds).saturating_sub(begun.elapsed())));
        }
        Ok(true)
    }

    /// G4. Returns whether to go on.
    fn look(&mut self, steps: &mut Prune<Stored>, id: PointId) -> Result<bool, RepoError> {
        let mut told: Option<Instant> = None;
        loop {
            let standing = standing(self.repository, id)?;
            if standing != Standing::Open {
                steps.looked(id, standing);
                return Ok(true);
            }
            // To examine one writes to the store, so it is not done as often as looked.
            if told.is_some_and(|told| told.elapsed() < TELL_EVERY) && !self.monitor.stop_requested() {
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
            let session = examine(self.repository, id)?;
            if self.dealing == Dealing::Now || session.is_suspect(&self.host) {
                self.summary.fenced.push(session);
                steps.fence();
                return Ok(true);
            }
            if self.dealing == Dealing::Leave || self.monitor.stop_requested() {
                self.summary.waiting_for.push(session);
                return Ok(false);
            }
            told = Some(Instant::now());
            self.monitor.event(Event::Said { object: "prune".to_owned(), message: waits_for(&session) });
        }
    }

    fn survey(&self, steps: &Prune<Stored>, look: &mut Look) -> Result<Survey<BTreeSet<PackId>>, RepoError> {
        let mut places = Places::new(&self.marker.in_use);
        places.keep(self.repository, self.monitor, |pack| steps.keeps(*pack))?;
        let survey = places.survey(self.repository, self.monitor, &look.victims(steps))?;
        look.kept = Some(places.into_kept());
        Ok(survey)
    }

    /// G5: copies out of some of the victims that wait. Returns whether to go on; if not, what was condemned stays so,
    /// and the next prune goes on.
    fn copy(&mut self, steps: &mut Prune<Stored>, look: &mut Look, writer: &Writer<'_>) -> Result<bool, RepoError> {
        let waiting = steps.waiting().iter().filter(|pack| !look.unreadable.contains(*pack));
        let waiting: Vec<(PackId, u64)> = waiting.filter_map(|pack| Some((*pack, *look.listed.get(pack)?))).collect();
        let Some(kept) = look.kept.take().filter(|_| !waiting.is_empty()) else {
            steps.unreadable(&std::mem::take(&mut look.unreadable));
            return Ok(true);
        };
        let mut places = Places::with(&self.marker.in_use, kept);
        let mut reader = Reader::new(self.repository)?;
        let order = match look.order.take() {
            Some(order) => order,
            None => Order::read(self.repository, &self.marker.in_use)?,
        };
        let (copied, unreadable) = places.copy(&mut reader, (writer, &order), self.monitor, waiting)?;
        look.kept = Some(places.into_kept());
        look.order = Some(order);
        look.unreadable.extend(unreadable);
        steps.copied(&copied);
        Ok(!self.monitor.stop_requested())
    }

    fn take_away(&mut self, pack: PackId) -> Result<(), RepoError> {
        if self.repository.remove_pack(pack)? {
            self.summary.deleted_packs += 1;
            self.summary.deleted_bytes += self.sizes.get(&pack).copied().unwrap_or(0);
        }
        Ok(())
    }

    /// What is left to be put in order, none of which anybody waits for.
    fn tidy(&mut self) -> Result<(), RepoError> {
        self.repository.refresh_index()?;
        self.summary.merged_segments = merge::merge(self.repository, self.monitor)?;
        self.summary.removed_notes = notes::remove_moot(self.repository)?;
        sweep_beats(self.repository)?;
        self.summary.removed_temporaries = self.repository.remove_temporaries(TEMPORARY_AGE_MAX)?;
        self.repository.restore_reserve()
    }
}

/// What one look at the packs showed, and what was done since.
#[derive(Default)]
struct Look {
    listed: BTreeMap<PackId, u64>,
    /// The chunks in use that a pack holds which stays, or that were copied.
    kept: Option<Marks>,
    /// In which order they are copied.
    order: Option<Order>,
    /// Victims of which something could not be read.
    unreadable: BTreeSet<PackId>,
}

impl Look {
    fn victims(&self, steps: &Prune<Stored>) -> BTreeMap<PackId, u64> {
        let victims = self.listed.iter().filter(|(pack, _)| steps.is_victim(**pack));
        victims.map(|(pack, bytes)| (*pack, *bytes)).collect()
    }
}

fn waits_for(session: &OpenSession) -> String {
    match &session.record {
        Some(record) => {
            format!("waiting for the backup of process {} on {}, begun {}", record.process, record.host, record.started)
        }
        None => format!("waiting for session {}, which cannot be read", session.id.short()),
    }
}
