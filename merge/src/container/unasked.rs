//! What of a container comes here only when a person has agreed ([`crate::screen`]).

use std::sync::Arc;

use super::Container;
use crate::{
    local::Local,
    op::Wanted,
    screen::{Cleared, Concern, Terms},
    state::{Known, State},
};

impl Container {
    /// What comes here unasked, from now on, and how much in all.
    pub fn set_terms(&mut self, terms: Terms, cleared: Cleared) {
        self.screen.set(terms, cleared);
    }

    /// So many bytes may come here still.
    pub fn set_budget(&mut self, bytes: u64) {
        self.screen.budget = bytes;
    }

    /// What waits for a person although it could come here, each with what stands here and there.
    pub fn asked<'a>(
        &'a self,
        local: &'a Local,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Concern, [State; 2])> + use<'a> {
        let sides = |path: &str| [local.get(path), self.there(local, path)];
        self.screen.asked.iter().map(move |(path, concern)| (path, concern, sides(path)))
    }

    /// Why what is wanted does not come here unasked, if so.
    pub fn concern(&self, local: &Local, wanted: &Wanted) -> Option<Concern> {
        let stands = |path: &str| [local.get(path), self.there(local, path)];
        self.screen.concern(&wanted.path, [&wanted.old, &wanted.new], stands)
    }

    /// What the container has changed at a path is undone there, and not kept: a person has seen it.
    pub fn undo_change(&mut self, local: &Local, path: &Arc<str>) {
        let there = self.there(local, path);
        if let Some(exception) = self.except.get_mut(path) {
            exception.known = Known::Agreed { here: None, there };
            self.news.push((Arc::clone(path), Some(exception.known.clone())));
        }
        self.touch(path);
    }

    /// Whether what the container has may come to `path`; else it is asked about.
    pub(super) fn comes_unasked(&mut self, local: &Local, path: &Arc<str>, [here, there]: [&State; 2]) -> bool {
        let stands = |path: &str| [local.get(path), self.there(local, path)];
        let Some(concern) = self.screen.concern(path, [here, there], stands) else { return true };
        self.screen.asked.insert(Arc::clone(path), concern);
        false
    }
}
