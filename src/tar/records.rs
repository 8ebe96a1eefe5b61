//! The headers of one member with other PAX records.
//!
//! Everything else of the headers stays byte for byte, and so does a member without such records. Knows the form of
//! extensions only: which records are to be others, and why, is the caller's.

use super::header::{BLOCK_BYTES, ExtensionKind, Header, Role};
use super::pax::{PaxRecord, PaxRecords};

/// Where a header has its size and its checksum, see `format-spec/splitting.md`.
const SIZE: std::ops::Range<usize> = 124..136;
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Changes records of a member's extended header. `headers` is all that the splitter gave out between the member's
/// [`super::Event::Boundary`] and its [`super::Event::Member`]; `change` returns the new key and value, or `None` to
/// keep a record.
///
/// Returns the new headers, a multiple of [`BLOCK_BYTES`] long, or `None` if nothing is changed. Headers with a record
/// that cannot be read are left alone, because a reader's understanding of them cannot be known.
pub fn change_records(
    headers: &[u8],
    change: impl Fn(PaxRecord<'_>) -> Option<(&'static [u8], Vec<u8>)>,
) -> Option<Vec<u8>> {
    let mut changed_headers = None;
    let (mut rest, mut done) = (headers, 0);
    while let Some((block, after)) = rest.split_first_chunk::<BLOCK_BYTES>() {
        let header = Header::decode(block).ok()?;
        let Role::Extension(kind) = header.role else { break };
        let len = usize::try_from(header.size).ok()?;
        let (content, _) = after.split_at_checked(len)?;
        let (_, behind) = after.split_at_checked(len.next_multiple_of(BLOCK_BYTES))?;
        let (content, changed) =
            if kind == ExtensionKind::Pax { changed_content(content, &change)? } else { Default::default() };
        if changed {
            let out = changed_headers.get_or_insert_with(Vec::new);
            out.extend_from_slice(headers.get(done..headers.len() - rest.len())?);
            out.extend_from_slice(&with_size(block, content.len())?);
            out.extend_from_slice(&content);
            out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
            done = headers.len() - behind.len();
        }
        rest = behind;
    }
    let mut out = changed_headers?;
    out.extend_from_slice(headers.get(done..)?);
    Some(out)
}

/// The records as they are to be, and whether any is changed; `None` if one cannot be read.
fn changed_content(
    content: &[u8],
    change: &impl Fn(PaxRecord<'_>) -> Option<(&'static [u8], Vec<u8>)>,
) -> Option<(Vec<u8>, bool)> {
    let mut out = Vec::new();
    let mut changed = false;
    for record in PaxRecords::new(content) {
        let record = record.ok()?;
        match change(record) {
            Some((key, value)) => {
                push_record(&mut out, PaxRecord { key, value: &value });
                changed = true;
            }
            None => push_record(&mut out, record),
        }
    }
    Some((out, changed))
}

/// Appends a record, whose length counts its own digits.
pub(super) fn push_record(out: &mut Vec<u8>, record: PaxRecord<'_>) {
    let PaxRecord { key, value } = record;
    let bare = key.len() + value.len() + " =\n".len();
    let mut len = bare + 1;
    while bare + len.to_string().len() != len {
        len = bare + len.to_string().len();
    }
    out.extend_from_slice(len.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        out.extend_from_slice(part);
    }
}

/// A header block with another size.
pub(super) fn with_size(block: &[u8; BLOCK_BYTES], size: usize) -> Option<[u8; BLOCK_BYTES]> {
    let mut block = *block;
    block.get_mut(SIZE)?.copy_from_slice(format!("{size:011o}\0").as_bytes().get(..12)?);
    with_checksum(block)
}

/// A header block with the checksum of what it says now.
pub(super) fn with_checksum(mut block: [u8; BLOCK_BYTES]) -> Option<[u8; BLOCK_BYTES]> {
    block.get_mut(CHECKSUM)?.fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block.get_mut(CHECKSUM)?.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::{Event, Splitter};
    use std::convert::Infallible;

    fn archive(records: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_pax_extensions(records.iter().copied()).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_path("file").unwrap();
        header.set_size(5);
        header.set_cksum();
        archive.append(&header, &b"hello"[..]).unwrap();
        archive.into_inner().unwrap()
    }

    type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

    /// The length of the headers of the only member, and its attributes.
    fn look(archive: &[u8]) -> (usize, Attributes) {
        let mut seen = None;
        let mut sink = |event: Event<'_>| {
            if let Event::Member(member) = event {
                seen = Some((usize::try_from(member.content_offset).unwrap(), member.xattrs.clone()));
            }
            Ok::<(), Infallible>(())
        };
        let mut splitter = Splitter::new();
        splitter.push(archive, &mut sink).unwrap();
        splitter.finish(&mut sink).unwrap();
        seen.unwrap()
    }

    fn to_attribute(record: PaxRecord<'_>) -> Option<(&'static [u8], Vec<u8>)> {
        (record.key == b"OLD.name").then(|| (&b"SCHILY.xattr.user.name"[..], record.value.to_vec()))
    }

    #[test]
    fn a_changed_record_is_read_as_what_it_is_now() {
        for len in [0, 1, 75, 76, 77, 441, 442, 470, 480, 490, 500, 512, 968, 5000] {
            let value: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let old = archive(&[("SCHILY.xattr.user.a", b"\0=\n"), ("OLD.name", &value), ("comment", b"kept")]);
            let (headers, _) = look(&old);
            let new = change_records(&old[..headers], to_attribute).unwrap();
            let (new_headers, attributes) = look(&[&new, &old[headers..]].concat());
            assert_eq!(new_headers, new.len());
            let expected = [(b"user.a".to_vec(), b"\0=\n".to_vec()), (b"user.name".to_vec(), value)];
            assert_eq!(attributes, expected);
            assert!(new.windows(13).any(|part| part == b" comment=kept"));
        }
    }

    #[test]
    fn other_headers_stay_as_they_are() {
        let old = archive(&[("SCHILY.xattr.user.a", b"x")]);
        let (headers, _) = look(&old);
        assert_eq!(change_records(&old[..headers], to_attribute), None);
        assert_eq!(change_records(&old[headers - 512..headers], to_attribute), None);
        assert_eq!(change_records(&[7; 700], to_attribute), None);
    }

    #[test]
    fn a_record_that_cannot_be_read_keeps_all_as_they_are() {
        let mut old = archive(&[("OLD.name", b"value"), ("comment", b"text")]);
        let (headers, _) = look(&old);
        let at = old.windows(7).position(|part| part == b"comment").unwrap();
        old[at - 1] = b'x';
        assert_eq!(change_records(&old[..headers], to_attribute), None);
    }
}
