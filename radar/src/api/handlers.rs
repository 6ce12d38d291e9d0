//! The gRPC handlers: each checks a call, asks the registry or a folder, and answers.
//!
//! Invariant: handlers hold no state. What a call may touch is found through the session that it names, so no
//! client reaches another's attachment.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use ksync_proto::radar::{
    AttachReply, AttachRequest, BasePathReply, BasePathRequest, Bytes, Container, DetachReply, DetachRequest,
    Direction as WireDirection, FetchReply, FetchRequest, JoinReply, JoinRequest, ListReply, ListRequest,
    LookReply, LookRequest, ReadReply, ReadRequest, ReloadReply, ReloadRequest, RemoveReply, RemoveRequest,
    SeedReply, SeedRequest, SessionEvent, SessionRequest, SetDirectionReply, SetDirectionRequest,
    SettleReply, SettleRequest, StageReply, StageRequest, Submount, SyncReply, SyncRequest, VersionReply,
    VersionRequest, radar_server::Radar,
};
use rand::RngExt;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use crate::{
    api::status,
    container::{
        attachment::{Attachment, Claim, is_folder_id},
        init_process::InitProcess,
        mount::directory::{self, open_directory},
        mountinfo,
        runtime::{ContainerId, Runtimes},
    },
    paths::Paths,
    reload::Reloader,
    supervisor::node_syncthing::NodeSyncthingRx,
    sync::{
        endpoints::{Endpoints, Opened},
        folder::{Command as FolderCommand, Direction},
        registry::{Command, IfHeld, Registry},
    },
};

mod bep;
mod own_pod;
mod reload;
mod replies;
mod session;
mod streams;
mod sync;
mod validate;

use replies::{Replies, Reply};

/// What this radar can do, by name. Names are only ever added.
const CAPABILITIES: &[&str] = &[
    "bind",
    "list",
    "seed",
    "fetch",
    "remove",
    "look",
    "fanout",
    "settle",
    "conflicts",
    "take-over",
    "bep",
    "base-path",
    "direction",
    "reload",
    "reload-grace",
    "sync",
];
/// How long [`Handlers::settle`] waits for a client that sets no deadline.
const SETTLE: Duration = Duration::from_secs(30);

/// The calls' handlers, and what they need.
pub(crate) struct Handlers {
    /// Who owns sessions and attachments.
    pub(crate) registry: Registry,
    /// Who syncs attachments that are open for ksync's own engine.
    pub(crate) endpoints: Endpoints,
    /// Where containers are found.
    pub(crate) runtimes: Runtimes,
    /// How apps get to run new code.
    pub(crate) reloader: Reloader,
    /// The node's syncthing.
    pub(crate) syncthing_rx: NodeSyncthingRx,
    /// Where it accepts connections.
    pub(crate) paths: Paths,
    /// Cancelled when radar stops.
    pub(crate) stop: CancellationToken,
}

#[tonic::async_trait]
impl Radar for Handlers {
    async fn version(&self, _: Request<VersionRequest>) -> Reply<VersionReply> {
        let syncthing = self.syncthing_rx.borrow().as_ref().map(|syncthing| syncthing.version.clone());
        Ok(Response::new(VersionReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            syncthing_version: syncthing.unwrap_or_default(),
            capabilities: CAPABILITIES.iter().map(|c| (*c).to_owned()).collect(),
        }))
    }

    type SessionStream = Replies<SessionEvent>;

    async fn session(&self, request: Request<Streaming<SessionRequest>>) -> Reply<Self::SessionStream> {
        session::open(&self.registry, self.syncthing_rx.clone(), request.into_inner()).await
    }

    async fn attach(&self, request: Request<AttachRequest>) -> Reply<AttachReply> {
        let AttachRequest { session_id, folder_id, container, path, take_over } = request.into_inner();
        if !is_folder_id(&folder_id) {
            return Err(Status::invalid_argument(format!(
                "`{folder_id}` is no folder id: up to 64 letters, digits, `-`, `_` and `.` are"
            )));
        }
        let holder = self.registry.ask(|reply| Command::Holder(session_id.clone(), reply)).await?;
        let pod = container.as_ref().map(pod_name).unwrap_or_default();
        let container = container_id(container)?;
        let life =
            InitProcess::hold(&self.runtimes, &container).await.map_err(|e| status::from_init_process(&e))?;
        own_pod::refuse(
            life.pid,
            self.syncthing_rx.borrow().as_ref().map(|syncthing| syncthing.supervisor_pid),
        )?;
        let directory = open_directory(life.pid, &path).await.map_err(|e| status::from_mount(&e))?;
        if !life.alive() {
            return Err(Status::not_found(format!(
                "container `{container}` ended while it was being attached"
            )));
        }
        let claim = Claim {
            session: session_id,
            holder,
            since: Timestamp::now(),
            folder: folder_id,
            container,
            pod,
            path: directory.path.clone(),
            identity: directory.identity,
        };
        let created = directory.created;
        let attachment = Box::new(Attachment::new(new_id(), claim, life, directory));
        let if_held = if take_over { IfHeld::TakeOver } else { IfHeld::Refuse };
        let mut unheard = Unheard::new(&self.registry, &attachment);
        let held = self.registry.ask(|reply| Command::Attach(attachment, if_held, reply)).await?;
        let role = self.registry.ask(|reply| Command::Role(held.id.clone(), reply)).await?;
        unheard.told();
        Ok(Response::new(AttachReply { created, role: role.unwrap_or_default().into(), ..attached(&held) }))
    }

    async fn detach(&self, request: Request<DetachRequest>) -> Reply<DetachReply> {
        let DetachRequest { session_id, attachment_id } = request.into_inner();
        self.registry.ask(|reply| Command::Detach(session_id, attachment_id, reply)).await?;
        Ok(Response::new(DetachReply {}))
    }

    type ListStream = Replies<ListReply>;

    async fn list(&self, request: Request<ListRequest>) -> Reply<Self::ListStream> {
        let ListRequest { session_id, attachment_id, hash, ignore, once } = request.into_inner();
        let attachment = self.find(session_id, attachment_id).await?;
        Ok(Response::new(streams::list(attachment, hash, ignore, once)?))
    }

    async fn seed(&self, request: Request<Streaming<SeedRequest>>) -> Reply<SeedReply> {
        let mut stream = request.into_inner();
        let first = stream.message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("the stream names no attachment"))?;
        let attachment = self.find(first.session_id, first.attachment_id).await?;
        Ok(Response::new(streams::send(attachment, first.data, stream).await?))
    }

    type FetchStream = Replies<FetchReply>;

    async fn fetch(&self, request: Request<FetchRequest>) -> Reply<Self::FetchStream> {
        let FetchRequest { session_id, attachment_id, paths } = request.into_inner();
        let attachment = self.find(session_id, attachment_id).await?;
        Ok(Response::new(streams::fetch(attachment, paths)))
    }

    async fn remove(&self, request: Request<RemoveRequest>) -> Reply<RemoveReply> {
        let RemoveRequest { session_id, attachment_id, paths, unchanged } = request.into_inner();
        let attachment = self.find(session_id, attachment_id).await?;
        Ok(Response::new(streams::remove(attachment, paths, unchanged).await?))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Reply<JoinReply> {
        let JoinRequest { session_id, attachment_id } = request.into_inner();
        let role = self.registry.ask(|reply| Command::Join(session_id, attachment_id, reply)).await?;
        Ok(Response::new(JoinReply { role: role.into() }))
    }

    async fn set_direction(&self, request: Request<SetDirectionRequest>) -> Reply<SetDirectionReply> {
        let request = request.into_inner();
        let direction = direction(&request)?;
        let SetDirectionRequest { session_id, folder_id, .. } = request;
        let folder = self.registry.ask(|reply| Command::Folder(session_id, folder_id, reply)).await?;
        let (reply_tx, reply_rx) = oneshot::channel();
        let ended = || Status::aborted("the folder has ended");
        folder.commands_tx.send(FolderCommand::SetDirection(direction, reply_tx)).map_err(|_| ended())?;
        reply_rx.await.map_err(|_| ended())??;
        Ok(Response::new(SetDirectionReply {}))
    }

    async fn settle(&self, request: Request<SettleRequest>) -> Reply<SettleReply> {
        let limit = deadline(request.metadata()).unwrap_or(SETTLE);
        let SettleRequest { session_id, folder_id, sequence, known_errors } = request.into_inner();
        let folder = self.registry.ask(|reply| Command::Folder(session_id, folder_id, reply)).await?;
        tokio::select! {
            settled = folder.progress.settle(sequence, &known_errors, limit) => Ok(Response::new(settled?)),
            () = folder.done.cancelled() => Err(Status::aborted("the folder has ended")),
        }
    }

    async fn reload(&self, request: Request<ReloadRequest>) -> Reply<ReloadReply> {
        let (session, id, mode) = reload::read(request.into_inner())?;
        let attachment = self.find(session, id).await?;
        let outcome = self.reloader.reload(attachment, mode).await;
        outcome.map(reload::reply).map_err(|error| status::from_reload(&error))
    }

    type BepStream = Replies<Bytes>;

    async fn bep(&self, request: Request<Streaming<Bytes>>) -> Reply<Self::BepStream> {
        Ok(Response::new(bep::connect(self.paths.bep(), request.into_inner(), self.stop.clone()).await?))
    }

    async fn look(&self, request: Request<LookRequest>) -> Reply<LookReply> {
        let LookRequest { container, path } = request.into_inner();
        let container = container_id(container)?;
        let life =
            InitProcess::hold(&self.runtimes, &container).await.map_err(|e| status::from_init_process(&e))?;
        let pid = life.pid;
        own_pod::refuse(pid, self.syncthing_rx.borrow().as_ref().map(|syncthing| syncthing.supervisor_pid))?;
        let looked = tokio::task::spawn_blocking(move || directory::look(pid, &path)).await;
        let looked = looked.map_err(|error| Status::internal(format!("look: {error}")))?;
        let exists = looked.map_err(|e| status::from_mount(&e))?;
        Ok(Response::new(LookReply { exists }))
    }

    async fn base_path(&self, request: Request<BasePathRequest>) -> Reply<BasePathReply> {
        let container = container_id(request.into_inner().container)?;
        let process = self.runtimes.resolve(&container).await.map_err(|e| status::from_runtime(&e))?;
        let path = match process.base_path {
            Some(path) => Some(path),
            None => mountinfo::upper_dir(&ksync_procfs::mounts(process.pid).map_err(|error| {
                Status::not_found(format!("read the mounts of container `{container}`: {}", error.source))
            })?),
        };
        let path = path.ok_or_else(|| {
            Status::failed_precondition(format!(
                "the root file system of container `{container}` is not an overlay"
            ))
        })?;
        Ok(Response::new(BasePathReply { path }))
    }

    type SyncStream = Replies<SyncReply>;

    async fn sync(&self, request: Request<Streaming<SyncRequest>>) -> Reply<Self::SyncStream> {
        sync::open(self.registry.clone(), self.endpoints.clone(), request.into_inner()).await
    }

    async fn stage(&self, request: Request<Streaming<StageRequest>>) -> Reply<StageReply> {
        let mut stream = request.into_inner();
        let first = stream.message().await?;
        let mut first = first.ok_or_else(|| Status::invalid_argument("the stream names no file"))?;
        let names = (std::mem::take(&mut first.session_id), std::mem::take(&mut first.attachment_id));
        let opened = self.opened(names.0, names.1).await?;
        sync::content::stage(opened, first, stream).await?;
        Ok(Response::new(StageReply {}))
    }

    type ReadStream = Replies<ReadReply>;

    async fn read(&self, request: Request<ReadRequest>) -> Reply<Self::ReadStream> {
        let ReadRequest { session_id, attachment_id, path, expected } = request.into_inner();
        let opened = self.opened(session_id, attachment_id).await?;
        Ok(Response::new(sync::content::read(opened, path, expected)?))
    }
}

impl Handlers {
    async fn find(&self, session: String, id: String) -> Result<Arc<Attachment>, Status> {
        Ok(self.registry.ask(|reply| Command::Find(session, id, reply)).await?)
    }

    async fn opened(&self, session: String, id: String) -> Result<Arc<Opened>, Status> {
        let attachment = self.find(session, id).await?;
        Ok(self.endpoints.find(&attachment.id)?)
    }
}

/// Lets go of an attachment whose id its client never got to hear, because it gave up on the call meanwhile.
struct Unheard<'r>(Option<(&'r Registry, String, String)>);

impl<'r> Unheard<'r> {
    fn new(registry: &'r Registry, attachment: &Attachment) -> Self {
        Self(Some((registry, attachment.claim.session.clone(), attachment.id.clone())))
    }

    fn told(&mut self) {
        self.0 = None;
    }
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if let Some((registry, session, id)) = self.0.take() {
            registry.tell(Command::Unheard(session, id));
        }
    }
}

fn container_id(container: Option<Container>) -> Result<ContainerId, Status> {
    let id = container.map(|container| container.id).unwrap_or_default();
    ContainerId::parse(&id).map_err(|error| status::from_runtime(&error))
}

/// Namespace and name, as a person writes them.
fn pod_name(container: &Container) -> String {
    if container.pod.is_empty() {
        return String::new();
    }
    validate::person(&format!("{}/{}", container.namespace, container.pod), 320)
}

/// The direction that is meant. A client that is older than the field says none.
fn direction(request: &SetDirectionRequest) -> Result<Direction, Status> {
    match request.direction() {
        WireDirection::ToContainer => Ok(Direction::ToContainer),
        WireDirection::Both => Ok(Direction::Both),
        WireDirection::Unspecified => Err(Status::invalid_argument(format!(
            "folder `{}` needs a direction that this radar knows: bring kubectl-ksync up to date",
            request.folder_id
        ))),
    }
}

fn new_id() -> String {
    format!("a-{:016x}", rand::rng().random::<u64>())
}

fn attached(attachment: &Attachment) -> AttachReply {
    let about = &attachment.about;
    let submounts = about.submounts.iter().map(|submount| Submount {
        path: submount.path.clone(),
        excluded: submount.excluded.is_some(),
        reason: submount.excluded.unwrap_or_default().to_owned(),
    });
    AttachReply {
        attachment_id: attachment.id.clone(),
        path: attachment.claim.path.clone(),
        created: about.created,
        submounts: submounts.collect(),
        ..AttachReply::default()
    }
}

/// What the client's `grpc-timeout` leaves for waiting: a little less, so that the answer is still in time.
fn deadline(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    let timeout = match unit {
        "H" => Duration::from_secs(number.checked_mul(3600)?),
        "M" => Duration::from_secs(number.checked_mul(60)?),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Some(timeout.saturating_sub((timeout / 10).min(Duration::from_millis(500))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ksync_proto::radar::SetDirectionRequest;
    use tonic::metadata::MetadataMap;

    use super::{Direction, WireDirection, deadline, direction};

    #[test]
    fn a_direction_that_is_not_known_is_refused_and_not_guessed() {
        let of = |number: i32| {
            let request =
                SetDirectionRequest { direction: number, folder_id: "f".into(), ..Default::default() };
            direction(&request).map_err(|status| status.message().to_owned())
        };
        assert_eq!(of(WireDirection::ToContainer.into()), Ok(Direction::ToContainer));
        assert_eq!(of(WireDirection::Both.into()), Ok(Direction::Both));
        let refused = "folder `f` needs a direction that this radar knows: bring kubectl-ksync up to date";
        // A client that still sends `two_way`, and one that is newer than this radar.
        assert_eq!((of(0).unwrap_err().as_str(), of(7).unwrap_err().as_str()), (refused, refused));
    }

    #[test]
    fn the_deadline_leaves_time_for_the_answer() {
        let of = |text: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            deadline(&metadata)
        };
        assert_eq!(of("10S"), Some(Duration::from_millis(9500)));
        assert_eq!(of("1000m"), Some(Duration::from_millis(900)));
        assert_eq!(of("x"), None);
        assert_eq!(of("5Y"), None);
        assert_eq!(deadline(&MetadataMap::new()), None);
    }
}
