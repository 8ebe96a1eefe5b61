//! What the scheme promises, tried on every kind of object, every byte and every exchange.

mod keyslots;
mod objects;
mod packs;
mod vectors;

use super::key::ReadKeys;
use super::{Aead, Fresh};
use crate::id::RepositoryId;

const AEADS: [Aead; 2] = [Aead::Aes256Gcm, Aead::ChaCha20Poly1305];

fn keys() -> ReadKeys {
    ReadKeys::fixed(RepositoryId::from_bytes([1; 32]), [2; 32], [3; 32]).unwrap()
}

fn fresh(aead: Aead, seed: u8) -> Fresh {
    Fresh::fixed(aead, [seed; 32])
}

fn flipped(bytes: &[u8], at: usize, bits: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= bits;
    bytes
}
