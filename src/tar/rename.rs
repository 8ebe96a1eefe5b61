//! The headers of one member under another path, and those of a member that is made anew.
//!
//! Knows the form of headers only: which member is to be called what is the caller's. Everything that a header says
//! besides its names stays: numbers, attributes, a size that only a PAX record can hold. A name goes into the header
//! block where it fits there, and else, as any bytes, into a PAX record.

use super::header::{BLOCK_BYTES, ExtensionKind, Header, Role};
use super::pax::{PaxRecord, PaxRecords};
use super::records::{push_record, with_checksum, with_size};

/// Where a header has its names and numbers, see `format-spec/splitting.md`.
const NAME: std::ops::Range<usize> = 0..100;
const MODE: std::ops::Range<usize> = 100..108;
const UID: std::ops::Range<usize> = 108..116;
const GID: std::ops::Range<usize> = 116..124;
const SIZE: std::ops::Range<usize> = 124..136;
const MTIME: std::ops::Range<usize> = 136..148;
const TYPEFLAG: usize = 156;
const LINK: std::ops::Range<usize> = 157..257;
const MAGIC: std::ops::Range<usize> = 257..265;
const PREFIX: std::ops::Range<usize> = 345..500;

/// The longest name that stands in a header block itself.
const NAME_BYTES_MAX: usize = 100;
/// The largest number in eleven octal digits: sizes and times.
const OCTAL_11_MAX: u64 = 0o777_7777_7777;

/// Gives a member another path and link target. `headers` is all that the splitter gave out between the member's
/// [`super::Event::Boundary`] and its [`super::Event::Member`]. `None` for headers that cannot be read, or whose names
/// mean something else: those of sparse files in PAX form.
pub fn rename_member(headers: &[u8], path: &[u8], link: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut own_block, mut records) = (None, Vec::new());
    let mut rest = headers;
    let block = loop {
        let (block, after) = rest.split_first_chunk::<BLOCK_BYTES>()?;
        let header = Header::decode(block).ok()?;
        let Role::Extension(kind) = header.role else { break block };
        let len = usize::try_from(header.size).ok()?;
        let (content, _) = after.split_at_checked(len)?;
        let (_, behind) = after.split_at_checked(len.next_multiple_of(BLOCK_BYTES))?;
        match kind {
            ExtensionKind::Pax => {
                own_block = Some(block);
                records = PaxRecords::new(content).collect::<Result<Vec<_>, _>>().ok()?;
            }
            ExtensionKind::PaxGlobal => out.extend_from_slice(rest.get(..rest.len() - behind.len())?),
            // They say the names alone.
            ExtensionKind::LongPath | ExtensionKind::LongLink => {}
        }
        rest = behind;
    };
    if records.iter().any(|record| record.key.starts_with(b"GNU.sparse.")) {
        return None;
    }
    records.retain(|record| record.key != b"path" && record.key != b"linkpath");
    let mut content = Vec::new();
    for (key, name) in [(&b"path"[..], path), (b"linkpath", link)] {
        if !fits(name) {
            push_record(&mut content, PaxRecord { key, value: name });
        }
    }
    for record in records {
        push_record(&mut content, record);
    }
    if !content.is_empty() {
        let fresh = new_block(b"PaxHeaders.0/member", b'x', 0, 0, 0)?;
        out.extend_from_slice(&with_size(own_block.unwrap_or(&fresh), content.len())?);
        out.extend_from_slice(&content);
        out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    out.extend_from_slice(&with_names(block, path, link)?);
    // The map of an old GNU sparse file.
    out.extend_from_slice(rest.get(BLOCK_BYTES..)?);
    Some(out)
}

/// The header of a new file of root's. `None` for a path or a number that takes more than a plain header.
pub fn new_file_header(path: &[u8], mode: u32, mtime_seconds: i64, size: u64) -> Option<[u8; BLOCK_BYTES]> {
    let mtime = u64::try_from(mtime_seconds).unwrap_or(0).min(OCTAL_11_MAX);
    if !fits(path) || path.is_empty() || mode > 0o7777 || size > OCTAL_11_MAX {
        return None;
    }
    new_block(path, b'0', mode, mtime, size)
}

/// Whether a name stands in a header block as it is.
fn fits(name: &[u8]) -> bool {
    name.len() <= NAME_BYTES_MAX && name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
}

fn new_block(name: &[u8], typeflag: u8, mode: u32, mtime: u64, size: u64) -> Option<[u8; BLOCK_BYTES]> {
    let mut block = [0; BLOCK_BYTES];
    block.get_mut(..name.len())?.copy_from_slice(name);
    block.get_mut(MODE)?.copy_from_slice(format!("{mode:07o}\0").as_bytes());
    block.get_mut(UID)?.copy_from_slice(b"0000000\0");
    block.get_mut(GID)?.copy_from_slice(b"0000000\0");
    block.get_mut(SIZE)?.copy_from_slice(format!("{size:011o}\0").as_bytes());
    block.get_mut(MTIME)?.copy_from_slice(format!("{mtime:011o}\0").as_bytes());
    *block.get_mut(TYPEFLAG)? = typeflag;
    block.get_mut(MAGIC)?.copy_from_slice(b"ustar\x0000");
    with_checksum(block)
}

/// A member's block with other names. One that stands in a record is here as far as a reader without records could use
/// it.
fn with_names(block: &[u8; BLOCK_BYTES], path: &[u8], link: &[u8]) -> Option<[u8; BLOCK_BYTES]> {
    let mut block = *block;
    for (field, name) in [(NAME, path), (LINK, link)] {
        let field = block.get_mut(field)?;
        field.fill(0);
        for (to, from) in field.iter_mut().zip(name) {
            *to = if from.is_ascii_graphic() || *from == b' ' { *from } else { b'_' };
        }
    }
    if block.get(MAGIC)?.starts_with(b"ustar\0") {
        // The whole path stands before; in other headers something else is here.
        block.get_mut(PREFIX)?.fill(0);
    }
    with_checksum(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::{Event, Member, Splitter};
    use std::convert::Infallible;

    /// The only member, and the length of its headers.
    fn look(archive: &[u8]) -> (Member, usize) {
        let mut seen = None;
        let mut splitter = Splitter::new();
        let mut sink = |event: Event<'_>| {
            if let Event::Member(member) = event {
                seen = Some(member.clone());
            }
            Ok::<(), Infallible>(())
        };
        splitter.push(archive, &mut sink).unwrap();
        let member = seen.unwrap();
        let len = usize::try_from(member.content_offset).unwrap();
        (member, len)
    }

    fn member(name: &str, link: &str, kind: tar::EntryType, records: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_pax_extensions(records.iter().copied()).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        if !link.is_empty() {
            header.set_link_name(link).unwrap();
        }
        header.set_entry_type(kind);
        header.set_mode(0o4755);
        header.set_uid(100_007);
        header.set_mtime(1_700_000_000);
        header.set_cksum();
        archive.append(&header, &[][..]).unwrap();
        archive.into_inner().unwrap()
    }

    #[test]
    fn a_renamed_member_is_what_it_was_under_another_name() {
        let long = "l".repeat(101);
        let deep = format!("{}/{}", "p".repeat(150), "n".repeat(90));
        let attribute = ("SCHILY.xattr.user.a", &b"\0=\n"[..]);
        let kinds = [
            member("a", "", tar::EntryType::Regular, &[attribute]),
            member(&deep, "a/target", tar::EntryType::Link, &[]),
            member("a", "", tar::EntryType::Symlink, &[("linkpath", &[0xff; 300]), ("path", &[0xfe; 200])]),
            member("a", "", tar::EntryType::Directory, &[("mtime", b"-12.5"), attribute]),
        ];
        for archive in kinds {
            let (before, len) = look(&archive);
            for path in [b"b".to_vec(), long.clone().into_bytes(), b"\xffbad\nname".to_vec(), vec![b'x'; 100]] {
                for link in [before.link.clone(), b"other".to_vec(), vec![0xc3; 400]] {
                    let headers = rename_member(&archive[..len], &path, &link).unwrap();
                    assert_eq!(headers.len() % BLOCK_BYTES, 0);
                    let (after, _) = look(&[&headers, &archive[len..]].concat());
                    let expected =
                        Member { path: path.clone(), link, content_offset: headers.len() as u64, ..before.clone() };
                    assert_eq!(after, expected);
                }
            }
        }
    }

    #[test]
    fn a_size_that_only_a_record_holds_stays() {
        let archive = member("a", "", tar::EntryType::Regular, &[("size", b"9000000000")]);
        let (_, len) = look(&archive);
        let headers = rename_member(&archive[..len], b"b", b"").unwrap();
        assert_eq!(look(&headers).0.size, 9_000_000_000);
    }

    #[test]
    fn what_gnu_tar_says_of_names_goes_and_what_is_said_of_all_stays() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        archive.append_data(&mut header, "n".repeat(300), &[][..]).unwrap();
        let gnu = archive.into_inner().unwrap();
        let mut global = new_block(b"g", b'g', 0, 0, 0).unwrap();
        global = with_size(&global, 11).unwrap();
        let mut content = b"11 uid=777\n".to_vec();
        content.resize(BLOCK_BYTES, 0);
        let all = [&global[..], &content, &gnu].concat();
        let (before, _) = look(&all);
        assert_eq!((before.path.len(), before.uid), (300, 777));
        let len = usize::try_from(look(&gnu).0.content_offset).unwrap();
        let headers = rename_member(&[&global[..], &content, &gnu[..len]].concat(), b"b", b"").unwrap();
        let (after, _) = look(&headers);
        assert_eq!((after.path, after.uid, headers.len()), (b"b".to_vec(), 777, 3 * BLOCK_BYTES));
    }

    #[test]
    fn headers_that_cannot_be_understood_are_not_renamed() {
        let sparse = member("a", "", tar::EntryType::Regular, &[("GNU.sparse.name", b"real")]);
        let (_, len) = look(&sparse);
        assert_eq!(rename_member(&sparse[..len], b"b", b""), None);
        assert_eq!(rename_member(&[7; 1024], b"b", b""), None);
        assert_eq!(rename_member(&sparse[..len - BLOCK_BYTES], b"b", b""), None);
        assert_eq!(rename_member(&[], b"b", b""), None);
    }

    #[test]
    fn a_new_file_is_read_as_one_of_roots() {
        let header = new_file_header(b"backup/index.yaml", 0o644, 1_700_000_000, 5).unwrap();
        let (member, _) = look(&header);
        assert_eq!((member.path.as_slice(), member.size, member.mode), (&b"backup/index.yaml"[..], 5, 0o644));
        assert_eq!((member.uid, member.gid, member.mtime_seconds), (0, 0, 1_700_000_000));
        assert_eq!(new_file_header(&[b'x'; 101], 0o644, 0, 0), None);
        assert_eq!(look(&new_file_header(b"a", 0, -5, 0).unwrap()).0.mtime_seconds, 0);
    }
}
