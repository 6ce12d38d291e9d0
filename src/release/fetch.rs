//! Downloading the pinned release: over HTTPS, with limits on size and time, into a temporary file; verified; placed.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    path::Path,
    time::Duration,
};

use semver::Version;

use super::{
    Error, MIRROR_ENV, PINNED, Platform, ReleaseKey, archive,
    place::{beside, settle},
    signature::VerifyError,
};

const RELEASES: &str = "https://github.com/syncthing/syncthing/releases/download";

/// A release archive has about 12 MB.
const MAX_ARCHIVE: u64 = 128 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Without a byte for this long, the download has failed.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(20 * 60);

/// Where releases come from and who signs them.
#[derive(Debug, Clone)]
pub(crate) struct Mirror {
    base: String,
    key: ReleaseKey,
    client: reqwest::Client,
}

/// Told about a download as it goes on: bytes so far, and in total where the server says so.
pub(crate) trait Progress {
    /// Called after each piece.
    fn advance(&self, done: u64, total: Option<u64>);
}

impl<F: Fn(u64, Option<u64>)> Progress for F {
    fn advance(&self, done: u64, total: Option<u64>) {
        self(done, total);
    }
}

impl Mirror {
    /// GitHub, or what the environment names; the project's key either way.
    pub(crate) fn from_env() -> Result<Self, Error> {
        let base = std::env::var(MIRROR_ENV).ok().filter(|base| !base.is_empty());
        let base = base.unwrap_or_else(|| RELEASES.to_owned());
        Self::new(&base, ReleaseKey::project()?, reqwest::Client::builder())
    }

    fn new(base: &str, key: ReleaseKey, client: reqwest::ClientBuilder) -> Result<Self, Error> {
        let base = base.trim_end_matches('/').to_owned();
        if !base.starts_with("https://") {
            return Err(Error::Mirror { url: base });
        }
        let client = client
            .https_only(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(STALL_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            .user_agent(concat!("kubectl-ksync/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| Error::Download { url: base.clone(), source })?;
        Ok(Self { base, key, client })
    }
}

/// Fetches the pinned release for `platform`, verifies it and puts the program at `place`. On any error, what was at
/// `place` stays and nothing else is left.
pub(crate) async fn install(
    mirror: &Mirror,
    platform: Platform,
    place: &Path,
    progress: &dyn Progress,
) -> Result<Version, Error> {
    let (name, stem) = (platform.archive(PINNED), platform.stem(PINNED));
    let mut packed = download(mirror, &name, progress).await?;
    let program = beside(place)?;
    let key = mirror.key.clone();
    // Unpacking and hashing 30 MB is no work for the runtime's threads.
    let verified = tokio::task::spawn_blocking(move || {
        let mut program = program;
        let signature = archive::unpack(&name, &stem, &mut packed, program.as_file_mut())?;
        program
            .as_file_mut()
            .seek(SeekFrom::Start(0))
            .map_err(|source| Error::Archive { archive: name.clone(), source })?;
        key.verify(&name, program.as_file(), &signature).map_err(|e| match e {
            VerifyError::Broken => Error::BrokenSignature { archive: name.clone() },
            VerifyError::Wrong => Error::WrongSignature { archive: name.clone() },
            VerifyError::Read(source) => Error::Archive { archive: name.clone(), source },
        })?;
        Ok(program)
    });
    let program = verified.await.map_err(|e| Error::Io {
        operation: "unpack the release for",
        path: place.to_owned(),
        source: std::io::Error::other(e),
    })??;
    settle(program, place, place).await
}

async fn download(mirror: &Mirror, name: &str, progress: &dyn Progress) -> Result<File, Error> {
    let url = format!("{}/v{PINNED}/{name}", mirror.base);
    let failed = |source: reqwest::Error| Error::Download { url: url.clone(), source: source.without_url() };
    let mut response = mirror.client.get(&url).send().await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(Error::Status { url, status: response.status().to_string() });
    }
    let total = response.content_length();
    let too_large = Error::TooLarge { what: "the archive", limit: MAX_ARCHIVE };
    if total.is_some_and(|total| total > MAX_ARCHIVE) {
        return Err(too_large);
    }
    let unwritable =
        |source| Error::Io { operation: "write the download to", path: std::env::temp_dir(), source };
    let mut file = tempfile::tempfile().map_err(unwritable)?;
    let mut done = 0;
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        done += piece.len() as u64;
        if done > MAX_ARCHIVE {
            return Err(too_large);
        }
        file.write_all(&piece).map_err(unwritable)?;
        progress.advance(done, total);
    }
    Ok(file)
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
