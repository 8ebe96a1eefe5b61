//! holdall: a deduplicating, encrypted, content-addressed backup repository for LXD and Incus servers.
#![deny(missing_docs, clippy::print_stdout, clippy::print_stderr)]
// A test that panics has failed, which is what it is for.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod backup;
pub mod check;
pub mod chunk;
pub mod clock;
pub mod codec;
pub mod compress;
pub mod crypto;
pub mod daemon;
pub mod id;
pub mod index;
pub mod limits;
pub mod monitor;
pub mod pack;
pub mod point;
pub mod recipe;
pub mod repo;
pub mod restore;
pub mod source;
pub mod store;
pub mod tar;
