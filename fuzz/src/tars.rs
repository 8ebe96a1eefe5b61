//! Tar streams: any bytes come out of the splitter as they went in, and as the same events in whatever pieces.

use holdall::limits::{PAYLOAD_BYTES_MIN, STREAM_BYTES_MAX, ZERO_RUN_BYTES_MIN};
use holdall::tar::{BLOCK_BYTES, Ending, Event, Header, PaxRecords, Splitter};

use super::choice;

/// An event that owns what it says; runs of the same bytes are one.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Boundary,
    Envelope(Vec<u8>),
    Member(Box<holdall::tar::Member>),
    Inline(Vec<u8>),
    PayloadStart(Option<u64>),
    Payload(Vec<u8>),
    Zeros(u64),
    PayloadEnd,
}

/// Splits a stream that comes in pieces of the given lengths, again and again.
fn split(stream: &[u8], pieces: &[usize]) -> (Vec<Seen>, Ending) {
    let mut seen: Vec<Seen> = Vec::new();
    let mut sink = |event: Event<'_>| {
        match (seen.last_mut(), event) {
            (Some(Seen::Envelope(all)), Event::Envelope(bytes))
            | (Some(Seen::Inline(all)), Event::Inline(bytes))
            | (Some(Seen::Payload(all)), Event::Payload(bytes)) => all.extend_from_slice(bytes),
            (_, Event::Boundary) => seen.push(Seen::Boundary),
            (_, Event::Envelope(bytes)) => seen.push(Seen::Envelope(bytes.to_vec())),
            (_, Event::Member(member)) => seen.push(Seen::Member(Box::new(member.clone()))),
            (_, Event::Inline(bytes)) => seen.push(Seen::Inline(bytes.to_vec())),
            (_, Event::PayloadStart { len }) => seen.push(Seen::PayloadStart(len)),
            (_, Event::Payload(bytes)) => seen.push(Seen::Payload(bytes.to_vec())),
            (_, Event::Zeros(len)) => seen.push(Seen::Zeros(len)),
            (_, Event::PayloadEnd) => seen.push(Seen::PayloadEnd),
        }
        Ok::<(), ()>(())
    };
    let mut splitter = Splitter::new();
    let mut rest = stream;
    let mut lengths = pieces.iter().cycle();
    while !rest.is_empty() {
        let len = lengths.next().map_or(rest.len(), |len| (*len).clamp(1, rest.len()));
        let (piece, after) = rest.split_at(len);
        splitter.push(piece, &mut sink).expect("the sink takes everything");
        rest = after;
    }
    let ending = splitter.finish(&mut sink).expect("the sink takes everything");
    (seen, ending)
}

/// What the events say the stream was.
fn join(seen: &[Seen]) -> Vec<u8> {
    let mut stream = Vec::new();
    for event in seen {
        match event {
            Seen::Envelope(bytes) | Seen::Inline(bytes) | Seen::Payload(bytes) => stream.extend_from_slice(bytes),
            Seen::Zeros(len) => stream.resize(stream.len() + usize::try_from(*len).expect("it was pushed"), 0),
            Seen::Boundary | Seen::Member(_) | Seen::PayloadStart(_) | Seen::PayloadEnd => {}
        }
    }
    stream
}

fn check_events(seen: &[Seen]) {
    let mut inside = false;
    for event in seen {
        match event {
            Seen::PayloadStart(len) => {
                assert!(!inside && len.is_none_or(|len| len >= PAYLOAD_BYTES_MIN as u64));
                inside = true;
            }
            Seen::PayloadEnd => {
                assert!(inside);
                inside = false;
            }
            Seen::Payload(bytes) => assert!(inside && !bytes.is_empty()),
            Seen::Zeros(len) => assert!(inside && *len >= ZERO_RUN_BYTES_MIN as u64),
            Seen::Inline(bytes) => assert!(!inside && bytes.len() < PAYLOAD_BYTES_MIN),
            Seen::Boundary | Seen::Envelope(_) | Seen::Member(_) => assert!(!inside),
        }
    }
    assert!(!inside);
}

/// Gives every block that calls itself ustar the checksum of its bytes: no fuzzer finds one.
pub(super) fn mend_checksums(stream: &mut [u8]) {
    for block in stream.as_chunks_mut::<BLOCK_BYTES>().0 {
        if block[257..262] == *b"ustar" {
            mend_checksum(block);
        }
    }
}

fn mend_checksum(block: &mut [u8; BLOCK_BYTES]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

/// The splitter. The first byte says whether checksums are mended and how the pieces are cut; a second bit stretches
/// each run of 64 zeros to a run that counts.
pub fn splitter(data: &[u8]) {
    let (chosen, data) = choice(data);
    let mut stream = data.to_vec();
    if chosen & 1 != 0 {
        mend_checksums(&mut stream);
    }
    if chosen & 2 != 0
        && let Some(at) = stream.windows(64).position(|run| run.iter().all(|byte| *byte == 0))
    {
        stream.splice(at..at, vec![0; ZERO_RUN_BYTES_MIN]);
    }
    let (whole, ending) = split(&stream, &[]);
    assert!(join(&whole) == stream, "the events are not the stream");
    check_events(&whole);
    let step = usize::from(chosen >> 2);
    // Byte by byte takes its time, and what it finds does not depend on what is long.
    let single = [1, if stream.len() < 4 * BLOCK_BYTES { 1 } else { BLOCK_BYTES }];
    for pieces in [&single[..], &[step * 7 + 1, 511, 1, step + 1], &[BLOCK_BYTES, step * 1000 + 1]] {
        let again = split(&stream, pieces);
        assert_eq!(again.0, whole, "pieces matter");
        assert_eq!(again.1, ending, "pieces matter for the ending");
    }
}

/// One header block. The first byte says whether its checksum is mended.
pub fn header(data: &[u8]) {
    let (chosen, data) = choice(data);
    let mut block = [0; BLOCK_BYTES];
    for (to, from) in block.iter_mut().zip(data) {
        *to = *from;
    }
    if chosen & 1 != 0 {
        mend_checksum(&mut block);
    }
    if let Ok(header) = Header::decode(&block) {
        assert!(header.size <= STREAM_BYTES_MAX);
        let mut path = Vec::new();
        header.path_into(&mut path);
        assert!(path.len() <= 256 && !path.contains(&0) && header.link.len() <= 100);
    }
}

/// The content of an extension: alone, and before a member.
pub fn pax(data: &[u8]) {
    let (chosen, data) = choice(data);
    let mut records_len = 0;
    for record in PaxRecords::new(data) {
        match record {
            Ok(record) => {
                assert!(!record.key.is_empty() && !record.key.contains(&b'='));
                records_len += record.key.len() + record.value.len() + "3 =\n".len();
            }
            Err(error) => assert!(error.offset <= data.len()),
        }
    }
    assert!(records_len <= data.len());

    let kinds = [b'x', b'g', b'L', b'K', b'X'];
    let mut stream = block_of(kinds[usize::from(chosen) % kinds.len()], data.len()).to_vec();
    stream.extend_from_slice(data);
    stream.resize(stream.len().next_multiple_of(BLOCK_BYTES), 0);
    stream.extend_from_slice(&block_of(b'0', 1));
    stream.resize(stream.len() + BLOCK_BYTES, b'x');
    stream.resize(stream.len() + 2 * BLOCK_BYTES, 0);
    let (seen, _) = split(&stream, &[]);
    assert!(join(&seen) == stream);
    check_events(&seen);
    for event in &seen {
        if let Seen::Member(member) = event {
            assert!(member.mtime_nanos < 1_000_000_000);
            assert!(!member.display_path().to_string().chars().any(char::is_control));
        }
    }
}

fn block_of(kind: u8, size: usize) -> [u8; BLOCK_BYTES] {
    let mut header = ::tar::Header::new_ustar();
    header.set_size(size as u64);
    header.as_mut_bytes()[..4].copy_from_slice(b"name");
    header.as_mut_bytes()[156] = kind;
    header.set_cksum();
    *header.as_bytes()
}
