//! One tar header block: bytes become a checked [`Header`] at this door only (`format-spec/splitting.md`, "Headers").
//!
//! Knows V7, USTAR, star and GNU forms, octal and base-256 numbers, and both ways to sum the block. A block is a header
//! if its checksum is right and its size is a number; all other fields are taken as they are, because a stream is split
//! rightly whatever they hold.

use crate::limits::STREAM_BYTES_MAX;

/// Length of a header, and what contents are padded to, in bytes.
pub const BLOCK_BYTES: usize = 512;

/// Stands for an owner or group whose field holds no number: what `chown` understands as "leave it".
pub const ID_UNKNOWN: u64 = u32::MAX as u64;

/// Why a block is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The sum over the block is not what the block says, or it says nothing.
    #[error("Header block has a wrong checksum")]
    Checksum,
    /// The size is not a number, is negative, or exceeds [`STREAM_BYTES_MAX`].
    #[error("Header block has an unreadable size")]
    Size,
}

/// What a header announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Something about the next member, or about all that follow.
    Extension(ExtensionKind),
    /// A member.
    Member(MemberKind),
}

/// A header that only speaks about others; its content is not file content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtensionKind {
    /// PAX records for the next member (`x`, and `X` of old Solaris).
    Pax,
    /// PAX records for all members that follow (`g`).
    PaxGlobal,
    /// The next member's path (GNU `L`).
    LongPath,
    /// The next member's link target (GNU `K`).
    LongLink,
}

/// What a member is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MemberKind {
    /// A regular file (`0`, NUL, and `7`).
    #[default]
    File,
    /// A sparse file in a packed form (GNU `S`, or PAX records `GNU.sparse.*`): the content is its data without the
    /// holes, in the PAX form 1.0 preceded by a map.
    Sparse,
    /// Another name of an earlier member (`1`). No content.
    HardLink,
    /// A symbolic link (`2`). No content.
    Symlink,
    /// A character device (`3`). No content.
    CharDevice,
    /// A block device (`4`). No content.
    BlockDevice,
    /// A directory (`5`, and an empty file whose name ends with a slash). No content.
    Directory,
    /// A FIFO (`6`). No content.
    Fifo,
    /// Any other type flag, GNU's `D`, `M`, `N` and `V` among them. Has the content that its size says.
    Other(u8),
}

impl MemberKind {
    /// Whether content follows the header. Kinds that cannot have any may still carry a size (a link that of its
    /// target, a directory a quota); GNU tar (links) and Go (all) read on behind the header, and so do we.
    pub fn has_content(self) -> bool {
        matches!(self, Self::File | Self::Sparse | Self::Other(_))
    }
}

/// The fields of a header block, not yet corrected by extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// What it announces.
    pub role: Role,
    /// Directory part of the path, without the slash that joins it; mostly empty.
    pub prefix: &'a [u8],
    /// The path, or what follows the prefix.
    pub name: &'a [u8],
    /// Link target; empty where there is none.
    pub link: &'a [u8],
    /// The size field in bytes, at most [`STREAM_BYTES_MAX`].
    pub size: u64,
    /// Permission bits; 0 where the field holds no number.
    pub mode: u32,
    /// Owner, or [`ID_UNKNOWN`].
    pub uid: u64,
    /// Group, or [`ID_UNKNOWN`].
    pub gid: u64,
    /// Modification time in seconds since 1970; 0 where the field holds no number.
    pub mtime_seconds: i64,
    /// Major number of a device; 0 otherwise.
    pub device_major: u32,
    /// Minor number of a device; 0 otherwise.
    pub device_minor: u32,
    /// Blocks of an old GNU sparse map follow before the content.
    pub map_continues: bool,
}

impl<'a> Header<'a> {
    /// Reads a block.
    pub fn decode(block: &'a [u8; BLOCK_BYTES]) -> Result<Self, HeaderError> {
        check_sum(block)?;
        let fields = Fields::of(block);
        let size = number(fields.size)
            .and_then(|size| u64::try_from(size).ok())
            .filter(|size| *size <= STREAM_BYTES_MAX)
            .ok_or(HeaderError::Size)?;
        let name = until_nul(fields.name);
        let role = role(fields.typeflag, name, size);
        let (device_major, device_minor) = match role {
            Role::Member(MemberKind::CharDevice | MemberKind::BlockDevice) => {
                (small(fields.device_major), small(fields.device_minor))
            }
            _ => (0, 0),
        };
        Ok(Self {
            role,
            prefix: fields.prefix(),
            name,
            link: until_nul(fields.link),
            size,
            mode: small(fields.mode),
            uid: id(fields.uid),
            gid: id(fields.gid),
            mtime_seconds: number(fields.mtime).unwrap_or(0),
            device_major,
            device_minor,
            map_continues: role == Role::Member(MemberKind::Sparse) && fields.is_extended != 0,
        })
    }

    /// Appends the whole path, prefix and all.
    pub fn path_into(&self, path: &mut Vec<u8>) {
        if !self.prefix.is_empty() {
            path.extend_from_slice(self.prefix);
            path.push(b'/');
        }
        path.extend_from_slice(self.name);
    }
}

/// Whether another block of an old GNU sparse map follows this one.
pub(super) fn map_continues(block: &[u8; BLOCK_BYTES]) -> bool {
    block.get(504).is_some_and(|flag| *flag != 0)
}

/// What stands before the first NUL.
pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The fields of a block, as bytes.
struct Fields<'a> {
    name: &'a [u8],
    mode: &'a [u8],
    uid: &'a [u8],
    gid: &'a [u8],
    size: &'a [u8],
    mtime: &'a [u8],
    typeflag: u8,
    link: &'a [u8],
    magic: &'a [u8],
    device_major: &'a [u8],
    device_minor: &'a [u8],
    tail: &'a [u8],
    is_extended: u8,
}

impl<'a> Fields<'a> {
    fn of(block: &'a [u8; BLOCK_BYTES]) -> Self {
        let mut rest = block.as_slice();
        let mut take = |len: usize| {
            let (field, after) = rest.split_at_checked(len).unwrap_or_default();
            rest = after;
            field
        };
        let (name, mode, uid, gid) = (take(100), take(8), take(8), take(8));
        let (size, mtime, _checksum, typeflag, link) = (take(12), take(12), take(8), take(1), take(100));
        let (magic, _users, device_major, device_minor) = (take(8), take(64), take(8), take(8));
        let tail = take(167);
        let byte = |field: &[u8], at: usize| field.get(at).copied().unwrap_or_default();
        Self {
            name,
            mode,
            uid,
            gid,
            size,
            mtime,
            typeflag: byte(typeflag, 0),
            link,
            magic,
            device_major,
            device_minor,
            tail,
            is_extended: byte(tail, 482 - 345),
        }
    }

    /// USTAR has 155 bytes of prefix, star 131; in V7 and GNU headers other things stand there.
    fn prefix(&self) -> &'a [u8] {
        if !self.magic.starts_with(b"ustar\0") {
            return &[];
        }
        let len = if self.tail.get(508 - 345..) == Some(b"tar\0") { 131 } else { 155 };
        until_nul(self.tail.get(..len).unwrap_or_default())
    }
}

fn role(typeflag: u8, name: &[u8], size: u64) -> Role {
    Role::Member(match typeflag {
        b'x' | b'X' => return Role::Extension(ExtensionKind::Pax),
        b'g' => return Role::Extension(ExtensionKind::PaxGlobal),
        b'L' => return Role::Extension(ExtensionKind::LongPath),
        b'K' => return Role::Extension(ExtensionKind::LongLink),
        // V7 has no type for directories; only one without content is taken for one, so that no byte is disputed.
        0 | b'0' if size == 0 && name.last() == Some(&b'/') => MemberKind::Directory,
        0 | b'0' | b'7' => MemberKind::File,
        b'1' => MemberKind::HardLink,
        b'2' => MemberKind::Symlink,
        b'3' => MemberKind::CharDevice,
        b'4' => MemberKind::BlockDevice,
        b'5' => MemberKind::Directory,
        b'6' => MemberKind::Fifo,
        b'S' => MemberKind::Sparse,
        other => MemberKind::Other(other),
    })
}

/// Compares the sum of all bytes, those of the checksum field counted as spaces, with the field. Some old writers
/// summed signed bytes; each byte from 0x80 on then counts 256 less.
fn check_sum(block: &[u8; BLOCK_BYTES]) -> Result<(), HeaderError> {
    let field = block.get(148..156).unwrap_or_default();
    let stored = number(field).ok_or(HeaderError::Checksum)?;
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let unsigned = i64::from(sum(block) - sum(field)) + 8 * i64::from(b' ');
    if stored == unsigned {
        return Ok(());
    }
    let high = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(byte >> 7)).sum::<u32>();
    let signed = unsigned - 256 * i64::from(high(block) - high(field));
    if stored == signed { Ok(()) } else { Err(HeaderError::Checksum) }
}

/// A numeric field: base-256 if its first bit is set, else octal between spaces and NULs; a blank one is 0.
fn number(field: &[u8]) -> Option<i64> {
    if field.first().is_some_and(|byte| byte & 0x80 != 0) { base_256(field) } else { octal(field) }
}

fn octal(field: &[u8]) -> Option<i64> {
    let mut number = 0_i64;
    let mut digits = field.iter().skip_while(|byte| matches!(byte, b' ' | 0));
    for byte in digits.by_ref() {
        match byte {
            // At most twelve digits, so 36 bits: this cannot overflow.
            b'0'..=b'7' => number = number << 3 | i64::from(byte - b'0'),
            b' ' | 0 => return Some(number),
            _ => return None,
        }
    }
    Some(number)
}

/// Two's complement, big-endian, in all bits but the first.
fn base_256(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    // The second bit is the sign, which is copied to where the marker stands.
    let first = if first & 0x40 == 0 { first & 0x7f } else { *first };
    let number = i128::from(first.cast_signed());
    let number = rest.iter().fold(number, |number, byte| number << 8 | i128::from(*byte));
    i64::try_from(number).ok()
}

fn small(field: &[u8]) -> u32 {
    number(field).and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}

fn id(field: &[u8]) -> u64 {
    number(field).and_then(|number| u64::try_from(number).ok()).unwrap_or(ID_UNKNOWN)
}
