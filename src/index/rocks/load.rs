//! Many segments at once: facts are parted by chunk id into files, sorted part by part, written as RocksDB's own files
//! and taken over as they are.
//!
//! Memory does not grow with their number: a buffer per part, and per worker the facts it sorts. A part with more facts
//! than that, which ids that are hashes give only beyond 2 TB, is sorted in several slices that RocksDB merges. What is
//! written before [`Load::finish`] lies in a directory that goes with the load or its process.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rocksdb::{IngestExternalFileOptions, SstFileWriter};

use crate::id::SegmentId;
use crate::index::rocks::layout::{CHUNK_KEY_BYTES, ChunkKey, chunk_key};
use crate::index::rocks::owned::Scratch;
use crate::index::rocks::{Rocks, read, refused};
use crate::index::rows::{PLACE_BYTES, Place, place, place_number, renumber};
use crate::index::statements::{Statement, StatementKey};
use crate::index::{Index, IndexError, Load};
use crate::limits::{
    INDEX_LOAD_FILE_FACTS, INDEX_LOAD_PART_BUFFER_BYTES, INDEX_LOAD_PARTS, INDEX_LOAD_SORT_FACTS_MAX,
    INDEX_LOAD_WORKERS, PIECE_BYTES,
};
use crate::pack::{Segment, SegmentPack};

const RECORD_BYTES: usize = CHUNK_KEY_BYTES + PLACE_BYTES;
const SLICE_FACTS: u64 = INDEX_LOAD_SORT_FACTS_MAX as u64;

/// A fact in a part, its place first with the load's own number of the statement, then with the index's.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    key: ChunkKey,
    place: Place,
}

/// A load into an index in RocksDB.
pub(super) struct SortedLoad<'a> {
    rocks: &'a Rocks,
    parts: Option<Parts>,
    statements: Vec<Noted>,
    own_numbers: HashMap<StatementKey, u32>,
    segments: BTreeMap<SegmentId, Vec<u32>>,
}

/// A statement that some segment of the load makes.
struct Noted {
    statement: Statement,
    /// Whether its facts are in the parts. If not, they were in the index when it was noted.
    written: bool,
}

impl<'a> SortedLoad<'a> {
    pub fn new(rocks: &'a Rocks) -> Self {
        let (statements, own_numbers) = (Vec::new(), HashMap::new());
        Self { rocks, parts: None, statements, own_numbers, segments: BTreeMap::new() }
    }

    /// The load's own number of a pack as stated, whose facts are in place or in the parts afterwards.
    fn note(&mut self, stated: &SegmentPack) -> Result<u32, IndexError> {
        let statement = Statement::of(stated);
        if let Some(number) = self.own_numbers.get(&statement.key()) {
            return Ok(*number);
        }
        let own = u32::try_from(self.statements.len()).map_err(|_| self.rocks.used_up())?;
        let written = read(&self.rocks.state).statements.number(&statement.key()).is_none();
        if written {
            self.write_facts(own, stated).map_err(|error| refused(&self.rocks.dir, error))?;
        }
        self.statements.push(Noted { statement, written });
        self.own_numbers.insert(statement.key(), own);
        Ok(own)
    }

    fn write_facts(&mut self, own: u32, stated: &SegmentPack) -> io::Result<()> {
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => none.insert(Parts::make(&self.rocks.dir)?),
        };
        stated
            .directory
            .locations()
            .try_for_each(|(chunk, at)| parts.push(&Record { key: chunk_key(&chunk), place: place(own, &at) }))
    }

    /// The index's number for each statement, and which of them need their facts: new ones from `next` on. Neither for
    /// a statement that has lost its facts to [`Index::drop_segments`] since it was noted.
    fn number(&self) -> Result<Numbering, IndexError> {
        let state = read(&self.rocks.state);
        let mut numbering =
            Numbering { first: state.next == 0, next: state.next, all: Vec::new(), fresh: HashSet::new() };
        for noted in &self.statements {
            let live = state.statements.number(&noted.statement.key());
            let fresh = (live.is_none() && noted.written).then_some(numbering.next);
            if let Some(number) = fresh {
                numbering.fresh.insert(number);
                numbering.next = number.checked_add(1).ok_or_else(|| self.rocks.used_up())?;
            }
            numbering.all.push(live.or(fresh));
        }
        Ok(numbering)
    }

    /// Puts all facts in place, under the numbers that it gives back.
    pub fn ingest(&mut self) -> Result<Numbering, IndexError> {
        let numbering = self.number()?;
        if let Some(parts) = self.parts.take() {
            self.rocks.reserve(numbering.next)?;
            // Files that are taken over are durable at once; the numbers in them must not be given out again.
            self.rocks.flush()?;
            parts.ingest(self.rocks, &numbering)?;
        }
        Ok(numbering)
    }
}

impl Load for SortedLoad<'_> {
    fn add(&mut self, id: SegmentId, segment: &Segment) -> Result<(), IndexError> {
        if self.segments.contains_key(&id) || read(&self.rocks.state).statements.has_absorbed(id) {
            return Ok(());
        }
        let named = segment.packs.iter().map(|stated| self.note(stated)).collect::<Result<_, _>>()?;
        self.segments.insert(id, named);
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), IndexError> {
        let _writing = self.rocks.begin_writing();
        let numbering = self.ingest()?;
        let statement = |own: &u32| {
            let at = usize::try_from(*own).ok()?;
            Some(((*numbering.all.get(at)?)?, self.statements.get(at)?.statement))
        };
        // A segment of which something was dropped meanwhile is left to be absorbed again.
        let named = |(id, own): (&SegmentId, &Vec<u32>)| Some((*id, own.iter().map(statement).collect::<Option<_>>()?));
        self.rocks.mark(self.segments.iter().filter_map(named).collect())?;
        self.rocks.flush()
    }
}

/// The index's numbers for a load's own.
pub(super) struct Numbering {
    /// Whether no number was given out before.
    first: bool,
    next: u32,
    all: Vec<Option<u32>>,
    fresh: HashSet<u32>,
}

impl Numbering {
    /// The number under which a fact is to be written; nothing if it is in place.
    fn fresh(&self, own: u32) -> Option<u32> {
        let number = (*self.all.get(usize::try_from(own).ok()?)?)?;
        self.fresh.contains(&number).then_some(number)
    }
}

/// Facts in files by the first bits of their chunk id.
struct Parts {
    files: Vec<Part>,
    // Removed last: fields are dropped in this order.
    scratch: Scratch,
}

struct Part {
    file: BufWriter<File>,
    path: PathBuf,
    facts: u64,
}

/// A slice of some parts that becomes one sorted file.
struct Job {
    parts: Range<usize>,
    slice: u64,
    /// Whether no chunk has any place yet, so that there is nothing to merge with, which makes look-ups a little
    /// faster.
    first: bool,
}

impl Parts {
    fn make(dir: &Path) -> io::Result<Self> {
        let scratch = Scratch::make(dir)?;
        let part = |n| {
            let path = scratch.path().join(format!("part-{n}"));
            let file = BufWriter::with_capacity(INDEX_LOAD_PART_BUFFER_BYTES, File::create_new(&path)?);
            Ok(Part { file, path, facts: 0 })
        };
        let files = (0..INDEX_LOAD_PARTS).map(part).collect::<io::Result<_>>()?;
        Ok(Self { files, scratch })
    }

    fn push(&mut self, record: &Record) -> io::Result<()> {
        let [_, first, ..] = record.key;
        match self.files.get_mut(usize::from(first) * INDEX_LOAD_PARTS / 256) {
            Some(part) => {
                part.facts += 1;
                part.file.write_all(&record.key)?;
                part.file.write_all(&record.place)
            }
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Sorts all facts into files and hands these over to the index.
    fn ingest(mut self, rocks: &Rocks, numbering: &Numbering) -> Result<(), IndexError> {
        for part in &mut self.files {
            part.file.flush().map_err(|error| refused(&rocks.dir, error))?;
        }
        let slices = self.files.iter().map(|part| part.facts.div_ceil(SLICE_FACTS)).max().unwrap_or(0);
        for slice in 0..slices {
            // The files of one slice do not overlap, so that they find room in the lowest level together.
            let files = self.sort(rocks, numbering, self.jobs(slice, numbering.first && slice == 0))?;
            if !files.is_empty() {
                let mut options = IngestExternalFileOptions::default();
                options.set_move_files(true);
                rocks.db.ingest_external_file_opts(&options, files).map_err(|error| rocks.fault(error))?;
            }
        }
        Ok(())
    }

    fn jobs(&self, slice: u64, first: bool) -> Vec<Job> {
        let (mut jobs, mut begin, mut facts) = (Vec::new(), 0, 0);
        for (at, part) in self.files.iter().enumerate() {
            facts += slice_of(part, slice).1;
            if facts >= INDEX_LOAD_FILE_FACTS || (facts > 0 && at + 1 == self.files.len()) {
                jobs.push(Job { parts: begin..at + 1, slice, first });
                (begin, facts) = (at + 1, 0);
            }
        }
        jobs
    }

    fn sort(&self, rocks: &Rocks, numbering: &Numbering, jobs: Vec<Job>) -> Result<Vec<PathBuf>, IndexError> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(INDEX_LOAD_WORKERS);
        let jobs = Mutex::new(jobs.into_iter());
        let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || -> Result<Vec<PathBuf>, IndexError> {
            std::iter::from_fn(next).filter_map(|job| self.write_file(rocks, numbering, &job).transpose()).collect()
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
            let mut files = work()?;
            for other in others {
                files.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(files)
        })
    }

    /// Writes the sorted file of a job; none if all its facts are in place already.
    fn write_file(&self, rocks: &Rocks, numbering: &Numbering, job: &Job) -> Result<Option<PathBuf>, IndexError> {
        let path = self.scratch.path().join(format!("sorted-{}-{}", job.slice, job.parts.start));
        let mut file = SstFileWriter::create(&rocks.options);
        let mut begun = false;
        for part in self.files.get(job.parts.clone()).unwrap_or_default() {
            let records = sorted(part, job.slice, numbering).map_err(|error| refused(&rocks.dir, error))?;
            for same in records.chunk_by(|one, next| one.key == next.key) {
                if !begun {
                    file.open(&path).map_err(|error| rocks.fault(error))?;
                    begun = true;
                }
                let Some(Record { key, .. }) = same.first() else { continue };
                let places: Vec<u8> = same.iter().flat_map(|record| record.place).collect();
                let written = if job.first { file.put(key, places) } else { file.merge(key, places) };
                written.map_err(|error| rocks.fault(error))?;
            }
        }
        if begun {
            file.finish().map_err(|error| rocks.fault(error))?;
        }
        Ok(begun.then_some(path))
    }
}

/// The facts of one slice of a part that are not in place, with the index's numbers, in key order.
fn sorted(part: &Part, slice: u64, numbering: &Numbering) -> io::Result<Vec<Record>> {
    let (skip, facts) = slice_of(part, slice);
    let mut file = File::open(&part.path)?;
    file.seek(SeekFrom::Start(skip * RECORD_BYTES as u64))?;
    let mut file = BufReader::with_capacity(PIECE_BYTES, file);
    let mut records = Vec::new();
    for _ in 0..facts {
        let mut record = Record { key: [0; CHUNK_KEY_BYTES], place: [0; PLACE_BYTES] };
        file.read_exact(&mut record.key)?;
        file.read_exact(&mut record.place)?;
        if let Some(number) = numbering.fresh(place_number(&record.place)) {
            renumber(&mut record.place, number);
            records.push(record);
        }
    }
    records.sort_unstable();
    Ok(records)
}

/// Where a slice begins in a part and how many facts it has.
fn slice_of(part: &Part, slice: u64) -> (u64, u64) {
    let skip = (slice * SLICE_FACTS).min(part.facts);
    (skip, (part.facts - skip).min(SLICE_FACTS))
}
