//! What every host that uses a repository must agree on (`format-spec/repository.md`, "Config").

use crate::chunk::ChunkParams;
use crate::clock::Timestamp;
use crate::codec::{DecodeError, DecodeProblem, Decoder, Encoder};
use crate::compress::Level;

/// The config in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// When the repository was made.
    pub created: Timestamp,
    /// How payloads are cut.
    pub payload: ChunkParams,
    /// How envelopes and tables of parts are cut.
    pub envelope: ChunkParams,
    /// How hard frames are compressed.
    pub level: Level,
    /// The longest time for which a listing may be stale on any host that writes, in seconds; 0 on a local disk
    /// (`format-spec/concurrency.md`, "Bounded staleness").
    pub settle_seconds: u32,
    /// Whether packs get parity.
    pub parity: Parity,
}

/// Whether packs carry parity behind their directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// No parity.
    None,
    /// Reed-Solomon parity of about three per cent.
    ReedSolomon,
}

/// The longest settle time that is accepted, in seconds: a day.
pub const SETTLE_SECONDS_MAX: u32 = 86_400;

impl Config {
    /// The config of a new repository.
    pub fn new(created: Timestamp, settle_seconds: u32, parity: Parity) -> Self {
        Self {
            created,
            payload: ChunkParams::PAYLOAD,
            envelope: ChunkParams::ENVELOPE,
            level: Level::DEFAULT,
            settle_seconds,
            parity,
        }
    }

    /// The stored form, before sealing.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        self.created.encode(&mut out);
        self.payload.encode(&mut out);
        self.envelope.encode(&mut out);
        out.u8(self.level.get()).u32(self.settle_seconds);
        out.u8(match self.parity {
            Parity::None => 0,
            Parity::ReedSolomon => 1,
        });
        out.finish()
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let created = Timestamp::decode(&mut from, "config.created")?;
        let payload = ChunkParams::decode(&mut from)?;
        let envelope = ChunkParams::decode(&mut from)?;
        let before = from.clone();
        let level =
            Level::new(from.u8("config.level")?).ok_or_else(|| before.error("config.level", DecodeProblem::Unknown))?;
        let before = from.clone();
        let settle_seconds = from.u32("config.settle_seconds")?;
        if settle_seconds > SETTLE_SECONDS_MAX {
            return Err(before.error("config.settle_seconds", DecodeProblem::TooLarge));
        }
        let before = from.clone();
        let parity = match from.u8("config.parity")? {
            0 => Parity::None,
            1 => Parity::ReedSolomon,
            _ => return Err(before.error("config.parity", DecodeProblem::Unknown)),
        };
        from.finish("config")?;
        Ok(Self { created, payload, envelope, level, settle_seconds, parity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_round_trips_and_is_refused_when_cut_or_wrong() {
        let config = Config::new(Timestamp::from_micros(77).unwrap(), 60, Parity::ReedSolomon);
        let bytes = config.encode();
        assert_eq!(Config::decode(&bytes), Ok(config));
        for len in 0..bytes.len() {
            assert!(Config::decode(&bytes[..len]).is_err());
        }
        let mut wrong = bytes.clone();
        *wrong.last_mut().unwrap() = 2;
        assert!(Config::decode(&wrong).is_err());
    }
}
