//! The suite on a disk, the order of system calls and what a crash between them leaves, and what only a directory can do
//! to a store.
