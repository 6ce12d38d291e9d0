//! Processes that somebody else holds or asks after: probes, shells, debuggers.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{NEEDS, NOTE, everywhere, inits, reload, restarts};
use crate::suite::{
    App, Case, Sandbox,
    container::Container,
    eventually::{LONG, SHORT, eventually, holds},
    init::Init,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("probes_and_shells_live_on", probes).needs(NEEDS),
    Case::new("a_stopped_process_is_left_to_its_holder", stopped).needs(NEEDS),
    Case::new("a_traced_process_is_left_to_its_holder", traced).needs(NEEDS),
    Case::new("a_program_that_would_not_start_is_not_tried", broken).needs(NEEDS),
];

const ROUNDS: usize = 50;

/// A process of ours, ended with its owner.
struct Ours(Child);

impl Drop for Ours {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs something in the container, until it has said a word.
fn run_in(sandbox: &Sandbox, container: &Container, words: &[&str], said: &str) -> Ours {
    let kubectl = sandbox.kubectl();
    let mut command = Command::new(&kubectl.program);
    command.env("KUBECONFIG", &kubectl.kubeconfig).env("KUBECACHEDIR", &kubectl.cache);
    command.args(["exec", "-i", "-n", &container.namespace, &container.pod, "-c", &container.name, "--"]);
    command.args(words);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("run kubectl");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("its stdout")).read_line(&mut line).expect("read");
    assert_eq!(line.trim_end(), said);
    Ours(child)
}

fn probes(sandbox: &Sandbox) {
    let probe = json!({
        "exec": { "command": ["sh", "-c", "echo probed >>/run/probes"] },
        "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 30,
    });
    let app = App::shell(sandbox, &format!("{NOTE}; sleep 1000000 & while :; do sleep 1; done"));
    let containers = everywhere(sandbox, app.container("livenessProbe", probe));
    let words = ["sh", "-c", "echo up; sleep 1000000; echo over"];
    let shell = |container: &Container| run_in(sandbox, container, &words, "up");
    let mut shells: Vec<Ours> = containers.iter().map(shell).collect();
    let probed = || -> Vec<usize> {
        let count = |container: &Container| {
            container.read(sandbox.cluster(), "/run/probes").map(|t| t.lines().count())
        };
        containers.iter().map(|container| count(container).unwrap_or_default()).collect()
    };
    let before = probed();
    for _ in 0..ROUNDS {
        let said = sandbox.ksync.ok(&["reload", "main", "--mode", "process"]);
        assert_eq!(said.matches(" reloaded: ").count(), containers.len(), "{said}");
    }
    reload(sandbox, &containers);
    eventually("probes to go on", LONG, || {
        let now = probed();
        holds(now.iter().zip(&before).all(|(now, before)| now > before), format!("{before:?} to {now:?}"))
    });
    for (container, shell) in containers.iter().zip(&mut shells) {
        assert_eq!(restarts(sandbox, container), Ok(0));
        assert_eq!(shell.0.try_wait().expect("look at it"), None, "the shell in {container} was ended");
    }
}

fn pid_of(number: u32) -> Pid {
    i32::try_from(number).ok().and_then(Pid::from_raw).expect("a process id")
}

fn app(sandbox: &Sandbox) -> Vec<Container> {
    everywhere(sandbox, App::shell(sandbox, &format!("{NOTE}; while :; do sleep 1; done")))
}

fn stopped(sandbox: &Sandbox) {
    let containers = app(sandbox);
    let before = inits(sandbox, &containers);
    for init in &before {
        kill_process(pid_of(init.pid), Signal::STOP).expect("stop it");
    }
    let said = sandbox.ksync.refused(&["reload", "main", "--mode", "process"]);
    let sentence =
        "was not reloaded: the container's process 1 `sh` is stopped (SIGSTOP): let it go on with SIGCONT";
    assert_eq!(said.matches(sentence).count(), containers.len(), "{said}");
    assert_eq!(inits(sandbox, &containers), before);
    for init in &before {
        kill_process(pid_of(init.pid), Signal::CONT).expect("let it go on");
    }
    reload(sandbox, &containers);
}

/// Traces the container's first process until nobody listens any more.
const TRACER: &str = "import ctypes, sys; assert ctypes.CDLL(None).ptrace(0x4206, 1, 0, 0) == 0; \
                      print('held', flush=True); sys.stdin.read()";

fn traced(sandbox: &Sandbox) {
    let app = App::shell(sandbox, &format!("{NOTE}; while :; do sleep 1; done")).with_python();
    let may = json!({ "capabilities": { "add": ["SYS_PTRACE"] } });
    let containers = everywhere(sandbox, app.container("securityContext", may));
    let before = inits(sandbox, &containers);
    let words = ["/usr/bin/python3", "-c", TRACER];
    let tracer = |container: &Container| run_in(sandbox, container, &words, "held");
    let tracers: Vec<Ours> = containers.iter().map(tracer).collect();
    let said = sandbox.ksync.refused(&["reload", "main", "--mode", "process"]);
    let sentence = "was not reloaded: the container's process 1 `sh` is traced by process";
    assert_eq!(said.matches(sentence).count(), containers.len(), "{said}");
    drop(tracers);
    eventually("nobody to trace it", SHORT, || {
        let free = |init: &Init| init.start.status.iter().any(|line| line == "TracerPid:\t0");
        let after = inits(sandbox, &containers);
        assert!(before.iter().zip(&after).all(|(before, after)| !before.was_replaced_by(after)));
        holds(after.iter().all(free), format!("{after:?}"))
    });
    reload(sandbox, &containers);
}

fn broken(sandbox: &Sandbox) {
    let line = format!("{NOTE}; while :; do sleep 1; done");
    let app = App::shell(sandbox, &line).container("command", json!(["tini", "--", "/bin/sh", "-c", line]));
    let containers = everywhere(sandbox, app);
    let before = inits(sandbox, &containers);
    for container in &containers {
        container.sh(
            sandbox.cluster(),
            "mv /bin/tini /bin/tini.away; printf '#!/bin/sh\\r\\n' >/bin/tini; chmod 755 /bin/tini",
        );
    }
    let said = sandbox.ksync.refused(&["reload", "main", "--mode", "process"]);
    let sentence = "was not reloaded: `/bin/tini` in the container needs `/bin/sh\\r`, which is not there";
    assert_eq!(said.matches(sentence).count(), containers.len(), "{said}");
    assert_eq!(inits(sandbox, &containers), before);
    for container in &containers {
        container.sh(sandbox.cluster(), "mv /bin/tini.away /bin/tini");
    }
    reload(sandbox, &containers);
    sandbox.watching(&containers, SHORT);
}
