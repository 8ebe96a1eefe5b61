//! Machines that run, and their volumes, read from temporary snapshots.
//!
//! QEMU runs in few laboratories. So a stopped machine is said to run: between the program and the daemon stands
//! somebody who changes that one word in the daemon's answers, and what a machine does to its disks is done to the
//! image files meanwhile. Everything else is the daemon's own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::holdall::Holdall;
use crate::lab::{Lab, Pool, Product};
use crate::machines::{DISK_BYTES, Machine, content, fill, init_machine, take_snapshot};
use crate::product::{kill_at_some_moment, rounds};
use crate::volumes;

const STOPPED: &[u8] = b"\"status\":\"Stopped\"";
const RUNNING: &[u8] = b"\"status\":\"Running\"";

/// Passes bytes on, and changes the word where it comes whole; a description is one write of the daemon's.
fn pass(mut from: UnixStream, mut to: UnixStream) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return to.shutdown(std::net::Shutdown::Write);
        }
        let bytes = &mut buffer[..read];
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(STOPPED.len()).position(|window| window == STOPPED) {
            at += found;
            bytes[at..at + RUNNING.len()].copy_from_slice(RUNNING);
        }
        to.write_all(bytes)?;
    }
}

/// A socket at which every instance of the daemon runs.
fn say_running(lab: &Lab) -> PathBuf {
    let (socket, daemon) = (lab.scratch().join("running.socket"), lab.socket());
    let listener = UnixListener::bind(&socket).expect("a socket");
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, UnixStream::connect(&daemon)) else { continue };
            let (other_client, other_server) =
                (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
            std::thread::spawn(move || pass(client, server));
            std::thread::spawn(move || pass(other_server, other_client));
        }
    });
    socket
}

/// What a machine does to its disk: the number at the end never is ahead of the one at the start, nor two behind.
struct Writing {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writing {
    fn to(image: &Path) -> Self {
        let file = File::options().write(true).open(image).expect("an image");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for number in 1_u64.. {
                for at in [0, DISK_BYTES - 4096] {
                    file.write_all_at(&number.to_le_bytes(), at).expect("the image takes it");
                    // A file system in the machine would see to it that one comes after the other.
                    file.sync_data().expect("the image takes it");
                }
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether a disk is one that there was at some moment.
fn is_of_one_moment(image: &Path) -> Result<(), String> {
    let file = File::open(image).expect("an image");
    let number = |at| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).expect("it is long enough");
        u64::from_le_bytes(bytes)
    };
    let (start, end) = (number(0), number(DISK_BYTES - 4096));
    let is_one = start > 0 && (start == end || start == end + 1);
    if is_one { Ok(()) } else { Err(format!("{start} at the start, {end} at the end")) }
}

fn snapshots(lab: &Lab) -> Vec<String> {
    let places = ["instances/vm", "storage-pools/btrfs/volumes/custom/data"];
    let of = |place: &&str| lab.get(&format!("/1.0/{place}/snapshots"));
    let found = places.iter().map(of).flat_map(|found| found.as_array().cloned().unwrap_or_default());
    found.map(|name| name.as_str().expect("a path").rsplit('/').next().expect("a name").to_owned()).collect()
}

fn a_running_machine_is_saved_as_at_one_moment(product: Product) {
    let Some(lab) = Lab::open(product) else { return };
    let holdall = Holdall::new(&lab);
    let pool = Pool::Btrfs;
    lab.pool(pool);
    init_machine(&lab, "vm", pool);
    take_snapshot(&lab, "vm", pool);
    let size = format!("size={DISK_BYTES}");
    lab.run(&["storage", "volume", "create", pool.name(), "data", "--type", "block", &size]);
    let image = |name: &str| lab.pool_dir(pool).join("virtual-machines").join(name).join("root.img");
    let data = volumes::place(&lab, pool, "data").join("root.img");
    fill(&data);
    lab.run(&["config", "device", "add", "vm", "data", "disk", "pool=btrfs", "source=data"]);
    let socket = say_running(&lab);
    // Whose socket it is tells where the daemon keeps its exports, and here it is nobody's.
    let backup = ["--server", socket.to_str().expect("text"), "backup", "vm", "--unchecked-staging"];
    let before = Machine::of(&lab, pool, "vm");

    // As it is at rest: everything comes back as it was.
    holdall.succeeds(&backup);
    for point in holdall.objects(&["list"], "point") {
        assert_eq!(point["consistency"], "snapshot", "{point}");
    }
    assert_eq!(snapshots(&lab), ["s0"]);
    holdall.succeeds(&["restore", "vm", "--as", "again", "--without-device", "data"]);
    let again = Machine::of(&lab, pool, "again");
    assert_eq!((&again.disk, &again.snapshots), (&before.disk, &before.snapshots));
    holdall.succeeds(&["restore", "volume:btrfs/data", "--as", "other"]);
    assert_eq!(content(&volumes::place(&lab, pool, "other").join("root.img")), content(&data));
    lab.run(&["delete", "again"]);
    lab.run(&["storage", "volume", "delete", pool.name(), "other"]);

    // While it writes: what comes back there was at some moment.
    let writing = [Writing::to(&image("vm")), Writing::to(&data)];
    for round in 0..3 {
        holdall.succeeds(&backup);
        let name = format!("moment{round}");
        holdall.succeeds(&["restore", "vm", "--as", &name, "--no-snapshots", "--without-device", "data"]);
        assert_eq!(is_of_one_moment(&image(&name)), Ok(()));
        holdall.succeeds(&["restore", "volume:btrfs/data", "--as", &name]);
        assert_eq!(is_of_one_moment(&volumes::place(&lab, pool, &name).join("root.img")), Ok(()));
    }
    drop(writing);

    // Killed at any moment it leaves nothing that the next run does not find.
    for _ in 0..rounds(4) {
        kill_at_some_moment(holdall.starts(&backup), 1500);
    }
    holdall.succeeds(&backup);
    assert_eq!(snapshots(&lab), ["s0"]);
    holdall.succeeds(&["check", "--read-data"]);
}

#[test]
fn a_running_machine_is_saved_as_at_one_moment_on_lxd() {
    a_running_machine_is_saved_as_at_one_moment(Product::Lxd);
}

#[test]
fn a_running_machine_is_saved_as_at_one_moment_on_incus_6() {
    a_running_machine_is_saved_as_at_one_moment(Product::Incus6);
}

#[test]
fn a_running_machine_is_saved_as_at_one_moment_on_incus_7() {
    a_running_machine_is_saved_as_at_one_moment(Product::Incus7);
}
