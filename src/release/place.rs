//! Putting a program in its place: a temporary file beside it that has answered with its version, renamed. And asking
//! the one that is there.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use semver::Version;
use tempfile::NamedTempFile;
use tokio::process::Command;

use super::Error;

/// A program that does not say its version by then is none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The version of the program at `path`; `None` when nothing is there.
pub(crate) async fn installed(path: &Path) -> Result<Option<Version>, Error> {
    match fs::symlink_metadata(path) {
        Ok(_) => version_of(path).await.map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { operation: "look at", path: path.to_owned(), source }),
    }
}

/// Copies a program that the user names to `place`, once it has said that it is a syncthing that we know.
pub(crate) async fn install_file(file: &Path, place: &Path) -> Result<Version, Error> {
    let failed = |operation| move |source| Error::Io { operation, path: file.to_owned(), source };
    let mut from = fs::File::open(file).map_err(failed("open"))?;
    if !from.metadata().map_err(failed("look at"))?.is_file() {
        return Err(Error::NotSyncthing { path: file.to_owned(), reason: "it is not a file".to_owned() });
    }
    let mut temp = beside(place)?;
    io::copy(&mut from, temp.as_file_mut()).map_err(failed("copy"))?;
    settle(temp, file, place).await
}

/// An empty temporary file in the directory of `place`, which is made if it is missing.
pub(super) fn beside(place: &Path) -> Result<NamedTempFile, Error> {
    let dir = place.parent().unwrap_or(Path::new("/"));
    crate::home::make_dir(dir).map_err(|e| Error::Io {
        operation: "use",
        path: dir.to_owned(),
        source: io::Error::other(e),
    })?;
    tempfile::Builder::new().prefix(".ksync.").suffix(".tmp").tempfile_in(dir).map_err(|source| Error::Io {
        operation: "create a file in",
        path: dir.to_owned(),
        source,
    })
}

/// Makes a written temporary file runnable, asks it for its version, and renames it to `place`. `named` is what errors
/// call it.
pub(super) async fn settle(temp: NamedTempFile, named: &Path, place: &Path) -> Result<Version, Error> {
    let failed = |operation| move |source| Error::Io { operation, path: place.to_owned(), source };
    let file = temp.as_file();
    file.set_permissions(fs::Permissions::from_mode(0o755)).map_err(failed("chmod"))?;
    file.sync_all().map_err(failed("write"))?;
    // Closed before it runs: a program that is open for writing can't.
    let path = temp.into_temp_path();
    let version = match version_of(&path).await {
        Err(Error::NotSyncthing { reason, .. }) => {
            return Err(Error::NotSyncthing { path: named.to_owned(), reason });
        }
        other => other?,
    };
    if !supported(&version) {
        return Err(Error::Version { path: named.to_owned(), version });
    }
    path.persist(place).map_err(|e| failed("write")(e.error))?;
    Ok(version)
}

/// Whether ksync can work with this version.
pub(crate) fn supported(version: &Version) -> bool {
    (version.major, version.minor) >= (1, 27) && version.major < 3
}

async fn version_of(path: &Path) -> Result<Version, Error> {
    let not = |reason: String| Error::NotSyncthing { path: path.to_owned(), reason };
    let output = answer(path).await.map_err(|e| not(format!("it does not run ({e})")))?;
    if !output.status.success() {
        return Err(not(format!("`--version` ended with {}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    parse_version(&text).ok_or_else(|| not("it does not say that it is syncthing".to_owned()))
}

async fn answer(path: &Path) -> io::Result<Output> {
    let mut tries = 0;
    loop {
        let mut command = Command::new(path);
        command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        match tokio::time::timeout(ANSWER_TIMEOUT, command.output()).await {
            // A process that another thread is just starting may still hold the file open for writing.
            Ok(Err(e)) if e.kind() == io::ErrorKind::ExecutableFileBusy && tries < 50 => tries += 1,
            Ok(result) => return result,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// From `syncthing v1.30.0 "Gold Grasshopper" (go1.24.4 linux-amd64) ...`.
fn parse_version(text: &str) -> Option<Version> {
    let mut words = text.split_whitespace();
    if words.next() != Some("syncthing") {
        return None;
    }
    Version::parse(words.next()?.strip_prefix('v')?).ok()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::{Error, Version, install_file, installed, parse_version, supported};

    fn script(dir: &Path, says: &str) -> std::path::PathBuf {
        let path = dir.join("given");
        fs::write(&path, format!("#!/bin/sh\necho '{says}'\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    #[test]
    fn versions() {
        let line = "syncthing v1.30.0 \"Gold Grasshopper\" (go1.24.4 linux-amd64) builder@x 2025-06-30";
        assert_eq!(parse_version(line), Some(Version::new(1, 30, 0)));
        assert_eq!(parse_version("syncthing v2.0.10-rc.1 x").map(|v| v.major), Some(2));
        assert_eq!(parse_version("bash v5.0.0"), None);
        for (version, fine) in [("1.26.9", false), ("1.27.0", true), ("2.1.3", true), ("3.0.0", false)] {
            assert_eq!(supported(&Version::parse(version).unwrap()), fine, "{version}");
        }
    }

    #[tokio::test]
    async fn a_users_file_is_taken_when_it_is_syncthing() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("bin/syncthing");
        assert_eq!(installed(&place).await.unwrap(), None);
        for (says, told) in [
            ("hello", "does not say that it is syncthing"),
            ("syncthing v1.20.0 x", "1.27 to 2.x are supported"),
        ] {
            let given = script(dir.path(), says);
            let error = install_file(&given, &place).await.unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("/given"), "{error}");
        }
        assert!(matches!(install_file(&dir.path().join("none"), &place).await, Err(Error::Io { .. })));
        assert!(matches!(install_file(dir.path(), &place).await, Err(Error::NotSyncthing { .. })));
        assert_eq!(fs::read_dir(dir.path().join("bin")).unwrap().count(), 0, "a refused file left something");
        install_file(&script(dir.path(), "syncthing v1.29.7 x"), &place).await.unwrap();
        assert_eq!(installed(&place).await.unwrap(), Some(Version::new(1, 29, 7)));
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o755);
    }
}
