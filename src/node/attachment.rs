//! An attached directory on a node: its session, its id and the link to its radar, and every call that is about it.
//!
//! Invariant: neither the wire's types nor the transport's leave this room.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use ksync_engine::FromFar;
use ksync_proto::radar::{
    AttachRequest as WireAttachRequest, DetachRequest, FetchReply, FetchRequest, JoinRequest, ListRequest,
    RemoveRequest, SeedRequest, SetDirectionRequest, SettleRequest,
};
use ksync_tree::{Entry, Ignore};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Code, Request, Streaming};

use super::{
    call_error::{CallError, limited},
    link::Link,
    messages::{AttachReply, AttachRequest, ReloadReply, ReloadRequest, Role, SettleReply},
    sync::{self, Patterns, RemoteFar},
    wire,
};
use crate::config::Direction;

/// How long one question may wait for a node to settle; then it is asked again.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);

/// A directory that radar has attached for us. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Attachment {
    link: Arc<Link>,
    folder: String,
    id: String,
}

impl Attachment {
    /// Has radar find the directory and hold it; nothing is synced yet.
    pub(super) async fn attach(
        link: Arc<Link>,
        request: &AttachRequest<'_>,
    ) -> Result<(Self, AttachReply), CallError> {
        let wire_request = WireAttachRequest {
            session_id: link.session_id.clone(),
            folder_id: request.folder.to_owned(),
            container: Some(wire::container(request.container)),
            path: request.path.to_owned(),
            take_over: request.take_over,
        };
        let reply = limited("Attach", link.radar.clone().attach(wire_request)).await?;
        let (id, reply) = wire::attach_reply(reply);
        Ok((Self { link, folder: request.folder.to_owned(), id }, reply))
    }

    /// radar's name of it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Device id of the node's syncthing.
    pub(crate) fn device_id(&self) -> &str {
        &self.link.device_id
    }

    /// Device id of the local syncthing.
    pub(crate) fn own_device_id(&self) -> &str {
        &self.link.own_device_id
    }

    /// The version of the node's radar.
    pub(crate) fn radar_version(&self) -> &str {
        &self.link.radar_version
    }

    /// Whether the node's radar has a capability.
    pub(crate) fn can(&self, capability: &str) -> bool {
        self.link.capabilities.iter().any(|has| has == capability)
    }

    /// Everything in the directory but what `ignore` matches, with hashes. From here on radar leaves out the same.
    pub(crate) async fn list(&self, ignore: &Ignore) -> Result<Vec<Entry>, CallError> {
        self.list_as(ignore.patterns().to_vec(), true, false).await
    }

    /// What is left of the directory without what the `patterns` match, this once, without hashes.
    pub(crate) async fn list_without(&self, patterns: Vec<String>) -> Result<Vec<Entry>, CallError> {
        self.list_as(patterns, false, true).await
    }

    async fn list_as(&self, ignore: Vec<String>, hash: bool, once: bool) -> Result<Vec<Entry>, CallError> {
        let (session_id, attachment_id) = self.names();
        let request = ListRequest { session_id, attachment_id, hash, ignore, once };
        let mut stream = self.link.radar.clone().list(request).await?.into_inner();
        let mut entries = Vec::new();
        while let Some(reply) = stream.message().await? {
            for entry in reply.entries {
                entries.push(wire::entry(entry)?);
            }
        }
        Ok(entries)
    }

    /// Unpacks a tar stream, which comes in `chunks`, in the directory; returns the files that there is no room for.
    pub(crate) async fn send(&self, chunks: mpsc::Receiver<Vec<u8>>) -> Result<Vec<String>, CallError> {
        let (session_id, attachment_id) = self.names();
        let head = SeedRequest { session_id, attachment_id, data: Vec::new().into() };
        let data = ReceiverStream::new(chunks)
            .map(|data| SeedRequest { data: data.into(), ..SeedRequest::default() });
        let answer = self.link.radar.clone().seed(tokio_stream::once(head).chain(data)).await;
        Ok(answer?.into_inner().no_room)
    }

    /// Has the entries at `paths` packed as a tar stream.
    pub(crate) async fn fetch(&self, paths: Vec<String>) -> Result<Fetched, CallError> {
        let (session_id, attachment_id) = self.names();
        let request = FetchRequest { session_id, attachment_id, paths };
        Ok(Fetched(self.link.radar.clone().fetch(request).await?.into_inner()))
    }

    /// Removes the entries at `paths`; returns the directories among them that hold something still.
    pub(crate) async fn remove(&self, paths: Vec<String>) -> Result<Vec<String>, CallError> {
        self.remove_as(paths, &[]).await
    }

    /// Removes regular files as long as each has this size and mtime; returns those that are other files by now.
    pub(crate) async fn remove_unchanged(&self, files: &[Entry]) -> Result<Vec<String>, CallError> {
        self.remove_as(Vec::new(), files).await
    }

    async fn remove_as(&self, paths: Vec<String>, unchanged: &[Entry]) -> Result<Vec<String>, CallError> {
        let (session_id, attachment_id) = self.names();
        let unchanged = unchanged.iter().map(wire::file).collect();
        let request = RemoveRequest { session_id, attachment_id, paths, unchanged };
        Ok(limited("Remove", self.link.radar.clone().remove(request)).await?.left)
    }

    /// Joins the directory to its folder on the node: from here on it is synced.
    pub(crate) async fn join(&self) -> Result<Role, CallError> {
        let (session_id, attachment_id) = self.names();
        let request = JoinRequest { session_id, attachment_id };
        let reply = limited("Join", self.link.radar.clone().join(request)).await?;
        wire::role(reply.role()).ok_or(CallError::Malformed("no role of a directory that has joined"))
    }

    /// Sets which way changes of its folder go on that node.
    pub(crate) async fn set_direction(&self, direction: Direction) -> Result<(), CallError> {
        let request = SetDirectionRequest {
            session_id: self.link.session_id.clone(),
            folder_id: self.folder.clone(),
            direction: wire::direction(direction).into(),
        };
        limited("SetDirection", self.link.radar.clone().set_direction(request)).await?;
        Ok(())
    }

    /// Asks radar once, for up to 30 s, whether the folder holds everything up to `sequence` of our index on its node, or
    /// something else fails than is `known` to.
    pub(crate) async fn settle(&self, sequence: i64, known: &[String]) -> Result<SettleReply, CallError> {
        let mut request = Request::new(SettleRequest {
            session_id: self.link.session_id.clone(),
            folder_id: self.folder.clone(),
            sequence,
            known_errors: known.to_owned(),
        });
        request.set_timeout(SETTLE_LIMIT);
        match self.link.radar.clone().settle(request).await {
            Ok(reply) => Ok(wire::settle_reply(reply.into_inner())),
            // Not in time is not settled, and says nothing of the connection: its keepalive does.
            Err(status) if status.code() == Code::DeadlineExceeded => Ok(SettleReply::TimedOut),
            Err(status) if status.code() == Code::Cancelled => Ok(SettleReply::Cancelled),
            Err(status) => Err(status.into()),
        }
    }

    /// The same question, asked together with the folder's other containers on that node: only for a container that has
    /// settled since it joined.
    pub(crate) async fn settle_together(
        &self,
        sequence: i64,
        known: &[String],
    ) -> Result<SettleReply, CallError> {
        let question = (self.folder.clone(), sequence, known.to_owned());
        let (asking, known) = (self.clone(), known.to_owned());
        let ask = async move { asking.settle(sequence, &known).await };
        self.link.settle_dedup.ask(question, || ask.boxed()).await
    }

    /// Has the container's app run the code that is there; radar's word is waited for until `limit`.
    pub(crate) async fn reload(
        &self,
        request: &ReloadRequest<'_>,
        limit: Duration,
    ) -> Result<ReloadReply, CallError> {
        let mut request = Request::new(wire::reload_request(&self.link.session_id, &self.id, request));
        request.set_timeout(limit);
        wire::reload_reply(self.link.radar.clone().reload(request).await?.into_inner())
    }

    /// Opens the directory for ksync's own engine: radar lists it, tells what happens in it, and does what it is asked for.
    /// What is received ends with the attachment or the connection.
    pub(crate) async fn open(
        &self,
        patterns: &Patterns<'_>,
        inline: u64,
    ) -> Result<(RemoteFar, mpsc::Receiver<FromFar>), CallError> {
        Ok(sync::open(&self.link.sync().await?, &self.id, patterns, inline))
    }

    /// Lets go of the directory.
    pub(crate) async fn detach(&self) -> Result<(), CallError> {
        let (session_id, attachment_id) = self.names();
        let request = DetachRequest { session_id, attachment_id };
        limited("Detach", self.link.radar.clone().detach(request)).await?;
        Ok(())
    }

    /// Of the session and of this attachment, for a call.
    fn names(&self) -> (String, String) {
        (self.link.session_id.clone(), self.id.clone())
    }
}

/// A tar stream that radar packs.
#[derive(Debug)]
pub(crate) struct Fetched(Streaming<FetchReply>);

impl Fetched {
    /// The next piece; none at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Vec<u8>>, CallError> {
        Ok(self.0.message().await?.map(|reply| reply.data.to_vec()))
    }
}
