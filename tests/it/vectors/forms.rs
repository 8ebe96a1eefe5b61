//! Vectors of everything that is plain bytes: codec, recipe, point, segment and records.

use holdall::chunk::ChunkParams;
use holdall::clock::Timestamp;
use holdall::codec::DecodeProblem::{NotCanonical, NotText, TooLarge, Trailing, Truncated, Unknown};
use holdall::codec::{DecodeError, Decoder, Encoder};
use holdall::compress::Level;
use holdall::id::{ChunkId, NoteId, PackId, PointId, RunId, ServerId};
use holdall::pack::{Directory, Frame, PackKind, PackedChunk, Segment, SegmentPack};
use holdall::point::{Consistency, Content, Original, Point, ServerRecord, Statistics, StreamForm};
use holdall::recipe::{ChunkRef, Part, RecipeHasher, Step, TableRow};
use holdall::repo::{
    Condemned, Config, Note, NoteFact, Parity, RunRecord, SessionRecord, decode_point_body, encode_point_body,
};
use holdall::source::{Source, SourceKind};
use serde_json::{Value, json};

use super::{bad, bytes, cases, check, each, good, hex, read, values};

pub fn files() -> Vec<(&'static str, Value)> {
    vec![
        ("codec/varints.json", varints()),
        ("codec/fields.json", fields()),
        ("point/sources.json", sources()),
        ("point/points.json", points()),
        ("point/bodies.json", bodies()),
        ("recipe/parts.json", parts()),
        ("recipe/rows.json", rows()),
        ("recipe/digests.json", digests()),
        ("segment/segments.json", segments()),
        ("record/configs.json", configs()),
        ("record/sessions.json", sessions()),
        ("record/condemned.json", condemned()),
        ("record/notes.json", notes()),
    ]
}

pub fn time(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

pub fn chunk(n: u8, len: u32) -> ChunkRef {
    ChunkRef { id: ChunkId::from_bytes([n; 32]), len }
}

/// Bytes behind a structure, and all that is left of it when its last byte is cut off.
fn cut_and_longer(of: &[u8], last_field: &str, end: &str) -> [Value; 2] {
    [
        bad("the last byte cut off", &of[..of.len() - 1], last_field, Truncated),
        bad("a byte behind", &[of, &[0]].concat(), end, Trailing),
    ]
}

fn replaced(of: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = of.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

fn last_replaced(of: &[u8], with: u8) -> Vec<u8> {
    replaced(of, of.len() - 1, &[with])
}

fn varints() -> Value {
    let of = |value: u64| {
        let mut out = Encoder::new();
        out.varint(value);
        out.finish()
    };
    let mut all: Vec<Value> = [0, 1, 127, 128, 255, 300, 16_383, 16_384, 1 << 32, (1 << 63) - 1, u64::MAX]
        .into_iter()
        .map(|value| good(&value.to_string(), &of(value), json!(value.to_string())))
        .collect();
    all.extend([
        bad("nothing", &[], "varint", Truncated),
        bad("no last byte", &[0x80], "varint", Truncated),
        bad("0 in two bytes", &[0x80, 0], "varint", NotCanonical),
        bad("1 in two bytes", &[0x81, 0], "varint", NotCanonical),
        bad("2^64", &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2], "varint", TooLarge),
        bad("eleven bytes", &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1], "varint", TooLarge),
    ]);
    cases(all)
}

#[test]
fn varints_are_read_as_stated() {
    each("codec/varints.json", |case| {
        let stored = bytes(&case["bytes"]);
        let mut from = Decoder::new(&stored);
        let found = from.varint("varint", u64::MAX).and_then(|value| {
            from.finish("varint")?;
            Ok(json!(value.to_string()))
        });
        check(case, found);
    });
}

fn fields() -> Value {
    let with = |form: &str, max: u64, mut case: Value| {
        case["form"] = form.into();
        case["max"] = max.into();
        case
    };
    cases(vec![
        with("bytes", 4, good("no bytes", &[0], json!(""))),
        with("bytes", 4, good("as many as may be", &[4, 1, 2, 3, 4], json!("01020304"))),
        with("bytes", 4, bad("one more", &[5, 1, 2, 3, 4, 5], "bytes", TooLarge)),
        with("bytes", 4, bad("fewer than stated", &[3, 1, 2], "bytes", Truncated)),
        with("bytes", 4, bad("a longer length", &[0x81, 0, 1], "bytes", NotCanonical)),
        with("text", 4, good("text", "\u{3}\u{e4}b".as_bytes(), json!("äb"))),
        with("text", 4, bad("half a character", &[1, 0xc3], "text", NotText)),
        with("option", 0, good("none", &[0], Value::Null)),
        with("option", 0, good("some", &[1, 7], json!(7))),
        with("option", 0, bad("some of nothing", &[1], "option", Truncated)),
        with("option", 0, bad("neither none nor some", &[2, 7], "option", Unknown)),
    ])
}

#[test]
fn fields_are_read_as_stated() {
    each("codec/fields.json", |case| {
        let (stored, max) = (bytes(&case["bytes"]), usize::try_from(case["max"].as_u64().unwrap()).unwrap());
        let mut from = Decoder::new(&stored);
        let found = match case["form"].as_str().unwrap() {
            "bytes" => from.bytes("bytes", max).map(|bytes| json!(hex(bytes))),
            "text" => from.text("text", max).map(|text| json!(text)),
            _ => from.option("option", |from| from.u8("option")).map(|value| json!(value)),
        };
        check(case, found);
    });
}

fn stored_source(source: &Source) -> Vec<u8> {
    let mut out = Encoder::new();
    source.encode(&mut out);
    out.finish()
}

fn sources() -> Value {
    let (project, pool) = ("lab".to_owned(), "fast".to_owned());
    let of = |kind, server: &str, name: &str| Source { server: server.into(), kind, name: name.into() };
    let member = Some("node1".to_owned());
    let all = [
        ("instance", Source::instance("host", "default", "web1")),
        (
            "volume",
            of(SourceKind::Volume { project: project.clone(), pool: pool.clone(), member: None }, "host", "data"),
        ),
        (
            "volume of a member",
            of(SourceKind::Volume { project: project.clone(), pool: pool.clone(), member }, "h", "d"),
        ),
        ("bucket", of(SourceKind::Bucket { project: project.clone(), pool, member: None }, "host", "data")),
        ("image", of(SourceKind::Image { project }, "host", "c0ffee")),
        ("file", Source::file("a name")),
        ("directory", of(SourceKind::Directory, "host", "")),
        ("server", of(SourceKind::Server, "host", "")),
    ];
    let mut all: Vec<Value> =
        all.iter().map(|(case, source)| good(case, &stored_source(source), values::source(source))).collect();
    all.extend([
        bad("unknown kind", &[8, 0, 0], "source.kind", Unknown),
        bad("a file with a server", &stored_source(&of(SourceKind::File, "host", "x")), "source.name", NotCanonical),
        bad("a server with a name", &stored_source(&of(SourceKind::Server, "host", "x")), "source.name", NotCanonical),
        bad("name cut off", &[5, 0, 3, b'a'], "source.name", Truncated),
        bad("name of 1025 bytes", &[&[5, 0, 0x81, 8][..], &[b'a'; 1025]].concat(), "source.name", TooLarge),
    ]);
    cases(all)
}

#[test]
fn sources_are_read_as_stated() {
    each("point/sources.json", |case| {
        let found = Source::decode(&mut Decoder::new(&bytes(&case["bytes"])));
        check(case, found.map(|source| values::source(&source)));
    });
}

fn example_point() -> Point {
    Point {
        run: RunId::from_bytes([1; 32]),
        source: Source::instance("host", "lab", "web1"),
        server: Some(ServerRecord {
            id: ServerId::from_bytes([2; 32]),
            flavor: "incus".into(),
            version: "6.0.5".into(),
            fingerprint: "ab12".into(),
        }),
        host: "backup-host".into(),
        started: time(1_795_219_200_000_000),
        ended: time(1_795_219_260_000_000),
        form: StreamForm::Export { optimized: false },
        original: None,
        consistency: Consistency::CrashConsistent,
        remarks: vec!["a snapshot appeared".into()],
        set: vec![Source::volume("host", "lab", "default", "data")],
        description: "{\"name\":\"web1\"}".into(),
        content: Content {
            stream_len: 1 << 40,
            stream_xxh3: 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100,
            recipe_digest: [4; 32],
            table: vec![chunk(5, 100), chunk(6, 70_000)],
            packs: vec![PackId::from_bytes([7; 32]), PackId::from_bytes([8; 32])],
        },
        statistics: Statistics { members: 1, chunks: 2, new_chunks: 3, new_bytes: 4, stored_bytes: 1 << 33 },
    }
}

fn file_point() -> Point {
    Point {
        source: Source::file("an old export"),
        server: None,
        form: StreamForm::File,
        original: Some(Original { codec: "gzip".into(), len: 99, digest: [3; 32] }),
        consistency: Consistency::Unknown,
        remarks: Vec::new(),
        set: Vec::new(),
        description: String::new(),
        content: Content { stream_len: 0, table: Vec::new(), packs: Vec::new(), ..example_point().content },
        ..example_point()
    }
}

fn image_point(form: StreamForm) -> Point {
    let kind = SourceKind::Image { project: "lab".into() };
    Point { source: Source { server: "host".into(), kind, name: "ab".repeat(32) }, form, ..disc_point() }
}

fn disc_point() -> Point {
    Point {
        source: Source::volume("host", "lab", "fast", "installer"),
        form: StreamForm::Disc,
        remarks: Vec::new(),
        ..example_point()
    }
}

fn points() -> Value {
    let (one, file, disc) = (example_point(), file_point(), disc_point());
    let (image, split) = (image_point(StreamForm::Image), image_point(StreamForm::SplitImage));
    let mut unsorted = one.clone();
    unsorted.content.packs.reverse();
    let mut twice = one.clone();
    twice.content.packs[1] = twice.content.packs[0];
    let mut empty_chunk = one.clone();
    empty_chunk.content.table[0].len = 0;
    let mut all = vec![
        good("an export", &one.encode(), values::point(&one)),
        good("a file of no bytes that came compressed", &file.encode(), values::point(&file)),
        good("a disc image", &disc.encode(), values::point(&disc)),
        good("an image", &image.encode(), values::point(&image)),
        good("a split image", &split.encode(), values::point(&split)),
        bad("packs not ascending", &unsorted.encode(), "content.packs", NotCanonical),
        bad("a pack twice", &twice.encode(), "content.packs", NotCanonical),
        bad("a table chunk of no bytes", &empty_chunk.encode(), "chunk.len", NotCanonical),
    ];
    // Behind the file's source come: no server, the host, two times, the form, the original, the consistency.
    let stored = file.encode();
    let at = 32 + stored_source(&file.source).len() + 1 + 1 + file.host.len() + 8 + 8;
    assert_eq!((stored[at], stored[at + 1]), (3, 1));
    let consistency = at + 1 + 1 + 5 + 1 + 32;
    all.extend([
        bad("unknown form", &replaced(&stored, at, &[7]), "point.form", Unknown),
        bad("unknown consistency", &replaced(&stored, consistency, &[5]), "point.consistency", Unknown),
        bad("neither original nor none", &replaced(&stored, at + 1, &[2]), "point.original", Unknown),
    ]);
    all.extend(cut_and_longer(&stored, "statistics.stored_bytes", "point"));
    cases(all)
}

#[test]
fn points_are_read_as_stated() {
    each("point/points.json", |case| {
        check(case, Point::decode(&bytes(&case["bytes"])).map(|point| values::point(&point)));
    });
}

/// A zstd frame of one block that repeats a byte, made by hand so that no version of zstd makes another.
pub fn zstd_run(byte: u8, len: u16) -> Vec<u8> {
    let [low, middle, ..] = (u32::from(len) << 3 | 3).to_le_bytes();
    vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0, low, middle, 0, byte]
}

fn bodies() -> Value {
    let plain = file_point().encode();
    let len = u32::try_from(plain.len()).unwrap();
    let body = |len: u32, frame: &[u8], codec: u8| [&len.to_le_bytes()[..], frame, &[codec]].concat();
    let damaged = |case: &str, bytes: &[u8]| json!({ "case": case, "bytes": hex(bytes), "error": "damaged" });
    cases(vec![
        json!({ "case": "raw", "bytes": hex(&body(len, &plain, 0)), "plain": hex(&plain) }),
        damaged("too short", &len.to_le_bytes()[..3]),
        damaged("no codec", &len.to_le_bytes()),
        damaged("unknown codec", &body(len, &plain, 2)),
        damaged("another length", &body(len - 1, &plain, 0)),
        damaged("a length beyond the limit", &body(64 * 1024 * 1024 + 1, &plain, 0)),
        damaged("zstd of another length", &body(len, &zstd_run(0, 9), 1)),
        damaged("no point", &body(9, &zstd_run(0, 9), 1)),
    ])
}

#[test]
fn bodies_are_read_as_stated() {
    let name = format!("points/{}", hex(&[9; 32])).parse().unwrap();
    each("point/bodies.json", |case| {
        let found = decode_point_body(&name, &bytes(&case["bytes"]));
        match (case.get("plain"), found) {
            (Some(plain), Ok(point)) => assert_eq!(point.encode(), bytes(plain), "{}", case["case"]),
            (None, Err(_)) => {}
            (stated, found) => panic!("{}: stated {stated:?}, found {found:?}", case["case"]),
        }
    });
    let made = encode_point_body(&example_point()).unwrap();
    assert_eq!(decode_point_body(&name, &made).unwrap(), example_point());
}

fn parts() -> Value {
    let part = Part {
        lead: 700,
        envelope: vec![chunk(1, 1536), chunk(2, 24)],
        steps: vec![
            Step::Chunk(chunk(3, 700)),
            Step::Envelope(1024),
            Step::Zeros(65_536),
            Step::Chunk(chunk(4, 4 * 1024 * 1024)),
            Step::Envelope(536),
        ],
    };
    let only_zeros = Part { lead: 1 << 40, envelope: Vec::new(), steps: vec![Step::Zeros(1 << 40)] };
    let none = Part::default();
    let longer = Part { lead: 2, steps: vec![Step::Zeros(1)], ..none.clone() };
    let split = Part { steps: vec![Step::Zeros(1), Step::Zeros(2)], ..none.clone() };
    let split_envelope =
        Part { envelope: vec![chunk(1, 3)], steps: vec![Step::Envelope(1), Step::Envelope(2)], ..none.clone() };
    let short = Part { envelope: vec![chunk(1, 3)], steps: vec![Step::Envelope(4)], ..none.clone() };
    let long = Part { envelope: vec![chunk(1, 3)], steps: vec![Step::Envelope(2)], ..none.clone() };
    let no_zeros = Part { steps: vec![Step::Zeros(0)], ..none.clone() };
    let no_chunk = Part { envelope: vec![chunk(1, 0)], steps: vec![Step::Zeros(1)], ..none.clone() };
    let huge_chunk = Part { steps: vec![Step::Chunk(chunk(1, 4 * 1024 * 1024 + 1))], ..none.clone() };
    let huge_envelope = Part { envelope: vec![chunk(1, 4 * 1024 * 1024); 9], ..longer.clone() };
    let wrong = |case: &str, part: &Part, field: &str, problem| bad(case, &part.encode(), field, problem);
    let mut unknown = Part { steps: vec![Step::Zeros(1)], ..none.clone() }.encode();
    *unknown.last_mut().unwrap() = 1 << 2 | 3;
    cases(vec![
        good("every kind of step", &part.encode(), values::part(&part)),
        good("zeros inside a member that began earlier", &only_zeros.encode(), values::part(&only_zeros)),
        wrong("no step", &none, "part.envelope", NotCanonical),
        wrong("a lead longer than the part", &longer, "part.envelope", NotCanonical),
        wrong("two steps of zeros in a row", &split, "part.step", NotCanonical),
        wrong("two steps of envelope in a row", &split_envelope, "part.step", NotCanonical),
        wrong("more envelope in steps than in chunks", &short, "part.step", TooLarge),
        wrong("more envelope in chunks than in steps", &long, "part.envelope", NotCanonical),
        wrong("a step of no bytes", &no_zeros, "part.step", NotCanonical),
        wrong("an envelope chunk of no bytes", &no_chunk, "chunk.len", NotCanonical),
        wrong("a chunk of more than 4 MiB", &huge_chunk, "chunk.len", TooLarge),
        wrong("36 MiB of envelope", &huge_envelope, "part.envelope", TooLarge),
        bad("an unknown step", &unknown, "part.step", Unknown),
        bad("a count that the part cannot hold", &[0, 200, 1, 0], "part.envelope", Truncated),
        bad("an id cut off", &part.encode()[..120], "chunk.id", Truncated),
        bad("nothing", &[], "part.lead", Truncated),
    ])
}

#[test]
fn parts_are_read_as_stated() {
    each("recipe/parts.json", |case| {
        check(case, Part::decode(&bytes(&case["bytes"])).map(|part| values::part(&part)));
    });
}

fn rows() -> Value {
    let stored = |row: &TableRow| {
        let mut out = Encoder::new();
        row.encode(&mut out);
        out.finish()
    };
    let row = TableRow { part: chunk(1, 5000), stream_len: 1 << 33, envelope_len: 3000, first_path: b"a/\xff".into() };
    let none = TableRow { first_path: Vec::new(), ..row.clone() };
    let long = TableRow { first_path: vec![b'a'; 4097], ..row.clone() };
    let beyond = TableRow { stream_len: 1 << 63, ..row.clone() };
    cases(vec![
        good("a path that is no text", &stored(&row), values::row(&row)),
        good("no member begins", &stored(&none), values::row(&none)),
        bad("a path of 4097 bytes", &stored(&long), "row.first_path", TooLarge),
        bad("a stream of 2^63 bytes", &stored(&beyond), "row.stream_len", TooLarge),
        bad("cut off", &stored(&row)[..stored(&row).len() - 1], "row.first_path", Truncated),
    ])
}

#[test]
fn rows_are_read_as_stated() {
    each("recipe/rows.json", |case| {
        let found = TableRow::decode(&mut Decoder::new(&bytes(&case["bytes"])));
        check(case, found.map(|row| values::row(&row)));
    });
}

fn digest_of(stream: &Value) -> String {
    let mut hasher = RecipeHasher::new();
    for step in stream.as_array().unwrap() {
        if let Some(envelope) = step.get("envelope") {
            hasher.envelope(&bytes(envelope));
        } else if let Some(len) = step.get("zeros") {
            hasher.zeros(len.as_u64().unwrap());
        } else {
            let id = <[u8; 32]>::try_from(bytes(&step["chunk"]["id"])).unwrap();
            let len = u32::try_from(step["chunk"]["len"].as_u64().unwrap()).unwrap();
            hasher.chunk(ChunkRef { id: ChunkId::from_bytes(id), len });
        }
    }
    hex(&hasher.finish())
}

fn digests() -> Value {
    let one = json!({ "chunk": values::chunk(&chunk(1, 700)) });
    let streams = [
        ("nothing", json!([])),
        ("envelope", json!([{ "envelope": hex(b"abc") }])),
        ("every kind of step", json!([{ "envelope": hex(b"abc") }, one, { "zeros": 65_536 }, one])),
        (
            "the same in smaller steps",
            json!([
                { "envelope": hex(b"a") }, { "envelope": hex(b"bc") }, one, { "zeros": 65_000 }, { "zeros": 536 }, one
            ]),
        ),
        ("in another order", json!([one, { "envelope": hex(b"abc") }, { "zeros": 65_536 }, one])),
    ];
    let case = |(case, steps): (&str, Value)| json!({ "case": case, "digest": digest_of(&steps), "steps": steps });
    cases(streams.map(case).to_vec())
}

#[test]
fn digests_are_as_stated() {
    each("recipe/digests.json", |case| assert_eq!(digest_of(&case["steps"]), case["digest"].as_str().unwrap()));
}

pub fn example_directory(kind: PackKind) -> Directory {
    let packed = |n, len| PackedChunk { id: ChunkId::from_bytes([n; 32]), len };
    Directory {
        kind,
        run: RunId::from_bytes([1; 32]),
        frames_offset: 144,
        frames: vec![
            Frame { sealed_len: 1000, chunks: vec![packed(2, 600), packed(3, 70_000)] },
            Frame { sealed_len: 18, chunks: vec![packed(4, 1)] },
        ],
    }
}

fn segments() -> Value {
    let pack =
        |n, kind| SegmentPack { id: PackId::from_bytes([n; 32]), bytes: 5000, directory: example_directory(kind) };
    let none = Segment::default();
    let two = Segment { packs: vec![pack(9, PackKind::Data), pack(8, PackKind::Meta)] };
    let mut huge = two.clone();
    huge.packs[0].bytes = 256 * 1024 * 1024 + 1;
    let mut all = vec![
        good("no pack", &none.encode(), values::segment(&none)),
        good("two packs", &two.encode(), values::segment(&two)),
        bad("a pack beyond the limit", &huge.encode(), "segment.pack_bytes", TooLarge),
        bad("a count that the segment cannot hold", &[3, 0], "segment.packs", Truncated),
        bad("a kind of pack that is unknown", &replaced(&two.encode(), 1 + 32 + 2, &[3]), "directory.kind", Unknown),
    ];
    all.extend(cut_and_longer(&two.encode(), "frame.chunks", "segment"));
    cases(all)
}

#[test]
fn segments_are_read_as_stated() {
    each("segment/segments.json", |case| {
        check(case, Segment::decode(&bytes(&case["bytes"])).map(|segment| values::segment(&segment)));
    });
}

fn configs() -> Value {
    let params = |min, avg, max| ChunkParams::new(min, avg, max).unwrap();
    let config = Config {
        created: time(1_795_219_200_000_000),
        payload: params(2048, 8192, 32_768),
        envelope: params(256, 512, 1024),
        level: Level::new(3).unwrap(),
        settle_seconds: 60,
        parity: Parity::None,
    };
    let other =
        Config { level: Level::new(19).unwrap(), settle_seconds: 86_400, parity: Parity::ReedSolomon, ..config };
    let stored = config.encode();
    let end = stored.len();
    let mut late = Encoder::new();
    late.varint(Timestamp::MAX_MICROS + 1);
    let late = late.finish();
    let mut all = vec![
        good("a config", &stored, values::config(&config)),
        good("every other value", &other.encode(), values::config(&other)),
        bad("level 20", &replaced(&stored, end - 6, &[20]), "config.level", Unknown),
        bad("level 0", &replaced(&stored, end - 6, &[0]), "config.level", Unknown),
        bad(
            "more than a day",
            &replaced(&stored, end - 5, &86_401_u32.to_le_bytes()),
            "config.settle_seconds",
            TooLarge,
        ),
        bad("unknown parity", &replaced(&stored, end - 1, &[2]), "config.parity", Unknown),
        bad("an odd length", &replaced(&stored, 8, &[0x81]), "chunk_params", Unknown),
        bad("a time after 9999", &[&late[..], &stored[8..]].concat(), "config.created", TooLarge),
    ];
    all.extend(cut_and_longer(&stored, "config.parity", "config"));
    cases(all)
}

#[test]
fn configs_are_read_as_stated() {
    each("record/configs.json", |case| {
        check(case, Config::decode(&bytes(&case["bytes"])).map(|config| values::config(&config)));
    });
}

fn sessions() -> Value {
    let session = SessionRecord {
        run: RunId::from_bytes([5; 32]),
        host: "backup-host".into(),
        boot: "3c5f0e0e-6a3b-4f6e-9a53-0d2d1f1d9a5e".into(),
        process: 4321,
        process_start: 123_456_789,
        started: time(1_795_219_200_000_000),
    };
    let stored = session.encode();
    let mut all = vec![
        good("a session", &stored, values::session(&session)),
        bad("a host that is no text", &replaced(&stored, 33, &[0xff]), "session.host", NotText),
    ];
    all.extend(cut_and_longer(&stored, "session.started", "session"));
    cases(all)
}

#[test]
fn sessions_are_read_as_stated() {
    each("record/sessions.json", |case| {
        check(case, SessionRecord::decode(&bytes(&case["bytes"])).map(|session| values::session(&session)));
    });
}

fn condemned() -> Value {
    let two = Condemned { packs: vec![PackId::from_bytes([6; 32]), PackId::from_bytes([5; 32])] };
    let mut all = vec![
        good("two packs", &two.encode(), values::condemned(&two)),
        bad("a count that it cannot hold", &[9, 0], "condemned.packs", Truncated),
        bad("the last byte cut off", &two.encode()[..64], "condemned.packs", Truncated),
    ];
    all.push(bad("a byte behind", &[&two.encode()[..], &[0]].concat(), "condemned", Trailing));
    cases(all)
}

#[test]
fn condemned_objects_are_read_as_stated() {
    each("record/condemned.json", |case| {
        check(case, Condemned::decode(&bytes(&case["bytes"])).map(|condemned| values::condemned(&condemned)));
    });
}

fn notes() -> Value {
    let written = time(1_795_219_200_000_000);
    let note = |fact| Note { supersedes: vec![NoteId::from_bytes([4; 32])], written, fact };
    let server =
        note(NoteFact::Server { name: "host".into(), id: ServerId::from_bytes([1; 32]), fingerprint: "ab12".into() });
    let web1 = Source::instance("host", "lab", "web1");
    let run = note(NoteFact::Run(RunRecord {
        run: RunId::from_bytes([2; 32]),
        server: "host".into(),
        whole: true,
        started: time(1),
        succeeded: 3,
        failed: vec![(web1.clone(), "It vanished".to_owned())],
        left_out: vec![Source::volume("host", "lab", "default", "scratch")],
    }));
    let retired = note(NoteFact::Retired { source: web1.clone(), retired: true });
    let to = Source::instance("host", "lab", "web2");
    let renamed = note(NoteFact::Renamed { from: web1, to, points: vec![PointId::from_bytes([7; 32])] });
    let point = PointId::from_bytes([8; 32]);
    let tag = |tag: &str| note(NoteFact::Tagged { point, tag: tag.to_owned(), tagged: true });
    let tagged = tag("before 2.0");
    let pinned = note(NoteFact::Pinned { point, pinned: true });
    let unpinned = note(NoteFact::Pinned { point, pinned: false });
    let packs = |bytes: &[u8]| bytes.iter().map(|byte| PackId::from_bytes([*byte; 32])).collect::<Vec<_>>();
    let read = note(NoteFact::Read { rounds: vec![(time(1), packs(&[4, 5])), (time(2), packs(&[6]))] });
    let lacks = note(NoteFact::Lacks { point, chunks: 300 });
    let given_up = note(NoteFact::GivenUp { pieces: vec![ChunkId::from_bytes([9; 32])] });
    let damaged =
        Note { supersedes: Vec::new(), written, fact: NoteFact::DamagedPack { pack: PackId::from_bytes([3; 32]) } };
    let mut all = vec![
        good("a server", &server.encode(), values::note(&server)),
        good("a run", &run.encode(), values::note(&run)),
        good("a damaged pack", &damaged.encode(), values::note(&damaged)),
        good("a retired source", &retired.encode(), values::note(&retired)),
        good("a renamed source", &renamed.encode(), values::note(&renamed)),
        good("a tag", &tagged.encode(), values::note(&tagged)),
        good("a pinned point", &pinned.encode(), values::note(&pinned)),
        good("a point that is no longer pinned", &unpinned.encode(), values::note(&unpinned)),
        good("packs that were read", &read.encode(), values::note(&read)),
        good("a point that lacks something", &lacks.encode(), values::note(&lacks)),
        good("a piece of a recipe that is given up", &given_up.encode(), values::note(&given_up)),
        bad("more pieces than there are", &given_up.encode()[..given_up.encode().len() - 1], "note.pieces", Truncated),
        bad("a pack that was read and is cut off", &read.encode()[..read.encode().len() - 1], "note.packs", Truncated),
        bad("neither tagged nor not", &last_replaced(&tagged.encode(), 2), "note.tagged", NotCanonical),
        bad("a tag of 1025 bytes", &tag(&"a".repeat(1025)).encode(), "note.tag", TooLarge),
        bad("neither pinned nor not", &last_replaced(&pinned.encode(), 2), "note.pinned", NotCanonical),
        bad("neither retired nor not", &last_replaced(&retired.encode(), 2), "note.retired", NotCanonical),
        bad("an unknown kind", &replaced(&damaged.encode(), 1 + 8, &[200]), "note.kind", Unknown),
    ];
    all.extend(cut_and_longer(&damaged.encode(), "note.pack", "note"));
    cases(all)
}

#[test]
fn notes_are_read_as_stated() {
    each("record/notes.json", |case| {
        check(case, Note::decode(&bytes(&case["bytes"])).map(|note| values::note(&note)));
    });
}

/// Reads a structure to the end of its bytes.
pub fn whole<T>(
    stored: &[u8],
    decode: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut from = Decoder::new(stored);
    let value = decode(&mut from)?;
    from.finish("end")?;
    Ok(value)
}

#[test]
fn vector_files_are_all_checked() {
    for (name, _) in super::all() {
        assert!(read(name)["cases"].as_array().is_some_and(|cases| !cases.is_empty()), "{name}");
    }
}
