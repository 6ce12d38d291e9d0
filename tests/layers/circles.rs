//! Circles among arrows: of files, and of the rooms of each house.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use petgraph::{algo::tarjan_scc, graph::DiGraph};

use crate::{
    arrows::{Arrows, room_below},
    modules::{Crates, ModulePath},
};

/// The circles of rooms in every module that has modules below it. What stands in the house itself belongs to no room.
pub(crate) fn of_rooms(crates: &Crates, arrows: &Arrows) -> Vec<String> {
    let houses: BTreeSet<ModulePath> =
        crates.modules.keys().filter_map(|module| Some(module.split_last()?.1.to_vec())).collect();
    let circles = houses.into_iter().filter(|house| !house.is_empty()).flat_map(|house| {
        let room = |file: &Path| {
            let (module, _) = crates.modules.iter().find(|(_, module)| module.file == file)?;
            Some(PathBuf::from(format!("{}::{}", house.join("::"), room_below(&house, module)?)))
        };
        let mut between = Arrows::new();
        for ((from, to), names) in arrows {
            if let (Some(from), Some(to)) = (room(from), room(to))
                && from != to
            {
                between.entry((from, to)).or_default().extend(names.iter().cloned());
            }
        }
        of(&between)
    });
    circles.collect()
}

/// Each circle with what ties it, a paragraph each.
pub(crate) fn of(arrows: &Arrows) -> Vec<String> {
    let mut graph = DiGraph::<&Path, ()>::new();
    let mut nodes = BTreeMap::new();
    for (from, to) in arrows.keys() {
        let [from, to] = [from, to].map(|file| *nodes.entry(file).or_insert_with(|| graph.add_node(file)));
        graph.add_edge(from, to, ());
    }
    let circles = tarjan_scc(&graph).into_iter().filter(|circle| circle.len() > 1);
    let told = circles.map(|circle| {
        let files: Vec<&Path> = circle.iter().map(|node| graph[*node]).collect();
        let ties = arrows
            .iter()
            .filter(|((from, to), _)| files.contains(&from.as_path()) && files.contains(&to.as_path()));
        let ties = ties.map(|((from, to), names)| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            format!("  {} -> {}: {}\n", from.display(), to.display(), names.join(", "))
        });
        format!("{} in a circle:\n{}", files.len(), ties.collect::<String>())
    });
    let mut told: Vec<String> = told.collect();
    told.sort();
    told
}
