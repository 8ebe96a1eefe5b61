//! Feeds libFuzzer's inputs to `parity`.
#![no_main]

#[path = "../src/memory.rs"]
mod memory;

libfuzzer_sys::fuzz_target!(|data: &[u8]| holdall_fuzz::parity(data));
