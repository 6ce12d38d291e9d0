//! Our own cluster, through its one script.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    case::Need,
    cluster::Cluster,
    container::Container,
    kubectl::Kubectl,
    runtime, shell,
    tree::{Precision, Tree},
};

#[derive(Debug)]
pub(crate) struct LocalCluster {
    kubectl: Kubectl,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn script(args: &[&str]) -> Result<String, String> {
    // A first `up` builds Kubernetes; the script has limits of its own for each wait.
    let mut command = std::process::Command::new(root().join("tests/cluster/cluster"));
    let said = shell::run(command.args(args), None).ok();
    said.map(|text| text.trim_end().to_owned()).map_err(|said| format!("cluster {}: {said}", args.join(" ")))
}

fn must(args: &[&str]) -> String {
    script(args).unwrap_or_else(|said| panic!("{said}"))
}

impl LocalCluster {
    /// Brings it up where it is not.
    pub(crate) fn up(scratch: &Path) -> Self {
        if script(&["status"]).is_err() {
            must(&["up"]);
        }
        let kubectl = Kubectl {
            program: must(&["product", "kubectl"]).into(),
            kubeconfig: must(&["kubeconfig"]).into(),
            cache: scratch.join("kubectl-cache"),
        };
        Self { kubectl }
    }
}

/// Percent of a node's disk that stay free for others than spools, and a little more.
const SPOOLS_LEAVE: u64 = 16;

/// A path inside a container, seen from here.
fn seen(pid: u32, path: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root{path}"))
}

impl Cluster for LocalCluster {
    fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    fn lacks(&self, need: Need) -> Option<&'static str> {
        let has_room = || {
            let stat = rustix::fs::statvfs(&self.kubectl.kubeconfig).expect("look at the cluster's disk");
            stat.f_bavail / SPOOLS_LEAVE > stat.f_blocks / 100
        };
        (need == Need::DiskRoom && !has_room()).then_some("less than a sixth of its disk is free")
    }

    fn authority_key(&self) -> Result<String, String> {
        let key = self.kubectl.kubeconfig.with_file_name("pki").join("ca.key");
        fs::read_to_string(&key).map_err(|error| format!("read `{}`: {error}", key.display()))
    }

    /// KSYNC_TEST_ARCHIVE is where the image is that KSYNC_TEST_IMAGE names, if it is not the usual one.
    fn load(&self) -> Result<(), String> {
        let given = std::env::var_os("KSYNC_TEST_ARCHIVE").filter(|path| !path.is_empty());
        let archive = root().join(given.map_or_else(|| "target/image/radar.tar".into(), PathBuf::from));
        let shown = archive.display().to_string();
        if !archive.exists() {
            return Err(format!("`{shown}` is missing: run `make radar-image`"));
        }
        script(&["load", &shown]).map(drop)
    }

    fn pid(&self, namespace: &str, pod: &str, container: &str) -> Result<u32, String> {
        let text = script(&["pid", namespace, pod, container])?;
        text.parse().map_err(|_| format!("`{text}` is no process id"))
    }

    fn observe(&self, container: &Container, path: &str) -> Result<Tree, String> {
        let pid = container.pid(self)?;
        Tree::read(&seen(pid, path)).map_err(|error| format!("read `{path}` in {container}: {error}"))
    }

    fn read(&self, container: &Container, path: &str) -> Result<Vec<u8>, String> {
        let pid = container.pid(self)?;
        fs::read(seen(pid, path)).map_err(|error| format!("read `{path}` in {container}: {error}"))
    }

    fn precision(&self) -> Precision {
        Precision::Nanosecond
    }

    fn api_server(&self, up: bool) {
        must(&["apiserver", if up { "start" } else { "stop" }]);
    }

    fn renew_certificate(&self) {
        must(&["apiserver", "renew"]);
    }

    fn runtime(&self, name: &str, up: bool) {
        let name = if name == "cri-o" { "crio" } else { name };
        must(&["runtime", name, if up { "start" } else { "stop" }]);
    }

    fn remove(&self, container: &Container) {
        let file = self.kubectl.kubeconfig.with_file_name("space");
        let text =
            fs::read_to_string(&file).unwrap_or_else(|error| panic!("read `{}`: {error}", file.display()));
        let pid = text.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a process");
        runtime::remove(&seen(pid, "/"), &container.id).unwrap_or_else(|said| panic!("{said}"));
    }

    fn second(&self, up: bool) -> String {
        must(&["second", if up { "start" } else { "stop" }]);
        let kubeconfig = fs::read_to_string(&self.kubectl.kubeconfig).expect("read the kubeconfig");
        kubeconfig.replace(":6443", ":6444")
    }

    fn app_image(&self) -> String {
        "localhost/busybox:1".to_owned()
    }

    fn pull_policy(&self) -> &'static str {
        "Never"
    }

    fn syncthing(&self) -> Option<String> {
        Some(must(&["product", "syncthing"]))
    }
}
