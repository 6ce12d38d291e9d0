//! The commands, one file each: what was typed is turned into what is meant, and the rooms below do it.

pub(crate) mod answer;
mod changes;
pub(crate) mod clean;
pub(crate) mod completion;
pub(crate) mod conflicts;
pub(crate) mod create;
pub(crate) mod delete;
mod ensure;
pub(crate) mod get;
pub(crate) mod init;
mod kept;
pub(crate) mod reload;
pub(crate) mod restore;
mod stignore;
pub(crate) mod stop;
mod table;
pub(crate) mod version;
pub(crate) mod watch;

use crate::{
    cluster,
    config::Store,
    home::{Home, NotOwn},
    printer::UserError,
    release,
};

/// Refuses a spec that is not in ksync.yaml.
fn known(home: &Home, name: &str) -> anyhow::Result<()> {
    let config = Store::new(home.config_file()).load()?.config;
    if config.spec.iter().any(|spec| spec.name == name) {
        return Ok(());
    }
    Err(not_found(name, config.spec.iter().map(|spec| spec.name.as_str())).into())
}

/// That there is no such spec, and which there are.
fn not_found<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> UserError {
    let known: Vec<&str> = known.into_iter().collect();
    let hint = if known.is_empty() {
        "there are no specs".to_owned()
    } else {
        format!("specs: {}", known.join(", "))
    };
    UserError::new(format!("spec `{name}` not found"), hint)
}

/// The error of a command as a person is told it: rooms whose errors know what to do have a `hint` of their own.
pub(crate) fn explained(error: anyhow::Error) -> anyhow::Error {
    let hint = if let Some(error) = error.downcast_ref::<cluster::Error>() {
        error.hint()
    } else if let Some(error) = error.downcast_ref::<release::Error>() {
        error.hint()
    } else {
        NotOwn::among(error.as_ref()).map(NotOwn::hint)
    };
    match hint {
        Some(hint) => UserError::with_hint(error.as_ref(), hint).into(),
        None => error,
    }
}
