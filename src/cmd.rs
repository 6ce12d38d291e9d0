//! The commands, one file each: what was typed is turned into what is meant, and the rooms below do it.

pub mod answer;
mod changes;
pub mod clean;
pub mod completion;
pub mod conflicts;
pub mod create;
pub mod delete;
mod ensure;
pub mod get;
pub mod init;
mod kept;
pub mod reload;
pub mod restore;
mod stignore;
pub mod stop;
mod table;
pub mod version;
pub mod watch;

use crate::{cluster, printer::UserError, release};

/// The error of a command as a person is told it: rooms whose errors know what to do have a `hint` of their own.
pub fn explained(error: anyhow::Error) -> anyhow::Error {
    let hint = if let Some(error) = error.downcast_ref::<cluster::Error>() {
        error.hint()
    } else if let Some(error) = error.downcast_ref::<release::Error>() {
        error.hint()
    } else {
        None
    };
    match hint {
        Some(hint) => UserError::with_hint(error.as_ref(), hint).into(),
        None => error,
    }
}
