//! The scheme on one page: what is derived, sealed and checked (`format-spec/keys.md`).
//!
//! A key slot opens to a *writer secret* and the recipient's key pair, or to its public half alone. From the writer
//! secret come the keys for chunk ids, cuts, slot MACs and everything that a writer must read again; points and frames
//! are sealed to the recipient with HPKE, the writer secret being its pre-shared key. The types say who may do what:
//! [`key::WriteKeys`] seal everything and open what is shared, [`key::ReadKeys`] open the rest, too.
//!
//! Invariants. Every sealing draws 32 fresh random bytes and has a key of its own, so that a nonce, which is the frame
//! number, never meets the same key twice. Every key is committed to, and the commitment is compared before anything is
//! opened. What was sealed is opened again and compared before it leaves this module. Nothing here knows a store, a
//! file or the contents of what it seals.

mod aead;
pub mod key;
pub mod keyfile;
pub mod keyslot;
pub mod object;
pub mod packseal;
pub mod seal;
#[cfg(test)]
mod tests;

pub use aead::{Aead, Fresh, TAG_BYTES};
pub use key::{GenerateError, IdKey, Keys, ReadKeys, WriteKeys};
pub use keyfile::{KeyFile, KeyFileError};
pub use keyslot::{
    Access, Argon2Cost, Description, Keyslot, Passphrase, PassphraseError, SealSlotError, SlotContents, SlotError,
    SlotKey, SlotKind, SlotProblem, Unlock, seal_slot,
};
pub use object::{ObjectName, OpenError, OpenProblem};
pub use packseal::{DirectoryOpener, FrameOpener, PACK_HEADER_BYTES, PackSealer};
pub use seal::{
    Damage, GivenName, PointOrVoid, SealError, open_config, open_free, open_point, open_session, seal_free, seal_given,
};
