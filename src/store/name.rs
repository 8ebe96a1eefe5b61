//! Names of objects and of the directories they stand in, checked at the edge.
//!
//! A name is relative, has at most four parts of letters, digits, `.`, `-` and `_`, and no part begins with `.`:
//! nothing can leave the root, be taken for a temporary file, or mean something else on another file system or in an
//! object store. What a name means is not known here (`format-spec/store.md`, "Names").

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::id::ID_BYTES;
use crate::limits::{STORE_PART_BYTES_MAX, STORE_PARTS_MAX};

/// A text that names no object or directory of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a name in a store: {problem}")]
pub struct NameError {
    text: String,
    problem: NameProblem,
}

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum NameProblem {
    #[error("a part of it is empty")]
    Empty,
    #[error("a part of it begins with a dot")]
    Dot,
    #[error("it holds something else than letters, digits, dots, hyphens and underscores")]
    Character,
    #[error("it is too long")]
    Length,
    #[error("it has too many parts")]
    Depth,
}

/// Checks a relative name of at most `parts_max` parts. A `const fn`, so that names in the source are checked by the
/// compiler.
const fn check(mut bytes: &[u8], parts_max: usize) -> Result<(), NameProblem> {
    let (mut parts, mut length) = (1, 0);
    while let [byte, rest @ ..] = bytes {
        match byte {
            b'/' if length == 0 => return Err(NameProblem::Empty),
            b'/' => (parts, length) = (parts + 1, 0),
            b'.' if length == 0 => return Err(NameProblem::Dot),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => length += 1,
            _ => return Err(NameProblem::Character),
        }
        if length > STORE_PART_BYTES_MAX {
            return Err(NameProblem::Length);
        }
        if parts > parts_max {
            return Err(NameProblem::Depth);
        }
        bytes = rest;
    }
    if length == 0 { Err(NameProblem::Empty) } else { Ok(()) }
}

/// A directory of a store: where objects stand side by side and are listed together. The root has the empty name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Directory(Cow<'static, str>);

impl Directory {
    /// The store itself.
    pub const ROOT: Self = Self(Cow::Borrowed(""));

    /// A directory whose name stands in the source, for constants.
    ///
    /// # Panics
    /// If the name is wrong, which for a constant is an error of the compiler.
    pub const fn fixed(text: &'static str) -> Self {
        assert!(check(text.as_bytes(), STORE_PARTS_MAX - 2).is_ok(), "a directory of a store has another form");
        Self(Cow::Borrowed(text))
    }

    /// The object of this name in this directory; the name has one part.
    pub fn object(&self, leaf: &str) -> Result<Name, NameError> {
        let wrong = |problem| NameError { text: leaf.to_owned(), problem };
        check(leaf.as_bytes(), 1).map_err(wrong)?;
        Ok(Name(self.join(leaf)))
    }

    /// The object named by an id.
    pub fn id(&self, id: &[u8; ID_BYTES]) -> Name {
        Name(self.join(&hex(id)))
    }

    /// The object named by an id and a number.
    pub fn id_and_number(&self, id: &[u8; ID_BYTES], number: u64) -> Name {
        Name(self.join(&format!("{}-{number}", hex(id))))
    }

    /// The object named by a number.
    pub fn number(&self, number: u64) -> Name {
        Name(self.join(&number.to_string()))
    }

    /// The sixteen directories of one hexadecimal digit in this one, for objects that are many.
    pub fn shards(&self) -> impl Iterator<Item = Self> + '_ {
        (0..16).map(|digit| self.shard_of(digit))
    }

    /// The one of [`Self::shards`] in which the object named by this id stands.
    pub fn shard(&self, id: &[u8; ID_BYTES]) -> Self {
        let [first, ..] = id;
        self.shard_of(first >> 4)
    }

    /// The text form; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names from the root down to this directory.
    pub(super) fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// The directory of this name in this one; the name is a part of another directory's.
    pub(super) fn below(&self, part: &str) -> Self {
        Self(Cow::Owned(self.join(part)))
    }

    /// The text form of something in this directory.
    pub(super) fn join(&self, leaf: &str) -> String {
        if self.0.is_empty() { leaf.to_owned() } else { format!("{}/{leaf}", self.0) }
    }

    fn shard_of(&self, digit: u8) -> Self {
        self.below(&format!("{digit:x}"))
    }
}

impl FromStr for Directory {
    type Err = NameError;

    /// The text form of a directory that can hold objects and one more level.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if !text.is_empty() {
            let wrong = |problem| NameError { text: text.to_owned(), problem };
            check(text.as_bytes(), STORE_PARTS_MAX - 2).map_err(wrong)?;
        }
        Ok(Self(Cow::Owned(text.to_owned())))
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an object lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The directory that the object stands in.
    pub fn directory(&self) -> Directory {
        match self.0.rsplit_once('/') {
            Some((directory, _)) => Directory(Cow::Owned(directory.to_owned())),
            None => Directory::ROOT,
        }
    }

    /// The name within that directory.
    pub fn leaf(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, leaf)| leaf)
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = |problem| NameError { text: text.to_owned(), problem };
        check(text.as_bytes(), STORE_PARTS_MAX).map_err(wrong)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn hex(id: &[u8; ID_BYTES]) -> String {
    use fmt::Write as _;
    id.iter().fold(String::with_capacity(2 * ID_BYTES), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PackId;
    use proptest::prelude::*;

    const PACKS: Directory = Directory::fixed("packs");

    #[test]
    fn every_object_of_the_layout_has_a_name() {
        let id = PackId::from_bytes([0xc5; ID_BYTES]);
        let shard = PACKS.shard(id.as_bytes());
        assert_eq!(shard.id(id.as_bytes()).as_str(), format!("packs/c/{id}"));
        assert_eq!(Directory::fixed("config").number(3).as_str(), "config/3");
        assert_eq!(Directory::fixed("beats").id_and_number(id.as_bytes(), 7).as_str(), format!("beats/{id}-7"));
        assert_eq!(Directory::ROOT.object("README").unwrap().as_str(), "README");
        assert_eq!(PACKS.shards().count(), 16);
        assert!(PACKS.shards().any(|one| one == shard));
    }

    #[test]
    fn a_name_falls_apart_into_directory_and_leaf() {
        let name: Name = "packs/c/x".parse().unwrap();
        assert_eq!((name.directory().as_str(), name.leaf()), ("packs/c", "x"));
        assert_eq!(name.directory().object(name.leaf()), Ok(name));
        let name: Name = "reserve".parse().unwrap();
        assert_eq!((name.directory(), name.leaf()), (Directory::ROOT, "reserve"));
    }

    #[test]
    fn what_could_leave_the_root_is_refused() {
        let long = "x".repeat(STORE_PART_BYTES_MAX + 1);
        let odd = [
            "",
            ".",
            "..",
            "../x",
            "x/..",
            "x/../y",
            "/x",
            "x/",
            "x//y",
            ".hidden",
            "x/.tmp-1",
            "a/b/c/d/e",
            "a b",
            "a\0",
            "a\n",
            "a\\b",
            "ä",
            "a:b",
            "~",
            &long,
        ];
        for text in odd {
            let wrong = text.parse::<Name>().unwrap_err().to_string();
            assert!(wrong.contains("is not a name in a store"), "{wrong}");
        }
        assert!(PACKS.object("3/x").is_err());
        assert!("..".parse::<Directory>().is_err());
        assert_eq!("".parse::<Directory>(), Ok(Directory::ROOT));
    }

    proptest! {
        #[test]
        fn a_name_stays_below_the_root(text in "[./a\\x00-]{0,12}") {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert_eq!(name.as_str(), text.as_str());
                prop_assert!(text.split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
            }
        }
    }
}
