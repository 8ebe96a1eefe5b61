//! Feeds libFuzzer's inputs to `key_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| holdall_fuzz::key_file(data));
