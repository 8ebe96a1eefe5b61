//! Time: a port, so that nothing else asks the operating system.
//!
//! Clocks label points and raise suspicion about dead sessions. No decision that could lose data looks at one
//! (`format-spec/concurrency.md`).

use crate::codec::{DecodeError, DecodeProblem, Decoder, Encoder};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A moment in microseconds since 1970-01-01T00:00:00Z, from year 1970 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last moment that has a text form: 9999-12-30T22:00:00Z, jiff's bound.
    pub const MAX_MICROS: u64 = 253_402_207_200_000_000;

    /// A moment from stored microseconds; `None` beyond [`Self::MAX_MICROS`].
    pub const fn from_micros(micros: u64) -> Option<Self> {
        if micros <= Self::MAX_MICROS { Some(Self(micros)) } else { None }
    }

    /// Microseconds since the epoch, as stored.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Appends the stored form.
    pub fn encode(self, out: &mut Encoder) {
        out.varint(self.0);
    }

    /// Reads the stored form.
    pub fn decode(from: &mut Decoder<'_>, field: &'static str) -> Result<Self, DecodeError> {
        let before = from.clone();
        let micros = from.varint(field, Self::MAX_MICROS)?;
        Self::from_micros(micros).ok_or_else(|| before.error(field, DecodeProblem::TooLarge))
    }

    /// This moment for calendar arithmetic and local time.
    pub fn to_jiff(self) -> jiff::Timestamp {
        i64::try_from(self.0).ok().and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok()).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_jiff().strftime("%Y-%m-%dT%H:%M:%SZ"))
    }
}

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_micros()).unwrap_or(0).min(Timestamp::MAX_MICROS))
    }
}

/// A clock that stands still, for tests and for reproducible output.
#[derive(Debug, Clone, Copy)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_rfc_3339() {
        assert_eq!(Timestamp::from_micros(1_795_219_200_000_001).unwrap().to_string(), "2026-11-21T00:00:00Z");
        assert_eq!(Timestamp::from_micros(Timestamp::MAX_MICROS).unwrap().to_string(), "9999-12-30T22:00:00Z");
        assert_eq!(Timestamp::from_micros(Timestamp::MAX_MICROS + 1), None);
    }
}
