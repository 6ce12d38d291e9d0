//! Directories, sockets and addresses that `radar serve` and `radar syncthing` share.

use std::path::{Path, PathBuf};

/// Directories and files of the pod.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Paths {
    /// Directory that both containers share
    #[arg(long, env = "KSYNC_DIR", default_value = "/var/lib/ksync")]
    dir: PathBuf,
    /// Directory of the syncthing container below which earlier versions showed directories of containers
    #[arg(long, env = "KSYNC_SYNC_DIR", default_value = "/sync")]
    sync: PathBuf,
    /// Program that radar plants in containers to prove an exec
    #[arg(long, env = "KSYNC_PROVE", default_value = "/prove")]
    prove: PathBuf,
    /// Where syncthing accepts connections
    #[arg(long, env = "KSYNC_BEP", default_value = "127.0.0.1:22000")]
    bep: String,
}

impl Paths {
    /// syncthing's home; of it only the identity lasts.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.join("syncthing")
    }

    /// Directory of the sockets.
    pub(crate) fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// Directory of the spools: large files on their way, for as long as a transfer lasts. It is on the node's disk, of which
    /// 15 % stay free.
    pub(crate) fn spool(&self) -> PathBuf {
        self.dir.join("spool")
    }

    /// syncthing's REST API.
    pub(crate) fn gui(&self) -> PathBuf {
        self.run().join("gui.sock")
    }

    /// From `radar serve` to `radar syncthing`.
    pub(crate) fn lifeline(&self) -> PathBuf {
        self.run().join("lifeline.sock")
    }

    /// The program that an exec into a container is proved with.
    pub(crate) fn prove(&self) -> &Path {
        &self.prove
    }

    /// Host and port of syncthing's BEP.
    pub(crate) fn bep(&self) -> &str {
        &self.bep
    }

    /// What an earlier version has bound for syncthing is below it.
    pub(crate) fn sync(&self) -> &Path {
        &self.sync
    }
}
