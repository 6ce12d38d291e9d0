//! Errors as gRPC statuses that a person understands: one sentence, with its causes.
//!
//! Invariant: an error that the caller can do something about has a code of its own; INTERNAL is radar's own trouble.
//! UNAVAILABLE is the transport's word for a broken connection, so radar says it only of its own end. UNIMPLEMENTED is an
//! older radar's word for a call that it does not have, so no answer to a call is that.

use ksync_common::chain;
use std::error::Error as StdError;

use tonic::{Code, Status};

use crate::{
    container::{init_process, mount, runtime},
    reload,
    sync::{endpoints, registry, spools},
};

fn status(code: Code, error: &dyn StdError) -> Status {
    Status::new(code, chain(error))
}

/// Of an error of resolving a container.
pub(crate) fn from_runtime(error: &runtime::Error) -> Status {
    use runtime::Error as E;
    let code = match error {
        E::BadId { .. } => Code::InvalidArgument,
        E::NotFound { .. } => Code::NotFound,
        E::UnknownScheme { .. }
        | E::Sandboxed { .. }
        | E::NoRecord { .. }
        | E::NotRunning { .. }
        | E::Another { .. }
        | E::NoSocket { .. }
        | E::Asked { .. } => Code::FailedPrecondition,
    };
    status(code, error)
}

/// Of an error of holding a container's init process.
pub(crate) fn from_init_process(error: &init_process::Error) -> Status {
    match error {
        init_process::Error::Runtime(error) => from_runtime(error),
        init_process::Error::Ended { .. } => status(Code::NotFound, error),
        init_process::Error::Kernel { .. } => status(Code::Internal, error),
    }
}

/// Of an error of opening, binding and unbinding.
pub(crate) fn from_mount(error: &mount::Error) -> Status {
    use mount::Error as E;
    let code = match error {
        E::BadPath { .. } | E::WholeRoot { .. } => Code::InvalidArgument,
        E::Ended { .. } => Code::NotFound,
        E::Idmapped { .. }
        | E::NoPlace { .. }
        | E::OldKernel { .. }
        | E::NotADirectory { .. }
        | E::Dangling { .. }
        | E::ReadOnly { .. }
        | E::KernelFs { .. }
        | E::Denied(_)
        | E::NotWritable { .. } => Code::FailedPrecondition,
        E::Kernel { .. } | E::Thread(_) => Code::Internal,
    };
    status(code, error)
}

/// Of an error of reloading an app.
pub(crate) fn from_reload(error: &reload::Error) -> Status {
    use reload::Error as E;
    let code = match error {
        E::Runtime(error) => return from_runtime(error),
        E::Ended => Code::NotFound,
        E::Stopped { .. }
        | E::Traced { .. }
        | E::Start(_)
        | E::Filtered { .. }
        | E::Reexec(_)
        | E::Signal(_)
        | E::NoVolume { .. }
        | E::NoRestart { .. } => Code::FailedPrecondition,
        E::Look(_) => Code::Internal,
    };
    status(code, error)
}

/// Of an error of syncthing's.
pub(crate) fn from_syncthing(error: &syncthing::Error) -> Status {
    let code = if error.is_connection() { Code::FailedPrecondition } else { Code::Internal };
    status(code, error)
}

/// Of an error of what a session has for its large files.
pub(crate) fn from_spools(error: &spools::Error) -> Status {
    use spools::Error as E;
    let code = match error {
        E::Spool(error) => return from_spool(error),
        E::NoSession { .. } => Code::FailedPrecondition,
        E::TooMany => Code::ResourceExhausted,
        E::Create { .. } | E::Keys(_) => Code::Internal,
    };
    status(code, error)
}

/// Of an error of making a spool.
pub(crate) fn from_spool(error: &ksync_spool::Error) -> Status {
    match error {
        ksync_spool::Error::Syncthing(error) => from_syncthing(error),
        _ => status(Code::Internal, error),
    }
}

/// Of an error of reading or writing a tree.
pub(crate) fn from_tree(error: &ksync_tree::Error) -> Status {
    use ksync_tree::Error as E;
    let code = match error {
        E::BadPath { .. } | E::Pattern { .. } => Code::InvalidArgument,
        E::NotADirectory { .. } | E::NotEmpty { .. } | E::WrongKind { .. } => Code::FailedPrecondition,
        E::Changed { .. } => Code::Aborted,
        E::Io { .. } => Code::Internal,
    };
    status(code, error)
}

impl From<endpoints::Error> for Status {
    fn from(error: endpoints::Error) -> Self {
        use endpoints::Error as E;
        let code = match &error {
            E::Tree(error) => return from_tree(error),
            E::NotOpen { .. } => Code::NotFound,
            E::Busy { .. } | E::Lost(_) | E::Changed { .. } => Code::Aborted,
            E::LeftOut { .. } => Code::FailedPrecondition,
            E::Denied { .. } => Code::PermissionDenied,
            E::Staged { .. } => Code::ResourceExhausted,
            E::Watch(_) | E::Thread { .. } | E::Start { .. } | E::Read { .. } => Code::Internal,
        };
        status(code, &error)
    }
}

impl From<endpoints::TooMuch> for Status {
    fn from(error: endpoints::TooMuch) -> Self {
        status(Code::ResourceExhausted, &error)
    }
}

/// Of an attachment without a thread to work on.
pub(crate) fn no_worker(error: &std::io::Error) -> Status {
    Status::internal(format!("have a worker of the attachment: {error}"))
}

/// Of a message that can't be read.
pub(crate) fn from_wire(error: &ksync_wire::Error) -> Status {
    status(Code::InvalidArgument, error)
}

impl From<registry::Error> for Status {
    fn from(error: registry::Error) -> Self {
        use registry::Error as E;
        let code = match error {
            E::Stopping => Code::Unavailable,
            E::NoSession { .. } => Code::FailedPrecondition,
            E::NotProved { .. } => Code::Unauthenticated,
            E::NotHeld { .. } => Code::NotFound,
            E::StaleEpoch { .. } => Code::Aborted,
            E::TooMany { .. } => Code::ResourceExhausted,
            E::AlreadySynced { .. } | E::Overlaps { .. } | E::HeldByOther { .. } => Code::AlreadyExists,
        };
        status(code, &error)
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use ksync_common::chain;

    use super::{from_init_process, from_mount, from_runtime};
    use crate::container::{init_process, mount, runtime};

    #[test]
    fn a_missing_runtime_does_not_look_like_a_broken_connection() {
        let error = runtime::Error::NoSocket { scheme: runtime::Scheme::CriO, tried: "/x".into() };
        assert_eq!(from_runtime(&error).code(), Code::FailedPrecondition);
    }

    /// `create` takes the latter for a radar that can't tell, and goes on.
    #[test]
    fn a_container_that_is_not_supported_does_not_look_like_a_missing_call() {
        let sandboxed = runtime::Error::Sandboxed { id: "a".into(), sandbox: runtime::Sandbox::Gvisor };
        assert_eq!(from_runtime(&sandboxed).code(), Code::FailedPrecondition);
        assert_eq!(
            from_mount(&mount::Error::OldKernel { call: "open_tree" }).code(),
            Code::FailedPrecondition
        );
    }

    #[test]
    fn a_transparent_error_is_said_once() {
        let error = init_process::Error::Runtime(runtime::Error::BadId { id: "x".into() });
        let status = from_init_process(&error);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            status.message(),
            "`x` is not a whole container id with its runtime's scheme, `containerd://` and 64 hex digits for example"
        );
        assert_eq!(chain(&error), status.message());
    }
}
