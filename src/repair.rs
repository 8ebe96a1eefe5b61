//! Mending what can be mended, and salvaging what still reads.
//!
//! A check says what is wrong. Small objects that lost one of two copies are stored anew; lost segments are made again
//! from the packs; damaged packs are condemned, and what points need of them is copied into new ones with the help of
//! their parity (`format-spec/concurrency.md`, "Prune"). What cannot be read stays where it is, until a backup that
//! comes by its content stores it again. Nothing that might be wanted is thrown away.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::check::{CheckLevel, Report, Severity, check};
use crate::clock::{Clock, Timestamp};
use crate::crypto::Unlock;
use crate::id::{CondemnedId, PackId, PointId, RunId};
use crate::monitor::{Event, Monitor, Problem};
use crate::point::Verdict;
use crate::protocol::Reading;
use crate::prune::{Dealing, PruneError, salvage};
use crate::repo::{Catalog, Commit, Renewal, RepoError, Repository, Session, SessionRecord, Writer, recipe_chunks};

/// How often it is looked whether somebody else is through.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How to repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairOptions {
    /// How much is read to find what is wrong.
    pub level: CheckLevel,
    /// What to do about open sessions while packs are replaced.
    pub dealing: Dealing,
    /// Whether condemned objects that cannot be read are removed. Only a person knows that no prune runs on any host.
    pub no_prune_runs: bool,
    /// Whether prunes may go on though pieces of recipes are lost, and delete what nobody knows to be needed by them.
    pub gives_up_lost_pieces: bool,
}

/// What a repair came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// What was wrong before.
    pub found: usize,
    /// Small objects that were stored anew.
    pub renewed_objects: usize,
    /// Points that were stored anew, under other ids.
    pub renewed_points: usize,
    /// Packs that a new segment names.
    pub named_packs: usize,
    /// Segments and condemned objects that could not be read and were removed.
    pub removed_objects: usize,
    /// Lost pieces of recipes that were given up.
    pub given_up_pieces: usize,
    /// Damaged packs that are replaced by new ones.
    pub replaced_packs: usize,
    /// Damaged packs that stay, because not all that points need of them can be read.
    pub left_packs: usize,
    /// What is still wrong.
    pub left: Report,
}

/// Repairs a repository. Needs a key that can read. Key slots are stored anew if they open with `key`.
pub fn repair(
    repository: &Repository,
    options: RepairOptions,
    key: Option<Unlock<'_>>,
    (host, clock): (&str, &dyn Clock),
    monitor: &dyn Monitor,
) -> Result<Summary, PruneError> {
    let found = check(repository, options.level, monitor)?;
    repository.remember_lacking(&found.lacking, clock.now())?;
    let mut summary = Summary { found: found.findings.len(), ..Summary::default() };
    if found.is_clean() || monitor.stop_requested() {
        summary.left = found;
        return Ok(summary);
    }
    let writer = Writer::new(repository, RunId::random().map_err(RepoError::from)?);
    let record = || SessionRecord::of_this_process(writer.run(), host, clock.now());
    let degraded = || found.findings.iter().filter(|finding| finding.severity == Severity::Degraded);
    for finding in degraded() {
        summary.renewed_objects += usize::from(repository.renew(&finding.object)? == Renewal::Renewed);
    }
    if let Some(key) = key.filter(|_| degraded().any(|finding| finding.object.starts_with("keys/"))) {
        summary.renewed_objects += repository.renew_slots(key)?;
    }
    let (named, removed) = repository.rebuild_segments()?;
    (summary.named_packs, summary.removed_objects) = (named, removed);
    if options.no_prune_runs {
        for id in unreadable_condemned(repository)? {
            repository.release(id)?;
            summary.removed_objects += 1;
        }
    }
    // From now on no writer relies on these, wherever it runs.
    repository.mark_damaged(found.damaged_packs.iter().copied(), clock.now())?;
    if options.gives_up_lost_pieces {
        summary.given_up_pieces = repository.give_up(&found.lost_pieces, clock.now())?;
    }
    let damaged: BTreeSet<PackId> = repository.damaged_packs()?.into_iter().collect();
    let mut standing = BTreeSet::new();
    for pack in damaged {
        if repository.has_pack(pack)? {
            standing.insert(pack);
        }
    }
    if !standing.is_empty() && !monitor.stop_requested() {
        match salvage(repository, standing.clone(), options.dealing, host, monitor) {
            // They stay, and the rest can be mended all the same; why is among what is left.
            Err(PruneError::UnknownUse { .. }) => {}
            other => other?,
        }
        for pack in standing {
            let is_left = repository.has_pack(pack)?;
            summary.left_packs += usize::from(is_left);
            summary.replaced_packs += usize::from(!is_left);
        }
    }
    repository.forget_damage_of_gone_packs()?;
    repository.refresh_index()?;
    // Last, for what they need has to be sound.
    for id in degraded().filter_map(|finding| finding.object.strip_prefix("points/")?.parse::<PointId>().ok()) {
        summary.renewed_points += usize::from(renew_point(&writer, &record(), id, clock.now(), monitor)?);
    }
    summary.left = check(repository, options.level, monitor)?;
    repository.remember_lacking(&summary.left.lacking, clock.now())?;
    Ok(summary)
}

/// Lets the repository count with older listings, for a host whose mount shows such. Until this has returned `true`
/// that host must not write: prunes that are at work may still count with less (`format-spec/concurrency.md`, "Bounded
/// staleness"). Returns `false` if it was stopped on request; it can be begun again at any time.
pub fn raise_settle(repository: &Repository, seconds: u32, monitor: &dyn Monitor) -> Result<bool, RepoError> {
    let mut config = *repository.config();
    if repository.read_settle_seconds()? < seconds {
        config.settle_seconds = seconds;
        repository.put_next_config(&config)?;
    }
    let say = |message: String| monitor.event(Event::Said { object: "repair".to_owned(), message });
    say(format!("waiting {} s, for prunes that count with less", 2 * u64::from(seconds)));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2 * u64::from(seconds)) {
        if monitor.stop_requested() {
            return Ok(false);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    for id in repository.list_condemned()? {
        let mut is_told = false;
        while repository.read_condemned(id)? != Reading::Gone {
            if !is_told {
                say("waiting for a prune to end; if none is at work, one on another host ends what it left".to_owned());
                is_told = true;
            }
            if monitor.stop_requested() {
                return Ok(false);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
    Ok(true)
}

fn unreadable_condemned(repository: &Repository) -> Result<Vec<CondemnedId>, RepoError> {
    let mut unreadable = Vec::new();
    for id in repository.list_condemned()? {
        if repository.read_condemned(id)? == Reading::Unreadable {
            unreadable.push(id);
        }
    }
    Ok(unreadable)
}

/// Commits a point once more, of which one copy is damaged, repeats what notes say of it, and forgets the old one. It
/// is a writer like any other, so it must know every chunk that the point needs; if it does not, the point stays as it
/// is.
fn renew_point(
    writer: &Writer<'_>,
    record: &SessionRecord,
    old: PointId,
    now: Timestamp,
    monitor: &dyn Monitor,
) -> Result<bool, RepoError> {
    let repository = writer.repository();
    let catalog = Catalog::read(repository, monitor)?;
    let Some((_, point)) = catalog.points().iter().find(|(id, _)| *id == old) else { return Ok(false) };
    // What notes say of it has to be repeated, so all of them have to be readable.
    let leave = |message: String| {
        monitor.event(Event::Problem(Problem { object: format!("Point {old}"), message }));
        Ok(false)
    };
    match repository.whole_history() {
        Err(error) if error.is_damage() => return leave(format!("it is left as it is: {error}")),
        other => drop(other?),
    }
    // The point as it was made: whose it counts as is said by notes.
    let Verdict::Point(made) = repository.read_verdict(old)? else { return Ok(false) };
    let (mut session, session_writer) = writer.open_session(record)?;
    let is_known = recipe_chunks(repository, point)
        .and_then(|chunks| chunks.iter().try_fold(true, |known, chunk| Ok(known && session_writer.knows(*chunk)?)));
    drop(session_writer);
    if !is_known.as_ref().is_ok_and(|known| *known) {
        session.abandon(writer)?;
        return leave("not all that it needs is sound, so it is left as it is".to_owned());
    }
    let new = session.id();
    Session::flush([&mut session], writer)?;
    if session.commit(writer, &made)? != Commit::Done {
        return Ok(false);
    }
    repository.repeat_notes(old, new, now)?;
    repository.forget(old)?;
    Ok(true)
}
