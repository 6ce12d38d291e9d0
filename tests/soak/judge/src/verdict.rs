//! The verdict on a round.

use std::fmt;

use crate::{
    conflict,
    history::{Content, Micros, Round, Side, State},
    last_word, lost,
    names::is_leftover,
    standing::is_loose,
    story::story,
    trees::differences,
    watching,
};

/// So many paths of a violation have their history told.
const TOLD: usize = 3;
/// So many of them are named.
const NAMED: usize = 12;

/// What can be wrong with a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Both sides differ when they should be equal.
    Unequal,
    /// Both sides became equal, too late.
    Slow,
    /// Both sides are equal, and `get` does not say `watching`.
    Status,
    /// `get` said `watching` while a write of earlier differed.
    FalseWatching,
    /// What somebody wrote is nowhere.
    Lost,
    /// What one side alone did does not stand.
    Undone,
    /// A file that one side alone touched is a conflict.
    InventedConflict,
    /// A file that ksync makes for a while is still there.
    Leftover,
    /// A command failed, or did not end.
    Hung,
    /// The test's own cluster did not come back.
    Bed,
}

impl Kind {
    /// In a table.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unequal => "unequal",
            Self::Slow => "slow",
            Self::Status => "status",
            Self::FalseWatching => "false watching",
            Self::Lost => "lost",
            Self::Undone => "undone",
            Self::InventedConflict => "invented conflict",
            Self::Leftover => "left behind",
            Self::Hung => "hung",
            Self::Bed => "bed",
        }
    }
}

/// A violation, in words that a fault can be understood from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub kind: Kind,
    /// Of what.
    pub paths: Vec<String>,
    /// How it came.
    pub words: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.word(), self.words)
    }
}

impl From<String> for Violation {
    /// What did not work.
    fn from(words: String) -> Self {
        Self::of(Kind::Hung, words)
    }
}

impl Violation {
    /// One that no path tells of.
    pub fn of(kind: Kind, words: impl Into<String>) -> Self {
        Self { kind, paths: Vec::new(), words: words.into() }
    }
}

/// All that is wrong with a round that began at `start`.
pub fn judge(round: &Round, start: Micros) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut add = |kind: Kind, what: String, paths: Vec<String>| {
        if paths.is_empty() {
            return;
        }
        let mut words = format!("{what}: {}", named(&paths));
        for path in paths.iter().take(TOLD) {
            words += &[format!("\n  `{path}`")]
                .into_iter()
                .chain(story(round, path, start))
                .collect::<Vec<_>>()
                .join("\n    ");
        }
        violations.push(Violation { kind, paths, words });
    };
    for (id, tree) in &round.end.containers {
        let mut paths = differences(&round.end.local, tree);
        paths.retain(|path| !is_loose(round, id, path));
        add(Kind::Unequal, format!("{} differs from what is here", Side::Container(id.clone())), paths);
    }
    let lost: Vec<(String, Content)> = lost::lost(round);
    let contents: Vec<String> = lost.iter().take(NAMED).map(|(_, content)| format!("{content:?}")).collect();
    add(
        Kind::Lost,
        format!("is nowhere, neither here nor in a container nor kept ({})", contents.join(", ")),
        lost.into_iter().map(|(path, _)| path).collect(),
    );
    let undone: Vec<(String, State)> = last_word::undone(round);
    let wanted: Vec<String> = undone.iter().take(TOLD).map(|(_, state)| state.to_string()).collect();
    add(
        Kind::Undone,
        format!("one side alone touched it and left {}, which does not stand", wanted.join(", ")),
        undone.into_iter().map(|(path, _)| path).collect(),
    );
    add(
        Kind::InventedConflict,
        "a conflict of what both sides did not touch".to_owned(),
        conflict::invented(round),
    );
    let claims = watching::false_claims(round);
    let told: Vec<String> = claims
        .values()
        .take(TOLD)
        .map(|(sighting, times)| {
            format!(
                "{} times, first at {:.3} s as of {:.3} s: local {}, {} {}",
                times,
                seconds(sighting.seen, start),
                seconds(sighting.as_of, start),
                sighting.local,
                Side::Container(sighting.container.clone()),
                sighting.there
            )
        })
        .collect();
    add(
        Kind::FalseWatching,
        format!("`watching` was said ({})", told.join("; ")),
        claims.keys().map(|path| (*path).to_owned()).collect(),
    );
    add(Kind::Leftover, "is left behind".to_owned(), leftovers(round));
    violations
}

fn leftovers(round: &Round) -> Vec<String> {
    let trees = std::iter::once(&round.end.local).chain(round.end.containers.values());
    let names = trees.flat_map(|tree| tree.keys());
    let mut left: Vec<String> =
        names.filter(|path| path.rsplit('/').next().is_some_and(is_leftover)).cloned().collect();
    left.sort();
    left.dedup();
    left.retain(|path| !round.left.contains(path));
    left
}

fn named(paths: &[String]) -> String {
    let mut names: Vec<String> = paths.iter().take(NAMED).map(|path| format!("`{path}`")).collect();
    if paths.len() > NAMED {
        names.push(format!("{} more", paths.len() - NAMED));
    }
    names.join(", ")
}

#[allow(clippy::cast_precision_loss, reason = "a run is no longer than a day")]
fn seconds(at: Micros, start: Micros) -> f64 {
    at.saturating_sub(start) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{A, B, file, op, put, round, stands, there};

    fn kinds(round: &Round) -> Vec<Kind> {
        judge(round, 0).into_iter().map(|violation| violation.kind).collect()
    }

    #[test]
    fn a_clean_round() {
        let mut round = round();
        round.ops = vec![
            op(10, Side::Local, "a", State::Absent, file(1)),
            op(20, there(A), "b", State::Absent, file(2)),
            op(30, there(B), "own-1", State::Absent, file(3)),
        ];
        for (path, state) in [("a", file(1)), ("b", file(2))] {
            stands(&mut round, path, &state);
        }
        put(round.end.containers.get_mut(B).unwrap(), "own-1", &file(3));
        assert_eq!(kinds(&round), []);
    }

    #[test]
    fn a_container_that_differs() {
        let mut round = round();
        put(round.end.containers.get_mut(B).unwrap(), "base", &file(7));
        assert_eq!(kinds(&round), [Kind::Unequal]);
        assert_eq!(judge(&round, 0)[0].paths, ["base"]);
    }

    #[test]
    fn a_lost_write() {
        let mut round = round();
        round.ops = vec![op(10, there(A), "base", file(100), file(2))];
        // Local content won over it, and nobody kept it.
        assert_eq!(kinds(&round), [Kind::Lost, Kind::Undone]);
    }

    #[test]
    fn a_temporary_file() {
        let mut round = round();
        put(&mut round.end.local, "d/.syncthing.f.tmp", &file(9));
        assert_eq!(kinds(&round), [Kind::Leftover]);
        round.left.insert("d/.syncthing.f.tmp".to_owned());
        assert_eq!(kinds(&round), [], "it was told");
    }

    #[test]
    fn its_words_name_paths_and_history() {
        let mut round = round();
        round.ops = vec![op(1_000, Side::Local, "f", State::Absent, file(1))];
        put(&mut round.end.local, "f", &file(1));
        let violations = judge(&round, 0);
        let words = violations[0].to_string();
        assert!(
            words.contains("`f`") && words.contains("local writer wrote") && words.contains("at the end"),
            "{words}"
        );
    }
}
