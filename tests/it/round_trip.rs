//! What goes in comes out, byte for byte.

use crate::fixture::{export_bytes, import_bytes, new, noise, points, tar_of_noise};

#[test]
fn any_bytes_come_back_as_a_file() {
    let mut mixed = tar_of_noise(40, 3000);
    mixed.extend(vec![0; 300_000]);
    mixed.extend(noise(1, 100));
    for (n, bytes) in [
        Vec::new(),
        b"x".to_vec(),
        noise(2, 511),
        noise(3, 5_000_000),
        vec![0; 1_000_000],
        tar_of_noise(2000, 700),
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
