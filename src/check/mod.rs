//! Proving that a repository is intact (`format-spec/repository.md`, "Check").
//!
//! On paper: every object opens, every point's recipe can be read, and every chunk that it names is in a pack that
//! stands in the store with the right length. With data: every frame of every pack opens and holds the chunks that it
//! should. What is found is collected and told with the points that it affects; the walk goes on past it. Nothing is
//! changed.

mod packs;
mod sample;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::browse::lost_files;
use crate::clock::Timestamp;
use crate::id::{ChunkId, PackId, PointId};
use crate::limits::LOST_CHUNKS_MAX;
use crate::monitor::{Event, Monitor, Problem};
use crate::point::Point;
use crate::recipe::{ChunkRef, Step};
use crate::repo::{Catalog, ChunkSet, Reader, RepoError, Repository, Rows, View, read_part};

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckLevel {
    /// Recipes and everything smaller, and packs that were found damaged before.
    Structure,
    /// Every byte of every pack.
    ReadData,
    /// The same of some packs: of those that were not read for longest.
    ReadSome {
        /// How much.
        share: Share,
        /// By the clock of this host.
        now: Timestamp,
    },
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The object.
    pub object: String,
    /// What is wrong with it and what it means, in one line.
    pub message: String,
    /// Whether data is missing or wrong; otherwise nothing is lost yet.
    pub severity: Severity,
    /// The points that cannot be restored in full because of it, as `source (id)`.
    pub affected: Vec<String>,
    /// Where the object is a point: members of it that lose content, by their path in the stream, as far as they are
    /// known and at most [`crate::limits::LOST_FILES_MAX`].
    pub files: Vec<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Redundancy is lost: one of two copies, or an index that can be rebuilt.
    Degraded,
    /// Data is missing or wrong.
    Damage,
}

/// What a check came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Points that were walked.
    pub points: u64,
    /// Distinct chunks of their recipes, envelopes and payloads whose place was looked up.
    pub chunks: u64,
    /// Packs in the store.
    pub packs: u64,
    /// Bytes of packs that were read and verified.
    pub bytes_read: u64,
    /// Packs that no segment names: left by an interrupted backup, or by a lost segment.
    pub unnamed_packs: u64,
    /// Packs that stand in the store with other bytes than they should have. Until they are marked, writers go on
    /// referring to their chunks ([`Repository::mark_damaged`]).
    pub damaged_packs: BTreeSet<PackId>,
    /// Packs that were read in full and are sound, to be remembered ([`Repository::remember_read`]).
    pub sound_packs: BTreeSet<PackId>,
    /// How many chunks of each point are lost, of those that were walked ([`Repository::remember_lacking`]).
    pub lacking: BTreeMap<PointId, u64>,
    /// Pieces of recipes that are lost, so that nobody knows all that their points need ([`Repository::give_up`]).
    pub lost_pieces: BTreeSet<ChunkId>,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether everything is as it should be.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Checks a repository. Needs a key that can read.
pub fn check(repository: &Repository, level: CheckLevel, monitor: &dyn Monitor) -> Result<Report, RepoError> {
    let problems = Collector::new(monitor);
    let catalog = Catalog::read(repository, &problems)?;
    // A backup that ended since the repository was opened has a segment that the index does not know: it was stored
    // before its point, and so is listed now. Segments that cannot be read are found among the small objects.
    repository.refresh_index()?;
    let mut checker = Checker {
        repository,
        monitor,
        reader: Reader::of_recipes(repository)?,
        view: View::for_reading(repository)?,
        report: Report::default(),
        labels: catalog.points().iter().map(|(id, point)| label(*id, point)).collect(),
        users: users_of_packs(&catalog),
        sound: ChunkSet::default(),
        seen: HashSet::new(),
        unnamed: BTreeSet::new(),
        absent: Vec::new(),
        incomplete: BTreeSet::new(),
        lost: BTreeMap::new(),
    };
    checker.report.findings.extend(problems.findings());
    checker.small_objects()?;
    checker.packs()?;
    // How much of these can be read is worth knowing every time.
    let damaged = repository.damaged_packs()?;
    match level {
        CheckLevel::Structure if damaged.is_empty() => {}
        CheckLevel::Structure => checker.read_packs(|pack| damaged.contains(pack))?,
        CheckLevel::ReadData => checker.read_packs(|_| true)?,
        CheckLevel::ReadSome { share, now } => {
            let before = ReadBefore { packs: repository.read_before()?.0 };
            let chosen = choose(&repository.list_packs()?, &before, share, now);
            checker.read_packs(|pack| chosen.contains(pack) || damaged.contains(pack))?;
        }
    }
    checker.sound_chunks()?;
    for (id, point) in catalog.points() {
        if monitor.stop_requested() {
            break;
        }
        checker.point(*id, point)?;
    }
    checker.missing();
    checker.lost();
    checker.unnamed()?;
    checker.mended_packs();
    Ok(checker.report)
}

pub use sample::{ReadBefore, Share, choose};

struct Checker<'r> {
    repository: &'r Repository,
    monitor: &'r dyn Monitor,
    reader: Reader<'r>,
    view: View,
    report: Report,
    /// What each point is called in findings.
    labels: Vec<String>,
    /// The points that need each pack, by their number in `labels`.
    users: HashMap<PackId, Vec<u32>>,
    /// Chunks, with their lengths, that segments find in sound packs. One look-up of each in the index would take
    /// minutes where there are many; it is asked about the rest.
    sound: ChunkSet,
    /// Recipe parts whose chunks were all found: neighbouring points share most of theirs.
    seen: HashSet<ChunkId>,
    /// Packs that points need and that no segment names.
    unnamed: BTreeSet<PackId>,
    /// Packs that a segment names and that are not in the store.
    absent: Vec<PackId>,
    /// Points that lack something.
    incomplete: BTreeSet<String>,
    /// Packs that are damaged beyond what parity repairs.
    lost: BTreeMap<PackId, Loss>,
}

fn label(id: PointId, point: &Point) -> String {
    format!("{} of {} ({})", point.source, point.started, id.short())
}

fn users_of_packs(catalog: &Catalog) -> HashMap<PackId, Vec<u32>> {
    let mut users: HashMap<PackId, Vec<u32>> = HashMap::new();
    for (number, (_, point)) in (0..).zip(catalog.points()) {
        for pack in &point.content.packs {
            users.entry(*pack).or_default().push(number);
        }
    }
    users
}

impl Checker<'_> {
    fn find(&mut self, severity: Severity, object: &str, message: String, affected: Vec<String>) {
        let finding = Finding { object: object.to_owned(), message, severity, affected, files: Vec::new() };
        self.monitor.event(Event::Problem(Problem {
            object: finding.object.clone(),
            message: match finding.affected.as_slice() {
                [] => finding.message.clone(),
                affected => format!("{}; affected: {}", finding.message, affected.join(", ")),
            },
        }));
        self.report.findings.push(finding);
    }

    /// Key slots, segments, notes, sessions and condemned objects, both copies of each.
    fn small_objects(&mut self) -> Result<(), RepoError> {
        for (object, wrong) in self.repository.inspect_objects()? {
            let severity = if wrong.is_readable { Severity::Degraded } else { Severity::Damage };
            self.find(severity, &object, wrong.message, Vec::new());
        }
        Ok(())
    }

    /// The points that need a pack, as findings call them.
    fn users_of(&self, pack: &PackId) -> Vec<String> {
        let label = |number: &u32| self.labels.get(*number as usize).cloned();
        self.users.get(pack).into_iter().flatten().filter_map(label).collect()
    }

    /// One point: its table, its recipe parts, and the place of every chunk.
    fn point(&mut self, id: PointId, point: &Point) -> Result<(), RepoError> {
        let label = label(id, point);
        self.monitor.event(Event::Started { object: label.clone(), bytes: Some(point.content.stream_len) });
        let mut missing = Missing::default();
        let walked = self.walk(id, point, &mut missing);
        // Of what was forgotten since the points were listed, prunes may have taken what they like.
        if (walked.is_err() || missing.lost > 0) && !self.repository.has_verdict(id)? {
            self.monitor.event(Event::Ended { object: label });
            return Ok(());
        }
        let lacks = match walked {
            Ok(()) => missing.lost,
            Err(error @ (RepoError::Store(_) | RepoError::Index(_) | RepoError::CannotRead)) if !error.is_damage() => {
                return Err(error);
            }
            Err(error) => {
                let message = format!("its recipe cannot be read: {error}");
                self.find(Severity::Damage, &label, message, vec![label.clone()]);
                missing.lost.max(1)
            }
        };
        if missing.lost > 0 {
            let place = missing.first_path.map_or_else(String::new, |path| format!(", first in or after {path}"));
            let message = format!("{} of its chunks are in no sound pack{place}", missing.lost);
            self.find(Severity::Damage, &label, message, vec![label.clone()]);
            let files = lost_files(&mut self.reader, point, |chunk| missing.chunks.contains(chunk))?;
            if let Some(finding) = self.report.findings.last_mut() {
                finding.files = files.iter().map(|path| crate::recipe::display_path(path)).collect();
            }
        }
        for pack in missing.lost_packs {
            if let Some(loss) = self.lost.get_mut(&pack) {
                loss.affected.insert(label.clone());
            }
        }
        if lacks > 0 {
            self.incomplete.insert(label.clone());
        }
        self.report.lacking.insert(id, lacks);
        self.unnamed.extend(missing.unnamed);
        self.report.points += 1;
        self.monitor.event(Event::Ended { object: label });
        Ok(())
    }

    /// Packs that points need and that only reading all packs finds: nothing is lost, and no point is affected. A pack
    /// whose segment was listed late has been found by a fresh look, and is named by now.
    fn unnamed(&mut self) -> Result<(), RepoError> {
        let named = self.repository.index().packs()?;
        for pack in std::mem::take(&mut self.unnamed).into_iter().filter(|pack| !named.contains_key(pack)) {
            let users = self.users_of(&pack).join(", ");
            let message = format!(
                "no index segment names it, so its chunks are found only by reading the pack itself, and the next \
                 backup stores them again; needed by {users}"
            );
            self.find(Severity::Degraded, &format!("Pack {pack}"), message, Vec::new());
        }
        Ok(())
    }

    fn walk(&mut self, id: PointId, point: &Point, missing: &mut Missing) -> Result<(), RepoError> {
        self.places(&point.content.table, b"", missing)?;
        let mut rows = Rows::new(&point.content);
        let mut stream_len = 0_u64;
        loop {
            let row = match rows.next(&mut self.reader) {
                Ok(Some(row)) => row,
                Ok(None) => break,
                Err(error) => {
                    self.lost_piece(id, rows.unread(), &error, missing)?;
                    return Err(error);
                }
            };
            stream_len = stream_len.saturating_add(row.stream_len);
            if self.seen.contains(&row.part.id) {
                continue;
            }
            let part = match read_part(&mut self.reader, &row) {
                Ok(part) => part,
                Err(error) if error.is_damage() || error.is_loss() => {
                    self.lost_piece(id, Some(row.part), &error, missing)?;
                    missing.lose(row.part.id, &row.first_path);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let before = missing.lost + missing.unnamed.len() as u64;
            self.places(&part.envelope, &row.first_path, missing)?;
            let chunks: Vec<ChunkRef> = part
                .steps
                .iter()
                .filter_map(|step| match step {
                    Step::Chunk(chunk) => Some(*chunk),
                    Step::Envelope(_) | Step::Zeros(_) => None,
                })
                .collect();
            self.places(&chunks, &row.first_path, missing)?;
            if missing.lost + missing.unnamed.len() as u64 == before {
                self.seen.insert(row.part.id);
            }
        }
        if stream_len != point.content.stream_len {
            return Err(RepoError::Damaged {
                object: "Its table of parts".to_owned(),
                reason: format!("makes {stream_len} bytes instead of {}", point.content.stream_len),
            });
        }
        Ok(())
    }

    /// Remembers a piece of this point's recipe that is lost, and the packs in which it stands damaged.
    fn lost_piece(
        &mut self,
        point: PointId,
        piece: Option<ChunkRef>,
        error: &RepoError,
        missing: &mut Missing,
    ) -> Result<(), RepoError> {
        let Some(piece) = piece.filter(|_| error.is_damage() || error.is_loss()) else { return Ok(()) };
        if !self.repository.has_verdict(point)? {
            return Err(RepoError::Gone { object: format!("Point {point}") });
        }
        self.report.lost_pieces.insert(piece.id);
        for fact in self.repository.index().facts(&[piece.id])?.concat() {
            if self.view.holds(&fact.pack) {
                self.lost_pack(fact.pack, error.to_string());
                missing.lost_packs.insert(fact.pack);
            }
        }
        Ok(())
    }

    /// Looks up where chunks stand, without reading them.
    fn places(&mut self, chunks: &[ChunkRef], path: &[u8], missing: &mut Missing) -> Result<(), RepoError> {
        self.report.chunks += chunks.len() as u64;
        let doubtful: Vec<ChunkRef> = chunks.iter().filter(|chunk| !self.sound.has(*chunk)).copied().collect();
        let ids: Vec<ChunkId> = doubtful.iter().map(|chunk| chunk.id).collect();
        let facts = self.repository.index().facts(&ids)?;
        for (chunk, facts) in doubtful.iter().zip(facts) {
            let sound = facts.iter().any(|fact| {
                fact.at.len == chunk.len && self.view.holds(&fact.pack) && !self.lost.contains_key(&fact.pack)
            });
            if sound {
                continue;
            }
            match self.reader.place(*chunk) {
                Ok(fact) if !self.lost.contains_key(&fact.pack) => {
                    missing.unnamed.insert(fact.pack);
                }
                Ok(_) | Err(RepoError::MissingChunk { .. }) => {
                    missing.lose(chunk.id, path);
                    missing.lost_packs.extend(facts.iter().map(|fact| fact.pack));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What one point lacks.
#[derive(Default)]
struct Missing {
    lost: u64,
    /// Some of these.
    chunks: HashSet<ChunkId>,
    first_path: Option<String>,
    /// Packs that should hold what is lost: a prune may have copied it there long after the point was made.
    lost_packs: BTreeSet<PackId>,
    /// Packs that no segment names and that hold chunks of it.
    unnamed: BTreeSet<PackId>,
}

/// A pack of which something is lost.
struct Loss {
    message: String,
    /// The points that lose something by it.
    affected: BTreeSet<String>,
}

impl Missing {
    fn lose(&mut self, chunk: ChunkId, path: &[u8]) {
        self.lost += 1;
        if self.chunks.len() < LOST_CHUNKS_MAX {
            self.chunks.insert(chunk);
        }
        if self.first_path.is_none() && !path.is_empty() {
            self.first_path = Some(crate::recipe::display_path(path));
        }
    }
}

/// Turns the problems that listing points meets into findings.
struct Collector<'m> {
    monitor: &'m dyn Monitor,
    problems: std::sync::Mutex<Vec<Problem>>,
}

impl<'m> Collector<'m> {
    fn new(monitor: &'m dyn Monitor) -> Self {
        Self { monitor, problems: std::sync::Mutex::default() }
    }

    fn findings(self) -> Vec<Finding> {
        let problems = self.problems.into_inner().unwrap_or_default();
        let finding = |problem: Problem| Finding {
            affected: vec![problem.object.clone()],
            object: problem.object,
            message: problem.message,
            severity: Severity::Damage,
            files: Vec::new(),
        };
        problems.into_iter().map(finding).collect()
    }
}

impl Monitor for Collector<'_> {
    fn event(&self, event: Event) {
        if let (Event::Problem(problem), Ok(mut problems)) = (&event, self.problems.lock()) {
            problems.push(problem.clone());
        }
        self.monitor.event(event);
    }

    fn stop_requested(&self) -> bool {
        self.monitor.stop_requested()
    }
}
