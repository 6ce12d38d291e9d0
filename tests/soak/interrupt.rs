//! Ctrl-C and TERM end the run in order: what waits gives up, and everything is taken away as at any other end.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};

const PAUSE: Duration = Duration::from_millis(50);

static WANTED: AtomicBool = AtomicBool::new(false);

/// From now on, these signals end nothing by themselves.
pub(crate) fn listen() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt()).expect("SIGINT"), signal(SignalKind::terminate()).expect("SIGTERM"))
    };
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                eprintln!("ending; everything is taken away first");
                WANTED.store(true, Ordering::SeqCst);
            }
        });
    });
}

/// Whether the run is to end.
pub(crate) fn wanted() -> bool {
    WANTED.load(Ordering::SeqCst)
}

/// Looks until there is a result; after the limit, or when the run is to end, what was seen last.
pub(crate) fn wait<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let begun = Instant::now();
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(seen) if wanted() => return Err(format!("interrupted while waiting for {what}: {seen}")),
            Err(seen) if begun.elapsed() > limit => {
                return Err(format!("waited {limit:?} for {what}; last seen: {seen}"));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Lets time pass, unless the run is to end.
pub(crate) fn pass(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time && !wanted() {
        thread::sleep(PAUSE.min(time.saturating_sub(begun.elapsed())));
    }
}
