//! One case's place: a namespace, a KSYNC_HOME and a local directory, all taken away when the case is over.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    cluster::Cluster,
    container::Container,
    eventually::{LONG, SHORT, eventually},
    ksync::{Ksync, Spec},
    kubectl::Kubectl,
    leftovers,
    nodes::Node,
    run::{Run, SYSTEM},
    table::Seen,
    tree::Tree,
};

static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// A developer's sandbox.
pub(crate) struct Sandbox {
    pub(crate) run: &'static Run,
    pub(crate) namespace: String,
    pub(crate) ksync: Ksync,
    /// Where its apps are.
    pub(crate) nodes: Vec<Node>,
    pub(crate) seen: Arc<Seen>,
    /// Whether its apps have the seccomp filter of their runtime.
    pub(crate) filtered: bool,
    root: tempfile::TempDir,
    case: String,
}

impl Sandbox {
    /// On these nodes; the runtimes of its containers go to `seen`.
    pub(crate) fn new(run: &'static Run, case: &str, nodes: Vec<Node>, seen: Arc<Seen>) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let namespace = format!("ksync-suite-{}-{number}", std::process::id());
        run.make_namespace(&namespace);
        let root = tempfile::Builder::new()
            .prefix(&leftovers::prefix("sandbox"))
            .tempdir()
            .expect("make a directory");
        fs::create_dir(root.path().join("local")).expect("make the local directory");
        let ksync = Ksync {
            home: root.path().join("home"),
            kubeconfig: run.cluster.kubectl().kubeconfig.clone(),
            namespace: namespace.clone(),
            guards_off: "",
            large_file: "",
        };
        let sandbox =
            Self { run, namespace, ksync, nodes, seen, filtered: false, root, case: case.to_owned() };
        sandbox.make_home(&sandbox.ksync.home);
        sandbox
    }

    /// Another KSYNC_HOME on the same sandbox: a colleague's.
    pub(crate) fn colleague(&self) -> Ksync {
        let home = self.root.path().join("colleague");
        self.make_home(&home);
        Ksync { home, ..self.ksync.clone() }
    }

    fn make_home(&self, home: &Path) {
        fs::create_dir(home).expect("make a home");
        std::os::unix::fs::symlink(self.run.programs(), home.join("bin")).expect("link the programs");
    }

    pub(crate) fn cluster(&self) -> &dyn Cluster {
        &*self.run.cluster
    }

    pub(crate) fn kubectl(&self) -> &Kubectl {
        self.cluster().kubectl()
    }

    /// The sandbox's kubeconfig with other users or servers in it: what `kubectl config` is to do.
    pub(crate) fn kubeconfig(&self, edit: &[&[&str]]) -> PathBuf {
        let file = self.scratch("kubeconfig");
        let raw = self.kubectl().ok(&["config", "view", "--raw", "--flatten"]);
        fs::write(&file, raw).expect("write");
        let flag = format!("--kubeconfig={}", file.display());
        for args in edit {
            self.kubectl().ok(&[&[flag.as_str(), "config"], *args].concat());
        }
        file
    }

    /// Where files beside the local directory go.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The local directory.
    pub(crate) fn local(&self) -> PathBuf {
        self.root.path().join("local")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.local().join(name)
    }

    /// Writes a local file, and the directories that it is in.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("make the file's directory");
        }
        fs::write(&path, content).unwrap_or_else(|error| panic!("write `{name}`: {error}"));
    }

    pub(crate) fn text(&self, name: &str) -> Result<String, String> {
        fs::read_to_string(self.path(name)).map_err(|error| format!("read local `{name}`: {error}"))
    }

    pub(crate) fn tree(&self) -> Result<Tree, String> {
        Tree::read(&self.local()).map_err(|error| format!("read the local tree: {error}"))
    }

    /// Creates the spec `main` from the local directory to `remote` and waits until it is in sync.
    #[track_caller]
    pub(crate) fn sync(&self, flags: &[&str], remote: &str) {
        let local = self.local().display().to_string();
        self.ksync.ok(&[&["create", "--name", "main", "--wait"], flags, &[&local, remote]].concat());
    }

    /// Whether a container's directory is equal to the local one, now.
    pub(crate) fn equal(&self, container: &Container, remote: &str) -> Result<(), String> {
        let there = container.tree(self.cluster(), remote)?;
        let compared = self.tree()?.equals(&there, self.cluster().precision());
        compared.map_err(|seen| format!("{container}: {seen}"))
    }

    /// Waits until every container's directory is equal to the local one.
    #[track_caller]
    pub(crate) fn arrives(&self, containers: &[Container], remote: &str) {
        for container in containers {
            eventually("equal trees", SHORT, || self.equal(container, remote));
        }
    }

    /// Waits until every container's directory is equal to the local one and `get` says so: nothing is on its way then.
    #[track_caller]
    pub(crate) fn at_rest(&self, containers: &[Container], remote: &str) {
        self.arrives(containers, remote);
        self.watching(containers, SHORT);
    }

    /// Waits until `get` says that these containers and no others are in sync.
    #[track_caller]
    pub(crate) fn watching(&self, containers: &[Container], limit: Duration) -> Spec {
        let ids: Vec<&str> = containers.iter().map(|container| container.id.as_str()).collect();
        self.ksync.watching_ids("main", &ids, limit)
    }

    /// The container of these that `get` calls two-way.
    #[track_caller]
    pub(crate) fn two_way<'a>(&self, containers: &'a [Container]) -> &'a Container {
        let spec = self.ksync.spec("main").expect("the spec");
        let rows: Vec<_> = spec.containers.iter().filter(|row| row.two_way).collect();
        let [row] = rows[..] else { panic!("not exactly one container is two-way: {spec:?}") };
        let found = containers.iter().find(|container| container.id == row.container_id);
        found.unwrap_or_else(|| panic!("{row:?} is none of {containers:?}"))
    }

    /// The running containers of radar's pods: `radar` and `syncthing` on each node.
    #[track_caller]
    pub(crate) fn radars(&self) -> Vec<Container> {
        eventually("radar to run", LONG, || {
            let pods = self.kubectl().json(&["get", "pods", "-n", SYSTEM])?;
            let pods = pods["items"].as_array().cloned().unwrap_or_default();
            let containers: Vec<Container> = pods.iter().flat_map(Container::of_pod).collect();
            if !pods.is_empty() && containers.len() == 2 * pods.len() {
                return Ok(containers);
            }
            Err(format!("{containers:?}"))
        })
    }

    /// Other pods of radar: kubelet lets a container wait the longer the more often it was restarted.
    #[track_caller]
    pub(crate) fn renew_radar(&self) {
        let before = self.radars();
        self.kubectl().ok(&["delete", "pods", "-n", SYSTEM, "--all", "--force", "--grace-period=0"]);
        eventually("other pods of radar", LONG, || {
            let now = self.radars();
            let fresh =
                now.len() == before.len() && now.iter().all(|new| before.iter().all(|old| new.id != old.id));
            if fresh { Ok(()) } else { Err(format!("{now:?}")) }
        });
    }

    /// What helps to see why a case failed, kept below the target directory.
    pub(crate) fn keep_evidence(&self) {
        let name = self.case.replace("::", "-").replace('@', "-");
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("failed").join(name);
        let _ = fs::remove_dir_all(&kept);
        let _ = fs::create_dir_all(&kept);
        let keep = |name: &str, text: String| drop(fs::write(kept.join(name), text));
        keep("get.json", self.ksync.run(&["get", "-o", "json"]).stdout);
        keep("watch.log", self.ksync.log());
        let bases = self.ksync.bases();
        keep("base", bases.iter().filter_map(|base| fs::read_to_string(base).ok()).collect());
        keep("ksync.yaml", fs::read_to_string(self.ksync.config_file()).unwrap_or_default());
        let output = self.kubectl().run(&["get", "pods", "-A", "-o", "wide"], None);
        keep("pods.txt", output.stdout);
        for part in ["radar", "syncthing"] {
            let args = [
                "logs",
                "-n",
                SYSTEM,
                "-l",
                "app.kubernetes.io/name=ksync",
                "-c",
                part,
                "--prefix",
                "--tail=-1",
            ];
            keep(&format!("{part}.log"), self.kubectl().run(&args, None).stdout);
        }
        eprintln!("{}: what the logs say is in {}", self.case, kept.display());
    }

    /// Ends watchers, namespace and processes; what was left behind is a failure.
    fn clear(&self) -> Result<(), String> {
        let mut homes = vec![self.ksync.clone()];
        let colleague = self.root.path().join("colleague");
        if colleague.exists() {
            homes.push(Ksync { home: colleague, ..self.ksync.clone() });
        }
        let stopped: Result<Vec<_>, _> = homes.iter().map(|ksync| ksync.run(&["stop"]).ok()).collect();
        let args = ["delete", "namespace", &self.namespace, "--wait=false", "--ignore-not-found"];
        let deleted = self.kubectl().try_ok(&args);
        leftovers::end_processes(self.root.path())?;
        stopped.and(deleted).map(drop)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let failed = thread::panicking();
        if failed {
            self.keep_evidence();
        }
        if let Err(left) = self.clear() {
            if !failed {
                self.keep_evidence();
            }
            assert!(failed, "{}: {left}", self.case);
            eprintln!("{}: {left}", self.case);
        }
    }
}
