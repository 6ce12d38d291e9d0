//! Errors of the registry.

use ksync_keys::Fingerprint;

use crate::container::runtime::ContainerId;

/// Why the registry refuses what it is asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing is begun any more.
    #[error("radar is stopping")]
    Stopping,
    /// No stream of the person ever opened a session, or its grace is over.
    #[error("no session of key `{person}` is open")]
    NoSession {
        /// Whose key called.
        person: Fingerprint,
    },
    /// A stream that is not the newest of its session.
    #[error("the session of key `{person}` is held by epoch {newest}, which is not older than {epoch}")]
    StaleEpoch {
        /// Whose it is.
        person: Fingerprint,
        /// Of the stream that has the session.
        newest: u64,
        /// Of the stream that wanted it.
        epoch: u64,
    },
    /// Whoever asks has not proved that he may exec into it, or too long ago.
    #[error("key `{person}` has not proved that it may exec into container `{container}`")]
    NotProved {
        /// Whose key called.
        person: Fingerprint,
        /// The container.
        container: ContainerId,
    },
    /// The attachment is another person's, or nobody's: which of the two is nobody's business.
    #[error("attachment `{attachment}` is not held by this session: attach anew")]
    NotHeld {
        /// Its id.
        attachment: String,
    },
    /// There are too many already.
    #[error("more than {limit} {what}")]
    TooMany {
        /// How many there may be.
        limit: usize,
        /// Of what, and whose.
        what: &'static str,
    },
    /// The same directory, over the same stream.
    #[error("`{path}` of container `{container}` is already synced by another spec of yours")]
    AlreadySynced {
        /// The path that was asked for.
        path: String,
        /// In this container.
        container: String,
    },
    /// Another directory of the same session overlaps.
    #[error(
        "`{path}` of container `{container}` overlaps `{other_path}` of container `{other_container}`, which this watcher syncs already"
    )]
    Overlaps {
        /// The path that was asked for.
        path: String,
        /// In this container.
        container: String,
        /// The path that is held.
        other_path: String,
        /// In that container.
        other_container: String,
    },
    /// Another person has the directory.
    #[error(
        "`{path}` is synced by {holder} since {since} (at `{at}`); a spec created with `--take-over` takes it over"
    )]
    HeldByOther {
        /// The path that was asked for.
        path: String,
        /// `user@machine`.
        holder: String,
        /// Since when, to the second.
        since: String,
        /// The path that is held.
        at: String,
    },
}
