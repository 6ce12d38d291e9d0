//! Which cluster is meant, and the client for it: kubectl's own rules for kubeconfig files, contexts and overrides,
//! and sentences for what goes wrong. Nothing here changes a cluster.

mod args;
mod explain;
mod files;
pub mod manifest;
mod proxy;
pub mod radar;
pub mod rollout;

use std::{ffi::OsString, future::Future, path::PathBuf, time::Duration};

use kube::config::{AuthInfo, ExecInteractiveMode, Kubeconfig};

pub use args::{ClusterArgs, parse_duration};
pub use explain::{explain, explain_watch, is_expired, is_refusal};

use crate::printer::UserError;

/// Unless `--request-timeout` says otherwise.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no cluster to speak to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No file was found.
    #[error("there is no kubeconfig: none of {} exists", quoted(looked_at))]
    NoKubeconfig {
        /// Where it was looked for.
        looked_at: Vec<PathBuf>,
    },
    /// A file can't be read.
    #[error("can't read the kubeconfig `{path}`")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// kube's word.
        source: kube::config::KubeconfigError,
    },
    /// Files that don't go together.
    #[error("can't merge the kubeconfig `{path}` with those before it")]
    Merge {
        /// The file.
        path: PathBuf,
        /// kube's word.
        source: kube::config::KubeconfigError,
    },
    /// No context is chosen.
    #[error("no kubeconfig context is chosen")]
    NoContext {
        /// Those that exist.
        existing: Vec<String>,
    },
    /// No such context.
    #[error("there is no context `{name}` in the kubeconfig")]
    UnknownContext {
        /// As asked for.
        name: String,
        /// Those that exist.
        existing: Vec<String>,
    },
    /// No such cluster.
    #[error("there is no cluster `{name}` in the kubeconfig")]
    UnknownCluster {
        /// As asked for.
        name: String,
    },
    /// No such user.
    #[error("there is no user `{name}` in the kubeconfig")]
    UnknownUser {
        /// As asked for.
        name: String,
    },
    /// A value that can't be used.
    #[error("can't use {what} of cluster `{cluster}`: {reason}")]
    Value {
        /// Which.
        what: &'static str,
        /// In the kubeconfig.
        cluster: String,
        /// A phrase.
        reason: String,
    },
    /// The client can't be made.
    #[error("{0}")]
    Client(UserError),
}

impl Error {
    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoKubeconfig { .. } => Some("give one with `--kubeconfig` or in `KUBECONFIG`".to_owned()),
            Self::NoContext { existing } => Some(if existing.is_empty() {
                "give a kubeconfig with a context".to_owned()
            } else {
                format!("give `--context`: {}", existing.join(", "))
            }),
            Self::UnknownContext { existing, .. } => Some(if existing.is_empty() {
                "there are none".to_owned()
            } else {
                format!("there are: {}", existing.join(", "))
            }),
            Self::Client(error) => Some(error.hint().to_owned()).filter(|hint| !hint.is_empty()),
            _ => None,
        }
    }
}

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
        let context = chosen.context_name;
        Ok(Self { config, context, namespace, own_namespace, server, paths, call_timeout })
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

    /// For a process without a terminal: what gets credentials must not ask a person.
    #[must_use]
    pub fn in_background(mut self) -> Self {
        if let Some(exec) = &mut self.config.auth_info.exec {
            exec.interactive_mode = Some(ExecInteractiveMode::Never);
        }
        self
    }

    /// A client. Runs the context's credential plugin, if it has one, and blocks for it.
    pub fn client(&self) -> Result<kube::Client, Error> {
        kube::Client::try_from(self.config.clone())
            .map_err(|error| Error::Client(explain(&error, &self.server)))
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

    /// The kubeconfig files for a person.
    pub fn paths_shown(&self) -> String {
        self.paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":")
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

fn quoted(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
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

    #[test]
    fn plugins_never_ask_in_the_background() {
        let exec = load(&ClusterArgs::default()).unwrap().in_background().config.auth_info.exec.unwrap();
        assert_eq!(format!("{:?}", exec.interactive_mode), "Some(Never)");
    }
}
