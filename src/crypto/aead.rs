//! The two ciphers, what they authenticate besides the contents, and where fresh randomness comes from.
//!
//! Knows no format. Invariants: a [`Cipher`] is made for one object and its key is used for nothing else; what it seals
//! is opened again and compared; a nonce is a frame number and nothing else (`format-spec/keys.md`, "Sealing").

use aws_lc_rs::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::key::Secret;
use crate::codec::{Decoder, Encoder};
use crate::id::{ID_BYTES, RandomError, RepositoryId, random_bytes};

/// Bytes that sealing adds to the contents: the authentication tag of either cipher.
pub const TAG_BYTES: usize = 16;

/// The cipher of an object; every reader knows both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aead {
    /// AES-256-GCM: 3.5 GB/s per core where the processor has AES.
    Aes256Gcm = 1,
    /// ChaCha20-Poly1305: for processors without AES.
    ChaCha20Poly1305 = 2,
}

impl Aead {
    /// The faster of the two on this machine.
    pub fn preferred() -> Self {
        if has_aes() { Self::Aes256Gcm } else { Self::ChaCha20Poly1305 }
    }

    pub(super) const fn code(self) -> u8 {
        self as u8
    }

    pub(super) fn decode(decoder: &mut Decoder<'_>) -> Option<Self> {
        match decoder.u8("aead") {
            Ok(1) => Some(Self::Aes256Gcm),
            Ok(2) => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

/// Where the fresh bytes of a sealing come from, and which cipher it uses.
///
/// A program has [`Fresh::system`] only; test vectors need bytes that come again.
pub struct Fresh {
    aead: Aead,
    source: Source,
}

enum Source {
    System,
    #[cfg(any(test, feature = "testing"))]
    Fixed {
        seed: [u8; 32],
        drawn: u64,
    },
}

impl Fresh {
    /// The operating system's randomness and this machine's faster cipher.
    pub fn system() -> Self {
        Self { aead: Aead::preferred(), source: Source::System }
    }

    /// The same bytes again for each seed. The n-th 32 bytes drawn, from n = 0, are BLAKE3 of the seed and n as 8
    /// bytes.
    #[cfg(any(test, feature = "testing"))]
    pub fn fixed(aead: Aead, seed: [u8; 32]) -> Self {
        Self { aead, source: Source::Fixed { seed, drawn: 0 } }
    }

    pub(super) fn aead(&self) -> Aead {
        self.aead
    }

    pub(super) fn draw_secret(&mut self) -> Result<Secret, RandomError> {
        Ok(Secret::take(&mut self.draw()?))
    }

    pub(super) fn draw(&mut self) -> Result<[u8; 32], RandomError> {
        match &mut self.source {
            Source::System => random_bytes(),
            #[cfg(any(test, feature = "testing"))]
            Source::Fixed { seed, drawn } => {
                let mut hasher = blake3::Hasher::new();
                hasher.update(seed).update(&drawn.to_le_bytes());
                *drawn += 1;
                Ok(hasher.finalize().into())
            }
        }
    }
}

/// The cipher failed where it cannot, or what it sealed does not open to the same bytes.
#[derive(Debug)]
pub(super) struct Faulty;

/// The contents, the key or what is bound to them is not what was sealed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotAuthentic;

/// What an object's cipher authenticates besides its contents, without the frame number.
pub(super) fn binding(repository: RepositoryId, header: &[u8], given_name: &[u8; ID_BYTES]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.raw(repository.as_bytes()).raw(header).raw(given_name);
    encoder.finish()
}

/// One object's key, ready for use, with what is bound to all of its frames.
pub(super) struct Cipher {
    key: LessSafeKey,
    binding: Vec<u8>,
}

impl Cipher {
    /// A cipher for the one object that `key` was made for.
    pub(super) fn new(aead: Aead, key: &Secret, binding: Vec<u8>) -> Result<Self, Faulty> {
        let key = UnboundKey::new(aead.algorithm(), key.expose()).map_err(|_| Faulty)?;
        Ok(Self { key: LessSafeKey::new(key), binding })
    }

    /// Appends the sealed form of `plain` to `sealed`, having opened it again into `scratch`. The caller sees to it
    /// that no number is used twice. After an error `sealed` is as before.
    pub(super) fn seal(
        &self,
        number: u32,
        plain: &[u8],
        sealed: &mut Vec<u8>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Faulty> {
        let start = sealed.len();
        sealed.resize(start + plain.len() + TAG_BYTES, 0);
        let done = self.seal_into(number, plain, sealed.get_mut(start..).unwrap_or_default(), scratch);
        if done.is_err() {
            sealed.truncate(start);
        }
        done
    }

    fn seal_into(&self, number: u32, plain: &[u8], sealed: &mut [u8], scratch: &mut Vec<u8>) -> Result<(), Faulty> {
        let aad = self.aad(number);
        let (body, tag) = sealed.split_at_mut_checked(plain.len()).ok_or(Faulty)?;
        self.key
            .seal_out_of_place_scatter(nonce(number), Aad::from(&aad), plain, body, &[], tag)
            .map_err(|_| Faulty)?;
        scratch.resize(plain.len(), 0);
        self.key.open_separate_gather(nonce(number), Aad::from(&aad), body, tag, scratch).map_err(|_| Faulty)?;
        if scratch == plain { Ok(()) } else { Err(Faulty) }
    }

    /// Opens in place and gives what is left without the tag. After an error the bytes mean nothing any more.
    pub(super) fn open<'a>(&self, number: u32, sealed: &'a mut [u8]) -> Result<&'a mut [u8], NotAuthentic> {
        self.key.open_in_place(nonce(number), Aad::from(self.aad(number)), sealed).map_err(|_| NotAuthentic)
    }

    fn aad(&self, number: u32) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.raw(&self.binding).u32(number);
        encoder.finish()
    }
}

fn nonce(number: u32) -> Nonce {
    let [a, b, c, d] = number.to_le_bytes();
    Nonce::assume_unique_for_key([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0])
}
