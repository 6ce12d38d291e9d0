//! Keeping a file of ours out of git, by the repository's own `info/exclude`, which nobody commits.
//!
//! A line that we add stands below one that says so, names the file by its place in the repository, and goes with the
//! file; no other line is touched.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use crate::config::write_whole;

/// The line above each of ours.
const MARK: &str = "# kubectl-ksync adds the next line, and removes it";

/// Keeps `name`, a file in the directory `root`, out of the repository that holds it, if one does. The error comes with
/// what was tried and on which file.
pub(super) fn add(root: &Path, name: &str) -> Result<(), (&'static str, PathBuf, io::Error)> {
    let Some((git, line)) = repository(root, name) else { return Ok(()) };
    let path = git.join("info/exclude");
    let text = read(&path).map_err(|error| ("read", path.clone(), error))?;
    if lines(&text).any(|other| [line.as_bytes(), name.as_bytes()].contains(&other.trim_ascii())) {
        return Ok(());
    }
    let gap = if text.is_empty() || text.ends_with(b"\n") { "" } else { "\n" };
    let write = || {
        fs::create_dir_all(git.join("info"))?;
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all(format!("{gap}{MARK}\n{line}\n").as_bytes())
    };
    write().map_err(|error| ("write", path.clone(), error))
}

/// Takes back what [`add`] has added; what others have written there stays, byte for byte.
pub(super) fn remove(root: &Path, name: &str) -> Result<(), (&'static str, PathBuf, io::Error)> {
    let Some((git, line)) = repository(root, name) else { return Ok(()) };
    let path = git.join("info/exclude");
    let text = read(&path).map_err(|error| ("read", path.clone(), error))?;
    let ours = format!("{MARK}\n{line}\n").into_bytes();
    let starts = |at: &usize| (*at == 0 || text[at - 1] == b'\n') && text[*at..].starts_with(&ours);
    let Some(at) = (0..text.len()).find(starts) else { return Ok(()) };
    let rest = [&text[..at], &text[at + ours.len()..]].concat();
    write_whole(&path, &rest).map_err(|error| ("write", path.clone(), error))
}

/// The `.git` above `root`, and the pattern that means `name` in `root` and nothing else.
fn repository(root: &Path, name: &str) -> Option<(PathBuf, String)> {
    let top = root.ancestors().find(|dir| dir.join(".git").exists())?;
    let git = top.join(".git");
    let below = root.strip_prefix(top).ok()?.join(name);
    // A path that is not UTF-8 can't be a local path. A line break has no other way into a pattern.
    let special = |c| matches!(c, '*' | '?' | '[' | '\\');
    let escaped = below.to_str()?.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c]));
    let pattern = escaped.map(|c| if c == '\n' { '?' } else { c }).collect::<String>();
    // A worktree or submodule has a file `.git`, whose repository is not ours to search for.
    git.is_dir().then(|| (git, format!("/{pattern}")))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::{add, remove};

    #[test]
    fn our_line_comes_and_goes_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (root, other) = (dir.path().join("odd[1] dir"), dir.path().join("other"));
        let exclude = dir.path().join(".git/info/exclude");
        let text = || fs::read(&exclude).unwrap();
        add(&root, ".stignore").unwrap();
        assert!(!exclude.exists(), "no repository");
        fs::create_dir_all(dir.path().join(".git/info")).unwrap();
        for before in [&b""[..], b"# mine\n*.o\n\xff\n", b"# mine\n.stignored\n"] {
            fs::write(&exclude, before).unwrap();
            for _ in 0..2 {
                add(&root, ".stignore").unwrap();
            }
            let first = text();
            assert!(
                first.starts_with(before) && first.ends_with(b"\n/odd\\[1] dir/.stignore\n"),
                "{first:?}"
            );
            add(&other, ".stignore").unwrap();
            assert!(text().len() > first.len());
            remove(&other, ".stignore").unwrap();
            assert_eq!(text(), first);
            fs::write(&exclude, [&first[..], b"after\n"].concat()).unwrap();
            remove(&root, ".stignore").unwrap();
            assert_eq!(text(), [before, b"after\n"].concat());
            remove(&root, ".stignore").unwrap();
            assert_eq!(text(), [before, b"after\n"].concat());
        }
    }

    #[test]
    fn somebody_elses_line_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(".git/info")).unwrap();
        let exclude = dir.path().join(".git/info/exclude");
        for theirs in [".stignore\n", "/.stignore\n", " .stignore \n"] {
            fs::write(&exclude, theirs).unwrap();
            add(dir.path(), ".stignore").unwrap();
            remove(dir.path(), ".stignore").unwrap();
            assert_eq!(fs::read_to_string(&exclude).unwrap(), theirs);
        }
    }

    #[test]
    fn git_understands_the_line() {
        if Command::new("git").arg("--version").output().is_err() {
            return ksync_skip::skipped("no git here");
        }
        let dir = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let mut command = Command::new("git");
            command
                .current_dir(dir.path())
                .args(args)
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env("HOME", dir.path());
            let output = command.output().unwrap();
            assert!(output.status.success(), "{args:?}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        git(&["init", "-q"]);
        let root = dir.path().join("a [b]*? \\c!#");
        fs::create_dir(&root).unwrap();
        fs::write(root.join(".stignore"), "").unwrap();
        let status = || git(&["status", "--porcelain", "-uall"]);
        assert!(status().contains(".stignore"));
        add(&root, ".stignore").unwrap();
        assert_eq!(status(), "");
        fs::write(dir.path().join(".stignore"), "").unwrap();
        assert_eq!(status(), "?? .stignore\n", "that one is not ours");
    }
}
