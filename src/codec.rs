//! Little-endian bytes with bounds: the only way structures become bytes and back.
//!
//! Knows no format. Every decoder names the field it wants and the most it accepts, never allocates more than the input
//! justifies, and must be finished, so that no byte stays unread (`format-spec/README.md`, "Encoding").

use crate::id::ID_BYTES;

/// The most bytes a variable-length integer takes: 64 bits in groups of seven.
const VARINT_BYTES_MAX: usize = 10;

/// What was wrong with encoded bytes, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Field {field} at byte {offset} {problem}")]
pub struct DecodeError {
    /// Offset of the field in the decoded bytes.
    pub offset: usize,
    /// The field's name in the specification.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: DecodeProblem,
}

/// How a field can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeProblem {
    /// The input ends before the field does.
    #[error("is cut off")]
    Truncated,
    /// The value is above the format's limit.
    #[error("exceeds its limit")]
    TooLarge,
    /// The value is not one the format knows.
    #[error("has no meaning in this format version")]
    Unknown,
    /// The value is known but has another, shorter or ordered form that must be used.
    #[error("is not in canonical form")]
    NotCanonical,
    /// A text field is not UTF-8.
    #[error("is not UTF-8")]
    NotText,
    /// Bytes follow the last field.
    #[error("is followed by bytes that do not belong to it")]
    Trailing,
}

/// Writes fields one after the other.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// An empty encoder.
    pub fn new() -> Self {
        Self::default()
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// A variable-length integer: groups of seven bits, least significant first, in its shortest form.
    pub fn varint(&mut self, mut value: u64) -> &mut Self {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                return self.u8(low & 0x7f);
            }
            self.u8(low | 0x80);
        }
    }

    /// A variable-length integer of a length or count.
    pub fn size(&mut self, value: usize) -> &mut Self {
        self.varint(value as u64)
    }

    /// Bytes as they are, without a length.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// A length as variable-length integer, then the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.size(bytes.len()).raw(bytes)
    }

    /// A text, as [`Self::bytes`].
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// As much of a text as `max` bytes hold, cut between characters.
    pub fn text_prefix(&mut self, text: &str, max: usize) -> &mut Self {
        self.text(text.get(..text.floor_char_boundary(max)).unwrap_or_default())
    }

    /// 0, or 1 and then what `encode` writes.
    pub fn option<T>(&mut self, value: Option<T>, encode: impl FnOnce(&mut Self, T)) -> &mut Self {
        match value {
            None => self.u8(0),
            Some(value) => {
                encode(self.u8(1), value);
                self
            }
        }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads fields one after the other.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    all: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { all: bytes, rest: bytes }
    }

    /// Offset of the next field.
    pub fn offset(&self) -> usize {
        self.all.len() - self.rest.len()
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The error `problem` about `field` at the present offset.
    pub fn error(&self, field: &'static str, problem: DecodeProblem) -> DecodeError {
        DecodeError { offset: self.offset(), field, problem }
    }

    /// Exactly `len` bytes, borrowed from the input.
    pub fn raw(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) =
            self.rest.split_at_checked(len).ok_or_else(|| self.error(field, DecodeProblem::Truncated))?;
        self.rest = rest;
        Ok(taken)
    }

    /// An array of fixed length.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (taken, rest) =
            self.rest.split_first_chunk::<N>().ok_or_else(|| self.error(field, DecodeProblem::Truncated))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// The bytes of an id; wrap with the type's `from_bytes`.
    pub fn id(&mut self, field: &'static str) -> Result<[u8; ID_BYTES], DecodeError> {
        self.array(field)
    }

    /// One byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    /// Two bytes.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    /// Four bytes.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    /// Eight bytes.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// A variable-length integer of at most `max`; longer forms than needed are refused.
    pub fn varint(&mut self, field: &'static str, max: u64) -> Result<u64, DecodeError> {
        let wrong = |problem| DecodeError { offset: self.offset(), field, problem };
        let mut value = 0_u64;
        for (at, byte) in self.rest.iter().enumerate().take(VARINT_BYTES_MAX) {
            let group = u64::from(byte & 0x7f);
            let shifted = group << (7 * at);
            if shifted >> (7 * at) != group {
                return Err(wrong(DecodeProblem::TooLarge));
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                if *byte == 0 && at > 0 {
                    return Err(wrong(DecodeProblem::NotCanonical));
                }
                if value > max {
                    return Err(wrong(DecodeProblem::TooLarge));
                }
                self.rest = self.rest.get(at + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        let problem =
            if self.rest.len() < VARINT_BYTES_MAX { DecodeProblem::Truncated } else { DecodeProblem::TooLarge };
        Err(wrong(problem))
    }

    /// A length of at most `max`, not checked against the input; for lengths of things that stand elsewhere.
    pub fn size(&mut self, field: &'static str, max: usize) -> Result<usize, DecodeError> {
        let at = self.offset();
        let value = self.varint(field, max as u64)?;
        usize::try_from(value).map_err(|_| DecodeError { offset: at, field, problem: DecodeProblem::TooLarge })
    }

    /// A count of entries of at least `entry_bytes_min` bytes each: refused if the rest of the input cannot hold them,
    /// so that it may be used as a capacity.
    pub fn count(&mut self, field: &'static str, max: usize, entry_bytes_min: usize) -> Result<usize, DecodeError> {
        let before = self.clone();
        let count = self.size(field, max)?;
        if count.saturating_mul(entry_bytes_min) > self.rest.len() {
            return Err(before.error(field, DecodeProblem::Truncated));
        }
        Ok(count)
    }

    /// A length of at most `max`, then that many bytes.
    pub fn bytes(&mut self, field: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = self.size(field, max)?;
        self.raw(field, len)
    }

    /// A text of at most `max` bytes.
    pub fn text(&mut self, field: &'static str, max: usize) -> Result<&'a str, DecodeError> {
        let before = self.clone();
        let bytes = self.bytes(field, max)?;
        str::from_utf8(bytes).map_err(|_| before.error(field, DecodeProblem::NotText))
    }

    /// The counterpart of [`Encoder::option`].
    pub fn option<T>(
        &mut self,
        field: &'static str,
        decode: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        let before = self.clone();
        match self.u8(field)? {
            0 => Ok(None),
            1 => decode(self).map(Some),
            _ => Err(before.error(field, DecodeProblem::Unknown)),
        }
    }

    /// Ends reading; bytes that are left are an error.
    pub fn finish(self, field: &'static str) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.error(field, DecodeProblem::Trailing)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fields_round_trip(a: u64, b: u32, bytes: Vec<u8>, text: String, option: Option<u16>) {
            let mut encoder = Encoder::new();
            encoder.varint(a).u32(b).bytes(&bytes).text(&text).option(option, |e, v| { e.u16(v); });
            let encoded = encoder.finish();
            let mut decoder = Decoder::new(&encoded);
            prop_assert_eq!(decoder.varint("a", u64::MAX), Ok(a));
            prop_assert_eq!(decoder.u32("b"), Ok(b));
            prop_assert_eq!(decoder.bytes("bytes", usize::MAX), Ok(&bytes[..]));
            prop_assert_eq!(decoder.text("text", usize::MAX), Ok(&text[..]));
            prop_assert_eq!(decoder.option("option", |d| d.u16("option")), Ok(option));
            prop_assert_eq!(decoder.finish("end"), Ok(()));
        }

        #[test]
        fn no_input_makes_a_decoder_panic(input: Vec<u8>) {
            let mut decoder = Decoder::new(&input);
            while decoder.remaining() > 0 {
                let steps = [
                    decoder.varint("v", 1 << 40).is_ok(),
                    decoder.count("c", 1000, 3).is_ok(),
                    decoder.text("t", 100).is_ok(),
                ];
                if !steps.contains(&true) && decoder.u8("skip").is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_longer_form_of_an_integer_is_refused() {
        let wrong = Decoder::new(&[0x81, 0x00]).varint("n", 1000).unwrap_err();
        assert_eq!(wrong.problem, DecodeProblem::NotCanonical);
        let wrong = Decoder::new(&[0xff; 11]).varint("n", u64::MAX).unwrap_err();
        assert_eq!(wrong.problem, DecodeProblem::TooLarge);
    }

    #[test]
    fn a_count_that_the_input_cannot_hold_is_refused() {
        let wrong = Decoder::new(&[200, 1, 0, 0]).count("n", 1000, 32).unwrap_err();
        assert_eq!(wrong, DecodeError { offset: 0, field: "n", problem: DecodeProblem::Truncated });
    }
}
