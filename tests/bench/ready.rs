//! When pods became ready, as a second client of the API server learns it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::SystemTime,
};

use crate::suite::{Sandbox, container::Container, eventually::LONG};

/// One line for each change of a pod.
const LINE: &str = "jsonpath={.metadata.name} {.status.conditions[?(@.type==\"Ready\")].status} \
                    {.status.containerStatuses[0].containerID}{\"\\n\"}";

/// Follows the pods of the sandbox's app until it is dropped.
pub(crate) struct Ready {
    child: Child,
    lines: Receiver<(SystemTime, String)>,
}

impl Ready {
    pub(crate) fn follow(sandbox: &Sandbox) -> Self {
        let kubectl = sandbox.kubectl();
        let mut command = Command::new(&kubectl.program);
        command.env("KUBECONFIG", &kubectl.kubeconfig).env("KUBECACHEDIR", &kubectl.cache);
        command.args(["get", "pods", "-n", &sandbox.namespace, "-l", "app=app", "--watch", "-o", LINE]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("run kubectl");
        let stdout = child.stdout.take().expect("its stdout");
        let (line_tx, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line_tx.send((SystemTime::now(), line)).is_err() {
                    return;
                }
            }
        });
        let ready = Self { child, lines };
        // The pod that is there already: from here on it follows.
        ready.next(|_| true);
        ready
    }

    fn next(&self, is: impl Fn(&str) -> bool) -> SystemTime {
        loop {
            let (when, line) = self.lines.recv_timeout(LONG).expect("a change of a pod in time");
            if is(&line) {
                return when;
            }
        }
    }

    /// When this container's pod was first said to be ready.
    pub(crate) fn of(&self, container: &Container) -> SystemTime {
        let expected = format!("{} True {}", container.pod, container.id);
        self.next(|line| line.trim_end() == expected)
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
