//! Feeds libFuzzer's inputs to `frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| holdall_fuzz::frame(data));
