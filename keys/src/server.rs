//! radar's end: whoever connects has to have a key, any key, and is its fingerprint from then on.

use std::{io, sync::Arc};

use rustls::{ServerConfig, server::NoServerSessionStorage, version::TLS13};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    Error, Fingerprint, Identity,
    settings::{ALPN, AnyKey, provider},
};

/// What radar reads and writes once the other side has proved its key.
pub type ServerStream<S> = TlsStream<S>;

/// Who is connected to, for any number of connections.
#[derive(Clone)]
pub struct Server(TlsAcceptor);

impl Server {
    /// Answers with this identity.
    ///
    /// # Errors
    /// A certificate and a key that don't go together.
    pub fn new(identity: Identity) -> Result<Self, Error> {
        let fingerprint = identity.fingerprint();
        let unfit = |source| Error::Use { fingerprint, source };
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(unfit)?;
        let config = config.with_client_cert_verifier(AnyKey::new());
        let config = config.with_single_cert(vec![identity.certificate], identity.key);
        let mut config = config.map_err(unfit)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Each connection proves its key anew.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Makes the handshake on a stream that somebody has opened, and says who that is.
    ///
    /// # Errors
    /// The stream broke, or the other side has no key or speaks no TLS 1.3: [`io::ErrorKind::InvalidData`].
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<(ServerStream<S>, Fingerprint)> {
        let stream = self.0.accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let who = shown.map(|certificate| Fingerprint::of(certificate));
        who.map(|who| (stream, who))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no certificate was shown"))
    }
}
