//! The socket between `radar serve` and `radar syncthing`, with a connection for each syncthing, and the two messages on it.
//!
//! Invariant: an open connection means that the syncthing which was asked for on it runs: the supervisor closes it when that one
//! has ended. The other way, its end tells the supervisor that nobody has a use for it any more.

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

/// The one line that radar says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Who there is. Nothing is started.
    Presence,
    /// A syncthing that has two directories. Nothing was in the home but an identity, and no other syncthing ever had it.
    Syncthing {
        /// Its home.
        home: PathBuf,
        /// The directory of the session's spools.
        spools: PathBuf,
    },
}

/// The one line that the supervisor says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// It is there, and has this version of syncthing: `v1.30.0`.
    Presence(String),
    /// It runs.
    Syncthing(Greeting),
    /// It could not be started: a sentence.
    Refused(String),
}

/// How a syncthing is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Greeting {
    /// Key of its REST API, random for each start.
    pub(crate) api_key: String,
    /// Its socket.
    pub(crate) gui: PathBuf,
    /// Its process, in the node's PID space.
    pub(crate) pid: i32,
}

/// Longest line, in bytes.
const LONGEST: u64 = 16 << 10;

/// Says a line.
pub(crate) async fn say(stream: &mut UnixStream, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

/// Hears a line.
pub(crate) async fn hear<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<T> {
    let mut line = String::new();
    // Nothing is said after the line, so nothing is lost in the buffer.
    BufReader::new(stream).take(LONGEST).read_line(&mut line).await?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&line)?)
}

/// Returns when the other side is gone, or will say nothing more.
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

    use super::{Answer, Greeting, closed, hear, say};

    #[tokio::test]
    async fn a_line_arrives_and_the_end_is_noticed() {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        let answer = Answer::Syncthing(Greeting { api_key: "k".into(), gui: "/g".into(), pid: 7 });
        say(&mut a, &answer).await.unwrap();
        assert_eq!(hear::<Answer>(&mut b).await.unwrap(), answer);
        drop(a);
        closed(&mut b).await;
        assert!(hear::<Answer>(&mut b).await.is_err());
    }
}
