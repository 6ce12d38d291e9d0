//! The wire's reload, and what is meant by it.

use std::time::Duration;

use ksync_proto::radar::{LeftAlone, ReloadMode, ReloadReply, ReloadRequest, Reloaded, reload_reply};
use tonic::{Response, Status};

use super::validate;
use crate::reload::{Done, Mode, Outcome};

/// Longest time that an app or a container may be given to end.
const LONGEST_GRACE: Duration = Duration::from_secs(600);

/// Attachment and mode.
pub(super) fn read(request: ReloadRequest) -> Result<(String, Mode), Status> {
    let grace = Duration::from_millis(request.grace_ms).min(LONGEST_GRACE);
    let mode = match request.mode() {
        ReloadMode::Auto => Mode::Auto { grace },
        ReloadMode::Process => Mode::Process { grace },
        ReloadMode::Container => Mode::Container {
            policy: validate::person(&request.restart_policy, 32),
            grace: Duration::from_millis(request.stop_grace_ms).min(LONGEST_GRACE),
        },
        ReloadMode::Signal => Mode::Signal(validate::person(&request.signal, 16)),
        ReloadMode::Unspecified => {
            return Err(Status::invalid_argument("a reload needs a mode that this radar knows"));
        }
    };
    Ok((request.attachment_id, mode))
}

pub(super) fn reply(outcome: Outcome) -> Response<ReloadReply> {
    let outcome = match outcome {
        Outcome::Reloaded(Done { took, executed, dropped, .. }) => {
            reload_reply::Outcome::Reloaded(Reloaded {
                took_us: ksync_common::micros(took),
                executed,
                dropped: dropped.unwrap_or_default().to_owned(),
            })
        }
        Outcome::LeftAlone(reason) => reload_reply::Outcome::LeftAlone(LeftAlone { reason }),
    };
    Response::new(ReloadReply { outcome: Some(outcome) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ksync_proto::radar::{ReloadMode, ReloadRequest};

    use super::read;
    use crate::reload::Mode;

    #[test]
    fn each_mode_is_read_and_an_unknown_one_refused() {
        let of = |mode: i32| {
            let signal = "HUP\u{1b}".to_owned();
            read(ReloadRequest { mode, signal, restart_policy: "Always".into(), ..ReloadRequest::default() })
                .map(|(_, mode)| mode)
        };
        assert_eq!(of(ReloadMode::Auto.into()).unwrap(), Mode::Auto { grace: Duration::ZERO });
        assert_eq!(of(ReloadMode::Process.into()).unwrap(), Mode::Process { grace: Duration::ZERO });
        assert_eq!(of(ReloadMode::Signal.into()).unwrap(), Mode::Signal("HUP".into()));
        let container = of(ReloadMode::Container.into()).unwrap();
        assert!(matches!(container, Mode::Container { policy, .. } if policy == "Always"));
        for mode in [0, 99] {
            assert_eq!(of(mode).unwrap_err().code(), tonic::Code::InvalidArgument);
        }
    }
}
