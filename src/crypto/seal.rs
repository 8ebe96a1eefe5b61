//! Sealed objects other than packs and key slots: one header, one body, most of them stored twice in a row.
//!
//! Knows nothing of what it seals. Invariants: an object's key is fresh, committed to and checked before opening;
//! nothing is allocated for a length that the input does not have; the other copy is tried before an object counts as
//! damaged (`format-spec/keys.md`, "Sealed object").

use super::aead::{Aead, Cipher, Faulty, Fresh, TAG_BYTES, binding};
use super::key::{InvalidKey, KEM_ID, ReadKeys, Secret, WriteKeys, commitment, context, derive_public, is_same};
use super::object::{ObjectName, ObjectType, OpenError, OpenProblem, config_name, decode_prefix, encode_prefix};
use crate::codec::{Decoder, Encoder};
use crate::id::{CondemnedId, ID_BYTES, NoteId, PointId, RandomError, RepositoryId, SegmentId};
use crate::limits::{OBJECT_BYTES_MAX, OBJECT_PLAIN_BYTES_MAX};

/// Length of the header of a copy in bytes.
pub const OBJECT_HEADER_BYTES: usize = 88;

/// The name of an object whose name is free, and so is derived from its key.
const NO_NAME: [u8; ID_BYTES] = [0; ID_BYTES];

/// Names that are derived from the object's key, so that the name alone says whether the object is the one meant.
pub trait FreeName: Copy + sealed::Sealed {
    /// The type of the objects with such names.
    const TYPE: ObjectType;
    /// Takes the name from its bytes.
    fn from_name(bytes: [u8; ID_BYTES]) -> Self;
    /// The name's bytes.
    fn name(&self) -> &[u8; ID_BYTES];
    /// The object of this name.
    fn object(self) -> ObjectName;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! free_name {
    ($id:ident, $kind:ident) => {
        impl sealed::Sealed for $id {}

        impl FreeName for $id {
            const TYPE: ObjectType = ObjectType::$kind;

            fn from_name(bytes: [u8; ID_BYTES]) -> Self {
                Self::from_bytes(bytes)
            }

            fn name(&self) -> &[u8; ID_BYTES] {
                self.as_bytes()
            }

            fn object(self) -> ObjectName {
                ObjectName::$kind(self)
            }
        }
    };
}

free_name!(SegmentId, Segment);
free_name!(CondemnedId, Condemned);
free_name!(NoteId, Note);

/// An object whose name is given and not derived from its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenName {
    /// The config of this number.
    Config(u64),
    /// The session of this attempt.
    Session(PointId),
    /// The point that this attempt made.
    Point(PointId),
    /// What says that this attempt is over.
    Void(PointId),
}

impl GivenName {
    fn object_type(self) -> ObjectType {
        match self {
            Self::Config(_) => ObjectType::Config,
            Self::Session(_) => ObjectType::Session,
            Self::Point(_) => ObjectType::Point,
            Self::Void(_) => ObjectType::Void,
        }
    }

    fn object(self) -> ObjectName {
        match self {
            Self::Config(number) => ObjectName::Config(number),
            Self::Session(id) => ObjectName::Session(id),
            Self::Point(id) | Self::Void(id) => ObjectName::Point(id),
        }
    }

    fn name(self) -> [u8; ID_BYTES] {
        match self {
            Self::Config(number) => config_name(number),
            Self::Session(id) | Self::Point(id) | Self::Void(id) => *id.as_bytes(),
        }
    }
}

/// Why something could not be sealed. Nothing of it has left memory.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The contents exceed what any reader would accept.
    #[error("{object} would have {len_bytes} bytes, more than the format's limit of {max_bytes}")]
    TooLarge {
        /// The object.
        object: ObjectName,
        /// Its length.
        len_bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// A frame's number is beyond the format's limit, or was sealed under before.
    #[error("{object} cannot be sealed: its number was used before or is beyond the format's limit")]
    FrameNumber {
        /// The frame or directory.
        object: ObjectName,
    },
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The recipient's public key cannot be used.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// What was sealed does not open to what went in.
    #[error("{object} was sealed and did not open to the same bytes: this machine's memory or processor is faulty")]
    Faulty {
        /// The object.
        object: ObjectName,
    },
}

/// An object that opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its contents.
    pub plain: Vec<u8>,
    /// What is wrong with its other copy.
    pub damage: Option<Damage>,
}

/// What stands under a point's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PointOrVoid {
    /// The point.
    Point(Opened),
    /// The word that its session is over.
    Void(Opened),
}

/// What is wrong with an object that is stored twice and opened all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The first copy does not open.
    FirstCopy,
    /// The second copy is not the same as the first.
    SecondCopy,
    /// The second copy is cut off, or bytes follow it.
    Length,
}

/// Seals an object whose name follows from its key, to be stored under that name.
pub fn seal_free<N: FreeName>(keys: &WriteKeys, plain: &[u8]) -> Result<(N, Vec<u8>), SealError> {
    seal_free_from(&mut Fresh::system(), keys, plain)
}

/// As [`seal_free`], with the randomness given.
pub fn seal_free_from<N: FreeName>(
    fresh: &mut Fresh,
    keys: &WriteKeys,
    plain: &[u8],
) -> Result<(N, Vec<u8>), SealError> {
    let object = ObjectName::New(N::TYPE);
    let mut sealed = Vec::new();
    let header = seal_copy(fresh, keys, N::TYPE, object, &NO_NAME, plain, &mut sealed)?;
    let name = N::from_name(derive_name(keys.repository(), N::TYPE, &header.commitment));
    double(&mut sealed);
    Ok((name, sealed))
}

/// Seals an object under the name that it was given.
pub fn seal_given(keys: &WriteKeys, name: GivenName, plain: &[u8]) -> Result<Vec<u8>, SealError> {
    seal_given_from(&mut Fresh::system(), keys, name, plain)
}

/// As [`seal_given`], with the randomness given.
pub fn seal_given_from(
    fresh: &mut Fresh,
    keys: &WriteKeys,
    name: GivenName,
    plain: &[u8],
) -> Result<Vec<u8>, SealError> {
    let mut sealed = Vec::new();
    seal_copy(fresh, keys, name.object_type(), name.object(), &name.name(), plain, &mut sealed)?;
    if name.object_type() != ObjectType::Session {
        double(&mut sealed);
    }
    Ok(sealed)
}

/// Opens an index segment, a condemned object or a note.
pub fn open_free<N: FreeName>(keys: &WriteKeys, name: N, stored: &[u8]) -> Result<Opened, OpenError> {
    let place = Place { repository: keys.repository(), given_name: NO_NAME, types: &[N::TYPE] };
    let key_of = |header: &Header| Some(keys.shared_key(header.object_type, &header.salt_or_enc));
    open_doubled(stored, |bytes| {
        let header = Header::decode(bytes, place.types)?;
        if derive_name(place.repository, N::TYPE, &header.commitment) != *name.name() {
            return Err(OpenProblem::Misplaced);
        }
        place.open_copy(&header, key_of, bytes)
    })
    .map(|(_, opened)| opened)
    .map_err(|problem| OpenError { object: name.object(), problem })
}

/// Opens a config.
pub fn open_config(keys: &WriteKeys, number: u64, stored: &[u8]) -> Result<Opened, OpenError> {
    let types = &[ObjectType::Config];
    let place = Place { repository: keys.repository(), given_name: config_name(number), types };
    let key_of = |header: &Header| Some(keys.shared_key(header.object_type, &header.salt_or_enc));
    open_doubled(stored, |bytes| place.open_copy(&Header::decode(bytes, types)?, key_of, bytes))
        .map(|(_, opened)| opened)
        .map_err(|problem| OpenError { object: ObjectName::Config(number), problem })
}

/// Opens a session, which is stored once: it tells people something and decides nothing.
pub fn open_session(keys: &WriteKeys, id: PointId, stored: &[u8]) -> Result<Vec<u8>, OpenError> {
    let types = &[ObjectType::Session];
    let place = Place { repository: keys.repository(), given_name: *id.as_bytes(), types };
    let key_of = |header: &Header| Some(keys.shared_key(header.object_type, &header.salt_or_enc));
    let open = || {
        let header = Header::decode(stored, types)?;
        if header.copy_bytes() != stored.len() {
            return Err(OpenProblem::Length);
        }
        place.open_copy(&header, key_of, stored)
    };
    open().map(|copy| copy.plain).map_err(|problem| OpenError { object: ObjectName::Session(id), problem })
}

/// Opens what stands under a point's name. Write keys cannot: see [`super::key::Keys::read`].
pub fn open_point(keys: &ReadKeys, id: PointId, stored: &[u8]) -> Result<PointOrVoid, OpenError> {
    let types = &[ObjectType::Point, ObjectType::Void];
    let place = Place { repository: keys.write().repository(), given_name: *id.as_bytes(), types };
    let key_of = |header: &Header| keys.decapsulate(header.object_type, &header.salt_or_enc);
    open_doubled(stored, |bytes| place.open_copy(&Header::decode(bytes, types)?, key_of, bytes))
        .map(|(object_type, opened)| match object_type {
            ObjectType::Void => PointOrVoid::Void(opened),
            _ => PointOrVoid::Point(opened),
        })
        .map_err(|problem| OpenError { object: ObjectName::Point(id), problem })
}

/// What stands before the body of a copy.
struct Header {
    object_type: ObjectType,
    aead: Aead,
    body_bytes: usize,
    salt_or_enc: [u8; 32],
    commitment: [u8; ID_BYTES],
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encode_prefix(&mut encoder, self.object_type);
        encode_suite(&mut encoder, self.object_type, self.aead);
        encoder.u64(self.body_bytes as u64).raw(&self.salt_or_enc).raw(&self.commitment);
        encoder.finish()
    }

    /// Reads the header of a copy that must be of one of `types`, and whose body must stand behind it.
    fn decode(bytes: &[u8], types: &[ObjectType]) -> Result<Self, OpenProblem> {
        let mut decoder = Decoder::new(bytes);
        let object_type = decode_prefix(&mut decoder)?;
        if !types.contains(&object_type) {
            return Err(OpenProblem::OtherType(object_type));
        }
        let aead = decode_suite(&mut decoder, object_type)?;
        let cut_off = |_| OpenProblem::Length;
        let body_bytes = decoder.u64("body length").map_err(cut_off)?;
        let body_bytes = usize::try_from(body_bytes).unwrap_or(usize::MAX);
        if body_bytes > OBJECT_PLAIN_BYTES_MAX {
            return Err(OpenProblem::TooLarge { max_bytes: OBJECT_PLAIN_BYTES_MAX });
        }
        let salt_or_enc = decoder.array("salt or enc").map_err(cut_off)?;
        let commitment = decoder.array("commitment").map_err(cut_off)?;
        if decoder.remaining() < body_bytes + TAG_BYTES {
            return Err(OpenProblem::Length);
        }
        Ok(Self { object_type, aead, body_bytes, salt_or_enc, commitment })
    }

    fn copy_bytes(&self) -> usize {
        OBJECT_HEADER_BYTES + self.body_bytes + TAG_BYTES
    }
}

/// Where an object was found, and what may stand there.
struct Place<'a> {
    repository: RepositoryId,
    given_name: [u8; ID_BYTES],
    types: &'a [ObjectType],
}

/// One copy that opened.
struct OpenCopy {
    object_type: ObjectType,
    plain: Vec<u8>,
    copy_bytes: usize,
}

impl Place<'_> {
    /// Opens the copy at the start of `bytes`, once its key is the one committed to.
    fn open_copy(
        &self,
        header: &Header,
        key_of: impl Fn(&Header) -> Option<Secret>,
        bytes: &[u8],
    ) -> Result<OpenCopy, OpenProblem> {
        let copy_bytes = header.copy_bytes();
        let copy = bytes.get(..copy_bytes).ok_or(OpenProblem::Length)?;
        let (header_bytes, body) = copy.split_at_checked(OBJECT_HEADER_BYTES).ok_or(OpenProblem::Length)?;
        let key = key_of(header).ok_or(OpenProblem::Header { field: "enc" })?;
        let expected = commitment(&key, self.repository, header.object_type, &self.given_name);
        if !is_same(&expected, &header.commitment) {
            return Err(OpenProblem::Misplaced);
        }
        let bound = binding(self.repository, header_bytes, &self.given_name);
        let cipher = Cipher::new(header.aead, &key, bound).map_err(|Faulty| OpenProblem::Damaged)?;
        let mut plain = body.to_vec();
        let opened_bytes = cipher.open(0, &mut plain).map_err(|_| OpenProblem::Damaged)?.len();
        plain.truncate(opened_bytes);
        Ok(OpenCopy { object_type: header.object_type, plain, copy_bytes })
    }
}

/// Opens the first copy that opens: at the start, at half the length, or where the first copy's header says it ends,
/// for bytes may have been cut off or added behind the second.
fn open_doubled(
    stored: &[u8],
    open: impl Fn(&[u8]) -> Result<OpenCopy, OpenProblem>,
) -> Result<(ObjectType, Opened), OpenProblem> {
    if stored.len() > OBJECT_BYTES_MAX {
        return Err(OpenProblem::TooLarge { max_bytes: OBJECT_BYTES_MAX });
    }
    let first = match open(stored) {
        Ok(copy) => {
            let damage = compare_copies(stored, copy.copy_bytes);
            return Ok((copy.object_type, Opened { plain: copy.plain, damage }));
        }
        Err(problem) => problem,
    };
    let mut second = OpenProblem::Length;
    for start in second_copy_starts(stored) {
        match open(stored.get(start..).unwrap_or_default()) {
            Ok(copy) => {
                let opened = Opened { plain: copy.plain, damage: Some(Damage::FirstCopy) };
                return Ok((copy.object_type, opened));
            }
            Err(problem) => second = problem,
        }
    }
    Err(problem_of_both(first, second))
}

fn second_copy_starts(stored: &[u8]) -> impl Iterator<Item = usize> {
    let half = stored.len() / 2;
    let stated = stated_copy_bytes(stored).filter(|start| *start < stored.len() && *start != half);
    stated.into_iter().chain([half])
}

/// The length of the first copy by its own header, whatever else is wrong with it.
fn stated_copy_bytes(stored: &[u8]) -> Option<usize> {
    let mut decoder = Decoder::new(stored);
    decoder.raw("before the body length", 16).ok()?;
    let body_bytes = usize::try_from(decoder.u64("body length").ok()?).ok()?;
    (body_bytes <= OBJECT_PLAIN_BYTES_MAX).then(|| OBJECT_HEADER_BYTES + body_bytes + TAG_BYTES)
}

fn compare_copies(stored: &[u8], copy_bytes: usize) -> Option<Damage> {
    let (first, rest) = stored.split_at_checked(copy_bytes)?;
    if rest.len() != copy_bytes {
        Some(Damage::Length)
    } else if rest != first {
        Some(Damage::SecondCopy)
    } else {
        None
    }
}

/// What to say of an object of which neither copy opens. That a newer program wrote it is worth knowing even if only
/// one copy says so; otherwise only what both say is the object's, and two different problems are damage.
pub(super) fn problem_of_both(first: OpenProblem, second: OpenProblem) -> OpenProblem {
    match (first, second) {
        (newer @ OpenProblem::NewerVersion(_), _) | (_, newer @ OpenProblem::NewerVersion(_)) => newer,
        (first, second) if first == second => first,
        _ => OpenProblem::Damaged,
    }
}

/// Appends one copy to `sealed`, which is left as it was after an error.
fn seal_copy(
    fresh: &mut Fresh,
    keys: &WriteKeys,
    object_type: ObjectType,
    object: ObjectName,
    given_name: &[u8; ID_BYTES],
    plain: &[u8],
    sealed: &mut Vec<u8>,
) -> Result<Header, SealError> {
    let (len_bytes, max_bytes) = (plain.len(), OBJECT_PLAIN_BYTES_MAX);
    if len_bytes > max_bytes {
        return Err(SealError::TooLarge { object, len_bytes, max_bytes });
    }
    let (key, salt_or_enc) = if object_type.is_for_recipient() {
        let made = keys.encapsulate(object_type, &fresh.draw_secret()?)?;
        (made.key, made.enc)
    } else {
        let salt = fresh.draw()?;
        (keys.shared_key(object_type, &salt), salt)
    };
    let commitment = commitment(&key, keys.repository(), object_type, given_name);
    let header = Header { object_type, aead: fresh.aead(), body_bytes: len_bytes, salt_or_enc, commitment };
    let header_bytes = header.encode();
    let faulty = |Faulty| SealError::Faulty { object };
    let bound = binding(keys.repository(), &header_bytes, given_name);
    let cipher = Cipher::new(header.aead, &key, bound).map_err(faulty)?;
    sealed.reserve_exact(2 * header.copy_bytes());
    sealed.extend_from_slice(&header_bytes);
    cipher.seal(0, plain, sealed, &mut Vec::new()).map_err(faulty)?;
    Ok(header)
}

fn double(sealed: &mut Vec<u8>) {
    sealed.extend_from_within(..);
}

fn derive_name(repository: RepositoryId, object_type: ObjectType, commitment: &[u8; ID_BYTES]) -> [u8; ID_BYTES] {
    derive_public(context::OBJECT_NAME, &[repository.as_bytes(), &[object_type.code()], commitment])
}

const SCHEME_SHARED: u8 = 1;
const SCHEME_RECIPIENT: u8 = 2;
const NO_KEM: u16 = 0;

fn scheme_of(object_type: ObjectType) -> (u8, u16) {
    if object_type.is_for_recipient() { (SCHEME_RECIPIENT, KEM_ID) } else { (SCHEME_SHARED, NO_KEM) }
}

/// Writes scheme, cipher, KEM and the reserved bytes, which follow the prefix of objects and packs.
pub(super) fn encode_suite(encoder: &mut Encoder, object_type: ObjectType, aead: Aead) {
    let (scheme, kem) = scheme_of(object_type);
    encoder.u8(scheme).u8(aead.code()).u16(kem).u16(0);
}

/// Reads what [`encode_suite`] wrote; scheme and KEM must be those of the type.
pub(super) fn decode_suite(decoder: &mut Decoder<'_>, object_type: ObjectType) -> Result<Aead, OpenProblem> {
    let wrong = |field| OpenProblem::Header { field };
    let (scheme, kem) = scheme_of(object_type);
    if decoder.u8("scheme") != Ok(scheme) {
        return Err(wrong("scheme"));
    }
    let aead = Aead::decode(decoder).ok_or(wrong("aead"))?;
    if decoder.u16("kem") != Ok(kem) {
        return Err(wrong("kem"));
    }
    if decoder.u16("reserved") != Ok(0) {
        return Err(wrong("reserved"));
    }
    Ok(aead)
}
