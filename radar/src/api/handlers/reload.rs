//! The wire's reload, and what is meant by it.

use std::time::Duration;

use ksync_proto::radar::{LeftAlone, ReloadMode, ReloadReply, ReloadRequest, Reloaded, reload_reply};
use tonic::{Response, Status};

use super::validate;
use crate::reload::{Done, Mode, Outcome};

/// Longest time that an app may be given to end in its own way: its thread waits with it.
const LONGEST_GRACE: Duration = Duration::from_secs(60);
/// Longest time that a container may be given by its runtime to end.
const LONGEST_STOP: Duration = Duration::from_secs(600);

/// Attachment and mode.
pub(super) fn read(request: ReloadRequest) -> Result<(String, Mode), Status> {
    let grace = within("grace of a reload", request.grace_ms, LONGEST_GRACE)?;
    let mode = match request.mode() {
        ReloadMode::Auto => Mode::Auto { grace },
        ReloadMode::Process => Mode::Process { grace },
        ReloadMode::Container => Mode::Container {
            policy: validate::person(&request.restart_policy, 32),
            grace: within("grace of a stop", request.stop_grace_ms, LONGEST_STOP)?,
        },
        ReloadMode::Signal => Mode::Signal(validate::person(&request.signal, 16)),
        ReloadMode::Unspecified => {
            return Err(Status::invalid_argument("a reload needs a mode that this radar knows"));
        }
    };
    Ok((request.attachment_id, mode))
}

fn within(what: &str, milliseconds: u64, limit: Duration) -> Result<Duration, Status> {
    let time = Duration::from_millis(milliseconds);
    if time > limit {
        return Err(Status::invalid_argument(format!("a {what} of {time:?}, more than {limit:?}")));
    }
    Ok(time)
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
    fn a_grace_has_a_limit_and_names_it() {
        let of = |mode: ReloadMode, grace_ms, stop_grace_ms| {
            let mode = mode.into();
            read(ReloadRequest { mode, grace_ms, stop_grace_ms, ..ReloadRequest::default() })
        };
        assert!(of(ReloadMode::Process, 60_000, 0).is_ok() && of(ReloadMode::Container, 0, 600_000).is_ok());
        let said = |refused: Result<_, tonic::Status>| refused.unwrap_err().message().to_owned();
        assert_eq!(said(of(ReloadMode::Process, 60_001, 0)), "a grace of a reload of 60.001s, more than 60s");
        assert_eq!(said(of(ReloadMode::Container, 0, 601_000)), "a grace of a stop of 601s, more than 600s");
        assert!(of(ReloadMode::Auto, u64::MAX, 0).is_err());
    }

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
