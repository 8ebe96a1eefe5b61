//! A point of a bucket goes back into a pool, under its own or another name.
//!
//! An access key is unique on a server. So where another bucket has one of the keys that were backed up, the restored
//! one gets a fresh key under the same name. Without any key no daemon fills a bucket, so none is left out.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_norway::Value;

use crate::daemon::{Daemon, ImportRequest, Subject};
use crate::id::{RandomError, random_bytes};
use crate::limits::EXPORT_INDEX_BYTES_MAX;
use crate::restore::fetch::write_stream;
use crate::restore::steps::FetchError;
use crate::restore::target::{Job, Lack, RestoreError, Restored, require_free, require_room};
use crate::restore::upload::upload_through;
use crate::restore::volume::require_surroundings;
use crate::rewrite::description::Selection;
use crate::rewrite::stream::INDEX_PATH;
use crate::tar::{BLOCK_BYTES, Event, Splitter};

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
    let len = job.point.content.stream_len;
    require_room(&job, &request, len)?;
    let taken = access_keys(job.daemon)?;
    // Once more, right before the upload: importing over a name is destructive.
    require_free(job.daemon, &request.subject)?;
    let (bytes, fresh) = upload_through(&job, &request, len, |pieces| {
        let mut out = FreshKeys::new(taken, pieces);
        let written = write_stream(job.repository, &job.point.content, &mut out, job.monitor)?;
        let (_, fresh) = out.finish().map_err(|source| FetchError::Write { written, source })?;
        Ok((written, fresh))
    })?;
    let remarks = fresh.into_iter().map(|key| {
        format!(
            "key {key} got a fresh access key and secret, which the daemon tells, for another bucket on this server \
             has the ones that were backed up"
        )
    });
    let (project, name) = (project.to_owned(), name.to_owned());
    Ok(Restored { project, name, bytes, replaced: false, remarks: remarks.collect() })
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

/// A writer that hands the export of a bucket on with fresh keys in its index, where those in it are taken. Everything
/// else passes as it is. After an error it has lost its place and must be dropped.
struct FreshKeys<W> {
    splitter: Splitter,
    out: Joiner<W>,
}

struct Joiner<W> {
    inner: W,
    taken: BTreeSet<String>,
    /// Headers of a member that are not complete yet.
    headers: Option<Vec<u8>>,
    index: Index,
    /// Names of the keys that are fresh.
    fresh: Vec<String>,
}

/// How much of the index has passed.
enum Index {
    Ahead,
    /// Its headers, what has come of its content, and how long that is.
    Within {
        headers: Vec<u8>,
        content: Vec<u8>,
        len: usize,
    },
    /// So many bytes of what pads the old one are still to come.
    Past {
        padding: usize,
    },
}

impl<W: Write> FreshKeys<W> {
    fn new(taken: BTreeSet<String>, inner: W) -> Self {
        let out = Joiner { inner, taken, headers: None, index: Index::Ahead, fresh: Vec::new() };
        Self { splitter: Splitter::new(), out }
    }

    /// Ends the stream; gives the inner writer back, and the names of the keys that are fresh.
    fn finish(mut self) -> io::Result<(W, Vec<String>)> {
        self.splitter.finish(&mut |event| self.out.event(event))?;
        self.out.pass_headers()?;
        Ok((self.out.inner, self.out.fresh))
    }
}

impl<W: Write> Write for FreshKeys<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.splitter.push(bytes, &mut |event| self.out.event(event))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.inner.flush()
    }
}

impl<W: Write> Joiner<W> {
    fn event(&mut self, event: Event<'_>) -> io::Result<()> {
        match event {
            Event::Boundary => {
                self.pass_headers()?;
                self.headers = matches!(self.index, Index::Ahead).then(Vec::new);
                Ok(())
            }
            Event::Envelope(bytes) => self.envelope(bytes),
            Event::Member(member) => {
                let headers = self.headers.take().unwrap_or_default();
                let len = usize::try_from(member.size).ok().filter(|len| *len <= EXPORT_INDEX_BYTES_MAX);
                match (&self.index, len) {
                    (Index::Ahead, Some(len)) if member.path == INDEX_PATH => {
                        self.index = Index::Within { headers, content: Vec::new(), len };
                        self.content(&[])
                    }
                    _ => self.inner.write_all(&headers),
                }
            }
            Event::Inline(bytes) | Event::Payload(bytes) => self.content(bytes),
            Event::Zeros(mut len) => {
                let zeros = [0; BLOCK_BYTES];
                while len > 0 {
                    let now = usize::try_from(len).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
                    self.content(zeros.get(..now).unwrap_or_default())?;
                    len -= now as u64;
                }
                Ok(())
            }
            Event::PayloadStart { .. } | Event::PayloadEnd => Ok(()),
        }
    }

    fn envelope(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(headers) = &mut self.headers {
            headers.extend_from_slice(bytes);
            return Ok(());
        }
        let rest = match &mut self.index {
            Index::Past { padding } if *padding > 0 => {
                let (taken, rest) = bytes.split_at((*padding).min(bytes.len()));
                *padding -= taken.len();
                rest
            }
            _ => bytes,
        };
        self.inner.write_all(rest)
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Index::Within { headers, content, len } = &mut self.index else {
            // What turned out to be no header is handed on before the payload that it belongs to.
            self.pass_headers()?;
            return self.inner.write_all(bytes);
        };
        content.extend_from_slice(bytes);
        if content.len() < *len {
            return Ok(());
        }
        let (headers, old) = (std::mem::take(headers), std::mem::take(content));
        match refreshed(&old, &self.taken, &mut self.fresh)? {
            None => {
                self.inner.write_all(&headers)?;
                self.inner.write_all(&old)?;
                self.index = Index::Past { padding: 0 };
            }
            Some(new) => {
                self.inner.write_all(&header(new.len())?)?;
                self.inner.write_all(&new)?;
                self.inner.write_all(&vec![0; padding(new.len())])?;
                self.index = Index::Past { padding: padding(old.len()) };
            }
        }
        Ok(())
    }

    /// Writes headers that no member followed, and an index that was cut off.
    fn pass_headers(&mut self) -> io::Result<()> {
        if let Index::Within { headers, content, .. } = &mut self.index {
            let held = [std::mem::take(headers), std::mem::take(content)].concat();
            self.index = Index::Past { padding: 0 };
            self.inner.write_all(&held)?;
        }
        match self.headers.take() {
            Some(headers) => self.inner.write_all(&headers),
            None => Ok(()),
        }
    }
}

/// What fills a content up to a block.
fn padding(len: usize) -> usize {
    len.next_multiple_of(BLOCK_BYTES) - len
}

/// The header of an index of that length.
fn header(len: usize) -> io::Result<Vec<u8>> {
    let mut header = ::tar::Header::new_ustar();
    header.set_path(String::from_utf8_lossy(INDEX_PATH).as_ref())?;
    header.set_mode(0o644);
    header.set_size(len as u64);
    header.set_mtime(0);
    header.set_cksum();
    Ok(header.as_bytes().to_vec())
}

/// The index with a fresh key in place of each that is taken, whose names are added; `None` if none is, or if it cannot
/// be read, of which the daemon will say more.
fn refreshed(index: &[u8], taken: &BTreeSet<String>, names: &mut Vec<String>) -> io::Result<Option<Vec<u8>>> {
    let Ok(mut index) = serde_norway::from_slice::<Value>(index) else { return Ok(None) };
    let keys = index.get_mut("config").and_then(|config| config.get_mut("bucket_keys"));
    let Some(Value::Sequence(keys)) = keys else { return Ok(None) };
    let found = names.len();
    for key in keys {
        if !key.get("access-key").and_then(Value::as_str).is_some_and(|access| taken.contains(access)) {
            continue;
        }
        let Some(fields) = key.as_mapping_mut() else { continue };
        names.push(fields.get("name").and_then(Value::as_str).unwrap_or_default().to_owned());
        let random = |chars, alphabet| random_text(chars, alphabet).map(Value::String).map_err(io::Error::other);
        fields.insert("access-key".into(), random(ACCESS_KEY_CHARS, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")?);
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        fields.insert("secret-key".into(), random(SECRET_KEY_CHARS, alphabet)?);
    }
    if names.len() == found {
        return Ok(None);
    }
    serde_norway::to_string(&index).map(|text| Some(text.into_bytes())).map_err(io::Error::other)
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

    fn index(access: &str, filler: usize) -> String {
        let key = |name: &str, role: &str, access: &str, secret: &str| {
            let halves = format!("    access-key: {access}\n    secret-key: {secret}\n");
            format!("  - name: {name}\n    role: {role}\n{halves}")
        };
        let bucket = format!("  bucket:\n    name: data\n    description: '{}'\n", "x".repeat(filler));
        let keys = [key("admin", "admin", access, "old"), key("reader", "read-only", "FREE", "kept")].concat();
        format!("name: data\nconfig:\n{bucket}  bucket_keys:\n{keys}")
    }

    fn archive(index: &str) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let large = vec![7; 70_000];
        for (name, content) in [("backup/index.yaml", index.as_bytes()), ("backup/bucket/a", &large), ("b", b"")] {
            let mut header = tar::Header::new_ustar();
            header.set_path(name).unwrap();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            archive.append(&header, content).unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn rewritten(stream: &[u8], taken: &[&str], piece: usize) -> (Vec<u8>, Vec<String>) {
        let taken = taken.iter().map(|key| (*key).to_owned()).collect();
        let mut out = FreshKeys::new(taken, Vec::new());
        for piece in stream.chunks(piece) {
            out.write_all(piece).unwrap();
        }
        out.finish().unwrap()
    }

    #[test]
    fn a_key_that_is_taken_is_replaced_and_nothing_else() {
        // Inline, a payload, and lengths at which the padding changes.
        for filler in [0, 200, 255, 256, 257, 5000, 70_000] {
            let stream = archive(&index("TAKEN", filler));
            for piece in [1, 511, stream.len()] {
                let (bytes, fresh) = rewritten(&stream, &["TAKEN", "OTHER"], piece);
                assert_eq!(fresh, ["admin"]);
                let mut archive = tar::Archive::new(&bytes[..]);
                let mut members = archive.entries().unwrap().map(|entry| {
                    let mut content = Vec::new();
                    io::Read::read_to_end(&mut entry.unwrap(), &mut content).unwrap();
                    content
                });
                let text = String::from_utf8(members.next().unwrap()).unwrap();
                assert!(!text.contains("TAKEN") && !text.contains("secret-key: old"), "{text}");
                assert!(text.contains("FREE") && text.contains("kept") && text.contains(&"x".repeat(filler)));
                assert_eq!(members.map(|content| content.len()).collect::<Vec<_>>(), [70_000, 0]);
            }
        }
    }

    #[test]
    fn what_needs_no_fresh_key_passes_byte_for_byte() {
        let whole = archive(&index("AAAA", 5000));
        let odd = archive("name: [");
        let noise: Vec<u8> = (0..100_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        for stream in [&whole, &odd, &noise, &Vec::new()] {
            assert!(rewritten(stream, &["OTHER"], 1000).0 == *stream);
            for cut in [1, 511, 512, 700, 5000, 6000].map(|cut| cut.min(stream.len())) {
                assert!(rewritten(&stream[..cut], &["AAAA"], 1000).0.len() >= cut.min(512));
                assert!(rewritten(&stream[..cut], &["OTHER"], 1000).0 == stream[..cut]);
            }
        }
    }

    #[test]
    fn fresh_keys_have_the_form_of_the_daemons_own() {
        let (bytes, _) = rewritten(&archive(&index("TAKEN", 0)), &["TAKEN"], 512);
        let text = String::from_utf8_lossy(&bytes);
        let field = |name: &str| text.split(name).nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        assert_eq!((field("access-key: ").len(), field("secret-key: ").len()), (ACCESS_KEY_CHARS, SECRET_KEY_CHARS));
        assert_ne!(random_text(20, b"AB").unwrap(), random_text(20, b"AB").unwrap());
    }
}
