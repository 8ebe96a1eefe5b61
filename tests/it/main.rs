//! The library through its public API, on stores in memory and on disk.

mod anywhere;
mod beside;
mod browse;
mod crashes;
mod damage;
mod every_call;
mod faults;
mod fixture;
mod forget;
mod fuzz_corpus;
mod golden;
mod instances;
mod kinds;
mod model;
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
