//! Signals by name, and whether a process would hear of one.
//!
//! Invariant: a signal is only sent to a process that handles it: a container's first process never gets to see
//! another, and any other process would be ended by it.

use ksync_procfs::Status;
use rustix::process::Signal;

/// Why a signal is not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// No such name.
    #[error("`{name}` is no signal that an app can handle, such as HUP or USR1")]
    Unknown {
        /// As it came.
        name: String,
    },
    /// Nobody would hear it.
    #[error("the container's {process} has no handler for SIG{name}, so it would not hear it")]
    Unhandled {
        /// Number and name.
        process: String,
        /// Without `SIG`.
        name: String,
    },
}

/// What a program can handle, but for the signals of faults.
const SIGNALS: [(&str, Signal); 12] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("TERM", Signal::TERM),
    ("ALRM", Signal::ALARM),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("WINCH", Signal::WINCH),
    ("URG", Signal::URG),
    ("IO", Signal::IO),
];

/// The name without `SIG`, in capitals.
pub(super) fn plain(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    name.strip_prefix("SIG").map(str::to_owned).unwrap_or(name)
}

/// The signal `HUP`, `SIGHUP` or `hup`.
pub(super) fn named(name: &str) -> Result<Signal, Error> {
    let wanted = plain(name);
    let found = SIGNALS.iter().find(|(known, _)| *known == wanted);
    found.map(|(_, signal)| *signal).ok_or_else(|| Error::Unknown { name: name.to_owned() })
}

/// Whether the process has a handler for the signal.
pub(super) fn handled(signal: Signal, name: &str, status: &Status) -> Result<(), Error> {
    if status.caught & 1 << (signal.as_raw() - 1) != 0 {
        return Ok(());
    }
    Err(Error::Unhandled { process: status.shown(), name: plain(name) })
}

#[cfg(test)]
mod tests {
    use ksync_procfs::Status;
    use rustix::process::Signal;

    use super::{Error, handled, named};

    #[test]
    fn names_are_read_as_people_write_them() {
        for name in ["HUP", "SIGHUP", "hup", "sighup"] {
            assert_eq!(named(name), Ok(Signal::HUP));
        }
        for name in ["", "KILL", "SIGSTOP", "SEGV", "1", "HANGUP"] {
            assert_eq!(named(name), Err(Error::Unknown { name: name.into() }));
        }
    }

    #[test]
    fn clients_know_the_same_names() {
        assert_eq!(super::SIGNALS.map(|(name, _)| name), ksync_common::SIGNALS);
    }

    #[test]
    fn a_signal_without_a_handler_is_refused() {
        let status = Status { caught: 0b1, inner: 1, name: "app".into(), ..Status::default() };
        assert_eq!(handled(Signal::HUP, "HUP", &status), Ok(()));
        let error = handled(Signal::USR1, "SIGUSR1", &status).unwrap_err().to_string();
        assert_eq!(
            error,
            "the container's process 1 `app` has no handler for SIGUSR1, so it would not hear it"
        );
    }
}
