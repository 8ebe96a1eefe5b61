//! Settings: what the command line, the environment and the settings file say together, in this order.
//!
//! The only place that reads the environment. Nothing is opened here but the settings file; no secret passes through.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{self, Path, PathBuf};
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use holdall::daemon::SocketHints;
use holdall::retention::Policy;
use holdall::source::Selector;

use crate::args::{Global, Rules, parse_age, parse_parallel, parse_size};
use crate::error::{CliError, Code};
use crate::hooks::Hook;

/// The settings file that is read if there is one.
const SETTINGS_FILE: &str = "/etc/holdall/config.toml";
/// How long a hook may run that does not say.
const HOOK_TIME: Duration = Duration::from_mins(5);
/// The names of the credentials that systemd may hand over (`LoadCredential=` and its like).
const PASSWORD_CREDENTIAL: &str = "holdall.password";
const KEY_CREDENTIAL: &str = "holdall.key";

/// Where the key that opens the repository comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A key file.
    KeyFile(PathBuf),
    /// A file that holds a passphrase.
    PasswordFile(PathBuf),
    /// An open file descriptor that yields a passphrase.
    PasswordFd(u16),
    /// A command that prints a passphrase.
    PasswordCommand(String),
}

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    repository: Option<PathBuf>,
    /// The key that was given; without one a person is asked.
    pub key: Option<KeySource>,
    /// Where the index goes; `None` if there is no place for it.
    pub cache_dir: Option<PathBuf>,
    /// The daemon's socket, where one was named.
    pub server: Option<PathBuf>,
    /// The name of this host's server in the repository.
    pub server_name: Option<String>,
    /// How old a source's newest point may be before `status` calls it late.
    pub max_age: Option<Duration>,
    /// The most bytes that are read from the daemon in a second.
    pub limit_rate: Option<u64>,
    /// How many sources are saved beside each other.
    pub parallel: Option<usize>,
    /// What `backup --all` leaves out.
    pub exclude: Vec<Selector>,
    /// Commands around the backup of a set.
    pub hooks: Vec<Hook>,
    /// Which points `forget` keeps; without a rule if none is set.
    pub retention: Policy,
}

impl Settings {
    /// Looks everywhere.
    pub fn load(global: &Global) -> Result<Self, CliError> {
        merge(global, &Environment::read(), SettingsFile::load(global.config.as_deref())?)
    }

    /// The repository's path: an absolute one, so that messages in a log name it in full.
    pub fn repository(&self) -> Result<PathBuf, CliError> {
        let path = self.repository.clone().ok_or_else(|| {
            CliError::new(Code::Usage, "No repository was named").hint(format!(
                "give -r REPO, set HOLDALL_REPOSITORY, or write repository = \"...\" into {SETTINGS_FILE}"
            ))
        })?;
        if path.to_string_lossy().contains("://") {
            return Err(CliError::new(Code::Usage, format!("The repository {} is no directory", path.display()))
                .hint("this version keeps repositories in directories only; mount the place and give its path"));
        }
        Ok(path::absolute(&path).unwrap_or(path))
    }
}

impl Settings {
    /// Where the daemon may be found.
    pub fn socket_hints(&self) -> SocketHints {
        let variable = |name| variable(name).map(PathBuf::from);
        SocketHints {
            server: self.server.clone(),
            lxd_socket: variable("LXD_SOCKET"),
            lxd_dir: variable("LXD_DIR"),
            incus_socket: variable("INCUS_SOCKET"),
            incus_dir: variable("INCUS_DIR"),
            host_prefix: variable("SNAP").map(|_| PathBuf::from("/var/lib/snapd/hostfs")),
        }
    }
}

/// This host's name, for people.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What the environment says; empty variables count as absent.
#[derive(Default)]
struct Environment {
    repository: Option<OsString>,
    key_file: Option<OsString>,
    password_file: Option<OsString>,
    password_command: Option<OsString>,
    credentials: Option<PathBuf>,
    cache_home: Option<PathBuf>,
    home: Option<PathBuf>,
    is_root: bool,
}

impl Environment {
    fn read() -> Self {
        Self {
            repository: variable("HOLDALL_REPOSITORY"),
            key_file: variable("HOLDALL_KEY_FILE"),
            password_file: variable("HOLDALL_PASSWORD_FILE"),
            password_command: variable("HOLDALL_PASSWORD_COMMAND"),
            credentials: variable("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            cache_home: variable("XDG_CACHE_HOME").map(PathBuf::from),
            home: variable("HOME").map(PathBuf::from),
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    fn key(&self) -> Result<Option<KeySource>, CliError> {
        let sources = [
            self.key_file.clone().map(|path| KeySource::KeyFile(path.into())),
            self.password_file.clone().map(|path| KeySource::PasswordFile(path.into())),
            self.password_command.as_ref().map(|text| KeySource::PasswordCommand(text.to_string_lossy().into_owned())),
        ];
        only_one(
            sources,
            "The environment names more than one key",
            "unset all but one of HOLDALL_KEY_FILE, \
                 HOLDALL_PASSWORD_FILE and HOLDALL_PASSWORD_COMMAND",
        )
    }

    fn credential(&self) -> Option<KeySource> {
        let directory = self.credentials.as_ref()?;
        let (key, password) = (directory.join(KEY_CREDENTIAL), directory.join(PASSWORD_CREDENTIAL));
        if key.exists() {
            return Some(KeySource::KeyFile(key));
        }
        password.exists().then_some(KeySource::PasswordFile(password))
    }

    /// A relative path in `XDG_CACHE_HOME` is to be ignored, says its specification.
    fn cache_dir(&self) -> Option<PathBuf> {
        let chosen = self.cache_home.as_ref().filter(|path| path.is_absolute());
        match (chosen, &self.home) {
            (Some(cache), _) => Some(cache.join("holdall")),
            (None, _) if self.is_root => Some("/var/cache/holdall".into()),
            (None, home) => home.as_ref().map(|home| home.join(".cache/holdall")),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsFile {
    repository: Option<PathBuf>,
    key_file: Option<PathBuf>,
    password_file: Option<PathBuf>,
    password_command: Option<String>,
    cache_dir: Option<PathBuf>,
    server: Option<PathBuf>,
    server_name: Option<String>,
    #[serde(default, deserialize_with = "age")]
    max_age: Option<Duration>,
    #[serde(default, deserialize_with = "bytes")]
    limit_rate: Option<u64>,
    #[serde(default, deserialize_with = "parallel")]
    parallel: Option<usize>,
    #[serde(default, deserialize_with = "selectors")]
    exclude: Vec<Selector>,
    #[serde(default, rename = "hook")]
    hooks: Vec<HookEntry>,
    #[serde(default)]
    retention: Rules,
}

/// One `[[hook]]` of the settings file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HookEntry {
    #[serde(default, deserialize_with = "selectors")]
    sources: Vec<Selector>,
    before: Option<String>,
    after: Option<String>,
    #[serde(default, deserialize_with = "age")]
    time_limit: Option<Duration>,
}

impl HookEntry {
    fn hook(self) -> Hook {
        let time_limit = self.time_limit.unwrap_or(HOOK_TIME);
        Hook { sources: self.sources, before: self.before, after: self.after, time_limit }
    }
}

/// Sources as people name them.
fn selectors<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Selector>, D::Error> {
    let texts: Vec<String> = Vec::deserialize(from)?;
    texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}

/// A size as people write it: `50MiB`.
fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(from)?;
    parse_size(&text).map(Some).map_err(D::Error::custom)
}

/// How many sources are saved beside each other.
fn parallel<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    parse_parallel(&u64::deserialize(from)?.to_string()).map(Some).map_err(D::Error::custom)
}

/// A time as people write it: `26h`.
fn age<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    parse_age(&text).map(Some).map_err(D::Error::custom)
}

impl SettingsFile {
    /// Reads the file that was named, which must be there, or the usual one, which need not. That another user's
    /// settings cannot be read must not keep anybody from using a repository of their own.
    fn load(named: Option<&Path>) -> Result<Self, CliError> {
        let path = named.unwrap_or(Path::new(SETTINGS_FILE));
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error)
                if named.is_none() && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) =>
            {
                Ok(Self::default())
            }
            Err(error) => Err(CliError::io(path.display(), "read the settings in", &error).code(Code::Usage)),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, CliError> {
        let mut file: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let cause = error.message().lines().next().unwrap_or_default().to_owned();
            CliError::new(Code::Usage, format!("Line {line} of {} cannot be understood: {cause}", path.display()))
        })?;
        let base = path.parent().unwrap_or(Path::new("/"));
        for relative in
            [&mut file.repository, &mut file.key_file, &mut file.password_file, &mut file.cache_dir, &mut file.server]
        {
            *relative = relative.take().map(|path| base.join(path));
        }
        let keys = [&file.key_file, &file.password_file].iter().filter(|key| key.is_some()).count();
        if keys + usize::from(file.password_command.is_some()) > 1 {
            return Err(CliError::new(Code::Usage, format!("{} names more than one key", path.display()))
                .hint("keep one of key_file, password_file and password_command"));
        }
        Ok(file)
    }

    fn key(&self) -> Option<KeySource> {
        let key_file = self.key_file.clone().map(KeySource::KeyFile);
        let password_file = self.password_file.clone().map(KeySource::PasswordFile);
        key_file.or(password_file).or_else(|| self.password_command.clone().map(KeySource::PasswordCommand))
    }
}

fn merge(global: &Global, environment: &Environment, file: SettingsFile) -> Result<Settings, CliError> {
    let typed = [
        global.key_file.clone().map(KeySource::KeyFile),
        global.password_file.clone().map(KeySource::PasswordFile),
        global.password_fd.map(KeySource::PasswordFd),
        global.password_command.clone().map(KeySource::PasswordCommand),
    ];
    let key = match only_one(typed, "More than one key was given", "give one of the key options")? {
        Some(key) => Some(key),
        None => environment.key()?.or_else(|| file.key()).or_else(|| environment.credential()),
    };
    let repository =
        global.repository.clone().or(environment.repository.as_ref().map(PathBuf::from)).or(file.repository);
    Ok(Settings {
        key,
        cache_dir: global.cache_dir.clone().or(file.cache_dir).or_else(|| environment.cache_dir()),
        repository,
        server: global.server.clone().or(file.server),
        server_name: file.server_name,
        max_age: file.max_age,
        limit_rate: file.limit_rate,
        parallel: file.parallel,
        exclude: file.exclude,
        hooks: file.hooks.into_iter().map(HookEntry::hook).collect(),
        retention: file.retention.policy(),
    })
}

fn only_one<const N: usize>(
    sources: [Option<KeySource>; N],
    message: &str,
    hint: &'static str,
) -> Result<Option<KeySource>, CliError> {
    let mut given = sources.into_iter().flatten();
    match (given.next(), given.next()) {
        (key, None) => Ok(key),
        _ => Err(CliError::new(Code::Usage, message).hint(hint)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use clap::Parser;
    use proptest::prelude::*;

    fn global(arguments: &[&str]) -> Global {
        Args::parse_from(["holdall"].iter().chain(arguments).chain(&["list"])).global
    }

    fn environment() -> Environment {
        Environment {
            repository: Some("/environment".into()),
            key_file: Some("/environment.key".into()),
            home: Some("/home/me".into()),
            ..Environment::default()
        }
    }

    fn file(text: &str) -> SettingsFile {
        SettingsFile::parse(Path::new("/etc/holdall/config.toml"), text).unwrap()
    }

    #[test]
    fn the_command_line_beats_the_environment_and_that_the_file() {
        let text = "repository = \"repo\"\npassword_file = \"password\"\nserver_name = \"lab\"";
        let settings = merge(&global(&["-r", "/typed", "--password-fd", "3"]), &environment(), file(text)).unwrap();
        assert_eq!(settings.repository().unwrap(), Path::new("/typed"));
        assert_eq!(settings.key, Some(KeySource::PasswordFd(3)));
        let settings = merge(&global(&[]), &environment(), file(text)).unwrap();
        assert_eq!(settings.repository().unwrap(), Path::new("/environment"));
        assert_eq!(settings.key, Some(KeySource::KeyFile("/environment.key".into())));
        let settings = merge(&global(&[]), &Environment::default(), file(text)).unwrap();
        assert_eq!(settings.repository().unwrap(), Path::new("/etc/holdall/repo"));
        assert_eq!(settings.key, Some(KeySource::PasswordFile("/etc/holdall/password".into())));
        assert_eq!(settings.server_name.as_deref(), Some("lab"));
        let hook =
            "[[hook]]\nsources = [\"web1\"]\nbefore = \"true\"\ntime_limit = \"90s\"\n[[hook]]\nafter = \"false\"";
        let settings = merge(&global(&[]), &Environment::default(), file(hook)).unwrap();
        let [one, other] = &settings.hooks[..] else { panic!("two hooks") };
        assert_eq!((one.time_limit.as_secs(), one.sources.len(), other.time_limit), (90, 1, HOOK_TIME));
        let text = "limit_rate = \"1MiB\"\nexclude = [\"volume:default/tmp\"]";
        let settings = merge(&global(&[]), &Environment::default(), file(text)).unwrap();
        assert_eq!((settings.limit_rate, settings.exclude.len()), (Some(1 << 20), 1));
        let settings = merge(&global(&[]), &Environment::default(), file("parallel = 3")).unwrap();
        assert_eq!(settings.parallel, Some(3));
        let text = "[retention]\nkeep_last = 3\nkeep_yearly = 'all'\nkeep_within = '2w'\nkeep_tag = ['a']";
        let policy = merge(&global(&[]), &Environment::default(), file(text)).unwrap().retention;
        assert_eq!((policy.each.len(), policy.within, policy.tags.len()), (1, "14d".parse().ok(), 1));
        assert!(merge(&global(&[]), &Environment::default(), file("[retention]")).unwrap().retention.is_empty());
        let settings = merge(&global(&[]), &Environment::default(), file("max_age = \"1day 2h\"")).unwrap();
        assert_eq!(settings.max_age, Some(Duration::from_hours(26)));
    }

    #[test]
    fn two_keys_of_one_rank_are_an_error() {
        let typed = global(&["--key-file", "a", "--password-file", "b"]);
        assert!(merge(&typed, &Environment::default(), SettingsFile::default()).is_err());
        let two = Environment { password_file: Some("b".into()), ..environment() };
        assert!(merge(&global(&[]), &two, SettingsFile::default()).is_err());
        let both = "key_file = \"a\"\npassword_command = \"b\"";
        assert!(SettingsFile::parse(Path::new("x"), both).is_err());
    }

    #[test]
    fn the_cache_has_its_place() {
        let cache = |environment: Environment| environment.cache_dir();
        assert_eq!(cache(environment()), Some("/home/me/.cache/holdall".into()));
        let root = || Environment { is_root: true, ..environment() };
        assert_eq!(cache(root()), Some("/var/cache/holdall".into()));
        assert_eq!(cache(Environment { cache_home: Some("/c".into()), ..root() }), Some("/c/holdall".into()));
        let relative = Environment { cache_home: Some("c".into()), ..environment() };
        assert_eq!(cache(relative), Some("/home/me/.cache/holdall".into()));
        assert_eq!(cache(Environment::default()), None);
    }

    #[test]
    fn a_wrong_settings_file_is_named_with_the_line() {
        let wrong = SettingsFile::parse(Path::new("/c.toml"), "server_name = \"a\"\nrepo = \"b\"").unwrap_err();
        let CliError::Failure(failure) = wrong else { panic!("not told") };
        assert_eq!(failure.code, Code::Usage);
        assert!(failure.message.starts_with("Line 2 of /c.toml cannot be understood: unknown field"), "{failure:?}");
        for (rule, cause) in [
            ("keep_daily = 0", "\"0\" is no number of points"),
            ("keep_daily = -1", "\"-1\" is no number of points"),
            ("keep_within = \"6m\"", "months"),
            ("keep_within = 6", "\"6\" is no period"),
            ("keep_tag = [\"a,b\"]", "is no tag"),
            ("keep_often = 3", "unknown field"),
        ] {
            let text = format!("[retention]\n{rule}");
            let Err(CliError::Failure(failure)) = SettingsFile::parse(Path::new("/c.toml"), &text) else {
                panic!("{rule} is taken")
            };
            assert!(failure.message.starts_with("Line 2 of") && failure.message.contains(cause), "{failure:?}");
        }
    }

    proptest! {
        #[test]
        fn any_settings_file_is_taken_or_refused_with_a_line_of_it(
            text in "((repository|key_file|server_name|cache_dir|x) ?= ?(\"[a-zé/\\\\]*\"|[0-9é\\[]{0,3})\r?\n){0,4}|.*"
        ) {
            match SettingsFile::parse(Path::new("/c/config.toml"), &text) {
                Ok(file) => prop_assert!(file.repository.is_none_or(|path| path.is_absolute())),
                Err(CliError::Failure(failure)) => {
                    let line = failure.message.strip_prefix("Line ").and_then(|rest| rest.split(' ').next());
                    let line = line.and_then(|line| line.parse().ok()).unwrap_or(1);
                    prop_assert!((1..=text.matches('\n').count() + 1).contains(&line), "{}", failure.message);
                    prop_assert!(!failure.message.contains('\n'));
                }
                Err(_) => prop_assert!(false, "it was stopped"),
            }
        }
    }
}
