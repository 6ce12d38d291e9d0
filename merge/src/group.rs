//! One local directory and all containers that it is synced with, now and lately.
//!
//! Invariant: whatever is known can be known again from the records, and an operation's record comes before the operation.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    container::Container,
    decide::Policy,
    journal::Record,
    local::{Change, Local, Unknown},
    op::{Op, OpId, Outcome, Side},
    state::{Known, Past, State},
};

/// Deletions that are remembered after everything has them, for containers to come.
const GONE: usize = 20_000;

/// One container of the group.
#[derive(Debug)]
pub struct Member {
    container: Container,
    /// Whether it is attached; else it is only remembered.
    attached: bool,
}

/// One local directory and its containers.
#[derive(Debug, Default)]
pub struct Group {
    local: Local,
    members: BTreeMap<Arc<str>, Member>,
    /// What was here once, and is gone.
    gone: BTreeSet<Arc<str>>,
    /// Kinds of containers that were in sync once.
    synced: BTreeSet<Arc<str>>,
    /// The container whose writes come here, or came here last.
    two_way: Option<Arc<str>>,
    records: Vec<Record>,
}

/// Nothing of a container that is only remembered is done.
const REMEMBERED: Policy = Policy { two_way: false, first: None };

impl Group {
    /// As it is known from records.
    pub fn recover(records: impl IntoIterator<Item = Record>) -> Self {
        let mut group = Self::default();
        for record in records {
            group.replay(record);
        }
        group.records.clear();
        group
    }

    fn replay(&mut self, record: Record) {
        match record {
            Record::Here { path, state } => drop(self.set_here(&path, state)),
            Record::Compared { member, .. } => {
                let container =
                    Container::new(&self.local, self.as_here(), |_, _| Known::Never(Past::None), REMEMBERED);
                self.members.insert(member, Member { container, attached: false });
            }
            Record::Known { member, path, known } => {
                if let Some(member) = self.members.get_mut(&member) {
                    member.container.remember(&self.local, &path, known);
                }
            }
            Record::Gone { path } => drop(self.gone.insert(path)),
            Record::Synced { kind } => drop(self.synced.insert(kind)),
            Record::TwoWay { member } => self.two_way = Some(member),
            Record::Forgotten { member } => drop(self.members.remove(&member)),
        }
    }

    fn as_here(&self) -> impl Iterator<Item = (Arc<str>, State)> {
        self.local.iter().map(|(path, entry)| (Arc::clone(path), Some(Arc::clone(entry))))
    }

    /// What is here.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// All that is to be on the disk: what is known now, from the beginning.
    pub fn snapshot(&self) -> Vec<Record> {
        let gone = self.gone.iter().map(|path| Record::Gone { path: Arc::clone(path) });
        let here = self.as_here().map(|(path, state)| Record::Here { path, state });
        let mut records: Vec<Record> = gone.chain(here).collect();
        for (name, member) in &self.members {
            let known: Vec<Record> = known_of(name, &member.container).collect();
            records.push(Record::Compared { member: Arc::clone(name), exceptions: known.len() });
            records.extend(known);
        }
        records.extend(self.synced.iter().map(|kind| Record::Synced { kind: Arc::clone(kind) }));
        records.extend(self.two_way.iter().map(|member| Record::TwoWay { member: Arc::clone(member) }));
        records
    }

    /// What has become known since this was last asked for. To be written down before what [`Group::begin`] returned is done.
    pub fn take_records(&mut self) -> Vec<Record> {
        self.flush();
        std::mem::take(&mut self.records)
    }

    /// This is here from now on. Whether that is a change.
    pub fn here(&mut self, path: &str, state: State) -> bool {
        // What containers have done before comes before it.
        self.flush();
        self.set_here(path, state)
    }

    fn flush(&mut self) {
        for (name, member) in &mut self.members {
            for (path, known) in member.container.take_news() {
                self.records.push(Record::Known { member: Arc::clone(name), path, known });
            }
        }
    }

    fn set_here(&mut self, path: &str, state: State) -> bool {
        let Some(change) = self.local.set(path, state.clone()) else { return false };
        let Change { path, .. } = &change;
        let was_in_sync = || {
            self.members.is_empty() || self.members.values().any(|member| member.container.was_in_sync(path))
        };
        if state.is_none() && !self.synced.is_empty() && was_in_sync() {
            self.gone.insert(Arc::clone(path));
            if self.gone.len() > GONE {
                self.gone.pop_first();
            }
        } else {
            self.gone.remove(path);
        }
        self.records.push(Record::Here { path: Arc::clone(path), state });
        for member in self.members.values_mut() {
            member.container.changed_here(&change);
        }
        true
    }

    /// All that is here, after a time in which nobody looked.
    pub fn listed(&mut self, listing: impl IntoIterator<Item = (Arc<str>, State)>) {
        let mut there: BTreeMap<Arc<str>, State> = listing.into_iter().collect();
        for (path, _) in self.local.iter() {
            there.entry(Arc::clone(path)).or_insert(None);
        }
        // What is in a directory goes before the directory.
        let (gone, come): (Vec<_>, Vec<_>) = there.into_iter().partition(|(_, state)| state.is_none());
        for (path, state) in gone.into_iter().rev().chain(come) {
            self.here(&path, state);
        }
    }

    /// What can't be looked at here.
    pub fn unknown_here(&mut self, unknown: Unknown) {
        if self.local.set_unknown(unknown) {
            self.members.values_mut().for_each(|member| member.container.reconsider());
        }
    }

    /// Whether all containers of a kind were in sync once: what fresh ones hold is no more than their image's.
    pub fn was_synced(&self, kind: &str) -> bool {
        self.synced.contains(kind)
    }

    /// All containers of a kind are in sync.
    pub fn set_synced(&mut self, kind: &Arc<str>) {
        if self.synced.insert(Arc::clone(kind)) {
            self.records.push(Record::Synced { kind: Arc::clone(kind) });
        }
    }

    /// The container whose writes come here, or came here last.
    pub fn two_way(&self) -> Option<&Arc<str>> {
        self.two_way.as_ref()
    }

    /// What a container writes comes here from now on.
    pub fn set_two_way(&mut self, member: &Arc<str>) {
        if self.two_way.as_ref() != Some(member) {
            self.two_way = Some(Arc::clone(member));
            self.records.push(Record::TwoWay { member: Arc::clone(member) });
        }
    }

    /// Takes a container in that holds `listing` now.
    pub fn attach(
        &mut self,
        name: &Arc<str>,
        listing: impl IntoIterator<Item = (Arc<str>, State)>,
        policy: Policy,
    ) {
        self.flush();
        let before = self.members.remove(name);
        let past = |path: &str| if self.gone.contains(path) { Past::Synced } else { Past::None };
        let known = |path: &str, there: &State| match &before {
            Some(member) => member.container.known(&self.local, path),
            None if policy.first.is_none() => Known::Fresh { past: past(path), image: there.clone() },
            None => Known::Never(past(path)),
        };
        let container = Container::new(&self.local, listing, known, policy);
        let known: Vec<Record> = known_of(name, &container).collect();
        self.records.push(Record::Compared { member: Arc::clone(name), exceptions: known.len() });
        self.records.extend(known);
        self.members.insert(Arc::clone(name), Member { container, attached: true });
    }

    /// A container is not reached any more: what was under way may have been done or not.
    pub fn detach(&mut self, name: &str) {
        if let Some(member) = self.members.get_mut(name) {
            member.attached = false;
        }
    }

    /// A container is no more.
    pub fn forget(&mut self, name: &str) {
        self.flush();
        if let Some((name, _)) = self.members.remove_entry(name) {
            self.records.push(Record::Forgotten { member: name });
        }
    }

    /// Names of all containers that are remembered.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.members.keys()
    }

    /// A container that is attached.
    pub fn container(&mut self, name: &str) -> Option<(&Local, &mut Container)> {
        let member = self.members.get_mut(name).filter(|member| member.attached)?;
        Some((&self.local, &mut member.container))
    }

    /// A container was found to hold this at `path`.
    pub fn there(&mut self, name: &str, path: &str, state: State) {
        if let Some((local, container)) = self.container(name) {
            container.seen_there(local, path, state);
        }
    }

    /// Operations to begin now, at most `most`, of one container.
    pub fn begin(&mut self, name: &str, most: usize) -> Vec<Op> {
        self.container(name).map(|(local, container)| container.begin(local, most)).unwrap_or_default()
    }

    /// What came of an operation. One here is told to all containers; returns whether that is a change of what is here.
    pub fn over(&mut self, name: &str, op: &Op, outcome: Outcome) {
        if op.side == Side::Here
            && let Outcome::Done(state) | Outcome::Refused(state) = &outcome
        {
            self.here(&op.path, state.clone());
        }
        self.finish(name, op.id, outcome);
    }

    fn finish(&mut self, name: &str, id: OpId, outcome: Outcome) {
        if let Some((local, container)) = self.container(name) {
            container.over(local, id, outcome);
        }
    }
}

fn known_of<'c>(name: &'c Arc<str>, container: &'c Container) -> impl Iterator<Item = Record> + use<'c> {
    container.exceptions().map(|(path, known)| Record::Known {
        member: Arc::clone(name),
        path: Arc::clone(path),
        known: Some(known.clone()),
    })
}
