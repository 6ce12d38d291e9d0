//! The gRPC handlers: each checks a call, asks the registry or an endpoint, and answers.
//!
//! Invariant: handlers hold no state. What a call may touch is found through the key that its connection has proved, so
//! nobody reaches another's attachment, whatever names are known. Without a session only Version is answered.

use std::sync::Arc;

use jiff::Timestamp;
use ksync_keys::Fingerprint;
use ksync_proto::radar::{
    AttachReply, AttachRequest, BasePathReply, BasePathRequest, Bytes, Container, DetachReply, DetachRequest,
    LookReply, LookRequest, ProveReply, ProveRequest, ReadReply, ReadRequest, ReloadReply, ReloadRequest,
    SessionEvent, SessionRequest, SpoolReply, SpoolRequest, StageReply, StageRequest, Submount, SyncReply,
    SyncRequest, VersionReply, VersionRequest, radar_server::Radar,
};
use rand::RngExt;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    api::{
        allowance::Kind,
        door,
        places::{Place, Places},
        status,
    },
    container::{
        attachment::{Attachment, Claim, is_folder_id},
        init_process::InitProcess,
        mount::directory::{self, open_directory},
        mountinfo,
        power::Credential,
        runtime::{ContainerId, Runtimes},
    },
    paths::Paths,
    reload::Reloader,
    supervisor::presence::SupervisorRx,
    sync::{
        endpoints::{Endpoints, Opened},
        registry::{Command, IfHeld, Life, Registry},
        spools::Spools,
    },
};

mod bep;
mod own_pod;
mod prove;
mod reload;
mod replies;
mod session;
mod spool;
mod sync;
mod validate;

use replies::{Replies, Reply};

/// What this radar can do, by name. No name ever means something else.
const CAPABILITIES: &[&str] =
    &["prove", "look", "take-over", "bep", "base-path", "reload", "reload-grace", "sync", "spool"];

/// Proofs under way on a node, of all people together: each has a file system of its own in some container, with the program in
/// it, which is radar's memory. A proof takes a fraction of a second, and may take half a minute.
pub(crate) const PROOFS: usize = 128;

/// The calls' handlers, and what they need.
pub(crate) struct Handlers {
    /// Who owns sessions and attachments.
    pub(crate) registry: Registry,
    /// Who syncs attachments that are open.
    pub(crate) endpoints: Endpoints,
    /// Where large files come and go.
    pub(crate) spools: Spools,
    /// Where containers are found.
    pub(crate) runtimes: Runtimes,
    /// How apps get to run new code.
    pub(crate) reloader: Reloader,
    /// Who starts syncthings.
    pub(crate) supervisor_rx: SupervisorRx,
    /// Where the program is that proves an exec.
    pub(crate) paths: Paths,
    /// Places of proofs.
    pub(crate) proofs: Places,
    /// Cancelled when radar stops.
    pub(crate) stop: CancellationToken,
}

#[tonic::async_trait]
impl Radar for Handlers {
    async fn version(&self, _: Request<VersionRequest>) -> Reply<VersionReply> {
        let syncthing = self.supervisor_rx.borrow().as_ref().map(|supervisor| supervisor.version.clone());
        Ok(Response::new(VersionReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            syncthing_version: syncthing.unwrap_or_default(),
            capabilities: CAPABILITIES.iter().map(|c| (*c).to_owned()).collect(),
        }))
    }

    type SessionStream = Replies<SessionEvent>;

    async fn session(&self, request: Request<Streaming<SessionRequest>>) -> Reply<Self::SessionStream> {
        let door::Peer { person, allowance, .. } = door::peer(&request)?;
        let share = allowance.take(Kind::Session)?;
        let requests = request.into_inner();
        let events = session::open(person, &self.registry, &self.spools, requests).await?;
        Ok(Response::new(replies::holding(share, events)))
    }

    type ProveStream = Replies<ProveReply>;

    async fn prove(&self, request: Request<ProveRequest>) -> Reply<Self::ProveStream> {
        let door::Peer { person, allowance, .. } = door::peer(&request)?;
        self.holder(person).await?;
        let turn = allowance.turn(Kind::Proof).await?;
        let ProveRequest { container, renew } = request.into_inner();
        let container = container_id(container)?;
        let init = self.hold(&container).await?;
        let place = self.place(person).await?;
        let wanted = prove::Wanted { registry: self.registry.clone(), person, container, init, renew, place };
        Ok(Response::new(replies::holding(turn, prove::open(wanted, &self.paths).await?)))
    }

    async fn attach(&self, request: Request<AttachRequest>) -> Reply<AttachReply> {
        let door::Peer { person, allowance, .. } = door::peer(&request)?;
        let AttachRequest { folder_id, container, path, take_over } = request.into_inner();
        if !is_folder_id(&folder_id) {
            return Err(Status::invalid_argument(format!(
                "`{folder_id}` is no folder id: up to 64 letters, digits, `-`, `_` and `.` are"
            )));
        }
        let holder = self.holder(person).await?;
        let turn = allowance.turn(Kind::Question).await?;
        let pod = container.as_ref().map(pod_name).unwrap_or_default();
        let container = container_id(container)?;
        let (life, exec) = self.proved(person, &container).await?;
        let pid = life.pid;
        let opened = replies::counted(turn, async move { open_directory(pid, &path, exec).await }).await?;
        let directory = opened.map_err(|e| status::from_mount(&e))?;
        if !life.alive() {
            return Err(Status::not_found(format!(
                "container `{container}` ended while it was being attached"
            )));
        }
        let claim = Claim {
            person,
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
        unheard.told();
        Ok(Response::new(AttachReply { created, ..attached(&held) }))
    }

    async fn detach(&self, request: Request<DetachRequest>) -> Reply<DetachReply> {
        let person = door::peer(&request)?.person;
        let DetachRequest { attachment_id } = request.into_inner();
        self.holder(person).await?;
        self.registry.ask(|reply| Command::Detach(person, attachment_id, reply)).await?;
        Ok(Response::new(DetachReply {}))
    }

    async fn reload(&self, request: Request<ReloadRequest>) -> Reply<ReloadReply> {
        let door::Peer { person, allowance, .. } = door::peer(&request)?;
        let (id, mode) = reload::read(request.into_inner())?;
        let attachment = self.find(person, id).await?;
        let share = allowance.take(Kind::Reload)?;
        let reloader = self.reloader.clone();
        let outcome = replies::counted(share, async move { reloader.reload(attachment, mode).await }).await?;
        outcome.map(reload::reply).map_err(|error| status::from_reload(&error))
    }

    type BepStream = Replies<Bytes>;

    async fn bep(&self, request: Request<Streaming<Bytes>>) -> Reply<Self::BepStream> {
        let peer = door::peer(&request)?;
        self.holder(peer.person).await?;
        let share = peer.allowance.take(Kind::Bep)?;
        let syncthing = spool::running(&self.spools, peer.person).await?;
        let connected = bep::connect(&syncthing, request.into_inner(), self.stop.clone()).await?;
        Ok(Response::new(replies::holding(share, connected)))
    }

    async fn look(&self, request: Request<LookRequest>) -> Reply<LookReply> {
        let peer = door::peer(&request)?;
        self.holder(peer.person).await?;
        let turn = peer.allowance.turn(Kind::Question).await?;
        let LookRequest { container, path } = request.into_inner();
        let (init, exec) = self.proved(peer.person, &container_id(container)?).await?;
        let pid = init.pid;
        let looked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            directory::look(pid, &path, &exec)
        });
        let looked = looked.await;
        let looked = looked.map_err(|error| Status::internal(format!("look: {error}")))?;
        let exists = looked.map_err(|e| status::from_mount(&e))?;
        Ok(Response::new(LookReply { exists }))
    }

    async fn base_path(&self, request: Request<BasePathRequest>) -> Reply<BasePathReply> {
        let peer = door::peer(&request)?;
        self.holder(peer.person).await?;
        let _turn = peer.allowance.turn(Kind::Question).await?;
        let container = container_id(request.into_inner().container)?;
        self.proved(peer.person, &container).await?;
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

    async fn spool(&self, request: Request<SpoolRequest>) -> Reply<SpoolReply> {
        let door::Peer { person, allowance, .. } = door::peer(&request)?;
        self.holder(person).await?;
        let turn = allowance.turn(Kind::Configuration).await?;
        let SpoolRequest { tag } = request.into_inner();
        let (registry, spools) = (self.registry.clone(), self.spools.clone());
        let opening = spool::open(person, registry, spools, tag);
        Ok(Response::new(replies::counted(turn, opening).await??))
    }

    type SyncStream = Replies<SyncReply>;

    async fn sync(&self, request: Request<Streaming<SyncRequest>>) -> Reply<Self::SyncStream> {
        let door::Peer { person, allowance, .. } = door::peer(&request)?;
        self.holder(person).await?;
        let share = allowance.take(Kind::Sync)?;
        let replies = sync::open(person, self.registry.clone(), self.endpoints.clone(), request.into_inner());
        Ok(Response::new(replies::holding(share, replies)))
    }

    async fn stage(&self, request: Request<Streaming<StageRequest>>) -> Reply<StageReply> {
        let door::Peer { person, allowance, .. } = door::peer(&request)?;
        self.holder(person).await?;
        let share = allowance.take(Kind::Stage)?;
        let mut stream = request.into_inner();
        let mut first = replies::first(&mut stream, "names no file").await?;
        let opened = self.opened(person, std::mem::take(&mut first.attachment_id)).await?;
        if !first.spooled.is_empty() {
            let pair = self.spools.find(person);
            return Ok(Response::new(sync::spooled::stage(opened, pair, first, share).await?));
        }
        sync::content::stage(opened, first, stream, share).await?;
        Ok(Response::new(StageReply::default()))
    }

    type ReadStream = Replies<ReadReply>;

    async fn read(&self, request: Request<ReadRequest>) -> Reply<Self::ReadStream> {
        let door::Peer { person, allowance, .. } = door::peer(&request)?;
        let ReadRequest { attachment_id, path, expected, spool } = request.into_inner();
        let opened = self.opened(person, attachment_id).await?;
        let turn = allowance.turn(Kind::Read).await?;
        if let Some(pair) = self.spools.find(person).filter(|_| spool)
            && let Some(replies) =
                sync::spooled::read(&opened, &pair, &path, expected.as_ref(), &turn, self.stop.clone())
                    .await?
        {
            return Ok(Response::new(replies::holding(turn, replies)));
        }
        Ok(Response::new(sync::content::read(opened, path, expected, turn)?))
    }
}

impl Handlers {
    /// What a person's session calls itself; an error without a session.
    async fn holder(&self, person: Fingerprint) -> Result<String, Status> {
        Ok(self.registry.ask(|reply| Command::Holder(person, reply)).await?)
    }

    /// A place for a proof of a person.
    async fn place(&self, person: Fingerprint) -> Result<Place, Status> {
        let place = self.proofs.find(self.registry.holding()).await.ok_or_else(|| {
            Status::resource_exhausted(format!("more than {PROOFS} proofs of an exec on this node at once"))
        })?;
        place.is_of(person);
        Ok(place)
    }

    /// A container's init, unless it is one of radar's own pod.
    async fn hold(&self, container: &ContainerId) -> Result<InitProcess, Status> {
        let held = InitProcess::hold(&self.runtimes, container).await;
        let init = held.map_err(|error| status::from_init_process(&error))?;
        let supervisor = self.supervisor_rx.borrow().as_ref().map(|supervisor| supervisor.pid);
        own_pod::refuse(init.pid, supervisor)?;
        Ok(init)
    }

    /// The same, of a container that a person has proved that he may exec into, and what such an exec may do.
    async fn proved(
        &self,
        person: Fingerprint,
        container: &ContainerId,
    ) -> Result<(InitProcess, Credential), Status> {
        let init = self.hold(container).await?;
        let life = Life { container: container.clone(), started: init.started };
        let good = self.registry.ask(|reply| Command::Good(person, life, reply)).await?;
        Ok((init, good.exec))
    }

    async fn find(&self, person: Fingerprint, id: String) -> Result<Arc<Attachment>, Status> {
        Ok(self.registry.ask(|reply| Command::Find(person, id, reply)).await?)
    }

    async fn opened(&self, person: Fingerprint, id: String) -> Result<Arc<Opened>, Status> {
        let attachment = self.find(person, id).await?;
        Ok(self.endpoints.find(&attachment.id)?)
    }
}

/// Lets go of an attachment whose id its client never got to hear, because it gave up on the call meanwhile.
struct Unheard<'r>(Option<(&'r Registry, Fingerprint, String)>);

impl<'r> Unheard<'r> {
    fn new(registry: &'r Registry, attachment: &Attachment) -> Self {
        Self(Some((registry, attachment.claim.person, attachment.id.clone())))
    }

    fn told(&mut self) {
        self.0 = None;
    }
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if let Some((registry, person, id)) = self.0.take() {
            registry.tell(Command::Unheard(person, id));
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
        overrides: about.overrides,
        submounts: submounts.collect(),
    }
}
