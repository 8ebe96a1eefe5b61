//! What the specification quotes from the code is what the code says.

use holdall::limits as l;
use holdall::{point, repo};

fn page(name: &str) -> String {
    std::fs::read_to_string(format!("{}/format-spec/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// A number as the tables write it: whole MiB as such, others with commas.
fn text(value: usize) -> String {
    if value.is_multiple_of(l::MIB) && value < 1 << 30 && value != 1 << 20 {
        return format!("{} MiB", value / l::MIB);
    }
    let digits = value.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

#[test]
fn the_limits_are_those_of_the_code() {
    let page = page("README.md");
    let quoted = |name: &str, value: &str| {
        let row = page.lines().find(|line| line.contains(&format!("`{name}`"))).unwrap_or_default();
        assert!(row.contains(&format!("| {value} |")), "{name} is {value}, but the page says {row:?}");
    };
    for (name, value) in [
        ("NAME_BYTES_MAX", l::NAME_BYTES_MAX),
        ("CHUNK_BYTES_MAX", l::CHUNK_BYTES_MAX),
        ("FRAME_PLAIN_BYTES_MAX", l::FRAME_PLAIN_BYTES_MAX),
        ("FRAME_CHUNKS_MAX", l::FRAME_CHUNKS_MAX),
        ("PACK_FRAMES_MAX", l::PACK_FRAMES_MAX),
        ("PACK_CHUNKS_MAX", l::PACK_CHUNKS_MAX),
        ("PACK_BYTES_MAX", l::PACK_BYTES_MAX),
        ("OBJECT_PLAIN_BYTES_MAX", l::OBJECT_PLAIN_BYTES_MAX),
        ("PART_ENVELOPE_BYTES_MAX", l::PART_ENVELOPE_BYTES_MAX),
        ("PART_PATH_BYTES_MAX", l::PART_PATH_BYTES_MAX),
        ("POINT_TABLE_CHUNKS_MAX", l::POINT_TABLE_CHUNKS_MAX),
        ("POINT_PACKS_MAX", l::POINT_PACKS_MAX),
        ("DESCRIPTION_BYTES_MAX", l::DESCRIPTION_BYTES_MAX),
        ("REMARKS_MAX", point::REMARKS_MAX),
        ("REASON_BYTES_MAX", repo::REASON_BYTES_MAX),
    ] {
        quoted(name, &text(value));
    }
    assert_eq!(l::FRAME_SEALED_BYTES_MAX, l::FRAME_PLAIN_BYTES_MAX + 64);
    quoted("FRAME_SEALED_BYTES_MAX", "6 MiB + 64");
    assert_eq!(l::OBJECT_BYTES_MAX, 128 * l::MIB + 8 * l::KIB);
    quoted("OBJECT_BYTES_MAX", "128 MiB + 8 KiB");
    assert_eq!((l::PART_BYTES_MAX, l::STREAM_BYTES_MAX), (l::MIB, (1 << 63) - 1));
    quoted("PART_BYTES_MAX", "1 MiB");
    quoted("STREAM_BYTES_MAX", "2^63 - 1");
    assert_eq!(repo::SETTLE_SECONDS_MAX, 86_400);
    quoted("SETTLE_SECONDS_MAX", "86,400");
}

#[test]
fn every_context_of_a_derivation_is_listed_once() {
    let listed = page("keys.md");
    for context in ["gear table", "recipe digest"] {
        assert_eq!(listed.matches(&format!("`holdall format 1: {context}`")).count(), 1, "{context}");
    }
}
