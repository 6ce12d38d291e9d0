//! The remote side of a spec: which containers it means, and one running folder for each of them.
//!
//! A pod that is re-created and a container that restarts are new services: the container id is the key.

mod choice;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec};
use kube::ResourceExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use choice::{Declared, Kind, choose};

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
    /// Ids of containers that run still, of pods on their way out: nobody looks for these, and what they write last counts.
    pub leaving: BTreeSet<String>,
}

/// Looks through the pods for the container named `container`, or for the obvious one when that is empty.
pub(crate) fn targets<'a>(pods: impl IntoIterator<Item = &'a Pod>, container: &str) -> Targets {
    let mut pods: Vec<&Pod> = pods.into_iter().filter(|pod| !has_ended(pod)).collect();
    pods.sort_by_key(|pod| (pod.creation_timestamp(), pod.name_any()));
    let mut targets = Targets::default();
    for pod in pods {
        if pod.metadata.deletion_timestamp.is_some() {
            let target = choose(pod, container).ok().and_then(|declared| inspect(pod, declared).ok());
            targets.leaving.extend(target.map(|target| target.id));
            continue;
        }
        targets.ready.extend(ready(pod));
        match choose(pod, container).map(|declared| inspect(pod, declared)) {
            Ok(Ok(target)) => targets.running.push(target),
            Ok(Err(waiting)) => targets.waiting.push(waiting),
            Err(error) => targets.errors.push(error),
        }
    }
    targets
}

/// Ids of the pod's containers that are ready. Nobody probes an ephemeral one: it is as ready as it ever is when it runs.
fn ready(pod: &Pod) -> impl Iterator<Item = String> {
    let status = pod.status.iter();
    let probed = status
        .clone()
        .flat_map(|status| status.container_statuses.iter().chain(&status.init_container_statuses).flatten());
    let ephemeral = status.flat_map(|status| status.ephemeral_container_statuses.iter().flatten());
    let ready = probed.filter(|container| container.ready).chain(ephemeral.filter(|one| runs(one)));
    ready.filter_map(|container| container.container_id.clone())
}

fn runs(container: &ContainerStatus) -> bool {
    container.state.as_ref().is_some_and(|state| state.running.is_some())
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The pod's container as it runs, or why it does not.
fn inspect(pod: &Pod, declared: Declared<'_>) -> Result<RemoteContainer, String> {
    let spec = pod.spec.as_ref();
    let found = pod.status.as_ref().and_then(|status| {
        // A name stands for one container of its pod, of whichever kind.
        let all = [
            &status.container_statuses,
            &status.init_container_statuses,
            &status.ephemeral_container_statuses,
        ];
        all.into_iter().flatten().flatten().find(|container| container.name == declared.name)
    });
    let running = found.filter(|container| runs(container));
    let id = running.and_then(|c| c.container_id.clone()).filter(|id| !id.is_empty());
    match (id, spec.and_then(|spec| spec.node_name.clone()), pod.uid()) {
        (Some(id), Some(node), Some(pod_uid)) => Ok(RemoteContainer {
            namespace: pod.namespace().unwrap_or_default(),
            pod: pod.name_any(),
            pod_uid,
            name: declared.name.to_owned(),
            id,
            node,
            restart_policy: declared.restart_policy.to_owned(),
            grace: grace(spec),
        }),
        _ => Err(why_not_running(pod, declared, found)),
    }
}

/// The pod's `terminationGracePeriodSeconds`, which the API server sets where nobody else has.
fn grace(spec: Option<&PodSpec>) -> Duration {
    let seconds = spec.and_then(|spec| spec.termination_grace_period_seconds);
    Duration::from_secs(seconds.and_then(|seconds| seconds.try_into().ok()).unwrap_or_default())
}

/// The pod's own words for why its container does not run.
fn why_not_running(pod: &Pod, declared: Declared<'_>, container: Option<&ContainerStatus>) -> String {
    let pod_name = pod.name_any();
    let state = container.and_then(|c| c.state.as_ref());
    let waiting = state.and_then(|s| s.waiting.as_ref());
    let terminated = state.and_then(|s| s.terminated.as_ref());
    if declared.kind == Kind::Ephemeral && terminated.is_some() {
        return format!(
            "ephemeral container `{}` of pod `{pod_name}` has ended, and is never started again",
            declared.name
        );
    }
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
    match declared.kind {
        Kind::App => format!("pod `{pod_name}` is not running: {words}"),
        _ => format!("container `{}` of pod `{pod_name}` is not running: {words}", declared.name),
    }
}

/// When a service ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct End {
    /// Now.
    pub now: CancellationToken,
    /// With its container, whose pod is on its way out, or is the spec's no more.
    pub with_container: CancellationToken,
}

/// How long a container is listened to whose pod was taken away, or is the spec's no more: what it wrote before that is still on
/// its way.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A folder at work for one container.
struct Service<R> {
    end: End,
    task: JoinHandle<()>,
    /// It may have the seat of the two-way container, or have it again; not once it is on its way out.
    registered: Option<R>,
    /// Its end is set, because nobody says any more that its container runs.
    last_words: bool,
}

/// The services of one spec, by container id. Each is registered by an `R` while its container is one of the spec's.
pub(crate) struct ServiceList<R>(BTreeMap<String, Service<R>>);

impl<R> Default for ServiceList<R> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<R> ServiceList<R> {
    /// Has the services leave whose containers are the spec's no more. Returns the ids of the containers that leave: those on
    /// their way out, and those of services that have not ended yet.
    pub(crate) fn leave(&mut self, targets: &Targets) -> BTreeSet<String> {
        let mut leaving = targets.leaving.clone();
        self.0.retain(|id, service| {
            if targets.running.iter().any(|container| container.id == *id) {
                let leaves = service.registered.is_none();
                // It was the spec's no more, and is again: with a service of its own.
                if leaves {
                    service.end.now.cancel();
                }
                return !leaves;
            }
            service.registered = None;
            service.end.with_container.cancel();
            if service.task.is_finished() {
                return false;
            }
            if leaving.insert(id.clone()) && !std::mem::replace(&mut service.last_words, true) {
                let now = service.end.now.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(LAST_WORDS).await;
                    now.cancel();
                });
            }
            true
        });
        leaving
    }

    /// Starts a service with `start` for each container that is new.
    pub(crate) fn follow<F>(
        &mut self,
        targets: &Targets,
        mut start: impl FnMut(&RemoteContainer, End) -> (R, F),
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        for container in &targets.running {
            self.0.entry(container.id.clone()).or_insert_with(|| {
                let end = End::default();
                let (registered, run) = start(container, end.clone());
                Service { end, task: tokio::spawn(run), registered: Some(registered), last_words: false }
            });
        }
    }

    /// Whether no container is followed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends all services and waits until each has let go of its container. All stay registered until then: else one that ends
    /// a moment later would take the seat of one that has ended.
    pub(crate) async fn close(mut self) {
        for service in self.0.values() {
            service.end.now.cancel();
        }
        for (id, service) in &mut self.0 {
            if let Err(error) = (&mut service.task).await {
                tracing::warn!(id, %error, "a service did not end in order");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        time::Duration,
    };

    use super::{LAST_WORDS, ServiceList, targets};
    use crate::local::Election;

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

    /// Two services end; the second takes a moment longer.
    #[tokio::test(start_paused = true)]
    async fn nobody_takes_the_seat_of_one_that_ends_with_it() {
        let election = Arc::new(Election::default());
        let found = targets(
            &[pod("p1", &["c"], &json!({"running": {}})), pod("p2", &["c"], &json!({"running": {}}))],
            "",
        );
        let taken = Arc::new(AtomicBool::new(false));
        let mut services = ServiceList::default();
        let mut first = true;
        services.follow(&found, |container, end| {
            let (registered, id) = (election.register(&container.id), container.id.clone());
            let (election, taken, holds) = (Arc::clone(&election), Arc::clone(&taken), std::mem::take(&mut first));
            let run = async move {
                if holds {
                    let _seat = election.seat(&id).await;
                    return end.now.cancelled().await;
                }
                tokio::select! {
                    _ = election.seat(&id) => taken.store(true, Ordering::SeqCst),
                    () = async { end.now.cancelled().await; tokio::time::sleep(Duration::from_secs(1)).await } => {}
                }
            };
            (registered, run)
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        services.close().await;
        assert!(!taken.load(Ordering::SeqCst));
    }

    /// Of a pod that was taken away without any grace, what it wrote is still on its way.
    #[tokio::test(start_paused = true)]
    async fn one_whose_pod_is_gone_is_listened_to_for_a_while_and_one_that_is_back_begins_anew() {
        let here = targets(&[pod("p1", &["c"], &json!({"running": {}}))], "");
        let id = here.running[0].id.clone();
        let (told_tx, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut services = ServiceList::default();
        let start = |services: &mut ServiceList<()>,
                     told_tx: &tokio::sync::mpsc::UnboundedSender<&'static str>| {
            let told_tx = told_tx.clone();
            services.follow(&here, move |_, end| {
                let told_tx = told_tx.clone();
                ((), async move {
                    told_tx.send("begins").unwrap();
                    if end.now.run_until_cancelled(end.with_container.cancelled()).await.is_some() {
                        told_tx.send("leaves").unwrap();
                    }
                    end.now.cancelled().await;
                    told_tx.send("ends").unwrap();
                })
            });
        };
        assert!(services.leave(&here).is_empty());
        start(&mut services, &told_tx);
        assert_eq!(told.recv().await, Some("begins"));
        let nobody = targets(&[], "");
        assert_eq!(services.leave(&nobody), BTreeSet::from([id.clone()]));
        assert_eq!(told.recv().await, Some("leaves"));
        tokio::time::sleep(LAST_WORDS * 9 / 10).await;
        assert_eq!(services.leave(&nobody), BTreeSet::from([id.clone()]));
        assert!(told.try_recv().is_err());
        tokio::time::sleep(LAST_WORDS / 5).await;
        assert_eq!(told.recv().await, Some("ends"));
        assert!(services.leave(&nobody).is_empty() && services.is_empty());
        // It is back before its end.
        start(&mut services, &told_tx);
        assert_eq!(told.recv().await, Some("begins"));
        services.leave(&nobody);
        assert_eq!(told.recv().await, Some("leaves"));
        assert!(services.leave(&here).is_empty());
        start(&mut services, &told_tx);
        services.close().await;
        drop(told_tx);
        let mut all = Vec::new();
        while let Some(told) = told.recv().await {
            all.push(told);
        }
        all.sort_unstable();
        assert_eq!(all, ["begins", "ends", "ends"]);
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

    /// Statuses of a sidecar and of an ephemeral container are in lists of their own.
    fn all_kinds(states: [Value; 2]) -> Pod {
        let mut pod = serde_json::to_value(pod("p", &["app"], &json!({"waiting": {}}))).unwrap();
        pod["spec"]["initContainers"] = json!([{"name": "proxy", "restartPolicy": "Always"}]);
        pod["spec"]["ephemeralContainers"] = json!([{"name": "debugger"}]);
        pod["status"]["containerStatuses"][0]["ready"] = false.into();
        let lists =
            [("initContainerStatuses", "proxy", true), ("ephemeralContainerStatuses", "debugger", false)];
        for ((list, name, ready), state) in lists.into_iter().zip(states) {
            let mut status = pod["status"]["containerStatuses"][0].clone();
            status["name"] = name.into();
            status["containerID"] = format!("containerd://p-{name}").into();
            status["ready"] = ready.into();
            status["state"] = state;
            pod["status"][list] = json!([status]);
        }
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn a_sidecar_and_an_ephemeral_container_are_targets() {
        let pod = all_kinds([json!({"running": {}}), json!({"running": {}})]);
        for (name, policy) in [("proxy", "Always"), ("debugger", "Never")] {
            let found = targets([&pod], name);
            assert_eq!(found.running.len(), 1, "{found:?}");
            let container = &found.running[0];
            assert_eq!((container.name.as_str(), container.restart_policy.as_str()), (name, policy));
            assert_eq!(container.id, format!("containerd://p-{name}"));
            let ready = ["containerd://p-debugger", "containerd://p-proxy"].map(str::to_owned);
            assert_eq!(found.ready, ready.into(), "nobody probes the ephemeral one");
        }
    }

    #[test]
    fn what_does_not_run_is_named() {
        let back_off = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let ended = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
        let pod = all_kinds([back_off, ended]);
        let waiting = |name| targets([&pod], name).waiting;
        assert_eq!(waiting("proxy"), ["container `proxy` of pod `p` is not running: CrashLoopBackOff"]);
        assert_eq!(
            waiting("debugger"),
            ["ephemeral container `debugger` of pod `p` has ended, and is never started again"]
        );
    }

    #[test]
    fn a_pod_on_its_way_out_is_no_target() {
        let mut leaving = pod("p", &["c"], &json!({"running": {}}));
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        let found = targets(&[leaving], "");
        assert_eq!(found.leaving, ["containerd://p-c".to_owned()].into());
        assert_eq!(super::Targets { leaving: BTreeSet::new(), ..found }, super::Targets::default());
    }
}
