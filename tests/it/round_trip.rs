//! What goes in comes out, byte for byte.

use std::sync::Arc;

use holdall::backup::{ImportRequest, Run, import};
use holdall::limits::{FRAME_PLAIN_BYTES_MAX, MIB, PACK_BYTES_TARGET};
use holdall::monitor::Silent;
use holdall::store::MemoryStore;

use crate::fixture::{clock, export_bytes, import_bytes, init, new, noise, points, reopen, tar_of_noise};

#[test]
fn any_bytes_come_back_as_a_file() {
    let mut mixed = tar_of_noise(40, 5000);
    mixed.extend(vec![0; 300_000]);
    mixed.extend(noise(1, 100));
    for (n, bytes) in [
        Vec::new(),
        b"x".to_vec(),
        noise(2, 511),
        noise(3, 5_000_000),
        vec![0; 1_000_000],
        tar_of_noise(2000, 700),
        tar_of_noise(200, 4100),
        tar_of_noise(30, 400_000),
        mixed,
    ]
    .into_iter()
    .enumerate()
    {
        let repository = new();
        let summary = import_bytes(&repository, &bytes[..], Some("file:some bytes")).unwrap();
        assert_eq!((summary.made.len(), summary.failed.len()), (1, 0));
        let points = points(&repository);
        assert!(export_bytes(&repository, &points[0].1) == bytes, "case {n}");
    }
}

#[test]
fn a_second_import_of_the_same_bytes_stores_no_payload() {
    let repository = new();
    let bytes = tar_of_noise(300, 100_000);
    let first = import_bytes(&repository, &bytes[..], Some("file:a")).unwrap();
    let second = import_bytes(&repository, &bytes[..], Some("file:a")).unwrap();
    assert_eq!(first.made[0].statistics.new_chunks, first.made[0].statistics.chunks);
    assert_eq!(second.made[0].statistics.new_chunks, 0);
    assert_eq!(second.stored_bytes, 0);
    assert_eq!(points(&repository).len(), 2);
}

/// No stream of the run fills a frame, so nothing but the end of each stream can notice that the pack is full.
#[test]
fn many_small_streams_of_one_run_do_not_make_one_endless_pack() {
    let store = Arc::new(MemoryStore::new());
    let repository = init(Arc::<MemoryStore>::clone(&store));
    let clock = clock();
    let mut run = Run::begin(&repository, &Silent, &clock, "test-host").unwrap();
    let streams = u64::try_from(PACK_BYTES_TARGET / MIB).unwrap() + 2;
    for n in 0..streams {
        let source = Some(format!("file:{n}").parse().unwrap());
        let (label, server) = (n.to_string(), String::new());
        let input = &mut &noise(n, MIB)[..];
        import(&mut run, ImportRequest { label, input, bytes: None, source, server }).unwrap();
    }
    run.finish().unwrap();
    let repository = reopen(store);
    let packs = repository.list_packs().unwrap();
    let longest = packs.iter().map(|(_, bytes)| *bytes).max().unwrap();
    assert!(longest < (PACK_BYTES_TARGET + FRAME_PLAIN_BYTES_MAX) as u64 && packs.len() > 2, "{packs:?}");
    assert_eq!(points(&repository).len() as u64, streams);
}

#[test]
fn an_export_that_nobody_could_name_again_is_refused() {
    let export = |name: &str| {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in [("backup/index.yaml", format!("name: {name:?}\n")), ("backup/container", String::new())]
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    };
    assert!(import_bytes(&new(), &export("web1")[..], None).is_ok());
    for name in ["", "a/b", "a\nb", &"a".repeat(2000)] {
        let repository = new();
        assert!(import_bytes(&repository, &export(name)[..], None).is_err(), "{name:?}");
        assert!(points(&repository).is_empty());
    }
}
