//! What is in a directory of a point, or in everything below it.

use std::collections::BTreeMap;

use crate::browse::order::{inside, join, names, normal};
use crate::browse::plan::{Plan, Scope, plan};
use crate::browse::region::{BrowseError, Region, archive_path, base};
use crate::browse::walk::{Interest, Visitor, Walked, walk};
use crate::monitor::Monitor;
use crate::point::Point;
use crate::repo::{Reader, Repository};
use crate::tar::{self, Member};

/// How deep a listing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What is directly in a directory, sorted, each name once; of members with one name the last counts.
    Directory,
    /// Everything below it, member by member as the archive has them. Of several with one path the last counts.
    All,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path inside the region, without a slash at its beginning; empty for the region's own directory.
    pub path: Vec<u8>,
    /// What the archive says of it; `None` for a directory that has no member of its own.
    pub member: Option<Box<Member>>,
}

/// Lists what is at a path: a directory's contents, or the one file.
pub fn list(
    repository: &Repository,
    point: &Point,
    region: &Region,
    path: &[u8],
    depth: Depth,
    monitor: &dyn Monitor,
    tell: &mut dyn FnMut(&Entry),
) -> Result<(), BrowseError> {
    list_with(&mut Reader::new(repository)?, point, region, path, depth, monitor, tell)
}

/// The same with a reader that may have read some of it already.
pub(super) fn list_with(
    reader: &mut Reader<'_>,
    point: &Point,
    region: &Region,
    path: &[u8],
    depth: Depth,
    monitor: &dyn Monitor,
    tell: &mut dyn FnMut(&Entry),
) -> Result<(), BrowseError> {
    let base = base(point, region)?;
    let wanted = archive_path(&base, path)?;
    let scope = match depth {
        Depth::Directory => Scope::Children(wanted.clone()),
        Depth::All => Scope::Trees(vec![wanted.clone()]),
    };
    let chosen = plan(reader, point, &scope)?;
    let mut listing =
        Listing { base: &base, wanted: &wanted, depth, tell: None, found: BTreeMap::new(), is_there: false };
    let mut walked = listing.walk(reader, point, &chosen, monitor)?;
    // Nothing is told before it is certain that nothing was left out. That something is not there is such a thing, too.
    let mut chosen = chosen;
    if chosen != Plan::All && (!walked.sound || !listing.is_there) {
        chosen = Plan::All;
        listing.found.clear();
        walked = listing.walk(reader, point, &chosen, monitor)?;
    }
    if !listing.is_there {
        let point = point.source.to_string();
        return Err(match walked.members {
            0 => BrowseError::NotAnArchive { point },
            _ => BrowseError::NoSuchPath {
                path: tar::display(if path.is_empty() { &base } else { path }).to_string(),
                point,
            },
        });
    }
    match depth {
        Depth::Directory => {
            listing.contents().for_each(|entry| tell(&entry));
            Ok(())
        }
        Depth::All => {
            listing.tell = Some(tell);
            listing.walk(reader, point, &chosen, monitor).map(|_| ())
        }
    }
}

struct Listing<'l> {
    base: &'l [u8],
    wanted: &'l [u8],
    depth: Depth,
    tell: Option<&'l mut dyn FnMut(&Entry)>,
    /// By path in the archive.
    found: BTreeMap<Vec<u8>, Option<Box<Member>>>,
    is_there: bool,
}

impl Listing<'_> {
    fn walk(
        &mut self,
        reader: &mut Reader<'_>,
        point: &Point,
        plan: &Plan,
        monitor: &dyn Monitor,
    ) -> Result<Walked, BrowseError> {
        walk(reader, point, plan, self, monitor)
    }

    fn entry(&self, path: &[u8], member: Option<Box<Member>>) -> Entry {
        Entry { path: inside(path, self.base).unwrap_or(path).to_vec(), member }
    }

    /// A directory's own member is no part of its contents; a file's is all there is to see.
    fn contents(&mut self) -> impl Iterator<Item = Entry> {
        let found = std::mem::take(&mut self.found);
        let is_directory = |member: &Option<Box<Member>>| {
            member.as_ref().is_none_or(|member| member.kind == tar::MemberKind::Directory)
        };
        let own = found.get(self.wanted).is_none_or(is_directory);
        found
            .into_iter()
            .filter(|(path, _)| (path == self.wanted) != own)
            .map(|(path, member)| self.entry(&path, member))
            .collect::<Vec<_>>()
            .into_iter()
    }
}

impl Visitor for Listing<'_> {
    type Error = BrowseError;

    fn member(&mut self, member: &Member) -> Result<Interest, BrowseError> {
        let Some(path) = normal(&member.path) else { return Ok(Interest::Nothing) };
        let Some(below) = inside(&path, self.wanted) else { return Ok(Interest::Nothing) };
        self.is_there = true;
        match self.depth {
            Depth::All => {
                let entry = self.tell.is_some().then(|| self.entry(&path, Some(Box::new(member.clone()))));
                if let (Some(tell), Some(entry)) = (&mut self.tell, entry) {
                    tell(&entry);
                }
            }
            Depth::Directory => {
                let mut below = names(below);
                let child = below.next().unwrap_or_default();
                let child = join(self.wanted, child);
                if below.next().is_some() {
                    self.found.entry(child).or_insert(None);
                } else {
                    self.found.insert(child, Some(Box::new(member.clone())));
                }
            }
        }
        Ok(Interest::Nothing)
    }
}
