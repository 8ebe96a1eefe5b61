//! What is tried on every parser: one function per fuzz target, each fed any bytes.
//!
//! The same functions run in two houses: under libFuzzer, from `fuzz_targets/`, and over the kept corpus in the tests
//! of the library, which include this file as a module. A function panics if a promise of the parser's is broken; what
//! a parser refuses is no finding. Nothing here is random: the same bytes do the same.

mod codecs;
mod daemons;
mod rebuilds;
mod records;
mod rewrites;
mod rows;
mod sealed;
mod streams;
mod tars;
mod texts;

pub use codecs::codec;
pub use daemons::answer;
pub use rebuilds::rebuild;
pub use records::{directory, frame, point, recipe, record};
pub use rewrites::rewrite;
pub use rows::index_row;
pub use sealed::{keyslot, object, pack, parity};
pub use streams::{accept, import};
pub use tars::{header, pax, splitter};
pub use texts::{key_file, name};

/// A fuzz target.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its directory in the corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("accept", accept),
    ("answer", answer),
    ("codec", codec),
    ("directory", directory),
    ("frame", frame),
    ("header", header),
    ("import", import),
    ("index_row", index_row),
    ("key_file", key_file),
    ("keyslot", keyslot),
    ("name", name),
    ("object", object),
    ("pack", pack),
    ("parity", parity),
    ("pax", pax),
    ("point", point),
    ("rebuild", rebuild),
    ("recipe", recipe),
    ("record", record),
    ("rewrite", rewrite),
    ("splitter", splitter),
];

/// The first byte of an input, which chooses among what a target tries, and the rest.
fn choice(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}
