//! Moving a cloned tree into syncthing's view, and taking it out again.
//!
//! Invariant: after [`unbind`] nothing is mounted at the mount point; a mount point is never removed with anything in it.
//! The caller sees to the order: bind before the folder is added, unbind after it was paused or removed.

use std::{os::fd::OwnedFd, path::Path, path::PathBuf};

use ksync_tree::Identity;
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, mkdirat, statat, unlinkat},
    io::Errno,
    mount::{MoveMountFlags, UnmountFlags, move_mount, unmount},
    process::fchdir,
};

use super::{
    error::{Error, kernel, unread},
    namespace::{MountNamespace, identity_by_fd, identity_in_view, in_thread, open_beneath},
};

/// Mounts `tree` at `mount_point` as the process `pid` sees it, without the mounts at `excluded` (relative paths).
pub(crate) async fn bind(
    tree: OwnedFd,
    pid: i32,
    mount_point: &Path,
    excluded: Vec<String>,
    identity: Identity,
) -> Result<(), Error> {
    let at = mount_point.to_owned();
    in_thread(move || {
        MountNamespace::open(pid)?.enter()?;
        match mkdirat(CWD, &at, Mode::RWXU) {
            Ok(()) => {}
            // Left behind by a radar that was killed: whatever is mounted there has no folder any more.
            Err(Errno::EXIST) => detach(&at)?,
            Err(errno) => return Err(kernel("create", at.to_string_lossy())(errno)),
        }
        let bound = mount(&tree, &at, &excluded, identity);
        if bound.is_err() {
            remove(&at)?;
        }
        bound
    })
    .await?;
    // Once more, from outside, as it is checked before every scan.
    if identity_in_view(pid, mount_point)? == identity {
        return Ok(());
    }
    unbind(pid, mount_point).await?;
    Err(Error::WrongDirectory { path: mount_point.to_string_lossy().into_owned() })
}

fn mount(tree: &OwnedFd, at: &Path, excluded: &[String], identity: Identity) -> Result<(), Error> {
    let shown = at.to_string_lossy();
    move_mount(tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(|errno| match errno {
        Errno::NOSYS => Error::OldKernel { call: "move_mount" },
        errno => kernel("mount at", shown.as_ref())(errno),
    })?;
    for path in excluded {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = open_beneath(tree, above, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(kernel("open", path.as_str()))?;
        // A mounted file stays: the kernel refuses to rename over it, while a rename over its bare mount point
        // would take the container's own mount away.
        let found = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(kernel("stat", path.as_str()))?;
        if !FileType::from_raw_mode(found.st_mode).is_dir() {
            continue;
        }
        fchdir(&dir).map_err(kernel("go to", path.as_str()))?;
        unmount(name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(kernel("leave out the mount", path.as_str()))?;
        fchdir(
            rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(kernel("open", "/"))?,
        )
        .map_err(kernel("go to", "/"))?;
    }
    let seen = open_beneath(CWD, shown.trim_start_matches('/'), OFlags::PATH)
        .and_then(|fd| identity_by_fd(&fd))
        .map_err(kernel("stat", shown.as_ref()))?;
    if seen == identity { Ok(()) } else { Err(Error::WrongDirectory { path: shown.into_owned() }) }
}

/// Takes away what is mounted at `mount_point` in the view of `pid`, and the mount point itself. Nothing there is no error, and
/// neither is that the process, and so its view, is gone.
pub(crate) async fn unbind(pid: i32, mount_point: &Path) -> Result<(), Error> {
    let at = mount_point.to_owned();
    let result = in_thread(move || {
        MountNamespace::open(pid)?.enter()?;
        remove(&at)
    })
    .await;
    match result {
        Err(Error::Ended { .. }) => Ok(()),
        other => other,
    }
}

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
    use std::{
        io::{BufRead, BufReader},
        path::{Path, PathBuf},
        process::{Child, Command, Stdio},
    };

    use super::{bind, sweep, unbind};
    use crate::container::mount::{
        directory::open_directory,
        namespace::{identity_in_container, identity_in_view},
    };

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

        fn sees(&self, path: &Path) -> PathBuf {
            format!("/proc/{}/root{}", self.pid(), path.display()).into()
        }

        fn mounts(&self) -> String {
            std::fs::read_to_string(format!("/proc/{}/mountinfo", self.pid())).unwrap()
        }
    }

    impl Drop for Namespace {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_directory_is_shown_elsewhere_with_its_volumes_and_taken_away_without_harm() {
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
        let view = Namespace::with(&format!("mount --make-rprivate /; mount -t tmpfs sync {path}")).unwrap();
        let opened = open_directory(container.pid(), &format!("{path}/link")).await.unwrap();
        assert_eq!(opened.path, format!("{path}/code"));
        assert!(!opened.created);
        let submounts: Vec<_> =
            opened.submounts.iter().map(|s| (s.path.as_str(), s.excluded.is_some())).collect();
        assert_eq!(submounts, [("one", true), ("secret", true), ("vol", false)]);
        assert_eq!(identity_in_container(container.pid(), &opened.path).unwrap(), opened.identity);

        let mount_point = dir.path().join("place");
        let excluded = vec!["one".to_owned(), "secret".to_owned()];
        bind(opened.tree, view.pid(), &mount_point, excluded, opened.identity).await.unwrap();
        assert_eq!(identity_in_view(view.pid(), &mount_point).unwrap(), opened.identity);
        let seen = view.sees(&mount_point);
        assert_eq!(names(&seen), ["file", "one", "secret", "sub", "vol"]);
        assert_eq!(std::fs::read_to_string(seen.join("vol/data")).unwrap(), "data\n");
        assert!(names(&seen.join("secret")).is_empty());
        assert_eq!(std::fs::read_to_string(seen.join("one")).unwrap(), "one\n", "a mounted file stays");
        std::fs::write(seen.join("sub/new"), "new").unwrap();
        let code = container.sees(&dir.path().join("code"));
        assert_eq!(std::fs::read_to_string(code.join("sub/new")).unwrap(), "new");
        for option in ["nodev", "nosuid", "noexec"] {
            let mounts = view.mounts();
            let line = mounts.lines().find(|l| l.contains(&format!(" {} ", mount_point.display()))).unwrap();
            assert!(line.contains(option), "{line}");
        }

        unbind(view.pid(), &mount_point).await.unwrap();
        assert!(!seen.exists());
        assert!(!view.mounts().contains("/place"));
        // The container keeps all that is its own.
        assert_eq!(std::fs::read_to_string(code.join("vol/data")).unwrap(), "data\n");
        assert_eq!(std::fs::read_to_string(code.join("one")).unwrap(), "one\n");
        unbind(view.pid(), &mount_point).await.unwrap();
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
        let error = open_directory(pid, "/x").await.unwrap_err().to_string();
        assert_eq!(error, format!("the container's process `{pid}` has ended"));
        unbind(pid, Path::new("/x")).await.unwrap();
    }
}
