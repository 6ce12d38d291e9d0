//! The cluster behind an adapter: our own, whose processes and components this machine holds, or somebody
//! else's, of which kubectl is all there is.

use std::path::Path;

use super::{
    case::Need,
    container::Container,
    given_cluster::GivenCluster,
    kubectl::Kubectl,
    local_cluster::LocalCluster,
    tree::{Precision, Tree},
};

/// What the suite asks of a cluster beyond kubectl.
pub(crate) trait Cluster: Send + Sync {
    fn kubectl(&self) -> &Kubectl;

    /// Why a need can't be met; none when it can.
    fn lacks(&self, need: Need) -> Option<&'static str>;

    /// The key of the authority `ksync-test-ca`, PEM.
    fn authority_key(&self) -> Result<String, String>;

    /// Makes radar's image known to every node.
    fn load(&self) -> Result<(), String>;

    /// The container's first process, as this machine numbers it.
    fn pid(&self, namespace: &str, pod: &str, container: &str) -> Result<u32, String>;

    /// Everything below a container's directory.
    fn observe(&self, container: &Container, path: &str) -> Result<Tree, String>;

    /// A file of a container; an absent one is an error.
    fn read(&self, container: &Container, path: &str) -> Result<Vec<u8>, String>;

    /// How exactly `observe` reads times.
    fn precision(&self) -> Precision;

    /// Stops or starts the API server.
    fn api_server(&self, up: bool);

    /// Gives the API server another certificate of the same authority, from its next start on.
    fn renew_certificate(&self);

    /// Stops or starts a node's runtime, by the name that container ids begin with.
    fn runtime(&self, name: &str, up: bool);

    /// Has a container's runtime end it and take all that it has written away, behind kubelet's back.
    fn remove(&self, container: &Container);

    /// Stops or starts a second API server, of another cluster without nodes; the kubeconfig for it, whose context has
    /// the same name.
    fn second(&self, up: bool) -> String;

    /// The image with a shell and its usual company.
    fn app_image(&self) -> String;

    /// Whether nodes may ask a registry for images.
    fn pull_policy(&self) -> &'static str;

    /// The plugin's flags for a syncthing from a file; none to have it fetched.
    fn syncthing(&self) -> Option<String>;
}

/// The cluster that the environment names. Ours is brought up when it is not.
pub(crate) fn choose(scratch: &Path) -> Box<dyn Cluster> {
    match std::env::var_os("KSYNC_TEST_KUBECONFIG").filter(|path| !path.is_empty()) {
        Some(kubeconfig) => Box::new(GivenCluster::new(Path::new(&kubeconfig), scratch)),
        None => Box::new(LocalCluster::up(scratch)),
    }
}
