//! The check that syncthing still sees the directory that was attached.
//!
//! Invariant: [`LeadRoot::check`] passes only while the container's init lives, the bind is in syncthing's view, and
//! both it and the container's path are the attached directory. It is asked before every scan: a scan of anything
//! else would tell the laptop that everything was deleted.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{
    container::{
        attachment::Attachment,
        mount::{identity_in_container, identity_in_view},
    },
    guards::{self, Guard},
    supervisor::node_syncthing::NodeSyncthing,
};

/// How long the container's file systems may take to answer: one that hangs must not hold up the folder's end.
const LIMIT: Duration = Duration::from_secs(5);

/// Why a folder can't go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RootLost {
    /// The container's init ended.
    #[error("the container has ended")]
    Exited,
    /// The directory is another one now, or not in view; why.
    #[error("{0}")]
    Changed(String),
}

/// The directory that a folder syncs: in its lead, and in the view of the node's syncthing.
#[derive(Debug, Clone)]
pub(crate) struct LeadRoot {
    /// The lead.
    pub(crate) lead: Arc<Attachment>,
    /// Whose view it is in.
    pub(crate) syncthing: Arc<NodeSyncthing>,
    /// Where in that view.
    pub(crate) mount_point: PathBuf,
}

impl LeadRoot {
    /// Looks, now.
    pub(crate) async fn check(&self) -> Result<(), RootLost> {
        if !guards::on(Guard::RootCheck) {
            return Ok(());
        }
        if !self.lead.life.alive() {
            return Err(RootLost::Exited);
        }
        let lead_root = self.clone();
        let looked = within(LIMIT, &self.lead.claim.path, move || lead_root.look()).await;
        // Whatever was found means nothing if the container ended meanwhile.
        if !self.lead.life.alive() {
            return Err(RootLost::Exited);
        }
        looked.map_err(RootLost::Changed)
    }

    fn look(&self) -> Result<(), String> {
        let claim = &self.lead.claim;
        let seen = identity_in_view(self.syncthing.supervisor_pid, &self.mount_point).map_err(|error| {
            format!("the directory is no longer in syncthing's view: {}", ksync_common::chain(&error))
        })?;
        if seen != claim.identity {
            return Err("the directory in syncthing's view is another one".to_owned());
        }
        match identity_in_container(self.lead.life.pid, &claim.path) {
            Ok(now) if now == claim.identity => Ok(()),
            Ok(_) => Err(format!("`{}` in the container was replaced by another directory", claim.path)),
            Err(error) => Err(format!("`{}` is gone: {}", claim.path, ksync_common::chain(&error))),
        }
    }
}

/// What a look at `path` finds, or that it takes longer than `limit`. The thread that hangs is left behind.
async fn within(
    limit: Duration,
    path: &str,
    look: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Result<(), String> {
    match tokio::time::timeout(limit, tokio::task::spawn_blocking(look)).await {
        Ok(Ok(looked)) => looked,
        Ok(Err(error)) => Err(format!("the check of `{path}` failed: {error}")),
        Err(_) => Err(format!("the file system of `{path}` does not answer")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::within;

    #[tokio::test]
    async fn a_file_system_that_hangs_is_lost_in_time() {
        let (limit, begun) = (Duration::from_millis(50), Instant::now());
        let hang = || {
            std::thread::sleep(Duration::from_millis(600));
            Ok(())
        };
        let lost = within(limit, "/code", hang).await;
        assert!(begun.elapsed() < Duration::from_millis(500));
        assert_eq!(lost.unwrap_err(), "the file system of `/code` does not answer");
        assert_eq!(within(limit, "/code", || Ok(())).await, Ok(()));
        assert_eq!(within(limit, "/code", || Err("gone".to_owned())).await, Err("gone".to_owned()));
    }
}
