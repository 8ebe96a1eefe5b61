//! Pack headers, frames and directories.

use proptest::prelude::*;

use super::{AEADS, flipped, fresh, keys};
use crate::crypto::key::ReadKeys;
use crate::crypto::object::{ObjectType, OpenProblem};
use crate::crypto::packseal::{DirectoryOpener, FrameOpener, PACK_HEADER_BYTES, PackSealer};
use crate::crypto::seal::{SealError, seal_free};
use crate::crypto::{Aead, TAG_BYTES};
use crate::id::{NoteId, PackId, RepositoryId};
use crate::limits::{FRAME_SEALED_BYTES_MAX, OBJECT_PLAIN_BYTES_MAX, PACK_FRAMES_MAX};

const FRAMES: [&[u8]; 3] = [b"the first frame", b"", b"the third frame"];
const DIRECTORY: &[u8] = b"what is where";

/// A pack's parts, as they would stand in its file.
#[derive(Clone)]
struct Parts {
    id: PackId,
    header: Vec<u8>,
    frames: Vec<Vec<u8>>,
    directory: Vec<u8>,
}

fn sealed(aead: Aead, seed: u8) -> Parts {
    let (sealer, header) = PackSealer::new_from(&mut fresh(aead, seed), keys().write()).unwrap();
    let frames = (0..).zip(FRAMES).map(|(number, plain)| sealer.seal_frame(number, plain).unwrap()).collect();
    let directory = sealer.seal_directory(DIRECTORY).unwrap();
    Parts { id: sealer.id(), header: header.to_vec(), frames, directory }
}

fn open_frame(keys: &ReadKeys, parts: &Parts, number: u32, sealed: &[u8]) -> Result<Vec<u8>, OpenProblem> {
    let open =
        || FrameOpener::new(keys, parts.id, &parts.header)?.open(number, &mut sealed.to_vec()).map(|p| p.to_vec());
    open().map_err(|error| error.problem)
}

fn open_directory(keys: &ReadKeys, parts: &Parts, sealed: &[u8]) -> Result<Vec<u8>, OpenProblem> {
    let open = || {
        let opener = DirectoryOpener::new(keys.write(), parts.id, &parts.header)?;
        opener.open(&mut sealed.to_vec()).map(|plain| plain.to_vec())
    };
    open().map_err(|error| error.problem)
}

#[test]
fn frames_and_directory_open_to_what_was_sealed() {
    for aead in AEADS {
        let parts = sealed(aead, 1);
        for (number, plain) in (0..).zip(FRAMES) {
            let frame = &parts.frames[number as usize];
            assert_eq!(frame.len(), plain.len() + TAG_BYTES);
            assert_eq!(open_frame(&keys(), &parts, number, frame), Ok(plain.to_vec()));
        }
        assert_eq!(open_directory(&keys(), &parts, &parts.directory), Ok(DIRECTORY.to_vec()));
    }
}

#[test]
fn frames_are_sealed_from_several_threads() {
    let (sealer, header) = PackSealer::new(keys().write()).unwrap();
    let plain_of = |number: u32| number.to_le_bytes().repeat(1000 + number as usize);
    let frames: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4_u32)
            .map(|thread| {
                let sealer = &sealer;
                scope.spawn(move || {
                    let numbers = (0..64).filter(|number| number % 4 == thread);
                    numbers
                        .map(|number| (number, sealer.seal_frame(number, &plain_of(number)).unwrap()))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let opener = FrameOpener::new(&keys(), sealer.id(), &header).unwrap();
    for (number, mut frame) in frames {
        assert_eq!(opener.open(number, &mut frame).unwrap(), plain_of(number));
    }
}

#[test]
fn a_number_is_sealed_under_once() {
    let (sealer, _) = PackSealer::new(keys().write()).unwrap();
    let last = u32::try_from(PACK_FRAMES_MAX).unwrap() - 1;
    for number in [0, 63, 64, last] {
        assert!(sealer.seal_frame(number, b"a").is_ok());
        assert!(matches!(sealer.seal_frame(number, b"b"), Err(SealError::FrameNumber { .. })));
    }
    for number in [last + 1, u32::MAX] {
        assert!(matches!(sealer.seal_frame(number, b"a"), Err(SealError::FrameNumber { .. })));
    }
    assert!(sealer.seal_directory(b"a").is_ok());
    assert!(matches!(sealer.seal_directory(b"b"), Err(SealError::FrameNumber { .. })));
}

#[test]
fn one_flipped_byte_of_the_header_opens_nothing() {
    for aead in AEADS {
        let parts = sealed(aead, 2);
        for at in 0..PACK_HEADER_BYTES {
            for bits in [1 << (at % 8), 0xff] {
                let bad = Parts { header: flipped(&parts.header, at, bits), ..parts.clone() };
                assert!(open_frame(&keys(), &bad, 0, &parts.frames[0]).is_err(), "byte {at}");
                assert!(open_directory(&keys(), &bad, &parts.directory).is_err(), "byte {at}");
            }
        }
    }
}

#[test]
fn one_flipped_byte_of_a_frame_or_directory_is_damage() {
    for aead in AEADS {
        let parts = sealed(aead, 3);
        for at in 0..parts.frames[0].len() {
            assert_eq!(open_frame(&keys(), &parts, 0, &flipped(&parts.frames[0], at, 1)), Err(OpenProblem::Damaged));
        }
        for at in 0..parts.directory.len() {
            assert_eq!(open_directory(&keys(), &parts, &flipped(&parts.directory, at, 1)), Err(OpenProblem::Damaged));
        }
    }
}

#[test]
fn frames_cannot_be_exchanged_cut_or_extended() {
    let (parts, other) = (sealed(Aead::Aes256Gcm, 4), sealed(Aead::Aes256Gcm, 5));
    let damaged = Err(OpenProblem::Damaged);
    assert_eq!(open_frame(&keys(), &parts, 0, &parts.frames[2]), damaged);
    assert_eq!(open_frame(&keys(), &parts, 0, &other.frames[0]), damaged);
    assert_eq!(open_frame(&keys(), &parts, u32::MAX, &parts.directory), damaged);
    assert_eq!(open_directory(&keys(), &parts, &parts.frames[0]), damaged);
    assert_eq!(open_directory(&keys(), &parts, &other.directory), damaged);
    for cut in 0..parts.frames[0].len() {
        assert_eq!(open_frame(&keys(), &parts, 0, &parts.frames[0][..cut]), damaged);
    }
    assert_eq!(open_frame(&keys(), &parts, 0, &[&parts.frames[0][..], &[0]].concat()), damaged);
}

#[test]
fn a_header_under_another_name_or_repository_is_misplaced() {
    let (parts, other) = (sealed(Aead::Aes256Gcm, 6), sealed(Aead::Aes256Gcm, 7));
    let moved = Parts { id: other.id, ..parts.clone() };
    assert_eq!(open_frame(&keys(), &moved, 0, &parts.frames[0]), Err(OpenProblem::Misplaced));
    assert_eq!(open_directory(&keys(), &moved, &parts.directory), Err(OpenProblem::Misplaced));
    let stranger = ReadKeys::fixed(RepositoryId::from_bytes([4; 32]), [2; 32], [3; 32]).unwrap();
    assert_eq!(open_frame(&stranger, &parts, 0, &parts.frames[0]), Err(OpenProblem::Misplaced));
    assert_eq!(open_directory(&stranger, &parts, &parts.directory), Err(OpenProblem::Misplaced));
}

#[test]
fn all_but_the_recipient_open_the_directory_and_no_frame() {
    let parts = sealed(Aead::Aes256Gcm, 8);
    let guess = ReadKeys::fixed(RepositoryId::from_bytes([1; 32]), [2; 32], [6; 32]).unwrap();
    assert_eq!(open_directory(&guess, &parts, &parts.directory), Ok(DIRECTORY.to_vec()));
    assert_eq!(open_frame(&guess, &parts, 0, &parts.frames[0]), Err(OpenProblem::Misplaced));
}

#[test]
fn a_header_that_is_none_says_why() {
    let parts = sealed(Aead::Aes256Gcm, 9);
    let with = |header: Vec<u8>| open_directory(&keys(), &Parts { header, ..parts.clone() }, &parts.directory);
    assert_eq!(with(Vec::new()), Err(OpenProblem::NotHoldall));
    assert_eq!(with(parts.header[..PACK_HEADER_BYTES - 1].to_vec()), Err(OpenProblem::Length));
    assert_eq!(with(flipped(&parts.header, 9, 3)), Err(OpenProblem::NewerVersion(2)));
    assert_eq!(with(flipped(&parts.header, 9, 3)[..20].to_vec()), Err(OpenProblem::NewerVersion(2)));
    let (_, note) = seal_free::<NoteId>(keys().write(), DIRECTORY).unwrap();
    assert_eq!(with(note), Err(OpenProblem::OtherType(ObjectType::Note)));
    assert_eq!(with([&parts.header[..], b"frames"].concat()), Ok(DIRECTORY.to_vec()));
}

#[test]
fn what_no_reader_would_accept_is_not_sealed() {
    let (sealer, header) = PackSealer::new(keys().write()).unwrap();
    let frame = vec![0; FRAME_SEALED_BYTES_MAX];
    assert!(matches!(sealer.seal_frame(0, &frame), Err(SealError::TooLarge { .. })));
    let mut largest = sealer.seal_frame(0, &frame[TAG_BYTES..]).unwrap();
    let opener = FrameOpener::new(&keys(), sealer.id(), &header).unwrap();
    assert_eq!(opener.open(0, &mut largest).unwrap().len(), FRAME_SEALED_BYTES_MAX - TAG_BYTES);
    let error = opener.open(1, &mut vec![0; FRAME_SEALED_BYTES_MAX + 1]).unwrap_err();
    assert_eq!(error.problem, OpenProblem::TooLarge { max_bytes: FRAME_SEALED_BYTES_MAX });
    let directory = vec![0; OBJECT_PLAIN_BYTES_MAX + 1];
    assert!(matches!(sealer.seal_directory(&directory), Err(SealError::TooLarge { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_pack_opener_panic(
        tail: Vec<u8>, edits in prop::collection::vec((0_usize..144, any::<u8>()), 0..4), number: u32,
    ) {
        let mut parts = sealed(Aead::Aes256Gcm, 10);
        for (at, value) in edits {
            parts.header[at] = value;
        }
        prop_assert!(open_frame(&keys(), &parts, number, &tail).is_err());
        prop_assert!(open_directory(&keys(), &parts, &tail).is_err());
        parts.header = tail;
        prop_assert!(open_frame(&keys(), &parts, 0, &parts.frames[0]).is_err());
    }
}
