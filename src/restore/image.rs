//! A point of an image goes back into a project: the same bytes, hence the same fingerprint, and what was said of it.
//!
//! A daemon takes from an upload what stands in the image itself. What was changed since, and the other names of the
//! image, are in the point's description and are set afterwards; what cannot be set is a remark.

use crate::daemon::{Daemon, DaemonError, Image, ImportForm, ImportRequest, Packaging, Subject};
use crate::point::StreamForm;
use crate::restore::around::Lost;
use crate::restore::target::{Job, RestoreError, Restored, require_free, require_room};
use crate::restore::upload::upload_as_it_is;
use crate::rewrite::description::Selection;

/// Restores a point of an image of that project.
pub(super) fn restore(job: Job<'_>, project: &str) -> Result<Restored, RestoreError> {
    let (point, target) = (job.point, job.target);
    let inapplicable = |what| Err(RestoreError::NotForImages { label: job.label.to_owned(), what });
    if target.name.is_some() {
        return inapplicable("another name, for it has none but its fingerprint");
    }
    if target.pool.is_some() {
        return inapplicable("a pool, for it lies in none");
    }
    if target.member.is_some() {
        return inapplicable("a cluster member, for it lies on none");
    }
    if target.selection != Selection::Whole {
        return inapplicable("a part of it, for it has no snapshots");
    }
    if target.lost == Lost::GoAround {
        return inapplicable("holes, for it would be another image");
    }
    let packaging = match point.form {
        StreamForm::Image => Packaging::Single,
        StreamForm::SplitImage => Packaging::Multipart,
        _ => return Err(RestoreError::NotImportable { label: job.label.to_owned() }),
    };
    let project = target.project.as_deref().unwrap_or(project);
    let subject = Subject::image(project, &point.source.name);
    let request = ImportRequest { subject, pool: None, form: ImportForm::Image(packaging) };
    require_free(job.daemon, &request.subject)?;
    require_room(&job, &request, point.content.stream_len)?;
    let bytes = upload_as_it_is(&job, &request)?;
    let mut remarks = Vec::new();
    if let Some(image) = Image::from_json(&point.description, project) {
        describe(job.daemon, project, image, &mut remarks);
    }
    Ok(job.restored(project, &point.source.name, bytes, remarks))
}

/// Says of a new image what was said of the old one.
fn describe(daemon: &dyn Daemon, project: &str, image: Image, remarks: &mut Vec<String>) {
    let image = image.summary;
    let mut settings = image.settings;
    if let Some(server) = &image.update_server {
        // Daemons forget for good where an image that is uploaded came from.
        settings.auto_update = false;
        remarks.push(format!("is no longer updated from {server}, where the original came from"));
    }
    if let Ok(profiles) = daemon.profiles(project) {
        settings.profiles.retain(|wanted| {
            let is_there = profiles.iter().any(|profile| profile.name == *wanted);
            if !is_there {
                remarks.push(format!("goes without profile {wanted}, which the project does not have"));
            }
            is_there
        });
    }
    if let Err(error) = daemon.update_image(project, &image.fingerprint, &settings) {
        remarks.push(format!("its properties could not be set: {error}"));
    }
    for alias in &image.aliases {
        match daemon.add_image_alias(project, &image.fingerprint, alias) {
            Ok(()) => {}
            Err(DaemonError::NameTaken { .. }) => {
                remarks.push(format!("is not called {} any more: another image has that name", alias.name));
            }
            Err(error) => remarks.push(format!("could not be called {}: {error}", alias.name)),
        }
    }
}
