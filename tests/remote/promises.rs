//! The store's promises, on mounts.
//!
//! Each test here mounts, and runs itself in another process that opens a store on every mount.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use holdall::store::{Directory, LocalStore, Name, Put, Store, StoreErrorKind, conformance};

use crate::client::{CLEAN, Habits};
use crate::harm::{Call, Fault};
use crate::mount::{Lab, Mount, say};

/// What the child is told.
const MOUNTS: &str = "HOLDALL_REMOTE_MOUNTS";
const RACES: u64 = 300;
const OBJECTS: Directory = Directory::fixed("objects");

/// Runs an ignored test of this program, which finds these mounts.
pub fn run(test: &str, mounts: &[&Mount]) -> String {
    let paths: Vec<String> = mounts.iter().map(|mount| mount.path().display().to_string()).collect();
    let ran = Command::new(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", test, "--nocapture"])
        .env(MOUNTS, paths.join(" "))
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let out = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{out}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(out.contains("1 passed"), "{out}");
    out
}

pub fn mounts() -> Vec<String> {
    #[expect(clippy::disallowed_methods, reason = "the harness takes no arguments of a test")]
    let mounts = std::env::var(MOUNTS).expect("mounts");
    mounts.split(' ').map(str::to_owned).collect()
}

const LATE: Habits = Habits { delay: Duration::from_millis(900), forgets_on_change: true, page: None };

#[test]
fn one_host_finds_its_own_store_as_promised() {
    let Some(lab) = Lab::new() else { return };
    let late = lab.mount("late", LATE, 1);
    run("promises::keeps_the_contract", &[&late]);
    let told = late.client.state().stale_answers;
    assert!(told > 1000, "{told} answers from memory");
    let without_links = Lab::new().expect("it was not skipped before");
    without_links.server().has_links = false;
    let mount = without_links.mount("renames", LATE, 2);
    run("promises::keeps_the_contract", &[&mount]);
    let renames = mount.client.state().plan.by_kind()[&Call::Rename];
    say(&format!("the suite on a mount: {told} answers from memory, {renames} renames without links"));
}

#[test]
#[ignore = "runs on a mount"]
fn keeps_the_contract() {
    let root = Path::new(&mounts()[0]).join("stores");
    std::fs::create_dir(&root).expect("a new directory");
    let next = AtomicU64::new(0);
    conformance::suite(|| {
        let number = next.fetch_add(1, Ordering::SeqCst);
        LocalStore::create(&root.join(number.to_string())).expect("a store")
    });
}

#[test]
fn of_two_hosts_that_create_one_name_one_wins_whatever_answers_are_lost() {
    let Some(lab) = Lab::new() else { return };
    let (a, b) = (lab.mount("a", LATE, 3), lab.mount("b", LATE, 4));
    for mount in [&a, &b] {
        mount.client.state().plan.spoil_every(Call::Link, 3);
    }
    let out = run("promises::races", &[&a, &b]);
    let lost = [&a, &b].map(|mount| mount.client.state().plan.spoilt());
    let told = out.lines().find_map(|line| line.split_once("told: ")).expect("what it did").1.to_owned();
    say(&format!("{RACES} races of two hosts: {told}; answers lost: {lost:?}"));
    assert!(lost.iter().all(|lost| *lost > RACES / 10), "{lost:?}");
}

#[test]
#[ignore = "runs on mounts"]
fn races() {
    let stores: Vec<LocalStore> = mounts()
        .iter()
        .map(|path| {
            let store = LocalStore::open(Path::new(path)).expect("a mount");
            store.make_directory(&OBJECTS).expect("a directory");
            store
        })
        .collect();
    let (barrier, wins) = (Barrier::new(2), [AtomicU64::new(0), AtomicU64::new(0)]);
    for race in 0..RACES {
        let name = OBJECTS.object(&race.to_string()).expect("a name");
        let put = |host: usize| {
            barrier.wait();
            stores[host].put(&name, &[format!("{host} has won").as_bytes()]).expect("an answer")
        };
        let puts = thread::scope(|scope| {
            [0, 1].map(|host| scope.spawn(move || put(host))).map(|racer| racer.join().expect("no panic"))
        });
        let winner = match puts {
            [Put::Created, Put::Exists] => 0,
            [Put::Exists, Put::Created] => 1,
            both => panic!("race {race}: {both:?}"),
        };
        wins[winner].fetch_add(1, Ordering::SeqCst);
        for store in &stores {
            assert_eq!(store.get(&name, 100).expect("it is there"), format!("{winner} has won").as_bytes());
        }
    }
    println!("told: {wins:?} won");
}

#[test]
fn an_object_that_another_host_takes_away_is_absent_and_never_another() {
    let Some(lab) = Lab::new() else { return };
    let (a, b) = (lab.mount("a", CLEAN, 5), lab.mount("b", CLEAN, 6));
    run("promises::takes_away", &[&a, &b]);
}

/// Two hosts put, read and delete few names, all at once. A handle that was open on one goes stale by the other.
#[test]
#[ignore = "runs on mounts"]
fn takes_away() {
    let open = |path: &String| Arc::new(LocalStore::open(Path::new(path)).expect("a mount"));
    let stores: Vec<Arc<LocalStore>> = mounts().iter().map(open).collect();
    stores[0].make_directory(&OBJECTS).expect("a directory");
    let name = |number: u64| OBJECTS.object(&(number % 5).to_string()).expect("a name");
    let bytes = |name: &Name| name.as_str().repeat(40_000).into_bytes();
    let changes = |store: &LocalStore, begin: u64| {
        for number in begin..begin + RACES {
            let _ = store.put(&name(number), &[&bytes(&name(number))]).expect("an answer");
            store.delete(&name(number * 3)).expect("an answer");
        }
    };
    let reads = |store: &LocalStore| {
        for number in 0..RACES {
            match store.get(&name(number), 1 << 20) {
                Ok(read) => assert!(read == bytes(&name(number)), "{number}"),
                Err(error) => {
                    assert!(matches!(error.kind, StoreErrorKind::NotFound | StoreErrorKind::Stale), "{error}");
                }
            }
        }
    };
    thread::scope(|scope| {
        for (begin, store) in [(0, &stores[0]), (2, &stores[1])] {
            scope.spawn(move || changes(store, begin));
            scope.spawn(move || reads(store));
        }
    });
}

/// What goes wrong once at each request of a put, a get, a listing and a delete, in each way.
#[test]
fn whatever_goes_wrong_once_no_answer_is_wrong() {
    let Some(lab) = Lab::new() else { return };
    let mount = lab.mount("a", CLEAN, 7);
    lab.server().make_directory(crate::server::ROOT, "objects".as_ref(), 0o700).expect("a new name");
    let empty = lab.server().copy();
    run("promises::puts_and_gets", &[&mount]);
    let calls = mount.client.state().plan.calls();
    assert!(calls >= 40, "{calls} requests");
    let mut ways = 0;
    for at in 1..=calls {
        for way in 0.. {
            lab.server().reset(&empty);
            mount.client.begin(Some(Fault { at, way }));
            run("promises::puts_and_gets", &[&mount]);
            ways += 1;
            let done = mount.client.state().plan.done();
            if done.is_none_or(|(call, _)| way + 1 >= call.harms().len()) {
                break;
            }
        }
    }
    say(&format!("{calls} requests of one put, get, listing and delete: {ways} ways to go wrong"));
}

#[test]
#[ignore = "runs on a mount"]
fn puts_and_gets() {
    let Ok(store) = LocalStore::open(Path::new(&mounts()[0])) else { return };
    let (x, y) = (OBJECTS.object("x").expect("a name"), OBJECTS.object("y").expect("a name"));
    let (own, other) = (vec![1; 300_000], vec![2; 300_000]);
    let made = store.put(&x, &[&own]);
    // After an error nobody knows, and the next answer is true again, unless nothing is written any more.
    match store.get(&x, 1 << 20) {
        Ok(read) => assert!(read == own, "after {made:?}"),
        Err(error) if error.kind == StoreErrorKind::NotFound => assert!(!matches!(made, Ok(Put::Created)), "{made:?}"),
        Err(_) => {}
    }
    let second = store.put(&x, &[&other]);
    match second {
        Ok(Put::Created) => assert!(made.is_err(), "{made:?}, then {second:?}"),
        Ok(Put::Exists) => assert!(!matches!(made, Ok(Put::Exists)), "nobody else makes anything here"),
        Err(_) => {}
    }
    let third = store.put(&y, &[&other]);
    if let Ok(listed) = store.list(&OBJECTS) {
        let has = |name: &Name| listed.iter().any(|one| one.name == *name && one.bytes == 300_000);
        assert!(has(&x) || made.is_err(), "{made:?}, {listed:?}");
        assert!(has(&y) || third.is_err(), "{third:?}, {listed:?}");
    }
    if let (Ok(_), Ok(found)) = (store.delete(&x), store.stat(&x)) {
        assert_eq!(found, None);
    }
}
