//! Feeds libFuzzer's inputs to `index_row`.
#![no_main]

#[path = "../src/memory.rs"]
mod memory;

libfuzzer_sys::fuzz_target!(|data: &[u8]| holdall_fuzz::index_row(data));
