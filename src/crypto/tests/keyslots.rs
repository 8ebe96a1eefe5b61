//! Key slots, passphrases and key files.

use proptest::prelude::*;

use super::{AEADS, flipped, fresh, keys};
use crate::clock::Timestamp;
use crate::crypto::Aead;
use crate::crypto::key::{Keys, ReadKeys, context, derive_public};
use crate::crypto::keyfile::{KeyFile, KeyFileError};
use crate::crypto::keyslot::{
    Access, Argon2Cost, Description, KEYSLOT_COPY_BYTES, Keyslot, Passphrase, PassphraseError, SealSlotError,
    SlotContents, SlotKey, SlotKind, SlotProblem, Unlock, seal_slot, seal_slot_from,
};
use crate::crypto::object::{ObjectType, OpenProblem};
use crate::crypto::seal::{Damage, GivenName, open_point, seal_free, seal_given};
use crate::id::{KeyslotId, NoteId, PointId, RepositoryId};
use crate::limits::{ARGON2_LANES_NEW_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_MEMORY_KIB_MIN, ARGON2_PASSES_MIN};

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.as_bytes().to_vec()).unwrap()
}

pub(super) fn created() -> Timestamp {
    Timestamp::from_micros(1_795_219_200_000_000).unwrap()
}

fn right() -> Passphrase {
    passphrase("correct horse")
}

fn sealed(aead: Aead) -> (KeyslotId, Vec<u8>) {
    let key = right();
    let key = SlotKey::Passphrase(&key, Argon2Cost::cheap());
    seal_slot_from(&mut fresh(aead, 1), &key, SlotContents::Full(&keys()), "admin", created()).unwrap()
}

fn parse(id: KeyslotId, stored: &[u8]) -> Result<Keyslot, SlotProblem> {
    Keyslot::parse(id, stored).map_err(|error| error.problem)
}

fn open(id: KeyslotId, stored: &[u8], key: &Passphrase) -> Result<Keys, SlotProblem> {
    parse(id, stored)?.open(Unlock::Passphrase(key)).map_err(|error| error.problem)
}

fn problem<T>(result: Result<T, SlotProblem>) -> Option<SlotProblem> {
    result.err()
}

/// What an attacker with access to the store alone can always do: make the checksum right again.
fn with_checksums(id: KeyslotId, mut stored: Vec<u8>) -> Vec<u8> {
    for copy in stored.chunks_mut(KEYSLOT_COPY_BYTES) {
        let (body, checksum) = copy.split_at_mut(KEYSLOT_COPY_BYTES - 32);
        checksum.copy_from_slice(&derive_public(context::SLOT_CHECKSUM, &[id.as_bytes(), body]));
    }
    stored
}

pub(super) fn changed(id: KeyslotId, stored: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut stored = stored.to_vec();
    for start in [0, KEYSLOT_COPY_BYTES] {
        stored[start + at..start + at + bytes.len()].copy_from_slice(bytes);
    }
    with_checksums(id, stored)
}

#[test]
fn every_kind_of_slot_opens_to_what_it_was_given() {
    let keys = keys();
    let (phrase, file) = (right(), KeyFile::generate().unwrap());
    let cases = [
        (SlotKey::Passphrase(&phrase, Argon2Cost::cheap()), Unlock::Passphrase(&phrase), SlotKind::Passphrase),
        (SlotKey::KeyFile(&file), Unlock::KeyFile(&file), SlotKind::KeyFile),
        (SlotKey::Recovery(&file), Unlock::KeyFile(&file), SlotKind::Recovery),
    ];
    let point = seal_given(keys.write(), GivenName::Point(PointId::from_bytes([5; 32])), b"point").unwrap();
    for (key, unlock, kind) in cases {
        for access in [Access::Full, Access::WriteOnly] {
            let contents = match access {
                Access::Full => SlotContents::Full(&keys),
                Access::WriteOnly => SlotContents::WriteOnly(keys.write()),
            };
            let (id, stored) = seal_slot(&key, contents, "läbel", created()).unwrap();
            let slot = Keyslot::parse(id, &stored).unwrap();
            assert_eq!((slot.damage(), stored.len()), (None, 2 * KEYSLOT_COPY_BYTES));
            let opened = slot.open(unlock).unwrap();
            assert_eq!(opened.write().repository(), keys.write().repository());
            assert!(opened.write().recipient() == keys.write().recipient());
            assert_eq!(opened.write().id_key().chunk_id(b"a"), keys.write().id_key().chunk_id(b"a"));
            match (access, opened.read()) {
                (Access::Full, Ok(read)) => assert!(open_point(read, PointId::from_bytes([5; 32]), &point).is_ok()),
                (Access::WriteOnly, Err(_)) => {}
                _ => panic!("the slot opened to other keys"),
            }
            let description = Description { kind, access, created: created(), label: "läbel".to_owned() };
            assert_eq!(slot.describe(opened.write()), Ok(description));
        }
    }
}

#[test]
fn one_flipped_byte_anywhere_is_mended_by_the_other_copy() {
    for aead in AEADS {
        let (id, stored) = sealed(aead);
        for at in 0..stored.len() {
            for bits in [1 << (at % 8), 0xff] {
                let slot = Keyslot::parse(id, &flipped(&stored, at, bits)).unwrap();
                let first = at < KEYSLOT_COPY_BYTES;
                assert_eq!(slot.damage(), Some(if first { Damage::FirstCopy } else { Damage::SecondCopy }));
                if at % 16 == 0 {
                    assert!(slot.open(Unlock::Passphrase(&right())).is_ok());
                }
            }
        }
    }
}

#[test]
fn damage_to_both_copies_is_never_called_a_wrong_passphrase() {
    let (id, stored) = sealed(Aead::Aes256Gcm);
    for at in 10..KEYSLOT_COPY_BYTES {
        let bad = flipped(&flipped(&stored, at, 1), KEYSLOT_COPY_BYTES + at, 1);
        assert_eq!(problem(parse(id, &bad)), Some(OpenProblem::Damaged.into()), "byte {at}");
    }
}

#[test]
fn a_cut_or_added_tail_is_told_and_one_copy_must_be_left() {
    let (id, stored) = sealed(Aead::Aes256Gcm);
    for cut in 0..stored.len() {
        let slot = parse(id, &stored[..cut]);
        assert_eq!(slot.ok().map(|slot| slot.damage()), (cut >= KEYSLOT_COPY_BYTES).then_some(Some(Damage::Length)));
    }
    let longer = [&stored[..], &[0]].concat();
    assert_eq!(Keyslot::parse(id, &longer).unwrap().damage(), Some(Damage::Length));
}

#[test]
fn a_wrong_passphrase_is_told_from_everything_else() {
    let (id, stored) = sealed(Aead::Aes256Gcm);
    assert_eq!(problem(open(id, &stored, &passphrase("incorrect horse"))), Some(SlotProblem::WrongKey));
    let slot = Keyslot::parse(id, &stored).unwrap();
    let file = KeyFile::generate().unwrap();
    let other = slot.open(Unlock::KeyFile(&file)).err().unwrap();
    assert_eq!(other.to_string(), format!("Key slot {id} is opened by a passphrase, which was not given"));
    let (id, stored) = seal_slot(&SlotKey::KeyFile(&file), SlotContents::Full(&keys()), "", created()).unwrap();
    let slot = Keyslot::parse(id, &stored).unwrap();
    let second = KeyFile::generate().unwrap();
    assert_eq!(slot.open(Unlock::KeyFile(&second)).err().unwrap().problem, SlotProblem::WrongKey);
}

#[test]
fn a_slot_under_another_name_is_damage() {
    let (_, stored) = sealed(Aead::Aes256Gcm);
    let other = KeyslotId::from_bytes([8; 32]);
    assert_eq!(problem(parse(other, &stored)), Some(OpenProblem::Damaged.into()));
    // With the checksum made to fit, the name still changes the key.
    let forged = with_checksums(other, stored);
    assert_eq!(problem(open(other, &forged, &right())), Some(SlotProblem::WrongKey));
}

#[test]
fn what_a_stranger_changes_is_noticed() {
    let (id, stored) = sealed(Aead::Aes256Gcm);
    let keys = keys();
    // From the end of the header on: bundle, description, MAC.
    for at in 88..KEYSLOT_COPY_BYTES - 32 {
        let forged = changed(id, &stored, at, &[stored[at] ^ 1]);
        assert!(open(id, &forged, &right()).is_err(), "byte {at}");
        let slot = Keyslot::parse(id, &forged).unwrap();
        assert_eq!(slot.describe(keys.write()).unwrap_err().problem, SlotProblem::Forged, "byte {at}");
    }
    let forged = changed(id, &stored, 505, &[0; 32]);
    assert_eq!(problem(open(id, &forged, &right())), Some(SlotProblem::Forged));
    let stranger = ReadKeys::fixed(RepositoryId::from_bytes([1; 32]), [5; 32], [3; 32]).unwrap();
    let slot = Keyslot::parse(id, &stored).unwrap();
    assert_eq!(slot.describe(stranger.write()).unwrap_err().problem, SlotProblem::Forged);
}

#[test]
fn a_slot_cannot_make_a_reader_spend_more_than_the_limits() {
    let (id, stored) = sealed(Aead::Aes256Gcm);
    for (at, value) in [(12, ARGON2_MEMORY_KIB_MAX + 1), (12, u32::MAX), (12, 0), (16, 65), (16, 0), (20, 17), (20, 0)]
    {
        let forged = changed(id, &stored, at, &value.to_le_bytes());
        let problem = problem(parse(id, &forged)).unwrap();
        assert!(matches!(problem, SlotProblem::TooExpensive { .. }), "{at} {value}: {problem}");
    }
    let forged = changed(id, &stored, 12, &24_u32.to_le_bytes());
    assert_eq!(problem(open(id, &forged, &right())), Some(SlotProblem::WrongKey));
}

#[test]
fn a_cost_below_the_floor_is_refused_for_a_new_slot() {
    let (memory, passes, lanes) = (ARGON2_MEMORY_KIB_MIN, ARGON2_PASSES_MIN, ARGON2_LANES_NEW_MAX);
    assert_eq!(Argon2Cost::new(memory, passes, lanes), Ok(Argon2Cost::default()));
    for (memory, passes, lanes) in [
        (memory - 1, passes, lanes),
        (memory, passes - 1, lanes),
        (memory, passes, 0),
        (memory, passes, lanes + 1),
        (ARGON2_MEMORY_KIB_MAX + 1, passes, lanes),
        (memory, 65, lanes),
    ] {
        assert!(Argon2Cost::new(memory, passes, lanes).is_err());
    }
}

#[test]
fn what_is_no_slot_says_so() {
    let (id, stored) = sealed(Aead::Aes256Gcm);
    assert_eq!(problem(parse(id, b"")), Some(OpenProblem::NotHoldall.into()));
    assert_eq!(problem(parse(id, &[0; 2 * KEYSLOT_COPY_BYTES])), Some(OpenProblem::NotHoldall.into()));
    assert_eq!(problem(parse(id, &changed(id, &stored, 9, &[2]))), Some(OpenProblem::NewerVersion(2).into()));
    let (_, note) = seal_free::<NoteId>(keys().write(), &[0; KEYSLOT_COPY_BYTES - 104]).unwrap();
    assert_eq!(problem(parse(id, &note)), Some(OpenProblem::OtherType(ObjectType::Note).into()));
}

#[test]
fn labels_and_passphrases_have_limits() {
    let file = KeyFile::generate().unwrap();
    let seal = |label: &str| seal_slot(&SlotKey::KeyFile(&file), SlotContents::Full(&keys()), label, created());
    let (id, stored) = seal(&"x".repeat(245)).unwrap();
    assert_eq!(Keyslot::parse(id, &stored).unwrap().describe(keys().write()).unwrap().label.len(), 245);
    assert!(matches!(seal(&"x".repeat(246)), Err(SealSlotError::LabelTooLong { len_bytes: 246 })));
    assert_eq!(Passphrase::new(Vec::new()).err(), Some(PassphraseError::Empty));
    assert_eq!(Passphrase::new(vec![b'x'; 4097]).err(), Some(PassphraseError::TooLong));
}

#[test]
fn a_key_file_round_trips_through_both_of_its_texts() {
    let file = KeyFile::generate().unwrap();
    let (id, stored) = seal_slot(&SlotKey::KeyFile(&file), SlotContents::Full(&keys()), "", created()).unwrap();
    let slot = Keyslot::parse(id, &stored).unwrap();
    let text = file.to_text();
    let edited = format!("# mine\r\n\r\n{}\r\n", text.lines().last().unwrap());
    for text in [text.as_str(), &edited] {
        let again = KeyFile::parse(text.as_bytes()).unwrap();
        assert!(slot.open(Unlock::KeyFile(&again)).is_ok());
    }
    let words = file.to_words();
    for text in [words.to_string(), words.replace(' ', "-\n "), words.to_uppercase()] {
        let again = KeyFile::parse_words(&text).unwrap();
        assert!(slot.open(Unlock::KeyFile(&again)).is_ok());
    }
}

#[test]
fn a_mistyped_key_says_what_is_wrong() {
    let file = KeyFile::fixed([7; 32]);
    let text = file.to_text();
    let parse = |text: &str| KeyFile::parse(text.as_bytes()).err();
    assert_eq!(parse(""), Some(KeyFileError::NoKey));
    assert_eq!(parse("# only a comment"), Some(KeyFileError::NoKey));
    assert_eq!(parse("hunter2"), Some(KeyFileError::NoKey));
    assert_eq!(KeyFile::parse(&[0xff; 40]).err(), Some(KeyFileError::NoKey));
    assert_eq!(KeyFile::parse(&vec![b'#'; 1 << 20]).err(), Some(KeyFileError::NoKey));
    assert_eq!(parse(&text.replace("key-1", "key-2")), Some(KeyFileError::NewerVersion));
    assert_eq!(parse(&format!("{}{}", *text, *text)), Some(KeyFileError::SeveralKeys));
    assert_eq!(parse(&text.replacen("0707", "0708", 1)), Some(KeyFileError::Checksum));
    assert_eq!(parse(&text.replacen("0707", "070", 1)), Some(KeyFileError::Digits));
    assert_eq!(parse(&text.replacen("0707", "070x", 1)), Some(KeyFileError::Digits));
    assert_eq!(parse(text.trim_end().get(..text.len() - 3).unwrap()), Some(KeyFileError::Digits));
    let words: Vec<_> = file.to_words().split(' ').map(str::to_owned).collect();
    for (at, number) in (1..=8).enumerate() {
        let mut wrong = words.clone();
        wrong[at] = wrong[at].replacen("07", "08", 1);
        assert_eq!(KeyFile::parse_words(&wrong.join(" ")).err(), Some(KeyFileError::Word { number }));
        wrong = words.clone();
        wrong.swap(at, (at + 1) % 8);
        assert!(matches!(KeyFile::parse_words(&wrong.join(" ")).err(), Some(KeyFileError::Word { .. })));
    }
    assert_eq!(KeyFile::parse_words(&words[..8].join(" ")).err(), Some(KeyFileError::Words));
    assert_eq!(KeyFile::parse_words(&(words.join(" ") + " 00")).err(), Some(KeyFileError::Words));
    assert_eq!(KeyFile::parse_words("").err(), Some(KeyFileError::Words));
}

#[test]
#[ignore = "takes the time and the 64 MiB that a real passphrase takes"]
fn a_slot_at_the_default_cost_opens() {
    let phrase = right();
    let key = SlotKey::Passphrase(&phrase, Argon2Cost::default());
    let (id, stored) = seal_slot(&key, SlotContents::Full(&keys()), "", created()).unwrap();
    assert!(open(id, &stored, &phrase).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_slot_panic(
        tail: Vec<u8>, edits in prop::collection::vec((22_usize..569, any::<u8>()), 0..6), text: String,
    ) {
        let (id, mut stored) = sealed(Aead::Aes256Gcm);
        for (at, value) in edits {
            stored = changed(id, &stored, at, &[value]);
        }
        if let Ok(slot) = parse(id, &stored) {
            let _opened = slot.open(Unlock::Passphrase(&right()));
            let _described = slot.describe(keys().write());
        }
        prop_assert!(parse(id, &tail).is_err());
        prop_assert!(KeyFile::parse(&tail).is_err());
        prop_assert!(KeyFile::parse_words(&text).is_err());
    }
}
