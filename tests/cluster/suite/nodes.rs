//! The nodes that a run has its apps on, as their kubelets describe them.
//!
//! Invariant: one of each runtime that the cluster has, so that what runs on all of them runs on every runtime.

use std::fmt;

use serde_json::Value;

use super::{case::Need, kubectl::Kubectl};

/// A node that takes pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// `containerd`, `cri-o` or `docker`: what its container ids begin with.
    pub(crate) runtime: String,
    pub(crate) runtime_version: String,
    kubelet: String,
    kernel: String,
    user_namespaces: bool,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, runtime, runtime_version, kubelet, kernel, .. } = self;
        write!(f, "{name}: {runtime} {runtime_version}, kubelet {kubelet}, kernel {kernel}")
    }
}

impl Node {
    /// None for one that takes no pods, or none but those that tolerate it.
    fn of(node: &Value) -> Option<Self> {
        let text = |pointer: &str| node.pointer(pointer).and_then(Value::as_str);
        let taints = node.pointer("/spec/taints").and_then(Value::as_array);
        if taints.into_iter().flatten().any(|taint| taint["effect"] != "PreferNoSchedule") {
            return None;
        }
        let (runtime, version) = text("/status/nodeInfo/containerRuntimeVersion")?.split_once("://")?;
        let handlers = node.pointer("/status/runtimeHandlers").and_then(Value::as_array);
        let user_namespaces = handlers.into_iter().flatten().any(|handler| {
            handler["name"] == "" && handler.pointer("/features/userNamespaces") == Some(&Value::Bool(true))
        });
        Some(Self {
            name: text("/metadata/name")?.to_owned(),
            runtime: runtime.to_owned(),
            runtime_version: version.to_owned(),
            kubelet: text("/status/nodeInfo/kubeletVersion")?.to_owned(),
            kernel: text("/status/nodeInfo/kernelVersion")?.to_owned(),
            user_namespaces,
        })
    }

    /// Whether it has what not every node of a cluster has; the rest is the cluster's.
    pub(crate) fn has(&self, need: Need) -> bool {
        let mut numbers = self.kernel.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
        need != Need::UserNamespaces
            || self.user_namespaces && (numbers.next(), numbers.next()) >= (Some(6), Some(15))
    }
}

/// One of each runtime; where there is only one runtime, two of its nodes if it has them.
pub(crate) fn choose(kubectl: &Kubectl) -> Vec<Node> {
    let nodes = kubectl.json(&["get", "nodes"]).expect("the nodes");
    let all: Vec<Node> = nodes["items"].as_array().into_iter().flatten().filter_map(Node::of).collect();
    let mut chosen: Vec<Node> = Vec::new();
    for node in &all {
        if chosen.iter().all(|other| other.runtime != node.runtime) {
            chosen.push(node.clone());
        }
    }
    if chosen.len() == 1 {
        chosen = all.into_iter().take(2).collect();
    }
    assert!(!chosen.is_empty(), "the cluster has no node that takes pods");
    chosen
}

/// Their runtimes, each once.
pub(crate) fn runtimes(nodes: &[Node]) -> Vec<String> {
    let mut runtimes: Vec<String> = Vec::new();
    for node in nodes {
        if !runtimes.contains(&node.runtime) {
            runtimes.push(node.runtime.clone());
        }
    }
    runtimes
}
