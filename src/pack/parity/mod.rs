//! Parity: what stands behind the directory of a pack and repairs it (`format-spec/pack.md`, "Parity").
//!
//! It is made of sealed bytes and knows no key. A checksum for each shard says which are damaged; the code of
//! [`erasure`] rebuilds those. Checksums are for accidents: whether bytes are what was sealed is for whoever opens
//! them. Bytes in, bytes out; a pack is repaired to its very bytes or not at all.

mod erasure;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::codec::{Decoder, Encoder};
use crate::limits::{KIB, MIB, PACK_BYTES_MAX, PACK_BYTES_TARGET, PARITY_CANDIDATES_MAX};
use crate::pack::{Trailer, padme};
use erasure::{Code, UNIT_BYTES};

const MAGIC: [u8; 8] = *b"hold/par";
const CHECKSUM_BYTES: usize = 8;
const DIGEST_BYTES: usize = 16;
/// What stands in a block before its part of the table.
const BLOCK_HEAD_BYTES: usize = MAGIC.len() + 4 + 4 + 2 + 2 * DIGEST_BYTES;
/// The most bytes of the table in one block.
const BLOCK_TABLE_BYTES_MAX: usize = 4 * KIB;
/// The least length of a shard.
const SHARD_BYTES_MIN: usize = UNIT_BYTES;
/// One lost sector is repaired for each of so many bytes, wherever they are.
const SECTOR_SHARE_BYTES: usize = 3 * MIB;

/// Why parity does not help.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ParityError {
    /// The file holds nothing that describes parity.
    #[error("it has no parity, or none of it is left")]
    None,
    /// More is damaged than parity makes good.
    #[error("{lost} of its {of} are damaged, more than the {spare} that its parity can rebuild")]
    TooMuch {
        /// How many.
        lost: usize,
        /// Of what.
        of: &'static str,
        /// How many could be rebuilt.
        spare: usize,
    },
    /// What was rebuilt is not what the parity was made of.
    #[error("its parity does not belong to it")]
    Inconsistent,
    /// The parity is not what the rest of the pack gives.
    #[error("its parity is damaged")]
    Damaged,
    /// The code was given shards that do not fit.
    #[error("its parity cannot be computed: {0}")]
    Code(#[from] reed_solomon_simd::Error),
}

/// Where everything stands; all of it follows from how many bytes are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    /// Bytes before the parity.
    protected: usize,
    shard_bytes: usize,
    shards: usize,
    checks: usize,
    /// Bytes of the table in each block.
    block_table_bytes: usize,
    /// Blocks that hold the table itself; all others are checks of them.
    table_blocks: usize,
    /// Blocks before the check shards, and as many behind.
    side_blocks: usize,
}

impl Layout {
    fn new(protected: usize) -> Self {
        let mut shard_bytes = SHARD_BYTES_MIN;
        while shard_bytes * shard_bytes < 2 * protected {
            shard_bytes *= 2;
        }
        Self::with(protected, shard_bytes)
    }

    fn with(protected: usize, shard_bytes: usize) -> Self {
        let shards = protected.div_ceil(shard_bytes);
        let stretch = protected.div_ceil(40).max(protected.div_ceil(8).min(4 * KIB));
        let checks = stretch.div_ceil(shard_bytes) + 2;
        let table_bytes = (shards + checks) * CHECKSUM_BYTES;
        let block_table_bytes = table_bytes.next_multiple_of(UNIT_BYTES).min(BLOCK_TABLE_BYTES_MAX);
        let table_blocks = table_bytes.div_ceil(block_table_bytes);
        let side_blocks = table_blocks.max(table_blocks.div_ceil(2) + protected / SECTOR_SHARE_BYTES);
        Self { protected, shard_bytes, shards, checks, block_table_bytes, table_blocks, side_blocks }
    }

    fn block_bytes(&self) -> usize {
        BLOCK_HEAD_BYTES + self.block_table_bytes
    }

    fn side_bytes(&self) -> usize {
        self.side_blocks * self.block_bytes()
    }

    fn table_bytes(&self) -> usize {
        (self.shards + self.checks) * CHECKSUM_BYTES
    }

    /// Length of the parity.
    fn bytes(&self) -> usize {
        2 * self.side_bytes() + self.checks * self.shard_bytes
    }

    /// The code of the pack's bytes.
    fn code(&self) -> Code {
        Code { data: self.shards, checks: self.checks, shard_bytes: self.shard_bytes }
    }

    /// The code of the table.
    fn table_code(&self) -> Code {
        let checks = 2 * self.side_blocks - self.table_blocks;
        Code { data: self.table_blocks, checks, shard_bytes: self.block_table_bytes }
    }

    /// Where a shard stands in the file; the last one may be shorter than the others.
    fn shard(&self, number: usize) -> Range<usize> {
        let start = number * self.shard_bytes;
        start..self.protected.min(start + self.shard_bytes)
    }

    /// Where a check shard stands in the parity.
    fn check(&self, number: usize) -> Range<usize> {
        let start = self.side_bytes() + number * self.shard_bytes;
        start..start + self.shard_bytes
    }
}

/// Length in bytes of the parity behind so many bytes of a pack: header, frames and directory.
pub fn parity_len(protected: usize) -> usize {
    Layout::new(protected).bytes()
}

/// How many of a pack's bytes are parity, judged by its size alone. For figures: a size that no pack with parity has
/// gives 0.
pub fn parity_share(pack_bytes: u64) -> u64 {
    let Some(pack_bytes) = usize::try_from(pack_bytes).ok().filter(|bytes| *bytes <= PACK_BYTES_MAX) else { return 0 };
    let mut shard_bytes = SHARD_BYTES_MIN;
    let mut least = 1;
    while least < pack_bytes {
        let most = shard_bytes * shard_bytes / 2;
        let size = |protected| protected + Layout::with(protected, shard_bytes).bytes() + Trailer::BYTES;
        // As long as shards have one length, the size grows with what is protected.
        let (mut low, mut high) = (least, most);
        while low < high {
            let middle = low.midpoint(high);
            if size(middle) < pack_bytes {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let bare = low + Trailer::BYTES;
        if size(low) == pack_bytes && (bare >= PACK_BYTES_TARGET || padme(bare) == bare) {
            return (pack_bytes - bare) as u64;
        }
        least = most + 1;
        shard_bytes *= 2;
    }
    0
}

/// The parity of the bytes in `parts`, which end with the directory that the trailer states.
pub fn make(parts: &[&[u8]], trailer: &Trailer) -> Result<Vec<u8>, ParityError> {
    let pieces = Pieces::new(parts);
    let layout = Layout::new(trailer.directory_end());
    let checks = layout.code().encode(|at, into| pieces.read(at, into))?;
    let mut table = Vec::with_capacity(layout.table_bytes() + BLOCK_TABLE_BYTES_MAX);
    for shard in 0..layout.shards {
        table.extend(pieces.checksum(layout.shard(shard)));
    }
    for check in checks.chunks_exact(layout.shard_bytes) {
        table.extend(checksum(check));
    }
    let label = Label::new(trailer, &table);
    let blocks = label.blocks(&layout, table)?;
    // What a processor that errs has made would be found on the day of the repair.
    let found = Found::search(&blocks);
    if found.label != Some(label) || found.blocks.len() != 2 * layout.side_blocks {
        return Err(ParityError::Inconsistent);
    }
    let (front, back) = blocks.split_at_checked(layout.side_bytes()).unwrap_or_default();
    Ok([front, &checks, back].concat())
}

/// Whether the parity of a pack file with this trailer is what the bytes before it give. A pack without parity is
/// sound.
pub fn verify_parity(pack: &[u8], trailer: &Trailer) -> Result<(), ParityError> {
    if trailer.parity_len == 0 {
        return Ok(());
    }
    let (protected, behind) = pack.split_at_checked(trailer.directory_end()).ok_or(ParityError::Damaged)?;
    if trailer.parity_len as usize != parity_len(protected.len()) {
        return Err(ParityError::Damaged);
    }
    let made = make(&[protected], trailer)?;
    if behind.starts_with(&made) { Ok(()) } else { Err(ParityError::Damaged) }
}

/// The pack file as it was stored, from what is left of it: bytes may be wrong anywhere, and its end may be missing.
pub fn mend(mut pack: Vec<u8>) -> Result<Vec<u8>, ParityError> {
    let found = Found::search(&pack);
    let label = found.label.ok_or(ParityError::None)?;
    let layout = Layout::new(label.trailer.directory_end());
    let table = found.table(&pack, &layout)?;

    let parity = pack.split_off(layout.protected.min(pack.len()));
    let (of_shards, of_checks) =
        table.split_at_checked(layout.shards * CHECKSUM_BYTES).ok_or(ParityError::Inconsistent)?;
    let is_sound = |bytes: &[u8], stated: &[u8]| checksum(bytes) == stated;
    let shard_of = |pack: &[u8], number| is_sound_shard(pack, layout.shard(number), of_shards, number);
    let lost: BTreeSet<usize> = (0..layout.shards).filter(|number| !shard_of(&pack, *number)).collect();
    if !lost.is_empty() {
        let sound: Vec<(usize, &[u8])> = of_checks
            .chunks_exact(CHECKSUM_BYTES)
            .enumerate()
            .filter_map(|(number, stated)| {
                parity.get(layout.check(number)).filter(|bytes| is_sound(bytes, stated)).map(|bytes| (number, bytes))
            })
            .collect();
        if sound.len() < lost.len() {
            return Err(ParityError::TooMuch { lost: lost.len(), of: "shards", spare: sound.len() });
        }
        pack.resize(layout.shards * layout.shard_bytes, 0);
        // The code takes what is behind the last byte for zeros.
        layout.code().rebuild(&mut pack, &lost, &sound)?;
        pack.truncate(layout.protected);
        if !lost.iter().all(|number| shard_of(&pack, *number)) {
            return Err(ParityError::Inconsistent);
        }
    }
    // Made again, so that nothing is left of what was damaged behind the directory.
    let trailer = label.trailer;
    let parity = make(&[&pack], &trailer)?;
    if Found::search(&parity).label != Some(label) {
        return Err(ParityError::Inconsistent);
    }
    pack.extend(parity);
    pack.extend(trailer.encode());
    Ok(pack)
}

fn is_sound_shard(pack: &[u8], place: Range<usize>, table: &[u8], number: usize) -> bool {
    let stated = table.chunks_exact(CHECKSUM_BYTES).nth(number);
    pack.get(place).is_some_and(|bytes| stated == Some(&checksum(bytes)))
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    first(&blake3::hash(bytes))
}

/// The first bytes of a hash.
fn first<const N: usize>(hash: &blake3::Hash) -> [u8; N] {
    hash.as_bytes().first_chunk().copied().unwrap_or([0; N])
}

/// What all blocks of one parity have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Label {
    /// The trailer of the pack, which a repair writes again.
    trailer: Trailer,
    digest: [u8; DIGEST_BYTES],
}

impl Label {
    /// The label for a table; the parity length follows from the rest, whatever the trailer says so far.
    fn new(trailer: &Trailer, table: &[u8]) -> Self {
        let parity_len = u32::try_from(parity_len(trailer.directory_end())).unwrap_or(u32::MAX);
        Self { trailer: Trailer { parity_len, ..*trailer }, digest: first(&blake3::hash(table)) }
    }

    /// All blocks, one behind the other: the table's, then their checks.
    fn blocks(&self, layout: &Layout, mut table: Vec<u8>) -> Result<Vec<u8>, ParityError> {
        table.resize(layout.table_blocks * layout.block_table_bytes, 0);
        let checks = layout.table_code().encode(|at, into| {
            if let Some(bytes) = table.get(at..at + into.len()) {
                into.copy_from_slice(bytes);
            }
        })?;
        let parts = table.chunks_exact(layout.block_table_bytes).chain(checks.chunks_exact(layout.block_table_bytes));
        let mut blocks = Vec::with_capacity(2 * layout.side_bytes());
        for (number, part) in (0_u16..).zip(parts) {
            let head = self.head(number);
            let digest: [u8; DIGEST_BYTES] = block_digest(&head, part);
            blocks.extend_from_slice(&head);
            blocks.extend_from_slice(&digest);
            blocks.extend_from_slice(part);
        }
        Ok(blocks)
    }

    fn head(&self, number: u16) -> Vec<u8> {
        let mut head = Encoder::new();
        head.raw(&MAGIC).u32(self.trailer.directory_offset).u32(self.trailer.directory_len);
        head.raw(&number.to_le_bytes()).raw(&self.digest);
        head.finish()
    }
}

fn block_digest(head: &[u8], part: &[u8]) -> [u8; DIGEST_BYTES] {
    first(&blake3::Hasher::new().update(head).update(part).finalize())
}

/// One block as it was found: its label, its number, and where in the file its part of the table is.
fn decode_block(file: &[u8], at: usize) -> Option<(Label, u16, Range<usize>)> {
    let bytes = file.get(at..)?;
    let (head, rest) = bytes.split_at_checked(BLOCK_HEAD_BYTES - DIGEST_BYTES)?;
    let mut from = Decoder::new(head);
    if from.array("block.magic").ok()? != MAGIC {
        return None;
    }
    let directory_offset = from.u32("block.directory_offset").ok()?;
    let directory_len = from.u32("block.directory_len").ok()?;
    let trailer = Trailer { directory_offset, directory_len, parity_len: 0 };
    if trailer.directory_end() > PACK_BYTES_MAX {
        return None;
    }
    let number = u16::from_le_bytes(from.array("block.number").ok()?);
    let layout = Layout::new(trailer.directory_end());
    let parity_len = u32::try_from(layout.bytes()).ok()?;
    let label = Label { trailer: Trailer { parity_len, ..trailer }, digest: from.array("block.table_digest").ok()? };
    let (digest, rest) = rest.split_first_chunk::<DIGEST_BYTES>()?;
    let part = rest.get(..layout.block_table_bytes)?;
    let is_sound = usize::from(number) < 2 * layout.side_blocks && block_digest(head, part) == *digest;
    let start = at + BLOCK_HEAD_BYTES;
    is_sound.then_some((label, number, start..start + layout.block_table_bytes))
}

/// The blocks of a damaged file: those that most others agree with.
struct Found {
    label: Option<Label>,
    blocks: BTreeMap<u16, Range<usize>>,
}

impl Found {
    /// Looks for blocks everywhere, so that neither size nor trailer of the file need be right.
    fn search(file: &[u8]) -> Self {
        let mut labels: BTreeMap<Label, BTreeMap<u16, Range<usize>>> = BTreeMap::new();
        let mut at = 0;
        for _ in 0..PARITY_CANDIDATES_MAX {
            let rest = file.get(at..).unwrap_or_default();
            let Some(next) = rest.windows(MAGIC.len()).position(|bytes| bytes == MAGIC) else { break };
            at += next;
            match decode_block(file, at) {
                Some((label, number, place)) => {
                    at = place.end;
                    labels.entry(label).or_default().insert(number, place);
                }
                None => at += 1,
            }
        }
        let most = labels.into_iter().max_by_key(|(_, blocks)| blocks.len());
        most.map_or_else(
            || Self { label: None, blocks: BTreeMap::new() },
            |(label, blocks)| Self { label: Some(label), blocks },
        )
    }

    /// The table of checksums, from as many blocks as it has, whichever they are.
    fn table(&self, file: &[u8], layout: &Layout) -> Result<Vec<u8>, ParityError> {
        let (mut table, mut lost) = (Vec::new(), BTreeSet::new());
        let part = |number: usize| {
            let number = u16::try_from(number).ok()?;
            self.blocks.get(&number).and_then(|place| file.get(place.clone()))
        };
        for number in 0..layout.table_blocks {
            if let Some(bytes) = part(number) {
                table.extend_from_slice(bytes);
            } else {
                lost.insert(number);
                table.resize(table.len() + layout.block_table_bytes, 0);
            }
        }
        if !lost.is_empty() {
            let numbers = layout.table_blocks..2 * layout.side_blocks;
            let checks: Vec<(usize, &[u8])> =
                (0..).zip(numbers).filter_map(|(check, number)| Some((check, part(number)?))).collect();
            if checks.len() < lost.len() {
                return Err(ParityError::TooMuch { lost: lost.len(), of: "checksums", spare: checks.len() });
            }
            layout.table_code().rebuild(&mut table, &lost, &checks)?;
        }
        table.truncate(layout.table_bytes());
        match self.label {
            Some(label) if Label::new(&label.trailer, &table) == label => Ok(table),
            _ => Err(ParityError::Inconsistent),
        }
    }
}

/// Bytes in several pieces, read as one. Behind the last come zeros.
struct Pieces<'p> {
    /// Where each begins, with its bytes.
    pieces: Vec<(usize, &'p [u8])>,
}

impl<'p> Pieces<'p> {
    fn new(parts: &[&'p [u8]]) -> Self {
        let mut start = 0;
        let with_start = |part: &&'p [u8]| {
            let piece = (start, *part);
            start += part.len();
            piece
        };
        Self { pieces: parts.iter().map(with_start).collect() }
    }

    /// The slices that together are the bytes of a range.
    fn slices(&self, range: Range<usize>) -> impl Iterator<Item = &'p [u8]> {
        let first = self.pieces.partition_point(|(start, _)| *start <= range.start).saturating_sub(1);
        let pieces = self.pieces.get(first..).unwrap_or_default();
        pieces.iter().take_while(move |(start, _)| *start < range.end).map(move |(start, piece)| {
            let from = range.start.saturating_sub(*start).min(piece.len());
            let to = (range.end - start).min(piece.len());
            piece.get(from..to).unwrap_or_default()
        })
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        let mut end = 0;
        for slice in self.slices(at..at + into.len()) {
            erasure::put(into, end, slice);
            end += slice.len();
        }
        into.get_mut(end..).unwrap_or_default().fill(0);
    }

    fn checksum(&self, range: Range<usize>) -> [u8; CHECKSUM_BYTES] {
        let mut hasher = blake3::Hasher::new();
        for slice in self.slices(range) {
            hasher.update(slice);
        }
        first(&hasher.finalize())
    }
}
