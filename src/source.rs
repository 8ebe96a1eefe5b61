//! What can be backed up: one thing on one server, identified for good, and its text form.
//!
//! A source is never named by a path, a device or a host name that can change. The text form leaves out what is
//! unambiguous: the server while there is one, and the project `default`.

use std::fmt;
use std::str::FromStr;

use crate::codec::{DecodeError, DecodeProblem, Decoder, Encoder};
use crate::limits::NAME_BYTES_MAX;

/// The project that is meant when none is named.
pub const DEFAULT_PROJECT: &str = "default";

/// What kind of thing a source is, with what identifies it besides server and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// A container or virtual machine; both share one name space.
    Instance {
        /// The project it lives in.
        project: String,
    },
    /// A custom volume.
    Volume {
        /// The project it lives in.
        project: String,
        /// The pool it lies in.
        pool: String,
        /// The cluster member, where one name exists on several.
        member: Option<String>,
    },
    /// A storage bucket.
    Bucket {
        /// The project it lives in.
        project: String,
        /// The pool it lies in.
        pool: String,
        /// The cluster member, where one name exists on several.
        member: Option<String>,
    },
    /// An image; the name is its fingerprint.
    Image {
        /// The project that owns it.
        project: String,
    },
    /// Bytes that were imported as they are; belongs to no server.
    File,
    /// The daemon's whole directory; the name is empty.
    Directory,
    /// The server's configuration; the name is empty.
    Server,
}

impl SourceKind {
    /// Project and pool, where the kind has them.
    fn place(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Instance { project } | Self::Image { project } => (Some(project), None),
            Self::Volume { project, pool, .. } | Self::Bucket { project, pool, .. } => (Some(project), Some(pool)),
            Self::File | Self::Directory | Self::Server => (None, None),
        }
    }

    /// The cluster member, where one is said.
    fn member(&self) -> Option<&str> {
        match self {
            Self::Volume { member, .. } | Self::Bucket { member, .. } => member.as_deref(),
            _ => None,
        }
    }
}

/// One thing that can be backed up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The server's name in this repository; empty for [`SourceKind::File`].
    pub server: String,
    /// Kind and place.
    pub kind: SourceKind,
    /// The daemon's name for it.
    pub name: String,
}

impl Source {
    /// Fewest bytes of a stored form: a kind and two empty texts.
    pub const ENCODED_BYTES_MIN: usize = 3;

    /// An instance of a server.
    pub fn instance(server: &str, project: &str, name: &str) -> Self {
        let kind = SourceKind::Instance { project: project.to_owned() };
        Self { server: server.to_owned(), kind, name: name.to_owned() }
    }

    /// A custom volume of a server that is no cluster, or on a pool that all members share.
    pub fn volume(server: &str, project: &str, pool: &str, name: &str) -> Self {
        let kind = SourceKind::Volume { project: project.to_owned(), pool: pool.to_owned(), member: None };
        Self { server: server.to_owned(), kind, name: name.to_owned() }
    }

    /// A bucket of a server that is no cluster, or on a pool that all members share.
    pub fn bucket(server: &str, project: &str, pool: &str, name: &str) -> Self {
        let kind = SourceKind::Bucket { project: project.to_owned(), pool: pool.to_owned(), member: None };
        Self { server: server.to_owned(), kind, name: name.to_owned() }
    }

    /// An image of a server by its fingerprint.
    pub fn image(server: &str, project: &str, fingerprint: &str) -> Self {
        let kind = SourceKind::Image { project: project.to_owned() };
        Self { server: server.to_owned(), kind, name: fingerprint.to_owned() }
    }

    /// A file by the name that the user gave.
    pub fn file(name: &str) -> Self {
        Self { server: String::new(), kind: SourceKind::File, name: name.to_owned() }
    }

    /// The same where it lies on a cluster member of its own; only volumes and buckets do.
    #[must_use]
    pub fn on_member(mut self, name: Option<&str>) -> Self {
        if let SourceKind::Volume { member, .. } | SourceKind::Bucket { member, .. } = &mut self.kind {
            *member = name.map(str::to_owned);
        }
        self
    }

    /// The cluster member that it lies on, where the same name may stand for another thing elsewhere.
    pub fn member(&self) -> Option<&str> {
        self.kind.member()
    }

    /// The project, where the kind has one.
    pub fn project(&self) -> Option<&str> {
        self.kind.place().0
    }

    /// Whether its text form names it. What a person could not name again, for its names are empty, too long, hold
    /// control characters or what the text form gives a meaning to, must not become a source.
    pub fn is_nameable(&self) -> bool {
        self.to_string().parse::<Selector>().is_ok_and(|selector| selector.matches(self))
    }

    /// Appends the stored form (`format-spec/point.md`, "Source").
    pub fn encode(&self, out: &mut Encoder) {
        let place = |out: &mut Encoder, tag, project: &str, pool: &str, member: &Option<String>| {
            out.u8(tag).text(project).text(pool).option(member.as_deref(), |out, member| {
                out.text(member);
            });
        };
        match &self.kind {
            SourceKind::Instance { project } => {
                out.u8(1).text(project);
            }
            SourceKind::Volume { project, pool, member } => place(out, 2, project, pool, member),
            SourceKind::Bucket { project, pool, member } => place(out, 3, project, pool, member),
            SourceKind::Image { project } => {
                out.u8(4).text(project);
            }
            SourceKind::File => {
                out.u8(5);
            }
            SourceKind::Directory => {
                out.u8(6);
            }
            SourceKind::Server => {
                out.u8(7);
            }
        }
        out.text(&self.server).text(&self.name);
    }

    /// Reads the stored form.
    pub fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        fn name(from: &mut Decoder<'_>, field: &'static str) -> Result<String, DecodeError> {
            from.text(field, NAME_BYTES_MAX).map(str::to_owned)
        }
        fn member(from: &mut Decoder<'_>) -> Result<Option<String>, DecodeError> {
            from.option("source.member", |from| name(from, "source.member"))
        }
        let before = from.clone();
        let kind = match from.u8("source.kind")? {
            1 => SourceKind::Instance { project: name(from, "source.project")? },
            2 => SourceKind::Volume {
                project: name(from, "source.project")?,
                pool: name(from, "source.pool")?,
                member: member(from)?,
            },
            3 => SourceKind::Bucket {
                project: name(from, "source.project")?,
                pool: name(from, "source.pool")?,
                member: member(from)?,
            },
            4 => SourceKind::Image { project: name(from, "source.project")? },
            5 => SourceKind::File,
            6 => SourceKind::Directory,
            7 => SourceKind::Server,
            _ => return Err(before.error("source.kind", DecodeProblem::Unknown)),
        };
        let before = from.clone();
        let source = Self { server: name(from, "source.server")?, kind, name: name(from, "source.name")? };
        let stray = match source.kind {
            SourceKind::File => !source.server.is_empty(),
            SourceKind::Directory | SourceKind::Server => !source.name.is_empty(),
            _ => false,
        };
        if stray { Err(before.error("source.name", DecodeProblem::NotCanonical)) } else { Ok(source) }
    }
}

impl fmt::Display for Source {
    /// The text form with its server; the project only where it is not `default`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.server.is_empty() {
            write!(f, "{}//", self.server)?;
        }
        self.selector().fmt(f)
    }
}

impl Source {
    /// The selector that names this source without its server.
    pub fn selector(&self) -> Selector {
        Selector { server: None, kind: self.kind.clone(), name: self.name.clone() }
    }
}

/// A source as a person names it: the server may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    /// The server, where it was named.
    pub server: Option<String>,
    /// Kind and place; without a member it may lie on any.
    pub kind: SourceKind,
    /// The daemon's name for it.
    pub name: String,
}

impl Selector {
    /// Whether `source` is meant.
    pub fn matches(&self, source: &Source) -> bool {
        self.server.as_ref().is_none_or(|server| *server == source.server)
            && self.name == source.name
            && std::mem::discriminant(&self.kind) == std::mem::discriminant(&source.kind)
            && self.kind.place() == source.kind.place()
            && self.kind.member().is_none_or(|member| source.member() == Some(member))
    }

    /// The source on a given server.
    pub fn on(&self, server: &str) -> Source {
        let server = if self.kind == SourceKind::File { "" } else { self.server.as_deref().unwrap_or(server) };
        Source { server: server.to_owned(), kind: self.kind.clone(), name: self.name.clone() }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(server) = &self.server {
            write!(f, "{server}//")?;
        }
        let prefix = match &self.kind {
            SourceKind::Instance { .. } => "",
            SourceKind::Volume { .. } => "volume:",
            SourceKind::Bucket { .. } => "bucket:",
            SourceKind::Image { .. } => "image:",
            SourceKind::File => "file:",
            SourceKind::Directory => "directory:",
            SourceKind::Server => "server:",
        };
        f.write_str(prefix)?;
        match &self.kind {
            SourceKind::Instance { project } | SourceKind::Image { project } => {
                if project != DEFAULT_PROJECT {
                    write!(f, "{project}/")?;
                }
            }
            SourceKind::Volume { project, pool, member } | SourceKind::Bucket { project, pool, member } => {
                if project != DEFAULT_PROJECT {
                    write!(f, "{project}/")?;
                }
                if let Some(member) = member {
                    write!(f, "{member}:")?;
                }
                write!(f, "{pool}/")?;
            }
            SourceKind::File | SourceKind::Directory | SourceKind::Server => {}
        }
        f.write_str(&self.name)
    }
}

/// A text that names no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} does not name a source: {problem}")]
pub struct ParseSourceError {
    text: String,
    problem: &'static str,
}

impl FromStr for Selector {
    type Err = ParseSourceError;

    fn from_str(text: &str) -> Result<Self, ParseSourceError> {
        let wrong = |problem| ParseSourceError { text: text.to_owned(), problem };
        let selector = Self::parse(text).map_err(wrong)?;
        let ((project, pool), member) = (selector.kind.place(), selector.kind.member());
        for name in [selector.server.as_deref(), project, pool, member, Some(&*selector.name)].into_iter().flatten() {
            if name.len() > NAME_BYTES_MAX {
                return Err(wrong("a name in it is too long"));
            }
            if name.chars().any(char::is_control) {
                return Err(wrong("it holds a control character"));
            }
        }
        Ok(selector)
    }
}

impl Selector {
    fn parse(text: &str) -> Result<Self, &'static str> {
        // A file's name may hold anything that can be shown, two slashes included, and belongs to no server.
        if let Some(name) = text.strip_prefix("file:") {
            return match name {
                "" => Err("the name after file: is missing"),
                name => Ok(Self { server: None, kind: SourceKind::File, name: name.to_owned() }),
            };
        }
        let (server, rest) = match text.split_once("//") {
            Some(("", _)) => return Err("the server's name before // is empty"),
            Some((server, rest)) => (Some(server.to_owned()), rest),
            None => (None, text),
        };
        let (prefix, path) = match rest.split_once(':') {
            Some(("", _)) => return Err("the word before the colon is missing"),
            Some((prefix, path)) => (prefix, path),
            None => ("", rest),
        };
        let parts: Vec<&str> = path.split('/').collect();
        let simple = |kind: SourceKind| match path {
            "" => Ok((kind, "")),
            _ => Err("nothing may follow the colon"),
        };
        let (kind, name) = match (prefix, parts.as_slice()) {
            ("directory", _) => simple(SourceKind::Directory)?,
            ("server", _) => simple(SourceKind::Server)?,
            (_, parts) if parts.contains(&"") => return Err("a name in it is empty"),
            ("", [name]) => (SourceKind::Instance { project: DEFAULT_PROJECT.to_owned() }, *name),
            ("", [project, name]) => (SourceKind::Instance { project: (*project).to_owned() }, *name),
            ("image", [name]) => (SourceKind::Image { project: DEFAULT_PROJECT.to_owned() }, *name),
            ("image", [project, name]) => (SourceKind::Image { project: (*project).to_owned() }, *name),
            ("volume" | "bucket", parts) => {
                let (project, pool, name) = match parts {
                    [pool, name] => (DEFAULT_PROJECT, *pool, *name),
                    [project, pool, name] => (*project, *pool, *name),
                    _ => return Err("it wants [PROJECT/][MEMBER:]POOL/NAME after the colon"),
                };
                let (member, pool) = match pool.split_once(':') {
                    Some(("", _) | (_, "")) => return Err("a name in it is empty"),
                    Some((member, pool)) => (Some(member.to_owned()), pool),
                    None => (None, pool),
                };
                let (project, pool) = (project.to_owned(), pool.to_owned());
                let kind = if prefix == "volume" {
                    SourceKind::Volume { project, pool, member }
                } else {
                    SourceKind::Bucket { project, pool, member }
                };
                (kind, name)
            }
            ("" | "image", _) => return Err("it wants [PROJECT/]NAME"),
            _ => {
                return Err("before the colon may stand volume, bucket, image, file, directory or server; \
                            an instance has no colon");
            }
        };
        Ok(Self { server, kind, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_form_round_trips() {
        for text in [
            "web1",
            "lab/web1",
            "host//web1",
            "host//lab/web1",
            "volume:fast/data",
            "volume:lab/fast/data",
            "volume:two:fast/data",
            "host//bucket:lab/two:fast/data",
            "bucket:fast/data",
            "image:abcdef",
            "file:some//odd: name",
            "directory:",
            "server:",
        ] {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.to_string(), text);
            let source = selector.on("host");
            assert!(selector.matches(&source), "{text}");
            let mut out = Encoder::new();
            source.encode(&mut out);
            assert_eq!(Source::decode(&mut Decoder::new(&out.finish())), Ok(source));
        }
    }

    #[test]
    fn the_default_project_is_left_out() {
        assert_eq!("default/web1".parse::<Selector>().unwrap().to_string(), "web1");
        assert_eq!(Source::instance("host", "lab", "web1").to_string(), "host//lab/web1");
    }

    #[test]
    fn what_names_no_source_is_refused() {
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        let long = [&long, &format!("file:{long}"), &format!("{long}/b"), &format!("volume:{long}/b")];
        let control = ["file:a\nb", "a\nb", "a\u{7f}//b", "a\u{9b}/b", "volume:a\0/b"];
        let other =
            ["", "/", "a/b/c", "//web1", "volume:x", "disk:a", "file:", "server:x", "lab/", ":a", "a//:b", ":a:b"];
        for text in long.into_iter().map(String::as_str).chain(control).chain(other) {
            let wrong = text.parse::<Selector>().unwrap_err().to_string();
            assert!(wrong.contains("does not name a source"), "{wrong}");
        }
    }

    #[test]
    fn a_source_that_nobody_could_name_is_told() {
        assert!(Source::instance("host", "lab", "web1").is_nameable());
        assert!(Source::file("some//odd: name").is_nameable());
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for (server, project, name) in [
            ("host", "lab", ""),
            ("host", "", "web1"),
            ("host", "lab", "a/b"),
            ("host", "lab", "a\nb"),
            ("host", &*long, "web1"),
            ("ho//st", "lab", "web1"),
        ] {
            assert!(!Source::instance(server, project, name).is_nameable(), "{server} {project} {name}");
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_the_decoder_panic(input: Vec<u8>) {
            let _ = Source::decode(&mut Decoder::new(&input)).is_ok();
        }
    }
}
