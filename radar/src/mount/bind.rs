//! Moving a cloned tree into syncthing's view, and taking it out again.
//!
//! Invariant: after [`unbind`] nothing is mounted at the place; a place is never removed with anything in it.
//! The caller sees to the order: bind before the folder is added, unbind after it was paused or removed.

use std::{os::fd::OwnedFd, path::Path, path::PathBuf};

use ksync_tree::Identity;
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, mkdirat, unlinkat},
    io::Errno,
    mount::{MoveMountFlags, UnmountFlags, move_mount, unmount},
    process::fchdir,
};

use super::{Error, Place, identity_in_view, identity_of, in_thread, kernel, open_beneath};
use crate::mountinfo;

/// Mounts `tree` at `place` as the process `pid` sees it, without the mounts at `excluded` (relative paths).
pub(crate) async fn bind(
    tree: OwnedFd,
    pid: i32,
    place: &Path,
    excluded: Vec<String>,
    identity: Identity,
) -> Result<(), Error> {
    let at = place.to_owned();
    in_thread(move || {
        Place::of(pid)?.enter()?;
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
    if identity_in_view(pid, place)? == identity {
        return Ok(());
    }
    unbind(pid, place).await?;
    Err(Error::WrongDirectory { path: place.to_string_lossy().into_owned() })
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
        fchdir(&dir).map_err(kernel("go to", path.as_str()))?;
        unmount(name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(kernel("leave out the mount", path.as_str()))?;
        fchdir(rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(kernel("open", "/"))?)
            .map_err(kernel("go to", "/"))?;
    }
    let seen = open_beneath(CWD, shown.trim_start_matches('/'), OFlags::PATH)
        .and_then(|fd| identity_of(&fd))
        .map_err(kernel("stat", shown.as_ref()))?;
    if seen == identity { Ok(()) } else { Err(Error::WrongDirectory { path: shown.into_owned() }) }
}

/// Takes away what is mounted at `place` in the view of `pid`, and the place. Nothing there is no error, and
/// neither is that the process, and so its view, is gone.
pub(crate) async fn unbind(pid: i32, place: &Path) -> Result<(), Error> {
    let at = place.to_owned();
    let result = in_thread(move || {
        Place::of(pid)?.enter()?;
        remove(&at)
    })
    .await;
    match result {
        Err(Error::Ended { .. }) => Ok(()),
        other => other,
    }
}

/// Takes away all that is mounted below `dir` in the view of `pid`; returns the places. For the start of radar.
pub(crate) async fn sweep(pid: i32, dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let dir = dir.to_owned();
    in_thread(move || {
        let file = format!("/proc/{pid}/mountinfo");
        let text = std::fs::read_to_string(&file).map_err(|source| Error::Kernel {
            operation: "read",
            path: file,
            source,
        })?;
        let base = dir.to_string_lossy();
        let mut places: Vec<PathBuf> = mountinfo::parse(&text)
            .iter()
            .filter_map(|mount| mountinfo::below(&base, &mount.point))
            .filter(|relative| !relative.is_empty() && !relative.contains('/'))
            .map(|name| dir.join(name))
            .collect();
        places.dedup();
        Place::of(pid)?.enter()?;
        for place in &places {
            remove(place)?;
        }
        Ok(places)
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
