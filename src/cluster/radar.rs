//! What is known of radar in the cluster from its objects: whether it is there, and in a version that goes with ours.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt, api::ListParams};

use super::{
    ClusterConfig,
    manifest::{VERSION, VERSION_LABEL},
};
use crate::{
    printer::UserError,
    tunnel::{NAMESPACE, SELECTOR},
    version,
};

/// Refuses a cluster without radar, or with one that does not understand us.
pub(crate) async fn check(client: &Client, cluster: &ClusterConfig) -> Result<(), UserError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let pods = cluster.call(pods.list(&ListParams::default().labels(SELECTOR))).await?;
    if pods.items.is_empty() {
        let message = format!("radar is not installed in the cluster of context `{}`", cluster.context);
        return Err(UserError::new(message, "run `kubectl ksync init`"));
    }
    for pod in &pods.items {
        let version = pod.labels().get(VERSION_LABEL).map_or("unknown", String::as_str);
        compatible(VERSION, version)?;
    }
    Ok(())
}

/// Whether radar's version goes with ours, and what to do when it does not.
pub(crate) fn compatible(ours: &str, theirs: &str) -> Result<(), UserError> {
    if version::compatible(ours, theirs) {
        return Ok(());
    }
    let hint = if version::is_newer(theirs, ours) {
        "bring this program up to date: `kubectl krew upgrade ksync`"
    } else {
        "run `kubectl ksync init` to bring radar up to date"
    };
    let message = format!("radar in the cluster is `{theirs}`, which does not go with kubectl-ksync {ours}");
    Err(UserError::new(message, hint))
}

#[cfg(test)]
mod tests {
    use super::compatible;

    #[test]
    fn the_hint_names_the_older_side() {
        assert!(compatible("0.3.1", "0.4.0").is_ok());
        for (theirs, hint) in [("0.1.9", "init"), ("0.5.0", "krew"), ("1.3.1", "krew"), ("x", "init")] {
            let error = compatible("0.3.1", theirs).unwrap_err();
            assert!(error.hint().contains(hint), "{theirs}");
        }
    }
}
