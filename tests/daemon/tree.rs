//! What a container's file system holds, as far as an export carries it: for comparing one with another.
//!
//! Left out because no daemon exports it: sockets, xattrs of symbolic links, access and change times, and the part of a
//! modification time below the nearest second. Ids, those in access control lists included, are counted from the owner
//! of the root directory, because a container that has run is shifted on disk and one that was just imported is not.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

/// Everything below a directory: path bytes to a description that is equal for equal files.
pub type Tree = BTreeMap<Vec<u8>, String>;

/// Reads a tree.
pub fn read(root: &Path) -> Tree {
    let owner = fs::symlink_metadata(root).expect("root of the tree");
    let base = (owner.uid(), owner.gid());
    let mut reader = Reader { root, base, xattrs: xattrs(root, base), links: BTreeMap::new(), tree: Tree::new() };
    reader.directory(root);
    reader.tree
}

struct Reader<'r> {
    root: &'r Path,
    base: (u32, u32),
    xattrs: BTreeMap<Vec<u8>, Vec<String>>,
    /// The first path of each file with several links.
    links: BTreeMap<(u64, u64), Vec<u8>>,
    tree: Tree,
}

impl Reader<'_> {
    fn directory(&mut self, directory: &Path) {
        let entries = fs::read_dir(directory).expect("directory of the tree");
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
        paths.sort();
        for path in paths {
            let metadata = fs::symlink_metadata(&path).expect("file of the tree");
            if metadata.file_type().is_socket() {
                continue;
            }
            let name = path.strip_prefix(self.root).expect("inside").as_os_str().as_bytes().to_vec();
            let description = self.describe(&path, &name, &metadata);
            self.tree.insert(name, description);
            if metadata.is_dir() {
                self.directory(&path);
            }
        }
    }

    fn describe(&mut self, path: &Path, name: &[u8], metadata: &fs::Metadata) -> String {
        let kind = metadata.file_type();
        let content = if kind.is_file() {
            if metadata.nlink() > 1 {
                let first = self.links.entry((metadata.dev(), metadata.ino())).or_insert_with(|| name.to_vec());
                if first != name {
                    return format!("link to {}", String::from_utf8_lossy(first));
                }
            }
            format!("{} bytes {}", metadata.len(), blake3::hash(&fs::read(path).expect("content")))
        } else if kind.is_symlink() {
            format!("-> {}", String::from_utf8_lossy(fs::read_link(path).expect("target").as_os_str().as_bytes()))
        } else if kind.is_char_device() || kind.is_block_device() {
            format!("device {:x}", metadata.rdev())
        } else {
            String::new()
        };
        let (uid, gid) = (metadata.uid().wrapping_sub(self.base.0), metadata.gid().wrapping_sub(self.base.1));
        let mtime = metadata.mtime() + i64::from(metadata.mtime_nsec() >= 500_000_000);
        let xattrs = if kind.is_symlink() { &Vec::new() } else { self.xattrs.entry(name.to_vec()).or_default() };
        format!("{:o} {uid}:{gid} {mtime} {content} {xattrs:?}", metadata.mode())
    }
}

/// The extended attributes of every file below a directory, as `getfattr` prints them.
fn xattrs(root: &Path, base: (u32, u32)) -> BTreeMap<Vec<u8>, Vec<String>> {
    let output = Command::new("getfattr")
        .args(["--recursive", "--physical", "--no-dereference", "--dump", "--match=-", "--encoding=hex", "."])
        .current_dir(root)
        .output()
        .expect("getfattr");
    let mut found = BTreeMap::new();
    for block in output.stdout.split(|byte| *byte == b'\n').collect::<Vec<_>>().split(|line| line.is_empty()) {
        let Some((file, values)) = block.split_first() else { continue };
        let name = unescape(file.strip_prefix(b"# file: ").expect("getfattr's form"));
        let mut lines: Vec<String> = values.iter().map(|line| normal(OsStr::from_bytes(line), base)).collect();
        lines.sort();
        found.insert(name, lines);
    }
    found
}

/// `getfattr` writes special characters of names as three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some((byte, behind)) = rest.split_first() {
        let octal = behind.get(..3).filter(|_| *byte == b'\\').and_then(|digits| str::from_utf8(digits).ok());
        if let Some(code) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(code);
            rest = &behind[3..];
        } else {
            bytes.push(*byte);
            rest = behind;
        }
    }
    bytes
}

/// An attribute with the ids unshifted that a file capability or an access control list holds.
fn normal(line: &OsStr, base: (u32, u32)) -> String {
    let line = line.to_str().expect("hexadecimal values").to_owned();
    let Some((name, value)) = line.split_once("=0x") else { return line };
    let mut bytes: Vec<u8> = (0..value.len() / 2)
        .map(|at| u8::from_str_radix(&value[2 * at..2 * at + 2], 16).expect("hexadecimal"))
        .collect();
    if name == "security.capability" && bytes.len() == 24 {
        // Version 3 ends with the user that is root where it counts.
        unshift(&mut bytes[20..], base.0);
    }
    if name.starts_with("system.posix_acl_") {
        // Four bytes of version, then entries: tag, permissions, id.
        for entry in bytes[4..].chunks_exact_mut(8) {
            match entry[0] {
                0x02 => unshift(&mut entry[4..], base.0),
                0x08 => unshift(&mut entry[4..], base.1),
                _ => {}
            }
        }
    }
    format!("{name}={bytes:02x?}")
}

fn unshift(id: &mut [u8], base: u32) {
    let shifted = u32::from_le_bytes((&*id).try_into().expect("four bytes"));
    id.copy_from_slice(&shifted.wrapping_sub(base).to_le_bytes());
}

/// The first differences between two trees, for a message.
pub fn differences(one: &Tree, other: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, description) in one {
        let name = String::from_utf8_lossy(path);
        match other.get(path) {
            None => found.push(format!("{name} is missing")),
            Some(different) if different != description => {
                found.push(format!("{name} was {description} and is {different}"));
            }
            Some(_) => {}
        }
    }
    found.extend(
        other
            .keys()
            .filter(|path| !one.contains_key(*path))
            .map(|path| format!("{} is new", String::from_utf8_lossy(path))),
    );
    found.truncate(10);
    found
}
