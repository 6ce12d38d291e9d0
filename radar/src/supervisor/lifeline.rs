//! The socket between `radar serve` and `radar syncthing`, and the one message on it.
//!
//! Invariant: an open connection means that the syncthing which was told of at its start still runs; the supervisor
//! closes it when that one ends. The other way, its end tells the supervisor that radar is gone.

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

/// The one line that the supervisor says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Greeting {
    /// Key of syncthing's REST API, random for each start.
    pub(crate) api_key: String,
    /// Its socket.
    pub(crate) gui: PathBuf,
    /// Of syncthing, in the node's PID space.
    pub(crate) syncthing_pid: i32,
    /// How many times syncthing was started.
    pub(crate) start: u64,
}

/// Longest greeting, in bytes.
const LONGEST: u64 = 4096;

/// Says the greeting.
pub(crate) async fn greet(stream: &mut UnixStream, greeting: &Greeting) -> io::Result<()> {
    let mut line = serde_json::to_vec(greeting)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

/// Hears the greeting.
pub(crate) async fn hear(stream: &mut UnixStream) -> io::Result<Greeting> {
    let mut line = String::new();
    // The supervisor says nothing after the line, so nothing is lost in the buffer.
    BufReader::new(stream).take(LONGEST).read_line(&mut line).await?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&line)?)
}

/// Returns when the other side is gone.
pub(crate) async fn closed(stream: &mut UnixStream) {
    let mut byte = [0];
    loop {
        match stream.read(&mut byte).await {
            Ok(0) | Err(_) => return,
            // Nobody says anything more; were it so, it would not be the end.
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::{Greeting, closed, greet, hear};

    #[tokio::test]
    async fn a_greeting_arrives_and_the_end_is_noticed() {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        let greeting = Greeting { api_key: "k".into(), gui: "/g".into(), syncthing_pid: 7, start: 1 };
        greet(&mut a, &greeting).await.unwrap();
        assert_eq!(hear(&mut b).await.unwrap(), greeting);
        drop(a);
        closed(&mut b).await;
        assert!(hear(&mut b).await.is_err());
    }
}
