//! Volumes of disc images (ISO) on real daemons: bytes in, bytes out, where the daemon makes exports of them at all.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::holdall::Holdall;
use crate::lab::{Lab, Pool, Product};

/// Bytes of a disc image: no whole number of blocks or of anything else.
const DISC_BYTES: usize = 3_000_001;

/// An archive, although nobody may look into it, then noise with a hole.
fn disc(file: &Path, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; DISC_BYTES];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_pax_extensions([("SCHILY.acl.access", &[2, 0, 0, 0][..])]).expect("records");
    let mut header = tar::Header::new_ustar();
    header.set_size(5000);
    header.set_cksum();
    archive.append(&header, &[7; 5000][..]).expect("a member");
    let archive = archive.into_inner().expect("an archive");
    bytes[..archive.len()].copy_from_slice(&archive);
    bytes[1_000_000..2_000_000].fill(0);
    save(file, &bytes);
    bytes
}

#[expect(clippy::disallowed_methods, reason = "no object of a store")]
fn save(file: &Path, bytes: &[u8]) {
    fs::write(file, bytes).expect("a file for the disc image");
}

/// What the daemon keeps of a disc image, which it pads.
fn stored(lab: &Lab, pool: Pool, volume: &str) -> Vec<u8> {
    let directory = lab.pool_dir(pool).join("custom").join(format!("default_{volume}.iso"));
    let mut bytes = fs::read(directory.join("root.img")).expect("the image of the volume");
    assert!(bytes.len() >= DISC_BYTES && bytes[DISC_BYTES..].iter().all(|byte| *byte == 0));
    bytes.truncate(DISC_BYTES);
    bytes
}

#[test]
fn disc_images_are_lost_and_come_back() {
    let Some(lab) = Lab::incus7() else { return };
    let holdall = Holdall::new(&lab);
    let file = holdall.beside("image.iso");
    let pools = [Pool::Dir, Pool::Btrfs];
    let discs = [1, 2].map(|seed| disc(&file, seed));
    for (pool, bytes) in pools.iter().zip(&discs) {
        save(&file, bytes);
        let name = lab.pool(*pool);
        lab.run(&["storage", "volume", "import", name, file.to_str().expect("text"), "disc", "--type", "iso"]);
        let path = format!("/1.0/storage-pools/{name}/volumes/custom/disc");
        lab.request("PATCH", &path, &serde_json::json!({"description": "old"}));
    }
    let planned = holdall.succeeds(&["backup", "--all", "--dry-run"]);
    assert!(planned.contains("volume:dir/disc: disc image"), "{planned}");
    assert_eq!(holdall.objects(&["backup", "--all"], "made").len(), 2);
    for (pool, bytes) in pools.iter().zip(&discs) {
        let name = pool.name();
        let source = format!("volume:{name}/disc");
        let point = &holdall.objects(&["show", &source], "point_details")[0];
        assert_eq!((&point["form"], &point["consistency"]), (&Value::from("disc"), &Value::from("stopped")));
        let exported = holdall.beside("exported");
        holdall.succeeds(&["export", &source, exported.to_str().expect("text"), "--force"]);
        assert!(fs::read(&exported).expect("the export") == *bytes);
        holdall.fails(&["restore", &source], 10, &["Volume", "disc", "exists", "--as"]);
        holdall.fails(&["ls", &source], 8, &["is not an archive"]);
        lab.run(&["storage", "volume", "delete", name, "disc"]);
        holdall.succeeds(&["restore", &source]);
        holdall.succeeds(&["restore", &source, "--as", "twin"]);
        for volume in ["disc", "twin"] {
            assert!(stored(&lab, *pool, volume) == *bytes, "{source} as {volume}");
            let restored = lab.get(&format!("/1.0/storage-pools/{name}/volumes/custom/{volume}"));
            assert_eq!(
                (restored["content_type"].as_str(), restored["config"]["size"].as_str()),
                (Some("iso"), Some("3000001"))
            );
            assert_eq!(restored["description"], "old");
        }
        lab.run(&["storage", "volume", "delete", name, "twin"]);
    }
    holdall.succeeds(&["restore", "volume:dir/disc", "--as", "elsewhere", "--pool", "btrfs"]);
    assert!(stored(&lab, Pool::Btrfs, "elsewhere") == discs[0]);
    for made in holdall.objects(&["backup", "--all"], "made") {
        assert!(made["stored_bytes"].as_u64().expect("bytes") < 8192, "nothing is new: {made}");
    }
    holdall.succeeds(&["check", "--read-data"]);
}

#[test]
fn a_disc_image_is_named_as_what_cannot_be_saved() {
    let Some(lab) = Lab::open(Product::Incus6) else { return };
    let holdall = Holdall::new(&lab);
    lab.launch_tiny("c", Pool::Dir);
    let file = holdall.beside("image.iso");
    disc(&file, 1);
    lab.run(&["storage", "volume", "import", "dir", file.to_str().expect("text"), "disc", "--type", "iso"]);
    let planned = holdall.succeeds(&["backup", "--all", "--dry-run"]);
    assert!(planned.contains("volume:dir/disc: disc image, cannot be backed up"), "{planned}");
    holdall.fails(&["backup", "--all"], 3, &["volume:dir/disc", "disc image", "makes no exports"]);
    assert_eq!(holdall.points().len(), 2, "the others were backed up");
}
