//! The guards against a container's end looking like the deletion of its files, and a way to switch each off.
//!
//! Each is to hold alone, so each has a test in which the others are off, and which fails when it is off too. They can be
//! switched off in this crate's tests, and by `KSYNC_GUARDS_OFF` where the feature `test-guards` was built in, which no
//! release has.

#[cfg(all(feature = "test-guards", not(debug_assertions)))]
compile_error!("`test-guards` is for tests only");

/// What stands between an accident and the local files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// The end of a container's init ends its endpoint.
    Pidfd,
    /// The container's directory is looked at after its files.
    RootCheck,
    /// A syncthing ends when radar, or its session, is gone.
    Lifeline,
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
            Guard::Pidfd => "pidfd",
            Guard::RootCheck => "root-check",
            Guard::Lifeline => "lifeline",
        }
    }

    pub(crate) fn on(guard: Guard) -> bool {
        let off = std::env::var("KSYNC_GUARDS_OFF").unwrap_or_default();
        let off = off.split(',').any(|word| word.trim() == name(guard));
        #[cfg(test)]
        let off = off || super::off::is(guard);
        !off
    }
}

#[cfg(test)]
pub(crate) mod off {
    use std::cell::RefCell;

    use super::Guard;

    thread_local! {
        static OFF: RefCell<Vec<Guard>> = const { RefCell::new(Vec::new()) };
    }

    /// They stand again when this is dropped.
    pub(crate) struct Off(());

    /// All but these are off for this thread, which is all of a test's tasks.
    pub(crate) fn all_but(standing: &[Guard]) -> Off {
        let all = [Guard::Pidfd, Guard::RootCheck, Guard::Lifeline];
        OFF.set(all.into_iter().filter(|guard| !standing.contains(guard)).collect());
        Off(())
    }

    pub(super) fn is(guard: Guard) -> bool {
        OFF.with_borrow(|off| off.contains(&guard))
    }

    impl Drop for Off {
        fn drop(&mut self) {
            OFF.take();
        }
    }
}
