//! A download from a real HTTPS server on loopback, with a key pair of our own.

use std::{io::Write, path::Path, sync::Arc};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{super::signature::testing::Signer, Error, Mirror, PINNED, Platform, install};

const PROGRAM: &[u8] = b"#!/bin/sh\necho syncthing v1.30.0 test\n";

/// One entry a file; the archive as the project makes it.
fn tar_gz(entries: &[(String, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (path, data) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, path, *data).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn zipped(entries: &[(String, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (path, data) in entries {
        zip.start_file(path, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(data).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Serves one body for every request, over TLS with a fresh certificate; tells its address and certificate.
async fn serve(status: &'static str, body: Vec<u8>) -> (String, Vec<u8>) {
    crate::tls::install();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&body).await;
            let _ = stream.shutdown().await;
        }
    });
    (format!("https://localhost:{port}/releases"), made.cert.der().to_vec())
}

async fn fetch_as(
    platform: Platform,
    signer: &Signer,
    status: &'static str,
    body: Vec<u8>,
    place: &Path,
) -> Result<(), Error> {
    let (base, certificate) = serve(status, body).await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_der(&certificate).unwrap()]);
    let mirror = Mirror::new(&base, signer.key(), client).unwrap();
    install(&mirror, platform, place, &|_, _| {}).await.map(|_| ())
}

fn linux() -> Platform {
    Platform::named("linux", "x86_64").unwrap()
}

fn entries<'a>(stem: &str, program: &'a [u8], signature: Option<&'a [u8]>) -> Vec<(String, &'a [u8])> {
    let mut entries = vec![
        (format!("{stem}/README.txt"), &b"read me"[..]),
        (format!("{stem}/etc/syncthing"), &b"no program"[..]),
        (format!("{stem}/syncthing"), program),
    ];
    entries.extend(signature.map(|signature| (format!("{stem}/release.sig"), signature)));
    entries
}

#[tokio::test]
async fn a_good_release_is_put_in_place() {
    let signer = Signer::new();
    for platform in [linux(), Platform::named("macos", "aarch64").unwrap()] {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("bin/syncthing");
        let signature = signer.sign(&platform.archive(PINNED), PROGRAM);
        let entries = entries(&platform.stem(PINNED), PROGRAM, Some(&signature));
        let body = if platform == linux() { tar_gz(&entries) } else { zipped(&entries) };
        fetch_as(platform, &signer, "200 OK", body, &place).await.unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), PROGRAM);
        assert_eq!(std::fs::read_dir(dir.path().join("bin")).unwrap().count(), 1);
    }
}

#[tokio::test]
async fn everything_else_is_refused_with_its_sentence_and_leaves_nothing() {
    let signer = Signer::new();
    let (name, stem) = (linux().archive(PINNED), linux().stem(PINNED));
    let good = signer.sign(&name, PROGRAM);
    let mut flipped = PROGRAM.to_vec();
    flipped[20] ^= 1;
    let old = linux().archive("1.29.7");
    let old_signature = signer.sign(&old, PROGRAM);
    let arm = Platform::named("linux", "aarch64").unwrap();
    let arm_signature = signer.sign(&arm.archive(PINNED), PROGRAM);
    let stranger = Signer::new().sign(&name, PROGRAM);
    let mut cut = tar_gz(&entries(&stem, PROGRAM, Some(&good)));
    cut.truncate(cut.len() / 2);
    let not_signed_so = "is not what the syncthing project signed under this name";
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("flipped byte", tar_gz(&entries(&stem, &flipped, Some(&good))), not_signed_so),
        ("stranger's signature", tar_gz(&entries(&stem, PROGRAM, Some(&stranger))), not_signed_so),
        (
            "other version",
            tar_gz(&entries(&linux().stem("1.29.7"), PROGRAM, Some(&old_signature))),
            "what is in it is `syncthing-linux-amd64-v1.29.7`",
        ),
        ("other version, renamed", tar_gz(&entries(&stem, PROGRAM, Some(&old_signature))), not_signed_so),
        (
            "other platform",
            tar_gz(&entries(&arm.stem(PINNED), PROGRAM, Some(&arm_signature))),
            "what is in it is `syncthing-linux-arm64-v1.30.0`",
        ),
        ("other platform, renamed", tar_gz(&entries(&stem, PROGRAM, Some(&arm_signature))), not_signed_so),
        ("no signature", tar_gz(&entries(&stem, PROGRAM, None)), "it is not signed"),
        ("garbled signature", tar_gz(&entries(&stem, PROGRAM, Some(b"x"))), "its signature can't be read"),
        ("no program", tar_gz(&entries(&stem, PROGRAM, Some(&good))[..2]), "there is no syncthing in it"),
        ("cut short", cut, "can't unpack"),
        ("not an archive", b"<html>".to_vec(), "can't unpack"),
    ];
    for (case, body, told) in cases {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("bin/syncthing");
        let error = fetch_as(linux(), &signer, "200 OK", body, &place).await.unwrap_err().to_string();
        assert!(error.contains(told), "{case}: {error}");
        assert_eq!(
            std::fs::read_dir(dir.path().join("bin")).map_or(0, Iterator::count),
            0,
            "{case} left something"
        );
    }
}

#[tokio::test]
async fn a_missing_archive_and_an_unsafe_mirror_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("syncthing");
    let error = fetch_as(linux(), &Signer::new(), "404 Not Found", Vec::new(), &place).await.unwrap_err();
    assert!(error.to_string().ends_with("the server answered 404 Not Found"), "{error}");
    assert!(error.hint().is_some());
    let mirror = Mirror::new("http://mirror", Signer::new().key(), reqwest::Client::builder());
    assert!(matches!(mirror, Err(Error::Mirror { .. })));
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_refused() {
    let signer = Signer::new();
    let (base, _) = serve("200 OK", Vec::new()).await;
    let mirror = Mirror::new(&base, signer.key(), reqwest::Client::builder().no_proxy()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let result = install(&mirror, linux(), &dir.path().join("syncthing"), &|_, _| {}).await;
    assert!(matches!(result, Err(Error::Download { .. })));
}
