//! Objects other than packs and key slots.

use proptest::prelude::*;

use super::{AEADS, flipped, fresh, keys};
use crate::crypto::key::{Keys, ReadKeys};
use crate::crypto::object::{ObjectType, OpenProblem};
use crate::crypto::seal::{
    Damage, FreeName, GivenName, OBJECT_HEADER_BYTES, Opened, PointOrVoid, SealError, open_config, open_free,
    open_point, open_session, seal_free, seal_free_from, seal_given, seal_given_from,
};
use crate::crypto::{Aead, TAG_BYTES};
use crate::id::{CondemnedId, NoteId, PointId, RepositoryId, SegmentId};
use crate::limits::{OBJECT_BYTES_MAX, OBJECT_PLAIN_BYTES_MAX};

const PLAIN: &[u8] = b"what a writer has to say";
const ID: PointId = PointId::from_bytes([9; 32]);
const GIVEN: [GivenName; 4] = [GivenName::Config(7), GivenName::Session(ID), GivenName::Point(ID), GivenName::Void(ID)];

fn open_given(keys: &ReadKeys, name: GivenName, stored: &[u8]) -> Result<Opened, OpenProblem> {
    let opened = match name {
        GivenName::Config(number) => open_config(keys.write(), number, stored),
        GivenName::Session(id) => open_session(keys.write(), id, stored).map(|plain| Opened { plain, damage: None }),
        GivenName::Point(id) => open_point(keys, id, stored).map(|opened| match opened {
            PointOrVoid::Point(opened) => opened,
            PointOrVoid::Void(_) => panic!("a point opened as a void"),
        }),
        GivenName::Void(id) => open_point(keys, id, stored).map(|opened| match opened {
            PointOrVoid::Void(opened) => opened,
            PointOrVoid::Point(_) => panic!("a void opened as a point"),
        }),
    };
    opened.map_err(|error| error.problem)
}

/// Whatever has been done to a whole object, through the opener that belongs to it.
type Opener = Box<dyn Fn(&[u8]) -> Result<Opened, OpenProblem>>;

fn free<N: FreeName + 'static>(aead: Aead) -> (Vec<u8>, Opener) {
    let (name, stored) = seal_free_from::<N>(&mut fresh(aead, 1), keys().write(), PLAIN).unwrap();
    let open = move |bytes: &[u8]| open_free(keys().write(), name, bytes).map_err(|error| error.problem);
    (stored, Box::new(open))
}

fn doubled(aead: Aead) -> Vec<(Vec<u8>, Opener)> {
    let given = GIVEN.into_iter().filter(|name| !matches!(name, GivenName::Session(_))).map(|name| {
        let stored = seal_given_from(&mut fresh(aead, 2), keys().write(), name, PLAIN).unwrap();
        let open: Opener = Box::new(move |bytes| open_given(&keys(), name, bytes));
        (stored, open)
    });
    [free::<SegmentId>(aead), free::<CondemnedId>(aead), free::<NoteId>(aead)].into_iter().chain(given).collect()
}

#[test]
fn every_object_opens_to_what_was_sealed() {
    let keys = keys();
    for plain in [&[][..], PLAIN, &vec![0x5a; 70_000]] {
        let whole = Ok(Opened { plain: plain.to_vec(), damage: None });
        for name in GIVEN {
            assert_eq!(open_given(&keys, name, &seal_given(keys.write(), name, plain).unwrap()), whole);
        }
        let (name, stored) = seal_free::<SegmentId>(keys.write(), plain).unwrap();
        assert_eq!(open_free(keys.write(), name, &stored).map_err(|error| error.problem), whole);
        assert_eq!(stored.len(), 2 * (OBJECT_HEADER_BYTES + plain.len() + TAG_BYTES));
    }
}

#[test]
fn sealing_again_makes_other_bytes_and_another_name() {
    let keys = keys();
    let first = seal_free::<NoteId>(keys.write(), PLAIN).unwrap();
    let second = seal_free::<NoteId>(keys.write(), PLAIN).unwrap();
    assert_ne!(first.0, second.0);
    assert_ne!(first.1[OBJECT_HEADER_BYTES..], second.1[OBJECT_HEADER_BYTES..]);
    let name = GivenName::Point(ID);
    assert_ne!(seal_given(keys.write(), name, PLAIN).unwrap(), seal_given(keys.write(), name, PLAIN).unwrap());
}

#[test]
fn one_flipped_byte_anywhere_is_mended_by_the_other_copy() {
    for (stored, open) in AEADS.into_iter().flat_map(doubled) {
        for at in 0..stored.len() {
            for bits in [1 << (at % 8), 0xff] {
                let damage = if at < stored.len() / 2 { Damage::FirstCopy } else { Damage::SecondCopy };
                let mended = Ok(Opened { plain: PLAIN.to_vec(), damage: Some(damage) });
                assert_eq!(open(&flipped(&stored, at, bits)), mended, "byte {at} of {}", stored.len());
            }
        }
    }
}

#[test]
fn the_same_byte_flipped_in_both_copies_is_an_error() {
    for (stored, open) in AEADS.into_iter().flat_map(doubled) {
        let half = stored.len() / 2;
        for at in 0..half {
            let both = flipped(&flipped(&stored, at, 0x40), at + half, 0x40);
            assert!(open(&both).is_err(), "byte {at} of {half}");
        }
    }
}

#[test]
fn one_flipped_byte_of_a_session_is_an_error() {
    let keys = keys();
    for aead in AEADS {
        let stored = seal_given_from(&mut fresh(aead, 3), keys.write(), GivenName::Session(ID), PLAIN).unwrap();
        for at in 0..stored.len() {
            for bits in [1 << (at % 8), 0xff] {
                assert!(open_session(keys.write(), ID, &flipped(&stored, at, bits)).is_err(), "byte {at}");
            }
        }
        for cut in 0..stored.len() {
            assert!(open_session(keys.write(), ID, &stored[..cut]).is_err());
        }
        assert!(open_session(keys.write(), ID, &[&stored[..], &[0]].concat()).is_err());
    }
}

#[test]
fn a_cut_or_added_tail_is_told_and_one_copy_must_be_left() {
    for (stored, open) in doubled(Aead::Aes256Gcm) {
        let half = stored.len() / 2;
        for cut in 0..stored.len() {
            let opened = open(&stored[..cut]);
            if cut < half {
                assert!(opened.is_err(), "{cut} of {half}");
            } else {
                assert_eq!(opened, Ok(Opened { plain: PLAIN.to_vec(), damage: Some(Damage::Length) }), "{cut}");
            }
        }
        for added in [1, 2, 99, 100] {
            let mut longer = stored.clone();
            longer.resize(stored.len() + added, 0);
            assert_eq!(open(&longer), Ok(Opened { plain: PLAIN.to_vec(), damage: Some(Damage::Length) }));
            longer[half - 1] ^= 1;
            assert_eq!(open(&longer), Ok(Opened { plain: PLAIN.to_vec(), damage: Some(Damage::FirstCopy) }));
        }
    }
}

#[test]
fn an_object_under_another_name_is_misplaced() {
    let keys = keys();
    let other = PointId::from_bytes([10; 32]);
    let moves = [
        (GivenName::Config(7), GivenName::Config(8)),
        (GivenName::Session(ID), GivenName::Session(other)),
        (GivenName::Point(ID), GivenName::Point(other)),
        (GivenName::Void(ID), GivenName::Void(other)),
    ];
    for (from, to) in moves {
        let stored = seal_given(keys.write(), from, PLAIN).unwrap();
        assert_eq!(open_given(&keys, to, &stored), Err(OpenProblem::Misplaced));
    }
    let (_, first) = seal_free::<SegmentId>(keys.write(), PLAIN).unwrap();
    let (second, _) = seal_free::<SegmentId>(keys.write(), PLAIN).unwrap();
    assert_eq!(open_free(keys.write(), second, &first).unwrap_err().problem, OpenProblem::Misplaced);
}

#[test]
fn an_object_of_another_type_does_not_open() {
    let keys = keys();
    let (name, note) = seal_free::<NoteId>(keys.write(), PLAIN).unwrap();
    let place = SegmentId::from_bytes(*name.as_bytes());
    let error = open_free(keys.write(), place, &note).unwrap_err();
    assert_eq!(error.problem, OpenProblem::OtherType(ObjectType::Note));
    assert_eq!(error.to_string(), format!("Index segment {place} is a note by its header and does not belong there"));
    // With the type in the header changed as well, the key is another one.
    let half = note.len() / 2;
    let note_to_segment = ObjectType::Note.code() ^ ObjectType::Segment.code();
    let forged = flipped(&flipped(&note, 8, note_to_segment), half + 8, note_to_segment);
    assert_eq!(open_free(keys.write(), place, &forged).unwrap_err().problem, OpenProblem::Misplaced);
    // The same for a point that is to pass for a void.
    let point = seal_given(keys.write(), GivenName::Point(ID), PLAIN).unwrap();
    let half = point.len() / 2;
    let point_to_void = ObjectType::Point.code() ^ ObjectType::Void.code();
    let forged = flipped(&flipped(&point, 8, point_to_void), half + 8, point_to_void);
    assert_eq!(open_point(&keys, ID, &forged).unwrap_err().problem, OpenProblem::Misplaced);
}

#[test]
fn an_object_of_another_repository_is_misplaced() {
    let strangers = [
        ReadKeys::fixed(RepositoryId::from_bytes([4; 32]), [2; 32], [3; 32]).unwrap(),
        ReadKeys::fixed(RepositoryId::from_bytes([1; 32]), [5; 32], [3; 32]).unwrap(),
    ];
    for stranger in strangers {
        for name in GIVEN {
            let stored = seal_given(stranger.write(), name, PLAIN).unwrap();
            assert_eq!(open_given(&keys(), name, &stored), Err(OpenProblem::Misplaced));
        }
        let (name, stored) = seal_free::<SegmentId>(stranger.write(), PLAIN).unwrap();
        assert_eq!(open_free(keys().write(), name, &stored).unwrap_err().problem, OpenProblem::Misplaced);
    }
}

#[test]
fn write_keys_alone_do_not_find_the_key_of_a_point() {
    let writer = Keys::WriteOnly(keys().write().duplicate());
    assert!(writer.read().is_err());
    // Every secret but the recipient's is the same; so is what the point binds.
    let stored = seal_given(writer.write(), GivenName::Point(ID), PLAIN).unwrap();
    let guess = ReadKeys::fixed(RepositoryId::from_bytes([1; 32]), [2; 32], [6; 32]).unwrap();
    assert_eq!(open_point(&guess, ID, &stored).unwrap_err().problem, OpenProblem::Misplaced);
    assert!(open_point(&keys(), ID, &stored).is_ok());
}

#[test]
fn a_point_needs_the_writer_secret_to_be_made() {
    let recipient_only = ReadKeys::fixed(RepositoryId::from_bytes([1; 32]), [0; 32], [3; 32]).unwrap();
    let stored = seal_given(recipient_only.write(), GivenName::Point(ID), PLAIN).unwrap();
    assert_eq!(open_point(&keys(), ID, &stored).unwrap_err().problem, OpenProblem::Misplaced);
}

#[test]
fn a_newer_version_is_named_even_if_one_copy_is_gone() {
    for (stored, open) in doubled(Aead::Aes256Gcm) {
        let half = stored.len() / 2;
        let newer = flipped(&flipped(&stored, 9, 3), half + 9, 3);
        assert_eq!(open(&newer), Err(OpenProblem::NewerVersion(2)));
        assert_eq!(open(&newer[..half]), Err(OpenProblem::NewerVersion(2)));
    }
}

#[test]
fn what_is_no_object_is_not_called_damaged() {
    for (stored, open) in doubled(Aead::Aes256Gcm) {
        assert_eq!(open(b""), Err(OpenProblem::NotHoldall));
        assert_eq!(open(&vec![0; stored.len()]), Err(OpenProblem::NotHoldall));
    }
}

#[test]
fn a_stated_length_is_refused_before_memory_is_spent() {
    for (mut stored, open) in doubled(Aead::Aes256Gcm) {
        let half = stored.len() / 2;
        for stated in [u64::MAX, u64::MAX - 103, u64::MAX / 2, OBJECT_PLAIN_BYTES_MAX as u64 + 1] {
            for start in [16, half + 16] {
                stored[start..start + 8].copy_from_slice(&stated.to_le_bytes());
            }
            assert_eq!(open(&stored), Err(OpenProblem::TooLarge { max_bytes: OBJECT_PLAIN_BYTES_MAX }));
        }
        for start in [16, half + 16] {
            stored[start..start + 8].copy_from_slice(&(OBJECT_PLAIN_BYTES_MAX as u64).to_le_bytes());
        }
        assert_eq!(open(&stored), Err(OpenProblem::Length));
    }
    let plain = vec![0; OBJECT_PLAIN_BYTES_MAX + 1];
    assert!(matches!(seal_free::<SegmentId>(keys().write(), &plain), Err(SealError::TooLarge { .. })));
    let stored = vec![0; OBJECT_BYTES_MAX + 1];
    let error = open_config(keys().write(), 0, &stored).unwrap_err();
    assert_eq!(error.problem, OpenProblem::TooLarge { max_bytes: OBJECT_BYTES_MAX });
}

#[test]
fn contents_changed_under_the_right_header_are_damage() {
    for (stored, open) in doubled(Aead::ChaCha20Poly1305) {
        let half = stored.len() / 2;
        let both = flipped(&flipped(&stored, half - 1, 1), stored.len() - 1, 1);
        assert_eq!(open(&both), Err(OpenProblem::Damaged));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_an_opener_panic(
        which in 0_usize..6, tail: Vec<u8>, edits in prop::collection::vec((0_usize..300, any::<u8>()), 0..6),
        cut in 0_usize..400, stated: Option<u64>,
    ) {
        let (mut stored, open) = doubled(Aead::Aes256Gcm).swap_remove(which);
        for (at, value) in edits {
            let at = at % stored.len();
            stored[at] = value;
        }
        if let Some(stated) = stated {
            stored[16..24].copy_from_slice(&stated.to_le_bytes());
        }
        stored.truncate(cut);
        stored.extend_from_slice(&tail);
        if let Ok(opened) = open(&stored) {
            prop_assert_eq!(opened.plain, PLAIN);
        }
        prop_assert!(open(&tail).is_err());
        prop_assert!(open_session(keys().write(), ID, &stored).is_err());
    }
}
