//! Volumes, buckets and images with the daemon in memory: what is taken, what proves them whole, what comes back.

use std::io::Write;

use aws_lc_rs::digest::{SHA256, digest};
use flate2::Compression;
use flate2::write::GzEncoder;
use holdall::backup::{BackupOptions, Host, NoHostHooks, Selection, StagingCheck, Summary, back_up, plan};
use holdall::daemon::fake::{FakeDaemon, FakeInstance, FakeThing, Fault};
use holdall::daemon::{Daemon, Flavor, ImportForm, Packaging, Subject};
use holdall::monitor::Silent;
use holdall::point::{Point, StreamForm};
use holdall::repo::Repository;
use holdall::restore::{RestoreError, RestoreTarget, restore};
use serde_json::json;

use crate::fixture::{clock, export_bytes, new, noise, points, tar_of_noise};
use crate::vectors::hex;

fn fingerprint(files: &[&[u8]]) -> String {
    hex(digest(&SHA256, &files.concat()).as_ref())
}

/// A body as daemons write it; the boundary is another one each time.
fn multipart(boundary: &str, files: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let line = if at == 0 { format!("--{boundary}\r\n") } else { format!("\r\n--{boundary}\r\n") };
        body.extend([line.as_bytes(), b"Content-Type: application/octet-stream\r\n\r\n", file].concat());
    }
    let end = format!("\r\n--{boundary}--\r\n");
    body.extend_from_slice(end.repeat(2).as_bytes());
    body
}

fn bucket_export(name: &str) -> Vec<u8> {
    let index = format!("name: {name}\npool: default\ntype: bucket\nconfig:\n  bucket:\n    name: {name}\n");
    let mut archive = tar::Builder::new(Vec::new());
    let (one, two) = (noise(1, 100_000), noise(2, 5));
    for (path, content) in [("index.yaml", index.as_bytes()), ("bucket/deep/one", &one), ("bucket/two", &two)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_cksum();
        archive.append_data(&mut header, format!("backup/{path}"), content).unwrap();
    }
    archive.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn image(packaging: Packaging) -> FakeThing {
    let (one, two) = (noise(3, 700), noise(4, 400_000));
    match packaging {
        Packaging::Single => FakeThing::image(&fingerprint(&[&two]), packaging, &two),
        Packaging::Multipart => {
            let body = multipart("0a1b2c", &[&one, &two]);
            FakeThing::image(&fingerprint(&[&one, &two]), packaging, &body)
        }
    }
}

fn run(repository: &Repository, daemon: &FakeDaemon) -> Summary {
    let options = BackupOptions { staging: StagingCheck::Skipped, parallel: 1, ..BackupOptions::default() };
    let host = Host { name: "test-host", clock: &clock(), hooks: &NoHostHooks };
    back_up(repository, daemon, &Selection::All, &options, host, &Silent).unwrap()
}

/// Runs over a daemon with one thing and requires that it has no point. Returns the reason.
fn reason(thing: FakeThing, faults: &[&[Fault]]) -> String {
    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
    let name = name_of(&daemon, thing);
    for faults in faults {
        daemon.fault("default", &name, faults);
    }
    let summary = run(&repository, &daemon);
    assert_eq!((summary.made.len(), summary.failed.len(), points(&repository).len()), (0, 1, 0));
    summary.failed[0].1.clone()
}

/// How often a thing is exported until it has a point, if this happens during the first time.
fn attempts(thing: FakeThing, fault: Fault) -> usize {
    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
    let name = name_of(&daemon, thing);
    daemon.fault("default", &name, &[fault]);
    assert_eq!(run(&repository, &daemon).failed, []);
    daemon.calls().iter().filter(|call| call.starts_with("stream")).count()
}

fn name_of(daemon: &FakeDaemon, thing: FakeThing) -> String {
    daemon.add_thing(thing);
    let plan = plan(daemon, &Selection::All, &BackupOptions::default()).unwrap();
    plan.planned[0].source.name.clone()
}

/// The point of the only thing of a daemon, and the repository with it.
fn point_of(thing: FakeThing) -> (Repository, Point) {
    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
    daemon.add_thing(thing);
    assert_eq!(run(&repository, &daemon).failed, []);
    let point = points(&repository).remove(0).1;
    (repository, point)
}

fn restored(
    repository: &Repository,
    point: &Point,
    daemon: &FakeDaemon,
    name: Option<&str>,
) -> Result<Vec<String>, RestoreError> {
    let target = RestoreTarget { name: name.map(str::to_owned), ..RestoreTarget::default() };
    restore(repository, daemon, "a point", point, &target, &Silent).map(|restored| restored.remarks)
}

#[test]
fn a_run_over_everything_takes_every_kind_and_no_cache() {
    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
    daemon.add(&FakeInstance::container("web1"));
    daemon.add_thing(FakeThing::volume("default", "disc", "iso", &noise(5, 3001)));
    daemon.add_thing(FakeThing::bucket("default", "data", &gzip(&bucket_export("data"))));
    daemon.add_thing(image(Packaging::Single).with("aliases", json!([{"name": "base"}])));
    daemon.add_thing(image(Packaging::Multipart).with("cached", true.into()));
    let planned = plan(&daemon, &Selection::All, &BackupOptions::default()).unwrap().planned;
    let told: Vec<(String, bool)> = planned
        .iter()
        .map(|one| (format!("{}: {}", one.source.to_string().split(':').next().unwrap(), one.what), one.chosen))
        .collect();
    let expected = [
        ("fake//web1: container, Stopped", true),
        ("fake//volume: disc image", true),
        ("fake//bucket: bucket", true),
        ("fake//image: image of a container, called base", true),
        ("fake//image: image of a container", false),
    ];
    assert_eq!(told, expected.map(|(what, chosen)| (what.to_owned(), chosen)));
    let summary = run(&repository, &daemon);
    assert_eq!((summary.made.len(), summary.failed), (4, Vec::new()));
    let forms: Vec<StreamForm> = points(&repository).into_iter().map(|(_, point)| point.form).collect();
    assert!(forms.contains(&StreamForm::Disc) && forms.contains(&StreamForm::Image), "{forms:?}");
}

#[test]
fn what_a_daemon_makes_no_export_of_is_named_and_the_others_are_saved() {
    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Lxd));
    daemon.add(&FakeInstance::container("web1"));
    daemon.add_thing(FakeThing::volume("default", "disc", "iso", b"bytes"));
    daemon.add_thing(FakeThing::volume("default", "odd", "novel", b"bytes"));
    daemon.add_thing(FakeThing::bucket("default", "data", b""));
    let summary = run(&repository, &daemon);
    let told: Vec<String> = summary.failed.iter().map(|(source, why)| format!("{source}: {why}")).collect();
    assert_eq!((summary.made.len(), told.len()), (1, 3), "{told:?}");
    let says = |at: usize, words: &[&str]| assert!(words.iter().all(|word| told[at].contains(word)), "{}", told[at]);
    says(0, &["volume:default/disc", "disc image", "LXD makes no exports"]);
    says(1, &["volume:default/odd", "novel"]);
    says(2, &["bucket:default/data", "LXD makes no exports of buckets"]);
    let planned = plan(&daemon, &Selection::All, &BackupOptions::default()).unwrap().planned;
    assert_eq!(planned.iter().filter(|one| one.what.contains("cannot be backed up")).count(), 3);
}

#[test]
fn a_disc_image_is_as_long_as_the_daemon_says() {
    let disc = FakeThing::volume("default", "disc", "iso", &noise(5, 3001));
    let (repository, point) = point_of(disc.clone());
    assert!(export_bytes(&repository, &point) == noise(5, 3001));
    let cut: &[Fault] = &[Fault::EndAt(3000)];
    let said = reason(disc.clone(), &[cut, cut, cut]);
    assert!(said.contains("3000 bytes") && said.contains("3001"), "{said}");
    // One that broke off is read again.
    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
    daemon.add_thing(disc.clone());
    daemon.fault("default", "disc", cut);
    assert_eq!(run(&repository, &daemon).made.len(), 1);
    assert_eq!(attempts(disc.clone(), Fault::ReplaceInstance), 2);
    assert!(reason(disc, &[&[Fault::DeleteInstance]]).contains("deleted"));
}

#[test]
fn a_disc_image_goes_back_as_it_is_with_its_description() {
    // An archive with a record that a restore of an export would change.
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_pax_extensions([("SCHILY.acl.access", &[2, 0, 0, 0][..])]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("backup/container/rootfs").unwrap();
    header.set_cksum();
    archive.append(&header, &[][..]).unwrap();
    let bytes = archive.into_inner().unwrap();
    let disc = FakeThing::volume("default", "disc", "iso", &bytes).with("description", "old".into());
    let (repository, point) = point_of(disc);
    let daemon = FakeDaemon::new(Flavor::Incus);
    assert_eq!(restored(&repository, &point, &daemon, Some("twin")).unwrap(), Vec::<String>::new());
    let import = daemon.imports().remove(0);
    assert!(import.request.form == ImportForm::Disc && import.bytes == bytes);
    let described = daemon.description(&Subject::volume("default", "default", "twin")).unwrap();
    assert_eq!(described["description"], "old");
    let taken = restored(&repository, &point, &daemon, Some("twin"));
    assert!(matches!(taken, Err(RestoreError::NameTaken { .. })));
}

#[test]
fn a_bucket_is_stored_as_what_its_compressed_export_holds() {
    let export = bucket_export("data");
    let packed = gzip(&export);
    let bucket = FakeThing::bucket("default", "data", &packed);
    let (repository, point) = point_of(bucket.clone());
    assert!(export_bytes(&repository, &point) == export);
    let original = point.original.unwrap();
    assert_eq!((original.codec.as_str(), original.len), ("gzip", packed.len() as u64));
    assert!(!point.description.contains("secret") && point.description.contains("admin"));
    // Every cut shows, whether the daemon says so or not.
    for fault in [Fault::EndAt(packed.len() as u64 - 1), Fault::EndAt(100), Fault::EndAt(0), Fault::CutAt(5000)] {
        let fault: &[Fault] = &[fault];
        reason(bucket.clone(), &[fault, fault, fault]);
    }
    let cut = gzip(&export[..export.len() - 1024]);
    assert!(reason(FakeThing::bucket("default", "data", &cut), &[]).contains("end blocks"));
    assert_eq!(attempts(bucket.clone(), Fault::ReplaceInstance), 2);
    assert!(reason(bucket.clone(), &[&[Fault::DeleteInstance]]).contains("deleted"));
    assert!(reason(bucket.without_keys(), &[]).contains("no key"));
}

#[test]
fn an_image_is_stored_as_it_came_if_its_fingerprint_is_right() {
    for packaging in [Packaging::Single, Packaging::Multipart] {
        let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Lxd));
        let name = name_of(&daemon, image(packaging));
        assert_eq!(run(&repository, &daemon).made.len(), 1);
        let point = points(&repository).remove(0).1;
        let sent = export_bytes(&repository, &point);
        let second = noise(4, 400_000);
        assert!(if packaging == Packaging::Single {
            sent == second
        } else {
            sent.windows(6).any(|at| at == b"0a1b2c")
        });
        let mut other = sent.clone();
        let last = other.len() - 300;
        other[last] ^= 1;
        for fault in [Fault::Serve(other), Fault::EndAt(sent.len() as u64 - 290)] {
            let fault: &[Fault] = &[fault];
            let said = reason(image(packaging), &[fault, fault, fault]);
            assert!(said.contains("fingerprint") || said.contains("no end"), "{said}");
        }
        assert_eq!(name, point.source.name);
    }
}

#[test]
fn an_image_that_comes_with_another_boundary_is_known() {
    let (one, two) = (noise(3, 700), noise(4, 400_000));
    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
    let name = fingerprint(&[&one, &two]);
    for boundary in ["0a1b2c", "7f7f7f"] {
        let body = multipart(boundary, &[&one, &two]);
        daemon.add_thing(FakeThing::image(&name, Packaging::Multipart, &body));
        assert_eq!(run(&repository, &daemon).failed, []);
    }
    let mut new: Vec<u64> = points(&repository).iter().map(|(_, point)| point.statistics.new_chunks).collect();
    new.sort_unstable();
    assert!(new[0] == 0 && new[1] > 0, "{new:?}");
}

#[test]
fn an_image_goes_back_with_what_was_said_of_it() {
    let aliases = json!([{"name": "base", "description": "the base"}, {"name": "other", "description": ""}]);
    let said = image(Packaging::Multipart)
        .with("aliases", aliases)
        .with("properties", json!({"os": "x"}))
        .with("public", true.into())
        .with("auto_update", true.into())
        .with("profiles", json!(["default", "gone"]))
        .with("update_source", json!({"server": "https://images"}));
    let (repository, point) = point_of(said);
    let daemon = FakeDaemon::new(Flavor::Lxd);
    daemon.add_thing(image(Packaging::Single).with("aliases", json!([{"name": "other"}])));
    let remarks = restored(&repository, &point, &daemon, None).unwrap();
    let told = |word: &str| remarks.iter().any(|remark| remark.contains(word));
    assert!(
        remarks.len() == 3 && told("https://images") && told("profile gone") && told("called other"),
        "{remarks:?}"
    );
    let import = daemon.imports().remove(0);
    assert!(import.bytes == export_bytes(&repository, &point));
    assert_eq!(import.request.form, ImportForm::Image(Packaging::Multipart));
    let restored_image = daemon.description(&Subject::image("default", &point.source.name)).unwrap();
    assert_eq!(restored_image["aliases"], json!([{"name": "base", "description": "the base"}]));
    assert_eq!((&restored_image["public"], &restored_image["auto_update"]), (&json!(true), &json!(false)));
    assert_eq!((&restored_image["properties"]["os"], &restored_image["profiles"]), (&json!("x"), &json!(["default"])));
    let again = restored(&repository, &point, &daemon, None);
    assert!(matches!(again, Err(RestoreError::NameTaken { .. })));
    let named = restored(&repository, &point, &FakeDaemon::new(Flavor::Lxd), Some("other"));
    assert!(matches!(named, Err(RestoreError::NotForImages { .. })));
}

#[test]
fn what_an_interrupted_run_left_with_a_volume_or_a_bucket_is_removed() {
    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
    daemon.add_thing(FakeThing::volume("default", "disc", "iso", b"bytes"));
    daemon.add_thing(FakeThing::bucket("default", "data", &gzip(&bucket_export("data"))));
    // Of this repository, and of a session that nobody knows.
    let own = format!("holdall-{:.16}-{}", repository.id().to_string(), "ab".repeat(16));
    let subjects = [Subject::volume("default", "default", "disc"), Subject::bucket("default", "default", "data")];
    for subject in &subjects {
        daemon.add_backup("default", subject.name(), &own);
        daemon.add_backup("default", subject.name(), "backup0");
    }
    assert_eq!(run(&repository, &daemon).failed, []);
    for subject in &subjects {
        let names: Vec<String> = daemon.backups(subject).unwrap().into_iter().map(|backup| backup.name).collect();
        assert_eq!(names, ["backup0"], "{subject}");
    }
}

/// An archive that is no export, but one payload for every file all the same.
#[test]
fn an_image_that_is_a_plain_archive_shares_its_files() {
    let (repository, daemon) = (new(), FakeDaemon::new(Flavor::Incus));
    let archive = tar_of_noise(3, 20_000);
    daemon.add_thing(FakeThing::image(&fingerprint(&[&archive]), Packaging::Single, &archive));
    run(&repository, &daemon);
    let point = points(&repository).remove(0).1;
    assert_eq!((point.statistics.members, point.form), (3, StreamForm::Image));
}
