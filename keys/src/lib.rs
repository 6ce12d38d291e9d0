//! A person is a key: TLS on the tunnel, both ends of it.
//!
//! | room | what it is for |
//! |---|---|
//! | `client`, `server` | the two ends of the handshake |
//! | `settings` | what both ends agree on: TLS 1.3, signatures that prove a key, nothing that is resumed |
//! | `identity` | a certificate and its key: a watcher's own, or one for a moment |
//! | `fingerprint` | who that is, in 32 bytes |
//!
//! Invariant: a [`Fingerprint`] comes out of a handshake only for a certificate whose key has signed that very
//! handshake, with both certificates in it: nobody passes on what a person has proved to somebody else.

mod client;
mod fingerprint;
mod identity;
mod server;
mod settings;

pub use client::{Client, ClientStream};
pub use fingerprint::Fingerprint;
pub use identity::{Error, Identity};
pub use server::{Server, ServerStream};

#[cfg(test)]
mod tests;
