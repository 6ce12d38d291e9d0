//! A conflict is a file that both sides touched.

use crate::{
    history::{Round, Side},
    standing::disturbs,
};

/// The name of the kept directory of conflicts.
const CONFLICTS: &str = "conflicts";

/// The paths of new conflicts that only one side touched, or none.
pub(crate) fn invented(round: &Round) -> Vec<String> {
    let touched = |path: &str, here: bool| {
        round.ops.iter().any(|op| (op.side == Side::Local) == here && disturbs(op, path))
    };
    let new = round.end.kept.iter().filter(|kept| kept.new && kept.kind == CONFLICTS);
    let invented = new.filter(|kept| !(touched(&kept.path, true) && touched(&kept.path, false)));
    invented.map(|kept| kept.path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        example::{A, content, file, op, round, there},
        history::Kept,
    };

    #[test]
    fn only_one_side_touched_it() {
        let mut round = round();
        let conflict =
            |new| Kept { path: "base".to_owned(), kind: CONFLICTS.to_owned(), content: content(1), new };
        round.end.kept = vec![conflict(true), conflict(false)];
        assert_eq!(invented(&round), ["base"]);
        round.ops.push(op(1, Side::Local, "base", file(100), file(1)));
        assert_eq!(invented(&round), ["base"]);
        round.ops.push(op(2, there(A), "base", file(100), file(2)));
        assert!(invented(&round).is_empty());
        round.ops.clear();
        round.end.kept = vec![conflict(false)];
        assert!(invented(&round).is_empty(), "an old one");
    }
}
