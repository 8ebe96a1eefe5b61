//! Vectors of packs: directories, trailers, the codec of frames, padding, parity, and whole packs.

use holdall::codec::DecodeProblem::{NotCanonical, TooLarge, Truncated, Unknown};
use holdall::codec::Encoder;
use holdall::compress::{CompressError, decompress};
use holdall::crypto::{Aead, DirectoryOpener, FrameOpener, Fresh, PACK_HEADER_BYTES, PackSealer, ReadKeys};
use holdall::id::{RepositoryId, RunId};
use holdall::limits::FRAME_PLAIN_BYTES_MAX;
use holdall::pack::{
    Directory, Frame, PackKind, PackedChunk, ParityError, Trailer, decode_directory, make_parity, mend, open_frame,
    padme, parity_len, verify_parity,
};
use serde_json::{Value, json};

use super::forms::{example_directory, whole, zstd_run};
use super::{bad, bytes, cases, check, each, good, hex, read, values};

pub fn files() -> Vec<(&'static str, Value)> {
    vec![
        ("pack/directories.json", directories()),
        ("pack/trailers.json", trailers()),
        ("pack/frames.json", frames()),
        ("pack/padding.json", padding()),
        ("pack/parity.json", parity()),
        ("pack/repairs.json", repairs()),
        ("pack/packs.json", packs()),
    ]
}

fn stored(directory: &Directory) -> Vec<u8> {
    let mut out = Encoder::new();
    directory.encode(&mut out);
    out.finish()
}

fn directories() -> Value {
    let data = example_directory(PackKind::Data);
    let meta = example_directory(PackKind::Meta);
    let none = Directory { frames: Vec::new(), ..data.clone() };
    let changed = |change: fn(&mut Directory)| {
        let mut directory = data.clone();
        change(&mut directory);
        stored(&directory)
    };
    let long = vec![PackedChunk { len: 4 * 1024 * 1024, ..data.frames[0].chunks[0] }; 2];
    let heavy = Directory { frames: vec![Frame { sealed_len: 18, chunks: long }], ..data.clone() };
    let frame = Frame { sealed_len: 6 * 1024 * 1024, ..data.frames[1].clone() };
    let endless = Directory { frames: vec![frame; 43], ..data.clone() };
    cases(vec![
        good("payload", &stored(&data), values::directory(&data)),
        good("envelopes and recipes", &stored(&meta), values::directory(&meta)),
        good("no frames", &stored(&none), values::directory(&none)),
        good("with padding", &[&stored(&data)[..], &[0; 9]].concat(), values::directory(&data)),
        bad("padding that is not zeros", &[&stored(&data)[..], &[0, 1]].concat(), "directory.padding", NotCanonical),
        bad("frames at another place", &changed(|of| of.frames_offset = 100), "directory.frames_offset", Unknown),
        bad("frames beyond the header", &changed(|of| of.frames_offset = 145), "directory.frames_offset", TooLarge),
        bad("a frame of no chunks", &changed(|of| of.frames[0].chunks.clear()), "directory.frames", Truncated),
        bad("a chunk of no bytes", &changed(|of| of.frames[0].chunks[0].len = 0), "chunk.len", NotCanonical),
        bad("a frame that is too short", &changed(|of| of.frames[1].sealed_len = 17), "frame.sealed_len", NotCanonical),
        bad(
            "a frame that is too long",
            &changed(|of| of.frames[1].sealed_len = 6_291_521),
            "frame.sealed_len",
            TooLarge,
        ),
        bad("a frame of 8 MiB when opened", &stored(&heavy), "chunk.len", TooLarge),
        bad("frames of 258 MiB", &stored(&endless), "directory.frames", TooLarge),
        bad("an unknown kind", &[&[3], &stored(&data)[1..]].concat(), "directory.kind", Unknown),
        bad("the last byte cut off", &stored(&data)[..stored(&data).len() - 1], "frame.chunks", Truncated),
    ])
}

#[test]
fn directories_are_read_as_stated() {
    each("pack/directories.json", |case| {
        check(case, decode_directory(&bytes(&case["bytes"])).map(|directory| values::directory(&directory)));
    });
    assert!(whole(&stored(&example_directory(PackKind::Data)), Directory::decode).is_ok());
}

fn trailers() -> Value {
    let with = |pack_bytes: u64, mut case: Value| {
        case["pack_bytes"] = pack_bytes.into();
        case
    };
    let trailer = Trailer { directory_offset: 1000, directory_len: 50, parity_len: 0 };
    let parity = Trailer { parity_len: 7, ..trailer };
    let huge = Trailer { directory_offset: u32::MAX, directory_len: u32::MAX, parity_len: u32::MAX };
    let mut unknown = trailer.encode();
    unknown[12] ^= 1;
    cases(vec![
        with(1070, good("no parity", &trailer.encode(), values::trailer(&trailer))),
        with(1077, good("parity", &parity.encode(), values::trailer(&parity))),
        with(1071, bad("of a longer pack", &trailer.encode(), "trailer.lengths", NotCanonical)),
        with(17, bad("a sum beyond 32 bits", &huge.encode(), "trailer.lengths", NotCanonical)),
        with(1070, bad("another magic", &unknown, "trailer.magic", Unknown)),
        with(1070, bad("cut off", &trailer.encode()[..19], "trailer.magic", Truncated)),
    ])
}

#[test]
fn trailers_are_read_as_stated() {
    each("pack/trailers.json", |case| {
        let found = Trailer::decode(&bytes(&case["bytes"]), case["pack_bytes"].as_u64().unwrap());
        check(case, found.map(|trailer| values::trailer(&trailer)));
    });
}

fn frames() -> Value {
    let coded = |body: &[u8], codec: u8| [body, &[codec]].concat();
    let good = |case: &str, stored: &[u8], plain: &[u8]| {
        let (bytes, plain_len) = (hex(stored), plain.len());
        json!({ "case": case, "bytes": bytes, "plain_len": plain_len, "plain": hex(plain) })
    };
    let bad = |case: &str, stored: &[u8], plain_len: usize, error: &str| {
        let bytes = hex(stored);
        json!({ "case": case, "bytes": bytes, "plain_len": plain_len, "error": error })
    };
    let run = zstd_run(b'a', 100);
    let sized = [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, 100][..], &run[6..]].concat();
    cases(vec![
        good("raw", &coded(b"abc", 0), b"abc"),
        good("zstd", &coded(&run, 1), &[b'a'; 100]),
        good("zstd that states its length", &coded(&sized, 1), &[b'a'; 100]),
        bad("raw, shorter than stated", &coded(b"abc", 0), 4, "wrong content"),
        bad("raw, longer than stated", &coded(b"abc", 0), 2, "wrong content"),
        bad("zstd, shorter than stated", &coded(&run, 1), 101, "wrong content"),
        bad("zstd, longer than stated", &coded(&run, 1), 99, "wrong content"),
        bad("no zstd", &coded(b"abc", 1), 3, "wrong content"),
        bad("zstd and a byte behind", &coded(&[&run[..], &[0]].concat(), 1), 100, "wrong content"),
        bad("zstd cut off", &coded(&run[..9], 1), 100, "wrong content"),
        bad("a length beyond the limit", &coded(&run, 1), FRAME_PLAIN_BYTES_MAX + 1, "wrong content"),
        bad("an unknown codec", &coded(b"abc", 2), 3, "unknown codec"),
        bad("nothing", b"", 0, "unknown codec"),
    ])
}

#[test]
fn frames_are_read_as_stated() {
    each("pack/frames.json", |case| {
        let plain_len = usize::try_from(case["plain_len"].as_u64().unwrap()).unwrap();
        let found = match decompress(&bytes(&case["bytes"]), plain_len, FRAME_PLAIN_BYTES_MAX) {
            Ok(plain) => ("plain", hex(&plain)),
            Err(CompressError::UnknownCodec) => ("error", "unknown codec".to_owned()),
            Err(_) => ("error", "wrong content".to_owned()),
        };
        assert_eq!(case[found.0].as_str(), Some(found.1.as_str()), "{}", case["case"]);
    });
}

fn padding() -> Value {
    let lengths = [0, 1, 2, 3, 9, 100, 511, 512, 513, 4097, 65_535, 100_001, 1_000_003, 67_108_863];
    cases(lengths.iter().map(|bytes| json!({ "bytes": bytes, "padded": padme(*bytes) })).collect())
}

#[test]
fn padding_is_as_stated() {
    each("pack/padding.json", |case| {
        let number = |field: &str| usize::try_from(case[field].as_u64().unwrap()).unwrap();
        assert_eq!(padme(number("bytes")), number("padded"));
    });
}

/// Bytes that parity is made of: BLAKE3 of nothing, prolonged.
fn protected(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// The trailer of so many protected bytes, of which the last 60 are the directory.
fn trailer_of(len: usize) -> Trailer {
    let parity_len = u32::try_from(parity_len(len)).unwrap();
    Trailer { directory_offset: u32::try_from(len - 60).unwrap(), directory_len: 60, parity_len }
}

fn parity() -> Value {
    let made = [210, 2048, 2049, 40_000, 600_000, 3_500_000].map(|len| {
        let trailer = trailer_of(len);
        let parity = make_parity(&[&protected(len)], &trailer).unwrap();
        let mut case = json!({ "case": format!("{len} bytes"), "protected": len, "trailer": values::trailer(&trailer),
                               "blake3": blake3::hash(&parity).to_hex().as_str() });
        if len < 3000 {
            case["parity"] = hex(&parity).into();
        }
        case
    });
    cases(made.to_vec())
}

#[test]
fn parity_is_as_stated() {
    each("pack/parity.json", |case| {
        let len = usize::try_from(case["protected"].as_u64().unwrap()).unwrap();
        let parity = make_parity(&[&protected(len)], &trailer_of(len)).unwrap();
        assert_eq!(blake3::hash(&parity).to_hex().as_str(), case["blake3"].as_str().unwrap());
        assert!(case.get("parity").is_none_or(|stated| bytes(stated) == parity));
    });
}

/// A way to damage a file.
type Damage = fn(&mut Vec<u8>);

fn repairs() -> Value {
    let len = 210;
    let trailer = trailer_of(len);
    let body = protected(len);
    let file = [&body[..], &make_parity(&[&body], &trailer).unwrap(), &trailer.encode()].concat();
    let repaired: [(&str, Damage); 9] = [
        ("nothing", |_| ()),
        ("a changed byte in front", |file| file[3] ^= 1),
        ("26 changed bytes at the border of two shards", |file| file[60..86].fill(0)),
        ("the end of the directory and the block behind it", |file| file[190..230].fill(0)),
        ("a changed byte of a check shard", |file| file[210 + 114 + 5] ^= 1),
        ("a wrong trailer", |file| *file.last_mut().unwrap() ^= 1),
        ("trailer and last block cut off", |file| file.truncate(file.len() - 30)),
        ("bytes behind the trailer", |file| file.extend_from_slice(b"more")),
        ("three of four shards", |file| file[..190].fill(0)),
    ];
    let lost: [(&str, Damage, &str); 4] = [
        ("four of four shards", |file| file[..210].fill(0), "too much"),
        ("no block left", |file| file.iter_mut().skip(210).step_by(50).for_each(|byte| *byte ^= 1), "none"),
        ("cut off before the parity", |file| file.truncate(210), "none"),
        ("nothing left", Vec::clear, "none"),
    ];
    let spoilt = |damage: Damage| {
        let mut bytes = file.clone();
        damage(&mut bytes);
        hex(&bytes)
    };
    let repaired =
        repaired.iter().map(|(case, damage)| json!({ "case": case, "bytes": spoilt(*damage), "file": hex(&file) }));
    let lost =
        lost.iter().map(|(case, damage, error)| json!({ "case": case, "bytes": spoilt(*damage), "error": error }));
    cases(repaired.chain(lost).collect())
}

#[test]
fn damaged_packs_are_repaired_as_stated() {
    each("pack/repairs.json", |case| {
        let found = match mend(bytes(&case["bytes"])) {
            Ok(file) => ("file", hex(&file)),
            Err(ParityError::None) => ("error", "none".to_owned()),
            Err(ParityError::TooMuch { .. }) => ("error", "too much".to_owned()),
            Err(error) => panic!("{}: {error}", case["case"]),
        };
        assert_eq!(case[found.0].as_str(), Some(found.1.as_str()), "{}", case["case"]);
    });
}

const KEYS: [[u8; 32]; 3] = [[1; 32], [2; 32], [3; 32]];

fn keys() -> ReadKeys {
    ReadKeys::fixed(RepositoryId::from_bytes(KEYS[0]), KEYS[1], KEYS[2]).unwrap()
}

fn packs() -> Value {
    let keys = keys();
    let forms = [(Aead::Aes256Gcm, false), (Aead::ChaCha20Poly1305, false), (Aead::Aes256Gcm, true)];
    let made = forms.map(|(aead, has_parity)| {
        let (sealer, header) = PackSealer::new_from(&mut Fresh::fixed(aead, [1; 32]), keys.write()).unwrap();
        let id_key = keys.write().id_key();
        let packed =
            |bytes: &[u8]| PackedChunk { id: id_key.chunk_id(bytes), len: u32::try_from(bytes.len()).unwrap() };
        let plain: [&[u8]; 2] = [b"first chunk, second chunk", &[b'a'; 100]];
        let first = sealer.seal_frame(0, &[plain[0], &[0]].concat()).unwrap();
        let second = sealer.seal_frame(1, &[&zstd_run(b'a', 100)[..], &[1]].concat()).unwrap();
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        let directory = Directory {
            kind: PackKind::Data,
            run: RunId::from_bytes([6; 32]),
            frames_offset: len(&header),
            frames: vec![
                Frame { sealed_len: len(&first), chunks: vec![packed(&plain[0][..13]), packed(&plain[0][13..])] },
                Frame { sealed_len: len(&second), chunks: vec![packed(plain[1])] },
            ],
        };
        let mut padded = stored(&directory);
        let bare = header.len() + first.len() + second.len() + padded.len() + 16 + Trailer::BYTES;
        padded.resize(padded.len() + padme(bare) - bare, 0);
        let last = sealer.seal_directory(&padded).unwrap();
        let mut trailer =
            Trailer { directory_offset: directory.frames_end(), directory_len: len(&last), parity_len: 0 };
        let before = [&header[..], &first, &second, &last].concat();
        let parity = if has_parity { make_parity(&[&before], &trailer).unwrap() } else { Vec::new() };
        trailer.parity_len = len(&parity);
        let file = [&before[..], &parity, &trailer.encode()].concat();
        let behind = if has_parity { ", parity" } else { "" };
        json!({ "case": format!("two frames, {aead:?}{behind}"), "pack": sealer.id().to_string(), "bytes": hex(&file),
                "directory": values::directory(&directory), "frames": plain.map(hex) })
    });
    let secrets =
        json!({ "repository": hex(&KEYS[0]), "writer secret": hex(&KEYS[1]), "recipient secret": hex(&KEYS[2]) });
    json!({ "keys": secrets, "cases": made })
}

#[test]
fn a_whole_pack_is_read_from_its_end() {
    assert_eq!(read("pack/packs.json")["keys"]["writer secret"], hex(&KEYS[1]));
    let keys = keys();
    each("pack/packs.json", |case| {
        let (file, id) = (bytes(&case["bytes"]), case["pack"].as_str().unwrap().parse().unwrap());
        let (start, end) = (&file[..PACK_HEADER_BYTES], &file[file.len() - Trailer::BYTES..]);
        let trailer = Trailer::decode(end, file.len() as u64).unwrap();
        assert_eq!(verify_parity(&file, &trailer), Ok(()));
        let offset = trailer.directory_offset as usize;
        let mut sealed = file[offset..offset + trailer.directory_len as usize].to_vec();
        let opener = DirectoryOpener::new(keys.write(), id, start).unwrap();
        let directory = decode_directory(opener.open(&mut sealed).unwrap()).unwrap();
        assert_eq!(values::directory(&directory), case["directory"]);
        assert_eq!(directory.frames_end() as usize, offset);
        let opener = FrameOpener::new(&keys, id, start).unwrap();
        for (number, at, frame) in directory.frames_with_offsets() {
            let sealed = file[at as usize..][..frame.sealed_len as usize].to_vec();
            let plain = open_frame(&opener, number, sealed, frame.plain_len() as usize).unwrap();
            assert_eq!(hex(&plain), case["frames"][number as usize].as_str().unwrap());
            let mut rest = &plain[..];
            for chunk in &frame.chunks {
                let (bytes, behind) = rest.split_at(chunk.len as usize);
                assert_eq!(keys.write().id_key().chunk_id(bytes), chunk.id);
                rest = behind;
            }
        }
    });
}
