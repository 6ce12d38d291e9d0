//! What of a container does not come here unasked, in words.

use ksync_engine::{Named, Unasked};

use crate::printer::size;

/// What it is, as a part of a sentence.
pub(crate) fn phrase(asked: &Unasked) -> String {
    let Unasked { repositories, links, large, in_all, kept, .. } = asked;
    let repository =
        |dir: &str| if dir.is_empty() { "the directory itself".to_owned() } else { format!("`{dir}`") };
    let quoted = |name: &str| format!("`{name}`");
    let parts = [
        part(
            repositories,
            "directory that git takes for a repository",
            "directories that git takes for repositories",
            repository,
        ),
        part(
            links,
            "symlink that leads out of the directory",
            "symlinks that lead out of the directory",
            quoted,
        ),
        part(large, "file over `max-file`", "files over `max-file`", quoted),
        part(
            in_all,
            "file with which more than `max-pull` would come within an hour",
            "files with which more than `max-pull` would come within an hour",
            quoted,
        ),
        part(
            kept,
            "replaced file that is too large to be kept unasked",
            "replaced files that are too large to be kept unasked",
            quoted,
        ),
    ];
    let what = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if asked.bytes > 0 { format!("{what}; {} in all", size(asked.bytes)) } else { what }
}

/// How many of what, and which; none where there are none.
fn part(named: &Named, one: &str, many: &str, shown: impl Fn(&str) -> String) -> Option<String> {
    match named.count {
        0 => None,
        1 => Some(format!("1 {one} ({})", shown(&named.first))),
        2 => Some(format!("2 {many} ({} and 1 more)", shown(&named.first))),
        count => Some(format!("{count} {many} ({} and {} more)", shown(&named.first), count - 1)),
    }
}

#[cfg(test)]
mod tests {
    use ksync_engine::{Named, Unasked};

    use super::phrase;

    #[test]
    fn what_waits_is_named_by_kind() {
        let named = |count, first: &str| Named { count, first: first.to_owned() };
        let asked = Unasked {
            repositories: named(1, "vendor/r"),
            links: named(3, ".venv/bin/python -> /usr/bin/python3"),
            large: named(1, "core"),
            bytes: 3_000_000_000,
            ..Unasked::default()
        };
        assert_eq!(
            phrase(&asked),
            "1 directory that git takes for a repository (`vendor/r`), 3 symlinks that lead out of the directory \
             (`.venv/bin/python -> /usr/bin/python3` and 2 more), 1 file over `max-file` (`core`); 3.0 GB in all"
        );
        let root = Unasked { repositories: named(1, ""), ..Unasked::default() };
        assert_eq!(phrase(&root), "1 directory that git takes for a repository (the directory itself)");
    }
}
