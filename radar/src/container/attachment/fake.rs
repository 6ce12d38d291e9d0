//! A directory of this machine as if it were a container's, for tests.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;
use ksync_keys::Fingerprint;

use super::{Attachment, Claim};
use crate::container::{
    init_process::InitProcess,
    mount::directory::open_directory,
    power::Credential,
    runtime::{ContainerId, Scheme},
};

/// None where mounts can't be cloned. Its container lives as long as this process.
pub(crate) async fn attached(id: &str, path: &Path) -> Option<Arc<Attachment>> {
    attached_to(id, std::process::id(), path).await
}

/// The same in a container whose init is `pid`, a process of this machine.
pub(crate) async fn attached_to(id: &str, pid: u32, path: &Path) -> Option<Arc<Attachment>> {
    Some(Arc::new(attachment(id, pid, path).await?))
}

/// One that nobody holds yet, of person `s`.
pub(crate) async fn attachment(id: &str, pid: u32, path: &Path) -> Option<Attachment> {
    let pid = i32::try_from(pid).unwrap();
    let directory = open_directory(pid, &path.display().to_string(), Credential::own()).await.ok()?;
    let claim = Claim {
        person: Fingerprint::of(b"s"),
        holder: "u@m".into(),
        since: Timestamp::UNIX_EPOCH,
        folder: "f".into(),
        container: ContainerId { scheme: Scheme::Docker, id: "a".into() },
        pod: "ns/web-1".into(),
        path: directory.path.clone(),
        identity: directory.identity,
    };
    Some(Attachment::new(id.into(), claim, InitProcess::with_pid(pid).unwrap(), directory))
}
