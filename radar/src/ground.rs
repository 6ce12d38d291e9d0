//! The ground under a node's folder: is what syncthing sees still the directory that was attached.
//!
//! Invariant: [`Ground::check`] passes only while the container's init lives, the bind is in syncthing's view, and
//! both it and the container's path are the attached directory. It is asked before every scan: a scan of anything
//! else would tell the laptop that everything was deleted.

use std::{path::PathBuf, sync::Arc};

use crate::{
    attach::Attachment,
    link::Link,
    mount::{identity_in_container, identity_in_view},
};

/// Why a folder can't go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The container's init ended.
    Exited,
    /// The directory is another one now, or not in view; why.
    Changed(String),
}

/// What a lead's folder stands on.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    /// The lead.
    pub(crate) lead: Arc<Attachment>,
    /// Whose view it is in.
    pub(crate) link: Arc<Link>,
    /// Where in that view.
    pub(crate) place: PathBuf,
}

impl Ground {
    /// Looks, now.
    pub(crate) async fn check(&self) -> Result<(), Lost> {
        if !self.lead.life.alive() {
            return Err(Lost::Exited);
        }
        let ground = self.clone();
        let looked = tokio::task::spawn_blocking(move || ground.look()).await;
        // Whatever was found means nothing if the container ended meanwhile.
        if !self.lead.life.alive() {
            return Err(Lost::Exited);
        }
        looked.map_err(|error| Lost::Changed(format!("the check failed: {error}")))?.map_err(Lost::Changed)
    }

    fn look(&self) -> Result<(), String> {
        let claim = &self.lead.claim;
        let seen = identity_in_view(self.link.guardian, &self.place).map_err(|error| {
            format!("the directory is no longer in syncthing's view: {}", crate::status::sentence(&error))
        })?;
        if seen != claim.identity {
            return Err("the directory in syncthing's view is another one".to_owned());
        }
        match identity_in_container(self.lead.life.pid, &claim.path) {
            Ok(now) if now == claim.identity => Ok(()),
            Ok(_) => Err(format!("`{}` in the container was replaced by another directory", claim.path)),
            Err(error) => Err(format!("`{}` is gone: {}", claim.path, crate::status::sentence(&error))),
        }
    }
}
