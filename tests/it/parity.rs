//! Damage to the packs of a repository with parity: it is found, told as what it is, and costs nothing within the
//! bounds that `format-spec/pack.md` gives under "Parity".

use std::ops::Range;
use std::sync::Arc;

use holdall::check::{CheckLevel, Report, Severity, check};
use holdall::id::PackId;
use holdall::monitor::Silent;
use holdall::pack::parity_share;
use holdall::repo::{Parity, Repository};
use holdall::restore::{Digest, export};
use holdall::store::{
    Deleted, Directory, Listed, MemoryStore, Name, Operation, Put, Stat, Store, StoreError, StoreErrorKind, Temporary,
};

use crate::damage::{copy_with, objects};
use crate::fixture::{clock, export_bytes, import_bytes, init_with, noise, points, reopen, tar_of_noise};

fn repository_of(bytes: &[u8], parity: Parity) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    let repository = init_with(Arc::<MemoryStore>::clone(&store), parity);
    import_bytes(&repository, bytes, Some("file:x")).unwrap();
    store
}

fn packs(store: &MemoryStore) -> Vec<(Name, usize)> {
    let packs = objects(store).into_iter().filter(|name| name.as_str().starts_with("packs/"));
    packs.map(|name| (name.clone(), store.get(&name, usize::MAX).unwrap().len())).collect()
}

/// The same objects, one of them with other bytes.
fn changed(store: &MemoryStore, object: &Name, change: impl Fn(&mut Vec<u8>)) -> Arc<MemoryStore> {
    copy_with(store, |name, mut bytes| {
        if name == object {
            change(&mut bytes);
        }
        Some(bytes)
    })
}

fn spoil(bytes: &mut [u8], range: Range<usize>) {
    let end = range.end.min(bytes.len());
    for byte in &mut bytes[range.start.min(end)..end] {
        *byte ^= 0x5a;
    }
}

fn id_of(pack: &Name) -> PackId {
    pack.leaf().parse().unwrap()
}

/// One pack is damaged, is told so and marked, and nobody is worse off for it.
#[track_caller]
fn assert_nothing_is_lost(report: &Report, pack: &Name, what: &str) {
    assert_eq!(report.damaged_packs.iter().copied().collect::<Vec<_>>(), [id_of(pack)], "{what}");
    assert_eq!(report.findings.len(), 1, "{what}: {:?}", report.findings);
    let finding = &report.findings[0];
    assert_eq!(finding.severity, Severity::Degraded, "{what}: {finding:?}");
    assert!(finding.affected.is_empty() && finding.object.contains(pack.leaf()), "{what}: {finding:?}");
}

#[track_caller]
fn assert_exact(repository: &Repository, bytes: &[u8], what: &str) {
    let points = points(repository);
    assert_eq!(points.len(), 1, "{what}");
    assert!(export_bytes(repository, &points[0].1) == bytes, "{what}");
}

#[test]
fn each_changed_byte_of_a_pack_is_found_and_repaired() {
    let bytes = noise(1, 300);
    let store = repository_of(&bytes, Parity::ReedSolomon);
    for (pack, len) in packs(&store) {
        let sound = store.get(&pack, usize::MAX).unwrap();
        for at in 0..len {
            let broken = changed(&store, &pack, |bytes| bytes[at] ^= 1);
            let (what, id) = (format!("{pack} at {at} of {len}"), id_of(&pack));
            assert_exact(&reopen(Arc::<MemoryStore>::clone(&broken)), &bytes, &what);
            let repository = reopen(broken);
            let report = check(&repository, CheckLevel::ReadData, &Silent).unwrap();
            assert_nothing_is_lost(&report, &pack, &what);
            assert!(*repository.mended_pack(id).unwrap() == sound, "{what}");
            assert_eq!(repository.mended_packs().into_iter().collect::<Vec<_>>(), [id], "{what}");
        }
    }
}

#[test]
fn a_run_of_two_per_cent_and_a_tail_of_as_much_are_repaired() {
    let bytes = [tar_of_noise(20, 41_000), noise(3, 5000)].concat();
    let store = repository_of(&bytes, Parity::ReedSolomon);
    for (pack, len) in packs(&store) {
        let run = len / 50;
        let parity = usize::try_from(parity_share(len as u64)).unwrap();
        let directory = len - parity - 20 - run;
        for at in [0, len / 3, len / 2, directory, len - parity - 20 - run / 2, len - parity - 20, len - run] {
            let broken = changed(&store, &pack, |bytes| spoil(bytes, at..at + run));
            let what = format!("{pack} from {at} of {len}");
            assert_exact(&reopen(Arc::<MemoryStore>::clone(&broken)), &bytes, &what);
            let report = check(&reopen(broken), CheckLevel::ReadData, &Silent).unwrap();
            assert_nothing_is_lost(&report, &pack, &what);
        }
        for cut in [1, 20, run] {
            let broken = changed(&store, &pack, |bytes| bytes.truncate(len - cut));
            let what = format!("{pack} without {cut} of {len}");
            assert_exact(&reopen(Arc::<MemoryStore>::clone(&broken)), &bytes, &what);
            for level in [CheckLevel::Structure, CheckLevel::ReadData] {
                let report = check(&reopen(Arc::<MemoryStore>::clone(&broken)), level, &Silent).unwrap();
                assert_nothing_is_lost(&report, &pack, &what);
            }
        }
    }
}

/// The directory is read from the pack itself then, with the help of parity, too.
#[test]
fn packs_that_no_segment_names_are_repaired() {
    let bytes = noise(1, 30_000);
    let store = repository_of(&bytes, Parity::ReedSolomon);
    let unnamed = copy_with(&store, |name, bytes| (!name.as_str().starts_with("index/")).then_some(bytes));
    for (pack, len) in packs(&store) {
        let ranges = [2..3, len - 2..len - 1, len - len / 50..len];
        for range in ranges {
            let what = format!("{pack}: {range:?} of {len}");
            let spoilt = changed(&unnamed, &pack, |bytes| spoil(bytes, range.clone()));
            let cut = changed(&unnamed, &pack, |bytes| bytes.truncate(range.start));
            for broken in [spoilt, cut] {
                if broken.get(&pack, usize::MAX).unwrap().len() < len - len / 50 {
                    continue;
                }
                assert_exact(&reopen(Arc::<MemoryStore>::clone(&broken)), &bytes, &what);
                let report = check(&reopen(broken), CheckLevel::ReadData, &Silent).unwrap();
                assert!(report.damaged_packs.contains(&id_of(&pack)), "{what}: {:?}", report.findings);
                assert!(report.findings.iter().all(|finding| finding.severity == Severity::Degraded), "{what}");
            }
        }
    }
}

#[test]
fn more_damage_than_parity_repairs_is_a_loss_and_never_other_bytes() {
    let bytes = noise(1, 30_000);
    let store = repository_of(&bytes, Parity::ReedSolomon);
    for (pack, len) in packs(&store) {
        let parity = usize::try_from(parity_share(len as u64)).unwrap();
        let broken = changed(&store, &pack, |bytes| spoil(bytes, 145..len - parity - 20));
        let repository = reopen(broken);
        let (_, point) = points(&repository).remove(0);
        assert!(export(&repository, "x", &point, &mut Vec::new(), Digest::None, &Silent).is_err(), "{pack}");
        let report = check(&repository, CheckLevel::ReadData, &Silent).unwrap();
        let of_pack = report.findings.iter().find(|finding| finding.object.contains(pack.leaf())).unwrap();
        assert_eq!(of_pack.severity, Severity::Damage);
        assert!(of_pack.affected.iter().any(|point| point.contains("file:x")), "{of_pack:?}");
        let failure = repository.mended_pack(id_of(&pack)).unwrap_err().to_string();
        assert!(failure.contains("more than the"), "{failure}");
        assert!(repository.mended_packs().is_empty());
    }
}

#[test]
fn a_repository_without_parity_names_what_it_lost() {
    let bytes = noise(1, 3000);
    let store = repository_of(&bytes, Parity::None);
    let mut losses = 0;
    for (pack, len) in packs(&store) {
        assert_eq!(store.get(&pack, usize::MAX).unwrap()[len - 12..][..4], [0; 4], "the trailer says so");
        let repository = reopen(changed(&store, &pack, |bytes| bytes[300] ^= 1));
        let report = check(&repository, CheckLevel::ReadData, &Silent).unwrap();
        // A damaged directory costs nothing while a segment says the same.
        let (_, point) = points(&repository).remove(0);
        let is_lost = export(&repository, "x", &point, &mut Vec::new(), Digest::None, &Silent).is_err();
        assert!(report.findings.iter().any(|finding| finding.object.contains(pack.leaf())), "{:?}", report.findings);
        let is_told = report.findings.iter().any(|finding| finding.severity == Severity::Damage);
        assert_eq!(is_told, is_lost, "{:?}", report.findings);
        losses += usize::from(is_lost);
        let failure = repository.mended_pack(id_of(&pack)).unwrap_err().to_string();
        assert!(failure.contains("no parity"), "{failure}");
    }
    assert!(losses > 0);
}

#[test]
fn figures_of_what_is_stored_leave_parity_out() {
    let bytes = tar_of_noise(20, 41_000);
    let stored = [Parity::None, Parity::ReedSolomon].map(|parity| {
        let store = Arc::new(MemoryStore::new());
        let repository = init_with(Arc::<MemoryStore>::clone(&store), parity);
        let summary = import_bytes(&repository, &bytes[..], Some("file:x")).unwrap();
        let files: usize = packs(&store).iter().map(|(_, len)| len).sum();
        let (usage, parity) = repository.usage().unwrap();
        let packs: u64 = usage.iter().filter(|usage| usage.kind.starts_with("packs")).map(|usage| usage.bytes).sum();
        assert_eq!(packs + parity, files as u64);
        assert_eq!(summary.stored_bytes, packs);
        (packs, parity)
    });
    assert_eq!(stored[0], (stored[1].0, 0));
    assert!((30_000..90_000).contains(&stored[1].1), "{}", stored[1].1);
}

/// A store on a disk that has lost some sectors of an object: whoever reads one of them gets an error.
struct LostSectors {
    below: Arc<MemoryStore>,
    object: Name,
    sectors: Vec<usize>,
}

const SECTOR_BYTES: usize = 4096;

impl LostSectors {
    fn fail_on(&self, name: &Name, range: Range<usize>) -> Result<(), StoreError> {
        let is_hit = |sector: &usize| range.start < (sector + 1) * SECTOR_BYTES && sector * SECTOR_BYTES < range.end;
        if *name == self.object && self.sectors.iter().any(is_hit) {
            return Err(StoreError::new(name, Operation::Get, StoreErrorKind::Io));
        }
        Ok(())
    }
}

impl Store for LostSectors {
    fn description(&self) -> String {
        self.below.description()
    }

    fn make_directory(&self, directory: &Directory) -> Result<(), StoreError> {
        self.below.make_directory(directory)
    }

    fn put(&self, name: &Name, parts: &[&[u8]]) -> Result<Put, StoreError> {
        self.below.put(name, parts)
    }

    fn get(&self, name: &Name, bytes_max: usize) -> Result<Vec<u8>, StoreError> {
        self.fail_on(name, 0..usize::MAX)?;
        self.below.get(name, bytes_max)
    }

    fn get_range(&self, name: &Name, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
        let start = usize::try_from(offset).unwrap();
        self.fail_on(name, start..start + length)?;
        self.below.get_range(name, offset, length)
    }

    fn stat(&self, name: &Name) -> Result<Option<Stat>, StoreError> {
        self.below.stat(name)
    }

    fn list(&self, directory: &Directory) -> Result<Vec<Listed>, StoreError> {
        self.below.list(directory)
    }

    fn refresh(&self, directory: &Directory) -> Result<(), StoreError> {
        self.below.refresh(directory)
    }

    fn delete(&self, name: &Name) -> Result<Deleted, StoreError> {
        self.below.delete(name)
    }

    fn temporaries(&self, directory: &Directory) -> Result<Vec<Temporary>, StoreError> {
        self.below.temporaries(directory)
    }

    fn remove_temporary(&self, temporary: &Temporary) -> Result<Deleted, StoreError> {
        self.below.remove_temporary(temporary)
    }
}

#[test]
fn sectors_that_a_disk_has_lost_are_read_around() {
    let bytes = noise(1, 2_500_000);
    let store = repository_of(&bytes, Parity::ReedSolomon);
    let (pack, len) = packs(&store).into_iter().max_by_key(|(_, len)| *len).unwrap();
    let last = len / SECTOR_BYTES;
    for sectors in [vec![0], vec![last], vec![1, last / 2, last - 9], (20..20 + last / 50).collect()] {
        let what = format!("{sectors:?} of {last}");
        let lossy = |sectors: &Vec<usize>| {
            let (below, object) = (Arc::clone(&store), pack.clone());
            reopen(Arc::new(LostSectors { below, object, sectors: sectors.clone() }))
        };
        assert_exact(&lossy(&sectors), &bytes, &what);
        let report = check(&lossy(&sectors), CheckLevel::ReadData, &Silent).unwrap();
        assert_nothing_is_lost(&report, &pack, &what);
    }
}

#[test]
fn a_mended_pack_is_marked_and_the_next_import_stores_its_chunks_again() {
    let bytes = noise(1, 30_000);
    let store = repository_of(&bytes, Parity::ReedSolomon);
    let (pack, _) = packs(&store).remove(0);
    let repository = reopen(changed(&store, &pack, |bytes| bytes[200] ^= 1));
    let report = check(&repository, CheckLevel::ReadData, &Silent).unwrap();
    assert_eq!(repository.mark_damaged(report.damaged_packs, clock().0).unwrap(), 1);
    let summary = import_bytes(&repository, &bytes[..], Some("file:x")).unwrap();
    assert!(summary.stored_bytes > 0);
    let again = import_bytes(&repository, &bytes[..], Some("file:x")).unwrap();
    assert_eq!(again.stored_bytes, 0);
    for (_, point) in points(&repository) {
        assert!(export_bytes(&repository, &point) == bytes);
    }
}
