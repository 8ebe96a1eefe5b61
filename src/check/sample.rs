//! Which packs a check of a part of the data reads: those first that were not read for longest, so that in time all
//! are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::PackId;

/// A day in microseconds: the least that one check of a period counts for, and what the first one does.
const DAY_MICROS: u64 = 24 * 60 * 60 * 1_000_000;

/// How much of the data is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many thousandths of the bytes of all packs.
    Permille(u64),
    /// So much that all is read once in this time: the share that has passed of it since the last check, a day at
    /// least.
    Within(Duration),
}

/// What is known of earlier checks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadBefore {
    /// When each pack was last read in full and found sound.
    pub packs: BTreeMap<PackId, Timestamp>,
}

impl ReadBefore {
    /// When anything was last read. What a wrong clock dated later than now does not count.
    fn last(&self, now: Timestamp) -> Option<Timestamp> {
        self.packs.values().copied().filter(|when| *when <= now).max()
    }

    /// When a pack was last read, in microseconds; 0 if nobody knows.
    fn when(&self, pack: &PackId, now: Timestamp) -> u64 {
        self.packs.get(pack).filter(|when| **when <= now).map_or(0, |when| when.as_micros())
    }
}

/// The packs to read now, of all that stand in the store with their sizes in bytes.
pub fn choose(packs: &[(PackId, u64)], before: &ReadBefore, share: Share, now: Timestamp) -> BTreeSet<PackId> {
    let total: u128 = packs.iter().map(|(_, bytes)| u128::from(*bytes)).sum();
    let wanted = match share {
        Share::Permille(permille) => (total * u128::from(permille)).div_ceil(1000),
        Share::Within(period) => {
            let passed = before.last(now).map_or(0, |last| now.as_micros() - last.as_micros()).max(DAY_MICROS);
            let period = period.as_micros().max(1);
            (total * u128::from(passed)).div_ceil(period).min(total)
        }
    };
    let mut oldest: Vec<&(PackId, u64)> = packs.iter().collect();
    oldest.sort_by_key(|(pack, _)| (before.when(pack, now), *pack));
    let mut chosen = BTreeSet::new();
    let mut bytes = 0;
    for (pack, size) in oldest {
        if bytes >= wanted {
            break;
        }
        bytes += u128::from(*size);
        chosen.insert(*pack);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ID_BYTES;
    use proptest::prelude::*;

    fn day(number: u64) -> Timestamp {
        Timestamp::from_micros((20_000 + number) * DAY_MICROS).unwrap()
    }

    fn packs(sizes: &[u64]) -> Vec<(PackId, u64)> {
        (0..).zip(sizes).map(|(number, size)| (PackId::from_bytes([number; ID_BYTES]), *size)).collect()
    }

    #[test]
    fn a_share_of_nothing_reads_nothing_and_the_whole_reads_all() {
        let packs = packs(&[5, 6, 7]);
        let chosen = |permille| choose(&packs, &ReadBefore::default(), Share::Permille(permille), day(1)).len();
        assert_eq!((chosen(0), chosen(1), chosen(500), chosen(1000)), (0, 1, 2, 3));
    }

    #[test]
    fn what_a_clock_of_the_future_dated_is_read_first() {
        let packs = packs(&[1, 1]);
        let before = ReadBefore { packs: [(packs[0].0, day(1)), (packs[1].0, day(900))].into() };
        assert_eq!(choose(&packs, &before, Share::Permille(1), day(2)), [packs[1].0].into());
    }

    proptest! {
        /// Whatever the sizes and however many nights are left out, all is read by the first night after the period.
        #[test]
        fn all_is_read_in_time(
            sizes in prop::collection::vec(1_u64..1000, 1..40), days in 1_u64..40, skip in 1_u64..4
        ) {
            let packs = packs(&sizes);
            let mut before = ReadBefore::default();
            let share = Share::Within(Duration::from_micros(days * DAY_MICROS));
            let mut night = 0;
            while night < days + skip {
                for pack in choose(&packs, &before, share, day(night)) {
                    before.packs.insert(pack, day(night));
                }
                night += skip;
            }
            prop_assert_eq!(before.packs.len(), packs.len());
        }

        #[test]
        fn shares_reach_every_pack(sizes in prop::collection::vec(1_u64..1000, 1..40), permille in 20_u64..1000) {
            let packs = packs(&sizes);
            let mut before = ReadBefore::default();
            for night in 0..=1000 / permille {
                for pack in choose(&packs, &before, Share::Permille(permille), day(night)) {
                    before.packs.insert(pack, day(night));
                }
            }
            prop_assert_eq!(before.packs.len(), packs.len());
        }
    }
}
