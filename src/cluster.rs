//! Which cluster is meant, and the client for it: kubectl's own rules for kubeconfig files, contexts and overrides,
//! and sentences for what goes wrong. Nothing here changes a cluster.

mod access;
mod args;
mod connect;
mod error;
mod explain;
mod files;
pub(crate) mod manifest;
mod plugin;
mod proxy;
pub(crate) mod radar;
pub(crate) mod rollout;

use std::{ffi::OsString, future::Future, path::PathBuf, time::Duration};

use jiff::Timestamp;
use kube::config::{AuthInfo, Kubeconfig};

pub(crate) use access::Access;
pub use args::ClusterArgs;
pub(crate) use args::parse_duration;
pub(crate) use error::Error;
pub(crate) use explain::{explain, explain_watch, is_denied, is_expired, is_refusal};
use plugin::Person;

use crate::{blocking, printer::UserError};

/// For what kube reads or runs while it makes a client.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Unless `--request-timeout` says otherwise.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A cluster as one context of a kubeconfig describes it.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// For kube's client.
    pub config: kube::Config,
    /// The context's name.
    pub context: String,
    /// `-n`, else the context's, else `default`.
    pub namespace: String,
    /// The context's, else `default`, whatever `-n` says: of specs that name none.
    pub own_namespace: String,
    /// The API server's URL.
    pub server: String,
    /// The kubeconfig files that were read, absolute.
    paths: Vec<PathBuf>,
    /// How it was chosen, so that it can be read again.
    args: ClusterArgs,
    call_timeout: Option<Duration>,
}

impl ClusterConfig {
    /// Reads the kubeconfig; the cluster is not spoken to.
    #[allow(clippy::unused_async)] // callers need not know that today's files are read in one go
    pub async fn load(args: &ClusterArgs) -> Result<Self, Error> {
        let env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let paths = files::paths(args.kubeconfig.as_deref(), env)?;
        let kubeconfig = files::read(&paths)?;
        Self::choose(kubeconfig, args, paths, |name| std::env::var(name).ok())
    }

    fn choose(
        kubeconfig: Kubeconfig,
        args: &ClusterArgs,
        paths: Vec<PathBuf>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let chosen = files::choose(kubeconfig, args)?;
        let name = chosen.cluster_name;
        let bad = |what, reason: String| Error::Value { what, cluster: name.clone(), reason };
        let server =
            chosen.cluster.server.clone().ok_or_else(|| bad("the server", "it has none".to_owned()))?;
        let url: http::Uri =
            server.parse().map_err(|e| bad("the server", format!("`{server}` is not a URL ({e})")))?;
        if url.host().is_none() || url.scheme().is_none() {
            return Err(bad("the server", format!("`{server}` is not a URL")));
        }
        let proxy = proxy::choose(chosen.cluster.proxy_url.as_deref(), &url, env)
            .map(|proxy| proxy.parse().map_err(|e| bad("the proxy", format!("`{proxy}` is not a URL ({e})"))))
            .transpose()?;
        let mut config = kube::Config::new(url);
        config.root_cert =
            files::authority(&chosen.cluster).map_err(|reason| bad("the certificate authority", reason))?;
        config.proxy_url = proxy;
        config.accept_invalid_certs = chosen.cluster.insecure_skip_tls_verify.unwrap_or(false);
        config.tls_server_name.clone_from(&chosen.cluster.tls_server_name);
        config.disable_compression = chosen.cluster.disable_compression.unwrap_or(false);
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.auth_info = impersonating(chosen.user, args);
        let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let own_namespace = given(&chosen.namespace).unwrap_or_else(|| "default".to_owned());
        let namespace = given(&args.namespace).unwrap_or_else(|| own_namespace.clone());
        config.default_namespace.clone_from(&namespace);
        let call_timeout = match args.request_timeout {
            None => Some(CALL_TIMEOUT),
            Some(Duration::ZERO) => None,
            some => some,
        };
        let args = ClusterArgs { context: Some(chosen.context_name.clone()), ..args.clone() };
        let context = chosen.context_name;
        Ok(Self { config, context, namespace, own_namespace, server, paths, args, call_timeout })
    }

    /// The same context of the same cluster as the kubeconfig has it now.
    async fn again(&self) -> Result<Self, Error> {
        let now = Self::load(&self.args).await?;
        if now.hash() == self.hash() { Ok(now) } else { Err(Error::Elsewhere { context: now.context }) }
    }

    /// Twelve hex digits that stand for the cluster itself: its server's URL and certificate authority.
    pub fn hash(&self) -> String {
        let mut identity = self.server.trim_end_matches('/').as_bytes().to_vec();
        for certificate in self.config.root_cert.iter().flatten() {
            identity.push(b'\n');
            identity.extend_from_slice(certificate);
        }
        crate::home::short_hash(&identity)
    }

    /// A client for a command. Runs the context's credential plugin, if it has one; at a terminal it may ask.
    pub async fn client(&self) -> Result<kube::Client, Error> {
        let (config, _) = self.login(Person::here()).await?;
        self.build(config).await
    }

    /// At a terminal, runs the credential plugin once: there it may ask what it can't ask in the background.
    pub async fn ask(&self) -> Result<(), Error> {
        match Person::here() {
            Person::There => self.login(Person::There).await.map(drop),
            Person::Away => Ok(()),
        }
    }

    /// Asks the context's credential plugin, where it has one. Gives the configuration with what it said, and until
    /// when that holds.
    async fn login(&self, person: Person) -> Result<(kube::Config, Option<Timestamp>), Error> {
        let mut config = self.config.clone();
        let Some(exec) = &config.auth_info.exec else { return Ok((config, None)) };
        let credential = plugin::run(exec, person).await?;
        let expires = credential.expires;
        credential.fill(&mut config.auth_info);
        Ok((config, expires))
    }

    /// Makes a client, off the runtime: kube reads files and may run an old kind of plugin for it.
    async fn build(&self, config: kube::Config) -> Result<kube::Client, Error> {
        let server = self.server.clone();
        // Its connections are kept by the runtime that it is made in.
        let made = blocking::run(move || connect::client(config));
        let Ok(made) = tokio::time::timeout(CLIENT_TIMEOUT, made).await else {
            let message = format!("no client for `{server}` within {CLIENT_TIMEOUT:?}");
            return Err(Error::Client(UserError::new(
                message,
                "does the kubeconfig's credential plugin answer?",
            )));
        };
        made.map_err(|error| Error::Client(explain(&error, &server)))
    }

    /// One call, with its time limit and its error in words.
    pub async fn call<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, UserError> {
        self.call_raw(call).await?.map_err(|error| explain(&error, &self.server))
    }

    /// One call, with its time limit; the inner error is kube's.
    pub async fn call_raw<T>(
        &self,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<kube::Result<T>, UserError> {
        let Some(limit) = self.call_timeout else { return Ok(call.await) };
        tokio::time::timeout(limit, call).await.map_err(|_| {
            UserError::new(
                format!("the cluster at `{}` did not answer within {limit:?}", self.server),
                "is it reachable from here? `kubectl cluster-info` tells",
            )
        })
    }

    /// The kubeconfig files as a value for `KUBECONFIG`.
    pub fn paths_joined(&self) -> OsString {
        // Each path came out of such a list or is a path of its own; one that can't be joined stands alone.
        std::env::join_paths(&self.paths).unwrap_or_else(|_| {
            self.paths.first().map(|path| path.clone().into_os_string()).unwrap_or_default()
        })
    }
}

fn impersonating(mut user: AuthInfo, args: &ClusterArgs) -> AuthInfo {
    if let Some(name) = &args.impersonate {
        user.impersonate = Some(name.clone());
    }
    if !args.impersonate_groups.is_empty() {
        user.impersonate_groups = Some(args.impersonate_groups.clone());
    }
    user
}

#[cfg(test)]
mod tests {
    use kube::config::Kubeconfig;

    use super::{ClusterArgs, ClusterConfig, Error};

    const FILE: &str = r"
current-context: a
clusters:
- name: one
  cluster: {server: 'https://one:6443'}
- name: two
  cluster: {server: 'https://two:6443'}
contexts:
- name: a
  context: {cluster: one, user: u, namespace: team}
- name: b
  context: {cluster: two}
users:
- name: u
  user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: login}}
";

    fn load(args: &ClusterArgs) -> Result<ClusterConfig, Error> {
        ClusterConfig::choose(Kubeconfig::from_yaml(FILE).unwrap(), args, Vec::new(), |_| None)
    }

    #[test]
    fn overrides_go_before_the_context() {
        let plain = load(&ClusterArgs::default()).unwrap();
        assert_eq!(
            (plain.context.as_str(), plain.namespace.as_str(), plain.server.as_str()),
            ("a", "team", "https://one:6443")
        );
        let args = ClusterArgs {
            context: Some("b".into()),
            namespace: Some("n".into()),
            user: Some("u".into()),
            impersonate: Some("eve".into()),
            ..ClusterArgs::default()
        };
        let other = load(&args).unwrap();
        assert_eq!((other.namespace.as_str(), other.server.as_str()), ("n", "https://two:6443"));
        assert_eq!(other.config.auth_info.impersonate.as_deref(), Some("eve"));
        assert_eq!(other.own_namespace, "default", "`-n` is one command's");
        let there = load(&ClusterArgs { namespace: Some("n".into()), ..ClusterArgs::default() }).unwrap();
        assert_eq!((there.namespace.as_str(), there.own_namespace.as_str()), ("n", "team"));
        let cluster = ClusterArgs { cluster: Some("two".into()), ..ClusterArgs::default() };
        assert_eq!(load(&cluster).unwrap().server, "https://two:6443");
    }

    #[test]
    fn the_hash_is_the_clusters_not_the_contexts() {
        let hash = |args: ClusterArgs| load(&args).unwrap().hash();
        let two = || Some("two".to_owned());
        let by_cluster = hash(ClusterArgs { cluster: two(), ..ClusterArgs::default() });
        assert_eq!(by_cluster, hash(ClusterArgs { context: Some("b".into()), ..ClusterArgs::default() }));
        assert_ne!(by_cluster, hash(ClusterArgs::default()));
    }

    #[test]
    fn wrong_names_are_told_with_the_right_ones() {
        let error = load(&ClusterArgs { context: Some("c".into()), ..ClusterArgs::default() }).unwrap_err();
        assert_eq!(error.to_string(), "there is no context `c` in the kubeconfig");
        assert_eq!(error.hint().unwrap(), "there are: a, b");
        assert!(load(&ClusterArgs { cluster: Some("x".into()), ..ClusterArgs::default() }).is_err());
        assert!(load(&ClusterArgs { user: Some("x".into()), ..ClusterArgs::default() }).is_err());
    }

    #[tokio::test]
    async fn a_context_that_moved_to_another_cluster_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::fs::write(&path, FILE).unwrap();
        let args = ClusterArgs { kubeconfig: Some(path.clone()), ..ClusterArgs::default() };
        let before = ClusterConfig::load(&args).await.unwrap();
        // Another current context is nobody's business here.
        std::fs::write(&path, FILE.replace("current-context: a", "current-context: b")).unwrap();
        assert_eq!(before.again().await.unwrap().server, before.server);
        std::fs::write(&path, FILE.replace("https://one:6443", "https://three:6443")).unwrap();
        let error = before.again().await.unwrap_err();
        assert_eq!(error.to_string(), "context `a` now points to another cluster");
    }
}
