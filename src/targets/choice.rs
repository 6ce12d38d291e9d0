//! Which container of a pod a spec means: the one that it names, or the obvious one.
//!
//! Invariant: what another party adds to a pod (a mesh's sidecar, somebody's debug container) makes no choice necessary
//! where there was none; only containers that live as long as the pod, or as their own program, are chosen.

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;

/// Names the container that tools take where nobody names one; `kubectl exec` goes by it too.
const DEFAULT: &str = "kubectl.kubernetes.io/default-container";
const ALWAYS: &str = "Always";

/// What a container is in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One of `containers`.
    App,
    /// An init container that goes on beside the app (a native sidecar).
    Sidecar,
    /// Added to the running pod, for example by `kubectl debug`.
    Ephemeral,
}

/// A container that can be synced, as its pod declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Declared<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    /// Whether kubelet starts it again after it has ended: its own policy, else its pod's.
    pub(super) restart_policy: &'a str,
}

/// The container `name`; where that is empty the pod's default, or the only one of its `containers`.
pub(super) fn choose<'a>(pod: &'a Pod, name: &str) -> Result<Declared<'a>, String> {
    let declared = declared(pod);
    let pod_name = pod.name_any();
    let list = || declared.iter().map(|container| container.name).collect::<Vec<_>>().join(", ");
    let named = |name: &str| declared.iter().find(|container| container.name == name).copied();
    if !name.is_empty() {
        return named(name).ok_or_else(|| {
            if init_containers(pod).any(|init| init.name == name) {
                format!(
                    "container `{name}` of pod `{pod_name}` is an init container without `restartPolicy: Always`: it ends \
                     before the app starts, so it can't be synced"
                )
            } else {
                format!("pod `{pod_name}` has no container `{name}` (it has: {})", list())
            }
        });
    }
    if let Some(default) = pod.annotations().get(DEFAULT).and_then(|name| named(name)) {
        return Ok(default);
    }
    let mut apps = declared.iter().filter(|container| container.kind == Kind::App);
    match (apps.next(), apps.next()) {
        (Some(only), None) => Ok(*only),
        _ => Err(format!(
            "pod `{pod_name}` has several containers ({}): choose one with `--container`",
            list()
        )),
    }
}

/// All that can be synced: the app's own first.
fn declared(pod: &Pod) -> Vec<Declared<'_>> {
    let spec = pod.spec.as_ref();
    let pods = spec.and_then(|spec| spec.restart_policy.as_deref()).unwrap_or_default();
    let apps = spec.into_iter().flat_map(|spec| &spec.containers).map(|app| Declared {
        name: &app.name,
        kind: Kind::App,
        restart_policy: app.restart_policy.as_deref().unwrap_or(pods),
    });
    let sidecars = init_containers(pod).filter(|init| init.restart_policy.as_deref() == Some(ALWAYS));
    let sidecars =
        sidecars.map(|sidecar| Declared { name: &sidecar.name, kind: Kind::Sidecar, restart_policy: ALWAYS });
    let ephemeral = spec.into_iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    let ephemeral =
        ephemeral.map(|one| Declared { name: &one.name, kind: Kind::Ephemeral, restart_policy: "Never" });
    apps.chain(sidecars).chain(ephemeral).collect()
}

fn init_containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::{Kind, choose};

    fn pod(default: Option<&str>, mut spec: Value) -> Pod {
        spec["restartPolicy"] = "OnFailure".into();
        let annotations = default.map(|name| json!({ "kubectl.kubernetes.io/default-container": name }));
        serde_json::from_value(
            json!({ "metadata": { "name": "p", "annotations": annotations }, "spec": spec }),
        )
        .unwrap()
    }

    /// One app container, a plain init container, a sidecar and a debug container.
    fn all_kinds(default: Option<&str>) -> Pod {
        pod(
            default,
            json!({
                "containers": [{ "name": "app" }],
                "initContainers": [
                    { "name": "setup" },
                    { "name": "once", "restartPolicy": "Never" },
                    { "name": "proxy", "restartPolicy": "Always" },
                ],
                "ephemeralContainers": [{ "name": "debugger" }],
            }),
        )
    }

    fn name(pod: &Pod, name: &str) -> Result<String, String> {
        choose(pod, name).map(|chosen| chosen.name.to_owned())
    }

    #[test]
    fn several_containers_need_a_choice() {
        let two = |default| pod(default, json!({ "containers": [{ "name": "a" }, { "name": "b" }] }));
        let error = "pod `p` has several containers (a, b): choose one with `--container`";
        assert_eq!(name(&two(None), "").unwrap_err(), error);
        assert_eq!(name(&two(None), "b").unwrap(), "b");
        assert_eq!(name(&two(None), "x").unwrap_err(), "pod `p` has no container `x` (it has: a, b)");
        assert_eq!(name(&two(Some("a")), "").unwrap(), "a");
        assert_eq!(name(&two(Some("gone")), "").unwrap_err(), error);
    }

    #[test]
    fn every_kind_can_be_named_and_has_its_restart_policy() {
        let pod = all_kinds(None);
        for (name, kind, policy) in [
            ("app", Kind::App, "OnFailure"),
            ("proxy", Kind::Sidecar, "Always"),
            ("debugger", Kind::Ephemeral, "Never"),
        ] {
            let chosen = choose(&pod, name).unwrap();
            assert_eq!((chosen.name, chosen.kind, chosen.restart_policy), (name, kind, policy));
        }
        let error = "pod `p` has no container `x` (it has: app, proxy, debugger)";
        assert_eq!(name(&pod, "x").unwrap_err(), error);
    }

    /// A container of the app's own may have a policy of its own (`ContainerRestartRules`).
    #[test]
    fn a_containers_own_restart_policy_counts() {
        let pod = self::pod(None, json!({ "containers": [{ "name": "app", "restartPolicy": "Always" }] }));
        assert_eq!(choose(&pod, "").unwrap().restart_policy, "Always");
    }

    #[test]
    fn what_is_added_to_a_pod_makes_no_choice_necessary() {
        assert_eq!(name(&all_kinds(None), "").unwrap(), "app");
        assert_eq!(name(&all_kinds(Some("proxy")), "").unwrap(), "proxy", "unless the pod says so");
    }

    #[test]
    fn an_init_container_that_ends_is_refused_with_the_reason() {
        for setup in ["setup", "once"] {
            assert_eq!(
                name(&all_kinds(None), setup).unwrap_err(),
                format!(
                    "container `{setup}` of pod `p` is an init container without `restartPolicy: Always`: it ends before \
                     the app starts, so it can't be synced"
                )
            );
        }
        assert_eq!(name(&all_kinds(Some("setup")), "").unwrap(), "app", "nor is it anybody's default");
    }
}
