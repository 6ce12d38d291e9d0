//! `watching` is true: what was written a moment before the claim is the same on both sides.

use std::collections::BTreeMap;

use crate::{
    history::{Micros, Op, Round, Side, Sighting},
    names::{is_ignored, is_own},
    standing::{disturbs, is_loose},
};

/// What is younger than this at the time of the claim may still be on its way.
const MOMENT: Micros = 250_000;

/// For each path the first sighting under a claim that was false, and how many there were.
pub(crate) fn false_claims(round: &Round) -> BTreeMap<&str, (&Sighting, usize)> {
    let mut found = BTreeMap::new();
    for sighting in round.sightings.iter().filter(|sighting| is_false(round, sighting)) {
        found.entry(sighting.path.as_str()).or_insert((sighting, 0)).1 += 1;
    }
    found
}

fn is_false(round: &Round, sighting: &Sighting) -> bool {
    let path = &sighting.path;
    let young = |ended: Micros| ended + MOMENT > sighting.as_of;
    let recent =
        round.ops.iter().any(|op| op.begun <= sighting.seen && young(op.ended) && disturbs(op, path));
    !(recent
        || brought_since(round, sighting)
        || is_ignored(path)
        || is_own(path)
        || is_loose(round, &sighting.container, path))
}

/// Whether what is here was brought from a third place, after the moment that the claim is about: a row of one container says
/// nothing of what another one has written and nobody has brought here.
fn brought_since(round: &Round, sighting: &Sighting) -> bool {
    let third = |side: &Side| side.container().is_some_and(|id| id != sighting.container);
    let mut ops = round.ops.iter().filter(|op| disturbs(op, &sighting.path) && op.begun <= sighting.seen);
    let brings = |op: &Op| op.path != sighting.path || op.after == sighting.local;
    let is_third = ops.next_back().is_some_and(|op| third(&op.side) && brings(op));
    let mut here = round.seen.iter().filter(|seen| seen.side == Side::Local && seen.path == sighting.path);
    is_third
        && here
            .find(|seen| seen.state == sighting.local)
            .is_none_or(|first| first.at + MOMENT > sighting.as_of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        example::{A, B, file, op, round, there},
        history::{Seen, State},
    };

    #[test]
    fn an_old_write_that_still_differs() {
        let mut round = round();
        let ops = vec![op(1_000_000, Side::Local, "f", State::Absent, file(1))];
        let sighting = |as_of| Sighting {
            as_of,
            seen: as_of + 90_000,
            container: B.to_owned(),
            path: "f".to_owned(),
            local: file(1),
            there: State::Absent,
        };
        round.ops = ops;
        round.sightings = vec![sighting(1_200_000)];
        assert!(false_claims(&round).is_empty(), "200 ms old");
        round.sightings.extend([sighting(1_300_000), sighting(1_400_000)]);
        let found = false_claims(&round);
        assert_eq!(found["f"].1, 2);
        assert_eq!(found["f"].0.as_of, 1_300_000);
        // Written again meanwhile.
        round.ops.push(op(1_290_000, Side::Local, "f", file(1), file(2)));
        round.sightings.truncate(2);
        assert!(false_claims(&round).is_empty());
    }

    #[test]
    fn what_was_brought_here_from_a_third_place_counts_from_then_on() {
        let mut round = round();
        round.ops = vec![op(1_000_000, there(A), "f", State::Absent, file(1))];
        let seen = |at| Seen { at, side: Side::Local, path: "f".to_owned(), state: file(1) };
        let sighting = |as_of| Sighting {
            as_of,
            seen: 4_300_000,
            container: B.to_owned(),
            path: "f".to_owned(),
            local: file(1),
            there: State::Absent,
        };
        round.seen = vec![seen(4_000_000)];
        round.sightings = vec![sighting(3_500_000)];
        assert!(false_claims(&round).is_empty());
        round.sightings = vec![sighting(4_260_000)];
        assert_eq!(false_claims(&round).len(), 1, "it was here");
    }

    #[test]
    fn what_a_container_changes_by_itself_is_its_own() {
        let mut round = round();
        round.ops = vec![op(10, crate::example::there(B), "base", file(100), file(1))];
        let sighting = |container: &str| Sighting {
            as_of: 9_000_000,
            seen: 9_000_001,
            container: container.to_owned(),
            path: "base".to_owned(),
            local: file(100),
            there: file(1),
        };
        round.sightings = vec![sighting(B)];
        assert!(false_claims(&round).is_empty());
        round.sightings = vec![sighting(A)];
        assert_eq!(false_claims(&round).len(), 1);
    }
}
