//! Rewriting over bytes in memory, by the same functions as on the way into a daemon: for tests and fuzzing.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use crate::daemon::Flavor;
use crate::id::{ChunkId, ID_BYTES};
use crate::recipe::ChunkRef;
use crate::rewrite::description::{Edit, Identity, Index, Maps, Selection};
use crate::rewrite::keys::{KeyRules, Origin};
use crate::rewrite::stream::{INDEX_PATH, Machine, Output, Rewrite, RewriteError, Rewriter};
use crate::tar::{Event, Splitter};

/// What is made of an export.
#[derive(Debug, Clone, Default)]
pub struct Trial {
    /// What of it.
    pub selection: Selection,
    /// What is called otherwise.
    pub maps: Maps,
    /// Devices to leave out.
    pub without_devices: BTreeSet<String>,
    /// Whether it gets an identity of its own.
    pub fresh_identity: bool,
    /// Lengths of the pieces in which the stream comes, again and again; all at once if there are none.
    pub pieces: Vec<usize>,
}

/// Rewrites a stream for a daemon of another product. Content comes as references wherever that is allowed.
pub fn rewritten(stream: &[u8], flavor: Flavor, trial: &Trial) -> Result<Vec<u8>, String> {
    let index = Index::parse(&index_of(stream).ok_or("there is no index")?).map_err(|error| error.to_string())?;
    let kind = index.kind().ok_or("it is of no kind that can be rewritten")?;
    let mut index = index.select(&trial.selection).map_err(|error| error.to_string())?;
    let keys = KeyRules::of(flavor, Origin::Foreign);
    let identity = Identity { uuid: "fresh-uuid".to_owned(), cloud_init: "fresh-id".to_owned() };
    index.edit(&Edit {
        maps: &trial.maps,
        without: &trial.without_devices,
        of_profiles: &BTreeSet::new(),
        keys: &keys,
        identity: trial.fresh_identity.then_some(&identity),
        set: &BTreeMap::new(),
        unset: &[],
    });
    let rewrite = Rewrite::new(kind, trial.selection.clone(), &index, 1_700_000_000).map_err(|it| it.to_string())?;
    let mut rewriter = Rewriter::new(rewrite).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    for (number, piece) in cut(stream, &trial.pieces).enumerate() {
        feed(&mut rewriter, number, piece).map_err(|error| error.to_string())?;
        write(&mut out, rewriter.take(), stream, &trial.pieces);
    }
    let rest = rewriter.finish().map_err(|error| error.to_string())?;
    write(&mut out, rest, stream, &trial.pieces);
    Ok(out)
}

fn cut<'s>(stream: &'s [u8], pieces: &[usize]) -> impl Iterator<Item = &'s [u8]> {
    let mut lengths = pieces.iter().copied().cycle();
    let mut rest = stream;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let len = lengths.next().unwrap_or(rest.len()).clamp(1, rest.len());
        let (piece, behind) = rest.split_at(len);
        rest = behind;
        Some(piece)
    })
}

/// A reference whose id is the number of a piece.
fn reference(number: usize, len: usize) -> Option<ChunkRef> {
    let mut id = [0; ID_BYTES];
    id.get_mut(..8)?.copy_from_slice(&(number as u64).to_le_bytes());
    Some(ChunkRef { id: ChunkId::from_bytes(id), len: u32::try_from(len).ok()? })
}

fn feed(rewriter: &mut Rewriter, number: usize, piece: &[u8]) -> Result<(), RewriteError> {
    if let Some(chunk) = reference(number, piece.len())
        && rewriter.pass_chunk(chunk)?
    {
        return Ok(());
    }
    rewriter.push(piece)
}

fn write(out: &mut Vec<u8>, outputs: Vec<Output>, stream: &[u8], pieces: &[usize]) {
    for output in outputs {
        match output {
            Output::Bytes(bytes) => out.extend_from_slice(&bytes),
            Output::Zeros(len) => out.resize(out.len() + usize::try_from(len).unwrap_or(0), 0),
            Output::Chunk(chunk) => {
                let number = chunk.id.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                let mut all = cut(stream, pieces);
                out.extend_from_slice(all.nth(usize::try_from(number).unwrap_or(usize::MAX)).unwrap_or_default());
            }
        }
    }
}

fn index_of(stream: &[u8]) -> Option<Vec<u8>> {
    let (mut found, mut left) = (None, 0);
    let Ok(()) = Splitter::new().push(stream, &mut |event| {
        match event {
            Event::Member(member) => {
                left = 0;
                if found.is_none() && member.path == INDEX_PATH {
                    (found, left) = (Some(Vec::new()), member.size);
                }
            }
            Event::Inline(bytes) | Event::Payload(bytes) if left > 0 => {
                left = left.saturating_sub(bytes.len() as u64);
                found.get_or_insert_default().extend_from_slice(bytes);
            }
            _ => {}
        }
        Ok::<(), Infallible>(())
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::fake::FakeInstance;
    use serde_json::json;

    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn container() -> Vec<u8> {
        let sparse = [vec![0; 200_000], noise(1000), vec![0; 100_000]].concat();
        FakeInstance::container("web1")
            .nic("eth0", "br0", "00:16:3e:00:00:01")
            .file("a/small", b"hello")
            .snapshot("s0", None)
            .snapshot("s1", None)
            .file("a/noise", &noise(70_000))
            .file("b/sparse", &sparse)
            .file("c/empty", b"")
            .export()
    }

    fn with(selection: Selection, pieces: &[usize]) -> Trial {
        Trial { selection, pieces: pieces.to_vec(), ..Trial::default() }
    }

    fn members(archive: &[u8]) -> Vec<(String, Vec<u8>, String)> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            let text = |bytes: std::borrow::Cow<'_, [u8]>| String::from_utf8_lossy(&bytes).into_owned();
            let link = entry.link_name_bytes().map(text).unwrap_or_default();
            (text(entry.path_bytes()), content, link)
        });
        entries.collect()
    }

    const SELECTIONS: fn() -> [Selection; 4] = || {
        let s1 = || "s1".to_owned();
        [Selection::Whole, Selection::NoSnapshots, Selection::Snapshot(s1()), Selection::Promoted(s1())]
    };

    #[test]
    fn in_whatever_pieces_it_comes_the_same_comes_out() {
        let stream = container();
        for selection in SELECTIONS() {
            let whole = rewritten(&stream, Flavor::Lxd, &with(selection.clone(), &[])).unwrap();
            for pieces in [&[511][..], &[512], &[1, 4095, 70_000], &[9000, 3], &[1 << 20]] {
                assert!(rewritten(&stream, Flavor::Lxd, &with(selection.clone(), pieces)).unwrap() == whole);
            }
        }
    }

    #[test]
    fn what_was_rewritten_is_rewritten_to_itself() {
        for selection in SELECTIONS() {
            let once = rewritten(&container(), Flavor::Lxd, &with(selection, &[])).unwrap();
            assert!(rewritten(&once, Flavor::Lxd, &with(Selection::Whole, &[4096])).unwrap() == once);
        }
    }

    #[test]
    fn a_bucket_may_be_empty_and_keeps_its_objects() {
        let index = json!({"name": "data", "type": "bucket", "config": {"bucket": {"name": "data"}}});
        for objects in [vec![], vec!["a", "b/backup.yaml"]] {
            let stream = odd(&index, |archive| {
                for object in &objects {
                    append(archive, &format!("backup/bucket/{object}"), tar::EntryType::Regular, b"content");
                }
            });
            let out = rewritten(&stream, Flavor::Incus, &with(Selection::Whole, &[700])).unwrap();
            assert!(members(&out)[1..] == members(&stream)[1..]);
            assert_eq!(members(&out).len(), 1 + objects.len());
        }
    }

    /// An archive with a snapshot, made by hand.
    fn odd(index: &serde_json::Value, add: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let index = serde_norway::to_string(index).unwrap();
        append(&mut archive, "backup/index.yaml", tar::EntryType::Regular, index.as_bytes());
        add(&mut archive);
        archive.into_inner().unwrap()
    }

    fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, content: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(0);
        if kind == tar::EntryType::Link {
            let target = std::str::from_utf8(content).unwrap();
            archive.append_link(&mut header, path, target).unwrap();
            return;
        }
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content).unwrap();
    }

    fn index(kind: &str) -> serde_json::Value {
        json!({"name": "x", "pool": "p", "type": kind, "snapshots": ["s1"], "config": {
            "container": {"config": {}, "devices": {}, "profiles": []},
            "snapshots": [{"name": "s1", "config": {"user.note": "then"}}],
            "volume": {"name": "x", "config": {"size": "8MiB"}, "description": "now"},
            "volume_snapshots": [{"name": "x/s1", "config": {}, "description": "then"}],
        }})
    }

    #[test]
    fn hard_links_and_long_names_move_with_their_tree() {
        let long = "n".repeat(180);
        let stream = odd(&index("container"), |archive| {
            append(archive, "backup/snapshots/s1", tar::EntryType::Directory, b"");
            append(archive, "backup/snapshots/s1/backup.yaml", tar::EntryType::Regular, b"stale");
            append(archive, &format!("backup/snapshots/s1/rootfs/{long}"), tar::EntryType::Regular, b"content");
            let target = format!("backup/snapshots/s1/rootfs/{long}");
            append(archive, "backup/snapshots/s1/rootfs/hard", tar::EntryType::Link, target.as_bytes());
            append(archive, "backup/snapshots/s10", tar::EntryType::Directory, b"");
            append(archive, "backup/container", tar::EntryType::Directory, b"");
        });
        let out = rewritten(&stream, Flavor::Lxd, &with(Selection::Snapshot("s1".to_owned()), &[])).unwrap();
        let found = members(&out);
        let paths: Vec<&str> = found.iter().map(|(path, ..)| path.as_str()).collect();
        let file = format!("backup/container/rootfs/{long}");
        assert_eq!(
            paths,
            [
                "backup/index.yaml",
                "backup/container",
                "backup/container/backup.yaml",
                &file,
                "backup/container/rootfs/hard"
            ]
        );
        assert!(found[2].1 != b"stale" && found[2].1.windows(4).any(|text| text == b"then"));
        assert_eq!((found[3].1.as_slice(), found[4].2.as_str()), (&b"content"[..], file.as_str()));
    }

    #[test]
    fn a_link_out_of_its_tree_is_refused() {
        let stream = odd(&index("container"), |archive| {
            append(archive, "backup/snapshots/s1", tar::EntryType::Directory, b"");
            append(archive, "backup/snapshots/s1/hard", tar::EntryType::Link, b"backup/snapshots/s10/file");
        });
        let refused = rewritten(&stream, Flavor::Lxd, &with(Selection::Snapshot("s1".to_owned()), &[])).unwrap_err();
        assert!(refused.contains("backup/snapshots/s1/hard"), "{refused}");
    }

    #[test]
    fn a_description_is_written_where_the_export_has_none() {
        let stream = odd(&index("virtual-machine"), |archive| {
            append(archive, "backup/virtual-machine/nvram", tar::EntryType::Regular, b"x");
            append(archive, "backup/virtual-machine.img", tar::EntryType::Regular, b"image");
        });
        let out = rewritten(&stream, Flavor::Incus, &with(Selection::NoSnapshots, &[])).unwrap();
        let found = members(&out);
        assert_eq!(found[1].0, "backup/virtual-machine/backup.yaml");
        let description: serde_json::Value = serde_norway::from_slice(&found[1].1).unwrap();
        assert_eq!(description["snapshots"], serde_json::Value::Null);
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn a_snapshot_of_a_volume_becomes_the_volume() {
        let files = odd(&index("custom"), |archive| {
            append(archive, "backup/volume-snapshots/s1", tar::EntryType::Directory, b"");
            append(archive, "backup/volume-snapshots/s1/volume.img", tar::EntryType::Regular, b"a file of this name");
            append(archive, "backup/volume-snapshots/s1.img", tar::EntryType::Directory, b"");
            append(archive, "backup/volume", tar::EntryType::Directory, b"");
        });
        let block = odd(&index("custom"), |archive| {
            append(archive, "backup/volume-snapshots/s1.img", tar::EntryType::Regular, &noise(5000));
            append(archive, "backup/volume.img", tar::EntryType::Regular, b"now");
        });
        for (stream, expected) in
            [(files, &["backup/volume", "backup/volume/volume.img"][..]), (block, &["backup/volume.img"])]
        {
            let out = rewritten(&stream, Flavor::Lxd, &with(Selection::Snapshot("s1".to_owned()), &[])).unwrap();
            let found = members(&out);
            assert_eq!(found.iter().skip(1).map(|(path, ..)| path.as_str()).collect::<Vec<_>>(), expected);
            let index: serde_json::Value = serde_norway::from_slice(&found[0].1).unwrap();
            let volume = &index["config"]["volume"];
            assert_eq!((&volume["description"], &volume["config"]["size"]), (&json!("then"), &json!("8MiB")));
            assert_eq!(index["config"]["volume_snapshots"], serde_json::Value::Null);
        }
    }

    #[test]
    fn what_is_no_whole_export_is_refused() {
        let whole = container();
        for cut in [0, 511, 3000, whole.len() / 2, whole.len() - 1024, whole.len() - 512] {
            rewritten(&whole[..cut], Flavor::Lxd, &with(Selection::Whole, &[])).unwrap_err();
        }
        let headless = odd(&index("container"), |archive| {
            append(archive, "backup/snapshots/s1", tar::EntryType::Directory, b"");
        });
        let refused = rewritten(&headless, Flavor::Lxd, &with(Selection::Whole, &[])).unwrap_err();
        assert!(refused.contains("backup/container"), "{refused}");
        let file = odd(&index("container"), |archive| {
            append(archive, "backup/container", tar::EntryType::Regular, b"where a directory should be");
        });
        rewritten(&file, Flavor::Lxd, &with(Selection::NoSnapshots, &[])).unwrap_err();
        let trailing = [&whole[..], &[0; 10_240]].concat();
        let whole = rewritten(&whole, Flavor::Lxd, &with(Selection::Whole, &[])).unwrap();
        assert!(rewritten(&trailing, Flavor::Lxd, &with(Selection::Whole, &[])).unwrap() == whole);
    }
}
