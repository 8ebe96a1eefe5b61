//! Which server this is: its name in the repository, and that it is still the same one.
//!
//! A server has a name, chosen at its first backup, and a random id, kept in a note beside the fingerprint of its
//! certificate. Another fingerprint under a known name is an error until the user says that it is the same server.

use crate::clock::Timestamp;
use crate::daemon::Server;
use crate::id::{NoteId, ServerId};
use crate::point::ServerRecord;
use crate::repo::{Note, NoteFact, RepoError, Repository};
use crate::source::{DEFAULT_PROJECT, Source};

/// What to do when a server of a known name shows another certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopt {
    /// It is another server until somebody says otherwise.
    Refuse,
    /// It is the same server, reinstalled.
    Accept,
}

/// A server that cannot be told or is not the one it was.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The name belongs to a server with another certificate.
    #[error("Server {name} is known in this repository by the certificate {known}, but the daemon shows {shown}")]
    OtherFingerprint {
        /// The server's name.
        name: String,
        /// The fingerprint in the repository, cut.
        known: String,
        /// The daemon's, cut.
        shown: String,
    },
    /// The daemon says no name and none was given.
    #[error("The daemon has no name of its own")]
    Nameless,
    /// No source of a server of this name could be named again.
    #[error("{name:?} cannot be a server's name in a repository")]
    BadName {
        /// The name.
        name: String,
    },
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepoError),
}

/// Digits of a fingerprint that a message shows.
const SHOWN: usize = 16;

/// The server's name and record in this repository; a new server is noted.
pub(super) fn identify(
    repository: &Repository,
    server: &Server,
    name: Option<&str>,
    adopt: Adopt,
    now: Timestamp,
) -> Result<(String, ServerRecord), IdentityError> {
    let name = name.unwrap_or(&server.name);
    if name.is_empty() {
        return Err(IdentityError::Nameless);
    }
    if !Source::instance(name, DEFAULT_PROJECT, "x").is_nameable() {
        return Err(IdentityError::BadName { name: name.to_owned() });
    }
    let fingerprint = server.fingerprint.clone().unwrap_or_default();
    let known = known(repository, name)?;
    let id = match &known {
        Some((_, id, before)) if *before == fingerprint => *id,
        Some((_, _, before)) if adopt == Adopt::Refuse => {
            let cut = |text: &str| text.chars().take(SHOWN).collect::<String>();
            let (known, shown) = (cut(before), cut(&fingerprint));
            return Err(IdentityError::OtherFingerprint { name: name.to_owned(), known, shown });
        }
        known => {
            let id = match known {
                Some((_, id, _)) => *id,
                None => ServerId::random().map_err(RepoError::from)?,
            };
            let fact = NoteFact::Server { name: name.to_owned(), id, fingerprint: fingerprint.clone() };
            let supersedes = known.iter().map(|(note, _, _)| *note).collect();
            repository.put_note(&Note { supersedes, written: now, fact })?;
            id
        }
    };
    let record = ServerRecord { id, flavor: server.flavor.to_string(), version: server.version.clone(), fingerprint };
    Ok((name.to_owned(), record))
}

/// What the notes say about a server of this name; of several, those of the first in order of their ids.
fn known(repository: &Repository, name: &str) -> Result<Option<(NoteId, ServerId, String)>, RepoError> {
    let mut found: Vec<(NoteId, ServerId, String)> = repository
        .notes()?
        .into_iter()
        .filter_map(|(note, content)| match content.fact {
            NoteFact::Server { name: noted, id, fingerprint } if noted == name => Some((note, id, fingerprint)),
            _ => None,
        })
        .collect();
    found.sort_unstable();
    Ok(found.into_iter().next())
}
