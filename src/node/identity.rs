//! Who we are, for radar: a key, and a name for persons to read.

use std::path::Path;

use ksync_keys::{Client, Error, Identity};

/// Who we are, for radar.
#[derive(Debug, Clone)]
pub(crate) struct SessionIdentity {
    /// Proves our key to radar: the session is the key's.
    pub(super) keys: Client,
    /// The key's device id, by which syncthing knows it.
    pub(super) device_id: String,
    /// Host name.
    pub(super) machine: String,
    /// User name.
    pub(super) user: String,
}

impl SessionIdentity {
    /// With the key of the syncthing home `dir`, which syncthing has made there. Blocks.
    ///
    /// # Errors
    /// The key is not there, or of no use.
    pub(crate) fn of_home(dir: &Path) -> Result<Self, Error> {
        Self::with(Identity::of_home(dir)?)
    }

    /// With a key that is gone after this: for who asks something, and holds nothing.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(super) fn for_now() -> Result<Self, Error> {
        Self::with(Identity::for_now()?)
    }

    fn with(identity: Identity) -> Result<Self, Error> {
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let user = std::env::var("USER").unwrap_or_else(|_| rustix::process::getuid().as_raw().to_string());
        let device_id = identity.fingerprint().device_id();
        Ok(Self { keys: Client::new(identity)?, device_id, machine, user })
    }
}
