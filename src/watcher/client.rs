//! Speaking to a watcher from a command.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use ksync_proto::watch::{
    AnswerRequest, ReloadRequest, StatusReply, StatusRequest, StopRequest, TakeOverRequest, VersionRequest,
    WakeRequest, watch_client::WatchClient,
};
use tokio::net::UnixStream;
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};

use crate::home::is_trusted;

use super::view::{AnswerView, BoardView, ReloadView, WatcherView};

/// For a call that answers from memory.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// For a reload, which may wait for containers that take their time to end.
const RELOAD_LIMIT: Duration = Duration::from_secs(120);
/// For an answer, which may move many files.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);
/// For a stop, which answers when everything is let go of.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Why a watcher can't be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It answered with an error.
    #[error("the watcher refused `{call}`: {message}")]
    Refused {
        /// The call.
        call: &'static str,
        /// Its sentence.
        message: String,
    },
    /// Another user listens in its place.
    #[error("the socket `{path}` is another user's ({uid})")]
    Foreign {
        /// The socket.
        path: PathBuf,
        /// The user's number.
        uid: u32,
    },
    /// It did not answer.
    #[error("the watcher did not answer `{call}` within {limit:?}")]
    Slow {
        /// The call.
        call: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
}

/// A connection to a running watcher.
pub(crate) struct Client(WatchClient<Channel>);

impl Client {
    /// Connects to the watcher that listens at `socket`; none when nobody listens there. One that is being killed has
    /// its socket for a moment longer than it answers. Where another user listens, nothing is told to him (SO_PEERCRED,
    /// unix(7)).
    pub(crate) async fn connect(socket: &Path) -> Result<Option<Self>, Error> {
        let (path, foreign) = (socket.to_owned(), Arc::<OnceLock<u32>>::default());
        let stranger = Arc::clone(&foreign);
        let connector = tower::service_fn(move |_| {
            let (path, stranger) = (path.clone(), Arc::clone(&stranger));
            async move {
                let stream = UnixStream::connect(path).await?;
                let uid = stream.peer_cred()?.uid();
                if is_trusted(uid) {
                    return Ok(TokioIo::new(stream));
                }
                stranger.get_or_init(|| uid);
                Err(io::Error::from(io::ErrorKind::PermissionDenied))
            }
        });
        let endpoint = Endpoint::from_static("http://watcher").connect_timeout(CALL_LIMIT);
        let channel = endpoint.connect_with_connector(connector).await;
        if let Some(uid) = foreign.get() {
            return Err(Error::Foreign { path: socket.to_owned(), uid: *uid });
        }
        let Ok(channel) = channel else { return Ok(None) };
        let mut client = WatchClient::new(channel).max_decoding_message_size(64 << 20);
        Ok(match tokio::time::timeout(CALL_LIMIT, client.version(VersionRequest {})).await {
            // Every watcher knows this call, so a failure is the connection's.
            Ok(Err(_)) => None,
            _ => Some(Self(client)),
        })
    }

    /// Which watcher answers.
    pub(crate) async fn version(&mut self) -> Result<WatcherView, Error> {
        limited("Version", CALL_LIMIT, self.0.version(VersionRequest {})).await.map(WatcherView::from)
    }

    /// Where everything stands.
    pub(crate) async fn status(&mut self) -> Result<BoardView, Error> {
        limited("Status", CALL_LIMIT, self.0.status(StatusRequest {})).await.map(BoardView::from)
    }

    /// Where everything stands, again and again.
    pub(crate) async fn follow(&mut self) -> Result<States, Error> {
        Ok(States(limited("Follow", CALL_LIMIT, self.0.follow(StatusRequest {})).await?))
    }

    /// Has a spec's directories taken over from whoever else syncs them.
    pub(crate) async fn take_over(&mut self, spec: &str) -> Result<(), Error> {
        let request = TakeOverRequest { spec: spec.to_owned() };
        limited("TakeOver", CALL_LIMIT, self.0.take_over(request)).await.map(drop)
    }

    /// Tells it that the cluster has just been reached.
    pub(crate) async fn wake(&mut self) -> Result<(), Error> {
        limited("Wake", CALL_LIMIT, self.0.wake(WakeRequest {})).await.map(drop)
    }

    /// Has a spec's apps run the code that is there; `mode` as in ksync.yaml, empty for the spec's own.
    /// `grace`: how long each app may take to end in its own way first; 0 is not to ask it.
    pub(crate) async fn reload(
        &mut self,
        spec: &str,
        mode: &str,
        grace: Duration,
    ) -> Result<Vec<ReloadView>, Error> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let request = ReloadRequest { spec: spec.to_owned(), mode: mode.to_owned(), grace_ms };
        let reply = limited("Reload", RELOAD_LIMIT + grace, self.0.reload(request)).await?;
        Ok(reply.containers.into_iter().map(ReloadView::from).collect())
    }

    /// Answers what the spec `name` waits for. Returns what that was.
    pub(crate) async fn answer(&mut self, name: &str, accept: bool) -> Result<AnswerView, Error> {
        let request = AnswerRequest { name: name.to_owned(), accept };
        limited("Answer", ANSWER_LIMIT, self.0.answer(request)).await.map(AnswerView::from)
    }

    /// Ends the watcher; returns when everything is let go of.
    pub(crate) async fn stop(&mut self) -> Result<(), Error> {
        limited("Stop", STOP_LIMIT, self.0.stop(StopRequest {})).await.map(drop)
    }
}

/// What a watcher tells until it ends.
pub(crate) struct States(Streaming<StatusReply>);

impl States {
    /// The next state; none when the watcher has ended, in order or not.
    pub(crate) async fn next(&mut self) -> Option<BoardView> {
        match self.0.message().await {
            Ok(state) => state.map(BoardView::from),
            Err(error) => {
                tracing::debug!(%error, "the watcher went away");
                None
            }
        }
    }
}

async fn limited<T>(
    call: &'static str,
    limit: Duration,
    answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(Error::Refused { call, message: status.message().to_owned() }),
        Err(_) => Err(Error::Slow { call, limit }),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::Client;

    /// Who listens is whoever has called listen(2), so a thread with another user's id will do.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn another_user_is_told_nothing() {
        use rustix::thread::{Uid, set_thread_res_uid};
        if rustix::process::geteuid().as_raw() != 0 {
            return ksync_skip::skipped("only root can become another user");
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let path = dir.path().join("s");
        let at = path.clone();
        let listening = std::thread::spawn(move || {
            let other = Uid::from_raw(1234);
            set_thread_res_uid(other, other, other).unwrap();
            std::os::unix::net::UnixListener::bind(at).unwrap()
        });
        let listener = listening.join().unwrap();
        let error = Client::connect(&path).await.err().unwrap();
        assert_eq!(error.to_string(), format!("the socket `{}` is another user's (1234)", path.display()));
        listener.set_nonblocking(true).unwrap();
        let mut told = String::new();
        std::io::Read::read_to_string(&mut listener.accept().unwrap().0, &mut told).unwrap();
        assert_eq!(told, "");
    }

    #[tokio::test]
    async fn a_watcher_that_ends_before_it_answers_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        assert!(Client::connect(&path).await.unwrap().is_none());
        let listener = UnixListener::bind(&path).unwrap();
        let dying = tokio::spawn(async move {
            let accepted = listener.accept().await.unwrap();
            drop(listener);
            drop(accepted);
        });
        assert!(Client::connect(&path).await.unwrap().is_none());
        dying.await.unwrap();
    }
}
