//! Several things tried in turn on one deployment: a step that fails is noted and the next one still tried.

use std::{any::Any, panic};

/// A name and what to do.
pub(crate) type Step<'a, T> = (&'a str, &'a dyn Fn(&T));

/// Runs each step and panics at the end with all that failed.
#[track_caller]
pub(crate) fn steps<T>(on: &T, steps: &[Step<'_, T>]) {
    let mut failed = Vec::new();
    for (name, step) in steps {
        if let Err(why) = panic::catch_unwind(panic::AssertUnwindSafe(|| step(on))) {
            failed.push(format!("{name}: {}", words(&*why)));
        }
    }
    assert!(failed.is_empty(), "{} of {} steps failed:\n{}", failed.len(), steps.len(), failed.join("\n"));
}

/// What a panic said.
pub(crate) fn words(why: &dyn Any) -> &str {
    let text = why.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| why.downcast_ref::<&str>().copied()).unwrap_or("panicked")
}
