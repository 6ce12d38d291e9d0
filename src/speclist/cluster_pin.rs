//! Which cluster a spec without a stamp belongs to: the one of the first watcher that ran it.
//!
//! A pin is a file that is made whole and never replaced, so that of two watchers exactly one gets the spec. It goes only
//! when the spec is deleted: a spec that is missing from the file may come back.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use tracing::warn;

use super::belongs::Cluster;

/// Why it can't be told which cluster a spec belongs to.
#[derive(Debug, thiserror::Error)]
#[error("can't tell which cluster the spec belongs to: can't {operation} `{path}`")]
pub(super) struct Error {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The pins of all contexts of one home.
#[derive(Debug, Clone)]
pub(crate) struct ClusterPins {
    dir: PathBuf,
}

impl ClusterPins {
    /// Kept in `dir`, which is made when it is needed.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The hash of the cluster that `spec` belongs to: `cluster`'s when it belongs to nobody yet. `context` is the one
    /// that the file names for it, or empty; in another one it is another question.
    pub(super) fn pin(&self, spec: &str, context: &str, cluster: &Cluster) -> Result<String, Error> {
        let path = self.file(spec, context);
        let failed = |operation, path: &Path| {
            let path = path.to_owned();
            move |source| Error { operation, path, source }
        };
        match fs::read_to_string(&path) {
            Ok(text) => return hash_in(&text).map_err(failed("read", &path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read", &path)(error)),
        }
        crate::home::private_dir(&self.dir)
            .map_err(|error| failed("write", &path)(io::Error::other(ksync_common::chain(&error))))?;
        let written = tempfile::Builder::new().prefix(".ksync.").suffix(".tmp").tempfile_in(&self.dir);
        let placed = written.and_then(|mut file| {
            writeln!(file, "{} {}", cluster.hash, cluster.context)?;
            file.persist_noclobber(&path).map_err(|error| error.error)
        });
        match placed {
            Ok(_) => Ok(cluster.hash.clone()),
            // Another watcher was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
                hash_in(&text).map_err(failed("read", &path))
            }
            Err(error) => Err(failed("write", &path)(error)),
        }
    }

    /// Forgets a spec that is no more, in every context.
    pub(crate) fn remove(&self, spec: &str) {
        let of_it = crate::home::short_hash(spec.as_bytes());
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return warn!(spec, %error, "remove a pin"),
        };
        for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&of_it))
        {
            if let Err(error) = fs::remove_file(entry.path()) {
                warn!(spec, %error, "remove a pin");
            }
        }
    }

    /// Names are a person's; the hash makes a file name of any of them.
    fn file(&self, spec: &str, context: &str) -> PathBuf {
        let spec = crate::home::short_hash(spec.as_bytes());
        if context.is_empty() {
            return self.dir.join(spec);
        }
        self.dir.join(format!("{spec}-{}", crate::home::short_hash(context.as_bytes())))
    }
}

fn hash_in(text: &str) -> io::Result<String> {
    text.split_whitespace().next().map(str::to_owned).ok_or_else(|| io::Error::other("it is empty"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Cluster, ClusterPins};

    #[test]
    fn the_first_cluster_keeps_the_spec_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let pins = ClusterPins::new(dir.path().join("pins"));
        let [a, b] = ["1", "2"].map(|hash| Cluster { context: "c".into(), hash: hash.into() });
        for context in ["", "c"] {
            assert_eq!(pins.pin("../odd name", context, &a).unwrap(), "1");
            assert_eq!(pins.pin("../odd name", context, &b).unwrap(), "1");
        }
        assert_eq!(pins.pin("../odd name", "other", &b).unwrap(), "2", "another context is another question");
        pins.remove("../odd name");
        assert_eq!(fs::read_dir(dir.path().join("pins")).unwrap().count(), 0);
        assert_eq!(pins.pin("../odd name", "", &b).unwrap(), "2");
    }

    #[test]
    fn what_can_not_be_pinned_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let cluster = Cluster { context: "c".into(), hash: "1".into() };
        let told = |dir| {
            let error = ClusterPins::new(dir).pin("a", "", &cluster).unwrap_err();
            error.to_string()
        };
        let sentence = told(dir.path().join("file"));
        assert!(sentence.starts_with("can't tell which cluster the spec belongs to: can't "), "{sentence}");
        let pins = ClusterPins::new(dir.path().join("pins"));
        pins.pin("a", "", &cluster).unwrap();
        fs::write(pins.file("a", ""), "").unwrap();
        assert!(told(dir.path().join("pins")).contains("can't read"));
    }
}
