//! A directory with a repository, an export and a key, and short words for running the program in it.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The program, with nothing in its environment but what it needs.
pub const HOLDALL: &str = env!("CARGO_BIN_EXE_holdall");

/// Zeros behind the end of [`export`].
pub const PADDING_BYTES: usize = 4096;

pub struct Bench {
    directory: TempDir,
}

/// What became of one run of the program.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Bench {
    /// An empty directory.
    pub fn empty() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// With a repository in `repo`, its key in `key`, and an export in `web1.tar`.
    pub fn new() -> Self {
        let bench = Self::empty();
        bench.write("web1.tar", &export("web1", 200));
        bench.run(&["init", "--new-key-file", "key"]).succeeds();
        bench
    }

    /// The same with a point.
    pub fn with_point() -> Self {
        let bench = Self::new();
        bench.run(&["import", "web1.tar", "--server-name", "lab"]).succeeds();
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The program with arguments, its repository and key known, no terminal, and nothing to read.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare(arguments);
        command.env("HOLDALL_REPOSITORY", "repo").env("HOLDALL_KEY_FILE", "key");
        command
    }

    /// The same without repository and key.
    pub fn bare(&self, arguments: &[&str]) -> Command {
        self.with_settings("/dev/null", arguments)
    }

    /// The same with a settings file.
    pub fn with_settings(&self, file: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(HOLDALL);
        command.args(["--config", file]).args(arguments).current_dir(self.directory.path());
        command.env_clear().env("XDG_CACHE_HOME", self.path("cache")).env("TZ", "UTC").stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        File::create(self.path(name)).and_then(|mut file| file.write_all(bytes)).unwrap();
    }

    /// The names in a directory, sorted.
    pub fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(directory)).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Every object below a directory of the repository, the largest first.
    pub fn objects(&self, kind: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut directories = vec![self.path("repo").join(kind)];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { directories.push(path) } else { found.push(path) }
            }
        }
        found.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
        found
    }

    /// The one object of a kind, or the largest.
    pub fn object(&self, kind: &str) -> PathBuf {
        self.objects(kind).into_iter().next().unwrap()
    }
}

impl Ran {
    pub fn of(command: &mut Command) -> Self {
        Self::from(command.output().unwrap())
    }

    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.ends_with(0)
    }

    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "standard output:\n{}standard error:\n{}", self.out, self.err);
        self
    }

    /// Ends with this code and one line on standard error, which says all of this.
    #[track_caller]
    pub fn fails(self, code: i32, said: &[&str]) -> Self {
        let ran = self.ends_with(code);
        let last = ran.err.lines().last().unwrap_or_default();
        assert!(last.starts_with("holdall: error: "), "{}", ran.err);
        for part in said {
            assert!(last.contains(part), "{part:?} is not said in: {last}");
        }
        ran
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        // Where the output is a point it is no text, and the test reads it otherwise.
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out, err: text(output.stderr) }
    }
}

/// Bytes that do not compress, the same for one seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A small export of a container, as a tool that packed it again leaves it: the index last, zeros behind the end.
pub fn export(name: &str, files: u64) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        builder.append_data(&mut header, path, bytes).unwrap();
    };
    add("backup/container/", tar::EntryType::Directory, &[]);
    add("backup/container/rootfs/", tar::EntryType::Directory, &[]);
    for number in 0..files {
        add(&format!("backup/container/rootfs/file-{number}"), tar::EntryType::Regular, &noise(number, 5000));
    }
    let index = format!("name: {name}\nbackend: dir\npool: default\noptimized: false\ntype: container\n");
    add("backup/index.yaml", tar::EntryType::Regular, index.as_bytes());
    let mut bytes = builder.into_inner().unwrap();
    bytes.extend([0; PADDING_BYTES]);
    bytes
}

/// Flips a bit of a file.
pub fn flip(path: &Path, offset: u64) {
    change(path, offset, 1);
}

/// Changes more bytes from an offset on than parity repairs.
pub fn spoil(path: &Path, offset: u64) {
    change(path, offset, 100_000);
}

fn change(path: &Path, offset: u64, len: usize) {
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    let mut bytes = vec![0; len];
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.read_exact(&mut bytes).unwrap();
    for byte in &mut bytes {
        *byte ^= 1;
    }
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(&bytes).unwrap();
}
