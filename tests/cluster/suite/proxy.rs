//! A TCP proxy on the loopback in front of the API server, as networks have them: one that cuts what is idle, one that
//! swallows what it is given, one behind which nobody listens.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Runtime,
    sync::watch,
};

use super::Sandbox;

const BACKLOG: u32 = 64;

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They are passed on.
    Pass,
    /// They are passed on, and a connection that carries none for so long is closed.
    CutIdle(Duration),
    /// They vanish. A connection that has lost some never carries any again.
    Swallow,
    /// Connections are cut, and refused.
    Refuse,
}

/// A proxy that runs until it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    mode_tx: watch::Sender<Mode>,
    cuts: Arc<AtomicUsize>,
    _runtime: Runtime,
}

impl Proxy {
    /// In front of the sandbox's API server.
    pub(crate) fn before(sandbox: &Sandbox, mode: Mode) -> Self {
        let server = server(sandbox);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = runtime.block_on(async { bound(any).listen(BACKLOG) }).expect("a port");
        let address = listener.local_addr().expect("its address");
        let (mode_tx, mode) = watch::channel(mode);
        let cuts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&cuts);
        runtime.spawn(listen(listener, server, mode, counted));
        Self { address, mode_tx, cuts, _runtime: runtime }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode_tx.send_replace(mode);
    }

    /// How many connections were cut for being idle.
    pub(crate) fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }

    /// A kubeconfig of the sandbox's that leads through it.
    pub(crate) fn kubeconfig(&self, sandbox: &Sandbox) -> PathBuf {
        through(sandbox, self.address)
    }
}

/// A kubeconfig of the sandbox's that leads to its API server by way of an address of this machine.
pub(crate) fn through(sandbox: &Sandbox, address: SocketAddr) -> PathBuf {
    let (host, _) = host_and_port(sandbox);
    let cluster = sandbox.kubectl().ok(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].name}"]);
    let server = format!("--server=https://{address}");
    let name = format!("--tls-server-name={host}");
    sandbox.kubeconfig(&[&["set-cluster", &cluster, &server, &name]])
}

/// The address of the sandbox's API server.
pub(crate) fn server(sandbox: &Sandbox) -> SocketAddr {
    let (host, port) = host_and_port(sandbox);
    (host.as_str(), port).to_socket_addrs().expect("an address").next().expect("one")
}

fn host_and_port(sandbox: &Sandbox) -> (String, u16) {
    let url =
        sandbox.kubectl().ok(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]);
    let url: http::Uri = url.trim().parse().expect("the server's URL");
    (url.host().expect("its host").to_owned(), url.port_u16().unwrap_or(443))
}

/// A socket that has the address, beside one that has it already.
fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an address that was in use just now");
    socket.set_reuseport(true).expect("an address that is in use");
    socket.bind(address).expect("bind a socket");
    socket
}

/// Takes connections, but for the time in which they are refused: then the port is held and nobody listens.
async fn listen(
    mut listener: TcpListener,
    server: SocketAddr,
    mut mode: watch::Receiver<Mode>,
    cuts: Arc<AtomicUsize>,
) {
    let address = listener.local_addr().expect("its address");
    let refuses = |mode: &Mode| *mode == Mode::Refuse;
    let accepts = |mode: &Mode| *mode != Mode::Refuse;
    loop {
        let client = tokio::select! {
            client = listener.accept() => client,
            refuse = async { mode.wait_for(refuses).await.is_ok() } => {
                if !refuse {
                    return;
                }
                // The port is never free in between: whoever connects to somewhere else could be given it.
                let held = bound(address);
                drop(listener);
                if mode.wait_for(accepts).await.is_err() {
                    return;
                }
                listener = held.listen(BACKLOG).expect("listen");
                continue;
            }
        };
        if let Ok((client, _)) = client {
            tokio::spawn(carry(client, server, mode.clone(), Arc::clone(&cuts)));
        }
    }
}

async fn carry(
    client: TcpStream,
    server: SocketAddr,
    mut mode: watch::Receiver<Mode>,
    cuts: Arc<AtomicUsize>,
) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut lost = false;
    loop {
        let now = *mode.borrow_and_update();
        if now == Mode::Refuse {
            return;
        }
        let idle = async {
            match now {
                Mode::CutIdle(limit) => tokio::time::sleep(limit).await,
                _ => std::future::pending().await,
            }
        };
        let (read, buffer, to) = tokio::select! {
            read = from_client.read(&mut up) => (read, &up, &mut to_server),
            read = from_server.read(&mut down) => (read, &down, &mut to_client),
            () = idle => {
                cuts.fetch_add(1, Ordering::SeqCst);
                return;
            }
            changed = mode.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let Ok(read @ 1..) = read else { return };
        lost |= now == Mode::Swallow;
        if !lost && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
