//! When the path of an event is looked at, so that all the steps by which an editor saves a file are one edit.
//!
//! - An edit in place: when its writer closes the file.
//! - A replacement by rename, or a file that is removed or moved out of sight and written anew: when the new file is in
//!   place, if that is soon; no look comes between and finds the file gone.
//! - A new file under a name of its own: a moment after it is closed, because many are renamed to what they replace at once.
//! - Both ends of a rename: together, so that the moved content isn't sent again.
//!
//! Invariant: every path of an event is looked at after its last event.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use super::events::FsEvent;

/// How long a file that stays open for writing is left alone after a write.
const OPEN: Duration = Duration::from_millis(100);
/// How long a new file that was closed may take to be renamed.
const RENAMED: Duration = Duration::from_millis(3);
/// How long what was removed or moved away may take to be written anew.
const REPLACED: Duration = Duration::from_millis(20);

/// What happens to the file of a path that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A new file is being written.
    New,
    /// A new file was closed, and may be renamed now.
    Closed,
    /// A file that was there before is being written.
    Open,
    /// The file is gone.
    Gone,
}

#[derive(Debug, Clone, Copy)]
struct Wait {
    phase: Phase,
    /// When the first event came that nobody has looked after.
    since: Instant,
    until: Instant,
}

/// Paths that are looked at later.
#[derive(Debug, Default)]
pub(in crate::local) struct Debounce {
    waiting: HashMap<String, Wait>,
    order: BTreeSet<(Instant, String)>,
}

impl Debounce {
    /// Takes in an event that came at `now`. Returns the paths that are looked at now.
    pub(in crate::local) fn take(&mut self, now: Instant, event: FsEvent) -> Vec<String> {
        match event {
            FsEvent::Created(path) => {
                let phase = if self.phase(&path).is_some() { Phase::Open } else { Phase::New };
                self.wait(path, phase, now, OPEN);
            }
            FsEvent::Writing(path) => {
                if !matches!(self.phase(&path), Some(Phase::New | Phase::Open)) {
                    self.wait(path, Phase::Open, now, OPEN);
                }
            }
            FsEvent::Closed(path) => {
                if self.phase(&path) != Some(Phase::New) {
                    return self.settled(path);
                }
                self.wait(path, Phase::Closed, now, RENAMED);
            }
            FsEvent::Changed(path) => {
                // Its times and its mode are set while it is written, or right after.
                if !matches!(self.phase(&path), Some(Phase::New | Phase::Closed | Phase::Open)) {
                    return self.settled(path);
                }
            }
            FsEvent::Removed(path) => self.wait(path, Phase::Gone, now, REPLACED),
            FsEvent::Appeared(path) => return self.settled(path),
            FsEvent::Renamed { from, to } => return [self.settled(from), self.settled(to)].concat(),
            FsEvent::Rescan | FsEvent::WatchLimit | FsEvent::Failed(_) | FsEvent::Marked(_) => {}
        }
        Vec::new()
    }

    /// The paths that have waited long enough by `now`.
    pub(in crate::local) fn due(&mut self, now: Instant) -> Vec<String> {
        let mut due = Vec::new();
        while let Some((until, path)) = self.order.pop_first() {
            if until > now {
                self.order.insert((until, path));
                break;
            }
            if self.waiting.remove(&path).is_some() {
                due.push(path);
            }
        }
        due
    }

    /// When the next path is due.
    pub(in crate::local) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(until, _)| *until)
    }

    /// When all that waits now has waited long enough, unless more happens to it.
    pub(in crate::local) fn last(&self) -> Option<Instant> {
        self.order.last().map(|(until, _)| *until)
    }

    /// Paths with an event that came at `then` or before, which wait still because more happens to them.
    pub(in crate::local) fn waiting_since(&self, then: Instant) -> Vec<String> {
        self.waiting.iter().filter(|(_, wait)| wait.since <= then).map(|(path, _)| path.clone()).collect()
    }

    fn phase(&self, path: &str) -> Option<Phase> {
        self.waiting.get(path).map(|wait| wait.phase)
    }

    fn wait(&mut self, path: String, phase: Phase, now: Instant, time: Duration) {
        let since = self.waiting.get(&path).map_or(now, |wait| wait.since);
        self.put(path, Wait { phase, since, until: now + time });
    }

    fn put(&mut self, path: String, wait: Wait) {
        self.order.insert((wait.until, path.clone()));
        if let Some(before) = self.waiting.insert(path.clone(), wait)
            && before.until != wait.until
        {
            self.order.remove(&(before.until, path));
        }
    }

    /// Nothing is to come of it.
    fn settled(&mut self, path: String) -> Vec<String> {
        if let Some(wait) = self.waiting.remove(&path) {
            self.order.remove(&(wait.until, path.clone()));
        }
        vec![path]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, advance};

    use super::{Debounce, FsEvent, OPEN};

    /// What was told, each a millisecond after the one before, and what was looked at until all was over.
    async fn looked_at(told: Vec<FsEvent>) -> Vec<String> {
        let (mut debounce, mut looked_at) = (Debounce::default(), Vec::new());
        for event in told {
            looked_at.extend(debounce.take(Instant::now(), event));
            advance(Duration::from_millis(1)).await;
            looked_at.extend(debounce.due(Instant::now()));
        }
        while let Some(next) = debounce.next() {
            advance(next - Instant::now()).await;
            looked_at.extend(debounce.due(Instant::now()));
        }
        assert!(debounce.waiting.is_empty());
        looked_at
    }

    fn written(path: &str, made: bool) -> Vec<FsEvent> {
        let first = if made { vec![FsEvent::Created(path.into())] } else { Vec::new() };
        [first, vec![FsEvent::Writing(path.into()), FsEvent::Closed(path.into())]].concat()
    }

    fn gone(path: &str) -> FsEvent {
        FsEvent::Removed(path.into())
    }

    fn moved(from: &str, to: &str) -> FsEvent {
        FsEvent::Renamed { from: from.into(), to: to.into() }
    }

    fn came(path: &str) -> FsEvent {
        FsEvent::Appeared(path.into())
    }

    /// What the system tells when these save `f`, without the names that are left out by default.
    #[tokio::test(start_paused = true)]
    async fn what_an_editor_does_to_save_is_one_edit_of_one_file() {
        let mode = || FsEvent::Changed("f".into());
        let saves = [
            ("in place: nano, VS Code", written("f", false)),
            (
                "vim, emacs: the old one is renamed to f~",
                [vec![gone("f")], written("f", true), vec![mode()]].concat(),
            ),
            ("JetBrains: two renames", vec![gone("f"), came("f")]),
            ("git: removed, then made anew", [vec![gone("f")], written("f", true)].concat()),
        ];
        for (who, told) in saves {
            let looked_at = looked_at(told).await;
            // A mode that is set after the writing is looked at once more.
            assert!(
                !looked_at.is_empty() && looked_at.iter().all(|path| path == "f"),
                "{who}: {looked_at:?}"
            );
            assert!(looked_at.len() <= 2, "{who}: {looked_at:?}");
        }
        let temporary =
            [written("sedX", true), vec![FsEvent::Changed("sedX".into()), gone("sedX"), moved("sedX", "f")]];
        assert_eq!(looked_at(temporary.concat()).await, ["sedX", "f"], "together, when the first is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn both_ends_of_a_rename_are_looked_at_together() {
        let mut debounce = Debounce::default();
        assert!(debounce.take(Instant::now(), gone("a")).is_empty());
        assert_eq!(debounce.take(Instant::now(), moved("a", "b")), ["a", "b"]);
        assert_eq!(debounce.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_on_and_on_is_looked_at_all_the_same() {
        let (mut debounce, begun) = (Debounce::default(), Instant::now());
        for _ in 0..300 {
            assert!(debounce.take(Instant::now(), FsEvent::Writing("log".into())).is_empty());
            advance(Duration::from_millis(1)).await;
            if !debounce.due(Instant::now()).is_empty() {
                assert_eq!(begun.elapsed(), OPEN);
                return;
            }
        }
        panic!("never");
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_on_and_on_is_known_by_its_first_event() {
        let (mut debounce, begun) = (Debounce::default(), Instant::now());
        debounce.take(begun, gone("again"));
        debounce.take(begun, gone("once"));
        let last = debounce.last().unwrap();
        while Instant::now() < last {
            advance(Duration::from_millis(5)).await;
            debounce.take(Instant::now(), gone("again"));
            debounce.take(Instant::now(), gone("late"));
        }
        assert_eq!(debounce.due(last), ["once"]);
        assert_eq!(debounce.waiting_since(begun), ["again"]);
        assert_eq!(debounce.waiting_since(begun - Duration::from_millis(1)), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_edit_of_a_new_file_is_looked_at_when_it_is_closed_again() {
        let mut debounce = Debounce::default();
        for event in written("f", true) {
            assert!(debounce.take(Instant::now(), event).is_empty());
        }
        debounce.take(Instant::now(), FsEvent::Writing("f".into()));
        advance(Duration::from_millis(10)).await;
        assert!(debounce.due(Instant::now()).is_empty(), "it is being written");
        assert_eq!(debounce.take(Instant::now(), FsEvent::Closed("f".into())), ["f"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_is_looked_at() {
        assert_eq!(looked_at(vec![gone("a"), gone("b")]).await, ["a", "b"]);
        assert_eq!(looked_at([written("a", true), vec![gone("a")]].concat()).await, ["a"]);
    }
}
