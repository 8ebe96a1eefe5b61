//! The same bytes in every run: noise, something that compresses like a file system, and a tar of a tree of either.

use std::sync::OnceLock;

/// Bytes that do not compress.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Bytes that zstd makes about a third of: words of a small language, now and then a number.
pub fn text(seed: u64, len: usize) -> Vec<u8> {
    static WORDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let word = |n: u64| noise(n, 3 + usize::try_from(n).unwrap_or(0) % 9);
    let words = WORDS.get_or_init(|| (0..4096).map(word).collect());
    let mut text = Vec::with_capacity(len + 16);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while text.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Low numbers are more likely, as words are.
        let number = usize::try_from(((state & 0xfff) * (state >> 12 & 0xfff)) >> 12).unwrap_or(0);
        text.extend_from_slice(&words[number]);
        if state >> 60 == 0 {
            text.extend_from_slice(&state.to_le_bytes());
        }
    }
    text.truncate(len);
    text
}

/// A tar of `bytes` or a little more: three files of four are small and hold a tenth of the bytes.
pub fn tree(bytes: usize, content: impl Fn(u64, usize) -> Vec<u8>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::with_capacity(bytes + (4 << 20)));
    let mut number = 0_usize;
    while builder.get_ref().len() < bytes {
        number += 1;
        let len = if number.is_multiple_of(4) { 200_000 + number * 7919 % 600_000 } else { number * 6151 % 24_000 };
        let mut header = tar::Header::new_ustar();
        header.set_size(len as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000 + number as u64);
        header.set_cksum();
        let path = format!("tree/directory-{}/file-{number}", number / 100);
        let file = content(number as u64, len);
        builder.append_data(&mut header, path, &file[..]).expect("memory does not fail");
    }
    builder.into_inner().expect("memory does not fail")
}
