//! Why there is no cluster to speak to, and what to do about each reason.

use std::path::PathBuf;

use super::plugin;
use crate::printer::UserError;

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
    /// There are no credentials.
    #[error(transparent)]
    Plugin(#[from] plugin::Error),
    /// The context is another cluster's by now.
    #[error("context `{context}` now points to another cluster")]
    Elsewhere {
        /// Its name.
        context: String,
    },
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
            Self::Plugin(plugin::Error::Start { .. }) => Some("is it installed and in PATH?".to_owned()),
            Self::Plugin(error) if error.is_for_a_person() => Some(
                "log in again; `kubectl get pods` at a terminal runs the same plugin, and it can ask there"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

fn quoted(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
}
