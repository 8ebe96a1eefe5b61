//! A repository for tests, and short words for what tests do with it.

use std::io::Read;
use std::sync::Arc;

use holdall::backup::{Host, ImportError, ImportRequest, NoHostHooks, Run, Summary, import};
use holdall::check::{CheckLevel, check};
use holdall::clock::{FixedClock, Timestamp};
use holdall::crypto::{KeyFile, SlotKey, Unlock};
use holdall::id::PointId;
use holdall::monitor::Silent;
use holdall::point::Point;
use holdall::prune::Dealing;
use holdall::repair::RepairOptions;
use holdall::repo::{Catalog, IndexPlace, Parity, Repository};
use holdall::restore::{Digest, export};
use holdall::source::Selector;
use holdall::store::{MemoryStore, Store};

pub fn key_file() -> KeyFile {
    KeyFile::fixed([7; 32])
}

pub fn clock() -> FixedClock {
    FixedClock(Timestamp::from_micros(1_795_219_200_000_000).unwrap())
}

/// A repair that reads everything and waits for nobody.
pub const REPAIR: RepairOptions = RepairOptions {
    level: CheckLevel::ReadData,
    dealing: Dealing::Now,
    no_prune_runs: false,
    gives_up_lost_pieces: false,
};

/// A host without hooks.
pub fn host(clock: &FixedClock) -> Host<'_> {
    Host { name: "test-host", clock, hooks: &NoHostHooks }
}

/// A new repository in memory.
pub fn new() -> Repository {
    init(Arc::new(MemoryStore::new()))
}

pub fn init(store: Arc<dyn Store>) -> Repository {
    init_with(store, Parity::ReedSolomon)
}

pub fn init_with(store: Arc<dyn Store>, parity: Parity) -> Repository {
    let key_file = key_file();
    Repository::init(store, &SlotKey::KeyFile(&key_file), clock().0, 0, parity).unwrap()
}

/// Opens the same store again with an empty index.
pub fn reopen(store: Arc<dyn Store>) -> Repository {
    let key_file = key_file();
    Repository::open(store, Unlock::KeyFile(&key_file), IndexPlace::Memory).unwrap().0
}

pub fn import_bytes(
    repository: &Repository,
    mut bytes: impl Read + Send,
    source: Option<&str>,
) -> Result<Summary, ImportError> {
    let clock = clock();
    let mut run = Run::begin(repository, &Silent, &clock, "test-host").unwrap();
    feed_bytes(&mut run, &mut bytes, source)?;
    Ok(run.finish().unwrap())
}

/// Imports into a run that goes on.
pub fn feed_bytes(run: &mut Run<'_>, input: &mut (dyn Read + Send), source: Option<&str>) -> Result<(), ImportError> {
    let source = source.map(|source| source.parse::<Selector>().unwrap());
    let (label, server) = ("the test's bytes".to_owned(), "host".to_owned());
    import(run, ImportRequest { label, input, bytes: None, source, server })
}

/// The repository holds these points, byte for byte, and nothing is wrong with it.
pub fn assert_holds(repository: &Repository, expected: &[(&str, &[u8])]) {
    let found = points(repository);
    assert_eq!(found.len(), expected.len());
    for (name, bytes) in expected {
        let (_, point) = found.iter().find(|(_, point)| point.source.name == *name).expect("a point of this name");
        assert!(export_bytes(repository, point) == *bytes, "{name}");
    }
    let report = check(repository, CheckLevel::ReadData, &Silent).unwrap();
    assert!(report.is_clean() && report.unnamed_packs == 0, "{:?}, {}", report.findings, report.unnamed_packs);
}

pub fn points(repository: &Repository) -> Vec<(PointId, Point)> {
    Catalog::read(repository, &Silent).unwrap().points().to_vec()
}

pub fn export_bytes(repository: &Repository, point: &Point) -> Vec<u8> {
    let mut bytes = Vec::new();
    export(repository, "a point", point, &mut bytes, Digest::None, &Silent).unwrap();
    bytes
}

/// A directory in memory where there is one: what syncs thousands of times needs no disk.
pub fn quick_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A tar of `files` files with `len` bytes of noise each.
pub fn tar_of_noise(files: u64, len: usize) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for n in 0..files {
        let mut header = tar::Header::new_ustar();
        header.set_size(len as u64);
        header.set_mode(0o644);
        header.set_cksum();
        let path = format!("directory/file-{n}");
        builder.append_data(&mut header, path, &noise(n, len)[..]).unwrap();
    }
    builder.into_inner().unwrap()
}
