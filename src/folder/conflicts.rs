//! Conflicts that local content has won: the node's syncthing puts the container's content beside the file, under a name
//! of its own. It is brought here and kept, and goes there.
//!
//! Invariant: nothing goes there before it is kept here.

use std::{collections::BTreeSet, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use tracing::{info, warn};

use super::{Setback, transfer};
use crate::{kept, local::LocalFolder, node::Link};

/// What lost in one container.
#[derive(Default)]
pub(super) struct Conflicts {
    /// Copies that were told of.
    told: BTreeSet<String>,
    /// Whether there may be some that nobody has told of.
    unsure: bool,
    bringing: Option<BoxFuture<'static, ()>>,
}

impl Conflicts {
    /// Takes in that `path` is in the container now; whether it is a copy of what lost to us.
    pub(super) fn take(&mut self, link: &Link, path: &str) -> bool {
        let ours = syncthing::conflict::copy(path).is_some_and(|copy| copy.lost_to(&link.own_device_id));
        if ours {
            self.told.insert(path.to_owned());
        }
        ours
    }

    /// Has the container searched for those of an earlier connection.
    pub(super) const fn search(&mut self) {
        self.unsure = true;
    }

    /// Whether there is something to do.
    pub(super) fn any(&self) -> bool {
        self.unsure || !self.told.is_empty() || self.bringing.is_some()
    }

    /// Does it. May be dropped and called again.
    pub(super) async fn bring(&mut self, link: &Arc<Link>, attachment: &str, local: &Arc<LocalFolder>) {
        let (told, unsure) = (&mut self.told, &mut self.unsure);
        let begin = || {
            let (copies, search) = (std::mem::take(told), std::mem::take(unsure));
            bring(Arc::clone(link), attachment.to_owned(), Arc::clone(local), copies, search).boxed()
        };
        self.bringing.get_or_insert_with(begin).await;
        self.bringing = None;
    }
}

/// What can't be brought stays where it is, until the container is searched the next time.
async fn bring(
    link: Arc<Link>,
    attachment: String,
    local: Arc<LocalFolder>,
    mut copies: BTreeSet<String>,
    search: bool,
) {
    let brought = async {
        if search {
            copies.extend(transfer::list_beaten(&link, &attachment).await?);
        }
        if copies.is_empty() {
            return Ok(());
        }
        let paths =
            transfer::keep_beaten(&link, &attachment, &local, copies.iter().cloned().collect()).await?;
        for path in &paths {
            info!(path, "both sides changed it: the local content stays, the container's is kept");
        }
        let folder = local.kept.clone();
        tokio::task::spawn_blocking(move || kept::trim(&folder, kept::Kind::Conflict, &paths));
        transfer::remove(&link, &attachment, copies.into_iter().collect()).await?;
        Ok::<_, Setback>(())
    };
    if let Err(setback) = brought.await {
        let (_, reason) = setback.standing();
        warn!(reason, "bring the container's side of a conflict");
    }
}
