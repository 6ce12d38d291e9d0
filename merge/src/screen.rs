//! What of a container does not come here before a person has agreed, because it could do more here than be a file: as a pure
//! rule. docs/recovery.md has it for users.
//!
//! Invariant: what is let through is harmless whatever comes after it: a link that stays inside by its own text stays inside
//! for as long as all others do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ksync_tree::{Entry, Kind, covers};

use crate::repository::Parts;
use crate::state::{State, same_content};

/// Links that are followed for one answer; as many as Linux follows (path_resolution(7)).
const MOST_LINKS: u32 = 40;

/// What a person lets a spec's containers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Nothing is asked.
    pub trusts: bool,
    /// Bytes of one file; what is larger is asked about.
    pub max_file: u64,
    /// Bytes that may come here in all within an hour.
    pub max_pull: u64,
}

/// Why something waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concern {
    /// It is in a directory that git takes for a repository, or is one. Relative, empty for the root.
    Repository(String),
    /// It is a symlink that leads out of the directory.
    LinkOut,
    /// It is a file over the limit.
    Large,
    /// With it, more came than may come in all.
    InAll,
}

/// What a person has agreed to.
#[derive(Debug, Clone, Default)]
pub struct Cleared {
    repositories: BTreeSet<String>,
    links: BTreeMap<Arc<str>, Vec<u8>>,
    /// Largest sizes.
    sizes: BTreeMap<Arc<str>, u64>,
}

impl Cleared {
    /// `entry` may stand at `path`, whatever was of `concern`.
    pub fn add(&mut self, path: &Arc<str>, entry: &Entry, concern: Option<&Concern>) {
        if let Some(Concern::Repository(dir)) = concern {
            self.repositories.insert(dir.clone());
        }
        match entry.kind {
            Kind::Symlink => {
                self.links.insert(Arc::clone(path), entry.target.clone().unwrap_or_default());
            }
            Kind::File => self.add_size(path, entry.size),
            Kind::Dir => {}
        }
    }

    /// A file of `size` bytes may stand at `path`.
    pub fn add_size(&mut self, path: &Arc<str>, size: u64) {
        self.sizes.insert(Arc::clone(path), size);
    }

    /// Whether a file of `size` bytes may: one that was agreed to may grow to twice its size, so that a log does not ask
    /// all day.
    pub fn covers_size(&self, path: &str, size: u64) -> bool {
        self.sizes.get(path).is_some_and(|agreed| size <= agreed.saturating_mul(2))
    }

    fn covers_repository(&self, dir: &str) -> bool {
        self.repositories.iter().any(|agreed| agreed.is_empty() || covers(agreed, dir))
    }
}

/// The rule, with what it has to remember of one container.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    terms: Option<Terms>,
    cleared: Cleared,
    parts: Parts,
    /// What waits, and why.
    pub(crate) asked: BTreeMap<Arc<str>, Concern>,
    /// Bytes that may still come.
    pub(crate) budget: u64,
    /// Something has changed since what waits was looked at.
    stale: bool,
}

impl Screen {
    /// These terms are in force from now on.
    pub(crate) fn set(&mut self, terms: Terms, cleared: Cleared) {
        (self.terms, self.cleared, self.budget, self.stale) = (Some(terms), cleared, terms.max_pull, true);
    }

    /// Something stands, or has stood, at `path`.
    pub(crate) fn note(&mut self, path: &Arc<str>) {
        self.parts.note(path);
        self.stale = true;
    }

    /// What waits, where it is to be looked at again.
    pub(crate) fn take_stale(&mut self) -> impl Iterator<Item = Arc<str>> + use<'_> {
        let stale = std::mem::take(&mut self.stale);
        self.asked.keys().filter(move |_| stale).cloned()
    }

    /// Bytes that `there` adds in the place of `here`, of those that count; 0 where a person has agreed to them.
    pub(crate) fn growth(&self, path: &str, here: &State, there: &Entry) -> u64 {
        if there.kind != Kind::File || self.cleared.covers_size(path, there.size) {
            return 0;
        }
        let old = here.as_ref().filter(|here| here.kind == Kind::File).map_or(0, |here| here.size);
        there.size.saturating_sub(old)
    }

    /// Why `there` is not to stand at `path` here, in the place of `here`, unasked. `stands` says what stands at a path on
    /// both sides.
    pub(crate) fn concern(
        &self,
        path: &str,
        [here, there]: [&State; 2],
        stands: impl Fn(&str) -> [State; 2],
    ) -> Option<Concern> {
        let (terms, entry) = (self.terms.filter(|terms| !terms.trusts)?, there.as_ref()?);
        if let Some(dir) = self.parts.repository(path, &stands)
            && !self.cleared.covers_repository(dir)
        {
            return Some(Concern::Repository(dir.to_owned()));
        }
        match entry.kind {
            Kind::Dir => None,
            Kind::Symlink => {
                let target = entry.target.as_deref().unwrap_or_default();
                let agreed = self.cleared.links.get(path).is_some_and(|agreed| agreed == target);
                (!agreed && leads_out(path, target, &stands)).then_some(Concern::LinkOut)
            }
            Kind::File if same_content(here, there) || self.cleared.covers_size(path, entry.size) => None,
            Kind::File if entry.size > terms.max_file => Some(Concern::Large),
            Kind::File => (self.growth(path, here, entry) > self.budget).then_some(Concern::InAll),
        }
    }
}

/// Whether a symlink at `path` leads out of the root: by its own text, or by way of other links.
fn leads_out(path: &str, target: &[u8], stands: &impl Fn(&str) -> [State; 2]) -> bool {
    let mut left = MOST_LINKS;
    let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
    resolve(dir, target, stands, &mut left).is_none()
}

/// Where a link in the directory `dir` leads; none for out of the root, and for what leads nowhere.
fn resolve(dir: &str, target: &[u8], stands: &impl Fn(&str) -> [State; 2], left: &mut u32) -> Option<String> {
    *left = left.checked_sub(1)?;
    let target = std::str::from_utf8(target).ok()?;
    if target.starts_with('/') {
        return None;
    }
    let (mut at, mut down) = (dir.to_owned(), false);
    for name in target.split('/') {
        match name {
            "" | "." => {}
            // After a name it leads to wherever that name is a link to, today or tomorrow.
            ".." if down || at.is_empty() => return None,
            ".." => at.truncate(at.rfind('/').unwrap_or(0)),
            name => {
                down = true;
                let next = if at.is_empty() { name.to_owned() } else { format!("{at}/{name}") };
                let mut beyond = None;
                for link in stands(&next).into_iter().flatten().filter(|entry| entry.kind == Kind::Symlink) {
                    let target = link.target.as_deref().unwrap_or_default();
                    beyond = Some(resolve(&at, target, stands, left)?);
                }
                at = beyond.unwrap_or(next);
            }
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "what stands somewhere, as the screen takes it")]
    fn entry(kind: Kind, size: u64, target: &str) -> State {
        let target = (kind == Kind::Symlink).then(|| target.as_bytes().to_vec());
        let hash = (kind == Kind::File).then(|| [u8::try_from(size % 251).unwrap(); 32]);
        Some(Arc::new(Entry { path: String::new(), kind, size, mtime_ns: 0, mode: 0o777, hash, target }))
    }

    const TERMS: Terms = Terms { trusts: false, max_file: 100, max_pull: 1000 };

    #[test]
    fn links_stay_inside_by_their_own_text_and_through_others() {
        let links =
            [("out", "/etc"), ("in", "d/e"), ("loop", "loop"), ("via", "out/passwd"), ("d/up", "../x")];
        let stands = |path: &str| {
            let found = links.iter().find(|(at, _)| *at == path);
            [found.and_then(|(_, target)| entry(Kind::Symlink, 0, target)), None]
        };
        let out = |path: &str, target: &str| leads_out(path, target.as_bytes(), &stands);
        for (path, target) in [
            ("l", "a"),
            ("l", "./a/b"),
            ("l", "."),
            ("a/b/l", "../../c"),
            ("node_modules/.bin/tsc", "../typescript/bin/tsc"),
            ("node_modules/a", ".pnpm/a@1/node_modules/a"),
            ("l", "in/f"),
            ("l", "d/up"),
            ("l", "does/not/exist"),
        ] {
            assert!(!out(path, target), "{path} -> {target}");
        }
        for (path, target) in [
            ("l", "/etc/passwd"),
            (".venv/bin/python", "/usr/bin/python3"),
            ("l", ".."),
            ("l", "../x"),
            ("a/l", "../../x"),
            ("l", "out"),
            ("l", "out/passwd"),
            ("l", "via"),
            ("a/l", "../out/passwd"),
            ("l", "d/../x"),
            ("l", "loop"),
        ] {
            assert!(out(path, target), "{path} -> {target}");
        }
        assert!(leads_out("l", b"\xff", &stands), "what can't be read can't be judged");
    }

    #[test]
    fn what_is_too_large_waits_and_what_was_agreed_to_comes() {
        let mut screen = Screen::default();
        let none = |_: &str| [None, None];
        let concern = |screen: &Screen, here: &State, there: &State| screen.concern("f", [here, there], none);
        let (small, large) = (entry(Kind::File, 100, ""), entry(Kind::File, 101, ""));
        assert_eq!(concern(&screen, &None, &large), None, "no terms, no question");
        screen.set(TERMS, Cleared::default());
        assert_eq!(concern(&screen, &None, &small), None);
        assert_eq!(concern(&screen, &None, &large), Some(Concern::Large));
        assert_eq!(concern(&screen, &large, &large), None, "its content is here already");
        screen.budget = 99;
        assert_eq!(concern(&screen, &None, &small), Some(Concern::InAll));
        assert_eq!(concern(&screen, &entry(Kind::File, 1, ""), &small), None, "it grows by 99");
        let mut cleared = Cleared::default();
        cleared.add(&"f".into(), large.as_ref().unwrap(), Some(&Concern::Large));
        screen.set(TERMS, cleared);
        assert_eq!(concern(&screen, &None, &entry(Kind::File, 202, "")), None);
        assert_eq!(concern(&screen, &None, &entry(Kind::File, 203, "")), Some(Concern::Large));
        screen.set(Terms { trusts: true, ..TERMS }, Cleared::default());
        assert_eq!(concern(&screen, &None, &large), None);
    }

    #[test]
    fn a_link_was_agreed_to_as_it_is() {
        let mut screen = Screen::default();
        let none = |_: &str| [None, None];
        let (link, other) = (entry(Kind::Symlink, 0, "/a"), entry(Kind::Symlink, 0, "/b"));
        let mut cleared = Cleared::default();
        cleared.add(&"l".into(), link.as_ref().unwrap(), Some(&Concern::LinkOut));
        screen.set(TERMS, cleared);
        assert_eq!(screen.concern("l", [&None, &link], none), None);
        assert_eq!(screen.concern("l", [&None, &other], none), Some(Concern::LinkOut));
        assert_eq!(screen.concern("m", [&None, &link], none), Some(Concern::LinkOut));
    }
}
