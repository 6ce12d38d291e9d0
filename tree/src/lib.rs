//! Directory trees as data, for the laptop's side and for radar on the node.
//!
//! Every operation starts at an open directory ([`Root`]) and walks down component by component without following
//! symlinks, so nothing here can leave the tree, however hostile the tree is. Paths are relative, UTF-8, `/` between
//! names.

mod copy;
mod entry;
mod error;
mod guards;
mod identity;
mod ignore;
mod list;
mod look;
mod memory;
mod path;
mod power;
mod relocate;
mod root;
mod sparse;
mod stat;
mod swap;
mod sweep;
mod write;

pub use copy::{Removed, copy_entry, move_entry, remove_entry};
pub use entry::{DifferenceKind, Entry, Kind, Skipped};
pub use error::Error;
#[cfg(any(test, feature = "test-guards"))]
pub use guards::{Off as GuardsOff, off as guards_off};
pub use identity::Identity;
pub use ignore::{Ignore, STIGNORE_HEADER, pattern_of};
pub use list::{ListOptions, Listing, list};
pub use look::{Found, Looked, Read, content_of, look, look_into, open_file, pieces_of, read};
pub use memory::share as share_memory;
pub use path::{below, compare, covers, is_below};
pub use power::{Part, Power, Stay};
pub use relocate::move_new;
pub use root::{Owner, Root};
pub use stat::{Exact, stat_entry, stat_exact};
pub use swap::{
    Displaced, Known, Old, Swapped, Verdict,
    evacuate::{Evacuated, evacuate},
    leftover::{displaced_at, find_displaced},
    remove_known,
    staging::{Staged, Staging, make_parents, put_dir, put_symlink, set_attributes},
};
pub use sweep::sweep_unfinished;
pub use write::{TEMP_PREFIX, TEMP_SUFFIX, is_displaced, is_temp};
