//! The keys of a pack: one header, a key for its frames and another for its directory.
//!
//! Knows neither frames' contents nor where they stand in the file. Invariants: one encapsulation per pack; the id
//! commits to both keys; a frame number is sealed under once; whoever holds write keys opens the directory, and only
//! the recipient the frames (`format-spec/keys.md`, "Pack").

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::aead::{Aead, Cipher, Faulty, Fresh, TAG_BYTES, binding};
use super::key::{ReadKeys, Secret, WriteKeys, commitment, context, derive_public, is_same};
use super::object::{ObjectName, ObjectType, OpenError, OpenProblem, decode_prefix, encode_prefix};
use super::seal::{SealError, decode_suite, encode_suite};
use crate::codec::{Decoder, Encoder};
use crate::id::{ID_BYTES, PackId, RepositoryId};
use crate::limits::{FRAME_SEALED_BYTES_MAX, OBJECT_PLAIN_BYTES_MAX, PACK_FRAMES_MAX};

/// Length of the header at the start of a pack in bytes.
pub const PACK_HEADER_BYTES: usize = 144;

/// The number under which the directory is sealed; no frame has it.
const DIRECTORY_NUMBER: u32 = u32::MAX;

const NO_NAME: [u8; ID_BYTES] = [0; ID_BYTES];
const WORD_BITS: usize = u64::BITS as usize;

const _: () = assert!(PACK_FRAMES_MAX < DIRECTORY_NUMBER as usize);
const _: () = assert!(PACK_FRAMES_MAX.is_multiple_of(WORD_BITS));

/// Seals the frames and the directory of one new pack, from as many threads as like.
pub struct PackSealer {
    id: PackId,
    frames: Cipher,
    directory: Cipher,
    used: Box<[AtomicU64]>,
    directory_used: AtomicBool,
    /// Buffers for opening again what was sealed; never more than threads that seal at once.
    scratch: Mutex<Vec<Vec<u8>>>,
}

impl PackSealer {
    /// Fresh keys for a new pack, and the header with which its file begins.
    pub fn new(keys: &WriteKeys) -> Result<(Self, [u8; PACK_HEADER_BYTES]), SealError> {
        Self::new_from(&mut Fresh::system(), keys)
    }

    /// As [`Self::new`], with the randomness given.
    pub fn new_from(fresh: &mut Fresh, keys: &WriteKeys) -> Result<(Self, [u8; PACK_HEADER_BYTES]), SealError> {
        let object = ObjectName::New(ObjectType::Pack);
        let faulty = |Faulty| SealError::Faulty { object };
        let made = keys.encapsulate(ObjectType::Pack, &fresh.draw_secret()?)?;
        let salt = fresh.draw()?;
        let directory_key = keys.shared_key(ObjectType::PackDirectory, &salt);
        let repository = keys.repository();
        let header = PackHeader {
            aead: fresh.aead(),
            enc: made.enc,
            salt,
            frames_commitment: commitment(&made.key, repository, ObjectType::Pack, &NO_NAME),
            directory_commitment: commitment(&directory_key, repository, ObjectType::PackDirectory, &NO_NAME),
        };
        let bytes = header.encode().ok_or(SealError::Faulty { object })?;
        let bound = binding(repository, &bytes, &NO_NAME);
        let sealer = Self {
            id: header.id(repository),
            frames: Cipher::new(header.aead, &made.key, bound.clone()).map_err(faulty)?,
            directory: Cipher::new(header.aead, &directory_key, bound).map_err(faulty)?,
            used: (0..PACK_FRAMES_MAX / WORD_BITS).map(|_| AtomicU64::new(0)).collect(),
            directory_used: AtomicBool::new(false),
            scratch: Mutex::default(),
        };
        Ok((sealer, bytes))
    }

    /// The pack's id, which is also the name of its object.
    pub fn id(&self) -> PackId {
        self.id
    }

    /// The sealed form of a frame: as long as the frame and a tag. Each number can be used once.
    pub fn seal_frame(&self, number: u32, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let object = ObjectName::Frame(self.id, number);
        check_length(object, plain, FRAME_SEALED_BYTES_MAX - TAG_BYTES)?;
        if !self.claim(number) {
            return Err(SealError::FrameNumber { object });
        }
        self.seal(&self.frames, number, object, plain)
    }

    /// The sealed form of the directory; it can be sealed once.
    pub fn seal_directory(&self, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let object = ObjectName::Directory(self.id);
        check_length(object, plain, OBJECT_PLAIN_BYTES_MAX)?;
        if self.directory_used.swap(true, Ordering::Relaxed) {
            return Err(SealError::FrameNumber { object });
        }
        self.seal(&self.directory, DIRECTORY_NUMBER, object, plain)
    }

    fn seal(&self, cipher: &Cipher, number: u32, object: ObjectName, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut sealed = Vec::with_capacity(plain.len() + TAG_BYTES);
        let mut scratch = self.scratch.lock().ok().and_then(|mut buffers| buffers.pop()).unwrap_or_default();
        let done = cipher.seal(number, plain, &mut sealed, &mut scratch);
        if let Ok(mut buffers) = self.scratch.lock() {
            buffers.push(scratch);
        }
        done.map(|()| sealed).map_err(|Faulty| SealError::Faulty { object })
    }

    /// Whether the number is free, which it is then no longer: a nonce must never repeat.
    fn claim(&self, number: u32) -> bool {
        let number = number as usize;
        let bit = 1 << (number % WORD_BITS);
        self.used.get(number / WORD_BITS).is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }
}

/// Opens the frames of one pack.
pub struct FrameOpener {
    id: PackId,
    cipher: Cipher,
}

impl FrameOpener {
    /// From the first [`PACK_HEADER_BYTES`] of the pack's file; what follows them is not looked at. Costs one X25519.
    pub fn new(keys: &ReadKeys, id: PackId, start: &[u8]) -> Result<Self, OpenError> {
        let repository = keys.write().repository();
        let open = || {
            let (header, bytes) = PackHeader::decode(repository, id, start)?;
            let key = keys.decapsulate(ObjectType::Pack, &header.enc).ok_or(OpenProblem::Header { field: "enc" })?;
            header.cipher(repository, &bytes, ObjectType::Pack, &key, &header.frames_commitment)
        };
        match open() {
            Ok(cipher) => Ok(Self { id, cipher }),
            Err(problem) => Err(OpenError { object: ObjectName::Pack(id), problem }),
        }
    }

    /// Opens a frame in place and gives its contents. After an error the bytes mean nothing any more; to mend the
    /// frame, read it again.
    pub fn open<'a>(&self, number: u32, sealed: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        let wrong = |problem| OpenError { object: ObjectName::Frame(self.id, number), problem };
        if sealed.len() > FRAME_SEALED_BYTES_MAX {
            return Err(wrong(OpenProblem::TooLarge { max_bytes: FRAME_SEALED_BYTES_MAX }));
        }
        if number as usize >= PACK_FRAMES_MAX {
            return Err(wrong(OpenProblem::Damaged));
        }
        self.cipher.open(number, sealed).map_err(|_| wrong(OpenProblem::Damaged))
    }
}

/// Opens the directory of one pack.
pub struct DirectoryOpener {
    id: PackId,
    cipher: Cipher,
}

impl DirectoryOpener {
    /// From the first [`PACK_HEADER_BYTES`] of the pack's file; what follows them is not looked at.
    pub fn new(keys: &WriteKeys, id: PackId, start: &[u8]) -> Result<Self, OpenError> {
        let repository = keys.repository();
        let open = || {
            let (header, bytes) = PackHeader::decode(repository, id, start)?;
            let key = keys.shared_key(ObjectType::PackDirectory, &header.salt);
            header.cipher(repository, &bytes, ObjectType::PackDirectory, &key, &header.directory_commitment)
        };
        match open() {
            Ok(cipher) => Ok(Self { id, cipher }),
            Err(problem) => Err(OpenError { object: ObjectName::Pack(id), problem }),
        }
    }

    /// Opens the directory in place and gives its contents. After an error the bytes mean nothing any more; to mend the
    /// directory, read it again.
    pub fn open<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        let wrong = |problem| OpenError { object: ObjectName::Directory(self.id), problem };
        if sealed.len() > OBJECT_PLAIN_BYTES_MAX + TAG_BYTES {
            return Err(wrong(OpenProblem::TooLarge { max_bytes: OBJECT_PLAIN_BYTES_MAX }));
        }
        self.cipher.open(DIRECTORY_NUMBER, sealed).map_err(|_| wrong(OpenProblem::Damaged))
    }
}

struct PackHeader {
    aead: Aead,
    enc: [u8; 32],
    salt: [u8; 32],
    frames_commitment: [u8; ID_BYTES],
    directory_commitment: [u8; ID_BYTES],
}

impl PackHeader {
    /// The header's bytes, read again and compared as everything that is sealed; `None` if they differ.
    fn encode(&self) -> Option<[u8; PACK_HEADER_BYTES]> {
        let mut encoder = Encoder::new();
        encode_prefix(&mut encoder, ObjectType::Pack);
        encode_suite(&mut encoder, ObjectType::Pack, self.aead);
        encoder.raw(&self.enc).raw(&self.salt).raw(&self.frames_commitment).raw(&self.directory_commitment);
        let bytes = encoder.finish().try_into().ok()?;
        let again = Self::decode_fields(&bytes).ok()?;
        let is_equal = again.enc == self.enc
            && again.salt == self.salt
            && again.frames_commitment == self.frames_commitment
            && again.directory_commitment == self.directory_commitment;
        is_equal.then_some(bytes)
    }

    /// Reads the header at the start of a pack and checks that it is the one that the id commits to.
    fn decode(
        repository: RepositoryId,
        id: PackId,
        start: &[u8],
    ) -> Result<(Self, [u8; PACK_HEADER_BYTES]), OpenProblem> {
        let Some(bytes) = start.first_chunk::<PACK_HEADER_BYTES>() else {
            decode_prefix(&mut Decoder::new(start))?;
            return Err(OpenProblem::Length);
        };
        let header = Self::decode_fields(bytes)?;
        if header.id(repository) == id { Ok((header, *bytes)) } else { Err(OpenProblem::Misplaced) }
    }

    fn decode_fields(bytes: &[u8; PACK_HEADER_BYTES]) -> Result<Self, OpenProblem> {
        let mut decoder = Decoder::new(bytes);
        let object_type = decode_prefix(&mut decoder)?;
        if object_type != ObjectType::Pack {
            return Err(OpenProblem::OtherType(object_type));
        }
        let aead = decode_suite(&mut decoder, object_type)?;
        let mut field = |name| decoder.array(name).map_err(|_| OpenProblem::Length);
        Ok(Self {
            aead,
            enc: field("enc")?,
            salt: field("salt")?,
            frames_commitment: field("frames commitment")?,
            directory_commitment: field("directory commitment")?,
        })
    }

    fn id(&self, repository: RepositoryId) -> PackId {
        let parts: [&[u8]; 4] =
            [repository.as_bytes(), &[ObjectType::Pack.code()], &self.frames_commitment, &self.directory_commitment];
        PackId::from_bytes(derive_public(context::PACK_ID, &parts))
    }

    fn cipher(
        &self,
        repository: RepositoryId,
        bytes: &[u8],
        object_type: ObjectType,
        key: &Secret,
        committed: &[u8; ID_BYTES],
    ) -> Result<Cipher, OpenProblem> {
        if !is_same(&commitment(key, repository, object_type, &NO_NAME), committed) {
            return Err(OpenProblem::Misplaced);
        }
        Cipher::new(self.aead, key, binding(repository, bytes, &NO_NAME)).map_err(|Faulty| OpenProblem::Damaged)
    }
}

fn check_length(object: ObjectName, plain: &[u8], max_bytes: usize) -> Result<(), SealError> {
    let len_bytes = plain.len();
    if len_bytes > max_bytes { Err(SealError::TooLarge { object, len_bytes, max_bytes }) } else { Ok(()) }
}
