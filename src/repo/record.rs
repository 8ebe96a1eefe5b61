//! The small records beside points and packs: sessions, condemned objects and notes (`format-spec/repository.md`).

use crate::clock::Timestamp;
use crate::codec::{DecodeError, DecodeProblem, Decoder, Encoder};
use crate::id::{ID_BYTES, NoteId, PackId, RunId, ServerId};
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
    Run {
        /// The run.
        run: RunId,
        /// When it began.
        started: Timestamp,
        /// Sources of which it made a point.
        succeeded: u64,
        /// Sources of which it made none, with the reason.
        failed: Vec<(Source, String)>,
    },
    /// A pack whose bytes are not what they should be; its chunks do not count as known.
    DamagedPack {
        /// The pack.
        pack: PackId,
    },
}

/// The most failed sources that one note names.
const FAILED_MAX: usize = 1 << 20;
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
            Fact::Run { run, started, succeeded, failed } => {
                out.u8(2).raw(run.as_bytes());
                started.encode(&mut out);
                out.varint(*succeeded).size(failed.len());
                for (source, reason) in failed {
                    source.encode(&mut out);
                    out.text_prefix(reason, REASON_BYTES_MAX);
                }
            }
            Fact::DamagedPack { pack } => {
                out.u8(3).raw(pack.as_bytes());
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
            2 => Fact::Run {
                run: RunId::from_bytes(from.id("note.run")?),
                started: Timestamp::decode(&mut from, "note.started")?,
                succeeded: from.varint("note.succeeded", u64::MAX)?,
                failed: {
                    let count = from.count("note.failed", FAILED_MAX, 3)?;
                    let mut failed = Vec::with_capacity(count);
                    for _ in 0..count {
                        let source = Source::decode(&mut from)?;
                        failed.push((source, from.text("note.reason", REASON_BYTES_MAX)?.to_owned()));
                    }
                    failed
                },
            },
            3 => Fact::DamagedPack { pack: PackId::from_bytes(from.id("note.pack")?) },
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
        let failed = vec![(Source::instance("host", "lab", "web1"), "It vanished".to_owned())];
        let run = Fact::Run { run: RunId::from_bytes([2; 32]), started: time(1), succeeded: 3, failed };
        let damaged = Fact::DamagedPack { pack: PackId::from_bytes([3; 32]) };
        let supersedes = vec![NoteId::from_bytes([4; 32])];
        [server, run, damaged].map(|fact| Note { supersedes: supersedes.clone(), written: time(9), fact }).to_vec()
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
        let fact = Fact::Run { run: RunId::from_bytes([2; 32]), started: time(1), succeeded: 0, failed };
        let note = Note::decode(&Note { supersedes: vec![], written: time(1), fact }.encode()).unwrap();
        let Fact::Run { failed, .. } = note.fact else { panic!("another fact") };
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
