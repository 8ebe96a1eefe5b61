//! Walking through the members of a point, without their contents unless somebody wants them.
//!
//! The stream is parsed as it would come from an export, but chunks of content are skipped: the parser is told how long
//! they are. Where parts are left out it begins anew at the first member of the next. What the plan took for granted is
//! compared with what is read; the caller learns if it does not hold.

use std::convert::Infallible;

use crate::browse::order::Order;
use crate::browse::plan::Plan;
use crate::browse::region::BrowseError;
use crate::limits::PART_PATH_BYTES_MAX;
use crate::monitor::Monitor;
use crate::point::Point;
use crate::recipe::{ChunkRef, Part, Step, TableRow};
use crate::repo::{Reader, RepoError, Rows, read_part};
use crate::tar::{Event, Member, Place, Splitter};

/// Zeros that are pushed where they are no content.
static ZEROS: [u8; 512] = [0; 512];

/// A piece of a member's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes that the recipe itself holds.
    Bytes(Vec<u8>),
    /// A chunk that was not read.
    Chunk(ChunkRef),
    /// So many zeros.
    Zeros(u64),
}

/// One step of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// A member begins.
    Member(Box<Member>),
    /// Some of its content.
    Piece(Piece),
    /// Its content is complete; comes also where there is none.
    End,
}

/// Whether the content of a member is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interest {
    /// All of it, wherever it stands.
    Content,
    /// None.
    Nothing,
}

/// Hears of members.
pub(super) trait Visitor {
    /// Why it may give up.
    type Error: From<BrowseError> + From<RepoError>;

    /// A member begins. What follows up to [`Self::end`] is told only to those who want its content.
    fn member(&mut self, member: &Member) -> Result<Interest, Self::Error>;

    /// The next piece of the content.
    fn piece(&mut self, _reader: &mut Reader<'_>, _piece: Piece) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The content is over: all of it, or what there is.
    fn end(&mut self, _complete: bool) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// What a walk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walked {
    /// Members seen.
    pub members: u64,
    /// Whether what was left out may be left out, as far as can be seen; always, where nothing was.
    pub sound: bool,
}

/// Walks through the parts of a plan.
pub(super) fn walk<V: Visitor>(
    reader: &mut Reader<'_>,
    point: &Point,
    plan: &Plan,
    visitor: &mut V,
    monitor: &dyn Monitor,
) -> Result<Walked, V::Error> {
    let mut rows = Rows::new(&point.content);
    let mut parser = Parser::default();
    let mut walked = Walked { members: 0, sound: true };
    let mut order = Order::default();
    let (mut number, mut skipped, mut open) = (0, false, false);
    while let Some(row) = rows.next(reader)? {
        if monitor.stop_requested() {
            return Err(BrowseError::Stopped.into());
        }
        let chosen = match plan {
            Plan::All => true,
            Plan::Rows(rows) => rows.binary_search(&number).is_ok(),
        };
        number += 1;
        if !chosen && !open && parser.place() != Place::Headers {
            skipped = true;
            continue;
        }
        let part = read_part(reader, &row)?;
        let items =
            if std::mem::take(&mut skipped) { parser.anew(reader, &part)? } else { parser.go_on(reader, &part)? };
        walked.sound &= *plan == Plan::All || is_as_planned(&row, &items, &parser, &mut order);
        for item in items {
            match item {
                Item::Member(member) => {
                    if std::mem::take(&mut open) {
                        visitor.end(false)?;
                    }
                    walked.members += 1;
                    open = visitor.member(&member)? == Interest::Content;
                }
                Item::Piece(piece) if open => visitor.piece(reader, piece)?,
                Item::End if std::mem::take(&mut open) => visitor.end(true)?,
                Item::Piece(_) | Item::End => {}
            }
        }
    }
    if open {
        visitor.end(false)?;
    }
    Ok(walked)
}

/// Whether a part of which the neighbours were left out is what the table promised.
fn is_as_planned(row: &TableRow, items: &[Item], parser: &Parser, order: &mut Order) -> bool {
    let mut paths = items.iter().filter_map(|item| match item {
        Item::Member(member) => Some(member.path.as_slice()),
        Item::Piece(_) | Item::End => None,
    });
    let mut first = paths.clone();
    let is_first = first.next().is_none_or(|path| path.get(..PART_PATH_BYTES_MAX).unwrap_or(path) == row.first_path);
    is_first && paths.all(|path| order.see(path)) && !parser.has_global()
}

/// Takes events, and cannot fail.
type Sink<'s> = dyn FnMut(Event<'_>) -> Result<(), Infallible> + 's;

/// Makes items of parts.
#[derive(Default)]
pub(super) struct Parser {
    splitter: Splitter,
    /// Bytes of the present member's content that are still to come.
    left: u64,
}

impl Parser {
    /// What the next byte belongs to.
    pub(super) fn place(&self) -> Place {
        self.splitter.place()
    }

    /// Whether something was said about all members that follow, also those that are read anew.
    pub(super) fn has_global(&self) -> bool {
        self.splitter.has_global()
    }

    /// The items of the part that follows.
    pub(super) fn go_on(&mut self, reader: &mut Reader<'_>, part: &Part) -> Result<Vec<Item>, RepoError> {
        self.items(reader, part, 0)
    }

    /// The items of a part that does not follow: from the first member that begins in it.
    pub(super) fn anew(&mut self, reader: &mut Reader<'_>, part: &Part) -> Result<Vec<Item>, RepoError> {
        *self = Self::default();
        self.items(reader, part, part.lead)
    }

    fn items(&mut self, reader: &mut Reader<'_>, part: &Part, mut lead: u64) -> Result<Vec<Item>, RepoError> {
        let envelope = reader.chunks(&part.envelope)?;
        let mut rest = envelope.as_slice();
        let mut items = Vec::new();
        for step in &part.steps {
            let before = lead.min(step.len());
            lead -= before;
            match step {
                Step::Envelope(len) => {
                    // The decoder has made sure that the lengths agree.
                    let (bytes, behind) = rest.split_at(usize::try_from(*len).unwrap_or(0).min(rest.len()));
                    rest = behind;
                    self.push(tail(bytes, before), &mut items);
                }
                Step::Zeros(len) => self.zeros(len - before, &mut items),
                Step::Chunk(_) if before == step.len() => {}
                Step::Chunk(chunk) if before == 0 && self.splitter.skippable() >= chunk.len.into() => {
                    self.content(Piece::Chunk(*chunk), chunk.len.into(), &mut items);
                    self.skip(chunk.len.into(), &mut items);
                }
                // No writer of ours puts headers into chunks, but a recipe may.
                Step::Chunk(chunk) => self.push(tail(&reader.chunk(*chunk)?, before), &mut items),
            }
        }
        Ok(items)
    }

    fn zeros(&mut self, mut len: u64, items: &mut Vec<Item>) {
        while len > 0 {
            let now = match self.splitter.skippable() {
                0 => {
                    let now = len.min(ZEROS.len() as u64);
                    self.push(ZEROS.get(..usize::try_from(now).unwrap_or(0)).unwrap_or_default(), items);
                    now
                }
                most => {
                    let now = len.min(most);
                    self.content(Piece::Zeros(now), now, items);
                    self.skip(now, items);
                    now
                }
            };
            len -= now;
        }
    }

    fn push(&mut self, bytes: &[u8], items: &mut Vec<Item>) {
        self.drive(items, |splitter, sink| splitter.push(bytes, &mut |event| sink(event)));
    }

    fn skip(&mut self, len: u64, items: &mut Vec<Item>) {
        self.drive(items, |splitter, sink| splitter.skip(len, &mut |event| sink(event)));
    }

    fn drive(
        &mut self,
        items: &mut Vec<Item>,
        act: impl FnOnce(&mut Splitter, &mut Sink<'_>) -> Result<(), Infallible>,
    ) {
        let mut left = self.left;
        let Ok(()) = act(&mut self.splitter, &mut |event| {
            match event {
                Event::Member(member) => {
                    items.push(Item::Member(Box::new(member.clone())));
                    left = member.size;
                    if left == 0 {
                        items.push(Item::End);
                    }
                }
                Event::Inline(bytes) | Event::Payload(bytes) => {
                    content(items, &mut left, Piece::Bytes(bytes.to_vec()), bytes.len() as u64);
                }
                Event::Zeros(len) => content(items, &mut left, Piece::Zeros(len), len),
                Event::Boundary | Event::Envelope(_) | Event::PayloadStart { .. } | Event::PayloadEnd => {}
            }
            Ok(())
        });
        self.left = left;
    }

    fn content(&mut self, piece: Piece, len: u64, items: &mut Vec<Item>) {
        content(items, &mut self.left, piece, len);
    }
}

/// Adds a piece, and the end behind the last. What follows an archive is nobody's content.
fn content(items: &mut Vec<Item>, left: &mut u64, piece: Piece, len: u64) {
    if len == 0 || *left == 0 {
        return;
    }
    items.push(Item::Piece(piece));
    *left = left.saturating_sub(len);
    if *left == 0 {
        items.push(Item::End);
    }
}

/// What stands behind so many bytes.
fn tail(bytes: &[u8], before: u64) -> &[u8] {
    usize::try_from(before).ok().and_then(|before| bytes.get(before..)).unwrap_or_default()
}
