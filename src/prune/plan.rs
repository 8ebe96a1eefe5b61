//! Which packs go, and which are packed anew: decided from what is known of each, without looking at anything.

use crate::id::PackId;
use crate::limits::PACK_BYTES_TARGET;
use crate::pack::PackKind;

/// A pack below this size is small: many small ones of a kind become few.
const SMALL_BYTES: u64 = PACK_BYTES_TARGET as u64 / 4;
/// Fewer small packs than this of a kind are left alone.
const SMALL_PACKS_MIN: usize = 8;

/// Whether a pack's bytes may be relied upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Soundness {
    /// As far as anybody knows it is what was stored.
    Sound,
    /// It has another size than its segment states, or a note says that it is damaged.
    Damaged,
}

/// What is known of one pack in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackUse {
    /// The pack.
    pub id: PackId,
    /// Size of its file in bytes.
    pub bytes: u64,
    /// What kind of chunks it holds.
    pub kind: PackKind,
    /// When the run that wrote it began, as far as points tell; the order in which packs are packed anew.
    pub age: u64,
    /// How much of it is in use and in no other pack, in bytes of its file, estimated by plain lengths. 0 only if
    /// nothing is.
    pub used_bytes: u64,
    /// Whether it can be relied upon.
    pub soundness: Soundness,
    /// Whether a run wrote it that is still at work: what looks unused may be what its next points use.
    pub is_fresh: bool,
}

/// How much may stay that no point uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxUnused {
    /// So many thousandths of all packs.
    Permille(u64),
    /// So many bytes.
    Bytes(u64),
    /// Any amount: only what is wholly unused goes.
    Unlimited,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Packs of which nothing is in use.
    pub dead: Vec<PackId>,
    /// Packs whose chunks in use are copied before they go; in the order in which they are copied.
    pub repack: Vec<PackId>,
    /// Bytes of all packs.
    pub total_bytes: u64,
    /// Bytes of packs of which nothing is in use.
    pub dead_bytes: u64,
    /// Bytes of packs that are packed anew.
    pub repack_bytes: u64,
    /// Bytes that are copied of them, about.
    pub copied_bytes: u64,
    /// Bytes in packs that stay and that no point uses, about.
    pub left_bytes: u64,
    /// How many packs there are.
    pub packs: usize,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.dead.is_empty() && self.repack.is_empty()
    }
}

/// Decides. What a run at work wrote stays; a damaged pack goes when nothing in it is needed any more, and is never
/// copied from here: what is needed in it may yet be stored again by a backup.
pub fn plan(packs: &[PackUse], max_unused: MaxUnused) -> Plan {
    let mut plan =
        Plan { total_bytes: packs.iter().map(|pack| pack.bytes).sum(), packs: packs.len(), ..Plan::default() };
    let mut half: Vec<&PackUse> = Vec::new();
    for pack in packs.iter().filter(|pack| !pack.is_fresh) {
        if pack.used_bytes == 0 {
            plan.dead.push(pack.id);
            plan.dead_bytes += pack.bytes;
        } else if pack.soundness == Soundness::Sound {
            half.push(pack);
        }
    }
    let unused = |pack: &PackUse| pack.bytes.saturating_sub(pack.used_bytes);
    plan.left_bytes = half.iter().map(|pack| unused(pack)).sum();
    let allowed = match max_unused {
        MaxUnused::Permille(permille) => (plan.total_bytes - plan.dead_bytes) / 1000 * permille,
        MaxUnused::Bytes(bytes) => bytes,
        MaxUnused::Unlimited => u64::MAX,
    };
    // Those that give most for what is copied come first.
    half.sort_by_key(|pack| (pack.used_bytes.saturating_mul(1000) / pack.bytes.max(1), pack.id));
    let mut chosen: Vec<&PackUse> = Vec::new();
    let mut rest: Vec<&PackUse> = Vec::new();
    for pack in half {
        if plan.left_bytes > allowed && unused(pack) > 0 {
            plan.left_bytes -= unused(pack);
            chosen.push(pack);
        } else {
            rest.push(pack);
        }
    }
    for kind in [PackKind::Data, PackKind::Meta] {
        let small: Vec<&&PackUse> = rest.iter().filter(|pack| pack.kind == kind && pack.bytes < SMALL_BYTES).collect();
        let used: u64 = small.iter().map(|pack| pack.used_bytes).sum();
        let packs_after = usize::try_from(used / PACK_BYTES_TARGET as u64 + 1).unwrap_or(usize::MAX);
        if max_unused != MaxUnused::Unlimited && small.len() >= SMALL_PACKS_MIN && packs_after <= small.len() / 2 {
            plan.left_bytes -= small.iter().map(|pack| unused(pack)).sum::<u64>();
            chosen.extend(small.into_iter().copied());
        }
    }
    // What was written together is read together.
    chosen.sort_by_key(|pack| (pack.kind == PackKind::Meta, pack.age, pack.id));
    plan.repack_bytes = chosen.iter().map(|pack| pack.bytes).sum();
    plan.copied_bytes = chosen.iter().map(|pack| pack.used_bytes).sum();
    plan.repack = chosen.iter().map(|pack| pack.id).collect();
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ID_BYTES;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn pack(number: u8, bytes: u64, used_bytes: u64) -> PackUse {
        PackUse {
            id: PackId::from_bytes([number; ID_BYTES]),
            bytes,
            kind: PackKind::Data,
            age: 0,
            used_bytes,
            soundness: Soundness::Sound,
            is_fresh: false,
        }
    }

    fn ids(packs: &[PackId]) -> Vec<u8> {
        packs.iter().map(|pack| pack.as_bytes()[0]).collect()
    }

    #[test]
    fn the_emptiest_packs_are_packed_anew_until_little_enough_is_left() {
        let packs = [
            pack(1, 64 * MIB, 0),
            pack(2, 64 * MIB, 32 * MIB),
            pack(3, 64 * MIB, 60 * MIB),
            pack(4, 64 * MIB, 64 * MIB),
        ];
        let made = plan(&packs, MaxUnused::Permille(50));
        assert_eq!((ids(&made.dead), ids(&made.repack)), (vec![1], vec![2]));
        assert_eq!((made.dead_bytes, made.copied_bytes, made.left_bytes), (64 * MIB, 32 * MIB, 4 * MIB));
        assert_eq!(ids(&plan(&packs, MaxUnused::Bytes(0)).repack), [2, 3]);
        assert_eq!(ids(&plan(&packs, MaxUnused::Unlimited).repack), Vec::<u8>::new());
    }

    #[test]
    fn what_is_fresh_stays_and_what_is_damaged_is_not_copied() {
        let fresh = PackUse { is_fresh: true, ..pack(1, MIB, 0) };
        let damaged = |number, used| PackUse { soundness: Soundness::Damaged, ..pack(number, MIB, used) };
        let made = plan(&[fresh, damaged(2, 10), damaged(3, 0)], MaxUnused::Bytes(0));
        assert_eq!((ids(&made.dead), ids(&made.repack)), (vec![3], vec![]));
    }

    #[test]
    fn many_small_packs_of_a_kind_become_few() {
        let small = |count: u8| (0..count).map(|number| pack(number, MIB, MIB)).collect::<Vec<_>>();
        assert_eq!(plan(&small(7), MaxUnused::Permille(50)).repack.len(), 0);
        assert_eq!(plan(&small(8), MaxUnused::Permille(50)).repack.len(), 8);
        let mut mixed = small(8);
        mixed[7].kind = PackKind::Meta;
        assert!(plan(&mixed, MaxUnused::Permille(50)).is_empty());
    }

    proptest! {
        #[test]
        fn a_plan_never_leaves_more_than_it_may(
            sizes in prop::collection::vec((1_u64..64 * MIB, 0_u64..1001), 0..60), permille in 0_u64..1000
        ) {
            let used = |bytes: u64, part: u64| bytes * part / 1000;
            let packs: Vec<PackUse> =
                (0..).zip(&sizes).map(|(number, (bytes, part))| pack(number, *bytes, used(*bytes, *part))).collect();
            let made = plan(&packs, MaxUnused::Permille(permille));
            prop_assert!(made.left_bytes <= (made.total_bytes - made.dead_bytes) / 1000 * permille);
            let gone = made.dead_bytes + made.repack_bytes - made.copied_bytes;
            let used: u64 = packs.iter().map(|pack| pack.used_bytes).sum();
            prop_assert_eq!(made.total_bytes - gone, used + made.left_bytes);
        }
    }
}
