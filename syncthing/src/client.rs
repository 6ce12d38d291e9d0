//! The REST client. Speaks over syncthing's Unix socket only; every call has a time limit.
//!
//! Endpoints and fields: <https://docs.syncthing.net/dev/rest.html>.

use std::{collections::BTreeMap, path::Path, time::Duration};

use reqwest::{Method, RequestBuilder, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    address::{self, with_id, with_query},
    config::{Device, Folder},
    event::Event,
};

/// Longest time for a call that answers from memory or the database.
const CALL_LIMIT: Duration = Duration::from_secs(20);
/// Longest time for a scan, which answers when the scan is done.
const SCAN_LIMIT: Duration = Duration::from_secs(600);

/// Why a call to syncthing failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// syncthing could not be reached, or the connection broke.
    #[error("call syncthing's `{call}`")]
    Call {
        /// Method and path.
        call: String,
        /// What the HTTP client says.
        source: reqwest::Error,
    },
    /// syncthing answered with an error.
    #[error("syncthing refused `{call}`: {status}: {body}")]
    Refused {
        /// Method and path.
        call: String,
        /// HTTP status.
        status: StatusCode,
        /// The answer's text, trimmed.
        body: String,
    },
    /// The call was not made: no address is so long.
    #[error("call syncthing's `{call}`: an address of {bytes} bytes is too long")]
    Address {
        /// Method and the beginning of the path.
        call: String,
        /// Length of the path.
        bytes: usize,
    },
    /// The client could not be built.
    #[error("set up the client for syncthing's socket")]
    Build(#[source] reqwest::Error),
}

impl Error {
    /// Whether syncthing did not answer at all (as opposed to answering with an error).
    pub fn is_connection(&self) -> bool {
        matches!(self, Self::Call { source, .. } if !source.is_builder())
    }

    /// Whether syncthing says that the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }
}

/// `system/status`, the field that ksync reads.
#[derive(Deserialize)]
struct SystemStatus {
    #[serde(rename = "myID")]
    my_id: String,
}

#[derive(Deserialize)]
struct SystemVersion {
    version: String,
}

/// `db/status` of a folder, the fields that ksync reads.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FolderStatus {
    /// idle, scanning, scan-waiting, sync-preparing, sync-waiting, syncing, cleaning, error, or empty when paused.
    pub state: String,
    /// Why the folder stopped, else empty.
    pub error: String,
    /// Highest sequence number of this device's own index.
    pub sequence: i64,
    /// Highest sequence number received, per device id.
    pub remote_sequence: Option<BTreeMap<String, i64>>,
    /// Items to pull, of every kind, deletions included.
    pub need_total_items: u64,
    /// Files here.
    pub local_files: u64,
    /// Symlinks here.
    pub local_symlinks: u64,
    /// Deletions that differ here in a receive-only folder.
    pub receive_only_changed_deletes: u64,
    /// Items that failed to be pulled.
    pub pull_errors: u64,
}

/// An item that failed to be pulled, with syncthing's words.
#[derive(Debug, Clone, Deserialize)]
pub struct PullError {
    /// Path relative to the folder.
    #[serde(default)]
    pub path: String,
    /// What went wrong.
    #[serde(default)]
    pub error: String,
}

/// A connection to one syncthing's REST API.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    key: String,
}

impl Client {
    /// A client for the syncthing that listens on the Unix socket `socket` with the API key `key`.
    ///
    /// Nothing is sent yet. A rustls provider must be installed by the process, though no TLS is spoken here.
    pub fn unix(socket: &Path, key: &str) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .no_proxy()
            // No TLS is spoken here, and a container FROM scratch has no certificates to load.
            .tls_certs_only([])
            .build()
            .map_err(Error::Build)?;
        Ok(Self { http, key: key.to_owned() })
    }

    /// This syncthing's device id.
    pub async fn my_id(&self) -> Result<String, Error> {
        let status: SystemStatus = self.json(Method::GET, "system/status", |r| r).await?;
        Ok(status.my_id)
    }

    /// For example `v1.30.0`.
    pub async fn version(&self) -> Result<String, Error> {
        let version: SystemVersion = self.json(Method::GET, "system/version", |r| r).await?;
        Ok(version.version)
    }

    /// Adds a device, or replaces its configuration.
    pub async fn put_device(&self, device: &Device) -> Result<(), Error> {
        self.send(Method::PUT, &with_id("config/devices", &device.id), |r| r.json(device)).await
    }

    /// Forgets a device; one that is not there is no error.
    pub async fn delete_device(&self, id: &str) -> Result<(), Error> {
        absent_is_fine(self.send(Method::DELETE, &with_id("config/devices", id), |r| r).await)
    }

    /// The ids of all devices, this one included.
    pub async fn devices(&self) -> Result<Vec<Device>, Error> {
        self.json(Method::GET, "config/devices", |r| r).await
    }

    /// Adds a folder, or replaces its configuration.
    pub async fn put_folder(&self, folder: &Folder) -> Result<(), Error> {
        self.send(Method::PUT, &with_id("config/folders", &folder.id), |r| r.json(folder)).await
    }

    /// Stops a folder at once, for good: it is put anew or deleted, never resumed. One that does not exist is
    /// an error that says so.
    ///
    /// There is no other way to change single keys here: a PATCH sets every key that it does not name, and that
    /// has a default other than zero, back to its default (tried with 1.30).
    pub async fn pause_folder(&self, id: &str) -> Result<(), Error> {
        let paused = serde_json::json!({ "paused": true });
        self.send(Method::PATCH, &with_id("config/folders", id), |r| r.json(&paused)).await
    }

    /// Stops and forgets a folder; one that is not there is no error. Its files stay.
    pub async fn delete_folder(&self, id: &str) -> Result<(), Error> {
        absent_is_fine(self.send(Method::DELETE, &with_id("config/folders", id), |r| r).await)
    }

    /// All folders.
    pub async fn folders(&self) -> Result<Vec<Folder>, Error> {
        self.json(Method::GET, "config/folders", |r| r).await
    }

    /// Scans `subs` (paths relative to the folder; none means all of it) and returns when that is done. Paths that do
    /// not fit in one call are scanned by several, one after the other.
    pub async fn scan(&self, folder: &str, subs: &[String]) -> Result<(), Error> {
        for call in address::scans(folder, subs) {
            self.send(Method::POST, &call, |r| r.timeout(SCAN_LIMIT)).await?;
        }
        Ok(())
    }

    /// How far a folder is.
    pub async fn folder_status(&self, folder: &str) -> Result<FolderStatus, Error> {
        self.json(Method::GET, &with_query("db/status", &[("folder", folder)]), |r| r).await
    }

    /// What could not be pulled, and why.
    pub async fn folder_errors(&self, folder: &str) -> Result<Vec<PullError>, Error> {
        #[derive(Deserialize)]
        struct Page {
            errors: Option<Vec<PullError>>,
        }
        let page: Page =
            self.json(Method::GET, &with_query("folder/errors", &[("folder", folder)]), |r| r).await?;
        Ok(page.errors.unwrap_or_default())
    }

    /// Whether `device` is connected and has the folder, too, and neither side has paused it.
    pub async fn has_remote(&self, folder: &str, device: &str) -> Result<bool, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Completion {
            #[serde(default)]
            remote_state: String,
        }
        let query = [("folder", folder), ("device", device)];
        let completion: Completion =
            self.json(Method::GET, &with_query("db/completion", &query), |r| r).await?;
        Ok(completion.remote_state == "valid")
    }

    /// The devices that are connected now.
    pub async fn connected(&self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Connection {
            connected: bool,
        }
        #[derive(Deserialize)]
        struct Connections {
            connections: BTreeMap<String, Connection>,
        }
        let all: Connections = self.json(Method::GET, "system/connections", |r| r).await?;
        Ok(all.connections.into_iter().filter(|(_, c)| c.connected).map(|(id, _)| id).collect())
    }

    /// Waits up to `wait` for events after `since` whose names are in `kinds` and returns them, oldest first.
    ///
    /// Ids count up by one within one set of kinds, so a gap means that events were lost.
    pub async fn events(&self, kinds: &[&str], since: u64, wait: Duration) -> Result<Vec<Event>, Error> {
        let (mask, since) = (kinds.join(","), since.to_string());
        let seconds = wait.as_secs().max(1).to_string();
        let query = [("events", mask.as_str()), ("since", &since), ("timeout", &seconds)];
        let limit = wait + CALL_LIMIT;
        let events: Option<Vec<Event>> =
            self.json(Method::GET, &with_query("events", &query), |r| r.timeout(limit)).await?;
        Ok(events.unwrap_or_default())
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<T, Error> {
        let call = format!("{method} {path}");
        let answer = self.answer(method, path, fill).await?;
        answer.json().await.map_err(|source| Error::Call { call, source })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<(), Error> {
        self.answer(method, path, fill).await.map(drop)
    }

    async fn answer(
        &self,
        method: Method,
        path: &str,
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<reqwest::Response, Error> {
        let Some(address) = address::of(path) else {
            let start: String = path.chars().take(100).collect();
            return Err(Error::Address { call: format!("{method} {start}..."), bytes: path.len() });
        };
        let call = format!("{method} {path}");
        let request = self.http.request(method, address).header("X-API-Key", &self.key).timeout(CALL_LIMIT);
        let answer =
            fill(request).send().await.map_err(|source| Error::Call { call: call.clone(), source })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.text().await.map_err(|source| Error::Call { call: call.clone(), source })?;
        Err(Error::Refused { call, status, body: body.trim().to_owned() })
    }
}

fn absent_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}
