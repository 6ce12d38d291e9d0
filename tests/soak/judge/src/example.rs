//! Histories for the unit tests.

use crate::history::{Content, Micros, Op, Round, Side, State, Tree};

pub(crate) const A: &str = "containerd://aaaaaaaaaaaa";
pub(crate) const B: &str = "docker://bbbbbbbbbbbb";

pub(crate) fn content(number: u8) -> Content {
    Content([number; 16])
}

pub(crate) fn file(number: u8) -> State {
    State::File { content: content(number), size: 10, mode: 0o644 }
}

pub(crate) fn dir() -> State {
    State::Dir { mode: 0o755 }
}

pub(crate) fn there(id: &str) -> Side {
    Side::Container(id.to_owned())
}

pub(crate) fn op(at: Micros, side: Side, path: &str, before: State, after: State) -> Op {
    Op { begun: at, ended: at + 1, side, path: path.to_owned(), what: "wrote", before, after }
}

/// Two containers, the first of them two-way, with one file everywhere.
pub(crate) fn round() -> Round {
    let mut round = Round { roles: vec![(0, A.to_owned())], ..Round::default() };
    round.base.insert("base".to_owned(), file(100));
    stands(&mut round, "base", &file(100));
    round
}

/// At the end it is so everywhere.
pub(crate) fn stands(round: &mut Round, path: &str, state: &State) {
    for id in [A, B] {
        put(round.end.containers.entry(id.to_owned()).or_default(), path, state);
    }
    put(&mut round.end.local, path, state);
}

pub(crate) fn put(tree: &mut Tree, path: &str, state: &State) {
    match state {
        State::Absent => drop(tree.remove(path)),
        _ => drop(tree.insert(path.to_owned(), state.clone())),
    }
}
