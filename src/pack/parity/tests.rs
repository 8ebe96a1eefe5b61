//! Damage of every kind that parity promises to repair, and more of it than that.

use super::*;
use proptest::prelude::*;

/// Bytes that do not repeat, the same for the same seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A file of noise that looks like a pack with so many protected bytes, as far as parity looks.
fn pack(protected: usize) -> Vec<u8> {
    let body = noise(protected as u64, protected);
    let len = |bytes| u32::try_from(bytes).unwrap();
    let (directory_offset, directory_len) = (len(protected - protected / 3), len(protected / 3));
    let trailer = Trailer { directory_offset, directory_len, parity_len: len(parity_len(protected)) };
    // In pieces that no shard respects.
    let (front, back) = body.split_at(protected / 7);
    let parity = make(&[front, &[], back], &trailer).unwrap();
    assert_eq!(parity.len(), parity_len(protected));
    let file = [body, parity, trailer.encode()].concat();
    assert_eq!(verify_parity(&file, &trailer), Ok(()));
    file
}

/// Changes every byte of a range, as far as it is there.
fn spoil(file: &mut [u8], range: Range<usize>) {
    let end = range.end.min(file.len());
    for byte in &mut file[range.start.min(end)..end] {
        *byte ^= 0x5a;
    }
}

#[track_caller]
fn assert_mended(file: &[u8], change: impl FnOnce(&mut Vec<u8>), what: impl std::fmt::Debug) {
    let mut broken = file.to_vec();
    change(&mut broken);
    assert!(broken != file, "nothing is wrong: {what:?}");
    match mend(broken) {
        Ok(mended) => assert!(mended == file, "other bytes: {what:?}"),
        Err(error) => panic!("{error}: {what:?}"),
    }
}

/// The least that a pack can have, the smallest sizes at which something else begins, and some between.
const SIZES: [usize; 12] =
    [230, 511, 2048, 2049, 8193, 30_000, 32_769, 131_073, 600_000, (1 << 20) + 5, 3 << 20, (7 << 20) + 77];

#[test]
fn one_changed_byte_is_repaired_wherever_it_is() {
    for protected in [230, 900] {
        let file = pack(protected);
        for at in 0..file.len() {
            assert_mended(&file, |bytes| bytes[at] ^= 1, (protected, at));
        }
    }
    for protected in SIZES {
        let file = pack(protected);
        for at in (0..file.len()).step_by(file.len() / 9).chain(protected - 1..protected + 9) {
            assert_mended(&file, |bytes| bytes[at] ^= 0x80, (protected, at));
        }
    }
}

#[test]
fn a_run_of_two_per_cent_is_repaired_wherever_it_is() {
    for protected in SIZES {
        let file = pack(protected);
        let run = (file.len() / 50).max(1);
        let layout = Layout::new(protected);
        let edges = [protected, protected + layout.side_bytes(), file.len() - layout.side_bytes() - Trailer::BYTES];
        let around = edges.iter().flat_map(|edge| [edge - run, edge - run / 2, edge + 1 - run % 2]);
        let step = (file.len() / 12).max(run);
        for at in (0..file.len()).step_by(step).chain(around).chain([file.len() - run]) {
            assert_mended(&file, |bytes| spoil(bytes, at..at + run), (protected, at));
        }
    }
}

#[test]
fn any_run_in_a_small_pack_is_repaired() {
    let file = pack(1500);
    let run = 1500 / 8;
    for at in 0..file.len() - 1 {
        assert_mended(&file, |bytes| spoil(bytes, at..at + run), at);
    }
}

#[test]
fn a_tail_that_was_cut_off_is_put_back() {
    for protected in SIZES {
        let file = pack(protected);
        let most = file.len() / 50;
        for cut in [1, 19, 20, 21, most / 2, most].into_iter().filter(|cut| (1..=most.max(1)).contains(cut)) {
            assert_mended(&file, |bytes| bytes.truncate(bytes.len() - cut), (protected, cut));
        }
        assert_mended(&file, |bytes| bytes.extend_from_slice(b"appended"), protected);
    }
}

/// Where a lost sector hurts most: among the checksums, and at the borders.
#[test]
fn sixteen_lost_sectors_of_a_pack_of_64_mib_are_repaired() {
    let whole = PACK_BYTES_TARGET - PACK_BYTES_TARGET / 30;
    for protected in [whole, PACK_BYTES_TARGET + 100_001] {
        let file = pack(protected);
        let layout = Layout::new(protected);
        let (block, side, sector) = (layout.block_bytes(), layout.side_bytes(), 4 * KIB);
        let behind = protected + side + layout.checks * layout.shard_bytes;
        let halves = |start: usize| (0..8).map(move |n| start + 2 * n * block - 1);
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = u64::from_le_bytes(*blake3::hash(&state.to_le_bytes()).as_bytes().first_chunk().unwrap());
            usize::try_from(state % below as u64).unwrap()
        };
        let cases: [Vec<usize>; 6] = [
            (0..16).map(|_| random(file.len() / sector) * sector).collect(),
            (0..16).map(|_| random(file.len() - sector)).collect(),
            (0..16).map(|n| layout.shard_bytes * (3 * n + 1) - 1).collect(),
            (0..16).map(|n| protected + 2 * n * block - 1).collect(),
            halves(protected).chain(halves(behind)).collect(),
            (0..8).map(|n| protected - n * 2 * sector).chain(halves(behind)).collect(),
        ];
        for (case, sectors) in cases.iter().enumerate() {
            assert_eq!(sectors.len(), 16);
            let lose = |bytes: &mut Vec<u8>| sectors.iter().for_each(|at| spoil(bytes, *at..at + sector));
            assert_mended(&file, lose, (protected, case));
        }
        let run = file.len() / 50;
        for at in [0, protected / 2, protected - run / 2, file.len() - run] {
            assert_mended(&file, |bytes| spoil(bytes, at..at + run), (protected, at));
        }
        assert_mended(&file, |bytes| bytes.truncate(bytes.len() - run), (protected, "cut off"));
    }
}

#[test]
fn one_lost_sector_of_any_pack_of_some_size_is_repaired() {
    for protected in [33_000, 100_000, 1 << 20] {
        let file = pack(protected);
        for at in (0..file.len()).step_by(file.len() / 50) {
            assert_mended(&file, |bytes| spoil(bytes, at..at + 4 * KIB), (protected, at));
        }
    }
}

#[test]
fn more_damage_than_that_is_an_error_and_never_other_bytes() {
    for protected in [300, 5000, 200_000] {
        let file = pack(protected);
        let layout = Layout::new(protected);
        for lost in [layout.checks, layout.checks + 1, layout.shards] {
            let mut broken = file.clone();
            for shard in 0..lost {
                broken[layout.shard(shard).start] ^= 1;
            }
            let mended = mend(broken);
            if lost <= layout.checks {
                assert!(mended.unwrap() == file);
            } else {
                assert_eq!(mended, Err(ParityError::TooMuch { lost, of: "shards", spare: layout.checks }));
            }
        }
        let mut without = file.clone();
        spoil(&mut without, protected..file.len());
        assert_eq!(mend(without), Err(ParityError::None));
    }
}

#[test]
fn what_stands_in_another_pack_is_not_taken_for_parity() {
    let (one, other) = (pack(5000), [&noise(7, 5000)[..], &pack(5000)[5000..]].concat());
    assert!(matches!(mend(other), Err(ParityError::TooMuch { .. })));
    let larger = pack(6000);
    let mixed = [&one[..], &larger[6000..6000 + Layout::new(6000).side_bytes()]].concat();
    assert!(matches!(mend(mixed), Ok(mended) if mended == one || mended == larger));
}

#[test]
fn each_changed_byte_of_the_parity_is_noticed() {
    let file = pack(1000);
    let trailer = Trailer::decode(&file[file.len() - Trailer::BYTES..], file.len() as u64).unwrap();
    for at in 0..file.len() - Trailer::BYTES {
        let mut broken = file.clone();
        broken[at] ^= 1;
        assert_eq!(verify_parity(&broken, &trailer), Err(ParityError::Damaged), "{at}");
    }
    let longer = Trailer { parity_len: trailer.parity_len + 1, ..trailer };
    assert_eq!(verify_parity(&file, &longer), Err(ParityError::Damaged));
    assert_eq!(verify_parity(&file, &Trailer { parity_len: 0, ..trailer }), Ok(()));
}

#[test]
fn parity_is_about_three_per_cent_of_all_but_small_packs() {
    for (protected, per_mille) in [(1 << 20, 50), (8 << 20, 37), (PACK_BYTES_TARGET, 31), (PACK_BYTES_MAX / 2, 31)] {
        let len = parity_len(protected);
        assert!(len * 1000 <= protected * per_mille && len * 1000 >= protected * 25, "{protected}: {len}");
    }
}

/// An observer learns no more from the size of a pack with parity, and figures can leave parity out.
#[test]
fn the_size_of_a_padded_pack_tells_its_parity() {
    let mut bare = 200;
    while bare < PACK_BYTES_TARGET {
        bare = padme(bare + 1);
        let parity = parity_len(bare - Trailer::BYTES);
        assert_eq!(parity_share((bare + parity) as u64), parity as u64, "{bare}");
    }
    for bare in (PACK_BYTES_TARGET..PACK_BYTES_MAX - PACK_BYTES_MAX / 20).step_by(1_000_003) {
        let parity = parity_len(bare - Trailer::BYTES);
        assert_eq!(parity_share((bare + parity) as u64), parity as u64, "{bare}");
    }
    assert_eq!(parity_share(0), 0);
    assert_eq!(parity_share(u64::MAX), 0);
}

/// What the section on guarantees of the specification promises.
#[test]
fn the_shards_are_enough_for_what_is_promised() {
    for protected in (150..40_000).chain((40_000..PACK_BYTES_MAX).step_by(77_777)) {
        let layout = Layout::new(protected);
        let file = protected + layout.bytes() + Trailer::BYTES;
        let touched = |run: usize| run.div_ceil(layout.shard_bytes) + 1;
        assert!(touched(file / 50) <= layout.checks, "{protected}");
        assert!(file / 50 <= layout.checks * layout.shard_bytes, "{protected}: both sides of the table");
        assert!(layout.side_blocks >= layout.table_blocks && layout.shards <= 8192);
        let sectors = protected / SECTOR_SHARE_BYTES;
        assert!(2 * layout.side_blocks - 2 * sectors >= layout.table_blocks, "{protected}");
        assert!(sectors * (4 * KIB / layout.shard_bytes + 2) <= layout.checks, "{protected}");
    }
}

proptest! {
    #[test]
    fn random_damage_never_makes_other_bytes(
        protected in 230..20_000_usize,
        spots in proptest::collection::vec((any::<prop::sample::Index>(), 1..300_usize), 1..6),
        cut in 0..400_usize,
    ) {
        let file = pack(protected);
        let mut broken = file.clone();
        for (at, len) in &spots {
            let at = at.index(file.len());
            spoil(&mut broken, at..at + len);
        }
        broken.truncate(broken.len() - cut.min(broken.len()));
        if let Ok(mended) = mend(broken) {
            prop_assert!(mended == file);
        }
    }

    #[test]
    fn no_input_makes_a_repair_panic(input: Vec<u8>, at in any::<prop::sample::Index>(), from in 0..3000_usize) {
        prop_assert!(mend(input.clone()).is_err());
        let mut file = pack(2500);
        let start = at.index(file.len());
        file.splice(start..start, input);
        file.drain(..from);
        let _ = mend(file).is_ok();
    }
}
