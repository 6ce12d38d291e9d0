//! How far radar's DaemonSet is, and for each node that is not well why, in the pod's own words. Pure functions of the
//! objects; `cmd/init` fetches them.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ContainerStatus, Event, Pod},
};
use kube::ResourceExt;

/// Whether the DaemonSet is where its newest spec wants it.
pub(crate) fn done(set: &DaemonSet) -> bool {
    let Some(status) = &set.status else { return false };
    status.observed_generation >= set.metadata.generation
        && status.updated_number_scheduled.unwrap_or(0) == status.desired_number_scheduled
        && status.number_available.unwrap_or(0) == status.desired_number_scheduled
}

/// On how many nodes radar is wanted.
pub(crate) fn wanted(set: &DaemonSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.desired_number_scheduled)
}

/// How radar stands on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Ready, in the version that was applied.
    Ready,
    /// On its way.
    Busy(String),
    /// Something is wrong.
    Bad(String),
}

impl Standing {
    /// For a person.
    pub(crate) fn words(&self) -> &str {
        match self {
            Self::Ready => "ready",
            Self::Busy(words) | Self::Bad(words) => words,
        }
    }
}

/// Each node's standing. Pods of another revision than `version` are on their way out.
pub(crate) fn standings(pods: &[Pod], version: &str) -> BTreeMap<String, Standing> {
    let mut nodes: BTreeMap<String, Standing> = BTreeMap::new();
    for pod in pods {
        let old = pod.labels().get(super::manifest::VERSION_LABEL).is_none_or(|label| label != version);
        let standing = if old || pod.metadata.deletion_timestamp.is_some() {
            Standing::Busy("the old radar is ending".to_owned())
        } else {
            standing(pod)
        };
        let slot = nodes.entry(node(pod)).or_insert_with(|| standing.clone());
        // Beside an old one that is ending, the new one's standing is the node's.
        if !old && pod.metadata.deletion_timestamp.is_none() {
            *slot = standing;
        }
    }
    nodes
}

/// The node of a pod: where it runs, else where its DaemonSet wants it.
fn node(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    let wanted = || {
        let affinity = spec?.affinity.as_ref()?.node_affinity.as_ref()?;
        let terms =
            &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
        let field = terms
            .iter()
            .flat_map(|term| term.match_fields.iter().flatten())
            .find(|f| f.key == "metadata.name")?;
        field.values.as_ref()?.first().cloned()
    };
    spec.and_then(|spec| spec.node_name.clone()).or_else(wanted).unwrap_or_else(|| pod.name_any())
}

fn standing(pod: &Pod) -> Standing {
    let Some(status) = &pod.status else { return Standing::Busy("created".to_owned()) };
    if let Some(condition) =
        status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False")
    {
        return Standing::Bad(said(
            condition.reason.as_deref(),
            condition.message.as_deref(),
            "not scheduled",
        ));
    }
    if matches!(status.phase.as_deref(), Some("Failed")) {
        return Standing::Bad(said(status.reason.as_deref(), status.message.as_deref(), "the pod failed"));
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let mut worst = Standing::Ready;
    let mut count = 0;
    for container in containers {
        count += 1;
        match container_standing(container) {
            Standing::Bad(words) => return Standing::Bad(words),
            Standing::Busy(words) if worst == Standing::Ready => worst = Standing::Busy(words),
            _ => {}
        }
    }
    if count == 0 { Standing::Busy("starting".to_owned()) } else { worst }
}

fn container_standing(container: &ContainerStatus) -> Standing {
    let name = &container.name;
    let state = container.state.as_ref();
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        if matches!(reason, "ContainerCreating" | "PodInitializing") {
            return Standing::Busy("the image is being pulled or the container created".to_owned());
        }
        let mut words = format!("{name}: {}", said(Some(reason), waiting.message.as_deref(), reason));
        if let Some(last) = last_end(container) {
            words = format!("{words} (last: {last})");
        }
        return Standing::Bad(words);
    }
    if let Some(ended) = state.and_then(|state| state.terminated.as_ref()) {
        let fallback = format!("ended with status {}", ended.exit_code);
        return Standing::Bad(format!(
            "{name}: {}",
            said(ended.reason.as_deref(), ended.message.as_deref(), &fallback)
        ));
    }
    match (container.ready, last_end(container)) {
        (true, _) => Standing::Ready,
        (false, Some(last)) => Standing::Busy(format!("{name}: started again after {last}")),
        (false, None) => Standing::Busy(format!("{name} is starting")),
    }
}

fn last_end(container: &ContainerStatus) -> Option<String> {
    let ended = container.last_state.as_ref()?.terminated.as_ref()?;
    let fallback = format!("exit status {}", ended.exit_code);
    let words = said(ended.reason.as_deref(), ended.message.as_deref(), &fallback);
    Some(if words.contains("exit status") { words } else { format!("{words}, {fallback}") })
}

/// `Reason: message`, on one line.
fn said(reason: Option<&str>, message: Option<&str>, fallback: &str) -> String {
    let message =
        message.map(|m| m.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|m| !m.is_empty());
    match (reason.filter(|reason| !reason.is_empty()), message) {
        (Some(reason), Some(message)) => format!("{reason}: {message}"),
        (Some(reason), None) => reason.to_owned(),
        (None, Some(message)) => message,
        (None, None) => fallback.to_owned(),
    }
}

/// The last warnings about an object, oldest first, each once.
pub(crate) fn warnings(mut events: Vec<Event>, most: usize) -> Vec<String> {
    events.retain(|event| event.type_.as_deref() == Some("Warning"));
    events.sort_by_key(|event| {
        event.last_timestamp.as_ref().map(|time| time.0).or(event
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0))
    });
    let mut told: Vec<String> = Vec::new();
    for event in events.into_iter().rev() {
        let words = said(event.reason.as_deref(), event.message.as_deref(), "");
        if !words.is_empty() && !told.contains(&words) && told.len() < most {
            told.push(words);
        }
    }
    told.reverse();
    told
}

/// Whether a warning says more than `words` do. Warnings end in their cause, after the last colon.
pub(crate) fn adds(words: &str, warning: &str) -> bool {
    warning.rsplit(": ").next().is_some_and(|cause| !words.contains(cause))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod};
    use serde_json::json;

    use super::{Standing, done, standings};

    fn pod(node: &str, status: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": format!("ksync-{node}"), "labels": {"app.kubernetes.io/version": "1.0.0"}},
            "spec": {"nodeName": node, "containers": []},
            "status": status,
        }))
        .unwrap()
    }

    fn container(state: &serde_json::Value, ready: bool, last: &serde_json::Value) -> serde_json::Value {
        json!({"containerStatuses": [{"name": "radar", "image": "i", "imageID": "", "ready": ready, "restartCount": 0, "state": state, "lastState": last}]})
    }

    #[test]
    fn each_node_is_told_in_the_pods_own_words() {
        let pull =
            json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling\n image \"x\""}});
        let crash = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
        let ended = json!({"terminated": {"exitCode": 3, "reason": "Error", "message": "no kernel"}});
        let unscheduled = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}]});
        let pods = [
            pod("a", &container(&pull, false, &json!({}))),
            pod("b", &container(&crash, false, &ended)),
            pod("c", &unscheduled),
            pod("d", &container(&json!({"running": {}}), true, &json!({}))),
            pod("e", &container(&json!({"waiting": {"reason": "ContainerCreating"}}), false, &json!({}))),
        ];
        let found: Vec<_> = standings(&pods, "1.0.0").into_values().collect();
        assert_eq!(
            found,
            [
                Standing::Bad("radar: ImagePullBackOff: Back-off pulling image \"x\"".into()),
                Standing::Bad(
                    "radar: CrashLoopBackOff: back-off 10s (last: Error: no kernel, exit status 3)".into()
                ),
                Standing::Bad("Unschedulable: 0/2 nodes".into()),
                Standing::Ready,
                Standing::Busy("the image is being pulled or the container created".into()),
            ]
        );
        assert!(
            matches!(&standings(&pods[3..4], "1.1.0")["d"], Standing::Busy(words) if words.contains("old"))
        );
    }

    #[test]
    fn a_warning_is_not_told_twice() {
        let words = "radar: ErrImagePull: failed to pull \"x\": no such host";
        assert!(!super::adds(words, "Failed: Failed to pull image \"x\": no such host"));
        assert!(!super::adds(words, "Failed: Error: ErrImagePull"));
        assert!(super::adds(words, "FailedMount: secret \"s\" not found"));
    }

    #[test]
    fn a_rollout_is_done_when_the_newest_spec_is_everywhere() {
        let set = |generation: i64, observed: i64, updated: i32, available: i32| -> DaemonSet {
            serde_json::from_value(json!({
                "metadata": {"generation": generation},
                "status": {"observedGeneration": observed, "updatedNumberScheduled": updated, "numberAvailable": available,
                    "desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberMisscheduled": 0, "numberReady": 2},
            }))
            .unwrap()
        };
        assert!(done(&set(2, 2, 2, 2)));
        for behind in [set(2, 1, 2, 2), set(2, 2, 1, 2), set(2, 2, 2, 1)] {
            assert!(!done(&behind));
        }
        assert!(!done(&DaemonSet::default()));
    }
}
