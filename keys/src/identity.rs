//! A certificate and its key.
//!
//! Invariant: the key leaves this process in signatures alone, and no text for a person or a log has any of it.

use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt,
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
    /// The key can be read by others, and that can't be changed.
    #[error("close `{path}` to others")]
    Close {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
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
    /// That of the syncthing home `dir`: `cert.pem` and `key.pem`. A key that others may read, of a copied home perhaps, is
    /// closed to them. Blocks.
    ///
    /// # Errors
    /// A file that is missing, can't be read or not be closed, by its path.
    pub fn of_home(dir: &Path) -> Result<Self, Error> {
        let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        let identity = Self {
            certificate: CertificateDer::from_pem_file(&certificate)
                .map_err(|source| Error::Read { path: certificate, source })?,
            key: PrivateKeyDer::from_pem_file(&key)
                .map_err(|source| Error::Read { path: key.clone(), source })?,
        };
        close(&key).map_err(|source| Error::Close { path: key, source })?;
        Ok(identity)
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

/// Leaves a file to its owner.
fn close(path: &Path) -> io::Result<()> {
    let mut permissions = fs::metadata(path)?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o600);
        fs::set_permissions(path, permissions)?;
    }
    Ok(())
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint())
    }
}
