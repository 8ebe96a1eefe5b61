//! A key as text: a file for machines, words with checksums for people and paper.
//!
//! Knows no slot. Invariants: a mistyped character does not yield another key, for both forms carry checksums; the text
//! is wiped like the key (`format-spec/keys.md`, "Key file").

use std::fmt::Write;

use zeroize::Zeroizing;

#[cfg(any(test, feature = "testing"))]
use super::key::KEY_BYTES;
use super::key::{Secret, context, derive_public};
use crate::id::RandomError;
use crate::limits::KEY_FILE_BYTES_MAX;

/// What the line with the key begins with, before the version.
const PREFIX: &str = "holdall-key-";
const VERSION: &str = "1";
const COMMENT: &str = "# A holdall key. Whoever has it can open the repository that it was made for.\n";
const CHECKSUM_BYTES: usize = 4;
/// Bytes of the key in one word of the printed form; one byte of checksum follows.
const WORD_BYTES: usize = 4;
const WORD_DIGITS: usize = 2 * (WORD_BYTES + 1);

/// A random secret that opens key slots.
pub struct KeyFile(Secret);

impl KeyFile {
    /// A new one.
    pub fn generate() -> Result<Self, RandomError> {
        Ok(Self(Secret::random()?))
    }

    /// The same in every run, for vectors and tests.
    #[cfg(any(test, feature = "testing"))]
    pub fn fixed(mut secret: [u8; KEY_BYTES]) -> Self {
        Self(Secret::take(&mut secret))
    }

    /// The contents of the file.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(COMMENT.len() + 128));
        text.push_str(COMMENT);
        text.push_str(PREFIX);
        text.push_str(VERSION);
        text.push(' ');
        push_hex(&mut text, self.0.expose());
        text.push(' ');
        push_hex(&mut text, &checksum(&self.0));
        text.push('\n');
        text
    }

    /// Reads the contents of a file. Lines that are empty or begin with `#` are comments; one other line must follow.
    pub fn parse(contents: &[u8]) -> Result<Self, KeyFileError> {
        if contents.len() > KEY_FILE_BYTES_MAX {
            return Err(KeyFileError::NoKey);
        }
        let text = str::from_utf8(contents).map_err(|_| KeyFileError::NoKey)?;
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let line = lines.next().ok_or(KeyFileError::NoKey)?;
        let mut words = line.split_ascii_whitespace();
        let version = words.next().and_then(|word| word.strip_prefix(PREFIX)).ok_or(KeyFileError::NoKey)?;
        if version != VERSION {
            return Err(KeyFileError::NewerVersion);
        }
        if lines.next().is_some() {
            return Err(KeyFileError::SeveralKeys);
        }
        let mut secret = Secret::zero();
        read_hex(words.next().unwrap_or_default(), secret.expose_mut()).ok_or(KeyFileError::Digits)?;
        let mut sum = [0; CHECKSUM_BYTES];
        read_hex(words.next().unwrap_or_default(), &mut sum).ok_or(KeyFileError::Digits)?;
        if words.next().is_some() {
            return Err(KeyFileError::Digits);
        }
        if sum == checksum(&secret) { Ok(Self(secret)) } else { Err(KeyFileError::Checksum) }
    }

    /// The key for paper: eight words of ten digits, each with a checksum of its own, and a ninth for all.
    pub fn to_words(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(128));
        for (at, part) in (0..).zip(self.0.expose().chunks(WORD_BYTES)) {
            push_hex(&mut text, part);
            push_hex(&mut text, &[word_checksum(at, part)]);
            text.push(' ');
        }
        push_hex(&mut text, &checksum(&self.0));
        text
    }

    /// Reads what [`Self::to_words`] wrote, with any white space or hyphens between the words; tells which word is
    /// wrong.
    pub fn parse_words(text: &str) -> Result<Self, KeyFileError> {
        let mut words = text.split(|c: char| c.is_whitespace() || c == '-').filter(|word| !word.is_empty());
        let mut secret = Secret::zero();
        for (at, part) in (0..).zip(secret.expose_mut().chunks_mut(WORD_BYTES)) {
            let wrong = KeyFileError::Word { number: at + 1 };
            let word = words.next().ok_or(KeyFileError::Words)?;
            let (digits, sum) = word.split_at_checked(WORD_DIGITS - 2).ok_or(wrong)?;
            let mut stated = [0];
            read_hex(digits, part).ok_or(wrong)?;
            read_hex(sum, &mut stated).ok_or(wrong)?;
            if stated != [word_checksum(at, part)] {
                return Err(wrong);
            }
        }
        let mut sum = [0; CHECKSUM_BYTES];
        read_hex(words.next().ok_or(KeyFileError::Words)?, &mut sum).ok_or(KeyFileError::Checksum)?;
        if words.next().is_some() {
            return Err(KeyFileError::Words);
        }
        if sum == checksum(&secret) { Ok(Self(secret)) } else { Err(KeyFileError::Checksum) }
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.0
    }
}

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// No line begins as a key does.
    #[error("The key file holds no line that begins with {PREFIX}{VERSION}")]
    NoKey,
    /// A newer program wrote it.
    #[error("The key file is of a newer version than this program knows")]
    NewerVersion,
    /// More than one line that is no comment.
    #[error("The key file holds more than one key")]
    SeveralKeys,
    /// The key has the wrong length or characters.
    #[error("The key in the key file is not 64 hexadecimal digits followed by 8 of a checksum")]
    Digits,
    /// The checksum is another key's.
    #[error("The key has a typing error: its checksum is wrong")]
    Checksum,
    /// The printed form has another number of words.
    #[error("The key is not nine words")]
    Words,
    /// One word is wrong.
    #[error("Word {number} of the key has a typing error")]
    Word {
        /// Which, from 1.
        number: u8,
    },
}

fn checksum(secret: &Secret) -> [u8; CHECKSUM_BYTES] {
    let [a, b, c, d, ..] = derive_public(context::KEY_FILE_CHECKSUM, &[secret.expose()]);
    [a, b, c, d]
}

/// One byte by which a word and its place are checked.
fn word_checksum(at: u8, part: &[u8]) -> u8 {
    let [first, ..] = derive_public(context::KEY_FILE_CHECKSUM, &[&[at], part]);
    first
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
}

fn read_hex(digits: &str, to: &mut [u8]) -> Option<()> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if pairs.len() != to.len() || !rest.is_empty() {
        return None;
    }
    for (to, [high, low]) in to.iter_mut().zip(pairs) {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        *to = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
    }
    Some(())
}
