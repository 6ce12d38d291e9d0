//! The specs of a context as rows: live from the watcher, or from the file when none runs.

use std::io::Write;

use jiff::Timestamp;
use ksync_common::micros;
use ksync_engine::Healings;
use serde::Serialize;
use tabwriter::TabWriter;

use crate::{
    config::{Config, Direction, SpecDetails},
    printer::shown,
    status::{Edit, Status},
    watcher::{ServiceView, SpecView},
};

/// A spec as `get` shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SpecRow {
    pub(super) name: String,
    pub(super) context: String,
    pub(super) namespace: String,
    pub(super) selector: String,
    pub(super) pod: String,
    pub(super) container: String,
    pub(super) local_path: String,
    pub(super) remote_path: String,
    pub(super) reload: bool,
    /// auto, process, container, signal:NAME; null without `reload`.
    pub(super) reload_mode: Option<String>,
    pub(super) status: String,
    pub(super) reason: String,
    /// RFC 3339; null when it is not known.
    pub(super) since: Option<String>,
    /// Containers in sync, of all: `3/4`.
    pub(super) ready: String,
    pub(super) containers: Vec<ContainerRow>,
    pub(super) warnings: Vec<String>,
    /// What had to be mended here, by cause; null where no watcher says.
    pub(super) healings: Option<HealingsRow>,
    /// Files that both sides changed and nobody has dismissed.
    pub(super) conflicts: usize,
}

/// A container of a spec.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerRow {
    pub(super) pod: String,
    pub(super) container: String,
    pub(super) container_id: String,
    pub(super) node: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) since: Option<String>,
    pub(super) last_contact: Option<String>,
    pub(super) as_of: Option<String>,
    /// What of it had to be mended, by cause; null where the watcher, of an older version, does not say.
    pub(super) healings: Option<HealingsRow>,
    /// Whether what it writes comes back; null where the watcher, of an older version, does not say.
    pub(super) two_way: Option<bool>,
    pub(super) excluded: Vec<String>,
    /// Whether the path was made there.
    pub(super) created: bool,
    /// Whether it is written whatever its permissions.
    pub(super) overrides: bool,
    pub(super) percent: u32,
    /// How often its app was reloaded.
    pub(super) reloads: u64,
    /// When the last time.
    pub(super) last_reload: Option<String>,
    /// Why the last one failed, was left out, or rests; empty when it was done.
    pub(super) reload_note: String,
    /// The last local edit; null before the first one.
    pub(super) last_edit: Option<EditRow>,
}

/// What was found to be other than it was known, and was mended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HealingsRow {
    /// Changes that no event had told of.
    pub(super) missed: u64,
    /// Entries that were told anew because sums did not fit.
    pub(super) recounted: u64,
}

impl From<Healings> for HealingsRow {
    fn from(Healings { missed, recounted }: Healings) -> Self {
        Self { missed, recounted }
    }
}

/// An edit that the container was given.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EditRow {
    /// When it was noticed.
    pub(super) at: String,
    /// Microseconds from then until it was known to be there.
    pub(super) settled_us: u64,
}

impl From<Edit> for EditRow {
    fn from(edit: Edit) -> Self {
        Self { at: edit.at.to_string(), settled_us: micros(edit.settled) }
    }
}

/// The specs of `config` that belong to `context`.
pub(super) fn specs_of<'a>(config: &'a Config, context: &str) -> impl Iterator<Item = &'a SpecDetails> {
    config.spec.iter().filter(move |spec| {
        let named = spec.context.as_deref().unwrap_or(&config.context);
        named.is_empty() || named == context
    })
}

/// A spec that nobody runs.
pub(super) fn stopped(spec: &SpecDetails, context: &str, namespace: &str, reason: &str) -> SpecRow {
    SpecRow {
        name: spec.name.clone(),
        context: context.to_owned(),
        namespace: namespace.to_owned(),
        selector: spec.selector.clone(),
        pod: spec.pod.clone(),
        container: spec.containername.clone(),
        local_path: spec.localpath.clone(),
        remote_path: spec.remotepath.clone(),
        reload: spec.reload,
        reload_mode: spec.reload.then(|| spec.reload_mode.clone().unwrap_or_default().to_string()),
        status: Status::Stopped.to_string(),
        reason: reason.to_owned(),
        since: None,
        ready: "0/0".to_owned(),
        containers: Vec::new(),
        warnings: Vec::new(),
        healings: None,
        conflicts: 0,
    }
}

/// A spec as the watcher tells it.
pub(super) fn live(spec: SpecView) -> SpecRow {
    let watching = Status::Watching.to_string();
    let good = spec.services.iter().filter(|service| service.status == watching).count();
    SpecRow {
        ready: format!("{good}/{}", spec.services.len()),
        since: time(spec.since),
        containers: spec.services.into_iter().map(container).collect(),
        name: spec.name,
        context: spec.context,
        namespace: spec.namespace,
        selector: spec.selector,
        pod: spec.pod,
        container: spec.container,
        local_path: spec.local_path,
        remote_path: spec.remote_path,
        reload: spec.reload,
        reload_mode: spec.reload_mode.filter(|_| spec.reload),
        status: spec.status,
        reason: spec.reason,
        warnings: spec.warnings,
        healings: spec.healings.map(HealingsRow::from),
        conflicts: 0,
    }
}

fn container(service: ServiceView) -> ContainerRow {
    ContainerRow {
        since: time(service.since),
        last_contact: time(service.last_contact),
        as_of: time(service.as_of),
        healings: service.healings.map(HealingsRow::from),
        two_way: service.direction.map(|direction| direction == Direction::Both),
        pod: service.pod,
        container: service.container,
        container_id: service.container_id,
        node: service.node,
        status: service.status,
        reason: service.reason,
        excluded: service.excluded,
        created: service.created,
        overrides: service.overrides,
        percent: service.percent,
        last_edit: service.last_edit.map(EditRow::from),
        reloads: service.reloads,
        last_reload: time(service.last_reload),
        reload_note: service.reload_note,
    }
}

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

/// The table: a line for each container, and one for a spec without any. Columns as the old ksync had them;
/// a REASON column only when there is one to give.
pub(super) fn render(rows: &[SpecRow], wide: bool, headers: bool) -> String {
    let lines = lines(rows, wide);
    // It is the last column.
    let reasons = lines.iter().any(|line| line.cells.last().is_some_and(|reason| !reason.is_empty()));
    let columns = headings(wide);
    let shown = columns.len() - usize::from(!reasons);
    let head = (headers && !lines.is_empty()).then_some(columns);
    let cells = head.into_iter().chain(lines.into_iter().map(|line| line.cells));
    let cells: Vec<Vec<String>> = cells.map(|cells| cells.into_iter().take(shown).collect()).collect();
    align(&cells).into_iter().fold(String::new(), |all, line| all + &line + "\n")
}

/// The names of all columns.
pub(super) fn headings(wide: bool) -> Vec<String> {
    let mut columns = vec!["NAME", "LOCAL", "REMOTE", "STATUS", "POD", "CONTAINER"];
    if wide {
        columns.extend(["NAMESPACE", "NODE", "DIRECTION", "SINCE", "CONFLICTS", "NOT-SYNCED", "RELOAD"]);
    }
    columns.push("REASON");
    columns.into_iter().map(str::to_owned).collect()
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The spec, and the container's id; empty where the spec speaks for itself.
    pub(super) of: (String, String),
    /// A cell for each of the [`headings`].
    pub(super) cells: Vec<String>,
}

/// The table's lines, without the headings.
pub(super) fn lines(rows: &[SpecRow], wide: bool) -> Vec<Line> {
    rows.iter().flat_map(|row| lines_of(row, wide)).collect()
}

/// Lines of equal numbers of cells as text, each column as wide as its widest cell; the names in them are [`shown`].
pub(super) fn align(lines: &[Vec<String>]) -> Vec<String> {
    let mut table = TabWriter::new(Vec::new()).padding(3).tab_indent(false);
    let text: String = lines.iter().map(|cells| line_of(cells)).collect();
    // Writing to memory can't fail, and what went in was UTF-8.
    let written = table.write_all(text.as_bytes()).and_then(|()| table.flush());
    let bytes = written.ok().and_then(|()| table.into_inner().ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).lines().map(|line| line.trim_end().to_owned()).collect()
}

fn line_of(cells: &[String]) -> String {
    cells.iter().map(|cell| shown(cell)).collect::<Vec<_>>().join("\t") + "\n"
}

fn dash(cell: &str) -> String {
    if cell.is_empty() { "-".to_owned() } else { cell.to_owned() }
}

/// The mode, how often it was done and when the last time, and what there is to say of that.
fn reload_of(row: &SpecRow, container: Option<&ContainerRow>) -> String {
    let mode = match (&row.reload_mode, row.reload) {
        (Some(mode), true) => mode,
        (_, true) => "auto",
        (_, false) => "false",
    };
    let Some(container) = container else { return mode.to_owned() };
    let done = match (&container.last_reload, container.reloads) {
        (Some(last), count) => format!(", {count}x, last {last}"),
        (None, _) => String::new(),
    };
    let note = if container.reload_note.is_empty() { "" } else { ", " };
    format!("{mode}{done}{note}{}", container.reload_note)
}

fn lines_of(row: &SpecRow, wide: bool) -> Vec<Line> {
    let conflicts = row.conflicts.to_string();
    let line = |id: &str, own: [&str; 3], more: [&str; 7], reason: &str| {
        let mut cells = vec![row.name.clone(), row.local_path.clone(), row.remote_path.clone()];
        cells.extend(own.map(dash));
        if wide {
            cells.extend(more.map(dash));
        }
        cells.push(reason.to_owned());
        Line { of: (row.name.clone(), id.to_owned()), cells }
    };
    let own = || {
        let since = row.since.as_deref().unwrap_or_default();
        line(
            "",
            [&row.status, &row.pod, &row.container],
            [&row.namespace, "", "", since, &conflicts, "", &reload_of(row, None)],
            &row.reason,
        )
    };
    let each = row.containers.iter().map(|container| {
        let direction = match container.two_way {
            Some(true) => "both",
            Some(false) => "to-container",
            None => "",
        };
        let since = container.since.as_deref().unwrap_or_default();
        let excluded = container.excluded.join(", ");
        line(
            &container.container_id,
            [&container.status, &container.pod, &container.container],
            [
                &row.namespace,
                &container.node,
                direction,
                since,
                &conflicts,
                &excluded,
                &reload_of(row, Some(container)),
            ],
            &container.reason,
        )
    });
    let mut lines: Vec<Line> = each.collect();
    // What the spec says of itself, when none of its containers says it.
    if lines.is_empty() || !row.containers.iter().any(|container| container.status == row.status) {
        lines.insert(0, own());
    }
    lines
}

#[cfg(test)]
pub(super) mod tests {
    use super::{ContainerRow, SpecRow, reload_of, render};

    pub(in crate::cmd) fn spec(name: &str, status: &str, containers: Vec<ContainerRow>) -> SpecRow {
        SpecRow {
            name: name.into(),
            context: "c".into(),
            namespace: "default".into(),
            selector: "app=app".into(),
            pod: String::new(),
            container: String::new(),
            local_path: "/tmp/ksync".into(),
            remote_path: "/code".into(),
            reload: true,
            reload_mode: Some("auto".into()),
            status: status.into(),
            reason: if containers.is_empty() { "no pod matches `app=app`".into() } else { String::new() },
            since: None,
            ready: String::new(),
            containers,
            warnings: Vec::new(),
            healings: None,
            conflicts: 0,
        }
    }

    pub(in crate::cmd) fn container(pod: &str, two_way: bool) -> ContainerRow {
        ContainerRow {
            pod: pod.into(),
            container: "web".into(),
            container_id: "containerd://1".into(),
            node: "n1".into(),
            status: "watching".into(),
            reason: String::new(),
            since: Some("2026-01-02T03:04:05Z".into()),
            last_contact: None,
            as_of: None,
            healings: None,
            two_way: Some(two_way),
            excluded: Vec::new(),
            created: false,
            overrides: false,
            percent: 100,
            last_edit: None,
            reloads: 0,
            last_reload: None,
            reload_note: String::new(),
        }
    }

    #[test]
    fn a_line_for_each_container() {
        let rows =
            [spec("sunny-husky", "watching", vec![container("app-1", true), container("app-2", false)])];
        insta::assert_snapshot!(render(&rows, false, true));
        insta::assert_snapshot!(render(&rows, true, true));
    }

    #[test]
    fn what_became_of_reloads() {
        let (mut done, mut left) = (container("app-1", true), container("app-2", false));
        (done.reloads, done.last_reload) = (3, Some("2026-01-02T03:04:05Z".into()));
        left.reload_note = "left alone: the app watches `/code` itself".into();
        let mut row = spec("sunny-husky", "watching", vec![]);
        assert_eq!(reload_of(&row, None), "auto");
        assert_eq!(reload_of(&row, Some(&done)), "auto, 3x, last 2026-01-02T03:04:05Z");
        assert_eq!(reload_of(&row, Some(&left)), "auto, left alone: the app watches `/code` itself");
        row.reload = false;
        assert_eq!(reload_of(&row, None), "false");
    }

    #[test]
    fn a_spec_without_containers_says_why() {
        insta::assert_snapshot!(render(&[spec("a", "waiting", vec![])], false, true));
        assert_eq!(render(&[], false, true), "");
    }
}
