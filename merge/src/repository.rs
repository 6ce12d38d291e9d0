//! What git takes for a repository, by the names in a directory. Whoever runs git there, or a prompt or editor that does, runs
//! what its `config` names (`core.fsmonitor`, hooks).
//!
//! Sources: git 2.39, `is_git_directory` and `get_common_dir` (setup.c); `is_hfs_dotgit` (utf8.c), `is_ntfs_dotgit` (path.c).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::state::{State, is_dir};

/// What HFS+ passes over in a name.
const IGNORABLE: [std::ops::RangeInclusive<char>; 4] =
    ['\u{200c}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{206a}'..='\u{206f}', '\u{feff}'..='\u{feff}'];

/// What a repository consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    Objects,
    Refs,
    /// Stands for the two above: they are elsewhere.
    CommonDir,
}

/// A name as those file systems read it that tell the fewest names apart: case, HFS+'s ignorable characters, NTFS's dots and
/// blanks at the end, and its streams do not count.
fn folded(name: &str) -> String {
    let plain = name.chars().filter(|c| !IGNORABLE.iter().any(|range| range.contains(c)));
    let lower: String = plain.flat_map(char::to_lowercase).collect();
    let stream = lower.split(':').next().unwrap_or_default();
    stream.trim_end_matches([' ', '.']).to_owned()
}

fn part_of(name: &str) -> Option<Part> {
    let first = name.chars().next()?;
    // What most names begin with tells enough of them.
    if first.is_ascii() && !matches!(first.to_ascii_lowercase(), 'h' | 'o' | 'r' | 'c') {
        return None;
    }
    match folded(name).as_str() {
        "head" => Some(Part::Head),
        "objects" => Some(Part::Objects),
        "refs" => Some(Part::Refs),
        "commondir" => Some(Part::CommonDir),
        _ => None,
    }
}

/// Whether git, on some system, takes a file or directory of this name for its own.
fn is_dot_git(name: &str) -> bool {
    matches!(folded(name).as_str(), ".git" | "git~1")
}

/// Paths of what may be a part of a repository, by the directory that it is in.
#[derive(Debug, Default)]
pub(crate) struct Parts(BTreeMap<String, BTreeSet<Arc<str>>>);

impl Parts {
    /// Something stands, or has stood, at `path` on one of the sides.
    pub(crate) fn note(&mut self, path: &Arc<str>) {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        if part_of(name).is_some() {
            self.0.entry(folded_path(dir)).or_default().insert(Arc::clone(path));
        }
    }

    /// The uppermost directory at or above `path` that git takes for a repository, or for a worktree's `.git`; empty where that
    /// is the root. `stands` says what stands at a path, here or in the container.
    pub(crate) fn repository<'p>(
        &self,
        path: &'p str,
        stands: impl Fn(&str) -> [State; 2],
    ) -> Option<&'p str> {
        if self.is_repository("", &stands) {
            return Some("");
        }
        let mut dir = String::new();
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let mut begin = 0;
        for end in ends {
            let name = &path[begin..end];
            if is_dot_git(name) {
                return Some(&path[..end]);
            }
            if !dir.is_empty() {
                dir.push('/');
            }
            dir += &folded(name);
            if self.is_repository(&dir, &stands) {
                return Some(&path[..end]);
            }
            begin = end + 1;
        }
        None
    }

    fn is_repository(&self, folded_dir: &str, stands: impl Fn(&str) -> [State; 2]) -> bool {
        let Some(paths) = self.0.get(folded_dir) else { return false };
        let mut found = Vec::new();
        for path in paths {
            let part = path.rsplit('/').next().and_then(part_of);
            // A link or an executable file will do for each of them but the first.
            let counts = |state: &State| match part {
                Some(Part::Head) => state.is_some() && !is_dir(state),
                _ => state.is_some(),
            };
            if stands(path).iter().any(counts) {
                found.extend(part);
            }
        }
        let has = |part| found.contains(&part);
        has(Part::Head) && (has(Part::CommonDir) || has(Part::Objects) && has(Part::Refs))
    }
}

fn folded_path(path: &str) -> String {
    path.split('/').map(folded).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ksync_tree::{Entry, Kind};

    use super::{Parts, is_dot_git};

    fn entry(path: &str) -> Arc<Entry> {
        let kind = if path.ends_with('/') { Kind::Dir } else { Kind::File };
        Arc::new(Entry {
            path: path.trim_end_matches('/').to_owned(),
            kind,
            size: 0,
            mtime_ns: 0,
            mode: 0o755,
            hash: None,
            target: None,
        })
    }

    /// What is found at `path` where these stand; a directory's name ends with `/`.
    fn repository(standing: &[&str], path: &str) -> Option<String> {
        let entries: Vec<Arc<Entry>> = standing.iter().map(|path| entry(path)).collect();
        let mut parts = Parts::default();
        for entry in &entries {
            parts.note(&Arc::from(entry.path.as_str()));
        }
        let stands = |path: &str| [entries.iter().find(|entry| entry.path == path).cloned(), None];
        parts.repository(path, stands).map(str::to_owned)
    }

    #[test]
    fn a_repository_is_what_git_takes_for_one() {
        let bare = ["r/HEAD", "r/objects/", "r/refs/"];
        for path in ["r", "r/HEAD", "r/config", "r/hooks/post-checkout"] {
            assert_eq!(repository(&bare, path).as_deref(), Some("r"), "{path}");
        }
        for path in ["rr", "r2/config", "a", "HEAD"] {
            assert_eq!(repository(&bare, path), None, "{path}");
        }
        // Tried with git 2.39: an executable file will do, and what is elsewhere.
        assert!(repository(&["r/HEAD", "r/objects", "r/refs"], "r/x").is_some());
        assert!(repository(&["r/HEAD", "r/commondir"], "r/x").is_some());
        for some in
            [&["r/HEAD", "r/objects/"][..], &["r/objects/", "r/refs/"], &["r/HEAD/", "r/objects/", "r/refs/"]]
        {
            assert_eq!(repository(some, "r/x"), None, "{some:?}");
        }
        assert_eq!(repository(&["HEAD", "objects/", "refs/"], "any/where").as_deref(), Some(""));
        let nested = ["a/b/HEAD", "a/b/objects/", "a/b/refs/"];
        assert_eq!(repository(&nested, "a/b/c/d").as_deref(), Some("a/b"));
        assert_eq!(repository(&nested, "a/c"), None);
    }

    #[test]
    fn names_count_as_the_least_exact_file_system_reads_them() {
        let odd = ["R/head", "r/OBJECTS. ", "r/re\u{200c}fs/"];
        assert_eq!(repository(&odd, "r/config").as_deref(), Some("r"));
        for name in
            [".git", ".GIT", ".Git.", ".git ", "git~1", "GIT~1", ".gi\u{200c}t", ".git::$INDEX_ALLOCATION"]
        {
            assert!(is_dot_git(name), "{name:?}");
            assert_eq!(repository(&[], &format!("a/{name}/config")).as_deref(), Some(&*format!("a/{name}")));
        }
        for name in [".gitignore", "git", ".gitmodules", "x.git", ".github", "git~2"] {
            assert!(!is_dot_git(name), "{name:?}");
        }
    }
}
