//! What people and files say: names of sources, points and objects, and keys as text.

use std::fmt::Display;
use std::str::FromStr;

use holdall::codec::{Decoder, Encoder};
use holdall::crypto::KeyFile;
use holdall::id::PointId;
use holdall::repo::PointSpec;
use holdall::source::{Selector, Source};
use holdall::store::{Directory, Name};

/// A text that parses is written as a text that means the same.
fn round_trip<T: FromStr + Display + PartialEq>(text: &str) -> Option<T> {
    let parsed: T = text.parse().ok()?;
    let written = parsed.to_string();
    assert!(written.parse().is_ok_and(|again: T| again == parsed), "{text:?} comes back as {written:?}");
    Some(parsed)
}

/// Names of sources, points, objects and directories, and ids.
pub fn name(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Some(selector) = round_trip::<Selector>(text) {
        let source = selector.on("host");
        assert!(selector.matches(&source), "{text:?} does not mean what it names");
        let mut out = Encoder::new();
        source.encode(&mut out);
        let stored = out.finish();
        let again = Source::decode(&mut Decoder::new(&stored));
        assert!(again == Ok(source), "what {text:?} names cannot be stored");
        assert!(!selector.to_string().chars().any(char::is_control), "{text:?} steers a terminal");
    }
    // A moment is written to the second, so that only its kind must come back.
    if let Ok(spec) = text.parse::<PointSpec>() {
        let again = spec.to_string().parse::<PointSpec>();
        let again = again.unwrap_or_else(|error| panic!("{text:?} is written as {spec}: {error}"));
        assert_eq!(std::mem::discriminant(&again), std::mem::discriminant(&spec), "{text:?}");
    }
    round_trip::<Directory>(text);
    round_trip::<PointId>(text);
    if let Some(name) = round_trip::<Name>(text) {
        assert_eq!(format!("{}/{}", name.directory(), name.leaf()).trim_start_matches('/'), name.as_str());
    }
}

/// Key files and printed keys.
pub fn key_file(data: &[u8]) {
    let check = |key: &KeyFile| {
        let words = key.to_words();
        let again = KeyFile::parse(key.to_text().as_bytes());
        assert!(again.is_ok_and(|again| again.to_words() == words), "a key file is another key");
        assert!(KeyFile::parse_words(&words).is_ok_and(|again| again.to_words() == words), "words are another key");
    };
    if let Ok(key) = KeyFile::parse(data) {
        check(&key);
    }
    if let Ok(text) = str::from_utf8(data)
        && let Ok(key) = KeyFile::parse_words(text)
    {
        check(&key);
    }
}
