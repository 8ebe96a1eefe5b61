//! Which object stands under which name (`format-spec/repository.md`, "Layout").

use crate::id::{CondemnedId, ID_BYTES, KeyslotId, NoteId, PackId, PointId, SegmentId};
use crate::store::{Directory, Name};

/// Configs; names are decimal numbers.
pub const CONFIG: Directory = Directory::fixed("config");
/// Key slots.
pub const KEYS: Directory = Directory::fixed("keys");
/// Packs, in sixteen directories by their first digit, so that none grows too long.
pub const PACKS: Directory = Directory::fixed("packs");
/// Index segments.
pub const INDEX: Directory = Directory::fixed("index");
/// Points and voids.
pub const POINTS: Directory = Directory::fixed("points");
/// Sessions.
pub const SESSIONS: Directory = Directory::fixed("sessions");
/// Condemned objects.
pub const CONDEMNED: Directory = Directory::fixed("condemned");
/// Beats.
pub const BEATS: Directory = Directory::fixed("beats");
/// Notes.
pub const NOTES: Directory = Directory::fixed("notes");

/// Every directory that a repository has from its `init` on, besides those of packs.
pub const DIRECTORIES: [Directory; 9] = [CONFIG, KEYS, PACKS, INDEX, POINTS, SESSIONS, CONDEMNED, BEATS, NOTES];

/// Leaf of the text for people, in the root.
pub const README: &str = "README";

/// The config of this number.
pub fn config(number: u64) -> Name {
    CONFIG.number(number)
}

/// A key slot.
pub fn keyslot(id: KeyslotId) -> Name {
    KEYS.id(id.as_bytes())
}

/// A pack.
pub fn pack(id: PackId) -> Name {
    PACKS.shard(id.as_bytes()).id(id.as_bytes())
}

/// An index segment.
pub fn segment(id: SegmentId) -> Name {
    INDEX.id(id.as_bytes())
}

/// A point or void.
pub fn point(id: PointId) -> Name {
    POINTS.id(id.as_bytes())
}

/// A session.
pub fn session(id: PointId) -> Name {
    SESSIONS.id(id.as_bytes())
}

/// A condemned object.
pub fn condemned(id: CondemnedId) -> Name {
    CONDEMNED.id(id.as_bytes())
}

/// A note.
pub fn note(id: NoteId) -> Name {
    NOTES.id(id.as_bytes())
}

/// The number that a listed config has; `None` for a name that no writer of this format makes.
pub fn parse_config(listed: &Name) -> Option<u64> {
    listed.leaf().parse().ok().filter(|number| config(*number) == *listed)
}

/// The id that a listed name is; `None` for a name that no writer of this format makes.
pub fn parse_id<I>(listed: &Name, from_bytes: impl FnOnce([u8; ID_BYTES]) -> I) -> Option<I> {
    listed.leaf().parse::<PointId>().ok().map(|id| from_bytes(*id.as_bytes()))
}
