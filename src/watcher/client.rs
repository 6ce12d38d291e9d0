//! Speaking to a watcher from a command.

use std::{path::Path, time::Duration};

use hyper_util::rt::TokioIo;
use ksync_proto::watch::{
    AnswerReply, AnswerRequest, StatusReply, StatusRequest, StopRequest, VersionReply, VersionRequest,
    watch_client::WatchClient,
};
use tokio::net::UnixStream;
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};

/// For a call that answers from memory.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// For an answer, which may move many files.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);
/// For a stop, which answers when everything is let go of.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Why a watcher can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It answered with an error.
    #[error("the watcher refused `{call}`: {message}")]
    Refused {
        /// The call.
        call: &'static str,
        /// Its sentence.
        message: String,
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
pub struct Client(WatchClient<Channel>);

impl Client {
    /// Connects to the watcher that listens at `socket`; none when nobody listens there.
    pub async fn connect(socket: &Path) -> Option<Self> {
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://watcher").connect_timeout(CALL_LIMIT);
        let channel = endpoint.connect_with_connector(connector).await;
        channel.ok().map(|channel| Self(WatchClient::new(channel).max_decoding_message_size(64 << 20)))
    }

    /// Who answers.
    pub async fn version(&mut self) -> Result<VersionReply, Error> {
        limited("Version", CALL_LIMIT, self.0.version(VersionRequest {})).await
    }

    /// Where everything stands.
    pub async fn status(&mut self) -> Result<StatusReply, Error> {
        limited("Status", CALL_LIMIT, self.0.status(StatusRequest {})).await
    }

    /// Where everything stands, again and again.
    pub async fn follow(&mut self) -> Result<Streaming<StatusReply>, Error> {
        limited("Follow", CALL_LIMIT, self.0.follow(StatusRequest {})).await
    }

    /// Answers what the spec `name` waits for. The reply says what that was; all of it is zero when it was nothing.
    pub async fn answer(&mut self, name: &str, accept: bool) -> Result<AnswerReply, Error> {
        let request = AnswerRequest { name: name.to_owned(), accept };
        limited("Answer", ANSWER_LIMIT, self.0.answer(request)).await
    }

    /// Ends the watcher; returns when everything is let go of.
    pub async fn stop(&mut self) -> Result<(), Error> {
        limited("Stop", STOP_LIMIT, self.0.stop(StopRequest {})).await.map(drop)
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
