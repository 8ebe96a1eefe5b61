//! Paths of members: their normal form, the order in which a daemon walks a tree, and the proof that a stream keeps it.
//!
//! A daemon writes each tree of an export depth first, names sorted by byte, so that a member is found by search. That
//! is believed only while it is seen: of the first paths of all parts, and of every member that is read.

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::limits::{EXPORT_ROOTS_MAX, PART_PATH_BYTES_MAX};

/// A member's path without what means nothing: leading, double and final slashes, and `.`. `None` for a path that is no
/// place below the root: with `..`, or with a NUL.
pub(super) fn normal(path: &[u8]) -> Option<Vec<u8>> {
    let mut normal = Vec::with_capacity(path.len());
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return None,
            name if name.contains(&0) => return None,
            name => {
                if !normal.is_empty() {
                    normal.push(b'/');
                }
                normal.extend_from_slice(name);
            }
        }
    }
    Some(normal)
}

/// The names that a normal path consists of; none for the root.
pub(super) fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

/// The order of a walk depth first: a directory before what is in it, and that before the next name.
pub(super) fn compare(one: &[u8], other: &[u8]) -> Ordering {
    names(one).cmp(names(other))
}

/// What remains of a path inside of a directory: empty for the directory itself, `None` outside.
pub(super) fn inside<'p>(path: &'p [u8], directory: &[u8]) -> Option<&'p [u8]> {
    if directory.is_empty() {
        return Some(path);
    }
    let rest = path.strip_prefix(directory)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

/// Two paths joined, either of which may be empty.
pub(super) fn join(directory: &[u8], path: &[u8]) -> Vec<u8> {
    match (directory.is_empty(), path.is_empty()) {
        (true, _) => path.to_vec(),
        (_, true) => directory.to_vec(),
        _ => [directory, b"/", path].concat(),
    }
}

/// The tree of an export that a path stands in: the main volume, or one snapshot. Trees follow each other in no order
/// of names.
pub(super) fn root(path: &[u8]) -> Vec<u8> {
    let names: Vec<&[u8]> = names(path).take(4).collect();
    let is_snapshots = |name: &[u8]| matches!(name, b"snapshots" | b"virtual-machine-snapshots" | b"volume-snapshots");
    let depth = match names.as_slice() {
        [_, second, ..] if is_snapshots(second) => 3,
        [_, _, b"volume-snapshots", ..] => 4,
        [_, _, b"volume", ..] => 3,
        _ => 2,
    };
    names.get(..depth.min(names.len())).unwrap_or_default().join(&b'/')
}

/// Watches whether paths come in the order of a daemon's walk.
#[derive(Debug, Default)]
pub(super) struct Order {
    last: Option<(Vec<u8>, Vec<u8>)>,
    left_roots: HashSet<Vec<u8>>,
    broken: bool,
}

impl Order {
    /// Takes the next path as it stands in the archive; says whether all was in order so far.
    pub(super) fn see(&mut self, path: &[u8]) -> bool {
        let normal = normal(path).filter(|path| path.len() < PART_PATH_BYTES_MAX && !path.is_empty());
        let Some(normal) = normal else {
            self.broken = true;
            return false;
        };
        let root = root(&normal);
        match &self.last {
            Some((before, last)) if *before == root => self.broken |= compare(last, &normal) != Ordering::Less,
            Some((before, _)) => {
                self.left_roots.insert(before.clone());
                self.broken |= self.left_roots.contains(&root) || self.left_roots.len() > EXPORT_ROOTS_MAX;
            }
            None => {}
        }
        self.last = Some((root, normal));
        !self.broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_normal_form_or_none() {
        let cases: [(&[u8], Option<&[u8]>); 8] = [
            (b"a/b", Some(b"a/b")),
            (b"./a//b/.", Some(b"a/b")),
            (b"/etc/passwd", Some(b"etc/passwd")),
            (b"", Some(b"")),
            (b"/", Some(b"")),
            (b"a/../b", None),
            (b"..", None),
            (b"a\0b", None),
        ];
        for (path, expected) in cases {
            assert_eq!(normal(path).as_deref(), expected);
        }
        assert_eq!(normal(b"..a/b..").as_deref(), Some(&b"..a/b.."[..]));
    }

    #[test]
    fn the_order_is_that_of_a_walk_and_not_that_of_bytes() {
        assert_eq!(compare(b"a/x", b"a.b"), Ordering::Less);
        assert_eq!(compare(b"a", b"a/x"), Ordering::Less);
        assert_eq!(compare(b"a/x", b"a/x"), Ordering::Equal);
        assert_eq!(compare(b"b", b"a/x"), Ordering::Greater);
    }

    #[test]
    fn trees_may_follow_in_any_order_but_not_come_back() {
        let holds = |paths: &[&str]| {
            let mut order = Order::default();
            paths.iter().fold(true, |_, path| order.see(path.as_bytes()))
        };
        assert!(holds(&[
            "backup/index.yaml",
            "backup/snapshots/s9",
            "backup/snapshots/s9/rootfs",
            "backup/snapshots/s10",
            "backup/container",
            "backup/container/rootfs/a",
            "backup/container/rootfs/a/x",
            "backup/container/rootfs/a.b",
        ]));
        assert!(!holds(&["backup/container/b", "backup/container/a"]));
        assert!(!holds(&["backup/container/a", "backup/container/a"]));
        assert!(!holds(&["backup/container/a", "backup/snapshots/s0", "backup/container/b"]));
        assert!(!holds(&["backup/container/../x"]));
        assert!(!holds(&[&"a/".repeat(PART_PATH_BYTES_MAX)]));
    }
}
