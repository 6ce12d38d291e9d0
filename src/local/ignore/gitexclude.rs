//! What kept a file of ours out of git, in the repository's own `info/exclude`, goes with the file.
//!
//! A line that an earlier version has added stands below one that says so, and names the file by its place in the repository;
//! no other line is touched. The worktrees of a repository have one such file, and a line in it counts for all.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::home::write_whole;

/// The line above each of ours.
const MARK: &str = "# kubectl-ksync adds the next line, and removes it";

/// Takes back the line of `name`, a file in the directory `root`; what others have written stays, byte for byte. The error
/// comes with what was tried and on which file.
pub(super) fn remove(root: &Path, name: &str) -> Result<(), (&'static str, PathBuf, io::Error)> {
    let Some(Repository { git, top, below, line }) = repository(root, name) else { return Ok(()) };
    let path = git.join("info/exclude");
    let text = read(&path).map_err(|error| ("read", path.clone(), error))?;
    if worktrees(&git).any(|other| !is_same(&other, &top) && other.join(&below).exists()) {
        return Ok(());
    }
    let ours = format!("{MARK}\n{line}\n").into_bytes();
    let starts = |at: &usize| (*at == 0 || text[at - 1] == b'\n') && text[*at..].starts_with(&ours);
    let Some(at) = (0..text.len()).find(starts) else { return Ok(()) };
    let rest = [&text[..at], &text[at + ours.len()..]].concat();
    write_whole(&path, &rest).map_err(|error| ("write", path.clone(), error))
}

/// The repository that holds a file.
struct Repository {
    /// Where its `info/exclude` is.
    git: PathBuf,
    /// The top of its worktree.
    top: PathBuf,
    /// The file's place in the worktree.
    below: PathBuf,
    /// The pattern that means this place and nothing else.
    line: String,
}

/// The repository above `root`, and the place of the file `name` in `root`.
fn repository(root: &Path, name: &str) -> Option<Repository> {
    let top = root.ancestors().find(|dir| dir.join(".git").exists())?.to_owned();
    let git = git_dir(&top)?;
    let below = root.strip_prefix(&top).ok()?.join(name);
    // A path that is not UTF-8 can't be a local path. A line break has no other way into a pattern.
    let special = |c| matches!(c, '*' | '?' | '[' | '\\');
    let escaped = below.to_str()?.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c]));
    let pattern = escaped.map(|c| if c == '\n' { '?' } else { c }).collect::<String>();
    Some(Repository { git, top, line: format!("/{pattern}"), below })
}

/// The directory with the `info/exclude` that counts in the worktree at `top`. In a submodule and in a further worktree
/// `.git` is a file that names the directory, and a worktree's names the one that all worktrees share. Source:
/// gitrepository-layout(5).
fn git_dir(top: &Path) -> Option<PathBuf> {
    let git = top.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = String::from_utf8(read(&git).ok()?).ok()?;
    let own = top.join(text.strip_prefix("gitdir:")?.trim());
    let shared = match read(&own.join("commondir")).map(String::from_utf8) {
        Ok(Ok(text)) if !text.is_empty() => own.join(text.trim()),
        _ => own,
    };
    // What is no repository is nobody's to write into. It is named by way of the worktree's own: `../..`.
    shared.join("HEAD").is_file().then(|| fs::canonicalize(&shared).ok()).flatten()
}

/// The tops of all worktrees of a repository.
fn worktrees(git: &Path) -> impl Iterator<Item = PathBuf> {
    let further = fs::read_dir(git.join("worktrees")).into_iter().flatten().filter_map(|entry| {
        let entry = entry.ok()?;
        let text = fs::read_to_string(entry.path().join("gitdir")).ok()?;
        Some(entry.path().join(text.trim()).parent()?.to_owned())
    });
    git.parent().map(Path::to_owned).into_iter().chain(further)
}

fn is_same(one: &Path, two: &Path) -> bool {
    one == two || matches!((fs::canonicalize(one), fs::canonicalize(two)), (Ok(one), Ok(two)) if one == two)
}

/// What is no file is not read: it need not end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    match fs::metadata(path).and_then(|meta| if meta.is_file() { fs::read(path) } else { Ok(Vec::new()) }) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, path::Path, process::Command};

    use super::{MARK, Repository, read, remove, repository};

    /// What earlier versions did: keeps `name`, a file in the directory `root`, out of the repository that holds it.
    fn add(root: &Path, name: &str) -> std::io::Result<()> {
        let Some(Repository { git, line, .. }) = repository(root, name) else { return Ok(()) };
        let path = git.join("info/exclude");
        let text = read(&path)?;
        if lines(&text).any(|other| [line.as_bytes(), name.as_bytes()].contains(&other.trim_ascii())) {
            return Ok(());
        }
        let gap = if text.is_empty() || text.ends_with(b"\n") { "" } else { "\n" };
        fs::create_dir_all(git.join("info"))?;
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all(format!("{gap}{MARK}\n{line}\n").as_bytes())
    }

    fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
        text.split(|byte| *byte == b'\n')
    }

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

    /// In a shared directory anybody can be the first to make a `.git`.
    #[test]
    fn nothing_is_written_by_way_of_another_user() {
        if rustix::process::geteuid().as_raw() != 0 {
            return ksync_skip::skipped("only root can make another user's files");
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let text = format!("mine\n{MARK}\n/.stignore\n");
        fs::write(at("victim"), &text).unwrap();
        fs::create_dir_all(at(".git/info")).unwrap();
        std::os::unix::fs::symlink("../../victim", at(".git/info/exclude")).unwrap();
        std::os::unix::fs::lchown(at(".git/info/exclude"), Some(1234), None).unwrap();
        let (operation, _, error) = remove(dir.path(), ".stignore").unwrap_err();
        assert!(
            operation == "write" && error.to_string().contains("belongs to another user (1234)"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(at("victim")).unwrap(), text);
        // What does not end is not read.
        fs::remove_file(at(".git/info/exclude")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at(".git/info/exclude")).unwrap();
        remove(dir.path(), ".stignore").unwrap();
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

    fn has_git() -> bool {
        Command::new("git").arg("--version").output().is_ok()
    }

    fn git_in(dir: &Path, args: &[&str]) -> String {
        let mut command = Command::new("git");
        let command = command.current_dir(dir).args(args).env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", dir);
        let who = [("NAME", "a"), ("EMAIL", "a@example.com")];
        for (key, value) in who {
            command.env(format!("GIT_AUTHOR_{key}"), value).env(format!("GIT_COMMITTER_{key}"), value);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn worktrees_and_submodules_have_their_line_too() {
        if !has_git() {
            return ksync_skip::skipped("no git here");
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let status = |name: &str| git_in(&at(name), &["status", "--porcelain", "-uall"]);
        for repository in ["main", "library"] {
            fs::create_dir(at(repository)).unwrap();
            git_in(&at(repository), &["init", "-q"]);
            git_in(&at(repository), &["commit", "-q", "--allow-empty", "-m", "first"]);
        }
        git_in(&at("main"), &["worktree", "add", "-q", "../second"]);
        let library = at("library").display().to_string();
        let add_module =
            ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &library, "module"];
        git_in(&at("main"), &add_module);
        git_in(&at("main"), &["commit", "-q", "-m", "second"]);
        let trees = ["main", "second", "main/module"];
        for tree in trees {
            fs::write(at(tree).join(".stignore"), "").unwrap();
            assert!(status(tree).contains("?? .stignore\n"), "{tree}");
        }
        for tree in trees {
            add(&at(tree), ".stignore").unwrap();
        }
        for tree in trees {
            assert_eq!(status(tree), "", "{tree}");
        }
        // The line of the one is that of the other.
        for (gone, left) in [("main", "second"), ("second", "main")] {
            fs::remove_file(at(gone).join(".stignore")).unwrap();
            remove(&at(gone), ".stignore").unwrap();
            assert_eq!(status(left), "", "{left}");
            fs::write(at(gone).join(".stignore"), "").unwrap();
        }
        for tree in trees {
            fs::remove_file(at(tree).join(".stignore")).unwrap();
        }
        for tree in trees {
            remove(&at(tree), ".stignore").unwrap();
            fs::write(at(tree).join(".stignore"), "").unwrap();
            assert_eq!(status(tree), "?? .stignore\n", "{tree}: nothing of ours is left");
            fs::remove_file(at(tree).join(".stignore")).unwrap();
        }
    }

    #[test]
    fn git_understands_the_line() {
        if !has_git() {
            return ksync_skip::skipped("no git here");
        }
        let dir = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| git_in(dir.path(), args);
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
