//! The watcher's end: it proves its key, and that is all that it proves.
//!
//! radar's certificate is not compared with anything. Who it is was asked of the API server, which has authenticated the
//! node and named the pod before a first byte goes through the port-forward; a fingerprint that radar told through that same
//! way would add nothing. What a false radar is shown is of no use to it elsewhere: the signature is over both
//! certificates of this one handshake.

use std::sync::Arc;

use rustls::{ClientConfig, client::Resumption, pki_types::ServerName, version::TLS13};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    Error, Identity,
    settings::{ALPN, AnyKey, provider},
};

/// What the watcher reads and writes once it has proved its key.
pub type ClientStream<S> = TlsStream<S>;

/// Who connects, for any number of connections.
#[derive(Clone)]
pub struct Client(TlsConnector);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// Connects with this identity.
    ///
    /// # Errors
    /// A certificate and a key that don't go together.
    pub fn new(identity: Identity) -> Result<Self, Error> {
        Self::speaking(identity, ALPN)
    }

    /// The same, for another `protocol` than the tunnel's, by its name in ALPN (RFC 7301).
    ///
    /// # Errors
    /// A certificate and a key that don't go together.
    pub fn speaking(identity: Identity, protocol: &[u8]) -> Result<Self, Error> {
        let fingerprint = identity.fingerprint();
        let unfit = |source| Error::Use { fingerprint, source };
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(unfit)?;
        let config = config.dangerous().with_custom_certificate_verifier(AnyKey::new());
        let config = config.with_client_auth_cert(vec![identity.certificate], identity.key);
        let mut config = config.map_err(unfit)?;
        config.alpn_protocols = vec![protocol.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Makes the handshake on a new stream to radar.
    ///
    /// # Errors
    /// The stream broke, or the other side does not speak TLS 1.3: [`std::io::ErrorKind::InvalidData`].
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> std::io::Result<ClientStream<S>> {
        // Nobody reads the name: a client has to have one in mind.
        let radar = ServerName::try_from("radar").map_err(std::io::Error::other)?;
        self.0.connect(radar, stream).await
    }
}
