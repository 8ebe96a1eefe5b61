//! Images on real daemons, in one file and in several: backed up, lost, and back under the same fingerprint.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::holdall::Holdall;
use crate::lab::{Lab, Pool, Product};

fn save(file: PathBuf, parts: &[&[u8]]) -> String {
    let bytes = parts.concat();
    File::create(&file).and_then(|created| created.write_all_at(&bytes, 0)).expect("a file for an image");
    file.into_os_string().into_string().expect("text")
}

fn noise(seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; 1_500_000];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// What an image says of itself, as an archive.
fn metadata(description: &str) -> Vec<u8> {
    let text = format!(
        "architecture: x86_64\ncreation_date: 1700000000\nproperties:\n  description: {description}\n  os: none\n"
    );
    let mut header = tar::Header::new_ustar();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "metadata.yaml", text.as_bytes()).expect("a member");
    archive.into_inner().expect("an archive")
}

/// Imports an image in two files, of a container and of a machine: daemons look at the first bytes of the second.
fn import_split(lab: &Lab, holdall: &Holdall) {
    for (alias, begin) in [("split", &b"hsqs"[..]), ("machine", b"QFI\xfb\0\0\0\x03")] {
        let first = save(holdall.beside("meta.tar"), &[&metadata(alias)]);
        let second = save(holdall.beside("root"), &[begin, &noise(begin[0])]);
        lab.run(&["image", "import", &first, &second, "--alias", alias, "user.note=kept"]);
    }
}

/// The images of a project, each with what a restore has to bring back.
fn images(lab: &Lab, project: &str) -> Vec<Value> {
    let mut found = lab.get(&format!("/1.0/images?recursion=1&project={project}"));
    let found = found.as_array_mut().expect("a list");
    for image in found.iter_mut() {
        let fields = image.as_object_mut().expect("an object");
        for theirs in ["uploaded_at", "last_used_at", "created_at", "filename"] {
            fields.remove(theirs);
        }
    }
    found.sort_by_key(|image| image["fingerprint"].to_string());
    found.clone()
}

fn fingerprint(image: &Value) -> &str {
    image["fingerprint"].as_str().expect("a fingerprint")
}

fn downloaded(lab: &Lab, image: &str, file: &Path) -> Vec<u8> {
    let url = format!("http://lab/1.0/images/{image}/export");
    let status = lab.curl().arg(url).arg("--output").arg(file).status();
    assert!(status.is_ok_and(|status| status.success()));
    std::fs::read(file).expect("the image")
}

fn images_are_lost_and_come_back(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    lab.launch_tiny("c", Pool::Dir);
    import_split(&lab, &holdall);
    lab.run(&["project", "create", "sharing", "--config", "features.images=false"]);
    let machine = images(&lab, "default").into_iter().find(|image| image["type"] == "virtual-machine");
    let machine = machine.expect("the image of a machine");
    let path = format!("/1.0/images/{}", fingerprint(&machine));
    let changes = json!({"public": true, "expires_at": "2040-01-01T00:00:00Z", "properties": {"os": "other"}});
    lab.request("PATCH", &path, &changes);
    let alias = json!({"name": "second", "description": "another name", "target": fingerprint(&machine)});
    lab.request("POST", "/1.0/images/aliases", &alias);

    let before = images(&lab, "default");
    assert_eq!(before.len(), 3);
    let planned = holdall.succeeds(&["backup", "--all", "--dry-run"]);
    assert!(planned.contains("image of a container, called tiny"), "{planned}");
    assert!(planned.contains("image of a virtual machine"), "{planned}");
    assert_eq!(holdall.objects(&["backup", "--all"], "made").len(), 4);
    let source = |image: &Value| format!("image:{}", fingerprint(image));
    let tiny = before.iter().find(|image| image["aliases"][0]["name"] == "tiny").expect("the image in one file");
    let exported = holdall.beside("exported");
    holdall.succeeds(&["export", &source(tiny), exported.to_str().expect("text")]);
    let bytes = downloaded(&lab, fingerprint(tiny), &holdall.beside("downloaded"));
    assert!(std::fs::read(&exported).expect("the export") == bytes);
    holdall.fails(&["restore", &source(tiny)], 10, &["Image", fingerprint(tiny), "exists"]);
    holdall.fails(&["restore", &source(tiny), "--as", "other"], 2, &["another name"]);
    for image in &before {
        lab.run(&["image", "delete", fingerprint(image)]);
    }
    assert_eq!(images(&lab, "default"), Vec::<Value>::new());
    for image in &before {
        let restored = &holdall.objects(&["restore", &source(image)], "restored")[0];
        assert_eq!(restored["remarks"], json!([]));
    }
    assert_eq!(images(&lab, "default"), before);
    lab.run(&["init", "tiny", "d"]);
    // What came back is as it was; only what stands around several files is new, as it is each time.
    for made in holdall.objects(&["backup", "--all"], "made") {
        assert!(made["stored_bytes"].as_u64().expect("bytes") < 16 * 1024, "{made}");
    }
    holdall.succeeds(&["check", "--read-data"]);

    // A server that never saw them has them under the same fingerprints.
    let Some(empty) = Lab::open(product) else { return };
    let socket = empty.socket();
    for image in &before {
        holdall.succeeds(&["--server", socket.to_str().expect("text"), "restore", &source(image)]);
    }
    assert_eq!(images(&empty, "default"), before);
}

#[test]
fn images_are_lost_and_come_back_on_lxd() {
    images_are_lost_and_come_back(Product::Lxd);
}

#[test]
fn images_are_lost_and_come_back_on_incus_6() {
    images_are_lost_and_come_back(Product::Incus6);
}

#[test]
fn images_are_lost_and_come_back_on_incus_7() {
    images_are_lost_and_come_back(Product::Incus7);
}
