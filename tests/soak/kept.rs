//! What is kept, read from its directory: `contexts/CONTEXT/kept/FOLDER/KIND/MOMENT/PATH`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use ksync_judge::Kept;

use crate::scan;

/// Everything that is kept, and where it lies.
pub(crate) fn all(home: &Path) -> Vec<(PathBuf, Kept)> {
    let mut all = Vec::new();
    for context in entries(&home.join("contexts")) {
        for folder in entries(&context.join("kept")) {
            for kind in entries(&folder).into_iter().filter(|kind| kind.is_dir()) {
                let name = name_of(&kind);
                for moment in entries(&kind) {
                    files(&moment, &moment, &name, &mut all);
                }
            }
        }
    }
    all
}

/// Those that were not there before are new.
pub(crate) fn since(home: &Path, before: &BTreeSet<PathBuf>) -> Vec<Kept> {
    let with_age = |(place, kept): (PathBuf, Kept)| Kept { new: !before.contains(&place), ..kept };
    all(home).into_iter().map(with_age).collect()
}

fn files(root: &Path, dir: &Path, kind: &str, all: &mut Vec<(PathBuf, Kept)>) {
    for place in entries(dir) {
        if place.is_dir() && !place.is_symlink() {
            files(root, &place, kind, all);
            continue;
        }
        let Ok(ksync_judge::State::File { content, .. }) = scan::state_of(&place) else { continue };
        let path = place.strip_prefix(root).unwrap_or(&place).to_string_lossy().into_owned();
        all.push((place, Kept { path, kind: kind.to_owned(), content, new: true }));
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
