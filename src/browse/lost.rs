//! Which files of a point lose content, where chunks of it are lost.

use std::collections::BTreeSet;

use crate::browse::walk::{Item, Parser, Piece};
use crate::id::ChunkId;
use crate::limits::LOST_FILES_MAX;
use crate::point::Point;
use crate::repo::{Reader, RepoError, Rows, read_part};

/// The paths, as they stand in the stream, of members whose content holds a chunk that is lost, at most
/// [`LOST_FILES_MAX`]. Of a part of the recipe that is lost itself, what it begins with and what was open before it are
/// all that is known; of the rest behind a lost table, nothing is. What is no archive has no members.
pub fn lost_files(
    reader: &mut Reader<'_>,
    point: &Point,
    is_lost: impl Fn(&ChunkId) -> bool,
) -> Result<BTreeSet<Vec<u8>>, RepoError> {
    let mut files = BTreeSet::new();
    let mut rows = Rows::new(&point.content);
    let (mut parser, mut open, mut is_apart): (Parser, Option<Vec<u8>>, bool) = (Parser::default(), None, false);
    while files.len() < LOST_FILES_MAX && point.form.is_archive() {
        let row = match rows.next(reader) {
            Ok(Some(row)) => row,
            Ok(None) => break,
            Err(error) if error.is_hole() => {
                files.extend(open.take());
                break;
            }
            Err(error) => return Err(error),
        };
        let items = read_part(reader, &row).and_then(|part| {
            if std::mem::take(&mut is_apart) { parser.anew(reader, &part) } else { parser.go_on(reader, &part) }
        });
        let items = match items {
            Ok(items) => items,
            Err(error) if error.is_hole() => {
                files.extend(open.take());
                files.insert(row.first_path);
                is_apart = true;
                continue;
            }
            Err(error) => return Err(error),
        };
        for item in items {
            match item {
                Item::Member(member) => open = Some(member.path),
                Item::Piece(Piece::Chunk(chunk)) if is_lost(&chunk.id) => files.extend(open.clone()),
                Item::Piece(_) => {}
                Item::End => open = None,
            }
        }
    }
    files.remove(&Vec::new());
    Ok(files)
}
