//! The history of a path, for who has to find out.

use crate::{
    history::{Micros, Round, Side, Tree},
    standing::{above, disturbs, owed},
    trees::at,
};

/// So many lines tell it; what is in the middle of a longer one is left out.
const LINES: usize = 16;
/// So many names of a directory's are told.
const NAMES: usize = 4;

/// One line for each thing that was done to a path, or to a directory above it, and that was seen of it.
pub(crate) fn story(round: &Round, path: &str, start: Micros) -> Vec<String> {
    let mut lines: Vec<(Micros, String)> = Vec::new();
    if let Some(state) = round.base.get(path) {
        lines.push((start, format!("everywhere: {state}")));
    }
    for op in round.ops.iter().filter(|op| disturbs(op, path)) {
        let whose = if owed(round, op) { "" } else { " (need not arrive)" };
        let of = if op.path == path { String::new() } else { format!(" `{}`", op.path) };
        let change = format!("{}{of}: {} -> {}{whose}", op.what, op.before, op.after);
        lines.push((op.begun, format!("{} writer {change}", op.side)));
    }
    for seen in round.seen.iter().filter(|seen| seen.path == path) {
        lines.push((seen.at, format!("{} is seen to have {}", seen.side, seen.state)));
    }
    if let Some(at) = round.fault {
        lines.push((at, "the fault strikes".to_owned()));
    }
    for (id, at) in &round.died {
        lines.push((*at, format!("{} was last seen alive", Side::Container(id.clone()))));
    }
    lines.sort();
    let mut text: Vec<String> =
        lines.into_iter().map(|(at, line)| format!("{} {line}", moment(at, start))).collect();
    if text.len() > LINES {
        let left_out = text.len() - LINES;
        text.splice(LINES / 2..LINES / 2 + left_out, [format!("... {left_out} more ...")]);
    }
    text.push(format!("at the end: {}", ends(round, path)));
    text
}

/// What each side has.
fn ends(round: &Round, path: &str) -> String {
    let shown = |tree: &Tree| format!("{}{}", at(tree, path), within(tree, path));
    let mut all: Vec<(String, Vec<String>)> = vec![(shown(&round.end.local), vec![Side::Local.to_string()])];
    for (id, tree) in &round.end.containers {
        let (state, side) = (shown(tree), Side::Container(id.clone()).to_string());
        match all.iter_mut().find(|(other, _)| *other == state) {
            Some((_, sides)) => sides.push(side),
            None => all.push((state, vec![side])),
        }
    }
    let mut all: Vec<String> =
        all.into_iter().map(|(state, sides)| format!("{}: {state}", sides.join(", "))).collect();
    let kept = round.end.kept.iter().filter(|kept| kept.path == path);
    all.extend(kept.map(|kept| {
        format!("kept as {}{} {:?}", kept.kind, if kept.new { "" } else { " earlier" }, kept.content)
    }));
    all.join("; ")
}

/// What a directory has in it, the names that are not synced too.
fn within(tree: &Tree, path: &str) -> String {
    let names: Vec<&str> = tree
        .keys()
        .filter(|name| above(path, name))
        .map(|name| &name[path.len() + 1..])
        .take(NAMES)
        .collect();
    if names.is_empty() { String::new() } else { format!(" with {}", names.join(", ")) }
}

fn moment(at: Micros, start: Micros) -> String {
    let ms = at.saturating_sub(start) / 1000;
    format!("{:3}.{:03}", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{A, file, op, round, there};

    #[test]
    fn who_wrote_what_when() {
        let mut round = round();
        round.ops = vec![
            op(1_500_000, Side::Local, "base", file(100), file(1)),
            op(2_000_000, there(A), "x", file(1), file(2)),
        ];
        let told = story(&round, "base", 1_000_000);
        assert_eq!(told.len(), 3, "{told:#?}");
        assert!(told[0].starts_with("  0.000 everywhere: #64646464"), "{told:#?}");
        assert!(
            told[1].starts_with("  0.500 local writer wrote: #64646464 (10 bytes, 644) -> #01010101"),
            "{told:#?}"
        );
        assert!(told[2].contains("local, container aaaaaaaa, container bbbbbbbb: #64646464"), "{told:#?}");
    }

    #[test]
    fn a_long_one_is_cut_in_the_middle() {
        let mut round = round();
        round.ops = (0..40).map(|at| op(at, Side::Local, "base", file(1), file(2))).collect();
        assert_eq!(story(&round, "base", 0).len(), LINES + 2);
    }
}
