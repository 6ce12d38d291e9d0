//! A node's runtime behind kubelet's back, by the interface that kubelet itself uses
//! (<https://github.com/kubernetes/cri-api/blob/master/pkg/apis/runtime/v1/api.proto>).

use std::path::{Path, PathBuf};

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    Request,
    client::Grpc,
    transport::{Endpoint, Uri},
};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct RemoveContainerRequest {
    #[prost(string, tag = "1")]
    container_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RemoveContainerResponse {}

/// Where a runtime listens, as this cluster has it.
fn socket(runtime: &str) -> Option<&'static str> {
    match runtime {
        "containerd" => Some("run/containerd/containerd.sock"),
        "docker" => Some("run/cri-dockerd.sock"),
        "cri-o" => Some("run/crio/crio.sock"),
        _ => None,
    }
}

/// Ends a container and takes all that it has written away; `root` is the nodes' root directory as it is seen from here.
pub(crate) fn remove(root: &Path, id: &str) -> Result<(), String> {
    let (runtime, id) = id.split_once("://").ok_or_else(|| format!("`{id}` has no runtime"))?;
    let socket = root.join(socket(runtime).ok_or_else(|| format!("`{runtime}` is no runtime of ours"))?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(call(socket, id.to_owned()))
}

async fn call(socket: PathBuf, container_id: String) -> Result<(), String> {
    let shown = socket.display().to_string();
    let said =
        |what: &dyn std::fmt::Display| format!("remove container `{container_id}` over `{shown}`: {what}");
    let connect = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connect).await;
    let mut client = Grpc::new(channel.map_err(|error| said(&error))?);
    client.ready().await.map_err(|error| said(&error))?;
    let path = PathAndQuery::from_static("/runtime.v1.RuntimeService/RemoveContainer");
    let request = Request::new(RemoveContainerRequest { container_id: container_id.clone() });
    let codec: ProstCodec<RemoveContainerRequest, RemoveContainerResponse> = ProstCodec::default();
    client.unary(request, path, codec).await.map(drop).map_err(|status| said(&status))
}
