//! Everything that is stored in an encoding of our own: what decodes is encoded to the same bytes.

use holdall::codec::{Decoder, Encoder};
use holdall::compress::{Level, compress, decompress};
use holdall::id::ChunkId;
use holdall::limits::{CHUNK_BYTES_MAX, PART_BYTES_MAX, PART_PATH_BYTES_MAX};
use holdall::pack::{Directory, Segment, decode_directory};
use holdall::point::Point;
use holdall::recipe::{ChunkRef, Part, PartBuilder, RecipeHasher, Step, TableRow};
use holdall::repo::{Condemned, Config, Note, SessionRecord, decode_point_body, encode_point_body};
use holdall::source::Source;

use super::choice;

fn check_directory(directory: &Directory) {
    assert_eq!(directory.locations().count(), directory.chunk_count());
    let end = directory.frames_with_offsets().last().map(|(_, offset, frame)| offset + frame.sealed_len);
    assert_eq!(end.unwrap_or(directory.frames_offset), directory.frames_end());
    for (_, at) in directory.locations() {
        assert!(at.offset + at.len <= at.frame_plain_len);
        assert!(at.frame_offset + at.frame_sealed_len <= directory.frames_end());
    }
}

/// Pack directories, alone and in a segment.
pub fn directory(data: &[u8]) {
    let (chosen, data) = choice(data);
    if chosen & 1 == 0 {
        if let Ok(directory) = decode_directory(data) {
            let mut out = Encoder::new();
            directory.encode(&mut out);
            let mut again = out.finish();
            again.resize(data.len().max(again.len()), 0);
            assert!(again == data, "a directory has two forms");
            check_directory(&directory);
        }
    } else if let Ok(segment) = Segment::decode(data) {
        assert!(segment.encode() == data, "a segment has two forms");
        segment.packs.iter().for_each(|pack| check_directory(&pack.directory));
    }
}

/// Parts of a recipe and rows of its table; and that what the builder makes is read again.
pub fn recipe(data: &[u8]) {
    let (chosen, data) = choice(data);
    match chosen % 3 {
        0 => {
            if let Ok(part) = Part::decode(data) {
                assert!(part.encode() == data, "a part has two forms");
                assert!(part.lead <= part.stream_len() && part.envelope_len() <= part.stream_len());
            }
        }
        1 => {
            let mut from = Decoder::new(data);
            let mut out = Encoder::new();
            let mut read = 0;
            while let Ok(row) = TableRow::decode(&mut from) {
                read = from.offset();
                row.encode(&mut out);
            }
            assert!(out.finish() == data[..read], "a row has two forms");
        }
        _ => build(data),
    }
}

/// Lets each byte be a step of a stream, of a length that the next byte says.
fn build(data: &[u8]) {
    let mut builder = PartBuilder::new();
    let (mut hasher, mut stream_len, mut parts_len) = (RecipeHasher::new(), 0_u64, 0_u64);
    let mut envelope = 0;
    let mut finish = |builder: &mut PartBuilder, envelope: &mut u32| {
        if *envelope > 0 {
            builder.envelope_chunk(ChunkRef { id: ChunkId::from_bytes([3; 32]), len: std::mem::take(envelope) });
        }
        let (part, path) = builder.finish();
        let bytes = part.encode();
        assert!(bytes.len() <= PART_BYTES_MAX && path.len() <= PART_PATH_BYTES_MAX);
        assert_eq!(Part::decode(&bytes), Ok(part.clone()), "the builder makes what no decoder takes");
        parts_len += part.stream_len();
    };
    for pair in data.as_chunks::<2>().0 {
        let [kind, len] = *pair;
        let number = u32::from(kind) << 8 | u32::from(len);
        let step = match kind % 8 {
            0 | 1 => {
                if builder.boundary() {
                    finish(&mut builder, &mut envelope);
                    builder.boundary();
                }
                continue;
            }
            2 => {
                builder.member(&vec![kind; usize::from(len) * 40]);
                continue;
            }
            3 | 4 => {
                let bytes = vec![kind; usize::from(len) * 10 + 1];
                builder.envelope(&bytes);
                hasher.envelope(&bytes);
                envelope += u32::try_from(bytes.len()).expect("it is short");
                Step::Envelope(bytes.len() as u64)
            }
            5 => {
                builder.zeros(number.into());
                hasher.zeros(number.into());
                Step::Zeros(number.into())
            }
            _ => {
                let id = ChunkId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes());
                let chunk =
                    ChunkRef { id, len: (number * 64).clamp(1, u32::try_from(CHUNK_BYTES_MAX).expect("it fits")) };
                builder.chunk(chunk);
                hasher.chunk(chunk);
                Step::Chunk(chunk)
            }
        };
        stream_len += step.len();
        if builder.inside() {
            finish(&mut builder, &mut envelope);
        }
    }
    if !builder.is_empty() {
        finish(&mut builder, &mut envelope);
    }
    assert_eq!(parts_len, stream_len);
    let _ = hasher.finish();
}

/// Points and sources.
pub fn point(data: &[u8]) {
    let (chosen, data) = choice(data);
    if chosen & 1 == 0 {
        let name = "points/x".parse().expect("it is a name");
        if let Ok(point) = Point::decode(data) {
            assert!(point.encode() == data, "a point has two forms");
            let _ = (point.source.to_string(), point.started.to_string());
            let body = encode_point_body(&point).expect("what was decoded is within the limits");
            assert!(decode_point_body(&name, &body).is_ok_and(|again| again == point), "its body is another point");
        }
        if let Ok(point) = decode_point_body(&name, data) {
            assert!(Point::decode(&point.encode()) == Ok(point), "a body holds a point that cannot be stored");
        }
    } else {
        let mut from = Decoder::new(data);
        if let Ok(source) = Source::decode(&mut from) {
            let mut out = Encoder::new();
            source.encode(&mut out);
            assert!(out.finish() == data[..from.offset()], "a source has two forms");
            assert!(source.selector().matches(&source), "a source is not what its selector means");
        }
    }
}

/// The small records.
pub fn record(data: &[u8]) {
    let (chosen, data) = choice(data);
    let again = match chosen % 4 {
        0 => Config::decode(data).map(|config| config.encode()),
        1 => SessionRecord::decode(data).map(|session| session.encode()),
        2 => Condemned::decode(data).map(|condemned| condemned.encode()),
        _ => Note::decode(data).map(|note| note.encode()),
    };
    assert!(again.is_err() || again == Ok(data.to_vec()), "a record has two forms");
}

/// Frames: as they may come from a pack, with a length from a directory, and there and back.
pub fn frame(data: &[u8]) {
    const MAX: usize = 1 << 20;
    let (chosen, data) = choice(data);
    let (high, frame) = choice(data);
    let expected = usize::from(chosen) << 8 | usize::from(high);
    if let Ok(plain) = decompress(frame, expected, MAX) {
        assert_eq!(plain.len(), expected);
    }
    assert!(decompress(frame, MAX + expected + 1, MAX).is_err());
    let level = Level::new(chosen % 19 + 1).expect("from 1 to 19");
    let packed = compress(frame.to_vec(), level).expect("there is memory");
    assert!(packed.len() <= frame.len() + 1);
    assert!(decompress(&packed, frame.len(), MAX).is_ok_and(|plain| plain == frame), "a frame came back otherwise");
}
