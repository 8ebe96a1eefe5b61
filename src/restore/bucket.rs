//! A point of a bucket goes back into a pool, under its own or another name.
//!
//! An access key is unique on a server. So where another bucket has one of the keys that were backed up, the restored
//! one gets a fresh key under the same name. Without any key no daemon fills a bucket, so none is left out.

use std::collections::BTreeSet;

use crate::daemon::{Daemon, ImportRequest, Subject};
use crate::id::{RandomError, random_bytes};
use crate::restore::target::{Job, Lack, RestoreError, Restored, require_free, require_room};
use crate::restore::upload::upload;
use crate::restore::volume::require_surroundings;
use crate::rewrite::description::{Kind, Selection};

/// Lengths of both halves of a key, as daemons choose them.
const ACCESS_KEY_CHARS: usize = 20;
const SECRET_KEY_CHARS: usize = 40;

/// Restores a point of a bucket of that project and pool.
pub(super) fn restore(job: Job<'_>, project: &str, pool: &str) -> Result<Restored, RestoreError> {
    let target = job.target;
    let project = target.project.as_deref().unwrap_or(project);
    let pool = target.pool.as_ref().or_else(|| target.maps.pools.get(pool)).map_or(pool, String::as_str);
    let name = target.name.as_deref().unwrap_or(&job.point.source.name);
    if target.selection != Selection::Whole {
        let reason = "a bucket has no snapshots";
        return Err(RestoreError::Fixed { label: job.label.to_owned(), reason });
    }
    let member = require_surroundings(&job, project, pool)?;
    let subject = Subject::bucket(project, pool, name).on_member(member.as_deref());
    let request = ImportRequest::of_export(subject, None);
    require_buckets(&job)?;
    require_free(job.daemon, &request.subject)?;
    let taken = access_keys(job.daemon)?;
    let (mut index, _) = job.index()?;
    let fresh = index.replace_bucket_keys(|access| taken.contains(access).then(fresh_key).transpose())?;
    let rewrite = if fresh.is_empty() { None } else { Some(job.rewrite(&index, Kind::Bucket)?) };
    let len = job.upload_len(rewrite.as_ref())?;
    require_room(&job, &request, len)?;
    // Once more, right before the upload: importing over a name is destructive.
    require_free(job.daemon, &request.subject)?;
    let bytes = upload(&job, &request, rewrite.as_ref(), len, Vec::new())?;
    let remarks = fresh.into_iter().map(|key| {
        format!(
            "key {key} got a fresh access key and secret, which the daemon tells, for another bucket on this server \
             has the ones that were backed up"
        )
    });
    Ok(job.restored(project, name, bytes, remarks.collect()))
}

/// The daemon must take buckets, and it fills one through its own address for their users.
fn require_buckets(job: &Job<'_>) -> Result<(), RestoreError> {
    let server = job.daemon.server()?;
    let lack = if !server.exports_buckets() {
        Lack::Buckets { flavor: server.flavor.to_string() }
    } else if server.serves_buckets() == Some(false) {
        Lack::BucketsAddress
    } else {
        return Ok(());
    };
    Err(RestoreError::Missing { label: job.label.to_owned(), missing: vec![lack] })
}

/// The access keys of all buckets of the server.
fn access_keys(daemon: &dyn Daemon) -> Result<BTreeSet<String>, RestoreError> {
    let mut keys = BTreeSet::new();
    for bucket in daemon.buckets()?.buckets {
        let found = daemon.bucket(&bucket.subject())?;
        keys.extend(found.into_iter().flat_map(|bucket| bucket.access_keys));
    }
    Ok(keys)
}

/// A fresh access key and its secret.
fn fresh_key() -> Result<(String, String), RandomError> {
    let access = random_text(ACCESS_KEY_CHARS, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")?;
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    Ok((access, random_text(SECRET_KEY_CHARS, alphabet)?))
}

/// Random characters of an alphabet whose length is a power of two, so that each is as likely as any other.
fn random_text(chars: usize, alphabet: &[u8]) -> Result<String, RandomError> {
    let bytes = random_bytes::<SECRET_KEY_CHARS>()?;
    let of = |byte: &u8| alphabet.get(usize::from(*byte) & (alphabet.len() - 1)).copied().map(char::from);
    Ok(bytes.iter().take(chars).filter_map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_keys_have_the_form_of_the_daemons_own() {
        let (access, secret) = fresh_key().unwrap();
        assert_eq!((access.len(), secret.len()), (ACCESS_KEY_CHARS, SECRET_KEY_CHARS));
        assert_ne!(fresh_key().unwrap(), (access, secret));
    }
}
