//! Directory trees as data and as streams, for the laptop's side and for radar on the node.
//!
//! Every operation starts at an open directory ([`Root`]) and walks down component by component without following
//! symlinks, so nothing here can leave the tree, however hostile the tree is. Paths are relative, UTF-8, `/` between
//! names.

mod case;
mod copy;
mod entry;
mod error;
mod identity;
mod ignore;
mod junk;
mod list;
mod look;
mod memory;
mod pack;
mod path;
mod pax;
mod relocate;
mod root;
mod stat;
mod swap;
mod sweep;
mod unpack;
mod write;

pub use case::is_case_sensitive;
pub use copy::{Original, Removed, copy_entry, move_entry, remove_entry};
pub use entry::{Difference, DifferenceKind, Entry, Kind, Skipped, differences};
pub use error::Error;
pub use identity::Identity;
pub use ignore::{Ignore, STIGNORE_HEADER, pattern_of};
pub use junk::{Rest, remove_junk, remove_with_junk, rest};
pub use list::{ListOptions, Listing, is_composed, list, list_chunks};
pub use look::{Found, Looked, Read, content_of, look, look_into, read};
pub use memory::{give_back, share as share_memory};
pub use pack::{Counts, pack};
pub use path::{below, compare, covers, is_below};
pub use relocate::{move_new, remove_same};
pub use root::Root;
pub use stat::{Exact, stat_entry, stat_exact};
pub use swap::{
    Displaced, Known, Old, Swapped, Verdict, copy_known,
    evacuate::evacuate,
    leftover::{displaced_at, find_displaced},
    move_known, remove_known,
    staging::{Staged, Staging, make_parents, put_dir, put_symlink, set_attributes},
};
pub use sweep::sweep_unfinished;
pub use unpack::{Owner, UnpackOptions, unpack};
pub use write::{TEMP_PREFIX, TEMP_SUFFIX, is_displaced, is_temp};
