//! Which of the files that an attach changes in a container count as edits for its app, which is reloaded for them. Pure.

use ksync_tree::{DifferenceKind, Entry, Kind};

use super::plan::{Plan, by_path, unchanged};

/// The files and symlinks whose content the plan changes over there, or that it removes. Where the local one is the very one
/// that is `known` to have been there, it is the container that has changed its copy since: that is undone, and no news.
pub(super) fn of(plan: &Plan, here: &[Entry], there: &[Entry], known: Option<&[Entry]>) -> Vec<String> {
    let (here, there, known) = (by_path(here), by_path(there), by_path(known.unwrap_or_default()));
    let sent = plan.send.iter().filter(|path| {
        let (ours, theirs) = (here.get(path.as_str()), there.get(path.as_str()));
        let Some(ours) = ours.filter(|ours| ours.kind != Kind::Dir) else { return false };
        let content = theirs.is_none_or(|theirs| {
            matches!(ours.difference(theirs), Some(DifferenceKind::Kind | DifferenceKind::Content))
        });
        content && !unchanged(Some(ours), known.get(path.as_str()).copied())
    });
    let removed =
        plan.remove.iter().filter(|path| there.get(path.as_str()).is_some_and(|gone| gone.kind != Kind::Dir));
    sent.chain(removed).cloned().collect()
}

#[cfg(test)]
mod tests {
    use ksync_tree::{Entry, Kind};

    use super::of;
    use crate::folder::plan::Plan;

    fn entry(path: &str, kind: Kind, content: u8) -> Entry {
        Entry {
            path: path.into(),
            kind,
            size: 1,
            mtime_ns: i64::from(content),
            mode: 0o644,
            hash: (kind == Kind::File).then_some([content; 32]),
            target: None,
        }
    }

    #[test]
    fn content_is_news_and_what_the_container_has_changed_itself_is_not() {
        let file = |path: &str, content| entry(path, Kind::File, content);
        let here = [
            file("edited", 2),
            file("new", 2),
            Entry { mtime_ns: 9, mode: 0o755, ..file("touched", 1) },
            file("own", 1),
            entry("dir", Kind::Dir, 0),
        ];
        let there = [
            file("edited", 1),
            file("touched", 1),
            file("own", 7),
            file("old", 1),
            entry("gone", Kind::Dir, 0),
        ];
        let paths = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect::<Vec<_>>();
        let plan = Plan {
            send: paths(&["edited", "new", "touched", "own", "dir"]),
            remove: paths(&["old", "gone"]),
            ..Plan::default()
        };
        let known = [file("edited", 1), file("own", 1)];
        assert_eq!(of(&plan, &here, &there, Some(&known)), ["edited", "new", "old"]);
        assert_eq!(of(&plan, &here, &there, None), ["edited", "new", "own", "old"], "a fresh container's");
        // Whose file was lost there as well.
        assert_eq!(of(&plan, &here, &there[..2], Some(&known)), ["edited", "new"]);
    }
}
