//! Devices and folders as syncthing's configuration spells them.
//!
//! Every field that ksync depends on is stated, never left to a default that another version may change.
//! Source: <https://docs.syncthing.net/users/config.html>.

use serde::{Deserialize, Serialize};

/// Kilobytes under way in a spool: more than 50 ms of a fast line, and no burden on the memory of a node.
const PENDING_KIB: u32 = 8 << 10;

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

/// A folder. Build one with [`Folder::spool`].
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
    /// Extended attributes, the same.
    #[serde(default)]
    pub send_xattrs: bool,
    /// As above.
    #[serde(default)]
    pub sync_xattrs: bool,
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
    /// Files that are pulled at the same time.
    #[serde(default)]
    pub copiers: u32,
    /// Kilobytes that are asked for and have not come yet.
    #[serde(rename = "pullerMaxPendingKiB", default)]
    pub puller_max_pending_kib: u32,
    /// Blocks written at the same time.
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

fn no_limit() -> MinDiskFree {
    MinDiskFree { value: 0.0, unit: "%".to_owned() }
}

impl Folder {
    /// A folder over one of ksync's own directories, which is scanned when ksync says so. Its files live for one transfer: they
    /// are not fsynced, have no owner, mode or attribute of their own, and nothing of them is kept. `percent` of the file
    /// system stay free.
    pub fn spool(id: &str, path: &str, kind: FolderType, percent: u8) -> Self {
        Self {
            id: id.to_owned(),
            label: String::new(),
            path: path.to_owned(),
            kind,
            devices: Vec::new(),
            paused: false,
            rescan_interval_s: 0,
            fs_watcher_enabled: false,
            ignore_perms: true,
            auto_normalize: false,
            marker_name: ".".to_owned(),
            max_conflicts: 0,
            ignore_delete: false,
            send_ownership: false,
            sync_ownership: false,
            send_xattrs: false,
            sync_xattrs: false,
            copy_ownership_from_parent: false,
            case_sensitive_fs: true,
            disable_fsync: true,
            copiers: 2,
            puller_max_pending_kib: PENDING_KIB,
            max_concurrent_writes: 4,
            puller_pause_s: 1,
            scan_progress_interval_s: -1,
            disable_temp_indexes: true,
            min_disk_free: MinDiskFree { value: percent.into(), unit: "%".to_owned() },
            versioning: Versioning::default(),
        }
    }

    /// Shares the folder with `devices` (their ids).
    #[must_use]
    pub fn shared_with<'a>(mut self, devices: impl IntoIterator<Item = &'a str>) -> Self {
        self.devices = devices.into_iter().map(|id| FolderDevice { id: id.to_owned() }).collect();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{Device, Folder, FolderType};

    #[test]
    fn a_spool_is_scanned_when_it_is_said_and_keeps_nothing() {
        let folder = Folder::spool("f", "/x", FolderType::ReceiveOnly, 20).shared_with(["D"]);
        let folder = serde_json::to_value(folder).unwrap();
        for (key, value) in [
            ("type", serde_json::json!("receiveonly")),
            ("paused", serde_json::json!(false)),
            ("rescanIntervalS", serde_json::json!(0)),
            ("fsWatcherEnabled", serde_json::json!(false)),
            ("ignorePerms", serde_json::json!(true)),
            ("markerName", serde_json::json!(".")),
            ("pullerMaxPendingKiB", serde_json::json!(8192)),
            ("minDiskFree", serde_json::json!({"value": 20.0, "unit": "%"})),
            ("devices", serde_json::json!([{"deviceID": "D"}])),
        ] {
            assert_eq!(folder[key], value, "{key}");
        }
        assert_eq!(folder["versioning"]["type"], "");
    }

    #[test]
    fn a_device_without_an_address_dials_us() {
        let device = serde_json::to_value(Device::new("D", "n", None)).unwrap();
        assert_eq!(device["addresses"], serde_json::json!([]));
    }
}
