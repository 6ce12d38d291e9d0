//! The commands, one file each: what was typed is turned into what is meant, and the rooms below do it.

pub mod clean;
pub mod completion;
pub mod create;
pub mod delete;
mod ensure;
pub mod get;
pub mod init;
pub mod stop;
mod table;
pub mod version;
pub mod watch;
