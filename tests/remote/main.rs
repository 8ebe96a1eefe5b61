//! Several hosts on one server that behaves as NFS does, without an NFS server: `client` says in which ways.
//!
//! The real program, and the store's own suite, run on FUSE mounts of a server in memory. `tests/guest/` does some of
//! it on a real NFS server, slowly; here every request can go wrong, in every way, one after the other.

mod client;
mod dice;
mod faults;
mod habits;
mod harm;
mod hosts;
mod mount;
mod promises;
mod server;
mod world;

/// How often something is repeated that comes out differently each time: once here, or as often as somebody asks.
fn rounds() -> usize {
    #[expect(clippy::disallowed_methods, reason = "the one knob of the tests; the product reads its own in config.rs")]
    let asked = std::env::var("HOLDALL_TEST_ROUNDS");
    asked.ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

/// Bytes that do not compress, the same for one seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
