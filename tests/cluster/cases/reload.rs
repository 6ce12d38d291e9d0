//! Reload in place: an app of each shape runs the new code, and its container is none the wiser.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::json;

use super::{APP, CODE};
use crate::suite::{
    App, Case, Need, Sandbox,
    container::Container,
    eventually::{LONG, SHORT, eventually, holds},
    init::Init,
};

mod automatic;
mod filtered;
mod held_processes;
mod other_modes;

pub(super) use automatic::CASES as AUTOMATIC;
pub(super) use filtered::CASES as FILTERED;
pub(super) use held_processes::CASES as HELD_PROCESSES;
pub(super) use other_modes::CASES as OTHER_MODES;

pub(super) const CASES: &[Case] = &[
    Case::new("a_fresh_start_in_every_respect", fresh).needs(NEEDS),
    Case::new("a_script_runs_again_from_its_start", script).needs(NEEDS),
    Case::new("python_with_children_and_threads", python).needs(NEEDS),
    Case::new("an_app_below_tini", below_tini).needs(NEEDS),
    Case::new("a_static_server", fixed).needs(FIXED),
    Case::new("a_program_that_the_sync_overwrote", overwritten).needs(NEEDS),
    Case::new("non_root_without_capabilities", bare_user).needs(NEEDS),
    Case::new("an_entry_point_that_drops_root", drops_root).needs(NEEDS),
    Case::new("a_shared_process_namespace", shared).needs(NEEDS),
    Case::new("a_path_that_is_recorded_beside_the_runtimes_own", two_paths).needs(NEEDS),
];

const NEEDS: &[Need] = &[Need::Processes];
const FIXED: &[Need] = &[Need::Processes, Need::StaticImage];

/// Where the apps below note each start.
const STARTS: &str = "/run/starts";
/// Notes a start with the version that it found.
const NOTE: &str = "mkdir -p /code; cat /code/version >>/run/starts 2>/dev/null";

/// How often kubelet has started the container anew.
fn restarts(sandbox: &Sandbox, container: &Container) -> Result<u64, String> {
    let pod = sandbox.kubectl().json(&["get", "pod", "-n", &container.namespace, &container.pod])?;
    let statuses = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
    let status = statuses.iter().find(|status| status["name"] == container.name.as_str());
    let status = status.filter(|status| status["containerID"] == container.id.as_str());
    let status = status.ok_or_else(|| format!("{container} is another one now: {statuses:?}"))?;
    status["restartCount"].as_u64().ok_or_else(|| format!("no restartCount: {status}"))
}

/// In sync, with nothing reloaded but by hand.
#[track_caller]
fn sync(sandbox: &Sandbox, flags: &[&str], remote: &str) {
    sandbox.sync(&[flags, &["--reload=false"]].concat(), remote);
}

#[track_caller]
fn inits(sandbox: &Sandbox, containers: &[Container]) -> Vec<Init> {
    containers.iter().map(|container| Init::of(sandbox.cluster(), container).expect("its process")).collect()
}

/// Reloads by hand. Each container's process is replaced, no container is; what was said.
#[track_caller]
fn reload(sandbox: &Sandbox, containers: &[Container]) -> String {
    let before = inits(sandbox, containers);
    let said = sandbox.ksync.ok(&["reload", "main", "--mode", "process"]);
    for ((container, before), after) in containers.iter().zip(&before).zip(inits(sandbox, containers)) {
        let begin = format!("{}/{} reloaded: ", container.pod, container.name);
        assert!(said.lines().any(|line| line.starts_with(&begin)), "{said}");
        assert!(before.was_replaced_by(&after), "{container}: {before:?} became {after:?}");
        assert_eq!(restarts(sandbox, container), Ok(0), "{container}");
    }
    assert_eq!(said.lines().count(), containers.len(), "{said}");
    said
}

/// Waits until a file of each container has this content.
#[track_caller]
fn says(sandbox: &Sandbox, containers: &[Container], path: &str, content: &str) {
    for container in containers {
        eventually(&format!("`{path}` in {container} to be {content:?}"), SHORT, || {
            let text = container.read(sandbox.cluster(), path)?;
            holds(text == content, text)
        });
    }
}

/// An app on each node, in sync with a first version.
#[track_caller]
fn everywhere(sandbox: &Sandbox, app: App) -> Vec<Container> {
    sandbox.write("version", "one\n");
    let containers = app.everywhere().apply(sandbox).all();
    sync(sandbox, APP, CODE);
    containers
}

/// A second version, there and reloaded.
#[track_caller]
fn second(sandbox: &Sandbox, containers: &[Container]) -> String {
    sandbox.write("version", "two\n");
    sandbox.arrives(containers, CODE);
    sandbox.ksync.watching("main", containers.len(), SHORT);
    reload(sandbox, containers)
}

fn fresh(sandbox: &Sandbox) {
    let app = App::shell(sandbox, &format!("{NOTE}; exec sleep 1000000"))
        .container("env", json!([{ "name": "HERE", "value": "a b" }]))
        .container("workingDir", json!("/home"));
    let containers = everywhere(sandbox, app);
    let settled = || {
        let seen = inits(sandbox, &containers);
        let sleeps = seen.iter().all(|init| init.start.arguments == "sleep 1000000");
        holds(sleeps, format!("{seen:?}")).map(|()| seen)
    };
    let begun = eventually("the app to sleep", SHORT, settled);
    for round in 0..3 {
        let said = reload(sandbox, &containers);
        print!("{said}");
        assert!(!said.contains("dropped"), "{said}");
        let now = eventually("the app to sleep again", SHORT, settled);
        for (before, after) in begun.iter().zip(&now) {
            assert_eq!(before.start, after.start, "in round {round}");
        }
    }
    says(sandbox, &containers, STARTS, "one\none\none\n");
    sandbox.watching(&containers, SHORT);
}

fn script(sandbox: &Sandbox) {
    let line = format!("{NOTE}; sleep 1000000 & (sleep 1000000 & sleep 1000000) & while :; do sleep 1; done");
    let containers = everywhere(sandbox, App::shell(sandbox, &line));
    let said = second(sandbox, &containers);
    assert!(!said.contains("dropped"), "{said}");
    says(sandbox, &containers, STARTS, "two\n");
    for container in &containers {
        eventually("three sleeping children, not six", SHORT, || {
            let processes = container.sh(sandbox.cluster(), "ps | grep -c '[s]leep 1000000$' || true");
            holds(processes.trim() == "3", processes)
        });
    }
}

/// Runs `/code/app.py` once it is there.
fn python_app(sandbox: &Sandbox) -> App {
    let line =
        "mkdir -p /code; until [ -s /code/app.py ]; do sleep 0.1; done; exec /usr/bin/python3 /code/app.py";
    App::shell(sandbox, line).with_python()
}

const SERVER: &str = "\
import http.server, os, subprocess, threading, time
version = open('/code/version', 'rb').read()
for _ in range(5):
    threading.Thread(target=time.sleep, args=(1000000,), daemon=True).start()
subprocess.Popen(['/bin/sleep', '1000000'])
if os.fork() == 0:
    while True:
        time.sleep(1000)
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(version)
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(('', 8080), Page).serve_forever()
";

#[track_caller]
fn serves(sandbox: &Sandbox, container: &Container, path: &str, content: &str) {
    let url = format!("/api/v1/namespaces/{}/pods/{}:8080/proxy/{path}", container.namespace, container.pod);
    eventually(&format!("{container} to serve {content:?}"), LONG, || {
        let text = sandbox.kubectl().try_ok(&["get", "--raw", &url])?;
        holds(text == content, text)
    });
}

fn python(sandbox: &Sandbox) {
    sandbox.write("app.py", SERVER);
    let containers = everywhere(sandbox, python_app(sandbox));
    for container in &containers {
        serves(sandbox, container, "", "one\n");
    }
    second(sandbox, &containers);
    for container in &containers {
        serves(sandbox, container, "", "two\n");
        // The app, the one that it forked and the one that it started.
        let count =
            container.sh(sandbox.cluster(), "ps | grep -c -e '[a]pp.py' -e '[s]leep 1000000' || true");
        assert_eq!(count.trim(), "3", "{container}");
    }
}

fn below_tini(sandbox: &Sandbox) {
    let line = format!("{NOTE}; while :; do sleep 1; done");
    let app = App::shell(sandbox, &line).container("command", json!(["tini", "--", "/bin/sh", "-c", line]));
    let containers = everywhere(sandbox, app);
    let said = second(sandbox, &containers);
    assert!(said.lines().all(|line| line.contains("reloaded: tini -- /bin/sh -c")), "{said}");
    says(sandbox, &containers, STARTS, "two\n");
    for container in &containers {
        let count = container.sh(sandbox.cluster(), "ps | grep -c '[w]hile :' || true");
        // tini's arguments and the shell's.
        assert_eq!(count.trim(), "2", "{container}");
    }
}

fn fixed(sandbox: &Sandbox) {
    sandbox.write("page.txt", "from here\n");
    let containers = App::fixed(sandbox, CODE).everywhere().apply(sandbox).all();
    sync(sandbox, APP, CODE);
    for container in &containers {
        serves(sandbox, container, "page.txt", "from here\n");
    }
    for _ in 0..3 {
        reload(sandbox, &containers);
        for container in &containers {
            serves(sandbox, container, "page.txt", "from here\n");
        }
    }
}

/// A local file that may be executed.
pub(super) fn executable(sandbox: &Sandbox, name: &str, content: &[u8]) {
    // In one step, so that no copy of it lacks the mode.
    let path = sandbox.scratch("executable");
    fs::write(&path, content).expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set its mode");
    fs::rename(&path, sandbox.path(name)).expect("put it in its place");
}

fn overwritten(sandbox: &Sandbox) {
    let line = "mkdir -p /code; until [ -x /code/sleep ]; do sleep 0.1; done; exec /code/sleep 1000000";
    let containers = App::shell(sandbox, line).everywhere().apply(sandbox).all();
    let program = sandbox.cluster().read(&containers[0], "/bin/busybox").expect("the program");
    executable(sandbox, "sleep", &program);
    sync(sandbox, APP, CODE);
    let runs = |length: usize| {
        for init in inits(sandbox, &containers) {
            eventually("the program to run", SHORT, || {
                let exe = format!("/proc/{}/exe", init.pid);
                let name = fs::read_link(&exe).map_err(|error| error.to_string())?;
                let found = fs::metadata(&exe).map_err(|error| error.to_string())?.len();
                let expected = u64::try_from(length).expect("a length");
                holds(
                    name.ends_with("code/sleep") && found == expected,
                    format!("{}, {found} bytes", name.display()),
                )
            });
        }
    };
    runs(program.len());
    let newer = [&program[..], b"newer"].concat();
    executable(sandbox, "sleep", &newer);
    sandbox.arrives(&containers, CODE);
    sandbox.watching(&containers, SHORT);
    reload(sandbox, &containers);
    runs(newer.len());
}

fn bare_user(sandbox: &Sandbox) {
    let line =
        "mkdir -p /tmp/code; cat /tmp/code/version >>/tmp/starts 2>/dev/null; while :; do sleep 1; done";
    let app = App::shell(sandbox, line)
        .pod("securityContext", json!({ "runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": true }))
        .container(
            "securityContext",
            json!({
                "capabilities": { "drop": ["ALL"] }, "allowPrivilegeEscalation": false,
                "seccompProfile": { "type": "RuntimeDefault" },
            }),
        );
    sandbox.write("version", "one\n");
    let containers = app.everywhere().apply(sandbox).all();
    sync(sandbox, APP, "/tmp/code");
    let before = inits(sandbox, &containers);
    let said = reload(sandbox, &containers);
    assert!(!said.contains("dropped"), "{said}");
    says(sandbox, &containers, "/tmp/starts", "one\n");
    for (before, after) in before.iter().zip(inits(sandbox, &containers)) {
        assert_eq!(before.start, after.start);
    }
}

fn drops_root(sandbox: &Sandbox) {
    let line = "echo app:x:1000:1000::/tmp:/bin/sh >/etc/passwd; mkdir -p /code; \
                until [ -x /code/run ]; do sleep 0.1; done; echo entered >>/run/entries; \
                export FROM=entry; exec su app -c 'exec /code/run'";
    executable(
        sandbox,
        "run",
        b"#!/bin/sh\nread version </code/version\n\
          echo \"$version $FROM $(id -u) $PWD\" >>/tmp/starts\nwhile :; do sleep 1; done\n",
    );
    let containers = everywhere(sandbox, App::shell(sandbox, line).container("workingDir", json!("/home")));
    says(sandbox, &containers, "/tmp/starts", "one entry 1000 /home\n");
    let said = second(sandbox, &containers);
    let told = "/bin/sh /code/run (what runs, not what was started: it has dropped its user)";
    assert!(said.lines().all(|line| line.contains(told)), "{said}");
    says(sandbox, &containers, "/tmp/starts", "one entry 1000 /home\ntwo entry 1000 /home\n");
    says(sandbox, &containers, "/run/entries", "entered\n");
}

fn shared(sandbox: &Sandbox) {
    let line = format!("{NOTE}; sleep 1000000 & while :; do sleep 1; done");
    let app = App::shell(sandbox, &line).pod("shareProcessNamespace", json!(true)).beside("other");
    sandbox.write("version", "one\n");
    let containers = app.everywhere().apply(sandbox).all();
    let (ours, others): (Vec<_>, Vec<_>) =
        containers.into_iter().partition(|container| container.name == "app");
    sync(sandbox, &["--selector", "app=app", "--container", "app"], CODE);
    let beside = inits(sandbox, &others);
    second(sandbox, &ours);
    says(sandbox, &ours, STARTS, "two\n");
    // What runs in the other container of the pod is not touched.
    assert_eq!(inits(sandbox, &others), beside);
    for container in &others {
        assert_eq!(restarts(sandbox, container), Ok(0));
    }
}

/// CRI-O records its own PATH and the pod's, of which the last counts. A start by the first would not find the program.
fn two_paths(sandbox: &Sandbox) {
    let program = "#!/bin/sh\necho \"$PATH\" >>/run/starts\nexec sleep 1000000\n";
    sandbox.kubectl().apply(&[json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "tools", "namespace": sandbox.namespace },
        "data": { "myapp": program },
    })]);
    let app = App::idle(sandbox)
        .container("command", json!(["env", "myapp"]))
        .container("env", json!([{ "name": "PATH", "value": "/tools:/bin" }]))
        .container("volumeMounts", json!([{ "name": "tools", "mountPath": "/tools" }]))
        .pod("volumes", json!([{ "name": "tools", "configMap": { "name": "tools", "defaultMode": 0o755 } }]));
    let containers = everywhere(sandbox, app);
    says(sandbox, &containers, STARTS, "/tools:/bin\n");
    second(sandbox, &containers);
    says(sandbox, &containers, STARTS, "/tools:/bin\n/tools:/bin\n");
}
