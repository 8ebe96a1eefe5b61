//! The clients do what NFS clients do: otherwise the tests beside this one would show little.
//!
//! The test mounts, and runs itself in another process that looks at the mounts.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::client::{CLEAN, Habits};
use crate::harm::Call;
use crate::mount::Lab;
use crate::promises::{mounts, run};

const DELAY: Duration = Duration::from_millis(900);

#[test]
fn clients_see_late_what_others_do_and_tell_late_what_was_lost() {
    let Some(lab) = Lab::new() else { return };
    let late = Habits { delay: DELAY, forgets_on_change: true, page: None };
    let headstrong = Habits { forgets_on_change: false, ..late };
    let pages = Habits { page: Some(3), ..CLEAN };
    let mounts = [
        lab.mount("clean", CLEAN, 1),
        lab.mount("late", late, 2),
        lab.mount("headstrong", headstrong, 3),
        lab.mount("pages", pages, 4),
    ];
    mounts[0].client.state().plan.spoil_every(Call::Sync, 2);
    run("habits::looks", &mounts.each_ref());
}

#[test]
#[ignore = "runs on mounts"]
fn looks() {
    let mounts = mounts();
    let [clean, late, headstrong, pages] = [0, 1, 2, 3].map(|host| Path::new(&mounts[host]));
    what_another_deletes_is_stale(clean, pages);
    what_is_open_here_stays_under_another_name(clean);
    what_another_makes_is_seen_within_the_delay(clean, late, || {});
    let change = || drop(File::create(headstrong.join("own")).and_then(|_| fs::remove_file(headstrong.join("own"))));
    what_another_makes_is_seen_within_the_delay(clean, headstrong, change);
    a_change_of_its_own_shows_what_others_made(clean, late);
    a_sync_tells_once_that_bytes_are_lost(clean);
    a_listing_in_pages_skips_a_name(clean, pages);
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("a name").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

fn make(path: &Path, bytes: &[u8]) {
    File::create(path).and_then(|mut file| file.write_all(bytes)).expect("a new file");
}

fn what_another_deletes_is_stale(a: &Path, b: &Path) {
    make(&a.join("x"), b"bytes");
    let mut open = File::open(b.join("x")).expect("it is there");
    fs::remove_file(a.join("x")).expect("it is there");
    let read = open.read(&mut [0; 5]).expect_err("its bytes are gone");
    assert_eq!(Errno::from_io_error(&read), Some(Errno::STALE));
}

fn what_is_open_here_stays_under_another_name(host: &Path) {
    make(&host.join("x"), b"bytes");
    let mut open = File::open(host.join("x")).expect("it is there");
    fs::remove_file(host.join("x")).expect("it is there");
    let left = names(host);
    assert!(left.len() == 1 && left[0].starts_with(".nfs"), "{left:?}");
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).expect("its bytes are there");
    assert_eq!(bytes, b"bytes");
    drop(open);
    // The kernel tells of the last close after it.
    let begun = Instant::now();
    while !names(host).is_empty() {
        assert!(begun.elapsed() < DELAY, "{:?}", names(host));
    }
}

/// `change` is what the host itself does before it looks.
fn what_another_makes_is_seen_within_the_delay(a: &Path, b: &Path, change: impl Fn()) {
    let mut was_late = (false, false);
    for round in 0.. {
        let name = format!("late-{round}");
        assert!(!b.join(&name).exists() && !names(b).contains(&name));
        make(&a.join(&name), b"");
        let made = Instant::now();
        change();
        let (mut is_found, mut is_listed) = (false, false);
        while !(is_found && is_listed) {
            is_found |= b.join(&name).exists();
            is_listed |= names(b).contains(&name);
            was_late = (was_late.0 || !is_found, was_late.1 || !is_listed);
            assert!(made.elapsed() < 2 * DELAY, "{is_found}, {is_listed}");
        }
        fs::remove_file(a.join(&name)).expect("it is there");
        if was_late == (true, true) {
            break;
        }
        assert!(round < 50, "{was_late:?}");
    }
    wait_until_empty(b);
}

fn wait_until_empty(host: &Path) {
    let begun = Instant::now();
    while !names(host).is_empty() {
        assert!(begun.elapsed() < 2 * DELAY, "{:?}", names(host));
    }
}

fn a_change_of_its_own_shows_what_others_made(a: &Path, b: &Path) {
    for round in 0..20 {
        let name = format!("seen-{round}");
        assert!(!names(b).contains(&name));
        make(&a.join(&name), b"");
        make(&b.join("own"), b"");
        fs::remove_file(b.join("own")).expect("it is there");
        assert!(names(b).contains(&name));
        fs::remove_file(a.join(&name)).expect("it is there");
    }
}

fn a_sync_tells_once_that_bytes_are_lost(host: &Path) {
    for (name, is_lost) in [("first", false), ("second", true)] {
        let mut file = File::create(host.join(name)).expect("a new file");
        file.write_all(b"bytes").expect("it is taken");
        let synced = file.sync_all();
        assert_eq!(synced.is_err(), is_lost);
        if is_lost {
            file.sync_all().expect("it was told once");
        }
        drop(file);
        assert_eq!(fs::read(host.join(name)).expect("it is there"), if is_lost { [0; 5] } else { *b"bytes" });
        fs::remove_file(host.join(name)).expect("it is there");
    }
}

fn a_listing_in_pages_skips_a_name(a: &Path, b: &Path) {
    for number in 0..9 {
        make(&a.join(number.to_string()), b"");
    }
    assert_eq!(names(b).len(), 9);
    // What the kernel asks for at once comes in one piece, so another process has to be in between.
    let skipped = (0..200).any(|_| {
        std::thread::scope(|scope| {
            let remover = scope.spawn(|| {
                fs::remove_file(a.join("0")).expect("it is there");
                make(&a.join("0"), b"");
            });
            let seen = names(b);
            remover.join().expect("no panic");
            (1..9).any(|number: u32| !seen.contains(&number.to_string()))
        })
    });
    assert!(skipped, "no listing missed a name that was there all the time");
}
