//! Whole streams: what is accepted as an export, and what becomes of any bytes that are imported.

use std::sync::Arc;

use holdall::backup::{Acceptor, ImportRequest, Padding, Run, import as import_stream};
use holdall::clock::{FixedClock, Timestamp};
use holdall::crypto::{KeyFile, SlotKey};
use holdall::monitor::Silent;
use holdall::repo::{Catalog, Parity, Repository};
use holdall::restore::{Digest, export};
use holdall::source::{Selector, SourceKind};
use holdall::store::MemoryStore;
use holdall::tar::{Ending, Splitter};

/// Between index, list of streams and paths in an input of [`accept`].
pub(super) const SEPARATOR: u8 = 0xff;

fn watch(stream: &[u8]) -> (Acceptor, Ending) {
    let (mut splitter, mut acceptor) = (Splitter::new(), Acceptor::new());
    let mut sink = |event: holdall::tar::Event<'_>| {
        acceptor.event(&event);
        Ok::<(), ()>(())
    };
    splitter.push(stream, &mut sink).expect("the sink takes everything");
    let ending = splitter.finish(&mut sink).expect("the sink takes everything");
    (acceptor, ending)
}

/// An export with this index, this list of streams and these members: it is accepted or not, cut off it never is.
pub fn accept(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == SEPARATOR);
    let mut stream = Vec::new();
    add(&mut stream, b"backup/index.yaml", parts.next().unwrap_or_default());
    if let Some(header) = parts.next().filter(|header| !header.is_empty()) {
        add(&mut stream, b"backup/optimized_header.yaml", header);
    }
    for path in parts.next().unwrap_or_default().split(|byte| *byte == b'\n').filter(|path| !path.is_empty()) {
        add(&mut stream, path, b"");
    }
    stream.resize(stream.len() + 1024, 0);
    let (acceptor, ending) = watch(&stream);
    let whole = acceptor.verdict(&ending, Padding::Forbidden);
    assert_eq!(whole, acceptor.verdict(&ending, Padding::Allowed), "padding that is not there matters");
    let digest = blake3::hash(data);
    for pair in digest.as_bytes().as_chunks::<2>().0.iter().take(4) {
        let len = usize::from(u16::from_le_bytes(*pair)) % stream.len();
        let (acceptor, ending) = watch(&stream[..len]);
        assert!(acceptor.verdict(&ending, Padding::Allowed).is_err(), "cut to {len} bytes it is accepted");
    }
}

pub(super) fn add(stream: &mut Vec<u8>, path: &[u8], content: &[u8]) {
    let mut header = ::tar::Header::new_gnu();
    let name = &path[..path.len().min(100)];
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    stream.extend_from_slice(header.as_bytes());
    stream.extend_from_slice(content);
    stream.resize(stream.len().next_multiple_of(512), 0);
}

/// Any bytes: as a file they come back as they were; as an export, compressed or not, they are a point that can be read
/// or no point at all.
pub fn import(data: &[u8]) {
    let clock = FixedClock(Timestamp::from_micros(1_795_219_200_000_000).expect("it is in range"));
    let key = KeyFile::fixed([7; 32]);
    let store = Arc::new(MemoryStore::new());
    let repository = Repository::init(store, &SlotKey::KeyFile(&key), clock.0, 0, Parity::ReedSolomon)
        .expect("memory does not fail");
    let mut run = Run::begin(&repository, &Silent, &clock, "host").expect("memory does not fail");
    let mut take = |source: Option<Selector>| {
        let (label, server) = ("the input".to_owned(), "host".to_owned());
        let request = ImportRequest { label, input: &mut &data[..], bytes: None, source, server };
        import_stream(&mut run, request)
    };
    let file = Selector { server: None, kind: SourceKind::File, name: "input".to_owned() };
    take(Some(file)).expect("any bytes are a file");
    let accepted = take(None).is_ok();
    let made = run.finish().expect("memory does not fail").made.len();
    assert_eq!(made, 1 + usize::from(accepted));
    let catalog = Catalog::read(&repository, &Silent).expect("memory does not fail");
    assert_eq!(catalog.points().len(), made, "a point was claimed that cannot be read");
    for (_, point) in catalog.points() {
        assert!(point.source.is_nameable(), "nobody can name {:?}", point.source);
        let mut out = Vec::new();
        export(&repository, "a point", point, &mut out, Digest::None, &Silent).expect("what is stored comes back");
        assert!(out == data || point.original.is_some(), "other bytes came back");
    }
}
