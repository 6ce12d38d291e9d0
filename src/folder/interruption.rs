//! What interrupts a folder and sends it back to a fresh attach, and how it reads in `get`.

use crate::{local, node::CallError, status::Status};

/// Why a folder stopped following its container.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interruption {
    /// The connection or the session went away; both come back by themselves.
    #[error("{0}")]
    Lost(String),
    /// radar said that the attachment ended.
    #[error("{0}")]
    Ended(String),
    /// More than there is room for, on the node or here.
    #[error("{0}")]
    Refused(String),
    /// Its pod is on its way out, and nothing that it writes comes here.
    #[error("its pod is on its way out")]
    Left,
    /// radar refused a call, did not answer it, or answered nonsense.
    #[error(transparent)]
    Call(CallError),
    /// The local side was closed.
    #[error(transparent)]
    Closed(#[from] local::Closed),
    /// No port on the loopback.
    #[error("listen on the loopback for the local syncthing")]
    Listen(#[source] std::io::Error),
}

impl Interruption {
    /// The status word and the sentence that go with it until the next try.
    pub(crate) fn standing(&self) -> (Status, String) {
        let status = match self {
            Self::Lost(_) | Self::Ended(_) | Self::Left | Self::Closed(_) => Status::Attaching,
            _ => Status::Error,
        };
        (status, ksync_common::chain(self))
    }
}

impl From<CallError> for Interruption {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Lost(_) => Self::Lost(error.to_string()),
            CallError::Refused(_) | CallError::Exec(_) | CallError::Slow { .. } => Self::Call(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Interruption;
    use crate::{node::CallError, status::Status};

    #[test]
    fn a_lost_connection_is_no_error_and_a_refusal_is() {
        let lost = Interruption::from(CallError::from(tonic::Status::unavailable("tcp")));
        assert_eq!(lost.standing().0, Status::Attaching);
        let refused = CallError::from(tonic::Status::failed_precondition("the path is a file"));
        let refused = Interruption::from(refused);
        assert_eq!(refused.standing(), (Status::Error, "the path is a file".to_owned()));
    }
}
