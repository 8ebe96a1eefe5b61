//! A point of a custom volume goes back into a pool, under its own or another name.
//!
//! An export says itself how its volume was set up. The bytes of a disc image say nothing, so its description is set
//! afterwards.

use serde::Deserialize;

use crate::daemon::{Daemon, ImportForm, ImportRequest, Subject};
use crate::monitor::Monitor;
use crate::point::{Point, StreamForm};
use crate::repo::Repository;
use crate::restore::target::{RestoreError, RestoreTarget, Restored, require_free, require_room};
use crate::restore::upload::{upload, upload_as_it_is};

/// Restores a point of a volume of that project and pool.
pub(super) fn restore(
    repository: &Repository,
    daemon: &dyn Daemon,
    label: &str,
    point: &Point,
    (project, pool, target): (&str, &str, &RestoreTarget),
    monitor: &dyn Monitor,
) -> Result<Restored, RestoreError> {
    let project = target.project.as_deref().unwrap_or(project);
    let pool = target.pool.as_deref().unwrap_or(pool);
    let name = target.name.as_deref().unwrap_or(&point.source.name);
    let form = if point.form == StreamForm::Disc { ImportForm::Disc } else { ImportForm::Export };
    let request = ImportRequest { subject: Subject::volume(project, pool, name), pool: None, form };
    require_pool(daemon, label, point, pool)?;
    require_free(daemon, &request)?;
    require_room(daemon, label, point, &request)?;
    // Once more, right before the upload: importing over a name is destructive.
    require_free(daemon, &request)?;
    let mut remarks = Vec::new();
    let bytes = if request.form == ImportForm::Disc {
        let bytes = upload_as_it_is(repository, daemon, label, point, &request, monitor)?;
        remarks.extend(describe(daemon, point, (project, pool, name)).err());
        bytes
    } else {
        upload(repository, daemon, label, point, &request, Vec::new(), monitor)?
    };
    Ok(Restored { project: project.to_owned(), name: name.to_owned(), bytes, remarks })
}

/// What the stored description of a disc image says that its bytes do not; daemons let nothing else of it be changed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Described {
    description: String,
}

/// Describes a new volume as the old one was; an error is a remark.
fn describe(daemon: &dyn Daemon, point: &Point, (project, pool, name): (&str, &str, &str)) -> Result<(), String> {
    let Described { description } = serde_json::from_str(&point.description).unwrap_or_default();
    if description.is_empty() {
        return Ok(());
    }
    let described = daemon.describe_volume(project, pool, name, &description);
    described.map_err(|error| format!("its description could not be set: {error}"))
}

/// The pool must be there, and a stream of a driver's own needs one of that driver.
pub(super) fn require_pool(daemon: &dyn Daemon, label: &str, point: &Point, pool: &str) -> Result<(), RestoreError> {
    let pools = daemon.pools()?;
    let missing = match pools.iter().find(|known| known.name == pool) {
        None => format!("storage pool {pool}"),
        Some(found)
            if matches!(point.form, StreamForm::Export { optimized: true })
                && !matches!(found.driver.as_str(), "btrfs" | "zfs") =>
        {
            format!("a pool of the stream's own storage driver ({pool} is of {})", found.driver)
        }
        Some(_) => return Ok(()),
    };
    Err(RestoreError::Missing { label: label.to_owned(), missing })
}
