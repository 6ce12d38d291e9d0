//! A bar for something that takes a while: drawn on stderr when that is a terminal, else silent.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::shown;

/// A progress bar in bytes; dropped, it is gone from the screen.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// Starts a bar with `what` before it; `drawn` where a person looks at stderr.
    pub(super) fn start(what: &str, drawn: bool) -> Self {
        let target = if drawn { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// Tells what is being waited for, where there is nothing to count.
    pub(crate) fn tell(&self, what: &str) {
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            self.0.set_style(style);
        }
        self.0.set_message(shown(what).into_owned());
    }

    /// How far it is, and in total where that is known.
    pub(crate) fn advance(&self, done: u64, total: Option<u64>) {
        if let Some(total) = total
            && self.0.length() != Some(total)
        {
            self.0.set_length(total);
            if let Ok(style) =
                ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}")
            {
                self.0.set_style(style.progress_chars("=> "));
            }
        }
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
