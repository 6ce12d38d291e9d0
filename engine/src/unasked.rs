//! What of a container does not come here unasked ([`ksync_merge::Concern`]), as a question, and what an answer does.
//!
//! Invariant: an answer is given to all that is asked about when it comes, and to nothing else.

use std::{collections::BTreeSet, sync::Arc};

use ksync_merge::{Cleared, Concern, Container, Local, Side};
use ksync_tree::covers;

use crate::{
    member::Attached,
    stands::size,
    state::{Named, Unasked},
};

/// What is asked about, if anything is.
pub(crate) fn asked(member: &Attached, local: &Local, container: &Container) -> Option<Unasked> {
    let mut asked = Unasked::default();
    let (mut repositories, mut tops) = (BTreeSet::new(), BTreeSet::new());
    for (path, concern, [here, there]) in ksync_merge::asked(local, container) {
        match concern {
            Concern::Repository(dir) => drop(repositories.insert(dir)),
            Concern::LinkOut => {
                let target = there.as_ref().and_then(|entry| entry.target.as_deref()).unwrap_or_default();
                add(&mut asked.links, || format!("{path} -> {}", String::from_utf8_lossy(target)));
            }
            Concern::Large => add(&mut asked.large, || path.to_string()),
            Concern::InAll => add(&mut asked.in_all, || path.to_string()),
        }
        asked.entries += 1;
        asked.bytes += size(&there);
        if here.is_some() {
            asked.replaced += 1;
        } else if !above(path).any(|above| tops.contains(above)) {
            // In byte order, in which a directory comes before what is in it.
            tops.insert(path.to_string());
        }
    }
    for dir in repositories {
        add(&mut asked.repositories, || dir.clone());
    }
    for file in member.parked.values() {
        add(&mut asked.kept, || file.path.clone());
        asked.bytes += file.entry.size;
    }
    asked.tops = tops.into_iter().collect();
    (asked.entries > 0 || asked.kept.count > 0).then_some(asked)
}

/// The directories above `path`, uppermost first.
pub(crate) fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// Lets all come that is asked about, and with a first pull all that is wanted; from now on, for all containers.
pub(crate) fn agree(
    member: &Attached,
    local: &Local,
    container: &Container,
    first_pull: bool,
    cleared: &mut Cleared,
) {
    for wanted in container.wanted(local).filter(|wanted| wanted.side == Side::Here) {
        let Some(entry) = &wanted.new else { continue };
        let concern = ksync_merge::concern(local, container, &wanted);
        if concern.is_some() || first_pull {
            cleared.add(&wanted.path, entry, concern.as_ref());
        }
    }
    for file in member.parked.values() {
        cleared.add_size(&Arc::from(file.path.as_str()), file.entry.size);
    }
}

/// Undoes in the container what it has changed of what stands here. What only it has stays there, and goes on being asked about.
pub(crate) fn decline(local: &Local, container: &mut Container) {
    let here = |(path, _, [here, _]): (&Arc<str>, _, [ksync_merge::State; 2])| here.map(|_| Arc::clone(path));
    let changed: Vec<Arc<str>> = ksync_merge::asked(local, container).filter_map(here).collect();
    for path in changed {
        container.undo_change(local, &path);
    }
}

/// Of several lists of paths, each of which stands for all below it, one.
pub fn joined_tops(lists: impl IntoIterator<Item = Vec<String>>) -> Vec<String> {
    let all: BTreeSet<String> = lists.into_iter().flatten().collect();
    let is_below = |path: &String| all.iter().any(|other| other != path && covers(other, path));
    all.iter().filter(|path| !is_below(path)).cloned().collect()
}

fn add(to: &mut Named, name: impl FnOnce() -> String) {
    if to.count == 0 {
        to.first = name();
    }
    to.count += 1;
}

#[cfg(test)]
mod tests {
    use super::joined_tops;

    #[test]
    fn a_path_stands_for_all_below_it() {
        let list = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        let joined = joined_tops([list(&["a/b", "c"]), list(&["a", "a-b", "c"])]);
        assert_eq!(joined, ["a", "a-b", "c"]);
    }
}
