//! Both ends against each other, and against those who have no key or another's certificate.

use std::{io, os::unix::fs::PermissionsExt, sync::Arc};

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::{Client, Error, Fingerprint, Identity, Server, settings};

fn server() -> Server {
    Server::new(Identity::for_now().unwrap()).unwrap()
}

/// What radar makes of a client of this configuration.
async fn met(config: ClientConfig) -> io::Result<Fingerprint> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let server = server();
    let client = async {
        let radar = "radar".try_into().unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(radar, near).await?;
        // In TLS 1.3 a client is through before the server has looked at its certificate.
        stream.read(&mut [0]).await
    };
    let (who, _) = tokio::join!(
        async {
            // Dropped, so that the client hears of the end.
            server.accept(far).await.map(|(_, who)| who)
        },
        client
    );
    who
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let builder = ClientConfig::builder_with_provider(settings::provider());
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    builder.dangerous().with_custom_certificate_verifier(settings::AnyKey::new())
}

async fn carried(mut near: impl AsyncWriteExt + Unpin, mut far: impl AsyncReadExt + Unpin) {
    near.write_all(b"an edit").await.unwrap();
    near.flush().await.unwrap();
    let mut got = [0; 7];
    far.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"an edit");
}

#[tokio::test]
async fn whoever_connects_is_the_key_and_bytes_go_both_ways() {
    let identity = Identity::for_now().unwrap();
    let expected = identity.fingerprint();
    let client = Client::new(identity).unwrap();
    let (near, far) = tokio::io::duplex(1 << 16);
    let server = server();
    let (near, far) = tokio::join!(client.connect(near), server.accept(far));
    let (mut near, (mut far, who)) = (near.unwrap(), far.unwrap());
    assert_eq!(who, expected);
    assert_eq!(near.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    carried(&mut near, &mut far).await;
    carried(&mut far, &mut near).await;
}

#[tokio::test]
async fn who_has_no_key_does_not_get_in() {
    let refused = met(builder().with_no_client_auth()).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{refused}");
}

/// The attack: another person's certificate, which is no secret, with a key of one's own.
#[tokio::test]
async fn anothers_certificate_without_its_key_does_not_get_in() {
    #[derive(Debug)]
    struct Stolen(Arc<rustls::sign::CertifiedKey>);
    impl rustls::client::ResolvesClientCert for Stolen {
        fn resolve(
            &self,
            _: &[&[u8]],
            _: &[rustls::SignatureScheme],
        ) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }

        fn has_certs(&self) -> bool {
            true
        }
    }
    let (victim, thief) = (Identity::for_now().unwrap(), Identity::for_now().unwrap());
    let with = |certificate, key| {
        let key = settings::provider().key_provider.load_private_key(key).unwrap();
        let resolver = Stolen(Arc::new(rustls::sign::CertifiedKey::new(vec![certificate], key)));
        builder().with_client_cert_resolver(Arc::new(resolver))
    };
    let own = with(thief.certificate.clone(), thief.key.clone_key());
    assert_eq!(met(own).await.unwrap(), thief.fingerprint(), "the same with one's own certificate gets in");
    let refused = met(with(victim.certificate, thief.key)).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{refused}");
}

#[tokio::test]
async fn an_old_radar_that_speaks_no_tls_is_told_apart() {
    let client = Client::new(Identity::for_now().unwrap()).unwrap();
    let (near, mut far) = tokio::io::duplex(1 << 16);
    // HTTP/2's SETTINGS frame, with which a server begins (RFC 9113, 3.4).
    far.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let refused = client.connect(near).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{refused}");
}

#[test]
fn a_home_has_an_identity_of_any_kind_that_syncthing_makes() {
    for kind in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let home = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate_for(kind).unwrap();
        let params = rcgen::CertificateParams::new(vec!["syncthing".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let missing = Identity::of_home(home.path()).unwrap_err();
        assert!(matches!(&missing, Error::Read { path, .. } if path.ends_with("cert.pem")), "{missing:?}");
        std::fs::write(home.path().join("cert.pem"), certificate.pem()).unwrap();
        let key_pem = home.path().join("key.pem");
        std::fs::write(&key_pem, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key_pem, std::fs::Permissions::from_mode(0o644)).unwrap();
        let identity = Identity::of_home(home.path()).unwrap();
        assert_eq!(identity.fingerprint(), Fingerprint::of(certificate.der()));
        assert!(!format!("{identity:?}").contains("PRIVATE"));
        let mode = std::fs::metadata(&key_pem).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "what others could read, they can't any more");
        Client::new(identity).unwrap();
    }
}

#[test]
fn an_identity_is_given_to_a_home_once_and_to_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let made = Identity::for_syncthing().unwrap();
    made.give_to(dir.path()).unwrap();
    let read = Identity::of_home(dir.path()).unwrap();
    assert_eq!(read.fingerprint(), made.fingerprint());
    assert!(Client::new(read).is_ok(), "certificate and key go together");
    for name in ["cert.pem", "key.pem"] {
        let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let refused = made.give_to(dir.path()).unwrap_err().to_string();
    assert_eq!(refused, format!("write `{}`", dir.path().join("cert.pem").display()));
}

#[test]
fn a_certificate_with_anothers_key_is_refused_before_anything_is_sent() {
    let (one, other) = (Identity::for_now().unwrap(), Identity::for_now().unwrap());
    let mixed = Identity { certificate: one.certificate, key: other.key };
    let error = Client::new(mixed).unwrap_err();
    assert!(matches!(error, Error::Use { .. }), "{error:?}");
}
