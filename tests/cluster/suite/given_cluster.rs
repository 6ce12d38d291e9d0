//! Somebody's own cluster (kind, k3s, ...): everything goes through kubectl.

use std::{fs, path::Path, process::Command};

use super::{
    case::Need,
    cluster::Cluster,
    container::Container,
    kubectl::Kubectl,
    shell,
    tree::{Precision, Tree},
};

#[derive(Debug)]
pub(crate) struct GivenCluster {
    kubectl: Kubectl,
    scratch: std::path::PathBuf,
}

impl GivenCluster {
    pub(crate) fn new(kubeconfig: &Path, scratch: &Path) -> Self {
        let kubeconfig = fs::canonicalize(kubeconfig)
            .unwrap_or_else(|error| panic!("KSYNC_TEST_KUBECONFIG `{}`: {error}", kubeconfig.display()));
        let program = std::env::var_os("KSYNC_TEST_KUBECTL").unwrap_or_else(|| "kubectl".into()).into();
        let kubectl = Kubectl { program, kubeconfig, cache: scratch.join("kubectl-cache") };
        Self { kubectl, scratch: scratch.to_owned() }
    }

    fn exec(&self, container: &Container, args: &[&str]) -> Result<Vec<u8>, String> {
        let mut command = Command::new(&self.kubectl.program);
        command.env("KUBECONFIG", &self.kubectl.kubeconfig).env("KUBECACHEDIR", &self.kubectl.cache);
        command.args(["exec", "-n", &container.namespace, &container.pod, "-c", &container.name, "--"]);
        let output = command.args(args).output().map_err(|error| format!("run kubectl: {error}"))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(format!("`{}` in {container}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr)))
    }
}

impl Cluster for GivenCluster {
    fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    fn lacks(&self, need: Need) -> Option<&'static str> {
        Some(match need {
            Need::Processes => "its containers' processes can't be seen from here",
            Need::Runtimes => "its nodes' runtimes are not ours to stop",
            Need::ApiServer => "its API server is not ours to stop",
            Need::Authority => "its authority's key is not here",
            Need::StaticImage => "it does not have the image `localhost/static:1`",
            Need::DiskRoom => "how much room its nodes have is not known here",
            Need::UserNamespaces => return None, // its nodes tell
        })
    }

    fn authority_key(&self) -> Result<String, String> {
        Err("it is not here".to_owned())
    }

    /// KSYNC_TEST_IMAGE is where its nodes find the image.
    fn load(&self) -> Result<(), String> {
        Ok(())
    }

    fn pid(&self, _namespace: &str, _pod: &str, _container: &str) -> Result<u32, String> {
        Err("this cluster's processes can't be seen from here".to_owned())
    }

    /// Over tar, which carries all but the nanoseconds.
    fn observe(&self, container: &Container, path: &str) -> Result<Tree, String> {
        let archive = self.exec(container, &["tar", "-C", path, "-cf", "-", "."])?;
        let dir = tempfile::tempdir_in(&self.scratch).map_err(|error| error.to_string())?;
        let mut tar = shell::command(Path::new("tar"));
        shell::run(tar.args(["-C"]).arg(dir.path()).args(["-xpf", "-"]), Some(&archive)).ok()?;
        Tree::read(dir.path()).map_err(|error| format!("unpack `{path}` of {container}: {error}"))
    }

    fn read(&self, container: &Container, path: &str) -> Result<Vec<u8>, String> {
        self.exec(container, &["cat", path])
    }

    fn precision(&self) -> Precision {
        Precision::Second
    }

    fn api_server(&self, _up: bool) {
        unreachable!("a case that needs the API server's switch is skipped here");
    }

    fn renew_certificate(&self) {
        unreachable!("a case that needs the API server's switch is skipped here");
    }

    fn runtime(&self, _name: &str, _up: bool) {
        unreachable!("a case that needs the runtimes is skipped here");
    }

    fn remove(&self, _container: &Container) {
        unreachable!("a case that needs the runtimes is skipped here");
    }

    fn second(&self, _up: bool) -> String {
        unreachable!("a case that needs a second API server is skipped here");
    }

    fn app_image(&self) -> String {
        std::env::var("KSYNC_TEST_APP_IMAGE").unwrap_or_else(|_| "busybox:1.37".to_owned())
    }

    fn pull_policy(&self) -> &'static str {
        "IfNotPresent"
    }

    fn syncthing(&self) -> Option<String> {
        std::env::var("KSYNC_TEST_SYNCTHING").ok()
    }
}
