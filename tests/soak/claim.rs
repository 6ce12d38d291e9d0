//! What `get -o json` says, and when.

use std::{process::Command, time::Duration};

use ksync_judge::Micros;
use serde_json::Value;

use crate::{
    clock,
    suite::{ksync::Ksync, shell},
};

/// Who asks waits no longer.
const LIMIT: &str = "12";
/// Older than this, an answer is no claim of now.
pub(crate) const FRESH: Duration = Duration::from_secs(2);

/// A container, as it is shown.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) watching: bool,
    pub(crate) two_way: bool,
    /// What the claim is about; the moment of the question where the row does not say.
    pub(crate) as_of: Micros,
}

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) answered: Micros,
    pub(crate) watching: bool,
    pub(crate) rows: Vec<Row>,
    /// How often something was healed; none where that is not said.
    pub(crate) healings: Option<u64>,
    /// Status, reason and rows in one line.
    pub(crate) shown: String,
}

impl Claim {
    pub(crate) fn ask(ksync: &Ksync) -> Result<Self, String> {
        let asked = clock::now();
        let moment = jiff::Timestamp::now();
        let mut command = Command::new("timeout");
        command.args(["--kill-after=2", LIMIT]).arg(Ksync::program());
        command.env("KUBECONFIG", &ksync.kubeconfig).env("KSYNC_HOME", &ksync.home).env_remove("RUST_LOG");
        command.args(["-n", &ksync.namespace, "get", "-o", "json"]);
        let text = shell::run(&mut command, None).ok()?;
        let list: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        let spec = &list["items"][0];
        let since = |value: &Value| {
            let said: jiff::Timestamp = value["asOf"].as_str()?.parse().ok()?;
            let before = moment.duration_since(said);
            let ago = Duration::try_from(before).unwrap_or_default();
            Some(asked.saturating_sub(clock::micros(ago)))
        };
        let of_spec = since(spec);
        let row = |row: &Value| Row {
            id: row["containerId"].as_str().unwrap_or_default().to_owned(),
            watching: row["status"] == "watching",
            two_way: row["twoWay"] == true,
            as_of: since(row).or(of_spec).unwrap_or(asked),
        };
        let rows: Vec<&Value> = spec["containers"].as_array().into_iter().flatten().collect();
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let short =
            |row: &&Value| format!("{} {} {}", text(row, "pod"), text(row, "status"), text(row, "reason"));
        let shown = rows.iter().map(short).collect::<Vec<_>>().join(", ");
        Ok(Self {
            answered: clock::now(),
            watching: spec["status"] == "watching",
            healings: std::iter::once(&spec).chain(&rows).map(|of| count(&of["healings"])).sum(),
            rows: rows.into_iter().map(row).collect(),
            shown: format!("{} {} [{shown}]", text(spec, "status"), text(spec, "reason")),
        })
    }

    /// Whether exactly these containers are in sync, as it says.
    pub(crate) fn is_of(&self, ids: &[String]) -> bool {
        let watches = |id: &String| self.rows.iter().any(|row| row.id == *id && row.watching);
        self.watching && self.rows.len() == ids.len() && ids.iter().all(watches)
    }
}

/// A number, or as many as are listed, or numbers by cause.
fn count(healings: &Value) -> Option<u64> {
    match healings {
        Value::Array(list) => Some(list.len() as u64),
        Value::Object(causes) => Some(causes.values().filter_map(Value::as_u64).sum()),
        other => other.as_u64(),
    }
}
