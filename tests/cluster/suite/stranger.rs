//! Somebody who may port-forward to radar, speaks its protocol himself, and has any key that he likes.

use std::{
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use hyper_util::rt::TokioIo;
use ksync_keys::{Client, Identity};
use ksync_proto::radar::{
    Container, SessionEvent, SessionRequest, VersionRequest, radar_client::RadarClient, session_event::Event,
};
use tokio::net::TcpStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint, Uri},
};

use super::{Sandbox, run::SYSTEM};

/// What its calls are awaited on.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// A container as radar's calls have it, by its id alone.
pub(crate) fn wire(id: &str) -> Container {
    Container { id: id.to_owned(), ..Container::default() }
}

/// radar's port on a node, forwarded by kubectl with somebody's credentials until it is dropped.
pub(crate) struct Forward {
    child: Child,
    address: SocketAddr,
    /// radar's pod.
    pub(crate) pod: String,
}

impl Forward {
    #[track_caller]
    pub(crate) fn to_radar(sandbox: &Sandbox, kubeconfig: &Path, node: &str) -> Self {
        Self::to_port(sandbox, kubeconfig, node, 40321)
    }

    /// Another port of radar's pod.
    #[track_caller]
    pub(crate) fn to_port(sandbox: &Sandbox, kubeconfig: &Path, node: &str, port: u16) -> Self {
        let on_node = format!("--field-selector=spec.nodeName={node}");
        let pods =
            ["get", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=ksync", &on_node, "-o", "name"];
        let pod = sandbox.kubectl().ok(&pods).trim().to_owned();
        let mut child = Command::new(&sandbox.kubectl().program)
            .env("KUBECONFIG", kubeconfig)
            .args(["port-forward", "-n", SYSTEM, &pod, &format!(":{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start kubectl");
        let (mut said, mut line) = (BufReader::new(child.stdout.take().expect("its stdout")), String::new());
        said.read_line(&mut line).expect("read");
        // It tells of each connection, and ends when nobody reads that.
        std::thread::spawn(move || io::copy(&mut said, &mut io::sink()));
        // `Forwarding from 127.0.0.1:34567 -> 40321`
        let address = line.split_whitespace().nth(2).and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("kubectl said `{line}`"));
        Self { child, address, pod }
    }

    /// Whether somebody answers who speaks syncthing's protocol.
    pub(crate) async fn speaks_bep(&self) -> bool {
        let keys =
            Client::speaking(Identity::for_syncthing().expect("a key"), b"bep/1.0").expect("a key of use");
        let Ok(stream) = TcpStream::connect(self.address).await else { return false };
        keys.connect(stream).await.is_ok()
    }

    /// Whether radar answers somebody who proves no key.
    pub(crate) async fn answers_without_a_key(&self) -> bool {
        let Ok(plain) =
            Endpoint::from_shared(format!("http://{}", self.address)).expect("a URL").connect().await
        else {
            return false;
        };
        RadarClient::new(plain).version(VersionRequest {}).await.is_ok()
    }

    /// Calls with a key that nobody has seen before.
    pub(crate) async fn with_a_new_key(&self) -> RadarClient<Channel> {
        self.with_key(&new_key()).await
    }

    /// Calls with a key, over a connection more.
    pub(crate) async fn with_key(&self, keys: &Client) -> RadarClient<Channel> {
        let keys = keys.clone();
        let address = self.address;
        let connect = tower::service_fn(move |_: Uri| {
            let keys = keys.clone();
            async move { keys.connect(TcpStream::connect(address).await?).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://radar").connect_with_connector(connect).await;
        RadarClient::new(channel.expect("a connection with a key"))
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A key that nobody has seen before.
pub(crate) fn new_key() -> Client {
    Client::new(Identity::for_now().expect("a key")).expect("a key of use")
}

/// Opens a session, of the highest epoch there is.
pub(crate) async fn open_session(
    radar: &mut RadarClient<Channel>,
) -> Result<Streaming<SessionEvent>, Status> {
    open_session_of_a_device(radar).await.map(|(events, _)| events)
}

/// The same, and the device id of the session's syncthing.
pub(crate) async fn open_session_of_a_device(
    radar: &mut RadarClient<Channel>,
) -> Result<(Streaming<SessionEvent>, String), Status> {
    let request = SessionRequest {
        epoch: u64::MAX,
        machine: "elsewhere".to_owned(),
        user: "stranger".to_owned(),
        fresh: true,
    };
    let requests = futures::StreamExt::chain(tokio_stream::once(request), futures::stream::pending());
    let mut events = radar.session(requests).await?.into_inner();
    match events.message().await? {
        Some(SessionEvent { event: Some(Event::Ready(ready)) }) => Ok((events, ready.device_id)),
        other => Err(Status::internal(format!("{other:?}"))),
    }
}
