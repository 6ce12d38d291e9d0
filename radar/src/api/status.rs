//! Errors as gRPC statuses that a person understands: one sentence, with its causes.
//!
//! Invariant: what the caller can do something about has a code of its own; INTERNAL is radar's own trouble.
//! UNAVAILABLE is the transport's word for a broken connection, so radar says it only of its own end.

use ksync_common::chain;
use std::error::Error as StdError;

use tonic::{Code, Status};

use crate::{
    container::{init_process, mount, runtime},
    reload,
};

fn status(code: Code, error: &dyn StdError) -> Status {
    Status::new(code, chain(error))
}

/// Of resolving a container.
pub(crate) fn of_runtime(error: &runtime::Error) -> Status {
    use runtime::Error as E;
    let code = match error {
        E::BadId { .. } => Code::InvalidArgument,
        E::UnknownScheme { .. } | E::Sandboxed { .. } | E::NoRecord { .. } => Code::Unimplemented,
        E::NotFound { .. } => Code::NotFound,
        E::NotRunning { .. } | E::NoSocket { .. } | E::Asked { .. } => Code::FailedPrecondition,
    };
    status(code, error)
}

/// Of holding a container's process.
pub(crate) fn of_life(error: &init_process::Error) -> Status {
    match error {
        init_process::Error::Runtime(error) => of_runtime(error),
        init_process::Error::Ended { .. } => status(Code::NotFound, error),
        init_process::Error::Kernel { .. } => status(Code::Internal, error),
    }
}

/// Of opening, binding and unbinding.
pub(crate) fn of_mount(error: &mount::Error) -> Status {
    use mount::Error as E;
    let code = match error {
        E::BadPath { .. } | E::WholeRoot { .. } => Code::InvalidArgument,
        E::Ended { .. } => Code::NotFound,
        E::UserNamespace | E::OldKernel { .. } => Code::Unimplemented,
        E::NotADirectory { .. }
        | E::Dangling { .. }
        | E::ReadOnly { .. }
        | E::KernelFs { .. }
        | E::NotWritable { .. } => Code::FailedPrecondition,
        E::Kernel { .. } | E::WrongDirectory { .. } | E::Thread(_) => Code::Internal,
    };
    status(code, error)
}

/// Of reloading an app.
pub(crate) fn of_reload(error: &reload::Error) -> Status {
    use reload::Error as E;
    let code = match error {
        E::Runtime(error) => return of_runtime(error),
        E::Ended => Code::NotFound,
        E::Stopped { .. }
        | E::Traced { .. }
        | E::Start(_)
        | E::Trace(_)
        | E::Signal(_)
        | E::NoVolume { .. }
        | E::NoRestart { .. } => Code::FailedPrecondition,
        E::Look(_) => Code::Internal,
    };
    status(code, error)
}

/// Of syncthing.
pub(crate) fn of_syncthing(error: &syncthing::Error) -> Status {
    let code = if error.is_connection() { Code::FailedPrecondition } else { Code::Internal };
    status(code, error)
}

/// Of reading or writing a tree.
pub(crate) fn of_tree(error: &ksync_tree::Error) -> Status {
    use ksync_tree::Error as E;
    let code = match error {
        E::BadPath { .. } | E::Pattern { .. } | E::Refused { .. } => Code::InvalidArgument,
        E::NotADirectory { .. } | E::NotEmpty { .. } | E::WrongKind { .. } => Code::FailedPrecondition,
        E::Changed { .. } => Code::Aborted,
        E::TooLarge { .. } => Code::ResourceExhausted,
        E::Stopped => Code::Cancelled,
        E::Stream { .. } | E::Io { .. } => Code::Internal,
    };
    status(code, error)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use ksync_common::chain;

    use super::{of_life, of_runtime};
    use crate::container::{init_process, runtime};

    #[test]
    fn a_missing_runtime_does_not_look_like_a_broken_connection() {
        let error = runtime::Error::NoSocket { scheme: runtime::Scheme::CriO, tried: "/x".into() };
        assert_eq!(of_runtime(&error).code(), Code::FailedPrecondition);
    }

    #[test]
    fn a_transparent_error_is_said_once() {
        let error = init_process::Error::Runtime(runtime::Error::BadId { id: "x".into() });
        let status = of_life(&error);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            status.message(),
            "`x` is not a container id with its runtime's scheme, such as `containerd://...`"
        );
        assert_eq!(chain(&error), status.message());
    }
}
