//! Storage buckets, as the daemons describe them (`reference/daemon-api.md` 3.2).
//!
//! Knows no HTTP. A bucket's keys are its credentials: their secrets never leave this file, and what a point keeps of a
//! key is its name, its role and its description.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::tame;
use super::model::{member, or_default};
use super::subject::Subject;

/// What a listing tells of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSummary {
    /// The project it lives in.
    pub project: String,
    /// The pool it lies in.
    pub pool: String,
    /// The pool's driver, where this client may know it.
    pub driver: Option<String>,
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub config: BTreeMap<String, String>,
    /// The cluster member that it lies on, of a pool that each has for itself.
    pub member: Option<String>,
}

impl BucketSummary {
    /// The bucket as something that has exports.
    pub fn subject(&self) -> Subject {
        Subject::bucket(&self.project, &self.pool, &self.name).on_member(self.member.as_deref())
    }
}

/// One bucket with everything that a point keeps of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// What a listing tells.
    pub summary: BucketSummary,
    /// The public halves of its keys, each unique on the server.
    pub access_keys: BTreeSet<String>,
    /// The daemon's description of the bucket with its `keys`, without their credentials, as JSON with sorted keys.
    pub json: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireBucket {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    config: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    location: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireKey {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    description: String,
    #[serde(default, deserialize_with = "or_default")]
    role: String,
    #[serde(default, rename = "access-key", deserialize_with = "or_default")]
    access_key: String,
}

impl WireBucket {
    /// What it tells of a bucket of `project` in `pool`.
    pub fn into_summary(self, project: &str, pool: &str, driver: Option<String>) -> BucketSummary {
        BucketSummary {
            project: project.to_owned(),
            pool: pool.to_owned(),
            driver,
            name: self.name,
            config: self.config,
            member: member(self.location),
        }
    }
}

impl Bucket {
    /// Reads a daemon's descriptions of a bucket and of its keys.
    pub(super) fn read(
        mut value: Value,
        keys: Vec<WireKey>,
        (project, pool): (&str, &str),
        driver: Option<String>,
    ) -> Result<Self, String> {
        let wire = WireBucket::deserialize(&value).map_err(|error| tame(&error.to_string()))?;
        if let Some(fields) = value.as_object_mut() {
            let told = keys.iter().map(|key| {
                let WireKey { name, description, role, .. } = key;
                json!({ "name": name, "description": description, "role": role })
            });
            fields.insert("keys".to_owned(), told.collect());
        }
        Ok(Self {
            summary: wire.into_summary(project, pool, driver),
            access_keys: keys.into_iter().map(|key| key.access_key).collect(),
            json: value.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_described_without_its_credentials() {
        let value = json!({"name": "data", "config": {"size": "1GiB"}, "s3_url": "https://x/data"});
        let key = json!({"name": "admin", "role": "admin", "access-key": "PUBLIC", "secret-key": "SECRET"});
        let keys = vec![serde_json::from_value(key).unwrap()];
        let bucket = Bucket::read(value, keys, ("lab", "fast"), Some("zfs".to_owned())).unwrap();
        assert_eq!(bucket.summary.subject().to_string(), "bucket lab/fast/data");
        assert!(bucket.access_keys.contains("PUBLIC"));
        assert!(bucket.json.contains("\"role\":\"admin\"") && !bucket.json.contains("SECRET"), "{}", bucket.json);
        assert!(!bucket.json.contains("PUBLIC"));
    }
}
