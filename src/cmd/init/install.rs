//! Applying radar's manifest: server-side, by our own field manager, never over a newer radar.

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};

use crate::{
    cluster::{
        ClusterConfig, explain,
        manifest::{self, Installed, Manifest, VERSION, Wanted},
    },
    printer::{Printer, UserError},
    tunnel::NAMESPACE,
};

/// Who owns the fields that we apply.
const MANAGER: &str = "ksync";
/// radar's DaemonSet.
pub(super) const NAME: &str = "ksync";

/// Applies what differs; tells whether anything did. Somebody without rights over radar needs none where it already
/// runs in this version.
pub(super) async fn radar(
    client: &Client,
    cluster: &ClusterConfig,
    wanted: &Wanted,
    force: bool,
    printer: Printer,
) -> anyhow::Result<bool> {
    let installed = installed(client, cluster).await?;
    let there = installed.as_ref().and_then(|there| there.version.as_deref());
    if let Some(there) = there
        && crate::version::is_newer(there, VERSION)
        && !force
    {
        let message = format!("radar in the cluster is {there}, newer than this program's {VERSION}");
        let hint = "bring this program up to date (`kubectl krew upgrade ksync`), or install the older one with `--force`";
        return Err(UserError::new(message, hint).into());
    }
    let options = wanted.beside(installed.as_ref());
    if wanted.image.is_none() && options.image != manifest::default_image() {
        printer.say(format!("radar {VERSION} keeps the image {} (give --image to change it)", options.image));
    }
    let manifest = manifest::render(&options)?;
    let mut changed = false;
    for object in &manifest.objects {
        match apply(client, cluster, object).await? {
            Ok(did) => changed |= did,
            Err(error) => {
                let denied = matches!(&error, kube::Error::Api(status) if status.code == 403);
                let told = explain(&error, &cluster.server);
                if denied && there == Some(VERSION) {
                    printer.say(format!("radar {VERSION} runs already and is left as it is: {told}"));
                    return Ok(changed);
                }
                return Err(told.into());
            }
        }
    }
    if changed {
        printer.say(format!("radar {VERSION} applied"));
    }
    Ok(changed)
}

/// Applies the rights to radar of these groups; tells whether that changed anything.
pub(super) async fn rights(
    client: &Client,
    cluster: &ClusterConfig,
    rights: &Manifest,
    groups: &[String],
    printer: Printer,
) -> anyhow::Result<bool> {
    let mut changed = false;
    for object in &rights.objects {
        changed |= apply(client, cluster, object).await?.map_err(|error| explain(&error, &cluster.server))?;
    }
    if changed {
        let names: Vec<String> = groups.iter().map(|name| format!("`{name}`")).collect();
        printer.say(format!("radar may be reached by {}", names.join(", ")));
    }
    Ok(changed)
}

/// The radar in the cluster, if there is one that can be seen.
async fn installed(client: &Client, cluster: &ClusterConfig) -> Result<Option<Installed>, UserError> {
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
    match cluster.call_raw(sets.get_opt(NAME)).await? {
        Ok(set) => Ok(set.map(|set| {
            let pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
            Installed::of(set.labels(), pod)
        })),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            // Whoever may use radar may at least see its pods.
            let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client.clone(), NAMESPACE);
            let params = kube::api::ListParams::default().labels(crate::tunnel::SELECTOR);
            let pods = cluster.call(pods.list(&params)).await?;
            let all = pods.items.iter().map(|pod| Installed::of(pod.labels(), pod.spec.as_ref()));
            Ok(all.min_by(|a, b| a.version.cmp(&b.version)))
        }
        Err(error) => Err(explain(&error, &cluster.server)),
    }
}

/// Applies one object; tells whether that changed it.
async fn apply(
    client: &Client,
    cluster: &ClusterConfig,
    object: &DynamicObject,
) -> Result<kube::Result<bool>, UserError> {
    let types = object.types.clone().unwrap_or_default();
    let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind));
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = object.name_any();
    let before = match cluster.call_raw(api.get_metadata_opt(&name)).await? {
        Ok(before) => before.and_then(|before| before.metadata.resource_version),
        Err(error) => return Ok(Err(error)),
    };
    let params = PatchParams::apply(MANAGER).force();
    let after = cluster.call_raw(api.patch(&name, &params, &Patch::Apply(object))).await?;
    Ok(after.map(|after| after.metadata.resource_version != before))
}
