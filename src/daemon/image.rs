//! Images, as the daemons describe them (`reference/daemon-api.md` 6.2).
//!
//! Knows no HTTP. An image never changes: its fingerprint is that of its bytes. What can be changed is what is said of
//! it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::error::tame;
use super::model::{moment, or_default};
use super::subject::Subject;

/// What a listing tells of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// The project that owns it.
    pub project: String,
    /// SHA-256 of its bytes in hexadecimal: its name.
    pub fingerprint: String,
    /// `container` or `virtual-machine`, in the daemon's word.
    pub kind: String,
    /// Whether the daemon fetched it by itself and will do so again.
    pub cached: bool,
    /// Its other names.
    pub aliases: Vec<ImageAlias>,
    /// What can be changed of it.
    pub settings: ImageSettings,
    /// Where the daemon got it from and looks for a newer one, if anywhere.
    pub update_server: Option<String>,
}

impl ImageSummary {
    /// The image as something that has exports.
    pub fn subject(&self) -> Subject {
        Subject::image(&self.project, &self.fingerprint)
    }
}

/// A name of an image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ImageAlias {
    /// The name, unique within the project.
    pub name: String,
    /// What is said of it.
    #[serde(default, deserialize_with = "or_default")]
    pub description: String,
}

/// What can be changed of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageSettings {
    /// Its properties.
    pub properties: BTreeMap<String, String>,
    /// Whether clients that are not trusted may have it.
    pub public: bool,
    /// Whether the daemon looks for a newer one.
    pub auto_update: bool,
    /// When the daemon will delete it, in the daemon's text.
    pub expires_at: Option<String>,
    /// Profiles of instances that are made of it.
    pub profiles: Vec<String>,
}

/// One image with everything that a point keeps of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What a listing tells.
    pub summary: ImageSummary,
    /// The daemon's description of the image, as JSON with sorted keys.
    pub json: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireImage {
    fingerprint: String,
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    cached: bool,
    #[serde(default, deserialize_with = "or_default")]
    aliases: Vec<ImageAlias>,
    #[serde(default, deserialize_with = "or_default")]
    properties: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    public: bool,
    #[serde(default, deserialize_with = "or_default")]
    auto_update: bool,
    #[serde(default, deserialize_with = "or_default")]
    expires_at: String,
    #[serde(default, deserialize_with = "or_default")]
    profiles: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    update_source: WireUpdateSource,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireUpdateSource {
    #[serde(deserialize_with = "or_default")]
    server: String,
}

impl WireImage {
    /// What it tells of an image of `project`.
    pub fn into_summary(self, project: &str) -> ImageSummary {
        ImageSummary {
            project: project.to_owned(),
            fingerprint: self.fingerprint,
            kind: self.kind,
            cached: self.cached,
            aliases: self.aliases,
            settings: ImageSettings {
                properties: self.properties,
                public: self.public,
                auto_update: self.auto_update,
                expires_at: moment(self.expires_at),
                profiles: self.profiles,
            },
            update_server: Some(self.update_source.server).filter(|server| !server.is_empty()),
        }
    }
}

impl Image {
    /// Reads a daemon's description.
    pub(super) fn read(value: &Value, project: &str) -> Result<Self, String> {
        let wire = WireImage::deserialize(value).map_err(|error| tame(&error.to_string()))?;
        Ok(Self { summary: wire.into_summary(project), json: value.to_string() })
    }

    /// Reads a description that a point kept; `None` if it is none.
    pub fn from_json(json: &str, project: &str) -> Option<Self> {
        Self::read(&serde_json::from_str(json).ok()?, project).ok()
    }
}

/// Whether it is a whole fingerprint: daemons take the beginning of one for it.
pub(super) fn is_fingerprint(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_image_is_read_with_its_names_and_its_source() {
        let value = json!({
            "fingerprint": "ab12", "type": "virtual-machine", "aliases": [{"name": "jammy", "description": ""}],
            "properties": {"os": "x"}, "expires_at": "0001-01-01T00:00:00Z", "profiles": null, "cached": true,
            "update_source": {"server": "https://images", "alias": "jammy"},
        });
        let image = Image::read(&value, "lab").unwrap();
        assert_eq!(Image::from_json(&image.json, "lab").as_ref(), Some(&image));
        let summary = image.summary;
        assert_eq!(summary.settings.expires_at, None);
        assert_eq!((summary.cached, summary.update_server.as_deref()), (true, Some("https://images")));
        assert_eq!((&*summary.aliases[0].name, &*summary.subject().to_string()), ("jammy", "image lab/ab12"));
        assert!(!is_fingerprint("ab12") && is_fingerprint(&"0f".repeat(32)) && !is_fingerprint(&"0F".repeat(32)));
    }
}
