//! The way into the network of a session's syncthing, which has nothing but a loopback: through radar, and no other.
//!
//! Invariant: a network is only entered by a thread that was made for this and ends afterwards.
//!
//! Calls: setns(2), network_namespaces(7).

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use ksync_procfs::Namespace;
use rustix::{
    fs::{Mode, OFlags, open},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tokio::net::TcpStream;

/// Where each of them accepts connections, in its own network.
pub(crate) const BEP: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 22000);
/// How long that may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The network of a process.
#[derive(Debug)]
pub(crate) struct Network(OwnedFd);

impl Network {
    /// Of the process `pid`, which the caller sees to live afterwards.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        let path = ksync_procfs::namespace_path(pid, Namespace::Network);
        Ok(Self(open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Connects to the syncthing there.
    pub(crate) async fn dial(&self) -> io::Result<TcpStream> {
        let network = self.0.try_clone()?;
        let (dialled_tx, dialled_rx) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("ksync-network".to_owned());
        thread.spawn(move || {
            let dial = || {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
                let stream = std::net::TcpStream::connect_timeout(&BEP, LIMIT)?;
                stream.set_nonblocking(true)?;
                io::Result::Ok(stream)
            };
            // The asker may be gone.
            drop(dialled_tx.send(dial()));
        })?;
        let dialled = dialled_rx.await.map_err(|_| io::Error::other("the thread panicked"))?;
        TcpStream::from_std(dialled?)
    }
}
