//! The guards of this side, and a way to switch each off.
//!
//! They can be switched off in this crate's tests, and by `KSYNC_GUARDS_OFF` where the feature `test-guards` was built in,
//! which no release has.

#[cfg(all(feature = "test-guards", not(debug_assertions)))]
compile_error!("`test-guards` is for tests only");

/// What stands between an accident and somebody's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// The root must be the directory that it was, before anything of it is believed.
    LocalRoot,
}

/// Whether a guard stands: it does.
#[cfg(not(any(test, feature = "test-guards")))]
pub(crate) const fn on(_: Guard) -> bool {
    true
}

#[cfg(any(test, feature = "test-guards"))]
pub(crate) use switches::on;

#[cfg(any(test, feature = "test-guards"))]
mod switches {
    use super::Guard;

    /// As the variable spells them, with commas between.
    fn name(guard: Guard) -> &'static str {
        match guard {
            Guard::LocalRoot => "local-root",
        }
    }

    pub(crate) fn on(guard: Guard) -> bool {
        let off = std::env::var("KSYNC_GUARDS_OFF").unwrap_or_default();
        !off.split(',').any(|word| word.trim() == name(guard))
    }
}
