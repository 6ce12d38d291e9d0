//! Proofs of `pods/exec` (docs/decisions/0014): only the cluster's word opens a container, to whom it was given and to nobody
//! else, and no process of the container can give it.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use ksync_proto::radar::{
    AttachRequest, BasePathRequest, Container as WireContainer, LookRequest, ProveReply, ProveRequest,
    prove_reply::Reply, radar_client::RadarClient,
};
use tonic::{Code, Status, Streaming, transport::Channel};

use super::{CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Sandbox,
    container::Container,
    developer::Developer,
    eventually::LONG,
    ksync::Ksync,
    stranger::{Forward, open_session},
};

pub(super) const CASES: &[Case] = &[
    Case::new("without_the_right_create_writes_nothing", without_the_right).on_each(),
    Case::new("what_the_container_does_proves_nothing", by_the_container).on_each(),
    Case::new("a_proof_is_ones_own_and_of_one_container", ones_own).on_each(),
];

/// Runs what is put into `/run.sh`: the app's own process is its parent.
const RUNS: &str =
    "mkdir -p /code; while :; do if [ -e /run.sh ]; then sh /run.sh; rm /run.sh; fi; sleep 0.1; done";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

fn token(sandbox: &Sandbox, developer: &Developer<'_>) -> std::path::PathBuf {
    let token = sandbox.kubectl().ok(&["create", "token", "-n", &sandbox.namespace, &developer.name]);
    developer.kubeconfig(&[&format!("--token={}", token.trim())])
}

fn wire(id: &str) -> WireContainer {
    WireContainer { id: id.to_owned(), ..WireContainer::default() }
}

fn without_the_right(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    App::idle(sandbox).apply(sandbox).only();
    let developer = Developer::without_exec(sandbox);
    let ksync = Ksync { kubeconfig: token(sandbox, &developer), ..sandbox.ksync.clone() };
    let local = sandbox.local().display().to_string();
    let said = ksync.refused(&["create", "--name", "main", "-l", "app=app", &local, CODE]);
    assert!(said.contains("pods/exec"), "{said}");
    assert_eq!(ksync.specs().expect("no specs").len(), 0, "something was written");
    drop(developer);
}

/// What radar wants to have run, and its word on what came of it.
struct Proving {
    command: String,
    challenge: Vec<u8>,
    replies: Streaming<ProveReply>,
}

impl Proving {
    async fn begin(radar: &mut RadarClient<Channel>, id: &str) -> Self {
        let request = ProveRequest { container: Some(wire(id)), renew: true };
        let mut replies = radar.prove(request).await.expect("Prove").into_inner();
        match replies.message().await.expect("a reply").and_then(|reply| reply.reply) {
            Some(Reply::Wanted(wanted)) => {
                Self { command: wanted.command.join(" "), challenge: wanted.challenge, replies }
            }
            other => panic!("{other:?}"),
        }
    }

    /// The challenge as printf(1) takes it.
    fn escaped(&self) -> String {
        self.challenge.iter().map(|byte| format!("\\{byte:03o}")).collect()
    }

    async fn end(mut self) -> Result<(), Status> {
        match self.replies.message().await?.and_then(|reply| reply.reply) {
            Some(Reply::Proved(proved)) => {
                assert!(proved.good_for_ms > 0);
                Ok(())
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What `kubectl exec --stdin` of a line does, with the challenge on its stdin, which stays open to the line's end.
fn exec(sandbox: &Sandbox, container: &Container, line: &[&str], challenge: &[u8]) {
    let kubectl = sandbox.kubectl();
    let mut child = Command::new(&kubectl.program)
        .env("KUBECONFIG", &kubectl.kubeconfig)
        .args(["exec", "-i", "-n", &container.namespace, &container.pod, "-c", &container.name, "--"])
        .args(line)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start kubectl");
    let mut stdin = child.stdin.take().expect("its stdin");
    stdin.write_all(challenge).expect("write");
    // What came of it is radar's to say.
    child.wait().expect("the end of kubectl");
}

fn by_the_container(sandbox: &Sandbox) {
    let container = App::shell(sandbox, RUNS).apply(sandbox).only();
    let developer = Developer::without_exec(sandbox);
    let forward = Forward::to_radar(sandbox, &token(sandbox, &developer), &container.node);
    runtime().block_on(async {
        let mut radar = forward.with_a_new_key().await;
        let _session = open_session(&mut radar).await.expect("a session");
        let lines: [fn(&str, &str) -> String; 4] = [
            |command, challenge| format!("printf '{challenge}' | {command}"),
            |command, challenge| format!("printf '{challenge}' >/c; {command} </c"),
            |command, _| format!("{command} <&1"),
            |command, challenge| format!("exec 3>/p; printf '{challenge}' >&3 & {command} </p"),
        ];
        container.sh(sandbox.cluster(), "mkfifo /p");
        for line in lines {
            let proving = Proving::begin(&mut radar, &container.id).await;
            let line = line(&proving.command, &proving.escaped());
            container.sh(sandbox.cluster(), &format!("cat >/run.new <<'X'\n{line}\nX\nmv /run.new /run.sh"));
            let refused = proving.end().await.expect_err(&line);
            assert_eq!(refused.code(), Code::PermissionDenied, "{line}: {refused}");
        }
        // Somebody's exec that hands its stdin on to the program.
        let proving = Proving::begin(&mut radar, &container.id).await;
        let line = format!("{}; :", proving.command);
        exec(sandbox, &container, &["sh", "-c", &line], &proving.challenge);
        let refused = proving.end().await.expect_err("by a shell of an exec");
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::PermissionDenied, "a process of the container has started the program")
        );
        let look = LookRequest { container: Some(wire(&container.id)), path: CODE.to_owned() };
        assert_eq!(radar.look(look).await.expect_err("Look").code(), Code::Unauthenticated);
    });
    assert_eq!(container.sh(sandbox.cluster(), "ls -A /dev | grep -c ksync || true").trim(), "0");
    drop(developer);
}

fn ones_own(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::shell(sandbox, RUNS).apply(sandbox);
    let container = app.only();
    let developer = Developer::without_exec(sandbox);
    let forward = Forward::to_radar(sandbox, &token(sandbox, &developer), &container.node);
    let attach = |id: &str| AttachRequest {
        folder_id: "f".to_owned(),
        container: Some(wire(id)),
        path: CODE.to_owned(),
        take_over: false,
    };
    runtime().block_on(async {
        let (mut mine, mut theirs) = (forward.with_a_new_key().await, forward.with_a_new_key().await);
        let _mine = open_session(&mut mine).await.expect("a session");
        let _theirs = open_session(&mut theirs).await.expect("a session");
        let (proving, others) = (
            Proving::begin(&mut mine, &container.id).await,
            Proving::begin(&mut theirs, &container.id).await,
        );
        let command: Vec<&str> = proving.command.split(' ').collect();
        // With the challenge that somebody else was given, it is a proof of nobody.
        exec(sandbox, &container, &command, &others.challenge);
        exec(sandbox, &container, &command, &proving.challenge);
        proving.end().await.expect("whoever may exec");
        drop(others);
        mine.attach(attach(&container.id)).await.expect("what was proved");
        let refused = theirs.attach(attach(&container.id)).await.expect_err("somebody else's proof");
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
        let base = theirs.base_path(BasePathRequest { container: Some(wire(&container.id)) }).await;
        assert_eq!(base.expect_err("BasePath").code(), Code::Unauthenticated);
        // A pod that comes in its place is another one.
        app.kill_pod(&container.pod);
        let next = crate::suite::eventually("another container", LONG, || {
            let now = app.all();
            now.into_iter().find(|new| new.id != container.id).ok_or("the same".to_owned())
        });
        if next.node == container.node {
            let refused = mine.attach(attach(&next.id)).await.expect_err("another container");
            assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
        }
    });
    sandbox.sync(NO_RELOAD, CODE);
    drop(developer);
}
