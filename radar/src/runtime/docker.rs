//! Docker: `containers/{id}/json` over its socket, in a version of the API that both sides know.

use std::path::PathBuf;

use bollard::{API_DEFAULT_VERSION, errors::Error as DockerError, models::ContainerInspectResponse};
use futures::{FutureExt, future::BoxFuture};

use super::{ContainerProcess, Error, LIMIT, Runtime, Scheme};

/// Docker behind one socket.
pub(super) struct Docker<'a> {
    socket: PathBuf,
    asked: &'a (dyn Fn(String) -> Error + Send + Sync),
}

impl<'a> Docker<'a> {
    /// `asked` makes the error for a failed question.
    pub(super) fn on(socket: PathBuf, asked: &'a (dyn Fn(String) -> Error + Send + Sync)) -> Self {
        Self { socket, asked }
    }

    async fn inspect(&self, id: &str) -> Result<ContainerProcess, Error> {
        let failed = |error: DockerError| match error {
            DockerError::DockerResponseServerError { status_code: 404, .. } => {
                Error::NotFound { scheme: Scheme::Docker, id: id.to_owned() }
            }
            other => (self.asked)(chain(&other)),
        };
        let path = self.socket.to_string_lossy();
        let docker = bollard::Docker::connect_with_unix(&path, LIMIT.as_secs(), API_DEFAULT_VERSION)
            .map_err(failed)?
            .negotiate_version()
            .await
            .map_err(failed)?;
        let inspected = docker.inspect_container(id, None).await.map_err(failed)?;
        read(id, &inspected)
    }
}

impl Runtime for Docker<'_> {
    fn resolve<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<ContainerProcess, Error>> {
        self.inspect(id).boxed()
    }
}

fn read(id: &str, inspected: &ContainerInspectResponse) -> Result<ContainerProcess, Error> {
    let id = id.to_owned();
    let state = inspected.state.as_ref();
    if state.and_then(|s| s.running) != Some(true) {
        let state =
            state.and_then(|s| s.status).map_or_else(|| "in an unknown state".into(), |s| s.to_string());
        return Err(Error::NotRunning { id, state });
    }
    let pid = state
        .and_then(|s| s.pid)
        .and_then(|pid| i32::try_from(pid).ok())
        .filter(|pid| *pid > 1)
        .ok_or(Error::Sandboxed { id })?;
    let base_path = inspected.graph_driver.as_ref().and_then(|driver| driver.data.get("MergedDir").cloned());
    Ok(ContainerProcess { pid, base_path })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, DriverData};

    use super::{ContainerProcess, Error, read};

    fn inspected(running: bool, pid: i64) -> ContainerInspectResponse {
        ContainerInspectResponse {
            state: Some(ContainerState {
                running: Some(running),
                status: Some(if running {
                    ContainerStateStatusEnum::RUNNING
                } else {
                    ContainerStateStatusEnum::EXITED
                }),
                pid: Some(pid),
                ..ContainerState::default()
            }),
            graph_driver: Some(DriverData {
                name: "overlay2".into(),
                data: [("MergedDir".to_owned(), "/var/lib/docker/x/merged".to_owned())].into(),
            }),
            ..ContainerInspectResponse::default()
        }
    }

    #[test]
    fn a_running_container_has_pid_and_base_path() {
        assert_eq!(
            read("a", &inspected(true, 42)),
            Ok(ContainerProcess { pid: 42, base_path: Some("/var/lib/docker/x/merged".into()) })
        );
    }

    #[test]
    fn an_exited_one_says_so() {
        assert_eq!(
            read("a", &inspected(false, 0)),
            Err(Error::NotRunning { id: "a".into(), state: "exited".into() })
        );
        assert_eq!(read("a", &inspected(true, 0)), Err(Error::Sandboxed { id: "a".into() }));
    }
}
