//! A container's directory, seen and written through /proc without asking anybody.

use std::{fs, path::PathBuf};

use crate::suite::{cluster::Cluster, container::Container};

/// Where the apps have their files.
pub(crate) const CODE: &str = "/code";

/// One container that ran when it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) id: String,
    pub(crate) pod: String,
    pub(crate) node: String,
    pub(crate) pid: u32,
    /// When its process was started, so that no other is ever taken for it.
    started: String,
}

impl Place {
    pub(crate) fn of(cluster: &dyn Cluster, container: &Container) -> Result<Self, String> {
        let pid = container.pid(cluster)?;
        let started = started(pid).ok_or_else(|| format!("the process of {container} has ended"))?;
        let (id, pod, node) = (container.id.clone(), container.pod.clone(), container.node.clone());
        Ok(Self { id, pod, node, pid, started })
    }

    pub(crate) fn lives(&self) -> bool {
        started(self.pid).is_some_and(|started| started == self.started)
    }

    pub(crate) fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{CODE}", self.pid))
    }
}

/// The time at which a process that is no zombie was started, in ticks.
fn started(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    (fields.first() != Some(&"Z")).then(|| fields.get(19).map(|ticks| (*ticks).to_owned()))?
}
