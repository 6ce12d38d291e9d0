//! syncthing as both sides use it: its home, its process, its REST API over a Unix socket.
//!
//! Shared by the watcher (local side) and radar (node side), so that a field of syncthing's
//! configuration has one spelling. Needs syncthing 1.27 to 2.x.

pub mod batch;
pub mod client;
pub mod config;
pub mod conflict;
pub mod event;
pub mod home;
pub mod launch;
pub mod pace;

pub use batch::Batch;
pub use client::{Client, Error, FolderStatus, PullError};
pub use config::{Device, Folder, FolderType, MinDiskFree};
pub use event::Event;
pub use pace::Pace;
