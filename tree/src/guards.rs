//! The guard of what is replaced and removed here, and a way to switch it off.
//!
//! It can be switched off in tests, and by `KSYNC_GUARDS_OFF` where the feature `test-guards` was built in, which no release
//! has.

#[cfg(all(feature = "test-guards", not(debug_assertions)))]
compile_error!("`test-guards` is for tests only");

/// What stands between a write and its loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// What was exchanged is judged, and goes back where it is not what was known.
    CompareAndSwap,
}

/// Whether a guard stands: it does.
#[cfg(not(any(test, feature = "test-guards")))]
pub(crate) const fn on(_: Guard) -> bool {
    true
}

#[cfg(any(test, feature = "test-guards"))]
pub(crate) use switches::on;

#[cfg(any(test, feature = "test-guards"))]
pub use switches::{Off, off};

#[cfg(any(test, feature = "test-guards"))]
mod switches {
    use super::Guard;
    use std::cell::Cell;

    thread_local! {
        static OFF: Cell<bool> = const { Cell::new(false) };
    }

    /// They stand again when this is dropped.
    #[derive(Debug)]
    #[must_use]
    pub struct Off(());

    /// All are off for this thread.
    pub fn off() -> Off {
        OFF.set(true);
        Off(())
    }

    impl Drop for Off {
        fn drop(&mut self) {
            OFF.set(false);
        }
    }

    /// As the variable spells them, with commas between.
    fn name(guard: Guard) -> &'static str {
        match guard {
            Guard::CompareAndSwap => "compare-and-swap",
        }
    }

    pub(crate) fn on(guard: Guard) -> bool {
        let off = std::env::var("KSYNC_GUARDS_OFF").unwrap_or_default();
        !OFF.get() && !off.split(',').any(|word| word.trim() == name(guard))
    }
}
