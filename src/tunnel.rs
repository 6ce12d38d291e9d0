//! The way from here to radar's port on a node: one byte stream, whatever carries it.
//!
//! Invariant: a tunnel is opened once and used once. When it breaks, whoever held it asks for a new one,
//! so that every reconnect looks the pod up anew.

mod socket;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, Resource, ResourceExt, api::ListParams};
use tokio::io::{AsyncRead, AsyncWrite};

use socket::Socket;

/// Where radar lives in the cluster; the manifest says the same (`manifests/radar.yaml`).
pub(crate) const NAMESPACE: &str = "ksync-system";
/// Label of radar's pods.
pub(crate) const SELECTOR: &str = "app.kubernetes.io/name=ksync";
/// radar's gRPC port, on the loopback of its pod.
pub(crate) const PORT: u16 = 40321;
/// How long opening may take: after a sleep the API server's old connections lead nowhere and nothing tells so.
const LIMIT: Duration = Duration::from_secs(10);

/// Why no tunnel could be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No radar pod is on the node.
    #[error("radar does not run on node `{node}`: run `kubectl ksync init`")]
    Absent {
        /// The node.
        node: String,
    },
    /// The radar pod is there, but not well.
    #[error("radar on node `{node}` is not ready (pod `{pod}` is {phase})")]
    NotReady {
        /// The node.
        node: String,
        /// radar's pod.
        pod: String,
        /// Its phase.
        phase: String,
    },
    /// The cluster refused or did not answer.
    #[error("open a port-forward to radar on node `{node}`")]
    Cluster {
        /// The node.
        node: String,
        /// kube's word.
        source: Box<kube::Error>,
    },
    /// The cluster did not answer in time.
    #[error("no port-forward to radar on node `{node}` within {limit:?}")]
    Slow {
        /// The node.
        node: String,
        /// How long it was waited for.
        limit: Duration,
    },
}

impl Error {
    /// Whether a person must put it right: radar is not there, or the cluster refuses us.
    pub(crate) fn is_broken(&self) -> bool {
        match self {
            Self::Absent { .. } => true,
            Self::Cluster { source, .. } => matches!(&**source, kube::Error::Api(_)),
            Self::NotReady { .. } | Self::Slow { .. } => false,
        }
    }
}

/// A byte stream both ways.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Opens byte streams to one radar.
pub(crate) trait Tunnel: Send + Sync {
    /// Opens a new stream to radar's gRPC port.
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Duplex>, Error>>;
}

/// A tunnel through the API server: `pods/portforward` of radar's pod on `node`.
pub(crate) struct PortForward {
    client: Client,
    node: String,
}

impl PortForward {
    /// Opens nothing yet.
    pub(crate) fn new(client: Client, node: &str) -> Arc<Self> {
        Arc::new(Self { client, node: node.to_owned() })
    }

    async fn stream(&self) -> Result<Box<dyn Duplex>, Error> {
        let node = || self.node.clone();
        let cluster = |source: kube::Error| Error::Cluster { node: node(), source: Box::new(source) };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let here = ListParams::default().labels(SELECTOR).fields(&format!("spec.nodeName={}", self.node));
        let found = pods.list(&here).await.map_err(cluster)?;
        let pod = pick(&found.items, &self.node)?;
        let all = kube::core::Request::new(Pod::url_path(&(), Some(NAMESPACE)));
        let request = all.portforward(&pod, &[PORT]);
        let request = request.map_err(|error| cluster(kube::Error::BuildRequest(error)))?;
        let forward = self.client.connect(request).await.map_err(cluster)?;
        Ok(Box::new(Socket::new(forward.into_stream())))
    }
}

impl Tunnel for PortForward {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Duplex>, Error>> {
        Box::pin(async {
            let slow = |_| Error::Slow { node: self.node.clone(), limit: LIMIT };
            tokio::time::timeout(LIMIT, self.stream()).await.map_err(slow)?
        })
    }
}

/// The name of the radar pod to speak to: one that is ready and not on its way out.
fn pick(pods: &[Pod], node: &str) -> Result<String, Error> {
    let living = || pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    if let Some(pod) = living().find(|pod| is_ready(pod)) {
        return Ok(pod.name_any());
    }
    match living().next() {
        Some(pod) => Err(Error::NotReady {
            node: node.to_owned(),
            pod: pod.name_any(),
            phase: pod.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_else(|| "unknown".to_owned()),
        }),
        None => Err(Error::Absent { node: node.to_owned() }),
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::{Error, PortForward, Tunnel, pick};

    fn pod(name: &str, ready: &str, leaving: bool) -> Pod {
        let gone = leaving.then_some("2026-01-01T00:00:00Z");
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "deletionTimestamp": gone},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_on_its_way_out_is_passed_over() {
        let pods = [pod("old", "True", true), pod("new", "True", false)];
        assert_eq!(pick(&pods, "n").unwrap(), "new");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_never_answers_is_given_up_and_is_no_persons_fault() {
        let silent = tower::service_fn(|_: http::Request<kube::client::Body>| {
            std::future::pending::<Result<http::Response<kube::client::Body>, std::io::Error>>()
        });
        let tunnel = PortForward::new(kube::Client::new(silent, "default"), "n");
        let began = tokio::time::Instant::now();
        let error = tunnel.open().await.err().unwrap();
        assert_eq!(error.to_string(), "no port-forward to radar on node `n` within 10s");
        assert_eq!((error.is_broken(), began.elapsed()), (false, super::LIMIT));
    }

    #[test]
    fn none_and_not_ready_are_told_apart() {
        assert!(matches!(pick(&[], "n"), Err(Error::Absent { .. })));
        assert!(matches!(pick(&[pod("a", "False", false)], "n"), Err(Error::NotReady { .. })));
    }
}
