//! A stand-in that answers like syncthing, for tests of what radar does with its answers.

use std::{path::Path, sync::Arc};

use rustix::process::{PidfdFlags, getpid, pidfd_open};
use syncthing::Client;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::Mutex,
};
use tokio_util::sync::CancellationToken;

use super::NodeSyncthing;
use crate::supervisor::events;

/// From method, path (without `/rest/`) and body to an answer's text; none is an error of syncthing's.
pub(crate) type Answers = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A syncthing that lives in `dir` and gives these answers.
pub(crate) fn node_syncthing(dir: &Path, answers: Answers) -> Arc<NodeSyncthing> {
    // Another test may have done it.
    drop(rustls::crypto::ring::default_provider().install_default());
    let socket = dir.join("gui.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&answers)));
        }
    });
    Arc::new(NodeSyncthing {
        client: Client::unix(&socket, "key").unwrap(),
        supervisor_pid: getpid().as_raw_nonzero().get(),
        device_id: "NODE".into(),
        version: "v0".into(),
        lost: CancellationToken::new(),
        devices: Mutex::new(()),
        heard: events::channel(),
        process: pidfd_open(getpid(), PidfdFlags::empty()).unwrap(),
    })
}

/// One request a connection.
async fn answer(mut stream: UnixStream, answers: Answers) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    let line = head.lines().next().unwrap_or_default().replacen("/rest/", "", 1);
    let call = format!("{} {}", line.trim_end_matches(" HTTP/1.1"), String::from_utf8_lossy(&body));
    let (status, body) = match answers(&call) {
        Some(body) => ("200 OK", body),
        None => ("500 Internal Server Error", "no".to_owned()),
    };
    let reply =
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    // A client that hung up needs no answer.
    drop(stream.write_all(reply.as_bytes()).await);
}
