//! Tar streams: what is file content, what is everything else, and what the headers say (`format-spec/splitting.md`).
//!
//! [`Splitter`] is a push machine: bytes in, [`Event`]s out. It does no IO, knows no chunks, recipes or daemons, and
//! is byte-exact for any input: the bytes of its events, in order, are the bytes that were pushed. What does not
//! parse as tar from some byte on is one opaque payload. Its memory is bounded by constants in [`crate::limits`], and
//! its events do not depend on how the input was cut into pieces, except for where runs of the same event are divided.
//! There is no joiner type: to join is to write the bytes of each event.

mod header;
mod pax;
mod records;
mod rename;
mod splitter;
mod zeros;

#[cfg(test)]
mod tests;

use std::fmt;

pub use header::{BLOCK_BYTES, ExtensionKind, Header, HeaderError, ID_UNKNOWN, MemberKind, Role};
pub use pax::{PaxError, PaxRecord, PaxRecords};
pub use records::change_records;
pub use rename::{new_file_header, rename_member};
pub use splitter::{Ending, Place, Splitter};

/// One step of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The next byte begins a member: its first extension or its own header block. A consumer may cut here.
    Boundary,
    /// Bytes that are no file content: headers, extension records, padding, end blocks.
    Envelope(&'a [u8]),
    /// The headers of a member are complete, and their bytes were given already; its content follows.
    Member(&'a Member),
    /// Content shorter than [`crate::limits::PAYLOAD_BYTES_MIN`]: stored with the envelope, but file content.
    Inline(&'a [u8]),
    /// Content of at least [`crate::limits::PAYLOAD_BYTES_MIN`] begins, or an opaque rest of a block or more.
    PayloadStart {
        /// Its length in bytes by the headers; `None` for an opaque rest.
        len: Option<u64>,
    },
    /// Bytes of the payload.
    Payload(&'a [u8]),
    /// A maximal run of this many zero bytes, at least [`crate::limits::ZERO_RUN_BYTES_MIN`], inside one payload.
    Zeros(u64),
    /// The payload is over: complete, or cut off with the stream.
    PayloadEnd,
}

/// What the headers of one member say, extension records counted in.
///
/// Everything here comes from the stream and is as trustworthy as that: a path may be absolute or hold `..`, and the
/// text is raw bytes of at most [`crate::limits::TAR_EXTENSION_BYTES_MAX`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// Full path as stored; a directory's may or may not end with a slash.
    pub path: Vec<u8>,
    /// Target of a hard or symbolic link; empty otherwise.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: MemberKind,
    /// Bytes of content that follow in the stream. Kinds without content have 0, whatever their header says.
    pub size: u64,
    /// Permission bits as stored, which some writers mix with the file type.
    pub mode: u32,
    /// Owner; [`ID_UNKNOWN`] where the field holds no number.
    pub uid: u64,
    /// Group; [`ID_UNKNOWN`] where the field holds no number.
    pub gid: u64,
    /// Modification time in whole seconds since 1970, rounded down.
    pub mtime_seconds: i64,
    /// Nanoseconds past [`Self::mtime_seconds`], below one billion.
    pub mtime_nanos: u32,
    /// Major number of a device.
    pub device_major: u32,
    /// Minor number of a device.
    pub device_minor: u32,
    /// Extended attributes in the order stored, name without `SCHILY.xattr.` and raw value; of two with one name the
    /// later counts. Access control lists that stand in records `SCHILY.acl.*` with the kernel's bytes, as LXD writes
    /// them, are here under the kernel's names.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Stream offset of the member's [`Event::Boundary`].
    pub offset: u64,
    /// Stream offset of its content.
    pub content_offset: u64,
}

impl Member {
    /// The path for people.
    pub fn display_path(&self) -> impl fmt::Display + '_ {
        display(&self.path)
    }
}

/// A path for people: what is not UTF-8 is replaced and control characters are escaped, so that a name from a stream
/// cannot steer a terminal. Never parsed back.
pub fn display(path: &[u8]) -> impl fmt::Display + '_ {
    DisplayPath(path)
}

struct DisplayPath<'a>(&'a [u8]);

impl fmt::Display for DisplayPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in String::from_utf8_lossy(self.0).chars() {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}
