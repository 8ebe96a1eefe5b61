//! What differs between two points: files by their metadata and the ids of their chunks, without reading any content.
//!
//! Exports are walked side by side in the order that daemons write; a part that both have at the same place is passed
//! over unread, and memory does not grow. What is in another order is compared in memory, up to a stated number of
//! members. Contents are cut by what they are, so the same contents are the same chunks.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use crate::browse::list::{Depth, list_with};
use crate::browse::order::{Order, compare, inside, normal};
use crate::browse::plan::{Plan, Scope, plan};
use crate::browse::region::{BrowseError, Region, base};
use crate::browse::walk::{Interest, Item, Parser, Piece, Visitor, walk};
use crate::limits::DIFF_UNORDERED_MEMBERS_MAX;
use crate::monitor::Monitor;
use crate::point::Point;
use crate::recipe::TableRow;
use crate::repo::{Reader, RepoError, Repository, Rows, read_part};
use crate::tar::{Member, Place};

/// Something that is not the same in both points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path inside the region; empty for the region's own directory.
    pub path: Vec<u8>,
    /// What happened to it from the first point to the second.
    pub change: Change,
}

/// What happened to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The second point alone has it.
    Added,
    /// The first point alone has it.
    Removed,
    /// Both have it, and this is not the same.
    Changed(Vec<&'static str>),
}

/// What a comparison took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// Bytes of the first stream in parts that both have and that were not looked into.
    pub passed_over_bytes: u64,
}

/// A value of the daemon's description that is not the same in both points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    /// Where it stands, names joined by dots.
    pub key: String,
    /// As it was in the first point, if it was there.
    pub before: Option<String>,
    /// As it is in the second.
    pub after: Option<String>,
}

/// Why two points cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// One of them cannot be looked into.
    #[error(transparent)]
    Browse(#[from] BrowseError),
    /// Too many members to be sorted.
    #[error("{point} has more than {DIFF_UNORDERED_MEMBERS_MAX} members in an order of its own")]
    Unordered {
        /// The point's source.
        point: String,
    },
}

impl From<RepoError> for DiffError {
    fn from(error: RepoError) -> Self {
        Self::Browse(error.into())
    }
}

/// Compares the files of a region in two points, and tells each difference. What was told before an error is true.
pub fn diff(
    repository: &Repository,
    one: &Point,
    other: &Point,
    region: &Region,
    monitor: &dyn Monitor,
    tell: &mut dyn FnMut(&Difference),
) -> Result<Compared, DiffError> {
    let bases = [base(one, region)?, base(other, region)?];
    let mut reader = Reader::new(repository)?;
    for point in [one, other] {
        // Nothing is equal to nothing, but that is not what was asked.
        list_with(&mut reader, point, region, b"", Depth::Directory, monitor, &mut |_| {})?;
    }
    let [mine, theirs] = &bases;
    let plans = [
        plan(&mut reader, one, &Scope::Trees(vec![mine.clone()]))?,
        plan(&mut reader, other, &Scope::Trees(vec![theirs.clone()]))?,
    ];
    // The trees of a whole archive stand in an order of their own in each.
    if *region == Region::Raw || plans.contains(&Plan::All) {
        let before = collect(&mut reader, one, mine, monitor)?;
        let after = collect(&mut reader, other, theirs, monitor)?;
        compare_sorted(before, after, tell);
        return Ok(Compared { passed_over_bytes: 0 });
    }
    let [my_plan, their_plan] = plans;
    let mut merge = Merge {
        can_skip: mine == theirs,
        one: Cursor::new(one, mine, my_plan),
        other: Cursor::new(other, theirs, their_plan),
        passed_over_bytes: 0,
        reader,
        monitor,
    };
    merge.run(tell)?;
    Ok(Compared { passed_over_bytes: merge.passed_over_bytes })
}

/// What is compared of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    kind: String,
    mode: u32,
    owner: (u64, u64),
    mtime: (i64, u32),
    link: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    content: [u8; 32],
}

impl Facts {
    fn of(member: &Member) -> Self {
        Self {
            kind: format!("{:?} {} {}", member.kind, member.device_major, member.device_minor),
            mode: member.mode & 0o7777,
            owner: (member.uid, member.gid),
            mtime: (member.mtime_seconds, member.mtime_nanos),
            link: member.link.clone(),
            xattrs: member.xattrs.iter().cloned().collect(),
            content: [0; 32],
        }
    }

    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let compared = [
            ("kind", self.kind == other.kind),
            ("content", self.content == other.content),
            ("mode", self.mode == other.mode),
            ("owner", self.owner == other.owner),
            ("mtime", self.mtime == other.mtime),
            ("link", self.link == other.link),
            ("xattrs", self.xattrs == other.xattrs),
        ];
        compared.into_iter().filter(|(_, same)| !same).map(|(what, _)| what).collect()
    }
}

/// A member whose content is passing.
struct Pending {
    path: Vec<u8>,
    facts: Facts,
    hasher: blake3::Hasher,
}

impl Pending {
    fn new(path: Vec<u8>, member: &Member) -> Self {
        Self { path, facts: Facts::of(member), hasher: blake3::Hasher::new() }
    }

    fn piece(&mut self, piece: &Piece) {
        match piece {
            Piece::Bytes(bytes) => self.hasher.update(&[0]).update(&(bytes.len() as u64).to_le_bytes()).update(bytes),
            Piece::Chunk(chunk) => self.hasher.update(&[1]).update(chunk.id.as_bytes()),
            Piece::Zeros(len) => self.hasher.update(&[2]).update(&len.to_le_bytes()),
        };
    }

    fn finish(mut self) -> (Vec<u8>, Facts) {
        self.facts.content = *self.hasher.finalize().as_bytes();
        (self.path, self.facts)
    }
}

fn compare_sorted(
    before: BTreeMap<Vec<u8>, Facts>,
    mut after: BTreeMap<Vec<u8>, Facts>,
    tell: &mut dyn FnMut(&Difference),
) {
    let mut differences = BTreeMap::new();
    for (path, facts) in before {
        match after.remove(&path).map(|other| facts.differences(&other)) {
            None => drop(differences.insert(path, Change::Removed)),
            Some(what) if what.is_empty() => {}
            Some(what) => drop(differences.insert(path, Change::Changed(what))),
        }
    }
    differences.extend(after.into_keys().map(|path| (path, Change::Added)));
    for (path, change) in differences {
        tell(&Difference { path, change });
    }
}

fn collect(
    reader: &mut Reader<'_>,
    point: &Point,
    base: &[u8],
    monitor: &dyn Monitor,
) -> Result<BTreeMap<Vec<u8>, Facts>, DiffError> {
    let mut collected = Collected { base, point, pending: None, found: BTreeMap::new() };
    let walked = walk(reader, point, &Plan::All, &mut collected, monitor)?;
    if walked.members == 0 {
        return Err(BrowseError::NotAnArchive { point: point.source.to_string() }.into());
    }
    Ok(collected.found)
}

/// Members by their path, the last of each.
struct Collected<'c> {
    base: &'c [u8],
    point: &'c Point,
    pending: Option<Pending>,
    found: BTreeMap<Vec<u8>, Facts>,
}

impl Visitor for Collected<'_> {
    type Error = DiffError;

    fn member(&mut self, member: &Member) -> Result<Interest, DiffError> {
        let normal = normal(&member.path);
        let Some(path) = normal.as_deref().and_then(|path| inside(path, self.base)) else {
            return Ok(Interest::Nothing);
        };
        if self.found.len() >= DIFF_UNORDERED_MEMBERS_MAX {
            return Err(DiffError::Unordered { point: self.point.source.to_string() });
        }
        self.pending = Some(Pending::new(path.to_vec(), member));
        Ok(Interest::Content)
    }

    fn piece(&mut self, _reader: &mut Reader<'_>, piece: Piece) -> Result<(), DiffError> {
        if let Some(pending) = &mut self.pending {
            pending.piece(&piece);
        }
        Ok(())
    }

    fn end(&mut self, _complete: bool) -> Result<(), DiffError> {
        self.found.extend(self.pending.take().map(Pending::finish));
        Ok(())
    }
}

/// Two points side by side.
struct Merge<'m> {
    reader: Reader<'m>,
    one: Cursor<'m>,
    other: Cursor<'m>,
    /// Whether the same bytes mean the same in both.
    can_skip: bool,
    passed_over_bytes: u64,
    monitor: &'m dyn Monitor,
}

impl Merge<'_> {
    fn run(&mut self, tell: &mut dyn FnMut(&Difference)) -> Result<(), DiffError> {
        loop {
            if self.monitor.stop_requested() {
                return Err(BrowseError::Stopped.into());
            }
            if self.can_skip && self.skips()? {
                continue;
            }
            self.leave_run()?;
            let reader = &mut self.reader;
            let order = match (self.one.peek(reader)?, self.other.peek(reader)?) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) => compare(one, other),
            };
            let one = if order.is_le() { self.one.ready.pop_front() } else { None };
            let other = if order.is_ge() { self.other.ready.pop_front() } else { None };
            let (path, change) = match (one, other) {
                (Some((path, one)), Some((_, other))) => match one.differences(&other) {
                    what if what.is_empty() => continue,
                    what => (path, Change::Changed(what)),
                },
                (Some((path, _)), None) => (path, Change::Removed),
                (None, Some((path, _))) => (path, Change::Added),
                (None, None) => continue,
            };
            tell(&Difference { path, change });
        }
    }

    /// Passes over a part that is next in both, if it is the same.
    fn skips(&mut self) -> Result<bool, DiffError> {
        let reader = &mut self.reader;
        if !self.one.is_at_row(reader)? || !self.other.is_at_row(reader)? {
            return Ok(false);
        }
        let same = matches!((&self.one.row, &self.other.row), (Some(one), Some(other)) if one.part == other.part);
        if same {
            self.passed_over_bytes += self.one.row.as_ref().map_or(0, |row| row.stream_len);
            self.one.pass_over();
            self.other.pass_over();
        }
        Ok(same)
    }

    /// Behind parts that were passed over: if the last member that begins there goes on in either point, it is looked
    /// at after all.
    fn leave_run(&mut self) -> Result<(), DiffError> {
        let reader = &mut self.reader;
        let runs = [std::mem::take(&mut self.one.run), std::mem::take(&mut self.other.run)];
        if runs.iter().all(Vec::is_empty) {
            return Ok(());
        }
        if self.one.goes_on(reader)? || self.other.goes_on(reader)? {
            let [one, other] = runs;
            self.one.replay(reader, one)?;
            self.other.replay(reader, other)?;
        }
        Ok(())
    }
}

/// The members of one point, one after the other.
struct Cursor<'c> {
    point: &'c Point,
    base: &'c [u8],
    rows: Rows,
    plan: Plan,
    /// The next row that is to be read, its number being one below this.
    row: Option<TableRow>,
    number: u64,
    /// Whether the last row in which a member begins was planned.
    after_planned: bool,
    parser: Parser,
    /// Whether something was left out before the next row.
    gap: bool,
    /// Whether a part of that was not planned, but not the same in both points.
    left_out: bool,
    order: Order,
    pending: Option<Pending>,
    ready: VecDeque<(Vec<u8>, Facts)>,
    /// Rows that were passed over, from the one on in which the last member began.
    run: Vec<TableRow>,
}

impl<'c> Cursor<'c> {
    fn new(point: &'c Point, base: &'c [u8], plan: Plan) -> Self {
        Self {
            point,
            base,
            rows: Rows::new(&point.content),
            plan,
            row: None,
            number: 0,
            after_planned: false,
            parser: Parser::default(),
            gap: false,
            left_out: false,
            order: Order::default(),
            pending: None,
            ready: VecDeque::new(),
            run: Vec::new(),
        }
    }

    /// Puts the next row that has to be read into `row`; none is there at the end.
    fn fill(&mut self, reader: &mut Reader<'_>) -> Result<(), DiffError> {
        while self.row.is_none() {
            let Some(row) = self.rows.next(reader)? else { return Ok(()) };
            let planned = match &self.plan {
                Plan::All => true,
                Plan::Rows(rows) => rows.binary_search(&self.number).is_ok(),
            };
            self.number += 1;
            // The last member of a planned row may go on up to where the next one begins.
            let chosen = planned || self.after_planned;
            if !row.first_path.is_empty() {
                self.after_planned = planned;
            }
            if chosen || self.pending.is_some() || self.parser.place() == Place::Headers {
                self.row = Some(row);
            } else {
                (self.gap, self.left_out) = (true, true);
            }
        }
        Ok(())
    }

    /// Whether everything before the next row was told, and no member is open.
    fn is_at_row(&mut self, reader: &mut Reader<'_>) -> Result<bool, DiffError> {
        let between = self.gap || self.parser.place() == Place::Between;
        if !self.ready.is_empty() || self.pending.is_some() || !between {
            return Ok(false);
        }
        self.fill(reader)?;
        Ok(self.row.is_some())
    }

    fn pass_over(&mut self) {
        if let Some(row) = self.row.take() {
            if !row.first_path.is_empty() {
                self.run.clear();
            }
            if !row.first_path.is_empty() || !self.run.is_empty() {
                self.run.push(row);
            }
        }
        (self.gap, self.left_out) = (true, false);
    }

    /// Whether the next part begins with more of a member that began before.
    fn goes_on(&mut self, reader: &mut Reader<'_>) -> Result<bool, DiffError> {
        self.fill(reader)?;
        match &self.row {
            Some(row) if !self.left_out => Ok(read_part(reader, row)?.lead > 0),
            _ => Ok(false),
        }
    }

    /// Reads what was passed over, for its last member alone.
    fn replay(&mut self, reader: &mut Reader<'_>, run: Vec<TableRow>) -> Result<(), DiffError> {
        for row in run {
            self.read(reader, &row)?;
        }
        if self.left_out {
            // What goes on in rows that were not planned is outside of the region.
            self.pending = None;
            self.gap = true;
        }
        let last = usize::from(self.pending.is_none());
        self.ready.drain(..self.ready.len().saturating_sub(last));
        Ok(())
    }

    /// The path of the next member.
    fn peek(&mut self, reader: &mut Reader<'_>) -> Result<Option<&[u8]>, DiffError> {
        while self.ready.is_empty() {
            self.fill(reader)?;
            let Some(row) = self.row.take() else {
                self.close();
                break;
            };
            self.read(reader, &row)?;
        }
        Ok(self.ready.front().map(|(path, _)| path.as_slice()))
    }

    fn close(&mut self) {
        self.ready.extend(self.pending.take().map(Pending::finish));
    }

    fn read(&mut self, reader: &mut Reader<'_>, row: &TableRow) -> Result<(), DiffError> {
        let part = read_part(reader, row)?;
        let anew = std::mem::take(&mut self.gap);
        let items = if anew { self.parser.anew(reader, &part)? } else { self.parser.go_on(reader, &part)? };
        for item in items {
            match item {
                Item::Member(member) => {
                    self.close();
                    if !self.order.see(&member.path) || self.parser.has_global() {
                        return Err(DiffError::Unordered { point: self.point.source.to_string() });
                    }
                    let normal = normal(&member.path);
                    let path = normal.as_deref().and_then(|path| inside(path, self.base));
                    self.pending = path.map(|path| Pending::new(path.to_vec(), &member));
                }
                Item::Piece(piece) => {
                    if let Some(pending) = &mut self.pending {
                        pending.piece(&piece);
                    }
                }
                Item::End => self.close(),
            }
        }
        Ok(())
    }
}

/// Compares what the daemon said of two sources, value by value; nothing if one of the texts is not JSON.
pub fn diff_descriptions(one: &str, other: &str) -> Vec<ConfigChange> {
    let (Ok(one), Ok(other)) = (serde_json::from_str(one), serde_json::from_str(other)) else { return Vec::new() };
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    flatten(&one, String::new(), &mut before);
    flatten(&other, String::new(), &mut after);
    let mut keys: Vec<String> = before.keys().chain(after.keys()).cloned().collect();
    keys.sort_unstable();
    keys.dedup();
    let change = |key: String| {
        let (before, after) = (before.remove(&key), after.remove(&key));
        (before != after).then_some(ConfigChange { key, before, after })
    };
    keys.into_iter().filter_map(change).collect()
}

/// Every value below this one, by its names joined by dots.
fn flatten(value: &serde_json::Value, key: String, into: &mut BTreeMap<String, String>) {
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        serde_json::Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| flatten(value, below(name), into));
        }
        serde_json::Value::Array(values) => {
            (0..).zip(values).for_each(|(at, value): (usize, _)| flatten(value, below(&at.to_string()), into));
        }
        serde_json::Value::String(text) => drop(into.insert(key, text.clone())),
        other => drop(into.insert(key, other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_compared_value_by_value() {
        let one =
            r#"{"config":{"limits.memory":"1GiB","a":"b"},"devices":{"eth0":{"nictype":"p2p"}},"profiles":["x"]}"#;
        let other = r#"{"config":{"limits.memory":"2GiB","a":"b"},"devices":{},"profiles":["x","y"]}"#;
        let told: Vec<(String, Option<String>, Option<String>)> =
            diff_descriptions(one, other).into_iter().map(|change| (change.key, change.before, change.after)).collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            told,
            [
                ("config.limits.memory".to_owned(), text("1GiB"), text("2GiB")),
                ("devices.eth0.nictype".to_owned(), text("p2p"), None),
                ("profiles.1".to_owned(), None, text("y")),
            ]
        );
        assert!(diff_descriptions(one, "").is_empty() && diff_descriptions(one, one).is_empty());
    }
}
