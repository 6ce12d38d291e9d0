//! Running a command in a container by `pods/exec`, as kubectl does.
//!
//! Invariant: stdin is a pipe and no terminal, and nothing but what was given goes into it.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{AttachParams, AttachedProcess},
};
use tokio::io::AsyncWriteExt;

/// Why a command has not run to a good end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The cluster refused or did not answer.
    #[error("exec into pod `{pod}`")]
    Cluster {
        /// The pod.
        pod: String,
        /// kube's word.
        source: Box<kube::Error>,
    },
    /// It could not be started, or ended badly; in kubelet's or the runtime's words.
    #[error("exec into pod `{pod}`: {message}")]
    Ended {
        /// The pod.
        pod: String,
        /// What became of it.
        message: String,
    },
}

/// A container by its names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub namespace: &'a str,
    pub pod: &'a str,
    pub container: &'a str,
}

/// Runs `command` with `stdin`, which stays open until the command has ended.
pub(crate) async fn run(
    client: &Client,
    place: Place<'_>,
    command: Vec<String>,
    stdin: &[u8],
) -> Result<(), Error> {
    let pod = || place.pod.to_owned();
    let pods: Api<Pod> = Api::namespaced(client.clone(), place.namespace);
    let streams =
        AttachParams::default().container(place.container).stdin(true).stdout(false).stderr(false).tty(false);
    let process = pods.exec(place.pod, command, &streams).await;
    let mut process = process.map_err(|source| Error::Cluster { pod: pod(), source: Box::new(source) })?;
    let broken = |message: &str| Error::Ended { pod: pod(), message: message.to_owned() };
    let mut input = process.stdin().ok_or_else(|| broken("there is no stdin"))?;
    // Its status says why, where it has ended already.
    let written = input.write_all(stdin).await;
    let status = status(&mut process).await;
    drop(input);
    match (status, written) {
        (Some(Ok(())), _) => Ok(()),
        (Some(Err(message)), _) => Err(broken(&message)),
        (None, Err(error)) => Err(broken(&error.to_string())),
        (None, Ok(())) => Err(broken("the connection broke")),
    }
}

/// What became of it, in the cluster's words; none when the connection broke.
async fn status(process: &mut AttachedProcess) -> Option<Result<(), String>> {
    let status = process.take_status()?.await?;
    let succeeded = status.status.as_deref() == Some("Success");
    Some(if succeeded { Ok(()) } else { Err(status.message.unwrap_or_default()) })
}
