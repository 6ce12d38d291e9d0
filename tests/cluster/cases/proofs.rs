//! Proofs of `pods/exec` (docs/decisions/0014): only the cluster's word opens a container, to whom it was given and to nobody
//! else, and no process of the container can give it.

use std::{
    io::Write,
    process::{Child, ChildStdin, Command, Stdio},
};

use ksync_proto::radar::{
    AttachRequest, BasePathRequest, LookRequest, ProveReply, ProveRequest, prove_reply::Reply,
    radar_client::RadarClient,
};
use serde_json::json;
use tonic::{Code, Streaming, transport::Channel};

use super::{CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Sandbox,
    container::Container,
    developer::Developer,
    eventually::LONG,
    ksync::Ksync,
    stranger::{Forward, open_session, runtime, wire},
};

pub(super) const CASES: &[Case] = &[
    Case::new("without_the_right_create_writes_nothing", without_the_right).on_each(),
    Case::new("what_the_container_does_proves_nothing", by_the_container).on_each(),
    Case::new("what_the_kubelet_runs_proves_nothing", by_the_kubelet).on_each(),
    Case::new("nobody_inside_gets_at_a_proof_under_way", under_way).on_each(),
    Case::new("a_proof_is_ones_own_and_of_one_container", ones_own).on_each(),
];

/// Runs what is put into `/run.sh`: the app's own process is its parent.
const RUNS: &str =
    "mkdir -p /code; while :; do if [ -e /run.sh ]; then sh /run.sh; rm /run.sh; fi; sleep 0.1; done";

fn without_the_right(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    App::idle(sandbox).apply(sandbox).only();
    let developer = Developer::without_exec(sandbox);
    let ksync = Ksync { kubeconfig: developer.with_token(), ..sandbox.ksync.clone() };
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
        let byte = |byte: &u8| format!("\\{byte:03o}");
        self.challenge.iter().map(byte).collect::<Vec<_>>().concat()
    }

    /// What has run was no proof. Returns why.
    async fn refused(&mut self, line: &str) -> String {
        match self.replies.message().await.expect(line).and_then(|reply| reply.reply) {
            Some(Reply::Refused(why)) => why,
            other => panic!("{line}: {other:?}"),
        }
    }

    /// What has run was one.
    async fn proved(&mut self) {
        match self.replies.message().await.expect("a proof").and_then(|reply| reply.reply) {
            Some(Reply::Proved(proved)) => assert!(proved.good_for_ms > 0),
            other => panic!("{other:?}"),
        }
    }
}

/// A `kubectl exec --stdin` of a line, whose stdin stays open to the line's end.
struct Exec {
    kubectl: Child,
    stdin: ChildStdin,
}

impl Exec {
    fn begin(sandbox: &Sandbox, container: &Container, line: &[&str]) -> Self {
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
    fn end(mut self, challenge: &[u8]) {
        self.stdin.write_all(challenge).expect("write");
        self.kubectl.wait().expect("the end of kubectl");
    }
}

fn by_the_container(sandbox: &Sandbox) {
    let container = App::shell(sandbox, RUNS).container("stdin", json!(true)).apply(sandbox).only();
    let developer = Developer::without_exec(sandbox);
    let forward = Forward::to_radar(sandbox, &developer.with_token(), &container.node);
    runtime().block_on(async {
        let mut radar = forward.with_a_new_key().await;
        let _session = open_session(&mut radar).await.expect("a session");
        let lines: [fn(&str, &str) -> String; 5] = [
            |command, challenge| format!("printf '{challenge}' | {command}"),
            |command, challenge| format!("printf '{challenge}' >/c; {command} </c"),
            |command, _| format!("{command} <&1"),
            // The container's own stdin is a pipe of its runtime.
            |command, _| command.to_owned(),
            |command, challenge| format!("(printf '{challenge}' >/p) & {command} </p"),
        ];
        container.sh(sandbox.cluster(), "mkfifo /p");
        for line in lines {
            let mut proving = Proving::begin(&mut radar, &container.id).await;
            let line = line(&proving.command, &proving.escaped());
            container.sh(sandbox.cluster(), &format!("cat >/run.new <<'X'\n{line}\nX\nmv /run.new /run.sh"));
            proving.refused(&line).await;
        }
        // Somebody's exec that hands its stdin on to the program.
        let mut proving = Proving::begin(&mut radar, &container.id).await;
        let line = format!("{}; :", proving.command);
        Exec::begin(sandbox, &container, &["sh", "-c", &line]).end(&proving.challenge);
        let why = proving.refused("a shell of an exec").await;
        assert_eq!(why, "a process of the container has started the program");
        let look = LookRequest { container: Some(wire(&container.id)), path: CODE.to_owned() };
        assert_eq!(radar.look(look).await.expect_err("Look").code(), Code::Unauthenticated);
    });
    crate::suite::eventually("nothing planted any more", LONG, || {
        let left = container.sh(sandbox.cluster(), "ls -A /dev | grep ksync || true");
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    drop(developer);
}

/// The kubelet starts a probe and a hook as it starts an exec, and gives them no stdin.
fn by_the_kubelet(sandbox: &Sandbox) {
    let runs = |file: &str| json!(["sh", "-c", format!("! mv {file} {file}.now || . {file}.now")]);
    let probe = json!({ "exec": { "command": runs("/probe.sh") }, "periodSeconds": 1 });
    let hook = json!({ "preStop": { "exec": { "command": runs("/hook.sh") } } });
    let app = App::shell(sandbox, "mkdir -p /code; mkfifo /p; trap 'exit 0' TERM; sleep 1000000 & wait");
    let app = app.container("readinessProbe", probe).container("lifecycle", hook);
    let app = app.pod("terminationGracePeriodSeconds", json!(30)).apply(sandbox);
    let container = app.only();
    let developer = Developer::without_exec(sandbox);
    let forward = Forward::to_radar(sandbox, &developer.with_token(), &container.node);
    let lines: [fn(&str, &str) -> String; 5] = [
        |command, _| format!("exec {command}"),
        |command, challenge| format!("printf '{challenge}' >/c; exec {command} </c"),
        |command, challenge| format!("exec 0<>/p; printf '{challenge}' >/p; exec {command}"),
        |command, challenge| format!("(printf '{challenge}' >/p) & exec {command} </p"),
        |command, challenge| format!("printf '{challenge}' | {{ exec {command}; }}"),
    ];
    let put = |file: &str, line: &str| {
        let line = format!("cat >/new <<'X'\n{line}\nX\nmv /new {file}");
        container.sh(sandbox.cluster(), &line);
    };
    runtime().block_on(async {
        let mut radar = forward.with_a_new_key().await;
        let _session = open_session(&mut radar).await.expect("a session");
        for line in lines {
            let mut proving = Proving::begin(&mut radar, &container.id).await;
            let line = line(&proving.command, &proving.escaped());
            put("/probe.sh", &line);
            proving.refused(&line).await;
        }
        let mut proving = Proving::begin(&mut radar, &container.id).await;
        let line = lines[1](&proving.command, &proving.escaped());
        put("/hook.sh", &line);
        let (namespace, pod) = (&container.namespace, &container.pod);
        sandbox.kubectl().ok(&["delete", "pod", "-n", namespace, pod, "--wait=false"]);
        proving.refused(&line).await;
    });
    drop(developer);
}

/// Tries all that a process may try with another one, and says what came of it.
const GETS_AT: &str = r"
import ctypes, errno, os, time
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    done = getattr(libc, name)(*args)
    if done < 0: raise OSError(ctypes.get_errno(), name)
    return done
def named(pid):
    # Asleep, it waits for radar or for its stdin, and has done what it does first.
    try: return '(prove) S ' in open(f'/proc/{pid}/stat').read()
    except OSError: return False
end, found = time.time() + 20, []
while not found and time.time() < end:
    found = [int(pid) for pid in os.listdir('/proc') if pid.isdigit() and named(pid)]
pid, = found
ways = {
    'stdin': lambda: os.open(f'/proc/{pid}/fd/0', os.O_WRONLY),
    'memory': lambda: os.open(f'/proc/{pid}/mem', os.O_RDWR),
    'program': lambda: os.readlink(f'/proc/{pid}/exe'),
    'trace': lambda: call('ptrace', 0x4206, pid, 0, 0),
    'descriptor': lambda: call('syscall', 438, call('syscall', 434, pid, 0), 0, 0),
}
for way, go in ways.items():
    try: print(way, 'done', go())
    except OSError as error: print(way, errno.errorcode[error.errno])
";

fn under_way(sandbox: &Sandbox) {
    let container = App::shell(sandbox, RUNS).with_python().apply(sandbox).only();
    let forward = Forward::to_radar(sandbox, &sandbox.kubectl().kubeconfig, &container.node);
    runtime().block_on(async {
        let mut radar = forward.with_a_new_key().await;
        let _session = open_session(&mut radar).await.expect("a session");
        let mut proving = Proving::begin(&mut radar, &container.id).await;
        let command = proving.command.clone();
        let command: Vec<&str> = command.split(' ').collect();
        let exec = Exec::begin(sandbox, &container, &command);
        let line = format!("/usr/bin/python3 - <<'X'\n{GETS_AT}X");
        let said = container.sh(sandbox.cluster(), &line);
        let expected = "stdin EACCES\nmemory EACCES\nprogram EACCES\ntrace EPERM\ndescriptor EPERM\n";
        assert_eq!(said, expected);
        exec.end(&proving.challenge);
        proving.proved().await;
    });
}

fn ones_own(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::shell(sandbox, RUNS).apply(sandbox);
    let container = app.only();
    let developer = Developer::without_exec(sandbox);
    let forward = Forward::to_radar(sandbox, &developer.with_token(), &container.node);
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
        let (mut proving, others) = (
            Proving::begin(&mut mine, &container.id).await,
            Proving::begin(&mut theirs, &container.id).await,
        );
        let command = proving.command.clone();
        let command: Vec<&str> = command.split(' ').collect();
        // With the challenge that somebody else was given, it is a proof of nobody.
        Exec::begin(sandbox, &container, &command).end(&others.challenge);
        let why = proving.refused("somebody else's challenge").await;
        assert_eq!(why, "the program has not answered with the challenge");
        Exec::begin(sandbox, &container, &command).end(&proving.challenge);
        proving.proved().await;
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
