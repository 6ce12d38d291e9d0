//! What a process may do to files, as plain data, and the rule by which permissions are overridden.
//!
//! Invariant: pure.

use ksync_procfs::{IdMaps, Status};

/// What a process may do to files (credentials(7), capabilities(7)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Credential {
    /// User, as this node numbers users.
    pub(crate) uid: u32,
    /// Group, as this node numbers groups.
    pub(crate) gid: u32,
    /// Supplementary groups, sorted.
    pub(crate) groups: Vec<u32>,
    /// Effective capabilities, bit 0 for CAP_CHOWN.
    pub(crate) capabilities: u64,
}

/// Directories at the top of a container's root file system that hold the system of an image. A right to override permissions
/// there is the right to become its root.
const SYSTEM: &[&str] = &["etc", "usr", "bin", "sbin", "root", "run"];

impl Credential {
    /// Of a process.
    pub(crate) fn of(status: &Status) -> Self {
        Self {
            uid: status.uids[3],
            gid: status.gids[3],
            groups: status.groups.iter().copied().collect(),
            capabilities: status.effective,
        }
    }

    /// Of this process.
    #[cfg(test)]
    pub(crate) fn own() -> Self {
        Self::of(&Status::of(i32::try_from(std::process::id()).unwrap()).unwrap())
    }

    /// The same in a user namespace of its own: its capabilities mean nothing for files of others there, and nothing at all
    /// outside.
    pub(crate) fn without_capabilities(self) -> Self {
        Self { capabilities: 0, ..self }
    }

    /// With the numbers that its user namespace has, which a volume that is idmapped there has on the disk. What the namespace
    /// does not know keeps its number.
    pub(crate) fn inside(self, ids: &IdMaps) -> Self {
        let user = |id| ids.user_inside(id).unwrap_or(id);
        let group = |id| ids.group_inside(id).unwrap_or(id);
        let groups = self.groups.iter().map(|id| group(*id)).collect();
        Self { uid: user(self.uid), gid: group(self.gid), groups, ..self }
    }
}

/// Whether permissions are overridden below the attached `path` (absolute, without symlinks), which is in the container's own
/// root file system or not.
pub(crate) fn overrides(path: &str, in_own_root: bool) -> bool {
    let top = path.split('/').find(|name| !name.is_empty());
    in_own_root && top.is_some_and(|top| !SYSTEM.contains(&top) && !top.starts_with("lib"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_overridden_in_the_root_file_system_but_not_in_its_system() {
        for path in ["/code", "/srv/app", "/home/me", "/var/www", "/opt/usr", "/etcetera"] {
            assert!(overrides(path, true), "{path}");
            assert!(!overrides(path, false), "{path} in a volume");
        }
        let system =
            ["/", "", "/etc", "/etc/app", "/usr/src/app", "/bin", "/sbin/x", "/lib", "/lib64/x", "/libx32"];
        for path in system.into_iter().chain(["/root", "/root/code", "/run", "/run/app"]) {
            assert!(!overrides(path, true), "{path}");
        }
    }

    #[test]
    fn a_credential_is_what_counts_for_files() {
        let status = Status {
            uids: [1, 2, 3, 4],
            gids: [5, 6, 7, 8],
            groups: [9, 3].into(),
            effective: 0b101,
            ..Status::default()
        };
        let credential = Credential::of(&status);
        assert_eq!(credential, Credential { uid: 4, gid: 8, groups: vec![3, 9], capabilities: 0b101 });
        assert_eq!(credential.without_capabilities().capabilities, 0);
    }
}
