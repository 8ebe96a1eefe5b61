//! Feeds libFuzzer's inputs to `rewrite`.
#![no_main]

#[path = "../src/memory.rs"]
mod memory;

libfuzzer_sys::fuzz_target!(|data: &[u8]| holdall_fuzz::rewrite(data));
