//! Displaced files on their way to safety, and answers to what is asked about.

use std::sync::Arc;

use ksync_endpoint::{HeldFile, Input};

use super::Running;
use crate::{ask, dispatcher::Whose, far::ToFar, safekeeping::Told, state::Questions};

/// A displaced file is in safety, and may go; or it stays where it is until it can be brought there.
pub(super) fn kept(running: &mut Running, of: Whose, file: &HeldFile, kept: Result<(), String>) {
    let number = file.number;
    let safe = kept.is_ok();
    match &of {
        None => {
            running.dispatcher.held.over(number, safe);
            if safe {
                running.dispatcher.here.send(Input::Release(number));
            }
        }
        Some((name, generation)) => {
            let member = running.members.get_mut(name).filter(|member| member.generation == *generation);
            let Some(member) = member else { return };
            member.held.over(number, safe);
            if safe {
                member.far.send(ToFar::Release(number));
            }
        }
    }
    let Err(reason) = kept else { return running.unkept.remove(&of, number) };
    tracing::debug!(?of, file.path, reason, "bring a displaced file to safety; it is tried again");
    if running.unkept.add(&of, number, reason) {
        judge_again(running, of, number);
    } else {
        running.state.unkept = running.unkept.reason().map(str::to_owned);
    }
}

/// A displaced file is told of again, if it is anywhere.
pub(super) fn judge_again(running: &Running, of: Whose, number: u64) {
    let Some((name, generation)) = of else {
        return running.dispatcher.here.send(Input::JudgeAgain(number));
    };
    // One of an attachment that has ended is told of again when its container is attached again.
    if let Some(member) = running.members.get(&name).filter(|member| member.generation == generation) {
        member.far.send(ToFar::JudgeAgain(number));
    }
}

/// A container's displaced file is to be brought to safety, unless it is too large for that unasked.
pub(super) fn displaced_there(running: &mut Running, name: &Arc<str>, file: HeldFile) {
    let Some(member) = running.members.get_mut(name) else { return };
    let (size, terms) = (file.entry.size, member.terms);
    if !terms.trusts && size > terms.max_file && !running.cleared.covers_size(&file.path, size) {
        member.parked.insert(file.number, file);
        return;
    }
    let of = (Arc::clone(name), member.generation);
    match member.held.told(file.number) {
        Told::Keep(why) => running.dispatcher.keep_there(of, &member.far, why, file),
        Told::Wait => {}
        Told::Release => member.far.send(ToFar::Release(file.number)),
    }
}

/// Answers all that is asked; returns it.
pub(super) fn answer(running: &mut Running, agree: bool) -> Vec<Questions> {
    let asked = ask::answer_all(&mut running.group, &mut running.members, &mut running.cleared, agree);
    if agree {
        running.ledger.clear();
    }
    for name in running.members.keys().cloned().collect::<Vec<_>>() {
        let Some(member) = running.members.get_mut(&name) else { continue };
        for (number, file) in std::mem::take(&mut member.parked) {
            if agree {
                displaced_there(running, &name, file);
            } else if let Some(member) = running.members.get_mut(&name) {
                member.far.send(ToFar::Release(number));
            }
        }
    }
    asked
}
