//! An edit of an app's code, until the app answers with the new code, asked from inside its pod.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use ksync_measure::{Goal, Row, Unit};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{
    bed::{CODE, at_rest, runtime},
    bench::Bench,
    files,
    observer::{inside, ms, until},
    suite::{App, Sandbox, container::Container, eventually::LONG, init::Init, nodes::Node},
};

const PORT: u16 = 8080;
/// Of the same program once more, by itself.
const OTHER_PORT: u16 = 8081;
/// How long an answer may take before the question is put again.
const PATIENCE: Duration = Duration::from_millis(100);
/// Outside of what is synced: the root file system that must stay.
const MARK: &str = "/kept-through-reloads";

/// An app whose code is one local file.
struct Shape {
    what: &'static str,
    /// The local file, and the path that shows it.
    file: &'static str,
    path: &'static str,
    app: fn(&Sandbox) -> App,
    /// The file's text for a version, and what is answered then.
    code: fn(&str) -> String,
    /// The program by itself, at the other port.
    start: &'static [&'static str],
}

const PYTHON: Shape = Shape {
    what: "python3 http.server",
    file: "app.py",
    path: "/",
    app: |sandbox| {
        let line = "mkdir -p /code; until [ -s /code/app.py ]; do sleep 0.1; done; \
                    exec /usr/bin/python3 /code/app.py 8080";
        App::shell(sandbox, line).with_python()
    },
    code: |version| {
        format!(
            "import http.server, sys\n\
             class Page(http.server.BaseHTTPRequestHandler):\n\
             \x20   def do_GET(self):\n\
             \x20       self.send_response(200)\n\
             \x20       self.end_headers()\n\
             \x20       self.wfile.write(b'{version}')\n\
             \x20   def log_message(self, *words):\n\
             \x20       pass\n\
             http.server.ThreadingHTTPServer(('', int(sys.argv[1])), Page).serve_forever()\n"
        )
    },
    start: &["/usr/bin/python3", "/code/app.py", "8081"],
};

/// It would serve the new page without a reload, so its process must be another program too.
const STATIC: Shape = Shape {
    what: "static Go server",
    file: "page.txt",
    path: "/page.txt",
    app: |sandbox| App::fixed(sandbox, CODE),
    code: str::to_owned,
    start: &["/static", CODE, "8081"],
};

pub(super) fn measure(bench: &Bench, add: &mut dyn FnMut(Row)) {
    for shape in [PYTHON, STATIC] {
        for node in &bench.run.nodes {
            let (reloads, starts) = times(bench, node, &shape);
            let name = |what: &str| format!("{what}, {}, {}", shape.what, runtime(node));
            let row =
                Row::new(name("edit to the first answer with the new code"), Unit::Milliseconds, &reloads);
            let note = "asked once a millisecond from inside the pod; no container was restarted, pod IP and root \
                        file system stayed";
            add(row.goal(Goal::p50(300.0)).note(note));
            add(Row::new(name("the app's own start alone"), Unit::Milliseconds, &starts));
        }
    }
}

fn times(bench: &Bench, node: &Node, shape: &Shape) -> (Vec<f64>, Vec<f64>) {
    let sandbox = bench.on(node, "reload");
    let version = || String::from_utf8(files::text(16)).expect("digits");
    let first = version();
    sandbox.write(shape.file, (shape.code)(&first));
    let app = (shape.app)(&sandbox).apply(&sandbox);
    let container = app.only();
    sandbox.sync(&["--selector", "app=app"], CODE);
    let pid = container.pid(sandbox.cluster()).expect("its process");
    let asked = |port: u16| answer(port, shape.path);
    in_network_of(pid, || {
        crate::suite::eventually("the app to answer", LONG, || match asked(PORT) {
            Some(text) if text == first => Ok(()),
            other => Err(format!("{other:?}")),
        });
    });
    fs::write(inside(bench, &container, MARK), "kept").expect("write in the container");
    let before = identity(&sandbox, &container);

    let one = || {
        at_rest(&sandbox, 1);
        let (version, old) = (version(), Init::of(sandbox.cluster(), &container).expect("its process"));
        let look = looking_in_network_of(pid, || {
            asked(PORT).as_deref() == Some(&version)
                && Init::of(sandbox.cluster(), &container).is_ok_and(|now| old.was_replaced_by(&now))
        });
        let edit = || fs::write(sandbox.path(shape.file), (shape.code)(&version)).expect("edit");
        ms(until("the new code to answer", LONG, look, edit))
    };
    let reloads = (0..bench.options.trials(30)).map(|_| one()).collect();
    let starts = (0..bench.options.trials(10)).map(|_| start(shape, pid)).collect();
    assert_eq!(identity(&sandbox, &container), before, "the container or its pod is another one now");
    assert_eq!(app.only().id, container.id, "the container was restarted");
    let mark = fs::read_to_string(inside(bench, &container, MARK));
    assert_eq!(mark.ok().as_deref(), Some("kept"), "the root file system was not kept");
    (reloads, starts)
}

/// Container, number of restarts, and the pod's address.
fn identity(sandbox: &Sandbox, container: &Container) -> [String; 3] {
    let pod =
        sandbox.kubectl().json(&["get", "pod", "-n", &container.namespace, &container.pod]).expect("the pod");
    let status = &pod["status"];
    let of = &status["containerStatuses"][0];
    [&of["containerID"], &of["restartCount"], &status["podIP"]].map(ToString::to_string)
}

/// The program once more beside the app: from its start to its first answer.
fn start(shape: &Shape, pid: u32) -> f64 {
    let mut child = None;
    let look = looking_in_network_of(pid, || answer(OTHER_PORT, shape.path).is_some());
    let took = until("the app by itself", LONG, look, || child = Some(Ended(beside(shape, pid))));
    ms(took)
}

/// A process that is ended when it is not needed any more.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn beside(shape: &Shape, pid: u32) -> Child {
    let mut command = Command::new("nsenter");
    command
        .args(["--mount", "--net", "--uts", "--ipc", "--target", &pid.to_string(), "--"])
        .args(shape.start);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("run nsenter")
}

fn network(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

/// The calling thread is in that network from now on.
fn enter(namespace: &PathBuf) {
    let file = fs::File::open(namespace).expect("open the network namespace");
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
        .expect("enter the network namespace");
}

/// The same look, whose thread is in a pod's network from the first one on.
fn looking_in_network_of(pid: u32, mut look: impl FnMut() -> bool) -> impl FnMut() -> bool {
    let mut namespace = Some(network(pid));
    move || {
        if let Some(namespace) = namespace.take() {
            enter(&namespace);
        }
        look()
    }
}

/// Does something in a pod's network.
fn in_network_of<T: Send>(pid: u32, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(&network(pid));
            work()
        });
        thread.join().unwrap_or_else(|why| std::panic::resume_unwind(why))
    })
}

/// What is served on the loopback of this thread's network; none where nothing whole was.
fn answer(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    (head.contains(" 200 ")).then(|| body.to_owned())
}
