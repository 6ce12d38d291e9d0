//! What one side alone touched stands as that side left it.
//!
//! What a container deletes while the connection is away may be put back (docs/sync-rules.md), so that only a calm round
//! asks for its deletions.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    history::{Op, Round, State},
    names::{is_ignored, is_own},
    standing::{disturbs, owed},
    trees::at,
};

/// Each path that is not as its only writer left it, and how that was.
pub(crate) fn undone(round: &Round) -> Vec<(String, State)> {
    let mut last: BTreeMap<&str, &Op> = BTreeMap::new();
    for op in &round.ops {
        last.insert(&op.path, op);
    }
    let kept_its_word = |path: &str, op: &Op| {
        at(&round.end.local, path) == &op.after
            || is_ignored(path)
            || is_own(path)
            || op.after == State::Absent && op.side.container().is_some() && round.fault.is_some()
            || !alone(round, path)
    };
    last.into_iter()
        .filter(|(path, op)| !kept_its_word(path, op))
        .map(|(path, op)| (path.to_owned(), op.after.clone()))
        .collect()
}

/// Whether all that touched a path was done on one side, and counts.
fn alone(round: &Round, path: &str) -> bool {
    let touching: Vec<&Op> = round.ops.iter().filter(|op| disturbs(op, path)).collect();
    let sides: BTreeSet<_> = touching.iter().map(|op| &op.side).collect();
    sides.len() == 1 && touching.iter().all(|op| owed(round, op))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        example::{A, dir, file, op, round, stands, there},
        history::Side,
    };

    #[test]
    fn a_deletion_here_that_comes_back() {
        let mut round = round();
        round.fault = Some(0);
        round.ops = vec![op(10, Side::Local, "base", file(100), State::Absent)];
        assert_eq!(undone(&round), [("base".to_owned(), State::Absent)]);
        stands(&mut round, "base", &State::Absent);
        assert!(undone(&round).is_empty());
    }

    #[test]
    fn a_containers_deletion_stands_in_a_calm_round_only() {
        let mut round = round();
        round.ops = vec![op(10, there(A), "base", file(100), State::Absent)];
        assert_eq!(undone(&round).len(), 1);
        round.fault = Some(5);
        assert!(undone(&round).is_empty());
    }

    #[test]
    fn what_both_touched_is_nobodys_word() {
        let mut round = round();
        round.ops = vec![
            op(10, Side::Local, "d", dir(), State::Absent),
            op(11, there(A), "d/new", State::Absent, file(1)),
        ];
        stands(&mut round, "d", &dir());
        stands(&mut round, "d/new", &file(1));
        assert!(undone(&round).is_empty());
        round.ops.pop();
        assert_eq!(undone(&round), [("d".to_owned(), State::Absent)]);
    }
}
