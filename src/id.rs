//! Identities: 32 bytes each, a type of its own for everything that has one.
//!
//! The full hexadecimal form is the only text form that is parsed; the short one is for people to read. Random ids are
//! used once and never again (`format-spec/concurrency.md`), so a late or repeated delete is harmless.

use std::fmt;
use std::str::FromStr;

/// Length of every id in bytes (`format-spec/README.md`, "Identities").
pub const ID_BYTES: usize = 32;

/// A text that is not the full hexadecimal form of an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id of 64 lower-case hexadecimal digits")]
pub struct ParseIdError {
    text: String,
}

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("The operating system gave no random bytes: {0}")]
pub struct RandomError(getrandom::Error);

/// Fills an array with random bytes from the operating system.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(RandomError)?;
    Ok(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_BYTES]);

        impl $name {
            /// Takes the id from its bytes, as a parser reads them or as a derivation made them.
            pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
                Self(bytes)
            }

            /// A new random id.
            pub fn random() -> Result<Self, RandomError> {
                Ok(Self(random_bytes()?))
            }

            /// The bytes, as they are stored.
            pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
                &self.0
            }

            /// The first eight digits, for people; never parsed back.
            pub fn short(&self) -> String {
                let mut text = self.to_string();
                text.truncate(8);
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let wrong = || ParseIdError { text: text.to_owned() };
                let (pairs, rest) = text.as_bytes().as_chunks::<2>();
                if pairs.len() != ID_BYTES || !rest.is_empty() {
                    return Err(wrong());
                }
                let mut bytes = [0; ID_BYTES];
                for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
                    *byte = digit(*high).ok_or_else(wrong)? << 4 | digit(*low).ok_or_else(wrong)?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

id! {
    /// Names a chunk: keyed BLAKE3 of its plain bytes (`format-spec/chunk.md`).
    ChunkId
}
id! {
    /// Names a pack; derived from its header, and so commits to its keys (`format-spec/pack.md`).
    PackId
}
id! {
    /// Names an index segment (`format-spec/index.md`).
    SegmentId
}
id! {
    /// Names one attempt to make a point: the session and the point, or the void, that it ends in
    /// (`format-spec/point.md`).
    PointId
}
id! {
    /// Names a key slot (`format-spec/keys.md`).
    KeyslotId
}
id! {
    /// Names a note (`format-spec/repository.md`).
    NoteId
}
id! {
    /// Names a condemned object (`format-spec/concurrency.md`).
    CondemnedId
}
id! {
    /// Names one invocation of `backup`; groups the points made together.
    RunId
}
id! {
    /// Names a repository, chosen at `init`; part of everything that is authenticated.
    RepositoryId
}
id! {
    /// Names a server within a repository, chosen at its first backup.
    ServerId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let id = ChunkId::random().unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().starts_with(&id.short()));
    }

    #[test]
    fn only_the_full_lower_case_form_is_an_id() {
        let full = ChunkId::from_bytes([0xab; 32]).to_string();
        for wrong in [&full[1..], &full.to_uppercase(), &format!("{full}0"), &full.replace("ab", "ag"), ""] {
            assert!(wrong.parse::<ChunkId>().is_err(), "{wrong}");
        }
    }
}
