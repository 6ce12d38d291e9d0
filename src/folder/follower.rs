//! Following a container, which the local path's engine keeps equal.
//!
//! Invariant: it is `watching` only while both sides' sums of all that is there are known to be the same.

use std::{
    convert::Infallible,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::FutureExt;
use jiff::Timestamp;
use ksync_common::Backoff;
use ksync_engine::{
    Attach, Command, Edits, Engine, Failure, FirstPull, Healings, LastEdit, MemberState, Much, Questions,
    Unasked,
};
use ksync_merge::{First, Side, Terms};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{attached::Attached, interruption::Interruption};
use crate::{
    config::{Direction, Initial},
    local::{INLINE, LocalFolder, Seat, phrase},
    node::NodeState,
    printer::size,
    reload::Automatic,
    status::{Edit, ServiceTx, Status},
    targets::RemoteContainer,
};

/// A claim is looked at again so often, because it ages.
const AGES: Duration = Duration::from_secs(1);

/// The engine knows of an attachment within this time, or it is over.
const TAKEN_IN: Duration = Duration::from_secs(5);

/// Tells attachments of one name apart.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// The container is detached from the engine when this is dropped.
struct Joined {
    engine: Engine,
    name: Arc<str>,
    number: u64,
    /// Why radar refuses to go on, if so.
    why: Arc<OnceLock<String>>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        let (engine, name, number) = (self.engine.clone(), Arc::clone(&self.name), self.number);
        tokio::spawn(async move { engine.send(Command::Detach(name, number)).await });
    }
}

/// Follows one container.
pub(super) struct Follower<'a> {
    pub(super) spec: &'a str,
    pub(super) container: &'a RemoteContainer,
    pub(super) kind: &'a Arc<str>,
    pub(super) direction: Direction,
    pub(super) initial: Initial,
    pub(super) terms: Terms,
    pub(super) local: &'a Arc<LocalFolder>,
    pub(super) automatic: &'a Automatic,
    pub(super) status: &'a ServiceTx,
    /// Its pod is on its way out.
    pub(super) leaves: &'a CancellationToken,
}

impl Follower<'_> {
    /// Follows an attached directory until it is interrupted. Resets `backoff` once both sides hold the same. The app is
    /// reloaded while `reloading` stands, which is dropped when the pod is on its way out.
    pub(super) async fn follow(
        &self,
        attached: &mut Attached,
        backoff: &mut Backoff,
        reloading: impl Send,
    ) -> Result<Infallible, Interruption> {
        let Self { local, automatic, .. } = self;
        let (engine, id) = (&local.engine, &self.container.id);
        let candidate = self.direction == Direction::Both;
        // Whoever can have the seat at once has it from the beginning: what its container wrote meanwhile comes here.
        let mut seat: Option<Seat> = None;
        if candidate {
            seat = local.two_way.seat(id).now_or_never();
        }
        let (brought_tx, mut brought) = mpsc::unbounded_channel();
        let joined = self.attach(attached, seat.is_some(), brought_tx).await?;
        let mut state = engine.state();
        let mut link_state = attached.node.state();
        let mut election = local.two_way.watch();
        let (mut seen, taken_in) = (false, tokio::time::Instant::now() + TAKEN_IN);
        let mut stays = Some(reloading);
        // Those of earlier attachments count too.
        let mut before = Healings::default();
        self.status.modify(|service| before = service.healings);
        loop {
            let (member, halted) = {
                let state = state.borrow_and_update();
                let member = state.members.get(&joined.name).filter(|member| member.number == joined.number);
                let unkept = || {
                    state.unkept.as_ref().map(|why| format!("what is replaced can't be kept: {}", cause(why)))
                };
                (member.cloned(), state.halted.clone().or_else(unkept))
            };
            let Some(member) = member else {
                if let Some(why) = joined.why.get() {
                    return Err(Interruption::Refused(why.clone()));
                }
                if seen {
                    return Err(Interruption::Ended("radar ended the attachment".to_owned()));
                }
                // It may be over before anybody has seen it.
                tokio::select! {
                    changed = state.changed() => changed.map_err(|_| Interruption::Lost(String::new()))?,
                    () = tokio::time::sleep_until(taken_in) => {
                        return Err(Interruption::Lost("the attachment ended at once".to_owned()));
                    }
                }
                continue;
            };
            seen = true;
            if let Some(why) = &member.refused {
                return Err(Interruption::Refused(why.clone()));
            }
            let elected = !candidate || seat.is_some() || election.is_taken();
            self.report(&member, before, halted, elected, attached);
            let paths: Vec<String> = std::iter::from_fn(|| brought.try_recv().ok()).collect();
            if !paths.is_empty() && stays.is_some() {
                automatic.merged(&paths);
            }
            if member.settled && elected {
                automatic.proved();
                backoff.reset();
            }
            if member.listed {
                automatic.holds(member.holds);
            }
            tokio::select! {
                changed = state.changed() => changed.map_err(|_| Interruption::Lost(String::new()))?,
                changed = link_state.changed() => {
                    changed.map_err(|_| Interruption::Lost(String::new()))?;
                    if let NodeState::Down { reason, .. } = &*link_state.borrow_and_update() {
                        return Err(Interruption::Lost(reason.clone()));
                    }
                }
                () = election.changed() => {}
                ended = &mut attached.end => return Err(match ended {
                    Ok(reason) => Interruption::Ended(reason),
                    Err(_) => Interruption::Lost(String::new()),
                }),
                taken = local.two_way.seat(id), if candidate && seat.is_none() && member.settled && stays.is_some() => {
                    engine.send(Command::TwoWay(Arc::clone(&joined.name), true)).await;
                    seat = Some(taken);
                    info!("what it writes comes here from now on");
                }
                () = self.leaves.cancelled(), if stays.is_some() => {
                    // What only local changes go to has nothing to say any more.
                    seat.take().ok_or(Interruption::Left)?;
                    stays = None;
                    info!("its pod is on its way out: what it writes comes here until it ends");
                    engine.send(Command::Leaves(Arc::clone(&joined.name))).await;
                    self.status.withdraw();
                }
                () = tokio::time::sleep(AGES) => {}
            }
        }
    }

    async fn attach(
        &self,
        attached: &Attached,
        two_way: bool,
        brought: mpsc::UnboundedSender<String>,
    ) -> Result<Joined, Interruption> {
        let (local, engine) = (self.local, &self.local.engine);
        let (far, from) = attached.attachment.open(&local.ignore, INLINE).await?;
        let why = far.why();
        let name = ksync_engine::name(&self.container.id, self.kind);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let attach = Attach {
            name: Arc::clone(&name),
            number,
            kind: Arc::clone(self.kind),
            far: Arc::new(far),
            from,
            two_way,
            first: match self.initial {
                Initial::Local => First::Local,
                Initial::Remote => First::Remote,
                Initial::Newest => First::Newest,
            },
            terms: self.terms,
            excluded: attached.excluded.clone(),
            // The follower may be gone.
            brought: Edits::new(move |path, _| drop(brought.send(path.to_owned()))),
        };
        engine.send(Command::Attach(Box::new(attach))).await;
        Ok(Joined { engine: engine.clone(), name, number, why })
    }

    fn report(
        &self,
        member: &MemberState,
        before: Healings,
        halted: Option<String>,
        elected: bool,
        attached: &Attached,
    ) {
        let contact = attached.node.last_contact();
        let (status, reason) = self.standing(member, halted);
        let status = if status == Status::Watching && !elected { Status::Syncing } else { status };
        let back = member.two_way && member.settled;
        self.status.modify(|service| {
            service.last_contact = contact;
            service.last_edit = member.last_edit.and_then(edit);
            service.as_of = member.as_of;
            service.healings = before + member.healings;
            if back {
                service.direction = Direction::Both;
            }
            if status == Status::Watching {
                service.percent = 100;
            } else if member.progress.of_entries > 0 {
                service.percent = member.progress.percent();
            }
        });
        self.status.set(status, reason);
    }

    /// The status word, and the sentence that goes with it.
    fn standing(&self, member: &MemberState, halted: Option<String>) -> (Status, String) {
        if let Some(reason) = halted {
            return (Status::Error, reason);
        }
        let (spec, pod) = (self.spec, &self.container.pod);
        let Questions { removed, gone_here, first_pull, unasked } = &member.questions;
        if let Some(much) = gone_here {
            let reason = format!(
                "{} of {} entries that were in sync are gone here; put them back (is a disk not mounted?), or say: `kubectl \
                 ksync accept {spec}` deletes them in pod `{pod}` too, `kubectl ksync decline {spec}` puts them back here",
                much.files, much.of
            );
            return (Status::Error, reason);
        }
        if let Some(much) = removed {
            return (Status::Paused, mass_deletion(*much, spec, pod));
        }
        if !member.failures.is_empty() {
            let sentences: Vec<String> =
                member.failures.iter().map(|(path, failure)| sentence(path, failure)).collect();
            return (Status::Error, first_of(&sentences));
        }
        if first_pull.is_some() || unasked.is_some() {
            return (Status::Confirm, question(first_pull.as_ref(), unasked.as_ref(), spec, pod));
        }
        if member.is_watching(Instant::now()) {
            return (Status::Watching, String::new());
        }
        let goes = member.progress.of_entries > member.progress.entries;
        let reason = match &member.unread {
            _ if goes => member.progress.to_string(),
            Some((path, why)) => sentence(path, why),
            None => String::new(),
        };
        (Status::Syncing, reason)
    }
}

fn edit(edit: LastEdit) -> Option<Edit> {
    Some(Edit { at: Timestamp::try_from(edit.at).ok()?, settled: edit.took })
}

/// How much a container has deleted, and both answers.
fn mass_deletion(much: Much, spec: &str, pod: &str) -> String {
    let Much { files, before, of } = much;
    let left = match before {
        0 => "all of them are still here".to_owned(),
        _ => format!("{files} of them are still here, `kubectl ksync restore {spec}` has the others"),
    };
    format!(
        "pod `{pod}` deleted {} of {of} files within seconds; {left}: `kubectl ksync accept {spec}` deletes them here too, \
         `kubectl ksync decline {spec}` puts them back into the container",
        files + before
    )
}

/// How much only a container has, or what of it does not come unasked, and both answers.
fn question(pull: Option<&FirstPull>, unasked: Option<&Unasked>, spec: &str, pod: &str) -> String {
    let many =
        pull.map(|pull| format!("{} files ({}) exist only in pod `{pod}`", pull.files, size(pull.bytes)));
    let what = match (many, unasked.map(phrase)) {
        (Some(many), Some(what)) => format!("{many}, and what does not come here unasked: {what}"),
        (Some(many), None) => many,
        (None, what) => {
            format!("pod `{pod}` has what does not come here unasked: {}", what.unwrap_or_default())
        }
    };
    // What stands here is not left there, but put back.
    let back =
        if unasked.is_some_and(|asked| asked.replaced > 0) { ", and puts back what is here" } else { "" };
    let colon = if unasked.is_some() { "." } else { ":" };
    format!(
        "{what}{colon} `kubectl ksync accept {spec}` brings them here, `kubectl ksync decline {spec}` leaves them there{back}"
    )
}

/// The first of several sentences, and how many more there are.
fn first_of(sentences: &[String]) -> String {
    match sentences {
        [] => String::new(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

/// What fails at a path, by its innermost cause: the path says what was tried.
fn sentence(path: &str, failure: &Failure) -> String {
    let place = match failure.side {
        Side::Here => "here",
        Side::There => "in the container",
    };
    format!("`{path}`: {} {place}", cause(&failure.reason))
}

/// The innermost cause of a chain, as a part of a sentence.
fn cause(chain: &str) -> String {
    let cause = chain.rsplit(": ").next().unwrap_or_default();
    let cause = cause.split(" (os error ").next().unwrap_or_default();
    let mut letters = cause.chars();
    letters.next().into_iter().flat_map(char::to_lowercase).chain(letters.as_str().chars()).collect()
}

#[cfg(test)]
mod tests {
    use ksync_engine::{Failure, FirstPull, Much, Named, Unasked};
    use ksync_merge::Side;

    use super::{mass_deletion, question, sentence};

    #[test]
    fn a_mass_deletion_says_what_of_it_is_here_still() {
        let both = ": `kubectl ksync accept main` deletes them here too, `kubectl ksync decline main` puts them back into \
                    the container";
        assert_eq!(
            mass_deletion(Much { files: 39, before: 0, of: 40 }, "main", "app-1"),
            format!("pod `app-1` deleted 39 of 40 files within seconds; all of them are still here{both}")
        );
        assert_eq!(
            mass_deletion(Much { files: 38, before: 1, of: 40 }, "main", "app-1"),
            format!(
                "pod `app-1` deleted 39 of 40 files within seconds; 38 of them are still here, `kubectl ksync restore main` \
                 has the others{both}"
            )
        );
    }

    #[test]
    fn a_first_pull_says_how_much_and_both_answers() {
        let pull = FirstPull { files: 1200, bytes: 3 << 20, tops: vec!["node_modules".into()] };
        assert_eq!(
            question(Some(&pull), None, "main", "app-1"),
            "1200 files (3.1 MB) exist only in pod `app-1`: `kubectl ksync accept main` brings them here, `kubectl ksync \
             decline main` leaves them there"
        );
    }

    #[test]
    fn what_does_not_come_unasked_is_named_with_both_answers() {
        let named = |count, first: &str| Named { count, first: first.to_owned() };
        let asked = Unasked { entries: 1, links: named(1, "l -> /etc"), ..Unasked::default() };
        let answers =
            "`kubectl ksync accept main` brings them here, `kubectl ksync decline main` leaves them there";
        assert_eq!(
            question(None, Some(&asked), "main", "app-1"),
            format!(
                "pod `app-1` has what does not come here unasked: 1 symlink that leads out of the directory (`l -> /etc`). \
                 {answers}"
            )
        );
        let pull = FirstPull { files: 1200, bytes: 3 << 20, tops: Vec::new() };
        let both = question(Some(&pull), Some(&Unasked { replaced: 1, ..asked }), "main", "app-1");
        assert_eq!(
            both,
            format!(
                "1200 files (3.1 MB) exist only in pod `app-1`, and what does not come here unasked: 1 symlink that leads out \
                 of the directory (`l -> /etc`). {answers}, and puts back what is here"
            )
        );
    }

    #[test]
    fn a_failure_is_told_by_its_cause_and_its_place() {
        let failure = |side, reason: &str| Failure { side, reason: reason.to_owned() };
        let full = failure(Side::There, "can't write `d/big`: No space left on device (os error 28)");
        assert_eq!(sentence("d/big", &full), "`d/big`: no space left on device in the container");
        let denied = failure(Side::Here, "open `d`: Permission denied (os error 13)");
        assert_eq!(sentence("d/a", &denied), "`d/a`: permission denied here");
    }
}
