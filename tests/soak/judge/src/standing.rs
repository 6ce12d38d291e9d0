//! How much a writer's deed counts: what was done here, or in the container that is surely two-way and does not die, must
//! stand; what a container wrote on its own account, or in its last second, need not arrive.

use std::collections::BTreeSet;

use crate::{
    history::{Content, Micros, Op, Round, Side, State},
    names::{is_ignored, is_own},
};

/// What a container wrote so shortly before it, or what carries it, was broken may be lost with the container.
const GRACE: Micros = 1_000_000;
/// Larger files need longer: bytes that pass in a microsecond, at least.
const PACE: u64 = 20;

/// Whether `dir` is a directory above `path`.
pub(crate) fn above(dir: &str, path: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

fn size(op: &Op) -> u64 {
    match op.after {
        State::File { size, .. } => size,
        _ => 0,
    }
}

/// Whether a deed has a say in what is at `path` at last: it is about it, takes away or brings a directory above it, or
/// puts something below it.
pub(crate) fn disturbs(op: &Op, path: &str) -> bool {
    op.path == path
        || above(&op.path, path) && !(is_dir(&op.before) && is_dir(&op.after))
        || above(path, &op.path) && op.after != State::Absent
}

fn is_dir(state: &State) -> bool {
    matches!(state, State::Dir { .. })
}

/// Whether the container was the two-way one around a deed: the last answer before it and the first one after it say so.
fn surely_two_way(round: &Round, id: &str, op: &Op) -> bool {
    let before = round.roles.iter().rev().find(|(at, _)| *at <= op.begun);
    let after = round.roles.iter().find(|(at, _)| *at >= op.ended);
    before.is_some_and(|(_, two_way)| two_way == id) && after.is_none_or(|(_, two_way)| two_way == id)
}

/// Whether it may have gone with its container, before it could arrive.
fn doomed(round: &Round, id: &str, op: &Op) -> bool {
    let grace = GRACE + size(op) / PACE;
    round.died.get(id).is_some_and(|died| {
        let broken = round.fault.map_or(*died, |fault| fault.min(*died));
        op.ended + grace > broken
    })
}

/// Whether a deed must stand.
pub(crate) fn owed(round: &Round, op: &Op) -> bool {
    let known = op.before != State::Unknown && op.after != State::Unknown;
    let arrives = match &op.side {
        Side::Local => true,
        Side::Container(id) => surely_two_way(round, id, op) && !doomed(round, id, op),
    };
    known && arrives
}

/// What containers wrote in a round, for the rounds after it.
pub fn written_there(round: &Round) -> BTreeSet<Content> {
    let local = |op: &&Op| op.side == Side::Local;
    let mut known: BTreeSet<Content> = round.base.values().filter_map(State::content).collect();
    known.extend(round.ops.iter().filter(local).filter_map(|op| op.after.content()));
    let there = round.ops.iter().filter(|op| !local(op)).filter_map(|op| op.after.content());
    there.filter(|content| !known.contains(content)).collect()
}

/// Whether the container has done it, or one before it in its pod: a volume outlives its containers.
fn is_of(round: &Round, id: &str, op: &Op) -> bool {
    op.side.container().is_some_and(|writer| {
        let pod = |id: &str| round.pods.get(id);
        writer == id || pod(id).is_some() && pod(id) == pod(writer)
    })
}

/// Whether it was done in a container that was not surely the two-way one, or so shortly before that one's end that it need not
/// have arrived.
fn is_on_its_own_account(round: &Round, op: &Op) -> bool {
    let own = |writer: &str| !surely_two_way(round, writer, op) || doomed(round, writer, op);
    op.side.container().is_some_and(own)
}

/// Whether a container may differ from what is here for good, of its own doing.
pub fn at_odds(round: &Round, id: &str) -> bool {
    let own = |op: &&Op| is_of(round, id, op) && !is_own(&op.path) && !is_ignored(&op.path);
    round.ops.iter().filter(own).any(|op| is_on_its_own_account(round, op))
}

/// Whether a path of a container is its own business: it has changed it on its own account, or one before it in its pod has.
pub fn is_loose(round: &Round, id: &str, path: &str) -> bool {
    let there = |op: &&Op| is_of(round, id, op) && disturbs(op, path);
    round.ops.iter().filter(there).any(|op| is_on_its_own_account(round, op))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{A, B, content, dir, file, op, round, there};

    #[test]
    fn a_directory_that_comes_or_goes_concerns_what_is_in_it() {
        let removed = op(1, Side::Local, "d", dir(), State::Absent);
        assert!(disturbs(&removed, "d") && disturbs(&removed, "d/f") && !disturbs(&removed, "de/f"));
        let mode = op(1, Side::Local, "d", dir(), State::Dir { mode: 0o700 });
        assert!(disturbs(&mode, "d") && !disturbs(&mode, "d/f"));
        let within = op(1, Side::Local, "d/f", State::Absent, file(1));
        assert!(disturbs(&within, "d"), "it keeps the directory");
        let gone = op(1, Side::Local, "d/f", file(1), State::Absent);
        assert!(!disturbs(&gone, "d"));
    }

    #[test]
    fn a_deed_counts_while_the_role_is_sure() {
        let mut round = round();
        round.roles = vec![(0, A.to_owned()), (5_000_000, A.to_owned()), (9_000_000, B.to_owned())];
        let at = |at| op(at, there(A), "f", State::Absent, file(1));
        assert!(owed(&round, &at(4_000_000)));
        assert!(!owed(&round, &at(7_000_000)), "the next answer names another");
        assert!(!is_loose(&round, A, "f") && !at_odds(&round, A));
        round.ops = vec![at(7_000_000)];
        assert!(is_loose(&round, A, "f") && !is_loose(&round, B, "f"));
        assert!(at_odds(&round, A) && !at_odds(&round, B));
    }

    #[test]
    fn what_a_container_left_in_a_volume_is_its_successors_business() {
        let mut round = round();
        round.roles.clear();
        round.ops = vec![op(10, there(A), "f", State::Absent, file(1))];
        assert!(is_loose(&round, A, "f") && at_odds(&round, A));
        assert!(!is_loose(&round, B, "f") && !at_odds(&round, B), "of another pod");
        round.pods = [(A, "app-1"), (B, "app-1")].map(|(id, pod)| (id.to_owned(), pod.to_owned())).into();
        assert!(is_loose(&round, B, "f") && at_odds(&round, B));
        assert!(!is_loose(&round, B, "g"));
        round.roles = vec![(0, A.to_owned())];
        assert!(
            !is_loose(&round, B, "f") && !at_odds(&round, B),
            "it was the two-way one, and that must arrive"
        );
        round.died.insert(A.to_owned(), 20);
        assert!(is_loose(&round, B, "f"), "in its last moment");
        round.died.insert(A.to_owned(), 10 + 2 * GRACE);
        assert!(!is_loose(&round, B, "f"));
    }

    #[test]
    fn what_a_container_only_moves_is_not_its_own() {
        let mut round = round();
        round.ops = vec![
            op(1, there(A), "base", file(100), State::Absent),
            op(2, there(A), "moved", State::Absent, file(100)),
            op(3, there(A), "f", State::Absent, file(1)),
            op(4, Side::Local, "g", State::Absent, file(2)),
            op(5, there(A), "g", file(2), State::File { content: content(2), size: 10, mode: 0o755 }),
        ];
        assert_eq!(written_there(&round), [content(1)].into());
    }

    #[test]
    fn the_last_second_of_a_container_may_be_lost() {
        let mut round = round();
        round.fault = Some(8_000_000);
        round.died.insert(A.to_owned(), 8_100_000);
        let at = |at| op(at, there(A), "f", State::Absent, file(1));
        assert!(owed(&round, &at(6_500_000)));
        assert!(!owed(&round, &at(7_500_000)));
        let large = State::File { content: crate::Content([9; 16]), size: 40_000_000, mode: 0o644 };
        assert!(!owed(&round, &Op { after: large, ..at(6_500_000) }), "it takes two seconds more");
    }
}
