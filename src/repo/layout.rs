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
/// Leaf of what a prune may delete to have room for its condemned object, in the root.
pub const RESERVE: &str = "reserve";

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

/// A beat of a session.
pub fn beat(session: PointId, number: u64) -> Name {
    BEATS.id_and_number(session.as_bytes(), number)
}

/// The session that a listed name is a beat of; `None` for a name that no writer of this format makes.
pub fn parse_beat(listed: &Name) -> Option<PointId> {
    let (session, number) = listed.leaf().split_once('-')?;
    let (session, number) = (session.parse().ok()?, number.parse().ok()?);
    (beat(session, number) == *listed).then_some(session)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors name each object as another implementation must find it.
    #[test]
    fn objects_have_the_names_that_the_vectors_state() {
        let text = include_str!("../../format-spec/vectors/repository/names.json");
        let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let id = || *case["id"].as_str().unwrap().parse::<PackId>().unwrap().as_bytes();
            let name = match case["object"].as_str().unwrap() {
                "config" => config(case["id"].as_str().unwrap().parse().unwrap()),
                "key slot" => keyslot(KeyslotId::from_bytes(id())),
                "pack" => pack(PackId::from_bytes(id())),
                "index segment" => segment(SegmentId::from_bytes(id())),
                "point or void" => point(PointId::from_bytes(id())),
                "session" => session(PointId::from_bytes(id())),
                "condemned object" => condemned(CondemnedId::from_bytes(id())),
                _ => note(NoteId::from_bytes(id())),
            };
            assert_eq!(name.as_str(), case["name"].as_str().unwrap());
        }
    }

    #[test]
    fn other_names_are_nobodys() {
        let names = ["config/01", "config/+1", "config/1a", "config/18446744073709551616", "config/x"];
        assert!(names.iter().all(|name| name.parse().map_or(true, |name| parse_config(&name).is_none())));
        assert_eq!(parse_config(&config(7)), Some(7));
        let id = PackId::from_bytes([0xab; ID_BYTES]).to_string();
        let is_id = |leaf: &str| parse_id(&POINTS.object(leaf).unwrap(), PackId::from_bytes).is_some();
        assert!(is_id(&id) && !is_id(&id.to_uppercase()) && !is_id(&id[1..]) && !is_id("note"));
    }
}
