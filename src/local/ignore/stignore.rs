//! The one file that ksync writes into a user's tree: `.stignore`, where syncthing reads its patterns from.
//!
//! It is ours only if its first line says so. Somebody else's is used as it stands and never changed. Ours
//! is kept out of git by the repository's own `info/exclude` and is removed with the last spec of the path.

use std::{
    collections::BTreeSet,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use ksync_tree::Ignore;

use super::gitexclude;

/// The file's name, in the root of a folder.
const NAME: &str = ".stignore";

/// What git keeps there names programs that it runs (hooks, `core.fsmonitor`), so it is synced only where a person says so.
const GIT: &str = ".git";

/// Why the patterns can't be put in place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file could not be read or written.
    #[error("{operation} `{path}`")]
    Io {
        /// read, write, remove.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Somebody else's patterns leave in what must stay out.
    #[error("`{below}` is mounted into the container and can't be synced: add `/{below}` to `{path}`")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The path that must be named there.
        below: String,
    },
    /// Somebody else's patterns let in what runs programs here.
    #[error(
        "`{path}` lets `{GIT}` through, and who writes there has programs run here: put `{GIT}` first in it, or `!{GIT}` if \
         the containers are to have it"
    )]
    Git {
        /// The file.
        path: PathBuf,
    },
    /// A pattern is not understood.
    #[error("the patterns of `{path}`")]
    Pattern {
        /// Where they stand.
        path: PathBuf,
        /// Which, and why.
        source: ksync_tree::Error,
    },
}

/// Puts the patterns of a folder in place and returns them as they will be applied. `excluded` are paths that
/// are not the container's own files (mounts), whatever the patterns say.
pub(in crate::local) fn install(
    root: &Path,
    patterns: &[String],
    excluded: &BTreeSet<String>,
) -> Result<Ignore, Error> {
    let path = root.join(NAME);
    let found = match fs::read_to_string(&path) {
        Ok(text) if is_ours(&text) => None,
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(Error::Io { operation: "read", path, source }),
    };
    if let Some(text) = found {
        let ignore = foreign(&path, &text)?;
        return match excluded.iter().find(|below| !ignore.matches(below)) {
            Some(below) => Err(Error::Missing { path, below: below.clone() }),
            None => Ok(ignore),
        };
    }
    let bad = |source| Error::Pattern { path: path.clone(), source };
    let ignore = with_mounts(patterns, excluded).map_err(bad)?;
    let text = ignore.to_stignore();
    let written = tempfile::Builder::new()
        .prefix(ksync_tree::TEMP_PREFIX)
        .suffix(ksync_tree::TEMP_SUFFIX)
        .tempfile_in(root)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.persist(&path).map_err(|error| error.error)
        });
    written.map_err(|source| Error::Io { operation: "write", path: path.clone(), source })?;
    gitexclude::add(root, NAME).map_err(failed)?;
    Ok(ignore)
}

/// The patterns of a folder as they are applied: those of the specs, or somebody else's, who has a file of them in the local
/// path. One that an earlier version has left there is removed.
pub(in crate::local) fn in_force(root: &Path, patterns: &[String]) -> Result<Ignore, Error> {
    let path = root.join(NAME);
    match fs::read_to_string(&path) {
        Ok(text) if !is_ours(&text) => return foreign(&path, &text),
        Ok(_) => remove(root)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(Error::Io { operation: "read", path, source }),
    }
    with_mounts(patterns, &BTreeSet::new()).map_err(|source| Error::Pattern { path, source })
}

/// Somebody else's patterns, which the file at `path` holds as `text`.
pub(crate) fn foreign(path: &Path, text: &str) -> Result<Ignore, Error> {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let ignore = Ignore::new(&lines).map_err(|source| Error::Pattern { path: path.to_owned(), source })?;
    if ignore.leaves_out_everywhere(GIT) || is_meant(&lines) {
        return Ok(ignore);
    }
    Err(Error::Git { path: path.to_owned() })
}

/// Whether a person has said that git's directory, or something in it, is to be synced.
fn is_meant(patterns: &[String]) -> bool {
    let of = |pattern: &String| {
        let named = pattern.trim().strip_prefix('!')?.trim_start_matches('/').strip_prefix(GIT)?;
        (named.is_empty() || named.starts_with('/')).then_some(())
    };
    patterns.iter().any(|pattern| of(pattern).is_some())
}

/// What the file says; none when it can't be read.
pub(super) fn read(root: &Path) -> Option<String> {
    fs::read_to_string(root.join(NAME)).ok()
}

/// Whether a file that says `text` is as it should be: ours as it was written, or somebody else's.
pub(super) fn is_right(text: &str, patterns: &[String], excluded: &BTreeSet<String>) -> bool {
    if !is_ours(text) {
        return foreign(Path::new(NAME), text).is_ok();
    }
    with_mounts(patterns, excluded).is_ok_and(|ignore| ignore.to_stignore() == text)
}

/// The patterns of the specs, the defaults, and `excluded`.
fn with_mounts(patterns: &[String], excluded: &BTreeSet<String>) -> Result<Ignore, ksync_tree::Error> {
    let mounts = excluded.iter().map(|below| ksync_tree::pattern_of(below));
    // Before what the specs take back in, which may be anywhere.
    let git = (!is_meant(patterns)).then(|| GIT.to_owned());
    let all: Vec<String> = mounts.chain(git).chain(patterns.iter().cloned()).collect();
    Ignore::with_defaults(&all)
}

/// Removes the file if it is ours, and what keeps it out of git.
pub(crate) fn remove(root: &Path) -> Result<(), Error> {
    use io::ErrorKind::{NotADirectory, NotFound};
    let path = root.join(NAME);
    let header = ksync_tree::STIGNORE_HEADER.as_bytes();
    match fs::read(&path) {
        Ok(text) if text.split(|byte| *byte == b'\n').next() == Some(header) => {
            fs::remove_file(&path).map_err(|source| Error::Io { operation: "remove", path, source })?;
        }
        Ok(_) => {}
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => {}
        Err(source) => return Err(Error::Io { operation: "read", path, source }),
    }
    gitexclude::remove(root, NAME).map_err(failed)
}

fn failed((operation, path, source): (&'static str, PathBuf, io::Error)) -> Error {
    Error::Io { operation, path, source }
}

fn is_ours(text: &str) -> bool {
    text.lines().next() == Some(ksync_tree::STIGNORE_HEADER)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::{install, is_right, read, remove};

    fn is_in_place(root: &Path, patterns: &[String], excluded: &BTreeSet<String>) -> bool {
        read(root).is_some_and(|text| is_right(&text, patterns, excluded))
    }

    #[test]
    fn ours_comes_and_goes_and_stays_out_of_git() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(".git/info")).unwrap();
        fs::write(dir.path().join(".git/info/exclude"), "# mine").unwrap();
        let ignore = install(dir.path(), &["*.log".to_owned()], &BTreeSet::new()).unwrap();
        assert!(ignore.matches("a/x.log") && ignore.matches(".git"));
        let ignore = install(dir.path(), &["!config".to_owned()], &BTreeSet::new()).unwrap();
        assert!(!ignore.matches("a/config") && ignore.matches(".git/config"));
        let ignore = install(dir.path(), &["!.git".to_owned()], &BTreeSet::new()).unwrap();
        assert!(!ignore.matches(".git/config"));
        let mounts = BTreeSet::from(["conf".to_owned(), "odd[1]*".to_owned()]);
        let ignore = install(dir.path(), &[], &mounts).unwrap();
        assert!(ignore.matches("conf/x") && ignore.matches("odd[1]*"));
        assert!(!ignore.matches("sub/conf") && !ignore.matches("odd1x"));
        assert!(is_in_place(dir.path(), &[], &mounts) && !is_in_place(dir.path(), &[], &BTreeSet::new()));
        // Edited by somebody, it is not what it should be; removed, neither.
        let text = fs::read_to_string(dir.path().join(".stignore")).unwrap();
        fs::write(dir.path().join(".stignore"), text.replace(".git", "")).unwrap();
        assert!(!is_in_place(dir.path(), &[], &mounts));
        fs::remove_file(dir.path().join(".stignore")).unwrap();
        assert!(!is_in_place(dir.path(), &[], &mounts));
        install(dir.path(), &[], &mounts).unwrap();
        let exclude = || fs::read_to_string(dir.path().join(".git/info/exclude")).unwrap();
        assert!(exclude().starts_with("# mine\n#") && exclude().ends_with("\n/.stignore\n"), "{}", exclude());
        remove(dir.path()).unwrap();
        assert_eq!(exclude(), "# mine\n");
        assert!(!dir.path().join(".stignore").exists());
    }

    #[test]
    fn somebody_elses_lets_git_in_only_on_purpose() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".stignore");
        for (text, right) in [
            ("*.log\n", false),
            ("/.git\n", false),
            ("/.git\n/any\n", false),
            ("!config\n.git\n", false),
            ("!/src\n*\n", false),
            ("!/.git/keep\n*.log\n", true),
            (".git\n", true),
            ("!.git\n*.log\n", true),
            ("*\n", true),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(is_in_place(dir.path(), &[], &BTreeSet::new()), right, "{text}");
            let installed = install(dir.path(), &[], &BTreeSet::new());
            assert_eq!(installed.is_ok(), right, "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn somebody_elses_is_used_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".stignore"), "secret\n.git\n").unwrap();
        let ignore = install(dir.path(), &[], &BTreeSet::new()).unwrap();
        assert!(ignore.matches("secret") && is_in_place(dir.path(), &[], &BTreeSet::new()));
        let refused = install(dir.path(), &[], &BTreeSet::from(["conf".to_owned()]));
        assert!(refused.unwrap_err().to_string().contains("add `/conf`"));
        remove(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(".stignore")).unwrap(), "secret\n.git\n");
        let not_text = format!("\u{fffd}\n{}\n", ksync_tree::STIGNORE_HEADER);
        for text in [not_text.as_bytes(), b"\xff\n"] {
            fs::write(dir.path().join(".stignore"), text).unwrap();
            remove(dir.path()).unwrap();
            assert_eq!(fs::read(dir.path().join(".stignore")).unwrap(), text);
        }
        remove(&dir.path().join("none")).unwrap();
        remove(&dir.path().join(".stignore")).unwrap();
    }
}
