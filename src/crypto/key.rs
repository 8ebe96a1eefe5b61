//! Secrets, what is derived from them, and who may do what with them.
//!
//! Knows no object layout. Invariants: no secret has `Debug`, all are wiped when dropped and live on the heap so that a
//! move leaves no copy behind; every derivation has a context of its own; only [`ReadKeys`] hold the recipient's secret
//! key (`format-spec/keys.md`, "Keys" and "Derivations").

use std::convert::Infallible;

use hpke::aead::ExportOnlyAead;
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem, X25519HkdfSha256};
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{
    Deserializable, HpkeError, OpModeR, OpModeS, PskBundle, Serializable, setup_receiver, setup_sender_with_rng,
};
use zeroize::Zeroize;

use super::object::ObjectType;
use crate::id::{ChunkId, ID_BYTES, RandomError, RepositoryId, random_bytes};

/// Length of every secret and of every public key in bytes.
pub const KEY_BYTES: usize = 32;

/// The KEM's id in the IANA registry: DHKEM(X25519, HKDF-SHA256).
pub(super) const KEM_ID: u16 = X25519HkdfSha256::KEM_ID;

/// The contexts of all derivations, each used for one purpose (`format-spec/keys.md`, "Derivations").
pub(super) mod context {
    pub const CHUNK_ID: &str = "holdall format 1: chunk id key";
    pub const CHUNKER: &str = "holdall format 1: chunker secret";
    pub const PSK: &str = "holdall format 1: HPKE psk";
    pub const PSK_ID: &str = "holdall format 1: HPKE psk_id";
    pub const SLOT_MAC: &str = "holdall format 1: key slot MAC key";
    pub const SHARED_BASE: &str = "holdall format 1: shared base key";
    pub const SHARED_KEY: &str = "holdall format 1: shared object key";
    pub const RECIPIENT_INFO: &str = "holdall format 1: HPKE info";
    pub const RECIPIENT_KEY: &str = "holdall format 1: HPKE export, object key";
    pub const COMMITMENT: &str = "holdall format 1: key commitment";
    pub const OBJECT_NAME: &str = "holdall format 1: object name";
    pub const PACK_ID: &str = "holdall format 1: pack id";
    pub const SLOT_KEK: &str = "holdall format 1: key slot KEK";
    pub const SLOT_COMMITMENT: &str = "holdall format 1: key slot KEK commitment";
    pub const SLOT_DESCRIPTION: &str = "holdall format 1: key slot description key";
    pub const SLOT_CHECKSUM: &str = "holdall format 1: key slot checksum";
    pub const KEY_FILE_CHECKSUM: &str = "holdall format 1: key file checksum";

    /// All of them, for the test that no two are the same.
    #[cfg(test)]
    pub const ALL: [&str; 17] = [
        CHUNK_ID,
        CHUNKER,
        PSK,
        PSK_ID,
        SLOT_MAC,
        SHARED_BASE,
        SHARED_KEY,
        RECIPIENT_INFO,
        RECIPIENT_KEY,
        COMMITMENT,
        OBJECT_NAME,
        PACK_ID,
        SLOT_KEK,
        SLOT_COMMITMENT,
        SLOT_DESCRIPTION,
        SLOT_CHECKSUM,
        KEY_FILE_CHECKSUM,
    ];
}

/// 32 secret bytes.
pub(super) struct Secret(Box<[u8; KEY_BYTES]>);

impl Secret {
    /// Takes over secret bytes and wipes them where they were.
    pub(super) fn take(bytes: &mut [u8; KEY_BYTES]) -> Self {
        let mut secret = Self::zero();
        std::mem::swap(&mut *secret.0, bytes);
        bytes.zeroize();
        secret
    }

    pub(super) fn random() -> Result<Self, RandomError> {
        Ok(Self::take(&mut random_bytes()?))
    }

    pub(super) fn zero() -> Self {
        Self(Box::new([0; KEY_BYTES]))
    }

    /// BLAKE3 in derive-key mode over the parts, one after the other.
    pub(super) fn derive(context: &str, parts: &[&[u8]]) -> Self {
        let mut secret = Self::zero();
        derivation(context, parts).finalize_xof().fill(&mut *secret.0);
        secret
    }

    pub(super) fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    pub(super) fn expose_mut(&mut self) -> &mut [u8; KEY_BYTES] {
        &mut self.0
    }

    fn copy(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// As [`Secret::derive`], for values that are no secret: names, commitments, checksums.
pub(super) fn derive_public(context: &str, parts: &[&[u8]]) -> [u8; ID_BYTES] {
    derivation(context, parts).finalize().into()
}

fn derivation(context: &str, parts: &[&[u8]]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    hasher
}

/// Compares in a time that does not depend on where the bytes differ.
pub(super) fn is_same(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// Names chunks; the only way from data to a [`ChunkId`].
pub struct IdKey(Secret);

impl IdKey {
    /// The id of a chunk: BLAKE3 of its bytes, keyed, so that nobody without the key can tell whether a known file is
    /// in the repository.
    pub fn chunk_id(&self, data: &[u8]) -> ChunkId {
        ChunkId::from_bytes(blake3::keyed_hash(self.0.expose(), data).into())
    }
}

/// What the cuts of chunks depend on, so that their lengths tell an observer nothing.
pub struct ChunkerSecret(Secret);

impl ChunkerSecret {
    /// The bytes from which the chunker makes its gear table.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        self.0.expose()
    }
}

/// The recipient's public key; it comes from a key slot and from nowhere else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RecipientPublic([u8; KEY_BYTES]);

impl RecipientPublic {
    pub(super) const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes of the point on Curve25519.
    pub const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

/// The recipient's secret key: what a holder of the write keys alone lacks.
pub struct RecipientSecret(Secret);

impl RecipientSecret {
    pub(super) fn new(secret: Secret) -> Self {
        Self(secret)
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.0
    }

    /// The public half.
    pub fn public(&self) -> Result<RecipientPublic, InvalidKey> {
        let public = X25519HkdfSha256::sk_to_pk(&self.private_key()?);
        Ok(RecipientPublic(public.to_bytes().into()))
    }

    fn private_key(&self) -> Result<<X25519HkdfSha256 as Kem>::PrivateKey, InvalidKey> {
        Deserializable::from_bytes(self.0.expose()).map_err(InvalidKey)
    }
}

/// The recipient's key is not one that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The recipient's key cannot be used: {0}")]
pub struct InvalidKey(HpkeError);

/// A new repository's keys could not be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The random key was not usable.
    #[error(transparent)]
    Key(#[from] InvalidKey),
}

/// A point or a frame was to be read with write keys alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("This key can write backups and not read them: points and data open only with a key that holds the read key")]
pub struct CannotRead;

/// What a key slot opens to.
pub enum Keys {
    /// Everything needed to deduplicate, write, and open what writers share.
    WriteOnly(WriteKeys),
    /// Everything.
    Full(ReadKeys),
}

impl Keys {
    /// The write keys, which every slot holds.
    pub fn write(&self) -> &WriteKeys {
        match self {
            Self::WriteOnly(write) => write,
            Self::Full(read) => read.write(),
        }
    }

    /// The read keys, if the slot held them.
    pub fn read(&self) -> Result<&ReadKeys, CannotRead> {
        match self {
            Self::WriteOnly(_) => Err(CannotRead),
            Self::Full(read) => Ok(read),
        }
    }
}

/// What a writer holds: enough to deduplicate, seal everything, and open config, directories, segments, sessions,
/// condemned objects and notes. It cannot open points, voids and frames.
pub struct WriteKeys {
    repository: RepositoryId,
    writer: Secret,
    recipient: RecipientPublic,
    shared_base: Secret,
    psk: Secret,
    psk_id: [u8; ID_BYTES],
    slot_mac: Secret,
}

impl WriteKeys {
    pub(super) fn new(repository: RepositoryId, writer: Secret, recipient: RecipientPublic) -> Self {
        let from_writer = |context| Secret::derive(context, &[writer.expose()]);
        Self {
            repository,
            recipient,
            shared_base: from_writer(context::SHARED_BASE),
            psk: from_writer(context::PSK),
            psk_id: derive_public(context::PSK_ID, &[writer.expose()]),
            slot_mac: from_writer(context::SLOT_MAC),
            writer,
        }
    }

    /// The repository that these keys are for.
    pub fn repository(&self) -> RepositoryId {
        self.repository
    }

    /// Whom points and frames are sealed to.
    pub fn recipient(&self) -> &RecipientPublic {
        &self.recipient
    }

    /// The key that names chunks.
    pub fn id_key(&self) -> IdKey {
        IdKey(Secret::derive(context::CHUNK_ID, &[self.writer.expose()]))
    }

    /// The secret that cuts depend on.
    pub fn chunker_secret(&self) -> ChunkerSecret {
        ChunkerSecret(Secret::derive(context::CHUNKER, &[self.writer.expose()]))
    }

    /// A second holder of the same keys.
    pub fn duplicate(&self) -> Self {
        Self::new(self.repository, self.writer.copy(), self.recipient)
    }

    pub(super) fn writer_secret(&self) -> &Secret {
        &self.writer
    }

    /// The MAC over a key slot's parts.
    pub(super) fn slot_mac(&self, parts: &[&[u8]]) -> [u8; ID_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(self.slot_mac.expose());
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize().into()
    }

    /// The key of the description of the key slot with this salt.
    pub(super) fn slot_description_key(&self, name: &[u8; ID_BYTES], salt: &[u8; 32]) -> Secret {
        let base = self.shared_base.expose();
        Secret::derive(context::SLOT_DESCRIPTION, &[base, self.repository.as_bytes(), name, salt])
    }

    /// The key of the shared object with this salt.
    pub(super) fn shared_key(&self, object_type: ObjectType, salt: &[u8; 32]) -> Secret {
        let base = self.shared_base.expose();
        Secret::derive(context::SHARED_KEY, &[base, self.repository.as_bytes(), &[object_type.code()], salt])
    }

    /// A key for one object that only the recipient can find again, made from 32 fresh bytes.
    ///
    /// It is made twice and compared: what a faulty processor encapsulates could otherwise never be opened, and write
    /// keys could not notice.
    pub(super) fn encapsulate(&self, object_type: ObjectType, fresh: &Secret) -> Result<Encapsulated, InvalidKey> {
        let first = self.encapsulate_once(object_type, fresh).map_err(InvalidKey)?;
        let second = self.encapsulate_once(object_type, fresh).map_err(InvalidKey)?;
        if first.enc == second.enc && is_same(first.key.expose(), second.key.expose()) {
            Ok(first)
        } else {
            Err(InvalidKey(HpkeError::EncapError))
        }
    }

    fn encapsulate_once(&self, object_type: ObjectType, fresh: &Secret) -> Result<Encapsulated, HpkeError> {
        let public = Deserializable::from_bytes(&self.recipient.0)?;
        let mode = OpModeS::Psk(PskBundle::new(self.psk.expose(), &self.psk_id)?);
        let (enc, sender) = setup_sender_with_rng::<ExportOnlyAead, HkdfSha256, X25519HkdfSha256>(
            &mode,
            &public,
            &self.info(object_type),
            &mut Drawn(fresh.copy()),
        )?;
        let mut key = Secret::zero();
        sender.export(context::RECIPIENT_KEY.as_bytes(), key.expose_mut())?;
        Ok(Encapsulated { enc: enc.to_bytes().into(), key })
    }

    fn info(&self, object_type: ObjectType) -> Vec<u8> {
        [context::RECIPIENT_INFO.as_bytes(), self.repository.as_bytes(), &[object_type.code()]].concat()
    }
}

/// A fresh object key and what its recipient needs to find it.
pub(super) struct Encapsulated {
    pub(super) enc: [u8; 32],
    pub(super) key: Secret,
}

/// Fresh bytes drawn beforehand, where their absence was an error, in the shape that the KEM takes them.
struct Drawn(Secret);

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Gives the drawn bytes, and what BLAKE3 makes of them should more be asked for: the KEM asks once, for 32.
    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        for block in to.chunks_mut(KEY_BYTES) {
            for (to, from) in block.iter_mut().zip(self.0.expose()) {
                *to = *from;
            }
            self.0 = Secret::take(&mut blake3::hash(self.0.expose()).into());
        }
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}

/// What a reader holds: the write keys and the recipient's secret key.
pub struct ReadKeys {
    write: WriteKeys,
    secret: RecipientSecret,
}

impl ReadKeys {
    /// The keys of a new repository.
    pub fn generate() -> Result<Self, GenerateError> {
        let secret = RecipientSecret(Secret::random()?);
        Ok(Self::new(RepositoryId::random()?, Secret::random()?, secret)?)
    }

    /// Keys that are the same in every run, for vectors and tests.
    #[cfg(any(test, feature = "testing"))]
    pub fn fixed(
        repository: RepositoryId,
        mut writer: [u8; KEY_BYTES],
        mut recipient: [u8; KEY_BYTES],
    ) -> Result<Self, InvalidKey> {
        Self::new(repository, Secret::take(&mut writer), RecipientSecret(Secret::take(&mut recipient)))
    }

    pub(super) fn new(repository: RepositoryId, writer: Secret, secret: RecipientSecret) -> Result<Self, InvalidKey> {
        let write = WriteKeys::new(repository, writer, secret.public()?);
        Ok(Self { write, secret })
    }

    /// The write keys among them.
    pub fn write(&self) -> &WriteKeys {
        &self.write
    }

    /// The recipient's secret key.
    pub fn secret(&self) -> &RecipientSecret {
        &self.secret
    }

    /// A second holder of the same keys.
    pub fn duplicate(&self) -> Self {
        Self { write: self.write.duplicate(), secret: RecipientSecret(self.secret.0.copy()) }
    }

    /// The object key that was encapsulated for the recipient; `None` if `enc` is no public key.
    pub(super) fn decapsulate(&self, object_type: ObjectType, enc: &[u8; 32]) -> Option<Secret> {
        let enc = Deserializable::from_bytes(enc).ok()?;
        let mode = OpModeR::Psk(PskBundle::new(self.write.psk.expose(), &self.write.psk_id).ok()?);
        let receiver = setup_receiver::<ExportOnlyAead, HkdfSha256, X25519HkdfSha256>(
            &mode,
            &self.secret.private_key().ok()?,
            &enc,
            &self.write.info(object_type),
        )
        .ok()?;
        let mut key = Secret::zero();
        receiver.export(context::RECIPIENT_KEY.as_bytes(), key.expose_mut()).ok()?;
        Some(key)
    }
}

/// What commits to an object's key, and to the repository, type and given name that it was made for.
pub(super) fn commitment(
    key: &Secret,
    repository: RepositoryId,
    object_type: ObjectType,
    given_name: &[u8; ID_BYTES],
) -> [u8; ID_BYTES] {
    let parts: [&[u8]; 4] = [key.expose(), repository.as_bytes(), &[object_type.code()], given_name];
    derive_public(context::COMMITMENT, &parts)
}
