//! An export with another description: what it says of itself, and the stream that says it.
//!
//! Pure: bytes in, bytes out. A restore makes an export fit its target, and a backup makes one of what a daemon
//! exported beside something else.

pub(crate) mod description;
pub(crate) mod keys;
pub(crate) mod reader;
pub(crate) mod stream;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod trial;
