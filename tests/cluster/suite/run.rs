//! What all cases share: the cluster and one installation, made once and taken away at the end.

use std::path::PathBuf;

use serde_json::json;

use super::{
    cluster::{Cluster, choose},
    eventually::{LONG, eventually, holds},
    ksync::Ksync,
    leftovers,
    nodes::{self, Node},
};

/// Radar's namespace.
pub(crate) const SYSTEM: &str = "ksync-system";

/// One run of the suite.
pub(crate) struct Run {
    pub(crate) cluster: Box<dyn Cluster>,
    /// Those that apps are put on.
    pub(crate) nodes: Vec<Node>,
    /// The plugin with the home that `init` was run with.
    pub(crate) installer: Ksync,
    scratch: tempfile::TempDir,
    installed_before: bool,
}

impl Run {
    /// Readies cluster and installation, and says what it runs on.
    pub(crate) fn begin() -> Self {
        let scratch =
            tempfile::Builder::new().prefix(&leftovers::prefix("run")).tempdir().expect("make a directory");
        let cluster = choose(scratch.path());
        let nodes = nodes::choose(cluster.kubectl());
        for node in &nodes {
            println!("node {node}");
        }
        leftovers::sweep(cluster.kubectl());
        cluster.load().unwrap_or_else(|said| panic!("{said}"));
        let installed_before = cluster.kubectl().try_ok(&["get", "namespace", SYSTEM]).is_ok();
        let installer = Ksync {
            home: scratch.path().join("home"),
            kubeconfig: cluster.kubectl().kubeconfig.clone(),
            namespace: "default".to_owned(),
            guards_off: "",
            large_file: "",
        };
        let run = Self { cluster, nodes, installer, scratch, installed_before };
        run.install();
        run
    }

    /// `init` as the suite runs it.
    pub(crate) fn install(&self) -> String {
        let args = self.init_args();
        self.installer.ok(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub(crate) fn init_args(&self) -> Vec<String> {
        let mut args = vec!["init".to_owned(), "--image".to_owned(), image()];
        args.push(format!("--image-pull-policy={}", self.cluster.pull_policy()));
        if let Some(file) = self.cluster.syncthing() {
            args.extend(["--syncthing".to_owned(), file]);
        }
        args
    }

    /// The programs that `init` fetched, for homes that are not to fetch them again.
    pub(crate) fn programs(&self) -> PathBuf {
        self.installer.home.join("bin")
    }

    /// A namespace that this run takes away again.
    pub(crate) fn make_namespace(&self, name: &str) {
        self.cluster.kubectl().apply(&[json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "labels": { leftovers::LABEL: leftovers::owner() } },
        })]);
    }

    /// Takes everything away and waits until it is gone.
    pub(crate) fn end(&self) -> Result<(), String> {
        let label = format!("{}={}", leftovers::LABEL, leftovers::owner());
        eventually("the namespaces of this run to go", LONG, || {
            let left = self.cluster.kubectl().try_ok(&["get", "namespaces", "-l", &label, "-o", "name"])?;
            holds(left.trim().is_empty(), left)
        });
        if !self.installed_before {
            self.installer.run(&["clean"]).ok()?;
        }
        leftovers::end_processes(self.scratch.path())?;
        // A static is never dropped, so this directory does not go by itself.
        let path = self.scratch.path();
        std::fs::remove_dir_all(path).map_err(|error| format!("remove `{}`: {error}", path.display()))
    }
}

/// Radar's image.
pub(crate) fn image() -> String {
    let made = || format!("localhost/ksync-radar:{}", env!("CARGO_PKG_VERSION"));
    std::env::var("KSYNC_TEST_IMAGE").ok().filter(|image| !image.is_empty()).unwrap_or_else(made)
}
