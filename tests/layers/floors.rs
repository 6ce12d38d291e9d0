//! Floors: in each house (a crate, or a room with rooms of its own) the order of its rooms, from the top down.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::{
    arrows::{Arrows, room_below},
    modules::{Crates, ModulePath},
};

/// The floors of each house.
pub(crate) struct Map(BTreeMap<String, Vec<Vec<String>>>);

/// Reads `floors.yaml` beside this file.
pub(crate) fn read(workspace: &Path) -> Map {
    let text = fs::read_to_string(workspace.join("tests/layers/floors.yaml")).unwrap();
    Map::parse(&text)
}

impl Map {
    /// `house: [[rooms of the top floor], [of the next], ...]`, a house being the path of a module.
    pub(crate) fn parse(text: &str) -> Self {
        Self(serde_yaml::from_str(text).expect("houses with floors"))
    }

    /// Arrows that do not point down, rooms without a floor, and rooms that are not there, a sentence each.
    pub(crate) fn faults(&self, crates: &Crates, arrows: &Arrows) -> Vec<String> {
        self.0.iter().flat_map(|(house, floors)| faults_of(house, floors, crates, arrows)).collect()
    }
}

fn faults_of(house: &str, floors: &[Vec<String>], crates: &Crates, arrows: &Arrows) -> Vec<String> {
    let path: ModulePath = house.split("::").map(str::to_owned).collect();
    let mut faults = Vec::new();
    let mut rooms = BTreeMap::new();
    for (module, content) in &crates.modules {
        if let Some(room) = room_below(&path, module) {
            rooms.insert(content.file.as_path(), room);
        }
    }
    let there: BTreeSet<&String> = rooms.values().collect();
    if there.is_empty() {
        return vec![format!("{house}: no such house")];
    }
    let mut floor_of = BTreeMap::new();
    for (floor, named) in floors.iter().enumerate() {
        for room in named {
            if !there.contains(room) {
                faults.push(format!("{house}: `{room}` has a floor and is not there"));
            }
            if floor_of.insert(room, floor).is_some() {
                faults.push(format!("{house}: `{room}` has two floors"));
            }
        }
    }
    faults.extend(
        there
            .into_iter()
            .filter(|room| !floor_of.contains_key(room))
            .map(|room| format!("{house}: `{room}` has no floor")),
    );
    for ((from, to), names) in arrows {
        let (Some(above), Some(below)) = (rooms.get(from.as_path()), rooms.get(to.as_path())) else {
            continue;
        };
        let (Some(high), Some(low)) = (floor_of.get(above), floor_of.get(below)) else { continue };
        if above != below && high >= low {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let names = names.join(", ");
            faults.push(format!(
                "{house}: {} -> {} does not point down: {names}",
                from.display(),
                to.display()
            ));
        }
    }
    faults
}
