//! Every maximum and every size that shapes a repository or a buffer, with unit and reason.
//!
//! The spec's tables quote these (`format-spec/README.md`, "Limits"); a parser refuses what exceeds one. Relations that
//! other code relies on are asserted here, at compile time.

/// One kibibyte in bytes.
pub const KIB: usize = 1024;
/// One mebibyte in bytes.
pub const MIB: usize = 1024 * KIB;

// -- words

/// Longest name of a server, project, pool, member, instance, volume or file in bytes. Daemons stop at 63 or 255.
pub const NAME_BYTES_MAX: usize = 1024;

// -- splitting

/// Content of a member shorter than this stays in the envelope. A chunk of its own costs 136 bytes that do not
/// compress: its id in the recipe, in the directory and twice in the segment. That can double a tree of small texts;
/// four containers over two days are one per cent larger this way, and have half as many chunks.
pub const PAYLOAD_BYTES_MIN: usize = 4 * KIB;
/// The shortest run of zeros inside one payload that is stored as a number instead of chunks.
pub const ZERO_RUN_BYTES_MIN: usize = 64 * KIB;
/// Most bytes of PAX and GNU long-name extensions before one member, their headers and padding counted; beyond it the
/// rest of the stream is one opaque payload.
/// The kernel bounds a path to 4 KiB and all xattrs of a file to 64 KiB each; a megabyte holds sixteen of those.
pub const TAR_EXTENSION_BYTES_MAX: usize = MIB;
/// Most bytes of continuation blocks that an old GNU sparse map may have; beyond it the rest of the stream is one
/// opaque payload. They hold 21 extents each, so this is a file of 680 000 extents, and a bound on envelope without a
/// boundary.
pub const TAR_SPARSE_MAP_BYTES_MAX: usize = 16 * MIB;
/// Longest member path that is kept for search and messages, in bytes; the stored stream keeps any length.
pub const MEMBER_PATH_BYTES_MAX: usize = 64 * KIB;

// -- chunks and frames

/// The longest chunk in bytes that any parameters may ask for.
pub const CHUNK_BYTES_MAX: usize = 4 * MIB;
/// A frame closes when it holds this much before compression (measured: 2 MiB stores 2 % less than 1 MiB, 4 MiB 1 %
/// more).
pub const FRAME_PLAIN_BYTES_TARGET: usize = 2 * MIB;
/// The most that a frame can decompress to: it closes with the chunk that reaches the target.
pub const FRAME_PLAIN_BYTES_MAX: usize = FRAME_PLAIN_BYTES_TARGET + CHUNK_BYTES_MAX;
/// The most bytes of a frame as stored: incompressible frames are stored raw, with a tag for the codec.
pub const FRAME_SEALED_BYTES_MAX: usize = FRAME_PLAIN_BYTES_MAX + 64;
/// The most chunks in one frame; a shorter payload than [`PAYLOAD_BYTES_MIN`] is none, so only the rests that runs of
/// zeros leave are shorter in practice, and a file's last.
pub const FRAME_CHUNKS_MAX: usize = 65_536;

// -- packs

/// A pack is closed when its frames reach this size in bytes.
pub const PACK_BYTES_TARGET: usize = 64 * MIB;
/// The largest pack that a reader accepts, in bytes: frames, padding, directory and parity.
pub const PACK_BYTES_MAX: usize = 256 * MIB;
/// The most frames in one pack.
pub const PACK_FRAMES_MAX: usize = 65_536;
/// The most chunks in one pack.
pub const PACK_CHUNKS_MAX: usize = 1 << 20;

/// Bytes of shards that are encoded or rebuilt at once, of all shards of a pack together: the rest of the shards waits
/// its turn, so that parity costs this much memory and not the pack again.
pub const PARITY_COLUMN_BYTES_MAX: usize = 4 * MIB;
/// Where a damaged pack is searched for what describes its parity, so many places are looked at that only seem to.
pub const PARITY_CANDIDATES_MAX: usize = 4096;
/// Lost places of a pack that are read around, of 4 KiB each: more than any parity could mend.
pub const LOST_SECTORS_MAX: usize = 4096;

// -- sealed objects

/// The largest plain body of a sealed object other than a pack, in bytes: some 1.5 million facts of a segment.
pub const OBJECT_PLAIN_BYTES_MAX: usize = 64 * MIB;
/// The largest sealed object other than a pack, in bytes: the body twice, with headers.
pub const OBJECT_BYTES_MAX: usize = 2 * (OBJECT_PLAIN_BYTES_MAX + 4 * KIB);
/// A writer ends an index segment at this many chunks, so that it stays far below [`OBJECT_PLAIN_BYTES_MAX`].
pub const SEGMENT_CHUNKS_TARGET: usize = 1 << 18;

/// Bytes of the object that a prune deletes where not even its condemned object fits.
pub const RESERVE_BYTES: usize = MIB;

// -- recipes and points

/// A recipe part may end at a suitable place once it has this many bytes.
pub const PART_BYTES_MIN: usize = 4 * KIB;
/// Inside a long member a recipe part may end once it has this many bytes; at twice as many it ends wherever it may.
pub const PART_BYTES_TARGET: usize = 8 * KIB;
/// The largest recipe part that a reader accepts, in bytes.
pub const PART_BYTES_MAX: usize = MIB;
/// A recipe part may also end at a suitable place once it covers this many envelope bytes, so that a path is found by
/// reading little even where files are empty.
pub const PART_ENVELOPE_BYTES_MIN: usize = 256 * KIB;
/// A recipe part ends at the next boundary once it covers this many envelope bytes.
pub const PART_ENVELOPE_BYTES_TARGET: usize = MIB;
/// The most envelope bytes of one part that a reader accepts: a part ends at the first boundary behind its target, and
/// between two boundaries stand the extensions of one member, its sparse map and a short content at most.
pub const PART_ENVELOPE_BYTES_MAX: usize = 32 * MIB;
/// The longest first path that the table of parts keeps, in bytes; a longer one is cut, which search allows for.
pub const PART_PATH_BYTES_MAX: usize = 4 * KIB;
/// The most packs that one point may need.
pub const POINT_PACKS_MAX: usize = 1 << 20;
/// The most chunks of the table of parts that one point may list.
pub const POINT_TABLE_CHUNKS_MAX: usize = 1 << 20;
/// The largest text of the daemon's own description of a source that a point keeps, in bytes. Index files are capped at
/// 1 MiB by the importers themselves.
pub const DESCRIPTION_BYTES_MAX: usize = 8 * MIB;
/// The longest stream in bytes: 8 EiB less one byte, so that sums of two lengths cannot overflow.
pub const STREAM_BYTES_MAX: u64 = i64::MAX as u64;

// -- keys

/// The least memory of Argon2id for a new key slot, in KiB: 64 MiB, the smaller recommendation of RFC 9106.
pub const ARGON2_MEMORY_KIB_MIN: u32 = 64 * 1024;
/// The most memory of Argon2id that a reader spends on a key slot, in KiB: 1 GiB, so that a forged slot cannot take
/// more.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 1024 * 1024;
/// The fewest passes of Argon2id for a new key slot (RFC 9106).
pub const ARGON2_PASSES_MIN: u32 = 3;
/// The most passes of Argon2id that a reader makes for a key slot.
pub const ARGON2_PASSES_MAX: u32 = 64;
/// The most lanes of Argon2id for a new key slot (RFC 9106).
pub const ARGON2_LANES_NEW_MAX: u32 = 4;
/// The most lanes of Argon2id that a reader accepts in a key slot.
pub const ARGON2_LANES_MAX: u32 = 16;
/// Longest passphrase in bytes; longer input is more likely a wrong file than a passphrase.
pub const PASSPHRASE_BYTES_MAX: usize = 4 * KIB;
/// Longest label of a key slot in bytes: what is left of a description of 256 bytes.
pub const KEYSLOT_LABEL_BYTES_MAX: usize = 245;
/// The largest key file that is read, in bytes: the key and some lines of comment.
pub const KEY_FILE_BYTES_MAX: usize = 16 * KIB;
// -- stores

/// Longest part of an object's name in a store, in bytes: an id in hexadecimal, a hyphen and a number, with room. File
/// systems take 255.
pub const STORE_PART_BYTES_MAX: usize = 128;
/// The most parts of an object's name in a store, the object itself included.
pub const STORE_PARTS_MAX: usize = 4;
// -- exports of daemons

/// The longest index of an export that is read, in bytes. Importers read 1 MiB, exporters write what they have.
pub const EXPORT_INDEX_BYTES_MAX: usize = 8 * MIB;
/// Bytes of the index of an export that daemons take at an import (`reference/daemon-api.md` 4.4).
pub const IMPORT_INDEX_BYTES_MAX: usize = MIB;
/// Configuration keys that one restore leaves out because the daemon refused them: each costs an upload.
pub const IMPORT_KEYS_REFUSED_MAX: usize = 8;
/// The most top-level members of an export: one or two a snapshot, and one a nested subvolume.
pub const EXPORT_ROOTS_MAX: usize = 100_000;
/// The largest window in bytes that decompressing an export may need: what `zstd --ultra -22` takes; `xz -9` takes half
/// of it. It is memory that the first bytes of a file ask for.
pub const IMPORT_WINDOW_BYTES_MAX: usize = 128 * MIB;

// -- multipart bodies

/// The longest boundary of a multipart body (RFC 2046).
pub const MULTIPART_BOUNDARY_BYTES_MAX: usize = 70;
/// The most bytes of headers that a part of a multipart body may have; daemons write two hundred.
pub const MULTIPART_HEADERS_BYTES_MAX: usize = 16 * KIB;

// -- buffers of a running program

/// Bytes that a stage reads or hands on at once.
pub const PIECE_BYTES: usize = MIB;
/// Bytes that may wait between the socket and the splitter, of all sources of a run that are at work.
pub const READ_QUEUE_BYTES_MAX: usize = 8 * MIB;
/// The most sources that a run stores beside each other: each takes some 10 MiB besides what they share (measured).
pub const SOURCES_AT_ONCE_MAX: usize = 4;
/// Plain bytes of frames of one kind that several sources may have open; beyond it the largest is closed before it is
/// full.
pub const OPEN_FRAMES_BYTES_MAX: usize = 2 * FRAME_PLAIN_BYTES_TARGET;
/// Plain bytes of frames that may wait for compression, be compressed or wait for their turn.
pub const FRAME_QUEUE_BYTES_MAX: usize = 16 * MIB;
/// Plain bytes of decoded frames that a restore keeps.
pub const RESTORE_WINDOW_BYTES: usize = 64 * MIB;
/// The same for who reads recipes alone, one part after the other, and needs its memory for other things.
pub const RECIPE_WINDOW_BYTES: usize = 16 * MIB;
/// Bytes that may wait between rebuilding a stream and uploading it.
pub const UPLOAD_QUEUE_BYTES_MAX: usize = 16 * MIB;
/// Plain bytes of distinct frames that a restore fetches at once, in parallel, while it writes as many.
pub const RESTORE_BATCH_BYTES: usize = 24 * MIB;
/// The most steps of a recipe that a restore plans ahead with its frames: a stream that repeats itself needs few frames
/// for many steps, some hundred bytes each.
pub const RESTORE_BATCH_STEPS_MAX: usize = 64 * KIB;
/// The most members that are compared in memory, where an archive has them in an order of its own: some 300 bytes each.
pub const DIFF_UNORDERED_MEMBERS_MAX: usize = 1 << 20;
/// How often a hard link may lead to another when files are extracted.
pub const LINK_ROUNDS_MAX: usize = 8;
/// The most directories on the way to a file that is extracted: each is open meanwhile.
pub const EXTRACT_DEPTH_MAX: usize = 512;
/// Chunks that a set of chunks collects before it sorts them in: 12 MiB.
pub const CHUNK_SET_PENDING_MAX: usize = 1 << 20;
/// Files of one point that a check names because content of them is lost.
pub const LOST_FILES_MAX: usize = 1000;
/// Lost chunks of one point whose files a check looks for.
pub const LOST_CHUNKS_MAX: usize = 1 << 16;
/// RocksDB's block cache in bytes.
pub const INDEX_CACHE_BYTES: usize = 32 * MIB;
/// The most attempts to read a passphrase or to read an object again that vanished under a prune.
pub const LOOK_AGAIN_MAX: usize = 16;

// -- index

/// One of the two write buffers of the index in bytes.
pub const INDEX_WRITE_BUFFER_BYTES: usize = 16 * MIB;
/// New facts of one segment that go into the index through the write buffers; more are loaded as sorted files.
pub const INDEX_DIRECT_FACTS_MAX: usize = 65_536;
/// Files into which a load of the index parts facts by their chunk id before it sorts them: one megabyte each per
/// 2 million facts. All are open at once.
pub const INDEX_LOAD_PARTS: usize = 128;
/// Bytes that a load collects for each of these files before it writes them.
pub const INDEX_LOAD_PART_BUFFER_BYTES: usize = 64 * KIB;
/// Facts that one worker of a load sorts at once: 16 MiB.
pub const INDEX_LOAD_SORT_FACTS_MAX: usize = 256 * 1024;
/// Threads that sort and write facts in a load; each sorts [`INDEX_LOAD_SORT_FACTS_MAX`] facts at a time.
pub const INDEX_LOAD_WORKERS: usize = 4;
/// Facts after which a load begins another sorted file, of some 64 MiB.
pub const INDEX_LOAD_FILE_FACTS: u64 = 1 << 20;
// -- the daemon

/// The largest JSON reply that describes many objects, in bytes. An instance with 16 KiB of cloud-init takes 40 KiB, so
/// this holds 1600 such instances of one project.
pub const DAEMON_LISTING_BYTES_MAX: usize = 64 * MIB;
/// The largest JSON reply that describes one object, in bytes; a point keeps such texts.
pub const DAEMON_OBJECT_BYTES_MAX: usize = DESCRIPTION_BYTES_MAX;
/// The most of a daemon's own words that a message repeats, in bytes.
pub const DAEMON_WORDS_BYTES_MAX: usize = KIB;
/// Bytes of an upload that are read and handed to the socket at once.
pub const UPLOAD_PIECE_BYTES: usize = 256 * KIB;
/// Pieces of an upload that may wait for the socket.
pub const UPLOAD_QUEUE_PIECES_MAX: usize = 4;
/// Bytes of a download that may wait inside the HTTP client; a larger buffer means fewer, larger reads.
pub const DOWNLOAD_BUFFER_BYTES_MAX: usize = 512 * KIB;
/// How long the daemon may take for the head of a reply and for a JSON body, in seconds. Bodies of exports may stall
/// for hours.
pub const DAEMON_REPLY_SECONDS_MAX: u64 = 600;
/// How long the daemon may take to answer a request that only cleans up, in seconds.
pub const DAEMON_CLEANUP_SECONDS_MAX: u64 = 30;
/// How often a request that only cleans up is tried, a second apart, while the daemon is starting up.
pub const DAEMON_CLEANUP_ATTEMPTS_MAX: usize = 5;
/// How often a deletion is tried, a second apart, while the daemon is busy with what is to be deleted.
pub const DAEMON_BUSY_ATTEMPTS_MAX: usize = 60;
/// How often a request is tried, a second apart, while the daemon says that it is starting up or does not listen.
pub const DAEMON_STARTUP_ATTEMPTS_MAX: usize = 60;
/// How long one request waits for an operation, in seconds; the daemon's progress is asked for as often.
pub const DAEMON_WAIT_SECONDS: u64 = 1;
/// How often a change of an instance is tried again after somebody else changed it in between.
pub const DAEMON_EDIT_ATTEMPTS_MAX: usize = 5;

const _: () = assert!(CHUNK_BYTES_MAX + FRAME_PLAIN_BYTES_TARGET <= FRAME_PLAIN_BYTES_MAX);
const _: () = assert!(PACK_BYTES_TARGET + FRAME_SEALED_BYTES_MAX < PACK_BYTES_MAX);
const _: () = assert!(PACK_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(PART_BYTES_MIN < PART_BYTES_TARGET && PART_BYTES_TARGET < PART_BYTES_MAX);
const _: () = assert!(PART_BYTES_MAX <= CHUNK_BYTES_MAX);
const _: () = assert!(
    PART_ENVELOPE_BYTES_TARGET + TAR_EXTENSION_BYTES_MAX + TAR_SPARSE_MAP_BYTES_MAX + PAYLOAD_BYTES_MIN + 4 * KIB
        < PART_ENVELOPE_BYTES_MAX
);
const _: () = assert!(ARGON2_MEMORY_KIB_MIN < ARGON2_MEMORY_KIB_MAX && ARGON2_PASSES_MIN < ARGON2_PASSES_MAX);
const _: () = assert!(2 * crate::id::ID_BYTES + 21 <= STORE_PART_BYTES_MAX);
const _: () = assert!(RECIPE_WINDOW_BYTES <= RESTORE_WINDOW_BYTES && FRAME_PLAIN_BYTES_MAX < RECIPE_WINDOW_BYTES);
const _: () = assert!(RESTORE_BATCH_BYTES + FRAME_PLAIN_BYTES_MAX < RESTORE_WINDOW_BYTES);
const _: () = assert!(IMPORT_WINDOW_BYTES_MAX.is_power_of_two());
const _: () = assert!(PAYLOAD_BYTES_MIN < ZERO_RUN_BYTES_MIN);
const _: () = assert!(INDEX_LOAD_PARTS.is_power_of_two() && INDEX_LOAD_PARTS <= 256);
