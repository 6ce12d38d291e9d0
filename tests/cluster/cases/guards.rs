//! This side's guards, switched off one by one: the accident that each prevents happens then, so the cases in which it
//! stands (`watcher`, `back`, `answers`) prove something. Radar's are proved beside its code.

use std::{fs, time::Duration};

use super::{APP, CODE};
use crate::suite::{App, Case, Desk, eventually, eventually::holds, ksync::Ksync};

pub(super) const CASES: &[Case] = &[
    Case::new("without_the_root_check_a_directory_that_goes_empties_containers", local_root),
    Case::new("without_ignore_delete_a_containers_deletions_come_here_unasked", ignore_delete),
];

/// Longer than the interval of the local side's whole scans.
const WHOLE_SCAN: Duration = Duration::from_secs(100);

fn sync_without(desk: &Desk, guard: &'static str) {
    for number in 0..40 {
        desk.write(&format!("dir/{number}.txt"), "content\n");
    }
    let ksync = Ksync { guards_off: guard, ..desk.ksync.clone() };
    let local = desk.local().display().to_string();
    ksync.ok(&[&["create", "--name", "main", "--wait"], APP, &[&local, CODE]].concat());
}

/// `watcher::a_local_directory_that_goes_away`, without the guard.
fn local_root(desk: &Desk) {
    let container = App::idle(desk).apply(desk).only();
    sync_without(desk, "local-root");
    let aside = desk.scratch("aside");
    fs::rename(desk.local(), &aside).expect("rename");
    fs::create_dir(desk.local()).expect("mkdir");
    eventually("the accident", WHOLE_SCAN, || {
        let left = container.tree(desk.cluster(), CODE)?;
        holds(left.get("dir/0.txt").is_none(), "the container still has its files")
    });
}

/// `answers::a_mass_deletion_is_declined`, without the guard.
fn ignore_delete(desk: &Desk) {
    let container = App::idle(desk).apply(desk).only();
    sync_without(desk, "ignore-delete");
    container.sh(desk.cluster(), "rm -rf /code/dir");
    eventually("the accident", WHOLE_SCAN, || {
        holds(!desk.path("dir/0.txt").exists(), "the local files are still here")
    });
}
