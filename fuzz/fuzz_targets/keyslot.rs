//! Feeds libFuzzer's inputs to `keyslot`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| holdall_fuzz::keyslot(data));
