//! All cases, by room.

mod accidents;
mod answers;
mod apart;
mod back;
mod choice;
mod config;
mod follow;
#[cfg(feature = "test-guards")]
mod guards;
mod install;
mod latency;
mod life;
mod login;
mod model;
mod refusals;
mod reload;
mod scale;
mod seed;
mod survive;
mod sync;
mod targets;
mod volumes;
mod watcher;
mod whole;
mod whose;
mod wire;

use crate::suite::Case;

/// Where the busybox apps have their files.
const CODE: &str = "/code";
/// Pods of the app that `App` makes by default.
const APP: &[&str] = &["--selector", "app=app"];
/// The same where a case looks at something else, of which a reload would take it away: the status, most of all, and what
/// the app makes again at its start.
const STILL: &[&str] = &["--selector", "app=app", "--reload=false"];

/// Rooms and their cases.
pub(crate) fn all() -> Vec<(&'static str, &'static [Case])> {
    vec![
        #[cfg(feature = "test-guards")]
        ("guards", guards::CASES),
        ("sync", sync::CASES),
        ("whole", whole::CASES),
        ("back", back::CASES),
        ("scale", scale::CASES),
        ("follow", follow::CASES),
        ("accidents", accidents::CASES),
        ("apart", apart::CASES),
        ("answers", answers::CASES),
        ("targets", targets::CASES),
        ("volumes", volumes::CASES),
        ("choice", choice::CASES),
        ("seed", seed::CASES),
        ("config", config::CASES),
        ("watcher", watcher::CASES),
        ("whose", whose::CASES),
        ("model", model::CASES),
        ("life", life::CASES),
        ("refusals", refusals::CASES),
        ("login", login::CASES),
        ("wire", wire::CASES),
        ("reload", reload::CASES),
        ("reload_automatic", reload::AUTOMATIC),
        ("reload_held", reload::HELD),
        ("reload_other", reload::OTHER),
        ("latency", latency::CASES),
        ("survive", survive::CASES),
        ("install", install::CASES),
    ]
}
