//! One container of a local directory: what of it differs from the local side, and the operations that are under way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    decide::{Action, Policy, decide},
    local::{Change, Local, below},
    state::{Keep, Known, State, is_dir, same},
};

/// Where an operation is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// In the local directory.
    Here,
    /// In the container.
    There,
}

/// Number of an operation, rising.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// What is to be done at one path of one side. Operations of a side are carried out in the order of their numbers.
#[derive(Debug, Clone)]
pub struct Op {
    /// Its number.
    pub id: OpId,
    /// Where.
    pub side: Side,
    /// At which path.
    pub path: Arc<str>,
    /// What stands there: nothing else may be replaced.
    pub old: State,
    /// What is to stand there, as it is on the other side.
    pub new: State,
    /// Whether what stands there is kept first, and why.
    pub keep: Option<Keep>,
}

/// What came of an operation.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It is done, and this stands there now.
    Done(State),
    /// This stands there, which is not what was to be replaced (or its directory is not there, or is not empty).
    Refused(State),
    /// It failed and has changed nothing; it is decided anew by [`Container::retry`].
    Failed,
}

/// A path at which the container is not simply like the local side.
#[derive(Debug, Clone)]
struct Exception {
    there: State,
    known: Known,
    /// The operation that is under way, and what was known before it.
    flight: Option<(Op, Known)>,
    /// It has changed on its own, while nothing of this container came here.
    own: bool,
    failed: bool,
}

/// What is known of one container, from its first listing to its end.
#[derive(Debug)]
pub struct Container {
    except: BTreeMap<Arc<str>, Exception>,
    dirty: BTreeSet<Arc<str>>,
    flights: BTreeMap<OpId, Arc<str>>,
    policy: Policy,
    next_id: u64,
}

impl Container {
    /// A container that holds `listing`, of which `known` says what is known of a path.
    pub fn new(
        local: &Local,
        listing: impl IntoIterator<Item = (Arc<str>, State)>,
        known: impl Fn(&str) -> Known,
        policy: Policy,
    ) -> Self {
        let mut container = Self {
            except: BTreeMap::new(),
            dirty: BTreeSet::new(),
            flights: BTreeMap::new(),
            policy,
            next_id: 0,
        };
        let mut there: BTreeMap<Arc<str>, State> = listing.into_iter().collect();
        for (path, _) in local.iter() {
            there.entry(Arc::clone(path)).or_insert(None);
        }
        for (path, there) in there {
            if same(&local.get(&path), &there) {
                continue;
            }
            let known = known(&path);
            container.dirty.insert(Arc::clone(&path));
            container
                .except
                .insert(path, Exception { there, known, flight: None, own: false, failed: false });
        }
        container
    }

    /// What is known to be in the container at `path`.
    pub fn there(&self, local: &Local, path: &str) -> State {
        self.except.get(path).map_or_else(|| local.get(path), |exception| exception.there.clone())
    }

    /// What is to be remembered of the container: the paths at which it is not known to be like the local side.
    pub fn exceptions(&self) -> impl Iterator<Item = (&Arc<str>, &Known)> {
        self.except.iter().map(|(path, exception)| (path, &exception.known))
    }

    /// What is known of a path.
    pub fn known(&self, local: &Local, path: &str) -> Known {
        let here = || Known::Agreed { here: local.get(path), there: local.get(path) };
        self.except.get(path).map_or_else(here, |exception| exception.known.clone())
    }

    /// Whether nothing is to be done and nothing under way.
    pub fn is_settled(&self) -> bool {
        self.dirty.is_empty() && self.flights.is_empty()
    }

    /// Something changed here.
    pub fn changed_here(&mut self, change: &Change) {
        self.except.entry(Arc::clone(&change.path)).or_insert_with(|| Exception {
            there: change.old.clone(),
            known: Known::Agreed { here: change.old.clone(), there: change.old.clone() },
            flight: None,
            own: false,
            failed: false,
        });
        self.touch(&change.path);
    }

    /// The container was found to hold this at `path`.
    pub fn seen_there(&mut self, local: &Local, path: &str, there: State) {
        let here = local.get(path);
        match self.except.get_mut(path) {
            Some(exception) if same(&exception.there, &there) => exception.there = there,
            Some(exception) => {
                exception.there = there;
                let path = Arc::from(path);
                self.touch(&path);
            }
            None if same(&here, &there) => {}
            None => {
                let path: Arc<str> = Arc::from(path);
                let known = Known::Agreed { here: here.clone(), there: here };
                let exception = Exception { there, known, flight: None, own: false, failed: false };
                self.except.insert(Arc::clone(&path), exception);
                self.touch(&path);
            }
        }
    }

    /// Another container is the two-way one now, or this one is.
    pub fn set_policy(&mut self, policy: Policy) {
        if self.policy != policy {
            self.policy = policy;
            self.dirty.extend(self.except.keys().cloned());
        }
    }

    /// What has failed is decided anew.
    pub fn retry(&mut self) {
        for (path, exception) in &mut self.except {
            if std::mem::take(&mut exception.failed) {
                self.dirty.insert(Arc::clone(path));
            }
        }
    }

    /// A path is looked at again, and so are the directories above it, which may have waited for it.
    fn touch(&mut self, path: &Arc<str>) {
        self.dirty.insert(Arc::clone(path));
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
        let waiting: Vec<Arc<str>> = below(&self.except, path).map(|(path, _)| Arc::clone(path)).collect();
        self.dirty.extend(waiting);
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
        self.touch(&path);
        if failed {
            self.dirty.remove(&path);
        }
        self.forget(local, &path);
    }

    /// An exception that is none any more.
    fn forget(&mut self, local: &Local, path: &str) {
        let Some(exception) = self.except.get(path) else { return };
        if exception.flight.is_none() && same(&local.get(path), &exception.there) {
            self.except.remove(path);
            self.dirty.remove(path);
        }
    }

    /// Operations to begin now, at most `most`. Each is under way until [`Container::over`].
    pub fn begin(&mut self, local: &Local, most: usize) -> Vec<Op> {
        let mut begun = Vec::new();
        let dirty: Vec<Arc<str>> = std::mem::take(&mut self.dirty).into_iter().collect();
        let (additions, removals): (Vec<_>, Vec<_>) =
            dirty.into_iter().partition(|path| !self.removes(local, path));
        // What goes from below upwards, then what comes from above downwards.
        for path in removals.into_iter().rev().chain(additions) {
            if begun.len() >= most {
                self.dirty.insert(path);
                continue;
            }
            match self.step(local, &path) {
                Step::Begin(op) => begun.push(op),
                Step::Wait => {
                    self.dirty.insert(path);
                }
                Step::Rest => {}
            }
        }
        begun
    }

    /// Whether the decision for a path is that something goes.
    fn removes(&self, local: &Local, path: &str) -> bool {
        let Some(exception) = self.except.get(path) else { return false };
        let here = local.get(path);
        match self.decision(&here, exception) {
            Action::Send(_) => here.is_none(),
            Action::Take(_) => exception.there.is_none(),
            Action::Agree | Action::Leave => false,
        }
    }

    fn decision(&self, here: &State, exception: &Exception) -> Action {
        let action = decide(here, &exception.there, &exception.known, self.policy);
        // What it did on its own before it was the two-way one is undone, and kept.
        if exception.own && self.policy.two_way && here.is_some() && matches!(action, Action::Take(_)) {
            return Action::Send(exception.there.as_ref().map(|_| Keep::Conflict));
        }
        action
    }

    fn step(&mut self, local: &Local, path: &Arc<str>) -> Step {
        let Some(exception) = self.except.get(path) else { return Step::Rest };
        if exception.flight.is_some() {
            // Its end is news.
            return Step::Rest;
        }
        if exception.failed {
            return Step::Rest;
        }
        let here = local.get(path);
        let there = exception.there.clone();
        let decision = self.decision(&here, exception);
        let Some(action) = self.over_what_is_below(local, path, &here, &there, decision) else {
            return Step::Wait;
        };
        let (side, old, new, keep) = match action {
            Action::Agree => {
                self.except.remove(path);
                return Step::Rest;
            }
            Action::Leave => {
                if let Some(exception) = self.except.get_mut(path) {
                    exception.own |= !self.policy.two_way;
                }
                return Step::Rest;
            }
            Action::Send(keep) => (Side::There, there, here, keep),
            Action::Take(keep) => (Side::Here, here, there, Some(keep)),
        };
        if new.is_some() && !self.has_parent(local, path, side) {
            return Step::Wait;
        }
        self.next_id += 1;
        let id = OpId(self.next_id);
        let op = Op { id, side, path: Arc::clone(path), old: old.clone(), new: new.clone(), keep };
        self.flights.insert(id, Arc::clone(path));
        if let Some(exception) = self.except.get_mut(path) {
            let under_way = match side {
                Side::There => Known::Sending { old, new, keep },
                Side::Here => Known::Taking { old, new },
            };
            let before = std::mem::replace(&mut exception.known, under_way);
            exception.flight = Some((op.clone(), before));
        }
        Step::Begin(op)
    }

    /// The action for a path, where it would take a directory away, in the light of what is in that directory: it goes
    /// only when all of it goes. None while that is not known yet.
    fn over_what_is_below(
        &self,
        local: &Local,
        path: &Arc<str>,
        here: &State,
        there: &State,
        action: Action,
    ) -> Option<Action> {
        match action {
            Action::Send(keep) if is_dir(there) && !is_dir(here) => {
                let mut waits = false;
                for (below, state) in self.entries_there(local, path) {
                    if self.is_going(&below, Side::There) || state.is_none() {
                        continue;
                    }
                    waits = true;
                    // A file of ours takes the directory's place: what is in it can't come here.
                    if here.is_none() && !self.would_send(local, &below) {
                        let stays =
                            if self.policy.two_way { Action::Take(Keep::Taken) } else { Action::Leave };
                        return Some(stays);
                    }
                }
                (!waits).then_some(Action::Send(keep))
            }
            Action::Take(keep) if is_dir(here) && !is_dir(there) => {
                let mut waits = false;
                for (below, _) in local.below(path) {
                    if self.is_going(below, Side::Here) {
                        continue;
                    }
                    waits = true;
                    if self.would_send(local, below) || !self.except.contains_key(below) {
                        return Some(Action::Send(there.as_ref().map(|_| Keep::Conflict)));
                    }
                }
                (!waits).then_some(Action::Take(keep))
            }
            // The container has taken a directory away on its own, into which something goes now.
            Action::Leave
                if is_dir(here)
                    && !is_dir(there)
                    && local.below(path).any(|(below, _)| self.would_send(local, below)) =>
            {
                Some(Action::Send(there.as_ref().map(|_| Keep::Conflict)))
            }
            // What can't come here, because a file of ours stands where its directory would be, is kept and goes.
            Action::Take(_) | Action::Leave if there.is_some() && self.is_shadowed(local, path) => {
                let waits = is_dir(there)
                    && self
                        .entries_there(local, path)
                        .any(|(below, state)| state.is_some() && !self.is_going(&below, Side::There));
                (!waits).then_some(Action::Send(Some(Keep::Conflict)))
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
                    return matches!(self.decision(&here, exception), Action::Send(_));
                }
            }
            above = parent;
        }
        false
    }

    /// Whether the decision for a path is to give the container what is here.
    fn would_send(&self, local: &Local, path: &str) -> bool {
        let Some(exception) = self.except.get(path) else { return false };
        matches!(self.decision(&local.get(path), exception), Action::Send(_) | Action::Agree)
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
