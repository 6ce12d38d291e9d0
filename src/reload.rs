//! The containers whose apps can be reloaded now, and how that is asked of their radar, by hand or by itself.
//!
//! Invariant: a container is listed from when it is attached until its attachment is over, so what is asked
//! always goes to the node and the process that are synced.

mod automatic;
mod crashes;
mod decision;
mod policy;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub(crate) use automatic::Automatic;
pub(crate) use policy::{Policy, Which};

use crate::{
    config::ReloadMode,
    node::{Attachment, CallError, ReloadReply, ReloadRequest, Reloaded},
    status::ReloadNote,
    targets::RemoteContainer,
};

/// What radar calls the ability.
const CAPABILITY: &str = "reload";
/// How long a reload may take, beyond the grace that a container is given to end.
const LIMIT: Duration = Duration::from_secs(60);

/// A container that is attached.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The spec that it belongs to.
    pub spec: String,
    /// The container.
    pub container: RemoteContainer,
    /// How the spec has its app reloaded.
    pub mode: ReloadMode,
    /// Its attached directory.
    pub attachment: Attachment,
    /// Where it is noted what became of it.
    pub note: ReloadNote,
}

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The app runs the new code; what was done, in words.
    Reloaded(String),
    /// It needs nobody; why.
    LeftAlone(String),
    /// It could not be done; why.
    Failed(String),
    /// The connection broke before it was said; how.
    Unknown(String),
}

impl Target {
    /// Has the app run the code that is there now.
    ///
    /// It may take `grace` to end in its own way first, if it handles SIGTERM; 0 is not to ask it.
    pub(crate) async fn reload(&self, mode: Option<&ReloadMode>, grace: Duration) -> Outcome {
        let outcome = self.ask(mode, grace).await;
        match &outcome {
            Outcome::Reloaded(_) => self.note.reloaded(),
            Outcome::LeftAlone(why) => self.note.left_alone(why),
            Outcome::Failed(why) | Outcome::Unknown(why) => self.note.failed(why),
        }
        outcome
    }

    async fn ask(&self, mode: Option<&ReloadMode>, grace: Duration) -> Outcome {
        if !self.attachment.can(CAPABILITY) {
            let version = self.attachment.radar_version();
            return Outcome::Failed(format!(
                "radar {version} on node `{}` can't reload: run `kubectl ksync init`",
                self.container.node
            ));
        }
        let mode = mode.unwrap_or(&self.mode);
        let limit = LIMIT + if *mode == ReloadMode::Container { self.container.grace } else { grace };
        let (restart_policy, stop_grace) = (self.container.restart_policy.as_str(), self.container.grace);
        let request = ReloadRequest { mode, restart_policy, stop_grace, grace };
        match self.attachment.reload(&request, limit).await {
            Ok(ReloadReply::Reloaded(done)) => Outcome::Reloaded(words(&done)),
            Ok(ReloadReply::LeftAlone(reason)) => Outcome::LeftAlone(reason),
            Err(CallError::Lost(message)) => Outcome::Unknown(message),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }
}

fn words(done: &Reloaded) -> String {
    let Reloaded { took, executed, dropped } = done;
    let tenths = took.as_micros().div_ceil(100);
    let dropped = match dropped.as_str() {
        "" => String::new(),
        dropped => format!(" (what runs, not what was started: it has dropped {dropped})"),
    };
    format!("{executed}{dropped}, in {}.{} ms", tenths / 10, tenths % 10)
}

/// All that are attached.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    targets: Mutex<BTreeMap<u64, Target>>,
    number: AtomicU64,
}

impl Reloads {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Target>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a container until the guard is dropped.
    pub(crate) fn list(self: &Arc<Self>, target: Target) -> Listed {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(number, target);
        Listed { reloads: Arc::clone(self), number }
    }

    /// The containers of a spec.
    pub(crate) fn of(&self, spec: &str) -> Vec<Target> {
        self.lock().values().filter(|target| target.spec == spec).cloned().collect()
    }
}

/// A container's place in the list.
#[derive(Debug)]
pub(crate) struct Listed {
    reloads: Arc<Reloads>,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.reloads.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Reloaded, words};

    #[test]
    fn what_was_done_is_said_in_a_line() {
        let mut done = Reloaded {
            took: Duration::from_micros(3460),
            executed: "python3 -m http.server".into(),
            ..Reloaded::default()
        };
        assert_eq!(words(&done), "python3 -m http.server, in 3.5 ms");
        done.dropped = "its user".into();
        assert_eq!(
            words(&done),
            "python3 -m http.server (what runs, not what was started: it has dropped its user), in 3.5 ms"
        );
    }
}
