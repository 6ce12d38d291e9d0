//! `get`: what is synced and how it stands.

use std::process::ExitCode;

use clap::ValueEnum;

use super::{
    changes::Changes,
    table::{self, SpecRow},
};
use crate::{
    cluster::{ClusterArgs, ClusterConfig},
    config::Store,
    home::{ContextDir, Home},
    printer::{Printer, UserError},
    watcher::{BoardView, client::Client, last_end},
};

/// Flags of `get`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these specs
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Leave the headings out
    #[arg(long)]
    no_headers: bool,
    /// Print again what changed after every change, until interrupted
    #[arg(short = 'w', long)]
    watch: bool,
    /// Specs of every namespace, which is so without -n too
    #[arg(short = 'A', long)]
    all_namespaces: bool,
}

impl Args {
    fn is_table(&self) -> bool {
        matches!(self.output, Output::Table | Output::Wide)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Wide,
    Json,
    Yaml,
    Name,
}

/// Runs `get`.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    let home = Home::from_env()?;
    let namespace = cluster.namespace.clone().filter(|name| !name.is_empty() && !args.all_namespaces);
    let cluster = ClusterConfig::load(cluster).await?;
    let dir = home.context(&cluster.context, &cluster.hash());
    let only = Only { names: args.names.clone(), namespace };
    let Some(mut client) = Client::connect(&dir.socket()).await? else {
        let rows = only.pick(count(from_file(&home, &cluster, &dir, printer)?, &dir, printer))?;
        print(&rows, &args, printer)?;
        if !rows.is_empty() && args.is_table() {
            printer.hint("no watcher runs; `kubectl ksync watch --daemon` starts one");
        }
        return Ok(ExitCode::SUCCESS);
    };
    if !args.watch {
        let board = client.status().await?;
        for problem in [&board.config_error, &board.cluster_error].into_iter().flatten() {
            printer.warn(problem);
        }
        let rows = only.pick(count(rows_of(board), &dir, printer))?;
        for (row, warning) in rows.iter().flat_map(|row| row.warnings.iter().map(move |text| (row, text))) {
            printer.warn(format!("spec `{}`: {warning}", row.name));
        }
        print(&rows, &args, printer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut states = client.follow().await?;
    let (mut changes, mut shown) = (Changes::new(args.output == Output::Wide, !args.no_headers), None);
    while let Some(board) = states.next().await {
        let rows = only.pick(count(rows_of(board), &dir, printer))?;
        let now = format!("{rows:?}");
        if !rows.is_empty() && args.is_table() {
            printer.raw(changes.next(&rows));
        } else if shown.as_ref() != Some(&now) {
            print(&rows, &args, printer)?;
        }
        shown = Some(now);
    }
    Err(UserError::new("the watcher has ended", "`kubectl ksync get` tells why").into())
}

fn rows_of(board: BoardView) -> Vec<SpecRow> {
    board.specs.into_iter().map(table::live).collect()
}

/// Conflicts are counted where they lie, with and without a watcher.
fn count(mut rows: Vec<SpecRow>, dir: &ContextDir, printer: Printer) -> Vec<SpecRow> {
    match crate::kept::conflicts(&dir.kept()) {
        Ok(counts) => {
            for row in &mut rows {
                row.conflicts = counts.get(std::path::Path::new(&row.local_path)).copied().unwrap_or(0);
            }
        }
        Err(error) => printer.warn(format!("can't count conflicts in `{}`: {error}", dir.kept().display())),
    }
    rows
}

/// What a person should know of conflicts, in one line.
fn conflicts(row: &SpecRow) -> Option<String> {
    let (count, name) = (row.conflicts, &row.name);
    let what = match count {
        0 => return None,
        1 => "1 conflict".to_owned(),
        _ => format!("{count} conflicts"),
    };
    Some(format!("spec `{name}`: {what}, local content stays: see `kubectl ksync conflicts {name}`"))
}

fn from_file(
    home: &Home,
    cluster: &ClusterConfig,
    dir: &ContextDir,
    printer: Printer,
) -> anyhow::Result<Vec<SpecRow>> {
    let loaded = Store::new(home.config_file()).load()?;
    loaded.errors.iter().for_each(|error| printer.warn(error));
    let reason = match last_end(dir) {
        Some(why) => format!("the last watcher ended: {why}"),
        None => "no watcher has run yet".to_owned(),
    };
    let specs = table::specs_of(&loaded.config, &cluster.context);
    let row = |spec| {
        let namespace = loaded.config.namespace_of(spec, &cluster.own_namespace);
        table::stopped(spec, &cluster.context, namespace, &reason)
    };
    Ok(specs.map(row).collect())
}

/// Which rows are asked for.
struct Only {
    names: Vec<String>,
    namespace: Option<String>,
}

impl Only {
    fn pick(&self, rows: Vec<SpecRow>) -> Result<Vec<SpecRow>, UserError> {
        if let Some(missing) = self.names.iter().find(|name| !rows.iter().any(|row| row.name == **name)) {
            return Err(super::not_found(missing, rows.iter().map(|row| row.name.as_str())));
        }
        let wanted = |row: &SpecRow| {
            (self.names.is_empty() || self.names.contains(&row.name))
                && self.namespace.as_ref().is_none_or(|namespace| row.namespace == *namespace)
        };
        Ok(rows.into_iter().filter(wanted).collect())
    }
}

fn print(rows: &[SpecRow], args: &Args, printer: Printer) -> anyhow::Result<()> {
    let list = || serde_json::json!({ "kind": "SpecList", "items": rows });
    match args.output {
        Output::Json => printer.raw(serde_json::to_string_pretty(&list())? + "\n"),
        Output::Yaml => printer.raw(crate::config::to_yaml(&list())?),
        Output::Name => rows.iter().for_each(|row| printer.data(format!("spec/{}", row.name))),
        Output::Table | Output::Wide if rows.is_empty() => {
            printer.say("no specs: make one with `kubectl ksync create --selector LABEL=VALUE LOCAL REMOTE`");
        }
        Output::Table | Output::Wide => {
            rows.iter().filter_map(conflicts).for_each(|line| printer.warn(line));
            printer.raw(table::render(rows, args.output == Output::Wide, !args.no_headers));
        }
    }
    Ok(())
}
