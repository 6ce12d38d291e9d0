//! Credential plugins (`user.exec` of a kubeconfig), run as client-go runs them, but beside the runtime, with a limit,
//! and with no terminal where nobody sits at one.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>.
//! Invariant: of a plugin that was given up, nothing is left running.

use std::{
    io::{self, IsTerminal},
    process::Stdio,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::process::Command;

/// How long a plugin may take while nobody is there to be asked.
const LIMIT: Duration = Duration::from_secs(30);

/// Whether a plugin may ask somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Person {
    /// At a terminal.
    There,
    /// Not there, or not to be disturbed.
    Away,
}

impl Person {
    /// As this process was started.
    pub(super) fn here() -> Self {
        if io::stdin().is_terminal() { Self::There } else { Self::Away }
    }
}

/// Why a plugin gave no credential.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig names no program.
    #[error("the kubeconfig's credential plugin has no command")]
    Nameless,
    /// It can't be run.
    #[error("can't run the kubeconfig's credential plugin `{command}`")]
    Start {
        /// The program.
        command: String,
        /// The system's word.
        source: io::Error,
    },
    /// It did not answer.
    #[error("the credential plugin `{command}` did not answer within {LIMIT:?}")]
    Slow {
        /// The program.
        command: String,
    },
    /// It failed.
    #[error("the credential plugin `{command}` failed: {said}")]
    Failed {
        /// The program.
        command: String,
        /// Its last line.
        said: String,
    },
    /// It always asks somebody, and nobody is there.
    #[error("the credential plugin `{command}` wants to ask a person")]
    Person {
        /// The program.
        command: String,
    },
    /// What it printed is no credential.
    #[error("the credential plugin `{command}` printed no credential: {reason}")]
    Malformed {
        /// The program.
        command: String,
        /// A phrase.
        reason: String,
    },
}

impl Error {
    /// Whether somebody at a terminal may get further.
    pub(super) fn is_for_a_person(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Person { .. } | Self::Slow { .. })
    }
}

/// What a plugin gave.
pub(super) struct Credential {
    token: Option<String>,
    /// Certificate and key, PEM.
    certificate: Option<(String, String)>,
    /// Until when it holds; none where it does not say.
    pub(super) expires: Option<Timestamp>,
}

impl Credential {
    /// Puts it in the plugin's place.
    pub(super) fn fill(self, user: &mut AuthInfo) {
        user.exec = None;
        if let Some(token) = self.token {
            user.token = Some(token.into());
        }
        if let Some((certificate, key)) = self.certificate {
            user.client_certificate_data = Some(base64(certificate));
            user.client_key_data = Some(base64(key).into());
        }
    }
}

fn base64(text: String) -> String {
    match serde_json::to_value(ByteString(text.into_bytes())) {
        Ok(serde_json::Value::String(text)) => text,
        other => unreachable!("bytes are written as a string, not as {other:?}"),
    }
}

/// Runs the plugin and reads what it prints.
pub(super) async fn run(exec: &ExecConfig, person: Person) -> Result<Credential, Error> {
    let command = exec.command.clone().filter(|command| !command.is_empty()).ok_or(Error::Nameless)?;
    let may_ask =
        person == Person::There && !matches!(exec.interactive_mode, Some(ExecInteractiveMode::Never));
    if !may_ask && matches!(exec.interactive_mode, Some(ExecInteractiveMode::Always)) {
        return Err(Error::Person { command });
    }
    let mut process = Command::new(&command);
    process.args(exec.args.iter().flatten()).stdout(Stdio::piped()).kill_on_drop(true);
    for variable in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            process.env(name, value);
        }
    }
    process.env("KUBERNETES_EXEC_INFO", request(exec, may_ask).to_string());
    process.stdin(if may_ask { Stdio::inherit() } else { Stdio::null() });
    if person == Person::There {
        process.stderr(Stdio::inherit());
    } else {
        // In a group of its own, so that what it started ends with it and nothing reads from a terminal.
        process.stderr(Stdio::piped()).process_group(0);
    }
    let child = process.spawn().map_err(|source| Error::Start { command: command.clone(), source })?;
    let mut group = Group(child.id().filter(|_| person == Person::Away));
    let ended = child.wait_with_output();
    let output = match person {
        Person::There => ended.await,
        Person::Away => {
            tokio::time::timeout(LIMIT, ended).await.map_err(|_| Error::Slow { command: command.clone() })?
        }
    };
    // What it leaves on purpose when it ends by itself is its own.
    group.0 = None;
    let output = output.map_err(|source| Error::Start { command: command.clone(), source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned);
        return Err(Error::Failed { command, said: said.unwrap_or_else(|| output.status.to_string()) });
    }
    read(&output.stdout).map_err(|reason| Error::Malformed { command, reason })
}

/// The processes of a plugin by their leader, which end when this is dropped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(leader) = leader
            && let Err(error) = kill_process_group(leader, Signal::KILL)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(%error, "end what a credential plugin left running");
        }
    }
}

/// What the plugin is told.
fn request(exec: &ExecConfig, interactive: bool) -> serde_json::Value {
    let mut spec = serde_json::json!({ "interactive": interactive });
    if let (true, Some(cluster)) = (exec.provide_cluster_info, &exec.cluster) {
        spec["cluster"] = serde_json::to_value(cluster).unwrap_or_default();
    }
    let version = exec.api_version.as_deref().unwrap_or("client.authentication.k8s.io/v1");
    serde_json::json!({ "apiVersion": version, "kind": "ExecCredential", "spec": spec })
}

fn read(printed: &[u8]) -> Result<Credential, String> {
    #[derive(Deserialize)]
    struct Answer {
        status: Option<Status>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Status {
        token: Option<String>,
        client_certificate_data: Option<String>,
        client_key_data: Option<String>,
        expiration_timestamp: Option<Timestamp>,
    }
    let text = std::str::from_utf8(printed).map_err(|_| "it is not text".to_owned())?;
    let answer: Answer = crate::config::yaml::parse(text).map_err(|error| error.message)?;
    let status = answer.status.ok_or_else(|| "it has no status".to_owned())?;
    let certificate = status.client_certificate_data.zip(status.client_key_data);
    let token = status.token.filter(|token| !token.is_empty());
    if token.is_none() && certificate.is_none() {
        return Err("it has neither a token nor a certificate with its key".to_owned());
    }
    Ok(Credential { token, certificate, expires: status.expiration_timestamp })
}

#[cfg(test)]
mod tests {
    use kube::config::{AuthInfo, ExecConfig};

    use super::{Error, Person, base64, read, run};

    fn script(line: &str, mode: &str) -> ExecConfig {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh", "args": ["-c", line],
            "interactiveMode": mode, "env": [{"name": "WHO", "value": "me"}],
        }))
        .unwrap()
    }

    async fn told(line: &str, mode: &str) -> String {
        let error = run(&script(line, mode), Person::Away).await.err().unwrap();
        assert_eq!(error.is_for_a_person(), !matches!(error, Error::Malformed { .. }));
        error.to_string()
    }

    #[tokio::test]
    async fn a_plugin_is_told_who_asks_and_its_token_is_taken() {
        let line = r#"echo "$KUBERNETES_EXEC_INFO" | grep -q '"interactive":false' && [ ! -t 0 ] &&
            echo "{\"status\": {\"token\": \"of-$WHO\", \"expirationTimestamp\": \"2030-01-02T03:04:05Z\"}}""#;
        let credential = run(&script(line, "IfAvailable"), Person::Away).await.ok().unwrap();
        assert_eq!(credential.token.as_deref(), Some("of-me"));
        assert_eq!(credential.expires.unwrap().to_string(), "2030-01-02T03:04:05Z");
    }

    #[tokio::test]
    async fn what_goes_wrong_is_said_in_the_plugins_words() {
        assert_eq!(
            told("echo first >&2; echo 'no terminal' >&2; exit 1", "IfAvailable").await,
            "the credential plugin `/bin/sh` failed: no terminal"
        );
        assert_eq!(told("exit 3", "Never").await, "the credential plugin `/bin/sh` failed: exit status: 3");
        assert_eq!(told("exit 0", "Always").await, "the credential plugin `/bin/sh` wants to ask a person");
        assert_eq!(
            told("echo '{\"status\": {}}'", "Never").await,
            "the credential plugin `/bin/sh` printed no credential: it has neither a token nor a certificate with its key"
        );
    }

    /// The limit passes on the test's clock, while the plugin is a real process.
    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_is_given_up_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let line = format!("sleep 1000 & echo $! >{0}.new; mv {0}.new {0}; wait", pid.display());
        let exec = script(&line, "IfAvailable");
        let running = tokio::spawn(async move { run(&exec, Person::Away).await.err().unwrap().to_string() });
        let pid: u32 = loop {
            // The clock does not go on while this task is busy.
            match std::fs::read_to_string(&pid) {
                Ok(text) => break text.trim().parse().unwrap(),
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert_eq!(running.await.unwrap(), "the credential plugin `/bin/sh` did not answer within 30s");
        let ended = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
        };
        let begun = std::time::Instant::now();
        while !ended() {
            assert!(begun.elapsed() < std::time::Duration::from_secs(5), "process {pid} was left running");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_certificate_takes_the_plugins_place() {
        let printed = br#"{"status": {"clientCertificateData": "CERT", "clientKeyData": "KEY"}}"#;
        let mut user = AuthInfo { exec: Some(script("", "Never")), ..AuthInfo::default() };
        read(printed).ok().unwrap().fill(&mut user);
        assert!(user.exec.is_none() && user.token.is_none() && user.client_key_data.is_some());
        assert_eq!(user.client_certificate_data, Some(base64("CERT".to_owned())));
        assert_eq!(base64("CERT".to_owned()), "Q0VSVA==");
    }
}
