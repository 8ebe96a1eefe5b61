//! Sets of at most eight small numbers, in one byte.

use crate::protocol::{IdSet, Ids};

/// A set of numbers from 0 to 7.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Bits(pub u8);

impl std::fmt::Debug for Bits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.ids()).finish()
    }
}

impl Bits {
    pub fn of(id: u8) -> Self {
        Self(1 << id)
    }

    pub fn ids(self) -> impl Iterator<Item = u8> {
        (0..8).filter(move |id| self.0 & (1 << id) != 0)
    }

    pub fn has(self, id: u8) -> bool {
        self.0 & (1 << id) != 0
    }

    pub fn len(self) -> u32 {
        self.0.count_ones()
    }
}

impl IdSet for Bits {
    type Id = u8;

    fn insert(&mut self, id: u8) {
        self.0 |= 1 << id;
    }

    fn remove(&mut self, id: u8) {
        self.0 &= !(1 << id);
    }

    fn contains(&self, id: u8) -> bool {
        self.has(id)
    }

    fn first(&self) -> Option<u8> {
        (self.0 != 0).then(|| u8::try_from(self.0.trailing_zeros()).unwrap())
    }

    fn extend(&mut self, other: &Self) {
        self.0 |= other.0;
    }

    fn subtract(&mut self, other: &Self) {
        self.0 &= !other.0;
    }
}

/// The ids of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Small;

impl Ids for Small {
    type Packs = Bits;
    type Sessions = Bits;
    type Condemned = Bits;
    type Segments = Bits;
}
