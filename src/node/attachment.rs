//! An attached directory on a node: its id and the link to its radar, and every call that is about it.
//!
//! Invariant: neither the wire's types nor the transport's leave this room.

use std::{sync::Arc, time::Duration};

use ksync_engine::FromFar;
use ksync_proto::radar::{AttachRequest as WireAttachRequest, DetachRequest};
use ksync_tree::Ignore;
use tokio::sync::mpsc;
use tonic::Request;

use super::{
    call_error::{CallError, limited},
    link::Link,
    messages::{AttachReply, AttachRequest, ReloadReply, ReloadRequest},
    sync::{self, RemoteFar},
    wire,
};

/// A directory that radar has attached for us. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Attachment {
    link: Arc<Link>,
    id: String,
}

impl Attachment {
    /// Has radar find the directory and hold it; nothing is synced yet.
    pub(super) async fn attach(
        link: Arc<Link>,
        request: &AttachRequest<'_>,
    ) -> Result<(Self, AttachReply), CallError> {
        let wire_request = WireAttachRequest {
            folder_id: request.folder.to_owned(),
            container: Some(wire::container(request.container)),
            path: request.path.to_owned(),
            take_over: request.take_over,
        };
        let reply = limited("Attach", link.radar.clone().attach(wire_request)).await?;
        let (id, reply) = wire::attach_reply(reply);
        Ok((Self { link, id }, reply))
    }

    /// radar's name of it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The connection that it was attached over.
    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// The version of the node's radar.
    pub(crate) fn radar_version(&self) -> &str {
        &self.link.radar_version
    }

    /// Whether the node's radar has a capability.
    pub(crate) fn can(&self, capability: &str) -> bool {
        self.link.can(capability)
    }

    /// Has the container's app run the code that is there; radar's word is waited for until `limit`.
    pub(crate) async fn reload(
        &self,
        request: &ReloadRequest<'_>,
        limit: Duration,
    ) -> Result<ReloadReply, CallError> {
        let mut request = Request::new(wire::reload_request(&self.id, request));
        request.set_timeout(limit);
        wire::reload_reply(self.link.radar.clone().reload(request).await?.into_inner())
    }

    /// Opens the directory for the engine: radar lists it, tells what happens in it, and does what it is asked for.
    /// What is received ends with the attachment or the connection.
    pub(crate) async fn open(
        &self,
        ignore: &Ignore,
        inline: u64,
    ) -> Result<(RemoteFar, mpsc::Receiver<FromFar>), CallError> {
        Ok(sync::open(&self.link.sync().await?, &self.link.spool, &self.id, ignore, inline))
    }

    /// Lets go of the directory.
    pub(crate) async fn detach(&self) -> Result<(), CallError> {
        let request = DetachRequest { attachment_id: self.id.clone() };
        limited("Detach", self.link.radar.clone().detach(request)).await?;
        Ok(())
    }
}
