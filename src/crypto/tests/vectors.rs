//! The vectors in `format-spec/vectors/keys`: made here from fixed randomness, good and in named bad forms, and read as
//! another implementation would read them.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::keyslots::{changed, created};
use super::{AEADS, flipped, fresh, keys};
use crate::crypto::Aead;
use crate::crypto::key::{Keys, ReadKeys, Secret, commitment, context, derive_public};
use crate::crypto::keyfile::{KeyFile, KeyFileError};
use crate::crypto::keyslot::{
    Access, Argon2Cost, KEYSLOT_COPY_BYTES, Keyslot, Passphrase, SlotContents, SlotKey, SlotKind, SlotProblem, Unlock,
    seal_slot_from,
};
use crate::crypto::object::{ObjectType, OpenProblem};
use crate::crypto::packseal::{DirectoryOpener, FrameOpener, PackSealer};
use crate::crypto::seal::{
    Damage, FreeName, GivenName, Opened, PointOrVoid, open_config, open_free, open_point, open_session, seal_free_from,
    seal_given_from,
};
use crate::id::{CondemnedId, KeyslotId, NoteId, PackId, PointId, RepositoryId, SegmentId};

const ID: PointId = PointId::from_bytes([9; 32]);
const KEY_FILE: [u8; 32] = [0x77; 32];
const PASSPHRASE: &str = "correct horse battery staple";

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "format-spec/vectors/keys", name].iter().collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").unwrap();
        digits
    })
}

fn bytes(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap().as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn array(value: &Value) -> [u8; 32] {
    bytes(value).try_into().unwrap()
}

fn problem_word(problem: OpenProblem) -> &'static str {
    match problem {
        OpenProblem::NotHoldall => "not holdall",
        OpenProblem::NewerVersion(_) => "newer version",
        OpenProblem::OtherType(_) => "other type",
        OpenProblem::Header { .. } => "header",
        OpenProblem::Length => "length",
        OpenProblem::TooLarge { .. } => "too large",
        OpenProblem::Misplaced => "misplaced",
        OpenProblem::Damaged => "damaged",
    }
}

fn slot_word(problem: SlotProblem) -> &'static str {
    match problem {
        SlotProblem::Object(problem) => problem_word(problem),
        SlotProblem::TooExpensive { .. } => "too expensive",
        SlotProblem::Memory { .. } => "memory",
        SlotProblem::WrongKey => "wrong key",
        SlotProblem::OtherKind(_) => "other kind",
        SlotProblem::Forged => "forged",
    }
}

fn key_file_word(error: KeyFileError) -> &'static str {
    match error {
        KeyFileError::NoKey => "no key",
        KeyFileError::NewerVersion => "newer version",
        KeyFileError::SeveralKeys => "several keys",
        KeyFileError::Digits => "digits",
        KeyFileError::Checksum => "checksum",
        KeyFileError::Words => "words",
        KeyFileError::Word { .. } => "word",
    }
}

fn damage_word(damage: Option<Damage>) -> &'static str {
    match damage {
        None => "none",
        Some(Damage::FirstCopy) => "first copy",
        Some(Damage::SecondCopy) => "second copy",
        Some(Damage::Length) => "length",
    }
}

fn repository() -> Value {
    json!({ "repository": hex(&[1; 32]), "writer secret": hex(&[2; 32]), "recipient secret": hex(&[3; 32]) })
}

fn keys_of(vectors: &Value) -> ReadKeys {
    let keys = &vectors["keys"];
    let repository = RepositoryId::from_bytes(array(&keys["repository"]));
    ReadKeys::fixed(repository, array(&keys["writer secret"]), array(&keys["recipient secret"])).unwrap()
}

/// The same in both copies of something that is stored twice.
fn both(stored: &[u8], at: usize, bits: u8) -> Vec<u8> {
    flipped(&flipped(stored, at, bits), stored.len() / 2 + at, bits)
}

fn derivations() -> Value {
    let keys = keys();
    let derive = |context| hex(Secret::derive(context, &[&[2; 32]]).expose());
    let key = Secret::take(&mut [4; 32]);
    json!({
        "keys": repository(),
        "recipient public": hex(keys.write().recipient().as_bytes()),
        "chunk id key": derive(context::CHUNK_ID),
        "chunker secret": hex(keys.write().chunker_secret().expose()),
        "psk": derive(context::PSK),
        "psk_id": derive(context::PSK_ID),
        "slot MAC key": derive(context::SLOT_MAC),
        "shared base key": derive(context::SHARED_BASE),
        "chunk": hex(b"a chunk"),
        "chunk id": keys.write().id_key().chunk_id(b"a chunk").to_string(),
        "salt": hex(&[5; 32]),
        "shared segment key": hex(keys.write().shared_key(ObjectType::Segment, &[5; 32]).expose()),
        "object key": hex(&[4; 32]),
        "segment commitment": hex(&commitment(&key, keys.write().repository(), ObjectType::Segment, &[0; 32])),
        "point": hex(ID.as_bytes()),
        "point commitment": hex(&commitment(&key, keys.write().repository(), ObjectType::Point, ID.as_bytes())),
    })
}

fn free_case<N: FreeName>(aead: Aead, kind: &str, plain: &[u8]) -> (Value, Vec<u8>) {
    let (name, stored) = seal_free_from::<N>(&mut fresh(aead, 1), keys().write(), plain).unwrap();
    (json!({ "case": format!("{kind}, {aead:?}"), "type": kind, "name": hex(name.name()) }), stored)
}

fn given_case(aead: Aead, kind: &str, name: GivenName, text: &str, plain: &[u8]) -> (Value, Vec<u8>) {
    let stored = seal_given_from(&mut fresh(aead, 1), keys().write(), name, plain).unwrap();
    (json!({ "case": format!("{kind}, {aead:?}"), "type": kind, "name": text }), stored)
}

fn with(case: &Value, fields: &[(&str, Value)]) -> Value {
    let mut case = case.clone();
    for (field, value) in fields {
        case[field] = value.clone();
    }
    case
}

fn bad(case: &Value, what: &str, stored: &[u8], error: &str) -> Value {
    let name = format!("{}: {what}", case["case"].as_str().unwrap());
    with(case, &[("case", name.into()), ("stored", hex(stored).into()), ("error", error.into())])
}

fn objects() -> Value {
    let (id, plain) = (hex(ID.as_bytes()), b"what a writer has to say".as_slice());
    let mut cases = Vec::new();
    for aead in AEADS {
        let made = [
            free_case::<SegmentId>(aead, "segment", plain),
            free_case::<CondemnedId>(aead, "condemned", plain),
            free_case::<NoteId>(aead, "note", b""),
            given_case(aead, "config", GivenName::Config(7), "7", plain),
            given_case(aead, "session", GivenName::Session(ID), &id, plain),
            given_case(aead, "point", GivenName::Point(ID), &id, plain),
            given_case(aead, "void", GivenName::Void(ID), &id, b""),
        ];
        for (case, stored) in made {
            let plain = if case["type"] == "note" || case["type"] == "void" { b"" } else { plain };
            let good = [("stored", hex(&stored).into()), ("plain", hex(plain).into()), ("damage", "none".into())];
            cases.push(with(&case, &good));
        }
    }
    let (segment, stored) = free_case::<SegmentId>(Aead::Aes256Gcm, "segment", plain);
    let half = stored.len() / 2;
    for (what, stored, damage) in [
        ("first copy damaged", flipped(&stored, 100, 1), "first copy"),
        ("length field of first copy damaged", flipped(&stored, 18, 1), "first copy"),
        ("second copy damaged", flipped(&stored, half + 100, 1), "second copy"),
        ("second copy cut off", stored[..half + 9].to_vec(), "length"),
        ("bytes behind", [&stored[..], &[0; 3]].concat(), "length"),
        ("first copy damaged and bytes behind", [&flipped(&stored, 100, 1)[..], &[0; 3]].concat(), "first copy"),
    ] {
        let name = format!("{}: {what}", segment["case"].as_str().unwrap());
        let mended = [("case", name.into()), ("stored", hex(&stored).into()), ("plain", hex(plain).into())];
        cases.push(with(&with(&segment, &mended), &[("damage", damage.into())]));
    }
    cases.extend(bad_segments(&segment, &stored));
    let (point, stored) = given_case(Aead::Aes256Gcm, "point", GivenName::Point(ID), &id, plain);
    let moved = with(&point, &[("name", hex(&[10; 32]).into())]);
    cases.push(bad(&moved, "under another name", &stored, "misplaced"));
    cases.push(bad(&point, "void by its type", &both(&stored, 8, 1), "misplaced"));
    cases.push(bad(&point, "enc damaged", &both(&stored, 30, 1), "misplaced"));
    cases.push(bad(&point, "shared scheme", &both(&stored, 10, 3), "header"));
    json!({ "keys": repository(), "cases": cases })
}

fn bad_segments(segment: &Value, stored: &[u8]) -> Vec<Value> {
    let (_, note) = free_case::<NoteId>(Aead::Aes256Gcm, "note", b"");
    let half = stored.len() / 2;
    let forms: [(&str, Vec<u8>, &str); 15] = [
        ("nothing", Vec::new(), "not holdall"),
        ("magic damaged", both(stored, 0, 1), "not holdall"),
        ("a note", note, "other type"),
        ("type unknown", both(stored, 8, 0x80), "header"),
        ("version 2", both(stored, 9, 3), "newer version"),
        ("version 2, one copy", both(stored, 9, 3)[..half].to_vec(), "newer version"),
        ("version 0", both(stored, 9, 1), "header"),
        ("cipher unknown", both(stored, 11, 0x80), "header"),
        ("KEM where none belongs", both(stored, 12, 0x20), "header"),
        ("reserved byte set", both(stored, 14, 1), "header"),
        ("length of 2^63 and more", both(stored, 23, 0x80), "too large"),
        ("salt damaged", both(stored, 24, 1), "misplaced"),
        ("commitment damaged", both(stored, 56, 1), "misplaced"),
        ("contents damaged", both(stored, 88, 1), "damaged"),
        ("tag damaged", both(stored, half - 1, 1), "damaged"),
    ];
    let moved = with(segment, &[("name", hex(&[10; 32]).into())]);
    let mut cases: Vec<_> = forms.iter().map(|(what, stored, error)| bad(segment, what, stored, error)).collect();
    cases.push(bad(&moved, "under another name", stored, "misplaced"));
    cases
}

fn packs() -> Value {
    let mut cases = Vec::new();
    for aead in AEADS {
        let (sealer, header) = PackSealer::new_from(&mut fresh(aead, 1), keys().write()).unwrap();
        let case = |what: &str, part: Value, sealed: &[u8], (field, word): (&str, &str)| {
            json!({ "case": format!("{what}, {aead:?}"), "pack": sealer.id().to_string(), "header": hex(&header),
                    "part": part, "sealed": hex(sealed), field: word })
        };
        let first = sealer.seal_frame(0, b"the first frame").unwrap();
        let last = sealer.seal_frame(65_535, b"the last frame").unwrap();
        let directory = sealer.seal_directory(b"what is where").unwrap();
        cases.push(case("frame 0", 0.into(), &first, ("plain", &hex(b"the first frame"))));
        cases.push(case("frame 65535", 65_535.into(), &last, ("plain", &hex(b"the last frame"))));
        cases.push(case("directory", "directory".into(), &directory, ("plain", &hex(b"what is where"))));
        cases.push(case("frame at another place", 1.into(), &first, ("error", "damaged")));
        cases.push(case("frame damaged", 0.into(), &flipped(&first, 3, 1), ("error", "damaged")));
        cases.push(case("frame cut off", 0.into(), &first[..first.len() - 1], ("error", "damaged")));
        cases.push(case("frame as directory", "directory".into(), &first, ("error", "damaged")));
        for (what, at, bits, part, error) in [
            ("magic damaged", 0, 1, json!("directory"), "not holdall"),
            ("version 2", 9, 3, json!("directory"), "newer version"),
            ("KEM unknown", 12, 1, json!("directory"), "header"),
            ("enc damaged", 20, 1, json!("directory"), "damaged"),
            ("enc damaged, for a frame", 20, 1, json!(0), "misplaced"),
            ("salt damaged", 50, 1, json!("directory"), "misplaced"),
            ("salt damaged, for a frame", 50, 1, json!(0), "damaged"),
            ("commitment damaged", 80, 1, json!("directory"), "misplaced"),
            ("directory's commitment damaged", 112, 1, json!("directory"), "misplaced"),
        ] {
            let contents = if part == "directory" { &directory } else { &first };
            let header = hex(&flipped(&header, at, bits));
            cases.push(with(&case(what, part, contents, ("error", error)), &[("header", header.into())]));
        }
        let moved = case("under another name", 0.into(), &first, ("error", "misplaced"));
        cases.push(with(&moved, &[("pack", hex(&[10; 32]).into())]));
    }
    json!({ "keys": repository(), "cases": cases })
}

fn slot(aead: Aead, kind: SlotKind, access: Access) -> (Value, KeyslotId, Vec<u8>) {
    let (phrase, key_file) = (Passphrase::new(PASSPHRASE.into()).unwrap(), KeyFile::fixed(KEY_FILE));
    let (key, unlock) = match kind {
        SlotKind::Passphrase => (SlotKey::Passphrase(&phrase, Argon2Cost::cheap()), ("passphrase", PASSPHRASE.into())),
        SlotKind::KeyFile => (SlotKey::KeyFile(&key_file), ("key file", hex(&KEY_FILE))),
        SlotKind::Recovery => (SlotKey::Recovery(&key_file), ("key file", hex(&KEY_FILE))),
    };
    let keys = keys();
    let contents = match access {
        Access::Full => SlotContents::Full(&keys),
        Access::WriteOnly => SlotContents::WriteOnly(keys.write()),
    };
    let (id, stored) = seal_slot_from(&mut fresh(aead, 1), &key, contents, "läbel", created()).unwrap();
    let case = json!({ "case": format!("{kind:?}, {access:?}, {aead:?}"), "id": id.to_string(), unlock.0: unlock.1 });
    (case, id, stored)
}

fn slots() -> Value {
    let mut cases = Vec::new();
    for aead in AEADS {
        for kind in [SlotKind::Passphrase, SlotKind::KeyFile, SlotKind::Recovery] {
            for access in [Access::Full, Access::WriteOnly] {
                let (case, _, stored) = slot(aead, kind, access);
                let description = json!({ "kind": format!("{kind:?}"), "access": format!("{access:?}"),
                    "created": created().as_micros(), "label": "läbel" });
                let good = [("stored", hex(&stored).into()), ("damage", "none".into()), ("description", description)];
                cases.push(with(&case, &good));
            }
        }
    }
    let (case, id, stored) = slot(Aead::Aes256Gcm, SlotKind::Passphrase, Access::Full);
    let forms: [(&str, Vec<u8>, &str); 9] = [
        ("magic damaged", both(&stored, 0, 1), "not holdall"),
        ("version 2", both(&stored, 9, 3), "newer version"),
        ("salt damaged", both(&stored, 24, 1), "damaged"),
        ("cut off", stored[..KEYSLOT_COPY_BYTES - 1].to_vec(), "damaged"),
        ("kdf unknown, checksum right", changed(id, &stored, 10, &[9]), "header"),
        ("2 GiB of memory, checksum right", changed(id, &stored, 12, &(2_u32 << 20).to_le_bytes()), "too expensive"),
        ("salt changed, checksum right", changed(id, &stored, 24, &[0]), "wrong key"),
        ("bundle changed, checksum right", changed(id, &stored, 88, &[stored[88] ^ 1]), "damaged"),
        ("MAC changed, checksum right", changed(id, &stored, 505, &[0; 32]), "forged"),
    ];
    cases.extend(forms.iter().map(|(what, stored, error)| bad(&case, what, stored, error)));
    let wrong = with(&case, &[("passphrase", "incorrect".into())]);
    cases.push(bad(&wrong, "another passphrase", &stored, "wrong key"));
    let moved = with(&case, &[("id", hex(&[10; 32]).into())]);
    cases.push(bad(&moved, "under another name", &stored, "damaged"));
    let mended = bad(&case, "first copy damaged", &flipped(&stored, 100, 1), "");
    let mut mended =
        with(&mended, &[("damage", "first copy".into()), ("description", cases[0]["description"].clone())]);
    mended.as_object_mut().unwrap().remove("error");
    cases.push(mended);
    json!({ "keys": repository(), "cases": cases })
}

fn key_files() -> Value {
    let key = KeyFile::fixed(KEY_FILE);
    let (text, words) = (key.to_text(), key.to_words());
    let secret = hex(&KEY_FILE);
    let case = |name: &str, form: &str, text: &str, (field, word): (&str, &str)| {
        let case = json!({ "case": name, "form": form, "text": text });
        with(&case, &[(field, word.into())])
    };
    let good = |name: &str, form: &str, text: &str| case(name, form, text, ("secret", &secret));
    let bad = |name: &str, form: &str, text: &str, error: &str| case(name, form, text, ("error", error));
    let eight = words.rsplit_once(' ').unwrap().0;
    json!({ "cases": [
        good("as written", "file", &text),
        good("only the key", "file", text.lines().last().unwrap()),
        good("line ends of another system", "file", &text.replace('\n', "\r\n")),
        good("words", "words", &words),
        good("words as typed", "words", &words.to_uppercase().replace(' ', "-")),
        bad("nothing", "file", "", "no key"),
        bad("another file", "file", "-----BEGIN CERTIFICATE-----", "no key"),
        bad("newer", "file", &text.replace("key-1", "key-2"), "newer version"),
        bad("two keys", "file", &format!("{}{}", *text, *text), "several keys"),
        bad("a digit too few", "file", &text.replacen("7777", "777", 1), "digits"),
        bad("a digit wrong", "file", &text.replacen("7777", "7776", 1), "checksum"),
        bad("a digit wrong in a word", "words", &words.replacen("7777", "7776", 1), "word"),
        bad("a word too few", "words", eight, "words"),
        bad("the checksum of another key", "words", &format!("{eight} 00000000"), "checksum"),
    ]})
}

fn all() -> [(&'static str, Value); 5] {
    [
        ("derivations.json", derivations()),
        ("objects.json", objects()),
        ("packs.json", packs()),
        ("slots.json", slots()),
        ("key-files.json", key_files()),
    ]
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(file(name)).unwrap()).unwrap()
}

fn check(case: &Value, found: Result<Value, &'static str>) {
    let stated = match case.get("error") {
        Some(error) => Err(error.as_str().unwrap()),
        None => Ok(()),
    };
    match (found, stated) {
        (Ok(found), Ok(())) => {
            for (field, value) in found.as_object().unwrap() {
                assert_eq!(value, &case[field], "{field} of {}", case["case"]);
            }
        }
        (Err(found), Err(stated)) => assert_eq!(found, stated, "{}", case["case"]),
        (found, stated) => panic!("{}: found {found:?}, stated {stated:?}", case["case"]),
    }
}

#[test]
fn the_writer_makes_the_vectors_byte_for_byte() {
    for (name, made) in all() {
        assert!(read(name) == made, "{name} is not what this program writes");
    }
}

#[test]
fn object_vectors_open_as_stated() {
    let vectors = read("objects.json");
    let keys = keys_of(&vectors);
    for case in vectors["cases"].as_array().unwrap() {
        let stored = bytes(&case["stored"]);
        let name = || array(&case["name"]);
        let opened = match case["type"].as_str().unwrap() {
            "segment" => open_free(keys.write(), SegmentId::from_bytes(name()), &stored),
            "condemned" => open_free(keys.write(), CondemnedId::from_bytes(name()), &stored),
            "note" => open_free(keys.write(), NoteId::from_bytes(name()), &stored),
            "config" => open_config(keys.write(), case["name"].as_str().unwrap().parse().unwrap(), &stored),
            "session" => open_session(keys.write(), PointId::from_bytes(name()), &stored)
                .map(|plain| Opened { plain, damage: None }),
            kind => open_point(&keys, PointId::from_bytes(name()), &stored).map(|opened| match (kind, opened) {
                ("point", PointOrVoid::Point(opened)) | ("void", PointOrVoid::Void(opened)) => opened,
                _ => panic!("{}", case["case"]),
            }),
        };
        let found = opened.map(|opened| json!({ "plain": hex(&opened.plain), "damage": damage_word(opened.damage) }));
        check(case, found.map_err(|error| problem_word(error.problem)));
    }
}

#[test]
fn pack_vectors_open_as_stated() {
    let vectors = read("packs.json");
    let keys = keys_of(&vectors);
    for case in vectors["cases"].as_array().unwrap() {
        let (id, header) = (PackId::from_bytes(array(&case["pack"])), bytes(&case["header"]));
        let mut sealed = bytes(&case["sealed"]);
        let mut open = || match case["part"].as_u64() {
            Some(number) => FrameOpener::new(&keys, id, &header)?
                .open(u32::try_from(number).unwrap(), &mut sealed)
                .map(|plain| plain.to_vec()),
            None => DirectoryOpener::new(keys.write(), id, &header)?.open(&mut sealed).map(|plain| plain.to_vec()),
        };
        let found = open().map(|plain| json!({ "plain": hex(&plain) }));
        check(case, found.map_err(|error| problem_word(error.problem)));
    }
}

#[test]
fn slot_vectors_open_as_stated() {
    let vectors = read("slots.json");
    let expected = keys_of(&vectors);
    for case in vectors["cases"].as_array().unwrap() {
        let open = || {
            let slot = Keyslot::parse(KeyslotId::from_bytes(array(&case["id"])), &bytes(&case["stored"]))?;
            let keys = match case.get("passphrase") {
                Some(text) => {
                    slot.open(Unlock::Passphrase(&Passphrase::new(text.as_str().unwrap().into()).unwrap()))?
                }
                None => slot.open(Unlock::KeyFile(&KeyFile::fixed(array(&case["key file"]))))?,
            };
            Ok((slot.describe(keys.write())?, keys, slot.damage()))
        };
        let found = open().map(|(description, keys, damage)| {
            assert_eq!(keys.write().id_key().chunk_id(b"a"), expected.write().id_key().chunk_id(b"a"));
            assert_eq!(matches!(keys, Keys::Full(_)), description.access == Access::Full);
            json!({ "damage": damage_word(damage), "description": {
                "kind": format!("{:?}", description.kind), "access": format!("{:?}", description.access),
                "created": description.created.as_micros(), "label": description.label } })
        });
        check(case, found.map_err(|error: crate::crypto::keyslot::SlotError| slot_word(error.problem)));
    }
}

#[test]
fn key_file_vectors_are_read_as_stated() {
    for case in read("key-files.json")["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let found = match case["form"].as_str().unwrap() {
            "file" => KeyFile::parse(text.as_bytes()),
            _ => KeyFile::parse_words(text),
        };
        let found = found.map(|key| json!({ "secret": hex(key.secret().expose()) }));
        check(case, found.map_err(key_file_word));
    }
}

#[test]
fn every_context_is_used_for_one_purpose() {
    let all = context::ALL;
    let distinct: std::collections::HashSet<_> = all.iter().map(|context| derive_public(context, &[])).collect();
    assert_eq!(distinct.len(), all.len());
    let spec = std::fs::read_to_string(file("../../keys.md")).unwrap();
    for context in all {
        assert!(spec.contains(&format!("`{context}`")), "keys.md does not list {context}");
    }
}

/// Makes the files that are missing. An existing one is never replaced: released vectors are the format.
#[test]
#[ignore = "writes files into the source tree"]
#[expect(clippy::disallowed_methods, reason = "the vectors are no objects of a store")]
fn missing_vectors_are_written() {
    std::fs::create_dir_all(file("")).unwrap();
    for (name, made) in all() {
        if !file(name).exists() {
            std::fs::write(file(name), serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
        }
    }
}
