//! One export of NFS in several mounts, which share no cache, as if it were several hosts.

use std::time::Instant;

use crate::guest::{Guest, STEP, say};
use crate::{noise, rounds};

/// A server with short grace and two mounts `/mnt/a` and `/mnt/b`.
pub const TWO_HOSTS: &str = "
nfs_prepare /dev/vda 10
nfs_start
nfs_mount /mnt/a 4.2 acdirmax=1
nfs_mount /mnt/b 4.2 acdirmax=1
";
/// A repository for both.
pub const REPOSITORY: &str = "
HOLDALL_REPOSITORY=/mnt/a/repo holdall --config /dev/null init --new-key-file /key
";
pub const MIB: usize = 1 << 20;

#[test]
fn a_new_repository_knows_how_old_its_listings_may_be() {
    let Some(guest) = Guest::boot(&[200]) else { return };
    guest.run("nfs_prepare /dev/vda 10; nfs_start");
    let mounts = [
        ("4.2", 60),
        ("4.2 acdirmax=1", 1),
        ("4.2 noac", 0),
        ("4.2 acdirmax=120", 120),
        ("3", 60),
        ("3 acdirmax=300", 300),
    ];
    for (number, (options, seconds)) in mounts.into_iter().enumerate() {
        let made = guest.run(&format!(
            "nfs_mount /mnt/{number} {options}
             HOLDALL_REPOSITORY=/mnt/{number}/repo{number} holdall --json init --new-key-file /key{number}
             umount /mnt/{number}"
        ));
        say(&format!("{options}: {}", made.trim()));
        assert!(made.contains(&format!("\"settle_seconds\":{seconds},")), "{options}: {made}");
    }
}

#[test]
fn hosts_that_import_at_once_read_each_others_points() {
    let Some(guest) = Guest::boot(&[2000]) else { return };
    guest.run(&format!("{TWO_HOSTS}{REPOSITORY}"));
    let common = noise(0, 3 * MIB);
    for round in 0..rounds(2, 10) {
        let begun = Instant::now();
        let jobs = ["a", "b"].map(|host| {
            // Half of it is the other's, too: both want to store the same chunks at once.
            let name = format!("{host}{round}");
            let own = noise(1 + 2 * round + u64::from(host == "b"), 3 * MIB);
            guest.gives(&name, &[&common[..], &own[..]].concat());
            (host, guest.start(&format!("holdall_of {host} import /host/in/{name} --as file:{name}")))
        });
        for (_, job) in jobs {
            job.wait(STEP).succeeds();
        }
        say(&format!("round {round}: two imports at once took {:?}", begun.elapsed()));
        for host in ["a", "b"] {
            guest.run(&format!("comes_back {host} a{round}; comes_back {host} b{round}; holdall_of {host} check"));
        }
    }
    let checked = guest.run("holdall_of a check --read-data; holdall_of b check --read-data");
    assert_eq!(checked.matches("no damage").count(), 2, "{checked}");
}
