//! The one place that writes to stdout and stderr: data on stdout, talk on stderr, `error:` before `hint:`.
//!
//! Invariant: a line is one line, and whatever names are in it do nothing to a terminal ([`shown`]); documents are exact.

mod progress;
mod shown;

use std::{
    error::Error,
    fmt,
    io::{IsTerminal, Write},
};

use anstream::{stderr, stdout};
use ksync_common::chain;
use progress::Bar;

pub(crate) use shown::{ShownEvents, shown};

/// A failure with what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct UserError {
    message: String,
    hint: String,
}

impl UserError {
    /// One clear sentence, and what to do; an empty hint is none.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }

    /// What to do; empty when there is nothing to say.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// An error and its causes, with a hint.
    pub fn with_hint(error: &(dyn Error + 'static), hint: impl Into<String>) -> Self {
        Self::new(chain(error), hint)
    }
}

/// Writes what a command has to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    /// Whether stderr is a terminal, where progress may be drawn.
    pub interactive: bool,
}

impl Default for Printer {
    fn default() -> Self {
        Self { interactive: std::io::stderr().is_terminal() }
    }
}

#[expect(clippy::unused_self, reason = "only who was given the printer writes to stdout and stderr")]
impl Printer {
    /// Starts a progress bar with `what` before it.
    pub(crate) fn bar(self, what: &str) -> Bar {
        Bar::start(what, self.interactive)
    }

    /// A line of data.
    pub(crate) fn data(self, line: impl fmt::Display) {
        // Whoever read the other end has gone (`| head`): there is nobody left to tell.
        let _ = writeln!(stdout(), "{}", shown(&line.to_string()));
    }

    /// Data that brings its own line ends: a document for programs, or lines of which each name is [`shown`].
    pub(crate) fn raw(self, text: impl fmt::Display) {
        let _ = write!(stdout(), "{text}");
    }

    /// A line of talk.
    pub(crate) fn say(self, line: impl fmt::Display) {
        let _ = writeln!(stderr(), "{}", shown(&line.to_string()));
    }

    /// Something worth knowing that stops nothing.
    pub(crate) fn warn(self, line: impl fmt::Display) {
        let _ = writeln!(stderr(), "warning: {}", shown(&line.to_string()));
    }

    /// What to do next, where nothing failed.
    pub(crate) fn hint(self, line: impl fmt::Display) {
        let _ = writeln!(stderr(), "hint: {}", shown(&line.to_string()));
    }

    /// Why the command failed, and what to do.
    pub(crate) fn error(self, error: &anyhow::Error) {
        let _ = write!(stderr(), "{}", Self::error_text(error));
    }

    /// An `error:` line and, when there is something to do, a `hint:` line.
    pub(crate) fn error_text(error: &anyhow::Error) -> String {
        let hint = error.downcast_ref::<UserError>().map(UserError::hint).filter(|hint| !hint.is_empty());
        let hint = hint.map_or_else(String::new, |hint| format!("hint: {}\n", shown(hint)));
        format!("error: {}\n{hint}", shown(&chain(error.as_ref())))
    }
}

/// A number of bytes as a person reads it: `312 bytes`, `1.5 kB`, `3.1 MB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut unit = 1000;
    for name in ["kB", "MB", "GB"] {
        let tenths = bytes / (unit / 10);
        if bytes >= unit && (bytes / unit < 1000 || name == "GB") {
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
        unit *= 1000;
    }
    if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_read_by_people() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1549, "1.5 kB"),
            (52_428_800, "52.4 MB"),
            (7_000_000_000_000, "7000.0 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
