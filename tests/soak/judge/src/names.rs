//! Names with a meaning. The list of what is not synced is written down here a second time, from docs/sync-rules.md: the
//! observer trusts no code of the product.

/// The beginning of a name that a container writes for itself alone, in the root of the tree.
pub const OWN: &str = "own-";

/// Whether a path is a container's own: it may stay there, or come here from the container that becomes two-way.
pub fn is_own(path: &str) -> bool {
    path.starts_with(OWN)
}

/// Whether a path, or a directory that it is in, is not synced.
pub fn is_ignored(path: &str) -> bool {
    path.split('/').any(ignored)
}

fn ignored(name: &str) -> bool {
    let around = |start: &str, end: &str| {
        name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
    };
    let editors = [".swp", ".swo", ".swx", ".kate-swp"].into_iter().any(|end| around(".", end))
        || name == "4913"
        || name.ends_with('~')
        || name.starts_with(".#")
        || around("#", "#")
        || around(".~lock.", "#")
        || name.ends_with("___jb_tmp___")
        || name.ends_with("___jb_old___");
    editors
        || matches!(name, ".git" | "__pycache__" | ".stfolder" | ".stignore" | ".stversions")
        || is_leftover(name)
}

/// Whether a name is of a file that ksync or syncthing makes for a while and that must be gone at the end of a round.
pub fn is_leftover(name: &str) -> bool {
    let around = |start: &str, end: &str| {
        name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
    };
    around(".syncthing.", ".tmp")
        || around("~syncthing~", ".tmp")
        || around(".ksync.", ".tmp")
        || name.contains(".sync-conflict-")
        || name == ".stversions"
        || name == ".stfolder"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_synced() {
        for path in
            [".git/config", "a/.f.swp", "a/f~", "b/__pycache__/x.pyc", "4913", "f___jb_old___", ".stignore"]
        {
            assert!(is_ignored(path), "{path}");
        }
        for path in ["a/git", "swp", "f.tmp", "4913.txt", "#f", "odd # name"] {
            assert!(!is_ignored(path), "{path}");
        }
    }

    #[test]
    fn what_must_be_gone() {
        for name in [".syncthing.f.tmp", ".ksync.x.tmp", "f.sync-conflict-20260101-000000-ABCDEFG.txt"] {
            assert!(is_leftover(name) && is_ignored(name), "{name}");
        }
        assert!(!is_leftover("f.tmp") && !is_leftover(".stignore"));
    }
}
