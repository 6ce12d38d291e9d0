//! The run's own clock.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use ksync_judge::Micros;

static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The run begins now.
pub(crate) fn begin() {
    LazyLock::force(&BEGUN);
}

/// Since the run began, or was first asked for.
pub(crate) fn elapsed() -> Duration {
    BEGUN.elapsed()
}

pub(crate) fn now() -> Micros {
    micros(elapsed())
}

pub(crate) fn micros(time: Duration) -> Micros {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
