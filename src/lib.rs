//! The plugin: commands on top, the watcher below them, and what both stand on.

pub mod base;
pub mod blocking;
pub mod cli;
pub mod cluster;
pub mod cmd;
pub mod config;
pub mod folder;
mod guards;
pub mod home;
pub mod kept;
pub mod local;
pub mod lock;
pub mod node;
pub mod printer;
pub mod release;
pub mod reload;
pub mod revision;
pub mod service;
pub mod spec;
pub mod speclist;
pub mod status;
pub mod tls;
pub mod tunnel;
pub mod version;
pub mod watcher;
