//! One container of a local directory: what of it differs from the local side, and the operations that are under way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ksync_tree::covers;

use crate::{
    decide::{Action, Policy, decide, is_held, is_news, kept},
    digest::Digest,
    exception::Exception,
    local::{Change, Local, Unknown, below},
    op::{Holds, Op, OpId, Outcome, Side, Wanted},
    screen::Screen,
    state::{Keep, Known, Past, State, is_dir, same},
};

/// What is known of one container, from its first listing to its end.
#[derive(Debug)]
pub struct Container {
    except: BTreeMap<Arc<str>, Exception>,
    /// To be decided.
    dirty: BTreeSet<Arc<str>>,
    /// Decided: something goes there, when nothing comes anywhere any more.
    removals: BTreeSet<Arc<str>>,
    /// Decided, and waiting for what is under way or to be begun elsewhere.
    blocked: BTreeSet<Arc<str>>,
    flights: BTreeMap<OpId, Arc<str>>,
    policy: Policy,
    next_id: u64,
    unknown: Unknown,
    /// Left out with all that is below: what the container has mounted there, and is not synced.
    excluded: Vec<String>,
    holds: Holds,
    /// Paths at which something is to be done that can't be done now: it has failed, waits for a person, or can't be looked
    /// at.
    waiting: BTreeSet<Arc<str>>,
    /// What does not come here unasked.
    pub(crate) screen: Screen,
    /// What is known of paths by now that was not before; none where both sides agree in what is here.
    news: Vec<(Arc<str>, Option<Known>)>,
}

impl Container {
    /// A container that holds `listing`, of which `known` says what is known of a path at which that is there.
    pub fn new(
        local: &Local,
        listing: impl IntoIterator<Item = (Arc<str>, State)>,
        known: impl Fn(&str, &State) -> Known,
        policy: Policy,
    ) -> Self {
        let mut container = Self {
            except: BTreeMap::new(),
            dirty: BTreeSet::new(),
            removals: BTreeSet::new(),
            blocked: BTreeSet::new(),
            flights: BTreeMap::new(),
            policy,
            next_id: 0,
            unknown: Unknown::default(),
            excluded: Vec::new(),
            holds: Holds::default(),
            waiting: BTreeSet::new(),
            screen: Screen::default(),
            news: Vec::new(),
        };
        let mut there: BTreeMap<Arc<str>, State> = listing.into_iter().collect();
        for (path, _) in local.iter() {
            there.entry(Arc::clone(path)).or_insert(None);
        }
        for (path, there) in there {
            container.screen.note(&path);
            if same(&local.get(&path), &there) {
                continue;
            }
            let known = known(&path, &there);
            container.dirty.insert(Arc::clone(&path));
            container.except.insert(path, Exception::new(there, known));
        }
        container
    }

    /// What is known to be in the container at `path`.
    pub fn there(&self, local: &Local, path: &str) -> State {
        self.except.get(path).map_or_else(|| local.get(path), |exception| exception.there.clone())
    }

    /// What stands at `path` here, and in the container.
    pub(crate) fn stands(&self, local: &Local, path: &str) -> [State; 2] {
        [local.get(path), self.there(local, path)]
    }

    /// The sum of all that is known to be in the container.
    pub fn digest(&self, local: &Local) -> Digest {
        let mut digest = local.digest();
        for (path, exception) in &self.except {
            if let Some(here) = local.get(path) {
                digest.remove(path, &here);
            }
            if let Some(there) = &exception.there {
                digest.add(path, there);
            }
        }
        digest
    }

    /// What is to be remembered of the container: the paths at which it is not known to be like the local side.
    pub fn exceptions(&self) -> impl Iterator<Item = (&Arc<str>, &Known)> {
        self.except.iter().map(|(path, exception)| (path, &exception.known))
    }

    /// What was known of a path of a container that is not attached.
    pub(crate) fn remember(&mut self, local: &Local, path: &Arc<str>, known: Option<Known>) {
        let Some(known) = known else { return drop(self.except.remove(path)) };
        let there = local.get(path);
        if let Some(exception) = self.except.get_mut(path) {
            exception.known = known;
        } else {
            self.except.insert(Arc::clone(path), Exception::new(there, known));
        }
    }

    /// What has become known since this was last asked for, in order; none where both sides agree in what is here.
    pub fn take_news(&mut self) -> Vec<(Arc<str>, Option<Known>)> {
        std::mem::take(&mut self.news)
    }

    /// What can't be looked at in the container, from now on.
    pub fn set_unknown(&mut self, unknown: Unknown) {
        self.unknown = unknown;
        self.reconsider();
    }

    /// Paths that are left out with all that is below, from now on.
    pub fn exclude(&mut self, paths: Vec<String>) {
        self.excluded = paths;
        self.reconsider();
    }

    /// Everything is looked at again: what can't be looked at may be something else by now.
    pub fn reconsider(&mut self) {
        self.dirty.extend(self.except.keys().cloned());
    }

    /// What is not done before a person has agreed, from now on.
    pub fn set_holds(&mut self, holds: Holds) {
        if self.holds != holds {
            self.holds = holds;
            self.reconsider();
        }
    }

    /// What the container has changed at a path is undone there, and not kept: a person has seen it.
    pub fn undo_change(&mut self, local: &Local, path: &Arc<str>) {
        let known = Known::Agreed { here: None, there: self.there(local, path) };
        self.set_known(path, known);
    }

    /// What is to be done and is not under way: where, and what stands there and is to stand there.
    pub fn wanted<'a>(&'a self, local: &'a Local) -> impl Iterator<Item = Wanted> + use<'a> {
        self.except.iter().filter(|(_, exception)| exception.flight.is_none()).filter_map(
            |(path, exception)| {
                let here = local.get(path);
                let never = exception.known.is_never();
                let (side, old, new) = match self.decision(path, &here, exception) {
                    Action::Agree | Action::Leave => return None,
                    Action::Send(_) => (Side::There, exception.there.clone(), here),
                    Action::Take(_) => (Side::Here, here, exception.there.clone()),
                };
                Some(Wanted { path: Arc::clone(path), side, old, new, never })
            },
        )
    }

    /// What is gone on one side, and is to go on `side`, is put back where it is gone.
    pub fn undo_removals(&mut self, local: &Local, side: Side) {
        let paths: Vec<Arc<str>> = self
            .wanted(local)
            .filter(|wanted| wanted.side == side && wanted.new.is_none())
            .map(|wanted| wanted.path)
            .collect();
        for path in paths {
            let known = match side {
                Side::Here => Known::Agreed { here: None, there: None },
                Side::There => Known::Never(Past::None),
            };
            self.set_known(&path, known);
        }
    }

    /// A person has decided what is known of a path.
    fn set_known(&mut self, path: &Arc<str>, known: Known) {
        if let Some(exception) = self.except.get_mut(path) {
            exception.known = known.clone();
            self.news.push((Arc::clone(path), Some(known)));
        }
        self.touch(path);
    }

    /// Whether something at a path was once known to be on both sides.
    pub(crate) fn was_in_sync(&self, path: &str) -> bool {
        self.except.get(path).is_none_or(|exception| !exception.known.is_never())
    }

    /// What is known of a path.
    pub fn known(&self, local: &Local, path: &str) -> Known {
        let here = || Known::Agreed { here: local.get(path), there: local.get(path) };
        self.except.get(path).map_or_else(here, |exception| exception.known.clone())
    }

    /// Whether nothing is to be done and nothing under way.
    pub fn is_settled(&self) -> bool {
        self.is_idle() && self.blocked.is_empty() && self.waiting.is_empty()
    }

    /// Paths at which something is to be done that can't be done now.
    pub fn waiting(&self) -> &BTreeSet<Arc<str>> {
        &self.waiting
    }

    /// How much is to be done or under way.
    pub fn behind(&self) -> usize {
        let waiting = self.dirty.len() + self.removals.len() + self.blocked.len() + self.waiting.len();
        waiting + self.flights.len()
    }

    /// Whether nothing is to be done at a path and nothing under way there.
    pub fn is_done(&self, path: &str) -> bool {
        self.except.get(path).is_none_or(|exception| exception.flight.is_none())
            && ![&self.dirty, &self.removals, &self.blocked, &self.waiting]
                .iter()
                .any(|set| set.contains(path))
    }

    /// Whether all that can be done now is done.
    pub fn is_idle(&self) -> bool {
        self.dirty.is_empty() && self.removals.is_empty() && self.flights.is_empty()
    }

    /// Something changed here.
    pub fn changed_here(&mut self, change: &Change) {
        let as_it_was = || {
            let known = Known::Agreed { here: change.old.clone(), there: change.old.clone() };
            Exception::new(change.old.clone(), known)
        };
        // What failed with the old state may go well with the new one.
        self.except.entry(Arc::clone(&change.path)).or_insert_with(as_it_was).failed = false;
        self.touch(&change.path);
    }

    /// The container was found to hold this at `path`.
    pub fn seen_there(&mut self, local: &Local, path: &str, there: State) {
        let here = local.get(path);
        match self.except.get_mut(path) {
            Some(exception) if same(&exception.there, &there) => return exception.there = there,
            Some(exception) => (exception.there, exception.failed) = (there, false),
            None if same(&here, &there) => return,
            None => {
                let known = Known::Agreed { here: here.clone(), there: here };
                self.except.insert(Arc::from(path), Exception::new(there, known));
            }
        }
        self.touch(&Arc::from(path));
    }

    /// Another container is the two-way one now, or this one is.
    pub fn set_policy(&mut self, policy: Policy) {
        if self.policy != policy {
            self.policy = policy;
            self.reconsider();
        }
    }

    /// What has failed at paths that are `due` is decided anew.
    pub fn retry(&mut self, due: impl Fn(&str) -> bool) {
        for (path, exception) in &mut self.except {
            if exception.failed && due(path) {
                exception.failed = false;
                self.dirty.insert(Arc::clone(path));
            }
        }
    }

    /// A path is looked at again, and so are the directories above it, which may have waited for it.
    fn touch(&mut self, path: &Arc<str>) {
        self.screen.note(path);
        self.dirty.insert(Arc::clone(path));
        self.removals.remove(path);
        let mut above: &str = path;
        while let Some((parent, _)) = above.rsplit_once('/') {
            if let Some((parent, exception)) = self.except.get_key_value(parent)
                && exception.flight.is_none()
            {
                self.dirty.insert(Arc::clone(parent));
            }
            above = parent;
        }
        // What is below it may have waited for it.
        self.dirty.extend(below(&self.except, path).map(|(path, _)| Arc::clone(path)));
    }

    /// What came of an operation. What it has put here is told to `local` first.
    pub fn over(&mut self, local: &Local, id: OpId, outcome: Outcome) {
        let Some(path) = self.flights.remove(&id) else { return };
        let Some(exception) = self.except.get_mut(&path) else { return };
        let Some((op, before)) = exception.flight.take() else { return };
        match (outcome, op.side) {
            (Outcome::Done(now), Side::There) => {
                exception.known = Known::Agreed { here: op.new, there: now.clone() };
                exception.there = now;
                exception.own = false;
            }
            (Outcome::Done(now), Side::Here) => {
                exception.known = Known::Agreed { here: now, there: op.new };
                exception.own = false;
            }
            (Outcome::Refused(now), Side::There) => {
                exception.known = before;
                exception.there = now;
            }
            (Outcome::Refused(_), Side::Here) => exception.known = before,
            (Outcome::Failed, _) => {
                exception.known = before;
                exception.failed = true;
            }
        }
        let failed = exception.failed;
        self.news.push((Arc::clone(&path), Some(exception.known.clone())));
        self.touch(&path);
        if failed {
            self.dirty.remove(&path);
            self.removals.remove(&path);
            self.blocked.remove(&path);
            self.waiting.insert(Arc::clone(&path));
        }
        self.forget(local, &path);
    }

    /// An exception that is none any more.
    fn forget(&mut self, local: &Local, path: &str) {
        let Some(exception) = self.except.get(path) else { return };
        if exception.flight.is_none() && same(&local.get(path), &exception.there) {
            if let Some((path, _)) = self.except.remove_entry(path) {
                self.waiting.remove(&path);
                self.screen.asked.remove(&path);
                self.news.push((path, None));
            }
            self.dirty.remove(path);
            self.removals.remove(path);
            self.blocked.remove(path);
        }
    }

    /// Operations to begin now, at most `most`. Each is under way until [`Container::over`].
    pub fn begin(&mut self, local: &Local, most: usize) -> Vec<Op> {
        let mut begun = Vec::new();
        self.dirty.extend(self.screen.take_stale());
        // What waits for something else is looked at again at the latest when there is nothing else.
        if self.dirty.is_empty() && self.removals.is_empty() && self.flights.is_empty() {
            self.dirty = std::mem::take(&mut self.blocked);
        }
        // What comes, from above downwards: what is renamed is there under its new name before the old one goes.
        while begun.len() < most
            && let Some(path) = self.dirty.pop_first()
        {
            if self.removes(local, &path) {
                self.removals.insert(path);
            } else {
                self.try_begin(local, path, &mut begun);
            }
        }
        // What goes, from below upwards.
        while begun.len() < most
            && let Some(path) = self.removals.pop_last()
        {
            self.try_begin(local, path, &mut begun);
        }
        begun
    }

    fn try_begin(&mut self, local: &Local, path: Arc<str>, begun: &mut Vec<Op>) {
        match self.step(local, &path) {
            Step::Begin(op) => begun.push(op),
            Step::Wait => drop(self.blocked.insert(path)),
            Step::Rest => {}
        }
    }

    /// Whether the decision for a path is that something goes.
    fn removes(&self, local: &Local, path: &str) -> bool {
        let Some(exception) = self.except.get(path) else { return false };
        let here = local.get(path);
        match self.decision(path, &here, exception) {
            Action::Send(_) => here.is_none(),
            Action::Take(_) => exception.there.is_none(),
            Action::Agree | Action::Leave => false,
        }
    }

    fn decision(&self, path: &str, here: &State, exception: &Exception) -> Action {
        if self.excluded.iter().any(|excluded| covers(excluded, path)) {
            return Action::Leave;
        }
        let action = decide(here, &exception.there, &exception.known, self.policy);
        // What it did on its own before it was the two-way one is undone, and kept.
        if exception.own && self.policy.two_way && here.is_some() && matches!(action, Action::Take(_)) {
            return Action::Send(exception.there.as_ref().map(|_| Keep::Taken));
        }
        action
    }

    fn step(&mut self, local: &Local, path: &Arc<str>) -> Step {
        self.waiting.remove(path);
        self.blocked.remove(path);
        self.screen.asked.remove(path);
        let Some(exception) = self.except.get(path) else { return Step::Rest };
        if exception.flight.is_some() {
            // Its end is news.
            return Step::Rest;
        }
        if exception.failed || local.is_unknown(path) || self.unknown.concerns(path) {
            self.waiting.insert(Arc::clone(path));
            return Step::Rest;
        }
        let here = local.get(path);
        let there = exception.there.clone();
        let decision = self.decision(path, &here, exception);
        let is_never = exception.known.is_never();
        let keep = kept(&there, &exception.known, self.policy);
        let Some(action) = self.over_what_is_below(local, path, [&here, &there], decision, keep) else {
            return Step::Wait;
        };
        let stands = |path: &str| self.stands(local, path);
        if matches!(action, Action::Take(_))
            && let Some(concern) = self.screen.concern(path, [&here, &there], stands)
        {
            self.screen.asked.insert(Arc::clone(path), concern);
            self.waiting.insert(Arc::clone(path));
            return Step::Rest;
        }
        if is_held(self.holds, &here, &there, is_never, action) {
            self.waiting.insert(Arc::clone(path));
            return Step::Rest;
        }
        let (side, old, new, keep) = match action {
            Action::Agree => {
                self.except.remove(path);
                self.news.push((Arc::clone(path), None));
                return Step::Rest;
            }
            Action::Leave => {
                if let Some(exception) = self.except.get_mut(path) {
                    exception.own |= !self.policy.two_way;
                }
                return Step::Rest;
            }
            Action::Send(keep) => (Side::There, there, here, keep),
            Action::Take(Keep::Taken) if there.is_none() => (Side::Here, here, there, Some(Keep::Deleted)),
            Action::Take(keep) => (Side::Here, here, there, Some(keep)),
        };
        if new.is_some() && !self.has_parent(local, path, side) {
            return Step::Wait;
        }
        if side == Side::Here
            && let Some(entry) = &new
        {
            self.screen.budget -= self.screen.growth(path, &old, entry).min(self.screen.budget);
        }
        self.next_id += 1;
        let id = OpId(self.next_id);
        let is_news = side == Side::There
            && is_news(self.except.get(path).map(|exception| &exception.known), &old, &new);
        let op = Op { id, side, path: Arc::clone(path), old: old.clone(), new: new.clone(), keep, is_news };
        self.flights.insert(id, Arc::clone(path));
        if let Some(exception) = self.except.get_mut(path) {
            let under_way = match side {
                Side::There => Known::Sending { old, new, keep },
                Side::Here => Known::Taking { old, new },
            };
            self.news.push((Arc::clone(path), Some(under_way.clone())));
            let before = std::mem::replace(&mut exception.known, under_way);
            exception.flight = Some((op.clone(), before));
        }
        Step::Begin(op)
    }

    /// The action for a path, where it would take a directory away, in the light of what is in that directory: it goes
    /// only when all of it goes. None while that is not known yet. What the container has is kept as `keep` says where that goes.
    fn over_what_is_below(
        &self,
        local: &Local,
        path: &Arc<str>,
        [here, there]: [&State; 2],
        action: Action,
        keep: Option<Keep>,
    ) -> Option<Action> {
        match action {
            Action::Send(_) if is_dir(there) && !is_dir(here) => {
                let mut staying = self
                    .entries_there(local, path)
                    .filter(|(below, state)| state.is_some() && !self.is_going(below, Side::There));
                let Some((first, _)) = staying.next() else { return Some(action) };
                // A file of ours takes the directory's place: what is in it can't come here.
                let stays = here.is_none()
                    && (!self.would_send(local, &first)
                        || staying.any(|(below, _)| !self.would_send(local, &below)));
                let other = if self.policy.two_way { Action::Take(Keep::Taken) } else { Action::Leave };
                stays.then_some(other)
            }
            Action::Take(_) if is_dir(here) && !is_dir(there) => {
                let mut staying = local.below(path).filter(|(below, _)| !self.is_going(below, Side::Here));
                let Some((first, _)) = staying.next() else { return Some(action) };
                let is_ours =
                    |below: &Arc<str>| self.would_send(local, below) || !self.except.contains_key(below);
                let stays = is_ours(first) || staying.any(|(below, _)| is_ours(below));
                stays.then_some(Action::Send(keep))
            }
            // The container has taken a directory away on its own, into which something goes now.
            Action::Leave
                if is_dir(here)
                    && !is_dir(there)
                    && local.below(path).any(|(below, _)| self.would_send(local, below)) =>
            {
                Some(Action::Send(keep))
            }
            // What can't come here, because a file of ours stands where its directory would be, is kept and goes.
            Action::Take(_) | Action::Leave if there.is_some() && self.is_shadowed(local, path) => {
                let waits = is_dir(there)
                    && self
                        .entries_there(local, path)
                        .any(|(below, state)| state.is_some() && !self.is_going(&below, Side::There));
                (!waits).then_some(Action::Send(keep))
            }
            other => Some(other),
        }
    }

    /// Whether something that is no directory stands here above `path`, and goes to the container.
    fn is_shadowed(&self, local: &Local, path: &str) -> bool {
        let mut above = path;
        while let Some((parent, _)) = above.rsplit_once('/') {
            if let Some(exception) = self.except.get(parent) {
                let here = local.get(parent);
                if here.is_some() && !is_dir(&here) {
                    return matches!(self.decision(parent, &here, exception), Action::Send(_));
                }
            }
            above = parent;
        }
        false
    }

    /// Whether the decision for a path is to give the container what is here.
    fn would_send(&self, local: &Local, path: &str) -> bool {
        let Some(exception) = self.except.get(path) else { return false };
        matches!(self.decision(path, &local.get(path), exception), Action::Send(_) | Action::Agree)
            || self.is_shadowed(local, path)
    }

    /// Whether a path is on its way out on that side.
    fn is_going(&self, path: &str, side: Side) -> bool {
        let flight = self.except.get(path).and_then(|exception| exception.flight.as_ref());
        flight.is_some_and(|(op, _)| op.side == side && op.new.is_none())
    }

    /// What is in the container below a path.
    fn entries_there<'a>(
        &'a self,
        local: &'a Local,
        path: &str,
    ) -> impl Iterator<Item = (Arc<str>, State)> + use<'a> {
        let own =
            below(&self.except, path).map(|(path, exception)| (Arc::clone(path), exception.there.clone()));
        let same = local
            .below(path)
            .filter(|(path, _)| !self.except.contains_key(*path))
            .map(|(path, entry)| (Arc::clone(path), Some(Arc::clone(entry))));
        own.chain(same)
    }

    /// Whether the directory that `path` goes into stands on that side, or will when what is under way is done.
    fn has_parent(&self, local: &Local, path: &str, side: Side) -> bool {
        let Some((parent, _)) = path.rsplit_once('/') else { return true };
        let flight = self.except.get(parent).and_then(|exception| exception.flight.as_ref());
        match flight {
            Some((op, _)) if op.side == side => is_dir(&op.new),
            _ if side == Side::There => is_dir(&self.there(local, parent)),
            _ => is_dir(&local.get(parent)),
        }
    }
}

enum Step {
    Begin(Op),
    /// Looked at again with the next news.
    Wait,
    Rest,
}
