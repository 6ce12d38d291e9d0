//! The map of the rooms, checked: which file names what another file defines, read from the source.
//!
//! Invariant: no circle of files in any crate; arrows between rooms point down, by the floors in `floors.yaml`; the
//! methods of a type stand in the file that defines the type.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the whole target is a test")]

mod arrows;
mod circles;
mod floors;
mod modules;
mod sample;
mod scope;

use std::{fmt::Write as _, path::Path};

use modules::Crates;

#[test]
fn the_map_is_true() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = Crates::read(workspace);
    let arrows = arrows::all(&crates);
    let faults = [
        ("circles of files", circles::of(&arrows)),
        ("circles of rooms", circles::of_rooms(&crates, &arrows)),
        ("types whose methods are spread", arrows::spread(&crates)),
        ("faults of the floors", floors::read(workspace).faults(&crates, &arrows)),
    ];
    let mut told = String::new();
    for (of, found) in faults.into_iter().filter(|(_, found)| !found.is_empty()) {
        let _ = writeln!(told, "{} {of}:\n{}", found.len(), found.join("\n"));
    }
    assert!(told.is_empty(), "{told}");
}
