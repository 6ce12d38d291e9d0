//! A certificate and its key.
//!
//! Invariant: the key leaves this process in signatures alone, and no text for a person or a log has any of it.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem, pem::PemObject};

use crate::Fingerprint;

/// Why there is no identity, or why it can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is not there, or no PEM of what it should be.
    #[error("read `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// None could be made.
    #[error("make a certificate")]
    Make(#[source] rcgen::Error),
    /// Certificate and key don't go together, or are of a kind that nobody uses for TLS.
    #[error("speak TLS with the certificate of {fingerprint}")]
    Use {
        /// Whose.
        fingerprint: Fingerprint,
        /// The library's word.
        source: rustls::Error,
    },
}

/// A certificate and its key.
pub struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Identity {
    /// That of the syncthing home `dir`: `cert.pem` and `key.pem`. Blocks.
    ///
    /// # Errors
    /// A file that is missing or can't be read, by its path.
    pub fn of_home(dir: &Path) -> Result<Self, Error> {
        let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        Ok(Self {
            certificate: CertificateDer::from_pem_file(&certificate)
                .map_err(|source| Error::Read { path: certificate, source })?,
            key: PrivateKeyDer::from_pem_file(&key).map_err(|source| Error::Read { path: key, source })?,
        })
    }

    /// A new one, that nobody knows and that is gone with this process.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn for_now() -> Result<Self, Error> {
        let made = rcgen::generate_simple_self_signed(Vec::new()).map_err(Error::Make)?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Ok(Self { certificate: made.cert.der().clone(), key: key.into() })
    }

    /// Who that is.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint())
    }
}
