//! A point of a custom volume goes back into a pool, under its own or another name, whole or in part.
//!
//! An export says itself how its volume was set up. The bytes of a disc image say nothing, so its description is set
//! afterwards.

use serde::Deserialize;

use crate::daemon::{ImportForm, ImportRequest, Subject};
use crate::point::StreamForm;
use crate::restore::target::{Job, Lack, RestoreError, Restored, require_free, require_room};
use crate::restore::upload::{upload, upload_as_it_is};
use crate::rewrite::description::{Kind, Selection};

/// Restores a point of a volume of that project and pool.
pub(super) fn restore(job: Job<'_>, project: &str, pool: &str) -> Result<Restored, RestoreError> {
    let target = job.target;
    let project = target.project.as_deref().unwrap_or(project);
    let pool = target.pool.as_ref().or_else(|| target.maps.pools.get(pool)).map_or(pool, String::as_str);
    let name = target.name.as_deref().unwrap_or(&job.point.source.name);
    let member = require_surroundings(&job, project, pool)?;
    let subject = Subject::volume(project, pool, name).on_member(member.as_deref());
    require_free(job.daemon, &subject)?;
    let (bytes, remarks) = match job.point.form {
        StreamForm::Disc => disc(&job, subject)?,
        _ => (export(&job, subject)?, Vec::new()),
    };
    Ok(job.restored(project, name, bytes, remarks))
}

fn export(job: &Job<'_>, subject: Subject) -> Result<u64, RestoreError> {
    let (index, _) = job.index()?;
    let selected = job.select(&index)?;
    let is_partial = job.target.selection != Selection::Whole;
    if job.is_optimized() && is_partial {
        let reason = "in an optimized export every stream builds on the one before";
        return Err(RestoreError::Fixed { label: job.label.to_owned(), reason });
    }
    let reads_version_2 = || job.daemon.server().map(|server| server.has("backup_metadata_version"));
    let changes = is_partial || index.was_version_2() && !reads_version_2()?;
    let rewrite = changes.then(|| job.rewrite(&selected, Kind::Volume)).transpose()?;
    let request = ImportRequest::of_export(subject, None);
    let len = job.upload_len(rewrite.as_ref())?;
    require_room(job, &request, len)?;
    // Once more, right before the upload: importing over a name is destructive.
    require_free(job.daemon, &request.subject)?;
    upload(job, &request, rewrite.as_ref(), len, Vec::new())
}

fn disc(job: &Job<'_>, subject: Subject) -> Result<(u64, Vec<String>), RestoreError> {
    if job.target.selection != Selection::Whole {
        let reason = "a disc image has no snapshots";
        return Err(RestoreError::Fixed { label: job.label.to_owned(), reason });
    }
    let request = ImportRequest { subject, pool: None, form: ImportForm::Disc };
    require_room(job, &request, job.point.content.stream_len)?;
    require_free(job.daemon, &request.subject)?;
    let bytes = upload_as_it_is(job, &request)?;
    Ok((bytes, describe(job, &request.subject).err().into_iter().collect()))
}

/// What the stored description of a disc image says that its bytes do not; daemons let nothing else of it be changed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Described {
    description: String,
}

/// Describes a new volume as the old one was; an error is a remark.
fn describe(job: &Job<'_>, subject: &Subject) -> Result<(), String> {
    let Described { description } = serde_json::from_str(&job.point.description).unwrap_or_default();
    if description.is_empty() {
        return Ok(());
    }
    let described = job.daemon.describe_volume(subject, &description);
    described.map_err(|error| format!("its description could not be set: {error}"))
}

/// Project and pool must be there, and a stream of a driver's own needs a pool of that driver. Returns the cluster
/// member to restore to: the one that is asked for, or where it was as long as there is one of that name.
pub(super) fn require_surroundings(job: &Job<'_>, project: &str, pool: &str) -> Result<Option<String>, RestoreError> {
    let mut missing = Vec::new();
    let members = job.daemon.members()?;
    let wanted = job.target.member.as_deref();
    if let Some(member) = wanted.filter(|member| !members.iter().any(|known| known == member)) {
        missing.push(Lack::Member(member.to_owned()));
    }
    if !job.daemon.projects()?.iter().any(|known| known.name == project) {
        missing.push(Lack::Project(project.to_owned()));
    }
    match job.daemon.pools()?.into_iter().find(|known| known.name == pool) {
        None => missing.push(Lack::Pool(pool.to_owned())),
        Some(found) if job.is_optimized() && !matches!(found.driver.as_str(), "btrfs" | "zfs") => {
            missing.push(Lack::Driver { pool: found.name, driver: found.driver });
        }
        Some(_) => {}
    }
    if missing.is_empty() {
        let member =
            wanted.or_else(|| job.point.source.member().filter(|member| members.iter().any(|it| it == member)));
        return Ok(member.map(str::to_owned));
    }
    Err(RestoreError::Missing { label: job.label.to_owned(), missing })
}
