//! What the splitter promises, on streams made by hand, by the `tar` crate and by chance.

use super::*;
use crate::limits::{MIB, PAYLOAD_BYTES_MIN, TAR_EXTENSION_BYTES_MAX, TAR_SPARSE_MAP_BYTES_MAX, ZERO_RUN_BYTES_MIN};
use proptest::prelude::*;
use std::convert::Infallible;

/// An event that outlives the push; neighbours of one kind are one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Boundary,
    Envelope(Vec<u8>),
    Member(Member),
    Inline(Vec<u8>),
    Start(Option<u64>),
    Payload(Vec<u8>),
    Zeros(u64),
    End,
}

/// Splits `pieces`, and checks what must hold for any stream.
fn split_pieces_with<'a>(mut splitter: Splitter, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Seen>, Ending) {
    let mut seen: Vec<Seen> = Vec::new();
    let mut sink = |event: Event<'_>| {
        match (seen.last_mut(), event) {
            (Some(Seen::Envelope(all)), Event::Envelope(bytes))
            | (Some(Seen::Inline(all)), Event::Inline(bytes))
            | (Some(Seen::Payload(all)), Event::Payload(bytes)) => all.extend_from_slice(bytes),
            (_, Event::Boundary) => seen.push(Seen::Boundary),
            (_, Event::Envelope(bytes)) => seen.push(Seen::Envelope(bytes.to_vec())),
            (_, Event::Member(member)) => seen.push(Seen::Member(member.clone())),
            (_, Event::Inline(bytes)) => seen.push(Seen::Inline(bytes.to_vec())),
            (_, Event::PayloadStart { len }) => seen.push(Seen::Start(len)),
            (_, Event::Payload(bytes)) => seen.push(Seen::Payload(bytes.to_vec())),
            (_, Event::Zeros(len)) => seen.push(Seen::Zeros(len)),
            (_, Event::PayloadEnd) => seen.push(Seen::End),
        }
        Ok::<(), Infallible>(())
    };
    for piece in pieces {
        splitter.push(piece, &mut sink).unwrap();
    }
    let ending = splitter.finish(&mut sink).unwrap();
    check_order(&seen, &ending);
    (seen, ending)
}

fn split_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Seen>, Ending) {
    split_pieces_with(Splitter::new(), pieces)
}

fn split(stream: &[u8]) -> (Vec<Seen>, Ending) {
    let (seen, ending) = split_pieces([stream]);
    assert!(joined(&seen) == stream, "the events are not the stream");
    (seen, ending)
}

fn joined(seen: &[Seen]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in seen {
        match event {
            Seen::Envelope(part) | Seen::Inline(part) | Seen::Payload(part) => bytes.extend_from_slice(part),
            Seen::Zeros(len) => bytes.resize(bytes.len() + usize::try_from(*len).unwrap(), 0),
            Seen::Boundary | Seen::Member(_) | Seen::Start(_) | Seen::End => {}
        }
    }
    bytes
}

/// Payload events stand between a start and an end only, no shorter than promised, and no run of zeros is missed.
fn check_order(seen: &[Seen], ending: &Ending) {
    let mut open: Option<(Option<u64>, u64)> = None;
    for (at, event) in seen.iter().enumerate() {
        let len = match event {
            Seen::Payload(bytes) => bytes.len() as u64,
            Seen::Zeros(len) => *len,
            _ => 0,
        };
        match event {
            Seen::Payload(_) | Seen::Zeros(_) => open.as_mut().expect("payload is open").1 += len,
            Seen::Start(len) => {
                assert!(open.replace((*len, 0)).is_none() && len.is_none_or(|len| len >= PAYLOAD_BYTES_MIN as u64));
            }
            Seen::End => {
                let (announced, len) = open.take().expect("payload is open");
                let last = at + 1 == seen.len();
                assert!(announced.is_none_or(|want| want == len || last && matches!(ending, Ending::Cut { .. })));
                assert!(announced.is_some() || len >= 512);
            }
            _ => assert!(open.is_none(), "{event:?} inside a payload"),
        }
        match event {
            Seen::Envelope(bytes) => assert!(!bytes.is_empty()),
            Seen::Inline(bytes) => assert!(!bytes.is_empty() && bytes.len() < PAYLOAD_BYTES_MIN),
            Seen::Zeros(len) => {
                assert!(*len >= ZERO_RUN_BYTES_MIN as u64);
                assert!(!matches!(seen.get(at + 1), Some(Seen::Zeros(_))), "the run is not maximal");
            }
            Seen::Payload(bytes) => {
                assert!(bytes.split(|byte| *byte != 0).all(|run| run.len() < ZERO_RUN_BYTES_MIN), "a run was missed");
                let after_run = at > 0 && matches!(seen[at - 1], Seen::Zeros(_));
                let before_run = matches!(seen.get(at + 1), Some(Seen::Zeros(_)));
                assert!(!after_run || bytes[0] != 0, "the run is not maximal");
                assert!(!before_run || bytes[bytes.len() - 1] != 0, "the run is not maximal");
            }
            _ => {}
        }
    }
    assert!(open.is_none());
}

/// Cuts `stream` into pieces of these lengths, over and over.
fn cut<'a>(mut stream: &'a [u8], lens: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for len in lens.iter().cycle() {
        let (piece, rest) = stream.split_at((*len).min(stream.len()));
        pieces.push(piece);
        stream = rest;
        if stream.is_empty() || lens.iter().all(|len| *len == 0) {
            break;
        }
    }
    pieces.push(stream);
    pieces
}

fn members(seen: &[Seen]) -> Vec<&Member> {
    seen.iter().filter_map(|event| if let Seen::Member(member) = event { Some(member) } else { None }).collect()
}

fn only_member(stream: &[u8]) -> Member {
    let (seen, ending) = split(stream);
    assert_eq!(ending, Ending::Complete { members: 1, trailing_zeros: 0 });
    members(&seen)[0].clone()
}

/// A USTAR header; [`sign`] it after changing it.
fn header(name: &str, typeflag: u8, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    put(&mut block, 0, name.as_bytes());
    put(&mut block, 100, b"0000644\x000001750\x000001751\0");
    put(&mut block, 124, format!("{size:011o}\0").as_bytes());
    put(&mut block, 136, b"00000000017\0");
    block[156] = typeflag;
    put(&mut block, 257, b"ustar\x0000root\0");
    sign(&mut block);
    block
}

fn put(block: &mut [u8; 512], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

fn sign(block: &mut [u8; 512]) {
    put(block, 148, b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(block, 148, format!("{sum:06o}\0 ").as_bytes());
}

/// A header, its content, and padding.
fn member(name: &str, typeflag: u8, content: &[u8]) -> Vec<u8> {
    padded(&header(name, typeflag, content.len() as u64), content)
}

fn padded(block: &[u8; 512], content: &[u8]) -> Vec<u8> {
    let mut bytes = block.to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    [format!("{len} {key}=").as_bytes(), value, b"\n"].concat()
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let content: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
    member("PaxHeaders.0/x", b'x', &content)
}

fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = parts.concat();
    stream.resize(stream.len() + 1024, 0);
    stream
}

/// Bytes without long runs of zeros.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(len)
    .collect()
}

#[test]
fn a_small_archive_is_told_apart() {
    let long = noise(4196);
    let stream = archive(&[member("dir", b'5', b""), member("dir/short", b'0', b"abc"), member("dir/long", 0, &long)]);
    let (seen, ending) = split(&stream);
    let mut want = vec![Seen::Boundary, Seen::Envelope(stream[..512].to_vec())];
    let found = members(&seen);
    want.push(Seen::Member(found[0].clone()));
    want.extend([Seen::Boundary, Seen::Envelope(stream[512..1024].to_vec()), Seen::Member(found[1].clone())]);
    want.extend([Seen::Inline(b"abc".to_vec()), Seen::Envelope(vec![0; 509])]);
    want.extend([Seen::Boundary, Seen::Envelope(stream[1536..2048].to_vec()), Seen::Member(found[2].clone())]);
    want.extend([Seen::Start(Some(4196)), Seen::Payload(long), Seen::End, Seen::Envelope(vec![0; 412 + 1024])]);
    assert_eq!(seen, want);
    assert_eq!(ending, Ending::Complete { members: 3, trailing_zeros: 0 });
    assert_eq!(
        *found[2],
        Member {
            path: b"dir/long".to_vec(),
            size: 4196,
            mode: 0o644,
            uid: 1000,
            gid: 1001,
            mtime_seconds: 15,
            offset: 1536,
            content_offset: 2048,
            ..Member::default()
        }
    );
}

#[test]
fn content_of_4096_bytes_is_a_payload_and_4095_is_not() {
    let (seen, _) = split(&archive(&[member("a", b'0', &noise(4095)), member("b", b'0', &noise(4096))]));
    assert_eq!(seen.iter().filter(|event| matches!(event, Seen::Inline(_))).count(), 1);
    assert_eq!(seen.iter().filter(|event| matches!(event, Seen::Payload(_))).count(), 1);
}

#[test]
fn pax_values_may_hold_newlines_and_nuls() {
    let capability = b"\x01\0\0\x02\n12 path=evil\n\0\0\n";
    let found = only_member(&archive(&[
        pax(&[
            ("path", b"caf\xc3\xa9/\xff\nx"),
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.user.empty", b""),
            ("mtime", b"-1.25"),
            ("uid", b"4294967294"),
        ]),
        member("lossy", b'0', b"content"),
    ]));
    assert_eq!(found.path, b"caf\xc3\xa9/\xff\nx");
    assert_eq!(
        found.xattrs,
        [(b"security.capability".to_vec(), capability.to_vec()), (b"user.empty".to_vec(), vec![])]
    );
    assert_eq!((found.mtime_seconds, found.mtime_nanos), (-2, 750_000_000));
    assert_eq!((found.uid, found.gid, found.offset), (4_294_967_294, 1001, 0));
    assert_eq!(found.content_offset, 1536);
}

#[test]
fn pax_records_are_read_by_their_length() {
    let content = [record("a", b"b\nc"), record("key", b"x=y\0"), b"7 bad\n\n".to_vec(), record("d", b"e")].concat();
    let mut records = PaxRecords::new(&content);
    assert_eq!(records.next(), Some(Ok(PaxRecord { key: b"a", value: b"b\nc" })));
    assert_eq!(records.next(), Some(Ok(PaxRecord { key: b"key", value: b"x=y\0" })));
    assert_eq!(records.next(), Some(Err(PaxError { offset: 20 })));
    assert_eq!(records.next(), None);
    for wrong in ["", "5", " a=b\n", "0 a=b\n", "3 a=b\n", "6 a=b", "7 a=b\nx", "99999999999999999999 a=b\n", "6 =ab\n"]
    {
        let first = PaxRecords::new(wrong.as_bytes()).next();
        assert!(wrong.is_empty() || matches!(first, Some(Err(PaxError { offset: 0 }))), "{wrong:?}: {first:?}");
    }
}

#[test]
fn gnu_long_names_hold_any_length_and_pax_beats_them() {
    let (long, link) = ("n".repeat(5000), "l".repeat(300));
    let names =
        [member("././@LongLink", b'K', link.as_bytes()), member("././@LongLink", b'L', format!("{long}\0").as_bytes())];
    let found = only_member(&archive(&[names.concat(), member("short", b'2', b"")]));
    assert_eq!((found.path, found.link, found.kind), (long.into_bytes(), link.into_bytes(), MemberKind::Symlink));
    let found = only_member(&archive(&[names.concat(), pax(&[("path", b"pax")]), member("short", b'0', b"")]));
    assert_eq!(found.path, b"pax");
}

#[test]
fn a_content_that_is_skipped_changes_nothing_behind_it() {
    let content = [vec![7; 1000], vec![0; 100_000], vec![8; 77]].concat();
    let stream = archive(&[member("one", b'0', &content), pax(&[("uid", b"8")]), member("two", b'0', b"2")]);
    let (head, rest) = stream.split_at(BLOCK_BYTES);
    let (given, rest) = rest.split_at(1500);
    let (mut splitter, mut seen) = (Splitter::new(), Vec::new());
    let mut sink = |event: Event<'_>| {
        seen.extend(if let Event::Member(member) = event { Some(member.clone()) } else { None });
        Ok::<(), Infallible>(())
    };
    assert_eq!((splitter.place(), splitter.skippable()), (Place::Between, 0));
    splitter.push(&head[..100], &mut sink).unwrap();
    assert_eq!((splitter.place(), splitter.skippable()), (Place::Headers, 0));
    splitter.skip(100, &mut sink).unwrap();
    splitter.push(&head[100..], &mut sink).unwrap();
    splitter.push(given, &mut sink).unwrap();
    let left = content.len() as u64 - 1500;
    assert_eq!((splitter.place(), splitter.skippable()), (Place::Content, left));
    splitter.skip(10, &mut sink).unwrap();
    splitter.skip(u64::MAX, &mut sink).unwrap();
    assert_eq!((splitter.place(), splitter.skippable()), (Place::Content, 0));
    splitter.push(&rest[usize::try_from(left).unwrap()..], &mut sink).unwrap();
    assert_eq!(splitter.place(), Place::Rest);
    assert_eq!(splitter.finish(&mut sink).unwrap(), Ending::Complete { members: 2, trailing_zeros: 0 });
    assert_eq!(seen.iter().collect::<Vec<_>>(), members(&split(&stream).0));
}

#[test]
fn lists_in_the_kernels_form_are_attributes() {
    let list = [2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255];
    let records: [(&str, &[u8]); 2] = [("SCHILY.acl.access", &list), ("SCHILY.acl.default", b"user::rwx")];
    let (seen, _) = split(&archive(&[pax(&records), member("one", b'0', b"1")]));
    assert_eq!(members(&seen)[0].xattrs, [(b"system.posix_acl_access".to_vec(), list.to_vec())]);
}

#[test]
fn a_global_header_counts_until_the_next_one() {
    let global = |records: &[(&str, &[u8])]| {
        member("g", b'g', &records.iter().flat_map(|(k, v)| record(k, v)).collect::<Vec<_>>())
    };
    let stream = archive(&[
        global(&[("uid", b"7"), ("SCHILY.xattr.user.a", b"1")]),
        member("one", b'0', b"1"),
        [pax(&[("uid", b"8"), ("SCHILY.xattr.user.a", b"2")]), member("two", b'0', b"2")].concat(),
        global(&[("comment", b"nothing")]),
        member("three", b'0', b"3"),
    ]);
    let (seen, ending) = split(&stream);
    assert_eq!(ending, Ending::Complete { members: 3, trailing_zeros: 0 });
    assert_eq!(members(&seen).iter().map(|member| member.uid).collect::<Vec<_>>(), [7, 8, 1000]);
    assert_eq!(members(&seen).iter().map(|member| member.xattrs.len()).collect::<Vec<_>>(), [0, 1, 0]);
    // A global header is a unit of its own.
    assert_eq!(seen.iter().filter(|event| **event == Seen::Boundary).count(), 5);
    let (_, ending) = split(&archive(&[global(&[("comment", b"an empty commit")])]));
    assert_eq!(ending, Ending::Complete { members: 0, trailing_zeros: 0 });
}

#[test]
fn links_directories_and_devices_have_no_content_whatever_their_size_says() {
    for typeflag in [b'1', b'2', b'3', b'4', b'5', b'6'] {
        for prefix in [vec![], pax(&[("size", b"9000")]), pax(&[("size", b"nonsense")])] {
            let block = header("odd", typeflag, 9000);
            let (seen, ending) = split(&archive(&[prefix, block.to_vec(), member("next", b'0', b"x")]));
            assert_eq!(ending, Ending::Complete { members: 2, trailing_zeros: 0 });
            assert_eq!(members(&seen)[0].size, 0);
        }
    }
}

#[test]
fn members_of_unknown_types_have_the_content_that_their_size_says() {
    for typeflag in [b'D', b'M', b'N', b'V', b'A', b'Z', b'8'] {
        let (seen, ending) = split(&archive(&[member("odd", typeflag, b"abc"), member("next", b'7', b"x")]));
        assert_eq!(ending, Ending::Complete { members: 2, trailing_zeros: 0 });
        assert_eq!((members(&seen)[0].kind, members(&seen)[1].kind), (MemberKind::Other(typeflag), MemberKind::File));
    }
}

/// The header with its first 257 bytes only, as before USTAR.
fn v7(name: &str, typeflag: u8, size: u64) -> [u8; 512] {
    let mut block = header(name, typeflag, size);
    block[257..].fill(0);
    sign(&mut block);
    block
}

#[test]
fn v7_headers_and_other_dialects_are_read() {
    assert_eq!(only_member(&archive(&[v7("dir/", 0, 0).to_vec()])).kind, MemberKind::Directory);
    assert_eq!(only_member(&archive(&[padded(&v7("file/", 0, 3), b"abc")])).kind, MemberKind::File);

    let mut ustar = header("name", b'0', 0);
    put(&mut ustar, 345, &[b'p'; 155]);
    sign(&mut ustar);
    assert_eq!(only_member(&archive(&[ustar.to_vec()])).path, [[b'p'; 155].as_slice(), b"/name"].concat());
    let mut star = ustar;
    put(&mut star, 508, b"tar\0");
    sign(&mut star);
    assert_eq!(only_member(&archive(&[star.to_vec()])).path.len(), 131 + 5);
    let mut gnu = ustar;
    put(&mut gnu, 257, b"ustar  \0");
    sign(&mut gnu);
    assert_eq!(only_member(&archive(&[gnu.to_vec()])).path, b"name");

    let mut device = header("dev", b'4', 0);
    put(&mut device, 329, b"0000010\x000000021\0");
    sign(&mut device);
    let found = only_member(&archive(&[device.to_vec()]));
    assert_eq!((found.kind, found.device_major, found.device_minor), (MemberKind::BlockDevice, 8, 17));
}

#[test]
fn signed_checksums_are_right_as_well() {
    let mut block = header("h\u{e9}\u{e9}", b'0', 0);
    let sum: i32 = block.iter().map(|byte| i32::from(byte.cast_signed())).sum();
    let field: i32 = block[148..156].iter().map(|byte| i32::from(*byte)).sum();
    put(&mut block, 148, format!("{:06o}\0 ", sum - field + 256).as_bytes());
    assert_eq!(only_member(&archive(&[block.to_vec()])).path, "h\u{e9}\u{e9}".as_bytes());
}

/// The size field's 12 bytes in base 256.
fn base_256(value: i128) -> [u8; 12] {
    let mut field: [u8; 12] = value.to_be_bytes()[4..].try_into().unwrap();
    field[0] |= 0x80;
    field
}

#[test]
fn numbers_have_many_forms() {
    let decoded = |field: &[u8]| {
        let mut block = header("n", b'0', 0);
        put(&mut block, 124, field);
        sign(&mut block);
        Header::decode(&block).map(|header| header.size)
    };
    assert_eq!(decoded(b"00000000017\0"), Ok(15));
    assert_eq!(decoded(b"         17 "), Ok(15));
    assert_eq!(decoded(b"777777777777"), Ok((1 << 36) - 1));
    assert_eq!(decoded(b"17\0 garbage "), Ok(15));
    assert_eq!(decoded(&[0; 12]), Ok(0));
    assert_eq!(decoded(&base_256(1 << 40)), Ok(1 << 40));
    assert_eq!(decoded(&base_256(i64::MAX.into())), Ok(i64::MAX.cast_unsigned()));
    for wrong in [b"0000000001x\0".as_slice(), b"-0000000001\0", b"8          \0"] {
        assert_eq!(decoded(wrong), Err(HeaderError::Size));
    }
    for wrong in [base_256(-1), base_256(1 << 63), base_256(1 << 94)] {
        assert_eq!(decoded(&wrong), Err(HeaderError::Size));
    }
    let mut block = header("n", b'0', 0);
    put(&mut block, 108, b"rubbish\0");
    put(&mut block, 116, &[0x80, 0, 0, 1, 0, 0, 0, 0]);
    put(&mut block, 136, &base_256(-315_619_190));
    sign(&mut block);
    let found = Header::decode(&block).unwrap();
    assert_eq!((found.uid, found.gid, found.mtime_seconds), (ID_UNKNOWN, 1 << 32, -315_619_190));
}

#[test]
fn a_flipped_bit_in_a_header_makes_the_rest_opaque_from_that_block() {
    let first = member("one", b'0', b"abc");
    for bit in (0..512 * 8).step_by(7) {
        let mut second = member("two", b'0', &noise(600));
        second[bit / 8] ^= 1 << (bit % 8);
        let (_, ending) = split(&archive(&[first.clone(), second]));
        // The checksum's own terminators may be a NUL or a space.
        let harmless = (154..156).contains(&(bit / 8)) && ending == Ending::Complete { members: 2, trailing_zeros: 0 };
        assert!(harmless || ending == Ending::NotTar { offset: 1024 }, "bit {bit}: {ending:?}");
    }
}

#[test]
fn sizes_that_nobody_can_follow_make_the_rest_opaque() {
    let huge = i64::MAX.to_string();
    for size in [huge.as_bytes(), b"18446744073709551616", b"-1", b"12x"] {
        let (seen, ending) = split(&archive(&[pax(&[("size", size)]), member("x", b'0', b"abc")]));
        assert_eq!(ending, Ending::NotTar { offset: 1024 });
        assert_eq!(seen[1], Seen::Envelope(pax(&[("size", size)])));
    }
    let mut block = header("x", b'0', 0);
    put(&mut block, 124, &base_256(i64::MAX.into()));
    sign(&mut block);
    assert_eq!(split(&archive(&[block.to_vec()])).1, Ending::Cut { path: b"x".to_vec() });
    assert_eq!(split(&archive(&[member("a", b'0', b""), block.to_vec()])).1, Ending::NotTar { offset: 512 });
}

#[test]
fn old_gnu_sparse_maps_are_envelope_and_the_stored_data_content() {
    let mut block = header("sparse", b'S', 4608);
    block[482] = 1;
    sign(&mut block);
    let (mut one, mut two) = ([b'1'; 512], [b'2'; 512]);
    (one[504], two[504]) = (1, 0);
    let data = noise(4608);
    let maps = [block, one, two].concat();
    let stream = archive(&[maps.clone(), data.clone(), member("next", b'0', b"")]);
    let (seen, ending) = split(&stream);
    assert_eq!(ending, Ending::Complete { members: 2, trailing_zeros: 0 });
    assert_eq!(seen[1], Seen::Envelope(maps));
    assert_eq!(members(&seen)[0].kind, MemberKind::Sparse);
    assert_eq!(members(&seen)[0].content_offset, 1536);
    assert_eq!(seen[4], Seen::Payload(data));

    let (_, ending) = split(&stream[..1200]);
    assert_eq!(ending, Ending::Cut { path: b"sparse".to_vec() });
    let endless = [block.to_vec(), vec![1; TAR_SPARSE_MAP_BYTES_MAX + 1024]].concat();
    let (_, ending) = split(&endless);
    assert_eq!(ending, Ending::NotTar { offset: 512 + TAR_SPARSE_MAP_BYTES_MAX as u64 });
}

#[test]
fn pax_sparse_files_keep_their_map_as_content() {
    let found = only_member(&archive(&[
        pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.name", b"real/name"),
            ("path", b"real/GNUSparseFile.1/name"),
            ("size", b"5"),
        ]),
        member("GNUSparseFile.1/name", b'0', b"0\n\0\0\0"),
    ]));
    assert_eq!((found.path.as_slice(), found.kind, found.size), (b"real/name".as_slice(), MemberKind::Sparse, 5));
}

#[test]
fn extensions_have_a_limit() {
    let fits = vec![b'a'; TAR_EXTENSION_BYTES_MAX - 512];
    let found = only_member(&archive(&[member("", b'L', &fits), member("x", b'0', b"")]));
    assert_eq!(found.path, fits);
    let stream = archive(&[member("one", b'0', b""), member("", b'L', &vec![b'a'; fits.len() + 1])]);
    assert_eq!(split(&stream).1, Ending::NotTar { offset: 512 });
    // Nor may many small ones together exceed it, so that envelope without a boundary is bounded.
    let many = member("", b'L', b"").repeat(TAR_EXTENSION_BYTES_MAX / 512 + 1);
    assert_eq!(split(&many).1, Ending::NotTar { offset: TAR_EXTENSION_BYTES_MAX as u64 });
}

#[test]
fn every_ending_is_told() {
    let one = member("one", b'0', &noise(600));
    let with = |tail: &[u8]| split(&[one.clone(), tail.to_vec()].concat()).1;
    assert_eq!(split(b"").1, Ending::NoEnd { members: 0 });
    assert_eq!(split(&[0; 1024]).1, Ending::Complete { members: 0, trailing_zeros: 0 });
    assert_eq!(split(b"no archive").1, Ending::NotTar { offset: 0 });
    assert_eq!(with(b""), Ending::NoEnd { members: 1 });
    assert_eq!(with(&[0; 512]), Ending::NoEnd { members: 1 });
    assert_eq!(with(&[0; 1023]), Ending::NoEnd { members: 1 });
    assert_eq!(with(&[0; 1024]), Ending::Complete { members: 1, trailing_zeros: 0 });
    assert_eq!(with(&[0; 10240]), Ending::Complete { members: 1, trailing_zeros: 9216 });
    assert_eq!(with(&[0; 1100]), Ending::Complete { members: 1, trailing_zeros: 76 });
    assert_eq!(with(&[&[0; 1024], b"x".as_slice()].concat()), Ending::Trailing { members: 1, offset: 2560 });
    assert_eq!(with(&[&[0; 9000], b"x".as_slice()].concat()), Ending::Trailing { members: 1, offset: 2560 });
    assert_eq!(with(&[&[0; 512], one.as_slice()].concat()), Ending::NotTar { offset: 2048 });
    assert_eq!(with(&[1; 600]), Ending::NotTar { offset: 1536 });
    assert_eq!(with(&one[..100]), Ending::Cut { path: vec![] });
    assert_eq!(with(&one[..600]), Ending::Cut { path: b"one".to_vec() });
    assert_eq!(with(&one[..1200]), Ending::Cut { path: b"one".to_vec() });
    assert_eq!(with(&pax(&[("path", b"known")])), Ending::Cut { path: b"known".to_vec() });
    assert_eq!(with(&[pax(&[("path", b"known")]), vec![0; 1024]].concat()), Ending::NotTar { offset: 2560 });
}

#[test]
fn an_opaque_stream_is_one_payload_or_short_and_inline() {
    let tar = archive(&[member("one", b'0', b"abc")]);
    let (seen, ending) = split_pieces_with(Splitter::opaque(), cut(&tar, &[100]));
    assert_eq!(seen, [Seen::Start(None), Seen::Payload(tar), Seen::End]);
    assert_eq!(ending, Ending::NotTar { offset: 0 });
    let (seen, _) = split_pieces_with(Splitter::opaque(), cut(&[7; 511], &[100]));
    assert_eq!(seen, [Seen::Inline(vec![7; 511])]);
    assert_eq!(split_pieces_with(Splitter::opaque(), []), (vec![], Ending::NotTar { offset: 0 }));
}

#[test]
fn a_stream_that_begins_with_zeros_is_no_endless_envelope() {
    let (seen, ending) = split(&vec![0; 3 * MIB]);
    let zeros = 3 * MIB as u64 - 1024;
    assert_eq!(seen, [Seen::Envelope(vec![0; 1024]), Seen::Start(None), Seen::Zeros(zeros), Seen::End]);
    assert_eq!(ending, Ending::Complete { members: 0, trailing_zeros: zeros });
}

/// Every form at once, small enough to try each length.
fn every_form() -> Vec<u8> {
    let mut sparse = header("sparse", b'S', 600);
    sparse[482] = 1;
    sign(&mut sparse);
    archive(&[
        member("g", b'g', &record("comment", b"x")),
        [pax(&[("path", b"a"), ("SCHILY.xattr.user.x", b"\n\0")]), member("a", b'0', &noise(4400))].concat(),
        [member("", b'L', &[b'l'; 600]), member("", b'K', b"k\0"), member("l", b'1', b"")].concat(),
        [padded(&sparse, &[0; 512]), noise(600), vec![0; 424]].concat(),
        member("short", b'0', b"short"),
    ])
}

#[test]
fn a_stream_cut_anywhere_is_exact_and_known_as_cut() {
    let stream = every_form();
    assert_eq!(split(&stream).1, Ending::Complete { members: 4, trailing_zeros: 0 });
    for len in 0..stream.len() {
        let whole = split(&stream[..len]);
        assert!(!matches!(whole.1, Ending::Complete { .. } | Ending::Trailing { .. }), "{len}: {:?}", whole.1);
        if len % 13 == 0 {
            assert_eq!(split_pieces(cut(&stream[..len], &[1])), whole);
        }
    }
}

#[test]
fn runs_of_zeros_are_found_wherever_they_lie() {
    for len in [ZERO_RUN_BYTES_MIN - 1, ZERO_RUN_BYTES_MIN, ZERO_RUN_BYTES_MIN + 1, 3 * ZERO_RUN_BYTES_MIN] {
        for before in [0, 1, 127, ZERO_RUN_BYTES_MIN - 1, ZERO_RUN_BYTES_MIN] {
            let content = [vec![1; before], vec![0; len], vec![1; 1], vec![0; len], vec![0; 3]].concat();
            let stream = archive(&[member("z", b'0', &content)]);
            let whole = split(&stream);
            let runs = whole.0.iter().filter(|event| matches!(event, Seen::Zeros(_))).count();
            let want = usize::from(len >= ZERO_RUN_BYTES_MIN) + usize::from(len + 3 >= ZERO_RUN_BYTES_MIN);
            assert_eq!(runs, want, "{before} {len}");
            for lens in [&[1][..], &[512, 4096], &[ZERO_RUN_BYTES_MIN - 1], &[50_000, 3, 777]] {
                assert_eq!(split_pieces(cut(&stream, lens)), whole);
            }
        }
    }
}

#[test]
fn nine_gibibytes_by_pax_size_pass_as_one_run() {
    let size = 9_u64 << 30;
    let mut splitter = Splitter::new();
    let mut runs = Vec::new();
    let mut sink = |event: Event<'_>| {
        match event {
            Event::Zeros(len) => runs.push(len),
            Event::PayloadStart { len } => assert_eq!(len, Some(size)),
            Event::Payload(bytes) => panic!("{} bytes of payload", bytes.len()),
            _ => {}
        }
        Ok::<(), Infallible>(())
    };
    splitter.push(&pax(&[("size", size.to_string().as_bytes())]), &mut sink).unwrap();
    splitter.push(&header("disk.img", b'0', 0), &mut sink).unwrap();
    let piece = vec![0; 512 * 1024];
    for _ in 0..size / piece.len() as u64 {
        splitter.push(&piece, &mut sink).unwrap();
    }
    splitter.push(&archive(&[member("next", b'0', b"x")]), &mut sink).unwrap();
    assert_eq!(splitter.finish(&mut sink), Ok(Ending::Complete { members: 2, trailing_zeros: 0 }));
    assert_eq!(runs, [size]);
}

#[test]
fn what_the_tar_crate_writes_is_read() {
    let mut builder = ::tar::Builder::new(Vec::new());
    let mut paths = Vec::new();
    for (len, mut header) in
        [(20, ::tar::Header::new_ustar()), (400, ::tar::Header::new_gnu()), (90, ::tar::Header::new_old())]
    {
        header.set_size(1000);
        header.set_mode(0o600);
        header.set_uid(5);
        let path = "p".repeat(len);
        builder.append_data(&mut header, &path, noise(1000).as_slice()).unwrap();
        paths.push(path.into_bytes());
    }
    builder.append_pax_extensions([("SCHILY.xattr.user.k", b"v".as_slice())]).unwrap();
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(::tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "link", "t".repeat(200)).unwrap();
    paths.push(b"link".to_vec());
    let (seen, ending) = split(&builder.into_inner().unwrap());
    assert_eq!(ending, Ending::Complete { members: 4, trailing_zeros: 0 });
    assert_eq!(members(&seen).iter().map(|member| member.path.clone()).collect::<Vec<_>>(), paths);
    assert_eq!(members(&seen)[3].link, [b't'; 200]);
    assert_eq!(members(&seen)[3].xattrs, [(b"user.k".to_vec(), b"v".to_vec())]);
}

#[test]
fn a_path_for_people_cannot_steer_a_terminal() {
    assert_eq!(display(b"caf\xc3\xa9\x1b[2J\n\xff").to_string(), "caf\u{e9}\\u{1b}[2J\\n\u{fffd}");
}

#[test]
fn an_error_of_the_sink_comes_back() {
    let mut sink = |event: Event<'_>| if matches!(event, Event::Member(_)) { Err("full") } else { Ok(()) };
    assert_eq!(Splitter::new().push(&every_form(), &mut sink), Err("full"));
}

/// One member with its extensions, of a form chosen by chance.
fn any_member() -> impl Strategy<Value = Vec<u8>> {
    let content = prop_oneof![
        (0..600_usize).prop_map(noise),
        (4000..4200_usize).prop_map(noise),
        (0..10_usize).prop_map(|blocks| noise(blocks * 512)),
        (0..3_usize, 0..2000_usize).prop_map(|(runs, more)| [
            noise(more),
            vec![0; runs * ZERO_RUN_BYTES_MIN / 2 + more]
        ]
        .concat()),
    ];
    let value = prop::collection::vec(any::<u8>(), 0..40);
    (0..8_u8, content, value).prop_map(|(form, content, value)| match form {
        0 => [pax(&[("path", &value), ("SCHILY.xattr.user.v", &value)]), member("p", b'0', &content)].concat(),
        1 => [member("", b'L', &value), member("l", b'0', &content)].concat(),
        2 => {
            let size = content.len().to_string();
            [pax(&[("size", size.as_bytes())]), padded(&header("s", b'0', 0), &content)].concat()
        }
        3 => {
            let mut block = header("sparse", b'S', content.len() as u64);
            block[482] = 1;
            sign(&mut block);
            [block.to_vec(), vec![0; 512], padded(&[0; 512], &content).split_off(512)].concat()
        }
        4 => member("g", b'g', &record("uid", &value)),
        5 => header("link", b'1', content.len() as u64).to_vec(),
        6 => padded(&v7("old", 0, content.len() as u64), &content),
        _ => member("file", b'0', &content),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn arbitrary_bytes_are_exact_in_any_pieces(
        stream in prop::collection::vec(prop_oneof![2 => Just(0), 1 => any::<u8>()], 0..3000),
        lens in prop::collection::vec(0..700_usize, 1..8),
    ) {
        let whole = split(&stream);
        prop_assert_eq!(split_pieces(cut(&stream, &lens)), whole);
    }

    #[test]
    fn damaged_archives_are_exact_in_any_pieces(
        parts in prop::collection::vec(any_member(), 0..6),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u8), 0..4),
        len in prop::option::of(any::<prop::sample::Index>()),
        tail in prop_oneof![Just(vec![]), Just(vec![0; 9000]), (0..900_usize).prop_map(noise)],
        lens in prop::collection::vec(prop_oneof![1..3_usize, 1..600_usize, 1..90_000_usize], 1..6),
    ) {
        let mut stream = [archive(&parts), tail].concat();
        for (at, bit) in flips {
            let at = at.index(stream.len());
            stream[at] ^= 1 << bit;
        }
        if let Some(len) = len {
            stream.truncate(len.index(stream.len()));
        }
        let whole = split(&stream);
        prop_assert_eq!(split_pieces(cut(&stream, &lens)), whole);
    }

    #[test]
    fn undamaged_archives_are_complete(parts in prop::collection::vec(any_member(), 0..6)) {
        let (_, ending) = split(&archive(&parts));
        let complete = matches!(ending, Ending::Complete { trailing_zeros: 0, .. });
        prop_assert!(complete, "{:?}", ending);
    }

    #[test]
    fn payloads_of_zeros_and_bytes_are_exact_in_any_pieces(
        runs in prop::collection::vec((0..3_usize, 0..2 * ZERO_RUN_BYTES_MIN), 0..6),
        lens in prop::collection::vec(prop_oneof![1..100_usize, 1..200_000_usize], 1..6),
    ) {
        let runs = runs.iter().map(|(kind, len)| if *kind == 0 { vec![1; *len % 300] } else { vec![0; *len] });
        let content = runs.collect::<Vec<_>>().concat();
        let stream = archive(&[member("z", b'0', &content)]);
        let whole = split(&stream);
        prop_assert_eq!(split_pieces(cut(&stream, &lens)), whole);
    }
}

#[test]
#[ignore = "measures speed and asserts nothing about it; run alone with --nocapture"]
#[expect(clippy::print_stderr, clippy::cast_precision_loss, reason = "a figure for people is its result")]
fn speed() {
    let measure = |what: &str, stream: &[u8], piece: usize, times: usize, units: f64| {
        let begun = std::time::Instant::now();
        let mut bytes = 0_u64;
        for _ in 0..times {
            let mut splitter = Splitter::new();
            let mut sink = |event: Event<'_>| {
                match std::hint::black_box(event) {
                    Event::Payload(part) | Event::Inline(part) | Event::Envelope(part) => bytes += part.len() as u64,
                    Event::Zeros(len) => bytes += len,
                    _ => {}
                }
                Ok::<(), Infallible>(())
            };
            stream.chunks(piece).for_each(|piece| splitter.push(piece, &mut sink).unwrap());
            let ending = splitter.finish(&mut sink).unwrap();
            assert!(matches!(ending, Ending::Complete { trailing_zeros: 0, .. }), "{ending:?}");
        }
        let seconds = begun.elapsed().as_secs_f64();
        let rate = bytes as f64 / seconds / 1e9;
        eprintln!("{what}, pieces of {piece}: {rate:.1} GB/s, {:.2} M units/s", units * times as f64 / seconds / 1e6);
    };
    let files = archive(&[member("some/directory/with/a/file", b'0', b"").repeat(100_000)]);
    let paxed = [pax(&[("path", "n".repeat(120).as_bytes())]), member("x", b'0', b"")].concat();
    let paxed = archive(&[paxed.repeat(50_000)]);
    let small = archive(&[member("small", b'0', &noise(3000)).repeat(20_000)]);
    let large = archive(&[member("large", b'0', &noise(64 * MIB))]);
    let holes = [noise(ZERO_RUN_BYTES_MIN), vec![0; ZERO_RUN_BYTES_MIN - 1]].concat().repeat(500);
    let holes = archive(&[member("holes", b'0', &holes)]);
    let empty = archive(&[member("zeros", b'0', &vec![0; 64 * MIB])]);
    for piece in [MIB, 32 * 1024, 1000] {
        measure("empty files", &files, piece, 5, 1e5);
        measure("empty files with PAX", &paxed, piece, 5, 5e4);
        measure("files of 3000 bytes", &small, piece, 5, 2e4);
        measure("one large file", &large, piece, 5, 1.0);
        measure("zero runs just too short", &holes, piece, 5, 1.0);
        measure("one file of zeros", &empty, piece, 5, 1.0);
    }
}
