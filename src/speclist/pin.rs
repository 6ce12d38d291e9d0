//! Which cluster a spec without a context belongs to: the one of the first watcher that ran it.
//!
//! A pin is a file made with O_EXCL, so that of two watchers exactly one gets the spec.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
};

use tracing::warn;

use super::Cluster;

/// The pins of all contexts of one home.
#[derive(Debug, Clone)]
pub struct Pins {
    dir: PathBuf,
}

impl Pins {
    /// Kept in `dir`, which is made when it is needed.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The hash of the cluster that `spec` belongs to: `cluster`'s when it belongs to nobody yet. None when
    /// that can't be told, and then nobody may run it.
    pub(super) fn pin(&self, spec: &str, cluster: &Cluster) -> Option<String> {
        self.try_pin(spec, cluster).inspect_err(|error| warn!(spec, %error, "pin a spec to its cluster")).ok()
    }

    /// Forgets a spec that is no more.
    pub fn remove(&self, spec: &str) {
        match fs::remove_file(self.file(spec)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => warn!(spec, %error, "remove a pin"),
            _ => {}
        }
    }

    fn try_pin(&self, spec: &str, cluster: &Cluster) -> io::Result<String> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let path = self.file(spec);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                writeln!(file, "{} {}", cluster.hash, cluster.context)?;
                Ok(cluster.hash.clone())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let text = fs::read_to_string(&path)?;
                text.split_whitespace()
                    .next()
                    .map(str::to_owned)
                    .ok_or_else(|| io::Error::other("the pin is empty"))
            }
            Err(error) => Err(error),
        }
    }

    /// Names are a person's; the hash makes a file name of any of them.
    fn file(&self, spec: &str) -> PathBuf {
        self.dir.join(crate::home::short_hash(spec.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Cluster, Pins};

    #[test]
    fn the_first_cluster_keeps_the_spec_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let pins = Pins::new(dir.path().join("pins"));
        let [a, b] = ["1", "2"].map(|hash| Cluster { context: "c".into(), hash: hash.into() });
        assert_eq!(pins.pin("../odd name", &a).as_deref(), Some("1"));
        assert_eq!(pins.pin("../odd name", &b).as_deref(), Some("1"));
        pins.remove("../odd name");
        assert_eq!(pins.pin("../odd name", &b).as_deref(), Some("2"));
    }
}
