//! What a store's file system is, and how much room it has.
//!
//! Only the kind decides anything: how long a listing may be stale (`format-spec/store.md`, "Stale listings"). A kind
//! that is not known to be local counts as remote.

use std::io;
use std::os::fd::AsFd;

use rustix::fs;

/// Room in a store and the kind of its file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// Size of the file system in bytes.
    pub total_bytes: u64,
    /// What kind of file system it is.
    pub file_system: FileSystem,
}

/// The kind of file system that a store is on, as far as its listings are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// On this machine's disks: listings are never stale, unless other hosts have it mounted.
    Local,
    /// In this machine's memory: as local, and gone after a crash.
    Volatile,
    /// An NFS mount.
    Nfs {
        /// How long this mount may trust a cached listing, in seconds (`acdirmax`); `None` if the kernel did not tell.
        listing_seconds: Option<u32>,
    },
    /// Another network file system, a FUSE mount or one that is not known here.
    Other {
        /// Its magic number, from `statfs`.
        magic: u32,
    },
}

/// A way to give a file a name only if the name is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// A rename that must not replace.
    Rename,
    /// A second name; the first one is removed afterwards.
    Link,
}

impl FileSystem {
    /// How long a mount that says nothing else may trust a cached listing, in seconds: the default of NFS.
    pub const LISTING_SECONDS: u32 = 60;

    /// How old a listing through this mount may be, in seconds.
    pub fn listing_seconds(self) -> u32 {
        match self {
            Self::Local | Self::Volatile => 0,
            Self::Nfs { listing_seconds } => listing_seconds.unwrap_or(Self::LISTING_SECONDS),
            Self::Other { .. } => Self::LISTING_SECONDS,
        }
    }

    /// The file system of an open directory.
    pub(super) fn of(directory: impl AsFd) -> io::Result<Self> {
        let status = fs::fstatfs(&directory)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "magic numbers have 32 bits")]
        let magic = status.f_type as u32;
        Ok(match magic {
            NFS_MAGIC => Self::Nfs { listing_seconds: listing_seconds(fs::fstat(&directory)?.st_dev) },
            magic if LOCAL_MAGIC.contains(&magic) => Self::Local,
            magic if VOLATILE_MAGIC.contains(&magic) => Self::Volatile,
            magic => Self::Other { magic },
        })
    }

    /// The ways to give a file a name that is free, in the order in which they are tried. A local file system makes a
    /// rename that does not replace in one step. Elsewhere only a link is known never to replace; what renames there
    /// may ignore that it should not, which the probe of a new repository finds.
    pub(super) fn namings(self) -> [Naming; 2] {
        match self {
            Self::Local | Self::Volatile => [Naming::Rename, Naming::Link],
            Self::Nfs { .. } | Self::Other { .. } => [Naming::Link, Naming::Rename],
        }
    }

    /// Whether bytes are sent to the server as they are written, and not as the file is synced. Nothing ends a process
    /// that syncs what is in the cache, not even SIGKILL, before a server that is gone answers again.
    pub(super) fn writes_past_the_cache(self) -> bool {
        matches!(self, Self::Nfs { .. })
    }

    /// Whether a directory that cannot be synced needs no sync, because its changes were made by a server.
    pub(super) fn changes_directories_at_once(self) -> bool {
        matches!(self, Self::Nfs { .. } | Self::Other { .. })
    }
}

impl Capacity {
    /// Asks about an open directory.
    pub(super) fn of(directory: impl AsFd) -> io::Result<Self> {
        let status = fs::fstatvfs(&directory)?;
        let bytes = |blocks: u64| blocks.saturating_mul(status.f_frsize);
        Ok(Self {
            free_bytes: bytes(status.f_bavail),
            total_bytes: bytes(status.f_blocks),
            file_system: FileSystem::of(directory)?,
        })
    }
}

const NFS_MAGIC: u32 = 0x6969;
/// ext2 to ext4, XFS, btrfs, ZFS, F2FS, bcachefs, JFS, `ReiserFS`, NILFS, overlayfs, FAT, exFAT and NTFS.
const LOCAL_MAGIC: [u32; 13] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x2fc1_2fc1,
    0xf2f5_2010,
    0xca45_1a4e,
    0x3153_464a,
    0x5265_4973,
    0x3434,
    0x794c_7630,
    0x4d44,
    0x2011_bab0,
    0x7366_746e,
];
/// tmpfs and ramfs.
const VOLATILE_MAGIC: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// The kernel's own bound where a mount names none.
const ACDIRMAX_DEFAULT_SECONDS: u32 = 60;

fn listing_seconds(device: u64) -> Option<u32> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    nfs_listing_seconds(&mounts, rustix::fs::major(device), rustix::fs::minor(device))
}

/// Finds the bound of an NFS mount in the kernel's table of mounts, which names it only if it is not the default.
fn nfs_listing_seconds(mounts: &str, major: u32, minor: u32) -> Option<u32> {
    let device = format!("{major}:{minor}");
    let of_device = |line: &&str| line.split(' ').nth(2) == Some(&device);
    let (_, rest) = mounts.lines().find(of_device)?.split_once(" - ")?;
    let (kind, options) = (rest.split(' ').next()?, rest.split(' ').nth(2)?);
    if !kind.starts_with("nfs") {
        return None;
    }
    let mut seconds = ACDIRMAX_DEFAULT_SECONDS;
    for option in options.split(',') {
        match option.split_once('=') {
            None if option == "noac" => return Some(0),
            Some(("acdirmax" | "actimeo", value)) => seconds = value.parse().ok()?,
            _ => {}
        }
    }
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
24 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
90 24 0:50 / /mnt/a rw shared:9 - nfs4 nas:/a rw,vers=4.2,rsize=1048576,hard,proto=tcp,addr=10.0.0.1\n\
91 24 0:51 / /mnt/b rw - nfs nas:/b rw,vers=3,acregmin=1,acdirmin=5,acdirmax=300,hard\n\
92 24 0:52 / /mnt/c rw - nfs4 nas:/c rw,noac,hard\n\
93 24 0:53 / /mnt/d rw - nfs4 nas:/d rw,acdirmax=many\n";

    #[test]
    fn the_bound_of_a_listing_is_the_mounts_own() {
        let bound = |minor| nfs_listing_seconds(MOUNTS, 0, minor);
        assert_eq!([bound(50), bound(51), bound(52)], [Some(60), Some(300), Some(0)]);
    }

    #[test]
    fn a_bound_that_cannot_be_read_is_not_guessed() {
        assert_eq!(nfs_listing_seconds(MOUNTS, 0, 53), None);
        assert_eq!(nfs_listing_seconds(MOUNTS, 0, 99), None);
        assert_eq!(nfs_listing_seconds(MOUNTS, 254, 0), None);
        assert_eq!(nfs_listing_seconds("", 0, 50), None);
    }

    #[test]
    fn a_device_with_no_files_is_no_local_disk() {
        let found = FileSystem::of(std::fs::File::open("/proc").unwrap()).unwrap();
        assert_eq!(found, FileSystem::Other { magic: 0x9fa0 });
    }
}
