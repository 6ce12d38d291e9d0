//! syncthing as both sides use it: its home, its process, its REST API over a Unix socket.
//!
//! Shared by the watcher (local side) and radar (node side), so that a field of syncthing's
//! configuration has one spelling. Needs syncthing 1.27 to 2.x.

mod address;
mod batch;
mod client;
mod config;
mod event;
mod home;
mod launch;
mod pace;
#[cfg(feature = "testing")]
mod testing;

pub use batch::Batch;
pub use client::{Client, Error, FolderStatus, PullError};
pub use config::{Device, Folder, FolderType, MinDiskFree};
pub use event::{Event, TypedEvent};
pub use home::{Error as HomeError, Home, Options as HomeOptions};
pub use launch::{become_syncthing, command, through_own_binary};
pub use pace::Pace;
#[cfg(feature = "testing")]
pub use testing::TestSyncthing;
