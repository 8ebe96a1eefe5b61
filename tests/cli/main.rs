//! The program as a person or a script meets it: what it prints, what it leaves behind, and its exit codes.
//!
//! Every test runs the real binary in a directory of its own, with an empty environment.

mod bench;
mod browse;
mod damage;
mod flow;
mod forget;
mod help;
mod interrupt;
mod json;
mod keys;
mod kill;
mod prune;
mod refusals;
mod siege;
mod sources;
mod streams;
