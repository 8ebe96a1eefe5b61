//! Two processes on two mounts that create the same names at the same moment.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Instant;

use holdall::store::{Directory, FileSystem, LocalStore, Put, Store};

use crate::guest::{Guest, say};
use crate::hosts::QUICK;
use crate::rounds;

#[test]
fn of_two_that_create_one_name_exactly_one_wins() {
    let Some(guest) = Guest::boot(&[1000]) else { return };
    let program = std::env::current_exe().expect("this program");
    fs::copy(program, guest.dir().join("racer")).expect("a copy of it");
    guest.run(&QUICK.three_hosts());
    guest.run("nfs_mount /mnt/d 3 acdirmax=1; nfs_mount /mnt/e 3 acdirmax=1; mkdir /mnt/a/race /mnt/d/race3");
    let times = rounds(200, 10_000);
    for (one, other, directory, races) in [("a", "b", "race", times), ("d", "e", "race3", times.div_ceil(5))] {
        let begun = Instant::now();
        let start = |host: &str| {
            guest.start(&format!(
                "cp /host/racer /run/racer-{host}
                 HOLDALL_RACE='/mnt/{host}/{directory} /run/{directory}.sock {races}' \
                 /run/racer-{host} --ignored --exact race::races --nocapture"
            ))
        };
        let ended =
            [start(one), start(other)].map(|job| job.wait(crate::guest::STEP.saturating_mul(15)).succeeds().out);
        let wins = ended.each_ref().map(|out| {
            let won = out.lines().find_map(|line| line.split_once("won ")).expect("its count").1;
            won.trim().parse::<u64>().expect("a number")
        });
        say(&format!("{races} races in /mnt/{one} and /mnt/{other}: {wins:?} won, {:?}", begun.elapsed()));
        assert_eq!(wins[0] + wins[1], races);
        let listed = guest.run(&format!("ls -A /export/share/{directory} | wc -l"));
        assert_eq!(listed.trim(), races.to_string());
    }
}

/// Not a test of its own: what runs in the guest, once on each mount.
#[test]
#[ignore = "runs in a guest"]
fn races() {
    #[expect(clippy::disallowed_methods, reason = "the harness takes no arguments of a test")]
    let order = std::env::var("HOLDALL_RACE").expect("an order");
    let mut words = order.split(' ');
    let mut next = || words.next().expect("a word");
    let (store, socket, rounds) = (next(), next(), next().parse::<u32>().expect("a number"));
    let store = LocalStore::open(Path::new(store)).expect("a store");
    let kind = store.capacity().expect("its kind").file_system;
    assert!(matches!(kind, FileSystem::Nfs { listing_seconds: Some(1) }), "{kind:?}");
    let (mut other, mark) = meet(Path::new(socket));
    let mut won = 0;
    for round in 0..rounds {
        let name = Directory::ROOT.id(blake3::hash(&round.to_le_bytes()).as_bytes());
        let bytes = [&[mark][..], name.to_string().as_bytes()].concat();
        assert_eq!(exchange(&mut other, b'r'), b'r', "both begin");
        let put = store.put(&name, &[&bytes]).expect("an answer");
        let others = exchange(&mut other, if put == Put::Created { b'w' } else { b'l' });
        let wins = (put == Put::Created, others == b'w');
        assert!(wins == (true, false) || wins == (false, true), "{name}: {wins:?}");
        let kept = store.get(&name, 1000).expect("it is there");
        assert_eq!(kept == bytes, put == Put::Created, "{name} holds the winner's bytes");
        won += u32::from(put == Put::Created);
    }
    println!("won {won}");
}

/// The first to come listens and is `a`; the other is `b`.
fn meet(socket: &Path) -> (UnixStream, u8) {
    match UnixListener::bind(socket) {
        Ok(listener) => (listener.accept().expect("the other").0, b'a'),
        // The first has bound it and listens in the next moment.
        Err(_) => ((0..1000).find_map(|_| UnixStream::connect(socket).ok()).expect("the first listens"), b'b'),
    }
}

fn exchange(other: &mut UnixStream, mine: u8) -> u8 {
    let mut theirs = [0];
    other.write_all(&[mine]).and_then(|()| other.read_exact(&mut theirs)).expect("the other is there");
    theirs[0]
}
