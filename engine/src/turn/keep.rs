//! Displaced files on their way to safety, and answers to what is asked about.

use std::sync::Arc;

use ksync_endpoint::{HeldFile, Input};

use super::Running;
use crate::{ask, dispatcher::Whose, far::ToFar, safekeeping::Told, state::Questions};

impl Running {
    /// A displaced file is in safety, and may go; or it stays where it is until it can be brought there.
    pub(super) fn kept(&mut self, of: Whose, file: &HeldFile, kept: Result<(), String>) {
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
            self.judge_again(of, number);
        } else {
            self.state.unkept = self.unkept.reason().map(str::to_owned);
        }
    }

    /// A displaced file is told of again, if it is anywhere.
    pub(super) fn judge_again(&self, of: Whose, number: u64) {
        let Some((name, generation)) = of else {
            return self.dispatcher.here.send(Input::JudgeAgain(number));
        };
        // One of an attachment that has ended is told of again when its container is attached again.
        if let Some(member) = self.members.get(&name).filter(|member| member.generation == generation) {
            member.far.send(ToFar::JudgeAgain(number));
        }
    }

    /// A container's displaced file is to be brought to safety, unless it is too large for that unasked.
    pub(super) fn displaced_there(&mut self, name: &Arc<str>, file: HeldFile) {
        let Some(member) = self.members.get_mut(name) else { return };
        let (size, terms) = (file.entry.size, member.terms);
        if !terms.trusts && size > terms.max_file && !self.cleared.covers_size(&file.path, size) {
            member.parked.insert(file.number, file);
            return;
        }
        let of = (Arc::clone(name), member.generation);
        match member.held.told(file.number) {
            Told::Keep(why) => self.dispatcher.keep_there(of, &member.far, why, file),
            Told::Wait => {}
            Told::Release => member.far.send(ToFar::Release(file.number)),
        }
    }

    /// Answers all that is asked; returns it.
    pub(super) fn answer(&mut self, agree: bool) -> Vec<Questions> {
        let asked = ask::answer_all(&mut self.group, &mut self.members, &mut self.cleared, agree);
        if agree {
            self.ledger.clear();
        }
        for name in self.members.keys().cloned().collect::<Vec<_>>() {
            let Some(member) = self.members.get_mut(&name) else { continue };
            for (number, file) in std::mem::take(&mut member.parked) {
                if agree {
                    self.displaced_there(&name, file);
                } else if let Some(member) = self.members.get_mut(&name) {
                    member.far.send(ToFar::Release(number));
                }
            }
        }
        asked
    }
}
