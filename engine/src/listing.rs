//! A listing of all that a side holds, against what was known of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ksync_merge::{Group, State};

/// Where a listing is not what is known of a container.
pub(crate) fn differing(
    group: &mut Group,
    name: &str,
    listing: &BTreeMap<Arc<str>, State>,
) -> Vec<(Arc<str>, State)> {
    let Some((local, container)) = group.container(name) else { return Vec::new() };
    let mut paths: BTreeSet<Arc<str>> = listing.keys().cloned().collect();
    paths.extend(local.iter().map(|(path, _)| Arc::clone(path)));
    paths.extend(container.exceptions().map(|(path, _)| Arc::clone(path)));
    paths
        .into_iter()
        .filter_map(|path| {
            let now = listing.get(&path).cloned().flatten();
            let known = container.there(local, &path);
            (!ksync_merge::same(&now, &known)).then_some((path, now))
        })
        .collect()
}
