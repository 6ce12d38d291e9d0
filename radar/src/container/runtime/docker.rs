//! Docker: `containers/{id}/json` over its socket, in a version of the API that both sides know.
//!
//! It does not tell the specification that it made, so what it adds to the configuration is added here: the default
//! PATH, HOSTNAME and TERM, docker-init, the default capabilities, the default seccomp filter.

use std::{path::PathBuf, time::Duration};

use bollard::{
    API_DEFAULT_VERSION,
    errors::Error as DockerError,
    models::{ContainerConfig, ContainerInspectResponse, HostConfig},
    query_parameters::StopContainerOptionsBuilder,
};
use futures::{FutureExt, future::BoxFuture};

use super::{
    client::{ContainerProcess, Runtime},
    error::Error,
    record::{self, Record, User},
    sandbox::{self, Sandbox},
    scheme::Scheme,
};

/// What Docker gives a container in which nobody sets a PATH.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Docker's own first process, where it is asked for one.
const INIT: [&str; 2] = ["/sbin/docker-init", "--"];
/// What Docker gives a container that is not privileged.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Docker behind one socket.
pub(super) struct Docker<'a> {
    socket: PathBuf,
    limit: Duration,
    asked: &'a (dyn Fn(String) -> Error + Send + Sync),
}

impl<'a> Docker<'a> {
    /// `asked` makes the error for a failed question, which takes no longer than `limit`.
    pub(super) fn on(
        socket: PathBuf,
        limit: Duration,
        asked: &'a (dyn Fn(String) -> Error + Send + Sync),
    ) -> Self {
        Self { socket, limit, asked }
    }

    fn failed(&self, id: &str, error: &DockerError) -> Error {
        match error {
            DockerError::DockerResponseServerError { status_code: 404, .. } => {
                Error::NotFound { scheme: Scheme::Docker, id: id.to_owned() }
            }
            other => (self.asked)(ksync_common::chain(&other)),
        }
    }

    async fn connect(&self) -> Result<bollard::Docker, DockerError> {
        let path = self.socket.to_string_lossy();
        bollard::Docker::connect_with_unix(&path, self.limit.as_secs(), API_DEFAULT_VERSION)?
            .negotiate_version()
            .await
    }

    async fn inspect(&self, id: &str) -> Result<ContainerInspectResponse, Error> {
        let asked = async { self.connect().await?.inspect_container(id, None).await };
        of(id, asked.await.map_err(|error| self.failed(id, &error))?)
    }

    async fn end(&self, id: &str, seconds: u32) -> Result<(), Error> {
        let options =
            StopContainerOptionsBuilder::new().t(i32::try_from(seconds).unwrap_or(i32::MAX)).build();
        let asked = async { self.connect().await?.stop_container(id, Some(options)).await };
        asked.await.map_err(|error| self.failed(id, &error))
    }
}

impl Runtime for Docker<'_> {
    fn resolve<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<ContainerProcess, Error>> {
        async move { read(id, &self.inspect(id).await?) }.boxed()
    }

    fn record<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Record, Error>> {
        let missing = || Error::NoRecord { scheme: Scheme::Docker, id: id.to_owned() };
        async move { record_in(self.inspect(id).await?).ok_or_else(missing) }.boxed()
    }

    fn stop<'a>(&'a self, id: &'a str, seconds: u32) -> BoxFuture<'a, Result<(), Error>> {
        self.end(id, seconds).boxed()
    }
}

/// The answer, where it is of the container that was asked for.
fn of(id: &str, inspected: ContainerInspectResponse) -> Result<ContainerInspectResponse, Error> {
    let answered = inspected.id.as_deref().unwrap_or_default();
    if answered == id {
        return Ok(inspected);
    }
    Err(Error::Another { scheme: Scheme::Docker, id: id.to_owned(), answered: answered.to_owned() })
}

/// Makes the record that the configuration amounts to.
fn record_in(inspected: ContainerInspectResponse) -> Option<Record> {
    let ContainerInspectResponse { path, args, config, host_config, .. } = inspected;
    let (config, host) = (config?, host_config.unwrap_or_default());
    let program = path.filter(|path| !path.is_empty())?;
    let init = INIT.iter().filter(|_| host.init == Some(true)).map(|word| (*word).to_owned());
    let args = init.chain([program]).chain(args.unwrap_or_default()).collect();
    let privileged = host.privileged == Some(true);
    let options = host.security_opt.clone().unwrap_or_default();
    let groups = host.group_add.iter().flatten().filter_map(|group| group.parse().ok()).collect();
    let unfiltered = |option: &String| matches!(option.as_str(), "seccomp=unconfined" | "seccomp:unconfined");
    let no_new_privileges = |option: &String| {
        let value = option.strip_prefix("no-new-privileges");
        value.is_some_and(|value| matches!(value, "" | ":true" | "=true"))
    };
    Some(Record {
        args,
        env: environment(&config),
        cwd: config.working_dir.filter(|dir| !dir.is_empty()).unwrap_or_else(|| "/".to_owned()),
        umask: record::UMASK,
        user: User::Named(config.user.unwrap_or_default()),
        groups,
        bounding: capabilities(&host),
        inheritable: 0,
        ambient: 0,
        no_new_privileges: options.iter().any(no_new_privileges),
        filtered: !privileged && !options.iter().any(unfiltered),
        users: Vec::new(),
    })
}

/// Docker's own variables, and over them the configured ones.
fn environment(config: &ContainerConfig) -> Vec<String> {
    let mut env = vec![PATH.to_owned()];
    env.push(format!("HOSTNAME={}", config.hostname.as_deref().unwrap_or_default()));
    if config.tty == Some(true) {
        env.push("TERM=xterm".to_owned());
    }
    record::last_values(env.into_iter().chain(config.env.iter().flatten().cloned()))
}

/// The bounding set; none when it is all that the node has.
fn capabilities(host: &HostConfig) -> Option<u64> {
    let list = |names: &Option<Vec<String>>| names.clone().unwrap_or_default();
    let (add, drop) = (list(&host.cap_add), list(&host.cap_drop));
    let all = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("ALL"));
    if host.privileged == Some(true) || all(&add) {
        return None;
    }
    let begun = if all(&drop) { 0 } else { record::capabilities(&DEFAULT_CAPABILITIES) };
    Some(begun & !record::capabilities(&drop) | record::capabilities(&add))
}

fn read(id: &str, inspected: &ContainerInspectResponse) -> Result<ContainerProcess, Error> {
    let id = id.to_owned();
    let state = inspected.state.as_ref();
    if state.and_then(|s| s.running) != Some(true) {
        let state =
            state.and_then(|s| s.status).map_or_else(|| "in an unknown state".into(), |s| s.to_string());
        return Err(Error::NotRunning { id, state });
    }
    let runtime = inspected.host_config.as_ref().and_then(|host| host.runtime.as_deref());
    if let Some(sandbox) = runtime.and_then(sandbox::named) {
        return Err(Error::Sandboxed { id, sandbox });
    }
    let pid = state.and_then(|s| s.pid).and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1);
    let pid = pid.ok_or(Error::Sandboxed { id, sandbox: Sandbox::Unknown })?;
    let base_path = inspected.graph_driver.as_ref().and_then(|driver| driver.data.get("MergedDir").cloned());
    Ok(ContainerProcess { pid, base_path })
}

#[cfg(test)]
mod tests {
    use bollard::models::{
        ContainerConfig, ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, DriverData,
        HostConfig,
    };

    use super::{ContainerProcess, Error, Sandbox, User, of, read, record, record_in};

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
    fn an_answer_for_another_container_is_none() {
        let inspected = |id: &str| ContainerInspectResponse { id: Some(id.into()), ..inspected(true, 42) };
        assert!(of("a", inspected("a")).is_ok());
        assert!(
            of("a", inspected("ab")).is_err() && of("a", super::ContainerInspectResponse::default()).is_err()
        );
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
        let nobody = Error::Sandboxed { id: "a".into(), sandbox: Sandbox::Unknown };
        assert_eq!(read("a", &inspected(true, 0)), Err(nobody));
    }

    #[test]
    fn containers_of_gvisor_and_kata_are_refused() {
        let of = |runtime: &str| ContainerInspectResponse {
            host_config: Some(HostConfig { runtime: Some(runtime.into()), ..HostConfig::default() }),
            ..inspected(true, 42)
        };
        for (runtime, sandbox) in [
            ("runsc", Sandbox::Gvisor),
            ("io.containerd.runsc.v1", Sandbox::Gvisor),
            ("io.containerd.kata.v2", Sandbox::Kata),
        ] {
            assert_eq!(read("a", &of(runtime)), Err(Error::Sandboxed { id: "a".into(), sandbox }));
        }
        assert!(read("a", &of("runc")).is_ok());
    }

    #[test]
    fn the_start_is_the_configuration_and_what_docker_adds() {
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        let mut inspected = ContainerInspectResponse {
            path: Some("/entry".into()),
            args: words(&["serve"]),
            config: Some(ContainerConfig {
                user: Some("app".into()),
                hostname: Some("pod-1".into()),
                env: words(&["A=1", "PATH=/bin"]),
                ..ContainerConfig::default()
            }),
            host_config: Some(HostConfig {
                cap_drop: words(&["ALL"]),
                cap_add: words(&["CAP_KILL"]),
                security_opt: words(&["no-new-privileges", "seccomp=unconfined"]),
                group_add: words(&["7"]),
                ..HostConfig::default()
            }),
            ..ContainerInspectResponse::default()
        };
        let start = record_in(inspected.clone()).unwrap();
        assert_eq!(start.args, ["/entry", "serve"]);
        assert_eq!(start.env, ["PATH=/bin", "HOSTNAME=pod-1", "A=1"]);
        assert_eq!((start.cwd.as_str(), start.groups.as_slice()), ("/", &[7][..]));
        assert_eq!(start.user, User::Named("app".into()));
        assert_eq!(start.bounding, Some(record::capabilities(&["KILL"])));
        assert!(start.no_new_privileges && !start.filtered);
        inspected.host_config =
            Some(HostConfig { privileged: Some(true), init: Some(true), ..HostConfig::default() });
        let start = record_in(inspected.clone()).unwrap();
        assert_eq!(start.args, ["/sbin/docker-init", "--", "/entry", "serve"]);
        assert!(start.bounding.is_none() && !start.filtered);
        inspected.path = None;
        assert_eq!(record_in(inspected), None);
    }
}
