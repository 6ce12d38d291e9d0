//! What a person is asked before it is done, of one container.
//!
//! Invariant: what is asked about is not done while the question stands ([`Attached::holds`]), and a question goes by itself
//! when there is nothing more to ask about.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use ksync_merge::{Cleared, Container, Group, Local, Side, Wanted};
use ksync_tree::Kind;

use crate::{
    gate::{self, Gate},
    member::Attached,
    stands::is_file,
    state::{FirstPull, Much, Questions},
    unasked,
};

/// Files that only a container has, above which they are not brought here unasked.
const PULL_FILES: usize = 1000;
/// The same in bytes.
const PULL_BYTES: u64 = 50 << 20;

/// Asks about what was found when the container was compared.
pub(crate) fn compared(member: &mut Attached, local: &Local, container: &Container) {
    let gone = gone_here(local, container);
    let never = |wanted: &Wanted| wanted.side == Side::There && wanted.new.is_none() && is_file(&wanted.old);
    // All of it: a disk that is not mounted looks like that.
    let all = || files_of(local) == 0 && container.wanted(local).filter(never).count() > 1;
    if gate::is_much(gone.files, gone.of) || all() {
        member.state.questions.gone_here = Some(gone);
    }
    if member.policy.two_way {
        pulls(member, local, container);
    }
    removed(member, local, container);
}

/// Asks about what only the container has, which comes here from now on.
pub(crate) fn pulls(member: &mut Attached, local: &Local, container: &Container) {
    if member.terms.trusts {
        return;
    }
    let (found, most) = (first_pull(local, container), PULL_BYTES.max(member.terms.max_file));
    member.state.questions.first_pull =
        Some(found).filter(|pull| pull.files > PULL_FILES || pull.bytes > most);
}

/// A container is on its way out: what it removes from now on is a part of its end, and nothing is asked about it any more.
pub(crate) fn leaves(member: &mut Attached) {
    member.gate = Gate::Closed;
    member.state.questions = Questions::default();
}

/// What the container has removed is judged when nothing more is removed.
pub(crate) fn removed(member: &mut Attached, local: &Local, container: &Container) {
    if removals_here(local, container).next().is_some() {
        member.gate.removed(Instant::now());
    }
}

/// The containers that are attached.
type Members = HashMap<Arc<str>, Attached>;

/// Judges what each container has removed, and what is asked about.
pub(crate) fn judge_all(group: &mut Group, members: &mut Members, now: Instant) {
    for (name, member) in members {
        if let Some((local, container)) = group.container(name) {
            judge(member, local, container, now);
        }
    }
}

/// Tells what does not come here unasked, after all has begun that could be begun.
pub(crate) fn follow(member: &mut Attached, local: &Local, container: &Container) {
    let asked = || unasked::asked(member, local, container);
    member.state.questions.unasked = if member.gate == Gate::Closed { None } else { asked() };
}

/// Answers all questions that there are; returns them.
pub(crate) fn answer_all(
    group: &mut Group,
    members: &mut Members,
    cleared: &mut Cleared,
    agree: bool,
) -> Vec<Questions> {
    let mut asked = Vec::new();
    for (name, member) in &mut *members {
        if let Some((local, container)) = group.container(name)
            && !member.state.questions.is_none()
        {
            asked.push(answer(member, local, container, cleared, agree));
        }
    }
    for (name, member) in members.iter().filter(|_| agree) {
        if let Some((_, container)) = group.container(name) {
            ksync_merge::set_terms(container, member.terms, cleared.clone());
        }
    }
    asked
}

/// Judges removals that are due, and looks at what is asked about once more.
fn judge(member: &mut Attached, local: &Local, container: &Container, now: Instant) {
    // A removal may be decided long after it was made: something else stood in its way.
    if member.gate == Gate::Idle && container.is_idle() && !container.is_settled() {
        removed(member, local, container);
    }
    if member.gate.due().is_some_and(|due| due <= now) {
        let files = removed_files(local, container);
        let here = |path: &str| local.get(path).is_some();
        let mut before = member.deleted.count(now, here);
        // Of one that is asked about, something must be left to say no to.
        let is_much = |before: usize| files > 0 && gate::is_much(files + before, files_of(local) + before);
        if before > 0 && is_much(before) {
            member.deleted.forget_moved(&contents(local));
            before = member.deleted.count(now, here);
        }
        let (much, of) = (is_much(before), files_of(local) + before);
        member.gate = if much { Gate::Asked } else { Gate::Open };
        member.state.questions.removed = much.then_some(Much { files, before, of });
    }
    let Questions { removed, gone_here: gone, first_pull: pull, .. } = &mut member.state.questions;
    if let Some(much) = removed {
        much.files = removed_files(local, container);
        if much.files == 0 {
            (*removed, member.gate) = (None, Gate::Idle);
        }
    }
    if gone.is_some() {
        *gone = Some(gone_here(local, container)).filter(|much| much.files > 0);
    }
    if pull.is_some() {
        *pull = Some(first_pull(local, container)).filter(|pull| pull.files > 0);
    }
}

/// Does what a person says: all that was asked about, or the opposite of it. What only the container has stays there and goes
/// on being asked about when the answer is no. Returns what was asked.
fn answer(
    member: &mut Attached,
    local: &Local,
    container: &mut Container,
    cleared: &mut Cleared,
    agree: bool,
) -> Questions {
    let asked = member.state.questions.clone();
    if agree {
        unasked::agree(member, local, container, asked.first_pull.is_some(), cleared);
    } else {
        unasked::decline(local, container);
    }
    let questions = &mut member.state.questions;
    if questions.removed.take().is_some() {
        if !agree {
            container.undo_removals(local, Side::Here);
        }
        member.gate = if agree { Gate::Agreed } else { Gate::Idle };
        member.deleted.clear();
    }
    if questions.gone_here.take().is_some() && !agree {
        container.undo_removals(local, Side::There);
    }
    if agree {
        questions.first_pull = None;
    }
    asked
}

fn contents(local: &Local) -> HashSet<[u8; 32]> {
    local.iter().filter_map(|(_, entry)| entry.hash).collect()
}

fn files_of(local: &Local) -> usize {
    local.iter().filter(|(_, entry)| entry.kind != Kind::Dir).count()
}

/// What a container has removed that is here still.
fn removals_here<'a>(local: &'a Local, container: &'a Container) -> impl Iterator<Item = Wanted> + use<'a> {
    container.wanted(local).filter(|wanted| wanted.side == Side::Here && wanted.new.is_none())
}

fn removed_files(local: &Local, container: &Container) -> usize {
    removals_here(local, container).filter(|wanted| is_file(&wanted.old)).count()
}

/// What was in sync, is gone here, and is in the container still.
fn gone_here(local: &Local, container: &Container) -> Much {
    let gone = |wanted: &Wanted| {
        wanted.side == Side::There && wanted.new.is_none() && !wanted.never && is_file(&wanted.old)
    };
    let files = container.wanted(local).filter(gone).count();
    Much { files, before: 0, of: files_of(local) + files }
}

/// What only the container has, and was never here.
fn first_pull(local: &Local, container: &Container) -> FirstPull {
    let mut pull = FirstPull { files: 0, bytes: 0, tops: Vec::new() };
    let mut tops = BTreeSet::new();
    // In byte order, in which a directory comes before what is in it.
    for wanted in container.wanted(local) {
        if wanted.side != Side::Here || !wanted.never || wanted.old.is_some() {
            continue;
        }
        let Some(entry) = &wanted.new else { continue };
        if entry.kind != Kind::Dir {
            pull.files += 1;
            pull.bytes += entry.size;
        }
        if !unasked::above(&wanted.path).any(|above| tops.contains(above)) {
            tops.insert(wanted.path.to_string());
        }
    }
    FirstPull { tops: tops.into_iter().collect(), ..pull }
}
