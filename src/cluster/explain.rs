//! What kube's errors mean to a person: who was refused what, who does not answer, whose login is over.

use std::{error::Error, io, sync::Arc};

use kube::{client::AuthError, core::Status, runtime::watcher};

use crate::{printer::UserError, tunnel};
use ksync_common::chain;

/// Why a request was not even sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(in crate::cluster) struct Denied(pub(in crate::cluster) Arc<str>);

/// A failed call in one sentence, with what to do.
pub(crate) fn explain(error: &kube::Error, server: &str) -> UserError {
    match error {
        kube::Error::Api(status) => refusal(status),
        kube::Error::Auth(error) => credentials(error),
        other => match (first::<Denied>(other), first::<AuthError>(other)) {
            (Some(denied), _) => UserError::new(denied.to_string(), ""),
            (None, Some(error)) => credentials(error),
            (None, None) => unreachable(other, server),
        },
    }
}

/// Whether a call was not even made, for want of credentials.
pub(crate) fn is_denied(error: &kube::Error) -> bool {
    first::<Denied>(error).is_some()
}

/// A broken watch in one sentence.
pub(crate) fn explain_watch(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => explain(error, "").to_string(),
        watcher::Error::WatchError(status) => refusal(status).to_string(),
        watcher::Error::NoResourceVersion => chain(error),
    }
}

/// Whether a broken watch is a matter of what was asked for, so that other watches may go on: the API server answered, and
/// knows who asked.
pub(crate) fn is_refusal(error: &watcher::Error) -> bool {
    // 401 is the login's, 429 the server's load.
    let refused = |code: u16| (400..500).contains(&code) && ![401, 408, 429].contains(&code);
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => {
            matches!(error, kube::Error::Api(status) if refused(status.code))
        }
        watcher::Error::WatchError(status) => refused(status.code),
        watcher::Error::NoResourceVersion => false,
    }
}

/// Whether the watch is only too old to be gone on with: it is to be begun anew, and nothing is wrong.
pub(crate) fn is_expired(error: &watcher::Error) -> bool {
    let (watcher::Error::WatchStartFailed(kube::Error::Api(status)) | watcher::Error::WatchError(status)) =
        error
    else {
        return false;
    };
    status.code == 410
}

fn refusal(status: &Status) -> UserError {
    match status.code {
        401 => UserError::new(
            "the cluster does not accept the credentials; the login may be over",
            "log in again; `kubectl get pods` does it where a plugin is set up",
        ),
        403 => match forbidden(&status.message) {
            Some(forbidden) => forbidden,
            None => UserError::new(format!("the cluster refuses it: {}", status.message), ""),
        },
        _ => UserError::new(format!("the cluster refuses it: {}", status.message), ""),
    }
}

/// From `pods "x" is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "n": ...`.
fn forbidden(message: &str) -> Option<UserError> {
    let (_, rest) = message.split_once("User \"")?;
    let (user, rest) = rest.split_once("\" cannot ")?;
    let (verb, rest) = rest.split_once(" resource \"")?;
    let (resource, rest) = rest.split_once('"')?;
    let namespace = rest.split_once("in the namespace \"").and_then(|(_, rest)| rest.split_once('"'));
    let namespace = namespace.map(|(namespace, _)| namespace);
    let (place, flag) = match namespace {
        Some(namespace) => (format!("in namespace `{namespace}`"), format!(" -n {namespace}")),
        None => ("at cluster scope".to_owned(), String::new()),
    };
    let is_radars = namespace == Some(tunnel::NAMESPACE) && ["pods", "pods/portforward"].contains(&resource);
    let ask = if is_radars {
        "ask an administrator, who gives it to a group with `kubectl ksync init --users GROUP`"
    } else {
        "ask for the right to"
    };
    Some(UserError::new(
        format!("user `{user}` may not {verb} `{resource}` {place}"),
        format!("{ask}; `kubectl auth can-i {verb} {resource}{flag}` tells when it is there"),
    ))
}

fn credentials(error: &AuthError) -> UserError {
    let hint = "log in again; `kubectl get pods` runs the same plugin in the foreground";
    match error {
        AuthError::AuthExecStart(source) => UserError::new(
            format!("can't run the kubeconfig's credential plugin: {source}"),
            "is it installed and in PATH?",
        ),
        AuthError::AuthExecRun { cmd, out } => {
            let said = String::from_utf8_lossy(&out.stderr);
            let said = said.trim().lines().last().unwrap_or("without a word").to_owned();
            UserError::new(format!("the credential plugin `{cmd}` failed: {said}"), hint)
        }
        other => UserError::new(format!("can't get credentials for the cluster: {}", chain(other)), hint),
    }
}

fn first<T: Error + 'static>(error: &kube::Error) -> Option<&T> {
    causes(error).find_map(|cause| cause.downcast_ref::<T>())
}

fn unreachable(error: &kube::Error, server: &str) -> UserError {
    let io = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    let at = if server.is_empty() { String::new() } else { format!(" at `{server}`") };
    let reason = match io.map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(io::ErrorKind::TimedOut) => "it did not answer in time".to_owned(),
        // The innermost cause says it best; what is around it only repeats that a connection failed.
        _ => causes(error).last().map_or_else(|| error.to_string(), ToString::to_string),
    };
    UserError::new(
        format!("can't reach the cluster{at}: {reason}"),
        "is it running, and is this the right context? `kubectl config get-contexts` lists them",
    )
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| inner(*error))
}

/// An `io::Error` made of another error hides it from `source`.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use kube::runtime::watcher;

    use super::{forbidden, is_expired, is_refusal, refusal};

    #[test]
    fn a_403_says_who_may_not_do_what_where() {
        let message = "daemonsets.apps \"ksync\" is forbidden: User \"system:serviceaccount:a:b\" cannot patch resource \"daemonsets\" in API group \"apps\" in the namespace \"ksync-system\"";
        let error = forbidden(message).unwrap();
        assert_eq!(
            error.to_string(),
            "user `system:serviceaccount:a:b` may not patch `daemonsets` in namespace `ksync-system`"
        );
        assert!(error.hint().contains("kubectl auth can-i patch daemonsets -n ksync-system"));
        let message = "namespaces \"x\" is forbidden: User \"u\" cannot create resource \"namespaces\" in API group \"\" at the cluster scope";
        assert_eq!(
            forbidden(message).unwrap().to_string(),
            "user `u` may not create `namespaces` at cluster scope"
        );
        let other = Status { code: 403, message: "quota exceeded".into(), ..Status::default() };
        assert_eq!(refusal(&other).to_string(), "the cluster refuses it: quota exceeded");
    }

    #[test]
    fn what_was_asked_for_is_told_from_who_cannot_be_asked() {
        let status = |code| Box::new(Status { code, ..Status::default() });
        for (code, refused) in
            [(400, true), (403, true), (404, true), (401, false), (429, false), (503, false)]
        {
            let api = || kube::Error::Api(status(code));
            for error in [
                watcher::Error::InitialListFailed(api()),
                watcher::Error::WatchStartFailed(api()),
                watcher::Error::WatchError(status(code)),
            ] {
                assert_eq!((is_refusal(&error), is_expired(&error)), (refused, false), "{error}");
            }
        }
        assert!(is_expired(&watcher::Error::WatchError(status(410))));
        let broken = kube::Error::Service(std::io::Error::other("reset").into());
        assert!(!is_refusal(&watcher::Error::WatchStartFailed(broken)));
    }

    #[tokio::test]
    async fn nobody_there_names_the_server() {
        crate::tls::install();
        let config = kube::Config::new("https://127.0.0.1:1".parse().unwrap());
        let client = crate::cluster::connect::client(config).unwrap();
        let error = client.apiserver_version().await.unwrap_err();
        let told = super::explain(&error, "https://127.0.0.1:1");
        assert_eq!(told.to_string(), "can't reach the cluster at `https://127.0.0.1:1`: connection refused");
    }
}
