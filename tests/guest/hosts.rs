//! One export of NFS in several mounts, which share no cache, as if it were several hosts.

use std::time::{Duration, Instant};

use crate::guest::{Guest, STEP, say};
use crate::{noise, rounds};

/// How a server and its mounts are set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    options: &'static str,
    /// For how many seconds a server that starts waits for its old clients.
    pub grace_seconds: u32,
    /// How old a listing may be.
    pub settle_seconds: u32,
}

/// What lets a test be short.
pub const QUICK: Setup = Setup { options: "acdirmax=1", grace_seconds: 10, settle_seconds: 1 };
/// What the kernel does unless it is told something else.
pub const DEFAULTS: Setup = Setup { options: "", grace_seconds: 90, settle_seconds: 60 };

impl Setup {
    /// A server and the mounts `/mnt/a`, `/mnt/b` and `/mnt/c` of it.
    pub fn three_hosts(self) -> String {
        let mounts = ["a", "b", "c"].map(|host| format!("nfs_mount /mnt/{host} 4.2 {}\n", self.options));
        format!("nfs_prepare /dev/vda {}\nnfs_start\n{}", self.grace_seconds, mounts.concat())
    }
}

/// A repository for all of them.
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
fn hosts_that_import_at_once_beside_a_prune_read_each_others_points() {
    for setup in if rounds(0, 1) == 0 { &[QUICK][..] } else { &[QUICK, DEFAULTS] } {
        let Some(guest) = Guest::boot(&[2000]) else { return };
        guest.run(&format!("{}{REPOSITORY}", setup.three_hosts()));
        let common = noise(0, 3 * MIB);
        // Waiting for a settle time takes longest by far where it is long.
        let times = if setup.settle_seconds > 1 { 2 } else { rounds(2, 10) };
        for round in 0..times {
            let begun = Instant::now();
            let prune = guest.start("holdall_of c prune --max-unused 0");
            let imports = ["a", "b"].map(|host| {
                // Half of it is the other's, too: both want to store the same chunks at once.
                let name = format!("{host}{round}");
                let own = noise(1 + 2 * round + u64::from(host == "b"), 3 * MIB);
                guest.gives(&name, &[&common[..], &own[..]].concat());
                (host, guest.start(&format!("holdall_of {host} import /host/in/{name} --as file:{name}")))
            });
            for (_, job) in imports {
                job.wait(STEP).succeeds();
            }
            say(&format!("round {round}: two imports at once took {:?}", begun.elapsed()));
            for host in ["a", "b", "c"] {
                guest.run(&format!("comes_back {host} a{round}; comes_back {host} b{round}; holdall_of {host} check"));
            }
            let pruned = prune.wait(STEP + Duration::from_secs(10 * u64::from(setup.settle_seconds))).succeeds();
            say(&format!("beside {}, {:?} after they began", pruned.out.trim(), begun.elapsed()));
            // The next prune has something to do, and half of what it meets is in use.
            guest.run(&format!("holdall_of c forget file:a{round}@latest"));
        }
        guest.start("holdall_of c prune --max-unused 0").wait(STEP.saturating_mul(3)).succeeds();
        for round in 0..times {
            guest.run(&format!("comes_back a b{round}; comes_back b b{round}"));
        }
        let checked = guest.run("holdall_of a check --read-data; holdall_of b check --read-data");
        assert_eq!(checked.matches("no damage").count(), 2, "{checked}");
        guest.run("test -z \"$(find /export/share/repo/sessions /export/share/repo/condemned -type f)\"");
    }
}
