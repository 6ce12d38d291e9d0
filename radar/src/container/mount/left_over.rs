//! Taking out of syncthing's view what an earlier version of radar has bound there.
//!
//! Invariant: after [`sweep`] nothing is mounted there; a mount point is never removed with anything in it.

use std::path::{Path, PathBuf};

use rustix::{
    fs::{AtFlags, CWD, unlinkat},
    io::Errno,
    mount::{UnmountFlags, unmount},
};

use super::{
    error::{Error, kernel, unread},
    namespace::{MountNamespace, in_thread},
};

/// Takes away all that is mounted below `dir` in the view of `pid`; returns the mount points. For the start of radar.
pub(crate) async fn sweep(pid: i32, dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let dir = dir.to_owned();
    in_thread(move || {
        let mounts = ksync_procfs::mounts(pid).map_err(unread)?;
        let base = dir.to_string_lossy();
        let mut mount_points: Vec<PathBuf> = mounts
            .iter()
            .filter_map(|mount| ksync_tree::below(&base, &mount.point))
            .filter(|relative| !relative.is_empty() && !relative.contains('/'))
            .map(|name| dir.join(name))
            .collect();
        mount_points.dedup();
        MountNamespace::open(pid)?.enter()?;
        for mount_point in &mount_points {
            remove(mount_point)?;
        }
        Ok(mount_points)
    })
    .await
}

fn remove(at: &Path) -> Result<(), Error> {
    detach(at)?;
    match unlinkat(CWD, at, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(kernel("remove", at.to_string_lossy())(errno)),
    }
}

fn detach(at: &Path) -> Result<(), Error> {
    loop {
        match unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Mounts can lie on each other.
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(kernel("unmount", at.to_string_lossy())(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Command};

    use super::sweep;
    use crate::container::{
        mount::{directory::open_directory, fake::Namespace, namespace::identity_in_container},
        power::Credential,
    };

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
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
        let opened =
            open_directory(container.pid(), &format!("{path}/link"), Credential::own()).await.unwrap();
        assert_eq!(opened.path, format!("{path}/code"));
        assert!(!opened.created);
        let submounts: Vec<_> =
            opened.submounts.iter().map(|s| (s.path.as_str(), s.excluded.is_some())).collect();
        assert_eq!(submounts, [("one", true), ("secret", true), ("vol", false)]);
        assert_eq!(identity_in_container(container.pid(), &opened.path).unwrap(), opened.identity);
    }

    #[tokio::test]
    async fn what_a_killed_radar_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display().to_string();
        let script = format!(
            "mount --make-rprivate /; mount -t tmpfs sync {path}; mkdir {path}/f {path}/empty
             mount -t tmpfs a {path}/f; mkdir {path}/f/below; mount -t tmpfs b {path}/f/below; mount -t tmpfs c {path}/f"
        );
        let Some(view) = Namespace::with(&script) else {
            return ksync_skip::skipped("no mount namespaces here");
        };
        assert_eq!(sweep(view.pid(), dir.path()).await.unwrap(), [dir.path().join("f")]);
        assert!(!view.mounts().contains(&format!("{path}/f")));
        assert_eq!(names(&view.sees(dir.path())), ["empty"]);
    }

    #[tokio::test]
    async fn a_process_that_ended_is_told_apart() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        child.wait().unwrap();
        let error = open_directory(pid, "/x", Credential::own()).await.unwrap_err().to_string();
        assert_eq!(error, format!("the container's process `{pid}` has ended"));
    }
}
