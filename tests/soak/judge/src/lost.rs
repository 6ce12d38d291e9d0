//! Nothing that a person wrote is missing everywhere: here, in a container that lives, and in what is kept.
//!
//! What its writer replaced or deleted again is not missing, nor what somebody here replaced, who had it before him. What
//! was here and is replaced or deleted on a container's word must be kept.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    history::{Content, Op, Round, Side, State, Tree},
    names::{is_ignored, is_own},
    standing::owed,
};

/// So many copies of a path are kept; where a container has changed it more often, the first may be gone.
const COPIES: usize = 5;

struct Debt<'a> {
    path: &'a str,
    /// Whether it was written here.
    here: bool,
    /// Where a container has replaced or removed it.
    displaced: Option<&'a str>,
}

/// The path of each content that is nowhere.
pub(crate) fn lost(round: &Round) -> Vec<(String, Content)> {
    let debts = debts(round);
    let found = found(round);
    let missing = debts.into_iter().filter(|(content, _)| !found.contains(content));
    missing.map(|(content, debt)| (debt.path.to_owned(), content)).collect()
}

fn debts(round: &Round) -> BTreeMap<Content, Debt<'_>> {
    let mut debts = BTreeMap::new();
    for (path, state) in &round.base {
        if let Some(content) = state.content().filter(|_| !is_ignored(path) && !is_own(path)) {
            debts.insert(content, Debt { path, here: !round.theirs.contains(&content), displaced: None });
        }
    }
    let mut rewritten: BTreeMap<&str, usize> = BTreeMap::new();
    for op in round.ops.iter().filter(|op| !is_ignored(&op.path)) {
        if op.before == State::Unknown || op.after == State::Unknown {
            // What became of what stood there, nobody can tell.
            debts.retain(|_, debt: &mut Debt<'_>| debt.path != op.path);
        }
        let here = op.side == Side::Local;
        *rewritten.entry(&op.path).or_default() += usize::from(!here);
        let replaced = op.before.content().filter(|before| op.after.content() != Some(*before));
        if let Some((content, debt)) = replaced.and_then(|content| Some((content, debts.get_mut(&content)?)))
        {
            if here || !debt.here {
                debts.remove(&content);
            } else {
                debt.displaced = Some(&op.path);
            }
        }
        if let Some(content) = op.after.content().filter(|_| counts(round, op)) {
            // What a container moves is the same content, and still of who wrote it.
            debts.entry(content).or_insert(Debt { path: &op.path, here, displaced: None }).path = &op.path;
        }
    }
    let copied_often = |path: &str| rewritten.get(path).is_some_and(|times| *times > COPIES);
    debts.retain(|_, debt| !debt.displaced.is_some_and(copied_often));
    debts
}

/// A container's own file counts while the container lives, wherever its changes go.
fn counts(round: &Round, op: &Op) -> bool {
    let own =
        || op.side.container().is_some_and(|id| round.end.containers.contains_key(id)) && is_own(&op.path);
    owed(round, op) || own()
}

fn found(round: &Round) -> BTreeSet<Content> {
    let in_tree = |tree: &Tree| tree.values().filter_map(State::content).collect::<Vec<_>>();
    let trees = std::iter::once(&round.end.local).chain(round.end.containers.values());
    trees.flat_map(in_tree).chain(round.end.kept.iter().map(|kept| kept.content)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        example::{A, B, content, file, op, put, round, stands, there},
        history::Kept,
    };

    fn paths(round: &Round) -> Vec<String> {
        lost(round).into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn a_write_of_the_two_way_container_that_is_nowhere() {
        let mut round = round();
        round.ops = vec![op(10, there(A), "f", State::Absent, file(1))];
        assert_eq!(paths(&round), ["f"]);
        put(&mut round.end.local, "f", &file(1));
        assert!(paths(&round).is_empty());
    }

    #[test]
    fn what_its_writer_replaced_is_not_missing() {
        let mut round = round();
        round.ops = vec![
            op(10, there(A), "f", State::Absent, file(1)),
            op(20, there(A), "f", file(1), file(2)),
            op(30, there(A), "f", file(2), State::Absent),
            op(40, there(A), "g", State::Absent, file(2)),
        ];
        assert_eq!(paths(&round), ["g"]);
        stands(&mut round, "g", &file(2));
        assert!(paths(&round).is_empty());
    }

    #[test]
    fn what_is_replaced_on_a_containers_word_is_kept() {
        let mut round = round();
        round.ops = vec![op(10, there(A), "base", file(100), file(1))];
        stands(&mut round, "base", &file(1));
        assert_eq!(paths(&round), ["base"]);
        round.end.kept.push(Kept {
            path: "base".to_owned(),
            kind: "replaced".to_owned(),
            content: content(100),
            new: true,
        });
        assert!(paths(&round).is_empty());
    }

    #[test]
    fn a_container_may_replace_what_a_container_wrote_earlier() {
        let mut round = round();
        round.ops = vec![op(10, there(B), "base", file(100), file(1))];
        stands(&mut round, "base", &file(1));
        assert_eq!(paths(&round), ["base"]);
        round.theirs.insert(content(100));
        assert!(paths(&round).is_empty());
    }

    #[test]
    fn five_copies_of_a_path_are_kept() {
        let mut round = round();
        let ops = |last: u8| -> Vec<Op> {
            let before = |number| if number == 1 { file(100) } else { file(number - 1) };
            (1..=last)
                .map(|number| op(number.into(), there(A), "base", before(number), file(number)))
                .collect()
        };
        round.ops = ops(5);
        stands(&mut round, "base", &file(5));
        assert_eq!(paths(&round), ["base"]);
        round.ops = ops(6);
        stands(&mut round, "base", &file(6));
        assert!(paths(&round).is_empty());
    }

    #[test]
    fn somebody_here_may_replace_what_a_container_wrote() {
        let mut round = round();
        round.ops =
            vec![op(10, there(A), "f", State::Absent, file(1)), op(20, Side::Local, "f", file(1), file(2))];
        stands(&mut round, "f", &file(2));
        assert!(paths(&round).is_empty());
        if let Some(last) = round.ops.last_mut() {
            last.before = State::Absent;
        }
        assert_eq!(paths(&round), ["f"], "he had not seen it");
    }

    #[test]
    fn what_a_container_writes_on_its_own_account_stays_in_it() {
        let mut round = round();
        round.ops = vec![
            op(10, there(B), "own-1", State::Absent, file(1)),
            op(11, there(B), "f", State::Absent, file(2)),
        ];
        assert_eq!(paths(&round), ["own-1"]);
        round.end.containers.remove(B);
        assert!(paths(&round).is_empty(), "it went with its container");
    }
}
