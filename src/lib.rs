//! holdall: a deduplicating, encrypted, content-addressed backup repository for LXD and Incus servers.
//!
//! # Bird's eye
//!
//! A backup is a stream: the tarball that a daemon exports. [`tar`] takes it apart into envelope and payload,
//! [`chunk`] cuts both where their content says, and the keyed hash of each chunk tells whether the repository has it
//! ([`index`]). What is new goes into frames, compressed and sealed, and frames into packs ([`pack`], [`compress`],
//! [`crypto`]). How to put the stream together again is its recipe ([`recipe`]), stored as chunks, too; the [`point`]
//! names the recipe and is the one commit. A restore walks the recipe and hands the same bytes back to the daemon.
//!
//! # Code map
//!
//! | room | what it is |
//! |---|---|
//! | [`id`], [`limits`], [`codec`], [`clock`], [`source`], [`monitor`] | words; everybody may use them |
//! | `rewrite` | exports with another description |
//! | [`tar`], [`multipart`], [`chunk`], [`compress`], [`crypto`], [`pack`], [`recipe`], [`point`] | bytes in and out |
//! | [`protocol`] | by which steps writers, prunes and readers share a repository; no IO |
//! | [`retention`] | which points a policy keeps |
//! | [`store`], [`index`], [`daemon`] | ports and their adapters; none knows another |
//! | [`repo`] | the repository, the only place where formats and ports meet |
//! | [`backup`], [`restore`], [`browse`], [`forget`], [`prune`], [`status`], [`check`] | operations |
//! | [`repair`] | what is built of operations: checks, and prunes what is damaged |
//! | `src/bin/holdall` | the program: terminal, environment, exit codes, advice |
//!
//! `format-spec/` says what the bytes are and why, and `format-spec/concurrency.md` why [`protocol`] has its steps.
//! `tests/tidy.rs` holds who may use whom, and the habits of the house.
//!
//! # Invariants, and what holds them
//!
//! - Nothing refers to an object that is not durable: packs, then the segment that names them, then the point. The
//!   types of [`pack`] allow no other order, and `tests/it/order.rs` reads it from a recorded run.
//! - No step of the protocol is left out or comes in another order: `src/protocol/tests/` explores what would be lost,
//!   `tests/it/order.rs` reads the order from recorded runs.
//! - The index can be deleted at any time: `tests/cli/damage.rs`, `tests/daemon/product.rs`.
//! - An archive comes back byte for byte, or not at all: `tests/it/round_trip.rs`, `tests/it/damage.rs`.
//! - An export that did not prove complete never becomes a point: `tests/it/instances.rs`,
//!   `tests/daemon/product.rs`.
//! - The store sees sealed bytes and opaque names only; nothing in it is ever replaced: `store::conformance`.
//! - Async types occur in `daemon/http.rs` alone; the library neither prints nor exits nor reads the environment;
//!   few files delete anything: `tests/tidy.rs`.
//! - No policy drops the newest point of a source, a pinned one, or any while a note cannot be read; a void is never
//!   removed: `retention`, `tests/it/forget.rs`.
//! - What was answered survives a power cut or a kill at any moment, and nobody has to mend anything:
//!   `tests/it/crashes.rs`, `tests/cli/kill.rs`. Whatever call of the store fails, success is reported only for what is
//!   complete: `tests/it/faults.rs`.
//! - Every buffer and queue is bounded by a constant in [`limits`].
#![deny(missing_docs, clippy::print_stdout, clippy::print_stderr)]
// A test that panics has failed, which is what it is for.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod backup;
pub mod browse;
pub mod check;
pub mod chunk;
pub mod clock;
pub mod codec;
pub mod compress;
pub mod crypto;
pub mod daemon;
pub mod forget;
pub mod id;
pub mod index;
pub mod limits;
pub mod monitor;
pub mod multipart;
pub mod pack;
pub mod point;
pub mod protocol;
pub mod prune;
pub mod recipe;
pub mod repair;
pub mod repo;
pub mod restore;
pub mod retention;
mod rewrite;
pub mod source;
pub mod status;
pub mod store;
pub mod tar;
