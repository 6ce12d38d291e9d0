//! Proofs of `pods/exec` by hand: what radar wants to have run, and somebody who runs it.

use std::{
    io::Write,
    process::{Child, ChildStdin, Command, Stdio},
};

use ksync_proto::radar::{ProveReply, ProveRequest, prove_reply::Reply, radar_client::RadarClient};
use tonic::{Streaming, transport::Channel};

use super::{Sandbox, container::Container, stranger::wire};

/// What radar wants to have run, and its word on what came of it.
pub(crate) struct Proving {
    pub(crate) command: String,
    pub(crate) challenge: Vec<u8>,
    replies: Streaming<ProveReply>,
}

impl Proving {
    pub(crate) async fn begin(radar: &mut RadarClient<Channel>, id: &str) -> Self {
        let request = ProveRequest { container: Some(wire(id)), renew: true };
        let mut replies = radar.prove(request).await.expect("Prove").into_inner();
        match replies.message().await.expect("a reply").and_then(|reply| reply.reply) {
            Some(Reply::Wanted(wanted)) => {
                Self { command: wanted.command.join(" "), challenge: wanted.challenge, replies }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Runs what radar wants by the suite's own user.
    pub(crate) fn exec(&self, sandbox: &Sandbox, container: &Container) -> Exec {
        let command: Vec<&str> = self.command.split(' ').collect();
        Exec::begin(sandbox, container, &command)
    }

    /// The challenge as printf(1) takes it.
    pub(crate) fn escaped(&self) -> String {
        let byte = |byte: &u8| format!("\\{byte:03o}");
        self.challenge.iter().map(byte).collect::<Vec<_>>().concat()
    }

    /// What has run was no proof. Returns why.
    pub(crate) async fn refused(&mut self, line: &str) -> String {
        match self.replies.message().await.expect(line).and_then(|reply| reply.reply) {
            Some(Reply::Refused(why)) => why,
            other => panic!("{line}: {other:?}"),
        }
    }

    /// What has run was one.
    pub(crate) async fn proved(&mut self) {
        match self.replies.message().await.expect("a proof").and_then(|reply| reply.reply) {
            Some(Reply::Proved(proved)) => assert!(proved.good_for_ms > 0),
            other => panic!("{other:?}"),
        }
    }
}

/// A `kubectl exec --stdin` of a line, whose stdin stays open to the line's end.
pub(crate) struct Exec {
    kubectl: Child,
    stdin: ChildStdin,
}

impl Exec {
    pub(crate) fn begin(sandbox: &Sandbox, container: &Container, line: &[&str]) -> Self {
        let kubectl = sandbox.kubectl();
        let mut child = Command::new(&kubectl.program)
            .env("KUBECONFIG", &kubectl.kubeconfig)
            .args(["exec", "-i", "-n", &container.namespace, &container.pod, "-c", &container.name, "--"])
            .args(line)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start kubectl");
        let stdin = child.stdin.take().expect("its stdin");
        Self { kubectl: child, stdin }
    }

    /// Gives it the challenge. What came of it is radar's to say.
    pub(crate) fn end(mut self, challenge: &[u8]) {
        self.stdin.write_all(challenge).expect("write");
        self.kubectl.wait().expect("the end of kubectl");
    }
}

/// Proves that the suite's own user may exec into a container.
pub(crate) async fn prove(sandbox: &Sandbox, radar: &mut RadarClient<Channel>, container: &Container) {
    let mut proving = Proving::begin(radar, &container.id).await;
    proving.exec(sandbox, container).end(&proving.challenge);
    proving.proved().await;
}
