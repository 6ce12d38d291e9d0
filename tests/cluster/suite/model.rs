//! A directory as it should be after a sequence of random deeds, and the deeds themselves. Pure: the same seed gives the
//! same deeds.

use std::{collections::BTreeMap, fmt::Write};

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    File { content: String, executable: bool },
    Dir,
}

/// One change of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    Write { path: String, content: String },
    Append { path: String, more: String },
    Chmod { path: String, executable: bool },
    Mkdir { path: String },
    Remove { path: String },
    Rename { from: String, to: String },
}

impl Deed {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Write { .. } => "write",
            Self::Append { .. } => "append",
            Self::Chmod { .. } => "chmod",
            Self::Mkdir { .. } => "mkdir",
            Self::Remove { .. } => "remove",
            Self::Rename { .. } => "rename",
        }
    }

    /// The paths that it is about.
    fn paths(&self) -> Vec<&str> {
        match self {
            Self::Write { path, .. }
            | Self::Append { path, .. }
            | Self::Chmod { path, .. }
            | Self::Mkdir { path }
            | Self::Remove { path } => vec![path],
            Self::Rename { from, to } => vec![from, to],
        }
    }

    /// The same as a line of shell, below `root`. Names and contents are letters and digits.
    pub(crate) fn shell(&self, root: &str) -> String {
        match self {
            Self::Write { path, content } => {
                format!(
                    "echo {content} >{root}/{path}.new~ && mv {root}/{path}.new~ {root}/{path} && chmod 644 {root}/{path}"
                )
            }
            Self::Append { path, more } => format!("echo {more} >>{root}/{path}"),
            Self::Chmod { path, executable } => {
                format!("chmod {} {root}/{path}", if *executable { "755" } else { "644" })
            }
            Self::Mkdir { path } => format!("mkdir {root}/{path}"),
            Self::Remove { path } => format!("rm -r {root}/{path}"),
            Self::Rename { from, to } => format!("mv {root}/{from} {root}/{to}"),
        }
    }
}

/// The tree, and where the next deeds come from.
#[derive(Debug)]
pub(crate) struct Model {
    rng: StdRng,
    pub(crate) nodes: BTreeMap<String, Node>,
    /// Files that were there once: a name may come back.
    gone: Vec<String>,
    made: usize,
}

impl Model {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), nodes: BTreeMap::new(), gone: Vec::new(), made: 0 }
    }

    /// A number below `below`.
    pub(crate) fn below(&mut self, below: usize) -> usize {
        self.rng.random_range(0..below)
    }

    /// Puts something in the tree that no deed made.
    pub(crate) fn put(&mut self, path: &str, content: &str) {
        self.nodes.insert(path.to_owned(), Node::File { content: content.to_owned(), executable: false });
    }

    /// A deed that touches nothing at, above or below the `taken` paths; none where there is no room for the one that was
    /// drawn.
    pub(crate) fn draw(&mut self, taken: &[String]) -> Option<Deed> {
        let deed = self.any()?;
        let touches = |path: &str| taken.iter().any(|other| lies(path, other) || lies(other, path));
        if deed.paths().into_iter().any(touches) {
            return None;
        }
        // More than a part of the tree is a person's to delete, not chance's: there is a brake for that.
        match &deed {
            Deed::Remove { path } if self.files_below(path) * 4 > self.files_below("") => None,
            _ => Some(deed),
        }
    }

    fn any(&mut self) -> Option<Deed> {
        let files = self.paths(|node| matches!(node, Node::File { .. }));
        let dirs = self.paths(|node| *node == Node::Dir);
        self.made += 1;
        let number = self.made;
        let content = format!("content{number}");
        Some(match self.below(12) {
            0..=3 => {
                let gone = (!self.gone.is_empty() && self.below(3) == 0).then(|| self.below(self.gone.len()));
                let path = match gone.and_then(|at| self.gone.get(at).cloned()) {
                    Some(path) if !self.nodes.contains_key(&path) && self.holds(parent(&path)) => path,
                    _ => join(&self.place(&dirs), &format!("f{number}")),
                };
                Deed::Write { path, content }
            }
            4 | 5 => Deed::Write { path: self.pick(&files)?, content },
            6 => Deed::Append { path: self.pick(&files)?, more: content },
            7 => {
                let path = self.pick(&files)?;
                let Some(Node::File { executable, .. }) = self.nodes.get(&path) else { return None };
                Deed::Chmod { executable: !executable, path }
            }
            8 => Deed::Mkdir { path: join(&self.place(&dirs), &format!("d{number}")) },
            9 => Deed::Remove { path: self.pick(&files)? },
            10 => Deed::Remove { path: self.pick(&dirs)? },
            _ => {
                let all: Vec<String> = files.into_iter().chain(dirs.clone()).collect();
                let from = self.pick(&all)?;
                let to = join(&self.place(&dirs), &format!("r{number}"));
                if lies(&to, &from) {
                    return None;
                }
                Deed::Rename { from, to }
            }
        })
    }

    /// Does it.
    pub(crate) fn apply(&mut self, deed: &Deed) {
        match deed {
            Deed::Write { path, content } => self.put(path, &format!("{content}\n")),
            Deed::Append { path, more } => {
                if let Some(Node::File { content, .. }) = self.nodes.get_mut(path) {
                    writeln!(content, "{more}").expect("a string");
                }
            }
            Deed::Chmod { path, executable: now } => {
                if let Some(Node::File { executable, .. }) = self.nodes.get_mut(path) {
                    *executable = *now;
                }
            }
            Deed::Mkdir { path } => drop(self.nodes.insert(path.clone(), Node::Dir)),
            Deed::Remove { path } => {
                for (path, node) in self.take(path) {
                    if node != Node::Dir {
                        self.gone.push(path);
                    }
                }
            }
            Deed::Rename { from, to } => {
                for (path, node) in self.take(from) {
                    let rest = path.strip_prefix(from.as_str()).unwrap_or_default();
                    self.nodes.insert(format!("{to}{rest}"), node);
                }
            }
        }
    }

    /// Which paths a deed leaves to nobody else for now.
    pub(crate) fn claims(deed: &Deed) -> Vec<String> {
        deed.paths().into_iter().map(str::to_owned).collect()
    }

    fn take(&mut self, path: &str) -> Vec<(String, Node)> {
        let all: Vec<String> = self.nodes.keys().filter(|other| lies(other, path)).cloned().collect();
        all.into_iter().filter_map(|path| self.nodes.remove_entry(&path)).collect()
    }

    fn paths(&self, is: impl Fn(&Node) -> bool) -> Vec<String> {
        self.nodes.iter().filter(|(_, node)| is(node)).map(|(path, _)| path.clone()).collect()
    }

    fn files_below(&self, path: &str) -> usize {
        let file = |(other, node): &(&String, &Node)| **node != Node::Dir && lies(other, path);
        self.nodes.iter().filter(file).count()
    }

    fn holds(&self, dir: &str) -> bool {
        dir.is_empty() || self.nodes.get(dir) == Some(&Node::Dir)
    }

    fn pick(&mut self, from: &[String]) -> Option<String> {
        if from.is_empty() {
            return None;
        }
        let at = self.below(from.len());
        from.get(at).cloned()
    }

    /// A directory, or the root.
    fn place(&mut self, dirs: &[String]) -> String {
        let at = self.below(dirs.len() + 2);
        dirs.get(at).filter(|dir| dir.matches('/').count() < 4).cloned().unwrap_or_default()
    }
}

/// Whether `path` is `dir` or below it; everything is below the root, which is empty.
fn lies(path: &str, dir: &str) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}
