//! PAX records, and what the extensions before a member say about it (`format-spec/splitting.md`, "Extensions").
//!
//! Records are taken by their length prefix from raw bytes, because values may hold newlines and NULs. Knows no blocks:
//! the splitter hands over the whole content of one extension.

use super::header::{ExtensionKind, until_nul};

/// Prefix of the key of an extended attribute.
const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// What the kernel's form of an access control list begins with: version 2, little-endian. Other writers put text.
const ACL_VERSION: &[u8] = &[2, 0, 0, 0];

/// The attribute that an access control list is on a disk, if this is the key of one.
fn list_name(key: &[u8]) -> Option<&'static [u8]> {
    match key {
        b"SCHILY.acl.access" => Some(b"system.posix_acl_access"),
        b"SCHILY.acl.default" => Some(b"system.posix_acl_default"),
        _ => None,
    }
}

/// One `LENGTH KEY=VALUE\n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaxRecord<'a> {
    /// What stands before the first `=`; never empty.
    pub key: &'a [u8],
    /// What follows, without the final newline: any bytes.
    pub value: &'a [u8],
}

/// Bytes that are no PAX record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The extended header at its byte {offset} holds no record")]
pub struct PaxError {
    /// Offset in the content of the extension.
    pub offset: usize,
}

/// The records of an extended header, in order. Ends after the first error.
#[derive(Debug, Clone)]
pub struct PaxRecords<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> PaxRecords<'a> {
    /// Reads the content of an `x` or `g` member, without its padding.
    pub fn new(content: &'a [u8]) -> Self {
        Self { rest: content, offset: 0 }
    }
}

impl<'a> Iterator for PaxRecords<'a> {
    type Item = Result<PaxRecord<'a>, PaxError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((record, rest)) = split_record(self.rest) else {
            self.rest = &[];
            return Some(Err(PaxError { offset: self.offset }));
        };
        self.offset += self.rest.len() - rest.len();
        self.rest = rest;
        Some(Ok(record))
    }
}

fn split_record(bytes: &[u8]) -> Option<(PaxRecord<'_>, &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let len = usize::try_from(decimal(bytes.get(..space)?)?).ok()?;
    let (record, rest) = bytes.split_at_checked(len)?;
    let (b'\n', text) = record.get(space + 1..)?.split_last()? else { return None };
    let equals = text.iter().position(|byte| *byte == b'=').filter(|equals| *equals > 0)?;
    let (key, value) = text.split_at(equals);
    Some((PaxRecord { key, value: value.get(1..)? }, rest))
}

/// Decimal digits and nothing else, as a number that fits.
fn decimal(digits: &[u8]) -> Option<u64> {
    let (first, rest) = digits.split_first()?;
    rest.iter().try_fold(digit(*first)?, |number, byte| number.checked_mul(10)?.checked_add(digit(*byte)?))
}

fn digit(byte: u8) -> Option<u64> {
    byte.is_ascii_digit().then(|| u64::from(byte - b'0'))
}

/// A time as PAX writes it, `-12.75`: seconds rounded down, and nanoseconds past them.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    let mut nanos = 0_u32;
    for place in 0..9 {
        nanos = nanos * 10 + u32::try_from(digit(*fraction.get(place).unwrap_or(&b'0'))?).ok()?;
    }
    match (negative, nanos) {
        (false, _) => Some((seconds, nanos)),
        (true, 0) => Some((-seconds, 0)),
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanos)),
    }
}

/// What extension records say about the length of the content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum SizeRecord {
    /// Nothing.
    #[default]
    Absent,
    /// This many bytes.
    Bytes(u64),
    /// Something that is not a number, so that nobody can tell where the content ends.
    Unreadable,
}

/// The values of one extended header that this program understands.
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: SizeRecord,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<(i64, u32)>,
    pub device_major: Option<u32>,
    pub device_minor: Option<u32>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The real path of a sparse file, whose `path` names a stand-in.
    pub sparse_path: Option<Vec<u8>>,
    /// Whether the content is the packed form of a sparse file.
    pub sparse: bool,
}

impl Values {
    /// Reads records up to the first malformed one, as readers do that warn and go on. An empty value says nothing.
    fn parse(content: &[u8]) -> Self {
        let mut values = Self::default();
        for PaxRecord { key, value } in PaxRecords::new(content).map_while(Result::ok) {
            if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                values.xattrs.push((name.to_vec(), value.to_vec()));
            } else if let Some(name) = list_name(key).filter(|_| value.starts_with(ACL_VERSION)) {
                values.xattrs.push((name.to_vec(), value.to_vec()));
            } else if !value.is_empty() {
                values.set(key, value);
            }
        }
        values
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        let number = |kept: Option<u64>| decimal(value).or(kept);
        let small = |kept: Option<u32>| decimal(value).and_then(|number| u32::try_from(number).ok()).or(kept);
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = decimal(value).map_or(SizeRecord::Unreadable, SizeRecord::Bytes),
            b"uid" => self.uid = number(self.uid),
            b"gid" => self.gid = number(self.gid),
            b"mtime" => self.mtime = time(value).or(self.mtime),
            b"SCHILY.devmajor" => self.device_major = small(self.device_major),
            b"SCHILY.devminor" => self.device_minor = small(self.device_minor),
            b"GNU.sparse.name" => self.sparse_path = Some(value.to_vec()),
            _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            _ => {}
        }
    }

    /// The numbers alone. Of a global header nothing else counts: no writer gives all members one path or attribute,
    /// and to copy a large one for each of a million members would take hours.
    fn numbers(&self) -> Self {
        Self {
            size: self.size,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            device_major: self.device_major,
            device_minor: self.device_minor,
            ..Self::default()
        }
    }

    /// Takes the numbers of `other` where these values say nothing.
    fn fill_numbers(&mut self, other: &Self) {
        if self.size == SizeRecord::Absent {
            self.size = other.size;
        }
        self.uid = self.uid.or(other.uid);
        self.gid = self.gid.or(other.gid);
        self.mtime = self.mtime.or(other.mtime);
        self.device_major = self.device_major.or(other.device_major);
        self.device_minor = self.device_minor.or(other.device_minor);
    }
}

/// The extensions that count for the next member.
#[derive(Debug, Clone, Default)]
pub(super) struct Extensions {
    /// The numbers of the last `g`, until another comes.
    global: Option<Box<Values>>,
    /// Of the last `x` before the member.
    own: Option<Box<Values>>,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl Extensions {
    /// Takes the whole content of an extension. Of several of one kind the last counts.
    pub(super) fn absorb(&mut self, kind: ExtensionKind, content: &[u8]) {
        match kind {
            ExtensionKind::Pax => self.own = Some(Box::new(Values::parse(content))),
            ExtensionKind::PaxGlobal => self.global = Some(Box::new(Values::parse(content).numbers())),
            ExtensionKind::LongPath => self.long_path = Some(until_nul(content).to_vec()),
            ExtensionKind::LongLink => self.long_link = Some(until_nul(content).to_vec()),
        }
    }

    /// Whether a global header counts.
    pub(super) fn has_global(&self) -> bool {
        self.global.is_some()
    }

    /// What counts for the member whose header comes now; `None`, cheaply, if nothing does. Only global values stay.
    pub(super) fn take(&mut self) -> Option<Values> {
        let own = self.own.take();
        let (long_path, long_link) = (self.long_path.take(), self.long_link.take());
        if own.is_none() && self.global.is_none() && long_path.is_none() && long_link.is_none() {
            return None;
        }
        let mut values = own.map_or_else(Values::default, |own| *own);
        if let Some(global) = &self.global {
            values.fill_numbers(global);
        }
        values.path = values.sparse_path.take().or(values.path).or(long_path);
        values.link = values.link.or(long_link);
        Some(values)
    }

    /// The path that is known for the next member, for a message about a stream that ends before its header.
    pub(super) fn path(&self) -> &[u8] {
        let own = self.own.as_ref().and_then(|own| own.sparse_path.as_ref().or(own.path.as_ref()));
        own.or(self.long_path.as_ref()).map_or(&[], Vec::as_slice)
    }
}
