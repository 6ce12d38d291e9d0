//! Displaced files that stay where they are: a container's that are too large to be kept unasked wait there for a person, and
//! what could not be brought to safety is told of again.

use std::{collections::HashMap, sync::Arc};

use ksync_endpoint::{HeldFile, Input};
use ksync_merge::Cleared;

use crate::{
    dispatcher::{Dispatcher, Whose},
    far::ToFar,
    member::Attached,
    safekeeping::Told,
};

/// A displaced file is to be brought to safety, unless it is too large for that unasked.
pub(crate) fn told(
    member: &mut Attached,
    name: &Arc<str>,
    file: HeldFile,
    cleared: &Cleared,
    dispatcher: &Dispatcher,
) {
    let (size, terms) = (file.entry.size, member.terms);
    if !terms.trusts && size > terms.max_file && !cleared.covers_size(&file.path, size) {
        member.parked.insert(file.number, file);
        return;
    }
    let of = (Arc::clone(name), member.generation);
    match member.held.told(file.number) {
        Told::Keep(why) => dispatcher.keep_there(of, &member.far, why, file),
        Told::Wait => {}
        Told::Release => member.far.send(ToFar::Release(file.number)),
    }
}

/// They are brought to safety, as `cleared` says by now, or dropped.
pub(crate) fn answer(
    member: &mut Attached,
    name: &Arc<str>,
    cleared: &Cleared,
    dispatcher: &Dispatcher,
    agree: bool,
) {
    for (number, file) in std::mem::take(&mut member.parked) {
        if agree {
            told(member, name, file, cleared, dispatcher);
        } else {
            member.far.send(ToFar::Release(number));
        }
    }
}

/// A displaced file is told of again, if it is anywhere.
pub(crate) fn judge_again(
    members: &HashMap<Arc<str>, Attached>,
    dispatcher: &Dispatcher,
    of: Whose,
    number: u64,
) {
    let Some((name, generation)) = of else { return dispatcher.here.send(Input::JudgeAgain(number)) };
    // One of an attachment that has ended is told of again when its container is attached again.
    if let Some(member) = members.get(&name).filter(|member| member.generation == generation) {
        member.far.send(ToFar::JudgeAgain(number));
    }
}
