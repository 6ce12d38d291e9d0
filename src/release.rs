//! The syncthing that runs on this machine: the pinned release, fetched and verified, or a file that the user names.
//! Nothing is at its place before it was verified and has answered with its version.
//!
//! What is trusted is the release key of the syncthing project, kept in this repository, and not the place that an
//! archive comes from. A table of archive digests beside it would say less: the signature covers the archive's name
//! (so its version and platform) and the program's every byte.

mod archive;
mod fetch;
mod place;
mod platform;
mod signature;

use std::{io, path::PathBuf};

use semver::Version;

pub(crate) use fetch::{Mirror, install};
pub(crate) use place::{install_file, installed, supported as is_supported};
pub(crate) use platform::Platform;
pub(crate) use signature::ReleaseKey;

/// The pinned release, without its `v`.
pub(crate) const PINNED: &str = "1.30.0";

/// Set to another place that has the releases' archives, laid out as on GitHub.
pub(crate) const MIRROR_ENV: &str = "KSYNC_SYNCTHING_MIRROR";

/// Why there is no syncthing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no release for this machine.
    #[error("there is no syncthing release for {os} on {arch}")]
    Platform {
        /// As Rust names it.
        os: &'static str,
        /// As Rust names it.
        arch: &'static str,
    },
    /// The mirror's address is not an https URL.
    #[error("refused to download from `{url}`: it is not an https address")]
    Mirror {
        /// As given.
        url: String,
    },
    /// The server can't be reached, or broke off.
    #[error("can't download `{url}`")]
    Download {
        /// The archive's address.
        url: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// The server answered something else.
    #[error("can't download `{url}`: the server answered {status}")]
    Status {
        /// The archive's address.
        url: String,
        /// Such as `404 Not Found`.
        status: String,
    },
    /// More than any release has.
    #[error("stopped at {limit} bytes of {what}: no syncthing release is that large")]
    TooLarge {
        /// The archive, or the program in it.
        what: &'static str,
        /// Bytes.
        limit: u64,
    },
    /// Not an archive, or a broken one.
    #[error("can't unpack `{archive}`")]
    Archive {
        /// Its name.
        archive: String,
        /// The cause.
        source: io::Error,
    },
    /// An archive of another version or platform under the right name.
    #[error("refused `{archive}`: what is in it is `{found}`")]
    OtherRelease {
        /// The name that was asked for.
        archive: String,
        /// What its top directory says.
        found: String,
    },
    /// Nothing to run in the archive.
    #[error("refused `{archive}`: there is no syncthing in it")]
    NoProgram {
        /// Its name.
        archive: String,
    },
    /// Nothing to verify it by.
    #[error("refused `{archive}`: it is not signed")]
    NoSignature {
        /// Its name.
        archive: String,
    },
    /// The signature is not one.
    #[error("refused `{archive}`: its signature can't be read")]
    BrokenSignature {
        /// Its name.
        archive: String,
    },
    /// The signature is of something else, or by somebody else.
    #[error("refused `{archive}`: its content is not what the syncthing project signed under this name")]
    WrongSignature {
        /// Its name.
        archive: String,
    },
    /// The key in the program is broken; can't happen in a release of ours.
    #[error("can't read the release key")]
    Key,
    /// It does not run, or says no version.
    #[error("can't use `{path}` as syncthing: {reason}")]
    NotSyncthing {
        /// The file.
        path: PathBuf,
        /// A phrase.
        reason: String,
    },
    /// It runs, but is too old or too new.
    #[error("can't use `{path}`: it is syncthing {version}, and 1.27 to 2.x are supported")]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        version: Version,
    },
    /// The system refused.
    #[error("can't {operation} `{path}`")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl Error {
    /// What a person can do.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Platform { .. } => {
                Some("build syncthing yourself and give it with `--syncthing FILE`".to_owned())
            }
            Self::Download { .. } | Self::Status { .. } => Some(format!(
                "without a way to it, fetch the release elsewhere and give the program with `--syncthing FILE`, or set `{MIRROR_ENV}`"
            )),
            Self::OtherRelease { .. }
            | Self::WrongSignature { .. }
            | Self::NoSignature { .. }
            | Self::BrokenSignature { .. } => Some(
                "try again; if it stays, something between here and the release changes downloads".to_owned(),
            ),
            Self::Version { .. } => Some(format!(
                "give syncthing {PINNED} with `--syncthing FILE`, or leave that out to fetch it"
            )),
            _ => None,
        }
    }
}
