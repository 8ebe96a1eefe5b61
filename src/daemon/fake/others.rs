//! What a daemon in memory has besides instances: volumes, buckets and images, each with the bytes of its export.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{FakeDaemon, Fault, State, nonsense, set, tarball};
use crate::daemon::bucket::{WireBucket, WireKey};
use crate::daemon::error::DaemonError;
use crate::daemon::image::WireImage;
use crate::daemon::volume::WireVolume;
use crate::daemon::{
    Bucket, BucketSummary, ExportRequest, Image, ImageAlias, ImageSettings, ImageSummary, ImportForm, ImportRequest,
    Packaging, Snapshots, Subject, Volume, VolumeSummary,
};

/// A volume, a bucket or an image.
#[derive(Debug, Clone)]
pub struct FakeThing {
    subject: Subject,
    /// As the daemon's JSON has it.
    object: Value,
    /// The keys of a bucket.
    keys: Vec<Value>,
    export: Vec<u8>,
    packaging: Packaging,
}

impl FakeThing {
    /// A volume of a content type, whose export is these bytes.
    pub fn volume(pool: &str, name: &str, content_type: &str, export: &[u8]) -> Self {
        let object = json!({
            "name": name, "type": "custom", "content_type": content_type, "created_at": tarball::CREATED_AT,
            "description": "", "config": {"size": export.len().to_string(), "volatile.uuid": tarball::uuid_of(name)},
        });
        Self::new(Subject::volume("default", pool, name), object, export)
    }

    /// A bucket with one key, whose export is these bytes.
    pub fn bucket(pool: &str, name: &str, export: &[u8]) -> Self {
        let mut bucket = Self::new(Subject::bucket("default", pool, name), json!({"name": name, "config": {}}), export);
        bucket.keys.push(json!({"name": "admin", "role": "admin", "access-key": name, "secret-key": "secret"}));
        bucket
    }

    /// An image in one file or several.
    pub fn image(fingerprint: &str, packaging: Packaging, export: &[u8]) -> Self {
        let object = json!({
            "fingerprint": fingerprint, "type": "container", "cached": false, "public": false, "auto_update": false,
            "properties": {}, "aliases": [], "profiles": ["default"], "expires_at": tarball::NEVER,
        });
        let image = Self::new(Subject::image("default", fingerprint), object, export);
        Self { packaging, ..image }
    }

    /// With another value in its description.
    pub fn with(mut self, field: &str, value: Value) -> Self {
        set(&mut self.object, field, value);
        self
    }

    /// Without any key.
    pub fn without_keys(mut self) -> Self {
        self.keys.clear();
        self
    }

    /// What an import makes of an upload.
    pub(super) fn imported(request: &ImportRequest, bytes: Vec<u8>) -> Self {
        let packaging = match request.form {
            ImportForm::Image(packaging) => packaging,
            ImportForm::Export | ImportForm::Disc => Packaging::Single,
        };
        let name = request.subject.name();
        let object = json!({"name": name, "fingerprint": name, "config": {"size": bytes.len().to_string()}});
        Self { subject: request.subject.clone(), object, keys: Vec::new(), export: bytes, packaging }
    }

    fn new(subject: Subject, object: Value, export: &[u8]) -> Self {
        Self { subject, object, keys: Vec::new(), export: export.to_vec(), packaging: Packaging::Single }
    }

    fn read<'d, T: Deserialize<'d>>(&'d self) -> Result<T, DaemonError> {
        T::deserialize(&self.object).map_err(|error| nonsense(&self.subject.to_string(), error))
    }
}

impl FakeDaemon {
    /// Adds a volume, a bucket or an image.
    pub fn add_thing(&self, thing: FakeThing) {
        self.state().keep(thing);
    }

    /// What the daemon says of a volume, a bucket or an image.
    pub fn description(&self, subject: &Subject) -> Option<Value> {
        self.state().others.get(subject).map(|thing| thing.object.clone())
    }
}

impl State {
    pub(super) fn keep(&mut self, thing: FakeThing) {
        self.others.insert(thing.subject.clone(), thing);
    }

    /// The bytes of an export, before anything goes wrong with it.
    pub(super) fn export_of(&mut self, request: &ExportRequest) -> Result<(Vec<u8>, Packaging), DaemonError> {
        if let Subject::Instance { project, name } = &request.subject {
            let kept = self.instance(project, name)?;
            let bytes = match request.snapshots {
                Snapshots::Include => &kept.export,
                Snapshots::Omit => &kept.export_instance_only,
            };
            return Ok((bytes.clone(), Packaging::Single));
        }
        let thing = self.other(&request.subject)?;
        Ok((thing.export.clone(), thing.packaging))
    }

    pub(super) fn volumes(&self) -> Result<Vec<VolumeSummary>, DaemonError> {
        let summary = |thing: &FakeThing| match &thing.subject {
            Subject::Volume { project, pool, .. } => {
                let driver = self.pools.get(pool).cloned();
                Some(thing.read::<WireVolume>().map(|wire| wire.into_summary(project, pool, driver)))
            }
            _ => None,
        };
        self.others.values().filter_map(summary).collect()
    }

    pub(super) fn volume(&self, subject: &Subject) -> Result<Option<Volume>, DaemonError> {
        let (Some(thing), Subject::Volume { project, pool, .. }) = (self.others.get(subject), subject) else {
            return Ok(None);
        };
        let driver = self.pools.get(pool).cloned();
        let volume = Volume::read(thing.object.clone(), Vec::new(), (project, pool), driver);
        volume.map(Some).map_err(|problem| nonsense(&subject.to_string(), problem))
    }

    pub(super) fn buckets(&self) -> Result<Vec<BucketSummary>, DaemonError> {
        let summary = |thing: &FakeThing| match &thing.subject {
            Subject::Bucket { project, pool, .. } => {
                let driver = self.pools.get(pool).cloned();
                Some(thing.read::<WireBucket>().map(|wire| wire.into_summary(project, pool, driver)))
            }
            _ => None,
        };
        self.others.values().filter_map(summary).collect()
    }

    pub(super) fn bucket(&self, subject: &Subject) -> Result<Option<Bucket>, DaemonError> {
        let (Some(thing), Subject::Bucket { project, pool, .. }) = (self.others.get(subject), subject) else {
            return Ok(None);
        };
        let strange = |problem: String| nonsense(&subject.to_string(), problem);
        let keys: Result<Vec<WireKey>, _> = thing.keys.iter().map(WireKey::deserialize).collect();
        let keys = keys.map_err(|error| strange(error.to_string()))?;
        let driver = self.pools.get(pool).cloned();
        Bucket::read(thing.object.clone(), keys, (project, pool), driver).map(Some).map_err(strange)
    }

    pub(super) fn images(&self) -> Result<Vec<ImageSummary>, DaemonError> {
        let summary = |thing: &FakeThing| match &thing.subject {
            Subject::Image { project, .. } => Some(thing.read::<WireImage>().map(|wire| wire.into_summary(project))),
            _ => None,
        };
        self.others.values().filter_map(summary).collect()
    }

    pub(super) fn image(&self, subject: &Subject) -> Result<Option<Image>, DaemonError> {
        let Some(thing) = self.others.get(subject) else { return Ok(None) };
        let image = Image::read(&thing.object, subject.project());
        image.map(Some).map_err(|problem| nonsense(&subject.to_string(), problem))
    }

    pub(super) fn change_other(&mut self, subject: &Subject, fields: &[(&str, Value)]) -> Result<(), DaemonError> {
        self.call("change", subject.project(), subject.name());
        let thing = self.other(subject)?;
        for (field, value) in fields {
            set(&mut thing.object, field, value.clone());
        }
        Ok(())
    }

    pub(super) fn update_image(&mut self, subject: &Subject, settings: &ImageSettings) -> Result<(), DaemonError> {
        let ImageSettings { properties, public, auto_update, expires_at, profiles } = settings;
        let expires_at = expires_at.as_deref().unwrap_or(tarball::NEVER);
        let fields = [
            ("properties", json!(properties)),
            ("public", json!(public)),
            ("auto_update", json!(auto_update)),
            ("expires_at", json!(expires_at)),
            ("profiles", json!(profiles)),
        ];
        self.change_other(subject, &fields)
    }

    pub(super) fn add_image_alias(&mut self, subject: &Subject, alias: &ImageAlias) -> Result<(), DaemonError> {
        let is_taken = |image: ImageSummary| image.aliases.iter().any(|other| other.name == alias.name);
        if self.images()?.into_iter().any(is_taken) {
            let object = format!("image alias {}", alias.name);
            return Err(DaemonError::NameTaken { object, words: String::new() });
        }
        let mut aliases = self.other(subject)?.object.get("aliases").cloned().unwrap_or_else(|| json!([]));
        if let Some(all) = aliases.as_array_mut() {
            all.push(json!({"name": alias.name, "description": alias.description}));
        }
        self.change_other(subject, &[("aliases", aliases)])
    }

    /// Lets happen to anything but an instance what happens while a stream is read.
    pub(super) fn interfere_with_other(&mut self, subject: &Subject, faults: &[Fault]) {
        for fault in faults {
            match fault {
                Fault::DeleteInstance => {
                    self.others.remove(subject);
                }
                Fault::ReplaceInstance => {
                    let Some(thing) = self.others.get_mut(subject) else { continue };
                    set(&mut thing.object, "created_at", "2026-11-20T09:00:00Z".into());
                    for key in &mut thing.keys {
                        set(key, "access-key", "another".into());
                    }
                }
                _ => {}
            }
        }
    }

    fn other(&mut self, subject: &Subject) -> Result<&mut FakeThing, DaemonError> {
        let missing = || DaemonError::refusal(&subject.to_string(), 404, "Not found");
        self.others.get_mut(subject).ok_or_else(missing)
    }
}
