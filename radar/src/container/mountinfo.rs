//! The mounts of a container and whether their files can be synced, from `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
//!
//! Invariant: nothing here touches the kernel; the text alone decides.

use ksync_procfs::Mount;
use ksync_tree::{below, covers};

/// A mount below a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Submount {
    /// Relative to the directory.
    pub(crate) path: String,
    /// File system type.
    pub(crate) kind: String,
    /// Whether its users and groups have other numbers in the container than on the volume.
    pub(crate) idmapped: bool,
    /// Why it is not synced; none when it is.
    pub(crate) excluded: Option<&'static str>,
}

/// File systems that are windows into the kernel, not files.
const KERNEL: &[&str] = &[
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "devpts",
    "devtmpfs",
    "mqueue",
    "debugfs",
    "tracefs",
    "securityfs",
    "pstore",
    "bpf",
    "configfs",
    "fusectl",
    "hugetlbfs",
    "nsfs",
    "efivarfs",
    "binfmt_misc",
    "rpc_pipefs",
    "selinuxfs",
    "smackfs",
];

/// Whether a file system of this type is a window into the kernel.
pub(crate) fn is_kernel(kind: &str) -> bool {
    KERNEL.contains(&kind)
}

/// The mount that `path` (absolute, without symlinks) lies on. Later mounts lie over earlier ones.
pub(crate) fn mount_at<'m>(mounts: &'m [Mount], path: &str) -> Option<&'m Mount> {
    mounts.iter().filter(|m| covers(&m.point, path)).max_by_key(|m| m.point.len())
}

/// Whether `path` (absolute, without symlinks) lies on a mount of its own, so that it outlives its container.
pub(crate) fn in_volume(mounts: &[Mount], path: &str) -> bool {
    mount_at(mounts, path).is_some_and(|mount| mount.point != "/")
}

/// The mounts below `path`, parents first, each with what becomes of it. `is_file` tells for a relative path
/// whether the mount is of a single file.
///
/// What lies below an excluded mount is left out with it and not listed.
pub(crate) fn submounts(mounts: &[Mount], path: &str, is_file: impl Fn(&str) -> bool) -> Vec<Submount> {
    let idmapped = mount_at(mounts, path).is_some_and(|mount| mount.idmapped);
    let mut found: Vec<(String, &Mount)> = Vec::new();
    for mount in mounts {
        let Some(relative) = below(path, &mount.point).filter(|r| !r.is_empty()) else { continue };
        // A second mount on the same point hides the first.
        found.retain(|(point, _)| point != relative);
        found.push((relative.to_owned(), mount));
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut submounts: Vec<Submount> = Vec::new();
    for (relative, mount) in found {
        let hidden = submounts.iter().any(|s| s.excluded.is_some() && covers(&s.path, &relative));
        if hidden {
            continue;
        }
        let excluded = if is_kernel(&mount.kind) {
            Some("a kernel file system")
        } else if is_file(&relative) {
            Some("a single file mounted over the directory")
        } else if mount.read_only && mount.kind == "tmpfs" {
            Some("a Secret, ConfigMap or projected volume")
        } else if mount.read_only {
            Some("mounted read-only")
        } else if mount.idmapped != idmapped {
            // A new entry gets the owner of its directory, by number: on both sides of the mount it would be another's.
            Some("mounted with other user ids than the directory around it (`hostUsers: false`)")
        } else {
            None
        };
        let (kind, idmapped) = (mount.kind.clone(), mount.idmapped);
        submounts.push(Submount { path: relative, kind, idmapped, excluded });
    }
    submounts
}

/// Where the node keeps the root file system that is an overlay: its writable layer.
pub(crate) fn upper_dir(mounts: &[Mount]) -> Option<String> {
    let root = mounts.iter().rev().find(|m| m.point == "/" && m.kind == "overlay")?;
    root.options.split(',').find_map(|option| option.strip_prefix("upperdir=")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use ksync_procfs::parse_mounts;

    use super::{in_volume, mount_at, submounts, upper_dir};

    const TEXT: &str = "\
600 500 0:90 / / rw,relatime - overlay overlay rw,lowerdir=/l1:/l2,upperdir=/u/fs,workdir=/u/work
601 600 0:91 / /proc rw,nosuid - proc proc rw
602 600 8:1 /pods/x/volumes/data /code/data rw,relatime - ext4 /dev/vda1 rw
603 600 8:1 /pods/x/config/app.yaml /code/app.yaml ro,relatime - ext4 /dev/vda1 rw
604 600 0:92 / /code/secret ro,relatime - tmpfs tmpfs rw,size=1k
605 602 0:93 / /code/data/ro ro - ext4 /dev/vda2 rw
606 604 0:94 / /code/secret/more rw - tmpfs tmpfs rw
607 600 0:95 / /code/with\\040space rw - xfs /dev/vdb rw
608 600 0:96 / /codex rw - xfs /dev/vdb rw
609 600 0:97 / /code/sys rw - sysfs sysfs rw
610 600 8:1 /pods/x/volumes/own /code/own rw,idmapped - ext4 /dev/vda1 rw
";

    #[test]
    fn each_submount_gets_its_verdict() {
        let found = submounts(&parse_mounts(TEXT), "/code", |path| path == "app.yaml");
        let found: Vec<_> = found.iter().map(|s| (s.path.as_str(), s.excluded)).collect();
        assert_eq!(
            found,
            [
                ("app.yaml", Some("a single file mounted over the directory")),
                ("data", None),
                ("data/ro", Some("mounted read-only")),
                (
                    "own",
                    Some("mounted with other user ids than the directory around it (`hostUsers: false`)")
                ),
                ("secret", Some("a Secret, ConfigMap or projected volume")),
                ("sys", Some("a kernel file system")),
                ("with space", None),
            ]
        );
        let own = "1 0 0:9 / / rw - overlay o rw\n2 1 8:1 / /v rw,idmapped - ext4 d rw\n3 2 8:1 / /v/w rw,idmapped - ext4 d rw\n";
        let found = submounts(&parse_mounts(own), "/v", |_| false);
        assert_eq!((found.len(), found[0].excluded), (1, None), "both have the numbers on the disk");
    }

    #[test]
    fn a_path_lies_on_its_deepest_mount() {
        let mounts = parse_mounts(TEXT);
        assert_eq!(mount_at(&mounts, "/code/data/x").unwrap().point, "/code/data");
        assert_eq!(mount_at(&mounts, "/code/datum").unwrap().point, "/");
        assert_eq!(mount_at(&mounts, "/proc/1").unwrap().kind, "proc");
        assert_eq!(upper_dir(&mounts).as_deref(), Some("/u/fs"));
        assert!(in_volume(&mounts, "/code/data/x") && !in_volume(&mounts, "/code"));
    }
}
