//! Multipart bodies (RFC 2046) as daemons send images in several files: what is content, and what stands around it.
//!
//! [`Splitter`] is a push machine: bytes in, [`Event`]s out. It does no IO. It is byte-exact for any input: the bytes
//! of its events, in order, are the bytes that were pushed. The boundary is taken from the first line, so that a body
//! needs no header beside it to be read. What does not begin as such a body is content to its end. What follows the
//! last delimiter is nothing to anybody; daemons write that delimiter twice.

use crate::limits::{MULTIPART_BOUNDARY_BYTES_MAX, MULTIPART_HEADERS_BYTES_MAX};

const DASHES: &[u8] = b"--";
const LINE_END: &[u8] = b"\r\n";
const HEADERS_END: &[u8] = b"\r\n\r\n";

/// One step of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// Bytes that are no content: boundaries and headers.
    Framing(&'a [u8]),
    /// The content of a part follows.
    Begin,
    /// Bytes of the content of a part.
    Content(&'a [u8]),
    /// The content of the part is over: complete, or cut off with the stream.
    End,
}

/// Splits one body. Give it every byte with [`Self::push`], then call [`Self::finish`].
///
/// After an error from the sink the splitter has lost its place and must be dropped.
#[derive(Debug, Clone)]
pub struct Splitter {
    state: State,
    /// What ends a content: a line end, two dashes and the boundary.
    delimiter: Vec<u8>,
    /// Bytes that were not given out yet.
    held: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the first line.
    FirstLine,
    /// In the headers of a part, all of which are held.
    Headers,
    /// In the content of a part; so many bytes of what may be a delimiter were seen and are not held.
    Content { matched: usize },
    /// Behind a delimiter, whose two last bytes are held.
    Delimiter,
    /// Behind the last part.
    Past,
    /// In something else, which is content.
    Opaque,
}

/// The boundary of a body that begins with these bytes, as its type names it; `None` if it is none, or longer.
pub fn boundary(start: &[u8]) -> Option<&str> {
    let line = start.strip_prefix(DASHES)?;
    let end = line.windows(LINE_END.len()).take(MULTIPART_BOUNDARY_BYTES_MAX + 1).position(|two| two == LINE_END)?;
    let text = str::from_utf8(line.get(..end)?).ok()?;
    // The characters that need no quotes where the type is named.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'+_-.".contains(&byte);
    (!text.is_empty() && text.bytes().all(plain)).then_some(text)
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new()
    }
}

impl Splitter {
    /// A splitter at the start of a body.
    pub fn new() -> Self {
        Self { state: State::FirstLine, delimiter: Vec::new(), held: Vec::new() }
    }

    /// Takes the next bytes, any number of them, and gives out what is decided by now. Fails only if the sink does.
    pub fn push<E>(&mut self, mut bytes: &[u8], sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::FirstLine => self.first_line(bytes, sink)?,
                State::Headers => self.headers(bytes, sink)?,
                State::Content { matched } => self.content(matched, bytes, sink)?,
                State::Delimiter => self.delimiter(bytes, sink)?,
                State::Past => {
                    sink(Event::Framing(bytes))?;
                    &[]
                }
                State::Opaque => {
                    sink(Event::Content(bytes))?;
                    &[]
                }
            };
        }
        Ok(())
    }

    /// The stream is over: gives out what was held back. Returns whether it was a whole body.
    pub fn finish<E>(mut self, sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<bool, E> {
        match self.state {
            State::FirstLine => {
                if !self.held.is_empty() {
                    sink(Event::Begin)?;
                    sink(Event::Content(&self.held))?;
                    sink(Event::End)?;
                }
            }
            State::Headers => sink(Event::Framing(&self.held))?,
            State::Content { matched } => {
                self.give_matched(matched, sink)?;
                sink(Event::End)?;
            }
            State::Delimiter => {
                self.give_matched(self.delimiter.len(), sink)?;
                sink(Event::Content(&self.held))?;
                sink(Event::End)?;
            }
            State::Past => return Ok(true),
            State::Opaque => sink(Event::End)?,
        }
        self.held.clear();
        Ok(false)
    }

    fn first_line<'b, E>(
        &mut self,
        bytes: &'b [u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<&'b [u8], E> {
        let rest = self.hold(bytes, LINE_END);
        let longest = DASHES.len() + MULTIPART_BOUNDARY_BYTES_MAX + LINE_END.len();
        if let Some(boundary) = boundary(&self.held) {
            self.delimiter = [LINE_END, DASHES, boundary.as_bytes()].concat();
            sink(Event::Framing(&self.held))?;
            self.held.clear();
            self.state = State::Headers;
        } else if self.held.ends_with(LINE_END) || self.held.len() >= longest || !begins(&self.held) {
            self.turn_opaque(sink)?;
        }
        Ok(rest)
    }

    fn headers<'b, E>(
        &mut self,
        bytes: &'b [u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<&'b [u8], E> {
        let rest = self.hold(bytes, HEADERS_END);
        if self.held.ends_with(HEADERS_END) {
            sink(Event::Framing(&self.held))?;
            self.held.clear();
            sink(Event::Begin)?;
            self.state = State::Content { matched: 0 };
        } else if self.held.len() >= MULTIPART_HEADERS_BYTES_MAX {
            self.turn_opaque(sink)?;
        }
        Ok(rest)
    }

    /// Moves bytes to those that are held, up to and including the end that is waited for.
    fn hold<'b>(&mut self, bytes: &'b [u8], end: &[u8]) -> &'b [u8] {
        for (at, byte) in bytes.iter().enumerate() {
            self.held.push(*byte);
            if self.held.ends_with(end) || self.held.len() >= MULTIPART_HEADERS_BYTES_MAX {
                return bytes.get(at + 1..).unwrap_or_default();
            }
        }
        &[]
    }

    fn content<'b, E>(
        &mut self,
        matched: usize,
        bytes: &'b [u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<&'b [u8], E> {
        if matched == 0 {
            // A delimiter has its first byte nowhere else in it, so that nothing has to be looked at twice.
            let at = bytes.iter().position(|byte| LINE_END.starts_with(&[*byte]));
            let (content, rest) = bytes.split_at(at.unwrap_or(bytes.len()));
            if !content.is_empty() {
                sink(Event::Content(content))?;
            }
            self.state = State::Content { matched: usize::from(at.is_some()) };
            return Ok(rest.get(1..).unwrap_or_default());
        }
        if bytes.first() != self.delimiter.get(matched) {
            self.give_matched(matched, sink)?;
            self.state = State::Content { matched: 0 };
            return Ok(bytes);
        }
        let is_whole = matched + 1 == self.delimiter.len();
        self.state = if is_whole { State::Delimiter } else { State::Content { matched: matched + 1 } };
        Ok(bytes.get(1..).unwrap_or_default())
    }

    fn delimiter<'b, E>(
        &mut self,
        bytes: &'b [u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<&'b [u8], E> {
        let (taken, rest) = bytes.split_at(bytes.len().min(LINE_END.len() - self.held.len()));
        self.held.extend_from_slice(taken);
        if self.held.len() < LINE_END.len() {
            return Ok(rest);
        }
        let held = std::mem::take(&mut self.held);
        let is_last = held == DASHES;
        if is_last || held == LINE_END {
            sink(Event::End)?;
            sink(Event::Framing(&[&self.delimiter, held.as_slice()].concat()))?;
            self.state = if is_last { State::Past } else { State::Headers };
            return Ok(rest);
        }
        // It only looked like one. What was taken may begin another.
        self.give_matched(self.delimiter.len(), sink)?;
        self.state = State::Content { matched: 0 };
        self.push(&held, sink)?;
        Ok(rest)
    }

    /// Gives out content that was not held because it is the same as the beginning of a delimiter.
    fn give_matched<E>(&self, matched: usize, sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        match self.delimiter.get(..matched) {
            Some(content) if !content.is_empty() => sink(Event::Content(content)),
            _ => Ok(()),
        }
    }

    fn turn_opaque<E>(&mut self, sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        sink(Event::Begin)?;
        sink(Event::Content(&self.held))?;
        self.held.clear();
        self.state = State::Opaque;
        Ok(())
    }
}

/// Whether a first line can still become one.
fn begins(held: &[u8]) -> bool {
    held.starts_with(DASHES) || DASHES.starts_with(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Framing, contents of the parts, and whether it was a whole body.
    fn split(body: &[u8], piece: usize) -> (Vec<u8>, Vec<Vec<u8>>, bool) {
        let (mut all, mut parts, mut within) = (Vec::new(), Vec::new(), false);
        let mut sink = |event: Event<'_>| -> Result<(), std::convert::Infallible> {
            match event {
                Event::Framing(bytes) => {
                    assert!(!within);
                    all.extend_from_slice(bytes);
                }
                Event::Begin => {
                    assert!(!within);
                    within = true;
                    parts.push(Vec::new());
                }
                Event::Content(bytes) => {
                    assert!(within);
                    all.extend_from_slice(bytes);
                    parts.last_mut().unwrap().extend_from_slice(bytes);
                }
                Event::End => {
                    assert!(within);
                    within = false;
                }
            }
            Ok(())
        };
        let mut splitter = Splitter::new();
        for piece in body.chunks(piece.max(1)) {
            splitter.push(piece, &mut sink).unwrap();
        }
        let whole = splitter.finish(&mut sink).unwrap();
        (all, parts, whole)
    }

    fn body(parts: &[&[u8]]) -> Vec<u8> {
        let mut body = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let line: &[u8] = if at == 0 { b"--0a1b\r\n" } else { b"\r\n--0a1b\r\n" };
            body.extend([line, b"Content-Disposition: form-data; name=\"x\"\r\nA: b\r\n\r\n", part].concat());
        }
        body.extend_from_slice(b"\r\n--0a1b--");
        body
    }

    #[test]
    fn parts_are_found_whatever_they_hold() {
        let parts: [&[u8]; 6] =
            [b"meta", b"", b"\r\n--0a1", b"\r\n--0a1bx\r\r\n\r\n--0a1b\r", b"a\r\n\r\nb\r\n--0a1b-", b"\r\r\n"];
        let body = body(&parts);
        for piece in [1, 2, 3, 7, 1000] {
            let (all, found, whole) = split(&body, piece);
            assert!(whole && all == body && found == parts, "{piece}: {found:?}");
        }
        assert_eq!(boundary(&body), Some("0a1b"));
    }

    #[test]
    fn a_body_is_whole_with_its_last_delimiter() {
        let body = body(&[b"meta", b"root"]);
        for cut in 0..body.len() {
            let (all, _, whole) = split(&body[..cut], 5);
            assert!(!whole && all == body[..cut], "{cut}");
        }
        for rest in [&b""[..], b"\r\n", b"\r\n\r\n--0a1b--\r\n", b"anything"] {
            let whole = [&body[..], rest].concat();
            assert_eq!(split(&whole, 5), (whole, vec![b"meta".to_vec(), b"root".to_vec()], true));
        }
    }

    #[test]
    fn anything_else_is_one_content() {
        let long = format!("--{}\r\nx", "a".repeat(MULTIPART_BOUNDARY_BYTES_MAX + 1)).into_bytes();
        let endless = format!("--a\r\n{}", "h".repeat(2 * MULTIPART_HEADERS_BYTES_MAX)).into_bytes();
        for other in [&b"\x1f\x8b"[..], b"-", b"--\r\n", b"--a b\r\n", &long] {
            assert_eq!(split(other, 3), (other.to_vec(), vec![other.to_vec()], false));
        }
        assert_eq!(split(&endless, 1000).1.len(), 1);
        assert_eq!(boundary(&long), None);
    }

    proptest! {
        #[test]
        fn the_events_are_the_stream(
            parts in prop::collection::vec("([\r\n0ab-]|\r\n--0a1b){0,40}", 0..4),
            noise: Vec<u8>,
            at: prop::sample::Index,
            piece in 1_usize..50,
        ) {
            let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
            let mut body = body(&parts);
            let at = at.index(body.len());
            body.splice(at..at, noise);
            let (all, found, whole) = split(&body, piece);
            prop_assert_eq!(&all, &body);
            prop_assert_eq!((found, whole), { let (_, found, whole) = split(&body, body.len()); (found, whole) });
        }
    }
}
