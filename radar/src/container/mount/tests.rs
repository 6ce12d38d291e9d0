//! Opening directories of a process in a mount namespace of its own.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use super::{directory::open_directory, namespace::identity_in_container};

/// A process in a mount namespace of its own, which ran `script` there.
struct Namespace(Child);

impl Namespace {
    /// None where this machine lets nobody make one.
    fn with(script: &str) -> Option<Self> {
        let script = format!("{script}\necho ready\nexec sleep 1000");
        let mut child = Command::new("unshare")
            .args(["--mount", "sh", "-ec", &script])
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
        if line == "ready\n" {
            return Some(Self(child));
        }
        child.wait().ok()?;
        None
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn a_directory_is_opened_with_its_volumes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display().to_string();
    // Shared mounts, as kubelet makes them for Bidirectional volumes: a careless unmount would reach back.
    let container = Namespace::with(&format!(
        "mount --make-rshared /
         mount -t tmpfs root {path}
         mkdir -p {path}/code/vol {path}/code/secret {path}/code/sub
         echo image > {path}/code/file; echo hidden > {path}/code/one
         mount -t tmpfs vol {path}/code/vol; echo data > {path}/code/vol/data
         mount -t tmpfs -o ro secret {path}/code/secret
         echo one > {path}/one; mount --bind {path}/one {path}/code/one
         ln -s {path}/code {path}/link"
    ));
    let Some(container) = container else {
        return ksync_skip::skipped("no mount namespaces here");
    };
    let opened = open_directory(container.pid(), &format!("{path}/link")).await.unwrap();
    assert_eq!(opened.path, format!("{path}/code"));
    assert!(!opened.created);
    let submounts: Vec<_> =
        opened.submounts.iter().map(|s| (s.path.as_str(), s.excluded.is_some())).collect();
    assert_eq!(submounts, [("one", true), ("secret", true), ("vol", false)]);
    assert_eq!(identity_in_container(container.pid(), &opened.path).unwrap(), opened.identity);
}

#[tokio::test]
async fn a_process_that_ended_is_told_apart() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    child.wait().unwrap();
    let error = open_directory(pid, "/x").await.unwrap_err().to_string();
    assert_eq!(error, format!("the container's process `{pid}` has ended"));
}
