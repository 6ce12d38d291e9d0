//! Directory trees as data and as streams, for the laptop's side and for radar on the node.
//!
//! Every operation starts at an open directory ([`Root`]) and walks down component by component without following
//! symlinks, so nothing here can leave the tree, however hostile the tree is. Paths are relative, UTF-8, `/` between
//! names.

mod case;
pub mod copy;
pub mod entry;
pub mod error;
mod identity;
pub mod ignore;
pub mod list;
mod memory;
pub mod pack;
pub mod path;
mod pax;
mod relocate;
pub mod root;
pub mod stat;
mod sweep;
pub mod unpack;
pub mod write;

pub use case::is_case_sensitive;
pub use copy::{Original, Removed, copy_entry, move_entry, remove_entry};
pub use entry::{Difference, DifferenceKind, Entry, Kind, Skipped, differences};
pub use error::Error;
pub use identity::Identity;
pub use ignore::Ignore;
pub use list::{ListOptions, Listing, is_composed, list, list_chunks};
pub use memory::{give_back, share as share_memory};
pub use pack::{Counts, pack};
pub use path::{below, compare, covers, is_below};
pub use relocate::{move_new, remove_same};
pub use root::Root;
pub use stat::{Exact, hash_file, read_file, stat_entry, stat_exact};
pub use sweep::sweep_unfinished;
pub use unpack::{Owner, UnpackOptions, unpack};
pub use write::{TEMP_PREFIX, TEMP_SUFFIX, is_internal, is_temp, write_file};
