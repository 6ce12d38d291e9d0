//! Having somebody prove that he may exec into a container (docs/decisions/0014).
//!
//! Invariant: only the kernel's word on who answers counts, before radar speaks and after it has heard the challenge. Whoever
//! else comes to the socket costs the proof nothing.

use std::{io, os::fd::AsFd, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use ksync_procfs::Status as ProcessStatus;
use ksync_proof::{Proof, Refusal, judge, look};
use ksync_proto::radar::{ProofWanted, ProveReply, Proved, prove_reply::Reply};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::Instant,
};
use tonic::{Code, Status};

use super::replies::Replies;
use crate::{
    api::{allowance::PEERS, places::Place, status},
    container::{
        init_process::InitProcess,
        mount::{
            self,
            plant::{Planted, plant},
        },
        power::Credential,
    },
    paths::Paths,
    sync::registry::{self, Command, Life, Registry},
};

/// From planting to the proof: an exec on a busy node takes seconds.
const LIMIT: Duration = Duration::from_secs(30);
/// How long one of those who come to the socket may take.
const PEER_LIMIT: Duration = Duration::from_secs(10);
/// Of how many the caller is told why they are none.
const TOLD: usize = 16;
/// Length of the challenge and of the nonce, as the planted program has it.
const LENGTH: usize = 32;

/// Why nothing was proved.
#[derive(Debug, thiserror::Error)]
enum Unproved {
    /// Who came last was no proof.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The kernel does not tell, because the process or the container has ended.
    #[error(transparent)]
    Look(#[from] ksync_procfs::Error),
    /// Not what was to come.
    #[error("the program has not answered with the challenge")]
    Answer,
    /// It was another one after the answer.
    #[error("the program was replaced while it answered")]
    Replaced,
    /// The socket failed, or whoever came said nothing.
    #[error("hear of the program")]
    Socket(#[from] io::Error),
    /// Others needed its place.
    #[error("too many prove an exec on this node at once, and this key has nothing attached: try again")]
    Displaced,
    /// Nobody came.
    #[error("the program was not run within {} s", LIMIT.as_secs())]
    NotRun,
}

impl From<Unproved> for Status {
    fn from(unproved: Unproved) -> Self {
        let code = match unproved {
            Unproved::Displaced => Code::ResourceExhausted,
            _ => Code::PermissionDenied,
        };
        Self::new(code, ksync_common::chain(&unproved))
    }
}

/// What is to be proved, and to whom it counts.
pub(super) struct Wanted {
    pub(super) registry: Registry,
    pub(super) person: ksync_keys::Fingerprint,
    pub(super) container: crate::container::runtime::ContainerId,
    pub(super) init: InitProcess,
    /// Whether a proof that is good does not do.
    pub(super) renew: bool,
    /// Where it is counted.
    pub(super) place: Place,
}

/// Says what is to be run in the container, and then that it was.
pub(super) async fn open(wanted: Wanted, paths: &Paths) -> Result<Replies<ProveReply>, Status> {
    let Wanted { registry, person, container, init, renew, place } = wanted;
    let life = Life { container, started: init.started };
    if !renew {
        let asked = life.clone();
        match registry.ask(|reply| Command::Good(person, asked, reply)).await {
            Ok(good) => return Ok(Box::pin(stream::iter([Ok(proved(good.rest))]))),
            Err(registry::Error::NotProved { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let planted = plant(init.pid, paths.prove().to_owned()).await;
    let planted = planted.map_err(|error: mount::Error| status::from_mount(&error))?;
    let challenge: [u8; LENGTH] = rand::random();
    let first = ProofWanted { command: planted.command.to_vec(), challenge: challenge.to_vec() };
    let first = ProveReply { reply: Some(Reply::Wanted(first)) };
    let (listener, peers) = (listener(&planted)?, JoinSet::new());
    let until = Instant::now() + LIMIT;
    let waiting = Waiting { planted, init, challenge, listener, peers, told: 0, until, place };
    let proving = Proving { waiting, registry, person, life };
    // What is planted goes with the reply's stream, so with the call.
    Ok(Box::pin(stream::iter([Ok(first)]).chain(stream::unfold(Some(proving), Proving::reply))))
}

fn listener(planted: &Planted) -> Result<UnixListener, Status> {
    let own = planted.listener.try_clone().and_then(UnixListener::from_std);
    own.map_err(|error| Unproved::Socket(error).into())
}

/// A call, until it is proved or given up.
struct Proving {
    waiting: Waiting,
    registry: Registry,
    person: ksync_keys::Fingerprint,
    life: Life,
}

impl Proving {
    /// The next reply, and what is to come after it.
    async fn reply(proving: Option<Self>) -> Option<(Result<ProveReply, Status>, Option<Self>)> {
        let mut proving = proving?;
        Some(match proving.waiting.next().await {
            Ok(Some((peer, exec))) => (proving.end(peer, exec).await, None),
            Ok(None) => (Err(Unproved::NotRun.into()), None),
            Err(why @ Unproved::Displaced) => (Err(why.into()), None),
            Err(why) => {
                let refused = Reply::Refused(ksync_common::chain(&why));
                (Ok(ProveReply { reply: Some(refused) }), Some(proving))
            }
        })
    }

    async fn end(self, peer: Peer, exec: Credential) -> Result<ProveReply, Status> {
        let Self { registry, person, life, .. } = self;
        let good_for = registry.ask(|reply| Command::Proved(person, life, exec, reply)).await?;
        peer.thank().await;
        Ok(proved(good_for))
    }
}

fn proved(good_for: Duration) -> ProveReply {
    let good_for_ms = u64::try_from(good_for.as_millis()).unwrap_or(u64::MAX);
    ProveReply { reply: Some(Reply::Proved(Proved { good_for_ms })) }
}

/// Those who come to the socket.
struct Waiting {
    planted: Planted,
    init: InitProcess,
    challenge: [u8; LENGTH],
    listener: UnixListener,
    peers: JoinSet<Result<(Peer, Credential), Unproved>>,
    told: usize,
    until: Instant,
    place: Place,
}

impl Waiting {
    /// The one that is a proof, and what it may do, which is what an exec into the container may; none when time is up.
    ///
    /// # Errors
    /// Why another one is none, of the first few.
    async fn next(&mut self) -> Result<Option<(Peer, Credential)>, Unproved> {
        loop {
            let met = tokio::select! {
                accepted = self.listener.accept(), if self.peers.len() < PEERS => {
                    let meeting = meet(accepted?.0, self.init.pid, self.planted.program, self.challenge);
                    self.peers.spawn(async {
                        tokio::time::timeout(PEER_LIMIT, meeting).await.map_err(io::Error::from)?
                    });
                    continue;
                }
                Some(met) = self.peers.join_next() => met.map_err(io::Error::other)?,
                () = tokio::time::sleep_until(self.until) => return Ok(None),
                () = self.place.lost.cancelled() => return Err(Unproved::Displaced),
            };
            match met {
                Ok(proof) => return Ok(Some(proof)),
                Err(why) => {
                    tracing::info!(why = ksync_common::chain(&why), "no proof of an exec");
                    self.told += 1;
                    if self.told <= TOLD {
                        return Err(why);
                    }
                }
            }
        }
    }
}

/// Who was a proof.
#[derive(Debug)]
struct Peer(UnixStream);

impl Peer {
    /// Lets the program end well.
    async fn thank(mut self) {
        if let Err(error) = self.0.write_all(&[1]).await {
            tracing::debug!(%error, "the program did not wait for the verdict");
        }
    }
}

/// Looks at who is at the other end, speaks, hears the challenge, and looks again.
async fn meet(
    mut stream: UnixStream,
    init: i32,
    program: (u64, u64),
    challenge: [u8; LENGTH],
) -> Result<(Peer, Credential), Unproved> {
    let unknown = || io::Error::from(io::ErrorKind::NotFound);
    let pid = stream.peer_cred()?.pid().ok_or_else(unknown)?;
    let raw = Pid::from_raw(pid).ok_or_else(unknown)?;
    // Its number is nobody else's from here on, or it has ended before it is looked at for the second time.
    let held = Arc::new(pidfd_open(raw, PidfdFlags::empty()).map_err(io::Error::from)?);
    let judged = || {
        let held = Arc::clone(&held);
        tokio::task::spawn_blocking(move || judged(pid, &held, init, program))
    };
    let first = judged().await.map_err(io::Error::other)??;
    let nonce: [u8; LENGTH] = rand::random();
    stream.write_all(&nonce).await?;
    let mut answer = [0; 2 * LENGTH];
    stream.read_exact(&mut answer).await?;
    if answer != *[nonce, challenge].concat() {
        return Err(Unproved::Answer);
    }
    let second = judged().await.map_err(io::Error::other)??;
    if first != second {
        return Err(Unproved::Replaced);
    }
    Ok((Peer(stream), first.1))
}

fn judged(
    pid: i32,
    held: impl AsFd,
    init: i32,
    program: (u64, u64),
) -> Result<(Proof, Credential), Unproved> {
    let proof = judge(&look(pid, init)?, program)?;
    let exec = Credential::of(&ProcessStatus::of(pid)?);
    let mut fds = [PollFd::new(&held, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut fds, Some(&now)) {
        Ok(0) => Ok((proof, exec)),
        Ok(_) => Err(Unproved::Replaced),
        Err(errno) => Err(Unproved::Socket(errno.into())),
    }
}
