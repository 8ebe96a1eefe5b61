//! Which parts of a recipe may hold what is wanted, by the table of parts alone.
//!
//! A part is left out only if the order of the daemons' exports proves that nothing wanted begins in it. What comes
//! first and last is read always: there a global header would stand, and what somebody appended. A stream that is no
//! export, is short, or shows any disorder, is read from one end to the other.

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::browse::order::{Order, compare, inside, names, normal, root};
use crate::point::{Point, StreamForm};
use crate::repo::{Reader, RepoError, Rows};

/// A table with fewer rows than this proves little by its order, and costs little to be read in full.
const ROWS_MIN: u64 = 16;

/// What is wanted of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// These members, and all that are below them.
    Trees(Vec<Vec<u8>>),
    /// This member, and those directly in it.
    Children(Vec<u8>),
}

impl Scope {
    fn wanted(&self) -> &[Vec<u8>] {
        match self {
            Self::Trees(paths) => paths,
            Self::Children(path) => std::slice::from_ref(path),
        }
    }

    /// Whether something between two members of one tree, the first included, may be wanted.
    fn meets(&self, from: &[u8], to: &[u8]) -> bool {
        let meets = |path: &[u8]| {
            compare(path, to) == Ordering::Less && (inside(from, path).is_some() || compare(from, path).is_le())
        };
        match self {
            Self::Trees(paths) => paths.iter().any(|path| meets(path)),
            Self::Children(path) => meets(path) && !within_one_child(path, from, to),
        }
    }
}

/// Whether both stand below the same member of a directory: then so does everything between them.
fn within_one_child(directory: &[u8], from: &[u8], to: &[u8]) -> bool {
    let (Some(from), Some(to)) = (inside(from, directory), inside(to, directory)) else { return false };
    let (mut from, mut to) = (names(from), names(to));
    from.next().is_some_and(|name| to.next() == Some(name)) && from.next().is_some() && to.next().is_some()
}

/// Whether all that is below a path stands in one tree of an export.
fn is_in_one_tree(path: &[u8]) -> bool {
    names(path).nth(2).is_some_and(|name| name != b"volume-snapshots" || names(path).nth(3).is_some())
}

/// The rows to be read, by their number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// All.
    All,
    /// These, ascending.
    Rows(Vec<u64>),
}

/// Reads the table of a point and chooses.
pub(super) fn plan(reader: &mut Reader<'_>, point: &Point, scope: &Scope) -> Result<Plan, RepoError> {
    if !matches!(point.form, StreamForm::Export { .. }) {
        return Ok(Plan::All);
    }
    let mut choice = Choice::new(scope);
    let mut rows = Rows::new(&point.content);
    let mut count = 0;
    while let Some(row) = rows.next(reader)? {
        if !row.first_path.is_empty() && !choice.begins(count, &row.first_path) {
            return Ok(Plan::All);
        }
        count += 1;
    }
    if count < ROWS_MIN {
        return Ok(Plan::All);
    }
    Ok(Plan::Rows(choice.finish()))
}

struct Choice<'s> {
    scope: &'s Scope,
    /// Trees in which something is wanted; `None` if that may be in any.
    wanted_roots: Option<HashSet<Vec<u8>>>,
    seen_roots: HashSet<Vec<u8>>,
    order: Order,
    chosen: Vec<u64>,
    /// Rows in which a tree may stand that begins no row.
    between: Vec<u64>,
    /// The row before, the path of its first member, and that one's tree.
    before: Option<(u64, Vec<u8>, Vec<u8>)>,
}

impl<'s> Choice<'s> {
    fn new(scope: &'s Scope) -> Self {
        let wanted = scope.wanted();
        let wanted_roots =
            wanted.iter().all(|path| is_in_one_tree(path)).then(|| wanted.iter().map(|path| root(path)).collect());
        Self {
            scope,
            wanted_roots,
            seen_roots: HashSet::new(),
            order: Order::default(),
            chosen: Vec::new(),
            between: Vec::new(),
            before: None,
        }
    }

    /// A member of this path is the first that begins in this row. Says whether all is in order so far.
    fn begins(&mut self, row: u64, path: &[u8]) -> bool {
        if !self.order.see(path) {
            return false;
        }
        // What is in order has a normal form.
        let path = normal(path).unwrap_or_default();
        let root = root(&path);
        self.seen_roots.insert(root.clone());
        if let Some((number, from, from_root)) = self.before.take() {
            if from_root == root {
                if number == 0 || self.scope.meets(&from, &path) {
                    self.chosen.push(number);
                }
            } else if number == 0 || self.wants(&from_root) || self.wants(&root) {
                self.chosen.push(number);
            } else {
                self.between.push(number);
            }
        }
        self.before = Some((row, path, root));
        true
    }

    fn wants(&self, root: &[u8]) -> bool {
        self.wanted_roots.as_ref().is_none_or(|wanted| wanted.contains(root))
    }

    fn finish(mut self) -> Vec<u64> {
        self.chosen.extend(self.before.map(|(row, ..)| row));
        if self.wanted_roots.is_some_and(|wanted| !wanted.is_subset(&self.seen_roots)) {
            self.chosen.append(&mut self.between);
            self.chosen.sort_unstable();
        }
        self.chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(scope: &Scope, paths: &[&str]) -> Option<Vec<u64>> {
        let mut choice = Choice::new(scope);
        let in_order = (0..).zip(paths).all(|(row, path)| path.is_empty() || choice.begins(row, path.as_bytes()));
        in_order.then(|| choice.finish())
    }

    fn trees(paths: &[&str]) -> Scope {
        Scope::Trees(paths.iter().map(|path| path.as_bytes().to_vec()).collect())
    }

    const ROOTFS: &str = "backup/container/rootfs";

    #[test]
    fn rows_that_cannot_hold_a_member_are_left_out() {
        let table = ["backup/index.yaml", "", "bin", "etc/b", "etc/x", "", "usr/a", "usr/b", "var"].map(|path| {
            if path.is_empty() || path.starts_with("backup") { path.to_owned() } else { format!("{ROOTFS}/{path}") }
        });
        let table: Vec<&str> = table.iter().map(String::as_str).collect();
        let tree = |path: &str| chosen(&trees(&[&format!("{ROOTFS}/{path}")]), &table).unwrap();
        assert_eq!(tree("etc/c"), [0, 3, 8]);
        assert_eq!(tree("etc/x"), [0, 4, 8]);
        assert_eq!(tree("etc"), [0, 2, 3, 4, 8]);
        assert_eq!(tree("usr/a/deep"), [0, 6, 8]);
        assert_eq!(tree("zzz"), [0, 8]);
        let children = |path: &str| chosen(&Scope::Children(format!("{ROOTFS}{path}").into_bytes()), &table).unwrap();
        assert_eq!(children(""), [0, 2, 4, 7, 8]);
        assert_eq!(children("/usr"), [0, 4, 6, 7, 8]);
    }

    #[test]
    fn a_small_tree_that_begins_no_row_is_looked_for_where_trees_change() {
        let table = [
            "backup/index.yaml",
            "backup/snapshots/s1/rootfs/a",
            "backup/snapshots/s2/rootfs/a",
            "backup/snapshots/s2/rootfs/b",
            "backup/container/rootfs/a",
            "backup/container/rootfs/c",
        ];
        assert_eq!(chosen(&trees(&["backup/snapshots/s9/rootfs/etc/x"]), &table).unwrap(), [0, 1, 3, 5]);
        assert_eq!(chosen(&trees(&["backup/container/rootfs/etc/x"]), &table).unwrap(), [0, 3, 5]);
        assert_eq!(chosen(&trees(&["backup/snapshots/s2/rootfs/az/x"]), &table).unwrap(), [0, 1, 2, 3, 5]);
    }

    #[test]
    fn disorder_is_noticed() {
        assert_eq!(chosen(&trees(&["a"]), &["backup/container/b", "backup/container/a"]), None);
    }
}
