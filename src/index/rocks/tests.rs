use super::*;
use crate::index::conformance::{self, Model};
use proptest::prelude::*;
use std::cell::Cell;
use tempfile::TempDir;

const REPOSITORY: RepositoryId = RepositoryId::from_bytes([7; 32]);

fn primary(dir: &Path) -> Rocks {
    match Rocks::open(dir, REPOSITORY).unwrap() {
        Opened::Primary(index) => index,
        Opened::Secondary(_) => panic!("{} is taken", dir.display()),
    }
}

fn secondary(dir: &Path) -> Secondary {
    match Rocks::open(dir, REPOSITORY).unwrap() {
        Opened::Primary(_) => panic!("{} is free", dir.display()),
        Opened::Secondary(index) => index,
    }
}

#[test]
fn rocks_index_conforms() {
    let (dir, count) = (TempDir::new().unwrap(), Cell::new(0));
    conformance::check(&|| {
        count.set(count.get() + 1);
        Box::new(primary(&dir.path().join(count.get().to_string())))
    });
}
