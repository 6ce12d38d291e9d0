//! A certificate and its key.
//!
//! Invariant: the key leaves this process in signatures alone, or into a syncthing home that nobody else can read; no text for a
//! person or a log has any of it.

use std::{
    fmt, fs, io,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
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
    /// A file could not be written.
    #[error("write `{path}`")]
    Write {
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
        Self::named(&[])
    }

    /// A new one for a syncthing, under the name that its peers look for
    /// (<https://docs.syncthing.net/users/config.html#config-option-device.certname>).
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn for_syncthing() -> Result<Self, Error> {
        Self::named(&["syncthing"])
    }

    fn named(names: &[&str]) -> Result<Self, Error> {
        let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
        let made = rcgen::generate_simple_self_signed(names).map_err(Error::Make)?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Ok(Self { certificate: made.cert.der().clone(), key: key.into() })
    }

    /// Puts it into the syncthing home `dir`, which is there and has none yet: `cert.pem` and `key.pem`, for their owner alone.
    /// Blocks.
    ///
    /// # Errors
    /// A file that is there, or can't be written, by its path.
    pub fn give_to(&self, dir: &Path) -> Result<(), Error> {
        for (name, label, der) in [
            ("cert.pem", "CERTIFICATE", self.certificate.as_ref()),
            ("key.pem", "PRIVATE KEY", self.key.secret_der()),
        ] {
            let path = dir.join(name);
            let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            let written = file.and_then(|mut file| file.write_all(pem_text(label, der).as_bytes()));
            written.map_err(|source| Error::Write { path, source })?;
        }
        Ok(())
    }

    /// Who that is.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }
}

/// As RFC 7468 writes it.
fn pem_text(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<String> =
        text.as_bytes().chunks(64).map(|l| String::from_utf8_lossy(l).into_owned()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
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
