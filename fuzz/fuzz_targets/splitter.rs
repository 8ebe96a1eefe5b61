//! Feeds libFuzzer's inputs to `splitter`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| holdall_fuzz::splitter(data));
