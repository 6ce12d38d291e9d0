//! `radar probe`: asks the radar of this pod for its version, for the kubelet's probes.
//!
//! Invariant: an answer comes within a limit, and in one sentence.

use std::{net::SocketAddr, time::Duration};

use hyper_util::rt::TokioIo;
use ksync_keys::{Client, Identity};
use ksync_proto::radar::{VersionRequest, radar_client::RadarClient};
use tokio::net::TcpStream;
use tonic::transport::{Endpoint, Uri};
use tower::service_fn;

/// Longest time for connecting and the answer together.
const LIMIT: Duration = Duration::from_secs(3);

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody there.
    #[error("radar does not accept connections on `{address}`")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: tonic::transport::Error,
    },
    /// There is no certificate to ask with.
    #[error(transparent)]
    Keys(#[from] ksync_keys::Error),
    /// It does not answer.
    #[error("radar on `{address}` does not answer: {reason}")]
    Answer {
        /// Where.
        address: SocketAddr,
        /// What it said instead.
        reason: String,
    },
    /// It answers, but can't do its work yet.
    #[error("radar answers, but `radar syncthing` does not yet: see the log of container `syncthing`")]
    NotReady,
}

/// Asks for the version; with `ready`, syncthing has to be there too. Returns what to say.
pub(crate) async fn run(address: SocketAddr, ready: bool) -> Result<String, Error> {
    let asked = async {
        let keys = Client::new(Identity::for_now()?)?;
        let connect = service_fn(move |_: Uri| {
            let keys = keys.clone();
            async move { keys.connect(TcpStream::connect(address).await?).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://radar");
        let channel = endpoint.connect_with_connector(connect).await;
        let channel = channel.map_err(|source| Error::Connect { address, source })?;
        let answer = RadarClient::new(channel).version(VersionRequest {}).await;
        answer.map_err(|status| Error::Answer { address, reason: status.message().to_owned() })
    };
    let late = |_| Error::Answer { address, reason: format!("nothing came within {} s", LIMIT.as_secs()) };
    let answer = tokio::time::timeout(LIMIT, asked).await.map_err(late)??.into_inner();
    if ready && answer.syncthing_version.is_empty() {
        return Err(Error::NotReady);
    }
    Ok(format!("radar {} answers", answer.version))
}

#[cfg(test)]
mod tests {
    use super::run;

    #[tokio::test]
    async fn nobody_there_is_said_in_a_sentence() {
        // Bound and dropped: nobody listens there.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = run(address, false).await.unwrap_err();
        assert_eq!(error.to_string(), format!("radar does not accept connections on `{address}`"));
    }
}
