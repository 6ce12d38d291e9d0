//! How a container's first process was started, as its runtime recorded it.
//!
//! Invariant: plain data; nothing here is guessed from the process that runs now. The shape is the `process` of an
//! OCI runtime specification (<https://github.com/opencontainers/runtime-spec/blob/main/config.md#process>).

use ksync_procfs::IdRange;
use serde::Deserialize;

/// A start, as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The program, to be looked for as a shell would, and its arguments.
    pub(crate) args: Vec<String>,
    /// `NAME=value` each, a name once.
    pub(crate) env: Vec<String>,
    /// Working directory; absolute.
    pub(crate) cwd: String,
    /// File mode creation mask.
    pub(crate) umask: u32,
    /// Who it ran as.
    pub(crate) user: User,
    /// Supplementary groups by number, as far as they are recorded.
    pub(crate) groups: Vec<u32>,
    /// Bounding capabilities, bit 0 for CAP_CHOWN; none when they are not recorded.
    pub(crate) bounding: Option<u64>,
    /// Inheritable and ambient ones.
    pub(crate) inheritable: u64,
    /// Ambient ones: what a program of another user than root begins with.
    pub(crate) ambient: u64,
    /// Whether it could gain no privileges from the start.
    pub(crate) no_new_privileges: bool,
    /// Whether the runtime gave it a seccomp filter.
    pub(crate) filtered: bool,
    /// How users are numbered in the user namespace that the runtime gave it, sorted; empty where it gave none.
    pub(crate) users: Vec<IdRange>,
}

/// A user as a container is configured with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum User {
    /// By numbers.
    Ids {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// `NAME`, `UID` or either with `:GROUP`: what is missing is in the container's own files.
    Named(String),
}

/// What runtimes make it when nobody says otherwise.
pub(super) const UMASK: u32 = 0o022;

/// Names of capabilities in the order of their numbers (linux/capability.h).
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The set of these capabilities, with or without `CAP_` before each; names that are unknown here are left out.
pub(super) fn capabilities<S: AsRef<str>>(names: &[S]) -> u64 {
    names.iter().fold(0, |set, name| {
        let name = name.as_ref().to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        CAPABILITIES.iter().position(|known| *known == name).map_or(set, |bit| set | 1 << bit)
    })
}

/// Each name once, where it stood first, with the value that it had last: so a runtime starts a program whose record has
/// a name twice (CRI-O puts its defaults before the image's and the pod's).
pub(super) fn last_values(env: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut once: Vec<String> = Vec::new();
    for variable in env {
        let name = variable.split('=').next();
        match once.iter_mut().find(|set| set.split('=').next() == name) {
            Some(set) => *set = variable,
            None => once.push(variable),
        }
    }
    once
}

#[derive(Deserialize)]
struct Spec {
    process: Process,
    #[serde(default)]
    linux: Option<Linux>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    args: Vec<String>,
    #[serde(default)]
    env: Option<Vec<String>>,
    cwd: String,
    #[serde(default)]
    user: Ids,
    #[serde(default)]
    capabilities: Option<Sets>,
    #[serde(default)]
    no_new_privileges: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Ids {
    uid: u32,
    gid: u32,
    umask: Option<u32>,
    additional_gids: Option<Vec<u32>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Sets {
    bounding: Option<Vec<String>>,
    inheritable: Option<Vec<String>>,
    ambient: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Linux {
    #[serde(default)]
    seccomp: Option<serde::de::IgnoredAny>,
    #[serde(default, rename = "uidMappings")]
    users: Option<Vec<Mapping>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    #[serde(rename = "containerID")]
    inside: u32,
    #[serde(rename = "hostID")]
    outside: u32,
    size: u32,
}

fn numbered(mappings: Vec<Mapping>) -> Vec<IdRange> {
    let range = |Mapping { inside, outside, size }| IdRange { inside, outside, count: size };
    let mut ranges: Vec<IdRange> = mappings.into_iter().map(range).collect();
    ranges.sort_unstable();
    ranges
}

/// Reads an OCI runtime specification; none when it is none, or starts nothing.
pub(super) fn in_runtime_spec(spec: serde_json::Value) -> Option<Record> {
    let Spec { process, linux } = serde_json::from_value(spec).ok()?;
    if process.args.is_empty() {
        return None;
    }
    let sets = process.capabilities.unwrap_or_default();
    let set = |names: Option<Vec<String>>| capabilities(&names.unwrap_or_default());
    let Ids { uid, gid, umask, additional_gids } = process.user;
    Some(Record {
        args: process.args,
        env: last_values(process.env.unwrap_or_default()),
        cwd: process.cwd,
        umask: umask.unwrap_or(UMASK),
        user: User::Ids { uid, gid },
        groups: additional_gids.unwrap_or_default(),
        bounding: Some(set(sets.bounding)),
        inheritable: set(sets.inheritable),
        ambient: set(sets.ambient),
        no_new_privileges: process.no_new_privileges,
        filtered: linux.as_ref().is_some_and(|linux| linux.seccomp.is_some()),
        users: linux.and_then(|linux| linux.users).map(numbered).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{IdRange, User, capabilities, in_runtime_spec, last_values};

    #[test]
    fn a_specification_is_read() {
        let spec = json!({
            "ociVersion": "1.1.0",
            "process": {
                "user": {"uid": 1000, "gid": 1001, "additionalGids": [1001, 7]},
                "args": ["/entry", "-x"], "env": ["PATH=/bin"], "cwd": "/code", "noNewPrivileges": true,
                "capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_CHOWN"]}
            },
            "linux": {
                "seccomp": {"defaultAction": "SCMP_ACT_ERRNO"},
                "uidMappings": [{"containerID": 0, "hostID": 65536, "size": 65536}]
            }
        });
        let record = in_runtime_spec(spec).unwrap();
        assert_eq!(record.args, ["/entry", "-x"]);
        assert_eq!((record.env.as_slice(), record.cwd.as_str()), (&["PATH=/bin".to_owned()][..], "/code"));
        assert_eq!(record.user, User::Ids { uid: 1000, gid: 1001 });
        assert_eq!(record.users, [IdRange { inside: 0, outside: 65536, count: 65536 }]);
        assert_eq!((record.groups.as_slice(), record.umask), (&[1001, 7][..], 0o022));
        assert_eq!((record.bounding, record.ambient), (Some(0b10_0001), 0));
        assert!(record.no_new_privileges && record.filtered);
    }

    #[test]
    fn a_name_that_is_recorded_twice_has_its_last_value() {
        let env = ["PATH=/usr/bin", "A=1", "PATH=/tools:/bin", "AB=2", "A=", "ODD"];
        let once = last_values(env.map(str::to_owned));
        assert_eq!(once, ["PATH=/tools:/bin", "A=", "AB=2", "ODD"]);
        let spec = json!({"process": {"args": ["env", "myapp"], "cwd": "/", "env": env}});
        assert_eq!(in_runtime_spec(spec).unwrap().env, once);
    }

    #[test]
    fn what_is_no_specification_is_no_record() {
        assert_eq!(in_runtime_spec(json!({})), None);
        assert_eq!(in_runtime_spec(json!({"process": {"args": [], "cwd": "/"}})), None);
        let least = in_runtime_spec(json!({"process": {"args": ["a"], "cwd": "/"}, "linux": {}})).unwrap();
        assert_eq!(
            (least.bounding, least.filtered, least.user),
            (Some(0), false, User::Ids { uid: 0, gid: 0 })
        );
    }

    #[test]
    fn capabilities_have_their_numbers() {
        assert_eq!(capabilities(&["SYS_ADMIN", "cap_bpf", "CAP_NOT_YET"]), 1 << 21 | 1 << 39);
    }

    #[test]
    fn no_record_breaks_it() {
        let spec = br#"{"process":{"args":["sh","-c","x"],"env":["A=1","A=2","B"],"cwd":"/","user":{"uid":0,"gid":7,"umask":18,"additionalGids":[1,2]},"capabilities":{"bounding":["CAP_CHOWN","KILL","x"]},"noNewPrivileges":true},"linux":{"seccomp":{},"uidMappings":[{"containerID":0,"hostID":1000,"size":65536}]}}"#;
        ksync_mangle::each(&[spec], |bytes| {
            let Some(record) = serde_json::from_slice(bytes).ok().and_then(in_runtime_spec) else { return };
            assert!(!record.args.is_empty());
            let names: Vec<_> = record.env.iter().map(|variable| variable.split('=').next()).collect();
            let once: std::collections::BTreeSet<_> = names.iter().collect();
            assert_eq!(names.len(), once.len(), "each name once: {names:?}");
        });
    }
}
