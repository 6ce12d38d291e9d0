//! What the engine does with what it hears, and what it begins then.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use ksync_endpoint::{Applied, Content, Depth, HeldFile, Input, News, Output};
use ksync_merge::{Cleared, Digest, Group, Keep, Outcome, Policy, Side, State, Unknown, set_budget};
use tokio::sync::{mpsc, watch};

use crate::{
    admit, ask,
    command::{Attach, Check, Command, Edits},
    dispatcher::{Dispatcher, Event, Job, Whose},
    far::{FarContent, FromFar, ToFar},
    gate::Gate,
    journal::Journal,
    kinds::{self, Kinds},
    ledger::Ledger,
    listing::differing,
    marks::SideMarks,
    member::Attached,
    parked,
    stands::{is_file, size},
    state::Questions,
    unkept::Unkept,
};

/// Operations of one container that are under way at most.
const WINDOW: usize = 512;

/// A local directory and its containers at work.
pub(crate) struct Running {
    pub(crate) group: Group,
    pub(crate) journal: Journal,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) check: Check,
    pub(crate) edits: Edits,
    pub(crate) marks_tx: Option<mpsc::UnboundedSender<u64>>,
    pub(crate) members: HashMap<Arc<str>, Attached>,
    pub(crate) kinds: Kinds,
    /// Displaced files that could not be brought to safety, each with its container and attachment.
    pub(crate) unkept: Unkept,
    /// Paths at which a container's content came here last.
    pub(crate) of_containers: HashSet<Arc<str>>,
    pub(crate) generation: u64,
    /// What a person has agreed to.
    pub(crate) cleared: Cleared,
    /// What came here lately.
    pub(crate) ledger: Ledger,
    /// What was told so far of the local listing, while it is not complete.
    pub(crate) here_listing: Option<BTreeMap<Arc<str>, State>>,
    /// Marks of the local side.
    pub(crate) here_marks: SideMarks,
    pub(crate) state: crate::State,
    pub(crate) state_tx: watch::Sender<crate::State>,
}

impl Running {
    /// When a burst of removals is to be judged.
    pub(crate) fn next_gate(&self) -> Option<tokio::time::Instant> {
        self.members.values().filter_map(|member| member.gate.due()).min().map(Into::into)
    }

    pub(crate) fn obey(&mut self, command: Command) {
        match command {
            Command::Attach(attach) => self.attach(*attach),
            Command::Detach(name, number) => {
                if self.members.get(&name).is_some_and(|member| member.state.number == number) {
                    self.detach(&name);
                }
            }
            Command::Running { kind, family, names, leaving } => {
                for name in kinds::gone(self.group.names(), &family, [&names, &leaving]) {
                    self.detach(&name);
                    self.group.forget(&name);
                }
                self.kinds.set_running(kind, &family, names);
            }
            Command::Leaves(name) => {
                if let Some(member) = self.members.get_mut(&name) {
                    ask::leaves(member);
                }
            }
            Command::TwoWay(name, two_way) => self.set_two_way(&name, two_way),
            Command::Answer { agree, reply } => {
                // Whoever asked may have given up.
                let _ = reply.send(self.answer(agree));
            }
            Command::Root(root) => self.dispatcher.replace_root(root),
            Command::Compare => self.mark(),
        }
    }

    /// Answers all that is asked; returns it.
    fn answer(&mut self, agree: bool) -> Vec<Questions> {
        let asked = ask::answer_all(&mut self.group, &mut self.members, &mut self.cleared, agree);
        if agree {
            self.ledger.clear();
        }
        for (name, member) in &mut self.members {
            parked::answer(member, name, &self.cleared, &self.dispatcher, agree);
        }
        asked
    }

    fn attach(&mut self, attach: Attach) {
        let name = Arc::clone(&attach.name);
        self.detach(&name);
        self.generation += 1;
        let generation = self.generation;
        let policy = self.policy(&attach);
        if attach.two_way {
            self.group.set_two_way(&name);
        }
        let (member, from) = Attached::new(attach, generation, policy);
        self.dispatcher.listen(Arc::clone(&name), generation, from);
        self.members.insert(name, member);
    }

    /// Forgets what is under way there: nobody will tell what came of it.
    pub(crate) fn detach(&mut self, name: &str) {
        if self.members.remove(name).is_some() {
            self.group.detach(name);
            self.dispatcher.forget(name);
            self.unkept.forget(name);
            self.state.members.remove(name);
        }
    }

    /// Nothing is told from there any more. What was told is brought here before the container is let go of.
    fn end(&mut self, name: &str) {
        if let Some(member) = self.members.get_mut(name) {
            member.end();
        }
    }

    pub(crate) fn hear(&mut self, event: Event) {
        match event {
            Event::Here(output) => self.hear_here(output),
            Event::Far(name, generation, message) => {
                if self.members.get(&name).is_some_and(|member| member.generation == generation) {
                    match message {
                        Some(message) => self.hear_far(&name, message),
                        None => self.end(&name),
                    }
                }
            }
            Event::Read(all) => {
                for (number, content) in all {
                    match content {
                        Ok(content) => self.dispatcher.read(number, content),
                        Err(reason) => self.unread(number, &reason),
                    }
                }
            }
            Event::StagedThere(number, Ok(())) => self.dispatcher.send_job(number, FarContent::Staged),
            Event::StagedThere(number, Err(reason)) => self.unread(number, &reason),
            Event::StagedHere(number, Ok(staging)) => {
                self.dispatcher.do_here(number, Content::Staged(*staging));
            }
            Event::StagedHere(number, Err(reason)) => {
                if let Some(job) = self.dispatcher.over(number) {
                    self.over(&job, Outcome::Failed, Some(reason));
                }
            }
            Event::Kept(of, file, kept) => self.kept(of, &file, kept),
        }
    }

    /// A displaced file is in safety, and may go; or it stays where it is until it can be brought there.
    fn kept(&mut self, of: Whose, file: &HeldFile, kept: Result<(), String>) {
        let number = file.number;
        let safe = kept.is_ok();
        match &of {
            None => {
                self.dispatcher.held.over(number, safe);
                if safe {
                    self.dispatcher.here.send(Input::Release(number));
                }
            }
            Some((name, generation)) => {
                let member = self.members.get_mut(name).filter(|member| member.generation == *generation);
                let Some(member) = member else { return };
                member.held.over(number, safe);
                if safe {
                    member.far.send(ToFar::Release(number));
                }
            }
        }
        let Err(reason) = kept else { return self.unkept.remove(&of, number) };
        tracing::debug!(?of, file.path, reason, "bring a displaced file to safety; it is tried again");
        if self.unkept.add(&of, number, reason) {
            parked::judge_again(&self.members, &self.dispatcher, of, number);
        } else {
            self.state.unkept = self.unkept.reason().map(str::to_owned);
        }
    }

    fn hear_here(&mut self, output: Output) {
        match output {
            Output::News(news) => self.news_here(news),
            Output::Missed(count) => {
                tracing::info!(count, "the audit found changes here that no event had told of");
                self.state.healings.missed += count;
            }
            Output::Listed => {
                if let Some(listing) = self.here_listing.take() {
                    self.listed_here(listing);
                }
            }
            Output::Applied(number, applied) => self.applied_here(number, applied),
            Output::Held(file) => self.dispatcher.keep_here(file),
            Output::Marked { number, digest, .. } => self.marked_here(number, digest),
            Output::Skipped(skipped) => {
                self.group.unknown_here(Unknown::new(skipped.keys().cloned()));
                self.state.skipped = Arc::new(skipped);
            }
            Output::Full => tracing::error!("the local endpoint has no meter, and is full"),
        }
    }

    fn news_here(&mut self, news: Vec<News>) {
        for News { path, state, content } in news {
            self.members.values_mut().for_each(|member| member.heard(&state));
            if let (Some(hash), Some(content)) = (state.as_ref().and_then(|entry| entry.hash), content) {
                self.dispatcher.contents.put(hash, content);
            }
            let Some(listing) = &mut self.here_listing else {
                self.change_here(&path, state);
                continue;
            };
            match state {
                Some(state) => drop(listing.insert(path, Some(state))),
                None => drop(listing.remove(&path)),
            }
        }
    }

    /// Somebody has changed something here.
    fn change_here(&mut self, path: &str, state: State) {
        let file = is_file(&state) || is_file(&self.group.local().get(path));
        self.ledger.changed(path, size(&state));
        if self.group.here(path, state) {
            self.state.edits += 1;
            let (number, path) = (self.state.edits, Arc::<str>::from(path));
            self.of_containers.remove(&path);
            for member in self.members.values_mut() {
                member.edits.push_back((number, Arc::clone(&path), Instant::now()));
            }
            if file {
                self.edits.tell(&path, number);
            }
        }
    }

    fn listed_here(&mut self, listing: BTreeMap<Arc<str>, State>) {
        self.group.listed(listing);
        self.state.listed = true;
        for name in self.members.keys().cloned().collect::<Vec<_>>() {
            self.take_in(&name);
        }
    }

    fn policy(&self, attach: &Attach) -> Policy {
        let synced = self.group.was_synced(&attach.kind);
        Policy { two_way: attach.two_way, first: (!synced).then_some(attach.first) }
    }

    /// Both sides are listed: they are merged from here on.
    fn take_in(&mut self, name: &Arc<str>) {
        let Some(member) = self.members.get_mut(name) else { return };
        if !self.state.listed || !member.state.listed {
            return;
        }
        let Some(listing) = member.listing.take() else { return };
        member.told = listing.told;
        if self.group.container(name).is_some() {
            // Told once more: what differs was not told in its time.
            let differing = differing(&mut self.group, name, &listing.entries);
            member.state.healings.recounted += differing.len() as u64;
            for (path, state) in differing {
                self.group.there(name, &path, state);
            }
            return;
        }
        self.group.attach(name, listing.entries, member.policy);
        let Some((local, container)) = self.group.container(name) else { return };
        container.set_unknown(Unknown::new(member.skipped.keys().cloned()));
        container.exclude(member.excluded.clone());
        ksync_merge::set_terms(container, member.terms, self.cleared.clone());
        let sent = container.wanted(local).filter(|wanted| wanted.side == Side::There);
        let (entries, bytes) =
            sent.fold((0, 0), |(entries, bytes), wanted| (entries + 1, bytes + size(&wanted.new)));
        member.state.progress.more(entries, bytes);
        ask::compared(member, local, container);
    }

    fn hear_far(&mut self, name: &Arc<str>, message: FromFar) {
        match message {
            FromFar::News(news) => self.news_there(name, news),
            FromFar::Missed(count) => {
                if let Some(member) = self.members.get_mut(name) {
                    member.state.healings.missed += count;
                }
            }
            FromFar::Listed => {
                if let Some(member) = self.members.get_mut(name) {
                    member.state.listed = true;
                }
                self.take_in(name);
            }
            FromFar::Applied { number, outcome, error, shell, held } => {
                let Some(job) = self.dispatcher.over(number) else { return };
                if let Some(member) = self.members.get_mut(name) {
                    member.in_flight -= 1;
                    member.state.shells += u64::from(shell);
                    if let Some(held) = held {
                        member.held.because(held, job.op.keep.unwrap_or(Keep::Conflict));
                    }
                }
                self.over(&job, outcome, error);
            }
            FromFar::Held(file) => {
                if let Some(member) = self.members.get_mut(name) {
                    parked::told(member, name, file, &self.cleared, &self.dispatcher);
                }
            }
            FromFar::Marked { number, digest, .. } => self.marked_there(name, number, digest),
            FromFar::Skipped(skipped) => {
                if let Some((_, container)) = self.group.container(name) {
                    container.set_unknown(Unknown::new(skipped.keys().cloned()));
                }
                if let Some(member) = self.members.get_mut(name) {
                    member.skipped = skipped;
                }
            }
        }
    }

    fn news_there(&mut self, name: &Arc<str>, news: Vec<News>) {
        let Some(member) = self.members.get_mut(name) else { return };
        for News { path, state, content } in news {
            if let (Some(hash), Some(content)) = (state.as_ref().and_then(|entry| entry.hash), content) {
                self.dispatcher.contents.put(hash, content);
            }
            let known = self.group.container(name).map(|(local, container)| container.there(local, &path));
            if member.state.refused.is_some() || member.hear(&path, known, &state).is_err() {
                return;
            }
            member.heard(&state);
            let gone = state.is_none();
            self.group.there(name, &path, state);
            if gone && self.group.local().get(&path).is_some() {
                member.gate.removed(Instant::now());
            }
        }
    }

    fn applied_here(&mut self, number: u64, applied: Applied) {
        let Some(job) = self.dispatcher.over(number) else { return };
        let Applied { outcome, error, held, .. } = applied;
        if let Some(held) = held {
            self.dispatcher.held.because(held, job.op.keep.unwrap_or(Keep::Conflict));
        }
        self.over(&job, outcome, error);
    }

    /// What came of a job. Of one whose attachment has ended, what is here counts all the same.
    fn over(&mut self, job: &Job, outcome: Outcome, error: Option<String>) {
        let was_of_container = self.of_containers.contains(&job.op.path);
        if job.op.side == Side::Here
            && let Outcome::Done(state) | Outcome::Refused(state) = &outcome
        {
            self.group.here(&job.op.path, state.clone());
            if matches!(outcome, Outcome::Done(_)) {
                self.of_containers.insert(Arc::clone(&job.op.path));
            }
        }
        let Some(member) = self.members.get_mut(&job.name).filter(|m| m.generation == job.generation) else {
            return;
        };
        if job.op.keep == Some(Keep::Deleted) && is_file(&job.op.old) && !was_of_container {
            let content = job.op.old.as_ref().and_then(|old| old.hash);
            member.deleted.add(Arc::clone(&job.op.path), content, Instant::now());
        }
        if job.op.side == Side::There && matches!(outcome, Outcome::Done(_)) {
            member.state.progress.gone(size(&job.op.new));
            // What another container has written is no edit.
            if job.op.is_news && !member.was_settled && !self.of_containers.contains(&job.op.path) {
                member.brought.tell(&job.op.path, self.state.edits);
            }
        }
        member.over(&job.op, &outcome, error);
        if let Some((local, container)) = self.group.container(&job.name) {
            container.over(local, job.op.id, outcome);
        }
    }

    /// A local file is not what it was: it is looked at, and its news decide anew.
    fn unread(&mut self, number: u64, reason: &str) {
        let Some(job) = self.dispatcher.over(number) else { return };
        tracing::debug!(path = &*job.op.path, reason, "read what is to be sent");
        self.dispatcher.here.send(Input::Hint(job.op.path.to_string(), Depth::Entry));
        if let Some(member) = self.members.get_mut(&job.name).filter(|m| m.generation == job.generation) {
            member.in_flight -= 1;
        }
        self.over(&job, Outcome::Failed, Some(reason.to_owned()));
    }

    pub(crate) fn retry(&mut self) {
        for (of, number) in self.unkept.retry() {
            parked::judge_again(&self.members, &self.dispatcher, of, number);
        }
        self.state.unkept = self.unkept.reason().map(str::to_owned);
        for (name, member) in &mut self.members {
            if let Some((_, container)) = self.group.container(name)
                && !member.failures.is_empty()
            {
                let now = Instant::now();
                container.retry(|path| member.rests.is_due(path, now));
            }
        }
    }

    fn set_two_way(&mut self, name: &Arc<str>, two_way: bool) {
        let Some(member) = self.members.get_mut(name) else { return };
        (member.policy.two_way, member.state.two_way) = (two_way, two_way);
        if two_way {
            self.group.set_two_way(name);
        } else {
            member.state.questions.first_pull = None;
        }
        let Some((local, container)) = self.group.container(name) else { return };
        container.set_policy(member.policy);
        if two_way {
            ask::pulls(member, local, container);
            // What the container has removed meanwhile is a burst that is over.
            ask::removed(member, local, container);
        }
    }

    /// Begins what can be begun, and tells how far everything is.
    pub(crate) fn turn(&mut self) {
        match self.check.check() {
            Ok(()) => {
                if self.state.halted.take().is_some() {
                    self.dispatcher.here.send(Input::Everything);
                    self.mark();
                }
                ask::judge_all(&mut self.group, &mut self.members, Instant::now());
                self.begin();
            }
            Err(reason) => {
                // Nothing is known of what is here now.
                self.here_marks = SideMarks::default();
                for member in self.members.values_mut() {
                    (member.marks, member.state.as_of) = (SideMarks::default(), None);
                }
                self.state.halted = Some(reason);
            }
        }
        let ended = self.members.iter().filter(|(_, member)| member.ended);
        for name in self.dispatcher.through(ended.map(|(name, member)| (name, member.generation))) {
            self.detach(&name);
        }
        self.tell();
    }

    fn begin(&mut self) {
        if !self.state.listed {
            return;
        }
        let came = self.ledger.total(Instant::now());
        let names: Vec<Arc<str>> = self.members.keys().cloned().collect();
        let mut begun: Vec<Job> = Vec::new();
        for name in names {
            let Some(member) = self.members.get_mut(&name) else { continue };
            if member.listing.is_some() && !member.state.listed {
                continue;
            }
            let room = WINDOW.saturating_sub(member.in_flight);
            let Some((local, container)) = self.group.container(&name) else { continue };
            container.set_holds(member.holds());
            set_budget(container, member.terms.max_pull.saturating_sub(came));
            let mut ops = container.begin(local, room);
            if member.gate == Gate::Agreed {
                let deletions = ops.iter_mut().filter(|op| op.keep == Some(Keep::Deleted));
                deletions.for_each(|op| op.keep = Some(Keep::Accepted));
            }
            if member.gate.is_open() && container.is_idle() {
                member.gate = Gate::Idle;
                container.set_holds(member.holds());
            }
            let (generation, far, large) = (member.generation, &member.far, &member.large);
            let job = |op| Job {
                name: Arc::clone(&name),
                generation,
                op,
                far: Arc::clone(far),
                large: Arc::clone(large),
            };
            begun.extend(ops.into_iter().map(job));
        }
        let records = self.group.take_records();
        if let Err(error) = self.journal.record(&records, || self.group.snapshot()) {
            let reason = ksync_common::chain(&error);
            tracing::error!(reason, "what is to be done can't be written down: it is not done");
            for job in begun {
                self.over(&job, Outcome::Failed, Some(reason.clone()));
            }
            return;
        }
        let admit::Admitted { possible, refused } =
            admit::admit(begun, &self.dispatcher, &mut self.ledger, &self.cleared);
        for (job, reason) in refused {
            self.over(&job, Outcome::Failed, Some(reason));
        }
        for job in possible.iter().filter(|job| job.op.side == Side::There) {
            if let Some(member) = self.members.get_mut(&job.name) {
                member.in_flight += 1;
            }
        }
        self.dispatcher.dispatch(possible);
    }

    /// Asks both sides for their sums.
    pub(crate) fn mark(&mut self) {
        let number = self.dispatcher.number();
        if self.here_marks.ask(number, Instant::now()) {
            self.mark_here(number);
        }
    }

    fn mark_here(&self, number: u64) {
        match &self.marks_tx {
            // Where whoever hints has ended, nothing is claimed any more.
            Some(marks_tx) => drop(marks_tx.send(number)),
            None => self.dispatcher.here.send(Input::Mark(number)),
        }
    }

    fn marked_here(&mut self, number: u64, sum: Digest) {
        let Some((begun, next)) = self.here_marks.answered(number) else { return };
        if let Some(next) = next {
            self.mark_here(next);
        }
        if self.here_listing.is_some() || !self.dispatcher.rests_here() {
            return;
        }
        if sum != self.group.local().digest() {
            tracing::warn!("what is known here is not what there is: it is told anew");
            self.here_listing = Some(BTreeMap::new());
            return self.dispatcher.here.send(Input::List);
        }
        self.members.values_mut().for_each(|member| member.mark(number, begun));
    }

    fn marked_there(&mut self, name: &Arc<str>, number: u64, sum: Digest) {
        let Some(member) = self.members.get_mut(name) else { return };
        let known =
            self.group.container(name).map(|(local, known)| (known.digest(local), known.is_settled()));
        member.marked(number, sum, known);
    }

    fn tell(&mut self) {
        let mut fresh = false;
        for (name, member) in &mut self.members {
            if let Some((local, container)) = self.group.container(name) {
                ask::follow(member, local, container);
                fresh |= member.follow(container, &self.state, self.dispatcher.rests_here());
            }
            self.state.members.insert(Arc::clone(name), member.state.clone());
        }
        let is_settled = |name: &str| self.members.get(name).is_some_and(|member| member.state.settled);
        for kind in self.kinds.all_of_which(is_settled) {
            self.group.set_synced(&kind);
        }
        if self.state.two_way.as_ref() != self.group.two_way() {
            self.state.two_way = self.group.two_way().cloned();
        }
        // Who is through is compared at once.
        if fresh && !self.here_marks.is_under_way() {
            self.mark();
        }
        let state = &self.state;
        self.state_tx.send_if_modified(|told| {
            let news = told != state;
            if news {
                told.clone_from(state);
            }
            news
        });
    }
}
