//! The library through its public API, on stores in memory and on disk.

mod anywhere;
mod beside;
mod browse;
mod damage;
mod faults;
mod fixture;
mod flips;
mod forget;
mod full;
mod fuzz_corpus;
mod golden;
mod holes;
mod instances;
mod kinds;
mod model;
mod nights;
mod order;
mod parity;
mod prune;
mod repair;
mod replace;
mod round_trip;
mod runs;
mod spec;
mod temporary;
mod vectors;
