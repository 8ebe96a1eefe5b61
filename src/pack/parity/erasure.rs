//! The erasure code of parity: Reed-Solomon over GF(2^16), as `format-spec/pack.md` gives it under "Code".
//!
//! Every 64 bytes of a shard are coded apart from the others. So shards are worked on by columns, one strip of all
//! shards after the other, and the memory that it takes does not grow with the pack.

use std::collections::BTreeSet;
use std::ops::Range;

use reed_solomon_simd::Error;
use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateDecoder, HighRateEncoder, RateDecoder, RateEncoder};

use crate::limits::PARITY_COLUMN_BYTES_MAX;

/// Lengths of shards are multiples of this.
pub(super) const UNIT_BYTES: usize = 64;

/// So many shards of data, so many check shards, all of one length in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Code {
    pub(super) data: usize,
    pub(super) checks: usize,
    pub(super) shard_bytes: usize,
}

impl Code {
    /// The check shards, one behind the other. `read` fills a buffer with the bytes from an offset in the data on.
    pub(super) fn encode(&self, mut read: impl FnMut(usize, &mut [u8])) -> Result<Vec<u8>, Error> {
        let mut checks = vec![0; self.checks * self.shard_bytes];
        let mut strip = Vec::new();
        let mut encoder = HighRateEncoder::new(self.data, self.checks, UNIT_BYTES, DefaultEngine::new(), None)?;
        for column in self.columns() {
            encoder.reset(self.data, self.checks, column.len())?;
            strip.resize(column.len(), 0);
            for shard in 0..self.data {
                read(shard * self.shard_bytes + column.start, &mut strip);
                encoder.add_original_shard(&strip)?;
            }
            let column_checks = encoder.encode()?;
            for (check, coded) in checks.chunks_exact_mut(self.shard_bytes).zip(column_checks.recovery_iter()) {
                put(check, column.start, coded);
            }
        }
        Ok(checks)
    }

    /// Rebuilds the shards of `data` that are `lost` from the others and as many `checks`, which are given with their
    /// numbers. All of these must be sound.
    pub(super) fn rebuild(
        &self,
        data: &mut [u8],
        lost: &BTreeSet<usize>,
        checks: &[(usize, &[u8])],
    ) -> Result<(), Error> {
        let mut decoder = HighRateDecoder::new(self.data, self.checks, UNIT_BYTES, DefaultEngine::new(), None)?;
        for column in self.columns() {
            decoder.reset(self.data, self.checks, column.len())?;
            let shards = data.chunks_exact(self.shard_bytes).enumerate();
            for (number, shard) in shards.filter(|(number, _)| !lost.contains(number)) {
                decoder.add_original_shard(number, shard.get(column.clone()).unwrap_or_default())?;
            }
            for (number, shard) in checks.iter().take(lost.len()) {
                decoder.add_recovery_shard(*number, shard.get(column.clone()).unwrap_or_default())?;
            }
            for (number, rebuilt) in decoder.decode()?.restored_original_iter() {
                put(data, number * self.shard_bytes + column.start, rebuilt);
            }
        }
        Ok(())
    }

    /// The strips of a shard, so narrow that those of all shards fit into memory together.
    fn columns(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let end = self.shard_bytes;
        let fitting = PARITY_COLUMN_BYTES_MAX / (self.data + self.checks) / UNIT_BYTES * UNIT_BYTES;
        let width = fitting.clamp(UNIT_BYTES, end.max(UNIT_BYTES));
        (0..end).step_by(width).map(move |at| at..end.min(at + width))
    }
}

/// Copies bytes to their place, which is there.
pub(super) fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = into.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The basis in which the code writes field elements, and the polynomial of the field.
    const BASIS: [u32; 16] = [
        0x0001, 0xacca, 0x3c0e, 0x163e, 0xc582, 0xed2e, 0x914c, 0x4012, 0x6c98, 0x10d8, 0x6a72, 0xb900, 0xfdb8, 0xfb34,
        0xff38, 0x991e,
    ];
    const POLYNOMIAL: u32 = 0x1_002d;

    fn element(number: u32) -> u32 {
        (0..16).filter(|bit| number >> bit & 1 == 1).fold(0, |sum, bit| sum ^ BASIS[bit])
    }

    fn product(a: u32, b: u32) -> u32 {
        (0..16).rev().fold(0, |sum, bit| {
            let doubled = if sum & 0x8000 == 0 { sum << 1 } else { sum << 1 ^ POLYNOMIAL };
            if b >> bit & 1 == 1 { doubled ^ a } else { doubled }
        })
    }

    fn inverse(a: u32) -> u32 {
        // a to the power of 2^16 - 2.
        (1..16).fold((1, a), |(sum, power), _| (product(sum, product(power, power)), product(power, power))).0
    }

    fn noise(seed: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn encode(code: Code, data: &[u8]) -> Vec<u8> {
        code.encode(|at, into| into.copy_from_slice(&data[at..at + into.len()])).unwrap()
    }

    /// The formula of the specification, word for word and slow.
    #[test]
    fn check_shards_are_what_the_specification_says() {
        for (data_shards, checks) in [(1, 1), (1, 4), (5, 3), (7, 2), (40, 11)] {
            let code = Code { data: data_shards, checks, shard_bytes: 64 };
            let data = noise(1, data_shards * 64);
            let coded = encode(code, &data);
            let symbol =
                |of: &[u8], shard: usize| element(u32::from(of[shard * 64 + 3]) | u32::from(of[shard * 64 + 35]) << 8);
            let places = u32::try_from(checks.next_power_of_two()).unwrap();
            for check in 0..checks {
                let own = u32::try_from(check).unwrap();
                let sum = (0..data_shards).fold(0, |sum, shard| {
                    let point = element(places + u32::try_from(shard).unwrap());
                    let factor = (0..places).filter(|other| *other != own).fold(1, |factor, other| {
                        let below = inverse(element(own) ^ element(other));
                        product(factor, product(point ^ element(other), below))
                    });
                    sum ^ product(symbol(&data, shard), factor)
                });
                assert_eq!(sum, symbol(&coded, check), "{data_shards} {checks} {check}");
            }
        }
    }

    #[test]
    fn as_many_shards_as_there_are_checks_can_be_rebuilt() {
        for (data_shards, checks, shard_bytes) in [(1, 1, 64), (3, 3, 128), (50, 7, 192), (1000, 33, 4096)] {
            let code = Code { data: data_shards, checks, shard_bytes };
            let data = noise(2, data_shards * shard_bytes);
            let coded = encode(code, &data);
            let coded: Vec<(usize, &[u8])> = coded.chunks_exact(shard_bytes).enumerate().collect();
            let lost: BTreeSet<usize> = (0..checks.min(data_shards)).map(|n| n * 7 % data_shards).collect();
            let mut broken = data.clone();
            for shard in &lost {
                broken[shard * shard_bytes..][..shard_bytes].fill(0xee);
            }
            let behind = &coded[coded.len() - lost.len()..];
            code.rebuild(&mut broken, &lost, behind).unwrap();
            assert!(broken == data, "{data_shards} {checks}");
            broken[0] ^= 1;
            let first = BTreeSet::from([0, data_shards - 1]);
            if first.len() > coded.len() {
                assert!(code.rebuild(&mut broken, &first, &coded).is_err());
            }
        }
    }

    #[test]
    fn columns_cover_each_shard_once() {
        for shard_bytes in [64, 192, 4096, 32_768] {
            let code = Code { data: 8192, checks: 300, shard_bytes };
            let mut end = 0;
            for column in code.columns() {
                assert!(column.start == end && column.len().is_multiple_of(UNIT_BYTES));
                assert!(column.len() * code.data <= PARITY_COLUMN_BYTES_MAX);
                end = column.end;
            }
            assert_eq!(end, shard_bytes);
        }
    }
}
