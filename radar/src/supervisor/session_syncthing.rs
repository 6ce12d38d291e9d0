//! The syncthing of one session as `radar serve` has it: its REST API, the way to its BEP, and word of its end.
//!
//! Invariant: it is published only after it knows the session's own device, and no other, and withdrawn when that very process
//! can no longer be relied on. Each start has a home of its own, which no syncthing has written in.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ksync_common::Backoff;
use ksync_keys::{Error as KeysError, Fingerprint, Identity};
use syncthing::{Client, Device, Error as SyncthingError};
use tokio::{io::AsyncWriteExt, net::UnixStream, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::supervisor::{
    lifeline::{self, Answer, Ask},
    network::Network,
};

/// How long a fresh syncthing may take to answer.
const ANSWER: Duration = Duration::from_secs(60);
/// How long it may take to end.
const END: Duration = Duration::from_secs(5);
/// One that ran so long did not fail to start.
const RAN: Duration = Duration::from_secs(30);

/// Why there is no syncthing.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("reach `radar syncthing`")]
    Lifeline(#[source] io::Error),
    #[error("`radar syncthing` does not start it: {0}")]
    Refused(String),
    #[error("make its home `{path}`")]
    Home { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("find its network")]
    Network(#[source] io::Error),
    #[error(transparent)]
    Syncthing(#[from] SyncthingError),
}

/// A syncthing that is there.
#[derive(Debug)]
pub(crate) struct SessionSyncthing {
    /// Its REST API.
    pub(crate) client: Client,
    /// Where it accepts connections.
    pub(crate) network: Network,
}

#[cfg(test)]
impl SessionSyncthing {
    /// Whatever answers on `socket`, in this process's network.
    pub(crate) fn at(socket: &Path) -> Self {
        // Another test may have done so.
        drop(rustls::crypto::ring::default_provider().install_default());
        let own = i32::try_from(std::process::id()).unwrap();
        Self { client: Client::unix(socket, "key").unwrap(), network: Network::of(own).unwrap() }
    }
}

/// The syncthing of the moment, if there is one.
pub(crate) type SyncthingRx = watch::Receiver<Option<Arc<SessionSyncthing>>>;

/// What it takes to keep a session's syncthing.
pub(crate) struct Keeper {
    /// The socket of `radar syncthing`.
    pub(crate) lifeline: PathBuf,
    /// Directory for its homes.
    pub(crate) dir: PathBuf,
    /// Directory of the session's spools.
    pub(crate) spools: PathBuf,
    /// Its own.
    pub(crate) identity: Arc<Identity>,
    /// Whose session it is.
    pub(crate) person: Fingerprint,
}

impl Keeper {
    /// Has one run until the `end`, and waits until it has ended. this task --syncthing_tx--> handlers.
    pub(crate) async fn run(
        self,
        syncthing_tx: watch::Sender<Option<Arc<SessionSyncthing>>>,
        end: CancellationToken,
    ) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        for start in 1.. {
            let begun = tokio::time::Instant::now();
            let home = self.dir.join(format!("home-{start}"));
            let mut stream = None;
            let ended = tokio::select! {
                () = end.cancelled() => None,
                ended = self.once(&home, &mut stream, &syncthing_tx) => Some(ended),
            };
            syncthing_tx.send_replace(None);
            if let Some(stream) = stream {
                hang_up(stream).await;
            }
            remove(home).await;
            let Some(ended) = ended else { return };
            match ended {
                Ok(never) => match never {},
                Err(error) => {
                    let error = ksync_common::chain(&error);
                    tracing::warn!(person = %self.person, error, "no syncthing for now");
                }
            }
            if begun.elapsed() > RAN {
                backoff.reset();
            }
            if end.run_until_cancelled(backoff.wait()).await.is_none() {
                return;
            }
        }
    }

    /// From a start to the end. The connection stays in `lifeline`.
    async fn once(
        &self,
        home: &Path,
        lifeline: &mut Option<UnixStream>,
        syncthing_tx: &watch::Sender<Option<Arc<SessionSyncthing>>>,
    ) -> Result<Infallible, Error> {
        self.make(home).await?;
        let begun = tokio::time::Instant::now();
        let stream = UnixStream::connect(&self.lifeline).await.map_err(Error::Lifeline)?;
        let stream = lifeline.insert(stream);
        let ask = Ask::Syncthing { home: home.to_owned(), spools: self.spools.clone() };
        lifeline::say(stream, &ask).await.map_err(Error::Lifeline)?;
        let greeting = tokio::time::timeout(ANSWER, lifeline::hear(stream)).await;
        let greeting = greeting.unwrap_or_else(|late| Err(late.into())).map_err(Error::Lifeline)?;
        let greeting = match greeting {
            Answer::Syncthing(greeting) => greeting,
            Answer::Refused(reason) => return Err(Error::Refused(reason)),
            Answer::Presence(_) => return Err(Error::Lifeline(io::ErrorKind::InvalidData.into())),
        };
        let gone = || Error::Lifeline(io::ErrorKind::UnexpectedEof.into());
        let client = Client::unix(&greeting.gui, &greeting.api_key)?;
        tokio::select! {
            answered = answer(&client) => answered?,
            () = lifeline::closed(stream) => return Err(gone()),
        }
        // It has made its namespaces, as it has answered. That it answers once more says whose network was found.
        let network = Network::of(greeting.pid).map_err(Error::Network)?;
        let device = Device::new(&self.person.device_id(), "watcher", None);
        tokio::select! {
            put = client.put_device(&device) => put?,
            () = lifeline::closed(stream) => return Err(gone()),
        }
        tracing::info!(person = %self.person, after = ?begun.elapsed(), "syncthing is here");
        syncthing_tx.send_replace(Some(Arc::new(SessionSyncthing { client, network })));
        lifeline::closed(stream).await;
        Err(gone())
    }

    /// The home, with the identity.
    async fn make(&self, home: &Path) -> Result<(), Error> {
        let (identity, home) = (Arc::clone(&self.identity), home.to_owned());
        let made = tokio::task::spawn_blocking(move || {
            let made = fs::DirBuilder::new().mode(0o700).create(&home);
            made.map_err(|source| Error::Home { path: home.clone(), source })?;
            Ok(identity.give_to(&home)?)
        });
        made.await.map_err(|error| Error::Lifeline(io::Error::other(error)))?
    }
}

/// Waits until syncthing answers.
async fn answer(client: &Client) -> Result<(), SyncthingError> {
    let started = tokio::time::Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(200));
    loop {
        match client.my_id().await {
            Err(error) if error.is_connection() && started.elapsed() < ANSWER => backoff.wait().await,
            other => return other.map(drop),
        }
    }
}

/// Has the syncthing ended, and waits for that: what it has mounted is free then.
async fn hang_up(mut stream: UnixStream) {
    let hanging_up = async {
        if stream.shutdown().await.is_ok() {
            lifeline::closed(&mut stream).await;
        }
    };
    if tokio::time::timeout(END, hanging_up).await.is_err() {
        tracing::warn!("a syncthing does not end");
    }
}

async fn remove(home: PathBuf) {
    let removed = tokio::task::spawn_blocking(move || match fs::remove_dir_all(&home) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, home = %home.display(), "remove a syncthing's home");
        }
        _ => {}
    });
    if let Err(error) = removed.await {
        tracing::error!(%error, "remove a syncthing's home");
    }
}
