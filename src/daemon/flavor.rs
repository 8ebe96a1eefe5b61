//! The two products and where their sockets are.
//!
//! LXD and Incus speak one protocol with other header names and other places (`reference/daemon-api.md` 1.1). Knows no
//! protocol and reads no environment: the caller passes what the environment says. What a daemon can do is asked of its
//! `api_extensions`, never of its flavor or version.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::error::{DaemonError, Tried};

/// Which product a daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// Canonical's LXD.
    Lxd,
    /// Incus of Linux Containers.
    Incus,
}

impl Flavor {
    /// The product that calls itself so in `environment.server`.
    pub fn from_server(name: &str) -> Option<Self> {
        match name {
            "lxd" => Some(Self::Lxd),
            "incus" => Some(Self::Incus),
            _ => None,
        }
    }

    /// The group whose members may use the full socket.
    pub const fn group(self) -> &'static str {
        match self {
            Self::Lxd => "lxd",
            Self::Incus => "incus-admin",
        }
    }

    /// The header that names an instance to import.
    pub(super) const fn name_header(self) -> &'static str {
        match self {
            Self::Lxd => "X-LXD-name",
            Self::Incus => "X-Incus-name",
        }
    }

    /// The header that tells what is imported, where that is no export.
    pub(super) const fn type_header(self) -> &'static str {
        match self {
            Self::Lxd => "X-LXD-type",
            Self::Incus => "X-Incus-type",
        }
    }

    /// The header that chooses the pool of an instance to import.
    pub(super) const fn pool_header(self) -> &'static str {
        match self {
            Self::Lxd => "X-LXD-pool",
            Self::Incus => "X-Incus-pool",
        }
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lxd => "LXD",
            Self::Incus => "Incus",
        })
    }
}

/// What the caller knows about where the socket is: command line and environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketHints {
    /// A socket named by the user; nothing else is tried then.
    pub server: Option<PathBuf>,
    /// `LXD_SOCKET`: a socket.
    pub lxd_socket: Option<PathBuf>,
    /// `LXD_DIR`: the directory that holds `unix.socket`.
    pub lxd_dir: Option<PathBuf>,
    /// `INCUS_SOCKET`: a socket.
    pub incus_socket: Option<PathBuf>,
    /// `INCUS_DIR`: the directory that holds `unix.socket`.
    pub incus_dir: Option<PathBuf>,
    /// What stands before the well-known places: `/var/lib/snapd/hostfs` inside a snap.
    pub host_prefix: Option<PathBuf>,
}

/// A place where a socket may be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// The product that puts it there; unknown where the user named the socket.
    flavor: Option<Flavor>,
    path: PathBuf,
}

impl SocketHints {
    /// Finds the socket that accepts connections.
    ///
    /// What the user named wins, then what the environment names, then the well-known places. Of one product the first
    /// place that answers counts; if both products answer, nobody said which is meant, and that is an error.
    pub fn find(&self) -> Result<PathBuf, DaemonError> {
        let mut tried = Vec::new();
        let mut found: Vec<Place> = Vec::new();
        let mut forbidden = None;
        for place in self.places() {
            if found.iter().any(|other| other.flavor == place.flavor) {
                continue;
            }
            match UnixStream::connect(&place.path) {
                Ok(_) => found.push(place),
                Err(error) => {
                    let denied = error.kind() == io::ErrorKind::PermissionDenied;
                    tried.push(Tried { path: place.path.clone(), why: reason(&error) });
                    if denied && forbidden.is_none() {
                        forbidden = Some(place);
                    }
                }
            }
        }
        match (found.as_slice(), forbidden) {
            ([place], _) => Ok(place.path.clone()),
            ([], Some(place)) => Err(DaemonError::NoPermission { group: group(place.flavor), path: place.path }),
            ([], None) => Err(DaemonError::NoDaemon { tried }),
            (several, _) => {
                Err(DaemonError::Ambiguous { sockets: several.iter().map(|place| place.path.clone()).collect() })
            }
        }
    }

    /// Every place in the order of the products' own clients.
    fn places(&self) -> Vec<Place> {
        if let Some(path) = &self.server {
            return vec![Place { flavor: None, path: path.clone() }];
        }
        let place = |flavor, path: PathBuf| Place { flavor: Some(flavor), path };
        let named = |flavor, socket: &Option<PathBuf>, dir: &Option<PathBuf>| {
            let path = socket.clone().or_else(|| dir.as_ref().map(|dir| dir.join("unix.socket")));
            path.map(|path| place(flavor, path))
        };
        let lxd = named(Flavor::Lxd, &self.lxd_socket, &self.lxd_dir);
        let incus = named(Flavor::Incus, &self.incus_socket, &self.incus_dir);
        let named: Vec<_> = lxd.into_iter().chain(incus).collect();
        if !named.is_empty() {
            return named;
        }
        [
            (Flavor::Lxd, "/var/snap/lxd/common/lxd/unix.socket"),
            (Flavor::Lxd, "/var/lib/lxd/unix.socket"),
            (Flavor::Incus, "/run/incus/unix.socket"),
            (Flavor::Incus, "/var/lib/incus/unix.socket"),
        ]
        .map(|(flavor, path)| place(flavor, self.host_path(path)))
        .into()
    }

    fn host_path(&self, path: &str) -> PathBuf {
        match &self.host_prefix {
            Some(prefix) => prefix.join(path.trim_start_matches('/')),
            None => PathBuf::from(path),
        }
    }
}

/// The daemon's own directory, from its socket: where its `backups` directory lies, if we can see it from here.
pub(super) fn directory_of(socket: &Path) -> Option<PathBuf> {
    let parent = socket.parent()?;
    let beside = parent.to_path_buf();
    let var = parent.ends_with("run/incus").then(|| parent.join("../../var/lib/incus"));
    std::iter::once(beside).chain(var).find(|directory| directory.join("backups").is_dir())
}

/// The group that may use a socket of a product, or of one or the other.
pub(super) fn group(flavor: Option<Flavor>) -> String {
    match flavor {
        Some(flavor) => flavor.group().to_owned(),
        None => format!("{} (or {})", Flavor::Lxd.group(), Flavor::Incus.group()),
    }
}

/// Why a connection failed, in the words of an administrator.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such socket".to_owned(),
        io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        io::ErrorKind::PermissionDenied => "no permission".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn root() -> (tempfile::TempDir, SocketHints) {
        let root = tempfile::tempdir().unwrap();
        let hints = SocketHints { host_prefix: Some(root.path().to_owned()), ..SocketHints::default() };
        (root, hints)
    }

    fn listen(path: &Path) -> UnixListener {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        UnixListener::bind(path).unwrap()
    }

    #[test]
    fn every_tried_place_is_named() {
        let (_root, hints) = root();
        let text = hints.find().unwrap_err().to_string();
        for part in
            ["/var/snap/lxd/common/lxd/unix.socket (no such socket)", "/var/lib/lxd", "/run/incus", "/var/lib/incus"]
        {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn the_snap_comes_before_the_package_and_a_dead_socket_is_passed_over() {
        let (root, hints) = root();
        let dead = root.path().join("var/snap/lxd/common/lxd/unix.socket");
        drop(listen(&dead));
        let path = root.path().join("var/lib/lxd/unix.socket");
        let _alive = listen(&path);
        assert_eq!(hints.find().unwrap(), path);
        std::fs::remove_file(&dead).unwrap();
        let _snap = listen(&dead);
        assert_eq!(hints.find().unwrap(), dead);
    }

    #[test]
    fn two_products_are_ambiguous_until_one_is_named() {
        let (root, mut hints) = root();
        let lxd = root.path().join("var/lib/lxd/unix.socket");
        let incus = root.path().join("run/incus/unix.socket");
        let _listeners = (listen(&lxd), listen(&incus));
        assert!(matches!(hints.find(), Err(DaemonError::Ambiguous { sockets }) if sockets.len() == 2));
        hints.incus_dir = incus.parent().map(Path::to_owned);
        assert_eq!(hints.find().unwrap(), incus);
        hints.lxd_socket = Some(lxd.clone());
        assert!(matches!(hints.find(), Err(DaemonError::Ambiguous { .. })));
        hints.server = Some(lxd.clone());
        assert_eq!(hints.find().unwrap(), lxd);
    }

    #[test]
    fn the_socket_wins_over_the_directory_and_a_dead_named_one_is_an_error() {
        let (root, mut hints) = root();
        hints.lxd_socket = Some(root.path().join("a"));
        hints.lxd_dir = Some(root.path().join("b"));
        let _default = listen(&root.path().join("var/lib/lxd/unix.socket"));
        let text = hints.find().unwrap_err().to_string();
        assert!(text.contains("/a (no such socket)") && !text.contains("/b/"), "{text}");
    }
}
