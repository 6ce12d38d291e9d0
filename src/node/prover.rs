//! Proving to radar that we may exec into a container: radar plants a program there, we have it run by `pods/exec`
//! (docs/decisions/0014).
//!
//! Invariant: of one container at most one proof is under way on a link, and all that ask for one share it.

use std::time::{Duration, Instant};

use ksync_common::Backoff;
use ksync_proto::radar::{ProofWanted, ProveReply, ProveRequest, prove_reply::Reply};
use kube::Client;
use tonic::Streaming;
use tracing::{debug, info};

use super::{call_error::CallError, link::Link, wire};
use crate::{
    cluster,
    exec::{self, Place},
    targets::RemoteContainer,
};

/// How long a proof may take in all: many of one node wait for their turns.
const LIMIT: Duration = Duration::from_secs(120);
/// radar says why there was no proof within this time after the program has ended.
const WHY: Duration = Duration::from_secs(5);
/// So long before its end a proof is renewed.
const AHEAD: Duration = Duration::from_secs(120);

/// Who runs what radar wants to have run.
#[derive(Clone)]
pub(super) struct Prover(Client);

impl std::fmt::Debug for Prover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prover")
    }
}

impl Prover {
    pub(super) fn new(client: Client) -> Self {
        Self(client)
    }

    /// Proves that we may exec into the container, unless that is proved and will be for a while. Until when it is.
    pub(super) async fn prove(&self, link: &Link, container: &RemoteContainer) -> Result<Instant, CallError> {
        let until = link.proofs.of(container);
        let mut until = until.lock().await;
        let renewed_at = |until: Instant| until.checked_sub(AHEAD);
        if let Some(until) = until.filter(|until| renewed_at(*until).is_some_and(|at| Instant::now() < at)) {
            return Ok(until);
        }
        let begun = Instant::now();
        let proving = self.run(link, container, until.is_some());
        let good_for = tokio::time::timeout(LIMIT, proving).await;
        let good_for = good_for.map_err(|_| CallError::Slow { call: "Prove", limit: LIMIT })??;
        debug!(pod = container.pod, took = ?begun.elapsed(), "proved that we may exec");
        Ok(*until.insert(Instant::now() + good_for))
    }

    /// Renews the proof again and again. Where that fails for too long, radar ends what rests on it, and says so.
    pub(super) async fn keep(&self, link: &Link, container: &RemoteContainer) -> std::convert::Infallible {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(20));
        loop {
            match self.prove(link, container).await {
                Ok(until) => {
                    backoff.reset();
                    let rest = until.saturating_duration_since(Instant::now()).saturating_sub(AHEAD);
                    tokio::time::sleep(rest.max(Duration::from_secs(1))).await;
                }
                Err(error) => {
                    info!(error = ksync_common::chain(&error), "prove anew that we may exec");
                    backoff.wait().await;
                }
            }
        }
    }

    async fn run(
        &self,
        link: &Link,
        container: &RemoteContainer,
        renew: bool,
    ) -> Result<Duration, CallError> {
        let request = ProveRequest { container: Some(wire::container(container)), renew };
        let mut replies = link.radar.clone().prove(request).await?.into_inner();
        let ProofWanted { command, challenge } = match next(&mut replies).await? {
            Reply::Proved(proved) => return Ok(Duration::from_millis(proved.good_for_ms)),
            Reply::Wanted(wanted) => wanted,
            Reply::Refused(_) => return Err(nonsense()),
        };
        let place =
            Place { namespace: &container.namespace, pod: &container.pod, container: &container.name };
        let mut verdict = Verdict { replies, refused: None };
        let ended = tokio::select! {
            biased;
            good_for = verdict.proved(false) => return good_for,
            ended = exec::run(&self.0, place, command, &challenge) => ended,
        };
        let why = match ended {
            Err(error @ exec::Error::Cluster { .. }) => return Err(CallError::Exec(sentence(&error))),
            Err(error) => Some(CallError::Exec(sentence(&error))),
            Ok(()) => None,
        };
        // radar knows better what was wrong.
        match tokio::time::timeout(WHY, verdict.proved(why.is_some())).await {
            Ok(good_for) => good_for,
            Err(_) => Err(why.unwrap_or(CallError::Slow { call: "Prove", limit: WHY })),
        }
    }
}

/// radar's word on who has run the program.
struct Verdict {
    replies: Streaming<ProveReply>,
    /// Why somebody was no proof: we, or a process of the container.
    refused: Option<String>,
}

impl Verdict {
    /// How long the proof is good. Where our own exec has `failed`, a refusal is ours; else it is somebody else's, who has run the
    /// program.
    async fn proved(&mut self, failed: bool) -> Result<Duration, CallError> {
        loop {
            if failed && let Some(why) = self.refused.take() {
                return Err(CallError::Refused(why));
            }
            match next(&mut self.replies).await? {
                Reply::Proved(proved) => return Ok(Duration::from_millis(proved.good_for_ms)),
                Reply::Refused(why) => self.refused = Some(why),
                Reply::Wanted(_) => return Err(nonsense()),
            }
        }
    }
}

async fn next(replies: &mut Streaming<ProveReply>) -> Result<Reply, CallError> {
    replies.message().await?.and_then(|reply| reply.reply).ok_or_else(nonsense)
}

fn nonsense() -> CallError {
    CallError::Refused("radar's answer to `Prove` has no sense".to_owned())
}

fn sentence(error: &exec::Error) -> String {
    match error {
        exec::Error::Cluster { source, .. } => format!("{error}: {}", cluster::explain(source, "")),
        exec::Error::Ended { .. } => error.to_string(),
    }
}
