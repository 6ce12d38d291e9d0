//! `.stignore` in a local path: somebody else's is in force as it stands and never changed; ours, by its first line, was left
//! there by an earlier version and is removed, with what keeps it out of git.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ksync_tree::Ignore;

use super::gitexclude;

/// The file's name, in the root of a folder.
const NAME: &str = ".stignore";

/// What git keeps there names programs that it runs (hooks, `core.fsmonitor`), so it is synced only where a person says so.
const GIT: &str = ".git";
/// The same on a disk that does not tell case apart.
const GIT_PATTERN: &str = ".[gG][iI][tT]";

/// Why the patterns can't be put in place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file could not be read or written.
    #[error("{operation} `{path}`")]
    Io {
        /// read, remove, write.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
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
    // Before what the specs take back in, which may be anywhere.
    let git = (!is_meant(patterns)).then(|| GIT_PATTERN.to_owned());
    let all: Vec<String> = git.into_iter().chain(patterns.iter().cloned()).collect();
    Ignore::with_defaults(&all).map_err(|source| Error::Pattern { path, source })
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
    use std::fs;

    use super::{in_force, remove};

    #[test]
    fn git_stays_out_unless_it_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let matches = |patterns: &[&str], path: &str| {
            let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
            in_force(dir.path(), &patterns).unwrap().matches(path)
        };
        assert!(matches(&["*.log"], "a/x.log") && matches(&["*.log"], ".git"));
        assert!(matches(&["!config"], "a/.Git/config"));
        assert!(!matches(&["!config"], "a/config") && matches(&["!config"], ".git/config"));
        assert!(!matches(&["!.git"], ".git/config"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is written");
    }

    #[test]
    fn what_an_earlier_version_left_goes() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(".git/info")).unwrap();
        let exclude = dir.path().join(".git/info/exclude");
        let left = "# mine\n# kubectl-ksync adds the next line, and removes it\n/.stignore\nafter\n";
        fs::write(&exclude, left).unwrap();
        let path = dir.path().join(".stignore");
        fs::write(&path, format!("{}\n.git\nold\n", ksync_tree::STIGNORE_HEADER)).unwrap();
        let ignore = in_force(dir.path(), &["new".to_owned()]).unwrap();
        assert!(ignore.matches("new") && !ignore.matches("old"));
        assert_eq!(fs::read_to_string(&exclude).unwrap(), "# mine\nafter\n");
        assert!(!path.exists());
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
            assert_eq!(in_force(dir.path(), &[]).is_ok(), right, "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn somebody_elses_is_used_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".stignore"), "secret\n.git\n").unwrap();
        assert!(in_force(dir.path(), &[]).unwrap().matches("secret"));
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
