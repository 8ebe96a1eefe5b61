//! How the index lies in RocksDB: keys, values and the database's settings (`format-spec/index.md`, "The local index").
//!
//! One column family; the first byte of a key says what it is. Knows no file and no lock; what values hold is in
//! [`rows`](crate::index::rows).
//!
//! A chunk has one key, and its value lists all its places, each with the number of the statement that it is from. A
//! place is added by a *merge*, RocksDB's write that reads nothing. So one get answers for all packs of a chunk, and a
//! miss ends at a filter; with the number in the key it takes an iterator, which costs twice as much. Integers are
//! big-endian, so that the order of bytes is the order of numbers.

use std::path::Path;

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DB, DBCompressionType, LogLevel, MergeOperands, Options,
    WriteOptions,
};

use crate::id::{ChunkId, ID_BYTES, PackId, RepositoryId, SegmentId};
use crate::index::rows::{Place, check_head, decode_mark, head_bytes, join, location, place_number, places};
use crate::index::statements::Statements;
use crate::index::{Fact, IndexError, Unusable, arrange};
use crate::limits::{INDEX_WRITE_BUFFER_BYTES, MIB};

/// First byte of the keys of chunks.
pub(super) const CHUNK: u8 = b'c';
/// The first byte behind all keys of chunks.
pub(super) const CHUNK_END: u8 = b'd';
/// Key of the head: layout and repository.
const HEAD: &[u8] = b"h";
/// Key of the next statement number that was never given out.
const NEXT: &[u8] = b"n";
/// First byte of the keys of absorbed segments.
const SEGMENT: u8 = b's';

/// Bytes of a chunk's key.
pub(super) const CHUNK_KEY_BYTES: usize = 1 + ID_BYTES;
/// The key of a chunk.
pub(super) type ChunkKey = [u8; CHUNK_KEY_BYTES];
/// Name of the merge operator; part of what RocksDB checks when it opens an index.
const MERGE_NAME: &str = "holdall.places";
/// Chunks that RocksDB looks up at once.
const LOOK_UP_CHUNKS: usize = 256;

/// Settings of the database. Memory is fixed: two write buffers and the cache, whatever the number of facts; filters
/// and indexes are cut into pages that go through the cache, and only the page tables, some 100 KiB per TB, are pinned.
///
/// `keep` says whether the places with a statement number may still count; others are left out where places are joined.
pub(super) fn options(cache: &Cache, keep: impl Fn(u32) -> bool + Send + Sync + Clone + 'static) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_top_level_index_and_filter(true);
    table.set_bloom_filter(10.0, false);

    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_merge_operator_associative(MERGE_NAME, move |_: &[u8], older: Option<&[u8]>, newer: &MergeOperands| {
        join(older.into_iter().chain(newer), &keep)
    });
    options.set_memtable_prefix_bloom_ratio(0.1);
    options.set_memtable_whole_key_filtering(true);
    options.set_write_buffer_size(INDEX_WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_target_file_size_base(64 * MIB as u64);
    // Keys are hashes; there is nothing to compress.
    options.set_compression_type(DBCompressionType::None);
    // A secondary stays readable while the primary compacts only if it holds every file open.
    options.set_max_open_files(-1);
    // One flush and one compaction at a time.
    options.set_max_background_jobs(2);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options
}

/// Settings of every write. Without a log a killed process loses its last writes, but only from the end: RocksDB
/// flushes write buffers in their order.
pub(super) fn unlogged() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

/// The key of a chunk.
pub(super) fn chunk_key(id: &ChunkId) -> ChunkKey {
    let mut key = [CHUNK; CHUNK_KEY_BYTES];
    let [_, bytes @ ..] = &mut key;
    *bytes = *id.as_bytes();
    key
}

/// The key of an absorbed segment.
pub(super) fn segment_key(id: SegmentId) -> [u8; 1 + ID_BYTES] {
    let mut key = [SEGMENT; 1 + ID_BYTES];
    let [_, bytes @ ..] = &mut key;
    *bytes = *id.as_bytes();
    key
}

/// Writes the head of a new index.
pub(super) fn put_head(db: &DB, repository: RepositoryId) -> Result<(), rocksdb::Error> {
    db.put_opt(HEAD, head_bytes(repository), &unlogged())
}

/// Writes the next free statement number; before any fact that has a smaller one.
pub(super) fn put_next(db: &DB, next: u32) -> Result<(), rocksdb::Error> {
    db.put_opt(NEXT, next.to_be_bytes(), &unlogged())
}

/// What an index holds besides facts: its statements and the next free number. Nothing if it is completely empty.
pub(super) fn read_contents(
    db: &DB,
    dir: &Path,
    repository: RepositoryId,
) -> Result<Option<(Statements, u32)>, IndexError> {
    let unusable = |reason| IndexError::Unusable { dir: dir.to_owned(), reason };
    let mut entries = db.raw_iterator();
    let Some(head) = db.get_pinned(HEAD).map_err(|error| fault(dir, error))? else {
        entries.seek_to_first();
        entries.status().map_err(|error| fault(dir, error))?;
        return if entries.valid() { Err(unusable(Unusable::Entry("head"))) } else { Ok(None) };
    };
    check_head(&head, repository).map_err(unusable)?;
    let next = match db.get_pinned(NEXT).map_err(|error| fault(dir, error))? {
        None => 0,
        Some(bytes) => {
            u32::from_be_bytes(bytes.as_ref().try_into().map_err(|_| unusable(Unusable::Entry("next number")))?)
        }
    };
    let mut statements = Statements::default();
    entries.seek([SEGMENT]);
    while let Some(([SEGMENT, id @ ..], value)) = entries.item() {
        let wrong = || unusable(Unusable::Entry("segment"));
        let id = SegmentId::from_bytes(id.try_into().map_err(|_| wrong())?);
        let named = decode_mark(value).map_err(|_| wrong())?;
        if named.iter().any(|(number, _)| *number >= next) {
            return Err(wrong());
        }
        statements.insert(id, named);
        entries.next();
    }
    entries.status().map_err(|error| fault(dir, error))?;
    Ok(Some((statements, next)))
}

/// Adds to `found` the facts about each of `ids` whose statement number `pack_of` knows.
pub(super) fn look_up(
    db: &DB,
    dir: &Path,
    ids: &[ChunkId],
    pack_of: impl Fn(u32) -> Option<PackId>,
    found: &mut [Vec<Fact>],
) -> Result<(), IndexError> {
    let broken = || IndexError::Unusable { dir: dir.to_owned(), reason: Unusable::Entry("chunk") };
    // In key order, neighbours are in the same files and often in the same pages of filters and indexes.
    let mut asked: Vec<(ChunkKey, &mut Vec<Fact>)> = ids.iter().map(chunk_key).zip(found).collect();
    asked.sort_unstable_by_key(|(key, _)| *key);
    for some in asked.chunks_mut(LOOK_UP_CHUNKS) {
        let values = match some {
            [(key, _)] => vec![db.get(key)],
            _ => db.multi_get(some.iter().map(|(key, _)| key)),
        };
        for ((_, facts), value) in some.iter_mut().zip(values) {
            let Some(value) = value.map_err(|error| fault(dir, error))? else { continue };
            // Of a chunk that a pack holds twice the last place counts: it comes first here, and the sort is stable.
            let known = |place: &Place| Some((place_number(place), pack_of(place_number(place))?, location(place)?));
            let mut places: Vec<_> = places(&value).ok_or_else(broken)?.iter().rev().filter_map(known).collect();
            places.sort_by_key(|(number, ..)| *number);
            places.dedup_by_key(|(number, ..)| *number);
            facts.extend(places.into_iter().map(|(_, pack, at)| Fact { pack, at }));
            arrange(facts);
        }
    }
    Ok(())
}

/// Tells damage, which making the index anew cures, from a refusal of the system, which it does not.
pub(super) fn fault(dir: &Path, error: rocksdb::Error) -> IndexError {
    use rocksdb::ErrorKind::{Corruption, IOError, InvalidArgument, NotFound, NotSupported};
    let dir = dir.to_owned();
    let damaged = match error.kind() {
        Corruption | InvalidArgument | NotFound | NotSupported => true,
        // A file of the database is gone; RocksDB has no kind of its own for it.
        IOError => error.as_ref().contains("No such file"),
        _ => false,
    };
    if damaged {
        IndexError::Unusable { dir, reason: Unusable::Damaged(error.into()) }
    } else {
        IndexError::Failed { dir, source: error.into() }
    }
}
