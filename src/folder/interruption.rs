//! What interrupts a folder and sends it back to a fresh attach, and how it reads in `get`.

use crate::{local, node::CallError, status::Status};

/// Why a folder stopped following its container.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interruption {
    /// The connection or the session went away; both come back by themselves.
    #[error("{0}")]
    Lost(String),
    /// The local syncthing begins with an empty database.
    #[error("the local syncthing started anew")]
    Anew,
    /// radar said that the attachment ended.
    #[error("{0}")]
    Ended(String),
    /// radar refused a call, did not answer it, or answered nonsense.
    #[error(transparent)]
    Call(CallError),
    /// A file here is a directory there, or the other way round.
    #[error("`{0}` is a directory on one side and not on the other; remove one of them")]
    Clash(String),
    /// So much is gone here that a person must say whether it is meant.
    #[error("{0}")]
    Doubt(String),
    /// The container deleted so much that a person must say whether it is meant.
    #[error("{0}")]
    Held(String),
    /// The local path is not what it was.
    #[error("{0}")]
    Root(String),
    /// A place for what is replaced can't be made.
    #[error("make `{path}`")]
    Kept {
        /// The place.
        path: std::path::PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The trees were not equal after several rounds.
    #[error("the files change faster than they can be compared")]
    Restless,
    /// A change could not be written in the container.
    #[error("{0}")]
    Pull(String),
    /// The local side was closed.
    #[error(transparent)]
    Closed(#[from] local::Closed),
    /// The container's mounts can't be left out here.
    #[error(transparent)]
    Exclude(#[from] local::ExcludeError),
    /// A local file could not be read or written.
    #[error(transparent)]
    Tree(#[from] ksync_tree::Error),
    /// No port on the loopback.
    #[error("listen on the loopback for the local syncthing")]
    Listen(#[source] std::io::Error),
}

impl Interruption {
    /// The status word and the sentence that go with it until the next try.
    pub(crate) fn standing(&self) -> (Status, String) {
        let status = match self {
            Self::Lost(_) | Self::Anew | Self::Ended(_) | Self::Restless | Self::Closed(_) => {
                Status::Attaching
            }
            Self::Held(_) => Status::Paused,
            _ => Status::Error,
        };
        (status, ksync_common::chain(self))
    }
}

impl From<CallError> for Interruption {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Lost(_) => Self::Lost(error.to_string()),
            CallError::Refused(_) | CallError::Slow { .. } | CallError::Malformed(_) => Self::Call(error),
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
