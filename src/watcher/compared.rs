//! The board as it is told: whoever asks is told `watching` of what was compared after he had asked.
//!
//! Invariant: a container is called `watching` only by a comparison that began when it was asked about, or later. One began
//! before the question may lack what was written just before it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    time::{sleep_until, timeout_at},
};

use crate::{
    local::LocalFolders,
    status::{Board, Status},
};

/// How long whoever asks waits for the comparison: a large file that changed is read first.
const LIMIT: Duration = Duration::from_secs(1);
/// How long, where it has found a difference: most are mended within this time.
const MENDED: Duration = Duration::from_millis(200);

/// The containers whose claim is asked about: of each its spec's name and its id.
type Claims = BTreeSet<(String, String)>;

/// How far the answer to a question is, the furthest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    /// Every claim was compared, or is none any more.
    Compared,
    /// Some were found to be wrong, and all others were compared.
    Mends,
    /// Claims are compared.
    Compares,
}

impl Answer {
    /// How the board answers a question about these claims.
    fn to(claims: &Claims, board: &Board, asked: Instant) -> Self {
        let is_asked_about = |spec: &str, id: &str| claims.contains(&(spec.to_owned(), id.to_owned()));
        let about = board.services().filter(|((spec, id), _)| is_asked_about(spec, id));
        let answers = about.map(|(_, service)| match service.standing.status {
            Status::Watching if !service.is_compared_since(asked) => Self::Compares,
            Status::Syncing => Self::Mends,
            _ => Self::Compared,
        });
        answers.max().unwrap_or(Self::Compared)
    }
}

fn claims(board: &Board) -> Claims {
    let claim = board.services().filter(|(_, service)| service.claims());
    claim.map(|((spec, id), _)| (spec.to_owned(), id.to_owned())).collect()
}

/// Whether a board claims more than one that was told before.
pub(super) fn claims_more(board: &Board, told: &Board) -> bool {
    !claims(board).is_subset(&claims(told))
}

/// The board for whoever asks now.
pub(super) async fn compared(board: &mut watch::Receiver<Board>, locals: &LocalFolders) -> Board {
    let asked = Instant::now();
    let claims = claims(&board.borrow_and_update());
    if !claims.is_empty() {
        let limit = (asked + LIMIT).into();
        if timeout_at(limit, locals.compare()).await.is_ok() {
            answered(&claims, board, asked, limit).await;
        }
    }
    board.borrow_and_update().clone().told_to(asked)
}

/// Waits until the board answers, or `limit`.
async fn answered(
    claims: &Claims,
    board: &mut watch::Receiver<Board>,
    asked: Instant,
    limit: tokio::time::Instant,
) {
    let mut mended = None;
    loop {
        let until = match Answer::to(claims, &board.borrow_and_update(), asked) {
            Answer::Compared => return,
            Answer::Compares => limit,
            Answer::Mends => *mended.get_or_insert_with(|| limit.min(tokio::time::Instant::now() + MENDED)),
        };
        tokio::select! {
            changed = board.changed() => if changed.is_err() { return },
            () = sleep_until(until) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use ksync_engine::Healings;
    use tokio::time::advance;

    use super::{Answer, LIMIT, MENDED, answered, claims, claims_more, compared};
    use crate::{
        config::{Direction, SpecDetails},
        local::{LocalFolders, LocalSyncthing},
        status::{Board, BoardTx, Reloading, ServiceState, ServiceTx, Standing, Status},
    };

    fn boards() -> (BoardTx, [ServiceTx; 2]) {
        let board = BoardTx::default();
        board.add_spec(SpecDetails { name: "s".into(), ..SpecDetails::default() });
        board.spec("s", Status::Watching, "");
        let services = ["a", "b"].map(|id| {
            let state = ServiceState {
                pod: "p".into(),
                container: "c".into(),
                container_id: id.into(),
                node: "n".into(),
                standing: Standing::new(Status::Watching, ""),
                last_contact: None,
                as_of: Instant::now().checked_sub(Duration::from_secs(1)),
                healings: Healings::default(),
                direction: Direction::Both,
                excluded: Vec::new(),
                created: false,
                overrides: false,
                percent: 100,
                last_edit: None,
                reload: Reloading::default(),
            };
            board.service("s", state)
        });
        (board, services)
    }

    fn word(board: &Board) -> Status {
        board.specs["s"].overall().status
    }

    #[test]
    fn a_question_is_answered_when_each_claim_is_compared_or_is_none() {
        let (board, [a, b]) = boards();
        let asked = Instant::now();
        let asked_about = claims(&board.subscribe().borrow());
        assert_eq!(asked_about.len(), 2);
        let answer = || Answer::to(&asked_about, &board.subscribe().borrow(), asked);
        assert_eq!(answer(), Answer::Compares);
        a.modify(|service| service.as_of = Some(asked));
        assert_eq!(answer(), Answer::Compares, "the other");
        b.set(Status::Syncing, "");
        assert_eq!(answer(), Answer::Mends);
        a.modify(|service| service.as_of = None);
        assert_eq!(answer(), Answer::Compares);
        for worse in [Status::Attaching, Status::Error, Status::Paused] {
            a.set(worse, "");
            b.set(worse, "");
            assert_eq!(answer(), Answer::Compared, "nobody waits for {worse}");
        }
        drop((a, b));
        assert_eq!(answer(), Answer::Compared);
        assert_eq!(Answer::to(&claims(&Board::default()), &Board::default(), asked), Answer::Compared);
    }

    #[test]
    fn a_board_claims_more_where_a_container_has_become_watching() {
        let (board, [a, b]) = boards();
        let now = || board.subscribe().borrow().clone();
        let all = now();
        b.set(Status::Syncing, "");
        let one = now();
        assert!(claims_more(&all, &one) && !claims_more(&one, &all) && !claims_more(&all, &all));
        drop(a);
        assert!(!claims_more(&now(), &one));
    }

    /// Waits for the answer; how long that took.
    async fn wait(board: &BoardTx, during: impl Future<Output = ()>) -> Duration {
        let (begun, asked) = (tokio::time::Instant::now(), Instant::now());
        let mut seen = board.subscribe();
        let asked_about = claims(&seen.borrow());
        let answer = async {
            answered(&asked_about, &mut seen, asked, begun + LIMIT).await;
            begun.elapsed()
        };
        tokio::join!(answer, during).0
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_waits_for_a_slow_comparison_and_for_a_difference_and_no_longer() {
        const STEP: Duration = Duration::from_millis(10);
        let (board, [a, b]) = boards();
        let now = || Some(Instant::now());
        let took = wait(&board, async {
            a.modify(|service| service.as_of = now());
            advance(STEP).await;
            b.modify(|service| service.as_of = now());
        });
        let took = took.await;
        assert!((STEP..2 * STEP).contains(&took), "both are compared: {took:?}");
        let took = wait(&board, async {
            a.modify(|service| service.as_of = now());
            b.set(Status::Syncing, "");
            tokio::time::sleep(STEP).await;
            b.set(Status::Watching, "");
            tokio::time::sleep(STEP).await;
            b.modify(|service| service.as_of = now());
        });
        let took = took.await;
        assert!((2 * STEP..3 * STEP).contains(&took), "mended, and compared again: {took:?}");
        let took = wait(&board, async {
            a.modify(|service| service.as_of = now());
            b.set(Status::Syncing, "");
        });
        let took = took.await;
        assert!((MENDED..MENDED + STEP).contains(&took), "that takes longer: {took:?}");
        b.set(Status::Watching, "");
        let took = wait(&board, async {}).await;
        assert!((LIMIT..LIMIT + STEP).contains(&took), "nothing comes: {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_comparison_answers_for_is_not_called_watching() {
        let own = tempfile::tempdir().unwrap();
        let syncthing = LocalSyncthing::none(own.path().join("kept"));
        let locals = LocalFolders::new(Arc::clone(&syncthing), "s", own.path().join("waiting"));
        let (board, services) = boards();
        let mut seen = board.subscribe();
        assert_eq!(word(&seen.borrow()), Status::Watching);
        assert_eq!(word(&compared(&mut seen, &locals).await), Status::Syncing);
        assert_eq!(word(&seen.borrow()), Status::Watching, "the board is its writers'");
        drop(services);
    }
}
