//! The fingerprint of an image while it passes: SHA-256 of its file, or of its files one behind the other.

use std::convert::Infallible;
use std::io::{self, Read};

use aws_lc_rs::digest::{Context, SHA256};

use crate::daemon::Packaging;
use crate::multipart::{Event, Splitter};

/// A reader that digests what passes.
pub(super) struct Fingerprinted<R> {
    stream: R,
    digest: Context,
    parts: Option<Splitter>,
}

impl<R: Read> Fingerprinted<R> {
    pub(super) fn new(stream: R, packaging: Packaging) -> Self {
        let parts = (packaging == Packaging::Multipart).then(Splitter::new);
        Self { stream, digest: Context::new(&SHA256), parts }
    }

    /// The fingerprint in the daemons' form; `None` if the parts of a body have no end.
    pub(super) fn finish(mut self) -> Option<String> {
        if let Some(parts) = self.parts.take()
            && !always(parts.finish(&mut |event| take(&mut self.digest, event)))
        {
            return None;
        }
        let digest = self.digest.finish();
        Some(digest.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(digit).collect())
    }
}

impl<R: Read> Read for Fingerprinted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        let digest = &mut self.digest;
        match &mut self.parts {
            Some(parts) => always(parts.push(bytes, &mut |event| take(digest, event))),
            None => digest.update(bytes),
        }
        Ok(read)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is what a splitter wants of its sink")]
fn take(digest: &mut Context, event: Event<'_>) -> Result<(), Infallible> {
    if let Event::Content(bytes) = event {
        digest.update(bytes);
    }
    Ok(())
}

fn always<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

fn digit(half: u8) -> Option<char> {
    char::from_digit(u32::from(half), 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(bytes: &[u8], packaging: Packaging) -> Option<String> {
        let mut stream = Fingerprinted::new(bytes, packaging);
        io::copy(&mut stream, &mut io::sink()).unwrap();
        stream.finish()
    }

    #[test]
    fn a_fingerprint_is_that_of_the_files_and_not_of_what_stands_around_them() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fingerprint(b"abc", Packaging::Single).as_deref(), Some(abc));
        let body = b"--0\r\nA: b\r\n\r\na\r\n--0\r\nA: b\r\n\r\nbc\r\n--0--";
        assert_eq!(fingerprint(body, Packaging::Multipart).as_deref(), Some(abc));
        assert_eq!(fingerprint(&body[..body.len() - 1], Packaging::Multipart), None);
    }
}
