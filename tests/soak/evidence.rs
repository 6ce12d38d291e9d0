//! What helps to understand a round that was not clean, below `target/soak`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ksync_judge::Violation;

use crate::{suite::run::SYSTEM, world::World};

/// Where a run's evidence is; what an earlier one of this seed left goes.
pub(crate) fn dir(seed: u64) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/soak/seed-{seed}"));
    let _ = fs::remove_dir_all(&dir);
    dir
}

/// Keeps the words and the logs; the directory's path.
pub(crate) fn keep(world: &World<'_>, dir: &Path, round: usize, violations: &[Violation]) -> PathBuf {
    let dir = dir.join(format!("round-{round}"));
    if let Err(error) = fs::create_dir_all(&dir) {
        eprintln!("make `{}`: {error}", dir.display());
        return dir;
    }
    let keep = |name: &str, text: String| {
        if let Err(error) = fs::write(dir.join(name), text) {
            eprintln!("write `{name}`: {error}");
        }
    };
    keep("violations.txt", violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    keep("get.json", world.ksync.run(&["get", "-o", "json"]).stdout);
    keep("watch.log", world.ksync.log());
    keep("syncthing.log", world.ksync.logs("syncthing.log"));
    for part in ["radar", "syncthing"] {
        let label = "app.kubernetes.io/name=ksync";
        let args = ["logs", "-n", SYSTEM, "-l", label, "-c", part, "--prefix", "--tail=2000"];
        keep(&format!("nodes-{part}.log"), world.sandbox.kubectl().run(&args, None).stdout);
    }
    dir
}
