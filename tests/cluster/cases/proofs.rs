//! Proofs of `pods/exec` (docs/decisions/0014): only the cluster's word opens a container, to whom it was given and to nobody
//! else, and no process of the container can give it.

use ksync_proto::radar::{AttachRequest, BasePathRequest, LookRequest, ReloadMode, ReloadRequest};
use serde_json::json;
use tonic::Code;

use super::{CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Sandbox,
    developer::Developer,
    eventually::LONG,
    ksync::Ksync,
    proving::{Exec, Proving, prove},
    stranger::{Forward, open_session, runtime, wire},
};

pub(super) const CASES: &[Case] = &[
    Case::new("without_the_right_create_writes_nothing", without_the_right).on_each(),
    Case::new("what_the_container_does_proves_nothing", by_the_container).on_each(),
    Case::new("what_the_kubelet_runs_proves_nothing", by_the_kubelet).on_each(),
    Case::new("nobody_inside_gets_at_a_proof_under_way", under_way).on_each(),
    Case::new("a_proof_is_ones_own_and_of_one_container", ones_own).on_each(),
    Case::new("a_proof_is_not_played_again", played_again).on_each(),
    Case::new("a_pod_of_the_same_name_is_another_one", same_name).on_each(),
    Case::new("an_exec_elsewhere_proves_nothing_here", elsewhere).on_each(),
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
        let exec = proving.exec(sandbox, &container);
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
    runtime().block_on(async {
        let (mut mine, mut theirs) = (forward.with_a_new_key().await, forward.with_a_new_key().await);
        let _mine = open_session(&mut mine).await.expect("a session");
        let _theirs = open_session(&mut theirs).await.expect("a session");
        let (mut proving, others) = (
            Proving::begin(&mut mine, &container.id).await,
            Proving::begin(&mut theirs, &container.id).await,
        );
        // With the challenge that somebody else was given, it is a proof of nobody.
        proving.exec(sandbox, &container).end(&others.challenge);
        let why = proving.refused("somebody else's challenge").await;
        assert_eq!(why, "the program has not answered with the challenge");
        proving.exec(sandbox, &container).end(&proving.challenge);
        proving.proved().await;
        drop(others);
        mine.attach(attach(&container.id, false)).await.expect("what was proved");
        let refused = theirs.attach(attach(&container.id, false)).await.expect_err("somebody else's proof");
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
            let refused = mine.attach(attach(&next.id, false)).await.expect_err("another container");
            assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
        }
    });
    sandbox.sync(NO_RELOAD, CODE);
    drop(developer);
}

fn attach(id: &str, take_over: bool) -> AttachRequest {
    AttachRequest { folder_id: "f".to_owned(), container: Some(wire(id)), path: CODE.to_owned(), take_over }
}

/// What was run and written for one proof is of no use for the next.
fn played_again(sandbox: &Sandbox) {
    let container = App::shell(sandbox, RUNS).apply(sandbox).only();
    let forward = Forward::to_radar(sandbox, &sandbox.kubectl().kubeconfig, &container.node);
    runtime().block_on(async {
        let mut radar = forward.with_a_new_key().await;
        let _session = open_session(&mut radar).await.expect("a session");
        let mut first = Proving::begin(&mut radar, &container.id).await;
        first.exec(sandbox, &container).end(&first.challenge);
        first.proved().await;
        // It went with its call.
        let command: Vec<&str> = first.command.split(' ').collect();
        let said = sandbox.kubectl().try_ok(
            &[&["exec", "-n", &container.namespace, &container.pod, "--"], command.as_slice()].concat(),
        );
        assert!(said.is_err(), "what was planted is there still: {said:?}");
        let mut second = Proving::begin(&mut radar, &container.id).await;
        assert_ne!((&second.command, &second.challenge), (&first.command, &first.challenge));
        second.exec(sandbox, &container).end(&first.challenge);
        let why = second.refused("the challenge of the first").await;
        assert_eq!(why, "the program has not answered with the challenge");
    });
}

/// As a StatefulSet's pod comes again: the same name, on the same node.
fn same_name(sandbox: &Sandbox) {
    let make = || App::shell(sandbox, RUNS).alone(sandbox, "member-0");
    let container = make();
    let forward = Forward::to_radar(sandbox, &sandbox.kubectl().kubeconfig, &container.node);
    runtime().block_on(async {
        let mut radar = forward.with_a_new_key().await;
        let _session = open_session(&mut radar).await.expect("a session");
        prove(sandbox, &mut radar, &container).await;
        let held = radar.attach(attach(&container.id, true)).await.expect("what was proved").into_inner();
        let namespace = &container.namespace;
        sandbox.kubectl().ok(&[
            "delete",
            "pod",
            "-n",
            namespace,
            &container.pod,
            "--force",
            "--grace-period=0",
        ]);
        let next = make();
        assert_eq!((&next.pod, &next.node), (&container.pod, &container.node));
        assert_ne!(next.id, container.id);
        let refused = radar.attach(attach(&next.id, true)).await.expect_err("the pod that came in its place");
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
        // It may end a little later than the API server has forgotten it.
        let ended = tokio::time::timeout(LONG, async {
            loop {
                match radar.attach(attach(&container.id, true)).await {
                    Err(refused) if refused.code() == Code::AlreadyExists => {}
                    other => return other.expect_err("the pod that is gone"),
                }
            }
        });
        let refused = ended.await.expect("its end");
        assert!(matches!(refused.code(), Code::NotFound | Code::FailedPrecondition), "{refused}");
        let reload = ReloadRequest {
            attachment_id: held.attachment_id,
            mode: ReloadMode::Process.into(),
            ..ReloadRequest::default()
        };
        let refused = radar.reload(reload).await.expect_err("an attachment whose pod is gone");
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
    });
}

/// Somebody with `pods/exec` in his own namespace, and with the program that was planted there.
fn elsewhere(sandbox: &Sandbox) {
    let mine = App::shell(sandbox, RUNS).apply(sandbox).only();
    let other = format!("{}-other", sandbox.namespace);
    sandbox.run.make_namespace(&other);
    let theirs = App::shell(sandbox, RUNS).apply_in(sandbox, &other).only();
    let developer = Developer::account(sandbox);
    let kubeconfig = developer.with_token();
    let ksync = Ksync { kubeconfig: kubeconfig.clone(), namespace: other.clone(), ..sandbox.ksync.clone() };
    let local = sandbox.local().display().to_string();
    ksync.refused(&["create", "--name", "main", "-l", "app=app", &local, CODE]);
    let forward = Forward::to_radar(sandbox, &kubeconfig, &theirs.node);
    runtime().block_on(async {
        let mut radar = forward.with_a_new_key().await;
        let _session = open_session(&mut radar).await.expect("a session");
        let wanted = Proving::begin(&mut radar, &theirs.id).await;
        let mut own = Proving::begin(&mut radar, &mine.id).await;
        // What is planted there is not here.
        let said = sandbox.kubectl().try_ok(&[
            "exec",
            "-n",
            &mine.namespace,
            &mine.pod,
            "--",
            "ls",
            wanted.command.split(' ').next().expect("a program"),
        ]);
        assert!(said.is_err(), "{said:?}");
        own.exec(sandbox, &mine).end(&wanted.challenge);
        let why = own.refused("the challenge of another container").await;
        assert_eq!(why, "the program has not answered with the challenge");
        own.exec(sandbox, &mine).end(&own.challenge);
        own.proved().await;
        radar.attach(attach(&mine.id, true)).await.expect("his own");
        for refused in [
            radar.attach(attach(&theirs.id, true)).await.map(drop),
            radar
                .look(LookRequest { container: Some(wire(&theirs.id)), path: CODE.to_owned() })
                .await
                .map(drop),
        ] {
            assert_eq!(refused.expect_err("somebody else's").code(), Code::Unauthenticated);
        }
    });
    sandbox.kubectl().ok(&["delete", "namespace", &other, "--wait=false"]);
    drop(developer);
}
