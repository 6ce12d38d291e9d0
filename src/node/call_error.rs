//! Why a call to radar came to nothing, without the transport's types.

use std::time::Duration;

/// For a call that resolves, binds or configures.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// Why a call came to nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CallError {
    /// The connection or the session went away; both come back by themselves. The transport's word.
    #[error("lost the connection to radar: {0}")]
    Lost(String),
    /// radar refused the call, with this sentence.
    #[error("{0}")]
    Refused(String),
    /// We can't prove that we may exec into the container, because we can't.
    #[error("{0}")]
    Exec(String),
    /// radar did not answer in time.
    #[error("radar did not answer `{call}` within {limit:?}")]
    Slow {
        /// The call.
        call: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
}

impl From<tonic::Status> for CallError {
    fn from(status: tonic::Status) -> Self {
        use tonic::Code;
        // The transport's own failures, as opposed to radar's answers with a sentence.
        let transport = std::error::Error::source(&status).is_some()
            || matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown);
        let message = status.message().to_owned();
        if transport { Self::Lost(message) } else { Self::Refused(message) }
    }
}

/// radar's answer to a call that is quick.
pub(super) async fn limited<T>(
    call: &'static str,
    answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(CALL_LIMIT, answer).await {
        Ok(reply) => Ok(reply?.into_inner()),
        Err(_) => Err(CallError::Slow { call, limit: CALL_LIMIT }),
    }
}
