//! Access control lists and file capabilities in the form that every daemon's import understands.
//!
//! LXD and Incus export the files of a container with the ids that they have on its disk, which may be shifted into
//! the container's range of the host, but the ids inside these two attributes unshifted; and LXD 5.0 writes a list as a
//! record `SCHILY.acl.*` with the kernel's bytes, where GNU tar, with which the daemons unpack, looks for text, if at
//! all. So a shifted container comes back with lists of other users, or none, and with capabilities that have no
//! effect, even on the server that exported it. A restore puts the attributes that they were on the disk in their
//! place. What is stored, and what `export` writes, stays as it was received.

use std::io::{self, Write};

use serde::Deserialize;

use crate::tar::{Event, Member, PaxRecord, Splitter, change_records};

/// What the kernel's form of a list begins with: version 2, little-endian.
const ACL_VERSION: &[u8] = &[2, 0, 0, 0];
/// Length of an entry in the kernel's form of a list: tag, permissions, id.
const ACL_ENTRY_BYTES: usize = 8;
/// Tags of the entries with an id: a named user, a named group.
const ACL_USER: u8 = 0x02;
const ACL_GROUP: u8 = 0x08;
/// Length of a file capability of version 3, whose last four bytes are the user that is root where it counts.
const CAPABILITY_3_BYTES: usize = 24;

static ZEROS: [u8; 4096] = [0; 4096];

/// Which ids of the host the ids of a container are, as `volatile.last_state.idmap` has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct IdMap(Vec<IdRange>);

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IdRange {
    isuid: bool,
    isgid: bool,
    hostid: u32,
    nsid: u32,
    maprange: u32,
}

impl IdMap {
    /// Reads the value of the key; one that cannot be read maps nothing.
    pub(super) fn parse(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }

    /// A container whose root is this user and group, and whose other ids follow.
    fn from_root(uid: u32, gid: u32) -> Self {
        let range = |isuid, hostid| IdRange { isuid, isgid: !isuid, hostid, nsid: 0, maprange: u32::MAX };
        Self(vec![range(true, uid), range(false, gid)])
    }

    fn user(&self, id: u32) -> u32 {
        self.map(id, |range| range.isuid)
    }

    fn group(&self, id: u32) -> u32 {
        self.map(id, |range| range.isgid)
    }

    /// The id on the host; one that the container does not have stays.
    fn map(&self, id: u32, applies: impl Fn(&IdRange) -> bool) -> u32 {
        let mut ranges = self.0.iter().filter(|range| applies(range));
        let found = ranges.find_map(|range| {
            let at = id.checked_sub(range.nsid).filter(|at| *at < range.maprange)?;
            range.hostid.checked_add(at)
        });
        found.unwrap_or(id)
    }
}

/// A writer that hands the export of a container on with attributes as they are on a disk. Anything but tar, and
/// anything else in a tar, passes as it is. After an error it has lost its place and must be dropped.
pub(super) struct AttributesAsOnDisk<W> {
    splitter: Splitter,
    out: Joiner<W>,
}

struct Joiner<W> {
    inner: W,
    /// Headers of a member that are not complete yet.
    headers: Option<Vec<u8>>,
    /// Maps that the container or its snapshots are known to have had.
    known: Vec<IdMap>,
    /// That of the tree which is passing.
    ids: IdMap,
}

impl<W: Write> AttributesAsOnDisk<W> {
    /// `known` are the maps of the container and its snapshots, as far as they are known; they count where they agree
    /// with the owner of the tree. Without one, a tree's ids are taken to follow that of its root.
    pub(super) fn new(known: Vec<IdMap>, inner: W) -> Self {
        Self { splitter: Splitter::new(), out: Joiner { inner, headers: None, known, ids: IdMap::default() } }
    }

    /// Ends the stream, and gives the inner writer back.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.splitter.finish(&mut |event| self.out.event(event))?;
        self.out.pass_headers()?;
        Ok(self.out.inner)
    }
}

impl<W: Write> Write for AttributesAsOnDisk<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.splitter.push(bytes, &mut |event| self.out.event(event))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.inner.flush()
    }
}

impl<W: Write> Joiner<W> {
    fn event(&mut self, event: Event<'_>) -> io::Result<()> {
        match event {
            Event::Boundary => {
                self.pass_headers()?;
                self.headers = Some(Vec::new());
                Ok(())
            }
            Event::Envelope(bytes) => match &mut self.headers {
                Some(headers) => {
                    headers.extend_from_slice(bytes);
                    Ok(())
                }
                None => self.inner.write_all(bytes),
            },
            Event::Member(member) => {
                self.enter(member);
                let headers = self.headers.take().unwrap_or_default();
                let changed = change_records(&headers, |record| {
                    on_disk(record, &self.ids)
                        .filter(|(key, value)| (*key, value.as_slice()) != (record.key, record.value))
                });
                self.inner.write_all(changed.as_deref().unwrap_or(&headers))
            }
            Event::Inline(bytes) | Event::Payload(bytes) => {
                self.pass_headers()?;
                self.inner.write_all(bytes)
            }
            Event::Zeros(mut len) => {
                while len > 0 {
                    let now = usize::try_from(len).unwrap_or(ZEROS.len()).min(ZEROS.len());
                    self.inner.write_all(ZEROS.get(..now).unwrap_or_default())?;
                    len -= now as u64;
                }
                Ok(())
            }
            // What turned out to be no header is handed on before the payload that it belongs to.
            Event::PayloadStart { .. } => self.pass_headers(),
            Event::PayloadEnd => Ok(()),
        }
    }

    /// The root of a container's tree tells by its owner how its ids are shifted.
    fn enter(&mut self, member: &Member) {
        let Some(volume) = member.path.strip_prefix(b"backup/").and_then(|path| path.strip_suffix(b"/rootfs")) else {
            return;
        };
        let is_tree = volume == b"container"
            || volume.strip_prefix(b"snapshots/").is_some_and(|snapshot| !snapshot.contains(&b'/'));
        if let (true, Ok(uid), Ok(gid)) = (is_tree, u32::try_from(member.uid), u32::try_from(member.gid)) {
            let known = self.known.iter().find(|ids| (ids.user(0), ids.group(0)) == (uid, gid));
            self.ids = known.cloned().unwrap_or_else(|| IdMap::from_root(uid, gid));
        }
    }

    /// Writes headers that no member followed.
    fn pass_headers(&mut self) -> io::Result<()> {
        match self.headers.take() {
            Some(headers) => self.inner.write_all(&headers),
            None => Ok(()),
        }
    }
}

/// A record as the attribute that it is on a disk; `None` if it says so already, or something else.
fn on_disk(record: PaxRecord<'_>, ids: &IdMap) -> Option<(&'static [u8], Vec<u8>)> {
    match record.key {
        b"SCHILY.acl.access" | b"SCHILY.xattr.system.posix_acl_access" => {
            Some((b"SCHILY.xattr.system.posix_acl_access", acl_on_disk(record.value, ids)?))
        }
        b"SCHILY.acl.default" | b"SCHILY.xattr.system.posix_acl_default" => {
            Some((b"SCHILY.xattr.system.posix_acl_default", acl_on_disk(record.value, ids)?))
        }
        b"SCHILY.xattr.security.capability" => {
            Some((b"SCHILY.xattr.security.capability", capability_on_disk(record.value, ids)?))
        }
        _ => None,
    }
}

/// Text, as other writers of archives put it, is left to those who read it.
fn acl_on_disk(list: &[u8], ids: &IdMap) -> Option<Vec<u8>> {
    let entries = list.strip_prefix(ACL_VERSION).filter(|entries| entries.len() % ACL_ENTRY_BYTES == 0)?;
    let mut shifted = ACL_VERSION.to_vec();
    for entry in entries.chunks_exact(ACL_ENTRY_BYTES) {
        let (kind, id) = entry.split_last_chunk()?;
        let id = u32::from_le_bytes(*id);
        let id = match kind.first() {
            Some(&ACL_USER) => ids.user(id),
            Some(&ACL_GROUP) => ids.group(id),
            _ => id,
        };
        shifted.extend_from_slice(kind);
        shifted.extend_from_slice(&id.to_le_bytes());
    }
    Some(shifted)
}

/// The kernel hands out one whose root is the host's own as version 2, so a version 3 that says so was unshifted.
fn capability_on_disk(capability: &[u8], ids: &IdMap) -> Option<Vec<u8>> {
    let (rest, root) = capability.split_last_chunk()?;
    let is_unshifted = capability.len() == CAPABILITY_3_BYTES && rest.get(3) == Some(&3) && *root == [0; 4];
    is_unshifted.then(|| [rest, &ids.user(0).to_le_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Found = (Vec<u8>, Vec<u8>, Vec<(String, Vec<u8>)>);

    fn archive(owner: u64, records: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut append = |name: &str, content: &[u8]| {
            archive.append_pax_extensions(records.iter().copied()).unwrap();
            let mut header = tar::Header::new_ustar();
            header.set_path(name).unwrap();
            header.set_uid(owner);
            header.set_gid(owner);
            header.set_size(content.len() as u64);
            header.set_cksum();
            archive.append(&header, content).unwrap();
        };
        append("backup/container/rootfs", &[]);
        append("small", b"hello");
        append("large", &vec![0; 70_000]);
        archive.into_inner().unwrap()
    }

    fn rewritten_with(known: Vec<IdMap>, stream: &[u8], piece: usize) -> Vec<u8> {
        let mut out = AttributesAsOnDisk::new(known, Vec::new());
        for piece in stream.chunks(piece) {
            out.write_all(piece).unwrap();
        }
        out.finish().unwrap()
    }

    fn rewritten(stream: &[u8], piece: usize) -> Vec<u8> {
        rewritten_with(Vec::new(), stream, piece)
    }

    fn found(archive: &[u8]) -> Vec<Found> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            io::Read::read_to_end(&mut entry, &mut content).unwrap();
            let mut records = Vec::new();
            for record in entry.pax_extensions().unwrap().into_iter().flatten() {
                let record = record.unwrap();
                records.push((record.key().unwrap().to_owned(), record.value_bytes().to_vec()));
            }
            (entry.path_bytes().into_owned(), content, records)
        });
        entries.collect()
    }

    fn acl(user: u32, group: u32) -> Vec<u8> {
        let entry = |tag: u8, id: u32| [&[tag, 0, 7, 0][..], &id.to_le_bytes()].concat();
        [ACL_VERSION.to_vec(), entry(1, u32::MAX), entry(2, user), entry(8, group), entry(32, u32::MAX)].concat()
    }

    fn capability(version: u8, root: &[u8]) -> Vec<u8> {
        [&[1, 0, 0, version, 0, 0x20][..], &[0; 14], root].concat()
    }

    #[test]
    fn what_lxd_unshifted_is_as_on_its_disk_again() {
        let (before, after) = (capability(3, &[0; 4]), capability(3, &100_000_u32.to_le_bytes()));
        let before =
            archive(100_000, &[("SCHILY.acl.default", &acl(7, 3000)), ("SCHILY.xattr.security.capability", &before)]);
        let after = archive(
            100_000,
            &[
                ("SCHILY.xattr.system.posix_acl_default", &acl(100_007, 103_000)),
                ("SCHILY.xattr.security.capability", &after),
            ],
        );
        for piece in [1, 511, 4096, before.len()] {
            assert_eq!(found(&rewritten(&before, piece)), found(&after));
        }
    }

    #[test]
    fn what_incus_unshifted_is_as_on_its_disk_again() {
        let list = |key: &str, list: &[u8], owner| archive(owner, &[(key, list)]);
        for key in ["SCHILY.xattr.system.posix_acl_access", "SCHILY.xattr.system.posix_acl_default"] {
            let before = list(key, &acl(7, 3000), 1_000_000);
            assert_eq!(found(&rewritten(&before, 999)), found(&list(key, &acl(1_000_007, 1_003_000), 1_000_000)));
            let unshifted = list(key, &acl(7, 3000), 0);
            assert!(rewritten(&unshifted, 999) == unshifted, "where nothing is shifted it is so already");
        }
    }

    #[test]
    fn a_map_that_is_known_counts_where_it_agrees_with_the_tree() {
        let json = r#"[{"Isuid":true,"Isgid":false,"Hostid":1000000,"Nsid":0,"Maprange":1000},
            {"Isuid":true,"Isgid":true,"Hostid":33,"Nsid":3000,"Maprange":1},
            {"Isuid":false,"Isgid":true,"Hostid":1000000,"Nsid":0,"Maprange":1000}]"#;
        let list = |list: &[u8], owner| {
            let stream = archive(owner, &[("SCHILY.acl.access", list)]);
            let all = found(&rewritten_with(vec![IdMap::parse("[]"), IdMap::parse(json)], &stream, 4096));
            all[1].2[0].1.clone()
        };
        assert_eq!(list(&acl(7, 3000), 1_000_000), acl(1_000_007, 33));
        assert_eq!(list(&acl(3000, 4000), 1_000_000), acl(33, 4000));
        assert_eq!(list(&acl(7, 3000), 500), acl(507, 3500));
        assert_eq!(list(&acl(7, 3000), 0), acl(7, 3000));
    }

    #[test]
    fn everything_else_passes_byte_for_byte() {
        let text = archive(100_000, &[("SCHILY.acl.access", b"user::rwx\ngroup::r-x\nother::r-x\n")]);
        let strange = archive(100_000, &[("SCHILY.acl.access", &acl(1, 2)[..19])]);
        let shifted = capability(3, &[0xa0, 0x86, 1, 0]);
        let incus = archive(
            100_000,
            &[
                ("SCHILY.xattr.security.capability", &shifted),
                ("SCHILY.xattr.system.posix_acl_access", &acl(u32::MAX, u32::MAX)),
            ],
        );
        let host = archive(100_000, &[("SCHILY.xattr.security.capability", &capability(2, &[]))]);
        let noise: Vec<u8> = (0..100_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        let plain = archive(0, &[("comment", b"none")]);
        let followed = [&plain[..], b"more behind the end"].concat();
        for stream in [&text, &strange, &incus, &host, &noise, &plain, &followed, &Vec::new()] {
            assert!(rewritten(stream, 1000) == *stream);
            for cut in [1, 511, 512, 700, 1024, 1500, 1536, 2048, 2600].map(|cut| cut.min(stream.len())) {
                assert!(rewritten(&stream[..cut], 1000) == stream[..cut]);
            }
        }
    }
}
