//! Sealing, storing and opening each kind of object.

use std::collections::{BTreeSet, HashSet};

use crate::clock::Timestamp;
use crate::codec::{DecodeError, DecodeProblem, Decoder};
use crate::compress;
use crate::crypto::{
    self, Damage, DirectoryOpener, FrameOpener, GivenName, OpenError, PACK_HEADER_BYTES, PointOrVoid, WriteKeys,
};
use crate::id::{CondemnedId, ID_BYTES, KeyslotId, NoteId, PackId, PointId, SegmentId};
use crate::limits::{OBJECT_BYTES_MAX, OBJECT_PLAIN_BYTES_MAX, PACK_BYTES_MAX, RESERVE_BYTES};
use crate::pack::{self, Directory, Segment, Trailer};
use crate::point::{Point, Verdict};
use crate::protocol::Reading;
use crate::repo::{Condemned, Config, Note, NoteFact, PackBytes, RepoError, Repository, SessionRecord, layout};
use crate::store::{Directory as StoreDirectory, Listed, Name, Put, Store, StoreErrorKind, list_settled};

/// The README of every repository, for people who find one.
const README: &str = "\
This directory is a holdall backup repository (format version 1).

It holds deduplicated, encrypted backups of LXD and Incus servers. Nothing in it can be read without
its key. Do not add, change or remove files here by hand: use the program `holdall`. The format is
specified in the directory `format-spec/` of the program's source; the specification alone is enough
to write another reader.
";

/// Makes the directories and stores the text for people.
pub(super) fn lay_out(store: &dyn Store) -> Result<(), RepoError> {
    for directory in layout::DIRECTORIES.iter().cloned().chain(layout::PACKS.shards()) {
        store.make_directory(&directory)?;
    }
    if let Ok(name) = StoreDirectory::ROOT.object(layout::README) {
        let _: Put = store.put(&name, &[README.as_bytes()])?;
    }
    put_reserve(store)
}

/// Makes the directories of a repository that copies without empty directories have lost. Without a key slot and a
/// config it is none, or a disk that is mounted by half, and nothing is made. Returns how many were missing.
pub fn complete_directories(store: &dyn Store) -> Result<usize, RepoError> {
    for directory in [layout::KEYS, layout::CONFIG] {
        if store.list(&directory)?.is_empty() {
            let reason = "there are no key slots or no config in it";
            return Err(RepoError::NotARepository { place: store.description(), reason });
        }
    }
    let mut made = 0;
    for directory in layout::DIRECTORIES.iter().cloned().chain(layout::PACKS.shards()) {
        match store.list(&directory) {
            Err(error) if error.kind == StoreErrorKind::DirectoryMissing => {
                store.make_directory(&directory)?;
                made += 1;
            }
            other => drop(other?),
        }
    }
    Ok(made)
}

/// Stores the reserve. Its bytes mean nothing; zeros might take no room.
pub(super) fn put_reserve(store: &dyn Store) -> Result<(), RepoError> {
    let Ok(name) = StoreDirectory::ROOT.object(layout::RESERVE) else { return Ok(()) };
    if store.stat(&name)?.is_none() {
        let mut bytes = vec![0; RESERVE_BYTES];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        let _: Put = store.put(&name, &[&bytes])?;
    }
    Ok(())
}

/// Stores a config under its number, which must be free.
pub(super) fn put_config(store: &dyn Store, keys: &WriteKeys, number: u64, config: &Config) -> Result<(), RepoError> {
    let name = layout::config(number);
    let sealed = crypto::seal_given(keys, GivenName::Config(number), &config.encode())?;
    match store.put(&name, &[&sealed])? {
        Put::Created => Ok(()),
        Put::Exists => Err(RepoError::MadeMeanwhile { object: name.to_string() }),
    }
}

/// The numbers of the configs, in order.
pub(super) fn config_numbers(store: &dyn Store) -> Result<Vec<u64>, RepoError> {
    let listed = store.list(&layout::CONFIG)?;
    let mut numbers: Vec<u64> = listed.iter().filter_map(|listed| layout::parse_config(&listed.name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The config in force: the highest number that opens.
pub(super) fn get_config(store: &dyn Store, keys: &WriteKeys) -> Result<Config, RepoError> {
    let mut failure = None;
    for number in config_numbers(store)?.into_iter().rev() {
        match read_config(store, keys, number) {
            Ok(config) => return Ok(config),
            // A config that a later program stored must not be passed over for an older one.
            Err(error @ RepoError::NewerFormat { .. }) => return Err(error),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Err(without_config(store)?),
    }
}

/// Points are made after the first config only, so where they stand it was lost.
fn without_config(store: &dyn Store) -> Result<RepoError, RepoError> {
    let place = store.description();
    if store.list(&layout::POINTS)?.is_empty() {
        let reason = "there is no config in it; its init did not come to an end";
        return Ok(RepoError::NotARepository { place, reason });
    }
    let object = format!("{place}/{}", layout::CONFIG);
    Ok(RepoError::Damaged { object, reason: "is empty, though the repository holds points".to_owned() })
}

fn read_config(store: &dyn Store, keys: &WriteKeys, number: u64) -> Result<Config, RepoError> {
    let name = layout::config(number);
    let opened = crypto::open_config(keys, number, &store.get(&name, OBJECT_BYTES_MAX)?)?;
    Config::decode(&opened.plain).map_err(|source| undecodable(&name, source))
}

fn undecodable(name: &Name, source: DecodeError) -> RepoError {
    RepoError::Damaged { object: name.to_string(), reason: format!("is damaged: {source}") }
}

/// The body of a point: its plain length in four bytes, then a frame as in packs, for the daemon's description
/// compresses well.
pub fn encode_point_body(point: &Point) -> Result<Vec<u8>, RepoError> {
    let plain = point.encode();
    let object = || format!("The point of {}", point.source);
    within_limits(&plain, object, Point::decode)?;
    if plain.len() > OBJECT_PLAIN_BYTES_MAX {
        let source = Decoder::new(&plain).error("point", DecodeProblem::TooLarge);
        return Err(RepoError::BeyondLimits { object: object(), source });
    }
    let mut body = u32::try_from(plain.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    body.extend(compress::compress(plain, compress::Level::DEFAULT)?);
    Ok(body)
}

/// What no reader accepts is not stored: a mistake of a writer's must show before the commit and not at the restore.
fn within_limits<T>(
    plain: &[u8],
    object: impl FnOnce() -> String,
    decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
) -> Result<(), RepoError> {
    match decode(plain) {
        Ok(_) => Ok(()),
        Err(source) => Err(RepoError::BeyondLimits { object: object(), source }),
    }
}

/// Reads the body of the point under this name.
pub fn decode_point_body(name: &Name, body: &[u8]) -> Result<Point, RepoError> {
    let damaged = |reason: String| RepoError::Damaged { object: name.to_string(), reason };
    let (len, frame) =
        body.split_first_chunk::<4>().ok_or_else(|| damaged("is damaged: it is too short".to_owned()))?;
    let len = u32::from_le_bytes(*len) as usize;
    if len > OBJECT_PLAIN_BYTES_MAX {
        return Err(damaged("is damaged: it states a length beyond the limit".to_owned()));
    }
    let plain = compress::decompress(frame, len, OBJECT_PLAIN_BYTES_MAX)
        .map_err(|error| damaged(format!("is damaged: {error}")))?;
    Point::decode(&plain).map_err(|source| undecodable(name, source))
}

impl Repository {
    /// A whole object of at most `max` bytes.
    pub(super) fn get_object(&self, name: &Name, max: usize) -> Result<Vec<u8>, RepoError> {
        Ok(self.store().get(name, max)?)
    }

    /// Stores an object under a name that was drawn for it and so must be free.
    pub(super) fn put_new(&self, name: &Name, sealed: &[u8]) -> Result<(), RepoError> {
        match self.store().put(name, &[sealed])? {
            Put::Created => Ok(()),
            Put::Exists => {
                let reason =
                    "stands under a random name that was just drawn; the source of randomness is broken".to_owned();
                Err(RepoError::Damaged { object: name.to_string(), reason })
            }
        }
    }

    /// The ids in a directory. Names that are no ids belong to nobody and are passed over.
    pub(super) fn list_ids<I>(
        &self,
        directory: &StoreDirectory,
        from_bytes: impl Fn([u8; ID_BYTES]) -> I,
    ) -> Result<Vec<I>, RepoError> {
        let listed = self.store().list(directory)?;
        Ok(listed.iter().filter_map(|listed| layout::parse_id(&listed.name, &from_bytes)).collect())
    }

    /// A listing for a decision of the protocol: where listings can be stale this host first forgets what it remembers
    /// of it (`format-spec/concurrency.md`, "Bounded staleness").
    pub(super) fn list_fresh(&self, directory: &StoreDirectory) -> Result<Vec<Listed>, RepoError> {
        if self.config().settle_seconds > 0 {
            self.store().refresh(directory)?;
        }
        Ok(self.store().list(directory)?)
    }

    /// The ids in a small directory, listed until two listings agree: servers have been seen to skip an entry while
    /// others are removed.
    pub(super) fn list_ids_surely<I>(
        &self,
        directory: &StoreDirectory,
        from_bytes: impl Fn([u8; ID_BYTES]) -> I,
    ) -> Result<Vec<I>, RepoError> {
        if self.config().settle_seconds > 0 {
            self.store().refresh(directory)?;
        }
        let listed = list_settled(self.store(), directory)?;
        Ok(listed.iter().filter_map(|listed| layout::parse_id(&listed.name, &from_bytes)).collect())
    }

    /// The settle time of the config that is in force now; another host may have raised it.
    pub fn read_settle_seconds(&self) -> Result<u32, RepoError> {
        Ok(get_config(self.store(), self.write_keys())?.settle_seconds)
    }

    /// The sessions that are announced.
    pub fn list_sessions(&self) -> Result<Vec<PointId>, RepoError> {
        self.list_ids_surely(&layout::SESSIONS, PointId::from_bytes)
    }

    /// What a session says about itself.
    pub fn read_session(&self, id: PointId) -> Result<SessionRecord, RepoError> {
        let name = layout::session(id);
        let plain = crypto::open_session(self.write_keys(), id, &self.get_object(&name, OBJECT_BYTES_MAX)?)?;
        SessionRecord::decode(&plain).map_err(|source| undecodable(&name, source))
    }

    pub(super) fn seal_session(&self, id: PointId, record: &SessionRecord) -> Result<Vec<u8>, RepoError> {
        let plain = record.encode();
        within_limits(&plain, || format!("Session {id}"), SessionRecord::decode)?;
        Ok(crypto::seal_given(self.write_keys(), GivenName::Session(id), &plain)?)
    }

    /// The condemned objects.
    pub fn list_condemned(&self) -> Result<BTreeSet<CondemnedId>, RepoError> {
        Ok(self.list_ids_surely(&layout::CONDEMNED, CondemnedId::from_bytes)?.into_iter().collect())
    }

    /// The packs that a condemned object names.
    pub fn read_condemned(&self, id: CondemnedId) -> Result<Reading<BTreeSet<PackId>>, RepoError> {
        let name = layout::condemned(id);
        let bytes = match self.get_object(&name, OBJECT_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(RepoError::Gone { .. }) => return Ok(Reading::Gone),
            Err(RepoError::Store(error)) if matches!(error.kind, StoreErrorKind::TooLarge { .. }) => {
                return Ok(Reading::Unreadable);
            }
            Err(error) => return Err(error),
        };
        let Ok(opened) = crypto::open_free(self.write_keys(), id, &bytes) else { return Ok(Reading::Unreadable) };
        Ok(Condemned::decode(&opened.plain)
            .map_or(Reading::Unreadable, |condemned| Reading::Says(condemned.packs.into_iter().collect())))
    }

    /// Stores a condemned object. From now on these packs are doomed.
    pub fn put_condemned(&self, packs: &BTreeSet<PackId>) -> Result<CondemnedId, RepoError> {
        let plain = Condemned { packs: packs.iter().copied().collect() }.encode();
        within_limits(&plain, || "A new condemned object".to_owned(), Condemned::decode)?;
        let (id, sealed) = crypto::seal_free::<CondemnedId>(self.write_keys(), &plain)?;
        self.put_new(&layout::condemned(id), &sealed)?;
        Ok(id)
    }

    /// Every pack that a condemned object names which can be read.
    pub(super) fn condemned_packs(&self) -> Result<HashSet<PackId>, RepoError> {
        let mut packs = HashSet::new();
        for id in self.list_condemned()? {
            if let Reading::Says(named) = self.read_condemned(id)? {
                packs.extend(named);
            }
        }
        Ok(packs)
    }

    /// Seals a point or a void under its session's id.
    pub(super) fn seal_verdict(&self, id: PointId, verdict: &Verdict) -> Result<Vec<u8>, RepoError> {
        let (name, body) = match verdict {
            Verdict::Point(point) => (GivenName::Point(id), encode_point_body(point)?),
            Verdict::Void => (GivenName::Void(id), Vec::new()),
        };
        Ok(crypto::seal_given(self.write_keys(), name, &body)?)
    }

    pub(super) fn open_verdict(&self, id: PointId, bytes: &[u8]) -> Result<Verdict, RepoError> {
        match crypto::open_point(self.read_keys()?, id, bytes)? {
            PointOrVoid::Void(_) => Ok(Verdict::Void),
            PointOrVoid::Point(opened) => {
                decode_point_body(&layout::point(id), &opened.plain).map(|point| Verdict::Point(Box::new(point)))
            }
        }
    }

    /// Stores a segment. The packs that it names are durable.
    pub fn put_segment(&self, segment: &Segment) -> Result<SegmentId, RepoError> {
        let plain = segment.encode();
        within_limits(&plain, || "A new index segment".to_owned(), Segment::decode)?;
        let (id, sealed) = crypto::seal_free::<SegmentId>(self.write_keys(), &plain)?;
        self.put_new(&layout::segment(id), &sealed)?;
        Ok(id)
    }

    /// The segments of the store.
    pub fn list_segments(&self) -> Result<Vec<SegmentId>, RepoError> {
        self.list_ids(&layout::INDEX, SegmentId::from_bytes)
    }

    /// Reads a segment.
    pub fn read_segment(&self, id: SegmentId) -> Result<Segment, RepoError> {
        let name = layout::segment(id);
        let opened = crypto::open_free(self.write_keys(), id, &self.get_object(&name, OBJECT_BYTES_MAX)?)?;
        Segment::decode(&opened.plain).map_err(|source| undecodable(&name, source))
    }

    /// Stores a note.
    pub fn put_note(&self, note: &Note) -> Result<NoteId, RepoError> {
        let plain = note.encode();
        within_limits(&plain, || "A new note".to_owned(), Note::decode)?;
        let (id, sealed) = crypto::seal_free::<NoteId>(self.write_keys(), &plain)?;
        self.put_new(&layout::note(id), &sealed)?;
        Ok(id)
    }

    /// The notes that no other note supersedes.
    pub fn notes(&self) -> Result<Vec<(NoteId, Note)>, RepoError> {
        self.notes_but(|_| false)
    }

    /// The same without those that cannot be read.
    pub fn readable_notes(&self) -> Result<Vec<(NoteId, Note)>, RepoError> {
        self.notes_but(is_no_note)
    }

    /// Every note that can be read, superseded ones too.
    pub(super) fn every_readable_note(&self) -> Result<Vec<(NoteId, Note)>, RepoError> {
        self.every_note_but(is_no_note)
    }

    fn notes_but(&self, is_passed_over: impl Fn(&RepoError) -> bool) -> Result<Vec<(NoteId, Note)>, RepoError> {
        let mut notes = self.every_note_but(is_passed_over)?;
        let superseded: HashSet<NoteId> = notes.iter().flat_map(|(_, note)| note.supersedes.iter().copied()).collect();
        notes.retain(|(id, _)| !superseded.contains(id));
        Ok(notes)
    }

    fn every_note_but(&self, is_passed_over: impl Fn(&RepoError) -> bool) -> Result<Vec<(NoteId, Note)>, RepoError> {
        let mut notes = Vec::new();
        for id in self.list_ids(&layout::NOTES, NoteId::from_bytes)? {
            match self.read_note(id) {
                Ok(note) => notes.push((id, note)),
                Err(RepoError::Gone { .. }) => {}
                Err(error) if is_passed_over(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(notes)
    }

    /// Reads one note.
    pub fn read_note(&self, id: NoteId) -> Result<Note, RepoError> {
        let name = layout::note(id);
        let opened = crypto::open_free(self.write_keys(), id, &self.get_object(&name, OBJECT_BYTES_MAX)?)?;
        Note::decode(&opened.plain).map_err(|source| undecodable(&name, source))
    }

    /// Marks packs as damaged, so that the next backup that comes by stores their chunks again. Returns how many were
    /// not marked before.
    pub fn mark_damaged(&self, packs: impl IntoIterator<Item = PackId>, now: Timestamp) -> Result<usize, RepoError> {
        let marked = self.damaged_packs()?;
        let mut new = 0;
        for pack in packs.into_iter().filter(|pack| !marked.contains(pack)) {
            let fact = NoteFact::DamagedPack { pack };
            self.put_note(&Note { supersedes: Vec::new(), written: now, fact })?;
            new += 1;
        }
        Ok(new)
    }

    /// The packs that a note marks damaged. A note that cannot be read marks nothing; `check` names it.
    pub fn damaged_packs(&self) -> Result<HashSet<PackId>, RepoError> {
        Ok(self.damage_notes()?.into_iter().map(|(_, pack)| pack).collect())
    }

    /// The notes that mark a pack damaged.
    pub(super) fn damage_notes(&self) -> Result<Vec<(NoteId, PackId)>, RepoError> {
        let mut found = Vec::new();
        for id in self.list_ids(&layout::NOTES, NoteId::from_bytes)? {
            match self.read_note(id) {
                Ok(Note { fact: NoteFact::DamagedPack { pack }, .. }) => found.push((id, pack)),
                Ok(_) | Err(RepoError::Gone { .. } | RepoError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Exactly `len` bytes of a pack.
    pub(super) fn get_pack_range(&self, pack: PackId, offset: u64, len: usize) -> Result<Vec<u8>, RepoError> {
        Ok(self.store().get_range(&layout::pack(pack), offset, len)?)
    }

    /// What opens the frames of a pack.
    pub(super) fn frame_opener(&self, pack: PackId) -> Result<FrameOpener, RepoError> {
        self.with_parity(pack, |bytes| self.opener_in(pack, bytes))
    }

    /// The same, by the header as it stands in these bytes.
    pub fn opener_in(&self, pack: PackId, bytes: PackBytes<'_>) -> Result<FrameOpener, RepoError> {
        Ok(FrameOpener::new(self.read_keys()?, pack, &bytes.range(0, PACK_HEADER_BYTES)?)?)
    }

    /// A whole pack as it stands in the store.
    pub fn read_pack(&self, id: PackId) -> Result<Vec<u8>, RepoError> {
        self.get_object(&layout::pack(id), PACK_BYTES_MAX)
    }

    /// Reads the directory of a pack of `bytes` bytes from the pack itself, by its trailer.
    pub fn read_directory(&self, id: PackId, bytes: u64) -> Result<Directory, RepoError> {
        self.with_parity(id, |pack| Ok(self.directory_in(id, pack, pack.len().unwrap_or(bytes))?.0))
    }

    /// The directory and the trailer of a pack of `bytes` bytes as they stand there.
    pub fn directory_in(&self, id: PackId, pack: PackBytes<'_>, bytes: u64) -> Result<(Directory, Trailer), RepoError> {
        let name = layout::pack(id);
        let damaged = |reason: String| RepoError::Damaged { object: name.to_string(), reason };
        let least = (PACK_HEADER_BYTES + Trailer::BYTES) as u64;
        if bytes < least || bytes > PACK_BYTES_MAX as u64 {
            return Err(damaged(format!("is damaged: a pack cannot have {bytes} bytes")));
        }
        let start = pack.range(0, PACK_HEADER_BYTES)?;
        let opener = DirectoryOpener::new(self.write_keys(), id, &start)?;
        let trailer = pack.range(bytes - Trailer::BYTES as u64, Trailer::BYTES)?;
        let trailer = Trailer::decode(&trailer, bytes).map_err(|source| undecodable(&name, source))?;
        let mut sealed = pack.range(trailer.directory_offset.into(), trailer.directory_len as usize)?;
        let plain = opener.open(&mut sealed).map_err(|error: OpenError| RepoError::from(error))?;
        let directory = pack::decode_directory(plain).map_err(|source| undecodable(&name, source))?;
        if directory.frames_end() != trailer.directory_offset {
            return Err(damaged("is damaged: its frames do not end where its directory begins".to_owned()));
        }
        Ok((directory, trailer))
    }
}

/// Whether what stands there says nothing to this program.
fn is_no_note(error: &RepoError) -> bool {
    matches!(error, RepoError::Damaged { .. } | RepoError::NewerFormat { .. })
}

/// What is wrong with a small object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectDefect {
    /// Whether it can be read all the same, from its other copy.
    pub is_readable: bool,
    /// What is wrong, in one line.
    pub message: String,
}

impl Repository {
    /// Opens every config, key slot, segment, note, session, condemned object and point, both copies of each, and names
    /// what is wrong. Points that do not open at all are told by [`crate::repo::Catalog::read`].
    pub fn inspect_objects(&self) -> Result<Vec<(String, ObjectDefect)>, RepoError> {
        let mut defects = Vec::new();
        let last_config = config_numbers(self.store())?.last().copied();
        for directory in [
            layout::CONFIG,
            layout::KEYS,
            layout::INDEX,
            layout::NOTES,
            layout::SESSIONS,
            layout::CONDEMNED,
            layout::POINTS,
        ] {
            for listed in self.store().list(&directory)? {
                let stored = match self.get_object(&listed.name, OBJECT_BYTES_MAX) {
                    Err(RepoError::Gone { .. }) => continue,
                    other => other?,
                };
                let damage = match self.inspect(&directory, &listed.name, &stored) {
                    Ok(None) => continue,
                    // Another is in force, and this one can be read if need be.
                    Ok(Some(_)) if directory == layout::CONFIG && layout::parse_config(&listed.name) < last_config => {
                        continue;
                    }
                    Ok(Some(damage)) => ObjectDefect {
                        is_readable: true,
                        message: format!("{}; the object can be read all the same", describe(damage)),
                    },
                    Err(_) if directory == layout::POINTS => continue,
                    Err(message) => ObjectDefect { is_readable: false, message },
                };
                defects.push((listed.name.to_string(), damage));
            }
        }
        Ok(defects)
    }

    /// Opens one object. `Ok(None)`: sound, or a name that no writer of this format makes.
    fn inspect(&self, directory: &StoreDirectory, name: &Name, stored: &[u8]) -> Result<Option<Damage>, String> {
        let keys = self.write_keys();
        if *directory == layout::CONFIG {
            let Some(number) = layout::parse_config(name) else { return Ok(None) };
            return crypto::open_config(keys, number, stored).map(|opened| opened.damage).map_err(|e| e.to_string());
        }
        let Some(id) = layout::parse_id(name, |bytes| bytes) else { return Ok(None) };
        if *directory == layout::KEYS {
            let slot = crypto::Keyslot::parse(KeyslotId::from_bytes(id), stored).map_err(|error| error.to_string())?;
            slot.describe(keys).map_err(|error| error.to_string())?;
            return Ok(slot.damage());
        }
        let opened = if *directory == layout::INDEX {
            crypto::open_free(keys, SegmentId::from_bytes(id), stored).map(|opened| opened.damage)
        } else if *directory == layout::NOTES {
            crypto::open_free(keys, NoteId::from_bytes(id), stored).map(|opened| opened.damage)
        } else if *directory == layout::CONDEMNED {
            crypto::open_free(keys, CondemnedId::from_bytes(id), stored).map(|opened| opened.damage)
        } else if *directory == layout::SESSIONS {
            crypto::open_session(keys, PointId::from_bytes(id), stored).map(|_| None)
        } else {
            let read = self.read_keys().map_err(|error| error.to_string())?;
            crypto::open_point(read, PointId::from_bytes(id), stored).map(|opened| match opened {
                PointOrVoid::Point(opened) | PointOrVoid::Void(opened) => opened.damage,
            })
        };
        opened.map_err(|error| error.to_string())
    }
}

fn describe(damage: Damage) -> &'static str {
    match damage {
        Damage::FirstCopy => "its first copy is damaged",
        Damage::SecondCopy => "its second copy is damaged",
        Damage::Length => "its second copy is cut off or has bytes behind it",
    }
}
