//! Which versions go together: ours, the watcher's, radar's.

use semver::Version;

/// This program's version.
pub(crate) const OURS: &str = env!("CARGO_PKG_VERSION");

/// Whether two peers understand each other: the same major version, at most one minor version apart.
pub(crate) fn compatible(a: &str, b: &str) -> bool {
    match (Version::parse(a), Version::parse(b)) {
        (Ok(a), Ok(b)) => a.major == b.major && a.minor.abs_diff(b.minor) <= 1,
        _ => false,
    }
}

/// Whether `a` comes after `b`. What can't be read is not one of ours, and older than any of them.
pub(crate) fn is_newer(a: &str, b: &str) -> bool {
    match (Version::parse(a), Version::parse(b)) {
        (Ok(a), Ok(b)) => a > b,
        (Ok(_), Err(_)) => true,
        (Err(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{compatible, is_newer};

    #[test]
    fn one_minor_version_either_way() {
        for theirs in ["0.2.0", "0.3.9", "0.4.0", "0.3.0-rc.1"] {
            assert!(compatible("0.3.1", theirs), "{theirs}");
        }
        for theirs in ["0.1.9", "0.5.0", "1.3.1", "x", ""] {
            assert!(!compatible("0.3.1", theirs), "{theirs}");
        }
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(is_newer("0.10.0", "0.9.9") && is_newer("0.3.1", "0.3.1-rc.1"));
        assert!(!is_newer("0.3.1", "0.3.1") && !is_newer("x", "0.3.1"));
        assert!(is_newer("0.3.1", "x"));
    }
}
