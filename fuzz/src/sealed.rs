//! Sealed objects: whatever is done to one, it opens to what was sealed or not at all.

use holdall::clock::Timestamp;
use holdall::compress::{Level, compress};
use holdall::crypto::key::ReadKeys;
use holdall::crypto::keyslot::{KEYSLOT_COPY_BYTES, seal_slot_from};
use holdall::crypto::packseal::DirectoryOpener;
use holdall::crypto::seal::{FreeName, PointOrVoid, seal_free_from, seal_given_from};
use holdall::crypto::{
    Aead, FrameOpener, Fresh, GivenName, KeyFile, Keyslot, PackSealer, SlotContents, SlotKey, Unlock, open_config,
    open_free, open_point, open_session,
};
use holdall::id::{CondemnedId, KeyslotId, NoteId, PackId, PointId, RepositoryId, SegmentId};
use holdall::pack::{ParityError, Trailer, make_parity, mend, open_frame, padme, parity_len, parity_share};

use super::choice;

const ID: PointId = PointId::from_bytes([9; 32]);
const CONFIG: u64 = 7;
/// The most bytes that parity is made of, so that an input is tried in no time.
const PROTECTED_BYTES_MAX: usize = 100_000;
/// Set in the first byte: the bytes stand for themselves and are no recipe for changes.
const AS_IT_IS: u8 = 0x80;

/// The keys of the vectors in `format-spec/vectors/keys`.
fn keys() -> ReadKeys {
    ReadKeys::fixed(RepositoryId::from_bytes([1; 32]), [2; 32], [3; 32]).expect("they are usable")
}

fn fresh(chosen: u8) -> Fresh {
    Fresh::fixed(if chosen & 1 == 0 { Aead::Aes256Gcm } else { Aead::ChaCha20Poly1305 }, [5; 32])
}

/// Up to seven changes that the start of the input describes, and what follows them.
struct Changes<'a> {
    steps: &'a [[u8; 4]],
}

impl<'a> Changes<'a> {
    fn read(data: &'a [u8]) -> (Self, &'a [u8]) {
        let (count, rest) = choice(data);
        let wanted = usize::from(count % 8);
        let steps = rest.as_chunks::<4>().0;
        let steps = &steps[..wanted.min(steps.len())];
        (Self { steps }, &rest[4 * steps.len()..])
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        for [kind, high, low, value] in self.steps {
            let at = (usize::from(*high) << 8 | usize::from(*low)) % (bytes.len() + 1);
            match kind % 6 {
                0 | 1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= value),
                2 => bytes.truncate(at),
                3 => bytes.extend(std::iter::repeat_n(*value, at.min(4096))),
                4 => drop(bytes.splice(at..at, [*value])),
                _ => drop(bytes.drain(at..(at + usize::from(*value)).min(bytes.len()))),
            }
        }
    }
}

/// Opens whatever kind of object it may be; gives the contents if it opened as the kind that was chosen.
fn open(keys: &ReadKeys, kind: u8, name: [u8; 32], stored: &[u8]) -> Option<Vec<u8>> {
    let write = keys.write();
    let plain = |opened: holdall::crypto::seal::Opened| opened.plain;
    match kind {
        0 => open_free(write, SegmentId::from_name(name), stored).ok().map(plain),
        1 => open_free(write, CondemnedId::from_name(name), stored).ok().map(plain),
        2 => open_free(write, NoteId::from_name(name), stored).ok().map(plain),
        3 => open_config(write, CONFIG, stored).ok().map(plain),
        4 => open_session(write, ID, stored).ok(),
        5 => match open_point(keys, ID, stored) {
            Ok(PointOrVoid::Point(opened)) => Some(opened.plain),
            Ok(PointOrVoid::Void(_)) | Err(_) => None,
        },
        _ => match open_point(keys, ID, stored) {
            Ok(PointOrVoid::Void(opened)) => Some(opened.plain),
            Ok(PointOrVoid::Point(_)) | Err(_) => None,
        },
    }
}

fn seal(keys: &ReadKeys, kind: u8, plain: &[u8], fresh: &mut Fresh) -> ([u8; 32], Vec<u8>) {
    fn free<N: FreeName>(keys: &ReadKeys, plain: &[u8], fresh: &mut Fresh) -> ([u8; 32], Vec<u8>) {
        let (name, stored) = seal_free_from::<N>(fresh, keys.write(), plain).expect("it can be sealed");
        (*name.name(), stored)
    }
    let mut given = |name| ([9; 32], seal_given_from(fresh, keys.write(), name, plain).expect("it can be sealed"));
    match kind {
        0 => free::<SegmentId>(keys, plain, fresh),
        1 => free::<CondemnedId>(keys, plain, fresh),
        2 => free::<NoteId>(keys, plain, fresh),
        3 => given(GivenName::Config(CONFIG)),
        4 => given(GivenName::Session(ID)),
        5 => given(GivenName::Point(ID)),
        _ => given(GivenName::Void(ID)),
    }
}

/// Objects other than packs and key slots.
pub fn object(data: &[u8]) {
    let (chosen, data) = choice(data);
    let keys = keys();
    if chosen & AS_IT_IS != 0 {
        (0..7).for_each(|kind| drop(open(&keys, kind, [9; 32], data)));
        return;
    }
    let kind = chosen % 7;
    let (changes, plain) = Changes::read(data);
    let (name, mut stored) = seal(&keys, kind, plain, &mut fresh(chosen / 7));
    let sealed = stored.clone();
    changes.apply(&mut stored);
    let opened = open(&keys, kind, name, &stored);
    assert!(opened.is_some() || stored != sealed, "what was sealed does not open");
    assert!(opened.is_none_or(|opened| opened == plain), "it opens to something else");
    for other in (0..7).filter(|other| *other != kind) {
        assert!(open(&keys, other, name, &stored).is_none(), "it opens as another kind of object");
    }
}

/// Packs: header, one frame and directory, each changed; and trailers.
pub fn pack(data: &[u8]) {
    let (chosen, data) = choice(data);
    trailer(data);
    let keys = keys();
    if chosen & AS_IT_IS != 0 {
        let _ = FrameOpener::new(&keys, PackId::from_bytes([9; 32]), data).is_ok();
        let _ = DirectoryOpener::new(keys.write(), PackId::from_bytes([9; 32]), data).is_ok();
        return;
    }
    let (changes, plain) = Changes::read(data);
    let (sealer, header) = PackSealer::new_from(&mut fresh(chosen), keys.write()).expect("it can be made");
    let frame = compress(plain.to_vec(), Level::DEFAULT).expect("there is memory");
    let frame = sealer.seal_frame(0, &frame).expect("it can be sealed");
    let directory = sealer.seal_directory(plain).expect("it can be sealed");
    let (mut changed_header, mut changed_frame, mut changed_directory) =
        (header.to_vec(), frame.clone(), directory.clone());
    match chosen % 3 {
        0 => changes.apply(&mut changed_header),
        1 => changes.apply(&mut changed_frame),
        _ => changes.apply(&mut changed_directory),
    }
    // A header that was changed may still give the right key; what it seals is bound to every byte of it.
    let is_header = changed_header.starts_with(&header);
    let opener = FrameOpener::new(&keys, sealer.id(), &changed_header);
    assert!(opener.is_ok() || !is_header, "the header does not open");
    if let Ok(opener) = opener {
        let read = open_frame(&opener, 0, changed_frame.clone(), plain.len());
        assert_eq!(read.is_ok(), is_header && changed_frame == frame);
        assert!(read.is_ok_and(|read| read == plain) || !is_header || changed_frame != frame);
        assert!(open_frame(&opener, 1, changed_frame, plain.len()).is_err(), "it opens under another number");
    }
    let opener = DirectoryOpener::new(keys.write(), sealer.id(), &changed_header);
    assert!(opener.is_ok() || !is_header, "the header does not open");
    if let Ok(opener) = opener {
        let is_same = is_header && changed_directory == directory;
        let read = opener.open(&mut changed_directory);
        assert_eq!(read.is_ok(), is_same);
        assert!(read.is_ok_and(|read| read == plain) || !is_same);
    }
}

/// Parity: whatever is done to a file, it is repaired to its very bytes or not at all.
pub fn parity(data: &[u8]) {
    let (chosen, data) = choice(data);
    if chosen & AS_IT_IS != 0 {
        match mend(data.to_vec()) {
            Ok(file) => assert!(mend(file.clone()) == Ok(file), "what was repaired needs a repair"),
            Err(error) => assert!(!matches!(error, ParityError::Damaged), "that is for checks"),
        }
        return;
    }
    let (changes, body) = Changes::read(data);
    // Repeated, so that a short input has several shards.
    let body = body.repeat(usize::from(chosen) + 1);
    if body.is_empty() || body.len() > PROTECTED_BYTES_MAX {
        return;
    }
    let len = |bytes: usize| u32::try_from(bytes).expect("it is short");
    let directory_len = len(body.len() / 3);
    let directory_offset = len(body.len()) - directory_len;
    let trailer = Trailer { directory_offset, directory_len, parity_len: len(parity_len(body.len())) };
    let made = make_parity(&[&body], &trailer).expect("it can be made");
    assert!(made.len() == parity_len(body.len()) && parity_share(made.len() as u64) <= made.len() as u64);
    let file = [&body[..], &made, &trailer.encode()].concat();
    let mut spoilt = file.clone();
    changes.apply(&mut spoilt);
    // Whole blocks in the input would be another pack's parity. No sealed bytes have them.
    if body.windows(8).any(|bytes| bytes == b"hold/par") {
        let _ = mend(spoilt).is_ok();
        return;
    }
    let is_small = changes.steps.len() <= 1 && spoilt.len() == file.len();
    match mend(spoilt) {
        Ok(mended) => assert!(mended == file, "it is repaired to something else"),
        Err(_) => assert!(!is_small, "one changed byte is not repaired"),
    }
}

fn trailer(data: &[u8]) {
    let (number, bytes) = data.split_at_checked(4).unwrap_or((&[], data));
    let pack_bytes = number.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
    if let Ok(trailer) = Trailer::decode(bytes, pack_bytes) {
        assert!(trailer.encode() == bytes);
    }
    let bytes = usize::try_from(pack_bytes).expect("32 bits fit");
    assert!(padme(bytes) >= bytes && padme(bytes) - bytes <= bytes / 8);
}

/// Key slots. Those that a passphrase opens are never tried: they may ask for a second of work and a gigabyte.
pub fn keyslot(data: &[u8]) {
    const SLOT: KeyslotId = KeyslotId::from_bytes([9; 32]);
    let (chosen, data) = choice(data);
    let (keys, file) = (keys(), KeyFile::fixed([0x77; 32]));
    let (changes, rest) = Changes::read(data);
    let mut stored = rest.to_vec();
    let mut id = SLOT;
    if chosen & AS_IT_IS == 0 {
        let label = String::from_utf8_lossy(rest.get(..40).unwrap_or(rest)).into_owned();
        let created = Timestamp::from_micros(u64::from(chosen) << 40).expect("it is in range");
        let contents = if chosen & 2 == 0 { SlotContents::Full(&keys) } else { SlotContents::WriteOnly(keys.write()) };
        (id, stored) = seal_slot_from(&mut fresh(chosen), &SlotKey::KeyFile(&file), contents, &label, created)
            .expect("it can be sealed");
    }
    let sealed = stored.clone();
    changes.apply(&mut stored);
    if chosen & 4 != 0 {
        for start in [0, KEYSLOT_COPY_BYTES] {
            if let Some(copy) = stored.get_mut(start..start + KEYSLOT_COPY_BYTES) {
                mend_checksum(id, copy);
            }
        }
    }
    let Ok(slot) = Keyslot::parse(id, &stored) else {
        assert!(stored != sealed || chosen & AS_IT_IS != 0, "what was sealed is no slot");
        return;
    };
    let opened = slot.open(Unlock::KeyFile(&file));
    if chosen & AS_IT_IS == 0 {
        assert!(opened.is_ok() || stored != sealed);
        if let Ok(opened) = &opened {
            assert_eq!(opened.write().repository(), keys.write().repository());
            assert!(opened.write().recipient() == keys.write().recipient());
            assert_eq!(opened.read().is_ok(), chosen & 2 == 0);
            assert!(slot.describe(keys.write()).is_ok(), "it opens, and its description does not");
        }
    }
    let _ = slot.describe(keys.write()).is_ok();
}

/// Gives a copy the checksum of its bytes (`format-spec/keys.md`, "Key slot"), so that what stands behind it is
/// reached.
fn mend_checksum(id: KeyslotId, copy: &mut [u8]) {
    let (bytes, checksum) = copy.split_at_mut(KEYSLOT_COPY_BYTES - 32);
    let mut hasher = blake3::Hasher::new_derive_key("holdall format 1: key slot checksum");
    hasher.update(id.as_bytes()).update(bytes);
    checksum.copy_from_slice(hasher.finalize().as_bytes());
}
