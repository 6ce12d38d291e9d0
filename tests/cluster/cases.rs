//! All cases, by room.

mod approvals;
mod atomicity;
mod attacks;
mod attacks_on_the_laptop;
mod churn;
mod claims;
mod config;
mod container_accidents;
mod container_to_local;
mod credentials;
mod first_sync;
#[cfg(feature = "test-guards")]
mod guards;
mod install;
mod kept;
mod kinds;
mod latency;
mod model;
mod network;
mod offline_edits;
mod old_ksync;
mod outages;
mod ownership;
mod pod_changes;
mod proofs;
mod refusals;
mod reload;
mod scale;
mod selection;
mod spool;
mod sync;
mod targets;
mod volumes;
mod watcher;
mod watcher_accidents;

use crate::suite::Case;

/// Where the busybox apps have their files.
const CODE: &str = "/code";
/// Pods of the app that `App` makes by default.
const APP: &[&str] = &["--selector", "app=app"];
/// The same where a case looks at something else, of which a reload would take it away: the status, most of all, and what
/// the app makes again at its start.
const NO_RELOAD: &[&str] = &["--selector", "app=app", "--reload=false"];

/// Rooms and their cases.
pub(crate) fn all() -> Vec<(&'static str, &'static [Case])> {
    vec![
        #[cfg(feature = "test-guards")]
        ("guards", guards::CASES),
        ("sync", sync::CASES),
        ("atomicity", atomicity::CASES),
        ("container_to_local", container_to_local::CASES),
        ("spool", spool::CASES),
        ("scale", scale::CASES),
        ("pod_changes", pod_changes::CASES),
        ("container_accidents", container_accidents::CASES),
        ("first_sync", first_sync::CASES),
        ("offline_edits", offline_edits::CASES),
        ("approvals", approvals::CASES),
        ("churn", churn::CASES),
        ("claims", claims::CASES),
        ("kept", kept::CASES),
        ("targets", targets::CASES),
        ("volumes", volumes::CASES),
        ("selection", selection::CASES),
        ("kinds", kinds::CASES),
        ("old_ksync", old_ksync::CASES),
        ("config", config::CASES),
        ("watcher", watcher::CASES),
        ("ownership", ownership::CASES),
        ("model", model::CASES),
        ("watcher_accidents", watcher_accidents::CASES),
        ("refusals", refusals::CASES),
        ("credentials", credentials::CASES),
        ("attacks", attacks::CASES),
        ("attacks_power", attacks::POWER),
        ("attacks_limits", attacks::LIMITS),
        ("attacks_on_the_laptop", attacks_on_the_laptop::CASES),
        ("proofs", proofs::CASES),
        ("network", network::CASES),
        ("reload", reload::CASES),
        ("reload_automatic", reload::AUTOMATIC),
        ("reload_filtered", reload::FILTERED),
        ("reload_held_processes", reload::HELD_PROCESSES),
        ("reload_other_modes", reload::OTHER_MODES),
        ("latency", latency::CASES),
        ("outages", outages::CASES),
        ("install", install::CASES),
    ]
}
