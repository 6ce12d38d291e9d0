//! Directories, sockets and addresses that `radar serve` and `radar syncthing` share.

use std::path::{Path, PathBuf};

/// Directories and files of the pod.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Paths {
    /// Directory that both containers share
    #[arg(long, env = "KSYNC_DIR", default_value = "/var/lib/ksync")]
    dir: PathBuf,
    /// Program that radar plants in containers to prove an exec
    #[arg(long, env = "KSYNC_PROVE", default_value = "/prove")]
    prove: PathBuf,
}

impl Paths {
    /// Directory of the sockets.
    pub(crate) fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// Directory of what sessions have: the homes of their syncthings, and their spools, in which large files are for as long
    /// as a transfer lasts. It is on the node's disk, of which 15 % stay free.
    pub(crate) fn sessions(&self) -> PathBuf {
        self.dir.join("sessions")
    }

    /// From `radar serve` to `radar syncthing`.
    pub(crate) fn lifeline(&self) -> PathBuf {
        self.run().join("lifeline.sock")
    }

    /// The program that an exec into a container is proved with.
    pub(crate) fn prove(&self) -> &Path {
        &self.prove
    }
}
