//! Conflicts that local content has won: the node's syncthing puts the container's content beside the file, under a name
//! of its own. It is brought here and kept, and goes there.
//!
//! Invariant: nothing goes there before it is kept here, and only while it is what was kept.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use ksync_tree::Error;
use tracing::{info, warn};

use super::{interruption::Interruption, transfer};
use crate::{kept, local::LocalFolder, node::Attachment};
use ksync_common::Backoff;

/// What radar has to know for it: one that does not makes no copies either.
const CAPABILITY: &str = "conflicts";
/// Copies that are brought in one go.
const AT_ONCE: usize = 1000;
/// Between tries.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What lost in one container.
pub(super) struct Conflicts {
    /// Copies that were told of.
    told: BTreeSet<String>,
    /// Whether there may be some that nobody has told of.
    unsure: bool,
    /// Larger than all that is kept may be: left where they are.
    large: BTreeSet<String>,
    /// Whether the last try left some.
    again: bool,
    backoff: Backoff,
    bringing: Option<BoxFuture<'static, Left>>,
}

/// What a try has left.
#[derive(Default)]
struct Left {
    again: bool,
    large: BTreeSet<String>,
}

impl Conflicts {
    pub(super) fn new() -> Self {
        Self {
            told: BTreeSet::new(),
            unsure: false,
            large: BTreeSet::new(),
            again: false,
            backoff: Backoff::new(REST.0, REST.1),
            bringing: None,
        }
    }

    /// Takes in that the file at `path` is in the container now; whether it is a copy of what lost to us.
    pub(super) fn take(&mut self, attachment: &Attachment, path: &str) -> bool {
        let ours = syncthing::conflict::lost_to(path, attachment.own_device_id());
        if ours && self.told.len() < AT_ONCE {
            self.told.insert(path.to_owned());
        } else if ours {
            self.unsure = true;
        }
        ours
    }

    /// Has the container searched for those that nobody has told of.
    pub(super) fn search(&mut self, attachment: &Attachment) {
        self.unsure |= attachment.can(CAPABILITY);
    }

    /// Whether there is something to do.
    pub(super) fn any(&self) -> bool {
        self.unsure || !self.told.is_empty() || self.bringing.is_some()
    }

    /// Does it. May be dropped and called again.
    pub(super) async fn bring(&mut self, attachment: &Attachment, local: &Arc<LocalFolder>) {
        if self.bringing.is_none() {
            let rest = std::mem::take(&mut self.again).then(|| self.backoff.delay());
            let job = Job {
                attachment: attachment.clone(),
                local: Arc::clone(local),
                copies: std::mem::take(&mut self.told),
                search: std::mem::take(&mut self.unsure),
                large: self.large.clone(),
            };
            let work = async move {
                tokio::time::sleep(rest.unwrap_or_default()).await;
                job.bring().await
            };
            self.bringing = Some(work.boxed());
        }
        let Some(bringing) = &mut self.bringing else { return };
        let left = bringing.await;
        self.bringing = None;
        self.large.extend(left.large);
        self.again = left.again;
        self.unsure |= left.again;
        if !left.again {
            self.backoff.reset();
        }
    }
}

struct Job {
    attachment: Attachment,
    local: Arc<LocalFolder>,
    copies: BTreeSet<String>,
    search: bool,
    large: BTreeSet<String>,
}

impl Job {
    async fn bring(mut self) -> Left {
        let mut left = Left::default();
        if self.search {
            match transfer::list_beaten(&self.attachment).await {
                Ok(found) => self.copies.extend(found),
                Err(interruption) => left.failed("the container", &interruption),
            }
        }
        let all = std::mem::take(&mut self.copies);
        left.again |= all.len() > AT_ONCE;
        // One by one: what can't be kept is no obstacle for the others.
        for copy in all.difference(&self.large).take(AT_ONCE) {
            match transfer::keep_beaten(&self.attachment, &self.local, copy).await {
                Ok(Some(path)) => {
                    info!(path, "both sides changed it: the local content stays, the container's is kept");
                    let folder = self.local.kept.clone();
                    tokio::task::spawn_blocking(move || kept::trim(&folder, kept::Kind::Conflict, &[path]));
                }
                // Gone, or written just now: a search will tell.
                Ok(None) => left.again = true,
                Err(interruption @ Interruption::Tree(Error::TooLarge { .. })) => {
                    let (_, reason) = interruption.standing();
                    warn!(copy, reason, "the container's side of a conflict stays there");
                    left.large.insert(copy.clone());
                }
                Err(interruption) => left.failed(copy, &interruption),
            }
        }
        left
    }
}

impl Left {
    fn failed(&mut self, what: &str, interruption: &Interruption) {
        let (_, reason) = interruption.standing();
        warn!(what, reason, "bring the container's side of a conflict");
        self.again = true;
    }
}
