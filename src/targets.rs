//! The remote side of a spec: which containers it means, and one running folder for each of them.
//!
//! A pod that is re-created and a container that restarts are new services: the container id is the key.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec};
use kube::ResourceExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A container that a spec matches, as the pod's status shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteContainer {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub pod_uid: String,
    /// The container's name.
    pub name: String,
    /// The container's id with its runtime's scheme.
    pub id: String,
    /// The node's name.
    pub node: String,
    /// Whether and when kubelet starts it again after it has ended.
    pub restart_policy: String,
    /// How long it is given to end.
    pub grace: Duration,
}

/// What the matching pods amount to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    /// Containers that run.
    pub running: Vec<RemoteContainer>,
    /// Why pods that match have no running container (yet), one sentence each.
    pub waiting: Vec<String>,
    /// What a person must put right.
    pub errors: Vec<String>,
    /// Ids of those that are ready.
    pub ready: BTreeSet<String>,
}

/// Looks through the pods for the container named `container`, or for the obvious one when that is empty.
pub(crate) fn targets<'a>(pods: impl IntoIterator<Item = &'a Pod>, container: &str) -> Targets {
    let mut pods: Vec<&Pod> = pods.into_iter().filter(|pod| !has_ended(pod)).collect();
    pods.sort_by_key(|pod| (pod.creation_timestamp(), pod.name_any()));
    let mut targets = Targets::default();
    for pod in pods {
        let statuses = pod.status.iter().filter_map(|status| status.container_statuses.as_ref()).flatten();
        let ready = statuses.filter(|container| container.ready).filter_map(|c| c.container_id.clone());
        targets.ready.extend(ready);
        match choose(pod, container).map(|name| inspect(pod, &name)) {
            Ok(Ok(target)) => targets.running.push(target),
            Ok(Err(waiting)) => targets.waiting.push(waiting),
            Err(error) => targets.errors.push(error),
        }
    }
    targets
}

/// On its way out, or over.
fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"))
}

/// The container to sync, if its pod can be: the one that is named, the only one, or the pod's default.
pub(crate) fn choose(pod: &Pod, container: &str) -> Result<String, String> {
    let pod_name = pod.name_any();
    if pod.spec.as_ref().is_some_and(|spec| spec.host_users == Some(false)) {
        return Err(format!(
            "pod `{pod_name}` runs in a user namespace (`hostUsers: false`), which is not supported"
        ));
    }
    let names: Vec<&str> =
        pod.spec.iter().flat_map(|spec| &spec.containers).map(|container| container.name.as_str()).collect();
    let list = || names.join(", ");
    if !container.is_empty() {
        let missing = || format!("pod `{pod_name}` has no container `{container}` (it has: {})", list());
        return names.contains(&container).then(|| container.to_owned()).ok_or_else(missing);
    }
    let default = pod.annotations().get("kubectl.kubernetes.io/default-container");
    match (names.as_slice(), default) {
        ([only], _) => Ok((*only).to_owned()),
        (_, Some(default)) if names.contains(&default.as_str()) => Ok(default.clone()),
        _ => Err(format!(
            "pod `{pod_name}` has several containers ({}): choose one with `--container`",
            list()
        )),
    }
}

/// The running container `name` of the pod, or why there is none.
fn inspect(pod: &Pod, name: &str) -> Result<RemoteContainer, String> {
    let pod_name = pod.name_any();
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let statuses = status.and_then(|status| status.container_statuses.as_ref());
    let found = statuses.and_then(|all| all.iter().find(|container| container.name == name));
    let running = found.filter(|c| c.state.as_ref().is_some_and(|state| state.running.is_some()));
    let id = running.and_then(|c| c.container_id.clone()).filter(|id| !id.is_empty());
    match (id, spec.and_then(|spec| spec.node_name.clone()), pod.uid()) {
        (Some(id), Some(node), Some(pod_uid)) => Ok(RemoteContainer {
            namespace: pod.namespace().unwrap_or_default(),
            pod: pod_name,
            pod_uid,
            name: name.to_owned(),
            id,
            node,
            restart_policy: spec.and_then(|spec| spec.restart_policy.clone()).unwrap_or_default(),
            grace: grace(spec),
        }),
        _ => Err(why_not_running(pod, found)),
    }
}

/// The pod's `terminationGracePeriodSeconds`, which the API server sets where nobody else has.
fn grace(spec: Option<&PodSpec>) -> Duration {
    let seconds = spec.and_then(|spec| spec.termination_grace_period_seconds);
    Duration::from_secs(seconds.and_then(|seconds| seconds.try_into().ok()).unwrap_or_default())
}

/// The pod's own words for why its container does not run.
fn why_not_running(pod: &Pod, container: Option<&ContainerStatus>) -> String {
    let state = container.and_then(|c| c.state.as_ref());
    let waiting = state.and_then(|s| s.waiting.as_ref());
    let terminated = state.and_then(|s| s.terminated.as_ref());
    let conditions = pod.status.iter().filter_map(|s| s.conditions.as_ref()).flatten();
    let unscheduled = conditions.into_iter().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    let (reason, message) = match (waiting, terminated, unscheduled) {
        (Some(w), ..) => (w.reason.as_deref(), w.message.as_deref()),
        (None, Some(t), _) => (t.reason.as_deref(), t.message.as_deref()),
        (None, None, Some(c)) => (c.reason.as_deref(), c.message.as_deref()),
        (None, None, None) => (pod.status.as_ref().and_then(|s| s.phase.as_deref()), None),
    };
    let words: Vec<&str> = [reason, message].into_iter().flatten().filter(|text| !text.is_empty()).collect();
    let words = if words.is_empty() { "not running yet".to_owned() } else { words.join(": ") };
    format!("pod `{}` is not running: {words}", pod.name_any())
}

/// A folder at work for one container.
struct Service {
    end: CancellationToken,
    task: JoinHandle<()>,
}

/// The services of one spec, by container id.
#[derive(Default)]
pub(crate) struct ServiceList(BTreeMap<String, Service>);

impl ServiceList {
    /// Ends the services whose containers are gone, and starts one with `start` for each that is new.
    pub(crate) fn follow<F>(
        &mut self,
        running: &[RemoteContainer],
        mut start: impl FnMut(&RemoteContainer, CancellationToken) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        self.0.retain(|id, service| {
            let stays = running.iter().any(|container| container.id == *id);
            if !stays {
                service.end.cancel();
            }
            stays
        });
        for container in running {
            self.0.entry(container.id.clone()).or_insert_with(|| {
                let end = CancellationToken::new();
                let task = tokio::spawn(start(container, end.clone()));
                Service { end, task }
            });
        }
    }

    /// Whether no container is followed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends all services and waits until each has let go of its container.
    pub(crate) async fn close(self) {
        for service in self.0.values() {
            service.end.cancel();
        }
        for (id, service) in self.0 {
            if let Err(error) = service.task.await {
                tracing::warn!(id, %error, "a service did not end in order");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::{choose, targets};

    fn pod(name: &str, containers: &[&str], state: &Value) -> Pod {
        let spec: Vec<Value> = containers.iter().map(|name| json!({ "name": name })).collect();
        let statuses: Vec<Value> = containers
            .iter()
            .map(|c| {
                json!({"name": c, "containerID": format!("containerd://{name}-{c}"), "state": state,
                            "image": "i", "imageID": "i", "ready": true, "restartCount": 0})
            })
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ns", "uid": format!("u-{name}")},
            "spec": {"containers": spec, "nodeName": "node"},
            "status": {"phase": "Running", "containerStatuses": statuses}
        }))
        .unwrap()
    }

    #[test]
    fn a_running_container_is_a_target() {
        let found = targets(&[pod("p", &["c"], &json!({"running": {}}))], "");
        assert_eq!(found.running.len(), 1);
        assert_eq!(found.running[0].id, "containerd://p-c");
        assert_eq!((found.running[0].node.as_str(), found.running[0].name.as_str()), ("node", "c"));
    }

    #[test]
    fn a_pod_that_waits_says_why() {
        let state = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
        let found = targets(&[pod("p", &["c"], &state)], "");
        assert_eq!(found.waiting, ["pod `p` is not running: ImagePullBackOff: no such image"]);
    }

    #[test]
    fn several_containers_need_a_choice() {
        let two = pod("p", &["a", "b"], &json!({"running": {}}));
        assert_eq!(
            targets([&two], "").errors,
            ["pod `p` has several containers (a, b): choose one with `--container`"]
        );
        assert_eq!(choose(&two, "b").unwrap(), "b");
        assert_eq!(choose(&two, "x").unwrap_err(), "pod `p` has no container `x` (it has: a, b)");
        let mut annotated = two;
        annotated.metadata.annotations =
            Some([("kubectl.kubernetes.io/default-container".to_owned(), "a".to_owned())].into());
        assert_eq!(choose(&annotated, "").unwrap(), "a");
    }

    #[test]
    fn a_pod_in_a_user_namespace_is_said_to_be_unsupported() {
        let mut pod = pod("p", &["c"], &json!({"running": {}}));
        pod.spec.as_mut().unwrap().host_users = Some(false);
        assert!(targets(&[pod], "").errors[0].contains("user namespace"));
    }

    #[test]
    fn a_pod_on_its_way_out_is_no_target() {
        let mut leaving = pod("p", &["c"], &json!({"running": {}}));
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(targets(&[leaving], ""), super::Targets::default());
    }
}
