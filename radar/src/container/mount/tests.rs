//! The power over what was attached, with real mounts: attacks by a container whose user is not root.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use ksync_tree::{Entry, Kind, Known, Old, Owner, Staging, Swapped};
use rustix::{
    fs::{Mode, OFlags, openat, readlinkat},
    io::Errno,
};

use super::{
    directory::{Directory, look, open_directory},
    fake::Namespace,
    namespace::identity_in_container,
};
use crate::container::power::Credential;

const NOT_HERE: &str = "no mount namespaces here";

fn user() -> Credential {
    Credential { uid: 1234, gid: 1234, ..Credential::default() }
}

/// A place that everybody may go to.
fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// Puts a file with this mode at `path`, as an endpoint or an upload does; the words of the error where it is refused.
fn put(directory: &Directory, path: &'static str, mode: u32) -> Result<(), String> {
    let root = directory.root.try_clone().unwrap();
    let put = move || {
        let file = Entry {
            path: path.into(),
            kind: Kind::File,
            size: 1,
            mtime_ns: 5,
            mode,
            hash: None,
            target: None,
        };
        let mut staging = Staging::new(&root, path)?;
        staging.fill(b"x")?;
        let (swapped, _) = staging.place(&file, Owner::FromParent, Known::Nothing, Old::Dropped)?;
        assert!(matches!(swapped, Swapped::Done));
        Ok(())
    };
    let put = directory.workers.wait(put).unwrap();
    put.map_err(|error: ksync_tree::Error| ksync_common::chain(&error))
}

fn names(dir: &Path) -> Vec<String> {
    let all = fs::read_dir(dir).unwrap();
    all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Attack 4, and the same by way of a mount that is carried elsewhere.
#[tokio::test]
async fn the_power_of_root_ends_at_volumes_wherever_they_are_renamed_to() {
    let dir = place();
    let path = dir.path().display();
    let container = Namespace::with(&format!(
        "mkdir -p {path}/code/a/vol {path}/code/own; mount -t tmpfs -o mode=755 vol {path}/code/a/vol
         mount -t tmpfs none /proc"
    ));
    let Some(container) = container else { return ksync_skip::skipped(NOT_HERE) };
    let opened = open_directory(container.pid(), &format!("{path}/code"), user()).await.unwrap();
    assert!(opened.workers.power().exceeds());
    // An image's directory, which is root's: what is written there is so, and is no program that makes root of anybody.
    put(&opened, "own/tool", 0o4755).unwrap();
    let made = fs::metadata(dir.path().join("code/own/tool")).unwrap();
    assert_eq!((made.uid(), made.mode() & 0o7777), (0, 0o755));
    let refused = put(&opened, "a/vol/tool", 0o4755).unwrap_err();
    assert_eq!(refused, "can't create `a/vol/tool`: Permission denied (os error 13)");
    // The container renames what its volume is in: to radar that is no volume any more.
    let there = container.sees(&dir.path().join("code"));
    fs::rename(there.join("a"), there.join("b")).unwrap();
    fs::metadata(there.join("b/vol")).unwrap();
    put(&opened, "b/vol/tool", 0o4755).unwrap();
    assert!(names(&there.join("b/vol")).is_empty(), "nothing has come into the volume");
    assert_eq!(names(&dir.path().join("code/b/vol")), ["tool"], "it is beneath it");
}

/// Attack 4 at the path itself.
#[tokio::test]
async fn a_volume_that_the_container_may_not_write_is_refused_in_a_sentence() {
    let dir = place();
    let path = dir.path().display();
    let container = Namespace::with(&format!(
        "mkdir -p {path}/vol {path}/shared {path}/hidden/code; chmod 700 {path}/hidden
         mount -t tmpfs -o mode=755 vol {path}/vol; mount -t tmpfs -o mode=777 vol {path}/shared"
    ));
    let Some(container) = container else { return ksync_skip::skipped(NOT_HERE) };
    let pid = container.pid();
    let open = async |below: &str, exec| open_directory(pid, &format!("{path}/{below}"), exec).await;
    let refused = async |below: &str| open(below, user()).await.unwrap_err().to_string();
    let may_not = "user 1234 may not, and ksync may no more there than `kubectl exec`";
    assert_eq!(refused("vol").await, format!("can't write in `{path}/vol` in the container: {may_not}"));
    assert_eq!(refused("new").await, format!("can't create `{path}/new` in the container: {may_not}"));
    assert_eq!(
        refused("vol/new").await,
        format!("can't create `{path}/vol/new` in the container: {may_not}")
    );
    let hidden = format!("can't open `{path}/hidden/code` in the container: {may_not}");
    assert_eq!(refused("hidden/code").await, hidden);
    assert_eq!(look(pid, &format!("{path}/hidden/code"), &user()).unwrap_err().to_string(), hidden);
    // Root's files without root's capabilities are root's still.
    let root = Credential::default();
    assert!(open("vol", root).await.is_ok());
    // What everybody may write belongs to whoever writes it, as everything that he makes.
    let shared = open("shared", user()).await.unwrap();
    assert!(!shared.workers.power().exceeds());
    put(&shared, "f", 0o644).unwrap();
    let owner = |below: &str| fs::metadata(container.sees(&dir.path().join(below))).unwrap().uid();
    assert_eq!(owner("shared/f"), 1234);
    assert!(open("shared/new/dir", user()).await.unwrap().created);
    assert_eq!((owner("shared/new"), owner("shared/new/dir")), (1234, 1234));
}

/// What is removed in another view of the file system takes the container's mount with it.
#[tokio::test]
async fn a_volume_keeps_its_directory() {
    let dir = place();
    let path = dir.path().display();
    let mount = |below: &str| format!("mkdir -p {path}/{below}; mount -t tmpfs vol {path}/{below}");
    let script = format!("{}\n{}", mount("code/vol"), mount("code/other"));
    let Some(container) = Namespace::with(&script) else { return ksync_skip::skipped(NOT_HERE) };
    let mounted = |below: &str| container.mounts().contains(&format!("{path}/{below}"));
    let at = dir.path().join("code/other");
    fs::remove_dir(&at).unwrap();
    assert!(!mounted("code/other"), "the accident: nobody hears of an error");
    let opened = open_directory(container.pid(), &format!("{path}/code"), Credential::own()).await.unwrap();
    let root = opened.root.try_clone().unwrap();
    let removed = opened.workers.wait(move || {
        let vol = ksync_tree::look(&root, "vol").unwrap().unwrap().entry;
        (ksync_tree::remove_known(&root, "vol", &vol, Old::Dropped), ksync_tree::remove_entry(&root, "vol"))
    });
    let (known, entry) = removed.unwrap();
    assert!(matches!(known.unwrap(), Swapped::Refused));
    assert_eq!(entry.unwrap(), ksync_tree::Removed::NotEmpty);
    assert!(mounted("code/vol"));
}

#[tokio::test]
async fn no_symlink_of_a_container_leads_anywhere() {
    let dir = place();
    let path = dir.path().display();
    let Some(container) =
        Namespace::with(&format!("mkdir -p {path}/code/vol; mount -t tmpfs vol {path}/code/vol"))
    else {
        return ksync_skip::skipped(NOT_HERE);
    };
    let there = container.sees(&dir.path().join("code"));
    for above in ["", "vol/"] {
        symlink("/etc", there.join(format!("{above}link"))).unwrap();
    }
    let opened = open_directory(container.pid(), &format!("{path}/code"), Credential::own()).await.unwrap();
    // By the calls of a program that takes no care.
    for link in ["link", "vol/link"] {
        for root in [opened.root.base(""), opened.root.base("vol")] {
            let through = openat(root, format!("{link}/passwd"), OFlags::RDONLY, Mode::empty());
            let missing = link == "vol/link" && through.as_ref().is_err_and(|errno| *errno == Errno::NOENT);
            assert!(
                missing || through.as_ref().is_err_and(|errno| *errno == Errno::LOOP),
                "{link}: {through:?}"
            );
        }
    }
    assert_eq!(readlinkat(opened.root.base("vol"), "vol/link", Vec::new()).unwrap().to_str(), Ok("/etc"));
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
        return ksync_skip::skipped(NOT_HERE);
    };
    let opened = open_directory(container.pid(), &format!("{path}/link"), Credential::own()).await.unwrap();
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
    let error = open_directory(pid, "/x", Credential::own()).await.unwrap_err().to_string();
    assert_eq!(error, format!("the container's process `{pid}` has ended"));
}
