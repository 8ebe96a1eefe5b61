//! Whole imports and exports of a synthetic tree: the targets of the pipeline, as seconds of processor per gigabyte.

use std::path::Path;
use std::sync::Arc;

use holdall::backup::{ImportRequest, Run, Summary, import};
use holdall::clock::{FixedClock, Timestamp};
use holdall::crypto::{KeyFile, SlotKey};
use holdall::monitor::Silent;
use holdall::repo::{Catalog, Parity, Repository};
use holdall::restore::{Digest, export};
use holdall::store::{LocalStore, MemoryStore, Store};

use crate::meter::measure;

mod data;
mod meter;

const STREAM_BYTES: usize = 256 << 20;

fn main() {
    println!("Targets in CPU-s/GB: unchanged 0.7, new compressible 7, new incompressible 1.9, export 1.7");
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for what in ["text", "noise"].into_iter().filter(|what| what.contains(&wanted)) {
        let stream = data::tree(STREAM_BYTES, if what == "text" { data::text } else { data::noise });
        case(&format!("{what}, in memory"), &stream, Arc::new(MemoryStore::new()));
        let dir = tempfile::tempdir().expect("there is room");
        let store = LocalStore::create(&Path::join(dir.path(), "repository")).expect("it can be made");
        case(&format!("{what}, on disk"), &stream, Arc::new(store));
    }
}

fn case(what: &str, stream: &[u8], store: Arc<dyn Store>) {
    let key = KeyFile::fixed([7; 32]);
    let now = Timestamp::from_micros(1_795_219_200_000_000).expect("it is in range");
    let repository =
        Repository::init(store, &SlotKey::KeyFile(&key), now, 0, Parity::ReedSolomon).expect("it can be made");
    let first = measure(&format!("import {what}, new"), stream.len(), 0.0, || take(&repository, stream, now));
    println!("{:44} {:9} per mille", "  stored", first.stored_bytes * 1000 / stream.len() as u64);
    let second = measure(&format!("import {what}, unchanged"), stream.len(), 0.0, || take(&repository, stream, now));
    assert_eq!(second.stored_bytes, 0, "nothing is new");
    let catalog = Catalog::read(&repository, &Silent).expect("it can be read");
    let (_, point) = &catalog.points()[0];
    measure(&format!("export {what}"), stream.len(), 0.0, || {
        let mut out = std::io::sink();
        export(&repository, "a point", point, &mut out, Digest::None, &Silent).expect("it comes back");
    });
}

fn take(repository: &Repository, mut stream: &[u8], now: Timestamp) -> Summary {
    let clock = FixedClock(now);
    let mut run = Run::begin(repository, &Silent, &clock, "bench-host").expect("it can begin");
    let source = Some("file:tree".parse().expect("it names a file"));
    let (label, server) = ("the tree".to_owned(), String::new());
    let request = ImportRequest { label, input: &mut stream, bytes: None, source, server };
    import(&mut run, request).expect("it can be stored");
    run.finish().expect("it can be committed")
}
