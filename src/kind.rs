//! What a spec's containers are to the engine: one kind as long as the spec means the same, and is not deleted.
//!
//! Durable, one file per spec, in the place of the base that earlier versions wrote. A file that can't be read is as good as
//! none: then nothing is known of the containers, and what differs in them is kept.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rand::RngExt;
use serde::{Deserialize, Serialize};
use tracing::warn;

/// The name of a kind, and what all kinds of the spec begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerKind {
    /// Of the spec as it is.
    pub(crate) name: Arc<str>,
    /// Of the spec as it is and was.
    pub(crate) family: String,
}

/// Where the kind of a spec is kept.
#[derive(Debug)]
pub(crate) struct KindFile {
    path: PathBuf,
    spec: String,
    of: String,
}

#[derive(Serialize, Deserialize)]
struct Text {
    version: u32,
    of: String,
    id: u64,
}

impl KindFile {
    /// Of spec `spec` in `dir`, which need not exist. `of` says what the spec means (paths, target).
    pub(crate) fn new(dir: &Path, spec: &str, of: impl Into<String>) -> Self {
        let path = dir.join(crate::home::short_hash(spec.as_bytes()));
        Self { path, spec: spec.to_owned(), of: of.into() }
    }

    /// The kind that is known, or a new one.
    pub(crate) fn load_or_create(&self) -> ContainerKind {
        let known = self.load();
        let id = known.unwrap_or_else(|| rand::rng().random());
        if known.is_none()
            && let Err(error) = self.save(id)
        {
            warn!(path = %self.path.display(), %error, "note the kind of a spec's containers");
        }
        let family = format!("{}/", self.spec);
        ContainerKind { name: format!("{family}{id:016x}").into(), family }
    }

    fn load(&self) -> Option<u64> {
        let text: Text = serde_json::from_str(&fs::read_to_string(&self.path).ok()?).ok()?;
        (text.version == 3 && text.of == self.of).then_some(text.id)
    }

    fn save(&self, id: u64) -> io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(dir)?;
        let text = Text { version: 3, of: self.of.clone(), id };
        crate::home::write_whole(&self.path, serde_json::to_string(&text)?.as_bytes())
    }

    /// A spec that was deleted: one of this name that comes later is another.
    pub(crate) fn forget(dir: &Path, spec: &str) {
        let path = dir.join(crate::home::short_hash(spec.as_bytes()));
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(path = %path.display(), %error, "forget the kind of a spec's containers");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::KindFile;

    #[test]
    fn a_spec_that_means_the_same_has_the_same_kind_until_it_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("base");
        let kind = |of: &str| KindFile::new(&dir, "main", of).load_or_create();
        let first = kind("a");
        assert!(first.name.starts_with("main/") && first.family == "main/");
        assert_eq!(kind("a"), first);
        assert_ne!(kind("b"), first, "it means something else");
        let second = kind("b");
        KindFile::forget(&dir, "main");
        assert_ne!(kind("b"), second);
        std::fs::write(dir.join(crate::home::short_hash(b"main")), "{").unwrap();
        let anew = kind("b");
        assert_eq!(kind("b"), anew);
    }
}
