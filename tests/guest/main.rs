//! On a real NFS server and client, and through power cuts, in virtual machines: see `guest` for what is needed and
//! how to go without.

mod guest;
mod hosts;
mod log;
mod outage;
mod power;
mod race;

/// How often something is repeated that comes out differently each time: briefly here, at length with
/// `make test-guest`, or as often as somebody asks.
fn rounds(brief: u64, long: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the one knob of the tests; the product reads its own in config.rs")]
    let asked = std::env::var("HOLDALL_TEST_ROUNDS").unwrap_or_default();
    if asked == "long" { long } else { asked.parse().unwrap_or(brief) }
}

/// Bytes that do not compress, the same for one seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
