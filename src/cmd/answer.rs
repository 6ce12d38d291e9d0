//! `accept` and `decline`: the two answers to what a spec waits for.
//!
//! The watcher says what was asked. To leave in a container what only it has is a matter of the spec's patterns, which go
//! into ksync.yaml, where a person sees them.

use std::{path::PathBuf, process::ExitCode};

use ksync_tree::pattern_of;

use super::stignore;
use crate::{
    cluster::{ClusterArgs, ClusterConfig},
    config::{Error, Store},
    home::Home,
    printer::{Printer, UserError, size},
    watcher::client::Client,
};

/// Paths that are named one by one in ksync.yaml at most.
const MOST_PATTERNS: usize = 100;

/// Arguments of `accept` and `decline`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The spec that waits
    #[arg(value_name = "NAME")]
    name: String,
}

/// Runs `accept` or `decline`.
pub(crate) async fn run(
    args: Args,
    accept: bool,
    cluster: &ClusterArgs,
    printer: Printer,
) -> anyhow::Result<ExitCode> {
    let home = Home::from_env()?;
    let cluster = ClusterConfig::load(cluster).await?;
    let name = args.name;
    let dir = home.context(&cluster.context, &cluster.hash());
    let Some(mut client) = Client::connect(&dir.socket()).await? else {
        super::known(&home, &name)?;
        let hint = "start one with `kubectl ksync watch --daemon`; what waits goes on waiting";
        return Err(UserError::new(format!("no watcher runs for context `{}`", cluster.context), hint).into());
    };
    let specs = client.status().await?.specs;
    let Some(spec) = specs.iter().find(|spec| spec.name == name) else {
        return Err(super::not_found(&name, specs.iter().map(|spec| spec.name.as_str())).into());
    };
    let local = PathBuf::from(&spec.local_path);
    let reply = client.answer(&name, accept).await?;
    if reply.deletions == 0 && reply.gone_here == 0 && reply.first_pull.is_none() && reply.unasked.is_none() {
        let hint = format!("`kubectl ksync get {name}` says how it stands");
        return Err(UserError::new(format!("spec `{name}` waits for no answer"), hint).into());
    }
    if reply.deletions > 0 {
        printer.data(deletions(&name, reply.deletions, accept));
    }
    if reply.gone_here > 0 {
        printer.data(gone_here(&name, reply.gone_here, accept));
    }
    if !accept && reply.put_back > 0 {
        printer.data(format!("spec `{name}`: {} put back into the container", count(reply.put_back)));
    }
    let pull = reply.first_pull.map(|pull| format!("{} ({})", count(pull.files), size(pull.bytes)));
    let what = [pull, reply.unasked].into_iter().flatten().collect::<Vec<_>>().join("; ");
    match (accept, what.as_str()) {
        (_, "") => {}
        (true, what) => printer.data(format!("spec `{name}`: {what} brought here")),
        // All of it was put back, or is not to be kept.
        (false, what) if reply.tops.is_empty() => {
            printer.data(format!("spec `{name}`: {what} not brought here"));
        }
        (false, what) => {
            let patterns = leave(&home, &name, &local, &reply.tops, printer)?;
            printer.data(format!(
                "spec `{name}`: {what} left in the container; ignored from now on, in ksync.yaml: {}",
                patterns.join(" ")
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn deletions(name: &str, files: u64, accept: bool) -> String {
    let files = count(files);
    if accept {
        format!("spec `{name}`: {files} deleted here too; `kubectl ksync restore {name}` lists what is kept")
    } else {
        format!("spec `{name}`: {files} put back into the container")
    }
}

fn gone_here(name: &str, files: u64, accept: bool) -> String {
    let files = count(files);
    if accept {
        format!("spec `{name}`: {files} deleted in the containers too")
    } else {
        format!("spec `{name}`: {files} put back here")
    }
}

fn count(files: u64) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

/// Has every spec of the local path leave out what only the container has: all below the paths `tops`.
fn leave(
    home: &Home,
    name: &str,
    local: &std::path::Path,
    tops: &[String],
    printer: Printer,
) -> anyhow::Result<Vec<String>> {
    if let Some(path) = stignore::foreign(local)? {
        let hint = format!("name them in `{}`, which is in force as it stands", path.display());
        return Err(UserError::new(format!("spec `{name}` has patterns of its own"), hint).into());
    }
    if tops.len() > MOST_PATTERNS {
        let message = format!("the files lie in {} places, too many to ignore one by one", tops.len());
        let hint = format!(
            "name them by a few patterns under `ignore` of spec `{name}` in ksync.yaml, or set `direction: to-container`"
        );
        return Err(UserError::new(message, hint).into());
    }
    let patterns: Vec<String> = tops.iter().map(|path| pattern_of(path)).collect();
    let (found, lost) = Store::new(home.config_file()).modify(|draft| -> Result<bool, Error> {
        let specs = draft.config().spec.iter().filter(|spec| local == std::path::Path::new(&spec.localpath));
        let names: Vec<String> = specs.map(|spec| spec.name.clone()).collect();
        let mut found = false;
        for name in names {
            found |= draft.ignore(&name, &patterns)?;
        }
        Ok(found)
    })?;
    if lost {
        printer.warn(
            "comments in ksync.yaml could not be kept; the file as it was is beside it as ksync.yaml.bak",
        );
    }
    if !found {
        return Err(UserError::new(format!("spec `{name}` is not in ksync.yaml any more"), "").into());
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use super::deletions;

    #[test]
    fn it_says_what_becomes_of_the_files() {
        assert_eq!(
            deletions("main", 39, true),
            "spec `main`: 39 files deleted here too; `kubectl ksync restore main` lists what is kept"
        );
        assert_eq!(deletions("main", 1, false), "spec `main`: 1 file put back into the container");
    }
}
