//! What a path inside a tree may look like, and the order in which paths are listed.

use crate::error::Error;
use std::cmp::Ordering;

/// Longest accepted path in bytes; what Linux takes in one call.
pub(crate) const MAX_PATH: usize = 4095;

/// Deepest accepted nesting; one open directory is held for each level of a walk.
pub(crate) const MAX_DEPTH: usize = 200;

/// Checks a relative path and returns its components, at least one.
pub(crate) fn components(path: &str) -> Result<Vec<&str>, Error> {
    let bad = |reason| Error::BadPath { path: path.to_owned(), reason };
    if path.is_empty() {
        return Err(bad("it is empty"));
    }
    if path.starts_with('/') {
        return Err(bad("it is absolute"));
    }
    if path.len() > MAX_PATH {
        return Err(bad("it is too long"));
    }
    if path.contains('\0') {
        return Err(bad("it contains a NUL"));
    }
    let components: Vec<&str> = path.split('/').collect();
    if components.len() > MAX_DEPTH {
        return Err(bad("it is nested too deep"));
    }
    for component in &components {
        match *component {
            "" => return Err(bad("it has an empty component")),
            "." | ".." => return Err(bad("it has a `.` or `..` component")),
            _ => {}
        }
    }
    Ok(components)
}

/// The order of listings: by component, so a directory is followed by all that is below it.
/// (`a`, `a/b`, `a-b`; a plain string comparison would give `a`, `a-b`, `a/b`.)
pub fn compare(a: &str, b: &str) -> Ordering {
    a.split('/').cmp(b.split('/'))
}

/// What of `path` is below `base`, by whole names; empty for `base` itself, none for what is elsewhere. Both are relative,
/// or both absolute; everything is below the root, `/`.
pub fn below<'p>(base: &str, path: &'p str) -> Option<&'p str> {
    let rest = path.strip_prefix(base.trim_end_matches('/'))?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

/// Whether `path` is `above` or lies below it.
pub fn covers(above: &str, path: &str) -> bool {
    below(above, path).is_some()
}

/// Whether `path` lies below `above`, and is not `above` itself.
pub fn is_below(above: &str, path: &str) -> bool {
    below(above, path).is_some_and(|rest| !rest.is_empty())
}

/// `prefix/name`, or `name` at the root.
pub(crate) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attacks_are_refused() {
        for path in ["", "/", "/etc/passwd", "..", "a/../b", "./a", "a//b", "a/", "a/.", "a\0b", "../../x"] {
            assert!(components(path).is_err(), "{path:?} was accepted");
        }
        assert!(components(&"a/".repeat(300)).is_err());
        assert_eq!(components("a/..b/c..").unwrap(), ["a", "..b", "c.."]);
    }

    #[test]
    fn order_keeps_a_directory_together() {
        let mut paths = ["a-b", "a/b", "a", "a.c", "a/b/c"];
        paths.sort_by(|a, b| compare(a, b));
        assert_eq!(paths, ["a", "a/b", "a/b/c", "a-b", "a.c"]);
    }

    #[test]
    fn below_respects_names() {
        assert_eq!(below("/", "/a"), Some("a"));
        assert_eq!(below("/code", "/code"), Some(""));
        assert_eq!(below("/code", "/codex"), None);
        assert_eq!(below("a", "a/b"), Some("b"));
    }

    #[test]
    fn covering_respects_names() {
        assert!(covers("a", "a") && covers("a", "a/b") && !covers("a", "ab") && !covers("a/b", "a"));
    }
}
