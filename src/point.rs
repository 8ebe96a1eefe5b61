//! One restore point: what one source held at one time, and how to rebuild it (`format-spec/point.md`).
//!
//! A point is final from its first moment. A void under the same name says that the attempt is over. This room knows no
//! keys and no store.

use crate::clock::Timestamp;
use crate::codec::{DecodeError, DecodeProblem, Decoder, Encoder};
use crate::id::{ID_BYTES, PackId, RunId, ServerId};
use crate::limits::{DESCRIPTION_BYTES_MAX, NAME_BYTES_MAX, POINT_PACKS_MAX, POINT_TABLE_CHUNKS_MAX, STREAM_BYTES_MAX};
use crate::recipe::ChunkRef;
use crate::source::Source;

/// What the object under a point's name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The attempt succeeded.
    Point(Box<Point>),
    /// The attempt is over without a point.
    Void,
}

/// How consistent the data of a point is (`format-spec/point.md`, "Consistency").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// The instance did not run while it was exported.
    Stopped,
    /// The stream was made from a snapshot of the daemon's.
    Snapshot,
    /// The driver took a snapshot of the running instance: what a power cut would have left.
    CrashConsistent,
    /// The instance ran and its files were read one after the other.
    Fuzzy,
    /// Nobody knows: an imported stream.
    Unknown,
}

impl Consistency {
    /// The word for people and for JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Snapshot => "snapshot",
            Self::CrashConsistent => "crash-consistent",
            Self::Fuzzy => "fuzzy",
            Self::Unknown => "unknown",
        }
    }
}

/// What the stored stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamForm {
    /// A complete export of a daemon, ready for its import.
    Export {
        /// Made of the storage driver's own streams; restores to a pool of the same driver only.
        optimized: bool,
    },
    /// Bytes as they were given; no daemon is known to accept them.
    File,
    /// A disc image: the bytes of a volume of content type `iso`, and nothing around them.
    Disc,
    /// An image in one file.
    Image,
    /// An image in several files: a multipart body, as the daemon sent it.
    SplitImage,
}

impl StreamForm {
    /// Whether it is an archive of members, so that some of them can be left out.
    pub fn is_archive(self) -> bool {
        matches!(self, Self::Export { .. })
    }
}

/// How a stream arrived that is stored in another form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// The compressor's name: `gzip`, `zstd` or `xz`.
    pub codec: String,
    /// Length as it arrived, in bytes.
    pub len: u64,
    /// BLAKE3 of the bytes as they arrived.
    pub digest: [u8; 32],
}

/// The server that a source belongs to, as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerRecord {
    /// Its identity in the repository.
    pub id: ServerId,
    /// `lxd` or `incus`.
    pub flavor: String,
    /// The daemon's version text.
    pub version: String,
    /// Fingerprint of its certificate, in the daemon's form.
    pub fingerprint: String,
}

/// The stream and how to rebuild it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Length of the stream in bytes.
    pub stream_len: u64,
    /// XXH3-128 of the stream, against mistakes of our own.
    pub stream_xxh3: u128,
    /// Digest of the canonical recipe.
    pub recipe_digest: [u8; 32],
    /// The chunks that make up the table of parts.
    pub table: Vec<ChunkRef>,
    /// The packs that hold every chunk of the stream, its recipe and its table; ascending, each once.
    pub packs: Vec<PackId>,
}

/// What making the point cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Members of the archive; 0 where the stream is none.
    pub members: u64,
    /// Payload chunks that the stream refers to.
    pub chunks: u64,
    /// Payload chunks that were new.
    pub new_chunks: u64,
    /// Plain bytes of payload, envelope and recipe that were new.
    pub new_bytes: u64,
    /// Bytes that were added to packs for this point.
    pub stored_bytes: u64,
}

/// One restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// The run that made it.
    pub run: RunId,
    /// What it is a point of.
    pub source: Source,
    /// The server, where the source belongs to one.
    pub server: Option<ServerRecord>,
    /// The host that ran the backup.
    pub host: String,
    /// When reading began: what the point shows is of this time.
    pub started: Timestamp,
    /// When reading ended.
    pub ended: Timestamp,
    /// What the stream is.
    pub form: StreamForm,
    /// How it arrived, if otherwise.
    pub original: Option<Original>,
    /// How consistent it is.
    pub consistency: Consistency,
    /// What changed on the server while it was read, in words; empty mostly.
    pub remarks: Vec<String>,
    /// The other members of its set: the volumes that are attached to an instance, the instances that a volume is
    /// attached to. The same run was to save them, too.
    pub set: Vec<Source>,
    /// The daemon's own description of the source as JSON, snapshots with their expiries included; may be empty.
    pub description: String,
    /// The stream.
    pub content: Content,
    /// What it cost.
    pub statistics: Statistics,
}

/// The most remarks that a point keeps.
pub const REMARKS_MAX: usize = 1000;
/// The most other members of a set that a point names.
pub const SET_MAX: usize = 1000;

impl Point {
    /// The stored form, before compression and sealing.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        self.encode_into(&mut out);
        out.finish()
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let point = Self::decode_from(&mut from)?;
        from.finish("point")?;
        Ok(point)
    }

    fn encode_into(&self, out: &mut Encoder) {
        out.raw(self.run.as_bytes());
        self.source.encode(out);
        out.option(self.server.as_ref(), |out, server| {
            out.raw(server.id.as_bytes()).text(&server.flavor).text(&server.version).text(&server.fingerprint);
        });
        out.text(&self.host);
        self.started.encode(out);
        self.ended.encode(out);
        out.u8(match self.form {
            StreamForm::Export { optimized: false } => 1,
            StreamForm::Export { optimized: true } => 2,
            StreamForm::File => 3,
            StreamForm::Disc => 4,
            StreamForm::Image => 5,
            StreamForm::SplitImage => 6,
        });
        out.option(self.original.as_ref(), |out, original| {
            out.text(&original.codec).varint(original.len).raw(&original.digest);
        });
        out.u8(match self.consistency {
            Consistency::Unknown => 0,
            Consistency::Stopped => 1,
            Consistency::Snapshot => 2,
            Consistency::CrashConsistent => 3,
            Consistency::Fuzzy => 4,
        });
        out.size(self.remarks.len());
        for remark in &self.remarks {
            out.text(remark);
        }
        out.size(self.set.len());
        for member in &self.set {
            member.encode(out);
        }
        out.text(&self.description);
        self.content.encode(out);
        let numbers = &self.statistics;
        for number in [numbers.members, numbers.chunks, numbers.new_chunks, numbers.new_bytes, numbers.stored_bytes] {
            out.varint(number);
        }
    }

    fn decode_from(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let text = |from: &mut Decoder<'_>, field| from.text(field, NAME_BYTES_MAX).map(str::to_owned);
        Ok(Self {
            run: RunId::from_bytes(from.id("point.run")?),
            source: Source::decode(from)?,
            server: from.option("point.server", |from| {
                Ok(ServerRecord {
                    id: ServerId::from_bytes(from.id("server.id")?),
                    flavor: text(from, "server.flavor")?,
                    version: text(from, "server.version")?,
                    fingerprint: text(from, "server.fingerprint")?,
                })
            })?,
            host: text(from, "point.host")?,
            started: Timestamp::decode(from, "point.started")?,
            ended: Timestamp::decode(from, "point.ended")?,
            form: decode_form(from)?,
            original: from.option("point.original", |from| {
                Ok(Original {
                    codec: text(from, "original.codec")?,
                    len: from.varint("original.len", STREAM_BYTES_MAX)?,
                    digest: from.array("original.digest")?,
                })
            })?,
            consistency: decode_consistency(from)?,
            remarks: {
                let count = from.count("point.remarks", REMARKS_MAX, 1)?;
                (0..count).map(|_| text(from, "point.remark")).collect::<Result<_, _>>()?
            },
            set: {
                let count = from.count("point.set", SET_MAX, Source::ENCODED_BYTES_MIN)?;
                (0..count).map(|_| Source::decode(from)).collect::<Result<_, _>>()?
            },
            description: from.text("point.description", DESCRIPTION_BYTES_MAX)?.to_owned(),
            content: Content::decode(from)?,
            statistics: Statistics {
                members: from.varint("statistics.members", u64::MAX)?,
                chunks: from.varint("statistics.chunks", u64::MAX)?,
                new_chunks: from.varint("statistics.new_chunks", u64::MAX)?,
                new_bytes: from.varint("statistics.new_bytes", u64::MAX)?,
                stored_bytes: from.varint("statistics.stored_bytes", u64::MAX)?,
            },
        })
    }
}

impl Content {
    fn encode(&self, out: &mut Encoder) {
        out.varint(self.stream_len).raw(&self.stream_xxh3.to_le_bytes()).raw(&self.recipe_digest);
        out.size(self.table.len());
        for chunk in &self.table {
            chunk.encode(out);
        }
        out.size(self.packs.len());
        for pack in &self.packs {
            out.raw(pack.as_bytes());
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            stream_len: from.varint("content.stream_len", STREAM_BYTES_MAX)?,
            stream_xxh3: u128::from_le_bytes(from.array("content.stream_xxh3")?),
            recipe_digest: from.array("content.recipe_digest")?,
            table: {
                let count = from.count("content.table", POINT_TABLE_CHUNKS_MAX, ChunkRef::ENCODED_BYTES_MIN)?;
                (0..count).map(|_| ChunkRef::decode(from)).collect::<Result<_, _>>()?
            },
            packs: {
                let count = from.count("content.packs", POINT_PACKS_MAX, ID_BYTES)?;
                let before = from.clone();
                let packs: Vec<PackId> =
                    (0..count).map(|_| from.id("content.pack").map(PackId::from_bytes)).collect::<Result<_, _>>()?;
                if !packs.is_sorted_by(|one, next| one < next) {
                    return Err(before.error("content.packs", DecodeProblem::NotCanonical));
                }
                packs
            },
        })
    }
}

fn decode_form(from: &mut Decoder<'_>) -> Result<StreamForm, DecodeError> {
    let before = from.clone();
    match from.u8("point.form")? {
        1 => Ok(StreamForm::Export { optimized: false }),
        2 => Ok(StreamForm::Export { optimized: true }),
        3 => Ok(StreamForm::File),
        4 => Ok(StreamForm::Disc),
        5 => Ok(StreamForm::Image),
        6 => Ok(StreamForm::SplitImage),
        _ => Err(before.error("point.form", DecodeProblem::Unknown)),
    }
}

fn decode_consistency(from: &mut Decoder<'_>) -> Result<Consistency, DecodeError> {
    let before = from.clone();
    match from.u8("point.consistency")? {
        0 => Ok(Consistency::Unknown),
        1 => Ok(Consistency::Stopped),
        2 => Ok(Consistency::Snapshot),
        3 => Ok(Consistency::CrashConsistent),
        4 => Ok(Consistency::Fuzzy),
        _ => Err(before.error("point.consistency", DecodeProblem::Unknown)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ChunkId;
    use proptest::prelude::*;

    fn example() -> Point {
        Point {
            run: RunId::from_bytes([1; 32]),
            source: Source::instance("host", "lab", "web1"),
            server: Some(ServerRecord {
                id: ServerId::from_bytes([2; 32]),
                flavor: "lxd".into(),
                version: "5.0.2".into(),
                fingerprint: "ab".into(),
            }),
            host: "backup-host".into(),
            started: Timestamp::from_micros(5).unwrap(),
            ended: Timestamp::from_micros(6).unwrap(),
            form: StreamForm::Export { optimized: false },
            original: Some(Original { codec: "gzip".into(), len: 9, digest: [3; 32] }),
            consistency: Consistency::CrashConsistent,
            remarks: vec!["A snapshot appeared".into()],
            set: vec![Source::volume("host", "lab", "default", "data")],
            description: "{}".into(),
            content: Content {
                stream_len: 1 << 40,
                stream_xxh3: 7,
                recipe_digest: [4; 32],
                table: vec![ChunkRef { id: ChunkId::from_bytes([5; 32]), len: 100 }],
                packs: vec![PackId::from_bytes([6; 32]), PackId::from_bytes([7; 32])],
            },
            statistics: Statistics { members: 1, chunks: 2, new_chunks: 3, new_bytes: 4, stored_bytes: 5 },
        }
    }

    #[test]
    fn points_round_trip() {
        assert_eq!(Point::decode(&example().encode()), Ok(example()));
    }

    #[test]
    fn a_cut_or_longer_point_is_refused() {
        let mut bytes = example().encode();
        for len in 0..bytes.len() {
            assert!(Point::decode(&bytes[..len]).is_err(), "{len}");
        }
        bytes.push(0);
        assert!(Point::decode(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn no_input_makes_the_decoder_panic(mut input: Vec<u8>, at: proptest::sample::Index, byte: u8) {
            let _ = Point::decode(&input).is_ok();
            input = example().encode();
            let at = at.index(input.len());
            input[at] = byte;
            let _ = Point::decode(&input).is_ok();
        }
    }
}
