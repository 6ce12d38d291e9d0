//! When an app is reloaded: pure, from what is told and the time.
//!
//! Invariants: nothing is reloaded before all changes that it is for are in the container; a burst of changes is one
//! reload, after its end; changes that go on and on are not waited out for longer than [`LONGEST`]; between two reloads
//! there is [`APART`].

use std::time::Duration;

use tokio::time::Instant;

/// How long it must be quiet after changes of one file: what an editor does to it is over by then.
pub(super) const ALONE: Duration = Duration::from_millis(25);
/// The same after changes of several: whoever writes many files rests between them.
pub(super) const SEVERAL: Duration = Duration::from_millis(120);
/// Changes that go on for so long are reloaded in between.
pub(super) const LONGEST: Duration = Duration::from_millis(2500);
/// For how long after that something that was noticed and not looked at yet is waited for: it may be one more change, and
/// it may be what containers write all the time.
pub(super) const NOISE: Duration = Duration::from_millis(150);
/// From the end of a reload to the next one.
pub(super) const APART: Duration = Duration::from_millis(300);

/// How things stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Something was noticed here that nobody has looked at yet.
    pub(super) pending: bool,
    /// The number of the last edit here.
    pub(super) here: u64,
    /// The number of the last edit that the container holds; none while it is not followed.
    pub(super) held: Option<u64>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for news.
    Rest,
    /// Wait for news, at most until then.
    Until(Instant),
    /// Reload.
    Reload,
}

/// What the app does not run yet.
#[derive(Debug)]
struct Want {
    /// The first edit of it.
    since: Option<Instant>,
    last: Instant,
    /// The one path that changed.
    path: Option<String>,
    several: bool,
    /// The number of its last edit; none while that is not known.
    upto: Option<u64>,
    /// Changes came after that was noted.
    more: bool,
}

impl Want {
    fn new(now: Instant) -> Self {
        Self { since: None, last: now, path: None, several: false, upto: None, more: false }
    }
}

/// The state of one container's app.
#[derive(Debug, Default)]
pub(super) struct Decision {
    want: Option<Want>,
    /// When the last reload was over.
    last: Option<Instant>,
    /// What an attach brought rests until then.
    rest: Option<Instant>,
}

impl Decision {
    /// One that rests after a crash: an edit ends that.
    pub(super) fn resting(until: Option<Instant>) -> Self {
        Self { rest: until, ..Self::default() }
    }

    /// A change was made here, at `path` where that is known.
    pub(super) fn edited(&mut self, path: Option<&str>, now: Instant) {
        self.rest = None;
        let want = self.want.get_or_insert_with(|| Want::new(now));
        let since = *want.since.get_or_insert(now);
        want.last = now;
        match path {
            Some(path) if want.path.as_deref().is_none_or(|one| one == path) => {
                want.path = Some(path.to_owned());
            }
            _ => want.several = true,
        }
        if want.upto.is_some() && now >= since + LONGEST {
            want.more = true;
        } else {
            want.upto = None;
        }
    }

    /// An attach has changed something there that the app may run.
    pub(super) fn merged(&mut self, now: Instant) {
        let want = self.want.get_or_insert_with(|| Want::new(now));
        (want.last, want.upto) = (now, None);
    }

    /// Whether the app is to be given new code, and nothing is waited for but that it arrives.
    pub(super) fn due(&self, now: Instant) -> bool {
        self.want.is_some() && self.rest(now).is_none()
    }

    /// Until when a reload rests, after a crash.
    pub(super) fn rest(&self, now: Instant) -> Option<Instant> {
        self.rest.filter(|rest| self.want.is_some() && *rest > now)
    }

    pub(super) fn next(&mut self, facts: Facts, now: Instant) -> Next {
        let Some(want) = &mut self.want else { return Next::Rest };
        let long = want.since.map(|since| since + LONGEST);
        if !facts.pending {
            // Nothing is under way: whatever was found lies at or before the last edit.
            want.upto = Some(want.upto.map_or(facts.here, |upto| upto.min(facts.here)));
        } else if want.upto.is_none() && long.is_some_and(|long| now >= long) {
            // It is found by the look under way, if not before.
            want.upto = Some(facts.here + 1);
        }
        let Some(upto) = want.upto else { return long.map_or(Next::Rest, Next::Until) };
        if facts.held.is_none_or(|held| held < upto) {
            return Next::Rest;
        }
        let quiet = want.last + if want.several { SEVERAL } else { ALONE };
        let calm = if facts.pending { quiet + NOISE } else { quiet };
        let mut from = long.map_or(calm, |long| calm.min(long));
        for limit in [self.last.map(|last| last + APART), self.rest].into_iter().flatten() {
            from = from.max(limit);
        }
        if now < from { Next::Until(from) } else { Next::Reload }
    }

    /// A reload begins: what comes from now on is for the next one.
    pub(super) fn begun(&mut self, now: Instant) {
        self.rest = None;
        let more = self.want.take().is_some_and(|want| want.more);
        self.want = more.then(|| Want { since: Some(now), several: true, ..Want::new(now) });
    }

    /// It is over, whatever came of it.
    pub(super) fn over(&mut self, now: Instant) {
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, advance};

    use super::{ALONE, APART, Decision, Facts, LONGEST, NOISE, Next, SEVERAL};

    const MS: Duration = Duration::from_millis(1);

    fn facts(pending: bool, here: u64, held: u64) -> Facts {
        Facts { pending, here, held: Some(held) }
    }

    fn next(decision: &mut Decision, facts: Facts) -> Next {
        decision.next(facts, Instant::now())
    }

    fn edit(decision: &mut Decision, path: &str) {
        decision.edited(Some(path), Instant::now());
    }

    fn reloaded(decision: &mut Decision) {
        decision.begun(Instant::now());
        decision.over(Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn an_edit_is_reloaded_when_it_is_there_and_it_was_quiet() {
        let mut decision = Decision::default();
        assert_eq!(next(&mut decision, facts(false, 4, 4)), Next::Rest);
        let edited = Instant::now();
        edit(&mut decision, "a");
        edit(&mut decision, "a");
        assert!(decision.due(edited));
        assert_eq!(
            next(&mut decision, facts(true, 4, 4)),
            Next::Until(edited + LONGEST),
            "not looked at yet"
        );
        assert_eq!(next(&mut decision, facts(false, 5, 4)), Next::Rest);
        // What others do meanwhile is not waited for.
        assert_eq!(next(&mut decision, facts(true, 6, 4)), Next::Rest);
        assert_eq!(next(&mut decision, facts(false, 6, 5)), Next::Until(edited + ALONE));
        advance(ALONE).await;
        assert_eq!(next(&mut decision, facts(true, 6, 5)), Next::Until(edited + ALONE + NOISE));
        assert_eq!(next(&mut decision, facts(false, 6, 5)), Next::Reload);
        advance(NOISE).await;
        assert_eq!(next(&mut decision, facts(true, 6, 5)), Next::Reload);
        reloaded(&mut decision);
        assert_eq!(next(&mut decision, facts(false, 6, 6)), Next::Rest);
        assert!(!decision.due(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_one_reload_at_its_end() {
        let mut decision = Decision::default();
        for n in 0..500 {
            edit(&mut decision, &n.to_string());
            assert_ne!(next(&mut decision, facts(false, n, n)), Next::Reload, "after {n} changes");
            advance(4 * MS).await;
        }
        let quiet = Instant::now() - 4 * MS + SEVERAL;
        assert_eq!(next(&mut decision, facts(false, 500, 500)), Next::Until(quiet));
        advance(SEVERAL).await;
        assert_eq!(next(&mut decision, facts(false, 500, 500)), Next::Reload);
        reloaded(&mut decision);
        assert_eq!(next(&mut decision, facts(false, 500, 500)), Next::Rest);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_end_does_not_starve_and_nothing_of_it_is_forgotten() {
        let mut decision = Decision::default();
        let (mut reloads, mut sequence) = (Vec::new(), 0);
        let begun = Instant::now();
        while begun.elapsed() < 10 * LONGEST {
            edit(&mut decision, &sequence.to_string());
            // Each is there a moment after the next one was noticed.
            if next(&mut decision, facts(true, sequence, sequence)) == Next::Reload {
                reloads.push(begun.elapsed());
                reloaded(&mut decision);
            }
            sequence += 1;
            advance(10 * MS).await;
        }
        assert!((8..=10).contains(&reloads.len()), "{reloads:?}");
        assert!(decision.due(Instant::now()), "the last ones are to come");
        advance(APART + SEVERAL).await;
        assert_eq!(next(&mut decision, facts(false, sequence, sequence)), Next::Reload);
    }

    #[tokio::test(start_paused = true)]
    async fn saving_all_the_time_reloads_every_few_hundred_milliseconds() {
        let mut decision = Decision::default();
        let mut reloads = 0;
        for n in 0..100 {
            edit(&mut decision, "a");
            for _ in 0..5 {
                if next(&mut decision, facts(false, n, n)) == Next::Reload {
                    reloads += 1;
                    reloaded(&mut decision);
                }
                advance(30 * MS).await;
            }
        }
        // 15 seconds, with a reload at most every 300 ms.
        assert!((25..=50).contains(&reloads), "{reloads}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_after_the_end_was_noted_is_reloaded_too() {
        let mut decision = Decision::default();
        edit(&mut decision, "a");
        advance(LONGEST).await;
        assert_eq!(next(&mut decision, facts(true, 7, 7)), Next::Rest);
        edit(&mut decision, "b");
        assert_eq!(next(&mut decision, facts(true, 8, 8)), Next::Reload);
        reloaded(&mut decision);
        assert!(decision.due(Instant::now()));
        advance(APART).await;
        assert_eq!(next(&mut decision, facts(false, 9, 8)), Next::Rest);
        assert_eq!(next(&mut decision, facts(false, 9, 9)), Next::Reload);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_reloaded_that_is_not_followed() {
        let mut decision = Decision::default();
        decision.merged(Instant::now());
        advance(LONGEST).await;
        let away = Facts { pending: false, here: 3, held: None };
        assert_eq!(next(&mut decision, away), Next::Rest);
        assert_eq!(next(&mut decision, Facts { held: Some(3), ..away }), Next::Reload);
    }

    #[tokio::test(start_paused = true)]
    async fn an_edit_long_after_an_attach_is_waited_for_too() {
        let mut decision = Decision::resting(Some(Instant::now() + 4 * LONGEST));
        decision.merged(Instant::now());
        assert!(matches!(next(&mut decision, facts(false, 3, 3)), Next::Until(_)));
        advance(2 * LONGEST).await;
        edit(&mut decision, "a");
        assert_eq!(next(&mut decision, facts(false, 4, 3)), Next::Rest, "it is not there yet");
        advance(ALONE).await;
        assert_eq!(next(&mut decision, facts(false, 4, 4)), Next::Reload);
        reloaded(&mut decision);
        assert!(!decision.due(Instant::now()), "and that is all");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_crash_it_rests_until_an_edit() {
        let until = Instant::now() + Duration::from_secs(10);
        let mut decision = Decision::resting(Some(until));
        assert_eq!(decision.rest(Instant::now()), None, "there is nothing to reload");
        decision.merged(Instant::now());
        assert_eq!(decision.rest(Instant::now()), Some(until));
        assert!(!decision.due(Instant::now()));
        advance(ALONE).await;
        assert_eq!(next(&mut decision, facts(false, 3, 3)), Next::Until(until));
        let edited = Instant::now();
        edit(&mut decision, "a");
        assert!(decision.due(edited));
        assert_eq!(next(&mut decision, facts(false, 4, 4)), Next::Until(edited + ALONE));
        let mut other = Decision::resting(Some(until));
        other.merged(Instant::now());
        advance(Duration::from_secs(10)).await;
        assert_eq!(next(&mut other, facts(false, 3, 3)), Next::Reload, "it is tried again at last");
    }
}
