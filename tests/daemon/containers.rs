//! Containers with two snapshots on every product and in both pools, and what a small staging area does to them.

use crate::anywhere::{is_restored, make_container, trees};
use crate::holdall::Holdall;
use crate::lab::{Lab, Pool, Product};

fn containers_are_lost_and_come_back(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    for (pool, other) in [(Pool::Dir, Pool::Btrfs), (Pool::Btrfs, Pool::Dir)] {
        lab.pool(other);
        make_container(&lab, pool, "c");
        let before = trees(&lab, pool, "c");
        holdall.succeeds(&["backup", "c"]);
        lab.run(&["delete", "c"]);
        holdall.succeeds(&["restore", "c"]);
        holdall.succeeds(&["restore", "c", "--as", "elsewhere", "--pool", other.name()]);
        is_restored(&lab, pool, "c", &before);
        is_restored(&lab, other, "elsewhere", &before);
        lab.run(&["delete", "c", "elsewhere"]);
    }
    holdall.succeeds(&["check", "--read-data"]);
}

#[test]
fn containers_are_lost_and_come_back_on_lxd() {
    containers_are_lost_and_come_back(Product::Lxd);
}

#[test]
fn containers_are_lost_and_come_back_on_incus_6() {
    containers_are_lost_and_come_back(Product::Incus6);
}

#[test]
fn containers_are_lost_and_come_back_on_incus_7() {
    containers_are_lost_and_come_back(Product::Incus7);
}

/// Room for a tenth of the container.
const STAGING_BYTES: u64 = 2 << 20;

fn with_little_room(product: Product) -> Option<(Lab, Holdall)> {
    let lab = Lab::open(product)?;
    let holdall = Holdall::new(&lab);
    lab.launch_tiny("c", Pool::Dir);
    lab.sh("c", "head -c 20000000 /dev/urandom >/srv/noise");
    lab.run(&["stop", "--force", "c"]);
    lab.shrink_staging(STAGING_BYTES);
    Some((lab, holdall))
}

#[test]
fn what_does_not_fit_the_staging_area_is_refused_before_it_begins() {
    for product in [Product::Lxd, Product::Incus6] {
        let Some((lab, holdall)) = with_little_room(product) else { return };
        let free = format!("has {STAGING_BYTES} bytes free and the export needs about");
        holdall.fails(&["backup", "c"], 3, &["//c", &free]);
        assert_eq!(lab.get("/1.0/instances/c/backups").as_array().map(Vec::len), Some(0));
        assert!(holdall.points().is_empty());
    }
}

#[test]
fn a_direct_stream_needs_no_staging_area_and_an_upload_is_refused_before_it_begins() {
    let Some((_lab, holdall)) = with_little_room(Product::Incus7) else { return };
    holdall.succeeds(&["backup", "c"]);
    let free = format!("has {STAGING_BYTES} bytes free, and the upload of");
    holdall.fails(&["restore", "c", "--as", "d"], 11, &[&free, "needs"]);
}
