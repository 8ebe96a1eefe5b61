//! How many objects of each kind the store holds, and how long they are.

use crate::pack::{PackKind, parity_share};
use crate::repo::{Parity, RepoError, Repository, layout};

/// The objects of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// What they are, in the plural.
    pub kind: &'static str,
    /// How many there are.
    pub objects: u64,
    /// Their bytes together, as stored; of packs without parity.
    pub bytes: u64,
}

impl Repository {
    /// What the store holds, by kind of object: packs of data first; and how many bytes of packs are parity besides.
    /// Temporary files and the text for people are none.
    pub fn usage(&self) -> Result<(Vec<Usage>, u64), RepoError> {
        let known = self.index().packs()?;
        let of = |kind| Usage { kind, objects: 0, bytes: 0 };
        let (mut data, mut recipes, mut unnamed) =
            (of("packs of data"), of("packs of recipes"), of("packs that no segment names"));
        let mut parity = 0;
        for (pack, bytes) in self.list_packs()? {
            let usage = match known.get(&pack).map(|summary| summary.kind) {
                Some(PackKind::Data) => &mut data,
                Some(PackKind::Meta) => &mut recipes,
                None => &mut unnamed,
            };
            let share = match self.config().parity {
                Parity::None => 0,
                Parity::ReedSolomon => parity_share(bytes),
            };
            usage.objects += 1;
            usage.bytes += bytes - share;
            parity += share;
        }
        let mut usages = vec![data, recipes, unnamed];
        let directories = [
            ("index segments", layout::INDEX),
            ("points", layout::POINTS),
            ("notes", layout::NOTES),
            ("sessions", layout::SESSIONS),
            ("beats", layout::BEATS),
            ("condemned objects", layout::CONDEMNED),
            ("keys", layout::KEYS),
            ("configs", layout::CONFIG),
        ];
        for (kind, directory) in directories {
            let mut usage = of(kind);
            for listed in self.store().list(&directory)? {
                usage.objects += 1;
                usage.bytes += listed.bytes;
            }
            usages.push(usage);
        }
        Ok((usages, parity))
    }
}
