//! A running container, read from outside and written from inside.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use super::{cluster::Cluster, tree::Tree};

/// One container of a pod, as its status showed it. A restart makes another one.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) name: String,
    pub(crate) node: String,
    /// With its runtime's scheme.
    pub(crate) id: String,
    pid: Mutex<Option<u32>>,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}/{}` on {}", self.pod, self.name, self.node)
    }
}

impl Container {
    /// The running containers of a pod that is not on its way out, without those of other kinds than its app's.
    pub(crate) fn of_pod(pod: &Value) -> Vec<Self> {
        Self::of_statuses(pod, "containerStatuses")
    }

    /// Those whose statuses the pod has in the list `statuses`.
    pub(crate) fn of_statuses(pod: &Value, statuses: &str) -> Vec<Self> {
        let text =
            |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        if pod.pointer("/metadata/deletionTimestamp").is_some() {
            return Vec::new();
        }
        let statuses = pod["status"][statuses].as_array();
        let running =
            statuses.into_iter().flatten().filter(|status| status.pointer("/state/running").is_some());
        running
            .map(|status| Self {
                namespace: text("/metadata/namespace"),
                pod: text("/metadata/name"),
                node: text("/spec/nodeName"),
                name: status["name"].as_str().unwrap_or_default().to_owned(),
                id: status["containerID"].as_str().unwrap_or_default().to_owned(),
                pid: Mutex::default(),
            })
            .collect()
    }

    /// Its first process; asked for once.
    pub(crate) fn pid(&self, cluster: &dyn Cluster) -> Result<u32, String> {
        let mut pid = self.pid.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = *pid {
            return Ok(pid);
        }
        let found = cluster.pid(&self.namespace, &self.pod, &self.name)?;
        *pid = Some(found);
        Ok(found)
    }

    pub(crate) fn tree(&self, cluster: &dyn Cluster, path: &str) -> Result<Tree, String> {
        cluster.observe(self, path)
    }

    pub(crate) fn read(&self, cluster: &dyn Cluster, path: &str) -> Result<String, String> {
        let bytes = cluster.read(self, path)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Runs a shell line inside.
    #[track_caller]
    pub(crate) fn sh(&self, cluster: &dyn Cluster, line: &str) -> String {
        let args = ["exec", "-n", &self.namespace, &self.pod, "-c", &self.name, "--", "sh", "-c", line];
        cluster.kubectl().ok(&args)
    }
}
