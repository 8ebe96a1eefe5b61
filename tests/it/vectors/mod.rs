//! The vectors in `format-spec/vectors`, all but those of keys: made here, good and in named bad forms, and read as
//! another implementation would read them.
//!
//! A case has what comes out (`value` and the like) or `error`, the word of `format-spec/README.md`, with the `field`
//! that is wrong. Released vectors are the format: the generator never replaces a file.

mod chunks;
mod forms;
mod packs;
mod values;

use std::fmt::Write;
use std::path::PathBuf;

use holdall::codec::{DecodeError, DecodeProblem};
use serde_json::{Value, json};

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "format-spec/vectors", name].iter().collect()
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(file(name)).unwrap()).unwrap()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").unwrap();
        digits
    })
}

pub fn bytes(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap().as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn problem_word(problem: DecodeProblem) -> &'static str {
    match problem {
        DecodeProblem::Truncated => "truncated",
        DecodeProblem::TooLarge => "too large",
        DecodeProblem::Unknown => "unknown",
        DecodeProblem::NotCanonical => "not canonical",
        DecodeProblem::NotText => "not text",
        DecodeProblem::Trailing => "trailing",
    }
}

fn good(case: &str, bytes: &[u8], value: Value) -> Value {
    let mut case = json!({ "case": case, "bytes": hex(bytes) });
    case["value"] = value;
    case
}

fn bad(case: &str, bytes: &[u8], field: &str, problem: DecodeProblem) -> Value {
    json!({ "case": case, "bytes": hex(bytes), "error": problem_word(problem), "field": field })
}

fn cases(cases: Vec<Value>) -> Value {
    let mut all = json!({});
    all["cases"] = cases.into();
    all
}

/// Whether a decoder does with the case what the case says.
fn check(case: &Value, found: Result<Value, DecodeError>) {
    let name = &case["case"];
    match (case.get("error"), found) {
        (None, Ok(value)) => assert_eq!(value, case["value"], "{name}"),
        (Some(error), Err(found)) => {
            assert_eq!(problem_word(found.problem), error.as_str().unwrap(), "{name}: {found}");
            assert_eq!(found.field, case["field"].as_str().unwrap(), "{name}: {found}");
        }
        (stated, found) => panic!("{name}: stated {stated:?}, found {found:?}"),
    }
}

fn each(name: &str, test: impl Fn(&Value)) {
    let vectors = read(name);
    let cases = vectors["cases"].as_array().unwrap();
    assert!(!cases.is_empty(), "{name}");
    cases.iter().for_each(test);
}

fn all() -> Vec<(&'static str, Value)> {
    [forms::files(), chunks::files(), packs::files()].concat()
}

#[test]
fn the_writer_makes_the_vectors_byte_for_byte() {
    for (name, made) in all() {
        assert!(read(name) == made, "{name} is not what this program writes");
    }
}

/// Makes the files that are missing. An existing one is never replaced: released vectors are the format.
#[test]
#[ignore = "writes files into the source tree"]
#[expect(clippy::disallowed_methods, reason = "the vectors are no objects of a store")]
fn missing_vectors_are_written() {
    for (name, made) in all() {
        if !file(name).exists() {
            std::fs::create_dir_all(file(name).parent().unwrap()).unwrap();
            std::fs::write(file(name), serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
        }
    }
}
