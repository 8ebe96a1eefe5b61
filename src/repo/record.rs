//! The small records beside points and packs: sessions, condemned objects and notes (`format-spec/repository.md`).

use crate::clock::Timestamp;
use crate::codec::{DecodeError, DecodeProblem, Decoder, Encoder};
use crate::id::{ChunkId, ID_BYTES, NoteId, PackId, PointId, RunId, ServerId};
use crate::limits::{NAME_BYTES_MAX, OBJECT_PLAIN_BYTES_MAX};
use crate::source::Source;

/// What a session says about itself: for people, and to suspect a dead one at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// The run it belongs to.
    pub run: RunId,
    /// The host's name.
    pub host: String,
    /// The kernel's boot id, which another boot of the same host does not share.
    pub boot: String,
    /// The process id, meaningful with host and boot.
    pub process: u32,
    /// The process's start time in clock ticks since that boot, for process ids are used again.
    pub process_start: u64,
    /// When the session began, by the writer's clock.
    pub started: Timestamp,
}

impl SessionRecord {
    /// The stored form, before sealing.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.raw(self.run.as_bytes()).text(&self.host).text(&self.boot).u32(self.process);
        out.varint(self.process_start);
        self.started.encode(&mut out);
        out.finish()
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let record = Self {
            run: RunId::from_bytes(from.id("session.run")?),
            host: from.text("session.host", NAME_BYTES_MAX)?.to_owned(),
            boot: from.text("session.boot", NAME_BYTES_MAX)?.to_owned(),
            process: from.u32("session.process")?,
            process_start: from.varint("session.process_start", u64::MAX)?,
            started: Timestamp::decode(&mut from, "session.started")?,
        };
        from.finish("session")?;
        Ok(record)
    }
}

/// The packs that a condemned object names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condemned {
    /// Packs that are to be deleted.
    pub packs: Vec<PackId>,
}

impl Condemned {
    /// The stored form, before sealing.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.size(self.packs.len());
        for pack in &self.packs {
            out.raw(pack.as_bytes());
        }
        out.finish()
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let count = from.count("condemned.packs", OBJECT_PLAIN_BYTES_MAX, ID_BYTES)?;
        let packs = (0..count).map(|_| from.id("condemned.pack").map(PackId::from_bytes)).collect::<Result<_, _>>()?;
        from.finish("condemned")?;
        Ok(Self { packs })
    }
}

/// A small immutable fact learnt later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The notes about the same thing that the writer had seen; only notes that no other names count.
    pub supersedes: Vec<NoteId>,
    /// When it was written, by the writer's clock; for people.
    pub written: Timestamp,
    /// The fact.
    pub fact: Fact,
}

/// What a note says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A server's name, identity and certificate fingerprint in this repository.
    Server {
        /// The name chosen at the first backup.
        name: String,
        /// Its identity in the repository.
        id: ServerId,
        /// Fingerprint of its certificate, in the daemon's form.
        fingerprint: String,
    },
    /// How a run ended.
    Run(RunRecord),
    /// A pack whose bytes are not what they should be; its chunks do not count as known.
    DamagedPack {
        /// The pack.
        pack: PackId,
    },
    /// Whether a source is retired: it was decommissioned, and its points are history.
    Retired {
        /// The source.
        source: Source,
        /// Whether it is.
        retired: bool,
    },
    /// Points that count as those of another source, for theirs got another name.
    Renamed {
        /// The source they were made of.
        from: Source,
        /// The source whose history they are now.
        to: Source,
        /// The points.
        points: Vec<PointId>,
    },
    /// Whether a point has a tag.
    Tagged {
        /// The point.
        point: PointId,
        /// The tag.
        tag: String,
        /// Whether it has it.
        tagged: bool,
    },
    /// Whether a point is pinned: no policy drops it, and nobody by its name.
    Pinned {
        /// The point.
        point: PointId,
        /// Whether it is.
        pinned: bool,
    },
    /// Packs that were read in full and found sound, with when that was last.
    Read {
        /// By moment, the earliest first.
        rounds: Vec<(Timestamp, Vec<PackId>)>,
    },
    /// What a check could not find of a point.
    Lacks {
        /// The point.
        point: PointId,
        /// Chunks of it that are lost, as far as they are known; 0 if it lacks nothing any more.
        chunks: u64,
    },
    /// Pieces of recipes that cannot be read. Somebody decided to go on without what only they name.
    GivenUp {
        /// Chunks of tables, and whole parts.
        pieces: Vec<ChunkId>,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// The run.
    pub run: RunId,
    /// The server's name in the repository; empty for an import.
    pub server: String,
    /// Whether it was about everything that the server has, and could look everywhere.
    pub whole: bool,
    /// When it began.
    pub started: Timestamp,
    /// Sources of which it made a point.
    pub succeeded: u64,
    /// Sources of which it made none, with the reason.
    pub failed: Vec<(Source, String)>,
    /// Sources that it found and was told to leave out.
    pub left_out: Vec<Source>,
}

impl RunRecord {
    fn encode(&self, out: &mut Encoder) {
        out.raw(self.run.as_bytes()).text(&self.server).u8(u8::from(self.whole));
        self.started.encode(out);
        out.varint(self.succeeded).size(self.failed.len());
        for (source, reason) in &self.failed {
            source.encode(out);
            out.text_prefix(reason, REASON_BYTES_MAX);
        }
        out.size(self.left_out.len());
        for source in &self.left_out {
            source.encode(out);
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let run = RunId::from_bytes(from.id("note.run")?);
        let server = from.text("note.server", NAME_BYTES_MAX)?.to_owned();
        let whole = flag(from, "note.whole")?;
        let started = Timestamp::decode(from, "note.started")?;
        let succeeded = from.varint("note.succeeded", u64::MAX)?;
        let mut failed = Vec::new();
        for _ in 0..from.count("note.failed", SOURCES_MAX, Source::ENCODED_BYTES_MIN + 1)? {
            let source = Source::decode(from)?;
            failed.push((source, from.text("note.reason", REASON_BYTES_MAX)?.to_owned()));
        }
        let count = from.count("note.left_out", SOURCES_MAX, Source::ENCODED_BYTES_MIN)?;
        let left_out = (0..count).map(|_| Source::decode(from)).collect::<Result<_, _>>()?;
        Ok(Self { run, server, whole, started, succeeded, failed, left_out })
    }
}

/// Moments, each with packs.
fn rounds(from: &mut Decoder<'_>) -> Result<Vec<(Timestamp, Vec<PackId>)>, DecodeError> {
    let count = from.count("note.rounds", OBJECT_PLAIN_BYTES_MAX, 2)?;
    let mut rounds = Vec::with_capacity(count);
    for _ in 0..count {
        let when = Timestamp::decode(from, "note.when")?;
        let packs = from.count("note.packs", OBJECT_PLAIN_BYTES_MAX, ID_BYTES)?;
        let packs = (0..packs).map(|_| from.id("note.pack").map(PackId::from_bytes)).collect::<Result<_, _>>()?;
        rounds.push((when, packs));
    }
    Ok(rounds)
}

/// A byte that is 0 or 1.
fn flag(from: &mut Decoder<'_>, field: &'static str) -> Result<bool, DecodeError> {
    let before = from.clone();
    match from.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(before.error(field, DecodeProblem::NotCanonical)),
    }
}

/// The most sources that one list of a note names.
const SOURCES_MAX: usize = 1 << 20;
/// The most points that one note gives to another source.
pub const RENAMED_POINTS_MAX: usize = 1 << 14;
/// The longest reason that a note keeps, in bytes.
pub const REASON_BYTES_MAX: usize = 4096;

impl Note {
    /// The stored form, before sealing.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.size(self.supersedes.len());
        for note in &self.supersedes {
            out.raw(note.as_bytes());
        }
        self.written.encode(&mut out);
        match &self.fact {
            Fact::Server { name, id, fingerprint } => {
                out.u8(1).text(name).raw(id.as_bytes()).text(fingerprint);
            }
            Fact::Run(record) => {
                out.u8(2);
                record.encode(&mut out);
            }
            Fact::DamagedPack { pack } => {
                out.u8(3).raw(pack.as_bytes());
            }
            Fact::Retired { source, retired } => {
                out.u8(4);
                source.encode(&mut out);
                out.u8(u8::from(*retired));
            }
            Fact::Renamed { from, to, points } => {
                out.u8(5);
                from.encode(&mut out);
                to.encode(&mut out);
                out.size(points.len());
                for point in points {
                    out.raw(point.as_bytes());
                }
            }
            Fact::Tagged { point, tag, tagged } => {
                out.u8(6).raw(point.as_bytes()).text(tag).u8(u8::from(*tagged));
            }
            Fact::Read { rounds } => {
                out.u8(8).size(rounds.len());
                for (when, packs) in rounds {
                    when.encode(&mut out);
                    out.size(packs.len());
                    for pack in packs {
                        out.raw(pack.as_bytes());
                    }
                }
            }
            Fact::Lacks { point, chunks } => {
                out.u8(9).raw(point.as_bytes()).varint(*chunks);
            }
            Fact::GivenUp { pieces } => {
                out.u8(10).size(pieces.len());
                for piece in pieces {
                    out.raw(piece.as_bytes());
                }
            }
            Fact::Pinned { point, pinned } => {
                out.u8(7).raw(point.as_bytes()).u8(u8::from(*pinned));
            }
        }
        out.finish()
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let count = from.count("note.supersedes", OBJECT_PLAIN_BYTES_MAX, ID_BYTES)?;
        let supersedes =
            (0..count).map(|_| from.id("note.superseded").map(NoteId::from_bytes)).collect::<Result<_, _>>()?;
        let written = Timestamp::decode(&mut from, "note.written")?;
        let before = from.clone();
        let fact = match from.u8("note.kind")? {
            1 => Fact::Server {
                name: from.text("note.server", NAME_BYTES_MAX)?.to_owned(),
                id: ServerId::from_bytes(from.id("note.server_id")?),
                fingerprint: from.text("note.fingerprint", NAME_BYTES_MAX)?.to_owned(),
            },
            2 => Fact::Run(RunRecord::decode(&mut from)?),
            3 => Fact::DamagedPack { pack: PackId::from_bytes(from.id("note.pack")?) },
            4 => Fact::Retired { source: Source::decode(&mut from)?, retired: flag(&mut from, "note.retired")? },
            5 => Fact::Renamed {
                from: Source::decode(&mut from)?,
                to: Source::decode(&mut from)?,
                points: {
                    let count = from.count("note.points", RENAMED_POINTS_MAX, ID_BYTES)?;
                    let point = |_| from.id("note.point").map(PointId::from_bytes);
                    (0..count).map(point).collect::<Result<_, _>>()?
                },
            },
            6 => Fact::Tagged {
                point: PointId::from_bytes(from.id("note.point")?),
                tag: from.text("note.tag", NAME_BYTES_MAX)?.to_owned(),
                tagged: flag(&mut from, "note.tagged")?,
            },
            7 => Fact::Pinned {
                point: PointId::from_bytes(from.id("note.point")?),
                pinned: flag(&mut from, "note.pinned")?,
            },
            8 => Fact::Read { rounds: rounds(&mut from)? },
            9 => Fact::Lacks {
                point: PointId::from_bytes(from.id("note.point")?),
                chunks: from.varint("note.chunks", u64::MAX)?,
            },
            10 => Fact::GivenUp {
                pieces: {
                    let count = from.count("note.pieces", OBJECT_PLAIN_BYTES_MAX, ID_BYTES)?;
                    let piece = |_| from.id("note.piece").map(ChunkId::from_bytes);
                    (0..count).map(piece).collect::<Result<_, _>>()?
                },
            },
            _ => return Err(before.error("note.kind", DecodeProblem::Unknown)),
        };
        from.finish("note")?;
        Ok(Self { supersedes, written, fact })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros).unwrap()
    }

    fn notes() -> Vec<Note> {
        let server = Fact::Server { name: "host".into(), id: ServerId::from_bytes([1; 32]), fingerprint: "ab".into() };
        let web1 = Source::instance("host", "lab", "web1");
        let run = Fact::Run(run(vec![(web1.clone(), "It vanished".to_owned())]));
        let damaged = Fact::DamagedPack { pack: PackId::from_bytes([3; 32]) };
        let retired = Fact::Retired { source: web1.clone(), retired: true };
        let to = Source::instance("host", "lab", "web2");
        let renamed = Fact::Renamed { from: web1, to, points: vec![PointId::from_bytes([7; 32]); 2] };
        let tagged = Fact::Tagged { point: PointId::from_bytes([8; 32]), tag: "before 2.0".into(), tagged: true };
        let pinned = Fact::Pinned { point: PointId::from_bytes([8; 32]), pinned: false };
        let supersedes = vec![NoteId::from_bytes([4; 32])];
        let read = Fact::Read { rounds: vec![(time(4), vec![PackId::from_bytes([3; 32])])] };
        let lacks = Fact::Lacks { point: PointId::from_bytes([8; 32]), chunks: 300 };
        let given_up = Fact::GivenUp { pieces: vec![ChunkId::from_bytes([9; 32]); 2] };
        [server, run, damaged, retired, renamed, tagged, pinned, read, lacks, given_up]
            .map(|fact| Note { supersedes: supersedes.clone(), written: time(9), fact })
            .to_vec()
    }

    fn run(failed: Vec<(Source, String)>) -> RunRecord {
        let left_out = vec![Source::volume("host", "lab", "default", "data")];
        let (run, server) = (RunId::from_bytes([2; 32]), "host".to_owned());
        RunRecord { run, server, whole: true, started: time(1), succeeded: 3, failed, left_out }
    }

    #[test]
    fn records_round_trip_and_are_refused_when_cut() {
        for note in notes() {
            let bytes = note.encode();
            assert_eq!(Note::decode(&bytes), Ok(note));
            assert!((0..bytes.len()).all(|len| Note::decode(&bytes[..len]).is_err()));
        }
        let session = SessionRecord {
            run: RunId::from_bytes([5; 32]),
            host: "a".into(),
            boot: "b".into(),
            process: 1,
            process_start: 2,
            started: time(3),
        };
        assert_eq!(SessionRecord::decode(&session.encode()), Ok(session));
        let condemned = Condemned { packs: vec![PackId::from_bytes([6; 32]); 3] };
        assert_eq!(Condemned::decode(&condemned.encode()), Ok(condemned));
    }

    #[test]
    fn a_long_reason_is_kept_in_part() {
        let failed = vec![(Source::file("x"), "ä".repeat(REASON_BYTES_MAX))];
        let fact = Fact::Run(run(failed));
        let note = Note::decode(&Note { supersedes: vec![], written: time(1), fact }.encode()).unwrap();
        let Fact::Run(RunRecord { failed, .. }) = note.fact else { panic!("another fact") };
        assert_eq!(failed[0].1.len(), REASON_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn no_input_makes_a_decoder_panic(input: Vec<u8>) {
            let _ = Note::decode(&input).is_ok();
            let _ = SessionRecord::decode(&input).is_ok();
            let _ = Condemned::decode(&input).is_ok();
        }
    }
}
