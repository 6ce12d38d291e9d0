//! containerd and CRI-O: the Container Runtime Interface, version 1, over the runtime's socket.
//!
//! The init's pid is in the verbose answer: a JSON object under `info["info"]` with the key `pid`, on both.

use std::path::PathBuf;

use futures::{FutureExt, future::BoxFuture};
use hyper_util::rt::TokioIo;
use ksync_proto::cri::{
    ContainerState, ContainerStatus, ContainerStatusRequest, ContainerStatusResponse, StopContainerRequest,
    runtime_service_client::RuntimeServiceClient,
};
use tokio::net::UnixStream;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Uri},
};
use tower::service_fn;

use super::{
    client::{ContainerProcess, Runtime},
    error::Error,
    record::{self, Record},
    sandbox::{self, Sandbox},
    scheme::Scheme,
};

/// A CRI runtime behind one socket.
pub(super) struct Cri<'a> {
    scheme: Scheme,
    socket: PathBuf,
    asked: &'a (dyn Fn(String) -> Error + Send + Sync),
}

impl<'a> Cri<'a> {
    /// `asked` makes the error for a failed question.
    pub(super) fn on(
        scheme: Scheme,
        socket: PathBuf,
        asked: &'a (dyn Fn(String) -> Error + Send + Sync),
    ) -> Self {
        Self { scheme, socket, asked }
    }

    async fn connect(&self) -> Result<Channel, Error> {
        let socket = self.socket.clone();
        let connect = service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        // The address only names the authority: the connection is the Unix socket.
        Endpoint::from_static("http://localhost").connect_with_connector(connect).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(|e| format!(": {e}")).unwrap_or_default();
            (self.asked)(format!("{error}{cause}"))
        })
    }

    async fn status(&self, id: &str) -> Result<ContainerStatusResponse, Error> {
        let mut client = RuntimeServiceClient::new(self.connect().await?);
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
        let answer = client.container_status(request).await.map_err(|status| self.refused(id, &status))?;
        of(self.scheme, id, answer.into_inner())
    }

    fn refused(&self, id: &str, status: &Status) -> Error {
        // CRI-O and older containerd say "not found" under another code.
        if status.code() == Code::NotFound || status.message().contains("not found") {
            Error::NotFound { scheme: self.scheme, id: id.to_owned() }
        } else {
            (self.asked)(status.message().to_owned())
        }
    }

    async fn end(&self, id: &str, seconds: u32) -> Result<(), Error> {
        let mut client = RuntimeServiceClient::new(self.connect().await?);
        let request = StopContainerRequest { container_id: id.to_owned(), timeout: seconds.into() };
        client.stop_container(request).await.map_err(|status| self.refused(id, &status)).map(drop)
    }
}

impl Runtime for Cri<'_> {
    fn resolve<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<ContainerProcess, Error>> {
        async move { read(id, &self.status(id).await?) }.boxed()
    }

    fn record<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Record, Error>> {
        let missing = || Error::NoRecord { scheme: self.scheme, id: id.to_owned() };
        async move { record_in(&self.status(id).await?).ok_or_else(missing) }.boxed()
    }

    fn stop<'a>(&'a self, id: &'a str, seconds: u32) -> BoxFuture<'a, Result<(), Error>> {
        self.end(id, seconds).boxed()
    }
}

/// The answer, where it is of the container that was asked for.
fn of(scheme: Scheme, id: &str, answer: ContainerStatusResponse) -> Result<ContainerStatusResponse, Error> {
    let answered = answer.status.as_ref().map(|status| status.id.as_str()).unwrap_or_default();
    if answered == id {
        return Ok(answer);
    }
    Err(Error::Another { scheme, id: id.to_owned(), answered: answered.to_owned() })
}

fn read(id: &str, answer: &ContainerStatusResponse) -> Result<ContainerProcess, Error> {
    let id = id.to_owned();
    let state = answer.status.as_ref().map_or(ContainerState::ContainerUnknown, ContainerStatus::state);
    let name = match state {
        ContainerState::ContainerRunning => None,
        ContainerState::ContainerCreated => Some("created but not started"),
        ContainerState::ContainerExited => Some("exited"),
        ContainerState::ContainerUnknown => Some("in an unknown state"),
    };
    if let Some(state) = name {
        return Err(Error::NotRunning { id, state: state.to_owned() });
    }
    let info = verbose(answer).unwrap_or_default();
    // containerd's; CRI-O has no such key.
    if let Some(sandbox) = info["runtimeType"].as_str().and_then(sandbox::named) {
        return Err(Error::Sandboxed { id, sandbox });
    }
    let pid = info["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1);
    let pid = pid.ok_or(Error::Sandboxed { id, sandbox: Sandbox::Unknown })?;
    Ok(ContainerProcess { pid, base_path: None })
}

fn verbose(answer: &ContainerStatusResponse) -> Option<serde_json::Value> {
    answer.info.get("info").and_then(|info| serde_json::from_str(info).ok())
}

/// The runtime's specification is in the verbose answer too, under the key `runtimeSpec`, on both.
fn record_in(answer: &ContainerStatusResponse) -> Option<Record> {
    record::in_runtime_spec(verbose(answer)?["runtimeSpec"].take())
}

#[cfg(test)]
mod tests {
    use ksync_proto::cri::{ContainerState, ContainerStatus, ContainerStatusResponse};

    use super::{ContainerProcess, Error, Sandbox, Scheme, of, read, record_in};

    fn answer(state: ContainerState, info: &str) -> ContainerStatusResponse {
        ContainerStatusResponse {
            status: Some(ContainerStatus { id: "a".into(), state: state.into() }),
            info: [("info".to_owned(), info.to_owned())].into(),
        }
    }

    #[test]
    fn an_answer_for_another_container_is_none() {
        let answer = || answer(ContainerState::ContainerRunning, "{}");
        assert!(of(Scheme::Containerd, "a", answer()).is_ok());
        let error = of(Scheme::Containerd, "b", answer()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "containerd on this node was asked for container `b`, and has answered for `a`"
        );
        assert!(of(Scheme::Containerd, "a", ContainerStatusResponse::default()).is_err());
    }

    #[test]
    fn the_pid_is_in_the_verbose_answer() {
        let info = r#"{"sandboxID":"s","pid":4711,"removing":false}"#;
        assert_eq!(
            read("a", &answer(ContainerState::ContainerRunning, info)),
            Ok(ContainerProcess { pid: 4711, base_path: None })
        );
    }

    #[test]
    fn what_does_not_run_or_has_no_pid_is_told_apart() {
        let exited = read("a", &answer(ContainerState::ContainerExited, r#"{"pid":0}"#));
        assert_eq!(exited, Err(Error::NotRunning { id: "a".into(), state: "exited".into() }));
        for info in [r#"{"pid":0}"#, "{}", "not json"] {
            let sandboxed = read("a", &answer(ContainerState::ContainerRunning, info));
            assert_eq!(
                sandboxed,
                Err(Error::Sandboxed { id: "a".into(), sandbox: Sandbox::Unknown }),
                "{info}"
            );
        }
    }

    /// Their shims give a process, but it is none of the container's.
    #[test]
    fn containers_of_gvisor_and_kata_are_refused() {
        for (kind, sandbox) in [
            ("io.containerd.runsc.v1", Sandbox::Gvisor),
            ("io.containerd.kata.v2", Sandbox::Kata),
            ("io.containerd.kata-clh.v2", Sandbox::Kata),
        ] {
            let info = format!(
                r#"{{"sandboxID":"s","pid":4711,"removing":false,"snapshotKey":"a","snapshotter":"overlayfs",
                    "runtimeType":"{kind}","runtimeOptions":null}}"#
            );
            let refused = read("a", &answer(ContainerState::ContainerRunning, &info));
            assert_eq!(refused, Err(Error::Sandboxed { id: "a".into(), sandbox }), "{kind}");
        }
        let info = r#"{"pid":4711,"runtimeType":"io.containerd.runc.v2"}"#;
        assert!(read("a", &answer(ContainerState::ContainerRunning, info)).is_ok());
        let error = Error::Sandboxed { id: "a".into(), sandbox: Sandbox::Gvisor };
        assert_eq!(
            error.to_string(),
            "container `a` runs in a sandbox (gVisor): the node can't reach its files, so it can't be synced"
        );
    }

    #[test]
    fn the_start_is_in_the_verbose_answer() {
        let info = r#"{"pid":1,"runtimeSpec":{"process":{"args":["/a","b"],"cwd":"/c"}}}"#;
        let record = record_in(&answer(ContainerState::ContainerRunning, info)).unwrap();
        assert_eq!((record.args.join(" ").as_str(), record.cwd.as_str()), ("/a b", "/c"));
        assert_eq!(record_in(&answer(ContainerState::ContainerRunning, r#"{"pid":1}"#)), None);
    }
}
