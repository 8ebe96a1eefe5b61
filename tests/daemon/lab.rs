//! A laboratory: a private LXD or Incus daemon with pools, images and instances, for one test.
//!
//! It knows nothing of holdall. It never talks to the machine's own daemon, and any number of laboratories run side by
//! side. All that one has lies in `/var/tmp/holdall-lab.PID-START-N`, named after the process that owns it; dropping
//! it runs `scripts/lab-clean`, and so does the next start for those whose owner was killed.
//!
//! Without root or without a daemon a test fails. `HOLDALL_SKIP_DAEMON_TESTS=1` makes it pass unrun, and says so.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// Where laboratories are: on a disk, open to the shifted ids of containers, short enough for socket addresses.
const PARENT: &str = "/var/tmp";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a daemon or a database may take to answer; both need about a second.
const READY_SECONDS: u32 = 60;
/// How long one call of the client may take; the longest here take some ten seconds.
const CLIENT_SECONDS_MAX: &str = "180";
/// Size of the btrfs pool, in a sparse file.
const BTRFS_SIZE: &str = "4GiB";

/// Which daemon runs here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// The `lxd` of this machine, on Debian 12 an LXD 5.0.2.
    Lxd,
    /// Incus 6.0 from the backports of Debian 12, see `scripts/lab-incus`. Its mounts are its own: a btrfs pool cannot
    /// be seen from outside, a directory pool can.
    Incus6,
    /// Incus 7 from Debian testing, likewise.
    Incus7,
}

impl Product {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lxd, Self::Incus6, Self::Incus7];

    /// The version of Incus by which `scripts/lab-incus` knows it.
    fn incus_version(self) -> Option<&'static str> {
        match self {
            Self::Lxd => None,
            Self::Incus6 => Some("6"),
            Self::Incus7 => Some("7"),
        }
    }
}

/// Where an instance or a volume is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// A directory; the pool of the default profile.
    Dir,
    /// A btrfs file system in a sparse file, made at its first use.
    Btrfs,
}

impl Pool {
    /// The name of the pool on the daemon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dir => "dir",
            Self::Btrfs => "btrfs",
        }
    }
}

/// A running private daemon. Dropping it removes everything.
pub struct Lab {
    product: Product,
    dir: PathBuf,
    /// The client program, `lxc` or `incus`.
    program: PathBuf,
    /// The file tree with the daemon; for LXD, the one from which it takes QEMU.
    tree: PathBuf,
    daemon: Option<Child>,
}

impl Lab {
    /// Starts an LXD; `None` if daemon tests are to be skipped.
    pub fn lxd() -> Option<Self> {
        Self::open(Product::Lxd)
    }

    /// Starts an Incus 7; `None` if daemon tests are to be skipped.
    pub fn incus7() -> Option<Self> {
        Self::open(Product::Incus7)
    }

    /// Starts a daemon of that product; `None` if daemon tests are to be skipped.
    pub fn open(product: Product) -> Option<Self> {
        let lab = Self::open_bare(product)?;
        lab.run(&["storage", "create", Pool::Dir.name(), "dir"]);
        let root_pool = format!("pool={}", Pool::Dir.name());
        lab.run(&["profile", "device", "add", "default", "root", "disk", "path=/", &root_pool]);
        Some(lab)
    }

    /// The same with no pool in it, as a cluster wants its new members.
    pub fn open_bare(product: Product) -> Option<Self> {
        if skipped() {
            return None;
        }
        assert!(
            rustix::process::geteuid().is_root(),
            "A private {product:?} needs root; HOLDALL_SKIP_DAEMON_TESTS=1 goes without these tests"
        );
        clear_stale();
        let version = product.incus_version();
        let tree = PathBuf::from(script("lab-incus", &[version.unwrap_or("6"), "prepare"]).trim());
        let program = version.map_or_else(|| PathBuf::from("lxc"), |_| tree.join("usr/bin/incus"));
        let mut lab = Self { product, dir: new_dir(), program, tree, daemon: None };
        lab.start();
        Some(lab)
    }

    /// The directory of the laboratory: a place for the test's own files, gone with it.
    pub fn scratch(&self) -> &Path {
        &self.dir
    }

    /// The daemon's directory, what `/var/lib/lxd` is on a real server.
    pub fn daemon_dir(&self) -> PathBuf {
        self.dir.join("daemon")
    }

    /// The daemon's full-access socket.
    pub fn socket(&self) -> PathBuf {
        self.daemon_dir().join("unix.socket")
    }

    /// What the daemon has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("daemon.log")).unwrap_or_default()
    }

    /// The client, `lxc` or `incus`, pointed at this daemon.
    pub fn client(&self) -> Command {
        // A daemon that hangs must fail a test and not keep it.
        let mut command = Command::new("timeout");
        command.arg(CLIENT_SECONDS_MAX).arg(&self.program);
        command.env_clear().envs([("PATH", PATH), ("HOME", "/root")]).stdin(Stdio::null());
        command.env(self.variable("DIR"), self.daemon_dir()).env(self.variable("CONF"), self.dir.join("client"));
        command
    }

    /// Sets the daemon up as that text says.
    pub fn preseed(&self, text: &str) {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        writer.write_all(text.as_bytes()).expect("a pipe takes a page");
        drop(writer);
        let mut command = match self.product {
            Product::Lxd => Command::new("lxd"),
            Product::Incus6 | Product::Incus7 => self.client(),
        };
        command.env(self.variable("DIR"), self.daemon_dir());
        let words: &[&str] = if self.product == Product::Lxd { &["init"] } else { &["admin", "init"] };
        text_of(command.args(words).arg("--preseed").stdin(reader));
    }

    /// Runs the client and returns what it printed; a failure of it is one of the test.
    pub fn run(&self, args: &[&str]) -> String {
        text_of(self.client().args(args))
    }

    /// Runs the client, whatever comes of it.
    pub fn try_run(&self, args: &[&str]) -> Output {
        output_of(self.client().args(args))
    }

    /// Runs a shell script inside a running instance and returns what it printed.
    pub fn sh(&self, instance: &str, shell_script: &str) -> String {
        self.run(&["exec", instance, "--", "sh", "-euc", shell_script])
    }

    /// `curl` on the daemon's socket, to be given a method and an URL that begins with `http://lab/1.0`.
    pub fn curl(&self) -> Command {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--unix-socket"]).arg(self.socket()).stdin(Stdio::null());
        command
    }

    /// One request of the API; the whole answer, errors of the daemon included. `path` begins with `/1.0`.
    pub fn request(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut command = self.curl();
        command.args(["--request", method, "--data", &body.to_string(), &format!("http://lab{path}")]);
        let text = text_of(&mut command);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{method} {path}: {error} in {text:?}"))
    }

    /// The `metadata` of an object of the API.
    pub fn get(&self, path: &str) -> Value {
        let text = text_of(self.curl().arg(format!("http://lab{path}")));
        let mut answer: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error} in {text:?}"));
        assert_eq!(answer["type"], "sync", "GET {path}: {answer}");
        answer["metadata"].take()
    }

    /// Which daemon runs here.
    pub fn product(&self) -> Product {
        self.product
    }

    /// Takes a snapshot of an instance.
    pub fn snapshot(&self, instance: &str, name: &str) {
        self.request("POST", &format!("/1.0/instances/{instance}/snapshots"), &serde_json::json!({ "name": name }));
        self.wait_for_operations();
    }

    /// Waits until the daemon is at work on nothing.
    pub fn wait_for_operations(&self) {
        for _ in 0..600 {
            let running = self.get("/1.0/operations?recursion=1")["running"].as_array().cloned().unwrap_or_default();
            if running.iter().all(|operation| operation["class"] != "task") {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("the daemon's operations do not end");
    }

    /// Makes the pool unless it is there, and returns its name.
    pub fn pool(&self, pool: Pool) -> &'static str {
        let name = pool.name();
        if pool == Pool::Btrfs && !self.try_run(&["storage", "show", name]).status.success() {
            self.run(&["storage", "create", name, "btrfs", &format!("size={BTRFS_SIZE}")]);
        }
        name
    }

    /// The directory of a pool, seen with the daemon's eyes: the mounts of an Incus are its own.
    pub fn pool_dir(&self, pool: Pool) -> PathBuf {
        let daemon = self.daemon.as_ref().expect("a running daemon").id();
        let dir = self.daemon_dir().join("storage-pools").join(pool.name());
        Path::new("/proc").join(daemon.to_string()).join("root").join(dir.strip_prefix("/").expect("an absolute path"))
    }

    /// Leaves the daemon so many bytes for the exports that it stages and the uploads that it gets.
    pub fn shrink_staging(&self, bytes: u64) {
        let daemon = self.daemon.as_ref().expect("a running daemon").id().to_string();
        let place = self.daemon_dir().join("backups");
        let script = format!(
            "mount -t tmpfs -o size={bytes} tmpfs {0} && mkdir -p {0}/instances {0}/custom {0}/buckets",
            place.display()
        );
        let status = Command::new("nsenter").args(["--target", &daemon, "--mount", "sh", "-euc", &script]).status();
        assert!(status.is_ok_and(|status| status.success()), "{script}");
    }

    /// Makes a virtual machine with an empty disk. It cannot be started: the kernel need not know how.
    pub fn init_machine(&self, name: &str, pool: Pool, disk_bytes: u64) {
        let size = format!("root,size={disk_bytes}");
        self.run(&["init", name, "--empty", "--vm", "--storage", self.pool(pool), "--device", &size]);
    }

    /// Launches a container that is nothing but busybox, in a third of a second. It has `sh` and all applets.
    pub fn launch_tiny(&self, name: &str, pool: Pool) {
        self.launch_tiny_on(name, pool, None);
    }

    /// The same on a member of a cluster.
    pub fn launch_tiny_on(&self, name: &str, pool: Pool, member: Option<&str>) {
        self.import_image("tiny", || {
            let file = self.dir.join("tiny.tar");
            script("tiny-image", &[path_text(&file)]);
            file
        });
        let place = member.map(|member| ["--target", member]);
        let place = place.as_ref().map_or(&[][..], |place| place);
        self.run(&[&["launch", "tiny", name, "--storage", self.pool(pool)], place].concat());
    }

    /// Launches a Debian container, systemd and all, whose database answers, in some three seconds; see [`Lab::psql`].
    pub fn launch_postgres(&self, name: &str, pool: Pool) {
        self.import_image("postgres", || PathBuf::from(script("lab-postgres", &[]).trim()));
        self.run(&["launch", "postgres", name, "--storage", self.pool(pool)]);
        self.wait_for_postgres(name);
    }

    /// Waits until the database of a started container answers.
    pub fn wait_for_postgres(&self, instance: &str) {
        let wait = format!("timeout {READY_SECONDS} sh -c 'until pg_isready --quiet; do sleep 0.1; done'");
        self.sh(instance, &wait);
    }

    /// Runs SQL as the superuser and returns the bare answer.
    pub fn psql(&self, instance: &str, sql: &str) -> String {
        let psql = ["su", "postgres", "-c", "psql -Atq -v ON_ERROR_STOP=1 -c \"$0\"", "--", sql];
        let args = [&["exec", instance, "--"][..], &psql[..]].concat();
        self.run(&args).trim_end().to_owned()
    }

    /// Kills the daemon as a power cut would; its containers run on. [`Lab::start`] brings it back.
    pub fn crash(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().expect("our own child can be killed");
            daemon.wait().expect("our own child can be waited for");
        }
    }

    /// Starts the daemon and waits until it answers.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.join("daemon.log")).expect("log file");
        let mut command = match self.product.incus_version() {
            None => self.lxd_command(),
            Some(version) => {
                let mut command = Command::new(script_path("lab-incus"));
                command.args([version, "run"]).arg(self.daemon_dir()).env_clear().env("PATH", PATH);
                command
            }
        };
        fs::create_dir_all(self.daemon_dir()).expect("directory of the daemon");
        command.env("HOME", "/root").env(self.variable("DIR"), self.daemon_dir());
        command.env("HOLDALL_LAB_TREE", &self.tree);
        // A process group of its own: Ctrl-C on the tests is not for the daemon.
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone().expect("log file")).stderr(log);
        let daemon = command.spawn().unwrap_or_else(|error| {
            panic!(
                "No {:?} can be started here ({error}): scripts/setup installs it; \
                 HOLDALL_SKIP_DAEMON_TESTS=1 goes without these tests",
                self.product
            )
        });
        self.daemon = Some(daemon);
        self.wait_until_ready();
    }

    /// LXD itself is this machine's; what it wants for virtual machines comes from a tree.
    fn lxd_command(&self) -> Command {
        let mut command = Command::new("lxd");
        let path = format!("{}:{PATH}", path_text(&script_path("lab-machines")));
        command.args(["--group", "root"]).env_clear().env("PATH", path);
        command.env("LXD_OVMF_PATH", self.tree.join("usr/share/OVMF"));
        command
    }

    fn wait_until_ready(&mut self) {
        for _ in 0..READY_SECONDS {
            let mut wait = if self.product == Product::Lxd { Command::new("lxd") } else { self.client() };
            let words: &[&str] = if self.product == Product::Lxd { &["waitready"] } else { &["admin", "waitready"] };
            wait.env(self.variable("DIR"), self.daemon_dir()).args(words).args(["--timeout", "1"]);
            if output_of(&mut wait).status.success() {
                return;
            }
            if let Some(Ok(Some(status))) = self.daemon.as_mut().map(Child::try_wait) {
                panic!("{:?} ended with {status}, its log:\n{}", self.product, self.log());
            }
        }
        panic!("{:?} does not answer after {READY_SECONDS} s, its log:\n{}", self.product, self.log());
    }

    /// Why an instance did not start.
    fn instance_logs(&self) -> String {
        let instances = fs::read_dir(self.daemon_dir().join("logs")).into_iter().flatten().flatten();
        let logs = instances.flat_map(|instance| ["lxc.log", "forkstart.log"].map(|log| instance.path().join(log)));
        let read = |log: PathBuf| fs::read_to_string(&log).map(|text| format!("{}:\n{text}", log.display())).ok();
        logs.filter_map(read).collect()
    }

    fn import_image(&self, alias: &str, file: impl FnOnce() -> PathBuf) {
        if !self.try_run(&["image", "alias", "list", alias, "--format", "csv"]).stdout.is_empty() {
            return;
        }
        self.run(&["image", "import", path_text(&file()), "--alias", alias]);
    }

    fn variable(&self, name: &str) -> String {
        let product = if self.product == Product::Lxd { "LXD" } else { "INCUS" };
        format!("{product}_{name}")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("log of {:?}:\n{}{}", self.product, self.log(), self.instance_logs()));
        }
        let cleaned = Command::new(script_path("lab-clean")).arg(&self.dir).status();
        if let Some(mut daemon) = self.daemon.take() {
            // Already killed; this only collects it.
            drop(daemon.wait());
        }
        if !cleaned.is_ok_and(|status| status.success()) {
            say(&format!("{} is not cleaned up", self.dir.display()));
        }
    }
}

/// Past the capture of the test harness, so that it is seen even when the test passes.
fn say(text: &str) {
    // In one piece, for other tests write at the same time.
    std::io::stderr().write_all(format!("\nlaboratory: {text}\n").as_bytes()).ok();
}

fn skipped() -> bool {
    #[expect(clippy::disallowed_methods, reason = "the switch of this test binary, meant to be typed")]
    let skipped = std::env::var("HOLDALL_SKIP_DAEMON_TESTS").is_ok_and(|value| value == "1");
    if skipped {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        say(&format!("NOT RUN, because HOLDALL_SKIP_DAEMON_TESTS=1: {test}"));
    }
    skipped
}

fn clear_stale() {
    static SWEEP: Once = Once::new();
    SWEEP.call_once(|| {
        script("lab-clean", &["--stale"]);
    });
}

/// A new directory named after this process and its start, by which `lab-clean` tells a living owner.
fn new_dir() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let facts = fs::read_to_string("/proc/self/stat").expect("a process knows itself");
    let (_, after_name) = facts.rsplit_once(')').expect("the name stands in parentheses");
    let start = after_name.split_whitespace().nth(19).expect("field 22 is the start time");
    let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let dir = Path::new(PARENT).join(format!("holdall-lab.{pid}-{start}-{count}"));
    fs::create_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    // Whatever the umask: containers pass through it under shifted ids.
    fs::set_permissions(&dir, Permissions::from_mode(0o711)).expect("our own directory");
    dir
}

fn script_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

/// Runs a script of the project and returns what it printed.
fn script(name: &str, args: &[&str]) -> String {
    text_of(Command::new(script_path(name)).args(args).stdin(Stdio::null()))
}

fn output_of(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{} cannot be run: {error}", command.get_program().display()))
}

fn text_of(command: &mut Command) -> String {
    let output = output_of(command);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} ended with {}:\n{out}{err}", output.status);
    out.into_owned()
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("paths of a laboratory are text")
}
