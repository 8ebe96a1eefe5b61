//! holdall: a deduplicating, encrypted, content-addressed backup repository for LXD and Incus servers.
#![deny(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(
    test,
    expect(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test that panics has failed, which is what it is for"
    )
)]

pub mod clock;
pub mod codec;
pub mod id;
pub mod limits;
pub mod monitor;
pub mod pack;
pub mod source;
