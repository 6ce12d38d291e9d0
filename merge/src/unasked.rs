//! What of a container comes here only when a person has agreed ([`crate::screen`]).

use std::sync::Arc;

use crate::{
    container::Container,
    local::Local,
    op::Wanted,
    screen::{Cleared, Concern, Terms},
    state::State,
};

/// What waits for a person although it could come here, each with what stands here and there.
pub fn asked<'a>(
    local: &'a Local,
    container: &'a Container,
) -> impl Iterator<Item = (&'a Arc<str>, &'a Concern, [State; 2])> + use<'a> {
    let asked = container.screen.asked.iter();
    asked.map(move |(path, concern)| (path, concern, container.stands(local, path)))
}

/// Why what is wanted does not come here unasked, if so.
pub fn concern(local: &Local, container: &Container, wanted: &Wanted) -> Option<Concern> {
    let stands = |path: &str| container.stands(local, path);
    container.screen.concern(&wanted.path, [&wanted.old, &wanted.new], stands)
}

/// These terms are in force from now on.
pub fn set_terms(container: &mut Container, terms: Terms, cleared: Cleared) {
    container.screen.set(terms, cleared);
}

/// So many bytes may come here still.
pub fn set_budget(container: &mut Container, bytes: u64) {
    container.screen.budget = bytes;
}
