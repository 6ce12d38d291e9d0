//! A run without a guard, which is to fail: the watcher is told by its environment, radar by its DaemonSet's.

use crate::suite::{kubectl::Kubectl, run::SYSTEM};

/// Radar without these guards; it has them again when this is dropped.
pub(crate) struct Unguarded<'r>(&'r Kubectl);

impl<'r> Unguarded<'r> {
    /// `guards` are as `KSYNC_GUARDS_OFF` spells them.
    pub(crate) fn begin(kubectl: &'r Kubectl, guards: &str) -> Result<Self, String> {
        let unguarded = Self(kubectl);
        unguarded.set(&format!("KSYNC_GUARDS_OFF={guards}"))?;
        Ok(unguarded)
    }

    fn set(&self, variable: &str) -> Result<(), String> {
        let object = ["-n", SYSTEM, "daemonset/ksync"];
        self.0.try_ok(&[&["set", "env"], &object[..], &["-c", "radar", variable]].concat())?;
        self.0.try_ok(&[&["rollout", "status"], &object[..], &["--timeout=120s"]].concat()).map(drop)
    }
}

impl Drop for Unguarded<'_> {
    fn drop(&mut self) {
        if let Err(said) = self.set("KSYNC_GUARDS_OFF-") {
            eprintln!("give radar its guards back: {said}");
        }
    }
}
