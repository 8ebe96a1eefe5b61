//! A guest: a virtual machine of `scripts/lab-guest` for one test, which runs shell scripts in it.
//!
//! It knows nothing of holdall but that there is such a program. All that it has lies in
//! `/var/tmp/holdall-lab.PID-START-N`, as it does for the daemon tests; dropping it ends the machine and removes that.
//!
//! Where no guest can be had a test fails. `HOLDALL_SKIP_GUEST_TESTS=1` makes it pass unrun, and says so.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const PARENT: &str = "/var/tmp";
/// How long a guest may take to boot; it needs ten seconds, or some more beside others.
const BOOT: Duration = Duration::from_mins(3);
/// How long a step may take that waits for nothing.
pub const STEP: Duration = Duration::from_mins(4);
/// After so many seconds a guest is ended whatever it does.
const GUEST_SECONDS_MAX: &str = "7200";
const MIB: u64 = 1 << 20;

/// A running machine. Dropping it removes everything.
pub struct Guest {
    dir: PathBuf,
    machine: Child,
    agent: Mutex<UnixStream>,
    next: AtomicU64,
    waiting: Waiting,
}

type Waiting = Arc<Mutex<BTreeMap<u64, Sender<i32>>>>;

/// A script that was started.
pub struct Job<'g> {
    guest: &'g Guest,
    number: u64,
    ended: Receiver<i32>,
}

/// What became of a script.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it printed to its standard error.
    pub err: String,
}

impl Guest {
    /// Boots a guest with disks of so many mebibytes; `None` if guest tests are to be skipped. The disks are sparse
    /// files `disk0.img`, `disk1.img` and so on, and in the guest `/dev/vda`, `/dev/vdb` and so on.
    pub fn boot(disks: &[u64]) -> Option<Self> {
        if skipped() {
            return None;
        }
        let tree =
            Command::new(script_path("lab-guest")).arg("prepare").stdin(Stdio::null()).output().expect("a script");
        assert!(
            tree.status.success(),
            "No guest: {}; HOLDALL_SKIP_GUEST_TESTS=1 goes without these tests",
            String::from_utf8_lossy(&tree.stderr)
        );
        clear_stale();
        let dir = new_dir();
        for (number, mib) in disks.iter().enumerate() {
            let disk = File::create(dir.join(format!("disk{number}.img"))).expect("a disk");
            disk.set_len(mib * MIB).expect("a sparse file");
        }
        for name in ["jobs", "in"] {
            fs::create_dir(dir.join(name)).expect("our own directory");
        }
        for name in ["agent.sh", "lab.sh"] {
            fs::copy(source_path(name), dir.join(name)).expect("a script of ours");
        }
        fs::copy(env!("CARGO_BIN_EXE_holdall"), dir.join("holdall")).expect("the program");
        let listener = UnixListener::bind(dir.join("agent.sock")).expect("a short path");
        let machine = boot(&dir);
        let mut guest = Self::connect(dir, machine, &listener);
        guest.run("install /host/holdall /usr/local/bin/holdall");
        guest.next = AtomicU64::new(1);
        Some(guest)
    }

    fn connect(dir: PathBuf, mut machine: Child, listener: &UnixListener) -> Self {
        let (connected, connection) = mpsc::channel();
        let listener = listener.try_clone().expect("one more of it");
        thread::spawn(move || {
            let said = listener.accept().map(|(agent, _)| {
                let mut lines = BufReader::new(agent.try_clone().expect("one more of it"));
                let mut ready = String::new();
                lines.read_line(&mut ready).map(|_| (agent, lines, ready))
            });
            // Whoever waited may have given up.
            let _ = connected.send(said);
        });
        let Ok(Ok(Ok((agent, lines, ready)))) = connection.recv_timeout(BOOT) else {
            let _ = machine.kill();
            let last = fs::read_to_string(dir.join("console.log")).unwrap_or_default();
            panic!("The guest does not boot: {last}");
        };
        assert_eq!(ready.trim(), "ready");
        let waiting = Waiting::default();
        thread::spawn({
            let waiting = Arc::clone(&waiting);
            move || deliver(lines, &waiting)
        });
        Self { dir, machine, agent: Mutex::new(agent), next: AtomicU64::new(0), waiting }
    }

    /// The directory that the guest sees as `/host`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a file `/host/in/NAME` for it.
    pub fn gives(&self, name: &str, bytes: &[u8]) {
        let written = File::create(self.dir.join("in").join(name)).and_then(|mut file| file.write_all(bytes));
        written.expect("a file of ours");
    }

    /// Starts a shell script that knows all of `lab.sh`, and ends at the first command that fails.
    pub fn start(&self, script: &str) -> Job<'_> {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let text = format!(". /host/lab.sh\nset -e\n{script}\n");
        let file = self.dir.join("jobs").join(format!("{number}.sh"));
        File::create(file).and_then(|mut file| file.write_all(text.as_bytes())).expect("a job");
        let (end, ended) = mpsc::channel();
        lock(&self.waiting).insert(number, end);
        lock(&self.agent).write_all(format!("{number}\n").as_bytes()).expect("the guest listens");
        Job { guest: self, number, ended }
    }

    /// Runs a script to its end, whatever comes of it.
    #[track_caller]
    pub fn try_run(&self, script: &str) -> Ran {
        self.start(script).wait(STEP)
    }

    /// Runs a script, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn run(&self, script: &str) -> String {
        self.try_run(script).succeeds().out
    }

    /// Ends the machine in this moment, as a power cut does, and waits until it is gone. Its disks can be read then.
    pub fn cut_power(&mut self) {
        // Whose end was waited for before has no number any more.
        if self.machine.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = kill_process(Pid::from_child(&self.machine), Signal::TERM);
        }
        let _ = self.machine.wait();
        // The script takes the machine with it, which is gone when it no longer holds the agent's line.
        let _ = io::copy(&mut *lock(&self.agent), &mut io::sink());
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.cut_power();
        if thread::panicking() {
            let last = fs::read_to_string(self.dir.join("console.log")).unwrap_or_default();
            let last: Vec<&str> = last.lines().rev().take(30).collect();
            eprintln!("The guest's last words, in reverse:\n{}", last.join("\n"));
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Job<'_> {
    /// Waits for its end, which must come in time.
    #[track_caller]
    pub fn wait(self, limit: Duration) -> Ran {
        match self.ended.recv_timeout(limit) {
            Ok(code) => Ran { code, out: self.printed("out"), err: self.printed("err") },
            Err(cause) => panic!(
                "{cause} after {limit:?} in {:?}, which said {}{}",
                self.printed("sh"),
                self.printed("out"),
                self.printed("err")
            ),
        }
    }

    /// What it printed: `out`, or `err` for its standard error.
    fn printed(&self, channel: &str) -> String {
        let bytes = fs::read(self.guest.dir.join("jobs").join(format!("{}.{channel}", self.number)));
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    }
}

impl Ran {
    /// Its exit code must be 0.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert_eq!(self.code, 0, "standard output:\n{}standard error:\n{}", self.out, self.err);
        self
    }
}

/// Hands the answers of the guest to those who wait for them.
fn deliver(lines: BufReader<UnixStream>, waiting: &Waiting) {
    for line in lines.lines().map_while(Result::ok) {
        let mut numbers = line.split(' ').map(str::parse::<u64>);
        if let (Some(Ok(job)), Some(Ok(code))) = (numbers.next(), numbers.next())
            && let Some(end) = lock(waiting).remove(&job)
        {
            let _ = end.send(i32::try_from(code).unwrap_or(-1));
        }
    }
    // Whoever still waits is told by the end of the channel.
    lock(waiting).clear();
}

/// Starts the machine. Its parent is a thread that ends with this process and not before: a machine whose parent is
/// gone is ended.
fn boot(dir: &Path) -> Child {
    let (started, machine) = mpsc::channel();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(script_path("lab-guest")).arg("run").arg(dir);
    command.args(["agent.sh", GUEST_SECONDS_MAX]).stdin(Stdio::null()).stdout(Stdio::null());
    let log = File::create(dir.join("machine.log")).expect("our own directory");
    command.stderr(log);
    thread::spawn(move || {
        let _ = started.send(command.spawn());
        loop {
            thread::park();
        }
    });
    machine.recv().expect("an answer").expect("setpriv runs")
}

fn skipped() -> bool {
    #[expect(clippy::disallowed_methods, reason = "the switch of this test binary, meant to be typed")]
    let skipped = std::env::var("HOLDALL_SKIP_GUEST_TESTS").is_ok_and(|value| value == "1");
    if skipped {
        let test = thread::current().name().unwrap_or("a test").to_owned();
        say(&format!("NOT RUN, because HOLDALL_SKIP_GUEST_TESTS=1: {test}"));
    }
    skipped
}

/// Removes what killed runs left.
fn clear_stale() {
    static SWEEP: Once = Once::new();
    SWEEP.call_once(|| {
        let swept = Command::new(script_path("lab-clean")).arg("--stale").status();
        assert!(swept.is_ok_and(|status| status.success()), "what killed runs left cannot be removed");
    });
}

/// Says something past the harness, which keeps what a test prints to itself.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `scripts/lab-clean --stale` finds by this name whose directory it is.
fn new_dir() -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let facts = fs::read_to_string("/proc/self/stat").expect("a process knows itself");
    let (_, after_name) = facts.rsplit_once(')').expect("the name stands in parentheses");
    let start = after_name.split_whitespace().nth(19).expect("field 22 is the start time");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = Path::new(PARENT).join(format!("holdall-lab.{}-{start}-guest{count}", std::process::id()));
    fs::create_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    dir
}

fn script_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

fn source_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest").join(name)
}
