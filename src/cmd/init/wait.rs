//! Waiting for an earlier radar's end, then for radar on every node, and saying for each that is not well why.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Event, Namespace, Pod},
};
use kube::{Api, Client, ResourceExt, api::ListParams};
use tokio::time::Instant;

use super::install::NAME;
use crate::{
    cluster::{
        ClusterConfig, explain,
        manifest::VERSION,
        rollout::{Standing, adds, done, standings, wanted, warnings},
    },
    printer::{Printer, UserError},
    tunnel::{NAMESPACE, SELECTOR},
};

const POLL: Duration = Duration::from_millis(300);
/// How many of a pod's warnings are told.
const WARNINGS: usize = 3;

/// Waits until a namespace that is being removed (`clean`, just before) is gone: nothing can be made in it meanwhile.
pub(super) async fn namespace_gone(
    client: &Client,
    cluster: &ClusterConfig,
    limit: Duration,
    printer: Printer,
) -> Result<(), UserError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let deadline = Instant::now() + limit;
    let mut told = false;
    loop {
        let namespace = match cluster.call_raw(namespaces.get_opt(NAMESPACE)).await? {
            Ok(namespace) => namespace,
            // Who may not look at it gets to hear of it when something is applied.
            Err(kube::Error::Api(status)) if status.code == 403 => return Ok(()),
            Err(error) => return Err(explain(&error, &cluster.server)),
        };
        if namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_none()) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let message =
                format!("namespace `{NAMESPACE}` is still being removed after {}s", limit.as_secs());
            let hint = format!("`kubectl get namespace {NAMESPACE} -o yaml` shows what holds it up");
            return Err(UserError::new(message, hint));
        }
        if !std::mem::replace(&mut told, true) {
            printer.say(format!("namespace `{NAMESPACE}` is being removed: waiting until it is gone"));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until radar is ready on every node that is to have it; returns on how many.
pub(super) async fn rollout(
    client: &Client,
    cluster: &ClusterConfig,
    limit: Duration,
    printer: Printer,
) -> Result<usize, UserError> {
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let deadline = Instant::now() + limit;
    let mut told: BTreeMap<String, Standing> = BTreeMap::new();
    let mut waited = false;
    loop {
        let set = match cluster.call_raw(sets.get(NAME)).await? {
            Ok(set) => Some(set),
            // Without the right to see it, its pods have to do.
            Err(kube::Error::Api(status)) if status.code == 403 => None,
            Err(error) => return Err(explain(&error, &cluster.server)),
        };
        let found = cluster.call(pods.list(&ListParams::default().labels(SELECTOR))).await?.items;
        let nodes = standings(&found, VERSION);
        let well = nodes.values().filter(|standing| **standing == Standing::Ready).count();
        let complete = match &set {
            Some(set) => done(set) && usize::try_from(wanted(set)).is_ok_and(|wanted| well >= wanted),
            None => well > 0 && well == nodes.len(),
        };
        if complete {
            if waited {
                tell(&mut told, nodes, printer);
            }
            return Ok(well);
        }
        tell(&mut told, nodes, printer);
        waited = true;
        if Instant::now() >= deadline {
            return Err(failure(client, cluster, &found, &told, limit).await);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Says what changed.
fn tell(told: &mut BTreeMap<String, Standing>, nodes: BTreeMap<String, Standing>, printer: Printer) {
    for (node, standing) in &nodes {
        if told.get(node) != Some(standing) {
            printer.say(format!("node `{node}`: {}", standing.words()));
        }
    }
    *told = nodes;
}

/// Why it took too long: every node that is not well, with its pod's last warnings.
async fn failure(
    client: &Client,
    cluster: &ClusterConfig,
    pods: &[Pod],
    nodes: &BTreeMap<String, Standing>,
    limit: Duration,
) -> UserError {
    let mut reasons = Vec::new();
    for (node, standing) in nodes.iter().filter(|(_, standing)| **standing != Standing::Ready) {
        let mut words = format!("node `{node}`: {}", standing.words());
        let pod = pods.iter().find(|pod| standings(std::slice::from_ref(pod), VERSION).contains_key(node));
        if let Some(uid) = pod.and_then(ResourceExt::uid) {
            let events: Api<Event> = Api::namespaced(client.clone(), NAMESPACE);
            let params = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
            // Events only say more about it; without them the standing itself is told.
            if let Ok(events) = cluster.call(events.list(&params)).await {
                for warning in warnings(events.items, WARNINGS) {
                    if adds(&words, &warning) {
                        words = format!("{words}; {warning}");
                    }
                }
            }
        }
        reasons.push(words);
    }
    let reasons = if reasons.is_empty() { "it has no pods".to_owned() } else { reasons.join("; ") };
    UserError::new(
        format!("radar is not ready on all nodes after {}s: {reasons}", limit.as_secs()),
        format!(
            "`kubectl -n {NAMESPACE} describe pods` tells more; run `kubectl ksync init` again when it is mended"
        ),
    )
}
