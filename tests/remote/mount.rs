//! Mounts of a server, each with a client of its own, and how to go without.
//!
//! This process serves them and never looks into one: were it killed while it waited for its own answer, nothing could
//! end it any more. Whatever uses a mount is a process of its own. What a killed run leaves, the next one unmounts.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, Once};
use std::thread;

use fuser::{BackgroundSession, MountOption};
use tempfile::TempDir;

use crate::client::{Client, Habits, lock};
use crate::server::Server;

/// How mounts of this program are called in the kernel's table; the process follows.
const NAME: &str = "holdall-remote-";

/// A server and a directory for what belongs to nobody's mount.
pub struct Lab {
    pub server: Arc<Mutex<Server>>,
    directory: TempDir,
}

/// A mount of a server. Dropping it unmounts.
pub struct Mount {
    pub client: Client,
    path: PathBuf,
    session: Option<BackgroundSession>,
}

impl Lab {
    /// `None` where these tests cannot run or are to be skipped, which is said.
    pub fn new() -> Option<Self> {
        if let Some(because) = reason_to_skip() {
            let test = thread::current().name().unwrap_or("a test").to_owned();
            say(&format!("NOT TESTED, because {because}: {test}"));
            return None;
        }
        unmount_stale();
        let directory = tempfile::Builder::new().prefix(NAME).tempdir_in(quick()).expect("a directory");
        Some(Self { server: Arc::new(Mutex::new(Server::new())), directory })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(self.path(name));
        file.and_then(|mut file| file.write_all(bytes)).expect("our own directory");
    }

    pub fn server(&self) -> MutexGuard<'_, Server> {
        lock(&self.server)
    }

    /// Mounts the server with a client that has these habits.
    pub fn mount(&self, name: &str, habits: Habits, seed: u64) -> Mount {
        let path = self.path(name);
        fs::create_dir(&path).expect("a free name");
        let client = Client::new(Arc::clone(&self.server), habits, seed);
        let options = [MountOption::FSName(format!("{NAME}{}", std::process::id())), MountOption::RW];
        let session = fuser::spawn_mount2(client.clone(), &path, &options).unwrap_or_else(|error| {
            panic!("FUSE does not mount: {error}; who is not root needs fuse3, or HOLDALL_SKIP_REMOTE_TESTS=1")
        });
        Mount { client, path, session: Some(session) }
    }
}

impl Mount {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // At once and whoever still uses it; the session would refuse.
        unmount(&self.path);
        drop(self.session.take());
    }
}

/// In memory where there is such a place: nothing here outlives the test.
fn quick() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// Why these tests do not run; `None` if they do.
fn reason_to_skip() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the switch of this test binary, meant to be typed")]
    let skipped = std::env::var("HOLDALL_SKIP_REMOTE_TESTS").is_ok_and(|value| value == "1");
    if skipped {
        return Some("HOLDALL_SKIP_REMOTE_TESTS=1".to_owned());
    }
    let device = File::options().read(true).write(true).open("/dev/fuse");
    device.err().map(|error| format!("/dev/fuse cannot be opened ({error})"))
}

fn unmount(path: &Path) {
    for command in [&["umount", "-l"][..], &["fusermount3", "-u", "-z"], &["fusermount", "-u", "-z"]] {
        let mut command = Command::new(command[0]).args(&command[1..]).arg(path).stderr(Stdio::null()).spawn();
        if command.as_mut().is_ok_and(|child| child.wait().is_ok_and(|status| status.success())) {
            return;
        }
    }
}

/// Unmounts what runs left that were killed.
fn unmount_stale() {
    static SWEEP: Once = Once::new();
    SWEEP.call_once(|| {
        for line in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let process = words.iter().find_map(|word| word.strip_prefix(NAME));
            if let Some(process) = process.filter(|process| !Path::new("/proc").join(process).exists()) {
                say(&format!("process {process} was killed; unmounting {}", words[4]));
                let path = Path::new(words[4]);
                unmount(path);
                // With the last of its mounts goes the directory that they were in; what is no mount is no loss.
                let is_ours =
                    |above: &&Path| above.file_name().is_some_and(|name| name.to_string_lossy().starts_with(NAME));
                if let Some(above) = path.parent().filter(is_ours) {
                    let _ = fs::remove_dir(path).and_then(|()| fs::remove_dir_all(above));
                }
            }
        }
    });
}

/// Says something past the harness, which keeps what a test prints to itself.
pub fn say(text: &str) {
    // Nobody is there to be told that it cannot be told.
    let _ = writeln!(io::stderr(), "{text}");
}
