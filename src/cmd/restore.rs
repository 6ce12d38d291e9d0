//! `restore`: what containers have deleted or replaced here, and putting it back. The files are all it needs: with a
//! watcher, what is put back goes to the containers like any other local change.

use std::{collections::BTreeSet, process::ExitCode};

use ksync_tree::{Root, stat_entry};

use super::kept::{self as shelf, KeptFolder, Output};
use crate::{
    cluster::{ClusterArgs, ClusterConfig},
    home::Home,
    kept::{self, Item, Restored, moment},
    printer::{Printer, UserError, shown},
};
use ksync_common::chain;

/// Arguments of `restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A spec, or the local path of one that was deleted
    #[arg(value_name = "NAME", required_if_eq("all", "true"))]
    name: Option<String>,
    /// Files to put back, as listed; a directory means all below it, `PATH@TIME` an older copy
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// Put back all files that are gone here
    #[arg(long, conflicts_with = "paths")]
    all: bool,
    /// Output format of the list
    #[arg(short, long, value_enum, default_value_t = Output::Table, conflicts_with_all = ["paths", "all"])]
    output: Output,
}

/// Runs `restore`.
pub(crate) async fn run(args: Args, cluster: &ClusterArgs, printer: Printer) -> anyhow::Result<ExitCode> {
    let (home, cluster) = (Home::from_env()?, ClusterConfig::load(cluster).await?);
    let (_, shelves) = shelf::shelves(&home, &cluster, args.name.as_deref())?;
    if args.paths.is_empty() && !args.all {
        shelf::print(&shelves, |_| true, args.output, "nothing is kept", printer)?;
        return Ok(ExitCode::SUCCESS);
    }
    tokio::task::spawn_blocking(move || put_back(&args, &shelves, printer)).await?
}

fn put_back(args: &Args, shelves: &[KeptFolder], printer: Printer) -> anyhow::Result<ExitCode> {
    let Some(KeptFolder { local, folder, .. }) = shelves.first() else {
        return Err(UserError::new("nothing is kept", "").into());
    };
    let root = Root::open(local)?;
    let mut items: Vec<&Item> = Vec::new();
    if args.all {
        items = newest(folder.items.iter());
        let before = items.len();
        let missing = |item: &&Item| stat_entry(&root, &item.path, false).is_ok_and(|entry| entry.is_none());
        items.retain(missing);
        match before - items.len() {
            0 => {}
            1 => printer.say("1 file that is here stays as it is; name it to have the kept one"),
            count => printer.say(format!(
                "{count} files that are here stay as they are; name them to have the kept ones"
            )),
        }
    }
    // All is checked before anything is moved.
    for path in &args.paths {
        let found = pick(&folder.items, path);
        if found.is_empty() {
            let hint = match &args.name {
                Some(name) => format!("`kubectl ksync restore {name}` lists what is kept"),
                None => String::new(),
            };
            return Err(UserError::new(format!("nothing is kept of `{path}`"), hint).into());
        }
        items.extend(found);
    }
    let mut failed = false;
    for item in items {
        let path = &item.path;
        match kept::restore(&folder.dir, item, &root) {
            Ok(Restored::Back) => printer.data(format!("`{path}` is back")),
            Ok(Restored::Exchanged) => {
                printer.data(format!("`{path}` is back; what was here is kept instead"));
            }
            Ok(Restored::Same) => printer.data(format!("`{path}` was here already, with the same content")),
            Err(error) => {
                failed = true;
                printer.warn(format!("`{path}` is not put back, it is still kept: {}", chain(&error)));
            }
        }
    }
    if failed {
        return Err(UserError::new("not all files are put back", "").into());
    }
    Ok(ExitCode::SUCCESS)
}

/// The newest of each path.
fn newest<'a>(items: impl Iterator<Item = &'a Item>) -> Vec<&'a Item> {
    let mut seen = BTreeSet::new();
    // The newest of a path comes first in a list.
    items.filter(|item| seen.insert(item.path.as_str())).collect()
}

/// What is meant by `PATH` or `PATH@TIME`: the file, or everything below it.
fn pick<'a>(items: &'a [Item], asked: &str) -> Vec<&'a Item> {
    let asked = asked.trim_end_matches('/');
    // A name may also be given as it is listed.
    let is = |item: &Item, path: &str| {
        ksync_tree::covers(path, &item.path) || ksync_tree::covers(path, &shown(&item.path))
    };
    let plain = newest(items.iter().filter(|item| is(item, asked)));
    if !plain.is_empty() {
        return plain;
    }
    let Some((path, time)) = asked.rsplit_once('@') else { return Vec::new() };
    // As `-o name` has it, and as the table does, to the second.
    let at = |item: &Item| moment(item.at) == time || shelf::shown(item.at) == time;
    newest(items.iter().filter(|item| is(item, path) && at(item)))
}

#[cfg(test)]
mod tests {
    use super::{Item, pick};
    use crate::kept::Kind;

    fn item(path: &str, second: i64) -> Item {
        let at = jiff::Timestamp::from_second(second).unwrap();
        Item { path: path.into(), at, kind: Kind::Deleted, size: 0, room: 0, place: "/".into() }
    }

    #[test]
    fn a_path_means_the_newest_and_a_directory_all_below_it() {
        let items = [
            item("a", 2),
            item("a", 1),
            item("a@b", 1),
            item("d/x", 2),
            item("d/x", 1),
            item("d/y", 1),
            item("dd", 1),
        ];
        let picked = |asked: &str| {
            let of = |item: &&Item| format!("{} {}", item.path, item.at.as_second());
            pick(&items, asked).iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(picked("a"), ["a 2"]);
        assert_eq!(picked("a@19700101T000001000Z"), ["a 1"]);
        assert_eq!(picked("a@1970-01-01T00:00:01Z"), ["a 1"]);
        assert_eq!(picked("a@b"), ["a@b 1"]);
        assert_eq!(picked("d/"), ["d/x 2", "d/y 1"]);
        assert_eq!(picked("d/x@19700101T000001000Z"), ["d/x 1"]);
        let odd = [item("d/\u{1b}[2J\n", 1)];
        let names = [r"d/\u{1b}[2J\n", r"d/\u{1b}[2J\n@19700101T000001000Z", "d/\u{1b}[2J\n", "d"];
        assert!(names.iter().all(|asked| pick(&odd, asked).len() == 1));
        assert!(picked("none").is_empty() && picked("a@19700101T000003000Z").is_empty());
    }
}
