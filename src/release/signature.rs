//! The release signature: ECDSA on P-521. The signed message is the archive's name, a line break, and the program's
//! bytes; what ECDSA is given as the digest is the lowercase hex text of the message's SHA-256 (syncthing,
//! lib/signature and lib/upgrade). The signature is a PEM block "SIGNATURE" over ASN.1 (r, s).

use std::{fmt::Write, io, io::Read};

use p521::{
    ecdsa::{DerSignature, VerifyingKey, signature::hazmat::PrehashVerifier},
    pkcs8::{DecodePublicKey, Document},
};
use sha2::{Digest, Sha256};

use super::Error;

const PROJECT_KEY: &str = include_str!("syncthing-release-key.pem");

/// Who signs releases.
#[derive(Debug, Clone)]
pub(crate) struct ReleaseKey(VerifyingKey);

impl ReleaseKey {
    /// The syncthing project's.
    pub(crate) fn project() -> Result<Self, Error> {
        Self::from_pem(PROJECT_KEY)
    }

    /// From a PEM block of any label with a public key (SubjectPublicKeyInfo) in it.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, Error> {
        let (_, document) = Document::from_pem(pem).map_err(|_| Error::Key)?;
        VerifyingKey::from_public_key_der(document.as_bytes()).map(Self).map_err(|_| Error::Key)
    }

    /// Whether `signature` is this key's for `program` under the name `archive`.
    pub(crate) fn verify(
        &self,
        archive: &str,
        program: impl Read,
        signature: &[u8],
    ) -> Result<(), VerifyError> {
        let text = std::str::from_utf8(signature).map_err(|_| VerifyError::Broken)?;
        let (label, document) = Document::from_pem(text).map_err(|_| VerifyError::Broken)?;
        if label != "SIGNATURE" {
            return Err(VerifyError::Broken);
        }
        let signature = DerSignature::try_from(document.as_bytes()).map_err(|_| VerifyError::Broken)?;
        let digest = digest(archive, program).map_err(VerifyError::Read)?;
        self.0.verify_prehash(digest.as_bytes(), &signature).map_err(|_| VerifyError::Wrong)
    }
}

/// Why a signature does not hold.
#[derive(Debug)]
pub(crate) enum VerifyError {
    /// It is none.
    Broken,
    /// It is another one's.
    Wrong,
    /// The program can't be read.
    Read(io::Error),
}

/// The 64 characters that are signed.
pub(super) fn digest(archive: &str, mut program: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(archive.as_bytes());
    hasher.update(b"\n");
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match program.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let mut hex = String::with_capacity(64);
    for byte in hasher.finalize() {
        // Writing to a String can't fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}

#[cfg(test)]
pub(super) mod testing {
    use p521::{
        ecdsa::{DerSignature, SigningKey, signature::hazmat::PrehashSigner},
        elliptic_curve::Generate,
        pkcs8::{Document, EncodePublicKey, LineEnding},
    };

    use super::{ReleaseKey, digest};

    /// A key pair of our own.
    pub(in super::super) struct Signer(SigningKey);

    impl Signer {
        pub(in super::super) fn new() -> Self {
            Self(SigningKey::generate())
        }

        pub(in super::super) fn key(&self) -> ReleaseKey {
            ReleaseKey::from_pem(&self.0.verifying_key().to_public_key_pem(LineEnding::LF).unwrap()).unwrap()
        }

        pub(in super::super) fn sign(&self, archive: &str, program: &[u8]) -> Vec<u8> {
            let signature: DerSignature =
                self.0.sign_prehash(digest(archive, program).unwrap().as_bytes()).unwrap();
            let document = Document::try_from(signature.as_bytes()).unwrap();
            document.to_pem("SIGNATURE", LineEnding::LF).unwrap().into_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ReleaseKey, VerifyError, digest, testing::Signer};

    /// Made by a Go program with the calls that syncthing's own signing makes (lib/signature), over the name of
    /// the Linux archive and the content `program`, with a key of its own.
    const GO_KEY: &str = "-----BEGIN EC PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBKZY21+TacIIK78pMQAge1/ff2Ish
1QGO0mAz+tiLwvdj4HVc0/S/6Fac1w2/H3ZkH94xTUEzZtvvhFUtbGcvxSwBQoG5
arZ6j1atY5SOkjPxEGEY67iNLDsZtZbiH3K9A11fqTLRnl6M8bXL/sWVJF16eOVs
zYvX5ROxToZRG9VGPyI=
-----END EC PUBLIC KEY-----
";
    const GO_SIGNATURE: &str = "-----BEGIN SIGNATURE-----
MIGIAkIBv+kxdIxXnVx6VOwTD8Cxpuk1M1fwTidhmu450/Iw1C+3gVtvqR/5ghHS
hYWOyjVhaSOWfQuQKnV6aOAnqiwa+4MCQgGZzsC/W5IEaKvfch2TKE2SpAeYT+0t
eshiTOtl5WceXqgELJk9Nw84oUxvz8S6xd8XcNzRULMObO9RWa08TOLHXw==
-----END SIGNATURE-----
";

    #[test]
    fn a_signature_made_as_syncthing_makes_it_holds() {
        let key = ReleaseKey::from_pem(GO_KEY).unwrap();
        let verify = |program: &[u8]| {
            key.verify("syncthing-linux-amd64-v1.30.0.tar.gz", program, GO_SIGNATURE.as_bytes())
        };
        assert!(verify(b"program").is_ok());
        assert!(matches!(verify(b"programs"), Err(VerifyError::Wrong)));
    }

    #[test]
    fn the_projects_key_reads() {
        ReleaseKey::project().unwrap();
    }

    #[test]
    fn the_digest_is_the_hex_text_over_name_and_bytes() {
        // printf 'a\nb' | sha256sum
        let expected = "7e18f737311b2dc3b2f269dd78396b0351f14fb66efa879f768cb23181883c78";
        assert_eq!(digest("a", &b"b"[..]).unwrap(), expected);
    }

    #[test]
    fn only_the_signed_name_and_bytes_pass() {
        let signer = Signer::new();
        let signature = signer.sign("a.tar.gz", b"program");
        let verify = |key: &ReleaseKey, name: &str, program: &[u8]| key.verify(name, program, &signature);
        assert!(verify(&signer.key(), "a.tar.gz", b"program").is_ok());
        assert!(matches!(verify(&signer.key(), "b.tar.gz", b"program"), Err(VerifyError::Wrong)));
        assert!(matches!(verify(&signer.key(), "a.tar.gz", b"prograM"), Err(VerifyError::Wrong)));
        assert!(matches!(verify(&Signer::new().key(), "a.tar.gz", b"program"), Err(VerifyError::Wrong)));
        assert!(matches!(signer.key().verify("a", &b""[..], b"garbage"), Err(VerifyError::Broken)));
    }
}
