//! Key slots: the repository's keys, sealed under a passphrase or a key file.
//!
//! Knows no store and no terminal. Invariants: a slot has a fixed length, so that its size tells nothing; which copy is
//! whole is decided by a checksum before any costly work, so that a wrong passphrase and damage are different errors;
//! no slot makes a reader spend more than the limits; keys leave this module only after the MAC was compared
//! (`format-spec/keys.md`, "Key slot").

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::{Zeroize, Zeroizing};

use super::aead::{Aead, Cipher, Faulty, Fresh, TAG_BYTES, binding};
use super::key::{
    Keys, ReadKeys, RecipientPublic, RecipientSecret, Secret, WriteKeys, context, derive_public, is_same,
};
use super::keyfile::KeyFile;
use super::object::{ObjectType, OpenProblem, decode_prefix, encode_prefix};
use super::seal::{Damage, problem_of_both};
use crate::clock::Timestamp;
use crate::codec::{Decoder, Encoder};
use crate::id::{ID_BYTES, KeyslotId, RandomError, RepositoryId};
use crate::limits::{
    ARGON2_LANES_MAX, ARGON2_LANES_NEW_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_MEMORY_KIB_MIN, ARGON2_PASSES_MAX,
    ARGON2_PASSES_MIN, KEYSLOT_LABEL_BYTES_MAX, PASSPHRASE_BYTES_MAX,
};

const HEADER_BYTES: usize = 88;
const BUNDLE_BYTES: usize = 129;
const DESCRIPTION_BYTES: usize = 256;
const CHECKSUMMED_BYTES: usize = MACED_BYTES + ID_BYTES;
const MACED_BYTES: usize = HEADER_BYTES + BUNDLE_BYTES + TAG_BYTES + DESCRIPTION_BYTES + TAG_BYTES;

/// Length of one of the two copies of a slot in bytes.
pub const KEYSLOT_COPY_BYTES: usize = CHECKSUMMED_BYTES + ID_BYTES;

/// What the bundle authenticates in place of the repository's id, which stands in the bundle.
const NO_REPOSITORY: RepositoryId = RepositoryId::from_bytes([0; ID_BYTES]);

const _: () = assert!(DESCRIPTION_BYTES == 8 + 1 + 1 + 1 + KEYSLOT_LABEL_BYTES_MAX);
const _: () = assert!(KEYSLOT_LABEL_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(KEYSLOT_COPY_BYTES == 569);

/// A passphrase, as the bytes that were typed; nothing is normalised.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes the bytes over. An empty passphrase is never meant, and a very long one is the wrong file.
    pub fn new(bytes: Vec<u8>) -> Result<Self, PassphraseError> {
        let bytes = Zeroizing::new(bytes);
        match bytes.len() {
            0 => Err(PassphraseError::Empty),
            1..=PASSPHRASE_BYTES_MAX => Ok(Self(bytes)),
            _ => Err(PassphraseError::TooLong),
        }
    }
}

/// Bytes that cannot be a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// Nothing was given.
    #[error("The passphrase is empty")]
    Empty,
    /// More than [`PASSPHRASE_BYTES_MAX`].
    #[error("The passphrase is longer than {PASSPHRASE_BYTES_MAX} bytes")]
    TooLong,
}

/// What Argon2id costs whoever tries a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Argon2Cost {
    /// A cost for a new slot, between the floor of RFC 9106 and what a reader accepts.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, CostError> {
        let is_allowed = (ARGON2_MEMORY_KIB_MIN..=ARGON2_MEMORY_KIB_MAX).contains(&memory_kib)
            && (ARGON2_PASSES_MIN..=ARGON2_PASSES_MAX).contains(&passes)
            && (1..=ARGON2_LANES_NEW_MAX).contains(&lanes);
        if is_allowed { Ok(Self { memory_kib, passes, lanes }) } else { Err(CostError { memory_kib, passes, lanes }) }
    }

    /// A cost far below the floor, so that tests take no time.
    #[cfg(any(test, feature = "testing"))]
    pub const fn cheap() -> Self {
        Self { memory_kib: 16, passes: 1, lanes: 2 }
    }

    fn is_readable(self) -> bool {
        (1..=ARGON2_LANES_MAX).contains(&self.lanes)
            && (8 * self.lanes..=ARGON2_MEMORY_KIB_MAX).contains(&self.memory_kib)
            && (1..=ARGON2_PASSES_MAX).contains(&self.passes)
    }

    fn stretch(self, passphrase: &Passphrase, salt: &[u8; 32]) -> Option<Secret> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, None).ok()?;
        let mut stretched = [0; 32];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let done = argon2.hash_password_into(&passphrase.0, salt, &mut stretched);
        let secret = Secret::take(&mut stretched);
        done.is_ok().then_some(secret)
    }
}

impl Default for Argon2Cost {
    /// 64 MiB, three passes, four lanes: what RFC 9106 recommends where memory is scarce, as in a rescue system.
    fn default() -> Self {
        Self { memory_kib: ARGON2_MEMORY_KIB_MIN, passes: ARGON2_PASSES_MIN, lanes: ARGON2_LANES_NEW_MAX }
    }
}

/// A cost that is too low to protect a passphrase, or too high to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "Argon2id with {memory_kib} KiB, {passes} passes and {lanes} lanes is outside of what a key slot may ask for: \
     {ARGON2_MEMORY_KIB_MIN} to {ARGON2_MEMORY_KIB_MAX} KiB, {ARGON2_PASSES_MIN} to {ARGON2_PASSES_MAX} passes, 1 to \
     {ARGON2_LANES_NEW_MAX} lanes"
)]
pub struct CostError {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// By what a new slot is to be opened.
pub enum SlotKey<'a> {
    /// A passphrase, stretched at this cost.
    Passphrase(&'a Passphrase, Argon2Cost),
    /// A key file.
    KeyFile(&'a KeyFile),
    /// A key that is printed for a drawer; the same as a key file, told apart for people.
    Recovery(&'a KeyFile),
}

impl SlotKey<'_> {
    fn kind(&self) -> SlotKind {
        match self {
            Self::Passphrase(..) => SlotKind::Passphrase,
            Self::KeyFile(_) => SlotKind::KeyFile,
            Self::Recovery(_) => SlotKind::Recovery,
        }
    }
}

/// What a new slot is to hold.
#[derive(Clone, Copy)]
pub enum SlotContents<'a> {
    /// The write keys; the slot's owner can back up and not restore.
    WriteOnly(&'a WriteKeys),
    /// Everything.
    Full(&'a ReadKeys),
}

impl<'a> SlotContents<'a> {
    fn write(self) -> &'a WriteKeys {
        match self {
            Self::WriteOnly(keys) => keys,
            Self::Full(keys) => keys.write(),
        }
    }

    fn access(self) -> Access {
        match self {
            Self::WriteOnly(_) => Access::WriteOnly,
            Self::Full(_) => Access::Full,
        }
    }
}

/// What is tried on a slot.
#[derive(Clone, Copy)]
pub enum Unlock<'a> {
    /// A passphrase.
    Passphrase(&'a Passphrase),
    /// A key file or a recovery key.
    KeyFile(&'a KeyFile),
}

/// By what a slot is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// A passphrase.
    Passphrase = 1,
    /// A key file.
    KeyFile = 2,
    /// A recovery key.
    Recovery = 3,
}

/// What a slot's owner can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    Full = 1,
    /// Back up, and not read.
    WriteOnly = 2,
}

/// What a slot says about itself to whoever holds the repository's write keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// By what the slot is opened.
    pub kind: SlotKind,
    /// What its owner can do.
    pub access: Access,
    /// When it was made, by its maker's clock.
    pub created: Timestamp,
    /// What its maker called it.
    pub label: String,
}

/// Why a slot could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SealSlotError {
    /// The label exceeds [`KEYSLOT_LABEL_BYTES_MAX`].
    #[error("The label of a key slot has {len_bytes} bytes, more than the {KEYSLOT_LABEL_BYTES_MAX} allowed")]
    LabelTooLong {
        /// Its length.
        len_bytes: usize,
    },
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// Argon2id could not have the memory that was asked for.
    #[error("There is not enough memory for Argon2id with {memory_kib} KiB")]
    Memory {
        /// What was asked for.
        memory_kib: u32,
    },
    /// The new slot does not open to what went in.
    #[error("The new key slot did not open to the same keys: this machine's memory or processor is faulty")]
    Faulty,
}

/// Why a slot does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Key slot {slot} {problem}")]
pub struct SlotError {
    /// The slot.
    pub slot: KeyslotId,
    /// What is wrong.
    pub problem: SlotProblem,
}

/// How a slot can fail to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotProblem {
    /// As with any other object. `Damaged` means that no copy has the checksum of its bytes and its name.
    #[error(transparent)]
    Object(#[from] OpenProblem),
    /// It would take more than a slot of this program ever does.
    #[error("asks for Argon2id with {memory_kib} KiB, {passes} passes and {lanes} lanes, more than any slot should")]
    TooExpensive {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// The machine has less memory than the slot asks for.
    #[error("needs {memory_kib} KiB of memory for Argon2id, which this machine did not give")]
    Memory {
        /// What it needs.
        memory_kib: u32,
    },
    /// The slot is whole and the passphrase or key file is another one.
    #[error("does not open with this passphrase or key file")]
    WrongKey,
    /// A passphrase was tried on a slot for a key file, or the other way round.
    #[error("is opened by {}, which was not given", .0.key_text())]
    OtherKind(Kdf),
    /// Someone without the writer secret changed or made it.
    #[error("was not made by a holder of this repository's keys: its MAC is wrong")]
    Forged,
}

/// How a slot makes its key from what opens it; readable without any key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kdf {
    /// Argon2id over a passphrase.
    Argon2id(Argon2Cost),
    /// The secret of a key file, as it is.
    KeyFile,
}

impl Kdf {
    const ARGON2ID: u8 = 1;
    const KEY_FILE: u8 = 2;

    fn key_text(self) -> &'static str {
        match self {
            Self::Argon2id(_) => "a passphrase",
            Self::KeyFile => "a key file",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Argon2id(_) => Self::ARGON2ID,
            Self::KeyFile => Self::KEY_FILE,
        }
    }
}

/// Makes a new slot, to be stored under the id that comes with it.
pub fn seal_slot(
    key: &SlotKey<'_>,
    contents: SlotContents<'_>,
    label: &str,
    created: Timestamp,
) -> Result<(KeyslotId, Vec<u8>), SealSlotError> {
    seal_slot_from(&mut Fresh::system(), key, contents, label, created)
}

/// As [`seal_slot`], with the randomness given.
pub fn seal_slot_from(
    fresh: &mut Fresh,
    key: &SlotKey<'_>,
    contents: SlotContents<'_>,
    label: &str,
    created: Timestamp,
) -> Result<(KeyslotId, Vec<u8>), SealSlotError> {
    let len_bytes = label.len();
    if len_bytes > KEYSLOT_LABEL_BYTES_MAX {
        return Err(SealSlotError::LabelTooLong { len_bytes });
    }
    let id = KeyslotId::from_bytes(fresh.draw()?);
    let salt = fresh.draw()?;
    let (kdf, kek) = match key {
        SlotKey::Passphrase(passphrase, cost) => {
            let memory_kib = cost.memory_kib;
            let stretched = cost.stretch(passphrase, &salt).ok_or(SealSlotError::Memory { memory_kib })?;
            let kdf = Kdf::Argon2id(*cost);
            (kdf, derive_kek(kdf, &stretched, &salt, id))
        }
        SlotKey::KeyFile(file) | SlotKey::Recovery(file) => {
            (Kdf::KeyFile, derive_kek(Kdf::KeyFile, file.secret(), &salt, id))
        }
    };
    let header = Header { kdf, aead: fresh.aead(), salt, commitment: commit_kek(&kek, id) };
    let description = Description { kind: key.kind(), access: contents.access(), created, label: label.to_owned() };
    let mut stored = seal_copy(id, &header, &kek, contents, &description).map_err(|Faulty| SealSlotError::Faulty)?;
    stored.extend_from_within(..);
    check_again(id, &stored, &kek, contents, &description)?;
    Ok((id, stored))
}

/// A slot of which at least one copy is whole, not opened yet.
pub struct Keyslot {
    id: KeyslotId,
    header: Header,
    copy: Vec<u8>,
    damage: Option<Damage>,
}

impl Keyslot {
    /// Finds the copy that is whole. Needs no key and costs nothing.
    pub fn parse(id: KeyslotId, stored: &[u8]) -> Result<Self, SlotError> {
        let wrong = |problem| SlotError { slot: id, problem };
        let copies = stored.split_at_checked(KEYSLOT_COPY_BYTES);
        let (first, second) = copies.unwrap_or((stored, &[]));
        let copy = match check_copy(id, first) {
            Ok(()) => first,
            Err(problem) => {
                let second = second.get(..KEYSLOT_COPY_BYTES).unwrap_or(second);
                let check = check_copy(id, second);
                check.map_err(|other| wrong(problem_of_both(problem, other).into()))?;
                second
            }
        };
        let damage = if copy != first {
            Some(Damage::FirstCopy)
        } else if second.len() != KEYSLOT_COPY_BYTES {
            Some(Damage::Length)
        } else {
            (first != second).then_some(Damage::SecondCopy)
        };
        let header = Header::decode(copy).map_err(wrong)?;
        Ok(Self { id, header, copy: copy.to_vec(), damage })
    }

    /// The slot's id.
    pub fn id(&self) -> KeyslotId {
        self.id
    }

    /// What is wrong with its other copy.
    pub fn damage(&self) -> Option<Damage> {
        self.damage
    }

    /// By what it is opened.
    pub fn kdf(&self) -> Kdf {
        self.header.kdf
    }

    /// Opens the slot. For a passphrase this takes the time and memory that the slot asks for, within the limits.
    pub fn open(&self, unlock: Unlock<'_>) -> Result<Keys, SlotError> {
        self.open_with(unlock).map_err(|problem| self.error(problem))
    }

    /// Reads what the slot says about itself, having checked that a holder of the repository's keys made it.
    pub fn describe(&self, keys: &WriteKeys) -> Result<Description, SlotError> {
        self.check_mac(keys).and_then(|()| self.open_description(keys)).map_err(|problem| self.error(problem))
    }

    fn open_with(&self, unlock: Unlock<'_>) -> Result<Keys, SlotProblem> {
        let kek = self.kek(unlock)?;
        if !is_same(&commit_kek(&kek, self.id), &self.header.commitment) {
            return Err(SlotProblem::WrongKey);
        }
        let keys = self.open_bundle(&kek)?;
        self.check_mac(keys.write())?;
        Ok(keys)
    }

    fn kek(&self, unlock: Unlock<'_>) -> Result<Secret, SlotProblem> {
        let Header { kdf, salt, .. } = &self.header;
        match (*kdf, unlock) {
            (Kdf::Argon2id(cost), Unlock::Passphrase(passphrase)) => {
                let memory_kib = cost.memory_kib;
                let stretched = cost.stretch(passphrase, salt).ok_or(SlotProblem::Memory { memory_kib })?;
                Ok(derive_kek(*kdf, &stretched, salt, self.id))
            }
            (Kdf::KeyFile, Unlock::KeyFile(file)) => Ok(derive_kek(*kdf, file.secret(), salt, self.id)),
            (kdf, _) => Err(SlotProblem::OtherKind(kdf)),
        }
    }

    fn open_bundle(&self, kek: &Secret) -> Result<Keys, SlotProblem> {
        let cipher = self.header.bundle_cipher(self.id, kek).map_err(|Faulty| OpenProblem::Damaged)?;
        let mut bundle = Zeroizing::new(self.part(HEADER_BYTES, BUNDLE_BYTES + TAG_BYTES)?.to_vec());
        let plain = cipher.open(0, &mut bundle).map_err(|_| OpenProblem::Damaged)?;
        Ok(decode_bundle(plain)?)
    }

    fn open_description(&self, keys: &WriteKeys) -> Result<Description, SlotProblem> {
        let cipher = self.header.description_cipher(self.id, keys).map_err(|Faulty| OpenProblem::Damaged)?;
        let start = HEADER_BYTES + BUNDLE_BYTES + TAG_BYTES;
        let mut sealed = self.part(start, DESCRIPTION_BYTES + TAG_BYTES)?.to_vec();
        let plain = cipher.open(0, &mut sealed).map_err(|_| OpenProblem::Damaged)?;
        Ok(decode_description(plain)?)
    }

    fn check_mac(&self, keys: &WriteKeys) -> Result<(), SlotProblem> {
        let expected = mac_of(keys, self.id, self.part(0, MACED_BYTES)?);
        if is_same(&expected, self.part(MACED_BYTES, ID_BYTES)?) { Ok(()) } else { Err(SlotProblem::Forged) }
    }

    fn part(&self, start: usize, len: usize) -> Result<&[u8], OpenProblem> {
        self.copy.get(start..start + len).ok_or(OpenProblem::Length)
    }

    fn error(&self, problem: SlotProblem) -> SlotError {
        SlotError { slot: self.id, problem }
    }
}

struct Header {
    kdf: Kdf,
    aead: Aead,
    salt: [u8; 32],
    commitment: [u8; ID_BYTES],
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let cost = match self.kdf {
            Kdf::Argon2id(cost) => cost,
            Kdf::KeyFile => Argon2Cost { memory_kib: 0, passes: 0, lanes: 0 },
        };
        let mut encoder = Encoder::new();
        encode_prefix(&mut encoder, ObjectType::Keyslot).u8(self.kdf.code()).u8(self.aead.code());
        encoder.u32(cost.memory_kib).u32(cost.passes).u32(cost.lanes).raw(&self.salt).raw(&self.commitment);
        encoder.finish()
    }

    fn decode(copy: &[u8]) -> Result<Self, SlotProblem> {
        let wrong = |field| OpenProblem::Header { field };
        let mut decoder = Decoder::new(copy);
        decode_prefix(&mut decoder)?;
        let kdf = decoder.u8("kdf").map_err(|_| wrong("kdf"))?;
        let aead = Aead::decode(&mut decoder).ok_or(wrong("aead"))?;
        let mut number = |field| decoder.u32(field).map_err(|_| wrong(field));
        let (memory_kib, passes, lanes) = (number("memory")?, number("passes")?, number("lanes")?);
        let cost = Argon2Cost { memory_kib, passes, lanes };
        let kdf = match (kdf, cost) {
            (Kdf::ARGON2ID, cost) if cost.is_readable() => Kdf::Argon2id(cost),
            (Kdf::ARGON2ID, _) => return Err(SlotProblem::TooExpensive { memory_kib, passes, lanes }),
            (Kdf::KEY_FILE, Argon2Cost { memory_kib: 0, passes: 0, lanes: 0 }) => Kdf::KeyFile,
            _ => return Err(wrong("kdf").into()),
        };
        let salt = decoder.array("salt").map_err(|_| wrong("salt"))?;
        let commitment = decoder.array("commitment").map_err(|_| wrong("commitment"))?;
        Ok(Self { kdf, aead, salt, commitment })
    }

    fn bundle_cipher(&self, id: KeyslotId, kek: &Secret) -> Result<Cipher, Faulty> {
        Cipher::new(self.aead, kek, binding(NO_REPOSITORY, &self.encode(), id.as_bytes()))
    }

    fn description_cipher(&self, id: KeyslotId, keys: &WriteKeys) -> Result<Cipher, Faulty> {
        let key = keys.slot_description_key(id.as_bytes(), &self.salt);
        Cipher::new(self.aead, &key, binding(keys.repository(), &self.encode(), id.as_bytes()))
    }
}

fn derive_kek(kdf: Kdf, secret: &Secret, salt: &[u8; 32], id: KeyslotId) -> Secret {
    Secret::derive(context::SLOT_KEK, &[&[kdf.code()], secret.expose(), salt, id.as_bytes()])
}

fn commit_kek(kek: &Secret, id: KeyslotId) -> [u8; ID_BYTES] {
    derive_public(context::SLOT_COMMITMENT, &[kek.expose(), id.as_bytes()])
}

fn mac_of(keys: &WriteKeys, id: KeyslotId, maced: &[u8]) -> [u8; ID_BYTES] {
    keys.slot_mac(&[keys.repository().as_bytes(), id.as_bytes(), maced])
}

fn checksum_of(id: KeyslotId, checksummed: &[u8]) -> [u8; ID_BYTES] {
    derive_public(context::SLOT_CHECKSUM, &[id.as_bytes(), checksummed])
}

fn seal_copy(
    id: KeyslotId,
    header: &Header,
    kek: &Secret,
    contents: SlotContents<'_>,
    description: &Description,
) -> Result<Vec<u8>, Faulty> {
    let keys = contents.write();
    let mut scratch = Vec::new();
    let mut copy = Vec::with_capacity(2 * KEYSLOT_COPY_BYTES);
    copy.extend_from_slice(&header.encode());
    let done = header.bundle_cipher(id, kek)?.seal(0, &encode_bundle(contents), &mut copy, &mut scratch);
    scratch.zeroize();
    done?;
    header.description_cipher(id, keys)?.seal(0, &encode_description(description), &mut copy, &mut scratch)?;
    let mac = mac_of(keys, id, &copy);
    copy.extend_from_slice(&mac);
    let checksum = checksum_of(id, &copy);
    copy.extend_from_slice(&checksum);
    Ok(copy)
}

/// Opens a new slot again as a reader would, except that the KEK is not made anew.
fn check_again(
    id: KeyslotId,
    stored: &[u8],
    kek: &Secret,
    contents: SlotContents<'_>,
    description: &Description,
) -> Result<(), SealSlotError> {
    let open = || -> Result<bool, SlotProblem> {
        let slot = Keyslot::parse(id, stored).map_err(|error| error.problem)?;
        let keys = slot.open_bundle(kek)?;
        slot.check_mac(keys.write())?;
        let again = match &keys {
            Keys::WriteOnly(write) => SlotContents::WriteOnly(write),
            Keys::Full(read) => SlotContents::Full(read),
        };
        Ok(slot.damage.is_none()
            && is_same(&encode_bundle(again), &encode_bundle(contents))
            && slot.open_description(keys.write())? == *description)
    };
    if open() == Ok(true) { Ok(()) } else { Err(SealSlotError::Faulty) }
}

/// Whether a copy begins as a slot does and has the checksum of its bytes.
fn check_copy(id: KeyslotId, copy: &[u8]) -> Result<(), OpenProblem> {
    let object_type = decode_prefix(&mut Decoder::new(copy))?;
    if object_type != ObjectType::Keyslot {
        return Err(OpenProblem::OtherType(object_type));
    }
    let (checksummed, checksum) = copy.split_at_checked(CHECKSUMMED_BYTES).ok_or(OpenProblem::Length)?;
    if checksum.len() != ID_BYTES {
        return Err(OpenProblem::Length);
    }
    if checksum_of(id, checksummed) == checksum { Ok(()) } else { Err(OpenProblem::Damaged) }
}

fn encode_bundle(contents: SlotContents<'_>) -> Zeroizing<Vec<u8>> {
    let keys = contents.write();
    let mut bundle = Zeroizing::new(Vec::with_capacity(BUNDLE_BYTES));
    bundle.push(contents.access() as u8);
    bundle.extend_from_slice(keys.repository().as_bytes());
    bundle.extend_from_slice(keys.writer_secret().expose());
    bundle.extend_from_slice(keys.recipient().as_bytes());
    match contents {
        SlotContents::WriteOnly(_) => bundle.extend_from_slice(&[0; 32]),
        SlotContents::Full(read) => bundle.extend_from_slice(read.secret().secret().expose()),
    }
    bundle
}

fn decode_bundle(plain: &[u8]) -> Result<Keys, OpenProblem> {
    let wrong = |field| OpenProblem::Header { field };
    let mut decoder = Decoder::new(plain);
    let access = decoder.u8("access").map_err(|_| wrong("access"))?;
    let mut field = |name| decoder.array(name).map_err(|_| wrong(name));
    let repository = RepositoryId::from_bytes(field("repository")?);
    let writer = Secret::take(&mut field("writer secret")?);
    let recipient = RecipientPublic::from_bytes(field("recipient public")?);
    let secret = Secret::take(&mut field("recipient secret")?);
    decoder.finish("bundle").map_err(|_| wrong("bundle"))?;
    if access == Access::WriteOnly as u8 {
        let keys = Keys::WriteOnly(WriteKeys::new(repository, writer, recipient));
        return if is_same(secret.expose(), &[0; 32]) { Ok(keys) } else { Err(wrong("recipient secret")) };
    }
    if access != Access::Full as u8 {
        return Err(wrong("access"));
    }
    let read =
        ReadKeys::new(repository, writer, RecipientSecret::new(secret)).map_err(|_| wrong("recipient secret"))?;
    if *read.write().recipient() == recipient { Ok(Keys::Full(read)) } else { Err(wrong("recipient public")) }
}

fn encode_description(description: &Description) -> Vec<u8> {
    let label = description.label.as_bytes();
    let mut encoder = Encoder::new();
    encoder.u64(description.created.as_micros()).u8(description.kind as u8).u8(description.access as u8);
    encoder.u8(u8::try_from(label.len()).unwrap_or(u8::MAX)).raw(label);
    let mut bytes = encoder.finish();
    bytes.resize(DESCRIPTION_BYTES, 0);
    bytes
}

fn decode_description(plain: &[u8]) -> Result<Description, OpenProblem> {
    let wrong = |field| OpenProblem::Header { field };
    let mut decoder = Decoder::new(plain);
    let created = decoder.u64("created").ok().and_then(Timestamp::from_micros).ok_or(wrong("created"))?;
    let kind = match decoder.u8("kind") {
        Ok(1) => SlotKind::Passphrase,
        Ok(2) => SlotKind::KeyFile,
        Ok(3) => SlotKind::Recovery,
        _ => return Err(wrong("kind")),
    };
    let access = match decoder.u8("access") {
        Ok(1) => Access::Full,
        Ok(2) => Access::WriteOnly,
        _ => return Err(wrong("access")),
    };
    let len = decoder.u8("label").map_err(|_| wrong("label"))?;
    let label = decoder.raw("label", len.into()).map_err(|_| wrong("label"))?;
    let label = str::from_utf8(label).map_err(|_| wrong("label"))?.to_owned();
    let padding = decoder.raw("padding", decoder.remaining()).unwrap_or_default();
    if padding.iter().any(|byte| *byte != 0) {
        return Err(wrong("padding"));
    }
    Ok(Description { kind, access, created, label })
}
