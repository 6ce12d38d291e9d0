//! What is kept of the specs of a context, as `restore` and `conflicts` show it.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use serde::Serialize;
use tabwriter::TabWriter;

use crate::{
    cluster::ClusterConfig,
    config::Store,
    home::{ContextDir, Home},
    kept::{self, Folder, Item, Kind, moment},
    printer::{self, Printer, UserError, size},
};
use ksync_common::chain;

/// How a list is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Table,
    Json,
    Yaml,
    Name,
}

/// What is kept of one local path, and the specs that sync it.
#[derive(Debug)]
pub(super) struct KeptFolder {
    pub(super) specs: Vec<String>,
    pub(super) local: PathBuf,
    pub(super) folder: Folder,
}

/// One thing that is kept.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    spec: String,
    local_path: String,
    path: &'a str,
    kept_at: String,
    why: &'static str,
    size: u64,
    location: String,
    #[serde(skip)]
    item: &'a Item,
}

/// What is kept in the context's directory: of `name` (a spec, or the local path of one that is no more), or of all.
pub(super) fn shelves(
    home: &Home,
    cluster: &ClusterConfig,
    name: Option<&str>,
) -> anyhow::Result<(ContextDir, Vec<KeptFolder>)> {
    let dir = home.context(&cluster.context, &cluster.hash());
    let config = Store::new(home.config_file()).load()?.config;
    let specs: Vec<_> = super::table::specs_of(&config, &cluster.context).collect();
    let failed = |error: std::io::Error| {
        UserError::new(format!("can't read `{}`: {}", dir.kept().display(), chain(&error)), "")
    };
    let folders = kept::list(&dir.kept()).map_err(failed)?;
    let shelf = |folder: Folder| {
        let local = folder.local.clone()?;
        let of_it = specs.iter().filter(|spec| Path::new(&spec.localpath) == local);
        Some(KeptFolder { specs: of_it.map(|spec| spec.name.clone()).collect(), local, folder })
    };
    let mut shelves: Vec<KeptFolder> = folders.into_iter().filter_map(shelf).collect();
    if let Some(name) = name {
        let known = specs.iter().any(|spec| spec.name == name);
        shelves.retain(|shelf| shelf.specs.iter().any(|spec| spec == name) || shelf.local == Path::new(name));
        if !known && shelves.is_empty() {
            let hint = "give a spec, or the local path of one that was deleted";
            return Err(UserError::new(format!("spec `{name}` not found"), hint).into());
        }
    }
    Ok((dir, shelves))
}

/// Prints what `wanted` picks; `nothing` is said when that is nothing.
pub(super) fn print(
    shelves: &[KeptFolder],
    wanted: impl Fn(Kind) -> bool,
    output: Output,
    nothing: &str,
    printer: Printer,
) -> anyhow::Result<()> {
    let rows: Vec<Row<'_>> = shelves.iter().flat_map(|shelf| rows(shelf, &wanted)).collect();
    let list = || serde_json::json!({ "kind": "KeptList", "items": rows });
    match output {
        Output::Json => printer.raw(serde_json::to_string_pretty(&list())? + "\n"),
        Output::Yaml => printer.raw(crate::config::to_yaml(&list())?),
        Output::Name => {
            for row in &rows {
                printer.data(format!("{}@{}", row.path, moment(row.item.at)));
            }
        }
        Output::Table if rows.is_empty() => printer.say(nothing),
        Output::Table => printer.raw(table(&rows)?),
    }
    Ok(())
}

fn rows<'a>(shelf: &'a KeptFolder, wanted: &impl Fn(Kind) -> bool) -> Vec<Row<'a>> {
    let row = |item: &'a Item| Row {
        spec: shelf.specs.join(","),
        local_path: shelf.local.display().to_string(),
        path: &item.path,
        kept_at: item.at.to_string(),
        why: item.kind.word(),
        size: item.size,
        location: item.place.display().to_string(),
        item,
    };
    shelf.folder.items.iter().filter(|item| wanted(item.kind)).map(row).collect()
}

fn table(rows: &[Row<'_>]) -> std::io::Result<String> {
    let mut table = TabWriter::new(Vec::new()).padding(3).tab_indent(false);
    writeln!(table, "NAME\tPATH\tKEPT\tWHY\tSIZE\tLOCATION")?;
    for row in rows {
        let (path, place) = (printer::shown(row.path), printer::shown(&row.location));
        // A spec that is no more is called by its local path.
        let name = if row.spec.is_empty() { &row.local_path } else { &row.spec };
        let at = shown(row.item.at);
        writeln!(table, "{}\t{path}\t{at}\t{}\t{}\t{place}", printer::shown(name), row.why, size(row.size))?;
    }
    let bytes = table.into_inner().map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A time as a table has it.
pub(super) fn shown(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
