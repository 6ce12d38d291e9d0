//! Devices and folders as syncthing's configuration spells them.
//!
//! Every field that ksync depends on is stated, never left to a default that another version may change.
//! Source: <https://docs.syncthing.net/users/config.html>.

use serde::{Deserialize, Serialize};

/// A device: the far side.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Device id.
    #[serde(rename = "deviceID")]
    pub id: String,
    /// For logs.
    #[serde(default)]
    pub name: String,
    /// Where to dial: `tcp://127.0.0.1:PORT`; empty on the side that is dialled.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// metadata, always, never. With LZ4, so that it costs little where nothing is gained.
    #[serde(default)]
    pub compression: String,
    /// Whether the device is left alone for now.
    #[serde(default)]
    pub paused: bool,
    /// Connections to keep, one.
    #[serde(default)]
    pub num_connections: u32,
}

impl Device {
    /// A device that is dialled at `address`, or that dials us when there is none.
    pub fn new(id: &str, name: &str, address: Option<String>) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            addresses: address.into_iter().collect(),
            compression: "always".to_owned(),
            paused: false,
            num_connections: 1,
        }
    }
}

/// Which way a folder goes, seen from its own device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FolderType {
    /// Both ways.
    SendReceive,
    /// Takes changes, offers none.
    ReceiveOnly,
    /// Offers changes, takes none.
    SendOnly,
    /// Not used by ksync.
    ReceiveEncrypted,
}

/// A device that shares a folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FolderDevice {
    /// Device id.
    #[serde(rename = "deviceID")]
    pub id: String,
}

/// A limit of free space below which nothing is pulled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MinDiskFree {
    /// How much.
    pub value: f64,
    /// %, kB, MB, ...
    pub unit: String,
}

/// What happens to a local file that the far side replaces.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Versioning {
    /// simple, trashcan, staggered, external, or empty for none.
    #[serde(rename = "type")]
    pub kind: String,
    /// Settings of the kind.
    pub params: std::collections::BTreeMap<String, String>,
    /// Seconds between two clean-ups.
    pub cleanup_interval_s: u32,
    /// Where versions are kept; empty means below the folder.
    pub fs_path: String,
}

/// A folder. Build one with [`Folder::local`] or [`Folder::node`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_excessive_bools)]
pub struct Folder {
    /// Folder id, the same on both sides.
    pub id: String,
    /// For logs.
    #[serde(default)]
    pub label: String,
    /// Root directory, absolute.
    pub path: String,
    /// Which way it goes.
    #[serde(rename = "type")]
    pub kind: FolderType,
    /// Who shares it.
    #[serde(default)]
    pub devices: Vec<FolderDevice>,
    /// Whether it is stopped.
    #[serde(default)]
    pub paused: bool,
    /// 0: only scanned when told.
    #[serde(rename = "rescanIntervalS", default)]
    pub rescan_interval_s: u32,
    /// syncthing's own watcher.
    #[serde(default)]
    pub fs_watcher_enabled: bool,
    /// Whether permission bits are left alone.
    #[serde(default)]
    pub ignore_perms: bool,
    /// Whether names are changed to one Unicode form.
    #[serde(default)]
    pub auto_normalize: bool,
    /// A name in the root that must exist; `.` always does, ksync checks the root itself.
    #[serde(default)]
    pub marker_name: String,
    /// Conflict copies to keep; -1 means all, 0 none.
    #[serde(default)]
    pub max_conflicts: i32,
    /// Whether deletions of the far side are left undone.
    #[serde(default)]
    pub ignore_delete: bool,
    /// Owners are neither told nor applied: they differ on the two sides, and would make every pulled file a
    /// change of its own.
    #[serde(default)]
    pub send_ownership: bool,
    /// As above.
    #[serde(default)]
    pub sync_ownership: bool,
    /// On, with a filter that lets no attribute through: it makes ctime count, so that an edit of equal size and
    /// mtime is seen.
    #[serde(default)]
    pub send_xattrs: bool,
    /// Off: nothing is applied.
    #[serde(default)]
    pub sync_xattrs: bool,
    /// Lets nothing through.
    #[serde(default)]
    pub xattr_filter: XattrFilter,
    /// New files get the owner of their directory.
    #[serde(default)]
    pub copy_ownership_from_parent: bool,
    /// Whether names in other letters are other names. Where it is off, each name is compared with all of its directory,
    /// anew after each file that is made: the square of their number.
    #[serde(rename = "caseSensitiveFS", default)]
    pub case_sensitive_fs: bool,
    /// Skips fsync after a file is written.
    #[serde(default)]
    pub disable_fsync: bool,
    /// Files written at the same time.
    #[serde(default)]
    pub max_concurrent_writes: u32,
    /// Seconds of rest after a failed pull.
    #[serde(rename = "pullerPauseS", default)]
    pub puller_pause_s: u32,
    /// -1: no progress events of scans.
    #[serde(rename = "scanProgressIntervalS", default)]
    pub scan_progress_interval_s: i32,
    /// Whether partly pulled files are told to others: of no use with two devices.
    #[serde(default)]
    pub disable_temp_indexes: bool,
    /// Free space to leave.
    #[serde(default = "no_limit")]
    pub min_disk_free: MinDiskFree,
    /// What happens to replaced files.
    #[serde(default)]
    pub versioning: Versioning,
}

/// Which extended attributes are looked at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct XattrFilter {
    /// First match decides.
    pub entries: Vec<XattrRule>,
}

/// One rule of a filter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct XattrRule {
    /// Glob over names.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Whether they pass.
    pub permit: bool,
}

impl Default for XattrFilter {
    fn default() -> Self {
        Self { entries: vec![XattrRule { pattern: "*".to_owned(), permit: false }] }
    }
}

fn no_limit() -> MinDiskFree {
    MinDiskFree { value: 0.0, unit: "%".to_owned() }
}

impl Folder {
    /// The watcher's folder over a local path: starts paused, two-way, never deletes on the far side's word.
    pub fn local(id: &str, path: &str) -> Self {
        Self {
            max_conflicts: -1,
            ignore_delete: true,
            paused: true,
            ..Self::base(id, path, FolderType::SendReceive)
        }
    }

    /// A node's folder over a bound directory: receive-only until it is proved equal.
    ///
    /// The container's copy can be had again, so it is not fsynced.
    pub fn node(id: &str, path: &str) -> Self {
        Self {
            max_conflicts: 0,
            copy_ownership_from_parent: true,
            disable_fsync: true,
            ..Self::base(id, path, FolderType::ReceiveOnly)
        }
    }

    /// Shares the folder with `devices` (their ids).
    #[must_use]
    pub fn shared_with<'a>(mut self, devices: impl IntoIterator<Item = &'a str>) -> Self {
        self.devices = devices.into_iter().map(|id| FolderDevice { id: id.to_owned() }).collect();
        self
    }

    fn base(id: &str, path: &str, kind: FolderType) -> Self {
        Self {
            id: id.to_owned(),
            label: String::new(),
            path: path.to_owned(),
            kind,
            devices: Vec::new(),
            paused: false,
            rescan_interval_s: 0,
            fs_watcher_enabled: false,
            ignore_perms: false,
            auto_normalize: false,
            marker_name: ".".to_owned(),
            max_conflicts: 0,
            ignore_delete: false,
            send_ownership: false,
            sync_ownership: false,
            send_xattrs: true,
            sync_xattrs: false,
            xattr_filter: XattrFilter::default(),
            copy_ownership_from_parent: false,
            case_sensitive_fs: false,
            disable_fsync: false,
            max_concurrent_writes: 16,
            puller_pause_s: 1,
            scan_progress_interval_s: -1,
            disable_temp_indexes: true,
            min_disk_free: no_limit(),
            versioning: Versioning::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Device, Folder};

    #[test]
    fn a_local_folder_starts_paused_and_ignores_deletions() {
        let folder = serde_json::to_value(Folder::local("f", "/x").shared_with(["D"])).unwrap();
        for (key, value) in [
            ("paused", serde_json::json!(true)),
            ("ignoreDelete", serde_json::json!(true)),
            ("rescanIntervalS", serde_json::json!(0)),
            ("maxConflicts", serde_json::json!(-1)),
            ("type", serde_json::json!("sendreceive")),
            ("devices", serde_json::json!([{"deviceID": "D"}])),
        ] {
            assert_eq!(folder[key], value, "{key}");
        }
    }

    #[test]
    fn a_node_folder_is_receive_only_and_not_watched() {
        let folder = serde_json::to_value(Folder::node("f", "/sync/f")).unwrap();
        assert_eq!(folder["type"], "receiveonly");
        assert_eq!(folder["fsWatcherEnabled"], false);
        assert_eq!(folder["markerName"], ".");
        assert_eq!(
            serde_json::to_value(Device::new("D", "n", None)).unwrap()["addresses"],
            serde_json::json!([])
        );
    }
}
